"""Predictions made anew: voting views against a sum by hand, other databases, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

import fer_data
from cli.fer_model import main
from fer_data.faces.views import view_of
from fer_data.store.loader import open_views
from fer_data.store.manifest import COLUMNS, read_settings, write_manifest
from fer_model.config import preset
from fer_model.crossval import crossval
from fer_model.errors import FoldError, RunError
from fer_model.evaluate import run_table
from fer_model.evaluate.repredict import _spelled_like, repredict
from fer_model.evaluate.run_table import evaluate_runs
from fer_model.job import Job
from fer_model.networks import to_input_size
from fer_model.runs.predictions import read_predictions
from fer_model.runs.trained import load_run
from fer_model.stages.classifier import VOTES, probabilities
from fer_model.train import train

ALL = ["p_anger", "p_happiness", "p_surprise"]


@pytest.fixture(scope="module")
def folds(tiny_prepared, tmp_path_factory):
    """Both methods: the baseline on all folds, DE-GAN on fold 0; weights so large that faces get different answers."""
    path = tmp_path_factory.mktemp("folds")
    for method, which in (("cnn", ()), ("degan", (0,))):
        config = preset("smoke", method=method)
        config = replace(config, network=replace(config.network, init_std=0.3))
        crossval(Job(tiny_prepared, path / method, config), which, devices=("cpu",), say=lambda _: None)
    return path


@pytest.fixture
def other(write_tiny, tmp_path):
    """Return a function that writes another database: the data set's name, its expressions, who is in it."""

    def write(dataset="other", expressions=("surprise", "fear", "anger"), rename=lambda subject: subject, people=4, drawn=False):
        out = write_tiny(tmp_path / dataset, people=people, folds=2, expressions=expressions, seed=9)
        rows = fer_data.read_manifest(out).to_dict("records")
        for row in rows:
            row["image_id"] = row["image_id"].replace("tiny/", f"{dataset}/").replace(row["subject"], rename(row["subject"]))
            row["subject"], row["dataset"] = rename(row["subject"]), dataset
        settings = {key: value for key, value in read_settings(out).items() if key not in ("schema_version", "manifest_sha256")}
        settings["drawn"] = drawn
        write_manifest(out, [{name: row[name] for name in COLUMNS} for row in rows], [], settings)
        return out

    return write


def test_views_that_vote():
    """Five crops and their mirror images, unrotated; by what view_of says of each."""
    shown = {(view.crop, view.flip) for view in map(view_of, VOTES[10])}
    assert VOTES[1] == (0,) and len(VOTES[10]) == len(shown) == 10 and {view_of(k).angle_deg for k in VOTES[10]} == {0}
    assert VOTES[110] == tuple(range(110))


@pytest.mark.parametrize("method", ["cnn", "degan"])
def test_one_view_gives_the_predictions_that_the_run_wrote(folds, method):
    found = repredict(folds / method / "fold0", device="cpu")
    stored = read_predictions(folds / method / "fold0" / "predictions.csv")
    pd.testing.assert_frame_equal(found.frame, stored, check_exact=False, rtol=0, atol=1e-6, check_dtype=False)
    assert not found.elsewhere and found.notes == ()


@pytest.mark.parametrize("vote", [10, 110])
def test_voting_is_the_mean_of_the_views_probabilities(folds, vote):
    """Rendered one view at a time, summed by hand. Seen red: logits averaged; the centre view ten times."""
    run = folds / "degan" / "fold0"
    trained = load_run(run, "cpu")
    data, fold = trained.open_data()
    views, sums = open_views(data, fold.test), np.zeros((len(fold.test), 3))
    faces = torch.arange(len(fold.test))
    for k in range(110):
        if vote == 110 or view_of(k).angle_deg == 0:
            with torch.inference_mode():
                logits = trained.logits(to_input_size(views.batch(faces, torch.full_like(faces, k)), 48)).double().numpy()
            shares = np.exp(logits - logits.max(1, keepdims=True))
            sums += shares / shares.sum(1, keepdims=True)
    found = repredict(run, vote=vote, device="cpu").frame[ALL].to_numpy()
    np.testing.assert_allclose(found, sums / vote, rtol=0, atol=1e-5)
    assert np.abs(found - read_predictions(run / "predictions.csv")[ALL].to_numpy()).max() > 1e-3, "another answer than one view's"


@pytest.mark.parametrize("method", ["cnn", "degan"])
@pytest.mark.parametrize("batch", [1, 7])
def test_votes_do_not_depend_on_batch_or_order(folds, tiny_prepared, method, batch):
    """Seen red: the mean taken over the batch in place of the views."""
    run = folds / method / "fold0"
    whole = repredict(run, vote=10, device="cpu").frame
    found = repredict(run, vote=10, device="cpu", batch=batch).frame
    np.testing.assert_allclose(found[ALL], whole[ALL], rtol=0, atol=1e-5)
    assert found["predicted"].tolist() == whole["predicted"].tolist()
    trained = load_run(run, "cpu")
    order = np.random.default_rng(0).permutation(len(whole))
    rows = trained.open_data()[1].test.iloc[order]
    shuffled = probabilities(trained.logits, open_views(tiny_prepared, rows), 48, batch, VOTES[10]).numpy()
    np.testing.assert_allclose(shuffled, whole[ALL].to_numpy()[order], rtol=0, atol=1e-5)


def test_a_cross_validation_votes_and_nothing_is_written(folds):
    before = {file: file.stat().st_mtime_ns for file in folds.rglob("*")}
    found = evaluate_runs([folds / "cnn", folds / "degan" / "fold0"], vote=10, device="cpu")
    assert before == {file: file.stat().st_mtime_ns for file in folds.rglob("*")}
    one, two = found.rows
    assert one.pooled.n_folds == len(one.pooled.folds) == 3 and one.evaluation.n_images == 36 and two.evaluation.n_images == 12
    assert found.to_json()[0]["rules"]["test_view"] == found.to_json()[1]["rules"]["test_view"] == (
        "mean of the probabilities of 10 views of each image"
    )


def test_another_database_is_answered_among_the_classes_that_both_have(folds, other):
    """Seen red: shares of the full softmax, not renormalised."""
    run, data = folds / "cnn" / "fold0", other()
    found = repredict(run, data, device="cpu")
    trained = load_run(run, "cpu")
    rows = fer_data.read_manifest(data)
    rows = rows[rows["expression"] != "fear"].reset_index(drop=True)
    full = trained.probabilities(open_views(data, rows)).numpy()[:, [0, 2]].astype(float)
    assert found.frame["image_id"].tolist() == rows["image_id"].tolist() and len(found.frame) == 16
    np.testing.assert_allclose(found.frame[["p_anger", "p_surprise"]], full / full.sum(1, keepdims=True), rtol=0, atol=1e-5)
    assert set(found.frame["predicted"]) <= {"anger", "surprise"} and "p_happiness" not in found.frame
    assert found.elsewhere and found.notes[1:] == (
        "Trained on but not in these data, hence never answered: happiness.",
        "Left out, never trained on: fear (8); 8 of 24 images.",
    )


def test_every_network_of_a_cross_validation_sees_all_of_another_database(folds, other):
    data = other(expressions=("anger", "happiness", "surprise"))
    found = evaluate_runs([folds / "cnn"], data, device="cpu").rows[0]
    assert found.pooled.elsewhere and found.evaluation.n_images == 24 and [one.n_images for one in found.pooled.by_fold] == [24] * 3
    each = [repredict(folds / "cnn" / f"fold{i}", data, device="cpu").frame for i in range(3)]
    shares = [(frame["expression"] == frame["predicted"]).mean() for frame in each]
    assert found.evaluation.frame_accuracy.value == pytest.approx(np.mean(shares)) == pytest.approx(found.pooled.means["frame"].mean)
    done = CliRunner().invoke(main, ["evaluate", str(folds / "cnn"), "--data", str(data), "--device", "cpu"])
    assert done.exit_code == 0 and "24 images, 12 sequences, 4 people seen by each of 3 networks" in done.output
    done = CliRunner().invoke(main, ["evaluate", str(folds / "cnn"), "--data", str(data), "--device", "cpu", "--json"])
    assert json.loads(done.output)[0]["tested_on"] == str(data)


def test_each_row_is_compared_with_the_first_on_the_images_of_both(folds, other):
    """Seen red: the rows the other way round."""
    data = other(expressions=("anger", "happiness", "surprise"))
    found = evaluate_runs([folds / "cnn" / "fold0", folds / "degan" / "fold0"], data, device="cpu")
    (paired,) = (against.paired for against in found.against_first)
    first, second = (row.evaluation.frame_accuracy.value for row in found.rows)
    assert paired.n == 24 and paired.n_subjects == 4 and paired.difference == pytest.approx(second - first) and first != second
    assert paired.low <= paired.difference <= paired.high
    at_home = evaluate_runs([folds / "cnn", folds / "degan" / "fold0"], device="cpu")
    assert at_home.against_first[0].paired.n == 12                                           # the images of the fold that both tested
    assert [set(row) & {"against_first"} for row in at_home.to_json()] == [set(), {"against_first"}]
    assert "folds" not in at_home.to_json()[1]["against_first"]
    done = CliRunner().invoke(main, ["evaluate", str(folds / "cnn"), str(folds / "degan" / "fold0"), "--device", "cpu"])
    assert "on the 12 images of 2 people that both predict;" in " ".join(done.output.split())
    done = CliRunner().invoke(main, ["evaluate", str(folds / "degan" / "fold0"), "--data", str(data), "--device", "cpu"])
    assert f"24 images, 12 sequences, 4 people of {data}" in " ".join(done.output.split()) and "test fold" not in done.output
    assert not evaluate_runs([folds / "cnn" / "fold1", folds / "degan" / "fold0"]).against_first[0]


def test_elsewhere_networks_of_the_same_folds_are_compared(folds, other, tmp_path, monkeypatch):
    """Some of the networks of a cross-validation do not differ from it; an image counts by the share of the networks that have it right.
    Fold 1's always answers anger. Seen red: all networks of one against all of the other: +22.2 points."""

    def repredicted(run, *more):
        found = repredict(run, *more)
        return replace(found, frame=found.frame.assign(predicted="anger")) if run.name == "fold1" else found

    monkeypatch.setattr(run_table, "repredict", repredicted)
    data = other(expressions=("anger", "happiness", "surprise"))
    part = tmp_path / "part"
    for fold in ("fold0", "fold2"):
        shutil.copytree(folds / "cnn" / fold, part / fold)
    found = evaluate_runs([folds / "cnn", part], data, device="cpu")
    (against,) = found.against_first
    assert (against.paired.difference, against.paired.low, against.paired.high) == (0, 0, 0) and against.networks == ((0, 2), (0, 2))
    shares = [found.rows[0].pooled.by_fold[fold].frame_accuracy.value for fold in (0, 2)]
    assert against.paired.first == pytest.approx(np.mean(shares)) != found.rows[0].evaluation.frame_accuracy.value
    assert found.to_json()[1]["against_first"]["folds"] == [0, 2]
    done = CliRunner().invoke(main, ["evaluate", str(folds / "cnn"), str(part), "--data", str(data), "--device", "cpu"])
    told = "+0.0 points (no interval: all alike) per frame, on the 24 images of 4 people that both predict, by the networks of folds 0"
    assert f"{told} and 2 alone, which both have" in " ".join(done.output.split())
    whole = evaluate_runs([folds / "cnn", folds / "cnn"], data, device="cpu")
    assert whole.to_json()[1]["against_first"]["folds"] == [0, 1, 2]


def test_elsewhere_a_difference_is_told_over_the_networks_as_well(folds, other, tmp_path, monkeypatch):
    """Networks differ as much as people do. Seen red: people alone were resampled, as if these were all the trainings that there can be."""

    def repredicted(run, *more):
        found = repredict(run, *more)
        return replace(found, frame=found.frame.assign(predicted="anger")) if run == changed / "fold1" else found

    monkeypatch.setattr(run_table, "repredict", repredicted)
    data, changed = other(expressions=("anger", "happiness", "surprise")), tmp_path / "changed"
    shutil.copytree(folds / "cnn", changed)
    found = evaluate_runs([folds / "cnn", changed], data, device="cpu")
    shares = [[one.frame_accuracy.value for one in row.pooled.by_fold] for row in found.rows]
    each = [b - a for a, b in zip(*shares, strict=True)]
    over, half = found.against_first[0].over_networks, stats.t.ppf(0.975, 2) * stats.sem(each)
    assert each[1] and (over.n, over.mean) == (3, pytest.approx(found.against_first[0].paired.difference))
    assert (over.low, over.high) == (pytest.approx(over.mean - half), pytest.approx(over.mean + half))
    assert found.to_json()[1]["against_first"]["over_networks"]["n"] == 3
    done = CliRunner().invoke(main, ["evaluate", str(folds / "cnn"), str(changed), "--data", str(data), "--device", "cpu"])
    told = f"; over the 3 networks {100 * over.low:.1f} to {100 * over.high:.1f}, as training varies too"
    assert told in " ".join(done.output.split())
    assert evaluate_runs([folds / "cnn", changed], device="cpu").against_first[0].over_networks is None, "an image has one network"


def test_elsewhere_no_difference_is_given_without_a_fold_in_common(folds, other, tmp_path):
    """Nor between folds that people were assigned to by another rule. Of two data sets all networks are compared, and it is said.
    Seen red: a difference of networks of folds 1 and 0, called paired."""
    data, first = other(expressions=("anger", "happiness", "surprise")), folds / "degan" / "fold0"
    found = evaluate_runs([first, folds / "cnn" / "fold1"], data, device="cpu")
    note = f"{folds / 'cnn' / 'fold1'}: no difference to {first}, no fold is in both: this has fold 1, that has fold 0,"
    assert found.against_first == (None,) and found.rows[1].notes[-1].startswith(note)
    assert found.to_json()[1]["notes"][-1].startswith(note) and "against_first" not in found.to_json()[1]

    def changed(name, **changes):
        run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / name)
        content = json.loads((run / "config.json").read_text())
        config = {**content["config"], **changes.pop("config", {})}
        (run / "config.json").write_text(json.dumps({**content, "config": config, **changes}))
        return run

    found = evaluate_runs([first, changed("shuffled", config={"fold_rule": "shuffled", "fold_seed": 4})], data, device="cpu")
    assert found.against_first == (None,)
    assert found.rows[1].notes[-1].endswith("whose folds are others: rule shuffled, seed 4, 3 folds, there rule manifest, 3 folds.")
    apart = changed("apart", dataset="another")
    assert evaluate_runs([folds / "cnn", apart], data, device="cpu").to_json()[1]["against_first"]["folds_of_first"] == [0, 1, 2]
    done = CliRunner().invoke(main, ["evaluate", str(folds / "cnn"), str(apart), "--data", str(data), "--device", "cpu"])
    assert "by all networks of each, which were trained on another and on tiny" in " ".join(done.output.split())


def test_the_runs_own_manifest_means_its_test_fold(folds, tiny_prepared):
    found = evaluate_runs([folds / "cnn"], tiny_prepared, device="cpu").rows[0]
    assert found.evaluation.n_images == 36 and not found.pooled.elsewhere
    assert found.notes == (f"{tiny_prepared} is what was trained on: each network is tested on its own test fold alone.",)


def test_people_that_were_trained_on_are_refused(folds, other, tmp_path):
    """Fold 0 was trained on S001, S002, S004, S005. Seen red: subjects compared without their data set refused strangers."""
    run = folds / "cnn" / "fold0"
    said = r"nobody in it may have been trained on, or chosen the weights by; it shows some who were: 2 people \(tiny/S001\)"
    with pytest.raises(RunError, match=said):
        repredict(run, other("tiny"), device="cpu")
    assert len(repredict(run, other("tiny2"), device="cpu").frame) == 16


@pytest.mark.parametrize(
    "more", [{"init": {"people": ["other/S003"]}}, {"validation_people": ["other/S003"]}, {"identities": ["other/S003"]}]
)
def test_whoever_shaped_the_weights_is_known(folds, other, tmp_path, more):
    """In pre-training, in choosing the weights, in training. Seen red: training people alone."""
    run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**content, **more}))
    with pytest.raises(RunError, match=r"some who were: 1 person \(other/S003\)"):
        repredict(run, other(), device="cpu")


FER = {"dataset": "fer2013", "n_people": 0, "n_faces": 112, "kimg": 1.0}
KNOWN = {"dataset": "third", "n_people": 1, "n_faces": 9, "kimg": 1.0, "people": ["third/A"]}
SAID = {"said": "w.pth (1 MB), trained on what it says", "n_people": 0}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"init": {**FER, "people": []}}, "it was trained on fer2013, which holds pictures of fer2013, on which it would be tested"),
        ({"init": {**KNOWN, "before": FER}}, "it was trained on fer2013, which holds pictures of fer2013"),
        ({"init": {**KNOWN, "before": {**KNOWN, "before": {**FER, "dataset": "ferplus"}}}}, "it was trained on ferplus, which holds"),
        ({"init": {**KNOWN, "before": {**SAID, "trained_on": "FER+"}}}, r"it was trained on FER\+, which holds pictures of fer2013"),
        ({"init": {**SAID, "people": [], "trained_on": "FER2013"}}, "it was trained on FER2013, which holds pictures of fer2013"),
        ({"dataset": "fer2013", "identities": [], "init": KNOWN}, "both hold the pictures of fer2013, so a figure"),
        ({"dataset": "fer2013", "identities": [], "init": None}, "both hold the pictures of fer2013, so a figure"),
        ({"init": {**KNOWN, "before": {**SAID, "trained_on": "ImageNet"}}}, None),
        ({"init": {**FER, "dataset": "rafdb", "people": []}}, None),
    ],
)
def test_pictures_that_shaped_the_weights_are_known_where_people_are_not(folds, unknown, tmp_path, more, message):
    """In pre-training, in what that had started from, in training. Seen red: of a start its people alone, and a file that it was itself;
    the run's own database not, where its start has people."""
    run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**content, **more}))
    if message is None:
        assert len(repredict(run, unknown, device="cpu").frame)
        return
    with pytest.raises((FoldError, RunError), match=message):
        repredict(run, unknown, device="cpu")


def test_pictures_of_a_start_without_people_are_known_where_the_data_have_people(folds, other, tmp_path):
    """As of a database that was prepared once without ids, once with. Seen red: tested."""
    run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    for n_people, refused in ((0, True), (2, False)):
        init = {**FER, "dataset": "other", "n_people": n_people, "people": ["other/X", "other/Y"][:n_people]}
        (run / "config.json").write_text(json.dumps({**content, "init": init}))
        if refused:
            with pytest.raises(FoldError, match="it was trained on other, which holds pictures of other"):
                repredict(run, other(), device="cpu")
        else:
            assert len(repredict(run, tmp_path / "other", device="cpu").frame) == 16


@pytest.mark.parametrize(("init", "said"), [
    ({**FER, "people": []}, "nobody in which was trained on by the run itself; whom its start had seen is unknown; classes"),
    ({**SAID, "people": [], "trained_on": "ImageNet"}, "by the run itself; whom its start had seen is unknown; classes"),
    (KNOWN, "nobody in which was trained on; classes"), (None, "nobody in which was trained on; classes"),
])
def test_of_a_start_without_people_nobody_says_whom_it_had_seen(folds, other, tmp_path, init, said):
    """Seen red: nobody was said to have been trained on, of a start from FER2013 and of a file of weights."""
    run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**content, "init": init}))
    assert said in repredict(run, other(), device="cpu").notes[0]


def test_people_of_the_cropped_copy_are_those_of_ck_plus(folds, other, tmp_path):
    """Seen red: CK+48 under its own name counted as other people."""
    run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    content["identities"] = [name.replace("tiny/", "ck+/") for name in content["identities"]]
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"some who were: 2 people \(ck48/S001\)"):
        repredict(run, other("ck48"), device="cpu")


def test_people_under_another_spelling_are_known_and_under_an_almost_alike_id_are_told(folds, other, tmp_path):
    """Seen red: without the sentence; with a group of tested people alone."""
    run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    content["identities"] = [name.replace("tiny/S00", "other/S00\u200b") for name in content["identities"]]
    (run / "config.json").write_text(json.dumps(content))
    strangers = other()
    with pytest.raises(RunError, match=r"some who were: 2 people \(other/S001\)"):
        repredict(run, strangers, device="cpu")
    content["identities"] = [name.replace("other/S00\u200b", "other/s0") for name in content["identities"]]
    (run / "config.json").write_text(json.dumps(content))
    note = repredict(run, strangers, device="cpu").notes[1]
    assert note.startswith("Trained on and tested under ids that are almost alike: other/S001 and other/s01, other/S002 and other/s02.")
    assert _spelled_like({"a/1"}, {"a/2", "a/02"}) == _spelled_like({"a/2", "a/02"}, {"a/1"}) == []


def test_synthetic_people_of_one_seed_are_told_where_a_table_meets_ck_plus(folds, other, tmp_path):
    """`tiny` is no database of the house, so it may be a full table. Seen red: "nobody in which was trained on", and nothing else; said of
    photographs; said of a layout with people of its own."""

    def told(drawn, dataset, tested_is_drawn):
        run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / f"{drawn}{dataset}{tested_is_drawn}")
        content = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**content, "drawn": drawn}))
        data = other(dataset, drawn=tested_is_drawn)
        same = [note for note in repredict(run, data, device="cpu").notes if "draws the same people for ck+ and table" in note]
        shutil.rmtree(data)
        return len(same)

    assert told(True, "ck+", True) == told(True, "table", True) == 1
    assert [told(True, "mmi", True), told(False, "ck+", True), told(True, "ck+", False)] == [0, 0, 0]


def test_fewer_than_two_shared_classes_are_refused(folds, other):
    message = "at least two classes must be shared, got 1; the run has anger, happiness, surprise, the data disgust, fear, surprise"
    with pytest.raises(RunError, match=message):
        repredict(folds / "cnn" / "fold0", other(expressions=("surprise", "fear", "disgust")), device="cpu")


def test_data_that_have_changed_are_refused(folds, write_tiny, tmp_path):
    run = shutil.copytree(folds / "cnn" / "fold0", tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    content["data"] = str(write_tiny(tmp_path / "changed", people=5))
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="it was trained on the manifest"):
        repredict(run, vote=10, device="cpu")


def test_pre_training_alone_predicts_nothing(tiny_prepared, other, tmp_path):
    """Seen red: KeyError on its missing head."""
    train(Job(tiny_prepared, tmp_path / "run", preset("smoke", method="pretrain", fold=None)), "cpu", say=lambda _: None)
    with pytest.raises(RunError, match="a run that predicts is needed, this one is pre-training alone"):
        repredict(tmp_path / "run", other(), device="cpu")


def test_an_odd_number_of_views_is_refused(folds):
    with pytest.raises(RunError, match="11 views cannot vote; choose 1, 10 or 110"):
        repredict(folds / "cnn" / "fold0", vote=11, device="cpu")
