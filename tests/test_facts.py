"""Published facts agree with each other, with their sources that are at hand, and with what the code does. tests/mutate.py breaks it."""

import csv
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from fer_data.datasets.adapters import ADAPTERS
from fer_data.datasets.published import FILES, load_facts
from fer_data.errors import DatasetError
from fer_data.labels import EXPRESSIONS
from fer_data.protocol.folds import step
from fer_data.protocol.peaks import EVERY, RULES
from fer_data.store.manifest import COLUMNS, SCHEMA_VERSION, SPLIT

FOLDER = Path(str(files("data_manifests")))


@pytest.mark.parametrize("dataset", FILES)
def test_each_number_names_its_source(dataset):
    facts = load_facts(dataset)
    numbers = ["subjects", *(f"whole.{key}" for key in facts.whole)]
    numbers += ["sequences", "images", "expressions"] if facts.sequences is not None else []
    numbers += ["human"] if facts.human else []
    numbers += ["frames_per_sequence"] if facts.frames_per_sequence is not None else []
    assert set(facts.sources) == set(numbers) and all(facts.sources.values())
    assert facts.dataset == dataset and facts.name and facts.citation and facts.licence and facts.access and facts.frame_rule_text


@pytest.mark.parametrize("dataset", FILES)
def test_numbers_agree_with_each_other_and_with_the_code(dataset):
    facts = load_facts(dataset)
    assert sum(facts.expressions.values()) in (facts.sequences, 0) and set(facts.expressions) <= set(EXPRESSIONS)
    assert list(facts.expressions) == [name for name in EXPRESSIONS if name in facts.expressions]
    if facts.frames_per_sequence is not None:
        assert facts.images == facts.sequences * facts.frames_per_sequence
    assert all((getattr(facts, key) or 0) <= whole for key, whole in facts.whole.items())
    assert facts.frame_rule in RULES or EVERY.fullmatch(facts.frame_rule)


def test_every_database_has_facts_and_every_file_is_known():
    assert set(FILES) == set(ADAPTERS) - {"folder"}
    assert {path.name for path in FOLDER.glob("*.json")} == set(FILES.values())
    with pytest.raises(DatasetError, match=r"unknown database 'folder'; choose ck\+, ck48, mmi"):
        load_facts("folder")


def test_ck_plus_is_what_its_list_of_sequences_says(ck_plus_sequences):
    facts = load_facts("ck+")
    assert len(ck_plus_sequences) == facts.sequences and len({row["subject"] for row in ck_plus_sequences}) == facts.subjects
    assert Counter(row["expression"] for row in ck_plus_sequences) == facts.expressions == load_facts("ck48").expressions
    per_subject = Counter(Counter(row["subject"] for row in ck_plus_sequences).values())
    sentence = ", ".join(f"{per_subject[count]} {'has' if per_subject[count] == 1 else 'have'} {count}" for count in sorted(per_subject))
    assert any(sentence in note for note in facts.notes), sentence
    ranks = {subject: rank for rank, subject in enumerate(sorted({row["subject"] for row in ck_plus_sequences}), 1)}
    contempt = sorted({ranks[row["subject"]] for row in ck_plus_sequences if row["expression"] == "contempt"})
    assert any(f"{len(contempt)} subjects only, ranks {contempt[0]} to {contempt[-1]} of 118" in note for note in facts.notes)


def test_the_folds_of_ck_plus_follow_from_public_ids(ck_plus_sequences):
    with (FOLDER / "ck_plus_folds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 118 and [row["subject"] for row in rows] == sorted(row["subject"] for row in rows)
    assert {row["subject"]: int(row["fold"]) for row in rows} == step([row["subject"] for row in ck_plus_sequences], 10)


def test_the_read_me_has_the_columns_of_the_manifest_and_the_facts():
    """Red when a column, its type or its meaning changes in store/manifest.py: copy the lines below into the read-me."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    lines = [f"| `{name}` | {dtype} | {meaning} |\n" for name, (dtype, meaning) in COLUMNS.items()]
    table = "| column | type | meaning |\n|---|---|---|\n" + "".join(lines)
    assert table + "\n" in text, f"data_manifests/README.md should hold:\n{table}"
    assert f"Schema version {SCHEMA_VERSION}." in text
    assert "".join(f"| `{name}` | {dtype} | {meaning} |\n" for name, (dtype, meaning) in SPLIT.items()) in text
    for dataset in FILES:
        facts = load_facts(dataset)
        per_expression = [facts.expressions.get(name, "-") for name in EXPRESSIONS]
        counts = ["-", "-"] if facts.sequences is None else [facts.sequences, f"{facts.images:,}"]
        cells = [dataset, "unknown" if facts.subjects is None else facts.subjects, *counts, *per_expression]
        assert f"| {' | '.join(map(str, cells))} |\n" in text
        assert f"`{FILES[dataset]}`" in text


def test_nothing_but_tables_and_facts_lies_there():
    """No picture of a person, no label file: the only CSV has public ids and folds."""
    assert {path.suffix for path in FOLDER.iterdir() if path.is_file()} <= {".json", ".csv", ".md", ".py"}
    assert (FOLDER / "ck_plus_folds.csv").read_text().splitlines()[0] == "subject,fold"
    for path in FOLDER.glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["licence"]
