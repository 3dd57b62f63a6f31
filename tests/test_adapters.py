"""One contract for every adapter: sorted, litter pruned, nothing lost, nothing guessed, wrong trees named."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.fer_data import main
from fer_data.datasets.adapters import ADAPTERS
from fer_data.datasets.ck_plus import read_emotion
from fer_data.datasets.folder import pattern_to_regex
from fer_data.datasets.oulu_casia import part_of
from fer_data.errors import DatasetError, FerError
from fer_data.labels import EXPRESSIONS
from fer_data.records import NOT_SELECTED, UNUSABLE
from fer_data.text import natural_key

PATTERN = "{subject}/{sequence}-{expression}/{frame}.png"
OPTIONS = {"folder": {"pattern": PATTERN, "name": "folder"}}
LITTER = (".DS_Store", "Thumbs.db", "__MACOSX/x/._S005_001_00000001.png", "@eaDir/a.png")


def write(root, names, content=b"x"):
    """Write files below `root`; the content of the last word of a CK+ label file is its code."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name) if callable(content) else content)
    return root


def ck_plus_tree(root):
    for subject, number, code, last in (("S010", "002", 7, 14), ("S005", "001", 3, 11), ("S010", "004", 1, 9), ("S999", "010", None, 5)):
        stem = f"{subject}/{number}/{subject}_{number}"
        write(root, [f"cohn-kanade-images/{stem}_{frame:08d}.png" for frame in range(1, last + 1)])
        (root / f"Emotion/{subject}/{number}").mkdir(parents=True)
        if code:
            write(root, [f"Emotion/{stem}_{last:08d}_emotion.txt"], f"   {code:.7e}\n".encode())
    return ["S005/001 disgust 11", "S010/002 surprise 14", "S010/004 anger 9", "S999/010 None 5"]


def ck48_tree(root):
    write(root, [f"CK+48/anger/S010_004_{frame:08d}.png" for frame in (17, 18, 19)])
    write(root, [f"CK+48/surprise/S010_002_{frame:08d}.png" for frame in (12, 13, 14)])
    write(root, [f"CK+48/contempt/S501_009_{frame:08d}.png" for frame in (9, 10, 11)])
    return ["S010/002 surprise 3", "S010/004 anger 3", "S501/009 contempt 3"]


def oulu_tree(root):
    for part in ("OriginalImg/VL/Strong", "OriginalImg/VL/Dark", "OriginalImg/NI/Strong"):
        for subject, word, frames in (("P010", "Anger", 12), ("P009", "Surprise", 4), ("P009", "Happiness", 11)):
            write(root, [f"B_OriginalImg/{part}/{subject}/{word}/{frame:03d}.jpeg" for frame in range(frames)])
    return ["P009/VL-Strong-Happiness happiness 11", "P009/VL-Strong-Surprise surprise 4", "P010/VL-Strong-Anger anger 12"]


def bu4dfe_tree(root):
    for subject, word, frames in (("M001", "Sad", 12), ("F002", "Angry", 4), ("F010", "Fear", 3)):
        write(root, [f"{subject}/{word}/{frame:03d}{end}" for frame in range(frames) for end in (".jpg", ".wrl")])
    write(root, ["BU_WrlViewer_V2/viewer.exe", "BU4DFE_BND_V1.1/F001/Angry/000.bnd", "readme.txt"])
    return ["F002/Angry anger 4", "F010/Fear fear 3", "M001/Sad sadness 12"]


def mmi_tree(root):
    from tests.mmi_sessions import write_session

    for session, subject, clip, code in ((1841, 35, 4, 4), (79, 1, 100, 1), (501, 35, 10, 6), (2, 1, 2, None)):
        write_session(root / "download/Sessions", session, subject, clip, emotion=code, frames=9)
    return ["S001/100 anger 9", "S035/004 happiness 9", "S035/010 surprise 9"]


def crema_d_tree(root):
    from tests.mmi_sessions import clip_bytes

    names = {"1010_IEO_HAP_LO": 9, "1001_DFA_ANG_XX": 11, "1001_IEO_HAP_HI": 5}
    write(root, [f"VideoFlash/{name}.flv" for name in names], lambda path: clip_bytes(names[path[11:-4]]))
    write(root, ["AudioWAV/1001_DFA_ANG_XX.wav", "AudioMP3/1001_DFA_ANG_XX.mp3", "SentenceFilenames.csv"])
    return ["1001/DFA_ANG_XX anger 11", "1001/IEO_HAP_HI happiness 5", "1010/IEO_HAP_LO happiness 9"]


def ravdess_tree(root):
    from tests.mmi_sessions import clip_bytes

    names = {"02-01-02-01-01-01-10": 9, "02-01-08-02-01-01-02": 11, "01-01-08-02-01-01-02": 11, "02-02-03-01-01-01-02": 5}
    write(root, [f"Video_Actor/Actor_{name[-2:]}/{name}.mp4" for name in names], lambda path: clip_bytes(names[path[21:-4]]))
    write(root, ["Audio/Actor_02/03-01-08-02-01-01-02.wav"])
    return ["02/02-01-08-02-01-01 surprise 11", "10/02-01-02-01-01-01 calm 9"]


def folder_tree(root):
    write(root, ["p10/1-happy/3.png", "p9/2-sad/10.png", "p9/2-sad/9.png", "p9/1-neutral/1.png"])
    return ["p9/1 neutral 1", "p9/2 sadness 2", "p10/1 happiness 1"]


def jaffe_tree(root):
    write(root, ["jaffe/KA.AN1.39.tiff", "jaffe/KA.HA2.30.tiff", "jaffe/NA.SU1.208.tiff"])
    return ["KA/KA.AN1.39 anger 1", "KA/KA.HA2.30 happiness 1", "NA/NA.SU1.208 surprise 1"]


def kdef_tree(root):
    write(root, [f"KDEF/{stem[:4]}/{stem}.JPG" for stem in ("AF01AFS", "BF01AFS", "AF01AFHL", "AM02SUS")])
    return ["F01/AF01AFS fear 1", "F01/BF01AFS fear 1", "M02/AM02SUS surprise 1"]


def rafd_tree(root):
    names = ("090_28_Caucasian_male_angry_frontal", "090_28_Caucasian_male_angry_left", "000_28_Caucasian_male_angry_frontal",
             "090_05_Kid_female_contemptuous_frontal")
    write(root, [f"Rafd{name}.jpg" for name in names])
    return ["05/Rafd090_05_Kid_female_contemptuous_frontal contempt 1", "28/Rafd090_28_Caucasian_male_angry_frontal anger 1"]


def faces_tree(root):
    write(root, ["bilder/004_o_m_a_a.jpg", "bilder/010_y_f_f_b.jpg", "bilder/140_m_m_s_a.jpg"])
    return ["004/004_o_m_a_a anger 1", "010/010_y_f_f_b fear 1", "140/140_m_m_s_a sadness 1"]


def adfes_tree(root):
    from fer_data.synthetic.clips import encode_clip

    for name in ("F01-Anger-Face Forward", "F01-Pride-Face Forward", "M12-Sad-Face Forward", "M12-Sad-Turn Away"):
        write(root, [f"{name}.mpeg"], encode_clip([np.full((48, 64, 3), 10 * shade, np.uint8) for shade in range(9)], "mpeg"))
    return ["F01/F01-Anger-Face Forward anger 9", "M12/M12-Sad-Face Forward sadness 9"]


def mug_tree(root):
    write(root, [f"subjects3/010/anger/take000/img_{frame:04d}.jpg" for frame in (2, 3, 4)])
    write(root, [f"subjects3/009/session1/fear/take001/img_{frame:04d}.jpg" for frame in (0, 1)])
    write(root, ["subjects3/009/neutral/img_0000.jpg"])
    return ["009/neutral neutral 1", "009/session1-fear-take001 fear 2", "010/anger-take000 anger 3"]


def wsefep_tree(root):
    write(root, ["AD_7885.jpg", "MK_1.jpg", "MK1_2.jpg"])
    (root.parent / "norms.csv").write_text("Displayer ID,Picture ID,Display\nAD,AD_7885,joy\nMK,MK_1,fear\nMK1,MK1_2,neutral\n")
    OPTIONS["wsefep"] = {"labels": root.parent / "norms.csv"}
    return ["AD/AD_7885 happiness 1", "MK/MK_1 fear 1", "MK1/MK1_2 neutral 1"]


def rafdb_tree(root):
    write(root, ["basic/EmoLabel/list_patition_label.txt"], b"train_00010.jpg 5\ntrain_00009.jpg 6\ntest_0002.jpg 1\n")
    write(root, [f"basic/Image/aligned/{name}_aligned.jpg" for name in ("train_00010", "train_00009", "test_0002")])
    return ["test_0002 surprise 1", "train_00009 anger 1", "train_00010 sadness 1"]


def affectnet_tree(root):
    for part, number, code in (("train", 10, 6), ("train", 9, 0), ("val", 0, 7)):
        label = io.BytesIO()
        np.save(label, np.array(code))
        write(root, [f"{part}_set/annotations/{number}_exp.npy"], label.getvalue())
        write(root, [f"{part}_set/images/{number}.jpg"])
    return ["train-9 neutral 1", "train-10 anger 1", "val-0 contempt 1"]


def expw_tree(root):
    write(root, ["label/label.lst"], b"b10.jpg 0 1 2 30 40 9 3\nb9.jpg 1 1 2 30 40 9 0\nb9.jpg 0 50 2 30 90 9 6\n")
    write(root, ["image/origin/b10.jpg", "image/origin/b9.jpg"])
    return ["b9-0 neutral 1", "b9-1 anger 1", "b10-0 happiness 1"]


def sfew_tree(root):
    write(root, [f"Train/Train_Aligned_Faces/Angry/F_{number}.png" for number in (10, 9)] + ["Val/Val_Aligned_Faces/Sad/F_1.png"])
    return ["train/anger/F_9 anger 1", "train/anger/F_10 anger 1", "validation/sadness/F_1 sadness 1"]


def caer_s_tree(root):
    write(root, ["CAER-S/train/Anger/0010.png", "CAER-S/train/Anger/0009.png", "CAER-S/test/Sad/0001.png"])
    return ["test/sadness/0001 sadness 1", "train/anger/0009 anger 1", "train/anger/0010 anger 1"]


def fer2013_tree(root):
    pixels = " ".join(["7"] * 4)
    lines = ["emotion,pixels,Usage", f"4,{pixels} 1,Training", f"6,{pixels} 2,PublicTest", f"5,{pixels} 3,PrivateTest"]
    write(root, ["fer2013.csv"], "\n".join(lines).encode())
    return ["00000 sadness 1", "00001 neutral 1", "00002 surprise 1"]


TREES = {
    "ck+": ck_plus_tree, "ck48": ck48_tree, "mmi": mmi_tree, "oulu": oulu_tree, "bu4dfe": bu4dfe_tree, "jaffe": jaffe_tree,
    "kdef": kdef_tree, "rafd": rafd_tree, "faces-mpi": faces_tree, "adfes": adfes_tree, "mug": mug_tree, "wsefep": wsefep_tree,
    "crema-d": crema_d_tree, "ravdess": ravdess_tree,
    "rafdb": rafdb_tree, "affectnet": affectnet_tree, "expw": expw_tree, "sfew": sfew_tree, "caer-s": caer_s_tree,
    "folder": folder_tree, "fer2013": fer2013_tree,
}
CLIPS = ("mmi", "adfes", "crema-d", "ravdess")
# frames that a tree holds besides those of its sequences
OTHERS = {"mmi": 1, "oulu": 2 * (12 + 4 + 11), "kdef": 1, "rafd": 2, "adfes": 2, "ravdess": 2}


def scan(dataset, root):
    return ADAPTERS[dataset](root, **OPTIONS.get(dataset, {}))


def summary(sequences):
    return [f"{one.sequence_id} {one.expression} {len(one.frames)}" for one in sequences]


@pytest.fixture(params=sorted(TREES))
def tree(request, tmp_path):
    """(dataset, root, what is expected of its sequences) of a small tree of each database."""
    if request.param in CLIPS:
        pytest.importorskip("av")
    root = tmp_path / "root"
    root.mkdir()
    return request.param, root, TREES[request.param](root)


def test_every_adapter_has_a_tree_here():
    """Broken once by leaving one out: the set differed."""
    assert TREES.keys() == ADAPTERS.keys()


def test_sequences_come_sorted_by_number_and_complete(tree):
    """Broken once by sorting Oulu-CASIA by expression first, and once by leaving MMI in the order of its sessions."""
    dataset, root, expected = tree
    found = scan(dataset, root)
    assert found.dataset == dataset
    assert summary(found.sequences) == expected
    keys = [(natural_key(one.subject), natural_key(one.sequence)) for one in found.sequences]
    assert keys == sorted(keys)
    for one in found.sequences:
        assert [frame.number for frame in one.frames] == sorted({frame.number for frame in one.frames})
        assert one.expression is None or one.expression in EXPRESSIONS
        for frame in one.frames:
            assert (root / frame.source).is_file()
            assert not Path(frame.source).is_absolute()


def test_found_is_kept_and_skipped(tree):
    """Broken once by dropping the rows of parts that were not asked for: 54 of 81 frames of Oulu-CASIA were gone."""
    dataset, root, expected = tree
    found = scan(dataset, root)
    frames = sum(len(one.frames) for one in found.sequences)
    assert frames == sum(int(line.split()[-1]) for line in expected)
    assert sum(skip.frames for skip in found.skipped) == OTHERS.get(dataset, 0)
    assert {skip.reason for skip in found.skipped} <= NOT_SELECTED.keys()


def test_litter_is_pruned_and_a_stray_picture_is_listed(tree):
    """Broken once by an empty set of litter folders: __MACOSX and @eaDir came as no-match; once by not listing strays. Seen red: of a
    person who was deleted the pictures in the trash were taken."""
    dataset, root, _ = tree
    before = scan(dataset, root)
    for trash in (".Trash-1000", "#recycle", ".AppleDouble"):
        shutil.copytree(root, root / trash / "files", ignore=lambda folder, names: {".Trash-1000", "#recycle", ".AppleDouble"} & {*names})
    write(root, [*LITTER, "somewhere/IMG_0815.JPG", "notes.txt"])
    after = scan(dataset, root)
    assert after.sequences == before.sequences
    extra = set(after.skipped) - set(before.skipped)
    assert {(skip.source, skip.reason) for skip in extra} == {
        (".DS_Store", "litter"), ("Thumbs.db", "litter"), ("__MACOSX/", "litter"), ("@eaDir/", "litter"),
        (".Trash-1000/", "litter"), ("#recycle/", "litter"), (".AppleDouble/", "litter"),
        ("somewhere/IMG_0815.JPG", "no-match"),
    }
    assert sum(skip.frames for skip in extra) == 1


def test_a_second_copy_is_a_duplicate(tree, tmp_path):
    """Broken once by overwriting the earlier path: the frames came from the copy."""
    dataset, root, _ = tree
    if dataset == "folder":
        pytest.skip("a folder's pattern fits one place only")
    before = scan(dataset, root)
    shutil.copytree(root, tmp_path / "copy")
    shutil.move(tmp_path / "copy", root / "zz unzipped again (2)")
    after = scan(dataset, root)
    assert after.sequences == before.sequences
    copies = [skip for skip in after.skipped if skip.source.startswith("zz")]
    assert {skip.reason for skip in copies} >= {"duplicate"}
    assert all((root / skip.source).exists() for skip in copies)


def test_neither_the_order_of_the_disk_nor_the_place_matters(tree, tmp_path, monkeypatch):
    """Broken once by not sorting in walk: the skipped rows changed their order."""
    dataset, root, _ = tree
    write(root, [*LITTER, "somewhere/IMG_0815.JPG", "anywhere/IMG_0816.JPG"])
    before = scan(dataset, root)
    real = os.scandir

    class Backwards:
        def __init__(self, path):
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

        def __iter__(self):
            return iter(self.entries)

        def __next__(self):
            if not self.entries:
                raise StopIteration
            return self.entries.pop(0)

        def close(self):
            return None

    monkeypatch.setattr(os, "scandir", Backwards)
    assert scan(dataset, root) == before
    monkeypatch.undo()
    shutil.move(root, tmp_path / "moved")
    assert scan(dataset, tmp_path / "moved") == before


def test_every_other_tree_is_named_for_what_it_is(tree, tmp_path):
    """Broken once by leaving out the rules of MMI and of CK+: the sentence ended after the number of files."""
    dataset, root, _ = tree
    if dataset == "folder":
        pytest.skip("a folder may hold anything")
    for other in sorted(ADAPTERS.keys() - {dataset, "folder"}):
        with pytest.raises(DatasetError, match=re.escape(f"fer-data prepare {dataset}`")) as caught:
            scan(other, root)
        assert str(caught.value).startswith("looking for ")
        assert str(root) in str(caught.value)


SIGNS = {
    "unpack Emotion_labels.zip and extended-cohn-kanade-images.zip first": ["Emotion_labels.zip", "extended-cohn-kanade-images.zip"],
    "unpack 1.zip, 2.zip, 3.zip, 4.zip and 2 more first": [f"{number}.zip" for number in range(1, 7)],
    "ckextended.csv has no subject ids and cannot be split by subject": ["data/ckextended.csv"],
    "FER2013": ["fer2013.csv"],
    "MAHNOB tree": ["Sessions/75/S009-004.avi", "Sessions/75/S009-004_mic.wav"],
    "MAHNOB tree ": ["mahnob-laughter-database_download_2020/Sessions/75/S009-004.avi"],
    "landmarks of BU-4DFE alone": ["BU4DFE_BND_V1.1/F001/Angry/000.bnd"],
    "annotations of CK": ["Landmarks/S005/001/S005_001_00000001_landmarks.txt"],
    "part of an Oulu-CASIA tree": ["Somewhere/P001/Anger/000.jpeg"],
    "who is who is lost": ["sorted_set/happy/12.jpg"],
    "RAF-DB": ["basic/Image/aligned/train_00001_aligned.jpg"],
    "a folder that `fer-data prepare` wrote": ["manifest.parquet", "settings.json", "shards/00000.h5"],
    "there is no file below it": [],
}


@pytest.mark.parametrize("words", SIGNS)
@pytest.mark.parametrize("dataset", sorted(ADAPTERS.keys() - {"folder", "ck+"}))
def test_trees_that_nobody_can_use_are_named(dataset, words, tmp_path):
    """Broken once by a rule for MAHNOB that never fits: a Laughter tree was called MMI."""
    write(tmp_path, SIGNS[words])
    with pytest.raises(DatasetError, match=re.escape(words.strip())):
        scan(dataset, tmp_path)


DEEP = {
    "ck48": (ck48_tree, {"CK+48/anger": "CK+48"}, "a CK+48"),
    "oulu": (oulu_tree, dict.fromkeys(
        ("B_OriginalImg/OriginalImg/VL/Strong/P009", "B_OriginalImg/OriginalImg/VL/Strong/P009/Surprise"), "B_OriginalImg/OriginalImg",
    ), "an Oulu-CASIA"),
    "bu4dfe": (bu4dfe_tree, {"F002": ".", "M001/Sad": "."}, "a BU-4DFE"),
}


@pytest.mark.parametrize("dataset", DEEP)
def test_a_root_inside_a_tree_is_told_which_folder_to_give(dataset, tmp_path):
    """Before the names above counted: 'this is a CK+ tree; use `fer-data prepare ck+`' for CK+48/anger, no hint for the others."""
    tree, places, name = DEEP[dataset]
    expected = tree(tmp_path)
    for place, right in places.items():
        right = (tmp_path / right).resolve()
        for asked in sorted(ADAPTERS.keys() - {"folder"}):
            use = f"give the folder {right}" if asked == dataset else f"use `fer-data prepare {dataset}` with the folder {right}"
            with pytest.raises(DatasetError) as caught:
                scan(asked, tmp_path / place)
            assert str(caught.value).startswith("looking for ")
            assert str(caught.value).endswith(f"; this lies inside {name} tree: {use}")
        assert summary(scan(dataset, right).sequences) == expected


def test_one_person_of_oulu_alone_is_a_part(tmp_path):
    """Before the root's own name counted: no hint."""
    write(tmp_path / "P001", ["Anger/000.jpeg"])
    with pytest.raises(DatasetError, match=r"; this is a part of an Oulu-CASIA tree; use `fer-data prepare oulu` with the folder that "):
        scan("oulu", tmp_path / "P001")


@pytest.mark.parametrize(("name", "words"), [
    ("ckextended.csv", "ckextended.csv has no subject ids and cannot be split by subject; get the original archives of CK+, or CK+48"),
    ("fer2013.csv", "give the folder that holds it"),
    ("CK.zip", "unpack CK.zip and give the folder that holds what was in it"), ("a.png", "give the folder that holds it"),
])
def test_a_file_where_a_folder_is_wanted_is_named_for_what_it_is(name, words, tmp_path):
    """Before: the command line said "Directory 'ckextended.csv' is a file." with exit code 2."""
    write(tmp_path, [name])
    for dataset in sorted(ADAPTERS):
        more = ["--pattern", PATTERN] if dataset == "folder" else []
        done = CliRunner().invoke(main, ["prepare", dataset, str(tmp_path / name), str(tmp_path / "out"), *more])
        assert done.exit_code == 1
        assert done.output == f"Error: looking for a database: {tmp_path / name} is a file, not a folder; {words}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dataset", ["ck+", "ck48", "mmi", "oulu", "bu4dfe", "crema-d", "ravdess"])
def test_backslashes_in_names_are_named_with_what_to_do(dataset, tmp_path):
    """A zip from Windows, unpacked so that they stay. Seen red: `none of 5 files is`, without a cause."""
    TREES[dataset](tmp_path / "tree")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted((tmp_path / "tree").rglob("*.*")):
        if path.is_file():
            shutil.copy(path, flat / str(path.relative_to(tmp_path / "tree")).replace("/", "\\"))
    write(flat, ["download.zip"])
    with pytest.raises(DatasetError, match=r"names with backslashes, such as .*: the zip was made on Windows.*; unpack it again"):
        scan(dataset, flat)
    write(tmp_path / "tree", ["a\\b\\c.png"])
    (skip,) = [skip for skip in scan(dataset, tmp_path / "tree").skipped if "\\" in skip.source]
    assert skip.reason == "no-match" and "1 name with backslashes" in skip.detail


def test_labels_of_ck_plus_with_backslashes_are_named(tmp_path):
    """Seen red: `unpack Emotion_labels.zip next to them`, which had been done."""
    write(tmp_path, ["c/S005/001/S005_001_00000001.png", "Emotion\\S005\\001\\S005_001_00000001_emotion.txt"], b"3")
    with pytest.raises(DatasetError, match=r"no \*_emotion.txt file; 1 name with backslashes"):
        scan("ck+", tmp_path)


def test_a_root_that_is_no_folder_or_cannot_be_read(tmp_path):
    """Broken once by leaving out the check: the sentence was about a folder that cannot be read."""
    with pytest.raises(DatasetError, match="is not a folder"):
        scan("ck+", tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match=r"is a file, not a folder; give the folder that holds it$"):
        scan("ck+", tmp_path / "file")


def test_a_loop_of_links_ends_and_a_link_to_a_disk_is_followed(tmp_path):
    """Broken once by not remembering folders: it ended at 40 levels, with a duplicate at each; once by not following links."""
    ck48_tree(tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    found = scan("ck48", tmp_path / "root")
    assert len(found.sequences) == 3
    assert not found.skipped


def test_a_name_that_is_not_utf8_stops_nothing(tmp_path):
    """Broken once by keeping the name as it is: the manifest could not be written (UnicodeEncodeError). Seen red: a person was litter."""
    ck48_tree(tmp_path)
    for name in (b"Zo\xeb/a.png", b"Einverst\xe4ndnis.png", b"Einverst\xe4ndnis.txt"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    found = scan("ck48", tmp_path)
    expected = [("Einverst\\xe4ndnis.png", "unreadable", 1), ("Einverst\\xe4ndnis.txt", "litter", 0), ("Zo\\xeb/", "unreadable", 1)]
    assert [(skip.source, skip.reason, skip.frames) for skip in found.skipped] == expected
    assert all("a name that is not UTF-8; rename it" in skip.detail for skip in found.skipped)
    "".join(skip.source for skip in found.skipped).encode()


# --- CK+ --------------------------------------------------------------------------------------------------------------

ROOTS = [
    ("cohn-kanade-images", "Emotion"), ("extended-cohn-kanade-images/cohn-kanade-images", "Emotion_labels/Emotion"),
    ("extended-cohn-kanade-images(4)/cohn-kanade-images", "Emotion_labels(2)/Emotion"), ("source_images", "source_emotion"),
    ("images", "Emotion_labels"), ("CK+/a/b/c", "CK+/d"),
]


@pytest.mark.parametrize(("images", "emotion"), ROOTS)
def test_ck_plus_under_every_name_it_is_unpacked_to(tmp_path, images, emotion):
    """Broken once by requiring `cohn-kanade-images/` in the path: three of the six found nothing."""
    write(tmp_path, [f"{images}/S005/001/S005_001_{frame:08d}.png" for frame in (1, 2, 3)])
    write(tmp_path, [f"{emotion}/S005/001/S005_001_00000003_emotion.txt"], b"   3.0000000e+00\n")
    assert summary(scan("ck+", tmp_path).sequences) == ["S005/001 disgust 3"]


def test_ck_plus_beside_its_cropped_copy_is_read_in_full_size(tmp_path):
    """Broken once by taking what lies less deep: the peak frames were the 48x48 ones."""
    ck_plus_tree(tmp_path)
    write(tmp_path, [f"CK+48/surprise/S010_002_{frame:08d}.png" for frame in (12, 13, 14)])
    found = scan("ck+", tmp_path)
    assert all(frame.source.startswith("cohn-kanade-images") for one in found.sequences for frame in one.frames)
    assert [skip.reason for skip in found.skipped] == ["other-part"] * 3


def test_of_two_copies_of_ck_plus_the_one_in_its_own_folders_is_read(tmp_path):
    """Broken once by taking what lies less deep alone: frames 1 and 2 came from the flat copy."""
    write(tmp_path, [f"a/b/S005/001/S005_001_{frame:08d}.png" for frame in (1, 2, 3)])
    write(tmp_path, [f"flat/S005_001_{frame:08d}.png" for frame in (1, 2)])
    write(tmp_path, ["Emotion/S005_001_00000003_emotion.txt"], b"3")
    found = scan("ck+", tmp_path)
    assert [frame.source.split("/")[0] for frame in found.sequences[0].frames] == ["a", "a", "a"]
    assert [skip.reason for skip in found.skipped] == ["duplicate", "duplicate"]


def test_ck_plus_labels_without_pictures_and_pictures_without_labels(tmp_path):
    """Broken once by taking both for an unknown tree: no word of what to unpack."""
    write(tmp_path / "a", ["c/S005/001/S005_001_00000001.png"])
    with pytest.raises(DatasetError, match=r"no \*_emotion.txt file; unpack Emotion_labels.zip next to them and give the folder that "):
        scan("ck+", tmp_path / "a")
    write(tmp_path / "a", ["Emotion_labels.zip"])
    with pytest.raises(DatasetError, match=r"no \*_emotion.txt file; unpack Emotion_labels.zip first"):
        scan("ck+", tmp_path / "a")
    write(tmp_path / "b", ["E/S005_001_00000001_emotion.txt"], b"3")
    with pytest.raises(DatasetError, match=r"labels \(1\), but no picture; unpack extended-cohn-kanade-images.zip"):
        scan("ck+", tmp_path / "b")


def test_a_ck_plus_label_that_cannot_be_read_costs_its_sequence_only(tmp_path):
    """Broken once by taking it for unlabelled: the reason was lost."""
    ck_plus_tree(tmp_path)
    (tmp_path / "Emotion/S005/001/S005_001_00000011_emotion.txt").write_bytes(b"\xff\xfe3")
    found = scan("ck+", tmp_path)
    assert len(found.sequences) == 3
    assert [(skip.reason, skip.subject, skip.frames) for skip in found.skipped] == [("bad-label", "S005", 11)]
    write(tmp_path, ["Emotion (2)/S005/001/S005_001_00000011_emotion.txt"], b"3.0")
    found = scan("ck+", tmp_path)
    assert len(found.sequences) == 4
    assert [(skip.reason, skip.subject, skip.frames) for skip in found.skipped] == [("bad-label", "S005", 0)]
    write(tmp_path, ["Emotion (3)/S005/001/S005_001_00000011_emotion.txt"], b"4.0")
    with pytest.raises(DatasetError, match=r"S005/001 must have one label, got 3 in .* and 4 in"):
        scan("ck+", tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
def test_a_ck_plus_label_saved_again_in_another_encoding_is_read(tmp_path, encoding):
    """Seen red: UTF-16 and a Latin-1 blank that does not break were `'utf-8' codec can't decode byte`, a bad label."""
    ck_plus_tree(tmp_path)
    (tmp_path / "Emotion/S005/001/S005_001_00000011_emotion.txt").write_bytes("\u00a0  3.0000000e+00\r\n".encode(encoding))
    found = scan("ck+", tmp_path)
    assert summary(found.sequences)[0] == "S005/001 disgust 11" and found.skipped == ()


@pytest.mark.parametrize(("data", "words"), [(b"", "it is empty"), (b"PK\x03\x04", "it is an Excel or z"), (b"7.5", "'7.5' in Emot")])
def test_a_ck_plus_label_that_holds_no_code_says_why(tmp_path, data, words):
    """Seen red: without the reader's own error in the net the whole scan ended."""
    ck_plus_tree(tmp_path)
    (tmp_path / "Emotion/S005/001/S005_001_00000011_emotion.txt").write_bytes(data)
    (skip,) = scan("ck+", tmp_path).skipped
    assert skip.reason == "bad-label" and "Emotion/S005/001/S005_001_00000011_emotion.txt" in skip.detail and words in skip.detail


def test_ck_plus_labels_under_a_changed_name_are_named_and_not_used(tmp_path):
    """Seen red: without the note S005 was unlabelled without a word; without `unlabelled` S010's copy was named as well."""
    ck_plus_tree(tmp_path)
    labels = sorted((tmp_path / "Emotion").rglob("*.txt"))
    shutil.copy(labels[1], f"{labels[1]}.txt")                           # its sequence has a label
    labels[0].rename(labels[0].with_name("S005_001_00000011_emotion (1).txt"))
    found = scan("ck+", tmp_path)
    assert "S005/001 None 11" in summary(found.sequences)
    (note,) = [note for note in found.notes if "rename" in note]
    assert note == (
        "1 file not named as a label is, and not read: Emotion/S005/001/S005_001_00000011_emotion (1).txt;"
        " if they are labels, rename each to end in _emotion.txt: without one its sequence counts as unlabelled"
    )
    write(tmp_path, [f"images/S{one:03d}/001/S{one:03d}_001_00000001.png" for one in range(50, 60)])
    write(tmp_path, [f"images/S{one:03d}/001/S{one:03d}_001_00000001_emotion.txt.txt" for one in range(50, 60)], b"3")
    assert any(note.startswith("11 files ") and "00000001_emotion.txt.txt and 8 more; " in note for note in scan("ck+", tmp_path).notes)
    for label in labels[1:]:
        label.unlink()
    with pytest.raises(DatasetError, match=r"no \*_emotion.txt file; 12 files not named as a label is.* rename each"):
        scan("ck+", tmp_path)


@pytest.mark.parametrize("text", ["   3.0000000e+00", "3", "3.0", "3.00000000e + 00", "\ufeff3\r\n", "\t3.0\r\n\r\n"])
def test_ck_plus_labels_in_every_writing_seen(text):
    """Broken once by not stripping inner blanks: '3.00000000e + 00' was refused."""
    assert read_emotion(text, "a.txt") == 3


@settings(max_examples=300)
@given(st.one_of(st.text(), st.from_regex(re.compile(r"\s*[-+]?[0-9]*\.?[0-9]*(e[-+]?[0-9]{1,3})?\s*", re.ASCII), fullmatch=True)))
def test_only_our_own_error_leaves_the_label_parser(text):
    """Broken once by catching ValueError alone: inf raised OverflowError."""
    try:
        assert 0 <= read_emotion(text, "a.txt") <= 7
    except DatasetError as error:
        assert "a.txt" in str(error)


# --- CK+48 ------------------------------------------------------------------------------------------------------------


def test_ck48_takes_a_png_before_its_jpeg(tmp_path):
    """Seen red: the JPEG, by its name: one class was lossy and the others were not."""
    write(tmp_path, [f"anger/S010_004_{frame:08d}.{kind}" for frame in (17, 18) for kind in ("jpg", "png")])
    found = scan("ck48", tmp_path)
    assert [frame.source for frame in found.sequences[0].frames] == [f"anger/S010_004_{frame:08d}.png" for frame in (17, 18)]
    assert [skip.reason for skip in found.skipped] == ["duplicate", "duplicate"]


def test_ck48_in_folders_of_numbers_is_told_to_name_them(tmp_path):
    """Seen red: called a CK+ tree, whose command then asked for the emotion files of the original."""
    write(tmp_path, ["0/S010_004_00000017.png", "6/S011_001_00000003.png"])
    with pytest.raises(DatasetError, match=r"this is CK\+48 in folders that are numbers, and which expression a number stands for differs"):
        scan("ck48", tmp_path)


def test_ck48_pictures_of_one_sequence_in_two_folders_are_not_guessed(tmp_path):
    """Broken once by taking the first folder: S010/004 was anger."""
    ck48_tree(tmp_path)
    write(tmp_path, ["CK+48/fear/S010_004_00000018.png"])
    found = scan("ck48", tmp_path)
    assert summary(found.sequences) == ["S010/002 surprise 3", "S501/009 contempt 3"]
    assert [skip.reason for skip in found.skipped] == ["bad-label"] * 4
    assert found.skipped[0].detail == "pictures of S010/004 are in folders of anger and fear"


# --- Oulu-CASIA -------------------------------------------------------------------------------------------------------

OULU_ROOTS = [
    "B_OriginalImg/OriginalImg/VL/Strong", "B_OriginalImg/B_OriginalImg/OriginalImg/VL/Strong", "B_OriginalImg/VL/Strong",
    "PreProcessImg/VL_Acropped/Strong", "PreProcess_Img/VL_Acropped/Strong", "PreProcess/VL_Acropped/Strong",
    "Oulu_CASIA_NIR_VIS/VL/Strong", "VL/Strong", "oulu/vl/STRONG",
]


@pytest.mark.parametrize("place", OULU_ROOTS)
def test_oulu_under_every_name_it_is_unpacked_to(tmp_path, place):
    """From above, from VL and from VL/Strong. Broken once by requiring OriginalImg in the path: six of nine found nothing."""
    write(tmp_path / "root", [f"{place}/P001/Anger/{frame:03d}.jpeg" for frame in range(4)])
    sequence = f"VL{'_Acropped' if 'PreProcess' in place else ''}-Strong-Anger"
    for root in (tmp_path / "root", tmp_path / "root" / place, (tmp_path / "root" / place).parent):
        assert summary(scan("oulu", root).sequences) == [f"P001/{sequence} anger 4"]


def test_oulu_parts_are_chosen_and_the_others_are_one_row_a_sequence(tmp_path):
    """Broken once by ignoring --light: VL/Strong came for dark."""
    oulu_tree(tmp_path)
    found = ADAPTERS["oulu"](tmp_path, light="dark")
    assert found.sequences[0].sequence_id == "P009/VL-Dark-Happiness"
    assert [(skip.subject, skip.sequence, skip.frames, skip.detail) for skip in found.skipped[:2]] == [
        ("P009", "NI-Strong-Happiness", 11, "NI/Strong (original)"), ("P009", "NI-Strong-Surprise", 4, "NI/Strong (original)"),
    ]
    assert len(found.skipped) == 6 and all(part_of(skip.sequence) == skip.detail for skip in found.skipped)
    with pytest.raises(DatasetError, match=r"NI/Weak of the original or cropped tree is not there; there is NI/Strong \(original\), "):
        ADAPTERS["oulu"](tmp_path, light="weak", spectrum="nir")
    with pytest.raises(DatasetError, match="unknown light 'bright'; choose strong, weak or dark"):
        ADAPTERS["oulu"](tmp_path, light="bright")


def test_the_original_pictures_of_oulu_are_preferred_and_it_is_said(tmp_path):
    """Broken once by the order cropped, original: the cropped came."""
    write(tmp_path, [f"OriginalImg/VL/Strong/P001/Anger/{frame:03d}.jpeg" for frame in range(4)])
    write(tmp_path, [f"PreProcessImg/VL_Acropped/Strong/P001/Anger/{frame:03d}.jpeg" for frame in range(4)])
    found = scan("oulu", tmp_path)
    assert summary(found.sequences) == ["P001/VL-Strong-Anger anger 4"]
    assert "both trees are there; VL/Strong (original) was taken, VL/Strong (cropped) was not" in found.notes
    cropped = ADAPTERS["oulu"](tmp_path, tree="cropped")
    assert summary(cropped.sequences) == ["P001/VL_Acropped-Strong-Anger anger 4"]
    assert sum(skip.frames for skip in cropped.skipped) == 4
    assert (part_of("VL_Acropped-Strong-Anger"), part_of("VL-Strong-Anger"), part_of("001")) == (
        "VL/Strong (cropped)", "VL/Strong (original)", "",
    )


# --- BU-4DFE ----------------------------------------------------------------------------------------------------------


def test_only_people_are_subjects_of_bu4dfe(tmp_path):
    """Broken once by `.*` for the subject: the viewer was one."""
    bu4dfe_tree(tmp_path)
    write(tmp_path, ["BU_WrlViewer_V2/Angry/000.jpg", "F1234/Angry/000.jpg"])
    found = scan("bu4dfe", tmp_path)
    assert {one.subject for one in found.sequences} == {"F002", "F010", "M001"}
    assert [(skip.source, skip.reason) for skip in found.skipped] == [
        ("BU_WrlViewer_V2/Angry/000.jpg", "other-part"), ("F1234/Angry/000.jpg", "no-match"),
    ]


# --- the counts that were published -----------------------------------------------------------------------------------


def test_what_is_missing_is_named(tmp_path):
    """Broken once by comparing sequences with subjects: '480 of 80'."""
    words = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
    ids = [(f"P{number:03d}", word) for number in range(1, 81) for word in words]
    gone = {("P012", "Fear"), *(("P080", word) for word in words)}
    write(tmp_path, [f"VL/Strong/{subject}/{word}/000.jpeg" for subject, word in ids if (subject, word) not in gone])
    notes = scan("oulu", tmp_path).notes
    assert notes[0] == "473 of 480 labelled sequences, 79 of 80 subjects in VL/Strong (original)"
    assert notes[1] == "missing: P012/VL-Strong-Fear, P080 (all 6)"
    write(tmp_path, [f"VL/Strong/{subject}/{word}/000.jpeg" for subject, word in gone] + ["VL/Strong/P081/Fear/000.jpeg"])
    notes = scan("oulu", tmp_path).notes
    assert notes == ("481 of 480 labelled sequences, 81 of 80 subjects in VL/Strong (original)", "not published: P081/VL-Strong-Fear")


def test_ck_plus_counts_are_compared_by_expression_and_subjects_by_name(tmp_path):
    """Broken once by leaving out expressions of which nothing is there: contempt was not named."""
    ck_plus_tree(tmp_path)
    counts, whole, missing, unlabelled = scan("ck+", tmp_path).notes
    assert counts.startswith("3 of 327 labelled sequences, 2 of 118 subjects; anger 1 of 45, contempt 0 of 18, disgust 1 of 59, ")
    assert whole == "labelled or not: 4 of 593 sequences, 3 of 123 subjects"
    assert missing.startswith("subjects missing: S011, S014, S022, ")
    assert missing.endswith(" and 103 more")
    assert unlabelled.startswith("subjects with pictures and no label: S")          # seen red: they were missing, and downloaded again


# --- folder -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "value", "words"), [
    ("frame", "x", "'x' is no whole number"), ("frame", "-1", "'-1' is no"), ("frame", "\u0663", "is no whole number"),
    ("subject", "a/b", "contains a '/'"), ("subject", " ", "names nobody"), ("expression", "bored", "unknown expression 'bored'"),
])
def test_a_row_of_an_index_that_says_nothing_is_listed(tmp_path, column, value, words):
    """Broken once by allowing any frame: int('x') raised ValueError; once by any subject: the manifest refused 'a/b'."""
    row = {"path": "a.png", "subject": "s", "expression": "happy", "frame": "7"} | {column: value}
    good = {**row, "path": "b.png", "subject": "t", "expression": "sad", "frame": "8"}
    lines = [",".join(row), *(",".join(one.values()) for one in (row, good))]
    write(tmp_path, ["a.png", "b.png"])
    (tmp_path / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    found = ADAPTERS["folder"](tmp_path, index=tmp_path / "index.csv")
    assert summary(found.sequences) == ["t/b sadness 1"]
    (skip,) = found.skipped
    assert (skip.source, skip.reason) == ("a.png", "bad-label")
    assert words in skip.detail


@settings(max_examples=300)
@given(st.text(alphabet="{}:*/._-19a%\n([+?\\" + "subjectxprnfqm", max_size=60), st.text(max_size=40))
def test_only_our_own_error_leaves_the_pattern_parser(text, path):
    """Broken once by not escaping what lies between the fields: re.error."""
    for pattern in (text, "{subject}" + text + "{expression}"):
        try:
            match = pattern_to_regex(pattern).fullmatch(path)
        except DatasetError:
            continue
        assert match is None or {"subject", "expression"} <= match.groupdict().keys()


@settings(max_examples=80)
@given(st.binary(max_size=300))
def test_only_our_own_error_leaves_the_index_parser(tmp_path_factory, data):
    """Broken once by catching pandas' ParserError alone: an empty file raised EmptyDataError."""
    root = tmp_path_factory.getbasetemp() / "indexed"
    write(root, ["a.png"])
    index = root / "index.csv"
    for content in (data, b"path,subject,expression\na.png," + data, b"path,subject,expression,frame\na.png,s,happy," + data):
        index.write_bytes(content)
        try:
            found = ADAPTERS["folder"](root, index=index)
        except FerError:
            continue
        for one in found.sequences:
            assert "/" not in one.subject
        assert {skip.reason for skip in found.skipped} <= NOT_SELECTED.keys() | UNUSABLE.keys()


GOOD = (
    "VL/Strong/P001/Anger/000.jpeg", "F001/Angry/000.jpg", "CK+48/anger/S005_001_00000003.png", "c/S005/001/S005_001_00000003.png",
    "E/S005/001/S005_001_00000003_emotion.txt", "Sessions/1/S001-001.avi", "Sessions/1/S001-001.xml", "p1/1-happy/3.png", "x.csv",
)
CHANGES = (
    str, str.lower, str.upper, lambda name: name.replace("1", "\u0661"), lambda name: name.replace("S", "\u017f"),
    lambda name: name.replace("0", ""), lambda name: "again/" + name, lambda name: name + "x", lambda name: name.replace("3", "4"),
)
NAMES = st.lists(
    st.one_of(
        st.builds(lambda name, change: change(name), st.sampled_from(GOOD), st.sampled_from(CHANGES)),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
    ),
    max_size=8,
)


@settings(max_examples=120)
@given(NAMES)
def test_whatever_the_files_are_called_only_our_own_error_leaves_an_adapter(tmp_path_factory, names):
    """Broken once by looking up a folder's word without lower(), and a label's code without a check: KeyError both times."""
    root = tmp_path_factory.mktemp("names")
    for name in names:
        path = root / name.strip("/").replace("..", "-")
        if len(path.name.encode()) < 200 and path != root and not any(parent.is_file() for parent in path.parents) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"3")
    for dataset in ADAPTERS:
        try:
            found = scan(dataset, root)
        except FerError as error:
            assert str(error)
            continue
        assert len({(one.subject, one.sequence, one.expression) for one in found.sequences}) == len(found.sequences)
    shutil.rmtree(root)
