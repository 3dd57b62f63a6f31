"""The record of a split: who is in each picture, and the sides of each fold.

In:  what read.py and sides.py found in a user's files.
Out: Split, which leaks.py judges.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Item", "Split", "SplitFold"]


@dataclass(frozen=True)
class Item:
    """One entry of a split: a picture, or where the split lists no pictures a whole sequence or person."""

    image: str                        # name, unique in the split
    subject: str                      # "": nobody says who it is
    sequence: str | None = None       # within the subject; None: not known
    expression: str | None = None     # None: not known
    frame: str | None = None          # what was recorded: copies of one frame share it; None: the image itself


@dataclass(frozen=True)
class SplitFold:
    """The sides of one fold: names of items, with repetitions as the split has them."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """A split as a user brings it."""

    items: Mapping[str, Item]         # by Item.image; every item that occurs anywhere
    folds: tuple[SplitFold, ...]
    unit: str = "image"               # what an item is: image, clip, sequence, subject, row
    notes: tuple[str, ...] = ()       # how it was read, for people
    warnings: tuple[str, ...] = ()    # what looked wrong while it was read
    doubts: tuple[str, ...] = ()      # of these, those about who is who: with one of them no split is clean
