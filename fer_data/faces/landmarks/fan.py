"""FAN, the face alignment network of Bulat and Tzimiropoulos (ICCV 2017), through the package face-alignment.

In:  pictures. Out: 68 points with sub-pixel precision.

The package cuts its points to whole pixels; here the crop is exact and the peak of each heat map is found by a parabola
through the logarithms of its neighbours (Zhang et al., CVPR 2020), so that a Gaussian's centre comes out to a small
fraction of a pixel. The network, its flipped pass and the geometry of its crop are the package's.

Model files are looked for where face-alignment keeps them: $TORCH_HOME/hub/checkpoints (default ~/.cache/torch/...).
This backend never downloads.
"""

import cv2
import numpy as np

from fer_data.errors import LandmarkError, WeightsError
from fer_data.faces.landmarks.base import Box, DetectorBackend
from fer_data.store.files import sha256_of_bytes, sha256_of_file

__all__ = ["FanBackend", "WEIGHTS", "DETECTORS", "weights_path", "crop_matrix", "heat_map_peaks"]

# file name -> where its makers publish it; the name holds the first ten hex digits of the sha256
WEIGHTS = {
    "2DFAN4-11f355bf06.pth.tar": "https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
    "s3fd-619a316812.pth": "https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
}
DETECTORS = ("sfd", "dlib")           # face-alignment's S3FD (needs its model file), or dlib's HOG (needs the extra [dlib])
_CROP, _HEAT = 256, 64                # side of the network's input and of its heat maps, px
_SCALE_PX = 200.0                     # the crop is this many pixels wide at scale 1 (face_alignment.utils.SCALE_FACTOR)
_REFERENCE = 195.0                    # width plus height of a box at scale 1 (face_alignment.utils.REFERENCE_SCALE)
_UP = 0.12                            # the crop's centre lies this share of the box above its own (CENTER_Y_OFFSET)


def weights_path(name: str):
    """Return the path of a model file of WEIGHTS.

    Raises WeightsError if it is missing or if its sha256 does not begin as its name says; the sentence says what to put
    where, and that `--landmarks dlib` works without it.
    """
    from pathlib import Path

    from torch.hub import get_dir

    path = Path(get_dir()) / "checkpoints" / name
    way_out = f"put the file from {WEIGHTS[name]} there, or use --landmarks dlib, which needs no download"
    if not path.is_file():
        raise WeightsError(f"opening the fan backend: {path} is missing; {way_out}")
    expected = name.split("-")[1].split(".")[0]
    got = sha256_of_file(path)
    if not got.startswith(expected):
        raise WeightsError(f"opening the fan backend: the sha256 of {path} must begin with {expected}, got {got[:10]}; {way_out}")
    return path


class FanBackend(DetectorBackend):
    """face-alignment's 2DFAN-4 with the detector `sfd` (its own) or `dlib`."""

    name = "fan"

    def __init__(self, detector: str = "sfd", device: str = "cpu"):
        """Load the network. Raises WeightsError if a model file is missing, LandmarkError for an unknown detector."""
        if detector not in DETECTORS:
            raise LandmarkError(f"opening the fan backend: allowed detectors are {', '.join(DETECTORS)}; got {detector!r}")
        names = [name for name in WEIGHTS if detector == "sfd" or not name.startswith("s3fd")]
        paths = [weights_path(name) for name in names]
        self.weights_sha256 = sha256_of_bytes("".join(sha256_of_file(path) for path in paths).encode())
        self.settings = {"detector": detector}
        self._device = device
        self._detect, self._network, self.version = _load(detector, device)

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all faces."""
        return self._detect(picture)

    def predict(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """Return the (68, 2) float64 points of the face in `box`, sub-pixel."""
        import torch
        from face_alignment.utils import flip

        matrix = crop_matrix(box)
        crop = cv2.warpAffine(_rgb(picture), matrix, (_CROP, _CROP), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        batch = torch.from_numpy(crop).permute(2, 0, 1)[None].float().div(255).to(self._device)  # (1, 3, 256, 256)
        with torch.inference_mode():
            heat = self._last(self._network(batch)) + flip(self._last(self._network(flip(batch))), is_label=True)
        peaks = heat_map_peaks(heat[0].float().cpu().numpy())  # (68, 2), heat map pixels
        # Centre of heat map pixel p lies at (p + 0.5) * 4 - 0.5 of the crop.
        return ((peaks + 0.5) * (_CROP / _HEAT) - 0.5) @ matrix[:, :2].T + matrix[:, 2]

    @staticmethod
    def _last(output):
        """Return the heat maps of the last hourglass, (1, 68, 64, 64)."""
        return output[-1] if isinstance(output, (list, tuple)) else output


def crop_matrix(box: Box) -> np.ndarray:
    """Return the (2, 3) float64 matrix from a pixel of the 256x256 crop to the picture.

    Convention: (x, y), origins at the centres of the top-left pixels; geometry as in face_alignment.api: a square of
    200 * (width + height) / 195 px whose centre lies 12 % of the height above that of the box.
    """
    left, top, right, bottom = box
    side = _SCALE_PX * (right - left + bottom - top) / _REFERENCE
    step = side / _CROP
    x = (left + right) / 2 - side / 2 + (step - 1) / 2
    y = (top + bottom) / 2 - _UP * (bottom - top) - side / 2 + (step - 1) / 2
    return np.array([[step, 0.0, x], [0.0, step, y]])


def heat_map_peaks(heat: np.ndarray) -> np.ndarray:
    """Return the peaks (L, 2) float64, (x, y) in heat map pixels, of heat maps (L, H, W).

    A parabola through the logarithms of the peak and its two neighbours on each axis gives a Gaussian's centre exactly.
    At the border, and where a neighbour is not positive, the whole pixel stands.
    """
    height, width = heat.shape[1:]
    flat = heat.reshape(len(heat), -1).argmax(1)
    y, x = np.divmod(flat, width)
    peaks = np.stack([x, y], -1).astype(np.float64)  # (L, 2)
    for axis, (dx, dy), limit in ((0, (1, 0), width), (1, (0, 1), height)):
        inside = (peaks[:, axis] > 0) & (peaks[:, axis] < limit - 1)
        for index in np.flatnonzero(inside):
            around = heat[index, [y[index] - dy, y[index], y[index] + dy], [x[index] - dx, x[index], x[index] + dx]].astype(np.float64)
            if (around > 0).all():
                before, at, after = np.log(around)
                bend = before - 2 * at + after
                if bend < 0:
                    peaks[index, axis] += 0.5 * (before - after) / bend
    return peaks


def _load(detector: str, device: str):
    """Return (detect, network, version); model files are known to be there."""
    from importlib.metadata import version

    from face_alignment import FaceAlignment, LandmarksType

    # The package's own dlib detector warns that it is deprecated; `folder` loads nothing, and dlib is called directly.
    package = FaceAlignment(
        LandmarksType.TWO_D, device=device, compile=False, face_detector="sfd" if detector == "sfd" else "folder"
    )
    if detector == "sfd":

        def detect(picture: np.ndarray) -> list[Box]:
            return [tuple(float(side) for side in box[:4]) for box in package.face_detector.detect_from_image(_rgb(picture).copy())]

    else:
        import dlib

        hog = dlib.get_frontal_face_detector()

        def detect(picture: np.ndarray) -> list[Box]:
            return [(box.left(), box.top(), box.right(), box.bottom()) for box in hog(picture, 0)]

    return detect, package.face_alignment_net, version("face-alignment")


def _rgb(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
