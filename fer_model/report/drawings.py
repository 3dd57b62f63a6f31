"""From numbers to lines and dots that a template can draw without arithmetic: training curves, intervals on one axis.

In:  log lines of runs; shares with their intervals.
Out: frozen records of strings and numbers, user units, y down. Colours are names of classes (s0 .. s7) of report.css.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fer_model.runs.methods import FoldRun

__all__ = ["Chart", "IntervalChart", "IntervalRow", "Line", "Mark", "curves", "interval_chart", "line_chart", "nice_ticks"]

COLOURS = 8                           # s0 .. s7
_WIDTH, _HEIGHT = 360, 190            # of a chart
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 22   # margins, for the numbers at the axes
_NEAR_END = 0.9                       # of the longest line: shorter ones are in no mean
_MOST_POINTS = 150                    # in a line
_ROW, _AXIS = 40, 24                  # height of a row and of the axis in a chart of intervals


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    colour: str                       # class
    path: str                         # d of an SVG path
    thin: bool                        # one run of several


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis."""

    title: str
    unit: str                         # of the horizontal axis
    width: int
    height: int
    frame: tuple[float, float, float, float]      # left, top, right, bottom of the plot
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    legend: tuple[tuple[str, str, str], ...]      # name, colour, last value


@dataclass(frozen=True)
class Mark:
    """One row of a chart of intervals, in the values to draw."""

    name: str
    value: float
    low: float
    high: float
    dots: tuple[float, ...] = ()      # such as its folds


@dataclass(frozen=True)
class IntervalRow:
    """One row, placed."""

    name: str
    text_y: float
    y: float
    value: float
    low: float
    high: float
    dots: tuple[float, ...]


@dataclass(frozen=True)
class IntervalChart:
    """Values with their intervals on one axis."""

    width: int
    height: int
    left: float
    right: float
    axis_y: float
    ticks: tuple[tuple[float, str], ...]
    zero: float | None                # where 0 lies, if a difference is drawn
    rows: tuple[IntervalRow, ...]


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` + 1 round numbers that span low .. high: steps of 1, 2, 2.5 or 5 times a power of ten.

    >>> nice_ticks(0, 9.3), nice_ticks(0, 1), nice_ticks(0.12, 0.31, 4)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.1, 0.2, 0.3, 0.4])
    """
    width = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(width / most))
    for step in (factor * power * scale for scale in (1, 10, 100) for factor in (1, 2, 2.5, 5)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            return [round(step * i, 12) for i in range(first, last + 1)]
    raise AssertionError("a step of a hundred widths spans everything")


def line_chart(
    title: str,
    runs: Sequence[dict[str, tuple[Sequence[float], Sequence[float]]]],   # of each run: name -> (x, y)
    top: float | None = None,         # of the vertical axis; None: the largest value
) -> Chart:
    """Return a chart: a line for each name, from 0 up; of several runs the mean, with a thin line for each run.

    A run that ends well before the longest is not in the mean.
    """
    names = list(dict.fromkeys(name for run in runs for name in run))
    lines = {name: [(np.asarray(run[name][0], float), np.asarray(run[name][1], float)) for run in runs if name in run] for name in names}
    x_ticks = nice_ticks(0, max(float(x.max()) for found in lines.values() for x, _ in found))
    y_ticks = nice_ticks(0, top or max(1e-6, *(float(y.max()) for found in lines.values() for _, y in found)), 4)
    frame = (_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)

    def place(x, y):
        return (frame[0] + (frame[2] - frame[0]) * x / x_ticks[-1], frame[3] - (frame[3] - frame[1]) * y / y_ticks[-1])

    drawn, legend = [], []
    for number, name in enumerate(names):
        colour, found = f"s{number % COLOURS}", lines[name]
        if len(found) > 1:
            drawn += [Line(name, colour, _path(*place(*_thinned(*one))), True) for one in found]
        x, y = _mean([one for one in found if one[0].max() >= _NEAR_END * max(x.max() for x, _ in found)])
        drawn.append(Line(name, colour, _path(*place(*_thinned(x, y))), False))
        legend.append((name, colour, f"{y[-1]:.3g}"))
    drawn.sort(key=lambda line: not line.thin)                           # means lie on top
    return Chart(
        title, "thousand images", _WIDTH, _HEIGHT, frame, tuple((round(place(t, 0)[0], 1), f"{t:g}") for t in x_ticks),
        tuple((round(place(0, t)[1], 1), f"{t:g}") for t in y_ticks), tuple(drawn), tuple(legend),
    )


def _mean(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of lines at the places of the one with fewest points, as far as all of them go."""
    x = min((x for x, _ in found), key=len)
    x = x[x <= min(float(other.max()) for other, _ in found) + 1e-9]
    x = x if len(x) else np.array([min(float(other.max()) for other, _ in found)])
    return x, np.mean([np.interp(x, *one) for one in found], axis=0)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most _MOST_POINTS points: means of as many blocks of neighbours."""
    if len(x) <= _MOST_POINTS:
        return x, y
    blocks = np.array_split(np.arange(len(x)), _MOST_POINTS)
    return np.array([x[block].mean() for block in blocks]), np.array([y[block].mean() for block in blocks])


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Return points as an SVG path; a single one as a dot.

    >>> _path(np.array([1.0, 2.5]), np.array([3.0, 4.0]))
    'M1.0 3.0L2.5 4.0'
    """
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    return f"M{points[0]}h0" if len(points) == 1 else "M" + "L".join(points)


def curves(runs: Iterable[FoldRun]) -> list[Chart]:
    """Return the charts of runs' logs: for each stage losses, their parts, and accuracies, over thousands of images shown."""
    logs = [[line for line in run.log if line.get("event") == "tick"] for run in runs]
    stages = dict.fromkeys(line["stage"] for log in logs for line in log)
    charts = []
    for stage in stages:
        ticks = [[line for line in log if line["stage"] == stage] for log in logs]
        names = list(dict.fromkeys(key for log in ticks for line in log for key in line if key.startswith(("loss_", "accuracy_"))))
        losses = [name for name in names if name.startswith("loss_")]
        kinds = [
            ("loss", [name for name in losses if "_" not in name.removeprefix("loss_")], "loss_", None),
            ("parts of the loss", [name for name in losses if "_" in name.removeprefix("loss_")], "loss_", None),
            ("running accuracy of D" if stage == "gan" else "accuracy", [n for n in names if n.startswith("accuracy_")], "accuracy_", 1.0),
        ]
        for kind, chosen, prefix, top in kinds:
            found = [line for line in (_lines(log, chosen, prefix) for log in ticks) if line]
            if found:
                charts.append(line_chart(f"Stage {stage}: {kind}", found, top))
    return charts


def _lines(log: list[dict], names: list[str], prefix: str) -> dict[str, tuple[list[float], list[float]]]:
    """Return name -> (thousands of images shown, value) of the ticks that have it."""
    found = {}
    for name in names:
        points = [(line["seen_kimg"], line[name]) for line in log if name in line]
        if points:
            found[name.removeprefix(prefix).replace("_", " ")] = tuple(map(list, zip(*points, strict=True)))
    return found


def interval_chart(marks: Sequence[Mark], zero: bool = False) -> IntervalChart:
    """Return marks under each other on one axis, in per cent; `zero`: 0 is on the axis and marked."""
    values = [100 * v for mark in marks for v in (mark.low, mark.high, mark.value, *mark.dots)]
    low, high = (min(0.0, *values), max(0.0, *values)) if zero else (min(values), max(values))
    if high - low < 1e-6:                                                # one value, but for rounding: labels must differ
        low, high = low - 1, high + 1
    ticks = nice_ticks(low, high)
    left, right = 12.0, _WIDTH - 16.0

    def place(value: float) -> float:
        return round(left + (right - left) * (value - ticks[0]) / (ticks[-1] - ticks[0]), 1)

    rows = tuple(
        IntervalRow(
            mark.name, _ROW * i + 13.0, _ROW * i + 26.0, place(100 * mark.value), place(100 * mark.low), place(100 * mark.high),
            tuple(place(100 * dot) for dot in mark.dots),
        )
        for i, mark in enumerate(marks)
    )
    axis_y = _ROW * len(marks) + 2.0
    return IntervalChart(
        _WIDTH, int(axis_y + _AXIS), left, right, axis_y, tuple((place(t), f"{t:g}") for t in ticks), place(0) if zero else None, rows
    )
