"""Open what `predict` is pointed at (picture, folder, clip, camera) and yield pictures one at a time.

In:  a picture, a folder of pictures and clips, a clip, or the number of a camera.
Out: Shot after Shot; a file that cannot be read is one too, with the reason in place of the picture.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_data.datasets.tree import walk
from fer_data.errors import ImageError, UnreadableError
from fer_data.files import read_file, why_unreadable
from fer_data.pictures.decode import decode
from fer_data.pictures.file_kinds import is_clip, is_picture
from fer_data.pictures.video import each_frame, require_av
from fer_data.text import counted, did_you_mean, natural_key
from fer_model.errors import ConfigError

__all__ = ["KINDS", "Shot", "Sources", "refuse_source", "sources"]

KINDS = ("picture", "folder", "video", "camera")
_DEVICES = Path("/dev")
_MOST_CAMERAS = 2**31 - 1             # OpenCV takes a C int


@dataclass(frozen=True)
class Shot:
    """One picture."""

    source: str                       # the file as it was named, or below the folder; "camera 0"
    frame: int | None                 # 0-based position in a clip, count of a camera's pictures; None: it is a file of its own
    time_s: float | None              # since the beginning of the clip; None: a picture, or not known
    picture: np.ndarray | None        # (H, W, 3) RGB uint8
    problem: str = ""                 # why there is none
    remark: str = ""                  # what there is to know about it


@dataclass(frozen=True)
class Sources:
    """What an argument means."""

    kind: str                         # of KINDS
    root: Path                        # the folder; else what the names are relative to
    files: tuple[str, ...]            # pictures and clips, natural order
    passed_over: tuple[str, ...]      # other files of the folder
    camera: int = -1
    unread: tuple[tuple[str, str], ...] = ()     # (name, why) of entries that are no files, or folders that cannot be listed

    def shots(self, every: int = 1) -> Iterator[Shot]:
        """Yield every picture; of clips and a camera each n-th."""
        if self.kind == "camera":
            yield from _camera(self.camera, every)
        why = dict(self.unread)
        for name in sorted((*self.files, *why), key=natural_key):
            if name in why:
                yield Shot(name, None, None, None, why[name])
                continue
            yield from _clip(self.root / name, name, every) if is_clip(name) else _picture(self.root / name, name)


def sources(argument: str) -> Sources:
    """Return what is there to look at.

    Raises ImageError if it is none of the four, or a folder with neither picture nor clip in it.
    """
    path = Path(argument)
    if (shown := argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")) != argument:
        raise ImageError(f"looking for pictures: a name must be UTF-8, so that it can be written down; rename {shown}")
    if argument.isdecimal() and not path.exists():
        return Sources("camera", path, (), (), int(argument))
    if path.is_dir():
        files, left = walk(path)
        seen = tuple(name for name in files if is_picture(name) or is_clip(name))
        unread = {skip.source: skip.detail for skip in left if skip.detail and skip.source not in seen}
        if not seen and not unread:
            count = len(files) + len(left)
            others = f", but {counted(count, 'other file')}" if count else "; it is empty"
            raise ImageError(f"looking for pictures: there is neither picture nor clip in {path}{others}")
        others = [name for name in (*files, *(skip.source for skip in left)) if name not in {*seen, *unread}]
        found = Sources("folder", path, seen, tuple(others), unread=tuple(unread.items()))
    elif path.is_file():
        found = Sources("video" if is_clip(path.name) else "picture", path.parent, (path.name,), ())
    else:
        near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        missing = f"there is no {argument}{did_you_mean(path.name, near)}"
        if os.path.lexists(path):
            missing = f"{argument} {why_unreadable(path)}"
        raise ImageError(f"looking for pictures: a picture, a folder, a clip or the number of a camera is needed; {missing}")
    if any(is_clip(name) for name in found.files):
        require_av()
    return found


def refuse_source(doing: str, out: Path, looked_at: Iterable[Path]) -> None:
    """Raise ConfigError if `out` is one of the files that are looked at, by whatever name or link: it would be gone.

    doing     begins the sentence, such as "writing predictions"
    """
    if os.path.realpath(out) in {os.path.realpath(path) for path in looked_at}:
        raise ConfigError(f"{doing} to {out}: it must be another file than the ones that are looked at")


def _picture(path: Path, name: str) -> Iterator[Shot]:
    try:
        picture, remark = decode(read_file(path), True, name)
        yield Shot(name, None, None, picture, remark=remark.text and f"it {remark.text}")
    except ImageError as error:
        yield Shot(name, None, None, None, str(error))
    except UnreadableError as error:
        yield Shot(name, None, None, None, f"it {error.why}")


def _clip(path: Path, name: str, every: int) -> Iterator[Shot]:
    frame = None
    try:
        for frame, time_s, one in each_frame(path, name, every):
            yield Shot(name, frame, time_s, None, one) if isinstance(one, str) else Shot(name, frame, time_s, one)
    except ImageError as error:
        after = "" if frame is None else f" (after frame {frame})"
        yield Shot(name, None, None, None, f"{error}{after}")


def _camera(number: int, every: int) -> Iterator[Shot]:
    """Yield what a camera sees until it ends. Raises ImageError if it cannot be opened."""
    camera = cv2.VideoCapture(min(number, _MOST_CAMERAS))
    try:
        if not camera.isOpened():
            there = ", ".join(sorted((path.name.removeprefix("video") for path in _DEVICES.glob("video[0-9]*")), key=natural_key)) or "none"
            raise ImageError(f"opening camera {number}: it cannot be opened; cameras of this machine, by number: {there}")
        begin, frame = time.monotonic(), 0
        while True:
            good, picture = camera.read()
            if not good:
                return
            if frame % every == 0:
                yield Shot(f"camera {number}", frame, time.monotonic() - begin, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            frame += 1
    finally:
        camera.release()
