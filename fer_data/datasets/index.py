"""Read the table of a folder of pictures: one entry for each picture that it describes; and a map of its words for expressions.

In:  a table (fer_data.tables) with the columns path, subject, expression; optional sequence and frame; the pictures that are there.
     A map in YAML, of which JSON is a part.
Out: Indexed: entries for folder.py; a Skip for each row without a picture and each picture without a row; why rows fail.
     Word in one spelling and lower case -> expression, or None.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer_data.datasets.tree import stray
from fer_data.errors import DatasetError, TableError, UnreadableError
from fer_data.files import read_file
from fer_data.labels import EXPRESSIONS
from fer_data.records import Skip
from fer_data.tables import Table, read_table, roles_of, text_of
from fer_data.text import listed, natural_key, one_spelling, same_path, unknown

__all__ = ["Indexed", "by_spelling", "commonest", "read_index", "read_map"]

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


def read_index(
    index: Path, pictures: dict[str, str], others: dict[str, str], columns: Mapping[str, str] | None = None, root: Path | None = None
) -> Indexed:
    """Return what the table says; `pictures` and `others`, whose names do not say that they are pictures, as by_spelling gives them.

    root      the folder of the pictures: a path may begin with it
    columns   role (image, expression, subject) -> the column that holds it; others are found by their usual names. A column that is
              named for `image` may have a picture's name without its folders, or without its suffix too
    Raises DatasetError if it is no table, or lacks a column.
    """
    columns = columns or {}
    try:
        table = _with_columns(read_table(index, ()), columns)
    except TableError as error:
        raise DatasetError(f"reading the table {index}: {error}") from error
    try:
        table.require("image", "subject", "expression")
    except TableError as error:
        which = "rename them, or say which is which with --key (path), --subject, --label (expression)"
        raise DatasetError(f"reading the table {index}: {error}; {which}") from error
    short = _short_names(pictures) if "image" in columns else {}
    found, used, near = Indexed(len(table.rows), [], notes=table.notes), {}, _Near(pictures)
    known = others | pictures
    before = [f"{same_path(str(one))}/" for one in (() if root is None else (root, Path(root).absolute(), Path(root).resolve()))]
    for row in table.rows:
        cells = table.cells(row)
        path, where = same_path(cells.pop("image", "")), f"line {row.number} of {index.name}"
        path = next((path[len(one) :] for one in before if path not in known and path.startswith(one)), path)
        several = short.get(path, ())
        path = several[0] if path not in known and len(several) == 1 else path
        subject = cells["subject"] = row.cells[table.roles["subject"]]
        if path not in known:
            hint = f"; it fits {listed(several, 2)}: write the folder too" if several else near.hint(path)
            found.failed.append(("no-match", f"{where} names {path or 'nothing'}, a picture that is not there{hint}"))
            detail = f"{where} names a picture that is not there{hint}"
            found.skipped.append(Skip(path or where, "no-match", subject, frames=0, detail=detail))
        elif path in used:
            _refuse_other(index, path, used[path], (row.number, cells))
            found.failed.append(("duplicate", f"{where} repeats line {used[path][0]}"))
            found.skipped.append(Skip(path, "duplicate", subject, frames=0, detail=found.failed[-1][1]))
        else:
            used[path] = row.number, cells
            found.entries.append(cells | {"path": known[path], "where": where})
    unnamed = [path for spelled, path in pictures.items() if spelled not in used]
    found.skipped += [stray(path, f"{index.name} does not name it") for path in unnamed]
    return found


def _refuse_other(index: Path, path: str, first: tuple[int, dict[str, str]], second: tuple[int, dict[str, str]]) -> None:
    """Raise DatasetError if two lines, number and cells of each, say that a picture shows other people or expressions."""
    for role in ("subject", "expression"):
        values = [cells.get(role, "").strip() for _, cells in (first, second)]
        if one_spelling(values[0]).lower() != one_spelling(values[1]).lower():
            raise DatasetError(
                f"reading the table {index}: lines {first[0]} and {second[0]} are of one picture, {path}, and say that its {role} is"
                f" {values[0]!r} and {values[1]!r}; keep the line that is right"
            )


def read_map(path: Path) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return (words, notes) of a file such as `AF: fear`, one word a line.

    words   a word in one spelling and lower case -> expression, None where the map says null
    notes   how it was read, where that is worth a word

    Raises DatasetError for what is no YAML or no map, a word that is there twice, and a value that is no expression.
    """
    import yaml

    doing = f"reading the map {path}"
    try:
        text, note = text_of(read_file(path))
        root = yaml.compose(text, Loader=yaml.SafeLoader)                # nodes: nothing is constructed, so nothing can run
    except TableError as error:
        raise DatasetError(f"{doing}: {error}") from error
    except UnreadableError as error:
        raise DatasetError(f"{doing}: it {error.why}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DatasetError(f"{doing}: it is not YAML ({' '.join(str(error).split())[:200]})") from error
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    if not pairs or not all(isinstance(node, yaml.ScalarNode) for pair in pairs for node in pair):
        raise DatasetError(f"{doing}: it must have lines such as `AF: fear`, a word of the database and an expression or null")
    found: dict[str, str | None] = {}
    for word, value in pairs:
        where, key = f"line {word.start_mark.line + 1}", one_spelling(word.value).lower()
        if key in found:
            alike = "upper and lower case, and .0 after a number, do not count"
            raise DatasetError(f"{doing}: {where} has {word.value} a second time; keep one ({alike})")
        null = value.tag == "tag:yaml.org,2002:null"
        if not null and value.value not in EXPRESSIONS:
            raise DatasetError(f"{doing}: {where}: {unknown('expression', value.value, EXPRESSIONS)}, or null to leave it out")
        found[key] = None if null else value.value
    return found, (f"{path.name}: {note}",) if note else ()


def _with_columns(table: Table, columns: Mapping[str, str]) -> Table:
    """Return a table with its roles: the columns that were named, and for the other roles those of usual names."""
    roles = roles_of(table.columns, [role for role in ("image", *FIELDS) if role not in columns], table.rows)
    for role, column in columns.items():
        places = [place for place, there in enumerate(table.columns) if there.split() == column.split()]
        if len(places) != 1:
            wrong = f"the column {column!r} is there {len(places)} times; keep one"
            raise TableError(wrong if places else f"{unknown('column', column, table.columns)}")
        roles[role] = places[0]
    return replace(table, roles=roles)


def _short_names(pictures: Iterable[str]) -> dict[str, list[str]]:
    """Return the name of each picture without its folders, and without its suffix too -> paths."""
    found: dict[str, list[str]] = {}
    for path in pictures:
        name = path.rpartition("/")[2]
        for short in {name, name.rpartition(".")[0]}:
            found.setdefault(short, []).append(path)
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
