"""Stage 1: which network moves when, codes and noise, the schedule, the sheet."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine.randomness import stream
from fer_model.networks import Discriminator, build, spectral
from fer_model.stages.gan import PHASES, GanBatch, GanStage, at_rest, draw_codes
from fer_model.stages.inputs import StageInputs
from fer_model.stages.sample_sheet import GAP, sheet
from tests.stepping import do

CPU = torch.device("cpu")


def gan(prepared, **changes):
    """Return a fresh stage on fold 0 with fields of its configuration changed."""
    fold = read_prepared(prepared).fold(0)
    views = open_views(prepared, fold.train)
    config = resolve_budgets(preset("smoke"), len(fold.train))
    return GanStage(StageInputs(replace(config, gan=replace(config.gan, **changes)), fold, views, CPU))


@pytest.fixture
def stage(tiny_prepared):
    return gan(tiny_prepared)


def state(module):
    """Return copies of all weights and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(module, before):
    """Return which of the tensors changed."""
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def batch_of(stage, n=8):
    """Return a batch with fakes that still have their graph."""
    faces = torch.arange(n)
    x = torch.rand(n, 1, 48, 48, generator=stream(0, "x")) * 2 - 1
    target, noise = draw_codes(stage.identity_cpu[faces], len(stage.fold.identities), 4, "other", stream(0, "c"))
    fake = stage.generator(x, stage.codes(target), noise)
    return GanBatch(x, fake, stage.expression[faces], stage.identity[faces], target)


def test_phase_d_moves_the_discriminator_alone(stage):
    """Weights, BN statistics, gradients."""
    batch = batch_of(stage)
    g, d = state(stage.generator), state(stage.discriminator)
    stage._phase(PHASES[0], batch)
    assert moved(stage.generator, g) == set()
    assert moved(stage.discriminator, d) == {name for name in d if "num_batches" not in name}, "every weight and every running statistic"
    assert all(weight.grad is None for weight in stage.generator.parameters())


def test_phase_g_moves_the_generator_alone(stage):
    """Seen red, each: D's weights had gradients, as none were asked for by name; D's running statistics moved."""
    batch = batch_of(stage)
    g, d = state(stage.generator), state(stage.discriminator)
    stage._phase(PHASES[1], batch)
    assert moved(stage.discriminator, d) == set()
    assert all(weight.grad is None for weight in stage.discriminator.parameters())
    still = {name for name in g if "running" in name or "num_batches" in name}    # the first moved when the fakes were made
    assert moved(stage.generator, g) == set(g) - still


def test_a_network_at_rest_goes_on_as_before(stage):
    norms = [m for m in stage.discriminator.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with pytest.raises(ZeroDivisionError), at_rest(stage.discriminator):
        assert not any(norm.track_running_stats for norm in norms)
        raise ZeroDivisionError
    assert all(norm.track_running_stats for norm in norms)


def test_every_phase_trains_a_learner_and_says_why(stage):
    assert [phase.name for phase in PHASES] == ["D", "G"]
    assert {phase.trains for phase in PHASES} == set(stage.learners) and all(phase.intent for phase in PHASES)


def test_fakes_are_made_once_per_step(stage):
    """D learns from the fakes that G is judged by: G has not moved in between. Seen red: fakes not detached, their graph was gone."""
    calls = []
    stage.generator.register_forward_hook(lambda *_: calls.append(1))
    do(stage, 0)
    assert calls == [1]


def test_no_face_of_the_test_fold_is_an_identity(tiny_prepared):
    """Seen red: identities of the whole manifest, 6 in place of 4."""
    stage = gan(tiny_prepared)
    assert stage.fold.identities == ("tiny/S001", "tiny/S002", "tiny/S004", "tiny/S005")
    assert set(stage.fold.test["subject"]) == {"S000", "S003"}
    assert stage.discriminator.identity.out_features == stage.generator.decoder.inputs[1] == 4


def test_codes_ask_for_any_identity_but_the_own_one_evenly():
    """Seen red: `target >= identity` as `>` asked for the own one."""
    n = 5
    identity = torch.arange(n).repeat(4000)
    target, noise = draw_codes(identity, n, 3, "other", stream(0, "x"))
    counts = np.zeros((n, n), int)
    np.add.at(counts, (identity.numpy(), target.numpy()), 1)
    assert (np.diag(counts) == 0).all()
    assert counts[~np.eye(n, dtype=bool)] == pytest.approx(1000, abs=5 * np.sqrt(1000))
    own = draw_codes(identity, n, 3, "any", stream(0, "x"))[0] == identity
    assert own.float().mean().item() == pytest.approx(1 / n, abs=0.02)
    assert noise.shape == (4000 * n, 3) and -1 <= noise.min() < -0.99 and 0.99 < noise.max() <= 1
    assert noise.mean().abs() < 0.02


def test_discriminator_rests_when_it_is_strong_and_works_again_when_it_is_not(tiny_prepared):
    """Real expression, real identity, fakes: their mean counts. Seen red: the smallest of the three in its place."""
    stage = gan(tiny_prepared, d_strong_above=0.9, d_interval_strong=4)

    def trained_at(steps):
        return [step for step in steps if "D" in do(stage, step)]

    assert trained_at(range(3)) == [0, 1, 2]
    stage.accuracy.copy_(torch.tensor([1.0, 0.99, 0.72]))                # mean 0.9033
    assert trained_at([3]) == [3], "the schedule changes on ticks only"
    stage.accuracy.copy_(torch.tensor([1.0, 0.99, 0.72]))
    assert stage.review(0)["interval_D"] == 4
    assert trained_at(range(4, 13)) == [4, 8, 12]
    stage.accuracy.copy_(torch.tensor([1.0, 0.99, 0.70]))                # mean 0.8967
    assert stage.review(0)["interval_D"] == 1 and trained_at(range(13, 15)) == [13, 14]


def test_running_accuracy_is_the_mean_that_it_says(tiny_prepared):
    """By hand from the logits of each step. Seen red: 1 - d_memory and d_memory the other way round."""
    stage = gan(tiny_prepared, d_memory=0.75)
    seen, judge = [], stage._judge
    stage._judge = lambda faces: seen.append(judge(faces)) or seen[-1]
    expected = torch.zeros(3)
    for step in range(3):
        seen.clear()
        do(stage, step)
        faces, _ = stage.batches.at(step)
        (real_e, real_i), (fake_e, _) = seen[:2]                         # phase D comes first
        now = [
            (real_e.argmax(1) == stage.expression[faces]).float().mean(), (real_i.argmax(1) == stage.identity[faces]).float().mean(),
            (fake_e.argmax(1) == 3).float().mean(),
        ]
        expected = 0.75 * expected + 0.25 * torch.stack(now)
    assert stage.accuracy.tolist() == pytest.approx(expected.tolist())


def test_bn_sees_real_and_synthesised_faces_apart(stage):
    """What D says of real faces does not depend on the fakes of the step. Seen red: one batch of both."""
    batch = batch_of(stage)
    with at_rest(stage.discriminator), torch.no_grad():
        alone = stage._judge(batch.x)[0]
    batches, judge = [], stage._judge
    stage._judge = lambda faces: batches.append(judge(faces)) or batches[-1]
    with at_rest(stage.discriminator):
        list(stage._discriminator(batch))
    assert torch.equal(batches[0][0], alone)


def test_sheet_shows_inputs_in_rows_and_identities_in_columns(stage):
    """Seen red: no gap between columns; the generator left in evaluation mode."""
    picture = sheet(stage)
    n_expressions, n_identities, cell = 3, 4, 48 + GAP
    assert picture.shape == ((1 + n_expressions) * cell, (1 + n_identities) * cell) and picture.dtype == np.uint8
    assert (picture[:48, :48] == 255).all(), "no face in the corner"
    first = [stage.fold.train["expression"].tolist().index(name) for name in stage.fold.classes]
    views = stage.views.batch(torch.tensor(first), torch.zeros(3, dtype=torch.int64))
    for row, face in enumerate(views, 1):
        expected = ((torch.nn.functional.avg_pool2d(face, 2)[0] + 1) * 127.5).round().numpy()
        assert np.abs(picture[row * cell : row * cell + 48, :48] - expected).max() <= 1
    assert stage.generator.training, "training goes on as before"


def test_sheet_marks_the_cells_that_training_has_not(stage):
    """The second person without the first expression. Seen red: cells that training has marked; people and expressions exchanged."""
    cell, who = 48 + GAP, stage.fold.identities[1].split("/")[1]
    gone = (stage.fold.train["subject"] == who) & (stage.fold.train["expression"] == stage.fold.classes[0])
    stage.fold = replace(stage.fold, train=stage.fold.train[~gone])
    stage.views.batch, batch = (lambda faces, k: batch(torch.from_numpy(np.flatnonzero(~gone))[faces], k)), stage.views.batch
    corners = sheet(stage)[cell::cell, cell:].reshape(3, 4, cell)[:, :, 40:48]
    assert np.argwhere((corners == 255).all(2)).tolist() == [[0, 1]]


def test_losses_of_the_first_step_are_those_of_a_blind_discriminator(stage):
    """3 expressions and fake, 4 people: log 4 each, as weights of N(0, 0.02) know nothing yet."""
    losses = do(stage, 0)
    for name in ("D_expression", "D_fake", "D_identity", "G_expression", "G_identity"):
        assert losses[name].item() == pytest.approx(np.log(4), abs=0.15), name


@pytest.fixture
def spectral_stage(tiny_prepared):
    fold = read_prepared(tiny_prepared).fold(0)
    config = resolve_budgets(preset("smoke"), len(fold.train))
    config = replace(config, network=replace(config.network, d_spectral_norm=True))
    return GanStage(StageInputs(config, fold, open_views(tiny_prepared, fold.train), CPU))


def test_spectral_norm_divides_by_the_largest_singular_value_and_rests_in_the_generators_phase(spectral_stage):
    """Against numpy's singular values. Seen red: without the norm (0.36 to 1.6); power iteration going on in phase G."""
    d, batch = spectral_stage.discriminator, batch_of(spectral_stage)
    for _ in range(30):
        spectral_stage._judge(batch.x)                                   # power iteration comes near in training mode
    for weight in (d.expression.weight, d.trunk.layers["conv31"][0].weight):
        largest = np.linalg.svd(weight.detach().flatten(1).numpy(), compute_uv=False)[0]
        assert largest == pytest.approx(1, abs=0.02)
    before = state(d)
    spectral_stage._phase(PHASES[1], batch)
    assert moved(d, before) == set()
    assert all(module.training for module in d.modules())


def test_spectral_norm_draws_where_weights_are_drawn(spectral_stage):
    """On the CPU, before the network goes to its device: every device starts from the same numbers. Seen red: finished after."""
    network, devices = spectral_stage.run.network, set()

    def finish(made):
        devices.update(tensor.device.type for tensor in made.state_dict().values())
        return spectral(made, stream(1, "u"))

    made = build(lambda: Discriminator(network, 3, 4), torch.device("meta"), 0.02, stream(0, "d"), finish)
    assert devices == {"cpu"} and {tensor.device.type for tensor in made.state_dict().values()} == {"meta"}
    assert any(name.endswith("._v") for name in made.state_dict())


def test_spectral_norm_draws_from_its_own_generator(spectral_stage, monkeypatch):
    """Seen red: without fork_rng; without the seed; the generators of GPUs seeded too, which nothing takes back."""
    network = spectral_stage.run.network
    made = [build(lambda: Discriminator(network, 3, 4), CPU, 0.02, stream(0, "d")) for _ in range(2)]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("GPUs were seeded"))
    first = spectral(made[0], stream(1, "u"))
    assert torch.equal(torch.rand(3), expected)
    second = spectral(made[1], stream(1, "u"))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
