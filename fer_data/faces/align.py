"""From 68 points to a face on the stored canvas, by one similarity transform; and back.

In:  a framed picture, grey (H, W) or RGB (H, W, 3), uint8; its 68 points, (x, y) pixels.
Out: Face: (132, 132[, 3]) uint8, the 2x3 matrix, the residual, the share of invented pixels.

The stored canvas is 132x132: the 110x110 crop area (int(96 x 1.15), as DR-GAN cuts it) and an 11 px margin round it,
so that a 96x96 patch turned by 15 degrees about its own centre still has real pixels in its corners.
"""

from functools import lru_cache

import cv2
import numpy as np
from skimage.transform import SimilarityTransform

from fer_data.errors import LandmarkError
from fer_data.records import Face

__all__ = ["CANVAS", "CROP_AREA", "EYE_CENTRE", "EYE_DISTANCE", "RIGID", "TEMPLATE", "similarity_from_landmarks", "align",
           "place_whole", "fit_of", "points_on_canvas", "canvas_to_picture"]

CANVAS = 132                          # side of the stored canvas, px
CROP_AREA = 110                       # side of the square in its middle from which views are cut, px
EYE_DISTANCE = 34.0                   # between the centres of the eyes, canvas px
EYE_CENTRE = (65.5, 44.0)             # midpoint of the eyes, canvas px; x is the canvas' own axis of symmetry

# The rigid points: eye corners and nose. Jaw, brows and mouth move with the expression and do not take part.
RIGID = (36, 39, 42, 45, 27, 28, 29, 30, 31, 32, 33, 34, 35)
# Their mean shape over adult faces, made left-right symmetric; unit: the distance between the eyes, origin: EYE_CENTRE.
_MEAN = np.array([
    (-0.694, 0.010), (-0.294, 0.022), (0.294, 0.022), (0.694, 0.010),       # outer, inner, inner, outer eye corner
    (0.0, -0.063), (0.0, 0.122), (0.0, 0.304), (0.0, 0.493),                # bridge of the nose
    (-0.210, 0.649), (-0.108, 0.682), (0.0, 0.712), (0.108, 0.682), (0.210, 0.649),
])  # (13, 2)
TEMPLATE = _MEAN * EYE_DISTANCE + np.array(EYE_CENTRE)  # (13, 2), canvas px

_SMALLEST_SPREAD_PX = 2.0             # rigid points closer together than this say nothing about scale and angle


def similarity_from_landmarks(points: np.ndarray, template: np.ndarray = TEMPLATE) -> np.ndarray:
    """Return the 2x3 matrix that moves a face's rigid points onto the template, least squares.

    Convention:
        points   (68, 2), (x, y), origin at the centre of the top-left pixel
        matrix   (2, 3) float64, picture -> canvas, pixels; cv2.warpAffine takes it as it is
        no shear, no mirror: the determinant is positive
    Raises LandmarkError if there are not 68 finite points or if the rigid ones coincide.
    Reference: Umeyama 1991, as in skimage.transform.SimilarityTransform.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (68, 2):
        raise LandmarkError(f"aligning a face: 68 points (x, y) are needed, not an array of shape {points.shape}")
    if not np.isfinite(points).all():
        raise LandmarkError(f"aligning a face: all points must be finite, {np.sum(~np.isfinite(points).all(1))} of 68 are not")
    rigid = points[list(RIGID)]  # (13, 2)
    spread_px = float(np.sqrt(((rigid - rigid.mean(0)) ** 2).sum(1).mean()))
    if spread_px < _SMALLEST_SPREAD_PX:
        raise LandmarkError(
            f"aligning a face: eyes and nose must spread over at least {_SMALLEST_SPREAD_PX:g} px, got {spread_px:.2f} px"
            f" ({len(np.unique(rigid, axis=0))} of {len(RIGID)} points differ)"
        )
    fit = SimilarityTransform.from_estimate(rigid, template)
    if not fit:
        raise LandmarkError(f"aligning a face: no similarity fits the points ({fit})")
    return fit.params[:2].astype(np.float64)  # (2, 3)


def align(picture: np.ndarray, points: np.ndarray, template: np.ndarray = TEMPLATE) -> Face:
    """Return the face on the stored canvas, its rigid points on the template: (13, 2) canvas px, that of `prepare` unless given.

    A source larger than twice the canvas scale is first reduced by a whole factor with area averaging, so that no fine
    line aliases; then one bilinear warp. Pixels outside the picture repeat its border and are counted in `invented`.
    Raises LandmarkError as similarity_from_landmarks does.
    """
    matrix = similarity_from_landmarks(points, template)
    return _face(picture, matrix, _residual_px(points, matrix, template))


def place_whole(picture: np.ndarray, box: tuple[float, float, float, float] | None = None) -> Face:
    """Return a picture that is a cropped face already on the stored canvas: it becomes the crop area, no point is needed.

    Convention: the edges of the picture's longer side fall on the edges of the crop area, the shorter side is centred; no
    rotation. What lies around, the canvas' margin at least, repeats the border and is counted in `invented`.
    box      (left, top, right, bottom), pixels of the picture, the last two included: takes the place of the whole picture; what is
             around it in the picture is then around it on the canvas
    """
    left, top, right, bottom = box or (0, 0, picture.shape[1] - 1, picture.shape[0] - 1)
    matrix, invented = _placed((left, top, right, bottom), picture.shape[:2])
    return Face(_warped(picture, matrix), matrix.copy(), 0.0, invented)


@lru_cache(64)                        # pictures of such a database are of one size, and counting takes ten times as long as warping
def _placed(box: tuple[float, float, float, float], shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return the matrix that places a box of a picture (height, width), and the share of the canvas that lies outside of the picture."""
    left, top, right, bottom = box
    scale, middle = CROP_AREA / max(right - left + 1, bottom - top + 1), (CANVAS - 1) / 2
    matrix = np.array([[scale, 0, middle - scale * (left + right) / 2], [0, scale, middle - scale * (top + bottom) / 2]])
    return matrix, _invented(shape, matrix)


def fit_of(points: np.ndarray) -> tuple[float, float]:
    """Return (residual, turn) of a face: how far its rigid points are from the template, canvas px, and its roll, rad.

    A profile, or a face that was not found where it is, has a large residual; an upright one a turn near 0.
    Raises LandmarkError as similarity_from_landmarks does.
    """
    matrix = similarity_from_landmarks(points)
    return _residual_px(points, matrix), float(np.arctan2(matrix[0, 1], matrix[0, 0]))


def points_on_canvas(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return points (L, 2) moved by a 2x3 matrix, both (x, y)."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def canvas_to_picture(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return canvas points (L, 2) moved back into the picture that `matrix` was made for."""
    return (np.asarray(points, np.float64) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


def _residual_px(points: np.ndarray, matrix: np.ndarray, template: np.ndarray = TEMPLATE) -> float:
    residual = points_on_canvas(points, matrix)[list(RIGID)] - template
    return float(np.sqrt((residual**2).sum(1).mean()))


def _face(picture: np.ndarray, matrix: np.ndarray, residual_px: float) -> Face:
    """Return a picture on the canvas, with how well it fits there."""
    return Face(_warped(picture, matrix), matrix, residual_px, _invented(picture.shape[:2], matrix))


def _warped(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Warp a picture onto the canvas, reduced first if it is large."""
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))  # canvas px per picture px
    factor = max(1, min(int(1.0 / (2.0 * scale)), *picture.shape[:2])) if scale < 0.5 else 1       # of a strip no side becomes 0
    source, warp = _reduce(picture, factor, matrix)
    return cv2.warpAffine(source, warp, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _reduce(picture: np.ndarray, factor: int, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of factor x factor pixels; return the picture and the matrix that now belongs to it."""
    if factor == 1:
        return picture, matrix
    height, width = (side // factor * factor for side in picture.shape[:2])
    reduced = cv2.resize(picture[:height, :width], (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    # The centre of block (i, j) lies at factor * i + (factor - 1) / 2 of the full picture.
    block = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1.0]])
    return reduced, matrix @ block  # (2, 3) @ (3, 3)


def _invented(shape: tuple[int, int], matrix: np.ndarray) -> float:
    """Return the share of canvas pixels whose place in the picture lies outside it."""
    grid = np.stack(np.meshgrid(np.arange(CANVAS), np.arange(CANVAS)), -1).reshape(-1, 2)  # (132*132, 2), (x, y)
    x, y = canvas_to_picture(grid, matrix).T
    outside = (x < -0.5) | (y < -0.5) | (x > shape[1] - 0.5) | (y > shape[0] - 0.5)
    return float(outside.mean())
