"""Compare what an adapter found with what its authors published, in sentences for the user.

In:  the Sequences of a scan, the published counts.
Out: notes for Scan.notes: "327 of 327 labelled sequences, 118 of 118 subjects", or what is missing and what is extra.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fer_data.labels import EXPRESSIONS
from fer_data.order import natural_key
from fer_data.records import Sequence

__all__ = ["Published", "published", "counts_note", "difference_notes"]

_NAMED = 12                           # so many ids are named, the rest is counted


@dataclass(frozen=True)
class Published:
    """What the authors of a database, or the paper, say that it holds."""

    sequences: int                    # labelled, of the part that the paper uses
    subjects: int
    expressions: dict[str, int] = field(default_factory=dict)    # sequences of each, where ids do not follow from a rule


def published(dataset: str) -> Published:
    """Return the published counts of a database, a key of ADAPTERS."""
    ck_plus = {"anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83}
    return {
        "ck+": Published(327, 118, ck_plus), "ck48": Published(327, 118, ck_plus), "mmi": Published(208, 31),
        "oulu": Published(480, 80), "bu4dfe": Published(606, 101),
    }[dataset]  # fmt: skip


def counts_note(dataset: str, sequences: Iterable[Sequence]) -> str:
    """Return the sentence that compares labelled sequences, subjects and, where they differ, single expressions."""
    labelled = [sequence for sequence in sequences if sequence.expression]
    subjects = {sequence.subject for sequence in labelled}
    known = published(dataset)
    note = f"{len(labelled)} of {known.sequences} labelled sequences, {len(subjects)} of {known.subjects} subjects"
    found = Counter(sequence.expression for sequence in labelled)
    differ = [name for name in EXPRESSIONS if known.expressions and found[name] != known.expressions.get(name, 0)]
    if differ:
        note += "; " + ", ".join(f"{name} {found[name]} of {known.expressions.get(name, 0)}" for name in differ)
    return note


def difference_notes(sequences: Iterable[Sequence], expected: Iterable[str]) -> tuple[str, ...]:
    """Return up to two sentences naming the ids "subject/sequence" that are missing, and those that nobody published."""
    found, wanted = {sequence.sequence_id for sequence in sequences}, set(expected)
    notes = [f"missing: {_named(wanted - found, wanted)}"] if wanted - found else []
    return (*notes, f"not published: {_named(found - wanted, found)}") if found - wanted else tuple(notes)


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
