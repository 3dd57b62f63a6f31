"""Change training views at random, beyond the paper's 110: stronger views; mixtures of two; faces of one person made another's.

In:  views (B, C, S, S) in [-1, 1], a strength from 0 (none) to 1, alpha or a share, a generator.
Out: the same shape and range, on the same device; of mixtures, also the share of each view in its own.

The 110 shift a face by at most 14 px and turn it by at most 15 degrees. Here, at strength 1, each view is also scaled by up to
15 %, shifted by up to 6 %, turned by up to 10 degrees, changed in contrast by up to 40 % and in brightness by up to 0.3, and
a square of up to a third of its side is replaced by its mean in every second view. All of it is off in preset `paper`.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_data.store.loader import Views, send
from fer_model.engine import distributed
from fer_model.errors import ConfigError
from fer_model.networks import to_input_size

__all__ = ["IdentitySwap", "mix", "mixed_labels", "person_weights", "strengthen"]

SCALE, SHIFT, TURN_DEG, CONTRAST, BRIGHTNESS = 0.15, 0.06, 10.0, 0.4, 0.3        # at strength 1
AT_ONCE = 128                         # faces that are rendered at once; bounds memory alone
ERASED, ERASED_SIDE = 0.5, 1 / 3      # share of views with a square erased, its largest side in parts of the view's


def strengthen(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return x (B, C, S, S) with every view changed at random; x itself at strength 0.

    The random numbers are for the batch of all processes, so that it does not depend on how many there are.
    """
    if strength == 0:
        return x
    drawn = torch.rand(distributed.size() * len(x), 9, generator=generator)            # CPU: the same on every device
    u = send(distributed.part(drawn), x.device) * 2 - 1                                   # (B, 9) in [-1, 1)
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


def mix(x: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Return x (B, C, S, S) with every view mixed with its neighbour, and the share (B,) of each view in its mixture.

        share * x + (1 - share) * neighbour,   share ~ Beta(alpha, alpha), for each view by itself (Zhang et al., ICLR 2018)

    With alpha 0, x itself and None. A batch is dealt at random, so the neighbour is a random other view: 0 and 1 are neighbours, 2 and
    3, and so on; the last one of an odd batch stays as it is. The random numbers are for the batch of all processes. Raises ConfigError
    if several processes have odd parts.
    """
    if alpha == 0:
        return x, None
    if distributed.size() > 1 and len(x) % 2:
        raise ConfigError(f"mixup pairs the views of a batch; give each of {distributed.size()} processes an even number, not {len(x)}")
    numbers = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))       # PyTorch's Beta takes no generator
    drawn = torch.from_numpy(numbers.beta(alpha, alpha, distributed.size() * len(x)).astype(np.float32))
    share = send(distributed.part(drawn), x.device)                                       # (B,)
    own = share[:, None, None, None]
    return (own * x + (1 - own) * x[_neighbours(x)]).contiguous(memory_format=torch.channels_last), share


def mixed_labels(labels: Tensor, share: Tensor | None, n_classes: int) -> Tensor:
    """Return what a cross-entropy takes for views that `mix` has made: labels (B,) int64 themselves, or (B, n_classes) float32."""
    if share is None:
        return labels
    one_hot = F.one_hot(labels, n_classes).float()                               # (B, n_classes)
    return share[:, None] * one_hot + (1 - share[:, None]) * one_hot[_neighbours(labels)]


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
        self._parts: dict[int, Tensor] = {}

    def __call__(self, x: Tensor, faces: Tensor, k: Tensor, generator: torch.Generator) -> Tensor:
        """Return x (B, C, S, S), views k (B,) of faces (B,), a share of them changed. Random numbers: for the batch of all processes."""
        drawn = distributed.part(torch.rand(distributed.size() * len(x), 2, generator=generator))      # (B, 2)
        own = self.person[faces]                                                                       # (B,)
        other = (own + 1 + (drawn[:, 1] * (self.n_people - 1)).long()) % self.n_people                 # (B,) never its own
        x = x.clone()
        for i in torch.nonzero(drawn[:, 0] < self.share).flatten().tolist():
            of_people = self._of_view(int(k[i]))
            change = of_people[int(other[i])].float() - of_people[int(own[i])].float()                 # (C, S, S)
            x[i] = (x[i] + send(change, x.device)).clamp(-1, 1)
        return x

    def _of_view(self, k: int) -> Tensor:
        """Return what is each person's in view k, (N_i, C, S, S) float16; made once, on first use."""
        if k not in self._parts:
            every = torch.arange(self.views.n_faces).split(AT_ONCE)
            faces = torch.cat([to_input_size(self.views.batch(some, torch.full_like(some, k)), self.image_size).cpu() for some in every])
            self._parts[k] = torch.einsum("pn,nchw->pchw", self._weights, faces).half()
        return self._parts[k]


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
