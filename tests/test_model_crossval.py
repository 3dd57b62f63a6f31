"""Cross-validation: whose folds, what is trained again, what a failure costs, and the processes that train."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import filelock
import pytest
import torch
from click.testing import CliRunner

import fer_data
from cli.fer_model import main
from fer_model.config import preset
from fer_model.crossval import crossval, plan_crossval
from fer_model.data.fold import people_of, read_prepared
from fer_model.errors import ConfigError, FoldError, RunError
from fer_model.job import Job
from tests.commands import call

REPOSITORY = Path(__file__).resolve().parent.parent
SMOKE = preset("smoke", method="cnn")


@pytest.fixture(scope="module")
def folds(tiny_prepared, tmp_path_factory):
    """A complete cross-validation of the baseline: folds 0 and 2 first, then the rest."""
    path = tmp_path_factory.mktemp("crossval") / "cnn"
    said = []
    first = crossval(Job(tiny_prepared, path, SMOKE), folds=(2, 0), say=said.append)
    assert first.table.rows[0].notes == (f"{path}: 2 of 3 folds are complete, the figures are theirs.",)
    assert sorted(child.name for child in path.iterdir()) == ["fold0", "fold2"]
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file() and file.name != ".lock"}
    second = crossval(Job(tiny_prepared, path, SMOKE), say=said.append)
    assert (first.passed_over, second.passed_over, second.failed) == (0, 2, ())
    assert before == {file: file.stat().st_mtime_ns for file in before}, "complete folds are left alone"
    assert {line.split(" | ")[0] for line in said} == {"fold 0", "fold 1", "fold 2"}
    return path


def test_each_fold_is_a_run_of_its_own_that_differs_in_its_fold_alone(folds, tiny_prepared):
    """Seen red: the second fold trained with the first one's configuration."""
    contents = [json.loads((folds / f"fold{i}" / "config.json").read_text())["config"] for i in range(3)]
    assert [content.pop("fold") for content in contents] == [0, 1, 2] and contents[0] == contents[1] == contents[2]
    said = call("train", "--data", tiny_prepared, "--run", folds / "fold1", "--fold", 1, "--preset", "smoke", "--method", "cnn")
    assert "complete; nothing was left to do" in said


def test_folds_that_would_be_pooled_are_compared_before_anything_is_trained(write_tiny, tmp_path):
    """Those that are not asked for too. Seen red, each: trained, and refused when they were pooled. And `--no-resume`, which no command
    but train and pretrain has, named as the way out."""
    data, path = write_tiny(tmp_path / "prepared"), tmp_path / "cnn"
    crossval(Job(data, path, SMOKE), folds=(2,), say=lambda line: None)
    way_out = re.escape(f"choose another --run, or remove {path} to start again")
    with pytest.raises(ConfigError, match=rf"cnn\.lr was 0\.001 when the run was started and is 0\.5 now; {way_out}"):
        crossval(Job(data, path, replace(SMOKE, cnn=replace(SMOKE.cnn, lr=0.5))), folds=(1,))
    shutil.rmtree(data)
    write_tiny(data, folds=2, seed=1)
    folded = re.escape("(it has 2 folds, and had 3: the same `fer-data prepare` with --folds 3 brings them back, in seconds)")
    for folds in ((1,), ()):                                             # there is no fold 2 now
        with pytest.raises(ConfigError, match=f"the prepared folder {data} has changed since the run was started {folded}; {way_out}"):
            crossval(Job(data, path, SMOKE), folds=folds)
    assert [child.name for child in path.iterdir()] == ["fold2"]


def test_with_other_data_the_folder_of_all_repeats_is_named(write_tiny, tmp_path):
    """The second repeat is on other data too. Seen red: the folder of the first repeat alone."""
    data, path, config = write_tiny(tmp_path / "prepared"), tmp_path / "r", replace(SMOKE, cnn=replace(SMOKE.cnn, kimg=0.016))
    crossval(Job(data, path, config), folds=(0,), repeats=1, say=lambda line: None)
    with pytest.raises(ConfigError, match=re.escape(f"or remove {path / 'shuffled0'} to start again")):
        plan_crossval(Job(data, path, replace(config, seed=1)), (0,), 2)
    shutil.rmtree(data)
    write_tiny(data, seed=1)
    for folds in ((0,), (1,)):
        with pytest.raises(ConfigError, match=rf"has changed since the run was started; .*{re.escape(f'or remove {path} to start again')}"):
            plan_crossval(Job(data, path, config), folds, 2)


def test_the_command_goes_on_and_prints_pooled_figures_and_folds(folds, tiny_prepared):
    said = call("crossval", "--data", tiny_prepared, "--run", folds, "--method", "cnn", "--preset", "smoke")
    parts = ("complete; 3 folds complete before", "36 images, 18 sequences, 6 people of 3 test folds, pooled", "mean ± sd")
    assert all(part in said for part in parts)
    assert len(re.findall(r"^[012] +12 +6 +2 ", said, re.MULTILINE)) == 3


def test_in_json_the_figures_are_those_of_evaluate_and_the_log_is_elsewhere(folds, tiny_prepared):
    """Seen red: n_runs in place of n_left."""
    words = ["--data", tiny_prepared, "--run", folds, "--method", "cnn", "--preset", "smoke", "--json"]
    content = json.loads(call("crossval", *words))
    assert (content["run"], content["passed_over"], content["failed"]) == (str(folds), 3, [])
    assert content["evaluations"] == json.loads(call("evaluate", folds, "--json"))
    plan = json.loads(call("crossval", *words, "--dry-run"))
    assert (plan["dry_run"], plan["runs"], plan["runs_left"], plan["one_run"]["config"]["method"]) == (True, 3, 0, "cnn")


@pytest.mark.parametrize("command", [
    ["crossval", "--folds", "0", "--method", "cnn"], ["train", "--fold", "0", "--method", "cnn"], ["pretrain"],
])
def test_in_json_what_is_said_while_training_goes_to_stderr(command, tiny_prepared, tmp_path):
    """Seen red, each of the three: say=common.show under --json."""
    words = [*command, "--data", str(tiny_prepared), "--run", str(tmp_path / "r"), "--preset", "smoke", "--json"]
    done = CliRunner().invoke(main, words)
    content = json.loads(done.stdout)
    assert done.exit_code == 0 and content["run"] == str(tmp_path / "r")
    assert " img/s " in done.stderr
    figures = content["evaluations"][0]["evaluation"] if "evaluations" in content else content.get("evaluation")
    assert figures is None if command == ["pretrain"] else figures["n_images"] == 12


def test_a_folder_of_something_else_is_refused_before_anything_is_written(tiny_prepared, tmp_path):
    """Before: fold0 ... fold9 were written into a database. Seen red: the check away."""
    (tmp_path / "Emotion").mkdir()
    said = call("crossval", "--data", tiny_prepared, "--run", tmp_path, "--method", "cnn", "--preset", "smoke", code=1)
    problem = f"{tmp_path} must be new, empty or hold folders of folds; it holds Emotion; choose another folder"
    assert said == f"Error: cross-validating: {problem}\n"
    assert [child.name for child in tmp_path.iterdir()] == ["Emotion"]


def test_stage_1_of_a_single_run_is_not_that_of_a_cross_validation(folds, tiny_prepared, tmp_path):
    """Before: "there is no fold1/fold0/config.json". Seen red: the check away."""
    said = call("crossval", "--data", tiny_prepared, "--run", tmp_path / "r", "--gan", folds / "fold1", "--preset", "smoke", code=1)
    way = f"a cross-validation, with a folder for each fold, is needed; {folds / 'fold1'} is a single run"
    assert said == f"Error: taking stage 1 of each fold: {way}\n" and not (tmp_path / "r").exists()


def test_a_run_that_is_not_complete_and_a_folder_of_runs_are_told_apart(folds, tmp_path):
    """Before, of all three: "there is no result.json; `fer-model train` writes it". Seen red: both hints away."""
    shutil.copytree(folds / "fold1", tmp_path / "runs" / "mine")
    said = call("evaluate", tmp_path / "runs", code=1)
    hint = f"; {tmp_path}/runs holds runs: take one of them, such as {tmp_path}/runs/mine\n"
    neither = "is neither a run (config.json) nor a folder of folds (fold0, fold1, ...)"
    assert said == f"Error: reading runs: {tmp_path}/runs {neither}{hint}"
    said = call("report", tmp_path / "runs", "--out", tmp_path / "x", code=1)
    assert said == f"Error: reading runs: {tmp_path}/runs {neither}{hint}"
    (tmp_path / "runs" / "mine" / "result.json").unlink()
    said = call("evaluate", tmp_path / "runs" / "mine", code=1)
    assert said == f"Error: reading a run: {tmp_path}/runs/mine is not complete; the command that started it resumes it\n"
    (tmp_path / "empty").mkdir()
    said = call("evaluate", tmp_path / "empty", code=1)
    assert said == f"Error: reading runs: {tmp_path}/empty {neither}\n"


def test_a_dry_run_counts_what_is_left_and_writes_nothing(folds, tiny_prepared, tmp_path):
    """Seen red: the precision, which is resolved once for all runs, was told as a changed setting."""
    said = call("crossval", "--data", tiny_prepared, "--run", tmp_path / "r", "--method", "cnn", "--preset", "smoke", "--dry-run")
    assert "3 of 3 runs are left; one after another about" in said and "cnn: 16 steps of 8 images" in said and not list(tmp_path.iterdir())
    auto = plan_crossval(Job(tiny_prepared, tmp_path / "a", replace(SMOKE, precision="auto")), devices=("cpu",)).one
    assert auto.changed == {"precision": ("auto", "fp32")} and auto.config.precision == "fp32"
    shutil.copytree(folds / "fold1", tmp_path / "r" / "fold1")
    found = plan_crossval(Job(tiny_prepared, tmp_path / "r", SMOKE), devices=("cpu",))
    assert (found.n_runs, found.n_left, found.one.config.fold) == (3, 2, 0) and found.hours == 2 * found.one.hours
    assert plan_crossval(Job(tiny_prepared, tmp_path / "s", SMOKE), folds=(1,), repeats=5).n_runs == 5


def test_the_folder_of_another_configuration_is_refused_before_anything_is_trained(folds, tiny_prepared, tmp_path):
    path = tmp_path / "r"
    shutil.copytree(folds / "fold2", path / "fold2")
    with pytest.raises(ConfigError, match="seed was 0 when the run was started and is 1 now"):
        crossval(Job(tiny_prepared, path, replace(SMOKE, seed=1)))
    assert [child.name for child in path.iterdir()] == ["fold2"]
    with pytest.raises(RunError, match="is a run itself"):
        crossval(Job(tiny_prepared, path / "fold2", SMOKE))
    with pytest.raises(FoldError, match=r"there is no fold 7 in .*; choose from 0, 1 and 2"):
        crossval(Job(tiny_prepared, path, SMOKE), folds=(0, 7))


def test_a_fold_that_fails_does_not_lose_the_others(tiny_prepared, tmp_path):
    """Another process holds fold 0. Seen red: the error raised at once, folds 1 and 2 not trained."""
    (tmp_path / "r" / "fold0").mkdir(parents=True)
    words = ("crossval", "--data", tiny_prepared, "--run", tmp_path / "r", "--method", "cnn", "--preset", "smoke")
    with filelock.FileLock(tmp_path / "r" / "fold0" / ".lock"):
        said = " ".join(call(*words, code=1).split())
    assert "1 fold is not complete, the first is" in said and "another process is writing there" in said
    assert "2 of 3 folds are complete, the figures are theirs." in said and (tmp_path / "r" / "fold2" / "result.json").is_file()
    call(*words)
    assert (tmp_path / "r" / "fold0" / "result.json").is_file()


def test_several_at_once_under_torchrun_are_refused(tiny_prepared, tmp_path, monkeypatch):
    """Each of its processes would start children that take themselves for its own. Seen red: without the check they were started."""
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match=r"under torchrun: .* 2 jobs are too many; use 1"):
        crossval(Job(tiny_prepared, tmp_path / "runs", SMOKE), jobs=2, say=lambda _: None)
    assert not (tmp_path / "runs").exists()


def test_wrong_words_exit_with_2(tiny_prepared):
    assert "numbers between commas" in call("crossval", "--data", tiny_prepared, "--folds", "0;1", code=2)


def test_the_default_folder_names_data_method_and_seed(tiny_prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--seed", 4), ("--repeats", 1, "--fold-seed", 2)):
        call("crossval", "--data", tiny_prepared, "--method", "cnn", "--preset", "smoke", "--folds", 0, "--kimg-cnn", 0.016, *more)
    made = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("result.json"))
    assert made == [f"runs/tiny-cnn-smoke-cnn.kimg0.016{part}/fold0" for part in ("-repeated/shuffled2", "-seed4", "")]


def test_folds_dealt_out_anew_are_those_that_prepare_would_make(prepared_ck, synthetic_ck, tmp_path):
    """Seen red: the folds of the manifest in place of those drawn; the seed left out."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset

    out = shutil.copytree(prepared_ck, tmp_path / "ck")
    prepare_dataset("ck+", synthetic_ck, out, PrepareConfig(landmarks="dlib", folds=4, views="virtual", fold_rule="shuffled", fold_seed=5))
    drawn = read_prepared(prepared_ck).numbers("shuffled")
    assert drawn == read_prepared(out).numbers()
    tested = [read_prepared(prepared_ck).fold(number, "shuffled", 5).test["image_id"].tolist() for number in drawn]
    assert tested == [read_prepared(out).fold(number).test["image_id"].tolist() for number in drawn]
    assert tested != [read_prepared(prepared_ck).fold(number).test["image_id"].tolist() for number in drawn]
    assert tested != [read_prepared(prepared_ck).fold(number, "shuffled", 6).test["image_id"].tolist() for number in drawn]


def test_folds_dealt_out_anew_test_each_image_once_and_part_no_person(tiny_prepared):
    parts = [read_prepared(tiny_prepared).fold(number, "shuffled", 1) for number in read_prepared(tiny_prepared).numbers("shuffled")]
    ids = [name for part in parts for name in part.test["image_id"]]
    assert sorted(ids) == sorted(fer_data.read_manifest(tiny_prepared)["image_id"])
    for part in parts:
        assert not set(people_of(part.train)) & set(people_of(part.test)) and part.n_folds == 3


def test_repeats_say_whose_folds_they_used_and_how_far_they_differ(tiny_prepared, tmp_path):
    before = {file: file.read_bytes() for file in tiny_prepared.rglob("*") if file.is_file()}
    config = replace(SMOKE, fold_seed=3, cnn=replace(SMOKE.cnn, kimg=0.016))
    found = crossval(Job(tiny_prepared, tmp_path / "r", config), repeats=2, say=lambda _: None)
    assert before == {file: file.read_bytes() for file in tiny_prepared.rglob("*") if file.is_file()}
    contents = [json.loads((tmp_path / "r" / f"shuffled{s}" / "fold1" / "config.json").read_text()) for s in (3, 4)]
    named = [tuple(content["config"][name] for name in ("fold_rule", "fold_seed", "fold")) for content in contents]
    assert named == [("shuffled", 3, 1), ("shuffled", 4, 1)]
    entries = found.table.rows
    assert [entry.path.name for entry in entries] == ["shuffled3", "shuffled4"]
    assert all(entry.evaluation.n_images == 36 for entry in entries)
    path, frame, _ = found.table.repeats[0]
    shares = [entry.evaluation.frame_accuracy.value for entry in entries]
    assert path == tmp_path / "r" and (frame.n, frame.low, frame.high) == (2, min(shares), max(shares))
    assert frame.mean == pytest.approx(sum(shares) / 2) and frame.sd == pytest.approx(abs(shares[0] - shares[1]) / 2**0.5)
    said = call("evaluate", tmp_path / "r")
    assert "split into folds 2 times; pooled accuracy per frame" in said


@pytest.mark.slow
def test_several_at_once_give_the_same_bits(tiny_prepared, tmp_path):
    """Two processes of one thread each, against one after another with one thread."""
    said, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        crossval(Job(tiny_prepared, tmp_path / "one", SMOKE), say=said.append)
        found = crossval(Job(tiny_prepared, tmp_path / "two", SMOKE), jobs=2, devices=("cpu",), say=said.append)
    finally:
        torch.set_num_threads(threads)
    assert not found.failed and {line.split(" | ")[0] for line in said} == {"fold 0", "fold 1", "fold 2"}
    for name in ("cnn.safetensors", "predictions.csv"):
        for fold in range(3):
            one, two = (tmp_path / path / f"fold{fold}" / name for path in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
def test_a_process_that_fails_takes_no_other_with_it(tiny_prepared, tmp_path):
    (tmp_path / "r" / "fold1").mkdir(parents=True)
    with filelock.FileLock(tmp_path / "r" / "fold1" / ".lock"):
        found = crossval(Job(tiny_prepared, tmp_path / "r", SMOKE), jobs=3, devices=("cpu",), say=lambda _: None)
    (run, why), *rest = found.failed
    assert run.name == "fold1" and "another process is writing there" in why and not rest
    assert found.table.rows[0].pooled.evaluation.n_images == 24


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_parent_ends_the_children(tiny_prepared, tmp_path, number):
    """Ctrl-C reaches all processes of the terminal, SIGKILL the parent alone. Seen red: without the pipe that children watch,
    they trained on; without a session of their own, each printed a traceback."""
    path = tmp_path / "r"
    words = [sys.executable, "-m", "cli.fer_model", "crossval", "--data", str(tiny_prepared), "--run", str(path), "--method", "cnn"]
    words += ["--preset", "smoke", "--jobs", "2", "--kimg-cnn", "2000", "--devices", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    parent = subprocess.Popen(words, cwd=REPOSITORY, env=environment, start_new_session=True, **pipes)
    started = set()
    for line in parent.stdout:
        started |= set(re.findall(r"^(fold \d) \| cnn \d", line))
        if len(started) == 2:
            break
    os.killpg(parent.pid, number) if number == signal.SIGINT else parent.send_signal(number)
    rest = parent.stdout.read()
    assert "Traceback" not in rest
    assert parent.wait(30) == (130 if number == signal.SIGINT else -number)
    assert number == signal.SIGKILL or "Run the same command again to resume" in rest
    parent.stdout.close()
    for fold in (0, 1):
        with filelock.FileLock(path / f"fold{fold}" / ".lock", timeout=30):
            assert not (path / f"fold{fold}" / "result.json").exists()
    time.sleep(0.5)
    log = (path / "fold0" / "log.jsonl").read_bytes()
    time.sleep(1)
    assert log == (path / "fold0" / "log.jsonl").read_bytes()
