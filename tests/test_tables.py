"""Tables that people made: what is read equals what was written, in each encoding and with each separator; what is unclear is refused."""

import codecs
import contextlib
import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fer_data.errors import TableError
from fer_data.tables import SUFFIXES, lines_of, number, raw_lines, read_table, roles_of, table_of, text_of, whole

HEADER = ("File Name", "subject_id", "EMOTION", "remark")
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "bom-utf-16-be", "utf-32", "latin-1", "cp1252"]


def encoded(text, encoding):
    return codecs.BOM_UTF16_BE + text.encode("utf-16-be") if encoding == "bom-utf-16-be" else text.encode(encoding)


def as_csv(rows, separator=",", end="\r\n", quote=csv.QUOTE_MINIMAL):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quote).writerows(rows)
    return buffer.getvalue()


cells = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=6).map(str.strip)
wide = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=6).map(str.strip)
rows = st.lists(st.tuples(st.text("abc/.0", min_size=1, max_size=6), cells, cells, wide), min_size=1, max_size=5)


@settings(max_examples=300)
@given(rows, st.sampled_from(ENCODINGS), st.sampled_from(",;\t|"), st.sampled_from(["\r\n", "\n", "\r"]),
       st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans(), st.integers(0, 2))
def test_what_is_read_is_what_was_written(written, encoding, separator, end, quote, said, empty):
    """Seen red: without the marks of UTF-32 before those of UTF-16; without quotes; with splitlines; with ',' for every separator."""
    narrow = encoding in ("latin-1", "cp1252")
    written = [row[:3] + (("x" if narrow else row[3]),) for row in written]
    text = as_csv([HEADER, *written], separator, end, quote) + end * empty
    try:
        data = encoded(f"sep={separator}{end}{text}" if said else text, encoding)
    except UnicodeEncodeError:
        assume(False)
    if narrow:
        with contextlib.suppress(UnicodeDecodeError):
            data.decode()
            assume(data.isascii())                                       # else it is UTF-8 by chance
    text, note = text_of(data)
    assert note == "" or (narrow and note.startswith(("read as Latin-1", "read as Windows-1252")))
    first, *found = lines_of(text)
    assert first.cells == HEADER and first.number == 1 + said
    assert [line.cells for line in found] == written
    assert [line.number for line in found] == [2 + said + row for row in range(len(written))]


def test_columns_go_by_their_usual_names():
    """Seen red: without casefold(); with blanks kept."""
    assert roles_of(HEADER) == {"image": 0, "subject": 1, "expression": 2}
    for names, roles in (
        ("path,subject,expression", {"image", "subject", "expression"}), ("IMG,Person,Label", {"image", "subject", "expression"}),
        ("\u00a0Image Path,Participant-ID,emotion label,K-Fold,is_train", {"image", "subject", "expression", "fold", "istrain"}),
        ("id,set,usage ", {"image", "side"}), ("pixels,x", set()),
    ):
        assert set(roles_of(names.split(","))) == roles, names


def table(text, *roles):
    first, *lines = lines_of(text_of(text.encode())[0])
    return table_of(first.cells, lines, *([roles] if roles else []))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,subject,subject\na,1,1\n", "the column 'subject' is there 2 times; keep one"),
        ("path,subject,Subject \na,1,1\n", "the column 'subject' is there 2 times"),
        ("path,Subject_ID,subject-id\na,1,1\n", "the column 'Subject_ID' is there 2 times"),
        ("path,subject,person\na,1,x\nb,1,y\n", r"'subject' and 'person' can both be the subject, .*line 3 .* \('1' and 'y'\)"),
        ("path,filename,subject\na/1.png,1.png,1\na/2.png,3.png,1\n", "'path' and 'filename' can both be the image, and line 3"),
        ("path,emotion,expression\na,happy,1\nb,sad,1\n", "'expression' and 'emotion' can both be the expression, and line 3"),
        ("path,subject\na.png,1\nb, c.png,2\n", "line 3 has 3 cells; a cell that holds the separator must be in quotes"),
        ("path,subject\na.png\n", "2 columns are announced, line 2 has 1 cells; is the file whole"),
        ("path,subject\n", "a header and no rows"),
        ('path,subject\na.png,1\n"b.png,2\nc.png,3\n', "a quotation mark is not closed; the cell with it begins in line 3"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text, sentence):
    """Seen red: the first of two columns taken; the cells past the header left out; without the end that shows an open quote."""
    with pytest.raises(TableError, match=sentence):
        table(text)


@pytest.mark.parametrize(
    "text",
    [
        "path,subject,expression\na.png,1,happy,\nb.png,2,sad,,\n", "path,subject,expression,\na.png,1,happy\nb.png,2,sad,\n",
        "\n\npath , subject , expression\n\n a.png,\t1 , happy \n,,\nb.png,2,sad\n\n",
        '"path", "subject", "expression"\n"a.png", "1", "happy"\nb.png,2,sad',
        'sep=;\npath;subject;expression\na.png;1;happy\nb.png;2;sad', '"sep=,"\npath,subject,expression\na.png,1,happy\nb.png,2,sad\x1a',
        '"path,subject,expression"\n"a.png,1,happy"\n"b.png,2,sad"\n', "filename\tPerson\tlabel\na.png\t1\thappy\nb.png\t2\tsad",
        "path,filename,subject,expression,label\na.png,a,1,happy,4\nb.png,b.png,2,sad,5\n",
        "name,path,subject,label\nx,a.png,1,happy\ny,b.png,2,sad",
        "image,subject,person,expression\na.png,1,Anna,happy\nb.png,2,Bob,sad\n",
    ],
)
def test_what_has_one_meaning_is_read(text):
    found = table(text, "image", "subject", "expression")
    found.require("image", "subject", "expression")
    cells = [found.cells(row) for row in found.rows]
    assert cells == [
        {"image": "a.png", "subject": "1", "expression": "happy"}, {"image": "b.png", "subject": "2", "expression": "sad"},
    ]


def test_cells_that_say_nothing_are_left_out():
    """`unknown` is nobody, but a word that a map can give a meaning. Seen red: the subject of the last row was `Unknown`."""
    found = table("path,subject,expression\na.png,NaN,\nb.png,-,#NAME?\nc.png,Unknown,unknown\n")
    assert [found.cells(row) for row in found.rows] == [{"image": "a.png"}, {"image": "b.png"}, {"image": "c.png", "expression": "unknown"}]
    with pytest.raises(TableError, match="the columns path, subject, fold; missing: fold; its columns are 'path', 'subject', 'expr"):
        found.require("image", "subject", "fold")


def test_files_by_their_suffix(tmp_path):
    """The same table in each kind of file. Seen red: .jsonl lines counted without the empty one."""
    content = [{"path": "a.png", "subject": 1, "label": None}, {"path": "b.png", "subject": 2, "label": "sad"}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, content)) + "\n")
    (tmp_path / "a.csv").write_bytes("path,subject,label\na.png,1,\nb.png,2,sad\n".encode("utf-16"))
    (tmp_path / "a.TSV").write_text("path\tsubject\tlabel\na.png\t1\t\nb.png\t2\tsad\n")
    (tmp_path / "a.txt").write_text("path;subject;label\na.png;1;\nb.png;2;sad\n")
    pd.DataFrame(content).to_parquet(tmp_path / "a.parquet")
    for path in tmp_path.iterdir():
        found = read_table(path)
        cells = [found.cells(row) for row in found.rows]
        assert cells == [{"image": "a.png", "subject": "1"}, {"image": "b.png", "subject": "2", "expression": "sad"}], path
    assert {path.suffix.lower() for path in tmp_path.iterdir()} == set(SUFFIXES)
    lines = [row.number for row in read_table(tmp_path / "a.jsonl").rows]
    assert lines == [1, 3]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.xlsx", b"PK\x03\x04", "it is a .xlsx file .an Excel or zip file; save the table as CSV.; read are .csv, .tsv, "),
        ("a.csv", b"PK\x03\x04", "it is an Excel or zip file"), ("a.csv", b"\xd0\xcf\x11\xe0\xa1", "it is an old Excel file"),
        ("a.pkl", b"\x80\x04", "it is a .pkl file; read are .csv, .tsv, .txt, .json, .jsonl, .parquet"),
        ("a.csv", b"{\\rtf1 path", "it is a rich text file"), ("a.csv", b"\x1f\x8b\x08", "it is a gzip file; unpack it"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\xff", "it is not text"), ("a.csv", b" \r\n", "it is empty"), ("a.csv", b"", "it is empty"),
        ("a.csv", b"\xff\xfep\x00a\x00t", "it begins as UTF-16-LE text, but byte 4 is none; is the file whole"),
        ("a.json", b"{}", "must hold a list of objects"), ("a.json", b"[1]", "entry 1 is '1'"), ("a.json", b"[", "it is not JSON"),
        ("a.jsonl", b'{"path": "a"}\n{"path"', "it is not JSON in line 2"), ("a.jsonl", b'{"a": [1]}', "entry 1 is "),
        ("a.jsonl", b'{"subject": 1, "subject": 2}', "the key 'subject' is there twice"), ("a.json", b"[]", "a header and no rows"),
        ("a.parquet", b"PAR1 and no more", "it is not a whole Parquet file"), ("a.csv", b"version https://git-lfs", "a Git LFS pointer"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, name, data, sentence):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TableError, match=sentence):
        read_table(tmp_path / name)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(TableError, match="it is not there"):
        read_table(tmp_path / "a.csv")


def test_latin_1_is_said(tmp_path):
    """Seen red: note dropped."""
    (tmp_path / "a.csv").write_bytes("path,subject\na.png,Jos\u00e9\n".encode("latin-1"))
    found = read_table(tmp_path / "a.csv")
    assert found.rows[0].cells[1] == "Jos\u00e9"
    assert found.notes == ("a.csv: read as Latin-1, for it is not UTF-8; if letters are wrong, save it as UTF-8",)
    (tmp_path / "a.csv").write_bytes("path,subject\na.png,O\u2019Neil\n".encode("cp1252"))
    assert read_table(tmp_path / "a.csv").rows[0].cells[1] == "O\u2019Neil"


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_decimal_comma_is_a_point(value):
    assert number(f"{value:.3f}".replace(".", ",")) == number(f" {value:.3f} ") == float(f"{value:.3f}")


def test_numbers_and_what_is_none():
    assert whole("12,00") == 12 and whole("1e3") is None and whole("\u0663") is None
    for text in ("1_0", "1.234,5", "one", "", "1,2,3"):
        with pytest.raises(ValueError):
            number(text)


@settings(max_examples=300)
@given(st.sampled_from([*SUFFIXES, ""]), st.binary(max_size=80) | st.text('path,;\t"\r\nsubject1{}[]:', max_size=60).map(str.encode))
def test_whatever_a_file_holds_only_our_own_error_leaves_the_reader(tmp_path_factory, suffix, data):
    """Seen red: without csv.Error; once on a quoted cell of two lines, which was taken for a table inside of cells."""
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(TableError):
        found = read_table(path)
        assert all(len(row.cells) == len(found.columns) for row in found.rows)
    path.write_text('path,subject\n"' + "a" * 200_000)
    if suffix in ("", ".csv", ".tsv", ".txt"):
        with pytest.raises(TableError, match="not closed"):
            read_table(path)


def test_a_cell_may_be_long_and_one_that_is_too_long_is_said(monkeypatch):
    """A list of Python in one line. Seen red: `_csv.Error: field larger than field limit (131072)` from the first line."""
    names = "[" + ", ".join(f"'S{number}/happy.png'" for number in range(9000)) + "]"
    assert len(lines_of(names)[0].cells) == 9000 and lines_of(f"path;pixels\na.png;{names}")[1].cells[1] == names
    monkeypatch.setattr("fer_data.tables._LONGEST_CELL", 1000)
    for text, sentence in ((names, r"first line is not a row of a CSV table \(field larger"), (f"path\n{names}", "line 2 is not a row")):
        with pytest.raises(TableError, match=sentence):
            lines_of(text.replace(",", ""))


def test_a_row_has_the_line_with_which_it_begins():
    """Seen red: rows counted, not lines."""
    found = table('sep=,\r\n\r\npath,subject\r\n\r\n"a\r\n.png",1\r\nb.png,2\r\n')
    assert [row.number for row in found.rows] == [5, 7]


def test_lines_end_as_any_system_ends_them():
    assert raw_lines("a\r\nb\rc\nd\u2028e") == ["a", "b", "c", "d\u2028e"]
