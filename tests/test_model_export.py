"""Exported networks: the numbers of torch, all that is needed to use them, and no torch."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import torch

import fer_data
import fer_model
from fer_data.faces.align import RIGID, TEMPLATE
from fer_data.faces.views import MATRICES
from fer_data.store.loader import open_views
from fer_model.config import preset, with_budgets
from fer_model.errors import CheckpointError, DeviceError, RunError
from fer_model.job import Job
from fer_model.networks import to_input_size
from fer_model.runs.predictions import read_predictions
from fer_model.runs.trained import load_run
from fer_model.train import train
from fer_model.use import export as library
from fer_model.use.engines import open_engine
from fer_model.use.recipe import inputs
from tests.commands import call
from tests.configs import with_head
from tests.test_imports import REPOSITORY

onnx, onnxruntime = (pytest.importorskip(name) for name in ("onnx", "onnxruntime"))
pytest.importorskip("onnxscript")


def short_run(data, folder, method="degan", head="both", residual=False, **settings):
    """Train two steps of each stage, from weights so large that faces differ; `settings` are of the head."""
    config = with_budgets(with_head(preset("smoke", method=method), head), gan=0.016, head=0.016, cnn=0.016, judges=0.016)
    network = replace(config.network, init_std=0.2, residual=residual)
    train(Job(data, folder, replace(config, network=network, head=replace(config.head, **settings))), "cpu", say=lambda _: None)
    return folder


@pytest.fixture(scope="module")
def run(prepared_ck, tmp_path_factory):
    """A run of DE-GAN with the paper's head on fold 0 of the drawn people."""
    return short_run(prepared_ck, tmp_path_factory.mktemp("run") / "r")


@pytest.fixture(scope="module")
def graph(run):
    """That run as one graph."""
    said = call("export", run)
    assert "model.onnx: degan on ck+" in said and "differs from torch by at most" in said
    return run / "model.onnx"


def views_of(data, n=256):
    """Return n different views of drawn faces: (n, 1, 96, 96) float32."""
    rows = fer_data.read_manifest(data)
    views = open_views(data, rows)
    samples = torch.randperm(len(rows) * 110, generator=torch.Generator().manual_seed(0))[:n]
    return views.batch(samples // 110, samples % 110)


@torch.inference_mode()
def torch_says(run, views):
    trained = load_run(run, "cpu")
    return torch.cat([trained.logits(to_input_size(part, 48)).softmax(1) for part in views.split(64)]).numpy()


def differences(run, path, data):
    """Return the largest difference of probabilities on 256 faces, in batches of 1, 13 and 64, and how far faces differ."""
    views = views_of(data)
    expected, session = torch_says(run, views), onnxruntime.InferenceSession(path)
    worst = 0.0
    for size in (1, 13, 64):
        parts = [session.run(None, {"view": part.numpy()}) for part in views[: 256 if size > 1 else 16].split(size)]
        found = np.concatenate([probabilities for probabilities, _ in parts])
        worst = max(worst, float(np.abs(found - expected[: len(found)]).max()))
        logits = np.concatenate([logits for _, logits in parts])
        assert np.allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), found, atol=1e-5)
    return worst, float(np.ptp(expected, axis=0).max())


def test_the_graph_computes_what_torch_does(run, graph, prepared_ck):
    """On 256 faces. Seen red: a graph that takes the view 1 % darker."""
    worst, spread = differences(run, graph, prepared_ck)
    assert worst < 1e-4 < 0.05 < spread


LATER = {"residual": True, "prediction": "mean", "encoder_lr": 1e-3, "average_half_kimg": 0.01}        # what the paper has not


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        {"method": "cnn"}, {"head": "f-svm"},
        *(pytest.param(one, marks=pytest.mark.torture) for one in ({"method": "iacnn"}, {"head": "taps"}, {"head": "f-mlp"}, LATER)),
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_other_networks_too(prepared_ck, tmp_path, network):
    """The graph, the weights by name and the run say what evaluation wrote, of every test face.

    Seen red: the logits of L5 in the place of the mean (0.79); the encoder of stage 1 in the place of the tuned one (0.12).
    """
    folder = short_run(prepared_ck, tmp_path / "r", **network)
    for form in ("onnx", "safetensors"):
        call("export", folder, "--format", form)
    worst, spread = differences(folder, folder / "model.onnx", prepared_ck)
    assert worst < 1e-4 < 0.01 < spread
    expected = read_predictions(folder / "predictions.csv")
    rows = fer_data.read_manifest(prepared_ck)
    rows = rows.set_index("image_id").loc[expected["image_id"]].reset_index()
    views = open_views(prepared_ck, rows).batch(torch.arange(len(rows)), torch.zeros(len(rows), dtype=torch.int64)).numpy()
    for path in (folder, folder / "model.onnx", folder / "model.safetensors"):
        engine = open_engine(path, "cpu")
        found = np.concatenate([engine.probabilities(views[first : first + 64]) for first in range(0, len(views), 64)])
        assert np.abs(found - expected[[f"p_{name}" for name in engine.recipe.classes]].to_numpy()).max() < 1e-4


def test_a_graph_says_how_it_is_used(graph):
    """One file without outside data, checked by onnx itself; what a program of others must know stands in its metadata."""
    model = onnx.load(graph)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    (view,) = model.graph.input
    assert view.name == "view" and [d.dim_value or d.dim_param for d in view.type.tensor_type.shape.dim] == ["batch", 1, 96, 96]
    assert [output.name for output in model.graph.output] == ["probabilities", "logits"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    recipe = json.loads(metadata["fer-degan"])
    classes = ["anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert recipe["classes"] == classes
    assert metadata["classes"] == ",".join(recipe["classes"]) and "posed expressions are not emotions" in metadata["limits"]
    assert (recipe["landmarks"], recipe["channels"], recipe["image_size"], recipe["drawn"]) == ("dlib", 1, 48, True)
    how = recipe["preprocessing"]
    assert how["canvas_px"] == 132 and how["view_matrix"] == MATRICES[0].tolist() == [[1, 0, 18], [0, 1, 18]]
    assert np.allclose(how["template_px"], TEMPLATE) and how["template_points"] == list(RIGID)
    assert [value * how["scale"] + how["offset"] for value in (0, 255)] == pytest.approx([-1, 1])
    names = " ".join(tensor.name for tensor in model.graph.initializer) + metadata["fer-degan"]
    assert "decoder" not in names and "S005" not in names, "neither what draws faces nor who was trained on"
    assert str(REPOSITORY).encode() not in graph.read_bytes() and b"site-packages" not in graph.read_bytes(), "no paths of this machine"


def test_what_a_network_is_given_is_what_the_loader_gives(prepared_ck):
    """Bit for bit, grey and RGB."""
    from fer_data.store.shards import map_dataset

    rows = fer_data.read_manifest(prepared_ck)
    rows = rows[rows["shard"] == rows["shard"].iloc[0]]
    faces = np.array(map_dataset(prepared_ck / "shards" / rows["shard"].iloc[0], "faces"))[rows["row"]]
    expected = open_views(prepared_ck, rows).batch(torch.arange(len(rows)), torch.zeros(len(rows), dtype=torch.int64))
    assert (inputs(faces) == expected.numpy()).all()
    coloured = np.stack([faces, faces // 2, 255 - faces], -1)
    assert (inputs(coloured)[:, 1] == inputs(faces // 2)[:, 0]).all() and inputs(coloured).shape[1:] == (3, 96, 96)


def test_prediction_with_a_graph_needs_no_torch(graph, run, synthetic_ck):
    """From Python and the command, in a fresh interpreter; the same numbers as with the run. Seen red: `import torch` in use/predictor."""
    picture = sorted((synthetic_ck / "cohn-kanade-images").rglob("*.png"))[-1]
    code = f"""
import json, sys, fer_model
from click.testing import CliRunner
found = fer_model.load({str(graph)!r}).predict({str(picture)!r})
from cli.fer_model import main
done = CliRunner().invoke(main, ["predict", {str(graph)!r}, {str(picture)!r}, "--format", "jsonl"])
heavy = sorted({{name.split(".")[0] for name in sys.modules}} & {{"torch", "face_alignment", "onnx"}})
print(json.dumps([heavy, found.faces[0].probabilities, done.stdout]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    heavy, probabilities, printed = json.loads(done.stdout)
    assert heavy == []
    expected = fer_model.load(run, "cpu").predict(picture).faces[0].probabilities
    assert list(probabilities) == list(expected) and list(probabilities.values()) == pytest.approx(list(expected.values()), abs=1e-4)
    assert json.loads(printed)["faces"][0]["probabilities"] == pytest.approx(expected, abs=1e-4)


def test_safetensors_hold_the_weights_and_how_to_use_them(run, synthetic_ck, tmp_path):
    out = tmp_path / "a.safetensors"
    assert "a.safetensors: degan on ck+" in call("export", run, "--format", "safetensors", "-o", out)
    with safetensors.safe_open(out, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert {name.split("/")[0] for name in names} == {"encoder", "head"}
    assert json.loads(metadata["fer-degan"])["preprocessing"]["view_px"] == 96 and metadata["format"] == "pt"
    picture = sorted((synthetic_ck / "cohn-kanade-images").rglob("*.png"))[-1]
    one, other = (fer_model.load(path, "cpu").predict(picture).faces[0].probabilities for path in (run, out))
    assert one == other


def test_exporting_twice_gives_the_same_bytes(run, graph, tmp_path):
    """Seen red: the library's own order of metadata, another one each time."""
    call("export", run, "--format", "safetensors")
    call("export", run, "--format", "safetensors", "-o", tmp_path / "b.safetensors")
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_file_that_does_not_fit_is_refused(run, graph, tmp_path):
    """Seen red: metadata with another canvas were believed."""
    model = onnx.load(graph)
    entry = next(entry for entry in model.metadata_props if entry.key == "fer-degan")
    right = json.loads(entry.value)
    for content, message in (
        (right | {"schema_version": 2}, "version 1 is read, it has version 2"),
        (right | {"classes": "anger"}, "classes must be a list, not 'anger'"),
        (right | {"preprocessing": right["preprocessing"] | {"canvas_px": 128}}, "aligned as this version aligns them, canvas_px differs"),
        ("x", "its metadata are not JSON"),
    ):
        entry.value = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(RunError, match=message):
            fer_model.load(tmp_path / "a.onnx")
    model.metadata_props.remove(entry)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match="it says nothing of classes and preprocessing"):
        fer_model.load(tmp_path / "a.onnx")
    for data in (b"", b"nonsense", graph.read_bytes()[:5000]):
        (tmp_path / "a.onnx").write_bytes(data)
        with pytest.raises(RunError, match=r"opening .*a\.onnx: onnxruntime cannot read it"):
            fer_model.load(tmp_path / "a.onnx")
    with pytest.raises(DeviceError, match="an exported ONNX file runs on the cpu, not on cuda"):
        fer_model.load(graph, "cuda")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        fer_model.load(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes((run / "head.safetensors").read_bytes())
    with pytest.raises(RunError, match="it says nothing of classes"):
        fer_model.load(tmp_path / "b.safetensors")


def test_a_graph_of_one_batch_size_is_a_sentence():
    """onnxruntime is asked with another size than the graph has. Seen red: its error was a traceback."""
    one = onnx.helper.make_tensor_value_info("view", onnx.TensorProto.FLOAT, (2, 1, 96, 96))
    out = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, (2, 1, 96, 96))
    made = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["view"], ["probabilities"])], "fixed", [one], [out])
    data = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    with pytest.raises(RunError, match=r"the graph takes one batch size only, not 1: .*; write x\.shape\[0\] there \(.*ONNXRuntime"):
        library._difference(SimpleNamespace(run="r"), data, SimpleNamespace(channels=1))


@pytest.fixture
def exported(graph, monkeypatch):
    """PyTorch's exporter gives the graph that is there: it takes ten seconds for one."""
    data = graph.read_bytes()
    monkeypatch.setattr(library.torch.onnx, "export", lambda *a, **k: type("Program", (), {"model_proto": onnx.load_from_string(data)}))


def test_a_graph_that_computes_nan_is_not_written(run, exported, tmp_path, monkeypatch):
    """For one of the batches. Seen red: written, with a difference of 0."""
    before = onnxruntime.InferenceSession.run

    def broken(self, names, inputs):
        found = before(self, names, inputs)
        return [one * np.nan for one in found] if len(inputs["view"]) == library._CHECKED[-1] else found

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", broken)
    with pytest.raises(RunError, match="it is off by nan"):
        library.export(run, out=tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_computes_something_else_is_not_written(run, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "TOLERANCE", 0.0)
    said = call("export", run, "-o", tmp_path / "a.onnx", code=1).replace("\n", " ")
    assert "the graph must compute what torch does to 0, it is off by" in said and not list(tmp_path.iterdir())
    said = call("export", run, "-o", tmp_path / "a.png", code=1).replace("\n", " ")
    assert "the file must be named *.onnx, got a.png" in said


def test_a_package_that_is_missing_is_named(run, monkeypatch):
    monkeypatch.setattr("fer_model.use.recipe.importlib.util.find_spec", lambda name: None if name == "onnxscript" else 1)
    said = call("export", run, code=1).replace("\n", " ")
    assert "the package onnxscript is missing; install it with: pip install 'fer-degan[onnx]'" in said
