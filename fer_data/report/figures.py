"""From numbers to what a template can draw without arithmetic: heat tables, histograms, bars.

In:  pandas tables and numpy arrays.
Out: frozen records of strings and numbers; colours are names of classes (heat-0 .. heat-8) of page.css.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["HEAT_LEVELS", "Cell", "HeatRow", "HeatTable", "Histogram", "heat_level", "heat_table", "histogram"]

HEAT_LEVELS = 9                       # heat-0 (nothing) .. heat-8 (the largest)
_WIDTH, _HEIGHT, _BINS = 320, 120, 32  # of a histogram: user units, user units, bars


@dataclass(frozen=True)
class Cell:
    """One number of a heat table."""

    column: str
    value: int
    level: int                        # class heat-<level>


@dataclass(frozen=True)
class HeatRow:
    """One row: its head, its cells, and its sum where the table has one."""

    head: str
    cells: tuple[Cell, ...]
    total: int


@dataclass(frozen=True)
class HeatTable:
    """Rows by columns, with sums."""

    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    totals: tuple[int, ...]           # of the columns
    total: int


@dataclass(frozen=True)
class Histogram:
    """Bars of a distribution with the limit beyond which a value is looked at; user units, y down."""

    width: int
    height: int
    bars: tuple[tuple[float, float, float, float, bool], ...]  # x, y, width, height, beyond the limit
    limit_x: float | None             # where the limit lies; None: outside the drawing
    low: str                          # text of the left end
    high: str                         # text of the right end
    most: int                         # values in the highest bar


def heat_level(value: float, largest: float) -> int:
    """Return 0 for nothing, else 1 .. HEAT_LEVELS - 1 in equal steps up to `largest`.

    >>> [heat_level(value, 80) for value in (0, 1, 10, 11, 79, 80)]
    [0, 1, 1, 2, 8, 8]
    """
    return 0 if value <= 0 else int(np.ceil((HEAT_LEVELS - 1) * value / largest))


def heat_table(table: pd.DataFrame) -> HeatTable:
    """Return a table of counts whose last row and column are sums named `all` as a HeatTable; sums take no colour."""
    counts = table.drop(index="all", columns="all")
    largest = int(counts.to_numpy().max(initial=0))
    rows = tuple(
        HeatRow(
            str(head), tuple(Cell(str(column), int(value), heat_level(int(value), largest)) for column, value in values.items()),
            int(table.loc[head, "all"]),
        )
        for head, values in counts.iterrows()
    )
    totals = tuple(int(table.loc["all", column]) for column in counts.columns)
    return HeatTable(tuple(map(str, counts.columns)), rows, totals, int(table.loc["all", "all"]))


def histogram(values: np.ndarray, limit: float, worse: str, low: float, high: float) -> Histogram:
    """Return the histogram of `values` between `low` and `high`; what lies outside is counted in the end bars, and said.

    worse   "above" or "below": on which side of `limit` a value is looked at
    """
    counts, edges = np.histogram(np.clip(values, low, high), _BINS, (low, high))  # (32,), (33,)
    step, most = _WIDTH / _BINS, max(1, int(counts.max()))
    bars = []
    for index, count in enumerate(counts):
        if count:
            height = max(1.5, (_HEIGHT - 6) * int(count) / most)  # a single value stays visible
            beyond = edges[index] >= limit if worse == "above" else edges[index + 1] <= limit
            bars.append((round(index * step + 0.5, 2), round(_HEIGHT - height, 2), step - 1, round(height, 2), bool(beyond)))
    at = (limit - low) / (high - low) * _WIDTH
    left = ("≤ " if values.min() < low else "") + f"{low:.1f}"
    right = ("≥ " if values.max() > high else "") + f"{high:.1f}"
    return Histogram(_WIDTH, _HEIGHT, tuple(bars), round(at, 2) if 0 <= at <= _WIDTH else None, left, right, int(counts.max()))
