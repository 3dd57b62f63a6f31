"""A CK+ tree of synthetic people, with the folders and names of the real one after unpacking.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; seed.
Out: the tree below; Written.

    out/
      cohn-kanade-images/S005/001/S005_001_00000001.png         640x490, 8-bit grey, neutral
                                  S005_001_00000006.png         peak
      Emotion/S005/001/S005_001_00000006_emotion.txt            "   3.0000000e+00"; unlabelled: an empty folder, or none
      Landmarks/S005/001/S005_001_00000001_landmarks.txt        68 lines "   x   y", the true points
      truth.csv                                                 one row a frame: everything that was drawn
      synthetic.json                                            generator, version, settings, counts

The tree is built in a hidden folder next to `out` and moved there when it is whole, so `out` is never half a tree.
"""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fer_data.errors import DatasetError
from fer_data.labels import CK_PLUS_CODES
from fer_data.synthetic import litter as litter_files
from fer_data.synthetic.drawing import draw_face
from fer_data.synthetic.expressions import ACTION_UNITS, perform
from fer_data.synthetic.people import Person, draw_person
from fer_data.synthetic.plan import CLASS_COUNTS, PlannedSequence, PlannedSubject, plan_ck_plus
from fer_data.synthetic.scene import Nuisance, draw_nuisance, drift
from fer_data.synthetic.trees import Progress, Written, factors_of, finish_tree, new_tree, run_jobs, silent, write_png

__all__ = ["SAME_PEOPLE", "SIZE", "person_of", "frames_of", "write_ck_plus"]

SIZE = (640, 490)  # width, height
SAME_PEOPLE = ("ck+", "table")  # layouts of which one seed gives the same people
MIXTURE = "mixture"  # truth.csv: action units that make up no expression
_CODES = {name: code for code, name in CK_PLUS_CODES.items()}


def person_of(seed: int, index: int, layout: str = "ck+") -> Person:
    """Return person `index` of a seed in a layout; the same whatever the number of subjects.

    Every layout has people of its own, but for ck+ and table: those of one seed show the same people, so that what is trained on the one
    and tested on the other needs two seeds.
    """
    own = () if layout in SAME_PEOPLE else (zlib.crc32(layout.encode()),)
    return draw_person(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, index, 0, *own))))


def frames_of(
    seed: int, subject: PlannedSubject, planned: PlannedSequence, only: Iterable[int] | None = None
) -> Iterator[tuple[dict, np.ndarray, np.ndarray]]:
    """Yield (factors, picture, points) of each frame of a sequence, from neutral to peak.

    factors   one row of truth.csv
    picture   (490, 640) uint8; points (68, 2) float64, (x, y) pixels
    only      positions from 0; None: all. A frame does not depend on which others are drawn.
    """
    person = person_of(seed, subject.index)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, subject.index, 1, planned.stream)))
    drawn, levels, peak = _performance(person, planned.expression, rng)
    nuisance = draw_nuisance(rng)
    wanted = set(range(planned.frames) if only is None else only)
    for position in range(planned.frames):
        grain = rng.spawn(1)[0]
        if position in wanted:
            intensity = round(peak * _rise(position + 1, planned.frames), 4)
            picture, points = draw_face(person, levels, intensity, nuisance, SIZE, rng=grain)
            yield _truth(subject.subject, planned, position + 1, drawn, intensity, levels, nuisance, person), picture, points
        nuisance = drift(nuisance, rng)


def write_ck_plus(
    out: Path,
    subjects: int = 60,
    seed: int = 0,
    litter: bool = False,
    labelled: int | None = None,
    frames: tuple[int, int] = (4, 8),
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw people and write them as a CK+ tree; the same settings and seed give the same bytes.

    subjects, labelled, frames   see plan.plan_ck_plus
    litter                       also write what a Mac and a Windows machine leave behind
    workers                      processes; they change nothing but the time
    Raises DatasetError if `out` holds anything that is not an earlier synthetic tree, or for numbers that cannot be planned.
    """
    if workers < 1:
        raise DatasetError(f"drawing synthetic people: at least 1 worker is needed, not {workers}")
    plan = plan_ck_plus(subjects, seed, frames, labelled)
    with new_tree(out) as part:
        rows = run_jobs(_write_subject, [(part, subject, seed) for subject in plan], workers, progress)
        counts = _counts(plan, litter_files.write(part) if litter else 0)
        settings = {"subjects": subjects, "labelled": labelled, "frames": list(frames), "seed": seed, "litter": litter}
        finish_tree(part, "ck+", settings, counts, (row for of_subject in rows for row in of_subject))
    return Written(out, counts)


def _rise(number: int, frames: int) -> float:
    """Return how far the expression has come in frame `number`: 0 in the first of more than 3, 0.85 .. 1 in the last 3."""
    if number > frames - 3:
        return 1 - 0.075 * (frames - number)
    return 0.85 * (number - 1) / max(frames - 3, 1)


def _performance(person: Person, label: str | None, rng: np.random.Generator) -> tuple[str, dict[str, float], float]:
    """Return (what is shown, its levels of action units, the intensity at the peak) of one sequence.

    Sequences without a label show one to three action units, as CK+ asked its subjects for, or an expression too weak to
    be given a label.
    """
    if label is not None:
        return label, perform(person, label, rng), float(rng.uniform(0.82, 1.08))
    if rng.random() < 0.3:
        weak = str(rng.choice(list(CLASS_COUNTS)))
        return weak, perform(person, weak, rng), float(rng.uniform(0.25, 0.5))
    names = list(ACTION_UNITS)
    chosen = rng.choice(len(names), int(rng.integers(1, 4)), replace=False)
    return MIXTURE, {names[k]: round(float(rng.uniform(0.4, 1.0)), 4) for k in chosen}, float(rng.uniform(0.5, 1.0))


def _write_subject(job: tuple[Path, PlannedSubject, int]) -> list[dict]:
    """Draw and write all sequences of one subject; return its rows of truth.csv."""
    root, subject, seed = job
    (root / "Emotion" / subject.subject).mkdir(parents=True)
    rows = []
    for planned in subject.sequences:
        place = Path(subject.subject) / planned.sequence
        stem = f"{subject.subject}_{planned.sequence}"
        for folder in ("cohn-kanade-images", "Landmarks", *(["Emotion"] if planned.emotion_folder else [])):
            (root / folder / place).mkdir(parents=True, exist_ok=True)
        for row, picture, points in frames_of(seed, subject, planned):
            name = f"{stem}_{row['frame']:08d}"
            write_png(root / "cohn-kanade-images" / place / f"{name}.png", picture)
            lines = "".join(f"   {x:.7e}   {y:.7e}\n" for x, y in points)
            (root / "Landmarks" / place / f"{name}_landmarks.txt").write_text(lines, encoding="ascii")
            rows.append(row)
        if planned.expression:
            label = f"   {_CODES[planned.expression]:.7e}\n"
            (root / "Emotion" / place / f"{stem}_{planned.frames:08d}_emotion.txt").write_text(label, encoding="ascii")
    return rows


def _truth(subject, planned, number, drawn, intensity, levels, nuisance: Nuisance, person: Person) -> dict:
    """Return one row of truth.csv."""
    return {
        "subject": subject, "sequence": planned.sequence, "frame": number,
        "label": planned.expression or "", "expression": drawn, "intensity": intensity,
        "action_units": " ".join(f"{unit}:{level * intensity:.3f}" for unit, level in levels.items()),
        **factors_of(nuisance, person),
    }


def _counts(plan: tuple[PlannedSubject, ...], litter: int) -> dict:
    """Count what the plan holds; `litter` is how many files are no part of the database."""
    sequences = [sequence for subject in plan for sequence in subject.sequences]
    shown = [sequence.expression for sequence in sequences if sequence.expression]
    return {
        "subjects": len(plan), "labelled_subjects": sum(any(s.expression for s in subject.sequences) for subject in plan),
        "sequences": len(sequences), "labelled_sequences": len(shown), "frames": sum(sequence.frames for sequence in sequences),
        "expressions": {name: shown.count(name) for name in sorted(set(shown))}, "litter": litter,
    }
