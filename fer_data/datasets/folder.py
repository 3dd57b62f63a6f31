"""Any folder of face pictures, described by a table or by a pattern of file names.

In:  a root and either --labels FILE.csv or --pattern "{subject}/{subject}_{sequence}_{expression}.jpg".
Out: Sequence records in natural order. What does not fit is listed as skipped, never guessed.

Table columns:  path (relative to the root), subject, expression; optional sequence (default: the file's stem) and
                frame (default: the position in its sequence). Other columns are ignored. index.py reads it.
                Where a sequence has two frames of one number and different expressions, the expression is added to its id.
Pattern fields: {subject}, {expression}, optional {sequence} and {frame}; `*` stands for anything within one folder or
                file name. A field ends before the character that follows it in the pattern, so that there is only one
                reading; {subject:4} takes exactly four characters. A field named twice must have the same text.
An expression is one of the words in fer_data.labels.WORDS, or of a map of the user's; an empty one in the table means: not labelled.
The name of the data set is that of its folder, unless another one is given: reports and runs of two folders are told apart by it.
Ids of people are read as fer_data.people says. Names of files are compared in one Unicode form, and a backslash in them is a '/'.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fer_data.datasets.index import FIELDS, Indexed, by_spelling, commonest, read_index, read_map
from fer_data.datasets.published import FILES
from fer_data.datasets.recognise import what_it_is
from fer_data.datasets.tree import stray, walk
from fer_data.errors import DatasetError, UnreadableError
from fer_data.files import opened
from fer_data.labels import WORDS, expression_from_word
from fer_data.people import person
from fer_data.pictures.file_kinds import is_clip, is_picture, shows_picture
from fer_data.records import UNUSABLE, Frame, Scan, Sequence, Skip
from fer_data.tables import whole
from fer_data.text import counted, natural_key, same_path, unknown

__all__ = ["FIELDS", "UNNAMED", "check_name", "default_name", "group", "pattern_to_regex", "scan"]

UNNAMED = "folder"                    # the name of every such data set before they had names

_CLIP = "a clip: `prepare folder` reads pictures; save its frames as pictures, in a folder of their own"
_CASE = "; upper and lower case count"
_LONGEST = 60                         # characters of a name, which is part of the name of each run's folder
_TOKEN = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}|\*")
_Member = tuple[int, str, str | None]  # number of the frame, path, expression


def scan(
    root: Path,
    index: Path | None = None,
    pattern: str | None = None,
    name: str | None = None,
    key: str | None = None,
    label: str | None = None,
    subject: str | None = None,
    words: Path | None = None,
) -> Scan:
    """Return the sequences below `root` as the table or the pattern describes them.

    index                 a table; its columns may be named by `key` (of pictures: then names without folder or suffix will do), `label`
                          and `subject`
    pattern               of names (module docstring)
    name                  of the data set, default_name if None
    words                 a map of words to expressions, index.read_map; None: those that are usual
    Raises DatasetError unless exactly one of table and pattern is given, if it is malformed, or if nothing below `root` fits.
    """
    name = default_name(root) if name is None else check_name(name)
    if (index is None) == (pattern is None):
        raise DatasetError("reading a folder: give either --labels FILE.csv or --pattern TEXT")
    columns = {role: column for role, column in (("image", key), ("expression", label), ("subject", subject)) if column is not None}
    if columns and index is None:
        raise DatasetError("reading a folder: --key, --label and --subject name columns of the table --labels FILE.csv, which is missing")
    known, said = read_map(words) if words else (WORDS, ())
    files, left = walk(root)
    media = {path for path in files if is_picture(path) or is_clip(path) or (not Path(path).suffix and _shows_picture(root / path))}
    pictures = by_spelling(path for path in files if path in media)
    others = {same_path(path): path for path in files if path not in media}
    given = read_index(index, pictures, others, columns, root) if index else _from_pattern(pattern, pictures, root, others)
    skipped = [replace(skip, reason="other-part", detail=_CLIP) if is_clip(skip.source) and skip.frames else skip for skip in given.skipped]
    clips = [Skip(entry["path"], "unreadable", entry["subject"], detail=_CLIP) for entry in given.entries if is_clip(entry["path"])]
    sequences, unusable = group([entry for entry in given.entries if not is_clip(entry["path"])], known)
    failed = given.failed + [(_kind(skip), skip.detail) for skip in (*clips, *unusable) if skip.reason in UNUSABLE]
    if not sequences:
        near = next((f"; {skip.source} nearly does{_CASE}" for skip in given.skipped if skip.detail.endswith(_CASE)), "")
        first = near or f"; the first picture found is {next(iter(pictures.values()), '')}"
        hint = first if pictures else what_it_is(root, files, "folder")
        if failed and pictures:
            raise DatasetError(f"reading a folder: {commonest(failed, given.rows, index or 'the names')}")
        none = "" if pictures else "; there is no picture"
        raise DatasetError(f"reading a folder: nothing below {root} fits '{index or pattern}'{none}{hint}")
    notes = given.notes + said + ((commonest(failed, given.rows, index.name),) if index and failed else ())
    named = tuple(replace(one, dataset=name) for one in sequences)
    return Scan(name, named, tuple(skipped + clips + unusable + left), notes)


def default_name(root: Path) -> str:
    """Return the name of a folder as that of a data set: letters, digits, and . + - _ alone; never that of a published database.

    >>> default_name(Path("/data/My faces (2)")), default_name(Path("/data/MMI"))
    ('My-faces-2', 'MMI-folder')
    """
    text = unicodedata.normalize("NFC", Path(root).resolve().name)
    name = re.sub(r"[^\w.+]+", "-", text)[:_LONGEST].strip("-.") or UNNAMED
    return f"{name}-folder" if name.lower() in FILES else name


def check_name(name: str) -> str:
    """Return a name that a user gave to a data set. Raises DatasetError if it cannot name a run's folder, or is a published database's."""
    doing = f"naming a folder of pictures {name!r}"
    if not re.fullmatch(rf"\w[\w.+-]{{0,{_LONGEST - 1}}}", name) or name.endswith("."):
        raise DatasetError(f"{doing}: a name begins with a letter or digit and has letters, digits, and . + - _ alone, {_LONGEST} at most")
    if name.lower() in FILES:
        raise DatasetError(f"{doing}: that is a published database, and its counts and licence are not those of your pictures; add a word")
    return name


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
            raise DatasetError(f"{doing}: {unknown('field', match[1], FIELDS)}")
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


def _kind(skip: Skip) -> str:
    """Return what is equal for Skips with one reason: of a label what was being read."""
    return skip.detail.partition(" in ")[0] if skip.reason == "bad-label" else skip.reason


def _from_pattern(pattern: str, pictures: dict[str, str], root: Path, others: dict[str, str]) -> Indexed:
    """Return an entry for each picture that fits, and a Skip for each that does not.

    Of `others`, whose names do not say that they are pictures, those that fit are looked into.
    """
    regex = pattern_to_regex(same_path(pattern))
    any_case, near = re.compile(regex.pattern, re.IGNORECASE), []
    found = Indexed(0, [])
    exact = {"exact": "yes"} if "{subject:" in pattern else {}           # of JAFFE's people one is called NA
    looked_into = {spelled: path for spelled, path in others.items() if regex.fullmatch(spelled) and _shows_picture(root / path)}
    for spelled, path in (pictures | looked_into).items():
        match = regex.fullmatch(spelled)
        if match is None:
            nearly = any_case.fullmatch(spelled) is not None
            near += [path] if nearly else []
            found.skipped.append(stray(path, f"it does not fit {pattern}{_CASE if nearly else ''}"))
        else:
            found.entries.append({"path": path, "where": path, **exact, **match.groupdict()})
    found.rows = len(found.entries)
    if near:
        left = f"{counted(len(near), 'picture')} such as {near[0]}"
        found.notes = (f"left out for upper or lower case alone: {left}, which {pattern} nearly fits",)
    return found


def _shows_picture(path: Path) -> bool:
    try:
        with opened(path) as file:
            return shows_picture(file.read(512))
    except UnreadableError:
        return False


def group(entries: list[dict], words: Mapping[str, str | None]) -> tuple[list[Sequence], list[Skip]]:
    """Return the entries as sequences in natural order; entries that cannot be read become Skips.

    An entry has path, where (for messages), FIELDS, and `exact` if its subject is one even where it reads NA; `words` say what
    its expression means, None: nothing here, and it is left out.
    """
    groups: dict[tuple[str, str], list[tuple[dict, str | None]]] = {}
    skipped = []
    for entry in entries:
        path, where, raw = entry["path"], entry["where"], entry.get("subject", "")
        subject = person(raw) or ("exact" in entry and raw)
        sequence = entry.get("sequence") or Path(same_path(path)).stem
        try:
            if not subject:
                raise DatasetError(f"reading a subject in {where}: {raw!r} names nobody; write the person's id")
            if "/" in subject:
                raise DatasetError(f"reading a subject in {where}: {subject!r} contains a '/'; write another character")
            if "\n" in sequence:
                raise DatasetError(f"reading a sequence in {where}: {sequence!r} contains a line break; write it in one line")
            expression = _expression(entry["expression"], where, words) if entry.get("expression") else None
            if entry.get("frame") and whole(entry["frame"]) is None:
                raise DatasetError(f"reading a frame number in {where}: {entry['frame']!r} is no whole number of up to 9 digits")
        except DatasetError as error:
            skipped.append(Skip(path, "bad-label", subject or raw, sequence, detail=str(error)))
            continue
        if entry.get("expression") and expression is None:
            detail = f"{entry['expression']} has no counterpart among the expressions"
            skipped.append(Skip(path, "other-part", subject, sequence, detail=detail))
        else:
            groups.setdefault((subject, sequence), []).append((entry, expression))
    sequences = []
    numbered = _told_apart({key: _numbered(members) for key, members in groups.items()})
    for key in sorted(numbered, key=lambda key: tuple(map(natural_key, key))):
        sequence, unusable = _sequence(key, numbered[key])
        sequences += sequence
        skipped += unusable
    return sequences, skipped


def _expression(word: str, where: str, words: Mapping[str, str | None]) -> str | None:
    """Return what expression_from_word does; where the usual words do not do, the reason names the way to say others."""
    try:
        return expression_from_word(word, where, words)
    except DatasetError as error:
        if words is not WORDS:
            raise
        raise DatasetError(f"{error}; --map FILE says what words and numbers of your own mean") from error


def _numbered(members: list[tuple[dict, str | None]]) -> list[_Member]:
    """Return the members in natural order of their paths; a frame that has no number has its position."""
    ordered = enumerate(sorted(members, key=lambda member: natural_key(member[0]["path"])))
    return [(whole(entry["frame"]) if entry.get("frame") else place, entry["path"], expression) for place, (entry, expression) in ordered]


def _told_apart(groups: dict[tuple[str, str], list[_Member]]) -> dict[tuple[str, str], list[_Member]]:
    """Return the groups; one whose frame numbers begin again with each expression becomes one for each, which ends with its name."""
    found: dict[tuple[str, str], list[_Member]] = {}
    for (subject, sequence), members in groups.items():
        shown: dict[int, str | None] = {}
        again = any(shown.setdefault(number, expression) != expression for number, _, expression in members)
        for member in members:
            name = f"{sequence}-{member[2]}" if again and member[2] else sequence
            while name != sequence and (subject, name) in groups:
                name += "-"
            found.setdefault((subject, name), []).append(member)
    return found


def _sequence(key: tuple[str, str], members: list[_Member]) -> tuple[list[Sequence], list[Skip]]:
    """Return the sequence of these members, one for each expression in it; of two frames of one number the first is taken."""
    frames: dict[str | None, dict[int, str]] = {}
    skipped = []
    taken: dict[int, str] = {}
    for number, path, expression in members:
        earlier = taken.setdefault(number, path)
        if earlier != path:
            detail = f"frame {number} of {'/'.join(key)} is {earlier} already"
            skipped.append(Skip(path, "duplicate", *key, number, detail=detail))
        else:
            frames.setdefault(expression, {})[number] = path
    sequences = []
    for expression, numbered in frames.items():
        ordered = tuple(Frame(path, number) for number, path in sorted(numbered.items()))
        sequences.append(Sequence(UNNAMED, *key, expression, ordered))
    return sequences, skipped
