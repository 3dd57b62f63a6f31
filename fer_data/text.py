"""Words for people: natural order, counts, lists, the choice that was meant, and Markdown that shows values as they are.

In:  names, numbers, rows.
Out: text.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from collections.abc import Sequence as Listing
from difflib import get_close_matches

__all__ = ["counted", "did_you_mean", "either", "escape", "listed", "meant", "named", "natural_key", "one_spelling", "paragraphs",
           "percent", "same_path", "table", "unknown"]

_DECIMALS = re.compile(r"([-+]?[0-9]+)[.,]0+")


def natural_key(text: str) -> tuple:
    """Return a sort key for `text`, numbers as numbers; equal keys only for equal texts.

    >>> sorted(["S10", "S9", "P001"], key=natural_key)
    ['P001', 'S9', 'S10']
    """
    parts = re.split(r"([0-9]+)", text)
    return tuple((1, int(part), part) if index % 2 else (0, 0, part) for index, part in enumerate(parts))


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun; `plural` where that is not the noun and an s.

    >>> counted(1, "face"), counted(1440, "face"), counted(2, "person", "people")
    ('1 face', '1,440 faces', '2 people')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share in per cent, without the sign for per cent; below 0 with a minus sign, not a hyphen.

    >>> percent(0.9735), percent(-0.0004), percent(-0.031)
    ('97.4', '0.0', '−3.1')
    """
    text = f"{100 * share:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text.replace("-", "−")


def listed(parts: Iterable, most: int | None = None, last: str = "and") -> str:
    """Return parts as people list them; of more than `most`, the first ones and how many there are besides.

    >>> listed([0, 1, 2]), listed(["a"]), listed([]), listed("abcd", most=2)
    ('0, 1 and 2', 'a', '', 'a, b and 2 more')
    """
    texts = [str(part) for part in parts]
    if most is not None and len(texts) > most:
        texts = [*texts[:most], f"{len(texts) - most} more"]
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}" if len(texts) > 1 else "".join(texts)


def same_path(path: str) -> str:
    """Return a path in the one spelling in which paths are compared: Unicode NFC, '/' between its parts, no `.` among them.

    >>> same_path("./faces\\\\Zoe\\u0308/1.png") == "faces/Zo\\u00eb/1.png"
    True
    """
    path = unicodedata.normalize("NFC", path).replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" * path.startswith("/") + "/".join(parts)


def one_spelling(text: str) -> str:
    """Return the text of a cell in the one spelling in which ids of people and words for expressions are compared.

    Unicode NFC, without characters that have no width, one blank for white space of any kind, no decimals after a whole number.

    >>> one_spelling(" S\\u00a0 1\\u200b"), one_spelling("7.0"), one_spelling("A\\u0308rger") == "\\u00c4rger"
    ('S 1', '7', True)
    """
    if not text.isascii():
        text = "".join(one for one in text if unicodedata.category(one) != "Cf")     # Cf: zero-width and direction marks, soft hyphens
        text = unicodedata.normalize("NFC", text)
    text = " ".join(text.split())
    match = _DECIMALS.fullmatch(text)
    return match[1] if match else text


def named(noun: str, parts: Collection, most: int | None = None) -> str:
    """Return a noun with the names of what it stands for, as `listed` has them.

    >>> named("fold", [3]), named("fold", [0, 1, 4])
    ('fold 3', 'folds 0, 1 and 4')
    """
    return f"{noun}{'' if len(parts) == 1 else 's'} {listed(parts, most)}"


def either(choices: Iterable) -> str:
    """Return choices as people list them.

    >>> either(["smoke", "small", "paper"]), either([96])
    ('smoke, small or paper', '96')
    """
    return listed(choices, last="or")


def meant(word: str, choices: Iterable[str]) -> list[str]:
    """Return the choices, at most three, that are near a word; case does not count.

    >>> meant("CK", ["ck+", "ck48", "mmi"]), meant("affectnet", ["ck+", "ck48", "mmi"])
    (['ck+', 'ck48'], [])
    """
    lower = {one.lower(): one for one in choices}
    return [lower[near] for near in get_close_matches(word.lower(), lower)]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean train?)` where a word is near one of the choices or a few, else nothing.

    >>> did_you_mean("CK", ["ck+", "ck48", "mmi"]), did_you_mean("affectnet", ["ck+", "ck48", "mmi"])
    (' (did you mean ck+ or ck48?)', '')
    """
    near = meant(word, choices)
    return f" (did you mean {either(near)}?)" if near else ""


def unknown(what: str, got: str, choices: Iterable[str]) -> str:
    """Return a sentence for a word that is none of a few.

    >>> unknown("preset", "smal", ["smoke", "small"])
    "unknown preset 'smal'; choose smoke or small (did you mean small?)"
    """
    choices = list(choices)
    return f"unknown {what} {got!r}; choose {either(choices)}{did_you_mean(got, choices)}"


# --- Markdown

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~])")


def escape(text) -> str:
    """Return text that Markdown shows as it is, on one line: a name with a bar, a tag or a bracket stays that name.

    >>> escape("<b>|x_1")
    '\\\\<b\\\\>\\\\|x\\\\_1'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def table(head: list[str], rows: list[list], words: int = 1) -> list[str]:
    """Return the lines of a table; cells are escaped, numbers, which come after so many columns of words, are aligned right."""
    line = "| " + " | ".join([*["---"] * words, *["---:"] * (len(head) - words)]) + " |"
    return [f"| {' | '.join(map(escape, head))} |", line, *(f"| {' | '.join(map(escape, row))} |" for row in rows)]


def paragraphs(parts: Iterable[Listing[str]]) -> str:
    """Return parts, each a list of lines, as one text with an empty line between them; empty parts are left out."""
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"
