"""Expressions of new faces: a trained network and pictures in; for every face the probability of each expression, and doubts, out.

In:  RUN of `fer-model train`, or an exported file; a picture, a folder, a clip or a camera.
Out: a Prediction for every picture, in order, those without a face and those that cannot be read too. A row, a line of JSON or a
     line of a table each (written.py); box, points and expression drawn on the pictures (annotate.py).

    import fer_model
    found = fer_model.load("runs/ck+-degan-fold0").predict("me.jpg")
    [(face.expression, face.probability, face.doubts) for face in found.faces]

Faces are found and aligned as those of the training were. torch is not imported where the network is an ONNX file (unless the faces
are found with FAN, which is a network of torch), nor is memory kept of pictures that are done with: a clip may be of any length.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from fer_data.datasets.tree import is_clip
from fer_data.errors import ImageError
from fer_data.faces.finder import Finder, Found
from fer_data.faces.landmarks import ALONE
from fer_data.faces.landmarks.none import NO_POINTS
from fer_data.pictures.decode import decode_picture
from fer_model.errors import ConfigError
from fer_model.use.engines import LARGEST_BATCH, Engine, open_engine
from fer_model.use.recipe import SVM, Recipe, inputs
from fer_model.use.shots import Shot, Sources, sources

__all__ = ["TURNED_DEG", "UNLIKE_PX", "FacePrediction", "Prediction", "Predictor", "Request", "Summary", "load", "predict"]

TURNED_DEG = 20.0                     # a face turned further than this is doubted: training faces are frontal; 102 photographs of
                                      # frontal people reached 13 at most, with dlib's points (faces/pose.py)
UNLIKE_PX = 3.0                       # so are points that fit a frontal face worse than this after alignment, canvas px: the head
                                      # nods far, or the points are wrong. The same photographs reached 2.0; a turn of 30 degrees, 3.1
_FORM_OF = {".csv": "csv", ".jsonl": "jsonl", ".txt": "table"}     # format of a file by its name
_NAMED = 6                            # endings of files that are passed over
Watch = AbstractContextManager[Callable[[int, int | None], None]]
_HELD_BYTES = 64_000_000              # of pictures that wait for a batch to be full, if they are to be drawn on


@dataclass(frozen=True)
class FacePrediction:
    """One face."""

    box: tuple[float, float, float, float]       # left, top, right, bottom; pixels of the picture
    points: np.ndarray = field(repr=False, compare=False)              # (68, 2) float64, (x, y) pixels; all NaN from the backend `none`
    probabilities: dict[str, float]   # expression -> 0..1, in the order of the classes
    eye_distance_px: float            # between the centres of the eyes, in the picture
    yaw_deg: float | None             # about how far it is turned, positive to the right of the picture; None without points
    residual_px: float                # how badly its points fit a frontal face, px of the canvas of 132x132
    doubts: tuple[str, ...]           # why it is not to be trusted, a sentence each; (): no reason is known

    @property
    def expression(self) -> str:
        """The most probable one."""
        return max(self.probabilities, key=self.probabilities.get)

    @property
    def probability(self) -> float:
        """Of that expression."""
        return self.probabilities[self.expression]

    @property
    def status(self) -> str:
        """ok or doubtful."""
        return "doubtful" if self.doubts else "ok"

    @property
    def in_short(self) -> str:
        """The beginnings of the doubts: too small, turned too far, not frontal."""
        return ", ".join(re.split("[:,]", doubt)[0] for doubt in self.doubts)


@dataclass(frozen=True)
class Prediction:
    """What was found in one picture."""

    source: str                       # its file, or "camera 0"
    frame: int | None                 # 0-based position in a clip; None: it is no clip
    time_s: float | None              # since the clip's beginning
    size: tuple[int, int] | None      # (width, height), pixels; None: it cannot be read
    faces: tuple[FacePrediction, ...] # the largest first, then from left to right
    problem: str = ""                 # why it cannot be read, or which faces cannot be aligned
    picture: np.ndarray | None = field(default=None, repr=False, compare=False)     # (H, W, 3) RGB, if asked for

    @property
    def status(self) -> str:
        """unreadable, no-face, doubtful (a face is, or cannot be aligned) or ok."""
        if self.size is None:
            return "unreadable"
        if not self.faces:
            return "no-face"
        return "doubtful" if self.problem or any(face.doubts for face in self.faces) else "ok"

    @property
    def note(self) -> str:
        """A sentence on what is not ok with the picture as a whole."""
        return self.problem or ("" if self.faces else "no face was found")


class Predictor:
    """A trained network with the landmark backend of its training."""

    def __init__(self, engine: Engine, landmarks: str | None = None):
        """`landmarks`: another backend than that of the training. Raises ConfigError if there is none to be used, WeightsError."""
        self.recipe, self._engine = engine.recipe, engine
        self._finder = _finder(engine.recipe, landmarks)

    @property
    def classes(self) -> tuple[str, ...]:
        """The expressions that it tells apart."""
        return self.recipe.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how far what it says can be trusted at all."""
        return tuple(_notes(self.recipe, self._finder.identity))

    def predict(self, image: Path | str | np.ndarray, thorough: bool = True) -> Prediction:
        """Return the faces of one picture: a file, or an array (H, W) or (H, W, 3) RGB of uint8.

        `thorough` looks for small faces beside a large one. Raises ImageError if it is no picture; no face is no error.
        """
        if isinstance(image, np.ndarray):
            shot = Shot("", None, None, image)
        else:
            if not isinstance(image, str | Path):
                raise ImageError(f"predicting: a file or an array is needed (of a PIL picture np.asarray(...)), got {type(image).__name__}")
            path = Path(image)
            if not path.is_file():
                what = f"{path} is a folder" if path.is_dir() else f"there is no {path}"
                raise ImageError(f"predicting: one picture is needed, {what}")
            shot = Shot(str(image), None, None, decode_picture(path.read_bytes(), True, path.name))
        return next(self.stream([shot], thorough=thorough))

    def first_face(self, picture: np.ndarray, thorough: bool = True) -> np.ndarray | None:
        """Return the aligned face, (132, 132[, 3]) uint8, that `predict` names first; None if there is no face."""
        found, _ = self._finder(picture, thorough)
        return found[0].pixels if found else None

    def stream(
        self, shots: Iterable[Shot], thorough: bool = False, batch: int = LARGEST_BATCH, keep: bool = False
    ) -> Iterator[Prediction]:
        """Yield a Prediction for each shot, in order; the faces of several go through the network together.

        batch   faces at once, at most; 1: a picture is answered before the next is looked at
        keep    Prediction.picture holds the picture
        No more than `batch` faces, as many pictures and 64 MB of pictures wait at any time.
        """
        waiting: list[tuple[Prediction, list[Found]]] = []
        n_faces = held = 0
        for shot in shots:
            faces, unusable = ([], [shot.problem]) if shot.picture is None else self._finder(shot.picture, thorough)
            size = None if shot.picture is None else (shot.picture.shape[1], shot.picture.shape[0])
            picture = shot.picture if keep else None
            waiting.append((Prediction(shot.source, shot.frame, shot.time_s, size, (), "; ".join(unusable), picture), faces))
            n_faces, held = n_faces + len(faces), held + (0 if picture is None else picture.nbytes)
            if n_faces >= batch or len(waiting) >= batch or held >= _HELD_BYTES:
                yield from self._answers(waiting, batch)
                n_faces = held = 0
        yield from self._answers(waiting, batch)

    def _answers(self, waiting: list[tuple[Prediction, list[Found]]], batch: int) -> Iterator[Prediction]:
        """Yield what waits, with the faces' probabilities, and forget it."""
        faces = [one.pixels for _, found in waiting for one in found]
        parts = [faces[first : first + batch] for first in range(0, len(faces), batch)]
        rows = iter(np.concatenate([self._engine.probabilities(inputs(np.stack(part))) for part in parts]) if parts else ())     # (F, K)
        while waiting:
            prediction, found = waiting.pop(0)
            yield replace(prediction, faces=tuple(self._face(one, row) for one, row in zip(found, islice(rows, len(found)), strict=True)))

    def _face(self, one: Found, row: np.ndarray) -> FacePrediction:
        probabilities = dict(zip(self.classes, map(float, row), strict=True))
        doubts = tuple(_doubts(one, self.recipe.image_size))
        return FacePrediction(one.box, one.points, probabilities, one.eye_distance_px, one.yaw_deg, one.residual_px, doubts)


def _doubts(one: Found, image_size: int) -> Iterator[str]:
    """Yield why a prediction on this face is not to be trusted."""
    if one.patch_px < image_size:
        yield (
            f"too small: the network looks at {image_size}x{image_size} pixels of a face, this one has"
            f" {one.patch_px:.0f}x{one.patch_px:.0f} (eye distance {one.eye_distance_px:.0f} px)"
        )
    if one.yaw_deg is not None and abs(one.yaw_deg) > TURNED_DEG:
        yield f"turned too far: about {abs(one.yaw_deg):.0f} degrees to the {'right' if one.yaw_deg > 0 else 'left'} of the picture"
    elif one.residual_px > UNLIKE_PX:
        yield f"not frontal, or its points are wrong: they miss those of a frontal face by {one.residual_px:.1f} px of the canvas"


def _finder(recipe: Recipe, landmarks: str | None) -> Finder:
    """Return what finds the faces: with the backend of the training, or the one asked for."""
    used = recipe.landmarks or "a backend that is not known, as the run does not say and its prepared folder is not at hand"
    if landmarks is None and recipe.landmarks not in ALONE:
        raise ConfigError(
            f"finding faces as in the training of {recipe.name}: that was done with {used}; say what to take for new pictures:"
            f" --landmarks {', '.join(ALONE)}"
        )
    own = landmarks in (None, recipe.landmarks)
    return Finder(landmarks or recipe.landmarks, recipe.detector if own else "sfd", recipe.channels == 3)


def _notes(recipe: Recipe, identity: dict) -> Iterator[str]:
    theirs, ours = recipe.backend, identity
    if ours["name"] == NO_POINTS != recipe.landmarks:
        yield "each picture is taken for a face that is aligned already: nothing is found, nothing is aligned"
    elif recipe.landmarks is not None and ours["name"] != recipe.landmarks:
        yield f"points are found with {ours['name']}, those of the training were with {recipe.landmarks}: faces lie a little otherwise"
    elif theirs and any(theirs.get(key) != ours[key] for key in ("version", "weights_sha256")):
        what = "version" if theirs.get("version") != ours["version"] else "model file"
        yield f"points are found with {ours['name']} {ours['version']}, those of the training with {theirs.get('version')}: another {what}"
    if recipe.drawn:
        yield "the network was trained on drawn people: what it says of real ones means nothing"
    if recipe.probability == SVM:
        yield f"probabilities are the {SVM}"


def load(run: Path | str, device: str = "auto", landmarks: str | None = None) -> Predictor:
    """Return what predicts with a trained network: a run folder, or *.onnx or *.safetensors of `fer-model export`.

    device      auto, cpu, cuda, cuda:N; an ONNX file runs on the CPU
    landmarks   fan, dlib or none, in place of the backend of the training
    Raises children of FerError: RunError, CheckpointError, DeviceError, ConfigError, WeightsError.
    """
    return Predictor(open_engine(Path(run), device), landmarks)


# --- the command ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What to look at and what to write."""

    source: str                       # a picture, a folder, a clip, the number of a camera
    form: str | None = None           # of written.FORMATS; None: by the name of `out`, else table; of a camera, jsonl
    out: Path | None = None           # file for it; None: it is printed
    annotate: Path | None = None      # picture, folder or clip with what was found drawn on it
    landmarks: str | None = None      # None: that of the training
    every: int = 1                    # of clips and cameras, look at each n-th picture
    limit: int | None = None          # stop after so many pictures
    small_faces: bool | None = None   # search for small faces beside large ones; None: in pictures, not in clips or of a camera
    batch: int = LARGEST_BATCH        # faces through the network at once
    device: str = "auto"


@dataclass(frozen=True)
class Summary:
    """What came of it; pictures == with a face + no_face + unreadable ones that are pictures."""

    kind: str                         # of shots.KINDS
    pictures: int = 0                 # looked at; frames of clips count
    faces: int = 0
    doubtful: int = 0                 # faces that are not to be trusted
    unaligned: int = 0                # pictures with a face that could not be aligned
    no_face: int = 0                  # pictures without
    unreadable: int = 0               # files, and frames of clips
    passed_over: tuple[str, ...] = () # files of a folder that are neither pictures nor clips by their name
    seconds: float = 0.0
    files: tuple[str, ...] = ()       # written

    @property
    def incomplete(self) -> bool:
        """Whether something was not predicted."""
        return bool(self.no_face or self.unreadable or self.unaligned)

    @property
    def nothing_read(self) -> bool:
        """Whether there was something to read and none of it could be."""
        return bool(self.unreadable and not self.pictures)

    def __rich__(self) -> str:
        """Return it as a sentence, for the console."""
        from rich.markup import escape

        def counted(number: int, noun: str) -> str:
            return f"{number:,} {noun}" + ("" if number == 1 else "s")

        unit = "frame" if self.kind in ("video", "camera") else "picture"
        parts = [f"{counted(self.pictures, unit)} in {self.seconds:.1f} s: {counted(self.faces, 'face')}, {self.doubtful:,} doubtful"]
        parts.append(f"{self.no_face:,} without a face")
        if self.unaligned:
            parts.append(f"{self.unaligned:,} with a face that cannot be aligned")
        parts.append(f"{self.unreadable:,} unreadable")
        if self.passed_over:
            endings = sorted({Path(name).suffix.lower() or Path(name).name for name in self.passed_over})
            named = f"{', '.join(endings[:_NAMED])}{', ...' if len(endings) > _NAMED else ''}"
            parts.append(f"{counted(len(self.passed_over), 'other file')} passed over ({named})")
        wrote = f"\nwrote {', '.join(self.files)}" if self.files else ""
        return escape(", ".join(parts) + wrote)

    def plus(self, one: Prediction) -> "Summary":
        """Return the summary with one more picture counted."""
        return replace(
            self, pictures=self.pictures + (one.size is not None), faces=self.faces + len(one.faces),
            doubtful=self.doubtful + sum(face.status == "doubtful" for face in one.faces),
            unaligned=self.unaligned + bool(one.size and one.faces and one.problem),
            no_face=self.no_face + (one.status == "no-face"), unreadable=self.unreadable + (one.status == "unreadable"),
        )  # fmt: skip


def predict(run: Path, request: Request, write=print, say=print, watch: Callable[[str], Watch] | None = None) -> Summary:
    """Predict all there is, write it, and return what came of it.

    write   called with what is to be printed: text without a newline at its end, or a table that rich can draw
    say     called with sentences on the side
    watch   called with what is being done, unless that is one picture, or predictions are printed as they come; the block's
            function is then called with how many pictures are done, and of how many (None: not known)
    Ctrl-C ends a camera, and nothing else, in good order. Raises children of FerError; no half of a file is left then.
    """
    from fer_model.use.annotate import open_annotator
    from fer_model.use.prediction_files import open_writer

    seen = sources(request.source)
    form = _form(request, seen)
    _refuse_replacing(request, seen)
    model = load(run, request.device, request.landmarks)
    for note in model.notes:
        say(f"note: {note}")
    with ExitStack() as stack:
        writer = stack.enter_context(open_writer(form, request.out, model.classes, write))
        annotator = stack.enter_context(open_annotator(request.annotate, seen))
        summary, begin = Summary(seen.kind, passed_over=seen.passed_over), time.perf_counter()
        silent = seen.kind == "picture" or (request.out is None and form != "table")
        try:
            with watch("predicting") if watch and not silent else nullcontext(lambda done, total: None) as tick:
                for number, one in enumerate(_predictions(model, request, seen), 1):
                    summary = summary.plus(one)
                    writer.add(one)
                    annotator.add(one)
                    tick(number, _total(request, seen))
        except KeyboardInterrupt:
            if seen.kind != "camera":
                raise
        writer.end()
    drawn = request.annotate if summary.pictures else None                       # of pictures that could not be read, nothing is drawn
    files = tuple(str(path) for path in (request.out, drawn) if path is not None)
    return replace(summary, seconds=time.perf_counter() - begin, files=files)


def _form(request: Request, seen: Sources) -> str:
    """Return the format asked for, or that of the file's name; else a table, but of a camera, which does not end, lines as they come.

    Raises ConfigError for a name that is of none of them, or there would be a table in a file of JSON.
    """
    if request.form is not None:
        return request.form
    if request.out is None:
        return "jsonl" if seen.kind == "camera" else "table"
    suffix = request.out.suffix.lower()
    if suffix not in _FORM_OF:
        raise ConfigError(f"writing predictions to {request.out}: the file must be named *{', *'.join(_FORM_OF)}, or --format given")
    return _FORM_OF[suffix]


def _total(request: Request, seen: Sources) -> int | None:
    """Return how many pictures there will be; how many a clip holds is known at its end."""
    if seen.kind == "camera" or any(is_clip(name) for name in seen.files):
        return None
    return min(len(seen.files), request.limit or len(seen.files))


def _refuse_replacing(request: Request, seen: Sources) -> None:
    """Raise ConfigError if what is written would replace what is looked at."""
    files = {(seen.root / name).resolve() for name in seen.files}
    if request.out is not None and request.out.resolve() in files:
        raise ConfigError(f"writing predictions to {request.out}: it must be another file than the ones that are looked at")


def _predictions(model: Predictor, request: Request, seen: Sources) -> Iterator[Prediction]:
    """Yield the predictions; clips of a folder are searched as pictures are if nothing else was said."""
    thorough = seen.kind in ("picture", "folder") if request.small_faces is None else request.small_faces
    batch = 1 if seen.kind == "camera" else min(request.batch, LARGEST_BATCH)
    shots = islice(seen.shots(request.every), request.limit)
    yield from model.stream(shots, thorough, batch, keep=request.annotate is not None)
