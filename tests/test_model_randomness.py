"""Numbers that a key and a counter give: the same everywhere, and as good as drawn ones."""

import math

import numpy as np
import pytest
import torch

from fer_model.engine import distributed
from fer_model.engine.randomness import key_of, uniform
from fer_model.networks import dropout

ROWS, WIDTH = 2048, 512
N = ROWS * WIDTH


def drawn(step=0, place=0, name="a"):
    """Return numbers of one step, (ROWS, WIDTH) float64."""
    return uniform(key_of(7, name, step), range(ROWS), WIDTH, place).double()


def in_numpy(key, rows, width, place):
    """Return the same in 32-bit words that wrap round."""

    def mixed(x):
        x = (x ^ x >> 15) * np.uint32(0x2C1B3C6D)
        x = (x ^ x >> 12) * np.uint32(0x297A2D39)
        return x ^ x >> 15

    counter = np.arange(rows.start * width, rows.stop * width, dtype=np.uint64).astype(np.uint32)
    x = mixed(mixed(mixed(counter ^ np.uint32(key & 0xFFFFFFFF)) + np.uint32(key >> 32)) + np.uint32(place))
    return ((x >> 8).astype(np.float32) / 2**24).reshape(len(rows), width)


def correlation(a, b):
    """Return it in parts of what independent numbers show in two thirds of all cases."""
    a, b = a.flatten(), b.flatten()
    return ((a - a.mean()) * (b - b.mean())).mean().item() / (a.std() * b.std()).item() * math.sqrt(len(a))


def chi_square(cells, n_cells):
    """Return how far counts are from even ones, in deviations of what even ones show."""
    counts = torch.bincount(cells.long(), minlength=n_cells).double()
    expected = len(cells) / n_cells
    return ((counts - expected).square().sum().item() / expected - (n_cells - 1)) / math.sqrt(2 * (n_cells - 1))


@pytest.mark.parametrize(("step", "rows", "width", "place"), [(0, range(5), 3, 0), (9, range(40, 47), 862, 4), (3, range(1), 1, 1)])
def test_the_same_numbers_in_32_bit_words(step, rows, width, place):
    """Against numpy, to the last bit."""
    key = key_of(7, "a", step)
    found = uniform(key, rows, width, place)
    assert found.dtype == torch.float32 and found.numpy().tobytes() == in_numpy(int(key), rows, width, place).tobytes()


@pytest.mark.parametrize("step", range(3))
def test_they_are_even(step):
    """Mean, variance and 1024 equal parts, within five deviations of what even numbers show."""
    u = drawn(step)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean().item() - 1 / 2) < 5 * math.sqrt(1 / 12 / N) and abs(u.var().item() - 1 / 12) < 5 * math.sqrt(1 / 180 / N)
    assert abs(chi_square(u.flatten() * 1024, 1024)) < 5
    assert abs(chi_square(u.flatten() * 2**24 % 1024, 1024)) < 5         # the lowest bits


def test_neighbours_steps_places_and_names_tell_nothing_of_each_other():
    """Correlation, and pairs in 32 x 32 cells, within five deviations; and so for what is kept of one half."""
    u = drawn()
    others = {
        "column": (u[:, :-1], u[:, 1:]), "row": (u[:-1], u[1:]), "two rows": (u[:-2], u[2:]), "step": (u, drawn(1)),
        "place": (u, drawn(place=1)), "places": (drawn(place=1), drawn(place=2)), "name": (u, drawn(name="b")),
        "mirrored": (u, u.flip(1)),
    }
    for what, (a, b) in others.items():
        kept = [(one >= 0.5).double() for one in (a, b)]
        assert abs(correlation(a, b)) < 5 and abs(correlation(*kept)) < 5, what
        if what != "mirrored":                                           # there each pair comes twice
            assert abs(chi_square((a * 32).floor().flatten() * 32 + (b * 32).floor().flatten(), 1024)) < 5, what


def test_each_bit_of_key_and_counter_turns_half_of_the_bits():
    """Of the 24 bits of each number, for each bit that is another one. Within 2 %."""
    key = key_of(7, "a")
    whole = (uniform(key, range(64), 64) * 2**24).long()                 # counters 0 .. 4095
    turned = {f"key {bit}": (uniform(key ^ (1 << bit), range(64), 64) * 2**24).long() for bit in range(63)}
    place = torch.arange(4096).view(64, 64)
    turned |= {f"counter {bit}": whole.flatten()[place ^ (1 << bit)] for bit in range(12)}
    for what, other in turned.items():
        bits = (whole ^ other)[..., None] >> torch.arange(24) & 1
        assert bits.double().mean((0, 1)).sub(0.5).abs().max() < 0.04 and abs(bits.double().mean() - 0.5) < 0.02, what


def test_processes_have_the_rows_of_their_samples(monkeypatch):
    """The masks of two together are that of one. Seen red: rows from 0 in each."""
    x, key = torch.ones(8, 33), key_of(0, "d")
    whole, parts = dropout(x, 0.4, key, 2), []
    monkeypatch.setattr(distributed, "size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(dropout(x[:4], 0.4, key, 2))
    assert torch.equal(torch.cat(parts), whole)
