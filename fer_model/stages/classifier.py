"""What stage 2 and the baseline share: faces and expressions in, logits out; and how a trained one predicts.

In:  training Views and labels, or any Views to predict.
Out: ClassifierStage, for engine.loop.run_stage; class probabilities per face.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fer_data.faces.views import N_VIEWS, view_of
from fer_data.store.loader import CENTRE_VIEW, Views
from fer_model.data.augment import draw_changes, draw_shares, mix, mixed_labels, strengthen
from fer_model.data.batches import Batches
from fer_model.engine.kept import Average, Best
from fer_model.engine.randomness import key_of, stream
from fer_model.engine.stage import Learner
from fer_model.errors import RunError
from fer_model.networks import AveragedCnns, to_input_size
from fer_model.stages.inputs import FoldStage, StageInputs

__all__ = ["VOTES", "Batch", "ClassifierStage", "centre_inputs", "probabilities", "view_inputs"]

# How many views of a face vote -> which: the centre crop; five crops and their mirror images, unrotated; all of them.
VOTES = {
    1: (CENTRE_VIEW,),
    10: tuple(k for k in range(N_VIEWS) if view_of(k).angle_deg == 0),
    110: tuple(range(N_VIEWS)),
}


class Batch(NamedTuple):
    """A step's batch as it is learned from, on the device."""

    x: Tensor                         # (B, C, S, S) in [-1, 1]
    expression: Tensor                # (B,) y^e; of mixtures (B, K), a share of each
    faces: Tensor                     # (B,) int64, which training faces
    share: Tensor | None              # (B,) of each face in its mixture with its neighbour; None: nothing is mixed
    dropout: Tensor                   # () int64, the key of this step


class ClassifierStage(FoldStage):
    """A learner that maps views to expressions. A subclass makes it and says which loss; with more than one network also which predict."""

    random_name: str | None = None    # under which random numbers are drawn; None: the stage's own name
    best: Best | None = None          # validation chooses: the best weights so far

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        self.validation, self.begun_with = inputs.validation, inputs.begun_with
        members = getattr(self.config, "members", 1)
        name = self.random_name or self.name
        self.streams = [name, *(f"{name}/{number}" for number in range(1, members))]                   # names of random numbers
        self.batches = [self._batches(name) for name in self.streams]
        self.expression = self.fold.expression_labels(self.device)       # (n,) y^e

    @property
    def learner(self) -> Learner:
        """The learner that has the classifier; another one, if there is one, has the encoder below it."""
        return self.learners[self.name]

    @abstractmethod
    def losses(self, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a step, the one to minimise first; `batch` gives what it learns from."""

    def logits(self, x: Tensor) -> Tensor:
        """Return the prediction's logits (B, K) of x (B, C, S, S); called in evaluation mode."""
        return self.used[self.name](x)

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that predict, by name."""
        return {self.name: self.used[self.name]}

    def draw(self, step: int) -> dict[str, Tensor]:
        each = (self._draw(step, name, batches) for name, batches in zip(self.streams, self.batches, strict=True))
        return {f"{member}/{name}": one for member, found in enumerate(each) for name, one in found.items()}

    def _draw(self, step: int, name: str, batches: Batches) -> dict[str, Tensor]:
        """Return what is drawn for one of the members that are trained side by side; `name`: of its random numbers."""
        faces, k = batches.at(step)                                      # (B,), (B,)
        changes = draw_changes(len(faces), self.config.stronger_views, stream(self.run.seed, f"{name}/views", step))
        found = {"faces": faces, "k": k, "changes": changes, "dropout": key_of(self.run.seed, f"{name}/dropout", step)}
        if self.config.mixup:
            found["share"] = draw_shares(len(faces), self.config.mixup, stream(self.run.seed, f"{name}/mixup", step))
        return found

    def compute(self, drawn: Mapping[str, Tensor], kind: Hashable) -> dict[str, Tensor]:
        self.learner.network.train()
        losses = self.losses(drawn)
        others = (learner for learner in self.learners.values() if learner is not self.learner)
        self.learner.descend(next(iter(losses.values())), *others)
        return losses

    def batch(self, drawn: Mapping[str, Tensor], member: int = 0) -> Batch:
        """Return the batch of a step; of several members that are trained side by side, that of one."""
        own = {name.removeprefix(f"{member}/"): one for name, one in drawn.items() if name.startswith(f"{member}/")}
        x = strengthen(self._inputs(own), self.config.stronger_views, own["changes"])
        faces, share = own["faces"], own.get("share")
        expression = mixed_labels(self.expression[faces], share, len(self.fold.classes))
        return Batch(mix(x, share), expression, faces, share, own["dropout"])

    def _batches(self, name: str) -> Batches:
        """Return which samples each step is made of."""
        return Batches(self.views.n_faces, self.config.batch, self.run.seed, name)

    def _inputs(self, own: Mapping[str, Tensor]) -> Tensor:
        """Return the views that were drawn for one member as the networks take them: (B, C, S, S)."""
        return view_inputs(self.views, own["faces"], own["k"], self.run.network.image_size)

    def _started(self, network: nn.Module) -> Learner:
        """Return the learner of a network. What it has from another (config.init) moves slowly, its first layers, each member's, not."""
        begun = {tensor.data_ptr() for name, tensor in network.carried().items() if self._is_begun(name)}
        slow = [weight for weight in network.parameters() if weight.data_ptr() in begun]
        for member in network.members if isinstance(network, AveragedCnns) else [network]:
            layers = 0
            for module in member.modules() if begun and self.config.frozen else ():
                layers += isinstance(module, nn.Conv2d | nn.Linear)
                if layers > self.config.frozen:
                    break
                for weight in module.parameters(recurse=False):
                    weight.requires_grad_(weight.data_ptr() not in begun)
        return Learner(network, self.config, self.steps, slow, self.config.carried_lr)

    def _is_begun(self, name: str) -> bool:
        """Say whether a tensor of `carried()` is given by what this run starts from."""
        return self.run.init is not None and (self.begun_with is None or name in self.begun_with)

    def _keep_weights(self) -> None:
        """Average the weights if they are used so, and have validation choose them if it does; to be called when the learners are there."""
        self.used = nn.ModuleDict({name: learner.network for name, learner in self.learners.items()})      # as they predict
        if self.config.average_half_kimg:
            self.average = Average(self.used, self.config)
            self.used = self.average.network
        if self.validation is not None:
            self.best, self.validation_labels = Best(self.used), self.fold.validation_labels(torch.device("cpu"))

    def review(self, step: int) -> dict[str, float]:
        """Look at the validation faces, if it is time to; return how many are right, and the best so far."""
        often = self.config.tick_steps * self.run.validation_every
        if self.best is None or (step % often and step < self.steps):
            return {}
        n, right = len(self.validation_labels), int((self.predict(self.validation).argmax(1) == self.validation_labels).sum())
        self.best.offer(step, right)
        return {
            "validation_accuracy": round(right / n, 4), "best_validation_accuracy": round(self.best.right / n, 4),
            "best_step": self.best.step,
        }

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of networks(); the learners' are the best ones, if validation chooses."""
        chosen = {} if self.best is None else {name.replace(".", "/", 1): tensor for name, tensor in self.best.tensors.items()}
        return super().weights() | chosen

    def buffers(self) -> dict[str, Tensor]:
        best = {} if self.best is None else {f"best/{name}": tensor for name, tensor in self.best.tensors.items()}
        return best | super().buffers()

    def facts(self) -> dict:
        return {} if self.best is None else self.best.facts()

    def restore_facts(self, facts: dict) -> None:
        if self.best is not None:
            self.best.restore(facts)

    def samples(self, step: int) -> list[str]:
        return [name for batches in self.batches for name in batches.names_at(step, self.fold.train["image_id"])]

    def predict(self, views: Views, batch: int = 128) -> Tensor:
        """Return class probabilities (n, K) of the faces of `views`: centre crop, unrotated, fp32, evaluation mode."""
        self.used.eval()
        return probabilities(self.logits, views, self.run.network.image_size, batch)


@torch.inference_mode()
def probabilities(
    logits: Callable[[Tensor], Tensor],       # (b, C, S, S) in [-1, 1] -> (b, K); in evaluation mode
    views: Views,
    image_size: int,
    batch: int = 128,                 # faces at once; bounds memory alone
    vote: Sequence[int] = VOTES[1],   # the views whose probabilities are averaged
) -> Tensor:
    """Return softmax(logits) of every face, the mean over its views `vote`: (n, K) float32 on the CPU, in the order of `views`.

    Each row depends on its own face alone. Raises RunError if an answer is not finite: argmax would call it the first class.
    """
    found = []
    for faces in torch.arange(views.n_faces).split(batch):
        each = [logits(view_inputs(views, faces, k, image_size)).float().softmax(1) for k in vote]
        found.append(torch.stack(each).double().mean(0).float().cpu())   # (V, b, K) -> (b, K); a device is waited for once
    together = torch.cat(found)                                          # (n, K)
    bad = int((~together.isfinite()).any(1).sum())
    if bad:
        raise RunError(f"predicting: the answers for {bad} of {len(together)} faces are not finite: the weights have diverged")
    return together


def centre_inputs(views: Views, faces: Tensor, image_size: int) -> Tensor:
    """Return the test view (centre crop, unrotated) of faces (B,) as networks take it: (B, C, S, S) in [-1, 1]."""
    return view_inputs(views, faces, CENTRE_VIEW, image_size)


def view_inputs(views: Views, faces: Tensor, k: int | Tensor, image_size: int) -> Tensor:
    """Return view k, one for all or one for each, of faces (B,) as networks take it: (B, C, S, S) in [-1, 1]."""
    k = torch.full_like(faces, k) if isinstance(k, int) else k
    return to_input_size(views.batch(faces, k), image_size)
