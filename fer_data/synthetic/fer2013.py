"""FER2013 of synthetic people: ready faces of 48x48 pixels, as CSV files in both forms or as folders, and the votes of FER+.

In:  a folder that is missing, empty or an earlier synthetic tree; number of rows; forms; seed.
Out: those of the files below that are asked for; counts.

    out/
      fer2013.csv               emotion,pixels,Usage
      icml_face_data.csv        emotion, Usage, pixels
      folders/train/angry/im00000.png  folders/test/...        PublicTest and PrivateTest are in test
      fer2013new.csv            the votes of FER+: always there
      truth.csv, synthetic.json

35,887 rows have the published counts of parts and expressions. A few faces of each expression are drawn; a row is one of them, turned,
shifted, mirrored, lit and grained in its own way. Planted is what the real files have: exact copies, also across parts; of the votes
rows without a name, names that drift from the rows or occur twice, ties, a row of nine votes, unknown and no face.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer_data.datasets.published import load_facts
from fer_data.errors import DatasetError
from fer_data.labels import FER2013_CODES
from fer_data.synthetic.sequences import draw_sequence
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, silent, write_png

__all__ = ["FORMS", "ROWS", "write_fer2013"]

ROWS = 35_887
FORMS = ("csv", "icml", "folders")
_USAGE = ("Training", "PublicTest", "PrivateTest")
_FOLDERS = {"anger": "angry", "disgust": "disgust", "fear": "fear", "happiness": "happy", "sadness": "sad", "surprise": "surprise",
            "neutral": "neutral"}
_VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
_PUBLISHED = load_facts("fer2013").forms["train and test, which has PublicTest and PrivateTest in one"]

_SIZE = 48
_DRAWN = (128, 128)                   # width, height of the faces that rows are made of
_LAYOUT = 6                           # of the keys of random numbers; 5 is the full table
_COPIES, _TIES, _UNNAMED, _UNKNOWN, _CONTEMPT = (count / ROWS for count in (1853, 1776, 173, 1500, 250))         # shares of rows


class _Row(NamedTuple):
    usage: str
    expression: str


def write_fer2013(
    out: Path, rows: int = ROWS, forms: Sequence[str] = FORMS[:1], seed: int = 0, progress: Progress = silent
) -> Written:
    """Draw faces and write them in these forms, with the votes; return what was written.

    Raises DatasetError for fewer than 70 rows or an unknown form, and if `out` holds anything but an earlier synthetic tree.
    """
    if rows < 70 or not forms or set(forms) - set(FORMS):
        some = ", ".join(forms)
        raise DatasetError(f"drawing FER2013: choose 70 rows or more, not {rows}, and forms among {', '.join(FORMS)}, not {some}")
    require_seed(seed)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_LAYOUT,)))
    planned = _plan(rows, rng)
    with new_tree(out) as part:
        pictures = _draw(planned, seed, rng, progress)                   # (N, 48, 48) uint8
        copies = _copy(planned, pictures, rng)
        if "csv" in forms:
            _write_csv(part / "fer2013.csv", ("emotion", "pixels", "Usage"), planned, pictures)
        if "icml" in forms:
            _write_csv(part / "icml_face_data.csv", ("emotion", " Usage", " pixels"), planned, pictures)
        if "folders" in forms:
            _write_folders(part / "folders", planned, pictures)
        labels = _write_votes(part / "fer2013new.csv", planned, rng)
        truth = [
            {"row": number, "usage": row.usage, "expression": row.expression, "ferplus": label, "copy_of": copies.get(number, "")}
            for number, (row, label) in enumerate(zip(planned, labels, strict=True))
        ]
        written = {"sequences": rows, "frames": rows}
        finish_tree(part, "fer2013", {"rows": rows, "forms": list(forms), "seed": seed}, written, truth)
    return Written(out, written)


def _plan(rows: int, rng: np.random.Generator) -> list[_Row]:
    """Return part and expression of each row: parts one after another, expressions in any order within them."""
    names = list(FER2013_CODES.values())
    train = [_PUBLISHED["train"][name] for name in names]
    rest, public, up = [_PUBLISHED["test"][name] for name in names], [], True
    for count in rest:                                                   # an odd one goes to either part in turn
        public.append((count + up) // 2)
        up ^= count % 2 == 1
    private = [count - half for count, half in zip(rest, public, strict=True)]
    planned = []
    for usage, counts in zip(_USAGE, (train, public, private), strict=True):
        shown = np.repeat(names, [max(1, round(count * rows / ROWS)) for count in counts])
        planned += [_Row(usage, str(name)) for name in rng.permutation(shown)]
    short = rows - len(planned)                                          # what rounding left over
    return planned[-short:] if short < 0 else [_Row("Training", "happiness")] * short + planned


def _draw(planned: list[_Row], seed: int, rng: np.random.Generator, progress: Progress) -> np.ndarray:
    """Return the pictures of all rows, (N, 48, 48) uint8."""
    people = min(40, max(3, len(planned) // 60))
    bank = {name: [_face(seed, index, number, name) for index in range(people)] for number, name in enumerate(FER2013_CODES.values())}
    pictures = np.empty((len(planned), _SIZE, _SIZE), np.uint8)
    slope = np.linspace(-1, 1, _SIZE)
    for number, row in enumerate(planned):
        pictures[number] = _variant(*bank[row.expression][rng.integers(people)], slope, rng)
        if number % 1000 == 999:
            progress(number + 1, len(planned))
    return pictures


def _face(seed: int, index: int, number: int, expression: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a face (128, 128) grey uint8, its middle (x, y) and its height, pixels."""
    (frame,) = draw_sequence(
        seed, "fer2013", (index, _LAYOUT, number), expression, [1.0], _DRAWN, colour=False, grain=False,
        adapt=lambda scene: replace(scene, scale=scene.scale * 1.4),
    )
    low, high = frame.points.min(0), frame.points.max(0)
    return frame.picture, (low + high) / 2, float(high[1] - low[1])


def _variant(face: np.ndarray, middle: np.ndarray, height: float, slope: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a face as a row shows it: (48, 48) uint8."""
    turn, size, x, y, across, down, gain = rng.uniform([-12, 0.75, -4, -4, -30, -30, 0.75], [12, 1.0, 4, 4, 30, 30, 1.25])
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), float(turn), size * _SIZE / height)
    matrix[:, 2] += (_SIZE - 1) / 2 + np.array([x, y]) - middle
    picture = cv2.warpAffine(face, matrix, (_SIZE, _SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    light = across * slope + down * slope[:, None] + rng.normal(0, 4, (_SIZE, _SIZE))
    return np.clip(gain * (picture - 128) + 128 + light, 0, 255).astype(np.uint8)


def _copy(planned: list[_Row], pictures: np.ndarray, rng: np.random.Generator) -> dict[int, int]:
    """Make some rows exact copies of others of their expression; return row -> the one that it copies. The last row copies across parts."""
    sources: dict[str, list[int]] = {name: [] for name in FER2013_CODES.values()}
    for number, row in enumerate(planned):
        if row.usage == "Training":
            sources[row.expression].append(number)
    wanted = [len(planned) - 1, *rng.permutation(len(planned) - 1)[: max(1, round(_COPIES * len(planned)) - 1)].tolist()]
    copies: dict[int, int] = {}
    copied: set[int] = set()
    for number in wanted:
        source = int(rng.choice(sources[planned[number].expression]))
        if source != number and source not in copies and number not in copied:
            pictures[number], copies[number] = pictures[source], source
            copied.add(source)
    return copies


def _write_csv(path: Path, columns: tuple[str, ...], planned: list[_Row], pictures: np.ndarray) -> None:
    codes, texts = {name: code for code, name in FER2013_CODES.items()}, [str(value) for value in range(256)]
    with path.open("w", newline="") as file:
        file.write(",".join(columns) + "\n")
        for row, picture in zip(planned, pictures, strict=True):
            cells = {"emotion": str(codes[row.expression]), "Usage": row.usage,
                     "pixels": " ".join(map(texts.__getitem__, picture.ravel().tolist()))}
            file.write(",".join(cells[name.strip()] for name in columns) + "\n")


def _write_folders(root: Path, planned: list[_Row], pictures: np.ndarray) -> None:
    for number, (row, picture) in enumerate(zip(planned, pictures, strict=True)):
        folder = root / ("train" if row.usage == "Training" else "test") / _FOLDERS[row.expression]
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"im{number:05d}.png", picture)


def _write_votes(path: Path, planned: list[_Row], rng: np.random.Generator) -> list[str]:
    """Write the votes of FER+; return the label of each row by majority, "" where it has none."""
    kinds = dict(zip(rng.permutation(np.arange(10, len(planned))).tolist(), _kinds(len(planned)), strict=False))
    labels, name = [], 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("Usage", "Image name", *_VOTES))
        for number, row in enumerate(planned):
            kind = kinds.get(number, "")
            expression = "contempt" if kind == "contempt" else row.expression
            votes, label = _ballot(kind, expression, rng)
            writer.writerow((row.usage, "" if kind == "unnamed" else f"fer{name:07d}.png", *votes))
            labels.append(label)
            name += kind not in ("unnamed", "same-name")
    return labels


def _kinds(rows: int) -> Iterator[str]:
    """Yield what is odd about a row's votes, for as many rows as have it."""
    shares = {
        "tie": _TIES, "unnamed": _UNNAMED, "unknown": _UNKNOWN, "contempt": _CONTEMPT, "same-name": 4 / ROWS, "nf": 3 / ROWS, "nine": 0,
    }
    for kind, share in shares.items():
        yield from [kind] * max(1, round(share * rows))


def _ballot(kind: str, expression: str, rng: np.random.Generator) -> tuple[list[int], str]:
    """Return the votes in the order of their columns, and the label by majority; "": none."""
    votes, other = dict.fromkeys(_VOTES, 0), str(rng.choice([name for name in _VOTES[:7] if name != expression]))
    if kind in ("unnamed", "nf"):
        return list((votes | {"NF": 10}).values()), ""
    if kind == "unknown":
        return list((votes | {"unknown": 6, other: 4}).values()), ""
    if kind == "tie":
        return list((votes | {expression: 5, other: 5}).values()), ""
    most = 8 if kind == "nine" else int(rng.integers(6, 11))
    left = 1 if kind == "nine" else 10 - most
    return list((votes | {expression: most, other: left}).values()), expression
