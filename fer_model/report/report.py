"""From run folders to one page that can be believed: report.html, report.md and report.json, the same numbers in each.

In:  folders: runs, and folders of folds (runs/fold_runs.py).
Out: three files in a folder, written atomically; the same runs give the same bytes. The page needs nothing else and asks for
     nothing.

Synthesised faces are personal data: `faces=False` leaves them out.
"""

import base64
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_data import __version__
from fer_data.datasets.published import FILES, load_facts, parts_of
from fer_data.files import json_bytes, make_folder, parse_object, write_bytes_atomically
from fer_data.report.content import PAPER
from fer_data.report.figures import heat_level
from fer_data.report.template import render_page
from fer_data.store.own_files import refuse_own_file
from fer_data.text import counted, listed, named, percent
from fer_model.errors import RunError
from fer_model.evaluate.figures import REPLICATES, UNITS, Evaluation, no_interval
from fer_model.evaluate.paired import PairedComparison, compare_methods
from fer_model.evaluate.pooled import SeedFigures, SeedSpread, figures_of, seed_spread
from fer_model.report import paper
from fer_model.report.drawings import IntervalChart, Mark, curves, interval_chart
from fer_model.report.markdown import to_markdown
from fer_model.report.protocol import (
    PaperView,
    by_start,
    database_name,
    drawn_of,
    findings,
    human_of,
    paper_views,
    protocol,
    stages_of,
    started_from,
)
from fer_model.report.sentences import (
    sentence_of_difference,
    sentence_of_mean,
    sentence_of_recall,
    sentence_of_seeds,
    sentence_pooled,
)
from fer_model.runs.fold_runs import FoldRun, costs, way_on
from fer_model.runs.methods import Method, differing_settings, gather

if TYPE_CHECKING:
    from fer_model.probe.probes import ProbeRow

__all__ = ["ReportSummary", "citations_of", "figure_values", "incomplete_values", "spread_values", "write_report"]

HERE = Path(__file__).parent
SCHEMA_VERSION = 1                    # of report.json
MOST_BYTES = 8_000_000                # of embedded sheets of faces, so that the page stays under about 10 MB
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ReportSummary:
    """What was written."""

    pages: tuple[Path, ...]           # report.html, report.md, report.json
    size: int                         # bytes of the page
    methods: int
    runs: int                         # complete, and therefore in the figures
    incomplete: int
    sheets: int                       # of synthesised faces in the page

    def __rich__(self) -> str:
        """Return it as a sentence or two, for the console."""
        from rich.markup import escape

        faces = f"{counted(self.sheets, 'sheet')} of faces, which are personal data" if self.sheets else "no picture of a face"
        text = f"{self.pages[0]}: {self.size / 1e6:.1f} MB with {faces}; {', '.join(path.name for path in self.pages[1:])} next to it\n"
        left = f"; {self.incomplete} not complete, named on the page and in no figure" if self.incomplete else ""
        return escape(f"{text}{counted(self.runs, 'run')} of {counted(self.methods, 'method')}{left}")


def write_report(runs: Sequence[str | Path], out: str | Path, faces: bool = True) -> ReportSummary:
    """Write report.html, report.md and report.json into `out`, which is made if it is missing.

    Raises StorageError if one of them is a file of a prepared folder, RunError if a folder holds no run, if no run is complete, or
    if what a run left cannot be read.
    """
    out = Path(out)
    for name in ("report.html", "report.md", "report.json"):
        refuse_own_file("writing a report", out / name)
    methods = gather(runs)
    figures = [one for method in methods for seed in method.seeds if (one := figures_of(method, seed)) is not None]
    if not figures:
        if not methods:
            raise RunError("reporting on no run: name one at least")
        all_runs = [run for method in methods for run in method.runs]
        raise RunError(f"reporting on {all_runs[0].path}: no run is complete; {way_on(all_runs)}")
    comparisons, apart = compare_methods(methods)
    spreads = [found for method in methods if (found := seed_spread(method)) is not None]
    views = paper_views(figures)
    content = _content(methods, figures, comparisons, apart, spreads, views)
    sheets, left_out = _sheets(methods) if faces else ([], 0)
    values = {
        "faces": bool(sheets), "wanted_faces": faces, "report": content, "tiles": _tiles(figures), "sheets": sheets, "left_out": left_out,
        "accuracy_charts": _accuracy_charts(figures), "difference_charts": _difference_charts(comparisons),
        "confusions": [(one.name, _confusion(one.pooled)) for one in figures], "curves": _curves(methods),
        "other_tables": [_paper_view(PaperView(table, (), ())) for table in paper.TABLES.values() if not views], "replicates": REPLICATES,
        "all_seeds": sorted({seed for one in spreads for seed in one.seeds}), "protocol_rows": _protocol_rows(methods),
        "cite": citations_of(methods), "version": __version__, "by_start": by_start, "no_interval": no_interval,
    }
    page = render_page("report.html", values, styles=("page.css", "report.css"), folder=HERE)
    texts = {"report.html": page, "report.md": to_markdown(content).encode(), "report.json": json_bytes(content)}
    make_folder(out)
    for name, data in texts.items():
        write_bytes_atomically(out / name, data)
    incomplete = len(content["incomplete"])
    complete = sum(len(method.runs) for method in methods) - incomplete
    return ReportSummary(tuple(out / name for name in texts), len(page), len(methods), complete, incomplete, len(sheets))


# --- what report.json holds, and the page and the Markdown show


def _content(methods, figures, comparisons, apart, spreads, views) -> dict:
    databases = list(dict.fromkeys(database_name(method) for method in methods))
    return {
        "schema_version": SCHEMA_VERSION, "written_by": __version__, "title": f"What the models reach on {listed(databases)}",
        "databases": databases, "drawn": {method.label: drawn_of(method) for method in methods},
        "findings": [asdict(finding) for finding in findings(methods, figures)],
        "methods": [_method(method) for method in methods],
        "settings": [{"name": name, "values": values} for name, values in differing_settings([m.content for m in methods]).items()],
        "figures": [figure_values(one) for one in figures],
        "seeds": [spread_values(one) for one in spreads],
        "comparisons": [_comparison(one) for one in comparisons],
        "nothing_in_common": [[first.label, second.label] for first, second in apart],
        "incomplete": incomplete_values(methods),
        "probes": [table for method in methods for table in _probes(method)],
        "paper": [_paper_view(view) for view in views],
    }


def incomplete_values(methods: Sequence[Method]) -> list[dict]:
    """Return what report.json holds of the folds that are in no figure."""
    return [
        {"method": method.label, "seed": run.seed, "fold": run.fold, "run": str(run.path), "state": run.state}
        for method in methods for run in method.runs if not run.complete
    ]


def _method(method: Method) -> dict:
    return {
        "label": method.label, "method": method.config["method"], "preset": method.config.get("preset"),
        "dataset": method.content["dataset"], "manifest_sha256": method.content["manifest_sha256"], "seeds": list(method.seeds),
        "n_faces": method.n_faces, "stages": [asdict(stage) for stage in stages_of(method)], "protocol": protocol(method),
        "runs": [str(run.path) for run in method.runs],
    }


def figure_values(one: SeedFigures) -> dict:
    """Return what report.json holds of one method and seed: pooled, means of folds, each fold, sentences."""
    drawn, spent = drawn_of(one.method), costs([run.result for run in one.folds])
    pooled, means = ([make(one, unit, drawn) for unit in UNITS] for make in (sentence_pooled, sentence_of_mean))
    return {
        "name": one.name, "method": one.method.label, "seed": one.seed, "seen_before": started_from(one.method),
        "pooled": one.pooled.to_json(),
        "kimg": spent.kimg, "processor_minutes": spent.processor_minutes, "parameters": spent.parameters,
        "mean_of_folds": {name: asdict(found) for name, found in one.means.items()},
        "folds": [_fold(run, found) for run, found in zip(one.folds, one.by_fold, strict=True)],
        "sentences": [pooled[0], means[0], pooled[1], means[1], sentence_of_recall(one, drawn)],
    }


def _fold(run: FoldRun, found: Evaluation) -> dict:
    return {
        "fold": run.fold, "run": str(run.path),
        "n_images": found.n_images, "n_sequences": found.n_sequences, "n_subjects": found.n_subjects,
        "frame_accuracy": found.frame_accuracy.value, "sequence_accuracy": found.sequence_accuracy.value,
        "frame_macro_recall": found.frame_macro_recall, "sequence_macro_recall": found.sequence_macro_recall,
        "classes_absent": list(found.classes_absent), "minutes": costs([run.result]).minutes,
    }


def spread_values(one: SeedSpread) -> dict:
    """Return what report.json holds of several seeds of a method."""
    return {
        "method": one.method.label, "seeds": list(one.seeds), "folds": list(one.folds), "n_images": one.n_images,
        "figures": {name: asdict(found) for name, found in one.figures.items()},
        "values": {name: list(found) for name, found in one.values.items()},
        "sentences": [sentence_of_seeds(one, unit, drawn_of(one.method)) for unit in UNITS],
    }


def _comparison(one: PairedComparison) -> dict:
    paired = one.paired
    return {
        "first": one.first.label, "second": one.second.label, "unit": one.unit, "seeds": list(one.seeds),
        "seeds_of_second": list(one.seeds_of_second), "shared_seeds": one.shared_seeds, "n": paired.n, "n_subjects": paired.n_subjects,
        "first_accuracy": paired.first, "second_accuracy": paired.second,
        "difference": paired.difference, "low": paired.low, "high": paired.high, "share_above": paired.share_above,
        "only_first": paired.only_first, "only_second": paired.only_second, "replicates": REPLICATES,
        "sentence": sentence_of_difference(one, drawn_of(one.first) or drawn_of(one.second)),
    }


def _paper_view(view: PaperView) -> dict:
    table = view.table
    return {
        "number": table.number, "dataset": table.dataset, "name": table.name, "caption": table.caption, "subjects": table.subjects,
        "sequences": table.sequences, "images": table.images, "folds": table.folds, "frames": table.frames, "note": table.note,
        "measure": paper.MEASURE, "citation": PAPER, "rows": [asdict(row) for row in table.rows],
        "ours": [asdict(row) for row in view.rows], "caveats": list(view.caveats), "comparable": bool(view.rows) and not view.caveats,
    }


def _probes(method: Method) -> list[dict]:
    """Return what `fer-model probe` left in a method's runs: probes down, features across, means over the runs that were probed alike.

    A table for each seed of the probe and each folder of its baseline: figures of one setting are not averaged with those of another, nor
    is a column of some runs set next to one of all. Nothing was left: none.
    """
    groups: dict[tuple, list[tuple[FoldRun, tuple[ProbeRow, ...]]]] = {}
    for run in method.runs:
        if (found := _read_probe(run.path / "probe.json")) is not None:
            seed, baseline, rows = found
            same = (seed, baseline, tuple((row.features, row.probe, row.people) for row in rows))
            groups.setdefault(same, []).append((run, rows))
    tables = []
    for (seed, baseline, _), probed in groups.items():
        which = named("fold", sorted({run.fold for run, _ in probed}))
        how = f", {which}, probed with seed {seed} and {f'the baseline of {baseline}' if baseline else 'no baseline'}"
        tables.append(_probe_table(f"{method.label}{how if len(groups) > 1 else ''}", [rows for _, rows in probed]))
    return tables


def _probe_table(label: str, folds: list[tuple["ProbeRow", ...]]) -> dict:
    from fer_model.probe.probing import mean_over_folds

    values: dict[tuple[str, str], dict[str, list[float]]] = {}           # (probe, people) -> features or chance -> values
    rows = mean_over_folds(folds)
    for row in rows:
        cells = values.setdefault((row.probe, row.people), {})
        cells.setdefault(row.features, []).append(row.value)
        if row.chance is not None:
            cells.setdefault("chance", []).append(row.chance)
    columns = ["chance", *dict.fromkeys(row.features for row in rows)]
    table = [[*key, *(percent(sum(c) / len(c)) if (c := cells.get(name)) else "" for name in columns)] for key, cells in values.items()]
    return {"method": label, "runs": len(folds), "columns": ["probe", "people", *columns], "rows": table}


def _read_probe(path: Path) -> tuple[int, str, tuple["ProbeRow", ...]] | None:
    """Return of probe.json the seed, the folder of the baseline ("": none) and the rows; None: there is no such file, or no row in it."""
    if not path.is_file():
        return None
    from fer_model.probe.probes import ProbeRow  # scikit-learn is a second to import, needed only here
    from fer_model.probe.probing import SCHEMA_VERSION as READ

    again = f"write it again with `fer-model probe {path.parent}`, or remove it"
    try:
        content = parse_object(path.read_bytes())
    except ValueError as error:
        raise RunError(f"reading probes: {path} must hold a JSON object ({error}); {again}") from error
    if (version := content.get("schema_version")) != READ:
        raise RunError(f"reading probes: {path} has schema version {version!r}, this program reads {READ}; {again}")
    try:
        rows = tuple(ProbeRow(**row) for row in content["rows"])
    except (KeyError, TypeError) as error:
        raise RunError(f"reading probes: {path} must hold rows as `fer-model probe` writes them; {again}") from error
    baseline = content.get("baseline")
    return (content.get("seed"), str(Path(baseline).parent) if baseline else "", rows) if rows else None


# --- what the page alone shows


def _tiles(figures: Sequence[SeedFigures]) -> list[tuple[str, object, str]]:
    """Return the numbers at the top: each method's accuracy while they are few, what people reach, who was tested."""
    most = max(figures, key=lambda one: one.pooled.n_images)
    pooled = most.pooled
    folds = len({run.fold for one in figures for run in one.folds})
    counts = [("people tested", pooled.n_subjects), ("faces", pooled.n_images), ("sequences", pooled.n_sequences), ("folds", folds)]
    shares = [(f"{one.name}, per frame", f"{percent(one.pooled.frame_accuracy.value)} %") for one in figures[:4]]
    people = [("people, of " + one["judged"].partition(",")[0], f"{percent(one['right'] / one['of'])} %") for one in human_of(most.method)]
    return [(name, value, "") for name, value in (*shares, *people, *counts)]


def _accuracy_charts(figures: Sequence[SeedFigures]) -> list[tuple[str, IntervalChart]]:
    """Return a chart per unit, of the methods from random weights and of the others."""
    charts = []
    for what, mine in zip(("", ", pre-trained"), by_start(figures, lambda one: started_from(one.method)), strict=True):
        for unit in UNITS if mine else ():
            marks = []
            for one in mine:
                share = getattr(one.pooled, f"{unit}_accuracy")
                dots = tuple(getattr(found, f"{unit}_accuracy").value for found in one.by_fold)
                marks.append(Mark(one.name, share.value, share.low, share.high, dots))
            charts.append((f"Accuracy per {unit}{what}, %", interval_chart(marks)))
    return charts


def _difference_charts(comparisons: Sequence[PairedComparison]) -> list[tuple[str, IntervalChart]]:
    """Return a chart of differences per unit: of each pair the one over all its seeds."""
    charts = []
    for unit in UNITS:
        seen: dict[tuple[str, str], PairedComparison] = {}
        for one in comparisons:
            if one.unit == unit:
                seen.setdefault((one.first.label, one.second.label), one)
        marks = [
            Mark(f"{one.first.label} − {one.second.label}", one.paired.difference, one.paired.low, one.paired.high) for one in seen.values()
        ]
        if marks:
            charts.append((f"Difference per {unit}, points", interval_chart(marks, zero=True)))
    return charts


def _confusion(found: Evaluation) -> dict:
    """Return the confusion matrix as rows of cells: count, share of the row in per cent, colour, whether it is right."""
    rows = []
    for i, counts in enumerate(found.confusion):
        total = sum(counts)
        cells = [
            {"count": count, "share": _whole(count, total), "level": heat_level(count, max(1, total)), "right": i == j}
            for j, count in enumerate(counts)
        ]
        rows.append({"name": found.classes[i], "cells": cells, "total": total, "recall": _whole(counts[i], total)})
    said = [sum(row[j] for row in found.confusion) for j in range(len(found.classes))]
    precisions = [_whole(found.confusion[j][j], said[j]) for j in range(len(said))]
    return {"classes": found.classes, "rows": rows, "precisions": precisions, "n": found.n_images}


def _whole(part: int, total: int) -> str:
    """Return a share in whole per cent; a dash where there is nothing to share."""
    return f"{100 * part / total:.0f}" if total else "–"


def _protocol_rows(methods: Sequence[Method]) -> list[tuple[str, list[str]]]:
    """Return (what, its value for each method), in the order in which methods name things."""
    tables = [dict(protocol(method)) for method in methods]
    return [(what, [table.get(what, "") for table in tables]) for what in dict.fromkeys(what for table in tables for what in table)]


def _curves(methods: Sequence[Method]) -> list[tuple[str, int, list]]:
    found = [(method.label, len([run for run in method.runs if run.log]), curves(method.runs)) for method in methods]
    return [one for one in found if one[2]]


def _sheets(methods: Sequence[Method]) -> tuple[list[dict], int]:
    """Return each run's sheet of synthesised faces as a data URI, as many as the page can carry, and how many it cannot."""
    found, size, left_out = [], 0, 0
    for method in methods:
        for run in method.runs:
            path = run.path / "samples.png"
            if not path.is_file():
                continue
            data = path.read_bytes()
            if not data.startswith(_PNG) or len(data) < 24:
                raise RunError(f"reading synthesised faces: {path} is not a PNG; --no-faces leaves it out")
            if size + len(data) > MOST_BYTES:
                left_out += 1
                continue
            size += len(data)
            width, height = struct.unpack(">II", data[16:24])            # IHDR is the first chunk
            first = not any(one["method"] == method.label for one in found)
            sheet = {"method": method.label, "name": f"{method.label}, seed {run.seed}, fold {run.fold}", "first": first}
            uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            found.append({**sheet, "uri": uri, "width": width, "height": height})
    return found, left_out


def citations_of(methods: Sequence[Method]) -> list[str]:
    """Return what to cite: the databases whose people were tested, the paper."""
    datasets = dict.fromkeys(one for method in methods if drawn_of(method) is not True for one in parts_of(method.content["dataset"]))
    return [*(text for dataset in datasets if dataset in FILES for text in load_facts(dataset).citation), PAPER]
