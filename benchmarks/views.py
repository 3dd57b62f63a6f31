"""How fast views are rendered and shards written and read, beside PIL, a cv2.warpAffine loop and the disk itself.

In:  nothing; faces are drawn at random, as shards hold them. A folder for a few shards, where temporary files go.
Out: bars for table.py.

The rivals cut 96x96 patches from the crop area and turn each about its middle; ours turns the whole face and cuts then, so that
corners are real pixels: the same number of views of the same size. The figure beside each is what copying alone would reach:
every view is written once, and memory takes no more bytes a second than that. All on one core, but for the shard that is written:
its hashes are taken in threads of their own, so it has all cores, and so has the plain write.
"""

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from benchmarks.table import Bar, compare, pairs, run_module, threads
from fer_data.faces.align import CANVAS
from fer_data.faces.views import ANGLES_DEG, CROP_AREA, CROPS, MARGIN, N_VIEWS, VIEW_SIZE, render_views
from fer_data.prepare.plan import SHARD_FACES
from fer_data.store.shards import map_dataset, write_shard

__all__ = ["pil_views", "warp_views", "bars"]

FACES = {"tiny": 2, "bench": 40, "long": 200}
ROUNDS = {"tiny": 1, "bench": 7, "long": 15}
BATCH = 150                           # views that a training step gathers
_AT_ONCE = 4                          # faces rendered in a call; prepare renders a shard's
_COPIED = 1 << 27                     # bytes of the copy that tells the memory's speed: more than any cache holds


def pil_views(area: Image.Image) -> list[np.ndarray]:
    """Return the 110 views of a crop area as PIL's users cut, turn and mirror them."""
    views = []
    for x, y in CROPS.values():
        patch = area.crop((x, y, x + VIEW_SIZE, y + VIEW_SIZE))
        for angle in ANGLES_DEG:
            turned = patch.rotate(angle, Image.Resampling.BILINEAR) if angle else patch
            views += [np.array(turned), np.array(ImageOps.mirror(turned))]
    return views


def warp_views(area: np.ndarray) -> list[np.ndarray]:
    """Return the 110 views of a crop area as OpenCV's users cut, turn and mirror them."""
    views = []
    for x, y in CROPS.values():
        patch = area[y : y + VIEW_SIZE, x : x + VIEW_SIZE]
        for angle in ANGLES_DEG:
            turn = cv2.getRotationMatrix2D(((VIEW_SIZE - 1) / 2, (VIEW_SIZE - 1) / 2), angle, 1.0)
            turned = cv2.warpAffine(patch, turn, (VIEW_SIZE, VIEW_SIZE), flags=cv2.INTER_LINEAR)
            views += [turned, cv2.flip(turned, 1)]
    return views


def bars(size: str = "bench") -> list[Bar]:
    """Return the bars of rendering, grey and RGB, and of shards."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (FACES[size], CANVAS, CANVAS, 3), np.uint8)
    with threads(1):
        memory = _copied_per_s(ROUNDS[size])
        found = [bar for colour, part in (("grey", faces[..., 0].copy()), ("RGB", faces)) for bar in _rendering(colour, part, size, memory)]
    with tempfile.TemporaryDirectory(prefix="bench-views-") as folder:
        return [*found, *_shards(Path(folder), faces[..., 0], size, rng)]


def _rendering(colour: str, faces: np.ndarray, size: str, memory: float) -> list[Bar]:
    """Return the two bars of rendering all views of some faces; what is rendered is stacked by both sides."""
    area = np.ascontiguousarray(faces[:, MARGIN : MARGIN + CROP_AREA, MARGIN : MARGIN + CROP_AREA])
    pictures = [Image.fromarray(one) for one in area]
    amount, a_view = len(faces) * N_VIEWS, faces[0, :VIEW_SIZE, :VIEW_SIZE].nbytes
    limit = f"memory takes {memory / a_view:,.0f} views/s ({memory / 1e9:.1f} GB/s)"
    found = [
        compare(f"110 {colour} views of a face: {rival}'s time over ours", bar, partial(_some, faces), way, amount, "views", ROUNDS[size])
        for rival, bar, way in (
            ("PIL crop-and-rotate", 3.5, lambda: [np.stack(pil_views(one)) for one in pictures]),
            ("a cv2.warpAffine loop", 1.0, lambda: [np.stack(warp_views(one)) for one in area]),
        )
    ]
    return [Bar(**{**bar.__dict__, "note": f"{bar.note}; {limit}"}) for bar in found]


def _some(faces: np.ndarray) -> None:
    """Render a few faces at a time; a large block of memory would have to be fetched from the system each time, the rivals' is not."""
    for first in range(0, len(faces), _AT_ONCE):
        render_views(faces[first : first + _AT_ONCE])


def _shards(folder: Path, faces: np.ndarray, size: str, rng: np.random.Generator) -> list[Bar]:
    """Return the bars of writing a shard with its views and of gathering batches from it."""
    faces = np.resize(faces, (FACES[size] if size == "tiny" else SHARD_FACES, CANVAS, CANVAS))
    small = {"landmarks": np.zeros((len(faces), 68, 2)), "matrix": np.zeros((len(faces), 2, 3))}
    data = {"faces": faces, "views": render_views(faces), **small}
    rows = [{"image_id": f"face-{index:03d}", "face_sha256": "0" * 64} for index in range(len(faces))]
    write = partial(write_shard, folder, "00000.h5", "key", data, rows, [])
    write()
    plain = (folder / "00000.h5").read_bytes()
    written = compare("a shard written: the time of a plain write of its bytes over ours", 0.5, write,
                      partial(_write_plainly, folder / "plain", plain), len(plain) / 1e6, "MB", ROUNDS[size])
    views = data["views"].reshape(-1, VIEW_SIZE, VIEW_SIZE)
    mapped = np.asarray(map_dataset(folder / "00000.h5", "views")).reshape(views.shape)
    chosen = [rng.integers(0, len(views), BATCH) for _ in range(4 if size == "tiny" else 100)]
    with threads(1):
        gathered = compare(
            "views gathered from a mapped shard: the time from memory over ours", 0.9, lambda: [mapped[one] for one in chosen],
            lambda: [views[one] for one in chosen], len(chosen) * BATCH, "views", ROUNDS[size],
        )
    return [written, gathered]


def _write_plainly(path: Path, data: bytes) -> None:
    """Write bytes as fast as the disk takes them, with the promise that they are there."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copied_per_s(rounds: int) -> float:
    """Return how many bytes a second one core copies from memory to memory."""
    source, target = np.ones(_COPIED, np.uint8), np.ones(_COPIED, np.uint8)
    seconds = pairs(lambda: np.copyto(target, source), lambda: None, rounds).ours
    return _COPIED / min(seconds)


if __name__ == "__main__":
    sys.exit(run_module(bars, __doc__))
