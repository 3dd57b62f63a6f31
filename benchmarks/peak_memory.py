"""Whether `fer-data prepare` needs more memory for more frames: its peak for 100, 1,000 and 10,000 of them.

In:  nothing; a few pictures are drawn, and copied until there are enough. Each copy is a file of other bytes (a comment of
     its own), so that no frame is found in the cache.
Out: a table; a Markdown and a JSON file if asked for; exit code 1 if a peak is more than 10 % over the one of the fewest frames.

    python benchmarks/peak_memory.py --workers 2 --write benchmarks/results/peak_memory      # or: make bench-long

The peak is VmHWM of /proc, the most that was resident since a process began its program, of the process that writes and of its
largest worker. ru_maxrss would not do: a worker inherits the figure of the process that started it.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fer_data.datasets.synthetic.oulu_casia import write_oulu

__all__ = ["BOUND", "Peak", "write_tree", "run_prepare", "table"]

ROOT = Path(__file__).resolve().parents[1]
BOUND = 1.10                          # of the peak with the fewest frames
SEQUENCE = 10                         # frames of each
PATTERN = "{subject}/{sequence}/{frame}_{expression}.jpeg"
_WORDS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_EVERY = 0.02                         # seconds between two looks


@dataclass(frozen=True)
class Peak:
    """One run of prepare."""

    views: str
    frames: int
    kept: int                         # faces
    writer_mb: float                  # MB = 10^6 bytes
    worker_mb: float                  # of the largest worker
    seconds: float


def write_tree(root: Path, frames: int, drawn: list[bytes]) -> None:
    """Write `frames` JPEGs for `fer-data prepare folder`, sequences of SEQUENCE frames, ten sequences a person."""
    for number, picture in enumerate(islice(cycle(drawn), frames)):
        sequence = number // SEQUENCE
        expression = _WORDS[sequence % len(_WORDS)]
        folder = root / f"p{sequence % max(2, frames // (10 * SEQUENCE)):03d}" / f"{sequence:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number % SEQUENCE:03d}_{expression}.jpeg").write_bytes(_with_comment(picture, str(number).encode()))


def run_prepare(root: Path, out: Path, views: str, workers: int) -> tuple[float, float, float]:
    """Run the command; return (peak of the process that writes, peak of its largest worker, both in MB, seconds)."""
    command = [sys.executable, "-m", "cli.fer_data", "prepare", "folder", str(root), str(out), "--pattern", PATTERN]
    command += ["--landmarks", "dlib", "--folds", "2", "--views", views, "--workers", str(workers)]
    began = time.monotonic()
    writer, worker = 0, 0
    with (out.parent / "log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process:
        while process.poll() is None:
            writer = max(writer, _peak_kb(process.pid))
            worker = max([worker, *map(_peak_kb, _workers(process.pid))])
            time.sleep(_EVERY)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {(out.parent / 'log').read_text()[-2000:]}")
    return writer * 1.024e-3, worker * 1.024e-3, time.monotonic() - began


def table(peaks: list[Peak]) -> str:
    """Return the peaks as a Markdown table; ratios are to the first row with the same views."""
    lines = [
        "| views | frames | faces | writing process | largest worker | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for peak in peaks:
        ratios = _ratios(peak, peaks)
        cells = [f"{mb:.0f} MB (x {ratio:.3f})" for mb, ratio in zip((peak.writer_mb, peak.worker_mb), ratios, strict=True)]
        lines.append(f"| {peak.views} | {peak.frames:,} | {peak.kept:,} | {' | '.join(cells)} | {peak.seconds:.0f} |")
    return "\n".join(lines)


def _ratios(peak: Peak, peaks: list[Peak]) -> tuple[float, float]:
    first = next(one for one in peaks if one.views == peak.views)
    return peak.writer_mb / first.writer_mb, peak.worker_mb / first.worker_mb


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


def main() -> int:
    parser = argparse.ArgumentParser(description="measure the peak memory of fer-data prepare")
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1000, 10_000], metavar="N")
    parser.add_argument("--views", nargs="+", choices=("stored", "virtual"), default=["stored", "virtual"])
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write FILE.md and FILE.json")
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory(prefix="peak-memory-") as folder:
        place = Path(folder)
        write_oulu(place / "drawn", subjects=3)
        drawn = [path.read_bytes() for path in sorted((place / "drawn").rglob("*.jpeg"))]
        for frames in sorted(options.frames):
            write_tree(place / "in", frames, drawn)
            for views in options.views:
                measured = run_prepare(place / "in", place / "out", views, options.workers)
                kept = json.loads((place / "out/settings.json").read_bytes())["kept"]
                peaks.append(Peak(views, frames, kept, *measured))
                print(f"{views}, {frames} frames: {measured[0]:.0f} MB and {measured[1]:.0f} MB", file=sys.stderr, flush=True)
                shutil.rmtree(place / "out")
            shutil.rmtree(place / "in")
    peaks.sort(key=lambda peak: (peak.views, peak.frames))
    print(table(peaks))
    if options.write:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.workers} workers"
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.with_suffix(".md").write_text(f"Peak memory of `fer-data prepare` ({machine}):\n\n{table(peaks)}\n")
        content = {"machine": machine, "bound": BOUND, "peaks": [asdict(peak) for peak in peaks]}
        options.write.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    worst = max(ratio for peak in peaks for ratio in _ratios(peak, peaks))
    print(f"\nmost over the fewest frames: x {worst:.3f}, allowed x {BOUND}: {'ok' if worst <= BOUND else 'TOO MUCH'}")
    return 1 if worst > BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
