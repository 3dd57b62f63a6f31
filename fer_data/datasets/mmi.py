"""MMI: clips of posed expressions, from neutral to the peak and back; frontal, or frontal and profile side by side.

In:  the folder that holds one or several downloads, under whatever names, at whatever depth.
Out: Sequence records in natural order of (subject, clip); the frames are positions in the clip.

    root/
      mmi-facial-expression-database_download_2012-03-04_05_06_07/Sessions/1841/      any number; it says nothing of the subject
        session.xml               the view: 0 frontal, 1 profile, 2 both in one frame (a mirror)
        S035-004.avi              the clip: subject S035, clip 004
        S035-004.xml              Metatag Name="Emotion" Value="4"; many have none
        S035-004-oao_aucs.xml     optional: onset, apex and offset of each action unit
        *.jpg or *.png            instead of the clip in sessions of still images; not used

Selected:  Emotion 1 to 6 and view 0 or 2. All else is listed with its reason; a clip that was not opened counts as one frame,
           an XML whose clip is not there as none.
           Which 208 sequences of 31 subjects the paper means, it does not say; `listing` narrows the selection (read_listing).
Framings:  some clips lie on their side, and which half of a dual view is the frontal one varies: each sequence names how to
           look at it, and the landmark backend decides by what it finds.
Peak:      protocol/peaks.py; from the coding where there is one: the frames on which most action units are at their apex.
Counts:    208 sequences, 31 subjects in the paper (data_manifests/mmi.json).
Labels:    1 anger, 2 disgust, 3 fear, 4 happiness, 5 sadness, 6 surprise; higher values are other posed states.
Cite:      Pantic et al. 2005; Valstar and Pantic 2010.      Licence: research agreement; images may not be passed on.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fer_data.datasets import mmi_xml
from fer_data.datasets.copies import first_whole
from fer_data.datasets.published import counts_note
from fer_data.datasets.recognise import is_mahnob, wrong_tree
from fer_data.datasets.tree import stray, walk
from fer_data.errors import DatasetError, TableError, UnreadableError
from fer_data.files import read_file
from fer_data.labels import MMI_CODES, WORDS
from fer_data.pictures import video
from fer_data.pictures.file_kinds import is_clip, is_picture
from fer_data.records import ClipFrames, Scan, Sequence, Skip
from fer_data.tables import lines_of, raw_lines, roles_of, text_of, whole
from fer_data.text import listed, natural_key

__all__ = ["FRAMINGS_OF_VIEW", "scan", "read_listing"]

# session.xml's view -> how to look at a frame. Sideways clips lie clockwise in the loaders that handle them.
FRAMINGS_OF_VIEW = {"0": ("whole", "clockwise", "counterclockwise"), "2": ("left", "right")}

_CLIP = re.compile(r"(?:.*/)?(S\d{3})-(\d{3})\.[A-Za-z0-9]+", re.ASCII | re.IGNORECASE)
_MEMBER = "an MMI clip is named Sessions/1841/S035-004.avi"
_LISTED = ("expression", "subject", "sequence")
_NAMED = 5                            # so many clips are named in a note, the rest is counted


@dataclass(frozen=True)
class _Session:
    """What lies in one session folder."""

    clip: str                         # path of the clip
    key: tuple[str, str]              # subject, clip number
    view: str | None                  # of session.xml; None: there is no such file
    has_label: bool                   # whether its XML lies next to it
    code: int | None                  # emotion; None: not labelled
    coding: str | None                # path of the OAO XML


def scan(root: Path, listing: Path | None = None) -> Scan:
    """Return the sequences below `root`.

    listing   a file of sequences to which the selection is narrowed, see read_listing
    Raises DatasetError if this is no MMI tree (the sentence says what it looks like instead), if the listing cannot be read,
    or if PyAV is missing.
    """
    files, left = walk(root)
    if is_mahnob(root, files):
        raise wrong_tree("MMI", "mmi", root, files, _MEMBER)
    clips = [path for path in files if is_clip(path) and _CLIP.fullmatch(path)]
    if not clips:
        raise wrong_tree("MMI", "mmi", root, files, _MEMBER)
    video.require_av()
    read: list[str] = []
    wanted = read_listing(listing, read) if listing else None
    by_lower = {path.lower(): path for path in files}
    skipped = _strays(files, clips) + _without_clip(root, clips, by_lower, wanted)
    chosen, unwanted = _choose(root, clips, by_lower, wanted)
    sequences, unusable, notes = _sequences(root, chosen, wanted or {})
    notes = [counts_note("mmi", sequences), *read, *notes, *_absent(wanted, clips)]
    return Scan("mmi", tuple(sequences), tuple(skipped + unwanted + unusable + left), tuple(notes))


def read_listing(path: Path, notes: list[str] | None = None) -> dict[tuple[str, str], tuple[str | None, tuple[int, ...]]]:
    """Return (subject, clip) -> (expression or None, frame numbers or none) of a list of sequences; add to `notes` how it was read.

    One sequence a line, in one of two forms that published lists have; empty lines and `#` lines are left out:
        happiness;50;3           expression_type;subject_number;sequence_number; the expression is a word or a code 1..6
        S050_003_030.png         one line a frame, 1-based: the peak, without a gap; the rule takes three around its middle
    Encodings and separators are those of fer_data.tables; a line with the names of the columns, in any order, may come first.
    Raises DatasetError naming the file and the first line that is neither, or the sequence of which it names frames with a gap.
    """
    try:
        text, note = text_of(read_file(path))
        first, *rest = lines_of("\n".join("" if line.lstrip().startswith("#") else line for line in raw_lines(text)))
        roles = roles_of(first.cells, ("image", *_LISTED), [])
    except TableError as error:
        raise DatasetError(f"reading the list {path}: {error}") from error
    if notes is not None and note:
        notes.append(f"{path.name}: {note}")
    order = [roles[role] for role in _LISTED] if roles.keys() >= {*_LISTED} else [roles["image"]] if "image" in roles else None
    found: dict[tuple[str, str], tuple[str | None, tuple[int, ...]]] = {}
    for row in rest if roles else [first, *rest]:
        cells = row.cells if order is None else tuple(row.cells[index] for index in order if index < len(row.cells))
        key, expression, frames = _listed(cells, f"line {row.number} of {path.name}")
        before, numbers = found.get(key, (expression, ()))
        if before != expression:
            twice = f"line {row.number} gives {'/'.join(key)} as {expression}, an earlier line as {before}"
            raise DatasetError(f"reading the list {path}: {twice}")
        found[key] = expression, tuple(sorted({*numbers, *frames}))
    if not found:
        raise DatasetError(f"reading the list {path}: it names no sequence")
    for key, (_, frames) in found.items():
        if frames and frames[-1] - frames[0] >= len(frames):
            apart = f"it names frames {listed([*map(str, frames)], _NAMED)} of {'/'.join(key)}, with a gap"
            raise DatasetError(f"reading the list {path}: {apart}; the peak is one run of frames, name each of them or one in their middle")
    return found


def _listed(cells: tuple[str, ...], where: str) -> tuple[tuple[str, str], str | None, tuple[int, ...]]:
    """Return ((subject, clip), expression, frames) of one line of a list."""
    name, *more = (*cells, "", "")
    match = re.fullmatch(r"(?:.*[/\\])?S?(\d{1,3})_(\d{1,3})_(\d{1,5})(?:\.[a-z]+)?", name, re.ASCII | re.IGNORECASE)
    if match and not any(more):
        return (f"S{int(match[1]):03d}", f"{int(match[2]):03d}"), None, (int(match[3]),)
    subject, clip = (whole(cell.removeprefix("S").removeprefix("s")) for cell in more[:2])
    expression = MMI_CODES.get(whole(name)) or WORDS.get(name.lower())
    if not expression or any(more[2:]) or subject is None or clip is None or max(subject, clip) > 999:
        allowed = "`expression;subject;sequence` with a word or a code 1..6, or `S050_003_030.png`"
        raise DatasetError(f"reading a list of MMI sequences: {';'.join(cells)[:60]!r} in {where} is not understood; write {allowed}")
    return (f"S{subject:03d}", f"{clip:03d}"), expression, ()


def _strays(files: list[str], clips: list[str]) -> list[Skip]:
    """Return Skips for pictures and for clips with other names."""
    skipped = []
    for path in files:
        if is_picture(path) and "/" in path and Path(path).parent.name.isdigit():
            skipped.append(Skip(path, "other-part", detail="a still image; the paper uses the clips"))
        elif is_picture(path) or (is_clip(path) and path not in clips):
            skipped.append(stray(path, _MEMBER))
    return skipped


def _choose(root: Path, clips: list[str], files: dict[str, str], wanted) -> tuple[list[list[_Session]], list[Skip]]:
    """Return the sessions to use, for each key those with a copy of its clip; and a Skip, with its reason, for each other clip."""
    chosen: dict[tuple[str, str], list[_Session]] = {}
    skipped = []
    for path in sorted(clips, key=lambda path: (path.count("/"), natural_key(path))):
        key = _key(path)
        session, reason = _looked_at(root, path, key, files, wanted)
        if reason is None:
            chosen.setdefault(key, []).append(session)
        else:
            skipped.append(Skip(path, reason[0], *key, detail=reason[1]))
    return [chosen[key] for key in sorted(chosen, key=lambda key: tuple(map(natural_key, key)))], skipped


def _without_clip(root: Path, clips: list[str], files: dict[str, str], wanted) -> list[Skip]:
    """Return a Skip for each XML of a session whose clip is nowhere; only those whose clip would be used are missed."""
    there, stills = {_key(path) for path in clips}, {Path(path).parent for path in files if is_picture(path)}
    skipped = []
    for lower, path in files.items():
        if lower.endswith(".xml") and _CLIP.fullmatch(path) and (key := _key(path)) not in there and Path(lower).parent not in stills:
            reason = _looked_at(root, path, key, files, wanted)[1] or ("no-match", "an XML whose clip is not there")
            skipped.append(Skip(path, reason[0], *key, frames=0, detail=reason[1]))
    return skipped


def _key(path: str) -> tuple[str, str]:
    """Return (subject, clip number) in the name of a clip or its XML."""
    match = _CLIP.fullmatch(path)
    return match[1].upper(), match[2]


def _looked_at(root: Path, clip: str, key: tuple[str, str], files: dict[str, str], wanted):
    """Return (what lies beside a clip or None, (reason, detail) why it is not selected or None)."""
    try:
        session = _session(root, clip, key, files)
    except DatasetError as error:
        return None, ("bad-label", str(error))
    except UnreadableError as error:
        return None, ("unreadable", f"the XML next to it cannot be read: {Path(error.path).relative_to(root).as_posix()} {error.why}")
    return session, _unwanted(session, wanted)


def _session(root: Path, clip: str, key: tuple[str, str], files: dict[str, str]) -> _Session:
    """Return what the XML files beside a clip say; `files` are all paths by their lower-case names.

    Raises DatasetError or UnreadableError if one of the files cannot be read.
    """
    stem = clip.rpartition(".")[0].lower()
    meta = files.get((Path(clip.lower()).parent / "session.xml").as_posix())
    label, coding = files.get(f"{stem}.xml"), files.get(f"{stem}-oao_aucs.xml")
    view = mmi_xml.read_view(read_file(root / meta), Path(clip).name, meta) if meta else None
    code = mmi_xml.read_emotion(read_file(root / label), label) if label else None
    return _Session(clip, key, view, label is not None, code, coding)


def _unwanted(session: _Session, wanted) -> tuple[str, str] | None:
    """Return (reason, detail) why a session is not selected, or None."""
    if wanted is not None and session.key not in wanted:
        return "other-part", "the list does not name it"
    listed = wanted[session.key][0] if wanted else None
    if not session.has_label and listed is None:
        return "no-match", f"{session.key[0]}-{session.key[1]}.xml, which would give its expression, is not next to it"
    if session.code is None and listed is None:
        return "unlabelled", "no Metatag Emotion"
    if session.code is not None and session.code not in MMI_CODES:
        return "other-part", f"emotion {session.code} is none of the six basic expressions"
    if listed and session.code and listed != MMI_CODES[session.code]:
        return "bad-label", f"the list says {listed}, its XML says {MMI_CODES[session.code]}"
    if session.view is None:
        return "no-match", "session.xml next to it does not say from where it was filmed"
    if session.view not in FRAMINGS_OF_VIEW:
        return "other-part", f"view {session.view}: {'profile' if session.view == '1' else 'unknown'}"
    return None


def _sequences(root: Path, chosen: list[list[_Session]], wanted: dict) -> tuple[list[Sequence], list[Skip], list[str]]:
    """Step through the clips; return their sequences, Skips for broken ones and for copies, and notes."""
    sequences, skipped, short, coded = [], [], [], Counter()
    for copies in chosen:
        by_clip = {session.clip: session for session in copies}
        found, others = first_whole(root, list(by_clip), copies[0].key)
        skipped += others
        if found is None:
            continue
        path, clip = found
        session = by_clip[path]
        if clip.promised > clip.frames:
            short.append(f"{session.clip} ({clip.frames} of {clip.promised})")
        listed, numbers = wanted.get(session.key, (None, ()))
        expression = listed or MMI_CODES[session.code]
        apex, problem = _apex(root, session, clip.frames, numbers)
        if problem:
            skipped.append(Skip(session.coding or session.clip, "bad-label", *session.key, frames=0, detail=problem))
        coded["list" if numbers else "coding" if apex else "middle"] += 1
        frames = ClipFrames(session.clip, clip.frames)
        sequences.append(Sequence("mmi", *session.key, expression, frames, apex, FRAMINGS_OF_VIEW[session.view]))
    return sequences, skipped, _notes(coded, short)


def _apex(root: Path, session: _Session, count: int, numbers: tuple[int, ...]) -> tuple[tuple[int, int] | None, str]:
    """Return ((first, last) position of the peak, or None if it is not known; what is wrong with the coding, or "")."""
    if numbers:
        inside = [number - 1 for number in numbers if 1 <= number <= count]
        return ((inside[0], inside[-1]), "") if inside else (None, f"the list names frame {numbers[0]}, the clip has {count}")
    if session.coding is None:
        return None, ""
    try:
        return mmi_xml.read_apex(read_file(root / session.coding), count, session.coding), ""
    except (DatasetError, UnreadableError) as error:
        return None, f"{error}; the middle of the clip is taken"


def _notes(coded: Counter, short: list[str]) -> list[str]:
    """Return what the peaks rest on, and clips whose header promises more than there is."""
    rests = {"list": "on the list", "coding": "on the coded apex", "middle": "on the middle of the clip (no coding that holds)"}
    notes = ["the peak rests " + ", ".join(f"{rests[name]} in {coded[name]}" for name in rests if coded[name])] if coded else []
    if short:
        notes.append(f"the header promises more frames than the clip has, what is there counts: {listed(short, _NAMED)}")
    return notes


def _absent(wanted, clips: list[str]) -> list[str]:
    """Return a sentence about listed sequences of which there is no clip."""
    there = {(match[1].upper(), match[2]) for path in clips if (match := _CLIP.fullmatch(path))}
    absent = sorted(("/".join(key) for key in (wanted or {}) if key not in there), key=natural_key)
    if not absent:
        return []
    return [f"{len(absent)} of {len(wanted)} listed sequences are not there: {listed(absent, 2 * _NAMED)}"]
