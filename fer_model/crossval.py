"""Train every fold, each as a run of its own, and pool the figures.

In:  a Job: OUT of `fer-data prepare`, a folder for the runs, a TrainConfig (its fold is replaced).
Out: the folder below; CrossValidated. `plan_crossval` says beforehand what it will cost.

    runs/ck+-degan/                    behind it: the preset, unless small, settings that differ from it, -seed<N> for another than 0
      fold0/ ... fold9/                a run folder each, as runs/folder.py draws it
    runs/ck+-degan-repeated/           the people assigned to other folds, several times: how much of a figure depends on the folds
      shuffled0/fold0/ ...             shuffled<S>: the folds of seed S

Complete folds are passed over, half trained ones resume. A fold that fails does not stop the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fer_data.files import occupied
from fer_data.store.manifest import read_settings
from fer_data.text import listed
from fer_model.data.fold import Prepared, read_prepared
from fer_model.engine import distributed
from fer_model.engine.devices import resolve_device, with_threads
from fer_model.errors import ConfigError, FoldError, RunError
from fer_model.evaluate.run_table import RunTable, evaluate_runs
from fer_model.job import Job, name_of, precision_of, unless_before
from fer_model.plan import RunPlan, plan
from fer_model.runs.fold_runs import holds_folds, is_fold
from fer_model.runs.folder import RunFolder, runs_below
from fer_model.settings_text import differences
from fer_model.train import refuse_other_run
from fer_model.workers import Several, Task, train_in_children, train_in_turns

__all__ = [
    "CrossPlan", "CrossValidated", "crossval", "default_crossval", "n_devices", "places_of", "plan_crossval", "refuse_other_folds",
    "tasks_of", "train_tasks",
]

FILLS_GPU = 2**19                     # pixels of a step's batch: 227 views of 48 px, 57 of 96 px. An estimate; no GPU was at hand
MOST_TURNS = 10                       # runs; an estimate, too


@dataclass(frozen=True)
class CrossValidated(Several):
    """What `crossval` ends with."""

    table: RunTable | None            # None: no fold is complete
    doing, noun = "cross-validation", "fold"

    def __rich__(self):
        """Return the figures under the folder's name, for the console."""
        from rich.console import Group

        return Group(self.headline, self.table or "")

    def to_json(self) -> dict:
        """Return the folder, what is not complete, and the figures as `evaluate --json` prints them."""
        return {"run": str(self.path), **self.state(), "evaluations": self.table.to_json() if self.table else []}


def default_crossval(job: Job, repeats: int = 0) -> Path:
    """Return where a cross-validation goes that names no folder: runs/<dataset>-<name_of>, with -repeated if so.

    `job.run` is not looked at. Raises what unless_before does.
    """
    config = replace(job.config, fold_rule="manifest") if repeats else job.config
    dataset, what = read_settings(job.data)["dataset"], "-repeated" if repeats else ""
    return unless_before(*(f"{dataset}-{name_of(config, what=what, kind=kind)}" for kind in ("", config.name)), config)


def crossval(
    job: Job,                         # its run: the folder for the runs; its gan: a cross-validation of the same folds
    folds: Sequence[int] = (),        # numbers; none: all of them
    repeats: int = 0,                 # R > 0: R times, over folds shuffled by seeds config.fold_seed + 0 .. R - 1
    jobs: int = 1,                    # runs at once; more than one: processes of their own, which share the threads; on one GPU in turns
    devices: Sequence[str] = ("auto",),       # run i goes to whichever is free
    say: Callable[[str], None] = print,
) -> CrossValidated:
    """Train what is left to train of every fold, one after another or several at once, then pool their predictions.

    Raises children of FerError before anything is trained: folds, devices, runs of another configuration in the folder;
    several runs at once under torchrun, whose processes would each start them.
    """
    prepared, tasks, left = _tasks_left(job, folds, repeats, devices)
    failed = train_tasks(left, jobs, devices, say, prepared, len(tasks))
    found = evaluate_runs([job.run]) if any(RunFolder(task.job.run).result.is_file() for task in tasks) else None
    return CrossValidated(job.run, len(tasks) - len(left), failed, found)


def train_tasks(
    tasks: Sequence[Task], jobs: int, devices: Sequence[str], say: Callable[[str], None], prepared: Prepared, n_runs: int
) -> tuple[tuple[Path, str], ...]:
    """Train runs on the same data, one after another or several at once; return those that are not complete then, and why.

    `n_runs`: how many there are, complete ones too; they settle the threads of each, so that a resumed command rounds as if never stopped.
    Raises ConfigError for several at once under torchrun, whose processes would each start them.
    """
    if jobs > 1 and distributed.by_torchrun():
        raise ConfigError(f"training several runs under torchrun: all of its processes train one run, so {jobs} jobs are too many; use 1")
    places = places_of(devices, jobs, len(tasks))
    wheres = {resolve_device(name) for name in places}
    threads = max(1, torch.get_num_threads() // max(1, min(jobs, n_runs)))
    on_one_gpu = len(wheres) == 1 and next(iter(wheres)).type == "cuda"
    if len(places) > 1 and not on_one_gpu:
        reasons = train_in_children(tasks, places, threads, say)
    else:
        with with_threads(None if on_one_gpu else threads):
            reasons = train_in_turns(tasks, devices[0], _turns(tasks, len(places), say), say, prepared)
    return tuple((task.job.run, why) for task, why in zip(tasks, reasons, strict=True) if why)


def places_of(devices: Sequence[str], jobs: int, n_runs: int) -> list[str]:
    """Return the device of each run of those that go on at once, of `n_runs` that are left."""
    return [devices[i % len(devices)] for i in range(min(jobs, n_runs))]


def n_devices(devices: Sequence[str], jobs: int, n_runs: int) -> int:
    """Return over how many devices runs are spread, 1 at least: two names may mean one device, and one job uses one of several."""
    return max(1, len({resolve_device(name) for name in places_of(devices, jobs, n_runs)}))


def _turns(tasks: Sequence[Task], jobs: int, say: Callable[[str], None]) -> int:
    """Return how many of `jobs` runs take turns on a device, and say so where it is not one."""
    if jobs < 2:
        return 1
    stages = [(task.job.config.network, getattr(task.job.config, name)) for task in tasks for name in task.job.config.stages]
    pixels = max(stage.batch * network.image_size**2 for network, stage in stages)
    at_once = 1 if pixels > FILLS_GPU else min(jobs, MOST_TURNS)
    many = "enough for a GPU: one run after another" if at_once == 1 else f"too few to fill a GPU: {at_once} runs take turns on it"
    say(f"steps of up to {pixels:,} pixels, by estimate {many}")
    return at_once


def _tasks_left(job: Job, folds: Sequence[int], repeats: int, devices: Sequence[str]) -> tuple[Prepared, list[Task], list[Task]]:
    """Return the data, read once for all runs; the runs; and those that are not complete. One precision serves all."""
    wheres = [resolve_device(name) for name in devices]                  # those that are not there are refused first
    prepared = read_prepared(job.data)
    job = replace(job, config=replace(job.config, precision=precision_of(job, wheres[0])))
    tasks = tasks_of(job, prepared, folds, repeats)
    refuse_other_folds(job, prepared, tasks, repeats, wheres[0], job.run)
    return prepared, tasks, [task for task in tasks if not refuse_other_run(task.job, prepared, wheres[0], job.run)]


def tasks_of(job: Job, prepared: Prepared, folds: Sequence[int], repeats: int = 0) -> list[Task]:
    """Return the runs in the order in which they are started: repeat after repeat, fold after fold.

    Raises RunError if the folder of the job, or of its stage 1, is not one of folds; FoldError for a fold that does not exist.
    """
    path, config, gan = job.run, job.config, job.gan
    if RunFolder(path).config.is_file():
        raise RunError(f"cross-validating: {path} is a run itself; choose another --run, a folder for the runs of all folds")
    if gan and RunFolder(gan).config.is_file():
        raise RunError(f"taking stage 1 of each fold: a cross-validation, with a folder for each fold, is needed; {gan} is a single run")
    if not holds_folds(path) and (problem := occupied(path, "folders of folds")):
        raise RunError(f"cross-validating: {problem}")
    there = prepared.numbers("shuffled" if repeats else config.fold_rule)
    odd = sorted(set(folds) - set(there))
    if odd:
        raise FoldError(f"there is no fold {odd[0]} in {job.data}; choose from {listed(there)}")
    tasks = []
    for seed in range(config.fold_seed, config.fold_seed + repeats) if repeats else [None]:
        dealt = config if seed is None else replace(config, fold_rule="shuffled", fold_seed=seed)
        where = path if seed is None else path / f"shuffled{seed}"
        before = "" if seed is None else f"shuffled {seed}, "
        for fold in sorted(set(folds) or there):
            run = where / f"fold{fold}"
            taken = gan and gan / run.relative_to(path)
            tasks.append(Task(f"{before}fold {fold}", replace(job, run=run, config=replace(dealt, fold=fold), gan=taken)))
    return tasks


def refuse_other_folds(job: Job, prepared: Prepared, tasks: Sequence[Task], repeats: int, device: torch.device, whole: Path) -> None:
    """Raise ConfigError if a complete fold in the job's folder that is none of `tasks` has other data or settings: `fer-model evaluate`
    takes them together. `whole`: as in refuse_other_run.
    """
    asked = {task.job.run for task in tasks}
    for run in runs_below(job.run):
        if run in asked or not is_fold(run) or not RunFolder(run).result.is_file():
            continue
        started, _ = RunFolder(run).read_config()
        dealt = {"fold_rule": started.fold_rule, "fold_seed": started.fold_seed} if repeats else {}
        refuse_other_run(replace(job, run=run, config=replace(job.config, fold=started.fold, **dealt)), prepared, device, whole)


@dataclass(frozen=True)
class CrossPlan:
    """What a cross-validation costs, before it is started."""

    one: RunPlan                      # of the first run that is left
    n_runs: int                       # in all
    n_left: int                       # not complete
    n_devices: int                    # that they are spread over

    @property
    def hours(self) -> float:
        """Hours for what is left. Several at once on one device are not counted as faster: they share it."""
        return self.one.hours * self.n_left / self.n_devices

    def to_json(self) -> dict:
        """Return the plan of one run and the whole."""
        whole = {"runs": self.n_runs, "runs_left": self.n_left, "devices": self.n_devices, "hours": self.hours}
        return {"dry_run": True, **whole, "one_run": self.one.to_json()}

    def __rich__(self) -> str:
        """Return the plan of one run and the whole as text, for the console."""
        from rich.markup import escape

        places = f"spread over {self.n_devices} devices" if self.n_devices > 1 else "one after another"
        whole = f"{self.n_left} of {self.n_runs} runs are left; {places} about {self.hours:.1f} hours, judging by this one"
        return escape("\n".join([*self.one.sentences(), whole, "dry run: nothing was written"]))


def plan_crossval(
    job: Job, folds: Sequence[int] = (), repeats: int = 0, jobs: int = 1, devices: Sequence[str] = ("auto",)
) -> CrossPlan:
    """Return what `crossval` with the same arguments would cost; nothing is written."""
    prepared, tasks, left = _tasks_left(job, folds, repeats, devices)
    first = (left or tasks)[0].job
    asked = differences(replace(first.config, precision=job.config.precision))        # the precision that all runs share was not asked for
    return CrossPlan(replace(plan(first, devices[0], prepared), changed=asked), len(tasks), len(left), n_devices(devices, jobs, len(left)))
