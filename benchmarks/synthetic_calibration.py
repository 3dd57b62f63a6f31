"""How hard the synthetic people are: the figures between which the generator was frozen, measured again.

In:  number of people, seed (the same plan and the same frames as `fer-data synth ck+` with these numbers).
Out: one line a figure, with the bounds it must keep; exit code 1 if one does not.

    python benchmarks/synthetic_calibration.py --workers 2                       # 60 people, about a minute on 2 cores
    python benchmarks/synthetic_calibration.py --subjects 123 --network          # all figures, about 8 minutes

Version 1, seed 0:
                                                                                       bounds    60 people   123 people
    found       share of 200 frames, neutral to peak, in which dlib finds a face     >= 0.99        1.000        1.000
    error       mean distance of dlib's 68 points from the true ones, share of
                the distance between the outer corners of the eyes                   <  0.06        0.039        0.037
    pixels      accuracy of 7 classes on unseen people: logistic regression on
                peak frames aligned by dlib's points, centre crop 96x96,
                5 subject-disjoint folds, best of three penalties               0.40 .. 0.80        0.629        0.743
    points      the same on the true points after alignment                          >= 0.95        0.978        0.994
    identity    share of peak frames whose nearest neighbour among the peak
                frames of other sequences (other expressions of the same
                person, all of everybody else) is the same person; oriented
                gradients of the crop above the mouth                                >= 0.90        0.965        0.935
    network     accuracy of a small convolutional network on the first fold
                (--network)                                                          >= 0.75        0.838        0.831
"""

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fer_data.faces.align import align, points_on_canvas, similarity_from_landmarks
from fer_data.synthetic.ck_plus import frames_of
from fer_data.synthetic.plan import CLASS_COUNTS, PlannedSubject, plan_ck_plus

__all__ = ["BOUNDS", "Sample", "measure", "sample_peaks", "detection", "linear_accuracy", "identity_rate"]

# figure -> (least, most) allowed
BOUNDS = {
    "found": (0.99, 1.0), "error": (0.0, 0.06), "pixels": (0.40, 0.80), "points": (0.95, 1.0), "identity": (0.90, 1.0),
    "network": (0.75, 1.0),
}
FOLDS = 5
_ABOVE_MOUTH = 64  # rows of the crop above the lips of a face at rest
_CROP = slice(18, 114)  # centre crop of the 132x132 canvas
_CLASSES = tuple(CLASS_COUNTS)


@dataclass(frozen=True)
class Sample:
    """Peak frames of all labelled sequences that dlib found."""

    crops: np.ndarray  # (N, 96, 96) uint8
    points: np.ndarray  # (N, 136) true points on the canvas, aligned by themselves
    label: np.ndarray  # (N,) index into CLASS_COUNTS
    subject: np.ndarray  # (N,) index of the person
    sequence: np.ndarray  # (N,) a number of its own for each sequence
    missed: int  # peak frames without a face


def detection(subjects: int, seed: int, frames: int = 200) -> tuple[float, float]:
    """Return (share of frames found, mean point error over the outer eye distance) on frames spread over the whole plan."""
    backend = _backend()
    every = [
        (subject, planned, k) for subject in plan_ck_plus(subjects, seed) for planned in subject.sequences for k in range(planned.frames)
    ]
    chosen = [every[i] for i in np.linspace(0, len(every) - 1, min(frames, len(every))).astype(int)]
    errors = []
    for subject, planned, k in chosen:
        picture, truth = next(frames_of(seed, subject, planned, only=(k,)))[1:]
        found = _points(backend, picture)
        if found is not None:
            distance = np.sqrt(((found - truth) ** 2).sum(1)).mean()
            errors.append(distance / np.sqrt(((truth[36] - truth[45]) ** 2).sum()))
    return len(errors) / len(chosen), float(np.mean(errors))


def sample_peaks(subjects: int, seed: int, workers: int = 1) -> Sample:
    """Draw, find and align the last three frames of each labelled sequence."""
    jobs = [(subject, seed) for subject in plan_ck_plus(subjects, seed)]
    if workers > 1:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            parts = list(pool.map(_peaks_of, jobs, chunksize=4))
    else:
        parts = [_peaks_of(job) for job in jobs]
    rows = [row for part in parts for row in part]
    good = [row for row in rows if row[0] is not None]
    crops, points, label, subject, sequence = (np.array(column) for column in zip(*good, strict=True))
    return Sample(crops, points, label, subject, sequence, len(rows) - len(good))


def linear_accuracy(features: np.ndarray, sample: Sample, penalties: tuple[float, ...]) -> float:
    """Return the accuracy of logistic regression on people it has not seen, pooled over the folds.

    Each of the features (N, D) is brought to mean 0 and deviation 1 over the training rows. `penalties` are values of C,
    the inverse weight of the L2 penalty: the best one counts, which is the strict reading of an upper bound. The fit runs
    in the span of the training rows, where the solution lies anyway.
    """
    from sklearn.linear_model import LogisticRegression

    fold = _folds(sample)
    right = np.zeros(len(penalties), int)
    for test in range(FOLDS):
        train = fold != test
        mean, deviation = features[train].mean(0), features[train].std(0) + 1e-6
        x, y = (features[train] - mean) / deviation, (features[~train] - mean) / deviation
        if x.shape[1] > len(x):
            span = np.linalg.svd(x, full_matrices=False)[2].T  # (D, R)
            x, y = x @ span, y @ span
        for k, c in enumerate(penalties):
            model = LogisticRegression(C=c, max_iter=3000).fit(x, sample.label[train])
            right[k] += int((model.predict(y) == sample.label[~train]).sum())
    return float(right.max()) / len(fold)


def identity_rate(sample: Sample) -> float:
    """Return the share of frames whose nearest neighbour in another sequence, and so in another expression, is the same person.

    Compared are histograms of oriented gradients (9 directions, cells of 8 px, blocks of 2x2) of the crop above the mouth.
    People with one labelled sequence are in the gallery but do not ask.
    """
    from skimage.feature import hog

    described = np.array([hog(crop[:_ABOVE_MOUTH], 9, (8, 8), (2, 2)) for crop in sample.crops])  # (N, D)
    described -= described.mean(1, keepdims=True)
    described /= np.sqrt((described**2).sum(1, keepdims=True))
    distance = -described @ described.T  # (N, N); all have length 1
    distance[sample.sequence[:, None] == sample.sequence[None]] = np.inf
    several = np.array([len(set(sample.sequence[sample.subject == s])) > 1 for s in sample.subject])
    nearest = sample.subject[distance.argmin(1)]
    return float((nearest == sample.subject)[several].mean())


def network_accuracy(sample: Sample, epochs: int = 25) -> float:
    """Return the accuracy of a small convolutional network on the first fold's unseen people."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    train = torch.from_numpy(_folds(sample) != 0)
    x = torch.from_numpy(sample.crops)[:, None].float() / 127.5 - 1
    x = nn.functional.interpolate(x, (48, 48), mode="area")
    y = torch.from_numpy(sample.label)
    layers, channels = [], 1
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    model = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(128 * 36, 7))
    batches = epochs * (int(train.sum()) // 32)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, batches)
    rows = torch.nonzero(train)[:, 0]
    for _ in range(batches):
        chosen = rows[torch.randint(len(rows), (32,))]
        dx, dy = torch.randint(-3, 4, (2,)).tolist()
        batch = torch.roll(x[chosen], (dy, dx), (2, 3))
        if torch.rand(1) < 0.5:
            batch = batch.flip(3)
        batch = batch * (0.7 + 0.6 * torch.rand(len(batch), 1, 1, 1)) + 0.3 * torch.randn(len(batch), 1, 1, 1)
        loss = nn.functional.cross_entropy(model(batch), y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(x[~train]).argmax(1) == y[~train]).float().mean())


def measure(subjects: int, seed: int, workers: int = 1, network: bool = False) -> dict[str, float]:
    """Return all figures."""
    found, error = detection(subjects, seed)
    sample = sample_peaks(subjects, seed, workers)
    figures = {
        "found": found,
        "error": error,
        "pixels": linear_accuracy(sample.crops.reshape(len(sample.crops), -1) / 255.0, sample, (0.001, 0.01, 0.1)),
        "points": linear_accuracy(sample.points, sample, (1.0,)),
        "identity": identity_rate(sample),
    }
    if network:
        figures["network"] = network_accuracy(sample)
    return figures


def _peaks_of(job: tuple[PlannedSubject, int]) -> Iterator[tuple]:
    """Return one row (crop, points, label, subject, sequence) a peak frame; the crop is None where no face was found."""
    subject, seed = job
    cv2.setNumThreads(1)
    backend, rows = _backend(), []
    for number, planned in enumerate(subject.sequences):
        if planned.expression is None:
            continue
        last = range(planned.frames - 3, planned.frames)
        for _, picture, truth in frames_of(seed, subject, planned, only=last):
            found = _points(backend, picture)
            crop = None if found is None else align(picture, found).pixels[_CROP, _CROP]
            points = points_on_canvas(truth, similarity_from_landmarks(truth)).ravel()
            rows.append((crop, points, _CLASSES.index(planned.expression), subject.index, 100 * subject.index + number))
    return rows


_BACKENDS: list = []


def _backend():
    """Return this process's dlib backend."""
    if not _BACKENDS:
        from fer_data.faces.landmarks.dlib68 import DlibBackend

        _BACKENDS.append(DlibBackend())
    return _BACKENDS[0]


def _points(backend, picture: np.ndarray) -> np.ndarray | None:
    """Return dlib's points of the largest face as `prepare` finds them, or None."""
    found = backend.locate([picture])[0]
    return None if isinstance(found, str) else found.points


def _folds(sample: Sample) -> np.ndarray:
    """Return each frame's fold, (N,): the i-th labelled person is in fold i mod FOLDS."""
    return np.searchsorted(np.unique(sample.subject), sample.subject) % FOLDS


def main() -> int:
    parser = argparse.ArgumentParser(description="measure how hard the synthetic people are")
    parser.add_argument("--subjects", type=int, default=60, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--network", action="store_true", help="also train a small network on one fold (a minute more)")
    options = parser.parse_args()
    figures = measure(options.subjects, options.seed, options.workers, options.network)
    failed = 0
    for name, value in figures.items():
        least, most = BOUNDS[name]
        kept = least <= value <= most
        failed += not kept
        print(f"{name:10s} {value:.4f}   bounds {least:g} .. {most:g}   {'ok' if kept else 'OUT OF BOUNDS'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
