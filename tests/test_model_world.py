"""Training over two processes: the samples of one, in the same order, and its gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fer_model.config import preset
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint, distributed
from fer_model.errors import ConfigError, RunError
from fer_model.job import Job
from fer_model.networks import Discriminator, Norm2d, build
from fer_model.runs.folder import RunFolder
from fer_model.stages.any_network import build_itself
from fer_model.workers import Task, train_here
from tests.commands import call
from tests.ddp_step import one_step

REPOSITORY = Path(__file__).resolve().parent.parent
TORCHRUN = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2"]


def torchrun(*words, timeout=280):
    """Run a program in two processes that meet on this machine."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*TORCHRUN, *map(str, words)], env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_one_process_is_the_whole_world():
    assert (distributed.size(), distributed.rank(), distributed.is_first()) == (1, 0, True)
    batch = torch.arange(7)
    assert distributed.part(batch) is batch
    distributed.average_([batch.float()])


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(ConfigError, match="2 processes cannot share a batch of 7"):
        distributed.part(torch.arange(7))


class NormAct(nn.BatchNorm2d):
    """BN and an activation in one, as many networks have it."""

    def forward(self, x):
        return super().forward(x).relu()


@pytest.fixture
def two_gpus(monkeypatch):
    """Two processes, each with what calls itself a GPU and has the CPU's memory."""
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(nn.Module, "to", lambda network, *_, **__: network)
    return torch.device("cuda", 0)


def test_over_several_gpus_bn_is_that_of_all_and_a_layer_that_does_more_is_refused(two_gpus):
    """Ours and PyTorch's are exchanged. Seen red: NormAct exchanged too, its activation gone in silence."""
    ours = build(lambda: Discriminator(preset("smoke").network, 3, 4), two_gpus, 0.02, torch.Generator())
    norms = [one for one in ours.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 10 and {type(one) for one in norms} == {nn.SyncBatchNorm}

    def made(*norms):
        return build_itself(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), *norms), two_gpus, 0.02, torch.Generator())

    plain = made(nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4), nn.SyncBatchNorm(4), Norm2d(4), nn.ReLU())
    assert [type(one) for one in plain][1:] == [nn.SyncBatchNorm] * 5 + [nn.ReLU]
    expected = r"training in 2 processes on GPUs: layer 1 is a NormAct, and .* use nn.BatchNorm1d, nn.BatchNorm2d or nn.BatchNorm3d there"
    with pytest.raises(ConfigError, match=expected):
        made(NormAct(4))
    assert type(distributed.same_norms(NormAct(4), torch.device("cpu"))) is NormAct, "each process normalises on a CPU"


def test_half_of_what_torchrun_sets_is_refused(monkeypatch):
    """Clusters set RANK for reasons of their own. Seen red: a ValueError out of PyTorch."""
    monkeypatch.setenv("RANK", "0")
    for name in distributed.TORCHRUN_SETS:
        monkeypatch.delenv(name, raising=False)
    expected = "here RANK is '0' and LOCAL_RANK is not set; start with torchrun, or without RANK"
    with pytest.raises(ConfigError, match=expected):
        distributed.join(torch.device("cpu"))


def test_processes_of_one_machine_do_not_share_a_gpu(monkeypatch):
    """Seen red: each took cuda:1, and NCCL refused."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert distributed.local_device("cuda:1") == "cuda:1"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="all processes of this machine would share cuda:1; use --device cuda, a GPU for each"):
        distributed.local_device("cuda:1")


@pytest.mark.slow
def test_two_processes_draw_the_samples_of_one_and_agree_on_its_gradients(tiny_prepared, tmp_path):
    """Each stage's step with BN frozen: rank 0 has the first half of the batch, rank 1 the second; the averaged gradients are
    those of the whole batch up to rounding. Seen red: gradients not averaged; a dropout mask of each one's own."""
    torchrun(REPOSITORY / "tests" / "ddp_step.py", tiny_prepared, tmp_path)
    ranks = [checkpoint.read_tensors(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    alone = one_step(tiny_prepared)
    assert set(alone) == set(ranks[0]) == set(ranks[1])
    for name, expected in alone.items():
        if name.endswith("/samples"):
            assert torch.equal(torch.cat([rank[name] for rank in ranks], 1), expected), name
        else:
            assert torch.equal(ranks[0][name], ranks[1][name]), name
            torch.testing.assert_close(ranks[0][name], expected, rtol=1e-3, atol=1e-6 + 1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("then", [1, 2])
def test_a_run_on_cpus_is_resumed_in_as_many_processes(tiny_prepared, tmp_path, monkeypatch, then):
    """There each normalises a part of a batch: another training. Seen red: it went on, and nothing said so."""
    config, prepared = preset("smoke", method="cnn"), read_prepared(tiny_prepared)

    def opened(name, processes, device):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        RunFolder(tmp_path / name).open(config, prepared.fold(0), prepared, None, torch.device(device), "--no-resume")
        return RunFolder(tmp_path / name).read_content()["bn_parts"]

    assert opened("run", then, "cpu") == then
    way = "use torchrun --nproc-per-node 2" if then == 2 else "start it without torchrun"
    with pytest.raises(ConfigError, match=f"started in {then} process(es)? and .*; {way}, choose"):
        opened("run", 3 - then, "cpu")
    assert opened("elsewhere", 2, "meta") == 1, "BN over all processes"


@pytest.mark.slow
def test_torchrun_trains_a_run_like_any_other(tiny_prepared, tmp_path):
    """The command in two processes: one run folder, one voice. Seen red: both processes print."""
    words = ["train", "--data", tiny_prepared, "--fold", 0, "--preset", "smoke", "--device", "cpu", "--run", tmp_path / "run"]
    words += ["--set", "network.image_size=16"]
    out = torchrun("-m", "--", "cli.fer_model", *words)
    assert "cpu (1 thread in each of 2 processes), fp32" in out
    assert out.count(": complete") == 1 and (tmp_path / "run" / "result.json").is_file()
    said = call(*words, code=1)
    assert "it was started in 2 processes and is in 1 now" in said and "torchrun --nproc-per-node 2" in said


def test_a_run_that_fails_in_one_of_several_processes_ends_the_command(tmp_path, tiny_prepared, monkeypatch):
    """The others would wait for it; alone, the next run is begun. Seen red: the reason returned."""
    monkeypatch.setattr("fer_model.train.training", lambda *_, **__: (_ for _ in ()).throw(RunError("no room")))
    task = Task("fold 0", Job(tiny_prepared, tmp_path / "run", preset("smoke")))
    assert train_here(task, "cpu", print) == "no room"
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(RunError, match="no room"):
        train_here(task, "cpu", print)


@pytest.mark.torture
def test_torchrun_trains_one_run_after_another(tiny_prepared, tmp_path):
    """Two folds in one command. Seen red: a process group for each run; the second waited for ever."""
    words = ["crossval", "--data", tiny_prepared, "--folds", "0,1", "--method", "cnn", "--preset", "smoke", "--devices", "cpu"]
    torchrun("-m", "--", "cli.fer_model", *words, "--run", tmp_path / "runs", timeout=120)
    assert all((tmp_path / "runs" / f"fold{fold}" / "result.json").is_file() for fold in (0, 1))
