"""How faces were found and framed is told wherever faces of two kinds meet: evaluate, its JSON, the report."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main as fer_data_main
from cli.fer_model import main
from fer_data.datasets.published import FILES
from fer_data.errors import WeightsError
from fer_data.faces.align import place_whole
from fer_data.faces.finder import Finder
from fer_data.faces.landmarks import open_backend
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.store.manifest import manifest_sha256, read_manifest, read_settings, write_manifest
from fer_model.config import preset, with_budgets
from fer_model.errors import RunError
from fer_model.job import Job
from fer_model.runs.faces import faces_of, faces_of_run, how_framed, unlike
from fer_model.runs.folder import RunFolder
from fer_model.train import train
from fer_model.use import framing
from fer_model.use.export import export
from fer_model.use.framing import FILLS_CROP
from fer_model.use.predictor import _doubts, _notes, load
from fer_model.use.recipe import Recipe, from_metadata


def settings(dataset, landmarks, detector="sfd", version="1", weights="a" * 64):
    """Return what of settings.json counts here."""
    backend = {"name": landmarks, "version": version, "weights_sha256": weights}
    config = {"landmarks": landmarks, "detector": detector, "colour": "grey"}
    return {"dataset": dataset, "config": config, "backend": backend, "pipeline_version": 2}


def said(trained, tested):
    return " ".join(unlike("the run", faces_of(trained), trained["dataset"], Path("prepared-b"), tested))


@pytest.mark.parametrize("dataset", [*FILES, "my-pictures"])
def test_a_command_that_is_advised_is_one_that_the_program_takes(dataset):
    """For every database and backend. Seen red: --detector for fer2013, which has no such option."""
    kinds, commands = (("fan", "sfd"), ("fan", "dlib"), ("dlib", "sfd"), ("openface", "sfd"), ("dataset", "sfd"), ("none", "whole")), []
    for landmarks, detector in kinds:
        other = "dlib" if landmarks == "none" else "none"
        sentence = said(settings("other", landmarks, detector), settings(dataset, other))
        commands += re.findall(r"`fer-data prepare ([^`]+)`", sentence)
    mine = [words.split() for words in commands if words.split()[0] == (dataset if dataset in FILES else "folder")]
    assert mine
    for name, _, _, *options in mine:
        words = [".", "out", *(str(Path.cwd()) if word == "DIR" else word for word in options)]
        more = ["--pattern", "x"] if name == "folder" else []
        fer_data_main.commands["prepare"].commands[name].make_context("", [*words, *more])


def test_faces_as_they_were_cropped_and_aligned_ones_are_told_apart_with_both_commands():
    """Seen in 0.1.0: nothing; CK+48 as it is had 32.8 % on aligned faces of other people. Seen red: the commands the wrong way round."""
    text = said(settings("ck48", "none", version="", weights=""), settings("cmu", "dlib", version="20.0.1"))
    assert "trained on are as they were cropped, without landmarks; those of prepared-b are aligned by the landmarks of dlib 20.0" in text
    commands = "`fer-data prepare folder ROOT OUT --landmarks none` or `fer-data prepare ck48 ROOT OUT --landmarks dlib`"
    assert f"{commands}, and train again." in text
    text = said(settings("ck+", "dlib"), settings("ck48", "none"))
    assert "To have them alike: `fer-data prepare ck48 ROOT OUT --landmarks dlib`." in text, "CK+ has no faces as they were cropped"
    text = said(settings("mmi", "fan", detector="dlib"), settings("lab", "none"))
    assert "`fer-data prepare folder ROOT OUT --landmarks fan --detector dlib`." in text


def test_other_points_another_version_and_crops_of_others_are_told():
    """Seen red: nothing unless one of both was `none`."""
    assert "they lie a little otherwise" in said(settings("ck+", "dlib"), settings("oulu", "fan"))
    assert "they lie a little otherwise" in said(settings("ck+", "dlib"), settings("oulu", "dlib", version="2"))
    assert "they lie a little otherwise" in said(settings("ck+", "dlib"), settings("oulu", "dlib", weights="b" * 64))
    assert "nobody knows whether alike" in said(settings("ck48", "none"), settings("lab", "none"))
    assert "`fer-data prepare ck+ ROOT OUT --landmarks dataset`" not in said(settings("ck+", "dataset"), settings("oulu", "dlib"))
    assert unlike("the run", None, "ck48", Path("b"), settings("lab", "dlib"))[0].startswith("How the faces were framed that the run")


@pytest.mark.parametrize(("one", "other"), [
    (settings("ck+", "dlib"), settings("oulu", "dlib")), (settings("ck48", "dlib", detector="whole"), settings("cmu", "dlib")),
    (settings("a", "none"), settings("a", "none")),
])
def test_faces_that_are_alike_are_no_reason_to_say_anything(one, other):
    """Points in the whole picture align a face as others do. Seen red: a sentence for `whole` beside a detector."""
    assert said(one, other) == ""
    assert how_framed(faces_of(settings("ck48", "dlib", "whole"))) == "aligned by the landmarks of dlib 1, found in the whole picture"


@pytest.fixture(scope="module")
def run(write_tiny, tmp_path_factory):
    """A run of the baseline, two steps long, on faces as they were cropped."""
    root = tmp_path_factory.mktemp("framing")
    write_tiny(root / "one", dataset="ck48")
    framed(root / "one", "none")
    config = with_budgets(preset("smoke", method="cnn", fold=0), cnn=0.016)
    train(Job(root / "one", root / "run", replace(config, network=replace(config.network, init_std=0.2))), "cpu", say=lambda _: None)
    return root / "run"


def framed(out, landmarks):
    """Say in a prepared folder that its faces were found in another way."""
    old = read_settings(out)
    new = {key: value for key, value in old.items() if key not in ("schema_version", "manifest_sha256", "csv_sha256")}
    new["config"] = {**old["config"], "landmarks": landmarks, "detector": "sfd"}
    new["backend"] = {"name": landmarks, "version": "" if landmarks == "none" else "20.0.1", "weights_sha256": ""}
    write_manifest(out, read_manifest(out).to_dict("records"), [], new)


def test_evaluate_says_it_and_puts_it_into_its_json(run, write_tiny, tmp_path):
    """Seen red: no note, no key."""
    other = write_tiny(tmp_path / "other", dataset="lab", seed=3)
    framed(other, "dlib")
    done = CliRunner().invoke(main, ["evaluate", str(run), "--data", str(other), "--device", "cpu"])
    text = " ".join(done.output.split())
    assert done.exit_code == 0 and "as they were cropped, without landmarks" in text
    assert "fer-data prepare ck48 ROOT OUT --landmarks dlib" in text
    found = json.loads(CliRunner().invoke(main, ["evaluate", str(run), "--data", str(other), "--device", "cpu", "--json"]).stdout)[0]
    how = ("as they were cropped, without landmarks", "aligned by the landmarks of dlib 20.0.1")
    assert found["faces"] == dict(zip(("trained_on", "tested_on"), how, strict=True))
    assert any("and train again" in note for note in found["notes"])
    found = json.loads(CliRunner().invoke(main, ["evaluate", str(run), "--json"]).stdout)[0]
    assert "faces" not in found and "notes" not in found


def test_a_run_says_which_frames_were_taken_and_with_which_options(run):
    """Seen red: neither in config.json."""
    content = RunFolder(run).read_content()
    assert (content["frame_rule"], content["options"]) == ("all", {})


def test_a_run_that_does_not_say_is_asked_for_its_folder(run):
    content = RunFolder(run).read_config()[1]
    assert faces_of_run(content)["landmarks"] == "none" == faces_of_run({**content, "faces": None})["landmarks"]
    assert faces_of_run({**content, "faces": None, "data": "gone"}) is None
    assert faces_of_run({**content, "faces": None, "manifest_sha256": "0" * 64}) is None


@pytest.fixture(scope="module")
def people(real_faces, tmp_path_factory):
    """(photographs, their faces cropped to 48x48 as others crop them, a folder prepared from the crops without landmarks)."""
    root = tmp_path_factory.mktemp("people")
    backend, photographs, crops = open_backend("dlib"), [], []
    for path in sorted((real_faces / "images").rglob("*.jpg"))[:24]:
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        left, top, right, bottom = (max(0, round(side)) for side in backend.locate_all(picture)[0].box)
        photographs.append(picture)
        crops.append(cv2.resize(picture[top:bottom, left:right], (48, 48), interpolation=cv2.INTER_AREA))
        subject, name = path.parent.name, path.stem.partition("_")[2]
        (root / "in" / subject).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "in" / subject / f"{name}.png"), crops[-1])
    options = {"pattern": "{subject}/{sequence}_{expression}.png"}
    prepare_dataset("folder", root / "in", root / "out", PrepareConfig(landmarks="none", folds=2, views="virtual", options=options))
    return photographs, crops, root / "out"


def recipe(landmarks, detector, data=""):
    manifest = manifest_sha256(data) if data else "0" * 64
    return Recipe("cnn", "ck48", False, 0, ("fear", "anger"), 1, 48, "softmax", landmarks, detector, {}, "0", manifest, data=str(data))


def test_a_photograph_is_doubted_where_cropped_faces_were_trained_on_and_a_crop_is_not(people):
    """Seen in 0.1.0: `fear 0.93` for a calm face, without note or doubt. Seen red: without the doubt."""
    photographs, crops, out = people
    finder = recipe("none", "sfd", out).finder()
    doubts = [next(iter(_doubts(finder(picture)[0][0], 48)), "") for picture in photographs[:6]]
    assert all(doubt.startswith("not framed like the training faces: the face in it has ") for doubt in doubts)
    assert all("--landmarks dlib" in doubt for doubt in doubts)
    assert not any(finder(crop)[0][0].doubt for crop in crops[:6])
    taken_whole = recipe("dlib", "sfd").finder("none")
    assert "has 50% of their size" in taken_whole(photographs[0])[0][0].doubt, "aligned faces are smaller than crops, and still larger"


def test_with_landmarks_a_face_is_framed_as_the_cropped_ones_of_the_training(people):
    """Mean correlation of the canvas' middle with the crop placed whole: 0.63 of 24 photographs, 0.25 framed as aligned faces are, as 0.1.0
    did. Single crops are a little off: their detector's boxes come in steps. Seen red: that template."""
    photographs, crops, out = people
    framed, plain = recipe("none", "sfd", out).finder("dlib"), Finder("dlib")
    middle = slice(20, 112), slice(20, 112)
    likeness = [
        [
            np.corrcoef(place_whole(crop).pixels[middle].ravel(), cv2.GaussianBlur(found[0].pixels, (0, 0), 1.5)[middle].ravel())[0, 1]
            for found in (framed(picture)[0], plain(picture)[0])
        ]
        for picture, crop in zip(photographs[:12], crops, strict=False)
    ]
    here, there = np.mean(likeness, axis=0)
    assert here > 0.5 and here > there + 0.2
    gone = replace(recipe("none", "sfd", out), data="gone").finder("dlib")
    assert np.abs(gone.template - framed.template).mean() < 8, "a face that fills its crop is taken where the data are gone"


def test_a_network_trained_on_landmarks_in_whole_crops_finds_the_face_of_a_photograph(people):
    """`prepare ck48 --landmarks dlib`. Seen red: points in the whole photograph, whose residual was that of no face."""
    photographs, crops, _ = people
    finder = recipe("dlib", "whole").finder()
    found = finder(photographs[0])[0]
    assert len(found) == 1 and found[0].residual_px < 3 and found[0].box == Finder("dlib")(photographs[0])[0][0].box
    assert finder(crops[0])[0][0].box == (0.0, 0.0, 47.0, 47.0)


def test_an_exported_file_frames_faces_as_its_run_does_and_does_not_say_where_the_data_were(people):
    """Seen red: no framing in the metadata; a face found elsewhere was framed as one that fills its crop."""
    photographs, _, out = people
    told = recipe("none", "sfd", out).with_framing().to_metadata()
    exported = from_metadata(told, Path("a.onnx"))
    assert str(out) not in told and exported.data == ""
    one, other = recipe("none", "sfd", out).finder("dlib"), exported.finder("dlib")
    assert (one.template == other.template).all() and one.template is not FILLS_CROP
    assert (one(photographs[0])[0][0].pixels == other(photographs[0])[0][0].pixels).all()
    older = json.loads(told)
    del older["framing"]
    assert from_metadata(json.dumps(older), Path("a.onnx")).framing is None
    with pytest.raises(RunError, match=r"its metadata are not what export writes .framing must be 13 points"):
        from_metadata(json.dumps({**older, "framing": [[0.0, 0.0]]}), Path("a.onnx"))


def test_export_writes_the_framing_of_the_training_faces(run, tmp_path):
    """Seen red: the recipe was written as config.json has it."""
    done = export(run, "safetensors", tmp_path / "a.safetensors")
    assert "is not known" not in done.__rich__()
    assert "how they were cropped is not known" in replace(done, recipe=replace(done.recipe, framing=None)).__rich__()
    assert np.shape(load(tmp_path / "a.safetensors", "cpu").recipe.framing) == FILLS_CROP.shape


def test_data_that_are_other_ones_by_now_say_nothing_of_the_framing(people):
    """The folder of the training was prepared again. Seen red: its manifest not compared."""
    out = people[2]
    assert recipe("none", "sfd", out).with_framing().framing is not None
    assert replace(recipe("none", "sfd", out), manifest_sha256="0" * 64).with_framing().framing is None


def no_dlib(*_, **__):
    raise WeightsError("dlib is missing")


def test_what_is_not_known_of_the_framing_is_said(people, monkeypatch):
    """Seen red: without dlib no doubt and no word; a framing that was assumed was told as known."""
    known, assumed = recipe("none", "sfd", people[2]), recipe("none", "sfd")
    told = [" ".join(_notes(one, one.finder("dlib"))) for one in (known, assumed)]
    assert ["is not known" in text for text in told] == [False, True] and "cannot be checked" not in told[1]
    assert ["framed as those of the training were" in text for text in told] == [True, False]
    monkeypatch.setattr(framing, "open_backend", no_dlib)
    finder = assumed.finder()
    (note,) = _notes(assumed, finder)
    assert "cannot be checked without dlib; install it with: pip install 'fer-degan[dlib]'" in note
    assert finder(people[0][0])[0][0].doubt == ""
