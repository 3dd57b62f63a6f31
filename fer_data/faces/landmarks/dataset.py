"""The points that a database itself gives: CK+'s active appearance model, one file for each picture.

In:  Frame.points, the file that the adapter found for a frame: 68 lines "   2.2471830e+02   2.0766094e+02", x and y.
Out: 68 points, sub-pixel, (x, y) from 0, iBUG order.

A frame without a file, or with one that cannot be read, is skipped with its reason; nothing is detected in its place.
Source: the README of CK+ (Lucey et al. 2010).
"""

from pathlib import Path

import numpy as np

from fer_data.errors import LandmarkError, TableError, UnreadableError
from fer_data.faces.landmarks.given import POINTS, GivenBackend, checked
from fer_data.files import read_file, sha256_of_bytes
from fer_data.records import Sequence
from fer_data.tables import text_of

__all__ = ["DatasetBackend", "parse_points"]


class DatasetBackend(GivenBackend):
    """Reads the database's own points."""

    name = "dataset"
    version = "1"                     # of what the points are

    def __init__(self):
        """Nothing needs to be loaded."""
        self.settings = {}

    def evidence(self, root: Path, sequence: Sequence) -> list[str | None]:
        """Return the sha256 of each frame's file of points, None where there is none, the reason where it cannot be read."""
        files = [_bytes(root, frame.points) for frame in sequence.frames]
        return [sha256_of_bytes(data) if isinstance(data, bytes) else data for data in files]

    def read(self, root: Path, sequence: Sequence) -> list[tuple[np.ndarray, int] | str]:
        """Return the points of each frame, or "no-landmarks" or "bad-landmarks" with a sentence."""
        return [_read(_bytes(root, frame.points)) for frame in sequence.frames]


def parse_points(data: bytes) -> np.ndarray:
    """Return the points (68, 2) float64 in the bytes of a *_landmarks.txt file.

    Raises LandmarkError for anything but 68 lines of two finite numbers; blank lines and CRLF are allowed, and the
    encodings of fer_data.tables.

    >>> parse_points(b"   2.2471830e+02   2.0766094e+02\\n" * 68)[0].tolist()
    [224.7183, 207.66094]
    """
    rule = f"its file of points must hold {POINTS} lines of two numbers"
    try:
        lines = [[float(number) for number in line.split()] for line in text_of(data)[0].splitlines() if line.strip()]
    except (TableError, ValueError) as error:  # no text, or no number
        raise LandmarkError(f"{rule} ({error})") from error
    if len(lines) != POINTS:
        raise LandmarkError(f"{rule}, got {len(lines)} lines")
    odd = [number for number, line in enumerate(lines, 1) if len(line) != 2]
    if odd:
        raise LandmarkError(f"{rule}, got {len(lines[odd[0] - 1])} in line {odd[0]}")
    return checked(np.array(lines))


def _read(data: bytes | str | None) -> tuple[np.ndarray, int] | str:
    if data is None:
        return "no-landmarks: the database has no file of points for it"
    if isinstance(data, str):
        return f"no-landmarks: its file of points {data}"
    try:
        return parse_points(data), 1
    except LandmarkError as error:
        return f"bad-landmarks: {error}"


def _bytes(root: Path, points: str | None) -> bytes | str | None:
    """Return the bytes of a file of points, why it cannot be read, or None if there is none."""
    try:
        return None if points is None else read_file(root / points)
    except UnreadableError as error:
        return error.why
