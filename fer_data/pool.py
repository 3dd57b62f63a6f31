"""Worker processes that always end with the work: when it is done, fails, or is stopped with Ctrl-C.

In:  how many processes; or an Executor that somebody else opened.
Out: a concurrent.futures.Executor.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import cv2

from fer_data.errors import workers_are_watched

__all__ = ["open_pool"]


class _Inline(Executor):
    """Runs each call at once in this process: what one worker needs."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on, as every Executor does
            future.set_exception(error)
        return future


@contextmanager
def open_pool(workers: int, doing: str, again: str, given: Executor | None = None) -> Iterator[Executor]:
    """Yield the given executor, left open; or our own processes, which end with the block, however it ends.

    `doing` and `again` as workers_are_watched has them. Raises WorkerError where a process is ended while it works.
    """
    with workers_are_watched(doing, again):
        if given is not None:
            yield given
            return
        own = _Inline() if workers <= 1 else ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
        try:
            with _ctrl_c_held_back():                                    # a worker that is still importing would answer it with a traceback
                for _ in range(workers):
                    own.submit(int)                                      # each starts one: none is idle yet
            yield own
        except BaseException:
            if isinstance(own, ProcessPoolExecutor):
                own.kill_workers() if hasattr(own, "kill_workers") else _kill(own)  # do not wait for what is under way
            raise
        finally:
            own.shutdown(wait=True, cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    """What ProcessPoolExecutor.kill_workers does from Python 3.14 on."""
    for worker in list((pool._processes or {}).values()):
        worker.kill()


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Have Ctrl-C arrive behind the block, and not at all in processes that are started in it.

    They inherit that it is blocked. Here that is not enough: the system hands it to a thread of OpenBLAS in place of this one, and Python
    raises KeyboardInterrupt in the main thread all the same. A process that is half started then would miss what it is to read.
    """
    arrived, main = [], threading.current_thread() is threading.main_thread()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = signal.signal(signal.SIGINT, lambda *given: arrived.append(given)) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if arrived:
            signal.raise_signal(signal.SIGINT)


def _start_worker() -> None:
    """Leave Ctrl-C to the process that started this one; one thread each, for the workers are the parallelism."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
