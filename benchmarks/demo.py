"""How long `make demo` takes once everything is installed.

In:  nothing; benchmarks/demo.sh runs as it is, into a temporary folder, with the programs of this Python.
Out: a bar for table.py, in minutes. Size tiny trains on few images.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Bar, processor, run_module

__all__ = ["MOST_MINUTES", "bars"]

ROOT = Path(__file__).resolve().parents[1]
MOST_MINUTES = {"AMX": 5.0}           # kind of processor -> bar; all others: the next line
OTHERS_MINUTES = 8.0
TINY = ("--kimg-gan", "0.1", "--kimg-head", "0.1")
_SECTION = re.compile(r"^== (\w+).*\((\d+) s\)$", re.MULTILINE)


def bars(size: str = "long") -> list[Bar]:
    """Return the bar of the whole demo; its note has the seconds at which each part began."""
    with tempfile.TemporaryDirectory(prefix="bench-demo-") as folder:
        words = ["bash", "benchmarks/demo.sh", str(Path(sys.executable).parent), folder, str(len(os.sched_getaffinity(0)))]
        began = time.monotonic()
        done = subprocess.run(words + list(TINY if size == "tiny" else ()), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        minutes = (time.monotonic() - began) / 60
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-2000:]}")
    parts = ", ".join(f"{what} from {second} s" for what, second in _SECTION.findall(done.stdout))
    return [Bar("make demo, without installing", minutes, MOST_MINUTES.get(processor(), OTHERS_MINUTES), "minutes", most=True, note=parts)]


if __name__ == "__main__":
    sys.exit(run_module(bars, __doc__))
