"""Weights that others trained: read without running anything, and fitted to a network by name and shape.

In:  a file of safetensors, or one that torch.save wrote; a network's tensors by name.
Out: read_weights, tensors by name with the file's sha256; fitted, those that have a place in the network, and what was left out.

A file of torch.save is opened for tensors alone, whatever the environment says. Besides them it may hold what training scripts leave
there: argparse's options and numpy's numbers. Whole pickled models, TorchScript and classes of others are refused by their names.
"""

import argparse
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy._core import multiarray
from torch import Tensor

from fer_data.files import left_over, sha256_of_bytes
from fer_data.text import listed, percent
from fer_model.errors import CheckpointError

__all__ = ["LEAST_COVERAGE", "Fitted", "WeightsFile", "fitted", "read_weights", "shape_text"]

LEAST_COVERAGE = 0.9                  # of a network's numbers that must be in the file
# Around the tensors: dictionaries that training scripts keep them in, and what they put before the names.
WRAPPERS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net", "params")
NESTED = 3                            # so many of these may stand one in another
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "base.", "net.", "features.")
IN_A_ROW, WAYS = 8, 64                # so many prefixes may stand one behind the other; so many ways to take them off are tried at a time
# Beyond tensors: options, and numbers of numpy under its names of now and of before version 2.
_HARMLESS = [
    argparse.Namespace, multiarray.scalar, (multiarray.scalar, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Float64DType,
    np.dtypes.Float32DType, np.dtypes.Int64DType,
]
# What zipfile and torch.load raise for what is no tensor, or for a damaged file: whatever its bytes lead them to.
_REFUSED = (
    torch.serialization.pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error,
)
_DENSE = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)
_NAMED = 5                            # so many names are listed, the rest is counted
_WAY_OUT = "where you trust it, load it there and save its tensors: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"


@dataclass(frozen=True)
class WeightsFile:
    """What is in a file."""

    path: Path
    bytes: int
    sha256: str
    tensors: dict[str, Tensor]        # on the CPU


@dataclass(frozen=True)
class Fitted:
    """What a network takes of a file."""

    tensors: dict[str, Tensor]        # by the network's names, in its shapes
    coverage: float                   # share of the network's numbers that are in it
    dropped: tuple[str, ...]          # of the file: `fc.weight 1000x512`
    adapted: tuple[str, ...]          # `conv1.weight 64x3x7x7 -> 64x1x7x7`
    missing: tuple[str, ...]          # of the network, not in the file in this shape: `layer4.1.bn2.bias 512`


def read_weights(path: Path) -> WeightsFile:
    """Return the tensors of a file. Raises CheckpointError, with the way out, if it is anything but tensors or holds what is not finite."""
    if not path.is_file():
        raise CheckpointError(f"reading weights: there is no file {path}")
    data = path.read_bytes()
    if what := left_over(data):
        raise CheckpointError(f"reading weights: {path} is {what}")
    named = path.suffix.lower() == ".safetensors"
    tensors = _of_safetensors(data, path) if named or _begins_as_safetensors(data) else _of_torch(data, path)
    _refuse_not_dense(tensors, path)
    odd = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.float().isfinite().all()]
    if odd:                           # as float32, in which a network holds them: 1e300 is not finite there
        raise CheckpointError(f"reading weights: {path} holds numbers that are not finite, in {listed(odd, _NAMED)}; take another file")
    return WeightsFile(path, len(data), sha256_of_bytes(data), tensors)


def _begins_as_safetensors(data: bytes) -> bool:
    """Say whether a file begins as safetensors does, whatever its name: the length of a header, which fits, and the header's brace."""
    return 2 <= int.from_bytes(data[:8], "little") <= len(data) - 8 and data[8:9] == b"{"


def _refuse_not_dense(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError, naming them, if some tensors have no plain numbers at each place: float8, complex, quantised, sparse, meta."""
    odd = [
        f"{name} ({'without data' if tensor.is_meta else str(tensor.dtype if tensor.layout == torch.strided else tensor.layout)})"
        for name, tensor in tensors.items()
        if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided or tensor.dtype not in _DENSE
    ]
    if odd:
        raise CheckpointError(
            f"reading weights: {path} must hold dense tensors of float64, float32, float16, bfloat16 or integers, and holds"
            f" {listed(odd, _NAMED)}; save them so, or take another file"
        )


def _of_safetensors(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return dict(sorted(safetensors.torch.load(data).items()))       # it gives them in another order in each process
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"reading weights: {path} is not a whole safetensors file ({error}); fetch it again") from error


def _of_torch(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        script = _is_torchscript(data)
        with torch.serialization.safe_globals(_HARMLESS):
            found = None if script else torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _REFUSED as error:
        raise CheckpointError(f"reading weights: {path} {_why(data, error)}") from error
    if script:
        raise CheckpointError(f"reading weights: {path} is a TorchScript archive, a program with its weights; {_WAY_OUT}")
    return _tensors_in(found, path)


def _is_torchscript(data: bytes) -> bool:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _why(data: bytes, error: Exception) -> str:
    """Say what a file is that was refused, and what to do."""
    names = _classes(data, error)
    if any(name.startswith("torch.nn.modules.") for name in names):
        own = [name for name in names if not name.startswith(("torch.", "collections."))] or names
        return f"is a whole pickled model ({listed(own, _NAMED)}), which could run code; {_WAY_OUT}"
    if names:
        return f"holds, besides tensors, {listed(names, _NAMED)}, which could run code; {_WAY_OUT}"
    return f"is neither safetensors nor a file of torch.save, or it is damaged ({_first_line(error)})"


def _classes(data: bytes, error: Exception) -> list[str]:
    """Return what a file would have to call beyond tensors; the file is looked at, nothing in it runs."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)))
    except _REFUSED:                                                             # a file of before torch 1.6 has no table of them
        return re.findall(r"GLOBAL (\S+) was not an allowed", str(error))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def _tensors_in(found, path: Path) -> dict[str, Tensor]:
    """Return the tensors of the first dictionary among WRAPPERS that holds one, or of the whole."""
    if not isinstance(found, Mapping):
        what = f"a {type(found).__name__}"
        raise CheckpointError(f"reading weights: {path} holds {what}; a dictionary of tensors by name is needed")
    tensors = _unwrapped(found, NESTED)
    if not tensors:
        held = listed(map(str, found), _NAMED) or "nothing"
        raise CheckpointError(f"reading weights: {path} holds no tensors by name, but {held}; they are looked for in {listed(WRAPPERS)}")
    return tensors


def _unwrapped(found: Mapping, deepest: int) -> dict[str, Tensor]:
    """Return the tensors in the first wrapper that holds one, itself unwrapped; else those that stand here."""
    wrapped = [found[key] for key in WRAPPERS if deepest and isinstance(found.get(key), Mapping)]
    inner = next((tensors for one in wrapped if (tensors := _unwrapped(one, deepest - 1))), None)
    return inner or {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}


# --- fitting


def fitted(file: WeightsFile, wanted: Mapping[str, Tensor]) -> Fitted:
    """Return what of a file has a place among `wanted`, the tensors of a network by name; the rest is dropped, by shape too.

    Prefixes are taken off where more names and shapes agree then, never so that two names become one. Raises CheckpointError if less
    than LEAST_COVERAGE of the network's numbers are in the file.
    """
    source = _stripped(file.tensors, wanted)
    taken = {name: _as_wide(source[name], wanted[name]) for name in wanted if name in source}
    taken = {name: tensor for name, tensor in taken.items() if tensor.shape == wanted[name].shape}
    coverage = sum(tensor.numel() for tensor in taken.values()) / max(1, sum(tensor.numel() for tensor in wanted.values()))
    dropped = tuple(f"{name} {shape_text(tensor)}" for name, tensor in source.items() if name not in taken)
    missing = tuple(f"{name} {shape_text(tensor)}" for name, tensor in wanted.items() if name not in taken and not _counts(name))
    if coverage < LEAST_COVERAGE:
        raise CheckpointError(
            f"fitting weights: {percent(coverage)} % of the network's numbers are in {file.path}, at least {percent(LEAST_COVERAGE, 0)} %"
            f" are needed; of the file without a place: {listed(dropped, _NAMED) or 'nothing'}; of the network not in the file:"
            f" {listed(missing, _NAMED)}; is it the same architecture?"
        )
    adapted = [f"{name} {shape_text(source[name])} -> {shape_text(one)}" for name, one in taken.items() if source[name].shape != one.shape]
    return Fitted(taken, coverage, dropped, tuple(adapted), missing)


def _counts(name: str) -> bool:
    """Say whether a tensor is BN's count of batches, which old files have not and with a fixed momentum nobody reads."""
    return name.endswith("num_batches_tracked")


def _stripped(source: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors under the names that agree with most of `wanted`."""

    def agreeing(tensors: Mapping[str, Tensor]) -> int:
        return sum(name in tensors and _as_wide(tensors[name], one).shape == one.shape for name, one in wanted.items())

    best, last = source, [source]
    for _ in range(IN_A_ROW):
        last = [shorter for one in last for prefix in PREFIXES if (shorter := _without(prefix, one)) is not None][:WAYS]
        best = max([best, *last], key=agreeing)                                  # of equal ones the first: nothing is taken off in vain
    return best


def _without(prefix: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    """Return tensors without a prefix in their names; None: no name has it, or two would become one."""
    shorter = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return shorter if len(shorter) == len(tensors) and shorter.keys() != tensors.keys() else None


def _as_wide(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Return a convolution's weights (O, 3, h, w) for grey pictures, or (O, 1, h, w) for RGB: the same answers for grey ones."""
    if tensor.ndim == wanted.ndim == 4 and {tensor.shape[1], wanted.shape[1]} == {1, 3}:
        return tensor.sum(1, keepdim=True) if wanted.shape[1] == 1 else tensor.expand(-1, 3, -1, -1) / 3
    return tensor


def shape_text(tensor: Tensor) -> str:
    """Return `1000x512`; of a single number `()`."""
    return "x".join(map(str, tensor.shape)) or "()"
