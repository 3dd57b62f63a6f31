"""Folds together: pooled against mean of folds by hand, and which runs are not pooled."""

import copy
import statistics
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_model.config import HEADS, preset, resolve_budgets, with_head
from fer_model.errors import RunError
from fer_model.evaluate.figures import accuracy, evaluate, interval_over_subjects, to_sequences
from fer_model.evaluate.pooled import pool, refuse_mixed
from fer_model.runs.predictions import predictions_frame

CLASSES = ("anger", "fear")


def fold_of(person, right, wrong):
    """Return predictions of one person, a sequence of its own for each image."""
    n = right + wrong
    rows = pd.DataFrame({
        "image_id": [f"d/{person}/{i}/00000001" for i in range(n)], "subject": person, "sequence": [str(i) for i in range(n)],
        "expression": "anger",
    })  # fmt: skip
    return predictions_frame(rows, np.array([[0.8, 0.2]] * right + [[0.3, 0.7]] * wrong), CLASSES)


def test_pooled_weighs_images_and_the_mean_weighs_folds():
    """9 of 10 and 0 of 2: pooled 9/12, mean 0.45. Seen red: the first fold in the place of all; n in the place of
    n - 1 under the deviation."""
    found = pool([0, 3], [fold_of("A", 9, 1), fold_of("B", 0, 2)], 10)
    assert found.evaluation.frame_accuracy.value == pytest.approx(9 / 12)
    assert found.frame.mean == pytest.approx(0.45) and found.frame.sd == pytest.approx(statistics.stdev([0.9, 0.0]))
    assert [(fold.fold, fold.n_images, fold.n_subjects, fold.frame_accuracy) for fold in found.folds] == [(0, 10, 1, 0.9), (3, 2, 1, 0.0)]
    assert found.evaluation.confusion == ((9, 3), (0, 0)) and found.evaluation.classes_absent == ("fear",)
    assert (found.frame.low, found.frame.high, found.n_folds) == (0.0, 0.9, 10)
    assert pool([0], [fold_of("A", 9, 1)], 10).frame.sd is None


def test_folds_pooled_are_the_figures_of_all_rows_together():
    """The interval draws the people of all folds."""
    frames = [fold_of(person, right, 6 - right) for person, right in zip("ABCDE", (6, 2, 5, 1, 4), strict=True)]
    found, whole = pool(range(5), frames, 5).evaluation, pd.concat(frames, ignore_index=True)
    assert found == evaluate(whole)
    assert found.frame_accuracy == interval_over_subjects(whole, np.random.default_rng(0))
    assert found.frame_accuracy.value == accuracy(whole)


def test_an_image_in_two_folds_is_refused():
    with pytest.raises(RunError, match="an image must be tested in one fold, d/A/0/00000001 is tested in several"):
        pool([0, 1], [fold_of("A", 3, 0), fold_of("A", 1, 0)], 2)


def test_networks_that_saw_the_same_images_count_each_but_form_no_sequence_together():
    """One network is right by far, the other wrong by little: each sequence is right once in two. Seen red: probabilities
    averaged over the networks made every sequence right."""
    sure, unsure = fold_of("A", 4, 0), fold_of("A", 0, 4)
    found = pool([0, 1], [sure, unsure], 2, elsewhere=True)
    assert accuracy(to_sequences(pd.concat([sure, unsure]))) == 1
    assert found.evaluation.sequence_accuracy.value == 0.5 and found.evaluation.frame_accuracy.value == 0.5
    assert (found.evaluation.n_images, found.evaluation.n_sequences, found.evaluation.n_subjects) == (4, 4, 1)


def content_of(fold, n_train, method="cnn", name="small", **more):
    """Return what config.json of a fold holds, as far as pooling reads it."""
    config = resolve_budgets(preset(name, method=method, fold=fold), n_train)
    return {"config": asdict(config), "manifest_sha256": "a" * 64, "code_version": "1", "n_train": n_train, **more}


@pytest.mark.parametrize("name", ["small", "paper"])
@pytest.mark.parametrize("method", ["cnn", "degan"])
def test_budgets_in_images_or_in_passes_agree(name, method):
    """Seen red: `paper` counts passes, so its folds were shown different numbers of images and were refused."""
    assert refuse_mixed([Path("a"), Path("b")], [content_of(i, n, method, name) for i, n in enumerate((883, 861))]) == []


@pytest.mark.parametrize("head", HEADS)
def test_every_head_can_be_pooled(head):
    contents = []
    for fold, n_train in enumerate((883, 861)):
        config = resolve_budgets(with_head(preset("paper", fold=fold), head), n_train)
        contents.append({**content_of(fold, n_train), "config": asdict(config)})
    assert refuse_mixed([Path("a"), Path("b")], contents) == []


def test_a_baseline_with_images_and_passes_together_agrees():
    """Stage 1 in images, stage 2 in passes: the baseline's budget is neither."""
    both = [content_of(i, n, "cnn", "paper") for i, n in enumerate((883, 861))]
    for one in both:
        one["config"]["gan"]["kimg"] = 100.0
        one["config"]["cnn"]["kimg"] = 100.0 + one["config"]["head"]["kimg"]
    assert refuse_mixed([Path("a"), Path("b")], both) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("config", "seed"), 1, "seed is 0 in a and 1 in b"),
        (("config", "cnn", "lr"), 0.5, "cnn.lr is 0.002 in a and 0.5 in b"),
        (("config", "fold_seed"), 2, "fold_seed is 0 in a and 2 in b"),
        (("config", "cnn", "kimg"), 1.0, "cnn.kimg is .* in a and 1.0 in b"),
        (("manifest_sha256",), "b" * 64, "manifest is 'aaa.* in a and 'bbb.* in b"),
    ],
)
def test_runs_that_differ_in_more_than_their_fold_are_refused(path, value, message):
    one, other = content_of(0, 883), copy.deepcopy(content_of(1, 861))
    place = other
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(RunError, match=message):
        refuse_mixed([Path("a"), Path("b")], [one, other])


def test_other_code_is_said():
    assert refuse_mixed([Path("a"), Path("b")], [content_of(0, 9), content_of(1, 9, code_version="2")]) == [
        "The folds were trained by 2 versions of the code."
    ]
