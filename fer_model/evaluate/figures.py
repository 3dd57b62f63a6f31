"""Accuracy, macro recall and confusion matrix from predictions, with 95 % intervals by bootstrap over people.

Where people are unknown it is over pictures, and every table says so.

In:  predictions, one row per test image (runs/predictions.py). Several networks are several tables: the folds of a
     cross-validation, or networks that saw the same images.
Out: Evaluation. All functions are pure; the bootstrap's generator is passed in.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from fer_data.people import UNKNOWN, are_known, people_text
from fer_model.runs.predictions import PREFIX, classes_in

__all__ = [
    "Evaluation", "Interval", "accuracy", "bracketed", "confusion", "evaluate", "evaluate_together", "interval_over_subjects",
    "macro_recall", "majority", "no_interval", "plain_table", "resampled", "to_sequences",
]

REPLICATES = 2000                     # of the bootstrap
_DRAWN_AT_ONCE = 2**22                # numbers of people: 32 MB, and what they are the numbers of
UNITS = ("frame", "sequence")         # of which accuracy is the share
_ROUNDING = 1e-9                      # replicates closer than this are one number


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval, all 0..1. Where no_interval has a word, `low` and `high` are the value, which says nothing."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What a run, or several together, reached on people whom it was not trained on. Shares are 0..1."""

    classes: tuple[str, ...]
    n_images: int
    n_sequences: int
    n_subjects: int                   # 0: people unknown
    frame_accuracy: Interval          # share of images; interval: bootstrap over subjects, or over images where people are unknown
    sequence_accuracy: Interval       # share of sequences, by the mean probability over their frames
    frame_macro_recall: float         # mean over the classes that occur in the test fold, per image
    sequence_macro_recall: float
    classes_absent: tuple[str, ...]   # classes without a test image; they are in no macro recall
    majority_class: str               # of the test images
    majority_accuracy: float          # what always answering it would reach, per image
    confusion: tuple[tuple[int, ...], ...]       # images; row: true class, column: predicted, order of `classes`

    def to_json(self) -> dict:
        """Return it as what JSON holds; where people are unknown, with a word on that."""
        return asdict(self) | ({} if self.n_subjects else {"people": UNKNOWN, "interval_over": self.over})

    @property
    def over(self) -> str:
        """What the bootstrap of the intervals draws."""
        return "people" if self.n_subjects else "pictures"

    def __rich__(self):
        """Return the figures and the confusion matrix as tables, for the console."""
        return self.told("of the test fold" if self.n_subjects else "of the test part")

    def told(self, whose: str):
        """Return the figures and the confusion matrix as tables; `whose` says which people these are."""
        from rich.console import Group

        return Group("", self.figures(whose), "", self.matrix(), *self.remarks())

    def figures(self, whose: str):
        """Return the figures as a table; `whose` says in its title which people these are."""
        sequences = f", {self.n_sequences} sequences" if self.n_subjects else ""
        title = f"{self.n_images} images{sequences}, {people_text(self.n_subjects)}{'' if self.n_subjects else ','} {whose}"
        figures = plain_table(title, "", "share", f"95 % over {self.over}")
        for name, share in (("accuracy per frame", self.frame_accuracy), ("accuracy per sequence", self.sequence_accuracy)):
            none = no_interval(share.low, share.high, self.n_subjects)
            figures.add_row(name, f"{share.value:.1%}", f"none: {none}" if none else f"{share.low:.1%} to {share.high:.1%}")
        for name, share in (
            ("macro recall per frame", self.frame_macro_recall), ("macro recall per sequence", self.sequence_macro_recall),
            (f"always {self.majority_class}", self.majority_accuracy),
        ):
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


def no_interval(low: float, high: float, n_subjects: int) -> str:
    """Return why resampling gives no interval, in words; "" where it does. `n_subjects` people were tested, 0: unknown.

    Every replicate is the same where there is one person, or where all have the same share right, as where nobody has an error.

    >>> no_interval(0.25, 0.75, 12), no_interval(0.5, 0.5, 1), no_interval(1.0, 1.0, 12)
    ('', 'one person', 'all alike')
    """
    return "one person" if n_subjects == 1 else "all alike" if high - low < _ROUNDING else ""


def bracketed(share: Interval, n_subjects: int) -> str:
    """Return the interval of a share for a cell of a table, in per cent; `n_subjects` people were tested, 0: unknown.

    >>> bracketed(Interval(0.5, 0.25, 0.75), 12), bracketed(Interval(0.5, 0.5, 0.5), 1)
    ('(25.0 to 75.0)', '(none: one person)')
    """
    none = no_interval(share.low, share.high, n_subjects)
    return f"(none: {none})" if none else f"({100 * share.low:.1f} to {100 * share.high:.1f})"


def plain_table(title: str, *columns: str):
    """Return an empty rich table that fits 80 columns: no edges, numbers to the right. The title is no markup; cells are."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns, title=escape(title), box=SIMPLE, title_justify="left", show_edge=False, pad_edge=False)
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

    People, not rows, are the unit: the frames of a person are no independent observations. Where people are unknown it is images.
    """
    unit = "subject" if are_known(frame["subject"]) else "image_id"
    by_person = pd.DataFrame({"right": _right(frame), "n": 1}).groupby(frame[unit].to_numpy()).sum()
    right, n = resampled(by_person[["right", "n"]].to_numpy(), rng, replicates).T                # (R,), (R,)
    shares = right / n
    low, high = np.quantile(shares, [0.025, 0.975])
    return Interval(accuracy(frame), float(low), float(high))


def resampled(sums: np.ndarray, rng: np.random.Generator, replicates: int) -> np.ndarray:
    """Return the bootstrap's sums (R, C) of the sums (S, C) of people, or of images: S of them are drawn with replacement, R times."""
    found, block = np.empty((replicates, sums.shape[1])), max(1, _DRAWN_AT_ONCE // len(sums))
    for first in range(0, replicates, block):
        drawn = rng.integers(len(sums), size=(len(found[first : first + block]), len(sums)))     # (B, S)
        found[first : first + block] = sums[drawn].sum(1)
    return found


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
        n_subjects=frame["subject"].nunique() if are_known(frame["subject"]) else 0,
        frame_accuracy=interval_over_subjects(frame, np.random.default_rng(seed)),
        sequence_accuracy=interval_over_subjects(sequences, np.random.default_rng(seed)),
        frame_macro_recall=macro_recall(frame),
        sequence_macro_recall=macro_recall(sequences),
        classes_absent=tuple(c for c in classes if c not in present),
        majority_class=name,
        majority_accuracy=share,
        confusion=tuple(tuple(row) for row in confusion(frame, classes).tolist()),
    )
