"""Prediction on pictures, folders, clips and a camera: the numbers of the run itself, nothing swallowed, nothing kept."""

import csv
import functools
import io
import json
import os
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

import fer_data
import fer_model
from cli.fer_model import main
from fer_data.errors import ImageError, LandmarkError, StorageError
from fer_data.faces import finder as find
from fer_data.faces.finder import Found
from fer_data.synthetic.drawing import draw_face
from fer_data.synthetic.people import draw_person
from fer_data.synthetic.scene import draw_nuisance
from fer_model.config import preset, with_budgets
from fer_model.errors import ConfigError, RunError
from fer_model.job import Job
from fer_model.runs.folder import RunFolder
from fer_model.runs.predictions import read_predictions
from fer_model.train import train
from fer_model.use.engines import Engine
from fer_model.use.prediction import FacePrediction, Prediction
from fer_model.use.prediction_files import TableWriter, open_writer
from fer_model.use.predictor import Predictor
from fer_model.use.recipe import recipe_of_run
from fer_model.use.shots import Shot, sources
from tests.commands import call

SIZE = (400, 306)                     # of drawn pictures: width, height


@pytest.fixture(scope="module", autouse=True)
def opened_once():
    """A backend is opened once for all tests here: each time 100 MB are read and hashed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "open_backend", functools.cache(find.open_backend))
        yield


@pytest.fixture(scope="module")
def run(prepared_ck, tmp_path_factory):
    """A run of the baseline on fold 0 of the drawn people, two steps long. Its first weights are large, so that faces differ."""
    folder = tmp_path_factory.mktemp("run") / "r"
    config = with_budgets(preset("smoke", method="cnn"), cnn=0.016)
    train(Job(prepared_ck, folder, replace(config, network=replace(config.network, init_std=0.2))), "cpu", say=lambda _: None)
    return folder


@pytest.fixture(scope="module")
def model(run):
    return fer_model.load(run, "cpu")


def drawn(seed=1, expression="happiness", size=SIZE, **pose):
    """Return a picture (H, W, 3) RGB of a drawn person who looks straight ahead, and the true points."""
    rng = np.random.default_rng(seed)
    person, nuisance = draw_person(rng), draw_nuisance(rng)
    return draw_face(person, expression, 1.0, replace(nuisance, **{"yaw_deg": 0.0, "pitch_deg": 0.0, **pose}), size, colour=True)


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return path


def write_clip(path, pictures, rate=25, **settings):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = pictures[0].shape[1], pictures[0].shape[0], "yuv420p", 6_000_000
        for name, value in settings.items():
            setattr(stream, name, value)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


WALL = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_face_is_predicted_as_the_run_predicted_it(run, model, prepared_ck, synthetic_ck):
    """The first frame of each test sequence, from its file, against predictions.csv. Seen red: the top-left crop (0.2 off); views
    scaled to [0, 1] (0.6); points a pixel off (0.16)."""
    expected = read_predictions(run / "predictions.csv").set_index("image_id")
    rows = fer_data.read_manifest(prepared_ck)
    firsts = rows[rows["fold"] == 0].groupby(["subject", "sequence"]).head(1)
    assert len(firsts) >= 4
    for image_id, source in zip(firsts["image_id"], firsts["source"], strict=True):
        found = model.predict(synthetic_ck / source)
        assert found.size == (640, 490) and found.status == "ok" and len(found.faces) == 1
        face = found.faces[0]
        values = expected.loc[image_id, [f"p_{name}" for name in model.classes]].to_numpy(float)
        assert np.abs(values - list(face.probabilities.values())).max() < 1e-5
        assert face.expression == model.classes[int(values.argmax())] and face.points.shape == (68, 2)
        assert list(face.probabilities) == list(model.classes)


def test_an_array_is_predicted_as_its_file_is(model, tmp_path):
    picture, _ = drawn(2)
    path = write(tmp_path / "a.png", picture)
    one, other = model.predict(picture), model.predict(str(path))
    assert one.faces[0].probabilities == other.faces[0].probabilities and one.faces[0].box == other.faces[0].box
    grey = model.predict(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    assert grey.faces[0].probabilities == one.faces[0].probabilities, "the run's faces are grey"
    for bad in (picture.astype(np.float32), picture[None], picture[:0]):
        with pytest.raises(ImageError, match=r"a picture is \(H, W\) or \(H, W, 3\) RGB of uint8, got"):
            model.predict(bad)
    with pytest.raises(ImageError, match=r"there is no nothing\.png"):
        model.predict("nothing.png")
    with pytest.raises(ImageError, match=r"one picture is needed, .* is a folder"):
        model.predict(tmp_path)
    for other in (Image.fromarray(picture), [path]):
        with pytest.raises(ImageError, match=rf"a file or an array is needed .*, got {type(other).__name__}"):
            model.predict(other)
    assert "FacePrediction(box=(" in repr(one) and len(repr(one)) < 1000, "short enough to be read in a console"


@pytest.fixture(scope="module")
def group():
    """A picture of one large face above four small ones, in order of left edges below."""
    large = cv2.resize(drawn(1)[0], (1600, 1224), interpolation=cv2.INTER_LINEAR)
    return np.vstack([large, np.hstack([drawn(seed, scale=0.16)[0] for seed in (2, 3, 4, 5)])])


def test_every_face_of_a_picture_is_predicted(model, group):
    """Seen red: the search at reduced size alone found 1; without the comparison of boxes 6 came, the large one twice."""
    found = model.predict(group).faces
    assert len(found) == 5
    middles = [((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2) for face in found]
    assert middles[0][1] < 1224 and all(y > 1224 for _, y in middles[1:]) and [int(x // 400) for x, _ in middles[1:]] == [0, 1, 2, 3]
    assert found[0].eye_distance_px > 3 * found[1].eye_distance_px
    alone = model.predict(group, thorough=False).faces
    assert len(alone) == 1 and alone[0].box == found[0].box and alone[0].probabilities == pytest.approx(found[0].probabilities, abs=1e-6)


def test_a_face_that_is_turned_is_doubted(model):
    ahead, turned = (model.predict(drawn(2, yaw_deg=yaw)[0]).faces[0] for yaw in (0.0, 32.0))
    assert ahead.doubts == () and ahead.status == "ok"
    assert turned.status == "doubtful" and turned.yaw_deg > 20 and "degrees to the right of the picture" in turned.doubts[0]


@pytest.mark.parametrize(("side", "doubted"), [(54, True), (56, False)])
def test_a_face_with_fewer_pixels_than_the_network_takes_is_doubted(run, side, doubted):
    """`none` takes the whole picture as the 110 px of the crop area: 96/110 of its side are seen, by a network of 48 px: 55."""
    model = fer_model.load(run, "cpu", "none")
    assert model.notes[0].startswith("each picture is taken for a face that is aligned already")
    face = model.predict(cv2.resize(WALL, (side, side))).faces[0]
    assert bool(face.doubts) == doubted and face.yaw_deg is None
    assert not doubted or face.doubts[0].startswith("too small: the network looks at 48x48 pixels of a face, this one has 47x47")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, a clip, a broken picture, and what is neither."""
    root = tmp_path_factory.mktemp("folder")
    for number in (2, 10):
        write(root / "sub" / f"p{number}.png", drawn(number)[0])
    write(root / "wall.jpg", WALL)
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (root / "notes.txt").write_text("x")
    write_clip(root / "talk.avi", [drawn(7)[0], WALL, drawn(7)[0]])
    return root


def test_a_folder_loses_nothing(run, folder, tmp_path):
    """Every file is a line, or is counted. Seen red: pictures without a face left out; frames of a clip not counted."""
    done = CliRunner().invoke(main, ["predict", str(run), str(folder), "--format", "csv"])
    assert done.exit_code == 0, done.output
    rows = rows_of(done.stdout)
    assert [(row["source"], row["frame"], row["face"], row["status"]) for row in rows] == [
        ("broken.jpg", "", "0", "unreadable"), ("sub/p2.png", "", "1", "ok"), ("sub/p10.png", "", "1", "ok"), ("talk.avi", "0", "1", "ok"),
        ("talk.avi", "1", "0", "no-face"), ("talk.avi", "2", "1", "ok"), ("wall.jpg", "", "0", "no-face"),
    ]
    assert "broken.jpg is none of PNG, JPEG" in rows[0]["note"] and rows[-1]["note"] == "no face was found"
    for row in rows:
        values = [float(row[name]) for name in row if name.startswith("p_") and row[name]]
        assert not values or (abs(sum(values) - 1) < 1e-5 and max(values) == float(row["probability"]))
    said = " ".join(done.stderr.split())
    assert "6 pictures in" in said and "4 faces, 0 doubtful, 2 without a face, 1 unreadable, 1 other file passed over (.txt)" in said
    assert "predicting" not in said, "rows are printed as they come"
    assert "note: the network was trained on synthetic people" in said
    out = tmp_path / "all.csv"
    assert f"wrote {out}" in call("predict", run, folder, "-o", out, "--strict", code=1).replace("\n", "")
    assert out.read_text() == done.stdout
    lines = CliRunner().invoke(main, ["predict", str(run), str(folder), "--json"]).stdout.splitlines()
    first = CliRunner().invoke(main, ["predict", str(run), str(folder), "--format", "jsonl", "--limit", "1"]).stdout
    assert first == f"{lines[0]}\n"
    objects = [json.loads(line) for line in lines]
    assert [(one["source"], one["frame"], one["status"], len(one["faces"])) for one in objects] == [
        (row["source"], int(row["frame"]) if row["frame"] else None, row["status"], int(row["face"])) for row in rows
    ]
    assert len(objects[1]["faces"][0]["points"]) == 68 and abs(sum(objects[1]["faces"][0]["probabilities"].values()) - 1) < 1e-5
    assert "predicting" in call("predict", run, folder / "sub", "-o", out) and "p10.png" in out.read_text()
    table = call("predict", run, folder / "sub", "--limit", 1, "--format", "table")
    assert "p2.png" in table and "p10.png" not in table and "eyes px" in table and "remark" not in table
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    said = call("predict", run, tmp_path / "bad.png", "--annotate", tmp_path / "seen.png", code=1)
    assert "remark" in said and "1 unreadable" in said and "wrote" not in said and not (tmp_path / "seen.png").exists()


def test_a_clip_is_read_in_order_with_its_times(run, tmp_path):
    """Seen red: times a tenth of a second late; --every counted from 1."""
    clip = write_clip(tmp_path / "a.mp4", [drawn(7)[0]] * 4 + [WALL] * 2 + [drawn(7)[0]] * 3, rate=10)
    rows = rows_of(CliRunner().invoke(main, ["predict", str(run), str(clip), "--format", "csv"]).stdout)
    assert [int(row["frame"]) for row in rows] == list(range(9)) and [float(row["time_s"]) for row in rows] == [n / 10 for n in range(9)]
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["no-face"] * 2 + ["ok"] * 3
    thinned = rows_of(CliRunner().invoke(main, ["predict", str(run), str(clip), "--format", "csv", "--every", "4"]).stdout)
    assert [int(row["frame"]) for row in thinned] == [0, 4, 8]
    assert [row["left"] for row in thinned] == [rows[n]["left"] for n in (0, 4, 8)]


def test_a_clip_that_breaks_off_says_so(run, tmp_path):
    clip = write_clip(tmp_path / "a.avi", [drawn(7)[0]] * 6, gop_size=1)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 2 // 3])
    rows = rows_of(CliRunner().invoke(main, ["predict", str(run), str(clip), "--format", "csv"]).stdout)
    assert rows[0]["status"] == "ok" and rows[-1]["status"] == "unreadable" and "it is truncated" in rows[-1]["note"]
    clip.write_bytes(b"nonsense")
    assert "is none of avi" in call("predict", run, clip, "--format", "csv", code=1)


def told(width, *predictions):
    """Return the lines of the table for people on a console of so many letters."""
    console = Console(file=io.StringIO(), width=width)
    writer = TableWriter(("fear", "happiness"), lambda what: console.print(what, soft_wrap=isinstance(what, str), highlight=False))
    for one in predictions:
        writer.add(one)
    writer.end()
    return [line.strip() for line in console.file.getvalue().splitlines()]


def test_a_table_for_people_keeps_to_a_line_a_face_and_tells_the_rest_beneath():
    """Seen red: at 80 letters a remark stood in 11 lines of its column, and names in three."""
    values = {"fear": 0.3, "happiness": 0.7}
    face = FacePrediction((0, 0, 9, 9), np.zeros((68, 2)), values, 31.4, -33.0, 0.5, ("turned too far: about 33 degrees to the left",))
    seen = Prediction("holiday/beach.jpg", None, None, (40, 30), (replace(face, doubts=()), face))
    torn = Prediction("holiday/torn.jpg", None, None, None, (), "decoding a picture: torn.jpg ends after 7 bytes")
    head, _, *rows = told(80, seen, torn, replace(seen, source="wall.jpg", faces=()))
    assert [" ".join(line.split()) for line in (head, *rows)] == [
        "picture face expression eyes px turn ° remark",
        "holiday/beach.jpg 1 happiness 70% 31 -33",
        "holiday/beach.jpg 2 happiness 70% 31 -33 turned too far",
        "holiday/torn.jpg unreadable",
        "wall.jpg no face was found",
        "holiday/beach.jpg, face 2: turned too far: about 33 degrees to the left",
        "holiday/torn.jpg: decoding a picture: torn.jpg ends after 7 bytes",
    ]
    assert "then" in told(120, seen)[0] and "turn °" not in told(60, seen)[0]
    many = told(120, *[seen] * 150)
    assert len(many) == 2 + 200 + 20 + 1 and many[-1] == "and 100 more lines and 130 more remarks; --format csv -o FILE keeps all of them"


def colour_at(picture, x, y):
    return picture[round(y), round(x)].astype(int)


def test_what_was_found_is_drawn_on_the_picture(run, model, tmp_path):
    """Seen red: a box at half its coordinates; RGB taken for BGR."""
    picture, _ = drawn(2)
    source, out = write(tmp_path / "a.png", picture), tmp_path / "seen.png"
    call("predict", run, source, "--annotate", out)
    seen, face = cv2.cvtColor(cv2.imread(str(out)), cv2.COLOR_BGR2RGB), model.predict(source).faces[0]
    assert seen.shape == picture.shape
    left, top, right, bottom = face.box
    for x, y in ((left, (top + bottom) / 2), (right, (top + bottom) / 2), ((left + right) / 2, bottom), *face.points[[0, 30, 8]]):
        assert np.abs(colour_at(seen, x, y) - (40, 200, 80)).max() < 60, (x, y)
    untouched = np.ones(picture.shape[:2], bool)
    untouched[max(0, int(top) - 40) : int(bottom) + 45, max(0, int(left) - 10) : int(right) + 80] = False
    assert (seen[untouched] == picture[untouched]).all() and untouched.mean() > 0.3
    call("predict", run, write(tmp_path / "t.png", drawn(2, yaw_deg=32.0)[0]), "--annotate", out)
    turned = cv2.cvtColor(cv2.imread(str(out)), cv2.COLOR_BGR2RGB)
    assert (np.abs(turned.astype(int) - (255, 160, 0)).max(-1) < 20).sum() > 300, "doubtful faces have their own colour"


def test_a_picture_that_its_format_has_no_room_for_is_one_sentence(run, tmp_path):
    """In a folder it becomes a PNG, as one of a format that is not written. Seen red: an AssertionError from OpenCV's answer."""
    wide = write(tmp_path / "in" / "wide.png", np.full((20, 16_384, 3), 127, np.uint8))
    said = " ".join(call("predict", run, wide, "--annotate", tmp_path / "wide.webp", code=1).split())
    assert "a *.webp has at most 16,383 pixels a side, this picture has 16,384x20; name a *.png" in said
    assert not (tmp_path / "wide.webp").exists()
    wide.rename(wide.with_suffix(".webp"))                           # what a file is, its first bytes say
    call("predict", run, wide.parent, "--annotate", tmp_path / "seen")
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["wide.webp.png"]
    assert cv2.imread(str(tmp_path / "seen" / "wide.webp.png")).shape == (20, 16_384, 3)


def test_the_longest_names_are_drawn_on_and_longer_ones_are_told_first(run, tmp_path):
    """Seen red: `File name too long` at 251 bytes, half of the folder drawn, no predictions; the same where `.png` is added to a name."""
    folder, out = tmp_path / "in", tmp_path / "a.csv"
    write(folder / "short.png", WALL).rename(folder / f"{'x' * 251}.png")
    call("predict", run, folder, "--annotate", tmp_path / "seen", "-o", out)
    assert [path.name for path in (tmp_path / "seen").iterdir()] == [f"{'x' * 251}.png"] and len(rows_of(out.read_text())) == 1
    out.unlink()
    name = f"{'y' * 249}.pgm"
    cv2.imwrite(str(folder / "y.pgm"), WALL[..., 0])
    (folder / "y.pgm").rename(folder / name)
    said = "".join(call("predict", run, folder, "--annotate", tmp_path / "new", "-o", out, code=1).split())
    assert f"anamehasatmost255bytes,{name}.pnghas257;rename{name}" in said
    assert not out.exists() and not (tmp_path / "new").exists()


def test_what_was_found_is_drawn_on_a_clip_and_a_folder(run, folder, tmp_path):
    """As many pictures at the same times; odd sides lose a pixel, as YUV 4:2:0 needs even ones. Seen red: all times 1/25 s apart."""
    pictures = [np.pad(drawn(7)[0], ((0, 1), (0, 1), (0, 0))), np.pad(WALL, ((0, 1), (0, 1), (0, 0)))] * 3
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:       # odd sides, 8 pictures a second
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "a.mkv").write_bytes(buffer.getvalue())
    call("predict", run, tmp_path / "a.mkv", "--annotate", tmp_path / "seen.mp4")
    with av.open(str(tmp_path / "seen.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [time for time, _ in frames] == pytest.approx([n / 8 for n in range(6)], abs=1e-4)
    assert frames[0][1].shape == (306, 400, 3)
    green = [(np.abs(picture.astype(int) - (40, 200, 80)).max(-1) < 60).sum() for _, picture in frames]
    assert min(green[::2]) > 200 and max(green[1::2]) == 0
    call("predict", run, folder, "--annotate", tmp_path / "seen")
    there = sorted(path.relative_to(tmp_path / "seen").as_posix() for path in (tmp_path / "seen").rglob("*") if path.is_file())
    assert there == ["sub/p10.png", "sub/p2.png", "talk.avi.mp4", "wall.jpg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.png"], "a picture, a folder, a clip or the number of a camera is needed; there is no nothing.png"),
        (["empty"], "there is neither picture nor clip in empty; it is empty"),
        (["odd"], "1 unreadable"),
        ([os.fsdecode(b"odd/\xe9.png")], "a name must be UTF-8, so that it can be written down; rename odd/\\xe9.png"),
        (["99999999999"], "opening camera 99999999999: it cannot be opened; cameras of this machine, by number: "),
        (["b.png"], "there is no b.png (did you mean a.png?)"),
        (["a.png", "--annotate", "a.mp4"], "the file must be named *.png, *.jpg"),
        (["a.png", "--annotate", "a.png"], "it must be another file than the picture that is looked at"),
        (["a.png", "--annotate", "no/b.png"], "there is no folder no"),
        (["a.png", "-o", "a.png", "--format", "csv"], "it must be another file than the ones that are looked at"),
        (["a.png", "-o", "same.png", "--format", "csv", "--annotate", "./same.png"], "what is drawn goes to the same file; give"),
        (["odd", "-o", "seen/p1.png", "--format", "csv", "--annotate", "seen"], "what is drawn goes to seen; give --out and --annotate"),
        (["a.png", "-o", "b.json"], "writing predictions to b.json: the file must be named *.csv, *.jsonl, *.txt, or --format given"),
        (["a.png", "-o", "no/b.csv"], "writing no/b.csv: No such file or directory"),
        ([".", "--annotate", "../b.jpg"], "a folder is looked at, so a folder is needed, not a *.jpg"),
        ([".", "--annotate", "inside"], "a folder of its own is needed, neither in nor around ."),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_writes_nothing(run, words, message, tmp_path, monkeypatch):
    """Seen red: the table in the file of the drawn picture, which was lost; the same with a folder of drawn pictures."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", drawn(2)[0])
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    Path(os.fsdecode(bytes(tmp_path) + b"/odd/\xe9.png")).write_bytes((tmp_path / "a.png").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert message in call("predict", run, *words, code=1).replace("\n", " ")
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_an_interrupted_clip_leaves_no_half_of_a_file(run, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4", [drawn(7)[0]] * 5)
    pictures = []

    def interrupted(self, picture, thorough=False):
        pictures.append(picture)
        if len(pictures) == 4:
            raise KeyboardInterrupt
        return [], []

    monkeypatch.setattr("fer_data.faces.finder.Finder.__call__", interrupted)
    words = ["predict", str(run), str(clip), "-o", str(tmp_path / "a.csv"), "--annotate", str(tmp_path / "seen.mp4"), "--batch", "1"]
    assert CliRunner().invoke(main, words).exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_disk_that_is_full_at_the_end_of_a_small_file_is_one_sentence(tmp_path, monkeypatch):
    """Seen red: "[Errno 28] No space left on device" alone."""
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode, **more: real(Path("/dev/full"), mode, **more))
    message = r"writing \S*a\.csv: No space left on device; free some space, then run the same command again"
    with pytest.raises(StorageError, match=message), open_writer("csv", tmp_path / "a.csv", ("anger",), print):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\nb.png", "a\rb.png", 'a,"b.png'])
def test_a_name_of_two_lines_is_one_cell(name, tmp_path):
    """Seen red: two rows for one picture."""
    with open_writer("csv", tmp_path / "a.csv", ("anger",), print) as writer:
        writer.add(Prediction(name, None, None, None, (), "it is\ndamaged"))
        writer.add(Prediction("c.png", None, None, (9, 9), ()))
    rows = rows_of((tmp_path / "a.csv").read_bytes().decode())
    assert [(row["source"], row["note"]) for row in rows] == [(name, "it is\ndamaged"), ("c.png", "no face was found")]
    assert pd.read_csv(tmp_path / "a.csv")["source"].tolist() == [name, "c.png"]


class Camera:
    """Stands for cv2.VideoCapture: three pictures, then Ctrl-C."""

    released = False

    def __init__(self, number):
        self.number, self.left = number, 3

    def isOpened(self):
        return self.number == 0

    def read(self):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return True, cv2.cvtColor(drawn(7)[0], cv2.COLOR_RGB2BGR)

    def release(self):
        Camera.released = True


def test_a_camera_is_answered_at_once_and_ended_by_ctrl_c(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["predict", str(run), "0", "--annotate", "seen.mp4"])
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and [one["frame"] for one in objects] == [0, 1, 2] and Camera.released
    assert objects[0]["source"] == "camera 0" and objects[0]["faces"] and 0 <= objects[0]["time_s"] <= objects[2]["time_s"]
    with av.open("seen.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
    assert "opening camera 7: it cannot be opened; cameras of this machine, by number: " in call("predict", run, 7, code=1)
    write(tmp_path / "7" / "a.png", WALL)
    assert sources("7").kind == "folder", "what lies there under that name comes first"


@pytest.mark.parametrize(
    ("keep", "shape", "faceless", "limit"),
    [(False, (10, 10, 3), False, 3), (True, (10, 10, 3), False, 66), (True, (10, 10, 3), True, 66), (True, (2000, 2000, 3), False, 9)],
)
def test_a_long_clip_takes_no_more_memory_than_a_short_one(run, keep, shape, faceless, limit):
    """Pictures alive while many go by, some with two faces, or none with a face.

    Seen red: a list of all shots; no limit in bytes (30 alive), none of pictures (200).
    """
    face = Found(np.zeros((132, 132), np.uint8), np.zeros((68, 2)), (0, 0, 9, 9), 50.0, 140.0, 0.0, 0.5)
    alive, batches, n = [], [], 200 if shape[0] == 10 else 30

    def shots():
        for number in range(n):
            picture = np.zeros(shape, np.uint8)
            alive.append(weakref.ref(picture))
            yield Shot("a.mp4", number, number / 25, picture)

    def probabilities(views):
        batches.append(len(views))
        return np.tile(np.float32([0.25, 0.75]), (len(views), 1))

    recipe = replace(recipe_of_run(*RunFolder(run).read_config()), classes=("anger", "fear"))
    model, faces, peak = Predictor(Engine(recipe, probabilities)), 0, 0
    model._finder = lambda picture, thorough: ([face] * (0 if faceless else 1 + (len(alive) % 3 == 0)), [])
    for number, one in enumerate(model.stream(shots(), keep=keep)):
        assert one.frame == number and (one.picture is not None) == keep and all(face.expression == "fear" for face in one.faces)
        faces += len(one.faces)
        peak = max(peak, sum(reference() is not None for reference in alive))
    assert number == n - 1 and faces == sum(batches) == (0 if faceless else n + n // 3) and max(batches, default=0) <= 64
    assert peak <= limit


def changed(run, folder, **content):
    """Return a copy of the run whose config.json has other content; None takes a key out."""
    shutil.copytree(run, folder)
    known = json.loads((run / "config.json").read_text()) | content
    (folder / "config.json").write_text(json.dumps({name: value for name, value in known.items() if value is not None}))
    return folder


def test_no_landmark_backend_stands_in_for_another_unasked(run, prepared_ck, tmp_path):
    """A run says how its faces were found; an older one's data do, while they are there; else the user must."""
    faces = json.loads((run / "config.json").read_text())["faces"]
    assert (faces["landmarks"], faces["colour"], faces["backend"]["name"]) == ("dlib", "grey", "dlib")
    picture = drawn(2)[0]
    older = changed(run, tmp_path / "older", faces=None)
    assert fer_model.load(older, "cpu").predict(picture).faces[0].box == fer_model.load(run, "cpu").predict(picture).faces[0].box
    for name, content, used in (
        ("gone", {"faces": None, "data": "gone", "data_from_run": "gone"}, "a backend that is not known"),
        ("other", {"faces": None, "manifest_sha256": "0"}, "a backend that is not known"),
        ("given", {"faces": faces | {"landmarks": "dataset"}}, "that was done with dataset"),
    ):
        folder = changed(run, tmp_path / name, **content)
        with pytest.raises(ConfigError, match=rf"{used}.*; say what to take for new pictures: --landmarks fan, dlib or none"):
            fer_model.load(folder, "cpu")
        assert fer_model.load(folder, "cpu", "dlib").predict(picture).faces
    notes = fer_model.load(tmp_path / "given", "cpu", "dlib").notes
    assert "points are found with dlib, those of the training were with dataset" in notes[0]
    newer = changed(run, tmp_path / "newer", faces=faces | {"backend": faces["backend"] | {"version": "1"}}, drawn=False)
    (note,) = fer_model.load(newer, "cpu").notes
    assert note.endswith("those of the training with 1: another version")
    with pytest.raises(LandmarkError, match="the backend 'dataset' cannot do that alone; choose fan, dlib or none"):
        fer_model.load(run, "cpu", "dataset")


def test_what_is_no_trained_network_is_named(run, tmp_path):
    """Seen red: a run of other code was refused without a word of which file it was."""
    with pytest.raises(RunError, match=r"a run folder, or \*\.onnx or \*\.safetensors of `fer-model export`; .* is not there"):
        fer_model.load(tmp_path / "no")
    shutil.copytree(run, tmp_path / "cv" / "fold3")
    with pytest.raises(RunError, match=r"/cv holds the folds of a cross-validation: take one of them, such as .*/cv/fold3"):
        fer_model.load(tmp_path / "cv")
    shutil.copytree(run, tmp_path / "runs" / "mine")
    assert "holds runs: take one of them, such as" in call("export", tmp_path / "runs", code=1).replace("\n", " ")
    config = json.loads((run / "config.json").read_text())["config"]
    changed(run, tmp_path / "other", config=config | {"later": 1}, code_version="0.9")
    with pytest.raises(ConfigError, match=r"reading a run: .*/other/config\.json of 0\.9 does not fit this code .*unknown key 'later'"):
        fer_model.load(tmp_path / "other")
