"""Accuracy, macro recall and confusion matrix from predictions, with 95 % intervals by bootstrap over people.

In:  predictions, one row per test image (runs/predictions.py). Several networks are several tables: the folds of a
     cross-validation, or networks that saw the same images.
Out: Evaluation. All functions are pure; the bootstrap's generator is passed in.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from fer_model.runs.predictions import PREFIX, classes_in

__all__ = [
    "Evaluation", "Interval", "accuracy", "confusion", "evaluate", "evaluate_together", "interval_over_subjects", "macro_recall",
    "majority", "plain_table", "to_sequences",
]  # fmt: skip

REPLICATES = 2000                     # of the bootstrap
UNITS = ("frame", "sequence")         # of which accuracy is the share


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval, all 0..1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What a run, or several together, reached on people whom it was not trained on. Shares are 0..1."""

    classes: tuple[str, ...]
    n_images: int
    n_sequences: int
    n_subjects: int
    frame_accuracy: Interval          # share of images; interval: bootstrap over subjects
    sequence_accuracy: Interval       # share of sequences, by the mean probability over their frames
    frame_macro_recall: float         # mean over the classes that occur in the test fold, per image
    sequence_macro_recall: float
    classes_absent: tuple[str, ...]   # classes without a test image; they are in no macro recall
    majority_class: str               # of the test images
    majority_accuracy: float          # what always answering it would reach, per image
    confusion: tuple[tuple[int, ...], ...]       # images; row: true class, column: predicted, order of `classes`

    def to_dict(self) -> dict:
        """Return it as what JSON holds."""
        return asdict(self)

    def __rich__(self):
        """Return the figures and the confusion matrix as tables, for the console."""
        from rich.console import Group

        return Group("", self.figures("of the test fold"), "", self.matrix(), *self.remarks())

    def figures(self, whose: str):
        """Return the figures as a table; `whose` says in its title which people these are."""
        people = "1 person" if self.n_subjects == 1 else f"{self.n_subjects} people"
        title = f"{self.n_images} images, {self.n_sequences} sequences, {people} {whose}"
        figures = plain_table(title, "", "share", "95 % over people")
        for name, share in (("accuracy per frame", self.frame_accuracy), ("accuracy per sequence", self.sequence_accuracy)):
            figures.add_row(name, f"{share.value:.1%}", "none of one" if self.n_subjects == 1 else f"{share.low:.1%} to {share.high:.1%}")
        for name, share in (
            ("macro recall per frame", self.frame_macro_recall), ("macro recall per sequence", self.sequence_macro_recall),
            (f"always {self.majority_class}", self.majority_accuracy),
        ):  # fmt: skip
            figures.add_row(name, f"{share:.1%}", "")
        return figures

    def matrix(self, what: str = "images"):
        """Return the confusion matrix as a table; `what` says in its title what is counted."""
        counts = plain_table(f"Predicted, {what}", "true", *self.classes)
        for name, row in zip(self.classes, self.confusion, strict=True):
            counts.add_row(name, *map(str, row))
        return counts

    def remarks(self) -> list[str]:
        """Return what else a reader must know, a sentence each."""
        return [f"No test image shows {', '.join(self.classes_absent)}."] if self.classes_absent else []


def plain_table(title: str, *columns: str):
    """Return an empty rich table that fits 80 columns: no edges, numbers to the right."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(*columns, title=title, box=SIMPLE, title_justify="left", show_edge=False, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def to_sequences(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (subject, sequence, expression): mean probabilities over its frames, and the class they favour.

    A sequence whose frames carry two expressions, such as neutral and peak, counts once for each.
    """
    groups = frame.groupby(["subject", "sequence", "expression"], sort=False)
    classes = classes_in(frame)
    means = groups[[f"{PREFIX}{name}" for name in classes]].mean()
    found = pd.concat([groups["image_id"].first(), means], axis=1).reset_index()
    best = means.to_numpy().argmax(1)
    return found.assign(predicted=np.asarray(classes, dtype=object)[best])


def _right(frame: pd.DataFrame) -> np.ndarray:
    return (frame["expression"] == frame["predicted"]).to_numpy()


def accuracy(frame: pd.DataFrame) -> float:
    """Return the share of rows whose prediction is right."""
    return float(_right(frame).mean())


def macro_recall(frame: pd.DataFrame) -> float:
    """Return the mean over the classes that occur of the share of their rows that are right."""
    return float(pd.Series(_right(frame)).groupby(frame["expression"].to_numpy()).mean().mean())


def confusion(frame: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    """Return the confusion matrix (K, K) int64: row true, column predicted."""
    place = {name: i for i, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (frame["expression"].map(place).to_numpy(), frame["predicted"].map(place).to_numpy()), 1)
    return matrix


def majority(frame: pd.DataFrame) -> tuple[str, float]:
    """Return the most frequent expression (the first by name if several are) and its share."""
    counts = frame["expression"].value_counts()
    name = min(counts.index[counts == counts.max()])
    return name, float(counts.max() / len(frame))


def interval_over_subjects(frame: pd.DataFrame, rng: np.random.Generator, replicates: int = REPLICATES) -> Interval:
    """Return the accuracy over rows with its 95 % percentile interval when people are resampled with replacement.

    People, not rows, are the unit: the frames of a person are no independent observations.
    """
    by_person = pd.DataFrame({"right": _right(frame), "n": 1}).groupby(frame["subject"].to_numpy()).sum()
    right, n = by_person["right"].to_numpy(), by_person["n"].to_numpy()              # (S,), (S,)
    drawn = rng.integers(len(n), size=(replicates, len(n)))                          # (R, S)
    shares = right[drawn].sum(1) / n[drawn].sum(1)                                   # (R,)
    low, high = np.quantile(shares, [0.025, 0.975])
    return Interval(accuracy(frame), float(low), float(high))


def evaluate(frame: pd.DataFrame, seed: int = 0) -> Evaluation:
    """Return the figures of predictions as read_predictions gives them; `seed` is the bootstrap's."""
    return evaluate_together([frame], seed)


def evaluate_together(frames: Sequence[pd.DataFrame], seed: int = 0) -> Evaluation:
    """Return the figures of several networks' predictions pooled: each row counts once, folds by their size.

    An image that several networks predicted counts once for each; its sequences are formed within a network, never across.
    `n_images`, `n_sequences` and `n_subjects` count each image, sequence and person once.
    """
    frame = pd.concat(frames, ignore_index=True)
    classes, sequences = classes_in(frame), pd.concat([to_sequences(one) for one in frames], ignore_index=True)
    present = set(frame["expression"])
    name, share = majority(frame)
    return Evaluation(
        classes=classes,
        n_images=frame["image_id"].nunique(),
        n_sequences=len(sequences[["subject", "sequence", "expression"]].drop_duplicates()),
        n_subjects=frame["subject"].nunique(),
        frame_accuracy=interval_over_subjects(frame, np.random.default_rng(seed)),
        sequence_accuracy=interval_over_subjects(sequences, np.random.default_rng(seed)),
        frame_macro_recall=macro_recall(frame),
        sequence_macro_recall=macro_recall(sequences),
        classes_absent=tuple(c for c in classes if c not in present),
        majority_class=name,
        majority_accuracy=share,
        confusion=tuple(tuple(row) for row in confusion(frame, classes).tolist()),
    )
