"""Count images and people per fold and expression.

In:  a manifest. Out: tables (pandas), folds down, expressions across, with sums. Where people are unknown, the parts of the database's own
     split stand for folds.
"""

import pandas as pd

from fer_data.labels import classes_of
from fer_data.records import SPLITS

__all__ = ["NO_PART", "image_table", "parts_of", "subject_table"]

NO_PART = "no part"                   # of the split, where the database names none


def parts_of(frame: pd.DataFrame) -> pd.Series:
    """Return the fold of each row of a manifest; where people are unknown, its part of the split, ordered as SPLITS."""
    if "split" not in frame:
        return frame["fold"]
    names = frame["split"].replace("", NO_PART)
    there = set(names)
    return names.astype(pd.CategoricalDtype([name for name in (*SPLITS, NO_PART) if name in there], ordered=True)).rename("part")


def image_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return images per fold (rows) and expression (columns), with a column and a row `all`."""
    counts = pd.crosstab(parts_of(frame), frame["expression"])
    counts.index = counts.index.tolist()                                 # names, no categories: sums are added below
    return _with_sums(counts.rename_axis("fold"), frame)


def subject_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return subjects per fold and expression; a subject counts once in each expression, and once in `all`."""
    table = frame.pivot_table(index="fold", columns="expression", values="subject", aggfunc="nunique", fill_value=0)
    table = table[list(classes_of(frame["expression"]))]
    table["all"] = frame.groupby("fold")["subject"].nunique()
    per_expression = frame.groupby("expression")["subject"].nunique()
    table.loc["all"] = [*per_expression[table.columns[:-1]], frame["subject"].nunique()]
    return table.astype(int)


def _with_sums(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    table = table[list(classes_of(frame["expression"]))]
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table.astype(int)
