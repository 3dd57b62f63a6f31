"""Complete runs and cross-validations beside each other: folders in, one table out.

In:  run folders, and folders of them, as `crossval` leaves them: fold0, fold1, ...; or shuffled0, shuffled1, ..., each with
     folds of its own. Perhaps another prepared database, or the number of views that vote.
Out: Comparison, for the console or JSON. Nothing is written.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from fer_data.text import natural_key
from fer_model.errors import RunError
from fer_model.evaluate.figures import Evaluation, evaluate, plain_table
from fer_model.evaluate.pooled import Pooled, Spread, pool, refuse_mixed, spread
from fer_model.evaluate.repredict import Repredicted, repredict
from fer_model.runs.folder import RunFolder
from fer_model.runs.predictions import read_predictions

__all__ = ["Comparison", "Entry", "compare", "evaluate_run"]


def evaluate_run(run: Path) -> Evaluation:
    """Return the figures of a complete run. Raises RunError if it is not."""
    RunFolder(run).read_result()
    return evaluate(read_predictions(RunFolder(run).predictions))


@dataclass(frozen=True)
class Entry:
    """One line of a comparison: a run, or the folds of one cross-validation."""

    path: Path
    runs: tuple[Path, ...]            # complete ones
    results: tuple[dict, ...]         # result.json of each
    evaluation: Evaluation            # of all of them, pooled
    pooled: Pooled | None             # None: `path` is a run by itself
    notes: tuple[str, ...]

    @property
    def kimg(self) -> float:
        """Thousands of images that a network was shown, over its stages; the mean over the runs."""
        return self._mean_of("kimg")

    @property
    def minutes(self) -> float:
        """Minutes of training, over the stages; the mean over the runs."""
        return self._mean_of("seconds") / 60

    def _mean_of(self, name: str) -> float:
        return sum(stage[name] for result in self.results for stage in result["stages"].values()) / len(self.results)

    def to_json(self, more: dict) -> dict:
        """Return a run's path and result with the figures of this comparison; of several runs what they share."""
        notes = {"notes": list(self.notes)} if self.notes else {}
        same = {key: value for key, value in self.results[0].items() if all(result.get(key) == value for result in self.results)}
        if "vote" in more:
            same["rules"] = {**same["rules"], "test_view": _voting(more["vote"])}
        if self.pooled is None:
            return {"run": str(self.path), **same, "evaluation": self.evaluation.to_dict(), **more, **notes}
        runs = {"runs": [str(run) for run in self.runs], "kimg": self.kimg, "minutes": self.minutes}
        return {"run": str(self.path), **same, **runs, **self.pooled.to_dict(), **more, **notes}


@dataclass(frozen=True)
class Comparison:
    """Runs and cross-validations, in the order given."""

    entries: tuple[Entry, ...]
    repeats: tuple[tuple[Path, Spread, Spread], ...] = ()     # folder, pooled accuracy per frame and per sequence over its repeats
    vote: int = 1                     # views whose probabilities were averaged
    data: Path | None = None          # the database tested on; None: each run's own

    def to_json(self) -> list[dict]:
        """Return one object per entry: path, result, figures, notes; then one per folder of repeats."""
        more = ({} if self.vote == 1 else {"vote": self.vote}) | ({} if self.data is None else {"tested_on": str(self.data)})
        repeats = [
            {"repeats": str(path), "pooled_frame_accuracy": asdict(frame), "pooled_sequence_accuracy": asdict(sequence)}
            for path, frame, sequence in self.repeats
        ]
        return [entry.to_json(more) for entry in self.entries] + repeats

    def __rich__(self):
        """Return one entry with its confusion matrix, several as one table, for the console."""
        from rich.console import Group

        views = [] if self.vote == 1 else [f"Test view: {_voting(self.vote)}."]
        notes = dict.fromkeys(note for entry in self.entries for note in entry.notes)                # each once, in order
        one = self.entries[0]
        body = self._table() if len(self.entries) > 1 else one.evaluation if one.pooled is None else one.pooled
        return Group(body, *views, *notes, *(_repeat_sentence(*repeat) for repeat in self.repeats))

    def _table(self):
        first, folds = self.entries[0].evaluation, any(entry.pooled for entry in self.entries)
        always = f"{first.n_images} images of {first.n_subjects} people, always {first.majority_class}: {first.majority_accuracy:.1%}"
        same = len({(e.evaluation.n_images, e.evaluation.n_subjects, e.evaluation.majority_accuracy) for e in self.entries}) == 1
        title = f"{always if same else 'Of different images'}; in brackets 95 % over people"
        names = ["run", *([] if same else ["images"]), "kimg", "min", "per frame", "per sequence", "macro recall"]
        table = plain_table(title, *names, *(["mean of folds ± sd"] if folds else []))
        table.columns[0].overflow = "fold"
        for entry in self.entries:
            found, images = entry.evaluation, [] if same else [str(entry.evaluation.n_images)]
            shares = (
                f"{share.value:.1%}\n({100 * share.low:.1f} to {100 * share.high:.1f})"
                for share in (found.frame_accuracy, found.sequence_accuracy)
            )
            means = [] if not folds else [""] if entry.pooled is None else [f"{entry.pooled.frame}\n{entry.pooled.sequence}"]
            cells = (*images, f"{entry.kimg:g}", f"{entry.minutes:.1f}", *shares, f"{found.frame_macro_recall:.1%}", *means)
            table.add_row(f"{entry.results[0]['name']}\n{entry.path}", *cells)
        if folds:
            table.caption = "Accuracies are pooled over the folds; beside them the mean of folds, per frame and below it per sequence."
            table.caption_justify = "left"
        return table


def _voting(vote: int) -> str:
    return f"mean of the probabilities of {vote} views of each image"


def _repeat_sentence(path: Path, frame: Spread, sequence: Spread) -> str:
    return (
        f"{path}: the same people dealt out to folds {frame.n} times; pooled accuracy per frame {frame}"
        f" ({frame.low:.1%} to {frame.high:.1%}), per sequence {sequence} ({sequence.low:.1%} to {sequence.high:.1%})"
    )


def compare(
    paths: Sequence[Path],
    data: Path | None = None,         # another prepared database to test on; None: each run's own test fold
    vote: int = 1,                    # 1, 10, 110: views whose probabilities are averaged
    device: str = "auto",             # where predictions are made anew; not looked at otherwise
) -> Comparison:
    """Return the figures of runs and cross-validations: from predictions.csv, or predicted anew for other data or views.

    Raises RunError if a folder holds no complete run, if folds do not belong together, or as repredict does.
    """
    entries, repeats = [], []
    for path in map(Path, paths):
        drawn = _children(path, "shuffled")
        parts = [_entry(part, data, vote, device) for part in drawn]
        if _children(path, "fold") or not drawn:
            entries.append(_entry(path, data, vote, device))
        entries += parts
        if drawn:
            found = [part.evaluation for part in parts]
            repeats.append((path, spread([e.frame_accuracy.value for e in found]), spread([e.sequence_accuracy.value for e in found])))
    return Comparison(tuple(entries), tuple(repeats), vote, data)


def _children(path: Path, name: str) -> list[Path]:
    """Return the folders <name>0, <name>1, ... in a folder that is no run itself, in order."""
    if (path / "config.json").is_file() or not path.is_dir():
        return []
    found = [child for child in path.iterdir() if child.is_dir() and re.fullmatch(rf"{name}\d+", child.name)]
    return sorted(found, key=lambda child: natural_key(child.name))


def _entry(path: Path, data: Path | None, vote: int, device: str) -> Entry:
    folds = _children(path, "fold")
    runs = [run for run in folds if RunFolder(run).result.is_file()] if folds else [path]
    if not runs:
        raise RunError(f"reading a cross-validation: none of the {len(folds)} folds in {path} is complete; `fer-model crossval` goes on")
    results = tuple(RunFolder(run).read_result() for run in runs)
    contents = [RunFolder(run).read_config()[1] for run in runs]
    notes = refuse_mixed(runs, contents)
    found = [_predictions(run, data, vote, device) for run in runs]
    frames, elsewhere = [one.frame for one in found], found[0].elsewhere
    notes += dict.fromkeys(note for one in found for note in one.notes)
    if not folds:
        return Entry(path, tuple(runs), results, evaluate(frames[0]), None, tuple(notes))
    numbers, n_folds = [content["config"]["fold"] for content in contents], contents[0]["n_folds"]
    missing = sorted(set(range(n_folds)) - set(numbers))
    if missing:
        notes.append(f"{path}: {len(runs)} of {n_folds} folds are complete, the figures are theirs.")
    pooled = pool(numbers, frames, n_folds, elsewhere)
    return Entry(path, tuple(runs), results, pooled.evaluation, pooled, tuple(notes))


def _predictions(run: Path, data: Path | None, vote: int, device: str) -> Repredicted:
    if data is None and vote == 1:
        return Repredicted(_stored(run), False, ())
    return repredict(run, data, vote, device)


def _stored(run: Path) -> pd.DataFrame:
    return read_predictions(RunFolder(run).predictions)
