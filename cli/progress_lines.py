"""Progress where there is no terminal to draw a bar on: lines, one every few seconds at least, also while one piece of work takes long.

In:  what is being done; from time to time how much of it is done, of how much, and what is at work.
Out: lines such as `preparing ck+: 40 of 327`, `predicting talk.mp4, frame 4,711 (188.4 s): 4,711 done, 45 s`.
"""

import threading
import time
from collections.abc import Callable

__all__ = ["ProgressLines"]

EVERY_S = 5.0                         # a line at least so often


class ProgressLines:
    """Says a line at each tenth of what is to be done, and one every few seconds; to be used in a `with` block."""

    def __init__(self, what: str, say: Callable[[str], None]):
        self._say, self._begin = say, time.monotonic()
        self._state: tuple[int, int | None, str] = (0, None, what)
        self._what, self._tenth, self._said = what, -1, self._begin
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> "ProgressLines":
        self._clock.start()
        return self

    def __exit__(self, *error) -> None:
        self._over.set()
        self._clock.join()

    def __call__(self, done: int, total: int | None, text: str | None = None) -> None:
        """Take note of how much is done, and of how much; None: that is not known. `text`: what is at work."""
        self._state = (done, total, text or self._what)
        tenth = 10 * done // total if total else 0
        if total is not None and tenth > self._tenth:
            self._tenth, self._said = tenth, time.monotonic()
            self._say(f"{self._state[2]}: {done} of {total}")

    def _beat(self) -> None:
        """Say where it is whenever nothing was said for a while; a thread of its own, for one piece of work may take minutes."""
        while not self._over.wait(max(0.0, self._said + EVERY_S - time.monotonic())):
            now = time.monotonic()
            if now >= self._said + EVERY_S:
                done, total, text = self._state
                count = f"{done:,} done, " if total is None and done else f"{done} of {total}, " if total else ""
                self._said = now
                self._say(f"{text}: {count}{now - self._begin:.0f} s")
