"""What the speed benchmarks share: pairs that are measured in turn, bars, one table of all of them.

In:  modules of this folder (MODULES, LONG), each with bars(size) -> list[Bar]; size is one of SIZES.
Out: a Markdown and a JSON table: machine, versions, and for each bar its name, what was measured, what is demanded; exit code 1
     if a bar does not hold or a module fails.

    python -m benchmarks.table                                   # all of MODULES, as `make bench` has them; of LONG too in size long
    python -m benchmarks.table --size long --only prepare        # the long ones of one module
    python -m benchmarks.views --size tiny                       # one module by itself

A module is a process of its own, so that none finds memory, threads or caches as another left them; ours and its rival run in
that same process, in turn, so that both meet the same machine. A module reads:

    def bars(size: str) -> list[Bar]:
        with threads(1):
            return [compare("110 grey views: PIL's time over ours", 3.5, ours, rival, amount=110 * 20, unit="views")]

    if __name__ == "__main__":
        sys.exit(run_module(bars, __doc__))
"""

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["SIZES", "MODULES", "LONG", "LIBRARIES", "Bar", "Pair", "pairs", "compare", "threads", "machine", "versions", "markdown",
           "content", "run_module"]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("tiny", "bench", "long")     # tiny: whether the code runs; its numbers mean nothing
MODULES = ("prepare", "views", "feeding", "training")        # in the order of the table
LONG = ("bu4dfe", "parallel", "precision")                   # of size long alone, after those
LIBRARIES = ("numpy", "opencv-python", "torch", "dlib-bin", "scikit-image", "pillow", "h5py")


@dataclass(frozen=True)
class Bar:
    """One line of the table: what was measured, and what is demanded of it."""

    name: str                         # what is compared with what
    measured: float                   # a ratio where `unit` is "x", else a figure in that unit
    bar: float                        # at least this; with `most`: at most this
    unit: str = "x"
    most: bool = False
    note: str = ""                    # the figures behind a ratio, or a limit to be read beside it

    @property
    def holds(self) -> bool:
        """Whether the bar is met; what is not a number meets none."""
        return self.measured <= self.bar if self.most else self.measured >= self.bar


@dataclass(frozen=True)
class Pair:
    """Seconds of two ways to do the same, measured in turn."""

    ours: tuple[float, ...]
    rival: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times ours is as fast: the median over the pairs, for both of a pair met the same machine."""
        return statistics.median(rival / ours for ours, rival in zip(self.ours, self.rival, strict=True))


def pairs(ours: Callable[[], object], rival: Callable[[], object], rounds: int = 5, before: Callable[[], object] = lambda: None) -> Pair:
    """Return the seconds of `rounds` calls of each, in turn, the first place changing; `before` runs unmeasured before each call.

    One call of each comes first and does not count: imports, caches and pages are warm for both.
    """
    seconds: dict[str, list[float]] = {"ours": [], "rival": []}
    calls = [("ours", ours), ("rival", rival)]
    for _, call in calls:
        before()
        call()
    for number in range(rounds):
        for name, call in calls if number % 2 == 0 else calls[::-1]:
            before()
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return Pair(tuple(seconds["ours"]), tuple(seconds["rival"]))


def compare(name: str, bar: float, ours: Callable, rival: Callable, amount: float, unit: str, rounds: int = 5, before=lambda: None) -> Bar:
    """Return the bar of ours against a rival's way to do `amount` units of the same; the note has both speeds."""
    measured = pairs(ours, rival, rounds, before)
    speeds = [amount / statistics.median(one) for one in (measured.ours, measured.rival)]
    note = "; ".join(f"{who} {speed:,.{_digits(speed)}f} {unit}/s" for who, speed in zip(("ours", "rival"), speeds, strict=True))
    return Bar(name, measured.ratio, bar, note=note)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Hold this process to `number` cores, and OpenCV, torch, BLAS and OpenMP to as many threads; import libraries before."""
    from threadpoolctl import threadpool_limits

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[-number:])
    libraries = [(sys.modules[name], set_, get) for name, set_, get in _COUNTED if name in sys.modules]
    before = [getattr(library, get)() for library, _, get in libraries]
    try:
        for library, set_, _ in libraries:
            getattr(library, set_)(number)
        with threadpool_limits(number):
            yield
    finally:
        for (library, set_, _), count in zip(libraries, before, strict=True):
            getattr(library, set_)(count)
        os.sched_setaffinity(0, cores)


_COUNTED = (("cv2", "setNumThreads", "getNumThreads"), ("torch", "set_num_threads", "get_num_threads"))


def machine() -> dict:
    """Return what the figures were measured on, and how busy it was just then."""
    return {
        "processor": _of_proc("cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(), "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_of_proc("meminfo", r"MemTotal:\s*(\d+)") or 0) * 1.024e-6, 1), "system": platform.system(),
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are measured, ours or a rival's."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def content(bars: list[Bar], size: str, on: dict) -> dict:
    """Return the table as it is written to JSON; `on` is machine() as it was before anything ran."""
    return {"size": size, "machine": on, "versions": versions(), "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars]}


def markdown(table: dict) -> str:
    """Return content() as Markdown.

    >>> bar = Bar("110 views: PIL's time over ours", 4.214, 3.5, note="ours 31,000 views/s; rival 7,400 views/s")
    >>> print(markdown(content([bar], "bench", {"cores": 2, "load": 0.1})).splitlines()[-1])
    | 110 views: PIL's time over ours | 4.21 x | at least 3.5 x | yes | ours 31,000 views/s; rival 7,400 views/s |
    """
    tiny = ["", "Size tiny: whether the code runs; the figures mean nothing."] if table["size"] == "tiny" else []
    lines = [
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table["machine"].items()) + ".",
        ", ".join(f"{name} {value}" for name, value in table["versions"].items()) + ".", *tiny, "",
        "| what | measured | bar | holds | |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for bar in table["bars"]:
        demanded = f"at {'most' if bar['most'] else 'least'} {bar['bar']:,g} {bar['unit']}"
        measured = f"{bar['measured']:,.{_digits(bar['measured'])}f} {bar['unit']}"
        lines.append(f"| {bar['name']} | {measured} | {demanded} | {'yes' if bar['holds'] else '**no**'} | {bar['note']} |")
    return "\n".join(lines)


def run_module(bars: Callable[[str], list[Bar]], about: str, words: list[str] | None = None) -> int:
    """Run the bars of one module as its command line asks; print them, or write them as JSON; 1 if one does not hold."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="bench")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table here in place of printing it")
    options = parser.parse_args(words)
    on = machine()
    table = content(bars(options.size), options.size, on)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")
    else:
        print(markdown(table))
    return 0 if all(bar["holds"] for bar in table["bars"]) else 1


def _digits(value: float) -> int:
    """Return how many decimals show three figures of a number."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value and math.isfinite(value) and abs(value) < 100 else 0


def _of_proc(name: str, pattern: str) -> str | None:
    """Return the first group of a pattern in a file of /proc."""
    found = re.search(pattern, Path("/proc", name).read_text())
    return found[1] if found else None


def _run_all(modules: Sequence[str], size: str) -> tuple[list[dict], list[str]]:
    """Run each module in a process of its own; return the lines of the table, and the modules that failed."""
    rows, failed = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in modules:
            began, file = time.monotonic(), Path(folder, f"{name}.json")
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--size", size, "--json", str(file)], cwd=ROOT)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            if file.is_file():
                rows += json.loads(file.read_text())["bars"]
            else:
                failed.append(name)
    return rows, failed


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="measure the speed of everything against its rivals: one table")
    parser.add_argument("--size", choices=SIZES, default="bench")
    every = (*MODULES, *LONG)
    parser.add_argument("--only", nargs="+", choices=every, metavar="MODULE", help=f"of {', '.join(every)}")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write FILE.md and FILE.json")
    options = parser.parse_args(words)
    table = {"size": options.size, "machine": machine(), "versions": versions(), "bars": []}
    modules = options.only or (every if options.size == "long" else MODULES)
    table["bars"], failed = _run_all(modules, options.size)
    print(markdown(table))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.with_suffix(".md").write_text(markdown(table) + "\n")
        options.write.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n")
    missed = [bar["name"] for bar in table["bars"] if not bar["holds"]]
    complaints = [f"failed: {name}" for name in failed] + [f"does not hold: {name}" for name in missed]
    print("\n".join(["", *complaints]) if complaints else "\nall bars hold")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
