"""The training loop that every stage runs in: it logs, saves checkpoints and resumes.

In:  a Stage (what one step computes, what its state is), a Journal (where lines go), Watchers (what looks on).
Out: the stage trained to its last step. Losses are read once per tick; on that tick a loss that was not finite stops the run, with
     its step, its name and the samples of that batch on disk. So does a weight: that of the last step is in no loss yet.

A run that was stopped anywhere resumes from its last checkpoint; on a CPU weights, losses and order are then the same
bits as those of a run that was never stopped, because nothing random has a state: it follows from (seed, stage, step).
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fer_data.files import write_json_atomically
from fer_model.config import step_images
from fer_model.engine import checkpoint, distributed
from fer_model.engine.capture import recorder_for
from fer_model.engine.journal import Journal
from fer_model.engine.stage import Stage
from fer_model.engine.steps import Steps
from fer_model.errors import DivergedError

__all__ = ["Hook", "Watcher", "due", "run_stage"]

Hook = Callable[[str, int, int], None]     # (stage, step, the stage's steps)


class Watcher(Protocol):
    """What looks at a stage while it trains, and takes no part in it: no gradient, no random number of training, no state of a network.

    The stage's entry in stages/registry.py says which watchers it has; this loop knows no more of them.
    """

    def on_tick(self, stage: Stage, step: int) -> dict[str, float]:
        """Look after `step` steps; return numbers for the log, if any."""
        ...

    def on_end(self, stage: Stage) -> None:
        """Look at the stage after its last step."""
        ...


def due(stage: Stage, step: int, every_kimg: float) -> bool:
    """Return whether a watcher that looks every so many thousand images looks at this tick. The last one is always looked at.

    It follows from the step alone: a resumed run looks at the same ticks as one that was never stopped.
    """
    before, now = (max(0, at) * stage.config.batch / 1000 for at in (step - stage.config.tick_steps, step))
    return int(now / every_kimg) > int(before / every_kimg) or step == stage.steps


def _read_tick(losses: list[dict[str, Tensor]], first: int) -> tuple[dict[str, float], tuple | None]:
    """Read the losses of a tick's steps, once: their means, and (step, what, value) of the first that is not finite."""
    names = [(first + i, name) for i, step in enumerate(losses) for name in step]
    values = torch.stack([value for step in losses for value in step.values()]).float()
    distributed.average_([values])                                             # what is not finite anywhere stops all
    values = values.tolist()
    sums: dict[str, list[float]] = {}
    for (step, name), value in zip(names, values, strict=True):
        if not math.isfinite(value):
            return {}, (step, f"loss {name}", value)
        sums.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in sums.items()}, None


def _stop(stage: Stage, bad: tuple, journal: Journal) -> None:
    step, what, value = bad
    path = journal.path.with_name("diverged.json")
    samples = stage.samples(step)
    found = {"stage": stage.name, "step": step, "what": what, "value": str(value), "samples": samples}
    if distributed.is_first():
        write_json_atomically(path, found)
    distributed.wait()                                                         # else torchrun ends the first one before it has written
    raise DivergedError(
        f"training stage {stage.name} diverged: {what} is {value} in step {step}. Try a smaller learning rate, such as"
        f" --set {stage.name}.lr={stage.config.lr / 2:g}, and where you gave a --run, another one."
        f" The {len(samples)} samples of that batch are listed in {path}"
    )


def _processor_seconds() -> float:
    """Return the processor time so far, of this process and the children that have ended, times the processes that train together:
    they share the work evenly."""
    return sum(os.times()[:4]) * distributed.size()


def _tick(
    stage: Stage, step: int, means: dict[str, float], seconds: float, spent: float, steps: int, journal: Journal,
    watchers: Sequence[Watcher],
) -> None:
    batch = step_images(stage.config)
    numbers = {f"loss_{name}": value for name, value in means.items()} | stage.review(step)
    for watcher in watchers:
        numbers |= watcher.on_tick(stage, step)
    entry = {
        "event": "tick", "stage": stage.name, "step": step, "steps": stage.steps, "seen_kimg": step * batch / 1000,
        "images_per_s": round(steps * batch / seconds, 1), "seconds": round(seconds, 3), "processor_seconds": round(spent, 3), **numbers,
    }
    shown = "  ".join(f"{name.removeprefix('loss_')} {value:.3g}" for name, value in numbers.items())
    left = f"{(stage.steps - step) * seconds / steps / 60:.1f} min left  " if step < stage.steps else ""       # at this tick's speed
    journal.write(entry, f"{stage.name} {step}/{stage.steps}  {step * batch / 1000:.1f} kimg  "
                         f"{entry['images_per_s']:.0f} img/s  {left}{shown}")


def _resume(stage: Stage, folder: Path, journal: Journal) -> int:
    saved = checkpoint.latest(folder, stage.name)
    step = 0 if saved is None else saved.step
    if saved is None and any(entry["event"] == "tick" and entry["stage"] == stage.name for entry in journal.lines):
        unfinished = "".join(f"; writing {stem} was interrupted" for stem in checkpoint.stems(folder, stage.name))
        journal.say(f"{stage.name} begins again: nothing of it had been saved, as is done once a minute{unfinished}")
    journal.rewind(stage.name, step)
    if saved is not None:
        stage.restore(saved, f"{folder}, step {step}")
        for sentence in saved.passed_over:
            journal.write({"event": "passed over", "stage": stage.name, "what": sentence}, f"checkpoint {sentence}")
        journal.write({"event": "resumed", "stage": stage.name, "step": step}, f"{stage.name} resumes after step {step}")
    return step


def run_stage(
    stage: Stage,
    folder: Path,                     # of the checkpoints
    journal: Journal,
    save_every_s: float = 60.0,       # at the first tick this long after the last save; 0: at every tick
    hook: Hook | None = None,         # called after each step
    watchers: Sequence[Watcher] = (),
) -> Iterator[None]:
    """Train a stage from its last checkpoint, or from the start, to its last step.

    Yields when the steps of a tick have been handed to the device: before they are waited for, others may hand theirs to it.
    Raises DivergedError on a loss or a weight that is not finite, CheckpointError if the checkpoint does not fit.
    """
    saved = step = _resume(stage, folder, journal)
    saved_at = ticked_at = time.monotonic()
    steps, drawn = Steps(stage, recorder_for(stage)), None
    try:
        while step < stage.steps:
            end = min(stage.steps, step + stage.config.tick_steps)
            spent = -_processor_seconds()                                    # of the steps alone: who looks on is no part of a method
            steps.start(drawn or steps.draw(step, end), lambda index: hook and hook(stage.name, index, stage.steps))
            if end < stage.steps:                                            # while a GPU computes
                drawn = steps.draw(end, min(stage.steps, end + stage.config.tick_steps))
            spent += _processor_seconds()
            yield
            spent -= _processor_seconds()
            stage.agree()
            means, bad = _read_tick(steps.read(), step)
            spent += _processor_seconds()
            if bad is None and (name := stage.unfit()):                      # before anything of it is saved, shown or used
                bad = end - 1, f"a weight of {name}", math.nan
            if bad is not None:
                _stop(stage, bad, journal)
            now = time.monotonic()
            _tick(stage, end, means, now - ticked_at, spent, end - step, journal, watchers)
            step, ticked_at = end, now
            if distributed.is_first() and (step == stage.steps or now - saved_at >= save_every_s):
                checkpoint.save(folder, stage.name, step, stage.tensors(), stage.facts())
                saved, saved_at = step, time.monotonic()
    except (KeyboardInterrupt, GeneratorExit):                               # the second: of several in turns, all but the one at work
        if distributed.is_first() and step > saved:
            journal.say(f"{stage.name} was interrupted after step {step} and saved after step {saved}: what lies between is computed again")
        raise
    for watcher in watchers:
        watcher.on_end(stage)
