"""Write one HTML page that shows what a prepared folder holds and what is wrong with it.

In:  a prepared folder (manifest, skipped.csv, settings.json, shards).
Out: one self-contained file, written atomically; the same folder gives the same bytes.

Face pictures are personal data: `faces=False` leaves out every picture and every drawn point.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_data import __version__
from fer_data.files import write_bytes_atomically
from fer_data.labels import classes_of
from fer_data.people import are_known
from fer_data.protocol.balance import image_table, parts_of, subject_table
from fer_data.records import NOT_SELECTED, UNUSABLE
from fer_data.report import content, pictures
from fer_data.report.figures import heat_table, histogram
from fer_data.report.measures import REASONS, Limits, examine, limits_of
from fer_data.report.template import render_page
from fer_data.store.manifest import read_manifest, read_settings, read_skipped
from fer_data.store.own_files import refuse_own_file

__all__ = ["MOST_BYTES", "MOST_FACES", "ReportSummary", "write_report"]

MOST_FACES = 1500                     # embedded in the contact sheets: the page stays quick
MOST_BYTES = 8_000_000                # of embedded faces and points, so that the page stays under about 10 MB
_FIRST = 24                           # faces under "look at these first", one a sequence: its frames look alike
_FIRST_UNFLAGGED = 8                  # ... if so few or none are flagged


@dataclass(frozen=True)
class ReportSummary:
    """What was written."""

    path: Path
    size: int                         # bytes
    faces: int                        # in the manifest
    shown: int                        # in the contact sheets
    flagged: int
    pictures: bool                    # whether pictures of faces are in it

    def __rich__(self):
        from rich.text import Text

        faces = f"{self.shown:,} of {self.faces:,} faces, which are personal data" if self.pictures else "no picture of a face"
        flagged = f"flagged {self.flagged}: look at them first" if self.flagged else "flagged 0"
        return Text(f"{self.path}: {self.size / 1e6:.1f} MB with {faces}\n{flagged}")


def write_report(out: Path, to: Path | None = None, faces: bool = True) -> ReportSummary:
    """Write the report of a prepared folder to `to` (default: report.html in the folder) and return what it holds.

    Raises ManifestError or ShardError if the folder is not whole, StorageError if the page cannot be written, or if `to` is another
    file of a prepared folder or of a run.
    """
    out = Path(out)
    to = Path(to) if to is not None else out / "report.html"
    refuse_own_file("writing a report", to, but=out / "report.html")
    frame, settings, skipped = read_manifest(out), read_settings(out), read_skipped(out)
    people = are_known(frame["subject"])
    if not people:
        frame = frame.assign(fold=parts_of(frame).astype(object))        # the page shows parts where others have folds
    means = pictures.mean_faces(out, frame)
    likeness = pictures.likeness_to_mean(out, frame)
    limits = limits_of(frame, likeness)
    frame = frame.join(examine(frame, likeness, limits))
    flagged = frame["reasons"].str.len() > 0
    worst = frame.sort_values("rank").drop_duplicates(["subject", "sequence"])
    n_flagged, n_sequences = int(flagged.sum()), int(flagged[worst.index].sum())
    first = worst.head(min(_FIRST, max(n_sequences, _FIRST_UNFLAGGED)))
    shown, drawn = _draw(out, frame, first) if faces else (frame.iloc[:0], {})
    unusable = content.left_out(skipped, UNUSABLE, content.MOST_UNUSABLE)
    not_selected = content.left_out(skipped, NOT_SELECTED, content.MOST_NOT_SELECTED)
    folds, facts = settings["config"]["folds"], content.facts_of(settings["dataset"])
    judged = frame[frame["role"] == "peak"]  # trained and tested on; neutral references are only shown
    values = {
        "faces": faces, "name": facts.name if facts else settings["dataset"],
        "classes": list(classes_of(frame["expression"])), "folds": list(means.by_fold), "people": people,
        "part": "fold" if people else "part",
        "tiles": _tiles(judged, folds, n_flagged, unusable.n_frames), "n_references": len(frame) - len(judged),
        "aligned": settings["backend"]["name"] != "none", "limits": limits,
        "findings": content.findings(frame, judged, settings, facts, n_flagged, unusable),
        "balance": [
            ("Faces", "faces", heat_table(content.with_all_folds(image_table(judged), folds))),
            *([("People", "people", heat_table(content.with_all_folds(subject_table(judged), folds)))] if people else []),
        ],
        "means": _mean_cards(frame, means) if faces else [], "template_path": pictures.template_path(),
        "histograms": _histograms(frame, limits), "n_flagged": n_flagged, "n_flagged_sequences": n_sequences,
        "first": [_card(row, drawn.get(row.Index), limits) for row in first.itertuples()],
        "sheets": _sheets(shown, frame, drawn, limits), "n_shown": len(shown), "n_faces": len(frame),
        "unusable": unusable, "not_selected": not_selected,
        "provenance": content.provenance(settings, frame), "shards": sorted(settings["shards"].items()),
        "cite": content.citations(content.every_facts_of(settings["dataset"]), settings),
        "licence": content.licences(settings["dataset"]), "version": __version__,
    }
    page = render_page("data.html", values, scripts=("page.js",) if faces else ())
    write_bytes_atomically(to, page)
    return ReportSummary(to, len(page), len(frame), len(shown), n_flagged, faces)


def _draw(out: Path, frame: pd.DataFrame, first: pd.DataFrame) -> tuple[pd.DataFrame, dict[object, pictures.Drawn]]:
    """Return the rows of the contact sheets, as many as the page can carry, and pictures of these and of `first`."""
    limit = MOST_FACES
    while True:
        shown = frame.loc[pictures.choose(frame, frame["rank"], limit)]
        drawn = pictures.draw_faces(out, frame.loc[shown.index.union(first.index)])
        size = sum(len(one.uri) + len(one.points) + len(one.rigid) for one in drawn.values())
        if size <= MOST_BYTES:
            return shown, drawn
        limit = int(0.95 * min(limit, len(shown)) * MOST_BYTES / size)


def _tiles(frame: pd.DataFrame, folds: int, n_flagged: int, n_unusable: int) -> list[tuple[str, int, str]]:
    """Return (name, number, class) of the numbers at the top; where people are unknown, no number of them."""
    sequences = len(frame.loc[frame["role"] == "peak", ["subject", "sequence", "expression"]].drop_duplicates())
    people = [("people", frame["subject"].nunique(), "")] if are_known(frame["subject"]) else []
    return [
        ("faces", len(frame), ""), *people, ("sequences", sequences, ""),
        ("expressions", frame["expression"].nunique(), ""), ("folds", folds, "") if people else ("parts", frame["fold"].nunique(), ""),
        ("flagged", n_flagged, "look" if n_flagged else "ok"), ("unusable", n_unusable, "look" if n_unusable else "ok"),
    ]


def _mean_cards(frame: pd.DataFrame, means: pictures.Means) -> list[dict]:
    """Return the rows of mean faces: everyone and each expression, then each fold."""

    def card(name: str, mean, rows: pd.DataFrame) -> dict:
        return {
            "name": name, "uri": pictures.picture_uri(mean, quality=92), "faces": len(rows),
            "residual": f"{rows['residual_px'].median():.2f}", "likeness": f"{rows['likeness'].median():.2f}",
        }

    expressions = [card(name, means.by_expression[name], frame[frame["expression"] == name]) for name in classes_of(means.by_expression)]
    part = "fold" if are_known(frame["subject"]) else "part"
    folds = [card(f"{part} {fold}", mean, frame[frame["fold"] == fold]) for fold, mean in means.by_fold.items()]
    return [
        {"name": "Each expression", "cards": [card("everyone", means.all, frame), *expressions]},
        {"name": f"Each {part}", "cards": folds},
    ]


def _histograms(frame: pd.DataFrame, limits: Limits) -> list[dict]:
    """Return the distributions of what the flags are made of."""
    far = max(1.25 * limits.residual_px, float(frame["residual_px"].quantile(0.999)))
    most, least = max(2 * limits.invented, float(frame["invented"].max())), min(-0.2, float(frame["likeness"].min()))
    parts = [
        ("Residual", "residual_px", limits.residual_px, "above", 0.0, far, "px"),
        ("Likeness to the mean face", "likeness", limits.likeness, "below", least, 1.0, ""),
        ("Invented pixels", "invented", limits.invented, "above", 0.0, most, "%"),
    ]
    result = []
    for name, column, limit, worse, low, high, unit in parts:
        scale = 100 if unit == "%" else 1
        values = frame[column].to_numpy() * scale
        result.append(
            {
                "name": name, "unit": unit, "limit": f"{limit * scale:.3g}", "worse": worse, "median": f"{pd.Series(values).median():.2f}",
                "figure": histogram(values, limit * scale, worse, low * scale, high * scale),
                "beyond": int((values > limit * scale).sum() if worse == "above" else (values < limit * scale).sum()),
            }
        )
    return result


def _sheets(shown: pd.DataFrame, frame: pd.DataFrame, drawn: dict, limits: Limits) -> list[dict]:
    """Return one contact sheet for each expression: name, faces shown, faces in all."""
    return [
        {
            "name": name,
            "cards": [_card(row, drawn[row.Index], limits) for row in shown[shown["expression"] == name].itertuples()],
            "faces": int((frame["expression"] == name).sum()),
        }
        for name in classes_of(shown["expression"])
    ]


def _card(row, drawn: pictures.Drawn | None, limits: Limits) -> dict:
    """Return what the page says of one face."""
    return {
        "image_id": row.image_id, "subject": row.subject, "sequence": row.sequence,
        "who": f"{row.subject}/{row.sequence}".lstrip("/"), "frame": row.frame, "fold": row.fold,
        "expression": row.expression, "role": row.role, "source": row.source, "framing": row.framing, "faces_found": row.faces_found,
        "residual": f"{row.residual_px:.2f}", "invented": f"{100 * row.invented:.1f}", "motion": f"{row.motion:.3f}",
        "likeness": f"{row.likeness:.2f}", "reasons": row.reasons, "why": "; ".join(REASONS[reason] for reason in row.reasons),
        "drawn": drawn,
    }
