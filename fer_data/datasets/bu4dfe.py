"""BU-4DFE: 101 people, six expressions each, about 100 frames from neutral to peak and back; for pre-training.

In:  the folder that holds the folders of people, under whatever name, at whatever depth.
Out: Sequence records in natural order; the frames are the textures, not the meshes.

    root/
      F001/Angry/000.jpg      texture, the frame as the camera saw it; three digits from 000
                 000.wrl      mesh; not read
           Disgust/ Fear/ Happy/ Sad/ Surprise/
      ...  F058/, M001/ .. M043/
      BU_WrlViewer_V2/        the authors' viewer: no subject
      BU4DFE_BND_V1.1/        landmarks (83 points, .bnd); not read

All frames of a sequence carry the folder's label, also the near-neutral ones at both ends: that is how "60,600 images
from 101 identities" (paper, section 4.1) comes about. 101 x 6 x 100 is nominal: lengths vary and are counted, not asserted.

Counts:   606 sequences, 101 subjects (58 F, 43 M) (data_manifests/bu4dfe.json).
Cite:     Yin et al. 2008.      Licence: research agreement; images may not be passed on.
"""

import re
from pathlib import Path

from fer_data.datasets.copies import one_of_each
from fer_data.datasets.published import counts_note, difference_notes
from fer_data.datasets.recognise import BASIC_FOLDERS, wrong_tree
from fer_data.datasets.tree import PICTURE, stray, walk
from fer_data.labels import BASIC
from fer_data.pictures.file_kinds import is_picture
from fer_data.records import Frame, Scan, Sequence, Skip
from fer_data.text import natural_key

__all__ = ["SUBJECTS", "scan"]

_EXPRESSION = {word.lower(): (word, name) for word, name in zip(BASIC_FOLDERS["bu4dfe"], BASIC, strict=True)}
_FRAME = re.compile(rf"(?:.*/)?([FM]\d{{3}})/({'|'.join(_EXPRESSION)})/(\d{{1,6}})\.{PICTURE}", re.IGNORECASE | re.ASCII)
_VIEWER = re.compile(r"(?:.*/)?BU_WrlViewer[^/]*/.*", re.IGNORECASE | re.ASCII)
SUBJECTS = (*(f"F{number:03d}" for number in range(1, 59)), *(f"M{number:03d}" for number in range(1, 44)))
_MEMBER = "a BU-4DFE texture is named F001/Angry/000.jpg"


def scan(root: Path) -> Scan:
    """Return the sequences below `root`.

    Raises DatasetError if this is no BU-4DFE tree; the sentence says what it looks like instead.
    """
    files, left = walk(root)
    places: dict[tuple[str, str, int], list[str]] = {}
    skipped = []
    for path in sorted(files, key=lambda path: (path.count("/"), natural_key(path))):
        match = _FRAME.fullmatch(path)
        if match:
            places.setdefault((match[1].upper(), _EXPRESSION[match[2].lower()][0], int(match[3])), []).append(path)
        elif is_picture(path):
            viewer = _VIEWER.fullmatch(path)
            skipped.append(Skip(path, "other-part", detail="the viewer") if viewer else stray(path, _MEMBER))
    taken, others = one_of_each(root, places)
    skipped += [Skip(path, "duplicate", *key, detail=detail) for key, path, detail in others]
    found: dict[tuple[str, str], dict[int, str]] = {}
    for (*key, number), path in taken.items():
        found.setdefault(tuple(key), {})[number] = path
    if not found:
        raise wrong_tree("BU-4DFE", "bu4dfe", root, files, _MEMBER)
    sequences = [_sequence(key, found[key]) for key in sorted(found, key=lambda key: tuple(map(natural_key, key)))]
    expected = [f"{subject}/{word}" for subject in SUBJECTS for word in BASIC_FOLDERS["bu4dfe"]]
    notes = (counts_note("bu4dfe", sequences), *difference_notes(sequences, expected))
    return Scan("bu4dfe", tuple(sequences), tuple(skipped + left), notes)


def _sequence(key: tuple[str, str], frames: dict[int, str]) -> Sequence:
    expression = _EXPRESSION[key[1].lower()][1]
    return Sequence("bu4dfe", *key, expression, tuple(Frame(path, number) for number, path in sorted(frames.items())))
