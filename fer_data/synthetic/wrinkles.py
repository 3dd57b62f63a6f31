"""Folds and furrows: those that age left, and those that action units raise.

In:  Brush, Rig.
Out: the picture, changed in place.
"""

import numpy as np

from fer_data.synthetic.brush import Brush, ellipse, shades, smooth
from fer_data.synthetic.rig import Rig

__all__ = ["draw_wrinkles"]


def draw_wrinkles(brush: Brush, rig: Rig) -> None:
    """Draw every fold with the strength that age and action units give it."""
    for side, sign in ((0, -1), (1, 1)):
        _cheek_folds(brush, rig, side, sign)
        _around_eye(brush, rig, side, sign)
        _at_corner(brush, rig, side, sign)
    _forehead(brush, rig)
    _between_brows(brush, rig)
    _chin(brush, rig)


def _fold(brush: Brush, rig: Rig, points: np.ndarray, strength: float, width: float = 0.035) -> None:
    """Draw one fold: a soft dark line with a lighter bank below it; `points` (n, 2) pixels."""
    strength *= rig.person.wrinkling
    if strength < 0.04:
        return
    u, skin = rig.unit_px, rig.person.skin
    curve = smooth(points, closed=False)
    taper = np.sin(np.pi * np.linspace(0.1, 0.9, len(curve)))
    alpha = min(strength, 1.0)
    brush.line(curve + (0, 0.03 * u), 0.04 * u * taper, shades(skin, 1.3), 0.3 * alpha, 0.02 * u)
    brush.line(curve, width * u * taper, shades(skin, 0.5), 0.7 * alpha, 0.012 * u)


def _cheek_folds(brush: Brush, rig: Rig, side: int, sign: int) -> None:
    """Nasolabial fold: 9, 10, 12, 6; it starts at the wing of the nose and passes the corner of the mouth."""
    u = rig.unit_px
    wing, corner = rig.points[31 if side == 0 else 35], rig.points[48 if side == 0 else 54]
    pulled = rig.level("12", side)
    raised = rig.level("9", side) + rig.level("10", side)
    strength = 0.1 + 0.4 * rig.person.age + 0.55 * pulled + 0.5 * raised + 0.2 * rig.level("14", side) + 0.2 * rig.level("20", side)
    start = wing + np.array([0.07 * sign, -0.1 - 0.03 * raised]) * u
    end = corner + np.array([(0.13 + 0.03 * pulled) * sign, 0.02]) * u
    bulge = (start + end) / 2 + np.array([(0.05 + 0.05 * pulled) * sign, -0.06]) * u
    _fold(brush, rig, np.array([start, bulge, end]), strength, 0.05)


def _around_eye(brush: Brush, rig: Rig, side: int, sign: int) -> None:
    """Crow's feet and the furrow below the eye: 6; creases at the root of the nose: 9."""
    u, outer = rig.unit_px, rig.points[36 if side == 0 else 45]
    raised = rig.level("6", side)
    deep = 0.55 * raised * (0.4 + rig.person.age)
    for angle_rad, length in ((-0.35, 0.16), (0.05, 0.2), (0.4, 0.17)):
        start = outer + np.array([0.07 * sign, 0.01 + 0.05 * angle_rad]) * u
        end = start + np.array([np.cos(angle_rad) * sign, np.sin(angle_rad)]) * length * u
        _fold(brush, rig, np.array([start, (start + end) / 2 + (0, 0.01 * u), end]), deep, 0.025)
    inner = rig.points[39 if side == 0 else 42]
    for k in range(3):
        start = inner + np.array([-0.12 * sign, 0.02 + 0.09 * k]) * u
        crease = start + np.array([(0, 0), (0.07 * sign, 0.05), (0.11 * sign, 0.13)]) * u
        _fold(brush, rig, crease, 0.6 * rig.level("9", side), 0.03)


def _at_corner(brush: Brush, rig: Rig, side: int, sign: int) -> None:
    """Dimple: 14; the fold below the corner: 15; the lines of a stretched mouth: 20."""
    u, corner, skin = rig.unit_px, rig.points[48 if side == 0 else 54], rig.person.skin
    dimple = rig.level("14", side)
    if dimple > 0.05:
        spot = corner + np.array([0.07 * sign, 0.0]) * u
        brush.fill(ellipse(spot, 0.05 * u, 0.09 * u), shades(skin, 0.5), min(0.45 * dimple, 0.6), 0.035 * u)
        arc = spot + np.array([(0.03 * sign, -0.12), (0.08 * sign, 0.0), (0.03 * sign, 0.12)]) * u
        _fold(brush, rig, arc, 0.7 * dimple)
    down = rig.level("15", side) + 0.25 * rig.person.age
    _fold(brush, rig, corner + np.array([(0.03 * sign, 0.02), (0.07 * sign, 0.12), (0.06 * sign, 0.24)]) * u, 0.6 * down)
    line = corner + np.array([(0.1 * sign, -0.08), (0.14 * sign, 0.06), (0.12 * sign, 0.2)]) * u
    _fold(brush, rig, line, 0.45 * rig.level("20", side))


def _forehead(brush: Brush, rig: Rig) -> None:
    """Furrows across the forehead: 1 in the middle, 2 at the sides."""
    inner, outer = rig.level("1"), rig.level("2")
    base = 0.1 * rig.person.age
    depth = 0.5 * (0.5 + rig.person.age)
    for k in range(3):
        height, fading = 0.16 + 0.13 * k, 1 - 0.2 * k
        _fold(brush, rig, rig.above((20, 21, 22, 23), height), base + depth * inner * fading)
        for brow in ((18, 19, 20), (23, 24, 25)):
            _fold(brush, rig, rig.above(brow, height), depth * outer * fading)


def _between_brows(brush: Brush, rig: Rig) -> None:
    """Upright furrows between the brows: 4; creases across the root of the nose: 9."""
    u = rig.unit_px
    lowered = rig.level("4") + 0.5 * rig.level("9") + 0.15 * rig.person.age
    for index, sign in ((21, -1), (22, 1)):
        foot = rig.points[index] + np.array([-0.09 * sign, 0.09]) * u
        _fold(brush, rig, foot + np.array([(0, 0), (0.01 * sign, -0.12), (0.03 * sign, -0.22)]) * u, 0.65 * lowered)
    root = rig.points[27]
    for k in range(2):
        line = root + np.array([(-0.11, 0.02 + 0.08 * k), (0, 0.08 * k - 0.02), (0.11, 0.02 + 0.08 * k)]) * u
        _fold(brush, rig, line, 0.7 * rig.level("9"))


def _chin(brush: Brush, rig: Rig) -> None:
    """The boss of the chin: 17 wrinkles and darkens it, and deepens the furrow above."""
    u, raised = rig.unit_px, rig.level("17")
    boss = rig.above([8], 0.24)[0]
    dents = [
        ellipse(boss + np.array(place) * u, 0.035 * u, 0.03 * u) for place in ((-0.08, 0.0), (0.08, 0.01), (0.0, 0.07), (-0.03, -0.06))
    ]
    brush.fill(dents, shades(rig.person.skin, 0.6), min(0.4 * raised, 0.6), 0.02 * u)
    furrow = rig.above([57], -0.12)[0]
    _fold(brush, rig, furrow + np.array([(-0.16, 0.05), (0, -0.01), (0.16, 0.05)]) * u, 0.25 + 0.5 * raised, 0.05)
