"""Rivals of the method, as fields of the baseline: several CNNs averaged; batches even over expressions; confusion of the person; swapped
identities. Each by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fer_data.store.loader import Views, open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.augment import IdentitySwap
from fer_model.data.batches import EvenBatches, even_weights
from fer_model.data.fold import read_prepared
from fer_model.engine.checkpoint import Checkpoint
from fer_model.engine.randomness import stream
from fer_model.errors import ConfigError
from fer_model.job import Job
from fer_model.probe.features import samples_of
from fer_model.runs.methods import gather
from fer_model.runs.predictions import read_predictions
from fer_model.runs.trained import load_run
from fer_model.stages.cnn import CnnStage
from fer_model.stages.inputs import StageInputs
from fer_model.train import train
from tests.commands import call
from tests.stepping import batch_at, do

CPU = torch.device("cpu")


@pytest.fixture
def fold(tiny_prepared):
    return read_prepared(tiny_prepared).fold(0)


def stage_of(fold, data, **changes):
    """Return the baseline's stage, fresh."""
    config = resolve_budgets(preset("smoke", method="cnn"), len(fold.train))
    return CnnStage(StageInputs(replace(config, cnn=replace(config.cnn, **changes)), fold, open_views(data, fold.train), CPU))


# --- several CNNs averaged


def test_the_first_member_is_the_baseline_and_the_others_are_their_own(fold, tiny_prepared):
    """Bit for bit after eight steps with all that is random. Seen red: the mean of the losses in place of their sum."""
    random = {"dropout": 0.5, "stronger_views": 0.5, "mixup": 0.4, "average_half_kimg": 0.02}
    alone, three = stage_of(fold, tiny_prepared, **random), stage_of(fold, tiny_prepared, members=3, **random)
    for step in range(8):
        do(alone, step)
        do(three, step)
    mine, members = alone.weights(), three.weights()
    for name, tensor in mine.items():
        rest = name.removeprefix("cnn/")
        assert torch.equal(members[f"cnn/members.0.{rest}"], tensor), name
    weight = "layers.0.0.weight"
    assert not torch.equal(members[f"cnn/members.1.{weight}"], members[f"cnn/members.2.{weight}"])
    assert len(three.samples(0)) == 24 and three.samples(0)[:8] == alone.samples(0)


def test_each_member_has_its_own_batches_views_mixtures_and_dropout(fold, tiny_prepared):
    """One source of randomness at a time. Seen red, each: shared by all members."""
    for changes in ({}, {"stronger_views": 0.5}, {"mixup": 0.4}):
        stage = stage_of(fold, tiny_prepared, members=2, **changes)
        if changes:
            stage.batches[1] = stage.batches[0]
        first, second = batch_at(stage, 5, 0), batch_at(stage, 5, 1)
        assert not torch.equal(first.x, second.x), changes
        assert first.dropout != second.dropout


def test_members_answer_with_the_mean_of_their_probabilities(fold, tiny_prepared):
    """In numpy. Seen red: the mean of the logits; the first member alone."""
    stage = stage_of(fold, tiny_prepared, members=3, lr=0.01)
    for step in range(8):
        do(stage, step)
    stage.used.eval()
    x = torch.rand(6, 1, 48, 48) * 2 - 1
    each = [member(x).detach().double().softmax(1).numpy() for member in stage.used["cnn"].members]
    assert np.ptp(each, axis=0).max() > 0.01
    np.testing.assert_allclose(stage.logits(x).softmax(1).detach().numpy(), np.mean(each, axis=0), atol=1e-6)


def test_a_run_of_several_members_is_used_like_any_other(tiny_prepared, tmp_path):
    """Its budget is told, its file predicts, its hidden layers are probed. Seen red: `84 kimg`; the images of one member counted."""
    words = ("train", "--method", "cnn", "--data", tiny_prepared, "--fold", 1, "--preset", "smoke", "--set", "cnn.members=3")
    assert "cnn: 16 steps of 8 images (3 x 0.128 kimg;" in call(*words, "--dry-run", "--run", tmp_path / "run")
    said = call(*words, "--run", tmp_path / "run")
    assert "preset smoke, 3 x 0.128 kimg, " in said
    result = json.loads((tmp_path / "run" / "result.json").read_text())["stages"]["cnn"]
    assert (result["kimg"], result["steps"]) == (0.384, 16)
    train(Job(tiny_prepared, tmp_path / "one", preset("smoke", method="cnn", fold=1)), "cpu", say=lambda _: None)
    assert [method.label for method in gather([tmp_path / "one", tmp_path / "run"])] == ["CNN (baseline)", "3 CNNs averaged"]
    trained, rows = load_run(tmp_path / "run", "cpu"), read_prepared(tiny_prepared).fold(1).test
    found = read_predictions(tmp_path / "run" / "predictions.csv").filter(like="p_").to_numpy()
    np.testing.assert_allclose(trained.probabilities(open_views(tiny_prepared, rows)).numpy(), found, atol=1e-6)
    assert samples_of(trained, None)[0].features["cnn"].shape[1] == 3 * 16


def test_several_members_are_exported_as_one_graph(tiny_prepared, tmp_path):
    """Seen red: a forward that branches on its values."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    config = preset("smoke", method="cnn", fold=1)
    network, cnn = replace(config.network, init_std=0.2), replace(config.cnn, members=2, kimg=0.016)
    train(Job(tiny_prepared, tmp_path / "run", replace(config, network=network, cnn=cnn)), "cpu", say=lambda _: None)
    assert "differs from torch by at most" in call("export", tmp_path / "run")
    assert "model.safetensors" in call("export", tmp_path / "run", "--format", "safetensors")


# --- batches even over expressions


def test_weights_of_faces_by_hand():
    """Person 0 shows 3 faces of one expression and 1 of another, person 1 two of one. Seen red: expressions of all people pooled."""
    person, expression = torch.tensor([1, 0, 0, 0, 0, 1]), torch.tensor([2, 2, 0, 0, 0, 2])
    assert even_weights(person, expression).tolist() == pytest.approx([1, 2, 2 / 3, 2 / 3, 2 / 3, 1])


def test_even_batches_are_drawn_by_weight_and_by_step_alone():
    """Seen red: the weights not used; a step's batch that depends on the one before."""
    batches = EvenBatches(torch.tensor([1.0, 3.0, 0.0, 4.0]), 80, seed=1, stage="cnn")
    drawn = [batches.at(step) for step in range(50)]
    faces, k = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    assert torch.bincount(faces, minlength=4).div(4000).tolist() == pytest.approx([1 / 8, 3 / 8, 0, 1 / 2], abs=0.03)
    assert (k.min(), k.max()) == (0, 109) and abs(k.float().mean() - 54.5) < 2
    again = EvenBatches(torch.tensor([1.0, 3.0, 0.0, 4.0]), 80, seed=1, stage="cnn").at(17)
    assert all(torch.equal(a, b) for a, b in zip(again, drawn[17], strict=True)) and not torch.equal(drawn[16][0], drawn[17][0])


def test_balanced_evens_out_what_a_person_shows(tiny_prepared, fold):
    """Of one expression half the faces are taken away. Seen red: the field without effect."""
    rare = (fold.train["expression"] == "anger") & (fold.train["frame"] == 2)
    lopsided = replace(fold, train=fold.train[~rare].reset_index(drop=True))
    shares = []
    for balanced in (False, True):
        stage = stage_of(lopsided, tiny_prepared, balanced=balanced)
        labels = torch.cat([batch_at(stage, step).expression for step in range(200)])
        shares.append((labels == 0).float().mean().item())
    assert shares == pytest.approx([1 / 5, 1 / 3], abs=0.04)


# --- confusion of the person


def test_the_features_run_from_the_classifier_that_learns_on_them(fold, tiny_prepared):
    """Gradients by hand: what names people moves by its own cross-entropy, the CNN by the expression and w times the confusion. Seen
    red, each: nothing detached on either side; the weight left out; the loss of a uniform target turned round."""
    stage = stage_of(fold, tiny_prepared, confusion=0.3)
    cnn, people, batch = stage.learner.network.train(), stage.learners["person"].network[0], batch_at(stage, 0)
    stage.losses(stage.row(0))["cnn"].backward()
    found = [cnn.fc.weight.grad.clone(), people.weight.grad.clone()]
    features = cnn.features(batch.x)
    named, labels = people(features).log_softmax(1), stage.identity[batch.faces]
    own = -named[torch.arange(8), labels].mean()
    expression = F.cross_entropy(cnn.classify(features, batch.dropout), batch.expression)
    expected = [torch.autograd.grad(expression - 0.3 * named.mean(), cnn.fc.weight, retain_graph=True)[0]]
    expected.append(torch.autograd.grad(own, people.weight)[0])
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)


def test_who_is_shown_is_learned_and_resumed_and_left_out_of_what_predicts(fold, tiny_prepared):
    """Seen red, each: the classifier of the person not moved; not in the checkpoint; saved with the weights."""
    changes = {"confusion": 0.1, "mixup": 0.2, "members": 2, "average_half_kimg": 0.02}
    one, two = (stage_of(fold, tiny_prepared, **changes) for _ in range(2))
    before = one.learners["person"].network[1].weight.clone()
    losses = do(one, 0)
    assert set(losses) == {"cnn", "expression", "person", "confusion"} and losses["cnn"].item() == pytest.approx(
        (losses["expression"] + losses["person"] + 0.1 * losses["confusion"]).item())
    assert not torch.equal(one.learners["person"].network[1].weight, before)
    two.restore(Checkpoint(1, {name: tensor.clone() for name, tensor in one.tensors().items()}, {}), "memory")
    assert do(two, 1)["person"].item() == do(one, 1)["person"].item()
    assert all(name.startswith("cnn/members.") for name in one.weights())


def test_confusion_and_swapped_identities_exclude_each_other():
    with pytest.raises(ConfigError, match=r"cnn.confusion and cnn.identity_swap are both set; set one of them to 0"):
        replace(preset("smoke").cnn, confusion=0.1, identity_swap=0.5)


# --- swapped identities


class FlatViews(Views):
    """View k of face n is flat: 1 + k times its level."""

    def __init__(self, levels):
        super().__init__(len(levels), 1, CPU)
        self.levels = torch.tensor(levels)

    def batch(self, faces, k):
        return (self.levels[faces] * (1 + k))[:, None, None, None].expand(-1, 1, 96, 96)


def swapped(swap, x, faces, k):
    """Return the views after both halves of a swap: who becomes whom, and the change of the pixels."""
    return swap(x, swap.person[faces], swap.draw(faces, k, stream(0, "a")), k)


def test_a_swapped_face_has_the_other_mean_in_its_own_view():
    """Two people, whose means in view 7 are 0.08 and 0.40. Seen red, each: the signs turned; its own person drawn; the centre view's
    mean; no clamp; a sum for a mean."""
    nothing = torch.zeros(4, dtype=torch.int64)
    swap = IdentitySwap(FlatViews([0.0, 0.02, 0.03, 0.07]), torch.tensor([0, 0, 1, 1]), nothing, 48, 1.0, "mean")
    x = torch.tensor([0.0, 0.9, -0.9, 0.3])[:, None, None, None].expand(4, 1, 48, 48)
    out = swapped(swap, x, torch.arange(4), torch.full((4,), 7))
    assert out.shape == (4, 1, 48, 48) and out[:, 0, 5, 5].tolist() == pytest.approx([0.32, 1.0, -1.0, -0.02], abs=1e-3)


def test_a_persons_effect_leaves_the_expression_out():
    """Brightness is 0.1 a person and 0.05 an expression, and each of two people shows two of three expressions: the means differ by
    0.05 too much, the effects by nothing. Seen red: the means in place of the effects; person and expression changed over."""
    person, expression = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 2])
    views = FlatViews((0.1 * person + 0.05 * expression).tolist())
    moved = {}
    for part in ("mean", "effect"):
        swap = IdentitySwap(views, person, expression, 48, 1.0, part)
        moved[part] = swapped(swap, torch.zeros(2, 1, 48, 48), torch.tensor([0, 2]), torch.zeros(2, dtype=torch.int64))[:, 0, 0, 0]
    assert moved["mean"].tolist() == pytest.approx([0.15, -0.15], abs=1e-3)
    assert moved["effect"].tolist() == pytest.approx([0.10, -0.10], abs=1e-3)


def test_a_share_of_the_views_is_swapped_with_every_other_person(fold, tiny_prepared):
    """Seen red: the share without effect; always the next person."""
    people = torch.arange(5).repeat_interleave(200)
    swap = IdentitySwap(FlatViews([0.1 * person for person in people.tolist()]), people, torch.zeros_like(people), 48, 0.3, "mean")
    x = torch.zeros(1000, 1, 48, 48)
    moved = (swapped(swap, x, torch.arange(1000), torch.zeros(1000, dtype=torch.int64))[:, 0, 5, 5] * 10).round().int()
    assert (moved != 0).float().mean().item() == pytest.approx(0.3, abs=0.05) and not x.any()
    assert {(person, int(step)) for person, step in zip(people.tolist(), moved, strict=True)} == {
        (person, other - person) for person in range(5) for other in range(5)
    }
    stage, plain = stage_of(fold, tiny_prepared, identity_swap=0.5), stage_of(fold, tiny_prepared)
    changed = (batch_at(stage, 3).x != batch_at(plain, 3).x).flatten(1).any(1)
    assert 0 < changed.sum() < 8 and torch.equal(batch_at(stage, 3).x, batch_at(stage, 3).x)
