"""Read pictures that are rows of a CSV file: each row holds the pixels of one, as numbers between blanks.

In:  a CSV file with a header; one of its columns is called pixels. FER2013 is passed on so.
Out: PixelTable: the other cells and a digest of each row, and its picture when it is asked for.

The file is gone through once, row by row; what is held is a few bytes a row, never the pixels.
"""

import csv
import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from fer_data.errors import ImageError, TableError
from fer_data.files import opened
from fer_data.tables import csv_rows

__all__ = ["PixelTable", "is_table", "open_table"]

_PIXELS = "pixels"
_SEPARATORS = {";": "';'", "\t": "a tab"}     # Excel's, where the comma is the decimal point; named, not read
_VALUES = {str(value): value for value in range(256)}


def is_table(path: str) -> bool:
    """Say whether a source of frames is a table of pixels by its name."""
    return path.lower().endswith(".csv")


class PixelTable:
    """A CSV file whose rows are pictures; rows count from 0, the header is none."""

    def __init__(self, path: Path):
        """Go through the file. Raises TableError, the end of a sentence, if it is no such table; UnreadableError."""
        self.path = Path(path)
        offsets, digests, cells = [], bytearray(), []
        with opened(self.path) as file:
            header = file.readline().removeprefix(b"\xef\xbb\xbf")
            self._columns = tuple(name.strip().lower() for name in _cells(header))
            if self._columns.count(_PIXELS) != 1:
                for separator, what in _SEPARATORS.items():
                    if _PIXELS in (name.strip().lower() for name in _cells(header, separator)):
                        raise TableError(f"its separator is {what}; save it with commas")
                raise TableError(f"it must have one column {_PIXELS}; its columns are {', '.join(self._columns)[:200]}")
            self._pixels, width = self._columns.index(_PIXELS), len(self._columns)
            known: dict[tuple[str, ...], tuple[str, ...]] = {}           # rows have few different labels: each is held once
            place = file.tell()
            for line in file:
                if line.strip():
                    row = _cells(line)
                    if len(row) != width:
                        raise TableError(f"row {len(offsets)} (after the header, from 0) has {len(row)} cells, the header {width}")
                    digests += hashlib.sha256(row.pop(self._pixels).strip().encode()).digest()
                    others = tuple(map(str.strip, row))
                    cells.append(known.setdefault(others, others))
                    offsets.append(place)
                place += len(line)
        self._offsets, self._digests, self._others = np.array(offsets, np.int64), bytes(digests), cells

    def __len__(self) -> int:
        return len(self._offsets)

    def column(self, name: str) -> Sequence[str] | None:
        """Return the cells of a column other than the pixels, one a row; None: there is no such column."""
        names = [one for one in self._columns if one != _PIXELS]
        return [cells[names.index(name)] for cells in self._others] if name in names else None

    def sha256(self, row: int) -> str:
        """Return the sha256 of the pixels of a row as they are written."""
        return self._digests[32 * row : 32 * row + 32].hex()

    def picture(self, row: int) -> np.ndarray:
        """Return the picture (S, S) grey uint8 of a row.

        Raises ImageError if its pixels are no square of whole numbers 0..255, or not those that were there when the table was opened.
        """
        doing = f"reading row {row} of {self.path.name}"
        with opened(self.path) as file:
            file.seek(int(self._offsets[row]))
            try:
                cells = _cells(file.readline())
            except TableError:                                           # it was a row when the table was opened
                cells = []
        text = cells[self._pixels].strip() if len(cells) == len(self._columns) else ""
        if hashlib.sha256(text.encode()).hexdigest() != self.sha256(row):
            raise ImageError(f"{doing}: the file changed while it was being read")
        try:
            values = bytes(map(_VALUES.__getitem__, text.split()))
        except KeyError as error:
            raise ImageError(f"{doing}: pixels are whole numbers from 0 to 255, it has {error.args[0][:20]!r}") from error
        side = round(len(values) ** 0.5)
        if not values or side * side != len(values):
            raise ImageError(f"{doing}: it has {len(values):,} pixels, which is no square; 48 x 48 are 2,304")
        return np.frombuffer(values, np.uint8).reshape(side, side)       # (S, S)


def open_table(path: Path) -> PixelTable:
    """Return the table of a file; one that did not change is gone through once in a process. Raises as PixelTable does."""
    with opened(path) as file:
        status = os.fstat(file.fileno())
    return _table(Path(path), status.st_mtime_ns, status.st_size)


@lru_cache(4)
def _table(path: Path, modified: int, size: int) -> PixelTable:
    return PixelTable(path)


def _cells(line: bytes, separator: str = ",") -> list[str]:
    try:
        return next(csv_rows([line.decode("latin-1").strip("\r\n")], delimiter=separator), [])
    except csv.Error as error:
        raise TableError(f"it has a line that is not a row of a CSV table ({error}): {line[:40].decode('latin-1')!r} ...") from error
