"""Probes: planted features, pairs and thresholds against brute force, what is kept apart; and the command."""

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import roc_auc_score

from cli.fer_model import main
from fer_model.config import preset
from fer_model.errors import RunError
from fer_model.job import Job
from fer_model.probe import probing
from fer_model.probe.features import Samples, few_frames
from fer_model.probe.probes import PEOPLE, ProbeRow, floors, identity_rounds, probe, reduced, verification, verification_pairs
from fer_model.probe.probing import Probed, mean_over_folds
from fer_model.train import train

EXPRESSIONS = ("anger", "fear", "happiness", "surprise")


def people_of(names, features, expressions=EXPRESSIONS, frames=3):
    """Return Samples of people with all expressions; features: name -> function of (person, expression) -> row."""
    faces = [(p, e) for p in names for e in expressions for _ in range(frames)]
    rows = {name: np.array([row(p, e) for p, e in faces], np.float32) for name, row in features.items()}
    return Samples(np.array([p for p, _ in faces]), np.array([f"{p}/{e}" for p, e in faces]), np.array([e for _, e in faces]), rows)


@pytest.fixture(scope="module")
def planted():
    """Rows by (features, probe, people) for 12 training people, 6 of the test fold and three kinds of features."""
    names, rng = [f"S{i:02d}" for i in range(18)], np.random.default_rng(0)
    features = {
        "who": lambda p, e: np.eye(18)[names.index(p)],
        "what": lambda p, e: np.eye(18)[EXPRESSIONS.index(e)],
        "both": lambda p, e: np.eye(18)[names.index(p)] + 2 * np.eye(18)[EXPRESSIONS.index(e)],
        "nothing": lambda p, e: rng.normal(size=18),
    }
    rows = probe(people_of(names[:12], features), people_of(names[12:], features), seed=3)
    return {(row.features, row.probe, row.people): row for row in rows}


@pytest.mark.parametrize("people", PEOPLE)
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_features_that_hold_the_person_alone_name_the_person(planted, people, kind):
    """Seen red: the rounds' test and training parts exchanged."""
    row = planted["who", f"identity {kind}", people]
    guess = 1 / {"test fold": 6, "training people": 12}[people]
    assert row.value == 1 and row.chance is None and row.width == 18
    assert planted["what", f"identity {kind}", people].value <= guess, "a new expression points at those who showed it"
    assert abs(planted["nothing", f"identity {kind}", people].value - guess) < 0.15


@pytest.mark.parametrize("people", PEOPLE)
def test_floors_hold_the_expression_and_nobody(planted, people):
    """`who` is the first feature: its people are shuffled. Seen red: the one-hot vectors counted for the width of the others."""
    for name, most in (("expression alone", 1 / 6), ("who, people shuffled", 0.3)):         # 1 of the people's own features
        assert planted[name, "identity linear", people].value <= most
        assert planted[name, "verification eer", people].value == pytest.approx(0.5, abs=0.08)
    alone = planted["expression alone", "expression linear", "test fold"]
    assert (alone.value, alone.width) == (1, 4) and planted["what", "identity linear", people].width == 18


def test_a_seed_may_be_of_any_size():
    """The second round of 2**32 - 1 has a seed above what scikit-learn takes. Seen red: its traceback."""
    names = [f"S{i}" for i in range(6)]
    rng = np.random.default_rng(0)
    samples = people_of(names, {"f": lambda p, e: rng.normal(size=4)}, EXPRESSIONS[:2], frames=1)
    assert probe(samples, samples, 2**32 - 1) == probe(samples, samples, 2**32 - 1)


def test_people_are_shuffled_within_an_expression_by_whole_sequences():
    """Each sequence has all the features of one other sequence with its expression; a person with one more frame too. Seen red: frame by
    frame; with the expressions of others."""
    faces = [(p, e) for p in "ABCDEFG" for e in EXPRESSIONS for _ in range(4 if p == "G" else 3)]
    person, expression = (np.array(part) for part in zip(*faces, strict=True))
    own = np.array([[ord(p), EXPRESSIONS.index(e)] for p, e in faces])
    samples = Samples(person, np.char.add(person, expression), expression, {"f(x)": own})
    names = np.array(EXPRESSIONS)
    found, n_unmoved = floors(samples, names, seed=1)
    assert n_unmoved == 0 and list(found) == ["expression alone", "f(x), people shuffled"]
    assert (found["expression alone"].argmax(1) == own[:, 1]).all()
    shuffled = found["f(x), people shuffled"]
    assert (shuffled[:, 1] == own[:, 1]).all() and (shuffled[:, 0] != own[:, 0]).all()
    for name in names:
        shows = expression == name
        given = {one: set(shuffled[shows & (samples.sequence == one), 0]) for one in set(samples.sequence[shows])}
        assert all(len(who) == 1 for who in given.values()) and len(set.union(*given.values())) == 7
    assert (floors(samples, names, seed=1)[0]["f(x), people shuffled"] == shuffled).all()
    assert (floors(samples, names, seed=2)[0]["f(x), people shuffled"] != shuffled).any()


@settings(max_examples=200)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.integers(0, 99))
def test_nobody_keeps_what_another_person_could_give(people, seed):
    """One expression, a sequence a number. Each has another person's; all are used once, unless somebody has more than half of them.
    Seen red: a plain permutation, which left sequences with their own features or with those of the same person's other one."""
    person = np.array([f"P{one}" for one in people])
    faces = np.arange(len(person))[:, None].astype(float)
    sequence, expression = np.arange(len(person)).astype(str), np.full(len(person), "fear")
    found, n_unmoved = floors(Samples(person, sequence, expression, {"f": faces}), np.array(["fear"]), seed)
    got = found["f, people shuffled"][:, 0].astype(int)
    alone = len(set(people)) == 1
    assert n_unmoved == (len(people) if alone else 0)
    assert (got == faces[:, 0]).all() if alone else (person[got] != person).all()
    if 2 * max(Counter(people).values()) <= len(people):
        assert sorted(got) == list(range(len(people)))


def test_what_could_not_be_shuffled_is_counted_and_said():
    """Fear is one person's of the test fold alone. Seen red: the rows without their counts."""
    features = {"who": lambda p, e: [ord(p), EXPRESSIONS.index(e), 1]}
    train, test = people_of("ABCDEF", features), people_of("GHIJ", features)
    keep = (test.expression != "fear") | (test.person == test.person[0])
    few = Samples(test.person[keep], test.sequence[keep], test.expression[keep], {"who": test.features["who"][keep]})
    rows = probe(train, few)
    counts = {(row.features, row.people): row.n_unmoved for row in rows}
    shuffled = next(name for name, _ in counts if name.endswith("people shuffled"))
    assert counts == dict.fromkeys(counts) | {(shuffled, "test fold"): 1, (shuffled, "training people"): 0}
    mean = mean_over_folds([rows, rows])
    assert {row.n_unmoved for row in mean} == {None, 0, 2}
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(Probed(Path("r"), None, 1, 0, rows))
    assert "People shuffled: 1 sequences of the test fold keep their features" in console.export_text()


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_features_that_hold_the_expression_alone_name_the_expression(planted, kind):
    """On people who were not trained on. Seen red: tested on the training people."""
    row = planted["what", f"expression {kind}", "test fold"]
    assert (row.value, row.chance, row.n_people, row.n_train, row.n_test) == (1, 0.25, 6, 144, 72)
    assert planted["who", f"expression {kind}", "test fold"].value == pytest.approx(0.25, abs=0.01)
    assert abs(planted["nothing", f"expression {kind}", "test fold"].value - 0.25) < 0.15


@pytest.mark.parametrize("people", PEOPLE)
def test_verification_of_planted_features(planted, people):
    """Expression alone cannot tell an impostor with the same expression: every genuine score is an impostor's too."""
    names = ("who", "what", "nothing")
    figures = {name: tuple(planted[name, f"verification {kind}", people].value for kind in ("eer", "auc")) for name in names}
    if people == "training people":      # on unseen people one-hot columns that were constant say nothing
        assert figures["who"] == pytest.approx((0, 1))
    assert figures["what"] == pytest.approx((0.5, 0.5))
    assert figures["nothing"] == pytest.approx((0.5, 0.5), abs=0.08)


scored = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(1, 3)), min_size=2, max_size=40).filter(
    lambda pairs: len({genuine for _, genuine, _ in pairs}) == 2
)


@given(scored)
def test_eer_and_auc_against_every_threshold(pairs):
    """EER lies between what the two thresholds round the crossing give, and is exact where one of them balances. Seen red:
    without weights; the threshold after the crossing in its place."""
    score, genuine, weight = (np.array(part) for part in zip(*pairs, strict=True))
    eer, auc = verification(score.astype(float), genuine, weight.astype(float))
    mine, others = np.repeat(score[genuine], weight[genuine]), np.repeat(score[~genuine], weight[~genuine])
    rates = [((others >= t).mean(), (mine < t).mean()) for t in range(8)]            # (false accepts, false rejects)
    assert max(min(rate) for rate in rates) - 1e-9 <= eer <= min(max(rate) for rate in rates) + 1e-9
    assert all(eer == pytest.approx(accepts) for accepts, rejects in rates if accepts == rejects and 0 < accepts < 1)
    wins = (mine[:, None] > others).mean() + 0.5 * (mine[:, None] == others).mean()
    assert auc == pytest.approx(wins) == pytest.approx(roc_auc_score(genuine, score, sample_weight=weight))


def test_eer_by_hand():
    """Genuine 4 3 2 1, impostors 3 2 1 0: at 3 a quarter of the impostors pass and half of the genuine fail, at 2 half and a
    quarter; straight between the two it is three eighths. Identical scores: a half; perfect ones: 0."""
    genuine = np.array([True] * 4 + [False] * 4)
    assert verification(np.array([4, 3, 2, 1, 3, 2, 1, 0.0]), genuine, np.ones(8))[0] == pytest.approx(3 / 8)
    assert verification(np.ones(8), genuine, np.ones(8)) == pytest.approx((0.5, 0.5))
    assert verification(genuine * 1.0, genuine, np.ones(8)) == pytest.approx((0, 1))


def mixed(faces):
    """Return Samples without features from (person, sequence, expression) of small numbers."""
    person = np.array([f"P{p}" for p, _, _ in faces])
    return Samples(person, np.array([f"P{p}/{q}" for p, q, _ in faces]), np.array([EXPRESSIONS[e] for _, _, e in faces]), {})


# Sequences may carry two expressions, such as neutral first frames that are a class of their own.
some_faces = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40).map(mixed)


@given(some_faces)
def test_pairs_against_every_pair(samples):
    """Seen red: siblings of a sequence with two expressions as genuine pairs; all impostors of a face weighing alike."""
    expected, n = {}, range(len(samples.person))
    for a in n:
        for e in set(samples.expression) - {samples.expression[a]}:
            shows = [b for b in n if samples.expression[b] == e]
            own = [b for b in shows if samples.person[b] == samples.person[a] and samples.sequence[b] != samples.sequence[a]]
            others = [b for b in shows if samples.person[b] != samples.person[a]]
            if own and others:
                expected |= {(a, b): (True, 1.0) for b in own} | {(a, b): (False, len(own) / len(others)) for b in others}
    pairs, genuine, weight = verification_pairs(samples)
    found = {(int(a), int(b)): (bool(g), w) for (a, b), g, w in zip(pairs, genuine, weight, strict=True)}
    assert found.keys() == expected.keys() and all(found[key] == pytest.approx(expected[key]) for key in found)
    matched = Counter()
    for (a, b), (g, w) in found.items():
        matched[samples.expression[a], samples.expression[b]] += w if g else -w
    assert all(rest == pytest.approx(0, abs=1e-9) for rest in matched.values()), "impostors match genuine pairs in expression"


@given(some_faces, st.integers(0, 5))
def test_no_sibling_and_no_expression_of_a_person_stands_on_both_sides(samples, seed):
    """Seen red: a sequence with two expressions divided between the sides."""
    tested_faces = Counter()
    for trained, tested in identity_rounds(samples, seed):
        assert not set(samples.sequence[trained]) & set(samples.sequence[tested])
        sides = [set(zip(samples.person[side], samples.expression[side], strict=True)) for side in (trained, tested)]
        assert not sides[0] & sides[1] and set(samples.person[tested]) <= set(samples.person[trained])
        assert all(count == 1 for count in Counter(person for person, _ in sides[1]).values()), "one expression of each"
        tested_faces.update(tested.tolist())
    assert set(tested_faces.values()) <= {1}
    if len(set(zip(samples.sequence, samples.expression, strict=True))) == len(set(samples.sequence)):
        several = {p for p in samples.person if len(set(samples.expression[samples.person == p])) > 1}
        assert set(tested_faces) == {i for i, p in enumerate(samples.person) if p in several}, "every face of theirs, once"


def test_reduction_learns_from_the_training_part_alone():
    """Seen red: the scaler fitted on both."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 5, (40, 12)) * np.arange(1, 13), rng.normal(0, 1, (7, 12))
    one, other = reduced(train, test, 5)
    assert one.shape == (40, 5) and other.shape == (7, 5) and (one**2).mean() == pytest.approx(1)
    np.testing.assert_allclose(reduced(train, test[:1] * 100, 5)[0], one)
    np.testing.assert_allclose(reduced(train, test[3:4], 5)[1], other[3:4])
    np.testing.assert_allclose(reduced(train * 1000 + 7, test * 1000 + 7, 5)[1], other, rtol=1e-6)
    assert reduced(train[:4], test, 5)[0].shape == (4, 3), "no more components than the faces can tell"


def test_three_frames_of_a_long_sequence_count_and_all_of_a_short_one():
    """Seen red: none of the long ones."""
    rows = pd.DataFrame([("d", "S", str(n), "fear", f"{n}-{i}") for n in (2, 3, 4, 100) for i in range(n)],
                        columns=["dataset", "subject", "sequence", "expression", "image_id"])
    kept = few_frames(rows)["image_id"].tolist()
    assert kept == ["2-0", "2-1", "3-0", "3-1", "3-2", "4-0", "4-2", "4-3", "100-0", "100-34", "100-67"]


def test_mean_over_folds_by_hand():
    """Seen red: the deviation divided by n."""
    figures = (0.5, 0.1, 10), (0.9, 0.3, 30)
    folds = [(ProbeRow("f(x)", "expression mlp", "test fold", value, chance, 5, 40, n, 9),) for value, chance, n in figures]
    (row,) = mean_over_folds(folds)
    assert mean_over_folds([(replace(rows[0], chance=None),) for rows in folds])[0].chance is None
    assert (row.value, row.chance, row.n_people, row.n_train, row.n_test) == pytest.approx((0.7, 0.2, 10, 80, 40))
    assert row.spread == pytest.approx(np.sqrt(0.08))


def test_training_people_are_counted_a_fold():
    """Everybody is in most training parts, and in one test fold. Seen red: "Training people: 31 people" of 16."""
    rows = [
        [ProbeRow("f(x)", probe, people, 0.5, 0.5, n, 40, 10, 9) for people, n in zip(PEOPLE, counts, strict=True)
         for probe in ("verification eer", "identity linear")] for counts in ((6, 10), (5, 11), (5, 10))
    ]
    for folds, said in ((3, "10.33 people a fold, 10.33 of them"), (1, "10 people, 10 of them")):
        found = Probed(Path("cv"), None, folds, 0, mean_over_folds([tuple(one) for one in rows[:folds]]))
        console = Console(width=400, file=io.StringIO())
        console.print(found)
        text = " ".join(console.file.getvalue().split())
        assert f"Training people: {said} with two expressions or more" in text
        assert f"Test fold: {16 if folds == 3 else 6} people, " in text


# --- the command ------------------------------------------------------------------------------------------------------


def call(*words, code=0):
    """Run fer-model and return what it printed."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output + str(done.exception)
    return done


@pytest.fixture(scope="module")
def runs(tiny_prepared, tmp_path_factory):
    """A folder with complete runs of both methods on fold 0."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("degan", "cnn"):
        train(Job(tiny_prepared, folder / method, preset("smoke", method=method)), "cpu", say=lambda _: None)
    return folder


def test_probe_writes_and_prints_every_feature(runs):
    """f(x) of 16 values sets the width; the tiny folder's test people are told apart by their brightness."""
    done = call("probe", runs / "degan", "--baseline", runs / "cnn")
    found = json.loads((runs / "degan" / "probe.json").read_text())
    names = ["f(x)", "conv23", "conv33", "conv43", "conv52", "cnn", "pixels", "expression alone", "f(x), people shuffled"]
    rows = {(row["features"], row["probe"], row["people"]): row for row in found["rows"]}
    assert found["schema_version"] == 2 and len(rows) == len(found["rows"]) == len(names) * (6 + 4)
    assert list(dict.fromkeys(row["features"] for row in found["rows"])) == names
    assert [row["probe"] for row in found["rows"]][:2] == ["verification eer", "verification auc"]
    assert all(name in done.stdout for name in (*names, "chance", "Test fold: 2 people", "Training people: 4 people"))
    row = rows["pixels", "identity linear", "test fold"]
    assert row == {
        "features": "pixels", "probe": "identity linear", "people": "test fold", "value": 1.0, "chance": None, "n_people": 2,
        "n_train": 8, "n_test": 12, "width": 7, "spread": None, "n_unmoved": None,
    }
    assert rows["f(x)", "expression mlp", "test fold"]["width"] == 16


@pytest.fixture
def two_figures(monkeypatch):
    """In place of all that is fitted, which is asked for above: of each feature its mean over the faces tested."""

    def probed(train, test, seed):
        values = [(name, float(np.mean(rows))) for name, rows in test.features.items()]
        return tuple(ProbeRow(name, "expression mlp", PEOPLE[0], value, 0.5, 2, 8, len(test.person), 7) for name, value in values)

    monkeypatch.setattr(probing, "probe", probed)


def test_a_folder_of_folds_is_averaged(runs, tmp_path, two_figures):
    """The same run of the baseline twice: the same figures, and spread 0."""
    for name in ("fold0", "fold1"):
        shutil.copytree(runs / "cnn", tmp_path / name)
    done = call("probe", tmp_path, "--json")
    found, one = json.loads(done.stdout), json.loads((tmp_path / "fold1" / "probe.json").read_text())
    assert found["folds"] == 2 and found == json.loads((tmp_path / "probe.json").read_text()) and "1 of 2 probed" in done.stderr
    assert list(dict.fromkeys(row["features"] for row in found["rows"])) == ["cnn", "pixels"]
    for both, single in zip(found["rows"], one["rows"], strict=True):
        assert both["value"] == pytest.approx(single["value"]) and both["n_test"] == 2 * single["n_test"] and both["spread"] == 0


def test_folds_that_are_not_complete_are_left_out_and_all_is_looked_at_first(runs, tmp_path, two_figures):
    """Seen red: fold 0 probed, then an error, and no mean; a fold of the baseline that is not there found as late."""
    folds, baseline = tmp_path / "folds", tmp_path / "baseline"
    for name in ("fold0", "fold1", "fold2"):
        shutil.copytree(runs / "cnn", folds / name)
    (folds / "fold1" / "result.json").unlink()
    (folds / "fold1" / "cnn.safetensors").unlink()
    shutil.copytree(runs / "cnn", baseline / "fold0")
    said = call("probe", folds, "--baseline", baseline, code=1).output.replace("\n", " ")
    assert f"there is no {baseline}/fold2/result.json" in said and not (folds / "fold0" / "probe.json").exists()
    done = call("probe", folds, "--json")
    assert f"{folds}/fold1: left out, it is not complete (stage cnn, step 16 of 16)" in done.stderr
    assert json.loads(done.stdout)["folds"] == 2
    for name in ("fold0", "fold2"):
        (folds / name / "result.json").unlink()
    assert f"none of the 3 folds in {folds} is complete" in call("probe", folds, code=1).output.replace("\n", " ")


def test_a_baseline_of_other_people_is_refused(runs, tmp_path):
    """It would have seen the test people in training. Seen red: without the check."""
    said = call("probe", runs / "cnn", "--baseline", runs / "degan", code=1).output
    assert "the baseline must be a run of method cnn" in said
    other = tmp_path / "other"
    shutil.copytree(runs / "cnn", other)
    content = json.loads((other / "config.json").read_text())
    content["identities"][0] = "tiny/S999"
    (other / "config.json").write_text(json.dumps(content))
    assert "the baseline must be trained on the same people" in call("probe", runs / "degan", "--baseline", other, code=1).output


def test_data_that_is_not_the_runs_own_is_refused(runs, write_tiny, tmp_path):
    other = write_tiny(tmp_path / "other", seed=1, people=7)
    assert "it was trained on the manifest" in call("probe", runs / "cnn", "--data", other, code=1).output


def test_people_with_one_expression_each_cannot_be_probed():
    lonely = people_of(["A", "B"], {"f(x)": lambda p, e: [1.0, 2.0]}, expressions=("fear",))
    with pytest.raises(RunError, match="at least 2 people must show 2 expressions each, 0 do"):
        probe(lonely, lonely)
