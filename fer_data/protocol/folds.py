"""Folds that no person crosses: a subject belongs to exactly one, whatever becomes of single pictures.

In:  the labelled subjects of a database. Out: subject -> fold, 0-based.

Folds are assigned before any face is looked for, so that a face that is not found moves nobody.
"""

from collections.abc import Iterable

from fer_data.errors import DatasetError
from fer_data.order import natural_key

__all__ = ["RULES", "step", "assign"]


def step(subjects: Iterable[str], folds: int) -> dict[str, int]:
    """Return fold i = sorted(subjects)[i::folds], in natural order: on CK+ the split that the literature uses.

    >>> step(["S10", "S9", "S11"], 2)
    {'S9': 0, 'S10': 1, 'S11': 0}
    """
    return {subject: rank % folds for rank, subject in enumerate(sorted(set(subjects), key=natural_key))}


RULES = {"step": step}


def assign(subjects: Iterable[str], rule: str, folds: int) -> dict[str, int]:
    """Return subject -> fold by a rule of RULES.

    Raises DatasetError for an unknown rule, fewer than two folds, or more folds than subjects.
    """
    subjects = set(subjects)
    if rule not in RULES:
        raise DatasetError(f"assigning folds: allowed rules are {', '.join(RULES)}; got {rule!r}")
    if not 2 <= folds <= len(subjects):
        raise DatasetError(f"assigning folds: allowed are 2 up to the number of labelled subjects ({len(subjects)}), got {folds}")
    return RULES[rule](subjects, folds)
