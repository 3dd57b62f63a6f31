"""What both commands share: errors -> exit codes, the console, progress bars, option types.

Exit codes: 0 done, 1 data or run error (one sentence on stderr), 2 wrong usage, 130 interrupted.
"""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fer_data import __version__
from fer_data.errors import FerError

__all__ = ["console", "stderr", "Group", "DIR", "ROOT", "OUT_DIR", "FILE", "NEW_FILE", "counted", "show", "show_json", "show_line", "tell",
           "progress", "version_option"]  # fmt: skip

console = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

DIR = click.Path(exists=True, file_okay=False, path_type=Path)
ROOT = click.Path(exists=True, path_type=Path)   # of a database; a file is let through: the library says what it is
OUT_DIR = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)

version_option = click.version_option(__version__, message="%(prog)s %(version)s")


class Group(click.Group):
    """A group whose commands show an error of ours, or of the file system, as one sentence."""

    def __init__(self, *args, **settings):
        settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"], "max_content_width": 120})
        super().__init__(*args, **settings)

    def resolve_command(self, context, arguments):
        """Return the command that is named; of an unknown one say which there are."""
        if arguments and self.get_command(context, arguments[0]) is None and not arguments[0].startswith("-"):
            context.fail(f"No such command {arguments[0]!r}; there are {', '.join(self.list_commands(context))}.")
        return super().resolve_command(context, arguments)

    def main(self, *args, standalone_mode=True, **settings):
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **settings)
        try:
            sys.exit(super().main(*args, standalone_mode=False, **settings) or 0)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:  # Ctrl-C
            stderr.print("Interrupted. Run the same command again to go on.")
            sys.exit(130)
        except (FerError, OSError) as error:
            stderr.print(f"Error: {error}", style="red", markup=False)
            sys.exit(1)


def counted(number: int, noun: str) -> str:
    """Return `3 images`, `1 image`, `1 person`."""
    if number == 1:
        noun = noun.replace("people", "person").removesuffix("s")
    return f"{number:,} {noun}"


def show(what) -> None:
    """Print a sentence, or anything that rich can draw. Of the processes that torchrun started, the first one speaks."""
    if os.environ.get("RANK", "0") != "0":
        return
    console.print(what, markup=False) if isinstance(what, str) else console.print(what)


def show_line(what) -> None:
    """Print a line as it is, for machines, or anything that rich can draw."""
    click.echo(what) if isinstance(what, str) else console.print(what)


def tell(what) -> None:
    """Say something on the side, on stderr: a sentence, or anything that rich can draw."""
    stderr.print(what, markup=False) if isinstance(what, str) else stderr.print(what)


def show_json(content) -> None:
    """Print `content` as JSON, for machines: no colour, no wrapping."""
    click.echo(json.dumps(content, indent=1, ensure_ascii=False))


@contextmanager
def progress(what: str):
    """Yield a function to call with (done, total, text); draws a bar on a terminal, a plain line at each tenth elsewhere.

    Where the total is None, it is not known: a terminal shows what is done, and nothing is said elsewhere.
    """
    if stderr.is_terminal:
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
        with Progress(*columns, console=stderr, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total, text=what: bar.update(task, completed=done, total=total, description=text)
        return
    last = -1

    def line(done: int, total: int | None, text: str = what) -> None:
        nonlocal last
        if total is None:
            return
        tenth = 10 * done // total if total else 0
        if tenth > last:
            last = tenth
            stderr.print(f"{text}: {done} of {total}", markup=False)

    yield line
