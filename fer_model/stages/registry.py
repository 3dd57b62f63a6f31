"""The table of stages: how each is made, what watches it, how its networks are loaded.

In:  a name that config.STAGES_OF lists for a method.
Out: STAGES, name -> StageEntry. train.py, plan.py and runs/trained.py ask this table. A further stage is a class and an entry here,
     and in config.py its fields and the method that has it.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from fer_model.config import TrainConfig
from fer_model.engine.loop import Watcher
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Stage
from fer_model.errors import ConfigError
from fer_model.networks import (
    ConditionalDecoder,
    Decoder,
    Discriminator,
    Encoder,
    IdentityAwareCnn,
    NeutralGenerator,
    PairDiscriminator,
    build,
    make_cnn,
    make_head,
)
from fer_model.stages.any_network import build_itself
from fer_model.stages.autoencoder import AutoencoderStage
from fer_model.stages.cnn import CnnStage
from fer_model.stages.critics import CriticsStage
from fer_model.stages.gan import GanStage
from fer_model.stages.head import HeadStage
from fer_model.stages.health import Health
from fer_model.stages.iacnn import IacnnStage
from fer_model.stages.inputs import StageInputs
from fer_model.stages.judges import JudgesStage, judge_network
from fer_model.stages.neutral import NeutralStage
from fer_model.stages.own_network import OwnStage, make_own
from fer_model.stages.recogniser import RecogniserStage
from fer_model.stages.sample_sheet import Sheets
from fer_model.stages.svm import SvmStage
from fer_model.stages.timm_network import TimmStage, make_timm

__all__ = ["STAGES", "StageEntry", "refuse_uneven", "refuse_unfit", "with_helpers"]

NetworkMaker = Callable[[TrainConfig, int, int], nn.Module]      # (configuration, N_e classes, N_i identities) -> without weights


@dataclass(frozen=True)
class StageEntry:
    """What the rest of the program knows of a stage."""

    make: Callable[[StageInputs], Stage]
    networks: Mapping[str, NetworkMaker] = field(default_factory=dict)         # those that a finished run is used with, by name
    helpers: tuple[str, ...] = ()     # stages that are trained before it and are no part of the method
    watchers: Callable[[StageInputs, Path], tuple[Watcher, ...]] = lambda inputs, run: ()       # `run`: the run folder
    build: Callable[..., nn.Module] = build      # how networks are made and get their first weights
    rival: NetworkMaker | None = None            # the discriminator that is trained beside them
    whole: int = 1                    # samples that belong together: each process has a multiple of so many

    def fresh(self, config: TrainConfig, n_classes: int, n_identities: int, device: torch.device) -> dict[str, nn.Module]:
        """Return `networks`, to be looked at or to be given the weights of a file."""
        rng, std = stream(0, "replaced"), config.network.init_std
        return {name: self.build(partial(make, config, n_classes, n_identities), device, std, rng) for name, make in self.networks.items()}


def _watchers(inputs: StageInputs, run: Path) -> tuple[Watcher, ...]:
    return Health(inputs), Sheets(run, inputs.config.judges.every_kimg)


def _head(inputs: StageInputs) -> Stage:
    return SvmStage(inputs) if inputs.config.head.variant == "f-svm" else HeadStage(inputs)


def _body(config: TrainConfig) -> type[nn.Module]:
    """Return what a head is trained on: of DeRL the whole G."""
    return NeutralGenerator if "neutral" in config.stages else Encoder


def _encoder(config: TrainConfig, n_classes: int, n_identities: int) -> nn.Module:
    return _body(config)(config.network)


def _conditional(config: TrainConfig, n_classes: int, n_identities: int) -> nn.Module:
    return ConditionalDecoder(config.network, config.ae.embedding, n_identities)


STAGES = {
    "judges": StageEntry(JudgesStage, {
        "expression": lambda config, n_e, n_i: judge_network(config, n_e), "identity": lambda config, n_e, n_i: judge_network(config, n_i),
    }),
    "gan": StageEntry(
        GanStage, {"encoder": _encoder, "decoder": lambda config, n_e, n_i: Decoder(config.network, n_i)}, ("judges",), _watchers,
        rival=lambda config, n_e, n_i: Discriminator(config.network, n_e, n_i),
    ),
    "neutral": StageEntry(NeutralStage, {"encoder": _encoder}, rival=lambda config, n_e, n_i: PairDiscriminator(config.network)),
    "head": StageEntry(_head, {
        "encoder": _encoder, "head": lambda config, n_e, n_i: make_head(config.network, config.head, n_e, _body(config)),
    }),
    "critics": StageEntry(CriticsStage),
    "ae": StageEntry(AutoencoderStage, {"encoder": _encoder, "decoder": _conditional}, ("judges",), _watchers, whole=4),
    "recogniser": StageEntry(RecogniserStage, {"recogniser": lambda config, n_e, n_i: make_cnn(config.network, config.recogniser, n_e)}),
    "iacnn": StageEntry(IacnnStage, {"iacnn": lambda config, n_e, n_i: IdentityAwareCnn(config.network, config.iacnn, n_e)}, whole=4),
    "cnn": StageEntry(CnnStage, {"cnn": lambda config, n_e, n_i: make_cnn(config.network, config.cnn, n_e)}),
    "timm": StageEntry(TimmStage, {"timm": lambda config, n_e, n_i: make_timm(config, n_e)}, build=build_itself),
    "own": StageEntry(OwnStage, {"own": lambda config, n_e, n_i: make_own(config, n_e)}, build=build_itself),
}


def refuse_unfit(config: TrainConfig, n_classes: int, n_identities: int) -> None:
    """Raise what making a network raises, before anything is written: a layer that it has not; of one that is not ours also that it is
    not there, or takes no such pictures."""
    for stage in config.stages:
        entry = STAGES[stage]
        for make in (*entry.networks.values(), *((entry.rival,) if entry.rival else ())):
            if entry.build is build_itself:
                build_itself(lambda make=make: make(config, n_classes, n_identities), torch.device("cpu"), 0.0, stream(0, "tried"))
            else:
                with torch.device("meta"):
                    make(config, n_classes, n_identities)


def refuse_uneven(config: TrainConfig, taken: Container[str], processes: int) -> None:
    """Raise ConfigError if several processes cannot share the batch of a stage that is left to train, none of `taken`."""
    for name in with_helpers(config.stages, taken):
        stage = getattr(config, name)
        whole = max(STAGES[name].whole, 2 if getattr(stage, "mixup", 0) else 1)          # mixup: a view and its neighbour
        if processes > 1 and name not in taken and stage.batch % (processes * whole):
            together = f" in parts of whole {'pairs' if whole == 2 else 'fours'}" if whole > 1 else ""
            raise ConfigError(
                f"configuration: {processes} processes cannot share {name}.batch {stage.batch}{together};"
                f" set it to a multiple of {processes * whole}"
            )


def with_helpers(stages: tuple[str, ...], taken: Container[str] = ()) -> list[str]:
    """Return stages with their helpers before them, in order; stages that are taken over from another run need none."""
    return [name for stage in stages for name in (*(() if stage in taken else STAGES[stage].helpers), stage)]
