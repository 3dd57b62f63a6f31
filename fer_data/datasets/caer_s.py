"""CAER-S: 69,982 frames of TV shows in train and test, whole scenes with several people or none; people unknown.

In:  the folder that holds train and test, at whatever depth.
Out: Sequence records, a picture each, with the part of the split, in natural order.

    root/
      CAER-S/train/Anger/0001.png       Anger Disgust Fear Happy Neutral Sad Surprise
             test/Anger/0001.png        some copies call it `valid`

A face has to be looked for: the largest is taken, a scene without one is skipped as no-face.

Counts:   48,995 and 20,987 (data_manifests/caer_s.json). Public annotations of single faces keep 47,966 and 20,868.
Cite:     Lee et al. 2019.      Licence: research; frames of TV shows. They are those of CAER's clips.
"""

from pathlib import Path

from fer_data.datasets.published import split_notes
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import walk
from fer_data.datasets.without_people import in_class_folders
from fer_data.records import Scan

__all__ = ["scan"]

_MEMBER = "a CAER-S picture is named train/Anger/0001.png"


def scan(root: Path) -> Scan:
    """Return the scenes below `root`. Raises DatasetError if there are none."""
    files, left = walk(root)
    sequences, skipped = in_class_folders("caer-s", root, files, _MEMBER)
    if not sequences:
        raise wrong_tree("CAER-S", "caer-s", root, files, _MEMBER)
    parts = {one.split for one in sequences}
    form = "train and valid, as some copies call the test part" if parts == {"train", "validation"} else "train and test"
    return Scan("caer-s", tuple(sequences), (*skipped, *left), split_notes("caer-s", form, sequences))
