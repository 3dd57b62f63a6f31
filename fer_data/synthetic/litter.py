"""Files that macOS and Windows leave in a database: they end like pictures and labels and are neither.

In:  the root of a written tree.
Out: more files in it; their number.
"""

import struct
from pathlib import Path

__all__ = ["APPLE_DOUBLE_MAGIC", "write"]

APPLE_DOUBLE_MAGIC = bytes.fromhex("00051607")
# AppleDouble, version 2: magic, version, filler, number of entries, then (id, offset, length) of one empty resource fork.
_APPLE_DOUBLE = APPLE_DOUBLE_MAGIC + struct.pack(">I16sH3I", 0x00020000, b"Mac OS X        ", 1, 2, 38, 179).ljust(213, b"\0")
_DS_STORE = b"\0\0\0\1Bud1\0\0\x10\0\0\0\x08\0".ljust(6148, b"\0")
_THUMBS = bytes.fromhex("d0cf11e0a1b11ae1").ljust(512, b"\0")  # the signature of an OLE container


def write(root: Path) -> int:
    """Add litter to every level of the tree and return how many files that were."""
    count = 0
    for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name.endswith(("00000001.png", "_emotion.txt")):
                count += _put(folder / f"._{file.name}", _APPLE_DOUBLE)
        if len(folder.relative_to(root).parts) <= 2:
            count += _put(folder / ".DS_Store", _DS_STORE)
        if len(folder.relative_to(root).parts) == 3 and folder.name.endswith("1"):
            count += _put(folder / "Thumbs.db", _THUMBS)
            twin = root / "__MACOSX" / folder.relative_to(root)
            twin.mkdir(parents=True)
            count += _put(twin / "._.DS_Store", _APPLE_DOUBLE)
    count += _put(root / ".DS_Store", _DS_STORE)
    return count + _put(root / "._.DS_Store", _APPLE_DOUBLE)


def _put(path: Path, content: bytes) -> int:
    path.write_bytes(content)
    return 1
