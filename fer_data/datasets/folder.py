"""Any folder of face pictures, described by a CSV index or by a pattern of file names.

In:  a root and either --index FILE.csv or --pattern "{subject}/{subject}_{sequence}_{expression}.jpg".
Out: Sequence records in natural order. What does not fit is listed as skipped, never guessed.

Index columns:  path (relative to the root), subject, expression; optional sequence (default: the file's stem) and
                frame (default: the position in its sequence). Other columns are ignored.
Pattern fields: {subject}, {expression}, optional {sequence} and {frame}; `*` stands for anything within one folder or
                file name. A field ends before the character that follows it in the pattern, so that there is only one
                reading; {subject:4} takes exactly four characters. A field named twice must have the same text.
An expression is one of the words in fer_data.labels.WORDS; an empty one in the index means: not labelled.
"""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from fer_data.datasets.recognise import what_it_is
from fer_data.datasets.tree import walk
from fer_data.errors import DatasetError, UnreadableError
from fer_data.files import opened
from fer_data.labels import expression_from_word
from fer_data.pictures.file_kinds import is_clip, is_picture, shows_picture
from fer_data.records import Frame, Scan, Sequence, Skip
from fer_data.text import natural_key

__all__ = ["FIELDS", "scan", "pattern_to_regex"]

FIELDS = ("subject", "sequence", "frame", "expression")
_CLIP = "a clip: `prepare folder` reads pictures; save its frames as pictures, in a folder of their own"
_TOKEN = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}|\*")


def scan(root: Path, index: Path | None = None, pattern: str | None = None) -> Scan:
    """Return the sequences below `root` as the index or the pattern describes them.

    Raises DatasetError unless exactly one of the two is given, if it is malformed, or if nothing below `root` fits.
    """
    if (index is None) == (pattern is None):
        raise DatasetError("reading a folder: give either --index FILE.csv or --pattern TEXT")
    files, left = walk(root)
    pictures = [path for path in files if is_picture(path) or is_clip(path)]
    others = [path for path in files if not (is_picture(path) or is_clip(path))]
    entries, skipped = _from_index(index, pictures, others) if index else _from_pattern(pattern, pictures, root, others)
    skipped = [replace(skip, reason="other-part", detail=_CLIP) if is_clip(skip.source) and skip.frames else skip for skip in skipped]
    skipped += [Skip(entry["path"], "unreadable", entry["subject"], detail=_CLIP) for entry in entries if is_clip(entry["path"])]
    sequences, unusable = _group([entry for entry in entries if not is_clip(entry["path"])])
    if not sequences:
        hint = f"; the first picture found is {pictures[0]}" if pictures else f"; there is no picture{what_it_is(root, files, 'folder')}"
        raise DatasetError(f"reading a folder: nothing below {root} fits {index or pattern!r}{hint}")
    skipped += unusable + left
    return Scan("folder", tuple(sequences), tuple(skipped))


def pattern_to_regex(pattern: str) -> re.Pattern:
    """Return the regular expression of a pattern (module docstring); its named groups are the fields.

    Raises DatasetError for unknown fields, a missing {subject} or {expression}, or two fields with nothing between them.
    """
    doing = f"reading the pattern {pattern!r}"
    regex, seen, position = "", set(), 0
    for match in _TOKEN.finditer(pattern):
        regex += re.escape(pattern[position : match.start()])
        position = match.end()
        follower = pattern[position : position + 1]
        if match[0] != "*" and match[1] not in FIELDS:
            raise DatasetError(f"{doing}: allowed fields are {', '.join(FIELDS)}; got {match[1]!r}")
        if follower in ("{", "*") and not match[2]:
            raise DatasetError(f"{doing}: {match[0]} must be followed by a character that ends it, or have a width such as {{subject:4}}")
        if match[2] is not None and not re.fullmatch("[1-9][0-9]?", match[2]):
            raise DatasetError(f"{doing}: a width is a number from 1 to 99, got {match[2]!r}")
        if match[0] == "*":
            regex += "[^/]*?"
        elif match[1] in seen:
            regex += f"(?P={match[1]})"
        else:
            seen.add(match[1])
            ends = "/" + (follower if follower else "")
            regex += f"(?P<{match[1]}>[^{re.escape(ends)}]{f'{{{match[2]}}}' if match[2] else '+'})"
    missing = [name for name in ("subject", "expression") if name not in seen]
    if missing:
        raise DatasetError(f"{doing}: it must name {{subject}} and {{expression}}; {', '.join(missing)} is missing")
    return re.compile(regex + re.escape(pattern[position:]))


def _from_pattern(pattern: str, pictures: list[str], root: Path, others: list[str]) -> tuple[list[dict], list[Skip]]:
    """Return an entry for each picture that fits, and a Skip for each that does not.

    Of `others`, whose names do not say that they are pictures, those that fit are looked into.
    """
    regex = pattern_to_regex(pattern)
    entries, skipped = [], []
    for path in [*pictures, *(path for path in others if regex.fullmatch(path) and _shows_picture(root / path))]:
        match = regex.fullmatch(path)
        if match is None:
            skipped.append(Skip(path, "no-match", detail=f"it does not fit {pattern}"))
        else:
            entries.append({"path": path, **match.groupdict()})
    return entries, skipped


def _shows_picture(path: Path) -> bool:
    try:
        with opened(path) as file:
            return shows_picture(file.read(512))
    except UnreadableError:
        return False


def _from_index(index: Path, pictures: list[str], others: list[str]) -> tuple[list[dict], list[Skip]]:
    """Return an entry for each row whose picture exists, a Skip for each other row and each picture without a row.

    A row may name one of `others` too, whose names do not say that they are pictures.
    """
    try:
        table = pd.read_csv(index, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DatasetError(f"reading the index {index}: it is not a CSV file ({str(error).splitlines()[0]})") from error
    table.columns = [str(name).strip() for name in table.columns]
    missing = [name for name in ("path", "subject", "expression") if name not in table.columns]
    if missing:
        raise DatasetError(f"reading the index {index}: it must have the columns path, subject, expression; missing: {', '.join(missing)}")
    entries, skipped, known, used = [], [], {*pictures, *others}, {}
    for number, row in enumerate(table.to_dict("records"), start=2):
        path = Path(row["path"].strip().replace("\\", "/")).as_posix()
        where = f"line {number} of {index.name}"
        if path not in known:
            skipped.append(Skip(path, "no-match", row["subject"], frames=0, detail=f"{where} names a picture that is not there"))
        elif path in used:
            skipped.append(Skip(path, "duplicate", row["subject"], frames=0, detail=f"{where} repeats line {used[path]}"))
        else:
            used[path] = number
            entries.append({name: row[name].strip() for name in (*FIELDS, "path") if name in row} | {"path": path})
    skipped += [Skip(path, "no-match", detail=f"{index.name} does not name it") for path in pictures if path not in used]
    return entries, skipped


def _group(entries: list[dict]) -> tuple[list[Sequence], list[Skip]]:
    """Return the entries as sequences in natural order; entries that cannot be read become Skips."""
    groups: dict[tuple[str, str], list[tuple[dict, str | None]]] = {}
    skipped = []
    for entry in entries:
        path, subject = entry["path"], entry["subject"]
        sequence = entry.get("sequence") or Path(path).stem
        try:
            if not subject:
                raise DatasetError(f"reading a subject: it must not be empty, for {path}")
            if "/" in subject:
                raise DatasetError(f"reading a subject: it must not contain '/', got {subject!r} for {path}")
            expression = expression_from_word(entry["expression"], path) if entry["expression"] else None
            if entry.get("frame") and not re.fullmatch("[0-9]{1,9}", entry["frame"]):
                raise DatasetError(f"reading a frame number: allowed are digits, got {entry['frame']!r} for {path}")
        except DatasetError as error:
            skipped.append(Skip(path, "bad-label", subject, sequence, detail=str(error)))
            continue
        groups.setdefault((subject, sequence), []).append((entry, expression))
    sequences = []
    for key in sorted(groups, key=lambda key: tuple(map(natural_key, key))):
        sequence, unusable = _sequence(key, groups[key])
        sequences += sequence
        skipped += unusable
    return sequences, skipped


def _sequence(key: tuple[str, str], members: list[tuple[dict, str | None]]) -> tuple[list[Sequence], list[Skip]]:
    """Return the sequence of these members, one for each expression in it, numbering frames that have no number."""
    frames: dict[str | None, dict[int, str]] = {}
    skipped = []
    taken: dict[int, str] = {}
    for position, (entry, expression) in enumerate(sorted(members, key=lambda member: natural_key(member[0]["path"]))):
        number = int(entry["frame"]) if entry.get("frame") else position
        earlier = taken.setdefault(number, entry["path"])
        if earlier != entry["path"]:
            detail = f"frame {number} of {'/'.join(key)} is {earlier} already"
            skipped.append(Skip(entry["path"], "duplicate", *key, number, detail=detail))
        else:
            frames.setdefault(expression, {})[number] = entry["path"]
    sequences = []
    for expression, numbered in frames.items():
        ordered = tuple(Frame(path, number) for number, path in sorted(numbered.items()))
        sequences.append(Sequence("folder", *key, expression, ordered))
    return sequences, skipped
