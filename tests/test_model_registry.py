"""A further stage is a class and an entry: train, plan and load_run know no more of a stage than its entry says."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer_data.store.loader import open_views
from fer_model.config import preset
from fer_model.data.fold import read_prepared
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.errors import ConfigError
from fer_model.job import Job
from fer_model.networks import build
from fer_model.plan import plan
from fer_model.runs.trained import load_run
from fer_model.stages.classifier import ClassifierStage
from fer_model.stages.registry import STAGES, StageEntry, refuse_uneven, with_helpers
from fer_model.train import train


class Linear(nn.Module):
    """Logits of the picture's 64 means."""

    def __init__(self, n_classes):
        super().__init__()
        self.fc = nn.Linear(64, n_classes)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(x.mean(1, keepdim=True), 8).flatten(1))


class LinearStage(ClassifierStage):
    """In place of the baseline, on its budget."""

    name = "cnn"

    def __init__(self, inputs):
        super().__init__(inputs)
        network = build(lambda: Linear(len(inputs.fold.classes)), inputs.device, 0.02, stream(inputs.config.seed, "init/linear"))
        self.learners = {"cnn": Learner(network, self.config, self.steps)}
        self._keep_weights()

    def losses(self, drawn):
        batch = self.batch(drawn)
        return {"cnn": F.cross_entropy(self.learner.network(batch.x), batch.expression)}


class Onlooker:
    """A watcher that says when it looked, and leaves a file at the end."""

    def __init__(self, run):
        self.run = run

    def on_tick(self, stage, step):
        return {"looked": step}

    def on_end(self, stage):
        (self.run / "end.txt").write_text(stage.name)


@pytest.fixture
def linear(monkeypatch):
    entry = StageEntry(LinearStage, {"cnn": lambda config, n_e, n_i: Linear(n_e)}, watchers=lambda inputs, run: (Onlooker(run),))
    monkeypatch.setitem(STAGES, "cnn", entry)


def test_another_network_is_trained_watched_predicted_with_and_loaded(linear, tiny_prepared, tmp_path):
    """Seen red, each: the watchers not passed to run_stage; on_end not called; load_run with a table of its own."""
    job = Job(tiny_prepared, tmp_path / "run", preset("smoke", method="cnn", fold=1))
    assert [stage.name for stage in plan(job, "cpu").stages] == ["cnn"]
    assert train(job, "cpu", say=lambda _: None).evaluation.n_images == 12
    ticks = [line for line in map(json.loads, (job.run / "log.jsonl").read_text().splitlines()) if line["event"] == "tick"]
    assert [tick["looked"] for tick in ticks] == list(range(2, 17, 2)) and (job.run / "end.txt").read_text() == "cnn"
    trained = load_run(job.run, "cpu")
    assert type(trained.networks["cnn"]) is Linear
    found = trained.probabilities(open_views(tiny_prepared, read_prepared(tiny_prepared).fold(1).test))
    predicted = pd.read_csv(job.run / "predictions.csv").filter(like="p_").to_numpy()
    assert found.numpy() == pytest.approx(predicted, abs=1e-6) and torch.is_tensor(found)


@pytest.mark.parametrize(("method", "changes", "taken", "says"), [
    ("cnn", {"cnn": {"batch": 9}}, (), r"4 processes cannot share cnn\.batch 9; set it to a multiple of 4"),
    ("cnn", {"cnn": {"batch": 12, "mixup": 0.4}}, (), r"cnn\.batch 12 in parts of whole pairs; set it to a multiple of 8"),
    ("degan", {"judges": {"batch": 6}}, (), r"judges\.batch 6; set it to a multiple of 4"),
    ("degan", {"judges": {"batch": 6}, "gan": {"batch": 6}}, ("gan",), None),
    ("deae", {}, (), r"ae\.batch 8 in parts of whole fours; set it to a multiple of 16"),
    ("iacnn", {}, (), r"iacnn\.batch 8 in parts of whole fours; set it to a multiple of 16"),
    ("cnn", {}, (), None),
])
def test_several_processes_share_batches_in_whole_parts(method, changes, taken, says):
    """With two samples each of DE-AE, one process had none with a target: its loss was not a number; IACNN's pairs were torn.

    Seen red: whole pairs and fours not looked at; a stage that is taken over refused.
    """
    config = preset("smoke", method=method)
    config = replace(config, **{name: replace(getattr(config, name), **inner) for name, inner in changes.items()})
    refuse_uneven(config, taken, 1)
    with pytest.raises(ConfigError, match=says) if says else nullcontext():
        refuse_uneven(config, taken, 4)


def test_helpers_train_before_their_stage_and_not_for_one_that_is_taken_over():
    assert with_helpers(("gan", "head")) == ["judges", "gan", "head"]
    assert with_helpers(("gan", "head"), {"gan"}) == ["gan", "head"] and with_helpers(("cnn",)) == ["cnn"]
