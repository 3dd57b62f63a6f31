"""Exports as those see them who load them: with the library that each format is for, by the code that their read-me gives.

What a picture must be is known from elsewhere: the manifest has the hash of every face's pixels.
"""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

os.environ["HF_HUB_OFFLINE"] = "1"     # read when datasets is imported, here and in what it starts

from cli.fer_data import main
from fer_data.datasets.published import load_facts
from fer_data.errors import DatasetError, ShardError
from fer_data.faces.views import render_view
from fer_data.files import unseal
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.share import samples as samples_of
from fer_data.share.export import MARK, export_faces, plan_export
from fer_data.share.formats import FORMATS
from fer_data.share.samples import Samples, _keys
from fer_data.store.manifest import read_manifest
from fer_data.store.shards import map_dataset


@pytest.fixture(scope="module")
def licensed(write_tiny, tmp_path_factory):
    """12 faces of 3 people in 3 folds that are CK+'s as far as anybody can tell, one of four classes as reference."""
    expressions = ("anger", "contempt", "fear", "neutral")
    return write_tiny(tmp_path_factory.mktemp("licensed") / "ck", 3, 3, expressions, frames=1, reference=("neutral",), dataset="ck+")


def made(out, dest, form, view=None):
    """Return the folder of an export."""
    export_faces(plan_export(out, dest, form, view))
    return dest


def hash_of(pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def content(folder: Path) -> dict[str, bytes]:
    """Return name -> bytes of all files."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def loaded(folder: Path, monkeypatch) -> dict:
    """Run the code of the read-me in the folder; return its names."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)
    return names


def check_sides(out: Path, train: list[tuple], test: list[tuple]) -> None:
    """Each side is (image_id, expression, fold, pixels): together the manifest, fold 0 under test, nobody on both sides."""
    want = read_manifest(out).set_index("image_id")
    assert {row[2] for row in test} == {0} and 0 not in {row[2] for row in train}
    assert sorted(row[0] for row in [*train, *test]) == sorted(want.index)
    for name, expression, fold, pixels in [*train, *test]:
        face = want.loc[name]
        assert (expression, fold, hash_of(pixels)) == (face["expression"], face["fold"], face["face_sha256"]), name
    assert not {row[0].split("/")[1] for row in train} & {row[0].split("/")[1] for row in test}


# --- loaded with their own libraries ----------------------------------------------------------------------------------


def test_parquet_is_what_pandas_reads(tiny_prepared, tmp_path, monkeypatch):
    """Seen red: the picture's bytes as a base64 string."""
    names = loaded(made(tiny_prepared, tmp_path / "x", "parquet"), monkeypatch)
    sides = [
        [(r.image_id, r.expression, r.fold, np.asarray(Image.open(io.BytesIO(r.image)))) for r in names[side].itertuples()]
        for side in ("train", "test")
    ]
    check_sides(tiny_prepared, *sides)
    assert names["picture"].size == (132, 132)
    assert names["faces"]["sequence"].str.fullmatch(r"\d{3}").all()


# Both libraries leave files that they have read to the garbage collector.
_LEFT_OPEN = pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")


@_LEFT_OPEN
def test_webdataset_reads_its_shards(tiny_prepared, tmp_path, monkeypatch):
    """Seen red: classes counted from 1."""
    pytest.importorskip("webdataset")
    folder = made(tiny_prepared, tmp_path / "x", "webdataset")
    classes = (folder / "classes.txt").read_text().split()
    names = loaded(folder, monkeypatch)
    sides = [
        [(values["image_id"], classes[label], values["fold"], png) for png, label, values in names[side]] for side in ("train", "test")
    ]
    check_sides(tiny_prepared, *sides)


@_LEFT_OPEN
@pytest.mark.parametrize("form", ["hf", "imagefolder"])
def test_datasets_reads_both_of_its_forms(form, tiny_prepared, tmp_path, monkeypatch):
    """Seen red: features left out of the Parquet files (label a number, image a dict of bytes); sequence 001 read as 1, from a CSV."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    folder = made(tiny_prepared, tmp_path / "x", form)
    names = loaded(folder, monkeypatch)
    sides = [[(r["image_id"], r["expression"], r["fold"], np.asarray(r["image"])) for r in names[side]] for side in ("train", "test")]
    check_sides(tiny_prepared, *sides)
    for row in names["test"]:
        assert row["image_id"].split("/")[1:3] == [row["subject"], row["sequence"]]
    if form == "hf":
        label = names["test"].features["label"]
        assert [label.int2str(r["label"]) for r in names["test"]] == names["test"]["expression"]
        assert sorted(names["folds"]) == [f"fold_{fold}" for fold in range(3)]


def test_a_folder_of_pictures_has_the_same_classes_in_every_fold(write_tiny, tmp_path):
    """Each fold has pictures of one expression alone. Read as torchvision's ImageFolder does: classes are the sorted folders.

    Seen red: folders of the pictures alone."""
    out = write_tiny(tmp_path / "out", 2, 3, fold_of=lambda person, sequence: sequence)
    folder = made(out, tmp_path / "x", "imagefolder")
    classes = {fold.name: sorted(path.name for path in fold.iterdir()) for fold in folder.glob("fold_*")}
    assert len(classes) == 3 and len(set(map(tuple, classes.values()))) == 1
    counts = {name: len(list(folder.glob(f"*/{name}/*.png"))) for name in classes["fold_0"]}
    assert counts == read_manifest(out)["expression"].value_counts().to_dict()
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert all(row["file_name"].startswith(f"fold_{row['fold']}/{row['expression']}/") for row in rows)
    assert {row["file_name"] for row in rows} == {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


# --- what is in it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_same_input_same_bytes(form, tiny_prepared, tmp_path):
    """Seen red: the time in the tar's members."""
    assert content(made(tiny_prepared, tmp_path / "a", form)) == content(made(tiny_prepared, tmp_path / "b", form))


def test_a_view_is_the_one_that_models_see(tiny_prepared, tmp_path):
    """Seen red: the face in place of the view."""
    folder = made(tiny_prepared, tmp_path / "x", "imagefolder", view=37)
    row = read_manifest(tiny_prepared).iloc[5]
    face = map_dataset(tiny_prepared / "shards" / row["shard"], "faces")[row["row"]]
    (path,) = folder.rglob(f"{row['subject']}_{row['sequence']}_{row['frame']:08d}.png")
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), render_view(face, 37))


def test_colours_keep_their_order(write_tiny, tmp_path, monkeypatch):
    """OpenCV writes BGR. Seen red: pixels handed to it as they are."""
    out = write_tiny(tmp_path / "out", 2, 2, frames=1)
    samples, face = Samples(out), np.zeros((132, 132, 3), np.uint8)
    face[..., 0] = 255
    monkeypatch.setattr(samples, "colour", True)
    row = samples.rows.iloc[0].copy()
    row["face_sha256"] = hash_of(face)
    monkeypatch.setattr(samples, "_open", (row["shard"], face[None]))
    assert Image.open(io.BytesIO(samples._png(row))).getpixel((0, 0)) == (255, 0, 0)


def test_references_are_left_out_and_said(licensed, tmp_path):
    """Seen red: rows of all roles, a class `neutral`."""
    folder = made(licensed, tmp_path / "x", "imagefolder")
    assert len(list(folder.rglob("*.png"))) == 9 and not list(folder.rglob("neutral"))
    assert "Not in here: 3 neutral references" in (folder / "README.md").read_text()


def test_names_are_unique_on_any_disk():
    """Seen red: no hash behind names that become the same; one behind every name with a capital letter."""
    import pandas as pd

    ids = ["d/Ä.1/x/00000001", "d/Ö_1/x/00000001", "d/a/X/00000001", "d/A/x/00000001"]
    ids += ["d/a/x/y/00000002", "d/a/b.c/00000003", "d/S1/001/00000004"]
    keys = _keys(pd.DataFrame({"image_id": ids}))
    assert len({key.casefold() for key in keys}) == len(ids) and all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in keys)
    assert keys[4:] == ["a_x_y_00000002", "a_b_c_00000003", "S1_001_00000004"]


def test_long_names_are_cut_and_stay_unique(tmp_path):
    """Those that differ behind the cut alone, too. Seen red: `ValueError: name is too long` from tarfile."""
    import pandas as pd

    ids = [f"d/S1/{'x' * 83}{end}/00000001" for end in ("", "a", "b")]
    keys = _keys(pd.DataFrame({"image_id": [*ids, ids[0].upper()]}))
    assert [len(key) for key in keys] == [95] * 4 and len({key.casefold() for key in keys}) == 4
    assert _keys(pd.DataFrame({"image_id": ids[:1]})) == [f"S1_{'x' * 83}_00000001"]
    for subject in ("a", "b"):
        (tmp_path / "in" / subject).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "in" / subject / f"{'long-' * 40}_happy.png"), np.full((48, 48), 7, np.uint8))
    config = PrepareConfig(landmarks="none", folds=2, views="virtual", options={"pattern": "{subject}/{sequence}_{expression}.png"})
    prepare_dataset("folder", tmp_path / "in", tmp_path / "out", config)
    with tarfile.open(made(tmp_path / "out", tmp_path / "x", "webdataset") / "fold_0-000000.tar") as archive:
        assert [len(name) for name in archive.getnames()] == [99, 99, 100]


@pytest.mark.parametrize("form", FORMATS)
def test_what_an_interrupted_export_was_writing_goes(form, tiny_prepared, tmp_path, monkeypatch):
    """What is not ours stays. Seen red: pd.read_parquet("faces"), as the read-me has it, gave some faces twice."""
    folder = made(tiny_prepared, tmp_path / "x", form)
    before = content(folder)
    mine = (folder / next(name for name in before if "/" in name or name.endswith(".tar"))).with_name("notes.part")
    mine.write_bytes(b"mine")
    for name in before:
        (folder / f"{name}.{'0' * 16}.part").write_bytes(before[name])
    made(tiny_prepared, tmp_path / "x", form)
    mine.unlink()
    assert content(folder) == before


# --- licence ----------------------------------------------------------------------------------------------------------


def test_licensed_faces_say_so_before_anything_else(licensed, tmp_path):
    """On the console, in the read-me, in the mark, in each Parquet file; and git does not take them.

    Seen red: the warning printed after the export."""
    import pyarrow.parquet as pq

    done = CliRunner().invoke(main, ["export", str(licensed), str(tmp_path / "x"), "--format", "parquet"])
    assert done.exit_code == 0 and done.stderr.startswith("DO NOT PUBLISH, DO NOT PASS ON. These are faces of people from CK+")
    licence = load_facts("ck+").licence
    assert licence in done.stderr and "must not be published" in done.stdout
    readme = (tmp_path / "x" / "README.md").read_text()
    assert re.match(r"# CK\+ \(Extended Cohn-Kanade\), as parquet\n\n> \*\*DO NOT PUBLISH, DO NOT PASS ON\.", readme)
    for words in ("Lucey", "personal data", "not emotions"):
        assert words in readme
    assert (tmp_path / "x" / ".gitignore").read_text() == "*\n"
    mark = unseal((tmp_path / "x" / MARK).read_bytes())
    assert mark["complete"] and mark["licence"] == licence and mark["warning"].startswith("DO NOT PUBLISH")
    for path in (tmp_path / "x" / "faces").iterdir():
        said = pq.read_schema(path).metadata
        assert said[b"licence"].decode() == licence and said[b"warning"].startswith(b"DO NOT PUBLISH") and b"Lucey" in said[b"citation"]


def test_faces_of_unknown_licence_are_not_free(write_tiny, tmp_path):
    out = write_tiny(tmp_path / "out", 2, 2, frames=1, dataset="folder")
    folder = made(out, tmp_path / "x", "hf")
    assert "**DO NOT PUBLISH." in (folder / "README.md").read_text() and (folder / ".gitignore").is_file()


def test_drawn_people_are_nobodys_faces(write_tiny, tmp_path):
    folder = made(write_tiny(tmp_path / "out", 2, 2, frames=1, dataset="ck+", drawn=True), tmp_path / "x", "parquet")
    text = (folder / "README.md").read_text()
    assert "The people are drawn" in text and "DO NOT" not in text and not (folder / ".gitignore").exists()


# --- where it goes ----------------------------------------------------------------------------------------------------


def test_an_interrupted_export_is_gone_on_with(licensed, tmp_path):
    """Seen red: the mark written as complete from the start."""

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_faces(plan_export(licensed, tmp_path / "x", "imagefolder"), stop)
    assert not unseal((tmp_path / "x" / MARK).read_bytes())["complete"] and len(list((tmp_path / "x").rglob("*.png"))) == 5
    summary = export_faces(plan_export(licensed, tmp_path / "x", "imagefolder"))
    assert summary.written == summary.files - 5 - 2
    assert content(tmp_path / "x") == content(made(licensed, tmp_path / "y", "imagefolder"))
    assert export_faces(plan_export(licensed, tmp_path / "x", "imagefolder")).written == 0


def test_what_was_changed_is_written_anew(licensed, tmp_path):
    """Seen red: files looked at by their names alone."""
    folder = made(licensed, tmp_path / "x", "imagefolder")
    path = next(folder.rglob("*.png"))
    path.write_bytes(bytes(len(path.read_bytes())))
    assert export_faces(plan_export(licensed, folder, "imagefolder")).written == 1


@pytest.mark.parametrize(
    ("dest", "message"),
    [
        (lambda out, tmp: out / "x", "give a folder outside of it"),
        (lambda out, tmp: (tmp / "mine.txt").write_text("mine") and tmp, "must be new, empty or hold the same export; it holds mine.txt"),
        (lambda out, tmp: made(out, tmp / "a", "parquet"), "it holds another export .its format is 'parquet', not 'hf'"),
        (lambda out, tmp: made(out, tmp / "b", "hf", 3), "it holds another export .its view is 3, not None"),
    ],
)
def test_nothing_of_others_is_written_into(dest, message, licensed, tmp_path):
    place = dest(licensed, tmp_path)
    before = content(place) if place.is_dir() else {}
    with pytest.raises(DatasetError, match=message):
        plan_export(licensed, place, "hf")
    assert (content(place) if place.is_dir() else {}) == before


def test_one_shard_is_open_at_a_time(tiny_prepared, tmp_path, monkeypatch):
    """Seen red: all stayed open, and above about 1,000 of them no file could be opened."""
    shutil.copytree(tiny_prepared, tmp_path / "in")
    samples = Samples(tmp_path / "in")
    names = [f"{number:05d}.h5" for number in range(len(samples) // 3)]
    for name in names[1:]:
        shutil.copy(tmp_path / "in" / "shards" / names[0], tmp_path / "in" / "shards" / name)
    samples.rows["shard"] = [names[number // 3] for number in range(len(samples))]
    maps, map_dataset = [], samples_of.map_dataset
    monkeypatch.setattr(samples_of, "map_dataset", lambda *which: maps.append(weakref.ref(found := map_dataset(*which))) or found)
    for _ in samples.some(len(samples)):
        assert sum(one() is not None for one in maps) == 1
    assert len(maps) == len(names)


def test_damaged_faces_are_not_handed_on(write_tiny, tmp_path):
    """Seen red: no look at the hash."""
    out = write_tiny(tmp_path / "out", 2, 2, frames=1)
    (shard,) = (out / "shards").glob("*.h5")
    data = bytearray(shard.read_bytes())
    where = data.find(map_dataset(shard, "faces")[3].tobytes())
    data[where + 7] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ShardError, match=r"S001/001/00000001 in 00000\.h5 is not the one"):
        made(out, tmp_path / "x", "parquet")
    assert not unseal((tmp_path / "x" / MARK).read_bytes())["complete"]


def test_a_dry_run_writes_nothing(licensed, tmp_path):
    words = ["export", str(licensed), str(tmp_path / "x"), "--format", "hf", "--dry-run"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and not (tmp_path / "x").exists()
    assert "9 pictures of 132x132 pixels (faces) of 3 people" in done.stdout and "per fold: 0: 3, 1: 3, 2: 3" in done.stdout
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert found["folds"] == {"0": 3, "1": 3, "2": 3} and found["dry_run"] and not (tmp_path / "x").exists()
