"""Start stage 1 from one that was trained on other people (--init).

In:  the folder of a complete run with a stage 1: of `fer-model pretrain`, on all people of a database, or of a run of DE-GAN.
Out: Pretrained: weights to start from, and what is said of them in config.json, result.json and the log. Networks of other
     sizes are refused, and people of the held-out sides: a network that has seen them is not tested by them.

    carried over                encoder, D's trunk, decoder (its columns of f(x) and noise)
    made new                    D's heads, the decoder's columns of the identity code: the database decides their sizes
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fer_data.files import sha256_of_bytes
from fer_data.text import counted
from fer_model.config import TrainConfig
from fer_model.data.fold import Fold, in_common, people_of
from fer_model.engine import checkpoint
from fer_model.errors import ConfigError, FoldError
from fer_model.runs.differences import first_difference
from fer_model.runs.folder import RunFolder
from fer_model.stages.gan import GanStage

__all__ = ["CARRIED", "NEW", "Pretrained", "read_pretrained", "with_init"]

CARRIED = ("encoder", "discriminator's trunk", "decoder, its columns of f(x) and noise")
NEW = ("discriminator's heads", "decoder's columns of the identity code")
# Fields of NetworkConfig that need not agree: the new parts are initialised and scaled as the new run says.
FREE = ("init_std", "code_scale")


@dataclass(frozen=True)
class Pretrained:
    """A trained stage 1 to start from."""

    run: Path
    tensors: dict[str, Tensor]        # network/name, as GanStage.weights gives them
    sha256: str                       # of gan.safetensors
    dataset: str
    people: tuple[str, ...]           # dataset/subject, all whose faces shaped the weights
    n_faces: int
    kimg: float
    stage: str = "gan"                # which stage it is

    def entry(self) -> dict:
        """Return what config.json says of it."""
        return {
            "run": str(self.run), "sha256": self.sha256, "dataset": self.dataset, "n_faces": self.n_faces, "kimg": self.kimg,
            "carried_over": list(CARRIED), "made_new": list(NEW), "people": list(self.people),
        }  # fmt: skip

    def sentence(self) -> str:
        """Return the same for people."""
        return (
            f"{self.run} ({self.dataset}: {len(self.people)} people, {self.n_faces} faces, {self.kimg:g} kimg); carried over:"
            f" {'; '.join(CARRIED)}; made new: {'; '.join(NEW)}"
        )

    @torch.no_grad()
    def start(self, stage: GanStage) -> None:
        """Give a fresh stage what is carried over; the rest keeps its random weights."""
        checkpoint.load_module("discriminator/trunk", stage.discriminator.trunk, self._part("discriminator/trunk."), str(self.run))
        for generator in {stage.generator, stage.finished}:
            checkpoint.load_module("encoder", generator.encoder, self.tensors, str(self.run))
            n_f, _, n_noise = generator.decoder.inputs
            mine, theirs = generator.decoder.fc.weight.clone(), self.tensors["decoder/fc.weight"]        # (N_f * base^2, N_f + N_i + N_z)
            mine[:, :n_f], mine[:, -n_noise:] = theirs[:, :n_f], theirs[:, -n_noise:]
            checkpoint.load_module("decoder", generator.decoder, {**self.tensors, "decoder/fc.weight": mine}, str(self.run))

    def _part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below `prefix`, a network's part, as a network of their own."""
        network = prefix.rstrip(".")
        return {f"{network}/{name.removeprefix(prefix)}": t for name, t in self.tensors.items() if name.startswith(prefix)}


def with_init(config: TrainConfig, run: Path | None) -> TrainConfig:
    """Return the configuration that names the weights of a run's stage 1 as those it starts from; None: as it is.

    Raises ConfigError if the method has no stage 1 that is of this kind, RunError if the run has none that is complete.
    """
    if run is not None and "gan" not in config.stages:
        raise ConfigError(
            f"starting from {run}: method {config.method} has no stage 1 that could start from a run; leave --init out"
        )
    return config if run is None else replace(config, init=sha256_of_bytes(RunFolder(run).read_weights("gan")))


def read_pretrained(run: Path, config: TrainConfig, fold: Fold) -> Pretrained:
    """Return the stage 1 of a complete run, for a run of `config` on `fold` to start from.

    Raises RunError if the run is not complete, ConfigError if its networks have other sizes, FoldError if it was trained on
    somebody who is held out here.
    """
    folder = RunFolder(run)
    theirs, content = folder.read_config()
    folder.read_result()
    data = folder.read_weights("gan")
    sizes = [{name: value for name, value in asdict(one.network).items() if name not in FREE} for one in (theirs, config)]
    found = first_difference(*sizes)
    if found is not None:
        name, there, here = found
        raise ConfigError(f"starting from {run}: networks must have the same sizes, but network.{name} is {there} there and {here} here")
    before = content["init"] or {"people": []}                           # it may have started from another itself
    people = sorted({*content["identities"], *before["people"]})
    held_out = in_common(people, [*people_of(fold.test), *people_of(fold.validation)])
    if held_out:
        raise FoldError(
            f"starting from {run}: it was trained on {min(held_out)} ({counted(len(held_out), 'person', 'people')} in all), who is held out"
            f" in fold {fold.number}; choose an --init that was trained on none of them"
        )
    tensors = checkpoint.read_tensors(folder.weights("gan"))
    return Pretrained(
        Path(run), tensors, sha256_of_bytes(data), content["dataset"], tuple(people), content["n_train"], theirs.gan.kimg
    )  # fmt: skip
