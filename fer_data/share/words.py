"""Parts of the texts that go with a set of faces: a card of the prepared folder, the read-me of an export. Values in, Markdown out."""

import pandas as pd

from fer_data.protocol.balance import image_table, subject_table
from fer_data.report.content import shared_subjects, with_all_folds
from fer_data.share.terms import Terms
from fer_data.store.manifest import MATRIX
from fer_data.text import escape, table

__all__ = ["balance", "columns", "limits", "rights", "use_of", "warning"]


def warning(terms: Terms) -> list[str]:
    """Return what comes before anything else."""
    text = escape(terms.warning)
    return [f"> {text}" if terms.public else f"> **{text}**"]


def balance(frame: pd.DataFrame, folds: int) -> list[str]:
    """Return how faces and people spread over folds and expressions; `frame` without neutral references."""
    parts = []
    for name, counts in (("Faces", image_table(frame)), ("People", subject_table(frame))):
        counts = with_all_folds(counts, folds)
        rows = [["all" if fold == "all" else f"fold {fold}", *(f"{n:,}" for n in numbers)] for fold, *numbers in counts.itertuples()]
        parts += ["", *table([name, *map(str, counts.columns)], rows)]
    apart = shared_subjects(frame)
    text = f"{apart.markdown()} Test on one fold, train on the others, each fold in turn."
    return ["## Folds", "", text, *parts]


def columns(meanings: dict[str, tuple[str, str]]) -> list[str]:
    """Return a table of columns: name -> (type, meaning), words of ours. Elements of the matrix are one row."""
    matrix = {MATRIX[0]: f"{MATRIX[0]}` to `{MATRIX[-1].removeprefix('matrix_')}", **dict.fromkeys(MATRIX[1:])}
    meanings = {name: meaning for old, meaning in meanings.items() if (name := matrix.get(old, old)) is not None}
    rows = [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in meanings.items()]
    return ["| column | type | meaning |", "|---|---|---|", *rows]


def use_of(terms: Terms) -> str:
    """Return what the faces are meant for."""
    return "Trying programs out." if terms.drawn else "Research on the recognition of posed facial expressions from single pictures."


def limits(terms: Terms) -> list[str]:
    """Return what the faces do not show."""
    return ["## Limits", "", *(f"* **{escape(title)}.** {escape(text)}" for title, text in terms.limits)]


def rights(terms: Terms) -> list[str]:
    """Return licence and citations."""
    cited = [f"* {escape(text)}" for text in terms.citations]
    return ["## Licence and citation", "", escape(terms.licence), "", *cited]
