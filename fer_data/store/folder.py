"""Guard a prepared folder: whose it is, one writer at a time, remove what an interrupted run left.

In:  the name of a database, its root, the folder to write to.
Out: the folder, marked and locked while a run writes; nothing of anybody else's is changed or removed.

    fer-data.json   the mark: which database the folder is for. Where it lies, all names below are ours, elsewhere none is
    manifest.parquet, manifest.csv, skipped.csv, settings.json, run.json, report.html, card.md, croissant.json, shards/, cache/
    .lock           empty; it stays when the run is over, for a lock that is removed can be held by two
    .lock.json      which process holds it, while one does
"""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fer_data.errors import BusyError, DatasetError, UnreadableError
from fer_data.files import (
    is_part,
    make_folder,
    occupied,
    read_file,
    remove_durably,
    reported,
    sealed_json,
    unfinished_in,
    unseal,
    write_bytes_atomically,
    write_json_atomically,
)

__all__ = ["MARK", "OWN_FILES", "check_out", "marked", "only_writer", "remove_surplus"]

MARK = "fer-data.json"
_LOCK, _OWNER = ".lock", ".lock.json"
_DIGIT = "[0-9]"
_SHARDS = (f"{_DIGIT * 5}.h5", f"{_DIGIT * 5}.json")
_WRITTEN = (
    MARK, _OWNER, "manifest.parquet", "manifest.csv", "skipped.csv", "settings.json", "run.json", "report.html", "card.md",
    "croissant.json",
    *(f"shards/{name}" for name in _SHARDS), "cache/landmarks/??/*.json",
)
OWN_FILES = (*_WRITTEN, _LOCK)        # patterns, of paths from the prepared folder on


def check_out(dataset: str, root: Path, out: Path, doing: str = "") -> None:
    """Raise DatasetError unless `out` is new, empty, or a folder that was prepared from the same database; writes nothing.

    `doing` begins the sentence; without it the database is being prepared.
    """
    root, out, doing = Path(root), Path(out), doing or f"preparing {dataset}"
    if root.resolve() in (out.resolve(), *out.resolve().parents):
        raise DatasetError(f"{doing}: {root} is only read; give a folder outside of it, got {out}")
    if (out / MARK).is_file():
        held = marked(out)
        if held != dataset:
            raise DatasetError(f"{doing} into {out}: it holds {held}; give another folder, or remove this one first")
        return
    # a run may have ended before it left its mark
    if problem := occupied(out, f"the {MARK} of an earlier run", lambda path: path.name in (_LOCK, _OWNER) or is_part(path, _OWNER, MARK)):
        raise DatasetError(f"{doing}: {problem}")


def marked(out: Path) -> str:
    """Return which database the mark names. Raises DatasetError if there is none, if it cannot be read, or if it is damaged."""
    try:
        return str(unseal(read_file(out / MARK))["dataset"])
    except UnreadableError as error:
        why = f"its {MARK} {error.why}" if os.path.lexists(out / MARK) else f"there is no {MARK} of an earlier run"
        raise DatasetError(f"looking at {out}: {why}") from error
    except (ValueError, KeyError) as error:
        raise DatasetError(f"looking at {out}: its {MARK} is damaged ({error}); prepare into another folder") from error


@contextmanager
def only_writer(dataset: str, root: Path, out: Path, doing: str = "") -> Iterator[None]:
    """Hold a folder for one database and one run: checked, locked, marked, rid of left-overs. The lock goes with its process.

    Raises DatasetError as check_out does, BusyError if another process writes there; nothing is changed then.
    """
    check_out(dataset, root, out, doing)
    make_folder(out)
    lock = FileLock(out / _LOCK)
    with reported("locking", out / _LOCK):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise BusyError(f"preparing into {out}: {_owner(out)} is writing there already") from error
    try:
        write_json_atomically(out / _OWNER, {"process": os.getpid()})
        check_out(dataset, root, out, doing)  # again, now that nobody else can change it
        if not (out / MARK).is_file():
            write_bytes_atomically(out / MARK, sealed_json({"dataset": dataset}))
        _remove_parts(out)
        make_folder(out / "shards")
        yield
    finally:
        try:
            remove_durably(out / _OWNER)
        finally:
            lock.release()


def remove_surplus(out: Path, keep: Collection[str]) -> None:
    """Remove shards that are not in `keep`: an earlier run had more of them, and the manifest no longer names them."""
    for pattern in _SHARDS:
        for path in sorted((out / "shards").glob(pattern)):
            if path.with_suffix(".h5").name not in keep:
                remove_durably(path)


def _remove_parts(out: Path) -> None:
    """Remove what an interrupted run was writing when it ended."""
    for pattern in _WRITTEN:
        for path in unfinished_in(out, pattern):
            remove_durably(path)


def _owner(out: Path) -> str:
    """Return who holds the lock, as far as it has said so."""
    try:
        return f"process {json.loads((out / _OWNER).read_bytes())['process']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or just ended
        return "another process"
