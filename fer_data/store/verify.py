"""Check that what lies on disk is what was written: every shard, data set and row, against the hashes beside them.

In:  a prepared folder. Out: a list of problems, each one sentence with file, data set and first bad row; empty if all is well.

A file whose bytes are not the ones that were written may make the HDF5 library crash or hang, so it is opened in a child
process that is given a time limit.
"""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np

from fer_data.errors import FerError, ShardError
from fer_data.faces.align import CANVAS
from fer_data.faces.views import N_VIEWS, VIEW_SIZE
from fer_data.store.files import sha256_of_file
from fer_data.store.manifest import manifest_sha256, read_manifest, read_settings
from fer_data.store.shards import map_dataset, read_record, row_sha256

__all__ = ["CHILD_LIMIT_S", "verify"]

CHILD_LIMIT_S = 60.0                  # to look into one damaged shard; reading a whole one takes about a second


def verify(out: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> tuple[int, list[str]]:
    """Return (number of shards checked, problems).

    Raises ManifestError if there is no manifest to check against, or one of another schema version.
    """
    out = Path(out)
    frame, settings = read_manifest(out), read_settings(out)
    problems = []
    if settings["manifest_sha256"] != manifest_sha256(out):
        problems.append("manifest.parquet is not the one that settings.json was written with")
    rows_of = {name: group.sort_values("row") for name, group in frame.groupby("shard")}
    for name in sorted(rows_of.keys() - settings["shards"].keys()):
        problems.append(f"{name}: the manifest names it, settings.json does not")
    for index, (name, sha256) in enumerate(sorted(settings["shards"].items())):
        try:
            problems += _check_shard(out / "shards", name, sha256, rows_of.get(name, frame.iloc[:0]), settings)
        except FerError as error:
            problems.append(f"{name}: {error}")
        progress(index + 1, len(settings["shards"]))
    return len(settings["shards"]), problems


def _check_shard(folder: Path, name: str, sha256: str, rows, settings: dict) -> list[str]:
    """Return the problems of one shard."""
    path = folder / name
    if not path.is_file():
        return [f"{name}: the file is missing"]
    record = read_record(folder, name)
    if record is None:
        return [f"{name}: its record {path.with_suffix('.json').name} is missing"]
    if record.sha256 != sha256:
        return [f"{name}: its record is not the one that settings.json was written with"]
    if len(rows) != len(record.rows) or list(rows["face_sha256"]) != [row["face_sha256"] for row in record.rows]:
        return [f"{name}: its record and the manifest do not hold the same faces"]
    if path.stat().st_size == record.size and sha256_of_file(path) == sha256:
        return _check_form(path, record, settings)
    return _in_child(_find_damage, path, record)


def _in_child(function: Callable[..., list[str]], path: Path, *arguments) -> list[str]:
    """Return function(path, ...) as a child process finds it, or say that the child crashed or had to be stopped."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(sender, function, path, *arguments), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(CHILD_LIMIT_S):
            return [f"{path.name}: reading it did not end within {CHILD_LIMIT_S:g} s: the file's structure is damaged"]
        return receiver.recv()
    except EOFError:
        return [f"{path.name}: reading it makes the HDF5 library crash: the file's structure is damaged"]
    finally:
        child.kill()
        child.join()


def _send(sender, function: Callable[..., list[str]], *arguments) -> None:
    sender.send(function(*arguments))


def _check_form(path: Path, record, settings: dict) -> list[str]:
    """Return what is wrong with the data sets of a shard whose bytes are the right ones."""
    channels = (3,) if settings["config"]["colour"] == "rgb" else ()
    count = len(record.rows)
    shapes = {"faces": (count, CANVAS, CANVAS, *channels), "landmarks": (count, 68, 2), "matrix": (count, 2, 3), "image_id": (count,)}
    if settings["config"]["views"] == "stored":
        shapes["views"] = (count, N_VIEWS, VIEW_SIZE, VIEW_SIZE, *channels)
    problems = []
    with h5py.File(path, "r") as file:
        for part, shape in shapes.items():
            if part not in file or file[part].shape != shape:
                got = file[part].shape if part in file else "nothing"
                problems.append(f"{path.name}: data set {part} must have shape {shape}, got {got}")
    return problems


def _find_damage(path: Path, record) -> list[str]:
    """Return where a shard with wrong bytes is damaged: data set and first bad row, or the file's own structure."""
    problems = []
    for part, hashes in record.row_sha256.items():
        try:
            values = map_dataset(path, part)
        except ShardError as error:
            return [f"{path.name}: {error}"]
        got = row_sha256(np.asarray(values))
        bad = next((row for row, (have, want) in enumerate(zip(got, hashes, strict=False)) if have != want), None)
        if bad is not None or len(got) != len(hashes):
            first = bad if bad is not None else min(len(got), len(hashes))
            where = record.rows[first]["image_id"] if first < len(record.rows) else "beyond the last row"
            problems.append(f"{path.name}: data set {part}, first bad row {first} ({where})")
    size = path.stat().st_size
    if not problems:
        problems.append(f"{path.name}: the file's structure is damaged ({size} bytes, {record.size} expected), its data sets are whole")
    return problems
