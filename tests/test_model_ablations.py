"""Ablations of the head: what each variant looks at, the SVM against scikit-learn, and stage 1 shared between runs."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy.special import softmax
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from cli.fer_model import main
from fer_data.faces.views import N_VIEWS, view_of
from fer_data.store.loader import open_views
from fer_model.config import HEADS, preset, resolve_budgets, step_images, steps_of, with_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint
from fer_model.engine.randomness import stream
from fer_model.errors import ConfigError, RunError
from fer_model.job import Job, default_run
from fer_model.networks import Encoder, Head, LinearSvm, MlpHead, Trunk, build, make_head
from fer_model.plan import plan
from fer_model.runs.fold_runs import find_runs
from fer_model.runs.folder import code_version
from fer_model.runs.taken_over import read_gan
from fer_model.runs.trained import load_run
from fer_model.stages.inputs import StageInputs
from fer_model.stages.svm import SvmStage, fit_linear_svm
from fer_model.train import train
from tests.configs import with_head
from tests.test_model_engine import Stop, quiet, stop_at

CPU = torch.device("cpu")
SMOKE = preset("smoke", fold=1)
# With weights as small as the paper's a frozen encoder sees next to nothing after eight steps: every face is predicted alike.
SMOKE = replace(SMOKE, network=replace(SMOKE.network, init_std=0.2))


def same_tensors(one: Path, two: Path) -> bool:
    """Compare two files of tensors bit by bit."""
    a, b = checkpoint.read_tensors(one), checkpoint.read_tensors(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tiny_prepared, tmp_path_factory):
    """A complete run of the paper's method."""
    run = tmp_path_factory.mktemp("whole") / "degan"
    train(Job(tiny_prepared, run, SMOKE), "cpu", say=quiet)
    return run


@pytest.fixture(scope="module")
def ablated(tiny_prepared, whole, tmp_path_factory):
    """Complete runs of the other heads on its stage 1, by variant."""
    runs = {variant: tmp_path_factory.mktemp("ablated") / variant for variant in HEADS[1:]}
    for variant, run in runs.items():
        train(Job(tiny_prepared, run, with_head(SMOKE, variant), gan=whole), "cpu", say=quiet)
    return runs


@pytest.mark.parametrize(("variant", "sees_f", "sees_taps"), [("both", 1, 1), ("taps", 0, 1), ("f-mlp", 1, 0)])
def test_the_prediction_looks_at_what_the_variant_says(variant, sees_f, sees_taps):
    """By gradients. Seen red: variant taps with f(x) in the concatenation."""
    net, config = SMOKE.network, replace(SMOKE.head, variant=variant)
    head = build(lambda: make_head(net, config, 3), CPU, 0.1, stream(0, "head"))
    with torch.device("meta"):
        sizes = Trunk(net).sizes
    f = torch.randn(4, net.representation, generator=stream(0, "f")).requires_grad_()
    taps = [torch.randn(4, sizes[n][0], sizes[n][1], sizes[n][1], generator=stream(0, n)).requires_grad_() for n in config.taps]
    logits = head(f, taps if config.taps_used else ())
    logits[-1].square().sum().backward()
    assert (f.grad is not None and f.grad.abs().sum() > 0) == bool(sees_f)
    assert all((tap.grad is not None and tap.grad.abs().sum() > 0) == bool(sees_taps) for tap in taps)
    assert len(logits) == (5 if sees_taps else 1) and len(config.taps_used) == 4 * sees_taps


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_the_svm_is_scikit_learns_on_standardised_representations(n_classes):
    """The same margins as StandardScaler + LinearSVC. Seen red: the standardisation left out; of two classes the rows swapped."""
    rng = np.random.default_rng(n_classes)
    labels = rng.integers(0, n_classes, 200)
    f = (rng.normal(size=(200, 6)) * [1, 5, 0.1, 1, 1, 0] + np.outer(labels, [1, -2, 0.1, 0, 0, 0]) + 3).astype(np.float32)
    svm = LinearSvm(replace(SMOKE.network, representation=6), n_classes)
    svm.load_state_dict({name: torch.from_numpy(a) for name, a in fit_linear_svm(f, labels, n_classes, c=0.5).items()})
    reference = make_pipeline(StandardScaler(), LinearSVC(C=0.5, dual=False)).fit(f.astype(np.float64), labels)
    margins = reference.decision_function(f.astype(np.float64))
    if n_classes == 2:
        margins = np.stack([-margins, margins], 1)
    found = svm(torch.from_numpy(f))[-1].numpy()
    assert found == pytest.approx(margins, abs=1e-4)
    assert (found.argmax(1) == reference.predict(f.astype(np.float64))).all()


def test_a_class_without_a_training_face_is_never_predicted():
    """Probability 0, not NaN. Seen red: a bias of 0 for it."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 2, 3], 60)
    f = rng.normal(size=(60, 4)).astype(np.float32)
    fitted = {name: torch.from_numpy(a) for name, a in fit_linear_svm(f, labels, 4, 1.0).items()}
    svm = LinearSvm(replace(SMOKE.network, representation=4), 4)
    svm.load_state_dict(fitted)
    share = svm(torch.from_numpy(f))[-1].softmax(1)
    assert (share[:, 1] == 0).all() and share.sum(1).allclose(torch.ones(60)) and (share.argmax(1) != 1).all()


def test_an_svm_that_does_not_converge_is_one_sentence(monkeypatch):
    monkeypatch.setattr("fer_model.stages.svm.MAX_ITERATIONS", 1)
    f = np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)
    with pytest.raises(RunError, match=r"it did not converge in 1 iterations; choose head\.svm_c smaller than 100"):
        fit_linear_svm(f, np.arange(60) % 3, 3, 100)


def test_the_svm_sees_the_views_that_its_config_names_once_each(tiny_prepared):
    """Ten: unrotated crops and their mirrors. Seen red: all 110."""
    fold = read_prepared(tiny_prepared).fold(1)
    encoder = build(lambda: Encoder(SMOKE.network), CPU, 0.2, stream(0, "encoder"))
    config = resolve_budgets(with_head(SMOKE, "f-svm"), len(fold.train))
    inputs = StageInputs(config, fold, open_views(tiny_prepared, fold.train), CPU, trained={"gan": {"encoder": encoder}})
    samples = SvmStage(inputs).samples(0)
    upright = [k for k in range(N_VIEWS) if view_of(k).angle_deg == 0]
    assert len(upright) == 10 and sorted(samples) == sorted(f"{name}#{k}" for name in fold.train["image_id"] for k in upright)


def test_the_svms_budget_follows_from_its_views():
    config = resolve_budgets(with_head(SMOKE, "f-svm"), 24)
    assert (config.head.kimg, step_images(config.head), steps_of(config.head)) == (0.24, 240, 1)
    assert resolve_budgets(with_budgets(config, head=99), 24) == config, "the SVM's budget follows from its views alone"


def test_the_svm_is_stored_as_plain_tensors_and_its_probabilities_are_named(ablated, tiny_prepared):
    run = ablated["f-svm"]
    tensors = checkpoint.read_tensors(run / "head.safetensors")
    n_f = SMOKE.network.representation
    assert {name: tuple(t.shape) for name, t in tensors.items() if name.startswith("head/")} == {
        "head/weight": (3, n_f), "head/bias": (3,), "head/mean": (n_f,), "head/scale": (n_f,),
    }
    trained, fold = load_run(run, "cpu"), read_prepared(tiny_prepared).fold(1)
    views = open_views(tiny_prepared, fold.test)
    x = views.batch(torch.arange(views.n_faces), torch.zeros(views.n_faces, dtype=torch.int64))
    f = trained.networks["encoder"](torch.nn.functional.avg_pool2d(x, 2)).numpy()
    svm = {name: tensors[f"head/{name}"].numpy() for name in ("weight", "bias", "mean", "scale")}
    margins = (f - svm["mean"]) / svm["scale"] @ svm["weight"].T + svm["bias"]
    predicted = pd.read_csv(run / "predictions.csv").filter(like="p_").to_numpy()
    assert predicted == pytest.approx(softmax(margins, axis=1), abs=1e-4)
    rules = json.loads((run / "result.json").read_text())["rules"]
    assert rules["probability"].startswith("softmax of a linear SVM's margins")


@pytest.mark.parametrize("variant", HEADS)
def test_a_loaded_run_predicts_what_training_predicted(variant, whole, ablated, tiny_prepared):
    """Seen red: all four taps given to variant taps in another order."""
    run = ablated.get(variant, whole)
    trained = load_run(run, "cpu")
    found = trained.probabilities(open_views(tiny_prepared, read_prepared(tiny_prepared).fold(1).test))
    predicted = pd.read_csv(run / "predictions.csv").filter(like="p_").to_numpy()
    assert found.numpy() == pytest.approx(predicted, abs=1e-6)
    kinds = {"both": Head, "taps": Head, "f-mlp": MlpHead, "f-svm": LinearSvm}
    assert type(trained.networks["head"]) is kinds[variant]


@pytest.mark.parametrize(("variant", "step"), [("taps", 5), ("f-mlp", 3), ("f-svm", 0)])
def test_an_ablation_that_was_stopped_ends_in_the_same_bits(variant, step, ablated, whole, tiny_prepared, tmp_path):
    """Stage 1 is copied, not trained. Seen red: the SVM's tensors not among the stage's buffers (a checkpoint after step 1)."""
    run, config = tmp_path / "r", with_head(SMOKE, variant)
    with pytest.raises(Stop):
        train(Job(tiny_prepared, run, config, gan=whole), "cpu", say=quiet, hook=stop_at("head", step), save_every_s=0)
    said = []
    train(Job(tiny_prepared, run, config, gan=whole), "cpu", say=said.append, save_every_s=0)
    for name in ("gan.safetensors", "head.safetensors"):
        assert same_tensors(run / name, ablated[variant] / name)
    assert (run / "predictions.csv").read_bytes() == (ablated[variant] / "predictions.csv").read_bytes()
    assert not any(sentence.startswith("gan ") for sentence in said), "stage 1 was neither trained nor taken again"


def test_an_svm_resumes_from_its_checkpoint(ablated, whole, tiny_prepared, tmp_path, monkeypatch):
    """Stopped after the fit was saved and before the weights were written. Seen red: no buffers in the checkpoint."""
    run, config = tmp_path / "r", with_head(SMOKE, "f-svm")
    write = checkpoint.write_tensors

    def killed(path, tensors):
        if path == run / "head.safetensors":
            raise Stop
        return write(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", killed)
        with pytest.raises(Stop):
            train(Job(tiny_prepared, run, config, gan=whole), "cpu", say=quiet)
    monkeypatch.setattr("fer_model.stages.svm.fit_linear_svm", lambda *_: pytest.fail("it was fitted again"))
    train(Job(tiny_prepared, run, config, gan=whole), "cpu", say=quiet)
    assert same_tensors(run / "head.safetensors", ablated["f-svm"] / "head.safetensors")


def test_a_stage_that_is_taken_over_is_the_one_that_would_have_been_trained(whole, tiny_prepared, tmp_path):
    """The paper's head on a shared stage 1: every tensor and prediction equals the run that trained both. The budget counts both."""
    train(Job(tiny_prepared, tmp_path / "r", SMOKE, gan=whole), "cpu", say=quiet)
    for name in ("gan.safetensors", "head.safetensors"):
        assert same_tensors(tmp_path / "r" / name, whole / name)
    assert pd.read_csv(whole / "predictions.csv")["p_anger"].nunique() > 6, "the faces are told apart"
    for name in ("predictions.csv", "samples.png"):
        assert (tmp_path / "r" / name).read_bytes() == (whole / name).read_bytes()
    ours, theirs = (json.loads((run / "result.json").read_text()) for run in (tmp_path / "r", whole))
    gan, trained = ours["stages"]["gan"], theirs["stages"]["gan"]
    digest = hashlib.sha256((whole / "gan.safetensors").read_bytes()).hexdigest()
    assert gan == {**trained, "taken_from": str(whole), "sha256": digest} and trained["seconds"] > 0


def test_the_code_that_trained_a_stage_one_is_told(whole, tiny_prepared, tmp_path):
    """Seen red: this code's version alone."""
    old = shutil.copytree(whole, tmp_path / "old")
    (old / "config.json").write_text((old / "config.json").read_text().replace(code_version(), "0.1.0+old"))
    (old / "log.jsonl").write_text((old / "log.jsonl").read_text().replace(code_version(), "0.1.0+resumed"))
    train(Job(tiny_prepared, tmp_path / "r", SMOKE, gan=old), "cpu", say=quiet)
    [run] = find_runs([tmp_path / "r"])
    assert run.code_versions == (code_version(), "0.1.0+old", "0.1.0+resumed")


def test_a_run_of_before_is_complete_and_gives_its_stage_one(whole, tiny_prepared, tmp_path):
    """Its configuration has none of the stages that came later, and their defaults are not the preset's. Seen red: critics.kimg was 48."""
    old = shutil.copytree(whole, tmp_path / "old")
    content = json.loads((old / "config.json").read_text())
    for name in ("critics", "ae", "recogniser"):
        del content["config"][name]
    (old / "config.json").write_text(json.dumps(content))
    assert train(Job(tiny_prepared, old, SMOKE), "cpu", say=quiet).was_complete
    fold = read_prepared(tiny_prepared).fold_of(SMOKE)
    assert list(read_gan(old, resolve_budgets(SMOKE, len(fold.train)), fold).weights) == ["gan"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 5}, "seed is 0 there and 5 here"),
        ({"fold": 2}, "fold is 1 there and 2 here"),
        ({"gan": replace(SMOKE.gan, kimg=0.08)}, "gan.kimg is 0.064 there and 0.08 here"),
        ({"precision": "bf16"}, "precision is 'fp32' there and 'bf16' here"),
        ({"network": replace(SMOKE.network, noise=5)}, "network.noise is 4 there and 5 here"),
        ({"method": "cnn"}, "method cnn has none that can be taken over, degan, deae.* have one; leave"),
    ],
)
def test_a_stage_one_of_another_kind_is_refused_with_the_difference(whole, tiny_prepared, tmp_path, change, field):
    """Seen red, each, without the comparison: a head in bf16 on a stage 1 in fp32, and no word of it."""
    with pytest.raises(ConfigError, match=f"taking stage 1 from .*{field}"):
        train(Job(tiny_prepared, tmp_path / "r", replace(SMOKE, **change), gan=whole), "cpu", say=quiet)
    with pytest.raises(ConfigError, match=f"taking stage 1 from .*{field}"):
        plan(Job(tiny_prepared, tmp_path / "r", replace(SMOKE, **change), gan=whole), "cpu")


def test_a_stage_one_of_other_data_or_of_no_complete_run_is_refused(whole, write_tiny, tiny_prepared, tmp_path):
    other = write_tiny(tmp_path / "other", seed=1, people=7)
    with pytest.raises(ConfigError, match="it is on other data, the prepared folder is another one or has changed since"):
        train(Job(other, tmp_path / "r", SMOKE, gan=whole), "cpu", say=quiet)
    with pytest.raises(RunError, match=r"other is a prepared data set, not a run of fer-model; give a folder"):
        train(Job(tiny_prepared, tmp_path / "r", SMOKE, gan=other), "cpu", say=quiet)
    with pytest.raises(ConfigError, match="this is the run to be trained; choose another run"):
        train(Job(tiny_prepared, whole, SMOKE, gan=whole), "cpu", resume=False, say=quiet)
    assert (whole / "gan.safetensors").is_file()


def test_the_command_names_the_ablation(whole, tiny_prepared, tmp_path, monkeypatch):
    """In the folder, in the comparison; and the baseline has no head to choose."""
    monkeypatch.chdir(tmp_path)
    given = ["train", "--data", tiny_prepared, "--fold", 1, "--preset", "smoke", "--head", "f-svm"]
    preset_run = tmp_path / "whole"
    train(Job(tiny_prepared, preset_run, preset("smoke", fold=1)), "cpu", say=quiet)
    words = [str(word) for word in [*given, "--gan", preset_run]]
    dry = CliRunner().invoke(main, [*words, "--dry-run"])
    assert dry.exit_code == 0 and "gan: 8 steps" not in dry.output and "head: 1 steps of 240 images" in dry.output
    assert list(tmp_path.iterdir()) == [preset_run]
    assert CliRunner().invoke(main, words).exit_code == 0
    run = tmp_path / "runs" / "tiny-degan-f-svm-smoke-fold1"
    assert json.loads((run / "result.json").read_text())["name"] == "degan-f-svm"
    assert "degan-f-svm" in CliRunner().invoke(main, ["evaluate", str(run), str(whole)]).output
    assert default_run(Job(tiny_prepared, Path(), SMOKE)) == Path("runs/tiny-degan-smoke-network.init_std0.2-fold1")
    refused = CliRunner().invoke(main, [str(word) for word in [*given, "--method", "cnn"]])
    assert refused.exit_code == 1 and "head.variant has no effect on method cnn" in refused.output
