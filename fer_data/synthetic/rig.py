"""Pose one person with one expression for one picture: the points and places that every part of the drawing needs.

In:  Person, levels of action units, Nuisance, the picture's size.
Out: Rig: the 68 points in face coordinates and in pixels, and places between and next to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fer_data.synthetic.expressions import both_sides, displacement
from fer_data.synthetic.people import Person, neutral_points
from fer_data.synthetic.scene import Nuisance, View3D, view

__all__ = ["Rig", "make_rig"]


@dataclass(frozen=True)
class Rig:
    """A posed face. Sides: 0 the person's right (left in the picture), 1 the left."""

    person: Person
    nuisance: Nuisance
    units: dict[str, tuple[float, float]]  # action unit -> level on the right, on the left
    face: np.ndarray  # (68, 3) face coordinates, expression included
    rest: np.ndarray  # (68, 3) the neutral face
    view: View3D
    points: np.ndarray  # (68, 2) pixels

    @property
    def unit_px(self) -> float:
        return self.view.unit_px

    def level(self, unit: str, side: int | None = None) -> float:
        """Return the level of an action unit, on one side or as the mean of both."""
        pair = self.units[unit]
        return sum(pair) / 2 if side is None else pair[side]

    def at(self, places) -> np.ndarray:
        """Return (n, 3) face coordinates, or n triples, as (n, 2) pixels."""
        return self.view(np.asarray(places, np.float64).reshape(-1, 3))

    def above(self, indices, height: float) -> np.ndarray:
        """Return the pixels (n, 2) that lie `height` above some of the 68 points, in face units."""
        return self.at(self.face[list(indices)] - (0.0, height, 0.0))


def make_rig(person: Person, levels: Mapping[str, float], nuisance: Nuisance, size: tuple[int, int]) -> Rig:
    """Return the posed face in a picture of `size` (width, height)."""
    rest = neutral_points(person)
    face = rest + displacement(levels)
    _keep_lips_apart(face)
    projection = view(nuisance, size)
    return Rig(person, nuisance, both_sides(levels), face, rest, projection, projection(face))


def _keep_lips_apart(face: np.ndarray) -> None:
    """Keep the lower lip's edge from rising above the upper one's, and each lip from vanishing; in place."""
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        if face[lower, 1] < face[upper, 1] + 0.004:
            middle = (face[lower, 1] + face[upper, 1]) / 2
            face[upper, 1], face[lower, 1] = middle - 0.002, middle + 0.002
    for outer, inner in ((50, 61), (51, 62), (52, 63)):
        face[outer, 1] = min(face[outer, 1], face[inner, 1] - 0.03)
    for outer, inner in ((56, 65), (57, 66), (58, 67)):
        face[outer, 1] = max(face[outer, 1], face[inner, 1] + 0.035)
