"""Predict again with the weights of a run: other views of its test fold, or another prepared database.

In:  a complete run, perhaps another prepared folder, the number of views that vote.
Out: Repredicted: predictions as evaluate takes them, and what was left out. Nothing is written.

On another database the network answers among the classes that both have: logits of the others are dropped, the softmax is
taken over the rest. All of its images of role peak are predicted; nobody in it may have been trained on, and none of its pictures, in
training or in what that started from.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import fer_data
from fer_data.datasets.adapters import ADAPTERS
from fer_data.labels import classes_of
from fer_data.people import UNKNOWN, alike, are_known, pairs_text, same_pictures
from fer_data.store.loader import open_views
from fer_data.store.manifest import manifest_sha256, read_settings
from fer_data.text import counted, either
from fer_model.data.fold import in_common, one_name_each, people_in
from fer_model.errors import RunError
from fer_model.runs.faces import faces_of, faces_of_run, how_framed, unlike
from fer_model.runs.folder import RunFolder
from fer_model.runs.given_weights import refuse_same_pictures
from fer_model.runs.predictions import predictions_frame
from fer_model.runs.pretrained import databases_seen, names_people
from fer_model.runs.trained import TrainedRun, load_run
from fer_model.stages.classifier import VOTES, probabilities

__all__ = ["Repredicted", "repredict"]


@dataclass(frozen=True)
class Repredicted:
    """Predictions of one network, and how they came about."""

    frame: pd.DataFrame               # as runs.predictions.predictions_frame gives it
    elsewhere: bool                   # on another database than the run's
    notes: tuple[str, ...]            # what was left out, what keeps the figures from being compared; sentences
    faces: dict[str, str | None] | None = None   # on another database: how the faces trained on and tested on were framed


def repredict(
    run: Path,
    data: Path | None = None,         # None: the folder that the run was trained on, as config.json names it
    vote: int = 1,                    # of classifier.VOTES
    device: str = "auto",
    batch: int = 128,                 # images at once; predictions do not depend on it
) -> Repredicted:
    """Return the predictions of a complete run on its test fold, or on another database.

    Raises RunError if the run is not complete, or if the other database does not fit: fewer than two classes shared,
    people or pictures that were trained on, another number of channels; FoldError if what the run started from had seen the pictures;
    ManifestError if the folder is none.
    """
    if vote not in VOTES:
        raise RunError(f"voting: {vote} views cannot vote; choose {either(VOTES)}")
    if RunFolder(run).read_config()[0].fold is None:
        raise RunError(f"evaluating {run}: a run that predicts is needed, this one is pre-training alone")
    trained, asked = load_run(run, device), data is not None
    elsewhere = data is not None and manifest_sha256(data) != trained.content["manifest_sha256"]
    if elsewhere:
        rows, classes, notes = _elsewhere(trained, data)
        faces, unlike_notes = _framing(trained, data)
        notes += unlike_notes
    else:
        faces = None
        data, fold = trained.open_data(data)
        rows, classes, notes = fold.test, trained.classes, []
        if asked:
            notes = [f"{data} is what was trained on: each network is tested on its own test fold alone."]
    views, net = open_views(data, rows, trained.device), trained.config.network
    if views.channels != net.channels:
        raise RunError(f"evaluating {run} on {data}: it was trained on {net.channels} channels, these faces have {views.channels}")
    keep = [trained.classes.index(name) for name in classes]
    found = probabilities(lambda x: trained.logits(x)[:, keep], views, net.image_size, batch, VOTES[vote])      # (n, K)
    return Repredicted(predictions_frame(rows, found.numpy(), classes), elsewhere, tuple(notes), faces)


def _framing(trained: TrainedRun, data: Path) -> tuple[dict[str, str | None], list[str]]:
    """Return how the faces that a run was trained on, and those of another database, were framed, and what is to be said of it."""
    before, settings = faces_of_run(trained.content), read_settings(data)
    told = {"trained_on": before and how_framed(before), "tested_on": how_framed(faces_of(settings))}
    return told, unlike("this run", before, trained.content["dataset"], data, settings)


def _elsewhere(trained: TrainedRun, data: Path) -> tuple[pd.DataFrame, tuple[str, ...], list[str]]:
    """Return the rows of another database to predict, the classes to choose from, and what a reader must know."""
    doing = f"evaluating {trained.run} on {data}"
    rows = fer_data.read_manifest(data)
    rows = rows[rows["role"] == "peak"]
    before = trained.content["init"] or {"people": []}                   # whom a run knows that this one started from
    for dataset, n_people in databases_seen(trained.content["init"]):
        if not n_people or not are_known(rows["subject"]):               # nobody can say who is in both
            refuse_same_pictures(doing, dataset, rows["dataset"].unique())
    known = one_name_each([*trained.identities, *trained.content["validation_people"], *before["people"]])
    met = sorted(name for name in people_in(rows) if in_common([name], known))
    if met:
        raise RunError(
            f"{doing}: nobody in it may have been trained on, or chosen the weights by; it shows some who were:"
            f" {counted(len(met), 'person', 'people')} ({met[0]});"
            " if they are others of the same names, rename the data set or its subjects"
        )
    databases = {name.partition("/")[0] for name in known} | (set() if trained.identities else {trained.content["dataset"]})
    _refuse_same_pictures(doing, databases, rows)
    theirs = classes_of(rows["expression"])
    shared = tuple(name for name in trained.classes if name in theirs)
    if len(shared) < 2:
        raise RunError(
            f"{doing}: at least two classes must be shared, got {len(shared)};"
            f" the run has {', '.join(trained.classes)}, the data {', '.join(theirs) or '(none)'}"
        )
    used = rows[rows["expression"].isin(shared)].reset_index(drop=True)
    start, nobody = trained.content["init"], "nobody in which was trained on"
    if not trained.identities or not are_known(rows["subject"]):
        who = f"; {UNKNOWN}, so nobody can say whether some were trained on"
    elif start and not names_people(start):
        who = f", {nobody} by the run itself; whom its start had seen is unknown"
    else:
        who = f", {nobody}"
    notes = [f"Tested on {data}{who}; classes that both have: {', '.join(shared)}."]
    notes += _spelled_like(known, one_name_each(people_in(used)))
    if trained.content.get("drawn") and read_settings(data)["drawn"]:
        notes += _same_seed(databases, set(rows["dataset"]))
    unasked = [name for name in trained.classes if name not in theirs]
    if unasked:
        notes.append(f"Trained on but not in these data, hence never answered: {', '.join(unasked)}.")
    left = rows["expression"][~rows["expression"].isin(shared)].value_counts().sort_index()
    if len(left):
        counts = ", ".join(f"{name} ({count})" for name, count in left.items())
        notes.append(f"Left out, never trained on: {counts}; {int(left.sum())} of {len(rows)} images.")
    return used, shared, notes


def _refuse_same_pictures(doing: str, trained_on: set[str], rows: pd.DataFrame) -> None:
    """Raise RunError if two databases hold the same pictures. One and the same, with people, is left to the check of people."""
    known = are_known(rows["subject"])
    for mine in sorted(trained_on):
        for theirs in sorted(set(rows["dataset"])):
            if same_pictures(mine, theirs) and (mine != theirs or not known):
                same = f"both hold the pictures of {mine}" if mine == theirs else f"{mine} and {theirs} hold the same pictures"
                raise RunError(f"{doing}: {same}, so a figure would be of pictures trained on")


def _same_seed(trained_on: set[str], tested: set[str]) -> list[str]:
    """Return a sentence if two databases of synthetic people may show the same ones: a CK+, and full tables, which have other names."""
    shared = ({name for name in names if name == "ck+" or name not in ADAPTERS} for names in (trained_on, tested))
    if not all(shared):
        return []
    return ["The people of both are synthetic, and `fer-data synth` draws the same people for ck+ and table, and for two tables, from one"
            " seed: if the seeds are equal, this is no figure for people whom the network does not know."]


def _spelled_like(known: set[str], theirs: set[str]) -> list[str]:
    """Return a sentence about people to be tested whose ids differ from known people's in case, leading zeros or separators alone."""
    groups = [group for group in alike(known | theirs) if known & set(group) and theirs & set(group)]
    if not groups:
        return []
    return [f"Trained on and tested under ids that are almost alike: {pairs_text(groups)}. If they are one person each, this is no"
            " figure for people whom the network does not know."]
