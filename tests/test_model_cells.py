"""Missing cells: designs worked by hand, figures worked by hand, arms that are trained, resumed and kept apart from folds."""

import json
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from fer_data.labels import CK_PLUS_CODES, EXPRESSIONS
from fer_model import shortcut as library
from fer_model.config import preset
from fer_model.crossval import crossval
from fer_model.data.cells import deal
from fer_model.data.fold import people_of, read_prepared
from fer_model.errors import ConfigError, FoldError, RunError
from fer_model.evaluate.cells import read_arms
from fer_model.evaluate.run_table import evaluate_runs
from fer_model.job import Job, default_run
from fer_model.report.report import write_report
from fer_model.runs.folder import RunFolder
from fer_model.runs.predictions import predictions_frame, read_predictions
from fer_model.shortcut import asked, plan_shortcut, shortcut, show
from fer_model.train import train
from tests.commands import call
from tests.model_runs import write_fold

SEVEN = EXPRESSIONS[: len(CK_PLUS_CODES) - 1]
CPU = ("cpu",)


def quiet(line):
    pass


def table(people, takes, expressions=SEVEN, frames=1, folds=3, shown=lambda person: None):
    """Return manifest rows of people who show every expression, or those of `shown`, in sequences of their own."""
    rows = [
        {"image_id": f"t/S{person:02d}/{one}-{take}/{frame}", "dataset": "t", "subject": f"S{person:02d}", "sequence": f"{one}-{take}",
         "frame": frame, "expression": one, "fold": person % folds}
        for person in range(people) for one in shown(person) or expressions for take in range(takes) for frame in range(frames)
    ]
    return pd.DataFrame(rows)


def dealt(rows, rule, number=0, seed=0):
    return deal(rows, people_of(rows), rule, number, seed)


# --- designs ----------------------------------------------------------------------------------------------------------

# {p mod 7, (p + 1 + (p div 7) mod 3) mod 7} of persons 0 to 13
BY_HAND = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 0), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 0), (6, 1)]


def test_fourteen_people_show_two_expressions_each():
    """21 people of 4 takes: 14 are drawn, 2 takes of each shown cell are trained on. Seen red: `// n_classes` left out of shown_by."""
    train, test = dealt(table(21, 4), "confounded")
    shown = train.groupby("subject")["expression"].unique()
    assert Counter(map(frozenset, shown)) == Counter(frozenset(SEVEN[i] for i in pair) for pair in BY_HAND)
    assert set(train.groupby(["subject", "expression"]).size()) == {2} and len(train) == 14 * 4
    assert test["part"].value_counts().to_dict() == {"unseen": 14 * 5 * 2, "new": 7 * 7 * 2, "shown": 14 * 2 * 2}
    for subject, own in test.groupby("subject"):
        known = set(shown.get(subject, ()))
        assert {frozenset(text.split("+")) for text in own["shows"]} == {frozenset(known or [""])}
        for part, one in zip(own["part"], own["expression"], strict=True):
            assert part == ("new" if not known else "shown" if one in known else "unseen")


def test_the_control_has_the_same_people_pictures_and_test():
    """Seen red: takes[taught:] tested in place of takes[half:]; the spread of expressions without its turn by person."""
    rows = table(21, 8)
    (train, test), (control, same) = dealt(rows, "confounded"), dealt(rows, "control")
    assert test.equals(same) and len(train) == len(control) == 112
    assert train["subject"].value_counts().to_dict() == control["subject"].value_counts().to_dict()
    assert set(control["expression"].value_counts()) == {16} and set(control.groupby(["subject", "expression"]).size()) == {1, 2}
    assert not set(control["image_id"]) & set(test["image_id"])


@pytest.mark.parametrize(("takes", "expressions", "needed"), [(6, SEVEN, 8), (7, SEVEN, 8), (5, SEVEN[:6], 6), (2, SEVEN[:4], 4)])
def test_the_control_shows_every_cell_that_is_tested(takes, expressions, needed):
    """Else the baseline that is to know all cells lacks some itself, and what a method recovers is divided by too little.
    Seen red: four of seven expressions a person in the control of four takes, so that 60 % of the unseen pictures were unseen there too."""
    with pytest.raises(FoldError, match=f"{needed} sequences of each person .* are needed, usually there are {takes}; .* missing"):
        dealt(table(21, takes, expressions), "control")
    assert len(dealt(table(21, takes, expressions), "confounded")[0])
    control, test = dealt(table(21, needed, expressions), "control")
    shown, unseen = (set(rows["subject"] + rows["expression"]) for rows in (control, test[test["part"] == "unseen"]))
    assert unseen <= shown


def test_a_draw_is_decided_by_its_number_and_the_seed():
    """Seen red: the number left out of the streams."""
    rows = table(21, 4)
    first = dealt(rows, "confounded", 2, 3)
    assert all(one.equals(other) for one, other in zip(first, dealt(rows, "confounded", 2, 3), strict=True))
    others = [dealt(rows, "confounded", *key)[0] for key in ((1, 3), (2, 4))]
    assert all(set(first[0]["subject"]) != set(other["subject"]) for other in others)


def test_of_a_sequence_the_last_picture_counts_and_a_lost_take_costs_one_test_picture():
    """Seen red: all three pictures of a sequence trained on; half of the fewest takes for all."""
    rows = table(21, 4, frames=3)
    train, test = dealt(rows, "confounded")
    assert set(train["frame"]) == set(test["frame"]) == {2} and len(train) == 56
    less = rows[rows["sequence"] + rows["subject"] != "fear-1S04"]
    train, test = dealt(less, "confounded")
    assert len(train) == 56 and len(test) == 21 * 7 * 2 - 1


def test_one_expression_of_each_person_is_left_out():
    """Fold 1 is new in draws 1 and 4; who shows two expressions keeps them. Seen red: fold 0 in each draw; always the last expression."""
    rows = table(12, 2, frames=2, shown=lambda person: SEVEN[:2] if person == 5 else SEVEN[:5])
    drawn = [dealt(rows, "missing", number) for number in (1, 4)]
    for known, test in drawn:
        new, unseen = test[test["part"] == "new"], test[test["part"] == "unseen"]
        assert len(known) + len(test) == len(rows) and set(test["part"]) == {"new", "unseen"}
        assert set(new["subject"]) == {"S01", "S04", "S07", "S10"} and not set(new["subject"]) & set(known["subject"])
        assert set(unseen.groupby("subject")["expression"].nunique()) == {1} and "S05" not in set(unseen["subject"])
        assert set(unseen.groupby("subject").size()) == {4}
        for one, shows in zip(unseen["expression"], unseen["shows"], strict=True):
            assert one not in shows.split("+") and shows.count("+") == 3
        assert set(unseen["subject"]) == set(known["subject"]) - {"S05"} and unseen["expression"].nunique() > 1
    assert not drawn[0][1]["image_id"].equals(drawn[1][1]["image_id"])


def test_what_a_folder_lacks_is_said():
    """Seen red, each: without the check."""
    with pytest.raises(FoldError, match=r"at least 11 people .* in at least 2 sequences; 0 of 21 people do, of 7 expressions; `fer"):
        dealt(table(21, 1), "confounded")
    with pytest.raises(FoldError, match=r"10 of 10 people do"):
        dealt(table(10, 4), "confounded")
    with pytest.raises(FoldError, match=r"at least 6 people .* of 3 expressions"):
        dealt(table(21, 4, SEVEN[:3]), "control")
    with pytest.raises(FoldError, match=r"nobody outside of fold 0 shows three"):
        dealt(table(21, 4, SEVEN[:2]), "missing")
    apart = table(12, 2, shown=lambda person: SEVEN[:3] if person < 6 else SEVEN[3:])
    refused = r"draw 0 of --fold-seed 0, missing: people and expressions must be connected in training, they fall into 2 groups; "
    with pytest.raises(FoldError, match=f"{refused}of the whole folder they fall into 2, so no --fold-seed connects them"):
        dealt(apart, "missing")
    one_in_both = table(13, 2, shown=lambda person: SEVEN[:3] if person < 6 else SEVEN[3:] if person < 12 else SEVEN)
    held_out = one_in_both.assign(fold=[int(subject != "S12") for subject in one_in_both["subject"]])
    with pytest.raises(FoldError, match=f"{refused}take another --fold-seed"):
        dealt(held_out, "missing")
    with pytest.raises(FoldError, match=r"a sequence must show one expression, t/S00/1 shows 7"):
        dealt(table(21, 2).assign(sequence="1"), "confounded")


def test_cells_are_no_folds(tmp_path, tiny_prepared):
    """Nobody may be set aside to choose by, and no fold is held out. Seen red: without the check of selection; with numbers of manifest."""
    with pytest.raises(ConfigError, match=r"selection is validation; fold rule control tests people of the training, so it must be last"):
        preset("smoke", fold_rule="control", selection="validation")
    with pytest.raises(FoldError, match="fold rule missing has draws in place of folds; `fer-model shortcut` trains them"):
        crossval(Job(tiny_prepared, tmp_path, preset("smoke", fold_rule="missing")), say=quiet)
    name = default_run(Job(tiny_prepared, tmp_path, preset("smoke", method="cnn", fold=2, fold_rule="missing")))
    assert str(name) == "runs/tiny-cnn-smoke-missing0-draw2"


@pytest.mark.parametrize(("line", "says"), [
    ("seed: 3", "seed is 3, and --seeds 0,1; give --seeds 3"),
    ("fold_rule: shuffled", "fold_rule is shuffled, and the draws of --design confounded"),
])
def test_what_the_draws_set_is_refused_in_a_file_too(line, says, tmp_path):
    """But not where it says the same. Seen red, each: passed over in silence."""
    file = tmp_path / "mine.yaml"
    for text, good in ((line, False), ("seed: 1\nfold_rule: control\n", True)):
        file.write_text(text)
        given = (tmp_path, tmp_path / "s", ({"preset": "smoke"}, file, ()), (), (0, 1))
        with nullcontext() if good else pytest.raises(ConfigError, match=says):
            asked(*given, design="confounded", draws=1, control=False, gan=None)


# --- figures ----------------------------------------------------------------------------------------------------------


def predictions(answers, part="unseen"):
    """Return predictions of people who show anger and contempt: `answers` is subject -> expressions that are answered for fear."""
    rows = [
        {"image_id": f"{subject}{part}{i}", "subject": subject, "sequence": f"{part}{i}", "expression": "fear", "part": part,
         "shows": "anger+contempt", "answer": SEVEN.index(answer)}
        for subject, given in answers.items() for i, answer in enumerate(given)
    ]
    rows = pd.DataFrame(rows)
    return predictions_frame(rows, np.eye(7)[rows["answer"]], SEVEN)


def write_arm(folder, frame, rule="confounded", draw=0, seed=0, **config):
    run = folder / f"draw{draw}-seed{seed}"
    return write_fold(run, "cnn", draw, seed, frame=frame, change=lambda content: content["config"].update(fold_rule=rule, **config))


def answers(right, anger=0, other=0):
    return ["fear"] * right + ["anger"] * anger + ["sadness"] * other


def test_shortcut_rate_and_recovery_by_hand(tmp_path):
    """S1 and S2, ten pictures each. Baseline 4 + 2 right of 20 (30 %), control 9 + 9 (90 %), method 7 + 5 (60 %): R = 30 / 60.
    Of the baseline's 14 errors 9 name what is shown; by chance 2 of 6. Seen red: errors on shown cells among them; control minus method.
    """
    known = predictions({"S1": answers(0, anger=3)}, "shown")
    unseen = predictions({"S1": answers(4, 3, 3), "S2": answers(2, 6, 2)})
    write_arm(tmp_path / "baseline-confounded", pd.concat([unseen, known]))
    write_arm(tmp_path / "baseline-control", predictions({"S1": answers(9, 1), "S2": answers(9, 1)}), "control")
    write_arm(tmp_path / "a-confounded", predictions({"S1": answers(7, 3), "S2": answers(5, 5)}))
    found = read_arms(tmp_path)
    assert [arm.name for arm in found.arms] == ["baseline-confounded", "baseline-control", "a-confounded"]
    baseline = found.arms[0]
    assert baseline.accuracy().value == pytest.approx(0.3) and baseline.accuracy("shown").value == 0 and baseline.accuracy("new") is None
    assert baseline.costs.processor_minutes == 1.5, "minutes of processors, not on the clock"
    assert baseline.shortcut_rate.value == pytest.approx(9 / 14) and baseline.chance == pytest.approx(2 / 6)
    (recovery,) = found.recoveries
    assert (recovery.first, recovery.n_runs) == ("a-confounded", 1) and recovery.value.value == pytest.approx(0.5)
    assert (recovery.value.low, recovery.value.high) == pytest.approx((0.3 / 0.7, 0.3 / 0.5))          # S2 alone, S1 alone
    (difference,) = [one for one in found.differences if one.what == "unseen"]
    assert (difference.first, difference.second) == ("a-confounded", "baseline-confounded")
    assert (difference.value.value, difference.value.low, difference.value.high) == pytest.approx((0.3, 0.3, 0.3))       # of each person


def test_a_person_stays_together_over_draws_and_seeds(tmp_path):
    """Of three people one is right, in both draws: all replicates of her alone are 1 of 27, more than 2.5 %; of draws apart, 1 of 729.

    Seen red: rows of each run resampled apart.
    """
    frame = predictions({"S1": answers(2), "S2": answers(0, 2), "S3": answers(0, 2)})
    for draw in (0, 1):
        write_arm(tmp_path / "baseline-confounded", frame, draw=draw)
    share = read_arms(tmp_path).arms[0].accuracy()
    assert (share.value, share.low, share.high) == (pytest.approx(1 / 3), 0, 1)


def test_arms_are_compared_on_the_runs_that_both_have(tmp_path):
    """Seen red: all runs of both."""
    for draw, right in enumerate((2, 6)):
        write_arm(tmp_path / "baseline-missing", predictions({"S1": answers(right, 10 - right)}), "missing", draw)
    write_arm(tmp_path / "a-missing", predictions({"S1": answers(3, 7)}), "missing", 0)
    write_arm(tmp_path / "b-missing", predictions({"S1": answers(3, 7)}), "missing", 2)
    found = read_arms(tmp_path)
    values = {(one.first, one.second): (one.n_runs, one.value and round(one.value.value, 4)) for one in found.differences}
    assert values == {
        ("a-missing", "baseline-missing"): (1, 0.1), ("b-missing", "baseline-missing"): (0, None), ("b-missing", "a-missing"): (0, None),
    }
    assert found.recoveries == () and str(found.arms[0].spread) == "40.0% ± 28.3"


def test_a_difference_is_told_over_the_runs_as_well(tmp_path):
    """Of 0, 10 and 20 points in three runs, by hand: 10 ± 4.303 * 10 / sqrt(3). Seen red: over people alone, who are all alike here."""
    for draw, right in enumerate((3, 4, 5)):
        for arm, many in (("baseline", 3), ("a", right)):
            each = answers(many, 10 - many)
            write_arm(tmp_path / f"{arm}-missing", predictions({"S1": each, "S2": each}), "missing", draw)
    (one,) = [one for one in read_arms(tmp_path).differences if one.what == "unseen"]
    assert (one.value.low, one.value.high) == pytest.approx((0.1, 0.1)) and one.over_runs.n == 3
    assert (one.over_runs.low, one.over_runs.high) == pytest.approx((0.1 - 0.24843, 0.1 + 0.24843), abs=1e-4)
    assert "-14.8 to +34.8" in call("shortcut", "--show", tmp_path)


def test_there_is_nothing_to_recover_where_the_control_is_not_better(tmp_path):
    """Seen red: a recovery of -1, of 1 above a control that is 1 below."""
    for name, right in (("baseline-confounded", 5), ("baseline-control", 4), ("a-confounded", 6)):
        frame = predictions({"S1": answers(right, 10 - right), "S2": answers(right, 10 - right)})
        write_arm(tmp_path / name, frame, name.partition("-")[2])
    assert show(tmp_path).recoveries[0].value is None
    assert json.loads((tmp_path / "shortcut.json").read_text())["recovery"][0]["value"] is None
    assert "nothing to recover" in call("shortcut", "--show", tmp_path)


def test_an_arm_without_errors_has_no_shortcut_rate(tmp_path):
    """Nor has it a chance. Seen red: asdict of None."""
    write_arm(tmp_path / "baseline-missing", predictions({"S1": answers(5)}), "missing")
    assert show(tmp_path).to_json()["arms"][0]["shortcut_rate"] is None
    assert json.loads(call("shortcut", "--show", tmp_path, "--json"))["arms"][0]["shortcut_rate"] is None
    text = call("shortcut", "--show", tmp_path)
    assert "100.0%" in text and "chance" not in text
    assert "Leave out --show, or all other options but --json." in call("shortcut", "--show", tmp_path, "--draws", 2, code=2)


@pytest.mark.parametrize(("rule", "more", "words"), [
    ("confounded", {"fold_seed": 1}, "fold_seed is 0 in .*/draw0-seed0 and 1 in"),
    ("missing", {}, "design is confounded in .* and missing in"),
])
def test_arms_that_do_not_belong_together_are_refused(rule, more, words, tmp_path):
    """Seen red: without _refuse_apart."""
    frame = predictions({"S1": answers(5, 5)})
    write_arm(tmp_path / "baseline-confounded", frame)
    write_arm(tmp_path / "cnn-more", frame, rule, **more)
    with pytest.raises(RunError, match=f"reading arms: {words} .*choose another --run"):
        read_arms(tmp_path)


def test_arms_on_other_data_are_refused(tmp_path):
    """Seen red: two hashes in place of words."""
    for arm in ("baseline-confounded", "cnn-more"):
        write_arm(tmp_path / arm, predictions({"S1": answers(5, 5)}))
    path = tmp_path / "cnn-more" / "draw0-seed0" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"manifest_sha256": "cd" * 32}))
    with pytest.raises(RunError, match=f"{path.parent} is on other data than .*, the prepared folder is another one or has changed since"):
        read_arms(tmp_path)


def test_arms_that_were_not_tested_alike_are_refused(tmp_path):
    """Seen red: without the check of n."""
    write_arm(tmp_path / "baseline-confounded", predictions({"S1": answers(5, 5)}))
    write_arm(tmp_path / "a-confounded", predictions({"S1": answers(5, 4)}))
    with pytest.raises(RunError, match="a-confounded and baseline-confounded were not tested on the same pictures"):
        show(tmp_path)


def test_such_runs_are_never_taken_for_folds(tmp_path):
    """Evaluate and report refuse a run, an arm, all arms, and such a run among folds. Seen red: read_content in place of _of_folds."""
    frame = predictions({"S1": answers(5, 5)})
    run = write_arm(tmp_path / "s" / "baseline-confounded", frame)
    for path in (run, run.parent, run.parents[1]):
        with pytest.raises(RunError, match=r"tested on people whom it was trained on \(fold rule confounded\).*`fer-model shortcut --show"):
            evaluate_runs([path])
        with pytest.raises(RunError, match="no fold's"):
            write_report([path], tmp_path / "report")
    write_fold(tmp_path / "folds" / "fold0", "cnn", 0, change=lambda content: content["config"].update(fold_rule="control"))
    with pytest.raises(RunError, match="fold rule control"):
        evaluate_runs([tmp_path / "folds"])
    with pytest.raises(RunError, match="reading arms: there is no complete run in"):
        read_arms(tmp_path / "folds")


# --- the command ------------------------------------------------------------------------------------------------------


def given(data, path, *sets, method="cnn", seeds=(0, 1), draws=1, control=False, design="confounded", gan=None):
    tiny = {"cnn": ["cnn.kimg=0.016"], "degan": ["gan.kimg=0.016", "head.kimg=0.016", "judges.kimg=0.008"]}
    sets = [*tiny[method], *sets] if sets or method == "degan" else []
    layers = {"preset": "smoke", "method": method}, None, sets
    return asked(data, path, layers, tiny["cnn"], seeds, draws=draws, design=design, control=control, gan=gan)


def test_arms_resume_and_stand_side_by_side(full_table, tmp_path, monkeypatch):
    """Two arms of the baseline, one of another CNN, two seeds; stopped behind the second run; then DE-GAN is put next to them.

    Seen red: complete runs trained again; the method trained without its settings; the table of one command's arms alone.
    """
    path, before = tmp_path / "s", library.train_tasks
    wanted = given(full_table, path, "cnn.dropout=0.5")

    def stopped(tasks, *more):
        before(tasks[:2], *more)
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "train_tasks", stopped)
    with pytest.raises(KeyboardInterrupt):
        shortcut(wanted, devices=CPU, say=quiet)
    monkeypatch.setattr(library, "train_tasks", before)
    done = {one: one.stat().st_mtime_ns for one in path.rglob("result.json")}
    names = ["baseline-confounded", "baseline-control", "cnn-cnn.kimg0.016-cnn.dropout0.5-confounded"]
    assert [one.parents[1].name for one in sorted(done)] == names[:2]
    plan = plan_shortcut(wanted, devices=CPU)
    assert (plan.n_runs, plan.n_left) == (6, {names[2]: 2, names[0]: 1, names[1]: 1}) and plan.hours > 0 and plan.disk_mb > 0
    found = shortcut(wanted, devices=CPU, say=quiet)
    assert (found.passed_over, found.failed, [arm.name for arm in found.cells.arms]) == (2, (), names)
    assert all(one.stat().st_mtime_ns == time for one, time in done.items())
    assert [arm.settings for arm in found.cells.arms] == [{}, {}, {"cnn.dropout": "0.5"}]       # seen red: the first arm's values
    assert RunFolder(path / names[2] / "draw0-seed1").read_config()[0].cnn.dropout == 0.5

    more = shortcut(given(full_table, path, method="degan", seeds=(0,), control=True), devices=CPU, say=quiet)
    arms = {arm.name: (arm.rule, len(arm.runs)) for arm in more.cells.arms}
    assert more.passed_over == 2 and {name: arms.pop(name)[1] for name in names} == dict.fromkeys(names, 2)
    assert sorted(arms.values()) == [("confounded", 1), ("control", 1)] and all(name.startswith("degan-judges.kimg") for name in arms)
    assert json.loads((path / "shortcut.json").read_text())["arms"] == more.to_json()["arms"]
    taken = given(full_table, path, "head.variant=f-mlp", method="degan", seeds=(0,), gan=path / sorted(arms)[0])
    (mine,) = [arm for arm in shortcut(taken, devices=CPU, say=quiet).cells.arms if arm.name.startswith("degan-f-mlp")]
    assert "taken_from" in RunFolder(mine.runs[0, 0]).read_result()["stages"]["gan"]
    frame = read_predictions(RunFolder(path / names[1] / "draw0-seed0").predictions)
    fold = read_prepared(full_table).fold(0, "confounded")
    assert frame["part"].tolist() == fold.test["part"].tolist() and frame["shows"].tolist() == fold.test["shows"].tolist()


def test_the_figures_of_one_run_are_those_of_unseen_cells(full_table, tmp_path):
    """result.json and `train` again, of a run that is complete. Seen red: all parts pooled."""
    words = ("train", "--data", full_table, "--preset", "smoke", "--method", "cnn", "--kimg-cnn", 0.016, "--fold", 0, "--device", "cpu")
    assert "cnn on draw 0 of tiny (confounded, seed 0): 20 faces" in call(*words, "--fold-rule", "confounded", "--run", tmp_path / "r")
    frame, result = read_predictions(tmp_path / "r" / "predictions.csv"), RunFolder(tmp_path / "r").read_result()
    again = train(Job(full_table, tmp_path / "r", RunFolder(tmp_path / "r").read_config()[0]), "cpu", say=quiet)
    n_unseen = (frame["part"] == "unseen").sum()
    assert again.was_complete and n_unseen < len(frame) == 64
    assert again.evaluation.n_images == result["evaluation"]["n_images"] == n_unseen
    assert "of expressions that they do not show in it" in result["rules"]["tested"]


def test_the_command_from_end_to_end(full_table, tmp_path):
    """--dry-run writes nothing; the table; --show without the data; nothing left to do. Seen red: --show that reads --data."""
    run = tmp_path / "runs"
    words = ["shortcut", "--data", full_table, "--run", run, "--preset", "smoke", "--set-cnn", "cnn.kimg=0.016", "--devices", "cpu"]
    words += ["--method", "cnn", "--draws", 1, "--seeds", 0]
    text = call(*words, "--dry-run")
    assert "A run of baseline-control (1 are left)" in text and "2 of 2 runs are left; about 0.0 hours and less than" in text
    assert not run.exists()
    text = call(*words)
    assert "2 of 2: baseline-control, draw 0, seed 0 | " in text and "Shortcut rate by chance: 67%." in text
    assert "2 runs complete before" in call(*words) and "baseline-control" in call("shortcut", "--show", run)
    assert "choose another --run" in call(*words, "--set", "cnn.kimg=0.016", "--design", "missing", code=1)
    assert not list(run.glob("*missing*"))


def test_what_a_design_lacks_is_said_before_anything_is_trained(write_tiny, tmp_path):
    """Two takes of four expressions. Seen red: every run of the control fails, when those of the other arm have been trained."""
    shown = ("anger", "disgust", "fear", "happiness")
    data, path = write_tiny(tmp_path / "prepared", people=9, expressions=shown * 2, frames=1), tmp_path / "s"
    for begin in (shortcut, plan_shortcut):
        with pytest.raises(FoldError, match="4 sequences of each person and expression are needed, usually there are 2"):
            begin(given(data, path))
    assert not path.exists()


@pytest.mark.parametrize(("sets", "design", "seed", "name"), [
    ([], "confounded", 0, "tiny-shortcut-smoke"), ([], "missing", 3, "tiny-shortcut-smoke-missing-draws3"),
])
def test_where_it_goes_by_default(sets, design, seed, name, full_table):
    """Seen red: draws of another seed in the same folder."""
    found = asked(full_table, None, ({"preset": "smoke", "method": "degan", "fold_seed": seed}, None, sets), [], (0,), design=design)
    assert str(found.path) == f"runs/{name}"
    suffix = f"{design}{seed or ''}"
    arms = list(found.arms())
    assert (arms[0], arms[-1]) == (f"baseline-{suffix}", f"degan-{suffix}")


def test_what_the_command_sets_itself_is_not_set(full_table, tmp_path):
    """Seen red: a seed that is set and has no effect. A folder of other things is refused too."""
    with pytest.raises(ConfigError, match="--set seed=3: the draws set fold and fold_rule, --seeds the seed; leave it out"):
        asked(full_table, tmp_path, ({"preset": "smoke"}, None, ["seed=3"]), [], (0,), design="missing")
    for text, message in (("cnn.lrr=1", "unknown setting"), ("seed=3", "the draws set fold")):         # seen red: called --set
        with pytest.raises(ConfigError, match=f"^--set-cnn {text}: {message}"):
            asked(full_table, tmp_path, ({"preset": "smoke"}, None, []), [text], (0,), design="missing")
    with pytest.raises(ConfigError, match="--set-cnn fold_seed=3: the baseline is method cnn, with the other's preset and draws"):
        asked(full_table, tmp_path, ({"preset": "smoke"}, None, []), ["fold_seed=3"], (0,), design="missing")
    with pytest.raises(ConfigError, match="--gan ARM has a stage 1 for one design, --control needs one for two"):
        given(full_table, tmp_path, control=True, gan=tmp_path)
    (tmp_path / "letter.txt").write_text("x")
    with pytest.raises(RunError, match=r"missing cells: .* it holds letter.txt"):
        shortcut(given(full_table, tmp_path), devices=CPU, say=quiet)
