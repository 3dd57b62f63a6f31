"""The audit against the published figures of a leaking split, and against counting by hand. tests/mutate.py breaks it and expects red."""

import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fer_data.audit.leaks import PixelReport as Pixels
from fer_data.audit.leaks import audit, with_pixels
from fer_data.audit.split import Item, Split, SplitFold
from fer_data.errors import SplitError


def split_of(sides, people=None):
    """Return a Split; `sides` is [(train, test)] of names such as a1: person a, image 1, sequence = image."""
    names = {name for fold in sides for side in fold for name in side}
    items = {name: Item(name, name[0], name[1:]) for name in sorted(names)}
    return Split(items, tuple(SplitFold(str(number), *map(tuple, fold)) for number, fold in enumerate(sides)))


@pytest.fixture(scope="module")
def popular_report(popular_split):
    names, folds = popular_split
    items = {}
    for name in names:
        expression, file = name.split("/")
        items[name] = Item(name, file[:4], file[5:8], expression, file[9:17])
    sides = []
    for number, rows in enumerate(folds, 1):
        tested = set(rows)
        train = tuple(name for row, name in enumerate(names) if row not in tested)
        sides.append(SplitFold(str(number), train, tuple(names[row] for row in rows)))
    return audit(Split(items, tuple(sides)))


def test_the_split_of_the_popular_repository_has_its_published_figures(popular_report):
    """Counted independently from the repository's own file names and published before this code was written."""
    total = popular_report.overall
    assert (total.test_images, total.leaked_images, total.tested_twice, total.never_tested) == (990, 627, 33, 24)
    assert round(total.leaked_percent, 1) == 63.3
    percent = [round(fold.leaked_percent, 1) for fold in popular_report.folds]
    assert percent == [36.4, 66.7, 51.5, 72.7, 42.4, 57.6, 63.6, 81.8, 87.9, 72.7]
    people = [(fold.leaked_subjects, fold.test_subjects) for fold in popular_report.folds]
    assert people == [(6, 13), (11, 18), (14, 21), (16, 20), (11, 20), (14, 20), (15, 20), (21, 26), (22, 25), (13, 17)]
    assert total.shared_sequences == 0 and total.shared_images == 0      # its frames of one sequence stay together
    assert popular_report.leaks and popular_report.doubtful and popular_report.kind == "cross-validation"
    assert (popular_report.images, popular_report.subjects) == (981, 118)


def test_the_literature_split_is_clean_but_for_one_expression(ck_plus_sequences):
    """Rule step: nobody leaks, everything is tested once, and fold 9 has no fear."""
    from fer_data.protocol.folds import step

    fold_of = step([row["subject"] for row in ck_plus_sequences], 10)
    ids = [(f"{row['subject']}/{row['sequence']}", row["subject"], row["sequence"], row["expression"]) for row in ck_plus_sequences]
    items = {one[0]: Item(*one) for one in ids}
    folds = tuple(
        SplitFold(str(k), tuple(n for n in items if fold_of[n[:4]] != k), tuple(n for n in items if fold_of[n[:4]] == k)) for k in range(10)
    )
    report = audit(Split(items, folds))
    assert not report.leaks and report.doubtful
    assert {fold.name: fold.missing for fold in report.folds if fold.missing} == {"9": ("fear",)}
    assert (report.overall.tested_twice, report.overall.never_tested, report.overall.leaked_percent, report.examples) == (0, 0, 0, ())
    assert report.overall.missing == report.overall.missing_in_training == ()


def test_each_kind_of_leak_is_told_apart():
    """One person in train and test; validation beside training; the model chosen on the tested person."""
    clean = audit(split_of([(["a1", "b1"], ["c1"], ["d1"])]))
    assert not clean.leaks and clean.kind == "hold-out" and clean.overall.validation_images == 1
    leak = audit(split_of([(["a1", "b1"], ["a2", "c1"], ["d1"])]))
    assert leak.leaks and leak.overall.leaked_images == 1 and leak.overall.leaked_percent == 50 and leak.overall.validation_leaked == 0
    example = leak.examples[0]
    assert (example.subject, example.test_image, example.train_image, example.folds) == ("a", "a2", "a1", ("0",))
    beside = audit(split_of([(["a1", "b1"], ["c1"], ["a2"])]))
    assert beside.leaks and (beside.overall.leaked_images, beside.overall.validation_leaked, beside.overall.test_in_validation) == (0, 1, 0)
    chosen = audit(split_of([(["a1", "b1"], ["c1"], ["c2"])]))
    assert chosen.leaks and (chosen.overall.leaked_images, chosen.overall.validation_leaked, chosen.overall.test_in_validation) == (0, 0, 1)
    assert [audit(split_of([(["a1"], ["c1"], [side])])).overall.validation_tested for side in ("c1", "c2")] == [1, 0]


def told(report):
    """Return what a wide console shows of a report."""
    console = Console(width=400, file=io.StringIO())
    console.print(report)
    return console.file.getvalue()


def test_the_verdict_counts_the_folds_in_which_a_tested_person_is_trained_on():
    """Of five folds one; in all of them validation shows training people. Seen red: "in 5 of 5 folds"."""
    people = "abcdefghij"
    sides = [([f"{p}1" for p in people[2 * k + 2 :] + people[: 2 * k]], [f"{p}1" for p in people[2 * k : 2 * k + 2]]) for k in range(5)]
    folds = [([*train, f"{test[0][0]}2"] if k == 0 else train, test, [f"{train[0][0]}3"]) for k, (train, test) in enumerate(sides)]
    report = audit(split_of(folds))
    assert report.overall.leaked_images == 1 and sum(fold.leaks for fold in report.folds) == 5
    assert "1 of 10 test images (10.0 %) shows a person who is also in training: 1 of 10 people, in 1 of 5 folds\n" in told(report)


@pytest.mark.parametrize("validation", [["b3"], ["c2"], []])
def test_nobody_on_whom_the_model_is_chosen_is_called_unknown_to_it(validation):
    """One of two test people is in training. Seen red: with c in validation, "report the 1 test image of people unknown to the model
    apart", below "shows a person on whom the model is chosen"."""
    text = told(audit(split_of([(["a1", "b1"], ["a2", "c1"], validation)])))
    assert ("report the 1 test image of people unknown to the model apart" in text) == (validation != ["c2"])
    assert ("on whom the model is chosen" in text) == (validation == ["c2"])


def test_copies_of_a_frame_are_the_frame():
    """a1 mirrored is a1: on both sides of the split, whatever its file is called."""
    split = split_of([(["a1"], ["a2", "b1"])])
    items = {name: replace(item, sequence="s", frame="7" if item.subject == "a" else "1") for name, item in split.items.items()}
    report = audit(replace(split, items=items))
    assert report.overall.shared_images == 1 and report.overall.shared_sequences == 1
    unknown = audit(replace(split, items={name: replace(item, sequence=None) for name, item in items.items()}))
    assert unknown.overall.shared_sequences is None and unknown.overall.shared_images == 1


def test_an_expression_that_is_missing_is_named_on_its_side():
    split = split_of([(["a1", "b1"], ["c1"])])
    shows = {"a": "fear", "b": "anger", "c": "surprise"}
    items = {name: replace(item, expression=shows[item.subject]) for name, item in split.items.items()}
    fold = audit(replace(split, items=items)).folds[0]
    assert fold.missing == ("anger", "fear") and fold.missing_in_training == ("surprise",)


def test_identical_files_are_a_leak_and_near_ones_a_doubt():
    report = audit(split_of([(["a1"], ["b1"]), (["b1"], ["a1"])]))
    assert not report.leaks and not report.doubtful
    exact, near = Pixels(2, 0, 24, 1, 0, ()), Pixels(2, 0, 24, 0, 1, ())
    assert with_pixels(report, exact).leaks
    assert not with_pixels(report, near).leaks and with_pixels(report, near).doubtful


names = st.tuples(st.sampled_from("abcd"), st.sampled_from("123")).map("".join)
sides = st.lists(st.tuples(st.lists(names, min_size=1, max_size=8), st.lists(names, min_size=1, max_size=8), st.lists(names, max_size=3)),
                 min_size=1, max_size=4)


@given(sides)
def test_counts_agree_with_counting_by_hand(folds):
    """Every figure of random splits, counted again with nothing but loops over lists."""
    split = split_of(folds)
    report = audit(split)
    everything = sorted({name for fold in folds for side in fold for name in side})
    tests = [name for fold in folds for name in fold[1]]
    for tally, (train, test, validation) in zip(report.folds, folds, strict=True):
        assert tally.test_images == len(test) and tally.train_images == len(train)
        assert tally.leaked_images == len([name for name in test if any(other[0] == name[0] for other in train)])
        assert tally.shared_images == len([name for name in test if name in train])
        assert tally.shared_sequences == len({name for name in test if name in train})
        assert tally.test_subjects == len({name[0] for name in test})
        assert tally.leaked_subjects == len([one for one in "abcd" if any(n[0] == one for n in test) and any(n[0] == one for n in train)])
        assert tally.tested_twice == len([name for name in everything if name in test and tests.count(name) > 1])
        assert tally.never_tested == len([name for name in everything if name in train + validation and name not in tests])
        assert tally.validation_leaked == len([name for name in validation if any(other[0] == name[0] for other in train)])
        assert tally.test_in_validation == len([name for name in test if any(other[0] == name[0] for other in validation)])
        assert tally.validation_tested == len([name for name in test if name in validation])
    total = report.overall
    assert total.test_images == len(tests) and total.leaked_images == sum(tally.leaked_images for tally in report.folds)
    assert total.tested_twice == len([name for name in everything if tests.count(name) > 1])
    assert total.never_tested == len([name for name in everything if name not in tests])
    leaking = {name[0] for train, test, _ in folds for name in test if any(other[0] == name[0] for other in train)}
    assert total.leaked_subjects == len(leaking) == len(report.examples) and {example.subject for example in report.examples} == leaking
    assert report.leaks == bool(leaking or total.validation_leaked or total.test_in_validation)
    assert [example.leaked_images for example in report.examples] == sorted((e.leaked_images for e in report.examples), reverse=True)


@given(sides)
def test_a_report_is_plain_json_with_its_figures(folds):
    report = audit(split_of(folds))
    content = json.loads(json.dumps(report.to_json()))
    for place, tally in ((content["overall"], report.overall), *zip(content["folds"], report.folds, strict=True)):
        assert place["leaked_percent"] == pytest.approx(100 * place["leaked_images"] / place["test_images"])
        for key in ("test_images", "leaked_images", "tested_twice", "never_tested"):
            assert place[key] == getattr(tally, key)
    assert content["leaks"] == report.leaks and content["pixels"] is None


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (Split({}, ()), "there is no fold"),
        (split_of([(["a1"], [])]), "fold 0: it has nothing to test"),
        (split_of([([], ["a1"])]), "fold 0: it has nothing to train on"),
        (replace(split_of([(["a1"], ["b1"])]), items={"a1": Item("a1", "a")}), "'b1' is none of the split's items"),
    ],
)
def test_half_a_split_is_refused(split, sentence):
    with pytest.raises(SplitError, match=sentence):
        audit(split)
