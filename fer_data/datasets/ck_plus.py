"""Extended Cohn-Kanade (CK+): image sequences from neutral to peak, one emotion code for each labelled sequence.

In:  the folder that holds the unpacked archives, under whatever names (see below).
Out: Sequence records in natural order; the expression is a name from fer_data.labels.

    root/
      cohn-kanade-images/S005/001/S005_001_00000001.png             first frame: neutral
                                  S005_001_00000011.png             last frame: peak
      Emotion/S005/001/S005_001_00000011_emotion.txt                one float, the emotion code
      Landmarks/S005/001/S005_001_00000001_landmarks.txt            68 lines "x y", for --landmarks dataset
      FACS/S005/001/S005_001_00000011_facs.txt                      not read

File names alone decide, so that `extended-cohn-kanade-images(4)/cohn-kanade-images` and `Emotion_labels/Emotion` serve
as well as the names above. A picture found at two places is read from the one that lies in S005/001/, the other is a
duplicate. The same names in folders of expressions are the 48x48 copy (ck48.py): another part.

Counts:   593 sequences, 123 subjects; 327 labelled, 118 subjects (data_manifests/ck_plus.json).
Labels:   1 anger, 2 contempt, 3 disgust, 4 fear, 5 happiness, 6 sadness, 7 surprise; 0, neutral, occurs in no file.
Folds:    none official; protocol/folds.py over the labelled subjects.
Cite:     Lucey et al. 2010.      Licence: research agreement; images may not be passed on.
"""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from fer_data.datasets.copies import one_of_each
from fer_data.datasets.published import ck_plus_subjects, counts_note, load_facts, subject_notes
from fer_data.datasets.recognise import what_it_is, where_it_lies, with_backslashes, wrong_tree
from fer_data.datasets.tree import PICTURE, stray, walk
from fer_data.errors import DatasetError, TableError, UnreadableError
from fer_data.files import read_file
from fer_data.labels import CK_PLUS_CODES, WORDS
from fer_data.pictures.file_kinds import is_picture
from fer_data.records import Frame, Scan, Sequence, Skip
from fer_data.tables import text_of
from fer_data.text import counted, listed, natural_key

__all__ = ["scan", "read_emotion"]

_FRAME = re.compile(rf"(?:.*/)?(S\d{{3}})_(\d{{3}})_(\d{{8}})\.{PICTURE}", re.IGNORECASE | re.ASCII)
_EMOTION = re.compile(r"(?:.*/)?(S\d{3})_(\d{3})_(\d{8})_emotion\.txt", re.IGNORECASE | re.ASCII)
_LIKE_EMOTION = re.compile(r"(?:.*/)?(S\d{3})_(\d{3})_\d{8}_emotion[^/]*", re.IGNORECASE | re.ASCII)
_POINTS = re.compile(r"(?:.*/)?(S\d{3})_(\d{3})_(\d{8})_landmarks\.txt", re.IGNORECASE | re.ASCII)
_MEMBER = "a CK+ picture is named S005_001_00000011.png"


def scan(root: Path) -> Scan:
    """Return the sequences below `root`, labelled and unlabelled, and what was found beside them.

    Raises DatasetError if this is no CK+ tree; the sentence says what it looks like instead.
    """
    files, left = walk(root)
    frames, skipped = _frames(root, files)
    labels, bad = _labels(root, files)
    _refuse_other_trees(root, files, frames, labels, bad)
    sequences, unused = _sequences(frames, labels, bad, _points(files))
    misnamed = _misnamed(files, frames.keys() - labels.keys() - bad.keys())
    return Scan("ck+", tuple(sequences), tuple(skipped + unused + left), (*_notes(sequences, frames, labels), *misnamed))


def read_emotion(text: str, where: str) -> int:
    """Return the emotion code in the text of an *_emotion.txt file.

    Accepts `   3.0000000e+00`, `3`, CRLF, a byte order mark, blanks inside the number. Raises DatasetError for all else.

    >>> read_emotion("   3.0000000e+00", "a.txt")
    3
    """
    compact = "".join(text.replace("\ufeff", "").split())
    try:
        value = float(compact)
        code = int(value)
    except (ValueError, OverflowError):
        code, value = -1, 0.0
    if code != value or code not in CK_PLUS_CODES:
        allowed = f"{min(CK_PLUS_CODES)}..{max(CK_PLUS_CODES)}"
        raise DatasetError(f"reading a CK+ label: {text[:40]!r} in {where} is no code; it must be one of {allowed}")
    return code


def _frames(root: Path, files: list[str]) -> tuple[dict[tuple[str, str], dict[int, str]], list[Skip]]:
    """Return (subject, sequence) -> frame number -> path, and the pictures that are duplicates or fit no name."""
    places: dict[tuple[str, str, int], list[str]] = {}
    skipped = []
    matches = {path: match for path in files if (match := _FRAME.fullmatch(path))}
    for path in sorted(matches, key=lambda path: _place(path, matches[path])):
        subject, sequence, number = matches[path][1].upper(), matches[path][2], int(matches[path][3])
        if Path(path).parent.name.lower() in WORDS:
            skipped.append(Skip(path, "other-part", subject, sequence, number, detail="of the cropped CK+48 copy"))
            continue
        places.setdefault((subject, sequence, number), []).append(path)
    taken, others = one_of_each(root, places)
    skipped += [Skip(path, "duplicate", *key, detail=detail) for key, path, detail in others]
    found: dict[tuple[str, str], dict[int, str]] = {}
    for (*key, number), path in taken.items():
        found.setdefault(tuple(key), {})[number] = path
    skipped += [stray(path, _MEMBER) for path in files if is_picture(path) and path not in matches]
    return found, skipped


def _place(path: str, match: re.Match) -> tuple:
    """Return a sort key: first what lies where the read-me says, then what lies less deep."""
    return Path(path).parts[-3:-1] != (match[1], match[2]), path.count("/"), natural_key(path)


def _labels(root: Path, files: list[str]) -> tuple[dict[tuple[str, str], tuple[int, int, str]], dict[tuple[str, str], Skip]]:
    """Return (subject, sequence) -> (code, frame number, path), and the sequences whose label cannot be read."""
    labels: dict[tuple[str, str], tuple[int, int, str]] = {}
    bad = {}
    for path in files:
        match = _EMOTION.fullmatch(path)
        if match is None:
            continue
        key = (match[1].upper(), match[2])
        try:
            code = read_emotion(text_of(read_file(root / path))[0], path)
        except UnreadableError as error:
            bad[key] = Skip(path, "unreadable", *key, detail=f"the label {error.why}")
            continue
        except (DatasetError, TableError) as error:
            detail = str(error) if isinstance(error, DatasetError) else f"reading a CK+ label: {path} holds no code: {error}"
            bad[key] = Skip(path, "bad-label", *key, detail=detail)
            continue
        earlier = labels.setdefault(key, (code, int(match[3]), path))
        if earlier[0] != code:
            raise DatasetError(
                f"reading CK+ labels: sequence {'/'.join(key)} must have one label, got {earlier[0]} in {earlier[2]} and {code} in {path}"
            )
    return labels, bad


def _misnamed(files: list[str], unlabelled: Collection[tuple[str, str]]) -> list[str]:
    """Return a sentence about files that a copy or Windows renamed, `_emotion.txt.txt`, whose sequences have no other label."""
    like = [path for path in files if (match := _LIKE_EMOTION.fullmatch(path)) and (match[1].upper(), match[2]) in unlabelled]
    if not like:
        return []
    begin = f"{counted(len(like), 'file')} not named as a label is, and not read: {listed(like, 3)}"
    return [f"{begin}; if they are labels, rename each to end in _emotion.txt: without one its sequence counts as unlabelled"]


def _points(files: list[str]) -> dict[tuple[str, str, int], str]:
    """Return (subject, sequence, frame number) -> path of the file with its points, wherever their folder lies."""
    matches = {path: match for path in files if (match := _POINTS.fullmatch(path))}
    found: dict[tuple[str, str, int], str] = {}
    for path in sorted(matches, key=lambda path: _place(path, matches[path])):
        found.setdefault((matches[path][1].upper(), matches[path][2], int(matches[path][3])), path)
    return found


def _sequences(frames, labels, bad, points) -> tuple[list[Sequence], list[Skip]]:
    """Return the sequences, and a Skip for each with a broken label and each label without pictures."""
    sequences, skipped = [], []
    for key in sorted(frames, key=lambda key: tuple(map(natural_key, key))):
        if key in bad:  # of a label at two places, one may be whole
            skipped.append(replace(bad[key], frames=0 if key in labels else len(frames[key])))
            if key not in labels:
                continue
        code = labels[key][0] if key in labels else 0
        expression = CK_PLUS_CODES[code] if code else None
        numbered = tuple(Frame(path, number, points=points.get((*key, number))) for number, path in sorted(frames[key].items()))
        sequences.append(Sequence("ck+", *key, expression, numbered))
    for key in sorted((labels.keys() | bad.keys()) - frames.keys()):
        path = labels[key][2] if key in labels else bad[key].source
        skipped.append(Skip(path, "no-match", *key, frames=0, detail="a label whose sequence has no pictures"))
    return sequences, skipped


def _refuse_other_trees(root, files, frames, labels, bad) -> None:
    """Raise DatasetError with what the tree looks like, if it is not CK+."""
    if frames and (labels or bad):
        return
    if not frames and not labels:
        raise wrong_tree("CK+", "ck+", root, files, _MEMBER)
    if frames:
        here, absent, archive = f"pictures (sequences: {len(frames)})", "no *_emotion.txt file", "Emotion_labels.zip"
    else:
        here, absent, archive = f"labels ({len(labels)})", "no picture", "extended-cohn-kanade-images.zip"
    zips = [path for path in files if path.lower().endswith(".zip")]
    hint = what_it_is(root, zips, "ck+") if zips else f"; unpack {archive} next to them and give the folder that holds both"
    misnamed = [*_misnamed(files, frames), *filter(None, [with_backslashes(files)])]
    hint = where_it_lies(root, files, "ck+") or "".join(f"; {said}" for said in misnamed) or hint
    raise DatasetError(f"looking for CK+ below {root}: there are {here}, but {absent}{hint}")


def _notes(sequences, frames, labels) -> tuple[str, ...]:
    """Return how the tree compares with the published counts, and what looks odd, for the user to judge."""
    whole, subjects = load_facts("ck+").whole, len({sequence.subject for sequence in sequences})
    notes = [
        counts_note("ck+", sequences, by_expression=True),
        f"labelled or not: {len(sequences)} of {whole['sequences']} sequences, {subjects} of {whole['subjects']} subjects",
        *subject_notes(sequences, ck_plus_subjects()),
    ]
    for key, (_, number, path) in sorted(labels.items()):
        if key in frames and number != max(frames[key]):
            notes.append(f"{path} labels frame {number}, but the last picture of {'/'.join(key)} is {max(frames[key])}")
    for sequence in sequences:
        numbers = [frame.number for frame in sequence.frames]
        if sequence.expression and numbers[-3:] != list(range(numbers[-1] - len(numbers[-3:]) + 1, numbers[-1] + 1)):
            notes.append(f"{sequence.sequence_id} has a gap among its last three frames: {numbers[-3:]}")
    several = Counter((sequence.subject, sequence.expression) for sequence in sequences if sequence.expression)
    notes += [f"{subject} has {count} labelled sequences of {expression}" for (subject, expression), count in several.items() if count > 1]
    return tuple(notes)
