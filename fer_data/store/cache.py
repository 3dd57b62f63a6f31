"""Cache landmarks by the content of the pictures, so that no face is detected twice.

In:  hashes of a sequence's picture bytes, the backend's identity, the framings.
Out: one small JSON file a sequence; floats are written so that they read back to the bit.

A miss is better than a wrong hit: anything that a result depends on is part of the key, nothing else is (no path, no
time). The folder may be deleted at any moment.
"""

from pathlib import Path

import numpy as np

from fer_data.files import json_bytes, make_folder, sealed_json, sha256_of_bytes, unseal, write_bytes_atomically
from fer_data.records import Landmarks

__all__ = ["CACHE_VERSION", "key_of", "load", "store"]

CACHE_VERSION = 2


def key_of(content: dict) -> str:
    """Return the key of anything that JSON can say: sha256 over its canonical bytes."""
    return sha256_of_bytes(json_bytes({"cache_version": CACHE_VERSION, **content}))


def load(folder: Path, key: str) -> tuple[str, list[Landmarks | str]] | None:
    """Return (framing, landmarks or reason for each frame) of a key, or None if it is not there or not whole."""
    path = _path(folder, key)
    try:
        content = unseal(path.read_bytes())
        frames = [frame if isinstance(frame, str) else _landmarks(frame) for frame in content["frames"]]
        return content["framing"], frames
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # a damaged entry is a miss: it is computed and written again
        return None


def store(folder: Path, key: str, framing: str, frames: list[Landmarks | str]) -> None:
    """Keep the landmarks of a sequence under its key. The disk is not waited for: what a power cut damages is a miss."""
    content = [
        frame if isinstance(frame, str) else {"points": frame.points.tolist(), "box": list(frame.box), "faces_found": frame.faces_found}
        for frame in frames
    ]
    path = _path(folder, key)
    make_folder(path.parent)
    write_bytes_atomically(path, sealed_json({"framing": framing, "frames": content}, indent=None), durable=False)


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.json"


def _landmarks(content: dict) -> Landmarks:
    points = np.array(content["points"], np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"68 points are needed, not {points.shape}")
    left, top, right, bottom = content["box"]
    return Landmarks(points, (left, top, right, bottom), content["faces_found"])
