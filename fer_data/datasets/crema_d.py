"""CREMA-D: 91 actors say twelve sentences with six expressions; free to download, and judged by people.

In:  the folder that holds the clips, under whatever name, at whatever depth.
Out: Sequence records in natural order; the frames are positions in the clip.

    root/
      VideoFlash/1001_IEO_ANG_HI.flv        actor, sentence, expression, level; 1001 to 1091
                 1001_DFA_ANG_XX.flv        only the sentence IEO has levels: LO, MD, HI; else XX
      processedResults/summaryTable.csv     what people saw, clip by clip: FaceVote A, or a tie A:D
      AudioMP3/ AudioWAV/ *.csv             not read

Copies as MP4 serve as well; some have the actor's sex behind the name (1001_DFA_ANG_XX_01.mp4). A clone without Git LFS has pointers of
130 bytes in place of the clips: they are named.

Labels:   intended (the default): the expression that the actor was asked to show. face-vote: the one that most people saw in the face
          alone; ties are left out.
Errata:   four clips are broken and twenty were never published (BROKEN, _NEVER_PUBLISHED): each is in skipped.csv, by name.
Peak:     protocol/peaks.py, rule middle-half.
Counts:   7,442 clips, 91 subjects (data_manifests/crema_d.json).
Cite:     Cao et al. 2014.      Licence: Open Database License 1.0: may be passed on under its conditions.
"""

import re
from pathlib import Path

from fer_data.datasets.clips import Named, copies_of_each, left_out, missing_notes, sequences_of, source_note
from fer_data.datasets.published import counts_note, load_facts
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import is_drawn, stray, walk
from fer_data.errors import DatasetError, TableError
from fer_data.labels import WORDS, HumanFigure
from fer_data.pictures.file_kinds import is_clip, is_picture
from fer_data.records import Scan, Skip
from fer_data.tables import read_table
from fer_data.text import natural_key, unknown

__all__ = ["ACTORS", "BROKEN", "BY_VOTE", "LABELS", "VOTES", "published_clips", "scan"]

LABELS = ("intended", "face-vote")
VOTES = "summaryTable.csv"
BY_VOTE = "clips, by the vote of those who saw it (a tie is wrong)"          # of HumanFigure
ACTORS = tuple(str(number) for number in range(1001, 1092))
BROKEN = {                            # clip -> what is wrong with it
    "1064/IEO_DIS_MD": "it is a minute long and shows all expressions",
    "1064/TIE_SAD_XX": "it has no duration",
    "1076/MTI_NEU_XX": "it is cut to a few frames",
    "1076/MTI_SAD_XX": "it shows an error picture, for a few frames",
}
_EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
_SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
_LEVELS = ("HI", "LO", "MD")          # of IEO alone; the others, and neutral, have XX
_NEVER_PUBLISHED = {"1002/TIE_NEU_XX", "1076/ITS_NEU_XX"} | {
    f"{actor}/{sentence}_{emotion}_XX" for actor, sentence in (("1008", "WSI"), ("1009", "MTI"), ("1019", "ITH")) for emotion in _EMOTIONS
}
_VOTED = {emotion[0]: WORDS[emotion.lower()] for emotion in _EMOTIONS}       # letter of FaceVote -> expression

_CLIP = re.compile(rf"(?:.*/)?(1\d{{3}})_([A-Z]{{3}}_({'|'.join(_EMOTIONS)})_(?:LO|MD|HI|XX))(?:_0[12])?\.\w+", re.IGNORECASE | re.ASCII)
_MEMBER = "a CREMA-D clip is named 1001_DFA_ANG_XX.flv"


def scan(root: Path, labels: str = "intended", votes: Path | None = None, check_source: Path | None = None) -> Scan:
    """Return the sequences below `root`.

    labels        of LABELS
    votes         summaryTable.csv; None: the one below the root, if there is one
    check_source  a list of the published sha256 (clips.source_note), with which the clips are compared
    Raises DatasetError if this is no CREMA-D tree (the sentence says what it looks like instead), if all clips are Git LFS pointers, if
    a table or list cannot be read, or if PyAV is missing.
    """
    if labels not in LABELS:
        raise DatasetError(f"labelling CREMA-D: {unknown('rule', labels, LABELS)}")
    files, left = walk(root)
    clips = [path for path in files if is_clip(path) and _CLIP.fullmatch(path)]
    if not clips:
        raise wrong_tree("CREMA-D", "crema-d", root, files, _MEMBER)
    chosen = copies_of_each(clips, _key_of, ".flv")
    skipped = [stray(path, _MEMBER) for path in files if is_picture(path) or (is_clip(path) and not _CLIP.fullmatch(path))]
    table = votes or next((root / path for path in sorted(files, key=lambda path: path.count("/")) if Path(path).name == VOTES), None)
    if table is None and labels == "face-vote":
        raise DatasetError(f"labelling CREMA-D by what people saw: there is no {VOTES} below {root}; give it with --votes {VOTES}")
    seen, remarks = {}, []
    try:
        seen = _read_votes(table) if table else {}
    except DatasetError as error:
        if votes or labels == "face-vote":
            raise
        remarks.append(f"{error}; what people reach is not stated")
    named, unwanted = _labelled(chosen, labels, seen)
    sequences, unreadable, notes = sequences_of("crema-d", root, named)
    there = {one.sequence_id for one in sequences}
    counts = (counts_note("crema-d", sequences), *missing_notes(sequences, chosen, published_clips()))
    if labels == "face-vote":
        remarks.append("the labels are what most people saw; what people reach is counted against the intended expression")
    used = {(one.subject, one.sequence): one.frames.source for one in sequences}
    source = [source_note(root, (used.get(key, paths[0]) for key, paths in chosen.items()), check_source)] if check_source else []
    skipped += unwanted + unreadable + _never_published(chosen) + left
    return Scan("crema-d", tuple(sequences), tuple(skipped), (*counts, *source, *notes, *remarks), _human(is_drawn(root), there, seen))


def published_clips() -> list[str]:
    """Return the 7,442 published clips as "1001/IEO_ANG_HI", in natural order."""
    planned = [f"{actor}/{sentence}_{word}_{level}" for actor in ACTORS for sentence in _SENTENCES for word in _EMOTIONS
               for level in (_LEVELS if sentence == "IEO" and word != "NEU" else ("XX",))]
    return sorted((one for one in planned if one not in _NEVER_PUBLISHED), key=natural_key)


def _key_of(path: str) -> tuple[str, str]:
    match = _CLIP.fullmatch(path)
    return match[1], match[2].upper()


def _labelled(chosen: dict[tuple[str, str], tuple[str, ...]], labels: str, seen: dict[str, str]) -> tuple[list[Named], list[Skip]]:
    """Return the clips that have a label, and Skips for the others."""
    named, skipped = [], []
    for key, paths in chosen.items():
        clip, vote = "/".join(key), seen.get("/".join(key), "")
        if clip in BROKEN:
            skipped += left_out(paths, "erratum", key, BROKEN[clip])
        elif labels == "intended":
            named.append(Named(paths, *key, _intended(clip)))
        elif vote in _VOTED:
            named.append(Named(paths, *key, _VOTED[vote]))
        else:
            detail = f"people were divided: {vote}" if vote else f"{VOTES} has no vote for it"
            skipped += left_out(paths, "unlabelled", key, detail)
    return named, skipped


def _intended(clip: str) -> str:
    return WORDS[clip.split("_")[1].lower()]


def _never_published(chosen: dict[tuple[str, str], tuple[str, ...]]) -> list[Skip]:
    """Return a Skip, of no frame, for each clip that actors who are there never had."""
    actors = {actor for actor, _ in chosen}
    absent = [one.split("/") for one in sorted(_NEVER_PUBLISHED, key=natural_key) if tuple(one.split("/")) not in chosen]
    return [
        Skip(f"VideoFlash/{actor}_{rest}.flv", "erratum", actor, rest, frames=0, detail="it was never published")
        for actor, rest in absent if actor in actors
    ]


def _read_votes(path: Path) -> dict[str, str]:
    """Return clip -> letters of the expressions that most people saw in its face, as the table has them.

    Raises DatasetError if this is not the published table.
    """
    doing = f"reading what people saw in {path}"
    try:
        table = read_table(path, ("image",))
    except TableError as error:
        raise DatasetError(f"{doing}: {error}") from error
    if not {"FileName", "FaceVote"} <= {*table.columns}:
        raise DatasetError(f"{doing}: it must have the columns FileName and FaceVote, its columns are {', '.join(table.columns)}")
    name, vote = table.columns.index("FileName"), table.columns.index("FaceVote")
    seen = {}
    for row in table.rows:
        letters = row.cells[vote].upper()
        match = _CLIP.fullmatch(f"{row.cells[name]}.flv")
        if match is None or not set(letters.split(":")) <= _VOTED.keys():
            allowed = f"a clip such as 1001_DFA_ANG_XX and letters of {', '.join(_VOTED)}, several between colons"
            raise DatasetError(f"{doing}: line {row.number} has {row.cells[name]!r} and {letters!r}; it must have {allowed}")
        seen["/".join(_key_of(match[0]))] = letters
    return seen


def _human(drawn: bool, clips: set[str], seen: dict[str, str]) -> tuple[HumanFigure, ...]:
    """Return how often people named the intended expression: the published figures; of clips, those of the clips that are there."""
    published = () if drawn else load_facts("crema-d").human             # nobody judged synthetic people: their table is drawn as well
    judged = [clip for clip in clips if clip in seen]
    if not judged:
        return published
    right = sum(_VOTED.get(seen[clip]) == _intended(clip) for clip in judged)
    return (*published[:1], HumanFigure(BY_VOTE, right, len(judged)))
