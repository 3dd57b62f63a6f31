"""The model report as files: runs are grouped as they should be, what it says is what the runs hold, nothing in a name runs.

Run folders are written by model_runs.py without training; the page is read with html.parser, which knows nothing of templates.
"""

import base64
import hashlib
import importlib.util
import json
import shutil
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cli.fer_model import main
from fer_data.text import escape, listed, percent, table
from fer_model.config import preset, resolve_budgets
from fer_model.errors import RunError
from fer_model.evaluate.figures import accuracy, evaluate
from fer_model.evaluate.paired import compare_methods
from fer_model.evaluate.pooled import figures_of, seed_spread
from fer_model.evaluate.run_table import evaluate_run, evaluate_runs
from fer_model.report.card import write_card
from fer_model.report.drawings import Mark, interval_chart, line_chart, nice_ticks
from fer_model.report.report import write_report
from fer_model.report.sentences import sentence_of_difference, sentence_pooled
from fer_model.runs.differences import from_preset
from fer_model.runs.fold_runs import complete_runs
from fer_model.runs.methods import gather
from fer_model.runs.predictions import predictions_frame, read_predictions, write_predictions
from fer_model.runs.trained import load_run
from fer_model.settings_text import differences

spec = importlib.util.spec_from_file_location("model_runs", Path(__file__).with_name("model_runs.py"))
runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runs)


class Page(HTMLParser):
    """A page as a list of (tag, attributes), as text, and as what styles and scripts hold."""

    def __init__(self, data: bytes):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._open: list[str] = []
        self.feed(data.decode())
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        self.text += " " if tag in ("td", "th", "li", "dd", "dt") else ""

    def handle_data(self, data):
        if self._open and self._open[-1] in ("style", "script"):
            self.raw[self._open[-1]] = self.raw.get(self._open[-1], "") + data
        else:
            self.text += data

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def tags(self, name: str) -> list[dict]:
        return [attrs for tag, attrs in self.elements if tag == name]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """DE-GAN (right in about 90 %) and CNN (70 %) on three folds each; read them, do not change them."""
    root = tmp_path_factory.mktemp("runs")
    return [runs.write_method(root / "degan", share=0.9), runs.write_method(root / "cnn", method="cnn", share=0.7)]


@pytest.fixture(scope="module")
def written(two, tmp_path_factory):
    """The folder of the report of `two`, with faces."""
    out = tmp_path_factory.mktemp("report")
    write_report(two, out)
    return out


def write(paths, out, **settings):
    """Write the report; return (page, report.json)."""
    write_report(paths, out, **settings)
    return read(out)


@pytest.fixture(scope="module")
def without(two, tmp_path_factory):
    """The same, without faces."""
    out = tmp_path_factory.mktemp("no-faces")
    write_report(two, out, faces=False)
    return out


def read(out):
    """Return (page, report.json) of a report."""
    return Page((out / "report.html").read_bytes()), json.loads((out / "report.json").read_bytes())


def seen(**entry):
    """Return what lets a run of the baseline start from another, or from a file."""

    def change(content):
        digest = hashlib.sha256(json.dumps(entry).encode()).hexdigest()
        content["init"] = {"sha256": digest, "n_faces": 30_683, "kimg": 300.0, "people": [], **entry}
        content["config"]["init"] = content["init"]["sha256"]

    return change


FILE = {                              # the entry of a file of weights
    "file": "resnet.pth", "bytes": 2_000_000, "trained_on": "ImageNet", "coverage": 1.0, "dropped": [], "adapted": [],
    "made_new": ["classifier"], "said": "resnet.pth, trained on ImageNet",
}


def test_what_had_seen_more_is_in_a_table_of_its_own(two, tmp_path):
    """In all three files, with what it had seen, and of whom. Seen red, each: one table for all rows; the last column without a head; of a
    file the tensors beyond the fifth not named."""
    before, few = {"dataset": "jaffe", "n_people": 10, "n_faces": 213, "kimg": 5.0}, [f"layer{n} 3x2" for n in range(7)]
    starts = {
        "unknown": seen(dataset="fer2013"),
        "twice": seen(dataset="others", people=["jaffe/KA", *(f"others/S{n}" for n in range(5))], n_people=5, before=before),
        "file": seen(**{**FILE, "dropped": few, "made_new": ["classifier", *few]}),
    }
    started = [runs.write_method(tmp_path / name, method="cnn", change=change) for name, change in starts.items()]
    page, content = write([*two, *started], tmp_path / "out")
    told = [one["seen_before"].partition(" (")[0] for one in content["figures"]]
    said = ["fer2013: people unknown, 30683 faces, 300 kimg",
            "others: 5 people, 30683 faces, 300 kimg; before that jaffe: 10 people, 213 faces, 5 kimg", "resnet.pth, trained on ImageNet"]
    assert told == ["", "", *said]
    protocol = dict(content["methods"][-1]["protocol"])["Pre-training"]
    assert f"; not taken: {listed(few)}; made new: the classifier, {listed(few)}" in protocol, "no tensor is left out"
    first, second = (tmp_path / "out" / "report.md").read_text().split("## Accuracy, pre-trained")
    parts = first.split("## Accuracy")[1], second.split("\n> ")[0]
    rows = [[line for line in text.splitlines() if line.startswith("|")][2:] for text in parts]       # without the head
    assert [len(lines) for lines in rows] == [2, 3] and ["seen before" in text for text in parts] == [False, True]
    assert all(escape(text) in line for text, line in zip(said, rows[1], strict=True))
    tables = [one["aria-label"] for one in page.tags("div") if one.get("aria-label", "").startswith("Accuracy of each")]
    assert tables == ["Accuracy of each method", "Accuracy of each method that was pre-trained"]
    assert all(text in page.text for text in said) and "Accuracy per frame, pre-trained, %" in page.text
    alone, content = write(two, tmp_path / "alone")
    assert "seen before" not in alone.text and not any("had seen more than the folds" in one["text"] for one in content["findings"])
    only, content = write(started[:1], tmp_path / "only")
    assert [one["aria-label"] for one in only.tags("div") if one.get("aria-label", "").startswith("Accuracy of each")] == tables[1:]
    assert "CNN (baseline), pre-trained on fer2013 had seen more than the folds: fer2013: people unknown" in content["findings"][-2]["text"]


# --- which runs are one method ----------------------------------------------------------------------------------------


def test_folds_and_seeds_of_one_configuration_are_one_method(tmp_path):
    """Folders of folds and single runs alike. Seen red: seed left in the signature (two methods)."""
    first = runs.write_method(tmp_path / "a")
    second = [runs.write_fold(tmp_path / f"s1-{fold}", fold=fold, seed=1) for fold in (2, 0)]
    found = gather([first, *second])
    assert [method.label for method in found] == ["DE-GAN"]
    assert {seed: [run.fold for run in folds] for seed, folds in found[0].seeds.items()} == {0: [0, 1, 2], 1: [0, 2]}


def test_methods_are_told_apart_by_what_differs(tmp_path):
    """By preset, by a field, by one that this program does not know, by manifest; DE-GAN comes before the baseline.

    Seen red: labels without the manifest (two methods called DE-GAN)."""

    def set_head(name, value):
        return lambda content: content["config"]["head"].update({name: value})

    changes = {
        "plain": lambda content: None, "dropout": set_head("dropout", 0.5),
        "unknown": lambda content: content["config"].update(ablation="taps"),
        "data": lambda content: content.update(manifest_sha256="cd" * 32),
    }
    cnn = runs.write_fold(tmp_path / "cnn", method="cnn")
    paths = [runs.write_fold(tmp_path / name, change=change) for name, change in changes.items()]
    labels = [method.label for method in gather([cnn, *paths])]
    assert len(labels) == len(set(labels)) == 5 and labels[-1] == "CNN (baseline)"
    assert sum("dropout 0.5" in label for label in labels) == 1 and sum("ablation taps" in label for label in labels) == 1
    assert [label for label in labels if "manifest cdcdcdcd" in label]


def setting(**values):
    """Return what sets fields of config.json: gan__lr=0.1 sets gan.lr."""

    def change(content):
        for name, value in values.items():
            stage, field = name.split("__")
            content["config"][stage][field] = value

    return change


def labels_of(tmp_path, *settings):
    paths = [runs.write_fold(tmp_path / str(number), change=setting(**values)) for number, values in enumerate(settings)]
    return [method.label for method in gather(paths)]


def test_labels_name_as_few_settings_as_tell_methods_apart(tmp_path):
    """A grid is named by what spans it, whatever follows from it. Seen red: every setting that differs in the label."""
    cells = [(scale, lr) for scale in (1, 10) for lr in (0.1, 0.2)]
    grid = [{"network__code_scale": scale, "network__init_std": scale / 50, "gan__lr": lr, "head__batch": 10 * lr} for scale, lr in cells]
    assert labels_of(tmp_path, *grid) == [f"DE-GAN, code_scale {scale}, lr {lr}" for scale, lr in cells]


def test_folds_of_several_processes_on_cpus_are_another_method(tmp_path):
    """Seen red: pooled with those of one, as folds of one method."""
    parts = [lambda content, n=n: content.update(bn_parts=n) for n in (1, 2)]
    paths = [runs.write_fold(tmp_path / str(fold), "cnn", fold, change=change) for fold, change in enumerate(parts)]
    assert [method.label for method in gather([*paths, runs.write_fold(tmp_path / "old", "cnn", 2)])] == [
        "CNN (baseline)", "CNN (baseline), BN in 2 processes",
    ]


def test_a_setting_that_two_stages_have_is_named_with_its_stage(tmp_path):
    """Seen red: `lr` alone, twice."""
    settings = [{"gan__lr": lr, "head__lr": other} for lr, other in ((0.1, 0.1), (0.2, 0.1), (0.2, 0.2))]
    assert labels_of(tmp_path, *settings) == [f"DE-GAN, gan.lr {a}, head.lr {b}" for a, b in ((0.1, 0.1), (0.2, 0.1), (0.2, 0.2))]


def test_a_long_setting_is_cut_and_the_labels_stay_distinct(tmp_path):
    """Seen red: only its beginning kept, so that both were numbered."""
    taps = ["conv12", "conv23", "conv33", "conv43"]
    found = labels_of(tmp_path, {"head__taps": taps}, {"head__taps": [*taps[:3], "conv53"]})
    assert found == [f"DE-GAN, taps [conv12, con…v33, {last}]" for last in ("conv43", "conv53")]


def test_settings_that_differ_are_a_table_of_the_report(tmp_path):
    """A column for each method; empty where a method does not train the stage. Seen red: the baseline's own value of an idle stage."""
    one = runs.write_fold(tmp_path / "a", change=setting(gan__lr=0.1))
    other = runs.write_fold(tmp_path / "b", change=setting(gan__lr=0.2, network__residual=True))
    cnn = runs.write_fold(tmp_path / "c", "cnn", change=setting(gan__lr=0.3, cnn__lr=0.4))
    page, report = write([cnn, one, other], tmp_path / "out")
    assert report["settings"] == [
        {"name": "network.residual", "values": ["false", "true", "false"]}, {"name": "gan.lr", "values": ["0.1", "0.2", None]},
    ]
    assert [method["label"] for method in report["methods"]] == ["DE-GAN, residual false", "DE-GAN, residual true", "CNN (baseline)"]
    assert "network.residual false true false gan.lr 0.1 0.2 " in page.text
    assert "| gan.lr | 0.1 | 0.2 |  |" in (tmp_path / "out" / "report.md").read_text()


def test_stages_that_a_method_does_not_train_do_not_make_another_method(tmp_path):
    """The baseline's configuration holds DE-GAN's too. Seen red: the whole configuration as signature."""
    other = runs.write_fold(tmp_path / "b", "cnn", 1, change=lambda content: content["config"]["gan"].update(lr=0.5))
    assert len(gather([runs.write_fold(tmp_path / "a", "cnn", 0), other])) == 1


def test_budgets_that_follow_from_the_number_of_faces_do_not_part_folds(tmp_path):
    """In preset `paper` a fold with more faces is shown more images; but a fold that was trained twice as long is another method.

    Seen red: kimg in the signature; no grouping by budget (a fold twice)."""

    def longer(content):
        content["config"]["cnn"]["kimg"] *= 2

    def larger(content):
        longer(content)
        content["n_train"] *= 2

    cnn = [runs.write_fold(tmp_path / "0", "cnn"), runs.write_fold(tmp_path / "1", "cnn", 1, change=larger)]
    assert len(gather(cnn)) == 1
    again = runs.write_fold(tmp_path / "again", "cnn", 0, change=longer)
    assert [len(method.runs) for method in gather([*cnn, again])] == [2, 1]


def test_a_fold_that_is_there_twice_is_refused_and_a_folder_named_twice_counts_once(tmp_path):
    """Seen red: the later one took the place of the earlier."""
    one, other = runs.write_fold(tmp_path / "a"), runs.write_fold(tmp_path / "b")
    assert len(gather([one, one, tmp_path / "b" / ".." / "a"])[0].runs) == 1
    with pytest.raises(RunError, match=r"fold 0 is in .*a and .*b"):
        gather([one, other])


def test_folds_that_were_dealt_out_anew_are_methods_of_their_own_and_compared_with_the_same_folds(tmp_path):
    """As `crossval --repeats 2` leaves them. Seen red: every method compared with every other (6 pairs)."""

    def dealt(seed):
        return lambda content: content["config"].update(fold_rule="shuffled", fold_seed=seed)

    for method in ("degan", "cnn"):
        for seed in (0, 1):
            runs.write_fold(tmp_path / method / f"shuffled{seed}" / "fold0", method, change=dealt(seed))
    methods = gather([tmp_path / "degan", tmp_path / "cnn"])
    assert [method.label for method in methods] == [f"{name}, fold_seed {seed}" for name in ("DE-GAN", "CNN (baseline)") for seed in (0, 1)]
    pairs = {(one.first.label, one.second.label) for one in compare_methods(methods)[0]}
    assert pairs == {(f"DE-GAN, fold_seed {seed}", f"CNN (baseline), fold_seed {seed}") for seed in (0, 1)}


def dealt(n_folds=3, manifest="ab", **config):
    """Return what lets a run have other folds: by rule and seed, or of another prepared folder with another number of them."""
    return lambda content: (content.update(n_folds=n_folds, manifest_sha256=manifest * 32), content["config"].update(config))


def test_methods_of_other_folds_are_said_to_be_no_comparison(tmp_path):
    """One manifest, folds drawn anew in one of two methods; then a third of other folds. Seen red: "All methods have the same faces and
    the same folds: one manifest.", ok."""
    shuffled = dealt(fold_rule="shuffled", fold_seed=4)
    paths = [runs.write_method(tmp_path / "a", change=dealt()), runs.write_method(tmp_path / "b", method="cnn", change=shuffled)]
    page, report = write(paths, tmp_path / "out")
    same = [one for one in report["findings"] if "manifest" in one["text"]]
    said = (
        "People are in other folds, so only methods of the same folds are compared"
        " (rule manifest, 3 folds: DE-GAN; rule shuffled, seed 4, 3 folds: CNN (baseline))."
    )
    assert [(one["level"], one["text"]) for one in same] == [("ok", "All methods have the same faces: one manifest."), ("look", said)]
    assert report["comparisons"] == [] and said in page.text and escape(said) in (tmp_path / "out" / "report.md").read_text()
    more = runs.write_method(tmp_path / "c", method="cnn", change=dealt(10, "cd"))
    _, report = write([*paths, more], tmp_path / "more")
    texts = [one["text"] for one in report["findings"] if one["level"] == "look"]
    assert any(text.startswith("The methods were trained on 2 different manifests") for text in texts)
    assert any(text.startswith("People are in other folds, so only methods") and text.count(" folds: ") == 3 for text in texts)
    _, report = write([paths[0], runs.write_method(tmp_path / "d", method="cnn", change=dealt())], tmp_path / "same")
    assert any(one["level"] == "ok" and "the same folds: one manifest" in one["text"] for one in report["findings"])


def test_prepared_folders_of_other_numbers_of_folds_are_not_compared(tmp_path):
    """`prepare --folds 3` and `--folds 10` of one database: other training people. Faces framed in two ways in the same folds are.
    Seen red: compared."""
    paths = [runs.write_method(tmp_path / "a", change=dealt())]
    paths += [runs.write_method(tmp_path / f"cnn{n}", method="cnn", change=dealt(n, other)) for n, other in ((10, "cd"), (3, "ef"))]
    pairs = [(one.first.label, one.second.label) for one in compare_methods(gather(paths))[0]]
    assert pairs == [("DE-GAN", "CNN (baseline), manifest efefefef")] * 2


def test_an_expression_that_no_test_face_shows_is_named_with_whose_folds(tmp_path):
    """Fold 1 is other people in either method; where both have the same folds it is said once. Seen red: "No test face shows fear in
    folds 1 and 2", of which each method lacks it in one."""

    def method(name, lacking, change):
        for fold in range(3):
            frame = runs.predictions_of(fold, 0.9)
            frame = frame[frame["expression"] != "fear"] if fold == lacking else frame
            runs.write_fold(tmp_path / name / f"fold{fold}", name, fold, frame=frame, change=change)
        return tmp_path / name

    first = method("degan", 1, dealt())
    second = method("cnn", 2, dealt(fold_rule="shuffled", fold_seed=4))
    said = "a mean of folds of macro recall is over fewer expressions there."
    _, report = write([first, second], tmp_path / "out")
    texts = [one["text"] for one in report["findings"] if "No test face" in one["text"]]
    assert texts == [f"No test face shows fear in fold 1 of DE-GAN: {said}", f"No test face shows fear in fold 2 of CNN (baseline): {said}"]
    third = method("iacnn", 1, dealt())
    _, report = write([first, third], tmp_path / "alike")
    assert [one["text"] for one in report["findings"] if "No test face" in one["text"]] == [f"No test face shows fear in fold 1: {said}"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "is neither a run .* nor a folder of folds [^;]*$"),
        (lambda path: runs.write_fold(path / "mine"), "is neither .*; .* holds runs: take one of them, such as .*/mine$"),
        (lambda path: runs.write_fold(path / "mine" / "fold0"), "is neither .*; .* holds folders of folds: take them, such as .*/mine$"),
        (lambda path: (path / "fold0").mkdir(parents=True), "no fold in .* was started"),
        (lambda path: (path.mkdir(), (path / "config.json").write_text("{")), "config.json must hold a JSON object"),
        (lambda path: (path.mkdir(), (path / "config.json").write_text('{"schema_version": 9}')), "version 9, this program reads 1"),
        (lambda path: (path.mkdir(), (path / "config.json").write_text('{"schema_version": 1}')), "has no 'config'"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(RunError, match=message):
        gather([tmp_path / "x"])


def test_what_is_not_complete_says_what_it_lacks(tmp_path):
    """Seen red: folds without config.json left out."""
    whole = tmp_path / "cv"
    runs.write_fold(whole / "fold0")
    for fold, stop in enumerate(("start", "gan", "diverged"), 1):
        runs.write_fold(whole / f"fold{fold}", fold=fold, stop=stop)
    (whole / "fold10").mkdir()
    (whole / "notes").mkdir()
    states = {run.fold: run.state for run in gather([whole])[0].runs}
    assert list(states) == [0, 1, 2, 3, 10] and states[0] == "complete"
    assert states[1] == "started, no step logged" and states[2] == "not complete: stage gan, step 4 of 8"
    assert states[3] == "stopped: loss D was nan in stage gan, step 4" and states[10] == "not started"


# --- figures and sentences --------------------------------------------------------------------------------------------


def test_pooled_counts_images_and_the_mean_counts_folds(tmp_path):
    """Folds of 36 and 9 images, 1 of which is wrong... worked with pandas. Seen red: one fold alone under `pooled`."""
    large, small = runs.predictions_of(0, 1.0), runs.predictions_of(1, 0.0, people=1)
    for fold, frame in enumerate((large, small)):
        runs.write_fold(tmp_path / f"fold{fold}", fold=fold, frame=frame)
    found = figures_of(gather([tmp_path])[0], 0)
    assert found.pooled.frame_accuracy.value == pytest.approx(36 / 45) and found.means["frame"].mean == pytest.approx(0.5)
    assert found.means["frame"].sd == pytest.approx(np.std([1.0, 0.0], ddof=1))
    assert found.pooled == evaluate(pd.concat([large, small], ignore_index=True))


def test_an_image_in_two_folds_is_refused(tmp_path):
    """Seen red: no check, the image counted twice."""
    for fold in (0, 1):
        runs.write_fold(tmp_path / f"fold{fold}", fold=fold, frame=runs.predictions_of(0, 0.9))
    with pytest.raises(RunError, match=r"tiny/S000/000/00000000 is tested in more than one fold"):
        figures_of(gather([tmp_path])[0], 0)


def test_the_sentence_says_everything_that_makes_a_number_believable(two):
    figures = figures_of(gather(two)[0], 0)
    share = figures.pooled.frame_accuracy
    value, low, high = (f"{100 * number:.1f}" for number in (share.value, share.low, share.high))
    assert sentence_pooled(figures, "frame", None) == (
        f"DE-GAN: {value} % (95 % interval {low} to {high}, bootstrap over 12 people), per frame, pooled over 3 subject-disjoint folds,"
        " last epoch, centre crop, unrotated, not mirrored."
    )
    assert sentence_pooled(figures, "sequence", True).endswith("not mirrored, on synthetic people.")


def test_a_part_of_the_folds_is_said_to_be_a_part(tmp_path):
    """Seen red: n_faces taken from the predictions."""
    run = runs.write_fold(tmp_path / "a", folds=10, change=lambda content: content.update(n_folds=10))
    sentence = sentence_pooled(figures_of(gather([run])[0], 0), "frame", None)
    assert "pooled over 1 of 10 subject-disjoint folds (36 of 360 images)" in sentence


def test_differences_are_those_of_the_shares(two):
    """On the same images the difference is that of the pooled accuracies. Seen red: the methods exchanged."""
    first, second = gather(two)
    found, apart = compare_methods([first, second])
    assert apart == [] and [one.unit for one in found] == ["frame", "sequence"]
    shares = [accuracy(method.predictions(0)) for method in (first, second)]
    assert found[0].paired.difference == pytest.approx(shares[0] - shares[1]) and found[0].paired.low > 0
    text = sentence_of_difference(found[0], None)
    assert text.startswith(f"DE-GAN is {100 * (shares[0] - shares[1]):.1f} points above CNN (baseline) (95 % interval")
    assert "no difference is shown" not in text and text.endswith("on the 108 images that both predicted.")


def test_of_one_person_there_is_no_interval_and_no_verdict(tmp_path):
    """A fold that leaves one person out, in all that is written. Seen red: "100.0 % (95 % interval 100.0 to 100.0, bootstrap over 1
    people)", "above in 100.0 % of replicates", and not a word that this shows nothing."""
    alone = {"degan": 1.0, "cnn": 0.4}
    paths = [runs.write_fold(tmp_path / name, name, frame=runs.predictions_of(0, share, people=1)) for name, share in alone.items()]
    methods = gather(paths)
    worse = 100 * accuracy(methods[1].predictions(0))
    assert " 100.0 % (no interval: one person), per frame," in sentence_pooled(figures_of(methods[0], 0), "frame", None)
    said, above = sentence_of_difference(compare_methods(methods)[0][0], None), f"{100 - worse:.1f} points above CNN (baseline)"
    assert said == f"DE-GAN is {above} (no interval: one person), per frame, on the 9 images that both predicted."

    page, report = write(paths, tmp_path / "out")
    write_card(paths[0])
    markdown, card = (tmp_path / "out" / "report.md").read_text(), (paths[0] / "card.md").read_text()
    looks = [one["text"] for one in report["findings"] if "always answering" in one["text"]]
    assert len(looks) == 2 and "(100.0 %, no interval: one person, against 33.3 %)" in looks[0]
    assert "| 100.0 % (none: one person) |" in markdown and "| 100.0 % (none: one person) |" in card
    assert f"CNN (baseline) frame 0 9 100.0 {worse:.1f} +{100 - worse:.1f} none: one person none: one person " in page.text
    for text in (page.text, markdown, card):
        assert not any(wrong in text for wrong in ("over 1 people", "100.0 to 100.0", "% of replicates"))


def test_of_people_who_are_all_alike_there_is_no_interval(tmp_path):
    """All right in both methods, or nothing, in all that is written. Seen red: "100.0 % (95 % interval 100.0 to 100.0, bootstrap over 12
    people)", "level with ... (95 % interval 0.0 to 0.0 points"."""
    for share, percentage in ((1.0, "100.0"), (0.0, "0.0")):
        root = tmp_path / percentage
        paths = [runs.write_method(root / name, method=name, share=share) for name in ("degan", "cnn")]
        methods = gather(paths)
        assert f" {percentage} % (no interval: all alike), per frame," in sentence_pooled(figures_of(methods[0], 0), "frame", None)
        said = sentence_of_difference(compare_methods(methods)[0][0], None)
        assert said == "DE-GAN is level with CNN (baseline) (no interval: all alike), per frame, on the 108 images that both predicted."
        page, report = write(paths, root / "out")
        write_card(paths[0])
        markdown, card = (root / "out" / "report.md").read_text(), (paths[0] / "card.md").read_text()
        looks = [one["text"] for one in report["findings"] if "always answering" in one["text"]]
        assert len(looks) == (0 if share else 2) and all("(0.0 %, no interval: all alike, against 33.3 %)" in text for text in looks)
        assert f"| {percentage} % (none: all alike) |" in markdown and f"| {percentage} % (none: all alike) |" in card
        assert f"CNN (baseline) frame 0 108 {percentage} {percentage} +0.0 none: all alike none: all alike " in page.text
        for text in (page.text, markdown, card):
            assert not any(wrong in text for wrong in ("100.0 to 100.0", "0.0 to 0.0", "% of replicates"))


def test_seeds_are_compared_with_the_same_seed_and_together(tmp_path):
    """Seeds 0 and 1 of both, seed 2 of one: together over 0 and 1, then each. Seen red: all seeds of either."""
    paths = [runs.write_fold(tmp_path / f"degan{seed}", seed=seed, share=0.9) for seed in (0, 1, 2)]
    paths += [runs.write_fold(tmp_path / f"cnn{seed}", "cnn", seed=seed, share=0.6) for seed in (0, 1)]
    methods = gather(paths)
    found, _ = compare_methods(methods)
    assert [one.seeds for one in found if one.unit == "frame"] == [(0, 1), (0,), (1,)]
    singles = [one.paired.difference for one in found if one.unit == "frame"][1:]
    assert found[0].paired.difference == pytest.approx(np.mean(singles))
    assert "mean over seeds 0 and 1" in sentence_of_difference(found[0], None)
    assert [sentence_of_difference(one, None).partition("both predicted")[2] for one in found[2::2]] == [", seed 0.", ", seed 1."]


def test_methods_without_a_common_seed_are_compared_all_together(tmp_path):
    """And whose seeds these are is said. Seen red: nothing compared; no word of seeds; "mean over seeds 0 and 1" for both, and so in
    the table and in report.json."""
    methods = gather([runs.write_fold(tmp_path / "a", seed=1), runs.write_fold(tmp_path / "b", "cnn", seed=2)])
    found, _ = compare_methods(methods)
    assert [one.shared_seeds for one in found] == [False, False]
    assert sentence_of_difference(found[0], None).endswith("that both predicted, seed 1 against seed 2.")
    for method, other, seeds, words in (
        ("cnn", "degan", ([2], [0, 1]), "seed 2 against the mean over seeds 0 and 1"),
        ("degan", "cnn", ([0, 1], [2]), "the mean over seeds 0 and 1 against seed 2"),
    ):
        root = tmp_path / method
        several = [runs.write_fold(root / f"several{seed}", method, seed=seed) for seed in (0, 1)]
        page, report = write([*several, runs.write_fold(root / "one", other, seed=2)], root / "out")
        entry = report["comparisons"][0]
        assert (entry["seeds"], entry["seeds_of_second"]) == seeds and entry["sentence"].endswith(f"that both predicted, {words}.")
        assert f"frame {', '.join(map(str, seeds[0]))} against {', '.join(map(str, seeds[1]))} 36" in page.text


def test_the_spread_over_seeds_counts_the_folds_that_all_have(tmp_path):
    """Seed 0 has three folds, seed 1 two. Seen red: all folds of each seed."""
    for fold, seed in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]:
        runs.write_fold(tmp_path / f"s{seed}" / f"fold{fold}", fold=fold, seed=seed)
    found = seed_spread(gather([tmp_path / "s0", tmp_path / "s1"])[0])
    assert found.folds == (0, 1) and found.n_images == 72
    paths = [[tmp_path / f"s{seed}" / f"fold{fold}" / "predictions.csv" for fold in (0, 1)] for seed in (0, 1)]
    shares = [accuracy(pd.concat(map(read_predictions, of_seed))) for of_seed in paths]
    assert found.values["frame"] == pytest.approx(shares) and found.figures["frame"].mean == pytest.approx(np.mean(shares))
    assert seed_spread(gather([tmp_path / "s0"])[0]) is None


# --- the three files --------------------------------------------------------------------------------------------------

KEYS = {
    "schema_version", "written_by", "title", "databases", "drawn", "findings", "methods", "settings", "figures", "seeds", "comparisons",
    "nothing_in_common", "incomplete", "probes", "paper",
}


def test_json_page_and_markdown_hold_the_same_numbers(two, written):
    """Seen red: the sequence's share under `per frame` on the page."""
    page, report = read(written)
    assert set(report) == KEYS
    text = (written / "report.md").read_text()
    for one, folder in zip(report["figures"], two, strict=True):
        frame = pd.concat([read_predictions(folder / f"fold{fold}" / "predictions.csv") for fold in range(3)], ignore_index=True)
        assert one["pooled"] == json.loads(json.dumps(evaluate(frame).to_json()))
        assert set(one) == {
            "name", "method", "seed", "seen_before", "pooled", "mean_of_folds", "folds", "sentences", "kimg", "processor_minutes",
            "parameters",
        }
        assert len(one["folds"]) == 3 and one["processor_minutes"] == (3 if one["method"] == "DE-GAN" else 1.5)
        costs = f"{one['kimg']:g}", f"{one['processor_minutes']:.1f}"
        assert f"% | {costs[0]} | {costs[1]} |" in text and f"{percent(one['pooled']['frame_macro_recall'])} {' '.join(costs)}" in page.text
        share = f"{100 * accuracy(frame):.1f}"
        assert f"{one['name']} 3 108 {share}" in page.text and f"| {escape(one['name'])} | 3 | 108 | 12 | {share} % (" in text
        for sentence in one["sentences"]:
            assert sentence in page.text and escape(sentence) in text
    assert report["comparisons"][0]["sentence"] in page.text and f"* {escape(report['comparisons'][0]['sentence'])}" in text
    for said in ("Images shown", "Passes over the faces", "ab" * 32, "0.1.0+aa", "cpu, 2 threads, torch 2.13.0"):
        assert said in page.text


def test_what_is_not_complete_is_named_and_in_no_figure(tmp_path):
    """Seen red: `incomplete` from complete runs."""
    runs.write_fold(tmp_path / "cv" / "fold0")
    runs.write_fold(tmp_path / "cv" / "fold1", fold=1, stop="gan")
    page, report = write([tmp_path / "cv"], tmp_path / "out")
    assert [(one["fold"], one["state"]) for one in report["incomplete"]] == [(1, "not complete: stage gan, step 4 of 8")]
    assert len(report["figures"][0]["folds"]) == 1 and "DE-GAN, seed 0, fold 1 is in no figure: not complete" in page.text
    with pytest.raises(RunError, match="no run is complete"):
        write_report([tmp_path / "cv" / "fold1"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("stop", "way"), [
    ("gan", "the command that started it resumes it"), ("diverged", r"training diverged \(.*\), as it would again: train"),
])
def test_where_no_run_is_complete_it_is_said_what_helps(tmp_path, stop, way):
    """Seen red, of one that diverged: that the command that started it, or `crossval`, resumes it; "train it to its end first"."""
    run = runs.write_fold(tmp_path / "cv" / "fold0", stop=stop)
    for look in (evaluate_run, load_run, lambda run: evaluate_runs([run]), lambda run: evaluate_runs([run.parent]),
                 lambda run: complete_runs(run.parent, print), lambda run: write_report([run], tmp_path / "out")):
        with pytest.raises(RunError, match=f"complete.*; {way}"):
            look(run)


def test_findings_name_what_makes_a_comparison_unfair(tmp_path):
    """A larger budget, one seed, a class without a test image, an untrained model, a run that was resumed by another version of the code.
    Seen red: budgets compared by their first stage; the version that started the run as its only one."""

    def longer(content):
        content["config"]["cnn"]["kimg"] *= 2

    frame = runs.predictions_of(0, 0.34)
    frame = frame[frame["expression"] != "fear"].reset_index(drop=True)
    one = runs.write_fold(tmp_path / "a", frame=frame)
    other = runs.write_fold(tmp_path / "b", "cnn", frame=frame, change=longer)
    result = json.loads((other / "result.json").read_text())
    result["stages"]["cnn"]["kimg"] *= 2
    (other / "result.json").write_text(json.dumps(result))
    with (one / "log.jsonl").open("a") as file:
        file.write('{"event": "start", "code_version": "0.2.0+bb"}\n')
    report = write([one, other], tmp_path / "out")[1]
    looks = " ".join(one["text"] for one in report["findings"] if one["level"] == "look")
    assert "The runs were made by 2 versions" in looks and ("Code version", "0.1.0+aa; 0.2.0+bb") in page_rows(report)
    assert "different numbers of images in training (thousands: DE-GAN 0.128, CNN (baseline) 0.256)" in looks
    assert "No test face shows fear in fold 0" in looks and "have one seed each" in looks
    assert "DE-GAN is not shown to be better than always answering" in looks and "could not be found out" in looks


def test_the_papers_table_stands_beside_ours_with_what_forbids_to_compare(tmp_path):
    """Every printed row, ours as mean of folds with two digits, and why it may not be compared. Seen red: the sequences under accuracy."""
    run = runs.write_method(tmp_path / "cv", dataset="ck+", change=lambda content: content.update(drawn=True))
    page, report = write([run], tmp_path / "out")
    view = report["paper"][0]
    folds = [100 * accuracy(read_predictions(run / f"fold{fold}" / "predictions.csv")) for fold in range(3)]
    assert view["number"] == 1 and len(view["rows"]) == 8 and view["ours"][0]["mean_of_folds"] == f"{np.mean(folds):.2f}"
    assert len([attrs for attrs in page.tags("tr") if attrs.get("class") == "ours"]) == 1
    assert not view["comparable"] and "synthetic people in the layout of CK+: they cannot be compared" in page.text
    for printed in ("HOG 3D [8] Dynamic 91.44", "DE-GAN(Ours) Static 97.36", "DE-GAN: 3 folds, where the paper has 10"):
        assert printed in page.text
    assert "12 of 118 people, 36 of 327 sequences and 108 of 981 faces" in page.text
    assert "on synthetic people in the layout of CK+" in report["title"]
    assert all(sentence.endswith("on synthetic people.") for sentence in report["figures"][0]["sentences"])


@pytest.mark.parametrize(("dataset", "sequence", "entry", "said"), [
    ("oulu", "VL-Strong-{}", {"frame_rule": "last-three"}, ""),
    ("oulu", "NI-Dark-{}", {"frame_rule": "last-three"}, "DE-GAN: faces of NI/Dark (original), where the paper has VL/Strong (original)."),
    ("oulu", "VL_Acropped-Strong-{}", {"frame_rule": "last-three"}, "DE-GAN: faces of VL/Strong (cropped), where"),
    ("oulu", "VL-Strong-{}", {"frame_rule": "middle-three"}, "DE-GAN: frames by rule middle-three, where the paper has the last"),
    ("mmi", "{}", {"frame_rule": "middle-three"}, ""),
    ("mmi", "{}", {"frame_rule": "apex-or-middle-three"}, "frames by rule apex-or-middle-three, where the paper has the three"),
    ("ck48", "{}", {"frame_rule": "all"}, ""), ("ck+", "{}", {"frame_rule": "all"}, "frames by rule all, where"),
    ("ck+", "{}", {}, "DE-GAN: it is not recorded which frames were taken, where the paper has the last three frames of each sequence."),
])
def test_other_faces_of_a_database_of_the_paper_are_called_so(tmp_path, dataset, sequence, entry, said):
    """The part of Oulu-CASIA by the ids tested, the frames by what the run says. Seen red: every one set against the table with no word
    of it, near infrared in the dark next to visible light."""
    def change(content):
        content.update(drawn=False, options={"spectrum": "nir", "tree": None}, **entry)

    frame = runs.predictions_of(0, 0.8, dataset=dataset)
    frame["sequence"] = [sequence.format(name) for name in frame["expression"]]
    run = runs.write_fold(tmp_path / "fold0", dataset=dataset, frame=frame, change=change)
    page, report = write([run], tmp_path / "out")
    caveats = [one for one in report["paper"][0]["caveats"] if "expressions (" not in one and "where the paper has 10" not in one]
    assert [one for one in caveats if "where the paper has" in one] == [one for one in caveats if said and said in one]
    assert said in page.text and "spectrum nir" in page.text and "tree" not in dict(page_rows(report))["Prepared with"]
    assert bool(entry) == (f"by rule {entry.get('frame_rule')}" == dict(page_rows(report)).get("Frames"))


def page_rows(report):
    """Return the rows of the first method's protocol."""
    return [tuple(row) for row in report["methods"][0]["protocol"]]


def test_other_expressions_than_the_papers_are_named(tmp_path):
    """Neutral as a class of its own, expressions left out; more sequences than the paper has. Seen red: "400 of 118 people", and
    no word of the eighth expression."""
    classes = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    number = np.arange(8 * 50)
    rows = pd.DataFrame({
        "image_id": [f"ck+/S{n}/001/00000001" for n in number], "subject": [f"S{n}" for n in number], "sequence": "001",
        "expression": [classes[n % 8] for n in number],
    })
    frame = predictions_frame(rows, np.eye(8)[number % 8], classes)
    run = runs.write_fold(tmp_path / "fold0", dataset="ck+", frame=frame, change=lambda content: content.update(drawn=False))
    text = " ".join(write([run], tmp_path / "out")[1]["paper"][0]["caveats"])
    assert "DE-GAN: 8 expressions (with neutral), where the paper has 7." in text
    assert "400 people where it has 118, 400 sequences where it has 327 and 400 of 981 faces" in text


def test_what_had_seen_more_has_no_row_in_the_papers_table(tmp_path):
    """It stands in a table of its own behind it, on the page and in Markdown. Seen red: all rows in one table, of either."""
    random = runs.write_method(tmp_path / "cv", dataset="ck+", method="cnn")
    started = runs.write_method(tmp_path / "started", dataset="ck+", method="cnn", change=seen(dataset="fer2013"))
    page, report = write([started, random], tmp_path / "out")
    assert [bool(row["seen_before"]) for row in report["paper"][0]["ours"]] == [True, False]
    labels = [one["aria-label"] for one in page.tags("div") if "table 1" in one.get("aria-label", "")]
    assert labels == ["The paper's table 1", "Ours, pre-trained, for table 1"]
    text = (tmp_path / "out" / "report.md").read_text()
    theirs, ours = text.split("## The paper's table 1")[1].split("| method, pre-trained | seen before |")
    assert (theirs.count("| ours: "), ours.count("| ours: ")) == (1, 1) and "fer2013: people unknown" in ours


@pytest.mark.parametrize(("method", "published", "differs"), [
    ("degan", "DE-GAN: 97.36", "the paper pre-trains it on 60,600 faces of BU-4DFE"), ("derl", "DeRL: 97.30", "its paper pre-trains"),
    ("cnn", "CNN (baseline): 90.34", "the paper says nothing of its layers"), ("iacnn", "IACNN: 95.37", "its paper's layers"),
])
def test_a_method_of_the_paper_stands_beside_its_own_row(tmp_path, method, published, differs):
    """Both figures, how the protocols differ, and another preset than the paper's: so none is comparable. Of other methods nothing is
    published. Seen red: rivals alone, without degan and cnn; without the preset."""
    run = runs.write_method(tmp_path / "cv", method=method, dataset="ck+", change=lambda content: content.update(drawn=False))
    page, report = write([run], tmp_path / "out")
    view = report["paper"][0]
    assert f"{published} published, {view['ours'][0]['mean_of_folds']} here (mean of folds, per frame); {differs}" in page.text
    assert "; ours started from random weights." in page.text and not view["comparable"]
    assert "preset smoke, not preset paper, which has the numbers that the paper gives" in page.text
    own = runs.write_method(tmp_path / "own", method="deae", dataset="ck+", change=lambda content: content.update(drawn=False))
    assert not any("published" in caveat for caveat in write([own], tmp_path / "other")[1]["paper"][0]["caveats"])


@pytest.mark.parametrize(("method", "changes", "label", "row"), [
    ("degan", {"head__variant": "f-svm"}, "DE-GAN, variant f-svm", "DE-GAN(Ours) (head.variant f-svm)"),
    ("degan", {"head__variant": "taps", "head__encoder_lr": 1e-3}, "DE-GAN, variant taps, encoder_lr 1e-3",
     "DE-GAN(Ours) (head.variant taps, head.encoder_lr 1e-3)"),
    ("derl", {"head__variant": "f-mlp"}, "DeRL, variant f-mlp", "DeRL (head.variant f-mlp)"),
    ("cnn", {"cnn__identity_swap": 0.5}, "CNN (baseline), identity_swap 0.5", "CNN(baseline) (cnn.identity_swap 0.5)"),
    ("cnn", {"cnn__balanced": True}, "CNN (baseline), balanced true", "CNN(baseline) (cnn.balanced true)"),
    ("cnn", {"cnn__confusion": 0.1}, "CNN (baseline), confusion 0.1", "CNN(baseline) (cnn.confusion 0.1)"),
    ("cnn", {"cnn__members": 5}, "5 CNNs averaged", "CNN(baseline) (cnn.members 5)"),
])
def test_a_variant_is_called_one_and_has_no_published_figure(tmp_path, method, changes, label, row):
    """Alone in a report as well. Seen red: "DE-GAN: 97.36 published" of an SVM on f(x), whose name stood nowhere."""
    def change(content):
        content["drawn"] = False
        setting(**changes)(content)

    run = runs.write_method(tmp_path / "cv", method=method, dataset="ck+", change=change)
    page, report = write([run], tmp_path / "out")
    caveats = report["paper"][0]["caveats"]
    assert report["methods"][0]["label"] == report["paper"][0]["ours"][0]["name"] == label
    assert f"{label}: a variant of {row}, of which nothing is published." in caveats and not any(" published, " in one for one in caveats)
    changed = dict(page_rows(report))["Settings that differ from the preset"]
    assert all(f"{name.replace('__', '.')} " in changed and "(preset: " in changed for name in changes) and changed in page.text


def of_preset_paper(**changes):
    """Return a `change` of write_fold: preset paper of the same method, with `changes`."""
    def change(content):
        config = resolve_budgets(preset("paper", method=content["config"]["method"]), content["n_train"])
        content.update(drawn=False, config=json.loads(json.dumps(asdict(config))))
        setting(**changes)(content)

    return change


@pytest.mark.parametrize(("method", "changes", "said"), [
    ("cnn", {}, ""), ("degan", {}, ""),
    ("cnn", {"network__image_size": 16, "cnn__kimg": 0.3}, "network.image_size 16 (preset: 96), cnn.kimg 0.3 (preset: 2772)"),
    ("degan", {"gan__targets": "any", "judges__kimg": 1.0}, "gan.targets any (preset: other)"),
    ("degan", {"cnn__lr": 1.0}, ""),
])
def test_preset_paper_with_other_settings_is_not_preset_paper(tmp_path, method, changes, said):
    """What was trained decides, not the name of the preset; judges and stages that are not trained do not. Seen red: "Preset | paper"
    and no caveat, with networks of 16 px that had seen 300 images. By hand: 350 epochs of 110 views of 72 faces are 2,772 thousand."""
    run = runs.write_fold(tmp_path / "fold0", method=method, dataset="ck+", change=of_preset_paper(**changes))
    page, report = write([run], tmp_path / "out")
    name = report["methods"][0]["label"]
    found = [one for one in report["paper"][0]["caveats"] if "preset paper" in one]
    assert found == ([f"{name}: not as in preset paper: {said}."] if said else [])
    assert dict(page_rows(report)).get("Settings that differ from the preset", "") == said and said in page.text


def test_a_run_and_its_report_say_the_same_of_a_preset_but_for_what_makes_no_figure():
    """A method has several seeds, and judges take no part in training. Seen red: `counts` away, or never called."""
    smoke = preset("smoke")
    config = replace(smoke, seed=1, precision="bf16", judges=replace(smoke.judges, lr=0.5))
    precision = {"precision": ("bf16", smoke.precision)}
    assert differences(config) == {"seed": (1, 0), **precision, "judges.lr": (0.5, smoke.judges.lr)}
    assert from_preset(asdict(resolve_budgets(config, 90)), 90) == precision != {}


def test_what_follows_is_no_change_of_a_preset():
    """Budgets in epochs by the faces, the SVM's by its views, precision by the processor. Seen red: the latter two named."""
    config = asdict(resolve_budgets(replace(preset("small"), head=replace(preset("small").head, variant="f-svm"), precision="bf16"), 90))
    assert from_preset(config, 90) == {"head.variant": ("f-svm", "both")}
    paper = asdict(resolve_budgets(preset("paper"), 90))
    assert not from_preset(paper, 90) and from_preset(paper, 91) and not from_preset({**paper, "preset": "of another program"}, 91)


@pytest.mark.parametrize(("entry", "known"), [
    ({"dataset": "jaffe", "people": ["jaffe/KA"], "n_people": 1}, True), ({"dataset": "fer2013"}, False),
    (FILE, False),
    ({"dataset": "jaffe", "people": ["jaffe/KA"], "n_people": 1, "before": {"dataset": "fer2013", "n_faces": 9, "kimg": 1.0}}, False),
])
def test_nobody_is_called_unseen_where_a_start_has_unknown_people(entry, known, tmp_path):
    """On the page and on the card. Seen red: the sentence of before, for every start."""
    run = runs.write_method(tmp_path / "cv", method="cnn", change=seen(**entry))
    page, _ = write([run], tmp_path / "out")
    write_card(run, tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text()
    assert ("by a model that had not seen its person" in page.text) is known
    assert ("tested on people whom it had not seen" in card) is known and ("started from is not known" in card) is not known


def test_another_database_has_the_papers_tables_for_orientation_only(written):
    """Seen red: table 1 taken for this database as well."""
    page, report = read(written)
    assert report["paper"] == [] and "The paper has no table for this database" in page.text
    assert all(printed in page.text for printed in ("Table 1: CK+", "Table 2: MMI", "Table 3: Oulu-CASIA", "PPDN [27] Static 84.59"))
    assert not [attrs for attrs in page.tags("tr") if attrs.get("class") == "ours"]


def test_probes_of_other_settings_are_tables_of_their_own(two, tmp_path):
    """Fold 0 with a baseline and seed 5, the others without. Seen red: a mean of three folds next to a baseline of one."""
    shutil.copytree(two[0], tmp_path / "cv")
    rows = [runs.probe_row(name, "identity linear", "test fold", value, 0.1) for name, value in (("f(x)", 0.2), ("baseline", 0.9))]
    for fold, content in ((0, {"seed": 5, "baseline": "C/fold0", "rows": rows}), (1, {"seed": 0, "baseline": None, "rows": rows[:1]})):
        (tmp_path / "cv" / f"fold{fold}" / "probe.json").write_text(json.dumps({"schema_version": 2, **content}))
    page, report = write([tmp_path / "cv"], tmp_path / "out")
    first, second = report["probes"]
    assert first["method"] == "DE-GAN, fold 0, probed with seed 5 and the baseline of C" and first["runs"] == second["runs"] == 1
    assert first["columns"][-1] == "baseline" and second["columns"] == ["probe", "people", "chance", "f(x)"]
    assert second["method"] == "DE-GAN, fold 1, probed with seed 0 and no baseline" and second["method"] in page.text


def test_probes_are_shown_where_there_are_some(two, written, tmp_path):
    """Means over the runs, a column for each feature. Seen red: the first run's value."""
    shutil.copytree(two[0], tmp_path / "cv")
    for fold, value in enumerate((0.2, 0.4)):
        row = runs.probe_row("f(x)", "identity linear", "test fold", value, 0.1)
        content = {"schema_version": 2, "rows": [row, {**row, "features": "pixels", "value": 0.9}]}
        (tmp_path / "cv" / f"fold{fold}" / "probe.json").write_text(json.dumps(content))
    page, report = write([tmp_path / "cv"], tmp_path / "out")
    assert report["probes"] == [
        {"method": "DE-GAN", "runs": 2, "columns": ["probe", "people", "chance", "f(x)", "pixels"],
         "rows": [["identity linear", "test fold", "10.0", "30.0", "90.0"]]}
    ]
    assert "identity linear test fold 10.0 30.0 90.0" in page.text
    assert not read(written)[1]["probes"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"schema_version": 1, "rows": []}', "has schema version 1, this program reads 2"),
        ('{"schema_version": 2, "rows": [{"probe": "x"}]}', "must hold rows as `fer-model probe` writes them"),
        ("[]", r"must hold a JSON object \(not an object but list\)"), ("[" * 100_000, r"must hold a JSON object \(nested too deeply\)"),
    ],
    ids=["of before", "a row cut", "a list", "nested"],
)
def test_probes_of_another_version_are_refused(content, what, tmp_path):
    """Their chance means another thing. Seen red: taken as they were; KeyError; json.loads (RecursionError)."""
    run = runs.write_fold(tmp_path / "a")
    (run / "probe.json").write_text(content)
    said = rf"probe\.json {what}; write it again with `fer-model probe"
    with pytest.raises(RunError, match=said):
        write_report([run], tmp_path / "out")


def test_faces_are_in_the_page_or_none_is(two, written, without):
    """Seen red: the sheets kept with faces=False."""
    page, _ = read(written)
    pictures = page.tags("img")
    assert len(pictures) == 3 and all(picture["alt"] and (picture["width"], picture["height"]) == ("60", "40") for picture in pictures)
    assert base64.b64decode(pictures[0]["src"].split(",")[1]) == (two[0] / "fold0" / "samples.png").read_bytes()
    assert "Face pictures are personal data" in page.text
    page, _ = read(without)
    assert not page.tags("img") and b"base64," not in (without / "report.html").read_bytes()
    assert "No face picture is in this page" in page.text and "Face pictures are personal data" in page.text


def test_a_sheet_that_is_no_picture_is_refused(tmp_path):
    run = runs.write_fold(tmp_path / "a")
    (run / "samples.png").write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(RunError, match=r"samples\.png is not a PNG"):
        write_report([run], tmp_path / "out")
    write_report([run], tmp_path / "out", faces=False)


# --- nothing runs, nothing leaves -------------------------------------------------------------------------------------

ATTACK = "\"><img src=https:x.example onerror=alert(1)><script>alert(2)<|`{{7*7}}"


def test_hostile_names_are_text(tmp_path):
    """In the dataset, a class, a folder, a preset, a log line and a probe. Seen red: autoescape off (2 scripts)."""

    def hurt(content):
        content["config"]["preset"] = ATTACK
        content["dataset"] = content["code_version"] = ATTACK

    frame = runs.predictions_of(0, 0.8)
    frame = frame.assign(expression=frame["expression"].replace("fear", ATTACK), predicted=frame["predicted"].replace("fear", ATTACK))
    frame = frame.rename(columns={"p_fear": f"p_{ATTACK}"})
    run = runs.write_fold(tmp_path / "<script>alert(3)<x>", frame=frame, change=hurt)
    write_predictions(run / "predictions.csv", frame)
    line = {"event": "tick", "stage": ATTACK, "step": 1, "seen_kimg": 1.0, f"loss_{ATTACK.replace('_', ' ')}": 1.0}
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    row = runs.probe_row(ATTACK, ATTACK, ATTACK, 0.5)
    (run / "probe.json").write_text(json.dumps({"schema_version": 2, "rows": [row]}))
    page, _ = write([run], tmp_path / "out")
    assert not page.tags("script") and "{{7*7}}" in page.text and ATTACK in page.text and "<script>alert(3)<x>" in page.text
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert tag != "img" or attrs["src"].startswith("data:image/png;base64,")
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "<img" not in markdown.replace("\\<img", "") and "<script" not in markdown.replace("\\<script", "")


@pytest.mark.parametrize("name", ["written", "without"])
def test_nothing_on_the_page_points_outside_it(name, request):
    """No address but #places and data:, no inline style or handler, and the policy names exactly our style and no script.

    Seen red: style="width: 1px" on a key."""
    page, _ = read(request.getfixturevalue(name))
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            assert name != "style" and not name.startswith("on"), (tag, name)
            if name in ("src", "href", "action", "srcset", "poster", "data", "xlink:href"):
                assert value.startswith(("#", "data:image/")), (tag, value)
    assert "@import" not in page.raw["style"] and "url(" not in page.raw["style"] and "script" not in page.raw
    policy = next(attrs["content"] for attrs in page.tags("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(page.raw["style"].encode()).digest()).decode()
    assert rules["default-src"] == rules["script-src"] == "'none'" and rules["style-src"] == f"'sha256-{digest}'"


def test_places_on_the_page_exist(written):
    """Seen red: a section renamed."""
    page, _ = read(written)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    wanted = {attrs["href"][1:] for attrs in page.tags("a") if attrs["href"].startswith("#")}
    wanted |= {attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs}
    assert len(ids) == len(set(ids)) and wanted <= set(ids) and len(wanted) > 12


def test_same_runs_same_bytes(two, written, tmp_path):
    """Seen red: the time of writing in the footer."""
    write_report(two, tmp_path)
    for name in ("report.html", "report.md", "report.json"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


# --- parts ------------------------------------------------------------------------------------------------------------


def test_ticks_are_round_and_span_the_values():
    """Seen red: floor for both ends."""
    for low, high in [(0, 9.3), (0.93, 0.981), (-30.2, 1.1), (0, 1e-6), (5, 5), (0, 64_746)]:
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9 and len(ticks) <= 6


def test_lines_lie_where_their_values_are():
    """Top left is (0, largest), bottom right (last, 0); the mean of two runs between them. Seen red: y not turned round."""
    chart = line_chart("x", [{"a": ([0, 10], [8.0, 0.0])}, {"a": ([0, 10], [4.0, 0.0])}])
    left, top, right, bottom = chart.frame
    thick = next(line for line in chart.lines if not line.thin)
    assert thick.path == f"M{left:.1f} {top + (bottom - top) * 0.25:.1f}L{right:.1f} {bottom:.1f}" and len(chart.lines) == 3
    assert [text for _, text in chart.y_ticks][-1] == "8" and chart.legend[0][2] == "0"


def test_a_run_that_was_stopped_is_not_in_the_mean():
    """Seen red: the mean cut off where the shortest run ends."""
    chart = line_chart("x", [{"a": ([0, 5, 10], [8.0, 6, 4])}, {"a": ([0, 1], [0.0, 0])}])
    thick = next(line for line in chart.lines if not line.thin)
    assert thick.path.count("L") == 2 and chart.legend[0][2] == "4"


def test_intervals_lie_in_order_on_their_axis():
    """Seen red: low and high exchanged."""
    chart = interval_chart([Mark("a", 0.9, 0.8, 0.95, (0.7, 1.0)), Mark("b", 0.5, 0.5, 0.5)])
    row = chart.rows[0]
    assert chart.left <= row.dots[0] < row.low < row.value < row.high < row.dots[1] <= chart.right and chart.zero is None
    assert interval_chart([Mark("a", 0.1, 0.05, 0.2)], zero=True).zero == chart.left


@pytest.mark.parametrize("value", [1.0, 2 / 3, 0.0, 0.90625])
def test_a_chart_of_one_value_has_an_axis_of_different_labels(value):
    """Seen red: "66.6667" at both ends."""
    labels = [label for _, label in interval_chart([Mark("a", value, value, value, (value,))]).ticks]
    assert len(labels) > 1 and len(set(labels)) == len(labels)


def test_a_cell_with_a_bar_does_not_make_another_column():
    """Seen red: cells not escaped."""
    assert table(["a"], [["x|y\nz"]])[-1] == "| x\\|y z |"


def test_the_command_says_where_the_page_is_and_what_is_missing(two, tmp_path):
    """Exit codes: 0 done, 1 for a folder without a run. Seen red: --no-faces turned round."""
    done = CliRunner().invoke(main, ["report", *map(str, two), "--out", str(tmp_path / "x")])
    assert done.exit_code == 0, done.output
    assert "3 sheets of faces, which are personal data" in done.output and "6 runs of 2 methods" in done.output
    done = CliRunner().invoke(main, ["report", str(two[0]), "--out", str(tmp_path / "y"), "--no-faces"])
    assert done.exit_code == 0 and "no picture of a face" in done.output and (tmp_path / "y" / "report.md").is_file()
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(main, ["report", str(tmp_path / "empty"), "--out", str(tmp_path / "z")])
    assert done.exit_code == 1 and "is neither" in done.output


def test_what_people_reach_is_next_to_what_the_model_reaches(tmp_path):
    """As the prepared folder had it, in all three files. Seen red: the tile, then the finding left out; shown where nobody was asked."""
    judged = (("single judgements of the face alone", 41156, 71654), ("clips, by vote", 1, 4))
    human = [{"judged": what, "right": right, "of": of} for what, right, of in judged]
    runs.write_method(tmp_path / "judged", dataset="crema-d", method="cnn", change=lambda content: content.update(human=human, drawn=False))
    runs.write_method(tmp_path / "plain", method="cnn")
    write_report([tmp_path / "judged"], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_bytes())
    said = "57.4 % of 71,654 single judgements of the face alone; 25.0 % of 4 clips, by vote"
    assert f"People who judged CREMA-D named the intended expression in {said}." in page.text
    assert "people, of single judgements of the face alone 57.4 %" in page.text.replace("  ", " ")
    assert said in (tmp_path / "out" / "report.md").read_text()
    (method,) = json.loads((tmp_path / "out" / "report.json").read_bytes())["methods"]
    assert ["People name the intended expression in", said] in method["protocol"]
    write_report([tmp_path / "plain"], tmp_path / "out")
    assert "intended expression" not in (tmp_path / "out" / "report.html").read_text()
