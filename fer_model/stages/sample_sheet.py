"""Draw sheets of synthesised faces for the eye: inputs as rows, target identities as columns.

In:  what to draw: input faces, target identities, noise; or a stage with a generator that is being trained.
Out: uint8 (H, W) or (H, W, 3) RGB: rows are inputs, columns are identities. Sheets, a Watcher, writes them into a run folder.

Top row: a real face of each identity. Left column: the inputs. If a column does not show one person, or a row not one
expression, something is wrong; a generator that ignores the code makes all of a row the same. A white corner marks an unseen cell:
no training face shows this person with this expression, so the synthesised one is a transfer.

Where people are unknown there is no code and no top row: columns are noises, one for each.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_data.files import make_folder, write_bytes_atomically
from fer_data.store.loader import to_u8
from fer_model.engine import distributed
from fer_model.engine.loop import due
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Stage
from fer_model.networks import Generator
from fer_model.stages.classifier import centre_inputs
from fer_model.stages.judges import cells_seen

__all__ = ["COLUMNS", "GAP", "MARK", "Sheets", "draw_noise", "draw_noises", "draw_sheet", "sheet", "spread_over", "tiled", "write_picture"]

COLUMNS = 8                           # identities shown, spread evenly over all
GAP = 2                               # px between faces
MARK = 6                              # a face's side over that of its marked corner


def spread_over(n: int, columns: int = COLUMNS) -> Tensor:
    """Return at most `columns` of n indices, evenly spread, the first and the last among them: (I,) int64."""
    return torch.linspace(0, n - 1, min(columns, n)).round().long()


def draw_noise(rows: int, n_noise: int, rng: torch.Generator) -> Tensor:
    """Return z ~ U(-1, 1) for each row, (rows, N_z): one z serves a whole row, so that its columns differ in the code alone."""
    return torch.rand(rows, n_noise, generator=rng) * 2 - 1


@torch.inference_mode()
def draw_sheet(
    generator: Generator,             # in evaluation mode
    inputs: Tensor,                   # (R, C, S, S)
    people: Tensor,                   # (I,) identities
    noise: Tensor,                    # (R, N_z)
    real: Tensor | None = None,       # (I, C, S, S), above the columns; None: there is no such row
    unseen: Tensor | None = None,     # (R, I) bool: cells to mark; None: none
) -> np.ndarray:
    """Return the sheet of inputs as identities."""
    f, n_identities = generator.encoder(inputs), generator.decoder.inputs[1]                         # (R, N_f)
    codes = F.one_hot(people.to(f.device), n_identities).float()                 # (I, N_i)
    made = [generator.decoder(f, code.expand(len(f), -1), noise.to(f.device)) for code in codes]          # I of (R, C, S, S)
    if unseen is not None:
        made = [_marked(faces, which) for faces, which in zip(made, unseen.T, strict=True)]
    lines = _lines(inputs, made)
    return tiled(lines if real is None else [torch.cat([torch.ones_like(real[:1]), real]), *lines])


@torch.inference_mode()
def draw_noises(generator: Generator, inputs: Tensor, noise: Tensor) -> np.ndarray:
    """Return the sheet of inputs (R, C, S, S), a column for each noise of (I, N_z), of a generator without a code in evaluation mode."""
    f = generator.encoder(inputs)                                                # (R, N_f)
    return tiled(_lines(inputs, [generator.decoder(f, f.new_zeros(len(f), 0), z.expand(len(f), -1)) for z in noise.to(f.device)]))


def _lines(inputs: Tensor, made: list[Tensor]) -> list[Tensor]:
    """Return each input (C, S, S) with what was made of it; `made`: columns of (R, C, S, S)."""
    return [torch.stack([face, *made_of_it]) for face, *made_of_it in zip(inputs, *made, strict=True)]


def _marked(faces: Tensor, which: Tensor) -> Tensor:
    """Return faces (R, C, S, S) with the top right corner of those in `which` (R,) white, edged with black."""
    size, place = faces.shape[-1], torch.arange(faces.shape[-1], device=faces.device)
    from_corner = (size - 1 - place) + place[:, None]                            # (S, S): 0 in the corner, px along the edges
    mark = torch.where(from_corner < size // MARK, 1.0, -1.0)
    where = which.to(faces.device)[:, None, None, None] & (from_corner <= size // MARK)         # (R, 1, S, S)
    return torch.where(where, mark, faces)


def sheet(stage: Stage) -> np.ndarray:
    """Return the sheet of a stage, one input for each expression. The generator is in evaluation mode meanwhile."""
    fold, generator, training = stage.fold, stage.finished, stage.finished.training
    expression, rng = fold.expression_labels(torch.device("cpu")), stream(stage.run.seed, "gan/sheet")
    shown = expression.unique()                                                  # (E,)
    rows = _first_of(expression, shown)                                          # (E,)
    inputs = _inputs_of(stage, rows)
    generator.eval()
    if fold.identities:
        picture = _sheet_of_people(stage, inputs, shown, draw_noise(len(rows), stage.run.network.noise, rng))
    else:
        picture = draw_noises(generator, inputs, draw_noise(COLUMNS, stage.run.network.noise, rng))
    generator.train(training)
    return picture


def _sheet_of_people(stage: Stage, inputs: Tensor, shown: Tensor, noise: Tensor) -> np.ndarray:
    fold, people = stage.fold, spread_over(len(stage.fold.identities))           # (I,)
    real = _inputs_of(stage, _first_of(fold.identity_labels(people.device), people))
    return draw_sheet(stage.finished, inputs, people, noise, real, ~cells_seen(fold)[people][:, shown].T)


def _inputs_of(stage: Stage, faces: Tensor) -> Tensor:
    """Return training faces (n,) in the test view, (n, C, S, S)."""
    return centre_inputs(stage.views, faces, stage.run.network.image_size)


def _first_of(labels: Tensor, wanted: Tensor) -> Tensor:
    return torch.stack([(labels == label).nonzero()[0, 0] for label in wanted])


def tiled(grid: list[Tensor]) -> np.ndarray:
    """Rows of (n, C, S, S) in [-1, 1] -> one picture, white between the faces: (H, W), or (H, W, 3) RGB, uint8."""
    lines = []
    for row in grid:
        faces = to_u8(row).cpu().permute(0, 2, 3, 1).numpy()                     # (n, S, S, C)
        padded = np.pad(faces, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))                       # (S + gap, n * (S + gap), C)
    picture = np.concatenate(lines)
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, grey or RGB, as PNG, atomically."""
    good, data = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])
    assert good, "OpenCV encodes every uint8 array as PNG"
    write_bytes_atomically(path, data.tobytes())


class Sheets:
    """Writes the sheet of a stage with a generator: to samples/step-NNNNNN.png while it trains, to samples.png when it is trained."""

    def __init__(self, run: Path, every_kimg: float):
        self.run, self.every_kimg = run, every_kimg

    def on_tick(self, stage: Stage, step: int) -> dict[str, float]:
        """Write a sheet, if it is time to."""
        if distributed.is_first() and due(stage, step, self.every_kimg):
            make_folder(self.run / "samples")
            write_picture(self.run / "samples" / f"step-{step:06d}.png", sheet(stage))
        return {}

    def on_end(self, stage: Stage) -> None:
        """Write the last sheet."""
        if distributed.is_first():
            write_picture(self.run / "samples.png", sheet(stage))
