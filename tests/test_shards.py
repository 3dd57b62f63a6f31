"""What write_shard leaves: a plain HDF5 file of the bytes that its record names, or nothing."""

import resource
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from fer_data.errors import ShardError, StorageError
from fer_data.files import sha256_of_bytes, sha256_of_file
from fer_data.store import loader
from fer_data.store.shards import map_dataset, read_record, shard_name, write_shard


def content(count, rng):
    data = {"faces": rng.integers(0, 256, (count, 132, 132), np.uint8), "landmarks": rng.random((count, 68, 2))}
    data["matrix"] = rng.random((3, 2, count)).T  # (N, 2, 3), not contiguous
    return data, [{"image_id": f"é{index}", "face_sha256": "0" * 64} for index in range(count)]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_shard_is_what_plain_h5py_reads_and_what_its_record_says(count, tmp_path):
    """Seen red: with the bytes behind the last data set left out h5py found no signature; with the file's hash taken of the data sets
    alone, with matrix written as it lay in memory."""
    data, rows = content(count, np.random.default_rng(count))
    record = write_shard(tmp_path, "00000.h5", "key", data, rows, [])
    assert read_record(tmp_path, "00000.h5") == record and sorted(path.name for path in tmp_path.iterdir()) == ["00000.h5", "00000.json"]
    path = tmp_path / "00000.h5"
    assert (record.sha256, record.size) == (sha256_of_file(path), path.stat().st_size)
    with h5py.File(path) as file:
        assert sorted(file) == ["faces", "image_id", "landmarks", "matrix"] and file.attrs["key"] == b"key"
        assert [name.decode() for name in file["image_id"]] == [row["image_id"] for row in rows]
        for part, values in data.items():
            np.testing.assert_array_equal(file[part][:], values)
            assert record.row_sha256[part] == [sha256_of_bytes(row.tobytes())[:16] for row in values]
    assert count == 0 or map_dataset(path, "faces").offset % 4096 == 0


def test_the_same_content_gives_the_same_bytes(tmp_path):
    data, rows = content(3, np.random.default_rng(0))
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name, "00000.h5", "key", data, rows, [])
        files.append([(tmp_path / name / file).read_bytes() for file in ("00000.h5", "00000.json")])
    assert files[0] == files[1]


@pytest.mark.parametrize("room", [0, 1000, 50_000])
def test_a_disk_that_takes_no_more_leaves_nothing(room, tmp_path):
    """Seen red: HDF5 that writes to the disk itself ends the process there."""
    data, rows = content(7, np.random.default_rng(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(StorageError, match=r"writing .*/00000\.h5: File too large"):
            write_shard(tmp_path, "00000.h5", "key", data, rows, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def few_files():
    """Let this process open no more than about eight files beside those that are open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(path.name) for path in Path("/dev/fd").iterdir()}
    resource.setrlimit(resource.RLIMIT_NOFILE, ([number for number in range(1000) if number not in taken][8], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_shard_that_is_gone_is_said_to_be_gone(tmp_path):
    """Seen red: `cannot be opened as HDF5 ([Errno 2] Unable to synchronously open file (... flags = 0 ...))`."""
    with pytest.raises(ShardError, match=r"^mapping a shard: \S*00000\.h5 is not there; the `prepare` command that wrote it makes it"):
        map_dataset(tmp_path / "00000.h5", "faces")


def test_stored_views_of_more_shards_than_files_may_be_open(few_files, tmp_path, monkeypatch):
    """Seen red: `cannot be opened as HDF5 (... Too many open files)`, as if a shard were damaged."""
    names = [shard_name(number) for number in range(12)]
    (tmp_path / "shards").mkdir()
    for value, name in enumerate(names):
        views = np.full((1, 110, 96, 96), value, np.uint8)
        write_shard(tmp_path / "shards", name, "key", {"views": views}, [{"image_id": name, "face_sha256": ""}], [])
    monkeypatch.setattr(loader, "read_settings", lambda out: {"config": {"views": "stored"}})
    rows = pd.DataFrame({"shard": names, "row": 0})
    views = loader.open_views(tmp_path, rows)
    assert loader.to_u8(views.batch(torch.arange(12), torch.arange(12)))[:, 0, 0, 0].tolist() == list(range(12))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4, 12))
    with pytest.raises(ShardError, match=r"12 shards are open at once, and this process may open 12 files; .*--views virtual"):
        loader.open_views(tmp_path, rows)
