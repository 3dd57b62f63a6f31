"""What has been published about each database, and how what an adapter found compares with it.

In:  the name of a database as `fer-data prepare` takes it; the Sequences of a scan.
Out: Facts, read from data_manifests/*.json, where each number names its source; notes for Scan.notes: "327 of 327 labelled
     sequences, 118 of 118 subjects", or what is missing and what is extra.

Only the standard library is imported: `fer-data doctor` reads facts where numpy may be missing.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fer_data.errors import DatasetError
from fer_data.labels import EXPRESSIONS, HumanFigure
from fer_data.text import natural_key, unknown

if TYPE_CHECKING:
    from fer_data.records import Sequence

__all__ = ["FILES", "Facts", "ck_plus_subjects", "counts_note", "difference_notes", "load_facts", "parts_of", "split_notes",
           "subject_notes"]

# database -> its file in data_manifests
FILES = {
    "ck+": "ck_plus.json", "ck48": "ck48.json", "mmi": "mmi.json", "oulu": "oulu_casia.json", "bu4dfe": "bu4dfe.json",
    "crema-d": "crema_d.json", "ravdess": "ravdess.json",
    "jaffe": "jaffe.json", "kdef": "kdef.json", "rafd": "rafd.json", "faces-mpi": "faces_mpi.json", "adfes": "adfes.json",
    "mug": "mug.json", "wsefep": "wsefep.json",
    "fer2013": "fer2013.json", "rafdb": "rafdb.json", "affectnet": "affectnet.json", "expw": "expw.json", "sfew": "sfew.json",
    "caer-s": "caer_s.json",
}
_NAMED = 12                           # so many ids are named, the rest is counted


@dataclass(frozen=True)
class Facts:
    """Published facts; the counts are those of the part that the paper uses."""

    dataset: str                      # as `fer-data prepare` calls it
    name: str                         # as people call it
    subjects: int | None              # None: people unknown
    sequences: int | None             # labelled; None: not published
    images: int | None                # that the frame rule takes; None: not published
    frames_per_sequence: int | None   # None: all of them, or differing
    expressions: Mapping[str, int]    # expression -> labelled sequences
    frame_rule: str                   # that is taken by default, of protocol.peaks: the one that the paper uses, or the one of the house
    frame_rule_text: str              # the same in the words of its source
    whole: Mapping[str, int]          # counts of the whole database, labelled or not
    published: int                    # year of the publication that is cited
    citation: tuple[str, ...]
    licence: str
    access: str
    sources: Mapping[str, str]        # field -> where its numbers are from
    notes: tuple[str, ...]
    human: tuple[HumanFigure, ...] = ()        # how often people named the intended expression
    passing_on: str = ""              # a sentence, where the licence lets its pictures be passed on
    # People unknown. Form in which the database is passed on -> part of records.SPLITS -> expression, or "all" -> pictures
    forms: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    # Copies that others changed: name -> the counts that give it away (none are known: empty), as in a form, and `says`, what it is
    copies: Mapping[str, Mapping] = field(default_factory=dict)


@cache
def load_facts(dataset: str) -> Facts:
    """Return the published facts of a database.

    Raises DatasetError if nothing is published about it here, as of a folder.

    >>> load_facts("ck+").sequences
    327
    """
    if dataset not in FILES:
        raise DatasetError(f"looking up published facts: {unknown('database', dataset, FILES)}")
    content = json.loads((files("data_manifests") / FILES[dataset]).read_text(encoding="utf-8"))
    content.pop("form", None)         # of forms.py
    lists = {key: tuple(content[key]) for key in ("citation", "notes")}
    human = tuple(HumanFigure(**one) for one in content.get("human", ()))
    return Facts(**{**content, **lists, "human": human})


def parts_of(dataset: str) -> tuple[str, ...]:
    """Return the databases that are joined under a name, in order; of one database, itself.

    >>> parts_of("bu4dfe+ck++jaffe"), parts_of("ck+")
    (('bu4dfe', 'ck+', 'jaffe'), ('ck+',))
    """
    return tuple(re.findall(r"ck\+|[^+]+", dataset))


# --- what an adapter found, compared with it ---------------------------------------------------------------------------


def counts_note(dataset: str, sequences: "Iterable[Sequence]", by_expression: bool = False) -> str:
    """Return the sentence that compares labelled sequences and subjects, and single expressions where they differ."""
    facts = load_facts(dataset)
    labelled = [sequence for sequence in sequences if sequence.expression]
    subjects = {sequence.subject for sequence in labelled}
    of_all = "" if facts.sequences is None else f" of {facts.sequences}"
    note = f"{len(labelled)}{of_all} labelled sequences, {len(subjects)} of {facts.subjects} subjects"
    found = Counter(sequence.expression for sequence in labelled)
    pairs = [(name, found[name], facts.expressions.get(name, 0)) for name in EXPRESSIONS if by_expression]
    differ = ", ".join(f"{name} {here} of {there}" for name, here, there in pairs if here != there)
    return f"{note}; {differ}" if differ else note


def difference_notes(sequences: "Iterable[Sequence]", expected: Iterable[str]) -> tuple[str, ...]:
    """Return up to two sentences naming the ids "subject/sequence" that are missing, and those that nobody published."""
    return _differences({sequence.sequence_id for sequence in sequences}, set(expected), "")


def subject_notes(sequences: "Iterable[Sequence]", expected: Iterable[str]) -> tuple[str, ...]:
    """Return up to three sentences: subjects without pictures, those whose pictures have no label, and those that nobody published."""
    sequences, expected = list(sequences), set(expected)
    seen = {sequence.subject for sequence in sequences}
    labelled = {sequence.subject for sequence in sequences if sequence.expression}
    bare = (seen & expected) - labelled
    without = (f"subjects with pictures and no label: {_named(bare, expected)}",) if bare else ()
    return (*_differences(labelled | bare, expected, "subjects "), *without)


def split_notes(dataset: str, form: str, sequences: "Iterable[Sequence]") -> tuple[str, ...]:
    """Return what the counts of each part say, against a form of Facts.forms: official, a subset, or what differs.

    A copy of Facts.copies whose counts these are is named; where counts differ and it is none of them, all of them are.
    """
    facts = load_facts(dataset)
    found = Counter()
    for sequence in sequences:
        if sequence.expression:
            found[sequence.split, sequence.expression] += 1
            found[sequence.split, "all"] += 1
    wanted = _flat(facts.forms[form])
    wanted |= {(part, what): 0 for part, what in found if _unpublished(facts.forms[form], part, what)}
    differ = {key: count for key, count in wanted.items() if found[key] != count}
    tells = {name: _flat(copy["counts"]) for name, copy in facts.copies.items() if copy["counts"]}
    known = [name for name, counts in tells.items() if all(found[key] == count for key, count in counts.items())]
    said = tuple(f"these are the counts of {name}: {facts.copies[name]['says']}" for name in known)
    if not differ:
        parts = ", ".join(f"{part or 'pictures'} {found[part, 'all']:,}" for part in facts.forms[form])
        return (f"counts: official, {form}: {parts}", *said)
    if all(found[key] <= count for key, count in wanted.items()):
        parts = ", ".join(f"{part or 'pictures'} {found[part, 'all']:,} of {_size(counts):,}" for part, counts in facts.forms[form].items())
        return (f"counts: a subset of the official ones, {form}: {parts}", *said)
    worst = sorted(differ.items(), key=lambda item: found[item[0]] <= item[1])       # more than published comes first
    named = [f"{part} {what if what != 'all' else 'pictures'} {found[part, what]:,} instead of {n:,}".strip() for (part, what), n in worst]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    around = f"; changed copies are around: {', '.join(facts.copies)}" if facts.copies and not known else ""
    return (f"counts: they differ from the official ones, {form}: {', '.join(named[:_NAMED])}{more}{around}", *said)


def _unpublished(form: Mapping[str, Mapping[str, int]], part: str, what: str) -> bool:
    """Say whether a form has no such part, or counts the expressions of the part and not this one."""
    return what == "all" if part not in form else what != "all" and "all" not in form[part] and what not in form[part]


def _flat(form: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, str], int]:
    return {(part, what): count for part, counts in form.items() for what, count in counts.items()}


def _size(counts: Mapping[str, int]) -> int:
    return counts.get("all") or sum(counts.values())


@cache
def ck_plus_subjects() -> tuple[str, ...]:
    """Return the ids of the 118 subjects of CK+ that have labelled sequences."""
    lines = (files("data_manifests") / "ck_plus_folds.csv").read_text(encoding="utf-8").splitlines()[1:]
    return tuple(line.split(",")[0] for line in lines)


def _differences(found: set[str], wanted: set[str], what: str) -> tuple[str, ...]:
    notes = [f"{what}missing: {_named(wanted - found, wanted)}"] if wanted - found else []
    return (*notes, f"{what}not published: {_named(found - wanted, found)}") if found - wanted else tuple(notes)


def _named(ids: set[str], among: set[str]) -> str:
    """Return ids in natural order, the first few; a subject of which all of `among` are meant is named once."""
    whole = Counter(one.split("/")[0] for one in among)
    mine = Counter(one.split("/")[0] for one in ids)
    names = []
    for one in sorted(ids, key=natural_key):
        subject = one.split("/")[0]
        name = f"{subject} (all {whole[subject]})" if mine[subject] == whole[subject] > 1 else one
        if name not in names:
            names.append(name)
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
