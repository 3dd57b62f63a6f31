"""What `fer-data prepare` costs for more clips, up to the 7,442 of CREMA-D: whether memory grows, and time more than in proportion.

In:  nothing; synthetic people are drawn into 150 MB of temporary disk. Two workers, virtual views.
Out: bars for table.py, those of growth.py: three faces of each clip are its frames.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.growth import growth, watched
from benchmarks.table import Bar, run_parts
from fer_data.store.manifest import read_settings
from fer_data.synthetic.crema_d import write_crema_d

__all__ = ["parts", "measure", "bars"]

PEOPLE = {"tiny": (2, 3, 4), "bench": (4, 8, 12), "long": (12, 45, 91)}


def parts(size: str) -> tuple[str, ...]:
    """Return how many people there are in each tree."""
    return tuple(map(str, PEOPLE[size]))


def measure(part: str, size: str) -> dict:
    """Return how many faces a tree of this many people gives, and what it costs to prepare them."""
    with tempfile.TemporaryDirectory(prefix="bench-clips-") as folder:
        place = Path(folder)
        write_crema_d(place / "in", subjects=int(part), takes=1, workers=2)
        options = ["--landmarks", "dlib", "--folds", "2", "--views", "virtual", "--workers", "2"]
        cost = watched(["prepare", "crema-d", str(place / "in"), str(place / "out"), *options], place / "log")
        return {"faces": read_settings(place / "out")["kept"], "cost": cost}


def bars(size: str, measured: dict[str, dict]) -> list[Bar]:
    """Return the bars of a tree of FLV clips."""
    return growth("clips of CREMA-D", {one["faces"]: one["cost"] for one in measured.values()})


if __name__ == "__main__":
    sys.exit(run_parts(parts, measure, bars, __doc__))
