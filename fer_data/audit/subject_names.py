"""Tell who is in a picture from its file name, by the naming rules of known databases.

In:  a path, '/' separated, or an id such as S130/007.
Out: Identity: database, subject, and where the name tells them sequence, frame and expression.

Nothing is guessed: a name that fits no rule, or two rules, or one rule with two people, has no identity. The reference
for each rule is the read-me of the database, or the public loaders that read it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fer_data.errors import SplitError
from fer_data.labels import RAVDESS_CODES, WORDS
from fer_data.people import person

__all__ = ["NAMES", "Identity", "NameRule", "recognise", "pattern_rule", "expression_of_folder"]


@dataclass(frozen=True)
class Identity:
    """What a name tells."""

    database: str
    subject: str
    sequence: str | None = None       # within the subject
    frame: str | None = None          # within the sequence
    expression: str | None = None     # a name of labels.EXPRESSIONS where WORDS knows it, else the text itself


@dataclass(frozen=True)
class NameRule:
    """How one database names its pictures."""

    database: str
    example: str
    regex: re.Pattern                 # groups subject, sequence, frame, expression; all but subject optional
    note: str = ""                    # what a reader of the report should know
    subject: Callable[[re.Match], str] = lambda match: match["subject"].upper()
    codes: Mapping[str, str] = field(default_factory=dict)               # expression, as the name writes it in lower case -> our name

    def identities(self, path: str) -> list[Identity]:
        """Return an Identity for each place of `path` that fits."""
        return [self._identity(match) for match in self.regex.finditer(path)]

    def _identity(self, match: re.Match) -> Identity:
        found = match.groupdict()
        parts = [part for part in (found.get("part"), found.get("sequence")) if part]
        return Identity(self.database, self.subject(match), "/".join(parts) or None, found.get("frame"), _expression(found, self.codes))


def _expression(found: Mapping[str, str | None], codes: Mapping[str, str]) -> str | None:
    """Return our name for what a group `expression` says."""
    word = (found.get("expression") or "").lower()
    return codes.get(word) or WORDS.get(word, word) or None


def _rule(database: str, example: str, regex: str, note: str = "", **settings) -> NameRule:
    return NameRule(database, example, re.compile(regex, re.IGNORECASE), note, **settings)


_START, _END = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
_TWO_LETTERS = "AN|DI|FE|HA|NE|SA|SU"
_OULU = "(?P<expression>Anger|Disgust|Fear|Happiness|Sadness|Surprise)"
_BU = "(?P<expression>Angry|Disgust|Fear|Happy|Sad|Surprise)"
_LETTERS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "s": "sadness"}

NAMES = (
    _rule("CK+", "S005_001_00000011.png", _START + r"(?P<subject>S\d{3})[_/](?P<sequence>\d{3})[_/](?P<frame>\d{8})(?!\d)"),
    _rule("CK+", "S005/001", _START + r"(?P<subject>S\d{3})[_/](?P<sequence>\d{3})(?=$|\.|/(?!\d))"),
    _rule("MMI", "S001-100.avi", _START + r"(?P<subject>S\d{3})-(?P<sequence>\d{3})(?!\d)(?:[_-](?P<frame>\d+))?"),
    _rule("MMI", "S050_003_030.png", _START + r"(?P<subject>S\d{3})_(?P<sequence>\d{3})_(?P<frame>\d{3})(?!\d)"),
    _rule("Oulu-CASIA", "VL/Strong/P001/Anger/000.jpeg",
          r"(?:(?P<part>(?:NI|VL)[^/]*/(?:Strong|Weak|Dark))/)?" + _START
          + rf"(?P<subject>P\d{{3}})[_/](?P<sequence>{_OULU})(?:[/_](?P<frame>\d{{3}}))?" + _END),
    _rule("BU-4DFE", "F001/Angry/000.jpg",
          _START + rf"(?P<subject>[FM]\d{{3}})[/_](?P<sequence>{_BU})(?:[/_](?P<frame>\d{{3}}))?" + _END),
    _rule("JAFFE", "KA.AN1.39.tiff",
          _START + rf"(?P<subject>[A-Z]{{2}})\.(?P<sequence>(?P<expression>{_TWO_LETTERS})\d)\.(?P<frame>\d+)"),
    _rule("KDEF", "AF01AFS.JPG",
          _START + rf"(?P<sequence>[AB](?P<subject>[FM]\d{{2}})(?:(?P<expression>AF|{_TWO_LETTERS})(?=FL|HL|S|HR|FR)|(?=[VH]{_END})))"
          + r"(?P<frame>FL|HL|S|HR|FR|V|H)" + _END,
          note="AF01 and BF01 are two sessions of one person, F01", codes={"af": "fear"}),
    _rule("RaFD", "Rafd090_28_Caucasian_male_angry_frontal.jpg",
          _START + r"Rafd(?P<frame>\d{3})_(?P<subject>\d{2})_(?:Caucasian|Kid|Moroccan)_(?:male|female)_"
          + r"(?P<sequence>(?P<expression>[a-z]+)_(?:left|frontal|right))" + _END),
    _rule("CREMA-D", "1001_DFA_ANG_XX.flv",
          _START + r"(?P<subject>1[01]\d{2})_(?P<sequence>[A-Z]{3}_(?P<expression>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?))"
          + r"(?:[_-](?P<frame>\d+))?" + _END),
    _rule("RAVDESS", "01-01-05-01-01-01-12.mp4",
          r"(?<![\d-])(?P<sequence>\d{2}-\d{2}-(?P<expression>\d{2})(?:-\d{2}){3})-(?P<subject>\d{2})(?![\d-])(?:_(?P<frame>\d+))?",
          codes={f"{number:02d}": name for number, name in RAVDESS_CODES.items()}),
    _rule("FACES", "004_o_m_a_a.jpg",
          _START + r"(?P<subject>\d{1,3})_[ymo]_[mf]_(?P<sequence>(?P<expression>[adfhns])_[ab])" + _END, codes=_LETTERS),
    _rule("ADFES", "F01-Anger-Face Forward.mpeg",
          _START + r"(?P<subject>[FM]\d{2})-(?P<sequence>(?P<expression>[A-Z]+)-(?:Face|Turn)[^/.]*)"),
    _rule("MUG", "subjects3/010/anger/take000/img_0003.jpg",
          r"(?<![^/])(?P<subject>\d{3})/(?P<sequence>(?:session[^/]*/)?"
          + r"(?P<expression>anger|disgust|fear|happiness|neutral|sadness|surprise)(?:/session[^/]*)?(?:/take\d+)?)/img_?(?P<frame>\d+)"),
    _rule("BU-3DFE", "F0001_AN01WH_F2D.bmp",
          _START + rf"(?P<subject>[FM]\d{{4}})_(?P<sequence>(?P<expression>{_TWO_LETTERS})\d{{2}})[A-Z]{{2}}"),
    _rule("IEMOCAP", "Ses01F_impro01_M003.avi",
          _START + r"(?P<session>Ses\d{2})[FM]_(?P<sequence>(?:impro|script)[0-9_]+[ab]?_(?P<subject>[FM])\d{3})(?!\d)",
          subject=lambda match: match["session"] + match["subject"]),
    _rule("MSP-IMPROV", "MSP-IMPROV-S01A-F01-P-FM01.avi",
          r"MSP-IMPROV-(?P<part>S\d{2}[A-Z])-(?P<subject>[FM]\d{2})-(?P<sequence>[A-Z]-[FM]{2}\d{2})" + _END),
    _rule("BP4D", "F001/T1/2440.jpg",
          _START + r"(?P<subject>[FM]\d{3})[/_](?P<sequence>T\d)[/_](?P<frame>\d+)" + _END),
    _rule("DISFA", "SN001/0.png",
          r"(?<![A-Za-z0-9])(?P<sequence>(?:Left|Right)Video)?(?P<subject>SN\d{3})(?:[/_](?:frame)?(?P<frame>\d+))?" + _END),
    _rule("Yale", "subject01.happy",
          _START + r"subject(?P<subject>\d{2})\.(?P<sequence>(?P<expression>happy|sad|sleepy|surprised|wink|normal|(?:no)?glasses|"
          + r"(?:center|left|right)light))" + _END),
    _rule("Face Research Lab London", "001_08.jpg",
          r"(?:^|/)(?P<subject>\d{3})_(?P<frame>03|08)(?:_(?P<expression>[a-z]+))?\.[a-z]+$"),
)


def recognise(path: str) -> Identity | None:
    """Return the identity that the name of a picture tells, or None if no rule fits or if two people would.

    >>> recognise("anger/S010_004_00000017.png")
    Identity(database='CK+', subject='S010', sequence='004', frame='00000017', expression=None)
    >>> recognise("BF01HAS.JPG").subject
    'F01'
    >>> recognise("0.png") is None
    True
    """
    found = [identity for rule in NAMES for identity in rule.identities(path)]
    if len({(identity.database, identity.subject) for identity in found}) != 1:
        return None
    return max(found, key=lambda identity: (identity.frame is not None, identity.sequence is not None, found.index(identity)))


def pattern_rule(pattern: str) -> Callable[[str], Identity | None]:
    """Return a function like `recognise` for a regular expression that a user gives.

    Its group `subject`, or else its first group, is the subject; groups `sequence`, `frame` and `expression` may be
    there. It is searched for anywhere in the path. Raises SplitError if it is no regular expression, or has no group.
    """
    doing = f"reading the subject pattern {pattern!r}"
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise SplitError(f"{doing}: it is not a regular expression ({error})") from error
    if regex.groups == 0:
        raise SplitError(f"{doing}: it needs a group for the subject, such as '([^/]+)/[^/]+$', and has none")
    name = "subject" if "subject" in regex.groupindex else 1

    def identity(path: str) -> Identity | None:
        match = regex.search(path)
        who = match and match[name] and (person(match[name]) or (match[name] == "NA" and "NA"))     # a woman in JAFFE
        if not who:
            return None
        found = match.groupdict()
        return Identity("pattern", who, found.get("sequence"), found.get("frame"), _expression(found, {}))

    return identity


def expression_of_folder(path: str) -> str | None:
    """Return the expression that a folder of `path` is named after, or None if none or several are.

    >>> expression_of_folder("CK+48/anger/S010_004_00000017.png")
    'anger'
    """
    words = {WORDS[part.lower()] for part in path.split("/")[:-1] if len(part) > 2 and part.lower() in WORDS}
    return words.pop() if len(words) == 1 else None
