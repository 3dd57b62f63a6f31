"""Walk what a user unzipped, years ago and perhaps on another system, in an order that does not depend on the disk.

In:  a root folder.
Out: its files, relative paths with '/', natural order; litter of operating systems apart from the rest.
"""

import os
from pathlib import Path

from fer_data.errors import DatasetError
from fer_data.order import natural_key

__all__ = ["PICTURES", "CLIPS", "walk", "is_picture"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
CLIPS = (".avi", ".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".flv", ".webm")
_LITTER_NAMES = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".localized", "icon\r"}
_LITTER_FOLDERS = {"__macosx", ".git", ".trashes", ".spotlight-v100", "@eadir", "$recycle.bin"}


def is_picture(path: str) -> bool:
    """Say whether a file name ends like a picture's."""
    return path.lower().endswith(PICTURES)


def walk(root: Path) -> tuple[list[str], list[str]]:
    """Return (files, litter) below `root`: relative paths, '/' separated, each in natural order.

    Links to folders are followed once, so that a loop of links ends. Raises DatasetError if `root` is no folder or if a
    folder in it cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"looking for a database: {root} is not a folder")
    files, litter, seen = [], [], set()

    def fail(error: OSError):
        raise DatasetError(f"looking for a database: {error.filename} cannot be read ({error.strerror})") from error

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=fail):
        identity = (os.stat(folder).st_dev, os.stat(folder).st_ino)
        if identity in seen:
            subfolders.clear()
            continue
        seen.add(identity)
        place = Path(folder).relative_to(root).as_posix()
        prefix = "" if place == "." else f"{place}/"
        in_litter = any(part.lower() in _LITTER_FOLDERS for part in Path(prefix).parts)
        subfolders.sort()
        for name in names:
            is_litter = in_litter or name.lower() in _LITTER_NAMES or name.startswith("._")
            (litter if is_litter else files).append(prefix + name)
    return sorted(files, key=natural_key), sorted(litter, key=natural_key)
