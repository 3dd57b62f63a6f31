"""Make, write and read predictions.csv: the answers of a run's network on each test image.

In:  manifest rows and their probabilities; or the file.
Out: one row per test image: image_id, subject, sequence, expression, predicted, and p_<class> for each class. Where cells were taken out
     of training (data/cells.py), also part and shows.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer_data.files import write_bytes_atomically
from fer_model.errors import RunError

__all__ = [
    "CELL_COLUMNS", "COLUMNS", "PREFIX", "classes_in", "judged", "predictions_frame", "read_predictions", "together", "write_predictions",
]

COLUMNS = ("image_id", "subject", "sequence", "expression", "predicted")
CELL_COLUMNS = ("part", "shows")      # of a run that was trained without some cells
PREFIX = "p_"                         # of the columns that hold probabilities, before the name of the class


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


def read_predictions(path: Path) -> pd.DataFrame:
    """Return what write_predictions wrote.

    Raises RunError if there is none, or a column is missing.
    """
    if not path.is_file():
        raise RunError(f"reading predictions: there is no {path}; `fer-model train` writes it when a run is complete")
    texts = dict.fromkeys((*COLUMNS, *CELL_COLUMNS), str)
    frame = pd.read_csv(path, dtype=texts, keep_default_na=False)
    missing = [name for name in COLUMNS if name not in frame]
    if missing or not classes_in(frame) or not len(frame):
        what = f"no column {missing[0]!r}" if missing else "no probabilities (p_<class>)" if len(frame) else "no rows"
        raise RunError(f"reading predictions: {path} has {what}")
    return frame


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
