"""Draw the report of an audit on the console: the verdict, a row for each fold, examples, and what to do.

In:  fer_data.audit.leaks.AuditReport; rich's options of the console: its width, and whether it is a terminal.
Out: lines and a table for rich; colours, bars and wrapped lines on a terminal only.
"""

from collections.abc import Iterator, Sequence

from rich.console import ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fer_data.datasets.published import ck_plus_subjects
from fer_data.people import UNKNOWN, people_text
from fer_data.text import counted, listed, named

__all__ = ["told"]

_BAR = 20                             # characters for 100 %
_EXAMPLES, _PAIRS = 5, 5


def told(report, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Yield what the console shows of a report."""
    yield from (_verdict(report, options.is_terminal), "", _table(report, options.is_terminal), "")
    for title, lines in (
        ("besides", _besides(report)), ("worst", _worst(report)), ("pixels", _pixels(report)), ("look at", report.warnings),
        ("read as", (*report.notes, _size(report))), ("do now", _advice(report)),
    ):
        yield from _section(title, lines, options.is_terminal)


def _show(number: int) -> str:
    return "shows" if number == 1 else "show"


def _verdict(report, terminal: bool) -> Text:
    """Return one word and the sentence that goes with it."""
    word = report.verdict
    style = {"LEAK": "bold white on red", "UNCLEAR": "bold black on yellow", "CLEAN": "bold black on green"}[word]
    return Text.assemble(Text(f" {word} ", style) if terminal else word, "  ", (_verdict_text(report), "bold"))


def _verdict_text(report) -> str:
    total, several = report.overall, len(report.folds) > 1
    if not report.subjects and not report.leaks:
        return f"{UNKNOWN}: nobody can say whether a person is both trained on and tested; no picture is on both sides"
    these = [fold for fold in report.folds if (fold.leaked_images if total.leaked_images else fold.leaks)]     # of the sentence below
    where = f", in {len(these)} of {len(report.folds)} folds" if several else ""
    if total.leaked_images:
        people = counted(total.test_subjects, "person", "people")
        return (
            f"{total.leaked_images:,} of {counted(total.test_images, f'test {report.unit}')} ({total.leaked_percent:.1f} %)"
            f" {_show(total.leaked_images)} a person who is also in training: {total.leaked_subjects} of {people}{where}"
        )
    if total.leaks:
        return f"validation shares people with training or test{where}; test shares nobody with training"
    if report.leaks:
        return f"{counted(report.pixels.exact, 'pair')} of identical pictures are on different sides under different names"
    folds = f" in {counted(len(report.folds), 'fold')}" if several else ""
    once = ", each tested once" if several and not (total.tested_twice or total.never_tested) else ""
    doubt = "; but read on below the table" if report.doubtful else ""
    ids = "who is who is in doubt; if the ids are right, " if report.doubts else ""
    what = f"{counted(total.test_images, f'test {report.unit}')} of {counted(total.test_subjects, 'person', 'people')}"
    return f"{ids}nobody is both trained on and tested: {what}{folds}{once}{doubt}"


def _table(report, terminal: bool) -> Table:
    """Return a line for each fold and one for all."""
    sequences = report.overall.shared_sequences is not None
    missing = any(fold.missing for fold in report.folds)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("fold", no_wrap=True)
    for title in (f"test\n{report.unit}s", "person in\ntraining", "%"):
        table.add_column(title, justify="right", no_wrap=True)
    if terminal:
        table.add_column("", no_wrap=True, width=_BAR)
    for title in ("people\ntested", "of them\ntrained on", *(("sequences\nshared",) if sequences else ())):
        table.add_column(title, justify="right", no_wrap=True)
    if missing:
        table.add_column("not tested")
    for tally in (*report.folds, *((report.overall,) if len(report.folds) > 1 else ())):
        percent, colour = tally.leaked_percent, _colour(tally)
        cells = [Text(tally.name), f"{tally.test_images:,}", f"{tally.leaked_images:,}", Text(f"{percent:.1f}", colour)]
        cells += [Text(_bar(percent), colour)] if terminal else []
        people = [f"{number:,}" if report.subjects else "unknown" for number in (tally.test_subjects, tally.leaked_subjects)]
        cells += [*people, *((f"{tally.shared_sequences:,}",) if sequences else ())]
        cells += [Text(listed(tally.missing, 4))] if missing else []
        table.add_row(*cells, style="bold" if tally is report.overall else None)
    return table


def _colour(tally) -> str:
    return "red" if tally.leaked_percent >= 10 else "yellow" if tally.leaked_images else "green"


def _bar(percent: float) -> str:
    """Return a bar of eighths of a character, at least one eighth for anything above zero."""
    eighths = max(round(percent * _BAR * 8 / 100), 1 if percent > 0 else 0)
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def _besides(report) -> list[str]:
    """Return sentences on coverage, copies, classes and validation."""
    total = report.overall
    lines = []
    if total.shared_images:
        are, them = ("is itself", "it") if total.shared_images == 1 else ("are themselves", "them")
        lines.append(f"{counted(total.shared_images, f'test {report.unit}')} {are} in training, or a copy of {them} is")
    if total.shared_sequences:
        lines.append(f"{counted(total.shared_sequences, 'sequence')} on both sides: images of one recording")
    if report.kind == "cross-validation" and (total.tested_twice or total.never_tested):
        twice = counted(total.tested_twice, report.unit)
        lines.append(f"{twice} tested more than once, {total.never_tested:,} never; {report.images:,} in all")
    elif total.tested_twice:
        lines.append(f"{counted(total.tested_twice, report.unit)} listed more than once for testing")
    for fold in report.folds:
        if fold.missing_in_training:
            lines.append(f"fold {fold.name} has no {listed(fold.missing_in_training, 4, 'or')} to train on")
    without = [fold.name for fold in report.folds if fold.missing]
    if without:
        where = named("fold", without, 10) if len(report.folds) > 1 else "the split"
        lines.append(f"{where}: some expression is not tested and has no recall there; pool predictions before averaging over expressions")
    if total.validation_leaked:
        of = counted(total.validation_images, f"validation {report.unit}")
        lines.append(f"{total.validation_leaked:,} of {of} {_show(total.validation_leaked)} a person who is in training")
    if total.test_in_validation:
        images = counted(total.test_in_validation, f"test {report.unit}")
        same = f"; {total.validation_tested:,} of them are validation {report.unit}s themselves" if total.validation_tested else ""
        lines.append(f"{images} {_show(total.test_in_validation)} a person on whom the model is chosen (validation){same}")
    return lines


def _worst(report) -> list[str]:
    lines = []
    for example in report.examples[:_EXAMPLES]:
        several = len(report.folds) > 1
        folds = f" in {named('fold', example.folds, 6)}" if several else ""
        place = f"fold {example.fold}" if several else "it"
        count = counted(example.leaked_images, f"test {report.unit}")
        lines.append(f"{example.subject}: {count}{folds}; {place} tests {example.test_image} and trains on {example.train_image}")
    if len(report.examples) > _EXAMPLES:
        lines.append(f"and {counted(len(report.examples) - _EXAMPLES, 'more person', 'more people')}; --json names them all")
    return lines


def _pixels(report) -> list[str]:
    """Return what comparing pixels found."""
    pixels = report.pixels
    if pixels is None:
        return []
    what = f"{counted(pixels.compared, 'picture')} compared: {counted(pixels.exact, 'pair')} of identical files on different sides"
    if pixels.threshold is not None:
        who = " of different people" if report.subjects else ""
        what += f", {counted(pixels.near, 'pair')}{who} that look the same (at most {pixels.threshold} of 256 bits differ)"
    lines = [what, *pixels.notes]
    for kind in ("exact", "near"):
        for pair in [pair for pair in pixels.pairs if pair.kind == kind][:_PAIRS]:
            people = pair.test_subject if pair.test_subject == pair.train_subject else f"{pair.test_subject} and {pair.train_subject}"
            people = f" ({people})" if report.subjects else ""
            bits = "identical" if kind == "exact" else f"{pair.distance} bits{', mirrored' if pair.mirrored else ''}"
            lines.append(f"{bits}: fold {pair.fold} tests {pair.test_image}, trains on {pair.train_image}{people}")
    return lines


def _size(report) -> str:
    people = f" of {people_text(report.subjects)} in all" if report.subjects else f", {UNKNOWN}"
    return f"{report.kind}, {report.images:,} {report.unit}s{people}"


def _advice(report) -> list[str]:
    """Return what to do now."""
    if not report.leaks:
        return []
    total = report.overall
    lines = []
    if report.pixels and report.pixels.exact:
        who = ", and if they are listed under two people, find out who it is" if report.subjects else ""
        lines.append(f"identical files: remove one of each pair{who}")
    if not total.leaks:
        return lines
    names, known = [example.subject.rpartition("/") for example in report.examples], set(ck_plus_subjects())
    ck_plus = names and all(dataset.lower() in ("", "ck+", "ck48") and name in known for dataset, _, name in names)
    table_there = "; for CK+ the table that the literature uses is data_manifests/ck_plus_folds.csv" if ck_plus else ""
    lines += [
        "split by person, e.g. sklearn.model_selection.StratifiedGroupKFold(10, shuffle=True).split(X, y, groups=subjects),",
        f"or let `fer-data prepare` assign folds{table_there}",
    ]
    if total.leaked_images:
        lines.append("figures measured on this split do not compare with person-independent ones: train again")
    if 0 < total.leaked_images < total.test_images and not total.test_in_validation:       # the model is chosen on whom that shows
        unknown = counted(total.test_images - total.leaked_images, f"test {report.unit}")
        lines.append(f"until then, report the {unknown} of people unknown to the model apart")
    return lines


def _section(title: str, lines: Sequence[str], terminal: bool) -> Iterator[RenderableType]:
    """Yield sentences behind a title; wrapped on a terminal, one a line elsewhere."""
    titles = [title, *[""] * (len(lines) - 1)]
    if not terminal:
        yield from (Text(f"{title:8}  {line}") for title, line in zip(titles, lines, strict=False))
    elif lines:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True, width=8)
        table.add_column(overflow="fold")
        for title, line in zip(titles, lines, strict=True):
            table.add_row(title, Text(line))
        yield Padding(table, (0, 0, 1, 0))
