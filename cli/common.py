"""What both programs share: errors -> exit codes, the console, progress bars, help with examples.

Exit codes: 0 done, 1 data or run error (one sentence on stderr), 2 wrong usage, 130 interrupted.
"""

import inspect
import json
import os
import sys
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli import limits
from cli.progress_lines import ProgressLines
from fer_data import __version__
from fer_data.errors import FerError
from fer_data.text import did_you_mean, either

__all__ = [
    "COMMANDS", "COMPLETION", "Group", "answer", "console", "progress", "show", "show_line", "stderr", "tell",
    "training_bar", "version_option",
]

console = Console(highlight=False, soft_wrap=True, emoji=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


# Where commands are, of both programs: a near miss is answered from this table, not by importing the other program.
COMMANDS = {
    "fer-data": ("audit", "card", "doctor", "export", "inspect", "join", "prepare", "report", "synth", "verify", "weights"),
    "fer-data prepare": (
        "adfes", "affectnet", "bu4dfe", "caer-s", "ck+", "ck48", "crema-d", "expw", "faces-mpi", "fer2013", "folder", "jaffe", "kdef",
        "mmi", "mug", "oulu", "rafd", "rafdb", "ravdess", "sfew", "wsefep",
    ),
    "fer-data synth": (
        "adfes", "affectnet", "bu4dfe", "caer-s", "ck+", "crema-d", "expw", "faces-mpi", "fer2013", "jaffe", "kdef", "mmi", "mug", "oulu",
        "rafd", "rafdb", "ravdess", "sfew", "table", "wsefep",
    ),
    "fer-data weights": ("fetch", "list", "verify"),
    "fer-model": (
        "card", "check-device", "config", "crossval", "demo", "evaluate", "export", "judge", "predict", "pretrain", "probe", "report",
        "shortcut", "sweep", "tensorboard", "train", "transfer",
    ),
}

version_option = click.version_option(__version__, message="%(prog)s %(version)s")
COMPLETION = """\b
Completion with the Tab key. Put the line of your shell into its start-up file to keep it:
  bash   eval "$(_{0}_COMPLETE=bash_source {1})"
  zsh    eval "$(_{0}_COMPLETE=zsh_source {1})"        after compinit
  fish   _{0}_COMPLETE=fish_source {1} | source"""


# What the same command does after Ctrl-C; all files are written whole or not at all.
_RESUMES = "Run the same command again to resume."
_BEGINS_AGAIN = "No file is left half-written; the same command begins again from the start."


class _Help(click.Command):
    """A command whose help shows its examples under a heading, and whose line in the list of commands is not cut."""

    def __init__(self, *args, resumes=False, **settings):
        """`resumes`: whether it, or each command of a group, goes on where it was when it is typed again."""
        super().__init__(*args, **settings)
        self.resumes = resumes

    def format_help_text(self, ctx, formatter):
        text, mark, examples = inspect.cleandoc(self.help or "").partition("\n\b\nfer-")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text.rstrip())
        if mark:
            with formatter.section("Examples"):
                formatter.write_text(f"\b\nfer-{examples}")

    def get_short_help_str(self, limit=45):
        return super().get_short_help_str(limit=1000)

    def invoke(self, ctx):
        if not isinstance(self, click.Group):                            # which shows help of the commands in it
            limits.check_limits()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            if isinstance(self, click.Group):
                raise
            raise KeyboardInterrupt(_RESUMES if self._resumes(ctx) else _BEGINS_AGAIN) from error

    def _resumes(self, ctx):
        """Return whether the command as it was typed goes on where it was."""
        able = self.resumes or (isinstance(ctx.parent.command, _Help) and ctx.parent.command.resumes)
        return able and not ctx.params.get("dry_run") and ctx.params.get("resume", True)


class Group(_Help, click.Group):
    """A group whose commands show an error of ours, of the file system, or a lack of memory as one sentence."""

    command_class = _Help

    def __init__(self, *args, **settings):
        settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"], "max_content_width": 120})
        super().__init__(*args, **settings)

    def parse_args(self, ctx, args):
        """Read the options before the command; one of a command's own says where it goes."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            for name, command in self.commands.items():
                if any(error.option_name in option.opts for option in command.params):
                    place = f"{ctx.command_path} {name} ... {error.option_name}"
                    raise click.UsageError(f"{error.message} It goes behind the command: {place}", ctx) from error
            raise

    def resolve_command(self, ctx, args):
        """Return the command that is named; of an unknown one say which there are, and which was meant."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            there = self.list_commands(ctx)
            meant = _elsewhere(args[0]) or did_you_mean(args[0], there)
            ctx.fail(f"No such command {args[0]!r}; there are {', '.join(there)}{meant or '.'}")
        return super().resolve_command(ctx, args)

    def main(self, *args, standalone_mode=True, **settings):
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **settings)
        try:
            with limits.libraries_are_watched():
                sys.exit(super().main(*args, standalone_mode=False, **settings) or 0)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort as error:  # Ctrl-C; its cause says what the same command will do
            stderr.print(" ".join(["Interrupted.", *map(str, error.__cause__.args if error.__cause__ else ())]))
            sys.exit(130)
        except (FerError, OSError) as error:
            stderr.print(f"Error: {error}", style="red", markup=False)
            sys.exit(1)
        except (MemoryError, ImportError, RuntimeError) as error:
            lack = limits.as_sentence(error)
            if lack is None:
                raise
            click.echo(f"Error: {lack}", err=True)                       # takes less memory than rich
            sys.exit(1)


def _elsewhere(name: str) -> str:
    """Return ` (did you mean fer-model train?)` if a command of this name is in another place, of either program."""
    found = [f"{place} {name}" for place, names in COMMANDS.items() if name in names]
    return f" (did you mean {either(found)}?)" if found else ""


def _speaks() -> bool:
    """Return whether this process says something: of those that torchrun started, the first one."""
    return os.environ.get("RANK", "0") == "0"


def show(what) -> None:
    """Print a sentence, or anything that rich can draw."""
    if _speaks():
        console.print(what, markup=False) if isinstance(what, str) else console.print(what)


def answer(found, as_json: bool) -> None:
    """Print the result of a command, which draws itself: for people, or as JSON without colours and line breaks of a terminal."""
    if not as_json:
        show(found)
    elif _speaks():
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))


def show_line(what) -> None:
    """Print a line as it is, for machines, or anything that rich can draw."""
    click.echo(what) if isinstance(what, str) else console.print(what)


def tell(what) -> None:
    """Say something on the side, on stderr: a sentence, or anything that rich can draw."""
    if _speaks():
        stderr.print(what, markup=False) if isinstance(what, str) else stderr.print(what)


@contextmanager
def training_bar():
    """Yield a hook that moves a bar on a terminal, one for each stage of a training; None elsewhere: the log has the minutes left."""
    if not (stderr.is_terminal and _speaks()):
        yield None
        return
    with progress("training") as move:
        yield lambda stage, step, steps: move(step + 1, steps, stage)


@contextmanager
def progress(what: str):
    """Yield a function to call with (done, total, text); draws a bar on a terminal, says lines elsewhere.

    Where the total is None, it is not known: what is done is shown.
    """
    if stderr.is_terminal:
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *times)
        with Progress(*columns, console=stderr, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total, text=what: bar.update(task, completed=done, total=total, description=text, refresh=done == total)
        return
    with ProgressLines(what, lambda text: stderr.print(text, markup=False)) as lines:
        yield lines
