"""RAVDESS: 24 actors speak and sing two sentences with eight expressions; free to download.

In:  the folder that holds the unpacked archives, under whatever names, at whatever depth.
Out: Sequence records in natural order; the frames are positions in the clip.

    root/
      Video_Speech_Actor_01/Actor_01/01-01-06-01-02-01-01.mp4      modality 01: with sound
                                     02-01-06-01-02-01-01.mp4      02: the same take without sound
      Video_Song_Actor_01/Actor_01/02-02-06-01-02-01-01.mp4        channel 02: song
      Audio_*/                                                     03-*.wav: sound alone; not read

    modality-channel-emotion-intensity-statement-repetition-actor; odd actors are men, even ones women

One modality is taken, for each trial is there twice: as modality 01 and as 02, and both very likely show one take. All other clips are
listed as not asked for.

Labels:   01 neutral, 02 calm, 03 happiness, 04 sadness, 05 anger, 06 fear, 07 disgust, 08 surprise. There is no strong neutral; song has
          01 to 06 only. No other database has calm: `calm=False` leaves it out.
Peak:     protocol/peaks.py, rule middle-half.
Counts:   speech 1,440 trials of 24 actors; song 1,012 of 23, without actor 18 (data_manifests/ravdess.json).
Cite:     Livingstone and Russo 2018.      Licence: CC BY-NC-SA 4.0: may be passed on under its conditions.
"""

import re
from pathlib import Path

from fer_data.datasets.clips import Named, copies_of_each, left_out, missing_notes, sequences_of
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import stray, walk
from fer_data.errors import DatasetError
from fer_data.labels import RAVDESS_CODES
from fer_data.pictures.file_kinds import is_clip, is_picture
from fer_data.records import Scan
from fer_data.text import counted, listed, unknown

__all__ = ["ACTORS", "CHANNELS", "INTENSITIES", "MODALITIES", "published_trials", "scan"]

# option -> the code in a name
MODALITIES = {"video-only": "02", "with-sound": "01"}
CHANNELS = {"speech": "01", "song": "02"}
INTENSITIES = {"normal": "01", "strong": "02"}
ACTORS = tuple(f"{number:02d}" for number in range(1, 25))
_NOBODY_SINGS = "18"
_SUNG = 6                             # emotions 01 to 06
_TWO = ("01", "02")                   # statements, repetitions

_CLIP = re.compile(
    r"(?:.*/)?(?P<sequence>(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-0[12]-0[12])-(?P<actor>\d\d)\.\w+",
    re.ASCII,
)
_MEMBER = "a RAVDESS clip is named 02-01-06-01-02-01-12.mp4"


def scan(root: Path, channel: str = "speech", modality: str = "video-only", intensity: str = "both", calm: bool = True) -> Scan:
    """Return the sequences below `root`.

    channel    a key of CHANNELS, or both
    modality   a key of MODALITIES: never both, for they show one take
    intensity  a key of INTENSITIES, or both
    calm       whether calm is a class
    Raises DatasetError if this is no RAVDESS tree (the sentence says what it looks like instead), if it has no clip of the kind that is
    asked for, or if PyAV is missing.
    """
    asked = {"channel": (channel, CHANNELS), "modality": (modality, MODALITIES), "intensity": (intensity, INTENSITIES)}
    codes = {what: _codes(what, word, known) for what, (word, known) in asked.items()}
    files, left = walk(root)
    clips = [path for path in files if is_clip(path) and _CLIP.fullmatch(path)]
    if not clips:
        raise wrong_tree("RAVDESS", "ravdess", root, files, _MEMBER)
    chosen = copies_of_each(clips, lambda path: _CLIP.fullmatch(path).group("actor", "sequence"), ".mp4")
    skipped = [stray(path, _MEMBER) for path in files if is_picture(path) or (is_clip(path) and not _CLIP.fullmatch(path))]
    named = []
    for key, paths in chosen.items():
        match = _CLIP.fullmatch(paths[0])
        expression = RAVDESS_CODES[int(match["emotion"])]
        unwanted = [f"{what} {match[what]}" for what in codes if match[what] not in codes[what]]
        unwanted += ["calm"] * (expression == "calm" and not calm)
        if unwanted:
            skipped += left_out(paths, "other-part", key, f"not asked for: {', '.join(unwanted)}")
        else:
            named.append(Named(paths, *key, expression))
    if not named:
        words = ", ".join(f"--{what} {word}" for what, (word, _) in asked.items())
        found = listed(sorted({f"{_word(match, 'channel')} {_word(match, 'modality')}" for match in map(_CLIP.fullmatch, clips)}))
        raise DatasetError(f"looking for RAVDESS below {root}: none of {counted(len(clips), 'clip')} is {words}; they are {found}")
    sequences, unreadable, notes = sequences_of("ravdess", root, named)
    expected = published_trials(codes["channel"], codes["modality"], codes["intensity"], calm)
    people = [len({one.split("/")[0] for one in ids}) for ids in ([one.sequence_id for one in sequences], expected)]
    count = f"{len(sequences)} of {len(expected)} labelled sequences, {people[0]} of {people[1]} subjects"
    return Scan(
        "ravdess", tuple(sequences), tuple(skipped + unreadable + left), (count, *missing_notes(sequences, chosen, expected), *notes)
    )


def published_trials(channels: tuple[str, ...], modalities: tuple[str, ...], intensities: tuple[str, ...], calm: bool = True) -> list[str]:
    """Return the published clips with these codes as "12/02-01-06-01-02-01", in natural order."""
    return [
        f"{actor}/{modality}-{channel}-{emotion:02d}-{intensity}-{statement}-{repetition}"
        for actor in ACTORS for modality in modalities for channel in channels for emotion, name in RAVDESS_CODES.items()
        for intensity in intensities for statement in _TWO for repetition in _TWO
        if (calm or name != "calm") and (name != "neutral" or intensity == INTENSITIES["normal"])
        and (channel != CHANNELS["song"] or (emotion <= _SUNG and actor != _NOBODY_SINGS))
    ]


def _codes(what: str, word: str, known: dict[str, str]) -> tuple[str, ...]:
    """Return the codes that an option asks for. Raises DatasetError for an unknown word."""
    both = what != "modality"
    if word == "both" and both:
        return tuple(known.values())
    if word not in known:
        raise DatasetError(f"choosing clips of RAVDESS: {unknown(what, word, (*['both'] * both, *known))}")
    return (known[word],)


def _word(match: re.Match, what: str) -> str:
    """Return what a code in a name means, as the option calls it."""
    known = {code: word for word, code in {"channel": CHANNELS, "modality": MODALITIES}[what].items()}
    return known.get(match[what], f"{what} {match[what]}")
