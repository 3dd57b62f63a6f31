"""Trees of synthetic people in the layouts of JAFFE, KDEF, RaFD, FACES, ADFES, MUG and WSEFEP.

In:  the name of one of them; a folder that is missing, empty or an earlier synthetic tree; number of people; seed.
Out: the tree; counts.

    jaffe      jaffe/KA.AN1.39.tiff                                  213 of ten people, in the published numbers
    kdef       KDEF/AF01/AF01AFS.JPG                                 two sessions; the five sides show one picture
    rafd       Rafd090_28_Caucasian_male_angry_frontal.jpg           cameras and gazes show one picture
    faces-mpi  bilder/004_o_m_a_a.jpg
    adfes      F01-Anger-Face Forward.mpeg                           from neutral to the apex, which is held
    mug        subjects3/001/happiness/take000/img_0000.jpg          from neutral to the apex and back
    wsefep     AD_7885.jpg, WSEFEP - norms & FACS.csv                one row of the table names a picture of another number
    truth.csv, synthetic.json

What varies in the real trees is there without traps: takes of JAFFE that are not contiguous, people of MUG with sessions or without
takes. Person i of one database is nobody of another.
"""

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2

from fer_data.datasets.forms import FORMS, load_form
from fer_data.datasets.published import load_facts
from fer_data.errors import DatasetError
from fer_data.pictures.video import require_av
from fer_data.synthetic.clips import encode_clip
from fer_data.synthetic.sequences import draw_sequence
from fer_data.synthetic.traps import cut_in_half, leave_litter
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent, write_jpeg

__all__ = ["SIZE", "write_described"]

SIZE = (300, 360)                     # width, height
_LAYOUT = 6                           # of the keys of random numbers; 1 is CK+
_APART = 1000                         # numbers of people between one database and the next
_LEVELS = (0.0, 0.4, 0.8, 1.0)        # intensities that are drawn of what moves
_HELD = (0, 0, 0, 1, 2, *[3] * 8)     # of _LEVELS, for each frame of a clip of ADFES
_TAKE = (0, 0, 1, 2, 3, 3, 3, 2, 1, 0, 0)            # and of MUG


class _Shot(NamedTuple):
    """One thing that a person does before the camera."""

    word: str                         # as the database calls the expression
    files: tuple[str, ...]            # one for each frame; a clip; or those that all show the one picture, what is asked for first
    order: tuple[int, ...] = ()       # of _LEVELS, for each frame; none: a picture of the peak


# --- the layouts: what a person, by number from 0, shows ----------------------------------------------------------------

_TWO_LETTERS = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")
_JAFFE = load_form("jaffe").people
# (person, code) -> takes, where there are not three; with them the counts of people and of expressions are the published ones
_JAFFE_TAKES = {
    ("KA", "FE"): "1234", ("KA", "DI"): "1234", ("KL", "HA"): "1234", ("KM", "SA"): "1235", ("KM", "DI"): "13", ("KM", "FE"): "1234",
    ("NM", "DI"): "13", ("KR", "AN"): "12", ("YM", "AN"): "1234",
}
_JAFFE_SERIALS = [number for number in range(1, 220) if number not in (8, 12, 21, 76, 108, 183)]


def _jaffe(person: int) -> tuple[str, list[_Shot]]:
    names = [(who, f"{code}{take}") for who in _JAFFE for code in _TWO_LETTERS for take in _JAFFE_TAKES.get((who, code), "123")]
    numbered = zip(names, _JAFFE_SERIALS, strict=True)
    subject = _JAFFE[person]
    return subject, [_Shot(code[:2], (f"jaffe/{who}.{code}.{serial}.tiff",)) for (who, code), serial in numbered if who == subject]


def _kdef(person: int) -> tuple[str, list[_Shot]]:
    subject = f"{'FM'[person % 2]}{person // 2 + 1:02d}"
    names = [(word, f"{session}{subject}") for session in "AB" for word in ("AF", *(code for code in _TWO_LETTERS if code != "FE"))]
    return subject, [_Shot(word, tuple(_kdef_file(f"{who}{word}{side}") for side in ("S", "FL", "HL", "HR", "FR"))) for word, who in names]


def _kdef_file(stem: str) -> str:
    """Return the path of a picture of KDEF; two are misnamed."""
    return f"KDEF/{stem[:4]}/{ {'AF31SAHL': 'AF31V', 'AM31SUHR': 'AM31H'}.get(stem, stem)}.JPG"


def _rafd(person: int) -> tuple[str, list[_Shot]]:
    subject = load_form("rafd").people_ids()[person]
    who = f"{subject}_{('Caucasian', 'Kid', 'Moroccan')[person % 3]}_{('female', 'male')[person % 2]}"
    words = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
    views = [(camera, gaze) for camera in ("090", "000", "045", "135", "180") for gaze in ("frontal", "left", "right")]
    return subject, [_Shot(word, tuple(f"Rafd{camera}_{who}_{word}_{gaze}.jpg" for camera, gaze in views)) for word in words]


def _faces(person: int) -> tuple[str, list[_Shot]]:
    subject = f"{person + 1:03d}"
    who = f"{subject}_{'ymo'[person % 3]}_{'mf'[person % 2]}"
    return subject, [_Shot(word, (f"bilder/{who}_{word}_{part}.jpg",)) for word in "adfhns" for part in "ab"]


def _adfes(person: int) -> tuple[str, list[_Shot]]:
    subject = load_form("adfes").people_ids()[person]
    words = ("Anger", "Contempt", "Disgust", "Embarrassment", "Fear", "Joy", "Neutral", "Pride", ("Sad", "Sadness")[person % 2], "Surprise")
    return subject, [_Shot(word, (f"{subject}-{word}-Face Forward.mpeg",), _HELD) for word in words]


def _mug(person: int) -> tuple[str, list[_Shot]]:
    subject, shots = f"{person + 1:03d}", []
    session, takes, first = "session1/" * (person % 4 == 1), person % 4 != 2, 3 * (person % 4 == 3)
    for word in ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"):
        for take in range(2 if takes else 1):
            folder = f"subjects3/{subject}/{session}{word}{f'/take{take:03d}' * takes}"
            shots.append(_Shot(word, tuple(f"{folder}/img_{first + frame:04d}.jpg" for frame in range(len(_TAKE))), _TAKE))
    return subject, shots


_WSEFEP = (
    "AD", "SO", "MK", "MK1", "MR", "MR1", "MR2", "KA", "KL", "KM", "AG", "AK", "BS", "CL", "DC", "EJ", "GB", "HW", "JG", "JS", "KP",
    "LM", "MG", "OG", "PA", "RA", "SS", "TG", "VK", "ZL",
)
_WSEFEP_TABLE = "WSEFEP - norms & FACS.csv"
_WSEFEP_COLUMNS = (
    "Displayer ID", "Picture ID", "Male/ Female", "Display", "Agreement (%)", "Putity   (0-1)", "Intensity (0-1)", "N", "FACS",
)
_MISMATCHED = {"SO_0052": "SO_0053"}  # row of the table -> picture


def _wsefep(person: int) -> tuple[str, list[_Shot]]:
    subject, words = _WSEFEP[person], ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    first = 50 if subject == "SO" else 7885 + 11 * person
    stems = [f"{subject}_{first + 2 * number:04d}" for number in range(len(words))]
    return subject, [_Shot(word, (f"{_MISMATCHED.get(stem, stem)}.jpg",)) for word, stem in zip(words, stems, strict=True)]


def _write_norms(root: Path, rows: list[dict]) -> None:
    """Write WSEFEP's table of the pictures, as its authors wrote it."""
    text, mismatched = io.StringIO(), {picture: row for row, picture in _MISMATCHED.items()}
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_WSEFEP_COLUMNS)
    for row in rows:
        stem = Path(row["file"]).stem
        writer.writerow([row["subject"], mismatched.get(stem, stem), "F", row["word"], 90, 0.8, 0.7, 1362, "1+2, 5"])
    (root / _WSEFEP_TABLE).write_text(text.getvalue(), encoding="utf-8")


_LAYOUTS: dict[str, Callable[[int], tuple[str, list[_Shot]]]] = {
    "jaffe": _jaffe, "kdef": _kdef, "rafd": _rafd, "faces-mpi": _faces, "adfes": _adfes, "mug": _mug, "wsefep": _wsefep,
}


# --- what must not mislead ----------------------------------------------------------------------------------------------


def _traps(root: Path, dataset: str, shots: list[_Shot]) -> int:
    """Add, beside the files of the first person, what `prepare` must not fall into; return the number of files touched."""
    first = root / shots[0].files[0]
    suffix = first.suffix
    copies = {
        "jaffe": ["jaffe/README_FIRST.txt", "jaffe/a_names.dat"], "rafd": [f"cropped_151_159_{first.stem}{suffix}"],
        "adfes": [first.name.replace("Face Forward", "Turn Away")],
        "mug": [f"subjects3/001/anger/take001end/{first.name}", f"subjects3/001/anger/take000/._{first.name}"],
    }.get(dataset, [])
    for name in (*copies, f"notes/IMG_0815{suffix}"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, root / name)
    cut_in_half(root / shots[-1].files[len(_TAKE) // 2 if dataset == "mug" else 0])
    black = [root / "KDEF" / stem[:4] / f"{stem}.JPG" for stem in load_form(dataset).broken]
    for path in (path for path in black if path.is_file()):
        write_jpeg(path, 0 * cv2.imread(str(path)))
    return len(copies) + 2 + leave_litter(root, [first.parent])


# --- the trees ----------------------------------------------------------------------------------------------------------


class _Job(NamedTuple):
    root: Path
    dataset: str
    person: int
    seed: int


def write_described(
    dataset: str,
    out: Path,
    subjects: int | None = None,
    seed: int = 0,
    traps: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw people and write them as a tree of a database in forms.FORMS; return what was written.

    subjects  None: all that are published
    traps     also write what adapters must not fall into (_traps)
    workers   processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, if `out` holds anything but an earlier synthetic tree, or if PyAV is missing
    where clips are written.
    """
    facts = load_facts(dataset)
    subjects = facts.subjects if subjects is None else subjects
    if not 1 <= subjects <= facts.subjects:
        raise DatasetError(f"drawing {facts.name}: choose 1 to {facts.subjects} subjects, not {subjects}")
    require_seed(seed)
    if dataset == "adfes":
        require_av()
    with new_tree(out) as part:
        jobs = [_Job(part, dataset, person, seed) for person in range(subjects)]
        rows = [row for own in run_jobs(_write_subject, jobs, workers, progress) for row in own]
        if dataset == "wsefep":
            _write_norms(part, rows)
        written = {
            "subjects": subjects, "sequences": len({row["sequence"] for row in rows}), "frames": len(rows),
            "traps": _traps(part, dataset, _LAYOUTS[dataset](0)[1]) if traps else 0,
        }
        finish_tree(part, dataset, {"subjects": subjects, "seed": seed, "traps": traps}, written, rows)
    return Written(out, written)


def _write_subject(job: _Job) -> list[dict]:
    """Draw and write all that one person shows; return the rows of truth.csv."""
    subject, shots = _LAYOUTS[job.dataset](job.person)
    return [row for number, shot in enumerate(shots) for row in _write_shot(job, subject, number, shot)]


def _write_shot(job: _Job, subject: str, number: int, shot: _Shot) -> Iterator[dict]:
    """Write the files of one shot; yield the rows of truth.csv, one a frame."""
    index = _APART * (FORMS.index(job.dataset) + 1) + job.person
    expression = load_form(job.dataset).words[shot.word.lower()] or "happiness"          # pride and embarrassment smile
    drawn = list(draw_sequence(
        job.seed, job.dataset, (index, _LAYOUT, number), expression, list(_LEVELS if shot.order else _LEVELS[-1:]), SIZE,
        colour=job.dataset != "jaffe", grain=False, adapt=lambda scene: replace(scene, shift_x=scene.shift_x / 3),
    ))
    frames = [drawn[level] for level in shot.order or (0,)]
    for name in shot.files:
        (job.root / name).parent.mkdir(parents=True, exist_ok=True)
    if shot.files[0].endswith(".mpeg"):
        (job.root / shot.files[0]).write_bytes(encode_clip([frame.picture for frame in frames], "mpeg"))
    else:
        for position, name in enumerate(shot.files):
            _write_picture(job.root / name, frames[position if shot.order else 0].picture)
    for position, frame in enumerate(frames):
        file = shot.files[min(position, len(shot.files) - 1)]
        yield {"subject": subject, "sequence": f"{subject}-{number}", "frame": position, "file": file, "word": shot.word,
               "expression": expression, **frame.factors}


def _write_picture(path: Path, picture) -> None:
    """Write a picture in the format of its name."""
    if path.suffix == ".tiff":
        path.write_bytes(cv2.imencode(".tiff", picture)[1].tobytes())
    else:
        write_jpeg(path, picture)
