"""OpenFace's CSV files: both writers, both tools, whose file belongs to what, and what is refused.

The files are written here column by column, as RecorderCSV.cpp writes them; the drawn databases give the true points.
"""

import contextlib
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import fer_data
from cli.fer_data import main
from fer_data.datasets.adapters import ADAPTERS
from fer_data.errors import LandmarkError
from fer_data.faces.landmarks import given as given_points
from fer_data.faces.landmarks import open_backend, openface
from fer_data.faces.landmarks.base import Origin
from fer_data.faces.landmarks.openface import parse_csv
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.records import Frame, Landmarks, Sequence
from fer_data.store.manifest import read_settings, read_skipped

EYES = [f"eye_lmk_{axis}_{index}" for axis in "xyXYZ" for index in range(56)]
POINTS_2D = [f"{axis}_{index}" for axis in "xy" for index in range(68)]
POINTS_3D = [f"{axis}_{index}" for axis in "XYZ" for index in range(68)]
SEQUENCE = ["frame", "face_id", "timestamp", "confidence", "success"]
FACE = np.stack([np.linspace(100, 200, 68), np.linspace(50, 160, 68)], -1)


def csv_of(rows, lead=SEQUENCE, comma=",", points=POINTS_2D):
    """Return a CSV file of OpenFace: for each row the leading cells and points (68, 2); other columns hold -9999."""
    header = [*lead, *EYES, "pose_Tx", *points, *POINTS_3D, "AU01_r"]
    lines = [comma.join(header)]
    for cells, face in rows:
        x, y = np.asarray(face).T
        places = dict(zip(POINTS_2D, [*x, *y], strict=True))
        body = [f"{places[name]:.1f}" if name in places else "-9999.0" for name in header[len(lead) :]]
        lines.append(comma.join([*map(str, cells), *body]))
    return ("\n".join(lines) + "\n").encode()


def frames_csv(faces, comma=","):
    """Return what FeatureExtraction writes for a folder or a clip: one row a face; None: a row without success."""
    rows = [((n, 0, f"{n / 30:.3f}", "0.98" if face is not None else "0.02", int(face is not None)), FACE if face is None else face)
            for n, face in enumerate(faces, 1)]
    return csv_of(rows, comma=comma)


@pytest.mark.parametrize("comma", [", ", ","])
def test_both_writers_are_read(comma):
    """Broken on purpose once without strip(): "lacks 136 columns" for the older writer."""
    faces = parse_csv(frames_csv([FACE, None, FACE + 1], comma))
    assert faces.last == 3 and not faces.of_picture and sorted(faces.frames) == [1, 3]
    assert np.abs(faces.frames[3][0] - FACE - 1).max() <= 0.051  # one decimal


def test_names_that_differ_only_by_case_or_by_a_prefix_are_not_confused():
    """Broken on purpose once by lower-casing the header: millimetres passed for pixels."""
    assert np.abs(parse_csv(frames_csv([FACE])).frames[1][0] - FACE).max() <= 0.051
    with pytest.raises(LandmarkError, match="lacks 136 columns of 2D points, as x_0; run OpenFace with -2Dfp"):
        parse_csv(csv_of([((1, 0, 0, 1, 1), FACE)], points=[]))


def test_the_header_of_version_1_is_read():
    """No face_id. Broken on purpose once by asking for face_id: KeyError."""
    data = csv_of([((1, "0.000", "0.9", 1), FACE)], lead=["frame", "timestamp", "confidence", "success"], comma=", ")
    assert len(parse_csv(data).frames[1]) == 1


def test_rows_without_success_hold_no_face():
    """They hold numbers all the same. Broken on purpose once by ignoring the column: three faces."""
    faces = parse_csv(frames_csv([None, FACE, None]))
    assert sorted(faces.frames) == [2] and faces.last == 3


def test_a_file_of_one_picture_has_a_row_for_each_face():
    """FaceLandmarkImg: no frame, no success. Broken on purpose once by keeping the last row alone."""
    data = csv_of([((0, "0.975"), FACE), ((1, "0.950"), FACE * 2)], lead=["face", "confidence"], comma=", ")
    faces = parse_csv(data)
    assert faces.of_picture and len(faces.frames[1]) == 2 and faces.last == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no CSV: it is empty"),
        (b"\x00\xff\xfe", "is no CSV: it is not text"),
        (b"a,b\n1,2\n", "does not begin with OpenFace's columns, but with 'a, b'"),
        (b"PK\x03\x04", "is no CSV: it is an Excel or zip file"),
        (frames_csv([FACE]).replace(b"x_1,", b"x_0,"), "lacks 1 column of 2D points, as x_1; run OpenFace with -2Dfp"),
        (frames_csv([FACE]).replace(b"pose_Tx,", b"x_0,"), "has the column x_0 2 times"),
        (frames_csv([FACE]).replace(b"100.0", b"100,0"), r"row 2 has \d+ cells for \d+ columns; with commas between cells"),
        (frames_csv([FACE]).replace(b"success,", b"succes,"), "a column frame, but none that says success"),
        (frames_csv([FACE, FACE])[:-400], r"is cut off: row 3 has \d+ of \d+ columns"),
        (frames_csv([FACE]).replace(b"100.0", b"hello"), r"in row 2 \(could not convert string to float: 'hello'\); did a spreadsheet"),
        (frames_csv([FACE]).replace(b"100.0", b"nan"), r"in row 2 \(1 of 68 points are not finite"),
        (frames_csv([FACE]).replace(b"\n1,0", b"\none,0"), r"in row 2 \('one' is no frame number"),
    ],
)
def test_what_is_no_such_file_is_named(data, message):
    """Broken on purpose once by not counting columns: the file that ends in the middle of a row passed."""
    with pytest.raises(LandmarkError, match=message):
        parse_csv(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("form", ["semicolon", "tab", "points", "quoted", "sep", "trailing", "whole line", "float frames"])
def test_a_file_that_a_spreadsheet_saved_again_is_read(form, encoding):
    """Seen red: on the reader before, which advised -2Dfp; with float() for number()."""
    text = frames_csv([FACE, None, FACE + 1]).decode()
    semicolons = text.replace(",", ";").replace(".", ",")
    text = {
        "semicolon": semicolons, "tab": semicolons.replace(";", "\t"), "points": text.replace(",", ";"),
        "quoted": "\n".join(",".join(f'"{cell.replace(".", ",")}"' for cell in line.split(",")) for line in text.splitlines()),
        "sep": "sep=;\r\n" + semicolons.replace("\n", "\r\n"), "trailing": semicolons.replace("\n", ";;\n") + ";;;;\n",
        "whole line": "\n".join(f'"{line}"' for line in text.splitlines()),
        "float frames": "\n".join(semicolons.splitlines()).replace("\n1;0;", "\n1,0;0;").replace("\n3;0;", "\n3,0;0;"),
    }[form]
    faces = parse_csv(text.encode(encoding))
    assert faces.last == 3 and sorted(faces.frames) == [1, 3] and np.abs(faces.frames[3][0] - FACE - 1).max() <= 0.051


@given(st.binary(max_size=200) | st.text("0123456789.,\n\"\rnaframesucex_ -", max_size=300).map(str.encode) | st.integers(0, 5000))
def test_only_our_own_error_leaves_the_parser(data):
    """Any bytes, and a good file with one byte changed. Broken on purpose once without csv.Error: it came out."""
    if isinstance(data, int):
        good = bytearray(frames_csv([FACE, None]))
        good[data % len(good)] = data % 256
        data = bytes(good)
    with contextlib.suppress(LandmarkError):
        parse_csv(data)


# --- whose file it is -------------------------------------------------------------------------------------------------


def tree(root, names, suffix=".png"):
    """Write small pictures S5/001/NAME below `root`; return the sequence of all of them."""
    (root / "frames" / "S5" / "001").mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(root / "frames" / "S5" / "001" / f"{name}{suffix}"), np.zeros((200, 300), np.uint8))
    return Sequence("folder", "S5", "001", "anger", tuple(Frame(f"frames/S5/001/{name}{suffix}", n) for n, name in enumerate(names, 1)))


def write(folder, name, data):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def locate(root, csvs, sequence, frames=None):
    frames = tuple(range(len(sequence.frames))) if frames is None else frames
    pictures = [np.zeros((200, 300), np.uint8)] * len(frames)
    return open_backend("openface", folder=csvs).locate(pictures, Origin(root, sequence, frames, "whole", ((300, 200),) * len(frames)))


NAMES = ["S5_001_09", "S5_001_10", "S5_001_11"]


@pytest.mark.parametrize(
    "name", ["frames/S5/001.csv", "frames/S5/001/001.csv", "S5/001.csv", "S5/001/001.csv", "S5_001.csv"]
)
def test_a_file_of_a_folder_is_found_and_joined_by_rank(tmp_path, name):
    """Used are only the last two frames; their rank among the folder's pictures counts. Litter is no picture.

    Broken on purpose once by the first rank for all: off by 10 px; by counting litter: the file was refused.
    """
    sequence = tree(tmp_path / "root", NAMES)
    used = Sequence("folder", "S5", "001", "anger", sequence.frames[1:])
    (tmp_path / "root" / "frames" / "S5" / "001" / "._S5_001_09.png").write_bytes(b"litter")
    (tmp_path / "root" / "frames" / "S5" / "001" / "Thumbs.db").write_bytes(b"litter")
    write(tmp_path / "csv", name, frames_csv([FACE, FACE + 10, FACE + 20]))
    found = locate(tmp_path / "root", tmp_path / "csv", used)
    for shift, one in zip((10, 20), found, strict=True):
        assert isinstance(one, Landmarks) and np.abs(one.points - FACE - shift).max() <= 0.051


@pytest.mark.parametrize("place", ["frames/S5/001/", "S5/001/", ""])
def test_files_of_single_pictures_are_found_and_the_largest_face_wins(tmp_path, place):
    """Broken on purpose once by min() for max(): the small face."""
    sequence = tree(tmp_path / "root", NAMES)
    small, large = FACE * 0.3, FACE
    for name in NAMES[1:]:
        data = csv_of([((0, 0.9), small), ((1, 0.8), large), ((2, 0.99), small + 1)], lead=["face", "confidence"])
        write(tmp_path / "csv", f"{place}{name}.csv", data)
    found = locate(tmp_path / "root", tmp_path / "csv", sequence)
    assert found[0] == "no-landmarks: OpenFace's folder has no file for it"
    assert all(np.abs(one.points - large).max() <= 0.051 and one.faces_found == 3 for one in found[1:])


def test_a_name_that_does_not_say_whose_it_is_serves_nobody(tmp_path):
    """Oulu-CASIA has 000.jpeg in each folder: DIR/000.csv can be anyone's.

    Broken on purpose once without the check for the subject: both pictures took it.
    """
    sequence = tree(tmp_path / "root", ["000", "001"], ".jpeg")
    for name in ("000", "001", "001/001", "other/001"):
        write(tmp_path / "csv", f"{name}.csv", csv_of([((0, 0.9), FACE)], lead=["face", "confidence"]))
    assert {one.split(":")[0] for one in locate(tmp_path / "root", tmp_path / "csv", sequence)} == {"no-landmarks"}
    write(tmp_path / "csv", "S5/001/000.csv", csv_of([((0, 0.9), FACE)], lead=["face", "confidence"]))
    found = locate(tmp_path / "root", tmp_path / "csv", sequence)
    assert isinstance(found[0], Landmarks) and found[1].startswith("no-landmarks")


def test_counts_must_agree(tmp_path):
    """A picture deleted after OpenFace ran shifts all ranks. Broken on purpose once without the check: wrong points."""
    sequence = tree(tmp_path / "root", NAMES)
    write(tmp_path / "csv", "S5/001.csv", frames_csv([FACE] * 4))
    sentence = "bad-landmarks: OpenFace's file counts 4 frames where there are 3 pictures: they cannot be told apart"
    assert locate(tmp_path / "root", tmp_path / "csv", sequence) == [sentence] * 3
    write(tmp_path / "csv", "S5/001.csv", csv_of([((0, 0.9), FACE)], lead=["face", "confidence"]))
    sentence = "bad-landmarks: a file of FaceLandmarkImg stands for one picture and must be named after it"
    assert locate(tmp_path / "root", tmp_path / "csv", sequence) == [sentence] * 3


def test_a_frame_where_openface_saw_nothing_is_no_face(tmp_path):
    """Broken on purpose once by taking the frame before."""
    sequence = tree(tmp_path / "root", NAMES)
    write(tmp_path / "csv", "S5_001.csv", frames_csv([FACE, None, FACE], ", "))
    found = locate(tmp_path / "root", tmp_path / "csv", sequence)
    assert [one if isinstance(one, str) else "face" for one in found] == ["face", "no-face: OpenFace found none", "face"]


def test_a_clip_is_joined_by_position(tmp_path):
    """Broken on purpose once by the position itself, which counts from 0: the frame before."""
    frames = tuple(Frame("Sessions/7/S001-004.avi", position + 1, position) for position in (1, 2, 5))
    sequence = Sequence("mmi", "S001", "004", "anger", frames)
    for name in ("Sessions/7/S001-004.csv", "7/S001-004.csv", "S001-004.csv", "S001_004.csv"):
        folder = tmp_path / name.replace("/", "-")
        write(folder, name, frames_csv([FACE + n for n in range(5)]))
        found = locate(tmp_path, folder, sequence)
        assert [round(float((one.points - FACE).mean())) for one in found[:2]] == [1, 2]
        assert found[2] == "bad-landmarks: OpenFace's file ends at frame 5, before frame 6"


def test_its_keys_are_content_and_rank(tmp_path):
    """The folder may move; a changed file or a new picture beside the old ones may not pass unseen.

    Broken on purpose once without the rank: the new picture left the evidence as it was.
    """
    sequence = tree(tmp_path / "root", NAMES)
    write(tmp_path / "csv", "S5/001.csv", frames_csv([FACE] * 3))
    backend = open_backend("openface", folder=tmp_path / "csv")
    before = backend.evidence(tmp_path / "root", sequence)
    assert str(tmp_path) not in str(before) and str(tmp_path) not in str(backend.identity())
    shutil.copytree(tmp_path / "csv", tmp_path / "moved")
    assert open_backend("openface", folder=tmp_path / "moved").evidence(tmp_path / "root", sequence) == before
    shutil.copy(tmp_path / "root" / sequence.frames[0].source, tmp_path / "root" / "frames" / "S5" / "001" / "S5_001_08.png")
    assert backend.evidence(tmp_path / "root", sequence) != before
    (tmp_path / "root" / "frames" / "S5" / "001" / "S5_001_08.png").unlink()
    write(tmp_path / "csv", "S5/001.csv", frames_csv([FACE + 1] * 3))
    assert backend.evidence(tmp_path / "root", sequence) != before


def test_a_folder_of_pictures_is_listed_once(tmp_path, monkeypatch):
    """Seen red: three times for three frames; one that was changed, not again."""
    sequence = tree(tmp_path / "root", NAMES)
    folder = tmp_path / "root" / "frames" / "S5" / "001"
    write(tmp_path / "csv", "S5/001.csv", frames_csv([FACE] * 3))
    os.utime(folder, (0, 0))
    backend = open_backend("openface", folder=tmp_path / "csv")
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterdir(path))
    before = backend.evidence(tmp_path / "root", sequence)
    assert [rank for _, rank, _ in before] == [1, 2, 3] and listed == [folder]
    shutil.copy(folder / f"{NAMES[0]}.png", folder / "S5_001_08.png")
    assert [rank for _, rank, _ in backend.evidence(tmp_path / "root", sequence)] == [2, 3, 4]


def test_a_folder_without_files_is_refused(tmp_path):
    """Broken on purpose once without the check: every picture was skipped at the end of a long run."""
    with pytest.raises(LandmarkError, match="it needs the folder of OpenFace's CSV files; give it with --openface DIR"):
        open_backend("openface")
    with pytest.raises(LandmarkError, match=r"is no folder with .csv files in it"):
        open_backend("openface", folder=tmp_path)


# --- end to end -------------------------------------------------------------------------------------------------------


def openface_files(root, out):
    """Write what FeatureExtraction would have written for a drawn CK+ tree: the true points, one CSV a sequence."""
    for sequence in ADAPTERS["ck+"](root).sequences:
        rows = [np.loadtxt(root / frame.points) for frame in sequence.frames]
        write(out, f"{sequence.subject}/{sequence.sequence}.csv", frames_csv(rows, ", "))


def test_prepare_with_files_of_openface(synthetic_ck, tmp_path):
    """Faces as with the database's own points but for one decimal; the folder's place leaves no trace.

    Broken on purpose once by leaving the folder among the settings: the run ended in a TypeError of json.
    """
    openface_files(synthetic_ck, tmp_path / "one")
    command = ["prepare", "ck+", str(synthetic_ck), str(tmp_path / "out"), "--landmarks", "openface", "--openface", str(tmp_path / "one")]
    result = CliRunner().invoke(main, [*command, "--folds", "4", "--views", "virtual", "--strict"])
    assert result.exit_code == 0, result.output
    frame, settings = fer_data.read_manifest(tmp_path / "out"), read_settings(tmp_path / "out")
    assert set(frame["backend"]) == {"openface"} and settings["backend"]["name"] == "openface"
    config = PrepareConfig(landmarks="dataset", views="virtual", folds=4)
    prepare_dataset("ck+", synthetic_ck, tmp_path / "dataset", config)
    own = fer_data.read_manifest(tmp_path / "dataset")
    assert (frame["image_id"] == own["image_id"]).all()
    assert np.abs(frame["matrix_00"] - own["matrix_00"]).max() < 0.003
    shutil.move(tmp_path / "one", tmp_path / "two")
    config = PrepareConfig(landmarks="openface", openface=tmp_path / "two", views="virtual", folds=4)
    again = prepare_dataset("ck+", synthetic_ck, tmp_path / "out", config)
    assert again.shards_written == 0 and read_settings(tmp_path / "out") == settings
    files = sorted(Path(tmp_path / "two").rglob("*.csv"))
    selected = sorted({f"{row.subject}/{row.sequence}" for row in frame.itertuples()})
    (tmp_path / "two" / f"{selected[0]}.csv").unlink()
    assert len(files) > len(selected)
    assert prepare_dataset("ck+", synthetic_ck, tmp_path / "out", config).skipped["no-landmarks"] == 3
    assert "OpenFace's folder has no file for it" in set(read_skipped(tmp_path / "out")["detail"])


def test_a_failure_that_an_older_reader_kept_is_looked_at_again(synthetic_ck, tmp_path, monkeypatch):
    """Seen red: without the reader's version in the key, `bad-landmarks` came out of the cache."""
    openface_files(synthetic_ck, tmp_path / "points")
    config = PrepareConfig(landmarks="openface", openface=tmp_path / "points", views="virtual", folds=4)
    files, real = sorted((tmp_path / "points").rglob("*.csv")), openface.parse_csv
    not_read_yet = {path.read_bytes() for path in files[: len(files) // 4]}

    def older(data):
        if data in not_read_yet:
            raise LandmarkError("not read yet")
        return real(data)

    with monkeypatch.context() as patched:
        patched.setattr(given_points, "READER", 1)
        patched.setattr(openface, "parse_csv", older)
        assert prepare_dataset("ck+", synthetic_ck, tmp_path / "out", config).skipped["bad-landmarks"] > 0
    assert not prepare_dataset("ck+", synthetic_ck, tmp_path / "out", config).skipped.get("bad-landmarks")


@pytest.mark.parametrize("options", [["--landmarks", "openface"], ["--landmarks", "dlib", "--openface", "."]])
def test_backend_and_folder_go_together(synthetic_ck, tmp_path, options):
    """Broken on purpose once without the check: --openface was ignored beside --landmarks dlib."""
    result = CliRunner().invoke(main, ["prepare", "ck+", str(synthetic_ck), str(tmp_path / "out"), *options, "--dry-run"])
    assert result.exit_code == 2 and "--landmarks openface and --openface DIR go together." in result.output
