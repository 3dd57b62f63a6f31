"""Model choice by validation: accuracies at some steps in, the weights of the best step out.

In:  a network that is being trained; after some steps, how many validation faces it got right.
Out: Best: the weights after the best of those steps. It is saved with a checkpoint, so that a resumed run chooses the same.

The validation people are training people who are set aside (fold.set_aside); the test fold has no part in this.
"""

import torch
from torch import nn

__all__ = ["Best"]


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
        """Return what restore takes, beside the tensors."""
        return {"best_step": self.step, "best_right": self.right}

    def restore(self, facts: dict) -> None:
        """Take back what facts() returned; the tensors are restored in place by their owner."""
        self.step, self.right = facts["best_step"], facts["best_right"]
