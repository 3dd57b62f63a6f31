"""Verify a prepared folder: every table, shard, data set and row against the hashes stored with them.

In:  a prepared folder.
Out: Verified: how many shards there are, and the problems, each one sentence with file, data set and first bad row.

The HDF5 library opens a shard in a child process only (store/untrusted.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fer_data.errors import FerError
from fer_data.faces.align import CANVAS
from fer_data.faces.views import N_VIEWS, VIEW_SIZE
from fer_data.files import sha256_of_file
from fer_data.store.folder import MARK, marked
from fer_data.store.manifest import COLUMNS, LATER, check_csv, read_manifest, read_settings, read_skipped
from fer_data.store.shards import read_record
from fer_data.store.untrusted import Guard, look_into
from fer_data.text import counted

__all__ = ["Verified", "verify"]

_OF_RECORD = [name for name in COLUMNS if name not in LATER]


class Verified(NamedTuple):
    """What was checked, and what is wrong with it."""

    shards: int
    problems: list[str]               # empty: the folder is what was written

    def to_json(self) -> dict:
        return self._asdict()

    def __rich__(self):
        from rich.text import Text

        last = f"{counted(self.shards, 'shard')} checked, {counted(len(self.problems), 'problem')}"
        return Text("\n".join([*self.problems, last]))


def verify(out: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Verified:
    """Check the folder `out` and return what is wrong with it.

    Raises ManifestError if there are no settings to check against, or ones of another schema version.
    """
    out = Path(out)
    settings = read_settings(out)
    frame, problems = _read_or_say(read_manifest, out)
    for read in (read_skipped, check_csv):
        problems += _read_or_say(read, out)[1]
    mark, unmarked = _read_or_say(marked, out)
    problems += unmarked
    if mark not in (None, settings["dataset"]):
        problems.append(f"{MARK} names {mark}, settings.json {settings['dataset']}")
    rows_of = {} if frame is None else {name: group.sort_values("row") for name, group in frame.groupby("shard")}
    for name in sorted(rows_of.keys() - settings["shards"].keys()):
        problems.append(f"{name}: the manifest names it, settings.json does not")
    with Guard() as guard:
        for index, (name, sha256) in enumerate(sorted(settings["shards"].items())):
            rows = None if frame is None else rows_of.get(name, frame.iloc[:0])
            try:
                problems += _check_shard(guard, out / "shards" / name, sha256, rows, settings["config"])
            except FerError as error:
                problems.append(f"{name}: {error}")
            progress(index + 1, len(settings["shards"]))
    return Verified(len(settings["shards"]), problems)


def _read_or_say(read: Callable, *arguments) -> tuple[object | None, list[str]]:
    """Return (what `read` returns, no problem), or (None, the one that it raised)."""
    try:
        return read(*arguments), []
    except FerError as error:
        return None, [str(error)]


def _check_shard(guard: Guard, path: Path, sha256: str, rows, config: dict) -> list[str]:
    """Return the problems of one shard."""
    name = path.name
    if not path.is_file():
        return [f"{name}: the file is missing"]
    record = read_record(path.parent, name)
    if record is None:
        return [f"{name}: its record {path.with_suffix('.json').name} is missing"]
    if record.sha256 != sha256:
        return [f"{name}: its record is not the one that settings.json was written with"]
    if rows is not None and rows[_OF_RECORD].to_dict("records") != [{key: row.get(key) for key in _OF_RECORD} for row in record.rows]:
        return [f"{name}: its record and the manifest do not say the same of its faces"]
    if set(map(len, record.row_sha256.values())) - {len(record.rows)}:
        return [f"{name}: its record does not have a hash for each row"]
    whole = path.stat().st_size == record.size and sha256_of_file(path) == sha256
    return guard.call(look_into, path, record, _shapes(len(record.rows), config), whole)


def _shapes(count: int, config: dict) -> dict[str, tuple[int, ...]]:
    """Return the shape of each data set of a shard with this many faces."""
    channels = (3,) if config["colour"] == "rgb" else ()
    shapes = {"faces": (count, CANVAS, CANVAS, *channels), "landmarks": (count, 68, 2), "matrix": (count, 2, 3), "image_id": (count,)}
    if config["views"] == "stored":
        shapes["views"] = (count, N_VIEWS, VIEW_SIZE, VIEW_SIZE, *channels)
    return shapes
