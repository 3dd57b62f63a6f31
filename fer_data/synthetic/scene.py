"""What changes from picture to picture of one person: pose, place, scale, light, background, grain.

In:  a numpy Generator.
Out: Nuisance (frozen); points of the face projected into the picture, (n, 2) float64, (x, y) pixels.
"""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Nuisance", "draw_nuisance", "drift", "View3D", "view"]

_PIVOT = np.array([0.0, 0.6, -1.3])  # the head turns about a point near the top of the spine, face coordinates


@dataclass(frozen=True)
class Nuisance:
    """The factors of one picture that are neither identity nor expression."""

    yaw_deg: float  # positive: the person turns towards the right of the picture
    pitch_deg: float  # positive: the chin goes down
    roll_deg: float  # positive: clockwise on the screen
    shift_x: float  # of the face's centre from the picture's, share of the height
    shift_y: float
    scale: float  # distance between the eyes, share of the picture's height
    light_x: float  # where the light comes from: -1 left .. 1 right
    light_y: float  # -1 above .. 1 below
    ambient: float  # share of light without direction, 0..1
    exposure: float  # factor on everything
    gaze_x: float  # -1..1
    gaze_y: float
    background: tuple[int, int, int]  # RGB
    gradient: float  # how much lighter (or darker) the background is at the top, grey levels
    grain: float  # standard deviation of the camera's noise, grey levels
    blur_px: float  # of the optics, at eye distance 80 px


def draw_nuisance(rng: np.random.Generator) -> Nuisance:
    """Return the factors of one sequence's first frame."""

    def normal(spread: float, limit: float) -> float:
        return round(float(np.clip(spread * rng.standard_normal(), -limit, limit)), 4)

    def uniform(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 4)

    grey = int(rng.integers(60, 180))
    return Nuisance(
        yaw_deg=normal(1.5, 4.0), pitch_deg=normal(1.2, 3.5), roll_deg=normal(3.0, 8.0),
        shift_x=normal(0.05, 0.12), shift_y=normal(0.025, 0.06), scale=uniform(0.145, 0.18),
        light_x=normal(0.22, 0.5), light_y=uniform(-0.6, -0.1), ambient=uniform(0.5, 0.75), exposure=uniform(0.88, 1.1),
        gaze_x=normal(0.15, 0.4), gaze_y=normal(0.1, 0.3),
        background=tuple(int(np.clip(grey + v, 0, 255)) for v in rng.integers(-14, 15, 3)),
        gradient=uniform(-30, 30), grain=uniform(1.0, 2.5), blur_px=uniform(0.0, 0.9),
    )


def drift(nuisance: Nuisance, rng: np.random.Generator) -> Nuisance:
    """Return the factors a few frames later: the head and the gaze have moved a little, light and room are the same."""
    step = np.round(rng.standard_normal(8), 4).tolist()
    return replace(
        nuisance,
        yaw_deg=nuisance.yaw_deg + 0.5 * step[0], pitch_deg=nuisance.pitch_deg + 0.5 * step[1],
        roll_deg=nuisance.roll_deg + 0.6 * step[2], shift_x=nuisance.shift_x + 0.004 * step[3],
        shift_y=nuisance.shift_y + 0.004 * step[4], scale=nuisance.scale * (1 + 0.006 * step[5]),
        gaze_x=nuisance.gaze_x + 0.05 * step[6], gaze_y=nuisance.gaze_y + 0.05 * step[7],
    )


@dataclass(frozen=True)
class View3D:
    """From face coordinates to the picture, without perspective."""

    rotation: np.ndarray  # (3, 3) float64
    centre: np.ndarray  # (2,) where the pivot lies, pixels
    unit_px: float  # the distance between the eyes of the mean face, seen from the front

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return (n, 3) face coordinates as (n, 2) pixels; (x, y), origin at the centre of the top-left pixel."""
        return (np.asarray(points, np.float64) - _PIVOT) @ self.rotation.T[:, :2] * self.unit_px + self.centre


def view(nuisance: Nuisance, size: tuple[int, int]) -> View3D:
    """Return the projection for a picture of `size` (width, height)."""
    width, height = size
    yaw, pitch, roll = np.deg2rad([nuisance.yaw_deg, -nuisance.pitch_deg, nuisance.roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    unit_px = nuisance.scale * height
    middle = np.array([width / 2 + nuisance.shift_x * height, (0.52 + nuisance.shift_y) * height])
    return View3D(about_z @ about_x @ about_y, middle, unit_px)
