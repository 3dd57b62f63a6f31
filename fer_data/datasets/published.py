"""What has been published about each database: counts to compare a tree with, the frame rule, citation and licence.

In:  the name of a database as `fer-data prepare` takes it.
Out: Facts, read from data_manifests/*.json. Each number there names its source.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fer_data.errors import DatasetError

__all__ = ["FILES", "Facts", "load_facts"]

# database -> its file in data_manifests
FILES = {"ck+": "ck_plus.json", "ck48": "ck48.json", "mmi": "mmi.json", "oulu": "oulu_casia.json", "bu4dfe": "bu4dfe.json"}


@dataclass(frozen=True)
class Facts:
    """Published facts; the counts are those of the part that the paper uses."""

    dataset: str                      # as `fer-data prepare` calls it
    name: str                         # as people call it
    subjects: int
    sequences: int                    # labelled
    images: int                       # that the frame rule takes
    frames_per_sequence: int | None   # None: all of them, or differing
    expressions: Mapping[str, int]    # expression -> labelled sequences
    frame_rule: str                   # protocol.peaks.DEFAULT_RULE
    frame_rule_text: str              # the same in the words of its source
    whole: Mapping[str, int]          # counts of the whole database, labelled or not
    published: int                    # year of the publication that is cited
    citation: tuple[str, ...]
    licence: str
    access: str
    sources: Mapping[str, str]        # field -> where its numbers are from
    notes: tuple[str, ...]


@cache
def load_facts(dataset: str) -> Facts:
    """Return the published facts of a database.

    Raises DatasetError if nothing is published about it here, as of a folder.

    >>> load_facts("ck+").sequences
    327
    """
    if dataset not in FILES:
        raise DatasetError(f"looking up published facts: allowed are {', '.join(FILES)}; got {dataset!r}")
    content = json.loads((files("data_manifests") / FILES[dataset]).read_text(encoding="utf-8"))
    lists = {key: tuple(content[key]) for key in ("citation", "notes")}
    return Facts(**{**content, **lists})
