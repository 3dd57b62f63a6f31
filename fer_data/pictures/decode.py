"""From a file's bytes to a picture, grey or RGB, or one sentence that says what the file really is.

In:  the bytes of a PNG, JPEG, BMP, TIFF ... file: 8 or 16 bits a channel, grey, colour, palette, CMYK, with alpha.
Out: (H, W) grey or (H, W, 3) RGB, uint8, upright (the EXIF orientation is applied).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import cv2
import numpy as np

from fer_data.errors import ImageError
from fer_data.pictures.complaints import complaints
from fer_data.pictures.file_kinds import not_media, other_picture, unread_kind
from fer_data.pictures.header import bits_per_sample, claimed_size, cut_short, is_raw, largest_value

__all__ = ["MAX_PIXELS", "Remark", "decode", "decode_picture", "few_bits", "grey_of", "frame_picture", "unframe_points"]

MAX_PIXELS = 100_000_000              # a face database has none larger; a crafted header can claim any size

_CAMERA_BITS = (8, 10, 12, 14)        # so many bits of 16 do cameras use, the others being 0

# What OpenCV would log about a damaged file stands in our own sentence.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)


class Remark(NamedTuple):
    """What the user of a picture must know of it."""

    reason: str = ""                  # a key of records.REMARKS; "": there is nothing to know
    text: str = ""                    # the end of a sentence that begins with the picture's name or "it"


def decode_picture(data: bytes, colour: bool, where: str) -> np.ndarray:
    """Return the picture in `data`, or raise ImageError naming `where` and what is wrong with it.

    Empty files, Git LFS pointers, AppleDouble files, web pages, truncated and absurdly large pictures are told apart.
    Grey is always the luminance of the RGB picture, so that it does not depend on the file's format; 16 bits a channel
    become 8 by their upper byte, or by the uppermost 8 bits that are used (`decode` says so); alpha is left out.
    Any number of threads may decode at once; what decoders print of a damaged file goes where it goes.
    """
    return _whole(data, colour, where, lambda: nullcontext([]))[0]


def decode(data: bytes, colour: bool, where: str) -> tuple[np.ndarray, Remark]:
    """Return decode_picture of `data`, and what its user must know: that its brightness was scaled, that a JPEG is damaged.

    To hear that, one thread of a process decodes at a time.
    """
    return _whole(data, colour, where, complaints)


def _whole(data: bytes, colour: bool, where: str, listening: Callable[[], AbstractContextManager[list[str]]]) -> tuple[np.ndarray, Remark]:
    problem = _problem(data, where)
    if problem:
        raise ImageError(f"decoding a picture: {where} {problem}")
    try:
        with listening() as said:
            picture, scaled = _decoded(data)
    except cv2.error as error:
        raise ImageError(f"decoding a picture: {where} is not a picture that OpenCV reads ({error.err})") from error
    why = f" ({said[0]})" if said else ""
    if picture is None:
        raise ImageError(f"decoding a picture: {where} is damaged or of a format that OpenCV does not read{why}")
    damaged = f"is damaged, so that a part of it may be grey or lie elsewhere{why}"
    remark = Remark("damaged", damaged) if said else Remark("few-bits", scaled) if scaled else Remark()
    return picture if colour else grey_of(picture), remark


def few_bits(largest: int) -> int | None:
    """Return how many bits a 16-bit picture of this largest value uses, of 8, 10, 12 and 14; None: it uses all, or is black.

    >>> few_bits(4095), few_bits(200), few_bits(16384), few_bits(0)
    (12, 8, None, None)
    """
    return next((bits for bits in _CAMERA_BITS if 0 < largest < 1 << bits), None)


def _decoded(data: bytes) -> tuple[np.ndarray | None, str]:
    """Return the RGB picture (H, W, 3) uint8, None if it cannot be decoded, and a remark if it was scaled.

    A picture whose largest value is far below what 16 bits hold comes from a camera of 10, 12 or 14 bits (infrared and scientific
    ones); by its upper byte it would be nearly black.
    """
    encoded, white = np.frombuffer(data, np.uint8), largest_value(data)
    picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    if bits_per_sample(data) <= 8 and white is None:
        return picture, ""
    deep = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)         # OpenCV 5.0 mixes up the channels of a TIFF as RGB
    if deep is None:
        return picture, ""
    deep = cv2.cvtColor(np.maximum(deep, 0).astype(np.uint16), cv2.COLOR_BGR2RGB)          # a TIFF may have a sign
    if white is not None:
        if white < 256 and data[:2] in (b"P2", b"P3"):                   # written as text: of so small a white OpenCV has scaled them
            return picture, _called_white(white)
        scaled = np.minimum(deep.astype(np.uint32), white) * 255 // white
        return scaled.astype(np.uint8), _called_white(white)
    largest = int(deep.max())
    if bits := few_bits(largest):
        remark = f"uses {bits} of 16 bits (its largest value is {largest}): the brightness is scaled by them"
        return (deep >> (bits - 8)).astype(np.uint8), remark
    return (deep >> 8).astype(np.uint8) if picture is None else picture, ""


def _called_white(white: int) -> str:
    return f"calls {white} white: the brightness is scaled by it"


def grey_of(picture: np.ndarray) -> np.ndarray:
    """Return the luminance (H, W) uint8 of an RGB picture (H, W, 3) uint8; equal channels give their own value."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def frame_picture(picture: np.ndarray, framing: str) -> np.ndarray:
    """Return the picture as a framing of records.FRAMINGS looks at it: turned by 90 degrees, or one half of it."""
    half = (picture.shape[1] + 1) // 2
    return {
        "whole": lambda: picture,
        "clockwise": lambda: np.ascontiguousarray(np.rot90(picture, -1)),
        "counterclockwise": lambda: np.ascontiguousarray(np.rot90(picture)),
        "left": lambda: np.ascontiguousarray(picture[:, :half]),
        "right": lambda: np.ascontiguousarray(picture[:, -half:]),
    }[framing]()


def unframe_points(points: np.ndarray, framing: str, size: tuple[int, int]) -> np.ndarray:
    """Return points (L, 2) of a framed picture as points of the picture itself, of size (width, height)."""
    width, height = size
    x, y = np.asarray(points, np.float64).T
    back = {
        "whole": (x, y), "clockwise": (y, height - 1 - x), "counterclockwise": (width - 1 - y, x), "left": (x, y),
        "right": (x + width - (width + 1) // 2, y),
    }[framing]
    return np.stack(back, -1)


def _problem(data: bytes, where: str) -> str | None:
    """Return what keeps `data` from being a whole picture that is read here, or None."""
    if other := not_media(data[:512]) or other_picture(data[:512]):
        return other
    size = claimed_size(data)
    if size is None:
        by_name = unread_kind(where)
        return f"{by_name or 'is none of PNG, JPEG, BMP, TIFF, WebP and PNM, or its header is damaged'}"
    if is_raw(data):
        return unread_kind(".raw")
    if size[0] * size[1] > MAX_PIXELS:
        return f"claims {size[0]}x{size[1]} pixels, more than the {MAX_PIXELS} that are read"
    if bits_per_sample(data) > 16:
        return f"has {bits_per_sample(data)} bits a sample; save it with 8 or 16"
    if cut_short(data):
        return f"ends after {len(data)} bytes, before its own end: it is truncated"
    return None
