"""The paper's CNN (baseline): training faces in, expressions out, on the same views and in the same harness as DE-GAN.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: CnnStage, for engine.loop.run_stage; its weights are cnn.

The paper gives its accuracy and no description. Here it is a plain CNN of eight 3x3 convolutions with one hidden layer,
trained on expressions from scratch, with its own settings and as many images as both stages of DE-GAN together unless told
otherwise: a baseline that is not trained out flatters every rival.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.networks import BaselineCnn, build
from fer_model.stages.classifier import ClassifierStage
from fer_model.stages.inputs import StageInputs

__all__ = ["CnnStage"]


class CnnStage(ClassifierStage):
    """Cross-entropy on expressions."""

    name = "cnn"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, net, n_classes = inputs.config, inputs.config.network, len(inputs.fold.classes)
        rng = stream(config.seed, "init/cnn")
        cnn = build(lambda: BaselineCnn(net, config.cnn, n_classes), inputs.device, net.init_std, rng)
        self.learners = {"cnn": Learner(cnn, config.cnn, self.steps)}
        self._keep_weights()

    @property
    def learner(self) -> Learner:
        return self.learners["cnn"]

    def losses(self, x: Tensor, expression: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        with self.autocast():
            logits = self.learner.network(x, generator)
        return {"cnn": F.cross_entropy(logits, expression, label_smoothing=self.config.label_smoothing)}

    def logits(self, x: Tensor) -> Tensor:
        return self.used["cnn"](x)                                       # (B, K)

    def networks(self) -> dict[str, nn.Module]:
        return {"cnn": self.used["cnn"]}
