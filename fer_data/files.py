"""Reads files that may be anything, and writes files that are complete under their name or not there at all.

In:  a path; bytes to be written.
Out: the bytes of a regular file, or UnreadableError: a FIFO or a device is never opened.
     `name.<16 hex digits>.part`, which no other process writes, flushed and synced, then renamed to `name`; the folder synced after it.
"""

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from fer_data.errors import StorageError, UnreadableError
from fer_data.text import listed

__all__ = [
    "growing", "is_part", "json_bytes", "left_over", "make_folder", "occupied", "opened", "parse_object", "read_file",
    "remove_durably", "reported", "sealed_json", "sha256_of_bytes", "sha256_of_file", "sha256_of_sources", "shown", "unfinished_in",
    "unseal", "why_not_listed", "why_unreadable", "write_bytes_atomically", "write_json_atomically",
]

_TOKEN = "[0-9a-f]" * 16              # what makes the name of a part its writer's own
_HEAD = 100                            # bytes of a name that its part begins with: all names of ours; a user's may be as long as is allowed
_SEAL = b' "seal": "%s"\n}\n'            # the last of a sealed object; the sha256 is of all that stands before it
_SEAL_SIZE = len(_SEAL % (b"0" * 64))
_FULL = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space")
_CLOSED = dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "allow writing there, or give another folder")
_WAYS_OUT = {**_FULL, **_CLOSED, errno.EIO: "check the disk", errno.ENOENT: "make the folder that it should go into"}
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)          # no fault of the file: the next one would fail as well
_LEFT_OVER = {                        # how a file begins -> what it is: all that is left of the real one, or what lay next to it
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull` where it came from",
    b"\x00\x05\x16\x07": "an AppleDouble file that macOS left next to the real one",
}
_SPECIAL = (
    (stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"), (stat.S_ISDIR, "folder"),
)


@contextmanager
def reported(doing: str, path: Path) -> Iterator[None]:
    """Turn what the file system raises into a StorageError that says what was being done, where, and what to do about it."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno, "see to that")
        raise StorageError(f"{doing} {path}: {error.strerror or error}; {way_out}, then run the same command again") from error


def write_bytes_atomically(path: Path, *pieces: bytes | memoryview, durable: bool = True) -> None:
    """Write `pieces`, one after the other, under `path`; a crash at any moment leaves the old file, or the new one, whole.

    Not `durable`, it does not wait for the disk: whole after a crash of the program, but perhaps not after a power cut.
    Raises StorageError if the file system refuses (no space, no permission); then nothing but the `.part` file was touched,
    and that is removed.
    """
    path = Path(path)
    part = _part_for(path)
    with reported("writing", path):
        try:
            with open(part, "xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(path.parent)


def write_json_atomically(path: Path, content) -> None:
    """Write `content` as JSON that is the same bytes for the same content."""
    write_bytes_atomically(path, json_bytes(content))


@contextmanager
def growing(path: Path) -> Iterator[Path]:
    """Yield where to write what is too large for memory; after the block it lies under `path`, whole. After an error it is gone.

    A block that removes what it wrote leaves what lies under `path` as it is.
    Raises StorageError if the file system refuses at the end; what is raised in the block goes through.
    """
    path = Path(path)
    part = _part_for(path)
    try:
        yield part
        with reported("writing", path):
            if part.exists():
                with open(part, "rb") as file:
                    os.fsync(file.fileno())
                part.replace(path)
                _sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _part_for(path: Path) -> Path:
    """Return where to write what will lie under `path`: two processes with one output must not write into one file."""
    # Cut between characters: some file systems take no name that is not UTF-8.
    head = path.name if len(os.fsencode(path.name)) <= _HEAD else os.fsencode(path.name)[:_HEAD].decode("utf-8", "ignore")
    return path.with_name(f"{head}.{secrets.token_hex(8)}.part")


def unfinished_in(folder: Path, pattern: str) -> list[Path]:
    """Return the parts in `folder` of files that match `pattern`, of names of up to 100 bytes, sorted; `name.part` is an earlier version's.

    Only who keeps other writers out knows that they are left-overs.
    """
    return sorted(path for token in (f".{_TOKEN}", "") for path in Path(folder).glob(f"{pattern}{token}.part"))


def is_part(path: Path, *names: str) -> bool:
    """Return whether a path is a part of a file of one of these names, as unfinished_in finds them."""
    return any(fnmatchcase(path.name, f"{name}{token}.part") for name in names for token in (f".{_TOKEN}", ""))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless they are there."""
    path = Path(path)
    with reported("making the folder", path):
        if path.is_symlink() and not path.exists():
            raise StorageError(f"making the folder {path}: it is a link to {path.readlink()}, which is not there; is the disk mounted?")
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)


def remove_durably(path: Path) -> None:
    """Remove a file if it is there, so that it is gone before anything that is written after this."""
    path = Path(path)
    with reported("removing", path):
        if path.exists():
            path.unlink()
            _sync_folder(path.parent)


def json_bytes(content, indent: int | None = 1) -> bytes:
    """Return `content` as JSON, keys sorted, with a newline at the end; NaN is refused.

    Without `indent` it is one line, written ten times as fast: for what programs alone read.
    """
    return (json.dumps(content, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sealed_json(content: dict, indent: int | None = 1) -> bytes:
    """Return `content` as JSON that ends with the sha256 of itself, so that it is known when any byte of it is another one."""
    start = json_bytes(content, indent)[: -len("}\n")].rstrip() + (b",\n" if content else b"\n")
    return start + _SEAL % sha256_of_bytes(start).encode()


def parse_object(data: bytes) -> dict:
    """Return the JSON object in `data`, sealed or not. Raises ValueError if it is anything else."""
    try:
        content = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"not an object but {type(content).__name__}")
    return content


def unseal(data: bytes) -> dict:
    """Return what was given to sealed_json. Raises ValueError unless these are its very bytes."""
    content = parse_object(data)
    if content.pop("seal", None) is None:
        raise ValueError("no seal")
    start, seal = data[:-_SEAL_SIZE], data[-_SEAL_SIZE:]
    if seal != _SEAL % sha256_of_bytes(start).encode():
        raise ValueError("not the bytes that were written")
    return content


def sha256_of_bytes(data) -> str:
    """Return the sha256 of `data` (anything with a buffer) as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits. Raises UnreadableError."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_sources(*packages: Path) -> str:
    """Return the sha256 of all Python files of packages, names and bytes: where one differs, the code does."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def occupied(folder: Path, or_hold: str, ours: Callable[[Path], bool] = lambda path: False) -> str:
    """Return why a folder must not be written to, as the end of a sentence; "" where nothing is in it but what is `ours`.

    `or_hold` says what it may hold.
    """
    if folder.exists() and not folder.is_dir():
        return f"{folder} must be a folder, it is a file"
    others = sorted(path.name for path in folder.iterdir() if not ours(path)) if folder.is_dir() else []
    return f"{folder} must be new, empty or hold {or_hold}; it holds {listed(others, 3)}; choose another folder" if others else ""


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises UnreadableError."""
    with opened(path) as file:
        return file.read()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Yield a regular file, open for reading; a FIFO, a socket or a device is not opened.

    Raises UnreadableError if it is no regular file, or cannot be opened or read.
    """
    if problem := why_unreadable(path):
        raise UnreadableError(path, problem)
    try:
        # Not blocking, and looked at again: the name may have become a FIFO's by now, which would wait for a writer for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if problem := _kind(os.fstat(file.fileno()).st_mode):
                raise UnreadableError(path, problem)
            yield file
    except OSError as error:
        raise UnreadableError(path, _words(path, error)) from error


def why_unreadable(path: Path) -> str:
    """Return why a path cannot be opened as a file, as the end of a sentence, or "" for a regular file; nothing is opened.

    Whether reading is permitted only opening tells.
    """
    try:
        return _kind(Path(path).stat().st_mode)
    except OSError as error:
        return _words(path, error)


def left_over(head: bytes) -> str | None:
    """Return what a file is that stands in for another one, by its beginning, with what to do; None if it is no such file.

    >>> left_over(b"version https://git-lfs.github.com/spec/v1")
    'a Git LFS pointer, not the file itself; run `git lfs pull` where it came from'
    """
    return next((what for beginning, what in _LEFT_OVER.items() if head.startswith(beginning)), None)


def why_not_listed(folder: Path, error: OSError) -> str:
    """Return why the content of a folder is not known, as the end of a sentence."""
    return _words(folder, error)


def _kind(mode: int) -> str:
    """Return what is not a regular file, as the end of a sentence; "" for one."""
    return "" if stat.S_ISREG(mode) else next((f"is a {name}, not a file" for test, name in _SPECIAL if test(mode)), "is not a file")


def _words(path: Path, error: OSError) -> str:
    """Return what the file system says of a path, as the end of a sentence. Raises the error again if the path is not its cause."""
    if error.errno in _OURS:
        raise error
    link = f"is a link to {shown(Path(path).readlink())}, " if Path(path).is_symlink() else ""
    if error.errno == errno.ELOOP:
        return f"{link or 'is a link, '}which leads back to itself"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{link}which is not there" if link else "is not there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{link}which may not be read" if link else "may not be read (no permission)"
    return f"{link}which cannot be read ({error.strerror})" if link else f"cannot be read ({error.strerror})"


def shown(name: str | Path) -> str:
    """Return a name as UTF-8 can write it: a byte that is none as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
