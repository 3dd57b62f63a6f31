"""Figures from predictions: by hand, against scikit-learn, and the interval's behaviour."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from fer_model.errors import RunError
from fer_model.evaluate.figures import accuracy, confusion, evaluate, interval_over_subjects, macro_recall, majority, to_sequences
from fer_model.evaluate.run_table import evaluate_run
from fer_model.runs.predictions import predictions_frame, read_predictions, write_predictions
from tests.commands import call_in_one_line
from tests.model_runs import write_fold

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
    assert "1 person of the test fold" in alone and alone.count("none: one person") == 2 and " to " not in alone
    assert "2 people of the test fold" in both and both.count(" to ") == 1 and both.count("none: all alike") == 1, "half of either's frames"


def printed(what):
    """Return what the console shows."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


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


HEAD = "image_id,subject,sequence,expression,predicted,p_fear\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no"),
        ("image_id,subject,sequence,expression,p_fear\n", "no column 'predicted'"),
        ("image_id,subject,sequence,expression,predicted\na,b,c,fear,fear\n", r"no probabilities \(p_<class>\)"),
        ("image_id,subject,sequence,expression,predicted,p_fear\n", "no rows"),
        ("", "is no table as a run writes it .*; copy the run's folder again, whole, from where it was trained"),
        (HEAD + "a,b,c,fear,fear,0.5\na,b,c,fear,fear,0.5,0.5\n", "is no table as a run writes it .*line 3"),
        (HEAD.encode() + b"a,\xff,c,fear,fear,0.5\n", "is no table as a run writes it"),
        (HEAD + "a,b,c,fear,fear,0.5\na,b,c,fear,fear\n", "no finite number in column p_fear of row 2; copy the run's folder again"),
        (HEAD + "a,b,c,fear,fear,nan\n", "no finite number in column p_fear of row 1"),
        (HEAD + "a,b,c,fear,fear,0.5\na,b,c,fear,fear,inf\n", "no finite number in column p_fear of row 2"),
        (HEAD + "a,b,c,fea,fear,0.5\n", "'fea' as expression in row 1, its classes are fear"),
        (HEAD + "a,b,c,fear,anger,0.5\n", "'anger' as predicted in row 1, its classes are fear"),
        (HEAD + "a,b,c,fear,fear,0.5", "no end of its last line, so that it is cut off"),
    ],
)
def test_a_file_that_is_no_predictions_is_refused(tmp_path, text, message):
    """Seen red: EmptyDataError, ParserError, UnicodeDecodeError, TypeError behind it; the rest read, and figures of it."""
    if text is not None:
        (tmp_path / "p.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=message):
        read_predictions(tmp_path / "p.csv")


def test_predictions_that_were_cut_off_anywhere_are_refused(tmp_path):
    """Seen red: figures of 8 of 15 images, with another accuracy; a cut within the last number; one at the end of a line."""
    run = write_fold(tmp_path / "run")
    whole = (run / "predictions.csv").read_bytes()
    assert len(read_predictions(run / "predictions.csv", 36)) == 36 and evaluate_run(run).n_images == 36
    for length in (*range(0, len(whole), 37), *range(len(whole) - 40, len(whole))):
        (run / "predictions.csv").write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"^reading predictions: .*predictions\.csv .*; copy the run's folder again, whole"):
            evaluate_run(run)
    lines = whole.splitlines(keepends=True)
    (run / "predictions.csv").write_bytes(b"".join(lines[:9]))
    for path in (run, tmp_path):                                         # by itself, and as a fold
        if path == tmp_path:
            run.rename(tmp_path / "fold0")
        assert "predictions.csv has 8 rows, the run tested 36 images; copy" in call_in_one_line("evaluate", path, code=1)


def test_a_sequence_with_two_expressions_counts_once_for_each():
    """Such as a neutral first frame beside the peak: not one event, and not an error after hours of training."""
    found = to_sequences(frame_of(("A", "1", "anger", (1, 0, 0)), ("A", "1", "fear", (0, 1, 0)), ("A", "1", "fear", (0, 0.6, 0.4))))
    assert list(found["expression"]) == ["anger", "fear"] and len(found) == 2
