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

__all__ = ["Journal", "read_log", "whole_lines"]


def whole_lines(data: bytes) -> bytes:
    """Return the lines that are written to their end: what a crash has torn, or is being written, is none."""
    return data[: data.rfind(b"\n") + 1]


def read_log(path: Path) -> list[dict]:
    """Return the lines of a log.jsonl; none if there is no such file. Raises RunError if a whole line is no JSON object."""
    data = path.read_bytes() if path.is_file() else b""
    lines = []
    for number, line in enumerate(whole_lines(data).splitlines(), 1):
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
        self.lines = read_log(path)
        data = path.read_bytes() if path.is_file() else b""
        if whole_lines(data) != data and distributed.is_first():         # what is torn is computed again
            write_bytes_atomically(path, whole_lines(data))

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
