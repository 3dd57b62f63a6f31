"""Turn the rows of a split into a Split: who is in each picture, which rows are the same picture, what is tested where.

In:  list and table files, or folders of pictures (audit_forms); a subject pattern if names follow no rule that is known.
Out: ReadSplit: the Split, and where each item's picture lies, as far as the split says.

How ids were read is part of the answer (Split.notes), and so is what looked wrong (Split.warnings). Where a subject
cannot be known, there is no answer: SplitError.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer_data.audit.forms import Row, Tree, rows_of_file, rows_of_tree
from fer_data.audit.places import UNTESTED, fold_of, is_listed_picture, side_of
from fer_data.audit.sides import folds_of_rows
from fer_data.audit.split import Item, Split
from fer_data.audit.subject_names import NAMES, Identity, expression_of_folder, pattern_rule, recognise
from fer_data.errors import SplitError
from fer_data.labels import WORDS
from fer_data.text import natural_key

__all__ = ["ReadSplit", "read_split"]


@dataclass(frozen=True)
class ReadSplit:
    """A split, and where its pictures lie."""

    split: Split
    locations: Mapping[str, str]      # item -> path of its picture as the split tells it, or absolute for a folder
    digests: Mapping[str, str]        # item -> sha256 that the split itself gives


def read_split(
    files: Sequence[Path], trees: Sequence[Tree] = (), subject_pattern: str | None = None, digest: Callable[[Path], str] | None = None
) -> ReadSplit:
    """Return the split that these files, or else these folders, hold together.

    `digest` hashes a file's bytes; it decides whether equal names on two sides of a folder are one picture. Raises
    SplitError if the split cannot be read, if a side is missing, or if the subject of any entry cannot be known.
    """
    if bool(files) == bool(trees):
        raise SplitError(f"reading a split: allowed are its files or its folders of pictures; got {_both(files, trees)}")
    notes = [f"files: {files[0].name} to {files[-1].name}, {len(files)} in all"] if len(files) > 2 else []
    rows = _rows(files, trees, notes)
    named = _named(rows)
    identities = _identities(rows, named, subject_pattern, notes)
    keys, unit = _keys(rows, identities, digest, notes)
    items, warnings = _items(rows, identities, keys)
    warnings += _doubts(items, rows, identities, named)
    folds = folds_of_rows(rows, keys, notes)
    untold = sum(item.expression is None for item in items.values())
    if untold:
        notes.append(f"expressions: not told for {untold} of {len(items)}, so a fold without some expression cannot be seen")
    split = Split(items, tuple(folds), unit, tuple(notes), tuple(warnings))
    locations = {key: row.cells.get("location") or row.cells.get("source") or row.path for row, key in zip(rows, keys, strict=True)}
    digests = {key: row.cells["digest"] for row, key in zip(rows, keys, strict=True) if "digest" in row.cells}
    return ReadSplit(split, {key: path for key, path in locations.items() if path}, digests)


def _both(files: Sequence[Path], trees: Sequence[Tree]) -> str:
    """Return what was given where there are files and folders of pictures, with the ways out; or nothing."""
    if not files:
        return "nothing"
    folder = str(trees[0].root)
    names, folders = (", ".join(map(str, given[:3])) + ("" if len(given) < 4 else f" and {len(given) - 3} more")
                      for given in (files, [tree.root for tree in trees]))  # fmt: skip
    return f"both, {names} and {folders}; if {folder} holds the pictures that are listed, give it with --images {folder}"


def _rows(files: Sequence[Path], trees: Sequence[Tree], notes: list[str]) -> list[Row]:
    """Return all rows; each file that tells its side by its name must be the only one of that side and fold."""
    rows: list[Row] = []
    seen: dict[tuple[str | None, str | None], Path] = {}
    for path in files:
        new = rows_of_file(path)
        for place in {(row.fold, row.side) for row in new if row.side != UNTESTED}:
            if place in seen and place != (None, None):
                what = f"{place[1] or 'test'} side of {'the split' if place[0] is None else f'fold {place[0]}'}"
                raise SplitError(f"reading a split: {seen[place]} and {path} both give the {what}; name folds apart, as in train_3.txt")
            seen[place] = path
        rows += new
    for tree in trees:
        new, outside = rows_of_tree(tree)
        rows += new
        if outside:
            notes.append(f"{outside} pictures of {tree.root} lie outside of its train, test and fold folders and were left out")
    return rows


# --- who is in it -----------------------------------------------------------------------------------------------------


def _named(rows: list[Row]) -> list[Identity | None]:
    """Return who is in each row by the rules of names; a path that stands in ten folds is looked at once."""
    known = {path: recognise(path) for path in {row.path for row in rows if row.path}}
    return [known[row.path] if row.path else None for row in rows]


def _identities(rows: list[Row], names: list[Identity | None], subject_pattern: str | None, notes: list[str]) -> list[Identity]:
    """Return who is in each row, by the user's pattern, a column, or the rules of names; note how."""
    if subject_pattern is not None:
        rule = pattern_rule(subject_pattern)
        found = [rule(row.path) if row.path else None for row in rows]
        _refuse_unknown(rows, found, f"the pattern {subject_pattern!r} does not fit")
        notes.append(f"subjects: by the pattern {subject_pattern!r}, e.g. {found[0].subject} in {rows[0].path}; all {len(rows)} entries")
        return [_with_name(identity, name) for identity, name in zip(found, names, strict=True)]
    if any("subject" in row.cells for row in rows):
        without = next((row.where for row in rows if "subject" not in row.cells), None)
        if without:
            raise SplitError(f"reading a split: the subject is empty in {without}; each entry needs one")
        example = f"e.g. {rows[0].cells['subject']} for {rows[0].path or rows[0].where}"
        notes.append(f"subjects: from their column, {example}; all {len(rows)} entries")
        several = len({row.cells.get("dataset", "") for row in rows}) > 1
        found = [_of_cells(row, several) for row in rows]
        return [_with_name(identity, name) for identity, name in zip(found, names, strict=True)]
    _refuse_unknown(rows, names, "there is no column `subject`, and no known rule of names fits")
    databases = Counter(name.database for name in names)
    for database, count in databases.items():
        first = next(index for index, name in enumerate(names) if name.database == database)
        remark = next((f" ({rule.note})" for rule in NAMES if rule.database == database and rule.note), "")
        example = f"e.g. {names[first].subject} in {rows[first].path}"
        notes.append(f"subjects: by the names of {database}, {example}; {count} of {len(rows)} entries{remark}")
    if len(databases) > 1:
        return [replace(name, subject=f"{name.database}/{name.subject}") for name in names]
    return names


def _of_cells(row: Row, with_dataset: bool) -> Identity:
    cells = row.cells
    subject = cells["subject"].removesuffix(".0")
    if with_dataset:
        subject = f"{cells.get('dataset', '?')}/{subject}"
    return Identity("column", subject, cells.get("sequence"), cells.get("frame"))


def _with_name(identity: Identity, name: Identity | None) -> Identity:
    """Return `identity` with what only the rules of names tell: sequence and frame, but never the subject."""
    if name is None or identity.sequence is not None:
        return identity
    return replace(identity, sequence=name.sequence, frame=name.frame, expression=identity.expression or name.expression)


def _refuse_unknown(rows: list[Row], found: list[Identity | None], why: str) -> None:
    unknown = [row for row, identity in zip(rows, found, strict=True) if identity is None]
    if not unknown:
        return
    first = unknown[0]
    doing = f"reading a split: the subject of {len(unknown)} of {len(rows)} entries cannot be known"
    if first.path is None:
        raise SplitError(
            f"{doing}, e.g. {first.where}: no column `subject` and no paths (fer2013.csv and ckextended.csv give pixels alone);"
            " such a table cannot be split by person, nor can anyone check that it was"
        )
    databases = ", ".join(dict.fromkeys(rule.database for rule in NAMES))
    raise SplitError(
        f"{doing}, e.g. {first.path!r} ({first.where}): {why}. Allowed are a column `subject`; file names as in {databases};"
        " or --subject-pattern REGEX, whose first group is the subject, e.g. '([^/]+)/[^/]+$' where the folder is named after the person"
    )


# --- which entries are one picture ------------------------------------------------------------------------------------


def _keys(rows: list[Row], identities: list[Identity], digest, notes: list[str]) -> tuple[list[str], str]:
    """Return the name of each row's item, and what an item is: image, sequence, subject or row."""
    if all(row.path for row in rows):
        if any("below" in row.cells for row in rows):
            keys = _keys_of_tree(rows, identities, digest)
        else:
            keys = [_without_places(row.path) if identity.frame else row.path for row, identity in zip(rows, identities, strict=True)]
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


def _doubts(items: Mapping[str, Item], rows: list[Row], identities: list[Identity], named: list[Identity | None]) -> list[str]:
    """Return sentences about subject ids that may not be what they seem."""
    warnings = []
    subjects = sorted({item.subject for item in items.values()}, key=natural_key)
    plain: dict[str, list[str]] = defaultdict(list)
    for subject in subjects:
        digits = subject.lstrip("0") if subject.isdigit() else subject
        plain[digits.casefold().strip()].append(subject)
    alike = [names for names in plain.values() if len(names) > 1]
    if alike:
        warnings.append(f"subjects {' and '.join(alike[0])} are counted as different people ({len(alike)} such cases); are they?")
    if len(subjects) == len(items) > 1 and any(row.path for row in rows):
        warnings.append(f"each of the {len(items)} images has a subject of its own; if that is a number of the image, nothing was checked")
    if len(subjects) == 1:
        warnings.append(f"all images show one subject, {subjects[0]}; was the right part of the names taken?")
    if all(named):
        people: dict[tuple[str, str], set[str]] = defaultdict(set)
        for name, identity in zip(named, identities, strict=True):
            people[name.database, name.subject].add(identity.subject)
        torn = [(who, ids) for who, ids in people.items() if len(ids) > 1]
        if torn:
            (database, who), ids = torn[0]
            some = " and ".join(sorted(ids, key=natural_key)[:2])
            warnings.append(f"by the names of {database} {who} is one person; the split calls them {some} ({len(torn)} such people)")
    return warnings
