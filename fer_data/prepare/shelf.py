"""Keep the sequences of a plan in little memory while they are read in order: in boxes, as compressed JSON.

In:  lists of Selected, each of which becomes a box.
Out: Shelf, a sequence of all of them; one box at a time is open.

A frame takes 170 bytes as an object and about 15 here.
"""

import json
import zlib
from bisect import bisect_right
from collections import abc
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

from fer_data.records import Frame, Sequence

__all__ = ["Selected", "Shelf"]


@dataclass(frozen=True)
class Selected:
    """A sequence and the frames of it that are used; its neutral first frame, if that is wanted, is one of its own."""

    sequence: Sequence                # its `frames` are the used ones, in order, a tuple
    fold: int
    evidence: list                    # what its points depend on besides its pictures, as JSON can say it


class Shelf(abc.Sequence):
    """Selected in the order in which they were given. Read them in order, or a box at a time: each jump opens a box."""

    def __init__(self, boxes: Iterable[list[Selected]]):
        self._packed, self._starts = [], [0]
        for box in boxes:
            self._packed.append(zlib.compress(json.dumps(list(map(astuple, box))).encode(), 1))
            self._starts.append(self._starts[-1] + len(box))
        self._open: tuple[int, list[Selected]] = (-1, [])

    @property
    def boxes(self) -> range:
        """The numbers of the boxes."""
        return range(len(self._packed))

    def box(self, number: int) -> list[Selected]:
        """Return what is in a box."""
        if self._open[0] != number:
            self._open = number, [_unpacked(*one) for one in json.loads(zlib.decompress(self._packed[number]))]
        return self._open[1]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Selected]:
        for number in self.boxes:
            yield from self.box(number)

    def __getitem__(self, index: int) -> Selected:
        index = range(len(self))[index]
        number = bisect_right(self._starts, index) - 1
        return self.box(number)[index - self._starts[number]]


def _unpacked(sequence: list, fold: int, evidence: list) -> Selected:
    """Return what astuple and JSON made lists of."""
    dataset, subject, name, expression, frames, apex, framings, *others = sequence
    used = tuple(Frame(*place, box and tuple(box)) for *place, box in frames)
    return Selected(Sequence(dataset, subject, name, expression, used, apex and tuple(apex), tuple(framings), *others), fold, evidence)
