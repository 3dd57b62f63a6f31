"""The CSV files of OpenFace 2.x: the points of CE-CLM, which the paper used; those of 1.x serve as well.

In:  a folder of CSV files that OpenFace wrote for the database's pictures or clips (which of them belongs to what: below).
Out: 68 points, one decimal, (x, y) from 0, iBUG order.

Both writers are read (", " and "," between columns), and files that a spreadsheet saved again (fer_data.tables). Two tools write
two kinds of file:

    FeatureExtraction  (frame, [face_id,] timestamp, confidence, success, ..., x_0 .. x_67, y_0 .. y_67, ...)
        one file for a clip or a folder of pictures; frame n, from 1, is the n-th frame of the clip, or the n-th picture of
        the folder in the order of their names; as many frames as pictures, or the file is refused.
        Rows with success 0 hold numbers, but no face: they are dropped.
    FaceLandmarkImg    (face, confidence, ..., x_0 .. y_67, ...)
        one file for a picture, one row for a face.

Of several faces the largest wins. A file belongs to a picture if its path in the folder, without .csv, is

    the path of the picture or clip below the database's root, or the path of the picture's folder     S005/001.csv
    ... of that folder, with the folder's name once more (-fdir S005/001 -out_dir DIR/S005/001)        S005/001/001.csv
    ... without leading folders, as long as what is left names the subject                             S005_001_00000011.csv
    SUBJECT_SEQUENCE                                                                                   S005_001.csv

The longest such path that exists is taken. Source: OpenFace's RecorderCSV.cpp and SequenceCapture.cpp (versions 2.0 to 2.2).
CE-CLM is not run here: pyclnf 0.4.1, which does in Python, requires opencv-python below 5, where this project requires 5,
is licensed CC BY-NC, and needs 440 MB of OpenFace's files, which may not be passed on.
"""

import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fer_data.errors import LandmarkError, TableError, UnreadableError
from fer_data.faces.landmarks.given import POINTS, GivenBackend, checked
from fer_data.files import read_file, sha256_of_bytes
from fer_data.records import Frame, Sequence
from fer_data.tables import lines_of, number, text_of, whole
from fer_data.text import counted

__all__ = ["OpenFaceBackend", "Faces", "parse_csv"]

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp")   # what OpenFace takes from a folder; it tells upper from lower case
_X = tuple(f"x_{index}" for index in range(POINTS))   # not X_0, which is millimetres, nor eye_lmk_x_0
_Y = tuple(f"y_{index}" for index in range(POINTS))
_SETTLED_NS = 2_000_000_000           # a folder that was changed longer ago has another time once it is changed again
_ITS_OWN = {"confidence", "success", "face_id", "pose_Tx", "gaze_0_x", "X_0", "eye_lmk_x_0"}     # columns that say that OpenFace wrote them


@dataclass(frozen=True)
class Faces:
    """What one CSV file says."""

    frames: dict[int, list[np.ndarray]]          # frame, from 1 -> its faces, (68, 2) float64 each; a picture is frame 1
    last: int                                    # the largest frame number, faces or not
    of_picture: bool                             # written by FaceLandmarkImg


class OpenFaceBackend(GivenBackend):
    """Reads what OpenFace found."""

    name = "openface"
    version = "1"                     # of what is taken from a file: the files do not say which OpenFace wrote them

    def __init__(self, folder: Path | str | None = None):
        """Remember where the files are. Raises LandmarkError if there are none."""
        if folder is None:
            raise LandmarkError("opening the openface backend: it needs the folder of OpenFace's CSV files; give it with --openface DIR")
        self._folder = Path(folder)
        if not self._folder.is_dir() or next(self._folder.rglob("*.csv"), None) is None:
            raise LandmarkError(f"opening the openface backend: {folder} is no folder with .csv files in it")
        self.settings = {}
        self._listed: tuple[Path, int, dict[str, int]] | None = None      # the last folder of pictures, when it was changed, name -> rank

    def evidence(self, root: Path, sequence: Sequence) -> list:
        """Return for each frame the sha256 of its file (None: there is none), which frame of it, of how many."""
        found = [(self._file(frame, sequence), *self._place(root, frame)) for frame in sequence.frames]
        hashes = {path: _sha256(path) for path in {path for path, _, _ in found if path}}
        return [[hashes.get(path), number, count] for path, number, count in found]

    def read(self, root: Path, sequence: Sequence) -> list[tuple[np.ndarray, int] | str]:
        """Return the points of the largest face of each frame and the number of faces, or a reason with a sentence."""
        files = [self._file(frame, sequence) for frame in sequence.frames]
        parsed = {path: _parsed(path) for path in set(files) if path}
        return [
            _largest(parsed[path], frame, path, *self._place(root, frame)) if path else "no-landmarks: OpenFace's folder has no file for it"
            for frame, path in zip(sequence.frames, files, strict=True)
        ]

    def _file(self, frame: Frame, sequence: Sequence) -> Path | None:
        """Return the CSV file of a frame, None if there is none."""
        for name in _names(frame, sequence):
            path = self._folder / f"{name}.csv"
            if path.is_file():
                return path
        return None

    def _place(self, root: Path, frame: Frame) -> tuple[int, int | None]:
        """Return which frame, from 1, a frame is for OpenFace, and of how many; None: a clip's length is not known here."""
        if frame.position is not None:
            return frame.position + 1, None
        path = root / frame.source
        ranks = self._ranks(path.parent)
        return (ranks[path.name], len(ranks)) if path.name in ranks else (0, 0)

    def _ranks(self, folder: Path) -> dict[str, int]:
        """Return name -> rank, from 1, of the pictures that OpenFace takes from a folder; listed again once the folder is changed."""
        changed = folder.stat().st_mtime_ns
        if self._listed is not None and self._listed[:2] == (folder, changed):
            return self._listed[2]
        names = sorted(one.name for one in folder.iterdir() if one.suffix in _PICTURES and not one.name.startswith("."))
        ranks = {name: rank for rank, name in enumerate(names, 1)}
        settled = time.time_ns() - changed > _SETTLED_NS                 # else it may change again within the same tick of its clock
        self._listed = (folder, changed, ranks) if settled else None
        return ranks


def parse_csv(data: bytes) -> Faces:
    """Return the faces in the bytes of a CSV file of OpenFace, or of one that a spreadsheet has saved again (`;`, decimal commas).

    Raises LandmarkError if it is none: a column is missing, a row is short, a number is none.
    """
    try:
        header, *rows = lines_of(text_of(data)[0])
    except TableError as error:
        raise LandmarkError(f"OpenFace's file is no CSV: {error}") from error
    column = _columns(header.cells)
    of_picture = "frame" not in column
    if not of_picture and "success" not in column:
        raise LandmarkError("OpenFace's file has a column frame, but none that says success")
    wanted = [column[name] for pair in zip(_X, _Y, strict=True) for name in pair]
    frames: dict[int, list[np.ndarray]] = {}
    last = 1 if of_picture else 0
    for row in rows:
        cells, where = row.cells, f"row {row.number}"
        if len(cells) < len(header.cells):
            raise LandmarkError(f"OpenFace's file is cut off: {where} has {len(cells)} of {len(header.cells)} columns")
        if any(cells[len(header.cells) :]):
            why = "with commas between cells, decimals need a point"
            raise LandmarkError(f"OpenFace's file cannot be read: {where} has {len(cells)} cells for {len(header.cells)} columns; {why}")
        try:
            frame = 1 if of_picture else whole(cells[column["frame"]])
            if frame is None:
                raise LandmarkError(f"{cells[column['frame']]!r} is no frame number")
            last = max(last, frame)
            if of_picture or number(cells[column["success"]]) == 1:
                frames.setdefault(frame, []).append(checked(_numbers([cells[index] for index in wanted]).reshape(POINTS, 2)))
        except (ValueError, LandmarkError) as error:
            raise LandmarkError(f"OpenFace's file cannot be read in {where} ({error}); did a spreadsheet change it?") from error
    return Faces(frames, last, of_picture)


def _columns(header: tuple[str, ...]) -> dict[str, int]:
    """Return name -> index of the columns. Names are told apart by case: X_0 holds millimetres, x_0 pixels."""
    missing = [name for name in (*_X, *_Y) if name not in header]
    if missing and not _ITS_OWN & {*header}:
        raise LandmarkError(f"OpenFace's file does not begin with OpenFace's columns, but with {', '.join(header[:4])[:80]!r}")
    if missing:
        lacks = counted(len(missing), "column")
        raise LandmarkError(f"OpenFace's file lacks {lacks} of 2D points, as {missing[0]}; run OpenFace with -2Dfp")
    if twice := next((name for name in (*_X, *_Y, "frame", "success") if header.count(name) > 1), None):
        raise LandmarkError(f"OpenFace's file has the column {twice} {header.count(twice)} times")
    return {name: index for index, name in enumerate(header)}


def _numbers(cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:                # decimal commas, or none
        return np.array([number(cell) for cell in cells])


def _sha256(path: Path) -> str:
    try:
        return sha256_of_bytes(read_file(path))
    except UnreadableError as error:
        return error.why


def _parsed(path: Path) -> Faces | str:
    try:
        return parse_csv(read_file(path))
    except LandmarkError as error:
        return f"bad-landmarks: {error}"
    except UnreadableError as error:
        return f"no-landmarks: OpenFace's file {error.why}"


def _largest(faces: Faces | str, frame: Frame, path: Path, number: int, count: int | None) -> tuple[np.ndarray, int] | str:
    """Return the points of the largest face of one frame and the number of faces, or a reason."""
    if isinstance(faces, str):
        return faces
    if faces.of_picture:
        if frame.position is not None or path.stem != PurePosixPath(frame.source).stem:
            return "bad-landmarks: a file of FaceLandmarkImg stands for one picture and must be named after it"
        number, count = 1, 1
    if count is not None and faces.last != count:
        return f"bad-landmarks: OpenFace's file counts {faces.last} frames where there are {count} pictures: they cannot be told apart"
    if number > faces.last:
        return f"bad-landmarks: OpenFace's file ends at frame {faces.last}, before frame {number}"
    found = faces.frames.get(number, [])
    if not found:
        return "no-face: OpenFace found none"
    return max(found, key=lambda points: float(np.prod(np.ptp(points, axis=0)))), len(found)


def _names(frame: Frame, sequence: Sequence) -> list[str]:
    """Return the names, without .csv, that a frame's file may have, longest first."""
    path = PurePosixPath(frame.source).with_suffix("")
    paths = [path] if frame.position is not None else [path, path.parent / path.parent.name, path.parent]
    names = [path.as_posix() for path in paths]
    for start in range(1, len(path.parts)):
        tails = [PurePosixPath(*one.parts[start:]).as_posix() for one in paths]
        names += [tail for tail in tails if sequence.subject in tail]
    return [*names, f"{sequence.subject}_{sequence.sequence}".replace("/", "_")]
