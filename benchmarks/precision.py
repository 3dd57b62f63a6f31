"""Whether bf16 costs accuracy: DE-GAN trained from three seeds in both precisions, tested on the same unseen people.

In:  nothing; 60 people are drawn and prepared as in `make demo` (size tiny: noise, preset smoke).
Out: a bar for table.py: the difference of the mean accuracies, against what three seeds each differ by when nothing differs. None
     where the processor has no units for bf16: nobody trains in it there.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.bu4dfe import write_prepared
from benchmarks.table import Bar, run_parts
from benchmarks.training import BF16
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.synthetic.ck_plus import write_ck_plus
from fer_model.config import preset, with_budgets
from fer_model.job import Job
from fer_model.train import train

__all__ = ["beyond_noise", "parts", "measure", "bars"]

PRECISIONS, SEEDS = ("bf16", "fp32"), (0, 1, 2)
KIMG = 24                             # of either stage
T_95 = 2.776                          # Student's t with 2 * (3 - 1) degrees of freedom, two-sided


def beyond_noise(one: list[float], other: list[float]) -> tuple[float, float]:
    """Return (difference of the means, what it stays below in 95 of 100 cases if nothing differs), three values on each side.

    >>> beyond_noise([80.0, 82.0, 84.0], [81.0, 83.0, 85.0])[0]
    1.0
    """
    error = np.sqrt((statistics.variance(one) + statistics.variance(other)) / len(SEEDS))
    return abs(statistics.mean(one) - statistics.mean(other)), float(T_95 * error)


def parts(size: str) -> tuple[str, ...]:
    """Return the trainings: bf16-0 and so on; none where the processor trains in fp32 alone, unless the size is tiny."""
    if size != "tiny" and not BF16:
        return ()
    return tuple(f"{precision}-{seed}" for precision in PRECISIONS for seed in SEEDS)


def measure(part: str, size: str) -> float:
    """Return the accuracy of one training, in per cent."""
    precision, seed = part.split("-")
    with tempfile.TemporaryDirectory(prefix="bench-precision-") as folder:
        return _accuracy(_data(Path(folder), size), int(seed), precision, size)


def bars(size: str, measured: dict[str, float]) -> list[Bar]:
    """Return the bar of accuracy; no bar where nothing was measured."""
    if not measured:
        return []
    found = {precision: [measured[f"{precision}-{seed}"] for seed in SEEDS] for precision in PRECISIONS}
    difference, noise = beyond_noise(*found.values())
    note = "; ".join(f"{name} {', '.join(f'{value:.1f}' for value in values)} %" for name, values in found.items())
    what = "accuracy per frame in bf16 and in fp32, three seeds each: difference of the means, at most what is noise (95 %)"
    return [Bar(what, difference, round(noise, 2), "points", most=True, note=note)]


def _data(place: Path, size: str) -> Path:
    if size == "tiny":
        return write_prepared(place / "prepared", 2, people=10)
    write_ck_plus(place / "ck", subjects=60, seed=1)
    prepare_dataset("ck+", place / "ck", place / "prepared", PrepareConfig(landmarks="dlib", views="virtual", folds=5))
    return place / "prepared"


def _accuracy(data: Path, seed: int, precision: str, size: str) -> float:
    """Train a run and return its accuracy in per cent."""
    small = preset("smoke") if size == "tiny" else with_budgets(preset("small"), gan=KIMG, head=KIMG)
    config, began = replace(small, seed=seed, precision=precision), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-run-") as run:
        accuracy = 100 * train(Job(data, Path(run), config), "cpu", say=lambda line: None).evaluation.frame_accuracy.value
    print(f"{precision}, seed {seed}: {accuracy:.1f} %, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return accuracy


if __name__ == "__main__":
    sys.exit(run_parts(parts, measure, bars, __doc__))
