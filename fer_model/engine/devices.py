"""Choose the device and the precision of a run.

In:  auto, cpu, cuda, cuda:N; auto, fp32, bf16.
Out: torch.device; "fp32" or "bf16".

fp32 is fp32: TF32, which GPUs use in convolutions unless told otherwise, and in products of matrices if told, has 10 bits of mantissa and
is switched off here and nowhere else. Who wants fewer bits names bf16.
"""

import ctypes
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from fer_data.text import either
from fer_model.errors import DeviceError

__all__ = ["autocast", "own_queue", "queue_at", "resolve_device", "resolve_precision", "use_device", "wait_for", "with_threads"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3      # malloc.h
LARGE = 32 << 20                      # bytes of a block that is given back at once


def resolve_device(name: str) -> torch.device:
    """Return the device that `name` means; auto is CUDA where there is one.

    Raises DeviceError if it is not there, naming what is.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if count else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise DeviceError(f"unknown device {name!r}; choose auto, cpu, cuda or cuda:N, where N is a number")
    if int(number or 0) >= count:
        there = either([f"cuda:{number}" for number in range(count)] + ["cpu"])
        raise DeviceError(f"this machine has no device {name}; choose {there}")
    return torch.device("cuda", int(number or 0))


def use_device(name: str) -> torch.device:
    """Return the device that `name` means, made ready for this process: a GPU is the current one, and computes fp32 in fp32; on a CPU
    memory that a step frees is kept for the next.

    Raises DeviceError as resolve_device does.
    """
    device = resolve_device(name)
    if device.type == "cpu":
        _keep_freed_memory()
    if device.type == "cuda":
        torch.cuda.set_device(device)                                    # else a context opens on cuda:0 as well
        # One way of PyTorch's two to say it, the one that all versions have: where both are used, asking raises an error.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return device


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed: it gives blocks back to the kernel, which then clears each page of the next step's anew.

    But for LARGE ones, which occur at preset paper's size alone: kept, they leave holes that the next of another size does not fit. Stage 1
    took 10.6 GB there, and 7.7 without them, for 4 % more processor time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)                # other C libraries have none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def resolve_precision(name: str, device: torch.device) -> str:
    """Return fp32 or bf16; auto is bf16 where the hardware computes it faster.

    On a CPU that means AMX, or AVX512-BF16 by AMD: measured on one core, 3x3 convolutions of 64 channels ran at 232 GFLOP/s
    against 116 in fp32 on an EPYC, but at 89 against 165 on a Xeon without AMX.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"       # of this GPU, not of the current one
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = capabilities.get("amx_bf16") or (capabilities.get("avx512_bf16") and str(capabilities.get("cpu_name")).startswith("AMD"))
    return "bf16" if fast else "fp32"


@contextmanager
def with_threads(number: int | None) -> Iterator[None]:
    """Have PyTorch compute with as many threads on the CPU in the block; None: with as many as it has. Another number rounds otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wait_for(device: torch.device) -> None:
    """Return once the device has done what it was given; needed only by what reads a clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@functools.cache
def queue_at(device: torch.device, place: int) -> torch.cuda.Stream:
    """Return a GPU's queue of a place, the same at each call, and no other place's.

    PyTorch has 32 and hands them out in a circle: who asks for one in each run, or in each stage, soon has somebody else's. Two runs on one
    queue wait for each other, and share the memory that cuBLAS keeps for each queue, whose address is part of what was recorded.
    """
    return torch.cuda.Stream(device)


def own_queue(device: torch.device, place: int) -> AbstractContextManager:
    """Return a context, to be entered as often as is wanted, in which a GPU is given work that waits for nothing given outside the queue
    of this place."""
    return torch.cuda.stream(queue_at(device, place)) if device.type == "cuda" else nullcontext()


def autocast(device: torch.device, precision: str):
    """Return the context in which networks run; losses are computed in fp32 outside it.

    It casts the weights to bf16 in each pass. Cast once for both passes of D, their two gradients would be added in bf16, not in fp32.
    """
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
