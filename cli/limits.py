"""Tell a lack of memory as what it is. Libraries answer it with a traceback, a crash, or a signal that looks like Ctrl-C.

In:  the limits of this process (ulimit -v, ulimit -u), what a command raised.
Out: MemoryLimitError, one sentence.

OpenBLAS, which numpy, SciPy and OpenCV bring, starts its threads while it is loaded. Where one cannot be started it prints a few
lines and sends SIGINT to its own process (`raise(SIGINT)` in blas_server.c). So SIGINT waits while a library is loaded, and
afterwards the kernel says who sent it.
"""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader

from fer_data.errors import FerError

__all__ = ["LEAST_BYTES", "MemoryLimitError", "as_sentence", "check_limits", "libraries_are_watched"]

LEAST_BYTES = 768 << 20               # of address space: with 2 cores OpenCV crashes below 480 MB, and PyArrow hangs at 520 MB
# How libraries say it, in errors of other kinds than MemoryError: the loader of shared libraries, Python's threads, PyTorch.
_SAID = (
    "failed to map segment", "cannot allocate memory", "can't start new thread", "can't allocate memory", "std::bad_alloc", "out of memory",
)


class MemoryLimitError(FerError):
    """There is not enough memory, address space or room for threads to work."""


def check_limits() -> None:
    """Raise MemoryLimitError if this process may take so little address space that libraries cannot be loaded."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_BYTES:
        raise MemoryLimitError(f"at least {LEAST_BYTES >> 20} MB of address space are needed{_limit()}; set a higher one with ulimit -v")


def as_sentence(error: BaseException) -> MemoryLimitError | None:
    """Return what to tell of an error that is a lack of memory; None for any other error."""
    text = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and not any(said in text.lower() for said in _SAID):
        return None
    detail = f" ({text})" if text else ""
    fewer = ", run fewer at once (--jobs)" if "cuda" in text.lower() else ""
    what_to_do = f"end other programs{fewer}, or run this on a machine with more memory"
    return MemoryLimitError(f"there is not enough memory{detail}{_limit()}; {what_to_do}")


@contextmanager
def libraries_are_watched() -> Iterator[None]:
    """Raise MemoryLimitError in the block where a library that is loaded sends SIGINT to this process; Ctrl-C stays Ctrl-C."""
    if not hasattr(signal, "sigtimedwait"):                              # macOS cannot say who sent a signal
        yield
        return
    load = ExtensionFileLoader.create_module

    def load_watched(loader, spec):
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        sent = None
        try:
            return load(loader, spec)
        finally:
            if signal.SIGINT not in held and signal.SIGINT in signal.sigpending():
                sent = signal.sigtimedwait({signal.SIGINT}, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            if sent is not None:
                raise _threads_of(spec.name.partition(".")[0]) if sent.si_pid == os.getpid() else KeyboardInterrupt

    ExtensionFileLoader.create_module = load_watched
    try:
        yield
    finally:
        ExtensionFileLoader.create_module = load


def _threads_of(library: str) -> MemoryLimitError:
    what_to_do = "raise the limits of memory and of processes (ulimit -v, ulimit -u), or set OPENBLAS_NUM_THREADS=1"
    return MemoryLimitError(f"the threads of {library} cannot be started{_limit()}; {what_to_do}")


def _limit() -> str:
    """Return `, the limit is 400 MB` where there is one."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return "" if limit == resource.RLIM_INFINITY else f", the limit is {limit / 2**20:,.0f} MB"
