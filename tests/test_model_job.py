"""A job: the precision that all its runs share, and what train, plan and crossval make of it."""

import json
from dataclasses import replace

import pytest

from fer_model.config import preset
from fer_model.crossval import crossval, plan_crossval
from fer_model.job import Job
from fer_model.plan import plan
from fer_model.runs.folder import RunFolder
from fer_model.train import train
from tests.commands import call

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
    assert plan_crossval(job, (0, 1), repeats, ("cpu",)).one.config.precision == "bf16"
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
