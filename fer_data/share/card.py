"""Write the dataset card: card.md for people, Croissant metadata for programs.

In:  a prepared folder (manifest, skipped.csv, settings.json).
Out: card.md and croissant.json, in the folder or in another one; no face is in them. The same folder gives the same bytes.

In the folder they are removed as soon as anything that they tell of is changed.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_data import __version__
from fer_data.faces.align import CANVAS
from fer_data.files import json_bytes, make_folder, write_bytes_atomically
from fer_data.people import refuse_unknown
from fer_data.records import NOT_SELECTED, UNUSABLE
from fer_data.report import content
from fer_data.share import words
from fer_data.share.croissant import describe
from fer_data.share.terms import Terms, terms_of
from fer_data.store.manifest import COLUMNS, read_manifest, read_settings, read_skipped
from fer_data.store.own_files import refuse_own_file
from fer_data.text import counted, escape, paragraphs, table

__all__ = ["CARD", "CROISSANT", "CardSummary", "write_card"]

CARD, CROISSANT = "card.md", "croissant.json"
_QUANTILES = (0.5, 0.95, 1.0)


@dataclass(frozen=True)
class CardSummary:
    """What was written."""

    card: Path
    croissant: Path
    name: str
    warning: str

    def __rich__(self) -> str:
        """Return it as a sentence, for the console."""
        from rich.markup import escape as plain

        return plain(f"{self.card}: card of {self.name}\n{self.croissant}: the same for programs, Croissant 1.1")


def write_card(out: Path, to: Path | None = None) -> CardSummary:
    """Write card.md and croissant.json into `to` (default: the prepared folder).

    Raises ManifestError if the folder is not whole, ShardError if a shard is gone or not of the size that was written (its bytes are not
    read), StorageError if they cannot be written, or are files of a run or of another prepared folder.
    """
    out = Path(out)
    to = out if to is None else Path(to)
    for name in (CARD, CROISSANT):
        refuse_own_file("writing a card", to / name, but=out / name)
    frame, settings, skipped = read_manifest(out), read_settings(out), read_skipped(out)
    refuse_unknown(f"writing a card of {out}", frame["subject"], "a card promises folds by person; `fer-data report` shows what is there")
    terms = terms_of(settings)
    card, croissant = _card(frame, settings, skipped, terms).encode(), json_bytes(describe(out, frame, settings, terms))
    make_folder(to)                   # both are there to be written: none stays alone
    write_bytes_atomically(to / CARD, card)
    write_bytes_atomically(to / CROISSANT, croissant)
    return CardSummary(to / CARD, to / CROISSANT, terms.name, terms.warning)


def _card(frame: pd.DataFrame, settings: dict, skipped: pd.DataFrame, terms: Terms) -> str:
    peaks = frame[frame["role"] == "peak"]
    return paragraphs(
        [
            [f"# {escape(terms.name)}, prepared"], words.warning(terms), _in_short(frame, peaks, settings),
            ["## At a glance", "", *_findings(frame, peaks, settings, skipped)],
            _use(terms), words.limits(terms), words.balance(peaks, settings["config"]["folds"]),
            ["## How it was made", "", *table(["what", "value"], [list(row) for row in content.provenance(settings, frame)], words=2)],
            _left_out(settings, skipped), _alignment(frame, settings), _files(settings), words.rights(terms),
            [f"Written by fer-data {__version__}."],
        ]
    )


def _in_short(frame: pd.DataFrame, peaks: pd.DataFrame, settings: dict) -> list[str]:
    config, sequences = settings["config"], len(peaks[["subject", "sequence", "expression"]].drop_duplicates())
    references = len(frame) - len(peaks)
    counts = [
        counted(len(peaks), "face"), counted(peaks["subject"].nunique(), "person", "people"),
        counted(sequences, "sequence"), counted(peaks["expression"].nunique(), "expression"),
        counted(config["folds"], "fold"),
    ]
    pixels = f"aligned to {CANVAS} x {CANVAS} pixels, {'RGB' if config['colour'] == 'rgb' else 'grey'}"
    besides = f" Besides, {counted(references, 'neutral face')}, neither trained nor tested on." if references else ""
    return [f"{', '.join(counts)}; {pixels}.{besides}"]


def _use(terms: Terms) -> list[str]:
    return [
        "## Use", "",
        f"* **Meant for:** {words.use_of(terms)} People who are tested are kept apart from those who are trained on: the folds do that.",
        "* **Not meant for:** telling who somebody is, what somebody feels, or anything that has consequences for a person.",
    ]


def _findings(frame, peaks, settings, skipped) -> list[str]:
    unusable = content.left_out(skipped, UNUSABLE, 0)
    found = content.findings(frame, peaks, settings, content.facts_of(settings["dataset"]), None, unusable)
    return [f"* {one.markdown()}" for one in found]


def _left_out(settings: dict, skipped: pd.DataFrame) -> list[str]:
    rows = []
    for kind, reasons in (("wanted, not usable", UNUSABLE), ("not part of the protocol", NOT_SELECTED)):
        rows += [[reason, kind, text, f"{frames:,}"] for reason, text, _, frames in content.left_out(skipped, reasons, 0).reasons]
    left = sum(settings["skipped"].values())
    total = f"{settings['found']:,} frames found = {settings['kept']:,} used + {left:,} left out; `skipped.csv` names each."
    return ["## What was left out", "", total, *(["", *table(["reason", "kind", "meaning", "frames"], rows, words=3)] if rows else [])]


def _alignment(frame: pd.DataFrame, settings: dict) -> list[str]:
    if settings["backend"]["name"] == "none":
        return ["## Alignment", "", "Nothing was aligned: each picture became the face as it is."]
    measures = (("residual, px", "residual_px", 1), ("invented pixels, %", "invented", 100))
    rows = [[name, *(f"{scale * frame[column].quantile(q):.2f}" for q in _QUANTILES)] for name, column, scale in measures]
    text = f"Faces whose points jumped since the frame before: {int(frame['jump'].sum()):,}. `fer-data report` shows every face."
    return ["## Alignment", "", *table(["", "median", "95 % are below", "worst"], rows), "", text]


def _files(settings: dict) -> list[str]:
    channels = ", 3" if settings["config"]["colour"] == "rgb" else ""
    views = f", views (N, 110, 96, 96{channels})" if settings["config"]["views"] == "stored" else ""
    shards = counted(len(settings["shards"]), "HDF5 file")
    return [
        "## Files", "",
        f"* `manifest.parquet`: one row for each face; sha256 `{settings['manifest_sha256']}`. `manifest.csv` is the same in text.",
        f"* `shards/`: {shards} with faces (N, {CANVAS}, {CANVAS}{channels}){views}, landmarks (N, 68, 2),"
        " matrices (N, 2, 3), image_id (N); `shard` and `row` of the manifest say where a face lies.",
        "* `skipped.csv`: what was found and is not used. `settings.json`: how all was made, and the hash of every file.",
        "* `croissant.json`: this card for programs.", "", *words.columns(COLUMNS),
    ]
