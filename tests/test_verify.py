"""verify names file, data set and first bad row."""

import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.errors import ManifestError, ShardError
from fer_data.files import sealed_json, sha256_of_file, unseal
from fer_data.store.manifest import read_manifest
from fer_data.store.shards import map_dataset
from fer_data.store.untrusted import Guard
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


def reseal(path, change):
    content = unseal(path.read_bytes())
    change(content)
    path.write_bytes(sealed_json(content))


def adopt(copy, shard):
    """Make the record and the settings agree with the bytes of a shard, as somebody would who means harm."""
    digest = sha256_of_file(shard)
    reseal(shard.with_suffix(".json"), lambda record: record.update(sha256=digest, size=shard.stat().st_size))
    reseal(copy / "settings.json", lambda settings: settings["shards"].update({shard.name: digest}))


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
        monkeypatch.setattr("fer_data.store.untrusted.CHILD_LIMIT_S", 0.5)
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


def damaged(data, rng):
    """Yield what a bad disk may make of a file: a bit flipped, cut off, nothing."""
    for position in {0, len(data) // 2, len(data) - 1, *rng.integers(0, len(data), 3).tolist()}:
        yield data[:position] + bytes([data[position] ^ 1 << int(rng.integers(0, 8))]) + data[position + 1 :]
    for length in (0, 1, len(data) // 2, len(data) - 1):
        yield data[:length]


def found(copy):
    """Return the problems, those that leave nothing to check against included."""
    try:
        return verify(copy)[1]
    except ManifestError as error:
        return [str(error)]


@pytest.mark.parametrize(
    "name", ["manifest.parquet", "manifest.csv", "skipped.csv", "settings.json", "fer-data.json", "shards/00000.json", "shards/00001.h5"]
)
def test_damage_to_any_file_is_found_and_named(damage_me, name):
    """Flips in and truncations of manifest.csv, skipped.csv and the records once gave no problem."""
    path, rng = damage_me / name, np.random.default_rng(0)
    whole = path.read_bytes()
    for data in damaged(whole, rng):
        path.write_bytes(data)
        problems = found(damage_me)
        assert problems and all(path.stem in problem for problem in problems), (len(data), problems)
    path.unlink()
    problems = found(damage_me)
    assert problems and all(path.stem in problem for problem in problems)
    path.write_bytes(whole)
    assert found(damage_me) == []


@pytest.fixture
def damage_me(tmp_path):
    """A folder small enough to be verified in a moment."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset

    root = tmp_path / "faces"
    for subject in ("a", "b"):
        (root / subject).mkdir(parents=True)
        for number, expression in enumerate(("anger", "fear")):
            cv2.imwrite(str(root / subject / f"{number}_{expression}.png"), np.full((48, 48), 20 * number, np.uint8))
    (root / "a" / "stray.png").write_bytes(b"")
    config = PrepareConfig(landmarks="none", folds=2, views="virtual", options={"pattern": "{subject}/{sequence}_{expression}.png"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_data.prepare.plan.SHARD_FACES", 2)
        prepare_dataset("folder", root, tmp_path / "out", config)
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(row_sha256={"faces": 5}), "row_sha256.faces must be a list, not 5"),
        (lambda record: record.update(row_sha256={"faces": ["0" * 16]}), "does not have a hash for each row"),
        (lambda record: record["rows"][0].update(expression="sadness"), "do not say the same of its faces"),
        (lambda record: record["rows"].pop(), "do not say the same of its faces"),
        (lambda record: record.pop("skipped"), "key 'skipped' is missing"),
    ],
)
def test_a_record_that_was_edited_with_care_is_found(damage_me, change, said):
    """{"faces": 5} for the hashes of rows once gave no problem."""
    reseal(damage_me / "shards" / "00000.json", change)
    problems = verify(damage_me)[1]
    assert len(problems) == 1 and problems[0].startswith("00000.h5: ") and said in problems[0]


def test_a_damaged_record_is_made_anew_and_a_damaged_cache_is_not_believed(prepared_ck, synthetic_ck, tmp_path):
    """A flipped digit in a cached point is a miss: the same bytes come out as from an empty cache."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset
    from tests.trees import bytes_of

    out = tmp_path / "out"
    shutil.copytree(prepared_ck, out)
    path = sorted((out / "cache").rglob("*.json"))[0]
    data = path.read_bytes()
    digit = data.index(b".", data.index(b"\"points\"")) - 1
    path.write_bytes(data[:digit] + (b"1" if data[digit : digit + 1] != b"1" else b"2") + data[digit + 1 :])
    for record in (out / "shards").glob("*.json"):
        record.write_bytes(record.read_bytes()[:-9])
    again = prepare_dataset("ck+", synthetic_ck, out, PrepareConfig(landmarks="dlib", folds=4, views="virtual"))
    assert again.detected == 3 and bytes_of(out) == bytes_of(prepared_ck)


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
