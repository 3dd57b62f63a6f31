"""One set of options: the same name means the same, and reads the same, in every command of both programs."""

import json
from collections import defaultdict
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import common, options
from fer_data.doctor import environment
from tests.test_cli import PROGRAMS, commands, run

LEAVES = {path: command for path, command in commands() if not isinstance(command, click.Group)}
# They write a file or a page and tell where; there is nothing to print as JSON.
WITHOUT_JSON = {
    "fer-data card", "fer-data report", "fer-data weights fetch", "fer-model card", "fer-model demo", "fer-model export",
    "fer-model report", "fer-model tensorboard", "fer-model transfer",
}
SHARED = ("--data", "--device", "--dry-run", "--json", "--out", "--preset", "--run", "--seed", "--workers")
FORMERLY = [
    ("fer-data report", "--to"), ("fer-data card", "--to"), ("fer-model tensorboard", "--logdir"),
]


def options_of(command):
    """Return name -> option."""
    return {max(one.opts, key=len): one for one in command.params if isinstance(one, click.Option)}


def test_the_table_of_commands_is_that_of_the_programs():
    """Near misses are answered from it, without an import of the other program. Seen red: a command of the table away."""
    real = defaultdict(list)
    for path, _ in commands():
        place, _, name = path.rpartition(" ")
        real[place].append(name)
    del real[""]
    assert {place: sorted(names) for place, names in common.COMMANDS.items()} == {place: sorted(names) for place, names in real.items()}


@pytest.mark.parametrize("name", SHARED)
def test_an_option_means_and_reads_the_same_everywhere(name):
    """Type, help and default. Of --data and --out there are two: prepared folders with and without a run, files and folders.

    Seen red: another sentence at --seed of synth; FloatRange at one; --data of evaluate with a default.
    """
    found = {path: options_of(command)[name] for path, command in LEAVES.items() if name in options_of(command)}
    assert len(found) >= 3
    kinds = defaultdict(set)
    for path, one in found.items():
        kind = (type(one.type), one.type.name, one.help, one.is_flag, one.metavar, tuple(one.opts), *vars(one.type).items())
        default = () if name == "--out" else (one.default,)
        kinds[tuple(map(str, kind + default))].add(path)
    assert len(kinds) == (2 if name in ("--data", "--out") else 1), "\n".join(f"{kind}: {paths}" for kind, paths in kinds.items())

    if name == "--data":
        of_runs = {path for path, command in LEAVES.items() for one in command.params if one.opts in (["run"], ["runs"])}
        assert {path for path, one in found.items() if one.default != Path("prepared")} == of_runs & set(found)


def test_what_an_option_writes_is_named_by_o():
    """Seen red: -o away from card."""
    for path, command in LEAVES.items():
        for name, one in options_of(command).items():
            assert ("-o" in one.opts) == (name == "--out"), path
            assert not (one.type in (options.OUT_DIR, options.NEW_FILE) and name not in ("--out", "--run")), f"{path} {name}"


@pytest.mark.parametrize("path, old", FORMERLY)
def test_an_old_name_still_works_and_is_not_shown(path, old):
    """Seen red: `formerly` away; the old name as another one of `opts`."""
    given = options_of(LEAVES[path])["--out"]
    assert old not in run(f"{path} --help").output and old not in given.opts
    context = LEAVES[path].make_context(path, ["."] * (path != "fer-model tensorboard") + [old, "there"], resilient_parsing=True)
    assert str(context.params["out"]) == "there"


def test_what_prints_a_result_prints_it_as_json_too():
    """Seen red: --json away from audit."""
    without = {path for path, command in LEAVES.items() if "--json" not in options_of(command)}
    assert without == WITHOUT_JSON
    assert all(options_of(command)["--json"].name == "as_json" for path, command in LEAVES.items() if path not in without)


CHEAP = [
    "fer-data inspect {0}", "fer-data verify {0}", "fer-data audit {0}", "fer-data doctor -o {1}", "fer-data weights list",
    "fer-data export {0} {1}/new --format imagefolder --dry-run", "fer-data synth bu4dfe {1}/bu --subjects 1 --frames 1",
    "fer-data prepare folder {1}/in {1}/new --pattern '{{subject}}_{{expression}}.png' --landmarks none --folds 2 --dry-run",
    "fer-model config --preset strong", "fer-model train --fold 0 --data {0} --preset smoke --device cpu --dry-run",
    "fer-model pretrain --data {0} --preset smoke --device cpu --dry-run",
    "fer-model crossval --data {0} --run {1}/new --preset smoke --devices cpu --dry-run", "fer-model config",
    "fer-data synth table {1}/table --subjects 1 --takes 1",
    "fer-model shortcut --data {2} --run {1}/new --preset smoke --devices cpu --dry-run",
    "fer-model sweep --set gan.lr=1,2 --data {0} --run {1}/new --preset smoke --devices cpu --dry-run",
]


def probed_here(library):
    """Return what environment.probe returns, without a process for each library: tests/test_doctor.py starts those."""
    scope = {}
    exec(environment.PROBES[library], scope)
    return environment.Trial(scope["facts"])


@pytest.mark.parametrize("line", CHEAP, ids=lambda line: " ".join(line.split()[:2]))
def test_what_is_printed_with_json_is_json(line, tiny_prepared, full_table, tmp_path, monkeypatch):
    """Seen red: a sentence of `prepare --dry-run` printed on stdout before it."""
    monkeypatch.setattr(environment, "probe", probed_here)
    for name in "a_anger", "b_anger":
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{name}.png").write_bytes(b"looked at later")
    done = run(f"{line.format(tiny_prepared, tmp_path, full_table)} --json")
    assert done.exit_code == int("verify" in line), done.output            # the tiny folder is not whole
    assert json.loads(done.stdout)


def test_json_of_predict_goes_with_no_other_form(tmp_path):
    """Seen red: --json beside -o taken, and the file written as CSV."""
    for more in ("-o there.jsonl", "--format csv", "--format table"):
        done = run(f"fer-model predict {tmp_path} {tmp_path}/a.png --json {more}")
        assert done.exit_code == 2 and "leave out" in done.output


LISTS = [
    ("crossval --devices", "NAME,NAME"), ("crossval --folds", "N,N"), ("sweep --devices", "NAME,NAME"), ("sweep --folds", "N,N"),
    ("sweep --seeds", "N,N"), ("shortcut --devices", "NAME,NAME"), ("shortcut --seeds", "N,N"),
]


@pytest.mark.parametrize("option, wanted", LISTS)
@pytest.mark.parametrize("given, wrong", [("", "is an empty list"), (" ", "is an empty list"), ("0,,1", "has an empty word"),
                                          ("0,", "has an empty word")])
def test_an_empty_list_is_refused(option, wanted, given, wrong, tiny_prepared, tmp_path):
    """As a variable of the shell leaves it that is not set.

    Seen red: `--devices ""` an IndexError, `--folds ""` all folds, an empty word a device of no name.
    """
    command, name = option.split()
    more = "--set cnn.lr=1,2" if command == "sweep" else ""
    done = run(f"fer-model {command} --data {tiny_prepared} --run {tmp_path}/new {more} {name} '{given}' --dry-run")
    assert done.exit_code == 2 and f"{given!r} {wrong}; leave the option out, or name {wanted}" in done.output


@pytest.mark.parametrize(("target", "said"), [("nowhere.csv", "is a link to nowhere.csv, which is not there."),
                                             ("dang.csv", "is a link to dang.csv, which leads back to itself.")])
def test_a_link_that_leads_nowhere_is_called_that(target, said, tmp_path):
    """Seen red: `does not exist (did you mean dang.csv?)`, the very name that was given."""
    link = tmp_path / "dang.csv"
    link.symlink_to(target)
    for command in (["fer-data", "prepare", "folder", str(tmp_path), "out", "--labels", str(link)], ["fer-data", "inspect", str(link)]):
        done = CliRunner().invoke(PROGRAMS[command[0]], command[1:])
        assert done.exit_code == 1 and f"{str(link)!r} {said}" in done.output and "mean" not in done.output


def test_each_option_says_what_it_does():
    """Seen red: an option without help."""
    for path, command in commands():
        for name, one in options_of(command).items():
            assert one.help and one.help[0] != "[" and one.help.rstrip().endswith((".", "]")), f"{path} {name}: {one.help}"
    assert set(PROGRAMS) == {path.split()[0] for path in LEAVES}
