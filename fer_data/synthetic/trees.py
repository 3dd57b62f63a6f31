"""Write a tree of synthetic people, whole or not at all, with a table of what was drawn.

In:  a folder that is missing, empty or an earlier synthetic tree; files to put into it.
Out: the folder, with truth.csv (one row a frame: everything that was drawn) and synthetic.json (generator, version,
     settings, counts, paths: all that is in the tree). The same settings and seed give the same bytes, whatever the number
     of processes.
"""

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock, Timeout

from fer_data.datasets.tree import MARKER, UNFINISHED
from fer_data.errors import BusyError, DatasetError
from fer_data.files import make_folder, occupied, parse_object, reported, shown, write_bytes_atomically, write_json_atomically
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
_LOCK = ".synthetic.lock"
_HIDDEN = (UNFINISHED, _LOCK)                   # in the folder while a run writes, or after one that was killed

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
    """Yield a hidden folder in `out` in which to build the tree; if nothing is raised, its content takes the place of the earlier tree.

    `out` itself stays the folder that it was: a shell may stand in it, a disk may be mounted on it.
    Whatever is raised, the hidden folder goes and the earlier tree stays; what a killed run left goes with the next one.
    Raises DatasetError if `out` holds anything that is not of an earlier synthetic tree, BusyError if another process writes there,
    StorageError for what the file system refuses, in the block too.
    """
    out = Path(out).resolve()
    _check_free(out)
    made = not out.exists()
    make_folder(out)
    part = out / UNFINISHED
    try:
        with _only_writer(out), reported("writing", out):
            try:
                if part.exists():
                    shutil.rmtree(part)
                for folder in (part / "new", part / "old"):
                    folder.mkdir(parents=True)
                yield part / "new"
                _check_free(out)      # again: drawing takes long, and somebody may have put a file there
                _replace(out, part / "new", part / "old")
            finally:
                if part.exists():
                    shutil.rmtree(part)
    except BaseException:
        if made:
            with suppress(OSError):   # something is in it
                out.rmdir()
        raise


@contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """Keep other processes that draw out of a folder. The lock goes with its process. Raises BusyError if one is in."""
    lock = FileLock(out / _LOCK)
    with reported("locking", out / _LOCK):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            why = "another process is writing there; wait for it, or choose another folder"
            raise BusyError(f"writing synthetic people into {out}: {why}") from error
    try:
        yield
    finally:
        (out / _LOCK).unlink(missing_ok=True)             # while it is held: a tree has the files of its database and no others
        lock.release()


def _replace(out: Path, new: Path, old: Path) -> None:
    """Move what is in `out` to `old` and what is in `new` to `out`; if anything is raised, all of it goes back.

    The marker goes last and comes first. So what is in `out` when the process is killed is in the marker next to it: it counts as
    synthetic, and the next run may replace it.
    """
    going = sorted((path for path in out.iterdir() if path.name not in _HIDDEN), key=lambda path: path.name == MARKER)
    coming = sorted(new.iterdir(), key=lambda path: path.name != MARKER)
    moved = []
    try:
        for paths, folder in ((going, old), (coming, out)):
            for path in paths:
                moved.append((path, folder / path.name))
                path.rename(folder / path.name)
    except BaseException:
        for path, target in reversed(moved):
            if os.path.lexists(target):
                target.rename(path)
        raise


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
    paths = [*sorted(path.relative_to(part).as_posix() for path in part.rglob("*")), MARKER]
    marker = {"generator": _GENERATOR, "version": VERSION, "layout": layout, "settings": settings, "counts": counts, "paths": paths}
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
    """Raise DatasetError unless `out` is missing, empty, or holds an earlier synthetic tree and nothing else, at any depth."""
    marker = _marker_of(out)
    own = {*marker.get("paths", marker.get("top_level", [])), *_HIDDEN}
    if problem := occupied(out, f"an earlier synthetic tree (with {MARKER})", lambda path: path.name in own):
        raise DatasetError(f"writing synthetic people: {problem}")
    if marker and "paths" not in marker:
        why = f"the {MARKER} in {out} is of an earlier version and does not say which files are its own, so yours could be lost"
        raise DatasetError(f"writing synthetic people: {why}; remove the folder yourself, or choose another one")
    inside = (path.relative_to(out) for path in out.rglob("*"))
    others = (path for path in inside if path.parts[0] not in _HIDDEN and path.as_posix() not in own)
    if (first := min(others, default=None)) is not None:
        why = f"{out} holds an earlier synthetic tree and {shown(first)}, which is not of it and would be lost"
        raise DatasetError(f"writing synthetic people: {why}; move it elsewhere, or choose another folder")


def _marker_of(out: Path) -> dict:
    """Return what the marker of an earlier tree says; nothing if there is none, or none of ours."""
    try:
        content = parse_object((out / MARKER).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    named = content.get("paths", content.get("top_level", []))
    whole = isinstance(named, list) and all(isinstance(one, str) for one in named)
    return content if content.get("generator") == _GENERATOR and whole else {}


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8, grey or in the order of OpenCV (BGR), with the compression that costs least: grain leaves little to gain."""
    encoded, buffer = cv2.imencode(".png", picture, _PNG)
    assert encoded, "OpenCV could not encode a PNG"
    path.write_bytes(buffer.tobytes())
