"""Drawn databases at the size of the real ones through all of fer-data: draw, prepare, verify, audit, report.

In:  a folder for trees and prepared data (about 4.5 GB); a tree that is there already is not drawn again.
Out: a Markdown table of counts and times, the one in README.md; OUT/NAME/prepared/report.html; exit code 1 if a count is not
     the published one, if anything but faces that were not found is missing, or if a command fails.

    python benchmarks/full_size.py full-size --workers 2                            # all six
    python benchmarks/full_size.py full-size --workers 2 --only oulu mmi
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fer_data.datasets.published import load_facts

__all__ = ["DATABASES", "Database", "go", "table"]


@dataclass(frozen=True)
class Database:
    """One drawn database."""

    title: str
    faces: int                        # that the frame rule takes
    draw: tuple[str, ...] = ()        # options of fer-data synth
    prepare: tuple[str, ...] = ()     # options of fer-data prepare


DATABASES = {
    "ck+": Database("CK+", 981, draw=("--subjects", "123")),
    "mmi": Database("MMI", 624),
    "oulu": Database("Oulu-CASIA", 1440),
    "bu4dfe": Database("a tenth of BU-4DFE", 6060, prepare=("--views", "virtual")),  # ten frames of each sequence
    "crema-d": Database("CREMA-D", 22_314, draw=("--takes", "1"), prepare=("--views", "virtual")),
    "ravdess": Database("RAVDESS", 4320, prepare=("--views", "virtual")),
}
_STEPS = ("prepare", "verify", "audit", "report")


def go(name: str, out: Path, workers: int) -> dict:
    """Take one database through all steps; return its summary, with seconds and complaints. Raises CalledProcessError."""
    tree, prepared = out / name / "tree", out / name / "prepared"
    database, seconds = DATABASES[name], {}
    many = ("--workers", str(workers))
    if not (tree / "truth.csv").exists():
        _timed("synth", name, tree, *database.draw, *many)
    if prepared.exists():
        shutil.rmtree(prepared)
    began = _processor_seconds()
    seconds["prepare"], text = _timed("prepare", name, tree, prepared, "--landmarks", "dlib", "--json", *database.prepare, *many)
    summary = json.loads(text)
    seconds["verify"], _ = _timed("verify", prepared)
    seconds["audit"], text = _timed("audit", prepared, "--json")
    summary["leaked"] = json.loads(text)["overall"]["leaked_images"]
    seconds["report"], _ = _timed("report", prepared)
    seconds["processor"] = _processor_seconds() - began
    return {**summary, "seconds": seconds, "complaints": _complaints(name, summary)}


def table(results: dict[str, dict]) -> str:
    """Return what was counted and how long it took as a Markdown table."""
    lines = [f"| drawn database | people | sequences | faces | {' | '.join(f'`{step}`' for step in _STEPS)} | processor time |"]
    lines += ["|" + "---|" * (5 + len(_STEPS))]
    for name, one in results.items():
        times = " | ".join(f"{one['seconds'][step]:.0f} s" for step in (*_STEPS, "processor"))
        counts = f"{one['subjects']:,} | {one['sequences']:,} | {one['kept']:,} of {DATABASES[name].faces:,}"
        lines.append(f"| {DATABASES[name].title} | {counts} | {times} |")
    return "\n".join(lines)


def _complaints(name: str, summary: dict) -> list[str]:
    """Return what is not as it should be: the published counts, and no frame lost but where the detector saw no face."""
    facts, lost = load_facts(name), summary["skipped"].get("no-face", 0)
    complaints = []
    if summary["kept"] + lost != DATABASES[name].faces:
        complaints.append(f"{summary['kept']} faces and {lost} not found, {DATABASES[name].faces} were due")
    if summary["subjects"] != facts.subjects:
        complaints.append(f"{summary['subjects']} of {facts.subjects} people")
    if summary["leaked"]:
        complaints.append(f"{summary['leaked']} images of people who are trained on as well")
    return complaints


def _timed(*arguments) -> tuple[float, str]:
    """Run fer-data; return (seconds, what it printed)."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cli.fer_data", *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True)
    return time.monotonic() - began, done.stdout


def _processor_seconds() -> float:
    """Return the processor time of all commands so far and their workers: what a busy machine does not stretch."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description="take drawn databases of the real size through all of fer-data")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--only", nargs="+", choices=DATABASES, default=list(DATABASES))
    options = parser.parse_args()
    results = {name: go(name, options.out, options.workers) for name in options.only}
    print(table(results))
    complaints = [f"{name}: {text}" for name, one in results.items() for text in one["complaints"]]
    print("\n".join(["", *complaints]) if complaints else "", end="")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
