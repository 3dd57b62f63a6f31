"""How fast a database is prepared, beside the script that everyone writes; what a second worker and a second run cost.

In:  nothing; a few people are drawn at CK+'s size (640x490), and their peak frames copied, each with a comment of its own, so
     that no frame is found in the cache. About 2.5 GB of temporary disk.
Out: bars for table.py.

The rival reads with cv2.imread, looks for the face with dlib at full size, aligns with skimage's warp, cuts and turns 110 views
with PIL and writes them with h5py and gzip, all pictures at once at the end. Both sides read the same files and give views of the
same size; ours also hashes, checks and keeps what makes it resumable.
"""

import os
import shutil
import statistics
import struct
import sys
import tempfile
import time
import zlib
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import cv2
import h5py
import numpy as np
from PIL import Image
from skimage.transform import SimilarityTransform, warp

from benchmarks.table import Bar, Pair, compare, run_module, threads
from benchmarks.views import pil_views
from fer_data import weights
from fer_data.faces.align import RIGID, TEMPLATE
from fer_data.faces.landmarks.dlib68 import MODEL_NAME, import_dlib
from fer_data.faces.views import CROP_AREA, MARGIN
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import Summary, prepare_dataset
from fer_data.synthetic.ck_plus import write_ck_plus

__all__ = ["UsualScript", "write_tree", "steady_s", "bars"]

FRAMES = 3                            # of each sequence, as the paper takes them from CK+
PATTERN = "{subject}/{sequence}/{frame}_{expression}.png"
SEQUENCES = {"tiny": 24, "bench": 327, "long": 327}     # CK+ has 327 that are labelled: 981 frames
BESIDE = {"tiny": 2, "bench": 40, "long": 327}          # sequences that the rival prepares as well
ROUNDS = {"tiny": 1, "bench": 3, "long": 5}
WARM = {"tiny": 6, "bench": 100, "long": 100}           # frames until the state is steady
_AHEAD = 16                           # sequences in flight at two workers: the last ones are not steady any more
_WORDS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")


class UsualScript:
    """The rival, with its models loaded."""

    def __init__(self):
        dlib = import_dlib("measuring the rival")
        self.detector = dlib.get_frontal_face_detector()
        self.predictor = dlib.shape_predictor(str(weights.require(MODEL_NAME, "measuring the rival")))

    def __call__(self, paths: list[Path], out: Path) -> int:
        """Write the views of all faces that are found; return how many faces."""
        views = []
        for path in paths:
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            boxes = self.detector(picture, 0)
            if not boxes:
                continue
            shape = self.predictor(picture, boxes[0])
            points = np.array([(shape.part(index).x, shape.part(index).y) for index in RIGID])
            transform = SimilarityTransform.from_estimate(points, TEMPLATE - MARGIN)
            face = warp(picture, transform.inverse, output_shape=(CROP_AREA, CROP_AREA))
            views.append(pil_views(Image.fromarray((face * 255).astype(np.uint8))))
        with h5py.File(out, "w") as file:
            file.create_dataset("views", data=np.array(views), compression="gzip")
        return len(views)


def write_tree(root: Path, sequences: int, drawn: list[list[bytes]]) -> list[Path]:
    """Write PNGs for `prepare folder`, ten sequences a person, at least ten people; no two files have the same bytes."""
    paths = []
    for number, pictures in enumerate(islice(cycle(drawn), sequences)):
        folder = root / f"p{number % max(10, sequences // 10):03d}" / f"{number:04d}"
        folder.mkdir(parents=True)
        for frame, png in enumerate(pictures):
            paths.append(folder / f"{frame}_{_WORDS[number % len(_WORDS)]}.png")
            paths[-1].write_bytes(_with_comment(png, f"Comment\0{number}".encode()))
    return paths


def steady_s(marks: list[float], warm: int) -> float:
    """Return the seconds of a sequence in steady state; `marks` are the times at which each sequence was done.

    What comes before `warm` sequences is the start; when the last ones are done nothing waits behind them.
    """
    first, last = marks[warm - 1], marks[-_AHEAD - 1]
    return (last - first) / (len(marks) - _AHEAD - warm)


def bars(size: str = "bench") -> list[Bar]:
    """Return the bars of prepare."""
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as folder:
        place, drawn = Path(folder), _draw(Path(folder) / "drawn")
        beside = write_tree(place / "beside", BESIDE[size], drawn)
        write_tree(place / "tree", SEQUENCES[size], drawn)
        return [_beside_the_script(place, beside, size), _second_worker(place, size), *_other_folds(place, size)]


def _draw(root: Path) -> list[list[bytes]]:
    """Return the last three pictures of each labelled sequence of eight drawn people."""
    write_ck_plus(root, subjects=8, seed=7, frames=(FRAMES, FRAMES))
    labels = sorted(root.glob("Emotion/*/*/*_emotion.txt"))
    folders = [root / "cohn-kanade-images" / path.parent.relative_to(root / "Emotion") for path in labels]
    return [[path.read_bytes() for path in sorted(folder.glob("*.png"))] for folder in folders]


def _beside_the_script(place: Path, paths: list[Path], size: str) -> Bar:
    """Return the bar of ours against the usual script, from pictures to stored views, each on one core."""
    out = place / "out"
    with threads(1):
        return compare(
            "a CK+ frame prepared with 110 stored views: the usual script's time over ours (cv2, dlib, skimage, PIL, gzip)", 4.0,
            partial(_prepare, place / "beside", out), partial(UsualScript(), paths, place / "usual.h5"), len(paths), "frames",
            ROUNDS[size], before=partial(shutil.rmtree, out, ignore_errors=True),
        )


def _second_worker(place: Path, size: str) -> Bar:
    """Return the bar of two workers against one, each library on one thread, after the start."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with threads(2):
        for number in range(ROUNDS[size]):
            for workers in (1, 2) if number % 2 == 0 else (2, 1):
                shutil.rmtree(place / "out", ignore_errors=True)
                marks: list[float] = []
                _prepare(place / "tree", place / "out", workers, progress=partial(_mark, marks))
                seconds[workers].append(steady_s(marks, WARM[size] // FRAMES))
    speeds = [FRAMES / statistics.median(seconds[workers]) for workers in (1, 2)]
    note = f"one worker {speeds[0]:,.1f} frames/s; two {speeds[1]:,.1f} frames/s"
    return Bar(f"two workers over one, after {WARM[size]} frames", Pair(tuple(seconds[2]), tuple(seconds[1])).ratio, 1.7, note=note)


def _mark(marks: list[float], done: int, total: int) -> None:
    marks.append(time.perf_counter())


def _other_folds(place: Path, size: str) -> list[Bar]:
    """Return the bars of a second run over what the last one left in `out`, with other folds."""
    os.sync()  # what lies in the page cache is the first run's to write
    began = time.perf_counter()
    again = _prepare(place / "tree", place / "out", folds=5)
    seconds = time.perf_counter() - began
    work = again.decoded + again.detected + again.rendered + again.shards_written
    what = f"the same {again.kept:,} frames prepared again with other folds"
    return [
        Bar(what, seconds, 3, "s", most=True),
        Bar(f"{what}: decodes, detections, renders, shards", work, 0, "in all", most=True),
    ]


def _prepare(root: Path, out: Path, workers: int = 1, folds: int = 2, progress=lambda done, total: None) -> Summary:
    config = PrepareConfig(landmarks="dlib", views="stored", folds=folds, workers=workers, options={"pattern": PATTERN})
    return prepare_dataset("folder", root, out, config, progress)


def _with_comment(png: bytes, text: bytes) -> bytes:
    """Return the same picture with a text chunk after its header."""
    header = 8 + 25                   # signature, IHDR
    chunk = b"tEXt" + text
    return png[:header] + struct.pack(">I", len(text)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[header:]


if __name__ == "__main__":
    sys.exit(run_module(bars, __doc__))
