"""What tests of folders share."""

import csv
import hashlib
import os
from pathlib import Path

import pytest

__all__ = ["bytes_of", "ck_plus_sequences"]


def bytes_of(out, apart=("run.json", ".lock")):
    """Return path -> sha256 of all files below a prepared folder but what may differ between runs."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in apart
    }


def ck_plus_sequences():
    """Return the 327 labelled sequences of CK+ by public id: dicts of subject, sequence, expression, last_frame (text)."""
    shared = Path(__file__).resolve().parent.parent.parent / "shared" / "reference"
    path = Path(os.environ.get("FER_REFERENCE", shared)) / "ck_plus_sequences.csv"
    if not path.is_file():
        pytest.skip(f"no list of the CK+ sequences at {path}; set FER_REFERENCE to the folder that holds ck_plus_sequences.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
