"""Weights of others: every kind of file that is around is read or refused by its name; what is taken is told; nothing runs."""

import argparse
import collections
import json
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine.checkpoint import read_tensors
from fer_model.engine.weights_file import PREFIXES, WRAPPERS, fitted, read_weights
from fer_model.errors import CheckpointError, ConfigError, FoldError, RunError
from fer_model.job import Job
from fer_model.runs.given_weights import read_given, refuse_same_pictures
from fer_model.stages.inputs import StageInputs
from fer_model.stages.timm_network import TimmStage, hub_file, make_timm
from fer_model.train import refuse_other_run, train
from tests.commands import call
from tests.stepping import do
from tests.test_model_ablations import same_tensors
from tests.test_model_engine import Stop, quiet, stop_at
from tests.timm_aside import use_timm


@pytest.fixture(autouse=True)
def timm():
    use_timm()


def config(**changes):
    made = preset("smoke", method="timm", fold=1)
    return replace(made, timm=replace(made.timm, arch="test_resnet", kimg=0.032), **changes)


@pytest.fixture(scope="module")
def theirs():
    """The weights of somebody's network, with a classifier of 1000 classes."""
    use_timm()
    trunk = make_timm(config(seed=0), 3).trunk.state_dict()
    generator = torch.Generator().manual_seed(5)
    trained = {name: torch.rand(one.shape, generator=generator) if one.is_floating_point() else one for name, one in trunk.items()}
    return {**trained, "fc.weight": torch.rand(1000, 96), "fc.bias": torch.rand(1000)}


class Recorder:
    """A class of somebody's training script."""


class Evil:
    """Runs a command where it is unpickled without care."""

    def __reduce__(self):
        return os.system, ("true",)


def behind(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def old(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def without_head(tensors):
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}


def numbered(tensors):
    """As the children of nn.Sequential are named: features.0 in place of conv1."""
    names = {name: number for number, name in enumerate(dict.fromkeys(name.partition(".")[0] for name in tensors))}
    return {f"features.{names[name.partition('.')[0]]}.{name.partition('.')[2]}": tensor for name, tensor in tensors.items()}


def numpy_1(value, path):
    """As numpy before version 2 names its scalars."""
    torch.save(value, path)
    data = path.read_bytes()
    assert b"numpy._core.multiarray" in data
    old(value, path)                             # no checksum of a zip in the way
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


# name of the file -> how it is made of somebody's weights
LOADED = {
    "model.safetensors": lambda t, path: safetensors.torch.save_file(t, path),
    "resnet18_msceleb.pth": lambda t, path: torch.save({"state_dict": t}, path),
    "ijba_res18_naive.pth": lambda t, path: torch.save({"state_dict": behind("module.", t)}, path),
    "Resnet18_FER+_pytorch.pth.tar": lambda t, path: old({"epoch": 3, "state_dict": behind("module.", t), "best_prec1": 0.9}, path),
    "state_vggface2_enet0_new.pt": lambda t, path: torch.save(collections.OrderedDict(without_head(t)), path),
    "PrivateTest_model.t7": lambda t, path: torch.save({"net": behind("module.", t), "acc": 70.1, "epoch": 3}, path),
    "epoch=3.ckpt": lambda t, path: torch.save(
        {"state_dict": behind("model.net.", t), "hyper_parameters": argparse.Namespace(lr=1e-3), "epoch": 3}, path
    ),
    "compiled.pth": lambda t, path: torch.save({"model_ema": behind("_orig_mod.backbone.", t), "best_acc": np.float64(0.9)}, path),
    "ema_not_begun.pth": lambda t, path: torch.save({"state_dict_ema": {}, "model_ema": {"decay": 0.9}, "state_dict": t}, path),
    "twice_wrapped.pth": lambda t, path: torch.save({"epoch": 3, "model": {"epoch": 3, "state_dict": {"net": t}}}, path),
    "four_prefixes.pth": lambda t, path: torch.save({"model": behind("module.model.backbone.encoder.", t)}, path),
    "numpy1.pth": lambda t, path: numpy_1({"model": t, "best_acc": np.float64(0.9)}, path),
}


def module(t):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 2))


def scripted(t, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(path))


def in_itself():
    """Every wrapper holds the whole again."""
    whole = {}
    whole |= dict.fromkeys(WRAPPERS, whole)
    return whole


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"
REFUSED = {
    "rafdb_epoch21.pth": (
        lambda t, path: torch.save({"iter": 1, "model_state_dict": numbered(t), "optimizer_state_dict": {}}, path),
        r"0\.0 % of the network's numbers are in .*at least 90 %.*without a place: .*\.weight.*not in the file: conv1.*same architecture",
    ),
    "poster_v2.pth": (
        lambda t, path: torch.save({"state_dict": behind("module.", t), "recorder": Recorder()}, path),
        r"holds, besides tensors, .*Recorder, which could run code; where you trust it.*save_file",
    ),
    "ir50.pth": (lambda t, path: torch.save({"input_layer.0.weight": torch.rand(64, 3, 3, 3)}, path), "input_layer.0.weight 64x3x3x3"),
    "mobilefacenet_model_best.pth.tar": (
        lambda t, path: torch.save({"state_dict": {"conv1.conv.weight": torch.rand(64, 3, 3, 3)}}, path), "conv1.conv.weight 64x3x3x3",
    ),
    "enet_b0_8_best_vgaf.pt": (lambda t, path: torch.save(module(t), path), r"whole pickled model \(.*torch\.nn.*save_file"),
    "enet_b0_old.pt": (lambda t, path: old(module(t), path), r"whole pickled model"),
    "emo_affectnet.pth": (scripted, r"TorchScript archive.*save_file"),
    "evil.pth": (lambda t, path: torch.save({"state_dict": t, "x": Evil()}, path), r"besides tensors, .*system, which could run code"),
    "lfs.pth": (lambda t, path: path.write_bytes(POINTER), "is a Git LFS pointer, .*git lfs pull"),
    "lfs.safetensors": (lambda t, path: path.write_bytes(POINTER), "is a Git LFS pointer, .*git lfs pull"),
    "._net.safetensors": (lambda t, path: path.write_bytes(bytes.fromhex("00051607") + bytes(213)), "an AppleDouble file that macOS left"),
    "page.pth": (lambda t, path: path.write_text("<!DOCTYPE html>"), "neither safetensors nor a file of torch.save"),
    "cut.pth": (lambda t, path: (torch.save(t, path), path.write_bytes(path.read_bytes()[:5000])), "neither safetensors nor"),
    "page.safetensors": (lambda t, path: path.write_text("<!DOCTYPE html>"), "not a whole safetensors file"),
    "deep.pth": (lambda t, path: torch.save({"net": {"net": {"net": {"net": t}}}}, path), "no tensors by name, but net; they are"),
    "itself.pth": (lambda t, path: torch.save(in_itself(), path), "no tensors by name, but .*; they are looked for"),
    "list.pth": (lambda t, path: torch.save([torch.rand(2)], path), "holds a list"),
    "options.pth": (lambda t, path: torch.save({"epoch": 3, "lr": 0.1}, path), "no tensors by name, but epoch and lr"),
    "diverged.pth": (lambda t, path: torch.save({**t, "fc.bias": t["fc.bias"] * torch.nan}, path), "not finite, in fc.bias"),
}


@pytest.mark.parametrize("name", LOADED)
def test_a_kind_of_file_is_taken_tensor_by_tensor(name, theirs, tiny_prepared, tmp_path):
    """Into the network that is trained, and into the one that is used. Seen red, each: a wrapper, a prefix or a harmless class away;
    only the trained network started; the first wrapper alone looked into, though empty or a wrapper again; three prefixes in a row."""
    LOADED[name](theirs, tmp_path / name)
    fold, mine = read_prepared(tiny_prepared).fold(1), resolve_budgets(config(), 24)
    mine = replace(mine, timm=replace(mine.timm, average_half_kimg=0.02))
    given = read_given(tmp_path / name, None, mine, fold)
    stage = TimmStage(StageInputs(mine, fold, open_views(tiny_prepared, fold.train), torch.device("cpu")))
    classifier = stage.learner.network.classifier.weight.clone()
    given.start(stage)
    for network in stage.learner.network, stage.used["timm"]:
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in network.trunk.state_dict().items())
        assert torch.equal(network.classifier.weight, classifier), "the classifier is made new, whatever its size in the file"
    assert given.fit.coverage == 1 and sorted(given.fit.dropped) == ([] if "vggface2" in name else ["fc.bias 1000", "fc.weight 1000x96"])


@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_of_file_is_refused_by_its_name_with_the_way_out(name, theirs, tmp_path):
    """Seen red, each."""
    make, says = REFUSED[name]
    make(theirs, tmp_path / name)
    with pytest.raises(CheckpointError, match=says):
        fitted(read_weights(tmp_path / name), without_head(theirs))


ODD = {
    "float8": (lambda: torch.zeros(2).to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
    "complex": (lambda: torch.zeros(2, dtype=torch.complex64), "torch.complex64"),
    "sparse": (lambda: torch.eye(2).to_sparse(), "torch.sparse_coo"),
    "meta": (lambda: torch.zeros(2, device="meta"), "without data"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8), "torch.qint8"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_tensors_without_plain_numbers_are_refused_by_their_names(kind, tmp_path):
    """Seen red, each: tracebacks of isfinite, or of what came later."""
    make, says = ODD[kind]
    torch.save({"fine": torch.zeros(2), "odd.weight": make()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"must hold dense tensors of .*holds odd\.weight \({says}\); save them so"):
        read_weights(tmp_path / "a.pth")


def test_numbers_are_finite_as_the_network_holds_them(tmp_path):
    """Seen red: 1e300 in float64 was taken, and was inf in the network."""
    with pytest.raises(CheckpointError, match="numbers that are not finite, in w"):
        file_of({"w": torch.tensor([1e300], dtype=torch.float64)}, tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [True, False], ids=["of now", "of before"])
def test_a_file_that_is_damaged_anywhere_is_one_sentence_or_whole(whole, tmp_path):
    """Cut off, or some bytes others. Seen red: IndexError, struct.error, BadZipFile, AssertionError, UnicodeDecodeError, TypeError."""
    torch.save({"a.weight": torch.rand(4, 3), "b": torch.arange(3)}, path := tmp_path / "a.pth", _use_new_zipfile_serialization=whole)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for n in range(400):
        changed = bytearray(data[: rng.integers(len(data))] if n % 2 else data)
        for place in rng.integers(0, len(data), 0 if n % 2 else 4):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read_weights(path)
        except CheckpointError as error:
            assert str(error).startswith("reading weights: ")


def test_safetensors_are_known_by_their_beginning(theirs, tmp_path):
    """Seen red: "is neither safetensors nor a file of torch.save"."""
    safetensors.torch.save_file(theirs, tmp_path / "model.bin")
    assert read_weights(tmp_path / "model.bin").tensors.keys() == theirs.keys()


def test_nothing_runs_though_the_environment_asks_for_it(theirs, tmp_path, monkeypatch):
    """Seen red: weights_only left to its default."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    ran = tmp_path / "ran"

    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {ran}",)

    torch.save({"state_dict": theirs, "x": Runs()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="could run code"):
        read_weights(tmp_path / "a.pth")
    assert not ran.exists()


def file_of(tensors, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(tensors, path)
    return read_weights(path)


def test_prefixes_come_off_as_long_as_more_agrees_and_no_two_names_become_one(tmp_path):
    """Seen red: `model.a` and `a` fallen together."""
    wanted = {"a": torch.zeros(100), "model.b": torch.zeros(2)}
    found = fitted(file_of({"model.module.a": torch.ones(100)}, tmp_path), wanted)
    assert torch.equal(found.tensors["a"], torch.ones(100)) and found.coverage == 100 / 102
    clash = {"a": torch.ones(100), "model.a": torch.zeros(100), "model.c": torch.ones(2)}
    found = fitted(file_of(clash, tmp_path), {"a": torch.zeros(100), "c": torch.zeros(2)})
    assert set(found.tensors) == {"a"} and torch.equal(found.tensors["a"], torch.ones(100))


def test_a_file_of_all_prefixes_in_any_order_is_refused_soon(tmp_path):
    """Seen red: every order of them tried, 12 seconds and not done."""
    rows = [PREFIXES[n % 8:] + PREFIXES[:n % 8] for n in range(8)]
    names = {f"{''.join(row[:length])}w{n}": torch.ones(1) for n, row in enumerate(rows) for length in range(4, 9)}
    with pytest.raises(CheckpointError, match=r"0\.0 % of the network's numbers"):
        fitted(file_of(names, tmp_path), {"a": torch.zeros(1)})


def test_what_has_another_shape_is_dropped_and_told(tmp_path):
    """By shape, not by name; a first convolution for RGB serves grey, and the other way. Seen red, each."""
    wanted = {"conv.weight": torch.zeros(4, 1, 3, 3), "fc.weight": torch.zeros(2, 2), "rest": torch.zeros(1000)}
    rgb = torch.rand(4, 3, 3, 3)
    found = fitted(file_of({"conv.weight": rgb, "fc.weight": torch.rand(3, 2), "rest": torch.ones(1000)}, tmp_path), wanted)
    assert found.dropped == ("fc.weight 3x2",) and found.adapted == ("conv.weight 4x3x3x3 -> 4x1x3x3",)
    grey = torch.rand(2, 1, 8, 8)
    answers = torch.conv2d(grey.repeat(1, 3, 1, 1), rgb)
    assert torch.allclose(torch.conv2d(grey, found.tensors["conv.weight"]), answers, atol=1e-5)
    back = fitted(file_of({"w": found.tensors["conv.weight"].contiguous()}, tmp_path), {"w": torch.zeros(4, 3, 3, 3)})
    assert torch.allclose(torch.conv2d(grey.repeat(1, 3, 1, 1), back.tensors["w"]), answers, atol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.0])
def test_what_was_taken_learns_slower_than_the_new_classifier(share, theirs, tiny_prepared, tmp_path):
    """Adam's first step is lr itself. Seen red, each: one step size for all; slow without a start."""
    mine = resolve_budgets(config(), 24)
    mine = replace(mine, timm=replace(mine.timm, carried_lr=share, lr=1e-3))
    fold = read_prepared(tiny_prepared).fold(1)
    for init, expected in ("ab" * 32, share * 1e-3), (None, 1e-3):
        stage = TimmStage(StageInputs(replace(mine, init=init), fold, open_views(tiny_prepared, fold.train), torch.device("cpu")))
        before = {name: tensor.detach().clone() for name, tensor in stage.learner.network.named_parameters()}
        do(stage, 0)
        moved = {name: float((tensor.detach() - before[name]).abs().max()) for name, tensor in stage.learner.network.named_parameters()}
        assert moved["classifier.weight"] == pytest.approx(1e-3, rel=1e-2)
        assert moved["trunk.conv1.0.weight"] == pytest.approx(expected, rel=1e-2, abs=1e-9)


# --- a run that starts from a file


def test_a_run_says_what_it_started_from(theirs, tiny_prepared, tmp_path):
    """In config.json, result.json, the log, the card and the report; stopped, it resumes to the same bits; from another file it does not
    go on. Seen red, each: nothing taken; the words of the report cut."""
    path, out = tmp_path / "resnet.pth", tmp_path / "r"
    LOADED["ijba_res18_naive.pth"](theirs, path)
    words = ("train", "--fold", 1, "--data", tiny_prepared, "--preset", "smoke", "--method", "timm", "--arch", "test_resnet")
    given = (*words, "--set", "timm.kimg=0.032", "--run", out, "--weights", path, "--trained-on", "MS-Celeb-1M")
    said = call(*given).replace("\n", " ")
    learned = read_tensors(out / "timm.safetensors")["timm/trunk.conv1.0.weight"]
    assert (learned - theirs["conv1.0.weight"]).abs().max() < 0.01, "after four steps it is still theirs"
    assert "timm starts from resnet.pth" in said and "trained on MS-Celeb-1M (recognised: no database): 100.0 % of" in said
    entry = json.loads((out / "config.json").read_text())["init"]
    assert entry["sha256"] == read_weights(path).sha256 and (entry["coverage"], entry["trained_on"]) == (1.0, "MS-Celeb-1M")
    assert (entry["file"], entry["bytes"], entry["dropped"]) == ("resnet.pth", path.stat().st_size, ["fc.weight 1000x96", "fc.bias 1000"])
    assert json.loads((out / "result.json").read_text())["rules"]["pre_training"] == entry["said"]
    call("card", out)
    call("report", out, "-o", tmp_path / "report")
    for text in (out / "card.md").read_text(), (tmp_path / "report/report.md").read_text():
        assert entry["sha256"] in text and "fc.weight 1000x96" in text and "MS-Celeb-1M" in text

    with pytest.raises(Stop):
        train(Job(tiny_prepared, tmp_path / "s", config(), weights=path), "cpu", say=quiet, hook=stop_at("timm", 2), save_every_s=0)
    train(Job(tiny_prepared, tmp_path / "s", config(), weights=path), "cpu", say=quiet, save_every_s=0)
    assert same_tensors(tmp_path / "s/timm.safetensors", out / "timm.safetensors")
    torch.save({**theirs, "conv1.0.weight": theirs["conv1.0.weight"] + 1}, path)
    assert "init was" in call(*given, code=1).replace("\n", " ")


def test_what_the_file_has_not_is_made_new_and_said(theirs, tiny_prepared, tmp_path):
    """It learns at the whole step size and never stays as it is; so it does after a stop. BN's count of batches, which old files have not,
    is not told. Seen red: frozen at its random weights."""
    few = {name: one for name, one in theirs.items() if name != "conv1.0.weight" and not name.endswith("num_batches_tracked")}
    path, out, mine = tmp_path / "w.safetensors", tmp_path / "r", config()
    safetensors.torch.save_file(few, path)
    mine = replace(mine, timm=replace(mine.timm, frozen=1, carried_lr=0.1, lr=1e-3))
    fold = read_prepared(tiny_prepared).fold(1)
    given = read_given(path, None, mine, fold)
    assert given.fit.missing == ("conv1.0.weight 16x3x3x3",)
    assert given.sentence().endswith("made new: the classifier and conv1.0.weight 16x3x3x3")
    assert given.entry()["made_new"] == ["classifier", "conv1.0.weight 16x3x3x3"]

    started, views = resolve_budgets(replace(mine, init="ab" * 32), 24), open_views(tiny_prepared, fold.train)
    stage = TimmStage(StageInputs(started, fold, views, torch.device("cpu"), begun_with=given.begun_with))
    before = {name: tensor.detach().clone() for name, tensor in stage.learner.network.named_parameters()}
    do(stage, 0)
    moved = {name: float((tensor.detach() - before[name]).abs().max()) for name, tensor in stage.learner.network.named_parameters()}
    assert moved["trunk.conv1.0.weight"] == pytest.approx(1e-3, rel=1e-2) and moved["trunk.conv1.1.weight"] == 0
    assert moved["trunk.conv1.3.weight"] == pytest.approx(1e-4, rel=1e-2)

    said = []
    train(Job(tiny_prepared, out, mine, weights=path), "cpu", say=said.append)
    assert "made new: the classifier and conv1.0.weight 16x3x3x3" in " ".join(said)
    assert json.loads((out / "config.json").read_text())["init"]["made_new"] == ["classifier", "conv1.0.weight 16x3x3x3"]
    learned = read_tensors(out / "timm.safetensors")["timm/trunk.conv1.0.weight"]
    assert (learned - before["trunk.conv1.0.weight"]).abs().max() > 2e-3, "four steps at the whole step size"
    with pytest.raises(Stop):
        train(Job(tiny_prepared, tmp_path / "s", mine, weights=path), "cpu", say=quiet, hook=stop_at("timm", 2), save_every_s=0)
    train(Job(tiny_prepared, tmp_path / "s", mine, weights=path), "cpu", say=quiet, save_every_s=0)
    assert same_tensors(tmp_path / "s/timm.safetensors", out / "timm.safetensors")


@pytest.mark.parametrize("name", ["tiny", " TINY ", "Tiny"])
def test_weights_that_saw_the_pictures_of_the_test_are_refused(name, theirs, tiny_prepared, tmp_path):
    """Seen red, each: the name as it is written; no check."""
    LOADED["model.safetensors"](theirs, tmp_path / "w.safetensors")
    fold = read_prepared(tiny_prepared).fold(1)
    with pytest.raises(FoldError, match="holds pictures of tiny, on which it would be tested"):
        read_given(tmp_path / "w.safetensors", name, config(), fold)
    assert read_given(tmp_path / "w.safetensors", "others", config(), fold).trained_on == "others"


@pytest.mark.parametrize(
    ("said", "tested"),
    [
        ("CK+ and FER2013", "ck+"), ("FER2013, CK+", "ck48"), ("ck++fer2013", "fer2013"), ("Extended Cohn-Kanade", "ck+"),
        ("The Extended Cohn-Kanade Dataset (CK+)", "ck+"), ("AffectNet + FER+", "fer2013"), ("CREMA D", "crema-d"),
        ("tiny & others", "tiny"), ("ck+", "ck++fer2013"), ("data", "data"), ("FER2013 then CK", "ck48"), ("AffectNet-7", "affectnet+tiny"),
    ],
)
def test_several_databases_and_full_names_are_known(said, tested):
    """Seen red, each but the last: the whole string alone was compared."""
    with pytest.raises(FoldError, match="which holds pictures of"):
        refuse_same_pictures("starting", said, [tested])


def test_names_that_only_look_alike_are_taken():
    """Seen red: names compared by their beginning."""
    for said in ("ImageNet", "MS-Celeb-1M and VGGFace2", "CKX", "a FER network", "tiny ImageNet", "AffWild2", "", None):
        refuse_same_pictures("starting", said, ["ck+", "fer2013", "affectnet", "tiny"])


def test_what_weights_were_trained_on_is_part_of_the_run(theirs, tiny_prepared, tmp_path):
    """Stopped, complete, or a fold of a cross-validation: another claim does not go on. Seen red, each: config.json said one thing,
    result.json the other; the new claim dropped in silence."""
    LOADED["model.safetensors"](theirs, tmp_path / "w.safetensors")
    first = Job(tiny_prepared, tmp_path / "c" / "fold1", config(), weights=tmp_path / "w.safetensors", trained_on="ImageNet")
    other, nothing = replace(first, trained_on="MS-Celeb-1M"), replace(first, trained_on=None)
    with pytest.raises(Stop):
        train(first, "cpu", say=quiet, hook=stop_at("timm", 2), save_every_s=0)
    for complete in False, True:
        for job, now in (other, "'MS-Celeb-1M'"), (nothing, "None"):
            with pytest.raises(ConfigError, match=f"trained_on was 'ImageNet' when the run was started and is {now} now; choose another"):
                train(job, "cpu", say=quiet)
            with pytest.raises(ConfigError, match="trained_on was 'ImageNet' when the run was started"):
                refuse_other_run(job, read_prepared(tiny_prepared), torch.device("cpu"), tmp_path / "c")
        train(first, "cpu", say=quiet)
        assert refuse_other_run(first, read_prepared(tiny_prepared), torch.device("cpu"), tmp_path / "c")
        assert json.loads((first.run / "result.json").read_text())["init"]["trained_on"] == "ImageNet", complete


def test_tensors_of_a_file_are_in_the_order_of_their_names(tmp_path):
    """So that config.json of one input has the same bytes. Seen red: safetensors' own order, another one in each process."""
    names = [f"{chr(97 + n % 26)}{n}" for n in range(60)]
    found = file_of({name: torch.zeros(1) for name in names}, tmp_path)
    assert list(found.tensors) == sorted(names)


def test_such_a_run_is_not_tested_on_other_data_with_these_pictures(theirs, tiny_prepared, write_tiny, tmp_path):
    """Seen red: evaluate --data asked of people alone."""
    LOADED["model.safetensors"](theirs, tmp_path / "w.safetensors")
    job = Job(tiny_prepared, tmp_path / "r", config(), weights=tmp_path / "w.safetensors", trained_on="Others")
    train(job, "cpu", say=quiet)
    for name, code in ("others", 1), ("third", 0):
        data = write_tiny(tmp_path / name, people=2, seed=5, dataset=name)
        said = call("evaluate", tmp_path / "r", "--data", data, code=code).replace("\n", " ")
        assert ("trained on Others, which holds pictures of others" in said) == bool(code)


@pytest.mark.parametrize(("named", "dataset"), [("FER+", "fer2013"), ("CK+48", "ck+"), ("AffWild", None)])
def test_databases_with_the_same_pictures_are_known_by_their_usual_names(named, dataset, theirs, tiny_prepared, tmp_path):
    """Seen red: _SPELT empty."""
    LOADED["model.safetensors"](theirs, tmp_path / "w.safetensors")
    fold = read_prepared(tiny_prepared).fold(1)
    fold = replace(fold, test=fold.test.assign(dataset=dataset or "fer2013"))
    if dataset is None:
        assert read_given(tmp_path / "w.safetensors", named, config(), fold).trained_on == named
        return
    with pytest.raises(FoldError, match="holds pictures of"):
        read_given(tmp_path / "w.safetensors", named, config(), fold)


def test_what_cannot_start_from_a_file_says_so(theirs, tiny_prepared, tmp_path):
    LOADED["model.safetensors"](theirs, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="method cnn takes no weights from a file; timm"):
        Job(tiny_prepared, tmp_path / "r", preset("smoke", method="cnn"), weights=tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="give --weights too"):
        Job(tiny_prepared, tmp_path / "r", config(), trained_on="ImageNet")
    with pytest.raises(CheckpointError, match="there is no file"):
        Job(tiny_prepared, tmp_path / "r", config(), weights=tmp_path / "other.pth")
    with pytest.raises(RunError, match=r"there is no .*config\.json; `fer-model train` writes it"):
        Job(tiny_prepared, tmp_path / "r", config(), init=tmp_path)


def test_weights_that_timm_names_are_fetched_once_or_the_way_out_is_said(theirs, tmp_path, monkeypatch):
    """No network here."""
    import huggingface_hub

    known = replace(config(), timm=replace(config().timm, arch="resnet18"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked = []

    def download(repository, name, local_files_only):
        asked.append(local_files_only)
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    path, whose = hub_file(known)
    assert path == tmp_path / "model.safetensors" and "timm/resnet18" in whose and "licence apache-2.0" in whose

    hub_file(known, fetch=False)
    assert asked == [False, True]

    def offline(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("an error happened while trying to locate the file on the Hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(RunError, match=r"cannot be reached.*https://huggingface.co/timm/resnet18.*--weights FILE"):
        hub_file(known)
    with pytest.raises(RunError, match=r"a dry run fetches nothing, and the weights of timm/resnet18\S* are not on this machine"):
        hub_file(known, fetch=False)


def test_weights_of_timm_are_not_looked_for_where_the_method_takes_none(tiny_prepared, monkeypatch):
    """Nor where two starts are named. Seen red, each: fetched first; --init passed over in silence."""
    import fer_model.stages.timm_network as library

    asked = []
    monkeypatch.setattr(library, "import_timm", lambda: asked.append("timm"))
    words = ("--data", tiny_prepared, "--preset", "smoke", "--pretrained")
    for command in (("train", "--fold", 0), ("crossval", "--dry-run")):
        assert "--pretrained is for --method timm, not for degan; leave it out" in call(*command, *words, code=1).replace("\n", " ")
    said = call("train", "--fold", 0, *words, "--method", "timm", "--init", tiny_prepared, code=2)
    assert "--init RUN and --pretrained name two starts. Leave one of them out." in said and not asked


def test_two_starts_are_refused(theirs, tiny_prepared, tmp_path):
    """Seen red: started from the file, the run passed over in silence."""
    LOADED["model.safetensors"](theirs, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="--init RUN and --weights FILE name two starts; leave one of them out"):
        Job(tiny_prepared, tmp_path / "r", config(), init=tmp_path, weights=tmp_path / "w.safetensors")


def test_a_dry_run_asks_for_weights_without_fetching(tiny_prepared, monkeypatch):
    """Seen red: fetched."""
    import fer_model.stages.timm_network as library

    asked = []

    def given(config, fetch):
        asked.append(fetch)
        raise RunError("no further")

    monkeypatch.setattr(library, "hub_file", given)
    for command in (("train", "--fold", 0), ("crossval",)):
        call(*command, "--data", tiny_prepared, "--preset", "smoke", "--pretrained", "--method", "timm", "--dry-run", code=1)
    assert asked == [False, False]
