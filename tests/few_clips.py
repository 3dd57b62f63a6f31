"""Synthetic CREMA-D and RAVDESS of one sentence alone: what encodes few clips takes a test's time, not a database's.

In:  pytest's MonkeyPatch; or the function that draws a person.
Out: shorter lists of published clips, there or wherever the person is drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fer_data.synthetic import crema_d, ravdess

__all__ = ["Few", "publish_few"]


def publish_few(patch: pytest.MonkeyPatch) -> None:
    """Let what draws know the clips of one sentence only: 6 of each person of CREMA-D, about half of RAVDESS."""
    clips, trials = crema_d.published_clips, ravdess.published_trials
    patch.setattr(crema_d, "published_clips", lambda: [one for one in clips() if "/DFA_" in one])
    patch.setattr(ravdess, "published_trials", lambda *given: [one for one in trials(*given) if one.split("-")[-2] == "01"])


@dataclass(frozen=True)
class Few:
    """Draws a person of few clips in whatever process it is called."""

    draw: Callable

    def __call__(self, job):
        with pytest.MonkeyPatch.context() as patch:
            publish_few(patch)
            return self.draw(job)
