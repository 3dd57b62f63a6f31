"""How fast DE-GAN and its head train, beside plain PyTorch of the same networks and losses: images a second and peak memory.

In:  nothing; faces are drawn at random. Preset paper's networks: 96 px, full width, batch 150; and stage 1 of preset small.
Out: bars for table.py.

The rival is what one writes first: fp32, NCHW, eager; a pass for D on real faces and on fakes made without a graph, then a pass
for G that makes its fakes again and computes D's gradients too, which the next step throws away; torch.optim.Adam; the head's
encoder in fp32 under no_grad. It gets its batches ready made, ours renders them. Each measurement is a process of its own, all
threads; the two take turns.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from benchmarks.table import Bar, processor, run_parts
from fer_data.faces.align import CANVAS
from fer_data.store.loader import virtual_views
from fer_model.config import TrainConfig, preset, with_budgets
from fer_model.data.fold import Fold
from fer_model.engine.capture import recorder_for
from fer_model.engine.devices import resolve_precision, use_device
from fer_model.engine.randomness import stream
from fer_model.engine.steps import Steps
from fer_model.networks import Decoder, Discriminator, Encoder, Generator, build, make_head
from fer_model.stages.gan import GanStage
from fer_model.stages.head import HeadStage
from fer_model.stages.inputs import StageInputs

__all__ = ["parts", "measure", "bars", "ours", "plain"]

ROOT = Path(__file__).resolve().parents[1]
TURNS, STEPS = {"tiny": 1, "bench": 3, "long": 4}, {"tiny": 1, "bench": 2, "long": 4}
ENOUGH_S = 300                        # no further turn begins after that: on AVX2 alone a turn of preset paper takes eight minutes
BF16 = processor() != "AVX2" and resolve_precision("auto", torch.device("cpu")) == "bf16"         # it has units for it
# (stage, preset) -> (bar where there are units for bf16, bar elsewhere)
TIMES = {("gan", "paper"): (2.0, 1.15), ("head", "paper"): (1.8, 1.0), ("gan", "small"): (2.0, 1.15)}
FACES, PEOPLE, CLASSES = 900, 106, 7
CPU = torch.device("cpu")


def parts(size: str) -> tuple[str, ...]:
    """Return the stages and presets: gan-paper and so on."""
    return tuple(f"{stage}-{name}" for stage, name in TIMES)


def measure(part: str, size: str) -> list[dict]:
    """Return what both sides measured, turn by turn: TURNS, and fewer where they take longer than ENOUGH_S."""
    stage, name = part.split("-")
    began, turns = time.monotonic(), []
    while len(turns) < TURNS[size] and time.monotonic() - began < ENOUGH_S:
        turns.append({side: _measure(side, stage, name, size) for side in ("ours", "plain")})
    return turns


def bars(size: str, measured: dict[str, list[dict]]) -> list[Bar]:
    """Return the bars of training: the median over turns of plain PyTorch's time over ours, and of its peak memory over ours."""
    found = []
    for (stage, name), (in_bf16, in_fp32) in TIMES.items():
        turns = measured[f"{stage}-{name}"]
        names = f"training, stage {stage}, preset {name}", "plain PyTorch's {} over ours"
        kinds = [("time", "images/s", in_bf16 if BF16 else in_fp32), ("peak memory", "MB", 1.0)]
        for i, (what, unit, bar) in enumerate(kinds if name == "paper" else kinds[:1]):      # small: most memory is PyTorch's own
            ours, plain = (statistics.median(turn[side][i] for turn in turns) for side in ("ours", "plain"))
            ratio = statistics.median((turn["ours"][i] / turn["plain"][i]) ** (1 if what == "time" else -1) for turn in turns)
            alone = f"; ours in bf16, with {processor()} alone: in fp32 the bar is {in_fp32:g}" if BF16 else "; both in fp32"
            note = f"ours {ours:,.1f} {unit}; plain {plain:,.1f} {unit}; turns: {len(turns)}{alone}"
            found.append(Bar(f"{names[0]}: {names[1].format(what)}", ratio, bar, note=note))
    return found


def _measure(side: str, stage: str, name: str, size: str) -> tuple[float, float]:
    """Return (images a second, peak in MB) of a process of its own."""
    words = [sys.executable, "-m", "benchmarks.training", "--one", side, stage, name, size]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def _config(name: str, size: str = "bench") -> TrainConfig:
    config = replace(preset("smoke" if size == "tiny" else name), precision="bf16" if BF16 else "fp32")
    return with_budgets(config, gan=1000, head=1000, cnn=1000, judges=1000)


def ours(stage: str, config: TrainConfig, device: torch.device = CPU, recorded: bool = True) -> Callable[[int, int], object]:
    """Return what does the steps of the project's own stage, from one number to before another; `recorded`: repeated, where they can be."""
    fold = _fold()
    views = virtual_views(np.random.default_rng(0).integers(0, 256, (FACES, CANVAS, CANVAS), np.uint8), device)
    if stage == "gan":
        made = GanStage(StageInputs(config, fold, views, device))
    else:
        encoder = build(lambda: Encoder(config.network), device, config.network.init_std, stream(0, "encoder"))
        made = HeadStage(StageInputs(config, fold, views, device, trained={"gan": {"encoder": encoder}}))
    return Steps(made, recorder_for(made) if recorded else None).do


def plain(stage: str, config: TrainConfig, device: torch.device = CPU) -> Callable[[int, int], object]:
    """Return the same as it is written first."""
    step = _plain(stage, config, device)
    return lambda first, end: [step() for _ in range(first, end)]


def _plain(stage: str, config: TrainConfig, device: torch.device) -> Callable[[], None]:
    """Return one step."""
    net, batch = config.network, config.gan.batch
    x = (torch.rand(batch, 1, net.image_size, net.image_size) * 2 - 1).to(device)
    expression, identity = torch.randint(CLASSES, (batch,)).to(device), torch.randint(PEOPLE, (batch,)).to(device)
    if stage == "head":
        return _plain_head(config, x, expression)
    g = _nchw(build(lambda: Generator(Encoder(net), Decoder(net, PEOPLE)), device, net.init_std, stream(0, "g")))
    d = _nchw(build(lambda: Discriminator(net, CLASSES, PEOPLE), device, net.init_std, stream(0, "d")))
    adam_g, adam_d = (torch.optim.Adam(network.parameters(), config.gan.lr, config.gan.betas) for network in (g, d))

    def step() -> None:
        target = torch.randint(PEOPLE, (batch,)).to(device)
        code, noise = F.one_hot(target, PEOPLE).float(), (torch.rand(batch, net.noise) * 2 - 1).to(device)
        with torch.no_grad():
            fake = g(x, code, noise)
        adam_d.zero_grad()
        real_e, real_i = d(x)
        fake_e, _ = d(fake)
        fakes = torch.full((batch,), CLASSES, device=device)
        (F.cross_entropy(real_e, expression) + F.cross_entropy(real_i, identity) + F.cross_entropy(fake_e, fakes)).backward()
        adam_d.step()
        adam_g.zero_grad()
        fake_e, fake_i = d(g(x, code, noise))
        loss = F.cross_entropy(fake_e, expression) + F.cross_entropy(fake_i, target)
        loss.backward()
        adam_g.step()
        loss.item()

    return step


def _plain_head(config: TrainConfig, x: torch.Tensor, expression: torch.Tensor) -> Callable[[], None]:
    net = config.network
    encoder = _nchw(build(lambda: Encoder(net), CPU, net.init_std, stream(0, "encoder"))).eval()
    head = _nchw(build(lambda: make_head(net, config.head, CLASSES), CPU, net.init_std, stream(0, "head")))
    adam = torch.optim.Adam(head.parameters(), config.head.lr, config.head.betas)

    def step() -> None:
        with torch.no_grad():
            f, taps = encoder.with_taps(x, config.head.taps)
        adam.zero_grad()
        losses = [F.cross_entropy(logits, expression) for logits in head(f, taps)]
        loss = sum(weight * one for weight, one in zip(config.head.loss_weights, losses, strict=True))
        loss.backward()
        adam.step()
        loss.item()

    return step


def _fold() -> Fold:
    numbers = np.arange(FACES)
    people, classes = [f"noise/N{n:03d}" for n in range(PEOPLE)], tuple(f"expression {n}" for n in range(CLASSES))
    rows = pd.DataFrame({
        "image_id": [f"noise/{n}" for n in numbers], "dataset": "noise",
        "subject": [f"N{n % PEOPLE:03d}" for n in numbers], "expression": [classes[n % CLASSES] for n in numbers],
    })
    return Fold(0, "noise", classes, tuple(people), rows, rows[:0], "", 1, rows[:0], rows[:0])


def _nchw(network: torch.nn.Module) -> torch.nn.Module:
    return network.to(memory_format=torch.contiguous_format).train()


def _one(side: str, stage: str, name: str, size: str) -> None:
    config = _config(name, size)
    if side == "ours":
        use_device("cpu")             # keeps freed memory, as every run does
    do = {"ours": ours, "plain": plain}[side](stage, config)
    do(0, 1)
    began = time.perf_counter()
    do(1, 1 + STEPS[size])
    rate = STEPS[size] * getattr(config, stage).batch / (time.perf_counter() - began)
    print(json.dumps([rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        sys.exit(run_parts(parts, measure, bars, __doc__))
