"""Transfer an expression to other people (a sheet), or edit it step by step (a strip or an animation).

In:  a run of DE-GAN or DE-AE; pictures, or faces of the prepared folder by image_id.
Out: PNG: rows are sources, columns are identities of training people (transfer), or steps from one expression to another
     (edit); left column: the sources as the encoder sees them; a white corner: no training face shows this person with the source's
     expression. GIF: the steps there and back, a frame each.

    transfer    G_de(f(x), I, z) for each I: the source's expression on another person
    edit        G_de(f(x) + t (mean f of B - mean f of A), I, z), t from 0 to 1, for one I; means over training faces

One z for each row, drawn from the seed.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_data.faces.finder import align_files
from fer_data.files import write_bytes_atomically
from fer_data.store.loader import open_views, virtual_views
from fer_data.store.own_files import refuse_own_file
from fer_data.text import unknown
from fer_model.data.fold import Fold, people_of
from fer_model.engine.randomness import stream
from fer_model.errors import ConfigError, RunError
from fer_model.runs.trained import TrainedRun, load_run
from fer_model.stages.classifier import centre_inputs
from fer_model.stages.judges import cells_seen
from fer_model.stages.sample_sheet import COLUMNS, draw_noise, draw_sheet, spread_over, tiled, write_picture
from fer_model.use.recipe import recipe_of_run
from fer_model.use.shots import refuse_source

__all__ = ["Drawn", "Request", "animation", "transfer"]

STEP_MS, REST_MS = 120, 600           # how long a frame of an animation stands; the first and the last


@dataclass(frozen=True)
class Request:
    """What to draw."""

    sources: tuple[Path, ...] = ()    # picture files
    source_ids: tuple[str, ...] = ()  # faces of the prepared folder, by image_id
    identities: tuple[str, ...] = ()  # training people, by subject or dataset/subject; (): `columns` of them
    columns: int = COLUMNS            # spread evenly over all training people
    landmarks: str | None = None      # landmarks.ALONE; None: as the faces of the training were found
    edit: tuple[str, str] | None = None          # expressions (from, to); None: transfer
    steps: int = 7                    # of an edit, both ends included
    gif: bool = False                 # an edit as an animation
    seed: int = 0                     # of z

    def __post_init__(self):
        if not self.sources and not self.source_ids:
            raise ConfigError("drawing a sheet: at least one source is needed, a picture or an image_id; got none")
        if self.gif and self.edit is None:
            raise ConfigError("drawing a sheet: an animation needs two expressions, from and to; got none")


@dataclass(frozen=True)
class Drawn:
    """What was written."""

    path: Path
    rows: tuple[str, ...]             # sources
    columns: tuple[str, ...]          # identities, or steps
    real: bool                        # whether the top row shows a real face of each identity
    moves: bool = False               # an animation
    marked: int = 0                   # cells that no training face shows; of sources by image_id alone, whose expression is known
    remarks: tuple[str, ...] = ()     # what there is to know of the sources: damage, other faces

    def __rich__(self) -> str:
        """Return what the picture shows, for the console."""
        from rich.markup import escape

        top = ["top row: a real face of each"] if self.real else []
        if self.marked:
            cells = "1 cell" if self.marked == 1 else f"{self.marked} cells"
            top.append(f"white corner, {cells}: no training face shows this person with the expression of the source")
        across = f"there and back: {', '.join(self.columns)}" if self.moves else f"columns: the input, then {', '.join(self.columns)}"
        return escape("\n".join([f"{self.path}: rows {', '.join(self.rows)}", across, *top, *self.remarks]))


def transfer(
    run: str | Path, request: Request, out: str | Path | None = None, data: str | Path | None = None, device: str = "auto"
) -> Drawn:
    """Draw what is asked for and write it to `out` (None: into the run folder).

    `data`: the prepared folder, if it no longer lies where the run says; without it there are no real faces on top, and
    no edits. Raises StorageError if `out` is a file of a run or of a prepared folder, ConfigError, RunError and other children of
    FerError for sources without a face; nothing is written then.
    """
    trained = load_run(run, device)
    generator = trained.generator_for("drawing a sheet")
    suffix = ".gif" if request.gif else ".png"
    out = Path(out or Path(run) / ("-".join(["edit", *request.edit]) if request.edit else "transfer"))
    out = out.with_suffix(suffix) if not out.suffix else out
    if out.suffix.lower() != suffix:
        raise ConfigError(f"drawing a sheet: this one is written as *{suffix}, got {out.name}")
    refuse_own_file("drawing a sheet", out)
    refuse_source("drawing a sheet", out, request.sources)
    people = _people(trained, request)                                           # (I,)
    prepared = _prepared(trained, data)
    inputs, remarks = _inputs(trained, request, prepared)                        # (R, C, S, S)
    noise = draw_noise(len(inputs), trained.config.network.noise, stream(request.seed, "transfer/noise"))    # (R, N_z)
    names = tuple(path.name for path in request.sources) + request.source_ids
    if request.edit is None:
        real, unseen = prepared and _real_faces(trained, *prepared, people), prepared and _unseen(request, prepared[1], people)
        write_picture(out, draw_sheet(generator, inputs, people, noise, real, unseen))
        columns, marked = tuple(trained.identities[person] for person in people), 0 if unseen is None else int(unseen.sum())
        return Drawn(out, names, columns, prepared is not None, marked=marked, remarks=remarks)
    moved = _edited(trained, request, prepared, inputs, int(people[0]), noise)   # steps of (R, C, S, S)
    if request.gif:
        write_bytes_atomically(out, animation([tiled([torch.stack(pair) for pair in zip(inputs, step, strict=True)]) for step in moved]))
    else:
        write_picture(out, tiled([torch.stack(row) for row in zip(inputs, *moved, strict=True)]))
    steps = f"{len(moved)} steps from {request.edit[0]} to {request.edit[1]} as {trained.identities[people[0]]}"
    return Drawn(out, names, (steps,), False, request.gif, remarks=remarks)


def _people(trained: TrainedRun, request: Request) -> Tensor:
    """Return the identities asked for as indices into trained.identities, (I,) int64."""
    if not request.identities:
        return spread_over(len(trained.identities), request.columns)
    found = []
    for wanted in request.identities:
        fits = [i for i, name in enumerate(trained.identities) if wanted in (name, name.split("/", 1)[1])]
        if len(fits) != 1:
            what = "stands for several of them" if fits else "is none of them"
            known = f"{', '.join(trained.identities[:4])}, ... ({len(trained.identities)} in all)"
            raise ConfigError(f"drawing a sheet: identities are training people of the run, {known}; {wanted!r} {what}")
        found += fits
    return torch.tensor(found)


def _prepared(trained: TrainedRun, data: Path | None) -> tuple[Path, Fold] | None:
    """Return the prepared folder and the fold, or None if nobody named one and it is not where the run found it."""
    if data is None and not trained.knows_its_data:
        return None
    return trained.open_data(data)


def _needed(trained: TrainedRun, prepared: tuple[Path, Fold] | None, what: str) -> tuple[Path, Fold]:
    if prepared is None:
        raise RunError(f"drawing a sheet: {what} need the prepared folder, which is {trained.gone}")
    return prepared


def _inputs(trained: TrainedRun, request: Request, prepared: tuple[Path, Fold] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Return all sources as the encoder takes them, files first: (R, C, S, S) in [-1, 1]; and what there is to know of the files."""
    size, parts, remarks = trained.config.network.image_size, [], []
    if request.sources:
        content = trained.content | ({"data": str(prepared[0])} if prepared else {})
        faces, remarks = align_files(request.sources, recipe_of_run(trained.config, content).finder(request.landmarks))
        parts.append(centre_inputs(virtual_views(faces, trained.device), torch.arange(len(faces)), size))
    if request.source_ids:
        data, fold = _needed(trained, prepared, "sources by image_id")
        rows = {row["image_id"]: (side, place) for side in (fold.train, fold.test) for place, row in enumerate(side.to_dict("records"))}
        for name in request.source_ids:
            if name not in rows:
                raise ConfigError(f"drawing a sheet: image_ids look like {next(iter(rows))}, there is no {name} in {data}")
            side, place = rows[name]
            parts.append(centre_inputs(open_views(data, side.iloc[[place]], trained.device), torch.tensor([0]), size))
    return torch.cat(parts), tuple(remarks)


def _real_faces(trained: TrainedRun, data: Path, fold: Fold, people: Tensor) -> Tensor:
    """Return the first training face of each identity, (I, C, S, S)."""
    who = people_of(fold.train).tolist()
    rows = fold.train.iloc[[who.index(trained.identities[person]) for person in people]]
    return centre_inputs(open_views(data, rows, trained.device), torch.arange(len(rows)), trained.config.network.image_size)


def _unseen(request: Request, fold: Fold, people: Tensor) -> Tensor:
    """Return which cells no training face shows, (R, I) bool, files first: nothing says which expression a file shows."""
    shown = pd.concat([fold.train, fold.test]).set_index("image_id")["expression"]
    expressions = torch.tensor([fold.classes.index(shown[name]) for name in request.source_ids], dtype=torch.int64)
    files = torch.zeros(len(request.sources), len(people), dtype=torch.bool)
    return torch.cat([files, ~cells_seen(fold)[people][:, expressions].T])


@torch.inference_mode()
def _edited(trained, request: Request, prepared, inputs: Tensor, person: int, noise: Tensor) -> list[Tensor]:
    """Return the sources as one person at each step between two expressions: `steps` of (R, C, S, S)."""
    data, fold = _needed(trained, prepared, "edits, which start from mean expressions of training faces,")
    first, last = (_mean_f(trained, data, fold, expression) for expression in request.edit)      # (N_f,)
    f, decoder = trained.generator.encoder(inputs), trained.generator.decoder                    # (R, N_f)
    code = F.one_hot(torch.tensor(person), len(trained.identities)).float().to(f.device).expand(len(f), -1)
    return [decoder(f + t * (last - first), code, noise.to(f.device)) for t in torch.linspace(0, 1, request.steps).tolist()]


def _mean_f(trained: TrainedRun, data: Path, fold: Fold, expression: str) -> Tensor:
    """Return the mean of f(x) over the training faces with an expression, (N_f,)."""
    rows = fold.train[fold.train["expression"] == expression]
    if not len(rows):
        raise ConfigError(f"drawing a sheet: {unknown('expression', expression, trained.classes)}")
    views, size = open_views(data, rows, trained.device), trained.config.network.image_size
    parts = [trained.generator.encoder(centre_inputs(views, faces, size)) for faces in torch.arange(len(rows)).split(128)]
    return torch.cat(parts).mean(0)


def animation(frames: list[np.ndarray]) -> bytes:
    """Return pictures, all grey or all RGB, as a GIF that runs there and back for ever; grey levels are kept to within 1."""
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    film = cv2.Animation()
    film.frames = [cv2.cvtColor(frames[i], cv2.COLOR_GRAY2BGR if frames[i].ndim == 2 else cv2.COLOR_RGB2BGR) for i in order]
    film.durations = [REST_MS if i in (0, len(frames) - 1) else STEP_MS for i in order]
    film.loop_count = 0                                                          # for ever
    good, data = cv2.imencodeanimation(".gif", film, [cv2.IMWRITE_GIF_DITHER, 3])      # 3: no dither; the default is off by 83 levels
    assert good, "OpenCV encodes every list of uint8 arrays as GIF"
    return data.tobytes()
