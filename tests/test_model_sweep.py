"""Sweeps: combinations, folders, stage 1 that is shared, what an interruption costs, the table."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from fer_data.store.loader import open_views
from fer_model import sweep as library
from fer_model.config import preset
from fer_model.data.fold import read_prepared
from fer_model.errors import ConfigError, RunError
from fer_model.evaluate.run_table import evaluate_run, evaluate_runs
from fer_model.runs.folder import RunFolder
from fer_model.sweep import Point, PointFigures, Sweep, Swept, default_sweep, grid, plan_sweep, sweep
from tests.commands import call, call_in_one_line
from tests.model_runs import write_fold

TINY = {"cnn": ["cnn.kimg=0.016"], "degan": ["gan.kimg=0.016", "head.kimg=0.016", "judges.kimg=0.008"]}
CPU = ("cpu",)


def quiet(line):
    pass


def points(*sets, method="cnn", **named):
    return grid({"preset": "smoke", "method": method, **named}, None, [*sets, *TINY[method]])


def test_a_grid_is_every_combination_in_order(tmp_path):
    """Seen red: the last setting varying slowest; a list cut at its commas."""
    found = points("gan.lr=1e-4,2e-4", "gan.betas=[0,0.9],[0.5,0.999]", "network.residual=no,yes", method="degan")
    assert len(found) == 8 and list(found[0].values) == ["gan.lr", "gan.betas", "network.residual"]
    assert [tuple(one.values.values()) for one in found[:3]] == [
        (1e-4, (0.0, 0.9), False), (1e-4, (0.0, 0.9), True), (1e-4, (0.5, 0.999), False),
    ]
    assert found[3].config.gan.betas == (0.5, 0.999) and found[3].config.network.residual and found[3].config.preset == "smoke"
    assert grid({}, None, [])[0].config == preset("small")
    with pytest.raises(ConfigError, match=r"gan.lr must be a number, not ''"):
        points("gan.lr=1e-4,", method="degan")


@pytest.mark.parametrize(("sets", "name", "folder"), [
    (["method=cnn", "cnn.lr=2e-3,1e-3"], "cnn-smoke-sweep-cnn.lr", "cnn-cnn.lr1e-3-seed1"),
    (["preset=smoke,small"], "degan-sweep-preset", "small-degan-seed1"),
    (["method=degan,cnn"], "methods-smoke-sweep-method", "cnn-seed1"),
    (["fold_rule=manifest,shuffled"], "degan-smoke-sweep-fold_rule", "degan-shuffled0-seed1"),
    ([], "degan-smoke-sweep", "degan-seed1"),
    (["head.variant=taps,f-svm"], "degan-smoke-sweep-head.variant", "degan-f-svm-seed1"),
])
def test_folders_hold_what_varies_even_where_it_is_the_presets_value(sets, name, folder, tiny_prepared, tmp_path):
    """Seen red: two presets in one folder."""
    found = grid({} if "preset" in str(sets) else {"preset": "smoke"}, None, sets)
    assert str(default_sweep(Sweep(tiny_prepared, tmp_path, found))) == f"runs/tiny-{name}"
    assert Sweep(tiny_prepared, tmp_path, found).folder(found[-1], 1) == tmp_path / folder
    assert len({Sweep(tiny_prepared, tmp_path, found).folder(point, seed) for point in found for seed in (0, 1)}) == 2 * len(found)


def test_a_sweep_that_was_interrupted_resumes(tiny_prepared, tmp_path, monkeypatch):
    """Two settings of two values; stopped behind the second run. Seen red: complete runs trained again."""
    asked = Sweep(tiny_prepared, tmp_path / "s", points("cnn.lr=1e-3,2e-3", "cnn.dropout=0,0.5"), (1,))
    before = library.train_tasks
    monkeypatch.setattr(library, "train_tasks", lambda tasks, *more: _stopped(before, tasks, *more))
    with pytest.raises(KeyboardInterrupt):
        sweep(asked, devices=CPU, say=quiet)
    done = {path: path.stat().st_mtime_ns for path in asked.path.rglob("result.json")}
    assert len(done) == 2 and not (asked.path / "sweep.json").exists()
    monkeypatch.setattr(library, "train_tasks", before)
    plan = plan_sweep(asked, devices=CPU)
    assert (plan.n_runs, plan.n_left, plan.n_taking) == (4, 2, 0) and plan.hours > 0
    found = sweep(asked, devices=CPU, say=quiet)
    assert (found.passed_over, found.failed) == (2, ()) and all(path.stat().st_mtime_ns == time for path, time in done.items())
    content = json.loads((asked.path / "sweep.json").read_text())
    assert content == json.loads(json.dumps(found.to_json()))
    assert content["points"][3]["settings"] == {"cnn.lr": 2e-3, "cnn.dropout": 0.5} and content["kimg"] == pytest.approx(0.064)
    said = call(
        "sweep", "--data", tiny_prepared, "--run", asked.path, "--method", "cnn", "--preset", "smoke", "--kimg-cnn", 0.016,
        "--set", "cnn.lr=1e-3,2e-3", "--set", "cnn.dropout=0,0.5", "--folds", "1", "--devices", "cpu",
    )
    assert "complete; 4 runs complete before" in said and "Together 4 runs, 0.064 kimg" in said
    assert "chosen on the test folds" in said


def _stopped(train, tasks, *more):
    train(tasks[:2], *more)
    raise KeyboardInterrupt


def test_combinations_that_share_stage_1_train_it_once(tiny_prepared, tmp_path):
    """The second of two heads takes it from the first. Seen red: trained twice; taken from another seed's run."""
    asked = Sweep(tiny_prepared, tmp_path / "s", points("head.dropout=0,0.5", method="degan"), (1,), (0, 1))
    plan = plan_sweep(asked, devices=CPU)
    assert (plan.n_left, plan.n_taking, len(plan.plans)) == (4, 2, 1)
    found = sweep(asked, devices=CPU, say=quiet)
    assert not found.failed
    for seed in (0, 1):
        first, second = (asked.folder(point, seed) / "fold1" for point in asked.points)
        assert RunFolder(second).read_result()["stages"]["gan"]["taken_from"] == str(first)
        assert (first / "gan.safetensors").read_bytes() == (second / "gan.safetensors").read_bytes()
        assert "taken_from" not in RunFolder(first).read_result()["stages"]["gan"]
    one, two = found.points
    assert one.costs.kimg == two.costs.kimg == pytest.approx(0.032)
    assert (one.spent()[0], two.spent()[0]) == pytest.approx((0.064, 0.032))


def test_folds_of_a_combination_are_compared_and_with_other_data_the_whole_sweep_is_named(write_tiny, tmp_path):
    """A combination's folder is a cross-validation, which `evaluate` takes as a whole, fold 0 with fold 1.

    Seen red, each: a fold of other settings trained next to it; the folder of the first combination alone named.
    """
    data = write_tiny(tmp_path / "prepared")
    asked = Sweep(data, tmp_path / "s", points("cnn.lr=1e-3,2e-3"), (0,))
    sweep(asked, devices=CPU, say=quiet)
    other = Sweep(data, asked.path, points("cnn.lr=1e-3,2e-3", preset="small"), (1,))
    first = asked.folder(asked.points[0], 0)
    with pytest.raises(ConfigError, match=rf"{re.escape(str(first))}/fold0: .* was .*, or remove {re.escape(str(first))} to start"):
        plan_sweep(other, devices=CPU)
    shutil.rmtree(data)
    write_tiny(data, seed=1)
    with pytest.raises(ConfigError, match=rf"has changed since the run .*{re.escape(f'or remove {asked.path} to start again')}"):
        plan_sweep(asked, devices=CPU)


@pytest.mark.slow
def test_several_at_once_wait_for_the_stage_1_that_they_take(tiny_prepared, tmp_path):
    """In processes; a seed that is given twice counts once. Seen red: all runs started at once."""
    asked = Sweep(tiny_prepared, tmp_path / "s", points("head.dropout=0,0.3,0.5", method="degan"), (1,), (0, 0))
    found = sweep(asked, 3, CPU, quiet)
    assert not found.failed and [len(point.runs) for point in found.points] == [1, 1, 1] and asked.seeds == (0,)
    taken = {RunFolder(run).read_result()["stages"]["gan"].get("taken_from") for point in found.points[1:] for _, run in point.runs}
    assert taken == {str(found.points[0].runs[0][1])}


def test_a_run_that_fails_is_named_and_the_others_are_shown(tiny_prepared, tmp_path):
    """Here its loss is not finite. Seen red: the error raised at once; a table that counts the missing run."""
    found = sweep(Sweep(tiny_prepared, tmp_path / "s", points("cnn.lr=1e-3,1e30"), (0,)), devices=CPU, say=quiet)
    (run, why), *rest = found.failed
    assert not rest and run.parent.name.endswith("cnn.lr1e30") and "diverged" in why
    assert [len(point.runs) for point in found.points] == [1, 0] and found.points[1].evaluation is None
    assert "evaluation" not in found.to_json()["points"][1]
    with pytest.raises(RunError, match="1 run is not complete, the first is"):
        found.refuse_failed()


def test_a_seed_in_a_file_is_trained_with_or_refused(tiny_prepared, tmp_path):
    """A list that `fer-model config` printed has 0, and is no wish. Seen red: trained with seed 0 in silence."""
    found = points("cnn.lr=1e-3,2e-3", seed=1)
    with pytest.raises(ConfigError, match="seed is 1, and --seeds 0,2; give --seeds 1, or leave the seed out of the file"):
        Sweep(tiny_prepared, tmp_path, found, seeds=(0, 2))
    assert Sweep(tiny_prepared, tmp_path, found, seeds=(1,)).seeds == (1,)
    assert Sweep(tiny_prepared, tmp_path, points("cnn.lr=1e-3,2e-3"), seeds=(1, 2)).seeds == (1, 2)


@pytest.mark.parametrize("held", ["config.json", "fold0/config.json", "holiday/me.jpg"])
def test_a_folder_of_something_else_is_no_place_for_a_sweep(held, tiny_prepared, tmp_path):
    """A run, a cross-validation, anything. Seen red: without the check, folders of combinations next to fold0."""
    (tmp_path / held).parent.mkdir(exist_ok=True)
    (tmp_path / held).write_text("{}")
    with pytest.raises(RunError, match=f"must be empty or hold a sweep, it holds {held.split('/')[0]}; choose another --run"):
        plan_sweep(Sweep(tiny_prepared, tmp_path, points("cnn.lr=1e-3,2e-3")), devices=CPU)


@pytest.fixture(scope="module")
def seen_before(others, tmp_path_factory):
    """A complete run of pre-training of the baseline on other people."""
    run = tmp_path_factory.mktemp("seen") / "p"
    call("pretrain", "--method", "cnn", "--data", others, "--run", run, "--preset", "smoke")
    return run


CHOOSING = ("validation_share=0.4", "selection=validation")


def test_choosing_by_validation_opens_no_test_face(tiny_prepared, seen_before, tmp_path, monkeypatch):
    """From a start as from random weights; whichever module asks. Two folds, two values, two seeds.

    Seen red, each: the test fold predicted; one more look at it after the last step.
    """
    opened, test = [], {fold: set(read_prepared(tiny_prepared).fold(fold).test["image_id"]) for fold in (0, 1)}

    def watched(data, rows, device="cpu"):
        opened.append(set(rows["image_id"]))
        return open_views(data, rows, device)

    for name, module in list(sys.modules.items()):
        if name.startswith("fer_model") and hasattr(module, "open_views"):
            monkeypatch.setattr(module, "open_views", watched)
    asked = Sweep(tiny_prepared, tmp_path / "s", points("cnn.carried_lr=0.03,0.1", *CHOOSING), (0,), (0, 1), seen_before)
    for fold in (0, 1):
        opened.clear()
        found = sweep(replace(asked, folds=(fold,)), devices=CPU, say=quiet)
        assert len(opened) == 2 * 4 and not any(rows & test[fold] for rows in opened)
        assert not found.failed and all(point.evaluation is None and point.validation.n == 2 for point in found.points)
    found = sweep(replace(asked, folds=(0, 1)), devices=CPU, say=quiet)
    assert found.passed_over == 8 and not list(asked.path.rglob("predictions.csv"))
    table, content = found._table(), found.to_json()
    assert [column.header for column in table.columns][:3] == ["settings", "runs", "validation"]
    assert "±" in next(iter(table.columns[2].cells)) and "no test fold was opened" in content["caution"]
    for point, entry in zip(found.points, content["points"], strict=True):
        results = [RunFolder(run).read_result() for _, run in point.runs]
        each = [result["stages"]["cnn"]["validation_accuracy"] for result in results]
        assert (point.validation.n, point.validation.mean) == (4, pytest.approx(sum(each) / 4))
        assert entry["validation_accuracy"] == point.validation.mean and "evaluation" not in entry
        assert all(set(result["rules"]) == {"epoch", "pre_training", "tested"} for result in results)
        assert all("people" in result["init"] and "evaluation" not in result for result in results)


def test_what_was_not_tested_is_no_figure_of_a_fold(tiny_prepared, seen_before, tmp_path):
    """Nor is it resumed as a run that is. Seen red: without the check, a file of predictions that is not there; without
    a word of where the people who choose are tested."""
    words = ("--data", tiny_prepared, "--method", "cnn", "--preset", "smoke", "--init", seen_before)
    sets = [word for one in (*CHOOSING, "cnn.kimg=0.016") for word in ("--set", one)]
    said = call("sweep", *words, *sets, "--set", "cnn.frozen=0,1", "--folds", "0", "--run", tmp_path / "s", "--devices", "cpu")
    assert "no test fold was opened" in said and "validation" in said and "per frame" not in said.split("settings")[1]
    assert "set aside in one fold is tested in another" in " ".join(said.split())
    run = next((tmp_path / "s").glob("cnn-pretrained-validation-*cnn.frozen1"))
    for path in (run, run / "fold0"):
        for doing in (("evaluate", path), ("report", path, "-o", tmp_path / "out")):
            assert "its test fold stayed closed, there are no figures" in call_in_one_line(*doing, code=1)
    said = call_in_one_line("train", *words, *sets, "--set", "cnn.frozen=1", "--fold", 0, "--run", run / "fold0", code=1)
    assert "tested was False when the run was started and is True now" in said
    said = call_in_one_line("train", *words, "--fold", 0, "--set", "tested=no", code=1)
    assert "tested is false in `fer-model sweep --selection validation`" in said
    with pytest.raises(ConfigError, match="tested is false, selection last; nothing would be seen: it must be validation"):
        preset("smoke", tested=False)
    said = call("sweep", *words, *sets, "--set", "cnn.frozen=0,1", "--dry-run")
    assert "test faces stay closed" in said
    both = Sweep(tiny_prepared, tmp_path / "b", points("selection=last,validation", "validation_share=0.4"), (0,), (0,), seen_before)
    assert all(point.config.tested for point in both.points), "one that is not chosen by validation can only be tested"
    assert default_sweep(both).name == f"tiny-cnn-pretrained-smoke-{both.points[0].config.init[:8]}-sweep-selection"
    heads = Sweep(tiny_prepared, tmp_path, (Point({"head.variant": "taps"}, preset("smoke", init="ab")),))
    assert default_sweep(heads).name == "tiny-degan-pretrained-smoke-ab-sweep-head.variant"


def test_the_pairs_of_iacnn_are_swept_as_the_baseline_is(tiny_prepared, tmp_path):
    """Its weights reach the loss: what is learned differs. Seen red: a contrast of 0.1 whatever is set."""
    sets = ("iacnn.contrast_expression=0.01,0.1", "iacnn.kimg=0.016", *CHOOSING)
    asked = Sweep(tiny_prepared, tmp_path / "s", grid({"preset": "smoke", "method": "iacnn"}, None, sets), (1,))
    found = sweep(asked, devices=CPU, say=quiet)
    assert not found.failed and [point.validation.n for point in found.points] == [1, 1]
    first, second = ((run / "iacnn.safetensors").read_bytes() for point in found.points for _, run in point.runs)
    assert first != second


def folds_of_3(content):
    content["n_folds"] = 3


def test_the_figures_of_a_combination_are_the_mean_of_its_seeds_over_all_its_folds(tmp_path):
    """Of runs that were written by hand: 3 folds, seeds 0 and 4, of which one fold is not complete.

    Seen red: seeds averaged fold by fold; the interval over rows in place of people; a stage that was taken over counted as spent.
    """
    for seed, share in ((0, 0.9), (4, 0.5)):
        for fold in range(3):
            stop = "gan" if (seed, fold) == (4, 2) else ""
            write_fold(tmp_path / f"seed{seed}" / f"fold{fold}", fold=fold, seed=seed, share=share, stop=stop, change=folds_of_3)
    complete = [(seed, tmp_path / f"seed{seed}" / f"fold{fold}") for seed in (0, 4) for fold in range(3) if (seed, fold) != (4, 2)]
    config = preset("smoke")
    found = PointFigures(Point({"gan.lr": 1e-4}, config), {0: tmp_path / "seed0", 4: tmp_path / "seed4"}, tuple(complete), 6)
    rows = evaluate_runs([tmp_path / "seed0", tmp_path / "seed4"]).rows
    alone = [entry.evaluation.frame_accuracy.value for entry in rows]
    shared = [sum(one.frame_accuracy.value for one in entry.pooled.by_fold[:2]) / 2 for entry in rows]      # of folds 0 and 1
    assert (found.seeds.n, found.seeds.mean, found.seeds.low) == (2, pytest.approx(sum(shared) / 2), pytest.approx(min(shared)))
    right, images = sum(round(value * n) for value, n in zip(alone, (108, 72), strict=True)), 180
    whole = found.evaluation
    assert whole.frame_accuracy.value == pytest.approx(right / images) and (whole.n_images, whole.n_subjects) == (108, 12)
    assert whole.frame_accuracy.low < whole.frame_accuracy.value < whole.frame_accuracy.high
    kimg, minutes = found.spent()
    assert found.costs.processor_minutes == pytest.approx(3) == found.to_json()["processor_minutes"]
    assert (kimg, minutes, found.costs.kimg, found.costs.minutes) == pytest.approx((5 * 0.128, 10, 0.128, 2))
    shown = Swept(tmp_path, 0, (), (found,))
    listed = replace(found, point=replace(found.point, values={"head.taps": ("conv12", "conv23")}))
    console = Console(width=200, file=io.StringIO())
    console.print(Swept(tmp_path, 0, (), (listed,)))
    assert "head.taps [conv12, conv23]" in console.file.getvalue(), "seen red: a list was markup and not shown"
    lines = "".join(shown._table().columns[1].cells), shown.to_json()["points"][0]
    assert lines[0] == "5 of 6" and (lines[1]["runs"], lines[1]["runs_complete"], lines[1]["validation_accuracy"]) == (6, 5, None)


def test_a_combination_that_lost_folds_shows_one_accuracy_and_says_so(tmp_path):
    """Seed 0 has three folds, seed 1 one, as where others diverged; another combination has all six.

    Seen red: 59.3%, the mean of two seeds of different folds, in front of the interval of all runs, which have 68.1%; no remark.
    """
    config, done = preset("smoke"), []
    for lr, folds_of in ((1e-4, {0: (0, 1, 2), 1: (0, 1, 2)}), (1e-2, {0: (0, 1, 2), 1: (2,)})):
        runs = tuple((seed, tmp_path / f"{lr}-seed{seed}" / f"fold{fold}") for seed, folds in folds_of.items() for fold in folds)
        for seed, path in runs:
            fold = int(path.name.removeprefix("fold"))
            write_fold(path, fold=fold, seed=seed, share=0.3 if fold == 2 else 0.95, change=folds_of_3)
        done.append(PointFigures(Point({"gan.lr": lr}, config), {seed: tmp_path / f"{lr}-seed{seed}" for seed in (0, 1)}, runs, 6))
    whole, part = done
    found, shown = Swept(tmp_path, 0, (), tuple(done)), io.StringIO()
    Console(width=200, file=shown).print(found)
    for point, cell in zip(done, found._table().columns[2].cells, strict=True):
        value, low, high = (100 * getattr(point.evaluation.frame_accuracy, name) for name in ("value", "low", "high"))
        assert cell == f"{value:.1f}% ± {100 * point.seeds.sd:.1f}\n({low:.1f} to {high:.1f})" and low < value < high
    of_fold_2 = [evaluate_run(tmp_path / f"0.01-seed{seed}" / "fold2").frame_accuracy.value for seed in (0, 1)]
    assert (part.seeds.low, part.seeds.high) == pytest.approx((min(of_fold_2), max(of_fold_2)))
    note = "gan.lr 0.01: 4 of 6 runs are complete; its figures are of these alone and do not compare with those of other folds."
    assert found.to_json()["notes"] == [note] and note in shown.getvalue()
    apart = replace(part, runs=(part.runs[0], part.runs[3]))             # fold 0 of one seed, fold 2 of the other
    assert apart.seeds is None and "±" not in next(iter(replace(found, points=(apart,))._table().columns[2].cells))
    assert apart.to_json()["frame_accuracy_of_seeds"] is None and whole.seeds.mean == pytest.approx(whole.evaluation.frame_accuracy.value)
