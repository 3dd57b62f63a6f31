"""Steps are drawn a tick at a time and computed row by row; a step that is recorded and repeated gives the same bits, in every stage."""

from dataclasses import replace

import pytest
import torch

from fer_data.faces.views import N_VIEWS
from fer_data.store.loader import GpuViews
from fer_model import plan
from fer_model.check_device import EXPRESSIONS, noise_faces, noise_fold
from fer_model.config import preset, resolve_budgets
from fer_model.engine import capture, checkpoint, distributed
from fer_model.engine.steps import Steps
from fer_model.job import Job
from fer_model.stages.inputs import StageInputs
from fer_model.stages.registry import STAGES
from fer_model.train import train
from tests.graph_emulator import Emulator
from tests.test_model_engine import Stop, quiet, small, smoke, stop_at, ticks_of

CPU = torch.device("cpu")
STEPS, SAVED = 14, 6                  # done in all; done when it is saved


def cnn(**changes):
    config = preset("smoke", method="cnn", fold=1)
    return replace(config, cnn=replace(config.cnn, **changes))


def deae(**changes):
    """Return a configuration whose critics, without training, already have opinions."""
    config = smoke("deae")
    network, critics = replace(config.network, init_std=0.2), replace(config.critics, pairs=2)
    return replace(config, network=network, critics=critics, recogniser=replace(config.recogniser, **changes))


def cosine(config, *stages):
    """Return the configuration with step sizes that are others in every step."""
    return replace(config, **{name: replace(getattr(config, name), lr_schedule="cosine", weight_decay=0.01) for name in stages})


def averaged(config, stage):
    """Return the configuration with a moving average of the weights of a stage."""
    return replace(config, **{stage: replace(getattr(config, stage), average_half_kimg=0.02)})


# What is trained, its configuration, and how many recordings it takes.
STAGE_CASES = {
    "gan, both phases": (("gan",), cosine(replace(preset("smoke"), gan=replace(preset("smoke").gan, targets="any")), "gan"), 1),
    "gan, D rests": (("gan",), smoke(), 2),
    "gan in bf16": (("gan",), replace(smoke(), precision="bf16"), 2),
    "gan, people unknown": (("gan",), cosine(preset("smoke", method="pretrain", fold=None), "gan"), 1),
    "judges": (("judges",), preset("smoke"), 1),
    "judge, people unknown": (("judges",), preset("smoke", method="pretrain", fold=None), 1),
    "head": (("gan", "head"), cosine(smoke(), "head"), 1),
    "autoencoder": (("critics", "ae"), deae(), 2),
    "recogniser": (("critics", "ae", "recogniser"), deae(least_agreement=1 / 3), 1),
    "cnn": (("cnn",), cosine(cnn(dropout=0.5, mixup=0.3, stronger_views=0.6, average_half_kimg=0.02), "cnn"), 1),
    "cnn, members and confusion": (("cnn",), cnn(dropout=0.5, members=2, confusion=0.1, balanced=True), 1),
    "cnn, identities swapped": (("cnn",), cnn(identity_swap=0.6, swap_part="effect"), 1),
    "iacnn": (("iacnn",), smoke("iacnn"), 1),
    "derl": (("neutral",), cosine(averaged(smoke("derl"), "neutral"), "neutral"), 1),
    "derl's head": (("neutral", "head"), smoke("derl"), 1),
}
STAGE_CASES = {name: (stages, small(config), recordings) for name, (stages, config, recordings) in STAGE_CASES.items()}


def made(stages, config):
    """Return the last of these stages, fresh, on views that are rendered as a GPU renders them; the others are not trained.

    For method pretrain the people are unknown.
    """
    fold = noise_fold()
    if config.method == "pretrain":
        fold = replace(fold, identities=(), train=fold.train.assign(subject=""))
    neutral = GpuViews(noise_faces()[:: len(EXPRESSIONS)])
    inputs = StageInputs(resolve_budgets(config, len(fold.train)), fold, GpuViews(noise_faces()), CPU, neutral=neutral)
    for name in stages[:-1]:
        inputs = inputs.after(STAGES[name].make(inputs))
    return STAGES[stages[-1]].make(inputs)


def copied(stage):
    return {name: tensor.clone() for name, tensor in stage.tensors().items()}


def trained(stage, steps, first, end):
    """Do steps in ticks of two, as the loop does; return the losses of each, and what the log says besides."""
    found = []
    for step in range(first, end, 2):
        found += [{name: loss.clone() for name, loss in one.items()} for one in steps.do(step, step + 2)]
        found[-1] |= {name: torch.tensor(value) for name, value in stage.review(step + 2).items()}
    return found


def same(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("case", STAGE_CASES)
def test_a_step_that_is_repeated_gives_the_same_bits(case):
    """Losses and everything that is saved, with rows, step sizes and phases that change; and after a checkpoint was taken back into the
    stage that repeats. Seen red, each: step size, average's share or dropout's key computed in Python; a phase, or the pair of critics,
    not in the kind; weights or Adam's state replaced by a checkpoint's; what recording does not undone, of a count too."""
    stages, config, recordings = STAGE_CASES[case]
    plain, stage, emulator = made(stages, config), made(stages, config), Emulator()
    steps = Steps(stage, emulator)
    expected = trained(plain, Steps(plain), 0, STEPS)
    found = trained(stage, steps, 0, SAVED)
    saved = checkpoint.Checkpoint(SAVED, copied(stage), stage.facts() and {**stage.facts(), "intervals": dict(stage.intervals)})
    trained(stage, steps, SAVED, SAVED + 4)                              # steps that are lost
    stage.restore(saved, "memory")
    found += trained(stage, steps, SAVED, STEPS)
    assert len(emulator.operations) == recordings and min(emulator.operations) > 100
    for step, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert mine.keys() == theirs.keys() and same(mine, theirs) == [], step
    assert same(stage.tensors(), plain.tensors()) == []


def test_a_dry_run_measures_no_recording(monkeypatch):
    """Of two kinds of step, nor what is made once for each view. Seen red, each: the second kind recorded between two looks at the clock;
    faces rendered there."""
    for case, there, expected in (
        ("autoencoder", lambda stage, emulator: len(emulator.operations), 2),
        ("cnn, identities swapped", lambda stage, emulator: len(stage.swap._known), N_VIEWS),
    ):
        stages, config, _ = STAGE_CASES[case]
        stage, emulator, looks = made(stages, config), Emulator(), []
        monkeypatch.setattr(plan, "recorder_for", lambda _, emulator=emulator: emulator)
        monkeypatch.setattr(plan, "wait_for", lambda _, given=(there, stage, emulator, looks): given[3].append(given[0](*given[1:3])))
        assert plan._images_per_s(stage) > 0
        assert looks == [expected, expected]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "stage", "step"), [("degan", "gan", 5), ("deae", "recogniser", 11)])
def test_a_run_whose_steps_are_repeated_ends_in_the_same_bits(tiny_prepared, tmp_path, monkeypatch, method, stage, step):
    """Weights, log and predictions of all stages, stopped and resumed, next to those of a run of steps one by one."""
    monkeypatch.setattr("fer_data.store.loader.CpuViews", lambda faces: GpuViews(torch.from_numpy(faces)[:, None].contiguous()))
    job = Job(tiny_prepared, tmp_path / "plain", replace(smoke(method), fold=1))
    train(job, "cpu", say=quiet)
    emulators = []
    monkeypatch.setattr("fer_model.engine.loop.recorder_for", lambda _: emulators.append(Emulator()) or emulators[-1])
    job = replace(job, run=tmp_path / "repeated")
    with pytest.raises(Stop):
        train(job, "cpu", say=quiet, hook=stop_at(stage, step), save_every_s=0)
    train(job, "cpu", say=quiet, save_every_s=0)
    assert len(emulators) > 2 and all(emulator.operations for emulator in emulators)
    for path in sorted((tmp_path / "plain").glob("*.safetensors")):
        assert same(checkpoint.read_tensors(path), checkpoint.read_tensors(job.run / path.name)) == [], path.name
    assert ticks_of(job.run) == ticks_of(tmp_path / "plain")
    assert (job.run / "predictions.csv").read_bytes() == (tmp_path / "plain" / "predictions.csv").read_bytes()


def test_what_a_tick_draws_is_what_its_steps_draw_and_is_small():
    """Every number, to the bit, whatever was drawn before."""
    stages, config, _ = STAGE_CASES["recogniser"]
    stage = made(stages, config)
    steps = Steps(stage)
    drawn = steps.draw(4, 6)
    for step, row in enumerate(drawn.rows, 4):
        found, alone = steps.layout.split(row), made(stages, config).row(step)
        assert found.keys() == alone.keys() and same(found, alone) == []
        assert all(found[name].dtype == alone[name].dtype and found[name].shape == alone[name].shape for name in alone)
    paper = preset("paper")
    small = {"local_channels": 1, "local_features": 8}                   # what is drawn does not depend on the networks' size
    random = {"dropout": 0.5, "local_dropout": 0.5, "stronger_views": 0.5, "mixup": 0.2}
    config = replace(paper, network=replace(paper.network, width=0.05), head=replace(paper.head, **small, **random))
    for stages, most in ((("gan",), 3.5e6), (("gan", "head"), 1e6)):
        stage = made(stages, config)
        tick = Steps(stage).draw(0, 1).rows.nbytes * stage.config.tick_steps
        assert tick < most, f"{stage.name}: {tick / 1e6:.1f} MB a tick"


def test_adam_is_told_of_recording_where_steps_are_recorded_alone(monkeypatch):
    """Elsewhere it warns in a run's first step. Seen red, each: told on every GPU; never told, which Adam refuses while it is recorded."""
    monkeypatch.setattr(capture, "CudaGraphs", lambda device: device)
    gpu = torch.device("cuda", 0)
    for repeatable, processes, recorded in ((False, 1, None), (True, 2, None), (True, 1, gpu)):
        stage = made(("gan",), smoke())
        stage.device, stage.repeatable = gpu, repeatable
        monkeypatch.setattr(distributed, "size", lambda processes=processes: processes)
        assert capture.recorder_for(stage) == recorded
        told = {group["capturable"] for learner in stage.learners.values() for group in learner.adam.param_groups}
        assert told == {recorded is not None}
    assert capture.recorder_for(made(("gan",), smoke())) is None, "on a CPU"


def test_the_losses_of_a_recording_are_read_once(monkeypatch):
    """However many steps repeated it: each reading waits for the GPU. Seen red: 6 readings of one."""
    steps, reads, cpu = Steps(made(("gan",), smoke()), Emulator()), [], torch.Tensor.cpu
    steps.most = 6
    steps.start(steps.draw(0, 6))
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", lambda tensor: reads.append(tensor) or cpu(tensor))
        losses = steps.read()
    assert len(losses) == 6 and len(reads) == len(steps.recordings) == 1


def test_steps_are_drawn_while_those_before_are_computed(monkeypatch):
    """In what is measured as in training; each once. Seen red: drawn after those before had been read."""
    steps, seen = Steps(made(("gan",), smoke())), []
    for name in ("draw", "start", "read"):
        real = getattr(steps, name)
        monkeypatch.setattr(steps, name, lambda *given, name=name, real=real: seen.append(name) or real(*given))
    most = steps.most
    assert len(steps.do(3, 3 + 2 * most + 1)) == 2 * most + 1 and steps.do(9, 9) == []
    assert seen == ["draw", "start", "draw", "read", "start", "draw", "read", "start", "read"]
