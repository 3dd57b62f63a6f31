"""From the pictures of one sequence to 68 points a face; one backend a file, opened by name.

In:  framed pictures of a sequence, grey (H, W) or RGB (H, W, 3), uint8.
Out: for each picture Landmarks, or the reason why there are none.

Importing this package imports no landmark library; `open_backend` does, and only the one that is asked for.
"""

from pathlib import Path

from fer_data.errors import LandmarkError
from fer_data.faces.landmarks.base import Backend
from fer_data.text import unknown

__all__ = ["ALONE", "BACKENDS", "backend_options", "open_backend"]


def _fan(**options) -> Backend:
    from fer_data.faces.landmarks.fan import FanBackend

    return FanBackend(**options)


def _dlib(**options) -> Backend:
    from fer_data.faces.landmarks.dlib68 import DlibBackend

    return DlibBackend(**options)


def _none(**options) -> Backend:
    from fer_data.faces.landmarks.none import NoBackend

    return NoBackend(**options)


def _dataset(**options) -> Backend:
    from fer_data.faces.landmarks.dataset import DatasetBackend

    return DatasetBackend(**options)


def _openface(**options) -> Backend:
    from fer_data.faces.landmarks.openface import OpenFaceBackend

    return OpenFaceBackend(**options)


BACKENDS = {"fan": _fan, "dlib": _dlib, "dataset": _dataset, "openface": _openface, "none": _none}
ALONE = ("fan", "dlib", "none")       # those that need nothing but the picture; none: it is a face from edge to edge


def backend_options(name: str, detector: str, openface: Path | None = None, small_faces: bool = False) -> dict:
    """Return what `open_backend` is given for the settings of a prepared folder: config.landmarks, config.detector, config.small_faces."""
    whole = {"detector": "whole"} if detector == "whole" else {}
    small = {"small_faces": True} if small_faces and not whole else {}
    options = {"fan": {"detector": detector, **small}, "dlib": {**whole, **small}, "openface": {"folder": openface and str(openface)}}
    return options.get(name, {})


def open_backend(name: str, **options) -> Backend:
    """Return the backend `name` with its model files found and checked.

    `detector="whole"` (fan and dlib) looks for no face: each picture is one, from edge to edge. `small_faces=True` (fan and dlib)
    looks once more, at twice the size, where no face was found.
    Raises LandmarkError for an unknown name, detector or folder of points, WeightsError if a model file or its library is
    missing; the sentence says what to put where.
    """
    if name not in BACKENDS:
        raise LandmarkError(f"opening a landmark backend: {unknown('backend', name, BACKENDS)}")
    if options.get("detector") != "whole":
        small_faces = options.pop("small_faces", False)
        backend = BACKENDS[name](**options)
        if small_faces:
            backend.small_faces = True
        return backend
    from fer_data.faces.landmarks.none import WholePicture

    return WholePicture(BACKENDS[name](**({"detector": None} if name == "fan" else {})))
