"""A prepared folder at a glance: faces and people in each fold and expression, and why frames were left out.

In:  a prepared folder (manifest, skipped.csv, settings.json).
Out: Overview, two tables for the console or JSON.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_data.protocol.balance import image_table, subject_table
from fer_data.store.manifest import read_manifest, read_settings, read_skipped

__all__ = ["Overview", "overview"]


@dataclass(frozen=True)
class Overview:
    """What is in a prepared folder."""

    images: pd.DataFrame              # of each fold and expression, with sums; without neutral references, which are never tested
    subjects: pd.DataFrame
    references: int                   # neutral references
    skipped: dict[str, int]           # reason -> frames
    settings: dict                    # settings.json

    def to_json(self) -> dict:
        tables = {name: json.loads(table.to_json(orient="index")) for name, table in (("images", self.images), ("subjects", self.subjects))}
        return {**tables, "skipped": self.skipped, "settings": self.settings}

    def __rich_console__(self, console, options):
        from rich.text import Text

        yield _table("Images per fold and expression", self.images, options.max_width)
        yield _table("Subjects per fold and expression", self.subjects, options.max_width)
        left = "".join(f", {reason} {count}" for reason, count in self.skipped.items())
        references = f" ({self.references} as neutral references)" if self.references else ""
        yield Text(f"\nfound {self.settings['found']} frames: kept {self.settings['kept']}{references}{left}")


def overview(out: Path) -> Overview:
    """Return what is in the prepared folder `out`. Raises ManifestError if it is not whole."""
    frame, settings, skipped = read_manifest(out), read_settings(out), read_skipped(out)
    peaks = frame[frame["role"] == "peak"]
    reasons = {str(reason): int(count) for reason, count in skipped.groupby("reason")["frames"].sum().items()}
    return Overview(image_table(peaks), subject_table(peaks), len(frame) - len(peaks), reasons, settings)


def _table(title: str, counts: pd.DataFrame, width: int):
    """Return counts whose headings are not cut at 80 characters, even with all eight classes."""
    from rich.table import Table

    columns = ["fold", *map(str, counts.columns)]
    gap = 2 if sum(len(name) + 2 for name in columns) <= width else 1
    table = Table(*columns, title=f"\n{title}", title_justify="left", box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for fold, *row in counts.itertuples():
        table.add_row(str(fold), *map(str, row), style="bold" if fold == "all" else None)
    return table
