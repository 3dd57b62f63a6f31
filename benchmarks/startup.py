"""How long the programs take to begin: an import, a page of help.

In:  nothing. Each is a process of its own; its processor time counts, which other programs do not lengthen.
Out: bars for table.py.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.table import Bar, run_module

__all__ = ["bars"]

ROOT = Path(__file__).resolve().parents[1]
MOST_S = 0.3
ROUNDS = {"tiny": 1, "bench": 5, "long": 9}
STARTS = {"import fer_data": ("-c", "import fer_data"), "fer-data --help": ("-m", "cli.fer_data", "--help")}


def bars(size: str = "bench") -> list[Bar]:
    """Return the bars of what is begun with, the median of some starts after one that does not count."""
    found = []
    for name, words in STARTS.items():
        seconds = sorted([_seconds(words) for _ in range(1 + ROUNDS[size])][1:])
        found.append(Bar(f"{name}, seconds of processor time", seconds[len(seconds) // 2], MOST_S, "s", most=True))
    return found


def _seconds(words: tuple[str, ...]) -> float:
    before = os.times()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    sys.exit(run_module(bars, __doc__))
