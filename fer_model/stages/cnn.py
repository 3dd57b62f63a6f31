"""The paper's CNN (baseline): training faces in, expressions out, on the same views and in the same harness as DE-GAN.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: CnnStage, for engine.loop.run_stage; its weights are cnn.

The paper gives its accuracy and no description. Here it is a plain CNN of eight 3x3 convolutions with one hidden layer,
trained on expressions from scratch, with its own settings and as many images as both stages of DE-GAN together unless told
otherwise: a baseline that is not trained out flatters every rival.

With cnn.members above 1 several are trained side by side, as if each were alone: the first is, bit for bit, the baseline of the same seed.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_data.faces.views import N_VIEWS
from fer_model.data.augment import IdentitySwap, mixed_labels
from fer_model.data.batches import Batches, EvenBatches, even_weights
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.losses import confusion_loss
from fer_model.networks import BaselineCnn, build, make_cnn
from fer_model.stages.classifier import Batch, ClassifierStage
from fer_model.stages.inputs import StageInputs

__all__ = ["CnnStage"]


class CnnStage(ClassifierStage):
    """Cross-entropy on expressions; of several members, their sum, which moves each by its own."""

    name = "cnn"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, net, fold = inputs.config, inputs.config.network, inputs.fold
        rng = stream(config.seed, f"init/{self.streams[0]}")
        cnn = build(lambda: make_cnn(net, self.config, len(fold.classes)), inputs.device, net.init_std, rng)
        self.learners = {self.name: self._started(cnn)}
        self._keep_weights()
        swapped, people = self.config.identity_swap, bool(fold.identities)
        self.identity = fold.identity_labels(inputs.device) if people else None          # (n,) y^id; None: people unknown
        self.swap = None
        if swapped:
            self.swap = IdentitySwap(self.views, self.identity, self.expression, net.image_size, swapped, self.config.swap_part)
        if self.config.confusion:                                         # after _keep_weights: it is not used to predict
            people = build(self._person_classifiers, inputs.device, net.init_std, stream(config.seed, "init/person"))
            self.learners["person"] = Learner(people, self.config, self.steps)

    def _person_classifiers(self) -> nn.ModuleList:
        """Return a linear classifier of the training person for each member: (B, features) -> (B, N_i)."""
        return nn.ModuleList(nn.Linear(self.config.features, len(self.fold.identities)) for _ in range(self.config.members))

    def _batches(self, name: str) -> Batches:
        if not self.config.balanced:
            return super()._batches(name)
        cpu = torch.device("cpu")
        weights = even_weights(self.fold.identity_labels(cpu), self.fold.expression_labels(cpu))
        return EvenBatches(weights, self.config.batch, self.run.seed, name)

    def _draw(self, step: int, name: str, batches: Batches) -> dict[str, Tensor]:
        found = super()._draw(step, name, batches)
        if self.swap is not None:
            found["becomes"] = self.swap.draw(found["faces"], found["k"], stream(self.run.seed, f"{name}/swap", step))
        return found

    def ready(self) -> None:
        if self.swap is not None:
            self.swap.make(range(N_VIEWS))

    def _inputs(self, own: Mapping[str, Tensor]) -> Tensor:
        x = super()._inputs(own)
        return x if self.swap is None else self.swap(x, self.identity[own["faces"]], own["becomes"], own["k"])

    def losses(self, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        each = [self._losses(cnn, self.batch(drawn, member), member) for member, cnn in enumerate(self._members())]
        return {name: sum(one[name] for one in each) for name in each[0]}

    def _members(self) -> list[BaselineCnn]:
        cnn = self.learner.network
        return [cnn] if self.config.members == 1 else list(cnn.members)

    def _losses(self, cnn: BaselineCnn, batch: Batch, member: int) -> dict[str, Tensor]:
        with self.autocast():
            features = cnn.features(batch.x)                             # (B, features)
            logits = cnn.classify(features, batch.dropout)               # (B, K)
        expression = F.cross_entropy(logits, batch.expression, label_smoothing=self.config.label_smoothing)
        if not self.config.confusion:
            return {self.name: expression}
        # The classifier of the person learns on features that it does not move; the features move against weights that they do not move.
        weight, bias = self.learners["person"].network[member].parameters()
        with self.autocast():
            named = F.linear(features.detach(), weight, bias).float()    # (B, N_i)
            betrayed = F.linear(features, weight.detach(), bias.detach()).float()
        person = F.cross_entropy(named, mixed_labels(self.identity[batch.faces], batch.share, len(self.fold.identities)))
        confusion = confusion_loss(betrayed)
        total = expression + person + self.config.confusion * confusion
        return {self.name: total, "expression": expression, "person": person, "confusion": confusion}
