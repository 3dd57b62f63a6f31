"""Figures as sentences for a paper: what was measured, how, and how sure it is.

In:  SeedFigures, SeedSpread (evaluate/pooled.py), PairedComparison (evaluate/paired.py).
Out: one sentence each, in per cent.
"""

from collections.abc import Sequence

from fer_data.text import named, percent
from fer_model.evaluate.figures import no_interval
from fer_model.evaluate.paired import PairedComparison
from fer_model.evaluate.pooled import SeedFigures, SeedSpread

__all__ = [
    "sentence_of_difference", "sentence_of_mean", "sentence_of_recall", "sentence_of_seeds", "sentence_pooled",
]


def sentence_pooled(figures: SeedFigures, unit: str, drawn: bool | None) -> str:
    """Return the pooled accuracy per frame or per sequence with all that makes it believable."""
    found = figures.pooled
    share = found.frame_accuracy if unit == "frame" else found.sequence_accuracy
    none = no_interval(share.low, share.high, found.n_subjects)
    interval = f"95 % interval {percent(share.low)} to {percent(share.high)}, bootstrap over {found.n_subjects} people"
    return (
        f"{figures.name}: {percent(share.value)} % ({f'no interval: {none}' if none else interval}), per {unit}, pooled over"
        f" {_folds(figures)}, {_rules(figures)}{_drawn(drawn)}."
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
    return (
        f"{found.method.label}: {percent(share.mean)} % ± {percent(share.sd)} (mean and standard deviation of {share.n} seeds, lowest"
        f" {percent(share.low)}, highest {percent(share.high)}), per {unit}, pooled over {named('fold', found.folds)}"
        f" ({found.n_images} images){_drawn(drawn)}."
    )


def sentence_of_difference(found: PairedComparison, drawn: bool | None) -> str:
    """Return which of two methods is above the other, by how much, how sure."""
    paired, unit = found.paired, {"frame": "images", "sequence": "sequences"}[found.unit]
    points = percent(abs(paired.difference))
    how = f"{points} points {'above' if paired.difference > 0 else 'below'}" if float(points) else "level with"
    seeds = ""
    if not found.shared_seeds:
        seeds = f", {_mean_over(found.seeds)} against {_mean_over(found.seeds_of_second)}"
    elif len(found.seeds) > 1:
        seeds = f", {named('mean over seed', found.seeds)}"
    elif max(len(found.first.seeds), len(found.second.seeds)) > 1:
        seeds = f", seed {found.seeds[0]}"
    verdict = "" if paired.low > 0 or paired.high < 0 else "; the interval holds 0: no difference is shown"
    interval = (
        f"95 % interval {percent(paired.low)} to {percent(paired.high)} points, paired bootstrap over {paired.n_subjects} people, above in"
        f" {percent(paired.share_above)} % of replicates{verdict}"
    )
    none = no_interval(paired.low, paired.high, paired.n_subjects)
    return (
        f"{found.first.label} is {how} {found.second.label} ({f'no interval: {none}' if none else interval}), per {found.unit},"
        f" on the {paired.n} {unit} that both predicted{seeds}{_drawn(drawn)}."
    )


def _mean_over(seeds: Sequence[int]) -> str:
    return named("seed" if len(seeds) == 1 else "the mean over seed", seeds)


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
    return ", on synthetic people" if drawn else ""
