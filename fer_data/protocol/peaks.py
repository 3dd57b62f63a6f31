"""Choose the frames of a sequence that show its expression, as the paper does for each database.

In:  a Sequence. Out: positions in its frames, in order, or the reason why it gives none.

CK+:        "the last three frames of each sequence are extracted, which results in 981 images in total"
Oulu-CASIA: "The last three frames of each sequence are selected to create a training and testing dataset."
MMI:        "The three middle frames that correspond to the peak expression are selected from each sequence"
BU-4DFE:    "60,600 images from 101 identities", that is all frames of the 606 sequences
(paper, sections 4.1 and 4.2). CK+48 holds nothing but the last three frames: all are taken. The other databases are not in the
paper: MUG's takes go from neutral to the apex and back, ADFES' clips end with the apex held, the rest are single pictures.

Where the onset, apex and offset of an MMI clip are coded, its peak is known and stands for "the middle": the centre of the
coded apex and the frames before and after it. Without coding it is the middle of the clip, which goes from neutral to the
peak and back.

CREMA-D and RAVDESS: people speak or sing, no peak is coded, and no rule was found in print. Three frames are taken, evenly spaced
over the middle half of the clip.
"""

import re

from fer_data.errors import DatasetError
from fer_data.records import Sequence
from fer_data.text import unknown

__all__ = ["RULES", "EVERY", "select"]

_FEW = "too-few-frames"
EVERY = re.compile("every-([1-9][0-9]{0,3})")                        # every-5: positions 0, 5, 10, ...


def _all(sequence: Sequence) -> tuple[int, ...] | str:
    return tuple(range(len(sequence.frames)))


def _last_three(sequence: Sequence) -> tuple[int, ...] | str:
    count = len(sequence.frames)
    return (count - 3, count - 2, count - 1) if count >= 3 else _FEW


def _middle_three(sequence: Sequence) -> tuple[int, ...] | str:
    return _around((len(sequence.frames) - 1) // 2, len(sequence.frames))


def _apex_or_middle_three(sequence: Sequence) -> tuple[int, ...] | str:
    if sequence.apex is None:
        return _middle_three(sequence)
    first, last = sequence.apex
    return _around((first + last) // 2, len(sequence.frames))


def _middle_half(sequence: Sequence) -> tuple[int, ...] | str:
    count = len(sequence.frames)
    first = (count - 1) // 4
    last = count - 1 - first
    return (first, (first + last) // 2, last) if count >= 3 else _FEW


def _around(centre: int, count: int) -> tuple[int, ...] | str:
    """Return `centre` and its neighbours; at an end of the sequence the three frames nearest to it."""
    if count < 3:
        return _FEW
    centre = min(max(centre, 1), count - 2)
    return centre - 1, centre, centre + 1


def _last_fifth(sequence: Sequence) -> tuple[int, ...] | str:
    """Three frames evenly spaced over the last fifth, in which the apex is held."""
    count = len(sequence.frames)
    first = min(4 * count // 5, count - 3)
    return (first, (first + count - 1) // 2, count - 1) if count >= 3 else _FEW


RULES = {
    "all": _all, "last-three": _last_three, "middle-three": _middle_three, "apex-or-middle-three": _apex_or_middle_three,
    "last-fifth": _last_fifth, "middle-half": _middle_half,
}


def select(sequence: Sequence, rule: str) -> tuple[int, ...] | str:
    """Return the positions of the frames that `rule` takes from a labelled sequence, or a reason of records.UNUSABLE.

    rule   a key of RULES, or every-N: one frame in N, from the first on
    Frames are ordered by number already, so "last" means the highest numbers even where numbers are missing.
    Raises DatasetError for an unknown rule.
    """
    if every := EVERY.fullmatch(rule):
        return tuple(range(0, len(sequence.frames), int(every[1])))
    if rule not in RULES:
        raise DatasetError(f"choosing frames: {unknown('rule', rule, (*RULES, 'every-N'))}")
    return RULES[rule](sequence)
