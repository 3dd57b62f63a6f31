"""check-device: a device that computes something else is noticed."""

import copy
import io
import json
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.fer_model import main
from fer_model import check_device as module
from fer_model.check_device import check_device, difference
from fer_model.stages.cnn import CnnStage
from fer_model.stages.gan import GanStage


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch):
    """In fp32 alone, whatever this processor is fast in: a CPU without units for it takes several times as long in bf16."""
    monkeypatch.setattr(module, "TICK_SECONDS", 0)
    monkeypatch.setattr(module, "resolve_precision", lambda name, device: "fp32")


def test_the_cpu_agrees_with_itself_bit_by_bit(monkeypatch):
    """In fp32; bf16 is near. Seen red: bf16 timed and not compared."""
    monkeypatch.setattr(module, "resolve_precision", lambda name, device: "bf16")
    found = check_device("cpu", "smoke")
    assert found.good and found.view_levels == 0 and [stage.name for stage in found.stages] == ["judges", "gan", "head", "cnn"]
    assert all(stage.differences["fp32"] == 0 and 0 < stage.differences["bf16"] < 0.02 for stage in found.stages)
    assert all(stage.images_per_s["fp32"] > 0 and stage.images_per_s["bf16"] > 0 for stage in found.stages)
    assert "compared with itself" in found.sentence() and "losses in bf16 by" in found.sentence() and found.without == ()


def test_what_a_device_does_without_is_said_once(monkeypatch):
    """In both forms. Seen red: the sentence left out of the table."""
    why = "computed by PyTorch's own operations: no compiler"
    monkeypatch.setattr(module, "why_not", lambda device, precision: why)
    found, console = check_device("cpu", "smoke"), Console(record=True, width=120, file=io.StringIO())
    console.print(found)
    assert console.export_text().count("no compiler") == 1 and found.to_json()["without"] == (why,)


def test_stage_1_is_checked_as_it_is_trained(monkeypatch):
    """Its encoder learns, and its BN sees the batch."""
    states, compute = [], GanStage.compute

    def watched(self, drawn, kind):
        encoder = self.generator.encoder
        states.append(encoder.training and all(weight.requires_grad for weight in encoder.parameters()))
        return compute(self, drawn, kind)

    monkeypatch.setattr(GanStage, "compute", watched)
    check_device("cpu", "smoke")
    assert len(states) == 3 + (3 + 1) and all(states)


def test_a_loss_that_is_off_by_three_percent_in_one_step_is_noticed(monkeypatch):
    """The second of two runs, its second step. Seen red: only the last step compared."""
    made, compute = {}, GanStage.compute

    def off(self, drawn, kind):
        index = made[self] = made.get(self, -1) + 1
        found = compute(self, drawn, kind)
        return {name: value * 1.03 for name, value in found.items()} if self is not next(iter(made)) and index == 1 else found

    monkeypatch.setattr(GanStage, "compute", off)
    found = check_device("cpu", "smoke")
    assert not found.good and found.stages[1].differences["fp32"] == pytest.approx(0.03, rel=0.01)
    result = CliRunner().invoke(main, ["check-device", "--device", "cpu", "--preset", "smoke", "--json"])
    assert result.exit_code == 0, "a fresh pair, of which none is off"
    content = json.loads(result.stdout)
    assert content["good"] and content["device"] == "cpu" and [stage["differences"]["fp32"] for stage in content["stages"]] == [0] * 4


@pytest.mark.parametrize(("step", "loss"), [(0, "a"), (0, "b"), (1, "a"), (1, "b")])
def test_a_loss_that_is_nan_is_the_worst_difference(step, loss):
    """On either side. Seen red: of a later step or a later loss, 0.0."""
    numbers = [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}]
    broken = copy.deepcopy(numbers)
    broken[step][loss] = math.nan
    assert math.isnan(difference(numbers, broken)) and math.isnan(difference(broken, numbers)) and difference(numbers, numbers) == 0


def test_a_device_that_computes_nan_is_noticed(monkeypatch):
    """In the last stage, its last step. Seen red: good, "computes what the CPU computes"."""
    made, compute = {}, CnnStage.compute

    def broken(self, drawn, kind):
        index = made[self] = made.get(self, -1) + 1
        found = compute(self, drawn, kind)
        return {name: value * math.nan for name, value in found.items()} if self is not next(iter(made)) and index == 2 else found

    monkeypatch.setattr(CnnStage, "compute", broken)
    found = check_device("cpu", "smoke")
    said = replace(found, device="cuda:0").sentence()
    assert not found.good and "cuda:0 DIFFERS from the CPU" in said and "losses in fp32 by nan%" in said
    monkeypatch.setattr(module, "check_device", lambda *_: found)
    assert CliRunner().invoke(main, ["check-device"]).exit_code == 1


def test_views_that_differ_by_two_levels_are_noticed(monkeypatch):
    """Seen red: not compared."""
    calls, render = [], module.render
    monkeypatch.setattr(module, "render", lambda faces, k: (calls.append(1), render(faces, k).clamp(max=253) + 2 * (len(calls) == 2))[1])
    found = check_device("cpu", "smoke")
    assert found.view_levels == 2 and not found.good and "(allowed 1)" in found.sentence()


def test_another_device_is_compared_too(device):
    if device == "cpu":
        pytest.skip("there is no other device")
    assert check_device(device, "smoke").good
