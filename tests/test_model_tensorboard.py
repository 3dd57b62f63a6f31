"""Event files say what the log says: read back with TensorBoard's own reader."""

import json
import resource
import shutil
from dataclasses import replace

import pytest

from fer_data.errors import StorageError
from fer_model.config import preset
from fer_model.errors import RunError
from fer_model.job import Job
from fer_model.train import train
from fer_model.use.tensorboard import EventFiles, write_events

pytest.importorskip("tensorboard")


@pytest.fixture(scope="module")
def run(tiny_prepared, tmp_path_factory):
    return trained(preset("smoke"), tiny_prepared, tmp_path_factory)


@pytest.fixture(scope="module")
def deae(tiny_prepared, tmp_path_factory):
    config = preset("smoke", method="deae", fold=1)
    return trained(replace(config, ae=replace(config.ae, batch=16)), tiny_prepared, tmp_path_factory)


def trained(config, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("tensorboard") / "run"
    train(Job(data, path, config), "cpu", say=lambda _: None)
    return path


def read(folder):
    """Return (tag -> [(images seen, value)], images by tag) of the event files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload()
    scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return scalars, {tag: [e.step for e in events.Images(tag)] for tag in events.Tags()["images"]}


def ticks(run):
    return [entry for entry in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if entry["event"] == "tick"]


def test_every_number_of_every_tick(run, tmp_path):
    """Seen red: steps in place of images; the numbers of health left out."""
    assert write_events([run], tmp_path, say=lambda _: None) == 1
    scalars, images = read(tmp_path / "run")
    for tick in ticks(run):
        for name in (name for name in tick if name.startswith(("loss_", "judged_", "accuracy_"))):
            found = dict(scalars[f"{tick['stage']}/{name}"])
            assert found[round(tick["seen_kimg"] * 1000)] == pytest.approx(tick[name], rel=1e-5)
    assert images == {"gan/synthesised faces": [32, 64]}


def test_sheets_stand_where_their_stage_had_them(deae, tmp_path):
    """Another stage 1 has another name and batch. Seen red: those of DE-GAN for every method."""
    assert write_events([deae], tmp_path, say=lambda _: None) == 1
    scalars, images = read(tmp_path / "run")
    assert list(images) == ["ae/synthesised faces"]
    last = max(seen for tag, points in scalars.items() if tag.startswith("ae/") for seen, _ in points)
    assert images["ae/synthesised faces"][-1] == last == 64


def test_goes_on_where_the_log_goes_on_and_anew_where_it_was_rewound(run, tmp_path):
    """Seen red: all lines written again; a rewound log's old ticks kept."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    whole = (copy / "log.jsonl").read_bytes().splitlines(keepends=True)
    files = EventFiles(copy, tmp_path / "tb")
    (copy / "log.jsonl").write_bytes(b"".join(whole[:4]) + whole[4][:9])
    assert files.update() == 4
    (copy / "log.jsonl").write_bytes(b"".join(whole))
    assert files.update() == len(whole) - 4 and files.update() == 0
    complete = read(tmp_path / "tb")[0]
    assert all(len(points) == len({step for step, _ in points}) for points in complete.values())
    (copy / "log.jsonl").write_bytes(b"".join(whole[:3]))
    files.update()
    assert sum(map(len, read(tmp_path / "tb")[0].values())) < sum(map(len, complete.values()))


def test_runs_of_one_name_are_told_apart_by_more_of_their_paths(run, tmp_path):
    """Seen red: one of the two written, `fold0`, and nothing said of the other; `degan/fold0` of two places as one."""
    for name in ("a/degan/fold0", "a/cnn/fold0", "a/cnn/fold1", "b/degan/fold0"):
        shutil.copytree(run, tmp_path / name)

    def names(*runs):
        out = tmp_path / f"tb{len(list(tmp_path.iterdir()))}"
        count = write_events([tmp_path / one for one in runs], out, say=lambda _: None)
        found = sorted({path.parent.relative_to(out).as_posix() for path in out.rglob("events.*")})
        assert count == len(found)
        return found

    assert names("a/degan/fold0", "a/cnn/fold0") == ["cnn/fold0", "degan/fold0"]
    assert names("a/degan/fold0", "a/cnn/fold1") == ["fold0", "fold1"]
    assert names("a/degan/fold0", "a/cnn/fold0", "b/degan") == ["a/degan/fold0", "b/degan/fold0", "cnn/fold0"]
    assert names("a/cnn", "a/cnn/fold0", "a/cnn/../cnn") == ["cnn/fold0", "cnn/fold1", "fold0"], "asked for twice by other names"


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(RunError, match=r"must hold a log\.jsonl of fer-model train; there is none"):
        write_events([tmp_path], tmp_path / "tb")


def test_a_disk_that_is_full_is_one_sentence_and_no_half_is_left(tmp_path, capfd):
    """Seen red: "[Errno 28] No space left on device" alone, in the middle of a traceback of another thread."""
    (tmp_path / "run").mkdir()
    tick = {"event": "tick", "stage": "cnn", "seen_kimg": 0.1, "loss_cnn": 1.0}
    (tmp_path / "run/config.json").write_text("{}")
    (tmp_path / "run/log.jsonl").write_text(json.dumps(tick) + "\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"^writing for TensorBoard \S*tb/run: File too large; see to that, then run the same"):
            write_events([tmp_path / "run"], tmp_path / "tb", say=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "tb/run").iterdir()) and "Traceback" not in capfd.readouterr().err
