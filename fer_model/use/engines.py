"""A trained network, ready to be asked: a run folder or an exported file in; a function from views to probabilities out.

In:  RUN of `fer-model train`, or what `fer-model export` made of it: *.onnx, *.safetensors.
Out: Engine: its recipe, and probabilities (B, K) float32 of views (B, C, 96, 96) float32 in [-1, 1].

torch is imported for a run and for safetensors; an ONNX file needs onnxruntime alone.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_model.errors import DeviceError, RunError
from fer_model.use.recipe import Recipe, from_metadata, recipe_of_run

__all__ = ["KEY", "LARGEST_BATCH", "Engine", "open_engine", "require_onnx"]

KEY = "fer-degan"                     # of the recipe in an exported file's metadata
LARGEST_BATCH = 64                    # what an exported graph takes at once


@dataclass(frozen=True)
class Engine:
    """A network that predicts."""

    recipe: Recipe
    probabilities: Callable[[np.ndarray], np.ndarray]    # (B, C, 96, 96) float32, B in 1..64 -> (B, K) float32
    device: str


def open_engine(path: Path, device: str = "auto") -> Engine:
    """Return the engine of a run folder or an exported file.

    Raises RunError if it is neither, or is not complete; DeviceError for a device that is not there.
    """
    if path.is_dir():
        return _of_run(path, device)
    kinds = {".onnx": _of_onnx, ".safetensors": _of_safetensors}
    if not path.is_file() or path.suffix.lower() not in kinds:
        what = "another file" if path.is_file() else "not there"
        raise RunError(f"opening a trained network: a run folder, or *.onnx or *.safetensors of `fer-model export`; {path} is {what}")
    return kinds[path.suffix.lower()](path, device)


def _of_run(run: Path, device: str) -> Engine:
    from fer_model.runs.trained import load_run

    trained = load_run(run, device)
    if trained.config.method == "pretrain":
        raise RunError(f"opening a trained network: {run} is a run of pretrain, which predicts nothing; take one that started from it")
    return _of_trained(trained, recipe_of_run(trained.config, trained.content))


def _of_safetensors(path: Path, device: str) -> Engine:
    from fer_model.use.export import read_safetensors

    trained, recipe = read_safetensors(path, device)
    return _of_trained(trained, recipe)


def _of_trained(trained, recipe: Recipe) -> Engine:
    import torch

    from fer_model.networks import to_input_size

    @torch.inference_mode()
    def probabilities(views: np.ndarray) -> np.ndarray:
        x = to_input_size(torch.from_numpy(views).to(trained.device), trained.config.network.image_size)
        return trained.logits(x).float().softmax(1).cpu().numpy()                # (B, K)

    return Engine(recipe, probabilities, str(trained.device))


def _of_onnx(path: Path, device: str) -> Engine:
    if device not in ("auto", "cpu"):
        raise DeviceError(f"choosing a device: an exported ONNX file is computed on the cpu, {device} was asked for; take the run folder")
    require_onnx("onnxruntime")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4                                               # what it would log is raised
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (faults.InvalidProtobuf, faults.InvalidGraph, faults.Fail, faults.InvalidArgument, faults.NotImplemented) as error:
        raise RunError(f"opening {path}: onnxruntime cannot read it ({' '.join(str(error).split())[:200]})") from error
    recipe = from_metadata(session.get_modelmeta().custom_metadata_map.get(KEY), path)
    return Engine(recipe, lambda views: session.run(["probabilities"], {"view": views})[0], "cpu")


def require_onnx(*packages: str) -> None:
    """Raise RunError with what to install, if a package of the extra [onnx] is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise RunError(f"working with ONNX: the package {missing[0]} is missing; install it with: pip install 'fer-degan[onnx]'")
