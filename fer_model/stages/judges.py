"""The judging CNNs: expression and identity, trained on real training faces and nothing else.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: JudgesStage, for engine.loop.run_stage. It trains before stage 1 and is no part of the method; health.py asks the judges.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.config import CnnConfig
from fer_model.data.batches import Batches
from fer_model.engine import distributed
from fer_model.engine.devices import autocast
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner, Stage
from fer_model.networks import BaselineCnn, build, to_input_size
from fer_model.stages.inputs import StageInputs

__all__ = ["JudgesStage"]


class JudgesStage(Stage):
    """Two CNNs on the same real faces: which expression, which training person."""

    name = "judges"

    def __init__(self, inputs: StageInputs):
        config, fold, device = inputs.config, inputs.fold, inputs.device
        super().__init__(config.judges)
        self.run, self.fold, self.views, self.device = config, fold, inputs.views, device
        self.batches = Batches(self.views.n_faces, self.config.batch, config.seed, self.name)
        self.labels = {"expression": fold.expression_labels(device), "identity": fold.identity_labels(device)}    # (n,) each
        sizes = {"expression": len(fold.classes), "identity": len(fold.identities)}
        cnn = CnnConfig(channels=self.config.channels, features=self.config.features, dropout=0.0)
        self.learners = {}
        for kind, n_classes in sizes.items():
            rng = stream(config.seed, f"init/judges/{kind}")
            judge = build(lambda n=n_classes: BaselineCnn(config.network, cnn, n), device, config.network.init_std, rng)
            self.learners[kind] = Learner(judge, self.config, self.steps)

    def step(self, step: int) -> dict[str, Tensor]:
        faces, k = self.batches.at(step)                                 # (B,), (B,)
        faces, k = distributed.part(faces), distributed.part(k)
        x = to_input_size(self.views.batch(faces, k), self.run.network.image_size)            # (B, C, S, S)
        losses = {}
        for kind, learner in self.learners.items():
            learner.network.train()
            with autocast(self.device, self.run.precision):
                logits = learner.network(x)                              # (B, K)
            loss = F.cross_entropy(logits, self.labels[kind][faces.to(self.device)])
            learner.descend(loss, step)
            losses[kind] = loss.detach()
        return losses

    def samples(self, step: int) -> list[str]:
        return self.batches.names_at(step, self.fold.train["image_id"])

    def networks(self) -> dict[str, nn.Module]:
        return {kind: learner.network for kind, learner in self.learners.items()}
