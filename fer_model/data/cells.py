"""Designs in which people are tested on expressions that they do not show in training: who shows what, to which side it goes.

In:  rows of a manifest; a design; the number of a draw, and a seed.
Out: rows to train on, rows to test on. Both sides show the same people, by design: a picture is on one side alone, and so is a sequence,
     which here is called a take.

A cell is a person and an expression. The test rows have two more columns:
    part    unseen   cells of training people that training does not have
            new      people whom training does not have
            shown    cells that training has, other takes
    shows   the expressions that the person shows in training, joined with '+'; "" for a new person

Designs:
    confounded   40 people (or two thirds) are drawn; each shows two of all K expressions, half of the usual number of takes of each; the
                 takes that are left are tested, of all expressions. Of a take its last picture counts. People who lack an expression
                 are left out
    control      the same people, the same number of pictures, spread over all K expressions. The test rows are those of `confounded`,
                 their columns too. It must show every cell that is tested, so half of the takes of two expressions are as many as K or more
    missing      of each training person who shows three or more expressions one is left out, with all its takes; new people are a
                 fold of the manifest; there are no rows of part `shown`
"""

import statistics
from collections.abc import Iterable, Sequence

import pandas as pd
import torch

from fer_data.labels import classes_of
from fer_model.config import CELL_RULES
from fer_model.engine.randomness import stream
from fer_model.errors import FoldError

__all__ = ["NEW", "PARTS", "SHOWN", "UNSEEN", "connected", "deal", "shown_by"]

PARTS = UNSEEN, NEW, SHOWN = "unseen", "new", "shown"
PEOPLE = 40                           # at most, who are trained on
_LEAST_EXPRESSIONS = 4                # confounded: with fewer, the two of a person could be the same
_LEAST_SHOWN = 3                      # missing: by a person of whom one is left out


def deal(rows: pd.DataFrame, people: pd.Series, rule: str, number: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to train on and those to test on, in the order of the manifest; the latter with the columns part and shows.

    people   who is in each row, dataset/subject
    rule     confounded, control or missing
    number   of the draw; with `seed` it decides who is drawn, what is left out, and which takes are trained on
    Raises FoldError if the folder does not have what the design needs.
    """
    assert rule in CELL_RULES, rule
    rows = rows.assign(person=people, take=people + "/" + rows["sequence"])
    _refuse_mixed(rows)
    part, shows = _missing(rows, number, seed) if rule == "missing" else _two_each(rows, rule, number, seed)
    side = rows["image_id"].map(part).fillna("")                       # "": on neither side
    train, test = rows[side == "train"], rows.assign(part=side, shows=rows["person"].map(shows).fillna(""))[side.isin(PARTS)]
    assert not set(train["take"]) & set(test["take"]), "a take is on both sides"
    _refuse_islands(train, rows, f"draw {number} of --fold-seed {seed}, {rule}")
    return tuple(one.drop(columns=["person", "take"]).reset_index(drop=True) for one in (train, test))


def _refuse_mixed(rows: pd.DataFrame) -> None:
    shown = rows.groupby("take", sort=False)["expression"].nunique()
    if (shown > 1).any():
        raise FoldError(
            f"taking cells out of a folder: a sequence must show one expression, {shown.idxmax()} shows {shown.max()}; prepare without"
            " --neutral class, and where a pattern names sequences, each take must have a name of its own"
        )


def _refuse_islands(train: pd.DataFrame, rows: pd.DataFrame, which: str) -> None:
    """Raise FoldError if training falls into groups that share neither people nor expressions: nothing could tell who from what."""
    groups, before = (connected(zip(some["person"], some["expression"], strict=True)) for some in (train, rows))
    if groups != 1:
        what = f"people and expressions must be connected in training, they fall into {groups} groups"
        way = "take another --fold-seed" if before == 1 else f"of the whole folder they fall into {before}, so no --fold-seed connects them"
        raise FoldError(f"{which}: {what}; {way}")


def connected(cells: Iterable[tuple[str, str]]) -> int:
    """Return into how many groups cells (person, expression) fall that share neither people nor expressions.

    >>> connected([("S1", "fear"), ("S1", "anger"), ("S2", "anger"), ("S3", "sadness")])
    2
    """
    groups: list[set] = []
    for person, expression in set(cells):
        mine = {("who", person), ("what", expression)}
        touched = [group for group in groups if group & mine]
        groups = [group for group in groups if not group & mine] + [mine.union(*touched)]
    return len(groups)


# --- confounded, and its control


def _two_each(rows: pd.DataFrame, rule: str, number: int, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return image -> side, and person -> what she shows in training."""
    rows, classes = rows.drop_duplicates("take", keep="last"), classes_of(rows["expression"])
    cells = {cell: own.tolist() for cell, own in rows.groupby(["person", "expression"])["image_id"]}
    everyone = sorted(set(rows["person"]))
    usual = statistics.median_low(map(len, cells.values()))
    half = max(1, usual // 2)
    able = [who for who in everyone if all(len(cells.get((who, one), ())) > half for one in classes)]
    n_people = min(PEOPLE, 2 * len(able) // 3)
    if n_people < len(classes) or len(classes) < _LEAST_EXPRESSIONS:
        least = -(-3 * max(len(classes), _LEAST_EXPRESSIONS) // 2)
        raise FoldError(
            f"drawing people who show two expressions each: at least {least} people must show each of at least {_LEAST_EXPRESSIONS}"
            f" expressions in at least {half + 1} sequences; {len(able)} of {len(everyone)} people do, of {len(classes)} expressions;"
            " `fer-data synth table` draws such a folder, and --design missing leaves out one expression of each person instead"
        )
    if rule == "control" and 2 * half < len(classes):
        raise FoldError(
            f"drawing the control of people who show two expressions each: it spreads as many pictures of a person, here {2 * half},"
            f" over all {len(classes)} expressions, so {2 * -(-len(classes) // 2)} sequences of each person and expression are needed,"
            f" usually there are {usual}; `fer-data synth table` draws 8, and --design missing needs no control"
        )
    side, shows = {}, {}
    for place, who in enumerate(_shuffled(able, seed, "people", number)):
        counts = _taught(place, len(classes), half, rule) if place < n_people else [0] * len(classes)
        two = [classes[i] for i in shown_by(place, len(classes))] if place < n_people else []
        shows[who] = "+".join(two)
        for expression, count in zip(classes, counts, strict=True):
            takes = _shuffled(cells[who, expression], seed, f"takes of {who}, {expression}", number)
            tested = NEW if place >= n_people else SHOWN if expression in two else UNSEEN
            side |= dict.fromkeys(takes[:count], "train") | dict.fromkeys(takes[half:], tested)
    return side, shows


def shown_by(place: int, n_classes: int) -> tuple[int, int]:
    """Return the two expressions that training person `place` shows, as numbers below n_classes.

    >>> [shown_by(place, 7) for place in (0, 6, 7, 14, 21)]
    [(0, 1), (6, 0), (0, 2), (0, 3), (0, 1)]
    """
    return place % n_classes, (place + 1 + place // n_classes % 3) % n_classes


def _taught(place: int, n_classes: int, half: int, rule: str) -> list[int]:
    """Return how many takes of each expression training person `place` shows; 2 * half in all.

    >>> _taught(7, 7, 4, "confounded"), _taught(7, 7, 4, "control"), _taught(8, 7, 4, "control")
    ([4, 0, 4, 0, 0, 0, 0], [2, 1, 1, 1, 1, 1, 1], [1, 2, 1, 1, 1, 1, 1])
    """
    if rule == "confounded":
        return [half * (i in shown_by(place, n_classes)) for i in range(n_classes)]
    each, more = divmod(2 * half, n_classes)
    return [each + ((i - place) % n_classes < more) for i in range(n_classes)]


# --- missing


def _missing(rows: pd.DataFrame, number: int, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return image -> side, and person -> what she shows in training."""
    folds = sorted(set(rows["fold"]))
    new = rows["fold"] == folds[number % len(folds)]
    side, shows = dict.fromkeys(rows.loc[new, "image_id"], NEW), {}
    for who, own in rows[~new].groupby("person"):
        shown = classes_of(own["expression"])
        out = _shuffled(shown, seed, f"left out of {who}", number)[:1] if len(shown) >= _LEAST_SHOWN else []
        shows[who] = "+".join(one for one in shown if one not in out)
        side |= {image: UNSEEN if what in out else "train" for image, what in zip(own["image_id"], own["expression"], strict=True)}
    if UNSEEN not in side.values():
        raise FoldError(f"leaving out one expression of each person: nobody outside of fold {folds[number % len(folds)]} shows three")
    return side, shows


def _shuffled(items: Sequence[str], seed: int, name: str, number: int) -> list[str]:
    return [items[i] for i in torch.randperm(len(items), generator=stream(seed, name, number))]
