"""Stage 1 of DE-GAN where people are unknown, or on several databases as one; runs that start from it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_data.prepare.join import join, plan_join
from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint
from fer_model.errors import FoldError
from fer_model.job import Job
from fer_model.losses import discriminator_loss, generator_loss
from fer_model.networks import Discriminator
from fer_model.stages.gan import GanStage, draw_codes
from fer_model.stages.health import Health
from fer_model.stages.inputs import StageInputs
from fer_model.stages.judges import HELD_OUT, JudgesStage, held_out
from fer_model.stages.sample_sheet import COLUMNS, GAP, sheet
from fer_model.train import train
from tests.commands import call, call_in_one_line
from tests.test_model_ablations import same_tensors
from tests.test_model_engine import Stop, quiet, stop_at, ticks_of
from tests.test_model_pretrain import assert_carried_over

CPU = torch.device("cpu")
SMOKE, EVERYBODY = preset("smoke", fold=1), preset("smoke", method="pretrain", fold=None)


@pytest.fixture(scope="module")
def pretrained(unknown, tmp_path_factory):
    """A complete run of pre-training on it, made by the command."""
    run = tmp_path_factory.mktemp("pretrained") / "p"
    call("pretrain", "--method", "degan", "--data", unknown, "--run", run, "--preset", "smoke")
    return run


@pytest.fixture(scope="module")
def started(tiny_prepared, pretrained, tmp_path_factory):
    """A complete run that starts from it."""
    run = tmp_path_factory.mktemp("started") / "s"
    train(Job(tiny_prepared, run, SMOKE, init=pretrained), "cpu", say=quiet)
    return run


# --- people unknown ---------------------------------------------------------------------------------------------------


def test_nobody_is_named_and_nobody_is_asked_for(pretrained, unknown):
    """In weights, log, result and card. Seen red: with an output of D for one person, training stops."""
    content, result = (json.loads((pretrained / name).read_text()) for name in ("config.json", "result.json"))
    assert (content["identities"], content["n_train"], content["n_test"], result["people"]) == ([], 112, 0, 0)
    tensors = checkpoint.read_tensors(pretrained / "gan.safetensors")
    assert not any("identity" in name for name in tensors)
    assert tensors["decoder/fc.weight"].shape[1] == SMOKE.network.representation + SMOKE.network.noise
    assert {name.partition("/")[0] for name in checkpoint.read_tensors(pretrained / "judges.safetensors")} == {"expression"}
    ticks = [line for line in ticks_of(pretrained) if line["stage"] == "gan"]
    names = {name for tick in ticks for name in tick}
    wanted = {"loss_D_expression", "loss_D_fake", "loss_G_expression", "accuracy_real_expression", "accuracy_fake", "judged_expression"}
    assert wanted <= names
    assert not any("identity" in name or "both_right" in name or "code_effect" in name for name in names)
    said = call_in_one_line("pretrain", "--data", unknown, "--run", pretrained, "--preset", "smoke")
    assert "nothing was left to do" in said
    call("card", pretrained)
    assert "DE-GAN without people" in (card := (pretrained / "card.md").read_text()) and "faces of the people" not in card


def test_without_people_the_equations_lose_one_term():
    """By hand: logits of 0 for three classes. Seen red: 0 in place of no term, so that the log shows a loss of 0."""
    logits, expression = torch.zeros(2, 3), torch.tensor([0, 1])
    d, g = discriminator_loss(logits, None, logits, expression, None), generator_loss(logits, None, expression, None)
    assert d.total.item() == pytest.approx(2 * np.log(3)) and g.total.item() == pytest.approx(np.log(3))
    assert d.identity is None and g.identity is None
    assert Discriminator(SMOKE.network, 3, 0)(torch.zeros(2, 1, 48, 48))[1] is None
    asked = torch.full((4,), -1)
    with_people, _ = draw_codes(torch.zeros(4, dtype=torch.int64), 2, 3, "other", torch.Generator().manual_seed(0))
    nobody, noise = draw_codes(asked, 0, 3, "other", torch.Generator().manual_seed(0))
    assert torch.equal(nobody, asked) and noise.shape == (4, 3) and torch.equal(with_people, torch.ones(4, dtype=torch.int64))


def test_what_is_held_out_of_the_judge_is_pictures(unknown):
    """Every expression keeps one; the same seed, the same pictures. Seen red: the first of each expression held out."""
    rows = read_prepared(unknown).fold_of(EVERYBODY).train
    out = held_out(rows, 0)
    assert out.sum() == round(HELD_OUT * len(rows)) and set(rows["expression"][~out]) == set(rows["expression"])
    assert np.array_equal(out, held_out(rows, 0)) and not np.array_equal(out, held_out(rows, 1))
    few = rows.drop_duplicates("expression")
    assert not held_out(few, 0).any()


def test_the_sheet_has_a_column_for_each_noise_and_health_its_two_effects(unknown):
    """Seen red: one noise in all columns."""
    fold = read_prepared(unknown).fold_of(EVERYBODY)
    config, views = resolve_budgets(EVERYBODY, len(fold.train)), open_views(unknown, fold.train)
    inputs = StageInputs(config, fold, views, CPU)
    judges, stage = JudgesStage(inputs), GanStage(inputs)
    with torch.no_grad():
        for weight in stage.generator.parameters():
            if weight.ndim > 1:
                weight.mul_(6)                                           # N(0, 0.02) alone would draw a uniform grey
    found = Health(inputs.after(judges)).on_tick(stage, stage.steps)
    assert set(found) == {"judged_expression", "judged_expression_real", "input_effect", "noise_effect", "kid_own"}
    assert found["input_effect"] > 0 and found["noise_effect"] > 0
    picture, step = sheet(stage), SMOKE.network.image_size + GAP
    assert picture.shape == (len(fold.classes) * step, (1 + COLUMNS) * step)
    columns = [picture[:, place * step : (place + 1) * step] for place in range(1, 1 + COLUMNS)]
    assert not any(np.array_equal(columns[0], other) for other in columns[1:])


def test_pre_training_that_was_stopped_ends_in_the_same_bits(pretrained, unknown, tmp_path):
    run = tmp_path / "r"
    with pytest.raises(Stop):
        train(Job(unknown, run, EVERYBODY), "cpu", say=quiet, hook=stop_at("gan", 5), save_every_s=0)
    train(Job(unknown, run, EVERYBODY), "cpu", say=quiet, save_every_s=0)
    assert same_tensors(run / "gan.safetensors", pretrained / "gan.safetensors") and ticks_of(run) == ticks_of(pretrained)


def test_people_are_new_and_all_else_is_carried_over(pretrained, tiny_prepared):
    """Every tensor, against the file and against a fresh stage. Seen red: the columns of the noise taken from those of f(x)."""
    assert_carried_over(pretrained, tiny_prepared, SMOKE, codes=0)


def test_a_run_that_starts_from_it_says_so_and_resumes_to_the_same_bits(started, pretrained, tiny_prepared, tmp_path):
    run, said = tmp_path / "r", []
    with pytest.raises(Stop):
        train(Job(tiny_prepared, run, SMOKE, init=pretrained), "cpu", say=said.append, hook=stop_at("gan", 6), save_every_s=0)
    assert any("gan starts from" in line and "fer2013: people unknown, 112 faces" in line for line in said)
    train(Job(tiny_prepared, run, SMOKE, init=pretrained), "cpu", say=quiet, save_every_s=0)
    for name in ("gan.safetensors", "head.safetensors"):
        assert same_tensors(run / name, started / name)
    result = json.loads((run / "result.json").read_text())
    assert result["init"]["people"] == 0 and "fer2013: people unknown, 112 faces" in result["rules"]["pre_training"]
    assert result["people"] == 4 and ticks_of(run) == ticks_of(started)


def test_from_synthetic_pictures_to_synthetic_ck(pretrained, unknown, prepared_ck, tmp_path):
    """By the commands; card and report say that nobody is known whom the start has seen."""
    run = tmp_path / "r"
    call("train", "--data", prepared_ck, "--fold", 0, "--preset", "smoke", "--init", pretrained, "--run", run)
    call("card", run)
    call("report", run, "-o", tmp_path / "report")
    for text in ((run / "card.md").read_text(), (tmp_path / "report" / "report.md").read_text()):
        assert "pre-trained on fer2013" in text and "fer2013: people unknown, 112 faces" in text


def test_what_needs_people_there_is_refused_in_one_sentence(pretrained, unknown, tmp_path):
    """Nobody can be drawn by its G; nobody can be held out of these pictures. Seen red: its G asked all the same."""
    picture = next(iter(read_prepared(unknown).fold_of(EVERYBODY).train["image_id"]))
    said = call("transfer", pretrained, "--source-id", picture, code=1)
    assert said.count("\n") == 1 and "was trained where they are unknown, its G draws nobody" in said
    assert "is not one of" in call_in_one_line("pretrain", "--method", "deae", "--data", unknown, code=2)
    said = call("train", "--split", "official", "--method", "degan", "--data", unknown, "--init", pretrained, code=1)
    assert said.count("\n") == 1 and "training method degan on" in said and "people unknown" in said


# --- several databases as one -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joined(others, write_tiny, tmp_path_factory):
    """Two databases as one: `others`, and one that shows people of CK+ under the name of its copy."""
    root = tmp_path_factory.mktemp("joined")
    copy = write_tiny(root / "copy", people=4, dataset="ck48", seed=5)
    join(plan_join([others, copy], root / "out", 3))
    return root / "out"


@pytest.fixture(scope="module")
def on_joined(joined, tmp_path_factory):
    """A complete run of pre-training on them."""
    run = tmp_path_factory.mktemp("on_joined") / "p"
    call("pretrain", "--data", joined, "--run", run, "--preset", "smoke")
    return run


def test_pre_training_on_a_joined_database_is_on_everybody_of_it(on_joined, tiny_prepared, tmp_path):
    content = json.loads((on_joined / "config.json").read_text())
    assert content["dataset"] == "ck48+others" and content["n_train"] == 40 + 24
    people = [f"ck48/ck48:S{i:03d}" for i in range(4)] + [f"others/others:S{i:03d}" for i in range(5)]
    assert content["identities"] == people
    assert checkpoint.read_tensors(on_joined / "gan.safetensors")["discriminator/identity.weight"].shape[0] == 9
    train(Job(tiny_prepared, tmp_path / "r", SMOKE, init=on_joined), "cpu", say=quiet)
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert "ck48+others: 9 people, 64 faces" in result["rules"]["pre_training"]


def test_somebody_of_a_joined_database_is_not_tested_under_the_plain_name(on_joined, joined, others, write_tiny, tmp_path):
    """In either database, under the name of a copy, in another join, and the other way round. Seen red: ids compared as they stand."""
    own = write_tiny(tmp_path / "ck", dataset="ck+")
    more = write_tiny(tmp_path / "more", people=3, dataset="more", seed=6)
    join(plan_join([others, more], tmp_path / "both", 3))
    runs = tmp_path / "others"
    train(Job(others, runs, EVERYBODY), "cpu", say=quiet)
    for data, fold, init, who in (
        (own, 1, on_joined, r"ck\+/S001"), (others, 2, on_joined, "others/S002"), (tmp_path / "both", 0, on_joined, r"others/S00\d"),
        (joined, 1, runs, r"others/S00\d"),
    ):
        with pytest.raises(FoldError, match=rf"it was trained on {who} .*, who is held out in fold {fold}"):
            train(Job(data, tmp_path / "r", replace(SMOKE, fold=fold), init=init), "cpu", say=quiet)
    assert not (tmp_path / "r" / "config.json").exists()
