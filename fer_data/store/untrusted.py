"""Inspect untrusted shards in a child process with a time limit.

In:  the path of a shard, its record, the shapes that its data sets must have.
Out: a list of problems, each one sentence with file, data set and first bad row; empty if all is well.

A file whose bytes are not the ones that were written, or were written by somebody else, may make the HDF5 library crash
or hang. The child is started again after that; it imports little, so that it starts in a moment.
"""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from fer_data.errors import ShardError
from fer_data.store.shards import ShardRecord, map_dataset, row_sha256

__all__ = ["CHILD_LIMIT_S", "Guard", "look_into"]

CHILD_LIMIT_S = 60.0                  # for one shard; reading a whole one takes about a second


class Guard:
    """A child process that calls functions on files, one after the other. Use as a context manager.

    It is spawned, as workers of a pool are: a script that uses it needs `if __name__ == "__main__":`.
    """

    def __init__(self):
        self._child = self._pipe = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stop()

    def call(self, function: Callable[..., list[str]], path: Path, *arguments) -> list[str]:
        """Return function(path, ...) as the child finds it, or say that the child crashed or had to be stopped."""
        try:
            if self._child is None:
                self._start()
            self._pipe.send((function, path, *arguments))
            if self._pipe.poll(CHILD_LIMIT_S):
                return self._pipe.recv()
            found = f"{path.name}: reading it did not end within {CHILD_LIMIT_S:g} s: the file's structure is damaged"
        except (EOFError, ConnectionError):
            found = f"{path.name}: reading it makes the HDF5 library crash: the file's structure is damaged"
        self._stop()
        return [found]

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._child.start()
        theirs.close()

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._pipe.close()
        self._child = self._pipe = None


def _serve(pipe) -> None:
    """Call what comes through the pipe until the other end is closed."""
    while True:
        try:
            function, *arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(function(*arguments))


def look_into(path: Path, record: ShardRecord, shapes: dict[str, tuple[int, ...]], whole: bool) -> list[str]:
    """Return what is wrong with the data sets of a shard; `whole`: its bytes are the right ones, so rows need not be compared."""
    problems = []
    for part, shape in shapes.items():
        try:
            values = map_dataset(path, part)
        except ShardError as error:
            return [*problems, f"{path.name}: {error}"]
        if values.shape != shape:
            problems.append(f"{path.name}: data set {part} must have shape {shape}, got {values.shape}")
        elif not whole:
            problems += _bad_row(path, part, values, record)
    if not whole and not problems:
        size = path.stat().st_size
        problems.append(f"{path.name}: the file's structure is damaged ({size} bytes, {record.size} expected), its data sets are whole")
    return problems


def _bad_row(path: Path, part: str, values: np.ndarray, record: ShardRecord) -> list[str]:
    """Return the first row of a data set that is not the one that was written."""
    for row, (have, want) in enumerate(zip(row_sha256(values), record.row_sha256.get(part, ()), strict=False)):
        if have != want:
            return [f"{path.name}: data set {part}, first bad row {row} ({record.rows[row]['image_id']})"]
    return []
