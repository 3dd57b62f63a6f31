"""Whole runs from the command line: what lies on disk, what is refused, what a second call does."""

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import filelock
import pandas as pd
import pytest
import torch
from filelock import FileLock
from rich.console import Console
from safetensors.torch import load_file, save_file

import fer_model.plan as library
from fer_data.errors import FerError, ShardError
from fer_data.store import manifest
from fer_model.config import from_json, preset
from fer_model.data.fold import read_prepared
from fer_model.engine.devices import resolve_precision
from fer_model.errors import CheckpointError, ConfigError, FoldError, RunError
from fer_model.job import Job, settled
from fer_model.plan import plan
from fer_model.runs.folder import RunFolder
from fer_model.runs.trained import load_run
from fer_model.train import train
from tests.commands import call
from tests.model_runs import write_fold

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def run(tiny_prepared, tmp_path_factory):
    """A complete run of DE-GAN on fold 2, made by the command."""
    folder = tmp_path_factory.mktemp("run") / "r"
    call("train", "--data", tiny_prepared, "--run", folder, "--fold", 2, "--preset", "smoke")
    return folder


def test_a_run_folder_holds_what_it_promises(run, tiny_prepared):
    names = sorted(path.name for path in run.iterdir() if path.is_file() and path.name != ".lock")
    weights = ["gan.safetensors", "head.safetensors", "judges.safetensors"]
    assert names == sorted([*weights, "config.json", "log.jsonl", "predictions.csv", "result.json", "samples.png"])
    config = json.loads((run / "config.json").read_text())
    resolved = from_json(json.dumps(config["config"]))
    assert (resolved.fold, resolved.method, resolved.preset, resolved.precision) == (2, "degan", "smoke", "fp32")
    assert resolved.gan.epochs is None and resolved.gan.kimg == 0.064 and resolved.cnn.kimg == 0.128
    assert re.fullmatch(r"[0-9a-f]{64}", config["manifest_sha256"]) and re.fullmatch(r"[\d.]+\+[0-9a-f]{12}", config["code_version"])
    fold = read_prepared(tiny_prepared).fold(2)
    predictions = pd.read_csv(run / "predictions.csv")
    assert predictions["image_id"].tolist() == fold.test["image_id"].tolist()
    assert predictions["expression"].tolist() == fold.test["expression"].tolist()
    assert list(predictions.columns[5:]) == ["p_anger", "p_happiness", "p_surprise"]
    result = json.loads((run / "result.json").read_text())
    assert result["stages"]["gan"]["steps"] == 8 and result["stages"]["head"]["kimg"] == 0.064
    assert result["evaluation"]["n_images"] == 12 and result["rules"]["epoch"] == "last"
    predicts = load_run(run, "cpu").networks
    assert set(predicts) == {"encoder", "head"}, "neither D nor the decoder"
    assert result["parameters"] == sum(one.numel() for network in predicts.values() for one in network.parameters())


def test_faces_that_changed_since_they_were_written_are_not_trained_on(tiny_prepared, tmp_path):
    """One byte of a face, which no reader notices. Seen red: it was trained on, with exit code 0."""
    data = shutil.copytree(tiny_prepared, tmp_path / "prepared")
    shard = next((data / "shards").glob("*.h5"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    said = call("train", "--data", data, "--run", tmp_path / "r", "--fold", 0, "--preset", "smoke", "--method", "cnn", code=1)
    assert f"{shard} has changed since it was written; the `prepare` command that wrote it makes it again" in said
    assert not (tmp_path / "r").exists()


def test_weights_that_are_not_finite_are_not_used(run, tmp_path):
    """Seen red: `predict` said "anger nan%" with exit code 0, `probe` was a traceback, and `export` wrote the file."""
    copy = shutil.copytree(run, tmp_path / "r")
    tensors = load_file(copy / "head.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file({**tensors, name: tensors[name] * torch.nan}, copy / "head.safetensors")
    with pytest.raises(CheckpointError, match=rf"head\.safetensors has numbers in {name} that are not finite, its training failed; train"):
        load_run(copy, "cpu")


def test_faces_that_changed_while_it_trained_are_not_tested_on(tiny_prepared, tmp_path):
    """Prepared again in another terminal. Seen red: its figures were of whatever was in the folder by then. The weights stay, and the same
    command goes on when the faces are back."""
    data = shutil.copytree(tiny_prepared, tmp_path / "prepared")
    before = {path: path.read_bytes() for path in (data / "shards").glob("*.h5")}
    job = Job(data, tmp_path / "r", replace(preset("smoke", method="cnn"), fold=0))

    def spoil(*_):
        for path, content in before.items():
            path.unlink()                                                # a new file, as `prepare` writes it
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(ShardError, match="has changed since it was written"):
        train(job, "cpu", say=lambda line: spoil() if "cnn" in line else None)
    assert (tmp_path / "r/cnn.safetensors").is_file() and not (tmp_path / "r/predictions.csv").exists()
    for path, content in before.items():
        path.write_bytes(content)
    assert train(job, "cpu", say=lambda _: None).evaluation.n_images == 12


def test_a_complete_run_is_left_alone(run, tiny_prepared):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    said = call("train", "--data", tiny_prepared, "--run", run, "--fold", 2, "--preset", "smoke")
    assert "complete; nothing was left to do" in said and "accuracy per frame" in said
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--seed", 5], "seed was 0 when the run was started and is 5 now"),
        (["--fold", 1], "fold was 2 when the run was started and is 1 now"),
        (["--method", "cnn"], "method was 'degan' when the run was started and is 'cnn' now"),
        (["--kimg-head", 0.2], "head.kimg was 0.064 when the run was started and is 0.2 now"),
    ],
)
def test_a_run_of_another_configuration_is_refused_with_the_field(run, tiny_prepared, words, field):
    given = ["train", "--data", tiny_prepared, "--run", run, "--fold", 2, "--preset", "smoke", *words]
    assert field in call(*given, code=1).replace("\n", " ")


def test_a_run_on_another_manifest_is_refused(run, write_tiny, tmp_path):
    other = write_tiny(tmp_path / "other", seed=1, people=7)
    said = " ".join(call("train", "--data", other, "--run", run, "--fold", 2, "--preset", "smoke", code=1).split())
    assert f"{other} is not the prepared folder" in said
    assert said.endswith("on which the run was started; choose another --run, or --no-resume to start again")


def test_a_folder_that_holds_something_else_is_refused(tiny_prepared, tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    said = call("train", "--data", tiny_prepared, "--run", tmp_path, "--fold", 0, "--preset", "smoke", code=1)
    assert "must be new, empty or hold a run; it holds holiday.txt" in said
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"], "no lock is left in somebody else's folder"


def test_starting_anew_removes_the_run_and_nothing_else(tiny_prepared, tmp_path):
    run = tmp_path / "r"
    given = ["train", "--data", tiny_prepared, "--run", run, "--fold", 0, "--preset", "smoke", "--method", "cnn"]
    said = call(*given)
    assert "cnn: epochs none, kimg 0.128, batch 8, lr 1e-3, betas [0.5, 0.999]" in said, "the resolved configuration is printed"
    (run / "notes.txt").write_text("mine")
    first = (run / "cnn.safetensors").read_bytes()
    call(*given, "--seed", 1, "--no-resume")
    assert (run / "cnn.safetensors").read_bytes() != first and (run / "notes.txt").read_text() == "mine"
    assert json.loads((run / "config.json").read_text())["config"]["seed"] == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [("gan", "taking stage 1 from .*fold is 2 there and 1 here"), ("init", "who is held out in fold 1")],
)
def test_what_is_refused_removes_nothing_and_leaves_no_folder(run, tiny_prepared, tmp_path, source, says):
    """Seen red, each: refused once the folder had been made and cleared, so that --no-resume had removed a finished run."""
    there, new = tmp_path / "there", tmp_path / "new"
    shutil.copytree(run, there)
    before = {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()}
    for path in (there, new):
        with pytest.raises(FerError, match=says):
            train(Job(tiny_prepared, path, preset("smoke", fold=1), **{source: run}), "cpu", resume=False, say=lambda line: None)
    assert before == {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()} and not new.exists()


@pytest.mark.parametrize(("changes", "processes", "says"), [
    ({"head": {"taps": ("conv12", "conv23", "conv33", "foo")}}, 1, "unknown layer of head.taps 'foo'"),
    ({"network": {"d_without_norm": ("conv99",)}}, 1, "unknown layer of network.d_without_norm 'conv99'"),
    ({}, 3, r"3 processes cannot share judges\.batch 8"),
])
def test_settings_that_no_stage_can_be_made_with_remove_nothing(run, tiny_prepared, tmp_path, monkeypatch, changes, processes, says):
    """Seen red, each: refused where the stage was made, behind the removal of a finished run; of head.taps with stage 1 trained."""
    there, new = tmp_path / "there", tmp_path / "new"
    shutil.copytree(run, there)
    before = {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()}
    config = preset("smoke", fold=1)
    config = replace(config, **{name: replace(getattr(config, name), **inner) for name, inner in changes.items()})
    monkeypatch.setattr("fer_model.engine.distributed.size", lambda: processes)
    for path in (there, new):
        with pytest.raises(ConfigError, match=says):
            train(Job(tiny_prepared, path, config), "cpu", resume=False, say=lambda line: None)
    assert before == {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()} and not new.exists()
    monkeypatch.setattr("fer_model.engine.distributed.wait", lambda: None)
    assert train(Job(tiny_prepared, there, preset("smoke", fold=2)), "cpu", say=lambda line: None).was_complete, "nothing is to be shared"


def test_a_run_that_is_started_anew_takes_its_precision_from_nothing_that_lay_there(run, tiny_prepared, tmp_path):
    """Seen red: settled by config.json of the run that is removed."""
    there = tmp_path / "there"
    shutil.copytree(run, there)
    content = json.loads((there / "config.json").read_text())
    best = resolve_precision("auto", torch.device("cpu"))
    content["config"]["precision"] = "bf16" if best == "fp32" else "fp32"
    (there / "config.json").write_text(json.dumps(content))
    train(Job(tiny_prepared, there, preset("smoke", method="cnn", fold=1, precision="auto")), "cpu", resume=False, say=lambda line: None)
    assert json.loads((there / "config.json").read_text())["config"]["precision"] == best


@pytest.mark.parametrize(("name", "doing"), [
    ("r", "making the folder"), ("checkpoints", "making the folder"), ("samples", "making the folder"), (".lock", "locking"),
    ("log.jsonl", "writing"),
])
def test_a_full_disk_is_one_sentence_with_place_and_advice(name, doing, tiny_prepared, tmp_path, monkeypatch):
    """Seen red, each: "No space left on device" alone."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for one, real in (("mkdir", Path.mkdir), ("open", Path.open)):
        monkeypatch.setattr(Path, one, lambda path, *more, real=real, **named: (full if path.name == name else real)(path, *more, **named))
    if name == ".lock":
        monkeypatch.setattr(filelock.FileLock, "acquire", full)
    said = call("train", "--data", tiny_prepared, "--run", tmp_path / "r", "--fold", 0, "--preset", "smoke", "--device", "cpu", code=1)
    assert re.search(rf"Error: {doing} \S*{name}: No space left on device; free some space, then run the same command again", said), said


def test_a_person_in_two_folds_is_refused(write_tiny, tmp_path):
    leaky = write_tiny(tmp_path / "leaky", fold_of=lambda person, sequence: (person + (person == 3 and sequence == 2)) % 3)
    said = call("train", "--data", leaky, "--fold", 0, "--preset", "smoke", code=1)
    assert "a person may be in one fold only, tiny/S003 is in folds 0 and 1" in said and "(1 such people)" in said


def test_a_fold_that_is_not_there_is_refused_with_those_that_are(tiny_prepared):
    assert "; choose 0, 1 or 2" in call("train", "--data", tiny_prepared, "--fold", 9, "--preset", "smoke", code=1)


def test_reference_frames_are_neither_trained_nor_tested_on(write_tiny, tmp_path):
    data = write_tiny(tmp_path / "with", expressions=("anger", "surprise", "neutral"), reference=("neutral",))
    fold = read_prepared(data).fold(0)
    assert fold.classes == ("anger", "surprise") and (len(fold.train), len(fold.test)) == (16, 8)


def test_too_few_people_to_train_on_are_refused(write_tiny, tmp_path):
    with pytest.raises(FoldError, match="at least 2 people and 2 expressions are needed outside of it, there are 1 and 3"):
        read_prepared(write_tiny(tmp_path / "two", people=2, folds=2)).fold(0)


def test_wrong_usage_exits_with_2():
    call("train", "--preset", "huge", "--fold", 0, code=2)
    call("train", code=2)
    call("train", "--fold", 0, "--kimg-gan", 0, code=2)


def test_a_dry_run_says_what_it_costs_and_writes_nothing(tiny_prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = call("train", "--data", tiny_prepared, "--fold", 0, "--preset", "smoke", "--dry-run")
    assert not list(tmp_path.iterdir())
    assert "gan: 8 steps of 8 images (0.064 kimg; a pass over all 110 views is 330 batches)" in said       # 24 * 110 / 8
    assert re.search(r"judges: \d+ steps of 8 images", said)              # who judges G's faces takes its share of the time, too
    assert "MB on disk" in said and "nothing was written" in said and "d_strong_above 0.9" in said
    found = plan(Job(tiny_prepared, tmp_path / "r", preset("smoke")), "cpu")
    for stage in found.stages:
        assert stage.hours == pytest.approx(stage.steps * stage.batch / stage.images_per_s / 3600)
    assert found.hours == sum(stage.hours for stage in found.stages)


def test_a_dry_run_refuses_a_folder_that_training_refuses(tiny_prepared, tmp_path):
    """Seen red, each: "the run would go to" it."""
    config = preset("smoke", method="cnn")
    write_fold(tmp_path / "folds" / "fold0")
    (tmp_path / "r").mkdir()
    job, prepared = Job(tiny_prepared, tmp_path / "r", config), read_prepared(tiny_prepared)
    fold = prepared.fold_of(config)
    RunFolder(job.run).open(settled(job, prepared, fold, torch.device("cpu")), fold, prepared, None, torch.device("cpu"), "")
    for name, changed, message in (
        ("folds", config, "starting a run: .*folds"), ("r", replace(config, seed=3), "seed was 0 .* choose another --run, or --no-resume"),
    ):
        for look in plan, lambda job, device: train(job, device, say=lambda _: None):
            with pytest.raises((ConfigError, RunError), match=message):
                look(Job(tiny_prepared, tmp_path / name, changed), "cpu")
    assert plan(job, "cpu").stages and plan(replace(job, config=replace(config, seed=3)), "cpu", resume=False).stages
    with pytest.raises(ConfigError, match="this is the run to be trained"):
        plan(Job(tiny_prepared, tmp_path / "folds" / "fold0", preset("smoke"), gan=tmp_path / "folds" / "fold0"), "cpu")


@pytest.mark.parametrize(("kind", "expected"), [("cpu", 4), ("meta", 8)])
def test_a_dry_run_times_the_real_batch_but_for_a_cpu(kind, expected, tiny_prepared, tmp_path, monkeypatch):
    """A GPU takes as long for few images as for many. `meta` stands for one. Seen red: small batches everywhere."""
    timed = []
    monkeypatch.setattr(library, "TIMED_BATCH", 4)
    monkeypatch.setattr(library, "use_device", lambda name: torch.device(kind))
    monkeypatch.setattr(library, "_images_per_s", lambda stage: timed.append(stage.config.batch) or 1.0)
    assert [stage.batch for stage in plan(Job(tiny_prepared, tmp_path / "r", preset("smoke")), kind).stages] == [8, 8, 8]
    assert timed == [expected] * 3


def test_the_default_run_folder_names_data_method_and_fold(tiny_prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("train", "--data", tiny_prepared, "--fold", 1, "--preset", "smoke", "--method", "cnn")
    assert (tmp_path / "runs" / "tiny-cnn-smoke-fold1" / "result.json").is_file()


@pytest.mark.parametrize("words", [
    ["train", "--fold", 0], ["train", "--fold", 0, "--dry-run"], ["pretrain"], ["crossval", "--folds", "0,1"],
    ["crossval", "--folds", "0,1", "--repeats", 1, "--dry-run"],
])
def test_the_manifest_is_read_and_checked_once(words, tiny_prepared, tmp_path, monkeypatch):
    """By each command, the second time too, when all is complete. Seen red: read by each fold of crossval, 3 times; by the name of
    the default folder and by train, 2 times."""
    monkeypatch.chdir(tmp_path)
    reads, read, check = [], manifest._written, manifest._checked
    monkeypatch.setattr(manifest, "_written", lambda *given: reads.append("bytes") or read(*given))
    monkeypatch.setattr(manifest, "_checked", lambda *given: reads.append("rows") or check(*given))
    monkeypatch.setattr(manifest, "manifest_sha256", lambda out: pytest.fail("the file was read again for its hash"))
    for _ in range(2):
        reads.clear()
        cnn = [] if words == ["pretrain"] else ["--method", "cnn"]
        call(*words, *cnn, "--data", tiny_prepared, "--preset", "smoke")
        assert reads == ["bytes", "rows"]


def test_evaluate_prints_a_table_and_json(run):
    said = call("evaluate", run)
    for part in ("accuracy per frame", "accuracy per sequence", "macro recall per sequence", "95 % over people", "always anger"):
        assert part in said
    found = json.loads(call("evaluate", run, "--json"))
    assert found == [{"run": str(run), **json.loads((run / "result.json").read_text())}]
    several = call("evaluate", run, run)
    assert several.count("degan") == 2 and "per sequence" in several and "0.128" in several


def test_evaluating_what_is_no_complete_run_is_one_sentence(tmp_path):
    assert "is neither a run (config.json) nor a folder of folds" in call("evaluate", tmp_path, code=1)


def test_a_device_that_is_not_there_is_one_sentence(tiny_prepared, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    said = call("train", "--data", tiny_prepared, "--run", tmp_path / "r", "--fold", 0, "--device", "cuda", code=1)
    assert "this machine has no device cuda; choose cpu" in said and not (tmp_path / "r").exists()


def test_two_processes_do_not_write_into_one_run(tiny_prepared, tmp_path):
    (tmp_path / "r").mkdir()
    with FileLock(tmp_path / "r" / ".lock"):
        said = call("train", "--data", tiny_prepared, "--run", tmp_path / "r", "--fold", 0, "--preset", "smoke", code=1)
    assert "another process is writing there" in said


def test_an_expression_can_be_learned_and_is_found_on_other_people(tiny_prepared, tmp_path):
    """The only test that asks for accuracy: discs in three places."""
    config = preset("smoke", method="cnn", fold=0)
    config = replace(config, cnn=replace(config.cnn, kimg=1.5, lr=3e-3))
    outcome = train(Job(tiny_prepared, tmp_path / "run", config), "cpu", say=lambda _: None)
    assert outcome.evaluation.frame_accuracy.value == 1.0


def test_coloured_faces_stay_coloured(write_tiny, tmp_path):
    """Networks, synthesised faces, and no grey faces taken for coloured ones. Seen red: channels of the preset in place of the data's."""
    run = tmp_path / "r"
    call("train", "--data", write_tiny(tmp_path / "rgb", colour="rgb"), "--run", run, "--fold", 0, "--preset", "smoke")
    assert json.loads((run / "config.json").read_text())["config"]["network"]["channels"] == 3
    assert cv2.imread(str(run / "samples.png"), cv2.IMREAD_UNCHANGED).shape[2] == 3
    grey = write_tiny(tmp_path / "grey", dataset="other")
    assert "it was trained on 3 channels, these faces have 1" in call("evaluate", run, "--data", grey, code=1)


def test_a_terminal_shows_a_bar_for_each_stage(tiny_prepared, tmp_path, monkeypatch):
    """Full at each stage's last step. Seen red: the step in place of step + 1."""
    from cli import common

    drawn = io.StringIO()
    monkeypatch.setattr(common, "stderr", Console(file=drawn, force_terminal=True, width=100))
    call("train", "--data", tiny_prepared, "--run", tmp_path / "r", "--fold", 0, "--preset", "smoke")
    for stage in ("judges", "gan", "head"):
        steps = [entry["steps"] for entry in map(json.loads, (tmp_path / "r" / "log.jsonl").read_text().splitlines())
                 if entry["event"] == "tick" and entry["stage"] == stage][-1]
        assert re.search(rf"{stage} .*\b{steps}/{steps}\b", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.getvalue())), stage


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bits(tiny_prepared, tmp_path):
    """A real SIGKILL after the first tick of stage 1 and of stage 2; next to a run of this process."""
    words = ["train", "--data", str(tiny_prepared), "--fold", "0", "--preset", "smoke", "--kimg-gan", "0.16", "--kimg-head", "0.4"]
    words += ["--set", "network.image_size=16"]
    call(*words, "--run", tmp_path / "whole")
    given, env = [sys.executable, "-m", "cli.fer_model", *words], {**os.environ, "OMP_NUM_THREADS": "1"}
    for stage in ("gan", "head"):
        process = subprocess.Popen([*given, "--run", str(tmp_path / "r")], cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.startswith(f"{stage} "):
                process.kill()
                break
        process.wait()
        process.stdout.close()
        assert not (tmp_path / "r" / "result.json").exists()
    subprocess.run([*given, "--run", str(tmp_path / "r")], cwd=REPOSITORY, env=env, check=True, capture_output=True)
    for name in ("gan.safetensors", "head.safetensors", "predictions.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "r" / name).read_bytes(), name
