"""Export a prepared folder into a format that other libraries read, folds kept.

In:  a prepared folder, a new or empty folder to write to, one of FORMATS, perhaps one of the 110 views.
Out: the export; next to its files README.md, which begins with what may be done with it, and export.json.

    export.json     what it was made from, sha256 of each file; "complete" is false until all are there. It marks the folder as
                    ours: an interrupted export resumes, and nothing is ever written into a folder of anything else
    .gitignore      `*`, unless nobody's face is in it: what must not be published is not committed by mistake

Same prepared folder, same bytes (of one version of OpenCV and pyarrow). Nothing is taken from pixels that are not those
that the manifest names.
"""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fer_data import __version__
from fer_data.errors import DatasetError
from fer_data.faces.views import N_VIEWS
from fer_data.files import (
    is_part,
    make_folder,
    occupied,
    remove_durably,
    sealed_json,
    sha256_of_bytes,
    unfinished_in,
    unseal,
    write_bytes_atomically,
)
from fer_data.share.formats import FORMATS
from fer_data.share.readme import readme
from fer_data.share.samples import Samples
from fer_data.share.terms import Terms
from fer_data.text import counted, unknown

__all__ = ["MARK", "Plan", "Summary", "export_faces", "plan_export"]

MARK = "export.json"
EXPORT_VERSION = 2                    # 2: metadata.jsonl in a folder of pictures, in place of a CSV
_WEIGHED = 32                         # pictures that the size is judged by


@dataclass(frozen=True)
class Plan:
    """What an export will write, known before anything is written."""

    samples: Samples
    dest: Path
    form: str

    @property
    def terms(self) -> Terms:
        return self.samples.terms

    @property
    def key(self) -> dict:
        """What decides the files."""
        return {
            "export_version": EXPORT_VERSION, "format": self.form, "view": self.samples.view,
            "manifest_sha256": self.samples.manifest_sha256,
        }

    def bytes_needed(self) -> int:
        """Return about how many bytes the pictures take, judged by some of them."""
        some = [len(sample.png) for sample in self.samples.some(_WEIGHED)]
        return round(sum(some) / len(some) * len(self.samples))

    def to_json(self) -> dict:
        """Return it as what JSON holds."""
        samples = self.samples
        counts = samples.rows["fold"].value_counts()
        return {
            "dry_run": True, **self.key, "dest": str(self.dest), "dataset": samples.settings["dataset"], "images": len(samples),
            "people": int(samples.rows["subject"].nunique()), "folds": {str(fold): int(counts.get(fold, 0)) for fold in samples.folds},
            "classes": list(samples.classes), "size_px": samples.size, "references_left_out": samples.n_references,
            "bytes": self.bytes_needed(), "warning": self.terms.warning,
        }

    def __rich__(self) -> str:
        """Return it as a few lines, for the console."""
        from rich.markup import escape

        said = self.to_json()
        shown = "faces" if said["view"] is None else f"view {said['view']} of faces"
        left = f"; {counted(said['references_left_out'], 'neutral reference')} left out" if said["references_left_out"] else ""
        lines = [
            f"{counted(said['images'], 'picture')} of {said['size_px']}x{said['size_px']} pixels ({shown}) of"
            f" {counted(said['people'], 'person', 'people')}, about {said['bytes'] / 1e6:,.1f} MB, as {self.form}, into {self.dest}{left}",
            f"per fold: {', '.join(f'{fold}: {number:,}' for fold, number in said['folds'].items())}",
            f"classes: {', '.join(said['classes'])}", "dry run: nothing was written",
        ]
        return escape("\n".join(lines))


@dataclass(frozen=True)
class Summary:
    """What an export did."""

    dest: Path
    form: str
    images: int
    files: int
    written: int                      # of the files; the others were there already
    bytes: int                        # of all of them
    public: bool                      # nothing known here speaks against publishing it

    def to_json(self) -> dict:
        """Return it as what JSON holds."""
        return {**asdict(self), "dest": str(self.dest)}

    def __rich__(self) -> str:
        """Return it as a sentence or two, for the console."""
        from rich.markup import escape

        done = f"{self.written:,} written" if self.written else "nothing was left to do"
        files = f"{counted(self.files, 'file')}, {self.bytes / 1e6:,.1f} MB"
        text = f"{self.dest}: {counted(self.images, 'picture')} as {self.form}, {files}; {done}"
        return escape(text if self.public else f"{text}\nREADME.md there says how to load it, and that it must not be published")


def plan_export(out: Path, dest: Path, form: str, view: int | None = None) -> Plan:
    """Return what `export_faces` will do; writes nothing.

    Raises DatasetError for a format or view that there is not, and unless `dest` is new, empty, or an export of the same;
    ManifestError if the prepared folder is not whole.
    """
    out, dest = Path(out), Path(dest)
    if form not in FORMATS:
        raise DatasetError(f"exporting {out}: {unknown('format', form, FORMATS)}")
    if view is not None and not 0 <= view < N_VIEWS:
        raise DatasetError(f"exporting {out}: view {view} is not there; choose 0 to {N_VIEWS - 1}")
    if out.resolve() in (dest.resolve(), *dest.resolve().parents):
        raise DatasetError(f"exporting {out}: give a folder outside of it, got {dest}")
    plan = Plan(Samples(out, view), dest, form)
    _check_dest(plan)
    return plan


def export_faces(plan: Plan, progress: Callable[[int, int], None] = lambda done, total: None) -> Summary:
    """Write what was planned. Run again, it resumes, and repairs what is not as it was written.

    Raises ShardError where the prepared folder is damaged, StorageError if a file cannot be written.
    """
    _check_dest(plan)
    hashes, written, size = {}, 0, 0
    samples, images = plan.samples, len(plan.samples)
    make_folder(plan.dest)
    if not _is_complete(plan):
        write_bytes_atomically(plan.dest / MARK, sealed_json({**plan.key, "complete": False}))
    for name, data in _files(plan, progress):
        path = plan.dest / name
        if name.endswith("/"):
            make_folder(path)
            continue
        make_folder(path.parent)
        if not _holds(path, data):
            write_bytes_atomically(path, data, durable=False)              # after a power cut, without the mark, it is looked at again
            written += 1
        hashes[name] = sha256_of_bytes(data)
        size += len(data)
    said = {
        **plan.key, "complete": True, "dataset": samples.settings["dataset"], "drawn": plan.terms.drawn, "warning": plan.terms.warning,
        "licence": plan.terms.licence, "citation": list(plan.terms.citations), "classes": list(samples.classes), "images": images,
        "folds": list(samples.folds), "references_left_out": samples.n_references, "code_version": __version__, "files": hashes,
    }
    _remove_parts(plan.dest, (MARK, *hashes))
    if written:
        os.sync()                                                        # once, for all: a sync for each of many small files takes minutes
    mark = sealed_json(said)
    if not _holds(plan.dest / MARK, mark):
        write_bytes_atomically(plan.dest / MARK, mark)
    return Summary(plan.dest, plan.form, images, len(hashes), written, size, plan.terms.public)


def _files(plan: Plan, progress: Callable[[int, int], None]) -> Iterator[tuple[str, bytes]]:
    """Yield all files but the mark; the read-me and the guard come before the first face."""
    if not plan.terms.public:
        yield ".gitignore", b"*\n"
    yield "README.md", readme(plan.samples, plan.form).encode()
    yield from FORMATS[plan.form](plan.samples.watched(progress))


def _remove_parts(dest: Path, names: Collection[str]) -> None:
    """Remove what an interrupted export was writing when it ended: who reads all files of a folder would have some faces twice."""
    own: dict[Path, list[str]] = {}
    for name in names:
        own.setdefault((dest / name).parent, []).append(Path(name).name)
    for folder, files in own.items():
        for path in unfinished_in(folder, "*"):
            if is_part(path, *files):
                remove_durably(path)


def _check_dest(plan: Plan) -> None:
    """Raise DatasetError unless the folder is new, empty, or an export of the same, complete or not."""
    dest, held = plan.dest, _mark(plan)
    if held is not None:
        other = next((name for name, value in plan.key.items() if held.get(name) != value), None)
        if other:
            what = f"its {other} is {held.get(other)!r}, not {plan.key[other]!r}"
            raise DatasetError(f"exporting into {dest}: it holds another export ({what}); give another folder, or remove this one first")
        return
    if problem := occupied(dest, "the same export", lambda path: is_part(path, MARK)):
        raise DatasetError(f"exporting faces: {problem}")


def _mark(plan: Plan) -> dict | None:
    """Return what export.json says, or None if there is none."""
    path = plan.dest / MARK
    if not path.is_file():
        return None
    try:
        return unseal(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"exporting into {plan.dest}: its {MARK} is damaged ({error}); give another folder") from error


def _is_complete(plan: Plan) -> bool:
    return bool((_mark(plan) or {}).get("complete"))


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
