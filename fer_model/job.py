"""What one training is asked to do, as one record: the data, the run's folder, the configuration, and the runs that it builds on.

In:  paths and a TrainConfig, from the command line or from Python.
Out: Job, which train, plan and crossval take; default_run, the folder of a run that names none.
"""

from dataclasses import dataclass
from pathlib import Path

from fer_data.store.manifest import read_settings
from fer_model.config import TrainConfig
from fer_model.runs.pretrained import with_init

__all__ = ["Job", "default_run"]


@dataclass(frozen=True)
class Job:
    """One training, or one cross-validation.

    With `init`, the configuration names the weights that stage 1 starts from, by their sha256. Raises RunError if that run has
    no complete stage 1, ConfigError if the method has none.
    """

    data: Path                        # OUT of `fer-data prepare`
    run: Path                         # the run folder; of a cross-validation: the folder for its runs
    config: TrainConfig               # of a cross-validation: its fold is replaced
    gan: Path | None = None           # a complete run whose stage 1 is taken as it is; of a cross-validation: another one of the same
                                      # folds; None: stage 1 is trained
    init: Path | None = None          # a complete run whose stage 1 this one's starts from; None: random weights

    def __post_init__(self):
        if self.init is not None and self.config.init is None:
            object.__setattr__(self, "config", with_init(self.config, self.init))


def default_run(job: Job) -> Path:
    """Return where a run goes that names no folder: runs/<dataset>-<TrainConfig.name>-fold<N>, -shuffled<S> before it if so.

    `job.run` is not looked at.
    """
    config = job.config
    shuffled = f"-shuffled{config.fold_seed}" if config.fold_rule == "shuffled" else ""
    fold = "" if config.fold is None else f"-fold{config.fold}"
    return Path("runs") / f"{read_settings(job.data)['dataset']}-{config.name}{shuffled}{fold}"
