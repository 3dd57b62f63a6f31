"""IACNN: which pairs it is shown, what its losses hold together and apart, and that a run of it is used like any other."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.batches import Batches, PairBatches, pairs
from fer_model.data.fold import read_prepared
from fer_model.errors import ConfigError
from fer_model.job import Job
from fer_model.probe.features import samples_of
from fer_model.runs.methods import gather
from fer_model.runs.predictions import read_predictions
from fer_model.runs.trained import load_run
from fer_model.stages.iacnn import IacnnStage, _agreement
from fer_model.stages.inputs import StageInputs
from fer_model.train import train
from tests.stepping import batch_at, do

CPU = torch.device("cpu")
PERSON, EXPRESSION = torch.arange(24) // 4, torch.arange(24) % 4         # six people, four expressions, a face of each


@pytest.fixture
def fold(tiny_prepared):
    return read_prepared(tiny_prepared).fold(0)


def stage_of(fold, data, **changes):
    """Return the stage, fresh."""
    config = resolve_budgets(preset("smoke", method="iacnn"), len(fold.train))
    return IacnnStage(StageInputs(replace(config, iacnn=replace(config.iacnn, **changes)), fold, open_views(data, fold.train), CPU))


def shares_of(same_person, same_expression, steps=100):
    """Return the shares of the pairs that show one person, and one expression."""
    batches = PairBatches(PERSON, EXPRESSION, same_person, same_expression, 16, 0, "x")
    first, second = (torch.cat(part) for part in zip(*(pairs(batches.at(step)[0]) for step in range(steps)), strict=True))
    return [round(float((labels[first] == labels[second]).float().mean()), 2) for labels in (PERSON, EXPRESSION)]


def test_pairs_show_one_person_or_one_expression_as_often_as_told():
    """Any two faces show one person in 1 of 6 cases, one expression in 1 of 4. Seen red: the two shares exchanged; the rest drawn
    among faces of the same expression."""
    assert shares_of(1, 0)[0] == 1 and shares_of(0, 1)[1] == 1
    assert shares_of(0, 0) == pytest.approx([1 / 6, 1 / 4], abs=0.04)
    assert shares_of(0.5, 0.25) == pytest.approx([0.5 + 0.5 / 6, 0.25 + 0.75 / 4], abs=0.04)


def test_the_first_of_each_pair_comes_in_its_turn():
    """All views of all faces in a pass, as in any other stage. Seen red: both drawn."""
    batches, plain = PairBatches(PERSON, EXPRESSION, 0.2, 0.2, 16, 3, "x"), Batches(24, 8, 3, "x")
    for step in (0, 7, 400):
        found, expected = batches.at(step), plain.at(step)
        assert all(torch.equal(pairs(mine)[0], theirs) and len(mine) == 16 for mine, theirs in zip(found, expected, strict=True))
        assert all(torch.equal(*both) for both in zip(found, batches.at(step), strict=True)), "a function of the step"


def test_pairs_agree_by_hand():
    """Of faces 0 or 1; of mixtures, half of 0 and half of 1, half. Seen red: neighbours paired, which mixup mixes."""
    assert _agreement(torch.tensor([0, 1, 0, 2, 1, 1, 0, 1]), 3).tolist() == [1, 0, 0, 1]
    mixed = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    assert _agreement(mixed, 2).tolist() == [0.5, 0.5]


def test_each_branch_learns_what_it_is_named_for(fold, tiny_prepared):
    """Distances of all pairs of training faces: of one expression below the others in one branch, of one person in the other. Seen red:
    the labels of the branches exchanged; a contrast whose weight is 0 in the loss."""
    stage = stage_of(fold, tiny_prepared, lr=3e-3, batch=24, contrast_expression=4.0, contrast_identity=4.0)
    for step in range(60):
        do(stage, step)
    x, network = batch_at(stage, 0).x, stage.learner.network.eval()
    faces = batch_at(stage, 0).faces
    with torch.no_grad():
        for branch, labels in zip(network.branches(x), (stage.expression, stage.identity), strict=True):
            apart, same = torch.cdist(branch, branch), labels[faces][:, None] == labels[faces]
            assert apart[same & ~torch.eye(24, dtype=bool)].mean() < 0.6 * apart[~same].mean()


def test_a_run_is_used_like_any_other(tiny_prepared, tmp_path):
    """It is shown as many images as the baseline; its file predicts; both branches are probed; its mixtures have pairs too. Seen red: no
    entry among the stages that take the baseline's budget."""
    config = preset("smoke", method="iacnn", fold=1)
    job = Job(tiny_prepared, tmp_path / "run", replace(config, iacnn=replace(config.iacnn, mixup=0.4)))
    train(job, "cpu", say=lambda _: None)
    assert json.loads((job.run / "result.json").read_text())["stages"]["iacnn"]["kimg"] == 0.128
    assert [method.label for method in gather([job.run])] == ["IACNN"]
    trained, rows = load_run(job.run, "cpu"), read_prepared(tiny_prepared).fold(1).test
    found = read_predictions(job.run / "predictions.csv").filter(like="p_").to_numpy()
    np.testing.assert_allclose(trained.probabilities(open_views(tiny_prepared, rows)).numpy(), found, atol=1e-6)
    assert samples_of(trained, None)[0].features["iacnn"].shape[1] == 2 * 8


def test_what_cannot_be_paired_is_refused():
    smoke = preset("smoke").iacnn
    with pytest.raises(ConfigError, match=r"iacnn\.batch is 10; it must be a multiple of 4"):
        replace(smoke, batch=10)
    with pytest.raises(ConfigError, match="are shares of the pairs; together they must be at most 1"):
        replace(smoke, same_person=0.6, same_expression=0.6)
