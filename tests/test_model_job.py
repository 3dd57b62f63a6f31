"""A job: the precision that all its runs share, and what train, plan and crossval make of it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fer_model.config import preset
from fer_model.crossval import crossval, default_crossval, plan_crossval
from fer_model.errors import RunError
from fer_model.job import Job, default_run
from fer_model.plan import plan
from fer_model.runs.folder import RunFolder
from fer_model.sweep import Point, Sweep, default_sweep
from fer_model.train import train
from tests.commands import call
from tests.model_runs import write_fold

CNN = preset("smoke", method="cnn", precision="auto")


@pytest.mark.parametrize("repeats", [0, 1])
def test_auto_is_what_the_first_run_was_started_with(tiny_prepared, tmp_path, monkeypatch, repeats):
    """On a machine that would choose otherwise: train, plan and crossval go by the runs that are there. Seen red, each: the folds of
    a cross-validation not looked at; plan asking the device alone; of --no-resume the run that is removed."""
    best = {"answer": "bf16"}
    monkeypatch.setattr("fer_model.job.resolve_precision", lambda asked, device: best["answer"] if asked == "auto" else asked)
    job = Job(tiny_prepared, tmp_path / "runs", CNN)
    crossval(job, folds=(0,), repeats=repeats, devices=("cpu",), say=lambda _: None)
    first = next((tmp_path / "runs").glob("**/fold0"))
    assert RunFolder(first).read_config()[0].precision == "bf16"
    best["answer"] = "fp32"
    assert plan_crossval(job, (0, 1), repeats, 1, ("cpu",)).one.config.precision == "bf16"
    assert crossval(job, (0, 1), repeats, 1, ("cpu",), lambda _: None).passed_over == 1
    assert RunFolder(first.with_name("fold1")).read_config()[0].precision == "bf16"
    if not repeats:
        one = replace(job, run=first)
        assert plan(one, "cpu").config.precision == "bf16" and train(one, "cpu", say=lambda _: None).was_complete
        words = ("train", "--data", tiny_prepared, "--run", first, "--fold", 0, "--method", "cnn", "--preset", "smoke", "--device", "cpu")
        words += ("--set", "precision=auto", "--dry-run", "--json")
        asked = {how: json.loads(call(*words, how))["config"]["precision"] for how in ("--resume", "--no-resume")}
        assert asked == {"--resume": "bf16", "--no-resume": "fp32"}
        assert plan(replace(job, run=tmp_path / "other"), "cpu").config.precision == "fp32"


@pytest.mark.parametrize("init", [None, "f" * 64])
@pytest.mark.parametrize(("default", "what"), [
    (default_run, "-fold0"), (default_crossval, ""), (lambda job: default_crossval(job, 2), "-repeated"),
    (lambda job: default_sweep(Sweep(job.data, Path(), (Point({"cnn.lr": 1e-3}, job.config),))), "-sweep-cnn.lr"),
])
def test_a_run_in_the_folder_of_before_is_not_started_again_in_silence(default, what, init, tiny_prepared, tmp_path, monkeypatch):
    """The names of folders had neither preset nor start. Seen red: trained from nothing in a new folder; another preset refused."""
    monkeypatch.chdir(tmp_path)
    old = Path("runs") / f"tiny-cnn{'-pretrained' if init else ''}{what}"
    jobs = [Job(tiny_prepared, Path(), preset(name, method="cnn", init=init)) for name in ("smoke", "strong")]
    new, other = map(default, jobs)
    write_fold(old if what == "-fold0" else old / "fold0", "cnn", stop="gan", change=lambda content: content["config"].update(init=init))
    with pytest.raises(RunError, match=re.escape(f"was started in {old}, as {new} was called before; give --run {old}, or another")):
        default(jobs[0])
    assert default(jobs[1]) == other != new
    new.mkdir()
    assert default(jobs[0]) == new


def test_the_preset_for_starts_is_called_recipe_in_a_name(tiny_prepared):
    """Without it, it would share a folder with small. Seen red: cnn-pretrained-pretrained."""
    jobs = {name: Job(tiny_prepared, Path(), preset(name, method="cnn", init="f" * 64)) for name in ("pretrained", "small")}
    assert {name: str(default_crossval(job)) for name, job in jobs.items()} == {
        "pretrained": "runs/tiny-cnn-pretrained-recipe-ffffffff", "small": "runs/tiny-cnn-pretrained-ffffffff",
    }


@pytest.mark.parametrize("command", ["train", "crossval", "sweep"])
def test_the_help_names_the_parts_of_the_default_folder(command):
    """Seen red: no start; of sweep no preset."""
    assert "[-<preset>][-<start>]" in "".join(call(command, "--help").split())
