"""From a person, an expression and a scene to a picture and its 68 true points.

In:  Person, an expression (a word or levels of action units), an intensity 0..1, Nuisance, size (width, height).
Out: (picture, points): uint8 (H, W) grey or (H, W, 3) RGB; (68, 2) float64, (x, y) pixels.

Everything that touches pixels is done in whole numbers (brush.py, relief.py), so that machines agree on the bytes.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from fer_data.synthetic.brush import Brush, ellipse, luminance, shades
from fer_data.synthetic.expressions import perform
from fer_data.synthetic.features import draw_beard, draw_brows, draw_eyes, draw_mouth, draw_nose
from fer_data.synthetic.hair import draw_behind, draw_front_hair, draw_glasses, head_outline
from fer_data.synthetic.people import Person
from fer_data.synthetic.relief import shade_head
from fer_data.synthetic.rig import Rig, make_rig
from fer_data.synthetic.scene import Nuisance
from fer_data.synthetic.wrinkles import draw_wrinkles

__all__ = ["draw_face"]


def draw_face(
    person: Person,
    expression: str | Mapping[str, float],
    intensity: float,
    nuisance: Nuisance,
    size: tuple[int, int] = (640, 490),
    colour: bool = False,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return one picture of a person and its true points.

    expression   a key of expressions.VARIANTS, shown as this person does at the peak; or levels of action units at the
                 peak, {"12": 0.8, "R14": 0.3}
    intensity    0 neutral .. 1 peak; it multiplies the levels
    size         (width, height), pixels
    rng          draws the camera's grain; None: no grain
    Convention: points (x, y), origin at the centre of the top-left pixel, iBUG order.
    Raises KeyError for an unknown expression or action unit.
    """
    peak = perform(person, expression) if isinstance(expression, str) else expression
    rig = make_rig(person, {unit: level * intensity for unit, level in peak.items()}, nuisance, size)
    picture = _background(nuisance, size, colour)
    brush = Brush(picture)
    draw_behind(brush, rig)
    outline = head_outline(rig)
    brush.fill(outline, person.skin, 1.0, 0.8)
    _skin_pattern(brush, rig, outline)
    draw_wrinkles(brush, rig)
    draw_nose(brush, rig)
    draw_mouth(brush, rig)
    draw_beard(brush, rig)
    draw_eyes(brush, rig)
    draw_brows(brush, rig)
    draw_front_hair(brush, rig)
    _light(picture, rig, outline)
    draw_glasses(brush, rig)
    picture = _camera(picture, nuisance, rig.unit_px, rng)
    return picture, rig.points


def _background(nuisance: Nuisance, size: tuple[int, int], colour: bool) -> np.ndarray:
    """Return the empty room: one colour, lighter or darker towards the top."""
    width, height = size
    base = np.array(nuisance.background if colour else [luminance(nuisance.background)], np.float64)
    slope = np.linspace(nuisance.gradient, -nuisance.gradient, height)[:, None]  # (H, 1)
    column = np.clip(np.round(base + slope), 0, 255).astype(np.uint8)  # (H, 1 or 3)
    picture = np.repeat(column[:, None, :], width, 1)
    return picture if colour else picture[..., 0]


def _skin_pattern(brush: Brush, rig: Rig, outline: np.ndarray) -> None:
    """Add what makes the person's bare skin their own: patches, rosy cheeks, rings, freckles, moles, birthmarks."""
    person, u = rig.person, rig.unit_px
    pattern = np.random.default_rng(person.blotches)

    def spot(x: float, y: float, radius_x: float, radius_y: float, tone: float, alpha: float, soft: float, turn: float = 0.0) -> None:
        place = rig.at((x, y, _depth(x, y)))[0]
        oval = ellipse(place, radius_x * u, radius_y * u, turn)
        brush.fill(oval, shades(person.skin, 1 + tone), alpha, soft * u, outline)

    for x, y, radius, tone in pattern.uniform((-0.95, -0.9, 0.08, -1), (0.95, 1.6, 0.28, 1), (18, 4)):
        spot(x, y, radius, radius * 0.8, tone * person.patches, 0.6, 0.05)
    for sign in (-1, 1):
        spot(0.6 * sign, 0.62, 0.26, 0.2, -0.25 * person.cheeks, 0.6, 0.08)
        spot(0.5 * sign, 0.12, 0.3, 0.16, -0.45 * person.rings, 0.6, 0.05)
    freckles = pattern.uniform((-0.85, -0.1, 0.012), (0.85, 0.9, 0.032), (int(50 * person.freckles), 3))
    if len(freckles):
        dots = [ellipse(rig.at((x, y, _depth(x, y)))[0], radius * u, radius * u, count=8) for x, y, radius in freckles]
        brush.fill(dots, shades(person.skin, 0.55), 0.65, 0.006 * u, outline)
    for x, y, radius_x, radius_y, turn, tone in person.marks:
        spot(x, y, radius_x, radius_y, 0.5 * tone - 0.1 if tone < 0 else 0.4 * tone, 0.75, 0.015, turn)
    for x, y, radius in person.moles:
        spot(x, y, radius, radius, -0.6, 0.9, 0.006)


def _depth(x: float, y: float) -> float:
    """Return about how far forward the skin lies at (x, y), face coordinates."""
    return 0.15 - 0.45 * x * x - 0.06 * (y - 0.6) ** 2


def _light(picture: np.ndarray, rig: Rig, outline: np.ndarray) -> None:
    """Shade the head, fading at its edge into hair and neck."""
    middle = outline.mean(0)
    found = Brush(picture).cover(middle + (outline - middle) * 1.07, 0.07 * rig.unit_px)
    if found is not None:
        shade_head(picture, rig, found)


def _camera(picture: np.ndarray, nuisance: Nuisance, unit_px: float, rng: np.random.Generator | None) -> np.ndarray:
    """Return the picture as a camera gives it: a little blur, then grain (the sum of two bytes)."""
    sigma = nuisance.blur_px * unit_px / 80
    if sigma > 1.2:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    elif sigma > 0.4:
        picture = cv2.GaussianBlur(picture, (3, 3) if sigma < 0.8 else (5, 5), 0)  # binomial, deviation 0.7 or 1
    if rng is None:
        return picture
    dice = np.frombuffer(rng.bytes(2 * picture.size), np.uint8).reshape(2, *picture.shape).astype(np.int16)
    noise = dice[0] + dice[1] - 255  # deviation 104.5 of -255 .. 255
    noise *= min(round(nuisance.grain * 2048 / 104.5), 127)
    noise += 1024
    noise >>= 11
    noise += picture
    return np.clip(noise, 0, 255).astype(np.uint8)
