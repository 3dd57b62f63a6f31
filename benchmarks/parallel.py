"""Whether several processes use the machine better than one: folds beside each other, and one training under torchrun.

In:  nothing; a prepared folder of noise is written. Commands are run as a user runs them, preset small (size tiny: smoke).
Out: bars for table.py.

`crossval --jobs 2` shares the cores out, one thread a fold on two cores; beside it the same two folds one after the other with
all threads, start and end of the commands included. Of torchrun only two processes are seen, a thread each, on the steps of stage 1
after its first tick; they meet over this machine's own memory, so nothing is said of a network.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.bu4dfe import PEOPLE, write_prepared
from benchmarks.table import Bar, compare, run_parts

__all__ = ["parts", "measure", "bars"]

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = {"tiny": 1, "bench": 1, "long": 2}
BUDGETS = ("--kimg-gan", "4.8", "--kimg-head", "2.4")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--")


def parts(size: str) -> tuple[str, ...]:
    """Return what is measured: crossval --jobs 2, and torchrun with two processes unless `make bench` asks."""
    return ("jobs",) if size == "bench" else ("jobs", "torchrun")


def measure(part: str, size: str) -> dict:
    """Return the bar of a part, as JSON holds it."""
    with tempfile.TemporaryDirectory(prefix="bench-parallel-") as folder:
        data, run = write_prepared(Path(folder, "data"), 2, 10 if size == "tiny" else PEOPLE), Path(folder, "run")
        return asdict({"jobs": _jobs, "torchrun": _processes}[part](data, run, size))


def bars(size: str, measured: dict[str, dict]) -> list[Bar]:
    """Return the bars of what was measured."""
    return [Bar(**measured[part]) for part in parts(size)]


def _preset(size: str) -> tuple[str, ...]:
    return ("--preset", "smoke") if size == "tiny" else ("--preset", "small", *BUDGETS)


def _jobs(data: Path, run: Path, size: str) -> Bar:
    words = ("crossval", "--data", data, "--run", run, "--folds", "0,1", "--devices", "cpu", *_preset(size))
    at_once, in_turn = (partial(_fer_model, ("-m",), (*words, "--jobs", jobs)) for jobs in (2, 1))
    return compare("two folds at once, crossval --jobs 2: the time of one after the other over ours", 1.3, at_once, in_turn, 2, "folds",
                   ROUNDS[size], before=partial(shutil.rmtree, run, ignore_errors=True), warm=False)


def _processes(data: Path, run: Path, size: str) -> Bar:
    """Return the bar of two processes over one, a thread each, with one process of two threads beside them."""
    ways = {"two": (TORCHRUN, 1), "one": (("-m",), 1), "threads": (("-m",), 2)}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS[size]):
        for name, (start, threads) in ways.items():
            shutil.rmtree(run, ignore_errors=True)
            _fer_model(start, ("train", "--data", data, "--run", run, "--fold", 0, "--device", "cpu", *_preset(size)), threads)
            lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
            ticks = [line["images_per_s"] for line in lines if line["event"] == "tick" and line["stage"] == "gan"]
            rates[name].append(statistics.median(ticks[1:]))
    ratio = statistics.median(two / one for two, one in zip(rates["two"], rates["one"], strict=True))
    two, one, threads = (statistics.median(rates[name]) for name in ways)
    note = f"two {two:,.0f} images/s; one {one:,.0f} images/s; one of two threads {threads:,.0f} images/s"
    return Bar("stage 1 under torchrun: two processes over one, a thread each", ratio, 1.5, note=note)


def _fer_model(start: tuple[str, ...], words: tuple, threads: int | None = None) -> None:
    """Run fer-model; `threads` for each process, None: as many as it likes."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, *start, "cli.fer_model", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")


if __name__ == "__main__":
    sys.exit(run_parts(parts, measure, bars, __doc__))
