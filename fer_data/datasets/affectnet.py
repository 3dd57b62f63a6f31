"""AffectNet: faces from the web with eight expressions, in train and validation; people unknown.

In:  the folder that holds one of these forms, at whatever depth. The first that is there is read.
Out: Sequence records, a face each, with the part of the split; from lists with its box, in natural order.

    root/                                      lists (2017)
      Manually_Annotated_file_lists/training.csv, validation.csv     the second is seen without its header
      Automatically_Annotated_file_lists/...                         found and not used
      Manually_Annotated_Images/689/737db....jpg                     whole pictures: the box of the list is the face
    root/                                      numbered files (2021)
      train_set/images/0.jpg   train_set/annotations/0_exp.npy       a number, or a text that holds one
      val_set/...
    root/                                      class folders
      {train,val,test}/{0..7} or {train,val,test}/{anger,...}/x.jpg

Box:      face_x, face_y, face_width, face_height: the pixels from face_x up to, without, face_x + face_width.
Labels:   0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt. 8 none, 9 uncertain, 10 no face: left
          out. Folders that are named go by their names: by alphabet 0 is anger and 7 surprise.
Split:    train and validation. The labels of the test part are not public; results are reported on the validation part.
Counts:   287,651 and 4,000 (data_manifests/affectnet.json, which also names copies that others changed).
Cite:     Mollahosseini et al. 2019.      Licence: research, on request of a laboratory's head; may not be passed on.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fer_data.datasets.copies import one_of_each
from fer_data.datasets.published import split_notes
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import PICTURE, stray, walk
from fer_data.datasets.without_people import PARTS, counted_once, in_class_folders, picture
from fer_data.errors import DatasetError, UnreadableError
from fer_data.files import opened, read_file
from fer_data.labels import AFFECTNET_CODES, WORDS
from fer_data.pictures.file_kinds import is_picture, unread_kind
from fer_data.records import Scan, Sequence, Skip
from fer_data.tables import whole
from fer_data.text import counted, natural_key, unknown

__all__ = ["CLASSES", "COLUMNS", "read_label", "scan"]

CLASSES = ("8", "7")

COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression", "valence", "arousal")

_CODES = {str(code): name for code, name in AFFECTNET_CODES.items()}             # code -> expression; None: no expression
_LISTS = {"training.csv": "train", "validation.csv": "validation"}
_AUTOMATIC = re.compile(r"(?:^|/)automatically_annotated", re.IGNORECASE)
_NUMBERED = re.compile(rf"(?:.*/)?(train|val)_set/images/(\d+)\.{PICTURE}", re.IGNORECASE | re.ASCII)
_LABEL_BYTES = 4096                   # no label file is larger
_MEMBER = "AffectNet is training.csv with its pictures, train_set/images with annotations, or folders such as train/0 and train/neutral"
_NO_EXPRESSION = "none, uncertain or no face: its code is 8, 9 or 10"


def scan(root: Path, classes: str = "8") -> Scan:
    """Return the faces below `root`.

    classes    8, or 7: without contempt, as many papers have it
    Raises DatasetError if this is no AffectNet, or if it is the copy on Kaggle whose labels were changed.
    """
    if classes not in CLASSES:
        raise DatasetError(f"reading AffectNet: {unknown('classes', classes, CLASSES)}")
    root = Path(root)
    files, left = walk(root)
    _refuse_relabelled(root, files)
    by_depth = sorted(files, key=lambda path: -path.count("/"))                      # of two lists of one name, the first
    lists = {name: path for path in by_depth if (name := path.lower().rsplit("/", 1)[-1]) in _LISTS and not _AUTOMATIC.search(path)}
    if lists:
        form, (sequences, skipped) = "lists", _by_lists(root, files, lists)
    elif any(_NUMBERED.fullmatch(path) for path in files):
        form, (sequences, skipped) = "numbered files", _numbered(root, files)
    else:
        form, (sequences, skipped) = "class folders", in_class_folders("affectnet", root, files, _MEMBER, PARTS, WORDS | _CODES)
    if not sequences:
        raise wrong_tree("AffectNet", "affectnet", root, files, _MEMBER)
    notes = split_notes("affectnet", form, sequences)
    if classes == "7":
        skipped += [Skip(one.frames[0].source, "other-part", sequence=one.sequence, detail="contempt, of which seven classes have none")
                    for one in sequences if one.expression == "contempt"]
        sequences = [one for one in sequences if one.expression != "contempt"]
    return Scan("affectnet", tuple(sequences), (*skipped, *left), notes)


def _refuse_relabelled(root: Path, files: list[str]) -> None:
    """Raise DatasetError for the copy on Kaggle that is another data set: labels.csv with the column relFCs."""
    for path in files:
        if path.lower().rsplit("/", 1)[-1] == "labels.csv":
            with opened(root / path) as file:
                if b"relFCs" in file.read(200):
                    raise DatasetError(
                        f"reading AffectNet below {root}: {path} has the column relFCs, so this is noamsegal/affectnet-training-data of"
                        " Kaggle: about 29,000 pictures of 96x96 whose labels a model changed. That is another data set, and figures on it"
                        " are none of AffectNet; get the original from its authors"
                    )


# --- lists (2017) -----------------------------------------------------------------------------------------------------


def _by_lists(root: Path, files: list[str], lists: dict[str, str]) -> tuple[list[Sequence], list[Skip]]:
    """Return the faces that the lists give, and Skips for lines and pictures that give none."""
    copies: dict[str, list[str]] = {}
    skipped, rows, found, named = [], [], {}, set()
    for path in sorted(filter(is_picture, files), key=lambda path: unread_kind(path) is not None):
        if _AUTOMATIC.search(path):
            skipped.append(Skip(path, "other-part", detail="annotated automatically"))
        else:
            copies.setdefault(_key(path), []).append(path)
    pictures, others = one_of_each(root, copies)
    skipped += [Skip(path, "duplicate", detail=detail) for _, path, detail in others]
    for name_of_list, source in sorted(lists.items()):
        part = _LISTS[name_of_list]
        for line, (name, box, code) in _rows(root, source):
            where, key = f"line {line} of {source}", _key(name)
            named.add(key)
            if key not in pictures:
                rows.append(Skip(name, "no-match", sequence=key, frames=0, detail=f"{where} names a picture that is not there"))
            elif code not in _CODES or (_CODES[code] and box is None):
                why = f"codes are 0 to 10, not {code!r}" if code not in _CODES else "face_x to face_height are no box"
                rows.append(Skip(pictures[key], "bad-label", sequence=key, detail=f"{where}: {why}"))
            elif key in found:
                rows.append(Skip(pictures[key], "duplicate", sequence=key, frames=0, detail=f"{where} lists it again"))
            elif _CODES[code] is None:
                rows.append(Skip(pictures[key], "unlabelled", sequence=key, detail=_NO_EXPRESSION))
                found[key] = None
            else:
                found[key] = picture("affectnet", pictures[key], part, _CODES[code], key, box)
    used = [found[key] for key in sorted(found, key=natural_key) if found[key]]
    skipped += counted_once(rows, {one.sequence for one in used})
    skipped += [Skip(path, "unlabelled", detail="no list names it") for key, path in pictures.items() if key not in named]
    return used, skipped


def _key(path: str) -> str:
    """Return folder and name of a picture without its suffix, which copies change."""
    return "/".join(path.replace("\\", "/").split("/")[-2:]).rpartition(".")[0]


def _rows(root: Path, source: str) -> Iterator[tuple[int, tuple[str, tuple[int, int, int, int] | None, str]]]:
    """Yield (line, (folder/name of the picture, box, code)) of a list with or without a header; a row at a time, for it may have 500 MB.

    Raises DatasetError if it is no such list.
    """
    doing, places = f"reading AffectNet: {source}", {name.lower(): index for index, name in enumerate(COLUMNS)}
    try:
        with opened(root / source) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            rows = csv.reader(text)
            for row in rows:
                if not row:
                    continue
                if rows.line_num == 1 and (columns := [cell.strip().lower() for cell in row])[0] == COLUMNS[0].lower():
                    places = {name: columns.index(name.lower()) for name in places}
                    continue
                wanted = [places[column.lower()] for column in (*COLUMNS[:5], COLUMNS[6])]
                if len(row) <= max(wanted):
                    short = f"line {rows.line_num} has {counted(len(row), 'cell')}, and {max(wanted) + 1} are needed"
                    raise DatasetError(f"{doing} is not a whole list of {', '.join(COLUMNS)}: {short}")
                name, x, y, width, height, code = (row[place].strip() for place in wanted)
                yield rows.line_num, (name, _box(x, y, width, height), code)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DatasetError(f"{doing} is not a list of {', '.join(COLUMNS)} ({error})") from error
    except UnreadableError as error:
        raise DatasetError(f"{doing}: it {error.why}") from error


def _box(*cells: str) -> tuple[int, int, int, int] | None:
    """Return the box left, top, right, bottom of face_x, face_y, face_width, face_height; None if they are none.

    >>> _box("10", "20", "100", "50"), _box("NULL", "NULL", "NULL", "NULL")
    ((10, 20, 109, 69), None)
    """
    x, y, width, height = map(whole, cells)
    return (x, y, x + width - 1, y + height - 1) if None not in (x, y) and width and height else None


# --- numbered files (2021) --------------------------------------------------------------------------------------------


def _numbered(root: Path, files: list[str]) -> tuple[list[Sequence], list[Skip]]:
    """Return the pictures of train_set and val_set with the labels next to them, and Skips for those without a label."""
    there, found, copies, skipped = set(files), {}, {}, []
    for path in filter(is_picture, files):
        if match := _NUMBERED.fullmatch(path):
            copies.setdefault((match[1].lower(), match[2]), []).append(path)
        else:
            skipped.append(stray(path, _MEMBER))
    labels = {path: re.sub(r"images/[^/]+$", f"annotations/{number}_exp.npy", path, flags=re.IGNORECASE)
              for (_, number), paths in copies.items() for path in paths}
    for paths in copies.values():
        paths.sort(key=lambda path: (labels[path] not in there, unread_kind(path) is not None, path.count("/")))
    pictures, others = one_of_each(root, copies)
    skipped += [Skip(path, "duplicate", sequence="-".join(key), detail=detail) for key, path, detail in others]
    for (folder, number), path in pictures.items():
        part, key, label = PARTS[folder], f"{folder}-{number}", labels[path]
        code = read_label(root / label) if label in there else ""
        if label not in there:
            skipped.append(Skip(path, "no-match", sequence=key, detail=f"its label {number}_exp.npy is not there"))
        elif code not in _CODES:
            skipped.append(Skip(path, "bad-label", sequence=key, detail=f"codes are 0 to 10, not {code!r} in {label}"))
        elif _CODES[code] is None:
            skipped.append(Skip(path, "unlabelled", sequence=key, detail=_NO_EXPRESSION))
        else:
            found[key] = picture("affectnet", path, part, _CODES[code], key)
    return [found[key] for key in sorted(found, key=natural_key)], skipped


def read_label(path: Path) -> str:
    """Return the code in a file such as 0_exp.npy, a number or a text that holds one; or what is wrong with it. Nothing is unpickled."""
    try:
        data = read_file(path)
        if len(data) > _LABEL_BYTES:
            return f"a file of {len(data)} bytes"
        value = np.load(io.BytesIO(data), allow_pickle=False)
        code = whole(str(value.item())) if value.size == 1 else None
    except UnreadableError as error:
        return f"a file that {error.why}"
    except (ValueError, EOFError, MemoryError, SyntaxError, TypeError):   # numpy's own sentences are of pickles and headers
        return "a file that holds no number"
    return "a file that holds no number" if code is None else str(code)
