"""An Oulu-CASIA tree of synthetic people, with the folders and names of the real one after unpacking.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; which parts; seed.
Out: the tree below; counts.

    out/
      B_OriginalImg/OriginalImg/VL/Strong/P001/Anger/000.jpeg     320x240, colour, neutral
                                                     005.jpeg     peak
      PreProcessImg/VL_Acropped/Strong/P001/Anger/000.jpeg        the same, cropped to the face; only if asked for
      truth.csv, synthetic.json

80 subjects and six expressions give the published counts: 480 sequences in each part.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer_data.datasets.oulu_casia import LIGHTS, SPECTRA
from fer_data.datasets.recognise import BASIC_FOLDERS
from fer_data.errors import DatasetError
from fer_data.labels import BASIC
from fer_data.synthetic import traps as trap_files
from fer_data.synthetic.sequences import draw_sequence, rise
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent, write_jpeg

__all__ = ["SIZE", "MAX_SUBJECTS", "write_oulu"]

SIZE = (320, 240)                     # width, height
MAX_SUBJECTS = 999                    # P999 is the last name
_LAYOUT = 3                           # of the keys of random numbers; 1 is CK+
_FILL = 1.45                          # the faces fill more of the frame than in CK+
_GAIN = {"strong": 256, "weak": 140, "dark": 50}                     # of visible light, 1/256; near infrared has its own lamp
_CROPPED_SIDE = 96


class _Job(NamedTuple):
    root: Path
    subject: int                      # from 1
    seed: int
    frames: tuple[int, int]
    parts: tuple[tuple[str, str], ...]           # (spectrum, light)
    cropped: bool


def write_oulu(
    out: Path,
    subjects: int = 80,
    seed: int = 0,
    frames: tuple[int, int] = (4, 8),
    spectra: Sequence[str] = ("vis",),
    lights: Sequence[str] = ("strong",),
    cropped: bool = False,
    traps: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw people and write them as an Oulu-CASIA tree; return what was written.

    frames           shortest and longest sequence, at least 3
    spectra, lights  keys of datasets.oulu_casia.SPECTRA and LIGHTS: the parts to draw
    cropped          also write the tree that the authors cropped
    traps            also write what adapters must not fall into (traps.py)
    workers          processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, and if `out` holds anything but an earlier synthetic tree.
    """
    if not 1 <= subjects <= MAX_SUBJECTS or not 3 <= frames[0] <= frames[1] <= 999:
        raise DatasetError(
            f"drawing Oulu-CASIA: choose 1 to {MAX_SUBJECTS} subjects and 3 to 999 frames, not {subjects} and {frames}"
        )
    require_seed(seed)
    parts = tuple((spectrum, light) for spectrum in spectra for light in lights)
    with new_tree(out) as part:
        jobs = [_Job(part, subject, seed, frames, parts, cropped) for subject in range(1, subjects + 1)]
        rows = [row for own in run_jobs(_write_subject, jobs, workers, progress) for row in own]
        written = {
            "subjects": subjects, "sequences": subjects * len(BASIC) * len(parts), "frames": len(rows),
            "traps": trap_files.for_oulu(part, *_first_folders(part, parts[0], cropped)) if traps else 0,
        }
        settings = {"subjects": subjects, "seed": seed, "frames": list(frames), "spectra": list(spectra), "lights": list(lights)}
        finish_tree(part, "oulu", {**settings, "cropped": cropped, "traps": traps}, written, rows)
    return Written(out, written)


def _first_folders(root: Path, part: tuple[str, str], cropped: bool) -> tuple[Path, Path]:
    """Return the folders of the first subject in a part, original and (the same, if there is no other) cropped."""
    spectrum, light = SPECTRA[part[0]], LIGHTS[part[1]]
    original = root / f"B_OriginalImg/OriginalImg/{spectrum}/{light}/P001"
    return original, root / f"PreProcessImg/{spectrum}_Acropped/{light}/P001" if cropped else original


def _write_subject(job: _Job) -> list[dict]:
    """Draw and write all sequences of one subject; return its rows of truth.csv."""
    rows = []
    for number, (spectrum, light) in enumerate(job.parts):
        for index, (word, expression) in enumerate(zip(BASIC_FOLDERS["oulu"], BASIC, strict=True)):
            key = (job.subject - 1, _LAYOUT, 6 * number + index)
            dice = np.random.default_rng(np.random.SeedSequence(job.seed, spawn_key=(0, *key)))
            length = int(dice.integers(job.frames[0], job.frames[1] + 1))
            place = f"{LIGHTS[light]}/P{job.subject:03d}/{word}"
            original = job.root / f"B_OriginalImg/OriginalImg/{SPECTRA[spectrum]}/{place}"
            cropped = job.root / f"PreProcessImg/{SPECTRA[spectrum]}_Acropped/{place}"
            for folder in (original, *([cropped] if job.cropped else [])):
                folder.mkdir(parents=True)
            drawn = draw_sequence(
                job.seed, "oulu", key, expression, rise(length), SIZE, colour=spectrum == "vis",
                adapt=lambda scene: replace(scene, scale=scene.scale * _FILL),
            )
            for position, frame in enumerate(drawn):
                gain = _GAIN[light] if spectrum == "vis" else 230
                picture = ((frame.picture.astype(np.uint16) * gain + 128) >> 8).astype(np.uint8)
                write_jpeg(original / f"{position:03d}.jpeg", picture)
                if job.cropped:
                    write_jpeg(cropped / f"{position:03d}.jpeg", _crop(picture, frame.points))
                where = {"subject": f"P{job.subject:03d}", "part": f"{spectrum}/{light}", "sequence": word, "frame": position}
                rows.append({**where, "expression": expression, **frame.factors})
    return rows


def _crop(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the square round the face, (96, 96[, 3])."""
    side = int(1.25 * np.ptp(points[:, 1]))
    left, top = (np.round((points.min(0) + points.max(0)) / 2) - side // 2).astype(int)
    padded = cv2.copyMakeBorder(picture, side, side, side, side, cv2.BORDER_REPLICATE)
    square = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    return cv2.resize(square, (_CROPPED_SIDE, _CROPPED_SIDE), interpolation=cv2.INTER_AREA)
