"""Oulu-CASIA NIR&VIS: 80 people, six expressions, two cameras, three kinds of light; from neutral to peak.

In:  the folder that holds one or several of the trees below, under whatever name, at whatever depth.
Out: Sequence records in natural order, of one spectrum, one light and one kind of tree.

    root/
      OriginalImg/VL/Strong/P001/Anger/000.jpeg          as filmed, 320x240; VL visible light, NI near infrared
                     Weak/ Dark/    P080/Disgust/ Fear/ Happiness/ Sadness/ Surprise/
                  NI/
      PreProcessImg/VL_Acropped/Strong/P001/Anger/...    cropped by the authors; NI_Acropped

`B_OriginalImg/OriginalImg`, `PreProcess_Img`, `PreProcess` (with a change_log.txt) and the mirror's
`Oulu_CASIA_NIR_VIS/{NI,VL}` serve as well, and so do VL and VL/Strong themselves: what is above them does not matter. Where
both kinds of tree are there, the original is taken: the paper detects and aligns the faces itself. "Compiled under strong
illumination condition using the VIS camera" (paper, section 4.2): VL, Strong. All other parts are listed as not asked for.

Counts:   480 sequences, 80 subjects in each of the six parts (data_manifests/oulu_casia.json).
Cite:     Zhao et al. 2011.      Licence: research agreement; images may not be passed on.
"""

import re
from pathlib import Path
from typing import NamedTuple

from fer_data.datasets.copies import one_of_each
from fer_data.datasets.published import counts_note, difference_notes
from fer_data.datasets.recognise import BASIC_FOLDERS, wrong_tree
from fer_data.datasets.tree import PICTURE, stray, walk
from fer_data.errors import DatasetError
from fer_data.labels import BASIC
from fer_data.pictures.file_kinds import is_picture
from fer_data.records import Frame, Scan, Sequence, Skip
from fer_data.text import natural_key, unknown

__all__ = ["LIGHTS", "SPECTRA", "TREES", "part_of", "scan"]

LIGHTS = {"strong": "Strong", "weak": "Weak", "dark": "Dark"}        # option -> folder
SPECTRA = {"vis": "VL", "nir": "NI"}
TREES = ("auto", "original", "cropped")                              # auto: the original where there is one

_EXPRESSION = {word.lower(): (word, name) for word, name in zip(BASIC_FOLDERS["oulu"], BASIC, strict=True)}
_FRAME = re.compile(
    r"(?P<above>.*/)?(?P<spectrum>NI|VL)(?P<cropped>_Acropped)?/(?P<light>Strong|Weak|Dark)/(?P<subject>P\d{3})/"
    rf"(?P<expression>{'|'.join(_EXPRESSION)})/(?P<number>\d{{1,6}})\.{PICTURE}",
    re.IGNORECASE | re.ASCII,
)
_SEQUENCE = re.compile(r"(?P<spectrum>NI|VL)(?P<cropped>_Acropped)?-(?P<light>Strong|Weak|Dark)-")      # as _name writes it
_MEMBER = "an Oulu-CASIA picture is named VL/Strong/P001/Anger/000.jpeg"


class _Part(NamedTuple):
    """One of the twelve parts of the database."""

    tree: str                         # original or cropped
    spectrum: str                     # VL or NI
    light: str                        # Strong, Weak, Dark

    def __str__(self) -> str:
        return f"{self.spectrum}/{self.light} ({self.tree})"


def scan(root: Path, light: str = "strong", spectrum: str = "vis", tree: str = "auto") -> Scan:
    """Return the sequences of one part of the database below `root`.

    light, spectrum, tree   a key of LIGHTS, a key of SPECTRA, one of TREES
    Raises DatasetError if the tree is no Oulu-CASIA tree, or if it lacks the part that is wanted; the sentence says what
    is there instead.
    """
    for value, allowed, what in ((light, LIGHTS, "light"), (spectrum, SPECTRA, "spectrum"), (tree, TREES, "tree")):
        if value not in allowed:
            raise DatasetError(f"choosing a part of Oulu-CASIA: {unknown(what, value, allowed)}")
    files, left = walk(root)
    parts, skipped = _parts(root, files)
    if not parts:
        raise wrong_tree("Oulu-CASIA", "oulu", root, files, _MEMBER)
    wanted = _choose(root, parts, SPECTRA[spectrum], LIGHTS[light], tree)
    sequences = [_sequence(wanted, key, frames) for key, frames in sorted(parts[wanted].items(), key=_in_natural_order)]
    for part, found in parts.items():
        if part != wanted:
            skipped += [_other(part, key, frames) for key, frames in sorted(found.items(), key=_in_natural_order)]
    return Scan("oulu", tuple(sequences), tuple(skipped + left), _notes(parts, wanted, sequences))


def _names_above(root: Path) -> str:
    """Return the last names of the root itself, if it is VL or VL/Strong and not a folder that holds them."""
    names = Path(root).resolve().parts[-3:]
    below = {*map(str.lower, LIGHTS.values()), *(f"{name}{end}".lower() for name in SPECTRA.values() for end in ("", "_Acropped"))}
    return "/".join(names) + "/" if names[-1].lower() in below else ""


def _parts(root: Path, files: list[str]) -> tuple[dict[_Part, dict[tuple[str, str], dict[int, str]]], list[Skip]]:
    """Return part -> (subject, expression folder) -> frame number -> path; and the pictures that fit nowhere."""
    places: dict[tuple[_Part, tuple[str, str], int], list[str]] = {}
    skipped, above = [], _names_above(root)
    for path in sorted(files, key=lambda path: (path.count("/"), natural_key(path))):
        match = _FRAME.fullmatch(above + path)
        if match is None:
            if is_picture(path):
                skipped.append(stray(path, _MEMBER))
            continue
        cropped = match["cropped"] or re.search(r"(?:^|/)PreProcess(?:_?Img)?/", match["above"] or "", re.IGNORECASE | re.ASCII)
        part = _Part("cropped" if cropped else "original", match["spectrum"].upper(), match["light"].capitalize())
        key, number = (match["subject"].upper(), _EXPRESSION[match["expression"].lower()][0]), int(match["number"])
        places.setdefault((part, key, number), []).append(path)
    taken, others = one_of_each(root, places)
    skipped += [Skip(path, "duplicate", key[0], _name(part, key), number, detail=detail) for (part, key, number), path, detail in others]
    parts: dict[_Part, dict[tuple[str, str], dict[int, str]]] = {}
    for (part, key, number), path in taken.items():
        parts.setdefault(part, {}).setdefault(key, {})[number] = path
    return parts, skipped


def _choose(root: Path, parts, spectrum: str, light: str, tree: str) -> _Part:
    """Return the part to use."""
    for kind in ("original", "cropped") if tree == "auto" else (tree,):
        if (part := _Part(kind, spectrum, light)) in parts:
            return part
    raise DatasetError(
        f"looking for Oulu-CASIA below {root}: {spectrum}/{light} of the {'original or cropped' if tree == 'auto' else tree} tree"
        f" is not there; there is {', '.join(map(str, sorted(parts)))}"
    )


def _name(part: _Part, key: tuple[str, str]) -> str:
    """Return the id of a sequence, unique within the subject over all parts that may be prepared."""
    return f"{part.spectrum}{'_Acropped' if part.tree == 'cropped' else ''}-{part.light}-{key[1]}"


def part_of(sequence: str) -> str:
    """Return the part of the database that the id of a sequence names; "" if it is no id of this database.

    >>> part_of("VL-Strong-Anger"), part_of("NI_Acropped-Dark-Fear"), part_of("003")
    ('VL/Strong (original)', 'NI/Dark (cropped)', '')
    """
    match = _SEQUENCE.match(sequence)
    return str(_Part("cropped" if match["cropped"] else "original", match["spectrum"], match["light"])) if match else ""


def _in_natural_order(item) -> tuple:
    return tuple(map(natural_key, item[0]))


def _sequence(part: _Part, key: tuple[str, str], frames: dict[int, str]) -> Sequence:
    numbered = tuple(Frame(path, number) for number, path in sorted(frames.items()))
    return Sequence("oulu", key[0], _name(part, key), _EXPRESSION[key[1].lower()][1], numbered)


def _other(part: _Part, key: tuple[str, str], frames: dict[int, str]) -> Skip:
    """Return one row for a sequence of a part that was not asked for."""
    return Skip(frames[min(frames)], "other-part", key[0], _name(part, key), frames=len(frames), detail=str(part))


def _notes(parts, wanted: _Part, sequences: list[Sequence]) -> tuple[str, ...]:
    """Return what was taken, how it compares with the published counts, and what is odd."""
    notes = [f"{counts_note('oulu', sequences)} in {wanted}"]
    expected = [f"P{number:03d}/{_name(wanted, ('', word))}" for number in range(1, 81) for word in BASIC_FOLDERS["oulu"]]
    notes += difference_notes(sequences, expected)
    other = wanted._replace(tree="cropped" if wanted.tree == "original" else "original")
    if other in parts:
        notes.append(f"both trees are there; {wanted} was taken, {other} was not")
    gaps = [one.sequence_id for one in sequences if one.frames[-1].number != len(one.frames) - 1]
    if gaps:
        notes.append(f"sequences whose frames are not numbered from 000 without a gap: {len(gaps)}, such as {gaps[0]}")
    return tuple(notes)
