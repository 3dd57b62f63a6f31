"""RAF-DB (basic expressions): 15,339 faces from the web in train and test; people unknown.

In:  the folder that holds one of these, at whatever depth. With the list it is read, else the folders.
Out: Sequence records, a picture each, with the part of the split, in natural order.

    root/
      basic/EmoLabel/list_patition_label.txt             (sic) a line is `train_00001.jpg 5`; a third column is not needed
      basic/Image/aligned/train_00001_aligned.jpg        100x100 px; the numbers of train have five digits,
                          test_0001_aligned.jpg          those of test four
      basic/Image/original/train_00001.jpg               as found: a face has to be looked for
      DATASET/{train,test}/{1..7}/train_00001_aligned.jpg   the copy on Kaggle, with train_labels.csv and test_labels.csv
      {train,test}/{surprise,...}/x.jpg                  class folders; some copies call the test part `valid`

Labels:   1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral. Much code writes code - 1: a 0 is refused.
Split:    train and test, by the beginning of a name or by the folder; no validation part.
Counts:   12,271 and 3,068 (data_manifests/rafdb.json, which also names copies that others changed).
Cite:     Li, Deng and Du 2017.      Licence: research, on request; may not be passed on.
"""

import re
from pathlib import Path

from fer_data.datasets.published import split_notes
from fer_data.datasets.recognise import where_it_lies, wrong_tree
from fer_data.datasets.tree import PICTURE, stray, walk
from fer_data.datasets.without_people import in_class_folders, picture, read_words
from fer_data.errors import DatasetError, TableError
from fer_data.labels import RAF_DB_CODES, WORDS
from fer_data.pictures.file_kinds import is_picture
from fer_data.records import Scan, Sequence, Skip
from fer_data.tables import read_table
from fer_data.text import unknown

__all__ = ["TREES", "scan"]

TREES = ("aligned", "original")

_LIST = re.compile(r"(?:.*/)?list_par?tition_label\.txt", re.IGNORECASE)
_NAME = re.compile(rf"(?:.*/)?(train|test)_(\d{{1,5}})(_aligned)?\.{PICTURE}", re.IGNORECASE | re.ASCII)
_TABLE = re.compile(r"(?:.*/)?(train|test)_labels\.csv", re.IGNORECASE)
_DIGITS = {"train": 5, "test": 4}
_CODES = {str(code): name for code, name in RAF_DB_CODES.items()}
_MEMBER = "a RAF-DB picture is named train_00001_aligned.jpg, or is in a folder such as train/5 or train/sadness"


def scan(root: Path, tree: str = "aligned") -> Scan:
    """Return the pictures below `root`.

    tree    of TREES: the faces that the authors aligned, or the pictures as they were found; only where there is a list
    Raises DatasetError if this is no RAF-DB tree, if it lacks the wanted pictures, or if its labels count from 0.
    """
    if tree not in TREES:
        raise DatasetError(f"reading RAF-DB: {unknown('tree', tree, TREES)}")
    files, left = walk(root)
    lists = [path for path in files if _LIST.fullmatch(path)]
    if lists:
        sequences, skipped = _by_list(Path(root), files, min(lists, key=lambda path: path.count("/")), tree)
    else:
        _refuse_from_0(root, [path.lower().rsplit("/", 2)[-2] for path in files if is_picture(path) and "/" in path])
        sequences, skipped = in_class_folders("rafdb", root, files, _MEMBER, words=WORDS | _CODES)
        sequences, contradicted = _as_tables_say(Path(root), files, sequences)
        skipped += contradicted
    if not sequences and any(map(_NAME.fullmatch, files)):
        lies = where_it_lies(root, files, "rafdb")
        missing = "its pictures are there, and list_patition_label.txt, which labels them, is not"
        raise DatasetError(f"reading RAF-DB below {root}: {missing}{lies}")
    if not sequences:
        raise wrong_tree("RAF-DB", "rafdb", root, files, _MEMBER)
    parts = {one.split for one in sequences}
    form = "train and valid, as some copies call the test part" if parts == {"train", "validation"} else "train and test"
    return Scan("rafdb", tuple(sequences), (*skipped, *left), split_notes("rafdb", form, sequences))


def _refuse_from_0(root: Path, codes: list[str]) -> None:
    """Raise DatasetError if labels count from 0: each of the others would name another expression."""
    if "0" in codes:
        raise DatasetError(
            f"reading RAF-DB below {root}: its labels count from 0, those of the database from 1 (surprise) to 7 (neutral); add 1 to each,"
            " or get the original list"
        )


def _as_tables_say(root: Path, files: list[str], sequences: list[Sequence]) -> tuple[list[Sequence], list[Skip]]:
    """Return the pictures of folders without those that train_labels.csv or test_labels.csv label otherwise, and Skips for these."""
    said: dict[tuple[str, str], str] = {}
    for source in files:
        if match := _TABLE.fullmatch(source):
            try:
                table = read_table(root / source, ("image", "expression"))
                table.require("image", "expression")
            except TableError as error:
                raise DatasetError(f"reading RAF-DB: {source}: {error}") from error
            for cells in map(table.cells, table.rows):
                said[match[1].lower(), cells.get("image", "")] = _CODES.get(cells.get("expression", ""), "")
    kept, skipped = [], []
    for one in sequences:
        path = one.frames[0].source
        label = said.get((one.split, path.rsplit("/", 1)[-1]), one.expression)
        if label == one.expression:
            kept.append(one)
        else:
            why = f"its folder says {one.expression}, {one.split}_labels.csv says {label or 'no code from 1 to 7'}"
            skipped.append(Skip(path, "bad-label", sequence=one.sequence, detail=why))
    return kept, skipped


def _by_list(root: Path, files: list[str], source: str, tree: str) -> tuple[list[Sequence], list[Skip]]:
    """Return the pictures that the list labels, and Skips for pictures without a line and lines without a picture."""
    labels, skipped = _read_list(root, source)
    wanted: dict[tuple[str, int], str] = {}
    for path in files:
        match = _NAME.fullmatch(path)
        if match is None:
            skipped += [stray(path, _MEMBER)] if is_picture(path) else []
        elif bool(match[3]) != (tree == "aligned"):
            other = TREES[1 - TREES.index(tree)]
            skipped.append(Skip(path, "other-part", detail=f"of the tree {other}"))
        elif (key := (match[1].lower(), int(match[2]))) in wanted:
            skipped.append(Skip(path, "duplicate", detail=f"taken from {wanted[key]}"))
        else:
            wanted[key] = path
    if not wanted:
        there = "it has original ones: --tree original reads them" if any(skip.reason == "other-part" for skip in skipped) else (
            "give the folder that holds both EmoLabel and Image"
        )
        raise DatasetError(f"reading RAF-DB below {root}: {source} labels {tree} pictures, and there are none; {there}")
    sequences = []
    for key in sorted(wanted.keys() | labels.keys()):
        name = f"{key[0]}_{key[1]:0{_DIGITS[key[0]]}d}"
        if key not in wanted:
            skipped.append(Skip(name, "no-match", frames=0, detail=f"{source} labels it, and it is not there"))
        elif key not in labels:
            skipped.append(Skip(wanted[key], "no-match", detail=f"{source} does not label it"))
        elif labels[key] not in _CODES:
            skipped.append(Skip(wanted[key], "bad-label", sequence=name, detail=f"codes are 1 to 7, not {labels[key]!r} in {source}"))
        else:
            sequences.append(picture("rafdb", wanted[key], key[0], _CODES[labels[key]], name))
    return sequences, skipped


def _read_list(root: Path, source: str) -> tuple[dict[tuple[str, int], str], list[Skip]]:
    """Return (part, number) -> code as it is written, and Skips for lines that are none.

    A line is `name code`, `name code anything` or `name part code`.
    """
    labels: dict[tuple[str, int], str] = {}
    skipped = []
    for line, words in read_words(root, source):
        match = _NAME.fullmatch(words[0])
        codes = [word for word in words[1:3] if word.lower() != (match and match[1].lower())]
        if match is None or not codes:
            detail = f"line {line}: a line is `train_00001.jpg 5`, not {' '.join(words)[:60]!r}"
            skipped.append(Skip(source, "bad-label", frames=0, detail=detail))
            continue
        key = match[1].lower(), int(match[2])
        if labels.setdefault(key, codes[0]) != codes[0]:
            raise DatasetError(f"reading RAF-DB: line {line} of {source} labels {words[0]} again, as {codes[0]} and not {labels[key]}")
    _refuse_from_0(root, list(labels.values()))
    return labels, skipped
