"""Compare a device with the CPU number by number, and time it.

In:  auto, cpu, cuda, cuda:N; a preset. No data: faces are made of smoothed noise.
Out: DeviceCheck: for each stage the losses of the first steps on both, in fp32, and how far bf16 is from them; grey levels between
     views rendered on both; speed.

Everything starts from the same numbers on every device (networks.build, randomness.stream), so the first steps can be compared
number by number. They drift apart from there, as rounding is not the same: hence a few steps, and a stated tolerance.
"""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from fer_data.faces.align import CANVAS
from fer_data.faces.views import N_VIEWS
from fer_data.store.loader import GpuViews, render
from fer_model.config import TrainConfig, preset, resolve_budgets
from fer_model.data.fold import Fold
from fer_model.engine.capture import recorder_for
from fer_model.engine.devices import resolve_precision, use_device, wait_for
from fer_model.engine.norm_elu import why_not
from fer_model.engine.randomness import stream
from fer_model.engine.steps import Steps
from fer_model.stages.inputs import StageInputs
from fer_model.stages.registry import STAGES

__all__ = [
    "TOLERANCE", "DeviceCheck", "StageCheck", "check_device", "difference", "images_per_s", "noise_faces", "noise_fold", "run_stages",
    "worst_of",
]

CHECKED = ("judges", "gan", "head", "cnn")
STEPS = 3                             # compared, of each stage
TICK_SECONDS = 3.0                    # timed at least, of each stage, after those
TOLERANCE = {"fp32": 0.005, "bf16": 0.02}         # largest relative difference of a loss in those steps from the CPU's in fp32
PEOPLE, EXPRESSIONS = 8, ("anger", "happiness", "surprise")


@dataclass(frozen=True)
class StageCheck:
    """One stage on both."""

    name: str
    losses: dict[str, tuple[float, float]]       # name -> (on the CPU, on the device) in the last step compared, in fp32
    differences: dict[str, float]     # precision -> largest relative difference of a loss in any step compared
    images_per_s: dict[str, float]    # precision -> on the device


@dataclass(frozen=True)
class DeviceCheck:
    """What was found."""

    device: str
    name: str                         # what the hardware calls itself
    view_levels: int                  # largest difference of a rendered pixel, in grey levels
    stages: tuple[StageCheck, ...]
    without: tuple[str, ...] = ()     # sentences: what of ours the device does not use, and why

    @property
    def good(self) -> bool:
        return self.view_levels <= 1 and all(worst <= TOLERANCE[precision] for precision, worst in self._worst().items())

    def _worst(self) -> dict[str, float]:
        return {precision: worst_of(stage.differences[precision] for stage in self.stages) for precision in self.stages[0].differences}

    def sentence(self) -> str:
        """Return the verdict."""
        losses = [f"losses in {which} by {worst:.2%} (allowed {TOLERANCE[which]:.0%})" for which, worst in self._worst().items()]
        found = ", ".join([f"views differ by {self.view_levels} grey levels (allowed 1)", *losses])
        if self.device == "cpu":
            return f"There is no other device to compare with the CPU: it was compared with itself; {found}."
        return f"{self.device} {'computes what the CPU computes' if self.good else 'DIFFERS from the CPU'}: {found}."

    def to_json(self) -> dict:
        """Return the comparison and the verdict."""
        return {**asdict(self), "allowed_differences": TOLERANCE, "good": self.good}

    def __rich__(self):
        """Return the comparison as a table, for the console."""
        from rich.console import Group
        from rich.markup import escape

        from fer_model.evaluate.figures import plain_table

        table = plain_table(f"{self.device} ({self.name}) next to the CPU, step {STEPS} of each stage", "loss", "CPU", "device", "largest")
        for stage in self.stages:
            for name, (expected, got) in stage.losses.items():
                table.add_row(f"{stage.name} {name}", f"{expected:.5f}", f"{got:.5f}", "")
            for precision, difference in stage.differences.items():
                table.add_row(f"{stage.name}: {precision} from the CPU's fp32", "", "", f"{difference:.4%}")
        speed = plain_table("Images a second on the device", "stage", *self.stages[0].images_per_s)
        for stage in self.stages:
            speed.add_row(stage.name, *(f"{rate:.0f}" for rate in stage.images_per_s.values()))
        return Group(table, "", speed, "", *map(escape, self.without), escape(self.sentence()))


def check_device(device: str = "auto", preset_name: str = "small") -> DeviceCheck:
    """Return how a device compares with the CPU on a preset's networks.

    Raises DeviceError if it is not there, ConfigError for an unknown preset.
    """
    where, cpu = use_device(device), torch.device("cpu")
    faces, fold = noise_faces(), noise_fold()
    config = resolve_budgets(preset(preset_name), len(fold.train))
    expected, _ = run_stages(config, fold, faces, cpu, "fp32")
    precisions = dict.fromkeys(("fp32", resolve_precision("auto", where)))
    got = {which: run_stages(config, fold, faces, where, which, timed=True) for which in precisions}
    stages = []
    for name, steps in expected.items():
        last = {loss: (steps[-1][loss], got["fp32"][0][name][-1][loss]) for loss in steps[-1]}
        differences = {which: difference(steps, losses[name]) for which, (losses, _) in got.items()}
        stages.append(StageCheck(name, last, differences, {which: rates[name] for which, (_, rates) in got.items()}))
    k = torch.arange(N_VIEWS)
    one = faces[:1].expand(N_VIEWS, -1, -1, -1)
    levels = (render(one, k).int() - render(one.to(where), k.to(where)).cpu().int()).abs().max().item()
    hardware = torch.cuda.get_device_name(where) if where.type == "cuda" else "this processor"
    without = dict.fromkeys(why for which in precisions if (why := why_not(where, which)))
    return DeviceCheck(str(where), hardware, int(levels), tuple(stages), tuple(without))


def noise_faces() -> torch.Tensor:
    """Return smoothed noise, (n, 1, 132, 132) uint8, the same everywhere."""
    noise = torch.rand(PEOPLE * len(EXPRESSIONS), 1, CANVAS // 6, CANVAS // 6, generator=stream(0, "check-device"))
    return (F.interpolate(noise, size=(CANVAS, CANVAS), mode="bilinear") * 255).to(torch.uint8)


def noise_fold() -> Fold:
    """Return the fold of noise_faces(). The first face of each person is the neutral one, too."""
    rows = pd.DataFrame({
        "image_id": [f"noise/{n}" for n in range(PEOPLE * len(EXPRESSIONS))], "dataset": "noise",
        "subject": np.repeat([f"N{person}" for person in range(PEOPLE)], len(EXPRESSIONS)), "expression": list(EXPRESSIONS) * PEOPLE,
        "sequence": [f"{n:03d}" for n in range(PEOPLE * len(EXPRESSIONS))],
    })
    people = tuple(f"noise/N{person}" for person in range(PEOPLE))
    return Fold(0, "noise", EXPRESSIONS, people, rows, rows[:0], "", 1, rows[:0], rows[:: len(EXPRESSIONS)])


def run_stages(
    config: TrainConfig, fold: Fold, faces: torch.Tensor, device: torch.device, precision: str, steps: int = STEPS, timed: bool = False
) -> tuple[dict[str, list[dict[str, float]]], dict[str, float]]:
    """Return the losses of the first steps of each stage of CHECKED and, if `timed`, its images a second."""
    inputs = StageInputs(replace(config, precision=precision), fold, GpuViews(faces.to(device)), device)
    losses, rates = {}, {}
    for name in CHECKED:                                                 # each is made once the one before has run: head stands on gan
        stage = STAGES[name].make(inputs)
        work = Steps(stage, recorder_for(stage))
        losses[name] = [{loss: value.item() for loss, value in step.items()} for step in work.do(0, steps)]
        inputs = replace(inputs, trained={**inputs.trained, name: copy.deepcopy(stage.networks())})
        if timed:
            rates[name] = images_per_s(work.do, stage.config.batch, device, steps)             # not what the next stage stands on
    return losses, rates


def images_per_s(do: Callable[[int, int], object], batch: int, device: torch.device, first: int = 0) -> float:
    """Return the speed of steps `first` and on, over at least TICK_SECONDS; `do` does the steps from one number to before another."""
    steps = 1
    while True:
        began = time.perf_counter()
        do(first, first + steps)
        wait_for(device)
        seconds = time.perf_counter() - began
        if seconds >= TICK_SECONDS:
            return steps * batch / seconds
        first, steps = first + steps, 2 * steps


def difference(expected: list[dict[str, float]], got: list[dict[str, float]]) -> float:
    """Return the largest relative difference of a loss in any step; NaN if one is NaN."""
    pairs = [(a[loss], b[loss]) for a, b in zip(expected, got, strict=True) for loss in a]
    return worst_of(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs)


def worst_of(differences: Iterable[float]) -> float:
    """Return the largest difference; NaN if one is NaN, which Python's own max passes over unless it comes first.

    >>> worst_of([0.1, float("nan"), 0.2])
    nan
    """
    return float(np.max(list(differences)))
