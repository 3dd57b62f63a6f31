"""Start a network that is not ours from weights that others trained (--weights, --pretrained).

In:  a file, as engine/weights_file.py reads it; what it is said to have been trained on; the configuration and the fold.
Out: GivenWeights: what is carried over, and what config.json, result.json, the log, the card and the report say of it.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from fer_data.datasets.published import FILES, load_facts, parts_of
from fer_data.files import sha256_of_bytes
from fer_data.people import same_pictures
from fer_data.text import listed, percent
from fer_model.config import STARTS_FROM_FILE, TrainConfig
from fer_model.data.fold import Fold
from fer_model.engine.weights_file import Fitted, WeightsFile, fitted, read_weights
from fer_model.errors import CheckpointError, ConfigError, FoldError
from fer_model.stages.any_network import NetworkStage
from fer_model.stages.registry import STAGES

__all__ = ["GivenWeights", "read_given", "refuse_same_pictures", "with_weights"]

_NAMED = 5                            # so many tensors, dropped or made new, are named in a sentence, the rest is counted; config.json
                                      # names all
# Other names of databases, as _bare writes them, that stand in a manifest as on the right.
_SPELT = {
    "ck+48": "ck48", "ckplus48": "ck48", "fer+": "ferplus", "ckplus": "ck+", "cohnkanade": "ck+", "cohnkanade+": "ck+",
    "cohnkanadeplus": "ck+", "extendedcohnkanade": "ck+", "extendedcohnkanade+": "ck+", "oulucasia": "oulu", "faces": "faces-mpi",
}
_BETWEEN = re.compile(r"[,;/&()]|\b(?:and|plus|with)\b")          # stands between two names, or around another name of the same
_IDLE = re.compile(r"\b(?:the|data ?set|data|database)\b")


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
        return {
            "file": self.file.path.name, "bytes": self.file.bytes, "sha256": self.file.sha256, "trained_on": self.trained_on,
            "coverage": round(self.fit.coverage, 6), "dropped": list(self.fit.dropped), "adapted": list(self.fit.adapted),
            "made_new": ["classifier", *self.fit.missing], "people": [], "said": self.sentence(),
        }

    def sentence(self) -> str:
        """Return the same for people."""
        adapted = f"; adapted: {listed(self.fit.adapted)}" if self.fit.adapted else ""
        return (
            f"{self.file.path.name} ({self.file.bytes / 1e6:.1f} MB, sha256 {self.file.sha256}), trained on"
            f" {self.trained_on or 'what is not said'}: {percent(self.fit.coverage)} % of the network's numbers{adapted}; not taken:"
            f" {listed(self.fit.dropped, _NAMED) or 'nothing'}; made new: {listed(['the classifier', *self.fit.missing], 1 + _NAMED)}"
        )

    @torch.no_grad()
    def start(self, stage: NetworkStage) -> None:
        """Give a fresh stage what the file has; the rest keeps its random weights."""
        for network in (stage.learner.network, stage.used[stage.name]):
            mine = _wanted(network)
            for name, tensor in self.fit.tensors.items():
                mine[name].copy_(tensor)


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


def _bare(name: str) -> str:
    """Return a name without what people write in several ways: case, blanks, hyphens; a database's other name becomes its own."""
    bare = _without_marks(name)
    return _names().get(bare, bare)


def _without_marks(name: str) -> str:
    return re.sub(r"[^\w+]|_", "", _IDLE.sub("", name.lower())) or name.strip().lower()


@cache
def _names() -> dict[str, str]:
    """Return the name in manifests by each other name of a database, and by its full one."""
    full = {_without_marks(name): one for one in FILES for name in (load_facts(one).name, load_facts(one).name.partition("(")[0], one)}
    return full | _SPELT


def _databases_said(text: str) -> set[str]:
    """Return the databases that a user names, as manifests have them: of several with `,`, `+` or `and` between them each, and the whole.

    >>> sorted(_databases_said("AffectNet, Extended Cohn-Kanade")), sorted(_databases_said("ck++fer2013"))
    (['affectnet', 'affectnetextendedcohnkanade', 'ck+'], ['ck+', 'ck++fer2013', 'fer2013'])
    """
    pieces = [_bare(one) for one in (text, *_BETWEEN.split(text.lower()))]
    joined = [_bare(part) for piece in pieces for part in re.findall(r"ck\+48|ck\+|fer\+|[^+]+", piece)]
    return {one for one in (*pieces, *joined) if one}


def refuse_same_pictures(doing: str, trained_on: str | None, datasets) -> None:
    """Raise FoldError if weights were trained on a database that holds the pictures of one of `datasets`, named as in manifests."""
    said = _databases_said(trained_on or "")
    shared = [one for one in datasets if any(same_pictures(mine, theirs) for mine in said for theirs in map(_bare, (one, *parts_of(one))))]
    if shared:
        raise FoldError(
            f"{doing}: it was trained on {trained_on}, which holds pictures of {shared[0]}, on which it would be tested; take weights"
            " that were trained on other pictures"
        )
