"""Several runs in one process, in turns: each ends as it ends alone, and one that fails or is stopped costs no other."""

import json
import os
from types import SimpleNamespace

import filelock
import pytest
import torch

from fer_data.store.loader import GpuViews
from fer_model import crossval as library
from fer_model import workers
from fer_model.config import preset
from fer_model.crossval import tasks_of, train_tasks
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint
from fer_model.engine.capture import CudaGraphs
from fer_model.engine.devices import queue_at, with_threads
from fer_model.job import Job
from fer_model.workers import Task, train_here, train_in_turns
from tests.graph_emulator import Emulator
from tests.test_model_engine import smoke, ticks_of


@pytest.fixture(scope="module")
def alone(tiny_prepared, tmp_path_factory):
    """Three folds of stage 1 and its head, one after another."""
    return tasks_in(tiny_prepared, tmp_path_factory.mktemp("alone"), train=True)


def tasks_in(data, path, train=False, folds=()):
    found = tasks_of(Job(data, path / "runs", smoke()), read_prepared(data), folds)
    assert not train or not any(train_here(task, "cpu", lambda _: None) for task in found)
    return found


def assert_same(task, expected):
    for path in sorted(expected.job.run.glob("*.safetensors")):
        mine, theirs = checkpoint.read_tensors(task.job.run / path.name), checkpoint.read_tensors(path)
        assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items()), path
    assert ticks_of(task.job.run) == ticks_of(expected.job.run)
    assert (task.job.run / "predictions.csv").read_bytes() == (expected.job.run / "predictions.csv").read_bytes()


def test_runs_in_turns_end_in_the_bits_of_runs_alone(alone, tiny_prepared, tmp_path):
    """Two of three at once: their lines alternate, and the third begins when one has ended. Their processor times add up to no more than
    was spent."""
    tasks, said, before = tasks_in(tiny_prepared, tmp_path), [], sum(os.times()[:2])
    assert train_in_turns(tasks, "cpu", 2, said.append) == ["", "", ""]
    spent = sum(os.times()[:2]) - before
    for task, expected in zip(tasks, alone, strict=True):
        assert_same(task, expected)
    ticks = [line.split(" | ")[0] for line in said if " | gan " in line]
    assert ticks[:8] == ["fold 0", "fold 1"] * 4 and ticks[8:] == ["fold 2"] * 4
    costs = [json.loads((task.job.run / "result.json").read_text())["stages"] for task in tasks]
    assert 0 < sum(stage["processor_seconds"] for run in costs for stage in run.values()) < spent


@pytest.mark.slow
def test_so_they_do_where_each_repeats_steps_of_its_own(tiny_prepared, tmp_path, monkeypatch):
    """Views rendered as on a GPU."""
    monkeypatch.setattr("fer_data.store.loader.CpuViews", lambda faces: GpuViews(torch.from_numpy(faces)[:, None].contiguous()))
    expected = tasks_in(tiny_prepared, tmp_path / "alone", train=True, folds=(0, 1))
    monkeypatch.setattr("fer_model.engine.loop.recorder_for", lambda _: Emulator())
    tasks = tasks_in(tiny_prepared, tmp_path / "turns", folds=(0, 1))
    assert train_in_turns(tasks, "cpu", 2, lambda _: None) == ["", ""]
    for task, one in zip(tasks, expected, strict=True):
        assert_same(task, one)


def test_a_run_that_fails_and_an_interrupt_cost_no_other_run(alone, tiny_prepared, tmp_path):
    """Fold 1 is held by another process; then Ctrl-C in the middle. All go on in the same bits, even while somebody
    still looks at where it was stopped. Each says what that costs it. Seen red: the runs not closed; only the one at work said it."""
    tasks, said = tasks_in(tiny_prepared, tmp_path), []

    def interrupt(line):
        said.append(line)
        if "fold 2 | gan 4/8" in line:
            raise KeyboardInterrupt

    tasks[1].job.run.mkdir(parents=True)
    with filelock.FileLock(tasks[1].job.run / ".lock"), pytest.raises(KeyboardInterrupt) as stopped:
        train_in_turns(tasks, "cpu", 3, interrupt)
    assert not (tasks[0].job.run / "result.json").is_file() and not (tasks[1].job.run / "config.json").is_file()
    assert sum("gan was interrupted after step" in line for line in said) == 2
    with filelock.FileLock(tasks[1].job.run / ".lock"):
        found = train_in_turns(tasks, "cpu", 3, lambda _: None)
    assert found[0] == found[2] == "" and "another process is writing there" in found[1], stopped
    assert_same(tasks[0], alone[0])
    assert_same(tasks[2], alone[2])


def test_a_gpu_that_is_full_for_one_run_is_not_for_the_others(monkeypatch):
    """Seen red: the second run's error ended all of them, with a traceback."""

    def training(job, *given, **more):
        yield
        if job == "large":
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr("fer_model.train.training", training)
    found = train_in_turns([Task(job, job) for job in ("one", "large", "two")], "cpu", 3, lambda _: None)
    assert found == ["", "CUDA out of memory. Tried to allocate 2 GiB", ""]


@pytest.mark.parametrize(("devices", "jobs", "left", "expected"), [
    (("cuda:0", "auto"), 2, 9, 1), (("cuda:0", "cuda:1"), 1, 9, 1), (("cuda:0", "cuda:1"), 4, 9, 2), (("cuda:0", "cuda:1"), 4, 1, 1),
    (("cuda:0", "cuda:1"), 4, 0, 1),
])
def test_runs_are_spread_over_the_devices_that_their_jobs_use(monkeypatch, devices, jobs, left, expected):
    """Seen red: a dry run that counted the names, and halved the hours."""
    monkeypatch.setattr(library, "resolve_device", lambda name: torch.device("cuda", int(name == "cuda:1")))
    assert library.n_devices(devices, jobs, left) == expected


@pytest.mark.parametrize(
    ("size", "jobs", "devices", "expected"),
    [("small", 4, ("cuda:0",), 4), ("small", 20, ("cuda",), 10), ("paper", 4, ("cuda:0", "auto"), 1), ("small", 1, ("cuda:0",), 1),
     ("small", 2, ("cuda:0", "cuda:1"), None), ("small", 4, ("cpu",), None)],
)
def test_runs_take_turns_on_one_gpu_if_their_steps_are_small(tiny_prepared, tmp_path, monkeypatch, size, jobs, devices, expected):
    """Else they are processes: on CPUs, on several GPUs. Seen red: a paper-size step in turns, too."""
    gpu = torch.device("cuda:0")
    known = {"cuda": gpu, "cuda:0": gpu, "auto": gpu, "cuda:1": torch.device("cuda:1"), "cpu": torch.device("cpu")}
    given = []
    monkeypatch.setattr(library, "resolve_device", known.get)
    monkeypatch.setattr(library, "train_in_turns", lambda tasks, device, at_once, *_: given.append(at_once) or [""] * len(tasks))
    monkeypatch.setattr(library, "train_in_children", lambda tasks, *_: given.append(None) or [""] * len(tasks))
    job, prepared, said = Job(tiny_prepared, tmp_path, preset(size)), read_prepared(tiny_prepared), []
    tasks = tasks_of(job, prepared, ()) * 7
    assert train_tasks(tasks, jobs, devices, said.append, prepared, len(tasks)) == () and given == [expected]
    assert len(said) == (expected is not None and jobs > 1)


@pytest.mark.parametrize(("jobs", "n_left", "expected"), [(1, 3, 6), (2, 3, 3), (2, 1, 3), (3, 1, 2), (9, 2, 2)])
def test_the_runs_that_are_left_have_as_many_threads_as_all_had(tiny_prepared, tmp_path, monkeypatch, jobs, n_left, expected):
    """Three runs, six threads. Seen red: shared by those that were left, and all of them for the last one, which rounds otherwise."""
    given = []
    monkeypatch.setattr(library, "train_in_turns", lambda tasks, *_: given.append(torch.get_num_threads()) or [""] * len(tasks))
    monkeypatch.setattr(library, "train_in_children", lambda tasks, _, threads, say: given.append(threads) or [""] * len(tasks))
    prepared, before = read_prepared(tiny_prepared), torch.get_num_threads()
    tasks = tasks_of(Job(tiny_prepared, tmp_path, preset("smoke")), prepared, ())
    with with_threads(6):
        train_tasks(tasks[-n_left:], jobs, ("cpu",), lambda _: None, prepared, len(tasks))
    assert given == [expected] and torch.get_num_threads() == before


DEFAULT = "the default queue"


class Gpus:
    """Two GPUs' queues on a CPU, handed out in a circle of 32 as PyTorch hands them out; what is asked for, used and recorded on."""

    def __init__(self, monkeypatch):
        self.asked, self.current, self.recorded, self.replayed, self.used = [], DEFAULT, [], [], []
        graphs = SimpleNamespace(replay=lambda: self.replayed.append(self.current))
        for name, stand_in in {
            "Stream": self.stream, "stream": self.on, "current_stream": lambda device: self.current,
            "default_stream": lambda device: DEFAULT, "graph": self.graph, "graph_pool_handle": object, "CUDAGraph": lambda: graphs,
            "is_available": lambda: True, "device_count": lambda: 2, "set_device": self.used.append,
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    def stream(self, device):
        self.asked.append(device)
        return Queue(device, len(self.asked) % 32)

    def on(self, queue):
        return On(self, queue)

    def graph(self, graph, pool, stream, capture_error_mode):
        assert stream is not DEFAULT, "PyTorch refuses to record there"
        self.recorded.append(stream)
        return self.on(stream)


class On:
    """A context that can be entered again and again, as torch.cuda.stream's."""

    def __init__(self, gpus, queue):
        self.gpus, self.queue = gpus, queue

    def __enter__(self):
        self.before, self.gpus.current = self.gpus.current, self.queue

    def __exit__(self, *_):
        self.gpus.current = self.before


class Queue:
    def __init__(self, device, number):
        self.device, self.number = device, number

    def wait_stream(self, other):
        assert isinstance(other, Queue)

    def __repr__(self):
        return f"{self.device} {self.number}"


@pytest.fixture
def gpus(monkeypatch):
    queue_at.cache_clear()
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    yield Gpus(monkeypatch)
    convolutions.allow_tf32, products.allow_tf32 = before
    queue_at.cache_clear()


def stages_on(gpus, device, seen):
    """Return what trains a run of four stages, each of which records two kinds of steps and repeats them on its turn."""

    def attempt(task, *_):
        for _ in range(4):
            graphs = CudaGraphs(device)
            with graphs.rehearsing():
                seen.append((task.name, gpus.current))
            repeat = [graphs.record(lambda: seen.append((task.name, gpus.current))) for _ in range(2)]
            yield
            for one in repeat:
                one()
                seen.append((task.name, gpus.current))
        return ""

    return attempt


def test_each_place_in_turns_has_a_queue_of_its_own_on_which_its_steps_are_recorded(gpus, monkeypatch):
    """Thirteen runs, ten at once, and again: ten queues, none of two runs that are alive, and what is recorded is repeated on the same.
    Seen red, each: a queue asked for in each run; also one in each stage; all recorded on the queue of the first place."""
    device, seen = torch.device("cuda", 0), []
    monkeypatch.setattr(workers, "_attempt", stages_on(gpus, device, seen))
    tasks = [Task(f"run {n}", None) for n in range(13)]
    for _ in range(2):
        assert train_in_turns(tasks, "cuda", 10, lambda _: None) == [""] * 13
        queues = {task.name: {queue for name, queue in seen if name == task.name} for task in tasks}
        assert all(len(one) == 1 for one in queues.values()), "a run works, records and repeats on one queue"
        assert len(set.union(*(queues[f"run {n}"] for n in range(10)))) == 10
        assert len(gpus.asked) == 10
        seen.clear()
    assert gpus.recorded and set(gpus.recorded) == set(gpus.replayed) and DEFAULT not in gpus.recorded


def test_a_run_that_takes_no_turns_repeats_on_the_default_queue_what_another_recorded(gpus):
    """Nothing can be recorded on the default one. Seen red, each: a queue for each stage; the current one in any case."""
    for _ in range(5):
        graphs = CudaGraphs(torch.device("cuda", 0))
        graphs.record(lambda: None)()
    assert gpus.asked == [torch.device("cuda", 0)] and set(map(str, gpus.recorded)) == {"cuda:0 1"} and set(gpus.replayed) == {DEFAULT}


@pytest.mark.parametrize("within", [torch.OutOfMemoryError("full"), RuntimeError("a kernel")])
def test_a_gpu_that_is_full_while_a_step_is_recorded_says_so(gpus, monkeypatch, within):
    """The end of a recording that failed may fail as well; a full GPU costs its run alone. Seen red: only the end's own error was told."""
    def ended(one, *_):
        raise RuntimeError("operation failed due to a previous error during capture")

    def work():
        raise within

    monkeypatch.setattr(On, "__exit__", ended)
    full = isinstance(within, torch.OutOfMemoryError)
    with pytest.raises(RuntimeError, match="^full" if full else "previous error") as found:
        CudaGraphs(torch.device("cuda", 0)).record(work)
    assert isinstance(found.value, torch.OutOfMemoryError) == full


def test_under_torchrun_the_queue_is_on_the_gpu_of_the_process(gpus, monkeypatch):
    """Which is the current one before anything is done. Seen red: the queue on cuda:0."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    second, seen = torch.device("cuda", 1), []
    monkeypatch.setattr(workers, "_attempt", stages_on(gpus, second, seen))
    assert train_in_turns([Task("run", None)], "auto", 1, lambda _: None) == [""]
    assert gpus.used == [second] and gpus.asked == [second] and {queue.device for _, queue in seen} == {second}
