"""Pictures whose face is where others say: no points at all, or points without a detector.

In:  pictures that others cropped to the face, or pictures with the boxes that a database gives (Frame.box).
Out: Landmarks that are all NaN (NoBackend), or those of another backend; their box is the given one, else the whole picture.

`--landmarks none` is a choice, never a fallback: it is right only where every picture, or every box, is a face and nothing else.
"""

from abc import abstractmethod
from pathlib import Path

import numpy as np

from fer_data.faces.landmarks.base import Backend, Box, DetectorBackend, Origin
from fer_data.records import Landmarks, Sequence

__all__ = ["NO_POINTS", "NoBackend", "WholePicture"]

NO_POINTS = "none"                    # name of the backend that looks for no points


class _BoxedBackend(Backend):
    """Looks for no face: it is where the database says, or the picture is one."""

    takes_boxes = True

    def evidence(self, root: Path, sequence: Sequence) -> list:
        """Return the boxes of the frames, if the database gives some."""
        boxes = [frame.box and list(frame.box) for frame in sequence.frames]
        return [boxes] if any(boxes) else []

    def locate(self, pictures: list[np.ndarray], origin: Origin | None = None) -> list[Landmarks | str]:
        """Return the Landmarks of each picture; "no-face" where the box that is given for it is not in it."""
        given = [None] * len(pictures) if origin is None else [origin.sequence.frames[index].box for index in origin.frames]
        return [self._landmarks(picture, box) for picture, box in zip(pictures, given, strict=True)]

    def _landmarks(self, picture: np.ndarray, given: tuple[int, int, int, int] | None) -> Landmarks | str:
        height, width = picture.shape[:2]
        left, top, right, bottom = given or (0, 0, width - 1, height - 1)
        if given and (right <= 0 or bottom <= 0 or left >= width - 1 or top >= height - 1):
            return f"no-face: the box {left},{top} to {right},{bottom} that is given for it is not in the picture of {width}x{height}"
        box = float(left), float(top), float(right), float(bottom)
        return Landmarks(self.points(picture, box), box)

    @abstractmethod
    def points(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """Return the (68, 2) float64 points of the face in `box`."""


class NoBackend(_BoxedBackend):
    """Takes every picture, or every box, as a face."""

    name = NO_POINTS
    version = ""
    weights_sha256 = ""

    def __init__(self):
        self.settings: dict = {}

    def points(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """Return no points: all are NaN."""
        return np.full((68, 2), np.nan)


class WholePicture(_BoxedBackend):
    """A point predictor that is told where the face is."""

    def __init__(self, backend: DetectorBackend):
        self._backend = backend
        self.name, self.version, self.weights_sha256 = backend.name, backend.version, backend.weights_sha256
        self.settings = {**backend.settings, "detector": "whole"}

    def points(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """Return the points that the backend predicts in the box."""
        return self._backend.predict(picture, box)
