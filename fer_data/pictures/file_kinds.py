"""Recognise, by its first bytes, a file that is not the picture or clip that its name promises.

In:  the beginning of a file (512 bytes are enough; all of it, if it is shorter).
Out: what it is instead, as the end of a sentence; or None.
"""

import re

__all__ = ["not_media"]

_APPLE_DOUBLE, _LFS = b"\x00\x05\x16\x07", b"version https://git-lfs"


def not_media(head: bytes) -> str | None:
    """Return "is ...", or None if the file may well be what it should be.

    >>> not_media(b"")
    'is empty (0 bytes)'
    """
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(_LFS):
        return "is a Git LFS pointer, not the file itself; run `git lfs pull` where it came from"
    if head.startswith(_APPLE_DOUBLE):
        return "is an AppleDouble file that macOS left beside the real one"
    if re.match(rb"\s*<(!doctype\s+)?html", head, re.IGNORECASE):
        return "is a web page; the download failed"
    return None
