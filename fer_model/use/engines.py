"""Open a trained network for prediction, whatever holds it: a run folder, an ONNX file or a safetensors file.

In:  RUN of `fer-model train`, or what `fer-model export` made of it: *.onnx, *.safetensors.
Out: Engine: its recipe, and probabilities (B, K) float32 of views (B, C, 96, 96) float32 in [-1, 1].

torch is imported for a run and for safetensors; an ONNX file needs onnxruntime alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_model.config import from_json
from fer_model.errors import ConfigError, DeviceError, RunError
from fer_model.use.recipe import CONFIG_KEY, KEY, Recipe, from_metadata, recipe_of_run, require_onnx

__all__ = ["Engine", "open_engine"]


@dataclass(frozen=True)
class Engine:
    """A network that predicts."""

    recipe: Recipe
    probabilities: Callable[[np.ndarray], np.ndarray]    # (B, C, 96, 96) float32, B in 1..64 -> (B, K) float32


def open_engine(path: Path, device: str = "auto") -> Engine:
    """Return the engine of a run folder or an exported file.

    Raises RunError if it is neither, or is not complete; DeviceError for a device that is not there; of an exported file also
    ConfigError if it is of another version, CheckpointError if its weights do not fit.
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
    """Return the engine of a file that `export` wrote."""
    import safetensors

    from fer_model.engine import checkpoint
    from fer_model.engine.devices import use_device
    from fer_model.runs.trained import TrainedRun, load_networks

    where = use_device(device)
    tensors = checkpoint.read_tensors(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    recipe = from_metadata(metadata.get(KEY), path)
    try:
        config = from_json(metadata.get(CONFIG_KEY, ""))
    except ConfigError as error:
        raise ConfigError(f"reading the exported network {path}: that of {recipe.code_version} does not fit this code ({error})") from error
    networks = load_networks(config, config.stages[-1], len(recipe.classes), 0, tensors, where, str(path))
    return _of_trained(TrainedRun(path, config, {}, recipe.classes, (), where, networks), recipe)


def _of_trained(trained, recipe: Recipe) -> Engine:
    import torch

    from fer_model.networks import to_input_size

    @torch.inference_mode()
    def probabilities(views: np.ndarray) -> np.ndarray:
        x = to_input_size(torch.from_numpy(views).to(trained.device), trained.config.network.image_size)
        return trained.logits(x).float().softmax(1).cpu().numpy()                # (B, K)

    return Engine(recipe, probabilities)


def _of_onnx(path: Path, device: str) -> Engine:
    if device not in ("auto", "cpu"):
        raise DeviceError(f"choosing a device: an exported ONNX file runs on the cpu, not on {device}; take the run folder for that")
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
    return Engine(recipe, lambda views: session.run(["probabilities"], {"view": views})[0])
