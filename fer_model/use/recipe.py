"""How a new picture becomes what the network was trained on, and what its answers mean.

In:  config.json of a run (and, of an older run, the settings of its data); or the JSON in the metadata of an exported file.
Out: Recipe. No torch is imported here.

    picture, 68 points -> canvas    similarity of eye corners and nose onto a template: fer_data/faces/align.py
    canvas -> view                  96x96 patch, by a 2x3 matrix: the centre crop, unrotated
    view -> input                   uint8 x -> x / 127.5 - 1, float32 (B, C, 96, 96), grey or RGB
"""

import importlib.util
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from fer_data.faces.align import CANVAS, EYE_CENTRE, EYE_DISTANCE, RIGID, TEMPLATE
from fer_data.faces.finder import Finder
from fer_data.faces.landmarks import ALONE, backend_options, open_backend
from fer_data.faces.landmarks.none import NO_POINTS
from fer_data.faces.views import CENTRE_VIEW, MATRICES, VIEW_SIZE, render_view
from fer_data.schema import read
from fer_data.text import either
from fer_model.config import TrainConfig
from fer_model.errors import ConfigError, RunError
from fer_model.runs.faces import faces_of_run
from fer_model.use.framing import FILLS_CROP, doubt_of, measured

__all__ = ["CONFIG_KEY", "KEY", "LARGEST_BATCH", "Recipe", "from_metadata", "inputs", "recipe_of_run", "require_onnx"]

SCHEMA_VERSION = 1
KEY = "fer-degan"                     # of the recipe in an exported file's metadata
CONFIG_KEY = "fer-degan-config"       # of the configuration in the metadata of safetensors, for the networks' sizes
LARGEST_BATCH = 64                    # faces that an exported graph takes at once
LIMITS = "posed expressions are not emotions; trained and tested on the people of one database"


@dataclass(frozen=True)
class Recipe:
    """How to go from a picture to the probabilities of expressions."""

    name: str                         # what predicts: degan, degan-taps, cnn, ...
    dataset: str
    drawn: bool                       # the people of the data are drawn
    fold: int | None                  # the test fold: its people were not trained on
    classes: tuple[str, ...]          # in the order of the probabilities
    channels: int                     # 1 grey, 3 RGB
    image_size: int                   # px: the network's own; it reduces a view of 96x96 to it
    probability: str                  # what the probabilities are
    landmarks: str | None             # landmark backend of the training faces; None: not known
    detector: str                     # its face detector, as PrepareConfig has it
    backend: dict                     # its name, version, hash of its weights; {} if not known
    code_version: str                 # that started the training
    manifest_sha256: str              # of the data
    limits: str = LIMITS
    framing: tuple[tuple[float, float], ...] | None = None   # of faces as they were cropped: their rigid points, (13, 2) canvas px;
                                      # None: not measured
    data: str = field(default="", compare=False)   # prepared folder of the training, if it may be looked into; not exported

    def finder(self, landmarks: str | None = None) -> Finder:
        """Return what finds and aligns faces in new pictures as those of the training were; `landmarks`: with another backend.

        Raises ConfigError if the training's cannot look at new pictures or is not known, WeightsError if a model file is missing.
        """
        used = self.landmarks or "a backend that is not known, as the run does not say and its prepared folder is not at hand"
        if landmarks is None and self.landmarks not in ALONE:
            raise ConfigError(
                f"finding faces as in the training of {self.name}: that was done with {used}; say what to take for new pictures:"
                f" --landmarks {either(ALONE)}"
            )
        own = landmarks in (None, self.landmarks)
        small_faces = own and bool(self.backend.get("small_faces"))
        whole = own and self.detector == "whole" and self.landmarks != NO_POINTS     # as CK+48's; a photograph is not one face
        search = open_backend(self.landmarks, **backend_options(self.landmarks, "sfd")) if whole else None
        known = self.with_framing().framing
        template = np.array(known) if known else FILLS_CROP if self.landmarks == NO_POINTS else TEMPLATE
        doubt = doubt_of(template) if NO_POINTS in (self.landmarks, landmarks) else None       # else they were aligned, and new ones are
        return Finder(
            landmarks or self.landmarks, self.detector if own else "sfd", self.channels == 3, small_faces,
            template=template, search=search, doubt_of_whole=doubt,
        )

    def with_framing(self) -> "Recipe":
        """Return it with the framing of faces that were taken as they were cropped, measured in their prepared folder if need be."""
        if self.landmarks != NO_POINTS or self.framing is not None:
            return self
        return replace(self, framing=measured(self.data, self.manifest_sha256))

    def to_metadata(self) -> str:
        """Return the recipe as JSON, the preprocessing spelt out for programs that are not this one."""
        told = {name: value for name, value in asdict(self).items() if name != "data"}
        return json.dumps({"schema_version": SCHEMA_VERSION, **told, "preprocessing": _preprocessing()})


def _preprocessing() -> dict:
    return {
        "canvas_px": CANVAS, "template_points": list(RIGID), "template_px": np.round(TEMPLATE, 9).tolist(),
        "eye_distance_px": EYE_DISTANCE, "eye_centre_px": list(EYE_CENTRE),
        "view_px": VIEW_SIZE, "view_matrix": MATRICES[CENTRE_VIEW].tolist(), "view_matrix_is": "view (x, y, 1) -> canvas (x, y)",
        "scale": 1 / 127.5, "offset": -1.0, "layout": "BCHW",
    }


def recipe_of_run(config: TrainConfig, content: dict) -> Recipe:
    """Return the recipe of a run, given its configuration and all of its config.json.

    How its faces were found stands there; of a run that was started before that was written down, it is read from the prepared
    folder, if that is still where the run found it.
    """
    faces = faces_of_run(content) or {}
    return Recipe(
        config.name, content["dataset"], bool(content.get("drawn")), config.fold, tuple(content["classes"]), config.network.channels,
        config.network.image_size, config.probability, faces.get("landmarks"), faces.get("detector", ""), faces.get("backend", {}),
        content["code_version"], content["manifest_sha256"], data=str(content.get("data", "")),
    )


def from_metadata(text: str | None, where: Path) -> Recipe:
    """Return the recipe in the metadata of an exported file.

    Raises RunError if there is none, or if it is of another version or for faces that are aligned otherwise than here.
    """
    doing = f"reading the exported network {where}"
    if text is None:
        raise RunError(f"{doing}: it says nothing of classes and preprocessing; `fer-model export` writes one that does")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{doing}: its metadata are not JSON ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise RunError(f"{doing}: version {SCHEMA_VERSION} is read, it has version {version!r}")
    try:
        known = {name: value for name, value in content.items() if name in Recipe.__dataclass_fields__}
        recipe = read(Recipe, {"framing": None, **known, "data": ""})
        if recipe.framing is not None and (np.shape(recipe.framing) != TEMPLATE.shape or not np.isfinite(recipe.framing).all()):
            raise ValueError(f"framing must be {len(TEMPLATE)} points (x, y)")
    except ValueError as error:
        raise RunError(f"{doing}: its metadata are not what export writes ({error})") from error
    theirs, ours = content.get("preprocessing"), _preprocessing()
    if theirs != ours:
        names = [name for name, value in ours.items() if not isinstance(theirs, dict) or theirs.get(name) != value]
        raise RunError(f"{doing}: its faces must be aligned as this version aligns them, {names[0] if names else 'preprocessing'} differs")
    return recipe


def inputs(faces: np.ndarray) -> np.ndarray:
    """Return what a network is given of faces: (B, 132, 132[, 3]) uint8 -> (B, C, 96, 96) float32 in [-1, 1].

    The same numbers as fer_data.store.loader gives for the test view.
    """
    views = np.stack([render_view(face, CENTRE_VIEW) for face in faces])         # (B, 96, 96[, 3])
    views = views[:, None] if views.ndim == 3 else views.transpose(0, 3, 1, 2)   # (B, C, 96, 96)
    return np.ascontiguousarray(views, np.float32) / np.float32(127.5) - np.float32(1)


def require_onnx(*packages: str) -> None:
    """Raise RunError with what to install, if a package of the extra [onnx] is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise RunError(f"working with ONNX: the package {missing[0]} is missing; install it with: pip install 'fer-degan[onnx]'")
