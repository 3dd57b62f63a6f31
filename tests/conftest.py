"""Fixtures that several test files share."""

import os
from pathlib import Path

import numpy as np
import pytest

from fer_data.faces import views

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def synthetic_ck(tmp_path_factory):
    """A CK+ tree of 8 drawn people, drawn once for all tests; read it, do not change it."""
    from fer_data.datasets.synthetic.ck_plus import write_ck_plus

    out = tmp_path_factory.mktemp("synthetic") / "ck"
    write_ck_plus(out, subjects=8, seed=7)
    return out


@pytest.fixture(scope="session")
def prepared_ck(synthetic_ck, tmp_path_factory):
    """The tree of `synthetic_ck`, prepared with dlib into 4 folds with virtual views."""
    from fer_data.prepare import PrepareConfig, prepare_dataset

    out = tmp_path_factory.mktemp("prepared") / "ck"
    prepare_dataset("ck+", synthetic_ck, out, PrepareConfig(landmarks="dlib", folds=4, views="virtual"))
    return out


@pytest.fixture(scope="session")
def real_faces():
    """The folder of real photographs, if this machine has it."""
    root = Path(os.environ.get("FER_REAL_FACES", REPOSITORY.parent / "shared" / "data" / "london"))
    if not (root / "images").is_dir():
        pytest.skip(f"no real faces at {root}; set FER_REAL_FACES to a folder that holds images/NNN/*.jpg")
    return root


@pytest.fixture
def smooth_faces():
    """Four smooth pictures on the stored canvas, (4, 132, 132) uint8, all grey levels used."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:132, 0:132] / 131
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(1, 25, (4, 3))]
    return np.stack([np.round((wave - wave.min()) / np.ptp(wave) * 255).astype(np.uint8) for wave in waves])


@pytest.fixture
def all_matrices():
    """The 110 matrices, writable copies."""
    return views.MATRICES.copy()


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Each device that this machine has."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return request.param
