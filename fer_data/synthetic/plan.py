"""Which subjects show which expressions in which sequences, decided without drawing anything.

In:  number of subjects, seed, range of lengths.
Out: PlannedSubject records in natural order, each with its PlannedSequence records.

With 123 subjects the totals are those of the real CK+ (Lucey et al. 2010 and its read-me): 118 subjects with labels, 593
sequences, 327 labelled, the classes of CLASS_COUNTS, 1 to 6 labelled sequences a person, none twice of one class.
Fewer subjects get about three labelled sequences each, and the rare classes are kept at a quarter of the people.
"""

from dataclasses import dataclass

import numpy as np

from fer_data.errors import DatasetError
from fer_data.synthetic.trees import require_seed

__all__ = [
    "CLASS_COUNTS",
    "MAX_SUBJECTS",
    "SUBJECTS",
    "LABELLED_SUBJECTS",
    "SEQUENCES",
    "PlannedSequence",
    "PlannedSubject",
    "plan_ck_plus",
    "subject_name",
]

SUBJECTS, LABELLED_SUBJECTS, SEQUENCES = 123, 118, 593
CLASS_COUNTS = {"anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83}
# Labelled sequences of one person -> how many of the 118 have that many.
_PER_SUBJECT = {1: 21, 2: 22, 3: 47, 4: 20, 5: 7, 6: 1}
_NO_FOLDER = 11 / 266  # share of unlabelled sequences without even an empty Emotion folder
_RARE = 0.25  # below 123 subjects a class is shown by at least this share of the labelled ones
_GAPS = (5, 1, 3, 1, 1, 2, 1, 1, 1, 1)  # between subject numbers, over and over: S005, S006, S009, S010 ...
MAX_SUBJECTS = 585  # S999 is the last name


@dataclass(frozen=True)
class PlannedSequence:
    """One sequence to be drawn."""

    sequence: str  # three digits
    expression: str | None  # None: no label
    emotion_folder: bool  # whether Emotion/Sxxx/yyy exists
    frames: int  # numbered from 1
    stream: int  # key of the sequence's own random numbers within the person


@dataclass(frozen=True)
class PlannedSubject:
    """One person to be drawn."""

    index: int  # key of the person's own random numbers
    subject: str  # S005
    sequences: tuple[PlannedSequence, ...]


def subject_name(index: int) -> str:
    """Return the id of person `index` (from 0); it does not depend on how many there are.

    >>> [subject_name(k) for k in (0, 1, 2, 10)]
    ['S005', 'S006', 'S009', 'S022']
    """
    cycles, rest = divmod(index, len(_GAPS))
    return f"S{cycles * sum(_GAPS) + sum(_GAPS[: rest + 1]):03d}"


def plan_ck_plus(subjects: int, seed: int, frames: tuple[int, int] = (4, 8), labelled: int | None = None) -> tuple[PlannedSubject, ...]:
    """Return who shows what.

    subjects  1 .. MAX_SUBJECTS
    frames    shortest and longest sequence; at least 3, because the last three frames are the peak
    labelled  how many subjects have labels; None: as in the real database, 118 of 123
    Raises DatasetError for numbers that cannot be planned.
    """
    if not 1 <= subjects <= MAX_SUBJECTS:
        raise DatasetError(f"planning synthetic people: choose 1 to {MAX_SUBJECTS} subjects, not {subjects}")
    if not 3 <= frames[0] <= frames[1]:
        raise DatasetError(
            f"planning synthetic people: a sequence has at least 3 frames, shortest before longest; got {frames[0]} to {frames[1]}"
        )
    require_seed(seed)
    if labelled is None:
        labelled = max(1, round(subjects * LABELLED_SUBJECTS / SUBJECTS))
    if not 1 <= labelled <= subjects:
        raise DatasetError(f"planning synthetic people: choose 1 to {subjects} labelled subjects, not {labelled}")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    with_labels = np.sort(rng.permutation(subjects)[:labelled])
    shown = _assign(_class_counts(labelled), labelled, rng)
    classes = [()] * subjects
    for place, index in enumerate(with_labels):
        classes[index] = tuple(shown[place])
    others = _unlabelled(classes, rng)
    missing = _without_folder(int(sum(others)), rng)
    planned, first = [], 0
    for index in range(subjects):
        folders = ~missing[first : first + others[index]]
        first += others[index]
        planned.append(PlannedSubject(index, subject_name(index), _sequences(classes[index], folders, frames, rng)))
    return tuple(planned)


def _class_counts(labelled: int) -> dict[str, int]:
    """Return how many labelled subjects show each class."""
    least = 0 if labelled >= LABELLED_SUBJECTS else max(1, round(_RARE * labelled))
    shares = {name: round(count * labelled / LABELLED_SUBJECTS) for name, count in CLASS_COUNTS.items()}
    return {name: min(max(share, least), labelled) for name, share in shares.items()}


def _assign(counts: dict[str, int], labelled: int, rng: np.random.Generator) -> list[list[str]]:
    """Return the classes of each labelled subject: every class as often as `counts` says, no subject twice in a class.

    First the Gale-Ryser construction (whoever has most left to show takes the classes most left over), then random
    exchanges between pairs of people, which change neither margin.
    """
    quotas = _quotas(sum(counts.values()), labelled, rng)
    names, left = list(counts), np.array(list(counts.values()))
    table = np.zeros((labelled, len(names)), bool)
    for person in np.argsort(-quotas, kind="stable"):
        most = np.argsort(-left, kind="stable")[: quotas[person]]
        table[person, most] = True
        left[most] -= 1
    assert (left == 0).all(), "the quotas and the class counts have no common table"
    for one, other in rng.integers(0, labelled, (60 * labelled, 2)):
        mine, theirs = np.flatnonzero(table[one] & ~table[other]), np.flatnonzero(table[other] & ~table[one])
        if len(mine) and len(theirs):
            give, take = rng.choice(mine), rng.choice(theirs)
            table[[one, other], [give, take]] = False
            table[[one, other], [take, give]] = True
    return [[name for name, shows in zip(names, row, strict=True) if shows] for row in table]


def _quotas(total: int, labelled: int, rng: np.random.Generator) -> np.ndarray:
    """Return how many labelled sequences each subject has, (labelled,) int: as spread as in the real database."""
    ladder = np.repeat(list(_PER_SUBJECT), list(_PER_SUBJECT.values()))  # (118,)
    quotas = ladder[(np.arange(labelled) * len(ladder) + len(ladder) // 2) // labelled]
    while quotas.sum() != total:
        step = 1 if quotas.sum() < total else -1
        able = np.flatnonzero((quotas + step >= 1) & (quotas + step <= len(CLASS_COUNTS)))
        quotas[rng.choice(able)] += step
    return rng.permutation(quotas)


def _unlabelled(classes: list[tuple[str, ...]], rng: np.random.Generator) -> np.ndarray:
    """Return how many unlabelled sequences each subject has; a subject without labels has at least one."""
    subjects = len(classes)
    shown = sum(map(len, classes))
    total = max(round(subjects * SEQUENCES / SUBJECTS), shown)
    extra = np.array([0 if own else 1 for own in classes])
    for index in rng.integers(0, subjects, max(total - shown - int(extra.sum()), 0)):
        extra[index] += 1
    return extra


def _without_folder(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return which of `count` unlabelled sequences lack their Emotion folder, (count,) bool; some do once there are two."""
    missing = np.zeros(count, bool)
    if count > 1:
        missing[rng.choice(count, max(1, round(count * _NO_FOLDER)), replace=False)] = True
    return missing


def _sequences(classes, folders, frames, rng) -> tuple[PlannedSequence, ...]:
    """Return one subject's sequences in a random order, numbered from 001 with a gap now and then."""
    names = list(CLASS_COUNTS)
    takes = [(name, True, names.index(name)) for name in classes]
    takes += [(None, bool(folder), len(names) + k) for k, folder in enumerate(folders)]
    numbers = np.cumsum(1 + (rng.random(len(takes)) < 0.1))
    return tuple(
        PlannedSequence(f"{number:03d}", *takes[k][:2], int(rng.integers(frames[0], frames[1] + 1)), takes[k][2])
        for number, k in zip(numbers, rng.permutation(len(takes)), strict=True)
    )
