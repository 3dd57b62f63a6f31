"""What `fer-data prepare` costs for more frames, up to 60,600 as BU-4DFE has them: whether memory grows, and time more than in proportion.

In:  nothing; a few pictures are drawn, and copied until there are enough. Each copy is a file of other bytes (a comment of
     its own), so that no frame is found in the cache. Two workers; up to 17 GB of temporary disk for stored views.
Out: bars for table.py.

The peak is VmHWM of /proc, the most that was resident since a process began its program, of the process that writes and of its
largest worker. ru_maxrss would not do: a worker inherits the figure of the process that started it.
"""

import re
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from benchmarks.table import Bar, run_parts
from fer_data.synthetic.oulu_casia import write_oulu

__all__ = ["write_tree", "run_prepare", "watched", "growth", "parts", "measure", "bars"]

ROOT = Path(__file__).resolve().parents[1]
FRAMES = {
    "stored": {"tiny": (20, 40, 60), "bench": (100, 1000, 2000), "long": (1000, 4000, 16_000)},
    "virtual": {"tiny": (20, 40, 60), "bench": (100, 1000, 2000), "long": (1000, 4000, 16_000, 60_600)},
}
LEEWAY = 1.1                          # of memory that does not grow, and of cost in proportion
SEQUENCE = 10                         # frames of each
PATTERN = "{subject}/{sequence}/{frame}_{expression}.jpeg"
_WORDS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_EVERY = 0.02                         # seconds between two looks


def write_tree(root: Path, frames: int, drawn: list[bytes]) -> None:
    """Write `frames` JPEGs for `fer-data prepare folder`, sequences of SEQUENCE frames, ten sequences a person."""
    for number, picture in enumerate(islice(cycle(drawn), frames)):
        sequence = number // SEQUENCE
        expression = _WORDS[sequence % len(_WORDS)]
        folder = root / f"p{sequence % max(2, frames // (10 * SEQUENCE)):03d}" / f"{sequence:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number % SEQUENCE:03d}_{expression}.jpeg").write_bytes(_with_comment(picture, str(number).encode()))


def run_prepare(root: Path, out: Path, views: str, workers: int) -> tuple[float, float, float]:
    """Prepare a tree of write_tree; return what `watched` does."""
    options = ["--landmarks", "dlib", "--folds", "2", "--views", views, "--workers", str(workers)]
    return watched(["prepare", "folder", str(root), str(out), "--pattern", PATTERN, *options], out.parent / "log")


def watched(words: list[str], log: Path) -> tuple[float, float, float]:
    """Run a command of fer-data; return (peak of the process that writes, peak of its largest worker, both in MB, seconds)."""
    command = [sys.executable, "-m", "cli.fer_data", *words]
    began = time.monotonic()
    writer, worker = 0, 0
    with log.open("wb") as said, subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said) as process:
        while process.poll() is None:
            writer = max(writer, _peak_kb(process.pid))
            worker = max([worker, *map(_peak_kb, _workers(process.pid))])
            time.sleep(_EVERY)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {log.read_text()[-2000:]}")
    return writer * 1.024e-3, worker * 1.024e-3, time.monotonic() - began


def growth(kind: str, runs: dict[int, tuple[float, float, float]]) -> list[Bar]:
    """Return the bars of what run_prepare measured for three numbers of frames or more."""
    few, some, *more = sorted(runs)
    return [bar for many in more for bar in _growth(kind, runs, few, some, many)]


def _growth(kind: str, runs: dict[int, tuple[float, float, float]], few: int, some: int, many: int) -> list[Bar]:
    found, shown = [], (few, some, many)
    for index, who in enumerate(("the process that writes", "its largest worker")):
        what = f"prepare, {kind}, peak memory of {who}: {many:,} frames over {few:,}"
        note = "; ".join(f"{frames:,}: {runs[frames][index]:,.0f} MB" for frames in shown)
        found.append(Bar(what, runs[many][index] / runs[few][index], LEEWAY, most=True, note=note))
    cost = [(runs[more][2] - runs[less][2]) / (more - less) for less, more in ((few, some), (some, many))]
    what = f"prepare, {kind}, cost of a frame: from {some:,} to {many:,} over from {few:,} to {some:,}"
    note = "; ".join(f"{frames:,} in {runs[frames][2]:,.0f} s" for frames in shown)
    return [*found, Bar(what, cost[1] / cost[0], LEEWAY, most=True, note=note)]


def parts(size: str) -> tuple[str, ...]:
    """Return what is measured by itself: stored-1000 and so on."""
    return tuple(f"{views}-{frames}" for views, of in FRAMES.items() for frames in of[size])


def measure(part: str, size: str) -> tuple[float, float, float]:
    """Return what run_prepare does, of one kind of views and one number of frames."""
    views, frames = part.split("-")
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        place = Path(folder)
        write_oulu(place / "drawn", subjects=3)
        write_tree(place / "in", int(frames), [path.read_bytes() for path in sorted((place / "drawn").rglob("*.jpeg"))])
        return run_prepare(place / "in", place / "out", views, 2)


def bars(size: str, measured: dict[str, tuple[float, float, float]]) -> list[Bar]:
    """Return the bars of stored and of virtual views."""
    of = {views: {frames: measured[f"{views}-{frames}"] for frames in some[size]} for views, some in FRAMES.items()}
    return [bar for views, runs in of.items() for bar in growth(f"{views} views", runs)]


def _with_comment(jpeg: bytes, text: bytes) -> bytes:
    """Return the same picture with a comment segment after its first marker."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def _peak_kb(pid: int) -> int:
    """Return the most kB that a process had resident; 0 once it is gone."""
    try:
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


def _workers(pid: int) -> list[int]:
    """Return the workers that a process started; a child that has not begun its own program shares its parent's peak and is none."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
        return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except (FileNotFoundError, ProcessLookupError):
        return []


if __name__ == "__main__":
    sys.exit(run_parts(parts, measure, bars, __doc__))
