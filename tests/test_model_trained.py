"""A trained run, loaded: the networks that predicted, and refusals of what is incomplete, damaged or another's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fer_data.errors import ManifestError
from fer_data.store.loader import open_views
from fer_data.store.manifest import manifest_sha256, read_manifest, read_settings
from fer_model.config import preset
from fer_model.data.fold import read_prepared
from fer_model.engine.journal import Journal, read_log
from fer_model.errors import CheckpointError, DeviceError, RunError
from fer_model.evaluate.cells import read_arms
from fer_model.evaluate.run_table import evaluate_run, evaluate_runs
from fer_model.job import Job
from fer_model.probe.probing import probe_run
from fer_model.report.report import write_report
from fer_model.runs.fold_runs import find_runs
from fer_model.runs.folder import RunFolder
from fer_model.runs.trained import load_run
from fer_model.settings import configure
from fer_model.train import train
from fer_model.use.export import export
from fer_model.use.tensorboard import write_events
from tests.model_runs import write_fold


@pytest.fixture(scope="module", params=["degan", "cnn"])
def run(request, tiny_prepared, tmp_path_factory):
    """A complete run of each method on fold 1, begun with weights so large that faces get different answers."""
    folder = tmp_path_factory.mktemp("trained") / request.param
    config = preset("smoke", method=request.param, fold=1, seed=3)
    config = replace(config, network=replace(config.network, init_std=0.3))
    train(Job(tiny_prepared, folder, config), "cpu", say=lambda _: None)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run that a test may damage."""
    return shutil.copytree(run, tmp_path / "copy")


def test_probabilities_are_those_that_the_run_predicted(run):
    """Seen red: networks left in training mode; the head's first logits in place of its last."""
    trained = load_run(run, "cpu")
    data, fold = trained.open_data()
    found = trained.probabilities(open_views(data, fold.test)).numpy()
    stored = pd.read_csv(run / "predictions.csv")
    assert stored["image_id"].tolist() == fold.test["image_id"].tolist()
    columns = [f"p_{name}" for name in trained.classes]
    assert list(stored.columns[5:]) == columns and np.ptp(found, axis=0).max() > 1e-3
    np.testing.assert_allclose(found, stored[columns].to_numpy(), rtol=0, atol=1e-6)


def test_what_is_loaded_says_what_it_is_and_does_not_learn(run):
    """Seen red: requires_grad_ left out."""
    trained = load_run(run, "cpu")
    content = json.loads((run / "config.json").read_text())
    assert trained.config.seed == 3 and trained.classes == ("anger", "happiness", "surprise") and trained.device.type == "cpu"
    assert trained.identities == tuple(content["identities"]) == ("tiny/S000", "tiny/S002", "tiny/S003", "tiny/S005")
    assert set(trained.networks) == ({"encoder", "head"} if trained.config.method == "degan" else {"cnn"})
    assert (trained.generator is not None) == (trained.config.method == "degan")
    for network in (*trained.networks.values(), *([trained.generator] if trained.generator else [])):
        assert not network.training and not any(weight.requires_grad for weight in network.parameters())


def test_what_a_complete_run_has_lost_is_named_and_made_again_as_the_advice_says(copy, tiny_prepared, tmp_path):
    """Seen red: "train it to its end first" and "`fer-model train` writes it when a run is complete", which said that nothing was left."""
    last = "head" if (copy / "head.safetensors").exists() else "cnn"
    (copy / f"{last}.safetensors").unlink()
    again = f"; copy the run's folder again, whole, .* or remove {copy / 'result.json'}: the command that started the run then makes again"
    with pytest.raises(RunError, match=f"there is no {last}.safetensors{again}"):
        load_run(copy, "cpu")
    lost = copy / "predictions.csv"
    lost.rename(tmp_path / "before.csv")
    with pytest.raises(RunError, match=f"reading predictions: there is no {lost}{again}"):
        evaluate_run(copy)
    (copy / "result.json").unlink()
    config = RunFolder(copy).read_config()[0]
    train(Job(tiny_prepared, copy, config), "cpu", say=lambda _: None)
    assert lost.read_bytes() == (tmp_path / "before.csv").read_bytes() and load_run(copy, "cpu")


def test_damaged_weights_are_refused(copy):
    last = "head" if (copy / "head.safetensors").exists() else "cnn"
    path = copy / f"{last}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=path.name):
        load_run(copy, "cpu")


def test_weights_of_other_networks_are_refused(copy):
    content = json.loads((copy / "config.json").read_text())
    content["classes"] = ["anger", "surprise"]
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_run(copy, "cpu")


def test_a_folder_that_is_no_run_is_refused(tmp_path, copy):
    with pytest.raises(RunError, match=r"there is no .*config.json"):
        load_run(tmp_path / "nothing", "cpu")
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(RunError, match="has schema version 99, this program reads 1"):
        load_run(copy, "cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 1}', "config.json has no 'config'"),
        ("[1]", r"config.json must hold a JSON object \(not an object but list\)"),
        ("{", r"config.json must hold a JSON object \(Expecting"),
        ("[" * 100_000, r"config.json must hold a JSON object \(nested too deeply\)"),
    ],
)
def test_a_damaged_configuration_is_one_sentence_everywhere(copy, content, message):
    """Seen red: the settings of a run were read without a look at its fields (KeyError, AttributeError); json.loads (RecursionError)."""
    (copy / "config.json").write_text(content)
    with pytest.raises(RunError, match=message):
        load_run(copy, "cpu")
    with pytest.raises(RunError, match=message):
        find_runs([copy])


def test_a_damaged_line_of_the_log_is_named(copy):
    """A line that a crash has torn is dropped; one in the middle is not. Seen red: JSONDecodeError from resume and from TensorBoard."""
    log = copy / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines) + b'{"event": "ti')
    assert len(read_log(log)) == len(lines)
    log.write_bytes(lines[0] + b"{,}\n" + b"".join(lines[1:]))
    for reads in (lambda: Journal(log, print), lambda: find_runs([copy])[0].log):
        with pytest.raises(RunError, match=r"line 2 of .*log.jsonl is not what training writes"):
            reads()


def test_paths_may_be_strings(run, tmp_path, tiny_prepared):
    """As a notebook names them. Seen red: AttributeError from Job, load_run, find_runs, export, probe, report and the evaluation."""
    text, file = str(run), tmp_path / "settings.yaml"
    file.write_text("gan: {lr: 1e-4}\n")
    assert load_run(text, "cpu").run == run and [one.path for one in find_runs([text])] == [run]
    assert Job(str(tiny_prepared), text, configure(file=str(file)), init=None).run == run
    assert evaluate_run(text) == evaluate_run(run) and evaluate_runs([text]).rows[0].path == run
    assert write_report([text], str(tmp_path / "report"), faces=False).pages[0].is_file()
    assert export(text, "safetensors", str(tmp_path / "model.safetensors")).path == tmp_path / "model.safetensors"
    assert probe_run(shutil.copytree(run, tmp_path / "run").as_posix(), data=str(tiny_prepared), device="cpu").run == tmp_path / "run"


def test_a_device_that_is_not_there_is_refused(run):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(DeviceError, match="choose cpu"):
        load_run(run, "cuda")


def test_the_data_are_those_of_the_run_or_are_refused(run, write_tiny, tiny_prepared, tmp_path):
    """Seen red: the hash not compared."""
    trained = load_run(run, "cpu")
    moved = shutil.copytree(tiny_prepared, tmp_path / "moved")
    assert trained.open_data(moved)[0] == moved
    with pytest.raises(RunError, match="it was trained on the manifest"):
        trained.open_data(write_tiny(tmp_path / "other", seed=1, people=7))
    with pytest.raises(ManifestError, match="there is no"):
        trained.open_data(tmp_path / "gone")


def test_a_run_finds_its_data_from_any_working_directory(tiny_prepared, write_tiny, tmp_path, monkeypatch):
    """By how they lie from the run folder, also when both are moved, and whatever `prepared` the current folder has. Seen red: a folder
    below the current one that never was; the `prepared` of the current folder, and the advice to prepare that one with other folds."""
    shutil.copytree(tiny_prepared, tmp_path / "a" / "prepared")
    monkeypatch.chdir(tmp_path / "a")
    train(Job(Path("prepared"), Path("runs/r"), preset("smoke", method="cnn", fold=1)), "cpu", say=lambda _: None)
    assert load_run("runs/r", "cpu").open_data()[0] == Path("prepared")
    monkeypatch.chdir(tmp_path)
    assert load_run("a/runs/r", "cpu").open_data()[0] == Path("a/prepared")
    (tmp_path / "a").rename(tmp_path / "b")
    assert load_run("b/runs/r", "cpu").open_data()[0] == Path("b/prepared")
    write_tiny(tmp_path / "prepared", folds=2, dataset="others")
    assert load_run("b/runs/r", "cpu").open_data()[0] == Path("b/prepared")
    assert load_run(tmp_path / "b/runs/r", "cpu").open_data()[0] == tmp_path / "b/prepared"
    (tmp_path / "far/runs").mkdir(parents=True)
    (tmp_path / "b/runs/r").rename(tmp_path / "far/runs/r")
    with pytest.raises(RunError, match=r"prepared has [0-9a-f]{12}\.\.\.; give --data FOLDER, the one that it was trained on$"):
        load_run("far/runs/r", "cpu").open_data()


def test_a_run_and_a_prepared_folder_in_each_others_place_are_named_for_what_they_are(tiny_prepared, tmp_path):
    """Seen red, each: that there is no settings.json, manifest.parquet, config.json, fold, arm or log in it, which our commands write."""
    run = write_fold(tmp_path / "r")
    for read in (read_settings, read_manifest, manifest_sha256):
        with pytest.raises(ManifestError, match=f": {run} is a run of fer-model, not a prepared data set; give the folder that"):
            read(run)
    for read in (load_run, read_arms, lambda path: find_runs([path]), lambda path: write_events([path], tmp_path / "events")):
        with pytest.raises(RunError, match=f": {tiny_prepared} is a prepared data set, not a run of fer-model; give a folder that"):
            read(tiny_prepared)


def test_data_that_are_no_longer_there_are_asked_for(run, tmp_path, monkeypatch):
    """The folder is kept as it was typed. Seen red: "`fer-data prepare` writes one", to those who have prepared."""
    trained, prepared = load_run(run, "cpu"), str(tmp_path / "prepared")
    monkeypatch.setitem(trained.content, "data", prepared)
    with pytest.raises(RunError, match=f"is not, or no longer, at {prepared}; give --data FOLDER"):
        trained.open_data()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(trained.content, "data", "prepared")
    with pytest.raises(RunError, match=f"is not, or no longer, at {prepared}; give --data FOLDER"):
        trained.open_data()


def test_the_fold_is_the_one_that_was_drawn(tiny_prepared, tmp_path):
    """Seen red: open_data with the number of the fold alone; the seed left out wherever folds are read."""
    train(Job(tiny_prepared, tmp_path / "r", preset("smoke", method="cnn", fold_rule="shuffled", fold_seed=1)), "cpu", say=lambda _: None)
    _, fold = load_run(tmp_path / "r", "cpu").open_data()
    assert fold.test["image_id"].tolist() == read_prepared(tiny_prepared).fold(0, "shuffled", 1).test["image_id"].tolist()
    assert fold.test["image_id"].tolist() == pd.read_csv(tmp_path / "r" / "predictions.csv")["image_id"].tolist()
