"""FER2013 and the votes of FER+: every trap of their files by hand, the synthetic ones against truth.csv. tests/mutate.py breaks it."""

import csv
from collections import Counter

import cv2
import numpy as np
import pytest

from fer_data.datasets.fer2013 import FERPLUS, majority, most_votes, scan
from fer_data.datasets.published import load_facts, split_notes
from fer_data.datasets.without_people import picture, without_duplicates
from fer_data.errors import DatasetError, ImageError
from fer_data.labels import FER2013_CODES
from fer_data.pictures.pixel_table import open_table
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.store.manifest import read_manifest, read_skipped
from fer_data.synthetic.fer2013 import write_fer2013

READY = PrepareConfig(landmarks="none", views="virtual", folds=0, fold_rule="official")
FULL = ["Training"] * 3 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
HEAD = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def pixels(number, size=4):
    return np.random.default_rng(number).integers(0, 256, (size, size))


def text(number):
    return " ".join(map(str, pixels(number).ravel()))


def write_csv(path, codes, usage, columns="emotion,pixels,Usage", end="\n", numbers=None):
    """Write rows; `numbers` say which pixels each has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [columns]
    for number, (code, part) in enumerate(zip(codes, usage, strict=True)):
        cells = {"emotion": code, "pixels": text(numbers[number] if numbers else number), "Usage": part}
        lines.append(",".join(str(cells[name.strip()]) for name in columns.removeprefix("\ufeff").split(",")))
    path.write_bytes((end.join(lines) + end).encode())
    return path.parent


def told(found):
    return [(one.sequence, one.expression, one.split) for one in found.sequences]


def test_both_forms_of_the_csv_and_any_order_of_columns_are_one(tmp_path):
    """Blanks round names, a byte order mark, Windows' line ends. Seen red with names that were not stripped: no column pixels."""
    codes = [0, 1, 2, 3, 4, 5, 6]
    plain = scan(write_csv(tmp_path / "a" / "fer2013.csv", codes, FULL))
    assert told(plain) == [(f"{row:05d}", FER2013_CODES[row], part) for row, part in enumerate(
        ["train"] * 3 + ["validation"] * 2 + ["test"] * 2)]
    other = write_csv(tmp_path / "b" / "icml_face_data.csv", codes, FULL, "\ufeffemotion, Usage, pixels", "\r\n")
    assert told(scan(other)) == told(plain) and not any(one.subject for one in plain.sequences)
    for table in (open_table(tmp_path / "a" / "fer2013.csv"), open_table(other / "icml_face_data.csv")):
        for row in range(7):
            assert np.array_equal(table.picture(row), pixels(row)) and table.picture(row).dtype == np.uint8
    (tmp_path / "a" / "icml_face_data.csv").write_bytes((other / "icml_face_data.csv").read_bytes())
    both = scan(tmp_path / "a")
    assert told(both) == told(plain) and [(one.source, one.reason, one.frames) for one in both.skipped] == [
        ("icml_face_data.csv", "other-part", 0)]


def test_folders_go_by_name_and_never_by_their_place(tmp_path):
    """By alphabet neutral, sad, surprise are 4, 5, 6; by code 6, 4, 5."""
    names = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    for part in ("train", "test"):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / f"{part}{name}.png").write_bytes(f"{part} {name}".encode())
    found = scan(tmp_path)
    assert Counter(one.expression for one in found.sequences) == dict.fromkeys(FER2013_CODES.values(), 2)
    assert {(one.frames[0].source.split("/")[1], one.expression) for one in found.sequences} == {
        ("angry", "anger"), ("disgust", "disgust"), ("fear", "fear"), ("happy", "happiness"), ("neutral", "neutral"), ("sad", "sadness"),
        ("surprise", "surprise"),
    }
    assert "PublicTest and PrivateTest in one" in found.notes[0] and {one.split for one in found.sequences} == {"train", "test"}


@pytest.mark.parametrize(("folder", "part"), [
    ("Training/Angry", "train"), ("PublicTest/ANGRY", "validation"), ("PrivateTest/anger", "test"),
    ("images/validation/angry", "validation"), ("archive/fer2013/train/0", "train"),
])
def test_other_spellings_of_the_folders(folder, part, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "1.jpg").write_bytes(b"x")
    assert [(one.expression, one.split) for one in scan(tmp_path).sequences] == [("anger", part)]


def test_train_and_test_of_the_competition(tmp_path):
    """test.csv has no labels: its rows are found, and listed as unlabelled by `prepare`."""
    write_csv(tmp_path / "in" / "train.csv", [3, 4, 6], ["x"] * 3, "emotion,pixels")
    write_csv(tmp_path / "in" / "test.csv", [0, 0], ["x"] * 2, "pixels", numbers=[8, 9])
    found = scan(tmp_path / "in")
    assert [(one.sequence, one.expression, one.split) for one in found.sequences] == [
        ("train-00000", "happiness", "train"), ("train-00001", "sadness", "train"), ("train-00002", "neutral", "train"),
        ("test-00000", None, ""), ("test-00001", None, ""),
    ]
    summary = prepare_dataset("fer2013", tmp_path / "in", tmp_path / "out", READY)
    assert (summary.found, summary.kept, summary.skipped, summary.split) == (5, 3, {"unlabelled": 2}, {"train": 3})


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv"])
def test_a_table_of_all_parts_needs_the_column_that_names_them(tmp_path, name):
    """Seen red: all rows were of the part train."""
    write_csv(tmp_path / name, [3, 4], ["x"] * 2, "emotion,pixels")
    with pytest.raises(DatasetError, match=rf"{name} has no column Usage, which names the parts .*; get the file as it was published"):
        scan(tmp_path)


def test_rows_that_cannot_be_used_are_listed(tmp_path):
    """Found is kept and skipped. Seen red: an emotion of 9 kept as unlabelled."""
    root = write_csv(tmp_path / "in" / "fer2013.csv", [0, 9, 3, 4, 5], ["Training", "Training", "Middle", "Training", "PrivateTest"])
    lines = (root / "fer2013.csv").read_text().splitlines()
    lines[4] = lines[4].replace(text(3), "1 2 300 4")
    lines[5] = lines[5].replace(text(4), "1 2 3")
    (root / "fer2013.csv").write_text("\n".join([*lines, f"1,{text(7)},Training", ""]))
    summary = prepare_dataset("fer2013", root, tmp_path / "out", READY)
    assert (summary.found, summary.kept, summary.skipped) == (6, 2, {"bad-label": 2, "unreadable": 2})
    details = dict(zip(read_skipped(tmp_path / "out")["sequence"], read_skipped(tmp_path / "out")["detail"], strict=True))
    assert details == {
        "00001": "row 1: emotion is 0 to 6, not '9'", "00002": "row 2: Usage is Training, PublicTest or PrivateTest, not 'Middle'",
        "00003": "reading row 3 of fer2013.csv: pixels are whole numbers from 0 to 255, it has '300'",
        "00004": "reading row 4 of fer2013.csv: it has 3 pixels, which is no square; 48 x 48 are 2,304",
    }
    frame = read_manifest(tmp_path / "out")
    assert list(frame["position"]) == [0, 5] and set(frame["source"]) == {"fer2013.csv"} and frame["source_sha256"].is_unique


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "fer2013.csv").write_text("emotion,Usage\n1,Training\n")
    with pytest.raises(DatasetError, match=r"fer2013\.csv: it must have one column pixels; its columns are emotion, usage"):
        scan(tmp_path)
    for separator, said in ((";", "';'"), ("\t", "a tab")):               # seen red: its columns are emotion;pixels;usage
        (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n1,1 2 3 4,Training\n".replace(",", separator))
        with pytest.raises(DatasetError, match=rf"fer2013\.csv: its separator is {said}; save it with commas$"):
            scan(tmp_path)
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n1,1 2 3 4,Training\n1,1 2\n")
    with pytest.raises(DatasetError, match=r"row 1 \(after the header, from 0\) has 2 cells, the header 3"):
        scan(tmp_path)


def test_pictures_of_224_px_are_rows_too_and_longer_cells_are_said(tmp_path, monkeypatch):
    """Seen red: `_csv.Error: field larger than field limit (131072)`."""
    path, large = tmp_path / "fer2013.csv", np.full((224, 224), 250)
    cells = " ".join(map(str, large.ravel()))
    path.write_text(f"emotion,pixels,Usage\n1,{cells},Training\n")
    table = open_table(path)
    assert np.array_equal(table.picture(0), large)
    monkeypatch.setattr("fer_data.tables._LONGEST_CELL", 1000)
    with pytest.raises(ImageError, match=r"reading row 0 of fer2013\.csv: the file changed"):
        table.picture(0)
    for row in (f"1,{cells},Training ", "1,1 2 3 4\r,Training"):
        path.write_bytes(f"emotion,pixels,Usage\n{row}\n".encode())
        with pytest.raises(DatasetError, match=r"fer2013\.csv: it has a line that is not a row of a CSV table \(.*\): '1,"):
            scan(tmp_path)


def test_a_table_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write_csv(tmp_path / "fer2013.csv", [0, 1], ["Training"] * 2) / "fer2013.csv"
    table = open_table(path)
    path.write_text(path.read_text().replace(text(1), text(2)))
    with pytest.raises(ImageError, match=r"reading row 1 of fer2013\.csv: the file changed"):
        table.picture(1)
    assert np.array_equal(open_table(path).picture(1), pixels(2))


def test_of_copies_one_with_a_label_is_kept():
    """FER+ leaves some pictures without a label, which are not used. Seen red: the one of the test part was kept, and neither was used."""
    ours = [picture("fer2013", "a.png", "train", "anger", "1"), picture("fer2013", "b.png", "test", None, "2")]
    kept, skipped, _ = without_duplicates(ours, {"1": "same", "2": "same"}, drop=True)
    assert kept == ours[:1] and [(one.sequence, one.detail) for one in skipped] == [("2", "the same picture as 1, train")]


# --- copies, and what was published -----------------------------------------------------------------------------------


def test_of_exact_copies_that_of_the_test_part_is_kept(tmp_path):
    """Seen red by keeping the first row: the picture of the test part was gone."""
    root = write_csv(tmp_path / "fer2013.csv", [0, 0, 3, 3, 4, 4, 5], FULL, numbers=[1, 2, 2, 1, 3, 1, 4])
    kept = scan(root)
    said = "exact copies of another picture: 3, kept; --drop-duplicates leaves them out; pictures that are in more than one part: 1"
    assert len(kept.sequences) == 7 and kept.notes[-1] == said
    found = scan(root, drop_duplicates=True)
    assert [one.sequence for one in found.sequences] == ["00001", "00004", "00005", "00006"]
    assert [(one.sequence, one.reason, one.detail) for one in found.skipped] == [
        ("00000", "copy", "the same picture as 00005, test"), ("00002", "copy", "the same picture as 00001, train"),
        ("00003", "copy", "the same picture as 00005, test"),
    ]


def sequences_of(counts):
    """Return a Sequence for each picture of {part: {expression: n}}."""
    return [picture("fer2013", "x", part, name, f"{part}-{name}-{n}") for part, some in counts.items() for name, count in some.items()
            for n in range(count)]


def test_counts_are_official_a_subset_or_they_differ():
    """Against the tables of the paper and of an analysis that is public. Seen red: a subset that is larger in one class called a subset."""
    facts = load_facts("fer2013")
    two = "train and test, which has PublicTest and PrivateTest in one"
    form = {part: dict(counts) for part, counts in facts.forms[two].items()}
    assert {name: form["train"][name] + form["test"][name] for name in facts.expressions} == dict(facts.expressions)
    assert split_notes("fer2013", two, sequences_of(form)) == (f"counts: official, {two}: train 28,709, test 7,178",)
    form["train"]["fear"] = 97
    assert split_notes("fer2013", two, sequences_of(form)) == (
        f"counts: a subset of the official ones, {two}: train 24,709 of 28,709, test 7,178 of 7,178",)
    form["train"]["fear"] = 5567
    said, copy = split_notes("fer2013", two, sequences_of(form))
    assert said == f"counts: they differ from the official ones, {two}: train fear 5,567 instead of 4,097"
    assert copy.startswith("these are the counts of a copy with more fear (5,567): ")
    form["train"]["fear"] = 4098
    (said,) = split_notes("fer2013", two, sequences_of(form))
    assert said.endswith("train fear 4,098 instead of 4,097; changed copies are around: " + ", ".join(facts.copies))


# --- FER+ -------------------------------------------------------------------------------------------------------------

# votes in the order of HEAD; name; label by majority, by argmax; what it is a case of
BALLOTS = [
    ((0, 10, 0, 0, 0, 0, 0, 0, 0, 0), "fer0000000.png", "happiness", "happiness"),
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), "", None, None),                                    # unnamed: from here on names drift from rows
    ((5, 0, 0, 5, 0, 0, 0, 0, 0, 0), "fer0000001.png", None, None),                       # a tie
    ((0, 0, 0, 0, 4, 1, 1, 1, 1, 1), "fer0000002.png", "anger", "anger"),                 # 9 votes; single ones are dropped
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), "fer0000003.png", None, None),                      # no face, and a name
    ((0, 0, 0, 0, 0, 0, 4, 3, 3, 0), "fer0000003.png", None, "fear"),                     # the name again; most, but not half
    ((2, 0, 0, 0, 0, 0, 0, 7, 1, 0), "fer0000004.png", "contempt", "contempt"),
]


def write_votes(path, usage=FULL, ballots=BALLOTS):
    path.write_text("\n".join([HEAD, *(f"{part},{name},{','.join(map(str, votes))}" for part, (votes, name, *_) in
                                       zip(usage, ballots, strict=False))]) + "\n")
    return path


@pytest.mark.parametrize(("rule", "place", "left"), [
    ("majority", 2, "unknown 2, nf 1, unnamed 1"), ("argmax", 3, "tie 1, nf 1, unnamed 1"),
])
def test_votes_are_joined_by_row(rule, place, left, tmp_path):
    """Unnamed rows, names that drift and occur twice, a tie, nine votes, no face."""
    root = write_csv(tmp_path / "in" / "fer2013.csv", [0] * 7, FULL)
    found = scan(root, "ferplus", write_votes(tmp_path / "fer2013new.csv"), rule)
    assert [one.expression for one in found.sequences] == [ballot[place] for ballot in BALLOTS]
    assert f"labels of FER+ by {rule}, joined by row; without a label: {left}" in found.notes


def test_the_rules_by_hand():
    votes = dict.fromkeys(FERPLUS, 0)
    assert majority(votes | {"anger": 3, "fear": 3, "neutral": 1, "sadness": 1, "disgust": 1, "unknown": 1}) == "unknown"
    assert majority(votes | {"anger": 1}) == "unknown" and majority(votes | {"nf": 9, "fear": 1}) == "nf"
    assert most_votes(votes | {"unknown": 6, "fear": 4}) == "unknown"


def test_votes_of_other_rows_are_refused(tmp_path):
    root = write_csv(tmp_path / "in" / "fer2013.csv", [0] * 7, FULL)
    with pytest.raises(DatasetError, match=r"it has 6 rows, fer2013\.csv 7; they are joined row by row"):
        scan(root, "ferplus", write_votes(tmp_path / "few.csv", ballots=BALLOTS[:6]))
    with pytest.raises(DatasetError, match=r"row 0 is of PrivateTest, in fer2013\.csv of Training; the rows of one were reordered"):
        scan(root, "ferplus", write_votes(tmp_path / "turned.csv", FULL[::-1]))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"it has no column 'usage'; fer2013new\.csv"):
        scan(root, "ferplus", tmp_path / "other.csv")
    with pytest.raises(DatasetError, match="go together"):
        scan(root, "ferplus")
    shares = [((0.5, *votes[1:]), *rest) if number == 2 else (votes, *rest) for number, (votes, *rest) in enumerate(BALLOTS)]
    with pytest.raises(DatasetError, match=r"shares\.csv: line 4, column neutral: votes are whole numbers from 0 on, got '0\.5'"):
        scan(root, "ferplus", write_votes(tmp_path / "shares.csv", ballots=shares))      # seen red: TypeError
    with pytest.raises(DatasetError, match="unknown rule 'most'; choose majority or argmax"):
        scan(root, "ferplus", tmp_path / "other.csv", "most")


def test_the_published_results_of_the_rule_are_the_ones_that_counts_are_compared_with():
    """Run on the real file of FER+: 25,060, 3,199 and 3,153 rows with a label."""
    assert [sum(part.values()) for part in load_facts("fer2013").forms["FER+ by majority"].values()] == [25060, 3199, 3153]


# --- synthetic ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("fer2013") / "in"
    write_fer2013(root, 210, ("csv", "icml", "folders"))
    return root


def test_synthetic_rows_are_what_their_truth_says_in_every_form(drawn, tmp_path):
    """Labels, parts, copies and FER+ as they were drawn; the same pictures in both CSV forms and in the folders."""
    truth = list(csv.DictReader((drawn / "truth.csv").read_text().splitlines()))
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "fer2013.csv").symlink_to(drawn / "fer2013.csv")
    found = scan(tmp_path / "csv")
    assert told(found) == [(f"{int(row['row']):05d}", row["expression"], {"Training": "train", "PublicTest": "validation",
                            "PrivateTest": "test"}[row["usage"]]) for row in truth]
    plus = scan(tmp_path / "csv", "ferplus", drawn / "fer2013new.csv")
    assert [one.expression or "" for one in plus.sequences] == [row["ferplus"] for row in truth]
    tables = [open_table(drawn / name) for name in ("fer2013.csv", "icml_face_data.csv")]
    copies = {int(row["row"]): int(row["copy_of"]) for row in truth if row["copy_of"]}
    assert copies and len({tables[0].sha256(row) for row in range(210)}) == 210 - len(copies)
    assert truth[min(copies, key=lambda row: -row)]["usage"] == "PrivateTest"
    paths = {int(path.stem[2:]): path for path in (drawn / "folders").rglob("*.png")}
    for row in (0, 100, 209, *copies):
        one = tables[0].picture(row)
        assert one.shape == (48, 48) and np.array_equal(one, tables[1].picture(row))
        assert np.array_equal(one, cv2.imread(str(paths[row]), cv2.IMREAD_GRAYSCALE))
        assert np.array_equal(one, tables[0].picture(copies.get(row, row)))
    in_folders = scan(drawn / "folders")
    assert len(in_folders.sequences) == 210 and {one.split for one in in_folders.sequences} == {"train", "test"}


def test_the_same_seed_draws_the_same_bytes_and_another_does_not(drawn, tmp_path):
    write_fer2013(tmp_path / "again", 210)
    write_fer2013(tmp_path / "other", 210, seed=1)
    names = ("fer2013.csv", "fer2013new.csv", "truth.csv")
    assert all((tmp_path / "again" / name).read_bytes() == (drawn / name).read_bytes() for name in names)
    assert not any((tmp_path / "other" / name).read_bytes() == (drawn / name).read_bytes() for name in names)
    with pytest.raises(DatasetError, match="choose 70 rows or more, not 69"):
        write_fer2013(tmp_path / "few", 69)


def test_all_rows_have_the_published_counts():
    """Without drawing: the plan of 35,887 rows."""
    from fer_data.synthetic.fer2013 import ROWS, _plan

    planned = _plan(ROWS, np.random.default_rng(0))
    usage, shown = Counter(row.usage for row in planned), Counter((row.usage == "Training", row.expression) for row in planned)
    assert usage == {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589}
    forms = load_facts("fer2013").forms["train and test, which has PublicTest and PrivateTest in one"]
    assert shown == {(side == "train", name): count for side, counts in forms.items() for name, count in counts.items()}
    assert [row.usage for row in planned] == sorted((row.usage for row in planned), key=["Training", "PublicTest", "PrivateTest"].index)
