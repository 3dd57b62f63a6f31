"""Break one line of a core module at a time and expect a red test: `make mutate`.

In:  MUTATIONS: file, what stands there, what shall stand there, the tests that must notice.
Out: a line for each; exit 1 if a mutation survives or if its line is no longer there.

Works on a copy of the repository in a temporary folder; this tree is never touched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["MUTATIONS", "main"]

REPOSITORY = Path(__file__).resolve().parent.parent
# (file, old, new, tests)
MUTATIONS = [
    ("fer_data/faces/views.py", "divmod(k, len(ANGLES_DEG) * 2)", "divmod(k, len(ANGLES_DEG))", "tests/test_views.py"),
    ("fer_data/faces/views.py", "MARGIN = 11 ", "MARGIN = 10 ", "tests/test_views.py"),
    ("fer_data/faces/views.py", "math.radians(view.angle_deg)", "-math.radians(view.angle_deg)", "tests/test_views.py"),
    ("fer_data/faces/views.py", "cv2.flip(views[k], 1,", "cv2.flip(views[k], 0,", "tests/test_views.py"),
    ("fer_data/store/loader.py", "align_corners=True", "align_corners=False", "tests/test_views.py"),
    ("fer_data/store/loader.py", "faces.to(torch.float32), grid", "faces.to(torch.bfloat16), grid.bfloat16()", "tests/test_views.py"),
    ("fer_data/store/loader.py", "SeedSequence([seed, epoch])", "SeedSequence([seed])", "tests/test_views.py"),
    ("fer_data/store/loader.py", ".mul_(127.5).round_()", ".mul_(127.5)", "tests/test_views.py"),
    ("fer_data/faces/align.py", "(-0.694, 0.010)", "(-0.594, 0.010)", "tests/test_align.py"),
    ("fer_data/faces/align.py", "@ matrix[:, :2].T + matrix[:, 2]", "@ matrix[:, :2] + matrix[:, 2]", "tests/test_align.py"),
    ("fer_data/faces/align.py", "[factor, 0, (factor - 1) / 2]", "[factor, 0, 0]", "tests/test_align.py"),
    ("fer_data/faces/align.py", "if scale < 0.5 else 1", "if scale < 0 else 1", "tests/test_align.py"),
    ("fer_data/faces/align.py", "x > shape[1] - 0.5", "x > shape[1] + 9", "tests/test_align.py"),
]


def main() -> int:
    """Run every mutation, or those whose file name contains an argument; return the number of survivors."""
    chosen = [one for one in MUTATIONS if not sys.argv[1:] or any(word in one[0] + one[3] for word in sys.argv[1:])]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".hypothesis", ".*_cache"))
        for file, old, new, tests in chosen:
            verdict = _run(copy, file, old, new, tests)
            survivors += not verdict.startswith("noticed")
            print(f"{verdict:60s} {file}: {old.strip()[:50]!r} -> {new.strip()[:50]!r}", flush=True)
    print(f"{len(chosen)} mutations, {survivors} survived")
    return survivors


def _run(copy: Path, file: str, old: str, new: str, tests: str) -> str:
    """Apply one mutation, run its tests, take it back; return the verdict."""
    path = copy / file
    text = path.read_text()
    if text.count(old) != 1:
        return f"STALE: its line stands there {text.count(old)} times"
    path.write_text(text.replace(old, new))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests.split()]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    finally:
        path.write_text(text)
    if done.returncode == 1:
        failed = [line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED") and "::" in line]
        return f"noticed by {failed[0] if failed else '?'}"
    return "SURVIVED" if done.returncode in (0, 5) else f"noticed: nothing runs (pytest exit {done.returncode})"


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
