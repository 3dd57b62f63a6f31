"""Find and align the faces of any picture exactly as `prepare` does.

In:  a landmark backend's name and detector, as a prepared folder's settings have them; pictures (H, W) or (H, W, 3) RGB, uint8,
     or picture files.
Out: Found, the face that `prepare` would take first; what was found and cannot be aligned, as sentences. Of files the one face
     that `prepare` takes, for all of them or an error: nothing is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_data.errors import ImageError, LandmarkError, UnreadableError
from fer_data.faces.align import TEMPLATE, align, place_whole
from fer_data.faces.landmarks import ALONE, backend_options, open_backend
from fer_data.faces.landmarks.base import Backend
from fer_data.faces.landmarks.none import NO_POINTS
from fer_data.faces.pose import eye_distance_px, patch_px, yaw_deg
from fer_data.files import read_file
from fer_data.pictures.decode import decode, grey_of
from fer_data.records import UNUSABLE, Landmarks
from fer_data.text import counted, either

__all__ = ["Finder", "Found", "align_files"]


_FILLS = 0.6                          # a face of less than this share of the shorter side is not the whole picture


@dataclass(frozen=True)
class Found:
    """One face of a picture."""

    pixels: np.ndarray                # (132, 132) grey or (132, 132, 3) RGB, uint8
    points: np.ndarray                # (68, 2) float64, (x, y) pixels of the picture; all NaN from the backend `none`
    box: tuple[float, float, float, float]       # left, top, right, bottom of the detector, pixels
    eye_distance_px: float            # between the centres of the eyes, in the picture
    patch_px: float                   # side, in pixels of the picture, of what a network sees of it
    yaw_deg: float | None             # faces/pose.py; None without points
    residual_px: float                # of the alignment, as in the manifest
    doubt: str = ""                   # of the framing, as Finder.doubt_of_whole has it
    others: int = 0                   # how many other faces the detector saw beside it


class Finder:
    """Finds and aligns the faces of one picture after another."""

    def __init__(
        self,
        landmarks: str,
        detector: str = "sfd",
        colour: bool = False,
        small_faces: bool = False,
        *,
        template: np.ndarray = TEMPLATE,                            # where rigid points go, (13, 2) canvas px: that of `prepare`
        search: Backend | None = None,                              # finds faces in pictures that are not one face from edge to edge
        doubt_of_whole: Callable[[np.ndarray], str] | None = None,  # of a picture that is taken as a face: why it is none, or ""
    ):
        """Open the backend. Raises LandmarkError if it cannot look at a single picture, WeightsError if it lacks a file."""
        if landmarks not in ALONE:
            raise LandmarkError(f"finding faces in new pictures: the backend {landmarks!r} cannot do that alone; choose {either(ALONE)}")
        self._backend = open_backend(landmarks, **backend_options(landmarks, detector, small_faces=small_faces))
        self.colour, self.identity = colour, self._backend.identity()
        self.template, self._search, self._doubt_of_whole = template, search, doubt_of_whole

    @property
    def checks_framing(self) -> bool:
        """Whether a picture that is taken as a face is looked at for being one."""
        return self._doubt_of_whole is not None

    def __call__(self, picture: np.ndarray, thorough: bool = False) -> tuple[list[Found], list[str]]:
        """Return the faces of a picture, and a sentence for each that cannot be aligned.

        `thorough` looks for small faces beside a large one. Raises ImageError unless it is a picture, uint8.
        """
        picture = self._looked_at(picture)
        faces, unusable = [], []
        for one in self._elsewhere(picture, thorough) or self._backend.locate_all(picture, thorough):
            try:
                faces.append(self._aligned(picture, one))
            except LandmarkError as error:
                unusable.append(str(error))
        return faces, unusable

    def _elsewhere(self, picture: np.ndarray, thorough: bool) -> list[Landmarks]:
        """Return the faces of a picture that was to be taken as one face, and is not: they are much smaller than it is."""
        if self._search is None:
            return []
        found = self._search.locate_all(picture, thorough)
        side = min(picture.shape[:2])
        return found if found and found[0].box[2] - found[0].box[0] < _FILLS * side else []

    def first(self, picture: np.ndarray) -> Found:
        """Return the face that `prepare` takes of a picture. Raises LandmarkError if there is none or it cannot be aligned."""
        picture = self._looked_at(picture)
        located = self._backend.locate([picture], None)[0]
        if isinstance(located, str):
            raise LandmarkError(f"{UNUSABLE[located.partition(': ')[0]]} (backend {self._backend.name})")
        return self._aligned(picture, located)

    def _aligned(self, picture: np.ndarray, one: Landmarks) -> Found:
        """Return a face on the canvas. Raises LandmarkError for points that cannot be aligned."""
        whole = self._backend.name == NO_POINTS
        face = place_whole(picture) if whole else align(picture, one.points, self.template)
        sizes = eye_distance_px(face.matrix), patch_px(face.matrix)
        doubt = self._doubt_of_whole(picture) if whole and self._doubt_of_whole else ""
        return Found(face.pixels, one.points, one.box, *sizes, yaw_deg(one.points), face.residual_px, doubt, one.faces_found - 1)

    def _looked_at(self, picture: np.ndarray) -> np.ndarray:
        """Return the picture in the colours of the prepared faces."""
        shape = picture.shape
        if picture.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise ImageError(f"finding faces: a picture is (H, W) or (H, W, 3) RGB of uint8, got {shape} of {picture.dtype}")
        if self.colour:
            return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
        return picture if picture.ndim == 2 else grey_of(picture)


def align_files(paths: tuple[Path, ...], finder: Finder) -> tuple[np.ndarray, list[str]]:
    """Return the face that `prepare` takes of each picture file, in their order: (N, 132, 132[, 3]) uint8, grey or RGB.

    And what there is to know of the files, a sentence each: damage, fewer bits, other faces, another framing.
    Raises LandmarkError where no face is found or it cannot be aligned, ImageError for what is no picture or cannot be read.
    """
    faces, remarks = [], []
    for path in map(Path, paths):
        try:
            picture, remark = decode(read_file(path), finder.colour, str(path))
            found = finder.first(picture)
        except UnreadableError as error:
            raise ImageError(f"aligning pictures: {error}") from error
        except LandmarkError as error:
            raise LandmarkError(f"aligning {path}: {error}") from error
        faces.append(found.pixels)
        others = f"the largest face is taken, {counted(found.others, 'other')} left out" if found.others else ""
        remarks += [f"{path}: {text}" for text in (remark.text and f"it {remark.text}", others, found.doubt) if text]
    return np.stack(faces), remarks
