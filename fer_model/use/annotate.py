"""Draw what was found onto its pictures: a picture, a folder of pictures or a clip.

In:  predictions in order, each with its picture (H, W, 3) RGB uint8.
Out: box, 68 points, expression and probability on every face; doubtful ones in another colour, with the doubts in a word each.
     A picture becomes a picture, a folder a folder with the same names, a clip or a camera an MP4 with the same times.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fer_data.files import growing, make_folder, reported, write_bytes_atomically
from fer_data.pictures.file_kinds import is_clip
from fer_data.pictures.video import require_av
from fer_data.store.own_files import refuse_own_file
from fer_model.errors import ConfigError
from fer_model.use.prediction import FacePrediction, Prediction
from fer_model.use.shots import Sources

__all__ = ["Annotator", "draw_prediction", "open_annotator"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")       # that OpenCV writes in colour
_LONGEST = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}      # px of a side that OpenCV writes; the other formats take any picture
_SURE, _DOUBTED, _INK = (40, 200, 80), (255, 160, 0), (0, 0, 0)     # RGB: box and label of a face, of a doubtful one; the label's text
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_NAME_BYTES = 255                     # of a file's name, on Linux
_TICKS = 90_000                       # of a clip's clock, in a second
_RATE = 25                            # pictures in a second, where times are not known


def draw_prediction(picture: np.ndarray, one: Prediction) -> np.ndarray:
    """Return a copy of a picture (H, W, 3) RGB with what was found in it."""
    picture = np.ascontiguousarray(picture).copy()
    for face in one.faces:
        left, _, right, _ = face.box
        unit = max(1, min(round(max(picture.shape[:2]) / 400), round((right - left) / 120)))           # px: width of a line
        _draw_face(picture, face, unit)
    return picture


def _draw_face(picture: np.ndarray, face: FacePrediction, unit: int) -> None:
    height, width = picture.shape[:2]
    colour = _DOUBTED if face.doubts else _SURE
    left, top, right, bottom = (round(side) for side in face.box)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, unit, cv2.LINE_AA)
    for x, y in face.points if np.isfinite(face.points).all() else ():
        cv2.circle(picture, (round(float(x)), round(float(y))), unit, colour, -1, cv2.LINE_AA)
    text = f"{face.expression} {face.probability:.0%}" + (f", {face.in_short}" if face.doubts else "")
    scale = 0.45 * unit
    (text_w, text_h), below = cv2.getTextSize(text, _FONT, scale, unit)
    scale *= min(1.0, (width - 2 * unit) / max(text_w, 1))                       # a narrow picture: smaller letters
    (text_w, text_h), below = cv2.getTextSize(text, _FONT, scale, unit)
    x = min(max(left, 0), max(width - text_w - 2 * unit, 0))
    y = top - below - unit if top - text_h - below - 2 * unit >= 0 else min(bottom + text_h + 2 * unit, height - below - 1)
    cv2.rectangle(picture, (x, y - text_h - unit), (x + text_w + 2 * unit, y + below), colour, -1)
    cv2.putText(picture, text, (x + unit, y), _FONT, scale, _INK, unit, cv2.LINE_AA)


class Annotator(ABC):
    """Takes predictions one by one."""

    @abstractmethod
    def add(self, one: Prediction) -> None:
        """Draw one prediction onto its picture and write it; a picture that could not be read is passed over."""


class _Nothing(Annotator):
    def add(self, one: Prediction) -> None:
        pass


class _Picture(Annotator):
    def __init__(self, out: Path):
        self._out = out

    def add(self, one: Prediction) -> None:
        if one.picture is None:
            return
        if not _takes(self._out, one.picture):
            suffix, (height, width) = self._out.suffix, one.picture.shape[:2]
            limit = f"a *{suffix} has at most {_LONGEST[suffix.lower()]:,} pixels a side, this picture has {width:,}x{height:,}"
            raise ConfigError(f"drawing what was found onto {self._out}: {limit}; name a *.png")
        _write_picture(self._out, draw_prediction(one.picture, one))


class _Film(Annotator):
    """A clip that grows; its size is that of the first picture."""

    def __init__(self, part: Path, out: Path):
        self._part, self._out, self._container, self._stream, self._last = part, out, None, None, -1

    def add(self, one: Prediction) -> None:
        if one.picture is None:
            return
        import av

        drawn = draw_prediction(one.picture, one)
        if self._container is None:
            self._open(drawn.shape[1], drawn.shape[0])
        size = (self._stream.height, self._stream.width)
        if drawn.shape[0] < size[0] or drawn.shape[1] < size[1] or max(np.subtract(drawn.shape[:2], size)) > 1:
            drawn = cv2.resize(drawn, size[::-1], interpolation=cv2.INTER_AREA)  # a camera or a clip that changes its size
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn[: size[0], : size[1]]), format="rgb24")
        now = self._last + _TICKS // _RATE if one.time_s is None else round(one.time_s * _TICKS)
        self._last = max(self._last + 1, now)                                    # times grow
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._mux(self._stream.encode(frame))

    def _open(self, width: int, height: int) -> None:
        import av

        self._container = av.open(str(self._part), "w", format="mp4")
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream = self._container.add_stream(codec, rate=_RATE, options={"crf": "18"} if codec == "libx264" else {})
        self._stream.width, self._stream.height = max(2, width // 2 * 2), max(2, height // 2 * 2)      # YUV 4:2:0 needs even sides
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, _TICKS)
        if codec == "mpeg4":
            self._stream.codec_context.time_base = Fraction(1, 60_000)           # its clock has 16 bits
            self._stream.bit_rate = 8_000_000

    def _mux(self, packets) -> None:
        with reported("writing", self._out):
            for packet in packets:
                self._container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._container is not None:
            self._mux(self._stream.encode())
            with reported("writing", self._out):
                self._container.close()

    def abandon(self) -> None:
        """Let go of the file."""
        if self._container is not None:
            self._container.close()

    @property
    def empty(self) -> bool:
        return self._container is None


class _Folder(Annotator):
    """A file for each file; the clips in it are films."""

    def __init__(self, out: Path, stack: ExitStack):
        self._out, self._stack, self._film, self._name = out, stack, None, ""

    def add(self, one: Prediction) -> None:
        if one.source != self._name:
            self.close()
            self._name = one.source
        if one.picture is None:
            return
        path = self._out / _name_in_folder(one.source)
        make_folder(path.parent)
        if not is_clip(one.source):
            _write_picture(path if _takes(path, one.picture) else path.with_name(path.name + ".png"), draw_prediction(one.picture, one))
            return
        if self._film is None:
            self._film = self._stack.enter_context(_film(path))
        self._film.add(one)

    def close(self) -> None:
        """Finish the clip that is being written."""
        self._film = None
        self._stack.close()


def _name_in_folder(source: str) -> str:
    """Return what a picture or clip of a folder is called when it is drawn on."""
    kept, other = ((".mp4",), ".mp4") if is_clip(source) else (PICTURES, ".png")
    return source if Path(source).suffix.lower() in kept else source + other


def _takes(path: Path, picture: np.ndarray) -> bool:
    """Return whether the format of a name of PICTURES has room for a picture."""
    return max(picture.shape[:2]) <= _LONGEST.get(path.suffix.lower(), max(picture.shape[:2]))


def _write_picture(path: Path, picture: np.ndarray) -> None:
    good, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert good, "OpenCV encodes every uint8 picture in a format of PICTURES that takes its size"
    write_bytes_atomically(path, data.tobytes())


@contextmanager
def _film(out: Path) -> Iterator[_Film]:
    with ExitStack() as stack:
        part = stack.enter_context(growing(out))
        film = _Film(part, out)
        try:
            yield film
            if film.empty:
                raise ConfigError(f"drawing what was found: no picture could be read, so there is nothing to write to {out}")
            film.finish()
        except BaseException:
            film.abandon()
            raise


@contextmanager
def open_annotator(out: Path | None, seen: Sources) -> Iterator[Annotator]:
    """Yield what draws predictions; None: nothing does. A clip that is not finished is removed after an error.

    Raises ConfigError if `out` does not fit what is looked at, or would replace it; StorageError if a file of a run or of a prepared
    folder would be replaced.
    """
    if out is None:
        yield _Nothing()
        return
    _refuse_misfit(out, seen)
    if seen.kind == "picture":
        yield _Picture(out)
    elif seen.kind == "folder":
        with ExitStack() as stack:
            folder = _Folder(out, stack)
            yield folder
            folder.close()
    else:
        with _film(out) as film:
            yield film


def _refuse_misfit(out: Path, seen: Sources) -> None:
    doing = f"drawing what was found onto {out}"
    if seen.kind == "folder":
        inside = seen.root.resolve() in (out.resolve(), *out.resolve().parents)
        if inside or out.is_file() or out.resolve() in seen.root.resolve().parents:
            raise ConfigError(f"{doing}: a folder of its own is needed, neither in nor around {seen.root}")
        if not out.is_dir() and out.suffix.lower() in (*PICTURES, ".mp4"):
            raise ConfigError(f"{doing}: a folder is looked at, so a folder is needed, not a *{out.suffix}")
        for source in seen.files:
            refuse_own_file("drawing what was found", out / _name_in_folder(source))
            if len(os.fsencode(name := Path(_name_in_folder(source)).name)) > _NAME_BYTES:
                raise ConfigError(f"{doing}: a name has at most {_NAME_BYTES} bytes, {name} has {len(os.fsencode(name))}; rename {source}")
        return
    if not out.parent.is_dir():
        raise ConfigError(f"{doing}: there is no folder {out.parent}")
    allowed = PICTURES if seen.kind == "picture" else (".mp4",)
    if out.suffix.lower() not in allowed or out.is_dir():
        raise ConfigError(f"{doing}: the file must be named *{', *'.join(allowed)}")
    if seen.files and out.resolve() == (seen.root / seen.files[0]).resolve():
        raise ConfigError(f"{doing}: it must be another file than the {seen.kind} that is looked at")
    if seen.kind != "picture":
        require_av()
