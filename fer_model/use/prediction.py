"""The records that prediction gives: what was found in one picture, and on each of its faces.

In:  nothing; use/predictor.py makes them.
Out: Prediction, FacePrediction. Prediction.picture holds the pixels only if they were asked for.
"""

import re
from dataclasses import dataclass, field

import numpy as np

__all__ = ["FacePrediction", "Prediction"]


@dataclass(frozen=True)
class FacePrediction:
    """One face."""

    box: tuple[float, float, float, float]       # left, top, right, bottom; pixels of the picture
    points: np.ndarray = field(repr=False, compare=False)              # (68, 2) float64, (x, y) pixels; all NaN from the backend `none`
    probabilities: dict[str, float]   # expression -> 0..1, in the order of the classes
    eye_distance_px: float            # between the centres of the eyes, in the picture
    yaw_deg: float | None             # about how far it is turned, positive to the right of the picture; None without points
    residual_px: float                # how badly its points fit a frontal face, px of the canvas of 132x132
    doubts: tuple[str, ...]           # why it is not to be trusted, a sentence each; (): no reason is known

    @property
    def expression(self) -> str:
        """The most probable one."""
        return max(self.probabilities, key=self.probabilities.get)

    @property
    def probability(self) -> float:
        """Of that expression."""
        return self.probabilities[self.expression]

    @property
    def status(self) -> str:
        """ok or doubtful."""
        return "doubtful" if self.doubts else "ok"

    @property
    def in_short(self) -> str:
        """The beginnings of the doubts: too small, turned too far, not frontal."""
        return ", ".join(re.split("[:,]", doubt)[0] for doubt in self.doubts)


@dataclass(frozen=True)
class Prediction:
    """What was found in one picture."""

    source: str                       # its file, or "camera 0"
    frame: int | None                 # 0-based position in a clip; None: it is no clip
    time_s: float | None              # since the clip's beginning
    size: tuple[int, int] | None      # (width, height), pixels; None: it cannot be read
    faces: tuple[FacePrediction, ...] # the largest first, then from left to right
    problem: str = ""                 # why it cannot be read, or which faces cannot be aligned
    picture: np.ndarray | None = field(default=None, repr=False, compare=False)     # (H, W, 3) RGB, if asked for
    remark: str = ""                  # what else there is to know: that its brightness was scaled

    @property
    def status(self) -> str:
        """unreadable, no-face, doubtful (a face is, or cannot be aligned) or ok."""
        if self.size is None:
            return "unreadable"
        if not self.faces:
            return "no-face"
        return "doubtful" if self.problem or any(face.doubts for face in self.faces) else "ok"

    @property
    def note(self) -> str:
        """What there is to say of the picture as a whole."""
        said = self.problem or ("" if self.faces else "no face was found")
        return "; ".join(text for text in (said, self.remark) if text)
