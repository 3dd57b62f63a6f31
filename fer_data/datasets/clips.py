"""What databases share that are one clip for each utterance, told apart by its name: CREMA-D, RAVDESS.

In:  the clips that an adapter chose, by name.
Out: Sequences, Skips for clips that cannot be read, notes; how many clips are the published ones, by their sha256.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from fer_data.datasets.copies import duplicates, first_whole
from fer_data.datasets.published import difference_notes
from fer_data.errors import DatasetError, TableError, UnreadableError
from fer_data.files import read_file, sha256_of_file
from fer_data.pictures import video
from fer_data.records import ClipFrames, Sequence, Skip
from fer_data.tables import raw_lines, text_of
from fer_data.text import counted, listed, natural_key

__all__ = ["Named", "copies_of_each", "left_out", "missing_notes", "sequences_of", "source_note"]

_POINTER = "is a Git LFS pointer"     # files.left_over says so
_NAMED = 5                            # so many clips are named in a note, the rest is counted
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_FILE = re.compile(r"[\w-]+\.\w+")    # the name of a clip, without its folder


class Named(NamedTuple):
    """A clip whose name says who shows what."""

    paths: tuple[str, ...]            # relative to the root, of each copy; the first that can be used is taken
    subject: str
    sequence: str
    expression: str


def copies_of_each(
    paths: Iterable[str], key_of: Callable[[str], tuple[str, str]], suffix: str
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return (subject, sequence) -> paths of its copies, best first; in natural order.

    suffix   of the clips as published: such a one comes before converted ones, then the one nearest to the root
    """
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(paths, key=lambda path: (not path.lower().endswith(suffix), path.count("/"), natural_key(path))):
        found.setdefault(key_of(path), []).append(path)
    return {key: tuple(found[key]) for key in sorted(found, key=lambda key: tuple(map(natural_key, key)))}


def left_out(paths: tuple[str, ...], reason: str, key: tuple[str, str], detail: str) -> list[Skip]:
    """Return the Skips of a clip that is not used, whatever is in it: the reason for the first copy, the others are duplicates."""
    return [Skip(paths[0], reason, *key, detail=detail), *duplicates(paths[1:], key, paths[0])]


def sequences_of(dataset: str, root: Path, clips: Iterable[Named]) -> tuple[list[Sequence], list[Skip], list[str]]:
    """Step through the clips; return their Sequences, Skips for files that cannot be read and for copies, and notes.

    Raises DatasetError if PyAV is missing, or if all clips are Git LFS pointers.
    """
    video.require_av()
    sequences, skipped, short = [], [], []
    for one in clips:
        key = one.subject, one.sequence
        found, others = first_whole(root, one.paths, key)
        skipped += others
        if found is None:
            continue
        path, clip = found
        if clip.promised > clip.frames:
            short.append(f"{path} ({clip.frames} of {clip.promised})")
        sequences.append(Sequence(dataset, *key, one.expression, ClipFrames(path, clip.frames)))
    pointers = [skip.source for skip in skipped if _POINTER in skip.detail]
    if pointers and not sequences:
        raise DatasetError(
            f"reading the clips of {dataset} below {root}: {counted(len(pointers), 'file')} such as {pointers[0]} are Git LFS pointers,"
            " not the clips themselves; run `git lfs pull` in the clone, then this command again"
        )
    notes = []
    if pointers:
        notes.append(f"{len(pointers):,} of the files are Git LFS pointers, such as {pointers[0]}: run `git lfs pull` in the clone")
    if short:
        notes.append(f"the header promises more frames than the clip has, what is there counts: {listed(short, _NAMED)}")
    return sequences, skipped, notes


def missing_notes(sequences: Iterable[Sequence], chosen: Iterable[tuple[str, str]], published: Iterable[str]) -> tuple[str, ...]:
    """Return difference_notes, but for clips that are there and that a Skip names."""
    named = {"/".join(key) for key in chosen} - {one.sequence_id for one in sequences}
    return difference_notes(sequences, [one for one in published if one not in named])


def source_note(root: Path, paths: Iterable[str], published: Path) -> str:
    """Return "7,438 of 7,442 clips are the published ones", by their sha256, and which are not.

    published   text with a sha256 and the name of its file on each line: a CSV, or what `git lfs ls-files --long` and `sha256sum` print
    Raises DatasetError if it cannot be read, or has no such line.
    """
    doing = f"comparing clips with {published}"
    try:
        text, _ = text_of(read_file(published))
    except TableError as error:
        raise DatasetError(f"{doing}: {error}") from error
    except UnreadableError as error:
        raise DatasetError(f"{doing}: it {error.why}") from error
    digests = {}
    for line in raw_lines(text):
        names, found = _FILE.findall(line), _DIGEST.findall(line.lower())
        if len(names) == len(found) == 1:
            digests[names[0]] = found[0]
    if not digests:
        raise DatasetError(f"{doing}: no line has a sha256 and the name of a clip; `git lfs ls-files --long` prints such a list in a clone")
    paths = list(paths)
    others = [path for path in paths if digests.get(Path(path).name) != _sha256(root / path)]
    note = f"{len(paths) - len(others):,} of {len(paths):,} clips are the published ones, by the sha256 in {published.name}"
    return f"{note}; not: {listed(others, _NAMED)}" if others else note


def _sha256(path: Path) -> str:
    """Return the sha256 of a clip, or "" of one that cannot be read: it is listed as such."""
    try:
        return sha256_of_file(path)
    except UnreadableError:
        return ""
