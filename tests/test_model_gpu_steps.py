"""What a step asks of a device: work, and no answer. Device `meta` stands for a GPU: it has shapes, and no values that could be read."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fer_data.store.loader import VirtualViews
from fer_model.check_device import noise_faces, noise_fold
from fer_model.config import resolve_budgets
from fer_model.engine.steps import Steps
from fer_model.stages.inputs import StageInputs
from fer_model.stages.registry import STAGES
from tests.test_model_engine import smoke

META = torch.device("meta")


class Waits(TorchDispatchMode):
    """Lists what a host would wait for: copies to the device that are not asynchronous, places that are looked up on the host. And
    what is sent to the device without waiting."""

    def __init__(self):
        super().__init__()
        self.found: list = []
        self.sent: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        moved = function is torch.ops.aten._to_copy.default and kwargs.get("device") not in (None, args[0].device)
        written = function is torch.ops.aten.copy_.default and args[0].device != args[1].device
        if moved or written:
            asynchronous, shape = kwargs.get("non_blocking") or args[2:3] == (True,), tuple(args[written].shape)
            (self.sent if asynchronous else self.found).append(shape)
        if function is torch.ops.aten.index.Tensor and args[0].device == META:
            self.found += [f"index {places.dtype}" for places in args[1] if places is not None and places.device != META]
        return function(*args, **kwargs)


class NoAdam:
    """Adam has no fused form for `meta`; that of GPUs asks for nothing."""

    def __init__(self, *_, **__):
        self.param_groups, self.state = [{"lr": 0.0, "params": []}], {}

    def zero_grad(self, set_to_none):
        pass

    def step(self):
        pass


@pytest.mark.parametrize("stages", [("judges", "gan", "head"), ("critics", "ae", "recogniser"), ("cnn",), ("iacnn",)], ids=" ".join)
def test_a_step_waits_for_nothing(stages, monkeypatch):
    """What is drawn for it is one asynchronous copy. Seen red: labels copied by `.to`; the auto-encoder's samples chosen by a mask; a
    loss read."""
    monkeypatch.setattr(torch.optim, "AdamW", NoAdam)
    fold = noise_fold()
    config = smoke({"head": "degan", "recogniser": "deae"}.get(stages[-1], stages[-1]))
    config = replace(config, recogniser=replace(config.recogniser, identity_swap=0.0))         # it reads the faces of each view, once
    inputs = StageInputs(resolve_budgets(config, len(fold.train)), fold, VirtualViews(noise_faces().to(META)), META)
    for name in stages:
        steps = Steps(STAGES[name].make(inputs))
        steps.do(0, 1)                                                   # the 110 matrices go to the device
        drawn = steps.draw(1, 2)
        with Waits() as waits:
            steps.start(drawn)
        assert steps.read()[0] and all(loss.device == META for loss in steps.read()[0].values()), name
        assert waits.found == [] and waits.sent == [tuple(drawn.rows.shape)], name
        inputs = inputs.after(steps.stage)
