"""Start a network that is not ours from weights that others trained (--weights, --pretrained).

In:  a file, as engine/weights_file.py reads it; what it is said to have been trained on; the configuration and the fold.
Out: GivenWeights: what is carried over, and what config.json, result.json, the log, the card and the report say of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from fer_data.datasets.claimed import databases_in, says
from fer_data.datasets.published import parts_of
from fer_data.files import sha256_of_bytes
from fer_data.text import listed, percent
from fer_model.config import STARTS_FROM_FILE, TrainConfig
from fer_model.data.fold import Fold
from fer_model.engine.weights_file import Fitted, WeightsFile, fitted, read_weights
from fer_model.errors import CheckpointError, ConfigError, FoldError
from fer_model.stages.any_network import NetworkStage
from fer_model.stages.registry import STAGES

__all__ = ["GivenWeights", "read_given", "refuse_same_pictures", "told", "with_weights"]

_NAMED = 5                            # so many tensors, dropped or made new, are named in a sentence, the rest is counted


@dataclass(frozen=True)
class GivenWeights:
    """Weights of a file, fitted to the network that starts from them."""

    file: WeightsFile
    fit: Fitted
    trained_on: str | None            # as the user says; None: not said
    stage: str                        # whose network takes them
    inside: str                       # stands in that network before the names that the file has

    @property
    def begun_with(self) -> frozenset[str]:
        """The names of the network's tensors that the file gives."""
        return frozenset(f"{self.inside}{name}" for name in self.fit.tensors)

    def entry(self) -> dict:
        """Return what config.json says of it."""
        found = {
            "file": self.file.path.name, "bytes": self.file.bytes, "sha256": self.file.sha256, "trained_on": self.trained_on,
            "coverage": round(self.fit.coverage, 6), "dropped": list(self.fit.dropped), "adapted": list(self.fit.adapted),
            "made_new": ["classifier", *self.fit.missing], "people": [],
        }
        return {**found, "said": told(found, _NAMED)}

    def sentence(self) -> str:
        """Return the same for people, in short."""
        return self.entry()["said"]

    @torch.no_grad()
    def start(self, stage: NetworkStage) -> None:
        """Give a fresh stage what the file has; the rest keeps its random weights."""
        for network in (stage.learner.network, stage.used[stage.name]):
            mine = _wanted(network)
            for name, tensor in self.fit.tensors.items():
                mine[name].copy_(tensor)


def told(entry: Mapping, most: int | None = None) -> str:
    """Return an entry for people, with every tensor that was not taken or is new; `most`: so many of either are named."""
    claim = entry["trained_on"]
    known = f" (recognised: {listed(databases_in(claim)) or 'no database'})" if claim else ""
    adapted = f"; adapted: {listed(entry['adapted'])}" if entry["adapted"] else ""
    new = ["the classifier", *entry["made_new"][1:]]
    return (
        f"{entry['file']} ({entry['bytes'] / 1e6:.1f} MB, sha256 {entry['sha256']}), trained on {claim or 'what is not said'}{known}:"
        f" {percent(entry['coverage'])} % of the network's numbers{adapted}; not taken: {listed(entry['dropped'], most) or 'nothing'};"
        f" made new: {listed(new, None if most is None else 1 + most)}"
    )


def with_weights(config: TrainConfig, path: Path | None) -> TrainConfig:
    """Return the configuration that names a file as what its network starts from; None: as it is.

    Raises CheckpointError if there is no such file, ConfigError if the method takes no weights from a file.
    """
    if path is None:
        return config
    if config.stages[-1] not in STARTS_FROM_FILE:
        raise ConfigError(f"starting from {path}: method {config.method} takes no weights from a file; {listed(STARTS_FROM_FILE)} do")
    if not path.is_file():
        raise CheckpointError(f"reading weights: there is no file {path}")
    return replace(config, init=sha256_of_bytes(path.read_bytes()))


def read_given(path: Path, trained_on: str | None, config: TrainConfig, fold: Fold) -> GivenWeights:
    """Return the weights of a file, for a run of `config` on `fold` to start from.

    Raises CheckpointError if the file cannot be read or does not fit, FoldError if what it was trained on holds the pictures that are
    to be tested, ConfigError if the network has no part that is made new.
    """
    refuse_same_pictures(f"starting from {path}", trained_on, fold.test["dataset"].unique())
    stage, file = config.stages[-1], read_weights(path)
    if config.init not in (None, file.sha256):
        raise CheckpointError(f"starting from {path}: the file was changed since it was named; start again")
    network = STAGES[stage].fresh(config, len(fold.classes), 0, torch.device("cpu"))[stage]
    if len(network.carried()) == len(network.state_dict()):
        parts = dict.fromkeys(name.removeprefix(network.inside).partition(".")[0] for name in network.state_dict())
        raise ConfigError(
            f"starting from {path}: the network's classifier is made new, and it is known by its name: call that part `classifier`"
            f" (the network has {listed(parts)})"
        )
    return GivenWeights(file, fitted(file, _wanted(network)), trained_on, stage, network.inside)


def _wanted(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return what a network takes from a file, under the names that its own library gives the tensors."""
    return {name.removeprefix(network.inside): tensor for name, tensor in network.carried().items()}


def refuse_same_pictures(doing: str, trained_on: str | None, datasets) -> None:
    """Raise FoldError if weights were trained on a database that holds the pictures of one of `datasets`, named as in manifests.

    `trained_on` is a database of a manifest, or what a user says, read as fer_data/datasets/claimed.py does.
    """
    shared = [one for one in datasets if any(says(trained_on or "", theirs) for theirs in (one, *parts_of(one)))]
    if shared:
        raise FoldError(
            f"{doing}: it was trained on {trained_on}, which holds pictures of {shared[0]}, on which it would be tested; take weights"
            " that were trained on other pictures"
        )
