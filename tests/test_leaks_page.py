"""docs/leaks.md holds together: each row has its command, and its figures are those of the line that the command prints."""

import re

import pytest

from tests.doc_pages import DOCS, blocks_of, words_of

PAGE = DOCS / "leaks.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = {cells[0]: cells[1:] for cells in re.findall(r"^\| \[(\d+)\]\(#row-\d+\) \|" + r" ([^|]+) \|" * 6 + "$", TEXT, re.MULTILINE)}
LEAK = re.compile(r"LEAK  ([\d,]+) of ([\d,]+) test .* in training: (\d+) of (\d+) (?:people|person)")
CLEAN = re.compile(r"(?:CLEAN  nobody is both trained on and tested: )([\d,]+) test \w+ of (\d+) people")


def section(row: str) -> str:
    return TEXT.partition(f"(row-{row})=\n")[2].partition("\n(row-")[0].partition("\n## ")[0]


def shown(row: str) -> list[str]:
    """Return what the audit of a row prints, as the page shows it."""
    return [line.removeprefix("# ") for line in section(row).splitlines() if re.match(r"(# )?(LEAK|CLEAN|besides)  ", line)]


def figures(row: str) -> tuple[str, str, str, str]:
    """Return (leaked, tested, people leaked, people tested) that the first line shown gives."""
    line = shown(row)[0]
    if found := LEAK.match(line):
        return found.groups()
    if found := CLEAN.match(line):
        return "0", found[1], "0", found[2]
    assert re.fullmatch("LEAK  validation shares people with training or test, in [^;]+; test shares nobody with training", line)
    tested = re.match(r"besides   ([\d,]+) test \w+ show a person on whom the model is chosen", shown(row)[1])[1]
    return "0", tested, "0", re.match(r"0 of (\d+);", ROWS[row][3])[1]


def test_the_page_has_ten_rows_and_a_section_for_each():
    assert len(ROWS) >= 10 and list(ROWS) == [str(number) for number in range(1, len(ROWS) + 1)]
    assert re.findall(r"^\(row-(\d+)\)=\n### \1: ", TEXT, re.MULTILINE) == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_the_figures_that_its_command_prints(row):
    """Seen red: 101 of 116 people for 67 of 118; 7,442 clips for 7,437; `audit 8` under row 10."""
    _, _, tested, people, share, twice_never = ROWS[row]
    leaked, total, leaked_people, all_people = figures(row)
    assert tested.startswith(f"{total} ") and share == f"{leaked} of {total}" and people.startswith(f"{leaked_people} of {all_people}")
    assert ("folds" in tested) == ("fold" in shown(row)[0]) == (not twice_never.endswith("-"))
    commands = [words for words in words_of(section(row)) if words[1] == "audit"]
    assert len(commands) == 1 and re.match(rf"{row}(/|\.csv|$)", commands[0][2])


def test_a_list_is_fetched_from_a_commit_or_rebuilt():
    """Forty digits, so that nobody can change it. Seen red: `main` for a commit."""
    for row in ROWS:
        text = section(row)
        fetched = re.findall(r"\b[0-9a-f]{40}\b", text)
        assert len(fetched) == 1 or ("```python" in text and re.search(r"commit `[0-9a-f]{8}`", text)), row
    assert any(block.kind == "console" for block in blocks_of(PAGE))
