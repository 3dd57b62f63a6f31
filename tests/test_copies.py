"""Of several copies of one picture or clip the first that can be used is taken, in every database; each other one has its row."""

import io

import numpy as np
import pytest

from fer_data.datasets.adapters import ADAPTERS
from fer_data.synthetic.traps import LFS_POINTER
from tests.mmi_sessions import clip_bytes, write_session

CLIP = clip_bytes(9)



def label_file(code):
    """Return the bytes of a file such as 0_exp.npy."""
    file = io.BytesIO()
    np.save(file, np.array(code))
    return file.getvalue()


# database -> (places of the frames of one sequence, that of the preferred copy of one first; other files that it needs)
PICTURES = {
    "ck+": (["S005/001/S005_001_00000003.png", "aside/S005_001_00000003.png", "more/aside/S005_001_00000003.png"],
            {"Emotion/S005_001_00000003_emotion.txt": b"3"}),
    "ck48": (["anger/S010_004_00000017.png", "anger/S010_004_00000017.jpg", "more/anger/S010_004_00000017.png"], {}),
    "oulu": ([f"{above}VL/Strong/P001/Anger/000.jpeg" for above in ("", "a/", "a/b/")], {}),
    "bu4dfe": ([f"{above}F001/Angry/000.jpg" for above in ("", "a/", "a/b/")], {}),
    "jaffe": (["KA.AN1.39.tiff", "a/KA.AN1.39.tiff", "KA.AN1.39.png"], {}),
    "affectnet": ([f"{above}Manually_Annotated_Images/689/x.jpg" for above in ("", "a/", "a/b/")],
                  {"Manually_Annotated_file_lists/training.csv": b"689/x.jpg,1,1,20,20,,3,0,0\n"}),
    "affectnet, numbered": ([f"{above}train_set/images/0.jpg" for above in ("", "a/", "a/b/")],
                            {f"{above}train_set/annotations/0_exp.npy": label_file(3) for above in ("", "a/", "a/b/")}),
    "expw": ([f"{above}image/origin/x.jpg" for above in ("", "a/", "a/b/")], {"label/label.lst": b"x.jpg 0 1 1 20 20 90 3\n"}),
    "sfew": ([f"{above}Train_Aligned_Faces/Angry/x.png" for above in ("", "a/", "a/b/")], {}),
}


def write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def sources(found):
    return [frame.source for one in found.sequences for frame in one.frames]


def dropped(found):
    """Return source -> (reason, detail) of what stands for a frame."""
    return {skip.source: (skip.reason, skip.detail) for skip in found.skipped if skip.frames}


@pytest.mark.parametrize("broken", ["empty", "pointer", "dead link"])
@pytest.mark.parametrize("dataset", PICTURES)
def test_a_picture_is_taken_from_the_copy_that_holds_one(dataset, broken, tmp_path):
    """The first of three copies holds nothing. Seen red, each: it was taken, and the whole ones were its duplicates."""
    (first, *others), more = PICTURES[dataset]
    write(tmp_path, {first: LFS_POINTER if broken == "pointer" else b"", **dict.fromkeys(others, b"a picture"), **more})
    if broken == "dead link":
        (tmp_path / first).unlink()
        (tmp_path / first).symlink_to("nowhere.png")
    found = ADAPTERS[dataset.partition(",")[0]](tmp_path)
    assert sources(found) == [others[0]]
    assert dropped(found) == dict.fromkeys([first, others[1]], ("duplicate", f"taken from {others[0]}"))


@pytest.mark.parametrize("dataset", PICTURES)
def test_of_whole_copies_and_of_broken_ones_the_first_is_taken(dataset, tmp_path):
    """Seen red: the last that holds something; none of three empty ones."""
    places, more = PICTURES[dataset]
    for data in (b"a picture", b""):
        found = ADAPTERS[dataset.partition(",")[0]](write(tmp_path, {**dict.fromkeys(places, data), **more}))
        assert sources(found) == places[:1] and set(dropped(found)) == {*places[1:]}


@pytest.mark.parametrize(("dataset", "names"), [
    ("crema-d", ["VideoFlash/1001_DFA_ANG_XX.flv", "mp4/1001_DFA_ANG_XX.mp4", "z/mp4/1001_DFA_ANG_XX.mp4"]),
    ("ravdess", [f"{above}02-01-05-01-01-01-12.mp4" for above in ("", "a/", "a/b/")]),
    ("adfes", [f"{above}F01-Anger-Face Forward.mpeg" for above in ("", "a/", "a/b/")]),
])
def test_a_clip_is_taken_from_the_copy_that_can_be_stepped_through(dataset, names, tmp_path):
    """Seen red: `1 file such as VideoFlash/1001_DFA_ANG_XX.flv are Git LFS pointers`, no clip; the whole copy was its duplicate."""
    write(tmp_path, {names[0]: LFS_POINTER, names[1]: CLIP, names[2]: CLIP})
    found = ADAPTERS[dataset](tmp_path)
    assert {*sources(found)} == {names[1]} and len(found.sequences) == 1
    said = dropped(found)
    assert said[names[0]][0] == "unreadable" and "Git LFS pointer" in said[names[0]][1]
    assert said[names[2]] == ("duplicate", f"taken from {names[1]}") and len(said) == 2


def test_an_mmi_clip_is_taken_from_the_session_where_it_is_whole(tmp_path):
    """With what the XML of that session says. Seen red: the sequence was lost, for the clip of the first session is cut short."""
    write_session(tmp_path / "Sessions", 1, 5, 1, emotion=4, data=CLIP[: len(CLIP) // 2])
    write_session(tmp_path / "Sessions", 2, 5, 1, emotion=4, view="2")
    write_session(tmp_path / "Sessions", 3, 5, 1, emotion=4)
    found = ADAPTERS["mmi"](tmp_path)
    (one,) = found.sequences
    assert one.frames.source == "Sessions/2/S005-001.avi" and one.framings == ("left", "right")
    assert {source: reason for source, (reason, _) in dropped(found).items()} == {
        "Sessions/1/S005-001.avi": "unreadable", "Sessions/3/S005-001.avi": "duplicate",
    }
