"""Cross-validation: a prepared folder and a configuration in; every fold trained, each a run of its own, and their figures out.

In:  OUT of `fer-data prepare`, a folder for the runs, a TrainConfig (its fold is replaced).
Out: the folder below; CrossValidated. `plan_crossval` says beforehand what it will cost.

    runs/ck+-degan/                    -seed<N> behind it for another seed than 0
      fold0/ ... fold9/                a run folder each, as runs/folder.py draws it
    runs/ck+-degan-repeated/           the people dealt out anew, several times: how much of a figure is the choice of folds
      shuffled0/fold0/ ...             shuffled<S>: the folds that seed S draws

Complete folds are passed over, half trained ones go on. A fold that fails does not stop the others.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fer_model.config import TrainConfig, to_json
from fer_model.data.fold import fold_numbers, fold_of
from fer_model.engine import distributed
from fer_model.engine.devices import resolve_device, resolve_precision
from fer_model.errors import ConfigError, FoldError, RunError
from fer_model.evaluate.compare import Comparison, compare
from fer_model.runs.folder import RunFolder
from fer_model.runs.pretrained import with_init
from fer_model.train import Plan, plan, refuse_other_run
from fer_model.workers import Task, train_here, train_in_children

__all__ = ["CrossPlan", "CrossValidated", "crossval", "default_crossval", "plan_crossval", "with_init"]


@dataclass(frozen=True)
class CrossValidated:
    """What `crossval` ends with."""

    path: Path
    comparison: Comparison | None     # None: no fold is complete
    passed_over: int                  # folds that were complete before
    failed: tuple[tuple[Path, str], ...]      # runs that are not complete, and why

    def __rich__(self):
        """Return the figures under the folder's name, for the console."""
        from rich.console import Group
        from rich.markup import escape

        over = f"; {self.passed_over} folds were complete before" if self.passed_over else ""
        return Group(escape(f"{self.path}: {'complete' if not self.failed else 'not complete'}{over}"), self.comparison or "")

    def to_json(self) -> dict:
        """Return the folder, what is not complete, and the figures as `evaluate --json` prints them."""
        failed = [{"run": str(run), "why": why} for run, why in self.failed]
        figures = self.comparison.to_json() if self.comparison else []
        return {"run": str(self.path), "passed_over": self.passed_over, "failed": failed, "evaluations": figures}

    def refuse_failed(self) -> None:
        """Raise RunError if a fold is not complete, naming the first."""
        if self.failed:
            run, why = self.failed[0]
            raise RunError(f"cross-validation in {self.path}: {len(self.failed)} folds are not complete, the first is {run} ({why})")


def default_crossval(data: Path, config: TrainConfig, repeats: int = 0) -> Path:
    """Return where a cross-validation goes that names no folder: runs/<dataset>-<method>[-<head>], with -repeated and -seed<N> if so."""
    dataset = fold_of(data, replace(config, fold=fold_numbers(data)[0])).dataset
    repeated, seed = "-repeated" if repeats else "", f"-seed{config.seed}" if config.seed else ""
    return Path("runs") / f"{dataset}-{config.name}{repeated}{seed}"


def crossval(
    data: Path,                       # OUT of `fer-data prepare`
    path: Path,                       # the folder for the runs
    config: TrainConfig,              # of every run; its fold is replaced, its fold rule if there are repeats
    folds: Sequence[int] = (),        # numbers; none: all of them
    repeats: int = 0,                 # R > 0: R times, over folds drawn by seeds config.fold_seed + 0 .. R - 1
    jobs: int = 1,                    # runs at once; more than one: processes of their own, which share the threads
    devices: Sequence[str] = ("auto",),       # run i goes to whichever is free
    say: Callable[[str], None] = print,
    gan: Path | None = None,          # a cross-validation of the same folds; each fold's stage 1 is taken as it is
    init: Path | None = None,         # a complete run whose stage 1 every fold's starts from
) -> CrossValidated:
    """Train what is left to train of every fold, one after another or several at once, then pool their predictions.

    Raises children of FerError before anything is trained: folds, devices, runs of another configuration in the folder;
    several runs at once under torchrun, whose processes would each start them.
    """
    if jobs > 1 and distributed.by_torchrun():
        raise ConfigError(f"cross-validating under torchrun: one run at once, each in all of its processes, is possible, got {jobs} jobs")
    tasks = _tasks(data, path, _settled(path, with_init(config, init), devices), folds, repeats, gan, init)
    left = [task for task in tasks if not refuse_other_run(data, task.run, task.config)]
    places = [devices[i % len(devices)] for i in range(min(jobs, len(left)))]
    if len(places) > 1:
        reasons = train_in_children(left, places, max(1, torch.get_num_threads() // len(places)), say)
    else:
        reasons = [train_here(task, devices[0], _named(say, task.name)) for task in left]
    failed = tuple((task.run, why) for task, why in zip(left, reasons, strict=True) if why)
    found = compare([path]) if any(RunFolder(task.run).result.is_file() for task in tasks) else None
    return CrossValidated(path, found, len(tasks) - len(left), failed)


def _named(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda line: say(f"{name} | {line}")


def _tasks(
    data: Path, path: Path, config: TrainConfig, folds: Sequence[int], repeats: int, gan: Path | None, init: Path | None
) -> list[Task]:
    """Return the runs in the order in which they are started: repeat after repeat, fold after fold."""
    if RunFolder(path).config.is_file():
        raise RunError(f"cross-validating: {path} must be empty or hold folders of folds, it is a run itself; choose another --run")
    if gan and RunFolder(gan).config.is_file():
        raise RunError(f"taking stage 1 of each fold: a cross-validation, with a folder for each fold, is needed; {gan} is a single run")
    held = sorted(child.name for child in path.iterdir()) if path.is_dir() else []
    if held and not any(re.fullmatch(r"(fold|shuffled)\d+", name) for name in held):
        raise RunError(f"cross-validating: {path} must be empty or hold folders of folds, it holds {held[0]}; choose another --run")
    there = fold_numbers(data, "shuffled" if repeats else config.fold_rule)
    odd = sorted(set(folds) - set(there))
    if odd:
        raise FoldError(f"choosing folds: {data} has the folds {', '.join(map(str, there)) or '(none)'}; got {odd[0]}")
    tasks = []
    for seed in range(config.fold_seed, config.fold_seed + repeats) if repeats else [None]:
        drawn = config if seed is None else replace(config, fold_rule="shuffled", fold_seed=seed)
        where = path if seed is None else path / f"shuffled{seed}"
        before = "" if seed is None else f"shuffled {seed}, "
        for fold in sorted(set(folds) or there):
            run = where / f"fold{fold}"
            taken = gan and gan / run.relative_to(path)
            tasks.append(Task(f"{before}fold {fold}", data, run, replace(drawn, fold=fold), taken, init))
    return tasks


def _settled(path: Path, config: TrainConfig, devices: Sequence[str]) -> TrainConfig:
    """Return the configuration with one precision for all runs: that of the runs that are there, or what the first device can."""
    wheres = [resolve_device(name) for name in devices]                  # those that are not there are refused first
    if config.precision != "auto":
        return config
    started = sorted(path.glob("**/config.json"))
    if started:
        return replace(config, precision=RunFolder(started[0].parent).read_config()[0].precision)
    return replace(config, precision=resolve_precision("auto", wheres[0]))


@dataclass(frozen=True)
class CrossPlan:
    """What a cross-validation costs, before it is started."""

    one: Plan                         # of the first run that is left
    n_runs: int                       # in all
    n_left: int                       # not complete
    n_devices: int                    # that they are spread over

    @property
    def hours(self) -> float:
        """Hours for what is left. Several at once on one device are not counted as faster: they share it."""
        return self.one.hours * self.n_left / min(self.n_devices, max(1, self.n_left))

    def to_json(self) -> dict:
        """Return the plan of one run and the whole."""
        whole = {"runs": self.n_runs, "runs_left": self.n_left, "devices": self.n_devices, "hours": self.hours}
        return {"dry_run": True, **whole, "one_run": self.one.to_json()}

    def __rich__(self) -> str:
        """Return the plan of one run and the whole as text, for the console."""
        from rich.markup import escape

        places = f"spread over {self.n_devices} devices" if self.n_devices > 1 else "one after another"
        whole = f"{self.n_left} of {self.n_runs} runs are left; {places} about {self.hours:.1f} hours, judging by this one"
        return escape("\n".join([to_json(self.one.config).rstrip(), *self.one.sentences(), whole, "dry run: nothing was written"]))


def plan_crossval(
    data: Path,
    path: Path,
    config: TrainConfig,
    folds: Sequence[int] = (),
    repeats: int = 0,
    devices: Sequence[str] = ("auto",),
    gan: Path | None = None,
    init: Path | None = None,
) -> CrossPlan:
    """Return what `crossval` with the same arguments would cost; nothing is written."""
    tasks = _tasks(data, path, _settled(path, with_init(config, init), devices), folds, repeats, gan, init)
    left = [task for task in tasks if not refuse_other_run(data, task.run, task.config)]
    first = (left or tasks)[0]
    one = plan(data, first.config, devices[0], first.gan, first.init)
    return CrossPlan(one, len(tasks), len(left), len(set(devices)))
