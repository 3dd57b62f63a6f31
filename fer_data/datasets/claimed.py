"""Which databases a text names, as people write them: what weights are said to have been trained on.

In:  a text, such as "FER2013 then CK+" or "AffectNet-7|RAFDB basic".
Out: databases as manifests have them: ck+ and fer2013; rafdb and affectnet.

A name counts as a word or as the beginning of one, with or without blanks and hyphens in it. What is an ordinary word as well (fer, faces),
or is a name of the user's own, counts where it stands between commas or the like; FACES in capitals counts anywhere.
"""

import re
import unicodedata
from functools import cache

from fer_data.datasets.published import FILES
from fer_data.people import same_pictures

__all__ = ["databases_in", "says"]

# What a database is called besides its name in manifests, in texts as _plain writes them, from the beginning of a word on. Where another
# letter may not follow, because the name is short, that is said: (?![a-z]). A digit may: AffectNet7, CK48.
_CALLED = {
    "ck+": r"ck(?![a-z])|ck ?plus|cohn ?kanade", "oulu": "oulu", "bu4dfe": r"bu ?4 ?d|4 ?dfe|binghamton[a-z ]* 4 ?d",
    "crema-d": r"crema(?![a-z])|crowd ?sourced emotional", "ravdess": "ryerson", "jaffe": "japanese female",
    "kdef": r"akdef(?![a-z])|karolinska", "rafd": "radboud", "faces-mpi": "mpi faces|max planck faces", "adfes": "amsterdam dynamic",
    "mug": "multimedia understanding group", "wsefep": "warsaw set",
    "fer2013": r"fer ?\+|fer ?plus|(?:fer|facial expression recognition) ?(?:20)?13",
    "rafdb": r"raf(?![a-z0-9])|real ?world affective", "affectnet": r"affect net(?![a-z])",
    "expw": "(?<!facial )expression in the wild", "sfew": r"afew(?![a-z])|(?:static|acted) facial expressions?",
    "caer-s": r"caer(?![a-z])|context ?aware emotion",
}
_SHORT = 4                            # a name in manifests with so many letters, or fewer, is no beginning of a longer word
_ALONE = {"fer": "fer2013", "faces": "faces-mpi"}
_OTHERS = re.compile(r"\b(?:oulu ?npu|mug ?shots?|raf ?(?:ml|au)|labell?ed faces mpi)")     # begin as one of ours, and are none
_BETWEEN = re.compile(r"[,;:/|&()+]|\b(?:and|or|plus|then|with)\b")
_IDLE = re.compile(r"\b(?:the|data ?set|data|database)\b")


def databases_in(text: str) -> tuple[str, ...]:
    """Return the databases known here that a text names, as in manifests. A copy may stand for its original, FER+ for fer2013.

    >>> databases_in("AffectNet-7, Extended Cohn-Kanade"), databases_in("checked on MS-Celeb-1M")
    (('ck+', 'affectnet'), ())
    """
    plain = _OTHERS.sub(" ", _plain(text))
    alone = {_ALONE[piece] for piece in _pieces(text) if piece in _ALONE}
    return tuple(one for one in FILES if one in alone or _pattern(one).search(plain))


def says(text: str, database: str) -> bool:
    """Say whether a text names a database, as a manifest calls it, or one that holds the same pictures.

    >>> says("FER2013|CK+", "ck48"), says("Tiny then CK+", "tiny"), says("tiny faces", "tiny")
    (True, True, False)
    """
    mine = database, *databases_in(database)
    return _bare(database) in _pieces(text) or any(same_pictures(one, other) for one in databases_in(text) for other in mine)


@cache
def _pattern(database: str) -> re.Pattern:
    parts = re.findall(r"[a-z]+|[0-9]+|\+", database)
    end = "(?![a-z])" if len("".join(parts)) <= _SHORT else ""
    named = [" ?".join(map(re.escape, parts)) + end, *([_CALLED[database]] if database in _CALLED else [])]
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(named)})")


def _plain(text: str) -> str:
    """Return a text in lower case, a blank for all that is neither letter nor digit nor plus."""
    text = re.sub(r"\bFACES\b", "faces mpi", unicodedata.normalize("NFKC", text))
    return " ".join(re.sub(r"[^\w+]|_", " ", text.lower()).split())


def _pieces(text: str) -> set[str]:
    """Return a text, and what stands in it between commas or the like, each as _bare writes it."""
    return {_bare(piece) for piece in (text, *_BETWEEN.split(text.lower()))} - {""}


def _bare(name: str) -> str:
    """Return a name without what people write in several ways: case, blanks, hyphens, the word database."""
    return (_plain(_IDLE.sub("", name.lower())) or _plain(name)).replace(" ", "")
