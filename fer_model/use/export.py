"""Write a trained network as one file for other programs: ONNX or safetensors, with all that is needed to use it.

In:  RUN of `fer-model train`, complete.
Out: *.onnx         one graph, encoder and head or the baseline: view (B, C, 96, 96) float32 in [-1, 1], B in 1..64 ->
                    probabilities (B, K), logits (B, K). Written only if onnxruntime and torch agree on it.
     *.safetensors  the same weights by name.
     Both carry the recipe (recipe.py) in their metadata under `fer-degan`: classes, how faces are found and aligned, the view, the
     normalisation. The decoder, the discriminator and the names of the training people stay behind.
"""

import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from fer_data.faces.landmarks.none import NO_POINTS
from fer_data.faces.views import VIEW_SIZE
from fer_data.files import write_bytes_atomically
from fer_data.store.own_files import refuse_own_file
from fer_model.config import to_json
from fer_model.engine import checkpoint
from fer_model.errors import RunError
from fer_model.networks import to_input_size
from fer_model.runs.trained import TrainedRun, load_run
from fer_model.stages.registry import STAGES
from fer_model.use.recipe import CONFIG_KEY, KEY, LARGEST_BATCH, Recipe, recipe_of_run, require_onnx

__all__ = ["FORMATS", "TOLERANCE", "Exported", "export"]

FORMATS = ("onnx", "safetensors")
TOLERANCE = 1e-4                      # largest difference of probabilities between torch and the exported graph
OPSET = 20
_CHECKED = (1, 7, LARGEST_BATCH)      # batch sizes with which they are compared


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    bytes: int
    recipe: Recipe
    difference: float | None          # largest, of probabilities, from torch; None: the weights themselves were written

    def __rich__(self) -> str:
        """Return it as sentences, for the console."""
        from rich.markup import escape

        r = self.recipe
        checked = "" if self.difference is None else f"; differs from torch by at most {self.difference:.1e} on {sum(_CHECKED)} views"
        colour = {1: "grey", 3: "RGB"}[r.channels]
        unknown = r.landmarks == NO_POINTS and r.framing is None
        cropped = "; how they were cropped is not known: export where their prepared folder is at hand, and dlib" if unknown else ""
        return escape(
            f"{self.path}: {r.name} on {r.dataset}, {self.bytes / 1e6:.2f} MB{checked}\n"
            f"classes {', '.join(r.classes)}; {colour} faces found with {r.landmarks or 'a landmark backend that is not known'}"
            f"{cropped}"
        )


class _Graph(nn.Module):
    """What is exported: a view in, probabilities and logits out."""

    def __init__(self, trained: TrainedRun):
        super().__init__()
        self.networks, self._trained, self.run = nn.ModuleDict(_predicting(trained)), trained, trained.run

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:                    # (B, C, 96, 96) -> (B, K), (B, K)
        logits = self._trained.logits(to_input_size(view, self._trained.config.network.image_size)).float()
        return logits.softmax(1), logits


def _predicting(trained: TrainedRun) -> dict[str, nn.Module]:
    """Return the networks of the last stage: stage 1 of DE-AE leaves an encoder that its recogniser does not need."""
    return {name: trained.networks[name] for name in STAGES[trained.config.stages[-1]].networks}


def export(run: str | Path, form: str = "onnx", out: str | Path | None = None) -> Exported:
    """Write a run's network to `out` (None: model.onnx or model.safetensors in the run folder).

    Raises StorageError if `out` is another file of a run or of a prepared folder, RunError if the run predicts nothing or is not
    complete, if a package is missing, or if the graph does not compute what torch computes; nothing is written then.
    """
    if form not in FORMATS:
        raise RunError(f"exporting {run}: unknown format {form!r}; choose {' or '.join(FORMATS)}")
    if form == "onnx":
        require_onnx("onnx", "onnxscript", "onnxruntime")
    usual = Path(run) / f"model.{form}"
    out = Path(out or usual)
    if out.suffix.lower() != f".{form}":
        raise RunError(f"exporting {run}: the file must be named *.{form}, got {out.name}")
    refuse_own_file(f"exporting {run}", out, but=usual)
    trained = load_run(run, "cpu")
    if trained.config.method == "pretrain":
        raise RunError(f"exporting {run}: a run of pretrain predicts nothing; take one that started from it")
    recipe = recipe_of_run(trained.config, trained.content).with_framing()
    data, difference = _onnx(trained, recipe) if form == "onnx" else (_safetensors(trained, recipe), None)
    write_bytes_atomically(out, data)
    return Exported(out, len(data), recipe, difference)


# --- safetensors ------------------------------------------------------------------------------------------------------


def _safetensors(trained: TrainedRun, recipe: Recipe) -> bytes:
    tensors = {}
    for name, network in _predicting(trained).items():
        tensors |= {key: tensor.cpu().contiguous() for key, tensor in checkpoint.module_tensors(name, network).items()}
    return _sorted(safetensors.torch.save(tensors, {"format": "pt", KEY: recipe.to_metadata(), CONFIG_KEY: to_json(trained.config)}))


def _sorted(data: bytes) -> bytes:
    """Return a safetensors file with its metadata in order: the library writes them in another one each time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)                                              # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[end:]


# --- ONNX -------------------------------------------------------------------------------------------------------------


def _onnx(trained: TrainedRun, recipe: Recipe) -> tuple[bytes, float]:
    """Return the graph as bytes, and how far its probabilities are from torch's."""
    graph = _Graph(trained).eval()
    views = torch.zeros(2, recipe.channels, VIEW_SIZE, VIEW_SIZE)                # sizes of 0 and 1 would be taken for constants
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    with _quiet():
        program = torch.onnx.export(
            graph, (views,), dynamo=True, dynamic_shapes=({0: batch},), opset_version=OPSET, verbose=False,
            input_names=["view"], output_names=["probabilities", "logits"],
        )
        model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, model.graph):
        del part.metadata_props[:]                                               # the exporter's stack traces: paths of this machine
    for entry in (KEY, recipe.to_metadata()), ("classes", ",".join(recipe.classes)), ("limits", recipe.limits):
        model.metadata_props.add(key=entry[0], value=entry[1])
    model.producer_name, model.doc_string = "fer-degan", f"{recipe.name} trained on {recipe.dataset}"
    data = model.SerializeToString(deterministic=True)
    difference = _difference(graph, data, recipe)
    if not difference < TOLERANCE:
        raise RunError(f"exporting {trained.run}: the graph must compute what torch does to {TOLERANCE:g}, it is off by {difference:.2g}")
    return data, difference


@torch.inference_mode()
def _difference(graph: _Graph, data: bytes, recipe: Recipe) -> float:
    """Return the largest difference of probabilities between onnxruntime and torch, on noise, flat and smooth views.

    Raises RunError if the graph does not take one of the sizes of a batch.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng, found = np.random.default_rng(0), []
    for n in _CHECKED:
        coarse = rng.uniform(-1, 1, (n, recipe.channels, 6, 6)).astype(np.float32)
        views = np.kron(coarse, np.ones((1, 1, VIEW_SIZE // 6, VIEW_SIZE // 6), np.float32))           # (n, C, 96, 96)
        views = np.clip(views + rng.normal(0, 0.1, views.shape), -1, 1).astype(np.float32)
        try:
            said = session.run(["probabilities"], {"view": views})[0]                                  # (n, K)
        except (faults.InvalidArgument, faults.RuntimeException, faults.Fail) as error:
            raise RunError(
                f"exporting {graph.run}: the graph takes one batch size only, not {n}: the size of the batch is a constant in the network,"
                f" as len(x) gives it; write x.shape[0] there ({' '.join(str(error).split())[:200]})"
            ) from error
        found.append(np.abs(said - graph(torch.from_numpy(views))[0].numpy()).max(initial=0))
    return float(np.max(found))                                                  # NaN if one is; Python's max would pass over it


@contextmanager
def _quiet():
    """Keep torch's exporter from telling of its own parts (torchvision is not installed, a name is deprecated); it raises what fails."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
