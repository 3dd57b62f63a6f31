"""The pages of docs/ as something that runs: fenced blocks in, commands and Python executed in a folder of their own.

In:  a page; a folder that holds what the page begins with (tests/doc_archives.py).
Out: every `$` line of a ```console block is run, its exit code and the output shown below it compared; ```python blocks are
     executed. Other blocks (bash, text) are shown only: they need a network, make or hours.

Shown output is a part of the real one, in order; `...` stands for anything. A shown `Error:` or `LEAK` means exit code 1.
Where `--preset small` is written, what it holds is that of preset smoke, and budgets are cut to 64 images: the pages show what a reader
wants.
"""

import re
import shlex
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from click.testing import CliRunner

__all__ = ["DOCS", "Block", "Command", "blocks_of", "commands_of", "pages", "run_page", "words_of"]

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
_FENCE = re.compile(r"^```([a-z]*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PRESET = re.compile(r"--preset (small|strong|paper)(?!.*--dry-run)")
_CHEAPER = (
    (re.compile(r"--workers \d+"), "--workers 1"),
    (re.compile(r"--kimg-(\w+) [\d.]+"), r"--kimg-\1 0.064"),
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    kind: str                         # the word behind the fence
    text: str


@dataclass(frozen=True)
class Command:
    """One `$` line and the output shown below it."""

    where: str                        # page:line
    text: str
    shown: tuple[str, ...]


def pages() -> list[str]:
    """Return the hand-written pages, relative to docs/."""
    return sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in _FENCE.finditer(text)]


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block; a line that ends with a backslash goes on."""
    found: list[tuple[int, str, list[str]]] = []
    joined = ""
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ ") or joined:
            joined = f"{joined} {line.removeprefix('$ ').strip()}".strip()
            if joined.endswith("\\"):
                joined = joined.removesuffix("\\").strip()
                continue
            found.append((number, joined, []))
            joined = ""
        elif found:
            found[-1][2].append(line)
        else:
            raise AssertionError(f"{block.page.name}:{number}: a console block begins with a line `$ command`, got {line!r}")
    return [Command(f"{block.page.name}:{number}", text, tuple(filter(None, shown))) for number, text, shown in found]


def words_of(text: str) -> list[list[str]]:
    """Return the command lines in a block of any kind that call our two commands, as words; comments and placeholders apart."""
    lines = text.replace("\\\n", " ").splitlines()
    lines = [line.strip().removeprefix("$ ").partition("  #")[0] for line in lines]
    return [shlex.split(line) for line in lines if re.match(r"fer-(data|model) ", line)]


def run_page(page: Path, cwd: Path, monkeypatch) -> int:
    """Run a page in `cwd`; return how many blocks were run. Fails with page and line where something is not as shown."""
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("COLUMNS", "100")
    names: dict = {"__name__": "page"}
    count = 0
    for block in blocks_of(page):
        if block.kind == "console":
            for command in commands_of(block):
                _compare(command, *_run(command))
                count += 1
        elif block.kind == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
            count += 1
    return count


def _run(command: Command) -> tuple[int, str]:
    """Return exit code and output."""
    from cli import fer_data, fer_model

    text = command.text
    for pattern, cheap in _CHEAPER:
        text = pattern.sub(cheap, text)
    program, *words = shlex.split(text)
    if program in ("fer-data", "fer-model"):
        if own := sys.modules.get("fer_model.stages.own_network"):
            own._ALLOWED.clear()                 # to a reader, each command is a process of its own
        with _cheap_preset(text):
            done = CliRunner().invoke(fer_data.main if program == "fer-data" else fer_model.main, words, prog_name=program)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output
    assert program in _SMALL, f"{command.where}: nobody knows how to run {program!r}; show it in a bash block"
    return 0, _SMALL[program](words)


@contextmanager
def _cheap_preset(text: str):
    """Give the preset that a command names the settings of smoke: the run keeps its name, and so does its folder."""
    from fer_model.config import PRESETS

    name = found[1] if (found := _PRESET.search(text)) else "smoke"
    real, PRESETS[name] = PRESETS[name], replace(PRESETS["smoke"], preset=name)
    try:
        yield
    finally:
        PRESETS[name] = real


def _unzip(words: list[str]) -> str:
    archive, _, out = (word for word in words if word != "-q")
    with zipfile.ZipFile(archive) as file:
        file.extractall(out)
    return ""


def _mkdir(words: list[str]) -> str:
    Path(words[-1]).mkdir(parents=True, exist_ok=True)
    return ""


_SMALL = {"unzip": _unzip, "mkdir": _mkdir}


def _compare(command: Command, code: int, output: str) -> None:
    """Fail unless the exit code is the one that the shown output means, and what is shown is there, in order."""
    expected = 1 if any(line.startswith(("Error:", "LEAK")) for line in command.shown) else 0
    assert code == expected, f"{command.where}: `{command.text}` ended with {code}, the page means {expected}:\n{output}"
    lines = iter([line.rstrip() for line in output.splitlines()])
    for shown in command.shown:
        pattern = ".*".join(re.escape(part) for part in shown.rstrip().split("..."))
        assert any(re.fullmatch(pattern, line) for line in lines), f"{command.where}: the page shows {shown!r}, not so printed:\n{output}"
