"""Docstrings of this project are plain text with aligned columns; this turns one into reStructuredText that looks the same.

In:  the lines of a docstring, dedented.
Out: lines: prose as paragraphs, `Name:  text` blocks as field lists, everything indented or in columns as literal blocks. No Sphinx here.
"""

import re
from itertools import groupby

__all__ = ["escaped", "to_rst"]

_FIELD = re.compile(r"([A-Z][A-Za-z ]{1,18}): +(\S.*)")
_COLUMNS = re.compile(r"\S {2,}\S")
_STARTS = re.compile(r"(Raises|Reference|Convention)\b")


def to_rst(lines: list[str]) -> list[str]:
    """Return the docstring as reStructuredText.

    >>> to_rst(["Return `x` * 2.", "", "In:  a", "Out: b", "     c", "", "    root/", "      F001/"])
    ['Return ``x`` \\\\* 2.', '', ':In: a', ':Out: b c', '', '::', '', '    root/', '      F001/', '']
    """
    out: list[str] = []
    for empty, block in groupby(_unjoined(lines), lambda line: not line.strip()):
        if not empty:
            out += _block(list(block))
    return out


def _unjoined(lines: list[str]):
    """Yield the lines with an empty one before each that begins another thought, and around doctests."""
    before = ""
    for line in lines:
        if before.strip() and not line.startswith(" ") and (_STARTS.match(line) or line.startswith(">>>")):
            yield ""
        yield line.rstrip()
        before = line


def _block(lines: list[str]) -> list[str]:
    if lines[0].startswith(">>>"):
        return [*lines, ""]
    fields = _fields(lines)
    if fields:
        return [*(f":{name}: {escaped(text)}" for name, text in fields), ""]
    if len(lines) > 1 and any(_COLUMNS.search(line) for line in lines if not line.startswith(" ")):
        return _literal(lines)
    out: list[str] = []
    for indented, part in groupby(lines, lambda line: line.startswith(" ")):
        part = list(part)
        out += _literal(part) if indented else [*map(escaped, part), ""]
    return out


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    """Return (name, text) of a block in which every line that is not indented reads `Name:  text`; else nothing."""
    found: list[tuple[str, str]] = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match:
            found.append((match[1], match[2]))
        elif line.startswith("    ") and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            return []
    return found


def _literal(lines: list[str]) -> list[str]:
    least = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return ["::", "", *(f"    {line[least:]}" for line in lines), ""]


def escaped(line: str) -> str:
    """Return a line without markup but for `code`, which becomes ``code``."""
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(f"`{part}`" if part.startswith("`") and len(part) > 1 else re.sub(r"([\\*_|`])", r"\\\1", part) for part in parts)
