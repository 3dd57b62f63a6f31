"""How far a face is turned and how large it is, against the camera that drew it."""

from dataclasses import replace

import numpy as np
import pytest

from fer_data.faces.align import similarity_from_landmarks
from fer_data.faces.pose import eye_distance_px, patch_px, yaw_deg
from fer_data.synthetic.expressions import VARIANTS
from fer_data.synthetic.people import draw_person
from fer_data.synthetic.rig import make_rig
from fer_data.synthetic.scene import draw_nuisance


def points_of(seed, **pose):
    """Return the true points of a drawn person, and the distance between the eyes of the mean face there, px."""
    rng = np.random.default_rng(seed)
    rig = make_rig(draw_person(rng), {}, replace(draw_nuisance(rng), **{"yaw_deg": 0.0, "pitch_deg": 0.0, **pose}), (640, 490))
    return rig.points, rig.unit_px


@pytest.mark.parametrize("yaw", [-45.0, -20.0, 0.0, 10.0, 30.0, 45.0])
@pytest.mark.parametrize("roll", [0.0, 25.0])
def test_the_angle_is_that_of_the_camera(yaw, roll):
    """Seen red: inner corners of the eyes (off by 25 degrees), the sign turned round (91), x alone (13, with a roll)."""
    assert "happiness" in VARIANTS
    found = [yaw_deg(points_of(seed, yaw_deg=yaw, roll_deg=roll)[0]) for seed in range(6)]
    assert np.abs(np.array(found) - yaw).max() < 3.5


def test_a_mirror_image_is_turned_the_other_way():
    points = points_of(3, yaw_deg=25.0)[0]
    mirrored = (points * [-1, 1])[[*range(36), 45, *range(37, 45), 36, *range(46, 68)]]
    assert yaw_deg(mirrored) == pytest.approx(-yaw_deg(points))


def test_without_points_nothing_is_said_of_a_turn():
    assert yaw_deg(np.full((68, 2), np.nan)) is None and yaw_deg(np.zeros((68, 2))) is None


@pytest.mark.parametrize("scale", [0.05, 0.15])
def test_the_eye_distance_is_that_of_the_picture(scale):
    """Seen red: the scale of the alignment itself in place of its inverse."""
    points, unit_px = points_of(1, scale=scale)
    matrix = similarity_from_landmarks(points)
    assert eye_distance_px(matrix) == pytest.approx(unit_px, rel=0.12)           # people differ
    assert patch_px(matrix) == pytest.approx(96 / 34 * eye_distance_px(matrix))
