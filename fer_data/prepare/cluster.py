"""Run the pipeline's tasks on a Dask cluster, through the interface of concurrent.futures.Executor.

In:  the address of a scheduler, tcp://HOST:8786, with workers that see the same files and have the same code as here.
Out: an Executor; `width` says how many tasks it runs at once, as workers come and go.

    dask scheduler                                            # on one machine; it says its address
    dask worker tcp://HOST:8786 --nworkers -1 --nthreads 1    # on every machine: a process for each core

A worker computes and hands back, the process that called writes. A lost worker costs its tasks: Dask gives them to others.
Needs the extra [dask]. Whoever reaches a scheduler can run code on its workers: keep it in a network that you trust.
"""

import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import fer_data
from fer_data import __version__
from fer_data.errors import ClusterError, FerError
from fer_data.files import sha256_of_sources

__all__ = ["CONNECT_S", "NO_WORKER_S", "ClusterExecutor", "cluster", "environment"]

CONNECT_S = 10                        # seconds until an address where nothing answers is given up
NO_WORKER_S = 60                      # seconds until a cluster without any worker is given up
_LOOK_S = 1.0                         # between two looks at the workers
_DECIDE = ("numpy", "scikit-image", "av")        # with OpenCV the libraries whose version may decide bytes, beside the backend's
_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^:/\s]+):\d{1,5}")
_one_at_a_time = threading.Lock()     # of a worker's process: detectors keep a state, and its threads would only wait for each other


class ClusterExecutor(Executor):
    """The cluster of a connected client."""

    def __init__(self, client):
        self._client, self._pool = client, client.get_executor(pure=False)
        self._expected = environment()
        self._closing = threading.Event()
        self.given_up = False             # everything was cancelled because no worker was there for NO_WORKER_S
        self.width = len(client.nthreads())       # how many tasks run at once: one in each worker's process
        threading.Thread(target=self._watch, name="cluster-watch", daemon=True).start()

    def submit(self, fn, /, *args, **kwargs) -> Future:
        if self.given_up:
            raise CancelledError
        return self._pool.submit(_on_worker, self._expected, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._closing.set()
        self._pool.shutdown(wait=wait and not cancel_futures)

    def _watch(self) -> None:
        """Count the workers; give up once there has been none for NO_WORKER_S: those who wait for a result see it cancelled."""
        alone_s = 0.0
        while not self._closing.wait(_LOOK_S):
            self.width = len(self._client.nthreads())
            alone_s = 0.0 if self.width else alone_s + _LOOK_S
            if alone_s >= NO_WORKER_S:
                self.given_up = True
                self._pool.shutdown(wait=False)
                return


@contextmanager
def cluster(address: str) -> Iterator[ClusterExecutor]:
    """Yield an executor on the cluster whose scheduler is at `address`; what is outstanding at the end, or at Ctrl-C, is cancelled.

    Raises ClusterError if Dask is not installed, the address is none, nothing answers for CONNECT_S, the scheduler goes away, no
    worker is there for NO_WORKER_S, a worker's code or libraries are not those of here, or one task has taken several workers down.
    """
    doing = f"running on the Dask cluster at {address}"
    if find_spec("distributed") is None:
        raise ClusterError(f"{doing}: the package distributed is missing; install it with: pip install 'fer-degan[dask]'")
    if not _ADDRESS.fullmatch(address):
        raise ClusterError(f"{doing}: the address must be tcp://HOST:PORT or tls://HOST:PORT, not {address!r}")
    from distributed import Client
    from distributed.scheduler import KilledWorker

    with _quiet():
        try:
            client = Client(address, timeout=CONNECT_S, set_as_default=False, name="fer-data")
        except OSError as error:
            way = "start one with `dask scheduler` and give the address that it says"
            raise ClusterError(f"{doing}: no scheduler answered within {CONNECT_S} seconds; {way}") from error
        try:
            look = _look_for_code()
            answers = {"its scheduler, which reads tasks too": client.run_on_scheduler(look)}
            answers |= {f"its worker {where}": why for where, why in client.run(look).items()}
            for where, why in answers.items():
                if why:
                    raise ClusterError(f"{doing}: fer-degan {__version__} must be installed on {where} ({why})")
            executor = ClusterExecutor(client)
            try:
                yield executor
            except CancelledError as error:
                what = f"no worker was there for {NO_WORKER_S} seconds" if executor.given_up else "the scheduler went away"
                raise ClusterError(f"{doing}: {what}; run the same command again to resume") from error
            except KilledWorker as error:
                lost = f"{error.allowed_failures + 1} workers were lost over the same task, the last one at {error.last_worker.address}"
                raise ClusterError(f"{doing}: {lost}; see its log, which may tell of memory") from error
            finally:
                executor.shutdown(cancel_futures=True)
        finally:
            client.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what Dask logs, tracebacks among it: what matters is raised, as one sentence."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.split(".")[0] == "distributed"]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _look_for_code():
    """Return a function that says why a process could not read our tasks, or nothing; as a closure it travels without this module."""

    def look() -> str | None:
        from importlib import import_module

        try:
            import_module("fer_data.prepare.cluster")
        except ImportError as error:
            return str(error)
        return None

    return look


@cache
def environment() -> dict[str, str]:
    """Return what must be the same on a worker as here, for the bytes to be the same: the code and the versions beneath it."""
    import cv2  # its distribution has several names

    code = sha256_of_sources(Path(fer_data.__file__).parent)
    own = {"fer-degan": f"{__version__} (code {code[:12]})", "OpenCV": cv2.__version__}
    return {**own, **{name: _version(name) for name in _DECIDE}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _on_worker(expected: dict[str, str], fn, /, *args, **kwargs):
    """Run a task in a worker, if this is the same code; errors tell which worker it was."""
    from distributed import get_worker

    where = f"on the Dask worker {get_worker().address}"
    for name, here in environment().items():
        if here != expected.get(name):
            raise ClusterError(f"{where}: {name} must be {expected.get(name)}, as in the process that writes, got {here}")
    try:
        with _one_at_a_time:
            return fn(*args, **kwargs)
    except FerError as error:
        raise ClusterError(f"{where}: {error}") from None
    except OSError as error:
        raise ClusterError(f"{where}: {error}; every worker must see the same files under the same path") from None
