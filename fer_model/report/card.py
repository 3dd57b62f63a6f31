"""Write the model card of a run or a cross-validation.

In:  a run folder, or a folder of folds (fold0, fold1, ...) as `crossval` leaves them, all of one method.
Out: card.md: what may be done with the weights, what the model reached and how that was measured, on whom it was trained and
     how, what it is for and what not. No face is in it. The same folder gives the same bytes.

A run of `pretrain` holds nobody out: its card has no figures, and says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_data import __version__
from fer_data.faces.align import CANVAS
from fer_data.faces.landmarks.none import NO_POINTS
from fer_data.files import make_folder, sha256_of_file, write_bytes_atomically
from fer_data.people import people_text
from fer_data.share.terms import Terms, terms_of
from fer_data.store.own_files import refuse_own_file
from fer_data.text import counted, escape, listed, paragraphs, percent, table
from fer_model.config import STAGES_OF, SYNTHESISERS
from fer_model.errors import RunError
from fer_model.evaluate.pooled import SeedFigures, figures_of, seed_spread
from fer_model.report.markdown import accuracy_table, confusion_table, folds_table
from fer_model.report.protocol import (
    by_start,
    database_name,
    drawn_of,
    findings,
    knows_whom_it_saw,
    paper_views,
    protocol,
    stages_of,
)
from fer_model.report.report import citations_of, figure_values, incomplete_values, spread_values
from fer_model.runs.faces import how_framed
from fer_model.runs.fold_runs import FoldRun
from fer_model.runs.folder import RunFolder
from fer_model.runs.methods import Method, gather
from fer_model.runs.pretrained import command_from

__all__ = ["CARD", "CardSummary", "write_card"]

CARD = "card.md"
# stage, or kind of head -> what is trained in it, and on what
_STAGES = {
    "gan": "DE-GAN: an encoder and a decoder draw each training face's expression on another training person; a discriminator judges",
    "both": "local CNNs on four layers of the encoder, and f(x)", "taps": "local CNNs on four layers of the encoder",
    "critics": "CNNs of expression and of person, whose layers the next stage matches",
    "ae": "DE-AE: an encoder and a decoder draw each training face's expression on another training person; targets are real faces",
    "recogniser": "the baseline's CNN on real and synthesised faces",
    "f-mlp": "an MLP on f(x) alone", "f-svm": "a linear SVM on f(x) alone", "cnn": "the baseline: a CNN on the pixels",
    "neutral": "DeRL: a conditional GAN makes each training face neutral; the head learns from what is left in its layers",
    "iacnn": "IACNN: a CNN that learns from pairs of faces, with a branch for the expression and one for the person",
    "timm": "a network of the library timm on the pixels", "own": "a network that is not in this program, on the pixels",
}
_SETTINGS = ("arch", "network", "sha256", "batch", "lr", "lr_schedule", "weight_decay", "label_smoothing", "dropout")  # of a stage, named
_HELD_OUT = ("Folds", "Unit", "Average", "Interval", "Test crop", "Trained on")                 # rows that pretraining does not have


@dataclass(frozen=True)
class CardSummary:
    """What was written."""

    card: Path
    title: str
    runs: int                         # complete ones
    incomplete: int

    def __rich__(self) -> str:
        """Return it as a sentence, for the console."""
        from rich.markup import escape as plain

        left = f"; {self.incomplete} not complete, in no figure" if self.incomplete else ""
        return plain(f"{self.card}: {self.title}; {counted(self.runs, 'complete run')}{left}")


def write_card(path: Path, out: Path | None = None) -> CardSummary:
    """Write the card of a run, or of the folds of one method, to `out` (default: card.md in the folder).

    Raises StorageError if `out` is another file of a run or of a prepared folder, RunError if the folder holds no run, none that
    is complete, or runs of several methods.
    """
    path = Path(path)
    out = path / CARD if out is None else Path(out)
    refuse_own_file("writing a card", out, but=path / CARD)
    method = _method(path)
    title = f"{method.label} on {database_name(method)}"
    make_folder(out.parent)
    write_bytes_atomically(out, _card(method, title).encode())
    complete = sum(run.complete for run in method.runs)
    return CardSummary(out, title, complete, len(method.runs) - complete)


def _method(path: Path) -> Method:
    """Return the one method in a folder."""
    if RunFolder(path).config.is_file():
        content = RunFolder(path).read_content()
        if content["config"]["fold"] is None:
            RunFolder(path).read_result()
            method = content["config"]["method"]
            label = "DE-GAN, stage 1 alone," if method == "pretrain" else f"{method}, on everybody,"
            return Method(label, {content["config"]["seed"]: (FoldRun(path, -1, content, "complete"),)})
    methods = gather([path])
    if len(methods) != 1:
        held = listed(one.label for one in methods)
        raise RunError(f"writing a card of {path}: one method is needed, it holds {held}; name the folder of one")
    if not any(run.complete for run in methods[0].runs):
        raise RunError(f"writing a card of {path}: no run is complete ({methods[0].runs[0].state})")
    return methods[0]


def _card(method: Method, title: str) -> str:
    tested = method.config["fold"] is not None
    figures = [one for seed in method.seeds if (one := figures_of(method, seed)) is not None] if tested else []
    terms = terms_of({"dataset": method.content["dataset"], "drawn": drawn_of(method) is True, "backend": {"name": ""}})
    parts = [
        [f"# {escape(title)}"], _warning(method, terms), [_in_short(method)],
        *(_numbers(method, figures) if tested else [["## Figures", "", "Nobody was held out: nothing was tested, there are no figures."]]),
        _use(method, terms), _limits(method, terms), _data(method, terms),
        _training(method), _protocol(method), _weights(method),
        ["## Cite", "", *(f"* {escape(text)}" for text in citations_of([method]))],
        [f"Written by fer-model {escape(__version__)}."],
    ]
    return paragraphs(parts)


def _warning(method: Method, terms: Terms) -> list[str]:
    """Return what may be done with the weights, in one paragraph."""
    if terms.drawn:
        return ["> The people are synthetic: nobody is in the weights, and figures of synthetic people say nothing about real faces."]
    draws = ""
    stage_1 = [stage for stage in STAGES_OF[method.config["method"]] if stage in SYNTHESISERS]
    if stage_1 and method.content.get("identities"):
        draws = (
            f" Stage 1 ({stage_1[0]}.safetensors) draws the faces of the people whom it was trained on, by name: whoever has it has"
            " pictures of them; fer-model export leaves it out."
        )
    text = (
        f"DO NOT PUBLISH THE WEIGHTS without the consent of the owners of the data. They were made from faces of people.{draws}"
        f" The licence of the data: {terms.licence}"
    )
    return [f"> **{escape(text)}**"]


def _in_short(method: Method) -> str:
    classes = method.content.get("classes", ())
    if method.config["method"] == "pretrain":
        return "An encoder of expressions and a decoder that draws faces, for stage 1 of other runs to start from; it predicts nothing."
    people = sorted({len(run.content.get("identities", ())) for run in method.runs})
    says = f"Says which of {len(classes)} expressions ({', '.join(classes)}) a single aligned face shows. Trained on"
    if method.config["fold"] is None:
        return escape(f"{says} everybody of a database ({people_text(people[0])}), for other runs to start from; nothing was tested.")
    each = " in each fold" if len(method.runs) > 1 else ""
    strangers = "people whom it had not seen"
    if not knows_whom_it_saw(method):
        strangers = "people whom its folds had left out; who is in the pictures that it started from is not known"
    return escape(f"{says} {listed(dict.fromkeys([people[0], people[-1]]))} people{each}; tested on {strangers}.")


def _numbers(method: Method, figures: Sequence[SeedFigures]) -> list[list[str]]:
    """Return the sections that hold figures: each with its unit, its average, its interval."""
    values = [figure_values(one) for one in figures]
    spread = seed_spread(method)
    folds = max(len(one["folds"]) for one in values)
    step = 1 if folds > 1 else 2                                         # of one fold there is no mean
    sentences = [text for one in values for text in one["sentences"][::step]]
    quoted = "\n>\n".join(f"> {escape(text)}" for text in sentences)
    always, share = figures[0].pooled.majority_class, percent(figures[0].pooled.majority_accuracy)
    said = f"In brackets the 95 % interval, bootstrap over the people tested. Always answering {always}: {share} % of the images."
    sections = [
        ["## Figures", "", *accuracy_table(values), "", escape(said)],
        ["As sentences to be quoted:", "", quoted],
        [f"* {escape(text)}" for text in spread_values(spread)["sentences"]] if spread else [],
        ["### What to know first", "", *(f"* {one.markdown()}" for one in findings([method], figures))],
        ["### Folds", "", *folds_table(values, incomplete_values([method]))] if len(method.runs) > 1 else [],
    ]
    for one in values:
        sections.append([f"### Expressions: {escape(one['name'])}", "", *_by_class(one["pooled"]), "", *confusion_table(one["pooled"])])
    for view in paper_views(figures):
        sections.append([f"### Compared with the paper: {escape(view.table.name)}", "", *_paper(view)])
    return sections


def _by_class(pooled: dict) -> list[str]:
    """Return recall and precision of each class: shares of images, pooled."""
    rows, matrix = [], pooled["confusion"]
    for i, name in enumerate(pooled["classes"]):
        shown, said = sum(matrix[i]), sum(row[i] for row in matrix)
        shares = (f"{percent(matrix[i][i] / total)} %" if total else "–" for total in (shown, said))
        rows.append([name, shown, *shares])
    return table(["expression", "images", "recall", "precision"], rows)


def _paper(view) -> list[str]:
    """Return why ours may not be compared with the paper's, or that nothing known speaks against it."""
    caveats = [f"* **{escape(text)}**" for text in view.caveats] or ["* Nothing known speaks against comparing them."]
    theirs = [[f"paper: {row.method}", f"{row.accuracy:.2f}", "", ""] for row in view.table.rows if row.reference is None]
    from_random, started = ([[f"ours: {row.name}", row.mean_of_folds, row.pooled, row.sequence] for row in rows]
                            for rows in by_start(view.rows, lambda row: row.seen_before))
    head = ["mean of folds", "pooled, per frame", "pooled, per sequence"]
    apart = ["", *table(["pre-trained", *head], started)] if started else []
    return [*caveats, "", *table(["", *head], [*theirs, *from_random]), *apart]


def _use(method: Method, terms: Terms) -> list[str]:
    """Return what it is for, what it is not for, and how it is used."""
    research = "research on the recognition of posed facial expressions: comparing methods under one protocol"
    meant = "trying programs out" if terms.drawn else research
    tested = method.config["fold"] is not None
    lines = [
        f"* **Meant for** {meant}.",
        "* **Not meant for** saying what somebody feels, thinks or intends, or who somebody is; nor for anything that has consequences"
        " for a person, such as hiring, teaching, policing, insurance, health.",
    ]
    if tested:
        lines.append(
            "* Faces must be found and aligned as those of the training were, and seen from the front; `fer-model predict` does that and"
            " says which faces it doubts."
        )
    run = next(run for run in method.runs if run.complete).path
    call = f"fer-model predict {run.name} me.jpg" if tested else command_from(method.config, run.name)
    return ["## Use", "", *lines, "", "```", call, "```"]


def _limits(method: Method, terms: Terms) -> list[str]:
    own = [
        ("Faces of one kind", "It was tested on faces like those it was trained on: the same database, light, camera and instructions."
         " On another database accuracy can be far lower; fer-model evaluate --data measures that."),
        ("Probabilities", "They were not calibrated: 0.9 does not mean right nine times in ten. A face that shows none of the expressions"
         " gets one of them all the same."),
    ]
    shown = [*terms.limits, *(own if method.config["fold"] is not None else [])]
    return ["## Limits", "", *(f"* **{escape(title)}.** {escape(text)}" for title, text in shown)]


def _data(method: Method, terms: Terms) -> list[str]:
    content = method.content
    folds = f", in {content['n_folds']} folds by person" if content.get("n_folds") else ""
    return [
        "## Data", "",
        f"* {escape(database_name(method))}: {method.n_faces:,} faces{folds}; `fer-data card` on the prepared folder says more.",
        *_faces(content),
        f"* Manifest, sha256: `{content['manifest_sha256']}`",
        f"* Licence of the data: {escape(terms.licence)}",
    ]


def _faces(content: dict) -> list[str]:
    """Return how the faces were found: those of others must be, too."""
    faces = content.get("faces")
    if faces is None:                                                    # a run of before that was written down
        return []
    backend = faces["backend"]
    by = f"found with {faces['landmarks']} {backend['version']}".strip()
    weights = f" (model file, sha256: `{backend['weights_sha256']}`)" if backend["weights_sha256"] else ""
    colour = "RGB" if faces["colour"] == "rgb" else "grey"
    if faces["landmarks"] == NO_POINTS:
        return [f"* Faces: {how_framed(faces)}, {CANVAS} x {CANVAS} pixels, {colour}"]
    return [f"* Faces: {escape(by)}{weights}, aligned to {CANVAS} x {CANVAS} pixels, {colour}"]


def _training(method: Method) -> list[str]:
    """Return the stages with their budgets and main settings; all settings are in config.json."""
    rows = []
    for done in stages_of(method):
        name, stage = done.name, method.config[done.name]
        settings = ", ".join(f"{key} {stage[key]}" for key in _SETTINGS if stage.get(key) not in (None, 0.0, ""))
        what = _STAGES[stage.get("variant", "both") if name == "head" else name]
        if name == "gan" and not method.content.get("identities"):
            what = "DE-GAN without people: an encoder and a decoder draw faces of each training face's expression; a discriminator judges"
        if name == "head":
            what += ", the encoder trained on" if stage.get("encoder_lr") else ", the encoder frozen"
        rows.append([name, what, settings, f"{1000 * done.kimg:,.0f}", f"{done.passes:.1f}", f"{done.minutes:.1f}"])
    head = ["stage", "what", "settings", "images shown", "passes", "minutes"]
    several = sum(run.complete for run in method.runs) > 1
    each = "Images, passes over the training faces and minutes are means over the runs. " if several else ""
    network = ", ".join(f"{key} {_short(value)}" for key, value in method.config.get("network", {}).items() if value not in ([], False))
    return [
        "## How it was trained", "", *table(head, rows, words=3), "",
        f"{each}Networks: {escape(network)}. All settings: `config.json` of each run.",
    ]


def _short(value) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _protocol(method: Method) -> list[str]:
    rows = protocol(method)
    if method.config["fold"] is None:
        rows = [row for row in rows if row[0] not in _HELD_OUT]
    return ["## Protocol", "", *table(["what", "value"], [list(row) for row in rows], words=2)]


def _weights(method: Method) -> list[str]:
    """Return the files that this card is of, by hash."""
    rows = []
    for run in method.runs:
        for stage in STAGES_OF[method.config["method"]]:
            path = RunFolder(run.path).weights(stage)
            if run.complete and path.is_file():
                rows.append([f"{run.path.name}/{path.name}", f"{path.stat().st_size / 1e6:.1f} MB", sha256_of_file(path)])
    return ["## Files", "", *table(["weights", "size", "sha256"], rows, words=3)] if rows else []
