"""Make, write and read predictions.csv: the answers of a run's network on each test image.

In:  manifest rows and their probabilities; or the file.
Out: one row per test image: image_id, subject, sequence, expression, predicted, and p_<class> for each class. Where cells were taken out
     of training (data/cells.py), also part and shows.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from fer_data.files import write_bytes_atomically
from fer_data.text import counted
from fer_model.errors import RunError

__all__ = [
    "CELL_COLUMNS", "COLUMNS", "PREFIX", "classes_in", "judged", "predictions_frame", "read_predictions", "together", "write_predictions",
]

COLUMNS = ("image_id", "subject", "sequence", "expression", "predicted")
CELL_COLUMNS = ("part", "shows")      # of a run that was trained without some cells
PREFIX = "p_"                         # of the columns that hold probabilities, before the name of the class
_COPY = "copy the run's folder again, whole, from where it was trained"


def predictions_frame(rows: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return predictions for manifest rows: `probabilities` is (n, K) float in the order of rows and classes."""
    kept = ["image_id", "subject", "sequence", "expression", *(name for name in CELL_COLUMNS if name in rows)]
    frame = rows[kept].reset_index(drop=True)
    best = np.asarray(classes, dtype=object)[probabilities.argmax(1)]                # (n,)
    columns = {f"{PREFIX}{name}": probabilities[:, i] for i, name in enumerate(classes)}
    return frame.assign(predicted=best, **columns)


def write_predictions(path: Path, frame: pd.DataFrame) -> None:
    """Write predictions as CSV, atomically; floats are written so that they read back as the same numbers."""
    write_bytes_atomically(path, frame.to_csv(index=False, lineterminator="\n").encode())


def read_predictions(path: Path, n: int | None = None) -> pd.DataFrame:
    """Return what write_predictions wrote: texts, and p_<class> as finite floats.

    n         how many rows the run has written, of its config.json; None: not known
    Raises RunError if there is none, or if it is not whole: a column, rows or the end of a line missing, a probability that is no finite
    number, a class without probabilities.
    """
    if not path.is_file():
        raise RunError(f"reading predictions: there is no {path}")
    texts, data = dict.fromkeys((*COLUMNS, *CELL_COLUMNS), str), path.read_bytes()
    try:
        frame = pd.read_csv(BytesIO(data), dtype=texts, keep_default_na=False, low_memory=False)
    except ValueError as error:                                          # no columns, lines of unequal length, no UTF-8
        raise RunError(f"reading predictions: {path} is no table as a run writes it ({str(error).strip()}); {_COPY}") from error
    if problem := _problem(frame, n) or (None if data.endswith(b"\n") else "no end of its last line, so that it is cut off"):
        raise RunError(f"reading predictions: {path} has {problem}; {_COPY}")
    return frame


def _problem(frame: pd.DataFrame, n: int | None) -> str | None:
    """Return what a table of predictions has that a run would not have written, in words; None: nothing."""
    if missing := [name for name in COLUMNS if name not in frame]:
        return f"no column {missing[0]!r}"
    if not len(frame):
        return "no rows"
    if not (classes := classes_in(frame)):
        return "no probabilities (p_<class>)"
    if n is not None and len(frame) != n:
        return f"{counted(len(frame), 'row')}, the run tested {counted(n, 'image')}"
    for name in classes:
        numbers = pd.to_numeric(frame[f"{PREFIX}{name}"], errors="coerce")
        if len(bad := np.flatnonzero(~np.isfinite(numbers.to_numpy(float)))):
            return f"no finite number in column {PREFIX}{name} of row {bad[0] + 1}"
    for column in ("expression", "predicted"):
        if len(bad := np.flatnonzero(~frame[column].isin(classes))):
            return f"{frame[column].iloc[bad[0]]!r} as {column} in row {bad[0] + 1}, its classes are {', '.join(classes)}"
    return None


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a run's own figures are of: all of them, or what training people do not show in training."""
    return frame[frame["part"] == "unseen"].reset_index(drop=True) if "part" in frame else frame


def classes_in(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the classes of the probability columns, in their order."""
    return tuple(name.removeprefix(PREFIX) for name in frame if name.startswith(PREFIX))


def together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the predictions of several folds, one below the other. Raises RunError if two of them tested the same image."""
    frame = pd.concat(frames, ignore_index=True)
    twice = frame["image_id"][frame["image_id"].duplicated()]
    if len(twice):
        raise RunError(f"pooling folds: {twice.iloc[0]} is tested in more than one fold; give each fold of a cross-validation once")
    return frame
