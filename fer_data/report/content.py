"""The content of the data report without pixels: counts, findings, what was left out, provenance.

In:  manifest, skipped.csv, settings.json, published facts of the database (data_manifests).
Out: plain values for data.html.
"""

from dataclasses import dataclass

import pandas as pd

from fer_data.datasets.published import FILES, Facts, load_facts, parts_of
from fer_data.labels import classes_of
from fer_data.people import UNKNOWN, are_known, one_name
from fer_data.protocol.balance import image_table
from fer_data.protocol.folds import SEEDED
from fer_data.text import counted, escape, listed, named

__all__ = ["Finding", "LeftOut", "PAPER", "citations", "every_facts_of", "facts_of", "findings", "left_out", "licences", "provenance",
           "shared_subjects", "with_all_folds"]

_MOST_NOTES = 6
_NAMED = 8                            # so many people, folds or expressions are named, the rest is counted
MOST_UNUSABLE, MOST_NOT_SELECTED = 500, 100  # rows of skipped.csv that the page lists, of each kind
_UNEVEN = 3.0                         # from this ratio of the largest to the smallest class on, accuracy alone misleads

_CUT_CLOSE = 0.05                     # share of invented pixels in the median face
PAPER = "K. Ali and C. E. Hughes: Facial expression representation learning by synthesizing expression images. arXiv 1912.01456."
# backend -> what its makers ask to cite; points of the database itself are cited with it
_LANDMARK_CITATIONS = {
    "dlib": ("V. Kazemi and J. Sullivan: One millisecond face alignment with an ensemble of regression trees. CVPR 2014.",),
    "fan": ("A. Bulat and G. Tzimiropoulos: How far are we from solving the 2D & 3D face alignment problem? ICCV 2017.",),
    "openface": (
        "A. Zadeh, Y. C. Lim, T. Baltrušaitis and L.-P. Morency: Convolutional experts constrained local model for 3D facial landmark"
        " detection. ICCV Workshops 2017.",
        "T. Baltrušaitis, A. Zadeh, Y. C. Lim and L.-P. Morency: OpenFace 2.0: Facial behavior analysis toolkit. FG 2018.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One sentence at the top of the page."""

    level: str                        # "ok" or "look"
    text: str

    def markdown(self) -> str:
        """Return it as Markdown, marked if it asks for a look."""
        return f"{'' if self.level == 'ok' else '**Look:** '}{escape(self.text)}"


@dataclass(frozen=True)
class LeftOut:
    """The frames that are not in the manifest, of one kind."""

    reasons: tuple[tuple[str, str, int, int], ...]  # reason, its meaning, rows of skipped.csv, frames
    rows: tuple[dict, ...]            # the first of them, for the table
    n_rows: int                       # of skipped.csv
    n_frames: int


def facts_of(dataset: str) -> Facts | None:
    """Return the published facts of a database; None where there are none, as of a folder."""
    return load_facts(dataset) if dataset in FILES else None


def every_facts_of(dataset: str) -> list[Facts]:
    """Return the published facts of each database that is joined under a name, those that have some."""
    return [facts for one in parts_of(dataset) if (facts := facts_of(one))]


def with_all_folds(table: pd.DataFrame, folds: int) -> pd.DataFrame:
    """Return a balance table with a row for each fold, also for one in which no face could be used; of parts, as it is."""
    if not folds:
        return table
    rows = [*range(max(folds, 1 + max(row for row in table.index if row != "all"))), "all"]
    return table.reindex(rows, fill_value=0).astype(int)


def findings(
    frame: pd.DataFrame, judged: pd.DataFrame, settings: dict, facts: Facts | None, n_flagged: int | None, unusable: LeftOut
) -> list[Finding]:
    """Return what a reader should know first, each as one sentence.

    `judged` are the rows without neutral references; `n_flagged` is None where nobody looked at pixels.
    """
    return [
        shared_subjects(frame),
        _empty_cells(judged, settings["config"]["folds"]),
        _class_balance(judged),
        *_cut_close(frame),
        *([] if n_flagged is None else [_flagged(n_flagged, len(frame))]),
        _unusable(unusable.n_frames),
        *([_published(judged, facts)] if facts else []),
        _sum(frame, settings),
    ]


def left_out(skipped: pd.DataFrame, reasons: dict[str, str], most: int) -> LeftOut:
    """Return what skipped.csv says of these reasons; `most` rows are listed."""
    mine = skipped[skipped["reason"].isin(reasons)]
    groups = mine.groupby("reason")["frames"].agg(["size", "sum"])
    summary = [(reason, text, *map(int, groups.loc[reason])) for reason, text in reasons.items() if reason in groups.index]
    return LeftOut(tuple(summary), tuple(mine.head(most).to_dict("records")), len(mine), int(mine["frames"].sum()))


def provenance(settings: dict, frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return how the folder was made, as (what, value) in an order for people; hashes in full."""
    config, backend = settings["config"], settings["backend"]
    seed, seeded = config.get("fold_seed"), config["fold_rule"] in SEEDED
    details = {key: value for key, value in backend.items() if key not in ("name", "version", "weights_sha256") and value != ""}
    options = {key: value for key, value in config["options"].items() if value not in (None, "", False)}
    rows = [
        ("Database", settings["dataset"]),
        ("Options of its adapter", _pairs(options)),
        ("Frames taken", f"rule {settings['frame_rule']}"),
        ("Notes of the adapter", _notes(settings.get("notes", []))),
        ("Neutral first frames", {"class": "taken as a class", "reference": "taken as references"}.get(config.get("neutral"), "")),
        ("Folds", f"{config['folds']} by subject, rule {config['fold_rule']}" + (f", seed {seed}" if seeded else "") if config["folds"] else
         f"none, {UNKNOWN}; the parts are those of the database's own split"),
        ("Views", f"110 of each face, {config['views']}"),
        ("Colour", config["colour"]),
        ("Landmarks", f"{backend['name']} {backend['version']}" + (f" ({_pairs(details)})" if details else "")),
        ("Weights, sha256", backend["weights_sha256"] or "none"),
        ("Manifest, sha256", settings["manifest_sha256"]),
        ("Written by", f"fer-data {settings['code_version']}, pipeline {settings['pipeline_version']}, OpenCV {settings['opencv']}"),
        ("Schema version", str(settings["schema_version"])),
        ("Shards", f"{len(settings['shards']):,} with {len(frame):,} faces"),
    ]
    return [(what, value) for what, value in rows if value]


def licences(dataset: str) -> str:
    """Return the licences of the databases that are joined under a name, each with its name; of one, its licence. "": none is known."""
    facts = every_facts_of(dataset)
    return facts[0].licence if len(parts_of(dataset)) == 1 and facts else " ".join(f"{one.name}: {one.licence}" for one in facts)


def citations(facts: list[Facts], settings: dict) -> list[str]:
    """Return what to cite: the databases, the protocol, the landmarks."""
    landmarks = _LANDMARK_CITATIONS.get(settings["backend"]["name"], ())
    return [*(text for one in facts for text in one.citation), f"{PAPER} (The frame rules, the 110 views and the ten folds.)", *landmarks]


def shared_subjects(frame: pd.DataFrame) -> Finding:
    if not are_known(frame["subject"]):
        text = "the database does not say who is in its pictures, so nobody can tell whether a person is in two parts"
        return Finding("look", f"{UNKNOWN.capitalize()}: {text}. `fer-data audit` finds pictures that are in two.")
    shared = frame.groupby(frame["subject"].map(lambda subject: one_name(None, subject)))["fold"].nunique()
    names = list(map(str, shared[shared > 1].index))
    if not names:
        return Finding("ok", f"No person is in two folds ({frame['subject'].nunique():,} people, {frame['fold'].nunique()} folds).")
    return Finding("look", f"People are in more than one fold, so that test results would be too good: {listed(names, _NAMED)}.")


def _empty_cells(frame: pd.DataFrame, folds: int) -> Finding:
    table = with_all_folds(image_table(frame), folds).drop(index="all", columns="all")
    lacking: dict[tuple[str, ...], list[str]] = {}                       # folds -> the expressions that all of them lack
    for name in table.columns:
        lacking.setdefault(tuple(str(fold) for fold in table.index[table[name] == 0]), []).append(name)
    lacking.pop((), None)
    part = "fold" if folds else "part"
    if not lacking:
        return Finding("ok", f"Every {part} has every expression.")
    cells = [f"{listed(names, _NAMED)} in {named(part, some, _NAMED)}" for some, names in lacking.items()]
    return Finding("look", f"No face shows {'; '.join(cells)}: recall cannot be measured there.")


def _class_balance(frame: pd.DataFrame) -> Finding:
    counts = frame["expression"].value_counts()
    counts = counts[list(classes_of(counts.index))]
    most, least = counts.idxmax(), counts.idxmin()
    if counts[most] == counts[least]:
        return Finding("ok", f"Every expression has as many faces: {counts[most]:,}.")
    text = f"The most frequent expression, {most}, has {counts[most]:,} faces, the rarest, {least}, has {counts[least]:,}"
    ratio = counts[most] / counts[least]
    if ratio < _UNEVEN:
        return Finding("ok", f"{text} (a ratio of {ratio:.1f}).")
    return Finding("look", f"{text} (a ratio of {ratio:.1f}): state macro recall next to accuracy.")


def _cut_close(frame: pd.DataFrame) -> list[Finding]:
    middle = float(frame["invented"].median())
    if middle <= _CUT_CLOSE:
        return []
    text = f"In half of the faces {100 * middle:.0f} % of the pixels or more are invented: the pictures are cut close to the face."
    return [Finding("look", text)]


def _flagged(number: int, faces: int) -> Finding:
    if number == 0:
        return Finding("ok", f"None of {counted(faces, 'face')} is flagged as badly aligned.")
    verb, them = ("is", "it") if number == 1 else ("are", "them")
    return Finding("look", f"{counted(number, 'face')} of {faces:,} {verb} flagged: look at {them} first.")


def _unusable(frames: int) -> Finding:
    if frames == 0:
        return Finding("ok", "Every frame that was wanted could be used.")
    what = "1 frame or file was" if frames == 1 else f"{frames:,} frames or files were"
    return Finding("look", f"{what} wanted and could not be used.")


def _published(frame: pd.DataFrame, facts: Facts) -> Finding:
    """Compare with what was published, which has no neutral class; `frame` may have one."""
    neutral = frame["expression"].eq("neutral") & ("neutral" not in facts.expressions)
    frame, besides = frame[~neutral], f"; {counted(neutral.sum(), 'face')} of class neutral not counted" if neutral.any() else ""
    if facts.subjects is None:
        if len(frame) == facts.images:
            return Finding("ok", f"Faces are as many as published ({facts.images:,}){besides}.")
        return Finding("look", f"Against the published counts: {len(frame):,} of {facts.images:,} faces{besides}.")
    here = frame["subject"].nunique(), len(frame[["subject", "sequence", "expression"]].drop_duplicates()), len(frame)
    there = facts.subjects, facts.sequences, facts.images
    if facts.sequences is None:
        return Finding("ok" if here[0] == there[0] else "look", f"People: {here[0]} of {there[0]} that are published.")
    if here == there:
        return Finding("ok", "People, sequences and faces are as many as published ({:,}, {:,}, {:,}){}.".format(*there, besides))
    parts = [f"{a:,} of {b:,} {what}" for a, b, what in zip(here, there, ("people", "sequences", "faces"), strict=True)]
    return Finding("look", f"Against the published counts: {', '.join(parts)}{besides}.")


def _sum(frame: pd.DataFrame, settings: dict) -> Finding:
    left = sum(settings["skipped"].values())
    text = f"{settings['found']:,} frames found = {settings['kept']:,} used + {left:,} left out, each with its reason."
    whole = settings["found"] == settings["kept"] + left and settings["kept"] == len(frame)
    return Finding("ok", text) if whole else Finding("look", f"The counts do not add up; the manifest has {len(frame):,} rows. {text}")


def _notes(notes: list[str]) -> str:
    """Return the first of them as one text; all are listed in settings.json."""
    left = len(notes) - _MOST_NOTES
    return "; ".join([*notes[:_MOST_NOTES], *([f"and {left} more in settings.json"] if left > 0 else [])])


def _pairs(values: dict) -> str:
    return ", ".join(f"{key}: {value}" for key, value in sorted(values.items()))
