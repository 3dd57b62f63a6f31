"""Predict the expression of every face in new pictures with a trained network, and say which answers are doubtful.

In:  RUN of `fer-model train`, or an exported file; pictures.
Out: a Prediction for every picture, in order; those without a face and those that cannot be read too.

    import fer_model
    found = fer_model.load("runs/ck+-degan-fold0").predict("me.jpg")
    [(face.expression, face.probability, face.doubts) for face in found.faces]

Faces are found and aligned as those of the training were. torch is not imported where the network is an ONNX file (unless the faces
are found with FAN, which is a network of torch).
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from fer_data.errors import ImageError, UnreadableError
from fer_data.faces.finder import Finder, Found
from fer_data.faces.landmarks.none import NO_POINTS
from fer_data.files import read_file
from fer_data.pictures.decode import decode
from fer_model.use.engines import Engine, open_engine
from fer_model.use.framing import FILLS_CROP
from fer_model.use.prediction import FacePrediction, Prediction
from fer_model.use.recipe import LARGEST_BATCH, Recipe, inputs
from fer_model.use.shots import Shot

__all__ = ["TURNED_DEG", "UNLIKE_PX", "Predictor", "load"]

TURNED_DEG = 20.0                     # a face turned further than this is doubted: training faces are frontal; 102 photographs of
                                      # frontal people reached 13 at most, with dlib's points (faces/pose.py)
UNLIKE_PX = 3.0                       # so are points that fit a frontal face worse than this after alignment, canvas px: the head
                                      # nods far, or the points are wrong. The same photographs reached 2.0; a turn of 30 degrees, 3.1
_HELD_BYTES = 64_000_000              # of pictures that wait for a batch to be full, if they are to be drawn on


class Predictor:
    """A trained network with the landmark backend of its training."""

    def __init__(self, engine: Engine, landmarks: str | None = None):
        """`landmarks`: another backend than that of the training. Raises ConfigError if there is none to be used, WeightsError."""
        self.recipe, self._engine = engine.recipe, engine
        self._finder = engine.recipe.finder(landmarks)

    @property
    def classes(self) -> tuple[str, ...]:
        """The expressions that it tells apart."""
        return self.recipe.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how far what it says can be trusted at all."""
        return tuple(_notes(self.recipe, self._finder))

    def predict(self, image: Path | str | np.ndarray, thorough: bool = True) -> Prediction:
        """Return the faces of one picture: a file, or an array (H, W) or (H, W, 3) RGB of uint8.

        `thorough` looks for small faces next to a large one. Raises ImageError if it is no picture; no face is no error.
        """
        if isinstance(image, np.ndarray):
            shot = Shot("", None, None, image)
        else:
            if not isinstance(image, str | Path):
                raise ImageError(f"predicting: a file or an array is needed (of a PIL picture np.asarray(...)), got {type(image).__name__}")
            path = Path(image)
            try:
                picture, remark = decode(read_file(path), True, path.name)
            except UnreadableError as error:
                what = error if os.path.lexists(path) else f"there is no {path}"
                raise ImageError(f"predicting: one picture is needed, {what}") from error
            shot = Shot(str(image), None, None, picture, remark=remark.text and f"it {remark.text}")
        return next(self.stream([shot], thorough=thorough))

    def first_face(self, picture: np.ndarray) -> np.ndarray | None:
        """Return the aligned face, (132, 132[, 3]) uint8, that `predict` names first; None if there is no face."""
        found, _ = self._finder(picture, thorough=True)
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
            waiting.append((Prediction(shot.source, shot.frame, shot.time_s, size, (), "; ".join(unusable), picture, shot.remark), faces))
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
    if one.doubt:
        yield one.doubt
    if one.patch_px < image_size:
        yield (
            f"too small: the network looks at {image_size}x{image_size} pixels of a face, this one has"
            f" {one.patch_px:.0f}x{one.patch_px:.0f} (eye distance {one.eye_distance_px:.0f} px)"
        )
    if one.yaw_deg is not None and abs(one.yaw_deg) > TURNED_DEG:
        yield f"turned too far: about {abs(one.yaw_deg):.0f} degrees to the {'right' if one.yaw_deg > 0 else 'left'} of the picture"
    elif one.residual_px > UNLIKE_PX:
        yield f"not frontal, or its points are wrong: they miss those of a frontal face by {one.residual_px:.1f} px of the canvas"


def _notes(recipe: Recipe, finder: Finder) -> Iterator[str]:
    theirs, ours = recipe.backend, finder.identity
    guessed = recipe.landmarks == NO_POINTS and finder.template is FILLS_CROP
    if ours["name"] == NO_POINTS != recipe.landmarks:
        yield "each picture is taken for a face that is aligned already: nothing is found, nothing is aligned"
    elif recipe.landmarks == NO_POINTS != ours["name"]:
        framed = "" if guessed else ", and framed as those of the training were"
        yield f"faces are found with {ours['name']}{framed}; those of the training were taken as they were cropped"
    elif recipe.landmarks is not None and ours["name"] != recipe.landmarks:
        yield f"points are found with {ours['name']}, those of the training were with {recipe.landmarks}: faces lie a little otherwise"
    elif theirs and any(theirs.get(key) != ours[key] for key in ("version", "weights_sha256")):
        what = "version" if theirs.get("version") != ours["version"] else "model file"
        yield f"points are found with {ours['name']} {ours['version']}, those of the training with {theirs.get('version')}: another {what}"
    if guessed and (ours["name"] != NO_POINTS or finder.checks_framing):
        where = f", {recipe.data}," if recipe.data else ""
        yield (f"how the faces of the training were cropped is not known, as their prepared folder{where} cannot be read as it was then, or"
               " dlib is missing: a face is assumed to fill its picture from the brows to the chin")
    if ours["name"] == NO_POINTS and not finder.checks_framing:
        yield ("whether a picture is framed like the faces of the training cannot be checked without dlib; install it with:"
               " pip install 'fer-degan[dlib]'")
    if recipe.drawn:
        yield "the network was trained on synthetic people: what it says of real ones means nothing"
    if recipe.probability != "softmax":
        yield f"probabilities are the {recipe.probability}"


def load(run: Path | str, device: str = "auto", landmarks: str | None = None) -> Predictor:
    """Return what predicts with a trained network: a run folder, or *.onnx or *.safetensors of `fer-model export`.

    device      auto, cpu, cuda, cuda:N; an ONNX file runs on the CPU
    landmarks   fan, dlib or none, in place of the backend of the training
    Raises children of FerError: RunError, CheckpointError, DeviceError, ConfigError, WeightsError.
    """
    return Predictor(open_engine(Path(run), device), landmarks)
