"""Stage 1 on everybody of another database, and runs that start from it: what is carried over, what is refused."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets, with_budgets
from fer_model.crossval import crossval
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint
from fer_model.errors import ConfigError, FoldError, RunError
from fer_model.job import Job, default_run
from fer_model.networks import Decoder
from fer_model.plan import plan
from fer_model.runs.pretrained import read_pretrained
from fer_model.runs.trained import load_run
from fer_model.stages.gan import GanStage
from fer_model.stages.inputs import StageInputs
from fer_model.train import train
from tests.commands import call_in_one_line as call
from tests.configs import with_head
from tests.test_model_ablations import same_tensors
from tests.test_model_engine import Stop, quiet, stop_at, ticks_of

CPU = torch.device("cpu")
SMOKE = preset("smoke", fold=1)
EVERYBODY = preset("smoke", method="pretrain", fold=None)


@pytest.fixture(scope="module")
def pretrained(others, tmp_path_factory):
    """A complete run of pre-training, made by the command."""
    run = tmp_path_factory.mktemp("pretrained") / "p"
    call("pretrain", "--data", others, "--run", run, "--preset", "smoke")
    return run


@pytest.fixture(scope="module")
def started(tiny_prepared, pretrained, tmp_path_factory):
    """A complete run that starts from it."""
    run = tmp_path_factory.mktemp("started") / "s"
    train(Job(tiny_prepared, run, SMOKE, init=pretrained), "cpu", say=quiet)
    return run


def test_pre_training_is_stage_one_on_everybody(pretrained, others):
    """Seen red: fold 0 held out."""
    names = sorted(path.name for path in pretrained.iterdir() if path.is_file() and path.name != ".lock")
    assert names == ["config.json", "gan.safetensors", "judges.safetensors", "log.jsonl", "result.json", "samples.png"]
    content, result = (json.loads((pretrained / name).read_text()) for name in ("config.json", "result.json"))
    assert content["identities"] == [f"others/S{i:03d}" for i in range(5)]
    assert (content["n_train"], content["n_test"], content["config"]["fold"]) == (40, 0, None)
    assert (result["method"], result["n_train"], result["people"], list(result["stages"])) == ("pretrain", 40, 5, ["gan"])
    assert "evaluation" not in result and result["rules"] == {"epoch": "last", "pre_training": "none"}
    tensors = checkpoint.read_tensors(pretrained / "gan.safetensors")
    assert tensors["discriminator/identity.weight"].shape[0] == 5 and tensors["discriminator/expression.weight"].shape[0] == 5
    trained = load_run(pretrained, "cpu")
    assert set(trained.networks) == {"encoder"} and trained.generator.encoder is trained.networks["encoder"]
    assert "nothing was left to do" in call("pretrain", "--data", others, "--run", pretrained, "--preset", "smoke")


def test_pre_training_that_was_stopped_ends_in_the_same_bits(pretrained, others, tmp_path):
    run = tmp_path / "r"
    with pytest.raises(Stop):
        train(Job(others, run, EVERYBODY), "cpu", say=quiet, hook=stop_at("gan", 5), save_every_s=0)
    train(Job(others, run, EVERYBODY), "cpu", say=quiet, save_every_s=0)
    assert same_tensors(run / "gan.safetensors", pretrained / "gan.safetensors") and ticks_of(run) == ticks_of(pretrained)


def assert_carried_over(pretrained, data, config, codes):
    """Compare every tensor of a stage 1 that starts from a run with the run's, in which G had `codes` codes of people, and with those of a
    stage that starts fresh; return the stage."""
    fold = read_prepared(data).fold(1)
    config, views = resolve_budgets(config, len(fold.train)), open_views(data, fold.train)
    stage, fresh = (GanStage(StageInputs(config, fold, views, CPU)) for _ in range(2))
    read_pretrained(pretrained, config, fold).start(stage)
    mine, drawn, theirs = stage.weights(), fresh.weights(), checkpoint.read_tensors(pretrained / "gan.safetensors")
    of_people = {"discriminator/identity.weight", "discriminator/identity.bias"}
    assert mine.keys() == theirs.keys() | of_people and (of_people <= theirs.keys()) == bool(codes)
    n_f, n_noise = SMOKE.network.representation, SMOKE.network.noise
    for name, tensor in mine.items():
        if re.match(r"discriminator/(expression|identity)\.", name):
            assert torch.equal(tensor, drawn[name]), name
        elif name != "decoder/fc.weight":
            assert torch.equal(tensor, theirs[name]), name
    found, before, other = (some["decoder/fc.weight"] for some in (mine, drawn, theirs))
    assert found.shape[1] == n_f + 4 + n_noise and other.shape[1] == n_f + codes + n_noise
    assert torch.equal(found[:, :n_f], other[:, :n_f]) and torch.equal(found[:, -n_noise:], other[:, n_f + codes :])
    assert torch.equal(found[:, n_f:-n_noise], before[:, n_f:-n_noise])
    return stage


@pytest.mark.parametrize("average", [0.0, 0.02])
def test_what_is_carried_over_and_what_is_new(pretrained, tiny_prepared, average):
    """Every tensor, against the file and against a fresh stage. Seen red, each: D's heads carried over where they fit; the
    columns of the noise left as drawn; the decoder's code columns carried over."""
    stage = assert_carried_over(pretrained, tiny_prepared, replace(SMOKE, gan=replace(SMOKE.gan, average_half_kimg=average)), codes=5)
    learning, used = stage.generator.state_dict(), stage.finished.state_dict()
    assert all(torch.equal(learning[name], used[name]) for name in used), "the average starts where G does"


def test_without_a_code_the_decoder_draws_what_it_drew(pretrained, tiny_prepared):
    """An identity: codes of zeros, the same f(x) and noise, networks for 5 and for 4 people."""
    fold, config = read_prepared(tiny_prepared).fold(1), resolve_budgets(SMOKE, 24)
    stage = GanStage(StageInputs(config, fold, open_views(tiny_prepared, fold.train), CPU))
    read_pretrained(pretrained, config, fold).start(stage)
    theirs = Decoder(SMOKE.network, 5)
    checkpoint.load_module("decoder", theirs, checkpoint.read_tensors(pretrained / "gan.safetensors"), "")
    rng = torch.Generator().manual_seed(0)
    f, noise = torch.randn(3, SMOKE.network.representation, generator=rng), torch.rand(3, SMOKE.network.noise, generator=rng)
    with torch.no_grad():
        drew = theirs.eval()(f, torch.zeros(3, 5), noise)
        draws = stage.generator.decoder.eval()(f, torch.zeros(3, 4), noise)
    assert draws == pytest.approx(drew, abs=1e-6)


def test_a_run_names_what_it_started_from(started, pretrained, tiny_prepared, tmp_path):
    """In config.json, result.json, the log and on the screen; and it is another run than one from random weights. Seen red: the
    weights put in after training."""
    digest = hashlib.sha256((pretrained / "gan.safetensors").read_bytes()).hexdigest()
    content, result = (json.loads((started / name).read_text()) for name in ("config.json", "result.json"))
    assert content["config"]["init"] == content["init"]["sha256"] == result["init"]["sha256"] == digest
    assert content["init"]["people"] == [f"others/S{i:03d}" for i in range(5)] and result["init"]["people"] == 5
    assert content["init"]["carried_over"][0] == "encoder" and content["init"]["made_new"][0] == "discriminator's heads"
    rule = result["rules"]["pre_training"]
    assert "others: 5 people, 40 faces, 0.064 kimg" in rule
    assert "carried over: encoder" in rule and "made new: discriminator's heads" in rule
    assert result["name"] == "degan-pretrained"
    said = []
    train(Job(tiny_prepared, tmp_path / "plain", SMOKE), "cpu", say=said.append)
    assert not any("starts from" in sentence for sentence in said)
    assert json.loads((tmp_path / "plain" / "result.json").read_text())["rules"]["pre_training"] == "none"
    assert not same_tensors(tmp_path / "plain" / "gan.safetensors", started / "gan.safetensors")
    mine, theirs = (checkpoint.read_tensors(run / "gan.safetensors") for run in (started, pretrained))
    weights = [name for name in mine if name.startswith(("encoder/", "discriminator/trunk")) and name.endswith("0.weight")]
    assert len(weights) == 28 and not any(torch.equal(mine[name], theirs[name]) for name in weights), "it was trained on"
    with pytest.raises(ConfigError, match=f"init was None when the run was started and is '{digest}' now"):
        train(Job(tiny_prepared, tmp_path / "plain", SMOKE, init=pretrained), "cpu", say=quiet)


@pytest.mark.parametrize("step", [0, 3, 6])
def test_a_started_run_that_was_stopped_ends_in_the_same_bits(started, pretrained, tiny_prepared, tmp_path, step):
    """Seen red: what is carried over put in after the checkpoint."""
    run, said = tmp_path / "r", []
    with pytest.raises(Stop):
        train(Job(tiny_prepared, run, SMOKE, init=pretrained), "cpu", say=said.append, hook=stop_at("gan", step), save_every_s=0)
    assert any("gan starts from" in line and "5 people" in line and "made new" in line for line in said)
    train(Job(tiny_prepared, run, SMOKE, init=pretrained), "cpu", say=quiet, save_every_s=0)
    for name in ("gan.safetensors", "head.safetensors"):
        assert same_tensors(run / name, started / name)
    assert ticks_of(run) == ticks_of(started)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"representation": 17}, "network.representation is 16 there and 17 here"),
        ({"width": 0.25}, "network.width is 0.125 there and 0.25 here"),
        ({"image_size": 96}, "network.image_size is 48 there and 96 here; give both runs the same preset and the same network.image_size"),
    ],
)
def test_networks_of_other_sizes_are_refused(pretrained, tiny_prepared, tmp_path, change, message):
    config = replace(SMOKE, network=replace(SMOKE.network, **change))
    for doing in (lambda: train(Job(tiny_prepared, tmp_path / "r", config, init=pretrained), "cpu", say=quiet),
                  lambda: plan(Job(tiny_prepared, tmp_path / "r", config, init=pretrained), "cpu")):
        with pytest.raises(ConfigError, match=f"networks must have the same sizes, but {message}"):
            doing()
    assert not (tmp_path / "r" / "config.json").exists()


def test_weights_that_know_a_held_out_person_are_refused(tiny_prepared, others, started, write_tiny, tmp_path):
    """The same database, its cropped copy, somebody set aside, and people that the source has from its own source. Seen red, each:
    the validation side, the copy's other name, or the source's source left out."""
    own = tmp_path / "own"
    train(Job(tiny_prepared, own, EVERYBODY), "cpu", say=quiet)
    with pytest.raises(FoldError, match=r"it was trained on tiny/S001 \(2 people in all\), who is held out in fold 1"):
        train(Job(tiny_prepared, tmp_path / "r", SMOKE, init=own), "cpu", say=quiet)

    names = {name: write_tiny(tmp_path / name, dataset=name) for name in ("ck+", "ck48")}
    train(Job(names["ck48"], tmp_path / "copy", EVERYBODY), "cpu", say=quiet)
    with pytest.raises(FoldError, match=r"it was trained on ck\+/S001 \(2 people in all\)"):
        train(Job(names["ck+"], tmp_path / "r", SMOKE, init=tmp_path / "copy"), "cpu", say=quiet)

    fold = {0: 1, 1: 0, 2: 1, 3: 1, 4: 1, 5: 1}                          # nobody of a run on fold 0 here but S001 is tested
    alone = write_tiny(tmp_path / "alone", fold_of=lambda person, sequence: fold[person])
    train(Job(alone, tmp_path / "knows", replace(SMOKE, fold=0)), "cpu", say=quiet)
    aside = preset("smoke", fold=0, selection="validation")
    with pytest.raises(FoldError, match=r"it was trained on tiny/S00\d .*, who is held out in fold 0"):
        train(Job(alone, tmp_path / "r", aside, init=tmp_path / "knows"), "cpu", say=quiet)

    with pytest.raises(FoldError, match=r"it was trained on others/S002 .*, who is held out in fold 2"):
        train(Job(others, tmp_path / "r", replace(SMOKE, fold=2), init=started), "cpu", say=quiet)
    assert not (tmp_path / "r" / "config.json").exists()


def test_what_is_no_complete_stage_one_is_refused(tiny_prepared, pretrained, others, tmp_path):
    with pytest.raises(RunError, match=r"there is no .*config\.json; `fer-model train` writes it"):
        train(Job(tiny_prepared, tmp_path / "r", SMOKE, init=tmp_path), "cpu", say=quiet)
    with pytest.raises(ConfigError, match="it was trained with method pretrain, and cnn is asked for; give no --method here"):
        train(Job(tiny_prepared, tmp_path / "r", replace(SMOKE, method="cnn"), init=pretrained), "cpu", say=quiet)
    with pytest.raises(ConfigError, match="this is the run to be trained; choose another run"):
        train(Job(others, pretrained, EVERYBODY, init=pretrained), "cpu", resume=False, say=quiet)
    with pytest.raises(ConfigError, match="method was 'pretrain' when the run was started and is 'degan' now"):
        train(Job(others, pretrained, SMOKE), "cpu", say=quiet)
    assert (pretrained / "gan.safetensors").is_file()


def test_a_fold_belongs_to_training_and_not_to_pre_training(others):
    call("pretrain", "--data", others, "--fold", 0, code=2)
    with pytest.raises(ConfigError, match="fold is 0; pretrain holds nobody out, so it must be none"):
        preset("smoke", method="pretrain", fold=0)
    with pytest.raises(ConfigError, match="fold is none; degan needs a test fold"):
        preset("smoke", fold=None)


def test_pre_training_needs_people_to_tell_apart(write_tiny, tmp_path):
    lonely = write_tiny(tmp_path / "one", people=1, folds=1)
    said = call("pretrain", "--data", lonely, "--preset", "smoke", code=1)
    assert "at least 2 people and 2 expressions are needed, there are 1 and 3" in said


def test_a_dry_run_of_pre_training_writes_nothing(others, pretrained, tiny_prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = call("pretrain", "--data", others, "--preset", "smoke", "--dry-run")
    assert "40 training faces, nobody held out" in said and "gan: 8 steps of 8 images" in said and "head:" not in said
    assert "nothing was written" in said and not list(tmp_path.iterdir())
    said = call("train", "--data", tiny_prepared, "--fold", 1, "--preset", "smoke", "--init", pretrained, "--dry-run")
    assert "head: 8 steps" in said and not list(tmp_path.iterdir())


def test_default_folders_tell_pre_training_apart(others, tiny_prepared, pretrained):
    """And what each starts from. Seen red: two starts with one folder, so that the second run was refused."""
    assert str(default_run(Job(others, Path(), EVERYBODY))) == "runs/others-pretrain-smoke"
    job = Job(tiny_prepared, Path(), SMOKE, init=pretrained)
    assert str(default_run(job)) == f"runs/tiny-degan-pretrained-smoke-{job.config.init[:8]}-fold1"
    assert default_run(replace(job, config=replace(SMOKE, init="f" * 64))) != default_run(job)


def test_an_ablation_on_a_pretrained_stage_one_says_so_too(started, pretrained, tiny_prepared, tmp_path):
    """--gan takes what --init has started; without --init it is another stage 1."""
    config = with_head(SMOKE, "f-svm")
    with pytest.raises(ConfigError, match=r"init is '[0-9a-f]{64}' there and None here"):
        train(Job(tiny_prepared, tmp_path / "r", config, gan=started), "cpu", say=quiet)
    train(Job(tiny_prepared, tmp_path / "r", config, gan=started, init=pretrained), "cpu", say=quiet)
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["name"] == "degan-f-svm-pretrained" and "others: 5 people" in result["rules"]["pre_training"]
    assert same_tensors(tmp_path / "r" / "gan.safetensors", started / "gan.safetensors")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.torture)])
def test_cross_validation_passes_both_on(started, pretrained, tiny_prepared, tmp_path, jobs):
    """Every fold starts from the pre-trained run; an ablation takes each fold's own stage 1. Seen red: fold 0's for all."""
    tiny = with_budgets(SMOKE, gan=0.016, head=0.016)
    given = {"folds": (0, 1), "jobs": jobs, "say": quiet}
    both = Job(tiny_prepared, tmp_path / "both", tiny, init=pretrained)
    first = crossval(both, **given)
    second = crossval(Job(tiny_prepared, tmp_path / "svm", with_head(tiny, "f-svm"), both.run, pretrained), **given)
    assert not first.failed and not second.failed
    for fold in ("fold0", "fold1"):
        assert same_tensors(tmp_path / "both" / fold / "gan.safetensors", tmp_path / "svm" / fold / "gan.safetensors")
        result = json.loads((tmp_path / "svm" / fold / "result.json").read_text())
        assert result["stages"]["gan"]["taken_from"].endswith(f"both/{fold}") and "others" in result["rules"]["pre_training"]
    again = crossval(both, **given)
    assert again.passed_over == 2
