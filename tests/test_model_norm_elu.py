"""BN and ELU as one pair of kernels: the formulas, where they are used, and the Triton kernels where Triton is there."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from fer_model.config import NetworkConfig
from fer_model.engine import norm_elu
from fer_model.engine.randomness import stream
from fer_model.engine.steps import Steps
from fer_model.job import Job
from fer_model.networks import Trunk, build
from fer_model.stages import own_network
from fer_model.stages.gan import at_rest
from fer_model.train import train
from tests.graph_emulator import Emulator
from tests.test_model_own import config as own
from tests.test_model_own import write
from tests.test_model_steps import made, same, smoke, trained

REPOSITORY = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
# As in the networks: 1x1 pixels, 350 channels, one channel, a batch of one.
SHAPES = [(2, 350, 1, 1), (3, 1, 4, 4), (1, 33, 2, 1), (4, 40, 7, 7)]
LARGE = [(24, 350, 6, 6), (24, 32, 96, 96)]      # the last has more rows than its parts hold at once


class Plain:
    """The kernels' formulas as operations of PyTorch, in any precision."""

    def __init__(self, off=0.0, above=0, of=1):
        """`off`: what the mean is wrong by, of more than `above` rows and of channels that `of` divides."""
        self.off, self.above, self.of, self.calls = off, above, of, 0

    def moments(self, x, running, momentum, eps):
        self.calls += 1
        var, mean = torch.var_mean(_wide(x), (0, 2, 3), correction=0)
        n = x.numel() // x.shape[1]
        for kept, now in zip(running or (), (mean, var * n / (n - 1)), strict=running is not None):
            kept.mul_(1 - momentum).add_(momentum * now)
        return mean + self.off * (n > self.above and x.shape[1] % self.of == 0), (var + eps).rsqrt()

    def apply(self, x, mean, inverse, weight, bias):
        return F.elu(self._hat(x, mean, inverse) * _each(weight) + _each(bias)).to(x.dtype)

    def sums(self, dy, y, x, mean, inverse):
        g = self._slope(dy, y)
        return torch.stack([g.sum((0, 2, 3)), (g * self._hat(x, mean, inverse)).sum((0, 2, 3))])

    def apply_backward(self, dy, y, x, mean, inverse, weight, sums):
        shift, scale = sums * x.shape[1] / x.numel()
        rest = self._slope(dy, y) - _each(shift) - self._hat(x, mean, inverse) * _each(scale)
        return (rest * _each(inverse * weight)).to(x.dtype)

    def _hat(self, x, mean, inverse):
        return (_wide(x) - _each(mean)) * _each(inverse)

    def _slope(self, dy, y):
        return _wide(dy) * torch.where(y > 0, 1, _wide(y) + 1)


def _wide(values):
    return values if values.dtype == torch.float64 else values.float()


def _each(channels):
    return channels[:, None, None]


@pytest.fixture(autouse=True)
def forgotten():
    """What was found out in this process is found out again, before and after."""
    norm_elu._tried.cache_clear()
    yield
    norm_elu._tried.cache_clear()


@pytest.mark.parametrize("dtype", norm_elu.ALLOWED)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_formulas_are_those_of_bn_and_elu(shape, dtype):
    """Outputs, gradients, running statistics. Seen red, each: the biased variance kept; ELU's slope taken as the output; the gradients of
    weight and bias exchanged; the mean of the slopes left out."""
    assert norm_elu.difference(Plain(), shape, CPU, dtype) < (1e-5 if dtype == torch.float32 else norm_elu.ALLOWED[dtype])


def test_the_gradients_are_those_of_the_output():
    """In float64, by differences. Seen red: the share of the normalised values left out."""
    x, weight, bias = (torch.randn(*shape, dtype=torch.float64, generator=stream(0, name), requires_grad=True)
                       for name, shape in (("x", (3, 4, 2, 3)), ("weight", (4,)), ("bias", (4,))))

    def both(x, weight, bias):                   # used twice, as D is: on other values with the same weights
        norm = SimpleNamespace(weight=weight, bias=bias, track_running_stats=False, momentum=0.1, eps=1e-5)
        return norm_elu.norm_elu(x, norm, Plain()), norm_elu.norm_elu(x * x, norm, Plain())

    assert torch.autograd.gradcheck(both, (x, weight, bias))


def test_a_layer_uses_the_kernels_in_training_alone(monkeypatch):
    """Running statistics stay where they are kept still, and are used in evaluation. Seen red: used in evaluation; statistics moved at
    rest; values that come in another order of memory left so."""
    x, dy = torch.rand(4, 1, 48, 48, generator=stream(0, "x")), torch.rand(4, 16, generator=stream(0, "dy"))
    found = []
    for kernels in (None, Plain()):
        monkeypatch.setattr(norm_elu, "kernels_for", lambda x, kernels=kernels: kernels)
        trunk = build(lambda: Trunk(NetworkConfig(image_size=48, width=0.125, representation=16)), CPU, 0.2, stream(0, "trunk")).train()
        (trunk(x) * dy).sum().backward()
        with at_rest(trunk):
            trunk(2 * x)
        buffers = dict(trunk.named_buffers())
        used = kernels and kernels.calls
        found.append((trunk.eval()(x), buffers, {name: weight.grad for name, weight in trunk.named_parameters()}))
        assert kernels is None or used == kernels.calls == 2 * 13
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    y = norm_elu.norm_elu(torch.rand(2, 3, 4, 5), torch.nn.BatchNorm2d(3), Plain())
    assert y.is_contiguous(memory_format=torch.channels_last), "whatever came in"


def test_bn_over_several_gpus_and_bn_of_one_value_are_left_to_pytorch(monkeypatch):
    """SyncBatchNorm computes as it does; BN says that one value has no deviation. Seen red, each: given to the kernels."""
    trunk = torch.nn.SyncBatchNorm.convert_sync_batchnorm(Trunk(NetworkConfig(image_size=48, width=0.125, representation=16)))
    with monkeypatch.context() as patch:
        patch.setattr(norm_elu, "kernels_for", lambda x: pytest.fail("asked for"))
        trunk.train()(torch.zeros(2, 1, 48, 48))
    monkeypatch.setattr(norm_elu, "_tried", lambda *_: ("kernels", None))
    for n, expected in ((1, None), (2, "kernels")):
        x = SimpleNamespace(shape=(n, 3, 1, 1), numel=lambda n=n: 3 * n, is_cuda=True, device="cuda:0", dtype=torch.float32)
        assert norm_elu.kernels_for(x) == expected


def test_a_cpu_has_the_operations_that_it_had(monkeypatch):
    """Bit for bit. Seen red: the kernels not asked what the values are on."""
    monkeypatch.setattr(norm_elu, "norm_elu", lambda *_: pytest.fail("used on a CPU"))
    monkeypatch.setattr(norm_elu, "_tried", lambda *_: (Plain(), None))
    trunk = build(lambda: Trunk(NetworkConfig(image_size=48, width=0.125, representation=16)), CPU, 0.2, stream(0, "trunk")).train()
    x = expected = torch.rand(4, 1, 48, 48, generator=stream(0, "x"))
    for convolution, norm, *activation in trunk.layers.values():
        expected = norm(convolution(expected))
        expected = F.elu(expected) if activation else expected
    assert torch.equal(trunk(x), expected.mean((2, 3)))


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.torture)])
def test_steps_with_the_kernels_are_those_without_and_can_be_repeated(monkeypatch, precision):
    """Stage 1: D twice in one graph, D at rest, D resting. Repeated as a GPU does, they end in the same bits. Seen red: a value that
    is read."""
    config = replace(smoke(), precision=precision)
    plain, stage, repeated = (made(("gan",), config) for _ in range(3))
    expected = trained(plain, Steps(plain), 0, 4)
    kernels = Plain()
    monkeypatch.setattr(norm_elu, "kernels_for", lambda x: kernels)
    found = trained(stage, Steps(stage), 0, 4)
    again = trained(repeated, Steps(repeated, Emulator()), 0, 4)
    assert kernels.calls > 4 * 13
    for one, other, third in zip(expected, found, again, strict=True):
        torch.testing.assert_close(other, one, rtol=0.05 if precision == "bf16" else 1e-3, atol=1e-3)
        assert same(other, third) == []
    assert same(stage.tensors(), repeated.tensors()) == []


class Failing:
    def moments(self, *_):
        raise RuntimeError("Failed to find C compiler. Please specify via CC\nand more")


@pytest.mark.parametrize(("kernels", "why"), [
    (Failing(), r"they fail on cpu \(RuntimeError: Failed to find C compiler. Please specify via CC\)$"),
    (Plain(off=0.01), r"they differ by 0.0\d+ of the largest value on cpu in torch.float32 \(allowed 0.0001\)$"),
    (Plain(off=torch.nan), "they differ by nan of the largest value"),
    (Plain(off=0.01, above=65_536), r"they differ by 0.0\d+ of the largest value"),
    (Plain(off=0.01, of=16), r"they differ by 0.0\d+ of the largest value"),
    (Plain(off=0.01, of=5), r"they differ by 0.0\d+ of the largest value"),
])
def test_kernels_that_fail_or_compute_something_else_are_not_used(kernels, why, monkeypatch):
    """Seen red: nan allowed, as it is not larger than anything; few rows tried alone; no channels that 16 divides, or only such."""
    monkeypatch.setattr(norm_elu, "with_triton", lambda: kernels)
    found, reason = norm_elu._tried(CPU, torch.float32)
    assert found is None
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(reason)


def test_kernels_are_tried_once_for_each_type_wherever_a_step_is(monkeypatch):
    """Also where nothing has a gradient. Seen red: the trial in the caller's mode; float64 tried."""
    kernels = Plain()
    monkeypatch.setattr(norm_elu, "with_triton", lambda: kernels)
    for context, dtype in ((torch.inference_mode(), torch.float32), (torch.no_grad(), torch.bfloat16)):
        with context:
            assert norm_elu._tried(CPU, dtype) == norm_elu._tried(CPU, dtype) == (kernels, None)
    assert kernels.calls == 2 * len(norm_elu.TRIED)
    assert norm_elu._tried(CPU, torch.float64) == (None, "they are not written for torch.float64")


def test_a_gpu_without_triton_says_so_once(monkeypatch, tiny_prepared, tmp_path):
    """In the log and on the screen; not of networks that have no such layers. Seen red: not said; said of a user's own network."""
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "fer_model.engine.norm_elu_triton", raising=False)
    norm_elu.with_triton.cache_clear()
    assert norm_elu.why_not(CPU, "bf16") is None
    sentence = norm_elu.why_not(torch.device("cuda", 0), "bf16")
    assert sentence.startswith("BN and ELU are computed by PyTorch's own operations") and "Triton cannot be imported (" in sentence
    monkeypatch.setattr(norm_elu, "why_not", lambda device, precision: f"{sentence} {precision}")
    said = []
    train(Job(tiny_prepared, tmp_path / "run", replace(smoke("cnn"), precision="bf16")), "cpu", say=said.append)
    monkeypatch.setattr(own_network, "_ALLOWED", {})
    train(Job(tiny_prepared, tmp_path / "own", own(write(tmp_path))), "cpu", say=said.append)
    assert [line for line in said if "Triton" in line] == [f"{sentence} bf16"]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line for line in log if line["event"] == "kernels"] == [{"event": "kernels", "what": f"{sentence} bf16"}]


INTERPRETED = """
import torch
from fer_model.engine import norm_elu, norm_elu_triton
norm_elu_triton.ROWS, norm_elu_triton.PARTS = 16, 8                      # several parts of several blocks, the last of fewer rows
for shape in {shapes}:
    for dtype, allowed in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        worst = norm_elu.difference(norm_elu.with_triton(), shape, torch.device("cpu"), dtype)
        assert worst <= allowed, (shape, dtype, worst)
norm = torch.nn.BatchNorm2d(3)
y = norm_elu.norm_elu(torch.full((2, 3, 1, 2), torch.nan), norm, norm_elu.with_triton())
assert y.isnan().all() and norm.running_var.isnan().all(), "what is not finite stays so, and stops the run"
x, dy, norm = torch.rand(2, 3, 4, 5, requires_grad=True), torch.rand(2, 3, 4, 5), torch.nn.BatchNorm2d(3)
orders = torch.contiguous_format, torch.channels_last
one, other = (torch.autograd.grad(norm_elu.norm_elu(x, norm, norm_elu.with_triton()), x, dy.contiguous(memory_format=order))[0]
              for order in orders)
assert torch.equal(one, other)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_triton_kernels_compute_the_same_in_tritons_interpreter():
    """Seen red, each: the parts' means not weighted by their rows; blocks of a part, or parts, merged as if their means were equal; the
    mask of the last rows left out; the biased variance kept; NaN made -1; the mean of the gradient left in; a gradient read in another
    order of memory than it has."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    code = INTERPRETED.format(shapes=SHAPES)
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", norm_elu.ALLOWED)
@pytest.mark.parametrize("shape", [*SHAPES, *LARGE])
def test_the_triton_kernels_compute_the_same_on_a_gpu(shape, dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    where = torch.device("cuda", 0)
    kernels, why = norm_elu._tried(where, dtype)
    assert kernels is not None, why
    assert norm_elu.difference(kernels, shape, where, dtype) <= norm_elu.ALLOWED[dtype]
