"""Walk what a user unzipped, years ago and perhaps on another system, in an order that does not depend on the disk.

In:  a root folder.
Out: its files, relative paths with '/', natural order; litter of operating systems apart from the rest.
"""

import os
from pathlib import Path

from fer_data.datasets.recognise import what_file_it_is
from fer_data.errors import DatasetError
from fer_data.records import Skip
from fer_data.text import natural_key

__all__ = ["PICTURES", "CLIPS", "walk", "is_picture", "is_clip", "litter_skips"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
CLIPS = (".avi", ".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".flv", ".webm")
_LITTER_NAMES = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".localized", "icon\r"}
_LITTER_FOLDERS = {"__macosx", ".git", ".trashes", ".spotlight-v100", ".fseventsd", "@eadir", "$recycle.bin", "system volume information"}


def is_picture(path: str) -> bool:
    """Say whether a file name ends like a picture's."""
    return path.lower().endswith(PICTURES)


def is_clip(path: str) -> bool:
    """Say whether a file name ends like a video clip's."""
    return path.lower().endswith(CLIPS)


def walk(root: Path) -> tuple[list[str], list[str]]:
    """Return (files, litter) below `root`: relative paths, '/' separated, each in natural order.

    A folder of litter is not entered and stands for all that is in it, with a '/' at its end. A name that is not UTF-8
    cannot be written into a manifest: it counts as litter, its bytes shown as \\xNN. Links to folders are followed once,
    so that a loop of links ends. Raises DatasetError if `root` is no folder (of a file the sentence says what it is) or if
    a folder in it cannot be read.
    """
    root = Path(root)
    if root.is_file():
        raise DatasetError(f"looking for a database: {root} is a file, not a folder{what_file_it_is(root)}")
    if not root.is_dir():
        raise DatasetError(f"looking for a database: {root} is not a folder")
    files, litter, seen = [], [], set()

    def fail(error: OSError):
        raise DatasetError(f"looking for a database: {error.filename} cannot be read ({error.strerror})") from error

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=fail):
        status = Path(folder).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            subfolders.clear()
            continue
        seen.add(identity)
        place = Path(folder).relative_to(root).as_posix()
        prefix = "" if place == "." else f"{place}/"
        litter += [_utf8(f"{prefix}{name}/") for name in subfolders if _is_litter(name, _LITTER_FOLDERS)]
        subfolders[:] = sorted(name for name in subfolders if not _is_litter(name, _LITTER_FOLDERS))
        for name in names:
            (litter if _is_litter(name, _LITTER_NAMES) or name.startswith("._") else files).append(_utf8(prefix + name))
    return sorted(files, key=natural_key), sorted(litter, key=natural_key)


def litter_skips(litter: list[str]) -> list[Skip]:
    """Return a Skip for each piece of litter; it stands for no frame."""
    return [Skip(path, "litter", frames=0) for path in litter]


def _is_litter(name: str, known: set[str]) -> bool:
    return name.lower() in known or name != _utf8(name)


def _utf8(path: str) -> str:
    """Return a path that UTF-8 can write."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
