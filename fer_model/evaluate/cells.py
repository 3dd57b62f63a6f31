"""How far methods lean on who is shown: figures of runs that were trained without some cells (data/cells.py), arm by arm.

In:  a folder of arms, as `fer-model shortcut` leaves it: ARM/draw<N>-seed<N>, each a run; one arm is the baseline.
Out: Cells: of each arm its accuracy on what training people do not show in training (unseen), on new people, on shown cells; its shortcut
     rate; differences of every two arms, paired; recovery. For the console and as JSON. Shares are 0..1.

    shortcut rate   share of the errors on unseen cells that name an expression which that person shows in training
    recovery        (method - baseline) / (baseline of the control - baseline), accuracies on unseen cells: 0 nothing, 1 all that it costs
                    the baseline not to have seen the cells

Intervals are 95 %, by bootstrap over people: each person stays together over draws and seeds, and two arms are resampled alike, on the
runs (draw and seed) that both have. That is how sure it is for these networks. The noise of training is in the spread over runs, and of a
difference in its interval over the runs, by Student's t.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from fer_data.text import either
from fer_model.data.cells import PARTS, UNSEEN
from fer_model.errors import RunError
from fer_model.evaluate.figures import REPLICATES, Interval, bracketed, no_interval, plain_table, resampled
from fer_model.evaluate.pooled import OverRuns, Spread, over_runs, spread
from fer_model.runs.fold_runs import Costs, costs
from fer_model.runs.folder import RunFolder, refuse_prepared
from fer_model.runs.methods import differing_settings
from fer_model.runs.predictions import classes_in

__all__ = ["BASELINE", "Arm", "Cells", "Comparison", "read_arms", "refuse_apart"]

BASELINE = "baseline"                 # the arms whose names begin so are the CNN that all are compared with
_DESIGN = {"missing": "missing", "confounded": "confounded", "control": "confounded"}           # which arms belong together


@dataclass(frozen=True)
class Arm:
    """Runs of one method on one design, which differ in draw and seed."""

    name: str                         # of its folder
    rule: str                         # confounded, control, missing
    runs: dict[tuple[int, int], Path]         # (draw, seed) -> complete run, in order
    settings: dict[str, str] = field(default_factory=dict)    # what tells it from the baseline: name -> value

    @cached_property
    def counts(self) -> dict[tuple[int, int], pd.DataFrame]:
        """Return what _count gives of each run."""
        return {key: _count(RunFolder(path).read_predictions()) for key, path in self.runs.items()}

    def summed(self, keys: Sequence[tuple[int, int]], people: Sequence[str]) -> pd.DataFrame:
        """Return the counts of some runs together, a row for each of `people`."""
        return pd.concat([self.counts[key] for key in keys]).groupby(level=0).sum().reindex(people, fill_value=0)

    def accuracy(self, part: str = UNSEEN) -> Interval | None:
        """Return the share of a part's pictures that are right, over all runs; None where there is none."""
        return self._interval(f"right {part}", f"n {part}")

    @property
    def shortcut_rate(self) -> Interval | None:
        """Return the share of errors on unseen cells that name what the person shows in training; None without errors."""
        return self._interval("named", "wrong")

    @property
    def chance(self) -> float | None:
        """Return the shortcut rate of errors that fall on all other expressions alike; None without errors."""
        found = self._interval("by chance", "wrong")
        return found and found.value

    @property
    def spread(self) -> Spread:
        """Return how accuracy on unseen cells differs between runs."""
        return spread([self.share(key) for key in self.runs])

    def share(self, key: tuple[int, int], part: str = UNSEEN) -> float:
        """Return the share of a part's pictures that one run has right."""
        counts = self.counts[key]
        return float(counts[f"right {part}"].sum() / counts[f"n {part}"].sum())

    def _interval(self, top: str, bottom: str) -> Interval | None:
        return _bootstrap(self.summed(list(self.runs), _people([self])), lambda sums: sums[top] / sums[bottom])

    @property
    def costs(self) -> Costs:
        """Return what a run cost; the mean over the runs."""
        return costs([RunFolder(path).read_result() for path in self.runs.values()])

    def to_json(self) -> dict:
        """Return names, figures and costs."""
        spent, rate = self.costs, self.shortcut_rate
        return {
            "arm": self.name, "settings": self.settings, "design": self.rule,
            "runs": [[*key, str(path)] for key, path in self.runs.items()],
            "accuracy": {part: asdict(self.accuracy(part)) for part in self.parts}, "unseen_of_runs": asdict(self.spread),
            "shortcut_rate": rate and asdict(rate), "shortcut_rate_by_chance": self.chance,
            "kimg": spent.kimg, "processor_minutes": spent.processor_minutes,
        }

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts that are tested."""
        return tuple(part for part in PARTS if any(one[f"n {part}"].sum() for one in self.counts.values()))


def _count(frame: pd.DataFrame) -> pd.DataFrame:
    """Return counts of a run's predictions by person: pictures and right ones of each part; of the unseen part the wrong ones, those
    that name what the person shows, and how many would by chance."""
    right, unseen = frame["expression"] == frame["predicted"], frame["part"] == UNSEEN
    shows = frame["shows"].str.split("+")
    named = np.array([one in some for one, some in zip(frame["predicted"], shows, strict=True)])
    wrong = unseen & ~right
    columns = {f"n {part}": frame["part"] == part for part in PARTS} | {f"right {part}": right & (frame["part"] == part) for part in PARTS}
    chance = shows.str.len() / (len(classes_in(frame)) - 1)
    columns |= {"wrong": wrong, "named": wrong & named, "by chance": wrong * chance}
    return pd.DataFrame(columns).astype(float).groupby(frame["subject"].to_numpy()).sum()


def _people(arms: Sequence[Arm]) -> list[str]:
    return sorted({who for arm in arms for one in arm.counts.values() for who in one.index})


def _bootstrap(sums: pd.DataFrame, statistic: Callable) -> Interval | None:
    """Return a statistic of summed counts with its interval; None if there is nothing to divide by.

    `sums` has a row for each person; `statistic` takes the sum of each column by name, numbers or (R,) replicates. A replicate that
    has nothing to divide by is left out.
    """
    drawn = resampled(sums.to_numpy(), np.random.default_rng(0), REPLICATES)                         # (R, C)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = statistic({name: column.sum() for name, column in sums.items()})
        found = statistic(dict(zip(sums.columns, drawn.T, strict=True)))
    if not np.isfinite(value):
        return None
    low, high = np.quantile(found[np.isfinite(found)], [0.025, 0.975])
    return Interval(float(value), float(low), float(high))


# --- arm against arm


@dataclass(frozen=True)
class Comparison:
    """Two arms, or three, on the runs that all of them have."""

    first: str
    second: str                       # of recovery: the baseline
    what: str                         # a part: the difference of the accuracies on it; recovery
    n_runs: int                       # draws and seeds that they share
    value: Interval | None            # None: there is no run, or nothing to recover
    over_runs: OverRuns | None = None # from run to run; None: fewer than two, or nothing to recover in one


def _compare(arms: Sequence[Arm], what: str, statistic: Callable, part: str = UNSEEN) -> Comparison:
    """Return a statistic of the accuracies of some arms on a part. Raises RunError if the arms were not tested alike."""
    keys = [key for key in arms[0].runs if all(key in arm.runs for arm in arms)]
    if not keys:
        return Comparison(arms[0].name, arms[1].name, what, 0, None)
    people = _people(arms)
    each = [arm.summed(keys, people) for arm in arms]
    for arm, one in zip(arms[1:], each[1:], strict=True):
        if not one[f"n {part}"].equals(each[0][f"n {part}"]):
            raise RunError(f"comparing arms: {arms[0].name} and {arm.name} were not tested on the same pictures; choose another --run")
    sums = pd.DataFrame({i: one[f"right {part}"] for i, one in enumerate(each)}).assign(n=each[0][f"n {part}"])
    value = _bootstrap(sums, lambda one: statistic(*(one[i] / one["n"] for i in range(len(arms)))))
    of_runs = [float(statistic(*(arm.share(key, part) for arm in arms))) for key in keys]
    return Comparison(arms[0].name, arms[1].name, what, len(keys), value, over_runs(of_runs) if np.isfinite(of_runs).all() else None)


def _recovered(mine, baseline, control):
    """Return the recovery; of replicates, not a number where the control is not above the baseline."""
    return (mine - baseline) / np.where(control > baseline, control - baseline, np.nan)


@dataclass(frozen=True)
class Cells:
    """All arms of a folder that have a complete run, the baseline first."""

    path: Path
    arms: tuple[Arm, ...]

    @cached_property
    def differences(self) -> tuple[Comparison, ...]:
        """The differences of every two arms of one design, on each part that both were tested on; the later arm is the first."""
        found = []
        for second, first in combinations(self.arms, 2):
            if first.rule == second.rule:
                parts = [part for part in first.parts if part in second.parts]
                found += [_compare([first, second], part, lambda a, b: a - b, part) for part in parts]
        return tuple(found)

    @cached_property
    def recoveries(self) -> tuple[Comparison, ...]:
        """The recovery of each arm that was not trained on the control, if the baseline was trained on both."""
        baseline = {arm.rule: arm for arm in self.arms if _is_baseline(arm.name)}
        if not {"confounded", "control"} <= set(baseline):
            return ()
        known = [baseline["confounded"], baseline["control"]]
        mine = [arm for arm in self.arms if arm.rule == "confounded" and arm not in known]
        return tuple(_compare([arm, *known], "recovery", _recovered) for arm in mine)

    def to_json(self) -> dict:
        """Return what shortcut.json holds."""
        return {
            "run": str(self.path), "arms": [arm.to_json() for arm in self.arms],
            "differences": [asdict(one) for one in self.differences], "recovery": [asdict(one) for one in self.recoveries],
            "interval": "95 %, bootstrap over people; each stays together over draws and seeds; over_runs: Student's t",
        }

    def __rich__(self):
        """Return the arms, recovery and the differences on unseen cells as tables, for the console."""
        from rich.console import Group

        unseen = [one for one in self.differences if one.what == UNSEEN]
        compared = {"Recovery": self.recoveries, "Difference on unseen cells": unseen}
        tables = (part for title, some in compared.items() if some for part in ("", _compared(title, some)))
        return Group(self._table(), *self._settings(), *tables)

    def _table(self):
        from rich.markup import escape

        parts = [part for part in PARTS[1:] if any(part in arm.parts for arm in self.arms)]
        title = "Accuracy (unseen: ± sd of runs); in brackets 95 % over people"
        table = plain_table(title, "arm", "runs", UNSEEN, *parts, "shortcut rate", "kimg", "processor\nmin")
        table.columns[0].overflow, table.columns[0].min_width = "fold", len("baseline-confounded")
        table.columns[2].no_wrap = True
        for arm in self.arms:
            unseen, rate, spent, people = arm.accuracy(), arm.shortcut_rate, arm.costs, len(_people([arm]))
            others = [f"{share.value:.1%}" if (share := arm.accuracy(part)) else "" for part in parts]
            named = f"{rate.value:.1%}\n{bracketed(rate, people)}" if rate else ""
            sd = "" if arm.spread.sd is None else f" ± {100 * arm.spread.sd:.1f}"
            cells = f"{spent.kimg:g}", spent.processor_text
            first = f"{unseen.value:.1%}{sd}\n{bracketed(unseen, people)}"
            table.add_row(escape(arm.name), str(len(arm.runs)), first, *others, named, *cells)
        chances = sorted({round(arm.chance, 2) for arm in self.arms if arm.chance is not None})
        table.caption = f"Shortcut rate by chance: {either([f'{chance:.0%}' for chance in chances])}." if chances else ""
        table.caption_justify = "left"
        return table

    def _settings(self) -> list:
        """Return a table of what the arms' names stand for, if there is anything to say."""
        from rich.markup import escape

        told = {arm.name: ", ".join(f"{name} {value}" for name, value in arm.settings.items()) for arm in self.arms if arm.settings}
        if not told:
            return []
        table = plain_table("What the arms have other than the baseline", "arm", "settings")
        for column in table.columns:
            column.overflow, column.justify = "fold", "left"
        for row in told.items():
            table.add_row(*map(escape, row))
        return ["", table]


def _compared(title: str, some: Sequence[Comparison]):
    from rich.markup import escape

    table = plain_table(title, "arm", *(["minus"] if some[0].what == UNSEEN else []), "runs", "value", "95 % over people", "over runs")
    for column in table.columns[:2]:
        column.overflow = "fold"
    for one in some:
        names = list(map(escape, [one.first, one.second] if one.what == UNSEEN else [one.first]))
        if one.value is None:
            table.add_row(*names, str(one.n_runs), "none" if one.n_runs == 0 else "nothing to recover", "", "")
            continue
        shares = (one.value.value, one.value.low, one.value.high, *((one.over_runs.low, one.over_runs.high) if one.over_runs else ()))
        texts = [f"{100 * share:+.1f}" if one.what == UNSEEN else f"{share:.2f}" for share in shares]
        none = no_interval(one.value.low, one.value.high, 0)
        cells = f"none: {none}" if none else f"{texts[1]} to {texts[2]}", f"{texts[3]} to {texts[4]}" if one.over_runs else ""
        table.add_row(*names, str(one.n_runs), texts[0], *cells)
    return table


# --- reading a folder


def read_arms(path: Path) -> Cells:
    """Return the arms in a folder that have a complete run.

    Raises RunError if there is none, or if they do not belong together: other data, preset, seed of draws or design.
    """
    arms, contents, first = [], [], None
    folders = [child for child in path.iterdir() if child.is_dir()]
    for folder in sorted(folders, key=lambda child: (not _is_baseline(child.name), child.name)):
        runs = {}
        for run in sorted(folder.glob("draw*/config.json")):
            content = RunFolder(run.parent).read_content()
            config = content["config"]
            first = first or (run.parent, _kind(content["manifest_sha256"], config))
            _refuse_apart(first, (run.parent, _kind(content["manifest_sha256"], config)))
            if RunFolder(run.parent).result.is_file():
                runs[config["fold"], config["seed"]] = run.parent
        if runs:
            arms.append(Arm(folder.name, config["fold_rule"], dict(sorted(runs.items()))))
            contents.append(content)
    if not arms:
        refuse_prepared(path)
        raise RunError(f"reading arms: there is no complete run in {path}; `fer-model shortcut` trains them, and resumes")
    return Cells(path, tuple(replace(arm, settings=told) for arm, told in zip(arms, _told_apart(contents), strict=True)))


def _told_apart(contents: Sequence[dict]) -> list[dict[str, str]]:
    """Return of each arm (config.json of a run) the settings that it has other than the first: all of a stage that the first lacks,
    where arms differ in it."""
    found = [{} if one["config"]["method"] == contents[0]["config"]["method"] else {"method": one["config"]["method"]} for one in contents]
    for name, values in differing_settings(contents).items():
        if name not in ("fold_rule", "precision"):
            for told, value in zip(found, values, strict=True):
                told |= {} if value in (None, values[0]) else {name: value}
    return found


def refuse_apart(path: Path, manifest_sha256: str, config: dict) -> None:
    """Raise RunError if the runs in a folder of arms cannot stand next to a new one, of this manifest and configuration."""
    for run in sorted(path.glob("*/draw*/config.json"))[:1]:
        content = RunFolder(run.parent).read_content()
        _refuse_apart((run.parent, _kind(content["manifest_sha256"], content["config"])), ("this command", _kind(manifest_sha256, config)))


def _kind(manifest_sha256: str, config: dict) -> dict:
    """Return what all runs in a folder of arms share."""
    design = _DESIGN.get(config.get("fold_rule"), "folds")
    return {"manifest": manifest_sha256[:12], "preset": config["preset"], "fold_seed": config.get("fold_seed"), "design": design}


def _refuse_apart(first: tuple[Path, dict], other: tuple[Path | str, dict]) -> None:
    if first[1]["manifest"] != other[1]["manifest"]:
        what = f"{other[0]} is on other data than {first[0]}"
        raise RunError(f"reading arms: {what}, the prepared folder is another one or has changed since; choose another --run")
    for name, value in first[1].items():
        if value != other[1][name]:
            raise RunError(f"reading arms: {name} is {value} in {first[0]} and {other[1][name]} in {other[0]}; choose another --run")


def _is_baseline(name: str) -> bool:
    return name.startswith(BASELINE)
