"""FAN, the face alignment network of Bulat and Tzimiropoulos (ICCV 2017), through the package face-alignment.

In:  pictures. Out: 68 points with sub-pixel precision.

The package cuts its points to whole pixels; here the crop is exact and the peak of each heat map is found by a parabola
through the logarithms of its neighbours (Zhang et al., CVPR 2020), so that a Gaussian's centre comes out to a small
fraction of a pixel. The network, its flipped pass and the geometry of its crop are the package's.

The model files lie where face-alignment keeps them (fer_data/weights.py); they are checked before the package sees them, and
it is told the detector's path, for left alone it unpickles that file without restriction. This backend never downloads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from fer_data import weights
from fer_data.errors import LandmarkError, WeightsError
from fer_data.faces.landmarks.base import Box, DetectorBackend
from fer_data.files import sha256_of_bytes
from fer_data.text import unknown

__all__ = ["FanBackend", "NETWORK", "DETECTORS", "crop_matrix", "heat_map_peaks"]

NETWORK, _SFD = "2DFAN4-11f355bf06.pth.tar", "s3fd-619a316812.pth"   # model files, as weights.json lists them
DETECTORS = ("sfd", "dlib")           # face-alignment's S3FD (needs its model file), or dlib's HOG (needs the extra [dlib])
_CROP, _HEAT = 256, 64                # side of the network's input and of its heat maps, px
_SCALE_PX = 200.0                     # the crop is this many pixels wide at scale 1 (face_alignment.utils.SCALE_FACTOR)
_REFERENCE = 195.0                    # width plus height of a box at scale 1 (face_alignment.utils.REFERENCE_SCALE)
_UP = 0.12                            # the crop's centre lies this share of the box above its own (CENTER_Y_OFFSET)


class FanBackend(DetectorBackend):
    """face-alignment's 2DFAN-4 with the detector `sfd` (its own) or `dlib`."""

    name = "fan"

    def __init__(self, detector: str | None = "sfd", device: str = "cpu"):
        """Load the networks; detector None: `detect` will not be called.

        Raises WeightsError if a model file is missing, LandmarkError for an unknown detector.
        """
        if detector is not None and detector not in DETECTORS:
            raise LandmarkError(f"opening the fan backend: {unknown('detector', detector, DETECTORS)}")
        doing = "opening the fan backend"
        names = [NETWORK, _SFD] if detector == "sfd" else [NETWORK]
        paths = {name: weights.require(name, doing) for name in names}
        import torch

        self.version = version("face-alignment")
        self.weights_sha256 = sha256_of_bytes("".join(weights.choose((name,))[0].sha256 for name in names).encode())
        self.settings = {"detector": detector, "device": device, "torch": torch.__version__}
        self._device = device
        package = _open_package(paths, device)
        self._network = package.face_alignment_net
        if detector == "sfd":
            self._detect = lambda picture: [tuple(map(float, box[:4])) for box in package.face_detector.detect_from_image(_rgb(picture))]
        elif detector == "dlib":
            self._detect, self.settings["dlib"] = _open_hog(doing)

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Return the boxes of all faces."""
        with _one_thread():
            return self._detect(picture)

    def predict_all(self, pictures: list[np.ndarray], box: Box) -> np.ndarray:
        """Return the (N, 68, 2) float64 points of the face in `box`, sub-pixel; one forward pass, and one mirrored."""
        import torch
        from face_alignment.utils import flip

        matrix = crop_matrix(box)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crops = np.stack([cv2.warpAffine(_rgb(picture), matrix, (_CROP, _CROP), flags=flags) for picture in pictures])
        batch = torch.from_numpy(crops).permute(0, 3, 1, 2).float().div(255).to(self._device)  # (N, 3, 256, 256)
        with _one_thread(), torch.inference_mode():
            heat = self._last(self._network(batch)) + flip(self._last(self._network(flip(batch))), is_label=True)
        heat = heat.float().cpu().numpy()  # (N, 68, 64, 64)
        peaks = heat_map_peaks(heat.reshape(-1, _HEAT, _HEAT)).reshape(len(pictures), -1, 2)  # (N, 68, 2), heat map pixels
        # Centre of heat map pixel p lies at (p + 0.5) * 4 - 0.5 of the crop.
        return ((peaks + 0.5) * (_CROP / _HEAT) - 0.5) @ matrix[:, :2].T + matrix[:, 2]

    @staticmethod
    def _last(output):
        """Return the heat maps of the last hourglass, (N, 68, 64, 64)."""
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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: sums do not depend on the number of cores, and worker processes do not fight for them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _open_package(paths: dict[str, Path], device: str):
    """Return face_alignment.FaceAlignment with networks from checked files; without S3FD's it detects nothing.

    Raises WeightsError if torch.hub was told to look elsewhere: the package would then download.
    """
    from face_alignment import FaceAlignment, LandmarksType
    from torch.hub import get_dir

    theirs = Path(get_dir()) / "checkpoints" / NETWORK
    if theirs != paths[NETWORK]:
        ours = f"{theirs}, not at {paths[NETWORK]}; leave torch.hub.set_dir alone"
        raise WeightsError(f"opening the fan backend: face-alignment looks at {ours}")
    # The package's own dlib detector warns that it is deprecated; `folder` loads nothing, and dlib is called directly.
    options = {"face_detector": "folder"}
    if _SFD in paths:
        options = {"face_detector": "sfd", "face_detector_kwargs": {"path_to_detector": str(paths[_SFD])}}
    return FaceAlignment(LandmarksType.TWO_D, device=device, compile=False, **options)


def _open_hog(doing: str) -> tuple[Callable[[np.ndarray], list[Box]], str]:
    """Return dlib's HOG detector as a function from a picture to boxes, and dlib's version."""
    from fer_data.faces.landmarks.dlib68 import boxes_of, import_dlib

    dlib = import_dlib(doing)
    hog = dlib.get_frontal_face_detector()
    return lambda picture: boxes_of(hog, picture), dlib.__version__


def _rgb(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
