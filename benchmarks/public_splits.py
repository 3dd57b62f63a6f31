"""Remake the rows of docs/leaks.md whose lists are fetched, and compare what the audit prints with what the page shows.

In:  the page; the network (or, with --host, a local copy of raw.githubusercontent.com).
Out: a line for each row; exit code 1 if one differs.

    python -m benchmarks.public_splits            # five minutes; rows that are rebuilt are run by tests/test_docs.py
    python -m benchmarks.public_splits 7 15
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.doc_pages import DOCS, blocks_of

_HOST = "https://raw.githubusercontent.com"


def remake(commands: str, folder: str) -> list[str]:
    """Return the lines that a block of the page prints, run in `folder`; `fer-data` is the one next to this Python."""
    where = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(["bash", "-c", commands], cwd=folder, env=where, capture_output=True, text=True, check=False)
    return [line.rstrip() for line in (done.stdout or done.stderr).splitlines()]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", nargs="*", help="numbers of rows; default: all that are fetched")
    options.add_argument("--host", default=_HOST, help="where the lists are fetched from")
    chosen = options.parse_args()
    define, *blocks = [block.text for block in blocks_of(DOCS / "leaks.md") if block.kind == "bash"]
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        for block in blocks:
            row = re.search(r"^fer-data audit (\d+)", block, re.MULTILINE)[1]
            if chosen.rows and row not in chosen.rows:
                continue
            shown = [line[2:] for line in block.splitlines() if line.startswith("# ")]
            lines = remake(define.replace(_HOST, chosen.host) + block, folder)
            same = lines[:1] == shown[:1] and set(shown) <= set(lines)
            differ += not same
            print(f"row {row}: {'as shown' if same else f'differs: {lines[:1]}'}", flush=True)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
