"""Pool the folds of one cross-validation: pooled figures, the mean of folds, each fold, and the spread over seeds.

In:  predictions of runs that differ in their test fold alone; Methods (runs/methods.py), which say which runs those are.
Out: Pooled, its Spread over folds; SeedFigures (one method, one seed), SeedSpread (several seeds of one method). Shares are 0..1.

Pooled and mean of folds are two numbers: folds are not equally large, and a small hard fold weighs more in the mean. Both
are shown, always. The standard deviation over folds is that of folds, not of the method: folds hold different people.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from fer_model.evaluate.figures import Evaluation, accuracy, evaluate, evaluate_together, macro_recall, plain_table, to_sequences
from fer_model.runs.fold_runs import FoldRun
from fer_model.runs.methods import Method
from fer_model.runs.predictions import together

__all__ = ["OverRuns", "Pooled", "SeedFigures", "SeedSpread", "Spread", "figures_of", "over_runs", "pool", "seed_spread", "spread"]


@dataclass(frozen=True)
class Spread:
    """Several values of one figure."""

    n: int
    mean: float
    sd: float | None                  # standard deviation with n - 1; None: there is but one value
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1%}" + ("" if self.sd is None else f" ± {100 * self.sd:.1f}")


def spread(values: Sequence[float]) -> Spread:
    """Return mean, standard deviation, least and greatest of some shares.

    >>> str(spread([0.8, 0.9, 1.0]))
    '90.0% ± 10.0'
    """
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(len(values), float(np.mean(values)), sd, float(min(values)), float(max(values)))


@dataclass(frozen=True)
class OverRuns:
    """The mean of a figure over trained networks, with its 95 % interval by Student's t: what training again, on other people, may give."""

    n: int
    mean: float
    low: float
    high: float


def over_runs(values: Sequence[float]) -> OverRuns | None:
    """Return the mean of a figure over runs and its interval; None of fewer than two runs, of which nobody knows how they differ.

    >>> over_runs([0.01, 0.02, 0.03])
    OverRuns(n=3, mean=0.02, low=-0.004841..., high=0.044841...)
    """
    if len(values) < 2:
        return None
    from scipy.stats import t

    found = spread(values)
    half = float(t.ppf(0.975, found.n - 1)) * found.sd / found.n**0.5
    return OverRuns(found.n, found.mean, found.mean - half, found.mean + half)


@dataclass(frozen=True)
class Pooled:
    """Several networks of one method and seed: their predictions pooled, and one by one."""

    evaluation: Evaluation
    folds: tuple[int, ...]            # their numbers
    by_fold: tuple[Evaluation, ...]   # of each of them, in the same order
    n_folds: int                      # how many there are, complete or not
    elsewhere: bool                   # each network was tested on all images, none of them its fold

    @cached_property
    def means(self) -> dict[str, Spread]:
        """Mean of folds of frame and sequence (accuracy), frame_macro_recall, sequence_macro_recall."""
        return {
            "frame": spread([one.frame_accuracy.value for one in self.by_fold]),
            "sequence": spread([one.sequence_accuracy.value for one in self.by_fold]),
            "frame_macro_recall": spread([one.frame_macro_recall for one in self.by_fold]),
            "sequence_macro_recall": spread([one.sequence_macro_recall for one in self.by_fold]),
        }

    def to_json(self) -> dict:
        """Return it as what JSON holds."""
        folds = [
            {"fold": fold, "n_images": one.n_images, "n_sequences": one.n_sequences, "n_subjects": one.n_subjects,
             "frame_accuracy": one.frame_accuracy.value, "sequence_accuracy": one.sequence_accuracy.value,
             "frame_macro_recall": one.frame_macro_recall}
            for fold, one in zip(self.folds, self.by_fold, strict=True)
        ]
        names = {"frame_accuracy": "frame", "sequence_accuracy": "sequence", "frame_macro_recall": "frame_macro_recall"}
        means = {name: asdict(self.means[key]) for name, key in names.items()}
        return {"evaluation": self.evaluation.to_json(), "folds": folds, "n_folds": self.n_folds, "mean_of_folds": means}

    def __rich__(self):
        """Return pooled figures, the means of folds, the folds and the pooled confusion matrix, for the console."""
        from rich.console import Group

        number = f"{len(self.folds)}" + (f" of {self.n_folds}" if self.n_folds != len(self.folds) else "")
        whose = f"seen by each of {number} networks" if self.elsewhere else f"of {number} test folds, pooled"
        matrix = self.evaluation.matrix("images, summed over networks" if self.elsewhere else "images")
        return Group("", self.evaluation.figures(whose), "", self._means(), "", self._each(), "", matrix, *self.evaluation.remarks())

    def _means(self):
        title = "Mean of networks" if self.elsewhere else "Mean of folds, each weighing the same"
        table = plain_table(title, "", "mean ± sd", "least to greatest")
        named = {"accuracy per frame": "frame", "accuracy per sequence": "sequence", "macro recall per frame": "frame_macro_recall"}
        for name, key in named.items():
            share = self.means[key]
            table.add_row(name, str(share), f"{share.low:.1%} to {share.high:.1%}")
        return table

    def _each(self):
        title = "Networks, by the fold that they were not trained on" if self.elsewhere else "Folds"
        table = plain_table(title, "fold", "images", "sequences", "people", "per frame", "per sequence", "macro recall")
        for fold, one in zip(self.folds, self.by_fold, strict=True):
            shares = (one.frame_accuracy.value, one.sequence_accuracy.value, one.frame_macro_recall)
            counts = (fold, one.n_images, one.n_sequences, one.n_subjects or "unknown")
            table.add_row(*map(str, counts), *(f"{share:.1%}" for share in shares))
        return table


def pool(folds: Sequence[int], frames: Sequence[pd.DataFrame], n_folds: int, elsewhere: bool = False) -> Pooled:
    """Return the figures of networks, one per fold: `frames` are their predictions.

    Raises RunError if two of them tested the same image, unless `elsewhere`: then all of them saw all images.
    """
    if not elsewhere:
        together(frames)
    return Pooled(evaluate_together(frames), tuple(folds), tuple(evaluate(frame) for frame in frames), n_folds, elsewhere)


# --- the seeds of a method


@dataclass(frozen=True)
class SeedFigures:
    """What one seed of a method reached, over its complete folds."""

    method: Method
    seed: int
    folds: tuple[FoldRun, ...]        # complete
    all_folds: Pooled

    @property
    def pooled(self) -> Evaluation:
        """Of all their images together."""
        return self.all_folds.evaluation

    @property
    def by_fold(self) -> tuple[Evaluation, ...]:
        """Of each fold, in the order of `folds`."""
        return self.all_folds.by_fold

    @property
    def means(self) -> dict[str, Spread]:
        """Mean of folds, as Pooled.means."""
        return self.all_folds.means

    @property
    def name(self) -> str:
        """The method, and its seed where the method has several."""
        return f"{self.method.label}, seed {self.seed}" if len(self.method.seeds) > 1 else self.method.label

    @property
    def whole(self) -> bool:
        """Whether every face of the data set was tested."""
        return self.pooled.n_images == self.method.n_faces


@dataclass(frozen=True)
class SeedSpread:
    """Several seeds of one method, on the folds that all of them have: the noise of training."""

    method: Method
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    n_images: int
    figures: dict[str, Spread]        # frame, sequence: accuracy, pooled; frame_macro_recall
    values: dict[str, tuple[float, ...]]      # the same for each seed


def figures_of(method: Method, seed: int) -> SeedFigures | None:
    """Return what a seed reached over its complete folds; None if there is none."""
    runs = method.complete(seed)
    if not runs:
        return None
    n_folds = method.content.get("n_folds", len(method.seeds[seed]))
    return SeedFigures(method, seed, runs, pool([run.fold for run in runs], [run.predictions for run in runs], n_folds))


def seed_spread(method: Method) -> SeedSpread | None:
    """Return the spread over seeds, on the folds that are complete in all; None if there are not two seeds with one in common."""
    done = {seed: {run.fold for run in method.complete(seed)} for seed in method.seeds if method.complete(seed)}
    folds = set.intersection(*done.values()) if done else set()
    if len(done) < 2 or not folds:
        return None
    frames = [method.predictions(seed, folds) for seed in done]
    values = {
        "frame": tuple(accuracy(frame) for frame in frames), "sequence": tuple(accuracy(to_sequences(frame)) for frame in frames),
        "frame_macro_recall": tuple(macro_recall(frame) for frame in frames),
    }
    figures = {name: spread(found) for name, found in values.items()}
    return SeedSpread(method, tuple(done), tuple(sorted(folds)), len(frames[0]), figures, values)
