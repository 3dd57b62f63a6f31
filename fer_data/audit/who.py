"""Who is in each row of a split: by the user's pattern, a column, or the rules of names; and which ids are doubted.

In:  rows of a split (forms.py), and who is in each by its name alone (subject_names.py).
Out: an Identity for each row, in the spelling of fer_data.people; sentences about what looked wrong.

Where a rule of names proves that two ids are one person, they are counted as one. A doubt is a sentence about ids of which nobody
can say whether they are one person: with one of them no split is called clean.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace

from fer_data.audit.forms import Row
from fer_data.audit.split import Item
from fer_data.audit.subject_names import NAMES, Identity, pattern_rule, recognise
from fer_data.datasets.published import FILES
from fer_data.errors import SplitError
from fer_data.people import alike, one_name, pairs_text, person
from fer_data.text import counted, natural_key

__all__ = ["names_of", "numbered", "people_of", "spelled_alike"]


def names_of(rows: list[Row]) -> list[Identity | None]:
    """Return who is in each row by the rules of names; a path that is in ten folds is looked at once."""
    known = {path: recognise(path) for path in {row.path for row in rows if row.path}}
    return [known[row.path] if row.path else None for row in rows]


def people_of(
    rows: list[Row], names: list[Identity | None], subject_pattern: str | None, notes: list[str]
) -> tuple[list[Identity], list[str], list[str]]:
    """Return (who is in each row, what looked wrong, doubts); add to `notes` how it is known.

    Raises SplitError if the subject of a row cannot be known.
    """
    found, parted = _identities(rows, names, subject_pattern, notes)
    found, warnings, doubts = _one_each(found, names)
    return found, warnings, [*parted, *doubts]


def _identities(
    rows: list[Row], names: list[Identity | None], subject_pattern: str | None, notes: list[str]
) -> tuple[list[Identity], list[str]]:
    """Return who is in each row, and doubts about it."""
    if subject_pattern is not None:
        rule = pattern_rule(subject_pattern)
        found = [rule(row.path) if row.path else None for row in rows]
        _refuse_unknown(rows, found, f"the pattern {subject_pattern!r} does not fit")
        notes.append(f"subjects: by the pattern {subject_pattern!r}, e.g. {found[0].subject} in {rows[0].path}; all {len(rows)} entries")
        return [_with_name(identity, name) for identity, name in zip(found, names, strict=True)], []
    if any("subject" in row.cells for row in rows):
        without = next((row.where for row in rows if "subject" not in row.cells), None)
        if without:
            raise SplitError(f"reading a split: the subject is empty in {without}; each entry needs one")
        example = f"e.g. {rows[0].cells['subject']} for {rows[0].path or rows[0].where}"
        notes.append(f"subjects: from their column, {example}; all {len(rows)} entries")
        found, doubts = _of_cells(rows, notes)
        return [_with_name(identity, name) for identity, name in zip(found, names, strict=True)], doubts
    _refuse_unknown(rows, names, "there is no column `subject`, and no known rule of names fits")
    databases = Counter(name.database for name in names)
    for database, count in databases.items():
        first = next(index for index, name in enumerate(names) if name.database == database)
        remark = next((f" ({rule.note})" for rule in NAMES if rule.database == database and rule.note), "")
        example = f"e.g. {names[first].subject} in {rows[first].path}"
        notes.append(f"subjects: by the names of {database}, {example}; {count} of {len(rows)} entries{remark}")
    if len(databases) > 1:
        return [replace(name, subject=f"{name.database}/{name.subject}") for name in names], []
    return names, []


def _of_cells(rows: list[Row], notes: list[str]) -> tuple[list[Identity], list[str]]:
    """Return who is in each row by its cells, and a doubt where the names of databases alone tell two people apart.

    Ids are told apart by database only where every row names one: a person whose database is left out somewhere must not become two.
    """
    databases, unnamed = {row.cells["dataset"] for row in rows if "dataset" in row.cells}, sum("dataset" not in row.cells for row in rows)
    several = len(databases) > 1 and not unnamed
    if databases and unnamed:
        notes.append(f"databases: {unnamed} of {len(rows)} entries name none, so an id is one person in all of them")
    found, people = [], defaultdict(dict)
    for row in rows:
        cells = row.cells
        plain = subject = person(cells["subject"]) or cells["subject"]
        if several:
            subject = one_name(cells["dataset"], plain)
            people[plain].setdefault(subject, cells["dataset"])
        found.append(Identity("column", subject, cells.get("sequence"), cells.get("frame")))
    parted = {plain: list(some.values()) for plain, some in people.items() if len(some) > 1}
    if not parted:
        return found, []
    plain = min(parted, key=natural_key)
    apart = f"{counted(len(parted), 'id')} in several databases, such as {plain} in {' and '.join(parted[plain][:2])}"
    if {*FILES} >= {name for some in parted.values() for name in some}:
        notes.append(f"subjects: {apart}, counted as different people")
        return found, []
    return found, [
        f"subjects: {apart}, are counted as different people by the names of the databases alone; if these are parts of one database, leave"
        " that column out; if they are different people, say so with --distinct-subjects"
    ]


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
            " such a table cannot be split by person, nor can anyone check that it was. If another column tells the subject, name it with"
            " --subject-column"
        )
    databases = ", ".join(dict.fromkeys(rule.database for rule in NAMES))
    raise SplitError(
        f"{doing}, e.g. {first.path!r} ({first.where}): {why}. Give a column `subject` or --subject-column NAME, file names as in"
        f" {databases}, or --subject-pattern REGEX, whose first group is the subject, e.g. '([^/]+)/[^/]+$' where the folder is named"
        " after the person"
    )


# --- ids that are one person, or may be -------------------------------------------------------------------------------


def _one_each(identities: list[Identity], names: list[Identity | None]) -> tuple[list[Identity], list[str], list[str]]:
    """Return the identities with one id for each person of whom the rules of names prove several, and sentences about it.

    It is proved where every row has a name that is known, several people among them, and each of the ids stands for that one person
    alone: then the ids part what the names hold together. Otherwise it is a doubt.
    """
    ids, people = _meet(identities, names), _meet(names, identities)
    torn = {who: some for who, some in people.items() if len(some) > 1}
    if not torn:
        return identities, [], []
    sure = all(names) and len(people) > 1
    proved = {who: some for who, some in torn.items() if sure and all(len(ids[one]) == 1 for one in some)}
    one_id = {}
    for (_, who), some in proved.items():
        kept = min(some, key=lambda one: (one.casefold() != who.casefold(), natural_key(one)))
        one_id.update(dict.fromkeys(some, kept))
    doubted = {who: some for who, some in torn.items() if who not in proved}
    identities = [replace(one, subject=one_id.get(one.subject, one.subject)) for one in identities]
    doubts = _torn_text(doubted, "say with --distinct-subjects if the split is right")
    return identities, _torn_text(proved, "they were counted as one"), doubts


def _meet(first: list[Identity | None], second: list[Identity | None]) -> dict:
    """Return who is in a row by the first list -> who is in those rows by the second; by names with the database, by ids without."""
    found = defaultdict(set)
    for one, other in zip(first, second, strict=True):
        if one and other:
            found[_key(one)].add(_key(other))
    return found


def _key(identity: Identity) -> tuple[str, str] | str:
    return identity.subject if identity.database in ("column", "pattern") else (identity.database, identity.subject)


def _torn_text(torn: dict, what: str) -> list[str]:
    if not torn:
        return []
    (database, who), ids = next(iter(torn.items()))
    some = " and ".join(sorted(ids, key=natural_key)[:2])
    return [f"by the names of {database} {who} is one person; the split calls them {some} ({len(torn)} such people): {what}"]


def spelled_alike(identities: list[Identity], names: list[Identity | None]) -> list[str]:
    """Return a doubt about ids that differ in case, leading zeros or separators alone, unless their names are those of different people."""
    known = _meet(identities, names)
    groups = [group for group in alike({identity.subject for identity in identities}) if not _differ([known.get(one, ()) for one in group])]
    if not groups:
        return []
    return [
        f"subjects {pairs_text(groups)} are counted as different people, but they differ in case, leading zeros or separators alone; write"
        " each person's id in one way, or say with --distinct-subjects that they are different people"
    ]


def _differ(names: list) -> bool:
    """Say whether each id has one name, and no two of them the same."""
    return all(len(one) == 1 for one in names) and len(set().union(*names)) == len(names)


def numbered(items: Mapping[str, Item], rows: list[Row], names: list[Identity | None]) -> list[str]:
    """Return a doubt about subjects that may be numbers of images, and a sentence about one subject for all."""
    subjects = {item.subject for item in items.values()}
    if len(subjects) == len(items) > 1 and any(row.path for row in rows) and not all(names):
        return [
            f"each of the {len(items)} images has a subject of its own; if that is a number of the image, nothing was checked; say with"
            " --distinct-subjects that it is the person"
        ]
    return [f"all images show one subject, {next(iter(subjects))}; was the right part of the names taken?"] if len(subjects) == 1 else []
