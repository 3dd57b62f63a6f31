"""Pictures that others cropped to the face: no points at all, or points without a detector.

In:  pictures. Out: Landmarks that are all NaN (NoBackend), or those of another backend with the whole picture as the box.

`--landmarks none` is a choice, never a fallback: it is right only where every picture is a face and nothing else.
"""

import numpy as np

from fer_data.faces.landmarks.base import Backend, DetectorBackend, Origin
from fer_data.records import Landmarks

__all__ = ["NO_POINTS", "NoBackend", "WholePicture"]

NO_POINTS = "none"                    # name of the backend that looks for no points


class NoBackend(Backend):
    """Takes every picture as a face."""

    name = NO_POINTS
    version = ""
    weights_sha256 = ""

    def __init__(self):
        self.settings: dict = {}

    def locate(self, pictures: list[np.ndarray], origin: Origin | None = None) -> list[Landmarks | str]:
        """Return Landmarks that are all NaN, with the whole picture as the box."""
        return [Landmarks(np.full((68, 2), np.nan), _whole(picture)) for picture in pictures]


class WholePicture(Backend):
    """A point predictor that is told where the face is: everywhere."""

    def __init__(self, backend: DetectorBackend):
        self._backend = backend
        self.name, self.version, self.weights_sha256 = backend.name, backend.version, backend.weights_sha256
        self.settings = {**backend.settings, "detector": "whole"}

    def locate(self, pictures: list[np.ndarray], origin: Origin | None = None) -> list[Landmarks | str]:
        """Return for each picture the Landmarks that the backend predicts in it; there is no picture without a face."""
        return [Landmarks(self._backend.predict(picture, _whole(picture)), _whole(picture)) for picture in pictures]


def _whole(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Return the box of the whole picture: left, top, right, bottom."""
    return 0.0, 0.0, picture.shape[1] - 1.0, picture.shape[0] - 1.0
