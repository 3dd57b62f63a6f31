"""Find the runs in folders: runs, folders of folds, folders of repeats. Every command that takes several runs asks here.

In:  folders: runs, as runs/folder.py draws them, and folders of folds (fold0, fold1, ... each a run), as `crossval` leaves them.
     A folder of shuffled0, shuffled1, ... holds such folders.
Out: RunGroups, folder by folder, or their FoldRuns. A fold that is not complete is one of them and says what it lacks.

config.json is read as it is: a run of an older program, with fewer fields, still counts.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from fer_data.people import UNKNOWN
from fer_data.text import natural_key
from fer_model.config import CELL_RULES, OFFICIAL
from fer_model.engine.journal import read_log
from fer_model.errors import RunError
from fer_model.runs.folder import RunFolder, refuse_prepared, runs_in

__all__ = ["Costs", "FoldRun", "RunGroup", "complete_runs", "costs", "find_groups", "find_runs", "folds_apart", "holds_folds", "is_fold",
           "way_on"]

_FOLD, _REPEAT = re.compile(r"fold(\d+)"), re.compile(r"shuffled\d+")
_NOT_STARTED = "not started"


@dataclass(frozen=True)
class FoldRun:
    """One run folder, complete or not."""

    path: Path
    fold: int
    content: dict                     # config.json; of a fold that was not started, that of another fold next to it
    state: str                        # "complete", or what it lacks, in words

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def started(self) -> bool:
        return self.state != _NOT_STARTED

    @property
    def seed(self) -> int:
        return int(self.content["config"]["seed"])

    @property
    def assignment(self) -> dict:
        """By what rule and seed people were assigned to how many folds; runs from before there was a choice have those of the manifest."""
        config = self.content["config"]
        rule = config.get("fold_rule", "manifest")
        return {"rule": rule, "seed": config.get("fold_seed", 0) if rule == "shuffled" else 0, "n_folds": self.content.get("n_folds")}

    @property
    def assignment_text(self) -> str:
        """The same in words: `rule shuffled, seed 4, 10 folds`."""
        rule, seed, n_folds = self.assignment.values()
        return f"rule {rule}{f', seed {seed}' if rule == 'shuffled' else ''}, {n_folds or 'an unknown number of'} folds"

    @property
    def people(self) -> frozenset[str]:
        """Who is not held out: the training people, and those set aside of them to choose the weights by."""
        return frozenset((*self.content.get("identities", ()), *self.content.get("validation_people", ())))

    @cached_property
    def result(self) -> dict:
        """result.json. Raises RunError if the run is not complete."""
        return RunFolder(self.path).read_result()

    @cached_property
    def log(self) -> tuple[dict, ...]:
        """The whole lines of log.jsonl."""
        return tuple(read_log(RunFolder(self.path).log))

    @property
    def code_versions(self) -> tuple[str, ...]:
        """The versions of the code that trained it, in order: others may have resumed it, or trained the stage 1 that it took over."""
        begun = [line["code_version"] for line in self.log if line["event"] == "start" and "code_version" in line]
        taken = [version for line in self.log if line["event"] == "taken over" for version in line.get("code_versions", ())]
        return tuple(dict.fromkeys((self.content["code_version"], *begun, *taken)))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Of the test fold, one row per image. Raises RunError if they cannot be read."""
        return RunFolder(self.path).read_predictions()


@dataclass(frozen=True)
class Costs:
    """What a run cost, over its stages; the mean over several."""

    kimg: float                       # thousands of images that a network was shown
    minutes: float                    # of training on the clock
    processor_minutes: float | None   # of processors that the steps took; None: a run was written before they were counted
    parameters: float | None          # of what predicts: networks that the last stage leaves; None: the same

    @property
    def processor_text(self) -> str:
        """Minutes of processors for a cell of a table."""
        return "" if self.processor_minutes is None else f"{self.processor_minutes:.1f}"


def costs(results: Sequence[dict]) -> Costs:
    """Return what runs cost, from their result.json; of none nothing."""
    stages, n = [stage for result in results for stage in result["stages"].values()], max(1, len(results))
    kimg, seconds = (sum(stage[name] for stage in stages) / n for name in ("kimg", "seconds"))
    spent, sizes = [stage.get("processor_seconds") for stage in stages], [result.get("parameters") for result in results]
    processors, parameters = (None if None in known or not known else sum(known) / n for known in (spent, sizes))
    return Costs(kimg, seconds / 60, None if processors is None else processors / 60, parameters)


@dataclass(frozen=True)
class RunGroup:
    """The runs of one folder: a run by itself, or the folds of one cross-validation."""

    path: Path
    runs: tuple[FoldRun, ...]         # in the order of folds
    alone: bool                       # `path` is a run itself
    repeat: bool = False              # `path` is one of shuffled0, shuffled1, ... in a folder

    @property
    def complete(self) -> tuple[FoldRun, ...]:
        return tuple(run for run in self.runs if run.complete)


def find_groups(path: str | Path) -> list[RunGroup]:
    """Return what a folder holds: itself if it is a run; else its folds, then the folds of each shuffled<S> in it.

    Raises RunError if it is neither, if none of its folds was started, if it is a run of pretrain, or one without some cells.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        content = _of_folds(path)
        if content["config"]["fold"] is None:
            raise RunError(f"reading runs: {path} is a run of pretrain: nobody was held out, there are no figures")
        return [RunGroup(path, (FoldRun(path, int(content["config"]["fold"]), content, _state(path)),), alone=True)]
    folds, repeats = _folders(path, _FOLD), _folders(path, _REPEAT)
    if not folds and not repeats and (drawn := next(_drawn(path), None)):
        _of_folds(drawn.parent)
    if not folds and not repeats:
        refuse_prepared(path)
        raise RunError(f"reading runs: {path} is neither a run (config.json) nor a folder of folds (fold0, fold1, ...){runs_in(path)}")
    own = [RunGroup(path, _folds_of(path, folds), alone=False)] if folds else []
    return own + [replace(group, repeat=True) for name in repeats for group in find_groups(path / name)]


def find_runs(paths: Sequence[str | Path]) -> list[FoldRun]:
    """Return the runs in some folders; one that is named twice counts once.

    Raises RunError as find_groups does, and if one is of an official split: these are compared as folds by person.
    """
    found: dict[Path, FoldRun] = {}
    for run in (run for path in paths for group in find_groups(path) for run in group.runs):
        if run.content["config"].get("fold_rule") == OFFICIAL:
            raise RunError(
                f"reading runs: {run.path} is of an official split, {UNKNOWN}; a fold by person is needed here: `fer-model evaluate` shows"
                " the figures of such a run"
            )
        found.setdefault(run.path.resolve(), run)
    return list(found.values())


def complete_runs(path: Path, say: Callable[[str], None]) -> list[FoldRun]:
    """Return the complete runs in a folder of folds, and say which are left out. Raises RunError as find_runs does, and if none is."""
    runs = find_runs([path])
    if not any(run.complete for run in runs):
        raise RunError(f"reading runs: none of the {len(runs)} folds in {path} is complete; {way_on(runs)}")
    for run in runs:
        if not run.complete:
            say(f"{run.path}: left out, it is not complete ({run.state.removeprefix('not complete: ')})")
    return [run for run in runs if run.complete]


def way_on(runs: Sequence[FoldRun]) -> str:
    """Return how runs, of which none is complete, are brought to their end: by the command that started them, unless all diverged."""
    going = next((run for run in runs if not run.started or RunFolder(run.path).read_diverged() is None), runs[0])
    return RunFolder(going.path).way_on()


def folds_apart(first: Sequence[FoldRun], other: Sequence[FoldRun]) -> str:
    """Return why runs are not of the same folds as the first ones, in words; "" if they are, as far as both have them.

    The rule that a run records is not all: people are dealt anew by `prepare` (--fold-rule), and all of it is rule manifest here.
    """
    if first[0].assignment != other[0].assignment:
        return f"{other[0].assignment_text}, there {first[0].assignment_text}"
    people = {run.fold: run.people for run in first}
    fold = next((run.fold for run in other if people.get(run.fold, run.people) != run.people), None)
    return "" if fold is None else f"fold {fold} has other training people"


def is_fold(path: Path) -> bool:
    """Say whether a folder is named as a fold of a cross-validation is: fold0, fold1, ..."""
    return _FOLD.fullmatch(path.name) is not None


def holds_folds(path: Path) -> bool:
    """Say whether a folder holds folders of folds, as `crossval` makes them, whatever is in them."""
    return bool(_folders(path, _FOLD) or _folders(path, _REPEAT))


def _folds_of(path: Path, names: Sequence[str]) -> tuple[FoldRun, ...]:
    contents = {name: _of_folds(path / name) for name in names if (path / name / "config.json").is_file()}
    if not contents:
        raise RunError(f"reading runs: no fold in {path} was started; `fer-model crossval` trains them")
    some = next(iter(contents.values()))
    runs = []
    for name in names:
        content = contents.get(name, some)
        fold = int(content["config"]["fold"]) if name in contents else int(_FOLD.fullmatch(name)[1])
        runs.append(FoldRun(path / name, fold, content, _state(path / name) if name in contents else _NOT_STARTED))
    return tuple(runs)


def _folders(path: Path, pattern: re.Pattern) -> list[str]:
    children = path.iterdir() if path.is_dir() else ()
    return sorted((child.name for child in children if child.is_dir() and pattern.fullmatch(child.name)), key=natural_key)


def _drawn(path: Path) -> Iterator[Path]:
    """Yield config.json of runs that `fer-model shortcut` left in a folder of its arms, or in one arm."""
    yield from sorted(path.glob("draw*/config.json"))
    yield from sorted(path.glob("*/draw*/config.json"))


def _of_folds(path: Path) -> dict:
    """Return config.json. Raises RunError if the run tests nobody, or people whom it was trained on."""
    content = RunFolder(path).read_content()
    if not content["config"].get("tested", True):
        raise RunError(
            f"reading runs: {path} is of a sweep with --selection validation: its test fold stayed closed, there are no figures;"
            " train the settings that you choose with `fer-model crossval`"
        )
    rule = content["config"].get("fold_rule")
    if rule in CELL_RULES:
        raise RunError(
            f"reading runs: {path} was tested on people whom it was trained on (fold rule {rule}), its figures are no fold's;"
            " `fer-model shortcut --show FOLDER` shows them"
        )
    return content


def _state(path: Path) -> str:
    folder = RunFolder(path)
    if folder.result.is_file():
        return "complete"
    diverged = folder.read_diverged()
    if diverged is not None:
        stage, step, what, value = (diverged.get(key) for key in ("stage", "step", "what", "value"))
        return f"stopped: {what} was {value} in stage {stage}, step {step}"
    ticks = [line for line in read_log(folder.log) if line["event"] == "tick"]
    if not ticks:
        return "started, no step logged"
    last = ticks[-1]
    return f"not complete: stage {last.get('stage')}, step {last.get('step')} of {last.get('steps')}"
