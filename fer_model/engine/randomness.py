"""Named streams of random numbers, made from a seed. Nothing of ours uses a global generator.

In:  the run's seed, the stream's name, and numbers such as the step.
Out: torch.Generator on the CPU; the same arguments give the same numbers on every machine, device and process count. Where a step needs
     too many to send them to the device, a key of 63 bits, from which `uniform` computes them there, the same bits on every device.
"""

import hashlib
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["drawing_from", "key_of", "stream", "uniform"]

LOW = (1 << 32) - 1


def stream(seed: int, name: str, *numbers: int) -> torch.Generator:
    """Return a fresh generator for (seed, name, numbers), independent of every other such triple.

    >>> a, b = stream(0, "noise", 3), stream(0, "noise", 3)
    >>> bool((torch.rand(4, generator=a) == torch.rand(4, generator=b)).all())
    True
    """
    return torch.Generator().manual_seed(_number(seed, name, *numbers))


def _number(seed: int, name: str, *numbers: int) -> int:
    """Return 63 bits."""
    words = "/".join([str(seed), name, *map(str, numbers)]).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big") >> 1


def key_of(seed: int, name: str, *numbers: int) -> Tensor:
    """Return what `uniform` draws from for (seed, name, numbers): () int64 on the CPU."""
    return torch.tensor(_number(seed, name, *numbers))


def uniform(key: Tensor, rows: range, width: int, place: int = 0) -> Tensor:
    """Return numbers of [0, 1), multiples of 2^-24, (len(rows), width) float32, on the key's device.

    Each is a function of the key () int64, its row, its column, `width` and `place`, where the numbers of one key are used, and of
    nothing else: three rounds of a 32-bit hash (multiply and xor-shift; Wellons, "Prospecting for hash functions", 2018) of the counter
    row * width + column and both halves of the key, in int64, in which none of it overflows.

    >>> whole = uniform(key_of(0, "a"), range(4), 3)
    >>> torch.equal(uniform(key_of(0, "a"), range(2, 4), 3), whole[2:])
    True
    """
    counter = torch.arange(rows.start * width, rows.stop * width, device=key.device)
    mixed = _mixed(_mixed(_mixed((counter & LOW) ^ (key & LOW)) + (key >> 32) & LOW) + place & LOW)
    return (mixed >> 8).float().view(len(rows), width) * 2**-24


def _mixed(x: Tensor) -> Tensor:
    """Return a hash of 32-bit numbers, one to one."""
    x = (x ^ x >> 15) * 0x2C1B3C6D & LOW
    x = (x ^ x >> 12) * 0x297A2D39 & LOW
    return x ^ x >> 15


@contextmanager
def drawing_from(generator: torch.Generator, device: torch.device):
    """Let code that is not ours draw from PyTorch's global generators: seeded from `generator` inside, afterwards as they were before.

    >>> with drawing_from(stream(0, "a"), torch.device("cpu")):
    ...     first = torch.rand(4)
    >>> with drawing_from(stream(0, "a"), torch.device("cpu")):
    ...     bool((torch.rand(4) == first).all())
    True
    """
    seed, on_gpu = int(torch.randint(2**31, (), generator=generator)), device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
