"""Load faces and views of a prepared folder as batches on a device. Of fer_data this alone, and FAN, import torch.

In:  a prepared folder, rows of its manifest, indices of faces and views.
Out: float32 (B, C, 96, 96) in [-1, 1].

On the CPU stored views lie mapped from the shards; without them the faces are in memory, and their views are rendered by
faces.views, the same bytes. On a GPU the faces lie there, whether views are stored or not, and a batch is one gather and one rendering
with the 110 matrices by `render`, within 1 grey level. There are no workers, no state and no random numbers:
sample s of a list of faces is (face s // 110, view s % 110), and an epoch's order comes from (seed, epoch).
"""

import resource
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from fer_data.errors import ManifestError, ShardError
from fer_data.faces.align import CANVAS
from fer_data.faces.views import CENTRE_VIEW, MATRICES, N_VIEWS, VIEW_SIZE, render_view
from fer_data.store.manifest import read_settings
from fer_data.store.shards import map_dataset

__all__ = ["CENTRE_VIEW", "Views", "CpuViews", "GpuViews", "StoredViews", "open_views", "virtual_views", "render", "sample_order",
           "send", "to_unit", "to_u8"]


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on the device; itself, if it is there. What a step draws goes this way: nothing waits for the copy."""
    pinned = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor      # else the host would wait
    return pinned.to(device, non_blocking=True)


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """Return uint8 pixels 0..255 as float32 in [-1, 1]. The inverse of to_u8.

    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)


def to_u8(values: torch.Tensor) -> torch.Tensor:
    """Return values in [-1, 1] as uint8 0..255, rounded; values outside are clipped."""
    return values.detach().to(torch.float32).add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def sample_order(n_faces: int, n_views: int, seed: int, epoch: int) -> torch.Tensor:
    """Return a permutation of the n_faces * n_views samples, int64, that depends on (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1))
    return torch.randperm(n_faces * n_views, generator=generator)


class Views(ABC):
    """The 110 views of a fixed list of faces."""

    n_views = N_VIEWS

    def __init__(self, n_faces: int, channels: int, device: torch.device):
        self.n_faces, self.channels, self.device = n_faces, channels, device

    @abstractmethod
    def batch(self, faces: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Return views k (B,) of faces (B,), int64 both: float32 (B, C, 96, 96) in [-1, 1] on the device."""


class StoredViews(Views):
    """Views read from the shards, on the CPU: mapped, so that only what is used is in memory."""

    def __init__(self, maps: list[np.ndarray], shard: np.ndarray, row: np.ndarray):
        """`maps` hold (N_i, 110, 96, 96[, 3]) uint8; face j is row[j] of maps[shard[j]]."""
        super().__init__(len(row), 3 if maps[0].ndim == 5 else 1, torch.device("cpu"))
        self._maps, self._shard, self._row = maps, shard, row

    def batch(self, faces: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Return views k (B,) of faces (B,): float32 (B, C, 96, 96) in [-1, 1]."""
        out = np.empty((len(faces), *self._maps[0].shape[2:]), np.uint8)  # (B, 96, 96[, 3])
        for index, (face, view) in enumerate(zip(faces.tolist(), k.tolist(), strict=True)):
            out[index] = self._maps[self._shard[face]][self._row[face], view]
        return to_unit(_channels_first(torch.from_numpy(out)))


class CpuViews(Views):
    """Faces resident in memory; views are rendered by OpenCV, batch by batch."""

    def __init__(self, faces: np.ndarray):
        """`faces` is (N, 132, 132[, 3]) uint8."""
        super().__init__(len(faces), 3 if faces.ndim == 4 else 1, torch.device("cpu"))
        self._faces = faces

    def batch(self, faces: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Return views k (B,) of faces (B,): float32 (B, C, 96, 96) in [-1, 1]."""
        out = np.empty((len(faces), VIEW_SIZE, VIEW_SIZE, *self._faces.shape[3:]), np.uint8)       # (B, 96, 96[, 3])
        for face, view, pixels in zip(faces.tolist(), k.tolist(), out, strict=True):
            render_view(self._faces[face], view, pixels)
        return to_unit(_channels_first(torch.from_numpy(out)))


class GpuViews(Views):
    """Faces resident on a GPU; views are rendered there, batch by batch."""

    def __init__(self, faces: torch.Tensor):
        """`faces` is (N, C, 132, 132) uint8 on the device."""
        super().__init__(len(faces), faces.shape[1], faces.device)
        self._faces = faces

    def batch(self, faces: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Return views k (B,) of faces (B,): float32 (B, C, 96, 96) in [-1, 1] on the device."""
        return to_unit(render(self._faces[send(faces, self.device)], send(k, self.device)))


_grids: dict[torch.device, torch.Tensor] = {}  # (110, 96, 96, 2) float32 for grid_sample, 8 MB, made once a device


def render(faces: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Return view k[b] of faces[b]: uint8 (B, C, 132, 132), int64 (B,) -> uint8 (B, C, 96, 96), on the faces' device.

    Bilinear in float32 (autocast leaves grid_sample alone), rounded once: within 1 grey level of faces.views.render_view.
    Convention: as in faces/views.py.
    """
    if faces.device not in _grids:
        _grids[faces.device] = _grid().to(faces.device)
    grid = _grids[faces.device][k]  # (B, 96, 96, 2)
    views = F.grid_sample(faces.to(torch.float32), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return views.round_().clamp_(0, 255).to(torch.uint8)


def open_views(out: Path, rows: pd.DataFrame, device: str | torch.device = "cpu") -> Views:
    """Return the views of the faces in these manifest rows, in their order.

    On the CPU stored views are mapped from the shards. Else the faces are loaded to the device and views rendered there.
    Raises ShardError if a shard is missing or damaged, or if there are more than may be open, ManifestError if there are no rows.
    """
    if not len(rows):
        raise ManifestError(f"opening views of {out}: there must be at least one face, got none")
    folder, device = Path(out) / "shards", torch.device(device)
    names = sorted(rows["shard"].unique())
    shard = rows["shard"].map({name: index for index, name in enumerate(names)}).to_numpy()
    row = rows["row"].to_numpy()
    if device.type == "cpu" and read_settings(out)["config"]["views"] == "stored":
        _let_open(len(names), Path(out))
        return StoredViews([map_dataset(folder / name, "views") for name in names], shard, row)
    faces = None
    for index, name in enumerate(names):                                 # one map at a time: what was read of it counts as ours
        here, found = shard == index, map_dataset(folder / name, "faces")
        if faces is None:
            faces = np.empty((len(rows), *found.shape[1:]), np.uint8)
        faces[here] = found[row[here]]
    return virtual_views(faces, device)


def _let_open(files: int, out: Path) -> None:
    """Let this process open so many files more: each map holds one, and 1,024 are a usual limit. Raises ShardError if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and files >= hard:
        raise ShardError(
            f"opening views of {out}: {files:,} shards are open at once, and this process may open {hard:,} files; raise the limit"
            " (ulimit -Hn), or prepare with --views virtual"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft + files if hard == resource.RLIM_INFINITY else min(soft + files, hard), hard))


def virtual_views(faces: np.ndarray, device: torch.device) -> Views:
    """Return views rendered from faces (N, 132, 132[, 3]) uint8: by OpenCV on the CPU, by `render` on another device."""
    return CpuViews(faces) if device.type == "cpu" else GpuViews(_channels_first(torch.from_numpy(faces)).contiguous().to(device))


def _channels_first(pixels: torch.Tensor) -> torch.Tensor:
    """(B, H, W) -> (B, 1, H, W); (B, H, W, 3) -> (B, 3, H, W)."""
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)


def _grid() -> torch.Tensor:
    """Return for each view the canvas places of its pixels as grid_sample wants them: (110, 96, 96, 2) in [-1, 1]."""
    y, x = np.mgrid[0:VIEW_SIZE, 0:VIEW_SIZE]
    places = np.stack([x, y, np.ones_like(x)], -1) @ MATRICES.transpose(0, 2, 1)[:, None]  # (110, 96, 96, 2), canvas px
    return torch.from_numpy(places / ((CANVAS - 1) / 2) - 1).to(torch.float32)
