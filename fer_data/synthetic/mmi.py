"""An MMI tree of synthetic people: real AVI clips in numbered sessions, with their XML files.

In:  a folder that is missing, empty or an earlier synthetic tree; number of subjects; seed.
Out: the tree below; counts.

    out/
      mmi-facial-expression-database_download_2012-05-06_07_08_09/Sessions/1841/     two downloads share the sessions
        session.xml, S035-004.avi, S035-004.xml, S035-004-oao_aucs.xml              720x576, 25 fps; coding for some
      truth.csv, synthetic.json

A clip goes from neutral to the peak and back. Three kinds: upright; lying on its side, never coded; dual, with the frontal
half on either side and, in the other, the same face turned away (standing still) or an empty room. In coded clips the peak lies outside the
middle, so that who takes the middle takes the wrong frames. 31 subjects give the published counts: 208 sequences.

Needs the extra [video] (PyAV). The same bytes are promised for one version of PyAV: encoders change.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_data.datasets.published import load_facts
from fer_data.errors import DatasetError
from fer_data.labels import MMI_CODES
from fer_data.pictures.video import require_av
from fer_data.synthetic import traps as trap_files
from fer_data.synthetic.clips import encode_clip
from fer_data.synthetic.scene import Nuisance
from fer_data.synthetic.sequences import Drawn, draw_sequence, rise_and_fall
from fer_data.synthetic.trees import Progress, Written, finish_tree, new_tree, require_seed, run_jobs, silent

__all__ = ["SIZE", "MAX_SUBJECTS", "PlannedClip", "plan_mmi", "write_mmi"]

SIZE = (720, 576)                     # width, height of a frame as stored
MAX_SUBJECTS = 54                     # S054 is the last posed one
DOWNLOADS = tuple(f"mmi-facial-expression-database_download_2012-05-{day:02d}_07_08_09" for day in (6, 7))
_LAYOUT = 2                           # of the keys of random numbers; 1 is CK+
_KINDS = {"upright": 0.55, "sideways": 0.2, "dual": 0.25}            # kind of clip -> share
_CODED = 0.5                          # share of upright and dual clips that have a coding
_CODES = {name: code for code, name in MMI_CODES.items()}


@dataclass(frozen=True)
class PlannedClip:
    """One clip to be drawn."""

    index: int                        # of the person
    subject: int                      # number in the file name
    clip: int
    session: int
    download: int                     # 0 or 1
    expression: str
    kind: str                         # of _KINDS
    frames: int
    coding: tuple[int, int, int, int]            # onset, apex, offset, end; frame numbers from 1
    coded: bool                       # whether the coding is written
    frontal: str                      # dual: left or right
    turned: bool                      # dual: the other half shows the face turned away; or an empty room

    @property
    def stem(self) -> str:
        return f"S{self.subject:03d}-{self.clip:03d}"

    @property
    def intensities(self) -> list[float]:
        return rise_and_fall(*self.coding, self.frames)


def plan_mmi(subjects: int, seed: int, frames: tuple[int, int] = (12, 16)) -> tuple[PlannedClip, ...]:
    """Return which clips there are, decided without drawing anything; the counts of 31 subjects are the published ones.

    Raises DatasetError for numbers that cannot be planned.
    """
    facts = load_facts("mmi")
    if not 1 <= subjects <= MAX_SUBJECTS or not 11 <= frames[0] <= frames[1] <= 200:
        allowed = f"1 to {MAX_SUBJECTS} subjects and clips of 11 to 200 frames"
        raise DatasetError(f"drawing MMI: choose {allowed}, not {subjects} and {frames}")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_LAYOUT,)))
    shown = [name for name, count in facts.expressions.items() for _ in range(max(1, round(count * subjects / facts.subjects)))]
    owners = sorted([*range(subjects), *rng.integers(0, subjects, max(0, len(shown) - subjects)).tolist()])[: len(shown)]
    names = sorted(rng.choice(np.arange(1, MAX_SUBJECTS + 1), subjects, replace=False).tolist())
    sessions = rng.choice(np.arange(1, 2100), len(shown), replace=False).tolist()
    taken: Counter = Counter()
    clips = []
    for owner, expression, session in zip(owners, rng.permutation(shown).tolist(), sessions, strict=True):
        taken[owner] += 1 + int(rng.random() < 0.1)  # numbers have gaps
        clips.append(_plan_clip(owner, names[owner], taken[owner], session, expression, frames, rng))
    return tuple(clips)


def write_mmi(
    out: Path,
    subjects: int = 31,
    seed: int = 0,
    frames: tuple[int, int] = (12, 16),
    traps: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Written:
    """Draw people and write them as an MMI tree; return what was written.

    subjects, frames  see plan_mmi
    traps             also write what adapters must not fall into (_traps)
    workers           processes; they change nothing but the time
    Raises DatasetError for numbers that cannot be drawn, if `out` holds anything but an earlier synthetic tree, or if PyAV is
    missing.
    """
    require_av()
    require_seed(seed)
    plan = plan_mmi(subjects, seed, frames)
    with new_tree(out) as part:
        jobs = [_Job(part, one, seed) for one in plan]
        rows = [row for own in run_jobs(_write_session, jobs, workers, progress) for row in own]
        written = {
            "subjects": len({one.subject for one in plan}), "sequences": len(plan), "frames": len(rows),
            "traps": _traps(part, plan) if traps else 0,
        }
        finish_tree(part, "mmi", {"subjects": subjects, "seed": seed, "frames": list(frames), "traps": traps}, written, rows)
    return Written(out, written)


class _Job(NamedTuple):
    root: Path
    clip: PlannedClip
    seed: int


def _plan_clip(owner, subject, number, session, expression, frames, rng) -> PlannedClip:
    """Return one clip; in coded ones the apex is in the last third, in others round the middle."""
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    coded = kind != "sideways" and bool(rng.random() < _CODED)
    length = int(rng.integers(frames[0], frames[1] + 1))
    apex = length - 5 if coded else length // 2 - 1
    coding = (apex - 3, apex, apex + 3, apex + 5) if coded else (apex - 3, apex, apex + 5, apex + 6)
    frontal, turned = str(rng.choice(["left", "right"])), bool(rng.random() < 0.5)
    return PlannedClip(owner, subject, number, session, int(rng.integers(0, 2)), expression, kind, length, coding, coded, frontal, turned)


def _write_session(job: _Job) -> list[dict]:
    """Draw and write one session; return its rows of truth.csv."""
    one = job.clip
    folder = job.root / DOWNLOADS[one.download] / "Sessions" / str(one.session)
    folder.mkdir(parents=True)
    drawn = list(_draw(job.seed, one))
    (folder / f"{one.stem}.avi").write_bytes(encode_clip(_stored(job.seed, one, drawn), "avi"))
    for name, text in _xml(one).items():
        (folder / name).write_text(text, encoding="utf-8")
    where = {"subject": f"S{one.subject:03d}", "sequence": f"{one.clip:03d}", "expression": one.expression, "kind": one.kind,
             "frontal": one.frontal if one.kind == "dual" else "", "coded": int(one.coded), "session": one.session}
    return [{**where, "frame": number, **frame.factors} for number, frame in enumerate(drawn, start=1)]


def _draw(seed: int, one: PlannedClip, adapt=lambda scene: scene):
    """Yield the frames of a clip as somebody in front of the camera sees them, before they are stored."""
    width, height = {"upright": SIZE, "sideways": SIZE[::-1], "dual": (SIZE[0] // 2, SIZE[1])}[one.kind]
    key = (one.index, _LAYOUT, one.clip)

    def centred(scene: Nuisance) -> Nuisance:
        return adapt(replace(scene, shift_x=scene.shift_x / 4) if width < height else scene)

    return draw_sequence(seed, "mmi", key, one.expression, one.intensities, (width, height), grain=False, adapt=centred)


def _stored(seed: int, one: PlannedClip, drawn: list[Drawn]) -> list[np.ndarray]:
    """Return the frames as they are stored: as drawn, turned by 90 degrees, or two halves next to each other."""
    pictures = [frame.picture for frame in drawn]
    if one.kind == "upright":
        return pictures
    if one.kind == "sideways":
        return [np.ascontiguousarray(np.rot90(picture)) for picture in pictures]  # counter-clockwise
    other = np.repeat(pictures[0][:, :1], pictures[0].shape[1], 1)  # the wall behind
    if one.turned:
        yaw_deg = 45.0 if one.frontal == "left" else -45.0
        other = next(_draw(seed, one, lambda scene: replace(scene, yaw_deg=yaw_deg))).picture  # one for all: it stands still
    return [np.hstack([picture, other] if one.frontal == "left" else [other, picture]) for picture in pictures]


def _xml(one: PlannedClip) -> dict[str, str]:
    """Return file name -> content of the XML files of a session."""
    view = "2" if one.kind == "dual" else "0"
    names = [f"{one.stem}.xml", *([f"{one.stem}-oao_aucs.xml"] if one.coded else [])]
    listed = "".join(f'<annotation filename="{name}"/>' for name in names)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    session = f'<session sessionId="{one.session}"><track type="Video" filename="{one.stem}.avi" view="{view}">{listed}</track></session>\n'
    tags = {"Subject": one.subject, "Emotion": _CODES[one.expression]}
    label = "".join(f'<Metatag Name="{name}" Value="{value}"/>' for name, value in tags.items())
    files = {"session.xml": head + session, names[0]: f"{head}<Root>{label}</Root>\n"}
    if one.coded:
        onset, apex, offset, end = one.coding
        units = {"12": (onset, apex, offset, end), "25": (onset + 1, apex, offset, end), "45": (1, 2, 3, 4)}  # a blink, too
        coding = "".join(_unit(number, markers) for number, markers in units.items())
        files[names[1]] = f"{head}<ActionUnitCoding>{coding}</ActionUnitCoding>\n"
    return files


def _unit(number: str, markers: tuple[int, int, int, int]) -> str:
    kinds = [(1, 0), *zip(markers, (1, 2, 3, 0), strict=True)]
    inner = "".join(f'<Marker Frame="{frame}" Type="{kind}"/>' for frame, kind in kinds)
    return f'<ActionUnit Number="{number}">{inner}</ActionUnit>'


def _traps(root: Path, plan: tuple[PlannedClip, ...]) -> int:
    """Add sessions that are not to be used, each for another reason; return how many files that were.

    The sessions 3001 to 3009 repeat the first upright clip with: another posed state (code 7), no emotion, a
    profile view, an emotion that is no number, half a file, a Git LFS pointer, no session.xml, the same clip again, a coding
    that is not XML. Session 3010 holds a still image, 3011 nothing.
    """
    first = next((one for one in plan if one.kind == "upright"), plan[0])
    source = root / DOWNLOADS[first.download] / "Sessions" / str(first.session) / f"{first.stem}.avi"
    data, sessions, count = source.read_bytes(), root / DOWNLOADS[1] / "Sessions", 0
    for number in range(3001, 3010):
        one = replace(first, session=number, clip=900 + number - 3000, kind="upright", coded=number == 3009)
        one = first if number == 3008 else one
        files = {f"{one.stem}.avi": data, **{name: text.encode() for name, text in _xml(one).items()}}
        _spoil(number, files, one, first)
        folder = sessions / str(number)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        count += len(files)
    (sessions / "3010").mkdir()
    (sessions / "3010" / f"S{first.subject:03d}-001.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (sessions / "3011").mkdir()
    return count + 1 + trap_files.leave_litter(root, [source.parent])


def _spoil(number: int, files: dict[str, bytes], one: PlannedClip, first: PlannedClip) -> None:
    """Change the files of one of the sessions of _traps."""
    label, clip, code = f"{one.stem}.xml", f"{one.stem}.avi", str(_CODES[first.expression]).encode()
    emotion = b'Name="Emotion" Value="' + code + b'"'
    if number == 3001:
        files[label] = files[label].replace(emotion, b'Name="Emotion" Value="7"')
    elif number == 3002:
        files[label] = files[label].replace(b"<Metatag " + emotion + b"/>", b"")
    elif number == 3003:
        files["session.xml"] = files["session.xml"].replace(b'view="0"', b'view="1"')
    elif number == 3004:
        files[label] = files[label].replace(emotion, b'Name="Emotion" Value="happy"')
    elif number == 3005:
        files[clip] = files[clip][: len(files[clip]) // 2]
    elif number == 3006:
        files[clip] = trap_files.LFS_POINTER
    elif number == 3007:
        del files["session.xml"]
    elif number == 3009:
        files[f"{one.stem}-oao_aucs.xml"] = b"<ActionUnitCoding><ActionUnit"
