"""DE-AE: what each sample is compared with, the conditional decoder, and the baseline's network on synthesised faces."""

from dataclasses import replace

import pytest
import torch

import fer_model
from fer_data.store.loader import open_views
from fer_model.config import NetworkConfig, RecogniserConfig, preset, resolve_budgets, with_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint
from fer_model.engine.randomness import stream
from fer_model.errors import ConfigError, ShapeError
from fer_model.job import Job
from fer_model.networks import ConditionalDecoder, build
from fer_model.probe.features import samples_of
from fer_model.runs.folder import RunFolder
from fer_model.runs.trained import load_run
from fer_model.stages.autoencoder import OWN, SEEN, AutoencoderStage, Partners
from fer_model.stages.classifier import view_inputs
from fer_model.stages.cnn import CnnStage
from fer_model.stages.critics import Critics, CriticsStage
from fer_model.stages.inputs import StageInputs
from fer_model.stages.recogniser import RecogniserStage
from fer_model.sweep import Sweep, grid, plan_sweep
from fer_model.train import train
from fer_model.use.export import export
from tests.stepping import batch_at, do

CPU = torch.device("cpu")
NETWORK = NetworkConfig(image_size=16, width=0.125, representation=6)


@pytest.fixture(scope="module")
def fold(tiny_prepared):
    """Fold 0: four people, three expressions; one cell, (first person, first expression), is taken away."""
    whole = read_prepared(tiny_prepared).fold(0)
    gone = (whole.train["subject"] == whole.train["subject"].iloc[0]) & (whole.train["expression"] == whole.classes[0])
    assert gone.any()
    return replace(whole, train=whole.train[~gone].reset_index(drop=True))


@pytest.fixture
def inputs(fold, tiny_prepared):
    """What stages are made from, with critics that are not trained."""
    config = resolve_budgets(preset("smoke", method="deae"), len(fold.train))
    start = StageInputs(config, fold, open_views(tiny_prepared, fold.train), CPU)
    return start.after(CriticsStage(start))


def with_autoencoder(inputs):
    return inputs.after(AutoencoderStage(inputs))


def changed(inputs, **of_recogniser):
    config = replace(inputs.config, recogniser=replace(inputs.config.recogniser, **of_recogniser))
    return replace(inputs, config=config)


# --- stage 1


def test_each_sample_is_compared_with_what_its_role_says(fold):
    """Seen red, each: people of `seen` drawn from all; a partner of `seen` with any expression; `own` another face of the person."""
    partners, n = Partners(fold), len(fold.train)
    expression, identity = fold.expression_labels(CPU), fold.identity_labels(CPU)
    asked = set()
    for step in range(40):
        faces = torch.randint(n, (16,), generator=stream(1, "faces", step))
        drawn = partners.draw(faces, torch.zeros_like(faces), stream(0, "a", step))
        role = torch.arange(16) % 4
        assert torch.equal(identity[drawn.partner], drawn.target)
        own, seen = role == OWN, role == SEEN
        assert torch.equal(drawn.partner[own], faces[own]) and torch.equal(drawn.target[own], identity[faces[own]])
        assert torch.equal(expression[drawn.partner[seen]], expression[faces[seen]])
        free = ~own & ~seen
        asked |= set(zip(drawn.target[free].tolist(), expression[faces[free]].tolist(), strict=True))
    assert len(asked) == len(fold.identities) * len(fold.classes)        # the cell that training does not have, too


def test_the_decoder_listens_to_person_and_representation_and_to_no_noise():
    """Seen red, each: f(x) not standardised; the embedding left out; noise added."""
    decoder = build(lambda: ConditionalDecoder(NETWORK, 4, 5), CPU, 0.3, stream(0, "decoder")).train()
    f, code, noise = torch.randn(8, 6, generator=stream(0, "f")), torch.eye(5)[torch.arange(8) % 5], torch.ones(8, 50)
    made = decoder(f, code)
    assert made.shape == (8, 1, 16, 16) and made.abs().max() <= 1
    assert torch.equal(decoder(f, code, noise), made)
    assert torch.allclose(decoder(100 * f + 7, code), made, atol=1e-3)   # only how f(x) differs within the batch counts
    assert (decoder(f, code.roll(1, 0)) - made).abs().mean() > 1e-3
    assert (decoder(f.flip(0), code) - made).abs().mean() > 1e-3
    with pytest.raises(ShapeError, match=r"decoder input identity code: dimension 1 must be 5, got 4"):
        decoder(f, code[:, :4])


def test_people_begin_twice_as_far_apart_as_representations():
    """Seen red, each: the embedding's weights of N(0, 0.02); f(x) not scaled by its length."""
    decoder = build(lambda: ConditionalDecoder(NETWORK, 64, 200), CPU, 0.02, stream(0, "decoder"))
    assert decoder.embedding.weight.std().item() == pytest.approx(1, abs=0.05)
    assert decoder.fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    length = decoder.f_scale * NETWORK.representation**0.5               # of f(x), once each of its values has deviation 1
    assert length == pytest.approx(decoder.embedding.weight.norm(dim=0).mean().item() / 2, rel=0.05)


def test_each_loss_moves_what_it_is_for(inputs):
    """With all other weights at 0. Seen red: a loss multiplied by another's weight; features of cells without a target compared."""
    for name in ("pixels", "features", "exchange", "expression"):
        weights = dict.fromkeys(("pixels", "features", "exchange", "expression"), 0.0) | {name: 1.0}
        stage = AutoencoderStage(replace(inputs, config=replace(inputs.config, ae=replace(inputs.config.ae, lr=3e-3, **weights))))
        first = do(stage, 0)
        assert all((float(value) > 0) == (key in ("ae", f"ae_{name}")) for key, value in first.items())
        for _ in range(25):
            last = do(stage, 0)                                         # the same batch again
        assert last["ae"] < 0.9 * first["ae"], name


def test_critics_take_turns_and_do_not_move(fold, inputs):
    config = replace(inputs.config, critics=replace(inputs.config.critics, pairs=2))
    start = replace(inputs, config=config, trained={})
    after = start.after(CriticsStage(start))
    assert set(after.trained["critics"]) == {"expression0", "identity0", "expression1", "identity1"}
    critics = Critics(after.trained["critics"])
    assert critics.pair(0) != critics.pair(1)
    assert CriticsStage.learned_from(fold, config).all()                 # the judges keep some faces back
    before = {name: {k: v.clone() for k, v in network.state_dict().items()} for name, network in critics.networks.items()}
    stage = AutoencoderStage(after)
    assert [stage.kind(step) for step in range(4)] == [0, 1, 0, 1]
    for step in range(4):
        do(stage, step)
    assert all(torch.equal(v, before[name][k]) for name, network in critics.networks.items() for k, v in network.state_dict().items())


class Looking:
    """A critic with three layers. It remembers what it was shown."""

    layers = (lambda x: x, lambda x: x + 5, lambda x: (x + 5) ** 2)

    def __init__(self):
        self.shown = []

    def scales(self, x):
        self.shown.append(x.detach())
        return [layer(x) for layer in self.layers]


def test_losses_by_hand_and_what_each_critic_is_shown(inputs):
    """Without a target the expression critic is shown x, the person critic one of that person; their first layer does not count.

    Seen red, each: the partner for x; all layers; samples with a target; another person's face weighed like the own; pixels without
    their means; features not in parts of the wanted ones.
    """
    config = replace(inputs.config, critics=replace(inputs.config.critics, stronger_views=0.0))
    stage = AutoencoderStage(replace(inputs, config=replace(config, ae=replace(config.ae, pixels=1.0, features=1.0, exchange=1.0))))
    pair = Looking(), Looking()
    stage.critics.pair = lambda number: pair
    drawn = stage.partners.draw(*stage.batches.at(0), stream(0, "ae/partners", 0))
    x, partner = (view_inputs(stage.views, faces, drawn.k, stage.run.network.image_size) for faces in (drawn.faces, drawn.partner))
    found = do(stage, 0)
    (made, shows_y), (again, shows_person) = (critic.shown for critic in pair)
    aimed = torch.arange(len(x)) % 4 <= SEEN
    assert torch.equal(made, again) and torch.equal(shows_person, partner)
    assert torch.equal(shows_y[aimed], partner[aimed]) and torch.equal(shows_y[~aimed], x[~aimed]) and not torch.equal(x, partner)

    def apart(wanted, which, first):
        each = [(layer(made[which]), layer(wanted[which])) for layer in Looking.layers[first:]]
        return sum(((one - other).abs().mean() / other.abs().mean()).item() for one, other in each) / len(each)

    whole, last = apart(partner, aimed, 0), (apart(x, ~aimed, 1) + apart(partner, ~aimed, 1)) / 2
    assert (found["ae_features"].item(), found["ae_exchange"].item()) == pytest.approx((whole, last), rel=0.02)
    pixels = []
    for i in torch.nonzero(aimed).flatten().tolist():
        off = made[i] - partner[i]                                       # (C, S, S)
        means = off.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).mean((2, 4))
        pixels.append((off.abs().mean() + means.abs().mean()).item() / 2 * (0.5 if i % 4 == SEEN else 1))
    assert found["ae_pixels"].item() == pytest.approx(sum(pixels) / len(pixels), rel=1e-4)


# --- taken over


def test_stage_1_is_taken_over_with_its_critics_and_its_costs(tiny_prepared, tmp_path):
    """And gives the run that trained all of it. Seen red: without the critics."""
    config = with_budgets(preset("smoke", method="deae", fold=1), critics=0.4)           # costs are told in tenths of a second
    for name, gan in (("whole", None), ("taken", tmp_path / "whole")):
        train(Job(tiny_prepared, tmp_path / name, config, gan=gan), "cpu", say=lambda _: None)
    names = ("critics.safetensors", "ae.safetensors", "recogniser.safetensors", "predictions.csv", "samples.png")
    assert all((tmp_path / "taken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)
    theirs, ours = (RunFolder(tmp_path / name).read_result()["stages"] for name in ("whole", "taken"))
    for stage in ("critics", "ae"):
        assert ours[stage]["taken_from"] == str(tmp_path / "whole") and theirs[stage]["processor_seconds"] > 0
        assert all(ours[stage][name] == value for name, value in theirs[stage].items())
    assert "taken_from" not in ours["recogniser"]


def test_a_sweep_over_methods_shares_what_is_the_same_stage_1(tiny_prepared, tmp_path):
    """deae-head takes that of deae; nothing is taken from degan. Seen red: planned with a stage 1 that is not there
    yet; the kind of stage 1 out of what decides."""
    points = grid({"preset": "smoke"}, None, ["method=degan,deae,deae-head"])
    found = plan_sweep(Sweep(tiny_prepared, tmp_path / "s", points, (1,), (0,)), devices=("cpu",))
    assert (found.n_left, found.n_taking) == (3, 1) and [len(one.stages) for one in found.plans] == [3, 4, 4]


# --- used


def test_what_is_loaded_and_exported_of_it(tiny_prepared, tmp_path):
    """Stage 1 gives the encoder that is probed, and G; what is exported is what predicts. Seen red: the encoder in the exported file."""
    run = tmp_path / "r"
    train(Job(tiny_prepared, run, preset("smoke", method="deae")), "cpu", say=lambda _: None)
    trained = load_run(run, "cpu")
    assert set(trained.networks) == {"encoder", "recogniser"} and type(trained.generator.decoder) is ConditionalDecoder
    assert samples_of(trained, None)[0].features["recogniser"].shape[1] == trained.config.recogniser.features
    tensors = checkpoint.read_tensors(export(run, "safetensors").path)
    assert {name.partition("/")[0] for name in tensors} == {"recogniser"}
    assert fer_model.load(run / "model.safetensors", "cpu", "none").recipe.classes == trained.classes


# --- the recogniser


def test_without_synthesised_faces_the_recogniser_is_the_baseline(inputs):
    """Bit for bit. Seen red: random numbers drawn under its own name."""
    inputs = changed(with_autoencoder(inputs), synthesised=0.0, dropout=0.5)
    baseline = replace(inputs, config=replace(inputs.config, cnn=replace(inputs.config.cnn, dropout=0.5)))
    ours, theirs = RecogniserStage(inputs), CnnStage(baseline)
    for step in range(4):
        do(ours, step)
        do(theirs, step)
    mine = {name.removeprefix("recogniser/"): tensor for name, tensor in ours.weights().items()}
    assert all(torch.equal(mine[name.removeprefix("cnn/")], tensor) for name, tensor in theirs.weights().items())


def test_a_share_of_each_batch_is_synthesised_if_the_critics_agree(inputs):
    """Seen red, each: everything replaced; faces without agreement replaced; the own person drawn from all."""
    ready = with_autoencoder(inputs)
    plain = batch_at(RecogniserStage(changed(ready, synthesised=0.0)), 0).x
    half = batch_at(RecogniserStage(changed(ready, synthesised=0.5)), 0).x
    assert (half[:4] != plain[:4]).flatten(1).any(1).all() and torch.equal(half[4:], plain[4:])
    never = RecogniserStage(changed(ready, synthesised=0.5, least_agreement=0.999))
    assert torch.equal(batch_at(never, 0).x, plain) and never.review(1) == {"agreed": 0.0} and never.review(1) == {}
    own = RecogniserStage(changed(ready, synthesised=0.5, people="own"))
    faces, _ = own.batches[0].at(0)
    code = torch.eye(len(own.fold.identities))[own.identity[faces[:4]]]
    assert torch.equal(batch_at(own, 0).x[:4], own.generator(plain[:4], code, None))


def test_confusion_of_the_person_is_refused_where_another_person_is_shown():
    """Seen red: without the check."""
    with pytest.raises(ConfigError, match=r"recogniser.confusion and recogniser.synthesised are both set; set one of them to 0"):
        RecogniserConfig(confusion=0.1)
    with pytest.raises(ConfigError, match=r"recogniser.confusion and recogniser.identity_swap are both set"):
        RecogniserConfig(confusion=0.1, identity_swap=0.5, synthesised=0.0)
