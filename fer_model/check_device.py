"""Compare a device with the CPU number by number, and time it.

In:  auto, cpu, cuda, cuda:N; a preset. No data: faces are made of smoothed noise.
Out: DeviceCheck: for each stage the losses of the first steps on both, in fp32; grey levels between views rendered on both; speed.

Everything starts from the same numbers on every device (networks.build, randomness.stream), so the first steps can be compared
number by number. They drift apart from there, as rounding is not the same: hence a few steps, and a stated tolerance.
"""

import time
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from fer_data.faces.align import CANVAS
from fer_data.faces.views import N_VIEWS
from fer_data.store.loader import VirtualViews, render
from fer_model.config import TrainConfig, preset, resolve_budgets
from fer_model.data.fold import Fold
from fer_model.engine.devices import resolve_device, resolve_precision
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Stage
from fer_model.stages.cnn import CnnStage
from fer_model.stages.gan import GanStage
from fer_model.stages.head import HeadStage
from fer_model.stages.inputs import StageInputs

__all__ = ["TOLERANCE", "DeviceCheck", "StageCheck", "check_device"]

STEPS = 3                             # compared, of each stage
TIMED_STEPS = 5                       # of each stage, after those
TOLERANCE = 0.02                      # largest relative difference of a loss in those steps; TF32 on GPUs stays within it
PEOPLE, EXPRESSIONS = 8, ("anger", "happiness", "surprise")


@dataclass(frozen=True)
class StageCheck:
    """One stage on both."""

    name: str
    losses: dict[str, tuple[float, float]]       # name -> (on the CPU, on the device) in the last step compared
    difference: float                 # largest relative difference of a loss in any step compared
    images_per_s: dict[str, float]    # precision -> on the device


@dataclass(frozen=True)
class DeviceCheck:
    """What was found."""

    device: str
    name: str                         # what the hardware calls itself
    view_levels: int                  # largest difference of a rendered pixel, in grey levels
    stages: tuple[StageCheck, ...]

    @property
    def good(self) -> bool:
        return self.view_levels <= 1 and all(stage.difference <= TOLERANCE for stage in self.stages)

    def sentence(self) -> str:
        """Return the verdict."""
        worst = max(stage.difference for stage in self.stages)
        found = f"views differ by {self.view_levels} grey levels (allowed 1), losses by {worst:.2%} (allowed {TOLERANCE:.0%})"
        if self.device == "cpu":
            return f"There is no other device to compare with the CPU: it was compared with itself; {found}."
        return f"{self.device} {'computes what the CPU computes' if self.good else 'DIFFERS from the CPU'}: {found}."

    def to_json(self) -> dict:
        """Return the comparison and the verdict."""
        return {**asdict(self), "allowed_difference": TOLERANCE, "good": self.good}

    def __rich__(self):
        """Return the comparison as a table, for the console."""
        from rich.console import Group
        from rich.markup import escape

        from fer_model.evaluate.figures import plain_table

        table = plain_table(f"{self.device} ({self.name}) next to the CPU, step {STEPS} of each stage", "loss", "CPU", "device", "largest")
        for stage in self.stages:
            for name, (expected, got) in stage.losses.items():
                table.add_row(f"{stage.name} {name}", f"{expected:.5f}", f"{got:.5f}", "")
            table.add_row(f"{stage.name}: relative difference", "", "", f"{stage.difference:.4%}")
        speed = plain_table("Images a second on the device", "stage", *self.stages[0].images_per_s)
        for stage in self.stages:
            speed.add_row(stage.name, *(f"{rate:.0f}" for rate in stage.images_per_s.values()))
        return Group(table, "", speed, "", escape(self.sentence()))


def check_device(device: str = "auto", preset_name: str = "small") -> DeviceCheck:
    """Return how a device compares with the CPU on a preset's networks.

    Raises DeviceError if it is not there, ConfigError for an unknown preset.
    """
    where, cpu = resolve_device(device), torch.device("cpu")
    faces, fold = _faces(), _fold()
    config = resolve_budgets(preset(preset_name), len(fold.train))
    fast = resolve_precision("auto", where)
    stages, rates = [], {}
    expected, _ = _run(config, fold, faces, cpu, "fp32")
    got, rates["fp32"] = _run(config, fold, faces, where, "fp32", timed=True)
    if fast != "fp32":
        rates[fast] = _run(config, fold, faces, where, fast, timed=True)[1]
    for name, steps in expected.items():
        pairs = [(a[loss], b[loss]) for a, b in zip(steps, got[name], strict=True) for loss in a]
        last = {loss: (steps[-1][loss], got[name][-1][loss]) for loss in steps[-1]}
        difference = max(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs)
        stages.append(StageCheck(name, last, difference, {precision: rate[name] for precision, rate in rates.items()}))
    k = torch.arange(N_VIEWS)
    one = faces[:1].expand(N_VIEWS, -1, -1, -1)
    levels = (render(one, k).int() - render(one.to(where), k.to(where)).cpu().int()).abs().max().item()
    hardware = torch.cuda.get_device_name(where) if where.type == "cuda" else "this processor"
    return DeviceCheck(str(where), hardware, int(levels), tuple(stages))


def _faces() -> torch.Tensor:
    """Return smoothed noise, (n, 1, 132, 132) uint8, the same everywhere."""
    noise = torch.rand(PEOPLE * len(EXPRESSIONS), 1, CANVAS // 6, CANVAS // 6, generator=stream(0, "check-device"))
    return (F.interpolate(noise, size=(CANVAS, CANVAS), mode="bilinear") * 255).to(torch.uint8)


def _fold() -> Fold:
    rows = pd.DataFrame({
        "image_id": [f"noise/{n}" for n in range(PEOPLE * len(EXPRESSIONS))], "dataset": "noise",
        "subject": np.repeat([f"N{person}" for person in range(PEOPLE)], len(EXPRESSIONS)), "expression": list(EXPRESSIONS) * PEOPLE,
    })  # fmt: skip
    people = tuple(f"noise/N{person}" for person in range(PEOPLE))
    return Fold(0, "noise", EXPRESSIONS, people, rows, rows[:0], "", 1, rows[:0])


def _run(
    config: TrainConfig, fold: Fold, faces: torch.Tensor, device: torch.device, precision: str, timed: bool = False
) -> tuple[dict[str, list[dict[str, float]]], dict[str, float]]:
    """Return the losses of the first steps of each stage, and its images a second."""
    inputs = StageInputs(replace(config, precision=precision), fold, VirtualViews(faces.to(device)), device)
    gan = GanStage(inputs)
    stages = [gan, CnnStage(inputs), HeadStage(inputs.after(gan))]
    losses = {stage.name: [_read(stage, step) for step in range(STEPS)] for stage in stages}
    rates = {}
    for stage in stages if timed else ():                                # afterwards: gan moves the encoder that head stands on
        began = time.perf_counter()
        for step in range(STEPS, STEPS + TIMED_STEPS):
            _read(stage, step)
        rates[stage.name] = TIMED_STEPS * stage.config.batch / (time.perf_counter() - began)
    return losses, rates


def _read(stage: Stage, step: int) -> dict[str, float]:
    return {name: value.item() for name, value in stage.step(step).items()}
