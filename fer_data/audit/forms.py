"""Read splits in every form in which people keep them (tables, lists, folders, JSON) into the same rows.

In:  tables (fer_data.tables), lists (one path a line, or a fold list with headings), JSON, folders of pictures.
Out: Row records, as written: nothing is concluded here about who is in a picture (who.py does that).

Sides and folds are told by columns, by headings, or by the names of files and folders (places.py).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer_data.audit.places import SIDES, UNTESTED, fold_of, is_listed_picture, only_places, place_of, plain_number, side_of
from fer_data.errors import SplitError, TableError, UnreadableError
from fer_data.files import read_file
from fer_data.labels import WORDS
from fer_data.people import person
from fer_data.records import ROLES as FACE_ROLES
from fer_data.tables import ROLES, Table, lines_of, raw_lines, read_table, roles_of, table_of, text_of, what_instead, whole
from fer_data.text import same_path

__all__ = ["SUFFIXES", "Row", "Tree", "rows_of_file", "rows_of_tree"]

SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list", ".json", ".jsonl", ".parquet")
_FLAGS = {"istrain": "train", "istest": "test", "isvalidation": "validation"}      # column of yes and no -> side
_HEADER = tuple(role for role in ROLES if role not in _FLAGS)        # a first line that says `train` may be a row without a header
_YES_NO = {**dict.fromkeys(("1", "true", "yes", "y", "t"), True), **dict.fromkeys(("0", "false", "no", "n", "f"), False)}
_HEADING = re.compile(r"\s*(?:(\d+)\s?[-_ ]?\s?fold|fold\s?[-_ ]?\s?(\d+))(?=[\s:,]|$)[\s:,]*(\d{1,9})?(?![^\s,])", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One line of a split."""

    where: str                        # file and line, or the folder
    fold: str | None                  # None: no fold is named
    side: str | None                  # train, validation, test, UNTESTED; None: the row only says in which fold it is tested
    path: str | None                  # as listed, '/' separated; None: the split lists no paths
    cells: Mapping[str, str]          # other roles -> text; no empty ones


@dataclass(frozen=True)
class Tree:
    """A folder of pictures; `files` are relative to it, '/' separated."""

    root: Path
    files: tuple[str, ...]


def rows_of_file(path: Path, notes: list[str] | None = None, who: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a table, list or JSON file; add to `notes` how it was read, where that is worth a word.

    `who` names the columns that tell the subject together, where the user says so. Raises SplitError if the file is none of these, is
    damaged, or has no such columns; the sentence says where.
    """
    notes, suffix = [] if notes is None else notes, path.suffix.lower()
    try:
        if suffix in (".parquet", ".jsonl"):
            return _rows_of_table(path, read_table(path), notes, who)
        if suffix and suffix not in SUFFIXES:
            readable = f"read are {', '.join(SUFFIXES)} and folders; write what is listed in it as text, one path a line"
            raise TableError(f"it is a {suffix} file{what_instead(path)}; {readable}")
        text, note = text_of(read_file(path))
        notes += [f"{path.name}: {note}"] if note else []
        if suffix == ".json":
            return _rows_of_json(path, text, notes, who)
        lines = raw_lines(text)
        begin = next(line for line in lines if line.strip())
        if suffix in (".csv", ".tsv") or any(separator in begin for separator in ",;\t"):
            first, *rest = lines_of(text)
            if who or roles_of(first.cells, _HEADER):
                return _rows_of_table(path, table_of(first.cells, rest), notes, who)
    except TableError as error:
        raise SplitError(f"reading the split {path}: {error}") from error
    except UnreadableError as error:
        raise SplitError(f"reading the split {error}") from error
    _refuse_columns(path, who)
    return list(_rows_of_list(path, lines))


def _refuse_columns(path: Path, who: Sequence[str]) -> None:
    if who:
        raise SplitError(f"reading the split {path}: it has no columns, so none is called {who[0]!r}; give --subject-pattern instead")


def rows_of_tree(tree: Tree) -> tuple[list[Row], int]:
    """Return the rows of a folder per side (train/..., fold_3/test/...) or per fold, and how many files lie outside of them.

    The path of a row is relative to the tree; `below` is what follows the names of side and fold.
    Raises SplitError if nothing in it lies in a folder named after a side or a fold.
    """
    rows, outside = [], 0
    for file in tree.files:
        spelled = same_path(file)
        folders, name = spelled.split("/")[:-1], spelled.rsplit("/", 1)[-1]
        side, fold, used = place_of(folders)
        if side is None and fold is None:                                # `fer-data audit train test`: the argument itself is a side
            side, fold, _ = place_of([tree.root.name])
        if side is None and fold is None:
            outside += 1
            continue
        below = "/".join([*(folder for index, folder in enumerate(folders) if index not in used), name])
        rows.append(Row(str(tree.root), fold, side, spelled, {"below": below, "location": str(tree.root / file)}))
    if not rows:
        folders = sorted({file.split("/")[0] for file in tree.files if "/" in file})
        seen = f"its folders are {', '.join(folders[:6])}" if folders else "it has none"
        raise SplitError(f"reading the split {tree.root}: no folder is named like train, test, val or fold_3; {seen}")
    return rows, outside


# --- lists ------------------------------------------------------------------------------------------------------------


def _rows_of_list(path: Path, lines: list[str]) -> Iterator[Row]:
    """Yield the rows of a list: one path a line, perhaps a label after it, perhaps headings such as `3-fold 40 Angry 5`.

    Where every line ends with a side (`a.png;5;training`), that is the side of its row.
    """
    side, fold, announced, count = *_named(path), None, 0
    sided = all(_side_at_end(line) for line in lines if _is_entry(line))
    for number, line in enumerate([*lines, None], 1):
        heading = None if line is None or "/" in line or is_listed_picture(line.strip()) else _HEADING.match(line)
        if line is None or heading:
            if announced is not None and announced != count:
                raise SplitError(f"reading the split {path}: fold {fold} announces {announced} entries, {count} follow; is the file whole?")
            if heading:
                side, fold, count = None, plain_number(heading[1] or heading[2]), 0
                announced = int(heading[3]) if heading[3] else None
        elif _is_entry(line):
            count += 1
            own = _side_at_end(line) if sided else None
            entry, label = _entry(line[: line.rindex(own[0])].rstrip(",;\t ") if own else line)
            if not entry:
                raise SplitError(f"reading the split {path}: line {number} has no path; it is {line[:60]!r}")
            yield Row(f"{path.name}:{number}", fold, own[1] if own else side, entry, {"expression": label} if label else {})


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _side_at_end(line: str) -> tuple[str, str] | None:
    """Return (last word, side that it tells) of a line that has another word before, or None.

    >>> _side_at_end("a b.png;3;training"), _side_at_end("train/a.png"), _side_at_end("test")
    (('training', 'train'), None, None)
    """
    words = re.split(r"[\s,;]+", line.strip())
    side = _side_word(words[-1]) if len(words) > 1 else None
    return (words[-1], side) if side else None


def _entry(line: str) -> tuple[str, str | None]:
    """Return (path, label or None) of a line of a list; of more than two cells, the label is the first that looks like one.

    >>> _entry("S130/007 Angry"), _entry("my faces/a b.png"), _entry("a b.png, 3"), _entry("a.npy;a.wav;5")
    (('S130/007', 'Angry'), ('my faces/a b.png', None), ('a b.png', '3'), ('a.npy', '5'))
    >>> _entry("/a/1001_DFA_ANG_XX /b/1001_DFA_ANG_XX.wav 0"), _entry("/a/x /b/y")
    (('/a/1001_DFA_ANG_XX', '0'), ('/a/x', None))
    """
    line = line.strip()
    if is_listed_picture(line):
        return _clean(line), None
    cells, paths = re.split(r"[\t,;]", line), []
    if len(cells) == 1:
        *paths, end = re.split(r"\s+(?=/)", line)                        # a blank before a slash parts two paths
        cells = [*paths, *(end.rsplit(None, 1) or [""])]     # "": a line that is a side and nothing else
        if len(cells) > 1 and not (paths or _is_label(cells[1]) or is_listed_picture(cells[0])):
            cells = [line]
    labels = [cell.strip().strip("\"'") for cell in cells[1:]]
    label = next(filter(_is_label, labels), None) if paths or len(labels) > 1 else "".join(labels)
    return _clean(cells[0]), label or None


def _is_label(cell: str) -> bool:
    return cell.isdigit() or cell.lower() in WORDS


def _clean(path: str) -> str:
    return same_path(path.strip().strip("\"'"))


def _named(path: Path) -> tuple[str | None, str | None]:
    """Return (side, fold) that the name of a file tells, or else the folder that it lies in."""
    above = path.parent.name if only_places(path.parent.name) else ""
    return side_of(path.stem) or side_of(above), fold_of(path.stem) or fold_of(above)


# --- tables and JSON --------------------------------------------------------------------------------------------------


def _rows_of_table(path: Path, table: Table, notes: list[str], who: Sequence[str]) -> list[Row]:
    """Return the rows of a table with a header; the columns `who` tell the subject and nothing else."""
    notes += table.notes
    people, table = [_column(path, table, name) for name in who], _without_references(path, table, notes)
    table = replace(table, roles={role: index for role, index in table.roles.items() if index not in people})
    roles, flags = _sides_and_folds(path, table, notes), _flags(path, table)
    named_side, named_fold = _named(path)
    rows = []
    for row in table.rows:
        where = f"{path.name}:{row.number}"
        found = replace(table, roles=roles).cells(row)
        if "side" in roles:
            side = _side_cell(path, row.number, found.pop("side", ""), table.columns[roles["side"]])
        else:
            side = _side_of_flags(path, row, flags, table.columns) if flags else None
        fold = _fold_cell(found.pop("fold", ""))
        if "fold" not in roles:
            side, fold = side or named_side, named_fold
        elif side is None:
            side = UNTESTED if fold is None else None
        if path.name == "manifest.parquet" and "subject" in roles and row.cells[roles["subject"]] == "NA":
            found["subject"] = "NA"                                      # a woman in JAFFE, whom `prepare` knows by the names of files
        if people and all(person(row.cells[index]) for index in people):
            found["subject"] = "_".join(row.cells[index] for index in people)
        image = found.pop("image", None)
        cells = {role: cell for role, cell in found.items() if role not in _FLAGS}
        rows.append(Row(where, fold, side, _clean(image) if image else None, cells))
    return rows


def _without_references(path: Path, table: Table, notes: list[str]) -> Table:
    """Return the table of a prepared folder, or a copy of it, without the neutral faces that are neither trained nor tested on."""
    roles = [row.cells[table.columns.index("role")] for row in table.rows] if "role" in table.columns else []
    references = roles.count("reference")
    if not references or not {*roles} <= {*FACE_ROLES}:
        return table
    notes.append(f"neutral references in {path.name}, neither trained nor tested on: {references:,} rows, left out")
    return replace(table, rows=tuple(row for row, role in zip(table.rows, roles, strict=True) if role != "reference"))


def _column(path: Path, table: Table, name: str) -> int:
    """Return the index of the column that a user names."""
    if name not in table.columns:
        there = ", ".join(map(repr, table.columns[:8])) + (" ..." if len(table.columns) > 8 else "")
        raise SplitError(f"reading the split {path}: it has no column {name!r}; its columns are {there}")
    return table.columns.index(name)


def _sides_and_folds(path: Path, table: Table, notes: list[str]) -> dict[str, int]:
    """Return the roles of the columns; one called `split` that holds numbers tells folds, one called `fold` or `dataset` that holds `train`
    sides. A column of sides never names databases, even where another one tells the side."""
    roles = dict(table.roles)
    for role, other, what in (("side", "fold", "numbers"), ("fold", "side", "sides")):
        if role in roles and other not in roles:
            cells = [row.cells[roles[role]] for row in table.rows]
            if all(whole(cell) is not None for cell in cells) if what == "numbers" else all(map(_side_word, cells)):
                roles[other] = roles.pop(role)
                notes.append(f"the column {table.columns[roles[other]]!r} of {path.name} holds {what}: taken for the {other} of each row")
                break
    if "dataset" in roles and all(_side_word(row.cells[roles["dataset"]]) for row in table.rows):
        index = roles.pop("dataset")
        if "side" not in roles:
            roles["side"] = index
            notes.append(f"the column {table.columns[index]!r} of {path.name} holds sides: taken for the side of each row")
    return roles


def _side_word(cell: str) -> str | None:
    return SIDES.get(re.sub(r"[\W_]", "", cell.lower()))


def _side_cell(path: Path, line: int, cell: str, column: str) -> str:
    if not cell:
        raise SplitError(f"reading the split {path}: column {column!r} is empty in line {line}")
    side = _side_word(cell)
    if side is None:
        raise SplitError(f"reading a split: column {column!r} may hold {', '.join(SIDES)}; got {cell!r} in {path.name}:{line}")
    return side


def _flags(path: Path, table: Table) -> dict[str, int]:
    """Return side -> column that says yes or no to it. A column `train` or `test` that says something else is none of them."""
    found = {}
    for role, side in _FLAGS.items():
        if role in table.roles:
            index = table.roles[role]
            odd = next((row for row in table.rows if _flag(row.cells[index]) is None), None)
            if odd is None:
                found[side] = index
            elif table.columns[index].lower().startswith("is"):
                got = f"got {odd.cells[index]!r} in {path.name}:{odd.number}"
                raise SplitError(f"reading a split: column {table.columns[index]!r} may hold 1 and 0, true and false, yes and no; {got}")
    return found


def _flag(cell: str) -> bool | None:
    return _YES_NO.get(re.sub(r"[.,]0+$", "", cell.lower()))


def _side_of_flags(path: Path, row, flags: dict[str, int], columns: tuple[str, ...]) -> str:
    """Return the side that columns of yes and no tell; one that says no tells the other side, where only one can be it."""
    said = [side for side, index in flags.items() if _flag(row.cells[index])]
    other = [side for side in ("train", "test") if side not in flags] if not said else []
    if len(said) + len(other) != 1:
        names, sides = ", ".join(repr(columns[index]) for index in flags.values()), "two sides" if said else "no side"
        raise SplitError(f"reading a split: {path.name}:{row.number} is on {sides}, by the columns {names}")
    return (said or other)[0]


def _fold_cell(cell: str) -> str | None:
    """Return the name of a fold; None for an empty cell or -1, which is scikit-learn's mark for "never tested"."""
    cell = re.sub(r"[.,]0+$", "", cell.strip())
    return None if cell in ("", "-1") else cell


def _rows_of_json(path: Path, text: str, notes: list[str], who: Sequence[str]) -> list[Row]:
    """Return the rows of {"train": [...], "test": [...]}, of {"fold_0": {"train": ...}} or [{"train": ...}, ...], or of [{"path": ...}]."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SplitError(f"reading the split {path}: it is not JSON ({str(error)[:80]})") from error
    if isinstance(content, list) and content and all(map(_is_row, content)):
        return _rows_of_table(path, read_table(path), notes, who)
    _refuse_columns(path, who)
    rows = list(_json_rows(path, content, None, None, path.name, 0))
    if not rows:
        raise SplitError(f"reading the split {path}: it has no list of paths under a key such as train, test or fold_3")
    return rows


def _is_row(entry) -> bool:
    """Say whether a value of JSON is a row of a table: an object without lists and objects in it, with a column that is known."""
    plain = isinstance(entry, dict) and not any(isinstance(value, list | dict) for value in entry.values())
    return plain and bool(roles_of(tuple(entry), _HEADER))


def _json_rows(path: Path, content, fold: str | None, side: str | None, where: str, depth: int) -> Iterator[Row]:
    if isinstance(content, dict) and depth < 4:
        children = [(str(key), side_of(str(key)) or side, fold_of(str(key)) or fold, value) for key, value in content.items()]
    elif isinstance(content, list) and content and depth < 4 and all(isinstance(entry, dict) for entry in content):
        children = [(str(index), side, str(index), entry) for index, entry in enumerate(content)]
    elif isinstance(content, list) and all(isinstance(entry, str) for entry in content):
        yield from (Row(f"{where}[{index}]", fold, side, _clean(entry), {}) for index, entry in enumerate(content))
        return
    else:
        needed = "lists of paths under keys such as train or fold_3 are needed"
        raise SplitError(f"reading the split {path}: {needed}, not {str(content)[:60]!r} at {where}")
    for key, child_side, child_fold, value in children:
        yield from _json_rows(path, value, child_fold, child_side, f"{where}/{key}", depth + 1)
