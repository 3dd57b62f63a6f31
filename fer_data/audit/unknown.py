"""Audit a prepared folder whose people are unknown: its own split, and pictures that are, or look, the same on both sides of it.

In:  a folder that `prepare` wrote. Out: AuditReport, in which nobody is both trained on and tested, for nobody is known, and which is in
     doubt for that reason.

Faces are compared as they are stored, so that rows of a table and pictures that were cropped alike are compared too.
"""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pandas as pd

from fer_data.audit.leaks import AuditReport, audit, with_pixels
from fer_data.audit.near_duplicates import PictureHash, find_duplicates, hash_picture
from fer_data.audit.sides import HOLD_OUT
from fer_data.audit.split import Item, Split, SplitFold
from fer_data.errors import SplitError
from fer_data.people import UNKNOWN
from fer_data.pictures.decode import grey_of
from fer_data.records import SPLITS
from fer_data.store.shards import map_dataset

__all__ = ["audit_unknown"]

_DOUBT = f"{UNKNOWN}: the database does not say who is in its pictures, so the audit is of pictures, not of people"


def audit_unknown(out: Path, frame: pd.DataFrame, threshold: int, progress: Callable[[int, int], None]) -> AuditReport:
    """Return what is wrong with the split of a prepared folder; `frame` is its manifest.

    Raises SplitError if the database has no part to train on, or none to test; ShardError as map_dataset does.
    """
    names = {part: tuple(rows["image_id"]) for part, rows in frame.groupby("split")}
    train, validation, test = (names.get(part, ()) for part in SPLITS)
    notes = ["side: from the database's own split"]
    if not test:
        notes.append("nothing is called test: validation is taken for it, as that is what gets reported")
        validation, test = (), validation
    if not train or not test:
        raise SplitError(
            f"auditing {out}: {UNKNOWN}, and the database has no split of its own into parts to train on and to test"
        )
    items = {name: Item(name, "", None, expression) for name, expression in zip(frame["image_id"], frame["expression"], strict=True)}
    fold = SplitFold(HOLD_OUT, train, test, validation)
    split = Split(items, (fold,), "image", tuple(notes), (_DOUBT,), (_DOUBT,))
    digests = dict(zip(frame["image_id"], frame["face_sha256"], strict=True))
    pixels = find_duplicates(split, digests, _hashes(out, frame, progress), threshold, _between(frame), progress)
    return with_pixels(audit(split), pixels)


def _hashes(out: Path, frame: pd.DataFrame, progress: Callable[[int, int], None]) -> dict[str, PictureHash]:
    """Return image -> hash of its stored face; of a face of one tone nothing."""
    found = {}
    for name, rows in frame.groupby("shard"):
        faces = map_dataset(Path(out) / "shards" / name, "faces")
        for image, row in zip(rows["image_id"], rows["row"], strict=True):
            face = hash_picture(faces[row] if faces.ndim == 3 else grey_of(faces[row]))
            found |= {image: face} if face else {}
        progress(len(found), len(frame))
    return found


def _between(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return a sentence about faces that are exactly the same in two parts, validation among them; or none."""
    parts = frame.groupby("face_sha256")["split"].agg(lambda some: frozenset(some))
    pairs = Counter(pair for some in parts[parts.map(len) > 1] for pair in combinations([one for one in SPLITS if one in some], 2))
    if not pairs:
        return ()
    said = ", ".join(f"{one} and {other} {count:,}" for (one, other), count in pairs.items())
    return (f"different faces that are in two parts, pixel by pixel: {said}",)
