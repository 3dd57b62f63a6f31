"""What a picture file claims about itself, read from its first bytes without decoding it.

In:  the bytes of a PNG, JPEG, BMP, TIFF, WebP or PNM file.
Out: (width, height), and whether the file is cut short. A decoder would reserve memory for whatever the header claims.
"""

import re
import struct

__all__ = ["bits_per_sample", "claimed_size", "cut_short", "is_jpeg", "is_raw", "jpeg_scan", "largest_value"]

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_STANDALONE = {0x01, *range(0xD0, 0xD8)}                                          # JPEG markers without a length
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}                        # JPEG markers that give the size
_PNM = re.compile(rb"P[1-6](?:\s+#[^\n]*)*\s+(\d{1,9})(?:\s+#[^\n]*)*\s+(\d{1,9})\s")
_WHITE = rb"P[2356](?:(?:\s+#[^\n]*)*\s+\d{1,9}){2}(?:\s+#[^\n]*)*\s+(\d{1,5})\s|P7\s.*?^MAXVAL\s+(\d{1,5})\s"
_PNM_WHITE = re.compile(_WHITE, re.DOTALL | re.MULTILINE)
_PAM = re.compile(rb"P7\s(?=.*?^WIDTH\s+(\d{1,9})\s)(?=.*?^HEIGHT\s+(\d{1,9})\s).*?^ENDHDR\s", re.DOTALL | re.MULTILINE)
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _SUB_DIRECTORIES, _DNG = 254, 256, 257, 258, 330, 50706       # tags of TIFF
_SHORT = 3                            # the kind of a TIFF's numbers that have 16 bits


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as the header has it, or None if it is of no known format or too short.

    >>> claimed_size(b"P5 640 490 255 ")
    (640, 490)
    """
    try:
        if data.startswith(_PNG):
            return struct.unpack(">II", data[16:24])
        if is_jpeg(data):
            return jpeg_scan(data)[0]
        if data.startswith(b"BM"):
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        match = _PNM.match(data[:4096]) or _PAM.match(data[:4096])
        return (int(match[1]), int(match[2])) if match else None
    except (struct.error, IndexError):
        return None


def bits_per_sample(data: bytes) -> int:
    """Return how many bits the header of a picture gives to a sample, 8 where it cannot be told.

    >>> bits_per_sample(b"P5 640 490 4095 ")
    16
    """
    try:
        if data.startswith(_PNG):
            return max(8, data[24])
        if data[:4] in (b"II*\0", b"MM\0*"):
            return max(8, _tags(data).get(_BITS, 8))
        match = _PNM_WHITE.match(data[:4096])
        return 16 if match and int(match[1] or match[2]) > 255 else 8
    except (struct.error, IndexError):
        return 8


def largest_value(data: bytes) -> int | None:
    """Return the value of white that a PNM file names, unless it is 255 or 65535, which is all that its bytes hold."""
    match = _PNM_WHITE.match(data[:4096])
    white = int(match[1] or match[2]) if match else 255
    return white if 0 < white < 65535 and white != 255 else None


def is_jpeg(data: bytes) -> bool:
    """Say whether a file begins as a JPEG does."""
    return data.startswith(_JPEG)


def cut_short(data: bytes) -> bool:
    """Say whether a PNG or JPEG lacks its end mark, or a WebP has fewer bytes than it says it has."""
    if data.startswith(_PNG):
        return not _has_png_end(data)
    if is_jpeg(data):
        return data.find(b"\xff\xd9", jpeg_scan(data)[1]) < 0
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return len(data) < 8 + struct.unpack("<I", data[4:8])[0]
    return False


def _has_png_end(data: bytes) -> bool:
    """Say whether the chunks of a PNG lead to its end mark: what stands behind it, such as a signature, does not matter."""
    offset = len(_PNG)
    while offset + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[offset : offset + 8])
        if kind == b"IEND":
            return True
        offset += 12 + length             # length, kind and checksum have 4 bytes each
    return False


def jpeg_scan(data: bytes) -> tuple[tuple[int, int] | None, int]:
    """Return ((width, height) or None, offset at which the compressed pixels begin) of a JPEG.

    Segments before the pixels are stepped over, so that a thumbnail inside one is not taken for the picture.
    """
    size, offset = None, 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            break
        marker = data[offset + 1]
        if marker == 0xFF or marker in _STANDALONE:
            offset += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        if marker in _FRAME_HEADERS and offset + 9 <= len(data):
            height, width = struct.unpack(">HH", data[offset + 5 : offset + 9])
            size = (width, height)
        offset += 2 + length
        if marker == 0xDA:
            break
    return size, offset


def _bmp(data: bytes) -> tuple[int, int]:
    if struct.unpack("<I", data[14:18])[0] == 12:  # the oldest header has 16-bit sides
        return struct.unpack("<HH", data[18:22])
    width, height = struct.unpack("<ii", data[18:26])
    return abs(width), abs(height)  # a negative height: stored from the top


def _tiff(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) as the first directory has them."""
    tags = _tags(data)
    return (tags[_WIDTH], tags[_HEIGHT]) if _WIDTH in tags and _HEIGHT in tags else None


def is_raw(data: bytes) -> bool:
    """Say whether a TIFF is a camera's raw file: its first picture is a thumbnail, and no decoder says so."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return False
    tags = _tags(data)
    return _DNG in tags or (_SUB_DIRECTORIES in tags and tags.get(_SUBFILE, 0) & 1 == 1)


def _tags(data: bytes) -> dict[int, int]:
    """Return tag -> its first value, of the first directory of a TIFF; numbers that lie behind the end of the file are 0."""
    order = "little" if data[:2] == b"II" else "big"

    def number(place: int, size: int) -> int:
        return int.from_bytes(data[place : place + size], order)

    tags, start = {}, number(4, 4)
    for place in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        tag, size, count = number(place, 2), 2 if number(place + 2, 2) == _SHORT else 4, number(place + 4, 4)
        inside = size * count <= 4                                       # else these 4 bytes say where the values lie
        tags[tag] = number(place + 8 if inside or size == 4 else number(place + 8, 4), size)
    return tags


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack("<I", data[21:25])[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None
