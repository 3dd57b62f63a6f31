"""Say which runs are folds of the same method, and what differs between methods. Nothing else decides that.

In:  folders, as runs/fold_runs.py finds runs in them; or runs.
Out: Methods, each with its seeds, each with its folds; or the first field that keeps runs apart.

Runs belong to one method if database, manifest, method, preset and every other setting agree, but for fold and seed. A setting of
a stage that the method does not train does not count. Budgets agree if every fold was shown as many images, or passed as often
over its training faces.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_data.text import listed
from fer_model.config import AS_BASELINE, METHODS, STAGES_OF, shown
from fer_model.errors import RunError
from fer_model.runs.differences import first_difference, idle_stages, of_method, variant_of
from fer_model.runs.fold_runs import FoldRun, find_runs
from fer_model.runs.predictions import together
from fer_model.runs.pretrained import names_seen

__all__ = ["NAMES", "Method", "difference", "differing_settings", "gather", "one_method"]

NAMES = {"degan": "DE-GAN", "deae": "DE-AE", "deae-head": "DE-AE with the head", "derl": "DeRL", "iacnn": "IACNN", "cnn": "CNN (baseline)",
         "timm": "timm", "own": "own"}
_MOST_LETTERS = 24                    # of a setting's value in a label


@dataclass(frozen=True)
class Method:
    """Runs that differ in fold and seed alone."""

    label: str                        # for people, unique in a report
    seeds: dict[int, tuple[FoldRun, ...]]     # seed -> its folds, in order; seeds in order

    @property
    def content(self) -> dict:
        """The config.json of its first run: what all runs share."""
        return next(iter(self.seeds.values()))[0].content

    @property
    def config(self) -> dict:
        return self.content["config"]

    @property
    def runs(self) -> tuple[FoldRun, ...]:
        return tuple(run for folds in self.seeds.values() for run in folds)

    @property
    def n_faces(self) -> int:
        """Faces in all folds together."""
        return sum(int(self.content.get(part, 0)) for part in ("n_train", "n_validation", "n_test"))

    def complete(self, seed: int) -> tuple[FoldRun, ...]:
        """Return the complete folds of a seed."""
        return tuple(run for run in self.seeds[seed] if run.complete)

    def predictions(self, seed: int, folds: Iterable[int] | None = None) -> pd.DataFrame:
        """Return the predictions of a seed's complete folds (or of `folds` among them), one below the other.

        Raises RunError if two folds tested the same image.
        """
        runs = [run for run in self.complete(seed) if folds is None or run.fold in set(folds)]
        return together([run.predictions for run in runs])


def gather(paths: Sequence[Path]) -> list[Method]:
    """Return the methods among run folders: DE-GAN first, then in the order given.

    Raises RunError if a folder is no run, or if a fold of a method and seed is there twice.
    """
    families: dict[str, list[FoldRun]] = {}
    for run in find_runs(paths):
        families.setdefault(_signature(run.content), []).append(run)
    seeds = [_by_seed(group) for family in families.values() for group in _by_budget(family)]
    labels = _labels([next(iter(group.values()))[0].content for group in seeds])
    methods = [Method(label, group) for label, group in zip(labels, seeds, strict=True)]
    return sorted(methods, key=lambda method: _place(method.config["method"]))


def one_method(runs: Sequence[FoldRun]) -> list[str]:
    """Return remarks on runs that differ in their fold alone. Raises RunError if they differ in more, naming the first field."""
    if apart := difference(runs, seeds=True):
        raise RunError(f"pooling folds: {apart}; folds that belong together differ in their test fold alone: evaluate these one by one")
    versions = dict.fromkeys(version for run in runs for version in run.code_versions)
    return [f"Trained by {len(versions)} versions of the code: {listed(versions)}."] if len(versions) > 1 else []


def difference(runs: Sequence[FoldRun], seeds: bool = False) -> str:
    """Return what keeps runs from being folds of one method: `cnn.lr is 0.002 in A and 0.5 in B`; "" if nothing does.

    `seeds`: another seed does.
    """
    first = runs[0]
    for run in runs[1:]:
        more = [{"seed": one.seed} if seeds else {} for one in (first, run)]
        if found := first_difference(_identity(first.content) | more[0], _identity(run.content) | more[1]):
            name, old, new = found
            return f"{name} is {shown(old)} in {first.path} and {shown(new)} in {run.path}"
    stage = _other_budget(runs)
    if stage is None:
        return ""
    other = next(run for run in runs if _kimg(run, stage) != _kimg(first, stage))
    return f"{stage}.kimg is {shown(_kimg(first, stage))} in {first.path} and {shown(_kimg(other, stage))} in {other.path}"


def _identity(content: dict) -> dict:
    """Return what the runs of one method share, budgets aside."""
    parts = content.get("bn_parts", 1)
    return {"dataset": content["dataset"], "manifest": content["manifest_sha256"], "bn_parts": parts, **of_method(content["config"])}


def _signature(content: dict) -> str:
    """Return the same as text. A setting that is missing counts as one that is None."""
    return json.dumps({name: value for name, value in _identity(content).items() if value is not None}, sort_keys=True)


def _kimg(run: FoldRun, stage: str) -> float | None:
    return run.content["config"].get(stage, {}).get("kimg")


def _other_budget(runs: Sequence[FoldRun]) -> str | None:
    """Return the first stage that was not trained equally long in all runs of one method, if there is one."""
    stages = STAGES_OF.get(runs[0].content["config"]["method"], ())
    return next((stage for stage in stages if not _same_budget(runs, stage)), None)


def _same_budget(runs: Sequence[FoldRun], stage: str) -> bool:
    """The baseline has its own budget, or both stages' of DE-GAN, of which one may be images and the other passes."""
    kimg = [_kimg(run, stage) for run in runs]
    if None in kimg:
        return set(kimg) == {None}
    passes = [k / run.content["n_train"] for k, run in zip(kimg, runs, strict=True)]
    if np.ptp(kimg) == 0 or np.ptp(passes) < 1e-4 * max(passes):
        return True
    both = [(_kimg(run, "gan") or 0) + (_kimg(run, "head") or 0) for run in runs]
    return stage in AS_BASELINE and np.allclose(kimg, both) and all(_same_budget(runs, part) for part in ("gan", "head"))


def _by_budget(runs: list[FoldRun]) -> list[list[FoldRun]]:
    """Return runs that agree in all settings apart by budget."""
    groups: list[list[FoldRun]] = []
    for run in runs:
        home = next((group for group in groups if _other_budget([*group, run]) is None), None)
        groups.append([run]) if home is None else home.append(run)
    return groups


def _by_seed(runs: list[FoldRun]) -> dict[int, tuple[FoldRun, ...]]:
    """Return seed -> folds, both in order. Raises RunError if one is there twice."""
    seeds: dict[int, dict[int, FoldRun]] = {}
    for run in runs:
        folds = seeds.setdefault(run.seed, {})
        if run.fold in folds:
            both = f"{folds[run.fold].path} and {run.path}"
            raise RunError(f"reading runs: a fold of one method and seed must be given once, fold {run.fold} is in {both}")
        folds[run.fold] = run
    return {seed: tuple(folds[i] for i in sorted(folds)) for seed, folds in sorted(seeds.items())}


def _place(method: str) -> int:
    return METHODS.index(method) if method in METHODS else len(METHODS)


def differing_settings(contents: Sequence[dict]) -> dict[str, list[str | None]]:
    """Return the settings that differ between methods (config.json of each): name -> its value in each as text.

    None: the method does not train the setting's stage. A stage that one of the methods alone trains differs from nothing.
    """
    settings = [(of_method(content["config"]), idle_stages(content["config"])) for content in contents]
    found = {}
    for name in dict.fromkeys(name for one, _ in settings for name in one if name != "method"):
        texts = [None if name.partition(".")[0] in idle else shown(one.get(name)) for one, idle in settings]
        if len({text for text in texts if text is not None}) > 1:
            found[name] = texts
    return found


def _labels(contents: list[dict]) -> list[str]:
    """Return a label for each method: its name, and as few settings as tell it from the others of the same name."""
    parts = [[_name(content["config"]), *_variant(content["config"]), *_apart(content), *_seen_before(content)] for content in contents]

    def clashes() -> list[list[int]]:
        names = [", ".join(part) for part in parts]
        return [same for name in dict.fromkeys(names) if len(same := [i for i, other in enumerate(names) if other == name]) > 1]

    for same in clashes():
        for i, words in zip(same, _telling([contents[i] for i in same]), strict=True):
            parts[i] += words
    for what in (lambda content: f"{_total_kimg(content):g} kimg", lambda content: f"manifest {content['manifest_sha256'][:8]}"):
        for same in clashes():
            if len({what(contents[i]) for i in same}) > 1:
                for i in same:
                    parts[i].append(what(contents[i]))
    for same in clashes():
        for number, i in enumerate(same, 1):
            parts[i].append(f"no. {number}")
    return [", ".join(part) for part in parts]


def _seen_before(content: dict) -> list[str]:
    """Return what a method that does not begin with random weights had seen."""
    seen = names_seen(content.get("init"))
    return [f"pre-trained on {seen}"] if seen else []


def _apart(content: dict) -> list[str]:
    """Return what makes it another method that several processes trained it, if it does."""
    parts = content.get("bn_parts", 1)
    return [f"BN in {parts} processes"] if parts > 1 else []


def _variant(config: dict) -> list[str]:
    """Return what makes it another method than its name says; members are in the name."""
    found = {name: value for name, value in variant_of(config).items() if name != "cnn.members"}
    return [f"{name.rpartition('.')[2]} {shown(value)}" for name, value in found.items()]


def _name(config: dict) -> str:
    members = config.get("cnn", {}).get("members", 1)
    if config["method"] == "cnn" and members > 1:
        return f"{members} CNNs averaged"
    if config["method"] == "own":
        return str(config["own"]["network"])
    if config["method"] == "timm":
        return f"timm {config['timm']['arch']}"
    return NAMES.get(config["method"], str(config["method"]))


def _telling(contents: list[dict]) -> list[list[str]]:
    """Return for each method the values of the fewest settings, taken in order, that tell them all apart as far as settings can."""
    differing = differing_settings(contents)
    words: list[list[str]] = [[] for _ in contents]
    for name, values in differing.items():
        if len(set(map(tuple, words))) == len(words):
            break
        short = name.rpartition(".")[2]
        clear = sum(other.rpartition(".")[2] == short for other in differing) == 1
        added = [[*mine, f"{short if clear else name} {_cut(value)}"] for mine, value in zip(words, values, strict=True)]
        if len(set(map(tuple, added))) > len(set(map(tuple, words))):
            words = added
    return words


def _cut(text: str) -> str:
    half = _MOST_LETTERS // 2
    return text if len(text) <= _MOST_LETTERS else f"{text[:half]}…{text[-half:]}"


def _total_kimg(content: dict) -> float:
    """Return the budget of all stages of a run together, in thousands of images shown."""
    config = content["config"]
    budgets = (config.get(stage, {}).get("kimg") for stage in STAGES_OF.get(config["method"], ()))
    return round(sum(kimg for kimg in budgets if kimg is not None), 6)
