"""Named streams of random numbers, made from a seed. Nothing uses a global generator.

In:  the run's seed, the stream's name, and numbers such as the step.
Out: torch.Generator on the CPU; the same arguments give the same numbers on every machine, device and process count.
"""

import hashlib

import torch

__all__ = ["stream"]


def stream(seed: int, name: str, *numbers: int) -> torch.Generator:
    """Return a fresh generator for (seed, name, numbers), independent of every other such triple.

    >>> a, b = stream(0, "noise", 3), stream(0, "noise", 3)
    >>> bool((torch.rand(4, generator=a) == torch.rand(4, generator=b)).all())
    True
    """
    key = "/".join([str(seed), name, *map(str, numbers)]).encode()
    number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1       # 63 bits
    return torch.Generator().manual_seed(number)
