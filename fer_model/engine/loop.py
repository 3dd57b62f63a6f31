"""The loop that every stage runs in: steps in, log lines and checkpoints out.

In:  a Stage (what one step computes, what its state is) and a Journal (where lines go).
Out: the stage trained to its last step. Losses are read once per tick, so that a step never waits for the device; on
     that tick a loss that was not finite stops the run, with its step, its name and the samples of that batch on disk.

A run that was stopped anywhere goes on from its last checkpoint; on a CPU weights, losses and order are then the same
bits as those of a run that was never stopped, because nothing random has a state: it follows from (seed, stage, step).
"""

import copy
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_data.files import write_bytes_atomically, write_json_atomically
from fer_model.config import step_images, steps_of
from fer_model.engine import checkpoint, distributed
from fer_model.errors import CheckpointError, DivergedError

__all__ = ["Average", "Hook", "Journal", "Learner", "Stage", "lr_at", "run_stage"]

Hook = Callable[[str, int, int], None]     # (stage, step, the stage's steps)
WARM_UP = 0.1                         # share of the steps in which schedule "cosine" rises


def lr_at(step: int, steps: int, lr: float, schedule: str) -> float:
    """Return the step size of Adam at `step` of `steps`.

    >>> lr_at(99, 100, 1.0, "constant")
    1.0
    >>> [round(lr_at(step, 100, 1.0, "cosine"), 3) for step in (0, 9, 55, 100)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if schedule == "constant":
        return lr
    rise = max(1, round(steps * WARM_UP))
    if step < rise:
        return lr * (step + 1) / rise
    return lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class Learner:
    """A network, the Adam that moves it, and its step size: the thing that a phase trains."""

    def __init__(self, network: nn.Module, config, steps: int):
        self.network, self.config, self.steps = network, config, steps
        # AdamW with weight_decay 0 is Adam. fused: one kernel for all weights, on CPU and GPU.
        self.adam = torch.optim.AdamW(
            network.parameters(), config.lr, config.betas, weight_decay=config.weight_decay, fused=True
        )

    def descend(self, loss: Tensor, step: int, *others: "Learner") -> None:
        """Move the network, and those of `others`, against the gradient of `loss`, its mean over all processes."""
        learners = (self, *others)
        for learner in learners:
            for group in learner.adam.param_groups:
                group["lr"] = lr_at(step, learner.steps, learner.config.lr, learner.config.lr_schedule)
            learner.adam.zero_grad(set_to_none=True)
        loss.backward()
        for learner in learners:
            distributed.average_(weight.grad for weight in learner.network.parameters() if weight.grad is not None)
            learner.adam.step()


class Average:
    """The moving average of a network that is being trained, BN's statistics too: the network as it is used (EMA of weights)."""

    def __init__(self, network: nn.Module, config):
        """`config`: the stage's; its average_half_kimg is above 0."""
        self.trained, self.config = network, config
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the network after `step`. The half-life grows with a tenth of the images seen, so that the start is forgotten."""
        batch_kimg = self.config.batch / 1000
        share = 1 - 0.5 ** (batch_kimg / min(self.config.average_half_kimg, (step + 1) * batch_kimg / 10))
        now = self.trained.state_dict()
        for name, tensor in self.network.state_dict().items():
            tensor.lerp_(now[name], share) if tensor.is_floating_point() else tensor.copy_(now[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return its state, to be restored in place."""
        return {f"average/{name}": tensor for name, tensor in self.network.state_dict().items()}


class Stage(ABC):
    """What differs between the stages. A subclass computes one step; its state is its learners' and its facts."""

    name: str
    learners: dict[str, Learner]

    def __init__(self, config):
        self.config, self.steps = config, steps_of(config)

    @abstractmethod
    def step(self, step: int) -> dict[str, Tensor]:
        """Do step `step`; return its losses by name, detached, 0-dimensional, on the device."""

    def rehearse(self, step: int) -> int:
        """Do the work of a step, or a part of it that takes its share of the time; return how many images that were."""
        float(next(iter(self.step(step).values())))                      # waits for the device
        return self.config.batch

    @abstractmethod
    def samples(self, step: int) -> list[str]:
        """Return the samples of a step's batch, as image_id#view."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that later stages and uses need, by name."""

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of networks(), as network/name."""
        return {k: v for name, net in self.networks().items() for k, v in checkpoint.module_tensors(name, net).items()}

    def load_weights(self, tensors: dict[str, Tensor], where: str) -> None:
        """Take back what weights() returned. Raises CheckpointError if it does not fit."""
        for name, network in self.networks().items():
            checkpoint.load_module(name, network, tensors, where)

    def review(self, step: int) -> dict[str, float]:
        """Look, after `step` steps, at what may be looked at on ticks only; return numbers for the log."""
        return {}

    def facts(self) -> dict:
        """Return state that is not a tensor, for the checkpoint."""
        return {}

    def buffers(self) -> dict[str, Tensor]:
        """Return state tensors beside the learners', for the checkpoint; they are restored in place."""
        return {}

    def restore_facts(self, facts: dict) -> None:
        """Take back what facts() returned."""
        assert not facts, f"stage {self.name} saves facts and does not restore them"

    def agree(self) -> None:
        """Give all processes the mean of what each has seen on its own: BN's running statistics, running accuracies."""
        distributed.average_(buffer for learner in self.learners.values() for buffer in learner.network.buffers())
        distributed.average_(self.buffers().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state of the learners and buffers."""
        found = {f"buffer/{name}": tensor for name, tensor in self.buffers().items()}
        for name, learner in self.learners.items():
            found |= checkpoint.module_tensors(name, learner.network)
            found |= checkpoint.adam_tensors(f"adam.{name}", learner.network, learner.adam)
        return found

    def restore(self, saved: checkpoint.Checkpoint, where: str) -> None:
        """Take back what tensors() and facts() returned."""
        for name, learner in self.learners.items():
            checkpoint.load_module(name, learner.network, saved.tensors, where)
            checkpoint.load_adam(f"adam.{name}", learner.network, learner.adam, saved.tensors)
        for name, tensor in self.buffers().items():
            if f"buffer/{name}" not in saved.tensors:
                raise CheckpointError(f"resuming from {where}: there is no {name!r} in the checkpoint")
            tensor.copy_(saved.tensors[f"buffer/{name}"])
        self.restore_facts(saved.facts)


class Journal:
    """Where a run tells what it does: log.jsonl for machines, `say` for people. Same numbers, units in the names."""

    def __init__(self, path: Path, say: Callable[[str], None]):
        self.path, self.say = path, say
        data = path.read_bytes() if path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]                            # a line that a crash has torn is computed again
        self.lines: list[dict] = [json.loads(line) for line in whole.splitlines()]
        if whole != data and distributed.is_first():
            write_bytes_atomically(path, whole)

    def rewind(self, stage: str, step: int) -> None:
        """Drop the ticks of `stage` after `step`: they will be computed again."""
        gone = [e for e in self.lines if e["event"] == "tick" and e["stage"] == stage and e["step"] > step]
        if gone:
            self.lines = [e for e in self.lines if e not in gone]
        if gone and distributed.is_first():
            write_bytes_atomically(self.path, b"".join(_line(entry) for entry in self.lines))

    def write(self, entry: dict, sentence: str | None = None) -> None:
        """Append one JSON line; say the sentence, if there is one."""
        self.lines.append(entry)
        if not distributed.is_first():
            return
        with self.path.open("ab") as file:
            file.write(_line(entry))
        if sentence is not None:
            self.say(sentence)


def _line(entry: dict) -> bytes:
    return (json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _read_tick(losses: list[dict[str, Tensor]], first: int) -> tuple[dict[str, float], tuple | None]:
    """Read the losses of a tick's steps, once: their means, and (step, name, value) of the first that is not finite."""
    names = [(first + i, name) for i, step in enumerate(losses) for name in step]
    values = torch.stack([value for step in losses for value in step.values()]).float()
    distributed.average_([values])                                             # what is not finite anywhere stops all
    values = values.tolist()
    sums: dict[str, list[float]] = {}
    for (step, name), value in zip(names, values, strict=True):
        if not math.isfinite(value):
            return {}, (step, name, value)
        sums.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in sums.items()}, None


def _stop(stage: Stage, bad: tuple, journal: Journal) -> None:
    step, name, value = bad
    path = journal.path.with_name("diverged.json")
    samples = stage.samples(step)
    found = {"stage": stage.name, "step": step, "loss": name, "value": str(value), "samples": samples}
    if distributed.is_first():
        write_json_atomically(path, found)
    distributed.wait()                                                         # else torchrun ends the first one before it has written
    raise DivergedError(
        f"training stage {stage.name}: loss {name} must be finite, got {value} in step {step};"
        f" the {len(samples)} samples of that batch stand in {path}"
    )


def _tick(stage: Stage, step: int, means: dict[str, float], seconds: float, steps: int, journal: Journal) -> None:
    batch = step_images(stage.config)
    numbers = {f"loss_{name}": value for name, value in means.items()} | stage.review(step)
    entry = {
        "event": "tick", "stage": stage.name, "step": step, "steps": stage.steps, "seen_kimg": step * batch / 1000,
        "images_per_s": round(steps * batch / seconds, 1), "seconds": round(seconds, 3), **numbers,
    }  # fmt: skip
    shown = "  ".join(f"{name.removeprefix('loss_')} {value:.3g}" for name, value in numbers.items())
    left = f"{(stage.steps - step) * seconds / steps / 60:.1f} min left  " if step < stage.steps else ""       # at this tick's speed
    journal.write(entry, f"{stage.name} {step}/{stage.steps}  {step * batch / 1000:.1f} kimg  "
                         f"{entry['images_per_s']:.0f} img/s  {left}{shown}")  # fmt: skip


def _resume(stage: Stage, folder: Path, journal: Journal) -> int:
    saved = checkpoint.latest(folder, stage.name)
    step = 0 if saved is None else saved.step
    journal.rewind(stage.name, step)
    if saved is not None:
        stage.restore(saved, f"{folder}, step {step}")
        for sentence in saved.passed_over:
            journal.write({"event": "passed over", "stage": stage.name, "what": sentence}, f"checkpoint {sentence}")
        journal.write({"event": "resumed", "stage": stage.name, "step": step}, f"{stage.name} goes on after step {step}")
    return step


def run_stage(
    stage: Stage,
    folder: Path,                     # of the checkpoints
    journal: Journal,
    save_every_s: float = 60.0,       # at the first tick this long after the last save; 0: at every tick
    hook: Hook | None = None,         # called after each step
) -> None:
    """Train a stage from its last checkpoint, or from the start, to its last step.

    Raises DivergedError on a loss that is not finite, CheckpointError if the checkpoint does not fit.
    """
    step = _resume(stage, folder, journal)
    saved_at = ticked_at = time.monotonic()
    while step < stage.steps:
        end = min(stage.steps, step + stage.config.tick_steps)
        losses = []
        for index in range(step, end):
            losses.append(stage.step(index))
            if hook is not None:
                hook(stage.name, index, stage.steps)
        stage.agree()
        means, bad = _read_tick(losses, step)
        if bad is not None:
            _stop(stage, bad, journal)
        now = time.monotonic()
        _tick(stage, end, means, now - ticked_at, end - step, journal)
        step, ticked_at = end, now
        if distributed.is_first() and (step == stage.steps or now - saved_at >= save_every_s):
            checkpoint.save(folder, stage.name, step, stage.tensors(), stage.facts())
            saved_at = time.monotonic()
