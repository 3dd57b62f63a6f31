"""Turn rows into folds: what each fold trains on, validates on and tests, as the rows say or imply.

In:  rows of a split with the item that each names. Out: SplitFold records in natural order of their names.

Concluded is: where rows give test folds alone, each fold trains on all that it does not test; a side without a fold
counts for every fold; where nothing is called test, validation is what gets reported. Each conclusion is noted.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fer_data.audit.forms import Row
from fer_data.audit.places import UNTESTED
from fer_data.audit.split import SplitFold
from fer_data.errors import SplitError
from fer_data.text import counted, natural_key

__all__ = ["HOLD_OUT", "folds_of_rows"]

HOLD_OUT = "split"                     # the name of the only fold of a hold-out

Sides = dict[str | None, list[str]]    # side -> items


def folds_of_rows(rows: Sequence[Row], keys: Sequence[str], notes: list[str]) -> list[SplitFold]:
    """Return the folds; `keys` are the items of the rows. Adds to `notes` what was concluded.

    Raises SplitError if nothing tells on which side a row stands, or if a side is missing.
    """
    folds: dict[str | None, Sides] = defaultdict(lambda: defaultdict(list))
    for row, key in zip(rows, keys, strict=True):
        if row.side != UNTESTED:
            folds[row.fold][row.side].append(key)
    sides = {side for fold in folds.values() for side in fold}
    lost = next((row for row in rows if row.side is None and (row.fold is None or sides != {None})), None)
    if lost is not None:
        raise SplitError(
            f"reading a split: nothing says on which side {lost.where} is. Give a column split (train, val, test) or fold,"
            " files named like train.txt and test_3.txt, or folders named like train, test and fold_3"
        )
    untested = sum(row.side == UNTESTED for row in rows)
    if untested:
        notes.append(f"{counted(untested, 'row')} without a fold, or with -1: taken as trained on in every fold and never tested")
    if sides <= {None, "test"} and len(folds) > 1 and None not in folds:
        notes.append("training: each fold trains on all that it does not test")
        return _complement(folds, keys)
    return _explicit(dict(folds), notes)


def _complement(folds: Mapping[str | None, Sides], keys: Sequence[str]) -> list[SplitFold]:
    """Return folds that train on all that they do not test."""
    universe = tuple(dict.fromkeys(keys))
    found = []
    for name in sorted(folds, key=natural_key):
        test = tuple(key for some in folds[name].values() for key in some)
        tested = set(test)
        found.append(SplitFold(name, tuple(key for key in universe if key not in tested), test))
    return found


def _explicit(folds: dict[str | None, Sides], notes: list[str]) -> list[SplitFold]:
    """Return folds whose training side is given."""
    _refuse_one_sided(folds)
    if len(folds) == 2 and all(len(sides) == 1 for sides in folds.values()):
        folds = {None: {side: keys for sides in folds.values() for side, keys in sides.items()}}  # train_800 and test_181: sizes
    common = folds.pop(None, {})
    if common and folds:
        notes.append(f"the side {' and '.join(common)} has no fold: it counts for every fold")
    reported = "test" if any("test" in sides for sides in (common, *folds.values())) else "validation"
    if reported == "validation":
        notes.append("nothing is called test: validation is taken for it, as that is what gets reported")
    found = []
    for name in sorted(folds, key=natural_key) or [HOLD_OUT]:
        own = folds.get(name, {})
        train, test, validation = ((*own.get(side, ()), *common.get(side, ())) for side in ("train", reported, "validation"))
        for side, keys in (("train", train), (reported, test)):
            if not keys:
                raise SplitError(f"reading a split: fold {name} has no {side} side; a file such as {side}_{name}.txt is missing")
        found.append(SplitFold(name, train, test, validation if reported == "test" else ()))
    return found


def _refuse_one_sided(folds: Mapping[str | None, Sides]) -> None:
    """Raise SplitError if nothing is trained on, or nothing is tested."""
    sides = {side or "a single fold" for fold in folds.values() for side in fold}
    for needed in ({"train"}, {"test", "validation"}):
        if not sides & needed:
            got = ", ".join(sorted(sides)) or "nothing"
            raise SplitError(
                f"reading a split: two or more folds are needed, or a side train and a side test or val; there is only {got}."
                " Give all its files at once, e.g. `fer-data audit train.txt test.txt`"
            )
