"""Run folders without training, for tests of what reads them: predictions, a log, a sheet, as runs/folder.py draws the folder.

In:  a path, a method, a fold; people who are right or wrong as told. Out: the folder, complete or stopped on the way.
"""

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fer_model.config import preset, resolve_budgets
from fer_model.evaluate.figures import evaluate
from fer_model.runs.predictions import predictions_frame, write_predictions

__all__ = ["CLASSES", "predictions_of", "write_fold", "write_method"]

CLASSES = ("anger", "fear", "happiness")
PEOPLE, FRAMES = 4, 3                 # in a fold; of a sequence
RULES = {"epoch": "last", "test_view": "centre crop, unrotated, not mirrored", "unit": "frame: each image; sequence: mean", "interval": "x"}


def predictions_of(fold: int, share: float, seed: int = 0, dataset: str = "tiny", people: int = PEOPLE) -> pd.DataFrame:
    """Return predictions of a fold's people: a sequence of three frames for each class; about `share` of the frames are right."""
    rng = np.random.default_rng([fold, seed, round(1000 * share)])
    rows, probabilities = [], []
    for person in range(people):
        for number, expression in enumerate(CLASSES):
            for frame in range(FRAMES):
                subject, sequence = f"S{fold:02d}{person}", f"{number:03d}"
                name = f"{dataset}/{subject}/{sequence}/{frame:08d}"
                rows.append({"image_id": name, "subject": subject, "sequence": sequence, "expression": expression})
                answer = number if rng.random() < share else (number + 1) % len(CLASSES)
                probabilities.append(0.1 + 0.7 * np.eye(len(CLASSES))[answer])
    return predictions_frame(pd.DataFrame(rows), np.array(probabilities), CLASSES)


def write_fold(
    path: Path, method: str = "degan", fold: int = 0, seed: int = 0, share: float = 0.8, folds: int = 3, dataset: str = "tiny",
    stop: str = "", frame: pd.DataFrame | None = None, change=lambda content: None, faces: bool = True, data: str = "prepared",
) -> Path:
    """Write one run. `stop`: "" complete, "start" with no step logged, "gan" in that stage, "diverged"; `change` edits config.json."""
    path.mkdir(parents=True)
    frame = predictions_of(fold, share, seed, dataset) if frame is None else frame
    n_train = (folds - 1) * len(frame)
    config = resolve_budgets(preset("smoke", method=method, fold=fold, seed=seed), n_train)
    content = {
        "schema_version": 1, "config": asdict(config), "manifest_sha256": "ab" * 32, "code_version": "0.1.0+aa", "dataset": dataset,
        "data": data, "classes": CLASSES, "identities": [f"{dataset}/S{n}" for n in range(8)], "n_train": n_train, "n_test": len(frame),
    }
    change(content)
    (path / "config.json").write_text(json.dumps(content))
    lines = [{"event": "start", "device": "cpu", "torch": "2.13.0", "threads": 2}]
    if stop != "start":
        lines += [line for stage in config.stages for line in _ticks(stage, getattr(config, stage).kimg)]
    if stop:
        lines = lines[:3]
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if stop == "diverged":
        stopped = {"stage": "gan", "step": 4, "what": "loss D", "value": "nan", "samples": []}
        (path / "diverged.json").write_text(json.dumps(stopped))
    if stop:
        return path
    if method == "degan" and faces:
        picture = np.random.default_rng(fold).integers(0, 256, (40, 60), dtype=np.uint8)
        (path / "samples.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    write_predictions(path / "predictions.csv", frame)
    costs = {"steps": 8, "passes_over_faces": 1.5, "seconds": 60.0, "processor_seconds": 90.0}
    stages = {stage: {"kimg": getattr(config, stage).kimg, **costs} for stage in config.stages}
    result = {
        "method": method, "name": config.name, "preset": "smoke", "dataset": dataset, "fold": fold, "seed": seed, "stages": stages,
        "rules": RULES,
        "manifest_sha256": content["manifest_sha256"], "code_version": "0.1.0+aa", "evaluation": evaluate(frame).to_json(),
    }
    (path / "result.json").write_text(json.dumps(result))
    return path


def write_method(path: Path, folds: int = 3, **settings) -> Path:
    """Write a folder of complete folds, fold0 and on."""
    for fold in range(folds):
        write_fold(path / f"fold{fold}", fold=fold, folds=folds, **settings)
    return path


def _ticks(stage: str, kimg: float) -> list[dict]:
    names = {"gan": ("loss_D", "loss_G", "loss_D_fake", "accuracy_fake"), "head": ("loss_head", "loss_L1")}.get(stage, (f"loss_{stage}",))
    ticks = [{"step": i, "steps": 8, "seen_kimg": kimg * i / 8, **dict.fromkeys(names, 1 / i)} for i in (2, 4, 6, 8)]
    return [{"event": "tick", "stage": stage, **tick} for tick in ticks]


def probe_row(features, probe, people, value, chance=None):
    """Return a row of probe.json."""
    counts = {"n_people": 4, "n_train": 9, "n_test": 9, "width": 8, "spread": None, "n_unmoved": None}
    return {"features": features, "probe": probe, "people": people, "value": value, "chance": chance, **counts}
