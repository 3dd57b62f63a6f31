"""Which of several copies of one picture or clip is taken: the first that can be used, in the order in which an adapter prefers them.

In:  what was found at several places, best first.
Out: the one to use; a Skip for each other one, or what its Skip says.

A clone without Git LFS, a download that broke off or a dead link may lie next to the whole file. Clips are opened anyway, so that of
them the first that can be stepped through is taken. Pictures are opened later, by `prepare`: here only their first bytes are looked at,
and only where there are several copies.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fer_data.errors import ImageError, UnreadableError
from fer_data.files import left_over, opened
from fer_data.pictures import video
from fer_data.records import Skip

__all__ = ["duplicates", "first_whole", "one_of_each"]

Key = TypeVar("Key")
_HEAD = 64                            # bytes that files.left_over needs


def one_of_each(root: Path, found: Mapping[Key, Sequence[str]]) -> tuple[dict[Key, str], list[tuple[Key, str, str]]]:
    """Return key -> the picture to use; and (key, path, detail) of each other copy.

    found   key -> paths relative to the root, best first
    It is the first that is neither empty nor unreadable nor stands in for another file; if all of them are, the first.
    """
    chosen, others = {}, []
    for key, paths in found.items():
        best = paths[0] if len(paths) == 1 else next((path for path in paths if _holds_something(Path(root) / path)), paths[0])
        chosen[key] = best
        others += [(key, path, _taken_from(best)) for path in paths if path != best]
    return chosen, others


def first_whole(root: Path, paths: Sequence[str], key: tuple[str, str]) -> tuple[tuple[str, video.Clip] | None, list[Skip]]:
    """Return (path, Clip) of the first of these clips that can be stepped through, None if none can; and a Skip for each other one.

    key   subject and sequence, for the Skips
    """
    skipped = []
    for place, path in enumerate(paths, 1):
        try:
            clip = video.measure_clip(Path(root) / path, path)
        except ImageError as error:
            skipped.append(Skip(path, "unreadable", *key, detail=str(error)))
            continue
        return (path, clip), skipped + duplicates(paths[place:], key, path)
    return None, skipped


def duplicates(paths: Iterable[str], key: tuple[str, str], best: str) -> list[Skip]:
    """Return a Skip for each of these copies of `best`."""
    return [Skip(path, "duplicate", *key, detail=_taken_from(best)) for path in paths]


def _taken_from(best: str) -> str:
    """Return what the Skip of a copy says."""
    return f"taken from {best}"


def _holds_something(path: Path) -> bool:
    try:
        with opened(path) as file:
            head = file.read(_HEAD)
    except UnreadableError:
        return False
    return bool(head) and left_over(head) is None
