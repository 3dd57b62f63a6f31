"""Whether BU-4DFE at its full size is trained from memory: 60,600 faces, 6.7 million views, none of them stored.

In:  nothing; faces are noise, a shard a sequence, as prepare writes them with --views virtual. About 1.1 GB of temporary disk.
Out: bars for table.py. Size tiny has ten people and two frames.

A process of its own opens the faces of everybody and trains some steps of stage 1, preset small, as `fer-model pretrain` does.
What the faces need is its peak while they are opened, above what it had before. Beside it stands by how much the peak of the
whole training is above that over one frame of each sequence: networks and batches are in both; what is more than the faces
is the order of the samples, 8 bytes a view.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.table import Bar, run_module
from fer_data.faces.align import CANVAS
from fer_data.faces.views import N_VIEWS
from fer_data.files import sha256_of_bytes
from fer_data.store.loader import open_views
from fer_data.store.manifest import COLUMNS, image_id, write_manifest
from fer_data.store.shards import shard_name, write_shard
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine.devices import resolve_precision
from fer_model.engine.steps import Steps
from fer_model.stages.gan import GanStage
from fer_model.stages.inputs import StageInputs

__all__ = ["PEOPLE", "write_prepared", "bars"]

ROOT = Path(__file__).resolve().parents[1]
PEOPLE, FRAMES = 101, 100             # of a sequence; one sequence of each person for each expression
EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
STEPS = {"tiny": 1, "bench": 10, "long": 30}
LIMIT_MB = 1100
CPU = torch.device("cpu")


def write_prepared(out: Path, frames: int, people: int = PEOPLE) -> Path:
    """Write what `fer-data prepare bu4dfe --views virtual` would, with this many frames of each sequence; every face is another one."""
    noise = np.random.default_rng(0).integers(0, 256, (frames, 2 * CANVAS, 2 * CANVAS), np.uint8)
    blanks = {column: "" if dtype == "str" else 0 for column, (dtype, _) in COLUMNS.items()} | {"jump": False}
    rows, hashes = [], {}
    (out / "shards").mkdir(parents=True)
    for number in range(people * len(EXPRESSIONS)):
        person, which = divmod(number, len(EXPRESSIONS))
        faces = np.ascontiguousarray(noise[:, person : person + CANVAS, which : which + CANVAS])
        own = {"dataset": "bu4dfe", "subject": f"F{person:03d}", "sequence": EXPRESSIONS[which], "expression": EXPRESSIONS[which]}
        own |= {"role": "peak", "framing": "whole", "backend": "drawn", "source_sha256": "0" * 64, "faces_found": 1, "position": -1}
        part = [
            {
                **blanks, **own, "image_id": image_id("bu4dfe", own["subject"], own["sequence"], frame), "frame": frame,
                "source": f"{own['subject']}/{own['sequence']}/{frame:03d}.jpg", "fold": person % 10, "shard": shard_name(number),
                "row": frame, "face_sha256": sha256_of_bytes(face),
            }
            for frame, face in enumerate(faces)
        ]
        record = write_shard(out / "shards", shard_name(number), "drawn", {"faces": faces}, part, [])
        hashes[record.name] = record.sha256
        rows += part
    config = {"landmarks": "drawn", "detector": "", "views": "virtual", "colour": "grey", "folds": 10, "fold_rule": "step", "options": {}}
    settings = {
        "dataset": "bu4dfe", "drawn": True, "classes": list(EXPRESSIONS), "frame_rule": "all", "config": config, "code_version": "0",
        "opencv": "0", "backend": {"name": "drawn", "version": "0", "weights_sha256": ""}, "pipeline_version": 0, "notes": [],
        "skipped": {}, "found": len(rows), "kept": len(rows), "shards": hashes,
    }
    write_manifest(out, rows, [], settings)
    return out


def bars(size: str = "long") -> list[Bar]:
    """Return the bar of the memory that the faces need."""
    people, frames = (10, 2) if size == "tiny" else (PEOPLE, FRAMES)
    with tempfile.TemporaryDirectory(prefix="bench-bu4dfe-") as folder:
        few, all_ = (_measure(write_prepared(Path(folder, str(count)), count, people), STEPS[size]) for count in (1, frames))
    what = f"memory for {all_['faces']:,} faces ({all_['faces'] * N_VIEWS / 1e6:.2f} million virtual views) to be trained on"
    more, rate = all_["peak_mb"] - few["peak_mb"], all_["images_per_s"]
    note = f"training took {more:,.0f} MB more than on {few['faces']:,} faces; the process {all_['peak_mb']:,.0f} MB; {rate:,.0f} images/s"
    return [Bar(what, all_["opened_mb"], LIMIT_MB, "MB", most=True, note=note)]


def _measure(out: Path, steps: int) -> dict:
    words = [sys.executable, "-m", "benchmarks.bu4dfe", "--one", str(out), str(steps)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _one(out: Path, steps: int) -> dict:
    """Open the faces and train; return what memory it took, in MB."""
    config = preset("small", method="pretrain", fold=None)
    fold = read_prepared(out).fold_of(config)
    config = resolve_budgets(replace(config, precision=resolve_precision("auto", CPU)), len(fold.train))
    before = _resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")                        # the peak is counted from here
    views = open_views(out, fold.train, CPU)
    opened = _resident_mb("VmHWM") - before
    work = Steps(GanStage(StageInputs(config, fold, views, CPU)))
    work.do(0, 1)
    began = time.perf_counter()
    work.do(1, 1 + steps)
    rate = steps * config.gan.batch / (time.perf_counter() - began)
    return {"faces": len(fold.train), "opened_mb": opened, "peak_mb": _resident_mb("VmHWM"), "images_per_s": rate}


def _resident_mb(which: str) -> float:
    return int(re.search(rf"^{which}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1.024e-3


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(_one(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        sys.exit(run_module(bars, __doc__))
