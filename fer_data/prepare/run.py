"""The pipeline: a database on disk -> sequences -> frames -> points -> faces -> shards -> manifest.

In:  the root of a database, a folder to write to, PrepareConfig.
Out: OUT/manifest.parquet, manifest.csv, skipped.csv, settings.json, run.json, shards/, cache/; a Summary. Or DryRun, and no file.

One process writes; any concurrent.futures.Executor works. Results are taken in the order of the manifest, so that the
bytes do not depend on the number of workers. A shard that is there with the right key is not made again, nor is a face
detected twice: an interrupted run goes on where it was.

Memory hardly grows with the database: files are hashed a shard at a time, and the rows of the manifest are read again from the
shards' records when it is written. What is held is the plan, packed, and a number or two for each face.
"""

import os
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from fer_data import __version__
from fer_data.datasets.tree import is_drawn
from fer_data.errors import DatasetError
from fer_data.faces.views import N_VIEWS, VIEW_SIZE, render_views
from fer_data.files import shown, write_json_atomically
from fer_data.labels import classes_of
from fer_data.people import UNKNOWN
from fer_data.pool import open_pool
from fer_data.prepare.cluster import cluster
from fer_data.prepare.plan import Plan, PrepareConfig, make_plan, name_of
from fer_data.prepare.sequence import PIPELINE_VERSION, SCALING_VERSION, Result, Task, hash_rows, hash_source, place_of, process
from fer_data.prepare.shelf import Selected
from fer_data.records import NOT_SELECTED, REMARKS, SPLITS, UNUSABLE, Frame, Skip, absent_of, absent_text
from fer_data.store import cache, manifest, shards
from fer_data.store.folder import check_out, only_writer, remove_surplus
from fer_data.text import counted

__all__ = ["Summary", "Work", "counted_in", "find_jumps", "prepare_dataset"]

JUMP = 6.0                            # a face that moved more than this multiple of the median motion per frame is flagged
_MANY = 0.1                           # so large a share of pictures without a face is many
_IN_FLIGHT = 8                        # sequences ahead for each worker: memory stays flat, and while a shard is written none is idle

Progress = Callable[[int, int], None]   # (sequences done, sequences in all)


@dataclass
class Work:
    """What is counted while shards are made."""

    decoded: int = 0                  # pictures decoded in this run
    detected: int = 0                 # pictures that went through the landmark backend in this run
    rendered: int = 0                 # views rendered in this run
    shards_written: int = 0
    shards_kept: int = 0              # found complete and not made again


@dataclass(frozen=True)
class Summary:
    """What a run did; found == kept + the sum of skipped."""

    out: Path
    dataset: str
    found: int                        # frames
    kept: int                         # faces in the manifest
    references: int                   # of them neutral references, never trained or tested on
    sequences: int
    subjects: int                     # 0: people unknown
    folds: int                        # 0: none, as people are unknown
    split: dict[str, int]             # part of the database's own split -> faces, where people are unknown
    skipped: dict[str, int]           # reason -> frames
    absent: dict[str, int]            # reason -> what lists name and nobody can use; in no other count
    decoded: int                      # as in Work
    detected: int
    rendered: int
    shards_written: int
    shards_kept: int
    seconds: float
    notes: tuple[str, ...]

    def __post_init__(self):
        assert self.found == self.kept + sum(self.skipped.values()), self

    @property
    def unusable(self) -> int:
        """How many frames or files were wanted and could not be used, or were not there."""
        return sum(count for reason, count in self.skipped.items() if reason in UNUSABLE) + sum(self.absent.values())

    def to_json(self) -> dict:
        content = {**asdict(self), "out": shown(self.out)}
        return content if self.subjects == 0 else {key: value for key, value in content.items() if key != "split"}

    def __rich__(self):
        from rich.text import Text

        unusable = {reason: count for reason, count in self.skipped.items() if reason in UNUSABLE}
        references = f" ({self.references} of them neutral references)" if self.references else ""
        reasons = f" ({', '.join(f'{reason} {count}' for reason, count in unusable.items())}; see skipped.csv)" if unusable else ""
        lines = [
            *(f"note: {note}" for note in self.notes),
            f"decoded {self.decoded}, detected {self.detected}, rendered {self.rendered:,} views; "
            f"shards: {self.shards_written} written, {self.shards_kept} kept; {self.seconds:.1f} s",
            f"{counted(self.kept, 'face')}{references} of {counted(self.sequences, 'sequence')},"
            f" {counted(self.subjects, 'subject') if self.subjects else UNKNOWN}, {self._divided()} in {self.out}",
            f"skipped {sum(unusable.values())}{reasons}{absent_text(self.absent)}",
        ]
        return Text("\n".join(lines))


    def _divided(self) -> str:
        """Return into what the faces are divided: folds, or the parts of the database's own split."""
        parts = ", ".join(f"{part or 'no part'} {count:,}" for part, count in self.split.items())
        return f"split {parts}" if self.split else f"{self.folds} folds"


def prepare_dataset(
    dataset: str,
    root: Path,
    out: Path,
    config: PrepareConfig,
    progress: Progress = lambda done, total: None,
    executor: Executor | None = None,
) -> Summary:
    """Prepare a database and return what was done.

    `executor` may be any concurrent.futures.Executor whose workers see the same files; it runs `config.workers` tasks at once, or
    as many as its attribute `width` says. By default it is `config.workers` processes, or the cluster of `config.scheduler`.
    `out` must be new, empty, or prepared from the same database (store/folder.py). Raises DatasetError, BusyError, WeightsError,
    ClusterError, WorkerError and OSError before or between writes: what lies in `out` is always whole, and the same call goes on from
    there. A run in which no face can be used leaves a finished folder as it is.
    """
    began = time.time()
    root, out = Path(root), Path(out)
    name = name_of(dataset, root, out, config)
    check_out(name, root, out)
    plan = make_plan(dataset, root, config, name)
    with ExitStack() as stack:
        if executor is None and config.scheduler is not None:
            executor = stack.enter_context(cluster(config.scheduler))        # before anything is written: nobody may answer there
        stack.enter_context(only_writer(name, root, out))
        run, made = _Run(root, out, config, plan, progress), _Made(plan.people)
        workers = open_pool(config.workers, "preparing faces in several processes", "resumes", executor)
        with workers as pool, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            jumps = find_jumps(made.taken(run.records(pool, _Sources(root, threads)), plan))
        summary = _summary(run, made, name, began)
        _write_manifest(run, made, jumps, summary)
        remove_surplus(out, made.hashes)
        summary = replace(summary, seconds=time.time() - began)
        _write_run(out, root, config, summary)
    return summary


# --- all sequences, in the one process that writes --------------------------------------------------------------------


class _Sources:
    """What the sources of frames hash to, found a shard at a time. Threads suffice: hashing and reading let others run."""

    def __init__(self, root: Path, threads: ThreadPoolExecutor):
        self.root, self.threads = root, threads
        self.last: dict[str | tuple[str, int], tuple[str, bool]] = {}    # of the shard before: a clip may go on in the next one

    def of(self, frames: list[Frame]) -> dict[str | tuple[str, int], tuple[str, bool]]:
        """Return place_of a frame -> hash_source of it, for all of these."""
        places = {place_of(frame): frame.position is not None for frame in frames}
        found = {place: self.last[place] for place in places if place in self.last}
        rows: dict[str, list[int]] = {}
        for source, row in (place for place in places if isinstance(place, tuple) and place not in found):
            rows.setdefault(source, []).append(row)
        for source, some in rows.items():
            found |= {(source, row): one for row, one in zip(some, hash_rows(self.root / source, some), strict=True)}
        sources = [place for place in places if place not in found]
        hashed = self.threads.map(lambda source: hash_source(self.root / source, places[source]), sources)
        self.last = found | dict(zip(sources, hashed, strict=True))
        return self.last


@dataclass
class _Shard:
    """A shard that is begun."""

    number: int
    key: str
    kept: shards.ShardRecord | None   # it is there
    wanted: int                       # results that it is made of
    sequences: int
    results: list[Result] = field(default_factory=list)              # that have come so far

    @property
    def has_face(self) -> bool:
        return bool(self.kept.rows) if self.kept else any(result.rows for result in self.results)

    @property
    def skipped(self) -> list[dict]:
        return self.kept.skipped if self.kept else [asdict(skip) for result in self.results for skip in result.skipped]


@dataclass
class _Made:
    """What is counted of the faces while the records of their shards go by; for the manifest those are read again from the disk."""

    people: bool
    hashes: dict[str, str] = field(default_factory=dict)              # shard -> sha256
    skipped: list[Skip] = field(default_factory=list)
    kept: int = 0
    references: int = 0
    sequences: int = 0
    subjects: set[str] = field(default_factory=set)
    expressions: set[str] = field(default_factory=set)                # of peak faces
    split: Counter = field(default_factory=Counter)

    def taken(self, records: Iterator[shards.ShardRecord], plan: Plan) -> Iterator[dict]:
        """Yield the rows of all records once they are counted."""
        before = None
        for number, record in enumerate(records):
            self.hashes[record.name] = record.sha256
            self.skipped += [Skip(**skip) for skip in record.skipped]
            for row in _assigned(record, plan.selected.box(number), self.people):
                self.kept += 1
                self.references += row["role"] == "reference"
                self.subjects.add(row["subject"])
                if row["role"] == "peak":
                    key = row["subject"], row["sequence"], row["expression"]
                    self.sequences += key != before                      # those of a sequence are together
                    before = key
                    self.expressions.add(row["expression"])
                self.split[row.get("split", "")] += 1
                yield row


def _assigned(record: shards.ShardRecord, chosen: list[Selected], people: bool) -> Iterator[dict]:
    """Yield the rows of a shard with what the plan says of their sequences: the fold; where people are unknown, the database's own part."""
    of = {(one.sequence.subject, one.sequence.sequence): one for one in chosen}
    for row in record.rows:
        one = of[row["subject"], row["sequence"]]
        yield {**row, "fold": one.fold} if people else {**row, "fold": one.fold, "split": one.sequence.split}


@dataclass
class _Run:
    """One call of prepare_dataset: hands out sequences, takes faces in order, writes shards."""

    root: Path
    out: Path
    config: PrepareConfig
    plan: Plan
    progress: Progress
    work: Work = field(default_factory=Work)
    done: int = 0
    any_face: bool = False            # whether a shard so far has one
    room: np.ndarray | None = None    # for the views of a shard

    def records(self, pool: Executor, sources: _Sources) -> Iterator[shards.ShardRecord]:
        """Yield the record of each shard, in order: those that are there, and those made now. Only a few sequences are ahead."""
        begun: deque[_Shard] = deque()
        empty: list[_Shard] = []      # without a face, before the first that has one: until then nothing that lies there is changed
        waiting: deque[Future] = deque()
        for number in self.plan.selected.boxes:
            chosen = self.plan.selected.box(number)
            hashes = sources.of([frame for one in chosen for frame in one.sequence.frames])
            key = self._key(chosen, hashes)
            kept = shards.kept_record(self.out / "shards", shards.shard_name(number), key)
            begun.append(_Shard(number, key, kept, 0 if kept else len(chosen), len(chosen)))
            for one in () if kept else chosen:
                waiting.append(pool.submit(process, self._task(one, hashes)))
                while len(waiting) >= _IN_FLIGHT * max(1, getattr(pool, "width", self.config.workers)):
                    begun[0].results.append(self._taken(waiting.popleft()))
                    yield from self._finished(begun, empty)
            yield from self._finished(begun, empty)
        while begun:
            begun[0].results.append(self._taken(waiting.popleft()))
            yield from self._finished(begun, empty)
        for shard in empty:           # no face at all: they are counted, and not written
            yield shards.ShardRecord(shards.shard_name(shard.number), shard.key, 0, "", [], shard.skipped, {})

    def _finished(self, begun: deque[_Shard], empty: list[_Shard]) -> Iterator[shards.ShardRecord]:
        """Yield the records of the first shards, as far as they have all their results; of empty ones once a face was made."""
        while begun and len(begun[0].results) == begun[0].wanted:
            shard = begun.popleft()
            if shard.kept:
                self.work.shards_kept += 1
                self._advance(shard.sequences)
            empty.append(shard)
            self.any_face |= shard.has_face
            while self.any_face and empty:
                shard = empty.pop(0)
                yield shard.kept or self._make_shard(shard)

    def _task(self, one: Selected, hashes: dict[str | tuple[str, int], tuple[str, bool]]) -> Task:
        return Task(
            str(self.root.absolute()), one.sequence, tuple(hashes[place_of(frame)][0] for frame in one.sequence.frames),
            self.config.backend(), self.plan.backend, one.evidence, self.config.colour == "rgb",
            str(self.out.absolute() / "cache" / "landmarks"),
        )

    def _key(self, chosen: list[Selected], hashes: dict[str | tuple[str, int], tuple[str, bool]]) -> str:
        """Return the key of a shard: everything that decides its bytes."""
        sequences = []
        for one in chosen:
            content = asdict(one.sequence)
            del content["split"]                                         # it goes into the manifest alone, as folds do
            content["frames"] = [{name: part for name, part in frame.items() if name != "box" or part} for frame in content["frames"]]
            content["sha256"] = [hashes[place_of(frame)][0] for frame in one.sequence.frames]
            if any(hashes[place_of(frame)][1] for frame in one.sequence.frames):
                content["scaling"] = SCALING_VERSION
            content["evidence"] = one.evidence
            sequences.append(content)
        return cache.key_of(
            {
                "pipeline": PIPELINE_VERSION, "shard": shards.SHARD_VERSION, "opencv": cv2.__version__, "backend": self.plan.backend,
                "views": self.config.views, "colour": self.config.colour, "sequences": sequences,
            }
        )

    def _taken(self, future: Future) -> Result:
        """Return the result of a task, its landmarks kept at once."""
        result = future.result()
        if not result.cached:
            cache.store(self.out / "cache" / "landmarks", result.cache_key, result.framing, result.found)
            self.work.detected += len(result.found)
        self.work.decoded += result.decoded
        self._advance(1)
        return result

    def _advance(self, sequences: int) -> None:
        self.done += sequences
        self.progress(self.done, len(self.plan.selected))

    def _room(self, faces: tuple[int, ...]) -> np.ndarray:
        """Return room for the views of faces of this shape. The same from shard to shard: fresh memory makes it half as slow again."""
        if self.room is None or len(self.room) < faces[0]:
            self.room = np.empty((faces[0], N_VIEWS, VIEW_SIZE, VIEW_SIZE, *faces[3:]), np.uint8)
        return self.room[: faces[0]]

    def _make_shard(self, shard: _Shard) -> shards.ShardRecord:
        """Render and write one shard."""
        name, results = shards.shard_name(shard.number), shard.results
        rows = [row for result in results for row in result.rows]
        data = {
            "faces": np.concatenate([result.faces for result in results]),
            "landmarks": np.concatenate([result.landmarks for result in results]),
            "matrix": np.array([[row[name] for name in manifest.MATRIX] for row in rows], np.float64).reshape(-1, 2, 3),
        }
        if self.config.views == "stored":
            data["views"] = render_views(data["faces"], self._room(data["faces"].shape))  # (N, 110, 96, 96[, 3])
            self.work.rendered += len(rows) * N_VIEWS
        rows = [{**row, "shard": name, "row": number} for number, row in enumerate(rows)]
        self.work.shards_written += 1
        manifest.withdraw(self.out)
        return shards.write_shard(self.out / "shards", name, shard.key, data, rows, shard.skipped)


@dataclass(frozen=True)
class _Rows:
    """The rows of the manifest, read from the records of the shards each time that they are gone through."""

    run: _Run
    hashes: dict[str, str]
    jumps: list[bool]

    def __iter__(self) -> Iterator[dict]:
        jumps = iter(self.jumps)
        for number, (name, sha256) in enumerate(self.hashes.items()):
            record = shards.known_record(self.run.out / "shards", name, sha256)
            for row in _assigned(record, self.run.plan.selected.box(number), self.run.plan.people):
                yield {**row, "jump": next(jumps)}


def _summary(run: _Run, made: _Made, name: str, began: float) -> Summary:
    """Return what the run did, once all shards are there. Raises DatasetError if no face could be used."""
    plan, skipped = run.plan, [*run.plan.skipped, *made.skipped]
    counts = Counter()
    for skip in skipped:
        counts[skip.reason] += skip.frames
    by_reason = {reason: counts[reason] for reason in (*NOT_SELECTED, *UNUSABLE) if counts[reason]}
    if not made.kept:
        hint = "".join(f"; {note}" for note in _no_faces(run.config, skipped, 0))
        raise DatasetError(f"preparing {plan.dataset}: no face could be used; skipped: {_reasons(by_reason, skipped)}{hint}")
    return Summary(
        run.out, name, plan.n_found, made.kept, made.references, made.sequences, len(made.subjects) if plan.people else 0, run.config.folds,
        {} if plan.people else {part: made.split[part] for part in (*SPLITS, "") if made.split[part]}, by_reason, absent_of(skipped),
        **asdict(run.work), seconds=time.time() - began,
        notes=(*plan.notes, *_remarks(made.skipped), *_no_faces(run.config, skipped, made.kept)),
    )


def _write_manifest(run: _Run, made: _Made, jumps: list[bool], summary: Summary) -> None:
    """Join shards and folds into the manifest, with the settings that say how it was made."""
    plan = run.plan
    settings = {
        "dataset": plan.dataset, "drawn": is_drawn(run.root), "classes": list(classes_of(made.expressions)), "frame_rule": plan.rule,
        "config": run.config.written(), "backend": plan.backend, "code_version": __version__, "opencv": cv2.__version__,
        "pipeline_version": PIPELINE_VERSION, "shards": made.hashes, **counted_in(summary),
        **({"human": [asdict(one) for one in plan.human]} if plan.human else {}),
    }
    manifest.write_manifest(run.out, _Rows(run, made.hashes, jumps), [*plan.skipped, *made.skipped], settings)


def counted_in(summary: Summary) -> dict:
    """Return what settings.json has of a summary."""
    found = {"found": summary.found, "kept": summary.kept, "skipped": summary.skipped, "notes": list(summary.notes)}
    return found | ({"absent": summary.absent} if summary.absent else {})


def _remarks(skipped: list[Skip]) -> list[str]:
    """Return a sentence for each kind of remark: how many pictures it is about, and the first."""
    notes = []
    for reason, said in REMARKS.items():
        about = [skip for skip in skipped if skip.reason == reason]
        if about:
            notes.append(f"{counted(len(about), 'picture')} {said}, such as {about[0].source}: {about[0].detail}")
    return notes


def _reasons(counts: dict[str, int], skipped: list[Skip]) -> str:
    """Return how many frames each reason cost; last the one that cost most of those that were wanted, with the first of its rows."""
    wanted = [reason for reason in counts if reason in UNUSABLE]
    named = max(wanted, key=lambda reason: (reason != "no-match", counts[reason]), default="")
    text = ", ".join(f"{reason} {counts[reason]}" for reason in sorted(counts, key=lambda reason: reason == named))
    row = next((skip for skip in skipped if skip.reason == named and skip.frames and skip.detail), None)
    return text + (f", such as {row.source}: {row.detail}" if row else "")


def _no_faces(config: PrepareConfig, skipped: list[Skip], kept: int) -> list[str]:
    """Return what to do where many pictures have no face for the detector."""
    without = sum(skip.frames for skip in skipped if skip.reason == "no-face")
    detects = config.landmarks in ("fan", "dlib") and config.detector != "whole"
    if not detects or config.small_faces or without < max(2, _MANY * (kept + without)):
        return []
    return [
        f"no face was found in {without:,} of {counted(kept + without, 'picture')}; if the faces in them are small, of less than about"
        " 80 pixels, run the command again with --small-faces"
    ]


def find_jumps(rows: Iterable[dict]) -> list[bool]:
    """Return for each row whether its face moved more than JUMP times the median of the data set.

    Motion is taken per frame number, so that a neutral first frame, or every tenth frame, does not count as a jump.
    Rows are gone through once, in order, those of a sequence together; the first of a sequence moved by 0 and has no part in the median.
    """
    speeds, before = array("d"), None
    for row in rows:
        same = before is not None and (before["subject"], before["sequence"]) == (row["subject"], row["sequence"])
        speeds.append(row["motion"] / max(1, abs(row["frame"] - before["frame"])) if same else 0.0)
        before = row
    found = np.array(speeds)
    limit = JUMP * float(np.median(found[found > 0])) if (found > 0).any() else 0.0
    return ((found > limit) & (limit > 0)).tolist()


def _write_run(out: Path, root: Path, config: PrepareConfig, summary: Summary) -> None:
    """Write what differs between runs that give the same data: where, when, how fast."""
    write_json_atomically(
        out / "run.json",
        {
            "command": [shown(word) for word in sys.argv], "root": shown(root.resolve()), "workers": config.workers,
            "scheduler": config.scheduler, "finished": time.time(), "summary": summary.to_json(),
        },
    )
