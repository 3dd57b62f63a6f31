"""Where both programs start: Ctrl-C while their modules are still being imported is one word, as it is later, not a traceback.

In:  the command line.
Out: the exit code of the program; 130 if it was interrupted.
"""

import sys

__all__ = ["fer_data", "fer_model"]


def fer_data():
    """Run fer-data."""
    try:
        from cli.fer_data import main

        main()
    except KeyboardInterrupt:
        _interrupted()


def fer_model():
    """Run fer-model."""
    try:
        from cli.fer_model import main

        main()
    except KeyboardInterrupt:
        _interrupted()


def _interrupted():
    print("Interrupted.", file=sys.stderr)
    sys.exit(130)
