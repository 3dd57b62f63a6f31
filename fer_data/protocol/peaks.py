"""Which frames of a sequence stand for its expression, for each database as the paper takes them.

In:  a Sequence. Out: positions in its frames, in order, or the reason why it gives none.

"The last three frames of each sequence are extracted" (CK+, Oulu-CASIA); "the three middle frames that correspond to
the peak expression are selected from each sequence" (MMI); paper, section 4.2.
"""

from fer_data.errors import DatasetError
from fer_data.records import Sequence

__all__ = ["RULES", "DEFAULT_RULE", "select"]

_FEW = "too-few-frames"


def _all(sequence: Sequence) -> tuple[int, ...] | str:
    return tuple(range(len(sequence.frames)))


def _last_three(sequence: Sequence) -> tuple[int, ...] | str:
    count = len(sequence.frames)
    return (count - 3, count - 2, count - 1) if count >= 3 else _FEW


RULES = {"all": _all, "last-three": _last_three}
# database -> the rule that the paper uses for it
DEFAULT_RULE = {"ck+": "last-three", "folder": "all"}


def select(sequence: Sequence, rule: str) -> tuple[int, ...] | str:
    """Return the positions of the frames that `rule` takes from a labelled sequence, or a reason of records.UNUSABLE.

    Frames are ordered by number already, so "last" means the highest numbers even where numbers are missing.
    Raises DatasetError for an unknown rule.
    """
    if rule not in RULES:
        raise DatasetError(f"choosing frames: allowed rules are {', '.join(RULES)}; got {rule!r}")
    return RULES[rule](sequence)
