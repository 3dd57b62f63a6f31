"""The card of a model: what it says is what the runs hold; what may be done with the weights comes first.

Run folders are written by model_runs.py without training.
"""

import hashlib
import importlib.util
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from fer_data.datasets.published import load_facts
from fer_data.text import escape
from fer_model.errors import RunError
from fer_model.evaluate.figures import evaluate
from fer_model.report.card import CARD, write_card
from fer_model.runs.folder import RunFolder
from fer_model.runs.methods import gather
from tests.commands import call

spec = importlib.util.spec_from_file_location("model_runs", Path(__file__).with_name("model_runs.py"))
runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runs)


def card_of(path: Path) -> str:
    write_card(path)
    return (path / CARD).read_text()


def rows_of(text: str, head: str) -> list[list[str]]:
    """Return the rows of the first Markdown table whose first heading this is."""
    table = re.search(rf"^\| {head} \|.*\n\|[- :|]*\n((?:\|.*\n)*)", text, re.MULTILINE)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_figures_are_those_of_the_predictions_with_their_interval(tmp_path):
    """Worked with pandas from predictions.csv. Seen red: the figures of the first fold for those of all."""
    text = card_of(runs.write_method(tmp_path / "cv", share=0.8))
    frame = pd.concat([pd.read_csv(path) for path in sorted(tmp_path.rglob("predictions.csv"))])
    right = frame["expression"] == frame["predicted"]
    share = evaluate(frame.astype({"sequence": str})).frame_accuracy
    (row,) = rows_of(text, "method")
    assert row[1:5] == ["3", "108", "12", f"{100 * right.mean():.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"]
    recalls = [[name, str(len(part)), f"{100 * (part['predicted'] == name).mean():.1f} %"] for name, part in frame.groupby("expression")]
    assert [cells[:3] for cells in rows_of(text, "expression")] == recalls
    assert f"> DE-GAN: {100 * right.mean():.1f} % (95 % interval" in text and "macro recall" in text
    folds = [f"{100 * right[frame['subject'].str.startswith(f'S0{fold}')].mean():.1f} %" for fold in range(3)]
    assert [folds[fold] in text for fold in range(3)] == [True] * 3


@pytest.mark.parametrize(("method", "draws"), [("degan", True), ("cnn", False)])
def test_weights_from_licensed_faces_say_so_first(method, draws, tmp_path):
    """DE-GAN's decoder draws the people it was trained on. Seen red: the same words for the baseline."""
    text = card_of(runs.write_fold(tmp_path / "run", method, dataset="ck+"))
    assert re.match(r"# [^\n]+ on CK\+ \(Extended Cohn-Kanade\)\n\n> \*\*DO NOT PUBLISH THE WEIGHTS", text)
    assert ("draws the faces of the people whom it was trained on" in text) == draws
    for words in (escape(load_facts("ck+").licence), "Lucey", "not emotions", "Whom the data cover is unknown", "biometric data"):
        assert words in text, words


def test_drawn_people_are_said_to_be_drawn(tmp_path):
    run = runs.write_fold(tmp_path / "run", dataset="ck+", change=lambda content: content.update(drawn=True))
    text = card_of(run)
    assert "DO NOT PUBLISH" not in text and "> The people are synthetic" in text and text.startswith("# DE-GAN on synthetic people")
    assert "they cannot be compared with the paper's" in text


def test_how_it_was_trained_and_by_which_code_and_which_weights(tmp_path):
    """Seen red: the hash of another run's weights."""
    faces = {"landmarks": "dlib", "colour": "rgb", "backend": {"version": "20.0.1", "weights_sha256": "cd" * 32}}
    run = runs.write_fold(tmp_path / "run", "cnn", change=lambda content: content.update(faces=faces))
    (run / "cnn.safetensors").write_bytes(b"weights")
    text = card_of(run)
    (stage,) = rows_of(text, "stage")
    kimg = json.loads((run / "config.json").read_text())["config"]["cnn"]["kimg"]
    assert stage[0] == "cnn" and stage[3:] == [f"{1000 * kimg:,.0f}", "1.5", "1.0"] and "batch 8" in stage[2]
    assert f"* Faces: found with dlib 20.0.1 (model file, sha256: `{'cd' * 32}`), aligned to 132 x 132 pixels, RGB\n" in text
    assert ["Code version", "0.1.0+aa"] in rows_of(text, "what")
    assert rows_of(text, "weights")[0][2] == hashlib.sha256(b"weights").hexdigest()


def test_folds_that_are_not_complete_are_named(tmp_path):
    runs.write_fold(tmp_path / "cv" / "fold0")
    runs.write_fold(tmp_path / "cv" / "fold1", fold=1, stop="gan")
    text = card_of(tmp_path / "cv")
    assert "fold 1 is in no figure: not complete: stage gan, step 4 of 8" in text and "(36 of 108 images)" in text


def test_a_card_is_of_one_method_that_is_complete(tmp_path):
    """Seen red: the first of the methods taken."""

    def dealt(seed):
        return lambda content: content["config"].update(fold_rule="shuffled", fold_seed=seed)

    for seed in (0, 1):
        runs.write_fold(tmp_path / "cv" / f"shuffled{seed}" / "fold0", change=dealt(seed))
    with pytest.raises(RunError, match="one method is needed, it holds DE-GAN, fold_seed 0 and DE-GAN, fold_seed 1"):
        write_card(tmp_path / "cv")
    with pytest.raises(RunError, match=r"no run is complete \(started, no step logged\)"):
        write_card(runs.write_fold(tmp_path / "run", stop="start"))


def test_the_card_of_a_pre_trained_baseline_has_the_command_that_starts_from_it(tmp_path):
    """Seen red: without method, preset and data, a command that is refused."""
    run = runs.write_fold(tmp_path / "run", "cnn", dataset="bu4dfe", change=lambda content: content["config"].update(fold=None))
    assert "fer-model train --fold 0 --data PREPARED --method cnn --preset smoke --init run" in card_of(run)


def test_pre_training_has_no_figures(tmp_path):
    """Before: TypeError, for its fold is null; `report` refuses it in words."""

    def alone(content):
        content["config"].update(method="pretrain", fold=None)

    run = runs.write_fold(tmp_path / "run", dataset="bu4dfe", change=alone)
    text = card_of(run)
    assert "there are no figures" in text and "draws the faces of the people" in text
    assert "fer-model train --fold 0 --data PREPARED --preset smoke --init run" in text
    assert "%" not in text.split("## Protocol")[1].split("## ")[0] and "fold -1" not in text
    with pytest.raises(RunError, match="is a run of pretrain: nobody was held out"):
        gather([run])


def test_a_name_stays_a_name(tmp_path):
    """Seen red: the title as it is."""
    text = card_of(runs.write_fold(tmp_path / "run", dataset="<b>|x"))
    assert "<b>" not in text.replace(r"\<b\>", "") and text.startswith(r"# DE-GAN on \<b\>\|x")


def test_same_runs_same_bytes_and_a_new_start_removes_it(tmp_path):
    run = runs.write_fold(tmp_path / "run")
    assert "DE-GAN on tiny; 1 complete run" in call("card", run, "--out", tmp_path / "there" / "model.md")
    assert (tmp_path / "there" / "model.md").read_text() == card_of(run)
    RunFolder(run).clear()
    assert not (run / CARD).exists()
