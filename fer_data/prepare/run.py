"""The pipeline: a database on disk -> sequences -> frames -> points -> faces -> shards -> manifest.

In:  the root of a database, a folder to write to, PrepareConfig.
Out: OUT/manifest.parquet, manifest.csv, skipped.csv, settings.json, run.json, shards/, cache/; a Summary. Or DryRun, and no file.

One process writes; any concurrent.futures.Executor works. Results are taken in the order of the manifest, so that the
bytes do not depend on the number of workers. A shard that is there with the right key is not made again, nor is a face
detected twice: an interrupted run goes on where it was.
"""

import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, pairwise
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from fer_data import __version__
from fer_data.datasets.adapters import ADAPTERS
from fer_data.errors import DatasetError, ShardError
from fer_data.faces.landmarks import backend_options, open_backend
from fer_data.faces.views import N_VIEWS, VIEW_SIZE, render_views
from fer_data.files import write_json_atomically
from fer_data.labels import classes_of
from fer_data.prepare.cluster import cluster
from fer_data.prepare.sequence import PIPELINE_VERSION, Result, Task, hash_source, process
from fer_data.protocol import folds, peaks
from fer_data.records import NOT_SELECTED, UNUSABLE, Scan, Sequence, Skip
from fer_data.store import cache, manifest, shards
from fer_data.store.folder import check_out, only_writer, remove_surplus
from fer_data.text import counted

__all__ = ["DryRun", "PrepareConfig", "Plan", "Summary", "dry_run", "make_plan", "prepare_dataset", "find_jumps", "NEUTRAL"]

SHARD_FACES = 48                      # a shard is closed once it has this many faces; stored views make it about 49 MB
JUMP = 6.0                            # a face that moved more than this multiple of the median motion per frame is flagged
NEUTRAL = ("off", "class", "reference")          # what becomes of the first frame of each sequence
_REASONS = 3                          # so many reasons are named where next to nothing could be selected
_IN_FLIGHT = 8                        # sequences ahead for each worker: memory stays flat, and while a shard is written none is idle
_HASHED_AT_ONCE = 64                  # files a thread hashes in one piece: what waits for a thread takes 1 kB

Progress = Callable[[int, int], None]   # (sequences done, sequences in all)


@dataclass(frozen=True)
class PrepareConfig:
    """How a database is prepared. All but `workers`, `scheduler` and the place of `openface` (not its content) decides the bytes."""

    landmarks: str = "fan"            # landmark backend; never swapped for another
    detector: str = "sfd"             # face detector of the fan backend; "whole" (fan, dlib): the picture is the face's box
    openface: Path | None = None      # folder of OpenFace's CSV files, for the openface backend
    views: str = "stored"             # stored: all 110 views in the shards; virtual: rendered on demand
    colour: str = "grey"              # grey or rgb
    folds: int = 10                   # number of folds (paper: 10)
    fold_rule: str = "step"           # protocol.folds.RULES
    fold_seed: int = 0                # for the rules in protocol.folds.SEEDED
    frames: str | None = None         # protocol.peaks.RULES; None: the paper's rule for the database
    neutral: str = "off"              # NEUTRAL: first frames left out (paper), taken as class neutral, or as reference rows
    options: dict = field(default_factory=dict)  # of the adapter, e.g. {"pattern": "{subject}/..."}
    workers: int = 1                  # processes
    scheduler: str | None = None      # address of a Dask scheduler whose workers take the place of processes

    def backend(self) -> tuple[str, dict]:
        """Return name and options for faces.landmarks.open_backend."""
        openface = self.openface and Path(self.openface).absolute()
        return self.landmarks, backend_options(self.landmarks, self.detector, openface)


@dataclass(frozen=True)
class Selected:
    """A sequence and the frames of it that are used; its neutral first frame, if that is wanted, is one of its own."""

    sequence: Sequence                # its `frames` are the used ones, in order
    fold: int


@dataclass(frozen=True)
class Plan:
    """What a run will do, known before any picture is decoded."""

    scan: Scan
    rule: str                         # frame rule
    selected: tuple[Selected, ...]
    skipped: tuple[Skip, ...]         # before detection
    shards: tuple[tuple[int, int], ...]          # [first, last) of `selected` for each shard
    backend: dict                     # identity of the landmark backend: name, version, sha256 of its weights
    evidence: tuple[list, ...]        # for each of `selected` what its points depend on besides its pictures

    @property
    def n_faces(self) -> int:
        """How many frames were selected."""
        return sum(len(one.sequence.frames) for one in self.selected)

    @property
    def n_found(self) -> int:
        """How many frames were found: selected plus what skipped rows stand for."""
        return self.n_faces + sum(skip.frames for skip in self.skipped)

    def bytes_needed(self, config: PrepareConfig) -> int:
        """Return about how many bytes the shards will take."""
        channels = 3 if config.colour == "rgb" else 1
        views = N_VIEWS * VIEW_SIZE**2 if config.views == "stored" else 0
        return self.n_faces * ((132 * 132 + views) * channels + 1400)


@dataclass
class Summary:
    """What a run did; found == kept + the sum of skipped."""

    out: Path
    dataset: str
    found: int = 0                    # frames
    kept: int = 0                     # faces in the manifest
    references: int = 0               # of them neutral references, never trained or tested on
    sequences: int = 0
    subjects: int = 0
    folds: int = 0
    skipped: dict[str, int] = field(default_factory=dict)     # reason -> frames
    decoded: int = 0                  # pictures decoded in this run
    detected: int = 0                 # pictures that went through the landmark backend in this run
    rendered: int = 0                 # views rendered in this run
    shards_written: int = 0
    shards_kept: int = 0              # found complete and not made again
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def unusable(self) -> int:
        """How many frames or files were wanted and could not be used."""
        return sum(count for reason, count in self.skipped.items() if reason in UNUSABLE)

    def to_json(self) -> dict:
        return {**asdict(self), "out": str(self.out)}

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
            f" {counted(self.subjects, 'subject')}, {self.folds} folds in {self.out}",
            f"skipped {self.unusable}{reasons}",
        ]
        return Text("\n".join(lines))


@dataclass(frozen=True)
class DryRun:
    """What a run would do."""

    plan: Plan
    config: PrepareConfig
    out: Path

    def to_json(self) -> dict:
        plan, config = self.plan, self.config
        return {
            "dry_run": True, "dataset": plan.scan.dataset, "sequences_found": len(plan.scan.sequences),
            "sequences": len({one.sequence.sequence_id for one in plan.selected}),
            "subjects": len({one.sequence.subject for one in plan.selected}),
            "faces": plan.n_faces, "frame_rule": plan.rule, "folds": config.folds, "fold_rule": config.fold_rule,
            "landmarks": plan.backend, "shards": len(plan.shards), "views": config.views, "bytes": plan.bytes_needed(config),
            "out": str(self.out), "notes": list(plan.scan.notes),
        }  # fmt: skip

    def __rich__(self):
        from rich.text import Text

        said = self.to_json()
        found, subjects = counted(said["sequences_found"], "sequence"), counted(said["subjects"], "subject")
        faces, folds, shards = (counted(said[f"{noun}s"], noun) for noun in ("face", "fold", "shard"))
        landmarks = f"{said['landmarks']['name']} {said['landmarks']['version']}".strip()
        lines = [
            f"{said['dataset']}: {found} found, {said['sequences']:,} labelled and selected, {subjects}",
            f"{faces} by rule {said['frame_rule']}, {folds} by rule {said['fold_rule']}, landmarks by {landmarks}",
            f"{shards} with {said['views']} views, about {said['bytes'] / 1e6:,.0f} MB, into {said['out']}",
            *(f"note: {note}" for note in said["notes"]),
            "dry run: nothing was written",
        ]
        return Text("\n".join(lines))


def make_plan(dataset: str, root: Path, config: PrepareConfig) -> Plan:
    """Return what `prepare_dataset` will do; reads names, labels and the backend's weights, no pictures.

    Raises DatasetError if the tree is not the database's, or if it has too few labelled subjects for the folds;
    WeightsError if the backend cannot run.
    """
    if dataset not in ADAPTERS:
        raise DatasetError(f"preparing a database: allowed are {', '.join(ADAPTERS)}; got {dataset!r}")
    if config.neutral not in NEUTRAL:
        raise DatasetError(f"taking neutral frames: allowed are {', '.join(NEUTRAL)}; got {config.neutral!r}")
    scan = ADAPTERS[dataset](root, **config.options)
    rule = config.frames or peaks.DEFAULT_RULE[dataset]
    labelled: dict[str, list[str]] = {}
    for sequence in scan.sequences:
        if sequence.expression:
            labelled.setdefault(sequence.subject, []).append(sequence.expression)
    if len(labelled) < 2:
        raise DatasetError(_too_few(dataset, root, scan, labelled))
    fold_of = folds.assign(labelled, config.fold_rule, config.folds, config.fold_seed)
    selected, skipped = [], list(scan.skipped)
    for sequence in scan.sequences:
        used, left = _select(sequence, rule, config.neutral)
        skipped += left
        selected += [Selected(one, fold_of[sequence.subject]) for one in used]
    backend_name, backend_options = config.backend()
    backend = open_backend(backend_name, **backend_options)
    evidence = tuple(backend.evidence(Path(root), one.sequence) for one in selected)
    scan = replace(scan, notes=(*scan.notes, *_neutral_notes(selected, config.neutral)))
    return Plan(scan, rule, tuple(selected), tuple(_once(skipped, selected)), tuple(_group(selected)), backend.identity(), evidence)


def dry_run(dataset: str, root: Path, out: Path, config: PrepareConfig) -> DryRun:
    """Return what `prepare_dataset` would do with the same arguments; writes nothing. Raises as it does before it writes."""
    check_out(dataset, Path(root), Path(out))
    return DryRun(make_plan(dataset, root, config), config, Path(out))


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
    ClusterError and OSError before or between writes: what lies in `out` is always whole, and the same call goes on from there.
    """
    began = time.time()
    root, out = Path(root), Path(out)
    check_out(dataset, root, out)
    plan = make_plan(dataset, root, config)
    with ExitStack() as stack:
        if executor is None and config.scheduler is not None:
            executor = stack.enter_context(cluster(config.scheduler))        # before anything is written: nobody may answer there
        stack.enter_context(only_writer(dataset, root, out))
        summary = Summary(out, dataset, found=plan.n_found, notes=plan.scan.notes)
        run = _Run(root, out, config, plan, summary, progress)
        with _workers(config, executor) as pool:
            made = _Made()
            for record in run.records(pool):
                made.add(record)
        _write_manifest(run, made)
        remove_surplus(out, made.hashes)
        summary.seconds = time.time() - began
        _write_run(out, root, config, summary)
    return summary


# --- planning ---------------------------------------------------------------------------------------------------------


def _too_few(dataset: str, root: Path, scan: Scan, labelled: dict[str, list[str]]) -> str:
    """Return the sentence about fewer than two labelled subjects, with what the adapter says of the tree."""
    left = Counter(f"{skip.reason} ({skip.detail})" if skip.detail else skip.reason for skip in scan.skipped if skip.frames)
    notes = [*scan.notes, *(f"left out: {count} {reason}" for reason, count in left.most_common(_REASONS))]
    found = f"only {next(iter(labelled))} has one" if labelled else "there is none"
    return "; ".join([f"preparing {dataset}: two subjects with a labelled sequence are needed, below {root} {found}", *notes])


def _select(sequence: Sequence, rule: str, neutral: str) -> tuple[list[Sequence], list[Skip]]:
    """Return the sequence with the frames that the rule takes, and Skips for those that it leaves.

    With `neutral`, a sequence of the first frame alone comes before it, unless the rule takes that frame already.
    """
    key, count = (sequence.subject, sequence.sequence), len(sequence.frames)
    where = sequence.frames[0].source
    if sequence.expression is None:
        return [], [Skip(where, "unlabelled", *key, frames=count)]
    chosen = peaks.select(sequence, rule)
    if isinstance(chosen, str):
        return [], [Skip(where, chosen, *key, frames=count, detail=f"{count} frames, rule {rule}")]
    used = [replace(sequence, frames=tuple(sequence.frames[index] for index in chosen))]
    if neutral != "off" and 0 not in chosen:
        role = "reference" if neutral == "reference" else "peak"
        used.insert(0, replace(sequence, expression="neutral", role=role, frames=sequence.frames[:1], apex=None))
    left = count - sum(len(one.frames) for one in used)
    return used, [Skip(where, "not-peak", *key, frames=left, detail=f"rule {rule}")] if left else []


def _once(skipped: list[Skip], selected: list[Selected]) -> list[Skip]:
    """Return the Skips without those of unreadable files that stand for no frame and are counted elsewhere."""
    counted = {frame.source for one in selected for frame in one.sequence.frames}
    counted |= {skip.source for skip in skipped if skip.frames and skip.reason == "unreadable"}
    return [skip for skip in skipped if skip.frames or skip.reason != "unreadable" or skip.source not in counted]


def _neutral_notes(selected: list[Selected], neutral: str) -> list[str]:
    """Return a sentence about sequences that give no neutral frame."""
    with_neutral = {one.sequence.sequence_id for one in selected if one.sequence.expression == "neutral"}
    without = [one.sequence.sequence_id for one in selected if one.sequence.sequence_id not in with_neutral]
    if neutral == "off" or not without:
        return []
    return [f"sequences without a neutral frame, their first being a peak frame already: {len(without)}, such as {without[0]}"]


def _group(selected: list[Selected]) -> Iterator[tuple[int, int]]:
    """Yield [first, last) of the sequences of each shard."""
    first, faces = 0, 0
    for index, one in enumerate(selected):
        faces += len(one.sequence.frames)
        if faces >= SHARD_FACES:
            yield first, index + 1
            first, faces = index + 1, 0
    if first < len(selected):
        yield first, len(selected)


# --- all sequences, in the one process that writes --------------------------------------------------------------------


@dataclass
class _Made:
    """What the manifest takes from the records of shards, small, for all of it is held until the manifest is written."""

    hashes: dict[str, str] = field(default_factory=dict)              # shard -> sha256
    rows: list[pa.RecordBatch] = field(default_factory=list)          # manifest.pack
    skipped: list[Skip] = field(default_factory=list)

    def add(self, record: shards.ShardRecord) -> None:
        self.hashes[record.name] = record.sha256
        self.rows.append(manifest.pack(record.rows))
        self.skipped += [Skip(**skip) for skip in record.skipped]


@dataclass
class _Run:
    """One call of prepare_dataset: hands out sequences, takes faces in order, writes shards."""

    root: Path
    out: Path
    config: PrepareConfig
    plan: Plan
    summary: Summary
    progress: Progress
    done: int = 0
    room: np.ndarray | None = None    # for the views of a shard

    def records(self, pool: Executor) -> Iterator[shards.ShardRecord]:
        """Yield the record of each shard, in order: those that are there, and those made now."""
        hashes = _hash_sources(self.root, self.plan)
        todo, keys, missing = [], [], set()
        for index, (first, last) in enumerate(self.plan.shards):
            keys.append(self._key(first, last, hashes))
            if self._known(index, keys[-1]) is None:
                missing.add(index)
                todo += range(first, last)
        results = self._results(pool, (self._task(one, hashes) for one in todo))
        for index, (first, last) in enumerate(self.plan.shards):
            if index not in missing:
                self.summary.shards_kept += 1
                self._advance(last - first)
                yield shards.read_record(self.out / "shards", shards.shard_name(index))  # again, so that one at a time is held
            else:
                yield self._make_shard(index, keys[index], [next(results) for _ in range(first, last)])

    def _known(self, index: int, key: str) -> shards.ShardRecord | None:
        """Return the record of a shard that lies there whole and has this key."""
        try:
            record = shards.read_record(self.out / "shards", shards.shard_name(index))
        except ShardError:  # damaged or of another version: the shard is made anew
            return None
        path = self.out / "shards" / shards.shard_name(index)
        whole = record is not None and record.key == key and path.is_file() and path.stat().st_size == record.size
        return record if whole else None

    def _task(self, index: int, hashes: dict[str, str]) -> Task:
        sequence = self.plan.selected[index].sequence
        return Task(
            str(self.root.absolute()), sequence, tuple(hashes[frame.source] for frame in sequence.frames), self.config.backend(),
            self.plan.backend, self.plan.evidence[index], self.config.colour == "rgb", str(self.out.absolute() / "cache" / "landmarks"),
        )  # fmt: skip

    def _key(self, first: int, last: int, hashes: dict[str, str]) -> str:
        """Return the key of a shard: everything that decides its bytes."""
        sequences = []
        for one, evidence in zip(self.plan.selected[first:last], self.plan.evidence[first:last], strict=True):
            content = asdict(one.sequence)
            content["sha256"] = [hashes[frame.source] for frame in one.sequence.frames]
            content["evidence"] = evidence
            sequences.append(content)
        return cache.key_of(
            {
                "pipeline": PIPELINE_VERSION, "shard": shards.SHARD_VERSION, "opencv": cv2.__version__, "backend": self.plan.backend,
                "views": self.config.views, "colour": self.config.colour, "sequences": sequences,
            }
        )  # fmt: skip

    def _results(self, pool: Executor, tasks: Iterator[Task]) -> Iterator[Result]:
        """Yield the result of each task in order, keeping only a few ahead, and keep each one's landmarks at once."""
        waiting: deque[Future] = deque()
        for task in tasks:
            waiting.append(pool.submit(process, task))
            while len(waiting) >= _IN_FLIGHT * max(1, getattr(pool, "width", self.config.workers)):
                yield self._taken(waiting.popleft())
        while waiting:
            yield self._taken(waiting.popleft())

    def _taken(self, future: Future) -> Result:
        result = future.result()
        if not result.cached:
            cache.store(self.out / "cache" / "landmarks", result.cache_key, result.framing, result.found)
            self.summary.detected += len(result.found)
        self.summary.decoded += result.decoded
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

    def _make_shard(self, index: int, key: str, results: list[Result]) -> shards.ShardRecord:
        """Render and write one shard."""
        name = shards.shard_name(index)
        rows = [row for result in results for row in result.rows]
        data = {
            "faces": np.concatenate([result.faces for result in results]),
            "landmarks": np.concatenate([result.landmarks for result in results]),
            "matrix": np.array([[row[name] for name in manifest.MATRIX] for row in rows], np.float64).reshape(-1, 2, 3),
        }
        if self.config.views == "stored":
            data["views"] = render_views(data["faces"], self._room(data["faces"].shape))  # (N, 110, 96, 96[, 3])
            self.summary.rendered += len(rows) * N_VIEWS
        rows = [{**row, "shard": name, "row": number} for number, row in enumerate(rows)]
        skipped = [asdict(skip) for result in results for skip in result.skipped]
        self.summary.shards_written += 1
        manifest.withdraw(self.out)
        return shards.write_shard(self.out / "shards", name, key, data, rows, skipped)


def _hash_sources(root: Path, plan: Plan) -> dict[str, str]:
    """Return source -> hash_source of it, for all that is used. Threads suffice: hashing and reading let others run."""
    sources = sorted({frame.source for one in plan.selected for frame in one.sequence.frames})
    batches = [sources[first : first + _HASHED_AT_ONCE] for first in range(0, len(sources), _HASHED_AT_ONCE)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashed = pool.map(lambda batch: [hash_source(root / source) for source in batch], batches)
        return dict(zip(sources, chain.from_iterable(hashed), strict=True))


def _write_manifest(run: _Run, made: _Made) -> None:
    """Join shards and folds into the manifest, and count: found == kept + skipped."""
    plan, summary = run.plan, run.summary
    fold_of = {one.sequence.subject: one.fold for one in plan.selected}
    table = manifest.unpack(made.rows)
    table["fold"] = table["subject"].map(fold_of)
    table["jump"] = find_jumps(table[["subject", "sequence", "frame", "motion"]].to_dict("records"))
    skipped = [*plan.skipped, *made.skipped]
    summary.kept = len(table)
    summary.references = int((table["role"] == "reference").sum())
    summary.sequences = len(table[["subject", "sequence"]].drop_duplicates())
    summary.subjects = table["subject"].nunique()
    summary.folds = run.config.folds
    counts = Counter()
    for skip in skipped:
        counts[skip.reason] += skip.frames
    summary.skipped = {reason: counts[reason] for reason in (*NOT_SELECTED, *UNUSABLE) if counts[reason]}
    assert summary.found == summary.kept + sum(counts.values()), (summary.found, summary.kept, counts)
    if not len(table):
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary.skipped.items())
        first = next((f", such as {skip.source}: {skip.detail}" for skip in skipped if skip.reason in UNUSABLE and skip.detail), "")
        raise DatasetError(f"preparing {plan.scan.dataset}: no face could be used; skipped: {reasons}{first}")
    from fer_data.synthetic.trees import is_drawn  # the generator of people, for its marker alone

    config = {key: value for key, value in asdict(run.config).items() if key not in ("workers", "scheduler", "openface")}
    config["options"] = {key: Path(value).name if isinstance(value, Path) else value for key, value in config["options"].items()}
    classes = classes_of(table.loc[table["role"] == "peak", "expression"])
    settings = {
        "dataset": plan.scan.dataset, "drawn": is_drawn(run.root), "classes": list(classes), "frame_rule": plan.rule,
        "config": config, "backend": plan.backend, "code_version": __version__, "opencv": cv2.__version__,
        "pipeline_version": PIPELINE_VERSION, "found": summary.found, "kept": summary.kept, "skipped": summary.skipped,
        "notes": list(summary.notes), "shards": made.hashes,
    }  # fmt: skip
    manifest.write_manifest(run.out, table, skipped, settings)


def find_jumps(rows: list[dict]) -> list[bool]:
    """Return for each row whether its face moved more than JUMP times the median of the data set.

    Motion is taken per frame number, so that a neutral first frame, or every tenth frame, does not count as a jump.
    Rows are in order, those of a sequence together; the first of a sequence moved by 0 and has no part in the median.
    """
    speeds = [0.0] * len(rows)
    for index, (before, row) in enumerate(pairwise(rows), 1):
        if (before["subject"], before["sequence"]) == (row["subject"], row["sequence"]):
            speeds[index] = row["motion"] / max(1, abs(row["frame"] - before["frame"]))
    moved = [speed for speed in speeds if speed > 0]
    limit = JUMP * float(np.median(moved)) if moved else 0.0
    return [speed > limit > 0 for speed in speeds]


def _write_run(out: Path, root: Path, config: PrepareConfig, summary: Summary) -> None:
    """Write what differs between runs that give the same data: where, when, how fast."""
    write_json_atomically(
        out / "run.json",
        {
            "command": sys.argv, "root": str(root.resolve()), "workers": config.workers, "scheduler": config.scheduler,
            "finished": time.time(), "summary": summary.to_json(),
        },
    )  # fmt: skip


# --- processes --------------------------------------------------------------------------------------------------------


class _Inline(Executor):
    """Runs each call at once in this process: what one worker needs."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on, as every Executor does
            future.set_exception(error)
        return future


@contextmanager
def _workers(config: PrepareConfig, given: Executor | None) -> Iterator[Executor]:
    """Yield the given executor, left open; or our own processes, which end with the run, however it ends."""
    if given is not None:
        yield given
        return
    own = _Inline() if config.workers <= 1 else _processes(config.workers)
    try:
        yield own
    except BaseException:
        if isinstance(own, ProcessPoolExecutor):
            own.kill_workers() if hasattr(own, "kill_workers") else _kill(own)  # do not wait for detections under way
        raise
    finally:
        own.shutdown(wait=True, cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    """What ProcessPoolExecutor.kill_workers does from Python 3.14 on."""
    for worker in list((pool._processes or {}).values()):
        worker.kill()


def _processes(workers: int) -> ProcessPoolExecutor:
    """Return a pool whose processes have started with Ctrl-C held back: one that is still importing would answer it with a traceback."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})     # the processes inherit it; here it arrives a moment later
    try:
        for _ in range(workers):
            pool.submit(int)                                             # each starts one: none is idle yet
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return pool


def _start_worker() -> None:
    """Leave Ctrl-C to the process that writes; one thread each, for the workers are the parallelism."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
