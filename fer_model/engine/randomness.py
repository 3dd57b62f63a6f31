"""Named streams of random numbers, made from a seed. Nothing of ours uses a global generator.

In:  the run's seed, the stream's name, and numbers such as the step.
Out: torch.Generator on the CPU; the same arguments give the same numbers on every machine, device and process count.
"""

import hashlib
from contextlib import contextmanager

import torch

__all__ = ["drawing_from", "stream"]


def stream(seed: int, name: str, *numbers: int) -> torch.Generator:
    """Return a fresh generator for (seed, name, numbers), independent of every other such triple.

    >>> a, b = stream(0, "noise", 3), stream(0, "noise", 3)
    >>> bool((torch.rand(4, generator=a) == torch.rand(4, generator=b)).all())
    True
    """
    key = "/".join([str(seed), name, *map(str, numbers)]).encode()
    number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1       # 63 bits
    return torch.Generator().manual_seed(number)


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
