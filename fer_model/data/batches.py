"""Say which samples each step of a stage is made of: a pure function of seed, stage and step.

In:  the number of training faces, the batch size, the run's seed, the name of the stage.
Out: Batches, a pure function of these and of the step: nothing in it has a state, so a resumed run sees the same samples. Of EvenBatches,
     in which each person's expressions come equally often, and of PairBatches the same holds.
"""

import pandas as pd
import torch
from torch import Tensor

from fer_data.faces.views import N_VIEWS
from fer_data.store.loader import sample_order
from fer_model.engine.randomness import stream

__all__ = ["Batches", "EvenBatches", "PairBatches", "even_weights", "pairs"]


class Batches:
    """Which samples each step is made of: a pure function of (n_faces, batch, seed, stage, step).

    Passes over all 110 views of all faces follow each other in one stream; every batch is full, so one may end a pass
    and begin the next. Order does not depend on device, process count or where training was resumed.
    """

    def __init__(self, n_faces: int, batch: int, seed: int, stage: str):
        self.n_faces, self.batch = n_faces, batch
        self.per_pass = n_faces * N_VIEWS                                # samples in a pass ("epoch")
        self.seed = int(torch.randint(2**31, (), generator=stream(seed, f"order/{stage}")))
        self._orders: dict[int, Tensor] = {}

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            kept = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders = {**kept, epoch: sample_order(self.n_faces, N_VIEWS, self.seed, epoch)}
        return self._orders[epoch]                                       # (per_pass,) int64

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the global batch of a step: indices of faces (B,) and of views (B,), both int64 on the CPU."""
        first, last, parts = step * self.batch, (step + 1) * self.batch, []
        while first < last:
            epoch, start = divmod(first, self.per_pass)
            end = min(self.per_pass, start + last - first)
            parts.append(self._order(epoch)[start:end])
            first += end - start
        samples = torch.cat(parts)                                       # (B,)
        return samples // N_VIEWS, samples % N_VIEWS

    def names_at(self, step: int, image_ids: pd.Series) -> list[str]:
        """Return the samples of a step by name: image_id#view."""
        faces, k = self.at(step)
        return [f"{image_ids.iloc[face]}#{view}" for face, view in zip(faces.tolist(), k.tolist(), strict=True)]


class EvenBatches(Batches):
    """The same, but each face is drawn by its weight, with replacement, and a view of it at random."""

    def __init__(self, weights: Tensor, batch: int, seed: int, stage: str):
        """`weights` (n_faces,) float64, as even_weights gives them."""
        super().__init__(len(weights), batch, seed, stage)
        self.weights = weights

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the global batch of a step: indices of faces (B,) and of views (B,), both int64 on the CPU."""
        generator = stream(self.seed, "even", step)
        faces = torch.multinomial(self.weights, self.batch, replacement=True, generator=generator)
        return faces, torch.randint(N_VIEWS, (self.batch,), generator=generator)


class PairBatches(Batches):
    """Pairs of samples: the first of each comes in its turn, as in Batches; the second is drawn, and so is its view.

    Groups of four hold two pairs, 0 with 2 and 1 with 3, so that mixup, which mixes 0 with 1 and 2 with 3, mixes none with its partner.
    """

    def __init__(
        self, person: Tensor, expression: Tensor, same_person: float, same_expression: float, batch: int, seed: int, stage: str
    ):
        """`person`, `expression` (n_faces,) int64 on the CPU: what each face shows; the shares of the pairs that agree in one of them."""
        super().__init__(len(person), batch // 2, seed, stage)
        self.person, self.expression, self.shares = person, expression, (same_person, same_person + same_expression)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the global batch of a step: indices of faces (2B,) and of views (2B,) of B pairs, both int64 on the CPU."""
        (first, k), generator = super().at(step), stream(self.seed, "pairs", step)             # (B,), (B,)
        kind = torch.rand(self.batch, generator=generator)[:, None]
        of_person, of_expression = (labels == labels[first][:, None] for labels in (self.person, self.expression))     # (B, n)
        among = torch.where(kind < self.shares[0], of_person, of_expression | (kind >= self.shares[1]))
        second = torch.multinomial(among.double(), 1, generator=generator)[:, 0]
        other_k = torch.randint(N_VIEWS, (self.batch,), generator=generator)
        return tuple(torch.stack([a.view(-1, 2), b.view(-1, 2)], 1).flatten() for a, b in ((first, second), (k, other_k)))


def pairs(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the second of each pair of a batch (2B, ...) of PairBatches: two of (B, ...).

    >>> [one.tolist() for one in pairs(torch.arange(8))]
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    first, second = batch.unflatten(0, (-1, 2, 2)).unbind(1)             # two of (B / 2, 2, ...)
    return first.flatten(0, 1), second.flatten(0, 1)


def even_weights(person: Tensor, expression: Tensor) -> Tensor:
    """Return how often each face (n,) shall be drawn: all expressions of a person equally often, people as often as they have faces.

    >>> even_weights(torch.tensor([0, 0, 0, 1]), torch.tensor([4, 4, 5, 4])).tolist()
    [0.75, 0.75, 1.5, 1.0]
    """
    _, cell, cell_faces = torch.unique(torch.stack([person, expression], 1), dim=0, return_inverse=True, return_counts=True)
    cells_person = torch.zeros_like(cell_faces).scatter(0, cell, person)              # (cells,) whose each is
    shown = torch.bincount(cells_person)[person]                                      # (n,) expressions of its person
    return torch.bincount(person)[person].double() / (shown * cell_faces[cell])
