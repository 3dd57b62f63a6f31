"""A database whose people are unknown, from `prepare` to `evaluate`: nobody is invented, every figure says so; what needs them is refused.

tests/mutate.py breaks it.
"""

import json
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.fer_data import main as fer_data
from cli.fer_model import main as fer_model
from fer_data.audit.check_split import check_split
from fer_data.errors import DatasetError, ManifestError, PeopleError
from fer_data.people import SAME_PICTURES
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.report.overview import overview
from fer_data.report.page import write_report
from fer_data.store.manifest import read_manifest, read_settings, write_manifest
from fer_data.synthetic.fer2013 import write_fer2013
from fer_model.config import preset
from fer_model.data.fold import read_prepared
from fer_model.data.official import sides_of
from fer_model.errors import ConfigError, FoldError, RunError
from fer_model.evaluate.figures import evaluate, interval_over_subjects
from fer_model.evaluate.paired import paired_difference
from fer_model.evaluate.pooled import pool
from fer_model.evaluate.repredict import _refuse_same_pictures
from fer_model.job import Job, default_run
from fer_model.runs.predictions import read_predictions
from fer_model.train import train

READY = PrepareConfig(landmarks="none", views="virtual", folds=0, fold_rule="official")
OFFICIAL = preset("smoke", method="cnn", fold_rule="official")


def quiet(_):
    pass


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("unknown") / "in"
    write_fer2013(root, 140)
    return root


@pytest.fixture(scope="module")
def prepared(drawn):
    """OUT of `fer-data prepare fer2013`: 140 faces."""
    done = CliRunner().invoke(fer_data, ["prepare", "fer2013", str(drawn), str(drawn.parent / "out"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["kept"], found["subjects"], found["folds"], sum(found["split"].values())) == (140, 0, 0, 140)
    return drawn.parent / "out"


@pytest.fixture(scope="module")
def run(prepared):
    """A complete run on the official split."""
    path = prepared.parent / "run"
    train(Job(prepared, path, OFFICIAL), "cpu", say=quiet)
    return path


def test_nobody_is_invented(prepared):
    frame, settings = read_manifest(prepared), read_settings(prepared)
    assert set(frame["subject"]) == {""} and set(frame["fold"]) == {-1} and list(frame)[-1] == "split"
    assert frame["split"].value_counts().to_dict() == {"train": 112, "validation": 14, "test": 14}
    assert frame["image_id"][7] == "fer2013/00007/00000007" and frame["position"][7] == 7
    assert (settings["config"]["folds"], settings["config"]["fold_rule"], settings["config"]["views"]) == (0, "official", "virtual")


def test_a_manifest_is_with_people_or_without(prepared, tiny_prepared, tmp_path):
    """Half of each is refused; one with people has no column split. Seen red: any fold allowed."""
    frame, settings = read_manifest(prepared), read_settings(prepared)
    assert "split" not in read_manifest(tiny_prepared)
    for wrong, what in (({"subject": ["S1"] + [""] * 139}, "subject"), ({"fold": 0}, "fold"), ({"split": "all"}, "split")):
        with pytest.raises(ManifestError, match=what):
            write_manifest(tmp_path, frame.assign(**wrong).to_dict("records"), [], settings)
    assert not any(tmp_path.iterdir())


def test_inspect_verify_and_report_say_people_unknown(prepared, tmp_path):
    done = CliRunner().invoke(fer_data, ["verify", str(prepared)])
    assert done.exit_code == 0 and "0 problems" in done.stdout
    shown = CliRunner().invoke(fer_data, ["inspect", str(prepared)]).stdout
    assert "Images per part and expression" in shown and "people unknown" in shown and "Subjects" not in shown
    table = overview(prepared).images
    assert list(table.index) == ["train", "validation", "test", "all"] and table.loc["all", "all"] == 140
    write_report(prepared, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "People unknown: the database does not say who is in its pictures" in page and "part validation" in page
    assert not re.search(r"\b[01] people|fold -1|No person is in two folds", page)


def test_the_audit_counts_pictures_that_are_on_both_sides(prepared):
    """Exact copies against a count of pixels by hand, at any threshold; what looks alike is more."""
    frame = read_manifest(prepared)
    sides = [frame.loc[frame["split"] == part, "face_sha256"].value_counts() for part in ("train", "test")]
    pairs = int((sides[0] * sides[1]).dropna().sum())
    found = check_split([prepared], threshold=0)
    assert pairs and found.pixels.exact == pairs and found.verdict == "LEAK" and found.subjects == found.overall.leaked_images == 0
    assert found.pixels.near == 0 and check_split([prepared], threshold=90).pixels.near > 0
    done = CliRunner().invoke(fer_data, ["audit", str(prepared)])
    assert done.exit_code == 1 and "people unknown: the database does not say who is in its pictures" in done.stdout


def test_without_copies_it_is_unclear_for_nobody_knows(drawn, tmp_path):
    config = PrepareConfig(**READY.__dict__ | {"options": {"drop_duplicates": True}})
    summary = prepare_dataset("fer2013", drawn, tmp_path / "out", config)
    assert list(summary.skipped) == ["copy"] and summary.found == summary.kept + summary.skipped["copy"] and not summary.unusable
    found = check_split([tmp_path / "out"], threshold=0)
    assert found.verdict == "UNCLEAR" and found.pixels.exact == 0 and found.doubts[0].startswith("people unknown: ")


def test_the_number_of_processes_changes_no_byte(drawn, prepared, tmp_path):
    """Each process opens the table for itself."""
    prepare_dataset("fer2013", drawn, tmp_path / "out", PrepareConfig(**READY.__dict__ | {"workers": 2}))
    for name in ("manifest.parquet", "settings.json", "shards/00000.h5", "shards/00002.json"):
        assert (tmp_path / "out" / name).read_bytes() == (prepared / name).read_bytes(), name


# --- what needs to know who is who ------------------------------------------------------------------------------------

REFUSED = {
    "cutting folds by person out of": ["train", "--fold", "0", "--method", "cnn"],
    "cutting folds by person out of ": ["crossval", "--method", "cnn"],
    "taking people's expressions out of": ["shortcut", "--method", "cnn"],
    "training method degan on": ["train", "--split", "official"],
    "training method deae on": ["train", "--split", "official", "--method", "deae"],
    "training cnn.balanced and cnn.confusion on": ["train", "--split", "official", "--method", "cnn", "--set", "cnn.balanced=true",
                                                   "--set", "cnn.confusion=0.1"],
}


@pytest.mark.parametrize("doing", REFUSED)
def test_what_needs_people_is_refused_with_what_is_possible(doing, prepared, tmp_path):
    """One sentence, exit code 1, nothing written. Seen red, each: refuse_unknown without effect."""
    words = [*REFUSED[doing], "--preset", "smoke", "--data", str(prepared), "--run", str(tmp_path / "run")]
    done = CliRunner().invoke(fer_model, words)
    assert done.exit_code == 1 and done.output.count("\n") == 1, done.output
    assert done.output.startswith(f"Error: {doing.strip()} {prepared}: people unknown: ")
    assert "`fer-model train --split official --method cnn`" in done.output and not list(tmp_path.rglob("config.json"))


def test_folds_exports_and_cards_are_refused(drawn, prepared, tmp_path):
    with pytest.raises(DatasetError, match=r"people unknown: .* no folds by person can be made; fold_rule official"):
        prepare_dataset("fer2013", drawn, tmp_path / "out", PrepareConfig(landmarks="none", views="virtual"))
    for command in (["export", prepared, tmp_path / "x", "--format", "hf"], ["card", prepared]):
        done = CliRunner().invoke(fer_data, list(map(str, command)))
        assert done.exit_code == 1 and "people unknown" in done.output and not any(tmp_path.iterdir())


def test_fold_and_split_exclude_each_other(tiny_prepared, tmp_path):
    for words in ([], ["--fold", "0", "--split", "official"]):
        done = CliRunner().invoke(fer_model, ["train", *words, "--method", "cnn", "--data", str(tiny_prepared)])
        assert done.exit_code == 2 and "Give either --fold N or --split official." in done.output
    with pytest.raises(FoldError, match="has folds by person and no official split; choose one of them with --fold"):
        train(Job(tiny_prepared, tmp_path / "run", OFFICIAL), "cpu", say=quiet)
    with pytest.raises(ConfigError, match="fold is 1; fold rule official has one split and no folds, so it must be 0"):
        preset("smoke", method="cnn", fold=1, fold_rule="official")


# --- train, evaluate ----------------------------------------------------------------------------------------------------


def test_a_run_on_the_official_split_says_people_unknown(run, prepared):
    """The test part alone is tested; intervals are over pictures."""
    content, result = json.loads((run / "config.json").read_text()), json.loads((run / "result.json").read_text())
    frame = read_manifest(prepared)
    assert (content["identities"], content["validation_people"], content["n_train"], content["n_validation"]) == ([], [], 112, 0)
    assert set(read_predictions(run / "predictions.csv")["image_id"]) == set(frame.loc[frame["split"] == "test", "image_id"])
    assert result["rules"]["people"].startswith("people unknown: ") and "over the pictures" in result["rules"]["interval"]
    assert (result["evaluation"]["n_subjects"], result["evaluation"]["people"], result["evaluation"]["interval_over"]) == (
        0, "people unknown", "pictures")
    done = CliRunner().invoke(fer_model, ["evaluate", str(run)])
    assert done.exit_code == 0 and "14 images, people unknown, of the test part" in done.stdout and "95 % over pictures" in done.stdout
    assert default_run(Job(prepared, run, OFFICIAL)).name == "fer2013-cnn-smoke-official"


def test_the_interval_over_pictures_is_that_of_a_binomial():
    """Of n pictures of which the share p is right, the bootstrap is Binomial(n, p) / n; blocks change nothing. Seen red: one
    person, no width at all."""
    right = np.arange(400) % 4 != 0
    frame = pd.DataFrame({"image_id": [f"a/{n}" for n in range(400)], "subject": "", "sequence": [str(n) for n in range(400)],
                          "expression": "fear", "predicted": np.where(right, "fear", "anger"), "p_anger": 0.5, "p_fear": 0.5})
    found = evaluate(frame).frame_accuracy
    low, high = np.quantile(np.random.default_rng(1).binomial(400, 0.75, 200_000) / 400, [0.025, 0.975])
    assert found.value == 0.75 and abs(found.low - low) < 0.006 and abs(found.high - high) < 0.006
    people = frame.assign(subject=[f"S{n % 20}" for n in range(400)])
    rng, drawn = np.random.default_rng(3), np.random.default_rng(3).integers(20, size=(2000, 20))
    share = np.array([right[n::20].mean() for n in range(20)])[drawn].mean(1)
    assert interval_over_subjects(people, rng).low == pytest.approx(np.quantile(share, 0.025))


def predictions(right, networks=1):
    """Return a frame of predictions for each network, the same pictures in each."""
    names = [f"a/{n}/{n:08d}" for n in range(len(right))]
    frame = pd.DataFrame({"image_id": names, "subject": "", "sequence": names, "expression": "fear", "p_anger": 0.5, "p_fear": 0.5})
    return [frame.assign(predicted=np.where(right, "fear", "anger"))] * networks


def test_pooled_and_paired_figures_are_over_pictures():
    """Several networks on the same pictures: one is drawn with all that was said of it."""
    first, second = np.arange(200) % 4 != 0, np.arange(200) % 2 == 0
    found = pool([0, 1], predictions(first, 2), 2, elsewhere=True)
    once = evaluate(predictions(first)[0])
    assert found.evaluation.n_images == 200 and found.evaluation.frame_accuracy == once.frame_accuracy
    console = Console(width=120)
    with console.capture() as shown:
        console.print(found)
    assert "200 images, people unknown, seen by each of 2 networks" in shown.get() and shown.get().count("unknown") == 3
    paired = paired_difference(predictions(first), predictions(second), np.random.default_rng(0))
    spread = 1.96 * np.std(first.astype(float) - second) / 200**0.5
    assert (paired.n, paired.n_subjects, paired.difference) == (200, 0, 0.25)
    assert paired.low == pytest.approx(0.25 - spread, abs=0.015) and paired.high == pytest.approx(0.25 + spread, abs=0.015)


def rows_of(**parts):
    """Return rows of a manifest with so many pictures in each part."""
    names = [(part, f"{part}/angry/{n}") for part, count in parts.items() for n in range(count)]
    frame = pd.DataFrame(names, columns=["split", "sequence"])
    return frame.assign(expression=["anger", "fear"] * (len(frame) // 2))


def test_weights_are_never_chosen_by_what_is_tested():
    """A validation part; none; no test part. Seen red with validation for both in the last."""
    given = sides_of(rows_of(train=400, validation=40, test=60), "x", True, 0.1, 0)
    assert [len(side) for side in (given.train, given.validation, given.test)] == [400, 40, 60]
    left = sides_of(rows_of(train=400, validation=40, test=60), "x", False, 0.1, 0)
    assert [len(side) for side in (left.train, left.validation, left.test)] == [400, 0, 60]
    for other in ("test", "validation"):
        cut = sides_of(rows_of(train=400) if not other else rows_of(**{"train": 400, other: 60}), "x", True, 0.1, 0)
        assert set(cut.test["split"]) == {other} and set(cut.validation["split"]) == set(cut.train["split"]) == {"train"}
        assert 20 <= len(cut.validation) <= 60 and len(cut.train) + len(cut.validation) == 400
        assert not set(cut.train["sequence"]) & set(cut.validation["sequence"])


def test_pre_training_takes_pictures_in_no_part_only_where_none_is_in_one():
    """And what it is told where it has nothing is of pre-training. Seen red, each: pictures in no part beside those to train on; the
    sentence of `train`, which sends to pretrain."""
    rows = rows_of(**{"train": 400, "test": 60, "": 20})
    assert [len(sides_of(rows, "x", False, 0.1, 0, tests).train) for tests in (True, False)] == [400, 400]
    assert len(sides_of(rows_of(**{"": 20}), "x", False, 0.1, 0, tests=False).train) == 20
    with pytest.raises(FoldError, match="no pictures to pre-train on; its 60 are in other parts") as caught:
        sides_of(rows_of(test=60), "x", False, 0.1, 0, tests=False)
    assert "fer-model pretrain" not in str(caught.value)
    with pytest.raises(FoldError, match=r"it has 0 and 60 pictures$"):
        sides_of(rows_of(test=60), "x", False, 0.1, 0)


def test_the_drawn_share_depends_on_seed_and_name_alone():
    """Neither the order of rows, nor other pictures, nor another folder move one. Seen red with the folder in the name."""
    rows = rows_of(train=400, test=60)
    names = set(sides_of(rows, "x", True, 0.1, 0).validation["sequence"])
    turned = rows[::-1]
    assert set(sides_of(turned, "x", True, 0.1, 0).validation["sequence"]) == names
    moved = sides_of(rows.assign(sequence=rows["sequence"].str.replace("angry", "0")), "x", True, 0.1, 0).validation["sequence"]
    assert set(moved.str.replace("/0/", "/angry/")) == names
    fewer = rows[rows.index % 3 != 0]
    assert set(sides_of(fewer, "x", True, 0.1, 0).validation["sequence"]) == names & set(fewer["sequence"])
    assert set(sides_of(rows, "x", True, 0.1, 1).validation["sequence"]) != names
    for parts in ({"train": 40}, {"test": 40}, {"": 40}):
        with pytest.raises(FoldError, match="the official split must have a part to train on and one to test"):
            sides_of(rows_of(**parts), "x", False, 0.1, 0)


def test_validation_of_the_official_split_chooses_the_weights(prepared, tmp_path):
    config = preset("smoke", method="cnn", fold_rule="official", selection="validation")
    train(Job(prepared, tmp_path / "run", config), "cpu", say=quiet)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["rules"]["epoch"].startswith("the best on 14 faces of the validation part") and result["n_train"] == 112


def test_a_run_is_evaluated_on_another_database_with_a_word_on_people(run, prepared, tiny_prepared, drawn, tmp_path):
    """Of people there, nobody knows whether they were trained on. The same pictures again are refused."""
    done = CliRunner().invoke(fer_model, ["evaluate", str(run), "--data", str(tiny_prepared)])
    assert done.exit_code == 0, done.output
    assert "people unknown, so nobody can say whether some were trained on; classes that both have: anger" in " ".join(done.stdout.split())
    again = PrepareConfig(**READY.__dict__ | {"options": {"labels": "ferplus", "votes": drawn / "fer2013new.csv"}})
    prepare_dataset("fer2013", drawn, tmp_path / "plus", again)
    done = CliRunner().invoke(fer_model, ["evaluate", str(run), "--data", str(tmp_path / "plus")])
    assert done.exit_code == 1 and "both hold the pictures of fer2013, so a figure" in done.output


@pytest.mark.parametrize("group", SAME_PICTURES)
def test_databases_with_the_same_pictures_are_never_tested_on_each_other(group):
    """Seen red: no two databases said to hold the same pictures."""
    for mine in group:
        for theirs in group:
            rows = pd.DataFrame({"dataset": [theirs], "subject": ["" if mine == theirs else "S1"]})
            said = f"both hold the pictures of {mine}" if mine == theirs else f"{mine} and {theirs} hold the same pictures"
            with pytest.raises(RunError, match=re.escape(said)):
                _refuse_same_pictures("x", {mine}, rows)
        _refuse_same_pictures("x", {mine}, pd.DataFrame({"dataset": [mine, "expw"], "subject": ["S1", "S2"]}))


def test_reports_and_probes_of_such_a_run_are_refused(run):
    for command, words in (("report", "is of an official split, people unknown"), ("card", "is of an official split, people unknown"),
                           ("probe", "people unknown: the database does not say")):
        done = CliRunner().invoke(fer_model, [command, str(run)])
        assert done.exit_code == 1 and words in done.output and "`fer-model evaluate` shows" in done.output


def test_a_fold_by_person_is_nowhere_cut(prepared):
    """The library itself refuses, whoever asks."""
    read = read_prepared(prepared)
    folds = [lambda rule=rule: read.fold(0, rule) for rule in ("manifest", "missing", "shuffled")]
    for ask in (*folds, lambda: read.everybody(preset("smoke")), read.numbers):
        with pytest.raises(PeopleError, match="people unknown"):
            ask()
