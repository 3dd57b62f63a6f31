"""Databases with people's ids whose names, or one table, say all: JAFFE, KDEF, RaFD, FACES, ADFES, MUG, WSEFEP.

In:  the name of a database in forms.FORMS, the folder that holds it, at whatever depth; its table, where names do not say the expression.
Out: Sequence records in natural order; a picture that is no frame of a take is a sequence of its own.

How each names its files, its words, people, errata, counts, citation and licence: data_manifests/*.json, key `form` (forms.py). Files
are told by their names alone; what does not fit is listed with its reason, never guessed. Of two copies of one picture, whatever their
suffixes, one is a duplicate.
"""

import re
from dataclasses import replace
from pathlib import Path

from fer_data.datasets.clips import Named, sequences_of
from fer_data.datasets.copies import duplicates, first_whole, one_of_each
from fer_data.datasets.folder import group
from fer_data.datasets.forms import ALL, Form, load_form
from fer_data.datasets.index import by_spelling, read_index
from fer_data.datasets.published import counts_note, load_facts, subject_notes
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import stray, walk
from fer_data.errors import DatasetError
from fer_data.pictures import video
from fer_data.pictures.file_kinds import CLIPS, PICTURES, is_clip, is_picture
from fer_data.records import Scan, Skip
from fer_data.text import natural_key, unknown

__all__ = ["scan"]

_SUFFIXES = "|".join(suffix[1:] for suffix in (*PICTURES, *CLIPS))


def scan(dataset: str, root: Path, labels: Path | None = None, **chosen: str) -> Scan:
    """Return the sequences of a database below `root`.

    labels   the table that says who shows what, for a form with `columns`
    chosen   part -> one of its choices, or forms.ALL; without a word the first
    Raises DatasetError if this is not the database's tree, if its table is missing or cannot be read, for a choice that
    does not exist, and if PyAV is missing where the database has clips.
    """
    form, facts = load_form(dataset), load_facts(dataset)
    wanted = _wanted(dataset, form, chosen)
    files, left = walk(root)
    found = [(path, match) for path in files if (match := _match(form, path))]
    member = f"a file of {facts.name} is named {form.example}"
    if not found:
        raise wrong_tree(facts.name, dataset, root, files, member)
    if bool(form.columns) != bool(labels):
        why = f"its table ({', '.join(form.columns.values())}) says who shows what: give it with --labels FILE"
        raise DatasetError(f"reading {facts.name}: {why if form.columns else 'its names say all; leave out the table'}")
    fitting = {path for path, _ in found}
    skipped = [stray(path, member) for path in files if path not in fitting and (is_picture(path) or is_clip(path))]
    entries, unwanted = _entries(root, form, found, wanted)
    notes = ()
    if form.columns:
        entries, more, notes = _by_table(form, labels, entries)
        unwanted += more
    sequences, unusable = group(entries, form.words)
    moving = [one for one in sequences if is_clip(one.frames[0].source)]
    clips = [Named((one.frames[0].source,), one.subject, one.sequence, one.expression) for one in moving]
    stepped, broken, more = sequences_of(dataset, root, clips) if clips else ([], [], [])
    named = stepped + [replace(one, dataset=dataset) for one in sequences if not is_clip(one.frames[0].source)]
    named.sort(key=lambda one: (natural_key(one.subject), natural_key(one.sequence)))
    notes = (*notes, *more)
    if form.people:
        notes = (*subject_notes(named, form.people_ids()), *notes)
    if wanted == _wanted(dataset, form, {}):                             # the part of which counts are published
        notes = (counts_note(dataset, named, by_expression=facts.sequences is not None), *notes)
    return Scan(dataset, tuple(named), tuple(skipped + unwanted + unusable + broken + left), notes)


def _wanted(dataset: str, form: Form, chosen: dict[str, str]) -> dict[str, tuple[str, ...] | None]:
    """Return part -> the words in names that were asked for; None: all of them."""
    for part, choice in chosen.items():
        if choice not in (ALL, *form.parts[part].choices):
            raise DatasetError(f"choosing a part of {dataset}: {unknown(part, choice, (*form.parts[part].choices, ALL))}")
    default = {name: next(iter(part.choices)) for name, part in form.parts.items()}
    return {name: form.parts[name].choices.get(choice) for name, choice in (default | chosen).items()}


def _match(form: Form, path: str) -> re.Match | str | None:
    """Return what the name of a file says; why it is left out; or None: it does not fit."""
    for pattern, why in form.left_out.items():
        if re.fullmatch(pattern, path, re.IGNORECASE):
            return why
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return form.regex(_SUFFIXES).fullmatch(f"{folder}{slash}{form.misnamed.get(stem.upper(), stem)}{dot}{suffix}")


def _entries(root: Path, form: Form, found: list[tuple[str, re.Match | str]], wanted: dict) -> tuple[list[dict], list[Skip]]:
    """Return an entry for folder.group for each file that was asked for, and a Skip for each other one.

    Of several copies that in the format of the example comes first, then the one nearest to the root; the first that can be used is taken.
    """
    fields, skipped, places, suffix = {}, [], {}, Path(form.example).suffix.lower()
    for path, match in sorted(found, key=lambda one: (not one[0].lower().endswith(suffix), one[0].count("/"), natural_key(one[0]))):
        if isinstance(match, str):
            skipped.append(Skip(path, "other-part", detail=match))
            continue
        said = match.groupdict()
        key = said["subject"].upper(), said["sequence"].replace("/", "-")
        other = [part for part, words in wanted.items() if words is not None and said[part].lower() not in words]
        broken = form.broken.get(said["sequence"].upper())
        if other:
            skipped.append(Skip(path, "other-part", *key, detail=f"{other[0]} {said[other[0]]} was not asked for"))
        elif broken:
            skipped.append(Skip(path, "erratum", *key, detail=broken))
        else:
            own = {"subject": key[0], "sequence": key[1], "frame": said.get("frame") or "0", "expression": said.get("expression")}
            fields.setdefault((*key, said.get("frame")), own)
            places.setdefault((*key, said.get("frame")), []).append(path)
    entries = []
    for key, paths in places.items():
        best, others = _best(root, paths, key[:2])
        entries.append({"path": best, "where": best, "exact": "yes", **fields[key]})
        skipped += others
    return entries, skipped


def _best(root: Path, paths: list[str], key: tuple[str, str]) -> tuple[str, list[Skip]]:
    """Return the copy to use, of the same kind as the first, and a Skip for each other one."""
    same = [path for path in paths if is_clip(path) == is_clip(paths[0])]
    if is_clip(paths[0]) and len(same) > 1:
        video.require_av()
        whole, tried = first_whole(root, same, key)
        best = whole[0] if whole else paths[0]                          # all broken: sequences_of says of the first what is wrong with it
        others = [skip for skip in tried if skip.source != best]
    else:
        taken, left = one_of_each(root, {key: same})
        best, others = taken[key], duplicates([path for _, path, _ in left], key, taken[key])
    return best, others + duplicates([path for path in paths if path not in same], key, best)


def _by_table(form: Form, labels: Path, entries: list[dict]) -> tuple[list[dict], list[Skip], tuple[str, ...]]:
    """Return the entries that the table names, with its expressions; Skips for pictures and rows without a partner; notes.

    Where the table and a name tell of two people, the row is no label.
    """
    mine = {entry["path"]: entry for entry in entries}
    given = read_index(labels, by_spelling(mine), {}, form.columns)
    rows, skipped = [], list(given.skipped)
    for row in given.entries:
        entry, where = mine[row["path"]], row["where"]
        if row["subject"].upper() != entry["subject"]:
            detail = f"{where} says that {row['path']} shows {row['subject']}, its name says {entry['subject']}"
            skipped.append(Skip(row["path"], "bad-label", entry["subject"], entry["sequence"], detail=detail))
        else:
            rows.append({**entry, "expression": row.get("expression"), "where": where})
    return rows, skipped, given.notes
