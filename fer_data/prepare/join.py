"""Join prepared folders: several databases as one, with folds by person over all of them.

In:  folders that `fer-data prepare` wrote, with faces of one kind; a folder to write to.
Out: JoinPlan; OUT as prepare writes it (store/folder.py), a Summary. No picture is decoded and no face looked for: faces and views are
     copied, each shard checked against its hash.

Rows keep their `dataset`; a subject is `dataset:subject` (people.joined_id), so that JAFFE's KA and WSEFEP's are two people. The name
of the whole is that of its databases with '+' between them, in order. Classes are the expressions that any of them has.

What lies in OUT is always whole: an interrupted join goes on where it was, and the manifest is written last.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from fer_data import __version__
from fer_data.errors import DatasetError, ShardError
from fer_data.files import sha256_of_file, shown, write_json_atomically
from fer_data.labels import classes_of
from fer_data.people import joined_id, refuse_unknown, same_pictures
from fer_data.prepare.run import Progress, Summary, Work, counted_in
from fer_data.protocol import folds
from fer_data.records import NOT_SELECTED, UNUSABLE, Skip, absent_of
from fer_data.store import cache, manifest, shards
from fer_data.store.folder import check_out, only_writer, remove_surplus
from fer_data.text import counted, listed

__all__ = ["JoinPlan", "join", "plan_join"]

_DOING = "joining prepared folders"
# Why faces of two folders are not of one kind: what differs -> how to read it in settings.json
_ALIKE: dict[str, Callable[[dict], object]] = {
    "landmarks": lambda settings: settings["config"]["landmarks"],
    "version of the landmark backend": lambda settings: settings["backend"]["version"],
    "model files of the landmark backend": lambda settings: settings["backend"]["weights_sha256"][:12],
    "settings of the landmark backend": lambda settings: settings["backend"],             # such as its detector
    "version of OpenCV": lambda settings: settings["opencv"],
    "colour": lambda settings: settings["config"]["colour"],
    "views": lambda settings: settings["config"]["views"],
    "version of the pipeline": lambda settings: settings["pipeline_version"],
}


@dataclass(frozen=True)
class _Part:
    """One of the folders that are joined."""

    path: Path
    settings: dict
    jumps: dict[str, list[bool]]      # shard -> `jump` of each of its rows, which only the manifest has


@dataclass(frozen=True)
class JoinPlan:
    """What a join will do, known before anything is written."""

    parts: tuple[_Part, ...]
    out: Path
    name: str                         # of the whole
    config: dict                      # as settings.json has it
    joined: dict[tuple[str, str], str]           # (database, subject there) -> subject of the whole
    fold_of: dict[str, int]           # subject of the whole -> fold
    n_faces: int
    n_references: int
    n_sequences: int
    counts: pd.DataFrame              # faces that are trained and tested on: databases down, expressions across
    notes: tuple[str, ...]

    def to_json(self) -> dict:
        counts = {name: {key: int(count) for key, count in row.items()} for name, row in self.counts.iterrows()}
        return {
            "dry_run": True, "dataset": self.name, "faces": self.n_faces, "subjects": len(self.fold_of), "folds": self.config["folds"],
            "fold_rule": self.config["fold_rule"], "expressions": counts, "out": shown(self.out), "notes": list(self.notes),
        }

    def __rich__(self):
        from rich.text import Text

        people = counted(len(self.fold_of), "subject")
        lines = [
            *(f"note: {note}" for note in self.notes),
            f"{self.name}: {counted(self.n_faces, 'face')}, {people}, {self.config['folds']} folds by rule {self.config['fold_rule']},"
            f" into {self.out}",
            "dry run: nothing was written",
        ]
        return Text("\n".join(lines))


def plan_join(folders: Sequence[Path], out: Path, n_folds: int = 10, fold_rule: str = "step", fold_seed: int = 0) -> JoinPlan:
    """Return what `join` will do; writes nothing.

    folders    two or more, each of another database, with faces of one kind
    n_folds, fold_rule, fold_seed  as in PrepareConfig: people of all databases are dealt together
    Raises PeopleError if it is unknown who is in one of them, DatasetError if they cannot be joined, if there are too few people for the
    folds, or if `out` holds anything else; ManifestError for a folder that is not whole.
    """
    manifests = [manifest.read_manifest(path) for path in folders]
    if len(manifests) < 2:
        raise DatasetError(f"{_DOING}: give two or more, and the folder to write to")
    for path, rows in zip(folders, manifests, strict=True):
        refuse_unknown(f"{_DOING}: {path}", rows["subject"], "join databases with people, and pre-train or test on this one")
    parts = tuple(_part(Path(path), rows) for path, rows in zip(folders, manifests, strict=True))
    _refuse_unlike(parts)
    names = [name for rows in manifests for name in sorted(set(rows["dataset"]))]
    _refuse_shared(names)
    name = "+".join(sorted(names))
    for part in parts:
        check_out(name, part.path, out, _DOING)
    rows = pd.concat(manifests, ignore_index=True)
    _refuse_same_faces(rows)
    pairs = list(zip(rows["dataset"], rows["subject"], strict=True))
    joined = {pair: joined_id(*pair) for pair in dict.fromkeys(pairs)}
    rows["subject"] = [joined[pair] for pair in pairs]
    peaks = rows[rows["role"] == "peak"]
    sequences = peaks[["subject", "sequence", "expression"]].drop_duplicates()
    shown = sequences.groupby("subject")["expression"].agg(list).to_dict()
    fold_of = folds.assign(shown, fold_rule, n_folds, fold_seed)
    if nobody := sorted(set(rows["subject"]) - set(fold_of)):
        raise DatasetError(f"{_DOING}: {nobody[0]} has neutral references and no other face; prepare again without --neutral reference")
    counts = peaks.pivot_table(index="dataset", columns="expression", values="image_id", aggfunc="count", fill_value=0)
    counts = counts[list(classes_of(peaks["expression"]))]
    config = _config(parts) | {"folds": n_folds, "fold_rule": fold_rule, "fold_seed": fold_seed}
    references = int((rows["role"] == "reference").sum())
    return JoinPlan(parts, Path(out), name, config, joined, fold_of, len(rows), references, len(sequences), counts, _notes(peaks, counts))


def _part(path: Path, rows: pd.DataFrame) -> _Part:
    jumps = {shard: some.sort_values("row")["jump"].tolist() for shard, some in rows.groupby("shard")}
    return _Part(path, manifest.read_settings(path), jumps)


def join(plan: JoinPlan, progress: Progress = lambda done, total: None) -> Summary:
    """Write the joined folder and return what was done; called again, it goes on where it was, or finds that all is there.

    Raises DatasetError and BusyError as prepare does, ShardError for a shard that is not the one that was written.
    """
    began, out, total = time.time(), plan.out, sum(len(part.settings["shards"]) for part in plan.parts)
    work = Work()
    hashes: dict[str, str] = {}                                          # shard of the whole -> sha256
    with ExitStack() as stack:
        stack.enter_context(only_writer(plan.name, plan.parts[0].path, out, _DOING))
        for part in plan.parts:
            for shard in sorted(part.settings["shards"]):
                record = _copied(plan, part, shard, shards.shard_name(len(hashes)), work)
                hashes[record.name] = record.sha256
                progress(len(hashes), total)
        summary = _write_manifest(plan, hashes, work)
        remove_surplus(out, hashes)
        summary = replace(summary, seconds=time.time() - began)
        write_json_atomically(out / "run.json", {
            "command": [shown(word) for word in sys.argv], "joined": [shown(part.path.resolve()) for part in plan.parts],
            "finished": time.time(), "summary": summary.to_json(),
        })
    return summary


# --- what cannot be joined ----------------------------------------------------------------------------------------------


def _refuse_unlike(parts: tuple[_Part, ...]) -> None:
    """Raise DatasetError, naming what differs, unless the faces of all parts are of one kind."""
    first = parts[0]
    for part in parts[1:]:
        for what, read in _ALIKE.items():
            here, there = read(first.settings), read(part.settings)
            if here != there:
                values = f"{_told(here, there)} in {first.path}, {_told(there, here)} in {part.path}"
                raise DatasetError(f"{_DOING}: their faces are not of one kind: {what}: {values}; prepare both with the same options")


def _told(value: object, other: object) -> object:
    """Return a value as a sentence has it; of a dict only what differs from the other one."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{key} {value.get(key, 'not set')}" for key in value | other if value.get(key) != other.get(key))


def _refuse_shared(names: list[str]) -> None:
    """Raise DatasetError if two of the databases hold the same pictures, or would have one name."""
    for one, other in combinations(names, 2):
        if same_pictures(one, other) or one.casefold() == other.casefold():
            both = f"{one} twice" if one == other else f"{one} and {other}"
            raise DatasetError(
                f"{_DOING}: {both}: the same pictures would be there twice, in training and in test; keep one"
                + (", or prepare one of them again with another --name if they are two databases" if one == other else "")
            )


def _refuse_same_faces(rows: pd.DataFrame) -> None:
    """Raise DatasetError if a face of one database is, pixel by pixel, one of another: a copy under another name, or a picture in both."""
    of_each = rows.drop_duplicates(["face_sha256", "dataset"])
    shared = of_each[of_each["face_sha256"].duplicated(keep=False)].sort_values(["face_sha256", "dataset"])
    if len(shared):
        one, other = shared.iloc[0], shared.iloc[1]
        faces = counted(shared["face_sha256"].nunique(), "face")
        raise DatasetError(
            f"{_DOING}: {one['dataset']} and {other['dataset']} have {faces} in common, the same pixel by pixel, such as"
            f" {one['image_id']} and {other['image_id']}: they would be there twice, in training and in test; leave one of the"
            " databases, or these pictures, out"
        )


# --- the whole ----------------------------------------------------------------------------------------------------------


def _renamed(row: dict, subject: str, shard: str) -> dict:
    """Return a row of a shard's record with the subject, and so the id of the image, that it has in a joined manifest."""
    image_id = manifest.image_id(row["dataset"], subject, row["sequence"], row["frame"])
    return {**row, "subject": subject, "image_id": image_id, "shard": shard}


def _config(parts: tuple[_Part, ...]) -> dict:
    """Return the configuration of the whole: what is the same in all parts, and "differs" for what is not."""
    configs = [part.settings["config"] for part in parts]
    keys = {key: None for config in configs for key in config if key not in ("options", "frames")}
    same = {key: configs[0].get(key) if all(config.get(key) == configs[0].get(key) for config in configs) else "differs" for key in keys}
    return {**same, "options": {}}


def _notes(peaks: pd.DataFrame, counts: pd.DataFrame) -> tuple[str, ...]:
    """Return what each database brings, and which expressions some of them lack."""
    people = peaks.groupby("dataset")["subject"].nunique()
    notes = []
    for name, row in counts.iterrows():
        shown = ", ".join(f"{expression} {count:,}" for expression, count in row.items() if count)
        notes.append(f"{name}: {counted(int(row.sum()), 'face')}, {counted(int(people[name]), 'person', 'people')}; {shown}")
    for expression in counts.columns:
        lacking = [str(name) for name in counts.index if not counts.loc[name, expression]]
        if lacking:
            notes.append(f"{expression} is not in {listed(lacking)}: a class that tells databases apart; compare figures without it too")
    return tuple(notes)


def _copied(plan: JoinPlan, part: _Part, shard: str, name: str, work: Work) -> shards.ShardRecord:
    """Write a shard of a part under its name in the whole, unless it is there; return its record."""
    source, out = part.path / "shards" / shard, plan.out
    record = shards.read_record(source.parent, shard)
    known = record is not None and len(record.rows) == len(part.jumps.get(shard, ()))
    if not known or not source.is_file() or sha256_of_file(source) != part.settings["shards"][shard]:
        raise ShardError(f"{_DOING}: {source} is not the shard that its manifest was written with; `fer-data verify {part.path}` says more")
    key = cache.key_of({"joined": 1, "shard": shards.SHARD_VERSION, "sha256": record.sha256, "rows": record.rows})
    if (kept := shards.kept_record(out / "shards", name, key)) is not None:
        work.shards_kept += 1
        return kept
    rows = [_renamed(row, plan.joined[row["dataset"], row["subject"]], name) for row in record.rows]
    data = {one: shards.map_dataset(source, one) for one in record.row_sha256 if one != "image_id"}
    manifest.withdraw(out)
    work.shards_written += 1
    return shards.write_shard(out / "shards", name, key, data, rows, [])


def _skipped(part: _Part) -> Iterator[Skip]:
    """Yield what a part left out, with the name of its database before each path."""
    before = "" if "joined" in part.settings else f"{part.settings['dataset']}/"
    for row in manifest.read_skipped(part.path).to_dict("records"):
        subject = row["subject"] and before and joined_id(part.settings["dataset"], row["subject"])
        yield Skip(**{**row, "source": f"{before}{row['source']}", "subject": subject or row["subject"]})


@dataclass(frozen=True)
class _Rows:
    """The rows of the whole, read from the records of its shards each time that they are gone through."""

    plan: JoinPlan
    hashes: dict[str, str]            # shard of the whole -> sha256, in order

    def __iter__(self) -> Iterator[dict]:
        jumps = (part.jumps.get(shard, ()) for part in self.plan.parts for shard in sorted(part.settings["shards"]))
        for name, of_shard in zip(self.hashes, jumps, strict=True):
            record = shards.known_record(self.plan.out / "shards", name, self.hashes[name])
            for row, jump in zip(record.rows, of_shard, strict=True):
                yield {**row, "fold": self.plan.fold_of[row["subject"]], "jump": jump}


def _write_manifest(plan: JoinPlan, hashes: dict[str, str], work: Work) -> Summary:
    """Write manifest and settings; return what was done and is in them."""
    skipped = [skip for part in plan.parts for skip in _skipped(part)]
    settings = [part.settings for part in plan.parts]
    counts = {reason: sum(one["skipped"].get(reason, 0) for one in settings) for reason in (*NOT_SELECTED, *UNUSABLE)}
    summary = Summary(
        plan.out, plan.name, sum(one["found"] for one in settings), plan.n_faces, plan.n_references, plan.n_sequences, len(plan.fold_of),
        plan.config["folds"], {}, {reason: count for reason, count in counts.items() if count}, absent_of(skipped), **asdict(work),
        seconds=0.0, notes=plan.notes,
    )
    rules = {f"{one['dataset']}: {one['frame_rule']}" if "joined" not in one else one["frame_rule"]: None for one in settings}
    manifest.write_manifest(plan.out, _Rows(plan, hashes), skipped, {
        "dataset": plan.name, "drawn": all(one["drawn"] for one in settings), "classes": list(plan.counts.columns),
        "frame_rule": ", ".join(rules), "config": plan.config, "backend": settings[0]["backend"], "code_version": __version__,
        "opencv": settings[0]["opencv"], "pipeline_version": settings[0]["pipeline_version"], "shards": hashes, **counted_in(summary),
        "joined": [{"dataset": one["dataset"], "manifest_sha256": one["manifest_sha256"]} for one in settings],
    })
    return summary
