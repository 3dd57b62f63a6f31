"""Have the faces that a finished run synthesises judged, all of its faces as sources; write judged.json into the run.

In:  a complete run with a generator and its judges, or a folder of folds (fold0, fold1, ...); the prepared folder.
Out: RUN/judged.json; Judged. For a folder of folds their means too, in FOLDER/judged.json.

Each source gives its expression to `targets` training people, drawn by the seed, other than itself; sources are the centre views of the
training people and of the test fold, at most three frames of a sequence. Training people are drawn as themselves, too: who is not
recognised there is recognised nowhere. The judges (stages/judges.py) have seen real training faces alone;
the last row says what they reach on real faces that they have not learned from. On photographs a second judge of identity is asked, dlib's
face descriptor: the training person whose mean descriptor is nearest.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_data.errors import WeightsError
from fer_data.files import write_json_atomically
from fer_data.store.loader import open_views
from fer_model.data.fold import labels_of, people_of
from fer_model.engine.checkpoint import read_tensors
from fer_model.engine.journal import read_log
from fer_model.engine.randomness import stream
from fer_model.errors import RunError
from fer_model.evaluate.figures import plain_table
from fer_model.networks import Generator
from fer_model.probe.descriptor import Descriptor, nearest
from fer_model.probe.features import few_frames
from fer_model.runs.fold_runs import complete_runs
from fer_model.runs.folder import RunFolder, code_version
from fer_model.runs.trained import TrainedRun, load_networks, load_run
from fer_model.stages.classifier import centre_inputs
from fer_model.stages.gan import draw_codes
from fer_model.stages.judges import AT_ONCE, Verdicts, cells_seen, held_out, verdicts

__all__ = ["SOURCES", "Judged", "JudgedRow", "judge_run", "mean_of_folds"]

SCHEMA_VERSION = 1
NAME = "judged.json"
TARGETS = {"training people": "other", "training people as themselves": "own", "test fold": "any"}        # of draw_codes, by sources
SOURCES = (*TARGETS, "real faces")
_SHOWN = {                            # share -> head of its column
    "both_right": "both\nright", "judged_expression": "expression", "judged_identity": "identity",
    "described_identity": "identity,\ndlib", "source_identity": "source\nperson",
}
RULES = {
    "sources": "training people, test fold: faces synthesised from theirs, of other people, and of themselves where it is said; real faces:"
    " training faces that no judge has learned from",
    "seen, unseen": "cells (target identity, expression) that training has, and has not",
    "described_identity": "the training person with the nearest mean of dlib's face descriptors",
    "d_identity": "share of faces in which D's own identity output names the target: of the log, last tick",
}


@dataclass(frozen=True)
class JudgedRow:
    """What the judges say of the faces from one kind of source."""

    sources: str                      # SOURCES
    n_faces: int
    n_unseen: int                     # of them in unseen cells
    shares: dict[str, float]          # as Verdicts.shares; and described_identity, which is split in the same way
    spread: dict[str, float] | None = None       # over folds: standard deviation of each share that several have


@dataclass(frozen=True)
class Judged:
    """All figures of a run, or their means over folds."""

    run: Path
    folds: int                        # how many runs; more than 1: shares are means, n_* are sums over folds
    seed: int
    targets: int                      # synthesised faces of each source
    rows: tuple[JudgedRow, ...]
    d_identity: float | None          # of the log; None: the stage has no D
    remark: str                       # why dlib's descriptor was not asked; "": it was

    def to_json(self) -> dict:
        """Return what judged.json holds."""
        return {
            "schema_version": SCHEMA_VERSION, "run": str(self.run), "folds": self.folds, "seed": self.seed, "targets": self.targets,
            "rules": RULES, "code_version": code_version(), "d_identity": self.d_identity, "remark": self.remark,
            "rows": [asdict(row) for row in self.rows],
        }

    def __rich__(self):
        """Return a table, for the console: sources and their cells down, what is judged across."""
        from rich.console import Group
        from rich.markup import escape

        shown = [name for name in _SHOWN if any(name in row.shares for row in self.rows)]
        folds = f", {self.folds} folds: mean and standard deviation" if self.folds > 1 else ""
        table = plain_table(f"Share of faces that are judged right{folds}", "sources", "faces", *(_SHOWN[name] for name in shown))
        for row in self.rows:
            for part, what, n in (("", row.sources, row.n_faces), ("_unseen", "  unseen cells", row.n_unseen),
                                  ("_seen", "  seen cells", row.n_faces - row.n_unseen)):
                if f"both_right{part}" in row.shares:
                    table.add_row(what, str(n), *(_cell(row, name + part) for name in shown))
        said = [] if self.d_identity is None else [f"D itself names the target in {self.d_identity:.1%} of the faces (log, last tick)."]
        return Group(table, *said, *([escape(self.remark)] if self.remark else []))


def _cell(row: JudgedRow, name: str) -> str:
    if name not in row.shares:
        return ""
    spread = f"\n± {100 * row.spread[name]:.1f}" if row.spread and name in row.spread else ""
    return f"{row.shares[name]:.1%}{spread}"


def judge_run(
    run: str | Path,
    data: str | Path | None = None,   # the prepared folder, if it is no longer where the run says
    device: str = "auto",
    seed: int = 0,                    # of targets and noise
    targets: int = 1,
    say: Callable[[str], None] = print,
) -> Judged:
    """Judge a run, or each complete run of a folder of folds, and their mean.

    Raises RunError if a run has no generator or no judges, and as load_run and TrainedRun.open_data do.
    """
    run, data = Path(run), data and Path(data)
    if (run / "config.json").is_file():
        return _judge_one(run, data, device, seed, targets)
    found = []
    for one in complete_runs(run, say):
        found.append(_judge_one(one.path, data, device, seed, targets))
        say(f"{one.path}: judged")
    return _written(mean_of_folds(run, found))


def mean_of_folds(run: Path, folds: list[Judged]) -> Judged:
    """Return the mean of each share over the folds that have it; `run` is the folder of the folds."""
    rows = []
    for sources in SOURCES:
        mine = [row for one in folds for row in one.rows if row.sources == sources]
        if mine:
            names = dict.fromkeys(name for row in mine for name in row.shares)
            values = {name: [row.shares[name] for row in mine if name in row.shares] for name in names}
            means = {name: float(np.mean(those)) for name, those in values.items()}
            spread = {name: float(np.std(those, ddof=1)) for name, those in values.items() if len(those) > 1}
            counts = sum(row.n_faces for row in mine), sum(row.n_unseen for row in mine)
            rows.append(JudgedRow(sources, *counts, means, spread if len(folds) > 1 else None))
    own = [one.d_identity for one in folds if one.d_identity is not None]
    return Judged(run, len(folds), folds[0].seed, folds[0].targets, tuple(rows), float(np.mean(own)) if own else None, folds[0].remark)


def _written(judged: Judged) -> Judged:
    write_json_atomically(judged.run / NAME, judged.to_json())
    return judged


# --- one run ----------------------------------------------------------------------------------------------------------


def _judge_one(run: Path, data: Path | None, device: str, seed: int, targets: int) -> Judged:
    trained = load_run(run, device)
    generator, judges = trained.generator_for("judging synthesised faces"), _judges(trained)
    data, fold = trained.open_data(data)
    describe, remark = _descriptor(trained)
    kept = ~held_out(fold.train, trained.config.seed)
    real = few_frames(fold.train[kept])
    asked = _Judge(trained, data, judges, cells_seen(fold), describe, real)
    rows = []
    for sources in TARGETS:
        people = few_frames(fold.test if sources == "test fold" else fold.train)
        if len(people):
            rngs = [stream(seed, f"judge/{sources}", turn) for turn in range(targets)]
            rows.append(asked.synthesised(sources, people, generator, rngs))
    unknown = few_frames(fold.train[~kept])
    if len(unknown):
        rows.append(asked.real(unknown))
    ticks = [line["d_identity"] for line in read_log(RunFolder(run).log) if "d_identity" in line]
    return _written(Judged(run, 1, seed, targets, tuple(rows), ticks[-1] if ticks else None, remark))


def _judges(trained: TrainedRun) -> dict:
    """Return the judges by kind. Raises RunError if they are not in the run folder."""
    path, stage = RunFolder(trained.run).weights("judges"), trained.config.synthesiser
    if not path.is_file():
        raise RunError(f"judging synthesised faces: there is no {path}; judge the run that its stage {stage} was trained in")
    sizes = len(trained.classes), len(trained.identities)
    return load_networks(trained.config, "judges", *sizes, read_tensors(path), trained.device, str(path))


def _descriptor(trained: TrainedRun) -> tuple[Descriptor | None, str]:
    """Return dlib's face descriptor and "", or None and why it is not asked."""
    if trained.content.get("drawn") is not False:
        return None, "dlib's face descriptor was made for photographs; it is not asked about synthetic people."
    if (trained.content.get("faces") or {}).get("landmarks") == "none":
        return None, "dlib's face descriptor needs to know where the eyes are; these faces were taken whole."
    try:
        return Descriptor(), ""
    except WeightsError as error:
        return None, f"dlib's face descriptor was not asked: {error}"


class _Judge:
    """Asks the judges of one run."""

    def __init__(self, trained: TrainedRun, data: Path, judges: dict, seen: Tensor, describe: Descriptor | None, known: pd.DataFrame):
        """`known`: rows of real faces of the training people, by whose means dlib's descriptor names people."""
        self.trained, self.data, self.judges, self.seen, self.describe = trained, data, judges, seen, describe
        self.known, self.who = None, self._people(known).numpy()
        if describe:
            self.known = np.concatenate([describe(x) for x, _ in self._faces(known)])            # (m, 128)

    def synthesised(self, sources: str, rows: pd.DataFrame, generator: Generator, rngs: list[torch.Generator]) -> JudgedRow:
        """Return what is said of faces G(x, I, z), x from `rows`, once for each of `rngs`."""
        targets_are = TARGETS[sources]
        source = torch.zeros(len(rows), dtype=torch.int64) if targets_are == "any" else self._people(rows)
        n_i, n_z = len(self.trained.identities), self.trained.config.network.noise
        drawn = [draw_codes(source, n_i, n_z, targets_are, rng) for rng in rngs]   # targets (n,), noises (n, N_z)
        device, made, places, targets = self.trained.device, [], [], []
        with torch.inference_mode():
            for x, place in self._faces(rows):
                f = generator.encoder(x)
                for target, noise in drawn:
                    code = F.one_hot(target[place], n_i).float().to(device)
                    made.append(generator.decoder(f, code, noise[place].to(device)))
                    places.append(place)
                    targets.append(target[place])
        place, target = torch.cat(places), torch.cat(targets)
        expression = self._expressions(rows)[place]
        seen, shown = self.seen[target, expression], source[place] if targets_are == "other" else None
        return self._row(sources, torch.cat(made), expression, target, seen, shown)

    def real(self, rows: pd.DataFrame) -> JudgedRow:
        """Return what is said of real faces of training people."""
        return self._row(SOURCES[-1], torch.cat([x for x, _ in self._faces(rows)]), self._expressions(rows), self._people(rows))

    def _row(self, sources: str, faces: Tensor, expression: Tensor, target: Tensor, seen=None, source=None) -> JudgedRow:
        shares = verdicts(self.judges, faces).shares(expression, target, seen, source)
        if self.describe:
            named = Verdicts(expression, torch.from_numpy(nearest(self.describe(faces), self.known, self.who)))
            found = named.shares(expression, target, seen)
            shares |= {f"described_{name.removeprefix('judged_')}": found[name] for name in found if name.startswith("judged_identity")}
        return JudgedRow(sources, len(target), 0 if seen is None else int((~seen).sum()), shares)

    def _faces(self, rows: pd.DataFrame):
        """Yield the test views of some rows (b, C, S, S) with their places in `rows` (b,)."""
        views, size = open_views(self.data, rows, self.trained.device), self.trained.config.network.image_size
        for place in torch.arange(len(rows)).split(AT_ONCE):
            yield centre_inputs(views, place, size), place

    def _people(self, rows: pd.DataFrame) -> Tensor:
        return labels_of(people_of(rows), self.trained.identities, torch.device("cpu"))

    def _expressions(self, rows: pd.DataFrame) -> Tensor:
        return labels_of(rows["expression"], self.trained.classes, torch.device("cpu"))
