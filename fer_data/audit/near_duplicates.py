"""Find pictures that are on two sides of a fold under different names: equal bytes, or perceptual hashes that nearly agree.

In:  a Split; for its items the sha256 of the files, and hashes of the pictures.
Out: PixelReport: how many pairs, and the closest of them.

The hash has 256 bits: the 16x16 lowest frequencies of the 64x64 grey picture, each above or below their median. On 102
photographs of 51 people (London set; whole, as faces of 48x48, and as prepared), a copy at JPEG quality 30, at half or
double size differs by 0 to 22 bits, and two people by 42 and more in the 5,100 pairs, mirror images included. Brightening
by a fifth gives up to 36 bits, cutting off 2 % at each side up to 62: such copies are found in part, or not at all. Near
pairs are looked for among different people only: frames of one person are alike, and are counted as leaked without this.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from fer_data.audit.leaks import Pair, PixelReport
from fer_data.audit.split import Split

__all__ = ["THRESHOLD", "PictureHash", "hash_picture", "find_duplicates"]

THRESHOLD = 24                        # bits of 256; above copies, far below different people (module docstring)
_FLAT = 2.0                           # grey levels of standard deviation: below, a picture has nothing to compare
_KEPT = 200                           # pairs kept in a report
_BLOCK, _COLUMNS = 256, 8192          # rows and columns compared at once: about 50 MB

Progress = Callable[[int, int], None]   # (pictures compared, pictures in all)


@dataclass(frozen=True)
class PictureHash:
    """The perceptual hash of a picture and of its mirror image."""

    bits: np.ndarray                  # (4,) uint64
    mirrored: np.ndarray              # (4,) uint64


def hash_picture(grey: np.ndarray) -> PictureHash | None:
    """Return the hash of a grey picture (H, W) uint8, or None if it is flat and there is nothing to compare."""
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _FLAT:
        return None
    return PictureHash(_bits(small), _bits(np.ascontiguousarray(small[:, ::-1])))


def _bits(small: np.ndarray) -> np.ndarray:
    low = cv2.dct(small)[:16, :16].ravel()                               # (256,)
    low[0] = 0                                                           # the mean brightness says nothing
    return np.packbits(low > np.median(low)).view(np.uint64)             # (4,)


def find_duplicates(
    split: Split,
    digests: Mapping[str, str],
    hashes: Mapping[str, PictureHash] | None = None,
    threshold: int = THRESHOLD,
    notes: tuple[str, ...] = (),
    progress: Progress = lambda done, total: None,
) -> PixelReport:
    """Return pairs of items on different sides: of equal digest under different names; of different people that look the same.

    `digests` and `hashes` are by item; items without them are counted as not compared. Every pair on different sides is looked at:
    10,000 pictures in several folds take about 3 s on one core.
    """
    names = [name for name in split.items if name in digests]
    sides = _Sides(split, names)
    exact, near = _Closest(), _Closest()
    _add_equal(exact, names, digests, sides)
    hashed = [index for index, name in enumerate(names) if hashes and name in hashes]
    if hashed:
        _add_near(near, split, names, digests, hashed, hashes, sides, threshold, progress)
    pairs = [sides.pair(kind, *found) for kind, closest in (("exact", exact), ("near", near)) for found in closest.found]
    compared = len(names) if hashes is None else len(hashed)
    return PixelReport(
        compared=compared, not_compared=len(split.items) - compared, threshold=None if hashes is None else threshold,
        exact=exact.count, near=near.count, pairs=tuple(pairs), notes=notes,
    )


class _Closest:
    """Counts pairs and keeps the closest, so that memory stays small whatever a split holds."""

    def __init__(self):
        self.count = 0
        self.found: list[tuple[int, bool, int, int]] = []                # (distance, mirrored, item, item)

    def add(self, distance: np.ndarray, mirrored: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        self.count += len(a)
        first = np.argsort(distance, kind="stable")[:_KEPT]
        columns = (column[first].tolist() for column in (distance, mirrored, a, b))
        self.found = sorted([*self.found, *zip(*columns, strict=True)])[:_KEPT]


class _Sides:
    """In which folds each item is trained on, and in which it is tested, as bits."""

    def __init__(self, split: Split, names: list[str]):
        self.split, self.names = split, names
        index = {name: place for place, name in enumerate(names)}
        words = (len(split.folds) + 63) // 64
        self.train, self.test = np.zeros((2, len(names), words), np.uint64)
        for number, fold in enumerate(split.folds):
            word, bit = number // 64, np.uint64(1 << number % 64)
            for side, members in ((self.train, fold.train), (self.test, fold.test)):
                side[[index[name] for name in set(members) if name in index], word] |= bit

    def apart(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Say for items a (n,) and b (n,) whether a fold has them on different sides."""
        return ((self.test[a] & self.train[b]) | (self.train[a] & self.test[b])).any(-1)

    def pair(self, kind: str, distance: int, mirrored: bool, a: int, b: int) -> Pair:
        """Return the pair as it stands in the first fold that has it on different sides."""
        for number, fold in enumerate(self.split.folds):
            word, bit = number // 64, np.uint64(1 << number % 64)
            for test, train in ((a, b), (b, a)):
                if self.test[test, word] & bit and self.train[train, word] & bit:
                    items = self.split.items[self.names[test]], self.split.items[self.names[train]]
                    return Pair(kind, distance, mirrored, *(item.image for item in items), *(item.subject for item in items), fold.name)
        raise AssertionError("a pair that is not apart")


def _add_equal(exact: _Closest, names: list[str], digests: Mapping[str, str], sides: _Sides) -> None:
    """Add pairs of items with equal bytes on different sides."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        groups[digests[name]].append(index)
    for group in groups.values():
        members = np.array(group)
        for place in range(len(members) - 1):
            others = members[place + 1 :]
            others = others[sides.apart(np.full_like(others, members[place]), others)]
            zeros = np.zeros_like(others)
            exact.add(zeros, zeros.astype(bool), np.full_like(others, members[place]), others)


def _add_near(
    near: _Closest, split: Split, names, digests, hashed: list[int], hashes, sides: _Sides, threshold: int, progress: Progress
) -> None:
    """Add pairs of different people whose hashes differ by at most `threshold` bits, on different sides, of unequal bytes.

    Of one split only what is tested is compared with what is trained on; of several folds nearly everything is both.
    """
    index = np.array(hashed)                                             # (N,)
    bits = np.stack([hashes[names[i]].bits for i in hashed])             # (N, 4)
    mirrored = np.stack([hashes[names[i]].mirrored for i in hashed])     # (N, 4)
    people = _numbers([split.items[names[i]].subject or names[i] for i in hashed])     # (N,); of people unknown all pairs are looked at
    contents = _numbers([digests[names[i]] for i in hashed])             # (N,)
    everything = np.ones(len(hashed), bool)
    trained, tested = (side[index].any(-1) for side in (sides.train, sides.test)) if len(split.folds) == 1 else (everything, everything)
    rounds = [(tested, trained), (trained & ~tested, tested)]            # each pair once, the item that is first in `names` on the left
    total, done = sum(int(left.sum()) for left, _ in rounds), 0
    for left, right in rounds:
        rows, columns = np.flatnonzero(left), np.flatnonzero(right)
        for some in np.split(rows, range(_BLOCK, len(rows), _BLOCK)):
            later = columns[np.searchsorted(columns, some[0]) :] if len(some) else columns[:0]
            for others in np.split(later, range(_COLUMNS, len(later), _COLUMNS)):
                straight, turned = _distances(bits[some], bits[others]), _distances(mirrored[some], bits[others])       # (rows, columns)
                closest = np.minimum(straight, turned)
                place, other = np.nonzero(closest <= threshold)
                distance, flip = closest[place, other].astype(np.int64), (turned < straight)[place, other]
                a, b = some[place], others[other]
                keep = (b > a) & (people[a] != people[b]) & (contents[a] != contents[b]) & sides.apart(index[a], index[b])
                near.add(distance[keep], flip[keep], index[a[keep]], index[b[keep]])
            done += len(some)
            progress(done, total)


def _numbers(values: list[str]) -> np.ndarray:
    """Return equal numbers for equal values."""
    number = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return how many bits differ between hashes (n, 4) and (m, 4), as (n, m) uint16."""
    total = np.zeros((len(a), len(b)), np.uint16)
    for word in range(a.shape[1]):
        total += np.bitwise_count(a[:, None, word] ^ b[None, :, word])
    return total
