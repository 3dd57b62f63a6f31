"""The frozen records that the steps pass on to each other. Those of which a database gives many have slots: half the memory.

Letters in shape comments: B batch, C channel, H W, L landmarks (68), K classes, N images.
"""

from collections import Counter, abc
from dataclasses import dataclass

import numpy as np

from fer_data.labels import HumanFigure

__all__ = ["FRAMINGS", "ROLES", "SPLITS", "NOT_SELECTED", "REMARKS", "UNUSABLE", "ClipFrames", "Frame", "Sequence", "Skip", "Scan",
           "Landmarks", "Face", "View", "absent_of", "absent_text"]

# How to look at a frame before searching a face in it; an adapter names those to try, in order.
FRAMINGS = ("whole", "clockwise", "counterclockwise", "left", "right")

# What a face is there for: peak frames are trained and tested on; a reference, the neutral first frame of its sequence, is not.
ROLES = ("peak", "reference")

# The parts of a database's own split, in this order. One whose people are unknown has no folds, only this.
SPLITS = ("train", "validation", "test")

# Why a frame that was found is not in the manifest. The protocol leaves it out:
NOT_SELECTED = {
    "unlabelled": "the database gives no expression for its sequence",
    "not-peak": "the sequence is used, but the frame rule takes other frames",
    "copy": "it is exactly the same as another picture, and copies were to be left out",
    "other-part": "it belongs to a part of the database that was not asked for",
    "erratum": "the database is known to be at fault: the file is broken, or there never was one",
    "litter": "a file that an operating system left behind, or no file: a FIFO, socket or device",
}
# ... or it was wanted and cannot be used (these make --strict fail):
UNUSABLE = {
    "no-match": "the name does not fit the layout or the pattern",
    "bad-label": "the label is not one that the database defines",
    "duplicate": "the same frame was found at another place and is taken from there",
    "too-few-frames": "the frame rule needs more frames than the sequence has",
    "unreadable": "the file cannot be read, or the picture not be decoded",
    "no-face": "no face was found",
    "no-landmarks": "no points are given for it where the landmark backend reads them",
    "bad-landmarks": "the points found or given cannot be aligned",
}


# ... or it is used, and there is something to know about it: such a row stands for no frame. A note says it of so many pictures.
REMARKS = {"few-bits": "with fewer bits than the file has", "damaged": "of a damaged file"}


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a sequence: a file of its own, or one position in a clip."""

    source: str                       # path relative to the root of the database, '/' separated
    number: int                       # the frame number as the database counts
    position: int | None = None       # 0-based position in the clip, or row of the table, `source`; None: the source is a picture
    points: str | None = None         # file with the points that the database itself gives for it, relative to the root
    box: tuple[int, int, int, int] | None = None     # left, top, right, bottom px (inclusive): where the database says its face is


@dataclass(frozen=True)
class ClipFrames(abc.Sequence):
    """All frames of a clip, numbered from 1, each made when it is asked for: a database of clips has a million of them."""

    source: str                       # as in Frame
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index):
        positions = range(self.count)[index]
        if isinstance(positions, range):
            return tuple(Frame(self.source, position + 1, position) for position in positions)
        return Frame(self.source, positions + 1, positions)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Frames of one person showing one expression, in order. The unit of work of `prepare`.

    Where nobody says who is in the pictures, each is a sequence of its own.
    """

    dataset: str
    subject: str                      # the database's own id, e.g. S005; "": people unknown, then all sequences of the scan have ""
    sequence: str                     # id within the subject, e.g. 001
    expression: str | None            # a name from labels.EXPRESSIONS; None: the database gives no label
    frames: tuple[Frame, ...] | ClipFrames
    apex: tuple[int, int] | None = None          # positions in `frames`, [first, last], where the expression is at its peak, if coded
    framings: tuple[str, ...] = ("whole",)       # tried in order until a face is found
    role: str = "peak"                # of ROLES
    split: str = ""                   # of SPLITS, where people are unknown; "": the database names none

    @property
    def sequence_id(self) -> str:
        return f"{self.subject}/{self.sequence}" if self.subject else self.sequence


@dataclass(frozen=True, order=True, slots=True)
class Skip:
    """Something that was found and is not used, with its reason, or used with a remark. One row of skipped.csv."""

    source: str                       # what was found, relative to the root
    reason: str                       # a key of NOT_SELECTED, UNUSABLE or REMARKS
    subject: str = ""
    sequence: str = ""
    frame: int = -1                   # -1: the whole sequence or file
    frames: int = 1                   # how many frames this row stands for, so that found = kept + the sum of these
    detail: str = ""                  # one sentence, for people

    @property
    def lacks(self) -> bool:
        """Whether a list of the database names what is not there or cannot be used: no frame was found, and one was wanted."""
        return not self.frames and self.reason in UNUSABLE and self.reason != "duplicate"

    def __post_init__(self):
        assert self.reason in NOT_SELECTED or self.reason in UNUSABLE or (self.reason in REMARKS and not self.frames), self.reason


def absent_of(skipped: abc.Iterable[Skip]) -> dict[str, int]:
    """Return reason -> how many things lists of a database name that are not there or cannot be used; none of them is a frame."""
    counts = Counter(skip.reason for skip in skipped if skip.lacks)
    return {reason: counts[reason] for reason in UNUSABLE if counts[reason]}


def absent_text(absent: dict[str, int]) -> str:
    """Return absent_of as words that follow what was skipped."""
    parts = ", ".join(f"{reason} {count:,}" for reason, count in absent.items())
    return f"; named by its lists, and not there or not usable: {parts} (see skipped.csv)" if parts else ""


@dataclass(frozen=True)
class Scan:
    """What an adapter found below a root."""

    dataset: str
    sequences: tuple[Sequence, ...]   # natural order of (subject, sequence); labelled and unlabelled
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()       # sentences for the user, e.g. what differs from the published counts
    human: tuple[HumanFigure, ...] = ()          # what people reach on the same task

    @property
    def people(self) -> bool:
        """Whether the database says who is in its pictures."""
        return any(sequence.subject for sequence in self.sequences)


@dataclass(frozen=True)
class Landmarks:
    """68 points of one face (iBUG order).

    Convention: (x, y), float64 pixels of the framed picture, origin at the centre of the top-left pixel.
    """

    points: np.ndarray                # (68, 2) float64; all NaN from the backend `none`, which looks for no points
    box: tuple[float, float, float, float]       # left, top, right, bottom of the detector, pixels
    faces_found: int = 1              # how many faces the detector saw; the largest one was taken


@dataclass(frozen=True)
class Face:
    """An aligned face on the stored canvas (faces/align.py)."""

    pixels: np.ndarray                # (132, 132) grey or (132, 132, 3) RGB, uint8
    matrix: np.ndarray                # (2, 3) float64, framed picture -> canvas, pixels
    residual_px: float                # root mean square distance of the rigid points from the template, canvas pixels
    invented: float                   # share of canvas pixels that lie outside the picture, 0..1


@dataclass(frozen=True)
class View:
    """One of the 110 views of a face (paper, section 4.1)."""

    k: int                            # 0..109
    crop: str                         # centre, top-left, top-right, bottom-left, bottom-right
    angle_deg: float                  # counter-clockwise on the screen
    flip: bool                        # mirrored left-right after the rotation
