"""Say what a tree is, by its names, when it is not the one that was expected: a sentence that helps is better than "0 found".

In:  a root and the files below it.
Out: one clause about the first kind of RULES that fits, with what to do; or "".
"""

import re
from collections.abc import Callable
from pathlib import Path

from fer_data.errors import DatasetError

__all__ = ["BASIC_FOLDERS", "wrong_tree", "what_it_is", "is_mahnob"]

# The folder names of Oulu-CASIA and of BU-4DFE, in the order of labels.BASIC.
BASIC_FOLDERS = {"oulu": ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise"),
                 "bu4dfe": ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise")}  # fmt: skip
_WORDS = "|".join({word.lower(): None for words in BASIC_FOLDERS.values() for word in words})
_CK = r"S\d{3}_\d{3}_\d{8}\.(?:png|tiff?|jpe?g|bmp)"


def wrong_tree(name: str, expected: str, root: Path, files: list[str], member: str) -> DatasetError:
    """Return the error of an adapter that found nothing.

    name      of the database, for people
    expected  its key in ADAPTERS
    member    how one of its files is named: "a CK+ picture is named S005_001_00000011.png"
    """
    return DatasetError(f"looking for {name} below {root}: {member}, none of {len(files)} files is{what_it_is(root, files, expected)}")


def is_mahnob(root: Path, files: list[str]) -> bool:
    """Say whether this is a MAHNOB download: Sessions/<N>/ as in MMI, but with sound or physiology beside the clips."""
    named = "mahnob" in Path(root).resolve().name.lower() or any("mahnob" in path.lower() for path in files)
    return named or any(re.search(r"(?:^|/)S\d{3}-\d{3}(?:-L\d+)?_mic\.wav$|\.bdf$", path, re.IGNORECASE | re.ASCII) for path in files)


def what_it_is(root: Path, files: list[str], expected: str) -> str:
    """Return "; this is ..." for a tree that is not `expected` (a key of ADAPTERS), or "" if nothing is known about it.

    A rule whose key is "" applies whatever was expected: a tree that no adapter can read, or only a part of one.
    """
    if not files:
        return "; there is no file below it"
    for kind, test, clause in _RULES:
        if kind != expected and test(Path(root), files):
            return f"; {clause}"
    archives = [path for path in files if path.lower().endswith((".zip", ".rar", ".7z", ".tar", ".tgz", ".tar.gz"))]
    if archives:
        more = f" and {len(archives) - 4} more" if len(archives) > 4 else ""
        return f"; unpack {', '.join(archives[:4])}{more} first"
    return ""


def _any(pattern: str) -> Callable[[Path, list[str]], bool]:
    """Return a test: does a path match, from its start or after any folder?"""
    regex = re.compile(rf"(?:.*/)?{pattern}", re.IGNORECASE | re.ASCII)
    return lambda root, files: any(regex.fullmatch(path) for path in files)


def _use(name: str) -> str:
    return f"use `fer-data prepare {name}`"


_NO_SUBJECTS = "has no subject ids and cannot be split by subject"
# (key of ADAPTERS or "", test, clause), the more special first
_RULES = (
    ("", lambda root, files: {"manifest.parquet", "settings.json"} <= set(files),
     "this is a folder that `fer-data prepare` wrote, not a database"),
    ("", is_mahnob, "this is a MAHNOB tree (Laughter or HCI), not MMI: it has no posed basic expressions"),
    ("mmi", _any(r"S\d{3}-\d{3}(?:-oao_aucs)?\.(?:avi|xml)"), f"this is an MMI tree; {_use('mmi')}"),
    ("oulu", _any(rf"(?:NI|VL)(?:_Acropped)?/(?:Strong|Weak|Dark)/P\d{{3}}/(?:{_WORDS})/\d+\.jpe?g"),
     f"this is an Oulu-CASIA tree; {_use('oulu')}"),
    ("", _any(rf"P\d{{3}}/(?:{_WORDS})/\d+\.jpe?g"),
     f"this is a part of an Oulu-CASIA tree; {_use('oulu')} with the folder that holds VL or NI, or with VL/Strong"),
    ("bu4dfe", _any(rf"[FM]\d{{3}}/(?:{_WORDS})/\d+\.(?:jpg|wrl)"), f"this is a BU-4DFE tree; {_use('bu4dfe')}"),
    ("", _any(rf"[FM]\d{{3}}/(?:{_WORDS})/\d+\.bnd"),
     "these are the landmarks of BU-4DFE alone; the folders of textures (000.jpg) are needed"),
    ("ck48", _any(rf"(?:{_WORDS}|contempt|happiness|sadness)/{_CK}"), f"this is the cropped CK+48 copy of CK+; {_use('ck48')}"),
    ("ck+", _any(_CK), f"this is a CK+ tree; {_use('ck+')}"),
    ("", _any(r"S\d{3}_\d{3}_\d{8}_(?:emotion|landmarks|facs)\.txt"),
     "these are annotations of CK+; its pictures are in extended-cohn-kanade-images.zip"),
    ("", _any(r"ckextended\.csv"), f"ckextended.csv {_NO_SUBJECTS}; get the original archives of CK+, or CK+48"),
    ("", _any(r"fer2013[^/]*\.csv"), f"this is FER2013, which {_NO_SUBJECTS}"),
    ("", _any(r"(?:train|test)_\d+(?:_aligned)?\.jpg"), f"this is RAF-DB, which {_NO_SUBJECTS}"),
    ("", _any(r"(?:sorted_set|dataset)/(?:neutral|" + _WORDS + r")/\d+\.(?:jpg|png)"),
     "these are pictures sorted by expression under new names: who is who is lost, so they cannot be split by subject"),
    ("", _any(r"[A-Z]{2}\.(?:AN|DI|FE|HA|NE|SA|SU)\d\.\d+\.tiff"),
     "this is JAFFE; use `fer-data prepare folder --pattern '*/{subject:2}.{expression:2}{sequence}.{frame}.tiff'`"),
    ("", _any(r"[AB][FM]\d{2}(?:AF|AN|DI|HA|NE|SA|SU)(?:FL|HL|S|HR|FR)\.jpg"),
     "this is KDEF, in which AF01 and BF01 are the same person; use `fer-data prepare folder --index FILE.csv`"),
    ("", _any(r"Rafd\d{3}_\d{2}_[^/]+\.jpg"), "this is RaFD; use `fer-data prepare folder --index FILE.csv`"),
)  # fmt: skip
