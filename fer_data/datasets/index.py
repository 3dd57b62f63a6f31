"""Read the index of a folder of pictures: one entry for each picture that it describes.

In:  a table (fer_data.tables) with the columns path, subject, expression; optional sequence and frame; the pictures that are there.
Out: Indexed: entries for folder.py; a Skip for each row without a picture and each picture without a row; why rows fail.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fer_data.datasets.tree import stray
from fer_data.errors import DatasetError, TableError
from fer_data.records import Skip
from fer_data.tables import read_table
from fer_data.text import natural_key, same_path

__all__ = ["Indexed", "by_spelling", "commonest", "read_index"]

FIELDS = ("subject", "sequence", "frame", "expression")


@dataclass
class Indexed:
    """What an index says of the pictures."""

    rows: int                         # in the table
    entries: list[dict[str, str]]     # path; FIELDS, those that the row has; where: its line, for messages
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()       # how it was read
    failed: list[tuple[str, str]] = field(default_factory=list)      # (kind, sentence) of each row that no picture belongs to


def by_spelling(pictures: Iterable[str]) -> dict[str, str]:
    """Return path in its one spelling -> path on disk.

    Raises DatasetError if two files have names that differ in Unicode form or in a backslash alone: nobody can tell which is meant.
    """
    found: dict[str, str] = {}
    for path in pictures:
        other = found.setdefault(same_path(path), path)
        if other != path:
            raise DatasetError(
                f"reading a folder: two files have one name, {other!a} and {path!a}: they differ in Unicode form (NFC and NFD) or in a"
                " backslash alone; remove or rename one"
            )
    return found


def read_index(index: Path, pictures: dict[str, str], others: dict[str, str]) -> Indexed:
    """Return what the index says; `pictures` and `others`, whose names do not say that they are pictures, as by_spelling gives them.

    Raises DatasetError if it is no table, or lacks a column.
    """
    try:
        table = read_table(index, ("image", *FIELDS))
        table.require("image", "subject", "expression")
    except TableError as error:
        raise DatasetError(f"reading the index {index}: {error}") from error
    found, used, near = Indexed(len(table.rows), [], notes=table.notes), {}, _Near(pictures)
    known = others | pictures
    for row in table.rows:
        cells = table.cells(row)
        path, where = same_path(cells.pop("image", "")), f"line {row.number} of {index.name}"
        subject = cells["subject"] = row.cells[table.roles["subject"]]
        if path not in known:
            hint = near.hint(path)
            found.failed.append(("no-match", f"{where} names {path or 'nothing'}, a picture that is not there{hint}"))
            detail = f"{where} names a picture that is not there{hint}"
            found.skipped.append(Skip(path or where, "no-match", subject, frames=0, detail=detail))
        elif path in used:
            found.failed.append(("duplicate", f"{where} repeats line {used[path]}"))
            found.skipped.append(Skip(path, "duplicate", subject, frames=0, detail=found.failed[-1][1]))
        else:
            used[path] = row.number
            found.entries.append(cells | {"path": known[path], "where": where})
    unnamed = [path for spelled, path in pictures.items() if spelled not in used]
    found.skipped += [stray(path, f"{index.name} does not name it") for path in unnamed]
    return found


def commonest(failed: list[tuple[str, str]], rows: int, of: str) -> str:
    """Return how many of the rows fail, and the sentence of the first row of the commonest kind."""
    kind, count = Counter(kind for kind, _ in failed).most_common(1)[0]
    first = next(sentence for one, sentence in failed if one == kind)
    how_many = "each for this reason" if count == len(failed) else f"{count} of them for this reason"
    return f"{len(failed)} of {rows} rows of {of} cannot be used, {how_many}: {first}"


class _Near:
    """Finds the picture that a row may mean which names none; to be told, not to be taken."""

    def __init__(self, pictures: dict[str, str]):
        """Remember the pictures."""
        self._pictures, self._other = pictures, {}

    def hint(self, path: str) -> str:
        """Return "; ..." with the picture that is there under a like name, or ""."""
        if not self._other:
            self._other = _like(self._pictures)
        parts = path.split("/")
        tails = ["/".join(parts[start:]) for start in range(1, len(parts))]
        if tail := next((tail for tail in tails if tail in self._pictures), None):
            return f"; {tail} is: paths are relative to ROOT"
        if len(there := self._other.get(path.casefold(), [])) == 1:
            return f"; {there[0]} is: upper and lower case count"
        if there := self._other.get(f"{path.casefold()}.") or self._other.get(f"{path.rpartition('.')[0].casefold()}."):
            return f"; {there[0]} is: the suffix counts"
        if len(there := self._other.get(f"/{path.casefold()}", [])) == 1:
            return f"; {there[0]} is: write the folders below ROOT as well"
        return ""


def _like(pictures: Iterable[str]) -> dict[str, list[str]]:
    """Return three keys for each picture: its path, its path up to the suffix and `.`, `/` and its name, in lower case -> paths."""
    found: dict[str, list[str]] = {}
    for path in sorted(pictures, key=natural_key):
        lower = path.casefold()
        for key in (lower, f"{lower.rpartition('.')[0]}.", f"/{lower.rpartition('/')[2]}"):
            found.setdefault(key, []).append(path)
    return found
