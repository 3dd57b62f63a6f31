"""Stage 2 and the baseline: the encoder stands still, predictions stand alone, eight pictures can be learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine.checkpoint import Checkpoint
from fer_model.engine.randomness import stream
from fer_model.errors import RunError
from fer_model.networks import Encoder, build
from fer_model.stages.classifier import probabilities
from fer_model.stages.cnn import CnnStage
from fer_model.stages.head import HeadStage
from fer_model.stages.inputs import StageInputs
from tests.stepping import do

CPU = torch.device("cpu")


@pytest.fixture
def fold(tiny_prepared):
    return read_prepared(tiny_prepared).fold(0)


@pytest.fixture
def views(tiny_prepared, fold):
    return open_views(tiny_prepared, fold.train)


def encoder_of(config, std=0.05):
    """Return an encoder whose BN statistics are not those of a fresh one."""
    encoder = build(lambda: Encoder(config.network), CPU, std, stream(3, "encoder")).train()
    for step in range(3):
        encoder(torch.rand(8, 1, 48, 48, generator=stream(step, "x")) * 2 - 1)
    return encoder


def stages(fold, views, **changes):
    """Return both classifiers, fresh."""
    config = resolve_budgets(preset("smoke"), len(fold.train))
    config = replace(config, head=replace(config.head, **changes), cnn=replace(config.cnn, **changes))
    inputs = StageInputs(config, fold, views, CPU, trained={"gan": {"encoder": encoder_of(config)}})
    return {"head": HeadStage(inputs), "cnn": CnnStage(inputs)}


def test_the_encoder_stands_still_in_stage_two(fold, views):
    """Weights and running statistics. Seen red: .train() in the place of .eval()."""
    stage = stages(fold, views)["head"]
    before = {name: tensor.clone() for name, tensor in stage.encoder.state_dict().items()}
    head = {name: tensor.clone() for name, tensor in stage.learner.network.state_dict().items()}
    for step in range(4):
        do(stage, step)
    stage.predict(views)
    do(stage, 4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in stage.encoder.state_dict().items())
    assert not stage.encoder.training and not any(weight.requires_grad for weight in stage.encoder.parameters())
    now = stage.learner.network.state_dict()
    assert all(not torch.equal(tensor, head[name]) for name, tensor in now.items() if "num_batches" not in name)


@pytest.mark.parametrize("name", ["head", "cnn"])
@pytest.mark.parametrize("batch", [1, 7, 128])
def test_a_prediction_does_not_depend_on_the_batch_it_is_in(fold, views, name, batch):
    """Same class, |difference| < 1e-5. Seen red: BN in training mode; the batch's mean taken off the logits."""
    stage = stages(fold, views)[name]
    for step in range(8):
        do(stage, step)
    whole = stage.predict(views, batch=len(fold.train))
    found = stage.predict(views, batch=batch)
    assert whole.dtype == torch.float32 and torch.equal(found.argmax(1), whole.argmax(1))
    assert (found - whole).abs().max() < 1e-5 and whole.sum(1).allclose(torch.ones(len(whole)))


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_a_prediction_does_not_depend_on_its_neighbours(fold, tiny_prepared, views, name):
    """The same rows shuffled."""
    stage = stages(fold, views)[name]
    for step in range(8):
        do(stage, step)
    shuffled = fold.train.sample(frac=1, random_state=1)
    there = stage.predict(open_views(tiny_prepared, shuffled), batch=7)
    here = stage.predict(views, batch=7)[torch.tensor(shuffled.index.to_numpy())]
    assert torch.equal(there.argmax(1), here.argmax(1)) and (there - here).abs().max() < 1e-5


def test_predictions_are_made_from_the_centre_view_in_fp32(fold, views):
    """Unrotated, unflipped; never bf16, whatever training was. Seen red: view 1."""
    asked = []
    batch = views.batch
    views.batch = lambda faces, k: asked.append(k) or batch(faces, k)
    stage = stages(fold, views)["cnn"]
    stage.run = replace(stage.run, precision="bf16")
    kinds = []
    first = next(module for module in stage.learner.network.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_hook(lambda _, __, out: kinds.append(out.dtype))
    stage.predict(views)
    assert torch.cat(asked).unique().tolist() == [0] and set(kinds) == {torch.float32}


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_answers_that_are_not_finite_are_no_prediction(fold, views, name):
    """The last step may do it, after the last loss was looked at. Seen red: every face was called the first class."""
    stage = stages(fold, views)[name]
    with torch.no_grad():
        stage.learner.network.classifier.bias[1] = torch.nan
    with pytest.raises(RunError, match=r"the answers for 24 of 24 faces are not finite: the weights have diverged"):
        stage.predict(views)


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_eight_pictures_can_be_learned_by_heart(fold, views, name):
    """Seen red: labels that go round by one in every step."""
    stage = stages(fold, views, lr=3e-3, kimg=2)[name]
    order = torch.tensor([0, 2, 4, 6, 8, 10, 12, 14])
    stage.batches[0].at = lambda step: (order, torch.zeros_like(order))
    for step in range(60):
        losses = do(stage, step)
    assert list(losses.values())[-1].item() < 0.1, "L5 of the head, the only loss of the baseline"
    found = probabilities(stage.logits, views, 48)[order]
    stage.learner.network.train()
    assert torch.equal(found.argmax(1), stage.expression[order])


def test_dropout_is_off_when_predicting_and_the_same_when_resumed(fold, views):
    one, two = (stages(fold, views, dropout=0.5)["head"] for _ in range(2))
    for step in range(3):
        do(one, step)
    saved = {name: tensor.clone() for name, tensor in one.tensors().items()}
    two.restore(Checkpoint(3, saved, {}), "memory")
    assert do(two, 3)["L5"].item() == do(one, 3)["L5"].item()
    assert torch.equal(one.predict(views), one.predict(views))


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_the_averaged_weights_are_the_ones_that_are_used(fold, views, name):
    """Half-life of one step, by hand. Seen red: the learner's own weights predicted and saved; the average not moved."""
    stage = stages(fold, views, average_half_kimg=0.008)[name]
    first = next(iter(stage.learner.network.state_dict()))
    expected = stage.learner.network.state_dict()[first].clone()
    for step in range(3):
        do(stage, step)
        share = 1 - 0.5 ** (0.008 / min(0.008, 0.1 * 0.008 * (step + 1)))
        expected += share * (stage.learner.network.state_dict()[first] - expected)
    torch.testing.assert_close(stage.weights()[f"{name}/{first}"], expected)
    before = stage.predict(views)
    with torch.no_grad():
        for weight in stage.learner.network.parameters():
            weight.zero_()
    assert torch.equal(stage.predict(views), before)


def test_the_mean_prediction_is_that_of_the_five_softmaxes(fold, views):
    """In numpy. Seen red: the mean of the logits; four in place of five."""
    config = resolve_budgets(preset("smoke"), len(fold.train))
    x = torch.rand(6, 1, 48, 48, generator=stream(0, "x")) * 2 - 1
    for how in ("joined", "mean"):
        changed = replace(config, head=replace(config.head, prediction=how))
        stage = HeadStage(StageInputs(changed, fold, views, CPU, trained={"gan": {"encoder": encoder_of(config, 0.2)}}))
        five = [one.double().softmax(1) for one in stage.learner.network.eval()(*stage._encode(stage.encoder, x))]
        expected = five[-1] if how == "joined" else sum(five) / 5
        torch.testing.assert_close(stage.logits(x).softmax(1).double(), expected, rtol=1e-4, atol=1e-6)


def test_a_tuned_encoder_moves_and_its_statistics_do_not(fold, views):
    """Seen red: without its learner; in training mode."""
    stage = stages(fold, views)["head"]
    config = replace(stage.run, head=replace(stage.config, encoder_lr=1e-3))
    stage = HeadStage(StageInputs(config, fold, views, CPU, trained={"gan": {"encoder": stage.encoder}}))
    before = {name: tensor.clone() for name, tensor in stage.encoder.state_dict().items()}
    do(stage, 0)
    still = {name for name, tensor in stage.encoder.state_dict().items() if torch.equal(tensor, before[name])}
    assert still == {name for name in before if name.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")}
    assert torch.equal(stage.weights()["encoder/layers.conv11.0.weight"], stage.encoder.layers["conv11"][0].weight)


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_mixtures_are_learned_with_the_shares_of_both_labels(fold, views, name):
    """The loss in numpy: share * CE(own) + (1 - share) * CE(neighbour), smoothed. Seen red: the own label alone; the whole neighbour."""
    stage, asked = stages(fold, views, mixup=0.4, label_smoothing=0.1)[name], []
    stage.learner.network.classifier.register_forward_hook(lambda _, __, out: asked.append(out))
    loss = list(do(stage, 3).values())[-1].item()
    log_p, labels = asked[0].detach().double().log_softmax(1).numpy(), stage.expression[stage.batches[0].at(3)[0]].numpy()
    seed = int(torch.randint(2**31, (), generator=stream(0, f"{name}/mixup", 3)))
    share = np.random.default_rng(seed).beta(0.4, 0.4, 8)
    smoothed = 0.9 * np.eye(3) + 0.1 / 3
    wanted = share[:, None] * smoothed[labels] + (1 - share[:, None]) * smoothed[labels[[1, 0, 3, 2, 5, 4, 7, 6]]]      # (8, 3)
    assert loss == pytest.approx(-(wanted * log_p).sum(1).mean(), rel=1e-5)
