"""What reads a prepared folder, under anything that may lie there: only our own errors leave it, each one sentence."""

import io
import json
import re
import shutil
from dataclasses import dataclass
from typing import TypedDict

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.fer_data import main as fer_data
from cli.fer_model import main as fer_model
from fer_data import schema
from fer_data.errors import DatasetError, FerError, ManifestError, ShardError
from fer_data.files import parse_object, sealed_json, sha256_of_bytes, unseal
from fer_data.store.folder import MARK, marked
from fer_data.store.manifest import COLUMNS, SCHEMA_VERSION, SKIP_COLUMNS, read_manifest, read_settings, read_skipped
from fer_data.store.shards import SHARD_VERSION, read_record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ANYTHING = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEWER = settings(MANY, max_examples=40)


@pytest.fixture
def folder(tiny_prepared, tmp_path):
    out = shutil.copytree(tiny_prepared, tmp_path / "out")
    (out / MARK).write_bytes(sealed_json({"dataset": "tiny"}))
    return out


def only(kind, read, *arguments):
    """Return what was read, or None if it raised the error that it may raise, in one line."""
    try:
        return read(*arguments)
    except kind as error:
        assert "\n" not in str(error) and str(error)


def changed(data, content):
    """Draw a JSON object that differs from a good one in one place: a key lost, another value, or another value within."""
    inner = content
    while True:
        key = data.draw(st.sampled_from(sorted(inner)))
        if isinstance(inner[key], dict) and inner[key] and data.draw(st.booleans()):
            inner = inner[key]
            continue
        if data.draw(st.booleans()):
            inner[key] = data.draw(JSON)
        else:
            del inner[key]
        return content


def reseal_table(folder, name, data):
    """Put a table down and make the settings agree with it."""
    content = unseal((folder / "settings.json").read_bytes())
    digest = sha256_of_bytes(data)
    content.update({"manifest_sha256": digest} if name == "manifest.parquet" else {"csv_sha256": {**content["csv_sha256"], name: digest}})
    (folder / name).write_bytes(data)
    (folder / "settings.json").write_bytes(sealed_json(content))


@MANY
@given(data=ANYTHING)
def test_a_seal_opens_only_what_was_sealed(data):
    for read in (parse_object, unseal):
        only(ValueError, read, data)


@MANY
@given(content=st.dictionaries(st.text(max_size=5), JSON, max_size=4), data=st.data())
def test_a_sealed_object_comes_back_and_any_other_byte_is_noticed(content, data):
    content.pop("seal", None)
    sealed = sealed_json(content)
    assert unseal(sealed) == content
    place = data.draw(st.integers(0, len(sealed) - 1))
    with pytest.raises(ValueError):
        unseal(sealed[:place] + bytes([sealed[place] ^ data.draw(st.integers(1, 255))]) + sealed[place + 1 :])


def test_json_that_is_nested_without_end_is_refused():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_object(b"[" * 200_000)


class Inner(TypedDict):
    x: list[dict]


@dataclass(frozen=True)
class Outer:
    a: int | None
    b: Inner
    c: tuple[float, ...] = ()


FITS = {"a": 1, "b": {"x": [{}], "more": 2}, "c": [1, 0.5]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a": "1"}, "o.a must be a whole number, not '1'"), ({"a": True}, "o.a must be a whole number, not True"),
        ({"b": {"x": [{}, 3]}}, "o.b.x[1] must be an object, not 3"), ({"b": 3}, "o.b must be an object, not 3"),
        ({"b": {}}, "o.b: key 'x' is missing"), ({"c": 2}, "o.c must be a list, not 2"),
        ({"c": [True]}, "o.c[0] must be a number, not True"), ({"d": 2}, "o: unknown key 'd'; choose a, b or c"),
        ({"a": ["x" * 999] * 9}, "o.a must be a whole number, not ['xxx"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(change, said):
    """Seen red: `closed` always False in fer_data/schema.py; TypeError came out, not a sentence."""
    assert schema.read(Outer, FITS, "o") == Outer(1, {"x": [{}], "more": 2}, (1, 0.5))
    assert schema.read(Outer, FITS | {"a": None}, "o").a is None
    with pytest.raises(ValueError, match=f"^{re.escape(said)}") as caught:
        schema.read(Outer, FITS | change, "o")
    assert len(str(caught.value)) < 300
    for name in FITS:
        with pytest.raises(ValueError, match=f"^o: key '{name}' is missing$"):
            schema.read(Outer, {key: value for key, value in FITS.items() if key != name}, "o")


def test_a_key_that_breaks_the_line_leaves_the_message_on_one():
    """Seen red: hypothesis drew settings whose `skipped` had a line break for a reason."""
    with pytest.raises(ValueError, match=r"^skipped\.'\\n' must be a whole number, not None$"):
        schema.read(dict[str, int], {"\n": None}, "skipped")


@MANY
@given(data=st.data())
def test_settings(folder, data):
    """Anything in the file, and good settings with one thing changed: what is returned can be used by all that use it."""
    path = folder / "settings.json"
    good = path.read_bytes()
    try:
        raw = data.draw(ANYTHING)
        path.write_bytes(raw)
        assert only(ManifestError, read_settings, folder) is None
        path.write_bytes(sealed_json(changed(data, unseal(good))))
        found = only(ManifestError, read_settings, folder)
        if found is not None:
            from fer_data.report.content import provenance

            assert provenance(found, pd.DataFrame()) and all(name.endswith(".h5") and "/" not in name for name in found["shards"])
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("name", ["../../secret.h5", "/etc/secret.h5", "1.h5", "00000.h5\n", "00000.H5", ""])
def test_a_shard_has_a_name_of_ours(folder, name):
    """Once a name that leads out of the folder was followed."""
    content = unseal((folder / "settings.json").read_bytes())
    (folder / "settings.json").write_bytes(sealed_json({**content, "shards": {name: "0" * 64}}))
    with pytest.raises(ManifestError, match=r"settings\.json is not what prepare writes \(shards names"):
        read_settings(folder)


@MANY
@given(data=st.data())
def test_records(folder, data):
    path = folder / "shards" / "00000.json"
    good = path.read_bytes()
    try:
        path.write_bytes(data.draw(ANYTHING))
        assert only(ShardError, read_record, path.parent, "00000.h5") is None
        path.write_bytes(sealed_json(changed(data, unseal(good))))
        only(ShardError, read_record, path.parent, "00000.h5")
    finally:
        path.write_bytes(good)


def test_a_record_has_no_fields_of_another_version(folder):
    path = folder / "shards" / "00000.json"
    path.write_bytes(sealed_json({**unseal(path.read_bytes()), "more": 1}))
    with pytest.raises(ShardError, match=r"00000\.json is not what prepare writes"):
        read_record(path.parent, "00000.h5")


@MANY
@given(data=ANYTHING | JSON.map(lambda value: sealed_json({"dataset": value})))
def test_marks(folder, data):
    (folder / MARK).write_bytes(data)
    read = only(DatasetError, marked, folder)
    assert read is None or isinstance(read, str)


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.integers(-5, 5).map(str) | st.sampled_from(["INF", "9" * 20])


@MANY
@given(data=st.data())
def test_skipped(folder, data):
    """Bytes that the settings do not name are never parsed; of those that they do, only the columns that are wanted pass."""
    (folder / "skipped.csv").write_bytes(data.draw(st.binary(max_size=40)))
    only(ManifestError, read_skipped, folder)
    columns = data.draw(st.permutations(list(SKIP_COLUMNS)) | st.just(list(SKIP_COLUMNS)) | st.lists(CELLS, max_size=8))
    lines = [",".join(columns), *(",".join(row) for row in data.draw(st.lists(st.lists(CELLS, min_size=6, max_size=8), max_size=3)))]
    reseal_table(folder, "skipped.csv", data.draw(st.binary(max_size=40) | st.just("\n".join(lines).encode())))
    read = only(ManifestError, read_skipped, folder)
    assert read is None or (list(read.columns) == list(SKIP_COLUMNS) and read["frames"].dtype == "int64")


@FEWER
@given(data=st.data())
def test_manifests(folder, data):
    """A table with a column lost, of another type, or with a value out of its range is refused by name."""
    (folder / "manifest.parquet").write_bytes(data.draw(st.binary(max_size=40)))
    assert only(ManifestError, read_manifest, folder) is None
    frame = data.draw(st.just(pd.DataFrame(rows(3))) | st.just(pd.DataFrame()))
    if len(frame):
        column = data.draw(st.sampled_from(list(COLUMNS)))
        kind = data.draw(st.sampled_from(["drop", "text", "bytes", "float", "null", "list", "double"]))
        values = {"text": "x", "bytes": b"\xff", "float": -1.5, "null": None, "list": [1], "double": frame[column].iloc[0]}
        frame = frame.drop(columns=column) if kind == "drop" else frame.assign(**{column: [values[kind]] * len(frame)})
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    cut = data.draw(st.integers(0, len(buffer.getvalue())) | st.none())
    reseal_table(folder, "manifest.parquet", buffer.getvalue()[:cut])
    read = only(ManifestError, read_manifest, folder)
    assert read is None or list(read.columns) == list(COLUMNS)


def rows(count):
    blanks = {column: {"str": "", "int64": 0, "float64": 0.0, "bool": False}[dtype] for column, (dtype, _) in COLUMNS.items()}
    own = {"subject": "a", "expression": "fear", "framing": "whole", "role": "peak", "shard": "00000.h5"}
    own |= {"source_sha256": "0" * 64, "face_sha256": "0" * 64}
    return [blanks | own | {"image_id": f"d/a/b/{number:08d}", "row": number} for number in range(count)]


# --- the commands -----------------------------------------------------------------------------------------------------


BROKEN = {
    "hardly any settings": ("settings.json", sealed_json({"schema_version": SCHEMA_VERSION})),
    "settings without a seal": ("settings.json", json.dumps({"schema_version": SCHEMA_VERSION}).encode()),
    "shards that are none": ("settings.json", {"shards": 5}),
    "a shard that leads out": ("settings.json", {"shards": {"../../secret.h5": "0" * 64}}),
    "a newer schema": ("settings.json", json.dumps({"schema_version": SCHEMA_VERSION + 1}).encode()),
    "a garbled manifest": ("manifest.parquet", b"PAR1PAR1"),
    "no manifest": ("manifest.parquet", None),
    "other columns": ("skipped.csv", b"a,b\n1,2\n"),
    "no skipped.csv": ("skipped.csv", None),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("command", ["verify", "report", "inspect", "audit", "train"])
def test_each_command_says_one_sentence_of_a_broken_folder(folder, tmp_path, command, broken):
    """KeyError and AttributeError once left verify, report and inspect; audit called a newer schema clean."""
    name, content = BROKEN[broken]
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else sealed_json({**unseal(path.read_bytes()), **content}))
    if command == "train":
        places = ["--data", str(folder), "--run", str(tmp_path / "run")]
        done = CliRunner().invoke(fer_model, ["train", "--fold", "0", "--preset", "smoke", "--dry-run", *places])
    else:
        done = CliRunner().invoke(fer_data, [command, str(folder)])
    if command in ("audit", "train") and name == "skipped.csv":
        assert not done.stderr.startswith("Error")  # they do not read it
        return
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    if command != "verify" or name == "settings.json":
        assert done.stderr.startswith("Error: ") and len(done.stderr.strip().splitlines()) == 1 and name in done.stderr
    else:
        assert name in done.stdout                       # what is wrong is the result


def test_a_newer_schema_is_refused_with_both_numbers_by_all(folder):
    """audit read such a folder and called it clean."""
    (folder / "settings.json").write_text(json.dumps({"schema_version": 7}))
    for command in ("verify", "report", "inspect", "audit"):
        said = CliRunner().invoke(fer_data, [command, str(folder)]).stderr
        assert f"this program reads schema version {SCHEMA_VERSION}, " in said and "has version 7; prepare again into a new folder" in said
    path = folder / "shards" / "00000.json"
    path.write_text(json.dumps({"shard_version": 7}))
    with pytest.raises(FerError, match=rf"reads version {SHARD_VERSION}, .* has version 7"):
        read_record(path.parent, "00000.h5")
