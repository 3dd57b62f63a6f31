"""Train one run in several processes under torchrun: parts of a batch, averages over all processes.

In:  the environment that `torchrun --nproc-per-node N` sets; nothing without it.
Out: functions that do nothing in a run of one process. The processes join once and stay together to their end: several runs, one
     after another, share one group, because a second group of the same torchrun waits for ever.

Every process draws the whole batch of a step from (seed, stage, step) and works on its own part; gradients are averaged. As the
parts are equally large, that is the gradient of the whole batch, up to BN: on GPUs it is SyncBatchNorm, which PyTorch does not
have for CPUs, so there each process normalises with its own part.
"""

import atexit
import os
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fer_data.text import either
from fer_model.errors import ConfigError

__all__ = [
    "asked_size", "average_", "by_torchrun", "first_one_first", "is_first", "join", "local_device", "part", "rank", "same_norms", "size",
    "wait",
]

PATIENCE = timedelta(days=1)          # others wait while the first one predicts and evaluates; torchrun notices who has died
PLAIN_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
TORCHRUN_SETS = ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")       # and RANK


def size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def asked_size() -> int:
    """Return how many processes torchrun started, whether they have joined or not; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1)) if by_torchrun() else 1


def rank() -> int:
    """Return this process's number among them, from 0; torchrun has said it before they have joined."""
    return int(os.environ.get("RANK", 0))


def is_first() -> bool:
    """Return whether this is the process that writes."""
    return rank() == 0


def by_torchrun() -> bool:
    """Return whether torchrun started this process, or something that sets RANK as it does."""
    return "RANK" in os.environ


def local_device(name: str) -> str:
    """Return the device of this process: under torchrun `auto` and `cuda` mean the GPU of its local rank.

    Raises ConfigError if several processes would share one GPU.
    """
    local = os.environ.get("LOCAL_RANK")
    if name.startswith("cuda:") and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:
        raise ConfigError(f"training under torchrun: all processes of this machine would share {name}; use --device cuda, a GPU for each")
    if local is None or name == "cpu" or not torch.cuda.is_available():
        return name
    return f"cuda:{local}" if name in ("auto", "cuda") else name


def join(device: torch.device) -> None:
    """Join the processes that torchrun started, if that was not done before; nothing without torchrun.

    Raises ConfigError if a part of what torchrun sets is missing.
    """
    if not by_torchrun() or dist.is_initialized():
        return
    missing = [name for name in TORCHRUN_SETS if name not in os.environ]
    if missing:
        raise ConfigError(
            f"joining the processes of a training: torchrun sets RANK, {', '.join(TORCHRUN_SETS)}; here RANK is"
            f" {os.environ['RANK']!r} and {missing[0]} is not set; start with torchrun, or without RANK"
        )
    on_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE, device_id=device if on_gpu else None)
    atexit.register(dist.destroy_process_group)


def part(batch: Tensor) -> Tensor:
    """Return this process's part of a batch of all: equally large pieces, in the order of the ranks.

    Raises ConfigError if the batch does not divide.
    """
    if size() == 1:
        return batch
    if len(batch) % size():
        raise ConfigError(f"{size()} processes cannot share a batch of {len(batch)}; choose a batch that is a multiple of {size()}")
    each = len(batch) // size()
    return batch[rank() * each : (rank() + 1) * each]


def wait() -> None:
    """Go on once all processes are here."""
    if size() > 1:
        dist.barrier()


def average_(tensors: Iterable[Tensor]) -> None:
    """Replace floating-point tensors by their mean over all processes, in place, in one exchange a data type."""
    if size() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.is_floating_point():
            by_type.setdefault(tensor.dtype, []).append(tensor)
    for group in by_type.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        dist.all_reduce(flat)
        flat /= size()
        for tensor, mean in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(mean.view_as(tensor))


@contextmanager
def first_one_first():
    """Let the first process do the block before the others: it writes what they then read."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def same_norms(network: nn.Module, device: torch.device, ours: tuple[type[nn.Module], ...] = ()) -> nn.Module:
    """Return the network with BN over the batch of all processes, where there are several and PyTorch can: on GPUs.

    `ours`: further classes of layers that are BN and nothing else. timm's BN with an activation keeps it.
    Raises ConfigError for another class that is made of BN: what it does besides would be left out in silence.
    """
    if size() == 1 or device.type != "cuda":
        return network
    layers = sys.modules.get("timm.layers")                              # a network that holds what is timm's has imported it
    theirs = (layers.BatchNormAct2d,) if layers else ()
    norms = {name: one for name, one in network.named_modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)}
    for name, one in norms.items():
        if type(one) not in (*PLAIN_NORMS, *ours, *theirs):
            raise ConfigError(
                f"training in {size()} processes on GPUs: layer {name or '(the network itself)'} is a {type(one).__name__}, and"
                " torch.nn.SyncBatchNorm, which would take its place, does not do what that class adds to BN; use"
                f" {either([f'nn.{kind.__name__}' for kind in PLAIN_NORMS[:3]])} there, or train in one process"
            )
    of_timm = any(type(one) in theirs for one in norms.values())
    return (layers if of_timm else nn.SyncBatchNorm).convert_sync_batchnorm(network)
