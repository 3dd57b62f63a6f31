"""Compute the features that probes look at: f(x), the taps, the baseline's hidden layer, pixels.

In:  TrainedRun, perhaps the baseline's too, and the prepared folder of both.
Out: two Samples, of the training people and of the test fold: for each face one row of every feature, and who shows what.

    feature                     row
    f(x)                        (N_f,) as the decoder and the classifier get it
    <tap>                       (9 channels,) means over a 3x3 grid of the face: what is there, and roughly where
    cnn                         (features,) the baseline's hidden layer, after its activation
    recogniser                  (features,) the same of DE-AE's recognition network
    timm                        (features,) what the classifier of a network of timm sees
    iacnn                       (2 branch,) both of its branches
    pixels                      (C S S,) the input itself

All of the centre view, unrotated. At most three frames of a sequence, evenly spread, count: CK+, MMI and Oulu-CASIA have three.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_data.store.loader import open_views
from fer_model.data.fold import people_of
from fer_model.errors import RunError
from fer_model.runs.trained import TrainedRun
from fer_model.stages.classifier import centre_inputs

__all__ = ["FRAMES", "GRID", "Samples", "few_frames", "samples_of"]

GRID = 3                              # a tap is averaged over GRID x GRID cells of the face
FRAMES = 3                            # of a sequence


@dataclass(frozen=True)
class Samples:
    """n faces: who, in which sequence, with which expression; and their features."""

    person: np.ndarray                # (n,) str
    sequence: np.ndarray              # (n,) str, unique over people
    expression: np.ndarray            # (n,) str
    features: dict[str, np.ndarray]   # name -> (n, d) float32; d differs

    def take(self, index: np.ndarray) -> "Samples":
        """Return the faces at `index`, in its order."""
        features = {name: rows[index] for name, rows in self.features.items()}
        return Samples(self.person[index], self.sequence[index], self.expression[index], features)


def few_frames(rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most FRAMES rows of each expression in a sequence, evenly spread, in the manifest's order."""
    groups = rows.groupby(["dataset", "subject", "sequence", "expression"], sort=False)
    place, size = groups.cumcount().to_numpy(), groups["image_id"].transform("size").to_numpy()     # (n,), (n,)
    number = place * FRAMES // np.maximum(size, FRAMES)                              # which of the FRAMES parts it is in
    before = (place - 1) * FRAMES // np.maximum(size, FRAMES)
    return rows[(size <= FRAMES) | (number != before)]


def samples_of(trained: TrainedRun, baseline: TrainedRun | None, data=None) -> tuple[Samples, Samples]:
    """Return the training people's faces and the test fold's.

    Raises RunError if the baseline is no CNN or was trained on other people, and as TrainedRun.open_data does.
    """
    if baseline is not None:
        _refuse_other_people(trained, baseline)
    data, fold = trained.open_data(data)
    return tuple(_samples(data, few_frames(rows), trained, baseline) for rows in (fold.train, fold.test))


def _refuse_other_people(trained: TrainedRun, baseline: TrainedRun) -> None:
    doing = f"probing {trained.run}"
    if "cnn" not in baseline.networks:
        raise RunError(f"{doing}: the baseline must be a run of method cnn, {baseline.run} is of method {baseline.config.method}")
    for name in ("manifest_sha256", "identities"):
        if trained.content[name] != baseline.content[name]:
            raise RunError(f"{doing}: the baseline must be trained on the same people, {name} of {baseline.run} differs")


def _samples(data, rows: pd.DataFrame, trained: TrainedRun, baseline: TrainedRun | None) -> Samples:
    person = people_of(rows)
    views, parts = open_views(data, rows, trained.device), []
    with torch.inference_mode():
        for faces in torch.arange(views.n_faces).split(128):
            found = _features(trained, centre_inputs(views, faces, trained.config.network.image_size))
            if baseline is not None:
                x = centre_inputs(views, faces, baseline.config.network.image_size).to(baseline.device)
                found["cnn"] = baseline.networks["cnn"].features(x)                  # (B, features)
            parts.append({name: rows.float().cpu().numpy() for name, rows in found.items()})
    order = sorted(parts[0], key=lambda name: name == "pixels")                      # pixels last, the others as they came
    features = {name: np.concatenate([part[name] for part in parts]) for name in order}
    sequence = (person + "/" + rows["sequence"]).to_numpy(str)
    return Samples(person.to_numpy(str), sequence, rows["expression"].to_numpy(str), features)


def _features(trained: TrainedRun, x: Tensor) -> dict[str, Tensor]:
    """x (B, C, S, S) -> name -> (B, d)."""
    last = trained.config.stages[-1]
    if set(trained.networks) == {last}:                                  # a classifier alone: the baseline, or what takes its place
        return {last: trained.networks[last].features(x), "pixels": x.flatten(1)}
    names = trained.config.head.taps
    f, taps = trained.networks["encoder"].with_taps(x, names)
    pooled = {name: F.adaptive_avg_pool2d(tap, GRID).flatten(1) for name, tap in zip(names, taps, strict=True)}
    hidden = {name: trained.networks[name].features(x) for name in ("recogniser",) if name in trained.networks}
    return {"f(x)": f, **pooled, **hidden, "pixels": x.flatten(1)}
