"""The faces of a fold, a side at a time: a prepared folder and a fold in, Views out; the test side only after training.

In:  OUT of `fer-data prepare`, a Fold, a device, and a function that says whether training is complete.
Out: Views. In a training run nothing else opens faces, so no pixel of the test fold can reach a weight.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from fer_data.store.loader import Views, open_views
from fer_model.data.fold import Fold
from fer_model.errors import RunError

__all__ = ["FoldReader"]


class FoldReader:
    """Opens each side of a fold when it may be opened."""

    def __init__(self, data: Path, fold: Fold, device: torch.device, complete: Callable[[], bool]):
        self.data, self.fold, self.device, self.complete = data, fold, device, complete

    def train(self) -> Views:
        """Return the training faces."""
        return open_views(self.data, self.fold.train, self.device)

    def validation(self) -> Views | None:
        """Return the faces of the training people who were set aside, None if nobody was."""
        return open_views(self.data, self.fold.validation, self.device) if len(self.fold.validation) else None

    def test(self) -> Views:
        """Return the test faces. Raises RunError while a stage is not complete."""
        if not self.complete():
            raise RunError(f"opening test fold {self.fold.number} of {self.data}: every stage must be complete first, one is not")
        return open_views(self.data, self.fold.test, self.device)
