"""The fan backend: its geometry with stub networks whose peaks are known, and the real networks with random weights.

The real model files cannot be had by everyone; the package's own decoding is the reference where it can be one.
"""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_data import weights
from fer_data.errors import LandmarkError, WeightsError
from fer_data.faces.landmarks import fan, open_backend
from fer_data.faces.landmarks.base import BOX_SERVES

FILES = (fan.NETWORK, "s3fd-619a316812.pth")


# --- stub networks ----------------------------------------------------------------------------------------------------


def opened(monkeypatch, network, boxes=((0.0, 0.0, 200.0, 200.0),)):
    """Return a FanBackend whose network is `network` and whose detector sees `boxes`."""
    detector = SimpleNamespace(detect_from_image=lambda picture: [np.array([*box, 0.9]) for box in boxes])
    package = SimpleNamespace(face_alignment_net=network, face_detector=detector)
    monkeypatch.setattr(weights, "require", lambda name, doing: name)
    monkeypatch.setattr(fan, "_open_package", lambda paths, device: package)
    return fan.FanBackend()


def seeing(batch):
    """A network that sees: each of its 68 heat maps is the crop's brightness, so that its peak is the brightest place."""
    heat = torch.nn.functional.avg_pool2d(batch.mean(1, keepdim=True), 4)  # (N, 1, 64, 64)
    return [heat.expand(-1, 68, -1, -1).clone()]


def blob(shape, centre, sigma):
    """Return a picture, float (H, W), of one round spot whose centre is (x, y), and black elsewhere."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))


class Knowing:
    """A network that gives Gaussians of sigma 1 at known places (68, 2) of the heat map, mirrored for a mirrored crop.

    The crop's left half must be brighter than its right one; only so can it tell.
    """

    def __init__(self, peaks):
        self.peaks, self.batches, self.heat = np.asarray(peaks, np.float64), [], None

    def __call__(self, batch):
        from face_alignment.utils import flip

        self.batches.append(len(batch))
        y, x = np.mgrid[:64, :64]
        squares = (x - self.peaks[:, 0, None, None]) ** 2 + (y - self.peaks[:, 1, None, None]) ** 2
        heat = torch.from_numpy(np.exp(-squares / 2).astype(np.float32))[None]  # (1, 68, 64, 64)
        self.heat = heat.numpy()
        mirrored = batch[0, ..., :128].mean() < batch[0, ..., 128:].mean()
        return [heat * 0, (flip(heat, is_label=True) if mirrored else heat).expand(len(batch), -1, -1, -1)]


HALVES = np.where(np.arange(400) < 200, 220, 30).astype(np.uint8)[None].repeat(400, 0)  # bright left of x = 200


@settings(max_examples=60)
@given(
    st.tuples(st.floats(150, 350), st.floats(150, 300)),
    st.floats(60, 420),
    st.tuples(st.floats(-0.35, 0.35), st.floats(-0.35, 0.35)),
)
def test_a_spot_in_the_picture_comes_out_where_it_is(centre, side, offset):
    """Any box, any sub-pixel place, boxes that stick out of the picture: 0.5 px are asked for, 0.1 px are kept.

    Measured over 400 random boxes of 60 to 420 px: median 0.006, largest error 0.023 px.
    Broken on purpose once by leaving out the half pixels of both grids: off by 0.7 px; by leaving out the crop's: 0.5 px.
    """
    box = (centre[0] - side / 2, centre[1] - side / 2, centre[0] + side / 2, centre[1] + side / 2)
    place = np.array(centre) + np.array(offset) * side
    picture = np.round(blob((480, 520), place, sigma=max(1.5, side / 40))).astype(np.uint8)
    if not (8 < place[0] < 512 and 8 < place[1] < 472):
        return
    with pytest.MonkeyPatch.context() as patch:
        points = opened(patch, seeing).predict(picture, box)
    assert points.shape == (68, 2) and points.dtype == np.float64
    assert np.abs(points - place).max() < 0.1


@pytest.mark.parametrize("box", [(100.0, 90.0, 300.0, 310.0), (-40.0, 60.0, 330.0, 390.0), (150.25, 160.5, 250.75, 270.0)])
def test_each_point_comes_from_its_own_heat_map(monkeypatch, box):
    """68 peaks at sub-pixel places, the mirrored pass put back; against where they are, and against the package's decoding.

    The package rounds to a quarter of a heat map pixel (one pixel of the crop) and cuts to whole pixels of the picture.
    Broken on purpose once by not mirroring the second pass back: off by up to 359 px; by leaving the crop's own half
    pixel out of crop_matrix: off by 0.34 px.
    """
    from face_alignment import utils

    monkeypatch.setattr(utils, "transform_np", utils.transform_np.py_func)  # half a minute of compiling saved
    peaks = np.random.default_rng(2).uniform(3, 60, (68, 2))
    network = Knowing(peaks)
    points = opened(monkeypatch, network).predict(HALVES, box)
    step = 200 * (box[2] - box[0] + box[3] - box[1]) / 195 / 256  # picture px per crop px
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2 - 0.12 * (box[3] - box[1])])
    expected = (peaks + 0.5) * 4 * step + centre - 128 * step - 0.5  # worked by hand: edge of the crop + place in it
    assert np.abs(points - expected).max() < 0.02
    best = network.heat.reshape(1, 68, -1).argmax(-1)
    decode = utils._get_preds_fromhm.py_func
    theirs = decode(network.heat, best, centre, (box[2] - box[0] + box[3] - box[1]) / 195)[1][0]
    difference = (points - theirs)[theirs > 0]  # cut downwards; below 0 it is upwards
    assert np.abs(difference).max() <= step + 0.5 + 1e-6
    assert np.abs(difference.mean()) < 0.25 * step


@settings(max_examples=200)
@given(st.floats(0.6, 62.4), st.floats(0.6, 62.4), st.floats(0.7, 3.0), st.floats(0.01, 50.0))
def test_the_centre_of_a_gaussian_is_found(x, y, sigma, height):
    """Broken on purpose once by fitting the values themselves, not their logarithms: off by up to 0.05."""
    rows, columns = np.mgrid[:64, :64]
    heat = (height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)))[None]
    assert np.abs(fan.heat_map_peaks(heat) - [x, y]).max() < 1e-6


def test_odd_heat_maps_give_whole_pixels():
    """Peaks at the border, negative maps, flat maps: no NaN, no step outside.

    Broken on purpose once by taking logarithms unasked: RuntimeWarning, invalid value.
    """
    heat = np.full((5, 64, 64), -1.0)
    heat[0, 0, 0] = heat[1, 63, 63] = heat[2, 20, 0] = heat[3, 10, 10] = 1.0
    assert fan.heat_map_peaks(heat).tolist() == [[0, 0], [63, 63], [0, 20], [10, 10], [0, 0]]
    assert fan.heat_map_peaks(np.ones((1, 64, 64))).tolist() == [[0, 0]]


def test_frames_of_a_sequence_go_through_the_network_together(monkeypatch):
    """One pass and one mirrored for up to BOX_SERVES frames, and each frame keeps its own points.

    Broken on purpose once by predicting frame by frame: twelve passes of one instead of four.
    """
    network = Knowing(np.full((68, 2), 30.3))
    backend = opened(monkeypatch, network, [(50.0, 50.0, 150.0, 150.0)])  # of the picture at half size
    assert len(backend.locate([HALVES] * 6)) == 6
    assert network.batches == [4, 4, 2, 2] and BOX_SERVES == 4
    pictures = [np.round(blob((400, 400), (190 + 3 * n, 200 - 2 * n), 6)).astype(np.uint8) for n in range(4)]
    backend = opened(monkeypatch, seeing)
    for picture, one in zip(pictures, backend.predict_all(pictures, (100.0, 100.0, 300.0, 300.0)), strict=True):
        assert np.abs(one - backend.predict(picture, (100.0, 100.0, 300.0, 300.0))).max() < 1e-4


def test_torch_uses_one_thread_and_gets_its_threads_back(monkeypatch):
    """Broken on purpose once without _one_thread: the network saw two threads."""
    seen = []

    def network(batch):
        seen.append(torch.get_num_threads())
        return seeing(batch)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        opened(monkeypatch, network).predict(HALVES, (100.0, 100.0, 300.0, 300.0))
        assert seen == [1, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_grey_and_rgb_are_the_same(monkeypatch):
    """Broken on purpose once by handing the grey picture on as it is: RuntimeError in permute."""
    picture = np.round(blob((300, 300), (140.3, 160.8), 6)).astype(np.uint8)
    backend = opened(monkeypatch, seeing)
    box = (60.0, 60.0, 240.0, 260.0)
    assert (backend.predict(picture, box) == backend.predict(np.dstack([picture] * 3), box)).all()


# --- real networks, random weights ------------------------------------------------------------------------------------


def stored_networks(folder, boxed=False):
    """Save FAN(4) and S3FD with random weights below `folder`; return the catalogue that names their bytes.

    The detector sees nothing, or (boxed) a face of 128 px at every cell of its stride 32.
    """
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    with torch.random.fork_rng():
        torch.manual_seed(4)
        networks = (FAN(4), s3fd())
    for name, parameter in networks[1].named_parameters():
        if "mbox_conf" in name:
            parameter.data.zero_()
            if name.endswith("bias"):
                parameter.data[0], parameter.data[-1] = (0.0, 4.0) if boxed and name == "fc7_mbox_conf.bias" else (9.0, 0.0)
        elif "mbox_loc" in name:
            parameter.data.zero_()
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, network in zip(FILES, networks, strict=True):
        torch.save(network.state_dict(), folder / name)
        data = (folder / name).read_bytes()
        entries.append(replace(weights.choose((name,))[0], sha256=hashlib.sha256(data).hexdigest(), size=len(data)))
    return (*entries, *weights.choose(("dlib",)))


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory):
    """A TORCH_HOME with real networks of random weights, and their catalogue."""
    home = tmp_path_factory.mktemp("torch")
    return home, stored_networks(home / "hub" / "checkpoints", boxed=True)


@pytest.fixture
def stored(torch_home, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(torch_home[0]))
    monkeypatch.setattr(weights, "CATALOGUE", torch_home[1])
    return torch_home


def test_the_real_networks_give_points_of_the_right_form(stored, capfd):
    """Also: silent, the same on a second opening, and no socket is opened (pytest-socket would object).

    Broken on purpose once by leaving the network in training mode.
    """
    picture = np.random.default_rng(0).integers(0, 256, (120, 160)).astype(np.uint8)
    first, again = open_backend("fan"), open_backend("fan")
    (found,) = first.locate([picture])
    assert found.points.shape == (68, 2) and found.points.dtype == np.float64 and np.isfinite(found.points).all()
    assert found.faces_found > 1
    assert (again.predict(picture, found.box) == found.points).all()
    assert first.identity() == again.identity()
    assert not first._network.training
    assert capfd.readouterr() == ("", "")


def test_the_detector_returns_the_boxes_that_its_weights_describe(stored):
    """The stride-32 cells, 128 px wide, centre at 16 + 32 n, thinned by the package's own suppression; grey as RGB.

    The map has 7 rows and 9 columns; of equal scores the last cell is kept.
    Broken on purpose once by taking the box's columns in the order y, x: the last centre was (208, 272).
    """
    backend = open_backend("fan")
    picture = np.zeros((96, 160), np.uint8)
    boxes = backend.detect(picture)
    assert boxes == backend.detect(np.dstack([picture] * 3)) and boxes
    for left, top, right, bottom in boxes:
        assert right - left == bottom - top == 128
        assert (left + 64 - 16) % 32 == 0 and (top + 64 - 16) % 32 == 0
    centres = [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]
    assert max(centres) == (16 + 32 * 8, 16 + 32 * 6)


def test_no_face_is_a_reason(tmp_path, monkeypatch, capfd):
    """Broken on purpose once by taking face_alignment's whole answer for one box: IndexError."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "CATALOGUE", stored_networks(tmp_path / "hub" / "checkpoints"))
    assert open_backend("fan").locate([np.full((96, 96), 90, np.uint8)]) == ["no-face"]
    assert capfd.readouterr() == ("", "")


def test_boxes_may_come_from_dlib(stored, drawn_face):
    """Needs no S3FD file, and its identity names dlib. Broken on purpose once by asking for both files: WeightsError."""
    dlib = pytest.importorskip("dlib")
    (stored[0] / "hub" / "checkpoints" / FILES[1]).rename(stored[0] / "away")
    try:
        backend = open_backend("fan", detector="dlib")
    finally:
        (stored[0] / "away").rename(stored[0] / "hub" / "checkpoints" / FILES[1])
    assert backend.identity()["dlib"] == dlib.__version__ and backend.identity() != open_backend("fan").identity()
    boxes = backend.detect(drawn_face)
    assert boxes == backend.detect(np.dstack([drawn_face] * 3)) == open_backend("dlib").detect(drawn_face) and len(boxes) == 1


@pytest.fixture(scope="module")
def drawn_face(synthetic_ck):
    """One drawn face, grey, as dlib sees it at half size."""
    import cv2

    path = sorted((synthetic_ck / "cohn-kanade-images").rglob("*.png"))[0]
    return cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (320, 245), interpolation=cv2.INTER_AREA)


@pytest.mark.slow
def test_a_batch_of_the_real_network_is_its_pictures_one_by_one(stored):
    """Broken on purpose once by batch normalisation in training mode: off by up to 125 px."""
    backend = open_backend("fan")
    rng = np.random.default_rng(1)
    pictures = [np.round(blob((200, 200), rng.uniform(60, 140, 2), 20)).astype(np.uint8) for _ in range(3)]
    together = backend.predict_all(pictures, (40.0, 40.0, 160.0, 170.0))
    for picture, points in zip(pictures, together, strict=True):
        assert np.abs(backend.predict(picture, (40.0, 40.0, 160.0, 170.0)) - points).max() < 0.01


@pytest.mark.slow
def test_a_fresh_process_finds_the_same_points_and_is_silent(stored, tmp_path):
    """Broken on purpose once by a print in detect: stdout was no JSON."""
    program = (
        "import json, sys; import numpy as np; from fer_data import weights; from fer_data.faces.landmarks import open_backend\n"
        "weights.CATALOGUE = tuple(weights.Weights(**entry) for entry in json.loads(sys.argv[1]))\n"
        "picture = np.random.default_rng(0).integers(0, 256, (120, 160)).astype(np.uint8)\n"
        "print(json.dumps(open_backend('fan').locate([picture])[0].points.tolist()))\n"
    )
    catalogue = json.dumps([entry.__dict__ for entry in stored[1]])
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program, catalogue], capture_output=True, text=True, check=True)
    picture = np.random.default_rng(0).integers(0, 256, (120, 160)).astype(np.uint8)
    assert ran.stderr == ""
    assert (np.array(json.loads(ran.stdout)) == open_backend("fan").locate([picture])[0].points).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"2DFAN4.* is missing; run `fer-data weights fetch 2DFAN4.* put it at .*use --landmarks dlib"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), r"must have [\d,]+ bytes, got 5,000: it is not whole"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>try again later</html>"), r"is a web page, not a model file"),
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), r"must have sha256 [0-9a-f]{64}, got [0-9a-f]{64}"),
    ],
)
def test_a_missing_or_wrong_model_file_is_one_sentence(stored, tmp_path, monkeypatch, spoil, message):
    """Broken on purpose once by checking existence alone: what torch.load raises came out."""
    import shutil

    shutil.copytree(stored[0], tmp_path / "torch")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    spoil(tmp_path / "torch" / "hub" / "checkpoints" / FILES[0])
    with pytest.raises(WeightsError, match="opening the fan backend: .*" + message):
        open_backend("fan")


def test_a_file_that_would_run_code_is_not_run(tmp_path, monkeypatch):
    """The package loads its detector without restriction unless it is told the path.

    Broken on purpose once by not telling it: the file was run, and RuntimeError came out of what it returned.
    """
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    data = pickle.dumps(Trap(), protocol=2)
    trapped = [replace(one, sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for one in weights.choose(FILES)]
    monkeypatch.setattr(weights, "CATALOGUE", tuple(trapped))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights.folder().mkdir(parents=True)
    for name in FILES:
        (weights.folder() / name).write_bytes(data)
    for detector in fan.DETECTORS:
        with pytest.raises(pickle.UnpicklingError):
            open_backend("fan", detector=detector)
    assert not (tmp_path / "ran").exists()


def test_another_folder_of_torch_hub_is_refused(stored, monkeypatch, tmp_path):
    """The package would download into it. Broken on purpose once without the check: a blocked socket was opened."""
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
    with pytest.raises(WeightsError, match=r"face-alignment looks at .*2DFAN4.*; leave torch.hub.set_dir alone"):
        open_backend("fan")


def test_an_unknown_detector_is_named():
    """Broken on purpose once without the check: a sentence about a missing file instead."""
    with pytest.raises(LandmarkError, match="unknown detector 'mtcnn'; choose sfd or dlib"):
        open_backend("fan", detector="mtcnn")
