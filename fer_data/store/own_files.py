"""The names of the files of prepared folders and of runs, which no other output may replace.

In:  a path that a command was told to write to.
Out: StorageError if it is a file of the prepared folder, or of the run, in whose folder it lies.

Runs are fer_model's. Their names are here because fer_data's commands must leave them alone, too; nothing here needs PyTorch.
"""

import os
from fnmatch import fnmatchcase
from pathlib import Path

from fer_data.errors import StorageError
from fer_data.store.folder import MARK, OWN_FILES

__all__ = ["CONFIG", "EXPORTS", "RUN_FILES", "RUN_LOCK", "WEIGHTS", "is_run", "refuse_file_of_prepared", "refuse_file_of_run",
           "refuse_own_file", "refuse_own_folder"]

CONFIG, RUN_LOCK = "config.json", ".lock"
EXPORTS = ("model.onnx", "model.safetensors")
RUN_FILES = (                         # the marks of completeness first: in this order a run is cleared
    "result.json", "predictions.csv", "probe.json", "judged.json", *EXPORTS, "card.md", "samples.png", "diverged.json", "log.jsonl",
    CONFIG,
)
WEIGHTS = tuple(f"{stage}.safetensors" for stage in (
    "ae", "cnn", "critics", "gan", "head", "iacnn", "judges", "neutral", "own", "recogniser", "timm",
))
_INNER = ("checkpoints", "samples")   # folders that hold nothing but a run's own
_PARTS = ("shards", "cache")          # the same of a prepared folder
_OF_RUNS = ("sweep.json", "shortcut.json", "probe.json", "judged.json", "card.md")            # beside runs, in the folder that holds them


def is_run(folder: Path) -> bool:
    """Say whether a folder is a run: others have a config.json, too."""
    return (folder / CONFIG).is_file() and (folder / "log.jsonl").is_file()


def refuse_own_file(doing: str, out: Path, but: Path | None = None) -> None:
    """Raise StorageError if `out` is, or will be, a file of a run or of a prepared folder, whichever that is.

    doing     begins the sentence, such as "writing predictions"
    but       the one such file that the command is there to write
    """
    if but is None or _place(out) != _place(but):
        refuse_file_of_run(doing, out)
        refuse_file_of_prepared(doing, out)


def refuse_own_folder(doing: str, out: Path) -> None:
    """Raise StorageError if the folder `out` is a run or a prepared folder, or lies in one under a name of its own."""
    refuse_own_file(doing, out)
    folder = Path(os.path.realpath(out))
    prepared = folder.parent if folder.name in _PARTS else folder
    for held, place, what in ((is_run(folder), folder, "run"), ((prepared / MARK).is_file(), prepared, "prepared folder")):
        if held:
            raise StorageError(f"{doing} to {out}: {place} is a {what}; give another folder")


def refuse_file_of_run(doing: str, out: Path) -> None:
    """Raise StorageError if `out` is, or will be, a file of the run in whose folder it lies, or a file there that several runs have."""
    folder, name = _place(out)
    own = name in (*RUN_FILES, *WEIGHTS, *_INNER, RUN_LOCK)
    run = folder.parent if folder.name in _INNER else folder
    if (own or run != folder) and (run / CONFIG).is_file():
        raise StorageError(f"{doing} to {out}: it is a file of the run in {run}; give another name")
    if name in _OF_RUNS and (folder / name).is_file() and any(any(folder.glob(f"{'*/' * deep}{CONFIG}")) for deep in (1, 2, 3)):
        raise StorageError(f"{doing} to {out}: it is a file of the runs in {folder}; give another name")


def refuse_file_of_prepared(doing: str, out: Path) -> None:
    """Raise StorageError if `out` is, or will be, a file of the prepared folder in which it lies."""
    folder, name = _place(out)
    prepared, name = (folder.parent, f"shards/{name}") if folder.name == "shards" else (folder, name)
    if (prepared / MARK).is_file() and any(fnmatchcase(name, own) for own in OWN_FILES):
        raise StorageError(f"{doing} to {out}: it is a file of the prepared folder {prepared}; give another name")


def _place(out: Path) -> tuple[Path, str]:
    """Return folder and name of a file to be written: a link of this name is replaced, not what it leads to."""
    return Path(os.path.realpath(Path(out).parent)), Path(out).name
