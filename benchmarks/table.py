"""What the speed benchmarks share: pairs that are measured in turn, bars, one table of all of them.

In:  modules of this folder (MODULES, LONG), each with bars(size) -> list[Bar]; size is one of SIZES.
Out: a Markdown and a JSON table: machine, versions, and for each bar its name, what was measured, what is demanded; exit code 1
     if a bar does not hold or a module fails.

    python -m benchmarks.table                                   # all of MODULES, as `make bench` has them; of LONG too in size long
    python -m benchmarks.table --size long --only prepare        # the long ones of one module
    python -m benchmarks.table --runs 3                          # each module three times: the worst of each line, all in its note
    python -m benchmarks.table --size long --write F --resume    # goes on where it was interrupted: no part is run twice
    python -m benchmarks.views --size tiny                       # one module by itself
    python -m benchmarks.growth --size long --part virtual-1000  # one part of it; --parts lists them

With {processor} in its name, FILE is one for each kind of processor: speed-{processor} becomes speed-amx where there is AMX. Bars may
differ between kinds, and a ratio that holds with AMX alone says so.

A module is a process of its own, so that none finds memory, threads or caches as another left them; ours and its rival run in
that same process, in turn, so that both meet the same machine. One that takes long has parts, of at most 25 minutes each at size
long: parts(size) lists them, measure(part, size) gives what JSON can hold, and bars(size, measured) makes bars of all of that. A
module without parts reads:

    def bars(size: str) -> list[Bar]:
        with threads(1):
            return [compare("110 grey views: PIL's time over ours", 3.5, ours, rival, amount=110 * 20, unit="views")]

    if __name__ == "__main__":
        sys.exit(run_module(bars, __doc__))
"""

import argparse
import hashlib
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["SIZES", "MODULES", "LONG", "LIBRARIES", "Bar", "Pair", "pairs", "compare", "threads", "machine", "processor", "versions",
           "markdown", "content", "worst", "run_module", "run_parts"]

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("tiny", "bench", "long")     # tiny: whether the code runs; its numbers mean nothing
MODULES = ("startup", "prepare", "views", "feeding", "training", "parallel", "waits")        # in the order of the table
LONG = ("growth", "clips", "bu4dfe", "precision", "demo")                           # of size long alone, after those
_ALL = "all"                          # the part of a module that has no parts
# Kinds of processors, the fastest first: flag in /proc/cpuinfo -> name
_KINDS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "avx512f": "AVX-512", "avx2": "AVX2"}
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


def pairs(
    ours: Callable[[], object], rival: Callable[[], object], rounds: int = 5, before: Callable[[], object] = lambda: None,
    warm: bool = True,
) -> Pair:
    """Return the seconds of `rounds` calls of each, in turn, the first place changing; `before` runs unmeasured before each call.

    One call of each comes first and does not count: imports, caches and pages are warm for both. Not `warm`: none does, as for
    commands of minutes, which begin anew each time.
    """
    seconds: dict[str, list[float]] = {"ours": [], "rival": []}
    calls = [("ours", ours), ("rival", rival)]
    for _, call in calls if warm else ():
        before()
        call()
    for number in range(rounds):
        for name, call in calls if number % 2 == 0 else calls[::-1]:
            before()
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return Pair(tuple(seconds["ours"]), tuple(seconds["rival"]))


def compare(
    name: str, bar: float, ours: Callable, rival: Callable, amount: float, unit: str, rounds: int = 5, before=lambda: None,
    warm: bool = True,
) -> Bar:
    """Return the bar of ours against a rival's way to do `amount` units of the same; the note has both speeds."""
    measured = pairs(ours, rival, rounds, before, warm)
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
        "processor": _of_proc("cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(), "units": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_of_proc("meminfo", r"MemTotal:\s*(\d+)") or 0) * 1.024e-6, 1), "system": platform.system(),
        "load": round(os.getloadavg()[0], 1),
    }


def processor() -> str:
    """Return the fastest that the processor multiplies with: a ratio may hold on one kind and not on another.

    Where ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA hold torch to AVX2, that is the kind.
    """
    flags = (_of_proc("cpuinfo", r"flags\s*:\s*(.+)") or "").split()
    held = os.environ.get("ATEN_CPU_CAPABILITY") == "avx2" and os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2"
    return "AVX2" if held and "avx2" in flags else next((name for flag, name in _KINDS.items() if flag in flags), "unknown")


def versions() -> dict[str, str]:
    """Return a hash of our code, and the versions of Python and of the libraries that are measured, ours or a rival's."""
    found = {"code": _code(), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def worst(runs: list[list[dict]]) -> list[dict]:
    """Return the lines of a module that ran several times: of each the worst, with all figures in its note."""
    if len(runs) == 1:
        return runs[0]
    lines = []
    for rows in zip(*runs, strict=True):
        figures = [row["measured"] for row in rows]
        line = rows[figures.index((max if rows[0]["most"] else min)(figures))]
        shown = ", ".join(f"{figure:,.{_digits(figure)}f}" for figure in figures)
        lines.append({**line, "note": "; ".join(filter(None, [line["note"], f"{len(runs)} runs: {shown}"]))})
    return lines


def content(bars: list[Bar], size: str, on: dict) -> dict:
    """Return the table as it is written to JSON; `on` is machine() as it was before anything ran."""
    return {"size": size, "machine": on, "versions": versions(), "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars]}


def markdown(table: dict) -> str:
    """Return content() as Markdown.

    >>> bar = Bar("110 views: PIL's time over ours", 4.214, 3.5, note="ours 31,000 views/s; rival 7,400 views/s")
    >>> print(markdown(content([bar], "bench", {"units": "AMX", "load": 0.1})).splitlines()[-1])
    | 110 views: PIL's time over ours | 4.21 x | at least 3.5 x | yes | AMX | ours 31,000 views/s; rival 7,400 views/s |
    """
    tiny = ["", "Size tiny: whether the code runs; the figures mean nothing."] if table["size"] == "tiny" else []
    lines = [
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table["machine"].items()) + ".",
        ", ".join(f"{name} {value}" for name, value in table["versions"].items()) + ".", *tiny, "",
        "| what | measured | bar | holds | with | |", "|---|---|---|---|---|---|",
    ]
    for bar in table["bars"]:
        demanded = f"at {'most' if bar['most'] else 'least'} {bar['bar']:,g} {bar['unit']}"
        measured = f"{bar['measured']:,.{_digits(bar['measured'])}f} {bar['unit']}"
        cells = bar["name"], measured, demanded, "yes" if bar["holds"] else "**no**", table["machine"].get("units", ""), bar["note"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def run_module(bars: Callable[[str], list[Bar]], about: str, words: list[str] | None = None) -> int:
    """Run the bars of a module without parts as its command line asks; print them, or write them as JSON; 1 if one does not hold."""
    def measure(part: str, size: str) -> list[dict]:
        return [asdict(bar) for bar in bars(size)]

    def of(size: str, measured: dict[str, list[dict]]) -> list[Bar]:
        return [Bar(**one) for one in measured[_ALL]]

    return run_parts(lambda size: (_ALL,), measure, of, about, words)


def run_parts(
    parts: Callable[[str], tuple[str, ...]], measure: Callable[[str, str], object], bars: Callable[[str, dict], list[Bar]], about: str,
    words: list[str] | None = None,
) -> int:
    """Run a module with parts as its command line asks: all of it, or list the parts, measure one, or make bars of what was measured."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="bench")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is found here in place of printing it")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--parts", action="store_true", help="list the parts")
    only.add_argument("--part", metavar="NAME", help="measure one part alone")
    only.add_argument("--measured", type=Path, metavar="FILE", help="make the table of what parts gave: JSON, name -> that")
    options = parser.parse_args(words)
    on, names = machine(), parts(options.size)
    if options.part not in (None, *names):
        parser.error(f"--part {options.part}: the parts of size {options.size} are {', '.join(names)}")
    if options.parts or options.part:
        found = list(names) if options.parts else measure(options.part, options.size)
        _give(json.dumps(found, indent=1) + "\n", options.json)
        return 0
    given = json.loads(options.measured.read_text()) if options.measured else {}
    measured = {name: given[name] if name in given else measure(name, options.size) for name in names}
    table = content(bars(options.size, measured), options.size, on)
    _give(json.dumps(table, indent=1) + "\n" if options.json else markdown(table) + "\n", options.json)
    return 0 if all(bar["holds"] for bar in table["bars"]) else 1


def _give(text: str, to: Path | None) -> None:
    if to:
        to.write_text(text)
    else:
        print(text, end="")


def _digits(value: float) -> int:
    """Return how many decimals show three figures of a number."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value and math.isfinite(value) and abs(value) < 100 else 0


def _of_proc(name: str, pattern: str) -> str | None:
    """Return the first group of a pattern in a file of /proc."""
    found = re.search(pattern, Path("/proc", name).read_text())
    return found[1] if found else None


def _code() -> str:
    """Return a hash of what is measured and of what measures it."""
    code = hashlib.sha256()
    for package in ("benchmarks", "fer_data", "fer_model"):
        for path in sorted((ROOT / package).rglob("*.py")):
            code.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return code.hexdigest()[:12]


def _asked(module: str, size: str, *words: str | Path) -> object | None:
    """Run a module in a process of its own; return the JSON that it gave, or None if it failed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder, f"{module}.json")
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}", "--size", size, *map(str, words), "--json", str(file)], cwd=ROOT)
        return json.loads(file.read_text()) if file.is_file() else None


def _run(module: str, size: str, measured: dict, keep: Callable[[], None]) -> list[dict] | None:
    """Run the parts of a module that are not in `measured` yet, and return its lines, or None if it failed."""
    names = _asked(module, size, "--parts")
    for name in names or ():
        if name in measured:
            print(f"{module}, {name}: measured before", file=sys.stderr)
            continue
        began, found = time.monotonic(), _asked(module, size, "--part", name)
        print(f"{module}{'' if name == _ALL else f', {name}'}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if found is None:
            return None
        measured[name] = found
        keep()
    if names is None:
        return None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        given = Path(folder, "measured.json")
        given.write_text(json.dumps(measured))
        table = _asked(module, size, "--measured", given)
    return None if table is None else table["bars"]


def _joined(table: dict, lines: dict[str, list[dict]], parts: dict) -> dict:
    bars = [row for module in (*MODULES, *LONG) for row in lines.get(module, ())]
    return {**table, "bars": bars, "parts": {key: measured for key, measured in parts.items() if measured}}


def _write(table: dict, to: Path | None) -> None:
    if to is None:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    to.with_suffix(".md").write_text(markdown(table) + "\n")
    to.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n")


def _there(table: dict, file: Path) -> tuple[dict[str, list[dict]], dict]:
    """Return (module -> lines, module -> what its parts measured) that `file` has of the same size, machine, versions and code."""
    before = json.loads(file.read_text()) if file.is_file() else {}
    if not all(_unloaded(before.get(name)) == _unloaded(table[name]) for name in ("size", "machine", "versions")):
        return {}, {}
    lines: dict[str, list[dict]] = {}
    for row in before["bars"]:
        lines.setdefault(row["module"], []).append(row)
    return lines, before.get("parts", {})


def _unloaded(value):
    return {**value, "load": None} if isinstance(value, dict) else value


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="measure the speed of everything against its rivals: one table")
    parser.add_argument("--size", choices=SIZES, default="bench")
    every = (*MODULES, *LONG)
    parser.add_argument("--only", nargs="+", choices=every, metavar="MODULE", help=f"of {', '.join(every)}")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="run each module N times: the worst of each line counts")
    parser.add_argument("--write", metavar="FILE", help="write FILE.md and FILE.json, anew after each part; {processor}: its kind")
    parser.add_argument("--resume", action="store_true", help="keep what FILE has of this size, machine, code and versions")
    options = parser.parse_args(words)
    if options.resume and not options.write:
        parser.error("--resume needs --write FILE")
    to = Path(options.write.replace("{processor}", processor().lower().replace(" ", "-"))) if options.write else None
    table = {"size": options.size, "machine": machine(), "versions": versions()}
    lines, parts = _there(table, to.with_suffix(".json")) if options.resume else ({}, {})
    failed = []

    def keep() -> None:
        """Write what is there so far."""
        _write(_joined(table, lines, parts), to)

    for module in options.only or (every if options.size == "long" else MODULES):
        if module in lines:
            print(f"{module}: as in {to}.json", file=sys.stderr)
            continue
        runs = [_run(module, options.size, parts.setdefault(f"{module} {number}", {}), keep) for number in range(options.runs)]
        if None in runs:
            failed.append(module)
            continue
        lines[module] = [{"module": module, **row} for row in worst(runs)]
        keep()
    whole = _joined(table, lines, parts)
    print(markdown(whole))
    missed = [bar["name"] for bar in whole["bars"] if not bar["holds"]]
    complaints = [f"failed: {name}" for name in failed] + [f"does not hold: {name}" for name in missed]
    print("\n".join(["", *complaints]) if complaints else "\nall bars hold")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
