"""Process one sequence: decode pictures, find points, align faces. Runs in any process; writes nothing.

In:  a Task: a sequence with the frames that are used, their hashes, the backend.
Out: a Result: manifest rows without fold and shard, faces, points, Skips; the landmarks for the cache.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_data.errors import DatasetError, ImageError, LandmarkError, TableError, UnreadableError, WeightsError
from fer_data.faces.align import align, fit_of, place_whole
from fer_data.faces.landmarks import open_backend
from fer_data.faces.landmarks.base import Origin
from fer_data.faces.landmarks.none import NO_POINTS
from fer_data.files import read_file, sha256_of_bytes, sha256_of_file
from fer_data.pictures.decode import Remark, decode, frame_picture, grey_of
from fer_data.pictures.header import bits_per_sample, is_jpeg, largest_value
from fer_data.pictures.pixel_table import is_table, open_table
from fer_data.pictures.video import read_frames
from fer_data.records import Frame, Landmarks, Sequence, Skip
from fer_data.store import cache, manifest

__all__ = ["PIPELINE_VERSION", "SCALING_VERSION", "Result", "Task", "hash_rows", "hash_source", "locate", "place_of", "process"]

PIPELINE_VERSION = 2                  # part of every key: raise it when the same input would give other bytes
SCALING_VERSION = 3                   # the same of pictures of which a remark may be made (pictures/decode.py), and of no others
_UPRIGHT_RAD = 1.0                    # a face turned further than this is looked for in another framing first
_UNREADABLE = "unreadable: "          # what stands before the reason where there is no hash


@dataclass(frozen=True)
class Task:
    """All that a worker needs to turn a sequence into faces."""

    root: str
    sequence: Sequence
    sha256: tuple[str, ...]           # of the source of each frame, as hash_source gives it
    backend: tuple[str, dict]
    identity: dict
    evidence: list
    colour: bool
    cache: str | None                 # folder; None: nothing is kept


@dataclass(frozen=True)
class Result:
    """What a worker made of a sequence: rows without fold, shard and row number; arrays with one row each."""

    rows: list[dict]
    faces: np.ndarray                 # (N, 132, 132[, 3]) uint8
    landmarks: np.ndarray             # (N, 68, 2) float64
    skipped: list[Skip]
    framing: str
    found: list[Landmarks | str]
    cache_key: str
    cached: bool
    decoded: int


_backends: dict[str, object] = {}     # of this process; opening one reads up to 100 MB


def _open_once(task: Task):
    key = json.dumps([task.backend, task.identity], sort_keys=True, default=str)
    if key not in _backends:
        backend = open_backend(task.backend[0], **task.backend[1])
        if backend.identity() != task.identity:  # on another machine
            raise WeightsError(f"opening the landmark backend: {task.identity} is wanted, {backend.identity()} is here")
        _backends[key] = backend
    return _backends[key]


def place_of(frame: Frame) -> str | tuple[str, int]:
    """Return what is hashed for a frame: the file that it is in; of a table its row."""
    return (frame.source, frame.position) if frame.position is not None and is_table(frame.source) else frame.source


def hash_rows(path: Path, rows: list[int]) -> list[tuple[str, bool]]:
    """Return what hash_source does, of rows of a table of pixels."""
    try:
        table = open_table(path)
    except (TableError, UnreadableError, OSError) as error:
        return [(f"{_UNREADABLE}{error}", False)] * len(rows)
    return [(table.sha256(row), False) for row in rows]


def hash_source(path: Path, clip: bool = False) -> tuple[str, bool]:
    """Return the sha256 of a picture or clip, or "unreadable: " and why it cannot be read; and whether a remark may be
    made of it: its brightness may be scaled, or its damage be said.

    A clip may be large: it is not held in memory.
    """
    try:
        if clip:
            return sha256_of_file(path), False
        data = read_file(path)
        return sha256_of_bytes(data), bits_per_sample(data) > 8 or largest_value(data) is not None or is_jpeg(data)
    except UnreadableError as error:
        return f"{_UNREADABLE}{error.why}", False


def process(task: Task) -> Result:
    """Decode, find points, align: the work of one sequence."""
    cv2.setNumThreads(1)
    pictures, readable, skipped = _decode(task)
    scaled = [[skip.source, skip.detail] for skip in skipped if skip.reason == "few-bits"]
    key = "" if task.identity["name"] == NO_POINTS else cache.key_of(    # where no points are looked for, none are kept
        {
            "pipeline": PIPELINE_VERSION, "opencv": cv2.__version__, "backend": task.identity, "colour": task.colour,
            "evidence": task.evidence, "framings": list(task.sequence.framings),
            "frames": [[task.sha256[index], task.sequence.frames[index].position] for index in readable],
            **({"scaled": scaled, "scaling": SCALING_VERSION} if scaled else {}),
        }
    )
    framing, found, cached = _find(task, key, pictures, readable)
    rows, faces, points = [], [], []
    before = None
    for index, picture, landmarks in zip(readable, pictures, found, strict=True):
        row = _align_one(task, index, frame_picture(picture, framing), landmarks, framing, before, skipped)
        if row is not None:
            rows.append(row[0])
            faces.append(row[1])
            points.append(landmarks.points)
            before = landmarks.points
    shape = (0, 132, 132, 3) if task.colour else (0, 132, 132)
    return Result(
        rows, np.stack(faces) if faces else np.zeros(shape, np.uint8), np.stack(points) if points else np.zeros((0, 68, 2)),
        skipped, framing, found, key, cached, len(pictures),
    )


def _decode(task: Task) -> tuple[list[np.ndarray], list[int], list[Skip]]:
    """Return the pictures that can be decoded, their positions in the sequence, and Skips for the others."""
    pictures, readable, skipped = [], [], []
    clips: dict[str, dict[int, np.ndarray | str]] = {}
    for index, frame in enumerate(task.sequence.frames):
        if frame.position is None:
            one, remark = _picture(task, index)
            if remark.reason:
                skipped.append(_skip(task.sequence, index, remark.reason, f"it {remark.text}", frames=0))
        elif is_table(frame.source):
            one = _row(task, index)
        else:
            if frame.source not in clips:
                clips[frame.source] = _clip(task, index)
            one = clips[frame.source][frame.position]
        if isinstance(one, str):
            skipped.append(_skip(task.sequence, index, "unreadable", one))
        else:
            pictures.append(one)
            readable.append(index)
    return pictures, readable, skipped


def _picture(task: Task, index: int) -> tuple[np.ndarray | str, Remark]:
    """Return the picture of a frame that is a file of its own, or why there is none; and what there is to know about it."""
    try:
        return decode(_read(task, index), task.colour, task.sequence.frames[index].source)
    except ImageError as error:
        return str(error), Remark()


def _row(task: Task, index: int) -> np.ndarray | str:
    """Return the picture of a frame that is a row of a table, or why there is none; RGB where faces are.

    Raises DatasetError if the table has changed since it was hashed.
    """
    frame = task.sequence.frames[index]
    if task.sha256[index].startswith(_UNREADABLE):
        return f"reading {frame.source}: it {task.sha256[index].removeprefix(_UNREADABLE)}"
    try:
        table = open_table(Path(task.root) / frame.source)
        if frame.position >= len(table) or table.sha256(frame.position) != task.sha256[index]:
            raise DatasetError(f"reading {frame.source}: the file changed while it was being prepared; run the command again")
        grey = table.picture(frame.position)
    except ImageError as error:
        return str(error)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB) if task.colour else grey


def _clip(task: Task, index: int) -> dict[int, np.ndarray | str]:
    """Return the pictures at all positions that are used of the clip of frame `index`, or why there is none."""
    source = task.sequence.frames[index].source
    positions = [frame.position for frame in task.sequence.frames if frame.source == source]
    try:
        found = read_frames(_read(task, index), positions, source)
    except ImageError as error:
        return dict.fromkeys(positions, str(error))
    return {position: one if isinstance(one, str) or task.colour else grey_of(one) for position, one in found.items()}


def _read(task: Task, index: int) -> bytes:
    """Return the bytes of the source of a frame.

    Raises ImageError if it could not be read when it was hashed, DatasetError if it has changed or gone since.
    """
    source, sha256 = task.sequence.frames[index].source, task.sha256[index]
    if sha256.startswith(_UNREADABLE):
        raise ImageError(f"reading {source}: it {sha256.removeprefix(_UNREADABLE)}")
    try:
        data = read_file(Path(task.root) / source)
    except UnreadableError as error:
        seen = "it could be read when the run began, and every worker must see the same files under the same path"
        raise DatasetError(f"reading {error.path}: it {error.why}; {seen}") from error
    if sha256_of_bytes(data) != sha256:
        raise DatasetError(f"reading {source}: the file changed while it was being prepared; run the command again")
    return data


def _find(task: Task, key: str, pictures: list[np.ndarray], readable: list[int]) -> tuple[str, list[Landmarks | str], bool]:
    """Return (framing, landmarks or reason of each picture, whether there is nothing to be kept from this)."""
    if task.identity["name"] == NO_POINTS or task.cache is None:
        return *locate(task, pictures, readable), True
    kept = cache.load(Path(task.cache), key)
    if kept is not None and len(kept[1]) == len(readable):
        return *kept, True
    return *locate(task, pictures, readable), False


def locate(task: Task, pictures: list[np.ndarray], readable: list[int]) -> tuple[str, list[Landmarks | str]]:
    """Return the framing in which most faces are found upright, and its landmarks.

    Framings are tried in order until all faces are found. Both halves of a picture may show a face: both are looked at, and
    the more frontal one is taken, that is the one whose points fit the template better.
    """
    best: tuple[tuple[int, float], str, list[Landmarks | str]] | None = None
    backend, root = _open_once(task), Path(task.root)
    if backend.evidence(root, task.sequence) != task.evidence:
        raise DatasetError(f"reading the points of {task.sequence.sequence_id}: their file changed during the run; run the command again")
    sizes = tuple((picture.shape[1], picture.shape[0]) for picture in pictures)
    for framing in task.sequence.framings:
        origin = Origin(root, task.sequence, tuple(readable), framing, sizes)
        found = backend.locate([frame_picture(picture, framing) for picture in pictures], origin)
        score = _score(found)
        if best is None or score > best[0]:
            best = (score, framing, found)
        if score[0] == len(pictures) and framing not in ("left", "right"):
            break
    return best[1:]


def _score(found: list[Landmarks | str]) -> tuple[int, float]:
    """Return (how many faces were found upright, minus the median distance of their points from the template, canvas px)."""
    points = [one.points for one in found if isinstance(one, Landmarks)]
    fits = [_fit(one) for one in points]
    upright = [residual for residual, turn in fits if abs(turn) <= _UPRIGHT_RAD]
    return len(upright), -float(np.median([residual for residual, _ in fits])) if fits else -np.inf


def _fit(points: np.ndarray) -> tuple[float, float]:
    """Return fit_of the points; nothing is wrong with the absence of points, everything with points that cannot be aligned."""
    if np.isnan(points).all():
        return 0.0, 0.0
    try:
        return fit_of(points)
    except LandmarkError:
        return np.inf, np.pi


def _align_one(task, index, picture, landmarks, framing, before, skipped) -> tuple[dict, np.ndarray] | None:
    """Return (row, face pixels) of one frame, or None after adding its Skip."""
    sequence, frame = task.sequence, task.sequence.frames[index]
    if isinstance(landmarks, str):
        reason, _, detail = landmarks.partition(": ")
        skipped.append(_skip(sequence, index, reason, detail or f"backend {task.identity['name']}"))
        return None
    try:
        face = place_whole(picture, landmarks.box) if task.identity["name"] == NO_POINTS else align(picture, landmarks.points)
    except LandmarkError as error:
        skipped.append(_skip(sequence, index, "bad-landmarks", str(error)))
        return None
    row = {
        "image_id": manifest.image_id(sequence.dataset, sequence.subject, sequence.sequence, frame.number),
        "dataset": sequence.dataset, "subject": sequence.subject, "sequence": sequence.sequence, "frame": frame.number,
        "expression": sequence.expression, "role": sequence.role,
        "source": frame.source, "position": -1 if frame.position is None else frame.position, "framing": framing,
        "source_sha256": task.sha256[index], "face_sha256": sha256_of_bytes(face.pixels.tobytes()),
        "backend": task.identity["name"], "backend_version": task.identity["version"],
        "weights_sha256": task.identity["weights_sha256"], "faces_found": landmarks.faces_found,
        "motion": _motion(before, landmarks.points), "residual_px": face.residual_px, "invented": face.invented,
        **dict(zip(manifest.MATRIX, face.matrix.ravel().tolist(), strict=True)),
    }
    return row, face.pixels


def _motion(before: np.ndarray | None, points: np.ndarray) -> float:
    """Return how far the points moved on average, in distances between the outer eye corners."""
    if before is None or np.isnan(points).any():
        return 0.0
    eyes = float(np.linalg.norm(points[36] - points[45]))
    return float(np.linalg.norm(points - before, axis=1).mean()) / max(eyes, 1e-9)


def _skip(sequence: Sequence, index: int, reason: str, detail: str, frames: int = 1) -> Skip:
    frame = sequence.frames[index]
    return Skip(frame.source, reason, sequence.subject, sequence.sequence, frame.number, frames, detail)
