"""Words for people: natural order (S9 before S10), lists of choices, and the choice that was meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["either", "meant", "natural_key", "unknown"]


def natural_key(text: str) -> tuple:
    """Return a sort key for `text`; equal keys only for equal texts.

    >>> sorted(["S10", "S9", "P001"], key=natural_key)
    ['P001', 'S9', 'S10']
    """
    parts = re.split(r"([0-9]+)", text)
    return tuple((1, int(part), part) if index % 2 else (0, 0, part) for index, part in enumerate(parts))


def either(choices: Iterable) -> str:
    """Return choices as people list them.

    >>> either(["smoke", "small", "best"]), either([96])
    ('smoke, small or best', '96')
    """
    *most, last = map(str, choices)
    return f"{', '.join(most)} or {last}" if most else last


def meant(word: str, choices: Iterable[str]) -> list[str]:
    """Return the choices, at most three, that are near a word; case does not count.

    >>> meant("CK", ["ck+", "ck48", "mmi"]), meant("affectnet", ["ck+", "ck48", "mmi"])
    (['ck+', 'ck48'], [])
    """
    lower = {one.lower(): one for one in choices}
    return [lower[near] for near in get_close_matches(word.lower(), lower)]


def unknown(what: str, got: str, choices: Iterable[str]) -> str:
    """Return a sentence for a word that is none of a few.

    >>> unknown("preset", "smal", ["smoke", "small"])
    "unknown preset 'smal'; choose smoke or small (did you mean small?)"
    """
    choices = list(choices)
    near = meant(got, choices)
    return f"unknown {what} {got!r}; choose {either(choices)}" + (f" (did you mean {either(near)}?)" if near else "")
