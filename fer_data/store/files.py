"""The one way in which a file comes to lie on disk: complete under its name, or not there at all.

In:  bytes and a path.
Out: `name.part` written, flushed and synced, then renamed to `name`; the folder synced after it.
"""

import hashlib
import json
import os
from pathlib import Path

__all__ = ["write_bytes_atomically", "write_json_atomically", "json_bytes", "sha256_of_bytes", "sha256_of_file", "remove_parts"]


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write `data` under `path`, so that a crash at any moment leaves the old file, or the new one, whole.

    Raises OSError as the file system gives it (no space, no permission); then nothing but the `.part` file was touched,
    and that is removed.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json_atomically(path: Path, content) -> None:
    """Write `content` as JSON that is the same bytes for the same content."""
    write_bytes_atomically(path, json_bytes(content))


def json_bytes(content) -> bytes:
    """Return `content` as indented JSON, keys sorted, with a newline at the end; NaN is refused."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256_of_bytes(data) -> str:
    """Return the sha256 of `data` (anything with a buffer) as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_parts(folder: Path) -> int:
    """Remove what an interrupted writer left in `folder` (`*.part`); return how many files that were."""
    parts = sorted(folder.glob("*.part"))
    for part in parts:
        part.unlink()
    return len(parts)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
