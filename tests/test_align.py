"""Alignment: 68 points -> similarity -> canvas, and back. tests/mutate.py breaks it and expects red."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_data.errors import LandmarkError
from fer_data.faces.align import (
    CANVAS,
    EYE_CENTRE,
    EYE_DISTANCE,
    RIGID,
    TEMPLATE,
    align,
    canvas_to_picture,
    place_whole,
    points_on_canvas,
    similarity_from_landmarks,
)

MIRROR = {36: 45, 39: 42, 42: 39, 45: 36, 31: 35, 32: 34, 33: 33, 34: 32, 35: 31, 27: 27, 28: 28, 29: 29, 30: 30}


def face_points(rng, noise_px=0.0):
    """68 points whose rigid ones are the template's, the others anywhere near."""
    points = rng.uniform(20, 110, (68, 2))
    points[list(RIGID)] = TEMPLATE + rng.normal(0, noise_px, TEMPLATE.shape)
    return points


def moved(points, angle_rad, scale, x, y):
    turn = scale * np.array([[math.cos(angle_rad), -math.sin(angle_rad)], [math.sin(angle_rad), math.cos(angle_rad)]])
    return points @ turn.T + [x, y], np.column_stack([turn, [x, y]])


def test_the_template_is_symmetric_and_has_the_stated_eyes():
    """Broken once by moving one eye corner by 0.1: the mirror image is 3.4 px off."""
    place = dict(zip(RIGID, TEMPLATE, strict=True))
    for left, right in MIRROR.items():
        np.testing.assert_allclose(place[left] * [-1, 1] + [CANVAS - 1, 0], place[right])
    eyes = [(place[36] + place[39]) / 2, (place[42] + place[45]) / 2]  # middles of the corners
    assert eyes[1][0] - eyes[0][0] == pytest.approx(EYE_DISTANCE, rel=0.02)
    np.testing.assert_allclose((eyes[0] + eyes[1]) / 2, EYE_CENTRE, atol=0.6)


@given(st.floats(-math.pi, math.pi), st.floats(0.2, 10), st.floats(-500, 500), st.floats(-500, 500), st.integers(0, 9))
def test_the_transform_is_found_from_points_moved_by_it(angle_rad, scale, x, y, seed):
    """The inverse of any similarity, to rounding; never a mirror."""
    points = face_points(np.random.default_rng(seed))
    there, known = moved(points, angle_rad, scale, x, y)
    matrix = similarity_from_landmarks(there)
    assert np.linalg.det(matrix[:, :2]) > 0
    np.testing.assert_allclose(points_on_canvas(there, matrix), points, atol=1e-6 * max(1, scale))
    np.testing.assert_allclose(canvas_to_picture(points, matrix), points_on_canvas(points, known), atol=1e-6 * max(1, scale))


def test_jaw_and_mouth_do_not_move_the_face():
    """The matrix is the same wherever the points that move with the expression lie."""
    rng = np.random.default_rng(0)
    one, other = face_points(rng), face_points(rng)
    other[list(RIGID)] = one[list(RIGID)]
    np.testing.assert_array_equal(similarity_from_landmarks(one), similarity_from_landmarks(other))


def test_least_squares_is_no_worse_than_any_nearby_similarity():
    """Nudging angle, scale or shift of the answer never brings the rigid points closer to the template."""
    rng = np.random.default_rng(5)
    there, _ = moved(face_points(rng, noise_px=2.0), 0.3, 1.7, 30, -20)
    matrix = similarity_from_landmarks(there)

    def error(candidate):
        return ((points_on_canvas(there[list(RIGID)], candidate) - TEMPLATE) ** 2).sum()

    for nudge in ((0.01, 1, 0, 0), (-0.01, 1, 0, 0), (0, 1.01, 0, 0), (0, 0.99, 0, 0), (0, 1, 0.2, 0), (0, 1, 0, -0.2)):
        _, change = moved(there, *nudge)
        candidate = np.vstack([change, [0, 0, 1]]) @ np.vstack([matrix, [0, 0, 1]])
        assert error(candidate[:2]) > error(matrix)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.3, 12.6])
def test_a_drawn_spot_lands_where_its_point_lands(scale):
    """Pixels follow the matrix, through the reduction too: the centre of a block is not its first pixel."""
    points = face_points(np.random.default_rng(1))
    there, known = moved(points, 0.1, scale, 60 * scale, 40 * scale)
    size = math.ceil(330 * scale)
    picture = np.zeros((size, size), np.float32)
    spot = points_on_canvas(np.array([[70.0, 60.0]]), known)[0]
    y, x = np.mgrid[0:size, 0:size]
    picture = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (2.5 * max(scale, 1)) ** 2))
    pixels = align(np.round(picture * 255).astype(np.uint8), there).pixels.astype(float)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    pixels[pixels < 20] = 0
    middle = ((x * pixels).sum() / pixels.sum(), (y * pixels).sum() / pixels.sum())
    assert middle == pytest.approx((70, 60), abs=0.08)


def test_fine_lines_of_a_large_picture_do_not_alias():
    """One-pixel stripes at eight times the scale become even grey."""
    points = face_points(np.random.default_rng(2))
    there, _ = moved(points, 0.0, 8.3, 0, 0)
    stripes = np.tile(np.array([0, 255], np.uint8), (1200, 600))
    pixels = align(stripes, there).pixels[20:110, 20:110]
    assert pixels.std() < 12 and pixels.mean() == pytest.approx(127.5, abs=3)


def test_pixels_outside_the_picture_are_counted():
    """A picture that ends at the canvas' middle column invents the right half of it."""
    points = face_points(np.random.default_rng(3))
    full = np.full((CANVAS, CANVAS), 99, np.uint8)
    assert align(full, points).invented == 0
    half = align(full[:, :66], points)
    assert half.invented == pytest.approx(0.5) and (half.pixels == 99).all()  # the border is repeated


def test_the_residual_is_zero_for_the_template_and_grows_with_noise():
    rng = np.random.default_rng(4)
    picture = np.zeros((CANVAS, CANVAS), np.uint8)
    assert align(picture, face_points(rng)).residual_px == pytest.approx(0, abs=1e-9)
    one, two = (align(picture, face_points(np.random.default_rng(4), noise)).residual_px for noise in (1.0, 2.0))
    assert 0.5 < one < two < 4


def test_colour_is_aligned_channel_by_channel():
    points = face_points(np.random.default_rng(6))
    rgb = np.random.default_rng(6).integers(0, 256, (CANVAS, CANVAS, 3), np.uint8)
    together = align(rgb, points).pixels
    for channel in range(3):
        np.testing.assert_array_equal(together[:, :, channel], align(np.ascontiguousarray(rgb[:, :, channel]), points).pixels)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((5, 2)), "68 points"),
        (np.zeros((68, 2)), "1 of 13 points differ"),
        (np.full((68, 2), np.nan), "68 of 68 are not"),
    ],
)
def test_points_that_cannot_be_aligned_are_refused(points, message):
    with pytest.raises(LandmarkError, match=message):
        similarity_from_landmarks(points)


@pytest.mark.parametrize("shape", [(3, 1000), (1000, 3), (1, 1000, 3)])
def test_a_strip_is_placed_too(shape):
    """Seen red: a cv2.error, which ended the whole run, where the picture was to be reduced by more than its shorter side."""
    face = place_whole(np.full(shape, 7, np.uint8))
    assert face.pixels.shape[:2] == (CANVAS, CANVAS) and (face.pixels == 7).all() and face.invented > 0.98


def test_opencv_warps_exactly(smooth_faces):
    """The promise about pixels rests on cv2.warpAffine computing in float32."""
    matrix = np.array([[0.97, -0.21, 11.3], [0.21, 0.97, -4.7]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(smooth_faces[0], matrix, (90, 90), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    y, x = np.mgrid[0:90, 0:90]
    from_x, from_y = (matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] for row in (0, 1))
    face = np.pad(smooth_faces[0].astype(float), 40, mode="edge")
    left, top = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
    fx, fy = from_x - left, from_y - top

    def at(dy, dx):
        return face[top + 40 + dy, left + 40 + dx]

    expected = at(0, 0) * (1 - fx) * (1 - fy) + at(0, 1) * fx * (1 - fy) + at(1, 0) * (1 - fx) * fy + at(1, 1) * fx * fy
    assert np.abs(warped - expected).max() <= 0.51
