"""Networks of timm in the harness: trained, resumed, evaluated, probed, exported, predicted with; and how timm itself may be missing."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

import fer_model
from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint, distributed
from fer_model.errors import CheckpointError, ConfigError, RunError
from fer_model.job import Job, default_run
from fer_model.runs.methods import gather
from fer_model.runs.predictions import read_predictions
from fer_model.runs.trained import load_run
from fer_model.stages.any_network import tried
from fer_model.stages.inputs import StageInputs
from fer_model.stages.timm_network import TimmStage, import_timm, make_timm
from fer_model.train import train
from fer_model.use.engines import open_engine
from tests.commands import call
from tests.stepping import do
from tests.test_model_ablations import same_tensors
from tests.test_model_engine import Stop, quiet, stop_at, ticks_of
from tests.timm_aside import use_timm

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def timm():
    use_timm()


def smoke(arch="test_resnet", image_size=48, **settings):
    """Return preset smoke with a network of timm."""
    config = preset("smoke", method="timm", fold=1)
    return replace(config, timm=replace(config.timm, arch=arch, **settings), network=replace(config.network, image_size=image_size))


def stage_of(data, config):
    fold = read_prepared(data).fold_of(config)
    return TimmStage(StageInputs(resolve_budgets(config, len(fold.train)), fold, open_views(data, fold.train), CPU))


def test_over_several_gpus_timms_bn_keeps_its_activation(monkeypatch):
    """Seen red: exchanged as PyTorch exchanges BN: no activation was left."""
    from timm.layers import BatchNormAct2d, SyncBatchNormAct

    network = make_timm(smoke("test_efficientnet"), 3).train()
    x = torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    assert sum(isinstance(one, BatchNormAct2d) for one in network.modules()) > 5
    expected = network.features(x)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    same = distributed.same_norms(network, torch.device("cuda", 0))
    assert any(isinstance(one, SyncBatchNormAct) for one in same.modules())
    assert not any(isinstance(one, BatchNormAct2d) for one in same.modules())
    torch.testing.assert_close(same.features(x), expected)


# --- a start from a run of pre-training


def test_a_network_of_timm_starts_from_one_that_was_pre_trained(others, tiny_prepared, tmp_path):
    """All of timm's tensors are carried over but BN's statistics; another architecture is refused. Seen red: timm's names looked for where
    the run has them behind `trunk.`, so that no run could start."""
    words = ("--preset", "smoke", "--method", "timm", "--arch", "test_resnet")
    call("pretrain", *words, "--data", others, "--run", tmp_path / "p")
    given = ("train", "--fold", 1, "--data", tiny_prepared, "--init", tmp_path / "p", "--preset", "smoke", "--method", "timm")
    call(*given, "--arch", "test_resnet", "--run", tmp_path / "r", "--set", "timm.carried_lr=0")
    before, after = (checkpoint.read_tensors(tmp_path / name / "timm.safetensors") for name in ("p", "r"))
    trunk = [name for name in before if name.startswith("timm/trunk.") and "running" not in name and "num_batches" not in name]
    assert len(trunk) > 20 and all(torch.equal(before[name], after[name]) for name in trunk)
    assert not torch.equal(before["timm/classifier.weight"], after["timm/classifier.weight"])
    said = call(*given, "--arch", "resnet10t", "--run", tmp_path / "other", code=1).replace("\n", " ")
    assert "timm.arch is test_resnet there and resnet10t here" in said


# --- a whole run


@pytest.fixture(scope="module")
def run(prepared_ck, tmp_path_factory):
    """A run on drawn people, made by the command."""
    use_timm()
    out = tmp_path_factory.mktemp("timm") / "r"
    said = call("train", "--fold", 1, "--data", prepared_ck, "--run", out, "--preset", "smoke", "--method", "timm", "--arch", "resnet10t")
    assert f"{out}: complete" in said
    return out


def test_a_network_of_timm_does_all_that_the_baseline_does(run, prepared_ck, synthetic_ck, tmp_path):
    """Evaluated, reported, described, exported in both forms, predicted with."""
    picture = sorted(synthetic_ck.rglob("*.png"))[-1]
    assert "per frame" in call("evaluate", run)
    call("report", run, "-o", tmp_path / "report")
    assert "timm resnet10t" in (tmp_path / "report/report.md").read_text()
    call("card", run)
    card = (run / "card.md").read_text()
    assert "a network of the library timm on the pixels" in card and "arch resnet10t" in card
    assert "differs from torch by at most" in call("export", run)
    call("export", run, "--format", "safetensors")
    found = [fer_model.load(run / name).predict(picture).faces[0].probabilities for name in ("", "model.onnx", "model.safetensors")]
    assert all(found[0] == pytest.approx(other, abs=1e-4) for other in found[1:])

    views = open_views(prepared_ck, read_prepared(prepared_ck).fold(1).test)
    predicted = read_predictions(run / "predictions.csv").filter(like="p_").to_numpy()
    assert load_run(run, "cpu").probabilities(views).numpy() == pytest.approx(predicted, abs=1e-6)
    assert open_engine(run / "model.safetensors").recipe.name == "timm-resnet10t"


def test_a_run_that_was_stopped_ends_in_the_same_bits(tiny_prepared, tmp_path):
    """With all that is random; and its features are probed. Seen red, each: Adam's state not restored; the probe's features taken from
    `cnn` alone."""
    config = smoke("resnet10t", stronger_views=0.5, mixup=0.4, average_half_kimg=0.02, dropout=0.3, kimg=0.064)
    for name in "whole", "stopped":
        if name == "stopped":
            with pytest.raises(Stop):
                train(Job(tiny_prepared, tmp_path / name, config), "cpu", say=quiet, hook=stop_at("timm", 5), save_every_s=0)
        train(Job(tiny_prepared, tmp_path / name, config), "cpu", say=quiet, save_every_s=0)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert same_tensors(whole / "timm.safetensors", stopped / "timm.safetensors") and ticks_of(whole) == ticks_of(stopped)
    assert (whole / "predictions.csv").read_bytes() == (stopped / "predictions.csv").read_bytes()
    probed = call("probe", stopped)
    assert "timm" in probed and "pixels" in probed


# --- the network


def test_grey_is_repeated_and_standardised_as_the_architecture_says():
    """By hand. Seen red: the mean of the channels for all; [-1, 1] taken for [0, 1]."""
    network = make_timm(smoke("resnet10t"), 3).eval()
    grey = torch.rand(2, 1, 48, 48) * 2 - 1
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    rgb = torch.stack([((grey[:, 0] + 1) / 2 - m) / s for m, s in zip(mean, std, strict=True)], 1)
    with torch.no_grad():
        assert torch.allclose(network.features(grey), network.trunk(rgb), atol=1e-5)
        assert torch.allclose(network.features(grey), network.features(grey.repeat(1, 3, 1, 1)), atol=1e-5)
        assert torch.equal(network(grey), network.classifier(network.features(grey)))
    assert {"mean", "std"} <= set(network.state_dict())


def test_the_first_weights_follow_from_the_seed_alone(tiny_prepared):
    """Seen red: made outside of drawing_from."""
    first, again, other = (stage_of(tiny_prepared, replace(smoke(), seed=seed)) for seed in (0, 0, 1))
    state = torch.random.get_rng_state()
    do(first, 0)
    assert torch.equal(torch.random.get_rng_state(), state), "nobody else's random numbers move"
    do(again, 0)
    mine, theirs, others = (one.weights() for one in (first, again, other))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not torch.equal(mine["timm/trunk.layer1.0.conv1.weight"], others["timm/trunk.layer1.0.conv1.weight"])


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "test_efficientnet", "resnet10t"])
def test_the_size_of_pictures_is_said_to_those_that_ask(arch):
    """Seen red: never said (the transformer); always said (the residual network)."""
    assert make_timm(smoke(arch), 3).eval()(torch.zeros(1, 1, 48, 48)).shape == (1, 3)


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("resnet81", "no architecture of that name.*did you mean.*resnet18"),
        ("resnet18.a1_in2k", "no weights of that name.*resnet18.a1_in1k"),
        ("edgenext_xx_small", "16 x 16"),
    ],
)
def test_what_timm_does_not_have_or_does_not_take_is_said(arch, says):
    """Before anything is trained. Seen red, each."""
    with pytest.raises(ConfigError, match=f"timm.arch.*{says}"):
        make_timm(smoke(arch, 16), 3)


def test_what_cannot_be_trained_writes_nothing_and_removes_nothing(tiny_prepared, tmp_path):
    """Seen red: found out once the run was started, so that --no-resume had removed the run of before."""
    run = tmp_path / "r"
    with pytest.raises(ConfigError, match="no architecture"):
        train(Job(tiny_prepared, run, smoke("resnet81")), "cpu", say=quiet)
    assert not run.exists()
    train(Job(tiny_prepared, run, smoke(kimg=0.016)), "cpu", say=quiet)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(ConfigError, match="no architecture"):
        train(Job(tiny_prepared, run, smoke("resnet81")), "cpu", resume=False, say=quiet)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="torn"):
        train(Job(tiny_prepared, run, smoke(), weights=torn), "cpu", resume=False, say=quiet)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_name_that_is_a_path_or_an_address_is_no_architecture():
    """timm would fetch `hf-hub:`, and open `local-dir:`. Seen red: no rule."""
    for arch in ("hf-hub:a/b", "local-dir:/x", "../x"):
        with pytest.raises(ConfigError, match=r"timm\.arch is"):
            smoke(arch)


class Jealous(nn.Module):
    """What it says of a picture depends on the others."""

    def forward(self, x):
        return (x - x.mean(0)).flatten(1)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (Jealous(), "must not depend on the other pictures"), (nn.Identity(), r"must be \(B, d\)"),
        (nn.Linear(7, 7), "does not take pictures of 48"),
    ],
)
def test_a_network_is_tried_before_it_is_trained(features, says):
    """Seen red, each."""
    with pytest.raises(ConfigError, match=f"mine: .*{says}.*; choose another one$"):
        tried(features, smoke(), "mine", "choose another one")
    assert tried(nn.Flatten(), smoke(), "mine", "") == 48 * 48


# --- names, settings, folds


def test_a_run_is_named_by_its_architecture(tiny_prepared, tmp_path):
    """Seen red: the method's name alone."""
    assert default_run(Job(tiny_prepared, tmp_path, smoke())).name.startswith("tiny-timm-test_resnet")
    words = ("crossval", "--data", tiny_prepared, "--preset", "smoke", "--method", "timm", "--kimg-gan", 0.008, "--kimg-head", 0.008)
    for arch in ("test_resnet", "test_efficientnet"):
        call(*words, "--arch", arch, "--run", tmp_path / arch, "--folds", "0,1")
    assert [one.label for one in gather([tmp_path / "test_resnet", tmp_path / "test_efficientnet"])] == [
        "timm test_resnet", "timm test_efficientnet",
    ]
    said = call("train", "--fold", 0, "--data", tiny_prepared, "--method", "cnn", "--arch", "resnet10t", "--preset", "smoke", code=1)
    assert "timm.arch has no effect on method cnn" in said


def test_it_is_shown_as_many_images_as_the_baseline():
    """Seen red: a budget of its own."""
    assert resolve_budgets(smoke(), 24).timm.kimg == resolve_budgets(preset("smoke", method="cnn"), 24).cnn.kimg


# --- timm is missing, too old, or torchvision does not fit


def test_what_keeps_timm_from_being_used_is_said_with_the_way_out(monkeypatch):
    """Seen red, each: the error of the import itself; 1.0.27rc1 too old, by numbers between dots alone."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RunError, match=r"the package timm is missing.*--index-url.*fer-degan\[timm\]"):
        import_timm()
    old = type(sys)("timm")
    old.__version__ = "1.0.25"
    monkeypatch.setitem(sys.modules, "timm", old)
    with pytest.raises(RunError, match=r"timm 1\.0\.25 is too old, 1\.0\.26 is needed"):
        import_timm()
    old.__version__ = "1.0.27rc1"
    assert import_timm() is old
