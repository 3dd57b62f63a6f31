"""What every landmark backend shares: the largest face is taken, a box may serve several frames, a missing face has a reason.

In:  framed pictures of one sequence, in order, and where they come from.
Out: Landmarks or a reason of records.UNUSABLE, one for each picture.

Detection runs on a reduced picture (its cost grows with the area), points are found on the full one. A box serves up to
BOX_SERVES frames as long as the face stays where it was and the picture in the box stays alike: a predictor gives points
for any box, with a face in it or not.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_data.records import Landmarks, Sequence

__all__ = ["Backend", "DetectorBackend", "Origin", "Box", "BOX_SERVES", "reduction"]

Box = tuple[float, float, float, float]  # left, top, right, bottom; pixels

BOX_SERVES = 4                        # frames in a row that one detection may serve, and that are predicted in one batch
_REDUCED_SIDE_PX = 200                # the shorter side is reduced to no less than this before detection
_DRIFT = 0.15                         # a face that moved further than this share of its size is detected again
_ALIKE = 0.5                          # ... and one that correlates less with the first (sequence: 0.58 to 1, other person: 0.4, no face: 0)
_PATCH_PX = 32                        # side to which boxes are reduced for that
_ENLARGED = 2                         # how much a picture is enlarged in which no face was found, if small faces are looked for
_SEARCHED_PIXELS = 4_000_000          # a larger picture is not enlarged; for small faces next to a large one it is reduced to no less
_SAME_FACE = 0.5                      # a box of which more than this is inside another one is no other face


@dataclass(frozen=True)
class Origin:
    """Where the pictures of one call come from: what a backend needs that reads points instead of finding them."""

    root: Path                        # of the database
    sequence: Sequence                # its `frames` are the used ones
    frames: tuple[int, ...]           # for each picture its position in sequence.frames
    framing: str                      # of records.FRAMINGS: how the pictures are looked at
    sizes: tuple[tuple[int, int], ...]           # for each picture (width, height) before it was framed, px


class Backend(ABC):
    """Finds the points of a sequence's faces. What identifies it goes into the manifest and into cache keys."""

    name: str
    version: str                      # of the library that does the work
    weights_sha256: str               # of its model files; "" if it has none
    settings: dict                    # everything else that its result depends on
    takes_boxes = False               # whether it takes a face to be where the database says (Frame.box); the others look for one

    @abstractmethod
    def locate(self, pictures: list[np.ndarray], origin: Origin) -> list[Landmarks | str]:
        """Return for each picture its Landmarks, or a reason of records.UNUSABLE: "no-face".

        A sentence for people may follow the reason after ": "; it names no file, for results are kept by content.
        """

    def locate_all(self, picture: np.ndarray, thorough: bool = False) -> list[Landmarks]:
        """Return the Landmarks of every face in a picture of no database, the one that `locate` takes first; none: an empty list.

        `thorough` looks for small faces next to a large one, which takes longer.
        """
        return [one for one in self.locate([picture], None) if isinstance(one, Landmarks)]

    def evidence(self, root: Path, sequence: Sequence) -> list:
        """Return, as JSON can say it, what the points of a sequence depend on besides its pictures: hashes, no paths."""
        return []

    def identity(self) -> dict:
        """Return what a result of this backend depends on, for cache keys."""
        return {"name": self.name, "version": self.version, "weights_sha256": self.weights_sha256, **self.settings}


class DetectorBackend(Backend):
    """A backend made of a face detector and a point predictor."""

    small_faces = False               # where no face is found, look once more, at twice the size

    @abstractmethod
    def detect(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all faces in the picture."""

    @abstractmethod
    def predict_all(self, pictures: list[np.ndarray], box: Box) -> np.ndarray:
        """Return the (N, 68, 2) float64 points of the face in `box`, in each of N <= BOX_SERVES pictures."""

    def predict(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """Return the (68, 2) float64 points of the face in `box`."""
        return self.predict_all([picture], box)[0]

    def locate(self, pictures: list[np.ndarray], origin: Origin | None = None) -> list[Landmarks | str]:
        """Return for each picture its Landmarks, or "no-face" where the detector saw none."""
        found: list[Landmarks | str] = []
        while len(found) < len(pictures):
            first = len(found)
            box, faces = self._largest(pictures[first])
            if box is None:
                found.append("no-face")
                continue
            run = pictures[first : first + BOX_SERVES]
            points = self.predict_all(run, box)  # (N, 68, 2)
            found += [Landmarks(one, box, faces) for one in points[: _served(run, points, box)]]
        return found

    def locate_all(self, picture: np.ndarray, thorough: bool = False) -> list[Landmarks]:
        """Return the Landmarks of every face: the largest of those that `locate` sees first, the others from left to right.

        `thorough` looks for small ones, as Backend.locate_all has it, and as `small_faces` does where there is none.
        """
        boxes = self._boxes(picture)
        if thorough and not boxes:
            boxes = self._enlarged(picture)
        first = _largest_of(boxes)
        factor = max(1, math.ceil(math.sqrt(picture.shape[0] * picture.shape[1] / _SEARCHED_PIXELS)))
        if thorough and factor < reduction(picture.shape):
            for box in self._reduced(picture, factor):
                if all(_overlap(box, known) <= _SAME_FACE for known in boxes):
                    boxes.append(box)
        boxes.sort(key=lambda box: (box != first, box))
        return [Landmarks(self.predict(picture, box), box, len(boxes)) for box in boxes]

    def identity(self) -> dict:
        """Return what a result depends on: the rules of this class too."""
        rules = {"box_serves": BOX_SERVES, "reduced_side_px": _REDUCED_SIDE_PX, "drift": _DRIFT, "alike": _ALIKE}
        return {**super().identity(), **rules, **({"small_faces": True} if self.small_faces else {})}

    def _largest(self, picture: np.ndarray) -> tuple[Box | None, int]:
        """Return the box of the largest face and how many faces there are."""
        boxes = self._boxes(picture)
        return _largest_of(boxes), len(boxes)

    def _boxes(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all faces in the reduced picture; a miss is tried again at full size, and at twice that if asked for."""
        factor = reduction(picture.shape)
        boxes = self._reduced(picture, factor)
        if not boxes and factor > 1:
            boxes = self._reduced(picture, 1)
        return boxes or (self._enlarged(picture) if self.small_faces else [])

    def _enlarged(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all faces, found in the enlarged picture; none in a picture that is large already."""
        height, width = picture.shape[:2]
        if height * width > _SEARCHED_PIXELS:
            return []
        large = cv2.resize(picture, (width * _ENLARGED, height * _ENLARGED), interpolation=cv2.INTER_LINEAR)
        # The centre of pixel i lies at _ENLARGED * i + (_ENLARGED - 1) / 2 of the enlarged picture.
        return [tuple((float(side) - (_ENLARGED - 1) / 2) / _ENLARGED for side in box) for box in self.detect(large)]

    def _reduced(self, picture: np.ndarray, factor: int) -> list[Box]:
        """Return the boxes of all faces, found in the picture reduced by a whole factor."""
        small = picture
        if factor > 1:
            height, width = (side // factor for side in picture.shape[:2])
            small = cv2.resize(picture[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
        return [tuple(float(side) * factor for side in box) for box in self.detect(small)]


def _largest_of(boxes: list[Box]) -> Box | None:
    return max(boxes, key=lambda box: ((box[2] - box[0]) * (box[3] - box[1]), box), default=None)


def _overlap(one: Box, other: Box) -> float:
    """Return which share of the smaller of two boxes is inside the other one, 0..1."""
    wide, high = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(wide, 0.0) * max(high, 0.0) / max(smaller, 1e-9)


def reduction(shape: tuple[int, ...]) -> int:
    """Return the whole factor by which a picture of this shape is reduced before detection.

    >>> [reduction(shape) for shape in [(490, 640), (240, 320), (576, 720), (1329, 1040)]]
    [2, 1, 2, 5]
    """
    return max(1, min(shape[:2]) // _REDUCED_SIDE_PX)


def _served(run: list[np.ndarray], points: np.ndarray, box: Box) -> int:
    """Return for how many pictures from the first on the box holds the face; the first is where it was detected."""
    for index in range(1, len(run)):
        if _drift(points[0], points[index]) > _DRIFT or _likeness(run[0], run[index], box) < _ALIKE:
            return index
    return len(run)


def _drift(before: np.ndarray, after: np.ndarray) -> float:
    """Return how far the middle of the points moved, as a share of the extent of the points."""
    extent = float(np.ptp(before, axis=0).max())
    return float(np.abs(after.mean(0) - before.mean(0)).max()) / max(extent, 1e-9)


def _likeness(before: np.ndarray, after: np.ndarray, box: Box) -> float:
    """Return the correlation, -1..1, of what two pictures show in a box; 0 where one of them shows nothing."""
    one, other = _patch(before, box), _patch(after, box)
    spread = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum()) / spread if spread > 1e-6 else 0.0


def _patch(picture: np.ndarray, box: Box) -> np.ndarray:
    """Return what is inside a box, reduced to 32x32, float64, mean 0; the box is cut at the picture's border."""
    height, width = picture.shape[:2]
    left, right = (int(np.clip(round(side), 0, width)) for side in (box[0], box[2] + 1))
    top, bottom = (int(np.clip(round(side), 0, height)) for side in (box[1], box[3] + 1))
    if right <= left or bottom <= top:
        return np.zeros((_PATCH_PX, _PATCH_PX))
    patch = cv2.resize(picture[top:bottom, left:right], (_PATCH_PX, _PATCH_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
    patch = patch if patch.ndim == 2 else patch.mean(-1)  # (32, 32)
    return patch - patch.mean()
