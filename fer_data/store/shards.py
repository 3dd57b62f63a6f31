"""Shards: small immutable HDF5 files of faces (and, if wanted, their 110 views), each with a JSON file next to it.

In:  faces of a few sequences, in the order of the manifest.
Out: shards/00000.h5 with contiguous, uncompressed data sets, and shards/00000.json with its key, hashes and rows.

    faces      (N, 132, 132[, 3]) uint8     the stored canvas
    views      (N, 110, 96, 96[, 3]) uint8  only with --views stored
    landmarks  (N, 68, 2) float64           (x, y) in the framed picture
    matrix     (N, 2, 3) float64            framed picture -> canvas
    image_id   (N,) fixed-length UTF-8

A shard knows nothing of folds. Its bytes depend only on its content: no times, no names of machines.
"""

import hashlib
import io
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import h5py
import numpy as np

from fer_data.errors import ShardError, UnreadableError
from fer_data.files import (
    parse_object,
    read_file,
    sealed_json,
    sha256_of_bytes,
    sha256_of_file,
    unseal,
    why_unreadable,
    write_bytes_atomically,
)
from fer_data.schema import read

__all__ = ["SHARD_VERSION", "ShardRecord", "shard_name", "write_shard", "read_record", "known_record", "kept_record", "row_sha256",
           "map_dataset", "refuse_damaged", "size_of"]

SHARD_VERSION = 3
_ALIGN = 4096                         # data sets start on pages, so that they can be mapped
_OWN = 1 << 16                        # bytes, more than HDF5 takes for itself in a file of a few data sets


class _Row(TypedDict):
    """What is relied on of a row before there is a manifest; fer_data.store.manifest.COLUMNS has the others."""

    image_id: str
    face_sha256: str


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a shard without opening it: the content of its JSON file."""

    name: str                         # 00000.h5
    key: str                          # sha256 of everything that decides its content (prepare/run.py)
    size: int                         # bytes of the HDF5 file
    sha256: str                       # of the HDF5 file
    rows: list[_Row]                  # manifest rows, without fold
    skipped: list[dict]               # Skip records of its sequences, as dicts
    row_sha256: dict[str, list[str]]  # data set -> first 16 hex digits of the sha256 of each row's bytes
    shard_version: int = SHARD_VERSION


def shard_name(index: int) -> str:
    """Return the file name of the index-th shard.

    >>> shard_name(7)
    '00007.h5'
    """
    return f"{index:05d}.h5"


def write_shard(folder: Path, name: str, key: str, data: dict[str, np.ndarray], rows: list[dict], skipped: list[dict]) -> ShardRecord:
    """Write one shard and its record, both atomically, the record last; return the record.

    `data` holds the data sets of the module's docstring but image_id, N rows each. HDF5 lays the file out; what the data sets
    hold is written there as it is in memory, while threads take its hashes: hashing takes longer than a fast disk.
    """
    ids = [row["image_id"].encode() for row in rows]
    data = {**data, "image_id": np.array(ids, dtype=f"S{max(map(len, ids), default=1)}")}
    data = {part: np.ascontiguousarray(values) for part, values in sorted(data.items())}
    pieces = _pieces(key, data)
    with ThreadPoolExecutor(2) as pool:
        whole = pool.submit(_sha256_of_pieces, pieces)
        of_rows = pool.submit(lambda: {part: row_sha256(values) for part, values in data.items()})
        write_bytes_atomically(folder / name, *pieces)
    size = sum(piece.nbytes for piece in pieces)
    record = ShardRecord(name, key, size, whole.result(), rows, skipped, of_rows.result())
    write_bytes_atomically((folder / name).with_suffix(".json"), sealed_json(record.__dict__, indent=None))
    return record


def row_sha256(values: np.ndarray) -> list[str]:
    """Return the first 16 hex digits of the sha256 of each row's bytes."""
    return [sha256_of_bytes(np.ascontiguousarray(row).reshape(-1).view(np.uint8))[:16] for row in values]


def read_record(folder: Path, name: str) -> ShardRecord | None:
    """Return the record of a finished shard, or None where there is none (never written, or interrupted).

    Raises ShardError if the record cannot be read, is damaged or of another version; both version numbers are named.
    """
    path = (folder / name).with_suffix(".json")
    if not path.is_file():
        return None
    doing = "reading a shard's record"
    try:
        data = read_file(path)
    except UnreadableError as error:
        raise ShardError(f"{doing}: {error}") from error
    try:
        version = parse_object(data).get("shard_version")
        if version != SHARD_VERSION:
            raise ShardError(f"{doing}: this program reads version {SHARD_VERSION}, {path} has version {version!r}")
        content = unseal(data)
    except ValueError as error:
        raise ShardError(f"{doing}: {path} is damaged ({error})") from error
    try:
        return read(ShardRecord, content)
    except ValueError as error:
        raise ShardError(f"{doing}: {path} is not what prepare writes ({error})") from error


def known_record(folder: Path, name: str, sha256: str) -> ShardRecord:
    """Return the record of a shard that was written before. Raises ShardError if it is gone, or that of another shard."""
    record = read_record(folder, name)
    if record is None or record.sha256 != sha256:
        raise ShardError(f"reading a shard's record: that of {folder / name} is not the one that was written; run the same command again")
    return record


def size_of(folder: Path, name: str, sha256: str) -> int:
    """Return the bytes of a shard, as its record has them.

    Raises ShardError as known_record does, and if the file is gone or has another size; that its bytes are the same is not looked at.
    """
    path, size = folder / name, known_record(folder, name, sha256).size
    problem = why_unreadable(path) or (f"has {path.stat().st_size:,} bytes, not {size:,}" if path.stat().st_size != size else "")
    if problem:
        raise ShardError(f"looking at a shard: {path} {problem}; the `prepare` command that wrote it makes it again")
    return size


def kept_record(folder: Path, name: str, key: str) -> ShardRecord | None:
    """Return the record of a shard that lies there, every byte as it was written, and has this key; None: it has to be made."""
    try:
        record = read_record(folder, name)
    except ShardError:                    # damaged or of another version
        return None
    path = folder / name
    whole = record is not None and record.key == key and path.is_file() and sha256_of_file(path) == record.sha256
    return record if whole else None


def refuse_damaged(out: Path, hashes: Mapping[str, str]) -> None:
    """Raise ShardError if a shard of a prepared folder is not the one that its manifest was written with; it reads every byte.

    hashes   name -> sha256, as settings.json has them
    """
    for name, sha256 in hashes.items():
        path = Path(out) / "shards" / name
        if not path.is_file() or sha256_of_file(path) != sha256:
            what = "has changed since it was written" if path.is_file() else "is gone"
            raise ShardError(f"looking at the faces of {out}: {path} {what}; the `prepare` command that wrote it makes it again")


def map_dataset(path: Path, name: str) -> np.ndarray:
    """Return a data set of a shard as a read-only array mapped from the file: nothing is copied.

    Only plain data sets are opened: no link to another file, no virtual or external storage, no filter, no object.
    Raises ShardError if the file is not there, is not HDF5, lacks the data set, or holds it in another form.
    """
    way_out = "the `prepare` command that wrote it makes it again"
    if problem := why_unreadable(path):
        raise ShardError(f"mapping a shard: {path} {problem}; {way_out}")
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
                raise ShardError(f"mapping a shard: {path} has no data set {name!r} of its own")
            dataset = file[name]
            if dataset.is_virtual or dataset.external or dataset.chunks or dataset.id.get_create_plist().get_nfilters():
                what = f"data set {name!r} of {path}"
                raise ShardError(f"mapping a shard: {what} must be contiguous and plain; it is virtual, external or chunked")
            shape, dtype, offset = dataset.shape, dataset.dtype, dataset.id.get_offset()
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, UnicodeDecodeError) as error:  # what h5py raises on damaged files
        raise ShardError(f"mapping a shard: {path} cannot be opened as HDF5 ({error}); {way_out}") from error
    if dtype.hasobject or dtype.kind not in "uifS":
        raise ShardError(f"mapping a shard: data set {name!r} of {path} must hold numbers or fixed-length text, got {dtype}")
    if 0 in shape:
        return np.zeros(shape, dtype)
    if offset is None:
        raise ShardError(f"mapping a shard: data set {name!r} of {path} is not contiguous")
    if offset + int(np.prod(shape)) * dtype.itemsize > path.stat().st_size:
        raise ShardError(f"mapping a shard: {path} ends before its data set {name!r} does: it is truncated")
    return np.memmap(path, dtype, "r", offset, shape)


def _pieces(key: str, data: dict[str, np.ndarray]) -> list[memoryview]:
    """Return the bytes of the HDF5 file in order: what HDF5 writes for itself, and between that each data set as it is in memory."""
    outline = _Outline(sum(values.nbytes + _ALIGN for values in data.values()) + _OWN)
    form = {"libver": ("earliest", "v110"), "alignment_threshold": _ALIGN, "alignment_interval": _ALIGN}
    with h5py.File(outline, "w", driver="fileobj", **form) as file:
        file.attrs["shard_version"] = SHARD_VERSION
        file.attrs["key"] = np.bytes_(key)
        for name, values in data.items():
            dataset = file.create_dataset(name, values.shape, values.dtype, track_times=False)
            if values.size:               # HDF5 makes room for all values when one is written
                dataset[(0,) * values.ndim] = values[(0,) * values.ndim]
        starts = sorted((file[name].id.get_offset(), name) for name, values in data.items() if values.size)
    pieces, place = [], 0
    for start, name in starts:
        pieces += [outline.memory[place:start], data[name].reshape(-1).view(np.uint8).data]
        place = start + data[name].nbytes
    return [*pieces, outline.memory[place : outline.size]]


class _Outline(io.RawIOBase):
    """A file in memory, of which only the pages that are written take room. HDF5 itself on a full disk ends in a crash."""

    def __init__(self, room: int):
        self.memory, self.size, self._place = memoryview(mmap.mmap(-1, room)), 0, 0

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = place + (self.size if whence == os.SEEK_END else 0)
        return self._place

    def readinto(self, into: memoryview) -> int:
        into[:] = self.memory[self._place :][: len(into)]
        return len(into)

    def write(self, data: memoryview) -> int:
        self.memory[self._place :][: len(data)] = data
        self.size = max(self.size, self._place + len(data))
        return len(data)

    def truncate(self, size: int) -> int:
        self.size = size
        return size


def _sha256_of_pieces(pieces: list[memoryview]) -> str:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()
