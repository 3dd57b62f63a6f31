"""verify names file, data set and first bad row."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.errors import ManifestError, ShardError
from fer_data.store.files import json_bytes, sha256_of_file
from fer_data.store.guard import Guard
from fer_data.store.manifest import read_manifest
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
    (copy / "shards" / "00000.h5").unlink()
    problems = verify(copy)[1]
    assert len(problems) == 2 and "manifest.parquet is not the one" in problems[0] and "00000.h5: the file is missing" in problems[1]
    with pytest.raises(ManifestError, match=r"is not the one that settings\.json was written with"):
        read_manifest(copy)


def replace_shard(copy, make):
    """Put another HDF5 file in the place of a shard: `make(file, path)` fills it."""
    import h5py

    path = copy / "shards" / "00000.h5"
    path.unlink()
    with h5py.File(path, "w") as file:
        make(file, path)
    return path


def adopt(copy, shard):
    """Make the record and the settings agree with the bytes of a shard, as somebody would who means harm."""
    digest = sha256_of_file(shard)
    record = json.loads(shard.with_suffix(".json").read_bytes())
    shard.with_suffix(".json").write_bytes(json_bytes({**record, "sha256": digest, "size": shard.stat().st_size}))
    settings = json.loads((copy / "settings.json").read_bytes())
    settings["shards"][shard.name] = digest
    (copy / "settings.json").write_bytes(json_bytes(settings))


@pytest.mark.parametrize("adopted", [False, True], ids=["foreign bytes", "hashes that agree"])
@pytest.mark.parametrize("form", ["external link", "soft link", "virtual", "filter", "external storage", "objects"])
def test_only_plain_data_sets_are_opened(copy, form, adopted, tmp_path):
    """A crafted shard cannot make the reader open another file or load a plugin.

    With hashes that agree, links to another file and a compressed data set once gave no problem.
    """
    import h5py

    whole, secret = copy / "shards" / "00000.h5", tmp_path / "secret.h5"
    shutil.copy(whole, secret)
    with h5py.File(secret) as file:
        content = {name: file[name][:] for name in file}
    faces = content["faces"]

    def make(file, path):
        for name, values in content.items():
            if form == "external link":
                file[name] = h5py.ExternalLink(str(secret), name)
            elif name != "faces":
                file[name] = values
        if form == "soft link":
            file["other"] = faces
            file["faces"] = h5py.SoftLink("/other")
        elif form == "virtual":
            layout = h5py.VirtualLayout(faces.shape, np.uint8)
            layout[:] = h5py.VirtualSource(str(secret), "faces", shape=faces.shape)
            file.create_virtual_dataset("faces", layout)
        elif form == "filter":
            file.create_dataset("faces", data=faces, compression="gzip")
        elif form == "external storage":
            file.create_dataset("faces", faces.shape, np.uint8, external=[(str(secret), 0, faces.size)])
        elif form == "objects":
            file.create_dataset("faces", data=np.array(["a", "b"], dtype=object), dtype=h5py.string_dtype())

    path = replace_shard(copy, make)
    with pytest.raises(ShardError, match=r"no data set 'faces' of its own|must be contiguous and plain|must hold numbers"):
        map_dataset(path, "faces")
    if adopted:
        adopt(copy, path)
    problems = verify(copy)[1]
    assert len(problems) == 1 and problems[0].startswith("00000.h5: mapping a shard: ")


def test_a_data_set_of_another_shape_is_found(copy):
    import h5py

    path = copy / "shards" / "00000.h5"
    with h5py.File(path, "a") as file:
        values = file["matrix"][:-1]
        del file["matrix"]
        file["matrix"] = values
    adopt(copy, path)
    assert verify(copy)[1] == [f"00000.h5: data set matrix must have shape {(len(values) + 1, 2, 3)}, got {values.shape}"]


def test_a_reader_that_hangs_or_crashes_does_not_take_verify_with_it(copy, monkeypatch):
    """Nor does it take the next file with it."""
    path = copy / "shards" / "00000.h5"
    with Guard() as guard:
        assert guard.call(fine, path) == ["00000.h5"]
        assert "makes the HDF5 library crash" in guard.call(crash, path)[0]
        assert guard.call(fine, path) == ["00000.h5"]
        monkeypatch.setattr("fer_data.store.guard.CHILD_LIMIT_S", 0.5)
        assert guard.call(hang, path)[0].startswith("00000.h5: reading it did not end within 0.5 s")
        monkeypatch.undo()
        assert guard.call(fine, path) == ["00000.h5"]


def fine(path):
    return [path.name]


def hang(path):
    import time

    time.sleep(600)


def crash(path):
    import os

    os.abort()


@pytest.mark.slow
def test_damage_at_any_place_is_found_or_harmless(copy):
    """Flipped bytes and truncations at 40 places over the whole file: each one is a problem, none hangs or raises."""
    path = copy / "shards" / "00000.h5"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [*range(0, 2048, 160), *rng.integers(0, len(whole), 14)]:
        flip_byte(path, int(position))
        assert len(verify(copy)[1]) == 1, position
        path.write_bytes(whole)
    for length in rng.integers(0, len(whole), 6):
        path.write_bytes(whole[: int(length)])
        assert len(verify(copy)[1]) == 1, length
    path.write_bytes(whole)
    assert verify(copy)[1] == []
