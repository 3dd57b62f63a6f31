"""Explain a tree that is not the expected database: tell from its names what it is instead.

In:  a root and the files below it.
Out: one clause about the first kind of _RULES that fits, with what to do; or "".
"""

import re
from collections.abc import Callable
from pathlib import Path

from fer_data.datasets.forms import FORMS, load_form
from fer_data.datasets.published import load_facts
from fer_data.errors import DatasetError
from fer_data.pictures.file_kinds import CLIPS, PICTURES
from fer_data.text import counted, listed

__all__ = ["BASIC_FOLDERS", "wrong_tree", "what_it_is", "told_by_its_names", "where_it_lies", "what_file_it_is",
           "with_backslashes", "is_mahnob"]

# The folder names of Oulu-CASIA and of BU-4DFE, in the order of labels.BASIC.
BASIC_FOLDERS = {"oulu": ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise"),
                 "bu4dfe": ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise")}
_WORDS = "|".join({word.lower(): None for words in BASIC_FOLDERS.values() for word in words})
_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".tar.gz")
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
    if inside := where_it_lies(root, files, expected):
        return inside
    for kind, test, clause in _RULES:
        if kind != expected and test(Path(root), files):
            return f"; {clause}"
    if expected != "folder" and (kept := with_backslashes(files)):       # a pattern and an index read them as folders
        return f"; {kept}"
    archives = [path for path in files if path.lower().endswith(_ARCHIVES)]
    if archives:
        return f"; unpack {listed(archives, 4)} first"
    return ""


def told_by_its_names(root: Path, files: list[str], expected: str) -> str:
    """Return "this is ..." for pictures in folders of expressions whose names are those of another database from the web, or ""."""
    others = {key for key, _, pattern in _WEB if key != expected and _any(pattern)(root, files)}
    return next((clause for kind, _, clause in _RULES if kind in others), "")


def with_backslashes(files: list[str]) -> str:
    """Return a clause about names that hold backslashes, with what to do; or ""."""
    names = [path for path in files if "\\" in path]
    if not names:
        return ""
    return (
        f"{counted(len(names), 'name')} with backslashes, such as {names[0]}: the zip was made on Windows, and what unpacked it kept them"
        " in the names; unpack it again with unzip or 7z, which make folders of them, or rename the files"
    )


def where_it_lies(root: Path, files: list[str], expected: str) -> str:
    """Return "; this lies inside ..." with the folder to give, if the root's own name and those above it complete a tree; or ""."""
    above = _names_above(root)
    for kind, name, pattern in (*_INSIDE, *(one for one in _PARTS if one[0] == expected)):
        regex = re.compile(rf"(?:.*/)?({pattern})", re.IGNORECASE | re.ASCII)
        starts = [match.start(1) for path in files if (match := regex.fullmatch(above + path))]
        if starts and min(starts) < len(above):
            folder = Path(root).resolve().parents[above.count("/", min(starts)) - 1]
            use = f"give the folder {folder}" if kind == expected else f"{_use(kind)} with the folder {folder}"
            return f"; this lies inside {name} tree: {use}"
    return ""


def what_file_it_is(path: Path) -> str:
    """Return a clause about a file that was given where the folder of a database is wanted: what it is, or what to give."""
    if path.name.lower().endswith(_ARCHIVES):
        return f"; unpack {path.name} and give the folder that holds what was in it"
    for kind, test, clause in _RULES:
        if not kind and test(path.parent, [path.name]):
            return f"; {clause}"
    return "; give the folder that holds it"


def _names_above(root: Path) -> str:
    """Return the last names of the root's own path, as the first part of a path below it."""
    return "".join(f"{name}/" for name in Path(root).resolve().parts[1:][-_DEEPEST:])


def _any(pattern: str, above: bool = False) -> Callable[[Path, list[str]], bool]:
    """Return a test: does a path match, from its start or after any folder? With `above`, the names of the root count too."""
    regex = re.compile(rf"(?:.*/)?{pattern}", re.IGNORECASE | re.ASCII)
    return lambda root, files: any(regex.fullmatch(_names_above(root) * above + path) for path in files)


def _use(name: str) -> str:
    return f"use `fer-data prepare {name}`"


_CK48 = rf"(?:{_WORDS}|contempt|happiness|sadness)/{_CK}"
_OULU = rf"(?:NI|VL)(?:_Acropped)?/(?:Strong|Weak|Dark)/P\d{{3}}/(?:{_WORDS})/\d+\.jpe?g"
_BU4DFE = rf"[FM]\d{{3}}/(?:{_WORDS})/\d+\.(?:jpg|wrl)"
_CREMA_D = r"1\d{3}_[A-Z]{3}_(?:ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX)(?:_0[12])?"
_RAVDESS = r"0[123]-0[12]-0[1-8]-0[12](?:-0[12]){2}-\d\d"
# (key of ADAPTERS, name, pattern of a path that begins where the tree does): trees of which a folder inside is not enough
_INSIDE = (("ck48", "a CK+48", _CK48), ("oulu", "an Oulu-CASIA", _OULU), ("bu4dfe", "a BU-4DFE", _BU4DFE))
# the same of trees whose folders others have too: told only to whom that database is expected
_PARTS = (
    ("fer2013", "a FER2013", rf"(?:train|training|validation|publictest|privatetest|test)/(?:{_WORDS}|neutral)/[^/]+\.(?:jpe?g|png)"),
    ("affectnet", "an AffectNet", r"(?:train|val)_set/(?:images/\d+\.(?:jpe?g|png)|annotations/\d+_(?:exp|val|aro|lnd)\.npy)"),
    ("affectnet", "an AffectNet", rf"(?:train|val|test)/(?:[0-7]|{_WORDS}|contempt|neutral)/[^/]+\.(?:jpe?g|png)"),
    ("rafdb", "a RAF-DB", rf"(?:train|test)/(?:[1-7]|{_WORDS}|neutral)/[^/]+\.(?:jpe?g|png)"),
    ("rafdb", "a RAF-DB", r"Image/(?:aligned|original)/(?:train|test)_\d+(?:_aligned)?\.jpg"),
)
_DEEPEST = 4                          # so many folders are in the longest of these patterns

_MEDIA = "|".join(suffix[1:] for suffix in (*PICTURES, *CLIPS))
# Databases of pictures from the web, which look alike: (key of ADAPTERS, name, pattern of a path that is in no other)
_WEB = (
    ("rafdb", "RAF-DB", r"(?:train|test)_\d+(?:_aligned)?\.jpg"),
    ("affectnet", "AffectNet", r"(?:train|val)_set/annotations/\d+_(?:exp|val|aro|lnd)\.npy|(?:manually|automatically)_annotated[^/]*/.*"),
    ("expw", "ExpW", r"label\.lst"),
    ("sfew", "SFEW", r"(?:train|val)_aligned_faces/.*"),
    ("caer-s", "CAER-S", r"(?:train|valid|test)/anger/\d{4}\.png"),
)

_NO_SUBJECTS = "has no subject ids and cannot be split by subject"
# (key of ADAPTERS or "", test, clause), the more special first
_RULES = (
    ("", lambda root, files: {"manifest.parquet", "settings.json"} <= set(files),
     "this is a folder that `fer-data prepare` wrote, not a database"),
    ("", is_mahnob, "this is a MAHNOB tree (Laughter or HCI), not MMI: it has no posed basic expressions"),
    ("mmi", _any(r"S\d{3}-\d{3}(?:-oao_aucs)?\.(?:avi|xml)"), f"this is an MMI tree; {_use('mmi')}"),
    ("crema-d", _any(rf"{_CREMA_D}\.(?:flv|mp4|avi)"), f"this is a CREMA-D tree; {_use('crema-d')}"),
    ("", _any(rf"{_CREMA_D}\.(?:wav|mp3)"), "these are the sounds of CREMA-D alone; its clips are in the folder VideoFlash"),
    ("ravdess", _any(rf"{_RAVDESS}\.(?:mp4|avi)"), f"this is a RAVDESS tree; {_use('ravdess')}"),
    ("", _any(rf"{_RAVDESS}\.wav"), "these are the sounds of RAVDESS alone; its clips are in the archives Video_Speech_Actor_*.zip"),
    ("oulu", _any(_OULU), f"this is an Oulu-CASIA tree; {_use('oulu')}"),
    ("", _any(rf"P\d{{3}}/(?:{_WORDS})/\d+\.jpe?g", above=True),
     f"this is a part of an Oulu-CASIA tree; {_use('oulu')} with the folder that holds VL or NI, or with VL/Strong"),
    ("bu4dfe", _any(_BU4DFE), f"this is a BU-4DFE tree; {_use('bu4dfe')}"),
    ("", _any(rf"[FM]\d{{3}}/(?:{_WORDS})/\d+\.bnd"),
     "these are the landmarks of BU-4DFE alone; the folders of textures (000.jpg) are needed"),
    ("ck48", _any(_CK48), f"this is the cropped CK+48 copy of CK+; {_use('ck48')}"),
    ("", _any(rf"[0-7]/{_CK}"),
     "this is CK+48 in folders that are numbers, and which expression a number stands for differs between copies: name the folders by their"
     " expression (anger, contempt, disgust, fear, happy, sadness, surprise), then `fer-data prepare ck48`"),
    ("ck+", _any(_CK), f"this is a CK+ tree; {_use('ck+')}"),
    ("", _any(r"S\d{3}_\d{3}_\d{8}_(?:emotion|landmarks|facs)\.txt"),
     "these are annotations of CK+; its pictures are in extended-cohn-kanade-images.zip"),
    ("", _any(r"ckextended\.csv"), f"ckextended.csv {_NO_SUBJECTS}; get the original archives of CK+, or CK+48"),
    ("", _any(r"(?:train|validation|test)/anger/\d{4}\.avi"), "these are the clips of CAER; CAER-S, the frames of them, is read"),
    *((key, _any(pattern), f"this is {name}; {_use(key)}") for key, name, pattern in _WEB),
    ("fer2013", _any(r"(?:fer2013|icml_face_data)\.csv|(?:train|training|publictest)/(?:angry|disgust|fear)/[^/]+\.(?:jpg|png)"),
     f"this is FER2013; {_use('fer2013')}"),
    ("", _any(r"(?:sorted_set|dataset)/(?:neutral|" + _WORDS + r")/\d+\.(?:jpg|png)"),
     "these are pictures sorted by expression under new names: who is who is lost, so they cannot be split by subject"),
    *((name, _any(rf"{load_form(name).pattern}\.(?:{_MEDIA})"), f"this is {load_facts(name).name}; {_use(name)}") for name in FORMS),
)
