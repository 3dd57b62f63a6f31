"""The folds of one cross-validation together: complete runs in; pooled figures, the mean of folds and each fold out.

In:  predictions of runs that differ in their test fold alone.
Out: Pooled, its Spread over folds; sentences about what is missing or differs.

Pooled and mean of folds are two numbers: folds are not equally large, and a small hard fold weighs more in the mean. Both
are shown, always. The standard deviation over folds is that of folds, not of the method: folds hold different people.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_model.config import STAGES_OF
from fer_model.errors import RunError
from fer_model.evaluate.figures import Evaluation, accuracy, evaluate_together, macro_recall, plain_table, to_sequences

__all__ = ["FoldFigures", "Pooled", "Spread", "pool", "refuse_mixed", "spread"]

_BUDGETS = ("kimg", "epochs")         # they follow from the number of training faces, which differs between folds


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
class FoldFigures:
    """What the network of one fold reached. Shares are 0..1."""

    fold: int
    n_images: int
    n_sequences: int
    n_subjects: int
    frame_accuracy: float
    sequence_accuracy: float
    frame_macro_recall: float         # over the classes that occur in this fold


@dataclass(frozen=True)
class Pooled:
    """Several networks of one method and seed: their predictions pooled, and one by one."""

    evaluation: Evaluation
    folds: tuple[FoldFigures, ...]
    n_folds: int                      # how many there are, complete or not
    elsewhere: bool                   # each network was tested on all images, none of them its fold

    @property
    def frame(self) -> Spread:
        return spread([fold.frame_accuracy for fold in self.folds])

    @property
    def sequence(self) -> Spread:
        return spread([fold.sequence_accuracy for fold in self.folds])

    @property
    def macro(self) -> Spread:
        return spread([fold.frame_macro_recall for fold in self.folds])

    def to_dict(self) -> dict:
        """Return it as what JSON holds."""
        means = {"frame_accuracy": self.frame, "sequence_accuracy": self.sequence, "frame_macro_recall": self.macro}
        return {
            "evaluation": self.evaluation.to_dict(), "folds": [asdict(fold) for fold in self.folds], "n_folds": self.n_folds,
            "mean_of_folds": {name: asdict(mean) for name, mean in means.items()},
        }  # fmt: skip

    def __rich__(self):
        """Return pooled figures, means, folds and confusion matrix as tables, for the console."""
        from rich.console import Group

        number = f"{len(self.folds)}" + (f" of {self.n_folds}" if self.n_folds != len(self.folds) else "")
        whose = f"seen by each of {number} networks" if self.elsewhere else f"of {number} test folds, pooled"
        matrix = self.evaluation.matrix("images, summed over networks" if self.elsewhere else "images")
        return Group("", self.evaluation.figures(whose), "", self._means(), "", self._each(), "", matrix, *self.evaluation.remarks())

    def _means(self):
        title = "Mean of networks" if self.elsewhere else "Mean of folds, each weighing the same"
        means = plain_table(title, "", "mean ± sd", "least to greatest")
        named = {"accuracy per frame": self.frame, "accuracy per sequence": self.sequence, "macro recall per frame": self.macro}
        for name, share in named.items():
            means.add_row(name, str(share), f"{share.low:.1%} to {share.high:.1%}")
        return means

    def _each(self):
        title = "Networks, by the fold that they were not trained on" if self.elsewhere else "Folds"
        table = plain_table(title, "fold", "images", "sequences", "people", "per frame", "per sequence", "macro recall")
        for fold in self.folds:
            shares = (fold.frame_accuracy, fold.sequence_accuracy, fold.frame_macro_recall)
            counts = (fold.fold, fold.n_images, fold.n_sequences, fold.n_subjects)
            table.add_row(*map(str, counts), *(f"{share:.1%}" for share in shares))
        return table


def pool(folds: Sequence[int], frames: Sequence[pd.DataFrame], n_folds: int, elsewhere: bool = False) -> Pooled:
    """Return the figures of networks, one per fold: `frames` are their predictions.

    Raises RunError if two of them tested the same image, unless `elsewhere`: then all of them saw all images.
    """
    ids = pd.concat([frame["image_id"] for frame in frames], ignore_index=True)
    if not elsewhere and ids.duplicated().any():
        raise RunError(f"pooling folds: an image must be tested in one fold, {ids[ids.duplicated()].iloc[0]} is tested in several")
    figures = tuple(_figures(fold, frame) for fold, frame in zip(folds, frames, strict=True))
    return Pooled(evaluate_together(frames), figures, n_folds, elsewhere)


def _figures(fold: int, frame: pd.DataFrame) -> FoldFigures:
    sequences = to_sequences(frame)
    counts = len(frame), len(sequences), frame["subject"].nunique()
    return FoldFigures(fold, *counts, accuracy(frame), accuracy(sequences), macro_recall(frame))


def refuse_mixed(runs: Sequence[Path], contents: Sequence[dict]) -> list[str]:
    """Raise RunError unless the runs (config.json of each) differ in their test fold alone; return remarks on the code.

    Budgets agree if every fold was shown as many images, or passed as often over its faces.
    """
    first, flat = contents[0], [_flat({**content["config"], "manifest": content["manifest_sha256"]}) for content in contents]
    for run, mine in zip(runs, flat, strict=True):
        for name in sorted(set(flat[0]) | set(mine)):
            if name != "fold" and name.rpartition(".")[2] not in _BUDGETS and flat[0].get(name) != mine.get(name):
                raise RunError(_differs(runs[0], run, name, flat[0].get(name), mine.get(name)))
    for stage in STAGES_OF[first["config"]["method"]]:
        if not _same_budget(contents, stage):
            i = next(i for i, other in enumerate(flat) if other[f"{stage}.kimg"] != flat[0][f"{stage}.kimg"])
            raise RunError(_differs(runs[0], runs[i], f"{stage}.kimg", flat[0][f"{stage}.kimg"], flat[i][f"{stage}.kimg"]))
    versions = {content["code_version"] for content in contents}
    return [f"The folds were trained by {len(versions)} versions of the code."] if len(versions) > 1 else []


def _differs(first: Path, other: Path, name: str, old, new) -> str:
    return f"pooling folds: runs must agree in all but their fold, {name} is {old!r} in {first} and {new!r} in {other}"


def _flat(values: dict, prefix: str = "") -> dict:
    found = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _same_budget(contents: Sequence[dict], stage: str) -> bool:
    """The baseline has its own budget, or both stages' of DE-GAN, of which one may be images and the other passes."""
    kimg = [content["config"][stage]["kimg"] for content in contents]
    passes = [k / content["n_train"] for k, content in zip(kimg, contents, strict=True)]
    if np.ptp(kimg) == 0 or np.ptp(passes) < 1e-4 * max(passes):
        return True
    both = [content["config"]["gan"]["kimg"] + content["config"]["head"]["kimg"] for content in contents]
    return stage == "cnn" and np.allclose(kimg, both) and all(_same_budget(contents, part) for part in ("gan", "head"))
