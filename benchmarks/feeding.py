"""How fast a model is fed, beside a DataLoader over HDF5 as it is usually written: samples a second into a null model, on one core.

In:  nothing; faces are drawn at random, as shards hold them.
Out: bars for table.py.

The rival reads one face a sample from an HDF5 file (the page cache holds it), crops, rotates and mirrors with PIL, makes a float
tensor and normalises it; DataLoader(num_workers=0), batches of 150. Both sides produce the same views, normalised the same way.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.table import Bar, compare, run_module, threads
from fer_data.faces.align import CANVAS
from fer_data.faces.views import CROPS, MARGIN, N_VIEWS, VIEW_SIZE, render_views, view_of
from fer_data.store.loader import CpuViews, StoredViews, Views, sample_order

__all__ = ["H5Faces", "bars"]

BATCH = 150
FACES = {"tiny": 4, "bench": 200, "long": 900}
BATCHES = {"tiny": 1, "bench": 20, "long": 100}                          # in a call of either side
LEAST = 10_000                        # samples a second from virtual views, on one core


class H5Faces(Dataset):
    """The rival: sample s is view s % 110 of face s // 110."""

    def __init__(self, path: Path, n_faces: int):
        self.path, self.n_faces, self.file = path, n_faces, None

    def __len__(self) -> int:
        return self.n_faces * N_VIEWS

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.file is None:
            self.file = h5py.File(self.path, "r")
        face, k = divmod(int(index), N_VIEWS)
        view = view_of(k)
        dx, dy = CROPS[view.crop]
        left, top = MARGIN + dx, MARGIN + dy
        image = Image.fromarray(self.file["faces"][face])
        if view.angle_deg:
            middle = (left + VIEW_SIZE / 2, top + VIEW_SIZE / 2)
            image = image.rotate(view.angle_deg, Image.Resampling.BILINEAR, center=middle)
        image = image.crop((left, top, left + VIEW_SIZE, top + VIEW_SIZE))
        if view.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return (torch.from_numpy(np.array(image, np.float32))[None] / 255 - 0.5) / 0.5


def bars(size: str = "bench") -> list[Bar]:
    """Return the bars of feeding, on one core."""
    faces = np.random.default_rng(0).integers(0, 256, (FACES[size], CANVAS, CANVAS), np.uint8)
    order = sample_order(len(faces), N_VIEWS, 0, 0)[: BATCHES[size] * BATCH]
    with threads(1), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.h5"
        with h5py.File(path, "w") as file:
            file["faces"] = faces
        loader = DataLoader(H5Faces(path, len(faces)), BATCH, sampler=order.tolist(), num_workers=0)
        stored = StoredViews([render_views(faces)], np.zeros(len(faces), int), np.arange(len(faces)))
        ways = {"virtual": (_feed(CpuViews(faces), order), 3.0), "stored": (_feed(stored, order), 10.0)}
        rival = partial(_look, loader)
        found = [
            compare(f"feeding {name} views: DataLoader with h5py and PIL, its time over ours", bar, ours, rival, len(order), "samples")
            for name, (ours, bar) in ways.items()
        ]
    samples_per_s = float(found[0].note.split()[1].replace(",", ""))
    return [*found, Bar("feeding virtual views on one core", samples_per_s, LEAST, unit="samples/s")]


def _feed(views: Views, order: torch.Tensor) -> Callable[[], None]:
    return lambda: _look(views.batch(part // N_VIEWS, part % N_VIEWS) for part in order.split(BATCH))


def _look(batches: Iterator[torch.Tensor]) -> None:
    """The null model: one number of each batch."""
    for batch in batches:
        float(batch[0, 0, 0, 0])


if __name__ == "__main__":
    sys.exit(run_module(bars, __doc__))
