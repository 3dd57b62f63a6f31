"""The points that CK+ gives itself: format, skips with their reason, keys by content; a whole `prepare` with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import fer_data
from cli.fer_data import main
from fer_data.datasets.adapters import ADAPTERS
from fer_data.errors import LandmarkError
from fer_data.faces.landmarks import open_backend
from fer_data.faces.landmarks.base import Origin
from fer_data.faces.landmarks.dataset import parse_points
from fer_data.faces.landmarks.given import frame_points
from fer_data.pictures.decode import frame_picture, unframe_points
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.records import FRAMINGS, Frame, Landmarks, Sequence
from fer_data.store.manifest import read_skipped
from fer_data.store.shards import map_dataset

CONFIG = PrepareConfig(landmarks="dataset", views="virtual", folds=4)
LINE = b"   2.2471830e+02   2.0766094e+02\n"


def text_of(points):
    """Return points as CK+ writes them."""
    return "".join(f"   {x:.7e}   {y:.7e}\n" for x, y in points).encode()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_published_form_is_read(mark, end):
    """Broken on purpose once by splitting at three blanks: ValueError, could not convert string to float: ''."""
    points = parse_points(mark + LINE.replace(b"\n", end) * 68)
    assert points.shape == (68, 2) and points.dtype == np.float64
    assert (points == [224.7183, 207.66094]).all()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_points_saved_again_in_another_encoding_are_read(encoding):
    """Seen red: UTF-16 gave `'utf-8' codec can't decode byte 0xff`, a blank that does not break in Latin-1 the same."""
    text = LINE.decode().replace("   2.0", "\u00a0 2.0") * 68
    assert (parse_points(text.encode(encoding)) == [224.7183, 207.66094]).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (LINE * 67, "got 67 lines"),
        (LINE * 69, "got 69 lines"),
        (LINE * 67 + b"1.0\n", "got 1 in line 68"),
        (b"1 2 3\n" + LINE * 67, "got 3 in line 1"),
        (LINE * 67 + b"1.0 y\n", "could not convert string to float"),
        (LINE * 67 + b"nan 3\n", "1 of 68 points are not finite"),
        (b"\xff\xfe3", "it begins as UTF-16-LE text, but byte"),
        (b"<!doctype html>", "could not convert"),
    ],
)
def test_anything_else_is_named(data, message):
    """Broken on purpose once by zip() without a count of lines: 67 lines gave 67 points."""
    with pytest.raises(LandmarkError, match=message):
        parse_points(data)


@given(st.binary(max_size=300) | st.text("0123456789.e+- \n", max_size=400).map(str.encode))
def test_only_our_own_error_leaves_the_parser(data):
    """Broken on purpose once by catching TypeError for ValueError: "not a float" came out."""
    try:
        points = parse_points(data)
    except LandmarkError:
        return
    assert points.shape == (68, 2)


@given(st.sampled_from(FRAMINGS), st.tuples(st.integers(2, 60), st.integers(2, 60)), st.integers(0, 2**32 - 1))
def test_points_move_into_the_framed_picture_as_its_pixels_do(framing, size, seed):
    """A bright pixel of the whole picture, framed with the picture; and the way back.

    Broken on purpose once by the transposed matrix: clockwise and counterclockwise were exchanged.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    framed = frame_picture(np.arange(width * height).reshape(height, width), framing)
    y, x = rng.integers(framed.shape[0]), rng.integers(framed.shape[1])
    place = np.array([[framed[y, x] % width, framed[y, x] // width]], float)  # where that pixel came from
    assert np.allclose(frame_points(place, framing, size), [[x, y]])
    points = rng.uniform(0, 50, (68, 2))
    assert np.allclose(unframe_points(frame_points(points, framing, size), framing, size), points)


def test_half_a_picture_has_the_face_or_not(tmp_path):
    """Broken on purpose once without the check: both halves had the face, one of them outside its picture."""
    points = np.random.default_rng(0).uniform(10, 40, (68, 2)) + [60, 0]
    (tmp_path / "p.txt").write_bytes(text_of(points))
    sequence = Sequence("mmi", "S1", "1", "anger", (Frame("a.png", 1, points="p.txt"),))
    picture = np.zeros((60, 120), np.uint8)
    located = {
        framing: open_backend("dataset").locate(
            [frame_picture(picture, framing)], Origin(tmp_path, sequence, (0,), framing, ((120, 60),))
        )[0]
        for framing in ("left", "right")
    }
    assert located["left"].startswith("no-face: ")
    assert np.allclose(located["right"].points, points - [60, 0], atol=1e-4)
    assert np.allclose(located["right"].box, [*located["right"].points.min(0), *located["right"].points.max(0)])


def test_the_points_come_out_as_they_were_drawn(synthetic_ck, tmp_path):
    """End to end: the shards hold the numbers of the files. Broken on purpose once by exchanging x and y in parse_points."""
    summary = prepare_dataset("ck+", synthetic_ck, tmp_path / "out", CONFIG)
    frame = fer_data.read_manifest(tmp_path / "out")
    assert summary.unusable == 0 and summary.kept == len(frame) > 30
    assert set(frame["backend"]) == {"dataset"} and set(frame["weights_sha256"]) == {""}
    truth = {one.source: one.points for sequence in ADAPTERS["ck+"](synthetic_ck).sequences for one in sequence.frames}
    for shard, rows in frame.groupby("shard"):
        stored = map_dataset(tmp_path / "out" / "shards" / shard, "landmarks")
        for row in rows.itertuples():
            assert np.allclose(stored[row.row], np.loadtxt(synthetic_ck / truth[row.source]), atol=1e-12)
    assert frame["residual_px"].max() < 4


def test_missing_and_malformed_files_are_skips_with_a_sentence(synthetic_ck, tmp_path):
    """Broken on purpose once by leaving the frame out without a word: found == kept + skipped did not hold."""
    root = tmp_path / "ck"
    shutil.copytree(synthetic_ck, root)
    first, second = sorted(
        (one.frames[-1] for one in ADAPTERS["ck+"](root).sequences if one.expression), key=lambda frame: frame.source
    )[:2]
    (root / first.points).unlink()
    (root / second.points).write_bytes(LINE * 67)
    options = ["--landmarks", "dataset", "--folds", "4", "--views", "virtual", "--strict"]
    result = CliRunner().invoke(main, ["prepare", "ck+", str(root), str(tmp_path / "out"), *options])
    assert result.exit_code == 1, result.output
    assert result.output.splitlines()[-1] == "skipped 2 (no-landmarks 1, bad-landmarks 1; see skipped.csv)"
    skipped = read_skipped(tmp_path / "out").set_index("source")
    assert skipped.loc[first.source, "detail"] == "the database has no file of points for it"
    assert skipped.loc[second.source, "detail"] == "its file of points must hold 68 lines of two numbers, got 67 lines"


def test_a_changed_file_of_points_is_noticed_and_no_other_shard_made_again(synthetic_ck, tmp_path):
    """Broken on purpose once without the evidence in the shard's key: nothing was written; without that in the cache's
    key: the old points came back."""
    root = tmp_path / "ck"
    shutil.copytree(synthetic_ck, root)
    out = tmp_path / "out"
    prepare_dataset("ck+", root, out, CONFIG)
    before = fer_data.read_manifest(out)
    assert prepare_dataset("ck+", root, out, CONFIG).shards_written == 0
    row = before.iloc[0]
    (path,) = root.glob(f"Landmarks/**/{Path(row['source']).stem}_landmarks.txt")
    path.write_bytes(text_of(np.loadtxt(path) + [3, 0]))
    again = prepare_dataset("ck+", root, out, CONFIG)
    after = fer_data.read_manifest(out)
    assert again.shards_written == 1 < again.shards_written + again.shards_kept
    assert after.iloc[0]["face_sha256"] != row["face_sha256"]
    assert (after["face_sha256"][1:] == before["face_sha256"][1:]).all()


def test_the_folder_of_points_may_lie_anywhere(synthetic_ck, tmp_path):
    """As unzipped by a browser. Broken on purpose once by asking for Landmarks/ at the root: all were "no-landmarks"."""
    root = tmp_path / "ck"
    shutil.copytree(synthetic_ck, root)
    (root / "downloads").mkdir()
    (root / "Landmarks").rename(root / "downloads" / "Landmarks(1)")
    summary = prepare_dataset("ck+", root, tmp_path / "out", CONFIG)
    assert summary.unusable == 0 and summary.kept > 30


def test_points_that_change_during_a_run_stop_it(synthetic_ck, tmp_path, monkeypatch):
    """Broken on purpose once without the comparison: the run went on with the new points under the old key."""
    from fer_data.errors import DatasetError
    from fer_data.faces.landmarks import dataset

    kept = dataset.DatasetBackend.evidence
    calls = iter(range(10**6))
    monkeypatch.setattr(
        dataset.DatasetBackend, "evidence", lambda self, root, sequence: [*kept(self, root, sequence), next(calls) > 30]
    )
    with pytest.raises(DatasetError, match=r"reading the points of S\d+/\d+: their file changed during the run"):
        prepare_dataset("ck+", synthetic_ck, tmp_path / "out", CONFIG)


def test_a_backend_of_points_gives_landmarks(synthetic_ck):
    """Broken on purpose once by a box of four equal numbers."""
    sequence = ADAPTERS["ck+"](synthetic_ck).sequences[0]
    count = len(sequence.frames)
    origin = Origin(synthetic_ck, sequence, tuple(range(count)), "whole", ((640, 490),) * count)
    for one in open_backend("dataset").locate([np.zeros((490, 640), np.uint8)] * count, origin):
        assert isinstance(one, Landmarks) and one.faces_found == 1 and one.box[0] < one.box[2] and one.box[1] < one.box[3]
