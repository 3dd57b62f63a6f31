"""Write the log of a run: log.jsonl for machines and a line for people, with the same numbers.

In:  the path of log.jsonl, and a function that shows a line.
Out: Journal. A line that a crash has torn is dropped; lines of steps that will be computed again are dropped too.
"""

import json
from collections.abc import Callable
from pathlib import Path

from fer_data.files import reported, write_bytes_atomically
from fer_model.engine import distributed

__all__ = ["Journal"]


class Journal:
    """Where a run tells what it does: log.jsonl for machines, `say` for people. Same numbers, units in the names."""

    def __init__(self, path: Path, say: Callable[[str], None]):
        self.path, self.say = path, say
        data = path.read_bytes() if path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]                            # a line that a crash has torn is computed again
        self.lines: list[dict] = [json.loads(line) for line in whole.splitlines()]
        if whole != data and distributed.is_first():
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
