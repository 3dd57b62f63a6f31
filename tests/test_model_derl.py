"""DeRL: which neutral face goes with which face, what a head sees of G's layers, and that a run of it is used like any other."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import FoldReader, people_of, read_prepared, set_aside
from fer_model.engine import checkpoint
from fer_model.engine.randomness import stream
from fer_model.errors import ConfigError
from fer_model.job import Job
from fer_model.networks import Head, NeutralGenerator, build
from fer_model.plan import plan
from fer_model.probe.features import samples_of
from fer_model.runs.methods import gather
from fer_model.runs.predictions import read_predictions
from fer_model.runs.trained import load_run
from fer_model.stages.inputs import StageInputs
from fer_model.stages.neutral import NeutralStage
from fer_model.train import train
from fer_model.use.export import TOLERANCE, export
from tests.commands import call
from tests.configs import with_head
from tests.stepping import do

CPU = torch.device("cpu")
SMOKE = preset("smoke", method="derl", fold=1)


@pytest.fixture(scope="module")
def data(write_tiny, tmp_path_factory):
    """6 people in 3 folds with 2 expressions and two neutral sequences of one frame each."""
    shown = ("anger", "surprise", "neutral", "neutral")
    return write_tiny(tmp_path_factory.mktemp("neutral") / "prepared", expressions=shown, reference=("neutral",), frames=1)


def stage_of(data, fold, **changes):
    """Return stage 1, fresh."""
    config = resolve_budgets(SMOKE, len(fold.train))
    reader = FoldReader(data, fold, CPU, lambda: False)
    config = replace(config, neutral=replace(config.neutral, **changes))
    return NeutralStage(StageInputs(config, fold, reader.train(), CPU, neutral=reader.neutral()))


def test_a_face_goes_with_a_neutral_face_of_its_person(data):
    """Of its own sequence, else the first; nobody of the test fold or of those who are set aside has one here; a sequence that is tested
    gives none. Seen red, each: people of the test fold; the last one; a tested sequence."""
    fold = read_prepared(data).fold(1)
    rows, goes_with = fold.neutral()
    assert set(people_of(rows)) == set(fold.identities) and len(rows) == 8 and (rows["expression"] == "neutral").all()
    found = rows.iloc[goes_with.numpy()]
    assert (people_of(found).to_numpy() == people_of(fold.train).to_numpy()).all() and (found["sequence"] == "003").all()
    assert "003" not in set(replace(fold, test=rows[rows["sequence"] == "003"]).neutral()[0]["sequence"])
    own = replace(fold, train=fold.train.assign(sequence="004"))
    assert (own.neutral()[0].iloc[own.neutral()[1].numpy()]["sequence"] == "004").all()
    nobody = replace(fold, references=fold.references[people_of(fold.references) != fold.identities[0]])
    assert (nobody.neutral()[1].numpy() < 0).tolist() == (people_of(fold.train) == fold.identities[0]).tolist()
    aside = set_aside(fold, 0.3, 0)
    assert set(people_of(aside.neutral()[0])) == set(aside.identities) < set(fold.identities)


def test_both_faces_of_a_pair_are_in_the_same_view(data):
    """Seen red: views of another batch; the first neutral face for all."""
    fold = read_prepared(data).fold(1)
    stage = stage_of(data, fold)
    (x, neutral), (faces, k) = stage.pairs(stage.row(3)), stage.batches.at(3)
    rows = fold.neutral()[0].iloc[fold.neutral()[1][faces].numpy()]
    expected = open_views(data, rows).batch(torch.arange(8), k)
    assert torch.equal(torch.nn.functional.avg_pool2d(expected, 2), neutral) and not torch.equal(x, neutral)


def test_a_head_sees_layers_of_the_same_size_from_both_sides():
    """The residue, and what it leaves out: the layers behind the last one. Seen red: the decoder's layer of another scale; the taps in the
    decoder's order."""
    network = SMOKE.network
    made = build(lambda: NeutralGenerator(network), CPU, 0.2, stream(0, "g")).eval()
    names = ("conv33", "conv12", "conv52")
    x = torch.rand(2, 1, 48, 48) * 2 - 1
    f, taps = made.with_taps(x, names)
    assert [(tap.shape[1], tap.shape[2]) for tap in taps] == [made.sizes[name] for name in names]
    encoded, own = made.encoder.with_taps(x, names)
    layers = dict(made.decoder.outputs(f, *made._nothing(x)))
    for tap, mine, name in zip(taps, own, names, strict=True):
        assert torch.equal(tap, torch.cat([mine, layers[f"f{name}"]], 1)) and torch.equal(f, encoded)
    assert torch.equal(made(x), layers["fconv11"].float()) and "conv53" not in made.sizes
    with pytest.raises(ConfigError, match="conv53"):
        Head(network, replace(SMOKE.head, taps=("conv12", "conv23", "conv33", "conv53")), 3, NeutralGenerator)


def test_g_comes_nearer_to_neutral(data):
    """Seen red: no pixel term."""
    stage = stage_of(data, read_prepared(data).fold(1), lr=3e-3, average_half_kimg=0.05)
    losses = [do(stage, step) for step in range(40)]
    first, last = (float(sum(one["G_pixels"] for one in part)) for part in (losses[:5], losses[-5:]))
    assert last < 0.75 * first


class _Stop(Exception):
    """Raised where a run is to be stopped."""


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A complete run with an average of G, which the head moves further."""
    job = Job(data, tmp_path_factory.mktemp("derl") / "run", _config())
    train(job, "cpu", say=lambda _: None)
    return job.run


def test_a_run_is_exported_for_every_batch(run, tmp_path):
    """Seen red: the graph took batches of 2 alone."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    assert export(run, out=tmp_path / "a.onnx").difference < TOLERANCE


def _config():
    averaged = replace(SMOKE.neutral, average_half_kimg=0.02)
    return replace(SMOKE, network=replace(SMOKE.network, init_std=0.1), neutral=averaged, head=replace(SMOKE.head, encoder_lr=1e-4))


@pytest.mark.parametrize(("stage", "step"), [("neutral", 5), ("head", 4)])
def test_a_run_that_was_stopped_ends_in_the_same_bits(run, data, tmp_path, stage, step):
    def hook(name, index, steps):
        if (name, index) == (stage, step):
            raise _Stop

    job = Job(data, tmp_path / "run", _config())
    with pytest.raises(_Stop):
        train(job, "cpu", say=lambda _: None, hook=hook, save_every_s=0)
    train(job, "cpu", say=lambda _: None, save_every_s=0)
    for name in ("neutral.safetensors", "head.safetensors"):
        expected, got = (checkpoint.read_tensors(one / name) for one in (run, job.run))
        assert expected.keys() == got.keys() and all(torch.equal(expected[key], got[key]) for key in expected)
    assert (run / "predictions.csv").read_bytes() == (job.run / "predictions.csv").read_bytes()


def test_a_run_is_used_like_any_other(run, data, tmp_path):
    """Its files predict; f(x) and the residue are probed; G goes with the exported weights."""
    assert [method.label for method in gather([run])] == ["DeRL, encoder_lr 1e-4"]
    trained, rows = load_run(run, "cpu"), read_prepared(data).fold(1).test
    found = read_predictions(run / "predictions.csv").filter(like="p_").to_numpy()
    np.testing.assert_allclose(trained.probabilities(open_views(data, rows)).numpy(), found, atol=1e-6)
    features = samples_of(trained, None)[0].features
    assert features["f(x)"].shape[1] == 16 and features["conv23"].shape[1] == 9 * trained.networks["encoder"].sizes["conv23"][0]
    assert "model.safetensors" in call("export", run, "--format", "safetensors", "-o", tmp_path / "model.safetensors")
    assert json.loads((run / "result.json").read_text())["stages"].keys() == {"neutral", "head"}


def test_where_there_is_no_neutral_face_it_says_so(tiny_prepared, tmp_path):
    """Seen red: the refusal away."""
    for more in ((), ("--dry-run",)):
        said = call("train", "--method", "derl", "--data", tiny_prepared, "--fold", 1, "--run", tmp_path / "r", *more, code=1)
        assert "each training person's neutral face, and there is none" in said and "--neutral reference" in said
    assert not list(tmp_path.iterdir())


def test_faces_without_a_neutral_one_are_counted(data):
    """Seen red: no count."""
    fold = read_prepared(data).fold(1)
    fewer = replace(fold, references=fold.references[people_of(fold.references) != fold.identities[0]])
    stage = stage_of(data, fewer)
    assert stage.review(1) == {"faces_without_neutral": 2} and stage_of(data, fold).review(1) == {}
    assert not any(name.startswith(fold.identities[0]) for step in range(20) for name in stage.samples(step))


@pytest.mark.parametrize("config", [
    with_head(replace(SMOKE, network=replace(SMOKE.network, init_std=0.1)), "f-svm"),
    replace(SMOKE, network=replace(SMOKE.network, init_std=0.1, residual=True)),
], ids=["f-svm", "residual"])
def test_other_heads_and_networks_are_trained_to_their_end(config, data, tmp_path):
    """And planned, and loaded. Seen red: behind stage 1 "Found array with dim 4", faces given to the SVM for f(x); in the first step
    "expected input to have 1 channels, but got 2", shortcuts of D, which sees two faces."""
    assert [stage.name for stage in plan(Job(data, tmp_path / "r", config), "cpu").stages] == ["neutral", "head"]
    train(Job(data, tmp_path / "r", config), "cpu", say=lambda _: None)
    trained, rows = load_run(tmp_path / "r", "cpu"), read_prepared(data).fold(1).test
    found = read_predictions(tmp_path / "r" / "predictions.csv").filter(like="p_").to_numpy()
    np.testing.assert_allclose(trained.probabilities(open_views(data, rows)).numpy(), found, atol=1e-6)
