"""What a step asks of a device: work, and no answer. Device `meta` stands for a GPU: it has shapes, and no values that could be read."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fer_data.store.loader import VirtualViews
from fer_model.check_device import noise_faces, noise_fold
from fer_model.config import resolve_budgets
from fer_model.stages.inputs import StageInputs
from fer_model.stages.registry import STAGES
from tests.test_model_engine import smoke

META = torch.device("meta")


class Waits(TorchDispatchMode):
    """Lists what a host would wait for: copies to the device that are not asynchronous, places that are looked up on the host."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default and kwargs.get("device") not in (None, args[0].device):
            self.found += [] if kwargs.get("non_blocking") else [f"copy of {tuple(args[0].shape)}"]
        if function is torch.ops.aten.index.Tensor and args[0].device == META:
            self.found += [f"index {places.dtype}" for places in args[1] if places is not None and places.device != META]
        return function(*args, **kwargs)


class NoAdam:
    """Adam has no fused form for `meta`; that of GPUs asks for nothing."""

    def __init__(self, *_, **__):
        self.param_groups, self.state = [{}], {}

    def zero_grad(self, set_to_none):
        pass

    def step(self):
        pass


@pytest.mark.parametrize("stages", [("judges", "gan", "head"), ("critics", "ae", "recogniser"), ("cnn",), ("iacnn",)], ids=" ".join)
def test_a_step_waits_for_nothing(stages, monkeypatch):
    """Seen red: labels copied by `.to`; the auto-encoder's samples chosen by a mask; a loss read."""
    monkeypatch.setattr(torch.optim, "AdamW", NoAdam)
    fold = noise_fold()
    config = smoke({"head": "degan", "recogniser": "deae"}.get(stages[-1], stages[-1]))
    config = replace(config, recogniser=replace(config.recogniser, identity_swap=0.0))         # it reads the faces of each view, once
    inputs = StageInputs(resolve_budgets(config, len(fold.train)), fold, VirtualViews(noise_faces().to(META)), META)
    for name in stages:
        stage = STAGES[name].make(inputs)
        stage.step(0)                                                    # the 110 matrices go to the device
        with Waits() as waits:
            losses = stage.step(1)
        assert losses and all(loss.device == META for loss in losses.values()) and waits.found == [], name
        inputs = inputs.after(stage)
