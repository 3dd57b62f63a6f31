"""Probe runs on disk, write probe.json into each and show a table.

In:  a complete run, or a folder of folds (fold0, fold1, ... each a run), perhaps the baseline's with it.
Out: RUN/probe.json; Probed. For a folder of folds each fold's probe on its own held-out people, and their mean in FOLDER/probe.json.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from fer_data.files import write_json_atomically
from fer_data.people import refuse_unknown
from fer_model.errors import RunError
from fer_model.evaluate.figures import plain_table
from fer_model.probe.features import GRID, samples_of
from fer_model.probe.probes import HIDDEN, PEOPLE, ProbeRow, probe
from fer_model.runs.fold_runs import complete_runs
from fer_model.runs.folder import RunFolder, code_version
from fer_model.runs.trained import load_run

__all__ = ["Probed", "mean_over_folds", "probe_run"]

SCHEMA_VERSION = 2                    # 1: identity's chance was one over the people; no floors
NAME = "probe.json"
RULES = {
    "view": "centre crop, unrotated, not mirrored; at most three frames of a sequence",
    "taps": f"means over {GRID}x{GRID} cells",
    "reduction": "standardised, PCA to one width for all features, one factor; learned on the training part alone",
    "linear": "logistic regression, C = 1",
    "mlp": f"one hidden layer of {HIDDEN}, alpha = 0.01",
    "verification": "cosine; genuine: one person, two expressions; impostor: another person with the second expression",
    "identity": "one expression of each person tested, trained on the person's others; whole sequences; value: top-1 of images",
    "expression": "trained on the training people, tested on the test fold; value: share of images",
    "floors": "expression alone: one-hot; people shuffled: each sequence has the features of another person who shows its expression",
}
_SHORT = {
    "verification eer": "verif.\nEER", "verification auc": "verif.\nAUC", "identity linear": "identity\nlinear",
    "identity mlp": "identity\nMLP", "expression linear": "expression\nlinear", "expression mlp": "expression\nMLP",
}


@dataclass(frozen=True)
class Probed:
    """All figures of a run, or their means over folds."""

    run: Path
    baseline: Path | None
    folds: int                        # how many runs; more than 1: value and chance are means, n_* are sums over folds
    seed: int
    rows: tuple[ProbeRow, ...]

    def to_json(self) -> dict:
        """Return what probe.json holds."""
        return {
            "schema_version": SCHEMA_VERSION, "run": str(self.run), "baseline": self.baseline and str(self.baseline),
            "folds": self.folds, "seed": self.seed, "rules": RULES, "code_version": code_version(), "rows": [asdict(r) for r in self.rows],
        }

    def __rich__(self):
        """Return a table for each group of people, for the console: features down, probes across."""
        from rich.console import Group

        tables = (part for people in PEOPLE for part in ("", self._table([r for r in self.rows if r.people == people])))
        kept = {row.people: row.n_unmoved for row in self.rows if row.n_unmoved}
        told = "keep their features, nobody else shows their expression."
        notes = (f"People shuffled: {number} sequences of the {people} {told}" for people, number in kept.items())
        return Group(*tables, *notes)

    def _table(self, rows: list[ProbeRow]):
        probes, cells = list(dict.fromkeys(row.probe for row in rows)), {(row.features, row.probe): row for row in rows}
        people, named = (max(row.n_people for row in rows if row.probe.startswith(what)) for what in ("", "identity"))
        of = f", {self.folds} folds: mean and standard deviation" if self.folds > 1 else ""
        a_fold = ""
        if self.folds > 1 and rows[0].people == PEOPLE[1]:               # who is tested once is trained on in all other folds
            people, named, a_fold = f"{people / self.folds:.4g}", f"{named / self.folds:.4g}", " a fold"
        title = f"{rows[0].people.capitalize()}: {people} people{a_fold}, {named} of them with two expressions or more{of}"
        table = plain_table(title, "features", *(_SHORT[name] for name in probes))
        for features in dict.fromkeys(row.features for row in rows):
            table.add_row(features, *(_cell(cells[features, name]) for name in probes))
        chances = (cells[rows[0].features, name].chance for name in probes)
        table.add_row("chance", *("" if chance is None else f"{chance:.1%}" for chance in chances))
        return table


def _cell(row: ProbeRow) -> str:
    return f"{row.value:.1%}" + ("" if row.spread is None else f"\n± {100 * row.spread:.1f}")


def probe_run(
    run: str | Path,                  # a run, or a folder of folds
    baseline: str | Path | None = None,       # of method cnn, on the same folds: its hidden layer is probed too
    data: str | Path | None = None,   # the prepared folder, if it no longer lies where the run says
    device: str = "auto",
    seed: int = 0,                    # of the order of expressions and of the MLP's first weights
    say: Callable[[str], None] = print,
) -> Probed:
    """Probe what the features of a run know of person and expression; write probe.json.

    Raises RunError if the run is not complete, if the baseline was trained on other people, or if too few people can be
    probed; children of FerError of the data.
    """
    run, baseline, data = Path(run), baseline and Path(baseline), data and Path(data)
    if RunFolder(run).config.is_file():
        return _probe_one(run, baseline, data, device, seed)
    folds = {one.path: baseline and baseline / one.path.relative_to(run) for one in complete_runs(run, say)}
    for theirs in filter(None, folds.values()):
        RunFolder(theirs).read_result()                                  # what is not there is said before hours are spent
    found = []
    for number, (fold, theirs) in enumerate(folds.items(), 1):
        found.append(_probe_one(fold, theirs, data, device, seed))
        say(f"{fold}: {number} of {len(folds)} probed")
    return _written(Probed(run, baseline, len(found), seed, mean_over_folds([one.rows for one in found])))


def _probe_one(run: Path, baseline: Path | None, data: Path | None, device: str, seed: int) -> Probed:
    trained = load_run(run, device)
    refuse_unknown(f"probing {run}", trained.identities, "`fer-model evaluate` shows its figures")
    train, test = samples_of(trained, load_run(baseline, device) if baseline else None, data)
    with threadpool_limits(1):        # matrices so small that BLAS's second thread only waits, and a waiting thread spins
        return _written(Probed(run, baseline, 1, seed, probe(train, test, seed)))


def _written(probed: Probed) -> Probed:
    write_json_atomically(probed.run / NAME, probed.to_json())
    return probed


def mean_over_folds(folds: list[tuple[ProbeRow, ...]]) -> tuple[ProbeRow, ...]:
    """Return each row's mean over folds with its standard deviation; counts are summed, the width is the smallest.

    Raises RunError if folds have not the same rows.
    """
    keys = [[(row.features, row.probe, row.people) for row in rows] for rows in folds]
    if any(these != keys[0] for these in keys):
        raise RunError("averaging probes over folds: all must have the same features, as runs of one configuration have")
    found = []
    for rows in zip(*folds, strict=True):
        values = np.array([row.value for row in rows])
        counts = {name: sum(getattr(row, name) for row in rows) for name in ("n_people", "n_train", "n_test")}
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        chance = None if rows[0].chance is None else float(np.mean([row.chance for row in rows]))
        width = min(row.width for row in rows)
        kept = None if any(row.n_unmoved is None for row in rows) else sum(row.n_unmoved for row in rows)
        found.append(replace(rows[0], value=float(values.mean()), chance=chance, width=width, spread=spread, n_unmoved=kept, **counts))
    return tuple(found)
