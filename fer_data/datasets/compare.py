"""Compare what an adapter found with what its authors published, in sentences for the user.

In:  the Sequences of a scan; data_manifests/*.json and ck_plus_folds.csv.
Out: notes for Scan.notes: "327 of 327 labelled sequences, 118 of 118 subjects", or what is missing and what is extra.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from fer_data.datasets.published import load_facts
from fer_data.labels import EXPRESSIONS
from fer_data.records import Sequence
from fer_data.text import natural_key

__all__ = ["counts_note", "difference_notes", "subject_notes", "ck_plus_subjects"]

_NAMED = 12                           # so many ids are named, the rest is counted


def counts_note(dataset: str, sequences: Iterable[Sequence], by_expression: bool = False) -> str:
    """Return the sentence that compares labelled sequences and subjects, and single expressions where they differ."""
    facts = load_facts(dataset)
    labelled = [sequence for sequence in sequences if sequence.expression]
    subjects = {sequence.subject for sequence in labelled}
    note = f"{len(labelled)} of {facts.sequences} labelled sequences, {len(subjects)} of {facts.subjects} subjects"
    found = Counter(sequence.expression for sequence in labelled)
    pairs = [(name, found[name], facts.expressions.get(name, 0)) for name in EXPRESSIONS if by_expression]
    differ = ", ".join(f"{name} {here} of {there}" for name, here, there in pairs if here != there)
    return f"{note}; {differ}" if differ else note


def difference_notes(sequences: Iterable[Sequence], expected: Iterable[str]) -> tuple[str, ...]:
    """Return up to two sentences naming the ids "subject/sequence" that are missing, and those that nobody published."""
    return _differences({sequence.sequence_id for sequence in sequences}, set(expected), "")


def subject_notes(sequences: Iterable[Sequence], expected: Iterable[str]) -> tuple[str, ...]:
    """Return up to two sentences naming the labelled subjects that are missing, and those that nobody published."""
    return _differences({sequence.subject for sequence in sequences if sequence.expression}, set(expected), "subjects ")


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
