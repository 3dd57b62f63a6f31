"""The card of a prepared folder: what it says is what the folder holds; its Croissant metadata as mlcroissant reads them."""

import hashlib
import json
import logging
import re

import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.datasets.published import load_facts
from fer_data.errors import ShardError
from fer_data.share.card import CARD, CROISSANT, write_card
from fer_data.share.croissant import describe
from fer_data.share.terms import terms_of
from fer_data.store.manifest import COLUMNS, read_manifest, read_settings
from fer_data.store.verify import verify
from fer_data.text import escape


@pytest.fixture
def licensed(write_tiny, tmp_path):
    """24 faces of 4 people in 3 folds that are CK+'s as far as anybody can tell, six of them references; carded."""
    expressions = ("anger", "contempt", "fear", "neutral")
    out = write_tiny(tmp_path / "ck", 3, 3, expressions, frames=2, reference=("neutral",), dataset="ck+")
    write_card(out)
    return out


def rows_of(text: str, head: str) -> list[list[str]]:
    """Return the rows of the Markdown table whose first heading this is."""
    (table,) = re.findall(rf"^\| {head} \|.*\n\|[- :|]*\n((?:\|.*\n)*)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_card_says_first_what_may_be_done_and_counts_as_by_hand(licensed):
    """Seen red: references counted as faces (24)."""
    text = (licensed / CARD).read_text()
    assert re.match(r"# CK\+ \(Extended Cohn-Kanade\), prepared\n\n> \*\*DO NOT PUBLISH, DO NOT PASS ON\.", text)
    assert escape(load_facts("ck+").licence) in text and "Lucey" in text and "personal data" in text and "not emotions" in text
    assert "18 faces, 3 people, 9 sequences, 3 expressions, 3 folds; aligned to 132 x 132 pixels, grey. Besides, 6 neutral faces" in text
    assert rows_of(text, "Faces") == [*[[f"fold {fold}", "2", "2", "2", "6"] for fold in range(3)], ["all", "6", "6", "6", "18"]]
    assert rows_of(text, "People")[-1] == ["all", "3", "3", "3", "3"]
    assert "3 of 118 people, 9 of 327 sequences, 18 of 981 faces" in text


def test_a_person_in_two_folds_is_said(write_tiny, tmp_path):
    """Seen red: the sentence that nobody is, whatever the manifest says."""
    out = write_tiny(tmp_path / "x", 3, 3, fold_of=lambda person, sequence: (person + sequence) % 3)
    write_card(out)
    text = (out / CARD).read_text()
    assert text.count("**Look:** People are in more than one fold") == 2 and "No person is in two folds" not in text


@pytest.mark.parametrize(("left", "why"), [(None, "is not there"), (b"", "has 0 bytes, not [0-9,]+")])
def test_a_shard_that_is_not_there_whole_leaves_no_card(left, why, licensed, tmp_path):
    """What lies there stays as it is. Seen red: card.md without croissant.json and `[Errno 2]`; a contentSize of 0 B."""
    shard = licensed / "shards" / "00000.h5"
    shard.unlink()
    if left is not None:
        shard.write_bytes(left)
    before = (licensed / CARD).read_bytes()
    for to in (licensed, tmp_path / "to"):
        with pytest.raises(ShardError, match=rf"00000\.h5 {why}; the `prepare` command that wrote it makes it again"):
            write_card(licensed, to)
    assert (licensed / CARD).read_bytes() == before and not (tmp_path / "to").exists()


def test_same_folder_same_bytes_and_the_folder_stays_whole(licensed, tmp_path):
    done = CliRunner().invoke(main, ["card", str(licensed), "--to", str(tmp_path / "to")])
    assert done.exit_code == 0 and "card of CK+" in done.stdout
    for name in (CARD, CROISSANT):
        assert (tmp_path / "to" / name).read_bytes() == (licensed / name).read_bytes()
    assert not any("card" in problem for problem in verify(licensed)[1])


def test_croissant_names_every_file_with_its_hash(licensed):
    """Hashed here anew. Seen red: the hash of manifest.csv for that of manifest.parquet."""
    files = json.loads((licensed / CROISSANT).read_text())["distribution"]
    assert {file["contentUrl"] for file in files} == {"manifest.parquet", "skipped.csv", "settings.json", "shards/00000.h5"}
    for file in files:
        data = (licensed / file["contentUrl"]).read_bytes()
        assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(data).hexdigest(), f"{len(data)} B")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlcroissant_finds_nothing_to_say_and_reads_every_face(licensed, caplog):
    """Each record is the manifest's row; deprecations are those of its own code.

    Seen red: a key of the @context left out (a warning); a column that there is not (an error).
    """
    mlcroissant = pytest.importorskip("mlcroissant")
    with caplog.at_level(logging.WARNING):
        found = mlcroissant.Dataset(jsonld=str(licensed / CROISSANT))
    assert not found.metadata.ctx.issues.errors and not found.metadata.ctx.issues.warnings and not caplog.records
    assert found.metadata.ctx.is_v1_1() and found.metadata.license == [load_facts("ck+").licence]
    assert found.metadata.version.endswith(read_settings(licensed)["manifest_sha256"][:12])
    frame = read_manifest(licensed)
    records = list(found.records("faces"))
    read = [{name: plain(record[f"faces/{name}"]) for name in COLUMNS} for record in records]
    assert read == frame.to_dict("records")
    assert [plain(one["expressions/name"]) for one in found.records("expressions")] == ["anger", "contempt", "fear", "neutral"]
    assert [tuple(int(one[f"folds/{name}"]) for name in ("fold", "people", "faces")) for one in found.records("folds")] == [
        (fold, 1, 8) for fold in range(3)
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "Faces (N, 132, 132) uint8, their landmarks and matrices."),
        ({"colour": "rgb", "views": "stored"}, "Faces (N, 132, 132, 3) uint8, their landmarks and matrices, and the 110 views of each."),
    ],
)
def test_croissant_says_what_a_shard_holds(changed, said, licensed):
    """Seen red: grey faces, whatever the settings say."""
    settings = read_settings(licensed)
    settings["config"] |= changed
    files = describe(licensed, read_manifest(licensed), settings, terms_of(settings))["distribution"]
    assert [file["description"] for file in files if file["name"].endswith(".h5")] == [said]


def test_drawn_people_have_no_date_and_no_licence_of_a_database(write_tiny, tmp_path):
    out = write_tiny(tmp_path / "x", 2, 2, frames=1, dataset="ck+", drawn=True)
    write_card(out)
    found = json.loads((out / CROISSANT).read_text())
    assert "datePublished" not in found and found["license"] == "Drawn by fer-data (MIT licence)"
    assert found["rai:dataUseCases"] == ["Trying programs out."]
    assert "DO NOT" not in (out / CARD).read_text() and "Synthetic people in the layout of CK+" in found["name"]


def plain(value):
    """mlcroissant gives text as bytes."""
    return value.decode() if isinstance(value, bytes) else value
