"""The paired bootstrap: against scipy, by hand, and what must hold of any two methods."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from fer_model.errors import RunError
from fer_model.evaluate.figures import interval_over_subjects, to_sequences
from fer_model.evaluate.paired import paired_difference, shared_rows


def predictions(right: dict[str, list[bool]], frames: int = 1) -> pd.DataFrame:
    """Return predictions: person -> whether each image is right; `frames` images make up a sequence."""
    rows = [
        {
            "image_id": f"d/{person}/{i // frames:03d}/{i:08d}", "subject": person, "sequence": f"{i // frames:03d}", "expression": "fear",
            "predicted": "fear" if good else "anger", "p_anger": 1.0 - good, "p_fear": float(good),
        }
        for person, all_right in right.items() for i, good in enumerate(all_right)
    ]
    return pd.DataFrame(rows)


def drawn(seed: int, share: float, people: int = 25) -> pd.DataFrame:
    """Return predictions of people with different numbers of images."""
    rng = np.random.default_rng(seed)
    sizes = np.random.default_rng(0).integers(1, 9, people)
    return predictions({f"S{p:02d}": list(rng.random(size) < share) for p, size in enumerate(sizes)})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_by_hand():
    """A has 3 of 4 right, B 1 of 4; two images are right in A alone, none in B alone. Two people of equal differences: every
    replicate gives 0.5. Seen red: first and second exchanged in `only_first`."""
    a, b = predictions({"P": [True, True], "Q": [True, False]}), predictions({"P": [True, False], "Q": [False, False]})
    found = paired_difference([a], [b], rng())
    assert (found.n, found.n_subjects, found.first, found.second) == (4, 2, 0.75, 0.25)
    assert (found.difference, found.low, found.high, found.share_above) == (0.5, 0.5, 0.5, 1.0)
    assert (found.only_first, found.only_second) == (2, 0)


def test_interval_agrees_with_scipy():
    """scipy resamples the people with their sums of right answers and of images; the statistic is the difference of shares.

    Seen red: images drawn in place of people (interval a third narrower)."""
    a, b = drawn(1, 0.8), drawn(2, 0.6)
    right = [frame.assign(right=frame["expression"] == frame["predicted"]) for frame in (a, b)]
    sums = [frame.groupby("subject")["right"].agg(["sum", "size"]) for frame in right]

    def difference(first, second, n, axis=-1):
        return (first.sum(axis) - second.sum(axis)) / n.sum(axis)

    data = (sums[0]["sum"].to_numpy(), sums[1]["sum"].to_numpy(), sums[0]["size"].to_numpy())
    theirs = bootstrap(data, difference, paired=True, n_resamples=20_000, method="percentile", rng=rng(5))
    ours = paired_difference([a], [b], rng(6), replicates=20_000)
    assert ours.difference == pytest.approx(difference(*data))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.005)
    assert ours.share_above == pytest.approx((theirs.bootstrap_distribution > 0).mean(), abs=0.005)


@pytest.mark.parametrize("seed", range(4))
def test_a_method_does_not_differ_from_itself(seed):
    """Seen red: people drawn separately for each method."""
    a = drawn(seed, 0.7, people=6)
    found = paired_difference([a], [a], rng(seed))
    assert (found.difference, found.low, found.high, found.share_above, found.only_first, found.only_second) == (0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_exchanging_the_methods_turns_the_sign(seed):
    """Seen red: the difference divided by the first's share."""
    a, b = drawn(seed, 0.8, people=8), drawn(seed + 1, 0.5, people=8)
    one, other = paired_difference([a], [b], rng(seed)), paired_difference([b], [a], rng(seed))
    assert (one.difference, one.only_first) == (pytest.approx(-other.difference), other.only_second)
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))
    assert one.share_above + other.share_above <= 1


def test_against_one_that_is_always_wrong_it_is_the_plain_interval():
    """Then the difference is the accuracy, and its interval evaluate.py's, replicate for replicate. Seen red: replicates from a
    generator of its own."""
    a = drawn(3, 0.7)
    found, plain = paired_difference([a], [a.assign(predicted="anger")], rng(4)), interval_over_subjects(a, rng(4))
    assert (found.difference, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_only_what_both_predicted_counts():
    """B predicts one of the people and knows nothing of the other. Seen red: an outer join, the missing counted as wrong."""
    a, b = predictions({"P": [True, False], "Q": [True]}), predictions({"P": [True, True]})
    found = paired_difference([a], [b], rng())
    assert (found.n, found.n_subjects, found.first, found.second) == (2, 1, 0.5, 1.0)
    assert paired_difference([a], [predictions({"R": [True]})], rng()) is None


def test_seeds_count_by_their_mean():
    """Image 1: A right in both seeds, B in one; image 2: A in one, B in none. Seen red: the first seed alone."""
    seeds_a = [predictions({"P": [True, True]}), predictions({"P": [True, False]})]
    seeds_b = [predictions({"P": [True, False]}), predictions({"P": [False, False]})]
    found = paired_difference(seeds_a, seeds_b, rng())
    assert (found.first, found.second, found.difference) == (0.75, 0.25, 0.5)
    assert (found.only_first, found.only_second) == (1.0, 0.0)           # image 1: 1 - 0.5, image 2: 0.5 - 0


def test_sequences_are_judged_by_their_mean_probability():
    """Three frames a sequence, two right: the sequence is right. Seen red: the share of frames taken for the sequence."""
    a, b = predictions({"P": [True, True, False]}, frames=3), predictions({"P": [True, False, False]}, frames=3)
    rows = shared_rows([a], [b], "sequence")
    assert rows[["first", "second"]].to_numpy().tolist() == [[1.0, 0.0]]
    assert len(to_sequences(a)) == 1 and paired_difference([a], [b], rng(), "sequence").difference == 1


def test_runs_that_disagree_on_an_image_are_refused():
    """Seen red: no check, and the image counted by the first's label."""
    a = predictions({"P": [True, True]})
    with pytest.raises(RunError, match=r"they differ on d/P/001/00000001"):
        paired_difference([a], [a.assign(expression=["fear", "sadness"])], rng())
