"""prepare on a Dask cluster: the bytes of a local run, whatever becomes of a worker; and what is said when there is no cluster."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future
from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.errors import ClusterError
from fer_data.prepare import cluster
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import _IN_FLIGHT, prepare_dataset
from tests.trees import bytes_of

distributed = pytest.importorskip("distributed")

LOCAL = PrepareConfig(landmarks="dlib", folds=2, views="virtual")


@pytest.fixture(scope="module")
def dask():
    """A scheduler and two workers, each a process of its own."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as local:
        yield local


@pytest.fixture(scope="module")
def tree(synthetic_ck, tmp_path_factory):
    """Two people of the session's tree."""
    root = tmp_path_factory.mktemp("two") / "ck"
    for subject in sorted(path.name for path in (synthetic_ck / "Emotion").iterdir())[:2]:
        for part in ("cohn-kanade-images", "Emotion"):
            shutil.copytree(synthetic_ck / part / subject, root / part / subject)
    return root


@pytest.fixture(scope="module")
def expected(tree, tmp_path_factory):
    """The bytes of a run in this process."""
    out = tmp_path_factory.mktemp("local") / "out"
    prepare_dataset("ck+", tree, out, LOCAL)
    return bytes_of(out)


@pytest.fixture
def ctrl_c():
    """What presses Ctrl-C; where the tests run in the background of a shell, it would be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda *_: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def on(dask, **change):
    return PrepareConfig(**{**LOCAL.__dict__, "scheduler": dask.scheduler_address, **change})


def pids(dask):
    with distributed.Client(dask, set_as_default=False) as client:
        return client.run(os.getpid)


def wait_until(true, seconds=30):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def test_a_cluster_gives_the_bytes_of_a_local_run(dask, tree, expected, tmp_path, monkeypatch):
    """By relative paths, which workers that stand elsewhere could not follow. Seen red: with such paths in the tasks."""
    monkeypatch.chdir(tmp_path)
    summary = prepare_dataset("ck+", os.path.relpath(tree), "out", on(dask))
    assert bytes_of(tmp_path / "out") == expected and summary.detected == summary.kept > 0
    again = prepare_dataset("ck+", tree, tmp_path / "out", on(dask, views="stored"))
    assert again.detected == 0 and again.rendered == again.kept * 110, "the workers found the points in the cache"


def test_a_lost_worker_costs_its_tasks_and_not_the_run(dask, tree, expected, tmp_path):
    """It is stopped at the first result and killed once it has a task, so that it never ends that one."""
    before, lost, killed = pids(dask), next(iter(dask.scheduler.workers)), []

    def kill():
        try:
            wait_until(lambda: dask.scheduler.workers[lost].processing)
            killed.append(lost)
        finally:
            os.kill(before[lost], signal.SIGKILL)

    killer = threading.Thread(target=kill)

    def stop_one(done, total):
        if done == 1:
            os.kill(before[lost], signal.SIGSTOP)
            killer.start()

    prepare_dataset("ck+", tree, tmp_path / "out", on(dask), stop_one)
    killer.join()
    assert bytes_of(tmp_path / "out") == expected and killed
    wait_until(lambda: len(dask.scheduler.workers) == 2 and lost not in dask.scheduler.workers)


def test_ctrl_c_cancels_what_is_outstanding(dask, ctrl_c, tmp_path):
    """Forty tasks, of which the workers would do about ten in the second after it. Seen red: 8 more, where nothing was cancelled."""
    with pytest.raises(KeyboardInterrupt), cluster.cluster(dask.scheduler_address) as pool:
        futures = [pool.submit(os.system, f"sleep 0.2; touch {tmp_path}/{number}") for number in range(40)]
        futures[0].result(60)
        ctrl_c()
    done = len(list(tmp_path.iterdir()))
    time.sleep(1)
    assert done < 20 and len(list(tmp_path.iterdir())) <= done + 2, "but for those under way"


def test_an_interrupted_run_goes_on(dask, ctrl_c, tree, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset("ck+", tree, tmp_path / "out", on(dask), ctrl_c)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    summary = prepare_dataset("ck+", tree, tmp_path / "out", on(dask))
    assert summary.detected == summary.kept - 3


def test_a_worker_with_other_code_is_refused(dask, tree, tmp_path, monkeypatch):
    """Here it is the writing process that has other code than its workers."""
    own = cluster.environment()
    monkeypatch.setattr(cluster, "environment", lambda: {**own, "fer-degan": "9.9 (code 123)"})
    with pytest.raises(ClusterError) as caught:
        prepare_dataset("ck+", tree, tmp_path / "out", on(dask))
    said = f"fer-degan must be 9.9 (code 123), as in the process that writes, got {own['fer-degan']}"
    assert str(caught.value).startswith("on the Dask worker tcp://127.0.0.1:") and str(caught.value).endswith(said)


@pytest.mark.slow
@pytest.mark.parametrize(("which", "named"), [("scheduler", "its scheduler, which reads tasks too"), ("worker", r"its worker tcp://127.*")])
def test_a_process_without_this_package_is_named(tmp_path, which, named):
    """Without asking first the scheduler answered with a traceback of Dask's, and the worker ended without a word."""
    (tmp_path / "lacks" / "fer_data").mkdir(parents=True)
    (tmp_path / "lacks" / "fer_data" / "__init__.py").write_text("raise ImportError('not installed')")
    file, started = tmp_path / "scheduler.json", []

    def start(name, *words):
        lacks = {"PYTHONPATH": str(tmp_path / "lacks")} if name == which else {}
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--no-dashboard", "--scheduler-file", str(file), *words]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, env={**os.environ, **lacks}, cwd=tmp_path, **quiet))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        wait_until(lambda: file.exists() and file.stat().st_size)
        start("worker", "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1")
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(1, 30)
            address = client.scheduler.address
        with pytest.raises(ClusterError, match=rf"must be installed on {named} \(not installed\)"), cluster.cluster(address):
            pass
    finally:
        for process in started[::-1]:
            process.terminate()
            process.wait(30)


def test_what_a_worker_cannot_see_is_said_with_its_address(dask, tree, tmp_path, monkeypatch):
    from fer_data.prepare import run as prepare

    elsewhere = prepare._Run._task
    monkeypatch.setattr(prepare._Run, "_task", lambda *given: replace(elsewhere(*given), root="/not/here"))
    with pytest.raises(ClusterError, match=r"worker tcp://.*reading /not/here.*is not there.*must see the same files under the same path"):
        prepare_dataset("ck+", tree, tmp_path / "out", on(dask))


def test_a_task_that_takes_its_workers_down_ends_the_run(dask, monkeypatch):
    """After the fourth worker as Dask is set by default; here after the first."""
    monkeypatch.setattr(dask.scheduler, "allowed_failures", 0)
    said = "1 workers were lost over the same task, the last one at tcp://"
    with pytest.raises(ClusterError, match=said), cluster.cluster(dask.scheduler_address) as pool:
        pool.submit(os._exit, 1).result(60)
    wait_until(lambda: len(dask.scheduler.workers) == 2)


def test_a_cluster_without_workers_is_given_up(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "NO_WORKER_S", 1)
    said = "no worker was there for 1 seconds; run the same command again to resume"
    nobody = distributed.LocalCluster(n_workers=0, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with nobody, pytest.raises(ClusterError, match=said):
        prepare_dataset("ck+", tree, tmp_path / "out", on(nobody))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:9", "no scheduler answered within 1 seconds; start one with `dask scheduler`"),
        ("127.0.0.1:8786", "the address must be tcp://HOST:PORT or tls://HOST:PORT, not '127.0.0.1:8786'"),
    ],
)
def test_an_address_where_nothing_answers_is_one_sentence(tree, tmp_path, monkeypatch, address, said):
    """Before: a folder with a mark and without a face was left. Seen red: the folder marked before the cluster is asked."""
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    words = ["prepare", "ck+", tree, tmp_path / "out", "--landmarks", "dlib", "--folds", "2", "--scheduler", address]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 1 and f"running on the Dask cluster at {address}: {said}" in done.output
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_processes_and_a_cluster_exclude_one_another(tree, tmp_path):
    words = ["prepare", "ck+", tree, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", "--workers", "2"]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 2


class Slow(Executor):
    """Runs each call when its result is asked for; notes how many wait."""

    def __init__(self, width):
        self.width, self.waiting, self.most = width, 0, {}

    def submit(self, fn, /, *args, **kwargs):
        self.waiting += 1
        self.most[self.width] = max(self.waiting, self.most.get(self.width, 0))

        def result():
            self.waiting -= 1
            return fn(*args, **kwargs)

        future = Future()
        future.result = result
        return future


def test_what_is_in_flight_is_bounded_by_the_width_of_the_moment(tmp_path):
    """Seen red: with the width taken once, the second half of the run had as many in flight as the first."""
    for number in range(60):
        folder = tmp_path / "in" / f"p{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:03d}_happy.png"), np.full((48, 48), number, np.uint8))
    pool = Slow(1)

    def widen(done, total):
        pool.width = 1 if done < total / 2 else 3

    config = PrepareConfig(landmarks="none", folds=2, views="virtual", options={"pattern": "{subject}/{sequence}_{expression}.png"})
    prepare_dataset("folder", tmp_path / "in", tmp_path / "out", config, widen, pool)
    assert pool.most == {1: _IN_FLIGHT, 3: 3 * _IN_FLIGHT}
