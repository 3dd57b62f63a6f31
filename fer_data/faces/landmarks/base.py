"""What every landmark backend has in common: largest face wins, one box may serve a few frames, no face is a reason.

In:  framed pictures of one sequence, in order.
Out: Landmarks or a reason of records.UNUSABLE, one for each picture.

Detection runs on a reduced picture (its cost grows with the area), points are found on the full one. A box serves up to
BOX_SERVES frames as long as the face stays where it was.
"""

from abc import ABC, abstractmethod

import cv2
import numpy as np

from fer_data.records import Landmarks

__all__ = ["Backend", "DetectorBackend", "Box", "BOX_SERVES", "reduction"]

Box = tuple[float, float, float, float]  # left, top, right, bottom; pixels

BOX_SERVES = 4                        # frames in a row that one detection may serve
_REDUCED_SIDE_PX = 200                # the shorter side is reduced to no less than this before detection
_DRIFT = 0.15                         # a face that moved further than this share of its size is detected anew


class Backend(ABC):
    """Finds the points of a sequence's faces. What identifies it goes into the manifest and into cache keys."""

    name: str
    version: str                      # of the library that does the work
    weights_sha256: str               # of its model files; "" if it has none
    settings: dict                    # everything else that its result depends on

    @abstractmethod
    def locate(self, pictures: list[np.ndarray]) -> list[Landmarks | str]:
        """Return for each picture its Landmarks, or "no-face"."""

    def identity(self) -> dict:
        """Return what a result of this backend depends on, for cache keys."""
        return {"name": self.name, "version": self.version, "weights_sha256": self.weights_sha256, **self.settings}


class DetectorBackend(Backend):
    """A backend made of a face detector and a point predictor."""

    @abstractmethod
    def detect(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all faces in the picture."""

    @abstractmethod
    def predict(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """Return the (68, 2) float64 points of the face in `box`."""

    def locate(self, pictures: list[np.ndarray]) -> list[Landmarks | str]:
        """Return for each picture its Landmarks, or "no-face" where the detector saw none."""
        found: list[Landmarks | str] = []
        box, faces, served, first = None, 0, 0, None
        for picture in pictures:
            if box is None or served == BOX_SERVES:
                box, faces = self._largest(picture)
                served, first = 0, None
            if box is None:
                found.append("no-face")
                continue
            points = self.predict(picture, box)
            if first is not None and _drift(first, points) > _DRIFT:
                box, faces = self._largest(picture)
                served, first = 0, None
                if box is None:
                    found.append("no-face")
                    continue
                points = self.predict(picture, box)
            first = points if first is None else first
            served += 1
            found.append(Landmarks(points, box, faces))
        return found

    def _largest(self, picture: np.ndarray) -> tuple[Box | None, int]:
        """Return the box of the largest face and how many faces there are; a miss is tried again at full size."""
        factor = reduction(picture.shape)
        small = picture
        if factor > 1:
            height, width = (side // factor for side in picture.shape[:2])
            small = cv2.resize(picture[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
        boxes = [tuple(float(side) * factor for side in box) for box in self.detect(small)]
        if not boxes and factor > 1:
            boxes = [tuple(map(float, box)) for box in self.detect(picture)]
        if not boxes:
            return None, 0
        return max(boxes, key=lambda box: ((box[2] - box[0]) * (box[3] - box[1]), box)), len(boxes)


def reduction(shape: tuple[int, ...]) -> int:
    """Return the whole factor by which a picture of this shape is reduced before detection.

    >>> [reduction(shape) for shape in [(490, 640), (240, 320), (576, 720), (1329, 1040)]]
    [2, 1, 2, 5]
    """
    return max(1, min(shape[:2]) // _REDUCED_SIDE_PX)


def _drift(before: np.ndarray, after: np.ndarray) -> float:
    """Return how far the middle of the points moved, as a share of the extent of the points."""
    extent = float(np.ptp(before, axis=0).max())
    return float(np.abs(after.mean(0) - before.mean(0)).max()) / max(extent, 1e-9)
