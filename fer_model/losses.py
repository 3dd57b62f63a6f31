"""The paper's three equations, and a rival's, one function each: logits and labels in, scalars to minimise out.

In:  logits, float32 or float64, before any softmax; labels, int64.
Out: 0-dimensional tensors; the mean over the batch of minus what the paper maximises.

    code                        paper
    expression logits           D^e(x), N_e + 1 of them; the last class, index N_e, is "fake"
    identity logits             D^i(x), N_i of them: the training identities of the fold
    expression, identity        y^e, y^id of x
    target identity             y^id2, the identity that the code I asks for (printed y^idx in eq. (2))

A log D_y(x) of the paper is log_softmax(logits)[y], so minus its expectation is the cross-entropy.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

__all__ = ["DiscriminatorLoss", "GeneratorLoss", "HeadLoss", "confusion_loss", "discriminator_loss", "generator_loss", "head_loss"]


class DiscriminatorLoss(NamedTuple):
    """Terms of eq. (1), in the paper's order; all to be minimised."""

    total: Tensor
    expression: Tensor                # real faces: expression
    identity: Tensor                  # real faces: identity
    fake: Tensor                      # synthesised faces: called fake


class GeneratorLoss(NamedTuple):
    """Terms of eq. (2); all to be minimised."""

    total: Tensor
    expression: Tensor                # synthesised faces: expression of the input
    identity: Tensor                  # synthesised faces: identity that was asked for


class HeadLoss(NamedTuple):
    """Terms of eq. (3)."""

    total: Tensor
    parts: tuple[Tensor, ...]         # L_1 .. L_5, unweighted


def discriminator_loss(
    real_expression: Tensor,          # (B, N_e + 1) D^e(x)
    real_identity: Tensor,            # (B, N_i)     D^i(x)
    fake_expression: Tensor,          # (B, N_e + 1) D^e(G(x, I, z))
    expression: Tensor,               # (B,)         y^e
    identity: Tensor,                 # (B,)         y^id
    label_smoothing: float = 0.0,     # share of each y^e spread evenly over all N_e + 1; the paper has none
) -> DiscriminatorLoss:
    """Return eq. (1), section 3.1.1, with the sign turned.

        -E[log D^e_{y^e}(x) + log D^i_{y^id}(x)] - E[log D^e_{N_e+1}(G(x, I, z))]

    The fake class lives in the expression head alone; the identity head never sees a synthesised face here.
    """
    fake_label = expression.new_full((len(fake_expression),), fake_expression.shape[1] - 1)      # (B,)
    terms = (
        F.cross_entropy(real_expression, expression, label_smoothing=label_smoothing),
        F.cross_entropy(real_identity, identity),
        F.cross_entropy(fake_expression, fake_label),
    )
    return DiscriminatorLoss(sum(terms), *terms)


def generator_loss(
    fake_expression: Tensor,          # (B, N_e + 1) D^e(G(x, I, z))
    fake_identity: Tensor,            # (B, N_i)     D^i(G(x, I, z))
    expression: Tensor,               # (B,)         y^e of x
    target_identity: Tensor,          # (B,)         y^id2, what I asks for
) -> GeneratorLoss:
    """Return eq. (2), section 3.1.2, with the sign turned: non-saturating, no pixel term.

        -E[log D^e_{y^e}(G(x, I, z)) + log D^i_{y^id2}(G(x, I, z))]
    """
    terms = F.cross_entropy(fake_expression, expression), F.cross_entropy(fake_identity, target_identity)
    return GeneratorLoss(sum(terms), *terms)


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
