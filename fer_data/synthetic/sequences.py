"""One sequence of a synthetic person: how the expression comes and goes, and its pictures.

In:  a person's number, an expression, an intensity for each frame, the size of the picture.
Out: Drawn records: the factors, the picture, its 68 true points.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from fer_data.synthetic.ck_plus import person_of
from fer_data.synthetic.drawing import draw_face
from fer_data.synthetic.expressions import perform
from fer_data.synthetic.scene import Nuisance, draw_nuisance, drift
from fer_data.synthetic.trees import factors_of

__all__ = ["Drawn", "draw_sequence", "rise", "rise_and_fall"]


class Drawn(NamedTuple):
    """One frame."""

    factors: dict                     # columns of truth.csv
    picture: np.ndarray               # (H, W) grey or (H, W, 3) RGB, uint8
    points: np.ndarray                # (68, 2) float64, (x, y), pixels


def rise(frames: int) -> list[float]:
    """Return intensities from neutral to the peak, which lasts three frames.

    >>> rise(5)
    [0.0, 0.5, 0.9, 0.95, 1.0]
    """
    climb = [position / (frames - 3) for position in range(frames - 3)]
    return [*climb, 0.9, 0.95, 1.0][-frames:]


def rise_and_fall(onset: int, apex: int, offset: int, end: int, frames: int) -> list[float]:
    """Return intensities from neutral to the peak and back; frame numbers from 1, as an onset-apex-offset coding has them.

    onset    the last neutral frame before the expression; apex: the first frame at the peak
    offset   the first frame after the peak; end: the first neutral frame again
    """
    number = np.arange(1, frames + 1)
    return np.interp(number, [onset, apex, offset - 1, end], [0.0, 1.0, 1.0, 0.0]).round(4).tolist()


def draw_sequence(
    seed: int,
    layout: str,
    key: tuple[int, int, int],
    expression: str,
    intensities: list[float],
    size: tuple[int, int],
    colour: bool = True,
    grain: bool = True,
    adapt: Callable[[Nuisance], Nuisance] = lambda nuisance: nuisance,
) -> Iterator[Drawn]:
    """Yield the frames of a sequence; the same key gives the same frames, whatever else is drawn.

    layout   as synthetic.json names it; person_of says whose people are whose
    key      (number of the person, number of the layout, number of the sequence)
    size     (width, height), pixels
    grain    whether the camera's noise is drawn; it takes half of the time
    adapt    changes the scene of every frame: the light, the pose, how large the face is
    """
    person = person_of(seed, key[0], layout)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, key[0], *key[1:])))
    levels = perform(person, expression, rng)
    peak = float(rng.uniform(0.85, 1.05))
    nuisance = draw_nuisance(rng)
    for intensity in intensities:
        own = rng.spawn(1)[0] if grain else None
        scene, level = adapt(nuisance), round(peak * intensity, 4)
        picture, points = draw_face(person, levels, level, scene, size, colour=colour, rng=own)
        units = " ".join(f"{unit}:{part * level:.3f}" for unit, part in levels.items())
        yield Drawn({"intensity": level, "action_units": units, **factors_of(scene, person)}, picture, points)
        nuisance = drift(nuisance, rng)
