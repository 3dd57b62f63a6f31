"""The paper's CNN (baseline): training faces in, expressions out, on the same views and in the same harness as DE-GAN.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: CnnStage, for engine.loop.run_stage; its weights are cnn.

The paper gives its accuracy and no description. Here it is a plain CNN of eight 3x3 convolutions with one hidden layer,
trained on expressions from scratch, with its own settings and as many images as both stages of DE-GAN together unless told
otherwise: a baseline that is not trained out flatters every rival.

With cnn.members above 1 several are trained side by side, as if each were alone: the first is, bit for bit, the baseline of the same seed.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.networks import build, make_cnn
from fer_model.stages.classifier import ClassifierStage, Drawn
from fer_model.stages.inputs import StageInputs

__all__ = ["CnnStage"]


class CnnStage(ClassifierStage):
    """Cross-entropy on expressions; of several members, their sum, which moves each by its own."""

    name = "cnn"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, net, n_classes = inputs.config, inputs.config.network, len(inputs.fold.classes)
        rng = stream(config.seed, "init/cnn")
        cnn = build(lambda: make_cnn(net, config.cnn, n_classes), inputs.device, net.init_std, rng)
        self.learners = {"cnn": Learner(cnn, config.cnn, self.steps)}
        self._keep_weights()

    @property
    def learner(self) -> Learner:
        return self.learners["cnn"]

    def losses(self, step: int) -> dict[str, Tensor]:
        return {"cnn": sum(self._loss(cnn, self.drawn(step, member)) for member, cnn in enumerate(self._members()))}

    def _members(self) -> list[nn.Module]:
        cnn = self.learner.network
        return [cnn] if self.config.members == 1 else list(cnn.members)

    def _loss(self, cnn: nn.Module, drawn: Drawn) -> Tensor:
        with self.autocast():
            logits = cnn(drawn.x, drawn.dropout)                         # (B, K)
        return F.cross_entropy(logits, drawn.expression, label_smoothing=self.config.label_smoothing)

    def logits(self, x: Tensor) -> Tensor:
        return self.used["cnn"](x)                                       # (B, K)

    def networks(self) -> dict[str, nn.Module]:
        return {"cnn": self.used["cnn"]}
