"""Write and read the log of a run: log.jsonl for machines and a line for people, with the same numbers.

In:  the path of log.jsonl, and a function that shows a line.
Out: Journal; read_log. A line that a crash has torn is dropped; lines of steps that will be computed again are dropped too.
"""

import json
from collections.abc import Callable
from pathlib import Path

from fer_data.files import reported, write_bytes_atomically
from fer_model.engine import distributed
from fer_model.errors import RunError

__all__ = ["Journal", "read_log"]


def read_log(path: Path) -> list[dict]:
    """Return the lines of a log.jsonl; none if there is no such file. Raises RunError if a whole line is no JSON object.

    What a crash has torn, or is being written, is no line.
    """
    return _parsed(path, _whole_lines(path)[0])


def _whole_lines(path: Path) -> tuple[bytes, bool]:
    """Return the lines of a file that are written to their end, and whether there is more."""
    data = path.read_bytes() if path.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1]
    return whole, whole != data


def _parsed(path: Path, whole: bytes) -> list[dict]:
    lines = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or "event" not in entry:
            what = "is not what training writes, one JSON object a line with its event; bring the file back as it was"
            raise RunError(f"reading a run: line {number} of {path} {what}, or train again into another --run")
        lines.append(entry)
    return lines


class Journal:
    """Where a run tells what it does: log.jsonl for machines, `say` for people. Same numbers, units in the names."""

    def __init__(self, path: Path, say: Callable[[str], None]):
        self.path, self.say = path, say
        whole, torn = _whole_lines(path)
        self.lines = _parsed(path, whole)
        if torn and distributed.is_first():                              # it is computed again
            write_bytes_atomically(path, whole)

    def rewind(self, stage: str, step: int) -> None:
        """Drop the ticks of `stage` after `step`: they will be computed again."""
        gone = [e for e in self.lines if e["event"] == "tick" and e["stage"] == stage and e["step"] > step]
        if gone:
            self.lines = [e for e in self.lines if e not in gone]
        if gone and distributed.is_first():
            write_bytes_atomically(self.path, b"".join(_line(entry) for entry in self.lines))

    def write(self, entry: dict, sentence: str | None = None) -> None:
        """Append one JSON line; say the sentence, if there is one."""
        self.lines.append(entry)
        if not distributed.is_first():
            return
        with reported("writing", self.path), self.path.open("ab") as file:
            file.write(_line(entry))
        if sentence is not None:
            self.say(sentence)


def _line(entry: dict) -> bytes:
    return (json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n").encode()
