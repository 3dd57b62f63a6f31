"""Indexes that people made, and names of files in other spellings: read where they have one meaning, else the reason with its line."""

import os
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.datasets.adapters import ADAPTERS
from fer_data.errors import DatasetError
from fer_data.prepare.plan import PrepareConfig, make_plan
from fer_data.prepare.run import prepare_dataset
from fer_data.store.manifest import read_manifest, read_settings, read_skipped

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "cases"
EXPRESSIONS = {"0_neutral.png": "neutral", "1_happy.png": "happy"}
PATTERN = "{subject}/{sequence}_{expression}.*"
SAFE = {"landmarks": "none", "views": "virtual", "folds": 2}


@pytest.fixture
def faces(tmp_path):
    """Four people with two pictures each: faces/p0/0_neutral.png."""
    return people(tmp_path, [f"p{number}" for number in range(4)])


def people(folder, names, files=tuple(EXPRESSIONS)):
    for number, name in enumerate(names):
        for file in files:
            (folder / "faces" / name).mkdir(parents=True, exist_ok=True)
            picture = np.random.default_rng([number, len(file)]).integers(0, 255, (40, 40), np.uint8)
            assert cv2.imwrite(str(folder / "faces" / name / file), picture)
    return folder / "faces"


def rows(subject="{n}", path="p{n}/{file}", expression="{word}"):
    """Return a row of cells for each picture; `subject` may be two spellings with | between them, one for each picture."""
    found = []
    for n in range(4):
        for spelling, (file, word) in zip((subject.split("|") * 2)[:2], EXPRESSIONS.items(), strict=True):
            found.append([text.format(n=n, file=file, word=word) for text in (path, spelling, expression)])
    return found


def index(folder, content, header="path,subject,expression", name="index.csv", encoding="utf-8", separator=","):
    lines = [header.replace(",", separator), *(separator.join(row) for row in content)]
    (folder / name).write_bytes("\n".join(lines).encode(encoding))
    return folder / name


def planned(faces, path, **settings):
    return make_plan("folder", faces, PrepareConfig(**SAFE, options={"index": path}, **settings))


def counts(plan):
    return len({one.sequence.subject for one in plan.selected}), plan.n_faces


# --- one person under two spellings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        "{n}.0|{n}",
        "S  {n}|S {n}",
        "S\u00a0{n}|S {n}",
        "Rene\u0301{n}|Ren\u00e9{n}",
        "S{n}\u200b|S{n}",
        "{n},00|{n}",
        "\ufeffS{n}|S{n}",
        "S\t{n}|S {n}",
        "\u212b{n}|\u00c5{n}",
    ],
)
def test_spellings_that_do_not_matter_are_one_person(faces, tmp_path, subject):
    """Seen red: without person(): 8 people, each in both folds."""
    quoted = [[path, f'"{who}"', word] for path, who, word in rows(subject)]
    assert counts(planned(faces, index(tmp_path, quoted))) == (4, 8)


@pytest.mark.parametrize("subject", ["00{n}|{n}", "s00{n}|S00{n}", "S{n}|S_{n}", "S0{n}|S{n}", "P-{n}|P {n}", "Anna{n}|anna{n}"])
def test_spellings_that_may_matter_are_refused_with_the_pair_and_the_option(faces, tmp_path, subject):
    """Seen red: without refuse_alike: 8 people without a word."""
    path = index(tmp_path, rows(subject))
    first, second = (spelling.format(n=0) for spelling in subject.split("|"))
    with pytest.raises(DatasetError, match=f"({first} and {second}|{second} and {first}), .*and 1 more; .*--distinct-subjects"):
        planned(faces, path)
    assert counts(planned(faces, path, distinct_subjects=True)) == (8, 8)


def test_the_option_is_an_option_and_is_kept(faces, tmp_path):
    """Seen red: the option left out of the settings; `false` written for everybody, which changes the bytes of each data set."""
    command = [
        "prepare",
        "folder",
        str(faces),
        str(tmp_path / "out"),
        "--landmarks",
        "none",
        "--views",
        "virtual",
        "--folds",
        "2",
        "--index",
    ]
    torn, plain = index(tmp_path, rows("00{n}|{n}")), index(tmp_path, rows(), name="plain.csv")
    assert CliRunner().invoke(main, [*command, str(torn)]).exit_code == 1 and not (tmp_path / "out").exists()
    done = CliRunner().invoke(main, [*command, str(torn), "--distinct-subjects"])
    assert done.exit_code == 0 and "8 subjects" in done.output and read_settings(tmp_path / "out")["config"]["distinct_subjects"] is True
    shutil.rmtree(tmp_path / "out")
    assert CliRunner().invoke(main, [*command, str(plain)]).exit_code == 0
    assert "distinct_subjects" not in read_settings(tmp_path / "out")["config"]


@pytest.mark.parametrize("word", ["nan", "NA", "none", "Null", "-", "n/a", "", "?", "#WERT!", "unknown"])
def test_words_for_nothing_are_nobody(faces, tmp_path, word):
    """Seen red: `nan` was the fifth person, so were `#WERT!` and `unknown`."""
    path = index(tmp_path, rows("{n}|" + word))
    assert counts(planned(faces, path)) == (4, 4)
    found = ADAPTERS["folder"](faces, index=path)
    assert [skip.reason for skip in found.skipped] == ["bad-label"] * 4
    assert f"in line 3 of index.csv: {word!r} names nobody" in found.skipped[0].detail
    assert "4 of 8 rows of index.csv cannot be used, each for this reason: reading a subject" in found.notes[0]


def test_a_word_for_nothing_is_somebody_where_the_pattern_says_how_long_a_name_is(tmp_path):
    """JAFFE has a woman called NA. Seen red: without `exact`: nine of its ten people."""
    root = people(tmp_path, ["jaffe"], ["NA.HA1.202.tiff", "KA.AN1.39.tiff", "KA.HA1.29.tiff", "NA.AN1.1.tiff"])
    found = ADAPTERS["folder"](root, pattern="*/{subject:2}.{expression:2}{sequence}.{frame}.tiff")
    assert {one.subject for one in found.sequences} == {"NA", "KA"}
    root = people(tmp_path / "other", ["nan", "b"])
    found = ADAPTERS["folder"](root, pattern=PATTERN)
    assert {one.subject for one in found.sequences} == {"b"} and {skip.reason for skip in found.skipped} == {"bad-label"}


# --- an index that is nearly right ------------------------------------------------------------------------------------

READ = {
    "semicolon": {"separator": ";"},
    "tab": {"separator": "\t"},
    "pipe": {"separator": "|"},
    "sep-line": {"header": "sep=,\npath,subject,expression"},
    "upper": {"header": "PATH,Subject,EXPRESSION"},
    "alias": {"header": "filename,subject_id,label"},
    "words": {"header": "Img,Person,Emotion"},
    "bom": {"encoding": "utf-8-sig"},
    "utf-16": {"encoding": "utf-16"},
    "utf-16-le": {"encoding": "utf-16-le"},
    "latin-1": {"encoding": "latin-1"},
    "blank": {"header": " path , subject , expression "},
    "tsv": {"separator": "\t", "name": "index.tsv"},
    "dash": {"header": "File-Path,subject id,label"},
}


@pytest.mark.parametrize("form", READ)
def test_every_usual_form_is_read(faces, tmp_path, form):
    """Seen red on the reader before: all but `bom` and `blank`."""
    found = planned(faces, index(tmp_path, rows("Jos\u00e9{n}" if "header" not in READ[form] else "{n}"), **READ[form]))
    assert counts(found) == (4, 8) and (form != "latin-1" or "read as Latin-1" in found.notes[0])


@pytest.mark.parametrize("form", ["json", "jsonl", "parquet"])
def test_other_kinds_of_table_are_read(faces, tmp_path, form):
    import pandas as pd

    frame = pd.DataFrame(rows(), columns=["path", "subject", "label"])
    path = tmp_path / f"index.{form}"
    {
        "json": lambda: frame.to_json(path, orient="records"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }[form]()
    assert counts(planned(faces, path)) == (4, 8)


def test_backslashes_and_dots_in_paths_are_read(faces, tmp_path):
    assert counts(planned(faces, index(tmp_path, rows(path=".\\p{n}\\{file}")))) == (4, 8)
    assert counts(planned(faces, index(tmp_path, rows(path="./p{n}//{file}")))) == (4, 8)


def test_frames_of_a_spreadsheet_are_numbers(faces, tmp_path):
    """0.0 and 1.0; a comma ends each row. Seen red: `allowed are digits, got '0.0'` in each row."""
    content = [[*row, f"q{row[1]}", f"{number % 2}.0", ""] for number, row in enumerate(rows())]
    found = planned(faces, index(tmp_path, content, "path,subject,expression,sequence,frame"))
    assert counts(found) == (4, 8) and {one.sequence.sequence for one in found.selected} == {"q0", "q1", "q2", "q3"}
    assert [frame.number for one in found.selected for frame in one.sequence.frames] == [0, 1] * 4


def test_frames_that_are_counted_anew_for_each_expression_are_all_read(tmp_path):
    """Three of each expression, by names and by a table; an id that is there already is not given twice; the same again is a duplicate.

    Seen red: of six pictures three duplicates. Without the loop of _told_apart both a-anger were one sequence, with a duplicate in it.
    """
    for word in ("anger", "happy"):
        root = people(tmp_path, [f"p1/{word}"], ["000.png", "001.png", "002.png"])
    found = ADAPTERS["folder"](root, pattern="{subject}/{expression}/{frame}.png")
    assert sum(len(one.frames) for one in found.sequences) == 6 and not found.skipped
    assert [one.sequence for one in found.sequences] == [f"{n:03d}-{word}" for n in range(3) for word in ("anger", "happiness")]
    content = [[f"p1/{word}/00{n}.png", "p1", word, "a", str(n)] for word in ("anger", "happy") for n in range(2)]
    content += [["p1/anger/002.png", "p1", "anger", "a-anger", "0"], ["p1/happy/002.png", "p1", "happy", "a", "1"]]
    found = ADAPTERS["folder"](root, index=index(tmp_path, content, "path,subject,expression,sequence,frame"))
    assert [(one.sequence, len(one.frames)) for one in found.sequences] == [("a-anger", 1), ("a-anger-", 2), ("a-happiness", 2)]
    assert [skip.detail for skip in found.skipped] == ["frame 1 of p1/a-happiness is p1/happy/001.png already"]
    # as before: numbers that go on from one expression to the next
    content = [[f"p1/{word}/00{n}.png", "p1", word, "a", f"{k}{n}"] for k, word in enumerate(("anger", "happy")) for n in range(2)]
    found = ADAPTERS["folder"](root, index=index(tmp_path, content, "path,subject,expression,sequence,frame"))
    assert [(one.sequence, one.expression) for one in found.sequences] == [("a", "anger"), ("a", "happiness")]


def test_a_line_break_in_the_id_of_a_sequence_is_said_before_any_work(faces, tmp_path):
    """Seen red: eight sequences; prepare made all faces, then `Column 'image_id' failed element-wise validator`."""
    content = [[*row, '"q\n7"' if number == 0 else f"q{number}"] for number, row in enumerate(rows())]
    found = ADAPTERS["folder"](faces, index=index(tmp_path, content, "path,subject,expression,sequence"))
    assert len(found.sequences) == 7 and [(skip.reason, skip.source) for skip in found.skipped] == [("bad-label", "p0/0_neutral.png")]
    assert found.skipped[0].detail == "reading a sequence in line 2 of index.csv: 'q\\n7' contains a line break; write it in one line"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"expression": "calm"},
            "8 of 8 rows of .* cannot be used, each for this reason: .* in line 2 of index.csv: unknown expression 'calm'",
        ),
        ({"expression": "4"}, "in line 2 of index.csv: unknown expression '4'; .*; --map FILE says what words and numbers of your own"),
        ({"path": "faces/p{n}/{file}"}, "names faces/p0/0_neutral.png, .* p0/0_neutral.png is: paths are relative to ROOT"),
        ({"path": "/data/my/p{n}/{file}"}, "paths are relative to ROOT"),
        ({"path": "P{n}/{file}"}, "p0/0_neutral.png is: upper and lower case count"),
        ({"path": "p{n}/{file}.jpg"}, "line 2 of index.csv names p0/0_neutral.png.jpg, a picture that is not there$"),
        ({"path": "q{n}/{file}"}, "line 2 of index.csv names q0/0_neutral.png, a picture that is not there$"),
        ({"subject": "nan"}, "in line 2 of index.csv: 'nan' names nobody"),
        ({"subject": "a/{n}"}, "in line 2 of index.csv: 'a/0' contains a '/'"),
    ],
)
def test_where_every_row_fails_the_commonest_reason_is_said_with_its_line(faces, tmp_path, content, sentence):
    """Seen red on the reader before: `nothing below faces fits PosixPath(...)` in each case."""
    with pytest.raises(DatasetError, match=sentence):
        planned(faces, index(tmp_path, rows(**content)))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("p0/0_neutral", "p0/0_neutral.png is: the suffix counts"),
        ("p0/0_neutral.jpg", "p0/0_neutral.png is: the suffix counts"),
        ("only.png", "p9/only.png is: write the folders below ROOT as well"),
        ("0_neutral.png", "a picture that is not there"),
    ],
)
def test_a_row_that_is_nearly_right_names_the_picture_that_is_there(faces, tmp_path, path, sentence):
    """Named, not taken: the last one could be any of four. Seen red: without _Near."""
    people(tmp_path, ["p9"], ["only.png"])
    found = ADAPTERS["folder"](faces, index=index(tmp_path, [*rows()[1:], [path, "7", "sad"]]))
    assert found.notes[0].endswith(sentence)


def test_the_commonest_reason_is_the_commonest(faces, tmp_path):
    """One word that is unknown, seven pictures that are not there. Seen red: the first reason said."""
    content = [["p0/0_neutral.png", "0", "calm"], *(["x" + row[0], *row[1:]] for row in rows()[1:])]
    with pytest.raises(DatasetError, match=r"8 of 8 rows .*, 7 of them for this reason: line 3 of index.csv names xp0/1_happy.png"):
        planned(faces, index(tmp_path, content))


def test_rows_that_fail_for_one_reason_are_counted_together(faces, tmp_path):
    """Twice three frames of one number, then two words. Seen red: the frames of each sequence a reason of their own."""
    content = [[*row[:2], "calm" if number > 5 else "happy", "qr"[number // 3 % 2], "7"] for number, row in enumerate(rows("one"))]
    found = ADAPTERS["folder"](faces, index=index(tmp_path, content, "path,subject,expression,sequence,frame"))
    assert found.notes[0].startswith("6 of 8 rows of index.csv cannot be used, 4 of them for this reason: frame 7 of one/q is")


def test_where_every_picture_that_fits_the_pattern_fails_the_reason_is_said(tmp_path):
    root = people(tmp_path, ["p1", "p2"], ["0_calm.png"])
    with pytest.raises(DatasetError, match=r"2 of 2 rows of the names cannot be used, each .* in p1/0_calm.png: unknown expression 'calm'"):
        ADAPTERS["folder"](root, pattern=PATTERN)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("path,subject,expression,subject", "the column 'subject' is there 2 times"),
        ("path,subject,expression,Path", "'path' is there 2 times"),
        ("path,subject,expression,person", "'subject' and 'person' can both be the subject"),
        ("img,person,emo,seq", "missing: expression; .*say which is which with --key .path., --subject, --label .expression."),
        ("path,who,expression,x", "missing: subject; its columns are 'path', 'who', .*subject may be called subjectid"),
    ],
)
def test_a_column_that_is_there_twice_or_not_at_all_is_refused(faces, tmp_path, header, sentence):
    """Seen red on the reader before: the first of two columns was taken without a word; no option was named that helps."""
    with pytest.raises(DatasetError, match=f"^reading the table .*index.csv: .*{sentence}"):
        planned(faces, index(tmp_path, [[*row, "X"] for row in rows()], header))


@pytest.mark.parametrize(
    ("cell", "word"),
    [("A\u0308rger", "\u00c4rger"), ("\u00c4r\u00adger\u200b", "A\u0308RGER"), ("6.0", "6"), ("6", "6,0"), ("Very  sad", "very sad")],
)
def test_words_of_a_map_are_compared_in_one_spelling(faces, tmp_path, cell, word):
    """Seen red: unknown expression '\u00c4rger', did you mean \u00e4rger?; unknown expression '6.0'; lines that contradict each other."""
    (tmp_path / "map.yaml").write_text(f"'{word}': anger\n", "utf-8")
    for more in ([], [[*rows()[0][:2], word]]):
        path = index(tmp_path, [*rows(expression=cell), *more], separator=";")
        found = ADAPTERS["folder"](faces, index=path, words=tmp_path / "map.yaml")
        assert [one.expression for one in found.sequences] == ["anger"] * 8
        assert [skip.reason for skip in found.skipped] == ["duplicate"] * len(more)


def test_a_map_is_decoded_as_tables_are(faces, tmp_path):
    """Seen red: it is not YAML (unacceptable character #x0096 ...)."""
    (tmp_path / "map.yaml").write_bytes("# 1 \u2013 2\n\u00c4rger: anger\n".encode("cp1252"))
    found = ADAPTERS["folder"](faces, index=index(tmp_path, rows(expression="\u00e4rger")), words=tmp_path / "map.yaml")
    assert {one.expression for one in found.sequences} == {"anger"}
    assert found.notes == ("map.yaml: read as Windows-1252, for it is not UTF-8; if letters are wrong, save it as UTF-8",)


# --- names of files ---------------------------------------------------------------------------------------------------


def decomposed(folder):
    """Return a folder with `Zoë0` to `Zoë2` in both forms, one picture in each: 3 people, 6 faces."""
    for form, file in zip(("NFC", "NFD"), EXPRESSIONS, strict=True):
        people(folder, [unicodedata.normalize(form, f"Zo\u00eb{n}") for n in range(3)], [file])
    return folder / "faces"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_two_unicode_forms_are_one(tmp_path, form):
    """Seen red: without same_path(): 6 people, each in both folds; 3 of 6 rows named a picture that was not there."""
    faces = decomposed(tmp_path)
    plan = make_plan(
        "folder", faces, PrepareConfig(**SAFE, options={"pattern": unicodedata.normalize(form, "{subject}/{sequence}_{expression}.*")})
    )
    assert counts(plan) == (3, 6)
    content = [[unicodedata.normalize(form, f"Zo\u00eb{n}/{file}"), str(n), word] for n in range(3) for file, word in EXPRESSIONS.items()]
    plan = planned(faces, index(tmp_path, content))
    assert counts(plan) == (3, 6) and not plan.skipped
    prepare_dataset("folder", faces, tmp_path / "out", PrepareConfig(**SAFE, options={"pattern": PATTERN}))
    assert set(read_manifest(tmp_path / "out")["subject"]) == {f"Zo\u00eb{n}" for n in range(3)}


def test_pictures_that_fit_but_for_upper_and_lower_case_are_told(tmp_path):
    """Seen red: `it does not fit` alone, and `the first picture found is`."""
    root, pattern = people(tmp_path, ["p1", "p2"], ["a.PNG", "a_happy.PNG"]), "{subject}/*_{expression}.png"
    with pytest.raises(DatasetError, match=r"fits '\{subject\}.*'; p1/a_happy.PNG nearly does; upper and lower case count$"):
        ADAPTERS["folder"](root, pattern=pattern)
    people(tmp_path, ["p3"], ["a_happy.png"])
    found = ADAPTERS["folder"](root, pattern=pattern)
    assert [skip.detail for skip in found.skipped] == 2 * [
        f"it does not fit {pattern}", f"it does not fit {pattern}; upper and lower case count"
    ]
    assert found.notes == (f"left out for upper or lower case alone: 2 pictures such as p1/a_happy.PNG, which {pattern} nearly fits",)


def test_a_pattern_in_another_unicode_form_fits(tmp_path):
    """Seen red: the pattern taken as it is typed."""
    faces = people(tmp_path, ["p1", "p2"], [unicodedata.normalize("NFD", "gl\u00fccklich_happy.png")])
    assert len(ADAPTERS["folder"](faces, pattern=unicodedata.normalize("NFC", "{subject}/gl\u00fccklich_{expression}.png")).sequences) == 2
    assert len(ADAPTERS["folder"](faces, pattern=unicodedata.normalize("NFD", "{subject}/gl\u00fccklich_{expression}.png")).sequences) == 2


def test_two_files_that_differ_in_the_form_alone_are_refused(tmp_path):
    """Seen red: without the check one of them was taken."""
    faces = decomposed(tmp_path)
    people(tmp_path, [unicodedata.normalize("NFD", "Zo\u00eb1")], ["0_neutral.png"])
    with pytest.raises(DatasetError, match=r"two files have one name, 'Zoe\\u03081/0_neutral.png' and 'Zo\\xeb1/0_neut"):
        ADAPTERS["folder"](faces, pattern=PATTERN)


def test_a_backslash_in_a_name_is_a_folder(tmp_path):
    """A zip from Windows, unpacked so that the backslashes stay. Seen red: nothing fitted."""
    (tmp_path / "faces").mkdir()
    source = people(tmp_path / "tree", ["p0", "p1"])
    for path in source.rglob("*.png"):
        shutil.copy(path, tmp_path / "faces" / "\\".join(path.parts[-2:]))
    done = prepare_dataset("folder", tmp_path / "faces", tmp_path / "out", PrepareConfig(**SAFE, options={"pattern": PATTERN}))
    assert (done.subjects, done.kept) == (2, 4) and set(read_skipped(tmp_path / "out")["reason"]) == set()
    found = ADAPTERS["folder"](tmp_path / "faces", index=index(tmp_path, rows()[:4]))
    assert len(found.sequences) == 4


# --- the cases that were handed in ------------------------------------------------------------------------------------

OUTCOMES = {
    "torn-people": {
        "excel": "001 and 1",
        "case": "S001 and s001",
        "underscore": "S1 and S_1",
        "nothing-word": "4 faces of 4 sequences, 4 subjects",
    },
    "index-says-nothing": {
        "words": "in line 2 of words.csv: unknown expression 'calm'",
        "root-in-path": "relative to ROOT",
        "no-suffix": "the suffix counts",
        "case": "upper and lower",
        "two-columns-of-one-name": "'subject' is there 2 times",
        "codes": "in line 2 of codes.csv",
    },
}
GIVEN = [path for name in OUTCOMES for path in sorted((SHARED / name).glob("*.csv"))]


@pytest.mark.skipif(not GIVEN, reason=f"no cases at {SHARED}")
@pytest.mark.parametrize("path", GIVEN, ids=lambda path: path.stem)
def test_the_cases_that_were_handed_in(path, tmp_path):
    """4 people and 8 faces, or the sentence above with exit code 1 and nothing written."""
    command = ["prepare", "folder", str(path.parent / "faces"), str(tmp_path / "out"), "--index", str(path)]
    done = CliRunner().invoke(main, [*command, "--landmarks", "none", "--views", "virtual", "--folds", "2"])
    expected = OUTCOMES[path.parent.name].get(path.stem, "8 faces of 8 sequences, 4 subjects")
    refused = path.stem in OUTCOMES[path.parent.name] and path.stem != "nothing-word"
    assert expected in done.output and done.exit_code == refused and (tmp_path / "out").exists() != refused


@pytest.mark.timeout(120)
@pytest.mark.skipif(not GIVEN, reason=f"no cases at {SHARED}")
def test_the_cases_whose_names_no_repository_can_hold(tmp_path):
    """They are made as their READMEs say. Seen red: names of files without NFC, a FIFO that counts as a picture, without what to do."""
    plain = ["--landmarks", "none", "--views", "virtual", "--folds", "2"]
    pattern = ["--pattern", "{subject}/{sequence}_{expression}.*", *plain]
    names, bad, windows = (tmp_path / name for name in ("names", "bad", "windows"))
    for form, file in (("NFC", "0_neutral.png"), ("NFD", "1_happy.png")):
        for n in range(3):
            folder = names / unicodedata.normalize(form, f"Zo\u00eb{n}")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(SHARED / "torn-people" / "faces" / f"p{n}" / file, folder)
    shutil.copytree(SHARED / "one-bad-file-stops-all" / "faces", bad)
    (bad / "p1" / "2_sad.png").symlink_to("nowhere.png")
    (bad / "p2" / "2_sad.png").symlink_to("2_sad.png")
    os.mkfifo(bad / "p3" / "2_sad.png")
    windows.mkdir()
    (windows / "cohn-kanade-images\\S005\\001\\S005_001_00000001.png").write_bytes(b"")
    for command, exit_code, expected in (
        (["folder", names, *pattern], 0, "6 faces of 6 sequences, 3 subjects"),
        (["folder", names, "--index", SHARED / "nfc-nfd-names" / "index.csv", *plain], 0, "6 faces of 6 sequences, 3 subjects"),
        (["folder", bad, *pattern], 0, "skipped 2 (unreadable 2"),
        (["ck+", windows], 1, "the zip was made on Windows"),
    ):
        out = tmp_path / f"out{len([*tmp_path.iterdir()])}"
        done = CliRunner().invoke(main, ["prepare", *map(str, (*command[:2], out, *command[2:]))])
        assert done.exit_code == exit_code and expected in done.output, done.output


@pytest.mark.parametrize(("line", "said"), [("p0/0_neutral.png,p0,happy", "expression is 'neutral' and 'happy'"),
                                            ("p0/0_neutral.png,p3,neutral", "subject is 'p0' and 'p3'")])
def test_lines_that_contradict_each_other_are_refused(faces, tmp_path, line, said):
    """A wrong person is a wrong fold. Seen red: the first line won, and the other one `repeats` it."""
    path = index(tmp_path, [*rows("p{n}"), line.split(",")])
    with pytest.raises(DatasetError, match=f"lines 2 and 10 are of one picture, p0/0_neutral.png, and say that its {said}; keep the line"):
        planned(faces, path)
    assert planned(faces, index(tmp_path, [*rows("p{n}"), ["p0/0_neutral.png", "p0", "Neutral"]])).n_faces == 8


def test_a_path_may_begin_with_the_folder_itself(faces, tmp_path, monkeypatch):
    """As pandas and glob write it, absolute or from where the command runs. Seen red: a picture that is not there."""
    monkeypatch.chdir(tmp_path)
    for before in (faces, "faces"):
        assert planned(Path("faces"), index(tmp_path, rows("p{n}", path=f"{before}/p{{n}}/{{file}}"))).n_faces == 8
