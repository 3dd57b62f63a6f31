"""A BU-4DFE tree of synthetic people: textures from neutral to peak and back, and stubs of everything else.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; frames a sequence; seed.
Out: the tree below; counts.

    out/
      F001/Angry/000.jpg, 000.wrl     texture in colour; the mesh is a stub
      BU_WrlViewer_V2/                stubs of the authors' viewer
      truth.csv, synthetic.json

101 subjects give the published 606 sequences; 100 frames a sequence (the real number, nearly) are 60,600 textures, the
default of 10 is a tenth. The default size is half the real one on each side.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fer_data.datasets.bu4dfe import SUBJECTS
from fer_data.datasets.recognise import BASIC_FOLDERS
from fer_data.errors import DatasetError
from fer_data.labels import BASIC
from fer_data.synthetic import traps as trap_files
from fer_data.synthetic.sequences import draw_sequence, rise_and_fall
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent, write_jpeg

__all__ = ["SIZE", "write_bu4dfe"]

SIZE = (520, 664)                     # width, height; the real textures have 1040x1329
_LAYOUT = 4                           # of the keys of random numbers; 1 is CK+
_MESH = b"#VRML V2.0 utf8\nShape { geometry IndexedFaceSet { coord Coordinate { point [ ] } } }\n"


class _Job(NamedTuple):
    root: Path
    index: int                        # in SUBJECTS
    seed: int
    frames: int
    size: tuple[int, int]


def write_bu4dfe(
    out: Path,
    subjects: int = 101,
    seed: int = 0,
    frames: int = 10,
    size: tuple[int, int] = SIZE,
    traps: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw people and write them as a BU-4DFE tree; return what was written.

    subjects  with fewer than 101, women and men keep their proportion
    frames    of each sequence
    size      of a texture, (width, height)
    traps     also write what adapters must not fall into (traps.py)
    workers   processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, and if `out` holds anything but an earlier synthetic tree.
    """
    if not 1 <= subjects <= len(SUBJECTS) or not 1 <= frames <= 999:
        raise DatasetError(f"drawing BU-4DFE: choose 1 to {len(SUBJECTS)} subjects and 1 to 999 frames, not {subjects} and {frames}")
    require_seed(seed)
    chosen = [round(index * len(SUBJECTS) / subjects) for index in range(subjects)]
    with new_tree(out) as part:
        jobs = [_Job(part, one, seed, frames, size) for one in chosen]
        rows = [row for own in run_jobs(_write_subject, jobs, workers, progress) for row in own]
        viewer = part / "BU_WrlViewer_V2"
        viewer.mkdir()
        (viewer / "readme.txt").write_bytes(b"A stub of the viewer.\n")
        written = {
            "subjects": subjects, "sequences": subjects * len(BASIC), "frames": len(rows),
            "traps": trap_files.for_bu4dfe(part, part / SUBJECTS[chosen[0]]) if traps else 0,
        }
        settings = {"subjects": subjects, "seed": seed, "frames": frames, "size": list(size), "traps": traps}
        finish_tree(part, "bu4dfe", settings, written, rows)
    return Written(out, written)


def _write_subject(job: _Job) -> list[dict]:
    """Draw and write the six sequences of one subject; return its rows of truth.csv."""
    rows, subject, frames = [], SUBJECTS[job.index], job.frames
    intensities = rise_and_fall(1, 1 + max(1, 2 * frames // 5), 1 + max(2, 3 * frames // 5), max(frames, 4), frames)
    for number, (word, expression) in enumerate(zip(BASIC_FOLDERS["bu4dfe"], BASIC, strict=True)):
        folder = job.root / subject / word
        folder.mkdir(parents=True)
        drawn = draw_sequence(
            job.seed, "bu4dfe", (job.index, _LAYOUT, number), expression, intensities, job.size, grain=False,
            adapt=lambda scene: replace(scene, shift_x=scene.shift_x / 3),
        )
        for position, frame in enumerate(drawn):
            write_jpeg(folder / f"{position:03d}.jpg", frame.picture)
            (folder / f"{position:03d}.wrl").write_bytes(_MESH)
            rows.append({"subject": subject, "sequence": word, "frame": position, "expression": expression, **frame.factors})
    return rows
