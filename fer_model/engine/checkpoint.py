"""Save and resume a stage exactly, bit for bit.

In:  tensors by name; facts, anything that JSON holds.
Out: NAME-STEP.safetensors, then NAME-STEP.json next to it (schema version, step, sha256 of the tensors, facts). A
     checkpoint is one whose JSON is there and whose hash is right; what a crash left half written, or what was damaged since, is
     passed over for an older one. No pickle is read.
"""

from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fer_data.files import json_bytes, make_folder, parse_object, sha256_of_bytes, write_bytes_atomically
from fer_model.errors import CheckpointError

__all__ = [
    "SCHEMA_VERSION", "Checkpoint", "adam_tensors", "begin_adam", "latest", "load_adam", "load_module", "module_tensors",
    "read_tensors", "remove", "save", "stems", "write_tensors",
]

SCHEMA_VERSION = 1
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")        # first bytes: torch.save's zip, protocols 2 to 5
_SUFFIXES = (".json", ".safetensors")                                    # the JSON goes first: without it there is no checkpoint
_INTERRUPTED = "writing it was interrupted"
KEPT = 2                              # the newest, and the one before it should the newest turn out damaged


@dataclass(frozen=True)
class Checkpoint:
    """What `save` was given."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict
    passed_over: tuple[str, ...] = ()            # sentences on newer ones that cannot be used


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors as one safetensors file, atomically; return the sha256 of its bytes."""
    data = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    write_bytes_atomically(path, data)
    return sha256_of_bytes(data)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises CheckpointError if there is none, or it is anything else; a pickle is not opened, as it could run code.
    """
    return _parse(_bytes_of(path), path)


def _bytes_of(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"reading tensors: there is no {path}")
    return path.read_bytes()


def _parse(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        if data[:2] in PICKLES:                                          # only now: they may be the length of a header, too
            raise CheckpointError(f"reading tensors: {path} is a pickle, which could run code; only safetensors are read") from error
        raise CheckpointError(f"reading tensors: {path} is not a whole safetensors file ({error})") from error


def save(folder: Path, name: str, step: int, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write the checkpoint of `step`, then remove all but the last two of this name."""
    make_folder(folder)
    stem = f"{name}-{step:08d}"
    digest = write_tensors(folder / f"{stem}.safetensors", tensors)
    content = {"schema_version": SCHEMA_VERSION, "step": step, "sha256": digest, "facts": facts}
    write_bytes_atomically(folder / f"{stem}.json", json_bytes(content))
    for old in stems(folder, name)[KEPT:]:
        _remove_stem(folder, old)


def stems(folder: Path, name: str) -> list[str]:
    """Return the checkpoints of this name, whole or not, newest first: their files without the suffix."""
    return sorted({path.stem for suffix in _SUFFIXES for path in folder.glob(f"{name}-*{suffix}")}, reverse=True)


def _remove_stem(folder: Path, stem: str) -> None:
    for suffix in _SUFFIXES:
        (folder / f"{stem}{suffix}").unlink(missing_ok=True)


def latest(folder: Path, name: str) -> Checkpoint | None:
    """Return the newest whole checkpoint of this name, or None if none was ever written to its end.

    Raises CheckpointError if it is of another schema version, naming both; and if all were damaged since they were written.
    """
    passed_over = {}
    for stem in stems(folder, name):
        found, reason = _read_stem(folder, stem)
        if found is not None:
            told = tuple(f"{stem} is passed over: {why}" for stem, why in passed_over.items())
            return Checkpoint(found.step, found.tensors, found.facts, told)
        passed_over[stem] = reason
    if set(passed_over.values()) - {_INTERRUPTED}:
        told = "; ".join(f"{stem}: {why}" for stem, why in passed_over.items())
        raise CheckpointError(
            f"resuming: no checkpoint of {name} in {folder} is whole ({told}); bring one back as it was written, or remove {folder} to"
            " train the stage again"
        )
    return None


def _read_stem(folder: Path, stem: str) -> tuple[Checkpoint | None, str]:
    description = folder / f"{stem}.json"
    if not description.is_file():
        return None, _INTERRUPTED
    try:
        content = parse_object(description.read_bytes())
    except ValueError:
        return None, f"{description.name} is damaged"
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        what = f"{description} has schema version {version!r}, this program reads {SCHEMA_VERSION}"
        raise CheckpointError(f"resuming: {what}; remove {folder} to train the stage again")
    if not {"step", "sha256", "facts"} <= content.keys():
        return None, f"{description.name} is damaged"
    path = folder / f"{stem}.safetensors"
    if not path.is_file():
        return None, f"there is no {path.name}"
    data = path.read_bytes()
    if sha256_of_bytes(data) != content["sha256"]:
        return None, f"the bytes of {path.name} are not the ones that were written"
    return Checkpoint(content["step"], _parse(data, path), content["facts"]), ""


def remove(folder: Path, name: str) -> None:
    """Remove every checkpoint of this name."""
    for stem in stems(folder, name):
        _remove_stem(folder, stem)


def module_tensors(prefix: str, module: torch.nn.Module) -> dict[str, Tensor]:
    """Return weights and buffers (BN's running statistics among them) as prefix/name -> tensor."""
    return {f"{prefix}/{name}": tensor for name, tensor in module.state_dict().items()}


def load_module(prefix: str, module: torch.nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Copy what module_tensors returned back into `module`.

    Raises CheckpointError if a name is missing or too many, or a shape differs.
    """
    part = {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
    try:
        module.load_state_dict(part)
    except RuntimeError as error:
        raise CheckpointError(f"loading {prefix} from {where}: {' '.join(str(error).split())[:300]}") from error


def begin_adam(adam: torch.optim.AdamW) -> None:
    """Give Adam the state that it would make in its first step, so that its addresses never change: moments and step counts of 0."""
    for group in adam.param_groups:
        for weight in group["params"]:
            if weight.requires_grad:
                adam.state[weight] = {
                    "step": torch.zeros((), device=weight.device), "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }


def adam_tensors(prefix: str, module: torch.nn.Module, adam: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return Adam's moments and step counts of the module's weights as prefix/weight/kind -> tensor."""
    return {
        f"{prefix}/{name}/{kind}": value
        for name, weight in module.named_parameters()
        for kind, value in adam.state.get(weight, {}).items()
    }


def load_adam(prefix: str, module: torch.nn.Module, adam: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Copy what adam_tensors returned back, in place; what is not there, of weights that never had a gradient, is 0."""
    for name, weight in module.named_parameters():
        for kind, own in adam.state.get(weight, {}).items():
            saved = tensors.get(f"{prefix}/{name}/{kind}")
            own.zero_() if saved is None else own.copy_(saved)
