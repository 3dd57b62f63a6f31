"""Stage 2, the FER head: the frozen encoder's taps and f(x) in, expressions out.

In:  StageInputs: the encoder of stage 1, a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: HeadStage, for engine.loop.run_stage; its weights are encoder and head.

    code                        paper, section 3.2
    encoder                     G_en, detached, its parameters fixed; in evaluation mode too: BN stands still. With encoder_lr
                                above 0, which the paper has not, its weights move too. Of DeRL it is the whole G
    taps                        output of the intermediate layers, the expressive component
    head.local                  the four local CNNs, L_1 .. L_4
    head.classifier             f(x) with the last fully connected layers, L_5: the prediction (open)

Variant f-mlp has L_5 alone, the classifier of an MLP on f(x). Variant f-svm is in svm.py.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.losses import head_loss
from fer_model.networks import build, make_head
from fer_model.stages.classifier import ClassifierStage
from fer_model.stages.inputs import StageInputs

__all__ = ["HeadStage"]


class HeadStage(ClassifierStage):
    """Eq. (3) on a frozen encoder; the terms that the variant has."""

    name = "head"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        self.encoder = inputs.encoder.requires_grad_(False).eval()
        config, n_classes = inputs.config, len(inputs.fold.classes)
        rng = stream(config.seed, "init/head")
        net, body = config.network, type(self.encoder)
        head = build(lambda: make_head(net, config.head, n_classes, body), inputs.device, net.init_std, rng)
        self.learners = {"head": Learner(head, config.head, self.steps)}
        if config.head.encoder_lr:
            self.encoder.requires_grad_(True)
            self.learners["encoder"] = Learner(self.encoder, replace(config.head, lr=config.head.encoder_lr), self.steps)
        self._keep_weights()

    def _encode(self, encoder: nn.Module, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.set_grad_enabled("encoder" in self.learners and torch.is_grad_enabled()):
            return encoder.with_taps(x, self.config.taps_used)           # (B, N_f), four (or none) of (B, c, s, s)

    def losses(self, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch = self.batch(drawn)
        with self.autocast():
            logits = self.learner.network(*self._encode(self.encoder, batch.x), batch.dropout)   # five (or one) of (B, K)
        weights = self.config.loss_weights[-len(logits) :]               # f-mlp: lambda_5 alone
        loss = head_loss(logits, batch.expression, weights, self.config.label_smoothing)
        first = 1 + len(self.config.loss_weights) - len(logits)
        return {"head": loss.total} | {f"L{i}": part for i, part in enumerate(loss.parts, first)}

    def logits(self, x: Tensor) -> Tensor:
        return self.used["head"].predict(*self._encode(self._encoder_used, x))                # (B, K)

    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self._encoder_used, "head": self.used["head"]}

    @property
    def _encoder_used(self) -> nn.Module:
        return dict(self.used.items()).get("encoder", self.encoder)
