"""Read splits in every form in which people keep them (tables, lists, folders, JSON) into the same rows.

In:  tables (CSV, TSV, Parquet), lists (one path a line, or a fold list with headings), JSON, folders of pictures.
Out: Row records, as written: nothing is concluded here about who is in a picture (audit_read does that).

Sides and folds are told by columns, by headings, or by the names of files and folders (audit_places).
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_data.audit.places import SIDES, UNTESTED, fold_of, is_listed_picture, only_places, place_of, plain_number, side_of
from fer_data.errors import SplitError, UnreadableError
from fer_data.files import read_file
from fer_data.labels import WORDS

__all__ = ["ROLES", "SUFFIXES", "Row", "Tree", "rows_of_file", "rows_of_tree"]

# what a column holds -> its names, the best first; compared in lower case, without blanks and punctuation
ROLES = {
    "image": ("path", "imagepath", "imgpath", "filepath", "filename", "file", "image", "img", "framepath", "imageid", "imagename", "name",
              "id"),
    "subject": ("subject", "subjectid", "subj", "subjid", "person", "personid", "identity", "participant", "participantid", "actor",
                "actorid", "user", "userid", "speaker", "speakerid", "sid"),
    "sequence": ("sequence", "sequenceid", "seq", "seqid", "video", "videoid", "clip", "clipid", "session", "sessionid", "trial"),
    "frame": ("frame", "frameid", "framenumber", "frameno"),
    "expression": ("expression", "emotion", "emotionlabel", "label", "class", "classname", "category", "target"),
    "fold": ("fold", "foldid", "kfold", "testfold", "cvfold", "cv"),
    "side": ("split", "usage", "part", "partition", "set", "subset", "phase", "mode"),
    "dataset": ("dataset", "database"),
    "source": ("source",),
    "digest": ("facesha256", "sourcesha256", "sha256"),
}  # fmt: skip

SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list", ".json", ".parquet")
_NOTHING = {"", "nan", "none", "null", "na", "<na>"}
_NO_TEXT = {
    b"PK\x03\x04": "an Excel or zip file; save it as CSV",
    b"version https://git-lfs": "a Git LFS pointer; run `git lfs pull` where it came from",
    b"\x00\x05\x16\x07": "an AppleDouble file that macOS left beside the real one",
}
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


def rows_of_file(path: Path) -> list[Row]:
    """Return the rows of a table, list or JSON file.

    Raises SplitError if it is none, or is damaged; the sentence says where.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _rows_of_table(path, *_parquet(path))
    if suffix not in SUFFIXES:
        raise SplitError(f"reading the split {path}: allowed are {', '.join(SUFFIXES)} and folders; got {suffix or 'no suffix'}")
    text = _text(path)
    if suffix == ".json":
        return _rows_of_json(path, text)
    lines = text.splitlines()
    if suffix in (".csv", ".tsv") or "," in lines[0] or "\t" in lines[0]:
        table = _csv(path, text)
        if table and _roles(table[0][1]):
            return _rows_of_table(path, table[0][1], table[1:])
    return list(_rows_of_list(path, lines))


def rows_of_tree(tree: Tree) -> tuple[list[Row], int]:
    """Return the rows of a folder per side (train/..., fold_3/test/...) or per fold, and how many files lie outside of them.

    The path of a row is relative to the tree; `below` is what follows the names of side and fold.
    Raises SplitError if nothing in it lies in a folder named after a side or a fold.
    """
    rows, outside = [], 0
    for file in tree.files:
        folders, name = file.split("/")[:-1], file.rsplit("/", 1)[-1]
        side, fold, used = place_of(folders)
        if side is None and fold is None:                                # `fer-data audit train test`: the argument itself is a side
            side, fold, _ = place_of([tree.root.name])
        if side is None and fold is None:
            outside += 1
            continue
        below = "/".join([*(folder for index, folder in enumerate(folders) if index not in used), name])
        rows.append(Row(str(tree.root), fold, side, file, {"below": below, "location": str(tree.root / file)}))
    if not rows:
        folders = sorted({file.split("/")[0] for file in tree.files if "/" in file})
        seen = f"its folders are {', '.join(folders[:6])}" if folders else "it has none"
        raise SplitError(f"reading the split {tree.root}: allowed are folders such as train, test, val or fold_3; {seen}")
    return rows, outside


# --- text -------------------------------------------------------------------------------------------------------------


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except UnreadableError as error:
        raise SplitError(f"reading the split {error}") from error


def _text(path: Path) -> str:
    data = _bytes(path)
    for mark, what in _NO_TEXT.items():
        if data.startswith(mark):
            raise SplitError(f"reading the split {path}: it is {what}")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise SplitError(f"reading the split {path}: it is not UTF-8 text (byte {error.start}); is it a picture or an archive?") from error
    if not text.strip():
        raise SplitError(f"reading the split {path}: it is empty")
    return text.strip("\r\n") if text.strip("\r\n") else text


def _csv(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of each row that is not empty."""
    first = text.splitlines()[0]
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SplitError(f"reading the split {path}: it is not a CSV table ({error})") from error


def _parquet(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(_bytes(path)))
    except (OSError, ValueError) as error:  # pyarrow's errors are children of these two
        raise SplitError(f"reading the split {path}: it is not a whole Parquet file ({str(error).splitlines()[0]})") from error
    columns = [str(column) for column in frame.columns]
    values = [["" if value is None else str(value) for value in frame.iloc[:, index]] for index in range(len(columns))]
    return columns, [(number + 1, list(row)) for number, row in enumerate(zip(*values, strict=True))]


def _rows_of_list(path: Path, lines: list[str]) -> Iterator[Row]:
    """Yield the rows of a list: one path a line, perhaps a label after it, perhaps headings such as `3-fold 40 Angry 5`."""
    side, fold, announced, count = *_named(path), None, 0
    for number, line in enumerate([*lines, None], 1):
        heading = None if line is None or "/" in line or is_listed_picture(line.strip()) else _HEADING.match(line)
        if line is None or heading:
            if announced is not None and announced != count:
                raise SplitError(f"reading the split {path}: fold {fold} announces {announced} entries, {count} follow; is the file whole?")
            if heading:
                side, fold, count = None, plain_number(heading[1] or heading[2]), 0
                announced = int(heading[3]) if heading[3] else None
        elif line.strip() and not line.lstrip().startswith("#"):
            count += 1
            entry, label = _entry(line)
            if not entry:
                raise SplitError(f"reading the split {path}: line {number} has no path; it is {line[:60]!r}")
            yield Row(f"{path.name}:{number}", fold, side, entry, {"expression": label} if label else {})


def _entry(line: str) -> tuple[str, str | None]:
    """Return (path, label or None) of a line of a list.

    >>> _entry("S130/007 Angry"), _entry("my faces/a b.png"), _entry("a b.png, 3")
    (('S130/007', 'Angry'), ('my faces/a b.png', None), ('a b.png', '3'))
    """
    line = line.strip()
    if is_listed_picture(line):
        return _clean(line), None
    cells = re.split(r"[\t,;]", line)
    if len(cells) == 1:
        cells = line.rsplit(None, 1)
        if len(cells) > 1 and not (cells[1].isdigit() or cells[1].lower() in WORDS or is_listed_picture(cells[0])):
            cells = [line]
    return _clean(cells[0]), cells[1].strip().strip("\"'") if len(cells) > 1 else None


def _clean(path: str) -> str:
    return path.strip().strip("\"'").replace("\\", "/").removeprefix("./")


def _named(path: Path) -> tuple[str | None, str | None]:
    """Return (side, fold) that the name of a file tells, or else the folder that it lies in."""
    above = path.parent.name if only_places(path.parent.name) else ""
    return side_of(path.stem) or side_of(above), fold_of(path.stem) or fold_of(above)


# --- tables and JSON --------------------------------------------------------------------------------------------------


def _roles(header: Iterable[str]) -> dict[str, int]:
    """Return role -> index of the column that has it."""
    plain = [re.sub(r"[\W_]", "", cell.lower()) for cell in header]
    return {role: plain.index(name) for role, names in ROLES.items() for name in [next((n for n in names if n in plain), None)] if name}


def _rows_of_table(path: Path, header: list[str], lines: list[tuple[int, list[str]]]) -> list[Row]:
    """Return the rows of a table with a header."""
    roles = _roles(header)
    if not lines:
        raise SplitError(f"reading the split {path}: it has a header and no rows")
    named_side, named_fold = _named(path)
    rows = []
    for number, cells in lines:
        where = f"{path.name}:{number}"
        if len(cells) != len(header):
            raise SplitError(f"reading the split {path}: {len(header)} columns are announced, line {number} has {len(cells)}")
        found = {role: cells[index] for role, index in roles.items() if cells[index].strip().lower() not in _NOTHING}
        side = _side_cell(found.pop("side"), where, header[roles["side"]]) if "side" in found else None
        if "side" in roles and side is None:
            raise SplitError(f"reading the split {path}: column {header[roles['side']]!r} is empty in line {number}")
        fold = _fold_cell(found.pop("fold", ""))
        if "fold" not in roles:
            side, fold = side or named_side, named_fold
        elif "side" not in roles:
            side = UNTESTED if fold is None else None
        image = found.pop("image", None)
        rows.append(Row(where, fold, side, _clean(image) if image else None, found))
    return rows


def _side_cell(cell: str, where: str, column: str) -> str:
    side = SIDES.get(re.sub(r"[\W_]", "", cell.lower()))
    if side is None:
        raise SplitError(f"reading a split: column {column!r} may hold {', '.join(SIDES)}; got {cell!r} in {where}")
    return side


def _fold_cell(cell: str) -> str | None:
    """Return the name of a fold; None for an empty cell or -1, which is scikit-learn's mark for "never tested"."""
    cell = re.sub(r"\.0+$", "", cell.strip())
    return None if cell in ("", "-1") else cell


def _rows_of_json(path: Path, text: str) -> list[Row]:
    """Return the rows of {"train": [...], "test": [...]}, of {"fold_0": {"train": ...}} or [{"train": ...}, ...], or of [{"path": ...}]."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SplitError(f"reading the split {path}: it is not JSON ({str(error)[:80]})") from error
    if isinstance(content, list) and content and all(isinstance(entry, dict) and _roles(entry) for entry in content):
        header = list(dict.fromkeys(key for entry in content for key in entry))
        lines = [["" if entry.get(key) is None else str(entry[key]) for key in header] for entry in content]
        if not any(isinstance(value, list | dict) for entry in content for value in entry.values()):
            return _rows_of_table(path, header, list(enumerate(lines, 1)))
    rows = list(_json_rows(path, content, None, None, path.name, 0))
    if not rows:
        raise SplitError(f"reading the split {path}: allowed are lists of paths below keys such as train, test or fold_3; there is none")
    return rows


def _json_rows(path: Path, content, fold: str | None, side: str | None, where: str, depth: int) -> Iterator[Row]:
    if isinstance(content, dict) and depth < 4:
        children = [(str(key), side_of(str(key)) or side, fold_of(str(key)) or fold, value) for key, value in content.items()]
    elif isinstance(content, list) and content and depth < 4 and all(isinstance(entry, dict) for entry in content):
        children = [(str(index), side, str(index), entry) for index, entry in enumerate(content)]
    elif isinstance(content, list) and all(isinstance(entry, str) for entry in content):
        yield from (Row(f"{where}[{index}]", fold, side, _clean(entry), {}) for index, entry in enumerate(content))
        return
    else:
        got = f"got {str(content)[:60]!r} at {where}"
        raise SplitError(f"reading the split {path}: allowed are lists of paths below keys such as train or fold_3; {got}")
    for key, child_side, child_fold, value in children:
        yield from _json_rows(path, value, child_fold, child_side, f"{where}/{key}", depth + 1)
