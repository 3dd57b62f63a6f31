"""Train several runs at once: each in a process of its own, or on a GPU in turns in this one.

In:  Tasks; a device for each place and threads for each process, or one device and how many take turns.
Out: trained run folders; the lines that each run prints, its name before them; a sentence for each that did not end well.

In turns, a run hands the steps of a tick to the GPU and waits for their losses when all others have handed over theirs. Each place in turns
has a queue of its own there, so that the GPU may do small steps of several runs at once. What each computes is what it computes alone.

A process that fails takes no other with it. All of them leave when this one does, however it ends: each holds the reading
end of a pipe and leaves when the writing end closes. Leaving is safe at any moment, because a run resumes from its last
checkpoint. `python -m fer_model.workers TASK` is what the processes run.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import ClassVar

import torch

from fer_data.errors import FerError
from fer_data.text import counted
from fer_model.config import from_json
from fer_model.data.fold import Prepared
from fer_model.engine import distributed
from fer_model.engine.devices import own_queue, use_device
from fer_model.errors import DivergedError, RunError
from fer_model.job import Job
from fer_model.stages.own_network import allow, allowed

__all__ = ["Several", "Task", "train_here", "train_in_children", "train_in_turns"]

INTERRUPTED = 130                     # exit code of a process whose parent has gone
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Task:
    """One run to train."""

    name: str                         # stands before its lines
    job: Job


@dataclass(frozen=True)
class Several:
    """What a command ends with that trains several runs; its figures are a child's."""

    path: Path                        # the folder for the runs
    passed_over: int                  # runs that were complete before
    failed: tuple[tuple[Path, str], ...]      # runs that are not complete, and why
    doing: ClassVar[str]              # in the sentence of an error, before the folder
    noun: ClassVar[str] = "run"       # what a run is called

    @property
    def headline(self) -> str:
        """The folder, whether all is complete, and what was before; escaped for rich."""
        from rich.markup import escape

        over = f"; {counted(self.passed_over, self.noun)} complete before" if self.passed_over else ""
        return escape(f"{self.path}: {'not complete' if self.failed else 'complete'}{over}")

    def state(self) -> dict:
        """Return what was complete before, and what is not complete now, as JSON holds it."""
        return {"passed_over": self.passed_over, "failed": [{"run": str(run), "why": why} for run, why in self.failed]}

    def refuse_failed(self) -> None:
        """Raise RunError if a run is not complete, naming the first."""
        if self.failed:
            run, why = self.failed[0]
            number = f"{counted(len(self.failed), self.noun)} {'is' if len(self.failed) == 1 else 'are'}"
            raise RunError(f"{self.doing} in {self.path}: {number} not complete, the first is {run} ({why})")


def train_here(task: Task, device: str, say: Callable[[str], None], prepared: Prepared | None = None) -> str:
    """Train a run in this process; return why it is not complete, or nothing. `prepared`: as in train."""
    from fer_model.train import finished

    return finished(_attempt(task, device, say, prepared))


def _attempt(task: Task, device: str, say: Callable[[str], None], prepared: Prepared | None) -> Generator[None, None, str]:
    """Train a run as train.training does; return why it is not complete, or nothing."""
    from fer_model.train import training

    try:
        yield from training(task.job, device, say=say, prepared=prepared)
    except (FerError, OSError, torch.OutOfMemoryError) as error:         # a GPU may be full for one run alone
        if distributed.size() > 1 and not isinstance(error, DivergedError):
            raise                     # the others may not have met it: they would wait for this process in the next run
        return " ".join(str(error).split()) if isinstance(error, torch.OutOfMemoryError) else str(error)      # it has several lines
    return ""


def train_in_turns(
    tasks: Sequence[Task], device: str, at_once: int, say: Callable[[str], None], prepared: Prepared | None = None
) -> list[str]:
    """Train runs in this process, up to `at_once` of them in turns; return for each why it is not complete, or nothing.

    Whatever ends this call early, Ctrl-C included, leaves all of them to be resumed.
    """
    where = use_device(distributed.local_device(device))
    found, waiting = [""] * len(tasks), list(enumerate(tasks))
    free = [own_queue(where, place) for place in reversed(range(min(at_once, len(tasks))))]          # the first place is taken first
    going: dict[int, tuple[Generator, AbstractContextManager]] = {}
    try:
        while waiting or going:
            while waiting and free:
                number, task = waiting.pop(0)
                own = partial(_tell, say, task.name)
                going[number] = _attempt(task, device, own, prepared), free.pop()
            for number, (run, queue) in list(going.items()):
                try:
                    with queue:
                        next(run)
                except StopIteration as end:
                    found[number] = end.value
                    free.append(going.pop(number)[1])
    finally:
        for run, _ in going.values():
            run.close()
    return found


def _tell(say: Callable[[str], None], name: str, line: str) -> None:
    say(f"{name} | {line}")


def train_in_children(tasks: Sequence[Task], devices: Sequence[str], threads: int, say: Callable[[str], None]) -> list[str]:
    """Train runs in child processes, as many at once as there are `devices`; return for each why it is not complete, or nothing.

    Whatever ends this call early, Ctrl-C included, ends the children.
    """
    children = _Children(devices, threads, say)
    with ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(children.train, task) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()


class _Children:
    """The processes that are alive, and the devices that are free."""

    def __init__(self, devices: Sequence[str], threads: int, say: Callable[[str], None]):
        self.threads, self.say = threads, say
        self.lock, self.stopped = threading.Lock(), False
        self.alive: set[subprocess.Popen] = set()
        self.free: SimpleQueue[str] = SimpleQueue()
        for device in devices:
            self.free.put(device)

    def train(self, task: Task) -> str:
        device = self.free.get()
        try:
            with self._start(task, device) as child:
                last = self._listen(task, child)
            return "" if child.returncode == 0 else _why(child.returncode, last)
        finally:
            self.free.put(device)

    def _start(self, task: Task, device: str) -> subprocess.Popen:
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        threads = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        job = {name: value and str(value) for name, value in vars(task.job).items()} | {"config": asdict(task.job.config)}
        words = {"name": task.name, "device": device, "job": job, "code": allowed()}
        with self.lock:
            if self.stopped:
                raise InterruptedError("training in child processes: interrupted")
            child = subprocess.Popen(
                [sys.executable, "-m", "fer_model.workers", json.dumps(words)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,          # Ctrl-C reaches the parent alone, which then stops all
            )
            self.alive.add(child)
        return child

    def _listen(self, task: Task, child: subprocess.Popen) -> str:
        """Pass on what a child prints until it ends; return its last line."""
        last = ""
        for line in child.stdout:
            last = line.strip() or last
            self.say(f"{task.name} | {line.rstrip()}")
        child.wait()
        with self.lock:
            self.alive.discard(child)
        return last

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for child in self.alive:
                child.stdin.close()


def _why(code: int, last: str) -> str:
    if code < 0:
        return f"its process was ended by signal {-code}"
    return "interrupted" if code == INTERRUPTED else last or f"its process ended with exit code {code}"


def _leave_with_parent() -> None:
    while os.read(0, 1):              # nothing is ever written: this returns when the pipe closes
        pass
    os._exit(INTERRUPTED)


def _main(words: str) -> int:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    given = json.loads(words)
    for code in given["code"]:        # that the user named to the parent
        allow(code)
    job = Job(**given["job"] | {"config": from_json(json.dumps(given["job"]["config"]))})
    say = partial(print, flush=True)
    why = train_here(Task(given["name"], job), given["device"], say)
    if why:
        say(why)                      # the last line: what the parent gives as the reason
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
