"""prepare end to end on drawn people: counts, bytes, resume, refusals."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import fer_data
from cli.fer_data import main
from fer_data.errors import DatasetError, ManifestError, WorkerError
from fer_data.faces.align import align
from fer_data.faces.views import render_views
from fer_data.pictures.decode import decode_picture
from fer_data.pool import open_pool
from fer_data.prepare.plan import PrepareConfig, make_plan
from fer_data.prepare.run import prepare_dataset
from fer_data.store.loader import GpuViews, StoredViews, open_views
from fer_data.store.manifest import COLUMNS, read_settings, read_skipped
from fer_data.store.shards import map_dataset, read_record
from fer_data.synthetic.trees import run_jobs, silent
from tests.trees import bytes_of

VIRTUAL = PrepareConfig(landmarks="dlib", folds=4, views="virtual")


@pytest.fixture(scope="module")
def small_ck(synthetic_ck, tmp_path_factory):
    """Four people of the session's tree, to change at will by copying."""
    root = tmp_path_factory.mktemp("small") / "ck"
    subjects = sorted(path.name for path in (synthetic_ck / "Emotion").iterdir())[:4]
    for part in ("cohn-kanade-images", "Emotion"):
        for subject in subjects:
            shutil.copytree(synthetic_ck / part / subject, root / part / subject)
    return root


SMALL = PrepareConfig(landmarks="dlib", folds=2, views="virtual")


def test_every_frame_found_is_kept_or_skipped_with_a_reason(synthetic_ck, prepared_ck):
    """Against the generator's own account of what it drew."""
    truth = pd.read_csv(synthetic_ck / "truth.csv", dtype={"subject": str, "sequence": str})
    frame, skipped, settings = fer_data.read_manifest(prepared_ck), read_skipped(prepared_ck), read_settings(prepared_ck)
    assert settings["drawn"], "the tree says that its people are drawn"
    assert settings["found"] == len(truth) == len(frame) + skipped["frames"].sum()
    labels = sorted((synthetic_ck / "Emotion").rglob("*_emotion.txt"))
    assert frame.groupby(["subject", "sequence"]).ngroups == len(labels) and len(frame) == 3 * len(labels)
    last = truth.groupby(["subject", "sequence"])["frame"].max()
    for (subject, sequence), rows in frame.groupby(["subject", "sequence"]):
        assert list(rows["frame"]) == list(range(last[subject, sequence] - 2, last[subject, sequence] + 1))
    assert set(skipped["reason"]) == {"unlabelled", "not-peak"}


def test_folds_share_no_subject_and_step_through_them(prepared_ck):
    frame = fer_data.read_manifest(prepared_ck)
    folds = frame.groupby("subject")["fold"].unique()
    assert (folds.str.len() == 1).all()
    assert [fold[0] for fold in folds.sort_index()] == [rank % 4 for rank in range(len(folds))]


def test_the_manifest_opens_without_this_project(prepared_ck):
    """In plain pandas, from either form, with the same content."""
    parquet = pd.read_parquet(prepared_ck / "manifest.parquet")
    assert list(parquet.columns) == list(COLUMNS)
    csv = pd.read_csv(prepared_ck / "manifest.csv", dtype={"subject": str, "sequence": str}, keep_default_na=False)
    pd.testing.assert_frame_equal(parquet, csv, check_dtype=False)


def test_each_face_can_be_made_again_from_its_row(synthetic_ck, prepared_ck):
    """Source, hash and points alone lead to the same pixels and the same matrix."""
    for row in fer_data.read_manifest(prepared_ck).iloc[::7].to_dict("records"):
        data = (synthetic_ck / row["source"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["source_sha256"]
        shard = prepared_ck / "shards" / row["shard"]
        face = align(decode_picture(data, False, ""), map_dataset(shard, "landmarks")[row["row"]])
        np.testing.assert_array_equal(face.pixels, map_dataset(shard, "faces")[row["row"]])
        assert hashlib.sha256(face.pixels.tobytes()).hexdigest() == row["face_sha256"]
        np.testing.assert_array_equal(face.matrix.ravel(), [row[name] for name in COLUMNS if name.startswith("matrix_")])


def test_stored_and_virtual_views_are_the_same_bytes(small_ck, tmp_path):
    for views in ("stored", "virtual"):
        prepare_dataset("ck+", small_ck, tmp_path / views, PrepareConfig(landmarks="dlib", folds=2, views=views))
    frame = fer_data.read_manifest(tmp_path / "virtual")
    pd.testing.assert_frame_equal(frame, fer_data.read_manifest(tmp_path / "stored"))
    for name in frame["shard"].unique():
        faces = map_dataset(tmp_path / "virtual" / "shards" / name, "faces")
        np.testing.assert_array_equal(render_views(np.asarray(faces)), map_dataset(tmp_path / "stored" / "shards" / name, "views"))
    import torch

    stored, virtual = (open_views(tmp_path / views, frame.iloc[::-2]) for views in ("stored", "virtual"))
    chosen = (torch.arange(12) % stored.n_faces, torch.arange(12) * 9)
    assert torch.equal(stored.batch(*chosen), virtual.batch(*chosen)) and stored.batch(*chosen).shape == (12, 1, 96, 96)
    assert isinstance(stored, StoredViews), "on a CPU; another device has the faces and renders. Seen red: stored views there too"
    assert isinstance(open_views(tmp_path / "stored", frame, "meta"), GpuViews)


def test_shards_open_in_plain_h5py(prepared_ck):
    import h5py

    with h5py.File(prepared_ck / "shards" / "00000.h5") as file:
        assert set(file) == {"faces", "image_id", "landmarks", "matrix"}
        assert all(file[name].chunks is None and file[name].compression is None for name in file)  # contiguous, uncompressed
        ids = [name.decode() for name in file["image_id"]]
    frame = fer_data.read_manifest(prepared_ck)
    assert ids == list(frame.loc[frame["shard"] == "00000.h5", "image_id"])


def test_the_bytes_do_not_depend_on_workers_place_or_order(small_ck, tmp_path, monkeypatch):
    """One worker, two workers, a moved folder, a shuffled directory listing."""
    prepare_dataset("ck+", small_ck, tmp_path / "one", SMALL)
    expected = bytes_of(tmp_path / "one")
    prepare_dataset("ck+", small_ck, tmp_path / "two", PrepareConfig(**{**SMALL.__dict__, "workers": 2}))
    assert bytes_of(tmp_path / "two") == expected
    shutil.copytree(small_ck, tmp_path / "moved" / "elsewhere")
    real_scandir = os.scandir

    monkeypatch.setattr(os, "scandir", lambda folder: nullcontext(list(real_scandir(folder))[::-1]))
    prepare_dataset("ck+", tmp_path / "moved" / "elsewhere", tmp_path / "three", SMALL)
    assert bytes_of(tmp_path / "three") == expected


def test_a_second_run_with_other_folds_does_no_work_again(small_ck, tmp_path):
    first = prepare_dataset("ck+", small_ck, tmp_path / "out", SMALL)
    shards = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").iterdir()}
    again = prepare_dataset("ck+", small_ck, tmp_path / "out", PrepareConfig(**{**SMALL.__dict__, "folds": 4}))
    assert first.detected == first.decoded == first.kept > 0
    assert (again.decoded, again.detected, again.rendered, again.shards_written) == (0, 0, 0, 0)
    assert shards == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").iterdir()}
    assert fer_data.read_manifest(tmp_path / "out")["fold"].max() == 3


def test_other_views_detect_nothing_again(small_ck, tmp_path):
    prepare_dataset("ck+", small_ck, tmp_path / "out", SMALL)
    again = prepare_dataset("ck+", small_ck, tmp_path / "out", PrepareConfig(**{**SMALL.__dict__, "views": "stored"}))
    assert again.detected == 0 and again.shards_written > 0 and again.rendered == again.kept * 110


def test_a_changed_picture_is_noticed_whatever_its_name_and_time(small_ck, tmp_path):
    root = tmp_path / "ck"
    shutil.copytree(small_ck, root)
    prepare_dataset("ck+", root, tmp_path / "out", SMALL)
    row = fer_data.read_manifest(tmp_path / "out").iloc[0]
    path, times = root / row["source"], (root / row["source"]).stat()
    other = root / fer_data.read_manifest(tmp_path / "out").iloc[1]["source"]
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    again = prepare_dataset("ck+", root, tmp_path / "out", SMALL)
    assert again.shards_written == 1 and fer_data.read_manifest(tmp_path / "out").iloc[0]["face_sha256"] != row["face_sha256"]


def test_what_cannot_be_used_is_listed_and_counted(small_ck, tmp_path):
    root = tmp_path / "ck"
    shutil.copytree(small_ck, root)
    plan = make_plan("ck+", root, SMALL)
    empty, blank, cut = (root / plan.selected[index].sequence.frames[2].source for index in (0, 1, 2))
    empty.write_bytes(b"")
    import cv2

    cv2.imwrite(str(blank), np.full((490, 640), 127, np.uint8))
    cut.write_bytes(cut.read_bytes()[:2000])
    (root / "Emotion" / "stray.txt").write_text("stray")
    (root / "cohn-kanade-images" / "S005_copy.png").write_bytes(b"stray")
    last = plan.selected[-1].sequence
    label = next((root / "Emotion" / last.subject / last.sequence).glob("*_emotion.txt"))
    label.write_text("9")
    out = CliRunner().invoke(main, ["prepare", "ck+", str(root), str(tmp_path / "out"), "--landmarks", "dlib", "--folds", "2", "--strict"])
    assert out.exit_code == 1
    skipped = read_skipped(tmp_path / "out")
    unusable = skipped[~skipped["reason"].isin(["unlabelled", "not-peak"])]
    assert dict(zip(unusable["source"], unusable["reason"], strict=True)) == {
        "cohn-kanade-images/S005_copy.png": "no-match",
        label.relative_to(root).as_posix(): "bad-label",
        empty.relative_to(root).as_posix(): "unreadable",
        cut.relative_to(root).as_posix(): "unreadable",
        blank.relative_to(root).as_posix(): "no-face",
    }
    settings = read_settings(tmp_path / "out")
    assert settings["found"] == settings["kept"] + sum(settings["skipped"].values())
    assert out.output.strip().splitlines()[-1].startswith("skipped ")


def test_a_dry_run_writes_nothing(small_ck, tmp_path):
    command = ["prepare", "ck+", str(small_ck), str(tmp_path / "out"), "--landmarks", "dlib", "--folds", "2", "--dry-run"]
    out = CliRunner().invoke(main, command)
    assert out.exit_code == 0 and not (tmp_path / "out").exists()
    summary = prepare_dataset("ck+", small_ck, tmp_path / "out", SMALL)
    assert f"{summary.kept} faces by rule last-three" in out.output and f"{summary.subjects} subjects" in out.output


def test_more_folds_than_people_is_one_sentence(small_ck, tmp_path):
    out = CliRunner().invoke(main, ["prepare", "ck+", str(small_ck), str(tmp_path / "out"), "--landmarks", "dlib", "--folds", "9"])
    assert out.exit_code == 1 and "9 folds cannot be made of 4 labelled subjects; choose 2 to 4; use --folds 4\n" in out.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_where_it_was(small_ck, tmp_path, workers):
    """SIGKILL in the middle: what is there is whole, nothing is detected twice, the bytes are the undisturbed ones."""
    prepare_dataset("ck+", small_ck, tmp_path / "whole", SMALL)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cli.fer_data", "prepare", "ck+", str(small_ck), str(out), "--landmarks", "dlib", "--folds", "2",
               "--views", "virtual", "--workers", str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    landmarks = out / "cache" / "landmarks"
    limit = time.monotonic() + 60
    while len(list(landmarks.rglob("*.json"))) < 3 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.parquet").exists(), "the run was over before it could be killed"
    done = len(list(landmarks.rglob("*.json")))
    summary = prepare_dataset("ck+", small_ck, out, SMALL)
    assert summary.detected == summary.kept - 3 * done
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_a_worker_that_is_ended_is_one_sentence():
    """Seen red in both: BrokenProcessPool, which the commands show as a traceback."""
    said = "a worker process was ended, .*use fewer --workers: the same command"
    with pytest.raises(WorkerError, match=f"drawing: {said} resumes"), open_pool(2, "drawing", "resumes") as pool:
        pool.submit(os._exit, 9).result()
    with pytest.raises(WorkerError, match=f"{said} starts again"):
        run_jobs(os._exit, [9, 9], 2, silent)


def test_ctrl_c_does_not_interrupt_the_start_of_a_worker(monkeypatch):
    """A thread of a library gets it in place of the main one. A worker that was half started printed `EOFError: Ran out of input`.

    Seen red: blocked in the main thread alone; the second worker was not started.
    """
    done, stopped = [], threading.Event()
    other = threading.Thread(target=stopped.wait)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    other.start()

    class Pool:
        def __init__(self, *_, **__):
            pass

        def submit(self, _):
            signal.pthread_kill(other.ident, signal.SIGINT)
            time.sleep(0.01)
            done.append("started")

        def kill_workers(self):
            done.append("killed")

        def shutdown(self, **_):
            done.append("shut")

    monkeypatch.setattr("fer_data.pool.ProcessPoolExecutor", Pool)
    try:
        with pytest.raises(KeyboardInterrupt), open_pool(2, "drawing", "resumes"):
            done.append("used")
    finally:
        signal.signal(signal.SIGINT, before)
        stopped.set()
    assert done == ["started", "started", "killed", "shut"]


def test_settings_name_their_schema_and_another_one_is_refused(prepared_ck, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(prepared_ck, out)
    settings = json.loads((out / "settings.json").read_bytes())
    (out / "settings.json").write_text(json.dumps({**settings, "schema_version": 99}))
    with pytest.raises(ManifestError, match=r"reads schema version 3, .* has version 99"):
        fer_data.read_manifest(out)


def test_a_run_without_a_single_face_is_an_error(tmp_path):
    """Seen red: the picture that was named had another reason, that of the first row of all."""
    import cv2

    for subject in ("a", "b"):
        (tmp_path / "faces" / subject).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "faces" / subject / "x_happy.png"), np.full((300, 300), 90, np.uint8))
    config = PrepareConfig(landmarks="dlib", folds=2, options={"pattern": "{subject}/{sequence}_{expression}.png"})
    said = r"no face could be used; skipped: no-face 2, such as a/x_happy\.png: backend dlib; .*--small-faces"
    with pytest.raises(DatasetError, match=said):
        prepare_dataset("folder", tmp_path / "faces", tmp_path / "out", config)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    for name in ("0.png", "1.png", "2.png"):                 # they come first, and are more
        (tmp_path / "faces" / name).write_bytes((tmp_path / "faces" / "a" / "x_happy.png").read_bytes())
    (tmp_path / "faces" / "a" / "y_happy.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=said.replace("no-face 2", "no-match 3, unreadable 1, no-face 2")):
        prepare_dataset("folder", tmp_path / "faces", tmp_path / "out", config)


def test_a_run_without_a_single_face_leaves_a_finished_folder_as_it_is(small_ck, tmp_path):
    """Seen red: the first shard of the new run, empty, took the place of the old one, and the manifest was removed."""
    out = tmp_path / "out"
    prepare_dataset("ck+", small_ck, out, SMALL)
    whole = bytes_of(out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.csv").write_text("frame")
    wrong = PrepareConfig(**{**SMALL.__dict__, "landmarks": "openface", "openface": tmp_path / "other"})
    with pytest.raises(DatasetError, match=r"no face could be used; .*no-landmarks"):
        prepare_dataset("ck+", small_ck, out, wrong)
    assert whole.items() <= bytes_of(out).items() and len(fer_data.read_manifest(out))


def test_a_shard_without_a_face_before_others_is_written_in_its_place(small_ck, tmp_path, monkeypatch):
    """Seen red: shards held back until there was a face were not written."""
    root, config = tmp_path / "ck", PrepareConfig(landmarks="none", folds=2, views="virtual")
    shutil.copytree(small_ck, root)
    monkeypatch.setattr("fer_data.prepare.plan.SHARD_FACES", 6)
    boxes = make_plan("ck+", root, config).selected
    first = [frame.source for one in boxes.box(0) for frame in one.sequence.frames]
    assert len(boxes.boxes) > 1
    for source in first:
        (root / source).write_bytes(b"")
    done = prepare_dataset("ck+", root, tmp_path / "out", config)
    assert done.skipped["unreadable"] == len(first) and done.shards_written == len(boxes.boxes)
    assert "00000.h5" not in set(fer_data.read_manifest(tmp_path / "out")["shard"])
    assert (tmp_path / "out" / "shards" / "00000.h5").is_file()


def test_faces_that_are_made_again_are_announced(small_ck, tmp_path):
    """Other folds say nothing. Seen red: another colour, and stored views for virtual ones, replaced a finished folder without a word."""
    command = ["prepare", "ck+", str(small_ck), str(tmp_path / "out"), "--landmarks", "dlib", "--folds", "2", "--views", "virtual"]
    assert "made again" not in CliRunner().invoke(main, command).output
    assert "made again" not in CliRunner().invoke(main, [*command, "--folds", "4", "--dry-run"]).output
    said = CliRunner().invoke(main, [*command, "--views", "stored", "--dry-run"]).output
    assert "(views virtual there, stored now): shards that these change are made again and replaced" in said
    other = ["prepare", "oulu", str(small_ck), str(tmp_path / "out"), "--landmarks", "dlib"]
    assert CliRunner().invoke(main, other).output.startswith("Error: preparing oulu into")           # seen red: announced, then refused
    said = f"note: {tmp_path / 'out'} was made with other options (colour grey there, rgb now): shards that these change are made again"
    assert said in CliRunner().invoke(main, [*command, "--colour", "rgb", "--dry-run"]).output
    assert CliRunner().invoke(main, [*command, "--colour", "rgb"]).stderr.startswith(said)


def test_a_damaged_shard_is_made_again(small_ck, tmp_path):
    """By the command that wrote it, to the same bytes. Seen red: of the same size, it was kept, and every reader said to run prepare."""
    config, out = PrepareConfig(landmarks="dlib", views="virtual", folds=2), tmp_path / "out"
    prepare_dataset("ck+", small_ck, out, config)
    shard = out / "shards" / "00000.h5"
    whole = shard.read_bytes()
    for damaged in (bytes(512) + whole[512:], whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:]):
        shard.write_bytes(damaged)
        assert prepare_dataset("ck+", small_ck, out, config).shards_written == 1
        assert shard.read_bytes() == whole


def test_real_photographs(real_faces, tmp_path):
    """102 photographs of 51 people: all found, 10 folds, nobody shared."""
    config = PrepareConfig(landmarks="dlib", views="virtual", options={"pattern": "images/{subject}/{subject}_{sequence}_{expression}.jpg"})
    summary = prepare_dataset("folder", real_faces, tmp_path / "out", config)
    frame = fer_data.read_manifest(tmp_path / "out")
    assert (summary.kept, summary.unusable, summary.subjects, frame["fold"].nunique()) == (102, 0, 51, 10)
    assert frame.groupby("subject")["fold"].nunique().max() == 1
    assert frame["residual_px"].max() < 3 and frame["invented"].max() == 0


def test_records_of_shards_tell_their_version(prepared_ck, tmp_path):
    from fer_data.errors import ShardError

    shutil.copy(prepared_ck / "shards" / "00000.json", tmp_path / "00000.json")
    record = json.loads((tmp_path / "00000.json").read_bytes())
    (tmp_path / "00000.json").write_text(json.dumps({**record, "shard_version": 7}))
    with pytest.raises(ShardError, match=r"reads version 3, .* has version 7"):
        read_record(tmp_path, "00000.h5")
