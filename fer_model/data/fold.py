"""One fold of a prepared folder: who is trained on and who is tested, and their faces.

In:  OUT of `fer-data prepare`, the number of the test fold.
Out: Prepared, the folder read once; its Folds (rows, classes, identities), functions of manifest and seed alone; FoldReader, which
     opens the faces of each side, the test side only after training. In a training run nothing else opens faces, so no pixel of
     the test fold can reach a weight.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

import fer_data
from fer_data.datasets.folder import UNNAMED
from fer_data.datasets.published import FILES
from fer_data.labels import classes_of
from fer_data.people import one_name, refuse_unknown
from fer_data.protocol.folds import assign, inner_validation, refuse_shared_subjects
from fer_data.store.loader import Views, open_views
from fer_data.store.manifest import read_settings
from fer_data.text import either
from fer_model.config import CELL_RULES, OFFICIAL, TrainConfig
from fer_model.data import cells
from fer_model.data.official import sides_of
from fer_model.errors import FoldError, RunError

__all__ = ["Fold", "FoldReader", "Prepared", "in_common", "labels_of", "one_name_each", "people_in", "people_of", "read_prepared",
           "set_aside"]


@dataclass(frozen=True)
class Fold:
    """The sides of a fold. The test side is read once, after training."""

    number: int | None                # None: nobody is held out; 0 where the split is the database's own
    dataset: str                      # as the manifest names it; several are joined with '+'
    classes: tuple[str, ...]          # N_e expressions of the whole manifest; an index into it is a label
    identities: tuple[str, ...]       # N_i training people, sorted; an index into it is an identity label; (): people unknown
    train: pd.DataFrame               # rows of the manifest with role peak, in its order
    test: pd.DataFrame
    manifest_sha256: str
    n_folds: int                      # of which this is one; 0: of none
    validation: pd.DataFrame          # rows of training people who are set aside to choose a model by; usually none
    references: pd.DataFrame          # rows with role reference, of all people: neutral first frames

    def expression_labels(self, device: torch.device) -> Tensor:
        """Return y^e of the training faces, (n,) int64."""
        return labels_of(self.train["expression"], self.classes, device)

    def validation_labels(self, device: torch.device) -> Tensor:
        """Return y^e of the validation faces, (n,) int64."""
        return labels_of(self.validation["expression"], self.classes, device)

    def identity_labels(self, device: torch.device) -> Tensor:
        """Return y^id of the training faces, (n,) int64."""
        return labels_of(people_of(self.train), self.identities, device)

    def neutral(self) -> tuple[pd.DataFrame, Tensor]:
        """Return the neutral faces of the training people, and which of them each training face goes with, (n,) int64.

        It is the first frame of its own sequence, else the person's first one; -1: that person has none. No sequence that is tested,
        and nobody who is set aside, has a row here.
        """
        rows, tested = self.references, {*_sequences_of(self.test), *_sequences_of(self.validation)}
        rows = rows[people_of(rows).isin(self.identities) & ~_sequences_of(rows).isin(tested)].reset_index(drop=True)
        first: dict[str, int] = {}                                       # person, or sequence -> its first row
        for place, names in enumerate(zip(people_of(rows), _sequences_of(rows), strict=True)):
            for name in names:
                first.setdefault(name, place)
        found = [first.get(own, first.get(who, -1)) for who, own in zip(people_of(self.train), _sequences_of(self.train), strict=True)]
        return rows, torch.tensor(found, dtype=torch.int64)


def labels_of(names: pd.Series, known: tuple[str, ...], device: torch.device) -> Tensor:
    """Return the place of each name among those known, (n,) int64."""
    index = {name: i for i, name in enumerate(known)}
    return torch.tensor([index[name] for name in names], dtype=torch.int64, device=device)


def people_of(rows: pd.DataFrame) -> pd.Series:
    """Return who is in each row of a manifest, as dataset/subject: people of different data sets are different people."""
    return rows["dataset"] + "/" + rows["subject"]


def people_in(rows: pd.DataFrame) -> list[str]:
    """Return the people in rows of a manifest, as people_of gives them, sorted; none where people are unknown."""
    return sorted(set(people_of(rows[rows["subject"] != ""])))


def _sequences_of(rows: pd.DataFrame) -> pd.Series:
    return people_of(rows) + "/" + rows["sequence"]


def one_name_each(people: Iterable[str]) -> set[str]:
    """Return dataset/subject, as people_of gives it, with one name for each person, as fer_data.people says: CK+48 shows people of CK+.

    >>> one_name_each(["ck48/S005", "ck+/S005", "ck+/S005 "])
    {'ck+/S005'}
    """
    parts = (name.partition("/") for name in people)
    return {one_name(dataset, subject) for dataset, _, subject in parts}


def in_common(people: Iterable[str], others: Iterable[str]) -> set[str]:
    """Return who, as dataset/subject, is among both; one name for each person.

    Of a folder of pictures that was prepared before such folders had names (`folder/S1`) nobody knows which one it is: its people are
    taken for those of the same ids in any folder.

    >>> in_common(["folder/S1"], ["cmu/S1", "ck+/S1", "cmu/S2"])
    {'folder/S1'}
    """
    mine, theirs = one_name_each(people), one_name_each(others)
    unnamed = {name for name in mine | theirs if name.partition("/")[0] == UNNAMED}
    any_folder = [{name.partition("/")[2] for name in side if name.partition("/")[0] not in FILES} for side in (mine, theirs)]
    ids = any_folder[0] & any_folder[1] if unnamed else set()
    doubtful = {name for name in unnamed if name.partition("/")[2] in ids}
    return (mine & theirs) | doubtful


@dataclass(frozen=True)
class Prepared:
    """A prepared folder whose manifest has been read and checked, which takes seconds on a large one: folds are cut from here."""

    path: Path
    rows: pd.DataFrame                # of the manifest, role peak: a reference frame is neither trained nor tested on
    references: pd.DataFrame          # of the manifest, role reference
    settings: dict                    # settings.json: how the folder was made

    @property
    def manifest_sha256(self) -> str:
        """The identity of the prepared data, folds included."""
        return self.settings["manifest_sha256"]                          # read_manifest has compared it with the file

    @property
    def channels(self) -> int:
        """Channels of the faces: 1 grey, 3 RGB."""
        return 3 if self.settings["config"]["colour"] == "rgb" else 1

    def refuse_unknown(self, doing: str) -> None:
        """Raise PeopleError where people are unknown; `doing` needs to know them."""
        instead = "`fer-model train --split official --method cnn` takes its own split, `fer-model evaluate RUN --data` tests on all of it"
        refuse_unknown(f"{doing} {self.path}", self.rows["subject"], instead)

    def _rows(self, rule: str, seed: int) -> pd.DataFrame:
        """Return the rows, their fold being that of the rule."""
        self.refuse_unknown("cutting folds by person out of")
        if rule == "manifest":
            return self.rows
        people = people_of(self.rows)
        dealt = assign(dict.fromkeys(people, ("any",)), "shuffled", self.rows["fold"].nunique(), seed)       # person -> fold
        return self.rows.assign(fold=people.map(dealt).astype("int64"))

    def numbers(self, rule: str = "manifest") -> tuple[int, ...]:
        """Return the numbers of the folds, in order. `rule`: as in fold(). Raises FoldError for draws of cells, which have no end."""
        if rule == OFFICIAL:
            raise FoldError(f"fold rule {rule} has one split and no folds; `fer-model train --split official` trains on it")
        if rule in CELL_RULES:
            raise FoldError(f"fold rule {rule} has draws in place of folds; `fer-model shortcut` trains them")
        return tuple(sorted(set(self._rows(rule, 0)["fold"].tolist())))

    def fold(self, number: int, rule: str = "manifest", seed: int = 0) -> Fold:
        """Return one fold.

        Rule `manifest` takes the folds as they were prepared; `shuffled` deals the people out again, by `seed`, to as many folds,
        and leaves the folder alone: the folds of `fer-data prepare --fold-rule shuffled --seed`, if every labelled person has a
        face in the manifest. The CELL_RULES are no folds: `number` is that of a draw, training and test show the same people, and the test
        rows say which part they are (cells.py).

        Raises FoldError if the fold does not exist, or if there is nothing to tell apart (fewer than two people or two
        expressions to train on).
        """
        if rule in CELL_RULES:
            self.refuse_unknown("taking people's expressions out of")
            train, test = cells.deal(self.rows, people_of(self.rows), rule, number, seed)
            return self._cut(number, tuple(people_in(train)), train, test, 0)
        rows = self._rows(rule, seed)
        folds = sorted(set(rows["fold"].tolist()))
        if number not in folds:
            raise FoldError(f"there is no fold {number} in {self.path}; choose {either(folds)}")
        test = rows["fold"] == number
        train, tested = rows[~test].reset_index(drop=True), rows[test].reset_index(drop=True)
        identities = tuple(people_in(train))
        n_expressions = train["expression"].nunique()
        if len(identities) < 2 or n_expressions < 2:
            raise FoldError(
                f"training without fold {number} of {self.path}: at least 2 people and 2 expressions are needed outside of it, there are"
                f" {len(identities)} and {n_expressions}; prepare the data with fewer folds"
            )
        return self._cut(number, identities, train, tested, len(folds))

    def official(self, validate: bool, share: float, seed: int, tests: bool = True) -> Fold:
        """Return the database's own split as a fold; arguments and errors as sides_of."""
        sides = sides_of(self.rows, self.path, validate, share, seed, tests)
        return replace(self._cut(0, (), sides.train, sides.test, 0), validation=sides.validation)

    def everybody(self, config: TrainConfig) -> Fold:
        """Return all people as a training side, for pre-training; of a database whose people are unknown, all but what its split tests.

        Some are set aside if the run validates. Raises FoldError if there is nothing to tell apart, PeopleError if people are unknown and
        the run learns from who is who.
        """
        validates = config.selection == "validation"
        if not people_in(self.rows) and not config.needs_people:
            fold = self.official(validates, config.validation_share, config.seed, tests=False)
            return replace(fold, number=None, test=fold.test[:0])
        self.refuse_unknown("pre-training on")
        rows = self.rows.reset_index(drop=True)
        identities, n_expressions = tuple(people_in(rows)), rows["expression"].nunique()
        if len(identities) < 2 or n_expressions < 2:
            raise FoldError(
                f"pre-training on {self.path}: at least 2 people and 2 expressions are needed,"
                f" there are {len(identities)} and {n_expressions}"
            )
        fold = self._cut(None, identities, rows, rows[:0], 0)
        return set_aside(fold, config.validation_share, config.seed) if validates else fold

    def _cut(self, number: int | None, identities: tuple[str, ...], train: pd.DataFrame, test: pd.DataFrame, n_folds: int) -> Fold:
        dataset = "+".join(sorted(set(self.rows["dataset"])))
        return Fold(number, dataset, classes_of(self.rows["expression"]), identities, train, test, self.manifest_sha256, n_folds, train[:0],
                    self.references)

    def fold_of(self, config: TrainConfig) -> Fold:
        """Return the fold that a run's configuration names. Errors: as fold, official, everybody; and as set_aside if it validates.

        Raises PeopleError if the run learns from who is who, and people are unknown; FoldError if it draws neutral faces and there is none.
        """
        fold = self._fold_of(config)
        if "neutral" in config.stages and not len(fold.neutral()[0]):
            raise FoldError(
                f"training {config.method} on {self.path}: it learns to draw each training person's neutral face, and there is none;"
                " prepare a database whose sequences begin with one (CK+, Oulu-CASIA, MMI) with `fer-data prepare --neutral reference`"
            )
        return fold

    def _fold_of(self, config: TrainConfig) -> Fold:
        if config.fold is None:
            return self.everybody(config)
        if config.fold_rule == OFFICIAL:
            if config.needs_people:
                self.refuse_unknown(f"training {config.needs_people} on")
            return self.official(config.selection == "validation", config.validation_share, config.seed)
        fold = self.fold(config.fold, config.fold_rule, config.fold_seed)
        return set_aside(fold, config.validation_share, config.seed) if config.selection == "validation" else fold


def read_prepared(out: Path) -> Prepared:
    """Return what `fer-data prepare` wrote.

    Raises ManifestError as fer_data.read_manifest does, and if a person is in two folds.
    """
    rows = fer_data.read_manifest(out)
    refuse_shared_subjects(rows)
    return Prepared(out, rows[rows["role"] == "peak"], rows[rows["role"] == "reference"], read_settings(out))


def set_aside(fold: Fold, share: float, seed: int) -> Fold:
    """Return the fold with some of its training people moved to its validation side, by protocol.folds.inner_validation.

    They are in no stage trained on, stage 1 included: f(x) of a face that DE-GAN knows would flatter the head. Raises
    DatasetError if nobody can be moved, FoldError if fewer than two people stay.
    """
    people, labels = people_of(fold.train), {}
    shown = fold.train.assign(person=people).drop_duplicates(["person", "sequence", "expression"])
    for person, expression in zip(shown["person"], shown["expression"], strict=True):
        labels.setdefault(person, []).append(expression)
    aside = people.isin(inner_validation(labels, share, seed))
    kept, moved = fold.train[~aside].reset_index(drop=True), fold.train[aside].reset_index(drop=True)
    identities = tuple(people_in(kept))
    if len(identities) < 2:
        raise FoldError(
            f"setting people aside for validation in fold {fold.number}: at least 2 must stay in training, {len(identities)} would;"
            " choose a smaller validation_share, or --selection last"
        )
    return replace(fold, train=kept, validation=moved, identities=identities)


class FoldReader:
    """Opens each side of a fold when it may be opened."""

    def __init__(self, data: Path, fold: Fold, device: torch.device, complete: Callable[[], bool]):
        self.data, self.fold, self.device, self.complete = data, fold, device, complete

    def train(self) -> Views:
        """Return the training faces."""
        return open_views(self.data, self.fold.train, self.device)

    def neutral(self) -> Views | None:
        """Return the neutral faces of the training people, None if there is none."""
        rows, _ = self.fold.neutral()
        return open_views(self.data, rows, self.device) if len(rows) else None

    def validation(self) -> Views | None:
        """Return the faces of the training people who were set aside, None if nobody was."""
        return open_views(self.data, self.fold.validation, self.device) if len(self.fold.validation) else None

    def test(self) -> Views:
        """Return the test faces. Raises RunError while a stage is not complete."""
        if not self.complete():
            raise RunError(f"opening test fold {self.fold.number} of {self.data}: a stage is not complete; it is opened after the last one")
        return open_views(self.data, self.fold.test, self.device)
