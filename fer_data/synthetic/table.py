"""A full table of synthetic people: every person shows every expression of CK+, several times.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; takes of each expression; seed.
Out: the tree below; counts.

    out/
      S005/anger/anger-1.png          grey, one picture at the peak; each take has its own light, pose, background and strength
                 anger-2.png
           contempt/contempt-1.png
      truth.csv, synthetic.json

`fer-data prepare folder OUT prepared --pattern '{subject}/{expression}/{sequence}.png'` reads it: each take is a sequence of one
frame. A take does not depend on how many subjects or takes there are. A CK+ tree of the same seed shows the same people.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fer_data.errors import DatasetError
from fer_data.synthetic.plan import CLASS_COUNTS, MAX_SUBJECTS, subject_name
from fer_data.synthetic.sequences import draw_sequence
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent, write_png

__all__ = ["MAX_TAKES", "SIZE", "write_table"]

SIZE = (320, 240)                     # width, height
MAX_TAKES = 999
_LAYOUT = 5                           # of the keys of random numbers; 1 is CK+
_FILL = 1.45                          # the faces fill more of the picture than in CK+


class _Job(NamedTuple):
    root: Path
    index: int                        # of the person
    takes: int
    seed: int


def write_table(
    out: Path, subjects: int = 60, takes: int = 8, seed: int = 0, workers: int = 1, progress: Progress = silent
) -> Written:
    """Draw people and write them as a full table; return what was written.

    takes    pictures of each person and expression
    workers  processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, and if `out` holds anything but an earlier synthetic tree.
    """
    if not 1 <= subjects <= MAX_SUBJECTS or not 1 <= takes <= MAX_TAKES:
        raise DatasetError(
            f"drawing a full table: choose 1 to {MAX_SUBJECTS} subjects and 1 to {MAX_TAKES} takes, not {subjects} and {takes}"
        )
    require_seed(seed)
    with new_tree(out) as part:
        jobs = [_Job(part, index, takes, seed) for index in range(subjects)]
        rows = [row for own in run_jobs(_write_subject, jobs, workers, progress) for row in own]
        written = {"subjects": subjects, "sequences": len(rows), "frames": len(rows)}
        finish_tree(part, "table", {"subjects": subjects, "takes": takes, "seed": seed}, written, rows)
    return Written(out, written)


def _write_subject(job: _Job) -> list[dict]:
    """Draw and write all pictures of one subject; return its rows of truth.csv."""
    rows, subject = [], subject_name(job.index)
    for number, expression in enumerate(CLASS_COUNTS):
        folder = job.root / subject / expression
        folder.mkdir(parents=True)
        for take in range(1, job.takes + 1):
            key = (job.index, _LAYOUT, (MAX_TAKES + 1) * number + take)
            (frame,) = draw_sequence(
                job.seed, "table", key, expression, [1.0], SIZE, colour=False, adapt=lambda scene: replace(scene, scale=scene.scale * _FILL)
            )
            sequence = f"{expression}-{take}"
            write_png(folder / f"{sequence}.png", frame.picture)
            rows.append({"subject": subject, "sequence": sequence, "frame": 0, "expression": expression, **frame.factors})
    return rows
