"""Synthetic people: geometry, action units, drawing. Each test names what was broken once on purpose and what it then said."""

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_data import synthetic
from fer_data.faces.align import EYE_DISTANCE, points_on_canvas, similarity_from_landmarks
from fer_data.labels import EXPRESSIONS
from fer_data.synthetic import ACTION_UNITS, VARIANTS, draw_face, draw_nuisance, draw_person, perform
from fer_data.synthetic.anatomy import MIRROR, mean_face
from fer_data.synthetic.brush import Brush, ellipse, luminance
from fer_data.synthetic.expressions import displacement
from fer_data.synthetic.people import neutral_points

LEVELS = st.dictionaries(st.sampled_from(list(ACTION_UNITS)), st.floats(0, 1.5), max_size=6)


# What draws, and the CK+ tree; the other trees may read facts and write clips.
CORE = ("__init__", "anatomy", "brush", "ck_plus", "drawing", "expressions", "features", "hair", "litter", "people", "plan",
        "relief", "rig", "scene", "version", "wrinkles")


def person_and_scene(seed: int):
    rng = np.random.default_rng(seed)
    return draw_person(rng), draw_nuisance(rng)


def frontal(scene, **changes):
    still = {"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "shift_x": 0.0, "shift_y": 0.0}
    return replace(scene, **{**still, **changes})


def test_the_same_generator_state_gives_the_same_person_and_another_one_another():
    """Broken once with a global generator in draw_person: the first two differed in 14 fields."""
    people = [draw_person(np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert people[0] == people[1]
    assert people[0] != people[2]


def test_mirror_is_its_own_inverse_and_the_mean_face_is_symmetric():
    """Broken once by exchanging 43 and 44 in MIRROR: it was not its own inverse."""
    assert np.array_equal(np.array(MIRROR)[list(MIRROR)], np.arange(68))
    face = mean_face()
    np.testing.assert_allclose(face[list(MIRROR)] * (-1, 1, 1), face, atol=1e-12)


def test_neutral_faces_differ_where_identity_says():
    """Broken once by leaving out the nose's width: the ratio below was 1 instead of 1.38."""
    person, _ = person_and_scene(0)
    narrow, wide = (neutral_points(replace(person, nose_width_sd=value, asymmetry=(0.0,) * 136)) for value in (-1.0, 1.0))
    width = [points[35, 0] - points[31, 0] for points in (narrow, wide)]
    assert width[1] / width[0] == pytest.approx(1.16 / 0.84)
    assert np.array_equal(np.delete(narrow, range(27, 36), 0), np.delete(wide, range(27, 36), 0))


@given(LEVELS, st.floats(0, 2))
def test_displacement_is_linear_in_the_levels(levels, factor):
    """Broken once by squaring the level of one side: not equal."""
    whole = displacement({unit: level * factor for unit, level in levels.items()})
    np.testing.assert_allclose(whole, displacement(levels) * factor, atol=1e-12)


@given(LEVELS)
def test_a_unit_on_both_sides_is_its_two_sides_together_and_symmetric(levels):
    """Broken once by moving the left side inwards: not symmetric."""
    both = displacement(levels)
    right = displacement({f"R{unit}": level for unit, level in levels.items()})
    left = displacement({f"L{unit}": level for unit, level in levels.items()})
    np.testing.assert_allclose(right + left, both, atol=1e-12)
    np.testing.assert_allclose(both[list(MIRROR)] * (-1, 1, 1), both, atol=1e-12)
    np.testing.assert_allclose(left[list(MIRROR)] * (-1, 1, 1), right, atol=1e-12)


def test_a_smile_on_the_right_moves_the_corner_on_the_left_of_the_picture_out_and_up():
    """Broken once by exchanging R and L: point 48 did not move."""
    moved = displacement({"R12": 1.0})
    assert moved[48, 0] < -0.05 and moved[48, 1] < -0.05
    assert np.array_equal(moved[54], (0, 0, 0))


# What FACS (EMFACS; Lucey et al. 2010, table 1) asks of an expression: one set of each group must be there.
REQUIRED = {
    "anger": [{"23"}, {"24"}], "contempt": [{"14"}], "disgust": [{"9"}, {"10"}], "fear": [{"1", "2", "4", "5"}], "happiness": [{"12"}],
    "sadness": [{"1", "4", "15"}, {"11"}, {"6", "15"}], "surprise": [{"1", "2", "26"}, {"1", "2", "27"}, {"1", "2", "5"}],
}


@pytest.mark.parametrize("expression", REQUIRED)
def test_each_variant_holds_the_units_that_facs_requires(expression):
    """Broken once by dropping 15 from sadness: no allowed set was there."""
    assert sum(share for share, _ in VARIANTS[expression]) == pytest.approx(1)
    for _, levels in VARIANTS[expression]:
        assert any(units <= set(levels) for units in REQUIRED[expression]), levels


def test_every_known_expression_can_be_performed():
    """Broken once by leaving out neutral: it was the item missing."""
    assert {*VARIANTS, "calm"} == set(EXPRESSIONS)                       # RAVDESS alone has calm: its tree draws a faint smile
    person, _ = person_and_scene(1)
    for expression in VARIANTS:
        for name, level in perform(person, expression, np.random.default_rng(0)).items():
            assert name.lstrip("RL") in ACTION_UNITS and 0 < level < 2.5
    assert perform(person, "neutral") == {}


def test_people_have_their_own_strength_and_style():
    """Broken once by ignoring person.style: all showed 27, nobody 26."""
    shown = [perform(draw_person(np.random.default_rng(seed)), "surprise") for seed in range(12)]
    assert {frozenset(levels) for levels in shown} == {frozenset(levels) for _, levels in VARIANTS["surprise"]}
    assert len({levels["1"] for levels in shown}) > 6


@pytest.mark.parametrize("name", ["99", "X12", "12R", ""])
def test_an_unknown_action_unit_is_named(name):
    """Broken once by skipping unknown names: nothing was raised."""
    person, scene = person_and_scene(2)
    with pytest.raises(KeyError, match=r"unknown action units .*; choose among 1, 2, 4"):
        draw_face(person, {name: 1.0}, 1.0, scene)


@pytest.mark.parametrize(("size", "colour"), [((640, 490), False), ((320, 240), True), ((720, 576), False)])
def test_pictures_have_the_size_and_colour_asked_for(size, colour):
    """Broken once by exchanging width and height: (640, 490) instead of (490, 640)."""
    person, scene = person_and_scene(3)
    picture, points = draw_face(person, "anger", 1.0, scene, size, colour)
    assert picture.shape == (size[1], size[0], 3)[: 3 if colour else 2] and picture.dtype == np.uint8
    assert points.shape == (68, 2) and points.dtype == np.float64
    assert (points > 0).all() and (points < size).all()


def test_intensity_zero_is_the_neutral_face_and_points_move_with_it():
    """Broken once by ignoring intensity: neutral and surprise at 0 differed."""
    person, scene = person_and_scene(4)
    neutral, rest = draw_face(person, "neutral", 1.0, scene)
    none, still = draw_face(person, "surprise", 0.0, scene)
    assert np.array_equal(neutral, none) and np.array_equal(rest, still)
    chin = [draw_face(person, "surprise", level, scene)[1][8, 1] for level in (0.0, 0.5, 1.0)]
    assert chin[0] + 3 < chin[1] < chin[2] - 3


def test_colour_is_drawn_like_grey():
    """Broken once by mixing up red and blue in the luminance: 2.48 grey levels apart on average."""
    person, scene = person_and_scene(5)
    grey, _ = draw_face(person, "happiness", 1.0, scene)
    colour, _ = draw_face(person, "happiness", 1.0, scene, colour=True)
    light = (colour @ np.array([299, 587, 114]) + 500) // 1000
    assert np.abs(light - grey.astype(int)).mean() < 1.0


def test_grain_changes_pixels_by_its_deviation_and_no_point():
    """Broken once by half the gain: deviation 1.06 instead of 2."""
    person, scene = person_and_scene(6)
    scene = replace(scene, grain=2.0)
    clean, points = draw_face(person, "fear", 1.0, scene)
    noisy, same = draw_face(person, "fear", 1.0, scene, rng=np.random.default_rng(0))
    assert np.array_equal(points, same)
    difference = noisy.astype(int) - clean
    assert difference.std() == pytest.approx(2.0, rel=0.1)
    assert abs(difference.mean()) < 0.05


def test_scale_roll_and_yaw_mean_what_they_say():
    """Broken once by turning yaw the other way: the nose went 6.7 px to the left."""
    person, scene = person_and_scene(7)

    def points_of(**changes):
        return draw_face(person, "neutral", 1.0, frontal(scene, scale=0.16, **changes), (640, 500))[1]

    front = points_of()
    eyes = front[36:42].mean(0), front[42:48].mean(0)
    assert np.sqrt(((eyes[1] - eyes[0]) ** 2).sum()) == pytest.approx(0.16 * 500, rel=0.15)
    across = points_of(roll_deg=6.0)[45] - points_of(roll_deg=6.0)[36]
    before = front[45] - front[36]
    assert np.degrees(np.arctan2(across[1], across[0]) - np.arctan2(before[1], before[0])) == pytest.approx(6.0, abs=1e-6)
    nose = (points_of(yaw_deg=8.0) - front)[30] - (points_of(yaw_deg=8.0) - front)[[36, 45]].mean(0)
    assert nose[0] > 3
    nose = (points_of(pitch_deg=8.0) - front)[30] - (points_of(pitch_deg=8.0) - front)[[36, 45]].mean(0)
    assert nose[1] > 1


def test_aligned_points_undo_place_scale_and_roll():
    """Broken once by scaling x alone: 6.95 canvas px apart."""
    person, scene = person_and_scene(8)
    canvases = []
    for changes in ({}, {"scale": 0.12, "roll_deg": -7.0, "shift_x": 0.1, "shift_y": -0.05}):
        points = draw_face(person, "sadness", 1.0, frontal(scene, **{"scale": 0.17, **changes}))[1]
        canvases.append(points_on_canvas(points, similarity_from_landmarks(points)))
    assert np.abs(canvases[0] - canvases[1]).max() < 1e-6
    assert canvases[0][42:48, 0].mean() - canvases[0][36:42, 0].mean() == pytest.approx(EYE_DISTANCE, rel=0.12)


def test_true_points_lie_on_what_is_drawn():
    """Broken once by returning the neutral points: between the lips lay skin (143, with a cheek of 149)."""
    rng = np.random.default_rng(9)
    person = replace(draw_person(rng), beard="none", glasses="none", skin=(220, 180, 150))
    scene = replace(frontal(draw_nuisance(rng)), gaze_x=0.0, gaze_y=0.0, blur_px=0.0)
    picture, points = draw_face(person, {"5": 1.0, "25": 0.5, "27": 1.2}, 1.0, scene)
    cheek = picture[tuple(np.round(points[[2, 48]].mean(0)).astype(int)[::-1])]
    for first in (36, 42):  # the pupil is dark, the corner of the eye's white is not
        x, y = np.round(points[first : first + 6].mean(0)).astype(int)
        assert picture[y - 3 : y + 4, x - 3 : x + 4].min() < 0.35 * cheek
    x, y = np.round(points[[62, 66]].mean(0)).astype(int)
    assert picture[y, x] < 0.45 * cheek


def test_brush_paints_the_share_that_is_covered():
    """Broken once by a weight of 255 instead of 256 for full coverage: 254 instead of 255."""
    picture = np.zeros((40, 40), np.uint8)
    Brush(picture).fill(np.array([(9.5, 9.5), (29.5, 9.5), (29.5, 29.5), (9.5, 29.5)]), (255, 255, 255))
    assert (picture[12:28, 12:28] == 255).all() and (picture[:8] == 0).all() and (picture[:, 32:] == 0).all()
    Brush(picture).fill(ellipse(np.array([20.0, 20.0]), 8, 8), (55, 55, 55), alpha=0.5)
    assert picture[20, 20] == 155
    before = picture.copy()
    Brush(picture).fill(ellipse(np.array([-90.0, 20.0]), 8, 8), (0, 0, 0))
    assert np.array_equal(picture, before)


@settings(max_examples=30)
@given(st.integers(0, 255), st.tuples(*[st.integers(0, 255)] * 3), st.floats(0, 1), st.floats(0, 12))
def test_brush_stays_between_ground_and_colour(ground, colour, alpha, soft_px):
    """Broken once by one grey level too little: black wrapped round to 255."""
    picture = np.full((30, 30), ground, np.uint8)
    Brush(picture).fill(ellipse(np.array([15.0, 14.0]), 9, 6), colour, alpha, soft_px)
    low, high = sorted((ground, luminance(colour)))
    assert low <= picture.min() and picture.max() <= high


def test_the_generator_imports_numpy_opencv_and_no_other_stage():
    """Broken once by importing faces.align in rig.py: it was named."""
    allowed = {"numpy", "cv2", "fer_data.errors", "fer_data.labels"}
    for module in CORE:
        path = Path(synthetic.__file__).with_name(f"{module}.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            strange = [
                name
                for name in names
                if name not in allowed and not name.startswith("fer_data.synthetic")
                and name.split(".")[0] not in sys.stdlib_module_names
            ]
            assert not strange, f"{path.name} imports {strange}"


def test_a_fresh_interpreter_draws_without_torch_or_dlib():
    """Broken once by importing torch in brush.py: it was there."""
    code = "import json, sys; import fer_data.synthetic; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert not {"torch", "dlib", "_dlib_pybind11", "face_alignment", "sklearn"} & set(loaded)
