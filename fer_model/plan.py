"""Estimate what a run costs before it is started: steps, hours and disk of each stage.

In:  a Job, a device.
Out: RunPlan. Steps and disk are exact; time is measured on a few steps, on a CPU small ones, and leaves out looks at faces that choose
     the weights. Nothing is written.
"""

import time
from dataclasses import asdict, dataclass, replace

import torch

from fer_model.config import TrainConfig, budget_images, step_images, steps_of, told_budget
from fer_model.data.fold import FoldReader, Prepared, read_prepared
from fer_model.engine.capture import recorder_for
from fer_model.engine.devices import use_device, wait_for
from fer_model.engine.stage import Stage
from fer_model.engine.steps import Steps
from fer_model.job import Job, settled, start_of
from fer_model.runs.folder import RunFolder
from fer_model.runs.taken_over import read_gan, refuse_itself
from fer_model.settings_text import describe, differences
from fer_model.stages.inputs import StageInputs
from fer_model.stages.registry import STAGES, with_helpers

__all__ = ["RunPlan", "StagePlan", "plan"]

TIMED_STEPS = 20                      # at most
TIMED_BATCH = 32                      # images in a timed step on a CPU; a GPU is given the real batch: it may take as long for few


@dataclass(frozen=True)
class StagePlan:
    """What one stage costs."""

    name: str
    kimg: float                       # of each member, where several are trained side by side; so are batch and images a second
    batch: int
    steps: int
    steps_per_pass: int               # batches in a pass over all 110 views of the training faces
    images_per_s: float               # measured now, on the device at hand
    hours: float
    disk_mb: float                    # at its most: checkpoints and weights


@dataclass(frozen=True)
class RunPlan:
    """What a run costs, before it is started."""

    run: str                          # folder
    config: TrainConfig               # resolved
    changed: dict[str, tuple]         # settings that differ from the preset: key -> (value, the preset's)
    device: str
    n_train: int
    n_test: int
    stages: tuple[StagePlan, ...]

    @property
    def hours(self) -> float:
        return sum(stage.hours for stage in self.stages)

    def to_json(self) -> dict:
        """Return the resolved configuration and the plan."""
        return {"dry_run": True, **asdict(self), "hours": self.hours}

    def __rich__(self) -> str:
        """Return the resolved configuration and the plan as text, for the console."""
        from rich.markup import escape

        return escape("\n".join([*self.sentences(), f"dry run: nothing was written; the run would go to {self.run}"]))

    def sentences(self) -> list[str]:
        """Return what differs from the preset, the whole configuration, and what the run costs, a line per stage."""
        tested = "nobody held out" if self.config.fold is None else f"{self.n_test} test faces"
        tested += "" if self.config.tested else " stay closed"
        found = [*describe(self.config, self.changed), f"{self.n_train} training faces, {tested}; {self.device}, {self.config.precision}"]
        for s in self.stages:
            found.append(
                f"{s.name}: {s.steps} steps of {s.batch} images ({told_budget(getattr(self.config, s.name))} kimg;"
                f" a pass over all 110 views is {s.steps_per_pass} batches), {s.images_per_s:.0f} img/s, {_duration(s.hours)},"
                f" up to {s.disk_mb:.0f} MB on disk"
            )
        return [*found, f"together {_duration(self.hours)}"]


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def plan(job: Job, device: str = "auto", prepared: Prepared | None = None, resume: bool = True) -> RunPlan:
    """Return what a run would cost: steps and disk exactly, time from a few steps on the device at hand.

    `prepared` is job.data, where the caller has read it already; `resume` as in settled. A stage 1 that is taken over costs nothing. What
    `train` would refuse to take over, to start from, or to go on with in the run's folder is refused.
    """
    prepared = prepared or read_prepared(job.data)
    fold, where = prepared.fold_of(job.config), use_device(device)
    folder = RunFolder(job.run)
    folder.refuse_strangers()
    refuse_itself(job.run, job.gan, job.init, job.weights and job.weights.parent)
    config = settled(job, prepared, fold, where, resume)
    taken = None if job.gan is None else read_gan(job.gan, config, fold)
    start = start_of(job, config, fold)                                  # what cannot be started from is refused
    if resume and folder.config.is_file():                               # ... and a folder that holds another run
        folder.open(config, fold, prepared, start and start.entry(), where, "--no-resume")
    reader = FoldReader(job.data, fold, where, lambda: False)
    neutral = reader.neutral() if "neutral" in config.stages else None
    stages, inputs = [], StageInputs(config, fold, reader.train(), where, reader.validation(), neutral)
    for name in with_helpers(config.stages, taken.weights if taken else ()):
        given = getattr(config, name)
        timed = replace(given, batch=min(given.batch, TIMED_BATCH)) if where.type == "cpu" else given
        stage = STAGES[name].make(replace(inputs, config=replace(config, **{name: timed})))
        inputs = inputs.after(stage)
        if taken is not None and name in taken.weights:
            continue
        rate = _images_per_s(stage)
        steps, batch = steps_of(given), step_images(given)
        per_pass = budget_images(replace(given, kimg=None, epochs=1), len(fold.train))
        disk = 3 * _megabytes(stage.tensors()) + _megabytes(stage.weights())          # two kept, one being written
        hours = steps * batch / rate / 3600
        stages.append(StagePlan(name, given.kimg, batch, steps, -(-per_pass // batch), rate, hours, disk))
    return RunPlan(str(job.run), config, differences(job.config), str(where), len(fold.train), len(fold.test), tuple(stages))


def _images_per_s(stage: Stage) -> float:
    work = Steps(stage, recorder_for(stage))

    def once(step: int) -> int:
        images = stage.rehearse()
        if not images:
            work.start(work.draw(step, step + 1))
        return images or stage.config.batch

    for kind in {stage.kind(step): step for step in reversed(range(TIMED_STEPS))}.values():        # the first of each kind is recorded
        once(kind)
    stage.ready()
    wait_for(stage.device)
    steps, images, start = 0, 0, time.perf_counter()
    while steps < 2 or (steps < TIMED_STEPS and time.perf_counter() - start < 2):
        steps += 1
        images += once(steps)
    wait_for(stage.device)
    return images / (time.perf_counter() - start)


def _megabytes(tensors: dict[str, torch.Tensor]) -> float:
    return sum(t.numel() * t.element_size() for t in tensors.values()) / 1e6
