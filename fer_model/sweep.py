"""Train every combination of a few settings on the same folds and seeds; show what each reaches and what it costs.

In:  OUT of `fer-data prepare`, a folder for the runs, points: one configuration for each combination.
Out: the folder below; Swept. `plan_sweep` says beforehand what it will cost.

    runs/ck+-degan-sweep-gan.lr/       behind the method: the preset, unless small; with an `init` -pretrained and what it is
      degan-gan.lr1e-4/                a cross-validation, as crossval.py draws it, for each combination; -seed<N> behind it for
        fold0/ ...                     another seed than 0: `fer-model evaluate` and `report` read it
      sweep.json                       the table

Runs that are complete are passed over, half trained ones resume. Combinations that differ in nothing that stage 1 depends on
share it: the first trains it, the others take it as it is. Where every combination has selection validation, no test fold is opened:
the table shows what was reached on the training people set aside.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby, product
from pathlib import Path

import pandas as pd

from fer_data.files import make_folder, write_json_atomically
from fer_data.store.manifest import read_settings
from fer_model.config import TrainConfig, resolve_budgets, shown
from fer_model.crossval import n_devices, refuse_other_folds, tasks_of, train_tasks
from fer_model.data.fold import Prepared, read_prepared
from fer_model.engine.devices import resolve_device
from fer_model.errors import ConfigError, RunError
from fer_model.evaluate.figures import Evaluation, accuracy, bracketed, evaluate_together, plain_table
from fer_model.evaluate.pooled import Spread, spread
from fer_model.job import Job, kind_of, name_of, precision_of, unless_before
from fer_model.plan import RunPlan, plan
from fer_model.runs.fold_runs import Costs, costs, holds_folds
from fer_model.runs.folder import RunFolder
from fer_model.runs.pretrained import with_init
from fer_model.runs.taken_over import DECIDING
from fer_model.settings import DEFAULT_PRESET, LATER, alternatives, configure, refuse_other_seed, values_of
from fer_model.settings_text import differences
from fer_model.stages.registry import with_helpers
from fer_model.train import refuse_other_run
from fer_model.workers import Several, Task

__all__ = ["Point", "PointFigures", "Sweep", "SweepPlan", "Swept", "default_sweep", "grid", "plan_sweep", "sweep"]

_IN_NAME = ("preset", "method", "selection", "head.variant", "fold_rule", "fold_seed")        # settings that a name has other words for
_CAUTION = (
    "These figures are of the test folds. Who takes the best line has chosen on the test folds: choose with"
    " --selection validation, which sets training people aside and shows a column of them, or report the line on folds that the sweep did"
    " not use."
)
_CLOSED = (
    "These figures are of training people who were set aside; no test fold was opened. They are no result: each is the best of several"
    " looks, and the best line was chosen by them. `fer-model crossval` with the settings of the line that you choose tests it; but who was"
    " set aside in one fold is tested in another: a figure without this needs the choice made in each fold (`sweep --folds N`, then"
    " `train --fold N`)."
)


@dataclass(frozen=True)
class Point:
    """One combination of settings."""

    values: Mapping[str, object]      # of the settings that vary: key -> value
    config: TrainConfig               # its fold and seed are replaced


def grid(
    named: Mapping[str, object], file: Path | None, sets: Sequence[str], undecided: Sequence[str] = LATER
) -> tuple[Point, ...]:
    """Return every combination of `sets`, such as gan.lr=1e-4,2e-4; all else is as in settings.configure. What varies is undecided.

    Raises ConfigError for a setting that cannot be set, a value out of range, and a combination that is there twice.
    """
    each = [alternatives(text) for text in sets]
    varied = [one[0].partition("=")[0] for one in each if len(one) > 1]
    if any(one[0].startswith("seed=") for one in each):
        raise ConfigError("--set seed: the seeds of a sweep are set by --seeds")
    points = []
    for combination in product(*each):
        config = configure(named, file, combination, undecided=(*undecided, *varied))
        point = Point({key: values_of(config)[key] for key in varied}, config)
        if any(other.config == config for other in points):
            raise ConfigError(f"sweeping: {_told(point.values)} is there twice; name each alternative once")
        points.append(point)
    return tuple(points)


def _told(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {shown(value)}" for key, value in values.items())


@dataclass(frozen=True)
class Sweep:
    """What a sweep is asked to do. Raises what with_init does, and ConfigError for a seed in the settings that is none of `seeds`."""

    data: Path                        # OUT of `fer-data prepare`
    path: Path                        # the folder for the runs
    points: tuple[Point, ...]
    folds: tuple[int, ...] = ()       # none: all of them
    seeds: tuple[int, ...] = (0,)
    init: Path | None = None          # as in Job

    def __post_init__(self):
        object.__setattr__(self, "seeds", tuple(dict.fromkeys(self.seeds)) or (0,))           # each once
        for point in self.points:
            refuse_other_seed(point.config, self.seeds)
        tested = any(point.config.selection != "validation" for point in self.points)
        configs = [replace(with_init(point.config, self.init), tested=tested) for point in self.points]
        object.__setattr__(self, "points", tuple(replace(point, config=one) for point, one in zip(self.points, configs, strict=True)))

    def folder(self, point: Point, seed: int) -> Path:
        """Return where the folds of a combination and a seed go."""
        kind = (f"{point.config.preset}-" if "preset" in point.values else "") + point.config.name      # what all share names the sweep
        return self.path / name_of(replace(point.config, seed=seed), [key for key in point.values if key not in _IN_NAME], kind=kind)


def default_sweep(asked: Sweep) -> Path:
    """Return where a sweep goes that names no folder: runs/<dataset>-<kind_of>-sweep-<setting>-<setting>. `asked.path` is not looked at.

    Raises what unless_before does.
    """
    config, values = asked.points[0].config, asked.points[0].values
    keys = "".join(f"-{key}" for key in values)
    keys = keys if len(keys) <= 60 else f"-{len(values)}settings-{hashlib.sha256(keys.encode()).hexdigest()[:8]}"
    other = "methods" if "method" in values else config.method if "head.variant" in values else ""
    alike = replace(config, preset=DEFAULT_PRESET) if "preset" in values else config
    before = f"{other}{'-pretrained' if config.init else ''}" if other else config.name
    dataset = read_settings(asked.data)["dataset"]
    return unless_before(*(f"{dataset}-{name}-sweep{keys}" for name in (kind_of(alike, before), before)), config)


def _tasks(asked: Sweep, devices: Sequence[str]) -> tuple[Prepared, list[tuple[Point, int, Task]], list[Task]]:
    """Return the data, read once; point, seed and task of every run; and the tasks that are not complete.

    Runs whose stage 1 another one trains take it from there, and stand behind it. One precision serves all.
    """
    _refuse_strangers(asked.path)
    wheres = [resolve_device(name) for name in devices]                  # those that are not there are refused first
    prepared, found, first = read_prepared(asked.data), [], {}
    for point, seed in product(asked.points, asked.seeds):
        job = Job(asked.data, asked.path, replace(point.config, seed=seed), None, asked.init)
        config = replace(job.config, precision=precision_of(job, wheres[0]))
        label = f"{_told(point.values) or job.config.name}, seed {seed}"
        job = replace(job, run=asked.folder(point, seed), config=config)
        tasks = tasks_of(job, prepared, asked.folds)
        refuse_other_folds(job, prepared, tasks, 0, wheres[0], asked.path)
        for task in tasks:
            mine = task.job
            if mine.config.synthesiser is not None:
                values = asdict(mine.config)
                deciding = json.dumps([mine.config.synthesiser, *(values[name] for name in DECIDING)])
                leader = first.setdefault(deciding, mine.run)
                mine = replace(mine, gan=None if leader == mine.run else leader)
            found.append((point, seed, Task(f"{label}, {task.name}", mine)))
    found.sort(key=lambda one: one[2].job.gan is not None)
    return prepared, found, [task for _, _, task in found if not refuse_other_run(task.job, prepared, wheres[0], asked.path)]


def _refuse_strangers(path: Path) -> None:
    """Raise RunError if the folder for the runs holds something that no sweep wrote."""
    held = sorted(child for child in path.iterdir() if child.name != "sweep.json") if path.is_dir() else []
    if held and (holds_folds(path) or not any(child.is_dir() and holds_folds(child) for child in held)):
        raise RunError(f"sweeping: {path} must be empty or hold a sweep, it holds {held[0].name}; choose another --run")


@dataclass(frozen=True)
class PointFigures:
    """What one combination reached and cost, over its complete runs: every fold, every seed."""

    point: Point
    folders: Mapping[int, Path]       # of each seed
    runs: tuple[tuple[int, Path], ...]        # complete ones, with their seed
    n_runs: int                       # complete or not

    @cached_property
    def _frames(self) -> dict[int, dict[str, pd.DataFrame]]:
        """Predictions by seed and fold (the name of its folder); none where test folds stay closed."""
        if not self.point.config.tested:
            return {}
        by_seed = groupby(self.runs, key=lambda run: run[0])
        return {seed: {path.name: RunFolder(path).read_predictions() for _, path in runs} for seed, runs in by_seed}

    @cached_property
    def _results(self) -> list[dict]:
        return [RunFolder(path).read_result() for _, path in self.runs]

    @property
    def _stages(self) -> list[dict]:
        return [stage for result in self._results for stage in result["stages"].values()]

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """Folds and seeds together: the mean of seeds that have the same folds; its interval is over people. None: no run has figures."""
        frames = [frame for frames in self._frames.values() for frame in frames.values()]
        return evaluate_together(frames) if frames else None

    @property
    def seeds(self) -> Spread | None:
        """Accuracy per frame of each seed, pooled over the folds that all of them have; None: there is no such fold."""
        seeds = list(self._frames.values())
        folds = [name for name in seeds[0] if all(name in one for one in seeds)] if seeds else []
        return spread([accuracy(pd.concat([one[name] for name in folds], ignore_index=True)) for one in seeds]) if folds else None

    @property
    def validation(self) -> Spread | None:
        """Accuracy per frame of the runs on training people set aside, at the chosen step; None without --selection validation."""
        values = [stage["validation_accuracy"] for stage in self._stages if "validation_accuracy" in stage]
        return spread(values) if values else None

    @property
    def costs(self) -> Costs:
        """What a run cost; the mean over the runs."""
        return costs(self._results)

    def spent(self) -> tuple[float, float]:
        """Return kimg and minutes of all runs together; a stage that was taken over cost nothing."""
        own = [stage for stage in self._stages if "taken_from" not in stage]
        return sum(stage["kimg"] for stage in own), sum(stage["seconds"] for stage in own) / 60

    def to_json(self) -> dict:
        """Return settings, folders, figures and costs."""
        tested = {} if self.evaluation is None else {
            "evaluation": self.evaluation.to_json(), "frame_accuracy_of_seeds": self.seeds and asdict(self.seeds),
        }
        figures = {} if not self.runs else {
            **tested, "validation_accuracy": self.validation and self.validation.mean,
            "validation_accuracy_of_runs": self.validation and asdict(self.validation),
            **asdict(self.costs),
        }
        folders = {str(seed): str(path) for seed, path in self.folders.items()}
        return {
            "settings": dict(self.point.values), "changed": {key: value for key, (value, _) in differences(self.point.config).items()},
            "folders": folders, "runs_complete": len(self.runs), "runs": self.n_runs, **figures,
        }


@dataclass(frozen=True)
class Swept(Several):
    """What `sweep` ends with."""

    points: tuple[PointFigures, ...]
    doing = "sweep"

    def to_json(self) -> dict:
        """Return what sweep.json holds."""
        kimg, minutes = self._spent()
        return {
            "run": str(self.path), "points": [point.to_json() for point in self.points], **self.state(), "kimg": kimg, "minutes": minutes,
            "notes": self._notes, "caution": self._caution,
        }

    @property
    def _notes(self) -> list[str]:
        """Name the combinations that have lost runs: those that diverge leave the folds out that are hard for them."""
        return [
            f"{_told(one.point.values) or one.point.config.name}: {len(one.runs)} of {one.n_runs} runs are complete; its figures are of"
            " these alone and do not compare with those of other folds."
            for one in self.points if 0 < len(one.runs) < one.n_runs
        ]

    @property
    def _tested(self) -> bool:
        return self.points[0].point.config.tested                        # all of them, or none

    @property
    def _caution(self) -> str:
        return _CAUTION if self._tested else _CLOSED

    def _spent(self) -> tuple[float, float]:
        each = [point.spent() for point in self.points]
        return sum(kimg for kimg, _ in each), sum(minutes for _, minutes in each)

    def __rich__(self):
        """Return one line for each combination, for the console."""
        from rich.console import Group
        from rich.markup import escape

        kimg, minutes = self._spent()
        costs = f"Together {sum(len(point.runs) for point in self.points)} runs, {kimg:g} kimg, {minutes:.1f} minutes of training."
        return Group(self.headline, "", self._table(), costs, *map(escape, self._notes), self._caution)

    def _table(self):
        from rich.markup import escape

        validation, seeds = any(point.validation for point in self.points), len(self.points[0].folders) > 1
        title = f"Pooled over folds{' and seeds, ± sd of seeds' if seeds else ''}; in brackets 95 % over people"
        if not self._tested:
            title = "Accuracy per frame on training people set aside, mean ± sd of the runs"
        tested = ["per frame", "per sequence", "macro recall"] if self._tested else []
        names = [*tested, *(["validation"] if validation else []), "kimg", "min", "processor\nmin"]
        table = plain_table(title, "settings", "runs", *names)
        for column in table.columns[2 : 2 + len(tested[:2])]:
            column.no_wrap = True
        for point in self.points:
            settings = "\n".join(f"{key} {shown(value)}" for key, value in point.point.values.items()) or point.point.config.name
            number = f"{len(point.runs)}" + (f" of {point.n_runs}" if len(point.runs) != point.n_runs else "")
            table.add_row(escape(settings), number, *self._cells(point, validation))
        return table

    def _cells(self, point: PointFigures, validation: bool) -> list[str]:
        if not point.runs:
            return []
        chosen = [str(point.validation or "")] if validation else []
        spent = point.costs
        cells = f"{spent.kimg:g}", f"{spent.minutes:.1f}", spent.processor_text
        found = point.evaluation
        if found is None:
            return [*chosen, *cells]
        shares = (found.frame_accuracy, found.sequence_accuracy)
        frame, sequence = (f"\n{bracketed(share, found.n_subjects)}" for share in shares)
        recall = f"{found.frame_macro_recall:.1%}"
        sd = f" ± {100 * point.seeds.sd:.1f}" if point.seeds and point.seeds.sd is not None else ""
        return [f"{found.frame_accuracy.value:.1%}{sd}{frame}", f"{found.sequence_accuracy.value:.1%}{sequence}", recall, *chosen, *cells]


def sweep(
    asked: Sweep,
    jobs: int = 1,                    # runs at once; more than one: processes of their own, which share the threads
    devices: Sequence[str] = ("auto",),       # run i goes to whichever is free
    say: Callable[[str], None] = print,
) -> Swept:
    """Train what is left to train of every combination, fold and seed; write sweep.json.

    Raises children of FerError before anything is trained, as crossval does.
    """
    prepared, tasks, left = _tasks(asked, devices)
    failed = ()
    for takes in (False, True):       # who takes stage 1 from another waits until that one is complete
        n_runs = sum((task.job.gan is not None) == takes for _, _, task in tasks)
        failed += train_tasks([task for task in left if (task.job.gan is not None) == takes], jobs, devices, say, prepared, n_runs)
    found = Swept(asked.path, len(tasks) - len(left), failed, tuple(_figures(asked, point, tasks) for point in asked.points))
    make_folder(asked.path)
    write_json_atomically(asked.path / "sweep.json", found.to_json())
    return found


def _figures(asked: Sweep, point: Point, tasks: Sequence[tuple[Point, int, Task]]) -> PointFigures:
    mine = sorted(((seed, task.job.run) for other, seed, task in tasks if other is point), key=lambda one: one[0])
    complete = tuple((seed, run) for seed, run in mine if RunFolder(run).result.is_file())
    return PointFigures(point, {seed: asked.folder(point, seed) for seed in asked.seeds}, complete, len(mine))


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep costs, before it is started."""

    plans: tuple[RunPlan, ...]        # of the first run that is left of each method; time was measured on them
    points: tuple[Point, ...]
    n_runs: int                       # in all
    n_left: int                       # not complete
    n_taking: int                     # of those that are left: how many take stage 1 from another
    hours: float                      # for what is left; several at once on one device are not counted as faster: they share it

    def to_json(self) -> dict:
        """Return the combinations, one plan for each method, and the whole."""
        whole = {"runs": self.n_runs, "runs_left": self.n_left, "runs_that_share_stage_1": self.n_taking, "hours": self.hours}
        points, plans = [dict(point.values) for point in self.points], [one.to_json() for one in self.plans]
        return {"dry_run": True, **whole, "points": points, "plans": plans}

    def __rich__(self) -> str:
        """Return the combinations, one plan for each method, and the whole as text, for the console."""
        from rich.markup import escape

        lines = [f"combination {number}: {_told(point.values) or point.config.name}" for number, point in enumerate(self.points, 1)]
        for one in self.plans:
            lines += ["", f"A run of {one.config.name}:", *one.sentences()]
        shared = f"; {self.n_taking} of them take stage 1 from another one" if self.n_taking else ""
        whole = f"{self.n_left} of {self.n_runs} runs are left{shared}; about {self.hours:.1f} hours, judging by the run above"
        return escape("\n".join([*lines, "", whole, "dry run: nothing was written"]))


def plan_sweep(asked: Sweep, jobs: int = 1, devices: Sequence[str] = ("auto",)) -> SweepPlan:
    """Return what `sweep` with the same arguments would cost; nothing is written."""
    prepared, tasks, left = _tasks(asked, devices)
    first = {}
    for task in left or [tasks[0][2]]:
        first.setdefault(task.job.config.method, task)
    # As if it trained its stage 1 itself: the run that it will take it from may not have begun.
    plans = {method: plan(replace(task.job, gan=None), devices[0], prepared) for method, task in first.items()}
    hours = sum(_hours(task, plans[task.job.config.method]) for task in left) / n_devices(devices, jobs, len(left))
    taking = sum(task.job.gan is not None for task in left)
    return SweepPlan(tuple(plans.values()), asked.points, len(tasks), len(left), taking, hours)


def _hours(task: Task, one: RunPlan) -> float:
    """Return the hours of a run at the speed of another one of its method."""
    config = resolve_budgets(task.job.config, one.n_train)
    taken = () if task.job.gan is None else config.stages[: config.stages.index(config.synthesiser) + 1]
    needed = [name for name in with_helpers(config.stages, taken) if name not in taken]
    stages = [stage for stage in one.stages if stage.name in needed]
    return sum(stage.hours * getattr(config, stage.name).kimg / stage.kimg for stage in stages)
