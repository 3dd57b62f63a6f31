"""Read a table that a person made, in any usual encoding and with any usual separator.

In:  a file: .csv, .tsv or .txt as text, .json (a list of objects), .jsonl (an object a line), .parquet.
Out: Table: columns and rows as they are written, which column means what, and how it was read where that is worth a word.

Read are UTF-8 with and without byte order mark, UTF-16, UTF-32, else Latin-1, which is said; comma, semicolon, tab and `|`, and
Excel's line `sep=;`; quoted cells; Windows', Unix' and old Macs' ends of lines; blanks round cells; empty lines. Columns go by their
usual names (ROLES) in any case. Nothing is guessed: a row that is too long or too short, or two columns for one thing, is refused.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_data.errors import TableError, UnreadableError
from fer_data.files import left_over, read_file
from fer_data.people import person, says_nothing

__all__ = ["ROLES", "SUFFIXES", "Line", "Table", "read_table", "table_of", "roles_of", "text_of", "raw_lines", "lines_of", "csv_rows",
           "what_instead", "number", "whole"]

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")
# what a column holds -> its names, and vaguer ones that count where none of the first is there; without case, blanks and punctuation
ROLES = {
    "image": ("path imagepath imgpath picturepath filepath framepath filename file imagefile",
              "image img picture imagename imageid relativepath relpath name id"),
    "subject": ("subject subjectid subjectnumber subjectname subj subjid person personid identity participant participantid actor actorid "
                "speaker speakerid", "user userid sid"),
    "sequence": ("sequence sequenceid sequencenumber seq seqid", "video videoid clip clipid session sessionid trial"),
    "frame": ("frame frameid framenumber frameno", ""),
    "expression": ("expression expressiontype emotion emotionlabel expressionlabel", "label class classname category target"),
    "fold": ("fold foldid kfold testfold cvfold cv", ""),
    "side": ("split usage subset partition set", "part phase mode"),
    "istrain": ("istrain istraining", "train training"),
    "istest": ("istest istesting", "test testing"),
    "isvalidation": ("isvalidation isvalid isval", "validation valid val"),
    "dataset": ("dataset database", ""),
    "source": ("source", ""),
    "digest": ("facesha256", "sourcesha256 sha256"),
}
_NAMES = {role: tuple(tuple(names.split()) for names in both) for role, both in ROLES.items()}
_KNOWN = {name for both in _NAMES.values() for names in both for name in names}

_LONGEST_CELL = 1 << 24               # characters
_SEPARATORS = ",;\t|"
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
          codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NO_TEXT = {
    b"PK\x03\x04": "an Excel or zip file; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save the table as CSV",
    b"PAR1": "a Parquet file; name it .parquet",
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"{\\rtf": "a rich text file; save it as plain text",
}
_END = "\x1f"                         # in no text (_CONTROL): told apart from all cells
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_SEP_LINE = re.compile(r'"?sep=([,;|\t])"?[,;|\s]*', re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """One row of a table, or one line of a list."""

    number: int                       # of the line in the file, from 1, with which it begins; of the entry, in a file without lines
    cells: tuple[str, ...]            # without blanks round them


@dataclass(frozen=True)
class Table:
    """A table with a header."""

    columns: tuple[str, ...]          # as they are written
    rows: tuple[Line, ...]            # each has as many cells as there are columns
    roles: Mapping[str, int]          # of those asked for, the ones that are there -> index of the column
    notes: tuple[str, ...] = ()       # how it was read, where that is worth a word

    def cells(self, row: Line) -> dict[str, str]:
        """Return role -> cell of a row; one that is empty, or says `nan`, `-` or another word for nothing or nobody, is left out."""
        there = {role: row.cells[index] for role, index in self.roles.items()}
        return {role: cell for role, cell in there.items() if (person(cell) if role == "subject" else not says_nothing(cell))}

    def require(self, *roles: str) -> None:
        """Raise TableError, naming them and what there is, if columns for some of these roles are missing."""
        missing = [role for role in roles if role not in self.roles]
        if missing:
            wanted, lacking = (", ".join(_NAMES[role][0][0] for role in some) for some in (roles, missing))
            there = ", ".join(repr(column[:40]) for column in self.columns[:8]) + (" ..." if len(self.columns) > 8 else "")
            other = ((_NAMES[role][0][0], ", ".join((*_NAMES[role][0][1:], *_NAMES[role][1]))) for role in missing)
            named = "; ".join(f"{name} may be called {names}" for name, names in other)
            raise TableError(f"it must have the columns {wanted}; missing: {lacking}; its columns are {there} ({named})")


def read_table(path: Path, roles: Iterable[str] = tuple(ROLES)) -> Table:
    """Return the table in a file, with the columns for `roles` found.

    Raises TableError, the end of a sentence that begins with the file's name, if it is none, or if it can be read in two ways.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return table_of(*_parquet(path), roles)
    if suffix not in SUFFIXES and suffix not in ("", ".ndjson", ".tab", ".dat"):
        raise TableError(f"it is a {suffix} file{what_instead(path)}; read are {', '.join(SUFFIXES)}")
    text, note = text_of(_bytes(path))
    notes = (f"{path.name}: {note}",) if note else ()
    if suffix in (".json", ".jsonl", ".ndjson"):
        return table_of(*(_json_list(text) if suffix == ".json" else _json_lines(text)), roles, notes)
    first, *lines = lines_of(text)
    return table_of(first.cells, lines, roles, notes)


def table_of(columns: Sequence[str], lines: Iterable[Line], roles: Iterable[str] = tuple(ROLES), notes: tuple[str, ...] = ()) -> Table:
    """Return the table of a header and rows.

    Raises TableError for a row with more or fewer cells than columns, and for two columns that both hold one of `roles`.
    Cells too many are left out if they are empty, as are those too few where the columns have no names.
    """
    columns = tuple(columns)
    rows = [Line(line.number, _fitted(line, columns)) for line in lines]
    if not rows:
        raise TableError("it has a header and no rows")
    return Table(columns, tuple(rows), roles_of(columns, roles, rows), notes)


def roles_of(columns: Sequence[str], roles: Iterable[str] = tuple(ROLES), rows: Sequence[Line] = ()) -> dict[str, int]:
    """Return role -> index of the column that holds it.

    Raises TableError if a name stands twice, or if two columns with good names for one role contradict each other in `rows`.
    """
    plain = [_plain(column) for column in columns]
    found = {}
    for role in roles:
        for good, names in zip((True, False), _NAMES[role], strict=True):
            places = [index for name in names for index, one in enumerate(plain) if one == name]
            twice = next((index for index in places if plain.count(plain[index]) > 1), None)
            if twice is not None:
                raise TableError(f"the column {columns[twice]!r} is there {plain.count(plain[twice])} times; keep one")
            if places:
                found[role] = places[0]
                for other in places[1:] if good else ():
                    _refuse_contradiction(role, columns, rows, places[0], other)
                break
    return found


def _refuse_contradiction(role: str, columns: Sequence[str], rows: Sequence[Line], first: int, second: int) -> None:
    """Raise TableError unless two columns for one role agree: one path ends like the other, or each value has one partner."""
    partners: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for row in rows:
        one, other = row.cells[first], row.cells[second]
        if role == "image":
            long, short = sorted((one.replace("\\", "/"), other.replace("\\", "/")), key=len, reverse=True)
            agree = f"/{long}".endswith(f"/{short}") or Path(long).stem == short
        else:
            agree = partners[0].setdefault(one, other) == other and partners[1].setdefault(other, one) == one
        if not agree:
            raise TableError(
                f"the columns {columns[first]!r} and {columns[second]!r} can both be the {role}, and line {row.number} contradicts itself"
                f" ({one!r} and {other!r}); keep one, or rename the other"
            )


def _plain(column: str) -> str:
    """Return the name of a column without case, blanks and punctuation."""
    return re.sub(r"[\W_]", "", column.casefold())


def _fitted(line: Line, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the cells of a row, as many as there are columns."""
    cells, wanted = line.cells, len(columns)
    if len(cells) == wanted:
        return cells
    if any(cells[wanted:]) or any(columns[len(cells) :]):
        why = "a cell that holds the separator must be in quotes" if len(cells) > wanted else "is the file whole?"
        raise TableError(f"{wanted} columns are announced, line {line.number} has {len(cells)} cells; {why}")
    return (*cells, *("" for _ in columns))[:wanted]


def what_instead(path: Path) -> str:
    """Return " (an Excel or zip file; ...)" for a file that is known not to be text, or ""."""
    what = _no_text(_bytes(path))
    return f" ({what})" if what else ""


def _no_text(data: bytes) -> str | None:
    """Return what is known not to be text, with what to do, or None."""
    return left_over(data) or next((what for mark, what in _NO_TEXT.items() if data.startswith(mark)), None)


# --- text -------------------------------------------------------------------------------------------------------------


def text_of(data: bytes) -> tuple[str, str]:
    """Return (text, how it was read if that is worth a word, else "") of the bytes of a text file.

    >>> text_of("é".encode("utf-16")), text_of("é".encode("latin-1"))[1][:15]
    (('é', ''), 'read as Latin-1')
    """
    if what := _no_text(data):
        raise TableError(f"it is {what}")
    text, note = _decoded(data)
    text = text.rstrip("\x1a")                                           # the end of a file, for MS-DOS
    if _CONTROL.search(text):
        raise TableError("it is not text; is it a picture or an archive?")
    if not text.strip():
        raise TableError("it is empty")
    return text, note


def _decoded(data: bytes) -> tuple[str, str]:
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding, data = _MARKS.get(mark, "utf-8"), data[len(mark) :]
    if not mark and len(data) > 3 and not len(data) % 2 and 0 in data:
        zeros = [data[start::2].count(0) / (len(data) // 2) for start in (0, 1)]
        if max(zeros) > 0.4 and min(zeros) < 0.1:                        # Latin letters in UTF-16: each second byte is 0
            encoding = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    try:
        return data.decode(encoding), ""
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise TableError(f"it begins as {encoding.upper()} text, but byte {error.start} is none; is the file whole?") from error
    windows = re.search(rb"[\x80-\x9f]", data) and not re.search(rb"[\x81\x8d\x8f\x90\x9d]", data)     # curved quotes and the like
    text, name = (data.decode("cp1252"), "Windows-1252") if windows else (data.decode("latin-1"), "Latin-1")
    return text, f"read as {name}, for it is not UTF-8; if letters are wrong, save it as UTF-8"


def lines_of(text: str) -> list[Line]:
    """Return the rows of a text that are not empty, by the separator that its first line shows.

    Raises TableError if there is none, or if a quotation mark is not closed.

    >>> lines_of('sep=;\\r\\nfile ; person\\r\\n"a;b.png";7\\r\\n')
    [Line(number=2, cells=('file', 'person')), Line(number=3, cells=('a;b.png', '7'))]
    """
    said, _, rest = text.partition("\n") if "\n" in text else text.partition("\r")
    if match := _SEP_LINE.fullmatch(said.strip("\r\n ")):
        return _parsed(rest, match[1], 2)
    found = _parsed(text, _separator(text))
    if all(len(line.cells) == 1 for line in found):            # Excel can put each line into one quoted cell
        inside = [(line.number, line.cells[0]) for line in found]
        separator = _separator(inside[0][1])
        if roles_of(_parsed(inside[0][1], separator)[0].cells):
            return [Line(number, line.cells) for number, cell in inside for line in _parsed(cell, separator)]
    return found


def _separator(text: str) -> str:
    """Return the separator by which the first line that is not empty has most columns with a known name, else most cells."""
    begin = re.search(r"[^\r\n]*[^\s][^\r\n]*", text)
    first = begin[0] if begin else ""
    try:
        rows = {one: next(iter(_reader(first, one)), []) for one in _SEPARATORS}
    except csv.Error as error:
        raise TableError(f"its first line is not a row of a CSV table ({error})") from error
    return max(rows, key=lambda one: (sum(_plain(cell) in _KNOWN for cell in rows[one]), len(rows[one])))


def _parsed(text: str, separator: str, first: int = 1) -> list[Line]:
    """Return the rows that are not empty; the first line of `text` has the number `first`."""
    found, number, row = [], first, []
    reader = _reader(f"{text}\n{_END}", separator)
    try:
        for row in reader:
            cells = tuple(map(str.strip, row))
            if any(cells) and row != [_END]:
                found.append(Line(number, cells))
            number, begin = first + reader.line_num, number
    except csv.Error as error:
        raise TableError(f"line {number} is not a row of a CSV table ({error}); is there a quotation mark that is not closed?") from error
    if row != [_END]:
        raise TableError(f"a quotation mark is not closed; the cell with it begins in line {begin}")
    if not found:
        raise TableError("it is empty")
    return found


def _reader(text: str, separator: str):
    return csv_rows(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)


def csv_rows(lines: Iterable[str], **dialect):
    """Return csv.reader of lines, for cells that may be as long as the pixels of a picture: Python's own limit is 131,072 characters."""
    csv.field_size_limit(_LONGEST_CELL)
    return csv.reader(lines, **dialect)


def raw_lines(text: str) -> list[str]:
    """Return the lines of a text without their ends, whichever system wrote them."""
    return re.split(r"\r\n|\r|\n", text)


def number(text: str) -> float:
    """Return the number that a cell holds; a comma may stand for the decimal point. Raises ValueError if it holds none.

    >>> number("0,5"), number(" 12.25 ")
    (0.5, 12.25)
    """
    if "_" in text:
        raise ValueError(f"not a number: {text!r}")
    return float(text.replace(",", ".") if "." not in text else text)


def whole(text: str) -> int | None:
    """Return the whole number, 0 or more, that a cell holds, with a spreadsheet's decimals or without; None if it holds none.

    >>> whole("7"), whole("7,0"), whole("7.5"), whole("-7")
    (7, 7, None, None)
    """
    match = re.fullmatch(r"([0-9]{1,9})(?:[.,]0+)?", text.strip())
    return int(match[1]) if match else None


# --- files without lines ----------------------------------------------------------------------------------------------


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except UnreadableError as error:
        raise TableError(f"it {error.why}") from error


def _parquet(path: Path) -> tuple[list[str], list[Line]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(_bytes(path)))
    except (OSError, ValueError) as error:  # pyarrow's errors are children of these two
        raise TableError(f"it is not a whole Parquet file ({str(error).splitlines()[0]})") from error
    columns = [frame.iloc[:, index] for index in range(len(frame.columns))]
    cells = zip(*([_cell(value) for value in column] for column in columns), strict=True)
    return [str(name) for name in frame.columns], [Line(row, one) for row, one in enumerate(cells, 1)]


def _json_list(text: str) -> tuple[list[str], list[Line]]:
    content = _json(text, "")
    if not isinstance(content, list):
        raise TableError(f"it must hold a list of objects such as {{\"path\": ...}}, got {type(content).__name__}")
    return _objects(list(enumerate(content, 1)))


def _json_lines(text: str) -> tuple[list[str], list[Line]]:
    lines = [(row, line) for row, line in enumerate(raw_lines(text), 1) if line.strip()]
    return _objects([(row, _json(line, f" in line {row}")) for row, line in lines])


def _json(text: str, where: str):
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise TableError(f"it is not JSON{where} ({str(error)[:80]})") from error


def _once(pairs: list[tuple]) -> dict:
    """Return an object of JSON. Raises ValueError if a key stands twice, of which Python would take the last."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return dict(pairs)


def _objects(content: list[tuple[int, object]]) -> tuple[list[str], list[Line]]:
    """Return columns and rows of objects whose values are no lists and no objects; a key that one lacks is empty there."""
    for row, one in content:
        if not isinstance(one, dict) or any(isinstance(value, list | dict) for value in one.values()):
            raise TableError(f"it must hold objects with text and numbers such as {{\"path\": ...}}; entry {row} is {str(one)[:60]!r}")
    columns = list(dict.fromkeys(key for _, one in content for key in one))
    return columns, [Line(row, tuple(_cell(one.get(key)) for key in columns)) for row, one in content if one]


def _cell(value) -> str:
    return "" if value is None else str(value).strip()
