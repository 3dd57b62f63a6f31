"""Write a tree of synthetic people, whole or not at all, with a table of what was drawn.

In:  a folder that is missing, empty or an earlier synthetic tree; files to put into it.
Out: the folder, with truth.csv (one row a frame: everything that was drawn) and synthetic.json (generator, version,
     settings, counts). The same settings and seed give the same bytes, whatever the number of processes.
"""

import csv
import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from fer_data.datasets.tree import MARKER
from fer_data.errors import DatasetError
from fer_data.files import make_folder, occupied, parse_object, reported, write_bytes_atomically, write_json_atomically
from fer_data.pool import open_pool
from fer_data.synthetic.people import Person
from fer_data.synthetic.scene import Nuisance
from fer_data.synthetic.version import VERSION

__all__ = ["Progress", "silent", "TRUTH", "Written", "new_tree", "require_seed", "finish_tree", "run_jobs",
           "factors_of", "write_jpeg", "write_png"]

TRUTH = "truth.csv"
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)

Progress = Callable[[int, int], None]   # (people or sessions done, in all)

_GENERATOR = "fer_data.datasets.synthetic"      # where the module was when the format was fixed; a tree of then is still ours


# What is said of a tree, of what is counted in it.
_TOLD = {"subjects": "subjects", "sequences": "sequences", "labelled_sequences": "of them labelled", "frames": "frames", "traps": "traps"}


@dataclass(frozen=True)
class Written:
    """A tree that was written."""

    out: Path
    counts: dict                      # subjects, sequences, frames ..., as in its marker

    def to_json(self) -> dict:
        return {"out": str(self.out), **self.counts}

    def __rich__(self):
        from rich.text import Text

        told = ", ".join(f"{said} {self.counts[name]:,}" for name, said in _TOLD.items() if name in self.counts)
        return Text(f"{told} in {self.out}")


def silent(done: int, total: int) -> None:
    """Say nothing of how far it is."""


@contextmanager
def new_tree(out: Path) -> Iterator[Path]:
    """Yield a hidden folder next to `out` in which to build the tree; if nothing is raised, it takes the place of `out`.

    Whatever is raised, the hidden folder goes; what a killed run left there goes with the next one.
    Raises DatasetError if `out` holds anything that is not an earlier synthetic tree, StorageError for what the file system
    refuses, in the block too.
    """
    out = Path(out).resolve()
    _check_free(out)
    part = out.with_name(f".{out.name}.synthetic.part")
    if part.exists():
        shutil.rmtree(part)
    make_folder(part)
    try:
        with reported("writing", out):
            yield part
            if out.exists():
                shutil.rmtree(out)
            part.rename(out)
    finally:
        if part.exists():
            shutil.rmtree(part)


def require_seed(seed: int) -> None:
    """Raise DatasetError if `seed` is none that numpy takes."""
    if seed < 0:
        raise DatasetError(f"drawing synthetic people: a seed is a whole number from 0 on, got {seed}")


def finish_tree(part: Path, layout: str, settings: dict, counts: dict, rows: Iterable[dict]) -> None:
    """Write truth.csv and the marker into a tree that is otherwise complete."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows)
    write_bytes_atomically(part / TRUTH, text.getvalue().encode())
    top_level = sorted(path.name for path in part.iterdir()) + [MARKER]
    marker = {"generator": _GENERATOR, "version": VERSION, "layout": layout, "settings": settings, "counts": counts, "top_level": top_level}
    write_json_atomically(part / MARKER, marker)


def run_jobs(work: Callable, jobs: list, workers: int, progress: Progress) -> list:
    """Return [work(job) for job in jobs], in processes if `workers` is more than 1; say after each how many are done."""
    if workers <= 1:
        return _counted(map(work, jobs), len(jobs), progress)
    with open_pool(workers, "drawing synthetic people in several processes", "starts again") as pool:
        return _counted(pool.map(work, jobs, chunksize=1), len(jobs), progress)


def _counted(results: Iterable, total: int, progress: Progress) -> list:
    found = []
    for result in results:
        found.append(result)
        progress(len(found), total)
    return found


def factors_of(nuisance: Nuisance, person: Person) -> dict:
    """Return the factors of a picture as columns of truth.csv."""
    row = {}
    for factors in (nuisance, person):
        for field in fields(factors):
            value = getattr(factors, field.name)
            if field.name not in ("asymmetry", "blotches", "moles", "marks"):
                row[field.name] = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return row


def write_jpeg(path: Path, picture: np.ndarray, quality: int = 92) -> None:
    """Write an RGB or grey picture, uint8, as a JPEG with three channels."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR if picture.ndim == 3 else cv2.COLOR_GRAY2BGR)
    encoded, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert encoded, "OpenCV could not encode a JPEG"
    path.write_bytes(buffer.tobytes())


def _check_free(out: Path) -> None:
    """Raise DatasetError unless `out` is missing, empty, or holds an earlier synthetic tree and nothing else."""
    own = _own_names(out / MARKER)
    if problem := occupied(out, f"an earlier synthetic tree (with {MARKER})", lambda path: path.name in own):
        raise DatasetError(f"writing synthetic people: {problem}")


def _own_names(marker: Path) -> list[str]:
    """Return the names at the top of an earlier tree, as its marker has them; none if this is no marker of ours."""
    try:
        content = parse_object(marker.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []
    return content.get("top_level", []) if content.get("generator") == _GENERATOR else []


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8, grey or in the order of OpenCV (BGR), with the compression that costs least: grain leaves little to gain."""
    encoded, buffer = cv2.imencode(".png", picture, _PNG)
    assert encoded, "OpenCV could not encode a PNG"
    path.write_bytes(buffer.tobytes())
