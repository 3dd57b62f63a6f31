"""Tell the side and the fold from a name: of a file, a folder or a key (train_3.txt, fold_2/, test).

In:  a name, or the folders above a file. Out: train, validation, test; the number of a fold as text.
"""

import re
from functools import lru_cache

from fer_data.pictures.file_kinds import is_clip, is_picture

__all__ = ["SIDES", "UNTESTED", "side_of", "fold_of", "place_of", "names_a_place", "only_places", "plain_number", "is_listed_picture"]

# word -> side; in columns any of them, in names of files and folders only those of four letters and more
SIDES = {
    "train": "train", "training": "train", "trn": "train", "tr": "train",
    "test": "test", "testing": "test", "tst": "test", "te": "test", "holdout": "test", "privatetest": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "eval": "validation",
    "evaluation": "validation", "publictest": "validation",
}
_IN_NAMES = {word for word in SIDES if len(word) > 3} | {"val", "dev"}

UNTESTED = "untested"                 # the side of a row whose fold is empty or -1: trained on in every fold


def is_listed_picture(path: str) -> bool:
    """Say whether a path ends like the name of a picture or a clip."""
    return is_picture(path) or is_clip(path)


# numbers in names of files that number no fold: encodings, databases, sizes, years, versions
_NO_FOLD = re.compile(r"utf[-_ ]?(?:8|16|32)|latin[-_ ]?\d+|iso[-_ ]?8859(?:[-_ ]\d+)?|(?:cp|windows)[-_ ]?\d+|ck[-_+ ]*48|fer[-_ ]?2013|"
                      r"\d+x\d+|(?<!\d)(?:19|20)\d\d(?:[-_]?[01]\d[-_]?[0-3]\d)?(?!\d)|(?<![a-z])v\d+")


@lru_cache(4096)
def side_of(name: str) -> str | None:
    """Return the side that the name of a file or folder tells, or None if it tells none or several.

    >>> side_of("train_ids_3"), side_of("PrivateTest"), side_of("train_test_split")
    ('train', 'test', None)
    """
    whole = re.sub(r"[^a-z]", "", name.lower())
    sides = {SIDES[word] for word in ([whole] if whole in _IN_NAMES else _words(name)) if word in _IN_NAMES}
    return sides.pop() if len(sides) == 1 else None


def fold_of(name: str) -> str | None:
    """Return the number of the fold that a name tells: the one beside `fold`, `split`, `part` or `cv`, else the one after the side,
    else the only one in it; None if there is none, or several.

    >>> fold_of("test_ids_3"), fold_of("ck48_fold2_train"), fold_of("10fold_test_7"), fold_of("48x48_train_2"), fold_of("a_utf16")
    ('3', '2', '7', '2', None)
    >>> fold_of("BP4D_part3_path")
    '3'
    """
    name = _NO_FOLD.sub(" ", name.lower())
    sided = r"(?:train|test|val)[a-z]*(?:[-_ ]?[a-z]+)?[-_ ]?(\d+)"
    for regex in (r"(?:fold|split|part|cv)[-_ ]?(\d+)", sided, r"(\d+)[-_ ]?fold", r"(\d+)"):
        numbers = re.findall(regex, name)
        if numbers:
            return plain_number(numbers[0]) if len(numbers) == 1 else None
    return None


def plain_number(digits: str) -> str:
    """Return digits without leading zeros, however many there are."""
    return digits.lstrip("0") or "0"


def place_of(folders: list[str]) -> tuple[str | None, str | None, set[int]]:
    """Return (side, fold, indices of the folders that told them), the outermost that tell."""
    side = fold = None
    used: set[int] = set()
    for index, folder in enumerate(folders):
        if re.fullmatch(r"(?:fold|split|cv|cross[-_ ]?val(?:idation)?)[-_ ]?\d+|\d+[-_ ]?fold", folder.lower()):
            if fold is None:
                fold = fold_of(folder)
                used.add(index)
        elif side is None and (side := side_of(folder)) is not None:
            used.add(index)
            above = folders[index - 1] if index else ""
            if fold is None and (fold := fold_of(folder)) is None and re.fullmatch(r"\d+", above):
                fold = plain_number(above)
                used.add(index - 1)
    return side, fold, used


def names_a_place(name: str) -> bool:
    """Say whether a file is named after a side or a fold, so that it is a list among other files.

    >>> names_a_place("test_ids_3"), names_a_place("fold_3"), names_a_place("fer2013")
    (True, True, False)
    """
    return side_of(name) is not None or re.search(r"(?:fold|split|cv)[-_ ]?\d", name.lower()) is not None


def only_places(name: str) -> bool:
    """Say whether a folder is named after sides and folds alone, so that its name tells where its lists belong.

    >>> only_places("fold_3"), only_places("test_run_of_monday")
    (True, False)
    """
    return set(_words(name)) <= {*_IN_NAMES, "fold", "split", "cv", "list", "lists", "set"}


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return re.findall(r"[a-z]+", re.sub(r"cross[-_ ]?val(?:idation)?", "cv", parted))
