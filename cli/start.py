"""Where both programs start: Ctrl-C while their modules are still being imported is one word, as it is later, not a traceback.

In:  the command line.
Out: the exit code of the program; 130 if it was interrupted.
"""

import sys
from importlib import import_module

__all__ = ["fer_data", "fer_model"]


def fer_data():
    """Run fer-data."""
    _run("cli.fer_data")


def fer_model():
    """Run fer-model."""
    _run("cli.fer_model")


def _run(program):
    try:
        import_module(program).main()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
