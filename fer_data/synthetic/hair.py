"""Head, hair, neck, clothes and glasses.

In:  Brush, Rig.
Out: the picture, changed in place.
"""

from dataclasses import dataclass

import numpy as np

from fer_data.synthetic.brush import Brush, ellipse, shades, smooth
from fer_data.synthetic.rig import Rig

__all__ = ["head_outline", "draw_behind", "draw_front_hair", "draw_glasses"]


@dataclass(frozen=True)
class _Style:
    """How hair lies; lengths in units."""

    volume: float  # how far it stands off the skull
    drop: float  # how far below the ear's top it ends at the sides
    fringe: float | None = None  # height of its edge over the eyes; None: at the person's hair line
    slant: float = 0.0  # how much lower the edge lies away from the parting
    reach: float | None = None  # how far it hangs down behind the face, below the ears; None: it does not


_STYLES = {
    "bald": _Style(0.0, 0.0),
    "cropped": _Style(0.05, 0.0),
    "short": _Style(0.13, 0.1),
    "parted": _Style(0.17, 0.1, slant=0.22),
    "fringe": _Style(0.18, 0.15, fringe=0.58),
    "swept": _Style(0.2, 0.1, fringe=0.78, slant=0.35),
    "curls": _Style(0.24, 0.45, fringe=0.74),
    "bob": _Style(0.22, 0.9, slant=0.15, reach=1.9),
    "long": _Style(0.2, 1.2, slant=0.25, reach=3.2),
    "tied": _Style(0.08, -0.1),
    "scarf": _Style(0.14, 1.5, fringe=0.75, reach=2.6),
}


def _skull(rig: Rig, volume: float = 0.0) -> np.ndarray:
    """Return the arc over the head from the person's left ear to the right one, (13, 3) face coordinates."""
    turn = np.linspace(0, np.pi, 13)
    right, left = rig.rest[0], rig.rest[16]
    half = (left[0] - right[0]) / 2
    x = (left[0] + right[0]) / 2 + (half + volume) * np.cos(turn) * (1 + 0.06 * np.sin(turn) ** 2)
    y = (left[1] + right[1]) / 2 - (1.62 + volume) * np.sin(turn) ** 0.85
    return np.stack([x, y, np.full(13, -0.7)], 1)


def head_outline(rig: Rig) -> np.ndarray:
    """Return the outline of the bare head, (n, 2) pixels: the jaw's 17 points and the skull."""
    return smooth(np.concatenate([rig.points[:17], rig.at(_skull(rig))[1:-1]]), steps=3)


def draw_behind(brush: Brush, rig: Rig) -> None:
    """Draw what lies behind the face: long hair, neck, shoulders, ears."""
    person, u = rig.person, rig.unit_px
    chin, ears = rig.points[8], (rig.points[0], rig.points[16])
    style = _STYLES[person.hair_style]
    if style.reach is not None:
        top = rig.at(_skull(rig, style.volume * person.hair_volume))
        down = (
            np.array([(-1.1 - 0.22 * person.hair_volume, style.reach), (1.1 + 0.22 * person.hair_volume, style.reach)]) * u
            + (ears[0] + ears[1]) / 2
        )
        brush.fill(smooth(np.concatenate([top, down]), steps=3), shades(_hair_colour(rig), 0.75), 1.0, 1.0)
    neck = np.array([(-0.62, -0.6), (0.62, -0.6), (0.7, 0.75), (-0.7, 0.75)])
    slope = np.array([(0.68, 0.42), (1.5, 0.75), (2.5, 1.15), (2.9, 4.0)])
    shoulders = np.concatenate([slope, slope[::-1] * (-1, 1)])
    brush.fill(chin + neck * u, shades(person.skin, 0.72), 1.0, 1.0)
    brush.fill(chin + shoulders * u, person.clothes, 1.0, 1.0)
    shadow = np.array([(-0.62, -0.3), (0.62, -0.3), (0.5, 0.25), (-0.5, 0.25)])
    brush.fill(chin + shadow * u, shades(person.skin, 0.45), 0.6, 0.1 * u)
    for ear, sign in zip(ears, (-1, 1), strict=True):
        shell, hollow = ear + np.array([0.05 * sign, 0.18]) * u, ear + np.array([0.07 * sign, 0.18]) * u
        brush.fill(ellipse(shell, 0.13 * u, 0.3 * u), shades(person.skin, 0.85), 1.0, 0.8)
        brush.fill(ellipse(hollow, 0.06 * u, 0.2 * u), shades(person.skin, 0.6), 0.6, 0.03 * u)


def draw_front_hair(brush: Brush, rig: Rig) -> None:
    """Draw the hair (or scarf) over forehead and temples, with a few strands (or folds)."""
    person, u = rig.person, rig.unit_px
    if person.hair_style == "bald":
        return
    outer, line = _skull(rig, _STYLES[person.hair_style].volume * person.hair_volume), _hair_line(rig)
    colour = _hair_colour(rig)
    brush.fill(np.concatenate([rig.at(outer), smooth(rig.at(line), closed=False)]), colour, 0.97, 0.02 * u)
    strands = np.random.default_rng(person.blotches)
    if person.hair_style == "curls":
        places = np.concatenate([rig.at(outer)[1:-1], smooth(rig.at(line), closed=False)[2:-2:3]])
        for place, radius in zip(places, strands.uniform(0.08, 0.16, len(places)), strict=True):
            brush.fill(ellipse(place, radius * u, radius * u), shades(colour, strands.uniform(0.8, 1.1)), 0.9, 0.02 * u)
    for place in strands.uniform(0.08, 0.92, 14):
        top, low = _along(outer, place), _along(line, 1 - place)
        curve = rig.at([top * 0.95, (top + low) / 2 + (0.08 * np.sign(top[0]), 0, 0), low])
        tone = shades(colour, 1.25 if strands.random() < 0.5 else 0.6)
        brush.line(smooth(curve, closed=False), 0.04 * u, tone, 0.35, 0.02 * u)


def _along(curve: np.ndarray, share: float) -> np.ndarray:
    """Return the point at `share` of the way along a curve of (n, 3) points."""
    place = share * (len(curve) - 1)
    return np.array([np.interp(place, np.arange(len(curve)), curve[:, axis]) for axis in range(3)])


def _hair_colour(rig: Rig) -> tuple[int, int, int]:
    return shades(rig.person.clothes, 1.2) if rig.person.hair_style == "scarf" else rig.person.hair


def _hair_line(rig: Rig) -> np.ndarray:
    """Return where the hair ends on the face, from the person's right ear to the left one, (11, 3) face coordinates."""
    person, style = rig.person, _STYLES[rig.person.hair_style]
    right, left = rig.rest[0], rig.rest[16]
    height = -person.hair_line if style.fringe is None else -style.fringe - 0.5 * (person.hair_line - 0.89)
    x = np.array([-0.9, -0.7, -0.4, 0.0, 0.4, 0.7, 0.9])
    y = height + 0.18 * x * x + np.array(person.hair_edge) + style.slant * (np.abs(x - 0.6 * person.hair_part) - 0.35)
    middle = np.stack([x * left[0] / 1.12, y, -0.15 - 0.4 * x * x], 1)
    sides = np.array([(right[0] * 0.98, right[1] + style.drop, -0.75), (right[0] * 0.95, height * 0.4, -0.6)])
    sides = np.concatenate([sides, np.stack([sides[::-1, 0] * left[0] / right[0], sides[::-1, 1], sides[::-1, 2]], 1)])
    return np.concatenate([sides[:2], middle, sides[2:]])


def draw_glasses(brush: Brush, rig: Rig) -> None:
    """Draw frames, a bridge, temples, and a faint glare."""
    person, u = rig.person, rig.unit_px
    if person.glasses == "none":
        return
    colour = shades((90, 86, 84), 1 - 0.85 * person.glasses_dark)
    width = {"round": 0.028, "square": 0.034, "thin": 0.016}[person.glasses] * u
    power = {"round": 1.0, "square": 0.55, "thin": 0.75}[person.glasses]
    turn = np.arange(25) * (2 * np.pi / 24)
    x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power * person.glasses_size * (0.38 if person.glasses == "round" else 0.42)
    y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power * person.glasses_size * (0.34 if person.glasses == "round" else 0.27)
    for eye, sign in ((rig.rest[36:42], -1), (rig.rest[42:48], 1)):
        centre = eye.mean(0) + (0.04 * sign, 0.06, 0.22)
        rim = rig.at(np.stack([x, y, np.zeros(25)], 1) + centre)
        brush.fill(rim, (230, 236, 240), 0.06)
        brush.line(rim, width, colour, 0.95, 0.4)
        arm = rig.at([centre + (0.4 * sign, -0.08, -0.05), (rig.rest[0 if sign < 0 else 16][0], -0.05, -0.9)])
        brush.line(arm, width, colour, 0.9, 0.4)
        glare = rig.at([centre + (-0.2, -0.12, 0), centre + (-0.05, -0.2, 0)])
        brush.line(glare, 0.05 * u, (255, 255, 255), 0.25, 0.02 * u)
    inner = rig.rest[[39, 42]] + np.array([(0.06, 0.0, 0.22), (-0.06, 0.0, 0.22)])
    bridge = rig.at([inner[0], inner.mean(0) + (0, -0.05, 0.05), inner[1]])
    brush.line(smooth(bridge, closed=False), width, colour, 0.95, 0.4)
