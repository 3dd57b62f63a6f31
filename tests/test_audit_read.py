"""Splits as people keep them: every form gives the same folds; what cannot be known is said. tests/mutate.py breaks it and expects red."""

import contextlib
import json
import string
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fer_data.audit.forms import SUFFIXES, Tree, rows_of_file
from fer_data.audit.leaks import audit
from fer_data.audit.places import SIDES, fold_of, side_of
from fer_data.audit.read import read_split
from fer_data.audit.subject_names import NAMES, Identity, pattern_rule, recognise
from fer_data.errors import FerError, SplitError

# Three people, two folds; S011 leaks from fold 1 into fold 2.
TESTED = {
    "1": ["anger/S010_004_00000017.png", "anger/S010_004_00000018.png", "fear/S011_003_00000012.png"],
    "2": ["anger/S011_004_00000019.png", "fear/S014_003_00000028.png"],
}
LEAKED = {"1": 1, "2": 1}


def trained(fold):
    return [name for other, names in TESTED.items() if other != fold for name in names]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_lists(folder):
    for fold in TESTED:
        write(folder, f"train_{fold}.txt", "\n".join(trained(fold)))
        write(folder, f"test_{fold}.txt", "# tested\n\n" + "\r\n".join(TESTED[fold]) + "\r\n")
    return sorted(folder.iterdir())


def as_lists_in_folders(folder):
    for fold in TESTED:
        write(folder, f"fold_{fold}/train.lst", "\n".join(f"./{name} 3" for name in trained(fold)))
        write(folder, f"fold_{fold}/test.lst", "\n".join(f'"{name}"\t3' for name in TESTED[fold]))
    return sorted(folder.rglob("*.lst"))


def as_id_files(folder):
    """Like FMPN-FER: bare names, a CSV without a header."""
    for fold in TESTED:
        write(folder, f"train_ids_{fold}.csv", "\n".join(name.split("/")[1] for name in trained(fold)))
        write(folder, f"test_ids_{fold}.csv", "\n".join(name.split("/")[1] for name in TESTED[fold]))
    return sorted(folder.iterdir())


def as_test_lists_alone(folder):
    return [write(folder, f"test_fold{fold}.txt", "\n".join(names)) for fold, names in TESTED.items()]


def as_fold_column(folder):
    lines = [f"{number},{name},{fold}.0" for fold, names in TESTED.items() for number, name in enumerate(names)]
    return [write(folder, "train_folds.csv", "\ufeff,Image_ID,kFold\n" + "\n".join(lines))]


def as_split_column(folder):
    lines = [f"{fold};Training;{name}" for fold in TESTED for name in trained(fold)]
    lines += [f"{fold};PrivateTest;{name}" for fold in TESTED for name in TESTED[fold]]
    return [write(folder, "split.csv", ("Fold;Usage;File Name\n" + "\n".join(lines)).replace("/", "\\"))]


def as_columns_without_paths(folder):
    lines = [f"{name[6:10] if name[0] == 'a' else name[5:9]}\t{name[-16:-13]}\t{name[-12:-4]}\t{name.split('/')[0]}\t{fold}"
             for fold, names in TESTED.items() for name in names]
    return [write(folder, "table.tsv", "Subject ID\tsequence\tframe\tEmotion\tfold\n" + "\n".join(lines))]


def as_parquet(folder):
    rows = [(f"ck+/{name}", recognise(name).subject, int(fold)) for fold, names in TESTED.items() for name in names]
    pd.DataFrame(rows, columns=["image_id", "subject", "fold"]).to_parquet(folder / "some.parquet")
    return [folder / "some.parquet"]


def as_json(folder):
    content = {f"fold_{fold}": {"train": trained(fold), "test": TESTED[fold]} for fold in TESTED}
    return [write(folder, "folds.json", json.dumps(content))]


def as_json_list(folder):
    return [write(folder, "folds.json", json.dumps([{"train": trained(fold), "test": TESTED[fold]} for fold in TESTED]))]


def as_json_rows(folder):
    return [write(folder, "rows.json", json.dumps([{"path": name, "fold": fold} for fold, names in TESTED.items() for name in names]))]


def as_utf16(folder):
    lines = [f"{name},{fold}" for fold, names in TESTED.items() for name in names]
    return [write(folder, "excel.csv", ("path,fold\n" + "\n".join(lines)).encode("utf-16"))]


FORMS = [
    as_lists, as_lists_in_folders, as_id_files, as_test_lists_alone, as_fold_column, as_split_column, as_columns_without_paths, as_parquet,
    as_json, as_json_list, as_json_rows, as_utf16,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_says_the_same(form, tmp_path):
    """5 images of 3 people in 2 folds; in each, one image of S011 while another is trained on."""
    read = read_split(form(tmp_path))
    report = audit(read.split)
    assert [(fold.test_images, fold.leaked_images, fold.leaked_subjects) for fold in report.folds] == [(3, 1, 1), (2, 1, 1)]
    assert (report.images, report.subjects, report.overall.tested_twice, report.overall.never_tested) == (5, 3, 0, 0)
    assert report.overall.shared_images == 0 and report.unit == "image"
    assert [example.subject for example in report.examples] == ["S011"]
    assert not any("\\" in name for name in read.split.items)            # Windows paths are the same paths
    assert any("subjects" in note for note in read.split.notes)


def test_a_fold_list_with_headings_is_read_by_sequence(tmp_path):
    """The form of Emotion-FAN; a fold that announces more than follows is refused."""
    text = "1-fold 2 Angry 1 Fear 1\nS130/007 Angry\nS084/002 Fear\n2-fold 1 Happy 1\nS130/013 Happy\n"
    read = read_split([write(tmp_path, "CK+_10-fold_step10.txt", text)])
    report = audit(read.split)
    assert report.unit == "sequence" and report.overall.leaked_images == 2 and [fold.name for fold in report.folds] == ["1", "2"]
    assert [fold.missing for fold in report.folds] == [("happiness",), ("anger", "fear")]
    with pytest.raises(SplitError, match="fold 2 announces 2 entries, 1 follow"):
        read_split([write(tmp_path, "cut.txt", text.replace("2-fold 1", "2-fold 2"))])


def test_rows_without_a_fold_are_trained_on_and_never_tested(tmp_path):
    """An empty fold, and -1 as scikit-learn has it."""
    text = "path,fold\nS010_004_00000017.png,0\nS011_004_00000019.png,1\nS010_004_00000018.png,\nS014_003_00000028.png,-1\n"
    report = audit(read_split([write(tmp_path, "s.csv", text)]).split)
    assert [fold.leaked_images for fold in report.folds] == [1, 0] and report.overall.never_tested == 2
    assert any("2 rows without a fold" in note for note in report.notes)


def test_three_sides_and_a_side_that_counts_for_every_fold(tmp_path):
    files = [write(tmp_path, "train.txt", "S010_004_00000017.png"), write(tmp_path, "val.txt", "S011_004_00000019.png")]
    hold_out = audit(read_split([*files, write(tmp_path, "test.txt", "S011_004_00000018.png")]).split)
    assert hold_out.kind == "hold-out" and (hold_out.overall.leaked_images, hold_out.overall.test_in_validation) == (0, 1)
    only_validation = audit(read_split(files).split)
    assert only_validation.overall.test_images == 1 and any("nothing is called test" in note for note in only_validation.notes)
    folds = [write(tmp_path, f"test_{number}.txt", f"S01{number}_001_00000009.png") for number in (0, 1)]
    report = audit(read_split([files[0], *folds]).split)
    assert [fold.leaked_images for fold in report.folds] == [1, 0] and any("counts for every fold" in note for note in report.notes)


def test_numbers_that_are_sizes_do_not_part_the_two_sides(tmp_path):
    files = [write(tmp_path, "train_800.txt", "S010_004_00000017.png"), write(tmp_path, "test_181.txt", "S010_004_00000018.png")]
    report = audit(read_split(files).split)
    assert [fold.name for fold in report.folds] == ["split"] and report.overall.leaked_images == 1


def test_the_same_picture_under_the_folders_of_two_sides_is_one(tmp_path):
    """Lists of trees: fold_1/test/... and fold_2/train/... name one frame."""
    for fold in TESTED:
        write(tmp_path, f"train_{fold}.txt", "\n".join(f"/data/fold_{fold}/train/{name}" for name in trained(fold)))
        write(tmp_path, f"test_{fold}.txt", "\n".join(f"/data/fold_{fold}/test/{name}" for name in TESTED[fold]))
    report = audit(read_split(sorted(tmp_path.iterdir())).split)
    assert (report.images, report.overall.never_tested, report.overall.shared_images) == (5, 0, 0)


def test_a_copy_of_a_frame_in_training_is_found_by_its_name(tmp_path):
    files = [write(tmp_path, "train.txt", "aug/S010_004_00000017_flip.png"), write(tmp_path, "test.txt", "S010_004_00000017.png")]
    assert audit(read_split(files).split).overall.shared_images == 1


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["fold_{fold}/{side}", "{side}_{fold}", "{fold}/{side}", "cross_validation{fold}/{side}"])
def test_folders_of_sides_and_folds(layout):
    files = [f"{layout.format(fold=fold, side=side)}/{name}" for fold in TESTED for side, names in
             (("train", trained(fold)), ("test", TESTED[fold])) for name in names]
    read = read_split([], [Tree(Path("/data"), tuple(files))])
    report = audit(read.split)
    assert [(fold.test_images, fold.leaked_images) for fold in report.folds] == [(3, 1), (2, 1)] and report.images == 5
    assert read.locations["anger/S010_004_00000017.png"].startswith("/data/")


def test_folders_per_fold_without_sides():
    files = [f"fold{fold}/{name}" for fold, names in TESTED.items() for name in names]
    report = audit(read_split([], [Tree(Path("/data"), tuple(files))]).split)
    assert [(fold.test_images, fold.leaked_images) for fold in report.folds] == [(3, 1), (2, 1)]


def test_equal_names_in_two_sides_are_one_picture_only_if_their_bytes_are(tmp_path):
    """train/p1/0.png and test/p1/0.png: two pictures, unless the hash says otherwise."""
    tree = [Tree(Path("/data"), ("train/p1/0.png", "train/p2/0.png", "test/p1/0.png", "test/p3/0.png"))]
    different = read_split([], tree, "([^/]+)/[^/]+$", digest=lambda path: f"{path.parts[2]:0<64}")
    assert len(different.split.items) == 4 and audit(different.split).overall.shared_images == 0
    equal = read_split([], tree, "([^/]+)/[^/]+$", digest=lambda path: "0" * 64)
    assert len(equal.split.items) == 3 and audit(equal.split).overall.shared_images == 1
    assert audit(equal.split).overall.leaked_images == audit(different.split).overall.leaked_images == 1


def test_pictures_outside_of_the_sides_are_counted():
    tree = Tree(Path("/data"), ("train/S010_004_00000017.png", "test/S011_004_00000017.png", "logo.png", "samples/S010_004_00000017.png"))
    assert any(note.startswith("2 pictures of") for note in read_split([], [tree]).split.notes)
    with pytest.raises(SplitError, match="no folder is named like train, test, val or fold_3; its folders are anger, fear"):
        read_split([], [Tree(Path("/data"), ("anger/a.png", "fear/b.png"))])


# --- who is in it -----------------------------------------------------------------------------------------------------

KNOWN = [
    ("S005/001/S005_001_00000011.png", "CK+", "S005", "001", "00000011", None),
    ("S005_001_00000011_flip.png", "CK+", "S005", "001", "00000011", None),
    ("ck+/S005/001/00000011", "CK+", "S005", "001", "00000011", None),
    ("S130/007", "CK+", "S130", "007", None, None),
    ("Sessions/1841/S035-004.avi", "MMI", "S035", "004", None, None),
    ("S050_003_030.png", "MMI", "S050", "003", "030", None),
    ("VL/Strong/P001/Anger/000.jpeg", "Oulu-CASIA", "P001", "VL/Strong/Anger", "000", "anger"),
    ("P080/Happiness/012.jpeg", "Oulu-CASIA", "P080", "Happiness", "012", "happiness"),
    ("F058/Sad/099.jpg", "BU-4DFE", "F058", "Sad", "099", "sadness"),
    ("jaffe/KA.AN1.39.tiff", "JAFFE", "KA", "AN1", "39", "anger"),
    ("KDEF/AF01/AF01AFS.JPG", "KDEF", "F01", "AF01AF", "S", "fear"),
    ("KDEF/BF01/BF01SUHR.JPG", "KDEF", "F01", "BF01SU", "HR", "surprise"),
    ("AF31V.JPG", "KDEF", "F31", "AF31", "V", None),
    ("Rafd090_28_Caucasian_male_angry_frontal.jpg", "RaFD", "28", "angry_frontal", "090", "anger"),
    ("VideoFlash/1001_DFA_ANG_XX.flv", "CREMA-D", "1001", "DFA_ANG_XX", None, "anger"),
    ("01-01-05-01-01-01-12.mp4", "RAVDESS", "12", "01-01-05-01-01-01", None, "anger"),
    ("bilder/004_o_m_a_b.jpg", "FACES", "004", "a_b", None, "anger"),
    ("ADFES/M07-Joy-Face Forward.mpeg", "ADFES", "M07", "Joy-Face Forward", None, "happiness"),
    ("subjects3/010/fear/session1/take002/img_0003.jpg", "MUG", "010", "fear/session1/take002", "0003", "fear"),
    ("subjects3/010/session1/fear/img_0003.jpg", "MUG", "010", "session1/fear", "0003", "fear"),
    ("BU_3DFE/F0001/F0001_SU04BL_F2D.bmp", "BU-3DFE", "F0001", "SU04", None, "surprise"),
    ("Session1/Ses01F_script01_1_M003.avi", "IEMOCAP", "Ses01M", "script01_1_M003", None, None),
    ("MSP-IMPROV/S01A/P/MSP-IMPROV-S01A-F02-P-FM01.avi", "MSP-IMPROV", "F02", "S01A/P-FM01", None, None),
    ("BP4D/F001/T1/2440.jpg", "BP4D", "F001", "T1", "2440", None),
    ("DISFA/SN003/0.png", "DISFA", "SN003", None, "0", None),
    ("subject01.happy", "Yale", "01", "happy", None, "happiness"),
    ("images/009/009_08_happy.jpg", "Face Research Lab London", "009", None, "08", "happiness"),
]


@pytest.mark.parametrize(("path", *"dsqfe"), KNOWN)
def test_names_of_databases_tell_who_it_is(path, d, s, q, f, e):
    assert recognise(path) == Identity(d, s, q, f, e)


def test_each_rule_fits_its_own_example_and_no_other():
    for rule in NAMES:
        assert {identity.database for other in NAMES for identity in other.identities(rule.example)} == {rule.database}


@pytest.mark.parametrize(
    "path",
    ["0.png", "train_00001.jpg", "F001/0000.jpg", "subject01.jpg", "S005_001_00000011/S006_001_00000011.png", "XS005_001_00000011.png",
     "001_07.jpg", "2001_DFA_ANG_XX.flv", "S0051_001_00000011.png"],
)
def test_other_names_tell_nobody(path):
    """Two people stand in one path, a longer number is another id."""
    assert recognise(path) is None


def test_a_pattern_of_the_users_own():
    rule = pattern_rule(r"person_(?P<subject>\d+)/(?P<sequence>\w+)_(?P<expression>[a-z]+)")
    assert rule("faces/person_12/t3_happy.png") == Identity("pattern", "12", "t3", None, "happiness")
    assert pattern_rule("^(.)")("ab") == Identity("pattern", "a") and rule("nobody.png") is None
    for bad, sentence in (("(", "is not a regular expression"), ("abc", "it needs a group for the subject")):
        with pytest.raises(SplitError, match=sentence):
            pattern_rule(bad)


def test_columns_that_tell_the_subject_together(tmp_path):
    """As KDEF's sex and number; `ID` is no picture then. Seen red: ID taken for a path; a column that is empty joined to `F_`."""
    tables = {"train.csv": "A,F,01\nA,M,02", "test.csv": "B,F,01\nA,F,02"}
    files = [write(tmp_path, name, f"Session,Gender,ID\n{rows}") for name, rows in tables.items()]
    report = audit(read_split(files, subject_columns=("Gender", "ID")).split)
    assert (report.overall.leaked_images, report.subjects, report.examples[0].subject) == (1, 3, "F_01")
    wrong = [
        (files, ("Sex", "ID"), None, "it has no column 'Sex'; its columns are 'Session', 'Gender', 'ID'"),
        (files, ("ID",), "(.)", "by columns or by file names, not by both; given are columns and a pattern"),
        ([write(tmp_path, "a.txt", "S005/001\n")], ("ID",), None, "it has no columns, so none is called 'ID'"),
        ([write(tmp_path, "a.json", '{"train": ["a"], "test": ["b"]}')], ("ID",), None, "it has no columns, so none is called 'ID'"),
        ([write(tmp_path, "a.csv", "split,Gender,ID\ntrain,F,1\ntest,,1\n")], ("Gender", "ID"), None, "the subject is empty in a.csv:3"),
    ]
    for given_files, columns, pattern, sentence in wrong:
        with pytest.raises(SplitError, match=sentence):
            read_split(given_files, subject_pattern=pattern, subject_columns=columns)
    with pytest.raises(SplitError, match="and a folder of pictures, which has no columns"):
        read_split([], [Tree(Path("b"), ())], subject_columns=("ID",))


def test_two_sessions_of_one_person_are_one_person(tmp_path):
    """KDEF: AF01 in training, BF01 in test. A column that says otherwise is contradicted."""
    files = [write(tmp_path, "train.txt", "AF01AFS.JPG"), write(tmp_path, "test.txt", "BF01AFS.JPG\nBM02HAS.JPG")]
    assert audit(read_split(files).split).overall.leaked_images == 1
    text = "path,subject,split\nAF01AFS.JPG,AF01,train\nBF01AFS.JPG,BF01,test\n"
    split = read_split([write(tmp_path, "s.csv", text)]).split
    assert any("by the names of KDEF F01 is one person; the split calls them AF01 and BF01" in text for text in split.warnings)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("path,subject,split\na.png,5,train\nb.png,005,test\nc.png,5,train\n", "subjects 005 and 5 are counted as different people"),
        ("path,subject,split\na.png,s1,train\nb.png,S1,test\nc.png,s1,train\n", "subjects S1 and s1 are counted as different people"),
        ("path,subject,split\na.png,1,train\nb.png,2,test\n", "each of the 2 images has a subject of its own"),
        ("path,subject,split\na.png,1,train\nb.png,1,test\n", "all images show one subject, 1"),
        ("path,subject,label,split\na.png,1,3,train\na.png,1,4,test\nb.png,2,3,train\nc.png,2,3,test\n", "1 entries give another"),
    ],
)
def test_what_looks_wrong_is_said(tmp_path, text, warning):
    split = read_split([write(tmp_path, "s.csv", text)]).split
    assert any(warning in one for one in split.warnings), split.warnings
    assert audit(split).doubtful


def test_people_of_two_databases_are_different_people(tmp_path):
    text = "dataset,subject,path,split\nck+,001,a.png,train\nmmi,001,b.png,test\nmmi,002,c.png,train\nmmi,002,d.png,train\n"
    assert not audit(read_split([write(tmp_path, "s.csv", text)]).split).leaks
    names = [write(tmp_path, "train.txt", "S005_001_00000011.png"), write(tmp_path, "test.txt", "S005-001.avi")]
    assert not audit(read_split(names).split).leaks


# --- wrong inputs -----------------------------------------------------------------------------------------------------

WRONG = [
    ({"ckextended.csv": "emotion,pixels,Usage\n0,70 80,Training\n1,3 4,PrivateTest\n"}, "no paths .*ckextended.csv"),
    ({"train.txt": "a.png\nb.png", "test.txt": "c.png"}, r"subject of 3 of 3 entries cannot be known, e.g. 'a.png' \(train.txt:1\)"),
    ({"train.txt": "S005_001_00000011.png\nphoto.png", "test.txt": "S006_001_00000011.png"}, "of 1 of 3 entries cannot .* 'photo.png'"),
    ({"train.txt": "S005_001_00000011.png"}, "there is only train"),
    ({"test.txt": "S005_001_00000011.png"}, "there is only test"),
    ({"a.txt": "S005_001_00000011.png", "b.txt": "S005_001_00000011.png"}, "nothing says on which side a.txt:1 is"),
    ({"train_a.txt": "S005_001_00000011.png", "train_b.txt": "S006_001_00000011.png"}, "both give the train side .* one split alone"),
    ({"train_1.txt": "S005/001", "train_2.txt": "S006/001", "test_1.txt": "S006/001"}, "fold 2 has no test side"),
    ({"train.txt": "S005/001\n,\n", "test.txt": "S006/001"}, "line 2 has no path; it is ','"),
    ({"s.csv": "path,subject\na.png,1\n"}, "nothing says on which side s.csv:2 is"),
    ({"s.csv": "path,subject,split\na.png,1,train\nb.png,2,holdme\n"}, "'split' may hold train, .*; got 'holdme' in s.csv:3"),
    ({"s.csv": "path,subject,split\na.png,1,train\nb.png,2,\n"}, "column 'split' is empty in line 3"),
    ({"s.csv": "path,subject,split\na.png,1,train\nb.png,,test\n"}, "the subject is empty in s.csv:3"),
    ({"s.csv": "path,subject,fold\na.png,1,0\nb.png,2\n"}, "3 columns are announced, line 3 has 2"),
    ({"s.csv": "path,subject,fold\na.png,1,0\nb.png,2,0\n"}, "two or more folds are needed, .*; there is only a single fold"),
    ({"s.csv": "path,subject,fold\na.png,1,0\na.png,2,1\n"}, "a picture has one subject, 'a.png' is said to show 1 and 2"),
    ({"s.csv": "path,subject,fold\n"}, "it has a header and no rows"),
    ({"s.csv": ""}, "it is empty"),
    ({"s.csv": b"\x89PNG\r\n\x1a\n\xff"}, "it is not text; is it a picture"),
    ({"s.csv": b"PK\x03\x04rest"}, "an Excel or zip file; save the table as CSV"),
    ({"s.txt": "version https://git-lfs.github.com/spec/v1\n"}, "a Git LFS pointer"),
    ({"s.txt": "S005/001;3;train\nS006/001;3;validation of it\n"}, "nothing says on which side s.txt:1 is"),
    ({"s.pkl": b"\x80\x04"}, "it is a .pkl file; read are .csv, .* as text, one path a line"),
    ({"s.parquet": b"PAR1 and no more"}, "it is not a whole Parquet file"),
    ({"s.json": "{"}, "it is not JSON"),
    ({"s.json": '{"train": 3}'}, "are needed, not '3' at s.json/train"),
    ({"s.json": "[]"}, "it has no list of paths"),
]


@pytest.mark.parametrize(("content", "sentence"), WRONG, ids=[f"{'+'.join(content)}: {sentence[:40]}" for content, sentence in WRONG])
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, sentence):
    with pytest.raises(SplitError, match=sentence):
        read_split([write(tmp_path, name, text) for name, text in content.items()])


def test_nothing_and_both_are_refused():
    with pytest.raises(SplitError, match="not nothing"):
        read_split([])
    with pytest.raises(SplitError, match=r"not both, a\.csv and b; if b holds the pictures that are listed, give it with --images b$"):
        read_split([Path("a.csv")], [Tree(Path("b"), ())])
    with pytest.raises(SplitError, match=r"not both, 1\.csv, 2\.csv, 3\.csv and 2 more and b, c; if b holds"):
        read_split([Path(f"{number}.csv") for number in range(1, 6)], [Tree(Path("b"), ()), Tree(Path("c"), ())])


def test_words_in_names():
    for name, side, fold in [
        ("train_ids_3", "train", "3"), ("trainFold3", "train", "3"), ("list_eval", "validation", None), ("PublicTest", "validation", None),
        ("PrivateTest", "test", None), ("Train_AFEW", "train", None), ("train_test_split", None, None), ("cross_validation10", None, "10"),
        ("10fold_test_7", "test", "7"), ("attestation", None, None), ("latest", None, None), ("contest_3", None, "3"),
        ("BP4D_part2_path", None, "2"),
    ]:
        assert (side_of(name), fold_of(name)) == (side, fold), name
    assert set(SIDES.values()) == {"train", "validation", "test"}


# --- anything at all --------------------------------------------------------------------------------------------------

WORDS = ["path", "subject", "fold", "split", "train", "test", "1-fold 2", "2-fold", "a.png", "S005_001_00000011.png", "S130/007 Angry", '"']
cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(WORDS)
texts = st.lists(st.lists(cells, max_size=4).map(",".join), max_size=6).map("\n".join)
leaves = st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["S005_001_00000011.png", "S006_001_00000011.png"])
keys = st.sampled_from(["train", "test", "fold_1", "path", "x9"])
contents = st.recursive(leaves, lambda child: st.lists(child, max_size=3) | st.dictionaries(keys, child, max_size=3), max_leaves=8)


@given(st.sampled_from([suffix for suffix in SUFFIXES if suffix != ".json"]), st.sampled_from(["train", "test_2", "split"]),
       texts.map(str.encode) | st.binary(max_size=60))
@example(".csv", "train", b",TRAIN")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_whatever_a_file_holds_only_our_own_error_leaves_the_readers(tmp_path, suffix, name, content):
    try:
        audit(read_split([write(tmp_path, name + suffix, content), write(tmp_path, "test.txt", "S010_004_00000017.png")]).split)
    except FerError as error:
        assert "\n" not in str(error)[:20]


@given(contents)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_json_holds_only_our_own_error_leaves_the_readers(tmp_path, content):
    with contextlib.suppress(FerError):
        audit(read_split([write(tmp_path, "s.json", json.dumps(content))]).split)


def test_json_that_is_nested_without_end_is_refused(tmp_path):
    """Seen red: RecursionError."""
    with pytest.raises(FerError, match=r"deep\.json"):
        read_split([write(tmp_path, "deep.json", "[" * 100_000)])


@given(st.text(string.printable, max_size=60))
def test_whatever_a_path_holds_there_is_an_identity_or_none(path):
    identity = recognise(path)
    assert identity is None or identity.subject


@pytest.mark.parametrize("line", ["{path};{path}.wav;3;{side}", "{path} {side}", "{path},3,{side}", "{path} /b/{path}.wav 3 {side}"])
def test_a_list_whose_lines_end_with_their_side(tmp_path, line):
    """Names of sides as they are written in public lists; a label beside a second path. Seen red: the second path for a label."""
    sides = {"S010/001": "training", "S011/002": "validation", "S010/003": "testing"}
    text = "# my list\n" + "\n".join(line.format(path=path, side=side) for path, side in sides.items())
    rows = rows_of_file(write(tmp_path, "annotations.txt", text))
    assert [(row.path, row.side) for row in rows] == [("S010/001", "train"), ("S011/002", "validation"), ("S010/003", "test")]
    assert [row.cells.get("expression") for row in rows] == ["3" if "3" in line else None] * 3
    assert audit(read_split([tmp_path / "annotations.txt"]).split).overall.leaked_images == 1


def test_a_list_of_one_column_with_a_header_is_a_table(tmp_path):
    rows = rows_of_file(write(tmp_path, "train.csv", "filename\nS010_004_00000017.png\n"))
    assert [(row.path, row.side, row.where) for row in rows] == [("S010_004_00000017.png", "train", "train.csv:2")]
