"""SFEW 2.0: frames of films, aligned faces in train and validation; people unknown, the labels of the test part are withheld.

In:  the folder that holds the folders below, at whatever depth.
Out: Sequence records, a picture each, with the part of the split, in natural order.

    root/
      Train/Train_Aligned_Faces/Angry/Airheads_000519240_00000005.png    Angry Disgust Fear Happy Neutral Sad Surprise
      Val/Val_Aligned_Faces/Angry/...         or Val/Val_Aligned_Faces_new/Val_Aligned_Faces/Angry/...
      Test/Test_Aligned_Faces/x.png           no labels: found and not used
      Train/Angry/x.png                       the whole frames: found and not used

Counts:   958 and 436 (data_manifests/sfew.json); 372 more in test.
Cite:     Dhall et al. 2011.      Licence: by agreement; frames of films, may not be passed on.
"""

import re
from pathlib import Path

from fer_data.datasets.published import split_notes
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import walk
from fer_data.datasets.without_people import in_class_folders
from fer_data.pictures.file_kinds import is_picture
from fer_data.records import Scan, Skip

__all__ = ["scan"]

_PARTS = {"train_aligned_faces": "train", "val_aligned_faces": "validation"}
_OTHERS = re.compile(r"(?:^|/)(test)(?:_aligned_faces)?/|(?:^|/)(train|val)/(?!.*aligned)", re.IGNORECASE)
_MEMBER = "an SFEW picture is named Train_Aligned_Faces/Angry/x.png"


def scan(root: Path) -> Scan:
    """Return the aligned faces below `root`. Raises DatasetError if there are none."""
    files, left = walk(root)
    sequences, strays = in_class_folders("sfew", root, files, _MEMBER, _PARTS)
    if not sequences:
        raise wrong_tree("SFEW", "sfew", root, files, _MEMBER)
    skipped = [_unused(skip) for skip in strays]
    return Scan("sfew", tuple(sequences), (*skipped, *left), split_notes("sfew", "train and validation", sequences))


def _unused(skip: Skip) -> Skip:
    """Return why a picture is not used: the labels of the test part are withheld, whole frames are another part."""
    match = _OTHERS.search(skip.source) if skip.reason == "no-match" and is_picture(skip.source) else None
    if match is None:
        return skip
    if match[1]:
        return Skip(skip.source, "unlabelled", detail="the labels of the test part are withheld")
    return Skip(skip.source, "other-part", detail="a whole frame; the aligned faces are read")
