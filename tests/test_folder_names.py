"""Two folders of other people's pictures have two names: in manifests, runs and reports; one prepared before keeps its own."""

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import fer_data
from cli.fer_data import main
from fer_data.datasets.folder import check_name, default_name
from fer_data.datasets.published import FILES
from fer_data.errors import DatasetError
from fer_data.files import sealed_json
from fer_data.prepare.join import join, plan_join
from fer_data.prepare.plan import PrepareConfig, dry_run
from fer_data.prepare.run import prepare_dataset
from fer_data.store.folder import MARK
from fer_data.store.manifest import read_settings
from fer_model.config import preset
from fer_model.crossval import default_crossval
from fer_model.data.fold import in_common
from fer_model.job import Job, default_run
from tests.trees import bytes_of

PATTERN = "{subject}/{sequence}_{expression}.png"


def config(**options):
    return PrepareConfig(landmarks="none", folds=2, views="virtual", options={"pattern": PATTERN, **options})


def pictures(root, seed=1):
    """Two people with two pictures each."""
    rng = np.random.default_rng(seed)
    for subject in ("a", "b"):
        (root / subject).mkdir(parents=True)
        for number, expression in enumerate(("anger", "fear")):
            cv2.imwrite(str(root / subject / f"{number}_{expression}.png"), rng.integers(0, 256, (48, 48), np.uint8))
    return root


@pytest.mark.parametrize(("folder", "name"), [
    ("cmu", "cmu"), ("My faces (2)", "My-faces-2"), ("a/b c.d", "b-c.d"), ("Gesichter äöü", "Gesichter-äöü"), ("...", "folder"),
    ("mmi", "mmi-folder"),
    ("CK+", "CK+-folder"), ("CK+48", "CK+48"), ("x" * 99, "x" * 60), (unicodedata.normalize("NFD", "é"), "é"), ("-v", "v"), ("_x", "_x"),
])
def test_the_default_is_the_folders_own_name_as_far_as_it_can_name_a_run(folder, name):
    """Seen red: blanks and brackets in the name of a run's folder; a folder called mmi had MMI's counts and licence in its card."""
    assert default_name(Path("/data") / folder) == name
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-x", ".x", "x.", "a\nb", "x" * 61, *FILES, "MMI"])
def test_a_name_that_cannot_be_one_is_refused_in_words(name, tmp_path):
    """Seen red: `ck+` was taken, and the report compared with the counts of CK+."""
    with pytest.raises(DatasetError, match=r"naming a folder of pictures .*(a name begins with|that is a published database)"):
        dry_run("folder", pictures(tmp_path / "in"), tmp_path / "out", config(name=name))
    assert not (tmp_path / "out").exists()


def test_two_folders_have_two_names_wherever_they_are_named(tmp_path):
    """Seen in 0.1.0: both `folder`, both runs/folder-cnn-fold0."""
    for name in ("lab", "web pictures"):
        prepare_dataset("folder", pictures(tmp_path / name), tmp_path / f"out-{name}", config())
    frames = {name: fer_data.read_manifest(tmp_path / f"out-{name}") for name in ("lab", "web pictures")}
    assert set(frames["lab"]["dataset"]) == {"lab"} and frames["lab"]["image_id"][0] == "lab/a/0/00000000"
    assert set(frames["web pictures"]["dataset"]) == {"web-pictures"}
    one, other = (Job(tmp_path / f"out-{name}", Path(), preset("small", method="cnn", fold=0)) for name in ("lab", "web pictures"))
    assert str(default_run(one)) == "runs/lab-cnn-fold0" and str(default_crossval(other)) == "runs/web-pictures-cnn"


def test_the_command_takes_a_name(tmp_path):
    arguments = ["prepare", "folder", str(pictures(tmp_path / "in")), str(tmp_path / "out")]
    arguments += ["--pattern", PATTERN, "--landmarks", "none", "--folds", "2", "--views", "virtual"]
    done = CliRunner().invoke(main, [*arguments, "--name", "lab-2024"])
    assert done.exit_code == 0 and read_settings(tmp_path / "out")["dataset"] == "lab-2024", done.output
    done = CliRunner().invoke(main, arguments)
    said = " ".join(done.output.split())
    assert done.exit_code == 1
    assert "it holds the pictures of lab-2024; give another folder, or --name lab-2024 if these are the same" in said


def test_a_folder_that_was_prepared_before_keeps_its_name_and_its_bytes(tmp_path):
    """Seen red: with the new default name every id, and so every hash, was another one after the same command."""
    root, out = pictures(tmp_path / "in"), tmp_path / "out"
    prepare_dataset("folder", root, out, config(name="folder"))          # what 0.1.0 wrote
    before = bytes_of(out)
    settings = (out / "settings.json").read_bytes()
    done = prepare_dataset("folder", root, out, config())
    assert done.dataset == "folder" and done.shards_written == 0 and set(fer_data.read_manifest(out)["dataset"]) == {"folder"}
    changed = {name for name, value in bytes_of(out).items() if before.get(name) != value}
    assert changed == {"settings.json"} and b'"name": "folder"' in settings
    assert b'"name": "folder"' not in (out / "settings.json").read_bytes()
    assert dry_run("folder", root, out, config()).plan.dataset == "folder"


def test_a_folder_that_holds_others_is_refused(tmp_path):
    """A prepared folder of another folder, of another database. Seen red: other people's faces replaced those that were there."""
    prepare_dataset("folder", pictures(tmp_path / "one"), tmp_path / "out", config())
    before = bytes_of(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"preparing two into .*: it holds the pictures of one; give another folder, or --name one"):
        prepare_dataset("folder", pictures(tmp_path / "two", 2), tmp_path / "out", config())
    with pytest.raises(DatasetError, match=r"preparing three into .*: it holds one; give another folder"):
        prepare_dataset("folder", tmp_path / "two", tmp_path / "out", config(name="three"))
    assert bytes_of(tmp_path / "out") == before
    (tmp_path / "ck").mkdir()
    (tmp_path / "ck" / MARK).write_bytes(sealed_json({"dataset": "ck+"}))
    with pytest.raises(DatasetError, match=r"preparing one into .*: it holds ck\+; give another folder"):
        prepare_dataset("folder", tmp_path / "one", tmp_path / "ck", config())


def test_a_folder_of_the_same_name_at_another_place_is_announced(tmp_path):
    """It may be the same, moved: nothing is said of what is left as it is. Seen red: other people's faces replaced it without a word."""
    arguments = ["--pattern", PATTERN, "--landmarks", "none", "--folds", "2", "--views", "virtual"]
    out = str(tmp_path / "out")

    def said(root, *more):
        done = CliRunner().invoke(main, ["prepare", "folder", str(root), out, *arguments, *more])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    first, other = pictures(tmp_path / "one" / "faces"), pictures(tmp_path / "two" / "faces", 2)
    said(first)
    assert "was made from" not in said(first)
    announced = f"note: {out} was made from {first}, not from {other}: if these are not the same pictures, those that are there are"
    assert announced in said(other, "--dry-run") and announced in said(other)
    moved = other.rename(tmp_path / "faces")
    assert f"was made from {other}, not from {moved}" in (done := said(moved)) and "0 written, 1 kept" in done
    assert "was made from" not in said(moved)


def test_a_joined_folder_cannot_be_the_same_as_a_folder_of_pictures(tmp_path):
    """Seen red: `or --name f+g if these are the same`, which would have replaced both."""
    for seed, name in enumerate(("f", "g")):
        prepare_dataset("folder", pictures(tmp_path / name, seed), tmp_path / f"out-{name}", config())
    join(plan_join([tmp_path / "out-f", tmp_path / "out-g"], tmp_path / "both", 2))
    with pytest.raises(DatasetError, match=r"preparing f into .*: it holds f\+g, which `fer-data join` made of .*; give another folder$"):
        prepare_dataset("folder", tmp_path / "f", tmp_path / "both", config())


def test_people_of_a_folder_without_a_name_may_be_those_of_any_folder():
    """Else a run of before would be tested on its own people, once their pictures are prepared again. Seen red: nobody was met."""
    assert in_common(["folder/S1", "folder/S2"], ["cmu/S1"]) == {"folder/S1"} == in_common(["cmu/S1"], ["folder/S1"])
    assert in_common(["folder/S1"], ["ck+/S1", "mmi/S1"]) == set(), "published databases always had names"
    assert in_common(["cmu/S1"], ["london/S1"]) == set() and in_common(["cmu/S1"], ["cmu/S1", "folder/S2"]) == {"cmu/S1"}
    assert in_common(["ck48/S005"], ["ck+/S005"]) == {"ck+/S005"}
