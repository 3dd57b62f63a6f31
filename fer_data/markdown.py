"""Markdown that shows values as they are: texts and rows in, lines out. A name with a bar, a tag or a bracket stays that name."""

import re

__all__ = ["escape", "table"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~])")


def escape(text) -> str:
    """Return text that Markdown shows as it is, on one line.

    >>> escape("<b>|x_1")
    '\\\\<b\\\\>\\\\|x\\\\_1'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def table(head: list[str], rows: list[list], words: int = 1) -> list[str]:
    """Return the lines of a table; cells are escaped, numbers, which come after so many columns of words, stand to the right."""
    line = "| " + " | ".join([*["---"] * words, *["---:"] * (len(head) - words)]) + " |"
    return [f"| {' | '.join(map(escape, head))} |", line, *(f"| {' | '.join(map(escape, row))} |" for row in rows)]
