"""A CK+ tree of drawn people, as the real one lies on disk after unpacking.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; seed.
Out: the tree below; a Summary.

    out/
      cohn-kanade-images/S005/001/S005_001_00000001.png         640x490, 8-bit grey, neutral
                                  S005_001_00000006.png         peak
      Emotion/S005/001/S005_001_00000006_emotion.txt            "   3.0000000e+00"; unlabelled: an empty folder, or none
      Landmarks/S005/001/S005_001_00000001_landmarks.txt        68 lines "   x   y", the true points
      truth.csv                                                 one row a frame: everything that was drawn
      synthetic.json                                            generator, version, settings, counts

The tree is built beside `out` and moved there when it is whole, so `out` is never half a tree.
"""

import csv
import io
import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from fer_data.datasets.synthetic import litter as litter_files
from fer_data.datasets.synthetic.drawing import draw_face
from fer_data.datasets.synthetic.expressions import ACTION_UNITS, perform
from fer_data.datasets.synthetic.people import Person, draw_person
from fer_data.datasets.synthetic.plan import PlannedSequence, PlannedSubject, plan_ck_plus
from fer_data.datasets.synthetic.scene import Nuisance, draw_nuisance, drift
from fer_data.datasets.synthetic.version import VERSION
from fer_data.errors import DatasetError
from fer_data.labels import CK_PLUS_CODES

__all__ = ["SIZE", "Summary", "person_of", "perform_sequence", "write_ck_plus"]

SIZE = (640, 490)  # width, height
MARKER = "synthetic.json"
_GENERATOR = "fer_data.datasets.synthetic"
_CODES = {name: code for code, name in CK_PLUS_CODES.items()}
_FOLDERS = ("cohn-kanade-images", "Emotion", "Landmarks")


@dataclass(frozen=True)
class Summary:
    """What was written."""

    subjects: int
    labelled_subjects: int
    sequences: int
    labelled_sequences: int
    frames: int
    expressions: dict[str, int]  # labelled sequences of each class
    litter: int  # files that are no part of the database


@dataclass(frozen=True)
class _Frame:
    """One frame before it is drawn."""

    number: int
    intensity: float
    nuisance: Nuisance
    grain: np.random.Generator


def person_of(seed: int, index: int) -> Person:
    """Return person `index` of a seed; the same whatever the number of subjects and whatever the database."""
    return draw_person(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, index, 0))))


def perform_sequence(
    person: Person, planned: PlannedSequence, rng: np.random.Generator
) -> tuple[dict[str, float], list[_Frame]]:
    """Return the levels of action units at the peak, and the frames from neutral to peak."""
    levels = perform(person, planned.expression, rng) if planned.expression else _unlabelled_levels(rng)
    peak = float(rng.uniform(0.8, 1.1)) if planned.expression else float(rng.uniform(0.3, 1.0))
    nuisance = draw_nuisance(rng)
    frames = []
    for number in range(1, planned.frames + 1):
        progress = _rise(number, planned.frames)
        frames.append(_Frame(number, round(peak * progress, 4), nuisance, rng.spawn(1)[0]))
        nuisance = drift(nuisance, rng)
    return levels, frames


def write_ck_plus(
    out: Path,
    subjects: int = 60,
    seed: int = 0,
    litter: bool = False,
    labelled: int | None = None,
    frames: tuple[int, int] = (4, 8),
    workers: int = 1,
) -> Summary:
    """Draw people and write them as a CK+ tree; the same settings and seed give the same bytes.

    subjects, labelled, frames   see plan.plan_ck_plus
    litter                       also write what a Mac and a Windows machine leave behind
    workers                      processes; they change nothing but the time
    Raises DatasetError if `out` holds anything that is not an earlier synthetic tree, or for numbers that cannot be planned.
    """
    out = Path(out)
    plan = plan_ck_plus(subjects, seed, frames, labelled)
    _check_free(out)
    part = out.with_name(out.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    jobs = [(part, subject, seed) for subject in plan]
    if workers > 1:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            rows = list(pool.map(_write_subject, jobs, chunksize=1))
    else:
        rows = [_write_subject(job) for job in jobs]
    _write_truth(part / "truth.csv", [row for own in rows for row in own])
    summary = _summary(plan, litter_files.write(part) if litter else 0)
    settings = {"subjects": subjects, "labelled": labelled, "frames": list(frames), "seed": seed, "litter": litter}
    marker = {
        "generator": _GENERATOR,
        "version": VERSION,
        "layout": "ck+",
        "settings": settings,
        "counts": asdict(summary),
    }
    (part / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    _move(part, out)
    return summary


def _check_free(out: Path) -> None:
    """Raise DatasetError unless `out` is missing, empty, or holds an earlier synthetic tree and nothing else."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DatasetError(f"writing synthetic people: the output must be a folder, {out} is a file")
    found = sorted(path.name for path in out.iterdir())
    if not found:
        return
    allowed = {*_FOLDERS, "truth.csv", MARKER, *litter_files.TOP_LEVEL}
    strange = [name for name in found if name not in allowed]
    if strange or not _is_ours(out / MARKER):
        raise DatasetError(
            f"writing synthetic people: the output must be a new or empty folder or an earlier synthetic tree (with {MARKER});"
            f" {out} holds {strange[0] if strange else found[0]}"
        )


def _is_ours(marker: Path) -> bool:
    """Return whether a marker file was written by this generator, of whatever version."""
    if not marker.is_file():
        return False
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("generator") == _GENERATOR


def _move(part: Path, out: Path) -> None:
    """Put the finished tree in its place; an earlier one goes."""
    if out.exists():
        shutil.rmtree(out)
    part.rename(out)


def _rise(number: int, frames: int) -> float:
    """Return how far the expression has come in frame `number` of `frames`: 0 in the first, 0.85 .. 1 in the last three."""
    if number > frames - 3:
        return 1 - 0.075 * (frames - number)
    return 0.85 * (number - 1) / max(frames - 3, 1)


def _unlabelled_levels(rng: np.random.Generator) -> dict[str, float]:
    """Return a mixture of one to three action units, as the unlabelled sequences of CK+ were asked for."""
    names = list(ACTION_UNITS)
    chosen = rng.choice(len(names), int(rng.integers(1, 4)), replace=False)
    return {names[k]: round(float(rng.uniform(0.4, 1.0)), 4) for k in chosen}


def _write_subject(job: tuple[Path, PlannedSubject, int]) -> list[dict]:
    """Draw and write all sequences of one subject; return its rows of truth.csv."""
    root, subject, seed = job
    person = person_of(seed, subject.index)
    (root / "Emotion" / subject.subject).mkdir(parents=True)
    rows = []
    for planned in subject.sequences:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, subject.index, 1, planned.stream)))
        levels, frames = perform_sequence(person, planned, rng)
        place = Path(subject.subject) / planned.sequence
        stem = f"{subject.subject}_{planned.sequence}"
        for folder in ("cohn-kanade-images", "Landmarks", *(["Emotion"] if planned.emotion_folder else [])):
            (root / folder / place).mkdir(parents=True, exist_ok=True)
        for frame in frames:
            picture, points = draw_face(person, levels, frame.intensity, frame.nuisance, SIZE, rng=frame.grain)
            name = f"{stem}_{frame.number:08d}"
            _write_png(root / "cohn-kanade-images" / place / f"{name}.png", picture)
            lines = "".join(f"   {x:.7e}   {y:.7e}\n" for x, y in points)
            (root / "Landmarks" / place / f"{name}_landmarks.txt").write_text(lines, encoding="ascii")
            rows.append(_truth(subject.subject, planned, frame, levels, person))
        if planned.expression:
            label = f"   {_CODES[planned.expression]:.7e}\n"
            (root / "Emotion" / place / f"{stem}_{planned.frames:08d}_emotion.txt").write_text(label, encoding="ascii")
    return rows


def _write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture with the fastest useful compression."""
    encoded, buffer = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert encoded, "OpenCV could not encode a PNG"
    path.write_bytes(buffer.tobytes())


def _truth(subject: str, planned: PlannedSequence, frame: _Frame, levels: dict[str, float], person: Person) -> dict:
    """Return one row of truth.csv."""
    row = {
        "subject": subject, "sequence": planned.sequence, "frame": frame.number,
        "expression": planned.expression or "", "intensity": frame.intensity,
        "action_units": " ".join(f"{unit}:{level * frame.intensity:.3f}" for unit, level in levels.items()),
    }  # fmt: skip
    for factors in (frame.nuisance, person):
        for field in fields(factors):
            value = getattr(factors, field.name)
            if field.name not in ("asymmetry", "blotches", "moles"):
                row[field.name] = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return row


def _write_truth(path: Path, rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows
    )
    path.write_text(text.getvalue(), encoding="utf-8")


def _summary(plan: tuple[PlannedSubject, ...], litter: int) -> Summary:
    """Count what the plan holds."""
    sequences = [sequence for subject in plan for sequence in subject.sequences]
    shown = [sequence.expression for sequence in sequences if sequence.expression]
    return Summary(
        subjects=len(plan),
        labelled_subjects=sum(any(s.expression for s in subject.sequences) for subject in plan),
        sequences=len(sequences),
        labelled_sequences=len(shown),
        frames=sum(sequence.frames for sequence in sequences),
        expressions={name: shown.count(name) for name in sorted(set(shown))},
        litter=litter,
    )
