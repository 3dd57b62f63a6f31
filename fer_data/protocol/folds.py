"""Assign people to folds: a subject belongs to exactly one.

In:  the labelled subjects of a database, each with the expressions of its labelled sequences.
Out: subject -> fold, 0-based; or the subjects of an inner validation split.

Folds are assigned before any face is looked for, so that a face that is not found moves nobody. Nothing here depends on
the order in which subjects are given, nor on anything but labels and seed.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fer_data.errors import DatasetError, ManifestError
from fer_data.people import one_name
from fer_data.text import natural_key, unknown

__all__ = ["OFFICIAL", "RULES", "SEEDED", "assign", "step", "stratified", "shuffled", "inner_validation", "refuse_shared_subjects",
           "scikit_learn_seed"]

Labels = Mapping[str, Sequence[str]]   # subject -> the expression of each of its labelled sequences


def step(subjects: Iterable[str], folds: int) -> dict[str, int]:
    """Return fold i = sorted(subjects)[i::folds], in natural order: on CK+ the split that the literature uses.

    >>> step(["S10", "S9", "S11"], 2)
    {'S9': 0, 'S10': 1, 'S11': 0}
    """
    return {subject: rank % folds for rank, subject in enumerate(_in_order(subjects))}


def stratified(labels: Labels, folds: int, seed: int = 0) -> dict[str, int]:
    """Return folds in which each expression has nearly the same number of sequences: StratifiedGroupKFold, shuffled.

    scikit-learn before 1.8 did not stratify when it shuffled; setup.cfg asks for 1.8. Raises DatasetError if every
    expression has fewer sequences than there are folds, or if a fold would stay without anybody.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # about a second to import, needed only here

    subjects = _in_order(labels)
    groups = [rank for rank, subject in enumerate(subjects) for _ in labels[subject]]
    expressions = [expression for subject in subjects for expression in sorted(labels[subject])]
    most = max(Counter(expressions).values())
    if most < folds:
        raise DatasetError(f"stratifying folds: {folds} folds are too many; choose at most {most}, the sequences of the commonest class")
    fold_of = {}
    with warnings.catch_warnings():
        # Expressions with fewer sequences than folds are a fact of these databases; the audit names the folds without them.
        warnings.filterwarnings("ignore", message="The least populated class in y", category=UserWarning)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=scikit_learn_seed(seed))
        for fold, (_, test) in enumerate(splitter.split(expressions, expressions, groups)):
            fold_of.update({subjects[groups[index]]: fold for index in test})
    empty = sorted(set(range(folds)) - set(fold_of.values()))
    if empty:
        raise DatasetError(f"stratifying folds: with seed {seed} nobody falls into fold {empty[0]} of {folds}; take another")
    return {subject: fold_of[subject] for subject in subjects}


def shuffled(subjects: Iterable[str], folds: int, seed: int = 0) -> dict[str, int]:
    """Return step over the subjects in an order drawn from `seed`: fold sizes differ by at most one subject."""
    subjects = _in_order(subjects)
    place = np.random.default_rng(seed).permutation(len(subjects))
    return {subject: int(rank) % folds for subject, rank in zip(subjects, place, strict=True)}


# rule -> function of (labels, folds, seed)
RULES = {
    "step": lambda labels, folds, seed: step(labels, folds),
    "stratified": stratified,
    "shuffled": shuffled,
}
OFFICIAL = "official"                  # no rule for folds: where people are unknown, the database's own split is kept
SEEDED = ("stratified", "shuffled")    # rules that look at the seed


def assign(labels: Labels, rule: str, folds: int, seed: int = 0) -> dict[str, int]:
    """Return subject -> fold, in natural order of subjects, by a rule of RULES.

    Raises DatasetError for an unknown rule, fewer than two folds or subjects, more folds than subjects, a negative seed, or a
    subject without a labelled sequence.
    """
    if rule not in RULES:
        raise DatasetError(f"assigning folds: {unknown('rule', rule, RULES)}")
    if len(labels) < 2:
        there = f"there is one ({next(iter(labels))})" if labels else "there is none"
        raise DatasetError(f"assigning folds: two labelled subjects or more are needed, {there}")
    if not 2 <= folds <= len(labels):
        fix = f"; use --folds {len(labels)}" if folds > len(labels) else ""
        n = len(labels)
        choose = "2" if n == 2 else f"2 to {n}"
        raise DatasetError(f"assigning folds: {folds} folds cannot be made of {n} labelled subjects; choose {choose}{fix}")
    _check(labels, seed, "assigning folds")
    return RULES[rule](labels, folds, seed)


def inner_validation(labels: Labels, share: float, seed: int = 0) -> tuple[str, ...]:
    """Return the subjects, in natural order, to set aside for choosing a model, so that the test fold is read only once.

    `labels` are the training subjects of one fold; `share` in (0, 1) is the part of each expression's sequences that
    validation should get. Subjects are taken one by one, each time the one that brings all expressions nearest to their
    share (ties fall by `seed`), while that gets nearer; nobody is taken who is the last to show an expression in
    training. Raises DatasetError if nobody can be taken.
    """
    if not 0 < share < 1:
        raise DatasetError(f"splitting off validation: choose a share between 0 and 1, not {share}")
    _check(labels, seed, "splitting off validation")
    subjects = _in_order(labels)
    classes = sorted({expression for some in labels.values() for expression in some})
    counts = np.array([[list(labels[subject]).count(name) for name in classes] for subject in subjects], float).reshape(-1, len(classes))
    wanted = share * counts.sum(0)                                       # (K,) sequences
    order = np.random.default_rng(seed).permutation(len(subjects))
    taken: list[int] = []
    while True:
        have = counts[taken].sum(0)
        rest = counts.sum(0) - have
        free = [index for index in order if index not in taken and np.all(rest - counts[index] > 0)]
        if not free:
            break
        distance = [_distance(have + counts[index], wanted) for index in free]
        if taken and min(distance) >= _distance(have, wanted):
            break
        taken.append(free[int(np.argmin(distance))])
    if not taken:
        raise DatasetError(f"splitting off validation: each of the {len(subjects)} subjects is the only one to show some expression")
    return tuple(subjects[index] for index in sorted(taken))


def refuse_shared_subjects(frame) -> None:
    """Raise ManifestError if a subject is in two folds.

    `frame` is a manifest: a DataFrame with the columns subject and fold; where it has a column dataset, people of
    different data sets are different people. Who is one person, fer_data.people says: a manifest of an older version can have two
    spellings of one.
    """
    rows = frame.loc[frame["subject"] != "", [name for name in ("dataset", "subject", "fold") if name in frame]].drop_duplicates()
    datasets = rows["dataset"] if "dataset" in rows else [None] * len(rows)
    people = [one_name(dataset, subject) for dataset, subject in zip(datasets, rows["subject"], strict=True)]
    folds = rows["fold"].groupby(people).unique()
    shared = folds[folds.map(len) > 1]
    if len(shared):
        where = " and ".join(map(str, sorted(shared.iloc[0])))
        raise ManifestError(
            f"checking folds: a person may be in one fold only, {shared.index[0]} is in folds {where}"
            f" ({len(shared)} such people); a model tested on them would know them already"
        )


def _in_order(subjects: Iterable[str]) -> list[str]:
    return sorted(set(subjects), key=natural_key)


def _distance(have: np.ndarray, wanted: np.ndarray) -> float:
    """Return how far the counts are from what is wanted, every expression weighing the same."""
    return float((((have - wanted) / np.maximum(wanted, 1e-9)) ** 2).sum())


def _check(labels: Labels, seed: int, doing: str) -> None:
    if seed < 0:
        raise DatasetError(f"{doing}: a seed is 0 or above, got {seed}")
    for subject, expressions in labels.items():
        if not expressions or isinstance(expressions, str) or not all(isinstance(name, str) for name in expressions):
            raise DatasetError(f"{doing}: each subject needs a list of one or more expressions, got {expressions!r} for {subject}")


def scikit_learn_seed(seed: int) -> int | np.random.RandomState:
    """Return a seed, at least 0, as scikit-learn takes it: one of more than 32 bits as a generator that is begun with it."""
    return seed if seed < 2**32 else np.random.RandomState(np.random.MT19937(seed))
