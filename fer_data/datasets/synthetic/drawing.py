"""From a person, an expression and a scene to a picture and its 68 true points.

In:  Person, an expression (a word or levels of action units), an intensity 0..1, Nuisance, size (width, height).
Out: (picture, points): uint8 (H, W) grey or (H, W, 3) RGB; (68, 2) float64, (x, y) pixels.

Everything that touches pixels is done in whole numbers (brush.py, relief.py), so that machines agree on the bytes.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from fer_data.datasets.synthetic.brush import Brush, ellipse, luminance
from fer_data.datasets.synthetic.expressions import perform
from fer_data.datasets.synthetic.features import draw_beard, draw_brows, draw_eyes, draw_mouth, draw_nose, shades
from fer_data.datasets.synthetic.hair import draw_behind, draw_front_hair, draw_glasses, head_outline
from fer_data.datasets.synthetic.people import Person
from fer_data.datasets.synthetic.relief import shade_head
from fer_data.datasets.synthetic.rig import Rig, make_rig
from fer_data.datasets.synthetic.scene import Nuisance
from fer_data.datasets.synthetic.wrinkles import draw_wrinkles

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
    draw_behind(brush, rig, shades(nuisance.background, 0.55))
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
    _light(picture, rig)
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
    """Add the person's own blotches and moles to the bare skin."""
    person, u = rig.person, rig.unit_px
    pattern = np.random.default_rng(person.blotches)
    spots = pattern.uniform((-0.95, -0.9, 0.06, -1), (0.95, 1.6, 0.25, 1), (16, 4))
    for x, y, radius, tone in spots:
        place = rig.at((x, y, -0.25 * x * x))[0]
        brush.fill(
            ellipse(place, radius * u, radius * u * 0.8), shades(person.skin, 1 + 0.25 * tone), 0.4, 0.05 * u, outline
        )
    for x, y, radius in person.moles:
        brush.fill(
            ellipse(rig.at((x, y, -0.2 * x * x))[0], radius * u, radius * u),
            shades(person.skin, 0.4),
            0.85,
            0.5,
            outline,
        )


def _light(picture: np.ndarray, rig: Rig) -> None:
    """Shade the head, softly fading into hair and neck."""
    u = rig.unit_px
    middle = (rig.points[0] + rig.points[16]) / 2
    region = middle + np.array([(-1.75, -2.2), (1.75, -2.2), (1.75, 2.9), (-1.75, 2.9)]) * u
    found = Brush(picture).mask(region, 0.0)
    if found is not None:
        rows, columns, _ = found
        mask = np.zeros(picture[rows, columns].shape[:2], np.uint8)
        corner = np.array([columns.start, rows.start])
        centre = middle + np.array([0, 0.1]) * u - corner
        cv2.fillPoly(mask, [np.round(ellipse(centre, 1.3 * u, 2.0 * u, count=40)).astype(np.int32)], 255)
        mask = cv2.GaussianBlur(mask, (0, 0), 0.12 * u)
        shade_head(picture, rig, mask, (rows, columns))


def _camera(picture: np.ndarray, nuisance: Nuisance, unit_px: float, rng: np.random.Generator | None) -> np.ndarray:
    """Return the picture as a camera gives it: a little blur, then grain (a sum of bytes, near normal)."""
    sigma = nuisance.blur_px * unit_px / 80
    if sigma > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    if rng is None:
        return picture
    dice = np.frombuffer(rng.bytes(4 * picture.size), np.uint8).reshape(4, *picture.shape)
    noise = dice.sum(0, dtype=np.int32) - 510  # standard deviation 147.8
    gain = int(round(nuisance.grain * 65536 / 147.8))
    return np.clip(picture.astype(np.int32) + ((noise * gain + 32768) >> 16), 0, 255).astype(np.uint8)
