"""What a stage is made from, as one record: configuration, people, faces, device, and earlier networks.

In:  a resolved TrainConfig, a Fold, its Views; the stages that are trained, one after another.
Out: StageInputs, which the makers and watchers of registry.py take; FoldStage, what every stage that is made from them keeps.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from fer_data.store.loader import Views
from fer_model.config import TrainConfig
from fer_model.data.fold import Fold
from fer_model.engine.devices import autocast
from fer_model.engine.stage import Stage

__all__ = ["FoldStage", "StageInputs"]


@dataclass(frozen=True)
class StageInputs:
    """What a stage is made from."""

    config: TrainConfig               # its budgets are resolved
    fold: Fold
    views: Views                      # of the training faces
    device: torch.device
    validation: Views | None = None   # of the training people who are set aside; None: nobody is
    neutral: Views | None = None      # of the training people, of fold.neutral(); None: no stage learns from them
    begun_with: frozenset[str] | None = None     # which tensors of its network's `carried()` a run that starts from another
                                      # (config.init) has from there; None: all
    trained: dict[str, dict[str, nn.Module]] = field(default_factory=dict)     # networks() of the stages before, by stage

    def after(self, stage: Stage) -> "StageInputs":
        """Return the inputs of the next stage. The gradients of this one are freed; its optimisers are not kept."""
        for network in stage.networks().values():
            network.zero_grad(set_to_none=True)
        return replace(self, trained={**self.trained, stage.name: stage.networks()})

    @property
    def encoder(self) -> nn.Module:
        """The latest encoder: what a head is trained on."""
        return [networks["encoder"] for networks in self.trained.values() if "encoder" in networks][-1]


class FoldStage(Stage):
    """A stage that learns from the faces of a fold; its `name` is that of its settings in the configuration."""

    def __init__(self, inputs: StageInputs):
        super().__init__(getattr(inputs.config, self.name))
        self.run, self.fold, self.views, self.device = inputs.config, inputs.fold, inputs.views, inputs.device

    def autocast(self):
        """Return the context in which networks run; losses are computed outside it."""
        return autocast(self.device, self.run.precision)
