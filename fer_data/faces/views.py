"""The paper's 110 views of a face: k -> (crop, angle, flip) -> 2x3 matrix -> pixels.

In:  a face on the stored canvas, (132, 132[, 3]) uint8, and k in 0..109.
Out: a view, (96, 96[, 3]) uint8.

"Five patches of size 96x96 are cropped-out from five different locations, the center and four corners of each image,
and each cropped image is then rotated at ten angles ... Horizontal flipping is applied on each rotated image, and thus
the original dataset is augmented 110 times" (paper, section 4.1): 5 crops x (unrotated + 10 angles) x 2 flips.

Convention:
    k          crop * 22 + angle * 2 + flip, in the order of CROPS, ANGLES_DEG, (no, yes); k = 0 is the test view
    angle      degrees, counter-clockwise on the screen, about the patch's own centre (47.5, 47.5)
    matrix     (2, 3) float64, view pixel (x, y, 1) -> canvas pixel (x, y); origin at the centre of the top-left pixel
    pixels     bilinear in float32, rounded once; no padding is ever needed (corners reach 0.32 .. 130.68 of 0 .. 131)
A view is a pure function of (face, k): no random numbers, no state.
"""

import math

import cv2
import numpy as np

from fer_data.records import View

__all__ = ["N_VIEWS", "VIEW_SIZE", "CROP_AREA", "MARGIN", "CROPS", "ANGLES_DEG", "CENTRE_VIEW", "view_of", "view_matrix",
           "MATRICES", "render_view", "render_views"]

VIEW_SIZE = 96                        # side of a view, px (paper, section 4.1)
CROP_AREA = 110                       # side of the area that patches are cut from, px: int(96 * 1.15), DR-GAN's ratio
MARGIN = 11                           # canvas pixels round the crop area, so that rotated corners are real
ANGLES_DEG = (0, -15, -12, -9, -6, -3, 3, 6, 9, 12, 15)   # the paper's ten, after the unrotated one
_FAR = CROP_AREA - VIEW_SIZE          # 14: the last offset of a patch in the crop area
# name -> offset (x, y) of the patch in the crop area, px
CROPS = {
    "centre": (_FAR // 2, _FAR // 2), "top-left": (0, 0), "top-right": (_FAR, 0), "bottom-left": (0, _FAR), "bottom-right": (_FAR, _FAR),
}
N_VIEWS = len(CROPS) * len(ANGLES_DEG) * 2  # 110
CENTRE_VIEW = 0                       # centre crop, unrotated, not flipped: what a model is tested on


def view_of(k: int) -> View:
    """Return what view k shows. A bijection of 0..109 onto crops x angles x flips.

    Raises ValueError outside 0..109.
    """
    if not 0 <= k < N_VIEWS:
        raise ValueError(f"looking up a view: choose 0 to {N_VIEWS - 1}, not {k}")
    crop, rest = divmod(k, len(ANGLES_DEG) * 2)
    angle, flip = divmod(rest, 2)
    return View(k, tuple(CROPS)[crop], float(ANGLES_DEG[angle]), bool(flip))


def view_matrix(k: int) -> np.ndarray:
    """Return the (2, 3) float64 matrix from a pixel of view k to its place on the canvas.

    Convention: module docstring; cv2.warpAffine takes it with WARP_INVERSE_MAP.
    """
    view = view_of(k)
    centre = (VIEW_SIZE - 1) / 2  # 47.5
    dx, dy = CROPS[view.crop]
    angle_rad = math.radians(view.angle_deg)
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    # y points down, so a picture turned counter-clockwise shows at (x, y) what stood at rotation(+angle) of it.
    turn = np.array([[cos, -sin], [sin, cos]])
    move = np.array([MARGIN + dx + centre, MARGIN + dy + centre]) - turn @ [centre, centre]
    if view.flip:  # the mirror acts on the finished patch: x -> 95 - x, before everything else on the way back
        move = move + turn @ [VIEW_SIZE - 1, 0]
        turn = turn @ np.diag([-1.0, 1.0])
    return np.column_stack([turn, move])  # (2, 3)


MATRICES = np.stack([view_matrix(k) for k in range(N_VIEWS)])  # (110, 2, 3)
MATRICES.setflags(write=False)
_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_CHANNELS = 4                         # that OpenCV handles at once


def render_view(face: np.ndarray, k: int, out: np.ndarray | None = None) -> np.ndarray:
    """Return view k of a face: (132, 132[, 3]) uint8 -> (96, 96[, 3]) uint8, into `out` if given.

    Unrotated views are the crop itself, and a flipped view is the mirror of its neighbour k - 1, to the byte.
    """
    if k % 2:
        return cv2.flip(render_view(face, k - 1), 1, dst=out)
    return cv2.warpAffine(face, MATRICES[k], (VIEW_SIZE, VIEW_SIZE), dst=out, flags=_FLAGS, borderMode=cv2.BORDER_REPLICATE)


def render_views(faces: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return all views: (N, 132, 132[, 3]) uint8 -> (N, 110, 96, 96[, 3]) uint8, C-contiguous, into `out` if given.

    OpenCV turns a picture of four channels in about the time of one channel, to the same bytes, and one of three in twice that:
    four grey faces are turned as one picture, an RGB face with a channel to spare.
    """
    if out is None:
        out = np.empty((len(faces), N_VIEWS, VIEW_SIZE, VIEW_SIZE, *faces.shape[3:]), np.uint8)
    if faces.ndim == 4:
        for face, views in zip(faces, out, strict=True):
            four = cv2.cvtColor(face, cv2.COLOR_RGB2RGBA)                                      # (132, 132, 4)
            for k in range(0, N_VIEWS, 2):
                view = render_view(four, k)
                cv2.cvtColor(view, cv2.COLOR_RGBA2RGB, dst=views[k])
                cv2.cvtColor(cv2.flip(view, 1), cv2.COLOR_RGBA2RGB, dst=views[k + 1])
        return out
    single = len(faces) % _CHANNELS
    for face, views in zip(faces[:single], out[:single], strict=True):
        for k in range(0, N_VIEWS, 2):
            render_view(face, k, views[k])
            cv2.flip(views[k], 1, dst=views[k + 1])
    for first in range(single, len(faces), _CHANNELS):
        four, views = cv2.merge(list(faces[first : first + _CHANNELS])), out[first : first + _CHANNELS]     # (132, 132, 4)
        for k in range(0, N_VIEWS, 2):
            cv2.split(render_view(four, k), list(views[:, k]))
            for one in views:
                cv2.flip(one[k], 1, dst=one[k + 1])
    return out
