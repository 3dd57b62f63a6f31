"""RAF-DB, AffectNet, ExpW, SFEW, CAER-S: what their copies and lists do to those who read them in good faith. tests/mutate.py breaks it."""

import csv
import json
import shutil
from collections import namedtuple
from itertools import chain, repeat

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.datasets.adapters import ADAPTERS
from fer_data.datasets.affectnet import COLUMNS, read_label
from fer_data.datasets.published import load_facts, split_notes
from fer_data.errors import DatasetError
from fer_data.store.manifest import read_manifest, read_skipped
from fer_data.synthetic.web import FORMS, write_web
from tests.test_adapters import write


def scan(dataset, root, **options):
    """Return (what was found as `sequence part expression`, reasons of what was not as {source: reason}, the scan)."""
    found = ADAPTERS[dataset](root, **options)
    assert all(one.subject == "" and len(one.frames) == 1 for one in found.sequences)
    said = [f"{one.sequence} {one.split or '-'} {one.expression}" for one in found.sequences]
    return said, {skip.source: skip.reason for skip in found.skipped}, found


# --- RAF-DB -----------------------------------------------------------------------------------------------------------


def raf(root, lines="train_00001.jpg 5\ntest_0001.jpg 1\n", names=("train_00001", "test_0001")):
    write(root, ["basic/EmoLabel/list_patition_label.txt"], lines.encode())
    write(root, [f"basic/Image/aligned/{name}_aligned.jpg" for name in names])
    return write(root, [f"basic/Image/original/{name}.jpg" for name in names])


def test_raf_joins_five_digits_of_train_and_four_of_test(tmp_path):
    """Seen red: with names of five digits alone `test_0001` was no picture."""
    said, skipped, found = scan("rafdb", raf(tmp_path))
    assert said == ["test_0001 test surprise", "train_00001 train sadness"]
    assert [one.frames[0].source for one in found.sequences] == [
        "basic/Image/aligned/test_0001_aligned.jpg", "basic/Image/aligned/train_00001_aligned.jpg",
    ]
    assert set(skipped.values()) == {"other-part"} and len(skipped) == 2
    original = ADAPTERS["rafdb"](tmp_path, tree="original")
    assert [one.sequence for one in original.sequences] == ["test_0001", "train_00001"]
    assert all("/original/" in one.frames[0].source for one in original.sequences)


@pytest.mark.parametrize(
    "lines",
    ["train_00001.jpg 5 0.93\ntest_0001.jpg 1 0.5", "train_00001.jpg\ttrain\t5\r\ntest_0001.jpg\ttest\t1",
     "train_00001_aligned.jpg 5\ntest_00001.jpg 1"],
)
def test_raf_lists_with_a_third_column_or_other_names_say_the_same(lines, tmp_path):
    """Seen red: with the last column for the code no line was one of a code."""
    assert scan("rafdb", raf(tmp_path, lines))[0] == ["test_0001 test surprise", "train_00001 train sadness"]


def test_raf_labels_that_count_from_0_are_refused(tmp_path):
    """Seen red: without the check code 1 of such a list was surprise and not fear, and only the zeros were bad labels."""
    for place in ("list", "folders"):
        root = tmp_path / place
        if place == "list":
            raf(root, "train_00001.jpg 0\ntest_0001.jpg 6\n")
        else:
            write(root, ["train/0/a.jpg", "train/1/b.jpg", "test/6/c.jpg"])
        with pytest.raises(DatasetError, match=r"its labels count from 0, those of the database from 1 \(surprise\) to 7 \(neutral\)"):
            ADAPTERS["rafdb"](root)


def test_raf_lists_and_pictures_that_do_not_agree_are_counted(tmp_path):
    """Seen red: a picture without a line was left out without a word."""
    lines = "train_00001.jpg 5\ntrain_00002.jpg 8\ntrain_00004.jpg 1\nnonsense\n"
    root = raf(tmp_path, lines, ("train_00001", "train_00002", "train_00003"))
    said, skipped, _ = scan("rafdb", root)
    assert said == ["train_00001 train sadness"]
    assert {source.split("/")[-1]: reason for source, reason in skipped.items() if reason != "other-part"} == {
        "train_00002_aligned.jpg": "bad-label", "train_00003_aligned.jpg": "no-match", "train_00004": "no-match",
        "list_patition_label.txt": "bad-label",
    }
    (root / "basic/EmoLabel/list_patition_label.txt").write_text("train_00001.jpg 5\ntrain_00001.jpg 4\n")
    with pytest.raises(DatasetError, match=r"line 2 of .* labels train_00001.jpg again, as 4 and not 5"):
        ADAPTERS["rafdb"](root)
    (root / "basic/EmoLabel/list_patition_label.txt").unlink()
    with pytest.raises(DatasetError, match=r"its pictures are there, and list_patition_label.txt, which labels them, is not"):
        ADAPTERS["rafdb"](root)


def test_raf_of_kaggle_is_read_by_code_and_its_tables_must_agree(tmp_path):
    """Seen red: codes in the order of the names by alphabet (1 was anger); tables that contradict the folders did not count."""
    write(tmp_path, [f"DATASET/train/{code}/train_0000{code}_aligned.jpg" for code in range(1, 8)])
    write(tmp_path, ["DATASET/test/7/test_0001_aligned.jpg"])
    expected = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
    _, _, found = scan("rafdb", tmp_path)
    by_source = {one.frames[0].source: one.expression for one in found.sequences}
    assert [by_source[f"DATASET/train/{code}/train_0000{code}_aligned.jpg"] for code in range(1, 8)] == expected
    rows = "".join(f"train_0000{code}_aligned.jpg,{8 - code}\n" for code in range(1, 8))
    write(tmp_path, ["DATASET/train_labels.csv"], f"image,label\n{rows}".encode())
    said, skipped, _ = scan("rafdb", tmp_path)
    assert said == ["test/neutral/test_0001_aligned test neutral", "train/happiness/train_00004_aligned train happiness"]
    assert list(skipped.values()).count("bad-label") == 6


def test_a_test_part_that_is_called_valid_is_said(tmp_path):
    """Seen red: counted against the form with `test`, where it differs from all."""
    said, _, found = scan("rafdb", write(tmp_path, ["train/sad/1.jpg", "valid/happy/1.jpg"]))
    assert said == ["train/sadness/1 train sadness", "validation/happiness/1 validation happiness"]
    assert "a subset of the official ones, train and valid, as some copies call the test part" in found.notes[0]


# --- AffectNet --------------------------------------------------------------------------------------------------------


def affectnet_lists(root, header_of_validation=True, prefix="Manually_Annotated_Images"):
    rows = {
        "training": ["1/aa.jpg,10,20,100,50,1.0;2.0,6,0.1,0.2", "1/bb.jpg,0,0,30,30,1.0;2.0,10,-2,-2", "2/cc.PNG,5,6,7,8,1.0;2.0,7,0,0"],
        "validation": ["1/dd.jpg,1,2,3,4,1.0;2.0,0,0.5,0.5", "3/ee.jpg,1,2,3,4,1.0;2.0,1,0.5,0.5", "1/ff.jpg,NULL,NULL,NULL,NULL,,3,0,0"],
    }
    for name, lines in rows.items():
        head = [",".join(COLUMNS)] if name == "training" or header_of_validation else []
        write(root, [f"Manually_Annotated_file_lists/{name}.csv"], "\n".join([*head, *lines]).encode())
    write(root, [f"{prefix}/{name}" for name in ("1/aa.jpg", "1/bb.jpg", "2/cc.PNG", "1/dd.jpg", "1/ff.jpg", "9/zz.jpg")])
    return write(root, ["Automatically_Annotated/Automatically_Annotated_Images/1/aa.jpg"])


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    "prefix", ["Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_compressed"]
)
def test_affectnet_lists_are_read_with_and_without_a_header(header, prefix, tmp_path):
    """Seen red: with the first line always taken for a header, 1/dd.jpg was lost."""
    said, skipped, _ = scan("affectnet", affectnet_lists(tmp_path, header, prefix))
    assert said == ["1/aa train anger", "1/dd validation neutral", "2/cc train contempt"]
    assert skipped == {
        f"{prefix}/1/bb.jpg": "unlabelled", f"{prefix}/1/ff.jpg": "bad-label", f"{prefix}/9/zz.jpg": "unlabelled", "3/ee.jpg": "no-match",
        "Automatically_Annotated/Automatically_Annotated_Images/1/aa.jpg": "other-part",
    }


def test_a_short_line_of_affectnets_list_is_named(tmp_path):
    """Seen red: "list index out of range", of no line."""
    root = affectnet_lists(tmp_path)
    path = root / "Manually_Annotated_file_lists/training.csv"
    path.write_text(path.read_text() + "\n2/dd.jpg,5,6,7\n")
    with pytest.raises(DatasetError, match=r"training\.csv is not a whole list of subDirectory.*: line 5 has 4 cells, and 7 are needed"):
        scan("affectnet", root)


def test_affectnet_boxes_are_corner_and_size_not_two_corners(tmp_path):
    """Seen red: the box taken as left, top, right, bottom, as a public loader does: (10, 20, 100, 50)."""
    _, _, found = scan("affectnet", affectnet_lists(tmp_path))
    assert [one.frames[0].box for one in found.sequences] == [(10, 20, 109, 69), (1, 2, 3, 5), (5, 6, 11, 13)]


def test_seven_classes_are_those_without_contempt(tmp_path):
    """Seen red: contempt was not listed among what was left out."""
    said, skipped, _ = scan("affectnet", affectnet_lists(tmp_path), classes="7")
    assert said == ["1/aa train anger", "1/dd validation neutral"] and skipped["Manually_Annotated_Images/2/cc.PNG"] == "other-part"
    with pytest.raises(DatasetError, match="unknown classes '6'; choose 8 or 7"):
        ADAPTERS["affectnet"](tmp_path, classes="6")


NO_NUMBER = "a file that holds no number"


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "code"),
    [(np.array(3), "3"), (np.array("3"), "3"), (np.array(3.0), "3"), (np.array([7]), "7"), (np.array("10"), "10"),
     (np.array(3.5), NO_NUMBER), (np.array("happy"), NO_NUMBER), (np.zeros((2, 2)), NO_NUMBER), (np.array([Evil()], object), NO_NUMBER),
     (b"\x93NUMPY\x01\x00", NO_NUMBER), (b"<html>", NO_NUMBER), (bytes(5000), "a file of 5000 bytes")],
)
def test_affectnet_labels_are_numbers_or_texts_and_nothing_is_unpickled(content, code, tmp_path, capsys):
    """Seen red: with allow_pickle=True a label printed `run`; with int(value) 3.5 was 3."""
    path = tmp_path / "0_exp.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    assert read_label(path) == code
    assert capsys.readouterr().out == ""


def test_affectnet_numbered_files_go_with_the_label_of_their_own_set(tmp_path):
    """Seen red: 0.jpg of val_set with the label of train_set."""
    for part, code in (("train_set", 6), ("val_set", 1)):
        write(tmp_path, [f"{part}/images/{number}.jpg" for number in range(3)])
        (tmp_path / part / "annotations").mkdir()
        np.save(tmp_path / part / "annotations/0_exp.npy", np.array(code))
        np.save(tmp_path / part / "annotations/1_exp.npy", np.array("8"))
    said, skipped, _ = scan("affectnet", tmp_path)
    assert said == ["train-0 train anger", "val-0 validation happiness"]
    assert sorted(skipped.values()) == ["no-match", "no-match", "unlabelled", "unlabelled"]


def test_affectnet_folders_are_read_by_code_or_by_name_never_by_alphabet(tmp_path):
    """Seen red: codes in the order of the names by alphabet: 0 was anger."""
    names = ["anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    write(tmp_path / "names", [f"train/{name}/{index}.jpg" for index, name in enumerate(names)])
    write(tmp_path / "codes", [f"train/{code}/{code}.jpg" for code in range(9)])
    _, _, found = scan("affectnet", tmp_path / "names")
    assert {one.sequence.split("/")[-1]: one.expression for one in found.sequences} == {
        "0": "anger", "1": "contempt", "2": "disgust", "3": "fear", "4": "happiness", "5": "neutral", "6": "sadness", "7": "surprise",
    }
    _, _, found = scan("affectnet", tmp_path / "codes")
    assert {one.sequence.split("/")[-1]: one.expression for one in found.sequences} == {
        "0": "neutral", "1": "happiness", "2": "sadness", "3": "surprise", "4": "fear", "5": "disgust", "6": "anger", "7": "contempt",
        "8": None,
    }


Counted = namedtuple("Counted", "split expression")


def test_a_copy_of_affectnet_that_is_numbered_by_alphabet_is_known_by_its_counts():
    """Seen red: with one picture more in the counts of the copy."""
    train = load_facts("affectnet").forms["class folders"]["train"]
    by_code = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
    by_alphabet = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
    read = chain.from_iterable(repeat(Counted("train", is_read), train[is_in]) for is_read, is_in in zip(by_code, by_alphabet, strict=True))
    notes = split_notes("affectnet", "class folders", read)
    assert "they differ from the official ones" in notes[0] and "numbered by alphabet: folder 0 is anger" in notes[1]


def test_the_copy_of_affectnet_whose_labels_a_model_changed_is_another_data_set(tmp_path):
    """Seen red: without the check it was read as class folders."""
    write(tmp_path, ["labels.csv"], b",pth,label,relFCs\n0,anger/image0000006.jpg,surprise,0.87\n")
    write(tmp_path, ["anger/image0000006.jpg", "train/anger/x.jpg"])
    with pytest.raises(DatasetError, match=r"noamsegal/affectnet-training-data .* labels a model changed\. That is another data set"):
        ADAPTERS["affectnet"](tmp_path)


def test_a_part_or_an_expression_that_nobody_published_is_no_subset(tmp_path):
    """Seen red: a test part of somebody's own, and pictures of contempt in RAF-DB, were `a subset of the official ones`."""
    _, _, found = scan("affectnet", write(tmp_path / "a", ["train/0/1.jpg", "val/1/1.jpg", "test/1/2.jpg"]))
    assert "they differ" in found.notes[0] and "test pictures 1 instead of 0" in found.notes[0]
    _, _, found = scan("rafdb", write(tmp_path / "b", ["train/sad/1.jpg", "train/contempt/2.jpg", "test/sad/3.jpg"]))
    assert "they differ" in found.notes[0] and "train contempt 1 instead of 0" in found.notes[0]


def test_a_face_that_lists_name_twice_is_counted_once(tmp_path):
    """A bad row before or after a good one, and two bad ones. Seen red, each database: found was one more for each further row."""
    good, bad = "{}.jpg,1,2,30,40,,6,0,0", "{}.jpg,1,2,30,40,,99,0,0"
    rows = [good.format("1/a"), bad.format("1/a"), bad.format("1/b"), good.format("1/b"), bad.format("1/c"), bad.format("1/c")]
    write(tmp_path / "aff", ["Manually_Annotated_file_lists/training.csv"], "\n".join(rows).encode())
    write(tmp_path / "aff", [f"Manually_Annotated_Images/1/{name}.jpg" for name in "abc"])
    good, bad = "{}.jpg 0 1 2 30 40 7 6", "{}.jpg 0 1 2 30 40 7 9"
    rows = [good.format("a"), bad.format("a"), bad.format("b"), good.format("b"), bad.format("c"), bad.format("c")]
    write(tmp_path / "expw", ["label/label.lst"], "\n".join(rows).encode())
    write(tmp_path / "expw", [f"image/origin/{name}.jpg" for name in "abc"])
    for dataset, root in (("affectnet", tmp_path / "aff"), ("expw", tmp_path / "expw")):
        found = ADAPTERS[dataset](root)
        assert len(found.sequences) == 2 and len(found.skipped) == 4
        assert len(found.sequences) + sum(skip.frames for skip in found.skipped) == 3


# --- ExpW -------------------------------------------------------------------------------------------------------------


def test_expw_faces_are_picture_and_number_with_boxes_of_top_left_right_bottom(tmp_path):
    """Seen red: keyed by picture, one face of a.jpg was lost; boxes as left, top, right, bottom."""
    lines = ["a.jpg 0 10 40 90 70 50.5 3", "a.jpg 1 12 120 170 62 9.1 0", "a.jpg 1 12 120 170 62 9.1 0", "b.jpg 0 1 2 30 40 7 6",
             "c.jpg 0 1 2 30 40 7 6", "b.jpg 1 1 2 30 40 7 7", "b.jpg 2 30 40 1 2 7 1", "b.jpg 3 1 2"]
    write(tmp_path, ["label/label.lst"], "\n".join(lines).encode())
    write(tmp_path, ["image/origin/a.jpg", "image/origin/b.jpg", "image/origin/d.jpg"])
    said, _, found = scan("expw", tmp_path)
    assert said == ["a-0 - happiness", "a-1 - anger", "b-0 - neutral"]
    assert [one.frames[0].box for one in found.sequences] == [(40, 10, 89, 69), (120, 12, 169, 61), (2, 1, 29, 39)]
    assert sorted((skip.sequence, skip.reason, skip.frames) for skip in found.skipped) == [
        ("", "unlabelled", 1), ("a-1", "duplicate", 0), ("b-1", "bad-label", 1), ("b-2", "bad-label", 1), ("b-3", "bad-label", 1),
        ("c-0", "no-match", 0),
    ]


# --- SFEW, CAER-S -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("val", ["Val/Val_Aligned_Faces", "Val/Val_Aligned_Faces_new/Val_Aligned_Faces"])
def test_sfew_layouts_and_what_is_withheld(val, tmp_path):
    """Seen red: whole frames of Train/Angry read as faces; pictures of the test part as names that do not fit."""
    write(tmp_path, ["Train/Train_Aligned_Faces/Angry/Film_1.png", f"{val}/Surprise/Film_2.png", f"{val}/Neutral/Film_3.png"])
    write(tmp_path, ["Train/Angry/Film_1.png", "Val/Happy/Film_9.png", "Test/Test_Aligned_Faces/4.png", "Test/5.png", "x.png"])
    said, skipped, _ = scan("sfew", tmp_path)
    assert said == ["train/anger/Film_1 train anger", "validation/neutral/Film_3 validation neutral",
                    "validation/surprise/Film_2 validation surprise"]
    assert skipped == {"Train/Angry/Film_1.png": "other-part", "Val/Happy/Film_9.png": "other-part", "x.png": "no-match",
                       "Test/Test_Aligned_Faces/4.png": "unlabelled", "Test/5.png": "unlabelled"}


def test_caer_s_reads_anger_and_angry_and_names_the_clips_of_caer(tmp_path):
    """Seen red: without the rule the clips of CAER were `none of 1 files is`."""
    said, _, _ = scan("caer-s", write(tmp_path / "a", ["CAER-S/train/Anger/0001.png", "CAER-S/test/Angry/0001.png"]))
    assert said == ["test/anger/0001 test anger", "train/anger/0001 train anger"]
    with pytest.raises(DatasetError, match="these are the clips of CAER; CAER-S, the frames of them, is read"):
        ADAPTERS["caer-s"](write(tmp_path / "b", ["CAER/train/Anger/0001.avi"]))


def test_folders_of_one_database_are_not_read_as_those_of_another(tmp_path):
    """Seen red: without the patterns of the others FER2013 read the scenes of CAER-S as faces."""
    write(tmp_path, ["train/Anger/0001.png", "train/Disgust/0001.png"])
    for other in ("fer2013", "rafdb", "affectnet", "sfew"):
        with pytest.raises(DatasetError, match=r"this is CAER-S; use `fer-data prepare caer-s`"):
            ADAPTERS[other](tmp_path)


# --- from the synthetic tree to the report ----------------------------------------------------------------------------

def test_what_a_list_names_and_is_not_there_is_told_and_strict(tmp_path, monkeypatch):
    """No frame is found of it, so it is in no count of frames. Seen red: half of a database missing was `skipped 0`, exit code 0."""
    monkeypatch.chdir(tmp_path)
    write_web(tmp_path / "in", "rafdb", "list", pictures=24)
    pictures = sorted((tmp_path / "in").rglob("train_*_aligned.jpg"))
    for path in pictures[:3]:
        path.unlink()
    said = run("prepare", "rafdb", "in", "out", "--strict", code=1)
    assert "skipped 0; named by its lists, and not there or not usable: no-match 3 (see skipped.csv)" in said
    assert "frames: kept 21; named by its lists, and not there or not usable: no-match 3" in run("inspect", "out")
    assert json.loads(run("prepare", "rafdb", "in", "out", "--json"))["absent"] == {"no-match": 3}
    for path in (tmp_path / "in").rglob("*_aligned.jpg"):
        path.unlink()
    said = CliRunner().invoke(main, ["prepare", "rafdb", "in", "other"])
    assert said.exit_code == 1 and "give the folder that holds both EmoLabel and Image" in said.output


PREPARED = [(dataset, form) for dataset, forms in FORMS.items() for form in forms]


def run(*words, code=0):
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.parametrize(("dataset", "form"), PREPARED)
def test_every_form_goes_from_the_synthetic_tree_to_the_report(dataset, form, tmp_path, monkeypatch):
    """Seen red: the list of RAF-DB was not found, for `patition` was looked for as `parition`."""
    monkeypatch.chdir(tmp_path)
    write_web(tmp_path / "in", dataset, form, pictures=24, traps=True)
    finds = dataset == "caer-s" or form == "original"
    asked = [*(["--landmarks", "dlib"] if finds else []), *(["--tree", "original"] if form == "original" else [])]
    said = json.loads(run("prepare", dataset, "in", "out", *asked, "--json"))
    in_one = 2 if dataset == "expw" else 1                               # faces of a picture
    assert said["skipped"].get("unreadable") == 2 * in_one and said["kept"] >= 24 - 2 * in_one - (3 if finds else 0)
    assert said["found"] == said["kept"] + sum(said["skipped"].values()) and said["subjects"] == 0
    rows = read_manifest("out")
    truth = {row["source"]: row for row in map(dict, _truth(tmp_path / "in"))}
    if in_one == 1:
        assert all(truth[row.source]["expression"] == row.expression for row in rows.itertuples())
    parts = {"train", "test"} if dataset == "caer-s" or form in ("list", "kaggle", "original") else {"train", "validation"}
    assert set(rows["split"]) == ({""} if dataset == "expw" else parts) and set(rows["subject"]) == {""}
    if dataset == "caer-s":
        assert said["skipped"]["no-face"] >= 1 and rows["faces_found"].max() == 2
    run("verify", "out")
    if dataset == "expw":
        CliRunner().invoke(main, ["audit", "out"])
    else:
        assert run("audit", "out", code=1).startswith("UNCLEAR  people unknown")
    run("report", "out")
    assert "people unknown" in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def _truth(root):
    with (root / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_copies_of_test_pictures_in_training_are_found(tmp_path, monkeypatch):
    """A copy of RAF-DB is passed on that has such pictures. Seen red: with pictures of other people in their place."""
    monkeypatch.chdir(tmp_path)
    write_web(tmp_path / "in", "rafdb", "kaggle", pictures=24)
    same, mirrored = sorted((tmp_path / "in/DATASET/test").rglob("*.jpg"))[:2]
    shutil.copy(same, tmp_path / f"in/DATASET/train/{same.parent.name}/train_00901_aligned.jpg")
    changed = cv2.resize(cv2.flip(cv2.imread(str(mirrored)), 1), (112, 112))
    cv2.imwrite(str(tmp_path / f"in/DATASET/train/{mirrored.parent.name}/train_00902_aligned.jpg"), changed)
    run("prepare", "rafdb", "in", "out")
    pixels = json.loads(run("audit", "out", "--json", code=1))["pixels"]
    assert (pixels["exact"], pixels["near"]) == (1, 1)


def test_original_pictures_of_raf_need_a_detector(tmp_path):
    """Seen red: whole pictures taken as faces."""
    done = CliRunner().invoke(main, ["prepare", "rafdb", str(tmp_path), str(tmp_path / "out"), "--tree", "original"])
    assert done.exit_code == 2 and "find the faces in them with --landmarks dlib or fan" in done.output


def test_the_boxes_of_lists_give_the_drawn_faces(tmp_path):
    """Seen red: with boxes of ExpW in the usual order, and of AffectNet as corners, the faces were those of other places."""
    for dataset in ("expw", "affectnet"):
        write_web(tmp_path / dataset, dataset, pictures=16)
        run("prepare", dataset, tmp_path / dataset, tmp_path / f"{dataset}-out")
        rows = read_manifest(tmp_path / f"{dataset}-out")
        assert len(rows) == 16 and not len(read_skipped(tmp_path / f"{dataset}-out").query("frames > 0"))
        run("prepare", dataset, tmp_path / dataset, tmp_path / f"{dataset}-dlib", "--landmarks", "dlib")
        found = read_manifest(tmp_path / f"{dataset}-dlib")
        assert len(found) == 16 and found["residual_px"].median() < 4, "dlib's points fit a face where the box is one"


def test_the_same_seed_gives_the_same_tree_whatever_the_workers(tmp_path):
    """Seen red: with the number of the process in the key of the random numbers."""
    from tests.trees import bytes_of

    for name, count, workers in (("a", 20, 1), ("b", 20, 2)):
        write_web(tmp_path / name, "expw", pictures=count, seed=3, workers=workers)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    write_web(tmp_path / "c", "expw", pictures=30, seed=3)
    name = "image/origin/happy_people_4.jpg"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    assert cv2.imread(str(tmp_path / "a" / name)).shape == (240, 640, 3)
    with pytest.raises(DatasetError, match="choose 12 to 99999 pictures, not 3"):
        write_web(tmp_path / "d", "expw", pictures=3)
    with pytest.raises(DatasetError, match="unknown form 'zip'; choose list, original, kaggle or folders"):
        write_web(tmp_path / "d", "rafdb", "zip")


@pytest.mark.parametrize(("database", "path", "given", "right"), [
    ("fer2013", "folders/train/angry/1.jpg", "folders/train", "folders"),
    ("fer2013", "folders/test/angry/1.jpg", "folders/test/angry", "folders"),
    ("affectnet", "net/train_set/images/0.jpg", "net/train_set", "net"), ("affectnet", "net/val/anger/0.jpg", "net/val", "net"),
    ("rafdb", "DATASET/train/5/train_00001_aligned.jpg", "DATASET/train", "DATASET"),
    ("rafdb", "DATASET/test/5/1.jpg", "DATASET/test", "DATASET"),
    ("rafdb", "basic/Image/aligned/train_00001_aligned.jpg", "basic/Image", "basic"),
])
def test_a_folder_inside_is_told_with_the_one_to_give(database, path, given, right, tmp_path):
    """Seen red: without _PARTS nothing was said of the folder above."""
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"x")
    with pytest.raises(DatasetError) as caught:
        ADAPTERS[database](tmp_path / given)
    assert str(caught.value).endswith(f"tree: give the folder {tmp_path / right}")
