"""CREMA-D and RAVDESS: their traps, one by one, on clips of a few grey frames; and synthetic trees from end to end."""

import csv
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.datasets import crema_d, ravdess
from fer_data.datasets.published import load_facts
from fer_data.errors import DatasetError
from fer_data.files import sha256_of_bytes
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.protocol import peaks
from fer_data.records import ClipFrames, Frame, Sequence
from fer_data.store.manifest import read_manifest, read_settings
from fer_data.store.verify import verify
from fer_data.synthetic import crema_d as synthetic_crema_d
from fer_data.synthetic import ravdess as synthetic_ravdess
from fer_data.synthetic.crema_d import write_crema_d
from fer_data.synthetic.ravdess import write_ravdess
from fer_data.synthetic.traps import LFS_POINTER
from fer_data.synthetic.trees import run_jobs
from tests.few_clips import Few, publish_few
from tests.mmi_sessions import clip_bytes
from tests.trees import bytes_of

pytest.importorskip("av")

CLIP = clip_bytes(9)                  # the container is told by its bytes, whatever the name says


def tree(root, *names, data=CLIP):
    """Write a clip under each name; a name may begin with a folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def crema(root, *stems):
    return tree(root, *(f"VideoFlash/{stem}.flv" for stem in stems))


def ids(found):
    return [one.sequence_id for one in found.sequences]


def reasons(found):
    """Return (name without folder and suffix, reason, frames) of what is skipped."""
    return [(skip.source.split("/")[-1].partition(".")[0], skip.reason, skip.frames) for skip in found.skipped]


# --- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "expected"), [
    (3, (0, 1, 2)), (4, (0, 1, 3)), (5, (1, 2, 3)), (9, (2, 4, 6)), (75, (18, 37, 56)), (100, (24, 49, 75)),
])
def test_three_frames_lie_evenly_over_the_middle_half(count, expected):
    """By hand: a quarter of the way from both ends, and half-way. Seen red: the quarter rounded up, (19, 37, 55) of 75."""
    one = Sequence("crema-d", "1001", "a", "anger", ClipFrames("a.flv", count))
    assert peaks.select(one, "middle-half") == expected
    assert load_facts("crema-d").frame_rule == load_facts("ravdess").frame_rule == "middle-half"


def test_too_few_frames_are_a_reason():
    """Seen red: two of three frames the same."""
    assert peaks.select(Sequence("crema-d", "1", "a", "anger", ClipFrames("a.flv", 2)), "middle-half") == "too-few-frames"


def test_the_frames_of_a_clip_are_those_of_a_tuple():
    """Seen red: numbers from 0; a slice that is no tuple."""
    frames = ClipFrames("a.flv", 4)
    whole = tuple(Frame("a.flv", number, number - 1) for number in range(1, 5))
    assert tuple(frames) == whole and frames[1:3] == whole[1:3] and frames[-1] == whole[-1] and len(frames) == 4
    with pytest.raises(IndexError):
        frames[4]


# --- CREMA-D ----------------------------------------------------------------------------------------------------------


def test_the_published_names_are_counted_as_their_tables_are():
    """Against the counts of the database's tables. Seen red: TIE_NEU of 1002 as published; a level of each sentence."""
    names = [one.replace("/", "_").split("_") for one in crema_d.published_clips()]
    assert len(names) == len({tuple(name) for name in names}) == 7442
    assert Counter(emotion for _, _, emotion, _ in names) == {"NEU": 1087, **dict.fromkeys(("ANG", "DIS", "FEA", "HAP", "SAD"), 1271)}
    assert Counter(level for *_, level in names) == {"XX": 6077, "LO": 455, "MD": 455, "HI": 455}
    assert {sentence for _, sentence, _, level in names if level != "XX"} == {"IEO"}
    per_actor = Counter(actor for actor, *_ in names)
    assert len(per_actor) == 91 and Counter(per_actor.values()) == {82: 86, 81: 2, 76: 3}
    assert set(crema_d.BROKEN) <= set(crema_d.published_clips())
    facts = load_facts("crema-d")
    assert facts.whole["sequences"] - len(crema_d.BROKEN) == facts.sequences
    assert facts.human[1].judged == crema_d.BY_VOTE


def test_the_published_tables_say_the_same():
    """Names and votes as the database's repository has them, where they are at hand. Seen red: VoiceVote read for FaceVote."""
    reference = Path(os.environ.get("FER_REFERENCE", Path(__file__).resolve().parents[2] / "shared" / "reference"))
    tables = reference.parent / "data" / "crema-d"
    if not tables.is_dir():
        pytest.skip(f"no tables of CREMA-D at {tables}; set FER_REFERENCE to the folder next to data/crema-d")
    with (tables / "SentenceFilenames.csv").open(newline="") as file:
        names = [row["Filename"].replace("_", "/", 1) for row in csv.DictReader(file)]
    assert sorted(names) == sorted(crema_d.published_clips())
    voted = crema_d._read_votes(tables / "summaryTable.csv")
    figure = crema_d._human(False, set(names), voted)[1]
    assert figure == load_facts("crema-d").human[1] and sum(":" in letters for letters in voted.values()) == 470


def test_broken_clips_are_left_out_by_name_and_those_never_published_are_named(tmp_path):
    """They are not opened. Seen red: 1064_IEO_DIS_MD as a clip of disgust; rows about actors who are not there."""
    crema(tmp_path, "1064_IEO_DIS_HI", "1002_IEO_ANG_HI")
    tree(tmp_path, *(f"VideoFlash/{clip.replace('/', '_')}.flv" for clip in crema_d.BROKEN), data=b"not a clip")
    found = crema_d.scan(tmp_path)
    assert ids(found) == ["1002/IEO_ANG_HI", "1064/IEO_DIS_HI"]
    broken = [(clip.replace("/", "_"), "erratum", 1) for clip in crema_d.BROKEN]
    assert reasons(found) == [*broken, ("1002_TIE_NEU_XX", "erratum", 0), ("1076_ITS_NEU_XX", "erratum", 0)]
    assert [skip.detail for skip in found.skipped][:2] == ["it is a minute long and shows all expressions", "it has no duration"]


def test_a_clip_that_was_never_published_and_is_there_is_used(tmp_path):
    """Seen red: listed as never published, and used as well."""
    found = crema_d.scan(crema(tmp_path, "1002_TIE_NEU_XX"))
    assert ids(found) == ["1002/TIE_NEU_XX"] and not found.skipped
    assert "not published: 1002/TIE_NEU_XX" in found.notes


def test_git_lfs_pointers_are_named(tmp_path):
    """Some: each is a row and a note counts them. All: one sentence. Seen red: `two subjects with a labelled sequence are needed`."""
    crema(tmp_path, "1001_IEO_ANG_HI")
    tree(tmp_path, "VideoFlash/1001_DFA_SAD_XX.flv", data=LFS_POINTER)
    found = crema_d.scan(tmp_path)
    (skip,) = found.skipped
    assert (skip.reason, skip.subject, skip.sequence) == ("unreadable", "1001", "DFA_SAD_XX") and "Git LFS pointer" in skip.detail
    assert "git lfs pull" in found.notes[-1] and "1001_DFA_SAD_XX.flv" in found.notes[-1]
    assert not any("missing: 1001/DFA_SAD_XX" in note for note in found.notes)
    tree(tmp_path, "VideoFlash/1001_IEO_ANG_HI.flv", data=LFS_POINTER)
    with pytest.raises(DatasetError, match=r"2 files such as VideoFlash/1001_\w+.flv are Git LFS pointers.*run `git lfs pull`"):
        crema_d.scan(tmp_path)


def test_copies_as_mp4_are_read_with_the_sex_behind_the_name_and_next_to_the_flv_are_duplicates(tmp_path):
    """Seen red: 1001_DFA_ANG_XX_01 as no-match; the copy nearer to the root taken."""
    tree(tmp_path, "mp4/1001_DFA_ANG_XX_01.mp4", "mp4/1001_IEO_HAP_HI_02.mp4")
    assert ids(crema_d.scan(tmp_path)) == ["1001/DFA_ANG_XX", "1001/IEO_HAP_HI"]
    found = crema_d.scan(tree(tmp_path, "zz/deep/1001_DFA_ANG_XX.flv", "mp4/1001_DFA_ANG_X.mp4"))
    assert found.sequences[0].frames[0].source == "zz/deep/1001_DFA_ANG_XX.flv"
    assert {skip.source: skip.reason for skip in found.skipped} == {
        "mp4/1001_DFA_ANG_XX_01.mp4": "duplicate", "mp4/1001_DFA_ANG_X.mp4": "no-match",
    }


def votes(path, rows):
    """Write the table as it is published, with its unnamed first column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'"{number}","{name}","N","69","{vote}","66","N","65"' for number, (name, vote) in enumerate(rows.items(), 1)]
    head = '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"'
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


SEEN = {"1001_DFA_ANG_XX": "A", "1001_DFA_SAD_XX": "N", "1002_DFA_HAP_XX": "A:D", "1002_DFA_FEA_XX": "F"}


def test_labels_by_the_face_votes_without_ties(tmp_path):
    """Seen red: VoiceVote read; a tie taken for its first letter; a clip without a vote taken as intended."""
    crema(tmp_path, *SEEN, "1002_DFA_DIS_XX")
    votes(tmp_path / "processedResults" / "summaryTable.csv", SEEN)
    found = crema_d.scan(tmp_path, labels="face-vote")
    assert [(one.sequence_id, one.expression) for one in found.sequences] == [
        ("1001/DFA_ANG_XX", "anger"), ("1001/DFA_SAD_XX", "neutral"), ("1002/DFA_FEA_XX", "fear"),
    ]
    details = {skip.source.split("/")[-1]: (skip.reason, skip.detail) for skip in found.skipped if skip.frames}
    assert details["1002_DFA_HAP_XX.flv"] == ("unlabelled", "people were divided: A:D")
    assert details["1002_DFA_DIS_XX.flv"] == ("unlabelled", "summaryTable.csv has no vote for it")
    assert found.notes[-1].startswith("the labels are what most people saw")
    intended = crema_d.scan(tmp_path)
    assert "the labels are" not in intended.notes[-1]
    assert [one.expression for one in intended.sequences] == ["anger", "sadness", "disgust", "fear", "happiness"]


def test_votes_may_be_elsewhere_and_what_is_wrong_with_them_is_named(tmp_path):
    """Seen red: an empty vote as a KeyError. A broken table stops nobody who did not ask for it."""
    crema(tmp_path / "in", *SEEN)
    with pytest.raises(DatasetError, match=r"there is no summaryTable.csv below .*; give it with --votes summaryTable.csv"):
        crema_d.scan(tmp_path / "in", labels="face-vote")
    table = votes(tmp_path / "mine.csv", SEEN)
    assert len(crema_d.scan(tmp_path / "in", labels="face-vote", votes=table).sequences) == 3
    inside = votes(tmp_path / "in" / "summaryTable.csv", {**SEEN, "1001_DFA_FEA_XX": "X"})
    with pytest.raises(DatasetError, match=r"line 6 has '1001_DFA_FEA_XX' and 'X'; it must have .* letters of A, D, F, H, N, S"):
        crema_d.scan(tmp_path / "in", labels="face-vote")
    found = crema_d.scan(tmp_path / "in")
    assert len(found.sequences) == 4 and "line 6 has" in found.notes[-1] and found.human == load_facts("crema-d").human
    inside.write_text("FileName,Vote\n1001_DFA_ANG_XX,A\n")
    with pytest.raises(DatasetError, match="it must have the columns FileName and FaceVote, its columns are FileName, Vote"):
        crema_d.scan(tmp_path / "in", labels="face-vote")
    with pytest.raises(DatasetError, match="unknown rule 'voice'; choose intended or face-vote"):
        crema_d.scan(tmp_path / "in", labels="voice")


def test_what_people_reach_is_the_published_figure_and_that_of_the_clips_that_are_there(tmp_path):
    """By hand: 2 of 4 clips, the tie is wrong. Seen red: the published judgements next to synthetic people."""
    crema(tmp_path, *SEEN)
    published = load_facts("crema-d").human
    assert crema_d.scan(tmp_path).human == published
    assert [f"{100 * one.right / one.of:.1f}" for one in published] == ["57.4", "66.3"]
    votes(tmp_path / "summaryTable.csv", SEEN)
    first, second = crema_d.scan(tmp_path).human
    assert first == published[0] and (second.right, second.of) == (2, 4)
    (tmp_path / "synthetic.json").write_text("{}")
    (only,) = crema_d.scan(tmp_path).human
    assert only == second


def test_clips_are_compared_with_the_published_sha256(tmp_path):
    """Two forms of the list. Seen red: a clip that is not in the list as published; the path in the list compared, not the name."""
    root = crema(tmp_path / "in", "1001_DFA_ANG_XX", "1001_DFA_SAD_XX", "1002_DFA_FEA_XX")
    digest, other = sha256_of_bytes(CLIP), "0" * 64
    lfs = tmp_path / "lfs.txt"
    lfs.write_text(f"{digest} * VideoFlash/1001_DFA_ANG_XX.flv\n{other} - VideoFlash/1001_DFA_SAD_XX.flv\n")
    table = tmp_path / "list.csv"
    table.write_text(f"file,bytes,sha256\nVideoFlash/1001_DFA_ANG_XX.flv,9,{digest}\nx/1002_DFA_FEA_XX.flv,9,{digest.upper()}\n")
    said = [next(note for note in crema_d.scan(root, check_source=path).notes if "published ones" in note) for path in (lfs, table)]
    clips = [f"VideoFlash/{name}.flv" for name in ("1001_DFA_SAD_XX", "1002_DFA_FEA_XX")]
    assert said == [
        f"1 of 3 clips are the published ones, by the sha256 in lfs.txt; not: {clips[0]} and {clips[1]}",
        f"2 of 3 clips are the published ones, by the sha256 in list.csv; not: {clips[0]}",
    ]
    lfs.write_text("1001_DFA_ANG_XX.flv\n")
    with pytest.raises(DatasetError, match=r"comparing clips with .*: no line has a sha256 and the name of a clip; `git lfs ls-files"):
        crema_d.scan(root, check_source=lfs)


@pytest.mark.parametrize(("dataset", "words"), [
    ("crema-d", "Open Database License 1.0; .* changed versions under the same licence"),
    ("ravdess", "CC BY-NC-SA 4.0. .* not for commercial use"),
])
def test_what_may_be_passed_on_says_under_which_conditions(dataset, words):
    """Next to a folder of pictures whose licence is unknown it may not. Seen red: DO NOT PASS ON, of an open database."""
    from fer_data.share.terms import terms_of

    terms = terms_of({"dataset": dataset, "drawn": False, "backend": {"name": ""}})
    assert re.search(words, terms.warning) and "DO NOT" not in terms.warning and not terms.public
    assert "DO NOT" in terms_of({"dataset": f"{dataset}+mine", "drawn": False, "backend": {"name": ""}}).warning


# --- RAVDESS ----------------------------------------------------------------------------------------------------------


def test_the_published_trials_are_counted_as_the_text_says():
    """Seen red: a strong neutral; actor 18 singing; eight expressions in song."""
    both, video = tuple(ravdess.INTENSITIES.values()), ("02",)
    speech, song = (ravdess.published_trials((code,), video, both) for code in ("01", "02"))
    facts = load_facts("ravdess")
    assert (len(speech), len(song)) == (facts.sequences, facts.whole["sequences"] - facts.sequences) == (1440, 1012)
    assert set(Counter(one[:2] for one in speech).values()) == {60} and set(Counter(one[:2] for one in song).values()) == {44}
    assert Counter(one.split("-")[2] for one in speech) == {"01": 96, **{f"{code:02d}": 192 for code in range(2, 9)}}
    assert {one[:2] for one in speech} - {one[:2] for one in song} == {"18"}
    assert 2 * len(speech) == 2880 and 2 * len(song) == 2024


TRIALS = {
    "01-01-06-01-02-01-12": "fear", "02-01-06-01-02-01-12": "fear", "02-01-01-01-01-01-12": "neutral", "02-01-02-01-01-01-01": "calm",
    "02-01-08-02-01-01-01": "surprise", "02-02-03-01-01-01-02": "happiness",
}


@pytest.fixture
def trials(tmp_path):
    return tree(tmp_path, *(f"Actor_{name[-2:]}/{name}.mp4" for name in TRIALS))


def test_a_trial_is_taken_once_though_it_is_there_twice(trials):
    """Modality 01 and 02 show one take. Seen red: both used, two sequences of one take."""
    found = ravdess.scan(trials)
    assert ids(found) == ["01/02-01-02-01-01-01", "01/02-01-08-02-01-01", "12/02-01-01-01-01-01", "12/02-01-06-01-02-01"]
    assert {one.sequence_id: one.expression for one in found.sequences}["12/02-01-06-01-02-01"] == "fear"
    (skip,) = (skip for skip in found.skipped if skip.source.endswith("01-01-06-01-02-01-12.mp4"))
    assert (skip.reason, skip.detail) == ("other-part", "not asked for: modality 01")
    assert ids(ravdess.scan(trials, modality="with-sound")) == ["12/01-01-06-01-02-01"]
    with pytest.raises(DatasetError, match="unknown modality 'both'; choose video-only or with-sound"):
        ravdess.scan(trials, modality="both")


def test_channel_intensity_and_calm_choose_the_rest(trials):
    """Seen red: song with speech by default; the note counting calm that was left out."""
    assert ids(ravdess.scan(trials, channel="song")) == ["02/02-02-03-01-01-01"]
    assert len(ravdess.scan(trials, channel="both").sequences) == 5
    assert ids(ravdess.scan(trials, intensity="strong")) == ["01/02-01-08-02-01-01"]
    plain = ravdess.scan(trials, calm=False)
    assert "calm" not in {one.expression for one in plain.sequences}
    assert plain.notes[0] == f"3 of {1440 - 192} labelled sequences, 2 of 24 subjects"
    assert ravdess.scan(trials, channel="song", intensity="normal").notes[0] == "1 of 552 labelled sequences, 1 of 23 subjects"
    assert sum(len(one.frames) for one in plain.sequences) + sum(skip.frames for skip in plain.skipped) == 3 * 9 + 3


def test_what_is_asked_for_and_not_there_is_said(trials):
    """Seen red: `two subjects with a labelled sequence are needed`."""
    with pytest.raises(DatasetError, match=r"none of 6 clips is --channel song, --modality with-sound, --intensity both; they are song "
                                           r"video-only, speech video-only and speech with-sound"):
        ravdess.scan(trials, channel="song", modality="with-sound")


def test_names_that_are_almost_right_are_listed(tmp_path):
    """Seen red: emotion 09 as a KeyError."""
    tree(tmp_path, "02-01-06-01-02-01-12.mp4", "02-01-09-01-02-01-12.mp4", "02-01-06-01-02-01.mp4", "04-01-06-01-02-01-12.mp4")
    found = ravdess.scan(tmp_path)
    assert len(found.sequences) == 1 and Counter(skip.reason for skip in found.skipped) == {"no-match": 3}


@pytest.mark.parametrize(("name", "words"), [
    ("a/03-01-06-01-02-01-12.wav", "these are the sounds of RAVDESS alone; its clips are in the archives Video_Speech_Actor_*.zip"),
    ("AudioWAV/1001_DFA_ANG_XX.wav", "these are the sounds of CREMA-D alone; its clips are in the folder VideoFlash"),
])
def test_sounds_alone_are_named(name, words, tmp_path):
    """Seen red: `none of 1 files is`, without a cause."""
    tree(tmp_path, name)
    for scan in (crema_d.scan, ravdess.scan):
        with pytest.raises(DatasetError, match=re.escape(words)):
            scan(tmp_path)


# --- synthetic trees --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Two people of each database, as many clips as a fast test bears."""
    root = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        publish_few(patch)
        write_crema_d(root / "crema-d", subjects=2, takes=1, frames=(5, 6), traps=True)
        write_ravdess(root / "ravdess", subjects=2, frames=(5, 6), traps=True)
    return root


@pytest.mark.parametrize(("dataset", "clips", "unreadable"), [("crema-d", 10, 2), ("ravdess", 59, 1)])
def test_a_synthetic_tree_goes_through_everything(dataset, clips, unreadable, drawn, tmp_path):
    """Seen red: a stray clip that is not listed; an unread half of a clip; a run that does not say what people reach."""
    from fer_data.audit.check_split import check_split
    from fer_data.report.page import write_report
    from fer_model.config import preset
    from fer_model.data.fold import read_prepared
    from fer_model.runs.folder import RunFolder

    config = PrepareConfig(landmarks="dlib", views="virtual", folds=2)
    summary = prepare_dataset(dataset, drawn / dataset, tmp_path / "out", config)
    assert (summary.sequences, summary.subjects, summary.kept) == (clips, 2, 3 * clips)
    assert {reason: count for reason, count in summary.skipped.items() if reason in ("no-match", "duplicate", "unreadable")} == {
        "no-match": 1, "duplicate": 1, "unreadable": unreadable,
    }
    rows, settings = read_manifest(tmp_path / "out"), read_settings(tmp_path / "out")
    with (drawn / dataset / "truth.csv").open(newline="") as file:
        truth = {(row["subject"], row["sequence"]): row["expression"] for row in csv.DictReader(file)}
    assert all(truth[row.subject, row.sequence] == row.expression for row in rows.itertuples())
    assert settings["frame_rule"] == "middle-half" and settings["drawn"]
    assert ("human" in settings) == (dataset == "crema-d")
    assert verify(tmp_path / "out")[1] == []
    assert not check_split([tmp_path / "out"]).leaks
    assert write_report(tmp_path / "out").faces == 3 * clips
    prepared = read_prepared(tmp_path / "out")
    (tmp_path / "run").mkdir()
    config = preset("smoke", method="cnn")
    RunFolder(tmp_path / "run").open(config, prepared.everybody(config), prepared, None, torch.device("cpu"), "")
    content = json.loads((tmp_path / "run" / "config.json").read_bytes())
    assert content.get("human") == settings.get("human")


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_crema_d, pytest.param(write_ravdess, marks=pytest.mark.torture)])
def test_same_seed_same_bytes_whatever_the_processes(write, tmp_path, monkeypatch):
    """Of few clips a person, in the other processes too. Seen red: a generator that lives on from clip to clip."""
    for database in (synthetic_crema_d, synthetic_ravdess):
        monkeypatch.setattr(database, "run_jobs", lambda draw, *rest: run_jobs(Few(draw), *rest))
    for name, more in (("a", {"seed": 4}), ("b", {"seed": 4, "workers": 2}), ("c", {"seed": 5})):
        write(tmp_path / name, subjects=2, frames=(5, 6), **more)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != bytes_of(tmp_path / "c")


def test_what_cannot_be_drawn_is_refused(tmp_path):
    """Seen red: a folder that was made before."""
    for write, words in ((lambda: write_crema_d(tmp_path / "a", subjects=92), "1 to 91 subjects"),
                         (lambda: write_crema_d(tmp_path / "a", takes=13), "1 to 12 takes"),
                         (lambda: write_ravdess(tmp_path / "a", subjects=25), "1 to 24 subjects"),
                         (lambda: write_ravdess(tmp_path / "a", frames=(4, 9)), "at least 5 frames")):
        with pytest.raises(DatasetError, match=words):
            write()
    assert not list(tmp_path.iterdir())


def test_the_commands_hand_their_options_over(drawn, tmp_path):
    """Seen red: --no-calm that took calm alone."""
    more = ["--landmarks", "dlib", "--folds", "2", "--dry-run"]
    options = ["--no-calm", "--intensity", "strong", "--modality", "with-sound", "--frames", "middle-three"]
    done = CliRunner().invoke(main, ["prepare", "ravdess", str(drawn / "ravdess"), str(tmp_path / "out"), *more, *options])
    assert done.exit_code == 0, done.output
    assert "ravdess: 24 sequences found" in done.output and "72 faces by rule middle-three" in done.output
    table = votes(tmp_path / "mine.csv", {"1001_DFA_FEA_XX": "F", "1002_DFA_HAP_XX": "H"})
    options = ["--labels", "face-vote", "--votes", str(table)]
    done = CliRunner().invoke(main, ["prepare", "crema-d", str(drawn / "crema-d"), str(tmp_path / "out"), *more, *options])
    assert done.exit_code == 0, done.output
    assert "crema-d: 2 sequences found" in done.output
