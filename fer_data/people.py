"""Decide who is a person: the one rule by which ids of people are read and compared.

In:  ids as a person, a spreadsheet, a file name or an older manifest writes them.
Out: each id in its one spelling, or None where it names nobody; ids that may be one person in two spellings.

    "Rene\\u0301", "René"                one id: Unicode NFC
    "S  1", " S 1", "S\\u00a01"          one id: white space of any kind is one blank, and none at the ends
    "S1\\u200b", "\\ufeffS1", "S1"        one id: characters without width are out
    "1.0", "1,0", "1"                  one id: a spreadsheet's decimals are off
    "", "nan", "NA", "#REF!", "-"      nobody; nor does "unknown"

Where a database does not say who is in its pictures, the id is empty in every row: people unknown. Nobody is invented, and whatever
needs to know who is who is refused.

Ids that still differ in case, leading zeros or separators alone (1 and 001, s001 and S001, S1 and S_01) may be one person or two.
Nobody can tell from the ids: `prepare` refuses them, `audit` doubts them, until the user says that they are different people.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from fer_data.errors import DatasetError, PeopleError
from fer_data.text import counted, natural_key, one_spelling

__all__ = ["EMPTY_WORDS", "SAME_PEOPLE", "SAME_PICTURES", "UNKNOWN", "says_nothing", "person", "joined_id", "one_name", "alike",
           "pairs_text", "are_known", "people_text", "refuse_alike", "refuse_unknown", "same_pictures"]

# words that stand in a cell for nothing, in lower case; those with # are what Excel writes for a formula that fails, in English and German
EMPTY_WORDS = ("", "nan", "none", "null", "na", "n/a", "<na>", "#n/a", "#nv", "#ref!", "#bezug!", "#value!", "#wert!", "#num!", "#zahl!",
               "#name?", "#div/0!", "#null!")
SAME_PEOPLE = {"ck48": "ck+"}         # databases that show the people of another under the same names

# Databases that hold the same pictures, or frames of the same clips: one cannot be tested on another. Names as in manifests.
SAME_PICTURES = (("ck+", "ck48"), ("fer2013", "ferplus"), ("sfew", "afew"), ("caer-s", "caer"), ("kdef", "akdef"))
UNKNOWN = "people unknown"

_NAMED = 3                            # so many groups of ids are named, the rest is counted
_NOBODY = "unknown"                   # as an id; as an expression a map can give it a meaning


def says_nothing(text: str) -> bool:
    """Say whether a cell stands for nothing: it has no letter and no digit, or is a word for nothing.

    >>> says_nothing(" N/A "), says_nothing("?"), says_nothing("Nana")
    (True, True, False)
    """
    return not any(map(str.isalnum, text)) or text.strip().lower() in EMPTY_WORDS


@lru_cache(65536)
def person(text: str) -> str | None:
    """Return an id in its one spelling, or None if it names nobody.

    >>> person(" S\\u00a0 1\\u200b"), person("7.0"), person("NaN"), person("Unknown")
    ('S 1', '7', None, None)
    """
    text = one_spelling(text)
    return None if says_nothing(text) or text.lower() == _NOBODY else text


def joined_id(dataset: str, subject: str) -> str:
    """Return the id of a person where several databases are in one manifest: JAFFE and WSEFEP both have a KA.

    >>> joined_id("jaffe", "KA"), joined_id("jaffe", "jaffe:KA")
    ('jaffe:KA', 'jaffe:KA')
    """
    return f"{dataset}:{subject.removeprefix(f'{dataset}:')}"


def one_name(dataset: str | None, subject: str) -> str:
    """Return dataset/subject with one name for each person: in one spelling, in whichever manifest, and CK+48 shows people of CK+.

    dataset   None: none is named

    >>> one_name("ck48", "S005"), one_name("mine", " S  1"), one_name(None, "1.0"), one_name("jaffe", "jaffe:KA")
    ('ck+/S005', 'mine/S 1', '1', 'jaffe/KA')
    """
    subject = subject if dataset is None else subject.removeprefix(f"{dataset}:")
    return "/".join(part for part in (SAME_PEOPLE.get(dataset, dataset), person(subject) or subject) if part is not None)


def alike(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of ids that differ in case, leading zeros or separators alone, in natural order; ids as `person` gives them.

    A separator between two numbers parts them, so that 1_12 and 11_2 are not alike, nor are 1_2 and 12.

    >>> alike(["S001", "s1", "S_01", "S002", "S10", "S100"])
    [('S001', 'S_01', 's1')]
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in sorted(set(ids), key=natural_key):
        groups.setdefault(_bare(one), []).append(one)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _bare(text: str) -> tuple[str, ...]:
    """Return an id without what `alike` looks away from: letters and numbers in turn."""
    parts = re.findall(r"[0-9]+|[^0-9]+", unicodedata.normalize("NFKC", text).casefold())
    bare = (part.lstrip("0") or "0" if "0" <= part[0] <= "9" else _without_separators(part) for part in parts)
    return tuple(part for part in bare if part)


def _without_separators(text: str) -> str:
    """Return a text without white space, punctuation and control characters; marks such as vowel signs belong to its letters."""
    return "".join(one for one in text if unicodedata.category(one)[0] not in "ZPC")


def pairs_text(groups: list[tuple[str, ...]]) -> str:
    """Return the first groups of ids as words.

    >>> pairs_text([("001", "1"), ("002", "2"), ("003", "3"), ("004", "4")])
    '001 and 1, 002 and 2, 003 and 3, and 1 more'
    """
    named = ", ".join(" and ".join(group) for group in groups[:_NAMED])
    return named + (f", and {len(groups) - _NAMED} more" if len(groups) > _NAMED else "")


def refuse_alike(doing: str, ids: Iterable[str]) -> None:
    """Raise DatasetError, naming them, if some ids differ in case, leading zeros or separators alone."""
    if groups := alike(ids):
        raise DatasetError(
            f"{doing}: these subjects differ in case, leading zeros or separators alone: {pairs_text(groups)}; write each person's id"
            " in one way, or say with --distinct-subjects that they are different people"
        )


# --- nobody says who is in the pictures -------------------------------------------------------------------------------


def are_known(subjects: Iterable[str]) -> bool:
    """Say whether the rows of a manifest name people; in one without people every `subject` is empty."""
    return any(subjects)


def people_text(number: int) -> str:
    """Return how many people these are; none: they are unknown.

    >>> people_text(2), people_text(0)
    ('2 people', 'people unknown')
    """
    return counted(number, "person", "people") if number else UNKNOWN


def refuse_unknown(doing: str, subjects: Iterable[str], instead: str) -> None:
    """Raise PeopleError if nobody says who is in the pictures; `instead`: what is possible, a clause."""
    if not are_known(subjects):
        raise PeopleError(f"{doing}: {UNKNOWN}: the database does not say who is in its pictures; {instead}")


def same_pictures(one: str, other: str) -> bool:
    """Say whether two databases, named as in their manifests, hold the same pictures: they are one, or stand together in SAME_PICTURES.

    >>> same_pictures("ck48", "ck+"), same_pictures("fer2013", "ck+")
    (True, False)
    """
    return one == other or any(one in group and other in group for group in SAME_PICTURES)
