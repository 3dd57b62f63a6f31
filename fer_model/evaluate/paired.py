"""Compare two methods on the same images: how much one is above the other, and how sure that is.

In:  predictions of both, as runs.predictions.read_predictions gives them; a generator. Several seeds of a method are several frames.
     Or Methods, every two of which are compared.
Out: Paired: difference of the accuracies on what both predicted, with a 95 % interval by bootstrap over people. PairedComparison:
     that of two methods, seed against the same seed.

A paired test is far sharper than two intervals side by side: images that are hard for both say nothing about which is
better, and people, not images, are resampled, because the frames of a person are right or wrong together. No interval
over people holds the noise of training; where several networks of each method see the same people, pooled.over_runs has one that does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from fer_data.people import are_known
from fer_model.errors import RunError
from fer_model.evaluate.figures import REPLICATES, UNITS, resampled, to_sequences
from fer_model.runs.fold_runs import folds_apart
from fer_model.runs.methods import Method

__all__ = ["Paired", "PairedComparison", "compare_methods", "paired_difference", "shared_rows"]

_KEYS = {"frame": ["image_id"], "sequence": ["subject", "sequence", "expression"]}   # what makes two rows the same thing


@dataclass(frozen=True)
class Paired:
    """First method against second, on the rows that both predicted. Shares are 0..1, differences -1..1."""

    n: int                            # images or sequences that both predicted
    n_subjects: int                   # 0: people unknown, images are resampled in their place
    first: float                      # accuracy there; the mean over seeds if there are several
    second: float
    difference: float                 # first - second
    low: float                        # 95 % percentile interval of the difference
    high: float                       # where figures.no_interval has a word there is none: both are the difference
    share_above: float                # share of replicates in which the first is above the second; there it says nothing
    only_first: float                 # rows that only the first has right; the mean over pairs of seeds, hence no whole number
    only_second: float


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on what both predicted, seed against the same seed."""

    first: Method
    second: Method
    seeds: tuple[int, ...]            # of the first, over which the rightness of each image is averaged
    seeds_of_second: tuple[int, ...]  # of the second; the same where the two share seeds
    unit: str                         # frame, sequence
    paired: Paired

    @property
    def shared_seeds(self) -> bool:
        """Whether both methods have these seeds."""
        return self.seeds == self.seeds_of_second


def shared_rows(first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], unit: str = "frame") -> pd.DataFrame:
    """Return a row for each image (unit frame) or sequence that every one of the frames predicts.

    Columns: subject; first and second, the share of that method's frames that have it right; both, the share of pairs.
    Raises RunError if two runs call the same image a different expression or person.
    """
    columns = [_right(frame, unit) for frame in (*first, *second)]
    joined = pd.concat([column["right"] for column in columns], axis=1, join="inner", keys=range(len(columns)))      # (n, F)
    people = columns[0].loc[joined.index, ["subject", "expression"]]
    for other in columns[1:]:
        differs = (other.loc[joined.index, ["subject", "expression"]] != people).any(axis=1)
        if differs.any():
            name = joined.index[differs.to_numpy()][0]
            raise RunError(f"comparing runs: they must agree on whom an image shows and what, they differ on {name}")
    a, b = joined.to_numpy()[:, : len(first)].astype(float), joined.to_numpy()[:, len(first) :].astype(float)
    shares = {"first": a.mean(1), "second": b.mean(1)}
    return people[["subject"]].assign(**shares, both=shares["first"] * shares["second"])


def paired_difference(
    first: Sequence[pd.DataFrame],    # predictions of one method, a frame per seed
    second: Sequence[pd.DataFrame],   # of the other
    rng: np.random.Generator,
    unit: str = "frame",              # frame, sequence
    replicates: int = REPLICATES,
) -> Paired | None:
    """Return how the first method differs from the second on what all frames predict; None if that is nothing."""
    rows = shared_rows(first, second, unit)
    if not len(rows):
        return None
    rows = rows.assign(n=1)
    known = are_known(rows["subject"])
    unit_of = rows["subject"].to_numpy() if known else np.arange(len(rows))
    people = rows.groupby(unit_of, sort=True)[["first", "second", "n"]].sum().to_numpy()            # (S, 3)
    a, b, n = resampled(people, rng, replicates).T                                                  # (R,) each
    differences = (a - b) / n
    low, high = np.quantile(differences, [0.025, 0.975])
    means = rows[["first", "second"]].mean()
    return Paired(
        len(rows), len(people) if known else 0, float(means["first"]), float(means["second"]), float(means["first"] - means["second"]),
        float(low), float(high), float((differences > 0).mean()),
        float((rows["first"] - rows["both"]).sum()), float((rows["second"] - rows["both"]).sum()),
    )


def _right(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return subject, expression and right, one row per unit, by its key."""
    rows = to_sequences(frame) if unit == "sequence" else frame
    keys = _KEYS[unit]
    index = pd.Index(rows[keys[0]]) if len(keys) == 1 else pd.MultiIndex.from_frame(rows[keys])
    found = rows[["subject", "expression"]].set_axis(index)
    return found.assign(right=(rows["expression"] == rows["predicted"]).to_numpy())


def compare_methods(methods: list[Method], seed: int = 0) -> tuple[list[PairedComparison], list[tuple[Method, Method]]]:
    """Return the comparisons of every two methods, and the pairs that predicted nothing in common; `seed` is the bootstrap's.

    Only methods with the same folds (fold_runs.folds_apart) are compared: how much the choice of folds moves is another question.
    Seeds that both have are compared together, each image counting by its mean over seeds, and one by one. Where no seed is
    shared, all seeds of one are compared with all seeds of the other.
    """
    found, apart = [], []
    for first, second in combinations(methods, 2):
        mine, theirs = ([s for s in method.seeds if method.complete(s)] for method in (first, second))
        if not mine or not theirs or folds_apart(first.runs, second.runs):
            continue
        shared = [s for s in mine if s in theirs]
        sets = [(shared, shared)] if shared else [(mine, theirs)]
        sets += [([s], [s]) for s in shared] if len(shared) > 1 else []
        pairs = [one for a, b in sets for unit in UNITS if (one := _comparison(first, second, a, b, unit, seed))]
        found += pairs
        if not pairs:
            apart.append((first, second))
    return found, apart


def _comparison(first: Method, second: Method, mine, theirs, unit: str, seed: int) -> PairedComparison | None:
    a, b = [first.predictions(s) for s in mine], [second.predictions(s) for s in theirs]
    paired = paired_difference(a, b, np.random.default_rng(seed), unit)
    return None if paired is None else PairedComparison(first, second, tuple(mine), tuple(theirs), unit, paired)
