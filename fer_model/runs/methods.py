"""From run folders to methods: which runs are folds of the same thing, and which of them are complete.

In:  folders: runs, as runs/folder.py draws them, and folders of folds (fold0, fold1, ... each a run), as `crossval` leaves them.
     A folder of shuffled0, shuffled1, ... holds such folders.
Out: Methods, each with its seeds, each with its folds; a fold that is not complete is one of them and says what it lacks.

Runs belong to one method if database, manifest, method, preset and every other field of the configuration agree, but for
fold, seed and the budgets, which follow from the number of training faces; budgets tell runs apart where a fold was
trained with several. A field that is not known here counts as well.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from fer_data.text import natural_key
from fer_model.config import METHODS, STAGES_OF
from fer_model.errors import RunError
from fer_model.runs.folder import SCHEMA_VERSION, RunFolder, runs_in
from fer_model.runs.predictions import read_predictions

__all__ = ["NAMES", "FoldRun", "Method", "find_runs", "gather", "read_content", "total_kimg"]

NAMES = {"degan": "DE-GAN", "cnn": "CNN (baseline)"}
_FOLD, _REPEAT = re.compile(r"fold(\d+)"), re.compile(r"shuffled\d+")
_NEEDED = ("config", "manifest_sha256", "dataset", "data", "n_train", "n_test", "code_version")   # of config.json
_MOST_DIFFERENCES = 3                 # fields that tell methods of one name apart, in a label


@dataclass(frozen=True)
class FoldRun:
    """One run folder, complete or not."""

    path: Path
    fold: int
    content: dict                     # config.json; of a fold that was not started, that of another fold beside it
    state: str                        # "complete", or what it lacks, in words

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def seed(self) -> int:
        return int(self.content["config"]["seed"])

    @cached_property
    def result(self) -> dict:
        """result.json. Raises RunError if the run is not complete."""
        return RunFolder(self.path).read_result()

    @cached_property
    def log(self) -> tuple[dict, ...]:
        """The whole lines of log.jsonl."""
        return _read_log(RunFolder(self.path).log)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Of the test fold, one row per image. Raises RunError if they cannot be read."""
        return read_predictions(RunFolder(self.path).predictions)


@dataclass(frozen=True)
class Method:
    """Runs that differ in fold and seed alone."""

    label: str                        # for people, unique in a report
    seeds: dict[int, tuple[FoldRun, ...]]     # seed -> its folds, in order; seeds in order

    @property
    def content(self) -> dict:
        """The config.json of its first run: what all runs share."""
        return next(iter(self.seeds.values()))[0].content

    @property
    def config(self) -> dict:
        return self.content["config"]

    @property
    def runs(self) -> tuple[FoldRun, ...]:
        return tuple(run for folds in self.seeds.values() for run in folds)

    @property
    def n_faces(self) -> int:
        """Faces in all folds together."""
        return sum(int(self.content.get(part, 0)) for part in ("n_train", "n_validation", "n_test"))

    def complete(self, seed: int) -> tuple[FoldRun, ...]:
        """Return the complete folds of a seed."""
        return tuple(run for run in self.seeds[seed] if run.complete)

    def predictions(self, seed: int, folds: Iterable[int] | None = None) -> pd.DataFrame:
        """Return the predictions of a seed's complete folds (or of `folds` among them), one below the other.

        Raises RunError if two folds tested the same image.
        """
        runs = [run for run in self.complete(seed) if folds is None or run.fold in set(folds)]
        frame = pd.concat([run.predictions for run in runs], ignore_index=True)
        twice = frame["image_id"][frame["image_id"].duplicated()]
        if len(twice):
            raise RunError(f"reading runs: an image must be tested in one fold, {twice.iloc[0]} is in several of {self.label}")
        return frame


def find_runs(paths: Sequence[Path]) -> list[FoldRun]:
    """Return the runs of the folders given: a folder is a run, or holds fold0, fold1, ...; one that is named twice counts once.

    Raises RunError if a folder is neither, or if none of its folds was started.
    """
    found: dict[Path, FoldRun] = {}
    for path in paths:
        if (path / "config.json").is_file():
            content = read_content(path)
            if content["config"]["fold"] is None:
                raise RunError(f"reading runs: {path} is a run of pretrain: nobody was held out, there are no figures")
            runs = [FoldRun(path, int(content["config"]["fold"]), content, _state(path))]
        else:
            runs = _folds_of(path)
        for run in runs:
            found.setdefault(run.path.resolve(), run)
    return list(found.values())


def gather(paths: Sequence[Path]) -> list[Method]:
    """Return the methods among run folders: DE-GAN first, then in the order given.

    Raises RunError if a folder is no run, or if a fold of a method and seed is there twice.
    """
    groups: dict[str, list[FoldRun]] = {}
    for run in find_runs(paths):
        groups.setdefault(_signature(run.content), []).append(run)
    seeds = [_by_seed(group) for whole in groups.values() for group in _by_budget(whole)]
    labels = _labels([next(iter(group.values()))[0].content for group in seeds])
    methods = [Method(label, group) for label, group in zip(labels, seeds, strict=True)]
    return sorted(methods, key=lambda method: _place(method.config["method"]))


def _folds_of(path: Path) -> list[FoldRun]:
    repeats = _folders(path, _REPEAT)
    if repeats:
        return [run for name in repeats for run in _folds_of(path / name)]
    names = _folders(path, _FOLD)
    if not names:
        needed = "a run (config.json) or a folder of folds (fold0, fold1, ...)"
        raise RunError(f"reading runs: {needed} is needed, {path} is neither{runs_in(path)}")
    contents = {name: read_content(path / name) for name in names if (path / name / "config.json").is_file()}
    if not contents:
        raise RunError(f"reading runs: no fold in {path} was started; `fer-model train` or `fer-model crossval` does that")
    some = next(iter(contents.values()))
    runs = []
    for name in names:
        content = contents.get(name, some)
        fold = int(content["config"]["fold"]) if name in contents else int(_FOLD.fullmatch(name)[1])
        runs.append(FoldRun(path / name, fold, content, _state(path / name) if name in contents else "not started"))
    return runs


def _folders(path: Path, pattern: re.Pattern) -> list[str]:
    return sorted((child.name for child in path.iterdir() if child.is_dir() and pattern.fullmatch(child.name)), key=natural_key)


def _by_budget(runs: list[FoldRun]) -> list[list[FoldRun]]:
    """Return runs of one method as they are, or apart by budget if a fold was trained with several."""
    if len({(run.seed, run.fold) for run in runs}) == len(runs):
        return [runs]
    groups: dict[float, list[FoldRun]] = {}
    for run in runs:
        groups.setdefault(total_kimg(run.content), []).append(run)
    return list(groups.values())


def _by_seed(runs: list[FoldRun]) -> dict[int, tuple[FoldRun, ...]]:
    """Return seed -> folds, both in order. Raises RunError if one is there twice."""
    seeds: dict[int, dict[int, FoldRun]] = {}
    for run in runs:
        folds = seeds.setdefault(run.seed, {})
        if run.fold in folds:
            both = f"{folds[run.fold].path} and {run.path}"
            raise RunError(f"reading runs: a fold of one method and seed must be given once, fold {run.fold} is in {both}")
        folds[run.fold] = run
    return {seed: tuple(folds[i] for i in sorted(folds)) for seed, folds in sorted(seeds.items())}


def total_kimg(content: dict) -> float:
    """Return the budget of all stages of a run together, in thousands of images shown."""
    config = content["config"]
    budgets = (config.get(stage, {}).get("kimg") for stage in STAGES_OF.get(config["method"], ()))
    return round(sum(kimg for kimg in budgets if kimg is not None), 6)


def read_content(path: Path) -> dict:
    """Return config.json as it is: a run of an older program, with fewer fields, is still evidence."""
    content = _json_or_none(path / "config.json")
    if content is None:
        raise RunError(f"reading a run: {path / 'config.json'} is not a JSON object")
    if content.get("schema_version") != SCHEMA_VERSION:
        got = content.get("schema_version")
        raise RunError(f"reading a run: version {SCHEMA_VERSION} is read, {path / 'config.json'} has version {got!r}")
    missing = [name for name in _NEEDED if name not in content]
    if missing:
        raise RunError(f"reading a run: {path / 'config.json'} has no {missing[0]!r}")
    config = content["config"]
    if not isinstance(config, dict) or not {"method", "fold", "seed"} <= set(config):
        raise RunError(f"reading a run: the configuration in {path / 'config.json'} must name method, fold and seed")
    return content


def _json_or_none(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _state(path: Path) -> str:
    folder = RunFolder(path)
    if folder.result.is_file():
        return "complete"
    diverged = _json_or_none(path / "diverged.json")
    if diverged is not None:
        stage, step, loss, value = (diverged.get(key) for key in ("stage", "step", "loss", "value"))
        return f"stopped: loss {loss} was {value} in stage {stage}, step {step}"
    ticks = [line for line in _read_log(folder.log) if line.get("event") == "tick"]
    if not ticks:
        return "started, no step logged"
    last = ticks[-1]
    return f"not complete: stage {last.get('stage')}, step {last.get('step')} of {last.get('steps')}"


def _read_log(path: Path) -> tuple[dict, ...]:
    data = path.read_bytes() if path.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1]                                # a line that a crash has torn is no line
    try:
        lines = tuple(json.loads(line) for line in whole.splitlines())
    except ValueError as error:
        raise RunError(f"reading a run: {path} is not one JSON object a line ({error})") from error
    return tuple(line for line in lines if isinstance(line, dict))


def _signature(content: dict) -> str:
    """Return what runs of one method share, as text."""
    return json.dumps([content["dataset"], content["manifest_sha256"], _settings(content)], sort_keys=True)


def _settings(content: dict) -> dict:
    """Return the fields that make a method, flat: `head.dropout` -> 0.5. Stages that the method does not train are left out."""
    config = content["config"]
    every = {stage for stages in STAGES_OF.values() for stage in stages}
    idle = every - set(STAGES_OF.get(config["method"], every))
    own = {key: value for key, value in config.items() if key not in ("fold", "seed") and key not in idle}
    flat = dict(_flat(own, ""))
    return {key: value for key, value in flat.items() if key.rsplit(".", 1)[-1] not in ("kimg", "epochs")}


def _flat(values: dict, prefix: str):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _place(method: str) -> int:
    return METHODS.index(method) if method in METHODS else len(METHODS)


def _labels(contents: list[dict]) -> list[str]:
    """Return a label for each method: its name, and as much of what tells it from others of the same name as is needed."""
    settings = [_settings(content) for content in contents]
    parts = [[NAMES.get(content["config"]["method"], str(content["config"]["method"]))] for content in contents]

    def clashes() -> list[list[int]]:
        names = [", ".join(part) for part in parts]
        return [same for name in dict.fromkeys(names) if len(same := [i for i, other in enumerate(names) if other == name]) > 1]

    for same in clashes():
        if len({settings[i].get("preset") for i in same}) > 1:
            for i in same:
                parts[i].append(f"preset {settings[i].get('preset')}")
    for same in clashes():
        keys = dict.fromkeys(key for i in same for key in settings[i])
        differing = [key for key in keys if len({json.dumps(settings[i].get(key)) for i in same}) > 1][:_MOST_DIFFERENCES]
        for i in same:
            parts[i] += [f"{key.rsplit('.', 1)[-1]} {_short(settings[i].get(key))}" for key in differing]
    for same in clashes():
        if len({total_kimg(contents[i]) for i in same}) > 1:
            for i in same:
                parts[i].append(f"{total_kimg(contents[i]):g} kimg")
    for same in clashes():
        for i in same:
            parts[i].append(f"manifest {contents[i]['manifest_sha256'][:8]}")
    for same in clashes():
        for number, i in enumerate(same, 1):
            parts[i].append(f"no. {number}")
    return [", ".join(part) for part in parts]


def _short(value) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
