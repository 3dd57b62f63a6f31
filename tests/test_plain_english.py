"""What users see is written in the field's words: retired words are counted in help, error messages, the read-me and the docs."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# retired words -> what to say
RETIRED = {
    r"\bdrawn (people|person|database|databases|faces)\b": "synthetic people",
    r"\b(person|people|identity|identities) (that was |that were )?asked for\b": "target identity",
    r"\blies? (in|there|beside|on disk)\b|\blying in\b": "is stored in, is in",
    r"\bstands? (in|there|beside|on)\b": "is listed in, is in",
    r"\bbeside\b": "next to, besides",
    r"\b(go|goes|going|gone|went) on\b": "resumes, continues",
    r"\banew\b": "again",
    r"\bway out\b": "fix, what to do",
    r"\ballowed (\w+ ){0,3}(are|is)\b": "choose ... or ...",
    r"\bdealt out\b": "assigned",
    r"\bowed to\b": "due to",
}
PAGES = [*(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]


def retired_in(text: str) -> list[str]:
    """Return the retired words that a text has, each with what to say in its place."""
    return [f"{found[0]!r}: say {instead}" for words, instead in RETIRED.items() for found in re.finditer(words, text, re.IGNORECASE)]


def sentences_of(path: Path) -> list[tuple[int, str]]:
    """Return (line, text) of what a module can show: strings in `raise` and in calls, and the docstrings of commands."""
    found, tree = [], ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.decorator_list and path.parent.name == "cli":
            found.append((node.lineno, ast.get_docstring(node) or ""))
        elif isinstance(node, ast.Raise | ast.Call | ast.Return | ast.Assign | ast.Yield):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    found.append((inner.lineno, inner.value))
    return list(dict.fromkeys(found))


def modules() -> list[Path]:
    return sorted(path for package in ("cli", "fer_data", "fer_model") for path in (REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_no_page_uses_a_retired_word(page):
    """Of prose and tables; what commands print is shown as it is. Seen red on every page before they were rewritten."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert not retired_in(prose)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_nothing_a_module_shows_uses_a_retired_word(path):
    """Help, error messages, console text. Seen red on 52 modules before they were rewritten."""
    assert not [f"{path.name}:{line} {word}" for line, text in sentences_of(path) for word in retired_in(text)]


def test_retired_words_are_found():
    """Of a list of patterns, one that matches nothing would pass for ever."""
    assert retired_in("one image of the drawn people lies in OUT, beside what stands in skipped.csv; run it anew to go on")
    assert not retired_in("synthetic people are stored in OUT, next to what is listed in skipped.csv; run it again to resume")
