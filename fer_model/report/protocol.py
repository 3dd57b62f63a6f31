"""Say how the numbers came about, and what keeps them from being compared.

In:  Methods and their SeedFigures.
Out: for each method (what, value) rows; Findings, each one sentence; the paper's table with our rows in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from fer_data.datasets.oulu_casia import part_of
from fer_data.datasets.published import FILES, ck_plus_subjects, load_facts, parts_of
from fer_data.report.content import Finding
from fer_data.text import counted, listed, named, percent
from fer_model.config import shown
from fer_model.evaluate.figures import REPLICATES, no_interval
from fer_model.evaluate.pooled import SeedFigures
from fer_model.report.paper import ROWS_HERE, PaperTable, table_of
from fer_model.runs.differences import from_preset, told_settings, variant_of
from fer_model.runs.faces import how_framed
from fer_model.runs.fold_runs import FoldRun, folds_apart, is_fold
from fer_model.runs.methods import Method, difference
from fer_model.runs.pretrained import names_people, seen_before

__all__ = ["OurRow", "PaperView", "StageBudget", "by_start", "database_name", "drawn_of", "findings", "human_of", "knows_whom_it_saw",
           "paper_views", "protocol", "stages_of", "started_from"]

_UNKNOWN = "Whether the people are real or synthetic could not be found out: the prepared folder or its database is not where it was"
_EVEN = 0.01                          # budgets within this share of each other are equal


@dataclass(frozen=True)
class StageBudget:
    """The budget of a stage, as means over the complete runs of a method."""

    name: str
    kimg: float                       # thousands of images shown
    passes: float                     # over the training faces
    minutes: float


@dataclass(frozen=True)
class OurRow:
    """A row of ours for the paper's table, in per cent with two digits, as the paper prints."""

    name: str
    mean_of_folds: str                # per frame: the paper's "10-fold average accuracy", as far as that is known
    sd: str
    pooled: str
    sequence: str                     # pooled
    note: str                         # what is not as in the paper
    seen_before: str                  # by the weights that it started from; "": random weights


@dataclass(frozen=True)
class PaperView:
    """One of the paper's tables next to rows of ours."""

    table: PaperTable
    rows: tuple[OurRow, ...]
    caveats: tuple[str, ...]          # why ours may not be compared with theirs; empty: nothing known speaks against it


def drawn_of(method: Method) -> bool | None:
    """Say whether a method's faces are of synthetic people, as the prepared folder had it; None: the run does not say."""
    return method.content.get("drawn")


def human_of(method: Method) -> list[dict]:
    """Return how often people named the intended expression, as the prepared folder had it: judged, right, of; usually nothing."""
    return method.content.get("human", [])


def database_name(method: Method) -> str:
    """Return the database as people call it, and that its people are synthetic if they are."""
    dataset = method.content["dataset"]
    name = " + ".join(load_facts(one).name if one in FILES else one for one in parts_of(dataset))
    return f"synthetic people in the layout of {name}" if drawn_of(method) else name


def stages_of(method: Method) -> list[StageBudget]:
    """Return the budget of each stage."""
    results = [run.result for run in method.runs if run.complete]
    names = list(dict.fromkeys(name for result in results for name in result["stages"]))
    found = []
    for name in names:
        mine = [result["stages"][name] for result in results if name in result["stages"]]
        kimg, passes, seconds = (sum(one[key] for one in mine) / len(mine) for key in ("kimg", "passes_over_faces", "seconds"))
        found.append(StageBudget(name, kimg, passes, seconds / 60))
    return found


def protocol(method: Method) -> list[tuple[str, str]]:
    """Return how a method's figures came about, as (what, value)."""
    done = [run for run in method.runs if run.complete]
    rules = [run.result.get("rules", {}) for run in done]
    starts = [line for run in method.runs for line in run.log if line.get("event") == "start"]
    stages = stages_of(method)
    n_train = sorted({int(run.content["n_train"]) for run in method.runs})
    people = sorted({len(run.content.get("identities", ())) for run in method.runs})
    rows = [
        ("Database", database_name(method)),
        ("Faces", _faces(method)),
        ("Frames", f"by rule {rule}" if (rule := method.content.get("frame_rule")) else ""),
        ("Prepared with", _options(method)),
        ("People name the intended expression in", "; ".join(map(_share_of, human_of(method)))),
        ("Folds", "; ".join(_folds(method, seed) for seed in method.seeds)),
        ("Trained on", f"{_range(n_train)} faces of {_range(people)} people in each fold"),
        ("Unit", _rule(rules, "unit")),
        ("Average", "pooled over folds and mean of folds, both given; macro recall pooled"),
        ("Interval", f"95 %, bootstrap over the people of all folds, {REPLICATES:,} replicates"),
        ("Epoch rule", _rule(rules, "epoch")),
        ("Test crop", _rule(rules, "test_view")),
        ("Pre-training", started_from(method, whole=True) or "none: each fold from random weights"),
        ("Network's own code, sha256", str(method.config["own"]["sha256"]) if method.config["method"] == "own" else ""),
        ("Images shown", _budget(stages, "kimg", " thousand")),
        ("Passes over the faces", _budget(stages, "passes", "")),
        ("Time", f"{_budget(stages, 'minutes', ' min')} a fold" if stages else ""),
        ("Parameters of what predicts", _millions([run.result.get("parameters") for run in done])),
        ("Device", _distinct(_device(line) for line in starts)),
        ("Preset", str(method.config.get("preset", ""))),
        ("Settings that differ from the preset", _changed(method)),
        ("Precision", _distinct(str(run.content["config"].get("precision", "")) for run in method.runs)),
        ("Seeds", listed(method.seeds)),
        ("Manifest, sha256", method.content["manifest_sha256"]),
        ("Code version", _distinct(version for run in method.runs for version in run.code_versions)),
    ]
    return [(what, value) for what, value in rows if value]


def findings(methods: Sequence[Method], figures: Sequence[SeedFigures]) -> list[Finding]:
    """Return what a reader should know before the figures, each as one sentence."""
    return [
        *_origin(methods), *_human(methods), *_incomplete(methods), *_kept_apart(methods), *_coverage(figures), *_same_data(methods),
        *_budgets(methods), *_started(methods), *_seeds(methods), *_absent(figures), *_majority(figures), *_versions(methods),
    ]


def paper_views(figures: Sequence[SeedFigures]) -> list[PaperView]:
    """Return the paper's table of each database that methods ran on, in the order of the tables."""
    views: dict[int, list[SeedFigures]] = {}
    for one in figures:
        table = table_of(one.method.content["dataset"])
        if table is not None:
            views.setdefault(table.number, []).append(one)
    result = []
    for _, mine in sorted(views.items()):
        table = table_of(mine[0].method.content["dataset"])
        caveats = [*dict.fromkeys(caveat for one in mine for caveat in _of_other_faces(one, table)), *_other_choices(mine, table)]
        caveats += [*_other_counts(mine, table), *_other_networks(mine), *(caveat for one in mine for caveat in _published(one, table))]
        result.append(PaperView(table, tuple(_our_row(one, table) for one in mine), tuple(caveats)))
    return result


def _our_row(one: SeedFigures, table: PaperTable) -> OurRow:
    mean, pooled = one.means["frame"], one.pooled
    notes = ["synthetic people"] if drawn_of(one.method) else []
    if len(one.folds) != table.folds:
        notes.append(f"{len(one.folds)} of {table.folds} folds" if len(one.folds) < table.folds else f"{len(one.folds)} folds")
    return OurRow(
        one.name, percent(mean.mean, 2), "" if mean.sd is None else percent(mean.sd, 2), percent(pooled.frame_accuracy.value, 2),
        percent(pooled.sequence_accuracy.value, 2), ", ".join(notes), started_from(one.method),
    )


def _of_other_faces(one: SeedFigures, table: PaperTable) -> list[str]:
    """Return why the faces of a row of ours may not be those of the paper."""
    dataset, drawn, found = one.method.content["dataset"], drawn_of(one.method), []
    if drawn:
        found.append(f"Our numbers are of synthetic people in the layout of {table.name}: they cannot be compared with the paper's.")
    elif drawn is None:
        strangers = _strangers(one) if table.dataset == "ck+" else 0
        ids = f" The ids of {counted(strangers, 'person', 'people')} are none of {table.name}'s." if strangers else ""
        found.append(f"{_UNKNOWN}.{ids} Compare only if they are {table.name}'s own.")
    if dataset != table.dataset:
        found.append(f"Our faces are of {load_facts(dataset).name}, not of {table.name} itself.")
    return found


def _other_choices(figures: Sequence[SeedFigures], table: PaperTable) -> list[str]:
    """Return which rows of ours are of another part of the database, of frames chosen otherwise, or of other expressions."""
    found: dict[str, list[str]] = {}
    for one in figures:
        for what in (_other_part(one, table), _other_frames(one, table), _other_expressions(one, table)):
            if what:
                found.setdefault(what, []).append(one.name)
    return [f"{listed(names)}: {what}." for what, names in found.items()]


def _other_part(one: SeedFigures, table: PaperTable) -> str:
    """The ids of the sequences tested name the part: of any run, and of option `auto` the tree that was there."""
    parts = {part_of(sequence) for sequence in one.method.predictions(one.seed)["sequence"]} if table.part else set()
    others = sorted(parts - {table.part, ""})
    return f"faces of {listed(others)}, where the paper has {table.part}" if others else ""


def _other_frames(one: SeedFigures, table: PaperTable) -> str:
    dataset, rule = one.method.content["dataset"], one.method.content.get("frame_rule")
    if rule == (table.frame_rule if dataset == table.dataset else load_facts(dataset).frame_rule):
        return ""
    chosen = f"frames by rule {rule}" if rule else "it is not recorded which frames were taken"
    return f"{chosen}, where the paper has {table.frames}"


def _other_expressions(one: SeedFigures, table: PaperTable) -> str:
    ours, theirs = one.pooled.classes, table.expressions
    more, less = ([name for name in these if name not in those] for these, those in ((ours, theirs), (theirs, ours)))
    parts = [f"{word} {listed(names)}" for word, names in (("with", more), ("without", less)) if names]
    return f"{counted(len(ours), 'expression')} ({', '.join(parts)}), where the paper has {len(theirs)}" if parts else ""


def _other_counts(figures: Sequence[SeedFigures], table: PaperTable) -> list[str]:
    """Return which rows of ours have other folds, or were tested on other numbers of people, sequences and faces."""
    folds, counts = {}, {}
    for one in figures:
        pooled = one.pooled
        folds.setdefault(len(one.folds), []).append(one.name)
        counts.setdefault((pooled.n_subjects, pooled.n_sequences, pooled.n_images), []).append(one.name)
    found = [
        f"{listed(names)}: {counted(number, 'fold')}, where the paper has {table.folds}."
        for number, names in folds.items() if number != table.folds
    ]
    there = table.subjects, table.sequences, table.images
    for here, names in counts.items():
        if here != there:
            parts = [
                f"{a:,} of {b:,} {what}" if a <= b else f"{a:,} {what} where it has {b:,}"
                for a, b, what in zip(here, there, ("people", "sequences", "faces"), strict=True)
            ]
            found.append(f"Of what the paper counts, {listed(names)} {'was' if len(names) == 1 else 'were'} tested on {listed(parts)}.")
    return found


def _published(one: SeedFigures, table: PaperTable) -> list[str]:
    """Return, for a method that is itself a row of the table, both figures and what differs between their protocols; of a variant, that."""
    name, differs = ROWS_HERE.get(one.method.config["method"], ("", ""))
    ours, variant = started_from(one.method), variant_of(one.method.config)
    if name and variant:
        words = ", ".join(f"{key} {shown(value)}" for key, value in variant.items())
        return [f"{one.name}: a variant of {name} ({words}), of which nothing is published."]
    return [
        f"{one.name}: {row.accuracy:.2f} published, {percent(one.means['frame'].mean, 2)} here (mean of folds, per frame); {differs}; ours"
        f" started from {ours or 'random weights'}."
        for row in table.rows if row.method == name
    ]


def _other_networks(figures: Sequence[SeedFigures]) -> list[str]:
    """Return which rows of ours have other settings than those of preset paper."""
    presets, changes = {}, {}
    for one in figures:
        if (preset := one.method.config.get("preset")) != "paper":
            presets.setdefault(preset, []).append(one.name)
        elif changed := _changed(one.method):
            changes.setdefault(changed, []).append(one.name)
    return [
        f"{listed(names)}: preset {preset}, not preset paper, which has the numbers that the paper gives."
        for preset, names in presets.items()
    ] + [f"{listed(names)}: not as in preset paper: {changed}." for changed, names in changes.items()]


def _strangers(one: SeedFigures) -> int:
    """Return how many people tested have an id that CK+ does not have."""
    return len(set(one.method.predictions(one.seed)["subject"]) - set(ck_plus_subjects()))


def _origin(methods: Sequence[Method]) -> list[Finding]:
    states = {method.label: drawn_of(method) for method in methods}
    drawn, unknown = ([label for label, found in states.items() if found is state] for state in (True, None))
    found = []
    if drawn:
        who = "" if len(drawn) == len(methods) else f" ({listed(drawn)})"
        text = "these numbers show what the programs do, and cannot be compared with any of real faces"
        found.append(Finding("look", f"The people are synthetic{who}: {text}."))
    if unknown:
        who = "" if len(unknown) == len(methods) else f" ({listed(unknown)})"
        found.append(Finding("look", f"{_UNKNOWN}{who}."))
    return found


def _human(methods: Sequence[Method]) -> list[Finding]:
    """Say what people reach, once for each database."""
    found = {database_name(method): "; ".join(map(_share_of, human_of(method))) for method in methods if human_of(method)}
    return [Finding("look", f"People who judged {name} named the intended expression in {shares}.") for name, shares in found.items()]


def _share_of(figure: dict) -> str:
    return f"{percent(figure['right'] / figure['of'])} % of {figure['of']:,} {figure['judged']}"


def _incomplete(methods: Sequence[Method]) -> list[Finding]:
    found = [
        Finding("look", f"{method.label}, seed {run.seed}, fold {run.fold} is in no figure: {run.state}.")
        for method in methods for run in method.runs if not run.complete
    ]
    return found or [Finding("ok", f"Every run that was named is complete: {sum(len(method.runs) for method in methods)}.")]


def _kept_apart(methods: Sequence[Method]) -> list[Finding]:
    """Name the folders whose folds belong to several methods, and the first setting that tells them apart."""
    homes: dict[Path, list[FoldRun]] = {}                                # folder of folds -> a run of each method that has folds in it
    for method in methods:
        for folder in dict.fromkeys(run.path.parent for run in method.runs if is_fold(run.path)):
            homes.setdefault(folder, []).append(next(run for run in method.runs if run.path.parent == folder))
    return [
        Finding("look", f"The folds in {folder} are of {len(runs)} methods and are not pooled: {difference(runs)}.")
        for folder, runs in homes.items() if len(runs) > 1
    ]


def _coverage(figures: Sequence[SeedFigures]) -> list[Finding]:
    part = [
        f"{one.name}: {named('fold', [run.fold for run in one.folds])}, {one.pooled.n_images:,} of"
        f" {one.method.n_faces:,} faces" for one in figures if not one.whole
    ]
    if part:
        return [Finding("look", f"Not every fold was tested ({'; '.join(part)}).")]
    if not figures:
        return []
    unknown = dict.fromkeys(one.method.label for one in figures if not knows_whom_it_saw(one.method))
    if unknown:
        text = f"by a model that its person was left out of; but who is in what {listed(unknown)} started from is not known"
        return [Finding("look", f"Every face of the data set was tested once, {text}.")]
    return [Finding("ok", "Every face of the data set was tested once, by a model that had not seen its person.")]


def _same_data(methods: Sequence[Method]) -> list[Finding]:
    hashes = {method.content["manifest_sha256"] for method in methods}
    if len(methods) < 2:
        return []
    assigned: list[list[Method]] = []                                    # methods by assignment of people to folds
    for method in methods:
        same = [group for group in assigned if not folds_apart(group[0].runs, method.runs)]
        if same:
            same[0].append(method)
        else:
            assigned.append([method])
    told = "; ".join(f"{group[0].runs[0].assignment_text}: {listed([one.label for one in group])}" for group in assigned)
    apart = []
    if len(assigned) > 1:
        apart = [Finding("look", f"People are in other folds, so only methods of the same folds are compared ({told}).")]
    if len(hashes) == 1:
        return [Finding("ok", f"All methods have the same faces{'' if apart else ' and the same folds'}: one manifest."), *apart]
    found = [Finding("look", f"The methods were trained on {len(hashes)} different manifests: faces or folds differ."), *apart]
    framed = {faces: method.label for method in reversed(methods) if (faces := _faces(method))}
    if len(framed) > 1:
        text = "; ".join(f"{label}: {faces}" for faces, label in reversed(framed.items()))
        found.append(Finding("look", f"Their faces were framed in {len(framed)} ways, which alone can be the difference ({text})."))
    return found


def _faces(method: Method) -> str:
    """Return how the faces were framed, or "" if the run does not say."""
    faces = method.content.get("faces")
    return how_framed(faces) if faces else ""


def _changed(method: Method) -> str:
    """Return the settings in which a method differs from its preset, with the preset's; "" if there are none."""
    return told_settings(from_preset(method.config, int(method.content["n_train"])))


def _options(method: Method) -> str:
    """Return the options of its database that a folder was prepared with, as the run has them; "" if there are none."""
    given = {name: value for name, value in method.content.get("options", {}).items() if value not in (None, False, "")}
    return ", ".join(f"{name} {shown(value)}" for name, value in given.items())


def _budgets(methods: Sequence[Method]) -> list[Finding]:
    totals = {method.label: sum(stage.kimg for stage in stages) for method in methods if (stages := stages_of(method))}
    if len(totals) < 2:
        return []
    low, high = min(totals.values()), max(totals.values())
    if high - low <= _EVEN * high:
        return [Finding("ok", f"Every method was shown as many images in training: {_number(high)} thousand.")]
    text = ", ".join(f"{name} {_number(kimg)}" for name, kimg in totals.items())
    reason = "the methods were shown different numbers of images in training"
    return [Finding("look", f"Training alone can be the difference: {reason} (thousands: {text}).")]


def _seeds(methods: Sequence[Method]) -> list[Finding]:
    single = [method.label for method in methods if len(method.seeds) == 1]
    if not single:
        return []
    one = "has one seed" if len(single) == 1 else "have one seed each"
    return [Finding("look", f"{listed(single)} {one}: no interval here holds the noise of training.")]


def _absent(figures: Sequence[SeedFigures]) -> list[Finding]:
    whose: dict[tuple, dict[str, None]] = {}                             # assignment of people to folds -> methods that have it
    where: dict[tuple, dict[str, set[int]]] = {}                         # the same key -> expression -> folds
    for one in figures:
        key = (one.method.content["manifest_sha256"], *one.method.runs[0].assignment.values())
        whose.setdefault(key, {})[one.method.label] = None
        for run, evaluation in zip(one.folds, one.by_fold, strict=True):
            for name in evaluation.classes_absent:
                where.setdefault(key, {}).setdefault(name, set()).add(run.fold)
    return [
        Finding(
            "look", f"No test face shows {name} in {named('fold', sorted(folds))}{f' of {listed(whose[key])}' if len(whose) > 1 else ''}:"
            " a mean of folds of macro recall is over fewer expressions there."
        )
        for key, some in where.items() for name, folds in some.items()
    ]


def _majority(figures: Sequence[SeedFigures]) -> list[Finding]:
    found = []
    for one in figures:
        share, least = one.pooled.frame_accuracy, one.pooled.majority_accuracy
        if one.pooled.n_subjects == 1 or share.low <= least:
            none = no_interval(share.low, share.high, one.pooled.n_subjects)
            sure = f"no interval: {none}" if none else f"from {percent(share.low)} % on"
            found.append(
                Finding(
                    "look", f"{one.name} is not shown to be better than always answering {one.pooled.majority_class}"
                    f" ({percent(share.value)} %, {sure}, against {percent(least)} %)."
                )
            )
    return found


def _versions(methods: Sequence[Method]) -> list[Finding]:
    versions = {version for method in methods for run in method.runs for version in run.code_versions}
    if len(versions) == 1:
        return []
    return [Finding("look", f"The runs were made by {len(versions)} versions of the program (below, under protocol).")]


def _folds(method: Method, seed: int) -> str:
    done, left = [run.fold for run in method.complete(seed)], [run.fold for run in method.seeds[seed] if not run.complete]
    text = f"{len(done)} complete ({listed(done)})" if done else "none complete"
    return (f"seed {seed}: " if len(method.seeds) > 1 else "") + text + (f", not complete: {listed(left)}" if left else "")


def _rule(rules: Sequence[dict], key: str) -> str:
    return _distinct(str(one.get(key, "not recorded")) for one in rules)


def started_from(method: Method, whole: bool = False) -> str:
    """Return what the weights had seen that the runs started from, `whole` as in seen_before; "": they began with random weights."""
    entries = [run.content["init"] for run in method.runs if run.content.get("init")]
    return _distinct(seen_before(init, whole) + ("" if "said" in init else f" ({init['sha256'][:12]})") for init in entries)


def knows_whom_it_saw(method: Method) -> bool:
    """Say whether it is known of everybody who is in the pictures that a method's runs started from; there may be none."""
    return all(names_people(run.content["init"]) for run in method.runs if run.content.get("init"))


def by_start(rows: Sequence, seen: Callable = itemgetter("seen_before")) -> tuple[list, list]:
    """Return rows of methods from random weights, and those of the others: the two never stand in one table."""
    return [row for row in rows if not seen(row)], [row for row in rows if seen(row)]


def _started(methods: Sequence[Method]) -> list[Finding]:
    """Name the methods that did not begin with random weights: their rows are in a table of their own."""
    return [
        Finding("look", f"{method.label} had seen more than the folds: {seen}. Its accuracy is in a table of its own; the images of its"
                        " start are in no budget.")
        for method in methods if (seen := started_from(method))
    ]


def _millions(counts: Sequence[int | None]) -> str:
    """Return numbers of parameters for people; "" where a run was written before they were counted."""
    return "" if None in counts else _distinct(f"{count / 1e6:.2f} million" for count in sorted(counts))


def _budget(stages: Sequence[StageBudget], field: str, unit: str) -> str:
    if not stages:
        return ""
    parts = [f"{stage.name} {_number(getattr(stage, field))}" for stage in stages]
    total = f"{_number(sum(getattr(stage, field) for stage in stages))}{unit}"
    return total if len(stages) == 1 else f"{total} ({', '.join(parts)})"


def _number(value: float) -> str:
    """Return a number for people: three digits, or all before the point.

    >>> _number(64746.3), _number(42.04), _number(0.0512)
    ('64,746', '42', '0.0512')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _device(line: dict) -> str:
    threads = line.get("threads") if str(line.get("device")) == "cpu" else None
    text = f", {counted(threads, 'thread')}" if threads else ""
    text += f" in each of {line['processes']} processes" if line.get("processes", 1) > 1 else ""
    return f"{line.get('device')}{text}, torch {line.get('torch')}"


def _distinct(texts) -> str:
    return "; ".join(dict.fromkeys(texts))


def _range(numbers: Sequence[int]) -> str:
    return f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"
