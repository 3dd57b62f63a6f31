"""The 110 views: which they are, and that each renderer gives the same pixels. tests/mutate.py breaks them and expects red."""

import math

import numpy as np
import pytest
import torch

from fer_data.faces.align import CANVAS
from fer_data.faces.views import ANGLES_DEG, CROPS, MARGIN, MATRICES, N_VIEWS, VIEW_SIZE, render_view, render_views, view_of
from fer_data.store.loader import render, sample_order, to_u8, to_unit


def bilinear(face, k):
    """Return view k in float64 from the paper's words alone: crop, turn about its centre, mirror."""
    view = view_of(k)
    offset_x, offset_y = CROPS[view.crop]
    out = np.empty((VIEW_SIZE, VIEW_SIZE))
    angle_rad = math.radians(view.angle_deg)
    for row in range(VIEW_SIZE):
        columns = np.arange(VIEW_SIZE)
        shown = (VIEW_SIZE - 1 - columns if view.flip else columns) - 47.5
        # A counter-clockwise turn on the screen: what is seen at (x, y) stood at the same radius, further clockwise.
        x = shown * math.cos(angle_rad) - (row - 47.5) * math.sin(angle_rad) + 47.5 + MARGIN + offset_x
        y = shown * math.sin(angle_rad) + (row - 47.5) * math.cos(angle_rad) + 47.5 + MARGIN + offset_y
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        part_x, part_y = x - left, y - top
        right, bottom = np.minimum(left + 1, CANVAS - 1), np.minimum(top + 1, CANVAS - 1)
        upper = face[top, left] * (1 - part_x) + face[top, right] * part_x
        lower = face[bottom, left] * (1 - part_x) + face[bottom, right] * part_x
        out[row] = upper * (1 - part_y) + lower * part_y
    return out


def test_view_numbers_are_a_bijection_onto_crops_angles_and_flips():
    seen = {(view.crop, view.angle_deg, view.flip) for view in map(view_of, range(N_VIEWS))}
    assert N_VIEWS == 110 and seen == {(crop, float(angle), flip) for crop in CROPS for angle in ANGLES_DEG for flip in (False, True)}
    assert sorted(ANGLES_DEG) == [-15, -12, -9, -6, -3, 0, 3, 6, 9, 12, 15]  # the paper's ten and the unrotated one


@pytest.mark.parametrize("k", [-1, 110])
def test_other_view_numbers_are_refused(k):
    with pytest.raises(ValueError, match=r"choose 0 to 109"):
        view_of(k)


def test_unrotated_views_are_the_crops_exactly(smooth_faces):
    for index, (x, y) in enumerate(CROPS.values()):
        crop = smooth_faces[0][MARGIN + y : MARGIN + y + 96, MARGIN + x : MARGIN + x + 96]
        np.testing.assert_array_equal(render_view(smooth_faces[0], index * 22), crop)
    assert view_of(0).crop == "centre" and view_of(0).angle_deg == 0 and not view_of(0).flip


def test_flipping_twice_is_the_identity(smooth_faces):
    """The mirror is exact, so a flipped view flipped again is its neighbour, to the byte."""
    for k in range(0, N_VIEWS, 2):
        assert view_of(k + 1).flip and not view_of(k).flip
        np.testing.assert_array_equal(render_view(smooth_faces[1], k + 1)[:, ::-1], render_view(smooth_faces[1], k))


def test_each_view_is_what_the_paper_says(smooth_faces):
    """Against float64 arithmetic; OpenCV rounds a float32 sum once, hence 0.51 grey levels."""
    for k in range(N_VIEWS):
        assert np.abs(render_view(smooth_faces[2], k) - bilinear(smooth_faces[2].astype(float), k)).max() <= 0.51, view_of(k)


def test_a_turned_view_turns_counter_clockwise():
    """A bright spot right of the patch's centre moves up on the screen when the patch is turned by +15 degrees."""
    face = np.zeros((CANVAS, CANVAS), np.uint8)
    face[64:68, 96:100] = 255  # centre crop: 18..113, so the spot lies 32 px right of the centre
    turned = render_view(face, next(k for k in range(22) if view_of(k).angle_deg == 15 and not view_of(k).flip))
    row, column = (index.mean() for index in np.nonzero(turned > 128))
    assert row == pytest.approx(47.5 - 32 * math.sin(math.radians(15)), abs=0.8) and column > 70


def test_no_view_leaves_the_canvas():
    """So no pixel is invented; the corners of turned corner crops reach 0.32 .. 130.68 of 0 .. 131."""
    corners = np.array([[x, y, 1] for x in (0, 95) for y in (0, 95)])
    places = corners @ MATRICES.transpose(0, 2, 1)  # (110, 4, 2)
    assert places.min() == pytest.approx(0.3246, abs=1e-3) and places.max() == pytest.approx(130.6754, abs=1e-3)


def test_border_pixels_of_the_canvas_do_not_matter_beyond_its_edge(smooth_faces):
    """Poison around the canvas never shows: a face inside a larger, poisoned picture gives the same views."""
    import cv2

    poisoned = np.full((CANVAS + 40, CANVAS + 40), 255, np.uint8)
    poisoned[20:-20, 20:-20] = smooth_faces[3]
    for k in range(0, N_VIEWS, 2):
        matrix = MATRICES[k] + [[0, 0, 20], [0, 0, 20]]
        shown = cv2.warpAffine(poisoned, matrix, (96, 96), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        assert np.abs(shown.astype(int) - render_view(smooth_faces[3], k)).max() <= 1, view_of(k)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_all_views_at_once_are_the_single_ones(smooth_faces, channels):
    """However many: four are turned as one, what is left over singly. Seen red: the four in another order; left-overs not mirrored."""
    noise = np.random.default_rng(0).integers(0, 256, (2, CANVAS, CANVAS), np.uint8)
    faces = np.concatenate([noise, smooth_faces])
    faces = np.ascontiguousarray(faces if not channels else np.stack([faces, 255 - faces, faces // 2], -1))
    together = render_views(faces)
    assert together.shape == (6, 110, 96, 96, *channels)
    for face, views in zip(faces, together, strict=True):
        for k in range(N_VIEWS):
            np.testing.assert_array_equal(views[k], render_view(face, k))


def test_the_torch_renderer_agrees_within_one_grey_level(smooth_faces, device):
    noise = np.random.default_rng(0).integers(0, 256, (1, CANVAS, CANVAS), np.uint8)
    for face in np.concatenate([smooth_faces, noise]):
        faces = torch.from_numpy(face)[None, None].expand(N_VIEWS, 1, -1, -1).to(device)
        rendered = render(faces, torch.arange(N_VIEWS, device=device)).cpu().numpy()[:, 0].astype(int)
        expected = np.stack([render_view(face, k) for k in range(N_VIEWS)]).astype(int)
        assert np.abs(rendered - expected).max() <= 1


def test_the_torch_renderer_ignores_autocast(smooth_faces):
    """bf16 has 8 bits and would be several grey levels off."""
    faces = torch.from_numpy(smooth_faces)[:, None]
    k = torch.tensor([2, 31, 64, 109])
    with torch.autocast("cpu", torch.bfloat16):
        inside = render(faces, k)
    assert torch.equal(inside, render(faces, k))


def test_pixels_survive_the_way_to_unit_range_and_back():
    """There and back over all 256 levels; the ends are exactly -1 and 1."""
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_u8(to_unit(levels)), levels)
    assert to_unit(levels).min() == -1 and to_unit(levels).max() == 1 and to_unit(levels).dtype == torch.float32
    assert to_u8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


def test_an_epoch_shows_each_sample_once_and_depends_on_seed_and_epoch_alone():
    order = sample_order(5, 110, seed=1, epoch=2)
    assert sorted(order.tolist()) == list(range(550))
    assert torch.equal(order, sample_order(5, 110, seed=1, epoch=2))
    others = [sample_order(5, 110, seed, epoch) for seed, epoch in ((1, 3), (2, 2), (2, 1))]
    assert not any(torch.equal(order, other) for other in others)
