"""The sides of a database's own split, where people are unknown: what is trained on, chosen by and tested on.

In:  rows of a manifest with the column split; whether a side to choose the weights by is wanted, how large, a seed.
Out: Sides, rows of the manifest in its order.

What is tested is the part test, or, in a database that has none, the part validation: that is what others report. The weights are never
chosen by it. They are chosen by the part validation where that is not tested; else by a share of the training pictures, drawn by a hash
of seed and name of the picture alone, so that neither the order of the files nor other pictures move one.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_model.errors import FoldError

__all__ = ["Sides", "sides_of"]


@dataclass(frozen=True)
class Sides:
    """Rows of the manifest."""

    train: pd.DataFrame
    validation: pd.DataFrame          # none: nothing is chosen by it
    test: pd.DataFrame


def sides_of(rows: pd.DataFrame, where: Path, validate: bool, share: float, seed: int, tests: bool = True) -> Sides:
    """Return the sides; without `validate`, the part validation is left out where it is not tested.

    share   of the training pictures, above 0 and below 1, to choose by, where the database has no part for it
    tests   False: for pre-training. There need be no part to test, and where no picture is in a part, all are trained on
    Raises FoldError if the database has no split, no part to train on or none to test, or if too few pictures are left.
    """
    if "split" not in rows:
        raise FoldError(f"{where} has folds by person and no official split; choose one of them with --fold")
    none = not len(rows) or (rows["split"] == "").all()
    parts = rows["split"].replace("", "train") if none and not tests else rows["split"]
    train, validation, test = (rows[parts == part] for part in ("train", "validation", "test"))
    if not len(test):
        validation, test = test, validation
    if not tests and not len(train):
        raise FoldError(f"{where}: there are no pictures to pre-train on; its {len(rows)} are in other parts than that to train on")
    if tests and not (len(train) and len(test)):
        other = "; `fer-model pretrain` trains on all of them, `fer-model evaluate RUN --data` tests a run on them" if none else ""
        raise FoldError(
            f"{where}: the official split must have a part to train on and one to test, it has {len(train)} and {len(test)} pictures{other}"
        )
    if validate and not len(validation):
        drawn = train["sequence"].map(lambda name: _drawn(name, share, seed))
        train, validation = train[~drawn], train[drawn]
        if not len(validation):
            raise FoldError(f"{where}: {share} of {len(train)} training pictures are none to choose the weights by; use --selection last")
    if train["expression"].nunique() < 2:
        raise FoldError(f"{where}: at least 2 expressions are needed to train on, there is {train['expression'].nunique()}")
    return Sides(*(side.reset_index(drop=True) for side in (train, validation if validate else validation[:0], test)))


def _drawn(sequence: str, share: float, seed: int) -> bool:
    """Say whether a picture is among those to choose by: its name is the last part of its sequence's."""
    digest = hashlib.sha256(f"{seed}/{sequence.rpartition('/')[2]}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
