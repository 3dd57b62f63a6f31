"""What a new user of `fer-data` gets wrong first: each answer is a sentence with the way out. And numbers go with their nouns."""

import json

import pytest
from click.testing import CliRunner

from cli.common import COMMANDS
from cli.fer_data import main
from fer_data.files import sealed_json
from fer_data.labels import EXPRESSIONS
from fer_data.store.verify import Verified
from tests.mmi_sessions import write_session
from tests.test_adapters import ck48_tree, write


def run(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_an_unknown_command_is_told_which_there_are():
    """Before: "No such command 'ckplus'." alone."""
    done = run("prepare", "ckplus", "a", "b")
    assert done.exit_code == 2
    there = ", ".join(sorted(COMMANDS["fer-data prepare"]))
    assert done.output.endswith(f"Error: No such command 'ckplus'; there are {there}.\n") and "ck48, " in there
    assert run("look").output.endswith("there are audit, card, doctor, export, inspect, join, prepare, report, synth, verify, weights.\n")
    assert run("--nonsense").output.endswith("Error: No such option '--nonsense'.\n")


def test_too_few_people_for_the_usual_folds(tmp_path):
    """Before: the sentence ended after `got 10`."""
    ck48_tree(tmp_path / "in")
    done = run("prepare", "ck48", tmp_path / "in", tmp_path / "out")
    assert (done.exit_code, done.output) == (
        1, "Error: assigning folds: 10 folds cannot be made of 2 labelled subjects; choose 2; use --folds 2\n",
    )
    assert not (tmp_path / "out").exists()


def test_a_list_that_names_absent_clips_only_says_so(tmp_path):
    """Before: "allowed are 2 up to the number of labelled subjects (0), got 2", and the notes of the scan were lost."""
    pytest.importorskip("av")
    for subject in (1, 2):
        write_session(tmp_path / "in/Sessions", subject, subject, 3, emotion=4, frames=9)
    (tmp_path / "list.csv").write_text("happiness;50;3\nanger;51;4\n")
    done = run("prepare", "mmi", tmp_path / "in", tmp_path / "out", "--list", tmp_path / "list.csv", "--folds", "2", "--dry-run")
    assert (done.exit_code, done.output) == (
        1,
        f"Error: preparing mmi: two subjects with a labelled sequence are needed, below {tmp_path / 'in'} there is none; "
        "0 of 208 labelled sequences, 0 of 31 subjects; 2 of 2 listed sequences are not there: S050/003 and S051/004; "
        "left out: 2 other-part (the list does not name it)\n",
    )
    (tmp_path / "list.csv").write_text("happiness;50;3\nhappiness;1;3\n")
    done = run("prepare", "mmi", tmp_path / "in", tmp_path / "out", "--list", tmp_path / "list.csv", "--folds", "2", "--dry-run")
    assert (
        f"Error: preparing mmi: two subjects with a labelled sequence are needed, below {tmp_path / 'in'} only S001 has one; "
        "1 of 208 labelled sequences, 1 of 31 subjects; the peak rests on the middle of the clip (no coding that holds) in 1; "
        "1 of 2 listed sequences are not there: S050/003; left out: 1 other-part (the list does not name it)\n"
    ) == done.output


def test_a_dry_run_in_json_is_json(tmp_path):
    """Before: text, whatever --json said."""
    ck48_tree(tmp_path / "in")
    command = ["prepare", "ck48", tmp_path / "in", tmp_path / "out", "--folds", "2", "--dry-run"]
    content = json.loads(run(*command, "--json").stdout)
    wanted = {"dry_run": True, "dataset": "ck48", "sequences_found": 3, "sequences": 3, "subjects": 2, "faces": 9, "folds": 2, "shards": 1}
    assert wanted.items() <= content.items()
    assert content["landmarks"]["name"] == "none"
    assert content["out"] == str(tmp_path / "out")
    text = run(*command).output.splitlines()
    assert text[:2] == [
        "ck48: 3 sequences found, 3 labelled and selected, 2 subjects", "9 faces by rule all, 2 folds by rule step, landmarks by none",
    ]
    assert text[2] == f"1 shard with stored views, about {content['bytes'] / 1e6:.0f} MB, into {tmp_path / 'out'}"
    assert text[3:-1] == [f"note: {note}" for note in content["notes"]]
    assert not (tmp_path / "out").exists()


def test_no_face_at_all_names_the_reasons_and_one_file(tmp_path):
    """Before: a dict as Python writes it, and no file."""
    ck48_tree(tmp_path / "in")
    done = run("prepare", "ck48", tmp_path / "in", tmp_path / "out", "--folds", "2")
    assert done.exit_code == 1
    sentence = "Error: preparing ck48: no face could be used; skipped: unreadable 9, such as CK+48/surprise/S010_002_00000012.png: "
    assert sentence in done.output


def test_counts_agree_with_their_nouns(tmp_path, monkeypatch):
    """Before: "1 shards checked" and "1 of 1 test image (100.0 %) show a person ...: 1 of 1 people"."""
    for found, words in ((1, []), "1 shard checked, 0 problems\n"), ((1200, ["bad"]), "bad\n1,200 shards checked, 1 problem\n"):
        answer = Verified(*found)
        monkeypatch.setattr("fer_data.store.verify.verify", lambda *_, answer=answer: answer)
        assert run("verify", tmp_path).stdout == words
    (tmp_path / "split.csv").write_text("path,split\nS005_001_00000011.png,train\nS005_001_00000010.png,test\n")
    assert run("audit", tmp_path / "split.csv").output.startswith(
        "LEAK  1 of 1 test image (100.0 %) shows a person who is also in training: 1 of 1 person\n"
    )
    (tmp_path / "split.csv").write_text("path,split\nS005_001_00000011.png,train\nS005_001_00000011.png,test\nS006_001_00000011.png,test\n")
    output = run("audit", tmp_path / "split.csv").output
    assert output.startswith("LEAK  1 of 2 test images (50.0 %) shows a person who is also in training: 1 of 2 people\n")
    assert "1 test image is itself in training, or a copy of it is\n" in output
    (tmp_path / "split.csv").write_text("path,split\nS005_001_00000011.png,val\nS005_001_00000010.png,test\nS006_001_00000011.png,train\n")
    assert "1 test image shows a person on whom the model is chosen (validation)\n" in run("audit", tmp_path / "split.csv").output


def test_a_list_and_the_folder_of_its_pictures_have_a_way_out(tmp_path):
    """Before: "got both", and nothing more."""
    write(tmp_path / "tree", ["anger/S010_004_00000017.png", "contempt/S501_009_00000009.png"], str.encode)
    (tmp_path / "split.csv").write_text("path,split\nS010_004_00000017.png,train\nS501_009_00000009.png,test\n")
    done = run("audit", tmp_path / "split.csv", tmp_path / "tree")
    assert (done.exit_code, done.output) == (
        1,
        "Error: reading a split: give either its files or its folders of pictures, not both, "
        f"{tmp_path / 'split.csv'} and {tmp_path / 'tree'}; if {tmp_path / 'tree'} holds the pictures that are listed, "
        f"give it with --images {tmp_path / 'tree'}\n",
    )
    assert "CLEAN" in run("audit", tmp_path / "split.csv", "--images", tmp_path / "tree").output


def test_inspect_cuts_no_heading_at_80_characters(write_tiny, tmp_path):
    """Before: `cont…`, `disgu…`, `happ…`. A terminal of 80 characters, eight classes, as many as a database has."""
    out = write_tiny(tmp_path / "out", people=4, folds=2, expressions=EXPRESSIONS[:8], frames=1)
    lines = run("inspect", out).output.splitlines()
    heading = next(line for line in lines if line.startswith("fold"))
    assert heading.split() == ["fold", *EXPRESSIONS[:8], "all"]
    rows = [line.split() for line in lines if line.startswith(("0 ", "1 ", "all "))]
    assert rows[:3] == [["0", *["2"] * 8, "16"], ["1", *["2"] * 8, "16"], ["all", *["4"] * 8, "32"]]
    assert max(map(len, lines)) <= 80


def test_synth_tells_what_was_drawn(tmp_path):
    """Before: the record as Python writes it."""
    done = run("synth", "ck+", tmp_path / "ck", "--subjects", "1")
    assert done.exit_code == 0
    frames = len(list((tmp_path / "ck/cohn-kanade-images").rglob("*.png")))
    labels = len(list((tmp_path / "ck/Emotion").rglob("*.txt")))
    sequences = len(list((tmp_path / "ck/cohn-kanade-images").glob("*/*")))
    assert done.stdout == f"subjects 1, sequences {sequences}, of them labelled {labels}, frames {frames} in {tmp_path / 'ck'}\n"
    assert done.stderr.startswith(f"drawing synthetic people into {tmp_path / 'ck'}: 1 of 1\n")      # then the time, if slow


def test_synth_in_json(tmp_path, monkeypatch):
    """Each database; and two processes say how far they are as one does. Seen red: progress away with workers."""
    monkeypatch.setattr("fer_data.synthetic.mmi.SIZE", (180, 144))
    table = ["--takes", "1", "--workers", "2"]
    for database, more in {"ck+": [], "oulu": [], "bu4dfe": ["--frames", "1"], "mmi": [], "table": table}.items():
        if database == "mmi":
            pytest.importorskip("av")
        done = run("synth", database, tmp_path / database, "--subjects", "1", *more, "--json")
        content = json.loads(done.stdout)
        assert content["out"] == str(tmp_path / database) and content["subjects"] == 1
        assert content["frames"] == len((tmp_path / database / "truth.csv").read_text().splitlines()) - 1
        total = content["sequences"] if database == "mmi" else 1
        assert done.stderr.splitlines()[-1] == f"drawing synthetic people into {tmp_path / database}: {total} of {total}"


def test_a_model_file_that_a_package_brings_needs_no_licence_accepted(tmp_path):
    """Before: "nothing was fetched: read the above, then run it again with --accept-licence"."""
    from fer_data.weights import choose, path_of

    (entry,) = choose(("dlib",))
    if path_of(entry) is None:
        pytest.skip("the package that brings dlib's model is not installed")
    done = run("weights", "fetch", "dlib")
    assert (done.exit_code, done.output) == (0, f"nothing to fetch, the package {entry.package} brings it: {path_of(entry)}\n")
    write(tmp_path, ["mine.dat"])
    done = run("weights", "fetch", entry.name, "--from", tmp_path / "mine.dat")
    assert (done.exit_code, done.output) == (
        1, f"Error: fetching {entry.name}: it comes with the package {entry.package}, so no file can take its place\n",
    )


def test_checks_answer_programs_too(write_tiny, tmp_path):
    """Before: no --json. Seen red: the sentence printed beside the JSON."""
    out = write_tiny(tmp_path / "out", people=2, folds=2, frames=1)
    (out / "fer-data.json").write_bytes(sealed_json({"dataset": "tiny"}))
    (out / "skipped.csv").write_text("not ours")
    done = run("verify", out, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and found["shards"] == 1 and any("skipped.csv" in problem for problem in found["problems"])
    listed, checked = (json.loads(run("weights", name, "--json").stdout) for name in ("list", "verify"))
    assert [(one["name"], one["state"]) for one in checked] == [(one["name"], one["state"]) for one in listed]
