"""BN and ELU of a layer as one pair of kernels, forward and backward, on a GPU.

In:  a convolution's output (B, C, H, W), channels last, float32 or bfloat16; the BN, in training mode.
Out: ELU(BN(x)) of the same shape and type, with its gradients; running statistics moved as BN moves them.

PyTorch's operations read and write the layer's values once for BN and once for ELU, in both directions. Here each direction is one
reduction over the batch and one pass that applies it; everything is summed in fp32, in an order that does not change. What ELU's slope was
follows from its output. The kernels are written in Triton, which comes with PyTorch for GPUs and is imported by nobody else. They are tried
once a process, for each type of numbers, before they are used; on a CPU, and where the trial fails, nothing here is used.
"""

import functools
from types import SimpleNamespace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.engine import distributed

__all__ = ["ALLOWED", "Kernels", "difference", "kernels_for", "norm_elu", "why_not", "with_triton"]

ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 0.03}        # in the trial; bfloat16 has 8 bits, and PyTorch rounds between BN and ELU
ROWS, CHANNELS = 128, 32              # what a program of a kernel holds at once; a row: the channels of one pixel
TRIED = (2, 40, 3, 5), (4, 40, 129, 129)       # one part of few rows; more parts, rows and blocks of channels than programs take at once
PARTS, FEW = 512, 8                   # parts of a sum, at most; channels of a program that adds them up


class Kernels(Protocol):
    """What does the work, on dense tensors with channels last."""

    def moments(self, x: Tensor, running: tuple[Tensor, Tensor] | None, momentum: float, eps: float) -> tuple[Tensor, Tensor]:
        """Return the batch's mean (C,) and 1 / deviation (C,); move the running mean and variance, if there are any."""
        ...

    def apply(self, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return y, ELU of the normalised x, scaled and shifted."""
        ...

    def sums(self, dy: Tensor, y: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        """Return the gradients of bias and weight, (2, C): the sums of dy * ELU', and of that times the normalised x."""
        ...

    def apply_backward(self, dy: Tensor, y: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, sums: Tensor) -> Tensor:
        """Return the gradient of x."""
        ...


class _NormEluFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, running, momentum, eps, kernels):
        x = x.contiguous(memory_format=torch.channels_last)
        mean, inverse = kernels.moments(x, running, momentum, eps)
        y = kernels.apply(x, mean, inverse, weight, bias)
        ctx.save_for_backward(x, y, mean, inverse, weight)
        ctx.kernels = kernels
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x, y, mean, inverse, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        sums = ctx.kernels.sums(dy, y, x, mean, inverse)
        dx = ctx.kernels.apply_backward(dy, y, x, mean, inverse, weight, sums)
        return dx, sums[1], sums[0], None, None, None, None


def norm_elu(x: Tensor, norm: nn.BatchNorm2d, kernels: Kernels) -> Tensor:
    """Return F.elu(norm(x)), `norm` being in training mode."""
    running = (norm.running_mean, norm.running_var) if norm.track_running_stats else None
    return _NormEluFunction.apply(x, norm.weight, norm.bias, running, norm.momentum, norm.eps, kernels)


def kernels_for(x: Tensor) -> Kernels | None:
    """Return the kernels for a layer's values; None: PyTorch's operations are used."""
    several = x.numel() > x.shape[1]                                     # of one value a channel BN says that it has no deviation
    return _tried(x.device, x.dtype)[0] if x.is_cuda and several else None


def why_not(device: torch.device, precision: str) -> str | None:
    """Return a sentence that says why a GPU does without the kernels in this precision, which are tried here; None: it does not, or it
    trains together with others and has SyncBatchNorm, or it is a CPU."""
    if device.type != "cuda" or distributed.size() > 1:
        return None
    why = _tried(device, torch.bfloat16 if precision == "bf16" else torch.float32)[1]
    return why and f"BN and ELU are computed by PyTorch's own operations, equal up to rounding, not by this project's Triton kernels: {why}"


@functools.cache
def _tried(device: torch.device, dtype: torch.dtype) -> tuple[Kernels | None, str | None]:
    """Return the kernels if they compute what PyTorch computes, else why not. The caller may be in the middle of anything."""
    if dtype not in ALLOWED:
        return None, f"they are not written for {dtype}"
    try:
        kernels = with_triton()
    except ImportError as error:
        return None, f"Triton cannot be imported ({error})"
    try:
        with torch.inference_mode(False):                                # gradients, whatever the caller has
            worst = max((difference(kernels, shape, device, dtype) for shape in TRIED), key=lambda one: (one != one, one))    # nan: worst
    except Exception as error:  # noqa: BLE001  # whatever a compiler or a driver raises: it is told, and training does without
        lines = str(error).strip().splitlines() or [""]
        return None, f"they fail on {device} ({type(error).__name__}: {lines[0]})"
    if not worst <= ALLOWED[dtype]:                                      # not finite either
        return None, f"they differ by {worst:.2g} of the largest value on {device} in {dtype} (allowed {ALLOWED[dtype]:g})"
    return kernels, None


def difference(kernels: Kernels, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype) -> float:
    """Return the largest difference from F.elu of nn.BatchNorm2d, as a share of the largest value or of 1: of outputs, gradients, and
    running statistics. The gradient of x is taken times x's deviation, by which BN divides it."""
    count = torch.arange(2 * shape[0] * shape[1] * shape[2] * shape[3])
    x, dy = (part.view(shape).to(device, dtype).contiguous(memory_format=torch.channels_last) for part in (2.4 * count).sin().chunk(2))
    found = []
    for one in (kernels, None):
        norm, given = nn.BatchNorm2d(shape[1], device=device), (x + 0.5).requires_grad_()
        with torch.no_grad():
            norm.weight += 0.5 * x[0, :, 0, 0]
            norm.bias += x[-1, :, 0, -1]
        y = F.elu(norm(given)) if one is None else norm_elu(given, norm, one)
        y.backward(dy)
        deviation = (x.float().var((0, 2, 3), correction=0, keepdim=True) + norm.eps).sqrt()
        found.append((y, given.grad * deviation, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
    shares = [(mine - theirs).abs().max() / theirs.abs().max().clamp(min=1) for mine, theirs in zip(*found, strict=True)]
    return torch.stack([share.float() for share in shares]).max().item()


@functools.cache
def with_triton() -> Kernels:
    """Return the kernels for GPUs. Raises ImportError without Triton."""
    global tl                         # a kernel finds the names that it uses among the module's
    import triton
    import triton.language as tl

    # In each: rows are pixels, of `channels` values; a part is `span` rows, a multiple of ROWS. Programs that follow each other take the
    # blocks of channels of the same rows.

    @triton.jit(do_not_specialize=("rows", "span"))
    def part_moments(x, parts, rows, channels, span, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
        blocks = tl.cdiv(channels, CHANNELS)
        part, c = tl.program_id(0) // blocks, tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
        first = part * span
        mean, squares = tl.zeros([CHANNELS], tl.float32), tl.zeros([CHANNELS], tl.float32)       # squares: of what is off the mean
        for begin in range(first, tl.minimum(first + span, rows), ROWS):
            r = begin + tl.arange(0, ROWS)
            there = (r < rows)[:, None] & (c < channels)[None, :]
            v = tl.load(x + r.to(tl.int64)[:, None] * channels + c[None, :], mask=there, other=0.0).to(tl.float32)
            n = tl.minimum(rows - begin, ROWS)
            own = tl.sum(v, 0) / n
            off, apart, share = tl.where(there, v - own[None, :], 0.0), own - mean, n / (begin - first + n)
            squares += tl.sum(off * off, 0) + apart * apart * (share * (begin - first))
            mean += apart * share
        tl.store(parts + part * channels + c, mean, mask=c < channels)
        tl.store(parts + (tl.cdiv(rows, span) + part) * channels + c, squares, mask=c < channels)

    @triton.jit(do_not_specialize=("rows", "span"))
    def all_moments(
        parts, mean, inverse, running_mean, running_var, rows, channels, span, momentum, eps,
        KEPT: tl.constexpr, PARTS: tl.constexpr, CHANNELS: tl.constexpr,
    ):  # fmt: skip
        c, p = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, PARTS)
        n = tl.minimum(tl.maximum(rows - p * span, 0), span).to(tl.float32)[:, None]             # rows of a part
        at, there = p[:, None] * channels + c[None, :], (n > 0) & (c < channels)[None, :]
        means = tl.load(parts + at, mask=there, other=0.0)
        squares = tl.load(parts + tl.cdiv(rows, span) * channels + at, mask=there, other=0.0)
        m = tl.sum(means * n, 0) / rows
        var = tl.sum(squares + n * (means - m[None, :]) * (means - m[None, :]), 0) / rows
        tl.store(mean + c, m, mask=c < channels)
        tl.store(inverse + c, 1 / tl.sqrt(var + eps), mask=c < channels)
        if KEPT:
            before = tl.load(running_mean + c, mask=c < channels)
            tl.store(running_mean + c, (1 - momentum) * before + momentum * m, mask=c < channels)
            before = tl.load(running_var + c, mask=c < channels)
            tl.store(running_var + c, (1 - momentum) * before + momentum * (var * (rows / (rows - 1))), mask=c < channels)

    @triton.jit(do_not_specialize=("rows",))
    def normalise(x, y, mean, inverse, weight, bias, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
        blocks = tl.cdiv(channels, CHANNELS)
        r = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
        c = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
        there, at = (r < rows)[:, None] & (c < channels)[None, :], r.to(tl.int64)[:, None] * channels + c[None, :]
        m, scale = tl.load(mean + c, mask=c < channels), tl.load(inverse + c, mask=c < channels) * tl.load(weight + c, mask=c < channels)
        v = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
        v = (v - m[None, :]) * scale[None, :] + tl.load(bias + c, mask=c < channels)[None, :]
        tl.store(y + at, tl.where(v > 0, v, tl.exp(v) - 1), mask=there)

    @triton.jit(do_not_specialize=("rows", "span"))
    def part_sums(dy, y, x, mean, inverse, parts, rows, channels, span, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
        blocks = tl.cdiv(channels, CHANNELS)
        part, c = tl.program_id(0) // blocks, tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
        m, scale = tl.load(mean + c, mask=c < channels, other=0.0), tl.load(inverse + c, mask=c < channels, other=0.0)
        shifts, scales = tl.zeros([CHANNELS], tl.float32), tl.zeros([CHANNELS], tl.float32)
        for begin in range(part * span, tl.minimum(part * span + span, rows), ROWS):
            r = begin + tl.arange(0, ROWS)
            there, at = (r < rows)[:, None] & (c < channels)[None, :], r.to(tl.int64)[:, None] * channels + c[None, :]
            g, out = tl.load(dy + at, mask=there, other=0.0).to(tl.float32), tl.load(y + at, mask=there, other=0.0).to(tl.float32)
            g = tl.where(out > 0, g, g * (out + 1))
            v = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
            shifts += tl.sum(g, 0)
            scales += tl.sum(g * ((v - m[None, :]) * scale[None, :]), 0)
        tl.store(parts + part * channels + c, shifts, mask=c < channels)
        tl.store(parts + (tl.cdiv(rows, span) + part) * channels + c, scales, mask=c < channels)

    @triton.jit(do_not_specialize=("rows",))
    def normalise_backward(
        dy, y, x, dx, mean, inverse, weight, sums, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr
    ):  # fmt: skip
        blocks = tl.cdiv(channels, CHANNELS)
        r = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
        c = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
        there, at = (r < rows)[:, None] & (c < channels)[None, :], r.to(tl.int64)[:, None] * channels + c[None, :]
        m, i = tl.load(mean + c, mask=c < channels), tl.load(inverse + c, mask=c < channels)
        shift, scale = tl.load(sums + c, mask=c < channels) / rows, tl.load(sums + channels + c, mask=c < channels) / rows
        i_weight = i * tl.load(weight + c, mask=c < channels)
        g, out = tl.load(dy + at, mask=there, other=0.0).to(tl.float32), tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        g = tl.where(out > 0, g, g * (out + 1))
        v = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
        g = g - shift[None, :] - (v - m[None, :]) * i[None, :] * scale[None, :]
        tl.store(dx + at, g * i_weight[None, :], mask=there)

    def split(x: Tensor) -> tuple[int, int, int, int, Tensor]:
        """Return rows, channels, blocks of channels, the span of a part, and memory for two sums of each part (2, parts, C)."""
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        span = triton.cdiv(triton.cdiv(rows, ROWS), PARTS) * ROWS
        parts = torch.empty(2, triton.cdiv(rows, span), channels, dtype=torch.float32, device=x.device)
        return rows, channels, triton.cdiv(channels, CHANNELS), span, parts

    def moments(x, running, momentum, eps):
        rows, channels, blocks, span, parts = split(x)
        mean, inverse = parts.new_empty(channels), parts.new_empty(channels)
        part_moments[parts.shape[1] * blocks,](x, parts, rows, channels, span, ROWS=ROWS, CHANNELS=CHANNELS)
        all_moments[triton.cdiv(channels, FEW),](
            parts, mean, inverse, *(running or (mean, mean)), rows, channels, span, momentum, eps,
            KEPT=running is not None, PARTS=PARTS, CHANNELS=FEW,
        )  # fmt: skip
        return mean, inverse

    def apply(x, mean, inverse, weight, bias):
        y, (rows, channels) = torch.empty_like(x), (x.numel() // x.shape[1], x.shape[1])
        grid = (triton.cdiv(rows, ROWS) * triton.cdiv(channels, CHANNELS),)
        normalise[grid](x, y, mean, inverse, weight, bias, rows, channels, ROWS=ROWS, CHANNELS=CHANNELS)
        return y

    def sums(dy, y, x, mean, inverse):
        rows, channels, blocks, span, parts = split(x)
        part_sums[parts.shape[1] * blocks,](dy, y, x, mean, inverse, parts, rows, channels, span, ROWS=ROWS, CHANNELS=CHANNELS)
        return parts.sum(1)

    def apply_backward(dy, y, x, mean, inverse, weight, sums):
        dx, (rows, channels) = torch.empty_like(x), (x.numel() // x.shape[1], x.shape[1])
        grid = (triton.cdiv(rows, ROWS) * triton.cdiv(channels, CHANNELS),)
        normalise_backward[grid](dy, y, x, dx, mean, inverse, weight, sums, rows, channels, ROWS=ROWS, CHANNELS=CHANNELS)
        return dx

    return SimpleNamespace(moments=moments, apply=apply, sums=sums, apply_backward=apply_backward)
