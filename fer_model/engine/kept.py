"""Keep weights next to those being trained: their moving average, and those of the best step by validation.

In:  a network that is being trained; after some steps, how many validation faces it got right.
Out: Average; Best. Both are saved with a checkpoint, so that a resumed run ends with the same weights.

The validation people are training people who are set aside (fold.set_aside); the test fold has no part in this.
"""

import copy

import torch
from torch import Tensor, nn

__all__ = ["Average", "Best"]


class Average:
    """The moving average of a network that is being trained, BN's statistics too: the network as it is used (EMA of weights)."""

    def __init__(self, network: nn.Module, config):
        """`config`: the stage's; its average_half_kimg is above 0."""
        self.trained, self.config = network, config
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)    # all of it is restored in place
        self._moving, self._copied = [], []
        for own, now in pairs:
            (self._moving if own.is_floating_point() else self._copied).append((own, now))

    def share_at(self, step: int) -> float:
        """Return which share of the way it goes after `step`. The half-life grows with a tenth of the images seen, so that the start is
        forgotten."""
        batch_kimg = self.config.batch / 1000
        return 1 - 0.5 ** (batch_kimg / min(self.config.average_half_kimg, (step + 1) * batch_kimg / 10))

    @torch.no_grad()
    def follow(self, share: Tensor) -> None:
        """Move a share () float32 of the way towards the network."""
        torch._foreach_lerp_(*map(list, zip(*self._moving, strict=True)), [share] * len(self._moving))
        if self._copied:
            torch._foreach_copy_(*map(list, zip(*self._copied, strict=True)))

    def tensors(self) -> dict[str, Tensor]:
        """Return its state, to be restored in place."""
        return {f"average/{name}": tensor for name, tensor in self.network.state_dict().items()}


class Best:
    """The best weights so far."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.step, self.right = 0, -1                                    # steps done then; validation faces right, -1: not looked yet
        self.tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def offer(self, step: int, right: int) -> None:
        """Keep the network's weights of now, after `step` steps, if they got more right than any before; a tie keeps the earlier."""
        if right > self.right:
            self.step, self.right = step, right
            for name, tensor in self.network.state_dict().items():
                self.tensors[name].copy_(tensor)

    def facts(self) -> dict:
        """Return what restore takes, other than the tensors."""
        return {"best_step": self.step, "best_right": self.right}

    def restore(self, facts: dict) -> None:
        """Take back what facts() returned; the tensors are restored in place by their owner."""
        self.step, self.right = facts["best_step"], facts["best_right"]
