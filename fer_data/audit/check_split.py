"""Audit a split that a user brings: read it, find who is on both sides, and compare pictures where they are available.

In:  the files or folders of a split, or a prepared folder; perhaps a subject pattern and the folder of the pictures.
Out: audit.leaks.AuditReport. Nothing is written.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from fer_data.audit.forms import SUFFIXES, Tree
from fer_data.audit.leaks import AuditReport, PixelReport, audit, with_pixels
from fer_data.audit.near_duplicates import THRESHOLD, PictureHash, find_duplicates, hash_picture
from fer_data.audit.places import is_listed_picture, names_a_place, place_of
from fer_data.audit.read import ReadSplit, read_split
from fer_data.audit.unknown import audit_unknown
from fer_data.datasets.tree import walk
from fer_data.errors import ImageError, SplitError, UnreadableError
from fer_data.files import opened, read_file, sha256_of_bytes, sha256_of_file
from fer_data.people import are_known
from fer_data.pictures.decode import decode_picture
from fer_data.pictures.file_kinds import is_picture
from fer_data.store.folder import MARK
from fer_data.store.manifest import read_manifest, read_settings
from fer_data.text import listed, natural_key, same_path

__all__ = ["check_split"]

_AT_ONCE = 64                         # pictures handed to the threads together
_NAMED = 3                            # entries that cannot be read
_UNREAD = "cannot be read"

Progress = Callable[[int, int], None]   # (pictures done, pictures in all)


def check_split(
    paths: Sequence[Path],
    subject_pattern: str | None = None,
    images: Path | None = None,
    threshold: int = THRESHOLD,
    progress: Progress = lambda done, total: None,
    distinct: bool = False,
    subject_columns: Sequence[str] = (),
) -> AuditReport:
    """Return what is wrong with the split in `paths`, or that nothing is.

    A path is a list or table, a folder of such files, a folder of pictures per side, or a folder that `prepare` wrote.
    `images` is where the listed pictures lie; a folder of pictures needs it not. `distinct` says that the ids are right as they are
    written; a folder that was prepared with --distinct-subjects says so itself. `subject_columns` are the columns of a table that tell
    the subject together. Raises SplitError if the split cannot be read or if the subjects in it cannot be known, ManifestError as
    read_manifest does.
    """
    files, trees, unread, passed_over = _inputs([Path(path) for path in paths])
    distinct = distinct or any(_said_distinct(Path(path)) for path in paths)
    if [path.name for path in files] == ["manifest.parquet"] and subject_pattern is None and images is None:
        frame = read_manifest(files[0].parent)
        if not are_known(frame["subject"]):
            return audit_unknown(files[0].parent, frame, threshold, progress)
    read = read_split(files, trees, subject_pattern, _digest, distinct, subject_columns)
    report = audit(read.split)
    if passed_over:
        note = f"named after no side and no fold, and not read: {listed(passed_over, _NAMED)}"
        report = replace(report, notes=(*report.notes, note))
    if unread:
        more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        report = replace(report, warnings=(*report.warnings, f"{len(unread)} entries cannot be read: {'; '.join(unread[:_NAMED])}{more}"))
    if images is not None or trees:
        return with_pixels(report, _compare(read, images, threshold, progress))
    if read.digests:
        note = "bytes only, by the hashes in the table; give --images ROOT to look for near duplicates"
        return with_pixels(report, find_duplicates(read.split, read.digests, notes=(note,)))
    return report


def _inputs(paths: list[Path]) -> tuple[list[Path], list[Tree], list[str], list[str]]:
    """Return the files and the folders of pictures that `paths` stand for, a clause for each entry that cannot be read, and the names of
    files next to lists that may be lists but are not named like one."""
    files, trees, unread, passed_over = [], [], [], []
    for path in paths:
        if not path.is_dir():
            files.append(path)
        elif (path / "manifest.parquet").is_file() or (path / MARK).is_file():
            read_manifest(path)  # refuses one that is unfinished, damaged, or of another schema version
            files.append(path / "manifest.parquet")
        else:
            found, left = walk(path)
            unread += [f"{path / skip.source} {skip.detail.removeprefix('it ')}" for skip in left if skip.detail]
            pictures = tuple(name for name in found if is_listed_picture(name))
            texts = [name for name in found if name.lower().endswith(SUFFIXES)]
            lists = [name for name in texts if names_a_place(Path(name).stem)]
            placed = any(place_of(name.split("/")[:-1])[:2] != (None, None) for name in pictures)
            if lists and not placed:
                problems = {name: _problem(path / name) for name in lists}
                files += [path / name for name, problem in problems.items() if not problem]
                unread += [problem for problem in problems.values() if problem and problem not in unread]
                passed_over += [name for name in texts if name not in problems]
            elif pictures:
                trees.append(Tree(path, pictures))
            else:
                other = f"; if {listed(texts, _NAMED, 'or')} is one, give that file itself" if texts else ""
                raise SplitError(f"reading the split {path}: it has neither folders of pictures nor lists such as train_1.txt{other}")
    return files, trees, unread, passed_over


def _said_distinct(path: Path) -> bool:
    """Say whether this is a prepared folder of which `prepare` was told that ids written differently are different people."""
    return path.is_dir() and (path / "manifest.parquet").is_file() and read_settings(path)["config"].get("distinct_subjects", False)


def _problem(path: Path) -> str:
    """Return why a file cannot be read, a clause, or ""."""
    try:
        with opened(path):
            return ""
    except UnreadableError as error:
        return str(error)


def _digest(path: Path) -> str:
    """Return the sha256 of a file's bytes; of one that cannot be read its path: it is like no other."""
    try:
        return sha256_of_file(path)
    except UnreadableError:
        return sha256_of_bytes(str(path).encode())


# --- pixels -----------------------------------------------------------------------------------------------------------


def _compare(read: ReadSplit, images: Path | None, threshold: int, progress: Progress) -> PixelReport:
    """Return the duplicates among the pictures of the split that can be found."""
    shared = Counter(read.locations.values())
    find = _finder(images)
    found: dict[str, Path] = {}
    notes: list[str] = []
    lost = 0
    for name, location in read.locations.items():
        path = find(location) if shared[location] == 1 else None
        if path is not None:
            found[name] = path
        elif shared[location] == 1:
            lost += 1
    clips = sum(shared[location] > 1 or not is_picture(location) for location in read.locations.values())
    if not found:
        first = next(iter(read.locations.values()), "an entry without a path")
        raise SplitError(f"comparing pictures: none of the {len(read.split.items)} entries was found below {images}, e.g. {first!r}")
    if lost:
        notes.append(f"{lost} pictures were not found, or not at one place only, below {images}")
    if clips:
        notes.append(f"{clips} entries are clips, or frames of clips: how they look was not compared")
    digests: dict[str, str] = {}
    hashes: dict[str, PictureHash] = {}
    problems = Counter()
    for done, (name, digest, result) in enumerate(_read_pictures(found), 1):
        digests[name] = digest
        if isinstance(result, PictureHash):
            hashes[name] = result
        else:
            problems[result] += 1
        progress(done, len(found))
    unread = problems.pop(_UNREAD, 0)
    notes += [f"{count} pictures {problem}: compared byte by byte only" for problem, count in problems.items() if problem]
    notes += [f"{unread} files {_UNREAD} and were not compared"] if unread else []
    return find_duplicates(read.split, digests, hashes, threshold, tuple(notes), progress)


def _finder(images: Path | None) -> Callable[[str], Path | None]:
    """Return a function from a listed path to the file below `images`: at that path, or the only one that ends like it."""
    by_path: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    if images is not None:
        for file in walk(images)[0]:
            spelled = same_path(file)
            by_path.setdefault(spelled, file)
            by_name.setdefault(spelled.rsplit("/", 1)[-1], []).append(spelled)

    def find(location: str) -> Path | None:
        if images is None:
            return Path(location)
        if (images / location).is_file():
            return images / location
        location = same_path(location)
        same_name = by_name.get(location.rsplit("/", 1)[-1], [])
        ends = [file for file in same_name if f"/{file}".endswith(f"/{location}")] or same_name
        return images / by_path[ends[0]] if len(ends) == 1 else None

    return find


def _read_pictures(found: dict[str, Path]) -> Iterator[tuple[str, str, PictureHash | str]]:
    """Yield (item, sha256, hash or why there is none) in natural order; threads suffice, decoding lets others run.

    A few at a time, so that an interrupt does not wait for thousands.
    """

    def read(name: str) -> tuple[str, str, PictureHash | str]:
        path = found[name]
        try:
            if not is_picture(path.name):
                return name, sha256_of_file(path), ""                    # a clip, counted already
            data = read_file(path)
        except UnreadableError:
            return name, _digest(path), _UNREAD
        try:
            return name, sha256_of_bytes(data), hash_picture(decode_picture(data, False, str(path))) or "are of one tone"
        except ImageError:
            return name, sha256_of_bytes(data), "cannot be decoded"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        names = sorted(found, key=natural_key)
        for first in range(0, len(names), _AT_ONCE):
            yield from pool.map(read, names[first : first + _AT_ONCE])
