"""Figures from predictions: by hand, against scikit-learn, and the interval's behaviour."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from fer_model.errors import RunError
from fer_model.evaluate.figures import accuracy, confusion, evaluate, interval_over_subjects, macro_recall, majority, to_sequences
from fer_model.runs.predictions import predictions_frame, read_predictions, write_predictions

CLASSES = ("anger", "fear", "happiness")


def frame_of(*rows):
    """Return predictions from (subject, sequence, expression, probabilities)."""
    manifest = pd.DataFrame([row[:3] for row in rows], columns=["subject", "sequence", "expression"])
    manifest["image_id"] = [f"d/{s}/{q}/{i:08d}" for i, (s, q, *_) in enumerate(rows)]
    return predictions_frame(manifest, np.array([row[3] for row in rows]), CLASSES)


# Person A: one sequence of three frames, two of them wrong, but less surely than the third is right.
BY_HAND = frame_of(
    ("A", "1", "anger", (0.4, 0.6, 0.0)), ("A", "1", "anger", (0.4, 0.6, 0.0)), ("A", "1", "anger", (0.9, 0.1, 0.0)),
    ("A", "2", "fear", (0.0, 1.0, 0.0)), ("B", "1", "fear", (0.9, 0.1, 0.0)), ("B", "2", "fear", (0.2, 0.7, 0.1)),
)


def test_figures_by_hand():
    """Frames: 3 of 6. Sequences: A1 mean (.567, .433, 0) is right, A2 right, B1 wrong, B2 right: 3 of 4. Seen red: the
    first frame in place of the mean; recall over all three classes."""
    found = evaluate(BY_HAND)
    assert found.frame_accuracy.value == pytest.approx(3 / 6) and found.sequence_accuracy.value == pytest.approx(3 / 4)
    assert found.frame_macro_recall == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert found.sequence_macro_recall == pytest.approx((1 + 2 / 3) / 2)
    assert (found.majority_class, found.majority_accuracy) == ("anger", 0.5), "of two as frequent the first by name"
    assert found.confusion == ((1, 2, 0), (1, 2, 0), (0, 0, 0)) and found.classes_absent == ("happiness",)
    assert (found.n_images, found.n_sequences, found.n_subjects) == (6, 4, 2)


def test_one_person_has_no_interval_over_people():
    """Seen red: 33.3 % to 33.3 %, as if the figure were sure."""
    alone, both = (printed(evaluate(BY_HAND[BY_HAND["subject"].isin(people)])) for people in (["A"], ["A", "B"]))
    assert "1 person of the test fold" in alone and alone.count("none of one") == 2 and " to " not in alone
    assert "2 people of the test fold" in both and both.count(" to ") == 2


def printed(what):
    """Return what the console shows."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=60))
def test_shares_and_confusion_agree_with_scikit_learn(pairs):
    """Seen red: confusion with true and predicted the other way round."""
    frame = pd.DataFrame(pairs, columns=["expression", "predicted"])
    assert accuracy(frame) == pytest.approx(accuracy_score(frame["expression"], frame["predicted"]))
    assert (confusion(frame, CLASSES) == confusion_matrix(frame["expression"], frame["predicted"], labels=CLASSES)).all()
    seen = frame["expression"].nunique() > 1 and set(frame["predicted"]) <= set(frame["expression"])
    if seen:                                                             # scikit-learn warns otherwise
        assert macro_recall(frame) == pytest.approx(balanced_accuracy_score(frame["expression"], frame["predicted"]))
    name, share = majority(frame)
    assert share == max((frame["expression"] == c).mean() for c in CLASSES) == (frame["expression"] == name).mean()


def drawn(people, rng, per_person=10):
    """Return people who are either always right or always wrong."""
    right = rng.random(people) < 0.7
    rows = [(f"S{p}", right[p]) for p in range(people) for _ in range(per_person)]
    return pd.DataFrame({"subject": [s for s, _ in rows], "expression": "fear", "predicted": ["fear" if r else "anger" for _, r in rows]})


def test_interval_counts_people_not_pictures():
    """Ten pictures of a person say no more than one. Seen red: rows drawn in place of people."""
    frame = drawn(100, np.random.default_rng(0))
    many = interval_over_subjects(frame, np.random.default_rng(1))
    one = interval_over_subjects(frame.groupby("subject").head(1), np.random.default_rng(1))
    share = many.value
    assert (many.low, many.high) == (one.low, one.high)
    assert many.high - many.low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 100), rel=0.15)
    assert many.low < share < many.high
    assert interval_over_subjects(frame, np.random.default_rng(1)) == many, "seeded"


def test_interval_over_pictures_draws_a_picture_with_all_its_answers():
    """People unknown: two networks that answer alike say no more than one. Seen red: rows drawn in place of pictures."""
    right = np.random.default_rng(0).random(100) < 0.7
    one = pd.DataFrame({"image_id": [f"fer2013/{n}" for n in range(100)], "subject": "", "expression": "fear",
                        "predicted": np.where(right, "fear", "anger")})
    twice = pd.concat([one, one], ignore_index=True)
    assert interval_over_subjects(twice, np.random.default_rng(1)) == interval_over_subjects(one, np.random.default_rng(1))


def test_interval_of_what_is_always_right_is_a_point():
    frame = frame_of(("A", "1", "anger", (1, 0, 0)), ("B", "1", "fear", (0, 1, 0)))
    found = interval_over_subjects(frame, np.random.default_rng(0))
    assert (found.low, found.value, found.high) == (1, 1, 1)


def test_predictions_are_written_and_read_back_exactly(tmp_path):
    """Seen red: six digits in the CSV. A subject called 007 stays text."""
    p = np.random.default_rng(0).dirichlet(np.ones(3), 4).astype(np.float32)
    frame = frame_of(*[("007", "01", "fear", row) for row in p])
    write_predictions(tmp_path / "p.csv", frame)
    back = read_predictions(tmp_path / "p.csv")
    assert list(back.columns) == ["image_id", "subject", "sequence", "expression", "predicted", "p_anger", "p_fear", "p_happiness"]
    assert back["subject"].tolist() == ["007"] * 4 and back["sequence"].tolist() == ["01"] * 4
    assert (back[["p_anger", "p_fear", "p_happiness"]].to_numpy().astype(np.float32) == p).all()
    assert evaluate(back) == evaluate(frame)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no"),
        ("image_id,subject,sequence,expression,p_fear\n", "no column 'predicted'"),
        ("image_id,subject,sequence,expression,predicted\na,b,c,fear,fear\n", r"no probabilities \(p_<class>\)"),
        ("image_id,subject,sequence,expression,predicted,p_fear\n", "no rows"),
    ],
)
def test_a_file_that_is_no_predictions_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "p.csv").write_text(text)
    with pytest.raises(RunError, match=message):
        read_predictions(tmp_path / "p.csv")


def test_a_sequence_with_two_expressions_counts_once_for_each():
    """Such as a neutral first frame beside the peak: not one event, and not an error after hours of training."""
    found = to_sequences(frame_of(("A", "1", "anger", (1, 0, 0)), ("A", "1", "fear", (0, 1, 0)), ("A", "1", "fear", (0, 0.6, 0.4))))
    assert list(found["expression"]) == ["anger", "fear"] and len(found) == 2
