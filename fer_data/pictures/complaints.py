"""What the decoders of PNG and JPEG print while they decode: the only way in which they say that a picture is damaged.

In:  a block of code that decodes, in a process whose standard error is file descriptor 2.
Out: the lines that these decoders printed, taken from there; whatever else was printed meanwhile is printed afterwards.

libjpeg fills what it cannot read of a damaged file with grey or with parts that lie elsewhere, and OpenCV returns that as the picture. It
notices where numbers end too early or too late, not where they are others.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

__all__ = ["complaints"]

_STDERR = 2
_PRINTED = re.compile(
    rb"^(libpng (?:error|warning): |Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS)(.*)\n", re.MULTILINE,
)
_one_at_a_time = Lock()               # a process has one standard error


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Yield a list that holds, after the block, what was complained of in it, a line each; where there is no standard error, nothing.

    libpng's warnings, of colour profiles and the like, say nothing of damage: they are dropped.
    """
    found: list[str] = []
    with _one_at_a_time, ExitStack() as stack:
        try:
            printed = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(_STDERR)
        except OSError:                                                  # closed, as of a service; or no room
            yield found
            return
        os.dup2(printed.fileno(), _STDERR)
        try:
            yield found
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            printed.seek(0)
            text = printed.read()
            for begins, rest in _PRINTED.findall(text):
                if not begins.startswith(b"libpng w"):
                    found.append((begins + rest).decode("ascii", "replace").strip())
            if others := _PRINTED.sub(b"", text):
                os.write(_STDERR, others)
