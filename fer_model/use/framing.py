"""Tell whether a picture is framed like the faces that a network was trained on, and frame a found face as those were.

In:  how the training's faces were found; where its prepared folder was; pictures.
Out: the rigid points on which the training's faces lie on the canvas; a doubt for each picture that is framed otherwise.

A face that was taken as it was cropped, without landmarks, lies on the canvas where its crop put it. Its points are found with dlib in a
few of the training's faces, if they are at hand; else those of a face that fills its crop are taken.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_data.errors import FerError, LandmarkError, WeightsError
from fer_data.faces.align import CROP_AREA, EYE_CENTRE, EYE_DISTANCE, RIGID, TEMPLATE
from fer_data.faces.landmarks import open_backend

__all__ = ["FILLS_CROP", "doubt_of", "measured"]

# A face that fills its crop from the brows to the chin, as CK+48's do: its eyes are so far apart, and lie so high, on the canvas.
FILLS_CROP = (TEMPLATE - np.array(EYE_CENTRE)) * (50.0 / EYE_DISTANCE) + np.array([EYE_CENTRE[0], 43.0])
_SMALLER, _LARGER = 0.7, 1.4          # a face of less, or more, than this share of the size of the training's is framed otherwise
_LOOKED_AT = 40                       # faces of the training whose points are found

_WHAT_TO_DO = ("give --landmarks dlib, which finds the face and frames it as those were; or train on faces that were aligned, as"
               " `fer-data prepare ck48 --landmarks dlib` makes them")


def measured(data: str, manifest: str) -> tuple[tuple[float, float], ...] | None:
    """Return where the rigid points of faces lie that were taken as they were cropped, (13, 2) canvas px: the median of some of them.

    data       their prepared folder
    manifest   sha256 of its manifest at the training
    None if it is gone or another one by now, if dlib is missing, or if no face is found in them.
    """
    from fer_data.store.manifest import manifest_sha256, read_manifest
    from fer_data.store.shards import map_dataset

    try:
        backend = open_backend("dlib", detector="whole")
        if not data or manifest_sha256(Path(data)) != manifest:
            return None
        rows = read_manifest(Path(data))
        rows = rows.iloc[:: max(1, len(rows) // _LOOKED_AT)]
        shards = {name: map_dataset(Path(data) / "shards" / name, "faces") for name in rows["shard"].unique()}
        faces = np.stack([shards[shard][row] for shard, row in zip(rows["shard"], rows["row"], strict=True)])      # (n, 132, 132[, 3])
    except (FerError, OSError):
        return None
    edge = (faces.shape[1] - CROP_AREA) // 2
    crops = [face[edge:-edge, edge:-edge] for face in faces]             # without the border that the canvas repeats
    points = [one.points[list(RIGID)] + edge for one in backend.locate(crops) if not isinstance(one, str)]
    return tuple(map(tuple, np.round(np.median(points, axis=0), 3).tolist())) if points else None        # (13, 2)


def doubt_of(template: np.ndarray) -> Callable[[np.ndarray], str] | None:
    """Return a function from a picture (H, W[, 3]) that is taken as a face to why it is doubted, or ""; None: dlib is missing."""
    try:
        backend = open_backend("dlib")
    except WeightsError:
        return None
    theirs = _spread(template)

    def doubt(picture: np.ndarray) -> str:
        try:
            found = backend.locate_all(picture, thorough=True)
        except LandmarkError:
            return ""
        if not found:
            return ""
        scale = CROP_AREA / max(picture.shape[:2])                       # as align.place_whole
        here = scale * _spread(found[0].points[list(RIGID)])
        if _SMALLER <= here / theirs <= _LARGER:
            return ""
        return f"not framed like the training faces: the face in it has {here / theirs:.0%} of their size; {_WHAT_TO_DO}"

    return doubt


def _spread(points: np.ndarray) -> float:
    """Return the root mean square distance of points (L, 2) from their middle."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()))
