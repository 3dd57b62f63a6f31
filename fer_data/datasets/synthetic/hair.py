"""Head, hair, neck, clothes and glasses.

In:  Brush, Rig.
Out: the picture, changed in place.
"""

import numpy as np

from fer_data.datasets.synthetic.brush import Brush, ellipse, smooth
from fer_data.datasets.synthetic.features import shades
from fer_data.datasets.synthetic.rig import Rig

__all__ = ["head_outline", "draw_behind", "draw_front_hair", "draw_glasses"]

_VOLUME = {
    "bald": 0.0,
    "cropped": 0.05,
    "short": 0.13,
    "parted": 0.17,
    "fringe": 0.18,
    "bob": 0.22,
    "long": 0.2,
    "tied": 0.08,
}


def _skull(rig: Rig, volume: float = 0.0, count: int = 13) -> np.ndarray:
    """Return the arc over the head from the person's left ear to the right one, (count, 3) face coordinates."""
    turn = np.linspace(0, np.pi, count)
    right, left = rig.rest[0], rig.rest[16]
    half = (left[0] - right[0]) / 2
    x = (left[0] + right[0]) / 2 + (half + volume) * np.cos(turn) * (1 + 0.06 * np.sin(turn) ** 2)
    y = (left[1] + right[1]) / 2 - (1.62 + volume) * np.sin(turn) ** 0.85
    return np.stack([x, y, np.full(count, -0.7)], 1)


def head_outline(rig: Rig) -> np.ndarray:
    """Return the outline of the bare head, (n, 2) pixels: the jaw's 17 points and the skull."""
    return smooth(np.concatenate([rig.points[:17], rig.at(_skull(rig))[1:-1]]), steps=3)


def draw_behind(brush: Brush, rig: Rig, clothes) -> None:
    """Draw what lies behind the face: long hair, neck, shoulders, ears."""
    person, u = rig.person, rig.unit_px
    chin, ears = rig.points[8], (rig.points[0], rig.points[16])
    middle = (ears[0] + ears[1]) / 2
    if person.hair_style in ("bob", "long"):
        reach = 1.9 if person.hair_style == "bob" else 3.2
        top = rig.at(_skull(rig, _VOLUME[person.hair_style]))
        down = np.array([(-1.32, reach), (1.32, reach)]) * u + middle
        brush.fill(smooth(np.concatenate([top, down]), steps=3), shades(person.hair, 0.75), 1.0, 1.0)
    neck = chin + np.array([(-0.62, -0.6), (0.62, -0.6), (0.7, 0.75), (-0.7, 0.75)]) * u
    shoulders = (
        chin
        + np.array(
            [(-0.68, 0.42), (0.68, 0.42), (1.5, 0.75), (2.5, 1.15), (2.9, 4.0), (-2.9, 4.0), (-2.5, 1.15), (-1.5, 0.75)]
        )
        * u
    )
    brush.fill(neck, shades(person.skin, 0.72), 1.0, 1.0)
    brush.fill(shoulders, clothes, 1.0, 1.0)
    brush.fill(
        chin + np.array([(-0.62, -0.3), (0.62, -0.3), (0.5, 0.25), (-0.5, 0.25)]) * u,
        shades(person.skin, 0.45),
        0.6,
        0.1 * u,
    )
    for ear, sign in zip(ears, (-1, 1), strict=True):
        brush.fill(
            ellipse(ear + np.array([0.05 * sign, 0.18]) * u, 0.13 * u, 0.3 * u), shades(person.skin, 0.85), 1.0, 0.8
        )
        brush.fill(
            ellipse(ear + np.array([0.07 * sign, 0.18]) * u, 0.06 * u, 0.2 * u), shades(person.skin, 0.6), 0.6, 0.03 * u
        )


def draw_front_hair(brush: Brush, rig: Rig) -> None:
    """Draw the hair over forehead and temples, with a few strands."""
    person, u = rig.person, rig.unit_px
    if person.hair_style == "bald":
        return
    volume = _VOLUME[person.hair_style]
    outer = _skull(rig, volume)
    line = _hair_line(rig)
    outline = np.concatenate([rig.at(outer), smooth(rig.at(line), closed=False)])
    brush.fill(outline, person.hair, 0.97, 0.02 * u)
    strands = np.random.default_rng(person.blotches)
    for place in strands.uniform(0.08, 0.92, 14):
        k = place * (len(outer) - 1)
        top = np.array([np.interp(k, np.arange(len(outer)), outer[:, c]) for c in range(3)])
        j = (1 - place) * (len(line) - 1)
        low = np.array([np.interp(j, np.arange(len(line)), line[:, c]) for c in range(3)])
        curve = rig.at([top * 0.95, (top + low) / 2 + (0.08 * np.sign(top[0]), 0, 0), low])
        tone = shades(person.hair, 1.25 if strands.random() < 0.5 else 0.6)
        brush.line(smooth(curve, closed=False), 0.04 * u, tone, 0.35, 0.02 * u)


def _hair_line(rig: Rig) -> np.ndarray:
    """Return where the hair ends on the face, from the person's right ear to the left one, (n, 3) face coordinates."""
    person, rest = rig.person, rig.rest
    height = -person.hair_line
    side = 0.98
    drop = {"cropped": 0.0, "short": 0.1, "parted": 0.1, "fringe": 0.0, "bob": 0.9, "long": 1.2, "tied": -0.1}[
        person.hair_style
    ]
    if person.hair_style == "fringe":
        height = -0.52 - 0.12 * (person.hair_line - 0.85)
    middle = [(-0.78, 0.12), (-0.45, 0.0), (0.0, -0.03), (0.45, 0.0), (0.78, 0.12)]
    if person.hair_style in ("parted", "long"):
        middle = [(x, y + 0.22 * abs(x - 0.5 * person.hair_part) - 0.1) for x, y in middle]
    right, left = rest[0], rest[16]
    low = [(right[0] * side, right[1] + drop, -0.75), (right[0] * 0.93, height * 0.45, -0.55)]
    high = [(left[0] * 0.93, height * 0.45, -0.55), (left[0] * side, left[1] + drop, -0.75)]
    return np.array([*low, *((x * -right[0] / 1.12, height + y, -0.15 - 0.3 * x * x) for x, y in middle), *high])


def draw_glasses(brush: Brush, rig: Rig) -> None:
    """Draw frames, a bridge, temples, and a faint glare."""
    person, u = rig.person, rig.unit_px
    if person.glasses == "none":
        return
    colour = shades((90, 86, 84), 1 - 0.85 * person.glasses_dark)
    width = {"round": 0.035, "square": 0.05, "thin": 0.02}[person.glasses] * u
    power = {"round": 1.0, "square": 0.45, "thin": 0.7}[person.glasses]
    turn = np.arange(25) * (2 * np.pi / 24)
    x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power * (0.38 if person.glasses == "round" else 0.42)
    y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power * (0.34 if person.glasses == "round" else 0.27)
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
