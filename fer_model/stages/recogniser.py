"""The baseline's network on real and synthesised faces: each expression as other people would show it.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved; the trained critics and a stage 1.
Out: RecogniserStage, for engine.loop.run_stage; its weights are recogniser.

In everything but its faces it is the baseline: the same network, the same settings, as many images.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from fer_model.data.batches import Batches
from fer_model.engine import distributed
from fer_model.engine.randomness import stream
from fer_model.networks import Generator, one_hot
from fer_model.stages.cnn import CnnStage
from fer_model.stages.critics import Critics
from fer_model.stages.gan import draw_codes
from fer_model.stages.inputs import StageInputs

__all__ = ["RecogniserStage"]


class RecogniserStage(CnnStage):
    """The first part of each batch is G(x, I), where the critics agree that it shows y^e; the rest, and the others, are x."""

    name = "recogniser"
    random_name = "cnn"               # the weights and the order of the baseline of the same seed: what differs is the faces

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        self.critics = Critics(inputs.trained["critics"])
        networks = inputs.trained[inputs.config.synthesiser]
        self.generator = Generator(networks["encoder"], networks["decoder"]).eval().requires_grad_(False)
        self.n_made = round(self.config.synthesised * (self.config.batch // distributed.size()))      # of each process's part
        # Since the last log line: synthesised, of them agreed on. Checkpoints are written with log lines, so it is in none.
        self.exchanged = torch.zeros(2, device=self.device)

    def _draw(self, step: int, name: str, batches: Batches) -> dict[str, Tensor]:
        found, n = super()._draw(step, name, batches), distributed.size() * self.n_made
        if n and self.config.people == "other":
            rng, everybody = stream(self.run.seed, f"{name}/people", step), torch.zeros(n, dtype=torch.int64)
            found["target"] = draw_codes(everybody, len(self.fold.identities), 1, "any", rng)[0]
        return found

    @torch.no_grad()
    def _inputs(self, own: Mapping[str, Tensor]) -> Tensor:
        x, n = super()._inputs(own), self.n_made
        if n == 0:
            return x
        faces = own["faces"][:n]
        target = own.get("target", self.identity[faces])                         # x's own, if none is drawn
        with self.autocast():
            code = one_hot(target, len(self.fold.identities))
            made = self.generator(x[:n], code, None)                             # (n, C, S, S)
            agreed = self.critics.agree(made, self.expression[faces], self.config.least_agreement)       # (n,)
        self.exchanged += torch.stack([agreed.new_ones(n).sum(), agreed.sum()])
        x[:n] = torch.where(agreed[:, None, None, None], made, x[:n])
        return x

    def state(self) -> list[Tensor]:
        return [*super().state(), self.exchanged]

    def review(self, step: int) -> dict[str, float]:
        """Return also which share of the synthesised faces the critics agreed on since the last log line."""
        made, agreed = self.exchanged.tolist()
        self.exchanged.zero_()
        return super().review(step) | ({"agreed": round(agreed / made, 4)} if made else {})
