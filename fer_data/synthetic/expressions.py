"""Expressions as mixtures of FACS action units, and action units as displacements of the 68 points.

In:  an expression and a person's strength and style; or levels of action units, {name: level}.
Out: levels, {name: 0..about 1.5}; displacements, (68, 3) float64, face coordinates (people.py).

Action units bear their FACS numbers as names: "12" moves both sides, "R14" and "L14" the person's right or left side only.
Reference: Ekman, Friesen & Hager 2002, Facial Action Coding System; the mixtures follow the EMFACS prototypes that
Lucey et al. 2010 (CK+, table 1 and section 4) used to accept a sequence for an expression.
"""

from collections.abc import Mapping

import numpy as np

from fer_data.synthetic.anatomy import MIRROR

__all__ = ["ACTION_UNITS", "VARIANTS", "perform", "displacement", "both_sides"]

# Action unit -> {point: (outwards, down)} at level 1, unit: eye distance. Points of the right half (left in the picture) and
# of the midline; the other half is mirrored.
ACTION_UNITS = {
    # frontalis, inner part: inner brow raiser
    "1": {21: (0.0, -0.15), 20: (0.0, -0.10), 19: (0.0, -0.03)},
    # frontalis, outer part: outer brow raiser
    "2": {17: (0.0, -0.075), 18: (0.0, -0.12), 19: (0.0, -0.11), 20: (0.0, -0.05)},
    # corrugator, depressor supercilii: brow lowerer
    "4": {21: (-0.05, 0.11), 20: (-0.05, 0.10), 19: (-0.03, 0.08), 18: (-0.01, 0.04), 37: (0.0, 0.01), 38: (0.0, 0.015)},
    # levator palpebrae: upper lid raiser
    "5": {37: (0.0, -0.05), 38: (0.0, -0.05), 40: (0.0, 0.005), 41: (0.0, 0.005)},
    # orbicularis oculi, outer part: cheek raiser
    "6": {40: (0.0, -0.025), 41: (0.0, -0.03), 37: (0.0, 0.008), 18: (0.0, 0.012), 17: (0.0, 0.02)},
    # orbicularis oculi, inner part: lid tightener
    "7": {40: (0.0, -0.028), 41: (0.0, -0.025), 37: (0.0, 0.016), 38: (0.0, 0.018)},
    # levator labii superioris alaeque nasi: nose wrinkler
    "9": {31: (0.02, -0.05), 32: (0.01, -0.045), 33: (0.0, -0.04), 30: (0.0, -0.035), 29: (0.0, -0.02), 21: (-0.03, 0.07),
          20: (-0.02, 0.05), 19: (0.0, 0.03), 50: (0.0, -0.055), 51: (0.0, -0.045), 49: (0.0, -0.04), 61: (0.0, -0.03),
          62: (0.0, -0.03), 40: (0.0, -0.015), 41: (0.0, -0.012)},
    # levator labii superioris: upper lip raiser
    "10": {49: (0.01, -0.07), 50: (0.01, -0.09), 51: (0.0, -0.07), 48: (0.01, -0.01), 61: (0.01, -0.06), 62: (0.0, -0.055),
           31: (0.015, -0.02), 60: (0.0, -0.01)},
    # zygomaticus major: lip corner puller
    "12": {48: (0.12, -0.14), 60: (0.11, -0.125), 49: (0.06, -0.075), 50: (0.02, -0.035), 51: (0.0, -0.03), 59: (0.07, -0.05),
           58: (0.02, -0.01), 61: (0.02, -0.04), 62: (0.0, -0.035), 67: (0.02, -0.02), 66: (0.0, -0.02), 31: (0.015, -0.01),
           4: (0.015, -0.02), 5: (0.02, -0.02)},
    # buccinator: dimpler
    "14": {48: (0.08, 0.02), 60: (0.07, 0.02), 49: (0.03, 0.015), 59: (0.03, -0.02), 50: (0.0, 0.015), 58: (0.0, -0.015)},
    # depressor anguli oris: lip corner depressor
    "15": {48: (0.03, 0.12), 60: (0.025, 0.11), 59: (0.03, 0.06), 49: (0.01, 0.04), 58: (0.0, 0.01)},
    # depressor labii inferioris: lower lip depressor
    "16": {57: (0.0, 0.08), 58: (0.01, 0.075), 59: (0.01, 0.03), 66: (0.0, 0.06), 67: (0.01, 0.06)},
    # mentalis: chin raiser
    "17": {57: (0.0, -0.055), 58: (0.0, -0.055), 59: (0.0, -0.03), 66: (0.0, -0.035), 67: (0.0, -0.035), 62: (0.0, -0.035),
           61: (0.0, -0.03), 51: (0.0, -0.025), 50: (0.0, -0.025), 48: (-0.01, 0.03), 60: (0.0, 0.025), 8: (0.0, -0.03),
           7: (0.0, -0.02)},
    # risorius, platysma: lip stretcher
    "20": {48: (0.15, 0.04), 60: (0.14, 0.035), 49: (0.07, 0.025), 59: (0.07, 0.015), 50: (0.02, 0.02), 58: (0.02, 0.0),
           4: (0.02, 0.0), 5: (0.02, 0.01)},
    # orbicularis oris: lip tightener
    "23": {50: (-0.01, 0.03), 51: (0.0, 0.03), 57: (0.0, -0.035), 58: (-0.01, -0.035), 59: (-0.02, -0.02), 48: (-0.045, 0.0),
           60: (-0.04, 0.0), 49: (-0.02, 0.015)},
    # orbicularis oris: lip pressor
    "24": {50: (0.0, 0.025), 51: (0.0, 0.03), 57: (0.0, -0.04), 58: (0.0, -0.035), 48: (-0.02, 0.0), 60: (-0.015, 0.0)},
    # depressor labii, relaxed mentalis: lips part
    "25": {61: (0.0, -0.02), 62: (0.0, -0.02), 66: (0.0, 0.055), 67: (0.0, 0.05), 57: (0.0, 0.05), 58: (0.0, 0.045),
           59: (0.0, 0.02), 50: (0.0, -0.01), 51: (0.0, -0.01)},
    # masseter relaxed: jaw drop
    "26": {57: (0.0, 0.20), 58: (0.0, 0.19), 59: (0.0, 0.10), 66: (0.0, 0.20), 67: (0.0, 0.19), 48: (-0.02, 0.05),
           60: (-0.02, 0.055), 8: (0.0, 0.17), 7: (0.0, 0.165), 6: (0.0, 0.14), 5: (0.0, 0.09), 4: (0.0, 0.04), 3: (0.0, 0.015)},
    # pterygoids, digastric: mouth stretch
    "27": {57: (0.0, 0.36), 58: (-0.01, 0.34), 59: (-0.03, 0.21), 66: (0.0, 0.36), 67: (0.0, 0.34), 48: (-0.07, 0.115),
           60: (-0.065, 0.12), 49: (-0.03, 0.01), 8: (0.0, 0.29), 7: (0.0, 0.28), 6: (-0.01, 0.245), 5: (-0.02, 0.165),
           4: (-0.02, 0.08), 3: (-0.01, 0.03), 61: (0.0, -0.02), 62: (0.0, -0.02)},
}

# Expression -> its variants (share of the population, levels). A person keeps to one variant; the first line says why.
VARIANTS = {
    # CK+ accepts anger when 23 or 24 is present; 4, 5 and 7 make the stare.
    "anger": ((0.65, {"4": 1.0, "5": 0.3, "7": 0.9, "17": 0.5, "23": 0.8, "24": 0.7}),
              (0.35, {"4": 1.1, "5": 0.7, "7": 0.7, "16": 0.4, "23": 1.0, "25": 0.7})),
    # Contempt is 14, stronger on one side: the person's lopsidedness says which.
    "contempt": ((0.6, {"14": 0.9, "24": 0.6, "side 14": 0.6}),
                 (0.4, {"14": 1.1, "17": 0.3, "24": 0.6, "side 14": 0.4})),
    # Disgust is 9 or 10.
    "disgust": ((0.55, {"4": 0.4, "6": 0.3, "7": 0.6, "9": 1.0, "10": 0.7, "17": 0.3}),
                (0.45, {"4": 0.5, "7": 0.7, "9": 0.8, "10": 0.9, "16": 0.4, "25": 0.6})),
    # Fear is 1 + 2 + 4 with 5, and the mouth drawn sideways by 20.
    "fear": ((0.55, {"1": 1.0, "2": 0.6, "4": 0.6, "5": 1.0, "20": 0.9, "25": 0.9}),
             (0.45, {"1": 1.0, "2": 0.6, "4": 0.5, "5": 1.0, "20": 0.9, "25": 0.8, "26": 0.4})),
    # Happiness must have 12; 6 makes it a felt smile.
    "happiness": ((0.55, {"6": 0.9, "12": 1.15, "25": 0.9}), (0.45, {"6": 0.8, "12": 1.2})),
    # Sadness is 1 + 4 + 15 (or 11), with 17.
    "sadness": ((0.55, {"1": 0.9, "4": 0.6, "15": 1.0, "17": 0.7}),
                (0.45, {"1": 0.8, "4": 0.5, "7": 0.3, "15": 0.9, "17": 0.9})),
    # Surprise is 1 + 2 with 5 and a mouth that falls open.
    "surprise": ((0.5, {"1": 1.0, "2": 1.0, "5": 0.9, "25": 0.4, "27": 0.9}),
                 (0.5, {"1": 1.0, "2": 1.0, "5": 0.8, "25": 0.5, "26": 1.0})),
    "neutral": ((1.0, {}),),
}


def perform(person, expression: str, rng: np.random.Generator | None = None) -> dict[str, float]:
    """Return the levels of action units at the peak of `expression` as this person shows it.

    With `rng` each level also varies by a twelfth, as from one take to the next.
    Raises KeyError for a word that is not a key of VARIANTS.
    """
    variants = VARIANTS[expression]
    choice = person.style[list(VARIANTS).index(expression)] if len(variants) > 1 else 0.0
    bounds = np.cumsum([share for share, _ in variants])
    levels: dict[str, float] = {}
    for name, level in variants[int(np.searchsorted(bounds[:-1], choice, side="right"))][1].items():
        unit = name.removeprefix("side ")
        level *= person.strength[list(ACTION_UNITS).index(unit)]
        if rng is not None:
            level *= float(np.clip(1 + 0.08 * rng.standard_normal(), 0.82, 1.18))
        if name.startswith("side "):
            name = ("R" if person.side < 0 else "L") + unit
        levels[name] = round(level, 4)
    return levels


def both_sides(levels: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return {action unit: (level on the person's right, level on the left)}, one entry for each of ACTION_UNITS.

    >>> both_sides({"12": 0.5, "R12": 0.25})["12"]
    (0.75, 0.5)
    """
    unknown = sorted(name for name in levels if name.lstrip("RL") not in ACTION_UNITS)
    if unknown:
        raise KeyError(f"unknown action units {', '.join(unknown)}; choose among {', '.join(ACTION_UNITS)}, perhaps with R or L before")
    return {
        unit: (levels.get(unit, 0.0) + levels.get("R" + unit, 0.0), levels.get(unit, 0.0) + levels.get("L" + unit, 0.0))
        for unit in ACTION_UNITS
    }


def displacement(levels: Mapping[str, float]) -> np.ndarray:
    """Return how far the levels move the 68 points, (68, 3) float64, face coordinates.

    A midline point moves by the mean of both sides.
    """
    moved = np.zeros((68, 3))
    for unit, (right, left) in both_sides(levels).items():
        for point, (outwards, down) in ACTION_UNITS[unit].items():
            if MIRROR[point] == point:
                moved[point, 1] += down * (right + left) / 2
            else:
                moved[point, :2] += (-outwards * right, down * right)
                moved[MIRROR[point], :2] += (outwards * left, down * left)
    return moved
