"""Identity of a synthetic person: geometry, skin, hair, eyes, glasses, and the own way of moving the face.

In:  a numpy Generator.
Out: Person (frozen, plain numbers and words); neutral_points(person): (68, 3) float64.

Convention: face coordinates. x to the right of the picture, y down, z towards the viewer; the origin lies midway between
the eyes; the unit is the distance between the centres of the eyes of the mean face (about 63 mm).
"""

from dataclasses import dataclass

import numpy as np

from fer_data.synthetic.anatomy import mean_face
from fer_data.synthetic.expressions import ACTION_UNITS

__all__ = ["HAIR_STYLES", "Person", "draw_person", "neutral_points"]

HAIR_STYLES = ("bald", "cropped", "short", "parted", "fringe", "swept", "curls", "bob", "long", "tied", "scarf")
_HAIR_COLOURS = ((30, 26, 24), (48, 36, 28), (74, 52, 36), (104, 74, 48), (150, 112, 70), (196, 160, 104), (120, 56, 30),
                 (140, 138, 134))  # RGB, black .. blond, red, grey
_IRIS_COLOURS = ((44, 28, 18), (74, 48, 26), (96, 80, 44), (70, 100, 70), (86, 116, 146), (120, 134, 146))


@dataclass(frozen=True)
class Person:
    """One person. Numbers named *_sd are standard scores of the geometry, 0 is the mean face."""

    # geometry, standard scores, clipped to [-2.2, 2.2]
    face_width_sd: float
    jaw_length_sd: float
    jaw_square_sd: float  # positive: a broad jaw, negative: a pointed one
    eye_spacing_sd: float
    eye_size_sd: float
    eye_tilt_sd: float  # positive: outer corners higher
    brow_height_sd: float
    brow_arch_sd: float
    brow_tilt_sd: float
    nose_length_sd: float
    nose_width_sd: float
    mouth_width_sd: float
    mouth_height_sd: float  # positive: mouth lower
    lip_fullness_sd: float
    asymmetry: tuple[float, ...]  # (136,) small displacements (x, y) of each point, unit: eye distance
    # surface
    skin: tuple[int, int, int]  # RGB
    lip_tone: float  # 0 the skin's own .. 1 dark or painted
    relief: tuple[float, ...]  # (6,) strength of nose, brow ridge, eye socket, cheek, lip, chin relief; about 1
    age: float  # 0..1: depth of folds in the neutral face
    blotches: int  # seed of the skin's pattern and of strands of hair
    moles: tuple[tuple[float, float, float], ...]  # x, y in face units, radius
    marks: tuple[tuple[float, ...], ...]  # birthmarks: x, y, radius x, radius y (face units), turn in rad, tone -1..1
    patches: float  # contrast of soft light and dark patches
    freckles: float  # 0..1
    cheeks: float  # -1 pale .. 1 dark (rosy) cheeks
    rings: float  # 0..1: dark skin round the eyes
    wrinkling: float  # how deep a moving face folds, about 0.2 (smooth) .. 1
    iris: tuple[int, int, int]
    lashes: float  # 0..1: darkness of the lid lines
    lids: float  # -1 light .. 1 dark skin (or make-up) between the upper lid and the brow
    # hair
    hair: tuple[int, int, int]
    hair_style: str  # one of HAIR_STYLES
    hair_line: float  # height of the hair line above the eyes, unit
    hair_part: float  # -1..1: where the hair parts
    hair_volume: float  # about 1: how far the hair stands off the head
    hair_edge: tuple[float, ...]  # (7,) how far the hair line leaves its mean height, down positive
    brow_thickness: float  # unit
    brow_dark: float  # 0..1
    beard: str  # none, stubble, moustache, goatee, full
    # things worn
    glasses: str  # none, round, square, thin
    glasses_dark: float  # 0..1
    glasses_size: float  # about 1
    clothes: tuple[int, int, int]
    # how this person moves the face
    strength: tuple[float, ...]  # one factor per action unit, in the order of ACTION_UNITS; about 1
    style: tuple[float, ...]  # (7,) uniform numbers that choose among the variants of each expression
    side: float  # -1..1: lopsidedness; negative: the right side moves more


def draw_person(rng: np.random.Generator) -> Person:
    """Return a person drawn from `rng`; the same state of the generator gives the same person."""
    scores = np.clip(rng.standard_normal(14), -2.2, 2.2)
    asymmetry = np.clip(rng.standard_normal(136), -2.2, 2.2) * 0.006
    dark = float(rng.choice([rng.uniform(0.0, 0.35), rng.uniform(0.25, 0.6), rng.uniform(0.6, 1.0)], p=[0.55, 0.25, 0.2]))
    warm = float(rng.uniform(-1, 1))
    relief = tuple(np.round(np.clip(1 + 0.35 * rng.standard_normal(6), 0.3, 1.8), 4).tolist())
    bearded = rng.random() < 0.45  # as good as a man; styles of hair follow
    moles = tuple((float(rng.uniform(-0.85, 0.85)), float(rng.uniform(0.2, 1.6)), float(rng.uniform(0.015, 0.042)))
                  for _ in range(int(rng.integers(0, 6))))
    hair_dark = int(rng.integers(0, 3)) if dark > 0.5 else int(rng.integers(0, len(_HAIR_COLOURS)))
    style_odds = (
        [0.1, 0.17, 0.22, 0.15, 0.1, 0.12, 0.08, 0.02, 0.02, 0.02, 0.0]
        if bearded
        else [0.0, 0.02, 0.04, 0.1, 0.15, 0.15, 0.11, 0.13, 0.13, 0.1, 0.07]
    )
    beard_odds = [0.3, 0.25, 0.15, 0.15, 0.15] if bearded else [1.0, 0, 0, 0, 0]
    strength = np.clip(np.exp(0.16 * rng.standard_normal(len(ACTION_UNITS))), 0.78, 1.35)
    return Person(
        *np.round(scores, 4).tolist(),
        asymmetry=tuple(np.round(asymmetry, 5).tolist()),
        skin=_skin(dark, warm),
        lip_tone=round(float(rng.uniform(-0.4, 0.6) if bearded else rng.uniform(-0.3, 1)), 4),
        relief=relief,
        age=round(float(rng.beta(1.5, 3)), 4),
        blotches=int(rng.integers(0, 2**31)),
        moles=moles,
        iris=_IRIS_COLOURS[int(rng.integers(0, 2 if dark > 0.5 else len(_IRIS_COLOURS)))],
        lashes=round(float(rng.uniform(0.15, 0.45) if bearded else rng.uniform(0.4, 1.0)), 4),
        marks=_marks(rng),
        patches=round(float(rng.uniform(0.15, 0.45)), 4),
        freckles=round(float(max(rng.uniform(-1.0, 1.0), 0.0)), 4),
        cheeks=round(float(rng.uniform(-0.6, 1.0)), 4),
        rings=round(float(rng.beta(1.2, 2)), 4),
        wrinkling=round(float(rng.uniform(0.2, 1.0)), 4),
        lids=round(float(rng.uniform(-0.5, 0.8)), 4),
        hair=_HAIR_COLOURS[hair_dark],
        hair_style=str(rng.choice(HAIR_STYLES, p=style_odds)),
        hair_line=round(float(rng.uniform(0.68, 1.1)), 4),
        hair_part=round(float(rng.uniform(-1, 1)), 4),
        hair_volume=round(float(rng.uniform(0.4, 1.9)), 4),
        hair_edge=tuple(np.round(np.clip(0.11 * rng.standard_normal(7), -0.2, 0.2), 4).tolist()),
        brow_thickness=round(float(rng.uniform(0.06, 0.16) if bearded else rng.uniform(0.035, 0.12)), 4),
        brow_dark=round(float(rng.uniform(0.3, 1.0)), 4),
        beard=str(rng.choice(["none", "stubble", "moustache", "goatee", "full"], p=beard_odds)),
        glasses=str(rng.choice(["none", "round", "square", "thin"], p=[0.7, 0.1, 0.1, 0.1])),
        glasses_dark=round(float(rng.uniform(0.1, 0.9)), 4),
        glasses_size=round(float(rng.uniform(0.85, 1.15)), 4),
        clothes=tuple(int(v) for v in rng.integers(20, 220) + rng.integers(-18, 19, 3)),
        strength=tuple(np.round(strength, 4).tolist()),
        style=tuple(np.round(rng.random(7), 4).tolist()),
        side=round(float(rng.uniform(-1, 1)), 4),
    )


def neutral_points(person: Person) -> np.ndarray:
    """Return the 68 points of the person's neutral face, (68, 3) float64, face coordinates."""
    points = mean_face()
    p = person
    outline, brows, nose, eyes, mouth = slice(0, 17), slice(17, 27), slice(27, 36), slice(36, 48), slice(48, 68)
    points[outline, 0] *= 1 + 0.075 * p.face_width_sd
    depth = np.clip((points[outline, 1] - 0.3) / 1.5, 0, 1)  # (17,) 0 at the ears, 1 at the chin
    points[outline, 1] += 0.11 * p.jaw_length_sd * depth
    points[outline, 0] *= 1 + 0.075 * p.jaw_square_sd * np.sin(np.pi * depth)
    side = np.sign(points[:, 0])
    points[eyes, 0] += side[eyes] * 0.03 * p.eye_spacing_sd
    for first in (36, 42):
        eye = slice(first, first + 6)
        centre = points[eye].mean(0)
        points[eye] = centre + (points[eye] - centre) * [1 + 0.05 * p.eye_size_sd, 1 + 0.15 * p.eye_size_sd, 1]
        points[eye, 1] -= 0.07 * p.eye_tilt_sd * side[eye] * (points[eye, 0] - centre[0])
    outwards = np.abs(points[brows, 0]) - 0.56  # (10,) from the middle of a brow
    points[brows, 1] += -0.055 * p.brow_height_sd + 0.07 * p.brow_arch_sd * (outwards / 0.37) ** 2 - 0.1 * p.brow_tilt_sd * outwards
    points[nose, 1] += 0.045 * p.nose_length_sd * np.clip((points[nose, 1] + 0.06) / 0.75, 0, 1)
    points[nose, 0] *= 1 + 0.16 * p.nose_width_sd
    points[mouth, 1] += 0.045 * p.nose_length_sd + 0.05 * p.mouth_height_sd
    points[outline, 1] += 0.03 * p.nose_length_sd * depth
    points[mouth, 0] *= 1 + 0.08 * p.mouth_width_sd
    line = points[62, 1]
    points[mouth, 1] = line + (points[mouth, 1] - line) * (1 + 0.16 * p.lip_fullness_sd)
    points[:, :2] += np.reshape(p.asymmetry, (68, 2))
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        points[lower, 1] = points[upper, 1] + 0.008  # the lips of a resting mouth meet
    return points


def _skin(dark: float, warm: float) -> tuple[int, int, int]:
    """Return a skin colour, RGB: dark 0..1 from fair to very dark, warm -1..1 from rosy to olive."""
    stops = np.array([(236, 205, 186), (214, 172, 142), (176, 130, 98), (140, 98, 72), (108, 75, 56)], float)
    colour = np.array([np.interp(dark, np.linspace(0, 1, 5), stops[:, c]) for c in range(3)])
    colour += warm * np.array([-4.0, 2.0, -6.0])
    return tuple(round(float(c)) for c in np.clip(colour, 20, 245))


def _marks(rng: np.random.Generator) -> tuple[tuple[float, ...], ...]:
    """Return up to three birthmarks."""
    count = int(rng.choice(4, p=[0.25, 0.35, 0.25, 0.15]))
    low, high = (-0.85, -0.7, 0.06, 0.05, 0.0, -1.0), (0.85, 1.4, 0.2, 0.14, np.pi, 1.0)
    return tuple(tuple(np.round(rng.uniform(low, high), 4).tolist()) for _ in range(count))
