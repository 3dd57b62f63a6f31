"""No output replaces what a run or a prepared folder wrote."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import fer_data, fer_model
from fer_data.errors import StorageError
from fer_data.store.own_files import WEIGHTS, refuse_own_file
from fer_model.config import STAGES_OF
from tests.trees import bytes_of

_OURS = ("config.json", "predictions.csv", "log.jsonl", "result.json", "cnn.safetensors", "gan.safetensors", "checkpoints/gan.json")


@pytest.fixture
def fold(tmp_path, monkeypatch):
    """A fold of a cross-validation as far as its names go, and a picture."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/fold0/checkpoints").mkdir(parents=True)
    for name in (*_OURS, "model.onnx"):
        (tmp_path / "runs/fold0" / name).write_text("{}")
    (tmp_path / "me.png").write_bytes(b"x")
    return Path("runs/fold0")


@pytest.mark.parametrize("name", _OURS)
@pytest.mark.parametrize(
    "words",
    [
        ["predict", "runs/fold0", "me.png", "--format", "csv", "-o"],
        ["predict", "runs/fold0/model.onnx", "me.png", "--format", "csv", "-o"],
        ["predict", "runs/fold0", "me.png", "--annotate"], ["card", "runs/fold0", "-o"], ["card", "runs", "-o"],
    ],
    ids=" ".join,
)
def test_a_command_told_to_write_over_a_file_of_a_run_says_so_and_leaves_it(fold, words, name):
    """`predict` replaced predictions.csv, and the run could not be used any more. Seen red: nothing said before the run was read."""
    before = bytes_of(Path())
    done = CliRunner().invoke(fer_model.main, [*words, str(fold / name)])
    assert done.exit_code == 1, done.output
    assert f"{fold / name}: it is a file of the run in {fold.resolve()}; give another name" in done.output
    assert bytes_of(Path()) == before


@pytest.mark.parametrize("name", ["checkpoints", "samples"])
def test_event_files_are_not_written_among_those_of_a_run(fold, name):
    """Seen red: the run was read first, and event files were written next to its checkpoints."""
    done = CliRunner().invoke(fer_model.main, ["tensorboard", str(fold), "-o", str(fold / name)])
    assert done.exit_code == 1 and f"{fold / name}: it is a file of the run in" in done.output


@pytest.mark.parametrize(("form", "name"), [("safetensors", "cnn.safetensors"), ("safetensors", "gan.safetensors")])
def test_an_export_does_not_replace_the_weights(fold, form, name):
    """Seen red: refuse_own_file away: nothing said before the run was read."""
    done = CliRunner().invoke(fer_model.main, ["export", str(fold), "--format", form, "-o", str(fold / name)])
    assert done.exit_code == 1 and "it is a file of the run in" in done.output


def test_other_names_in_a_run_and_these_names_elsewhere_are_free(fold, tmp_path):
    """Seen red: the check for config.json away; a link in the run followed, as if what it leads to were replaced."""
    for free in (fold / "holiday.csv", Path("predictions.csv"), Path("runs/predictions.csv")):
        refuse_own_file("writing", free)
    refuse_own_file("writing", fold / "model.onnx", but=fold / "model.onnx")
    (tmp_path / "link").symlink_to(fold)
    (fold / "judged.json").symlink_to(tmp_path / "elsewhere.json")
    for ours in (Path("link/predictions.csv"), fold / "judged.json", fold / "model.onnx", fold / "samples"):
        with pytest.raises(StorageError, match="it is a file of the run"):
            refuse_own_file("writing", ours)


@pytest.mark.parametrize("name", ["manifest.csv", "settings.json", "shards/00000.h5", "card.md", ".lock"])
def test_the_report_does_not_replace_a_file_of_the_prepared_folder(tmp_path, name):
    """Seen red: refuse_own_file away: nothing said before the manifest was read."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "fer-data.json").write_text("{}")
    done = CliRunner().invoke(fer_data.main, ["report", str(tmp_path), "-o", str(tmp_path / name)])
    assert done.exit_code == 1 and f"it is a file of the prepared folder {tmp_path}; give another name" in done.output, done.output


@pytest.fixture
def prepared(fold):
    """A prepared folder beside the run, and a folder of runs with the table of a sweep, as far as their names go."""
    for name in ("fer-data.json", "manifest.csv", "manifest.parquet", "settings.json", "shards/00000.h5", "report.html", "card.md"):
        Path("p", name).parent.mkdir(parents=True, exist_ok=True)
        Path("p", name).write_text("{}")
    for name in ("sweep.json", "shortcut.json", "fold0/card.md", "fold1/config.json"):
        Path("runs", name).parent.mkdir(exist_ok=True)
        Path("runs", name).write_text("{}")
    return Path("p")


@pytest.mark.parametrize("words", [
    "report other -o runs/fold0/predictions.csv", "report other -o p/report.html", "card other -o runs/fold0", "card other -o p",
    "report p -o runs/sweep.json",
])
def test_a_command_of_fer_data_leaves_runs_and_other_prepared_folders_alone(prepared, words):
    """Seen red: names of prepared folders alone, and the usual name let through in every folder: nothing said of the file."""
    before = bytes_of(Path())
    Path("other").mkdir()
    done = CliRunner().invoke(fer_data.main, words.split())
    assert done.exit_code == 1 and "; give another name" in done.output, done.output
    assert bytes_of(Path()) == before


@pytest.mark.parametrize(("out", "says"), [("p", "p is a prepared"), ("p/shards", "p is a prepared"), ("runs/fold0", "fold0 is a run")])
def test_event_files_are_not_written_into_a_prepared_folder_nor_a_run(prepared, out, says):
    """Seen red: a folder fold0 was made in it."""
    before = bytes_of(Path())
    done = CliRunner().invoke(fer_model.main, ["tensorboard", "runs/fold0", "-o", out])
    assert done.exit_code == 1 and f"writing for TensorBoard to {out}: " in done.output and says in done.output.replace("\n", "")
    assert bytes_of(Path()) == before


@pytest.mark.parametrize("words", [
    "predict runs/fold0 me.png --format csv -o p/manifest.csv", "predict runs/fold0 me.png --format csv -o p/shards/00000.h5",
    "export runs/fold0 --format safetensors -o runs/fold1/model.safetensors", "card runs/fold0 -o p/settings.json",
    "card runs/fold0 -o p/card.md", "card runs -o runs/fold0/card.md", "card runs/fold0 -o runs/sweep.json",
    "predict runs/fold0 me.png --format csv -o runs/shortcut.json", "report runs/fold0 -o p",
])
def test_a_command_of_fer_model_leaves_prepared_folders_and_tables_of_runs_alone(prepared, words):
    """Seen red: names of runs alone: nothing said of the file."""
    before = bytes_of(Path())
    done = CliRunner().invoke(fer_model.main, words.split())
    assert done.exit_code == 1 and "; give another name" in done.output, done.output
    assert bytes_of(Path()) == before


def test_the_weights_of_all_stages_are_a_runs_own():
    """fer_data cannot ask which stages there are. Seen red: one name away."""
    assert {f"{stage}.safetensors" for stage in {"judges", *(stage for stages in STAGES_OF.values() for stage in stages)}} == {*WEIGHTS}
