"""The report as Markdown, for a README, an issue or a chat: the values of report.json in, one text out.

In:  what report.py writes as JSON, and the charts' values left out.
Out: str. Every value is escaped: a name with a bar, a tag or a bracket stays that name.
"""

from fer_data.report.content import Finding
from fer_data.text import escape, paragraphs, percent, table
from fer_model.evaluate.figures import no_interval
from fer_model.report.protocol import by_start

__all__ = ["accuracy_table", "confusion_table", "folds_table", "to_markdown"]


def to_markdown(report: dict) -> str:
    """Return the report as Markdown."""
    parts = [
        [f"# {escape(report['title'])}"],
        [f"* {Finding(**one).markdown()}" for one in report["findings"]],
        *_accuracy(report["figures"]),
        *[["\n".join(f"> {escape(text)}\n>" for text in one["sentences"]).removesuffix("\n>")] for one in report["figures"]],
        *([["## Differences", "", *[f"* {escape(one['sentence'])}" for one in report["comparisons"]]]] if report["comparisons"] else []),
        *([["## Several seeds", "", *[f"* {escape(t)}" for one in report["seeds"] for t in one["sentences"]]]] if report["seeds"] else []),
        ["## Folds", "", *folds_table(report["figures"], report["incomplete"])],
        *[[f"## Confusion: {escape(one['name'])}", "", *confusion_table(one["pooled"])] for one in report["figures"]],
        *[[f"## Probes: {escape(one['method'])}", "", *table(one["columns"], one["rows"])] for one in report["probes"]],
        *[_paper(one) for one in report["paper"]],
        *[[f"## Protocol: {escape(one['label'])}", "", *table(["what", "value"], one["protocol"])] for one in report["methods"]],
        _settings(report),
        [f"Written by fer-model {escape(report['written_by'])}."],
    ]
    return paragraphs(parts)


def _accuracy(figures: list[dict]) -> list[list[str]]:
    """Return the table of methods from random weights, and that of the others: what had seen more is not compared row by row."""
    titles = "## Accuracy", "## Accuracy, pre-trained"
    return [[title, "", *accuracy_table(mine)] for title, mine in zip(titles, by_start(figures), strict=True) if mine]


def accuracy_table(figures: list[dict]) -> list[str]:
    """Return the lines of a table: a row for each method and seed, `figures` as report.json holds them, all of them started from
    others or none."""
    units = ["per frame, pooled", "mean of folds", "per sequence, pooled", "mean of folds"]
    head = ["method", "folds", "images", "people", *units, "macro recall", "shown, thousand", "processor min"]
    rows = []
    for one in figures:
        pooled = one["pooled"]
        shares = [
            text
            for unit in ("frame", "sequence")
            for text in (_interval(pooled[f"{unit}_accuracy"], pooled["n_subjects"]), _spread(one["mean_of_folds"][unit]))
        ]
        counts = [one["name"], len(one["folds"]), pooled["n_images"], pooled["n_subjects"]]
        spent = one["processor_minutes"]
        costs = [f"{one['kimg']:g}", "" if spent is None else f"{spent:.1f}"]
        seen = [one["seen_before"]] if one["seen_before"] else []
        rows.append([*counts, *shares, f"{percent(pooled['frame_macro_recall'])} %", *costs, *seen])
    return table([*head, *(["seen before"] if figures[0]["seen_before"] else [])], rows)


def _interval(share: dict, n_subjects: int) -> str:
    none = no_interval(share["low"], share["high"], n_subjects)
    interval = f"none: {none}" if none else f"{percent(share['low'])} to {percent(share['high'])}"
    return f"{percent(share['value'])} % ({interval})"


def _spread(share: dict) -> str:
    return f"{percent(share['mean'])} %" + ("" if share["sd"] is None else f" ± {percent(share['sd'])}")


def folds_table(figures: list[dict], incomplete: list[dict]) -> list[str]:
    """Return the lines of a table: a row for each fold, those that are not complete last."""
    rows = [
        [one["name"], fold["fold"], fold["n_images"], fold["n_subjects"], f"{percent(fold['frame_accuracy'])} %",
         f"{percent(fold['sequence_accuracy'])} %", f"{percent(fold['frame_macro_recall'])} %", ", ".join(fold["classes_absent"]) or "none"]
        for one in figures for fold in one["folds"]
    ]
    rows += [[f"{one['method']}, seed {one['seed']}", one["fold"], "", "", one["state"], "", "", ""] for one in incomplete]
    return table(["method", "fold", "images", "people", "per frame", "per sequence", "macro recall", "absent"], rows)


def confusion_table(pooled: dict) -> list[str]:
    """Return the lines of the confusion matrix: true classes down, predicted ones across."""
    rows = [[name, *counts] for name, counts in zip(pooled["classes"], pooled["confusion"], strict=True)]
    return table(["true, images", *pooled["classes"]], rows)


def _settings(report: dict) -> list[str]:
    """Return the settings that differ between methods, a column each; an empty cell: the method does not train that stage."""
    rows = [[one["name"], *("" if value is None else value for value in one["values"])] for one in report["settings"]]
    columns = ["setting", *(method["label"] for method in report["methods"])]
    return ["## Settings that differ", "", *table(columns, rows, words=len(columns))] if rows else []


def _paper(view: dict) -> list[str]:
    rows = [
        [row["method"] + (f" [{row['reference']}]" if row["reference"] else ""), row["setting"], f"{row['accuracy']:.2f}", "", ""]
        for row in view["rows"]
    ]
    figures = ["accuracy, mean of folds", "pooled, per frame", "pooled, per sequence"]
    from_random, started = by_start(view["ours"])
    theirs = table(["method", "setting", *figures], [*rows, *(_our_row(row, "Static") for row in from_random)])
    apart = table(["method, pre-trained", "seen before", *figures], [_our_row(row, row["seen_before"]) for row in started])
    return [
        f"## The paper's table {view['number']}: {escape(view['name'])}", "", *[f"* **{escape(text)}**" for text in view["caveats"]], "",
        *theirs, "", escape(view["measure"]) + ". " + escape(view["note"]), *(["", *apart] if started else []),
    ]


def _our_row(row: dict, second: str) -> list[str]:
    name = f"ours: {row['name']}" + (f" ({row['note']})" if row["note"] else "")
    return [name, second, row["mean_of_folds"], row["pooled"], row["sequence"]]
