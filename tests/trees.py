"""What tests of folders share."""

import hashlib

__all__ = ["bytes_of"]


def bytes_of(out, apart=("run.json", ".lock")):
    """Return path -> sha256 of all files below a prepared folder but what may differ between runs."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in apart
    }
