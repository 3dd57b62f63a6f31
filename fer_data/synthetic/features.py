"""Eyes, brows, nose, mouth and beard of a posed face.

In:  Brush, Rig.
Out: the picture, changed in place. Sizes are in units of the eye distance unless they end in _px.
"""

import numpy as np

from fer_data.synthetic.brush import Brush, ellipse, mixed, shades, smooth
from fer_data.synthetic.rig import Rig

__all__ = ["draw_eyes", "draw_brows", "draw_nose", "draw_mouth", "draw_beard"]

_EYES = ((0, np.arange(36, 42)), (1, np.array([45, 44, 43, 42, 47, 46])))  # outer, upper, upper, inner, lower, lower
_BROWS = (np.arange(17, 22), np.arange(26, 21, -1))  # from outside to inside


def draw_eyes(brush: Brush, rig: Rig) -> None:
    """Draw socket, white, iris, pupil, lids and crease of both eyes."""
    person, u = rig.person, rig.unit_px
    for side, order in _EYES:
        eye = rig.points[order]  # (6, 2)
        outline = _lids(eye)
        centre = eye.mean(0)
        brush.fill(ellipse(centre, 0.34 * u, 0.2 * u), shades(person.skin, 0.72), 0.35, 0.08 * u)
        upper = smooth(eye[:4], closed=False)
        lower = smooth(eye[[0, 5, 4, 3]], closed=False)
        lid = np.concatenate([upper, upper[::-1] - (0, 0.11 * u)])
        brush.fill(lid, shades(person.skin, 1 - 0.5 * person.lids), 0.7, 0.02 * u)
        brush.fill(outline, mixed((232, 228, 222), person.skin, 0.18))
        _iris(brush, rig, centre, outline)
        lash = mixed(shades(person.skin, 0.45), (16, 14, 14), person.lashes)
        brush.line(upper, (0.03 + 0.03 * person.lashes) * u, lash, 0.9, 0.4)
        brush.line(lower, 0.02 * u, shades(person.skin, 0.5), 0.35 + 0.3 * person.lashes, 0.5)
        lift = 0.075 - 0.03 * rig.level("5", side) + 0.02 * person.eye_size_sd
        crease = upper + (0, -max(lift, 0.03) * u)
        brush.line(crease, 0.022 * u, shades(person.skin, 0.5), 0.5, 0.6)
        bag = lower[2:-2] + (0, (0.1 + 0.03 * person.age) * u)
        tight = 0.15 + 0.35 * person.age + 0.35 * (rig.level("6", side) + 0.6 * rig.level("7", side))
        brush.line(bag, 0.03 * u, shades(person.skin, 0.6), min(tight, 0.8) * 0.6, 0.02 * u)


def draw_brows(brush: Brush, rig: Rig) -> None:
    """Draw both brows along their five points, thickest in the inner half."""
    person, u = rig.person, rig.unit_px
    colour = mixed(person.skin, shades(person.hair, 0.7), person.brow_dark)
    for order in _BROWS:
        curve = smooth(rig.points[order], closed=False)  # (21, 2)
        widths = np.interp(np.linspace(0, 1, len(curve)), [0, 0.3, 0.7, 1], [0.3, 0.8, 1.05, 0.85]) * person.brow_thickness * u
        brush.line(curve + (0, 0.02 * u), widths, colour, 0.85, 0.014 * u)
        brush.line(curve + (0, 0.025 * u), widths * 0.5, shades(colour, 0.75), 0.5, 0.8)


def draw_nose(brush: Brush, rig: Rig) -> None:
    """Draw nostrils, wings and the shadow under the tip."""
    person, u, points = rig.person, rig.unit_px, rig.points
    dark = shades(person.skin, 0.35)
    brush.fill(smooth(points[[31, 32, 33, 34, 35]] + (0, 0.03 * u), closed=True), shades(person.skin, 0.55), 0.5, 0.03 * u)
    for wing, inner, sign in ((31, 32, -1), (35, 34, 1)):
        nostril = points[wing] * 0.4 + points[inner] * 0.6 + (0, -0.035 * u)
        brush.fill(ellipse(nostril, 0.055 * u, 0.026 * u, -0.35 * sign), dark, 0.85, 0.5)
        edge = points[wing]
        flare = 0.025 + 0.02 * person.nose_width_sd
        curve = np.array([(0.0, -0.16), (0.05 + flare, -0.09), (0.05 + flare, -0.01), (0.01, 0.02)]) * (sign * u, u) + edge
        strength = 0.45 + 0.25 * (rig.level("9") + 0.5 * rig.level("10"))
        brush.line(smooth(curve, closed=False), 0.025 * u, shades(person.skin, 0.45), min(strength, 0.9), 0.8)
    bridge = smooth(points[27:31], closed=False)
    brush.line(bridge, 0.07 * u, shades(person.skin, 1.35), 0.25, 0.03 * u)


def draw_mouth(brush: Brush, rig: Rig) -> None:
    """Draw lips, and teeth and tongue where the mouth is open."""
    person, u, points = rig.person, rig.unit_px, rig.points
    lip = mixed(mixed(person.skin, (176, 84, 84), 0.45), (120, 30, 40), 0.6 * person.lip_tone)
    inner = np.concatenate([_curve(points[60:65]), _curve(points[[64, 65, 66, 67, 60]])])
    upper = np.concatenate([_curve(points[48:55]), _curve(points[60:65])[::-1]])
    lower = np.concatenate([_curve(points[[54, 55, 56, 57, 58, 59, 48]]), _curve(points[[60, 67, 66, 65, 64]])])
    under = smooth(points[[59, 58, 57, 56, 55]] + (0, 0.05 * u), closed=False)
    brush.line(under, 0.06 * u, shades(person.skin, 0.6), 0.45, 0.03 * u)
    brush.fill(lower, lip, 0.85, 0.6)
    brush.fill(upper, shades(lip, 0.8), 0.85, 0.6)
    shine = points[[58, 57, 56, 65, 66, 67]].mean(0)
    brush.fill(ellipse(shine, 0.11 * u, 0.02 * u), shades(lip, 1.35), 0.35, 0.02 * u)
    opening = float(points[66, 1] - points[62, 1]) / u
    if opening > 0.02:
        _inside_mouth(brush, rig, inner, opening)
    else:
        brush.line(_curve(points[60:65]), 0.025 * u, shades(lip, 0.4), 0.85, 0.5)
    for corner in (48, 54):
        brush.fill(ellipse(points[corner], 0.035 * u, 0.025 * u), shades(person.skin, 0.4), 0.5, 0.02 * u)


def draw_beard(brush: Brush, rig: Rig) -> None:
    """Draw stubble, moustache, goatee or a full beard."""
    person, u, points = rig.person, rig.unit_px, rig.points
    if person.beard == "none":
        return
    hair = mixed(person.skin, person.hair, 0.85)
    moustache = np.concatenate([
        points[[48, 49, 50, 51, 52, 53, 54]] + (0, -0.02 * u),
        np.array([points[53] * 0.5 + points[35] * 0.5, points[33] * 0.7 + points[51] * 0.3, points[49] * 0.5 + points[31] * 0.5]),
    ])
    goatee = np.concatenate([points[[59, 58, 57, 56, 55]] + (0, 0.1 * u), points[[10, 9, 8, 7, 6]] * 0.85 + points[57] * 0.15])
    jaw = np.concatenate(
        [
            points[2:15],
            points[[14, 54, 55, 56, 57, 58, 59, 48, 2]] * 0.72 + points[[13, 13, 11, 9, 8, 7, 5, 3, 3]] * 0.28,
        ]
    )
    parts = {
        "stubble": (jaw, moustache),
        "moustache": (moustache,),
        "goatee": (goatee, moustache),
        "full": (jaw, goatee, moustache),
    }
    alpha = 0.3 if person.beard == "stubble" else 0.65
    for part in parts[person.beard]:
        brush.fill(part, hair, alpha, 0.05 * u)


def _iris(brush: Brush, rig: Rig, centre: np.ndarray, outline: np.ndarray) -> None:
    person, u, n = rig.person, rig.unit_px, rig.nuisance
    middle = centre + np.array([0.05 * n.gaze_x + 0.0012 * n.yaw_deg, -0.012 + 0.03 * n.gaze_y]) * u
    radius = 0.098 * u
    brush.fill(ellipse(middle, radius, radius), shades(person.iris, 0.6), 1.0, 0.0, outline)
    brush.fill(ellipse(middle, radius * 0.85, radius * 0.85), person.iris, 0.9, 0.6, outline)
    brush.fill(ellipse(middle, radius * 0.42, radius * 0.42), (8, 8, 8), 1.0, 0.0, outline)
    brush.line(outline[: len(outline) // 2 + 1] + (0, 0.03 * u), 0.05 * u, (40, 34, 32), 0.3, 0.02 * u, outline)
    glint = middle + np.array([0.035 * np.sign(n.light_x), -0.035]) * u
    brush.fill(ellipse(glint, 0.02 * u, 0.02 * u), (255, 255, 255), 0.9, 0.0, outline)


def _lids(eye: np.ndarray) -> np.ndarray:
    """Return the outline of an open eye with pointed corners, from its 6 points."""
    return np.concatenate([smooth(eye[:4], closed=False), smooth(eye[[3, 4, 5, 0]], closed=False)[1:-1]])


def _curve(points: np.ndarray) -> np.ndarray:
    return smooth(points, closed=False, steps=4)


def _inside_mouth(brush: Brush, rig: Rig, inner: np.ndarray, opening: float) -> None:
    """Draw the hollow, the teeth that show and the tongue; `opening` in units."""
    u, points = rig.unit_px, rig.points
    brush.fill(inner, (38, 16, 16))
    if opening > 0.12:
        tongue = points[66] + (0, -0.02 * u)
        brush.fill(ellipse(tongue, 0.2 * u, min(0.14, 0.5 * opening) * u), (150, 70, 70), 0.8, 0.03 * u, inner)
    smile = rig.level("12") + rig.level("10") + 0.5 * rig.level("20")
    show = min(0.015 + 0.07 * smile + 0.04 * opening, 0.13)
    upper = _curve(points[60:65])
    teeth = np.concatenate([upper + (0, -0.02 * u), upper[::-1] + (0, show * u)])
    brush.fill(teeth, (226, 222, 210), 0.95, 0.5, inner)
    if rig.level("16") + rig.level("20") > 0.2 and opening < 0.3:
        lower = _curve(points[[60, 67, 66, 65, 64]])
        brush.fill(np.concatenate([lower + (0, 0.02 * u), lower[::-1] + (0, -0.04 * u)]), (206, 200, 188), 0.85, 0.5, inner)
