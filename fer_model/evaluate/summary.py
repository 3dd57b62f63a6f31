"""From methods to figures, and from figures to sentences that can stand in a paper.

In:  Methods, as runs/methods.py gives them.
Out: SeedFigures (one method, one seed), SeedSpread (several seeds of one method), Comparison (two methods), each with its
     sentence. Shares are 0..1; sentences give per cent.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fer_data.text import listed, percent
from fer_model.evaluate.figures import Evaluation, accuracy, evaluate, macro_recall, to_sequences
from fer_model.evaluate.paired import Paired, paired_difference
from fer_model.evaluate.pooled import Spread, spread
from fer_model.runs.methods import FoldRun, Method

__all__ = [
    "UNITS", "Comparison", "SeedFigures", "SeedSpread", "compare", "figures_of", "seed_spread",
    "sentence_of_difference", "sentence_of_mean", "sentence_of_recall", "sentence_of_seeds", "sentence_pooled",
]  # fmt: skip

UNITS = ("frame", "sequence")


@dataclass(frozen=True)
class SeedFigures:
    """What one seed of a method reached, over its complete folds."""

    method: Method
    seed: int
    folds: tuple[FoldRun, ...]        # complete
    by_fold: tuple[Evaluation, ...]   # of each of them, in the same order
    pooled: Evaluation                # of all their images together
    means: dict[str, Spread]          # mean of folds: frame, sequence: accuracy; frame_macro_recall, sequence_macro_recall

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


@dataclass(frozen=True)
class Comparison:
    """Two methods on what both predicted, seed against the same seed."""

    first: Method
    second: Method
    seeds: tuple[int, ...]            # over which the rightness of each image is averaged; those of the first, if none is shared
    shared_seeds: bool                # whether both methods have these seeds
    unit: str                         # frame, sequence
    paired: Paired


def figures_of(method: Method, seed: int) -> SeedFigures | None:
    """Return what a seed reached over its complete folds; None if there is none."""
    folds = method.complete(seed)
    if not folds:
        return None
    by_fold = tuple(evaluate(run.predictions) for run in folds)
    means = {
        "frame": spread([one.frame_accuracy.value for one in by_fold]),
        "sequence": spread([one.sequence_accuracy.value for one in by_fold]),
        "frame_macro_recall": spread([one.frame_macro_recall for one in by_fold]),
        "sequence_macro_recall": spread([one.sequence_macro_recall for one in by_fold]),
    }  # fmt: skip
    return SeedFigures(method, seed, folds, by_fold, evaluate(method.predictions(seed)), means)


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
    }  # fmt: skip
    figures = {name: spread(found) for name, found in values.items()}
    return SeedSpread(method, tuple(done), tuple(sorted(folds)), len(frames[0]), figures, values)


def compare(methods: list[Method], seed: int = 0) -> tuple[list[Comparison], list[tuple[Method, Method]]]:
    """Return the comparisons of every two methods, and the pairs that predicted nothing in common; `seed` is the bootstrap's.

    Only methods with the same folds are compared: how much the choice of folds moves is another question.
    Seeds that both have are compared together, each image counting by its mean over seeds, and one by one. Where no seed is
    shared, all seeds of one stand against all seeds of the other.
    """
    found, apart = [], []
    for first, second in combinations(methods, 2):
        mine, theirs = ([s for s in method.seeds if method.complete(s)] for method in (first, second))
        if not mine or not theirs or _fold_choice(first) != _fold_choice(second):
            continue
        shared = [s for s in mine if s in theirs]
        sets = [(shared, shared)] if shared else [(mine, theirs)]
        sets += [([s], [s]) for s in shared] if len(shared) > 1 else []
        pairs = [one for a, b in sets for unit in UNITS if (one := _comparison(first, second, a, b, bool(shared), unit, seed))]
        found += pairs
        if not pairs:
            apart.append((first, second))
    return found, apart


def _fold_choice(method: Method) -> tuple:
    """Return by what rule and seed folds were dealt out; runs from before there was a choice have those of the manifest."""
    return method.config.get("fold_rule", "manifest"), method.config.get("fold_seed", 0)


def _comparison(first: Method, second: Method, mine, theirs, shared: bool, unit: str, seed: int) -> Comparison | None:
    a, b = [first.predictions(s) for s in mine], [second.predictions(s) for s in theirs]
    paired = paired_difference(a, b, np.random.default_rng(seed), unit)
    return None if paired is None else Comparison(first, second, tuple(mine), shared, unit, paired)


# --- sentences


def sentence_pooled(figures: SeedFigures, unit: str, drawn: bool | None) -> str:
    """Return the pooled accuracy per frame or per sequence with all that makes it believable."""
    found = figures.pooled
    share = found.frame_accuracy if unit == "frame" else found.sequence_accuracy
    return (
        f"{figures.name}: {percent(share.value)} % (95 % interval {percent(share.low)} to {percent(share.high)}, bootstrap over"
        f" {found.n_subjects} people), per {unit}, pooled over {_folds(figures)}, {_rules(figures)}{_drawn(drawn)}."
    )


def sentence_of_mean(figures: SeedFigures, unit: str, drawn: bool | None) -> str:
    """Return the mean of folds per frame or per sequence, as papers give it."""
    found = figures.means[unit]
    sd = "" if found.sd is None else f" ± {percent(found.sd)}"
    what = "mean and standard deviation of the folds" if found.sd is not None else "one fold"
    return f"{figures.name}: {percent(found.mean)} %{sd} ({what}), per {unit}, {_folds(figures)}, {_rules(figures)}{_drawn(drawn)}."


def sentence_of_recall(figures: SeedFigures, drawn: bool | None) -> str:
    """Return the macro recall, with the number of expressions that it is a mean of."""
    found = figures.pooled
    n = len(found.classes) - len(found.classes_absent)
    return (
        f"{figures.name}: macro recall {percent(found.frame_macro_recall)} % (mean over the {n} expressions tested; always answering"
        f" {found.majority_class} would give {percent(1 / n)} % here and {percent(found.majority_accuracy)} % of the frames), per frame,"
        f" pooled over {_folds(figures)}, {_rules(figures)}{_drawn(drawn)}."
    )


def sentence_of_seeds(found: SeedSpread, unit: str, drawn: bool | None) -> str:
    """Return mean and spread over seeds."""
    share = found.figures[unit]
    folds = f"fold{'s' if len(found.folds) > 1 else ''} {listed(found.folds)}"
    return (
        f"{found.method.label}: {percent(share.mean)} % ± {percent(share.sd)} (mean and standard deviation of {share.n} seeds, lowest"
        f" {percent(share.low)}, highest {percent(share.high)}), per {unit}, pooled over {folds} ({found.n_images} images){_drawn(drawn)}."
    )


def sentence_of_difference(found: Comparison, drawn: bool | None) -> str:
    """Return which of two methods is above the other, by how much, how sure."""
    paired, unit = found.paired, {"frame": "images", "sequence": "sequences"}[found.unit]
    points = percent(abs(paired.difference))
    how = f"{points} points {'above' if paired.difference > 0 else 'below'}" if float(points) else "level with"
    seeds = ""
    if len(found.seeds) > 1:
        seeds = f", mean over seeds {listed(found.seeds)}"
    elif found.shared_seeds and max(len(found.first.seeds), len(found.second.seeds)) > 1:
        seeds = f", seed {found.seeds[0]}"
    verdict = "" if paired.low > 0 or paired.high < 0 else "; the interval holds 0: no difference is shown"
    return (
        f"{found.first.label} is {how} {found.second.label} (95 % interval {percent(paired.low)} to {percent(paired.high)} points, paired"
        f" bootstrap over {paired.n_subjects} people, above in {percent(paired.share_above)} % of replicates{verdict}), per {found.unit},"
        f" on the {paired.n} {unit} that both predicted{seeds}{_drawn(drawn)}."
    )


def _folds(figures: SeedFigures) -> str:
    n = len(figures.folds)
    n_folds = figures.method.content.get("n_folds")
    of = f" of {n_folds}" if isinstance(n_folds, int) and n_folds > n else ""
    text = f"{n}{of} subject-disjoint fold{'s' if n > 1 or of else ''}"
    return text if figures.whole else f"{text} ({figures.pooled.n_images} of {figures.method.n_faces} images)"


def _rules(figures: SeedFigures) -> str:
    rules = figures.folds[0].result.get("rules", {})
    epoch = str(rules.get("epoch", "not recorded"))
    said = "last epoch" if epoch == "last" else f"epoch: {epoch.split(';')[0]}"
    return f"{said}, {rules.get('test_view', 'test crop not recorded')}"


def _drawn(drawn: bool | None) -> str:
    return ", on drawn people" if drawn else ""
