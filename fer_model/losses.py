"""What is minimised: the paper's three equations, two rivals', and the two differences of the auto-encoder, one function each.

In:  logits, float32 or float64, before any softmax; labels, int64.
Out: 0-dimensional tensors; the mean over the batch of minus what the paper maximises.

    code                        paper
    expression logits           D^e(x), N_e + 1 of them; the last class, index N_e, is "fake"
    identity logits             D^i(x), N_i of them: the training identities of the fold
    expression, identity        y^e, y^id of x
    target identity             y^id2, the identity that the code I asks for (printed y^idx in eq. (2))

Where people are unknown, there are no identity logits (None): the terms of the identity are left out of eq. (1) and (2).

A log D_y(x) of the paper is log_softmax(logits)[y], so minus its expectation is the cross-entropy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "DiscriminatorLoss", "GeneratorLoss", "HeadLoss", "confusion_loss", "contrastive_loss", "discriminator_loss", "feature_difference",
    "generator_loss", "head_loss", "pair_loss", "pixel_difference",
]

COARSE = 4                            # px of a network's input: pixel_difference also compares the means of such squares
NO_FEATURE = 1e-3                     # added to a layer's mean size, which it is divided by


class DiscriminatorLoss(NamedTuple):
    """Terms of eq. (1), in the paper's order; all to be minimised."""

    total: Tensor
    expression: Tensor                # real faces: expression
    identity: Tensor | None           # real faces: identity; None: people unknown
    fake: Tensor                      # synthesised faces: called fake


class GeneratorLoss(NamedTuple):
    """Terms of eq. (2); all to be minimised."""

    total: Tensor
    expression: Tensor                # synthesised faces: expression of the input
    identity: Tensor | None           # synthesised faces: identity that was asked for; None: people unknown


class HeadLoss(NamedTuple):
    """Terms of eq. (3)."""

    total: Tensor
    parts: tuple[Tensor, ...]         # L_1 .. L_5, unweighted


def discriminator_loss(
    real_expression: Tensor | None,   # (B, N_e + 1) D^e(x); None: the fakes' term alone
    real_identity: Tensor | None,     # (B, N_i)     D^i(x); None: people unknown, or the fakes' term alone
    fake_expression: Tensor | None,   # (B, N_e + 1) D^e(G(x, I, z)); None: the terms of real faces alone
    expression: Tensor,               # (B,)         y^e
    identity: Tensor,                 # (B,)         y^id
    label_smoothing: float = 0.0,     # share of each y^e spread evenly over all N_e + 1; the paper has none
) -> DiscriminatorLoss:
    """Return eq. (1), section 3.1.1, with the sign turned.

        -E[log D^e_{y^e}(x) + log D^i_{y^id}(x)] - E[log D^e_{N_e+1}(G(x, I, z))]

    The fake class lives in the expression head alone; the identity head never sees a synthesised face here.
    """
    def of_fakes() -> Tensor:
        fake_label = expression.new_full((len(fake_expression),), fake_expression.shape[1] - 1)  # (B,)
        return F.cross_entropy(fake_expression, fake_label)

    terms = (
        None if real_expression is None else F.cross_entropy(real_expression, expression, label_smoothing=label_smoothing),
        None if real_identity is None else F.cross_entropy(real_identity, identity),
        None if fake_expression is None else of_fakes(),
    )
    return DiscriminatorLoss(sum(term for term in terms if term is not None), *terms)


def generator_loss(
    fake_expression: Tensor,          # (B, N_e + 1) D^e(G(x, I, z))
    fake_identity: Tensor | None,     # (B, N_i)     D^i(G(x, I, z)); None: people unknown
    expression: Tensor,               # (B,)         y^e of x
    target_identity: Tensor,          # (B,)         y^id2, what I asks for
) -> GeneratorLoss:
    """Return eq. (2), section 3.1.2, with the sign turned: non-saturating, no pixel term.

        -E[log D^e_{y^e}(G(x, I, z)) + log D^i_{y^id2}(G(x, I, z))]
    """
    named = None if fake_identity is None else F.cross_entropy(fake_identity, target_identity)
    terms = F.cross_entropy(fake_expression, expression), named
    return GeneratorLoss(sum(term for term in terms if term is not None), *terms)


def pair_loss(logits: Tensor, real: bool) -> Tensor:
    """Return how far D's answers (B,) on pairs are from calling all of them real, or all of them G's: the binary cross-entropy.

        -E[log D(x, n)]   or   -E[log(1 - D(x, n))]

    Not in the paper: the adversarial part of DeRL (Yang, Ciftci and Yin, CVPR 2018), for D on both kinds, for G on its own as real.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def head_loss(
    logits: tuple[Tensor, ...],       # five of (B, N_e): the local CNNs 1..4, then the classifier on all features
    expression: Tensor,               # (B,) y^e; of mixtures (B, N_e), a share of each
    weights: tuple[float, ...],       # lambda_1 .. lambda_5
    label_smoothing: float = 0.0,     # share of each target spread evenly over all classes; the paper has none
) -> HeadLoss:
    """Return eq. (3), section 3.2: sum of lambda_i L_i, each L_i a cross-entropy."""
    parts = tuple(F.cross_entropy(item, expression, label_smoothing=label_smoothing) for item in logits)
    return HeadLoss(sum(weight * part for weight, part in zip(weights, parts, strict=True)), parts)


def confusion_loss(logits: Tensor) -> Tensor:
    """Return how far the answers on the person, logits (B, N_i), are from knowing nothing: the cross-entropy with a uniform target.

        -E[1 / N_i sum_n log p_n(x)],   at least log N_i

    Not in the paper: Alvi, Zisserman and Nellaker, "Turning a blind eye", ECCV workshops 2018.
    """
    return -logits.log_softmax(1).mean()


def contrastive_loss(first: Tensor, second: Tensor, same: Tensor, margin: float) -> Tensor:
    """Return how far pairs of features (B, d) are from: those that are the same together, the others at least `margin` apart.

        1 / 2B sum_b [same_b d_b^2 + (1 - same_b) max(0, margin - d_b)^2],   d_b = ||first_b - second_b||

    `same` (B,): 1 or 0; of mixtures the share in which they agree. Not in the paper: Hadsell, Chopra and LeCun, CVPR 2006, as IACNN
    (Meng et al., FG 2017) takes it, once for the expression and once for the person.

    >>> a, b = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.6, 0.8]])
    >>> round(float(contrastive_loss(a, b, torch.tensor([1.0, 0.0]), 3.0)), 4)          # (25 + (3 - 1)^2) / 4
    7.25
    """
    square = (first - second).square().sum(1)                            # (B,)
    missing = (margin - (square + 1e-12).sqrt()).clamp(min=0)            # the root of 0 has no gradient
    return (same * square + (1 - same) * missing.square()).mean() / 2


def pixel_difference(made: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute difference (n,) of faces (n, C, S, S), at the size that they have and in means of 4 x 4 pixels.

    The second keeps a face in its place and light where details differ.

    >>> stripes = torch.tensor([[[[1.0, -1.0]]]]).repeat(1, 1, 4, 2)
    >>> float(pixel_difference(stripes, torch.zeros(1, 1, 4, 4)))
    0.5
    """
    difference = made - wanted
    fine, coarse = difference.abs().mean((1, 2, 3)), F.avg_pool2d(difference, COARSE).abs().mean((1, 2, 3))
    return (fine + coarse) / 2


def feature_difference(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the mean over layers of the mean absolute difference of features (n, ...), each in parts of the wanted ones' mean size.

    Feature matching (Salimans et al., NeurIPS 2016), relative, so that every layer counts alike.

    >>> round(float(feature_difference([torch.tensor([[1.0, 3.0]])], [torch.tensor([[2.0, 2.0]])])) * (2 + NO_FEATURE), 6)
    1.0
    """
    parts = [(one - other).abs().mean() / (other.abs().mean() + NO_FEATURE) for one, other in zip(made, wanted, strict=True)]
    return torch.stack(parts).mean()
