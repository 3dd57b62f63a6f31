"""Change training views at random, beyond the paper's 110: stronger views; mixtures of two; faces of one person made another's.

In:  views (B, C, S, S) in [-1, 1], a strength from 0 (none) to 1, alpha or a share; and, drawn beforehand on the CPU from a generator, for
     the batch of all processes, so that it does not depend on how many there are: what changes, which shares, who becomes whom.
Out: the same shape and range, on the same device.

The 110 shift a face by at most 14 px and turn it by at most 15 degrees. Here, at strength 1, each view is also scaled by up to
15 %, shifted by up to 6 %, turned by up to 10 degrees, changed in contrast by up to 40 % and in brightness by up to 0.3, and
a square of up to a third of its side is replaced by its mean in every second view. All of it is off in preset `paper`.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_data.faces.views import N_VIEWS
from fer_data.store.loader import Views
from fer_model.networks import one_hot, to_input_size

__all__ = ["IdentitySwap", "draw_changes", "draw_shares", "mix", "mixed_labels", "person_weights", "strengthen"]

SCALE, SHIFT, TURN_DEG, CONTRAST, BRIGHTNESS = 0.15, 0.06, 10.0, 0.4, 0.3        # at strength 1
AT_ONCE = 128                         # faces that are rendered at once; bounds memory alone
ERASED, ERASED_SIDE = 0.5, 1 / 3      # share of views with a square erased, its largest side in parts of the view's


def draw_changes(n: int, strength: float, generator: torch.Generator) -> Tensor:
    """Return what `strengthen` changes of n views: (n, 9) float32 in [-1, 1); of strength 0 nothing is drawn, (n, 0)."""
    return torch.rand(n, 9 if strength else 0, generator=generator) * 2 - 1


def strengthen(x: Tensor, strength: float, u: Tensor) -> Tensor:
    """Return x (B, C, S, S) with every view changed as draw_changes says, u (B, 9); x itself at strength 0."""
    if strength == 0:
        return x
    scale, turn = torch.exp(strength * SCALE * u[:, 0]), strength * math.radians(TURN_DEG) * u[:, 1]
    cos, sin = scale * turn.cos(), scale * turn.sin()
    shift = 2 * strength * SHIFT * u[:, 2:4]                                     # in units of half a side
    matrix = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)   # (B, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)   # (B, C, S, S)
    gain, bias = (part[:, None, None, None] for part in (1 + strength * CONTRAST * u[:, 4], strength * BRIGHTNESS * u[:, 5]))
    mean = moved.mean((1, 2, 3), keepdim=True)
    lit = ((moved - mean) * gain + mean + bias).clamp(-1, 1)
    keep = _outside_square(u[:, 6:9], strength, x.shape[-1])                     # (B, 1, S, S)
    return torch.where(keep, lit, lit.mean((1, 2, 3), keepdim=True)).contiguous(memory_format=torch.channels_last)


def _outside_square(u: Tensor, strength: float, size: int) -> Tensor:
    """Return (B, 1, S, S), False in each view's square; the half of the views with the lower u[:, 2] have none."""
    side = strength * ERASED_SIDE * (u[:, 2] - (1 - 2 * ERASED)).clamp(min=0) / (2 * ERASED)       # (B,) in parts of S
    middle = (u[:, :2] + 1) / 2                                                  # (B, 2) in [0, 1)
    place = (torch.arange(size, device=u.device) + 0.5) / size                   # (S,)
    inside = ((place[None, None] - middle[:, :, None]).abs() < side[:, None, None] / 2)            # (B, 2, S)
    return ~(inside[:, 0, :, None] & inside[:, 1, None, :]).unsqueeze(1)


def draw_shares(n: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Return the share of each of n views in its mixture with its neighbour: (n,) float32 ~ Beta(alpha, alpha)."""
    numbers = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))       # PyTorch's Beta takes no generator
    return torch.from_numpy(numbers.beta(alpha, alpha, n).astype(np.float32))


def mix(x: Tensor, share: Tensor | None) -> Tensor:
    """Return x (B, C, S, S) with every view mixed with its neighbour; x itself if there is no share (B,).

        share * x + (1 - share) * neighbour,   share ~ Beta(alpha, alpha), for each view by itself (Zhang et al., ICLR 2018)

    A batch is dealt at random, so the neighbour is a random other view: 0 and 1 are neighbours, 2 and 3, and so on; the last one of an
    odd batch stays as it is.
    """
    if share is None:
        return x
    own = share[:, None, None, None]
    return (own * x + (1 - own) * x[_neighbours(x)]).contiguous(memory_format=torch.channels_last)


def mixed_labels(labels: Tensor, share: Tensor | None, n_classes: int) -> Tensor:
    """Return what a cross-entropy takes for views that `mix` has made: labels (B,) int64 themselves, or (B, n_classes) float32."""
    if share is None:
        return labels
    shown = one_hot(labels, n_classes)                                           # (B, n_classes)
    return share[:, None] * shown + (1 - share[:, None]) * shown[_neighbours(labels)]


def _neighbours(batch: Tensor) -> Tensor:
    return (torch.arange(len(batch), device=batch.device) ^ 1).clamp(max=len(batch) - 1)           # (n,) 1, 0, 3, 2, ...


class IdentitySwap:
    """Faces of one person made another's, in pixels: x - what is its person's + what is the other's, clamped to [-1, 1].

    What is a person's, in the view k that x is:
        mean     the mean of that person's training faces; it carries the expressions that the person shows
        effect   the person's part a_p in the additive model face = a_person + b_expression, fitted to all training faces by least
                 squares. The expressions are in b, so that x keeps its own
    """

    def __init__(self, views: Views, person: Tensor, expression: Tensor, image_size: int, share: float, part: str):
        """`person`, `expression` (n,) int64 from 0: what each face of `views` shows; `share` of the views, 0 to 1, is changed."""
        self.views, self.person, self.image_size, self.share = views, person.cpu(), image_size, share
        self.n_people = int(self.person.max()) + 1
        self._weights = person_weights(self.person, expression.cpu(), part)                            # (N_i, n)
        self._known: set[int] = set()                                                                  # views whose parts are there
        shape = (N_VIEWS, self.n_people, views.channels, image_size, image_size)
        self._parts = torch.empty(shape, dtype=torch.float16, device=views.device)                     # what is each person's in each view

    def draw(self, faces: Tensor, k: Tensor, generator: torch.Generator) -> Tensor:
        """Return whose face each of faces (B,) in views k (B,) becomes, (B,) int64; its own person's: it stays. All on the CPU.

        What is each person's in these views is made ready on the device, once a view.
        """
        u = torch.rand(len(faces), 2, generator=generator)                                             # (B, 2)
        own, changed = self.person[faces], u[:, 0] < self.share                                        # (B,)
        self.make(k[changed].tolist())
        other = (own + 1 + (u[:, 1] * (self.n_people - 1)).long()) % self.n_people                     # (B,) never its own
        return torch.where(changed, other, own)

    def make(self, views: Iterable[int]) -> None:
        """Make ready on the device what is each person's in these views, where it is not yet."""
        for view in sorted({*views} - self._known):
            self._parts[view].copy_(self._of_view(view), non_blocking=True)
            self._known.add(view)

    def __call__(self, x: Tensor, own: Tensor, other: Tensor, k: Tensor) -> Tensor:
        """Return x (B, C, S, S), views k (B,) of people `own` (B,), made those of `other` (B,); who stays is as before."""
        change = self._parts[k, other].float() - self._parts[k, own].float()                           # (B, C, S, S)
        stays = (other == own)[:, None, None, None]
        return torch.where(stays, x, (x + change).clamp(-1, 1)).contiguous(memory_format=torch.channels_last)

    def _of_view(self, k: int) -> Tensor:
        """Return what is each person's in view k, (N_i, C, S, S) float16 on the CPU."""
        every = torch.arange(self.views.n_faces).split(AT_ONCE)
        faces = torch.cat([to_input_size(self.views.batch(some, torch.full_like(some, k)), self.image_size).cpu() for some in every])
        return torch.einsum("pn,nchw->pchw", self._weights, faces).half()


def person_weights(person: Tensor, expression: Tensor, part: str) -> Tensor:
    """Return the weights (N_i, n) with which n faces make up what is each person's: `part` is mean or effect (IdentitySwap).

    >>> person, expression = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    >>> person_weights(person, expression, "mean").tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    >>> effect = person_weights(person, expression, "effect")
    >>> [round(float(x), 2) for x in (effect[1] - effect[0])]       # both show expression 0: the second's face less the first's
    [-1.0, 0.0, 1.0]
    """
    if part == "mean":
        members = F.one_hot(person).T.float()                                                          # (N_i, n)
        return members / members.sum(1, keepdim=True)
    design = torch.cat([F.one_hot(person), F.one_hot(expression)], 1).double()                         # (n, N_i + N_e)
    return torch.linalg.pinv(design)[: int(person.max()) + 1].float()
