"""prepare under a kill at any moment, under writes that fail, under Ctrl-C: nothing half, nothing lost, same bytes."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fer_data.prepare import PrepareConfig, prepare_dataset
from fer_data.store import files
from fer_data.store.verify import verify
from tests.trees import bytes_of

CONFIG = PrepareConfig(landmarks="dlib", folds=2, views="stored")


@pytest.fixture(scope="module")
def tiny_ck(synthetic_ck, tmp_path_factory):
    """Three people of the session's tree: seconds to prepare, more than one shard."""
    root = tmp_path_factory.mktemp("tiny") / "ck"
    for subject in sorted(path.name for path in (synthetic_ck / "Emotion").iterdir())[:3]:
        for part in ("cohn-kanade-images", "Emotion"):
            shutil.copytree(synthetic_ck / part / subject, root / part / subject)
    return root


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    """So that a tiny tree has several; _command does the same in child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_data.prepare.SHARD_FACES", 9)
        yield


@pytest.fixture(scope="module")
def undisturbed(tiny_ck, small_shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    prepare_dataset("ck+", tiny_ck, out, CONFIG)
    return bytes_of(out)


def _command(root, out, workers):
    code = (
        "import sys, fer_data.prepare as p; p.SHARD_FACES = 9\n"
        "from cli.fer_data import main\n"
        f"sys.argv = ['fer-data', 'prepare', 'ck+', {str(root)!r}, {str(out)!r}, '--workers', '{workers}']\n"
        "sys.argv += ['--landmarks', 'dlib', '--folds', '2']\n"
        "if __name__ == '__main__': main()"
    )
    return [sys.executable, "-c", code]


def _whole_or_absent(out):
    """Each file with a final name is complete; all else ends in .part."""
    names = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".part" and not path.name.startswith(".lock")]
    for path in names:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        if path.suffix == ".h5":
            assert path.stat().st_size > 0
    if (out / "manifest.parquet").exists():
        assert verify(out)[1] == []


def _kill_at_random_moments(root, out, expected, times, seed):
    rng = random.Random(seed)
    done = 0
    while done < times:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(_command(root, out, rng.choice([1, 2])), start_new_session=True, **quiet)
        try:
            process.wait(timeout=rng.uniform(0.2, 6.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        done += 1
        if out.exists():
            _whole_or_absent(out)
        if process.returncode == 0:
            assert bytes_of(out) == expected
            shutil.rmtree(out)
    prepare_dataset("ck+", root, out, CONFIG)
    assert bytes_of(out) == expected


@pytest.mark.slow
def test_twenty_kills(tiny_ck, undisturbed, tmp_path):
    _kill_at_random_moments(tiny_ck, tmp_path / "out", undisturbed, times=20, seed=1)


@pytest.mark.torture
def test_two_hundred_kills(tiny_ck, undisturbed, tmp_path):
    _kill_at_random_moments(tiny_ck, tmp_path / "out", undisturbed, times=200, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_write_may_fail(tiny_ck, undisturbed, tmp_path, monkeypatch, number):
    """The n-th write fails, for n = 1..N: a clear error, all files whole, the next run finishes with the same bytes."""
    out = tmp_path / "out"
    real, calls = files.os.fsync, []

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == failing.at:
            raise OSError(number, os.strerror(number))
        return real(descriptor)

    failing.at = 0
    monkeypatch.setattr(files.os, "fsync", failing)
    prepare_dataset("ck+", tiny_ck, out, CONFIG)
    writes = len(calls)
    assert writes > 20 and bytes_of(out) == undisturbed
    step = 1 if number == errno.ENOSPC else 9
    for at in range(1, writes + 1, step):
        shutil.rmtree(out)
        calls.clear()
        failing.at = at
        with pytest.raises(OSError, match=os.strerror(number)):
            prepare_dataset("ck+", tiny_ck, out, CONFIG)
        assert not list(out.rglob("*.part"))
        _whole_or_absent(out)
        failing.at = 0
        prepare_dataset("ck+", tiny_ck, out, CONFIG)
        assert bytes_of(out) == undisturbed, f"after write {at} failed"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_within_five_seconds_and_can_go_on(tiny_ck, undisturbed, tmp_path, workers):
    out = tmp_path / "out"
    process = subprocess.Popen(_command(tiny_ck, out, workers), stderr=subprocess.PIPE, text=True, start_new_session=True)
    limit = time.monotonic() + 60
    while not list((out / "cache").rglob("*.json")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, text = process.communicate(timeout=30)
    assert time.monotonic() - began < 5 and process.returncode == 130
    assert "Interrupted. Run the same command again to go on." in text and "Traceback" not in text
    assert not list(out.rglob("*.part"))
    prepare_dataset("ck+", tiny_ck, out, CONFIG)
    assert bytes_of(out) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("workers", [2, 8])
def test_bytes_for_every_way_of_starting_workers(tiny_ck, undisturbed, tmp_path, method, workers):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context(method)) as pool:
        prepare_dataset("ck+", tiny_ck, tmp_path / "out", CONFIG, executor=pool)
    assert bytes_of(tmp_path / "out") == undisturbed
