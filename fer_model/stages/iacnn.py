"""IACNN, a rival of the paper's tables: pairs of training faces in, expressions out.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: IacnnStage, for engine.loop.run_stage; its weights are iacnn.

    code                        paper (Meng, Liu, Cai, Han and Tong, FG 2017)
    pairs                       the two streams, which share their weights: both faces of a pair pass through one network
    branches                    features that are sensitive to the expression, and to the person
    expression contrast         expression-sensitive contrastive loss: alike if the expression is
    identity contrast           identity-sensitive contrastive loss: alike if the person is
    classifier                  softmax on both branches: the prediction, of one face

Its abstract says so much; its layers, margins and weights were not at hand, so they are fields, and the convolutions are the baseline's.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_model.data.augment import mixed_labels
from fer_model.data.batches import Batches, PairBatches, pairs
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.losses import contrastive_loss
from fer_model.networks import IdentityAwareCnn, build, one_hot
from fer_model.stages.classifier import ClassifierStage
from fer_model.stages.inputs import StageInputs

__all__ = ["IacnnStage"]


class IacnnStage(ClassifierStage):
    """Cross-entropy on every face, contrastive losses on every pair."""

    name = "iacnn"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, net, n_classes = inputs.config, inputs.config.network, len(inputs.fold.classes)
        rng = stream(config.seed, f"init/{self.name}")
        network = build(lambda: IdentityAwareCnn(net, self.config, n_classes), inputs.device, net.init_std, rng)
        self.learners = {self.name: Learner(network, self.config, self.steps)}
        self._keep_weights()
        self.identity = self.fold.identity_labels(self.device)           # (n,) y^id

    def _batches(self, name: str) -> Batches:
        labels = (labels(torch.device("cpu")) for labels in (self.fold.identity_labels, self.fold.expression_labels))
        config = self.config
        return PairBatches(*labels, config.same_person, config.same_expression, config.batch, self.run.seed, name)

    def losses(self, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch, network, config = self.batch(drawn), self.learner.network, self.config
        with self.autocast():
            branches = network.branches(batch.x)                         # two of (B, branch)
            joined = network.classify(torch.cat(branches, dim=1), batch.dropout)         # (B, K)
            alone = network.expression_classifier(branches[0]).float()   # (B, K)
        softmax, of_branch = (F.cross_entropy(one, batch.expression, label_smoothing=config.label_smoothing) for one in (joined, alone))
        people = mixed_labels(self.identity[batch.faces], batch.share, len(self.fold.identities))
        known = (batch.expression, len(self.fold.classes)), (people, len(self.fold.identities))
        of_expression, of_identity = (
            contrastive_loss(*pairs(branch.float()), _agreement(*of), config.margin) for branch, of in zip(branches, known, strict=True)
        )
        parts = {"softmax_expression": of_branch, "contrast_expression": of_expression, "contrast_identity": of_identity}
        total = softmax + sum(getattr(config, name) * loss for name, loss in parts.items())
        return {self.name: total, "softmax": softmax, **parts}


def _agreement(labels: Tensor, n_classes: int) -> Tensor:
    """Return the share (B / 2,) in which the two of each pair show the same; `labels` (B,), or of mixtures (B, n_classes)."""
    shares = one_hot(labels, n_classes) if labels.ndim == 1 else labels
    first, second = pairs(shares)
    return (first * second).sum(1)
