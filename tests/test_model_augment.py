"""Views beyond the 110: same shape and range, nothing at strength 0, changes within what is promised; mixtures by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_model.data.augment import SCALE, SHIFT, TURN_DEG, draw_changes, draw_shares, mix, mixed_labels, strengthen
from fer_model.engine.randomness import stream


def strengthened(x, strength, seed=0):
    """Return views changed at random."""
    return strengthen(x, strength, draw_changes(len(x), strength, stream(seed, "a")))


def test_strength_0_is_the_view_itself():
    """And nothing is drawn for it."""
    x = torch.rand(3, 1, 48, 48)
    assert strengthened(x, 0.0) is x and draw_changes(3, 0.0, stream(0, "a")).shape == (3, 0)


@settings(max_examples=20)
@given(strength=st.floats(0.01, 1), channels=st.sampled_from([1, 3]), size=st.sampled_from([16, 48]), seed=st.integers(0, 9))
def test_shape_range_and_repeatability(strength, channels, size, seed):
    """Seen red: without the clamp."""
    x = torch.rand(5, channels, size, size, generator=stream(seed, "x")) * 2 - 1
    once, again = (strengthened(x, strength, seed) for _ in range(2))
    assert once.shape == x.shape and once.dtype == torch.float32 and once.min() >= -1 and once.max() <= 1
    assert torch.equal(once, again) and not torch.equal(once, strengthened(x, strength, seed + 1))


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_a_ramp_stays_a_ramp_whose_slope_tells_scale_and_turn(strength, monkeypatch):
    """Two ramps, along x and along y, through the geometry alone. Seen red: degrees taken for radians; the shift twice."""
    monkeypatch.setattr("fer_model.data.augment.CONTRAST", 0.0)
    monkeypatch.setattr("fer_model.data.augment.BRIGHTNESS", 0.0)
    monkeypatch.setattr("fer_model.data.augment.ERASED_SIDE", 0.0)
    place = (torch.arange(96) + 0.5) / 96 - 0.5
    ramps = torch.stack([place.expand(96, 96), place[:, None].expand(96, 96)])   # x, y in parts of the side
    n = 64
    out = strengthened(ramps.expand(n, 2, 96, 96), strength)[:, :, 32:64, 32:64]     # away from the border
    along = (out[..., 1:] - out[..., :-1]).mean((2, 3)) * 96                     # (n, 2): d(x, y) / dx
    scale, turn = along.norm(dim=1), torch.rad2deg(torch.atan2(along[:, 1], along[:, 0]))
    middle = out[:, :, 15:17, 15:17].mean((2, 3))                                # (n, 2): where the middle comes from
    assert scale.log().abs().max() <= strength * SCALE + 1e-4 and turn.abs().max() <= strength * TURN_DEG + 0.01
    assert middle.abs().max() <= strength * SHIFT + 1e-4
    assert scale.log().abs().max() > 0.9 * strength * SCALE and turn.abs().max() > 0.9 * strength * TURN_DEG
    assert middle.abs().max() > 0.9 * strength * SHIFT


def test_half_of_the_views_lose_a_square_of_at_most_a_third(monkeypatch):
    """On views that light cannot change. Seen red: every view; squares twice as large."""
    for name in ("SCALE", "SHIFT", "TURN_DEG", "CONTRAST", "BRIGHTNESS"):
        monkeypatch.setattr(f"fer_model.data.augment.{name}", 0.0)
    x = torch.where(torch.arange(48) % 2 == 0, -1.0, 0.9).expand(400, 1, 48, 48)          # its mean is none of its values
    gone = (strengthened(x, 1.0) - x).abs() > 0.5                  # (400, 1, 48, 48)
    sides = gone.any(2).sum((1, 2)), gone.any(3).sum((1, 2))
    share = (sides[0] > 0).float().mean().item()
    assert math.isclose(share, 0.5, abs_tol=0.1)
    assert max(side.max() for side in sides) in (15, 16)


def test_without_a_share_the_view_and_the_label_stay():
    x, labels = torch.rand(3, 1, 16, 16), torch.tensor([0, 2, 1])
    assert mix(x, None) is x and mixed_labels(labels, None, 3) is labels


def test_mixtures_of_neighbours_by_hand():
    """Flat views of 0, 1, 2, 3, 4: labels of the same shares. Seen red: the shares turned round; labels not mixed; another neighbour."""
    x, labels = (torch.arange(5.0) / 5)[:, None, None, None].expand(5, 1, 16, 16), torch.arange(5)
    share = draw_shares(5, 0.4, stream(0, "a"))
    mixed = mix(x, share)
    targets = mixed_labels(labels, share, 5)                                     # (5, 5)
    assert share.dtype == targets.dtype == mixed.dtype == torch.float32 and len(set(share.tolist())) == 5
    for i, j in enumerate((1, 0, 3, 2, 4)):
        expected = [0.0] * 5
        expected[i] += share[i].item()
        expected[j] += 1 - share[i].item()
        assert targets[i].tolist() == pytest.approx(expected, abs=1e-6)
        assert mixed[i].flatten().tolist() == pytest.approx([sum(n / 5 * part for n, part in enumerate(expected))] * 256, abs=1e-6)
    assert torch.equal(draw_shares(5, 0.4, stream(0, "a")), share) and not torch.equal(draw_shares(5, 0.4, stream(1, "a")), share)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_drawn_from_beta(alpha):
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)). Seen red: Beta(1, 1) whatever alpha is."""
    share = draw_shares(20_000, alpha, stream(0, "a")).double()
    assert share.min() >= 0 and share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=0.01) and share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
