"""Fixtures that several test files share."""

import os

# Before torch is imported, here and in child processes: the tests' networks are so small that a second thread only waits, and a
# waiting thread spins. On busy cores a step of preset smoke took 3 s in place of 0.06 s.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.pop("COLUMNS", None)       # set in the workers of pytest-xdist; the console would keep to it, whatever width a test asks for

from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

from fer_data.faces import views
from tests import trees

REPOSITORY = Path(__file__).resolve().parent.parent

# The same examples each time, so that what was green stays green; and no deadline, for other processes share the cores.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def once(pytestconfig, tmp_path_factory):
    """Return a function that fills a folder once for all processes of a run, as pytest-xdist starts them, and returns it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if hasattr(pytestconfig, "workerinput") else root       # above the folder of each process

    def filled(name, write):
        with FileLock(root / f"{name}.lock"):
            if not (root / f"{name}.done").exists():
                write(root / name / "ck")
                (root / f"{name}.done").touch()
        return root / name / "ck"

    return filled


@pytest.fixture(scope="session")
def synthetic_ck(once):
    """A CK+ tree of 8 drawn people, drawn once for all tests; read it, do not change it."""
    from fer_data.synthetic.ck_plus import write_ck_plus

    return once("synthetic", lambda out: write_ck_plus(out, subjects=8, seed=7))


@pytest.fixture(scope="session")
def prepared_ck(synthetic_ck, once):
    """The tree of `synthetic_ck`, prepared with dlib into 4 folds with virtual views, once for all tests; do not change it."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset

    config = PrepareConfig(landmarks="dlib", folds=4, views="virtual")
    return once("prepared", lambda out: prepare_dataset("ck+", synthetic_ck, out, config))


@pytest.fixture(scope="session")
def real_faces():
    """The folder of real photographs, if this machine has it."""
    root = Path(os.environ.get("FER_REAL_FACES", REPOSITORY.parent / "shared" / "data" / "london"))
    if not (root / "images").is_dir():
        pytest.skip(f"no real faces at {root}; set FER_REAL_FACES to a folder that holds images/NNN/*.jpg")
    return root


@pytest.fixture(scope="session")
def ck_plus_sequences():
    """The 327 labelled sequences of CK+ by public id: dicts of subject, sequence, expression, last_frame (text)."""
    return trees.ck_plus_sequences()


@pytest.fixture(scope="session")
def popular_split(ck_plus_sequences):
    """(names, folds): the folds of a popular public repository for CK+48, rebuilt: 981 file names in the order of its data file,
    and for each of ten folds the rows that it tests.

    Each class is sliced by its own sorted list of files: fold f < 10 tests, in class j, the rows start[j] + (f - 1) * size[j] + k;
    fold 10 tests the last size[j] rows of each class. The ninth slice of fear (75 files) runs over its end into happiness.
    """
    order = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt")
    start, size = (0, 135, 312, 387, 594, 678, 927, 981), (12, 18, 9, 21, 9, 24, 6)
    names = []
    for expression in order:
        mine = [row for row in ck_plus_sequences if row["expression"] == expression]
        files = [f"{row['subject']}_{row['sequence']}_{int(row['last_frame']) - back:08d}.png" for row in mine for back in range(3)]
        names += [f"{expression}/{file}" for file in sorted(files)]
        assert len(names) == start[order.index(expression) + 1]
    folds = []
    for fold in range(1, 11):
        first = [start[j] + (fold - 1) * size[j] if fold < 10 else start[j + 1] - size[j] for j in range(7)]
        folds.append([first[j] + k for j in range(7) for k in range(size[j])])
    return names, folds


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


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    """Each device that this machine has."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return request.param


@pytest.fixture(scope="session")
def write_tiny():
    """Return a function that writes a prepared folder of drawn blobs: seconds become milliseconds where no real face is needed."""
    return _write_tiny


@pytest.fixture(scope="session")
def tiny_prepared(write_tiny, tmp_path_factory):
    """6 people in 3 folds with 3 expressions of 2 frames each: 36 faces, virtual views. Read it, do not change it."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "prepared")


@pytest.fixture(scope="session")
def moved_encoder(tiny_prepared, tmp_path_factory):
    """A complete run of DE-GAN on fold 0, whose head has moved its encoder. Its first weights are large, so that its faces differ at all.
    Read it, do not change it."""
    from dataclasses import replace

    from fer_model.config import preset
    from fer_model.job import Job
    from fer_model.train import train

    folder, config = tmp_path_factory.mktemp("moved") / "r", preset("smoke")
    config = replace(config, network=replace(config.network, init_std=0.3), head=replace(config.head, encoder_lr=1e-2))
    train(Job(tiny_prepared, folder, config), "cpu", say=lambda _: None)
    return folder


@pytest.fixture(scope="session")
def others(write_tiny, tmp_path_factory):
    """Another database: five people, four expressions, two of which the first does not have. Read it, do not change it."""
    names = ("anger", "disgust", "fear", "surprise")
    return write_tiny(tmp_path_factory.mktemp("others") / "prepared", people=5, expressions=names, seed=3, dataset="others")


@pytest.fixture(scope="session")
def full_table(write_tiny, tmp_path_factory):
    """8 people in 2 folds who show four expressions in four sequences each: 128 faces. Read it, do not change it."""
    shown = ("anger", "disgust", "fear", "happiness")
    return write_tiny(tmp_path_factory.mktemp("table") / "prepared", people=8, folds=2, expressions=shown * 4, frames=1)


def _write_tiny(
    out, people=6, folds=3, expressions=("anger", "happiness", "surprise"), frames=2, seed=0, fold_of=None, reference=(), dataset="tiny",
    drawn=False, colour="grey",
):
    """Write OUT with one shard. Expression is where a bright disc lies, person is the background's brightness and a seed.

    `fold_of(person, sequence)` returns the fold; `reference` lists expressions whose frames are references. Faces differ between
    frames.
    """
    from fer_data.files import sha256_of_bytes
    from fer_data.store.manifest import COLUMNS, image_id, write_manifest
    from fer_data.store.shards import shard_name, write_shard

    fold_of = fold_of or (lambda person, sequence: person % folds)
    faces, rows = [], []
    y, x = np.mgrid[0:132, 0:132]
    for person in range(people):
        for sequence, expression in enumerate(expressions):
            angle = 2 * np.pi * sequence / len(expressions)
            disc = np.hypot(x - 66 - 24 * np.cos(angle), y - 66 - 24 * np.sin(angle)) < 14
            for frame in range(1, frames + 1):
                rng, fold = np.random.default_rng([seed, person, sequence, frame]), fold_of(person, sequence)
                face = 40 + 18 * person + 90 * disc + rng.integers(0, 12, (132, 132))
                subject, name = f"S{person:03d}", f"{sequence + 1:03d}"
                own = {
                    "image_id": image_id(dataset, subject, name, frame), "dataset": dataset, "subject": subject, "sequence": name,
                    "frame": frame, "expression": expression, "fold": fold, "shard": shard_name(0), "row": len(rows),
                    "source": f"{subject}_{name}_{frame}.png", "position": -1, "framing": "whole", "backend": "drawn",
                    "source_sha256": "0" * 64, "faces_found": 1, "jump": False,
                    "role": "reference" if expression in reference else "peak",
                }
                blanks = {column: "" if dtype == "str" else 0 for column, (dtype, _) in COLUMNS.items()}
                face = face.clip(0, 255).astype(np.uint8)
                faces.append(face if colour == "grey" else np.stack([face, face // 2, 255 - face], -1))
                rows.append(blanks | own | {"face_sha256": sha256_of_bytes(faces[-1].tobytes())})
    (out / "shards").mkdir(parents=True)
    record = write_shard(out / "shards", shard_name(0), "drawn", {"faces": np.stack(faces)}, rows, [])
    config = {"landmarks": "drawn", "detector": "", "views": "virtual", "colour": colour, "folds": folds, "fold_rule": "step"}
    settings = {
        "dataset": dataset, "drawn": drawn, "classes": list(expressions), "frame_rule": "all", "config": {**config, "options": {}},
        "code_version": "0", "opencv": "0", "backend": {"name": "drawn", "version": "0", "weights_sha256": ""}, "pipeline_version": 0,
        "notes": [], "skipped": {}, "found": len(rows), "kept": len(rows), "shards": {record.name: record.sha256},
    }
    write_manifest(out, rows, [], settings)
    return out


@pytest.fixture(scope="session")
def unknown(tmp_path_factory):
    """A prepared synthetic FER2013, whose people are unknown: 140 pictures, 112 of them to train on, 14 to choose by, 14 to test."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset
    from fer_data.synthetic.fer2013 import write_fer2013

    root = tmp_path_factory.mktemp("unknown")
    write_fer2013(root / "in", 140)
    prepare_dataset("fer2013", root / "in", root / "out", PrepareConfig(landmarks="none", views="virtual", folds=0, fold_rule="official"))
    return root / "out"
