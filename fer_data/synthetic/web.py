"""Trees of pictures from the web, in the layouts of RAF-DB, AffectNet, ExpW, SFEW and CAER-S; each face is of another synthetic person.

In:  a folder that is missing, empty or an earlier synthetic tree; a database and one of its FORMS; number of faces; seed.
Out: the tree that the adapter's docstring draws, with its lists; truth.csv, synthetic.json; counts.

Every sixth face is in test or validation, where there is such a part. A face does not depend on how many there are.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer_data.datasets.affectnet import COLUMNS
from fer_data.errors import DatasetError
from fer_data.labels import AFFECTNET_CODES, FER2013_CODES, RAF_DB_CODES
from fer_data.synthetic import traps as trap_files
from fer_data.synthetic.sequences import draw_sequence
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent, write_jpeg, write_png
from fer_data.text import unknown

__all__ = ["FORMS", "write_web"]

_LAYOUT = 6                           # of the keys of random numbers; 1 is CK+
_SCENE = (320, 240)                   # width, height of what is drawn
_FILL = 1.45                          # the faces fill more of the picture than in CK+
_TESTED = 6                           # every so many faces are in the part that is tested
_WORDS = {"anger": "Angry", "happiness": "Happy", "sadness": "Sad"}


class _Face(NamedTuple):
    """One face to be drawn."""

    number: int                       # from 0
    part: str                         # train or test
    code: int                         # in the database
    expression: str
    rank: int                         # within its part, from 1


class _Form(NamedTuple):
    """One form in which a database is passed on."""

    codes: dict[int, str | None]
    place: Callable[[_Face], str]     # where the picture goes
    side: int | None                  # of the square that is cut round the face, px; None: the whole scene
    lists: Callable[[Path, list[tuple[_Face, tuple[int, int, int, int]]]], None] = lambda root, faces: None


def _word(face: _Face) -> str:
    return _WORDS.get(face.expression, face.expression.capitalize())


def _raf(face: _Face) -> str:
    return f"{face.part}_{face.rank:0{5 if face.part == 'train' else 4}d}"


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _raf_list(root: Path, faces: list) -> None:
    _write(root / "basic/EmoLabel/list_patition_label.txt", [f"{_raf(face)}.jpg {face.code}" for face, _ in faces])


def _raf_tables(root: Path, faces: list) -> None:
    for part in ("train", "test"):
        rows = [f"{_raf(face)}_aligned.jpg,{face.code}" for face, _ in faces if face.part == part]
        _write(root / f"DATASET/{part}_labels.csv", ["image,label", *rows])


def _affectnet_lists(root: Path, faces: list) -> None:
    """The list of the validation part has no header, as it is often seen."""
    for part, name in (("train", "training"), ("test", "validation")):
        rows = [
            ",".join([_hash(face), *map(str, (left, top, right - left + 1, bottom - top + 1)), "1.0;2.0", str(face.code), "0.1", "-0.2"])
            for face, (left, top, right, bottom) in faces if face.part == part
        ]
        _write(root / f"Manually_Annotated_file_lists/{name}.csv", [",".join(COLUMNS), *rows] if part == "train" else rows)


def _hash(face: _Face) -> str:
    return f"{face.number % 3 + 1}/{face.number:056x}.jpg"


def _affectnet_labels(root: Path, faces: list) -> None:
    """Every second label is a text, as in the files that are passed on."""
    for face, _ in faces:
        buffer = io.BytesIO()
        np.save(buffer, np.array(str(face.code) if face.number % 2 else face.code), allow_pickle=False)
        path = root / f"{_set(face)}/annotations/{face.rank - 1}_exp.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


def _set(face: _Face) -> str:
    return "train_set" if face.part == "train" else "val_set"


def _expw_list(root: Path, faces: list) -> None:
    """A picture shows two faces, next to each other."""
    lines = [
        f"{_expw(face)} {face.number % 2} {top} {left} {right + 1} {bottom + 1} 42.5 {face.code}"
        for face, (left, top, right, bottom) in faces
    ]
    _write(root / "label/label.lst", lines)


def _expw(face: _Face) -> str:
    return f"happy_people_{face.number // 2}.jpg"


def _sfew(face: _Face) -> str:
    part = "Train/Train" if face.part == "train" else "Val/Val"
    return f"{part}_Aligned_Faces/{_word(face)}/Airheads_{face.number:09d}_00000005.png"


def _caer_s(face: _Face) -> str:
    word = "Anger" if face.expression == "anger" else _word(face)
    return f"CAER-S/{face.part}/{word}/{face.rank:04d}.png"


_AFFECTNET = {code: name for code, name in AFFECTNET_CODES.items() if name}
# database -> form -> _Form; the first form is the original one
_FORMS = {
    "rafdb": {
        "list": _Form(RAF_DB_CODES, lambda face: f"basic/Image/aligned/{_raf(face)}_aligned.jpg", 100, _raf_list),
        "original": _Form(RAF_DB_CODES, lambda face: f"basic/Image/original/{_raf(face)}.jpg", None, _raf_list),
        "kaggle": _Form(RAF_DB_CODES, lambda face: f"DATASET/{face.part}/{face.code}/{_raf(face)}_aligned.jpg", 100, _raf_tables),
        "folders": _Form(
            RAF_DB_CODES, lambda face: f"{'train' if face.part == 'train' else 'valid'}/{face.expression}/{_raf(face)}.jpg", 100
        ),
    },
    "affectnet": {
        "lists": _Form(_AFFECTNET, lambda face: f"Manually_Annotated_Images/{_hash(face)}", None, _affectnet_lists),
        "numbered": _Form(_AFFECTNET, lambda face: f"{_set(face)}/images/{face.rank - 1}.jpg", 224, _affectnet_labels),
        "folders": _Form(
            _AFFECTNET, lambda face: f"{'train' if face.part == 'train' else 'val'}/{face.code}/image{face.number:07d}.jpg", 224
        ),
    },
    "expw": {"list": _Form(FER2013_CODES, lambda face: f"image/origin/{_expw(face)}", None, _expw_list)},
    "sfew": {"aligned": _Form(FER2013_CODES, _sfew, 144)},
    "caer-s": {"folders": _Form(FER2013_CODES, _caer_s, None)},
}
FORMS = {dataset: tuple(forms) for dataset, forms in _FORMS.items()}


class _Job(NamedTuple):
    root: Path
    dataset: str
    form: str
    faces: tuple[_Face, ...]          # of one picture
    seed: int


def write_web(
    out: Path,
    dataset: str,
    form: str | None = None,
    pictures: int = 300,
    seed: int = 0,
    traps: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw faces and write them as a tree of `dataset`; return what was written.

    form      one of FORMS[dataset]; None: the first
    pictures  number of faces, at least 12
    traps     also write what adapters must not fall into (traps.py)
    workers   processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, and if `out` holds anything but an earlier synthetic tree.
    """
    form = FORMS[dataset][0] if form is None else form
    if form not in FORMS[dataset]:
        raise DatasetError(f"drawing {dataset}: {unknown('form', form, FORMS[dataset])}")
    if not 12 <= pictures <= 99999:
        raise DatasetError(f"drawing {dataset}: choose 12 to 99999 pictures, not {pictures}")
    require_seed(seed)
    faces = _faces(_FORMS[dataset][form], pictures)
    in_one = 2 if dataset == "expw" else 1
    with new_tree(out) as part:
        groups = [tuple(faces[first : first + in_one]) for first in range(0, len(faces), in_one)]
        done = run_jobs(_write_picture, [_Job(part, dataset, form, group, seed) for group in groups], workers, progress)
        boxes, rows = ([one for own in done for one in own[index]] for index in (0, 1))
        _FORMS[dataset][form].lists(part, list(zip(faces, boxes, strict=True)))
        written = {"frames": len(faces), "traps": trap_files.for_web(part, dataset) if traps else 0}
        settings = {"dataset": dataset, "form": form, "pictures": pictures, "seed": seed, "traps": traps}
        finish_tree(part, dataset, settings, written, rows)
    return Written(out, written)


def _faces(form: _Form, pictures: int) -> list[_Face]:
    """Return the faces: expressions in turn, every sixth of each is tested."""
    codes, faces, ranks = list(form.codes), [], {"train": 0, "test": 0}
    for number in range(pictures):
        turn, place = divmod(number, len(codes))
        part = "test" if turn % _TESTED == 1 else "train"
        ranks[part] += 1
        faces.append(_Face(number, part, codes[place], form.codes[codes[place]], ranks[part]))
    return faces


def _write_picture(job: _Job) -> tuple[list[tuple[int, int, int, int]], list[dict]]:
    """Draw the faces of one picture next to each other and write it; return the box of each face, and the rows of truth.csv."""
    form, place = _FORMS[job.dataset][job.form], _FORMS[job.dataset][job.form].place(job.faces[0])
    drawn, boxes, rows = [], [], []
    for position, face in enumerate(job.faces):
        (frame,) = draw_sequence(
            job.seed, job.dataset, (face.number, _LAYOUT, face.code), face.expression, [1.0], _SCENE, grain=False,
            adapt=lambda scene: replace(scene, scale=scene.scale * _FILL),
        )
        left, top, side = _square(frame.points)
        boxes.append((left + position * _SCENE[0], top, left + position * _SCENE[0] + side - 1, top + side - 1))
        drawn.append(frame.picture if form.side is None else _cut(frame.picture, left, top, side, form.side))
        rows.append({"source": place, "part": face.part, "code": face.code, "expression": face.expression, **frame.factors})
    path = job.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.hstack(drawn)  # (H, W * faces, 3)
    if path.suffix == ".png":
        write_png(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    else:
        write_jpeg(path, picture)
    return boxes, rows


def _square(points: np.ndarray) -> tuple[int, int, int]:
    """Return (left, top, side) of the square round a face, within the scene."""
    width, height = _SCENE
    side = min(int(1.25 * np.ptp(points[:, 1])), width, height)
    left, top = (np.round((points.min(0) + points.max(0)) / 2) - side // 2).astype(int)
    return int(np.clip(left, 0, width - side)), int(np.clip(top, 0, height - side)), side


def _cut(picture: np.ndarray, left: int, top: int, side: int, size: int) -> np.ndarray:
    """Return the square of a picture (H, W, 3), as (size, size, 3)."""
    return cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
