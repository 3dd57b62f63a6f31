"""Plan a run before any picture is decoded: which frames of which sequences, in which folds and shards.

In:  the root of a database, PrepareConfig.
Out: Plan. No picture is decoded.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fer_data.datasets import folder
from fer_data.datasets.adapters import ADAPTERS
from fer_data.datasets.published import FILES, load_facts
from fer_data.errors import DatasetError, ManifestError, UnreadableError
from fer_data.faces.landmarks import backend_options, open_backend
from fer_data.faces.views import N_VIEWS, VIEW_SIZE
from fer_data.files import parse_object, read_file, shown
from fer_data.labels import HumanFigure
from fer_data.people import UNKNOWN, person, refuse_alike
from fer_data.prepare.shelf import Selected, Shelf
from fer_data.protocol import folds, peaks
from fer_data.protocol.folds import OFFICIAL
from fer_data.records import Scan, Sequence, Skip
from fer_data.store.folder import MARK, check_out, marked
from fer_data.store.manifest import read_settings
from fer_data.text import counted, unknown

__all__ = ["NEUTRAL", "SHARD_FACES", "DryRun", "Plan", "PrepareConfig", "dry_run", "made_again", "make_plan", "name_of"]

SHARD_FACES = 48                      # a shard is closed once it has this many faces; stored views make it about 49 MB
NEUTRAL = ("off", "class", "reference")          # what becomes of the first frame of each sequence
_UNWRITTEN = ("distinct_subjects", "small_faces")         # fields of PrepareConfig that are not written where they are off
_DECISIVE = ("landmarks", "detector", "small_faces", "colour", "frames", "neutral", "views")    # fields of PrepareConfig: the shards
_REASONS = 3                          # so many reasons are named where next to nothing could be selected


@dataclass(frozen=True)
class PrepareConfig:
    """How a database is prepared. All but `workers`, `scheduler` and the place of `openface` (not its content) decides the bytes.

    What is in _UNWRITTEN is written only where it is set: settings of before it was there keep their bytes.
    """

    landmarks: str = "fan"            # landmark backend; never swapped for another
    detector: str = "sfd"             # face detector of the fan backend; "whole" (fan, dlib): the picture is the face's box
    small_faces: bool = False         # fan, dlib: look once more, at twice the size, where no face was found
    openface: Path | None = None      # folder of OpenFace's CSV files, for the openface backend
    views: str = "stored"             # stored: all 110 views in the shards; virtual: rendered on demand
    colour: str = "grey"              # grey or rgb
    folds: int = 10                   # number of folds (paper: 10)
    fold_rule: str = "step"           # protocol.folds.RULES; OFFICIAL, with 0 folds: people unknown, the database's own split
    fold_seed: int = 0                # for the rules in protocol.folds.SEEDED
    frames: str | None = None         # protocol.peaks.RULES; None: the paper's rule for the database
    neutral: str = "off"              # NEUTRAL: first frames left out (paper), taken as class neutral, or as reference rows
    distinct_subjects: bool = False   # ids that differ in case, leading zeros or separators alone are different people
    options: dict = field(default_factory=dict)  # of the adapter, e.g. {"pattern": "{subject}/..."}
    workers: int = 1                  # processes
    scheduler: str | None = None      # address of a Dask scheduler whose workers take the place of processes

    def backend(self) -> tuple[str, dict]:
        """Return name and options for faces.landmarks.open_backend."""
        openface = self.openface and Path(self.openface).absolute()
        return self.landmarks, backend_options(self.landmarks, self.detector, openface, self.small_faces)

    def written(self) -> dict:
        """Return it as settings.json has it."""
        config = {key: value for key, value in asdict(self).items() if key not in ("workers", "scheduler", "openface")}
        config = {key: value for key, value in config.items() if key not in _UNWRITTEN or value}
        config["options"] = {key: Path(value).name if isinstance(value, Path) else value for key, value in config["options"].items()}
        return config


@dataclass(frozen=True)
class Plan:
    """What a run will do, known before any picture is decoded."""

    dataset: str
    people: bool                      # whether the database says who is in its pictures
    notes: tuple[str, ...]            # sentences for the user
    human: tuple[HumanFigure, ...]    # what people reach on the same task
    n_sequences: int                  # that were found, labelled or not
    n_faces: int                      # frames that were selected
    rule: str                         # frame rule
    selected: Shelf                   # a box for each shard
    skipped: tuple[Skip, ...]         # before detection
    backend: dict                     # identity of the landmark backend: name, version, sha256 of its weights

    @property
    def n_found(self) -> int:
        """How many frames were found: selected plus what skipped rows stand for."""
        return self.n_faces + sum(skip.frames for skip in self.skipped)

    def bytes_needed(self, config: PrepareConfig) -> int:
        """Return about how many bytes the shards will take."""
        channels = 3 if config.colour == "rgb" else 1
        views = N_VIEWS * VIEW_SIZE**2 if config.views == "stored" else 0
        return self.n_faces * ((132 * 132 + views) * channels + 1400)


@dataclass(frozen=True)
class DryRun:
    """What a run would do."""

    plan: Plan
    config: PrepareConfig
    out: Path
    again: tuple[str, ...]            # as `made_again` says it

    def to_json(self) -> dict:
        plan, config = self.plan, self.config
        return {
            "dry_run": True, "dataset": plan.dataset, "sequences_found": plan.n_sequences,
            "sequences": len({(one.sequence.sequence_id, one.sequence.expression) for one in plan.selected if one.sequence.role == "peak"}),
            "subjects": len({one.sequence.subject for one in plan.selected if one.sequence.subject}),
            "faces": plan.n_faces, "frame_rule": plan.rule, "folds": config.folds, "fold_rule": config.fold_rule,
            "landmarks": plan.backend, "shards": len(plan.selected.boxes), "views": config.views, "bytes": plan.bytes_needed(config),
            "out": shown(self.out), "notes": [*self.again, *plan.notes],
        }

    def __rich__(self):
        from rich.text import Text

        said = self.to_json()
        found, known = counted(said["sequences_found"], "sequence"), self.plan.people
        subjects = counted(said["subjects"], "subject") if known else UNKNOWN
        faces, folds, shards = (counted(said[f"{noun}s"], noun) for noun in ("face", "fold", "shard"))
        divided = f"{folds} by rule {said['fold_rule']}" if known else "the database's own split"
        landmarks = f"{said['landmarks']['name']} {said['landmarks']['version']}".strip()
        lines = [
            f"{said['dataset']}: {found} found, {said['sequences']:,} labelled and selected, {subjects}",
            f"{faces} by rule {said['frame_rule']}, {divided}, landmarks by {landmarks}",
            f"{shards} with {said['views']} views, about {said['bytes'] / 1e6:,.0f} MB, into {said['out']}",
            *(f"note: {note}" for note in said["notes"]),
            "dry run: nothing was written",
        ]
        return Text("\n".join(lines))


def name_of(dataset: str, root: Path, out: Path, config: PrepareConfig) -> str:
    """Return the name under which a database is prepared into `out`: its own, or that of a folder of pictures.

    A folder of pictures that was prepared before such folders had names keeps the one of that time, so that the same command gives the
    same bytes. Raises DatasetError if `out` holds a folder of pictures of another name, or joined folders, and no name was given.
    One of the same name at another place may be the same, moved: `made_again` tells of it.
    """
    if dataset != "folder":
        return dataset
    if config.options.get("name") is not None:
        return folder.check_name(config.options["name"])
    name, held = folder.default_name(root), marked(out) if (Path(out) / MARK).is_file() else None
    if held == folder.UNNAMED:
        return held
    if held not in (None, name, *ADAPTERS):
        doing = f"preparing {name} into {out}"
        if "joined" in _last_run(out):
            raise DatasetError(f"{doing}: it holds {held}, which `fer-data join` made of several folders; give another folder")
        raise DatasetError(f"{doing}: it holds the pictures of {held}; give another folder, or --name {held} if these are the same")
    return name


def make_plan(dataset: str, root: Path, config: PrepareConfig, name: str | None = None) -> Plan:
    """Return what `prepare_dataset` will do; reads names, labels and the backend's weights, no pictures. `name`: of a folder of pictures.

    Raises DatasetError if the tree is not the database's, if it has too few labelled subjects for the folds, or if two of them may be
    one person in two spellings; WeightsError if the backend cannot run.
    """
    if dataset not in ADAPTERS:
        raise DatasetError(f"preparing a database: {unknown('database', dataset, ADAPTERS)}")
    if config.neutral not in NEUTRAL:
        raise DatasetError(f"taking neutral frames: {unknown('choice', config.neutral, NEUTRAL)}")
    scan = ADAPTERS[dataset](root, **config.options | ({"name": name} if name and dataset == "folder" else {}))
    rule = config.frames or (load_facts(dataset).frame_rule if dataset in FILES else "all")
    fold_of = _folds(dataset, root, scan, config) if scan.people or not scan.sequences else _no_folds(dataset, config)
    kind, options = config.backend()
    backend, skipped = open_backend(kind, **options), list(scan.skipped)

    def selected() -> Iterator[Selected]:
        for sequence in scan.sequences:
            used, left = _select(sequence, rule, config.neutral)
            skipped.extend(left)
            for one in used:
                if not backend.takes_boxes and any(frame.box for frame in one.frames):
                    raise DatasetError(
                        f"preparing {dataset}: its lists say where each face is, and {backend.name} would look for one, perhaps of"
                        " another person; choose landmarks none, or detector whole with dlib or fan"
                    )
                yield Selected(one, fold_of[sequence.subject], backend.evidence(Path(root), one))

    shelf = Shelf(_boxes(selected()))
    n_faces = sum(len(one.sequence.frames) for one in shelf)
    left_out = tuple(_once(skipped, shelf))
    notes = (*scan.notes, *_neutral_notes(shelf, config.neutral), *_folder_notes(left_out))
    person.cache_clear()              # the ids in it lie between what the scan needed, none of which could be given back
    return Plan(scan.dataset, scan.people, notes, scan.human, len(scan.sequences), n_faces, rule, shelf, left_out, backend.identity())


def _folds(dataset: str, root: Path, scan: Scan, config: PrepareConfig) -> dict[str, int]:
    """Return subject -> fold."""
    labelled: dict[str, list[str]] = {}
    for sequence in scan.sequences:
        if sequence.expression:
            labelled.setdefault(sequence.subject, []).append(sequence.expression)
    if len(labelled) < 2:
        raise DatasetError(_too_few(dataset, root, scan, labelled))
    if not config.distinct_subjects:
        refuse_alike(f"preparing {dataset}", labelled)
    return folds.assign(labelled, config.fold_rule, config.folds, config.fold_seed)


def _no_folds(dataset: str, config: PrepareConfig) -> dict[str, int]:
    """Return what stands for folds where people are unknown. Raises DatasetError if folds are asked for."""
    if config.fold_rule != OFFICIAL or config.folds:
        raise DatasetError(
            f"preparing {dataset}: {UNKNOWN}: the database does not say who is in its pictures, so no folds by person can be made;"
            f" fold_rule {OFFICIAL} with 0 folds keeps the database's own split"
        )
    return {"": -1}


def dry_run(dataset: str, root: Path, out: Path, config: PrepareConfig) -> DryRun:
    """Return what `prepare_dataset` would do with the same arguments; writes nothing. Raises as it does before it writes."""
    again = made_again(dataset, root, out, config)
    return DryRun(make_plan(dataset, root, config, name_of(dataset, root, out, config)), config, Path(out), again)


def made_again(dataset: str, root: Path, out: Path, config: PrepareConfig) -> tuple[str, ...]:
    """Return sentences if `out` is a finished folder that was made from a root at another place, or with other options, which are named.

    Raises DatasetError, as preparing does, if `out` is none that this database may be prepared into: what is refused is not announced.
    """
    check_out(name_of(dataset, root, out, config), Path(root), Path(out))
    if not (Path(out) / "manifest.parquet").is_file():
        return ()
    before, now = _last_run(out).get("root"), shown(Path(root).resolve())
    moved = () if before in (None, now) else (
        f"{out} was made from {before}, not from {now}: if these are not the same pictures, those that are there are replaced; give another"
        " folder to keep them",
    )
    try:
        held = read_settings(out)["config"]
    except ManifestError:             # of another version, or damaged: nothing is known of its options
        return moved
    there, asked = _decisive(held), _decisive(json.loads(json.dumps(config.written())))
    differing = [f"{name} {there.get(name)} there, {asked.get(name)} now" for name in there | asked if there.get(name) != asked.get(name)]
    if not differing:
        return moved
    return (*moved, f"{out} was made with other options ({'; '.join(differing)}): shards that these change are made again and replaced",)


def _last_run(out: Path) -> dict:
    """Return run.json of a prepared folder; empty where it is not there or cannot be read: no bytes of the folder depend on it."""
    try:
        return parse_object(read_file(Path(out) / "run.json"))
    except (UnreadableError, ValueError):
        return {}


def _decisive(config: dict) -> dict:
    """Return the options of a configuration that may decide the shards, those of the adapter among them."""
    return {name: config.get(name) for name in _DECISIVE} | config["options"]


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


def _once(skipped: list[Skip], selected: Iterable[Selected]) -> list[Skip]:
    """Return the Skips without those of unreadable files that stand for no frame and are counted elsewhere."""
    doubtful = {skip.source for skip in skipped if not skip.frames and skip.reason == "unreadable"}
    if not doubtful:
        return skipped
    counted = {frame.source for one in selected for frame in one.sequence.frames if frame.source in doubtful}
    counted |= {skip.source for skip in skipped if skip.frames and skip.reason == "unreadable"}
    return [skip for skip in skipped if skip.frames or skip.reason != "unreadable" or skip.source not in counted]


def _neutral_notes(selected: Iterable[Selected], neutral: str) -> list[str]:
    """Return a sentence about sequences that give no neutral frame."""
    if neutral == "off":
        return []
    with_neutral = {one.sequence.sequence_id for one in selected if one.sequence.expression == "neutral"}
    without = [one.sequence.sequence_id for one in selected if one.sequence.sequence_id not in with_neutral]
    if not without:
        return []
    return [f"sequences without a neutral frame, their first being a peak frame already: {len(without)}, such as {without[0]}"]


def _folder_notes(skipped: Iterable[Skip]) -> list[str]:
    """Return a sentence about folders that cannot be listed: what is in them is in no count."""
    closed = [skip for skip in skipped if skip.reason == "unreadable" and skip.source.endswith("/")]
    if not closed:
        return []
    return [f"{counted(len(closed), 'folder')} cannot be read, and what is in it is in no count: {closed[0].source}, {closed[0].detail}"]


def _boxes(selected: Iterable[Selected]) -> Iterator[list[Selected]]:
    """Yield the sequences of each shard."""
    box, faces = [], 0
    for one in selected:
        box.append(one)
        faces += len(one.sequence.frames)
        if faces >= SHARD_FACES:
            yield box
            box, faces = [], 0
    if box:
        yield box
