"""What a step of each stage makes the host wait for: nothing. Device `meta` stands for a GPU: it has shapes, and no values to be read.

In:  nothing; faces of noise, preset small with all that is random, no step is computed.
Out: bars for table.py.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.table import Bar, run_module
from fer_data.store.loader import GpuViews
from fer_model.check_device import EXPRESSIONS, noise_faces, noise_fold
from fer_model.config import TrainConfig, preset, resolve_budgets
from fer_model.engine.steps import Steps
from fer_model.stages.inputs import StageInputs
from fer_model.stages.registry import STAGES

__all__ = ["CHAINS", "META", "Waits", "bars", "on_meta"]

META = torch.device("meta")
CHAINS = {
    "degan": ("judges", "gan", "head"), "deae": ("critics", "ae", "recogniser"), "cnn": ("cnn",), "iacnn": ("iacnn",),
    "derl": ("neutral", "head"),
}


class Waits(TorchDispatchMode):
    """Lists what a host would wait for: copies to the device that are not asynchronous, places that are looked up on the host, values that
    are read. And what is sent to the device without waiting, in bytes."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.sent: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        moved = function is torch.ops.aten._to_copy.default and kwargs.get("device") not in (None, args[0].device)
        written = function is torch.ops.aten.copy_.default and args[0].device != args[1].device
        if moved or written:
            source = args[1] if written else args[0]
            if kwargs.get("non_blocking") or args[2:3] == (True,):
                self.sent.append(source.nbytes)
            else:
                self.found.append(f"copy of {tuple(source.shape)}")
        if function is torch.ops.aten.index.Tensor and args[0].device == META:
            self.found += [f"index {places.dtype}" for places in args[1] if places is not None and places.device != META]
        if function is torch.ops.aten._local_scalar_dense.default:
            self.found.append("value read")
        return function(*args, **kwargs)


class _NoAdam:
    """Adam has no fused form for `meta`; that of GPUs asks for nothing."""

    def __init__(self, *_, **__):
        self.param_groups, self.state = [{"lr": 0.0, "params": []}], {}

    def zero_grad(self, set_to_none):
        pass

    def step(self):
        pass


@contextmanager
def on_meta(config: TrainConfig) -> Iterator[Iterator[Steps]]:
    """Give the steps of each stage of the configuration's method, one after another, on `meta`."""
    fold = noise_fold()
    config = replace(config, recogniser=replace(config.recogniser, identity_swap=0.0))         # it reads the faces of each view, once
    faces = noise_faces().to(META)
    neutral = GpuViews(faces[:: len(EXPRESSIONS)])
    inputs = StageInputs(resolve_budgets(config, len(fold.train)), fold, GpuViews(faces), META, neutral=neutral)

    def each(inputs: StageInputs) -> Iterator[Steps]:
        for name in CHAINS[config.method]:
            steps = Steps(STAGES[name].make(inputs))
            yield steps
            inputs = inputs.after(steps.stage)

    with mock.patch.object(torch.optim, "AdamW", _NoAdam):
        yield each(inputs)


def bars(size: str = "bench") -> list[Bar]:
    """Return for each stage how often the host waits in the steps of a tick, of which nothing is read yet: 0."""
    found = []
    for method in CHAINS:
        with on_meta(preset("smoke" if size == "tiny" else "small", method=method)) as stages:
            for steps in stages:
                end = min(steps.most, 4)                                 # of a tick; each is like the others
                steps.start(steps.draw(0, 1))                            # what is made once is made
                drawn = steps.draw(1, end)
                with Waits() as waits:
                    steps.start(drawn)
                each = waits.sent[0] / (end - 1) if waits.sent else 0
                note = f"{len(waits.sent)} copy without waiting; {each / 1000:.1f} kB a step"
                name = f"{method}, stage {steps.stage.name}: waits of the host in the steps of a tick"
                found.append(Bar(name, len(waits.found), 0, "", most=True, note=note))
    return found


if __name__ == "__main__":
    sys.exit(run_module(bars, __doc__))
