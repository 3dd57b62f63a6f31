"""A prepared folder at a glance: faces and people in each fold and expression, and why frames were left out.

In:  a prepared folder (manifest, skipped.csv, settings.json).
Out: Overview, two tables for the console or JSON.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_data.people import UNKNOWN, are_known
from fer_data.protocol.balance import image_table, subject_table
from fer_data.records import absent_text
from fer_data.store.manifest import read_manifest, read_settings, read_skipped

__all__ = ["Overview", "overview"]


@dataclass(frozen=True)
class Overview:
    """What is in a prepared folder."""

    images: pd.DataFrame              # of each fold and expression, with sums; without neutral references, which are never tested
    subjects: pd.DataFrame | None     # None: people unknown
    references: int                   # neutral references
    skipped: dict[str, int]           # reason -> frames
    settings: dict                    # settings.json

    def to_json(self) -> dict:
        tables = {name: table if table is None else json.loads(table.to_json(orient="index"))
                  for name, table in (("images", self.images), ("subjects", self.subjects))}
        return {**tables, "skipped": self.skipped, "settings": self.settings}

    def __rich_console__(self, console, options):
        from rich.text import Text

        part = "fold" if self.subjects is not None else "part"
        yield _table(f"Images per {part} and expression", self.images, part, options.max_width)
        if self.subjects is not None:
            yield _table("Subjects per fold and expression", self.subjects, part, options.max_width)
        else:
            yield Text(f"\n{UNKNOWN}: the parts are those of the database's own split")
        left = "".join(f", {reason} {count}" for reason, count in self.skipped.items())
        references = f" ({self.references} as neutral references)" if self.references else ""
        absent = absent_text(self.settings.get("absent", {}))
        yield Text(f"\nfound {self.settings['found']} frames: kept {self.settings['kept']}{references}{left}{absent}")


def overview(out: Path) -> Overview:
    """Return what is in the prepared folder `out`. Raises ManifestError if it is not whole."""
    frame, settings, skipped = read_manifest(out), read_settings(out), read_skipped(out)
    peaks = frame[frame["role"] == "peak"]
    reasons = {str(reason): int(count) for reason, count in skipped.groupby("reason")["frames"].sum().items() if count}
    subjects = subject_table(peaks) if are_known(peaks["subject"]) else None
    return Overview(image_table(peaks), subjects, len(frame) - len(peaks), reasons, settings)


def _table(title: str, counts: pd.DataFrame, part: str, width: int):
    """Return counts whose headings are not cut at 80 characters, even with all eight classes."""
    from rich.table import Table

    columns = [part, *map(str, counts.columns)]
    gap = 2 if sum(len(name) + 2 for name in columns) <= width else 1
    table = Table(*columns, title=f"\n{title}", title_justify="left", box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for fold, *row in counts.itertuples():
        table.add_row(str(fold), *map(str, row), style="bold" if fold == "all" else None)
    return table
