"""The critics: CNNs of expression and of person whose layers the auto-encoder matches.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: CriticsStage, for engine.loop.run_stage; Critics, its trained networks as stage 1 and the recogniser ask them.

They learn as the judges do, but from all training faces, under stronger views, and with weights of their own.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from fer_model.config import TrainConfig
from fer_model.data.fold import Fold
from fer_model.networks import BaselineCnn
from fer_model.stages.judges import JudgesStage

__all__ = ["KINDS", "Critics", "CriticsStage"]

KINDS = ("expression", "identity")


class CriticsStage(JudgesStage):
    """critics.pairs pairs of CNNs on the same real faces: expression0, identity0, expression1, ..."""

    name = "critics"

    @staticmethod
    def learned_from(fold: Fold, config: TrainConfig) -> np.ndarray:
        return np.ones(len(fold.train), bool)

    def kinds(self) -> dict[str, str]:
        return {f"{kind}{number}": kind for number in range(self.config.pairs) for kind in KINDS}


class Critics:
    """Trained critics, in evaluation mode, without gradients of their own."""

    def __init__(self, networks: Mapping[str, nn.Module]):
        self.networks = {name: network.eval().requires_grad_(False) for name, network in networks.items()}
        self.n_pairs = len(self.networks) // len(KINDS)

    def pair(self, number: int) -> tuple[BaselineCnn, BaselineCnn]:
        """Return the expression and the person critic of a pair, 0 .. n_pairs - 1."""
        return tuple(self.networks[f"{kind}{number}"] for kind in KINDS)

    @torch.no_grad()
    def agree(self, faces: Tensor, expression: Tensor, least: float) -> Tensor:                    # -> (n,) bool
        """Return in which faces (n, C, S, S) the critics see the expression (n,), with a mean probability of at least `least`."""
        found = [self.networks[f"expression{number}"](faces).softmax(1) for number in range(self.n_pairs)]         # of (n, K)
        return torch.stack(found).mean(0).gather(1, expression[:, None])[:, 0] >= least
