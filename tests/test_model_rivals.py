"""Rivals of the method, as fields of the baseline: several CNNs averaged. Each by hand, and off as if it were not there."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.job import Job
from fer_model.probe.features import samples_of
from fer_model.runs.methods import gather
from fer_model.runs.predictions import read_predictions
from fer_model.runs.trained import load_run
from fer_model.stages.cnn import CnnStage
from fer_model.stages.inputs import StageInputs
from fer_model.train import train
from tests.commands import call

CPU = torch.device("cpu")


@pytest.fixture
def fold(tiny_prepared):
    return read_prepared(tiny_prepared).fold(0)


def stage_of(fold, data, **changes):
    """Return the baseline's stage, fresh."""
    config = resolve_budgets(preset("smoke", method="cnn"), len(fold.train))
    return CnnStage(StageInputs(replace(config, cnn=replace(config.cnn, **changes)), fold, open_views(data, fold.train), CPU))


# --- several CNNs averaged


def test_the_first_member_is_the_baseline_and_the_others_are_their_own(fold, tiny_prepared):
    """Bit for bit after eight steps with all that is random. Seen red: the mean of the losses in place of their sum."""
    random = {"dropout": 0.5, "stronger_views": 0.5, "mixup": 0.4, "average_half_kimg": 0.02}
    alone, three = stage_of(fold, tiny_prepared, **random), stage_of(fold, tiny_prepared, members=3, **random)
    for step in range(8):
        alone.step(step)
        three.step(step)
    mine, members = alone.weights(), three.weights()
    for name, tensor in mine.items():
        rest = name.removeprefix("cnn/")
        assert torch.equal(members[f"cnn/members.0.{rest}"], tensor), name
    weight = "layers.0.0.weight"
    assert not torch.equal(members[f"cnn/members.1.{weight}"], members[f"cnn/members.2.{weight}"])
    assert len(three.samples(0)) == 24 and three.samples(0)[:8] == alone.samples(0)


def test_each_member_has_its_own_batches_views_mixtures_and_dropout(fold, tiny_prepared):
    """One source of randomness at a time. Seen red, each: shared by all members."""
    for changes in ({}, {"stronger_views": 0.5}, {"mixup": 0.4}):
        stage = stage_of(fold, tiny_prepared, members=2, **changes)
        if changes:
            stage.batches[1] = stage.batches[0]
        first, second = stage.drawn(5, 0), stage.drawn(5, 1)
        assert not torch.equal(first.x, second.x), changes
        assert not torch.equal(*(torch.rand(9, generator=drawn.dropout) for drawn in (first, second)))


def test_members_answer_with_the_mean_of_their_probabilities(fold, tiny_prepared):
    """In numpy. Seen red: the mean of the logits; the first member alone."""
    stage = stage_of(fold, tiny_prepared, members=3, lr=0.01)
    for step in range(8):
        stage.step(step)
    stage.used.eval()
    x = torch.rand(6, 1, 48, 48) * 2 - 1
    each = [member(x).detach().double().softmax(1).numpy() for member in stage.used["cnn"].members]
    assert np.ptp(each, axis=0).max() > 0.01
    np.testing.assert_allclose(stage.logits(x).softmax(1).detach().numpy(), np.mean(each, axis=0), atol=1e-6)


def test_a_run_of_several_members_is_used_like_any_other(tiny_prepared, tmp_path):
    """Its budget is told, its file predicts, its hidden layers are probed. Seen red: `84 kimg`; the images of one member counted."""
    words = ("train", "--method", "cnn", "--data", tiny_prepared, "--fold", 1, "--preset", "smoke", "--set", "cnn.members=3")
    assert "cnn: 16 steps of 8 images (3 x 0.128 kimg;" in call(*words, "--dry-run", "--run", tmp_path / "run")
    said = call(*words, "--run", tmp_path / "run")
    assert "preset smoke, 3 x 0.128 kimg, " in said
    result = json.loads((tmp_path / "run" / "result.json").read_text())["stages"]["cnn"]
    assert (result["kimg"], result["steps"]) == (0.384, 16)
    train(Job(tiny_prepared, tmp_path / "one", preset("smoke", method="cnn", fold=1)), "cpu", say=lambda _: None)
    assert [method.label for method in gather([tmp_path / "one", tmp_path / "run"])] == ["CNN (baseline)", "3 CNNs averaged"]
    trained, rows = load_run(tmp_path / "run", "cpu"), read_prepared(tiny_prepared).fold(1).test
    found = read_predictions(tmp_path / "run" / "predictions.csv").filter(like="p_").to_numpy()
    np.testing.assert_allclose(trained.probabilities(open_views(tiny_prepared, rows)).numpy(), found, atol=1e-6)
    assert samples_of(trained, None)[0].features["cnn"].shape[1] == 3 * 16


def test_several_members_are_exported_as_one_graph(tiny_prepared, tmp_path):
    """Seen red: a forward that branches on its values."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    config = preset("smoke", method="cnn", fold=1)
    network, cnn = replace(config.network, init_std=0.2), replace(config.cnn, members=2, kimg=0.016)
    train(Job(tiny_prepared, tmp_path / "run", replace(config, network=network, cnn=cnn)), "cpu", say=lambda _: None)
    assert "differs from torch by at most" in call("export", tmp_path / "run")
    assert "model.safetensors" in call("export", tmp_path / "run", "--format", "safetensors")
