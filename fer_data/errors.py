"""Errors that a user can act on: each is one sentence that says what was being done, what was allowed, what came, where."""

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager

__all__ = ["FerError", "DatasetError", "ImageError", "LandmarkError", "WeightsError", "ManifestError", "ShardError",
           "BusyError", "PeopleError", "SplitError", "TableError", "StorageError", "ClusterError", "WorkerError", "UnreadableError",
           "workers_are_watched"]


class FerError(Exception):
    """Base of all errors shown to a user as one sentence; the command line turns it into exit code 1."""


class DatasetError(FerError):
    """A database on disk is not what its adapter reads: wrong root, wrong names, wrong labels."""


class ImageError(FerError):
    """A picture or a clip cannot be decoded, or is not what it seems (an LFS pointer, an AppleDouble file)."""


class LandmarkError(FerError):
    """Points cannot be used: too few, coincident, not finite, or no face."""


class WeightsError(FerError):
    """A model file that a backend needs is missing or not the one expected."""


class ManifestError(FerError):
    """A manifest breaks its schema, or does not fit the shards beside it."""


class ShardError(FerError):
    """A shard is damaged, incomplete, or of another schema version."""


class BusyError(FerError):
    """Another process is writing to the same place."""


class PeopleError(FerError):
    """Something needs to know who is in the pictures, and their database does not say."""


class SplitError(FerError):
    """A split that a user brought cannot be read, or says nothing of the people in it."""


class TableError(FerError):
    """A table or list that a person made cannot be read; its reader says which file, and the sentence ends with this."""


class ClusterError(FerError):
    """A Dask cluster cannot be reached, has no workers or others than it should, or lost what it was given."""


class WorkerError(FerError):
    """A worker process was ended while it worked."""


class UnreadableError(FerError):
    """A file cannot be opened or read; `why` goes on from its name: `is a link to a.png, which is not there`."""

    def __init__(self, path, why: str):
        super().__init__(f"{path} {why}")
        self.path, self.why = path, why


class StorageError(FerError):
    """A file is not written there: no space, no permission, a fault of the disk, or it would replace a file of a run or prepared folder."""


@contextmanager
def workers_are_watched(doing: str, again: str) -> Iterator[None]:
    """Raise WorkerError where a worker process of an Executor in the block is ended. `again`: what the same command does then."""
    try:
        yield
    except BrokenExecutor as error:
        why = "a worker process was ended, perhaps for lack of memory or by a crash in a library"
        raise WorkerError(f"{doing}: {why}; use fewer --workers: the same command {again}") from error
