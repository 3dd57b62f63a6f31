"""Health of stage 1: judges and numbers that say what they claim, and that training does not notice."""

import json
from dataclasses import replace

import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.stages.gan import GanStage
from fer_model.stages.health import Health
from fer_model.stages.inputs import StageInputs
from fer_model.stages.judges import JudgesStage, Verdicts, cells_seen, held_out, verdicts
from fer_model.stages.sample_sheet import Sheets
from tests.stepping import do

CPU = torch.device("cpu")
SHARES = ("both_right", "judged_expression", "judged_identity")
NAMES = {
    *SHARES, *(f"{name}_real" for name in SHARES), *(f"{name}_seen" for name in SHARES), "source_identity", "d_identity",
    "code_effect", "input_effect", "noise_effect", "kid_own",
}  # the tiny folder has no unseen cell


@pytest.fixture
def parts(tiny_prepared, tmp_path):
    """(config, fold, views, health) with judges that have been trained for a moment."""
    fold = read_prepared(tiny_prepared).fold(0)
    views = open_views(tiny_prepared, fold.train)
    config = resolve_budgets(preset("smoke"), len(fold.train))
    judges = JudgesStage(StageInputs(config, fold, views, CPU))
    for step in range(judges.steps):
        do(judges, step)
    with torch.no_grad():
        for weight in judges.networks()["expression"].parameters():
            weight.mul_(2)                                               # as loud as one that has been trained for long
    return config, fold, views, Health(StageInputs(config, fold, views, CPU).after(judges))


def trained(parts, *watchers):
    config, fold, views, _ = parts
    stage = GanStage(StageInputs(config, fold, views, CPU))
    for step in range(4):
        do(stage, step)
        for watcher in watchers:
            watcher.on_tick(stage, step + 1)
    return stage


def test_training_does_not_notice_that_it_is_watched(parts, tmp_path):
    """Bit-equal weights and BN statistics. Seen red: the generator left in evaluation mode by the watcher."""
    plain, watched = trained(parts), trained(parts, parts[3], Sheets(tmp_path, 0.001))
    for name, tensor in plain.tensors().items():
        assert torch.equal(tensor, watched.tensors()[name]), name


def test_looks_when_due_whatever_happened_before(parts, tmp_path):
    """Every 32 images: with ticks of 2 steps of 8 after steps 4 and 8, and after the last. Seen red: a counter in the watcher."""
    config, fold, views, health = parts
    stage, sheets = GanStage(StageInputs(replace(config, gan=replace(config.gan, kimg=0.08)), fold, views, CPU)), Sheets(tmp_path, 0.032)
    looked = [step for step in range(2, 11, 2) if health.on_tick(stage, step) | sheets.on_tick(stage, step)]
    assert looked == [4, 8, 10]
    assert health.on_tick(stage, 4).keys() == health.on_tick(stage, 8).keys() == NAMES, "a resumed run looks at the same steps"
    assert sorted(path.name for path in tmp_path.glob("samples/*")) == ["step-000004.png", "step-000008.png", "step-000010.png"]


def test_a_generator_that_ignores_the_code_has_no_code_effect(parts):
    """And one that ignores its input has no input effect. Seen red: the two axes the other way round."""
    config, fold, views, health = parts
    stage = GanStage(StageInputs(config, fold, views, CPU))
    n_f, n_i = config.network.representation, len(fold.identities)
    with torch.no_grad():
        for weight in stage.generator.parameters():
            if weight.ndim > 1:
                weight.mul_(6)                                           # N(0, 0.02) alone would draw a uniform grey
        stage.generator.decoder.fc.weight[:, n_f : n_f + n_i] = 0
    deaf = health.on_tick(stage, 8)
    assert deaf["code_effect"] < 1e-6 < 1e-3 < deaf["input_effect"]
    with torch.no_grad():
        stage.generator.decoder.fc.weight[:, n_f : n_f + n_i] = 1.0 * torch.eye(n_i).repeat(16 * 9 // n_i + 1, 1)[: 16 * 9]
        stage.generator.decoder.fc.weight[:, :n_f] = 0
    blind = health.on_tick(stage, 8)
    assert blind["input_effect"] < 1e-6 < 1e-3 < min(blind["code_effect"], blind["noise_effect"])
    with torch.no_grad():
        stage.generator.decoder.fc.weight[:, n_f + n_i :] = 0
    assert health.on_tick(stage, 8)["noise_effect"] < 1e-6


class Echo:
    """A generator whose synthesised faces are the inputs themselves."""

    def __init__(self, stage):
        self.encoder, self.decoder, self.training = stage.generator.encoder, stage.generator.decoder, False

    def __call__(self, x, code, noise):
        return x

    def eval(self):
        return self

    def train(self, _):
        return self


def test_a_generator_that_repeats_its_input_keeps_the_expression_and_no_distance(parts, monkeypatch):
    """judged_expression is then the judge's own accuracy on these faces; who is shown is the source person.
    Its KID is an unbiased estimate of 0: below that of a generator without training. Seen red: y^e and y^id2 the
    other way round; source and target exchanged."""
    config, fold, views, health = parts
    stage = GanStage(StageInputs(config, fold, views, CPU))
    noise = health.on_tick(stage, 8)
    health.identity = verdicts(health.judges, health.x).identity         # as if the judge knew everybody
    health.target = (health.identity + 1) % len(fold.identities)
    monkeypatch.setattr(GanStage, "finished", property(Echo))
    echo = health.on_tick(stage, 8)
    own = verdicts(health.judges, health.x).shares(health.expression, health.identity)
    assert echo["judged_expression"] == pytest.approx(own["judged_expression"], abs=1e-4)
    assert (echo["source_identity"], echo["judged_identity"]) == (1, 0)
    assert abs(echo["kid_own"]) < abs(noise["kid_own"])


def test_shares_by_hand():
    """Four faces, one judged right in both, one in each, one in none. Seen red: both right where one is; parts exchanged."""
    said = Verdicts(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 6, 5, 7]))
    expression, target, seen = torch.tensor([0, 0, 0, 0]), torch.tensor([5, 5, 5, 5]), torch.tensor([False, True, True, True])
    found = said.shares(expression, target, seen, source=torch.tensor([6, 6, 6, 7]))
    third = pytest.approx(1 / 3)
    assert found == {
        "both_right": 0.25, "both_right_seen": 0, "both_right_unseen": 1,
        "judged_expression": 0.5, "judged_expression_seen": third, "judged_expression_unseen": 1,
        "judged_identity": 0.5, "judged_identity_seen": third, "judged_identity_unseen": 1, "source_identity": 0.5,
    }
    assert "both_right_unseen" not in said.shares(expression, target, seen | True)


def test_judges_learn_from_no_held_out_sequence(write_tiny, tmp_path):
    """Whole cells, 15 % of 36, and everybody and every expression still learned; the last one of a kind stays. Seen red: frames drawn in
    place of cells; the faces of `kept` taken for those of the fold."""
    fold = read_prepared(write_tiny(tmp_path / "t", people=12, folds=4, expressions=("anger", "fear", "happiness", "surprise"))).fold(0)
    out, rows = held_out(fold.train, 3), fold.train
    assert (out == held_out(rows, 3)).all() and (out != held_out(rows, 4)).any()
    cells = rows[["subject", "expression"]].assign(out=out).groupby(["subject", "expression"])["out"]
    assert cells.nunique().max() == 1 and cells.first().sum() == round(0.15 * 9 * 4)
    assert rows[~out]["subject"].nunique() == 9 and rows[~out]["expression"].nunique() == 4
    lonely = rows.groupby("subject").head(2)                             # one cell each: nothing can be held out
    assert not held_out(lonely, 3).any()
    config = resolve_budgets(preset("smoke"), len(rows))
    stage = JudgesStage(StageInputs(config, fold, open_views(tmp_path / "t", rows), CPU))
    names = {name.split("#")[0] for step in range(200) for name in stage.samples(step)}
    assert names == set(rows["image_id"][~held_out(rows, config.seed)])


def test_cells_that_training_has(write_tiny, tmp_path):
    """By hand from the rows. Seen red: expressions of the wrong person."""
    fold = read_prepared(write_tiny(tmp_path / "t", people=9)).fold(1)
    fold = replace(fold, train=fold.train.drop(fold.train.index[[0, 1, 6, 7]]).reset_index(drop=True))      # a cell each of two people
    seen, shown = cells_seen(fold), set(zip(fold.train["subject"], fold.train["expression"], strict=True))
    found = {(who.split("/")[1], what) for i, who in enumerate(fold.identities) for j, what in enumerate(fold.classes) if seen[i, j]}
    assert found == shown
    assert seen.sum() == 16


def test_the_global_generator_is_left_alone(parts, monkeypatch):
    """torchmetrics draws its subsets from it. Seen red: without fork_rng; with that of every GPU, which opens a context on each;
    those of GPUs seeded, which nothing takes back."""
    config, fold, views, health = parts
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("GPUs were asked for their generators"))
    stage = GanStage(StageInputs(config, fold, views, CPU))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("GPUs were seeded"))
    first = health.on_tick(stage, 8)
    assert torch.equal(torch.rand(3), expected) and health.on_tick(stage, 8) == first


def test_average_of_the_generator_by_hand(tiny_prepared):
    """Half-life of one step: after each step half of the way. Seen red: share and 1 - share the other way round."""
    fold = read_prepared(tiny_prepared).fold(0)
    config = resolve_budgets(preset("smoke"), len(fold.train))
    config = replace(config, gan=replace(config.gan, average_half_kimg=0.008))
    stage = GanStage(StageInputs(config, fold, open_views(tiny_prepared, fold.train), CPU))
    name = "encoder.layers.conv11.1.running_mean"                        # BN's statistics are averaged as the weights are
    expected = stage.average.network.state_dict()[name].clone()
    for step in range(3):
        do(stage, step)
        share = 1 - 0.5 ** (0.008 / min(0.008, 0.1 * 0.008 * (step + 1)))
        expected = expected + share * (stage.generator.state_dict()[name] - expected)
    torch.testing.assert_close(stage.average.network.state_dict()[name], expected)
    assert stage.networks()["encoder"] is stage.average.network.encoder and stage.finished is stage.average.network


def test_a_run_writes_health_into_its_log_and_sheets_beside_it(tiny_prepared, tmp_path):
    from fer_model.job import Job
    from fer_model.train import train

    run = tmp_path / "run"
    outcome = train(Job(tiny_prepared, run, preset("smoke")), "cpu", say=lambda _: None)
    ticks = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    looked = [tick["step"] for tick in ticks if tick["event"] == "tick" and tick["stage"] == "gan" and "kid_own" in tick]
    assert looked == [4, 8] and sorted(path.name for path in (run / "samples").iterdir()) == ["step-000004.png", "step-000008.png"]
    result = json.loads((run / "result.json").read_text())
    assert list(result["stages"]) == ["gan", "head"], "the judges are no part of the method's budget"
    assert not outcome.was_complete
