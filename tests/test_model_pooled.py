"""Folds together: pooled against mean of folds by hand, and which runs are not pooled, by `evaluate` and by `report` alike."""

import io
import json
import re
import shutil
import statistics
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fer_model.config import HEADS, preset, resolve_budgets
from fer_model.errors import RunError
from fer_model.evaluate.figures import accuracy, evaluate, interval_over_subjects, to_sequences
from fer_model.evaluate.paired import compare_methods
from fer_model.evaluate.pooled import pool
from fer_model.evaluate.run_table import evaluate_runs
from fer_model.report.report import write_report
from fer_model.runs.fold_runs import FoldRun
from fer_model.runs.methods import gather, one_method
from fer_model.runs.predictions import predictions_frame
from tests import model_runs
from tests.configs import with_head

CLASSES = ("anger", "fear")


def fold_of(person, right, wrong):
    """Return predictions of one person, a sequence of its own for each image."""
    n = right + wrong
    rows = pd.DataFrame({
        "image_id": [f"d/{person}/{i}/00000001" for i in range(n)], "subject": person, "sequence": [str(i) for i in range(n)],
        "expression": "anger",
    })
    return predictions_frame(rows, np.array([[0.8, 0.2]] * right + [[0.3, 0.7]] * wrong), CLASSES)


def test_pooled_weighs_images_and_the_mean_weighs_folds():
    """9 of 10 and 0 of 2: pooled 9/12, mean 0.45. Seen red: the first fold in the place of all; n in the place of
    n - 1 under the deviation."""
    found = pool([0, 3], [fold_of("A", 9, 1), fold_of("B", 0, 2)], 10)
    assert found.evaluation.frame_accuracy.value == pytest.approx(9 / 12)
    mean = found.means["frame"]
    assert mean.mean == pytest.approx(0.45) and mean.sd == pytest.approx(statistics.stdev([0.9, 0.0]))
    each = [(one["fold"], one["n_images"], one["n_subjects"], one["frame_accuracy"]) for one in found.to_json()["folds"]]
    assert each == [(0, 10, 1, 0.9), (3, 2, 1, 0.0)]
    assert found.evaluation.confusion == ((9, 3), (0, 0)) and found.evaluation.classes_absent == ("fear",)
    assert (mean.low, mean.high, found.n_folds) == (0.0, 0.9, 10)
    assert pool([0], [fold_of("A", 9, 1)], 10).means["frame"].sd is None


def test_folds_pooled_are_the_figures_of_all_rows_together():
    """The interval draws the people of all folds."""
    frames = [fold_of(person, right, 6 - right) for person, right in zip("ABCDE", (6, 2, 5, 1, 4), strict=True)]
    found, whole = pool(range(5), frames, 5).evaluation, pd.concat(frames, ignore_index=True)
    assert found == evaluate(whole)
    assert found.frame_accuracy == interval_over_subjects(whole, np.random.default_rng(0))
    assert found.frame_accuracy.value == accuracy(whole)


def test_an_image_in_two_folds_is_refused():
    with pytest.raises(RunError, match="d/A/0/00000001 is tested in more than one fold"):
        pool([0, 1], [fold_of("A", 3, 0), fold_of("A", 1, 0)], 2)


def test_networks_that_saw_the_same_images_count_each_but_form_no_sequence_together():
    """One network is right by far, the other wrong by little: each sequence is right once in two. Seen red: probabilities
    averaged over the networks made every sequence right."""
    sure, unsure = fold_of("A", 4, 0), fold_of("A", 0, 4)
    found = pool([0, 1], [sure, unsure], 2, elsewhere=True)
    assert accuracy(to_sequences(pd.concat([sure, unsure]))) == 1
    assert found.evaluation.sequence_accuracy.value == 0.5 and found.evaluation.frame_accuracy.value == 0.5
    assert (found.evaluation.n_images, found.evaluation.n_sequences, found.evaluation.n_subjects) == (4, 4, 1)


def run_of(fold, n_train, method="cnn", name="small", path="", head="both"):
    """Return a run as pooling sees it."""
    config = resolve_budgets(with_head(preset(name, method=method, fold=fold), head), n_train)
    content = {"config": asdict(config), "manifest_sha256": "a" * 64, "code_version": "1", "n_train": n_train, "dataset": "ck+"}
    return FoldRun(Path(path or "ab"[fold]), fold, json.loads(json.dumps(content)), "complete")


@pytest.mark.parametrize("name", ["small", "paper"])
@pytest.mark.parametrize("method", ["cnn", "degan"])
def test_budgets_in_images_or_in_passes_agree(name, method):
    """Seen red: `paper` counts passes, so its folds were shown different numbers of images and were refused."""
    assert one_method([run_of(i, n, method, name) for i, n in enumerate((883, 861))]) == []


@pytest.mark.parametrize("head", HEADS)
def test_every_head_can_be_pooled(head):
    assert one_method([run_of(i, n, "degan", "paper", head=head) for i, n in enumerate((883, 861))]) == []


def test_a_baseline_with_images_and_passes_together_agrees():
    """Stage 1 in images, stage 2 in passes: the baseline's budget is neither."""
    both = [run_of(i, n, "cnn", "paper") for i, n in enumerate((883, 861))]
    for one in both:
        config = one.content["config"]
        config["gan"]["kimg"] = 100.0
        config["cnn"]["kimg"] = 100.0 + config["head"]["kimg"]
    assert one_method(both) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("config", "seed"), 1, "seed is 0 in a and 1 in b"),
        (("config", "cnn", "lr"), 0.5, "cnn.lr is 2e-3 in a and 0.5 in b"),
        (("config", "fold_seed"), 2, "fold_seed is 0 in a and 2 in b"),
        (("config", "cnn", "kimg"), 1.0, "cnn.kimg is .* in a and 1 in b"),
        (("manifest_sha256",), "b" * 64, "manifest is aaa.* in a and bbb.* in b"),
        (("config", "ablation"), "x", "ablation is none in a and x in b"),
    ],
)
def test_runs_that_differ_in_more_than_their_fold_are_refused(path, value, message):
    one, other = run_of(0, 883), run_of(1, 861)
    place = other.content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(RunError, match=f"^pooling folds: {message}; folds that belong together"):
        one_method([one, other])


@pytest.mark.parametrize("stage", ["gan", "head", "judges"])
@pytest.mark.parametrize("field", ["lr", "kimg", "not_known"])
def test_a_setting_of_a_stage_that_is_not_trained_does_not_count(stage, field):
    """Seen red: the judges not counted as a stage of DE-GAN."""
    one, other = run_of(0, 883), run_of(1, 861)
    other.content["config"][stage][field] = 0.5
    assert one_method([one, other]) == []


def two_folds(path, stage, field, value, method="cnn"):
    """Write two folds of a method that differ in a field of a stage."""
    model_runs.write_fold(path / "fold0", method)
    model_runs.write_fold(path / "fold1", method, fold=1, change=lambda content: content["config"][stage].update({field: value}))
    return path


def test_evaluate_and_report_pool_folds_that_differ_in_an_idle_stage_alone(tmp_path):
    """A fold of the baseline was trained when DE-GAN's preset was another. Seen red: `evaluate` compared every field, and refused."""
    path = two_folds(tmp_path / "cnn", "gan", "lr", 0.5)
    (row,) = evaluate_runs([path]).rows
    write_report([path], tmp_path / "report")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    (figures,) = report["figures"]
    assert row.pooled.folds == (0, 1) and len(figures["folds"]) == 2
    assert json.loads(json.dumps(row.evaluation.to_json())) == figures["pooled"]
    assert row.pooled.to_json()["mean_of_folds"]["frame_accuracy"] == figures["mean_of_folds"]["frame"]
    assert report["settings"] == []


@pytest.mark.parametrize(("stage", "method"), [("cnn", "cnn"), ("network", "cnn"), ("judges", "degan")])
def test_folds_that_differ_in_a_trained_stage_are_refused_by_evaluate_and_kept_apart_by_report(stage, method, tmp_path):
    """Both name the field. Seen red: the network's fields left out with the stages."""
    field = "init_std" if stage == "network" else "lr"
    path = two_folds(tmp_path / "runs", stage, field, 0.5, method)
    said = rf"{stage}\.{field} is \S+ in {path}/fold0 and 0\.5 in {path}/fold1"
    with pytest.raises(RunError, match=said):
        evaluate_runs([path])
    write_report([path], tmp_path / "report")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [len(one["folds"]) for one in report["figures"]] == [1, 1]
    (finding,) = [one["text"] for one in report["findings"] if "are not pooled" in one["text"]]
    assert re.fullmatch(rf"The folds in {path} are of 2 methods and are not pooled: {said}\.", finding)
    (row,) = report["settings"]
    assert row["name"] == f"{stage}.{field}" and row["values"][1] == "0.5" and row["values"][0] != "0.5"


def test_a_run_of_an_older_program_with_fewer_settings_is_evaluated(tmp_path):
    """Before: `evaluate` refused what `report` read. Seen red: the configuration read as that of a run to be resumed."""
    run = model_runs.write_fold(tmp_path / "run", change=lambda content: content["config"].pop("precision"))
    (row,) = evaluate_runs([run]).rows
    assert row.evaluation.n_images == 36 and [len(method.runs) for method in gather([run])] == [1]


def test_folds_that_were_trained_longer_are_kept_apart_by_both(tmp_path):
    """More images of as many faces, so more passes too. Seen red: `report` told budgets apart only where a fold was there twice."""
    path = two_folds(tmp_path / "runs", "cnn", "kimg", 99.0)
    with pytest.raises(RunError, match=r"cnn\.kimg is \S+ in \S+ and 99 in"):
        evaluate_runs([path])
    assert [method.label.split(", ")[1] for method in gather([path])] == ["0.128 kimg", "99 kimg"]


def test_folds_with_rules_that_differ_share_the_others(tmp_path):
    """The step is another in each fold with --selection validation, what is left out with --weights. Seen red: KeyError of `rules` with a
    vote; no `rules` and no `init` without one."""
    model_runs.write_method(tmp_path / "c")
    for fold, path in enumerate(sorted((tmp_path / "c").glob("fold*/result.json"))):
        content = json.loads(path.read_text())
        content["rules"] = content["rules"] | {"epoch": f"the best on {12 + fold} faces"}
        path.write_text(json.dumps(content | {"init": {"file": "w.pth", "coverage": fold}}))
    table = evaluate_runs([tmp_path / "c"])
    shared = {name: text for name, text in model_runs.RULES.items() if name != "epoch"}
    found = table.to_json()[0]
    assert found["rules"] == shared and found["init"] == {"file": "w.pth"} and "fold" not in found
    assert set(found["evaluation"]) == set(evaluate_runs([tmp_path / "c" / "fold0"]).to_json()[0]["evaluation"])
    voted = table.rows[0].to_json({"vote": 10})
    assert voted["rules"] == shared | {"test_view": "mean of the probabilities of 10 views of each image"}


def test_a_repeat_without_a_complete_fold_is_named_and_the_others_are_shown(tmp_path):
    """Before: the whole table was refused. Seen red: the first group's runs looked at alone."""
    model_runs.write_fold(tmp_path / "cv" / "shuffled0" / "fold0")
    model_runs.write_fold(tmp_path / "cv" / "shuffled1" / "fold0", stop="gan")
    (row,) = evaluate_runs([tmp_path / "cv"]).rows
    assert row.notes[-2] == f"{tmp_path / 'cv' / 'shuffled1'}: no fold is complete, it is in no figure."
    with pytest.raises(RunError, match=r"none of the 1 folds in \S+shuffled1 is complete"):
        evaluate_runs([tmp_path / "cv" / "shuffled1"])


def test_repeats_that_have_not_all_their_folds_are_in_no_spread_of_repeats(tmp_path):
    """An interruption; a fold lost to a loss that is not finite; a repeat that has no fold yet. Seen red: the mean of 4 repeats, of
    which one has a fold of three."""

    def dealt(seed):
        return lambda content: (content.update(n_folds=3), content["config"].update(fold_rule="shuffled", fold_seed=seed))

    for seed, n in enumerate((3, 3, 1, 2, 0)):
        for fold in range(3):
            stop = "" if fold < n else "diverged" if n else "start"
            model_runs.write_fold(
                tmp_path / "cv" / f"shuffled{seed}" / f"fold{fold}", "cnn", fold, share=0.5 + seed / 10, stop=stop, change=dealt(seed)
            )
    table = evaluate_runs([tmp_path / "cv"])
    ((path, frame, sequence),) = table.repeats
    whole = [row.evaluation.frame_accuracy.value for row in table.rows[:2]]
    assert path == tmp_path / "cv" and (frame.n, sequence.n) == (2, 2) and frame.mean == pytest.approx(statistics.mean(whole))
    said = f"{path}: 3 of 5 repeats have not all folds; only whole ones are in a mean of repeats."
    assert len(table.rows) == 4 and table.rows[-1].notes[-1] == said and said in printed(table)
    assert table.to_json()[-1]["pooled_frame_accuracy"]["n"] == 2
    shutil.rmtree(path / "shuffled1")
    shutil.rmtree(path / "shuffled0")
    assert evaluate_runs([path]).repeats == ()


def printed(what) -> str:
    """Return what a wide console shows, on one line."""
    console = Console(width=400, file=io.StringIO(), highlight=False)
    console.print(what)
    return " ".join(console.file.getvalue().split())


def test_a_table_says_what_was_seen_before_where_some_run_had_started(tmp_path):
    """And has no such column elsewhere. Seen red: figures of both kinds in one table without a word."""

    def shown(*paths):
        console = Console(file=io.StringIO(), width=300)
        console.print(evaluate_runs(paths))
        return console.file.getvalue()

    def started(**init):
        return lambda content: content.update(init={"people": [], "sha256": "ab" * 32, **init})

    plain = model_runs.write_method(tmp_path / "plain", method="cnn")
    twice = started(dataset="ck48", before={"dataset": "fer2013"})
    one = model_runs.write_method(tmp_path / "one", method="cnn", change=twice)
    two = model_runs.write_fold(tmp_path / "two", "cnn", change=started(trained_on="[ImageNet]", file="w.pth", said="w.pth, ..."))
    assert "seen before" not in shown(plain, plain)
    rows = shown(plain, one, two).splitlines()
    assert "seen before" in next(row for row in rows if "macro recall" in row)
    assert [row.rstrip().rpartition("  ")[2] for row in rows if row.strip().startswith("cnn ")] == [
        "nothing", "ck48, before that fer2013", "[ImageNet]",
    ]


def test_of_one_person_a_table_has_no_interval(tmp_path):
    """Seen red: "(100.0 to 100.0)", and a difference "(+x to +x)" with "95 % over people"."""
    alone = {"a": model_runs.predictions_of(0, 1.0, people=1), "b": model_runs.predictions_of(0, 0.4, people=1)}
    shown = printed(evaluate_runs([model_runs.write_fold(tmp_path / name, "cnn", frame=frame) for name, frame in alone.items()]))
    assert shown.count("(none: one person)") == 4 and " to " not in shown
    assert "points (no interval: one person) per frame, on the 9 images of 1 person that both predict" in shown
    assert "none: one person" not in printed(evaluate_runs([model_runs.write_fold(tmp_path / name, "cnn") for name in "cd"]))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_of_people_who_are_all_alike_a_table_has_no_interval(share, tmp_path):
    """Everything right, or nothing: no replicate can differ. Seen red: "(100.0 to 100.0)", and a difference "(+0.0 to +0.0)"."""
    paths = [model_runs.write_method(tmp_path / name, method="cnn", share=share) for name in "ab"]
    shown = printed(evaluate_runs(paths))
    assert shown.count("(none: all alike)") == 4 and "0.0 to" not in shown
    assert "+0.0 points (no interval: all alike) per frame, on the 108 images of 12 people that both predict" in shown
    assert printed(evaluate_runs(paths[:1])).count("none: all alike") == 2


def test_at_home_rows_of_other_folds_are_not_compared(tmp_path):
    """By another rule, or of another number of folds: no network of one had the training people of one of the other. Seen red: a
    difference, and not a word."""

    def written(name, n_folds=3, **config):
        def change(content):
            content.update(n_folds=n_folds)
            content["config"].update(config)

        return model_runs.write_method(tmp_path / name, method="cnn", change=change)

    first, alike = written("first"), written("alike", fold_seed=4)       # a seed that rule manifest does not look at
    for other, why in (
        (written("shuffled", fold_rule="shuffled", fold_seed=4), "rule shuffled, seed 4, 3 folds, there rule manifest, 3 folds"),
        (written("more", 10), "rule manifest, 10 folds, there rule manifest, 3 folds"),
    ):
        table = evaluate_runs([first, other, alike])
        note = f"{other}: no difference to {first}, whose folds are others: {why}."
        assert table.rows[1].notes[-1] == note and note in printed(table)
        assert [found is None for found in table.against_first] == [True, False]
        assert "against_first" not in table.to_json()[1] and table.to_json()[1]["notes"][-1] == note


def test_folders_prepared_with_other_folds_are_not_compared(tmp_path):
    """`prepare --folds 3` and `--folds 3 --fold-rule stratified`: rule manifest, 3 folds in both, and other training people in fold 1 of
    one. People set aside to choose the weights by are no difference. Seen red: a paired difference, and not a word, in either."""

    def written(name, *people, aside=("", "", "")):
        for fold in range(3):
            known, chosen_by = ([f"tiny/S{n}" for n in names[fold]] for names in (people, aside))
            change = partial(dict.update, n_folds=3, identities=known, validation_people=chosen_by)
            model_runs.write_fold(tmp_path / name / f"fold{fold}", "degan" if name == "first" else "cnn", fold, change=change)
        return tmp_path / name

    first, other = written("first", "123", "023", "012"), written("other", "123", "013", "012")
    aside = written("aside", "12", "02", "01", aside="332")
    table = evaluate_runs([first, other, aside])
    assert table.rows[1].notes[-1] == f"{other}: no difference to {first}, whose folds are others: fold 1 has other training people."
    assert [found is None for found in table.against_first] == [True, False]
    alone = evaluate_runs([first / "fold0", other / "fold0"]).against_first
    assert alone[0] is not None, "fold 0 has the same people in both"
    assert compare_methods(gather([first, other]))[0] == []
    assert len(compare_methods(gather([first, aside]))[0]) == 2
    write_report([first, other], tmp_path / "report")
    said = "People are in other folds, so only methods of the same folds are compared"
    assert said in (tmp_path / "report" / "report.md").read_text()


def test_brackets_in_the_names_of_folders_are_no_markup(tmp_path):
    """Table, differences, notes. Seen red: `cv[old]` shown as `cv`; a traceback of `y[/z]`, which is folder z in y[."""
    paths = [tmp_path / "cv[old]", tmp_path / "y[/z]"]
    for path in paths:
        model_runs.write_fold(path / "fold0", change=lambda content: content.update(n_folds=3))
    shown = printed(evaluate_runs(paths))
    assert shown.count("/cv[old]") == 3 and shown.count("/y[/z]") == 3
    for one in paths:
        assert f"{one}: 1 of 3 folds are complete" in printed(evaluate_runs([one]))


def test_other_code_is_said(tmp_path):
    """Of folds, and of a run that another version resumed. Seen red: the version that started a run as the only one."""
    one, other = run_of(0, 9), run_of(1, 9, path=tmp_path)
    starts = [{"event": "start"}, {"event": "start", "code_version": "1"}, {"event": "start", "code_version": "2"}]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in starts))
    assert one_method([other]) == one_method([one, other]) == ["Trained by 2 versions of the code: 1 and 2."]
    one.content["code_version"] = "3"
    assert one_method([one, other]) == ["Trained by 3 versions of the code: 3, 1 and 2."]
