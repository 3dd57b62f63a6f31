"""verify names file, data set and first bad row."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.store.shards import map_dataset
from fer_data.store.verify import verify


@pytest.fixture
def copy(prepared_ck, tmp_path):
    shutil.copytree(prepared_ck, tmp_path / "copy")
    return tmp_path / "copy"


def flip_byte(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


def test_what_prepare_wrote_is_whole(prepared_ck):
    checked, problems = verify(prepared_ck)
    assert checked >= 1 and problems == []


@pytest.mark.parametrize(("part", "row"), [("faces", 0), ("faces", 5), ("landmarks", 3), ("matrix", 7)])
def test_a_flipped_byte_is_found_in_its_row(copy, part, row):
    shard = copy / "shards" / "00000.h5"
    values = map_dataset(shard, part)
    flip_byte(shard, values.offset + row * values.strides[0] + 1)
    out = CliRunner().invoke(main, ["verify", str(copy)])
    assert out.exit_code == 1 and f"00000.h5: data set {part}, first bad row {row} (ck+/" in out.output


@pytest.mark.parametrize("keep", [0, 1, 96, 0.5, -1])
def test_a_truncated_shard_is_found(copy, keep):
    shard = copy / "shards" / "00000.h5"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[: int(size * keep) if isinstance(keep, float) else keep % size])
    _, problems = verify(copy)
    assert len(problems) == 1 and problems[0].startswith("00000.h5: ")


def test_missing_swapped_and_foreign_files_are_found(copy):
    (copy / "shards" / "00000.h5").unlink()
    assert verify(copy)[1] == ["00000.h5: the file is missing"]
    (copy / "manifest.parquet").write_bytes((copy / "manifest.parquet").read_bytes() + b"")
    (copy / "shards" / "00000.json").unlink()
    np.save(copy / "shards" / "00000.h5.npy", np.zeros(3))
    (copy / "shards" / "00000.h5.npy").rename(copy / "shards" / "00000.h5")
    assert verify(copy)[1] == ["00000.h5: its record 00000.json is missing"]


def test_a_manifest_that_was_edited_is_found(copy):
    """Each label and fold counts: a manifest other than the one written is named."""
    import pandas as pd

    frame = pd.read_parquet(copy / "manifest.parquet")
    frame.loc[0, "fold"] = 3 - frame.loc[0, "fold"]
    frame.to_parquet(copy / "manifest.parquet", index=False)
    assert "manifest.parquet is not the one" in verify(copy)[1][0]
