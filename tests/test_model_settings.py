"""Settings by name: types, layers, what is refused with which sentence, what is printed, and names of folders."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fer_data import field_comments
from fer_model.config import HEADS, PRESETS, STAGES_OF, HeadConfig, NetworkConfig, preset, resolve_budgets, shown
from fer_model.crossval import default_crossval
from fer_model.errors import ConfigError
from fer_model.job import Job, default_run
from fer_model.settings import ELSEWHERE, configure, idle, kinds, values_of
from fer_model.settings_text import Settings, describe, differences, name_suffix, settings_of, to_yaml
from fer_model.sweep import grid
from tests.commands import call

ALL = tuple(STAGES_OF)


def of(*sets, **named):
    """Return the configuration of some --set and named options."""
    return configure(named, sets=sets, methods=ALL)


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [
    ("gan.lr=1e-4", 1e-4), ("gan.lr=3", 3.0), ("gan.lr= 2E-3 ", 2e-3), ("gan.batch=32", 32), ("gan.kimg=none", None),
    ("gan.kimg=Null", None), ("gan.kimg=0.5", 0.5), ("network.residual=yes", True),
    ("network.residual=False", False), ("network.residual=on", True),
    ("gan.targets=any", "any"), ("head.loss_weights=1,0,0,0,2e-1", (1.0, 0.0, 0.0, 0.0, 0.2)), ("gan.betas=[0.5, 0.9]", (0.5, 0.9)),
    ("gan.betas=(0, 0.9)", (0.0, 0.9)), ("head.taps=[conv12, 'conv23',conv33,conv43]", ("conv12", "conv23", "conv33", "conv43")),
    ("network.d_without_norm=conv11", ("conv11",)), ("network.d_without_norm=", ()), ("network.d_without_norm=[]", ()), ("seed=7", 7),
    ("head.variant=f-svm", "f-svm"), ("preset=paper", "paper"),
])
def test_a_value_has_the_type_of_its_field(text, value, tmp_path):
    """On the command line and in a file. Seen red: YAML's own types, in which 1e-4 is text and `no` false."""
    key, _, raw = text.partition("=")
    found = values_of(of(text))[key]
    assert found == value and type(found) is type(value)
    if raw and raw[0] != "(":
        assert values_of(configure(file=written(tmp_path, f"{key}: {raw}\n")))[key] == value


# a setting -> one of the same stage that leaves it no room: synthesised faces, the other share of the pairs
EXCLUDE = {"recogniser.confusion": "synthesised", "iacnn.same_person": "same_expression", "iacnn.same_expression": "same_person"}


@given(st.sampled_from([key for key, kind in kinds().items() if kind is float]), st.floats(1e-12, 0.99), st.sampled_from(ALL))
def test_any_number_is_read_back_as_it_is_shown(key, number, method):
    """Seen red: six digits shown."""
    config = configure({"method": method}, methods=ALL)
    part, _, name = key.rpartition(".")
    other = EXCLUDE.get(key)
    new = {name: number} | ({other: 0.0} if other else {})
    changed = replace(config, **{part: replace(getattr(config, part), **new)} if part else new)
    if part in ("", "network", *config.stages) and idle(config, key) is None:
        alone = [f"{part}.{other}=0"] if other else []
        assert configure({"method": method}, sets=[*alone, f"{key}={shown(number)}"], methods=ALL) == changed
    assert values_of(changed)[key] == float(shown(number))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", ALL)
def test_every_setting_set_to_its_printed_value_gives_the_same_configuration(name, method, tmp_path):
    """Each by --set, and all of them as a file; a plain reader of YAML finds the same values and types.

    Seen red: none for null in YAML; 1e-05 printed, which is text in YAML; a budget set to none that took the other with it.
    """
    file = written(tmp_path, "validation_share: 1e-05")
    config = configure({"preset": name, "method": method}, file, methods=ALL)
    for one in settings_of(config):
        if not one.set_by:
            given = {"preset": name, "method": method}, file, [f"{one.key}={shown(one.value)}"]
            assert configure(*given, methods=ALL, undecided=("selection",)) == config, one.key
    text = to_yaml(config, "x")
    assert configure(file=written(tmp_path, text), methods=ALL) == config
    loaded = yaml.safe_load(text)
    values = {key: value for key, value in loaded.items() if not isinstance(value, dict)}
    values |= {f"{part}.{key}": value for part, inner in loaded.items() if isinstance(inner, dict) for key, value in inner.items()}
    expected = {key: list(value) if isinstance(value, tuple) else value for key, value in values_of(config).items() if key not in ELSEWHERE}
    assert values == expected and all(type(values[key]) is type(expected[key]) for key in values)


# --- layers -----------------------------------------------------------------------------------------------------------


def test_each_layer_stands_over_the_one_before(tmp_path):
    """default < preset < file < --set < named option. Seen red: file and --set swapped; the named option below."""
    file = written(tmp_path, "preset: smoke\nseed: 1\nselection: validation\ngan: {lr: 1e-3, batch: 4}\nhead:\n  dropout: 0.2\n")
    found = configure({"seed": 3, "method": None}, file, ["seed=2", "gan.lr=5e-4"])
    assert (found.preset, found.network, found.selection) == ("smoke", PRESETS["smoke"].network, "validation")
    assert (found.seed, found.gan.lr, found.gan.batch, found.head.dropout, found.method) == (3, 5e-4, 4, 0.2, "degan")
    assert configure({"preset": "small"}, file).network == PRESETS["small"].network
    assert configure({}, file, ["preset=paper"]).preset == "paper"
    assert configure() == preset("small")
    assert configure({"method": "pretrain"}, methods=["pretrain"]) == preset("small", method="pretrain", fold=None)


def test_a_new_budget_takes_the_place_of_the_old_one(tmp_path):
    """Preset paper counts epochs, small counts kimg. Seen red: "two budgets for one stage"."""
    paper = of("gan.kimg=5", preset="paper").gan
    assert (paper.epochs, paper.kimg) == (None, 5) and of("gan.epochs=2").gan.kimg is None
    both = configure({"head.kimg": 3.0}, written(tmp_path, "head: {epochs: 2}"))
    assert (both.head.epochs, both.head.kimg) == (None, 3)
    with pytest.raises(ConfigError, match=r"^configuration: gan.epochs \(2\) and gan.kimg \(3\) are two budgets for one stage; set one"):
        of("gan.epochs=2", "gan.kimg=3")


@pytest.mark.parametrize(("sets", "named", "message"), [
    (["gan.ler=1"], {}, "--set gan.ler=1: unknown setting 'gan.ler'; did you mean gan.lr?"),
    (["dropout=0"], {}, "--set dropout=0: unknown setting 'dropout';"
     " did you mean head.dropout, recogniser.dropout, iacnn.dropout, cnn.dropout, timm.dropout or own.dropout?"),
    (["qqq=a=b"], {}, "--set qqq=a=b: unknown setting 'qqq'; `fer-model config` lists all"),
    (["gan=3"], {}, "--set gan=3: gan is a group of settings; set one of them, such as gan.epochs"),
    (["gan.lr"], {}, "--set gan.lr: a name, = and a value are needed, such as --set gan.lr=1e-4"),
    (["gan.lr=1=2"], {}, "--set gan.lr=1=2: gan.lr must be a number, not '1=2'"),
    (["gan.lr=no"], {}, "--set gan.lr=no: gan.lr must be a number, not 'no'"),
    (["gan.lr=none"], {}, "--set gan.lr=none: gan.lr must be a number, not 'none'"),
    (["gan.kimg=x"], {}, "--set gan.kimg=x: gan.kimg must be a number, or none, not 'x'"),
    (["gan.batch=1.5"], {}, "--set gan.batch=1.5: gan.batch must be a whole number, not '1.5'"),
    (["seed=1,2"], {}, "--set seed=1,2: seed must be a whole number, not '1,2'; `fer-model sweep` trains with several values in turn"),
    (["network.residual=2"], {}, "--set network.residual=2: network.residual must be true or false, not '2'"),
    (["gan.betas=0.5,x"], {}, "--set gan.betas=0.5,x: gan.betas must be a list of numbers, not 'x'"),
    (["gan.lr=0"], {}, "configuration: gan.lr is 0; it must be above 0"),
    (["gan.lr=nan"], {}, "configuration: gan.lr is nan; it must be finite"),
    (["gan.targets=othr"], {}, "configuration: unknown gan.targets 'othr'; choose other or any (did you mean other?)"),
    (["gan.targets=no"], {}, "configuration: unknown gan.targets 'no'; choose other or any"),
    (["preset=smal"], {}, "configuration: unknown preset 'smal'; choose smoke, small, strong, pretrained or paper (did you mean small?)"),
    (["method=dgan"], {}, "configuration: unknown method 'dgan';"
     " choose degan, deae, deae-head, derl, iacnn, cnn, timm, own or pretrain (did you mean degan?)"),
    (["seed=1", "seed=1"], {}, "--set seed=1 and --set seed=1: seed is given twice; keep one"),
    (["fold=1"], {}, "--set fold=1: fold is set by --fold, or by --folds where there are several"),
    (["init=none"], {}, "--set init=none: init is set by --init, or by --weights"),
    (["network.channels=3"], {}, "--set network.channels=3: network.channels is decided by the prepared faces (fer-data prepare --colour)"),
    (["cnn.lr=1"], {}, "configuration: cnn.lr has no effect on method degan, which trains gan and head"),
    (["judges.kimg=1"], {"method": "cnn"}, "configuration: judges.kimg has no effect on method cnn, which trains cnn"),
    ([], {"method": "cnn", "timm.arch": "resnet18"}, "configuration: timm.arch has no effect on method cnn, which trains cnn"),
    ([], {"method": "degan", "timm.arch": "resnet18"}, "configuration: timm.arch has no effect on method degan, which trains gan and head"),
    ([], {"method": "cnn", "head.variant": "taps"}, "configuration: head.variant has no effect on method cnn, which trains cnn"),
    ([], {"method": "derl", "gan.kimg": 4.0}, "configuration: gan.kimg has no effect on method derl, which trains neutral and head"),
    ([], {"cnn.kimg": 4.0}, "configuration: cnn.kimg has no effect on method degan, which trains gan and head"),
    ([], {"method": "cnn", "cnn.kimg": 4.0, "gan.kimg": 4.0}, "configuration: gan.kimg has no effect on method cnn, which trains cnn"),
    ([], {"head.variant": "f-svm", "head.kimg": 4.0}, "configuration: head.kimg has no effect on head f-svm"),
    (["head.dropout=0.3"], {"head.variant": "f-svm"}, "configuration: head.dropout has no effect on head f-svm"),
    (["head.variant=f-mlp", "head.local_channels=4"], {}, "configuration: head.local_channels has no effect on head f-mlp"),
    (["head.svm_c=2"], {"head.variant": "taps"}, "configuration: head.svm_c has no effect on head taps"),
    (["head.mlp_features=9"], {}, "configuration: head.mlp_features has no effect on head both"),
    (["judges.average_half_kimg=1"], {},
     "configuration: judges.average_half_kimg has no effect on method degan: nothing in it reads this setting"),
    (["recogniser.frozen=1"], {"method": "deae"},
     "configuration: recogniser.frozen has no effect on method deae: nothing in it reads this setting"),
    (["network.noise=9"], {"method": "cnn"}, "configuration: network.noise has no effect on method cnn: nothing in it reads this setting"),
    (["network.d_spectral_norm=yes"], {"method": "derl"},
     "configuration: network.d_spectral_norm has no effect on method derl: nothing in it reads this setting"),
    (["network.width=0.25"], {"method": "timm"},
     "configuration: network.width has no effect on method timm: nothing in it reads this setting"),
    (["network.init_std=0.1"], {"method": "own"},
     "configuration: network.init_std has no effect on method own: nothing in it reads this setting"),
    (["cnn.carried_lr=0.5"], {"method": "cnn"},
     "configuration: cnn.carried_lr has no effect on a run with init none (set by --init, or by --weights)"),
    (["timm.frozen=3"], {"method": "timm"},
     "configuration: timm.frozen has no effect on a run with init none (set by --init, or by --weights)"),
    (["cnn.swap_part=effect"], {"method": "cnn"}, "configuration: cnn.swap_part has no effect on a run with cnn.identity_swap 0"),
    (["recogniser.synthesised=0", "recogniser.people=own"], {"method": "deae"},
     "configuration: recogniser.people has no effect on a run with recogniser.synthesised 0"),
    (["recogniser.synthesised=0", "recogniser.least_agreement=0.1"], {"method": "deae"},
     "configuration: recogniser.least_agreement has no effect on a run with recogniser.synthesised 0"),
    (["gan.d_strong_above=0.5"], {},
     "configuration: gan.d_strong_above has no effect on a run with gan.d_interval 1 and gan.d_interval_strong 1"),
    (["iacnn.margin=1", "iacnn.contrast_expression=0", "iacnn.contrast_identity=0"], {"method": "iacnn"},
     "configuration: iacnn.margin has no effect on a run with iacnn.contrast_expression 0 and iacnn.contrast_identity 0"),
    ([], {"fold_seed": 3}, "configuration: fold_seed has no effect on a run with fold_rule manifest"),
    (["validation_share=0.3"], {}, "configuration: validation_share has no effect on a run with selection last"),
    (["validation_every=2"], {}, "configuration: validation_every has no effect on a run with selection last"),
])
def test_what_cannot_be_set_is_answered_with_what_can(sets, named, message):
    """Seen red, each: the check away, or the value let through."""
    with pytest.raises(ConfigError) as caught:
        configure(named, sets=sets, methods=ALL, undecided=())
    assert str(caught.value) == message


@pytest.mark.parametrize(("sets", "named", "undecided"), [
    (["cnn.swap_part=effect", "cnn.identity_swap=0.5"], {"method": "cnn"}, ()), (["cnn.swap_part=mean"], {"method": "cnn"}, ()),
    (["cnn.carried_lr=0.5", "cnn.frozen=3"], {"method": "cnn"}, ("init",)), (["cnn.carried_lr=0.1"], {"method": "cnn"}, ()),
    ([], {"fold_seed": 3}, ("fold_rule",)), ([], {"fold_seed": 3, "fold_rule": "shuffled"}, ()),
    (["iacnn.margin=1", "iacnn.contrast_identity=0"], {"method": "iacnn"}, ()), (["network.width=0.25"], {"method": "cnn"}, ()),
    (["gan.d_strong_above=0.5"], {"preset": "paper"}, ()), (["gan.d_strong_above=0.5", "gan.d_interval=2"], {}, ()),
    (["validation_share=0.3"], {"selection": "validation"}, ()),
])
def test_what_another_setting_switches_on_is_taken(sets, named, undecided):
    """And what a command decides later, and the preset's own value. Seen red: one of two contrasts enough; `undecided` not looked at."""
    configure(named, sets=sets, methods=ALL, undecided=undecided)


def test_a_sweep_may_switch_off_what_another_of_its_settings_sets():
    """The share 0 is the baseline of the others. Seen red: refused."""
    found = grid({"method": "cnn"}, None, ["cnn.identity_swap=0,0.5", "cnn.swap_part=effect"], undecided=())
    assert [point.config.cnn.identity_swap for point in found] == [0, 0.5]
    with pytest.raises(ConfigError, match=r"swap_part has no effect on a run with cnn\.identity_swap 0"):
        grid({"method": "cnn"}, None, ["cnn.swap_part=mean,effect"], undecided=())


def test_the_budgets_of_both_stages_count_for_the_baseline():
    """It sees as many images as they, by --set or by an option. Seen red: refused as without effect."""
    assert of("gan.kimg=3", "head.epochs=1", method="cnn").gan.kimg == 3
    assert of(method="timm", **{"gan.kimg": 3.0, "head.kimg": 2.0}).head.kimg == 2


def watched(kind, seen):
    """Return a configuration class that notes which of its fields are read."""

    class Watched(kind):
        def __getattribute__(self, name):
            seen.add(name)
            return super().__getattribute__(name)

    return Watched


@pytest.mark.parametrize("method", [one for one in ALL if one not in ("timm", "own")])
def test_what_is_refused_of_the_networks_is_what_none_of_them_reads(method):
    """Seen red: network.noise taken for one that DE-AE reads."""
    from fer_model.stages.registry import STAGES

    config, seen = preset("smoke", method=method, fold=None if method == "pretrain" else 0), set()
    config = replace(config, network=watched(NetworkConfig, seen)(**asdict(config.network)))
    names, networks = {one.name for one in fields(NetworkConfig)}, []
    seen.clear()
    for stage in config.stages:
        entry = STAGES[stage]
        networks += [make for make in (*entry.networks.values(), entry.rival) if make is not None]
    with torch.device("meta"):
        for make in networks:
            make(config, 3, 2)
    taken = {name for name in names if idle(config, f"network.{name}") is None}
    baseline = {"width"} if {"cnn", "iacnn"} & set(config.stages) else set()     # taken, and read by nothing
    code = {"code_scale"} if method == "derl" else set()                         # multiplied with a code of length 0
    assert (seen & names) - code | baseline == taken - {"init_std", "d_spectral_norm"}


@pytest.mark.parametrize("variant", [one for one in HEADS if one != "f-svm"])
def test_what_is_refused_of_a_head_is_what_its_network_does_not_read(variant):
    """Seen red: head.prediction taken for one that f-mlp reads."""
    from fer_model.networks import make_head

    config, seen = preset("smoke"), set()
    config = replace(config, head=watched(HeadConfig, seen)(**asdict(config.head) | {"variant": variant}))
    seen.clear()
    with torch.device("meta"):
        make_head(config.network, config.head, 3)
    shape = {"taps", "local_channels", "local_features", "local_dropout", "prediction", "mlp_features", "svm_c", "svm_views"}
    assert seen & shape == {name for name in shape if idle(config, f"head.{name}") is None}


def test_a_command_that_trains_one_method_takes_no_other():
    """But takes the file of a run of another. Seen red: `--set method=cnn` passed over in silence."""
    with pytest.raises(ConfigError, match="unknown method 'cnn'; choose pretrain"):
        configure({"method": "pretrain"}, sets=["method=cnn"], methods=["pretrain"])


@pytest.mark.parametrize(("text", "message"), [
    ("gan: {ler: 1}", "line 1: unknown setting 'gan.ler'; did you mean gan.lr?"),
    ("gan:\n  lr: 1e-4\n  batch: 8\n  lr: 2e-4\n", "line 4: gan.lr is there twice; keep one"),
    ("gan: {lr: 1e-4}\ngan: {batch: 8}\n", "line 2: gan is there twice; keep one"),
    ("gan: {lr: 1e-4}\nseed: 1\ngan.lr: 2e-4\n", "line 3: gan.lr is there twice, first in {path}, line 1; keep one"),
    ("gan: {lr: fast}", "line 1: gan.lr must be a number, not 'fast'"),
    ("seed: 1\ngan:\n  lr: [1, 2]", "line 3: gan.lr must be a number, not a list"),
    ("gan: {lr: {a: 1}}", "line 1: gan.lr must be a value, or a list of values"),
    ("gan: {betas: [[1], 2]}", "line 1: gan.betas must be a value, or a list of values"),
    ("gan: 3", "line 1: gan is a group of settings; set one of them, such as gan.epochs"),
    ("- gan", "line 1: settings are needed, such as gan: and in it lr: 1e-4"),
    ("[a]: 1", "line 1: the name of a setting is needed before the colon"),
    ("<<: {seed: 1}", "line 1: unknown setting '<<.seed'; did you mean seed?"),
    ("fold: 1", "line 1: fold is set by --fold, or by --folds where there are several"),
    ("seed: !!python/object/apply:os.getcwd []", "line 1: seed has the type tag:yaml.org,2002:python/object/apply:os.getcwd; plain values"
     " are read and no others"),
])
def test_a_file_that_is_no_settings_is_refused_with_its_line(text, message, tmp_path):
    """Seen red: PyYAML's own loader took the last of two keys; without the tags' check the third list passed as text."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        configure(file=path)
    assert str(caught.value) == f"{path}, {message.format(path=path)}"


@pytest.mark.parametrize(("content", "message"), [
    (b"gan: {lr", "not YAML"), (b"\xff\xfe\x00", "not YAML"), (b"a: 1\n---\nb: 2\n", "not YAML"), (b"[" * 1200, "nested too deeply"),
])
def test_a_file_that_is_no_yaml_is_refused(content, message, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        configure(file=path)


def test_no_is_text_in_a_file_where_text_is_due(tmp_path):
    """YAML's own no is false. Seen red: "unknown gan.targets False"."""
    with pytest.raises(ConfigError, match=r"unknown gan\.targets 'no'; choose other or any"):
        configure(file=written(tmp_path, "gan: {targets: no}"))
    assert configure(file=written(tmp_path, "network: {residual: no}")).network.residual is False


def test_an_empty_file_changes_nothing(tmp_path):
    assert configure(file=written(tmp_path, "# nothing\n")) == preset("small")


# --- what differs, names ----------------------------------------------------------------------------------------------


def test_what_differs_comes_first_and_budgets_that_gave_way_do_not_count():
    """Seen red: `gan.epochs none` listed."""
    config = of("gan.kimg=5", "head.dropout=0.3", "seed=4", preset="paper")
    assert differences(config) == {"seed": (4, 0), "gan.kimg": (5.0, None), "head.dropout": (0.3, 0.0)}
    first, *rest = describe(config, differences(config))
    assert first == "preset paper, changed: seed 4 (preset: 0), gan.kimg 5 (preset: none), head.dropout 0.3 (preset: 0)"
    assert rest[0].startswith("run: preset paper, method degan") and describe(preset("small"), {})[0] == "preset small, nothing changed"


@pytest.mark.parametrize(("sets", "named", "suffix"), [
    ([], {}, ""), ([], {"method": "cnn", "seed": 3, "selection": "validation"}, ""), ([], {"head.variant": "taps"}, ""),
    (["gan.lr=1e-4"], {}, "-gan.lr1e-4"), (["gan.lr=1e-4", "head.dropout=0.3"], {}, "-gan.lr1e-4-head.dropout0.3"),
    (["network.residual=yes", "gan.targets=any"], {}, "-network.residual_true-gan.targets_any"),
    (["network.d_without_norm=conv11,conv53"], {}, "-network.d_without_norm_conv11_conv53"), (["gan.epochs=2"], {}, "-gan.epochs2"),
    (["gan.lr=1e-4", "gan.batch=8", "gan.d_interval=2", "head.dropout=0.3", "head.encoder_lr=1e-3"], {}, "-gan.batch8-5settings-{}"),
])
def test_the_name_holds_what_differs_from_the_preset(sets, named, suffix):
    """And nothing where nothing is set: runs of before keep their names. Seen red: the seed in it; no limit to its length."""
    found = name_suffix(of(*sets, **named))
    if suffix.endswith("{}"):
        assert found[:-8] == suffix[:-2] and set(found[-8:]) <= set("0123456789abcdef")
    else:
        assert found == suffix
    assert len(found) < 90


SOME = st.tuples(st.floats(1e-6, 1e-1), st.integers(2, 9), st.sampled_from(["other", "any"]))


@given(SOME, SOME)
@example((1e-4, 2, "any"), (math.nextafter(1e-4, 1), 2, "any"))
def test_names_tell_settings_apart(one, two):
    """Seen red: six digits of a number in the name."""
    first, second = (name_suffix(of(f"gan.lr={lr!r}", f"gan.batch={batch}", f"gan.targets={targets}")) for lr, batch, targets in (one, two))
    assert (first == second) == (one == two) and not set(first) & set("/ =[],")


# --- what is printed --------------------------------------------------------------------------------------------------


def test_every_setting_has_a_type_and_a_line_of_help():
    """Seen red: JudgesConfig's lr, whose comment is its base class's."""
    config = preset("small")
    found = {one.key: one for one in settings_of(config)}
    assert list(found) == list(kinds())
    assert all(one.help and "\n" not in one.help and one.kind for one in found.values())
    lr = found["gan.lr"]
    assert (lr.value, lr.default, lr.kind, lr.allowed, lr.help) == (2e-4, 1e-4, "a number", "above 0", "Adam's step size")
    lines = to_yaml(config, "Preset small").splitlines()
    assert "  lr: 0.0002                      # a number, above 0; in paper 1e-4 | Adam's step size" in lines
    assert any(line.startswith("# fold: 0   ") for line in lines) and any(line.startswith("#   channels: 1") for line in lines)
    assert next(line for line in lines if line.startswith("cnn:")) == "cnn:      # method degan does not train it"
    assert {one["key"] for one in Settings(config, "x").to_json()["settings"]} == set(found)
    json.dumps(Settings(config, "x").to_json(), allow_nan=False)


def test_an_installation_without_sources_has_no_help_but_works(monkeypatch):
    """Only .pyc files, say. Seen red: OSError."""
    field_comments._of_module.cache_clear()
    monkeypatch.setattr(field_comments.inspect, "getsource", lambda module: (_ for _ in ()).throw(OSError("could not get source code")))
    try:
        assert "lr: 0.0002" in to_yaml(preset("small"), "x")
    finally:
        field_comments._of_module.cache_clear()


def test_settings_are_read_without_torch():
    """Seen red: RunFolder imported at the top."""
    code = "import sys; from fer_model import settings, settings_text; sys.exit(bool({'torch', 'pandas', 'yaml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [one for one in PRESETS if one != "pretrained"])
def test_presets_have_folders_of_their_own(name, tiny_prepared):
    """But for the default, which adds nothing. Seen red: `--preset strong` refused by what `--preset small` had left."""
    part = "" if name == "small" else f"-{name}"
    job = Job(tiny_prepared, Path(), preset(name, method="cnn"))
    assert str(default_run(job)) == f"runs/tiny-cnn{part}-fold0" and str(default_crossval(job)) == f"runs/tiny-cnn{part}"


def test_a_dry_run_says_first_what_was_set_and_where_the_run_would_go(tiny_prepared, tmp_path, monkeypatch):
    """With a file, --set and an option over both. Seen red: the option's default taken for one that was given."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "preset: smoke\nmethod: cnn\ncnn: {lr: 5e-4, dropout: 0.1}\n")
    words = ["--config", "mine.yaml", "--set", "cnn.dropout=0.25", "--data", tiny_prepared, "--device", "cpu", "--dry-run"]
    said = call("train", "--fold", 1, *words)
    assert said.splitlines()[0] == "preset smoke, changed: cnn.lr 5e-4 (preset: 1e-3), cnn.dropout 0.25 (preset: 0)"
    assert said.splitlines()[-1] == (
        "dry run: nothing was written; the run would go to runs/tiny-cnn-smoke-cnn.lr5e-4-cnn.dropout0.25-fold1"
    )
    found = json.loads(call("train", "--fold", 1, "--method", "degan", "--seed", 3, *words[:2], *words[4:], "--json"))
    assert (found["config"]["method"], found["config"]["seed"], found["config"]["preset"]) == ("degan", 3, "smoke")
    assert found["changed"] == {"seed": [3, 0], "cnn.lr": [5e-4, 1e-3], "cnn.dropout": [0.1, 0.0]} and "-seed3-fold1" in found["run"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(("words", "message"), [
    (["train", "--fold", 0, "--set", "gan.ler=1"], "--set gan.ler=1: unknown setting 'gan.ler'; did you mean gan.lr?"),
    (["crossval", "--set", "gan.lr=fast"], "--set gan.lr=fast: gan.lr must be a number, not 'fast'"),
    (["pretrain", "--set", "head.lr=1"], "configuration: head.lr has no effect on method pretrain, which trains gan"),
    (["sweep", "--set", "gan.betas=0.5,0.9"],
     "--set gan.betas=0.5,0.9: gan.betas is a list; put brackets round each alternative, such as [0.5,0.9]"),
    (["sweep", "--set", "gan.lr=1e-4,0.0001"], "sweeping: gan.lr 1e-4 is there twice; name each alternative once"),
    (["sweep", "--set", "seed=1,2"], "--set seed: the seeds of a sweep are set by --seeds"),
    (["sweep", "--set", "gan.lr=[1e-4,2e-4]"],
     "--set gan.lr=[1e-4,2e-4]: gan.lr must be a number; name alternatives between commas, without brackets"),
])
def test_a_setting_that_is_none_is_one_sentence_and_exit_code_1(words, message, tiny_prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*words, "--data", tiny_prepared, code=1) == f"Error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_two_settings_go_to_two_folders_and_one_resumes(tiny_prepared, tmp_path, monkeypatch):
    """And a run's own settings, given back to it, change nothing. Before: the second was refused, as the first lay there. Seen red: the
    suffix away; budgets named as changed that follow from the preset, those of five other methods among them."""
    monkeypatch.chdir(tmp_path)
    words = ["crossval", "--data", tiny_prepared, "--method", "cnn", "--preset", "smoke", "--folds", 0, "--set", "cnn.kimg=0.016"]
    for lr in ("1e-4", "2e-4", "1e-4"):
        said = call(*words, "--set", f"cnn.lr={lr}")
    assert "complete before" in said
    made = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert made == [f"tiny-cnn-smoke-cnn.kimg0.016-cnn.lr{lr}" for lr in ("1e-4", "2e-4")]
    run = next(tmp_path.rglob("config.json")).parent
    shown_again = written(tmp_path, call("config", "--of", run))
    content = json.loads((run / "config.json").read_text())["config"]
    assert json.loads(json.dumps(asdict(resolve_budgets(configure({"fold": 0}, shown_again), 24)))) == content
    said = call("train", "--data", tiny_prepared, "--fold", 0, "--config", shown_again, "--run", run, "--dry-run")
    changed = f"cnn.kimg 0.016 (preset: none), cnn.lr {shown(content['cnn']['lr'])} (preset: 1e-3)"
    assert said.splitlines()[0] == f"preset smoke, changed: {changed}"
    assert "--of RUN shows a run as it is" in call("config", "--of", run, "--set", "seed=1", code=2)


def test_config_prints_yaml_that_no_console_wraps(monkeypatch):
    """Seen red: the console's own 80 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    assert call("config", "--preset", "paper") == to_yaml(preset("paper"), "Preset paper, method degan")
    assert call("config", "--method", "pretrain").splitlines()[0].startswith("# Preset small, method pretrain. ")
    found = json.loads(call("config", "--set", "gan.lr=1e-5", "--json"))
    assert found["of"] == "Preset small, method degan; changed: gan.lr 1e-5"
    assert next(one for one in found["settings"] if one["key"] == "gan.lr")["value"] == 1e-5


def test_the_shell_completes_settings():
    """Seen red: those offered that are set elsewhere."""
    from cli.fer_model import complete_key

    assert complete_key(None, None, "gan.lr") == ["gan.lr=", "gan.lr_schedule="]
    assert complete_key(None, None, "fold") == ["fold_rule=", "fold_seed="]
