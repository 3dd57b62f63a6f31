"""Whether several processes use the machine better than one: folds beside each other, and one training under torchrun.

In:  nothing; a prepared folder of noise is written. Commands are run as a user runs them, preset small (size tiny: smoke).
Out: bars for table.py.

`crossval --jobs 2` shares the cores out, one thread a fold on two cores; beside it the same two folds one after the other with
all threads, start and end of the commands included: one pair, which takes a quarter of an hour on AVX2. Of torchrun only two
processes are seen, a thread each, on the steps of stage 1 after its first tick; they meet over this machine's own memory, so nothing
is said of a network.
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
BUDGETS = ("--kimg-gan", "4.8", "--kimg-head", "2.4")
TICKS = ("--kimg-gan", "2.88", "--set", "gan.tick_steps=40", "--kimg-head", "0.048", "--set", "judges.kimg=0.048")   # three, of stage 1
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--")


def parts(size: str) -> tuple[str, ...]:
    """Return what is measured: crossval --jobs 2, and torchrun with two processes unless `make bench` asks."""
    return ("jobs",) if size == "bench" else ("jobs", "torchrun")


def measure(part: str, size: str) -> dict:
    """Return the bar of a part, as JSON holds it."""
    with tempfile.TemporaryDirectory(prefix="bench-parallel-") as folder:
        data, run = write_prepared(Path(folder, "data"), 2, 10 if size == "tiny" else PEOPLE), Path(folder, "run")
        return asdict({"jobs": _jobs, "torchrun": _processes}[part](data, run, size == "tiny"))


def bars(size: str, measured: dict[str, dict]) -> list[Bar]:
    """Return the bars of what was measured."""
    return [Bar(**measured[part]) for part in parts(size)]


def _preset(tiny: bool, budgets: tuple[str, ...]) -> tuple[str, ...]:
    return ("--preset", "smoke") if tiny else ("--preset", "small", *budgets)


def _jobs(data: Path, run: Path, tiny: bool) -> Bar:
    words = ("crossval", "--data", data, "--run", run, "--folds", "0,1", "--devices", "cpu", *_preset(tiny, BUDGETS))
    at_once, in_turn = (partial(_fer_model, ("-m",), (*words, "--jobs", jobs)) for jobs in (2, 1))
    return compare("two folds at once, crossval --jobs 2: the time of one after the other over ours", 1.3, at_once, in_turn, 2, "folds",
                   rounds=1, before=partial(shutil.rmtree, run, ignore_errors=True), warm=False)


def _processes(data: Path, run: Path, tiny: bool) -> Bar:
    """Return the bar of two processes over one, a thread each, with one process of two threads beside them."""
    ways = {"two": (TORCHRUN, 1), "one": (("-m",), 1), "threads": (("-m",), 2)}
    rates = {}
    for name, (start, threads) in ways.items():
        shutil.rmtree(run, ignore_errors=True)
        _fer_model(start, ("train", "--data", data, "--run", run, "--fold", 0, "--device", "cpu", *_preset(tiny, TICKS)), threads)
        lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
        ticks = [line["images_per_s"] for line in lines if line["event"] == "tick" and line["stage"] == "gan"]
        rates[name] = statistics.median(ticks[1:])
    note = f"two {rates['two']:,.0f} images/s; one {rates['one']:,.0f} images/s; one of two threads {rates['threads']:,.0f} images/s"
    return Bar("stage 1 under torchrun: two processes over one, a thread each", rates["two"] / rates["one"], 1.5, note=note)


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
