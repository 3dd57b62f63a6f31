"""Write predictions as a table, as CSV or as JSON Lines: printed, or in a file.

In:  predictions in order.
Out: table    a line for each face, or for a picture without one; the first 200, so that memory does not grow with a clip; beneath it
              in whole sentences why a face is doubted or a picture cannot be read, the first 20
     csv      the same lines, all of them, with a column for each expression; COLUMNS
     jsonl    an object for each picture, its faces inside, with their points
A file is written whole or not at all.
"""

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_data.files import growing, reported
from fer_model.errors import ConfigError
from fer_model.use.prediction import FacePrediction, Prediction

__all__ = ["COLUMNS", "FORMATS", "Writer", "open_writer"]

# Of a line of CSV, before p_<expression> for each class; what is not known is empty.
COLUMNS = ("source", "frame", "time_s", "face", "status", "expression", "probability", "left", "top", "right", "bottom",
           "eye_distance_px", "yaw_deg", "residual_px", "note")
_ROWS, _REMARKS = 200, 20             # of a table; a longer one is not read, and memory stays flat
_THEN, _NAMED = 2, 0.05               # expressions named in a table after the first one; at least so probable
_HEADINGS = ("picture", "face", "expression", "", "then", "eyes px", "turn °", "remark")
_NUMBERS = ("face", "", "eyes px", "turn °")
_AT_NEED = ("then", "turn °", "remark")         # columns that are left out where they would be empty
_LEFT_OUT = ((), ("then",), ("then", "eyes px", "turn °"))     # and where a terminal is too narrow, in this order
_WIDEST = 1000                        # letters, of a table that is measured
_STYLES = {"ok": "", "doubtful": "yellow", "no-face": "dim", "unreadable": "red"}


class Writer(ABC):
    """Writes predictions one by one."""

    def __init__(self, classes: tuple[str, ...], write: Callable):
        """`write` is called with a piece of text, lines without the last newline, or with a table."""
        self.classes, self._write = classes, write

    @abstractmethod
    def add(self, one: Prediction) -> None:
        """Write one prediction."""

    def end(self) -> None:  # noqa: B027  (most have nothing to do)
        """Write what comes last."""


class CsvWriter(Writer):
    """A line for each face, and for each picture that has none."""

    def __init__(self, classes: tuple[str, ...], write: Callable):
        super().__init__(classes, write)
        self._line([*COLUMNS, *(f"p_{name}" for name in classes)])

    def add(self, one: Prediction) -> None:
        place = [one.source, _blank(one.frame), _blank(one.time_s, 3)]
        for number, face in enumerate(one.faces, 1):
            sizes = [round(side, 1) for side in face.box]
            geometry = [round(face.eye_distance_px, 1), _blank(face.yaw_deg, 1), round(face.residual_px, 2)]
            notes = "; ".join(text for text in (*face.doubts, one.problem, one.remark) if text)
            known = [number, face.status, face.expression, round(face.probability, 6), *sizes, *geometry, notes]
            self._line([*place, *known, *(round(value, 6) for value in face.probabilities.values())])
        if not one.faces:
            self._line([*place, 0, one.status, *[""] * 9, one.note, *[""] * len(self.classes)])

    def _line(self, cells: list) -> None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\r\n").writerow(cells)        # cells with a letter of it are quoted: so are names of two lines
        self._write(buffer.getvalue().removesuffix("\r\n"))


class JsonlWriter(Writer):
    """An object for each picture."""

    def add(self, one: Prediction) -> None:
        width, height = one.size or (None, None)
        content = {
            "source": one.source, "frame": one.frame, "time_s": _rounded(one.time_s, 3), "width": width, "height": height,
            "status": one.status, "note": one.note, "faces": [_object(face) for face in one.faces],
        }
        self._write(json.dumps(content, ensure_ascii=False, allow_nan=False))


def _object(face: FacePrediction) -> dict:
    known = not math.isnan(float(face.points[0, 0]))
    return {
        "status": face.status, "expression": face.expression, "probability": round(face.probability, 6),
        "probabilities": {name: round(value, 6) for name, value in face.probabilities.items()},
        "box": [round(side, 1) for side in face.box], "eye_distance_px": round(face.eye_distance_px, 1),
        "yaw_deg": _rounded(face.yaw_deg, 1), "residual_px": round(face.residual_px, 2), "doubts": list(face.doubts),
        "points": face.points.round(2).tolist() if known else None,
    }


class TableWriter(Writer):
    """A table for people, shown at the end, and beneath it the remarks that are too long for it."""

    def __init__(self, classes: tuple[str, ...], write: Callable):
        super().__init__(classes, write)
        self._rows: list[tuple[tuple[str, ...], str]] = []                       # (cells, style)
        self._remarks: list[str] = []
        self._more = self._more_remarks = 0

    def add(self, one: Prediction) -> None:
        place = one.source if one.frame is None else f"{one.source} {_clock(one)}"
        for number, face in enumerate(one.faces, 1):
            others = sorted(face.probabilities.items(), key=lambda item: -item[1])[1 : 1 + _THEN]
            then = ", ".join(f"{name} {value:.0%}" for name, value in others if value >= _NAMED)
            turned = "" if face.yaw_deg is None else f"{face.yaw_deg:+.0f}"
            cells = (str(number), face.expression, f"{face.probability:.0%}", then, f"{face.eye_distance_px:.0f}", turned)
            self._row((place, *cells, face.in_short), face.status)
            for doubt in face.doubts:
                self._remark(f"{place}, face {number}: {doubt}")
        if not one.faces:
            said = "unreadable" if one.status == "unreadable" else "no usable face" if one.problem else "no face was found"
            self._row((place, "", "", "", "", "", "", said), one.status)
        for text in (one.problem, one.remark):
            if text:
                self._remark(f"{place}: {text}")

    def _row(self, cells: tuple[str, ...], status: str) -> None:
        if len(self._rows) < _ROWS:
            self._rows.append((cells, _STYLES[status]))
        else:
            self._more += 1

    def _remark(self, text: str) -> None:
        if len(self._remarks) < _REMARKS:
            self._remarks.append(text)
        else:
            self._more_remarks += 1

    def end(self) -> None:
        self._write(_Fitted([self._table(left_out) for left_out in _LEFT_OUT]))
        for text in self._remarks:
            self._write(text)
        lines = [f"{number:,} more {what}" for number, what in ((self._more, "lines"), (self._more_remarks, "remarks")) if number]
        if lines:
            self._write(f"and {' and '.join(lines)}; --format csv -o FILE keeps all of them")

    def _table(self, left_out: tuple[str, ...]):
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, show_edge=False)
        empty = [name for at, name in enumerate(_HEADINGS) if name in _AT_NEED and not any(cells[at] for cells, _ in self._rows)]
        said = [name for name in _HEADINGS if name not in (*left_out, *empty)]
        for name in said:
            table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name in ("expression", ""), overflow="fold")
        for cells, style in self._rows:
            table.add_row(*(Text(cell, style) for name, cell in zip(_HEADINGS, cells, strict=True) if name in said))
        return table


class _Fitted:
    """The first of some tables that is as narrow as the console, else the last."""

    def __init__(self, tables: list):
        self._tables = tables

    def __rich_console__(self, console, options):
        from rich.measure import Measurement

        wide = options.update(max_width=_WIDEST)
        fits = (table for table in self._tables if Measurement.get(console, wide, table).maximum <= options.max_width)
        yield next(fits, self._tables[-1])


def _clock(one: Prediction) -> str:
    """Return where in a clip a picture stands: frame 12, 0.480 s."""
    return f"frame {one.frame}" + ("" if one.time_s is None else f", {one.time_s:.3f} s")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _blank(value, digits: int | None = None):
    return "" if value is None else value if digits is None else round(value, digits)


FORMATS = {"table": TableWriter, "csv": CsvWriter, "jsonl": JsonlWriter}


@contextmanager
def open_writer(form: str, out: Path | None, classes: tuple[str, ...], write: Callable) -> Iterator[Writer]:
    """Yield what writes predictions in a format, to a file or through `write`.

    Raises ConfigError for another format, StorageError if the file cannot be written; an error in the block leaves no file.
    """
    if form not in FORMATS:
        raise ConfigError(f"writing predictions: unknown format {form!r}; choose {', '.join(FORMATS)}")
    if out is None:
        yield FORMATS[form](classes, write)
        return
    with growing(out) as part:
        with reported("writing", out):
            file = part.open("w", encoding="utf-8", newline="")
        try:
            yield FORMATS[form](classes, lambda what: _to_file(what, file, out))
        finally:
            with reported("writing", out):                                       # what is in Python's buffer goes to the disk now
                file.close()


def _to_file(what, file, out: Path) -> None:
    """Write text, or what rich can draw, as plain text."""
    with reported("writing", out):
        if isinstance(what, str):
            file.write(what + "\n")
            return
        from rich.console import Console

        Console(file=file, width=160, color_system=None).print(what)
