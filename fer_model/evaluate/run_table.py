"""Evaluate complete runs and cross-validations and show them in one table.

In:  run folders, and folders of them, as `crossval` leaves them: fold0, fold1, ...; or shuffled0, shuffled1, ..., each with
     folds of its own. Perhaps another prepared database, or the number of views that vote.
Out: RunTable, for the console or JSON. Nothing is written.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from fer_data.people import UNKNOWN, people_text
from fer_data.text import counted, named
from fer_model.errors import RunError
from fer_model.evaluate.figures import UNITS, Evaluation, bracketed, evaluate, no_interval, plain_table
from fer_model.evaluate.paired import Paired, paired_difference, shared_rows
from fer_model.evaluate.pooled import OverRuns, Pooled, Spread, over_runs, pool, spread
from fer_model.evaluate.repredict import Repredicted, repredict
from fer_model.runs.fold_runs import Costs, FoldRun, RunGroup, costs, find_groups, folds_apart, way_on
from fer_model.runs.folder import RunFolder
from fer_model.runs.methods import one_method
from fer_model.runs.predictions import judged, together
from fer_model.runs.pretrained import names_seen

__all__ = ["RunRow", "RunTable", "evaluate_run", "evaluate_runs"]


def evaluate_run(run: str | Path) -> Evaluation:
    """Return the figures of a complete run. Raises RunError if it is not."""
    RunFolder(run).read_result()
    return evaluate(judged(RunFolder(run).read_predictions()))


@dataclass(frozen=True)
class RunRow:
    """One row of the table: a run, or the folds of one cross-validation."""

    path: Path
    runs: tuple[FoldRun, ...]         # complete ones: of one data set and one assignment of people to folds
    results: tuple[dict, ...]         # result.json of each
    evaluation: Evaluation            # of all of them, pooled
    pooled: Pooled | None             # None: `path` is a run by itself
    notes: tuple[str, ...]
    elsewhere: bool = False           # tested on another database: each run on all of its images
    faces: dict | None = None         # tested elsewhere: how the faces trained on and tested on were framed
    frames: tuple[pd.DataFrame, ...] = field(default=(), repr=False, compare=False)     # predictions of each run

    @property
    def folds(self) -> tuple[int, ...]:
        """The number of each run's fold."""
        return tuple(run.fold for run in self.runs)

    @property
    def dataset(self) -> str:
        """What was trained on."""
        return self.runs[0].content["dataset"]

    @property
    def seen_before(self) -> str:
        """What the weights had seen that the runs started from; "": they began with random weights."""
        return " or ".join(dict.fromkeys(names_seen(run.content.get("init")) for run in self.runs))

    @property
    def costs(self) -> Costs:
        """What a run cost; the mean over the runs."""
        return costs(self.results)

    def to_json(self, more: dict) -> dict:
        """Return a run's path and result with the figures of this table; of several runs what they share."""
        notes = ({"notes": list(self.notes)} if self.notes else {}) | ({"faces": self.faces} if self.faces else {})
        same = _shared(self.results, ("rules", "init"))                           # one rule differs with --selection validation
        if "vote" in more:
            same["rules"] = {**same.get("rules", {}), "test_view": _voting(more["vote"])}
        if self.pooled is None:
            return {"run": str(self.path), **same, "evaluation": self.evaluation.to_json(), **more, **notes}
        runs = [str(run.path) for run in self.runs]
        return {"run": str(self.path), **same, "runs": runs, **asdict(self.costs), **self.pooled.to_json(), **more, **notes}


def _shared(objects: Sequence[dict], parts: Sequence[str] = ()) -> dict:
    """Return the entries in which all agree; of `parts`, which are objects themselves, the entries in which these do.

    >>> _shared([{"fold": 0, "rules": {"epoch": 4, "unit": "frame"}}, {"fold": 1, "rules": {"epoch": 8, "unit": "frame"}}], ["rules"])
    {'rules': {'unit': 'frame'}}
    """
    found = {}
    for key, value in objects[0].items():
        values = [one.get(key) for one in objects]
        if all(one == value for one in values):
            found[key] = value
        elif key in parts and all(isinstance(one, dict) for one in values):
            found[key] = _shared(values)
    return found


@dataclass(frozen=True)
class Against:
    """A row against the first."""

    paired: Paired
    networks: tuple[tuple[int, ...], tuple[int, ...]] | None = None      # tested elsewhere: folds of the first's networks, and of the row's
    over_networks: OverRuns | None = None                    # tested elsewhere, of the same folds: how the difference is from fold to fold

    def to_json(self) -> dict:
        """Return the difference, and of rows tested elsewhere the folds of the networks that it is of."""
        first, row = self.networks or ((), ())
        folds = {} if not self.networks else {"folds": list(row)} if first == row else {"folds": list(row), "folds_of_first": list(first)}
        return asdict(self.paired) | folds | ({} if self.over_networks is None else {"over_networks": asdict(self.over_networks)})


@dataclass(frozen=True)
class RunTable:
    """Runs and cross-validations, in the order given."""

    rows: tuple[RunRow, ...]
    repeats: tuple[tuple[Path, Spread, Spread], ...] = ()     # folder, pooled accuracy per frame and per sequence over its repeats
    vote: int = 1                     # views whose probabilities were averaged
    data: Path | None = None          # the database tested on; None: each run's own
    against_first: tuple[Against | None, ...] = ()            # each row but the first against it, per frame; None: nothing in common

    def to_json(self) -> list[dict]:
        """Return one object per row: path, result, figures, notes; then one per folder of repeats."""
        more = ({} if self.vote == 1 else {"vote": self.vote}) | ({} if self.data is None else {"tested_on": str(self.data)})
        repeats = [
            {"repeats": str(path), "pooled_frame_accuracy": asdict(frame), "pooled_sequence_accuracy": asdict(sequence)}
            for path, frame, sequence in self.repeats
        ]
        pairs = [{} if found is None else {"against_first": found.to_json()} for found in (None, *self.against_first)]
        return [row.to_json(more | pair) for row, pair in zip_longest(self.rows, pairs, fillvalue={})] + repeats

    def __rich__(self):
        """Return one row with its confusion matrix, several as one table, for the console."""
        from rich.console import Group
        from rich.markup import escape

        views = [] if self.vote == 1 else [f"Test view: {_voting(self.vote)}."]
        notes = dict.fromkeys(note for row in self.rows for note in row.notes)                    # each once, in order
        one = self.rows[0]
        alone = one.pooled or (one.evaluation if one.faces is None else one.evaluation.told(f"of {self.data}"))
        body = self._table() if len(self.rows) > 1 else alone
        pairs = [_pair_sentence(self.rows[0], *pair) for pair in zip(self.rows[1:], self.against_first, strict=False) if pair[1]]
        return Group(body, *map(escape, (*pairs, *views, *notes, *(_repeat_sentence(*repeat) for repeat in self.repeats))))

    def _table(self):
        from rich.markup import escape

        first, folds = self.rows[0].evaluation, any(row.pooled for row in self.rows)
        always = f"{first.n_images} images{_whose(first.n_subjects)}, always {first.majority_class}: {first.majority_accuracy:.1%}"
        same = len({(e.n_images, e.n_subjects, e.majority_accuracy) for e in (row.evaluation for row in self.rows)}) == 1
        over = " or ".join(dict.fromkeys(row.evaluation.over for row in self.rows))
        title = f"{always if same else 'Of different images'}; in brackets 95 % over {over}"
        names = ["run", *([] if same else ["images"]), "kimg", "processor\nmin", "per frame", "per sequence", "macro recall"]
        started = any(row.seen_before for row in self.rows)
        table = plain_table(title, *names, *(["mean of folds ± sd"] if folds else []), *(["seen before"] if started else []))
        table.columns[0].overflow = "fold"
        for row in self.rows:
            found = row.evaluation
            images = [] if same else [str(found.n_images)]
            shares = (
                f"{share.value:.1%}\n{bracketed(share, found.n_subjects)}"
                for share in (found.frame_accuracy, found.sequence_accuracy)
            )
            means = [] if not folds else [""] if row.pooled is None else [f"{row.pooled.means['frame']}\n{row.pooled.means['sequence']}"]
            cells = (*images, f"{row.costs.kimg:g}", row.costs.processor_text, *shares, f"{found.frame_macro_recall:.1%}", *means)
            seen = [escape(row.seen_before or "nothing")] if started else []
            table.add_row(escape(f"{row.results[0]['name']}\n{row.path}"), *cells, *seen)
        if folds:
            table.caption = "Accuracies are pooled over the folds; next to them the mean of folds, per frame and below it per sequence."
            table.caption_justify = "left"
        return table


def _whose(people: int) -> str:
    return f" of {people_text(people)}" if people else f" ({UNKNOWN})"


def _voting(vote: int) -> str:
    return f"mean of the probabilities of {vote} views of each image"


def _pair_sentence(first: RunRow, row: RunRow, found: Against) -> str:
    paired = found.paired
    interval, over = f"{100 * paired.low:.1f} to {100 * paired.high:.1f}", f"; 95 % over {row.evaluation.over}"
    if why := no_interval(paired.low, paired.high, paired.n_subjects):
        interval, over = f"no interval: {why}", ""
    return (
        f"{row.path} minus {first.path}: {100 * paired.difference:+.1f} points ({interval})"
        f" per frame, on the {paired.n} images{_whose(paired.n_subjects)} that both predict{_whose_networks(first, row, found)}{over}"
        f"{_over_networks(found.over_networks)}"
    )


def _over_networks(found: OverRuns | None) -> str:
    return "" if found is None else f"; over the {found.n} networks {100 * found.low:.1f} to {100 * found.high:.1f}, as training varies too"


def _whose_networks(first: RunRow, row: RunRow, found: Against) -> str:
    """Return of which networks a difference is, where that is not all of two rows with the same folds."""
    if found.networks is None or first.folds == row.folds == found.networks[0] == found.networks[1]:
        return ""
    if first.dataset != row.dataset:
        return f", by all networks of each, which were trained on {row.dataset} and on {first.dataset}"
    return f", by the networks of {named('fold', found.networks[0])} alone, which both have"


def _repeat_sentence(path: Path, frame: Spread, sequence: Spread) -> str:
    return (
        f"{path}: the same people split into folds {frame.n} times; pooled accuracy per frame {frame}"
        f" ({frame.low:.1%} to {frame.high:.1%}), per sequence {sequence} ({sequence.low:.1%} to {sequence.high:.1%})"
    )


def evaluate_runs(
    paths: Sequence[Path],
    data: Path | None = None,         # another prepared database to test on; None: each run's own test fold
    vote: int = 1,                    # 1, 10, 110: views whose probabilities are averaged
    device: str = "auto",             # where predictions are made again; not looked at otherwise
) -> RunTable:
    """Return the figures of runs and cross-validations: from predictions.csv, or predicted again for other data or views.

    Raises RunError if a folder holds no complete run, if folds do not belong together, or as repredict does.
    """
    rows, repeats = [], []
    for path in map(Path, paths):
        groups = find_groups(path)
        done = [group for group in groups if group.alone or group.complete]
        if not done:
            runs = [run for group in groups for run in group.runs]
            raise RunError(f"reading a cross-validation: none of the {len(runs)} folds in {path} is complete; {way_on(runs)}")
        found = [_row(group, data, vote, device) for group in done]
        left = tuple(f"{group.path}: no fold is complete, it is in no figure." for group in groups if group not in done)
        repeated = sum(group.repeat for group in groups)
        shuffled = [
            row.evaluation for group, row in zip(done, found, strict=True)
            if group.repeat and row.pooled and len(row.folds) == row.pooled.n_folds
        ]
        if lost := repeated - len(shuffled):
            verb = "has" if lost == 1 else "have"
            left += (f"{path}: {lost} of {counted(repeated, 'repeat')} {verb} not all folds; only whole ones are in a mean of repeats.",)
        rows += [*found[:-1], replace(found[-1], notes=found[-1].notes + left)]
        if shuffled:
            frame, sequence = ([getattr(one, f"{unit}_accuracy").value for one in shuffled] for unit in UNITS)
            repeats.append((path, spread(frame), spread(sequence)))
    alone = len(rows) == len(paths)                                  # each path is one row: repeats are no methods to compare
    against = []
    for i, row in enumerate(rows[1:] if alone else (), 1):
        found, why_not = _against(rows[0], row)
        against.append(found)
        rows[i] = replace(row, notes=(*row.notes, *why_not))
    return RunTable(tuple(rows), tuple(repeats), vote, data, tuple(against))


def _against(first: RunRow, row: RunRow) -> tuple[Against | None, tuple[str, ...]]:
    """Return how a row differs from the first, and a note if their folds are others or networks tested elsewhere have none in common.

    At home every image has one network, that of its fold. Elsewhere every network sees every image, and a network of another fold had
    other training people: only networks of the same fold are compared. Of two data sets no folds are the same: then all networks are.
    """
    if first.elsewhere == row.elsewhere and first.dataset == row.dataset and (why := folds_apart(first.runs, row.runs)):
        return None, (f"{row.path}: no difference to {first.path}, whose folds are others: {why}.",)
    if not (first.elsewhere and row.elsewhere):
        return _difference(_as_one(first), _as_one(row), None), ()
    if first.dataset != row.dataset:
        return _difference(first.frames, row.frames, (first.folds, row.folds)), ()
    both = tuple(fold for fold in first.folds if fold in row.folds)
    if not both:
        has = f"this has {named('fold', row.folds)}, that has {named('fold', first.folds)}, so their networks had other training people"
        return None, (f"{row.path}: no difference to {first.path}, no fold is in both: {has}.",)
    mine, theirs = ([frame for fold, frame in zip(one.folds, one.frames, strict=True) if fold in both] for one in (first, row))
    found = _difference(mine, theirs, (both, both))
    if found is not None:                                                # every network saw the same images
        shared = [shared_rows([one], [other]) for one, other in zip(theirs, mine, strict=True)]
        found = replace(found, over_networks=over_runs([float((rows["first"] - rows["second"]).mean()) for rows in shared]))
    return found, ()


def _difference(first: Sequence[pd.DataFrame], row: Sequence[pd.DataFrame], networks) -> Against | None:
    paired = paired_difference(row, first, np.random.default_rng(0))
    return None if paired is None else Against(paired, networks)


def _as_one(row: RunRow) -> Sequence[pd.DataFrame]:
    """Return the predictions of the folds as one frame; of networks that all saw the same images, a frame each."""
    return row.frames if row.elsewhere else (together(row.frames),)


def _row(group: RunGroup, data: Path | None, vote: int, device: str) -> RunRow:
    runs = group.runs if group.alone else group.complete
    results, notes = tuple(run.result for run in runs), one_method(runs)
    found = [_predictions(run, data, vote, device) for run in runs]
    frames, elsewhere = [one.frame for one in found], found[0].elsewhere
    notes += dict.fromkeys(note for one in found for note in one.notes)
    numbers, n_folds = [run.fold for run in runs], runs[0].content.get("n_folds", len(group.runs))
    pooled = None
    if not group.alone:
        if set(range(n_folds)) - set(numbers):
            notes.append(f"{group.path}: {len(runs)} of {n_folds} folds are complete, the figures are theirs.")
        pooled = pool(numbers, frames, n_folds, elsewhere)
    return RunRow(
        group.path, tuple(runs), results,
        evaluate(frames[0]) if pooled is None else pooled.evaluation, pooled, tuple(notes), elsewhere, found[0].faces, tuple(frames),
    )


def _predictions(run: FoldRun, data: Path | None, vote: int, device: str) -> Repredicted:
    if data is None and vote == 1:
        return Repredicted(run.predictions, False, ())
    return repredict(run.path, data, vote, device)
