"""Natural order: numbers inside names count as numbers, so that S9 comes before S10."""

import re

__all__ = ["natural_key"]


def natural_key(text: str) -> tuple:
    """Return a sort key for `text`; equal keys only for equal texts.

    >>> sorted(["S10", "S9", "P001"], key=natural_key)
    ['P001', 'S9', 'S10']
    """
    parts = re.split(r"([0-9]+)", text)
    return tuple((1, int(part), part) if index % 2 else (0, 0, part) for index, part in enumerate(parts))
