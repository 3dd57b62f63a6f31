"""Load a trained run for use.

In:  the folder of a run whose stages are complete.
Out: TrainedRun. Everything that uses a trained model (evaluation on other data, probes, transfer, prediction) starts here.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_data.store.loader import Views
from fer_model.config import TrainConfig
from fer_model.data.fold import Fold, read_prepared
from fer_model.engine import checkpoint
from fer_model.engine.devices import use_device
from fer_model.errors import CheckpointError, RunError
from fer_model.networks import Generator
from fer_model.runs.folder import RunFolder, other_folds
from fer_model.stages.classifier import probabilities
from fer_model.stages.registry import STAGES

__all__ = ["TrainedRun", "load_networks", "load_run"]


@dataclass(frozen=True)
class TrainedRun:
    """The networks of one run, in evaluation mode, without gradients."""

    run: Path
    config: TrainConfig
    content: dict                     # all of config.json
    classes: tuple[str, ...]          # N_e expressions, in the order of the logits
    identities: tuple[str, ...]       # N_i training people, in the order of the code I
    device: torch.device
    networks: dict[str, nn.Module]    # what predicts, and f(x): encoder and head; encoder and recogniser; cnn or timm; of pretrain, encoder
    generator: Generator | None = None       # G as stage 1 left it: a head may have moved its encoder since; None: the method has none

    def generator_for(self, what: str) -> Generator:
        """Return G. Raises RunError if the method has none, or nobody to draw; `what` says what it is needed for."""
        if self.generator is None:
            raise RunError(f"{what}: a run with a generator is needed, {self.run} is of method {self.config.method}")
        if not self.identities:
            raise RunError(f"{what}: a run that knows people is needed; {self.run} was trained where they are unknown, its G draws nobody")
        return self.generator

    @property
    def knows_its_data(self) -> bool:
        """Whether the prepared folder is still where the run found it."""
        return (Path(self.content["data"]) / "manifest.parquet").is_file()

    @property
    def gone(self) -> str:
        """What to say where it is not, as the end of a sentence."""
        return f"not, or no longer, at {Path(self.content['data']).absolute()}; give --data FOLDER"

    def open_data(self, data: Path | None = None) -> tuple[Path, Fold]:
        """Return the prepared folder that the run was trained on, and its fold; `data`: where it lies by now.

        Raises RunError if it is no longer where the run found it, or is another one; ManifestError if there is none in `data`.
        """
        if data is None and not self.knows_its_data:
            raise RunError(f"opening the data of {self.run}: the prepared folder that it was trained on is {self.gone}")
        data = Path(self.content["data"]) if data is None else data
        fold = read_prepared(data).fold_of(self.config)
        if fold.manifest_sha256 != self.content["manifest_sha256"]:
            folds = other_folds(self.content, fold.dataset, fold.n_folds)
            raise RunError(
                f"opening the data of {self.run}: it was trained on the manifest {self.content['manifest_sha256'][:12]}...,"
                f" {data} has {fold.manifest_sha256[:12]}...{folds}; give --data FOLDER, the one that it was trained on"
            )
        return data, fold

    def logits(self, x: Tensor) -> Tensor:
        """Return the prediction's logits (B, K) of x (B, C, S, S) in [-1, 1], as networks.to_input_size gives it.

        They are the margins where the head is an SVM.
        """
        last = self.config.stages[-1]
        if last != "head":                                               # a classifier's network has the name of its stage
            return self.networks[last](x)
        f, taps = self.networks["encoder"].with_taps(x, self.config.head.taps_used)
        return self.networks["head"].predict(f, taps)

    def probabilities(self, views: Views, batch: int = 128) -> Tensor:
        """Return softmax(logits) (n, K) float32 of the faces of `views`: centre crop, unrotated, fp32."""
        return probabilities(self.logits, views, self.config.network.image_size, batch)


def load_run(run: str | Path, device: str = "auto") -> TrainedRun:
    """Return a run whose stages are complete, ready for use.

    Raises RunError if it is not, CheckpointError if its weights are damaged, DeviceError for a device that is not there.
    """
    folder, where = RunFolder(run), use_device(device)
    run = folder.path
    config, content = folder.read_config()
    classes, identities = tuple(content["classes"]), tuple(content["identities"])
    networks, generator = {}, None
    for stage in config.stages:
        path = folder.weights(stage)
        if not path.is_file():
            raise RunError(f"loading the run {run}: stage {stage} is not complete, there is no {path.name}; {folder.way_on()}")
        tensors = checkpoint.read_tensors(path)
        found = load_networks(config, stage, len(classes), len(identities), tensors, where, str(path))
        if stage == config.synthesiser:
            generator = Generator(found["encoder"], found.pop("decoder")).eval()
        networks |= found
    return TrainedRun(Path(run), config, content, classes, identities, where, networks, generator)


def load_networks(
    config: TrainConfig, stage: str, n_classes: int, n_identities: int, tensors: dict[str, Tensor], device: torch.device, path: str
) -> dict[str, nn.Module]:
    """Return the networks that a stage leaves, by name, with the weights of a file, in evaluation mode, without gradients.

    Raises CheckpointError if the weights of one are not in `tensors`, which come from `path`, or are not numbers.
    """
    if odd := next((name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()), None):
        raise CheckpointError(f"loading weights: {path} has numbers in {odd} that are not finite, its training failed; train it again")
    networks = STAGES[stage].fresh(config, n_classes, n_identities, device)
    for name, network in networks.items():
        checkpoint.load_module(name, network, tensors, path)
        network.requires_grad_(False).eval()
    return networks
