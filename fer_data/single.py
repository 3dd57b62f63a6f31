"""Single pictures, aligned exactly as `prepare` aligns those of a database: files in, faces on the stored canvas out.

In:  picture files; the name of a landmark backend that finds points on its own.
Out: (N, 132, 132[, 3]) uint8, in the order of the files. All of them or an error: nothing is left out.
"""

from pathlib import Path

import numpy as np

from fer_data.errors import ImageError, LandmarkError
from fer_data.faces.landmarks import ALONE, open_backend
from fer_data.prepare.sequence import Task, hash_source, process
from fer_data.records import UNUSABLE, Frame, Sequence

__all__ = ["BACKENDS", "align_files"]

BACKENDS = ALONE


def align_files(paths: tuple[Path, ...], landmarks: str = "fan", colour: bool = False) -> np.ndarray:
    """Return the largest face of each picture, grey or RGB.

    Raises LandmarkError where no face is found, ImageError for what is no picture, WeightsError if the backend cannot run.
    """
    if landmarks not in BACKENDS:
        raise LandmarkError(f"aligning pictures: allowed landmark backends are {', '.join(BACKENDS)}; got {landmarks!r}")
    identity = open_backend(landmarks).identity()
    return np.stack([_align_file(Path(path), landmarks, identity, colour) for path in paths])


def _align_file(path: Path, landmarks: str, identity: dict, colour: bool) -> np.ndarray:
    """Return the face of one picture, a sequence of one frame: (132, 132[, 3]) uint8."""
    sequence = Sequence("picture", "somebody", path.stem, None, (Frame(path.name, 0),))
    task = Task(str(path.parent), sequence, (hash_source(path),), (landmarks, {}), identity, [], colour, cache=None)
    result = process(task)
    if len(result.faces):
        return result.faces[0]
    skip = result.skipped[0]
    error = ImageError if skip.reason == "unreadable" else LandmarkError
    raise error(f"aligning {path}: {UNUSABLE[skip.reason]} ({skip.detail})")
