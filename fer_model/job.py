"""One training as one record: the data, the run's folder, the configuration, and the runs that it builds on.

In:  paths and a TrainConfig, from the command line or from Python.
Out: Job, which train, plan and crossval take; kind_of, name_of, what tells a configuration from others; default_run, the folder of a run
     that names none, and unless_before, where it was before; settled, its configuration once data and device are known. Here is decided
     whether a run computes in bf16.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fer_data.store.manifest import read_settings
from fer_data.text import either
from fer_model.config import CELL_RULES, FOR_STARTS, OFFICIAL, PRETRAINED, STARTS_FROM_FILE, TrainConfig, resolve_budgets
from fer_model.data.fold import Fold, Prepared
from fer_model.engine.devices import resolve_precision
from fer_model.errors import ConfigError, RunError
from fer_model.runs.folder import RunFolder, runs_below
from fer_model.runs.given_weights import GivenWeights, read_given, with_weights
from fer_model.runs.pretrained import Pretrained, read_pretrained, with_init
from fer_model.settings import DEFAULT_PRESET
from fer_model.settings_text import name_suffix

__all__ = ["Job", "Start", "default_run", "kind_of", "name_of", "precision_of", "settled", "start_of", "unless_before"]

Start = Pretrained | GivenWeights     # what weights that training starts from come from


@dataclass(frozen=True)
class Job:
    """One training, or one cross-validation.

    With `init` or `weights`, the configuration names what training starts from, by its sha256. Raises RunError if that run has no
    complete stage 1, CheckpointError if there is no such file, ConfigError if the method starts from no such thing, or if the preset is
    for runs that start from another and this one does not.
    """

    data: Path                        # OUT of `fer-data prepare`
    run: Path                         # the run folder; of a cross-validation: the folder for its runs
    config: TrainConfig               # of a cross-validation: its fold is replaced
    gan: Path | None = None           # a complete run whose stage 1 is taken as it is; of a cross-validation: another one of the same
                                      # folds; None: stage 1 is trained
    init: Path | None = None          # a complete run whose stage 1 this one's starts from; None: random weights
    weights: Path | None = None       # a file of weights that a network of timm starts from; None: random weights
    trained_on: str | None = None     # what these were trained on, as the user says

    def __post_init__(self):
        for name in ("data", "run", "gan", "init", "weights"):           # a notebook names them as strings
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        if self.init is not None and self.weights is not None:
            raise ConfigError("configuration: --init RUN and --weights FILE name two starts; leave one of them out")
        if self.trained_on is not None and self.weights is None:
            raise ConfigError(f"configuration: --trained-on {self.trained_on} says what --weights were trained on; give --weights too")
        if self.config.init is None:
            object.__setattr__(self, "config", with_weights(with_init(self.config, self.init), self.weights))
        _refuse_other_use(self.config)


def _refuse_other_use(config: TrainConfig) -> None:
    """Raise ConfigError if the preset is for runs that start from another, and this is none, or of another method."""
    if config.preset not in FOR_STARTS:
        return
    methods, what = tuple(dict.fromkeys((*PRETRAINED, *STARTS_FROM_FILE))), f"configuration: preset {config.preset} is for"
    if config.method not in methods:
        raise ConfigError(f"{what} {either(methods)}, not for {config.method}; choose another")
    if config.init is None:
        raise ConfigError(
            f"{what} runs that start from another; give train, crossval or sweep --init RUN (train and crossval also --weights FILE), or"
            " choose another"
        )


def kind_of(config: TrainConfig, name: str = "") -> str:
    """Return a configuration's name (`name`: another one) with its preset, unless that is small, and which weights it starts from.

    Preset pretrained is `recipe` here: -pretrained, in the name of a configuration, says that it has a start.
    """
    preset = "" if config.preset == DEFAULT_PRESET else "-recipe" if config.preset == "pretrained" else f"-{config.preset}"
    start = "" if config.init is None else f"-{config.init[:8]}"
    return f"{name or config.name}{preset}{start}"


def name_of(config: TrainConfig, always: Sequence[str] = (), what: str = "", kind: str = "") -> str:
    """Return what tells a configuration from others, as a folder's name: degan-strong-gan.lr1e-4-shuffled3-seed1.

    It holds `kind`, or what kind_of says, the settings that differ from the preset, and those in `always`; then `what`, -shuffled<S> or
    another rule, -seed<N>, if so.
    """
    rule = "" if config.fold_rule in ("manifest", OFFICIAL) else f"-{config.fold_rule}{config.fold_seed}"
    seed = f"-seed{config.seed}" if config.seed else ""
    return f"{kind or kind_of(config)}{name_suffix(config, always)}{what}{rule}{seed}"


def default_run(job: Job) -> Path:
    """Return where a run goes that names no folder: runs/<dataset>-<name_of>-fold<N>, -draw<N> or -official. `job.run` is not looked at.

    Raises what unless_before does.
    """
    what = "draw" if job.config.fold_rule in CELL_RULES else "fold"
    fold = "" if job.config.fold is None else f"-{OFFICIAL}" if job.config.fold_rule == OFFICIAL else f"-{what}{job.config.fold}"
    new, before = (f"{read_settings(job.data)['dataset']}-{name_of(job.config, kind=kind)}{fold}" for kind in ("", job.config.name))
    return unless_before(new, before, job.config)


def unless_before(name: str, before: str, config: TrainConfig) -> Path:
    """Return runs/<name>. `before`: the name that it had when neither preset nor start stood in it.

    Raises RunError if it is new, and a run of this preset and start is in the folder of before: the same command shall go on with it.
    """
    new, old = Path("runs") / name, Path("runs") / before
    if new != old and not new.exists():
        for content in (RunFolder(run).read_content() for run in runs_below(old)):
            if (content["config"]["preset"], content["config"].get("init")) == (config.preset, config.init):
                raise RunError(
                    f"starting a run: one of this configuration was started in {old}, as {new} was called before; give --run {old}, or"
                    " another --run to start again"
                )
    return new


def settled(job: Job, prepared: Prepared, fold: Fold, device: torch.device, resume: bool = True) -> TrainConfig:
    """Return the configuration as the run is trained: every budget in kimg, the channels of the data, a definite precision.

    `resume` False: what lies in the job's folder is about to be removed, and decides nothing.
    """
    config = resolve_budgets(job.config, len(fold.train))
    return replace(config, network=replace(config.network, channels=prepared.channels), precision=precision_of(job, device, resume))


def start_of(job: Job, config: TrainConfig, fold: Fold) -> Start | None:
    """Return what a run of `config` on `fold` starts from; None: random weights. Raises what read_pretrained and read_given do."""
    if job.weights is not None:
        return read_given(job.weights, job.trained_on, config, fold)
    return None if job.init is None else read_pretrained(job.init, config, fold)


def precision_of(job: Job, device: torch.device, resume: bool = True) -> str:
    """Return fp32 or bf16. `auto` is what the runs in the job's folder were started with; if there is none, what the device does best.

    `resume`: as in settled.
    """
    started = runs_below(job.run) if resume else []
    if job.config.precision == "auto" and started:
        return RunFolder(started[0]).read_config()[0].precision
    return resolve_precision(job.config.precision, device)
