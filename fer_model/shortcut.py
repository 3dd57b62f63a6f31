"""Train a method without some cells and say how far it leans on who is shown; the baseline CNN next to it.

In:  OUT of `fer-data prepare`, a folder for the runs, the configurations of a method and of the baseline, draws and seeds.
Out: the folder below; ShortcutFound. `plan_shortcut` says beforehand what it will cost. What a cell is, and the designs: data/cells.py.

    runs/table-shortcut-small/
      baseline-confounded/             the CNN: in training people show two expressions each. Behind it the seed of the draws, if not 0
        draw0-seed0/ ...               a run folder each, as runs/folder.py draws it
      baseline-control/                the same people and number of pictures, all expressions
      degan-confounded/                the method; a command with another method puts its arm next to it
      shortcut.json                    the figures of all arms, as evaluate/cells.py gives them

Runs that are complete are passed over, half trained ones resume.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from fer_data.files import occupied, write_json_atomically
from fer_data.store.manifest import read_settings
from fer_model.config import TrainConfig
from fer_model.crossval import n_devices, train_tasks
from fer_model.data.fold import Prepared, read_prepared
from fer_model.engine.devices import resolve_device
from fer_model.errors import ConfigError, RunError
from fer_model.evaluate.cells import BASELINE, Cells, read_arms, refuse_apart
from fer_model.job import Job, name_of, precision_of
from fer_model.plan import RunPlan, plan
from fer_model.settings import configure, refuse_other_seed
from fer_model.train import refuse_other_run
from fer_model.workers import Several, Task

__all__ = ["Shortcut", "ShortcutFound", "ShortcutPlan", "asked", "plan_shortcut", "shortcut", "show"]

RULES_OF = {"confounded": ("confounded", "control"), "missing": ("missing",)}      # design -> rules that the baseline is trained by
_FOLLOWS = ("fold", "fold_rule", "seed")       # settings that the command sets for each run
_SHARED = ("preset", "method", "fold_seed")    # and those that it sets for the baseline


@dataclass(frozen=True)
class Shortcut:
    """What is asked for."""

    data: Path                        # OUT of `fer-data prepare`
    path: Path                        # the folder for the runs
    method: TrainConfig               # its fold, rule and seed are replaced
    baseline: TrainConfig
    design: str = "confounded"        # or missing
    draws: int = 3
    seeds: tuple[int, ...] = (0,)
    control: bool = False             # train the method on the control too
    gan: Path | None = None           # an arm whose stage 1 the method takes, run by run; None: stage 1 is trained

    def arms(self) -> dict[str, TrainConfig]:
        """Return the configuration of each arm by the name of its folder."""
        rules = RULES_OF[self.design]
        found = {self._name(self.baseline, rule, BASELINE): replace(self.baseline, fold_rule=rule) for rule in rules}
        if self.method != self.baseline:
            found |= {self._name(self.method, rule): replace(self.method, fold_rule=rule) for rule in rules[: 1 + self.control]}
        return found

    def _name(self, config: TrainConfig, rule: str, name: str = "") -> str:
        return f"{name or name_of(replace(config, fold_rule='manifest'), kind=config.name)}-{rule}{config.fold_seed or ''}"


def asked(
    data: Path, path: Path | None, layers: Sequence, baseline_sets: Sequence[str], seeds: Sequence[int], **settings
) -> Shortcut:
    """Return what is asked for; `layers` are those of settings.configure, for the method. The baseline is method cnn of the same preset.

    `path` None: runs/<dataset>-shortcut-<preset>, with -missing and -draws<seed> behind it if so.
    Raises ConfigError for a setting that the command sets itself, and for --gan with --control, whose stage 1 is another one.
    """
    for option, text in (*(("--set", one) for one in layers[2]), *(("--set-cnn", one) for one in baseline_sets)):
        if text.partition("=")[0] in _FOLLOWS:
            raise ConfigError(f"{option} {text}: the draws set fold and fold_rule, --seeds the seed; leave it out")
    for text in baseline_sets:
        if text.partition("=")[0] in _SHARED:
            raise ConfigError(f"--set-cnn {text}: the baseline is method cnn, with the other's preset and draws; leave it out")
    method, design, seeds = configure(*layers, undecided=_FOLLOWS), settings["design"], tuple(dict.fromkeys(seeds)) or (0,)
    refuse_other_seed(method, seeds)
    if method.fold_rule not in ("manifest", *RULES_OF[design]):
        what = f"configuration: fold_rule is {method.fold_rule}, and the draws of --design {design} set it"
        raise ConfigError(f"{what}; leave it out of the file")
    method = replace(method, fold=0, fold_rule="manifest", seed=0)
    named = {"preset": method.preset, "method": "cnn", "fold_seed": method.fold_seed}
    baseline = configure(named, None, baseline_sets, option="--set-cnn", undecided=_FOLLOWS)
    if method.method == "cnn" and not any(layers[1:]):
        method = baseline             # nothing is to be compared with it
    if settings.get("gan") and settings.get("control"):
        raise ConfigError("--gan ARM has a stage 1 for one design, --control needs one for two; leave out one of them")
    if path is None:
        more = ("-missing" if design == "missing" else "") + (f"-draws{method.fold_seed}" if method.fold_seed else "")
        path = Path("runs") / f"{read_settings(data)['dataset']}-shortcut-{method.preset}{more}"
    return Shortcut(data, path, method, baseline, seeds=seeds, **settings)


def _tasks(given: Shortcut, devices: Sequence[str]) -> tuple[Prepared, list[Task], list[Task]]:
    """Return the data, read once; all runs, draw after draw; and those that are not complete. One precision serves all."""
    _refuse_strangers(given.path)
    wheres = [resolve_device(name) for name in devices]                  # those that are not there are refused first
    prepared, tasks = read_prepared(given.data), []
    prepared.refuse_unknown("taking people's expressions out of")
    for config in given.arms().values():
        refuse_apart(given.path, prepared.manifest_sha256, asdict(config))
    for draw, rule in product(range(given.draws), RULES_OF[given.design]):
        prepared.fold(draw, rule, given.baseline.fold_seed)              # what a design needs and is not there is refused
    for draw, seed, (arm, config) in product(range(given.draws), given.seeds, given.arms().items()):
        job, name = Job(given.data, given.path, replace(config, fold=draw, seed=seed)), f"draw{draw}-seed{seed}"
        config = replace(job.config, precision=precision_of(job, wheres[0]))
        gan = given.gan / name if given.gan and not arm.startswith(BASELINE) else None
        tasks.append(Task(f"{arm}, draw {draw}, seed {seed}", replace(job, run=given.path / arm / name, config=config, gan=gan)))
    left = [task for task in tasks if not refuse_other_run(task.job, prepared, wheres[0], given.path)]
    return prepared, tasks, left


def _refuse_strangers(path: Path) -> None:
    """Raise RunError if the folder for the runs holds something else."""
    if any(path.glob("*/draw*/config.json")):
        return
    if problem := occupied(path, "arms of `fer-model shortcut`"):
        raise RunError(f"missing cells: {problem}")


@dataclass(frozen=True)
class ShortcutFound(Several):
    """What `shortcut` ends with."""

    cells: Cells | None               # None: no run is complete
    doing = "missing cells"

    def to_json(self) -> dict:
        """Return what shortcut.json holds, and what is not complete."""
        return {**(self.cells.to_json() if self.cells else {"run": str(self.path)}), **self.state()}

    def __rich__(self):
        """Return the tables under the folder's name, for the console."""
        from rich.console import Group

        return Group(self.headline, "", self.cells or "")


def shortcut(
    given: Shortcut,
    jobs: int = 1,                    # runs at once; more than one: processes of their own, which share the threads
    devices: Sequence[str] = ("auto",),       # run i goes to whichever is free
    say: Callable[[str], None] = print,
) -> ShortcutFound:
    """Train what is left to train of every arm, draw and seed; write shortcut.json, of all arms in the folder.

    Raises children of FerError before anything is trained, as crossval does.
    """
    prepared, tasks, left = _tasks(given, devices)
    numbered = [replace(task, name=f"{i} of {len(left)}: {task.name}") for i, task in enumerate(left, 1)]
    failed = train_tasks(numbered, jobs, devices, say, prepared, len(tasks))
    found = show(given.path) if len(failed) < len(tasks) else None
    return ShortcutFound(given.path, len(tasks) - len(left), failed, found)


def show(path: Path) -> Cells:
    """Return the figures of all arms in a folder, and write them as shortcut.json. Raises RunError as read_arms does."""
    found = read_arms(path)
    write_json_atomically(path / "shortcut.json", found.to_json())
    return found


@dataclass(frozen=True)
class ShortcutPlan:
    """What it costs, before it is started."""

    plans: dict[str, RunPlan]         # of the first run that is left of each arm; time was measured on them
    n_left: dict[str, int]            # runs that are not complete, by arm
    n_runs: int                       # in all
    n_devices: int                    # that they are spread over

    @property
    def hours(self) -> float:
        """Hours for what is left. Several at once on one device are not counted as faster: they share it."""
        return sum(self.n_left[arm] * one.hours for arm, one in self.plans.items()) / self.n_devices

    @property
    def disk_mb(self) -> float:
        """Disk for what is left, at its most, as if every run kept its checkpoints."""
        return sum(self.n_left[arm] * sum(stage.disk_mb for stage in one.stages) for arm, one in self.plans.items())

    def to_json(self) -> dict:
        """Return one plan for each arm, and the whole."""
        whole = {"runs": self.n_runs, "runs_left": self.n_left, "hours": self.hours, "disk_mb": self.disk_mb}
        return {"dry_run": True, **whole, "plans": {arm: one.to_json() for arm, one in self.plans.items()}}

    def __rich__(self) -> str:
        """Return one plan for each arm, and the whole as text, for the console."""
        from rich.markup import escape

        lines = []
        for arm, one in self.plans.items():
            lines += [f"A run of {arm} ({self.n_left[arm]} are left):", *one.sentences(), ""]
        left = sum(self.n_left.values())
        whole = f"{left} of {self.n_runs} runs are left; about {self.hours:.1f} hours and less than {self.disk_mb:.0f} MB on disk"
        return escape("\n".join([*lines, whole, "dry run: nothing was written"]))


def plan_shortcut(given: Shortcut, jobs: int = 1, devices: Sequence[str] = ("auto",)) -> ShortcutPlan:
    """Return what `shortcut` with the same arguments would cost; nothing is written."""
    prepared, tasks, left = _tasks(given, devices)
    first, n_left = {}, {}
    for task in left:
        arm = task.job.run.parent.name
        first.setdefault(arm, task)
        n_left[arm] = n_left.get(arm, 0) + 1
    plans = {arm: plan(task.job, devices[0], prepared) for arm, task in first.items()}
    return ShortcutPlan(plans, n_left, len(tasks), n_devices(devices, jobs, len(left)))
