"""A manifest of any length is written in little memory: parts, row groups, the plan on its shelf; and nothing is lost between parts."""

import errno
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fer_data.errors import ManifestError, ShardError, StorageError
from fer_data.prepare import run
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.shelf import Selected, Shelf
from fer_data.records import Frame, Sequence, Skip
from fer_data.store import manifest, shards
from fer_data.store.manifest import read_manifest, read_settings, write_manifest
from tests.trees import bytes_of


@pytest.fixture
def rows(tiny_prepared):
    """36 rows."""
    return read_manifest(tiny_prepared).to_dict("records")


@pytest.fixture
def settings(tiny_prepared):
    known = read_settings(tiny_prepared)
    return {key: value for key, value in known.items() if key not in ("schema_version", "manifest_sha256", "csv_sha256")}


def small_parts(monkeypatch, part, group):
    monkeypatch.setattr(manifest, "_PART", part)
    monkeypatch.setattr(manifest, "_GROUP", group)


@pytest.mark.parametrize(("part", "group", "groups"), [(7, 2, [14, 14, 8]), (12, 1, [12] * 3), (36, 5, [36]), (9, 4, [36])])
def test_parts_hold_what_one_part_holds(rows, settings, tmp_path, monkeypatch, part, group, groups):
    """Seen red: with a header before each part; with the last parts left out of the Parquet file."""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    write_manifest(tmp_path / "whole", rows, [], settings)
    small_parts(monkeypatch, part, group)
    write_manifest(tmp_path / "parts", rows, [], settings)
    text, parquet = (tmp_path / "parts" / f"manifest.{suffix}" for suffix in ("csv", "parquet"))
    assert text.read_bytes() == (tmp_path / "whole" / "manifest.csv").read_bytes()
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "parts"), read_manifest(tmp_path / "whole"))
    written = pq.ParquetFile(parquet).metadata
    assert [written.row_group(number).num_rows for number in range(written.num_row_groups)] == groups
    same = parquet.read_bytes() == (tmp_path / "whole" / "manifest.parquet").read_bytes()
    assert same == (groups == [36]), "a manifest of one row group has the bytes that it always had"


@pytest.mark.parametrize(("change", "said"), [({"image_id": "first"}, "image_id"), ({"row": 0}, "row"), ({"fold": -1}, "fold")])
def test_what_breaks_the_schema_in_a_later_part_is_refused(rows, settings, tmp_path, monkeypatch, change, said):
    """Two rows alike in parts far from each other too, and the last part by itself. Seen red: without the second look, the first two."""
    small_parts(monkeypatch, 5, 2)
    rows[-1] |= {"image_id": rows[0]["image_id"]} if change == {"image_id": "first"} else change
    with pytest.raises(ManifestError, match=f"writing the manifest: .*{said}"):
        write_manifest(tmp_path, rows, [], settings)
    assert not any(tmp_path.iterdir())


def test_a_carriage_return_in_a_name_breaks_no_table(rows, settings, tmp_path):
    """A Mac's Icon\\r. Seen red: two rows of one, and `not the CSV that prepare writes`; other rows keep their bytes."""
    names = ["Icon\r", "a\r\nb\n.png", 'c"d,e.png', "", "f\r"]
    rows[0]["source"] = "a\rb\r.png"
    write_manifest(tmp_path, rows, [Skip(name, "litter", frames=0, detail=f"it is {name}") for name in names], settings)
    skipped = manifest.read_skipped(tmp_path)
    assert skipped["source"].tolist() == sorted(names) and skipped["detail"].tolist() == [f"it is {name}" for name in sorted(names)]
    written = pd.read_csv(tmp_path / "manifest.csv", dtype={"subject": str, "sequence": str}, keep_default_na=False)
    assert written["source"].tolist() == [row["source"] for row in rows]
    rows[0]["source"] = 'a"b,\n.png'
    write_manifest(tmp_path, rows, [], settings)
    text = read_manifest(tmp_path).to_csv(index=False, lineterminator="\n")
    assert (tmp_path / "manifest.csv").read_bytes() == text.encode()


def test_digests_that_agree_by_chance_refuse_nothing(rows, settings, tmp_path, monkeypatch):
    """Seen red: refused at the first look."""
    monkeypatch.setattr(manifest, "_digests", lambda frame, names: pd.Series(0, frame.index).to_numpy())
    small_parts(monkeypatch, 5, 2)
    write_manifest(tmp_path, rows, [], settings)
    assert len(read_manifest(tmp_path)) == len(rows)


def test_a_manifest_in_other_row_groups_stays_while_its_rows_do(rows, settings, tmp_path, monkeypatch):
    """As an earlier version wrote it: runs name its sha256. Seen red: written anew, with another sha256."""
    write_manifest(tmp_path, rows, [], settings)
    before = read_settings(tmp_path)["manifest_sha256"]
    small_parts(monkeypatch, 7, 1)
    write_manifest(tmp_path, rows, [], settings | {"notes": ["another"]})
    assert read_settings(tmp_path)["notes"] == ["another"] and read_settings(tmp_path)["manifest_sha256"] == before
    assert len(read_manifest(tmp_path)) == len(rows)
    write_manifest(tmp_path, rows[:-1], [], settings)
    assert read_settings(tmp_path)["manifest_sha256"] != before and len(read_manifest(tmp_path)) == len(rows) - 1


def test_a_disk_that_is_full_leaves_the_manifest_of_before(rows, settings, tmp_path, monkeypatch):
    """Seen red: as a bare OSError."""
    write_manifest(tmp_path, rows, [], settings)
    before = bytes_of(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(manifest, "_append_csv", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        write_manifest(tmp_path, rows[:-1], [], settings)
    assert bytes_of(tmp_path) == before


def test_a_shelf_gives_back_what_was_put_there():
    """Seen red: boxes of frames as lists, the apex as a list."""
    frames = (Frame("a/ü.png", 7), Frame("b.avi", 3, 2, "points.txt", (1, 2, 30, 40)))
    one = Sequence("lab", "S1", "x", "fear", frames, apex=(3, 5), framings=("whole", "left"), role="reference", split="test")
    given = [Selected(replace(one, sequence=str(number)), number, [{"sha256": "0"}] * (number % 2)) for number in range(7)]
    shelf = Shelf([given[:3], given[3:4], given[4:]])
    assert list(shelf) == given and len(shelf) == 7 and list(shelf.boxes) == [0, 1, 2]
    assert [shelf[index] for index in (6, 0, 3, -1)] == [given[index] for index in (6, 0, 3, -1)] and shelf.box(1) == given[3:4]
    with pytest.raises(IndexError):
        shelf[7]


@pytest.fixture
def pictures(tmp_path):
    """150 pictures of two people."""
    import cv2
    import numpy as np

    for number in range(150):
        path = tmp_path / "in" / f"p{number % 2}" / f"{number:03d}_happy.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((48, 48), number, np.uint8))
    return tmp_path / "in"


CONFIG = PrepareConfig(landmarks="none", folds=2, views="virtual", options={"pattern": "{subject}/{sequence}_{expression}.png"})


def test_files_are_hashed_a_shard_at_a_time(pictures, tmp_path, monkeypatch):
    """And each once. Seen red: 252 hashes of 150 files."""
    hashed, ahead, real = [], [], run.hash_source
    monkeypatch.setattr(run, "hash_source", lambda path, clip: hashed.append(path) or real(path, clip))
    run.prepare_dataset("folder", pictures, tmp_path / "out", CONFIG, lambda done, total: ahead.append(len(hashed) - done))
    assert len(hashed) == len(set(hashed)) == 150 and max(ahead) < 48 + run._IN_FLIGHT


def test_a_clip_that_goes_on_in_the_next_shard_is_hashed_once(tmp_path, monkeypatch):
    """Seen red: with nothing kept from shard to shard."""
    from concurrent.futures import ThreadPoolExecutor

    hashed = []
    monkeypatch.setattr(run, "hash_source", lambda path, clip: hashed.append(path.name) or (path.name, clip))
    with ThreadPoolExecutor(2) as threads:
        sources = run._Sources(tmp_path, threads)
        assert sources.of([Frame("a.avi", 1, 0), Frame("b.png", 1)]) == {"a.avi": ("a.avi", True), "b.png": ("b.png", False)}
        assert sources.of([Frame("a.avi", 2, 1), Frame("c.png", 1)]) == {"a.avi": ("a.avi", True), "c.png": ("c.png", False)}
    assert sorted(hashed) == ["a.avi", "b.png", "c.png"]


def test_a_record_that_is_gone_when_the_manifest_is_written_is_one_sentence(pictures, tmp_path, monkeypatch):
    """Seen red: an AttributeError."""
    real = run._write_manifest

    def without(given, *words):
        (tmp_path / "out/shards/00001.json").unlink()
        real(given, *words)

    monkeypatch.setattr(run, "_write_manifest", without)
    with pytest.raises(ShardError, match=r"00001.h5 is not the one that was written; run the same command again"):
        run.prepare_dataset("folder", pictures, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out/manifest.parquet").exists() and not list((tmp_path / "out").glob("*.part"))
    monkeypatch.setattr(run, "_write_manifest", real)
    assert run.prepare_dataset("folder", pictures, tmp_path / "out", CONFIG).shards_written == 1
    assert shards.read_record(tmp_path / "out/shards", "00001.h5") is not None
