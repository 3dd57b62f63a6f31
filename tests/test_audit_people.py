"""Audits of splits that spell a person in two ways, and of tables as spreadsheets save them: LEAK, UNCLEAR or CLEAN as the README says."""

import json
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.audit.check_split import check_split
from fer_data.audit.forms import rows_of_file
from fer_data.audit.places import fold_of
from fer_data.errors import SplitError
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "cases"


def run(*arguments):
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def split(folder, rows, header="path,subject,split", name="split.csv", encoding="utf-8", separator=","):
    text = "\n".join([header.replace(",", separator), *(separator.join(row) for row in rows)])
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def two_spellings(first, second, people=4):
    """Return rows in which each person is trained on under one id and tested under another; file names say nothing."""
    return [
        [f"f/{n}{side}.png", spelling.format(n=n), side] for n in range(people) for spelling, side in ((first, "train"), (second, "test"))
    ]


# --- who is who -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{n}.0", "{n}"),
        ("S  {n}", "S {n}"),
        ("Rene\u0301{n}", "Ren\u00e9{n}"),
        ("S{n}", "S{n}\u200b"),
        ("S\u00a0{n}", "S {n}"),
        ("{n}", "{n}.00"),
    ],
)
def test_spellings_that_do_not_matter_leak(tmp_path, first, second):
    """Seen red: without person() CLEAN in five of six."""
    report = check_split([split(tmp_path, two_spellings(first, second))])
    assert (report.verdict, report.overall.leaked_images, report.subjects) == ("LEAK", 4, 4)


@pytest.mark.parametrize(
    ("first", "second"), [("{n}", "00{n}"), ("s00{n}", "S00{n}"), ("S{n}", "S0{n}"), ("S{n}", "S_{n}"), ("a-{n}", "a.{n}")]
)
def test_spellings_that_may_matter_are_unclear(tmp_path, first, second):
    """Exit code 1 and the pair, until the user says that they differ. Seen red: CLEAN and 0 on the code before."""
    rows = two_spellings(first, second)
    path = split(tmp_path, [*rows, *([row[0].replace(".", "b."), *row[1:]] for row in rows)])
    done = run(path)
    assert done.exit_code == 1 and done.output.startswith(
        "UNCLEAR  who is who is in doubt; if the ids are right, nobody is both trained on"
    )
    pair = sorted([first.format(n=0), second.format(n=0)])
    assert any(f"subjects {' and '.join(one)}" in done.output for one in (pair, pair[::-1]))
    said = json.loads(run(path, "--json").stdout)
    assert (said["verdict"], len(said["doubts"]), said["leaks"], said["overall"]["leaked_images"]) == ("UNCLEAR", 1, False, 0)
    done = run(path, "--distinct-subjects")
    assert done.exit_code == 0 and done.output.startswith("CLEAN") and "are different people, as you said" in done.output


def test_words_for_nothing_are_no_subject(tmp_path):
    for word in ("nan", "NA", "none", "-", "Null"):
        with pytest.raises(SplitError, match=r"the subject is empty in split.csv:3"):
            check_split([split(tmp_path, [["a.png", "1", "train"], ["b.png", word, "test"]])])


def named(ids, names=("S010_006_00000014.png", "S010_004_00000018.png"), people=("S010", "S011", "S014")):
    """Return rows whose names are those of CK+; `ids` are how the split calls a person in training and in test."""
    return [
        [name.replace("S010", who), spelling.format(who=who, n=int(who[1:])), side]
        for who in people
        for name, spelling, side in zip(names, ids, ("train", "test"), strict=True)
    ]


@pytest.mark.parametrize("ids", [("{n}", "{who}"), ("person {n}", "{n}"), ("ck{who}", "other{who}"), ("{n}.0", "x{n}"), ("a{n}", "{who}")])
def test_names_that_prove_the_leak_are_believed(tmp_path, ids):
    """Ids that have nothing in common; the file names tell that they are one person. Seen red: CLEAN and 0 on the code before."""
    report = check_split([split(tmp_path, named(ids))])
    assert (report.verdict, report.overall.leaked_images, report.subjects, report.doubts) == ("LEAK", 3, 3, ())
    assert "by the names of CK+ S010 is one person; the split calls them" in report.warnings[0] and "counted as one" in report.warnings[0]


def test_other_databases_names_prove_it_too(tmp_path):
    """KDEF's two sessions; Oulu-CASIA. Seen red: with the rule for CK+ alone."""
    rows = [
        ["AF01AFS.JPG", "AF01", "train"],
        ["BF01AFS.JPG", "BF01", "test"],
        ["AM02HAS.JPG", "M02", "train"],
        ["BM03HAS.JPG", "M03", "test"],
    ]
    report = check_split([split(tmp_path, rows)])
    assert (report.verdict, report.overall.leaked_images, report.overall.test_images) == ("LEAK", 1, 2)
    rows = [
        [f"VL/Strong/P{n:03d}/{word}/000.jpeg", who.format(n=n), side]
        for n in (1, 2)
        for word, who, side in (("Anger", "{n}", "train"), ("Fear", "P{n}", "test"))
    ]
    assert check_split([split(tmp_path, rows)]).overall.leaked_images == 2


@pytest.mark.parametrize(
    "rows",
    [
        # an id for two people, and two ids for one of them: the column may be something else than the person
        [["S010_006_00000014.png", "7", "train"], ["S011_006_00000014.png", "7", "train"], ["S010_004_00000018.png", "8", "test"]],
        # only some of the names are known
        [
            ["S010_006_00000014.png", "10", "train"],
            ["S010_004_00000018.png", "S010", "test"],
            ["S011_004_00000018.png", "S011", "test"],
            ["own/1.png", "x", "train"],
            ["own/2.png", "y", "test"],
        ],
        # one name for all of them: a rule that fits by chance
        [["p1/001_08.jpg", "p1", "train"], ["p2/001_08.jpg", "p2", "test"]],
    ],
)
def test_names_that_contradict_the_ids_without_proof_are_unclear(tmp_path, rows):
    """Seen red: CLEAN and 0 on the code before; LEAK for the last with a rule that needs no second person."""
    path = split(tmp_path, rows)
    done = run(path)
    assert done.exit_code == 1 and done.output.startswith("UNCLEAR") and "is one person; the split calls them" in done.output
    assert run(path, "--distinct-subjects").exit_code == 0


def test_ids_that_are_alike_are_two_people_where_their_names_are(tmp_path):
    """5 and 05 are S005 and S105 by all their names: nothing to doubt."""
    rows = [
        ["S005_001_00000011.png", "5", "train"],
        ["S005_002_00000011.png", "5", "train"],
        ["S105_001_00000011.png", "05", "test"],
        ["S105_002_00000011.png", "05", "test"],
    ]
    assert check_split([split(tmp_path, rows)]).verdict == "CLEAN"


def test_a_subject_for_each_image_is_unclear(tmp_path):
    """Where names are known there is nothing to doubt. Seen red: exit 0 beside `nothing was checked`."""
    path = split(tmp_path, [["a.png", "17", "train"], ["b.png", "18", "test"]])
    assert run(path).exit_code == 1 and run(path, "--distinct-subjects").exit_code == 0
    assert run(split(tmp_path, [["S005_001_00000011.png", "train"], ["S006_001_00000011.png", "test"]], "path,split")).exit_code == 0


def test_people_of_the_cropped_copy_are_those_of_ck_plus(tmp_path):
    """Seen red: ck48/S005 and ck+/S005 were two people."""
    rows = [["a.png", "S005", "train", "ck+"], ["b.png", "S005", "test", "ck48"], ["c.png", "S006", "train", "ck+"]]
    assert check_split([split(tmp_path, rows, "path,subject,split,dataset")]).overall.leaked_images == 1


@pytest.mark.parametrize("word", ["{side}", "{side}ing", "kdef"])
@pytest.mark.parametrize("both", [True, False])
def test_a_column_of_sides_is_no_database(tmp_path, word, both):
    """A column `dataset` that says train and test tells sides; one that is in one file alone parts nobody. Seen red: CLEAN, each person
    was two, by the prefix, in all but the one where both files say kdef."""
    rows = {side: [[f"{side}{n}.png", f"p{n % 2}", "happy", word.format(side=side)] for n in range(4)] for side in ("train", "test")}
    train = split(tmp_path, rows["train"], "path,subject,label,dataset", "train.csv")
    header = "path,subject,label,dataset" if both else "path,subject,label"
    test = split(tmp_path, rows["test"] if both else [row[:3] for row in rows["test"]], header, "test.csv")
    report = check_split([train, test])
    assert (report.verdict, report.overall.leaked_images, report.subjects) == ("LEAK", 4, 2)
    said = [note for note in report.notes if "holds sides" in note or "name none" in note]
    assert len(said) == (0 if (word, both) == ("kdef", True) else 2 if both else 1)


@pytest.mark.parametrize(("cells", "side"), [(["kdef", ""], "split"), (["train", "test"], "split"), (["train", "test"], "fold")])
def test_a_database_parts_people_only_where_each_row_names_one(tmp_path, cells, side):
    """One table; a cell is empty, or another column tells the side. Seen red: CLEAN, each person was two."""
    rows = [[f"{n}{one}.png", f"p{n % 2}", one, cell] for n in range(4) for one, cell in zip(("train", "test"), cells, strict=True)]
    report = check_split([split(tmp_path, rows, f"path,subject,{side},dataset")])
    assert (report.verdict, report.overall.leaked_images, report.subjects) == ("LEAK", 4, 2)


def test_ids_that_the_database_alone_parts_are_in_doubt(tmp_path):
    """Names that are no database of ours may be parts of one; with the names of two databases it is said. Seen red: CLEAN."""
    rows = [[f"{n}{one}.png", f"p{n % 2}", one, f"faces_{one}"] for n in range(4) for one in ("train", "test")]
    path = split(tmp_path, rows, "path,subject,split,dataset")
    done = run(path)
    assert done.exit_code == 1 and done.output.startswith("UNCLEAR") and "2 ids in several databases, such as p0 in" in done.output
    assert run(path, "--distinct-subjects").exit_code == 0
    rows = [[*row[:3], {"train": "ck+", "test": "mmi"}[row[2]]] for row in rows]
    done = run(split(tmp_path, rows, "path,subject,split,dataset"))
    assert done.exit_code == 0 and "p0 in ck+ and mmi, counted as different people" in " ".join(done.output.split())


# --- prepared folders, folders of pictures ----------------------------------------------------------------------------


def pictures(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.random.default_rng(number).integers(0, 255, (40, 40), np.uint8))
    return folder


SAFE = {"landmarks": "none", "views": "virtual", "folds": 2}


def test_a_folder_prepared_with_distinct_subjects_is_clean(tmp_path):
    """Its settings say it; a copy of its table does not. Seen red: without _said_distinct."""
    faces = pictures(
        tmp_path / "faces", [f"{who}/{n}_{word}.png" for who in ("1", "01", "2", "02") for n, word in enumerate(["happy", "sad"])]
    )
    config = PrepareConfig(**SAFE, options={"pattern": "{subject}/{sequence}_{expression}.png"}, distinct_subjects=True)
    prepare_dataset("folder", faces, tmp_path / "out", config)
    assert run(tmp_path / "out").exit_code == 0
    shutil.copy(tmp_path / "out" / "manifest.csv", tmp_path / "copy.csv")
    assert run(tmp_path / "copy.csv").exit_code == 1


def test_neutral_references_are_not_tested(write_tiny, tmp_path):
    """12 faces, one of four expressions a reference; in a user's table `role` may be anything. Seen red: 12 test images."""
    out = write_tiny(tmp_path / "out", 3, 3, ("anger", "contempt", "fear", "neutral"), frames=1, reference=("neutral",))
    for path in (out, out / "manifest.csv"):
        report = check_split([path])
        assert (report.verdict, report.overall.test_images) == ("CLEAN", 9)
        assert any("neither trained nor tested on: 3 rows, left out" in note for note in report.notes)
    rows = [[f"{n}.png", f"p{n % 2}", "train" if n % 2 else "test", ("reference", "actor")[n // 2]] for n in range(4)]
    assert check_split([split(tmp_path, rows, "path,subject,split,role")]).overall.test_images == 2


def test_jaffes_na_is_a_person_where_names_of_files_say_so(tmp_path):
    """Seen red: the prepared folder was refused, for its subject is empty."""
    faces = pictures(tmp_path / "faces", [f"{who}.{word}{n}.{n}.png" for who in ("NA", "KA") for n, word in enumerate(["HA", "SA"], 1)])
    config = PrepareConfig(**SAFE, options={"pattern": "{subject:2}.{expression:2}{sequence}.{frame}.png"})
    prepare_dataset("folder", faces, tmp_path / "out", config)
    report = check_split([tmp_path / "out"])
    assert (report.verdict, report.subjects) == ("CLEAN", 2)
    path = tmp_path / "list.csv"
    path.write_text("path,split\nx_NA_1.png,train\nx_KA_2.png,test\nx_NA_3.png,train\n")
    assert check_split([path], r"_([A-Z]{2})_").subjects == 2


@pytest.mark.parametrize("form", ["{side}\\{who}\\{file}", "{side}\\{who}/{file}", "{side}/{who}/{file}"])
def test_backslashes_in_names_are_folders(tmp_path, form):
    """A zip from Windows, unpacked so that the backslashes stay. Seen red: the pictures lay outside of train and test."""
    rows = [("train", "a", "1.png"), ("train", "b", "2.png"), ("test", "a", "3.png"), ("test", "c", "4.png")]
    root = pictures(tmp_path / "faces", [form.format(side=side, who=who, file=file) for side, who, file in rows])
    report = check_split([root], r"([^/]+)/[^/]+$")
    assert (report.overall.test_images, report.overall.leaked_images, report.pixels.compared) == (2, 1, 4)


def test_unicode_forms_of_paths_are_one(tmp_path):
    """In lists, in folders, and where pictures are looked for. Seen red: Zoë in two forms was two people, and no picture was found."""
    nfc, nfd = (unicodedata.normalize(form, "Zo\u00eb") for form in ("NFC", "NFD"))
    rows = [[f"{nfc}/1.png", "train"], [f"{nfd}/2.png", "test"], ["Bob/1.png", "train"], ["Eve/1.png", "test"]]
    path = split(tmp_path, rows, "path,split")
    root = pictures(tmp_path / "faces", [f"{nfd}/1.png", f"{nfc}/2.png", "Bob/1.png", "Eve/1.png"])
    report = check_split([path], r"([^/]+)/[^/]+$", images=root)
    assert (report.overall.leaked_images, report.subjects, report.pixels.compared) == (1, 3, 4)
    root = pictures(tmp_path / "sides", [f"train/{nfd}/1.png", f"test/{nfc}/2.png", "train/Bob/1.png", "test/Eve/1.png"])
    assert check_split([root], r"([^/]+)/[^/]+$").overall.leaked_images == 1
    one = split(tmp_path, [[f"{nfc}/1.png", "train"], [f"{nfd}/1.png", "test"]], "path,split")
    assert check_split([one], r"([^/]+)/[^/]+$").overall.shared_images == 1  # one picture, listed twice
    rows = [[f"{n}", f"{nfd}{n}/1.png", str(n), "train" if n == 1 else "test"] for n in (1, 2)]
    more = pictures(tmp_path / "more", [f"{nfc}{n}/1.png" for n in (1, 2)])
    report = check_split([split(tmp_path, rows, "id,source,subject,split")], images=more)
    assert report.pixels.compared == 2


# --- tables as spreadsheets save them ---------------------------------------------------------------------------------

LEAKING = [
    ["S010_006_00000014.png", "Jos\u00e9", "train"],
    ["S011_006_00000014.png", "Eve", "train"],
    ["S010_004_00000018.png", "Jos\u00e9", "test"],
]
FORMS = {
    "latin-1": {"encoding": "latin-1"},
    "utf-16": {"encoding": "utf-16"},
    "semicolon": {"separator": ";"},
    "tab": {"separator": "\t"},
    "sep": {"header": "sep=,\npath,subject,split"},
    "upper": {"header": "FILE NAME,Subject ID,SET"},
    "utf-8-sig": {"encoding": "utf-8-sig"},
    "txt": {"separator": ";", "name": "split.txt"},
    "a_utf16": {"encoding": "utf-16", "name": "a_utf16.csv"},
    "utf-16-be": {"encoding": "utf-16-be"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_is_read(tmp_path, form):
    """Seen red on the code before: latin-1, sep, a_utf16 (fold 16), utf-16-be."""
    report = check_split([split(tmp_path, LEAKING, **FORMS[form])])
    assert (report.verdict, report.overall.leaked_images, [fold.name for fold in report.folds]) == ("LEAK", 1, ["split"])
    assert any("read as Latin-1" in note for note in report.notes) == (form == "latin-1")


@pytest.mark.parametrize(
    ("header", "train", "test"),
    [
        ("path,subject,is_train", "1", "0"),
        ("path,subject,isTrain", "True", "False"),
        ("path,subject,IS_TRAINING", "yes", "no"),
        ("path,subject,is_test", "0", "1"),
        ("path,subject,train", "1.0", "0.0"),
        ("path,subject,is_train,is_test", "1,0", "0,1"),
        ("path,subject,train,val,test", "1,0,0", "0,0,1"),
        ("path,subject,fold", "train", "test"),
    ],
)
def test_columns_of_yes_and_no_tell_sides(tmp_path, header, train, test):
    """Seen red on the code before: `nothing says on which side`; the last: two folds."""
    rows = [[name, who, train if side == "train" else test] for name, who, side in LEAKING]
    report = check_split([split(tmp_path, rows, header)])
    assert (report.overall.train_images, report.overall.test_images, report.overall.leaked_images) == (2, 1, 1)


def test_numbers_in_a_column_of_sides_are_folds(tmp_path):
    """Seen red on the code before: `may hold train, training, ...; got '1'`."""
    rows = [[name, who, str(number % 2)] for number, (name, who, _) in enumerate(LEAKING)]
    report = check_split([split(tmp_path, rows, "path,subject,set")])
    assert [fold.name for fold in report.folds] == ["0", "1"] and any("holds numbers: taken for the fold" in note for note in report.notes)


@pytest.mark.parametrize(
    ("header", "cells", "sentence"),
    [
        (
            "path,subject,is_train",
            ["1", "maybe"],
            "column 'is_train' may hold 1 and 0, true and false, yes and no; got 'maybe' in split.csv:3",
        ),
        ("path,subject,is_train,is_test", ["1,0", "0,0"], "split.csv:3 is on no side, by the columns 'is_train', 'is_test'"),
        ("path,subject,is_train,is_test", ["1,1", "0,1"], "split.csv:2 is on two sides"),
        ("path,subject,train", ["a", "b"], "nothing says on which side"),
        ("path,subject,subject", ["1", "2"], "'subject' is there 2 times"),
        ("path,subject,split,Set", ["train,test", "test,test"], "'split' and 'Set' can both be the side"),
    ],
)
def test_what_tells_no_side_is_said(tmp_path, header, cells, sentence):
    with pytest.raises(SplitError, match=sentence):
        check_split([split(tmp_path, [["a.png", "1", cells[0]], ["b.png", "2", cells[1]]], header)])


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_other_kinds_of_table_are_read(tmp_path, suffix):
    """Seen red on the code before: `.jsonl` was refused."""
    frame = pd.DataFrame(LEAKING, columns=["path", "subject", "split"])
    path = tmp_path / f"split{suffix}"
    write = {
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".json": lambda: frame.to_json(path, orient="records"),
        ".parquet": lambda: frame.to_parquet(path),
    }
    write[suffix]()
    assert check_split([path]).overall.leaked_images == 1


def test_kinds_that_are_not_read_are_said_with_those_that_are(tmp_path):
    (tmp_path / "split.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(
        SplitError, match=r"it is a .xlsx file \(an Excel or zip file; save the table as CSV\); read are .csv, .*and folders"
    ):
        check_split([tmp_path / "split.xlsx"])


def test_a_first_line_that_says_train_is_no_header(tmp_path):
    """Seen red: `train` alone made it one, and the first picture was lost."""
    (tmp_path / "list.csv").write_text("S010_006_00000014.png,train\nS011_006_00000014.png,test\n")
    assert [row.path for row in rows_of_file(tmp_path / "list.csv")] == ["S010_006_00000014.png", "S011_006_00000014.png"]


@pytest.mark.parametrize(
    ("name", "fold"),
    [
        ("a_utf16", None),
        ("split-utf-8", None),
        ("ids_latin1", None),
        ("iso-8859-15", None),
        ("cp1252_list", None),
        ("ck48", None),
        ("CK+48_split", None),
        ("fer2013", None),
        ("split_2024", None),
        ("split_v2", None),
        ("2023-05-01", None),
        ("faces_96x96", None),
        ("test_3_utf16", "3"),
        ("fold_2_v3", "2"),
        ("list7", "7"),
        ("ck48_fold2_train", "2"),
        ("train_2024_fold4", "4"),
        ("3", "3"),
    ],
)
def test_numbers_that_are_no_folds(name, fold):
    """Seen red on the code before: 16, 8, 1, 1252, 48, 2013, 2024, 2 ..."""
    assert fold_of(name) == fold


# --- the cases that were handed in ------------------------------------------------------------------------------------


@pytest.mark.skipif(not (SHARED / "audit-names-contradict").is_dir(), reason=f"no cases at {SHARED}")
def test_the_case_that_was_handed_in():
    done = run(SHARED / "audit-names-contradict" / "split.csv")
    assert done.exit_code == 1 and done.output.startswith("LEAK  4 of 4 test images (100.0 %)")


@pytest.mark.skipif(not (SHARED / "torn-people").is_dir(), reason=f"no cases at {SHARED}")
@pytest.mark.parametrize("path", sorted((SHARED / "torn-people").glob("*.csv")), ids=lambda path: path.stem)
def test_no_index_with_a_torn_person_is_clean(path, tmp_path):
    """Each of them with the happy pictures tested and the others trained on."""
    lines = path.read_text(encoding="utf-8").splitlines()
    content = [lines[0] + ",split", *(f"{line},{'test' if line.endswith('happy') else 'train'}" for line in lines[1:])]
    (tmp_path / "split.csv").write_text("\n".join(content), encoding="utf-8")
    assert run(tmp_path / "split.csv").exit_code == 1
