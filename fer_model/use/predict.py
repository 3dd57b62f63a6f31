"""`fer-model predict`: the expressions in a picture, a folder, a clip or a camera, printed, written to a file, drawn on the pictures.

In:  RUN of `fer-model train`, or an exported file; a Request.
Out: a row, a line of JSON or a line of a table for each face (prediction_files.py); box, points and expression drawn on the pictures
     (annotate.py); PredictSummary, which counts. Pictures are forgotten when they are done: a clip may be of any length.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from fer_data.pictures.file_kinds import is_clip
from fer_data.store.own_files import refuse_own_file
from fer_data.text import counted, listed
from fer_model.errors import ConfigError
from fer_model.use.annotate import open_annotator
from fer_model.use.prediction import Prediction
from fer_model.use.prediction_files import open_writer
from fer_model.use.predictor import Predictor, load
from fer_model.use.recipe import LARGEST_BATCH
from fer_model.use.shots import Shot, Sources, refuse_source, sources

__all__ = ["PredictSummary", "Request", "predict"]

_FORM_OF = {".csv": "csv", ".jsonl": "jsonl", ".txt": "table"}     # format of a file by its name
_NAMED = 6                            # endings of files that are passed over
Tick = Callable[[int, int | None, str], None]
Watch = AbstractContextManager[Tick]


@dataclass(frozen=True)
class Request:
    """What to look at and what to write."""

    source: str                       # a picture, a folder, a clip, the number of a camera
    form: str | None = None           # of prediction_files.FORMATS; None: by the name of `out`, else table; of a camera, jsonl
    out: Path | None = None           # file for it; None: it is printed
    annotate: Path | None = None      # picture, folder or clip with what was found drawn on it
    landmarks: str | None = None      # None: that of the training
    every: int = 1                    # of clips and cameras, look at each n-th picture
    limit: int | None = None          # stop after so many pictures
    small_faces: bool | None = None   # search for small faces next to large ones; None: in pictures, not in clips or of a camera
    batch: int = LARGEST_BATCH        # faces through the network at once
    device: str = "auto"


@dataclass(frozen=True)
class PredictSummary:
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

        unit = "frame" if self.kind in ("video", "camera") else "picture"
        parts = [f"{counted(self.pictures, unit)} in {self.seconds:.1f} s: {counted(self.faces, 'face')}, {self.doubtful:,} doubtful"]
        parts.append(f"{self.no_face:,} without a face")
        if self.unaligned:
            parts.append(f"{self.unaligned:,} with a face that cannot be aligned")
        parts.append(f"{self.unreadable:,} unreadable")
        if self.passed_over:
            endings = sorted({Path(name).suffix.lower() or Path(name).name for name in self.passed_over})
            parts.append(f"{counted(len(self.passed_over), 'other file')} passed over ({listed(endings, _NAMED)})")
        wrote = f"\nwrote {', '.join(self.files)}" if self.files else ""
        return escape(", ".join(parts) + wrote)

    def plus(self, one: Prediction) -> "PredictSummary":
        """Return the summary with one more picture counted."""
        return replace(
            self, pictures=self.pictures + (one.size is not None), faces=self.faces + len(one.faces),
            doubtful=self.doubtful + sum(face.status == "doubtful" for face in one.faces),
            unaligned=self.unaligned + bool(one.size and one.faces and one.problem),
            no_face=self.no_face + (one.status == "no-face"), unreadable=self.unreadable + (one.status == "unreadable"),
        )


def predict(run: Path, request: Request, write=print, say=print, watch: Callable[[str], Watch] | None = None) -> PredictSummary:
    """Predict all there is, write it, and return what came of it.

    write   called with what is to be printed: text without a newline at its end, or a table that rich can draw
    say     called with sentences on the side
    watch   called with what is being done, unless that is one picture, or predictions are printed as they come; the block's
            function is then called with how many pictures were looked at, of how many (None: not known), and what is looked at
    Ctrl-C ends a camera, and nothing else, in good order. Raises children of FerError; no half of a file is left then.
    """
    seen = sources(request.source)
    form = _form(request, seen)
    _refuse_replacing(request, seen)
    model = load(run, request.device, request.landmarks)
    for note in model.notes:
        say(f"note: {note}")
    with ExitStack() as stack:
        writer = stack.enter_context(open_writer(form, request.out, model.classes, write))
        annotator = stack.enter_context(open_annotator(request.annotate, seen))
        summary, begin = PredictSummary(seen.kind, passed_over=seen.passed_over), time.perf_counter()
        silent = seen.kind == "picture" or (request.out is None and form != "table")
        try:
            with watch("predicting") if watch and not silent else nullcontext(lambda done, total, text: None) as tick:
                for one in _predictions(model, request, seen, tick):
                    summary = summary.plus(one)
                    writer.add(one)
                    annotator.add(one)
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
    count = len(seen.files) + len(seen.unread)
    return min(count, request.limit or count)


def _told(shots: Iterator[Shot], total: int | None, tick: Tick) -> Iterator[Shot]:
    """Yield the shots, and tell after each that it was looked at: predictions come many at a time, and late."""
    for number, shot in enumerate(shots, 1):
        yield shot
        time_s = "" if shot.time_s is None else f" ({shot.time_s:.1f} s)"
        frame = "" if shot.frame is None else f", frame {shot.frame:,}{time_s}"
        tick(number, total, f"predicting {shot.source}{frame}")


def _refuse_replacing(request: Request, seen: Sources) -> None:
    """Raise ConfigError if what is written would replace what is looked at or the other thing that is written, StorageError if a file of a
    run or of a prepared folder."""
    for out in filter(None, (request.out, request.annotate)):
        refuse_own_file("writing predictions", out)
    if request.out is None:
        return
    refuse_source("writing predictions", request.out, (seen.root / name for name in seen.files))
    if request.annotate is None:
        return
    out, drawn = Path(os.path.realpath(request.out)), Path(os.path.realpath(request.annotate))
    if out == drawn or drawn in out.parents:
        where = "the same file" if out == drawn else f"{request.annotate}"
        raise ConfigError(f"writing predictions to {request.out}: what is drawn goes to {where}; give --out and --annotate two places")


def _predictions(model: Predictor, request: Request, seen: Sources, tick: Tick) -> Iterator[Prediction]:
    """Yield the predictions; clips of a folder are searched as pictures are if nothing else was said."""
    thorough = seen.kind in ("picture", "folder") if request.small_faces is None else request.small_faces
    batch = 1 if seen.kind == "camera" else min(request.batch, LARGEST_BATCH)
    shots = _told(islice(seen.shots(request.every), request.limit), _total(request, seen), tick)
    yield from model.stream(shots, thorough, batch, keep=request.annotate is not None)
