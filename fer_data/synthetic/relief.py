"""Light on the head: a height field of ellipsoid and bumps, shaded by one lamp.

In:  Rig; a picture, changed in place; what the head covers of it.
Out: the picture, darker where the surface turns away from the light.
"""

import cv2
import numpy as np

from fer_data.synthetic.brush import Coverage
from fer_data.synthetic.rig import Rig

__all__ = ["shade_head"]

_STEP = 3  # the shading is computed on every third pixel
_ONE = 128  # grey level of the shading map that changes nothing
_GLOSS = 22  # grey levels that the brightest reflection of the lamp adds


def _bumps(rig: Rig) -> list[tuple[np.ndarray, float, float, float]]:
    """Return (centre in pixels, spread x, spread y, height; units) of every bump and hollow."""
    p, face = rig.person, rig.face
    nose, ridge, socket, cheek, lip, chin = p.relief
    bumps = [(rig.points[k], 0.09, 0.12, 0.09 * nose) for k in (28, 29)]
    bumps += [
        (rig.points[30], 0.14, 0.11, 0.17 * nose),
        (rig.points[31], 0.07, 0.07, 0.06 * nose),
        (rig.points[35], 0.07, 0.07, 0.06 * nose),
    ]
    for side, first in ((0, 36), (1, 42)):
        eye = rig.points[first : first + 6].mean(0)
        brow = rig.points[[18, 19, 20] if side == 0 else [23, 24, 25]].mean(0)
        sign = -1 if side == 0 else 1
        corner = face[48 if side == 0 else 54]
        raised = rig.level("6", side) + 0.7 * rig.level("12", side)
        apple = rig.at((0.5 * sign + 0.4 * corner[0] * 0.8, 0.62 - 0.08 * raised, 0.0))[0]
        bumps += [
            (eye, 0.30, 0.19, -0.11 * socket), (eye, 0.15, 0.10, 0.05),
            (brow, 0.32, 0.11, 0.06 * ridge * (1 + 0.4 * rig.level("4", side))),
            (apple, 0.26, 0.22, 0.11 * cheek + 0.07 * raised),
            (rig.at((0.98 * sign, 0.95, -0.3))[0], 0.22, 0.4, -0.07 * cheek),
        ]
    bumps += [
        (rig.points[[50, 51, 52, 62]].mean(0), 0.24, 0.08, 0.06 * lip), (rig.points[[56, 57, 58, 66]].mean(0), 0.2, 0.08, 0.07 * lip),
        (rig.at(face[57] + (0, 0.13, -0.05))[0], 0.25, 0.07, -0.06 * chin), (rig.at(face[8] + (0, -0.22, 0.1))[0], 0.22, 0.16, 0.11 * chin),
        (rig.at((0.0, -0.75, 0.0))[0], 0.6, 0.3, 0.06),
    ]
    return bumps


def _slopes(rig: Rig, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes of the surface towards the right and downwards, (h, w) each, at pixel columns x and rows y."""
    unit = rig.unit_px
    middle = (rig.points[0] + rig.points[16]) / 2
    chin = rig.points[8]
    half_width = np.sqrt(((rig.points[16] - rig.points[0]) ** 2).sum()) / 2 * 1.12
    half_height = np.sqrt(((chin - middle) ** 2).sum()) * 1.05
    dx = ((x - middle[0]) / half_width)[None, :]  # (1, w)
    dy = ((y - middle[1]) / half_height)[:, None]  # (h, 1)
    falling = np.minimum(dx * dx + dy * dy, 0.94)
    steep = 1.05 / np.sqrt(1 - falling)
    right, down = -steep * dx * unit / half_width * 0.95, -steep * dy * unit / half_height * 0.95
    for (cx, cy), spread_x, spread_y, height in _bumps(rig):
        bx, by = (x - cx) / unit, (y - cy) / unit
        gx, gy = height * np.exp(-0.5 * (bx / spread_x) ** 2), np.exp(-0.5 * (by / spread_y) ** 2)
        right = right - np.outer(gy, gx * bx / spread_x**2)
        down = down - np.outer(gy * by / spread_y**2, gx)
    return right, down


def shade_head(picture: np.ndarray, rig: Rig, coverage: Coverage) -> None:
    """Multiply the covered part of the picture by the light that falls there."""
    rows, columns, mask = coverage
    y, x = np.arange(rows.start, rows.stop + _STEP, _STEP), np.arange(columns.start, columns.stop + _STEP, _STEP)
    right, down = _slopes(rig, x.astype(np.float64), y.astype(np.float64))
    n = rig.nuisance
    lamp = np.array([n.light_x, n.light_y, 1.0])
    lamp /= np.sqrt((lamp**2).sum())
    length = np.sqrt(1 + right**2 + down**2)
    facing = np.maximum((-right * lamp[0] - down * lamp[1] + lamp[2]) / length, 0)
    half = lamp + (0, 0, 1)
    half /= np.sqrt((half**2).sum())
    shine = np.maximum((-right * half[0] - down * half[1] + half[2]) / length, 0) ** 2
    shine = shine**2
    shine = shine**2
    shine = shine**2 * shine  # 24th power
    light = n.exposure * (n.ambient + (1 - n.ambient) * facing * 1.12)
    factor = _enlarged(light * _ONE, mask.shape)
    gloss = (_enlarged(n.exposure * _GLOSS * shine, mask.shape) * mask + 127) // 255
    factor = _ONE + ((factor - _ONE) * mask + 127) // 255
    part = picture[rows, columns]
    if part.ndim == 3:
        factor, gloss = factor[..., None], gloss[..., None]
    part[...] = np.minimum(((part.astype(np.int32) * factor + _ONE // 2) // _ONE) + gloss, 255).astype(np.uint8)


def _enlarged(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a field known at every _STEP-th pixel, rounded to 0..255, at every pixel of `shape`, int32.

    Whole numbers from here on: OpenCV's exact bilinear enlargement has fixed-point weights.
    """
    small = np.clip(np.round(field), 0, 255).astype(np.uint8)
    size = (field.shape[1] * _STEP, field.shape[0] * _STEP)
    large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR_EXACT)
    first = _STEP // 2  # where the first known pixel came to lie
    return large[first : first + shape[0], first : first + shape[1]].astype(np.int32)
