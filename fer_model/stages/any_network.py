"""A network that is not ours in place of the baseline: the same views, mixtures, budgets, resume and votes.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved; a network with `features` and `classify`.
Out: NetworkStage, for engine.loop.run_stage; build_itself, how it is made; tried, what it must be able to do, and the words for
     what it is not.

    features   (B, C, S, S) in [-1, 1] -> (B, d)      what probes look at; dropout acts on it
    classify   (B, d) -> (B, K)                       logits
    forward    (B, C, S, S) -> (B, K)                 classify(features(x)), in evaluation mode
    carried    name -> tensor                         what --init and weights from a file are for: all but the classifier
    inside     text                                   stands in these names before those that a file has

Such a network draws its first weights, and what its layers draw while it is trained, from PyTorch's global generators. They are seeded
for the making and for each step, so that a run that was stopped resumes to the same bits. What else such code does is not known, so its
steps are never repeated as a whole: none of them is recorded.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.config import TrainConfig
from fer_model.engine import distributed
from fer_model.engine.randomness import drawing_from, stream
from fer_model.errors import ConfigError
from fer_model.networks import Norm1d, Norm2d, dropout
from fer_model.stages.classifier import ClassifierStage
from fer_model.stages.inputs import StageInputs

__all__ = ["UNFIT", "NetworkStage", "build_itself", "first_line", "rows_of", "shape_of", "tried", "two_pictures"]

# What a network raises that does not take such pictures, or has a slip in its code.
UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)
_SAME = 1e-3                          # largest difference of a picture's features with and without another next to it, of their size


def build_itself(make: Callable[[], nn.Module], device: torch.device, std: float, generator: torch.Generator) -> nn.Module:
    """Return the network that `make()` makes, on the device, channels last, with the weights that it draws itself from `generator`.

    `std` is not looked at: it is our networks'. As networks.build otherwise. Raises ConfigError as distributed.same_norms does.
    """
    with drawing_from(generator, torch.device("cpu")):
        network = make()
    return distributed.same_norms(network.to(device=device, memory_format=torch.channels_last), device, (Norm1d, Norm2d))


@torch.no_grad()
def tried(features: Callable[[Tensor], Tensor], config: TrainConfig, what: str, way_out: str) -> int:
    """Return the length of the features, after one picture and two have passed through a network in evaluation mode.

    what, way_out     begin and end the sentence of an error
    Raises ConfigError if it does not take pictures of this size, gives no features (B, d), or looks at the other pictures of a batch.
    """
    size, pictures = config.network.image_size, two_pictures(config)
    try:
        alone, both = features(pictures[:1]), features(pictures)
    except UNFIT as error:
        raise ConfigError(f"{what}: it does not take pictures of {size} x {size} ({first_line(error)}); {way_out}") from error
    if not all(rows_of(found, n) for n, found in ((1, alone), (2, both))):
        says = f"its features must be (B, d), a row for each picture; of 2 pictures they are {shape_of(both)}"
        raise ConfigError(f"{what}: {says}; {way_out}")
    apart = float((alone[0] - both[0]).abs().max())
    if not apart <= _SAME * max(1.0, float(both.abs().max())):
        raise ConfigError(
            f"{what}: a picture's features must not depend on the other pictures of its batch; next to another they differ by"
            f" {apart:.2g}; {way_out}"
        )
    return both.shape[1]


def two_pictures(config: TrainConfig) -> Tensor:
    """Return what a network is tried with: (2, C, S, S) in [-1, 1]."""
    size = config.network.image_size
    return torch.rand(2, config.network.channels, size, size, generator=stream(0, "tried")) * 2 - 1


def rows_of(value: object, n: int) -> bool:
    """Return whether something is features of n pictures, (n, d)."""
    return isinstance(value, Tensor) and value.ndim == 2 and len(value) == n


def shape_of(value: object) -> tuple[int, ...] | str:
    """Return the shape of a tensor, of anything else its kind."""
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def first_line(error: Exception) -> str:
    """Return what an error says, without the lines below; of one that says nothing its name."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


class NetworkStage(ClassifierStage):
    """Cross-entropy on expressions. A subclass names the stage and makes the network."""

    repeatable = False
    make: Callable[[TrainConfig, int], nn.Module]     # (configuration, K classes) -> network, on the CPU

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, n_classes = inputs.config, len(inputs.fold.classes)
        rng = stream(config.seed, f"init/{self.name}")
        network = build_itself(lambda: type(self).make(config, n_classes), inputs.device, config.network.init_std, rng)
        self.learners = {self.name: self._started(network)}
        self._keep_weights()

    def kind(self, step: int) -> int:
        """Return the step: what its layers draw is seeded with it."""
        return step

    def compute(self, drawn: Mapping[str, Tensor], kind: int) -> dict[str, Tensor]:
        with drawing_from(stream(self.run.seed, f"{self.name}/layers", kind, distributed.rank()), self.device):
            return super().compute(drawn, kind)

    def losses(self, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch, network = self.batch(drawn), self.learner.network
        with self.autocast():
            features = dropout(network.features(batch.x), self.config.dropout, batch.dropout)            # (B, d)
            logits = network.classify(features).float()                  # (B, K)
        return {self.name: self.loss(features, logits, batch.expression)}

    def loss(self, features: Tensor, logits: Tensor, expression: Tensor) -> Tensor:
        """Return what is minimised, of features (B, d), logits (B, K) and labels (B,), of mixtures (B, K)."""
        return F.cross_entropy(logits, expression, label_smoothing=self.config.label_smoothing)
