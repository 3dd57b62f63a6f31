"""What a stage of training is: a subclass says how one step is computed, which networks move, and what its state is.

In:  the configuration of the stage (steps, learning rate, batch).
Out: Stage, which engine/loop.py runs; Learner, a network with the optimiser that moves it; lr_at, the schedule of its step size.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fer_data.store.loader import Views
from fer_model.config import steps_of
from fer_model.engine import checkpoint, distributed
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

    def descend(self, loss: Tensor, step: int, *others: "Learner") -> None:
        """Move the network, and those of `others`, against the gradient of `loss`, its mean over all processes."""
        learners = (self, *others)
        for learner in learners:
            for group in learner.adam.param_groups:
                group["lr"] = lr_at(step, learner.steps, learner.config.lr, learner.config.lr_schedule) * group.get("share", 1.0)
            learner.adam.zero_grad(set_to_none=True)
        moving = [weight for learner in learners for weight in learner.network.parameters() if weight.requires_grad]
        loss.backward(inputs=moving)                                     # no other network's: they cost nothing
        for learner in learners:
            distributed.average_(weight.grad for weight in learner.network.parameters() if weight.grad is not None)
            learner.adam.step()


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
        self.step(step)
        return self.config.batch

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
                raise CheckpointError(f"resuming from {where}: the checkpoint has no {name!r}; use --no-resume to start again")
            tensor.copy_(saved.tensors[f"buffer/{name}"])
        self.restore_facts(saved.facts)
