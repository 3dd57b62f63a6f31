"""From a clip to single frames: how many there are, and the wanted ones, decoded in one pass.

In:  a clip (AVI; also MP4, MOV, MKV, MPEG, WMV, FLV), its bytes; positions, 0-based.
Out: Clip; RGB pictures (H, W, 3) uint8 as stored: nothing turned, no field merged, no frame invented.

The frame count in a container's header is only a promise. What counts here is the number of coded frames that lie in the
file, found by stepping through them without decoding (milliseconds a clip). Frames are decoded once, from the first to the
last wanted one, without seeking: seeking is inexact in old AVI files.

A decoder conceals damage by repeating what it has. Such a frame, and all that build on it up to the next key frame, are
reported as damaged and never handed on. Needs the extra [video] (PyAV, which brings FFmpeg).
"""

import importlib.util
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from fer_data.errors import DatasetError, ImageError, UnreadableError
from fer_data.files import opened
from fer_data.pictures.decode import few_bits
from fer_data.pictures.file_kinds import not_media

__all__ = ["MAX_FRAME_PIXELS", "Clip", "require_av", "measure_clip", "read_frames", "each_frame"]

MAX_FRAME_PIXELS = 40_000_000         # 8K video has 33 million
_SLOPPY_BYTES = 16                    # a writer may get the size field of a RIFF file wrong by its own header
_SECTORS = 1 << 16                    # of the beginning of a file that is looked at
# FFmpeg is told which container to expect, so that no playlist in disguise makes it open other files.
_CONTAINERS = (
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"AVI ", "avi"),
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"), "mov"),
    (lambda head: head[:4] == b"\x1aE\xdf\xa3", "matroska"),
    (lambda head: head[:4] == b"\0\0\x01\xba", "mpeg"),
    (lambda head: head[:4] == b"0&\xb2u", "asf"),
    (lambda head: head[:3] == b"FLV", "flv"),
)


class Clip(NamedTuple):
    """What stepping through a clip tells."""

    frames: int                       # coded frames that lie in the file
    promised: int                     # what its header says; 0: nothing
    width: int                        # px, as stored
    height: int


def require_av() -> None:
    """Raise DatasetError with what to install, if PyAV is missing."""
    if importlib.util.find_spec("av") is None:
        raise DatasetError("reading clips: the package av (PyAV) is missing; install it with: pip install 'fer-degan[video]'")


def measure_clip(path: Path, where: str) -> Clip:
    """Return how many frames a clip holds, without decoding any.

    Raises ImageError naming `where` if the file is no clip, is cut short, or holds no frame.
    """
    with _file(path, where) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(_SECTORS)
        _refuse_cut(head, size, where)
        file.seek(0)
        with _opened(file, head, where) as (container, stream):
            frames = sum(1 for packet in container.demux(stream) if packet.size)
            clip = Clip(frames, stream.frames, stream.codec_context.width, stream.codec_context.height)
    if not frames:
        raise ImageError(f"reading a clip: {where} holds no frame")
    return clip


def read_frames(data: bytes, positions: Iterable[int], where: str) -> dict[int, np.ndarray | str]:
    """Return position -> RGB picture (H, W, 3) uint8, or the sentence that says why there is none, for each position.

    Raises ImageError naming `where` if the clip cannot be opened at all.
    """
    wanted = set(positions)
    found: dict[int, np.ndarray | str] = {}
    with _opened(io.BytesIO(data), data[:_SECTORS], where) as (container, stream):
        position = 0
        for frame in _frames(container, stream):
            if position in wanted:
                damage = f"reading a clip: frame {position} of {where} is damaged"
                found[position] = damage if frame is None else _pixels(frame, position, where)
            position += 1
            if position > max(wanted, default=-1):
                break
    absent = wanted - found.keys()
    return found | {one: f"reading a clip: {where} ends after {position} frames, frame {one} is not there" for one in absent}


def each_frame(path: Path, where: str, every: int = 1) -> Iterator[tuple[int, float | None, np.ndarray | str]]:
    """Yield (position, time in s, picture) of every n-th frame from the first on; one frame is in memory at a time.

    Here, where the clip is for people and not a database's, a picture is turned upright if the file says that its camera was
    held otherwise. In place of a damaged frame, whose time is not known, stands a sentence. Raises ImageError naming `where` if
    the clip cannot be opened or decoded further, and after its last frame if the file is cut short.
    """
    with _file(path, where) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(_SECTORS)
        file.seek(0)
        with _opened(file, head, where) as (container, stream):
            begin = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
            position = -1
            for position, frame in enumerate(_frames(container, stream)):
                if position % every:
                    continue
                if frame is None:
                    yield position, None, f"reading a clip: frame {position} of {where} is damaged"
                    continue
                time_s = None if frame.time is None else frame.time - begin
                picture = _pixels(frame, position, where)
                yield position, time_s, picture if isinstance(picture, str) else _upright(picture, frame.rotation)
            if position < 0:
                raise ImageError(f"reading a clip: {where} holds no frame")
        _refuse_cut(head, size, where)


@contextmanager
def _file(path: Path, where: str) -> Iterator[BinaryIO]:
    """Yield a clip's file; that it cannot be read becomes an ImageError."""
    try:
        with opened(path) as file:
            yield file
    except UnreadableError as error:
        raise ImageError(f"reading a clip: {where} {error.why}") from error


def _pixels(frame, position: int, where: str) -> np.ndarray | str:
    """Return a frame as RGB (H, W, 3) uint8, or what is to be done about it.

    Where its file says 16 bits and its camera had fewer, the 8 uppermost show next to nothing.
    """
    if max(component.bits for component in frame.format.components) == 16:
        bits = few_bits(int(frame.reformat(format="gray16le").to_ndarray().max()))
        if bits:
            return f"reading a clip: frame {position} of {where} uses {bits} of 16 bits; save the clip with 8 bits, scaled by these"
    return frame.to_ndarray(format="rgb24")


def _upright(picture: np.ndarray, rotation_deg: int) -> np.ndarray:
    """Return the picture turned by what its file asks for, counter-clockwise, in steps of 90 degrees."""
    turns = round(rotation_deg / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _refuse_cut(head: bytes, size: int, where: str) -> None:
    """Raise ImageError if a RIFF file has fewer bytes than its beginning says."""
    promised_bytes = 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and promised_bytes > size + _SLOPPY_BYTES:
        raise ImageError(f"reading a clip: {where} has {size} bytes of {promised_bytes}: it is truncated")


def _frames(container, stream):
    """Yield the decoded frames in order, and None for each that is damaged or builds on a damaged one."""
    import av

    damaged = False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged = True
            if packet.size:
                yield None
            continue
        for frame in frames:
            if frame.is_corrupt or packet.is_corrupt:
                damaged = True
            elif frame.key_frame:
                damaged = False
            yield None if damaged else frame


@contextmanager
def _opened(file, head: bytes, where: str):
    """Yield (container, stream) of the first video stream; FFmpeg's errors become ImageErrors."""
    require_av()
    import av

    if other := not_media(head[:512]):
        raise ImageError(f"reading a clip: {where} {other}")
    kind = next((name for test, name in _CONTAINERS if test(head)), None)
    if kind is None:
        raise ImageError(f"reading a clip: {where} is none of {', '.join(name for _, name in _CONTAINERS)}; it begins with {head[:8]!r}")
    try:
        with av.open(file, format=kind, metadata_errors="replace") as container:
            if not container.streams.video:
                raise ImageError(f"reading a clip: {where} has no video stream")
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None or not 0 < context.width * context.height <= MAX_FRAME_PIXELS:
                size = f"{context.width}x{context.height}" if context else "unknown"
                raise ImageError(f"reading a clip: frames of {where} must have 1 to {MAX_FRAME_PIXELS} pixels; their size is {size}")
            context.thread_count = 1  # the workers are the parallelism
            yield container, stream
    except av.error.FFmpegError as error:
        raise ImageError(f"reading a clip: {where} cannot be decoded ({error.strerror})") from error
