"""What `fer-data prepare` costs for more clips, up to the 7,442 of CREMA-D: whether memory grows, and time more than in proportion.

In:  nothing; synthetic people are drawn into 150 MB of temporary disk. Two workers, virtual views.
Out: bars for table.py, those of growth.py: three faces of each clip are its frames.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.growth import growth, watched
from benchmarks.table import Bar, run_module
from fer_data.store.manifest import read_settings
from fer_data.synthetic.crema_d import write_crema_d

__all__ = ["bars"]

PEOPLE = {"tiny": (2, 3, 4), "bench": (4, 8, 12), "long": (12, 45, 91)}


def bars(size: str = "long") -> list[Bar]:
    """Return the bars of a tree of FLV clips."""
    runs = {}
    with tempfile.TemporaryDirectory(prefix="bench-clips-") as folder:
        place = Path(folder)
        for people in PEOPLE[size]:
            write_crema_d(place / "in", subjects=people, takes=1, workers=2)
            options = ["--landmarks", "dlib", "--folds", "2", "--views", "virtual", "--workers", "2"]
            found = watched(["prepare", "crema-d", str(place / "in"), str(place / "out"), *options], place / "log")
            runs[read_settings(place / "out")["kept"]] = found
            print(f"{people} people: {found[2]:.0f} s", file=sys.stderr, flush=True)
            shutil.rmtree(place / "out")
    return growth("clips of CREMA-D", runs)


if __name__ == "__main__":
    sys.exit(run_module(bars, __doc__))
