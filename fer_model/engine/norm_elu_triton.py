"""The Triton kernels of norm_elu.py, and what launches them. Imported by norm_elu.py alone, and where Triton is there.

In and out: as in norm_elu.Kernels, which this module is. Tensors are dense, with channels last.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["apply", "apply_backward", "moments", "sums"]

ROWS, CHANNELS = 128, 32              # what a program of a kernel holds at once; a row: the channels of one pixel
PARTS, FEW = 512, 8                   # parts of a sum, at most; channels of a program that adds them up

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
):
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
):
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
    """Return the batch's mean and 1 / deviation, as norm_elu.Kernels says."""
    rows, channels, blocks, span, parts = split(x)
    mean, inverse = parts.new_empty(channels), parts.new_empty(channels)
    part_moments[parts.shape[1] * blocks,](x, parts, rows, channels, span, ROWS=ROWS, CHANNELS=CHANNELS)
    all_moments[triton.cdiv(channels, FEW),](
        parts, mean, inverse, *(running or (mean, mean)), rows, channels, span, momentum, eps,
        KEPT=running is not None, PARTS=PARTS, CHANNELS=FEW,
    )
    return mean, inverse


def apply(x, mean, inverse, weight, bias):
    """Return ELU of the normalised x, as norm_elu.Kernels says."""
    y, (rows, channels) = torch.empty_like(x), (x.numel() // x.shape[1], x.shape[1])
    grid = (triton.cdiv(rows, ROWS) * triton.cdiv(channels, CHANNELS),)
    normalise[grid](x, y, mean, inverse, weight, bias, rows, channels, ROWS=ROWS, CHANNELS=CHANNELS)
    return y


def sums(dy, y, x, mean, inverse):
    """Return the gradients of bias and weight, as norm_elu.Kernels says."""
    rows, channels, blocks, span, parts = split(x)
    part_sums[parts.shape[1] * blocks,](dy, y, x, mean, inverse, parts, rows, channels, span, ROWS=ROWS, CHANNELS=CHANNELS)
    return parts.sum(1)


def apply_backward(dy, y, x, mean, inverse, weight, sums):
    """Return the gradient of x, as norm_elu.Kernels says."""
    dx, (rows, channels) = torch.empty_like(x), (x.numel() // x.shape[1], x.shape[1])
    grid = (triton.cdiv(rows, ROWS) * triton.cdiv(channels, CHANNELS),)
    normalise_backward[grid](dy, y, x, dx, mean, inverse, weight, sums, rows, channels, ROWS=ROWS, CHANNELS=CHANNELS)
    return dx
