"""Walk a database's folders in the same order on every disk, and skip what systems leave there.

In:  a root folder.
Out: its files, relative paths with '/', natural order; a Skip for each entry that is none, or cannot be opened. Nothing is opened.
"""

import os
from pathlib import Path

from fer_data.datasets.recognise import what_file_it_is, with_backslashes
from fer_data.errors import DatasetError
from fer_data.files import why_not_listed, why_unreadable
from fer_data.pictures.file_kinds import PICTURES, is_clip, is_picture, unread_kind
from fer_data.records import Skip
from fer_data.text import natural_key

__all__ = ["MARKER", "PICTURE", "UNFINISHED", "is_drawn", "stray", "walk"]

MARKER = "synthetic.json"             # at the top of a tree of synthetic people; fer_data/synthetic/trees.py writes it
UNFINISHED = ".synthetic.part"        # in a folder into which such a tree is being written, or was when the writer was killed
PICTURE = "(?:" + "|".join(suffix[1:] for suffix in PICTURES) + ")"     # of a regular expression, after the dot
_LITTER_NAMES = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".localized", "icon\r"}
_LITTER_FOLDERS = {
    "__macosx", ".git", ".trash", ".trashes", ".spotlight-v100", ".fseventsd", ".appledouble", ".thumbnails", "@eadir", "#recycle",
    "#snapshot", ".snapshot", "$recycle.bin", "system volume information", "lost+found", UNFINISHED,
}
_TRASH = ".trash-"                    # of a disk under Linux, then the number of a user: what was deleted is no data


def walk(root: Path) -> tuple[list[str], list[Skip]]:
    """Return (files, left) below `root`: relative paths, '/' separated, and what is left out, each in natural order.

    left    litter       what operating systems leave behind; FIFOs, sockets and devices. A folder of litter is not entered and
                         stands for all that is in it, with a '/' at its end
            unreadable   a folder that cannot be listed, a link that leads nowhere; a folder, picture or clip whose name is not
                         UTF-8 and cannot be written into a manifest, its bytes shown as \\xNN. Other files of such names are litter
    A file that cannot be opened, such as a link that leads nowhere, is in both: its name says what is missing, and nothing
    else is taken in its place. There its Skip stands for no frame: whoever wanted it counts it.
    Links to folders are followed once, so that a loop of links ends. Raises DatasetError if `root` is no folder (of a file the
    sentence says what it is), or if it cannot be listed.
    """
    root = Path(root)
    if root.is_file():
        raise DatasetError(f"looking for a database: {root} is a file, not a folder{what_file_it_is(root)}")
    if not root.is_dir():
        raise DatasetError(f"looking for a database: {root} is not a folder")
    files, left, seen, waiting = [], [], set(), [""]
    while waiting:
        prefix = waiting.pop()
        try:
            status = (root / prefix).stat()
            with os.scandir(root / prefix) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            why = why_not_listed(root / prefix, error)
            if not prefix:
                raise DatasetError(f"looking for a database: {root} {why}") from error
            left.append(Skip(prefix, "unreadable", detail=f"the folder {why}"))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        left += [_misnamed(entry, prefix) for entry in entries if entry.name != _utf8(entry.name)]
        entries = [entry for entry in entries if entry.name == _utf8(entry.name)]
        folders = [entry.name for entry in entries if _is_folder(entry)]
        left += [_litter(f"{prefix}{name}/") for name in folders if _is_litter_folder(name)]
        waiting += [f"{prefix}{name}/" for name in reversed(folders) if not _is_litter_folder(name)]
        for entry in entries:
            if not _is_folder(entry):
                skip = _problem_of(entry, prefix + entry.name)
                files += [prefix + entry.name] if skip is None or skip.reason != "litter" else []
                left += [skip] if skip else []
    return sorted(files, key=natural_key), sorted(left, key=lambda skip: (natural_key(skip.source), skip))


def is_drawn(root: Path) -> bool:
    """Return whether a folder is in a tree of synthetic people: it, or a folder above it, has the marker."""
    root = Path(root).resolve()
    return any((folder / MARKER).is_file() for folder in (root, *root.parents))


def stray(path: str, member: str) -> Skip:
    """Return the Skip of a picture that fits no name of its database; `member` says how one is named.

    One of a kind that is not read is unreadable whatever its name, with what to do about it.
    """
    if kind := unread_kind(path):
        return Skip(path, "unreadable", detail=f"by its name it {kind}")
    kept = with_backslashes([path])
    return Skip(path, "no-match", detail=f"{member}; {kept}" if kept else member)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:                   # a link that leads back to itself
        return False


def _problem_of(entry: os.DirEntry, path: str) -> Skip | None:
    """Return what is wrong with an entry that is no folder. Of most the listing tells that they are files: the disk is not asked."""
    if _is_litter(entry.name, _LITTER_NAMES) or entry.name.startswith("._"):
        return _litter(path)
    why = "" if entry.is_file(follow_symlinks=False) else why_unreadable(entry.path)
    if not why:
        return None
    if why.endswith("not a file"):
        return _litter(path, why)
    # What has no suffix may have been a folder: then nobody else knows that anything is missing.
    return Skip(path, "unreadable", frames=0 if Path(path).suffix else 1, detail=f"it {why}")


def _litter(path: str, why: str = "") -> Skip:
    """Return the Skip of a piece of litter; it stands for no frame."""
    return Skip(path, "litter", frames=0, detail=why and f"it {why}")


def _misnamed(entry: os.DirEntry, prefix: str) -> Skip:
    """Return the Skip of an entry whose name is not UTF-8: a folder's may be a person's."""
    path, why = _utf8(prefix + entry.name), "has a name that is not UTF-8; rename it (convmv does so for a whole tree)"
    if _is_folder(entry):
        return Skip(f"{path}/", "unreadable", detail=f"the folder {why}")
    wanted = (is_picture(path) or is_clip(path)) and not entry.name.startswith("._")
    return Skip(path, "unreadable", detail=f"it {why}") if wanted else _litter(path, why)


def _is_litter(name: str, known: set[str]) -> bool:
    return name.lower() in known


def _is_litter_folder(name: str) -> bool:
    return _is_litter(name, _LITTER_FOLDERS) or name.lower().startswith(_TRASH)


def _utf8(path: str) -> str:
    """Return a path that UTF-8 can write."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
