"""The cropped copy of CK+ that most people have: 981 faces of 48x48 pixels in a folder for each expression.

In:  the folder that holds the seven folders, under whatever name, at whatever depth.
Out: Sequence records in natural order; all their pictures are peak frames.

    root/
      CK+48/anger/S010_004_00000017.png      the last three frames of each labelled sequence of CK+, 8-bit grey
            contempt/ disgust/ fear/ happy/ sadness/ surprise/

The folder is the label: the copy has no code files. There is no neutral class, and no neutral frame to be had.
The faces were cut by others, nobody says how. `--landmarks none` (the default) takes them as they are; dlib and fan look
for points with the whole picture as the face's box and align anew.

Counts:   981 pictures, 327 sequences, 118 subjects (data_manifests/ck48.json).
Cite:     Lucey et al. 2010.      Licence: that of CK+; a licence that a mirror states cannot give the faces away.
"""

import re
from collections import Counter
from pathlib import Path

from fer_data.datasets.copies import one_of_each
from fer_data.datasets.published import ck_plus_subjects, counts_note, subject_notes
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import PICTURE, stray, walk
from fer_data.errors import DatasetError
from fer_data.labels import WORDS
from fer_data.pictures.file_kinds import is_picture
from fer_data.records import Frame, Scan, Sequence, Skip
from fer_data.text import counted, natural_key

__all__ = ["scan"]

_PICTURE = re.compile(rf"(?:.*/)?([^/]+)/(S\d{{3}})_(\d{{3}})_(\d{{8}})\.{PICTURE}", re.IGNORECASE | re.ASCII)
_COPY = re.compile(rf"(?:.*/)?([^/]+)/([^/]*?)S\d{{3}}_\d{{3}}_\d{{8}}(?:[^/\d][^/]*)?\.{PICTURE}", re.IGNORECASE | re.ASCII)
_MEMBER = "a CK+48 picture is named anger/S010_004_00000017.png"


def scan(root: Path) -> Scan:
    """Return the sequences below `root`.

    Raises DatasetError if this is no CK+48 tree; the sentence says what it looks like instead.
    """
    files, left = walk(root)
    found: dict[tuple[str, str], dict[int, list[tuple[str, str]]]] = {}
    skipped = []
    for path in files:
        match = _PICTURE.fullmatch(path)
        if match and match[1].lower() in WORDS:
            key, number = (match[2].upper(), match[3]), int(match[4])
            found.setdefault(key, {}).setdefault(number, []).append((WORDS[match[1].lower()], path))
        elif is_picture(path):
            skipped.append(stray(path, _MEMBER))
    copies = [skip.source for skip in skipped if (match := _COPY.fullmatch(skip.source)) and match[1].lower() in WORDS]
    if not found and copies:
        raise DatasetError(f"looking for CK+48 below {root}: {_MEMBER}, none of {len(files)} files is; {_how_to_read(copies)}")
    if not found:
        raise wrong_tree("CK+48", "ck48", root, files, _MEMBER)
    sequences = []
    for key in sorted(found, key=lambda key: tuple(map(natural_key, key))):
        sequence, unusable = _sequence(root, key, found[key])
        sequences += sequence
        skipped += unusable
    notes = (counts_note("ck48", sequences, by_expression=True), *subject_notes(sequences, ck_plus_subjects()))
    return Scan("ck48", tuple(sequences), tuple(skipped + left), (*notes, _how_to_read(copies)) if copies else notes)


def _how_to_read(copies: list[str]) -> str:
    """Return a sentence about pictures that an export (`_png.rf.<hash>`) or an augmentation (`_aug0`, `flip_`) renamed; what reads them."""
    (deep, _), *_ = Counter(path.count("/") for path in copies).most_common(1)
    person = "*S{subject:3}" if any(_COPY.fullmatch(path)[2] for path in copies) else "{subject:4}"
    pattern = "*/" * (deep - 1) + f"{{expression}}/{person}_{{sequence}}_*"
    return (
        f"{counted(len(copies), 'picture')} with a name such as {copies[0]}: they look like exported or augmented copies, and are not read;"
        f" `fer-data prepare folder ROOT OUT --pattern '{pattern}'` reads them with the pictures they were made of; augmented copies of"
        " one picture are not independent, so a score on them says no more than one on that picture: the original CK+48 is better"
    )


def _better_first(place: tuple[str, str]) -> tuple:
    """Return the order in which places of one frame are taken: the upper folder, and in it a PNG before what a JPEG has lost."""
    path = place[1]
    return path.count("/"), path.lower().endswith((".jpg", ".jpeg")), natural_key(path)


def _sequence(root: Path, key: tuple[str, str], frames: dict[int, list[tuple[str, str]]]) -> tuple[list[Sequence], list[Skip]]:
    """Return the sequence of these frames, unless they are in folders of different expressions; and Skips."""
    expressions = sorted({expression for places in frames.values() for expression, _ in places})
    if len(expressions) > 1:
        detail = f"pictures of {'/'.join(key)} are in folders of {' and '.join(expressions)}"
        return [], [Skip(path, "bad-label", *key, number, detail=detail) for number, places in frames.items() for _, path in places]
    places = {number: [path for _, path in sorted(frames[number], key=_better_first)] for number in sorted(frames)}
    taken, others = one_of_each(root, places)
    skipped = [Skip(path, "duplicate", *key, number, detail=detail) for number, path, detail in others]
    return [Sequence("ck48", *key, expressions[0], tuple(Frame(path, number) for number, path in taken.items()))], skipped
