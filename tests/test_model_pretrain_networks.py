"""A classifier on everybody of another database, and runs that start from it: what is carried over, how it learns on, what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint
from fer_model.errors import ConfigError, FoldError
from fer_model.job import Job, default_run
from fer_model.runs.methods import gather
from fer_model.runs.pretrained import read_pretrained
from fer_model.stages.cnn import CnnStage
from fer_model.stages.inputs import StageInputs
from fer_model.train import train
from tests.commands import call_in_one_line as call
from tests.stepping import do
from tests.test_model_ablations import same_tensors
from tests.test_model_engine import Stop, quiet, stop_at

CPU = torch.device("cpu")
SMOKE = preset("smoke", method="cnn", fold=1, init="0" * 64)
WORDS = ("pretrain", "--method", "cnn", "--preset", "smoke")


@pytest.fixture(scope="module")
def pretrained(others, tmp_path_factory):
    """A complete run of pre-training, with people of its own to choose the weights by."""
    run = tmp_path_factory.mktemp("pretrained") / "p"
    call(*WORDS, "--data", others, "--run", run, "--selection", "validation", "--set", "validation_share=0.3")
    return run


def started_stage(pretrained, data, **changes):
    """Return the baseline's stage on another database, started from the run, and a fresh one."""
    fold = read_prepared(data).fold(1)
    config = resolve_budgets(replace(SMOKE, cnn=replace(SMOKE.cnn, **changes)), len(fold.train))
    stage, fresh = (CnnStage(StageInputs(config, fold, open_views(data, fold.train), CPU)) for _ in range(2))
    read_pretrained(pretrained, config, fold).start(stage)
    return stage, fresh


def test_a_classifier_is_pre_trained_on_everybody_but_those_it_is_chosen_by(pretrained, others):
    """Seen red: nobody set aside."""
    content, result = (json.loads((pretrained / name).read_text()) for name in ("config.json", "result.json"))
    assert content["config"]["fold"] is None and content["n_test"] == 0 and content["n_validation"] > 0
    assert sorted([*content["identities"], *content["validation_people"]]) == [f"others/S{i:03d}" for i in range(5)]
    assert "evaluation" not in result and "training people set aside" in result["rules"]["epoch"]
    assert "is a run of pretrain: nobody was held out" in call("evaluate", pretrained, code=1)
    assert str(default_run(Job(others, Path(), replace(SMOKE, fold=None, init=None)))) == "runs/others-pretrain-cnn-smoke"


def test_what_comes_after_it_is_a_command_that_works(pretrained, tiny_prepared, others, tmp_path):
    """Seen red: one without --method, which asked for stage 1 of DE-GAN; and `all of`, of a database of which a part is left out."""
    said = call(*WORDS, "--data", others, "--run", pretrained, "--selection", "validation", "--set", "validation_share=0.3")
    command = re.search(r"`fer-model (train .*--init \S+)` starts from it", " ".join(said.split()))[1]
    assert "--method cnn --preset smoke" in command
    call(*command.replace("PREPARED", str(tiny_prepared)).split(), "--run", tmp_path / "r", "--dry-run")
    wrong = command.replace("PREPARED", str(tiny_prepared)).replace("--method cnn ", "").split()
    said = call(*wrong, "--run", tmp_path / "r", code=1)
    assert f"starting from {pretrained}: it was trained with method cnn, and degan is asked for; give --method cnn here" in said


@pytest.mark.parametrize("average", [0.0, 0.02])
def test_all_but_the_classifier_and_the_statistics_is_carried_over(pretrained, tiny_prepared, average):
    """Seen red: BN's statistics left as they were."""
    stage, fresh = started_stage(pretrained, tiny_prepared, average_half_kimg=average)
    theirs, drawn = checkpoint.read_tensors(pretrained / "cnn.safetensors"), fresh.weights()
    for network in (stage.learner.network, stage.used["cnn"]):
        for name, tensor in network.state_dict().items():
            if name.startswith("classifier.") or "running" in name or "num_batches" in name:
                assert torch.equal(tensor, drawn[f"cnn/{name}"]), name
            else:
                assert torch.equal(tensor, theirs[f"cnn/{name}"]), name


@pytest.mark.parametrize("frozen", [0, 2])
def test_what_is_carried_over_learns_slowly_and_its_first_layers_not(pretrained, tiny_prepared, frozen):
    """Adam's first step is as long as the step size, in every weight that has a gradient. Seen red, each: the share left out; one
    layer less frozen."""
    stage, _ = started_stage(pretrained, tiny_prepared, lr=1e-3, carried_lr=0.1, frozen=frozen)
    network = stage.learner.network
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    do(stage, 0)
    moved = {name: float((weight.detach() - before[name]).abs().max()) for name, weight in network.named_parameters()}
    still = {f"layers.{layer}.{part}" for layer in range(frozen) for part in ("0.weight", "1.weight", "1.bias")}
    assert {name for name, by in moved.items() if by == 0} == still
    for name in set(moved) - still:
        assert moved[name] == pytest.approx(1e-3 if name.startswith("classifier.") else 1e-4, rel=0.05), name


def test_the_first_layers_of_every_member_stay(tiny_prepared):
    """Seen red: those of the first member alone."""
    fold = read_prepared(tiny_prepared).fold(1)
    config = resolve_budgets(replace(SMOKE, cnn=replace(SMOKE.cnn, members=3, frozen=2)), len(fold.train))
    network = CnnStage(StageInputs(config, fold, open_views(tiny_prepared, fold.train), CPU)).learner.network
    still = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    parts = ("0.weight", "1.weight", "1.bias")
    assert still == {f"members.{member}.layers.{layer}.{part}" for member in range(3) for layer in range(2) for part in parts}


def test_a_started_run_says_what_was_seen_before_and_resumes_to_the_same_bits(pretrained, tiny_prepared, tmp_path):
    """In the label of a report too."""
    words = ("train", "--method", "cnn", "--data", tiny_prepared, "--fold", 1, "--preset", "smoke", "--init", pretrained)
    said = call(*words, "--run", tmp_path / "whole")
    assert "cnn starts from" in said and "made new: classifier; statistics of BN" in said
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert "others: 5 people" in result["rules"]["pre_training"] and result["name"] == "cnn-pretrained"
    job = Job(tiny_prepared, tmp_path / "stopped", replace(SMOKE, init=None), init=pretrained)
    with pytest.raises(Stop):
        train(job, "cpu", say=quiet, hook=stop_at("cnn", 5), save_every_s=0)
    train(job, "cpu", say=quiet, save_every_s=0)
    assert same_tensors(tmp_path / "whole" / "cnn.safetensors", tmp_path / "stopped" / "cnn.safetensors")
    assert gather([tmp_path / "whole"])[0].label == "CNN (baseline), pre-trained on others"


def test_the_recipe_is_for_runs_that_start_from_another(others, tiny_prepared, tmp_path):
    """By a dry run; all else is refused before anything is written. Seen red, each: without the check; for every method."""
    call("pretrain", "--method", "cnn", "--preset", "small", "--set", "cnn.kimg=0.1", "--data", others, "--run", tmp_path / "p")
    words = ("--data", tiny_prepared, "--preset", "pretrained", "--run", tmp_path / "r")
    said = call("train", *words, "--method", "cnn", "--fold", 1, "--init", tmp_path / "p", "--dry-run")
    assert "preset pretrained, nothing changed" in said and "(36 kimg;" in said and "carried_lr 0.1" in said
    for command in (("train", "--fold", 1), ("crossval",), ("sweep", "--set", "cnn.lr=1e-3,2e-3"), ("pretrain",)):
        said = call(*command, *words, "--method", "cnn", code=1)
        assert "preset pretrained is for runs that start from another; give train, crossval or sweep --init RUN" in said
    said = call("train", *words, "--fold", 1, code=1)
    assert "preset pretrained is for cnn, timm or own, not for degan; choose another" in said
    assert not (tmp_path / "r").exists()


def test_people_who_are_unknown_are_pre_trained_on_and_the_tested_part_is_left_out(unknown, tiny_prepared, others, tmp_path):
    """Its own parts train and validate; a run on a database with people starts from it; one that holds the same pictures does not.

    Seen red: what a start had started from itself not looked at; its pictures tested by `evaluate --data`.
    """
    source = tmp_path / "p"
    call(*WORDS, "--data", unknown, "--run", source, "--selection", "validation")
    content = json.loads((source / "config.json").read_text())
    assert (content["n_train"], content["n_validation"], content["n_test"], content["identities"]) == (112, 14, 0, [])
    train(Job(tiny_prepared, tmp_path / "r", replace(SMOKE, init=None), init=source), "cpu", say=quiet)
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert "fer2013: people unknown, 112 faces" in result["rules"]["pre_training"] and result["init"]["people"] == 0
    for init in (source, tmp_path / "r"):                                # itself, or what it had started from
        with pytest.raises(FoldError, match="which holds pictures of fer2013, on which it would be tested"):
            train(Job(unknown, tmp_path / "own", replace(SMOKE, fold=0, fold_rule="official", init=None), init=init), "cpu", say=quiet)
    said = call("evaluate", tmp_path / "r", "--data", unknown, code=1)
    assert "it was trained on fer2013, which holds pictures of fer2013, on which it would be tested" in said
    start = read_pretrained(tmp_path / "r", SMOKE, read_prepared(others).fold(1))
    assert "tiny: 4 people, 24 faces, 0.128 kimg; before that fer2013: people unknown, 112 faces, 0.128 kimg" in start.sentence()
    assert len(start.entry()["people"]) == 4 and "people" not in start.entry()["before"]


def test_where_no_part_is_named_all_is_pre_trained_on(unknown):
    """As of ExpW. Seen red: refused, as there was no part to test."""
    prepared, everybody = read_prepared(unknown), replace(SMOKE, fold=None, init=None)
    prepared = replace(prepared, rows=prepared.rows.assign(split=""))
    fold = prepared.fold_of(everybody)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (140, 0, 0)
    fold = prepared.fold_of(replace(everybody, selection="validation"))
    assert len(fold.train) + len(fold.validation) == 140 and len(fold.validation) > 0
    with pytest.raises(FoldError, match="a part to train on and one to test, it has 0 and 0"):
        prepared.official(False, 0.1, 0)


def test_what_does_not_fit_or_has_seen_who_is_tested_is_refused(pretrained, others, tiny_prepared, tmp_path):
    """Somebody by whom the weights were chosen counts as seen. Seen red: the people set aside left out; tensors named, and no setting."""
    for name, value, there in (("channels", 8, 4), ("members", 5, 1)):
        wider = replace(SMOKE, init=None, cnn=replace(SMOKE.cnn, **{name: value}))
        says = f"same sizes, but cnn.{name} is {there} there and {value} here; give both runs the same preset and the same cnn.{name}"
        with pytest.raises(ConfigError, match=says):
            train(Job(tiny_prepared, tmp_path / "r", wider, init=pretrained), "cpu", say=quiet)
    other = replace(SMOKE, init=None, network=replace(SMOKE.network, noise=5))       # of no network of the baseline's
    assert read_pretrained(pretrained, other, read_prepared(tiny_prepared).fold(1)).stage == "cnn"
    aside = json.loads((pretrained / "config.json").read_text())["validation_people"]
    number = int(read_prepared(others).rows.query(f"subject == '{aside[0].partition('/')[2]}'")["fold"].iloc[0])
    with pytest.raises(FoldError, match="who is held out in fold"):
        train(Job(others, tmp_path / "r", replace(SMOKE, fold=number, init=None), init=pretrained), "cpu", say=quiet)
    with pytest.raises(ConfigError, match="method iacnn has no stage 1 that could start from a run"):
        Job(tiny_prepared, tmp_path / "r", preset("smoke", method="iacnn"), init=pretrained)
    with pytest.raises(ConfigError, match="fold is none; degan needs a test fold"):
        preset("smoke", fold=None)
    assert not (tmp_path / "r" / "config.json").exists()
