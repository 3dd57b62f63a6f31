"""ExpW (Expression in-the-Wild): 91,793 faces in 106,962 pictures of an image search; people unknown, no split.

In:  the folder that holds the list and the pictures, at whatever depth.
Out: Sequence records, a face each with its box, in natural order.

    root/
      label/label.lst         a line: name, number of the face, top, left, right, bottom, confidence, code
      image/origin/x.jpg      scenes; one may show several labelled faces

Key:      name and number of the face. By the name alone a third of the faces is lost.
Box:      top, left, right, bottom: not the usual order. Pixels from left up to, without, right; the same from top to bottom.
Labels:   0 anger, 1 disgust, 2 fear, 3 happiness, 4 sadness, 5 surprise, 6 neutral, as in FER2013.
Counts:   91,793 faces (data_manifests/expw.json).
Cite:     Zhang et al. 2018.      Licence: research; pictures of people from the web.
"""

from pathlib import Path, PurePosixPath

from fer_data.datasets.copies import one_of_each
from fer_data.datasets.published import split_notes
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import stray, walk
from fer_data.datasets.without_people import counted_once, picture, read_words
from fer_data.labels import FER2013_CODES
from fer_data.pictures.file_kinds import is_picture, unread_kind
from fer_data.records import Scan, Skip
from fer_data.tables import whole
from fer_data.text import natural_key

__all__ = ["scan"]

_CODES = {str(code): name for code, name in FER2013_CODES.items()}
_LINE = "name, number of the face, top, left, right, bottom, confidence, code from 0 to 6"
_MEMBER = "the faces are listed in label.lst"


def scan(root: Path) -> Scan:
    """Return the faces that label.lst below `root` lists. Raises DatasetError if there is no such list, or no picture of it."""
    files, left = walk(root)
    lists = [path for path in files if path.lower().rsplit("/", 1)[-1] == "label.lst"]
    copies: dict[str, list[str]] = {}
    for path in sorted(filter(is_picture, files), key=lambda path: (unread_kind(path) is not None, path.count("/"), natural_key(path))):
        copies.setdefault(PurePosixPath(path).stem, []).append(path)
    pictures, others = one_of_each(root, copies)
    if not lists or not pictures:
        raise wrong_tree("ExpW", "expw", root, files, _MEMBER)
    found, skipped, named = {}, [], set()
    source = min(lists, key=lambda path: path.count("/"))
    for line, words in read_words(root, source):
        name = PurePosixPath(words[0]).stem
        key = "-".join((name, *words[1:2]))
        numbers = [whole(word) for word in words[1:6]]
        named.add(name)
        if name not in pictures:
            detail = f"line {line} of {source} names a picture that is not there"
            skipped.append(Skip(words[0], "no-match", sequence=key, frames=0, detail=detail))
        elif len(words) != 8 or words[7] not in _CODES or None in numbers or numbers[2] >= numbers[3] or numbers[1] >= numbers[4]:
            skipped.append(Skip(pictures[name], "bad-label", sequence=key, detail=f"line {line} of {source} is not {_LINE}"))
        elif key in found:
            skipped.append(Skip(pictures[name], "duplicate", sequence=key, frames=0, detail=f"line {line} of {source} lists it again"))
        else:
            _, top, left_px, right, bottom = numbers
            found[key] = picture("expw", pictures[name], "", _CODES[words[7]], key, (left_px, top, right - 1, bottom - 1))
    skipped = counted_once(skipped, found)
    skipped += [Skip(path, "duplicate", detail=detail) for _, path, detail in others]
    homes = {pictures[name].rpartition("/")[0] for name in named & pictures.keys()}
    for path in (path for name, path in pictures.items() if name not in named):
        listed = path.rpartition("/")[0] in homes
        skipped.append(Skip(path, "unlabelled", detail=f"{source} lists no face in it") if listed else stray(path, _MEMBER))
    sequences = [found[key] for key in sorted(found, key=natural_key)]
    return Scan("expw", tuple(sequences), (*skipped, *left), split_notes("expw", "one part", sequences))
