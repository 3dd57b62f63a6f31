"""Options that commands share: each has one name, one type, one default and one sentence of help, in both programs.

In:  what differs from command to command: the words of a choice, what is written where nothing is said.
Out: decorators for commands, and the types of their paths.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from fer_data.files import why_unreadable
from fer_data.text import did_you_mean

__all__ = [
    "Choice", "Existing", "Method", "Option", "DIR", "FILE", "NEW_FILE", "OUT_DIR", "PREPARED", "ROOT", "RUN", "RUN_OR_FILE",
    "choice", "flag", "listed", "number", "several", "data", "data_of_run", "device", "dry_run", "gan", "init", "json", "landmarks",
    "out_file", "out_folder", "own_code", "prepared", "resume", "run", "seed", "together", "workers",
]


# --- types ------------------------------------------------------------------------------------------------------------


def _with(sentence: str, end: str) -> str:
    """Return a sentence of click with something behind it, in place of its full stop."""
    return sentence.removesuffix(".") + end if end else sentence


class Choice(click.Choice):
    """A choice that suggests the closest valid value."""

    def get_invalid_choice_message(self, value, ctx):
        return _with(super().get_invalid_choice_message(value, ctx), did_you_mean(str(value), map(str, self.choices)))


class Method(Choice):
    """A method, FILE.py:Class, or the name of an installed network."""

    def __init__(self, methods: Iterable[str], group: str):
        super().__init__(methods)
        self.group = group            # of entry points

    def convert(self, value, param, ctx):
        if value in self.choices or not (".py:" in value or value in _installed(self.group)):
            return super().convert(value, param, ctx)
        return value

    def get_invalid_choice_message(self, value, ctx):
        return _with(super().get_invalid_choice_message(value, ctx), "; your own network is FILE.py:Class.")


def _installed(group: str) -> Iterable[str]:
    from importlib.metadata import entry_points

    return entry_points(group=group).names


class Existing(click.Path):
    """An existing file or folder; for a missing one the error suggests the closest name, or the command that writes such a one; of a
    link it says where that leads."""

    def __init__(self, written_by: str = "", **settings):
        super().__init__(exists=True, path_type=Path, **settings)
        self.written_by = written_by

    def convert(self, value, param, ctx):
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            path = Path(value)
            if path.is_symlink() and not path.exists():
                error.message = f"{self.name.title()} {str(path)!r} {why_unreadable(path)}."
            elif not path.exists():
                near = [one.name for one in path.parent.iterdir()] if os.access(path.parent, os.R_OK) else []
                writer = f". `{self.written_by}` writes one." if self.written_by else ""
                error.message = _with(error.message, did_you_mean(path.name, near) or writer)
            raise click.ClickException(error.format_message()) from error  # the command is right, what it names is not: 1, one sentence


DIR = Existing(file_okay=False)
PREPARED = Existing("fer-data prepare", file_okay=False)
RUN = Existing("fer-model train", file_okay=False)
RUN_OR_FILE = Existing("fer-model train")   # a run, or what export made of it
ROOT = Existing()   # of a database; a file is let through: the library says what it is
OUT_DIR = click.Path(file_okay=False, path_type=Path)
FILE = Existing(dir_okay=False)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


class Option(click.Option):
    """An option whose default may be told in words, and whose name of before may still work.

    show_default   text: what happens where the option is not given
    formerly       another name that scripts use; neither help nor completion shows it
    """

    def __init__(self, *names, formerly: str = "", **settings):
        super().__init__(*names, **settings)
        self.formerly = formerly

    def add_to_parser(self, parser, ctx):
        super().add_to_parser(parser, ctx)
        if self.formerly:
            parser.add_option(self, [self.formerly], dest=self.name)

    def get_help_extra(self, ctx):
        extra = super().get_help_extra(ctx)
        return {**extra, "default": self.show_default} if isinstance(self.show_default, str) else extra


def together(*decorators: Callable) -> Callable:
    """Return several options as one decorator, in this order in the help."""

    def decorate(command):
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


# --- kinds ------------------------------------------------------------------------------------------------------------


def choice(option: str, allowed: Iterable[str], text: str, name: str | None = None, default: str | None = None) -> Callable:
    """Return an option with a few allowed words; without `default` it is the first of them."""
    allowed = list(allowed)
    names = [option, *([name] if name else [])]
    return click.option(*names, type=Choice(allowed), default=default or allowed[0], show_default=True, help=text)


def several(option: str, allowed: list[str], text: str) -> Callable:
    """Return an option with a few allowed words that may be given several times; the first is the default."""
    return click.option(option, type=Choice(allowed), multiple=True, default=allowed[:1], show_default=True, help=text)


def number(option: str, default: int, least: int, text: str) -> Callable:
    """Return an option that takes a whole number."""
    return click.option(option, type=click.IntRange(least), default=default, show_default=True, metavar="N", help=text)


def flag(option: str, text: str, name: str | None = None) -> Callable:
    """Return an option that is on or off."""
    return click.option(option, *([name] if name else []), is_flag=True, default=False, help=text)


def listed(option: str, kind: type, metavar: str, text: str, default: str | None = None, unset: str | bool = True) -> Callable:
    """Return an option that takes words or numbers between commas; `unset` says what happens where it is not given."""

    def read(context, parameter, given):
        if given is None:
            return ()
        words = given.split(",")
        if not all(word.strip() for word in words):                      # such as a variable of the shell that is not set
            wrong = "has an empty word" if given.strip() else "is an empty list"
            raise click.BadParameter(f"{given!r} {wrong}; leave the option out, or name {metavar}")
        try:
            return tuple(kind(word) for word in words)
        except ValueError as error:
            raise click.BadParameter(f"{given!r} is not a list of numbers between commas, such as 0,1,2") from error

    return click.option(option, cls=Option, callback=read, default=default, metavar=metavar, show_default=unset, help=text)


# --- the same in every command ----------------------------------------------------------------------------------------

_DATA = "A folder that fer-data prepare wrote."


def prepared() -> Callable:
    """Return the argument PREPARED of commands that read a prepared folder."""
    return click.argument("prepared", type=PREPARED)


def data() -> Callable:
    """Return --data of commands that train."""
    return click.option("--data", type=PREPARED, default=Path("prepared"), show_default=True, help=_DATA)


def data_of_run() -> Callable:
    """Return --data of commands that take a finished run, which knows its data; None: that."""
    return click.option("--data", cls=Option, type=PREPARED, show_default="that of the run", help=_DATA)


def run(unset: str) -> Callable:
    """Return --run of commands that train: where the run is written, and resumed. `unset` says which folder that is by default."""
    text = "Where the run is written and resumed; of crossval and sweep, the folder of all runs."
    return click.option("--run", cls=Option, type=OUT_DIR, show_default=unset, help=text)


def resume() -> Callable:
    """Return --resume/--no-resume of commands that train one run."""
    text = "Resume the run in the folder, or start it again from nothing."
    return click.option("--resume/--no-resume", default=True, show_default=True, help=text)


def gan(text: str, metavar: str = "RUN") -> Callable:
    """Return --gan of commands that take stage 1 from what is trained already; `text` says from which run, or which of several."""
    return click.option("--gan", type=RUN, metavar=metavar, help=text)


def init(text: str) -> Callable:
    """Return --init of commands whose runs start from one of `fer-model pretrain`; `text` says what of them does."""
    return click.option("--init", type=RUN, metavar="RUN", help=text)


def device() -> Callable:
    """Return --device."""
    text = "auto, cpu, cuda or cuda:N (GPU number N). auto: a GPU if there is one."
    return click.option("--device", default="auto", show_default=True, metavar="NAME", help=text)


def seed(name: str | None = None) -> Callable:
    """Return --seed; `name` is the parameter's where it is another one."""
    names = ["--seed", *([name] if name else [])]
    return click.option(*names, type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Seed of all random choices.")


def out_file(unset: str, formerly: str = "") -> Callable:
    """Return -o/--out of commands that write a file; None: `unset` says where."""
    return click.option("-o", "--out", cls=Option, formerly=formerly, type=NEW_FILE, show_default=unset, help="File to write.")


def out_folder(default: Path | None, unset: str | bool = True, formerly: str = "") -> Callable:
    """Return -o/--out of commands that write several files."""
    shown = {"default": default, "show_default": unset, "help": "Folder to write to."}
    return click.option("-o", "--out", cls=Option, formerly=formerly, type=OUT_DIR, **shown)


def json() -> Callable:
    """Return --json of commands that print a result."""
    return flag("--json", "Print the result as JSON; all else goes to stderr.", "as_json")


def dry_run() -> Callable:
    """Return --dry-run of commands that take long."""
    return flag("--dry-run", "Say what would be done; write nothing.")


def workers() -> Callable:
    """Return --workers."""
    return number("--workers", 1, 1, "Number of processes. The result does not depend on it.")


def own_code() -> Callable:
    """Return --method of commands that load a run: the code that a run of a user's network needs is run if it is named, else not."""

    def allow(context, parameter, given):
        if given:
            from fer_model.stages.own_network import allow as library

            library(given)

    text = "Run this code, which a run of your own network needs. It must be the file that the run was trained with."
    return click.option("--method", metavar="FILE.py:Class", expose_value=False, callback=allow, help=text)


def landmarks() -> Callable:
    """Return --landmarks of commands that look for faces in new pictures; None: as in the training."""
    shown = {"show_default": "that of the training", "help": "Landmark backend that finds the faces."}
    return click.option("--landmarks", cls=Option, type=Choice(["fan", "dlib", "none"]), **shown)
