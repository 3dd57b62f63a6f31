"""How the databases that are read by a table name their pictures: the key `form` of their files in data_manifests.

In:  the name of a database in FORMS.
Out: Form, read and checked; described.py reads a tree by it, recognise.py tells one by it, the program makes its options of it.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fer_data.datasets.published import FILES
from fer_data.schema import read

__all__ = ["ALL", "FORMS", "Form", "Part", "load_form"]

# The databases that have a form; wsefep is last, for the names of its pictures tell least.
FORMS = ("jaffe", "kdef", "rafd", "faces-mpi", "adfes", "mug", "wsefep")
ALL = "all"                           # the choice of a Part that takes whatever the name says


@dataclass(frozen=True)
class Part:
    """A part of a database that is taken by default, and others: the views of KDEF."""

    help: str                         # one sentence, for the option of that name
    choices: dict[str, tuple[str, ...]]          # word for people -> words in names, lower case; the first is the default


@dataclass(frozen=True)
class Form:
    """What names of files tell, as data."""

    example: str                      # the path of a picture, for messages
    pattern: str                      # regular expression of the last part of a path, without suffix; case does not count. Groups:
                                      # subject, sequence, expression (unless `columns` has it), frame if numbered, those of `parts`
    words: dict[str, str | None]      # the database's words for expressions, lower case -> ours; null: it has no counterpart
    people: tuple[str, ...]           # ids of the published people, F01-F35 for 35 of them; empty: not known
    parts: dict[str, Part]            # group of `pattern` -> what may be chosen
    misnamed: dict[str, str]          # stem of a file, upper case, that is named wrongly -> what it should be
    broken: dict[str, str]            # stem, upper case, of a picture that cannot be used as it was published -> why
    left_out: dict[str, str]          # regular expression of a path -> why it is no picture of the database
    columns: dict[str, str]           # of the table that says who shows what: role -> column; empty: names say all

    def regex(self, suffixes: str) -> re.Pattern:
        """Return the expression of a whole path; `suffixes`: alternatives, without dots."""
        return re.compile(rf"(?:.*/)?{self.pattern}\.(?:{suffixes})", re.IGNORECASE | re.ASCII)

    def people_ids(self) -> tuple[str, ...]:
        """Return the ids of `people`, one by one."""
        found = []
        for one in self.people:
            first, _, last = one.partition("-")
            letters = first.rstrip("0123456789")
            digits, end = first[len(letters) :], last[len(letters) :] or first[len(letters) :]
            numbers = range(int(digits), int(end) + 1) if digits else ()
            found += [f"{letters}{number:0{len(digits)}d}" for number in numbers] or [first]
        return tuple(found)


@cache
def load_form(dataset: str) -> Form:
    """Return the form of a database in FORMS.

    >>> load_form("jaffe").example, len(load_form("rafd").people_ids())
    ('KA.AN1.39.tiff', 67)
    """
    content = json.loads((files("data_manifests") / FILES[dataset]).read_text(encoding="utf-8"))
    return read(Form, content["form"], f"{FILES[dataset]}: form")
