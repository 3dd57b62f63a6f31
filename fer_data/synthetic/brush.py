"""Soft, anti-aliased shapes on a picture, in whole numbers only, so that every machine draws the same bytes.

In:  a picture, (H, W) or (H, W, 3) RGB, uint8, changed in place; shapes as (n, 2) float64 points, (x, y) pixels.
Out: the same picture. Shapes are rounded to 1/16 px; OpenCV fills them with fixed-point arithmetic, blurs 8-bit masks
     bit-exactly (ALGO_HINT_ACCURATE) and enlarges them with INTER_LINEAR_EXACT.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

__all__ = ["Brush", "Coverage", "ellipse", "luminance", "mixed", "shades", "smooth", "thick"]

_SHIFT = 4  # fractional bits of a coordinate
_SOFT = 3.0  # masks blurred by more than this many px are drawn at half size, or less

RGB = tuple[int, int, int]
Coverage = tuple[slice, slice, np.ndarray]  # rows, columns, (h, w) uint8: how much of each pixel a shape covers


def shades(colour: Sequence[int], factor: float) -> RGB:
    """Return an RGB colour made darker (factor below 1) or lighter (1 .. 2)."""
    if factor <= 1:
        return tuple(round(v * factor) for v in colour)
    return tuple(round(v + (255 - v) * (factor - 1)) for v in colour)


def mixed(one: Sequence[int], other: Sequence[int], share: float) -> RGB:
    """Return the RGB colour `share` of the way from one to the other."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))


def luminance(colour: Sequence[int]) -> int:
    """Return the grey level of an RGB triple (ITU-R BT.601 in whole numbers)."""
    red, green, blue = (int(v) for v in colour)
    return (299 * red + 587 * green + 114 * blue + 500) // 1000


def smooth(points: np.ndarray, closed: bool = True, steps: int = 5) -> np.ndarray:
    """Return a Catmull-Rom curve through (n, 2) points with `steps` points for each given one."""
    points = np.asarray(points, np.float64)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    n = len(padded) - 3
    weights = _catmull_rom(steps)  # 4 times (steps, 1)
    curve = sum(padded[k : n + k, None] * weights[k] for k in range(4)).reshape(-1, 2)  # (n, steps, 2) -> (n * steps, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def ellipse(centre: np.ndarray, radius_x: float, radius_y: float, turn_rad: float = 0.0, count: int = 20) -> np.ndarray:
    """Return (count, 2) points on an ellipse."""
    cos, sin = _circle(count)
    x, y = radius_x * cos, radius_y * sin
    if turn_rad:
        c, s = np.cos(turn_rad), np.sin(turn_rad)
        x, y = x * c - y * s, x * s + y * c
    return np.stack([x + centre[0], y + centre[1]], 1)


def thick(points: np.ndarray, widths: np.ndarray | float) -> np.ndarray:
    """Return the outline of a stroke along (n, 2) points whose full width at each point is `widths`."""
    points = np.asarray(points, np.float64)
    along = np.empty_like(points)
    along[1:-1] = points[2:] - points[:-2]
    along[0], along[-1] = points[1] - points[0], points[-1] - points[-2]
    length = np.maximum(np.sqrt((along * along).sum(1)), 1e-9)
    half = along[:, ::-1] * (np.asarray(widths) / (2 * length))[:, None] * (-1, 1)  # turned by a right angle
    return np.concatenate([points + half, (points - half)[::-1]])


class Brush:
    """Paints on one picture. Colours are RGB triples; on a grey picture their luminance is used."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def fill(
        self,
        outline: np.ndarray | list[np.ndarray],
        colour: Sequence[int],
        alpha: float = 1.0,
        soft_px: float = 0.0,
        inside: np.ndarray | None = None,
    ) -> None:
        """Fill an outline, or several at once; `soft_px` blurs the edge, `inside` is an outline that clips."""
        found = self.cover(outline, soft_px, inside)
        if found is not None:
            self.blend(found, colour, alpha)

    def line(
        self,
        points: np.ndarray,
        widths: np.ndarray | float,
        colour: Sequence[int],
        alpha: float = 1.0,
        soft_px: float = 0.0,
        inside: np.ndarray | None = None,
    ) -> None:
        """Draw a stroke along points; `widths` is one number or one for each point."""
        self.fill(thick(points, widths), colour, alpha, soft_px, inside)

    def cover(self, outline, soft_px: float = 0.0, inside: np.ndarray | None = None) -> Coverage | None:
        """Return what a shape covers, or None where it lies outside the picture."""
        outlines = outline if isinstance(outline, list) else [outline]
        height, width = self.picture.shape[:2]
        margin = int(3 * soft_px) + 2
        left = max(int(min(o[:, 0].min() for o in outlines)) - margin, 0)
        top = max(int(min(o[:, 1].min() for o in outlines)) - margin, 0)
        right = min(int(max(o[:, 0].max() for o in outlines)) + margin + 2, width)
        bottom = min(int(max(o[:, 1].max() for o in outlines)) + margin + 2, height)
        if left >= right or top >= bottom:
            return None
        mask = _soft_mask(outlines, (left, top), (right - left, bottom - top), soft_px)
        if inside is not None:
            clip = _mask([inside], (left, top), mask.shape, 1)
            mask = ((mask.astype(np.uint16) * clip + 127) // 255).astype(np.uint8)
        return slice(top, bottom), slice(left, right), mask

    def blend(self, coverage: Coverage, colour: Sequence[int], alpha: float = 1.0) -> None:
        """Mix `colour` into the picture by coverage * alpha; whole numbers, rounded to nearest."""
        rows, columns, mask = coverage
        part = self.picture[rows, columns]
        weight = (mask.astype(np.int32) * (round(alpha * 256) * 257) + (1 << 15)) >> 16  # 0 .. 256
        if part.ndim == 2:
            change = np.subtract(luminance(colour), part, dtype=np.int32)
        else:
            change = np.asarray(colour, np.int32) - part
            weight = weight[..., None]
        change *= weight
        change += 128
        change >>= 8
        np.add(part, change, out=part, casting="unsafe")


@lru_cache
def _catmull_rom(steps: int) -> tuple[np.ndarray, ...]:
    t = (np.arange(steps) / steps)[:, None]  # (steps, 1)
    t2, t3 = t * t, t * t * t
    return (2 * t2 - t - t3) / 2, (2 - 5 * t2 + 3 * t3) / 2, (t + 4 * t2 - 3 * t3) / 2, (t3 - t2) / 2


@lru_cache
def _circle(count: int) -> tuple[np.ndarray, np.ndarray]:
    turn = np.arange(count) * (2 * np.pi / count)
    return np.cos(turn), np.sin(turn)


def _soft_mask(outlines: list[np.ndarray], corner: tuple[int, int], size: tuple[int, int], soft_px: float) -> np.ndarray:
    """Return the coverage, (h, w) uint8, blurred by `soft_px`; very soft ones are drawn small and enlarged."""
    shape = (size[1], size[0])
    factor = 1
    while soft_px / factor > _SOFT:
        factor *= 2
    if factor == 1:
        mask = _mask(outlines, corner, shape, 1)
        return cv2.GaussianBlur(mask, (0, 0), soft_px) if soft_px > 0.3 else mask
    small = tuple(-(-side // factor) for side in shape)
    mask = cv2.GaussianBlur(_mask(outlines, corner, small, factor), (0, 0), soft_px / factor)
    large = cv2.resize(mask, (small[1] * factor, small[0] * factor), interpolation=cv2.INTER_LINEAR_EXACT)
    return large[: shape[0], : shape[1]]


def _mask(outlines: list[np.ndarray], corner: tuple[int, int], shape: tuple[int, int], factor: int) -> np.ndarray:
    """Return the sharp coverage of a window at `corner` whose pixels are `factor` picture pixels wide, (h, w) uint8.

    Convention: the centre of window pixel (0, 0) lies at corner + (factor - 1) / 2.
    """
    mask = np.zeros(shape, np.uint8)
    origin = np.asarray(corner) + (factor - 1) / 2
    points = [np.round((outline - origin) * ((1 << _SHIFT) / factor)).astype(np.int32) for outline in outlines]
    cv2.fillPoly(mask, points, 255, cv2.LINE_AA, _SHIFT)
    return mask
