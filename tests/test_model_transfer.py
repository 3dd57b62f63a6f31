"""Transfer sheets, strips and animations: what stands where, whose face it is, and what is refused with nothing written."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

import fer_data
from fer_data.errors import ImageError, LandmarkError
from fer_data.faces.align import place_whole
from fer_data.faces.finder import Finder, align_files
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.store.shards import map_dataset
from fer_model.engine import checkpoint
from fer_model.engine.randomness import stream
from fer_model.runs.trained import load_networks, load_run
from fer_model.stages.sample_sheet import GAP
from fer_model.use.transfer import animation
from tests.commands import call

CELL = 48 + GAP                       # preset smoke draws faces of 48 px


@pytest.fixture(scope="module")
def run(moved_encoder):
    return moved_encoder


def cells(path):
    """Return the faces of a picture as (rows, columns, 48, 48) float64."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    rows, columns = picture.shape[0] // CELL, picture.shape[1] // CELL
    return picture.reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3)[:, :, :48, :48].astype(np.float64)


def face_of(tiny_prepared, name):
    """Return the centre crop of a face at 48 px, by hand from the shard: mean of 2x2."""
    rows = fer_data.read_manifest(tiny_prepared)
    face = map_dataset(tiny_prepared / "shards" / "00000.h5", "faces")[rows.index[rows["image_id"] == name][0]]
    return face[18:114, 18:114].reshape(48, 2, 48, 2).mean((1, 3))


@torch.inference_mode()
def made(run, face, person, noise, move=0.0):
    """Return the decoder's picture of a face (48, 48) 0..255 as a person, step by step: (48, 48) 0..255."""
    trained = load_run(run, "cpu")
    own = checkpoint.read_tensors(run / "gan.safetensors")                       # not the encoder that the head has moved
    generator = load_networks(trained.config, "gan", 3, 4, own, trained.device, "here")
    f = generator["encoder"](torch.tensor(face / 127.5 - 1, dtype=torch.float32)[None, None])
    code = torch.zeros(1, len(trained.identities))
    code[0, trained.identities.index(person)] = 1
    return ((generator["decoder"](f + move, code, noise[None])[0, 0] + 1) * 127.5).numpy()


@pytest.fixture(scope="module")
def frame(synthetic_ck):
    """A picture of the drawn CK+ tree."""
    return sorted((synthetic_ck / "cohn-kanade-images").rglob("*.png"))[-1]


ID = "tiny/S000/002/00000001"         # happiness of a person of the test fold
OTHER = "tiny/S003/003/00000002"


def test_rows_are_sources_and_columns_identities(run, tiny_prepared, tmp_path):
    """Against the networks called by hand. Seen red: the encoder that the head has moved; the second row's noise for both; a real face of
    the wrong person."""
    out = tmp_path / "sheet.png"
    said = call("transfer", run, "--source-id", ID, "--source-id", OTHER, "--identities", "S004,tiny/S001", "--out", out, "--seed", 5)
    found = cells(out)
    assert found.shape == (3, 3, 48, 48) and (found[0, 0] == 255).all() and "columns: the input, then tiny/S004, tiny/S001" in said
    z = torch.rand(2, 4, generator=stream(5, "transfer/noise")) * 2 - 1
    for row, name in enumerate((ID, OTHER)):
        face = face_of(tiny_prepared, name)
        assert np.abs(found[row + 1, 0] - face).max() <= 1
        for column, person in enumerate(("tiny/S004", "tiny/S001")):
            assert np.abs(found[row + 1, column + 1] - made(run, face, person, z[row])).max() <= 2
            assert np.abs(found[0, column + 1] - face_of(tiny_prepared, f"{person}/001/00000001")).max() <= 1
    assert np.abs(found[1, 1] - found[1, 2]).max() > 3 and np.abs(found[1, 1] - found[2, 1]).max() > 3, "not all the same"
    again = tmp_path / "again.png"
    call("transfer", run, "--source-id", ID, "--source-id", OTHER, "--identities", "S004,tiny/S001", "--out", again, "--seed", 5)
    assert again.read_bytes() == out.read_bytes()


def test_a_cell_that_training_has_not_is_marked(run, frame, tmp_path, monkeypatch):
    """S004 with happiness (of the first source by image_id), and nothing of a file, whose expression nobody knows. Seen red: seen cells
    marked; files behind the ids."""
    call("transfer", run, "--source-id", ID, "--source-id", OTHER, "--identities", "S004,S001", "--out", tmp_path / "plain.png")
    seen = torch.ones(4, 3, dtype=torch.bool)
    seen[load_run(run, "cpu").identities.index("tiny/S004"), 1] = False          # anger, happiness, surprise
    monkeypatch.setattr("fer_model.use.transfer.cells_seen", lambda fold: seen)
    said = call("transfer", run, "--source-id", ID, "--source-id", OTHER, "--identities", "S004,S001", "--out", tmp_path / "marked.png")
    assert "white corner, 1 cell: no training face shows this person with the expression of the source" in said
    plain, found = cells(tmp_path / "plain.png"), cells(tmp_path / "marked.png")
    changed = plain != found
    assert changed[1, 1].any() and not changed[1, 1][9:].any() and not changed[1, 1][:, :-9].any(), "the top right corner"
    assert (found[1, 1][0, -8:] == 255).all() and found[1, 1][0, -9] == found[1, 1][8, -1] == 0
    changed[1, 1] = False
    assert not changed.any()
    both = ["--source", frame, "--landmarks", "none", "--source-id", ID, "--identities", "S004"]
    call("transfer", run, *both, "--out", tmp_path / "two.png")
    two = cells(tmp_path / "two.png")
    assert (two[2, 1][0, -8:] == 255).all() and two[2, 1][0, -9] == 0 and not (two[1, 1][0, -8:] == 255).all()


def test_an_edit_goes_from_the_source_by_the_difference_of_mean_expressions(run, tiny_prepared, tmp_path):
    """Seen red: the means over all faces, the test fold's too."""
    out = tmp_path / "strip.png"
    edit = ["--from", "happiness", "--to", "surprise", "--steps", 3]
    said = call("transfer", run, "--source-id", ID, "--identities", "S004", *edit, "--out", out)
    found, rows = cells(out), fer_data.read_manifest(tiny_prepared)
    assert found.shape == (1, 4, 48, 48) and "3 steps from happiness to surprise as tiny/S004" in said
    encoder, means = load_run(run, "cpu").generator.encoder, {}
    for expression in ("happiness", "surprise"):
        names = rows[(rows["fold"] != 0) & (rows["expression"] == expression)]["image_id"]
        faces = np.stack([face_of(tiny_prepared, name) for name in names])
        means[expression] = encoder(torch.tensor(faces / 127.5 - 1, dtype=torch.float32)[:, None]).mean(0)
    z = torch.rand(1, 4, generator=stream(0, "transfer/noise")) * 2 - 1
    for column, t in enumerate((0, 0.5, 1), 1):
        expected = made(run, face_of(tiny_prepared, ID), "tiny/S004", z[0], t * (means["surprise"] - means["happiness"]))
        assert np.abs(found[0, column] - expected).max() <= 2
    assert np.abs(found[0, 1] - found[0, 3]).max() > 0


def test_an_animation_shows_the_steps_there_and_back(run, tmp_path):
    given = ["transfer", run, "--source-id", ID, "--source-id", OTHER, "--from", "happiness", "--to", "surprise", "--steps", 4]
    call(*given, "--out", tmp_path / "strip.png")
    call(*given, "--gif", "--out", tmp_path / "a.gif")
    good, film = cv2.imdecodeanimation(np.frombuffer((tmp_path / "a.gif").read_bytes(), np.uint8))
    strip = cells(tmp_path / "strip.png")
    assert good and len(film.frames) == 6 and film.loop_count == 0
    assert film.durations.tolist() == [600, 120, 120, 600, 120, 120]
    for frame, step in zip(film.frames, (0, 1, 2, 3, 2, 1), strict=True):
        shown = frame[..., 0].reshape(2, CELL, 2, CELL).transpose(0, 2, 1, 3)[:, :, :48, :48]
        assert np.abs(shown - strip[:, [0, step + 1]]).max() <= 2


def test_an_animation_keeps_grey_levels():
    """Seen red: OpenCV's own setting, which dithers, was off by 83."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    _, film = cv2.imdecodeanimation(np.frombuffer(animation([ramp, 255 - ramp]), np.uint8))
    assert np.abs(film.frames[0][..., 0].astype(int) - ramp).max() <= 1


def test_pictures_are_aligned_as_prepare_aligns_them(synthetic_ck, prepared_ck):
    """Bit for bit the faces of the prepared folder."""
    rows = fer_data.read_manifest(prepared_ck).groupby(["subject", "sequence"]).head(1).head(2)
    faces, _ = align_files(tuple(synthetic_ck / source for source in rows["source"]), Finder("dlib"))
    for face, shard, row in zip(faces, rows["shard"], rows["row"], strict=True):
        assert (face == map_dataset(prepared_ck / "shards" / shard, "faces")[row]).all()


@pytest.fixture(scope="module")
def cropped(synthetic_ck, tmp_path_factory):
    """Four pictures that others cropped close to the face: by edges, mouth and chin, so that no detector sees a face in them."""
    root = tmp_path_factory.mktemp("cropped")
    for number, path in enumerate(sorted((synthetic_ck / "cohn-kanade-images").rglob("*.png"))[:: 30][:4]):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        points = Finder("dlib").first(picture).points
        (left, top), (right, bottom) = points[17:].min(0).astype(int), points[17:].max(0).astype(int)
        name = root / f"p{number // 2}" / f"{('anger', 'fear')[number % 2]}.png"
        name.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(name), picture[top : bottom + 1, left : right + 1])
    return root


def test_the_detector_of_a_run_finds_the_faces_of_its_sources(run, cropped, tmp_path):
    """CK+48's `--detector whole`: the picture is the face's box. Seen red: the backend opened without its detector; no face was found."""
    config = PrepareConfig("dlib", "whole", folds=2, views="virtual", options={"pattern": "{subject}/{expression}.png"})
    prepare_dataset("folder", cropped, tmp_path / "prepared", config)
    rows = fer_data.read_manifest(tmp_path / "prepared")
    sources = [cropped / source for source in rows["source"]]
    faces, _ = align_files(tuple(sources), Finder("dlib", "whole"))
    assert (faces == map_dataset(tmp_path / "prepared" / "shards" / "00000.h5", "faces")).all()
    whole = tmp_path / "whole"
    shutil.copytree(run, whole)
    content = json.loads((whole / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps(content | {"faces": content["faces"] | {"landmarks": "dlib", "detector": "whole"}}))
    call("transfer", whole, "--source", sources[0], "--columns", 1, "--out", tmp_path / "s.png")
    assert np.abs(cells(tmp_path / "s.png")[1, 0] - faces[0][18:114, 18:114].reshape(48, 2, 48, 2).mean((1, 3))).max() <= 1
    assert "no face was found" in call("transfer", run, "--source", sources[0], "--landmarks", "dlib", code=1)


def test_a_picture_is_a_source_and_is_taken_whole_where_no_points_are_wanted(run, frame, tmp_path):
    """Seen red: a corner crop as input."""
    call("transfer", run, "--source", frame, "--landmarks", "none", "--columns", 2, "--out", tmp_path / "s.png")
    found, whole = cells(tmp_path / "s.png"), place_whole(cv2.imread(str(frame), cv2.IMREAD_GRAYSCALE)).pixels
    assert found.shape == (2, 3, 48, 48)
    assert np.abs(found[1, 0] - whole[18:114, 18:114].reshape(48, 2, 48, 2).mean((1, 3))).max() <= 1


def test_what_there_is_to_know_of_a_source_is_said(run, frame, tmp_path):
    """As `predict` does. Seen red: nothing was said."""
    face = cv2.imread(str(frame), cv2.IMREAD_GRAYSCALE)
    small = cv2.resize(face, None, fx=0.75, fy=0.75)
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([face, np.pad(small, ((0, len(face) - len(small)), (0, 0)), mode="edge")]))
    whole = cv2.imencode(".jpg", face)[1].tobytes()
    (tmp_path / "torn.jpg").write_bytes(whole[: len(whole) * 3 // 4] + whole[-2:])
    sources = ["--source", tmp_path / "two.png", "--source", tmp_path / "torn.jpg", "--source", frame]
    said = call("transfer", run, *sources, "--landmarks", "dlib", "--columns", 1, "--out", tmp_path / "s.png").replace("\n", "")
    assert "two.png: the largest face is taken, 1 other left out" in said
    assert "torn.jpg: it is damaged, so that a part of it may be grey" in said and f"{frame.name}:" not in said


def test_a_source_without_a_face_writes_nothing(run, tmp_path):
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 200), 90, np.uint8))
    before = sorted(run.iterdir())
    said = call("transfer", run, "--source", tmp_path / "wall.png", "--landmarks", "dlib", code=1)
    assert f"Error: aligning {tmp_path / 'wall.png'}: no face was found (backend dlib)\n" in said
    assert sorted(run.iterdir()) == before
    with pytest.raises(LandmarkError, match="no face was found"):
        align_files((tmp_path / "wall.png",), Finder("dlib"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 1, "at least one source is needed"),
        (["--source-id", "tiny/S999/001/00000001"], 1, "image_ids look like tiny/S001/001/00000001, there is no tiny/S999"),
        (["--source-id", ID, "--identities", "S001,S000"], 1, "(4 in all); 'S000' is none of them"),
        (["--source-id", ID, "--from", "joy", "--to", "anger"], 1, "unknown expression 'joy'; choose anger, happiness or surprise"),
        (["--source-id", ID, "--gif"], 1, "an animation needs two expressions"),
        (["--source-id", ID, "--out", "a.jpg"], 1, "this one is written as *.png, got a.jpg"),
        (["--source-id", ID, "--out", "RUN/samples.png"], 1, "it is a file of the run in"),
        (["--source-id", ID, "--from", "anger"], 2, "--from and --to go together"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(run, words, code, message, tmp_path, monkeypatch):
    """Seen red: samples.png of the run was replaced."""
    monkeypatch.chdir(tmp_path)
    words = [word.replace("RUN", str(run)) for word in words]
    assert message in call("transfer", run, *words, code=code).replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_a_source_is_never_replaced(run, frame, tmp_path, monkeypatch):
    """By its name, nor through a link. Seen red: the user's picture was the sheet."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(frame, "me.png")
    (tmp_path / "link.png").symlink_to("me.png")
    before = frame.read_bytes()
    for source, out in ("me.png", "me.png"), ("me.png", "me"), ("link.png", "me.png"), ("me.png", "link.png"):
        said = call("transfer", run, "--source", source, "--landmarks", "none", "-o", out, code=1).replace("\n", " ")
        assert "it must be another file than the ones that are looked at" in said
    assert (tmp_path / "me.png").read_bytes() == before and sorted(path.name for path in tmp_path.iterdir()) == ["link.png", "me.png"]


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(ImageError, match=r"^decoding a picture: .*/a.png is "):
        align_files((tmp_path / "a.png",), Finder("none"))
    with pytest.raises(ImageError, match=r"^aligning pictures: .*/b.png is not there$"):
        align_files((tmp_path / "b.png",), Finder("none"))
    with pytest.raises(LandmarkError, match="the backend 'dataset' cannot do that alone; choose fan, dlib or none"):
        Finder("dataset")


def test_without_the_prepared_folder_pictures_still_serve(run, frame, tmp_path):
    """No real faces on top; image_ids, edits and the default backend say what they lack."""
    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    content = json.loads((alone / "config.json").read_text())
    (alone / "config.json").write_text(json.dumps(content | {"data": str(tmp_path / "gone"), "data_from_run": "gone"}))
    said = call("transfer", alone, "--source", frame, "--landmarks", "none", "--columns", 3)
    assert cells(alone / "transfer.png").shape == (1, 4, 48, 48) and "real face" not in said
    said = call("transfer", alone, "--source-id", ID, code=1)
    assert "sources by image_id need the prepared folder, which is not, or no longer, at" in said
    edit = ["--landmarks", "none", "--from", "anger", "--to", "surprise"]
    assert "need the prepared folder" in call("transfer", alone, "--source", frame, *edit, code=1)
    said = call("transfer", alone, "--source", frame, code=1)
    assert "that was done with drawn; say what to take for new pictures: --landmarks fan, dlib or none" in said
