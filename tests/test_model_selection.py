"""Model choice by people set aside, and the proof that the test fold is not looked at in training."""

import json
import re
import shutil
import sys
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fer_data
from cli.fer_model import main
from fer_data.errors import DatasetError
from fer_data.files import sealed_json, sha256_of_file
from fer_data.store.loader import open_views
from fer_data.store.manifest import read_settings
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import FoldReader, people_of, read_prepared, set_aside
from fer_model.engine import checkpoint
from fer_model.engine.journal import Journal
from fer_model.engine.kept import Best
from fer_model.engine.loop import run_stage
from fer_model.errors import ConfigError, FoldError, RunError
from fer_model.job import Job
from fer_model.stages.cnn import CnnStage
from fer_model.stages.inputs import StageInputs
from fer_model.train import finished, train
from tests.configs import with_head
from tests.test_model_ablations import same_tensors
from tests.test_model_engine import Stop, quiet, stop_at, ticks_of

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_best_stays_best_when_a_worse_value_follows(counts):
    """The first of the largest, whatever comes after it. Seen red, each: the latest kept; a tie that takes the later; the
    network's own tensors kept, which go on changing."""
    network = nn.Linear(1, 1)
    best = Best(network)
    for step, right in enumerate(counts, 1):
        nn.init.constant_(network.weight, step)
        best.offer(step, right)
    nn.init.constant_(network.weight, -1)
    first = counts.index(max(counts)) + 1
    assert (best.step, best.right, best.tensors["weight"].item()) == (first, max(counts), first)


def choosing(method="cnn", fold=1, **changes):
    """Return a configuration that chooses by validation."""
    return preset("smoke", method=method, fold=fold, selection="validation", **changes)


def test_people_set_aside_are_whole_and_in_no_other_side(tiny_prepared):
    """Seen red: images set aside in the place of people."""
    whole, fold = read_prepared(tiny_prepared).fold(1), read_prepared(tiny_prepared).fold_of(choosing())
    sides = [set(people_of(rows)) for rows in (fold.train, fold.validation, fold.test)]
    assert all(sides) and sum(map(len, sides)) == len(set.union(*sides)) == 6
    assert sorted([*fold.train["image_id"], *fold.validation["image_id"]]) == sorted(whole.train["image_id"])
    assert set(fold.identities) == sides[0] and fold.classes == whole.classes
    assert set(fold.train["expression"]) == set(whole.train["expression"])
    assert fold.test.equals(whole.test) and not len(whole.validation)
    assert [fold.classes[i] for i in fold.validation_labels(CPU)] == fold.validation["expression"].tolist()


def test_setting_aside_counts_both_expressions_of_a_sequence(tiny_prepared):
    """As `--neutral class` prepares them, the neutral frame before the peak. Seen red: neutral alone was counted."""
    fold = read_prepared(tiny_prepared).fold(1)
    both = pd.concat([fold.train.assign(expression="neutral"), fold.train], ignore_index=True)
    counted = {}

    def count(labels, share, seed):
        counted.update(labels)
        return [next(iter(labels))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_model.data.fold.inner_validation", count)
        set_aside(replace(fold, train=both), 0.3, 0)
    shown = fold.train.assign(person=people_of(fold.train)).drop_duplicates(["person", "sequence"]).groupby("person")["expression"]
    assert {who: sorted(some) for who, some in counted.items()} == {who: sorted([*some, *["neutral"] * len(some)]) for who, some in shown}


def test_setting_aside_needs_somebody_and_leaves_two(write_tiny, tmp_path):
    """Three people to train on can spare one; of two, neither."""
    three = read_prepared(write_tiny(tmp_path / "three", people=4, folds=4)).fold(0)
    assert len(set_aside(three, 0.3, 0).identities) == 2
    two = read_prepared(write_tiny(tmp_path / "two", people=3)).fold(0)
    with pytest.raises((FoldError, DatasetError), match=r"at least 2 must stay in training, 1 would|is the only one to show"):
        set_aside(two, 0.3, 0)


def test_a_stage_ends_with_the_weights_of_its_best_step(tiny_prepared, tmp_path, monkeypatch):
    """Scripted answers: 4, 6, 6, 5, 6 of 6 right, a look every second tick of two steps and at the end. Seen red, each: the last
    weights written; a look at each tick; none at the end."""
    config = choosing(validation_every=2)
    config = replace(config, cnn=replace(config.cnn, kimg=0.144))                # 18 steps: looks after 4, 8, 12, 16 and 18
    fold = read_prepared(tiny_prepared).fold_of(config)
    views, validation = (open_views(tiny_prepared, rows) for rows in (fold.train, fold.validation))
    stage = CnnStage(StageInputs(resolve_budgets(config, len(fold.train)), fold, views, CPU, validation))
    labels, script, after, looks = fold.validation_labels(CPU), [4, 6, 6, 5, 6], [], []

    def answers(asked):
        assert asked is validation
        wrong = torch.arange(len(labels)) >= script[len(looks)]
        looks.append(len(after))
        return nn.functional.one_hot((labels + wrong) % 3, 3)

    monkeypatch.setattr(stage, "predict", answers)
    journal = Journal(tmp_path / "log.jsonl", quiet)
    weights = stage.learner.network.state_dict()
    finished(run_stage(stage, tmp_path, journal, hook=lambda *_: after.append({k: v.clone() for k, v in weights.items()})))
    assert looks == [4, 8, 12, 16, 18] and len(labels) == 6
    chosen = stage.weights()
    assert all(torch.equal(chosen[f"cnn/{name}"], tensor) for name, tensor in after[7].items())
    assert any(not torch.equal(chosen[f"cnn/{name}"], tensor) for name, tensor in after[-1].items())
    last = [line for line in journal.lines if "best_step" in line][-1]
    assert (last["best_step"], last["best_validation_accuracy"], last["validation_accuracy"]) == (8, 1.0, 1.0)


@pytest.fixture(scope="module")
def chosen(tiny_prepared, tmp_path_factory):
    """Complete runs that chose by validation, never stopped, by method."""
    runs = {method: tmp_path_factory.mktemp("chosen") / method for method in ("degan", "cnn")}
    for method, run in runs.items():
        train(Job(tiny_prepared, run, choosing(method)), "cpu", say=quiet)
    return runs


@pytest.mark.parametrize(("method", "stage", "step"), [("degan", "head", 5), ("cnn", "cnn", 11), ("cnn", "cnn", 15)])
def test_a_run_that_chooses_resumes_to_the_same_choice(chosen, tiny_prepared, tmp_path, method, stage, step):
    """Seen red, each: the best weights not in the checkpoint; what they had right not in it."""
    run, config = tmp_path / "run", choosing(method)
    with pytest.raises(Stop):
        train(Job(tiny_prepared, run, config), "cpu", say=quiet, hook=stop_at(stage, step), save_every_s=0)
    train(Job(tiny_prepared, run, config), "cpu", say=quiet, save_every_s=0)
    assert same_tensors(run / f"{stage}.safetensors", chosen[method] / f"{stage}.safetensors")
    assert ticks_of(run) == ticks_of(chosen[method])
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (run, chosen[method]))
    assert ours["stages"][stage]["chosen_step"] == theirs["stages"][stage]["chosen_step"] and ours["rules"] == theirs["rules"]
    assert (run / "predictions.csv").read_bytes() == (chosen[method] / "predictions.csv").read_bytes()


def test_the_result_names_the_rule_and_the_step(chosen, tiny_prepared):
    for method, stage in (("degan", "head"), ("cnn", "cnn")):
        result = json.loads((chosen[method] / "result.json").read_text())
        fold = read_prepared(tiny_prepared).fold_of(choosing(method))
        people = len(set(people_of(fold.validation)))
        assert re.match(rf"the best on {len(fold.validation)} faces of {people} training people set aside", result["rules"]["epoch"])
        ticks = [tick for tick in ticks_of(chosen[method]) if tick["stage"] == stage]
        accuracies = {tick["step"]: tick["validation_accuracy"] for tick in ticks}
        best = max(accuracies.values())
        step = min(step for step, value in accuracies.items() if value == best)
        found = result["stages"][stage]
        assert (found["chosen_step"], found["validation_accuracy"]) == (step, best) and result["name"] == f"{method}-validation"
        content = json.loads((chosen[method] / "config.json").read_text())
        assert content["n_validation"] == len(fold.validation) and len(content["validation_people"]) == people
        assert not set(content["validation_people"]) & set(content["identities"])


def test_the_svm_has_no_steps_to_choose_from_and_the_command_chooses(tiny_prepared, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="selection is validation; f-svm has no steps to choose from, so it must be last"):
        with_head(choosing("degan"), "f-svm")
    monkeypatch.chdir(tmp_path)
    words = ["train", "--data", str(tiny_prepared), "--fold", "1", "--preset", "smoke", "--method", "cnn", "--selection", "validation"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and "more people set aside to choose the weights by" in done.output, done.output
    assert (tmp_path / "runs" / "tiny-cnn-validation-smoke-fold1" / "result.json").is_file()


def loud(config):
    """Return the configuration with weights that let a frozen encoder see something after eight steps."""
    return replace(config, network=replace(config.network, init_std=0.2))


WAYS = [loud(config) for config in (
    preset("smoke", fold=1), preset("smoke", method="cnn", fold=1), choosing(), with_head(choosing("degan"), "taps"),
    with_head(preset("smoke", fold=1), "f-mlp"), with_head(preset("smoke", fold=1), "f-svm"),
)]


@pytest.fixture(scope="module")
def noisy(tiny_prepared, tmp_path_factory):
    """The same prepared folder; the faces of test fold 1 are noise."""
    out = tmp_path_factory.mktemp("noise") / "prepared"
    shutil.copytree(tiny_prepared, out)
    rows = fer_data.read_manifest(out)
    rng = np.random.default_rng(0)
    for _, row in rows[rows["fold"] == 1].iterrows():
        with h5py.File(out / "shards" / row["shard"], "r+") as file:
            file["faces"][row["row"]] = rng.integers(0, 256, (132, 132), dtype=np.uint8)
    shards = {path.name: sha256_of_file(path) for path in (out / "shards").glob("*.h5")}          # as if they had been prepared so
    (out / "settings.json").write_bytes(sealed_json(read_settings(out) | {"shards": shards}))
    return out


@pytest.fixture(scope="module")
def stage_1(tiny_prepared, noisy, tmp_path_factory):
    """The runs of the first way, on both folders: whose stage 1 others may take."""
    root = tmp_path_factory.mktemp("stage_1")
    for data, run in ((tiny_prepared, "clean"), (noisy, "noise")):
        train(Job(data, root / run, WAYS[0]), "cpu", say=quiet)
    return root


@pytest.mark.parametrize("config", WAYS, ids=lambda config: config.name)
def test_noise_in_the_place_of_the_test_people_changes_no_weight(tiny_prepared, noisy, stage_1, tmp_path, config):
    """Every tensor of every stage is the same bits; what is predicted differs. Seen red: training on all rows of the manifest."""
    if config == WAYS[0]:
        tmp_path = stage_1
    else:
        taken = config.method == "degan" and config.selection == WAYS[0].selection
        for data, run in ((tiny_prepared, "clean"), (noisy, "noise")):
            train(Job(data, tmp_path / run, config, gan=stage_1 / run if taken else None), "cpu", say=quiet)
    files = sorted(path.name for path in (tmp_path / "clean").glob("*.safetensors"))
    assert {f"{stage}.safetensors" for stage in config.stages} <= set(files)
    assert all(same_tensors(tmp_path / "clean" / name, tmp_path / "noise" / name) for name in files)
    assert ticks_of(tmp_path / "clean") == ticks_of(tmp_path / "noise")
    clean, noise = (pd.read_csv(tmp_path / run / "predictions.csv").filter(like="p_") for run in ("clean", "noise"))
    assert (np.abs(clean - noise).to_numpy().max(1) > 0).all()


def test_noise_in_the_place_of_a_training_person_changes_weights(tiny_prepared, noisy, tmp_path):
    """The test above can fail: fold 0 trains on the people of fold 1."""
    config = preset("smoke", method="cnn", fold=0)
    for data, run in ((tiny_prepared, tmp_path / "clean"), (noisy, tmp_path / "noise")):
        train(Job(data, run, config), "cpu", say=quiet)
    assert not same_tensors(tmp_path / "clean" / "cnn.safetensors", tmp_path / "noise" / "cnn.safetensors")


def test_the_test_side_opens_after_training_only(tiny_prepared):
    """Seen red: without the check."""
    done, fold = [], read_prepared(tiny_prepared).fold(1)
    reader = FoldReader(tiny_prepared, fold, CPU, lambda: bool(done))
    assert reader.train().n_faces == 24 and reader.validation() is None
    with pytest.raises(RunError, match=r"opening test fold 1 of .*: a stage is not complete"):
        reader.test()
    done.append(True)
    assert reader.test().n_faces == 12


@pytest.mark.parametrize("config", [WAYS[0], choosing()], ids=lambda config: config.name)
def test_nothing_opens_a_test_face_before_the_last_stage_is_complete(tiny_prepared, tmp_path, monkeypatch, config):
    """Whichever module of the project asks, resumed or not. Seen red: the test faces opened at the start of train."""
    run, test, opened = tmp_path / "run", set(read_prepared(tiny_prepared).fold(1).test["image_id"]), []

    def watched(data, rows, device="cpu"):
        if test & set(rows["image_id"]):
            assert all((run / f"{stage}.safetensors").is_file() for stage in config.stages), "a test face was opened in training"
            opened.append(len(rows))
        return open_views(data, rows, device)

    for name, module in list(sys.modules.items()):
        if name.startswith("fer_model") and hasattr(module, "open_views"):
            monkeypatch.setattr(module, "open_views", watched)
    with pytest.raises(Stop):
        train(Job(tiny_prepared, run, config), "cpu", say=quiet, hook=stop_at(config.stages[-1], 3), save_every_s=0)
    assert not opened
    train(Job(tiny_prepared, run, config), "cpu", say=quiet)
    assert opened == [12], "once"
    assert checkpoint.latest(run / "checkpoints", config.stages[-1]) is None
