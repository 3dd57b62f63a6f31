"""What a stage of training is: a subclass says what is drawn for a step, what is computed of it, which networks move, what its state is.

In:  the configuration of the stage (steps, learning rate, batch).
Out: Stage, which engine/loop.py runs by engine/steps.py; Learner, a network with the optimiser that moves it; lr_at, the schedule of its
     step size.

    drawn       every number that differs from step to step: samples, noise, step sizes. A function of (seed, stage, step), on the CPU
    computed    the rest: of tensors that keep their shapes and addresses, on the device alone, so that a GPU can be told a step once
                and repeat it. A step that does other operations than the one before has another `kind`
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fer_data.store.loader import Views
from fer_model.config import steps_of
from fer_model.engine import checkpoint, distributed
from fer_model.engine.kept import Average
from fer_model.errors import CheckpointError

__all__ = ["Learner", "Stage", "lr_at"]

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

    def __init__(self, network: nn.Module, config, steps: int, slow: Sequence[nn.Parameter] = (), share: float = 1.0):
        """`slow`: weights of the network whose step size is `share` of the others'."""
        self.network, self.config, self.steps = network, config, steps
        groups = [{"params": [weight for weight in network.parameters() if not any(weight is one for one in slow)]}]
        groups += [{"params": list(slow), "share": share}] if slow else []
        # AdamW with weight_decay 0 is Adam. fused: one kernel for all weights, on CPU and GPU.
        self.adam = torch.optim.AdamW(groups, config.lr, config.betas, weight_decay=config.weight_decay, fused=True)
        device = next(network.parameters()).device
        for group in self.adam.param_groups:                             # a tensor: a step that is repeated reads what is in it then
            group["lr"] = torch.tensor(config.lr, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
        checkpoint.begin_adam(self.adam)

    def rates_at(self, step: int) -> Tensor:
        """Return the step sizes of a step, (groups of weights,) float64 on the CPU."""
        lr = lr_at(step, self.steps, self.config.lr, self.config.lr_schedule)
        return torch.tensor([lr * group.get("share", 1.0) for group in self.adam.param_groups], dtype=torch.float64)

    def take(self, rates: Tensor) -> None:
        """Move by these step sizes from now on: those of rates_at, on the device."""
        for group, rate in zip(self.adam.param_groups, rates, strict=True):
            group["lr"].copy_(rate)

    def let_record(self) -> None:
        """Allow that a GPU's steps are recorded; Adam warns where none is."""
        for group in self.adam.param_groups:
            group["capturable"] = True

    def descend(self, loss: Tensor | Iterable[Tensor], *others: "Learner") -> None:
        """Move the network, and those of `others`, against the gradient of `loss`, its mean over all processes.

        Of several losses, against that of their sum: each is computed when the gradient of the one before is there, and what that one
        had kept for it is freed.
        """
        learners = (self, *others)
        for learner in learners:
            learner.adam.zero_grad(set_to_none=True)
        moving = [weight for learner in learners for weight in learner.network.parameters() if weight.requires_grad]
        for one in (loss,) if isinstance(loss, Tensor) else loss:
            one.backward(inputs=moving)                                  # no other network's: they cost nothing
        for learner in learners:
            distributed.average_(weight.grad for weight in learner.network.parameters() if weight.grad is not None)
            learner.adam.step()


class Stage(ABC):
    """What differs between the stages. A subclass draws and computes a step; its state is its learners' and its facts."""

    name: str
    learners: dict[str, Learner]
    device: torch.device
    average: Average | None = None    # of the learners' weights, if they are used averaged
    repeatable = True                 # a step of the same kind does the same operations on the same addresses, and asks for no value

    def __init__(self, config):
        self.config, self.steps = config, steps_of(config)

    @abstractmethod
    def draw(self, step: int) -> dict[str, Tensor]:
        """Return what is drawn for a step, by name, on the CPU: for the batch of all processes, (B, ...), or a single number, ().

        A function of (seed, stage, step): the same whatever came before, in the same shapes at every step.
        """

    def kind(self, step: int) -> Hashable:
        """Return what of a step is no number, such as which of its parts are done; few kinds occur."""
        return None

    @abstractmethod
    def compute(self, drawn: Mapping[str, Tensor], kind: Hashable) -> dict[str, Tensor]:
        """Do a step with what was drawn for it: this process's part, on the device. Return its losses by name, 0-dimensional."""

    def row(self, step: int) -> dict[str, Tensor]:
        """Return every number of a step, on the CPU: this process's part of what is drawn, step sizes, the average's share."""
        found = {name: distributed.part(one) if one.ndim else one for name, one in self.draw(step).items()}
        found |= {f"rates/{name}": learner.rates_at(step) for name, learner in self.learners.items()}
        return found if self.average is None else found | {"average": torch.tensor(self.average.share_at(step))}

    def advance(self, row: Mapping[str, Tensor], kind: Hashable) -> dict[str, Tensor]:
        """Do a step: its row, on the device. Return its losses by name, detached, 0-dimensional, on the device."""
        for name, learner in self.learners.items():
            learner.take(row[f"rates/{name}"])
        losses = self.compute(row, kind)
        if self.average is not None:
            self.average.follow(row["average"])
        return {name: loss.detach() for name, loss in losses.items()}

    def ready(self) -> None:
        """Make ready what a run makes once, and steps would make when they first need it: who measures a step's time calls it before."""
        return

    def rehearse(self) -> int:
        """Do a part of a step that takes its share of the time; return how many images that were. 0: a step has no such part."""
        return 0

    @abstractmethod
    def samples(self, step: int) -> list[str]:
        """Return the samples of a step's batch, as image_id#view."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that later stages and uses need, by name."""

    def predict(self, views: Views, batch: int = 128) -> Tensor:
        """Return class probabilities (n, K) of the faces of `views`. The last stage of a method that holds people out has it."""
        raise NotImplementedError(f"stage {self.name} predicts nothing")

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
        """Return state tensors other than the learners', for the checkpoint; they are restored in place."""
        return {} if self.average is None else self.average.tensors()

    def restore_facts(self, facts: dict) -> None:
        """Take back what facts() returned."""
        assert not facts, f"stage {self.name} saves facts and does not restore them"

    def agree(self) -> None:
        """Give all processes the mean of what each has seen on its own: BN's running statistics, running accuracies."""
        distributed.average_(buffer for learner in self.learners.values() for buffer in learner.network.buffers())
        distributed.average_(self.buffers().values())

    def unfit(self) -> str:
        """Return the first learner with a weight that is not finite; "": all are. The device is waited for."""
        for name, learner in self.learners.items():
            largest = torch._foreach_norm([one.detach() for one in learner.network.parameters()], torch.inf)
            if not torch.stack([one.float() for one in largest]).isfinite().all():
                return name
        return ""

    def state(self) -> list[Tensor]:
        """Return every tensor that a step changes and another one reads."""
        return list(self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state of the learners and buffers, for the checkpoint."""
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
                raise CheckpointError(f"resuming from {where}: there is no {name!r}; remove the checkpoints to train the stage again")
            tensor.copy_(saved.tensors[f"buffer/{name}"])
        self.restore_facts(saved.facts)
