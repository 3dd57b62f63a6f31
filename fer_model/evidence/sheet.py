"""A sheet of synthesised faces, for the eye: a trained generator in, one picture out.

In:  GanStage.
Out: uint8 (H, W) or (H, W, 3) RGB: rows are inputs, one per expression; columns are identities that the code asks for.

Top row: a real face of each identity. Left column: the inputs. If a column does not show one person, or a row not one
expression, something is wrong; a generator that ignores the code makes all of a row the same.
"""

from pathlib import Path

import cv2
import numpy as np
import torch

from fer_data.store.files import write_bytes_atomically
from fer_data.store.loader import CENTRE_VIEW, to_u8
from fer_model.degan import GanStage
from fer_model.networks import to_input_size
from fer_model.randomness import stream

__all__ = ["sheet", "write_sheet"]

COLUMNS = 8                           # identities shown, spread evenly over all
GAP = 2                               # px between faces


@torch.inference_mode()
def sheet(stage: GanStage) -> np.ndarray:
    """Return the sheet, (H, W) or (H, W, 3) uint8. The generator is in evaluation mode meanwhile."""
    n_identities, n_noise = len(stage.fold.identities), stage.run.network.noise
    columns = torch.linspace(0, n_identities - 1, min(COLUMNS, n_identities)).round().long()     # (I,)
    rows = _first_of_each(stage.expression.cpu())                                # (E,)
    people = torch.stack([(stage.identity_cpu == p).nonzero()[0, 0] for p in columns])           # (I,)
    inputs, real = _centre(stage, rows), _centre(stage, people)                  # (E, C, S, S), (I, C, S, S)
    noise = torch.rand(len(rows), n_noise, generator=stream(stage.run.seed, "gan/sheet")) * 2 - 1
    stage.generator.eval()
    made = []
    for person in columns:
        codes = stage.codes(person.expand(len(rows)).to(stage.device))           # (E, N_i)
        made.append(stage.generator(inputs, codes, noise.to(stage.device)))      # (E, C, S, S)
    stage.generator.train()
    corner = torch.ones_like(real[:1])
    lines = [torch.stack([face, *made_of_it]) for face, *made_of_it in zip(inputs, *made, strict=True)]
    return _tiled([torch.cat([corner, real]), *lines])


def _first_of_each(labels: torch.Tensor) -> torch.Tensor:
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])


def _centre(stage: GanStage, faces: torch.Tensor) -> torch.Tensor:
    views = stage.views.batch(faces, torch.full_like(faces, CENTRE_VIEW))
    return to_input_size(views, stage.run.network.image_size)


def _tiled(grid: list[torch.Tensor]) -> np.ndarray:
    """Rows of (n, C, S, S) in [-1, 1] -> one picture, white between the faces."""
    lines = []
    for row in grid:
        faces = to_u8(row).cpu().permute(0, 2, 3, 1).numpy()                     # (n, S, S, C)
        padded = np.pad(faces, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))                       # (S + gap, n * (S + gap), C)
    picture = np.concatenate(lines)
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def write_sheet(path: Path, stage: GanStage) -> None:
    """Write the sheet as PNG, atomically."""
    picture = sheet(stage)
    good, data = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])
    assert good, "OpenCV encodes every uint8 array as PNG"
    write_bytes_atomically(path, data.tobytes())
