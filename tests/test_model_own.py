"""A user's own network: run only where it is named, known by its hash, and as good a method as ours."""

import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch
from safetensors.torch import save_file

from cli import options
from fer_model.config import preset
from fer_model.data.fold import read_prepared
from fer_model.engine.randomness import stream
from fer_model.errors import ConfigError, RunError
from fer_model.job import Job
from fer_model.runs.given_weights import read_given
from fer_model.runs.methods import gather
from fer_model.runs.trained import load_run
from fer_model.stages import own_network
from fer_model.stages.any_network import build_itself
from fer_model.stages.own_network import allow, make_own
from fer_model.train import train
from fer_model.workers import Task, train_in_children
from tests.commands import call
from tests.doc_pages import DOCS, blocks_of
from tests.test_model_ablations import same_tensors
from tests.test_model_engine import Stop, quiet, stop_at

NET = next(block.text for block in blocks_of(DOCS / "extend/method.md") if block.kind == "python")


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    """As in a fresh process."""
    monkeypatch.setattr(own_network, "_ALLOWED", {})


def write(folder, old="", new=""):
    """Write the network of docs/extend/method.md, one place of it changed, and return its name."""
    assert old in NET
    (folder / "net.py").write_text(NET.replace(old, new, 1) if old else NET)
    return f"{folder}/net.py:Net"


TRAINING = "return self.layers(x) if not self.training else "
LOSS = "    def loss(self, features, logits, expression):\n"


def config(given, fold=1):
    """Return preset smoke with a network that the user names."""
    network, sha256 = allow(given)
    made = preset("smoke", method="own", fold=fold)
    return replace(made, own=replace(made.own, network=network, sha256=sha256, kimg=0.064))


def test_the_network_of_the_page_is_trained_evaluated_probed_exported(tiny_prepared, tmp_path, monkeypatch):
    """By the commands; each asks for the code again, as each is a call of its own. Seen red: run without being asked."""
    given, out = write(tmp_path), tmp_path / "own"
    call("crossval", "--data", tiny_prepared, "--run", out, "--preset", "smoke", "--method", given, "--folds", "0,1")
    assert [one.label for one in gather([out])] == ["net.py:Net"]
    content = json.loads((out / "fold0/config.json").read_text())["config"]["own"]
    assert content["network"] == "net.py:Net" and len(content["sha256"]) == 64
    call("report", out, "-o", tmp_path / "report")
    assert content["sha256"] in (tmp_path / "report/report.md").read_text()
    call("card", out / "fold0")
    assert "a network that is not in this program" in (out / "fold0/card.md").read_text()
    for words in (("probe", out / "fold0"), ("export", out / "fold0", "--format", "safetensors"), ("export", out / "fold0")):
        monkeypatch.setattr(own_network, "_ALLOWED", {})
        refused = call(*words, code=1).replace("\n", " ")
        assert "code that is not in this program" in refused and "--method path/to/net.py:Net" in refused
        call(*words, "--method", given)
    monkeypatch.setattr(own_network, "_ALLOWED", {})
    from fer_model.use.engines import open_engine

    assert open_engine(out / "fold0/model.onnx").recipe.name == "own-Net"
    with pytest.raises(RunError, match="code that is not in this program"):
        open_engine(out / "fold0/model.safetensors")


def test_a_run_that_was_stopped_ends_in_the_same_bits_and_not_with_other_code(tiny_prepared, tmp_path):
    """With dropout of its own. Seen red, each: a step that is not seeded; the hash not compared."""
    given = write(tmp_path, "nn.Flatten())", "nn.Flatten(), nn.Dropout(0.4))")
    mine = config(given)
    train(Job(tiny_prepared, tmp_path / "whole", mine), "cpu", say=quiet)
    with pytest.raises(Stop):
        train(Job(tiny_prepared, tmp_path / "r", mine), "cpu", say=quiet, hook=stop_at("own", 5), save_every_s=0)
    changed = config(write(tmp_path, "nn.Flatten())", "nn.Flatten(), nn.Dropout(0.5))"))
    with pytest.raises(ConfigError, match=r"own\.sha256 was"):
        train(Job(tiny_prepared, tmp_path / "r", changed), "cpu", say=quiet)
    train(Job(tiny_prepared, tmp_path / "r", mine), "cpu", say=quiet)
    assert same_tensors(tmp_path / "whole/own.safetensors", tmp_path / "r/own.safetensors")
    with pytest.raises(RunError, match="so it was changed since"):
        own_network._ALLOWED = {key: value for key, value in own_network._ALLOWED.items() if key[1] == changed.own.sha256}
        load_run(tmp_path / "r", "cpu")


def test_a_loss_of_its_own_is_what_is_made_small(tiny_prepared, tmp_path):
    """Seen red: cross-entropy whatever the class says."""
    given = write(tmp_path, "    def classify", f"{LOSS}        return 0 * logits.sum() + 7\n\n    def classify")
    train(Job(tiny_prepared, tmp_path / "r", config(given)), "cpu", say=quiet)
    ticks = [line for line in map(json.loads, (tmp_path / "r/log.jsonl").read_text().splitlines()) if line["event"] == "tick"]
    assert {tick["loss_own"] for tick in ticks} == {7.0}


def test_layers_that_it_freezes_or_does_not_use_stay_as_they_are(tiny_prepared, tmp_path):
    """Seen red: a gradient asked for every weight."""
    kept = "self.layers[0].weight.requires_grad_(False)\n        self.spare = nn.Linear(2, 2)"
    mine = config(write(tmp_path, "self.classifier =", f"{kept}\n        self.classifier ="))
    train(Job(tiny_prepared, tmp_path / "r", mine), "cpu", say=quiet)
    found = load_run(tmp_path / "r", "cpu").networks["own"].network
    first = build_itself(lambda: make_own(mine, 3), torch.device("cpu"), 0.0, stream(0, "init/own")).network
    assert torch.equal(found.layers[0].weight, first.layers[0].weight) and torch.equal(found.spare.weight, first.spare.weight)
    assert not torch.equal(found.layers[4].weight, first.layers[4].weight)


def test_processes_that_train_several_folds_have_the_code_too(tiny_prepared, tmp_path):
    """Seen red: `code` away from what a child is given."""
    task = Task("fold 1", Job(tiny_prepared, tmp_path / "c", config(write(tmp_path))))
    assert train_in_children([task], ("cpu",), 1, quiet) == [""] and (tmp_path / "c" / "result.json").is_file()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("class Net(nn.Module)", "class Other(nn.Module)", "Net must be a class of torch.nn.Module; the file has Other"),
        ("class Net(nn.Module)", "class Net", "Net must be a class of torch.nn.Module; the file has none"),
        ("def classify", "def classy", "Net must have the method classify"),
        ("import torch\n", "import torch\nimport not_there\n", r"ModuleNotFoundError in line 2: No module .*; what it imports must be"),
        ("import torch\n", "import torch(\n", r"net\.py: SyntaxError in line 1: invalid syntax; mend it there"),
        ("nn.Module)", "nn.Modul)", r"net\.py: AttributeError in line 5: module 'torch.nn' has no attribute 'Modul'; mend it there"),
        ("import torch\n", "import torch\nwidth = wide\n", r"net\.py: NameError in line 2: name 'wide' is not defined; mend it there"),
        ("import torch\n", "import torch\nopen('/not/there')\n", r"net\.py: FileNotFoundError in line 2: .*; mend it there"),
    ],
)
def test_what_is_no_network_is_refused_when_it_is_named(old, new, says, tmp_path):
    """Seen red, each: no line; tracebacks of all but an import and the syntax."""
    with pytest.raises(RunError, match=says):
        allow(write(tmp_path, old, new))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("image_size: int, ", "", r"made with channels, image_size, n_classes by name \(got an unexpected keyword argument 'image_size'"),
        ("nn.Linear(width, n_classes)", "nn.Linear(width, 9)", r"classify must give \(B, 3\) logits, of 2 pictures it gives \(2, 9\)"),
        ("super().__init__()", "super().__init__()\n        self.wide = int('x')", r"it cannot be made \(ValueError in line 10: invalid"),
        ("self.classifier(features)", "self.spare(features)", r"classify does not take its features \(AttributeError in line 21: 'Net'"),
        ("nn.Linear(width, n_classes)", "nn.Linear(9, n_classes)", r"classify does not take .* \(RuntimeError in line 21: mat1 and"),
        ("return self.classifier(features)", "return self.classifier(features), features", r"logits, of 2 pictures it gives a tuple"),
        ("    def classify", f"{LOSS}        return logits.sum(1)\n\n    def classify", r"loss must give one number, .* it gives \(2,\)"),
        ("    def classify", f"{LOSS}        return 7.0\n\n    def classify", "loss must give one number, of 2 pictures it gives a float"),
        ("    def classify", f"{LOSS}        return logits[9, 9]\n\n    def classify", r"loss does not take .* \(IndexError in line"),
        ("self.layers = ", "self.first = layers[0]\n        self.layers = ", "first.weight and layers.0.weight are one tensor"),
        ("self.classifier = nn.Linear(width, n_classes)", "self.requires_grad_(False)\n        self.classifier = lambda x: x[:, :3]",
         "it has no parameter that learns"),
        ("return self.layers(x)", "return x", r"its features must be \(B, d\).*\(2, 1, 48, 48\); mend features in line 17 of .*net\.py$"),
        ("return self.layers(x)", "return self.layers(x).mean()", r"its features must be \(B, d\).* \(\); mend features in line 17 of"),
        ("return self.layers(x)", "return self.layers(x - x.mean(0))", "depend on the other pictures .*; mend features in line 17 of"),
        ("self.layers(x)", "self.layer(x)", r"features does not take pictures of 48 x 48 \(AttributeError in line 18: .*mend it in .*py$"),
        ("self.layers = ", "open('/not/there')\n        self.layers = ", r"it cannot be made \(FileNotFoundError in line 14: .*net.py$"),
        ("return self.layers(x)", f"{TRAINING}self.layers(x[0])", r"in training mode features does not take .* in line 18: .*net.py$"),
        ("return self.layers(x)", f"{TRAINING}(x, x)", r"in training mode its features .* a tuple; mend features in line 17 of"),
        ("self.classifier(features)", "self.classifier(features[:1] if self.training else features)",
         r"in training mode classify must give \(B, 3\) logits, .* \(1, 3\); mend classify in line 20 of"),
        ("self.classifier(features)", "self.classifier(features.detach()).detach()", r"nothing can be learned from its loss \(Runtime"),
        ("self.classifier =", "self.spare = nn.LazyLinear(4)\n        self.classifier =", "spare.weight has no size after a picture"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are")
def test_a_network_with_other_shapes_is_refused_before_training(old, new, says, tmp_path):
    """Seen red, each: tracebacks, some of them in the middle of a run, that of tied weights at its end."""
    with pytest.raises(ConfigError, match=f"the network net.py:Net: .*{says}"):
        make_own(config(write(tmp_path, old, new)), 3)


def test_the_code_that_runs_is_the_code_that_was_hashed_and_nothing_of_it_is_imported(tmp_path):
    """Seen red: the file's folder on sys.path, so that `import helper` worked and was in no hash."""
    (tmp_path / "helper.py").write_text("")
    with pytest.raises(RunError, match="No module named 'helper'"):
        allow(write(tmp_path, "import torch\n", "import torch\nimport helper\n"))
    assert "net" not in sys.modules


def test_a_file_of_settings_and_a_configuration_name_no_code(tmp_path):
    """Nothing loaded from disk runs code. Seen red: own.network taken from YAML."""
    (tmp_path / "run.yaml").write_text("method: own\nown:\n  network: net.py:Net\n")
    said = call("train", "--fold", 0, "--data", tmp_path, "--config", tmp_path / "run.yaml", code=1).replace("\n", " ")
    assert "own.network is set by --method FILE.py:Class" in said
    with pytest.raises(ConfigError, match="method own is a network of yours; name it: --method"):
        make_own(preset("smoke", method="own"), 3)


def test_an_installed_network_is_named_by_its_entry_point(tmp_path, monkeypatch):
    """It may import from its own package. Seen red, each: run outside of the package; unknown to the option."""
    (tmp_path / "installed_nets").mkdir()
    (tmp_path / "installed_nets/__init__.py").write_text("")
    (tmp_path / "installed_nets/sizes.py").write_text("WIDTH = 8")
    (tmp_path / "installed_nets/net.py").write_text(NET.replace("import torch\n", "import torch\nfrom .sizes import WIDTH\n", 1))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = EntryPoints([EntryPoint("mynet", "installed_nets.net:Net", "fer_degan.networks")])
    monkeypatch.setattr(own_network, "entry_points", lambda **only: found.select(**only))
    monkeypatch.setattr(options, "_installed", lambda group: {"mynet"} if group == "fer_degan.networks" else ())
    mine = config("mynet")
    assert mine.own.network == "mynet" and isinstance(make_own(mine, 3).network, torch.nn.Module) and mine.name == "own-mynet"
    call("train", "--fold", 0, "--data", tmp_path, "--method", "mynet", code=1)           # no prepared folder; as a choice it would be 2
    with pytest.raises(RunError, match=r"an entry point of fer_degan.networks \(mynet\)"):
        allow("yournet")


def test_a_method_that_nobody_knows_is_answered_with_near_ones_and_with_the_form_of_a_file(tmp_path):
    """Seen red: the choices alone."""
    said = call("train", "--fold", 0, "--data", tmp_path, "--method", "tim", code=2).replace("\n", " ")
    assert "did you mean timm" in said and "your own network is FILE.py:Class" in said
    said = call("train", "--fold", 0, "--data", tmp_path, "--method", f"{tmp_path}/none.py:Net", code=1).replace("\n", " ")
    assert "there is no file" in said


@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_a_loss_is_tried_with_what_training_gives_it_and_leaves_no_trace(mixup, tmp_path):
    """Seen red, each: labels where shares are given; a mean that the loss keeps was not the network's own any more."""
    wanted = "(2, 3)" if mixup else "(2,)"
    loss = f"{LOSS}        assert tuple(expression.shape) == {wanted}\n        self.seen += 1\n        return logits.sum()\n\n"
    new = "self.register_buffer('seen', torch.zeros(()))\n        self.classifier ="
    given = write(tmp_path, "    def classify", f"{loss}    def classify")
    (tmp_path / "net.py").write_text((tmp_path / "net.py").read_text().replace("self.classifier =", new, 1))
    mine = config(given)
    assert make_own(replace(mine, own=replace(mine.own, mixup=mixup)), 3).network.seen == 0


def test_training_mode_is_tried_and_leaves_no_trace(tmp_path):
    """Means of BN, what it counts, its first weights. Seen red: the network itself tried, not a second one."""
    new = "self.calls = self.calls + self.training\n        return self.layers(x) + torch.rand(()) * self.training"
    given = write(tmp_path, "return self.layers(x)", new)
    (tmp_path / "net.py").write_text((tmp_path / "net.py").read_text().replace("self.layers =", "self.calls = 0\n        self.layers ="))
    mine = config(given)
    found = build_itself(lambda: make_own(mine, 3), torch.device("cpu"), 0.0, stream(0, "init/own")).network
    plain = build_itself(lambda: type(found)(1, 48, 3), torch.device("cpu"), 0.0, stream(0, "init/own"))
    assert found.calls == 0 and found.training
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())


@pytest.mark.filterwarnings("ignore:Lazy modules are")
def test_layers_without_sizes_have_them_from_the_first_picture(tiny_prepared, tmp_path):
    """The same first weights each time, and a run that is loaded again. Seen red: a traceback, the classifier had no size yet."""
    mine = config(write(tmp_path, "nn.Linear(width, n_classes)", "nn.LazyLinear(n_classes)"))
    first, again = (build_itself(lambda: make_own(mine, 3), torch.device("cpu"), 0.0, stream(0, "init/own")).state_dict() for _ in range(2))
    assert first["network.classifier.weight"].shape == (3, 64) and all(torch.equal(first[name], again[name]) for name in first)
    train(Job(tiny_prepared, tmp_path / "r", mine), "cpu", say=quiet)
    assert load_run(tmp_path / "r", "cpu").networks["own"].network.classifier.weight.shape == (3, 64)


def test_a_start_from_a_file_needs_a_part_that_is_made_new(tiny_prepared, tmp_path):
    """Seen red: "made new: the classifier" of a network whose classifier, fc, had been taken from the file."""
    given = write(tmp_path)
    (tmp_path / "net.py").write_text((tmp_path / "net.py").read_text().replace("self.classifier", "self.fc"))
    mine, fold = config(given), read_prepared(tiny_prepared).fold(1)
    save_file(make_own(mine, 3).network.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"call that part `classifier` \(the network has layers and fc\)"):
        read_given(tmp_path / "w.safetensors", None, mine, fold)
    assert read_given(tmp_path / "w.safetensors", None, config(write(tmp_path)), fold).fit.dropped == ("fc.bias 3", "fc.weight 3x64")


def test_weights_from_a_file_are_for_all_but_the_classifier(tmp_path):
    """Seen red: the classifier among them."""
    names = set(make_own(config(write(tmp_path)), 3).carried())
    assert "network.layers.0.weight" in names and not any("classifier" in name for name in names)
