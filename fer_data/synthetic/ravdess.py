"""A RAVDESS tree of synthetic people: MP4 clips with the published names, each trial twice.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; which channels; seed.
Out: the tree below; counts.

    out/
      Video_Speech_Actor_01/Actor_01/01-01-06-01-02-01-01.mp4      320x240, 30 fps; "with sound", though there is none in it
                                     02-01-06-01-02-01-01.mp4      the same pictures, compressed otherwise
      Video_Song_Actor_01/Actor_01/01-02-06-01-02-01-01.mp4        only if asked for; nobody of number 18 sings
      truth.csv, synthetic.json                                    one row a trial, at its peak

A person performs each expression twice, as there are two repetitions; statements, intensities and channels share these performances.
24 subjects give the published 1,440 trials of speech and 1,012 of song. Calm is drawn as a faint smile.

Needs the extra [video] (PyAV). The same bytes are promised for one version of PyAV: encoders change.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_data.datasets.ravdess import ACTORS, CHANNELS, INTENSITIES, MODALITIES, published_trials
from fer_data.errors import DatasetError
from fer_data.labels import RAVDESS_CODES
from fer_data.pictures.video import require_av
from fer_data.synthetic import traps as trap_files
from fer_data.synthetic.clips import LEVELS, draw_levels, encode_clip, pictures_of
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent

__all__ = ["write_ravdess"]

_LAYOUT = 7                           # of the keys of random numbers; 1 is CK+
_FPS = 30
_BIT_RATES = {"01": 700_000, "02": 600_000}      # of each modality
_LEVEL = {"01": 2, "02": 3}           # intensity -> which of LEVELS the clip reaches


class _Job(NamedTuple):
    root: Path
    actor: str
    channels: tuple[str, ...]         # options
    frames: tuple[int, int]
    seed: int


def write_ravdess(
    out: Path,
    subjects: int = 24,
    seed: int = 0,
    channels: Sequence[str] = ("speech",),
    frames: tuple[int, int] = (9, 14),
    traps: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw people and write them as a RAVDESS tree; return what was written.

    channels  keys of datasets.ravdess.CHANNELS
    frames    shortest and longest clip, at least 5
    traps     also write what adapters must not fall into (traps.for_ravdess)
    workers   processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, if `out` holds anything but an earlier synthetic tree, or if PyAV is missing.
    """
    require_av()
    if not 1 <= subjects <= len(ACTORS) or not 5 <= frames[0] <= frames[1]:
        raise DatasetError(
            f"drawing RAVDESS: choose 1 to {len(ACTORS)} subjects and clips of at least 5 frames, not {subjects} and {frames}"
        )
    require_seed(seed)
    with new_tree(out) as part:
        jobs = [_Job(part, actor, tuple(channels), frames, seed) for actor in ACTORS[:subjects]]
        rows = [row for own in run_jobs(_write_subject, jobs, workers, progress) for row in own]
        written = {
            "subjects": subjects, "sequences": len(rows), "frames": sum(row["frames"] for row in rows),
            "traps": trap_files.for_ravdess(part) if traps else 0,
        }
        settings = {"subjects": subjects, "seed": seed, "channels": list(channels), "frames": list(frames), "traps": traps}
        finish_tree(part, "ravdess", settings, written, rows)
    return Written(out, written)


def _write_subject(job: _Job) -> list[dict]:
    """Draw one person, write the clips of both modalities; return the rows of truth.csv."""
    index, rows, performed = ACTORS.index(job.actor), [], {}
    trials = published_trials(tuple(CHANNELS[one] for one in job.channels), (MODALITIES["video-only"],), tuple(INTENSITIES.values()))
    for number, trial in enumerate(one.partition("/")[2] for one in trials if one.startswith(f"{job.actor}/")):
        _, channel, emotion, intensity, _, repetition = trial.split("-")
        if (emotion, repetition) not in performed:
            key = (index, _LAYOUT, 2 * int(emotion) + int(repetition))
            performed[emotion, repetition] = draw_levels(job.seed, "ravdess", key, RAVDESS_CODES[int(emotion)])
        drawn, peak = performed[emotion, repetition], _LEVEL[intensity]
        dice = np.random.default_rng(np.random.SeedSequence(job.seed, spawn_key=(0, index, _LAYOUT, number)))
        shown = pictures_of(drawn, peak, job.frames, dice)
        word = next(word for word, code in CHANNELS.items() if code == channel).capitalize()
        folder = job.root / f"Video_{word}_Actor_{job.actor}" / f"Actor_{job.actor}"
        folder.mkdir(parents=True, exist_ok=True)
        for modality, bit_rate in _BIT_RATES.items():
            (folder / f"{modality}{trial[2:]}-{job.actor}.mp4").write_bytes(encode_clip(shown, "mp4", _FPS, bit_rate))
        where = {"subject": job.actor, "sequence": trial, "expression": RAVDESS_CODES[int(emotion)], "frames": len(shown)}
        rows.append({**where, "level": LEVELS[peak], **drawn[peak].factors})
    return rows
