"""What backends share that read points which somebody else found.

In:  files with points of whole pictures, named by the backend.
Out: Landmarks in the framed picture, or a reason of records.UNUSABLE.
"""

from abc import abstractmethod
from pathlib import Path

import numpy as np

from fer_data.errors import LandmarkError
from fer_data.faces.landmarks.base import Backend, Origin
from fer_data.pictures.decode import unframe_points
from fer_data.records import Landmarks, Sequence

__all__ = ["GivenBackend", "checked", "frame_points"]

POINTS = 68
READER = 2                            # raised when files can be read that could not be before: failures that were kept no longer count


class GivenBackend(Backend):
    """Reads points; detects nothing. Its box is the extent of the points."""

    weights_sha256 = ""

    @abstractmethod
    def read(self, root: Path, sequence: Sequence) -> list[tuple[np.ndarray, int] | str]:
        """Return for each frame of the sequence its points (68, 2) and how many faces were given, or a reason.

        Points are float64 (x, y) of the whole picture, origin at the centre of the top-left pixel.
        """

    def identity(self) -> dict:
        """Return what a result depends on: which files can be read, too."""
        return {**super().identity(), "reader": READER}

    def locate(self, pictures: list[np.ndarray], origin: Origin) -> list[Landmarks | str]:
        """Return for each picture its Landmarks, or a reason with a sentence."""
        given = self.read(origin.root, origin.sequence)
        return [
            _landmarks(given[index], picture, origin.framing, size)
            for index, picture, size in zip(origin.frames, pictures, origin.sizes, strict=True)
        ]


def _landmarks(given: tuple[np.ndarray, int] | str, picture: np.ndarray, framing: str, size: tuple[int, int]) -> Landmarks | str:
    if isinstance(given, str):
        return given
    points = frame_points(given[0], framing, size)
    (x, y), (height, width) = points.mean(0), picture.shape[:2]
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        return f"no-face: the points given for it lie outside the picture ({framing}, {width}x{height})"
    return Landmarks(points, (*points.min(0).tolist(), *points.max(0).tolist()), given[1])


def frame_points(points: np.ndarray, framing: str, size: tuple[int, int]) -> np.ndarray:
    """Return points (L, 2) of a picture of size (width, height) as points of the framed picture: undoes unframe_points."""
    origin, right, down = unframe_points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), framing, size)
    axes = np.stack([right - origin, down - origin], -1)  # (2, 2): framed -> whole
    return (np.asarray(points, np.float64) - origin) @ np.linalg.inv(axes).T


def checked(points: np.ndarray) -> np.ndarray:
    """Return points (68, 2) float64. Raises LandmarkError if one is not a finite number."""
    if not np.isfinite(points).all():
        raise LandmarkError(f"{np.sum(~np.isfinite(points).all(1))} of {POINTS} points are not finite numbers")
    return points
