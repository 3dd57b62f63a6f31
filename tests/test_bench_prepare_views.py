"""The rivals of prepare and of rendering do the same work as ours, and what is measured is what is said to be measured."""

import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from benchmarks import prepare, views
from fer_data.datasets.adapters import ADAPTERS
from fer_data.faces.views import CROP_AREA, MARGIN, N_VIEWS, VIEW_SIZE, render_views
from fer_data.files import sha256_of_file
from fer_data.pictures.decode import decode_picture
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.store.loader import open_views
from fer_data.store.manifest import read_manifest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("colour", ["grey", "RGB"])
def test_both_rivals_render_the_views_that_we_render(smooth_faces, colour):
    """Where all of them have real pixels: within a disc about the middle. Broken once by turning the other way: 158 grey levels apart."""
    faces = smooth_faces if colour == "grey" else np.stack([smooth_faces, 255 - smooth_faces, smooth_faces[::-1]], -1)
    ours = render_views(faces)
    areas = np.ascontiguousarray(faces[:, MARGIN : MARGIN + CROP_AREA, MARGIN : MARGIN + CROP_AREA])
    disc = np.hypot(*np.mgrid[-47.5:48, -47.5:48]) < 46
    for area, expected in zip(areas, ours, strict=True):
        for rival in (views.pil_views(Image.fromarray(area)), views.warp_views(area)):
            assert len(rival) == N_VIEWS
            assert np.abs(np.stack(rival)[:, disc].astype(int) - expected[:, disc]).max() <= 2


@pytest.mark.slow
def test_the_usual_script_finds_the_faces_that_prepare_finds(synthetic_ck, tmp_path):
    """Its test view looks as ours does; seen red: a correlation of 0.1 with the template of the canvas in place of the crop area's."""
    labels = sorted(synthetic_ck.glob("Emotion/*/*/*_emotion.txt"))[:2]
    folders = [synthetic_ck / "cohn-kanade-images" / path.parent.relative_to(synthetic_ck / "Emotion") for path in labels]
    paths = prepare.write_tree(tmp_path / "in", 2, [[path.read_bytes() for path in sorted(one.glob("*.png"))[-3:]] for one in folders])
    assert prepare.UsualScript()(paths, tmp_path / "usual.h5") == 6
    config = PrepareConfig(landmarks="dlib", views="virtual", folds=2, options={"pattern": prepare.PATTERN})
    prepare_dataset("folder", tmp_path / "in", tmp_path / "out", config)
    loaded = open_views(tmp_path / "out", read_manifest(tmp_path / "out"))
    import torch

    ours = loaded.batch(torch.arange(6), torch.zeros(6, dtype=torch.long)).numpy().reshape(6, -1)
    with h5py.File(tmp_path / "usual.h5") as file:
        assert file["views"].shape == (6, N_VIEWS, VIEW_SIZE, VIEW_SIZE) and file["views"].compression == "gzip"
        theirs = file["views"][:, 0].reshape(6, -1)
    alike = [np.corrcoef(mine, other)[0, 1] for mine, other in zip(ours, theirs, strict=True)]
    assert min(alike) > 0.95, alike


def test_the_tree_has_no_two_files_of_the_same_bytes_and_all_the_pictures(tmp_path):
    """Broken once by copying without a comment: 6 hashes for 36 files."""
    pictures = [[np.full((24, 32), 40 * sequence + frame, np.uint8) for frame in range(3)] for sequence in range(2)]
    drawn = [[cv2.imencode(".png", one)[1].tobytes() for one in sequence] for sequence in pictures]
    paths = prepare.write_tree(tmp_path, 12, drawn)
    sequences = ADAPTERS["folder"](tmp_path, pattern=prepare.PATTERN).sequences
    assert [len(one.frames) for one in sequences] == [prepare.FRAMES] * 12 and len({one.subject for one in sequences}) == 10
    assert len({sha256_of_file(path) for path in paths}) == 36
    decoded = [decode_picture(path.read_bytes(), False, "a") for path in paths]
    np.testing.assert_array_equal(decoded[:6], [one for sequence in pictures for one in sequence])


def test_steady_state_leaves_out_start_and_end():
    """A slow start, a second each between, an end in no time: broken once by counting to the last mark, 0.56 s."""
    start = [10.0, 20.0]
    marks = start + [20.0 + done for done in range(1, 11)] + [30.0] * prepare._AHEAD
    assert prepare.steady_s(marks, 2) == 1.0


SLOW = {"views": 6}                                                      # lines of each
TORTURE = {"prepare": 4, "growth": 6, "bu4dfe": 1, "clips": 3, "parallel": 2, "precision": 1, "demo": 1}


@pytest.mark.parametrize(("name", "lines"), [
    *(pytest.param(name, lines, marks=pytest.mark.slow) for name, lines in SLOW.items()),
    *(pytest.param(name, lines, marks=pytest.mark.torture) for name, lines in TORTURE.items()),
])
def test_a_tiny_run_gives_every_bar(name, lines, tmp_path):
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--size", "tiny"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("| ") and "| what |" not in line]) == lines
