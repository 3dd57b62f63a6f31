"""Turn the rows of a split into a Split: who is in each picture, which rows are the same picture, what is tested where.

In:  list and table files, or folders of pictures (forms.py); a subject pattern if names follow no rule that is known.
Out: ReadSplit: the Split, and where each item's picture lies, as far as the split says.

How ids were read is part of the answer (Split.notes), and so is what looked wrong (Split.warnings), some of which are doubts about
who is who (Split.doubts). Where a subject cannot be known, there is no answer: SplitError.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer_data.audit.forms import Row, Tree, rows_of_file, rows_of_tree
from fer_data.audit.places import UNTESTED, fold_of, is_listed_picture, side_of
from fer_data.audit.sides import folds_of_rows
from fer_data.audit.split import Item, Split
from fer_data.audit.subject_names import Identity, expression_of_folder
from fer_data.audit.who import names_of, numbered, people_of, spelled_alike
from fer_data.errors import SplitError
from fer_data.labels import WORDS
from fer_data.pictures.file_kinds import is_clip

__all__ = ["ReadSplit", "read_split"]

_APART = "name folds apart, as in train_3.txt, or give the files of one split alone"


@dataclass(frozen=True)
class ReadSplit:
    """A split, and where its pictures lie."""

    split: Split
    locations: Mapping[str, str]      # item -> path of its picture as the split tells it, or absolute for a folder
    digests: Mapping[str, str]        # item -> sha256 that the split itself gives


def read_split(
    files: Sequence[Path],
    trees: Sequence[Tree] = (),
    subject_pattern: str | None = None,
    digest: Callable[[Path], str] | None = None,
    distinct: bool = False,
    subject_columns: Sequence[str] = (),
) -> ReadSplit:
    """Return the split that these files, or else these folders, hold together.

    `distinct` says that the ids are right as they are written: none is doubted. `digest` hashes a file's bytes; it decides whether
    equal names on two sides of a folder are one picture. `subject_columns` are the columns of the files that tell the subject
    together. Raises SplitError if the split cannot be read, if a side is missing, or if the
    subject of any entry cannot be known.
    """
    if bool(files) == bool(trees):
        raise SplitError(f"reading a split: give either its files or its folders of pictures, not {_both(files, trees)}")
    notes = [f"files: {files[0].name} to {files[-1].name}, {len(files)} in all"] if len(files) > 2 else []
    if subject_columns and (subject_pattern is not None or trees):
        other = "a pattern" if subject_pattern is not None else "a folder of pictures, which has no columns"
        raise SplitError(f"reading a split: the subject is told by columns or by file names, not by both; given are columns and {other}")
    rows = _rows(files, trees, notes, subject_columns)
    named = names_of(rows)
    identities, warnings, doubts = people_of(rows, named, subject_pattern, notes)
    keys, unit = _keys(rows, identities, digest, notes)
    items, relabelled = _items(rows, identities, keys)
    doubts = [] if distinct else [*doubts, *spelled_alike(identities, named), *numbered(items, rows, named)]
    folds = folds_of_rows(rows, keys, notes)
    untold = sum(item.expression is None for item in items.values())
    if untold:
        notes.append(f"expressions: not told for {untold} of {len(items)}, so a fold without some expression cannot be seen")
    if distinct:
        notes.append("subjects: ids that are written differently are different people, as you said")
    warnings = (*relabelled, *warnings, *doubts)
    split = Split(items, tuple(folds), unit, tuple(notes), warnings, tuple(doubts))
    locations = {key: row.cells.get("location") or row.cells.get("source") or row.path for row, key in zip(rows, keys, strict=True)}
    digests = {key: row.cells["digest"] for row, key in zip(rows, keys, strict=True) if "digest" in row.cells}
    return ReadSplit(split, {key: path for key, path in locations.items() if path}, digests)


def _both(files: Sequence[Path], trees: Sequence[Tree]) -> str:
    """Return what was given where there are files and folders of pictures, with the ways out; or nothing."""
    if not files:
        return "nothing"
    folder = str(trees[0].root)
    names, folders = (", ".join(map(str, given[:3])) + ("" if len(given) < 4 else f" and {len(given) - 3} more")
                      for given in (files, [tree.root for tree in trees]))
    return f"both, {names} and {folders}; if {folder} holds the pictures that are listed, give it with --images {folder}"


def _rows(files: Sequence[Path], trees: Sequence[Tree], notes: list[str], who: Sequence[str]) -> list[Row]:
    """Return all rows; each file that tells its side by its name must be the only one of that side and fold."""
    rows: list[Row] = []
    seen: dict[tuple[str | None, str | None], Path] = {}
    for path in files:
        new = rows_of_file(path, notes, who)
        for place in {(row.fold, row.side) for row in new if row.side != UNTESTED}:
            if place in seen and place != (None, None):
                what = f"{place[1] or 'test'} side of {'the split' if place[0] is None else f'fold {place[0]}'}"
                raise SplitError(f"reading a split: {seen[place]} and {path} both give the {what}; {_APART}")
            seen[place] = path
        rows += new
    for tree in trees:
        new, outside = rows_of_tree(tree)
        rows += new
        if outside:
            notes.append(f"{outside} pictures of {tree.root} lie outside of its train, test and fold folders and were left out")
    return rows


# --- which entries are one picture ------------------------------------------------------------------------------------


def _keys(rows: list[Row], identities: list[Identity], digest, notes: list[str]) -> tuple[list[str], str]:
    """Return the name of each row's item, and what an item is: image, clip, sequence, subject or row."""
    if all(row.path for row in rows):
        if any("below" in row.cells for row in rows):
            keys = _keys_of_tree(rows, identities, digest)
        else:
            keys = [_without_places(row.path) if identity.frame else row.path for row, identity in zip(rows, identities, strict=True)]
        if all(is_clip(row.path) and not identity.frame for row, identity in zip(rows, identities, strict=True)):
            return keys, "clip"
        pictures = any(is_listed_picture(row.path) or identity.frame for row, identity in zip(rows, identities, strict=True))
        return keys, "image" if pictures or any(identity.sequence is None for identity in identities) else "sequence"
    for unit, fields in (("image", ("subject", "sequence", "frame")), ("sequence", ("subject", "sequence")), ("subject", ("subject",))):
        if all(getattr(identity, field) is not None for identity in identities for field in fields):
            keys = ["/".join(getattr(identity, field) for field in fields) for identity in identities]
            places = Counter((key, row.fold, row.side) for key, row in zip(keys, rows, strict=True))
            if max(places.values()) == 1:
                return keys, unit
            break
    notes.append("the entries have no paths: each row is taken for an image of its own, so one that is listed twice cannot be seen")
    return [row.where for row in rows], "row"


def _without_places(path: str) -> str:
    """Return a path without the folders that name a side or a fold: fold_3/train/a.png and fold_4/test/a.png are one picture."""
    folders, name = path.split("/")[:-1], path.rsplit("/", 1)[-1]
    kept = [folder for folder in folders if side_of(folder) is None and not (folder.lower().startswith("fold") and fold_of(folder))]
    return "/".join([*kept, name])


def _keys_of_tree(rows: list[Row], identities: list[Identity], digest) -> list[str]:
    """Return what follows the folders of side and fold; where files of one such name differ, their hash stands behind it."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.cells["below"]].append(index)
    keys = [row.cells["below"] for row in rows]
    for below, members in groups.items():
        if len(members) > 1 and digest is not None and any(identities[index].frame is None for index in members):
            hashes = {index: digest(Path(rows[index].cells["location"])) for index in members}
            if len(set(hashes.values())) > 1:
                for index in members:
                    keys[index] = f"{below}#{hashes[index][:8]}"
    return keys


# --- items ------------------------------------------------------------------------------------------------------------


def _items(rows: list[Row], identities: list[Identity], keys: list[str]) -> tuple[dict[str, Item], list[str]]:
    """Return the items by name, and sentences about what contradicts itself."""
    items: dict[str, Item] = {}
    relabelled = 0
    for row, identity, key in zip(rows, identities, keys, strict=True):
        item = Item(key, identity.subject, identity.sequence, _expression(row, identity), identity.frame)
        before = items.setdefault(key, item)
        if before.subject != item.subject:
            both = f"{before.subject} and {item.subject}"
            raise SplitError(f"reading a split: a picture has one subject, {key!r} is said to show {both} ({row.where})")
        if before.expression is None and item.expression is not None:
            items[key] = replace(before, expression=item.expression)
        relabelled += before.expression is not None and item.expression not in (None, before.expression)
    warnings = [f"{relabelled} entries give another expression than an earlier entry of the same picture"] if relabelled else []
    return items, warnings


def _expression(row: Row, identity: Identity) -> str | None:
    word = row.cells.get("expression")
    if word is not None:
        return WORDS.get(word.lower(), word)
    return identity.expression or (expression_of_folder(row.path) if row.path else None)
