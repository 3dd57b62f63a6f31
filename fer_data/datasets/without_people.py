"""Databases that do not say who is in their pictures: what their adapters share.

In:  pictures with their part of the database's own split and their expression.
Out: Sequence records without a subject, one picture each; the parts and expressions of folders named after them.

Nobody is invented: `subject` is empty. Labels are read by name or by the code that the database publishes, never by the position of a
folder in a listing: by alphabet neutral comes before sad and surprise, by code after them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fer_data.datasets.copies import one_of_each
from fer_data.datasets.recognise import told_by_its_names
from fer_data.datasets.tree import stray
from fer_data.errors import DatasetError, TableError, UnreadableError
from fer_data.files import read_file, sha256_of_file
from fer_data.labels import WORDS
from fer_data.pictures.file_kinds import is_picture
from fer_data.records import Frame, Sequence, Skip
from fer_data.tables import raw_lines, text_of
from fer_data.text import natural_key

__all__ = ["PARTS", "counted_once", "digests_of_files", "in_class_folders", "picture", "read_words", "without_duplicates"]

# Names of folders, in lower case -> the part of the split that they hold.
PARTS = {
    "train": "train", "training": "train", "train_set": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "val_set": "validation",
    "test": "test", "testing": "test",
}
_BEST = ("test", "validation", "train", "")          # of pictures that are the same, one of the first of these parts is kept


def picture(
    dataset: str, path: str, split: str, expression: str | None, key: str, box: tuple[int, int, int, int] | None = None
) -> Sequence:
    """Return the Sequence of one picture, or of one face in it. `key`: its id, unique in the database; `box`: as Frame has it."""
    return Sequence(dataset, "", key, expression, (Frame(path, 0, box=box),), split=split)


def read_words(root: Path, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, words) of the lines of a list that are not empty. Raises DatasetError if it is no text."""
    try:
        text, _ = text_of(read_file(Path(root) / source))
    except TableError as error:
        raise DatasetError(f"reading the list {source}: {error}") from error
    except UnreadableError as error:
        raise DatasetError(f"reading the list {source}: it {error.why}") from error
    yield from ((number, words) for number, line in enumerate(raw_lines(text), 1) if (words := line.split()))


def in_class_folders(
    dataset: str,
    root: Path,
    files: list[str],                 # as tree.walk gives them
    member: str,                      # how a picture is named, for people
    parts: Mapping[str, str] = PARTS,
    words: Mapping[str, str | None] = WORDS,
) -> tuple[list[Sequence], list[Skip]]:
    """Return the pictures that lie in `.../<part>/.../<label>/<name>`, in natural order, and Skips for those that do not.

    parts, words   names of folders in lower case -> part of the split, expression
    The label is the folder that holds the picture; the part is the nearest folder above it that has a name of `parts`.
    Raises DatasetError if the names are those of another database with such folders.
    """
    if clause := told_by_its_names(root, files, dataset):
        raise DatasetError(f"looking for {dataset} below {root}: {member}; {clause}")
    places, said, skipped = {}, {}, []
    for path in sorted(files, key=lambda path: (path.count("/"), natural_key(path))):
        if not is_picture(path):
            continue
        *above, label, _ = ("", *path.lower().split("/"))
        part = next((parts[name] for name in reversed(above) if name in parts), None)
        if part is None or label not in words:
            skipped.append(stray(path, member))
            continue
        key = f"{part}/{words[label] or label}/{PurePosixPath(path).stem}"
        places.setdefault(key, []).append(path)
        said.setdefault(key, (part, words[label]))
    taken, others = one_of_each(root, places)
    skipped += [Skip(path, "duplicate", "", key, detail=detail) for key, path, detail in others]
    return [picture(dataset, taken[key], *said[key], key) for key in sorted(taken, key=natural_key)], skipped


def counted_once(skipped: Iterable[Skip], used: Collection[str]) -> list[Skip]:
    """Return the Skips of a list's rows so that each face stands for one frame, though several rows name it.

    used   keys of the faces that are used: they are counted there
    """
    counted, once = set(used), []
    for skip in skipped:
        again = bool(skip.frames) and skip.sequence in counted
        once.append(replace(skip, frames=0) if again else skip)
        if skip.frames:
            counted.add(skip.sequence)
    return once


def without_duplicates(
    sequences: list[Sequence], digests: Mapping[str, str], drop: bool
) -> tuple[list[Sequence], list[Skip], tuple[str, ...]]:
    """Return the pictures without exact copies if `drop`, Skips for these, and a sentence that counts them.

    digests   sequence id -> digest of the pixels, or of the bytes of the file; of pictures without one nothing is known
    Kept is the first copy that has a label, of the test part before the validation part: what is tested stays what others test.
    """
    groups: dict[str, list[Sequence]] = {}
    for one in sequences:
        if one.sequence in digests:
            groups.setdefault(digests[one.sequence], []).append(one)
    kept = {one.sequence: min(group, key=_kept_first) for group in groups.values() for one in group}
    copies = [one for one in sequences if one.sequence in kept and kept[one.sequence] is not one]
    across = sum(len({one.split for one in group}) > 1 for group in groups.values())
    if not copies:
        return sequences, [], ()
    left = "left out; one of each is kept, of the test part if one is there" if drop else "kept; --drop-duplicates leaves them out"
    note = f"exact copies of another picture: {len(copies):,}, {left}; pictures that are in more than one part: {across:,}"
    if not drop:
        return sequences, [], (note,)
    gone = {one.sequence for one in copies}
    skipped = [_copy(one, kept[one.sequence]) for one in copies]
    return [one for one in sequences if one.sequence not in gone], skipped, (note,)


def _kept_first(one: Sequence) -> tuple[bool, int]:
    """Return what decides which of several copies is kept: one without a label is not used, whatever its part."""
    return one.expression is None, _BEST.index(one.split)


def digests_of_files(root: Path, sequences: Iterable[Sequence]) -> dict[str, str]:
    """Return sequence id -> sha256 of the bytes of its picture; of one that cannot be read nothing."""
    digests = {}
    for one in sequences:
        with suppress(UnreadableError):  # `prepare` says so, when it wants the picture
            digests[one.sequence] = sha256_of_file(Path(root) / one.frames[0].source)
    return digests


def _copy(one: Sequence, kept: Sequence) -> Skip:
    frame, detail = one.frames[0], f"the same picture as {kept.sequence}, {kept.split or 'no part'}"
    return Skip(frame.source, "copy", "", one.sequence, frame.number, detail=detail)
