"""CK+ at its real size, drawn: the published counts, and the same bytes however the run went."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fer_data
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.store.manifest import read_settings
from fer_data.store.shards import map_dataset
from fer_data.store.verify import verify
from tests.trees import bytes_of

COUNTS = {"anger": 135, "contempt": 54, "disgust": 177, "fear": 75, "happiness": 207, "sadness": 84, "surprise": 249}


@pytest.mark.torture
def test_ck_plus_at_full_size(tmp_path):
    """981 faces of 327 sequences and 118 people, 107,910 views, ten folds; one worker, two workers, and after a SIGKILL."""
    from fer_data.synthetic.ck_plus import write_ck_plus

    tree = tmp_path / "ck"
    write_ck_plus(tree, subjects=123, seed=0, workers=2)
    command = [sys.executable, "-m", "cli.fer_data", "prepare", "ck+", str(tree), str(tmp_path / "out"), "--landmarks", "dlib"]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL, start_new_session=True)
    while len(list((tmp_path / "out" / "shards").glob("*.json"))) < 5 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    landmarks = len(list((tmp_path / "out" / "cache").rglob("*.json")))
    resumed = prepare_dataset("ck+", tree, tmp_path / "out", PrepareConfig(landmarks="dlib", workers=1))
    assert resumed.shards_kept >= 5 and resumed.detected == 981 - 3 * landmarks
    assert (resumed.kept, resumed.sequences, resumed.subjects, resumed.unusable) == (981, 327, 118, 0)

    frame, settings = fer_data.read_manifest(tmp_path / "out"), read_settings(tmp_path / "out")
    assert frame["expression"].value_counts().to_dict() == COUNTS
    assert settings["found"] == settings["kept"] + sum(settings["skipped"].values())
    subjects = sorted(frame["subject"].unique())
    fold_of = frame.groupby("subject")["fold"].unique()
    assert [list(fold_of[subject]) for subject in subjects] == [[rank % 10] for rank in range(118)]
    views = sum(map_dataset(tmp_path / "out" / "shards" / name, "views").shape[0] for name in settings["shards"])
    assert views * 110 == 107_910 and verify(tmp_path / "out")[1] == []

    expected = bytes_of(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    prepare_dataset("ck+", tree, tmp_path / "out", PrepareConfig(landmarks="dlib", workers=2))
    assert bytes_of(tmp_path / "out") == expected
    began = time.monotonic()
    again = prepare_dataset("ck+", tree, tmp_path / "out", PrepareConfig(landmarks="dlib", folds=5))
    seconds = time.monotonic() - began
    print(f"other folds: {seconds:.1f} s")
    assert seconds < 15  # 3 s are promised for a machine that does nothing else; a run that decodes again takes minutes
    assert (again.decoded, again.detected, again.rendered, again.shards_written) == (0, 0, 0, 0)
    assert np.array_equal(np.unique(fer_data.read_manifest(tmp_path / "out")["fold"]), np.arange(5))
