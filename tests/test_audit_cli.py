"""`fer-data audit` from files to exit code, table and JSON. tests/mutate.py breaks it and expects red."""

import io
import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.fer_data import main
from fer_data.audit.check_split import check_split

PERCENT = [36.4, 66.7, 51.5, 72.7, 42.4, 57.6, 63.6, 81.8, 87.9, 72.7]


def run(*arguments):
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def write_lists(folder, popular_split, suffix=".txt"):
    names, folds = popular_split
    folder.mkdir()
    for number, rows in enumerate(folds, 1):
        tested = set(rows)
        (folder / f"train_{number}{suffix}").write_text("\n".join(name for row, name in enumerate(names) if row not in tested))
        (folder / f"test_{number}{suffix}").write_text("\n".join(names[row] for row in rows))
    return folder


def write_table(path, popular_split):
    names, folds = popular_split
    lines = [f"{names[row].split('/')[1]},{names[row].split('/')[0]},{number}" for number, rows in enumerate(folds, 1) for row in rows]
    tested = {row for rows in folds for row in rows}
    lines += [f"{name.split('/')[1]},{name.split('/')[0]}," for row, name in enumerate(names) if row not in tested]
    path.write_text("path,label,fold\n" + "\n".join(lines))
    return path


@pytest.mark.parametrize("form", ["lists", "id files", "table"])
def test_the_popular_split_end_to_end(form, popular_split, tmp_path):
    """627 of 990 in any form: what `reference/science.md` counted from the repository's own file names."""
    if form == "table":
        given = [write_table(tmp_path / "folds.csv", popular_split)]
    else:
        folder = write_lists(tmp_path / "lists", popular_split, ".txt" if form == "lists" else ".csv")
        given = [folder] if form == "lists" else sorted(folder.iterdir())
    done = run(*given, "--json")
    assert done.exit_code == 1
    content = json.loads(done.stdout)
    total = content["overall"]
    assert (total["test_images"], total["leaked_images"], total["tested_twice"], total["never_tested"]) == (990, 627, 33, 24)
    assert round(total["leaked_percent"], 1) == 63.3
    assert [round(fold["leaked_percent"], 1) for fold in content["folds"]] == PERCENT
    assert [fold["name"] for fold in content["folds"]] == [str(number) for number in range(1, 11)] and content["leaks"]
    for fold in content["folds"]:
        assert {"test_images", "leaked_images", "leaked_percent", "tested_twice", "never_tested"} <= set(fold)


def test_the_text_begins_with_the_verdict_and_ends_with_what_to_do(popular_split, tmp_path):
    """As it reads in a log: no colour, no bars, no line broken."""
    done = run(write_table(tmp_path / "folds.csv", popular_split))
    lines = done.output.splitlines()
    assert done.exit_code == 1
    assert lines[0] == (
        "LEAK  627 of 990 test images (63.3 %) show a person who is also in training: 67 of 118 people, in 10 of 10 folds"
    )
    rows = [line.split() for line in lines[4:15]]
    assert rows[0] == ["1", "99", "36", "36.4", "13", "6", "0"] and rows[-1] == ["all", "990", "627", "63.3", "118", "67", "0"]
    assert "besides   33 images tested more than once, 24 never; 981 in all" in lines
    assert "read as   subjects: by the names of CK+, e.g. S010 in S010_004_00000017.png; 1014 of 1014 entries" in lines
    assert any(line.startswith("worst     S132: 18 test images in folds 7, 9 and 10; fold 7 tests ") for line in lines)
    assert lines[-1].endswith("until then, report the 363 test images of people unknown to the model apart")
    assert "\x1b" not in done.output and "█" not in done.output


def test_a_terminal_gets_colours_and_bars(popular_split, tmp_path):
    """Every line fits the window; a longer bar is a worse fold."""
    report = check_split([write_table(tmp_path / "folds.csv", popular_split)])
    settings = {"force_terminal": True, "color_system": "standard", "width": 100, "highlight": False, "soft_wrap": True}
    console = Console(record=True, file=io.StringIO(), **settings)
    console.print(report)
    plain, styled = console.export_text(clear=False).splitlines(), console.export_text(styles=True)
    bars = [line.count("█") for line in plain if "█" in line]
    assert len(bars) == 11 and bars[8] == max(bars) == 17 and bars[0] == min(bars) == 7
    assert [line.split("  ")[0].strip() for line in plain if line[:1].strip()][-4:] == ["besides", "worst", "read as", "do now"]
    assert "\x1b[1;37;41m LEAK " in styled and max(map(len, plain[1:])) <= 100


def test_a_clean_split_is_said_to_be_clean(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("path,fold\nS010_004_00000017.png,0\nS010_004_00000018.png,0\nS011_004_00000017.png,1\n")
    done = run(path)
    assert done.exit_code == 0
    verdict = "CLEAN  nobody is both trained on and tested: 3 test images of 2 people in 2 folds, each tested once"
    assert done.output.splitlines()[0] == verdict
    assert "do now" not in done.output and "not tested" not in done.output


@pytest.mark.parametrize(("people", "told"), [(("S010", "S011"), True), (("1001", "1002"), False), (("S001", "S010"), False)])
def test_folds_of_ck_plus_are_offered_for_ck_plus_alone(people, told, tmp_path):
    """Other databases have no table of folds here; MMI's people are called alike, and S001 is none of CK+'s. Seen red, each: the advice for
    every database, and for every id of that form."""
    path = tmp_path / "split.csv"
    rows = [f"{person}_{n}.png,{person},{n}" for person in people for n in (0, 1)]
    path.write_text("\n".join(["path,subject,fold", *rows]) + "\n")
    done = run(path)
    assert done.exit_code == 1 and "let `fer-data prepare` assign folds" in done.output
    assert ("ck_plus_folds.csv" in done.output) is told


def test_folds_of_ck_plus_are_not_offered_where_no_person_is_named(tmp_path):
    """Nobody is in training too: a test person is in validation. Seen red: what holds of everybody in an empty list."""
    path = tmp_path / "split.csv"
    path.write_text("path,subject,split\n1_0.png,1001,train\n2_0.png,1002,val\n2_1.png,1002,test\n")
    done = run(path)
    assert done.exit_code == 1 and "let `fer-data prepare` assign folds" in done.output and "ck_plus_folds.csv" not in done.output


def test_doubts_fail_only_if_asked(tmp_path):
    """One image that no fold tests, and an expression that one fold lacks."""
    path = tmp_path / "split.csv"
    path.write_text("path,label,fold\nS010_004_00000017.png,fear,0\nS011_004_00000018.png,anger,1\nS012_004_00000017.png,fear,-1\n")
    done = run(path)
    assert done.exit_code == 0 and run(path, "--strict").exit_code == 1
    assert "read on below the table" in done.output.splitlines()[0] and "0 images tested more than once, 1 never; 3 in all" in done.output
    assert "folds 0 and 1: some expression is not tested" in done.output and "fold 1 has no anger to train on" in done.output
    assert "fold 0 has no" not in done.output


def test_errors_are_one_sentence_and_wrong_usage_is_two(tmp_path):
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n0,1 2 3,Training\n1,1 2 3,PublicTest\n")
    done = run(tmp_path / "fer2013.csv")
    assert done.exit_code == 1 and done.stderr.startswith("Error: reading a split: the subject of 2 of 2 entries cannot be known")
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""
    assert run().exit_code == 2 and run(tmp_path / "nowhere.csv").exit_code == 1
    done = run(tmp_path)
    neither = "it has neither folders of pictures nor lists such as train_1.txt; if fer2013.csv is one, give that file itself"
    assert done.exit_code == 1 and neither in done.stderr


def test_lists_in_a_folder_that_are_not_read_are_named(tmp_path):
    """As a table of everything next to the two of a split. Seen red: passed over in silence."""
    for name in ("train.csv", "test.csv", "data.csv"):
        (tmp_path / name).write_text("S005/001,1\n" if name == "train.csv" else "S006/001,1\n")
    done = run(tmp_path)
    assert done.exit_code == 0 and "named after no side and no fold, and not read: data.csv" in done.output


def test_a_clip_that_is_tested_twice_is_said_in_the_verdict(tmp_path):
    """Seen red: `CLEAN` alone, for a hold-out."""
    (tmp_path / "annotations.txt").write_text("S005/001;3;training\nS006/001;3;testing\nS006/001;3;testing\n")
    done = run(tmp_path / "annotations.txt")
    assert done.exit_code == 0 and done.output.splitlines()[0].endswith("; but read on below the table")
    assert run(tmp_path / "annotations.txt", "--strict").exit_code == 1


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path):
    (tmp_path / "train.txt").write_text("[bold]/[red]a_1.png\n[bold]/b_1.png")
    (tmp_path / "test.txt").write_text("[bold]/[red]a_2.png\n")
    done = run(tmp_path / "train.txt", tmp_path / "test.txt", "--subject-pattern", r"([^/]+)_\d")
    assert done.exit_code == 1 and "[red]a: 1 test image; it tests [bold]/[red]a_2.png and trains on [bold]/[red]a_1.png" in done.output


def test_a_prepared_folder_is_clean(prepared_ck):
    done = run(prepared_ck, "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 0 and content["overall"]["leaked_images"] == 0 and len(content["folds"]) == 4
    assert run(prepared_ck / "manifest.csv").exit_code == 0


def test_the_example_in_the_help_runs(prepared_ck):
    assert "fer-data audit prepared" in run("--help").output and "fer-data audit train.txt test.txt" in run("--help").output
