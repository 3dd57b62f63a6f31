"""BN and ELU of a layer as one pair of kernels, forward and backward, on a GPU.

In:  a convolution's output (B, C, H, W), channels last, float32 or bfloat16; the BN, in training mode.
Out: ELU(BN(x)) of the same shape and type, with its gradients; running statistics moved as BN moves them.

PyTorch's operations read and write the layer's values once for BN and once for ELU, in both directions. Here each direction is one
reduction over the batch and one pass that applies it; everything is summed in fp32, in an order that does not change. What ELU's slope was
follows from its output. The kernels (norm_elu_triton.py) are written in Triton, which comes with PyTorch for GPUs and is imported by nobody
else. They are tried once a process, for each type of numbers, before they are used; on a CPU, and where the trial fails, PyTorch's
operations are used.
"""

import functools
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.engine import distributed

__all__ = ["ALLOWED", "Kernels", "difference", "kernels_for", "norm_elu", "why_not", "with_triton"]

ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 0.03}        # in the trial; bfloat16 has 8 bits, and PyTorch rounds between BN and ELU
# In the trial: one part of few rows; more parts, rows and blocks of channels than programs take at once; the same of channels that 16
# divides, as in most layers, of which Triton makes other code.
TRIED = (2, 40, 3, 5), (4, 40, 129, 129), (4, 64, 129, 129)


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
    import fer_model.engine.norm_elu_triton as kernels

    return kernels
