"""The one file writer: whole or not at all."""

import errno
import json
import math
import os

import pytest

from fer_data import files
from fer_data.errors import StorageError


def test_a_file_is_written_synced_and_renamed(tmp_path, monkeypatch):
    """The bytes are on disk before the name is, and the folder is synced after: order of the system calls."""
    calls = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (calls.append("fsync"), real_fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), real_replace(*paths)))
    files.write_bytes_atomically(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc" and calls == ["fsync", "replace", "fsync"]
    calls.clear()
    files.write_bytes_atomically(tmp_path / "a", b"kept for a while", durable=False)
    assert (tmp_path / "a").read_bytes() == b"kept for a while" and calls == ["replace"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing, number):
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(StorageError, match=rf"writing .*/a: {os.strerror(number)}; .*, then run the same command again"):
        files.write_bytes_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_json_is_the_same_bytes_for_the_same_content():
    assert files.json_bytes({"b": 1, "a": [0.1, "é"]}) == files.json_bytes({"a": [0.1, "é"], "b": 1})
    assert json.loads(files.json_bytes({"x": 0.1 + 0.2}))["x"] == 0.1 + 0.2  # floats survive to the bit
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.json_bytes({"x": math.nan})


def test_a_file_is_removed_before_anything_that_follows(tmp_path, monkeypatch):
    calls = []
    real_fsync, real_unlink = os.fsync, os.unlink
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), real_fsync(descriptor)))
    monkeypatch.setattr(os, "unlink", lambda path, **options: (calls.append("unlink"), real_unlink(path, **options)))
    (tmp_path / "a").write_bytes(b"old")
    files.remove_durably(tmp_path / "a")
    files.remove_durably(tmp_path / "a")
    assert calls == ["unlink", "fsync"] and not list(tmp_path.iterdir())


def test_an_interrupt_leaves_no_part(tmp_path, monkeypatch):
    """Broken once by cleaning up after OSError alone: the part stayed."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes_atomically(tmp_path / "a", b"new")
    assert not list(tmp_path.iterdir())


def test_what_grows_lies_there_whole_or_not_at_all(tmp_path, monkeypatch):
    """Seen red: the file opened under its own name; the part left after an error."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"old")
    with files.growing(tmp_path / "a") as part:
        part.write_bytes(b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), files.growing(tmp_path / "b") as part:
            part.write_bytes(b"ne")
            raise error
    assert (tmp_path / "b").read_bytes() == b"old" and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    message = r"writing .*/b: No space left on device; free some space"
    with pytest.raises(StorageError, match=message), files.growing(tmp_path / "b") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "b").read_bytes() == b"old" and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_two_that_write_one_file_at_once_do_not_mix(tmp_path):
    """The last one to finish has its file whole.

    Seen red: with one part for both the first one's was lost without a word, and without the third writer the file was `123def`.
    """
    with files.growing(tmp_path / "a") as one, one.open("w") as first:
        first.write("abc")
        first.flush()
        with files.growing(tmp_path / "a") as other:
            other.write_text("12345")
        assert (tmp_path / "a").read_text() == "12345"
        files.write_bytes_atomically(tmp_path / "a", b"67")
        assert (tmp_path / "a").read_text() == "67"
        first.write("def")
    assert (tmp_path / "a").read_text() == "abcdef" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "x" + "é" * 127, os.fsdecode(b"\xff" * 255)], ids=["a", "even", "odd", "no UTF-8"])
def test_a_name_of_any_length_is_written(tmp_path, name):
    """Seen red: `File name too long` from 251 bytes on, as `.part` was put behind the name."""
    files.write_bytes_atomically(tmp_path / name, b"1")
    with files.growing(tmp_path / name) as part:
        part.write_bytes(b"2")
        assert part.parent == tmp_path and files.is_part(part, "*")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"2")]


def test_a_file_may_be_read_by_whom_the_umask_allows(tmp_path):
    """As if it was opened under its own name. Seen red: made by tempfile.mkstemp, which lets its owner alone read."""
    before = os.umask(0o027)
    try:
        files.write_bytes_atomically(tmp_path / "a", b"1")
        with files.growing(tmp_path / "b") as part:
            part.write_bytes(b"2")
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "ab"} == {0o640}


def test_parts_are_told_from_files_of_others(tmp_path):
    """Those of this version and of earlier ones. Seen red: all that end in .part."""
    token = "0123456789abcdef"
    ours = [f"a.json.{token}.part", "a.json.part"]
    for name in (*ours, f"b.json.{token}.part", "a.json.notes.part", f"a.json.{token}", "a.json"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in files.unfinished_in(tmp_path, "a.json")] == ours
    assert sorted(path.name for path in tmp_path.iterdir() if files.is_part(path, "x", "a.json")) == ours
