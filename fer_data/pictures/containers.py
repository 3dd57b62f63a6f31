"""Say from the structure of a clip's file whether a part of it is missing: a container names the sizes of what it holds.

In:  an open file, its size, its beginning.
Out: which container it is; how many bytes its structure promises, if more than there are. Nothing is decoded.
"""

import struct
from typing import BinaryIO

__all__ = ["CONTAINERS", "container_of", "promised_bytes"]

_SLOPPY_BYTES = 16                    # a writer may get the size field of a RIFF file wrong by its own header
_MOST_STEPS = 1_000_000               # elements that are stepped over; a crafted file has no end of them
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_PACK, _PROGRAM_END = 0xBA, 0xB9     # of an MPEG program stream
_PAGE, _LAST_PAGE = 27, 4             # of Ogg: bytes before the table of a page; the bit of the last page of a stream
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")            # GUID of the object that holds the size of the file
# FFmpeg is told which container to expect, so that no playlist in disguise makes it open other files.
CONTAINERS = (
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"AVI ", "avi"),
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"), "mov"),
    (lambda head: head[:4] == b"\x1aE\xdf\xa3", "matroska"),
    (lambda head: head[:4] == b"\0\0\x01\xba", "mpeg"),
    (lambda head: head[:4] == b"0&\xb2u", "asf"),
    (lambda head: head[:3] == b"FLV", "flv"),
    (lambda head: head[:1] == b"G" == head[188:189] or head[4:5] == b"G" == head[196:197], "mpegts"),
    (lambda head: head[:4] == b"OggS", "ogg"),
)


def container_of(head: bytes) -> str | None:
    """Return FFmpeg's name of the container that begins like this, or None."""
    return next((name for test, name in CONTAINERS if test(head)), None)


def promised_bytes(file: BinaryIO, size: int, head: bytes) -> int | None:
    """Return how many bytes a clip should have at least, if that is more than its `size`, else None; the place in the file is lost.

    None too for one whose structure is damaged otherwise: the decoder tells. MPEG program and transport streams promise no more than the
    packet that they end in: one that is cut between two packets seems whole.
    """
    walker = _WALKERS.get(container_of(head))
    try:
        end = walker(file, size, head) if walker else 0
    except (struct.error, IndexError):
        return None
    return end if end > size else None


def _riff(file: BinaryIO, size: int, head: bytes) -> int:
    """Step over the RIFF chunks of an AVI file: large ones have several."""
    at = 0
    for _ in range(_MOST_STEPS):
        start = _read(file, at, 8)
        if start[:4] != b"RIFF":
            break
        length = struct.unpack("<I", start[4:])[0]
        at += 8 + length + length % 2
        if at >= size:
            break
    return at if at > size + _SLOPPY_BYTES else 0


def _boxes(file: BinaryIO, size: int, head: bytes) -> int:
    """Step over the outermost boxes of an MP4 or MOV file."""
    at = 0
    for _ in range(_MOST_STEPS):
        if at + 8 > size:
            break
        start = _read(file, at, 16)
        length = struct.unpack(">I", start[:4])[0]
        if length == 1:
            length = struct.unpack(">Q", start[8:16])[0]
        if length < 8:                # 0: it reaches to the end of the file
            return 0
        at += length
    return at


def _ebml(file: BinaryIO, size: int, head: bytes) -> int:
    """Step over the elements of a Matroska or WebM file; those of unknown size, as a browser records, are entered."""
    at = 0
    for _ in range(_MOST_STEPS):
        if at >= size:
            break
        start = _read(file, at, 12)
        name, after = _number(start, 0, keep_mark=True)
        length, after = _number(start, after)
        unknown = length == (1 << (7 * (after - _width(name)))) - 1
        if not unknown:
            at += after + length
        elif name in (_SEGMENT, _CLUSTER):
            at += after
        else:
            return 0
    return at


def _number(data: bytes, at: int, keep_mark: bool = False) -> tuple[int, int]:
    """Return (value, where it ends) of a number of EBML; the bit that marks its length is part of an element's name."""
    width = 9 - data[at].bit_length()
    if width > 8 or at + width > len(data):
        raise IndexError
    value = int.from_bytes(data[at : at + width], "big")
    return value if keep_mark else value & ((1 << 7 * width) - 1), at + width


def _width(name: int) -> int:
    return (name.bit_length() + 7) // 8


def _asf(file: BinaryIO, size: int, head: bytes) -> int:
    """Return the size that the header of an ASF or WMV file gives."""
    at = head.find(_ASF_FILE)
    return struct.unpack("<Q", head[at + 40 : at + 48])[0] if at >= 0 else 0


def _tags(file: BinaryIO, size: int, head: bytes) -> int:
    """Step over the tags of an FLV file; behind each stands its length once more."""
    at = struct.unpack(">I", head[5:9])[0] + 4
    for _ in range(_MOST_STEPS):
        if at >= size:
            break
        start = _read(file, at, 11)
        if start[0] & 0x1F not in (8, 9, 18):
            return 0
        at += 11 + int.from_bytes(start[1:4], "big") + 4
    return at - 4


def _packs(file: BinaryIO, size: int, head: bytes) -> int:
    """Step over the packs and packets of an MPEG program stream."""
    at = 0
    for _ in range(_MOST_STEPS):
        if at + 4 > size:
            break
        start = _read(file, at, 14)
        if start[:3] != b"\0\0\1":
            return 0
        if start[3] == _PACK:
            at += 14 + (start[13] & 7) if start[4] >> 6 == 1 else 12                 # MPEG-2, MPEG-1
        elif start[3] == _PROGRAM_END:
            at += 4
        elif start[3] > _PACK:
            at += 6 + struct.unpack(">H", start[4:6])[0]
        else:
            return 0
    return at


def _transport(file: BinaryIO, size: int, head: bytes) -> int:
    """Return where the last packet of an MPEG transport stream ends; all are of one length."""
    packet = 188 if head[:1] == b"G" == head[188:189] else 192
    return -(-size // packet) * packet


def _pages(file: BinaryIO, size: int, head: bytes) -> int:
    """Step over the pages of an Ogg file; behind its last one at least one more is missing if no page says that its stream ends."""
    at, open_streams = 0, set()
    for _ in range(_MOST_STEPS):
        if at >= size:
            break
        start = _read(file, at, _PAGE + 255)
        if start[:4] != b"OggS":
            return 0
        (open_streams.discard if start[5] & _LAST_PAGE else open_streams.add)(start[14:18])
        at += _PAGE + start[26] + sum(start[_PAGE : _PAGE + start[26]])
    return at + _PAGE * bool(at <= size and open_streams)


_WALKERS = {"avi": _riff, "mov": _boxes, "matroska": _ebml, "asf": _asf, "flv": _tags, "mpeg": _packs, "mpegts": _transport, "ogg": _pages}


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
