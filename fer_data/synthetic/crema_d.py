"""A CREMA-D tree of synthetic people: FLV clips with the published names, and the tables next to them.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; seed.
Out: the tree below; counts.

    out/
      VideoFlash/1001_DFA_ANG_XX.flv          320x240, 30 fps; the four broken clips of 1064 and 1076 are broken here, too
      processedResults/summaryTable.csv       votes, drawn at the published rates
      SentenceFilenames.csv                   the names of all clips
      truth.csv, synthetic.json               one row a clip, at its peak

A person performs each expression `takes` times; the sentences share these performances, at their own level and length. 91 subjects give
the published 7,442 clips.

Needs the extra [video] (PyAV). The same bytes are promised for one version of PyAV: encoders change.
"""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_data.datasets.crema_d import ACTORS, BROKEN, VOTES, published_clips
from fer_data.errors import DatasetError
from fer_data.labels import WORDS
from fer_data.pictures.video import require_av
from fer_data.synthetic import traps as trap_files
from fer_data.synthetic.clips import LEVELS, draw_levels, encode_clip, pictures_of
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent

__all__ = ["MAX_TAKES", "write_crema_d"]

MAX_TAKES = 12                        # one for each sentence
_LAYOUT = 6                           # of the keys of random numbers; 1 is CK+
_FPS, _BIT_RATE = 30, 600_000
_LEVEL = {"LO": 1, "MD": 2, "HI": 3, "XX": 3}                        # of a name -> which of LEVELS the clip reaches
# emotion -> share of clips in which the published face vote names it; published share of ties
_SEEN = {"ANG": 831 / 1271, "DIS": 806 / 1271, "FEA": 656 / 1271, "HAP": 1216 / 1271, "NEU": 998 / 1087, "SAD": 424 / 1271}
_TIES = 470 / 7442


class _Job(NamedTuple):
    root: Path
    index: int                        # of the person
    takes: int
    frames: tuple[int, int]
    seed: int


def write_crema_d(
    out: Path,
    subjects: int = 91,
    seed: int = 0,
    takes: int = 3,
    frames: tuple[int, int] = (9, 14),
    traps: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw people and write them as a CREMA-D tree; return what was written.

    takes    performances of each person and expression, 1 to MAX_TAKES
    frames   shortest and longest clip, at least 5
    traps    also write what adapters must not fall into (traps.for_crema_d)
    workers  processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, if `out` holds anything but an earlier synthetic tree, or if PyAV is missing.
    """
    require_av()
    if not 1 <= subjects <= len(ACTORS) or not 1 <= takes <= MAX_TAKES or not 5 <= frames[0] <= frames[1]:
        allowed = f"1 to {len(ACTORS)} subjects, 1 to {MAX_TAKES} takes and clips of at least 5 frames"
        raise DatasetError(f"drawing CREMA-D: choose {allowed}, not {subjects}, {takes} and {frames}")
    require_seed(seed)
    with new_tree(out) as part:
        (part / "VideoFlash").mkdir()
        jobs = [_Job(part, index, takes, frames, seed) for index in range(subjects)]
        rows = [row for own in run_jobs(_write_subject, jobs, workers, progress) for row in own]
        _write_tables(part, rows, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_LAYOUT,))))
        written = {
            "subjects": subjects, "sequences": len(rows), "frames": sum(row["frames"] for row in rows),
            "traps": trap_files.for_crema_d(part) if traps else 0,
        }
        settings = {"subjects": subjects, "seed": seed, "takes": takes, "frames": list(frames), "traps": traps}
        finish_tree(part, "crema-d", settings, written, rows)
    return Written(out, written)


def _write_subject(job: _Job) -> list[dict]:
    """Draw one person, write the clips; return the rows of truth.csv."""
    actor, rows, performed = ACTORS[job.index], [], {}
    for number, clip in enumerate(one for one in published_clips() if one.startswith(f"{actor}/")):
        _, emotion, level = clip.partition("/")[2].split("_")
        take = number % job.takes
        if (emotion, take) not in performed:
            key = (job.index, _LAYOUT, MAX_TAKES * list(_SEEN).index(emotion) + take)
            performed[emotion, take] = draw_levels(job.seed, "crema-d", key, WORDS[emotion.lower()])
        drawn, peak = performed[emotion, take], _LEVEL[level]
        dice = np.random.default_rng(np.random.SeedSequence(job.seed, spawn_key=(0, job.index, _LAYOUT, number)))
        shown = pictures_of(drawn, peak, job.frames, dice)
        shown = _broken(clip, shown) if clip in BROKEN else shown
        (job.root / "VideoFlash" / f"{clip.replace('/', '_')}.flv").write_bytes(encode_clip(shown, "flv", _FPS, _BIT_RATE))
        where = {"subject": actor, "sequence": clip.partition("/")[2], "expression": WORDS[emotion.lower()], "frames": len(shown)}
        rows.append({**where, "take": take, "level": LEVELS[peak], **drawn[peak].factors})
    return rows


def _broken(clip: str, shown: list[np.ndarray]) -> list[np.ndarray]:
    """Return what a broken clip shows in place of its pictures: a few frames, an error picture, or ten times as many."""
    if clip == "1064/IEO_DIS_MD":
        return shown * 10
    return [np.full_like(shown[0], 90)] * 2 if clip == "1076/MTI_SAD_XX" else shown[:2]


def _write_tables(root: Path, rows: list[dict], rng: np.random.Generator) -> None:
    """Write the names of the clips, and what people would have seen in them."""
    names = [f"{row['subject']}_{row['sequence']}" for row in rows]
    (root / "processedResults").mkdir()
    _write_csv(root / "SentenceFilenames.csv", ["Stimulus_Number", "Filename"], enumerate(names, 1))
    votes = [_vote(name.split("_")[2], rng) for name in names]
    columns = ["", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel", "MultiModalVote", "MultiModalLevel"]
    content = [(number, name, vote, 60, vote, 60, vote, 60) for number, (name, vote) in enumerate(zip(names, votes, strict=True), 1)]
    _write_csv(root / "processedResults" / VOTES, columns, content)


def _vote(emotion: str, rng: np.random.Generator) -> str:
    """Return the letter of the emotion that most people saw, or a tie of two."""
    chance, other = rng.random(), str(rng.choice([one for one in _SEEN if one != emotion]))
    if chance < _SEEN[emotion]:
        return emotion[0]
    return ":".join(sorted((emotion[0], other[0]))) if chance < _SEEN[emotion] + _TIES else other[0]


def _write_csv(path: Path, columns: list[str], rows) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
