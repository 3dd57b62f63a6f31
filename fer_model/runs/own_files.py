"""The names of a run's own files, which no other output may replace; nothing here needs PyTorch.

In:  a path that a command was told to write to.
Out: ConfigError if it is a file of the run in whose folder it lies.
"""

import os
from collections.abc import Collection
from pathlib import Path

from fer_model.config import STAGES_OF
from fer_model.errors import ConfigError

__all__ = ["CONFIG", "EXPORTS", "LOCK", "OWN_FILES", "WEIGHTS", "refuse_own_file"]

CONFIG, LOCK = "config.json", ".lock"
EXPORTS = ("model.onnx", "model.safetensors")
OWN_FILES = (
    "result.json", "predictions.csv", "probe.json", "judged.json", *EXPORTS, "card.md", "samples.png", "diverged.json", "log.jsonl",
    CONFIG,
)
WEIGHTS = tuple(f"{stage}.safetensors" for stage in sorted({"judges", *(stage for stages in STAGES_OF.values() for stage in stages)}))
_INNER = ("checkpoints", "samples")   # folders that hold nothing but a run's own


def refuse_own_file(doing: str, out: Path, but: Collection[str] = ()) -> None:
    """Raise ConfigError if `out` is, or will be, a file of the run in whose folder it lies, whichever run that is.

    doing     begins the sentence, such as "writing predictions"
    but       names that the command itself is there to write
    """
    folder = Path(os.path.realpath(Path(out).parent))                            # a link of this name is replaced, not what it leads to
    own = Path(out).name in {*OWN_FILES, *WEIGHTS, *_INNER, LOCK} - {*but}
    run = folder.parent if folder.name in _INNER else folder
    if (own or run != folder) and (run / CONFIG).is_file():
        raise ConfigError(f"{doing} to {out}: it is a file of the run in {run}; give another name")
