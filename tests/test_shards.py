"""What write_shard leaves: a plain HDF5 file of the bytes that its record names, or nothing."""

import resource

import h5py
import numpy as np
import pytest

from fer_data.errors import StorageError
from fer_data.files import sha256_of_bytes, sha256_of_file
from fer_data.store.shards import map_dataset, read_record, write_shard


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
