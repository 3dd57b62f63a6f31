"""Soft, anti-aliased shapes on a picture, in whole numbers only, so that every machine draws the same bytes.

In:  a picture, (H, W) or (H, W, 3) RGB, uint8, changed in place; shapes as (n, 2) float64 points, (x, y) pixels.
Out: the same picture. Shapes are rounded to 1/16 px.
"""

import cv2
import numpy as np

__all__ = ["Brush", "smooth", "ellipse", "thick"]

_SHIFT = 4  # fractional bits of a coordinate


def smooth(points: np.ndarray, closed: bool = True, steps: int = 5) -> np.ndarray:
    """Return a Catmull-Rom curve through (n, 2) points with `steps` points for each given one."""
    points = np.asarray(points, np.float64)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(steps) / steps)[None, :, None]  # (1, steps, 1)
    a, b, c, d = (padded[k : len(padded) - 3 + k, None] for k in range(4))  # (n, 1, 2) each
    curve = (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t) / 2
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def ellipse(
    centre: np.ndarray, radius_x: float, radius_y: float, angle_rad: float = 0.0, count: int = 20
) -> np.ndarray:
    """Return (count, 2) points on an ellipse."""
    turn = np.arange(count) * (2 * np.pi / count)
    x, y = radius_x * np.cos(turn), radius_y * np.sin(turn)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([x * cos - y * sin, x * sin + y * cos], 1) + centre


def thick(points: np.ndarray, widths: np.ndarray | float) -> np.ndarray:
    """Return the outline of a stroke along (n, 2) points whose full width at each point is `widths`."""
    points = np.asarray(points, np.float64)
    along = np.gradient(points, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across /= np.maximum(np.sqrt((across**2).sum(1, keepdims=True)), 1e-9)
    half = across * (np.broadcast_to(widths, len(points)) / 2)[:, None]
    return np.concatenate([points + half, (points - half)[::-1]])


class Brush:
    """Paints on one picture. Colours are RGB triples; on a grey picture their luminance is used."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def fill(
        self, outline: np.ndarray, colour, alpha: float = 1.0, soft_px: float = 0.0, inside: np.ndarray | None = None
    ) -> None:
        """Fill an outline; `soft_px` blurs its edge, `inside` is a second outline that clips it."""
        found = self.mask(outline, soft_px, inside)
        if found is not None:
            rows, columns, mask = found
            self.blend(rows, columns, mask, colour, alpha)

    def line(
        self,
        points: np.ndarray,
        widths,
        colour,
        alpha: float = 1.0,
        soft_px: float = 0.0,
        inside: np.ndarray | None = None,
    ) -> None:
        """Draw a stroke along points; `widths` is one number or one for each point."""
        self.fill(thick(points, widths), colour, alpha, soft_px, inside)

    def mask(self, outline: np.ndarray, soft_px: float = 0.0, inside: np.ndarray | None = None):
        """Return (rows, columns, (h, w) uint8 coverage) of an outline, or None where it lies outside the picture."""
        height, width = self.picture.shape[:2]
        margin = int(3 * soft_px) + 2
        left, top = np.floor(outline.min(0)).astype(int) - margin
        right, bottom = np.ceil(outline.max(0)).astype(int) + margin + 1
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if left >= right or top >= bottom:
            return None
        mask = _coverage(outline, (left, top), (right - left, bottom - top))
        if soft_px > 0.3:
            mask = cv2.GaussianBlur(mask, (0, 0), soft_px)
        if inside is not None:
            clip = _coverage(inside, (left, top), (right - left, bottom - top))
            mask = ((mask.astype(np.uint16) * clip + 127) // 255).astype(np.uint8)
        return slice(top, bottom), slice(left, right), mask

    def blend(self, rows: slice, columns: slice, mask: np.ndarray, colour, alpha: float = 1.0) -> None:
        """Mix `colour` into the picture by mask * alpha; whole numbers, rounded to nearest."""
        part = self.picture[rows, columns]
        weight = mask.astype(np.int32) * int(round(alpha * 256))  # 0 .. 255 * 256
        if part.ndim == 2:
            colour = luminance(colour)
            change = colour - part.astype(np.int32)
        else:
            change = np.asarray(colour, np.int32) - part.astype(np.int32)
            weight = weight[..., None]
        part += ((change * weight + 32640) // 65280).astype(np.int16).astype(np.uint8)


def luminance(colour) -> int:
    """Return the grey level of an RGB triple (ITU-R BT.601 in whole numbers)."""
    red, green, blue = (int(v) for v in colour)
    return (299 * red + 587 * green + 114 * blue + 500) // 1000


def _coverage(outline: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return how much of each pixel the outline covers, (h, w) uint8 0..255, for a window at `corner`."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    points = np.round((outline - np.asarray(corner)) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, _SHIFT)
    return mask
