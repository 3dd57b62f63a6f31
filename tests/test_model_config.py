"""Configuration: presets, budgets, strict JSON."""

import json
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_model.config import (
    PRESETS,
    CnnConfig,
    GanConfig,
    HeadConfig,
    NetworkConfig,
    TrainConfig,
    from_json,
    preset,
    resolve_budgets,
    shown,
    steps_of,
    to_json,
    to_lines,
    with_budgets,
)
from fer_model.errors import ConfigError


def test_a_configuration_of_before_is_read_with_what_came_later_off():
    """Seen red: no defaults; every missing key filled in."""
    data = json.loads(to_json(preset("small", method="cnn")))
    for name in ("critics", "ae", "recogniser"):
        del data[name]
    for name in ("mixup", "members", "balanced", "confusion", "identity_swap", "swap_part"):
        del data["cnn"][name]
    read = from_json(json.dumps(data))
    assert read.cnn == preset("small").cnn and read.method == "cnn"
    del data["cnn"]["lr"]
    with pytest.raises(ConfigError, match=r"cnn: key 'lr' is missing"):
        from_json(json.dumps(data))


def test_paper_preset_is_the_papers_settings():
    """Section 4.1, copied here by hand. Seen red: betas (0.9, 0.999)."""
    paper = preset("paper")
    assert (paper.gan.batch, paper.gan.epochs, paper.gan.lr, paper.gan.betas) == (150, 300, 1e-4, (0.5, 0.999))
    assert (paper.head.batch, paper.head.epochs, paper.head.lr) == (150, 50, 1e-4)
    assert paper.head.loss_weights == (0.7, 0.6, 0.4, 0.3, 1.0)
    assert (paper.network.image_size, paper.network.width, paper.network.representation) == (96, 1.0, 350)
    assert (paper.network.init_std, paper.network.noise, paper.precision) == (0.02, 50, "fp32")


def test_a_pass_of_the_paper_over_ck_plus_is_648_batches():
    """883 training faces, 110 views, batches of 150. Seen red: steps rounded down gave 647."""
    one = resolve_budgets(replace(preset("paper"), gan=GanConfig(epochs=1)), 883)
    assert one.gan.kimg == 97.13 and steps_of(one.gan) == 648
    assert steps_of(resolve_budgets(preset("paper"), 883).gan) == 194_260          # 300 * 97,130 / 150


def test_baseline_sees_as_many_images_as_both_stages_unless_told():
    """Seen red: the budget of stage 2 left out."""
    small = resolve_budgets(with_budgets(preset("small"), gan=15, head=5), 400)
    assert small.cnn.kimg == 20 and small.cnn.epochs is None
    assert resolve_budgets(with_budgets(small, cnn=7), 400).cnn.kimg == 7


def test_strong_gives_the_baseline_what_it_gives_the_head_and_the_method_nothing_else():
    """All but the head's own fields and the budget, which follows. Seen red: mixup of the head alone; a wider baseline."""
    small, strong = preset("small"), preset("strong")
    shared = [one.name for one in fields(CnnConfig) if one.name in {field.name for field in fields(HeadConfig)} - {"epochs", "kimg"}]
    assert {name: getattr(strong.head, name) for name in shared} == {name: getattr(strong.cnn, name) for name in shared}
    assert (strong.network, strong.gan, strong.judges) == (small.network, small.gan, small.judges) and strong.head != small.head
    assert (strong.cnn.channels, strong.cnn.features, strong.cnn.kimg) == (small.cnn.channels, small.cnn.features, None)


@pytest.mark.parametrize(("method", "fold", "parts"), [
    ("degan", 0, ("run", "network", "judges", "gan", "head")), ("cnn", 0, ("run", "network", "cnn")),
    ("pretrain", None, ("run", "network", "judges", "gan")),
])
def test_the_lines_for_people_name_every_field_of_what_is_trained(method, fold, parts):
    """Seen red: the judges left out; stages that are not trained in."""
    config = preset("paper", method=method, fold=fold)
    values, lines = asdict(config), to_lines(config)
    assert [line.split(":")[0] for line in lines] == list(parts)
    for part, line in zip(parts[1:], lines[1:], strict=True):
        assert all(f" {name} " in line for name in values[part])
    assert f"method {method}, fold {shown(fold)}, fold_rule manifest" in lines[0] and "betas [0.5, 0.999]" in lines[-1]


@pytest.mark.parametrize("name", PRESETS)
def test_json_there_and_back(name):
    """Seen red: tuples read back as lists."""
    config = preset(name, fold=3, seed=7, method="cnn")
    assert from_json(to_json(config)) == config
    assert from_json(to_json(resolve_budgets(config, 100))) == resolve_budgets(config, 100)


@given(st.builds(
    TrainConfig,
    fold=st.integers(0, 9), seed=st.integers(0, 2**40),
    network=st.builds(NetworkConfig, width=st.floats(1e-3, 4), noise=st.integers(1, 99)),
    gan=st.builds(
        GanConfig, epochs=st.none() | st.floats(1e-3, 999), lr=st.floats(1e-9, 1), betas=st.tuples(st.floats(0, 0.999), st.just(0.5))
    ),
))
def test_json_there_and_back_for_any_values(config):
    """Seen red: floats rounded to 6 digits on the way out."""
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["gan"].update(momentum=0.5), r"configuration.gan: unknown key 'momentum'; choose epochs, kimg"),
        (lambda d: d["head"].pop("taps"), r"configuration.head: key 'taps' is missing"),
        (lambda d: d["gan"].update(batch="150"), r"configuration.gan.batch must be a whole number, not '150'"),
        (lambda d: d["gan"].update(batch=True), r"configuration.gan.batch must be a whole number, not True"),
        (lambda d: d["gan"].update(kimg=3), r"gan.epochs \(300\) and gan.kimg \(3\) are two budgets for one stage"),
        (lambda d: d["network"].update(image_size=50), r"network.image_size is 50; it must be 96, 48, 32 or 16"),
        (lambda d: d.update(method="gan"), r"unknown method 'gan'; choose degan, deae, .*cnn.* or pretrain \(did you"),
        (lambda d: d["head"].update(taps=["conv23"]), r"head.taps is \[conv23\]; it must be four layers"),
        (lambda d: d["cnn"].update(dropout=1), r"cnn.dropout is 1; it must be at least 0 and below 1"),
        (lambda d: d["gan"].update(betas=[0.5, 1.0]), r"gan.betas is \[0.5, 1\]; it must be two numbers, each at least 0 and below 1"),
        (lambda d: d["gan"].update(betas=[0.5]), r"gan.betas is \[0.5\]; it must be two numbers"),
        (lambda d: d["gan"].update(lr=float("inf")), r"gan.lr is inf; it must be finite"),
        (lambda d: d["gan"].update(lr=float("nan")), r"gan.lr is nan; it must be finite"),
        (lambda d: d.update(network=3), r"configuration.network must be an object, not 3"),
    ],
)
def test_what_is_not_a_configuration_is_refused_with_its_place(change, message):
    """Seen red: unknown keys dropped in fer_data.schema.read."""
    data = json.loads(to_json(preset("paper")))
    change(data)
    with pytest.raises(ConfigError, match=message):
        from_json(json.dumps(data))


def test_text_that_is_no_json_and_a_preset_that_is_none():
    with pytest.raises(ConfigError, match="not JSON"):
        from_json("{")
    with pytest.raises(ConfigError, match=r"unknown preset 'huge'; choose smoke, small, strong, pretrained or paper$"):
        preset("huge")
    with pytest.raises(ConfigError, match=r"^configuration: unknown preset 'smal'; choose .* \(did you mean small\?\)$"):
        preset("smal")


@pytest.mark.parametrize("part", [TrainConfig(), *(getattr(TrainConfig(), name) for name in ("network", "judges", "gan", "head", "cnn"))])
def test_a_rule_is_about_a_field_and_text_is_one_of_a_few_words(part):
    """Seen red: "dropuot" in RULES; the rule of precision away."""
    assert set(part.RULES) <= {one.name for one in fields(part)}
    free = {"preset", "init"}                                            # named by hand and by a hash
    texts = {one.name for one in fields(part) if isinstance(one.default, str)} - free
    assert texts == {name for name, rule in part.RULES.items() if any(isinstance(choice, str) for choice in rule.choices)}
