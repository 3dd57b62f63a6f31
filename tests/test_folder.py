"""A folder is written to only if it is new, empty, or this database's own; nothing of anybody else's is touched."""

import json
import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.datasets.adapters import ADAPTERS
from fer_data.errors import DatasetError
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from tests.trees import bytes_of

PATTERN = "{subject}/{sequence}_{expression}.png"
PLAIN = PrepareConfig(landmarks="none", folds=2, views="virtual", options={"pattern": PATTERN})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two people with three pictures each; taken as they are, so that a run takes a moment."""
    root, rng = tmp_path_factory.mktemp("pictures") / "faces", np.random.default_rng(1)
    for subject in ("a", "b"):
        (root / subject).mkdir(parents=True)
        for sequence, expression in enumerate(("anger", "fear", "surprise")):
            cv2.imwrite(str(root / subject / f"{sequence}_{expression}.png"), rng.integers(0, 256, (48, 48), np.uint8))
    return root


def prepare_text(root, out, *more):
    command = ["prepare", "folder", str(root), str(out), "--pattern", PATTERN, "--landmarks", "none", "--folds", "2", *more]
    return CliRunner().invoke(main, command)


@pytest.mark.parametrize(
    "names", [["manifest.csv", "shards/00009.h5", "notes.part"], ["thesis.txt"], ["cache/x", "shards/y", "settings.json"]]
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_folder_with_files_of_others_is_refused_and_not_touched(pictures, tmp_path, names, more):
    """Before there was a mark, manifest.csv was replaced, shards/00009.h5 and notes.part were deleted."""
    out = tmp_path / "out"
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    before = bytes_of(out, apart=())
    done = prepare_text(pictures, out, *more)
    said = f"Error: preparing faces: {out} must be new, empty or hold the fer-data.json of an earlier run; it holds "
    assert done.exit_code == 1 and done.stderr.startswith(said + sorted(names)[0].split("/")[0])
    assert bytes_of(out, apart=()) == before


def test_an_empty_folder_is_taken_and_one_of_an_interrupted_start_too(pictures, tmp_path):
    """With left-overs of this version or of an earlier one. Seen red: `it holds .lock.json.0123456789abcdef.part`."""
    parts = [f"{name}{token}.part" for name in (".lock.json", "fer-data.json") for token in ("", ".0123456789abcdef")]
    for name in ("", ".lock", ".lock.json", *parts):
        out = tmp_path / f"out{name}"
        out.mkdir()
        if name:
            (out / name).write_text("")
        prepare_dataset("folder", pictures, out, PLAIN)
        assert not list(out.rglob("*.part")) and not (out / ".lock.json").exists()


def test_a_folder_of_another_database_is_refused_by_both_names(pictures, tmp_path, monkeypatch):
    """Once it was replaced without a word, and the old report with its faces stayed."""
    prepare_dataset("folder", pictures, tmp_path / "out", PLAIN)
    before = bytes_of(tmp_path / "out", apart=())
    monkeypatch.setitem(ADAPTERS, "ck48", ADAPTERS["folder"])
    with pytest.raises(DatasetError, match=r"preparing ck48 into .*out: it holds faces; give another folder, or remove this one first"):
        prepare_dataset("ck48", pictures, tmp_path / "out", PLAIN)
    assert bytes_of(tmp_path / "out", apart=()) == before


@pytest.mark.parametrize("out", [".", "prepared", "a/prepared", "a/../b"])
def test_nothing_is_written_into_the_database(pictures, out):
    """OUT = ROOT was accepted."""
    before = bytes_of(pictures, apart=())
    done = prepare_text(pictures, pictures / out)
    assert done.exit_code == 1 and "is only read; give a folder outside of it" in done.stderr
    assert bytes_of(pictures, apart=()) == before


def test_left_overs_of_ours_are_removed_wherever_they_lie_and_nothing_else(pictures, tmp_path):
    """Those below cache/ stayed; those of other names were deleted. Seen red: parts of a process's own name stayed."""
    out = tmp_path / "out"
    prepare_dataset("folder", pictures, out, PLAIN)
    (out / "cache" / "landmarks" / "ab").mkdir(parents=True)
    (out / "00001").mkdir()
    ours = ["manifest.csv.part", "run.json.part", "card.md.part", "report.html.part", "shards/00007.h5.part"]
    ours += ["cache/landmarks/ab/abcd.json.part"]
    ours += [f"{name.removesuffix('.part')}.0123456789abcdef.part" for name in ours]
    theirs = ["notes.part", "notes.0123456789abcdef.part", "manifest.csv.mine.part"]
    theirs += ["shards/mine.h5.part", "shards/mine.h5", "00001/00001.h5.part"]
    for name in (*ours, *theirs):
        (out / name).write_text("x")
    prepare_dataset("folder", pictures, out, PLAIN)
    assert [name for name in (*ours, *theirs) if (out / name).exists()] == theirs


def test_the_same_again_changes_nothing_and_keeps_the_report(pictures, tmp_path):
    out = tmp_path / "out"
    prepare_dataset("folder", pictures, out, PLAIN)
    (out / "report.html").write_text("faces")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name not in ("run.json", ".lock")}
    prepare_dataset("folder", pictures, out, PLAIN)
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_paths_that_are_not_utf_8_are_kept_as_they_can_be_written(pictures, tmp_path, monkeypatch):
    """And the database is prepared. Seen red: `UnicodeEncodeError: surrogates not allowed` when all else was written."""
    root, out = (tmp_path / os.fsdecode(name) for name in (b"in\xff", b"out\xff"))
    shutil.copytree(pictures, root)
    monkeypatch.setattr(sys, "argv", ["fer-data", str(root)])
    dry, done = (json.loads(prepare_text(root, out, "--json", *more).stdout) for more in (["--dry-run"], []))
    kept = json.loads((out / "run.json").read_bytes())
    assert dry["out"] == done["out"] == kept["summary"]["out"] == f"{tmp_path}/out\\xff"
    assert kept["root"] == kept["command"][1] == f"{tmp_path}/in\\xff"


def test_what_was_written_about_it_does_not_outlive_the_manifest(pictures, tmp_path):
    out = tmp_path / "out"
    about = ("report.html", "card.md", "croissant.json")
    prepare_dataset("folder", pictures, out, PLAIN)
    for name in about:
        (out / name).write_text("faces")
    prepare_dataset("folder", pictures, out, PrepareConfig(**{**PLAIN.__dict__, "colour": "rgb"}))
    assert not [name for name in about if (out / name).exists()]


def test_fewer_shards_leave_no_surplus(pictures, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare_dataset("folder", pictures, tmp_path / "few", PLAIN)
    monkeypatch.setattr("fer_data.prepare.plan.SHARD_FACES", 2)
    prepare_dataset("folder", pictures, out, PLAIN)
    assert len(list((out / "shards").iterdir())) == 6
    monkeypatch.undo()
    prepare_dataset("folder", pictures, out, PLAIN)
    assert bytes_of(out) == bytes_of(tmp_path / "few")


def test_two_processes_cannot_write_to_one_folder(pictures, tmp_path):
    """A real second process holds the folder; the command names it, at once, and changes nothing."""
    out = tmp_path / "out"
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from fer_data.prepare import run as prepare\nfrom fer_data.prepare.plan import PrepareConfig\n"
        "def wait(done, total):\n    print('writing', flush=True)\n    time.sleep(60)\n"
        f"config = PrepareConfig(landmarks='none', folds=2, views='virtual', options={{'pattern': {PATTERN!r}}})\n"
        f"prepare.prepare_dataset('folder', Path({str(pictures)!r}), Path({str(out)!r}), config, wait)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "writing\n"
        before = bytes_of(out)
        command = [sys.executable, "-m", "cli.fer_data", "prepare", "folder", str(pictures), str(out), "--pattern", PATTERN]
        began = time.monotonic()
        second = subprocess.run([*command, "--landmarks", "none", "--folds", "2"], capture_output=True, text=True, timeout=60)
        took = time.monotonic() - began
        assert second.returncode == 1 and second.stderr.strip() == (
            f"Error: preparing into {out}: process {holder.pid} is writing there already"
        )
        assert took < 20 and bytes_of(out) == before and json.loads((out / ".lock.json").read_bytes()) == {"process": holder.pid}
    finally:
        holder.kill()
        holder.communicate()
    assert prepare_text(pictures, out).exit_code == 0 and (out / "manifest.parquet").is_file()
