"""Read, start and resume a run folder.

In:  a path, a resolved configuration, a fold.
Out: the folder, locked while a process writes to it.

    runs/ck+-degan-fold0/
      config.json           resolved configuration, hash of the manifest, code version, how faces were found, frames, classes, identities
      log.jsonl             one line per tick
      checkpoints/          of the stage that is being trained
      gan.safetensors       stage 1 is complete: encoder, decoder, discriminator; with it a run of `fer-model pretrain` ends
      critics.safetensors   before an auto-encoder: the CNNs whose layers it matches; then ae.safetensors: encoder, decoder
      judges.safetensors    two CNNs that judge the synthesised faces: expression, identity
      samples.png           synthesised faces: rows inputs, columns identities, unseen cells marked
      samples/              the same while stage 1 was training
      head.safetensors      stage 2 is complete: encoder, head          (recogniser.safetensors, cnn.safetensors: a CNN)
      predictions.csv       of the test fold, one row per image
      result.json           the run is complete: figures, budgets, rules
      model.onnx            what predicts as one graph, or as model.safetensors, once `fer-model export` was asked
      probe.json            what the features know of person and expression, once `fer-model probe` was asked
      judged.json           what the judges say of synthesised faces, once `fer-model judge` was asked
      card.md               what others must know of it, once `fer-model card` was asked
      diverged.json         a loss or a weight was not finite: stage, step, what, samples of the batch
"""

import json
import os
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path

import filelock
import pandas as pd
import torch

import fer_data
from fer_data.errors import BusyError
from fer_data.files import (
    make_folder,
    occupied,
    parse_object,
    remove_durably,
    reported,
    sha256_of_sources,
    unfinished_in,
    write_json_atomically,
)
from fer_data.store.own_files import CONFIG, EXPORTS, RUN_FILES, RUN_LOCK, WEIGHTS
from fer_data.text import counted, natural_key
from fer_model.config import TrainConfig, from_json
from fer_model.data.fold import Fold, Prepared, people_in
from fer_model.engine import checkpoint, distributed
from fer_model.errors import ConfigError, RunError
from fer_model.runs.differences import first_difference, used
from fer_model.runs.faces import faces_of
from fer_model.runs.predictions import read_predictions

__all__ = ["RunFolder", "code_version", "locked", "other_folds", "refuse_prepared", "runs_below", "runs_in"]

SCHEMA_VERSION = 1
_NEEDED = ("config", "manifest_sha256", "dataset", "data", "n_train", "n_test", "code_version")   # of config.json


@cache
def code_version() -> str:
    """Return the version with the first digits of a hash over the sources, so that a changed file is another version."""
    return f"{fer_data.__version__}+{sha256_of_sources(Path(fer_data.__file__).parent, Path(__file__).parents[1])[:12]}"


def runs_in(folder: Path) -> str:
    """Return what to take in place of a folder that is no run but holds some: the folds of a cross-validation, or just runs."""
    inside = sorted((path.parent.name for path in folder.glob("*/config.json")), key=natural_key)
    if not inside:
        outer = sorted((path.name for path in folder.glob("*/") if any(path.glob("fold*/config.json"))), key=natural_key)
        return f"; {folder} holds folders of folds: take them, such as {folder / outer[0]}" if outer else ""
    what = "the folds of a cross-validation" if all(name.startswith("fold") for name in inside) else "runs"
    return f"; {folder} holds {what}: take one of them, such as {folder / inside[0]}"


def refuse_prepared(folder: Path) -> None:
    """Raise RunError if a folder that should be a run is a prepared data set."""
    if _is_prepared(folder):
        what = "is a prepared data set, not a run of fer-model; give a folder that `fer-model train` or `crossval` wrote"
        raise RunError(f"reading a run: {folder} {what}")


def runs_below(folder: Path) -> list[Path]:
    """Return the run folders in a folder, at any depth, itself included, in natural order; complete or not."""
    return sorted((path.parent for path in folder.rglob("config.json")), key=lambda path: natural_key(path.as_posix()))


def other_folds(content: dict, dataset: str, n_folds: int) -> str:
    """Return what to say of a prepared folder that has another number of folds than a run's had (config.json), behind a sentence."""
    then = content.get("n_folds", n_folds)
    if n_folds == then or dataset != content["dataset"]:
        return ""
    return f" (it has {n_folds} folds, and had {then}: the same `fer-data prepare` with --folds {then} brings them back, in seconds)"


def _computing(device: torch.device) -> dict[str, int | None]:
    """Return what the weights depend on besides settings and data: how sums over threads are rounded, and over how much of a batch BN takes
    its mean, which is all of it but for several processes on CPUs."""
    on_cpu = device.type == "cpu"
    return {"threads": torch.get_num_threads() if on_cpu else None, "bn_parts": distributed.asked_size() if on_cpu else 1}


def _is_prepared(path: Path) -> bool:
    return (path / "manifest.parquet").is_file()


@contextmanager
def locked(path: Path):
    """Keep other processes out of a run folder, and rid it of left-overs of weights.

    Raises BusyError if one is in.
    """
    if not distributed.is_first():                                             # the first process of this training holds the lock
        yield
        return
    make_folder(path)
    lock = filelock.FileLock(path / RUN_LOCK)
    with reported("locking", path / RUN_LOCK):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise BusyError(f"training into {path}: another process is writing there; wait for it, or choose another --run") from error
    try:
        _remove_parts(path)
        yield
    finally:
        lock.release()


def _remove_parts(path: Path) -> None:
    """Remove what only training writes and did not finish when it was killed: each try would leave another copy of the weights."""
    exported = [part for name in EXPORTS for part in unfinished_in(path, name)]                       # may be written right now
    for part in (*unfinished_in(path, "checkpoints/*"), *unfinished_in(path, "*.safetensors")):
        if part not in exported:
            remove_durably(part)


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: str | Path):
        self.path = path = Path(path)
        self.config, self.log = path / CONFIG, path / "log.jsonl"
        self.checkpoints, self.samples, self.sheets = path / "checkpoints", path / "samples.png", path / "samples"
        self.predictions, self.result = path / "predictions.csv", path / "result.json"

    def weights(self, stage: str) -> Path:
        """Return where the weights of a complete stage lie."""
        return self.path / f"{stage}.safetensors"

    def read_weights(self, stage: str) -> bytes:
        """Return the file of a complete stage. Raises RunError if it is not complete."""
        if not self.weights(stage).is_file():
            raise RunError(f"reading a run: there is no {self.weights(stage)}; it is written when stage {stage} is complete")
        return self.weights(stage).read_bytes()

    def read_content(self) -> dict:
        """Return config.json as it is: a run of an older program, with fewer fields, is still evidence.

        Raises RunError if the folder holds no run, or one of another version.
        """
        content = self._read(self.config)
        if content.get("schema_version") != SCHEMA_VERSION:
            what = f"{self.config} has schema version {content.get('schema_version')!r}, this program reads {SCHEMA_VERSION}"
            raise RunError(f"reading a run: {what}; use the version that wrote it")
        if missing := [name for name in _NEEDED if name not in content]:
            raise RunError(f"reading a run: {self.config} has no {missing[0]!r}; if it was edited, bring it back as it was")
        if not isinstance(content["config"], dict) or not {"method", "fold", "seed"} <= set(content["config"]):
            raise RunError(f"reading a run: the configuration in {self.config} must name method, fold and seed")
        return content | {"data": self._data(content)}

    def _data(self, content: dict) -> str:
        """Return where the prepared folder is: as it lies from the run folder; if none is there, as the command named it.

        In this order: from another working directory the name may be that of another folder, such as `prepared`.
        """
        named, there = str(content["data"]), (self.path / content.get("data_from_run", "")).resolve()
        if not _is_prepared(there) or there == Path(named).resolve():
            return named
        return str(there) if self.path.is_absolute() else os.path.relpath(there)

    def threads(self) -> int | None:
        """Return with how many threads the run was started on a CPU; None: not started, or not on one. Raises what read_content does."""
        return self.read_content().get("threads") if self.config.is_file() else None

    def read_config(self) -> tuple[TrainConfig, dict]:
        """Return the configuration that the run was started with, and all of config.json.

        Raises what read_content does, and ConfigError if the configuration does not fit this program.
        """
        content = self.read_content()
        try:
            return from_json(json.dumps(content["config"])), content
        except ConfigError as error:
            raise ConfigError(f"reading a run: {self.config} of {content['code_version']} does not fit this code ({error})") from error

    def read_predictions(self) -> pd.DataFrame:
        """Return predictions.csv, a row for each image tested. Raises RunError if it is not there, or not whole."""
        n = self.read_content()["n_test"]
        if not self.predictions.is_file():
            raise RunError(f"reading predictions: there is no {self.predictions}; {self.way_on()}")
        return read_predictions(self.predictions, n)

    def read_result(self) -> dict:
        """Return result.json. Raises RunError if the run is not complete."""
        return self._read(self.result)

    def _read(self, path: Path) -> dict:
        if path == self.result and self.config.is_file() and not path.is_file():
            raise RunError(f"reading a run: {self.path} is not complete; {self.way_on()}")
        if not path.is_file():
            refuse_prepared(self.path)
            raise RunError(f"reading a run: there is no {path}; `fer-model train` writes it{runs_in(self.path)}")
        try:
            return parse_object(path.read_bytes())
        except ValueError as error:
            raise RunError(f"reading a run: {path} must hold a JSON object ({error}); bring it back as it was written") from error

    def read_diverged(self) -> dict | None:
        """Return diverged.json; None if nothing was infinite."""
        path = self.path / "diverged.json"
        return self._read(path) if path.is_file() else None

    def way_on(self) -> str:
        """Return what to do where a file is not there that a run has at its end, as the end of a sentence."""
        if self.result.is_file():
            copy = "copy the run's folder again, whole, from where it was trained"
            return f"{copy}, or remove {self.result}: the command that started the run then makes again what it lacks"
        if self.read_diverged() is None:
            return "the command that started it resumes it"
        return f"training diverged ({self.path / 'diverged.json'}), as it would again: train with another --run and a smaller learning rate"

    def refuse_strangers(self) -> None:
        """Raise RunError if the folder holds something and no run."""
        if not self.config.is_file() and (problem := occupied(self.path, "a run", lambda path: path.name == RUN_LOCK)):
            raise RunError(f"starting a run: {problem}")

    def refuse_other_data(self, prepared: Prepared, anew: str) -> None:
        """Raise ConfigError if the run was started on other data. `anew`: what the command must be told, or done, to start it again."""
        content = self.read_config()[1]
        if content["manifest_sha256"] == prepared.manifest_sha256:
            return
        at, same = prepared.path, Path(content["data"]).resolve() == prepared.path.resolve()
        what = f"the prepared folder {at} has changed since" if same else f"{at} is not the prepared folder {content['data']} on which"
        folds = other_folds(content, prepared.settings["dataset"], prepared.settings["config"]["folds"])
        raise ConfigError(f"resuming {self.path}: {what} the run was started{folds}; choose another --run, or {anew} to start again")

    def open(
        self, config: TrainConfig, fold: Fold, prepared: Prepared, init: dict | None, device: torch.device, anew: str
    ) -> TrainConfig:
        """Start the run, or find that it is the one that was started; return its configuration.

        `init` says what stage 1 starts from, if not from random weights; `anew` as in refuse_other_data.
        Raises ConfigError if the folder holds a run on other data, of another configuration, whose weights to start from were said to be
        trained on something else, naming the first field that differs, or of another number of processes.
        """
        if not self.config.is_file():
            content = {
                "schema_version": SCHEMA_VERSION, "config": asdict(config), "manifest_sha256": fold.manifest_sha256,
                "code_version": code_version(), "dataset": fold.dataset, "data": str(prepared.path),
                "data_from_run": os.path.relpath(prepared.path.resolve(), self.path.resolve()),
                "drawn": prepared.settings["drawn"], "faces": faces_of(prepared.settings),
                "frame_rule": prepared.settings["frame_rule"], "options": prepared.settings["config"]["options"],
                "classes": fold.classes, "identities": fold.identities,
                "n_train": len(fold.train), "n_test": len(fold.test), "n_folds": fold.n_folds,
                "n_validation": len(fold.validation), "validation_people": people_in(fold.validation),
                "init": init, **_computing(device), **({"human": prepared.settings["human"]} if "human" in prepared.settings else {}),
            }
            write_json_atomically(self.config, content)
            return config
        self.refuse_other_data(prepared, anew)
        started, content = self.read_config()
        said = [{"trained_on": (entry or {}).get("trained_on")} for entry in (content.get("init"), init)]     # the configuration has it not
        found = first_difference(used(asdict(started)), used(asdict(config))) or first_difference(*said)
        if found is not None:
            name, was, now = found
            raise ConfigError(
                f"resuming {self.path}: {name} was {was!r} when the run was started and is {now!r} now;"
                f" choose another --run, or {anew} to start again"
            )
        if (then := content.get("bn_parts", 1)) != (now := _computing(device)["bn_parts"]):
            way = f"use torchrun --nproc-per-node {then}" if then > 1 else "start it without torchrun"
            raise ConfigError(
                f"resuming {self.path}: it was started in {counted(then, 'process', 'processes')} and is in {now} now, and on a CPU BN"
                f" normalises the part of a batch that a process has; {way}, choose another --run, or {anew} to start again"
            )
        return started

    def clear(self) -> None:
        """Remove every file of a run, the marks of completeness first; leave what is not a run's."""
        for name in RUN_FILES[:1]:
            (self.path / name).unlink(missing_ok=True)
        for name in WEIGHTS:
            (self.path / name).unlink(missing_ok=True)
            checkpoint.remove(self.checkpoints, name.removesuffix(".safetensors"))
        for name in RUN_FILES[1:]:
            (self.path / name).unlink(missing_ok=True)
        for sheet in self.sheets.glob("step-*.png"):
            sheet.unlink()
        for inner in (self.checkpoints, self.sheets):
            if inner.is_dir() and not any(inner.iterdir()):
                inner.rmdir()
