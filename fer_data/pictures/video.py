"""From a clip to single frames: how many there are, and the wanted ones, decoded in one pass.

In:  a clip (AVI; also MP4, MOV, MKV, WebM, MPEG, WMV, FLV, OGV), its bytes; positions, 0-based.
Out: Clip; RGB pictures (H, W, 3) uint8 as stored: nothing turned, no field merged, no frame invented.

The frame count in a container's header is only a promise. What counts here is the number of coded frames that lie in the
file, found by stepping through them without decoding (milliseconds a clip). A file of which only a part has arrived is named:
its structure asks for more bytes than there are (containers.py), or its index for more frames, or a longer time. Frames are
decoded once, from the first to the last wanted one, without seeking: seeking is inexact in old AVI files.

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
from fer_data.pictures.containers import CONTAINERS, container_of, promised_bytes
from fer_data.pictures.decode import few_bits
from fer_data.pictures.file_kinds import not_media

__all__ = ["MAX_FRAME_PIXELS", "Clip", "require_av", "measure_clip", "read_frames", "each_frame"]

MAX_FRAME_PIXELS = 40_000_000         # 8K video has 33 million
_SLOPPY_S, _SLOPPY = 0.5, 0.05        # so much, in s and as a share of the whole, may a clip be shorter than its header says
_SECTORS = 1 << 16                    # of the beginning of a file that is looked at


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
        head = file.read(_SECTORS)
        cut = _cut(file, head)
        if cut:
            raise ImageError(f"reading a clip: {where} {cut}")
        with _opened(file, head, where) as (container, stream):
            there = _There()
            for packet in container.demux():
                there.add(packet, stream)
            clip = Clip(there.frames, stream.frames, stream.codec_context.width, stream.codec_context.height)
            cut = there.lacks(container, stream, head)
    if not there.frames:
        raise ImageError(f"reading a clip: {where} holds no frame")
    if cut:
        raise ImageError(f"reading a clip: {where} {cut}")
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
        head = file.read(_SECTORS)
        cut = _cut(file, head)
        with _opened(file, head, where, cut) as (container, stream):
            there = _There()
            begin = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
            position = -1
            for position, frame in enumerate(_frames(container, stream, there)):
                if position % every:
                    continue
                if frame is None:
                    yield position, None, f"reading a clip: frame {position} of {where} is damaged"
                    continue
                time_s = None if frame.time is None else frame.time - begin
                picture = _pixels(frame, position, where)
                yield position, time_s, picture if isinstance(picture, str) else _upright(picture, frame.rotation)
            if position < 0:
                raise ImageError(f"reading a clip: {where} {cut or 'holds no frame'}")
            lacks = there.lacks(container, stream, head, cut)
            if lacks:
                raise ImageError(f"reading a clip: {where} {lacks}")


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


def _cut(file: BinaryIO, head: bytes) -> str:
    """Return how much of a file is there if its structure asks for more, as the end of a sentence, or ""; go back to its beginning."""
    size = os.fstat(file.fileno()).st_size
    promised = promised_bytes(file, size, head)
    file.seek(0)
    return f"has {size} bytes of {promised}: it is truncated" if promised else ""


class _There:
    """What has been met while a clip was stepped through: its coded frames, and when the last of all its streams ends."""

    def __init__(self):
        self.frames, self.end_s = 0, 0.0

    def add(self, packet, stream) -> None:
        self.frames += bool(packet.stream is stream and packet.size)
        if packet.pts is not None and packet.size:
            self.end_s = max(self.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))

    def lacks(self, container, stream, head: bytes, cut: str = "") -> str:
        """Return what is missing at the end of a clip, as the end of a sentence, or "".

        `cut` says that bytes are missing. A length in time, as Matroska and FLV have, may be that of another stream, or rounded;
        where the header counts frames, as in MP4 and MOV, it is exact. The count alone says nothing: a clip that was trimmed on a
        phone keeps all its frames, and shows some.
        """
        kind = container_of(head)
        whole_s = container.duration / 1e6 if container.duration and kind in ("mov", "matroska", "flv") else 0.0
        counted = kind == "mov" and self.frames < stream.frames and stream.average_rate
        sloppy_s = 1.5 / float(stream.average_rate) if counted else max(_SLOPPY_S, _SLOPPY * whole_s)
        if not cut and (self.end_s >= whole_s - sloppy_s or (kind == "mov" and not counted)):
            return ""
        says = [f"{stream.frames} frames"] * bool(counted)
        says += [f"{whole_s:.1f} s"] * (round(whole_s, 1) > round(self.end_s, 1))
        ends = f"its header promises {' and '.join(says)}, {self.frames} frames and {self.end_s:.1f} s are there" if says else ""
        return "; ".join(text for text in (cut or "ends early: it is truncated", ends) if text)


def _frames(container, stream, there: "_There | None" = None):
    """Yield the decoded frames in order, and None for each that is damaged or builds on a damaged one; `there` takes note of all."""
    import av

    damaged = False
    for packet in container.demux() if there else container.demux(stream):
        if there:
            there.add(packet, stream)
            if packet.stream is not stream:
                continue
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
def _opened(file, head: bytes, where: str, cut: str = ""):
    """Yield (container, stream) of the first video stream; FFmpeg's errors become ImageErrors, which say that bytes are missing (`cut`)."""
    require_av()
    import av

    if other := not_media(head[:512]):
        raise ImageError(f"reading a clip: {where} {other}")
    kind = container_of(head)
    if kind is None:
        names = ", ".join(name for _, name in CONTAINERS)
        raise ImageError(f"reading a clip: {where} is none of {names}; it begins with {head[:8]!r}")
    try:
        with av.open(file, format=kind, metadata_errors="replace") as container:
            if not container.streams.video:
                raise ImageError(f"reading a clip: {where} has no video stream")
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None or not 0 < context.width * context.height <= MAX_FRAME_PIXELS:
                size = f"{context.width}x{context.height}" if context else "unknown"
                wrong = f"{where} {cut}" if cut else f"frames of {where} must have 1 to {MAX_FRAME_PIXELS} pixels; their size is {size}"
                raise ImageError(f"reading a clip: {wrong}")
            context.thread_count = 1  # the workers are the parallelism
            yield container, stream
    except av.error.FFmpegError as error:
        what = f"{cut}, and what is there cannot be decoded" if cut else "cannot be decoded"
        raise ImageError(f"reading a clip: {where} {what} ({error.strerror})") from error
