"""Pixels for the page: mean faces, small pictures, and points as one SVG path; read shard by shard, so memory stays flat.

In:  a prepared folder and rows of its manifest.
Out: arrays (132, 132[, 3]) and strings that a template puts in place.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fer_data.errors import ShardError
from fer_data.faces.align import CANVAS, RIGID, TEMPLATE, points_on_canvas
from fer_data.protocol.balance import NO_PART
from fer_data.records import SPLITS
from fer_data.store.shards import map_dataset

__all__ = ["Drawn", "Means", "choose", "draw_faces", "likeness_to_mean", "mean_faces", "picture_uri", "template_path"]

_LINES_PX = 0.75                      # width of the lines that likeness compares, px at half size
_INNER = np.s_[11:55, 14:52]          # the inner face at half size: brows to mouth
POINT_UNITS = 2                       # SVG units per canvas pixel: points are drawn to half a pixel


@dataclass(frozen=True)
class Drawn:
    """One face as the page shows it."""

    uri: str                          # data:image/webp;base64,...
    points: str                       # SVG path of zero-length strokes: the 55 points that move with the expression
    rigid: str                        # ... and the 13 that the alignment uses


@dataclass(frozen=True)
class Means:
    """Mean faces, float64 (132, 132[, 3]), 0..255."""

    all: np.ndarray
    by_expression: dict[str, np.ndarray]
    by_fold: dict[object, np.ndarray]            # in the order of the folds; of parts, where people are unknown


def mean_faces(out: Path, frame: pd.DataFrame) -> Means:
    """Return the mean face of all rows, of each expression and of each fold. Sums are whole numbers: no order matters."""
    sums: dict[tuple[str, object], np.ndarray] = {}
    for rows, faces in _shards(out, frame, "faces"):
        for column in ("expression", "fold"):
            values = rows[column].to_numpy()
            for value in sorted(set(values)):
                key, part = (column, value), faces[values == value].sum(0, dtype=np.uint64)
                sums[key] = sums[key] + part if key in sums else part
    counts = {column: frame[column].value_counts() for column in ("expression", "fold")}
    means = {(column, value): total / counts[column][value] for (column, value), total in sums.items()}
    every = sum(total for (column, _), total in sums.items() if column == "fold") / len(frame)
    expressions = {value: mean for (column, value), mean in means.items() if column == "expression"}
    folds = {value: mean for (column, value), mean in means.items() if column == "fold"}
    order = sorted(folds, key=lambda fold: (*SPLITS, NO_PART).index(fold) if isinstance(fold, str) else fold)
    return Means(every, expressions, {fold: folds[fold] for fold in order})


def likeness_to_mean(out: Path, frame: pd.DataFrame) -> np.ndarray:
    """Return how well each row's face agrees with the mean of all: correlation, (N,) float64, -1..1; 0 for an even grey.

    What is compared is structure, eyes on eyes and mouth on mouth, not brightness: the inner face at half size, lines and
    edges alone (a difference of Gaussians), each place measured by the contrast around it. Skin, light and hair matter little.
    """
    pattern = sum(_structures(faces).sum(0) for _, faces in _shards(out, frame, "faces"))
    pattern = pattern / max(float(np.linalg.norm(pattern)), 1e-9)
    result = pd.Series(0.0, index=frame.index)
    for rows, faces in _shards(out, frame, "faces"):
        result[rows.index] = _structures(faces) @ pattern
    return np.clip(result.to_numpy(), -1, 1).round(6)  # six digits, so that the last bits of a sum decide no order


def _structures(faces: np.ndarray) -> np.ndarray:
    """Return what likeness compares of faces (N, 132, 132[, 3]): (N, 1672), each of mean 0 and length 1, or zeros."""
    return np.stack([_structure(face) for face in faces])


def _structure(face: np.ndarray) -> np.ndarray:
    """Return what likeness compares of a face (132, 132[, 3]): a vector of mean 0 and length 1, or zeros."""
    grey = (face if face.ndim == 2 else face.mean(2)).astype(np.float32)
    small = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    lines = cv2.GaussianBlur(small, (0, 0), _LINES_PX) - cv2.GaussianBlur(small, (0, 0), 4 * _LINES_PX)
    contrast = np.sqrt(cv2.GaussianBlur(lines * lines, (0, 0), 8 * _LINES_PX))
    inner = (lines / (contrast + 2))[_INNER].ravel().astype(np.float64)  # 2 grey levels: less is noise
    inner -= inner.mean()
    return inner / max(float(np.linalg.norm(inner)), 1e-9)


def choose(frame: pd.DataFrame, rank: pd.Series, limit: int) -> pd.Index:
    """Return the index of at most `limit` rows to show, in the order of the manifest.

    All, if they are not more. Else the worst quarter of the limit, by rank, and an even share of each fold and expression,
    spread evenly over its rows.
    """
    if len(frame) <= limit:
        return frame.index
    chosen = set(rank.nsmallest(limit // 4).index)
    groups = [group.index.difference(list(chosen), sort=False) for _, group in frame.groupby(["expression", "fold"], sort=True)]
    left = limit - len(chosen)
    for done, group in enumerate(sorted(groups, key=len)):  # what a small group cannot use goes to the larger ones
        share = min(len(group), left // (len(groups) - done))
        chosen.update(group[np.linspace(0, len(group) - 1, share).round().astype(int)] if share else [])
        left -= share
    return frame.index[frame.index.isin(chosen)]


def draw_faces(out: Path, frame: pd.DataFrame) -> dict[object, Drawn]:
    """Return index -> face and points of these rows, as strings."""
    faces = {}
    for rows, pixels in _shards(out, frame, "faces"):
        faces.update(zip(rows.index, map(picture_uri, pixels), strict=True))
    drawn = {}
    matrices = (values for _, values in _shards(out, frame, "matrix"))
    for (rows, landmarks), matrix in zip(_shards(out, frame, "landmarks"), matrices, strict=True):
        for index, points, own in zip(rows.index, landmarks, matrix, strict=True):
            places = points_on_canvas(points, own)  # (68, 2), canvas px
            rigid = np.isin(np.arange(68), RIGID)
            drawn[index] = Drawn(faces[index], _path(places[~rigid]), _path(places[rigid]))
    return drawn


def picture_uri(face: np.ndarray, quality: int = 82) -> str:
    """Return a face, uint8 or float 0..255, grey or RGB, as a WebP data URI."""
    pixels = np.clip(np.rint(face), 0, 255).astype(np.uint8)
    done, data = cv2.imencode(".webp", pixels[..., ::-1] if pixels.ndim == 3 else pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def template_path() -> str:
    """Return where the alignment puts the 13 rigid points, as an SVG path."""
    return _path(TEMPLATE)


def _path(points: np.ndarray) -> str:
    """Return canvas points (L, 2) as an SVG path of zero-length strokes, in whole units, each relative to the one before.

    Points that are not finite (a set prepared without landmarks) are left out.

    >>> _path(np.array([(10.0, 20.0), (11.6, 18.9)]))
    'm20 40h0m3-2h0'
    """
    limit = 4 * CANVAS  # a point far outside is drawn at the edge of nowhere: a path of few digits
    points = np.asarray(points)[np.isfinite(points).all(1)]
    places = np.clip(np.rint(points * POINT_UNITS), -limit, limit).astype(int)
    steps = np.diff(places, axis=0, prepend=[[0, 0]])
    return "".join(f"m{x}{'' if y < 0 else ' '}{y}h0" for x, y in steps.tolist())


def _shards(out: Path, frame: pd.DataFrame, part: str) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Yield (rows, their values of data set `part`) of each shard, in order of names.

    Raises ShardError if a shard is missing, damaged, or shorter than the manifest says.
    """
    for name, rows in frame.groupby("shard", sort=True):
        path = Path(out) / "shards" / str(name)
        values = map_dataset(path, part)
        if rows["row"].max() >= len(values):
            raise ShardError(f"reading faces: the manifest names row {rows['row'].max()} of {path}, which has {len(values)}")
        yield rows, values[rows["row"].to_numpy()]
