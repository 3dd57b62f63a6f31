"""Read the faces of a prepared folder one by one, as PNG with their metadata, for exports.

In:  a prepared folder; which picture of each face: all of it, or one of its 110 views.
Out: Samples, fold by fold in the order of the manifest. Neutral references are left out: other libraries would train on them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_data.errors import ShardError
from fer_data.faces.align import CANVAS
from fer_data.faces.views import VIEW_SIZE, render_view
from fer_data.files import sha256_of_bytes
from fer_data.labels import classes_of
from fer_data.people import refuse_unknown
from fer_data.share.terms import Terms, terms_of
from fer_data.store.manifest import COLUMNS, manifest_sha256, read_manifest, read_settings
from fer_data.store.shards import map_dataset

__all__ = ["KEPT", "Sample", "Samples"]

# Columns of the manifest that mean something without its shards, and the type of each.
KEPT = {name: COLUMNS[name][0] for name in (
    "image_id", "dataset", "subject", "sequence", "frame", "expression", "fold", "face_sha256", "residual_px", "invented", "jump",
)}

_LONGEST_KEY = 95                     # characters: a name in a plain POSIX tar file has 100, the longest ending .json


@dataclass(frozen=True)
class Sample:
    """One face."""

    key: str                          # file name without its ending: letters, digits, - and _; unique in any case of letters
    values: dict                      # KEPT
    png: bytes


class Samples:
    """The faces of a prepared folder that are trained and tested on, each as a PNG."""

    def __init__(self, out: Path, view: int | None = None):
        """`view`: None, the whole aligned face, or which of the 110 views.

        Raises ManifestError if the folder is not whole.
        """
        frame = read_manifest(out)
        refuse_unknown(
            f"exporting {out}", frame["subject"],
            "an export has folds by person; manifest.parquet names the part and the shard of each face, and pandas and h5py open both",
        )
        peaks = frame[frame["role"] == "peak"]
        self.out, self.view, self.settings, self.manifest_sha256 = Path(out), view, read_settings(out), manifest_sha256(out)
        self.terms: Terms = terms_of(self.settings)
        self.classes = classes_of(peaks["expression"])
        self.n_references = len(frame) - len(peaks)
        self.rows = peaks.assign(key=_keys(peaks)).reset_index(drop=True)
        self.colour = self.settings["config"]["colour"] == "rgb"
        self._open: tuple[str, np.ndarray] | None = None                 # the last shard: a fold's rows go through them in order
        self._progress, self._done = None, 0

    def watched(self, progress: Callable[[int, int], None]) -> "Samples":
        """Return the same samples, which tell `progress` how many of all folds' have been handed out."""
        other = copy(self)
        other._progress = progress
        return other

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def folds(self) -> tuple[int, ...]:
        """All folds, those without a face too."""
        return tuple(range(max(self.settings["config"]["folds"], 1 + int(self.rows["fold"].max()))))

    @property
    def size(self) -> int:
        """Side of a picture, px."""
        return CANVAS if self.view is None else VIEW_SIZE

    def of_fold(self, fold: int) -> Iterator[Sample]:
        """Yield the samples of a fold. Raises ShardError where the pixels are not the ones that the manifest names."""
        for sample in self._samples(self.rows[self.rows["fold"] == fold]):
            yield sample
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, len(self))

    def some(self, number: int) -> Iterator[Sample]:
        """Yield so many samples, spread evenly."""
        places = np.unique(np.linspace(0, len(self) - 1, num=min(number, len(self))).astype(int))
        yield from self._samples(self.rows.iloc[places])

    def _samples(self, rows) -> Iterator[Sample]:
        for row in rows.itertuples():
            yield Sample(row.key, {name: getattr(row, name) for name in KEPT}, self._png(row))

    def _png(self, row) -> bytes:
        if self._open is None or self._open[0] != row.shard:
            self._open = row.shard, map_dataset(self.out / "shards" / row.shard, "faces")
        faces = self._open[1]
        face = np.ascontiguousarray(faces[row.row]) if row.row < len(faces) else np.empty(0, np.uint8)
        if sha256_of_bytes(face.tobytes()) != row.face_sha256:
            which = f"{row.image_id} in {row.shard}"
            raise ShardError(f"reading faces: {which} is not the one that the manifest names; `fer-data verify` says more")
        pixels = face if self.view is None else render_view(face, self.view)
        whole, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if self.colour else pixels)
        assert whole
        return data.tobytes()


def _keys(rows) -> list[str]:
    """Return a name for each face that every file system and archive can hold: subject, sequence, frame.

    Where two would be called the same once other characters are replaced, or on a disk that does not tell A from a, all that
    are end with the beginning of a hash of their image_id; so does one that is cut because it is too long.
    """
    plain = ["_".join(re.sub(r"[^A-Za-z0-9-]", "_", part) for part in name.split("/")[1:]) for name in rows["image_id"]]
    count = Counter(key.casefold() for key in plain)
    keys = []
    for key, name in zip(plain, rows["image_id"], strict=True):
        if count[key.casefold()] > 1 or len(key) > _LONGEST_KEY:
            ending = f"-{sha256_of_bytes(name.encode())[:8]}"
            key = key[: _LONGEST_KEY - len(ending)] + ending
        keys.append(key)
    return keys
