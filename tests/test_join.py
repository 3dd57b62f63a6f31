"""Several prepared folders as one: people stay apart, nothing is lost, nothing that is not alike is mixed, nothing is half-written."""

import json
import os
import shutil
from itertools import product

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from cli.fer_data import main
from fer_data.errors import DatasetError, PeopleError, ShardError
from fer_data.files import sealed_json, unseal
from fer_data.people import one_name
from fer_data.prepare.join import join, plan_join
from fer_data.prepare.plan import PrepareConfig, dry_run
from fer_data.prepare.run import prepare_dataset
from fer_data.protocol import folds
from fer_data.report import page
from fer_data.share.card import write_card
from fer_data.share.terms import terms_of
from fer_data.store.loader import open_views
from fer_data.store.manifest import read_manifest, read_settings, read_skipped
from fer_data.store.verify import verify
from tests.commands import call
from tests.trees import bytes_of


def picture(path, *key):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(key).integers(0, 255, (40, 40), np.uint8))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """JAFFE, WSEFEP and a folder of one's own, prepared without landmarks: KA is a person in all of them; fear is in one alone."""
    root = tmp_path_factory.mktemp("join")
    for serial, (who, code) in enumerate(product(("KA", "KL", "KM", "NA"), ("AN1", "HA1", "SU1"))):
        picture(root / f"jaffe/{who}.{code}.{serial}.tiff", 1, serial)
    rows = ["Displayer ID,Picture ID,Display"]
    for number, (who, word) in enumerate(product(("KA", "MK", "MK1"), ("anger", "fear"))):
        picture(root / f"wsefep/{who}_{number}.jpg", 2, number)
        rows.append(f"{who},{who}_{number},{word}")
    (root / "norms.csv").write_text("\n".join(rows))
    for number, (who, word) in enumerate(product(("KA", "bob"), ("anger", "happy", "surprise"))):
        picture(root / f"mine/{who}/{word}.png", 3, number)
    picture(root / "mine/who.png", 4)
    options = {"jaffe": {}, "wsefep": {"labels": root / "norms.csv"}, "mine": {"pattern": "{subject}/{expression}.png"}}
    for name, place in (("jaffe", "a"), ("wsefep", "b"), ("mine", "c")):
        config = PrepareConfig(landmarks="none", views="stored", folds=2, options=options[name])
        prepare_dataset("folder" if name == "mine" else name, root / name, root / place, config)
    return root


@pytest.fixture
def three(prepared, tmp_path):
    """The three folders, to be changed."""
    for name in "abc":
        shutil.copytree(prepared / name, tmp_path / name)
    return [tmp_path / name for name in "abc"]


def change(folder, **settings):
    """Change settings.json of a prepared folder; `config` and `backend` key by key."""
    content = unseal((folder / "settings.json").read_bytes())
    for key, value in settings.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    (folder / "settings.json").write_bytes(sealed_json(content))


def test_faces_people_folds_and_counts(three, tmp_path):
    """Each face is the one that it was; a person is in one fold; found = kept + skipped. Seen red: subjects without their database's name
    (4 people in place of 9); shards of the second folder under the names of the first."""
    out = tmp_path / "out"
    summary = join(plan_join(three, out, 3, "shuffled", 1))
    frame, parts = read_manifest(out), [read_manifest(path) for path in three]
    assert summary.kept == len(frame) == sum(map(len, parts)) and summary.found == summary.kept + sum(summary.skipped.values())
    assert frame["subject"].nunique() == 9 and frame.groupby("subject")["fold"].nunique().eq(1).all() and frame["fold"].nunique() == 3
    assert set(frame["dataset"]) == {"jaffe", "wsefep", "mine"} and read_settings(out)["dataset"] == "jaffe+mine+wsefep"
    assert read_settings(out)["classes"] == ["anger", "fear", "happiness", "surprise"]
    assert frame["face_sha256"].tolist() == pd.concat(parts)["face_sha256"].tolist()
    before = torch.cat([view(path, part) for path, part in zip(three, parts, strict=True)])
    assert torch.equal(view(out, frame), before)
    assert verify(out).problems == []
    assert any("fear is not in jaffe and mine" in note for note in summary.notes)
    assert "mine/who.png" in set(read_skipped(out)["source"]) and summary.skipped == {"no-match": 1}


def view(out, frame):
    """Return view 7 of each face."""
    return open_views(out, frame).batch(torch.arange(len(frame)), torch.full((len(frame),), 7))


def test_who_is_who_across_folders(three, tmp_path):
    """A person of a database alone is the one of the joined folder, and so is refused as a test person.

    Seen red: one_name without joined ids.
    """
    from fer_model.data.fold import in_common, people_of

    join(plan_join(three[:2], tmp_path / "out", 2))
    whole, alone = people_of(read_manifest(tmp_path / "out")), people_of(read_manifest(three[0]))
    assert len(in_common(whole, alone)) == 4 and len(in_common(whole, people_of(read_manifest(three[2])))) == 0
    assert one_name("jaffe", "jaffe:KA") == one_name("jaffe", "KA") != one_name("wsefep", "wsefep:KA")


def test_joined_with_one_more(three, tmp_path):
    """Seen red: `jaffe:jaffe:S000`."""
    join(plan_join(three[:2], tmp_path / "two", 2))
    join(plan_join([tmp_path / "two", three[2]], tmp_path / "three", 2))
    join(plan_join([three[0], three[1], three[2]], tmp_path / "at-once", 2))
    one, other = read_manifest(tmp_path / "three"), read_manifest(tmp_path / "at-once")
    assert one.drop(columns="shard").equals(other.drop(columns="shard"))


def test_a_sequence_is_of_one_expression(three, tmp_path, monkeypatch):
    """S/happy/01.png and S/sad/01.png are two sequences of one id. Seen red in turn, without the expression: the plan (2 of 4), prepare,
    `shown`, the joined folder, the card, the page."""
    for number, (who, word) in enumerate(product("PQ", ("happy", "sad"))):
        picture(tmp_path / f"ids/{who}/{word}/01.png", 5, number)
    config = PrepareConfig(landmarks="none", views="stored", folds=2, options={"pattern": "{subject}/{expression}/{sequence}.png"})
    assert dry_run("folder", tmp_path / "ids", tmp_path / "d", config).to_json()["sequences"] == 4
    assert prepare_dataset("folder", tmp_path / "ids", tmp_path / "d", config).sequences == 4
    assign = folds.assign
    monkeypatch.setattr(folds, "assign", lambda shown, *rule: asked.update(shown) or assign(shown, *rule))
    asked = {}
    plan = plan_join([three[0], tmp_path / "d"], tmp_path / "out", 2, "stratified")
    assert {who: sorted(asked[f"ids:{who}"]) for who in "PQ"} == {who: ["happiness", "sadness"] for who in "PQ"}
    assert join(plan).sequences == 12 + 4
    write_card(tmp_path / "d")
    assert "4 faces, 2 people, 4 sequences" in (tmp_path / "d" / "card.md").read_text()
    assert ("sequences", 4, "") in page._tiles(read_manifest(tmp_path / "d"), 2, 0, 0)


def test_paths_that_are_not_utf_8_are_kept_as_they_can_be_written(three, tmp_path):
    """Seen red: `UnicodeEncodeError: surrogates not allowed` when all else was written."""
    one = three[0].rename(tmp_path / os.fsdecode(b"a\xff"))
    plan = plan_join([one, three[1]], tmp_path / os.fsdecode(b"out\xff"), 2, "stratified")
    done = join(plan)
    kept = json.loads((done.out / "run.json").read_bytes())
    assert kept["joined"][0] == f"{one.parent}/a\\xff" and kept["summary"]["out"] == plan.to_json()["out"] == f"{tmp_path}/out\\xff"


DIFFERENT = [
    ({"config": {"landmarks": "dlib"}}, "landmarks: none in .*a, dlib in .*b"), ({"config": {"views": "virtual"}}, "views: stored in"),
    ({"config": {"colour": "rgb"}}, "colour: grey"), ({"backend": {"version": "9"}}, "version of the landmark backend"),
    ({"backend": {"weights_sha256": "f" * 64}}, "model files"), ({"pipeline_version": 9}, "pipeline"),
    ({"backend": {"detector": "whole"}}, "settings of the landmark backend: detector not set in .*a, detector whole in .*b"),
    ({"opencv": "9.9.9"}, "version of OpenCV: .*9.9.9"),
]


@pytest.mark.parametrize(("settings", "words"), DIFFERENT)
def test_faces_of_different_kinds_are_refused(settings, words, three, tmp_path):
    """Seen red: the whole check away; each line of _ALIKE away in turn."""
    change(three[1], **settings)
    with pytest.raises(DatasetError, match=f"not of one kind: .*{words}.*prepare both with the same options"):
        plan_join(three[:2], tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()


def test_a_detector_that_the_backend_does_not_use_is_no_difference(three, tmp_path):
    """Seen red: config.detector was compared, which only some backends look at."""
    change(three[1], config={"detector": "whole"})
    assert plan_join(three[:2], tmp_path / "out", 2).config["detector"] == "differs"


@pytest.mark.parametrize(("names", "words"), [
    (("ck+", "ck48"), r"ck\+ and ck48: the same pictures"), (("kdef", "akdef"), "kdef and akdef"), (("mine", "mine"), "mine twice.*--name"),
    (("mine", "Mine"), "mine and Mine"),
])
def test_the_same_pictures_are_refused(names, words, write_tiny, tmp_path):
    """Seen red: the table of such pairs not asked; two folders of one name."""
    for place, name in zip("ab", names, strict=True):
        write_tiny(tmp_path / place, dataset=name, seed=ord(place))
    with pytest.raises(DatasetError, match=words):
        plan_join([tmp_path / "a", tmp_path / "b"], tmp_path / "out", 2)


def test_one_face_under_two_names_is_refused(prepared, three, tmp_path):
    """A copied folder has another name. Seen red: `audit` found pairs of identical pictures in training and test."""
    (tmp_path / "copy/else").mkdir(parents=True)
    shutil.copytree(prepared / "mine/bob", tmp_path / "copy/else/robert")
    picture(tmp_path / "copy/else/eve/anger.png", 5)
    config = PrepareConfig(landmarks="none", views="stored", folds=2, options={"pattern": "{subject}/{expression}.png"})
    prepare_dataset("folder", tmp_path / "copy/else", tmp_path / "d", config)
    with pytest.raises(DatasetError, match=r"else and mine have 3 faces in common, the same pixel by pixel, such as \S+ and \S+: they"):
        plan_join([three[0], three[2], tmp_path / "d"], tmp_path / "out", 2)


def test_people_unknown_are_refused(three, monkeypatch, tmp_path):
    """Seen red: the refusal away."""
    monkeypatch.setattr("fer_data.store.manifest.read_manifest", lambda path: read_manifest(path).assign(subject=""))
    with pytest.raises(PeopleError, match=r"a: people unknown: .*join databases with people"):
        plan_join(three[:2], tmp_path / "out", 2)


def test_one_folder_and_the_wrong_place_are_refused(three, tmp_path):
    """Seen red: written into one of the folders."""
    with pytest.raises(DatasetError, match="give two or more"):
        plan_join(three[:1], tmp_path / "out", 2)
    with pytest.raises(DatasetError, match=r"^joining prepared folders: .* is only read; give a folder outside of it, got"):
        plan_join(three[:2], three[0], 2)
    with pytest.raises(DatasetError, match="choose 2 to 7"):
        plan_join(three[:2], tmp_path / "out", 8)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(DatasetError, match="must be new, empty"):
        plan_join(three[:2], tmp_path / "mine", 2)


def test_an_interrupted_join_goes_on_and_ends_with_the_same_bytes(three, tmp_path, monkeypatch):
    """Seen red: the earlier manifest left beside a shard of now."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    join(plan_join(three, whole, 3))

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        join(plan_join(three, out, 3), stop)
    assert not (out / "manifest.parquet").exists()
    summary = join(plan_join(three, out, 3))
    assert (summary.shards_kept, summary.shards_written) == (2, 1)
    assert bytes_of(out) == bytes_of(whole)
    (out / "shards/00001.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        join(plan_join(three, out, 3), stop)
    assert not (out / "manifest.parquet").exists()                       # nothing tells of a shard that was written anew
    again = join(plan_join(three, out, 2))                               # other folds: no shard is written
    assert again.shards_written == 0 and read_manifest(out)["fold"].nunique() == 2


def test_a_damaged_shard_is_not_copied(three, tmp_path):
    """Seen red: the hash not looked at."""
    shard = three[1] / "shards" / "00000.h5"
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ShardError, match=r"b/shards/00000.h5 is not the shard .*fer-data verify"):
        join(plan_join(three, tmp_path / "out", 2))
    assert not (tmp_path / "out/manifest.parquet").exists()


def test_a_record_with_other_rows_than_the_manifest_is_refused(three, tmp_path):
    """Seen red: a ValueError of zip when the manifest was written."""
    path = three[1] / "shards" / "00000.json"
    content = unseal(path.read_bytes())
    content["rows"].pop()
    path.write_bytes(sealed_json(content, indent=None))
    with pytest.raises(ShardError, match=r"b/shards/00000.h5 is not the shard that its manifest was written with"):
        join(plan_join(three, tmp_path / "out", 2))
    assert not (tmp_path / "out/manifest.parquet").exists()


def test_terms_are_those_of_all(three, tmp_path):
    """Seen red: terms of the first alone."""
    change(three[0], drawn=False)
    join(plan_join(three, tmp_path / "out", 2))
    terms = terms_of(read_settings(tmp_path / "out"))
    assert not terms.public and terms.name == "JAFFE + mine + WSEFEP" and "JAFFE and WSEFEP" in terms.warning
    assert "JAFFE: Non-commercial" in terms.licence and "WSEFEP: " in terms.licence and "Unknown: ask" in terms.licence
    assert any("Lyons" in text for text in terms.citations) and any("Olszanowski" in text for text in terms.citations)


def test_the_command_and_a_fold(three, tmp_path, monkeypatch):
    """join, inspect, audit, report, card; then a fold of the whole."""
    monkeypatch.chdir(tmp_path)
    dry = CliRunner().invoke(main, ["join", "a", "b", "out", "--folds", "3", "--dry-run", "--json"])
    assert dry.exit_code == 0 and json.loads(dry.stdout)["subjects"] == 7 and not (tmp_path / "out").exists()
    for words in (["join", "a", "b", "out", "--folds", "3"], ["inspect", "out"], ["verify", "out"], ["report", "out"], ["card", "out"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    assert "CLEAN" in CliRunner().invoke(main, ["audit", "out"]).output
    call("train", "--fold", "0", "--data", "out", "--method", "cnn", "--preset", "smoke", "--run", "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    tested = {"jaffe/jaffe:KA", "jaffe/jaffe:NA", "wsefep/wsefep:MK1"}   # every third of the seven
    assert config["dataset"] == "jaffe+wsefep" and config["n_test"] == 8 and len(config["identities"]) == 4
    assert not tested & set(config["identities"])
    told = call("evaluate", "run", "--data", "a", code=1)
    assert "trained on" in told


def test_each_person_is_renamed_once(three, tmp_path, monkeypatch):
    """Seen red: each row in the plan, in its shard and in the manifest."""
    from fer_data.prepare import join as module

    renamed, real = [], module.joined_id
    monkeypatch.setattr(module, "joined_id", lambda *pair: renamed.append(pair) or real(*pair))
    join(plan_join(three, tmp_path / "out", 3))
    assert len(renamed) == len(set(renamed)) == 9
