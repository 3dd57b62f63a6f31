"""Count images and people per fold and expression.

In:  a manifest. Out: tables (pandas), folds down, expressions across, with sums.
"""

import pandas as pd

from fer_data.labels import classes_of

__all__ = ["image_table", "subject_table"]


def image_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return images per fold (rows) and expression (columns), with a column and a row `all`."""
    return _with_sums(frame.pivot_table(index="fold", columns="expression", values="image_id", aggfunc="count", fill_value=0), frame)


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
