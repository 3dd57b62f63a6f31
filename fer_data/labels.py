"""Expressions as one literal tuple, and each database's own codes and words for them.

In:  a code (int) or a word (str) as a database writes it.
Out: a name from EXPRESSIONS; class indices are positions in a database's own tuple, without gaps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fer_data.errors import DatasetError
from fer_data.text import one_spelling, unknown

__all__ = ["EXPRESSIONS", "BASIC", "CK_PLUS_CODES", "FER2013_CODES", "MMI_CODES", "RAF_DB_CODES", "AFFECTNET_CODES", "RAVDESS_CODES",
           "WORDS", "HumanFigure", "expression_from_word", "classes_of"]

# The six basic expressions in the order that MMI and Oulu-CASIA use.
BASIC = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
# Every expression that the project knows. The order is part of every artefact: append, never insert.
EXPRESSIONS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "calm")

# CK+ read-me: the number in *_emotion.txt. (Not the order of the cropped 48x48 copies, which have no numbers.)
CK_PLUS_CODES = {
    0: "neutral", 1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happiness", 6: "sadness", 7: "surprise",
}
# MMI: Metatag Name="Emotion"; values above 6 exist and are other posed states.
MMI_CODES = {1: "anger", 2: "disgust", 3: "fear", 4: "happiness", 5: "sadness", 6: "surprise"}
# FER2013: the column emotion. (Not the order of folders by name, in which neutral comes before sad and surprise.)
FER2013_CODES = {0: "anger", 1: "disgust", 2: "fear", 3: "happiness", 4: "sadness", 5: "surprise", 6: "neutral"}
# RAF-DB: the second column of list_patition_label.txt. Much code writes code - 1.
RAF_DB_CODES = {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"}
# AffectNet: the column expression. None: no expression (none, uncertain, no face). (Not the order of folders by name.)
AFFECTNET_CODES = {
    0: "neutral", 1: "happiness", 2: "sadness", 3: "surprise", 4: "fear", 5: "disgust", 6: "anger", 7: "contempt",
    8: None, 9: None, 10: None,
}
# RAVDESS: the third number of a name. No other database has calm, so no word says it: in anybody's own list it is more likely neutral.
RAVDESS_CODES = {
    1: "neutral", 2: "calm", 3: "happiness", 4: "sadness", 5: "anger", 6: "fear", 7: "disgust", 8: "surprise",
}

# Words met in folder and file names, lower case -> our name.
WORDS = {
    "anger": "anger", "angry": "anger", "an": "anger", "ang": "anger",
    "contempt": "contempt", "contemptuous": "contempt",
    "disgust": "disgust", "disgusted": "disgust", "di": "disgust", "dis": "disgust",
    "fear": "fear", "fearful": "fear", "afraid": "fear", "fe": "fear", "fea": "fear",
    "happiness": "happiness", "happy": "happiness", "smiling": "happiness", "joy": "happiness", "ha": "happiness", "hap": "happiness",
    "sadness": "sadness", "sad": "sadness", "sa": "sadness",
    "surprise": "surprise", "surprised": "surprise", "su": "surprise", "sur": "surprise",
    "neutral": "neutral", "ne": "neutral", "neu": "neutral",
}


@dataclass(frozen=True)
class HumanFigure:
    """How often people named the expression that was intended, where a database asked them."""

    judged: str                       # what is counted: "single judgements"
    right: int
    of: int


def expression_from_word(word: str, where: str, words: Mapping[str, str | None] = WORDS) -> str | None:
    """Return the expression that a folder or file name means; None: `words` has no counterpart for it.

    words   in one_spelling and lower case -> a name of EXPRESSIONS, or None
    Raises DatasetError naming the allowed words and `where` the other one stood.

    >>> expression_from_word("Happy", "a.jpg")
    'happiness'
    """
    plain = one_spelling(word).lower()
    if plain not in words:
        raise DatasetError(f"reading an expression in {where}: {unknown('expression', word, words)}")
    return words[plain]


def classes_of(expressions) -> tuple[str, ...]:
    """Return the classes of a set of faces in the order of EXPRESSIONS, so that index 0..K-1 has no gaps.

    >>> classes_of(["surprise", "anger", "anger"])
    ('anger', 'surprise')
    """
    present = set(expressions)
    odd = present - set(EXPRESSIONS)
    if odd:
        raise DatasetError(f"indexing classes: {unknown('expression', min(map(str, odd)), EXPRESSIONS)}")
    return tuple(name for name in EXPRESSIONS if name in present)
