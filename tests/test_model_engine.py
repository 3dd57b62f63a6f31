"""The loop: exact resume in every stage, the stop on a loss that is not finite, the log; and where a run computes."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_data.faces.views import N_VIEWS
from fer_model.config import preset, resolve_budgets
from fer_model.data.batches import Batches
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint, devices, distributed
from fer_model.engine.journal import Journal
from fer_model.engine.loop import run_stage
from fer_model.engine.stage import lr_at
from fer_model.errors import CheckpointError, DeviceError, DivergedError
from fer_model.job import Job
from fer_model.stages.cnn import CnnStage
from fer_model.stages.health import Health
from fer_model.stages.inputs import StageInputs
from fer_model.train import finished, train

SMOKE = preset("smoke")


class Stop(Exception):
    """Stands for a SIGKILL: raised in the middle of a stage."""


def stop_at(stage, step):
    """Return a hook that stops there."""

    def hook(now, index, steps):
        if (now, index) == (stage, step):
            raise Stop

    return hook


def ticks_of(run):
    """Return the ticks without what the clock says."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    clock = ("seconds", "processor_seconds", "images_per_s")
    return [{key: value for key, value in line.items() if key not in clock} for line in lines if line["event"] == "tick"]


def quiet(_):
    """Say nothing."""


def small(config):
    """Return the configuration with the smallest pictures that the networks take: bits do not ask for more."""
    return replace(config, network=replace(config.network, image_size=16))


def smoke(method="degan"):
    """Return a configuration in which everything that can have a state has one: D counts as strong after the first tick."""
    config = small(preset("smoke", method=method, fold=1))
    averaged = {"average_half_kimg": 0.02, "stronger_views": 0.5, "mixup": 0.4}
    return replace(
        config,
        network=replace(config.network, d_spectral_norm=True, residual=True),
        gan=replace(config.gan, d_strong_above=0.001, average_half_kimg=0.02),
        head=replace(config.head, local_dropout=0.2, prediction="mean", encoder_lr=1e-4, **averaged),
        ae=replace(config.ae, average_half_kimg=0.02),
        recogniser=replace(config.recogniser, identity_swap=0.5, **averaged),
        cnn=replace(config.cnn, members=2, **averaged),
        iacnn=replace(config.iacnn, dropout=0.5, **averaged),
    )


@pytest.fixture(scope="module")
def undisturbed(tiny_prepared, tmp_path_factory):
    """Complete runs that were never stopped, by method."""
    runs = {}
    for method in ("degan", "deae", "cnn", "iacnn"):
        runs[method] = tmp_path_factory.mktemp("whole") / method
        train(Job(tiny_prepared, runs[method], smoke(method)), "cpu", say=quiet)
    return runs


@pytest.mark.parametrize(
    ("method", "stage", "step"),
    [("degan", "gan", 0), ("degan", "gan", 5), ("degan", "gan", 7), ("degan", "head", 4), ("degan", "head", 7),
     ("deae", "critics", 2), ("deae", "ae", 5), ("deae", "recogniser", 7), ("cnn", "cnn", 11), ("iacnn", "iacnn", 7)],
)
def test_a_run_that_was_stopped_ends_in_the_same_bits(undisturbed, tiny_prepared, tmp_path, method, stage, step):
    """Weights, losses, order and predictions, wherever it was stopped. Seen red, each: Adam's state or the
    running accuracy not restored."""
    run, config = tmp_path / "run", smoke(method)
    with pytest.raises(Stop):
        train(Job(tiny_prepared, run, config), "cpu", say=quiet, hook=stop_at(stage, step), save_every_s=0)
    train(Job(tiny_prepared, run, config), "cpu", say=quiet, save_every_s=0)
    whole = undisturbed[method]
    for path in sorted(whole.glob("*.safetensors")):
        expected, got = checkpoint.read_tensors(path), checkpoint.read_tensors(run / path.name)
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[name], got[name]) for name in expected), path.name
    assert ticks_of(run) == ticks_of(whole)
    assert method != "degan" or {tick.get("interval_D") for tick in ticks_of(whole)} == {4, None}, "the schedule had moved"
    assert (run / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert not list((run / "checkpoints").iterdir()), "a complete run keeps its weights, not its checkpoints"


def test_a_run_goes_on_with_the_threads_that_it_was_started_with(tiny_prepared, tmp_path):
    """More threads round otherwise. Seen red: the threads of the second call; other bits."""
    config, said = replace(preset("smoke", method="cnn", fold=1), cnn=replace(SMOKE.cnn, batch=32)), []
    with devices.with_threads(1):
        train(Job(tiny_prepared, tmp_path / "whole", config), "cpu", say=quiet)
        with pytest.raises(Stop):
            train(Job(tiny_prepared, tmp_path / "run", config), "cpu", say=quiet, hook=stop_at("cnn", 2), save_every_s=0)
    with devices.with_threads(3):
        train(Job(tiny_prepared, tmp_path / "run", config), "cpu", say=said.append)
        assert torch.get_num_threads() == 3
    whole, resumed = (checkpoint.read_tensors(tmp_path / name / "cnn.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert "cpu (1 thread), fp32" in said[0]


def test_what_an_interruption_costs_is_said(undisturbed, tiny_prepared, tmp_path):
    """What came after the last save is computed again, to the same bits. Seen red: `run the same command again to resume`, and no more;
    not a word of a checkpoint that was being written."""
    run, said = tmp_path / "run", []

    def interrupt(stage, step, steps):
        if (stage, step) == ("cnn", 11):
            raise KeyboardInterrupt

    for save_every_s, saved in ((3600.0, 0), (0.0, 10)):
        with pytest.raises(KeyboardInterrupt):
            train(Job(tiny_prepared, run, smoke("cnn")), "cpu", say=said.append, hook=interrupt, save_every_s=save_every_s)
        told = "cnn was interrupted after step 10 and saved after step 0: what lies between is computed again"
        assert (said[-1] == told) == (saved == 0)
        if not saved:
            (run / "checkpoints").mkdir()
            (run / "checkpoints" / "cnn-00000004.safetensors").write_bytes(b"its description was not written")
    assert "cnn begins again: nothing of it had been saved, as is done once a minute; writing cnn-00000004 was interrupted" in said
    train(Job(tiny_prepared, run, smoke("cnn")), "cpu", say=said.append)
    assert said.count("cnn resumes after step 10") == 1 and ticks_of(run) == ticks_of(undisturbed["cnn"])


def test_resuming_passes_over_a_checkpoint_that_was_half_written(undisturbed, tiny_prepared, tmp_path):
    """Seen red, each: a torn line kept, ticks after the checkpoint kept."""
    run, config, said = tmp_path / "run", smoke(), []
    with pytest.raises(Stop):
        train(Job(tiny_prepared, run, config), "cpu", say=quiet, hook=stop_at("gan", 7), save_every_s=0)
    newest = sorted((run / "checkpoints").glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with (run / "log.jsonl").open("a") as file:
        file.write('{"event": "tick", "sta')                             # torn by the crash
    train(Job(tiny_prepared, run, config), "cpu", say=said.append)
    assert any("gan-00000006 is passed over" in sentence for sentence in said) and "gan resumes after step 4" in said
    assert ticks_of(run) == ticks_of(undisturbed["degan"])


def test_the_order_of_samples_depends_on_seed_stage_and_step_alone():
    """A pass shows each of the 110 views of each face once; batches end one pass and begin the next. Seen red: the last
    batch of a pass was cut short."""
    n_faces, batch = 3, 32
    order = Batches(n_faces, batch, seed=5, stage="gan")
    steps = [order.at(step) for step in range(2 * n_faces * N_VIEWS // batch + 1)]
    samples = torch.cat([faces * N_VIEWS + k for faces, k in steps])
    assert all(len(faces) == len(k) == batch for faces, k in steps)
    for start in (0, n_faces * N_VIEWS):
        assert sorted(samples[start : start + n_faces * N_VIEWS].tolist()) == list(range(n_faces * N_VIEWS))
    again = Batches(n_faces, batch, seed=5, stage="gan")
    assert torch.equal(torch.cat(again.at(11)), torch.cat(steps[11])), "without what came before"
    assert not torch.equal(Batches(n_faces, batch, 5, "head").at(0)[0], steps[0][0])
    assert not torch.equal(Batches(n_faces, batch, 6, "gan").at(0)[0], steps[0][0])


@pytest.fixture
def cnn_stage(tiny_prepared):
    """A stage of 8 steps, ticks of 2."""
    from fer_data.store.loader import open_views

    fold = read_prepared(tiny_prepared).fold(0)
    views = open_views(tiny_prepared, fold.train)
    return CnnStage(StageInputs(resolve_budgets(preset("smoke", method="cnn"), len(fold.train)), fold, views, torch.device("cpu")))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_step_name_and_samples_on_disk(cnn_stage, tmp_path, value):
    """Seen red: without the check in _read_tick."""
    honest, cnn_stage.kind = cnn_stage.compute, lambda step: step
    cnn_stage.compute = lambda drawn, kind: honest(drawn, kind) | ({"cnn": torch.tensor(value)} if kind == 5 else {})
    journal = Journal(tmp_path / "log.jsonl", quiet)
    advice = r".* --set cnn.lr=0.0005, and where you gave a --run, another one\. The 8 samples"
    with pytest.raises(DivergedError, match=rf"stage cnn diverged: loss cnn is (nan|inf) in step 5{advice}"):
        finished(run_stage(cnn_stage, tmp_path / "checkpoints", journal, save_every_s=0))
    found = json.loads((tmp_path / "diverged.json").read_text())
    faces, k = cnn_stage.batches[0].at(5)
    ids = cnn_stage.fold.train["image_id"]
    assert found["samples"] == [f"{ids[face]}#{view}" for face, view in zip(faces.tolist(), k.tolist(), strict=True)]
    assert (found["stage"], found["step"], found["what"], found["value"]) == ("cnn", 5, "loss cnn", str(value))
    assert checkpoint.latest(tmp_path / "checkpoints", "cnn").step == 4, "the last good one; nothing was saved after"


def test_a_weight_that_the_last_step_made_infinite_stops_before_anything_is_saved(cnn_stage, tmp_path):
    """Losses are those of before the step. Seen red: cnn.safetensors was written as complete, of NaN."""
    honest, cnn_stage.kind = cnn_stage.compute, lambda step: step

    def compute(drawn, kind):
        losses = honest(drawn, kind)
        if kind == 7:
            next(iter(cnn_stage.learners["cnn"].network.parameters())).data.view(-1)[0] = math.nan
        return losses

    cnn_stage.compute = compute
    with pytest.raises(DivergedError, match=r"stage cnn diverged: a weight of cnn is nan in step 7\. Try .* The 8 samples"):
        finished(run_stage(cnn_stage, tmp_path / "checkpoints", Journal(tmp_path / "log.jsonl", quiet), save_every_s=0))
    assert checkpoint.latest(tmp_path / "checkpoints", "cnn").step == 6
    assert json.loads((tmp_path / "diverged.json").read_text())["what"] == "a weight of cnn"


def test_the_first_of_several_processes_writes_down_what_was_not_finite(cnn_stage, tmp_path, monkeypatch):
    """The others stop too. Seen red: each wrote, over what the other was writing."""
    cnn_stage.compute = lambda drawn, kind: {"cnn": torch.tensor(math.nan)}
    monkeypatch.setattr(distributed, "is_first", lambda: False)
    with pytest.raises(DivergedError):
        finished(run_stage(cnn_stage, tmp_path / "checkpoints", Journal(tmp_path / "log.jsonl", quiet)))
    assert not (tmp_path / "diverged.json").exists()


def test_a_checkpoint_of_another_network_is_refused(cnn_stage, tmp_path):
    checkpoint.save(tmp_path / "c", "cnn", 2, {"cnn/x": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="loading cnn from"):
        finished(run_stage(cnn_stage, tmp_path / "c", Journal(tmp_path / "log.jsonl", quiet)))


def test_losses_are_read_once_per_tick(cnn_stage, tmp_path, monkeypatch):
    """A step that reads from the device makes it wait. Seen red: `.item()` in ClassifierStage.compute."""
    reads, steps = [], []
    for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
        real = getattr(torch.Tensor, name)

        def watched(tensor, *args, _real=real):
            if tensor.requires_grad or tensor.is_floating_point():
                reads.append(len(steps))
            return _real(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, watched)
    finished(run_stage(cnn_stage, tmp_path, Journal(tmp_path / "log.jsonl", quiet), hook=lambda *_: steps.append(1)))
    assert len(steps) == 16 and sorted(reads) == [2, 4, 6, 8, 10, 12, 14, 16]


def test_the_line_for_people_and_the_line_for_machines_agree(undisturbed, tiny_prepared, tmp_path):
    said = []
    train(Job(tiny_prepared, tmp_path / "run", smoke()), "cpu", say=said.append)
    last = [tick for tick in ticks_of(tmp_path / "run") if tick["stage"] == "gan"][-1]
    line = next(sentence for sentence in said if sentence.startswith("gan 8/8"))
    assert f"G {last['loss_G']:.3g}" in line and f"interval_D {last['interval_D']}" in line and "img/s" in line
    assert last["seen_kimg"] == 0.064 and last["steps"] == 8
    half = next(sentence for sentence in said if sentence.startswith("gan 4/8"))
    lines = [json.loads(text) for text in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    took = next(entry["seconds"] for entry in lines if entry.get("stage") == "gan" and entry.get("step") == 4)
    left = float(re.search(r"img/s  ([\d.]+) min left", half)[1])
    assert left == pytest.approx(2 * took / 60, abs=0.06) and "left" not in line, "two ticks like this one"


def test_processor_time_is_that_of_the_steps_and_adds_up_over_sessions(undisturbed, tiny_prepared, tmp_path, monkeypatch):
    """A clock that moves 2 s a step, 100 s for each look of a watcher: stopped and resumed, the budget says 2 s a step. Seen red: the
    watchers' time in it; the time of the last session alone."""
    now = [0.0]
    monkeypatch.setattr("fer_model.engine.loop._processor_seconds", lambda: now[0])
    look = Health.on_tick
    monkeypatch.setattr(Health, "on_tick", lambda self, *given: now.__setitem__(0, now[0] + 100) or look(self, *given))

    def hook(stage, step, steps):
        now[0] += 2
        if stop and (stage, step) == ("gan", 5):
            raise Stop

    job, stop = Job(tiny_prepared, tmp_path / "run", smoke()), True
    with pytest.raises(Stop):
        train(job, "cpu", say=quiet, hook=hook, save_every_s=0)
    stop = False
    train(job, "cpu", say=quiet, hook=hook, save_every_s=0)
    stages = json.loads((tmp_path / "run" / "result.json").read_text())["stages"]
    assert {name: stage["processor_seconds"] for name, stage in stages.items()} == {"gan": 16, "head": 2 * stages["head"]["steps"]}


@given(steps=st.integers(1, 3000))
def test_cosine_rises_falls_and_never_leaves_its_range(steps):
    """Seen red: the fall counted from step 0."""
    rates = [lr_at(step, steps, 2.0, "cosine") for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 2 for rate in rates) and rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert max(rates) == 2


@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_asking_for_a_device_that_is_not_there_is_one_sentence(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=f"this machine has no device {name}; choose cpu"):
        devices.resolve_device(name)
    assert devices.resolve_device("auto") == devices.resolve_device("cpu") == torch.device("cpu")


def test_a_gpu_is_found_by_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.resolve_device("auto") == devices.resolve_device("cuda") == torch.device("cuda:0")
    assert devices.resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match=r"this machine has no device cuda:2; choose cuda:0, cuda:1 or cpu"):
        devices.resolve_device("cuda:2")
    for odd in ("gpu", "cuda:", "cuda:x", "mps"):
        if odd != "cuda:":
            with pytest.raises(DeviceError, match="choose auto, cpu, cuda or cuda:N"):
                devices.resolve_device(odd)


def test_a_gpu_that_is_used_is_the_current_one_and_computes_fp32_in_fp32(monkeypatch):
    """The second of two; the first is too old for bf16. Seen red: no set_device; TF32 left on, in convolutions or in products of matrices;
    the current GPU asked for bf16."""
    used, products = [], torch.backends.cuda.matmul
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0) if device == torch.device("cuda:1") else (7, 5))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    products.allow_tf32 = True
    second = devices.use_device("cuda:1")
    assert used == [second] == [torch.device("cuda:1")]
    assert not torch.backends.cudnn.allow_tf32 and not products.allow_tf32
    assert devices.resolve_precision("auto", second) == "bf16" and devices.resolve_precision("auto", torch.device("cuda:0")) == "fp32"
    devices.resolve_device("cuda:0")
    assert used == [second], "a parent that only asks which GPUs there are opens nothing on them"


def test_a_cpu_keeps_what_a_step_frees_where_the_c_library_can(monkeypatch):
    """All but large blocks, of which none is trimmed off. Seen red: never asked for; asked for on a GPU too."""
    asked = []
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *option: asked.append(option)))
    devices.use_device("cpu")
    assert asked == [(devices.M_MMAP_THRESHOLD, devices.LARGE), (devices.M_TRIM_THRESHOLD, (1 << 31) - 1)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    devices.use_device("cuda")
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: SimpleNamespace())        # musl has no mallopt
    devices.use_device("cpu")
    assert len(asked) == 2


def test_auto_precision_needs_a_processor_that_is_faster_so(monkeypatch):
    """Seen red: AVX512-BF16 enough on every processor."""
    for amx, name, expected in ((True, "Intel Xeon", "bf16"), (False, "Intel Xeon", "fp32"), (False, "AMD EPYC", "bf16")):
        found = {"avx512_bf16": True, "amx_bf16": amx, "cpu_name": name}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert devices.resolve_precision("auto", torch.device("cpu")) == expected
    assert devices.resolve_precision("bf16", torch.device("cpu")) == "bf16"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_works_on_each_device_and_precision(tiny_prepared, tmp_path, device, precision):
    config = small(replace(SMOKE, precision=precision))
    outcome = train(Job(tiny_prepared, tmp_path / "run", config), device, say=quiet)
    assert outcome.evaluation.n_images == 12
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert predictions.filter(like="p_").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
