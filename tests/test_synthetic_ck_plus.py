"""The CK+ tree of synthetic people: counts, formats, equal bytes, litter, refusals."""

import csv
import errno
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_data.datasets.tree import is_drawn, walk
from fer_data.errors import BusyError, DatasetError, StorageError
from fer_data.synthetic import VERSION, ck_plus, person_of, plan_ck_plus, trees, write_ck_plus
from fer_data.synthetic.litter import APPLE_DOUBLE_MAGIC
from fer_data.synthetic.plan import MAX_SUBJECTS, subject_name

# Lucey et al. 2010 and the read-me of CK+, counted over the real label files.
REAL_CLASSES = {"anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83}
REAL_LABELLED_PER_SUBJECT = {0: 5, 1: 21, 2: 22, 3: 47, 4: 20, 5: 7, 6: 1}
CODES = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happiness", 6: "sadness", 7: "surprise"}


def labels_of(subject) -> list[str]:
    return [sequence.expression for sequence in subject.sequences if sequence.expression]


def digest(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "ck"
    written = write_ck_plus(root, subjects=3, seed=4, frames=(3, 4))
    return root, written.counts


@pytest.fixture
def blank(monkeypatch):
    """Pictures without people, for tests about files alone."""
    monkeypatch.setattr(ck_plus, "draw_face", lambda *_, rng: (np.full((490, 640), rng.integers(256), np.uint8), np.ones((68, 2))))


# ---- the plan


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_with_123_subjects_the_totals_are_those_of_the_real_database(seed):
    """Broken once by rounding 593 / 123 first: 615 sequences."""
    plan = plan_ck_plus(123, seed)
    every = [sequence for subject in plan for sequence in subject.sequences]
    shown = [sequence for sequence in every if sequence.expression]
    assert (len(plan), len(every), len(shown)) == (123, 593, 327)
    assert Counter(sequence.expression for sequence in shown) == REAL_CLASSES
    assert Counter(len(labels_of(subject)) for subject in plan) == REAL_LABELLED_PER_SUBJECT
    assert sum(min(3, sequence.frames) for sequence in shown) == 981
    assert Counter(sequence.emotion_folder for sequence in every if not sequence.expression) == {True: 255, False: 11}


@settings(max_examples=25)
@given(st.integers(1, 130), st.integers(0, 2**32))
@example(130, 0)  # 59 * 125 / 118 is 62.5 exactly: rounding a rounded share gave 63
def test_every_plan_is_sound(subjects, seed):
    """Broken once by exchanging classes that both show: some were lost."""
    plan = plan_ck_plus(subjects, seed)
    names = [subject.subject for subject in plan]
    assert names == sorted(set(names)) == [subject_name(k) for k in range(subjects)]
    for subject in plan:
        own, numbers = labels_of(subject), [sequence.sequence for sequence in subject.sequences]
        assert len(own) == len(set(own)) and len(subject.sequences) >= 1
        assert numbers == sorted(set(numbers)) and all(len(number) == 3 for number in numbers)
        assert all(sequence.emotion_folder or not sequence.expression for sequence in subject.sequences)
        assert len({sequence.stream for sequence in subject.sequences}) == len(subject.sequences)
    shown = Counter(name for subject in plan for name in labels_of(subject))
    labelled = sum(bool(labels_of(subject)) for subject in plan)
    assert labelled == max(1, round(subjects * 118 / 123))
    floor = max(1, round(labelled / 4)) if labelled < 118 else 0
    assert shown == {name: min(max(round(count * labelled / 118), floor), labelled) for name, count in REAL_CLASSES.items()}


def test_a_demo_has_about_three_labels_each_and_no_class_vanishes():
    """Broken once without the floor for rare classes: 9 of 58 people showed contempt."""
    plan = plan_ck_plus(60, 0)
    counts = Counter(name for subject in plan for name in labels_of(subject))
    labelled = sum(bool(labels_of(subject)) for subject in plan)
    assert labelled == 58 and len(plan) == 60
    assert 2.5 <= sum(counts.values()) / labelled <= 3.5
    assert min(counts.values()) >= labelled // 4


def test_labelled_subjects_can_be_chosen():
    """Broken once by ignoring the argument: 19 instead of 1."""
    for labelled in (1, 10, 20):
        assert sum(bool(labels_of(subject)) for subject in plan_ck_plus(20, 0, labelled=labelled)) == labelled


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": 0}, "choose 1 to 585 subjects, not 0"),
        ({"subjects": MAX_SUBJECTS + 1}, "choose 1 to 585 subjects, not 586"),
        ({"subjects": 5, "frames": (2, 5)}, "at least 3 frames.*got 2 to 5"),
        ({"subjects": 5, "frames": (6, 5)}, "shortest before longest; got 6 to 5"),
        ({"subjects": 5, "labelled": 6}, "choose 1 to 5 labelled subjects, not 6"),
        ({"subjects": 5, "seed": -1}, "a seed is a whole number from 0 on, got -1"),
        ({"subjects": 5, "workers": 0}, "at least 1 worker is needed, not 0"),
    ],
)
def test_what_cannot_be_planned_is_refused_before_anything_is_written(tmp_path, arguments, message):
    """Broken once by making the folder before the checks: it stayed behind."""
    with pytest.raises(DatasetError, match=message):
        write_ck_plus(tmp_path / "out", **{"seed": 0, **arguments})
    assert not list(tmp_path.iterdir())


def test_names_reach_three_digits_at_most():
    """Broken once with a limit of 600: S1020."""
    assert subject_name(0) == "S005" and subject_name(MAX_SUBJECTS - 1) <= "S999" and len(subject_name(MAX_SUBJECTS - 1)) == 4


# ---- the tree


def test_the_tree_is_laid_out_like_ck_plus(tree):
    """Broken once by 7 digits in a frame's number: S005_001_0000001.png."""
    root, counts = tree
    assert sorted(path.name for path in root.iterdir()) == ["Emotion", "Landmarks", "cohn-kanade-images", "synthetic.json", "truth.csv"]
    planned = {(subject.subject, sequence.sequence): sequence for subject in plan_ck_plus(3, 4, (3, 4)) for sequence in subject.sequences}
    images = sorted((root / "cohn-kanade-images").rglob("*.*"))
    assert len(images) == counts["frames"] == sum(sequence.frames for sequence in planned.values())
    for path in images:
        subject, sequence, number = path.stem.split("_")
        assert path.relative_to(root) == Path("cohn-kanade-images", subject, sequence, f"{subject}_{sequence}_{int(number):08d}.png")
        assert 1 <= int(number) <= planned[subject, sequence].frames
        landmarks = root / "Landmarks" / subject / sequence / f"{path.stem}_landmarks.txt"
        assert landmarks.is_file()
    assert len(list((root / "Landmarks").rglob("*.txt"))) == len(images)


def test_pictures_are_grey_640_by_490(tree):
    """Broken once by writing colour: 3 channels."""
    root, _ = tree
    paths = sorted((root / "cohn-kanade-images").rglob("*.png"))[:5]
    assert len(paths) == 5
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (490, 640) and picture.dtype == np.uint8 and picture.std() > 10


def test_emotion_files_are_read_back_by_numpy(tree):
    """Broken once by naming the file after frame 1 of 4: 1 instead of 4."""
    root, counts = tree
    found = {}
    for path in sorted((root / "Emotion").rglob("*_emotion.txt")):
        subject, sequence, number, _ = path.stem.split("_")
        assert path.parent == root / "Emotion" / subject / sequence
        assert int(number) == len(list((root / "cohn-kanade-images" / subject / sequence).iterdir()))
        text = path.read_text()
        assert text == f"   {int(np.loadtxt(path))}.0000000e+00\n"
        found[subject, sequence] = CODES[int(np.loadtxt(path))]
    expected = {(s.subject, q.sequence): q.expression for s in plan_ck_plus(3, 4, (3, 4)) for q in s.sequences if q.expression}
    assert found == expected
    assert Counter(found.values()) == counts["expressions"] and len(found) == counts["labelled_sequences"]


def test_unlabelled_sequences_have_an_empty_folder_or_none(tree):
    """Broken once by making every folder: none was missing."""
    root, counts = tree
    bare = [path for path in (root / "Emotion").glob("S*/*") if not list(path.iterdir())]
    drawn = (root / "cohn-kanade-images").glob("S*/*")
    missing = [path for path in drawn if not (root / "Emotion" / path.parent.name / path.name).exists()]
    assert bare and missing
    assert len(bare) + len(missing) == counts["sequences"] - counts["labelled_sequences"]


def test_landmark_files_hold_the_true_points(tree):
    """Broken once by (y, x): the jaw's end lay right of the eye."""
    root, _ = tree
    files = sorted((root / "Landmarks").rglob("*.txt"))[::7]
    assert len(files) > 3
    for path in files:
        lines = path.read_text().splitlines()
        assert len(lines) == 68 and all(line.startswith("   ") and len(line.split("   ")) == 3 for line in lines)
        points = np.loadtxt(path)
        assert points.shape == (68, 2)
        assert points[8, 1] > points[57, 1] > points[33, 1] > points[27, 1] and points[0, 0] < points[36, 0] < points[45, 0] < points[16, 0]
    subject = plan_ck_plus(3, 4, (3, 4))[0]
    sequence = subject.sequences[0]
    path = root / "Landmarks" / subject.subject / sequence.sequence / f"{subject.subject}_{sequence.sequence}_00000002_landmarks.txt"
    _, _, points = next(ck_plus.frames_of(4, subject, sequence, only=(1,)))
    np.testing.assert_allclose(np.loadtxt(path), points, rtol=1e-7)


def test_truth_tells_every_factor_of_every_frame(tree):
    """Broken once by an intensity of 1 in each row: frame 1 was not at 0."""
    root, counts = tree
    with open(root / "truth.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == counts["frames"]
    wanted = {"subject", "sequence", "frame", "label", "expression", "intensity", "action_units"}
    wanted |= {"glasses", "yaw_deg", "scale", "light_x", "grain"}
    assert wanted <= set(rows[0])
    by_sequence = {}
    for row in rows:
        by_sequence.setdefault((row["subject"], row["sequence"]), []).append(row)
    for frames in by_sequence.values():
        assert [int(row["frame"]) for row in frames] == list(range(1, len(frames) + 1))
        intensity = [float(row["intensity"]) for row in frames]
        assert intensity[0] == 0 or len(frames) == 3
        assert intensity == sorted(intensity) and intensity[-3] >= 0.84 * intensity[-1]
        assert len({row["background"] for row in frames}) == 1
        if frames[0]["label"]:
            assert frames[0]["label"] == frames[0]["expression"] and intensity[-1] >= 0.8
    person = person_of(4, 0)
    first = rows[0]
    assert (first["glasses"], first["hair_style"], first["skin"]) == (person.glasses, person.hair_style, " ".join(map(str, person.skin)))


def test_the_marker_names_generator_version_settings_and_counts(tree):
    """Broken once by leaving out the seed: the settings differed."""
    root, counts = tree
    marker = json.loads((root / "synthetic.json").read_text())
    assert marker["version"] == VERSION and marker["layout"] == "ck+"
    assert marker["settings"] == {"subjects": 3, "labelled": None, "frames": [3, 4], "seed": 4, "litter": False}
    assert marker["counts"] == counts and marker["counts"]["subjects"] == 3


# ---- equal bytes


def test_same_seed_same_bytes_for_any_number_of_workers_and_any_place(tree, tmp_path):
    """Broken once by one generator for all sequences: with two workers other pictures."""
    root, counts = tree
    again = write_ck_plus(tmp_path / "elsewhere" / "again", subjects=3, seed=4, frames=(3, 4), workers=2)
    assert again.counts == counts
    assert digest(tmp_path / "elsewhere" / "again") == digest(root)
    other = plan_ck_plus(3, 5, (3, 4))
    assert person_of(4, 0) != person_of(5, 0) and other != plan_ck_plus(3, 4, (3, 4))


def test_a_person_does_not_depend_on_how_many_are_drawn(tree, tmp_path, blank):
    """Broken once by adding the number of subjects to the seed: another skin, and glasses."""
    root, _ = tree
    write_ck_plus(tmp_path / "one", subjects=1, seed=4, frames=(3, 3))

    def look(path):
        with open(path / "truth.csv", newline="", encoding="utf-8") as file:
            row = next(row for row in csv.DictReader(file) if row["subject"] == "S005")
        return {key: row[key] for key in ("skin", "hair", "hair_style", "glasses", "nose_width_sd", "strength", "beard")}

    assert look(tmp_path / "one") == look(root)


# ---- what is already there


def test_litter_is_added_and_changes_nothing_else(tree, tmp_path):
    """Broken once by a magic of 00051600: the first bytes differed."""
    root, _ = tree
    out = tmp_path / "litter"
    written = write_ck_plus(out, subjects=3, seed=4, frames=(3, 4), litter=True)
    clean, dirty = digest(root), digest(out)
    added = set(dirty) - set(clean)
    assert len(added) == written.counts["litter"]
    assert {name: value for name, value in dirty.items() if name in clean and name != "synthetic.json"} == {
        name: value for name, value in clean.items() if name != "synthetic.json"
    }
    twins = [name for name in added if Path(name).name.startswith("._") and name.endswith(".png")]
    assert twins and all((out / name).read_bytes()[:4] == APPLE_DOUBLE_MAGIC == b"\x00\x05\x16\x07" for name in twins)
    assert all((out / name).with_name(Path(name).name[2:]).is_file() for name in twins)
    kinds = {Path(name).name for name in added}
    assert {".DS_Store", "Thumbs.db"} <= kinds and any(name.startswith("__MACOSX/") for name in added)
    assert any(name.endswith("_emotion.txt") for name in added)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path, blank):
    """Broken once by looking for the marker alone: nothing was raised."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"new, empty or hold an earlier synthetic tree .*holds notes\.txt"):
        write_ck_plus(tmp_path, subjects=1)
    write_ck_plus(tmp_path / "ck", subjects=1, frames=(3, 3), litter=True)
    (tmp_path / "ck" / "zebra.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"holds zebra\.txt"):
        write_ck_plus(tmp_path / "ck", subjects=1)
    assert (tmp_path / "ck" / "zebra.txt").read_text() == "mine" and (tmp_path / "notes.txt").read_text() == "mine"


def small_tree(out: Path, *names: str) -> None:
    """Write a tree of a few bytes."""
    with trees.new_tree(out) as part:
        for name in names:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_text(name)
        trees.finish_tree(part, "ck+", {}, {"subjects": 1}, [{"subject": "S005"}])


@pytest.mark.parametrize("during", [False, True], ids=["before", "while it draws"])
@pytest.mark.parametrize("mine", ["S005/mine.png", "S999/001/mine.png", "S999/"])
def test_a_file_of_somebody_else_is_found_at_any_depth(tmp_path, mine, during):
    """Seen red with a look at the top alone: DID NOT RAISE, S999 was gone; and with no second look before the tree takes its place."""
    out = tmp_path / "out"
    small_tree(out, "images/S005/1.png")

    def put():
        path = out / "images" / mine
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if mine.endswith("/") else path.write_text("mine")

    if not during:
        put()
    words = rf"{out} holds an earlier synthetic tree and images/{mine.partition('/')[0]}\S*, which is not of it and would be lost"
    with pytest.raises(DatasetError, match=words), trees.new_tree(out) as part:
        put()
        trees.finish_tree(part, "ck+", {}, {}, [{"subject": "S005"}])
    assert (out / "images" / mine).exists() and (out / "images" / "S005" / "1.png").is_file()
    assert sorted(path.name for path in out.iterdir()) == ["images", "synthetic.json", "truth.csv"]


def test_a_tree_that_does_not_say_what_is_its_own_is_left_alone(tmp_path):
    """Trees of earlier versions named the top alone. Seen red with these names taken for all of it: DID NOT RAISE."""
    small_tree(tmp_path / "out", "images/S005/1.png")
    marker = json.loads((tmp_path / "out" / "synthetic.json").read_text())
    del marker["paths"]
    (tmp_path / "out" / "synthetic.json").write_text(json.dumps({**marker, "top_level": ["images", "synthetic.json", "truth.csv"]}))
    before = digest(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"of an earlier version and does not say which files are its own.*remove the folder yourself"):
        small_tree(tmp_path / "out", "images/S005/2.png")
    assert digest(tmp_path / "out") == before


@pytest.mark.parametrize("earlier", [False, True])
def test_two_cannot_write_one_tree_at_once(tmp_path, earlier):
    """Seen red without the lock: DID NOT RAISE, and the second had removed what the first had drawn."""
    out = tmp_path / "out"
    if earlier:
        small_tree(out, "images/S005/1.png")
    with trees.new_tree(out) as part:
        (part / "2.png").write_text("2")
        with pytest.raises(BusyError, match=f"into {out}: another process is writing there; wait for it, or choose another folder"):
            small_tree(out, "3.png")
        trees.finish_tree(part, "ck+", {}, {}, [{"subject": "S005"}])
    assert sorted(digest(out)) == ["2.png", "synthetic.json", "truth.csv"]


def test_the_folder_itself_stays(tmp_path, monkeypatch):
    """A shell stands in it, or a disk is mounted on it. Seen red with the folder replaced: the shell saw nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("1.png", "2.png"):
        small_tree(Path(), name)
        assert sorted(path.name for path in Path().iterdir()) == [name, "synthetic.json", "truth.csv"]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(("earlier", "step"), [*((False, step) for step in (1, 2, 3)), *((True, step) for step in range(1, 7))])
def test_a_tree_that_takes_its_place_is_never_half_there(tmp_path, monkeypatch, earlier, step, killed):
    """Interrupted in the moves, the earlier tree is back; killed, all that is there counts as synthetic, and the next run succeeds.

    Seen red without the way back; with the marker moved in last: is_drawn was False; with the hidden folder among walk's files.
    """
    out, rename, calls = tmp_path / "out", Path.rename, []
    if earlier:
        small_tree(out, "images/S005/1.png")
    before = digest(out)

    def stops(path, target):
        if target.name in ("images", "synthetic.json", "truth.csv", "people"):
            calls.append(path)
            if len(calls) == step or (killed and len(calls) > step):
                raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stops)
        if killed:
            patched.setattr(trees.shutil, "rmtree", lambda path: None)
        with pytest.raises(KeyboardInterrupt):
            small_tree(out, "people/S010/1.png")
    if killed:
        assert is_drawn(out) or [path.name for path in out.iterdir()] == [".synthetic.part"]
        assert not [path for path in walk(out)[0] if path.startswith(".synthetic.part")]
    else:
        assert digest(out) == before
    small_tree(out, "people/S010/1.png")
    assert sorted(digest(out)) == ["people/S010/1.png", "synthetic.json", "truth.csv"]


@pytest.mark.parametrize("marker", [
    "", "[]", "{}", '{"generator": "something else"}', "{",
    *(json.dumps({"generator": trees._GENERATOR, "paths": odd}) for odd in (3, [["a"]])),
])
def test_a_real_looking_tree_without_our_marker_is_refused(tmp_path, marker):
    """Broken once by accepting any synthetic.json: nothing was raised."""
    (tmp_path / "cohn-kanade-images" / "S005").mkdir(parents=True)
    (tmp_path / "synthetic.json").write_text(marker)
    with pytest.raises(DatasetError, match="earlier synthetic tree"):
        write_ck_plus(tmp_path, subjects=1)
    assert (tmp_path / "cohn-kanade-images" / "S005").is_dir()


def test_a_file_in_the_way_is_refused(tmp_path):
    """Broken once without the check: NotADirectoryError."""
    (tmp_path / "out").write_text("")
    with pytest.raises(DatasetError, match="must be a folder"):
        write_ck_plus(tmp_path / "out", subjects=1)


def test_an_earlier_tree_is_replaced_whole(tmp_path, blank):
    """Broken once by writing over it: frames of the longer sequences and litter stayed."""
    write_ck_plus(tmp_path / "out", subjects=1, seed=1, frames=(5, 5), litter=True)
    write_ck_plus(tmp_path / "out", subjects=1, seed=1, frames=(3, 3))
    write_ck_plus(tmp_path / "fresh", subjects=1, seed=1, frames=(3, 3))
    assert digest(tmp_path / "out") == digest(tmp_path / "fresh")


def test_a_failure_leaves_the_earlier_tree_and_no_traces(tmp_path, monkeypatch, blank):
    """Broken once without the clean-up: .out.synthetic.part stayed. Seen red: "[Errno 28] No space left on device" alone."""
    out = tmp_path / "out"
    write_ck_plus(out, subjects=1, seed=1, frames=(3, 3))
    before = digest(out)
    monkeypatch.setattr(ck_plus, "write_png", lambda path, picture: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(StorageError, match=r"writing \S*/out: No space left on device; free some space, then run the same command again"):
        write_ck_plus(out, subjects=2, seed=1)
    assert digest(out) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_a_full_size_tree_has_every_file_of_the_real_one(tmp_path):
    """Seen red with 592 sequences in the plan."""
    counts = write_ck_plus(tmp_path / "ck", subjects=123, seed=0, frames=(3, 4), workers=2).counts
    assert [counts[name] for name in ("subjects", "labelled_subjects", "sequences", "labelled_sequences")] == [123, 118, 593, 327]
    assert counts["expressions"] == REAL_CLASSES
    labels = sorted((tmp_path / "ck" / "Emotion").rglob("*_emotion.txt"))
    assert Counter(CODES[int(np.loadtxt(path))] for path in labels) == REAL_CLASSES
    images = tmp_path / "ck" / "cohn-kanade-images"
    assert len(list(images.iterdir())) == 123 and len(list(images.glob("*/*"))) == 593
    assert sum(len(sorted((images / p.parent.parent.name / p.parent.name).iterdir())[-3:]) for p in labels) == 981
    assert len(list((tmp_path / "ck" / "Emotion").glob("*/*"))) == 593 - 11
