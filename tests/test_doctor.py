"""The doctor: each check is fed a made-up installation, one thing wrong at a time; the looking around is tried on real children."""

import configparser
import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import fer_data as command
from fer_data import weights
from fer_data.doctor import checks as doctor
from fer_data.doctor import environment as surroundings
from fer_data.doctor.checks import KNOWN_BAD, Finding, diagnose, fits, ready
from fer_data.doctor.environment import PROBES, Place, Surroundings, Trial, probe, requirements

REPOSITORY = Path(__file__).resolve().parent.parent
PYTHON_RANGE, REQUIRED, OPTIONAL = requirements()
HERE = Place(Path("/data/out"), Path("/data"), 10**12)
HEALTHY = Surroundings(
    python="3.11.7",
    python_range=PYTHON_RANGE,
    installed={**{name: allowed.split(",")[0].lstrip(">=") for name, allowed in {**REQUIRED, **OPTIONAL}.items()}, "setuptools": "84.2.1"},
    required=REQUIRED,
    optional=OPTIONAL,
    cv2_owners=("opencv-python 5.0.0.93",),
    trials={
        "cv2": Trial({"version": "5.0.0"}), "dlib": Trial({"version": "20.0.1"}), "face_alignment": Trial({"version": "1.5.0"}),
        "h5py": Trial({"version": "3.16.0", "hdf5": "2.0.0", "filters": ["gzip"]}),
        "torch": Trial({"version": "2.13.0", "cuda": "13.0", "available": True, "devices": [["H100", 80 * 10**9]], "device_error": ""}),
    },
    weights={entry.name: ("right", f"/models/{entry.name}") for entry in weights.CATALOGUE},
    pkg_resources=False,
    nvidia=True,
    hdf5_plugins="",
    out=HERE,
    temp=replace(HERE, path=Path("/tmp")),
)
LIBGL = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
TORCH = HEALTHY.trials["torch"].facts


def ill(**changes) -> Surroundings:
    """Return the healthy installation with a few facts changed; trials and weights are merged."""
    for name in ("trials", "weights", "installed"):
        if name in changes:
            changes[name] = {key: value for key, value in {**getattr(HEALTHY, name), **changes[name]}.items() if value is not None}
    return replace(HEALTHY, **changes)


def without_weights(*names: str) -> dict:
    return {name: ("missing", f"run `fer-data weights fetch {name}`") for name in names}


FAN, S3FD, DLIB = (entry.name for entry in weights.CATALOGUE)
CUDA_BROKEN = Trial({**TORCH, "device_error": "no kernel image is available"})
CPU = Trial({**TORCH, "cuda": None, "available": False, "devices": []})


def test_a_healthy_installation_has_nothing_but_ok():
    """Broken on purpose by reporting one owner of cv2 as two."""
    findings = diagnose(HEALTHY)
    assert {finding.level for finding in findings} == {"ok"} and ready(findings) == {"dlib": True, "fan": True}


@pytest.mark.parametrize(
    ("facts", "level", "says", "way_out", "able"),
    [
        (ill(python="3.10.4"), "problem", "Python 3.10.4", "install an allowed Python", ""),
        (ill(installed={"pandas": None}), "problem", "pandas is missing", "pip install 'pandas>=3'", ""),
        (ill(installed={"torch": None}), "problem", "torch is missing", "pip install 'torch", "dlib"),
        (ill(installed={"numpy": "2.6.0"}), "note", "numpy 2.6.0 lies outside the tested range >=2,<2.6", "pip install", "dlib fan"),
        (ill(installed={"scikit-learn": "1.7.2"}), "problem", "scikit-learn 1.7.2", "pip install 'scikit-learn>=1.8'", "dlib fan"),
        (ill(installed={"lightning": "2.6.2"}), "problem", "lightning 2.6.2 stole credentials", "change every password", "dlib fan"),
        (ill(installed={"lightning": "2.6.3"}), "problem", "lightning 2.6.3 stole credentials", "pip uninstall lightning", "dlib fan"),
        (
            ill(cv2_owners=("opencv-python 5.0.0.93", "opencv-python-headless 4.11.0.86")), "problem", "2 packages own cv2",
            "pip uninstall -y opencv-python opencv-python-headless, then pip install 'opencv-python>=5'", "dlib fan",
        ),
        (ill(trials={"cv2": Trial({}, LIBGL)}), "problem", "the system library libGL.so.1 is missing", "apt-get install libgl1", ""),
        (
            ill(trials={"cv2": Trial({}, LIBGL.replace("libGL.so.1", "libgthread-2.0.so.0"))}), "problem", "libgthread-2.0.so.0 is missing",
            "apt-get install libglib2.0-0", "",
        ),
        (ill(trials={"cv2": Trial({}, LIBGL.replace("libGL", "libwhat"))}), "problem", "libwhat.so.1", "that holds libwhat.so.1", ""),
        (ill(trials={"cv2": Trial({}, "the process was ended by signal 11")}), "problem", "ended by signal 11", "--force-reinstall", ""),
        (ill(trials={"cv2": Trial({"version": "4.11.0"})}), "problem", "OpenCV is 4.11.0", "pip install 'opencv-python>=5'", ""),
        (ill(trials={"h5py": Trial({}, "ImportError: libhdf5.so")}), "problem", "h5py cannot be imported", "reinstall h5py", ""),
        (ill(trials={"h5py": Trial({"version": "2", "hdf5": "1.8.4", "filters": []})}), "problem", "HDF5 1.8.4", "upgrade h5py", ""),
        (ill(hdf5_plugins="/plugins"), "note", "HDF5_PLUGIN_PATH is /plugins", "unset", "dlib fan"),
        (ill(trials={"dlib": Trial({}, "ModuleNotFoundError: dlib")}), "problem", "dlib cannot be imported", "fer-degan[dlib]", "fan"),
        (ill(weights=without_weights(DLIB)), "problem", f"{DLIB} is missing", "weights fetch", "fan"),
        (ill(weights=without_weights(FAN)), "problem", f"{FAN} is missing", f"weights fetch {FAN}", "dlib"),
        (ill(weights=without_weights(S3FD)), "problem", f"{S3FD} is missing", f"weights fetch {S3FD}", "dlib fan"),
        (ill(weights=without_weights(S3FD, DLIB)), "problem", f"{S3FD} is missing", "weights fetch", ""),
        (ill(weights={FAN: ("wrong", "/m is a web page; fetch it anew")}), "problem", "/m is a web page", "fetch it anew", "dlib"),
        (ill(trials={"face_alignment": Trial({}, "ImportError: numba")}), "problem", "face_alignment cannot be", "reinstall", "dlib"),
        (ill(trials={"torch": Trial({}, "OSError: libcudart")}), "problem", "torch cannot be imported", "--landmarks dlib", "dlib"),
        (ill(trials={"torch": CPU}, nvidia=False), "note", "no GPU", "all works on the CPU", "dlib fan"),
        (ill(trials={"torch": CPU}), "note", "an NVIDIA device is there, but torch cannot use it", "CUDA build of torch", "dlib fan"),
        (ill(trials={"torch": CUDA_BROKEN}), "problem", "no kernel image", "--device cpu", "dlib fan"),
        (ill(out=replace(HERE, error="Read-only file system")), "problem", "/data/out cannot be written (Read-only", "/data", ""),
        (ill(out=replace(HERE, free=50 * 10**6)), "problem", "50 MB free, too little", "free some space", ""),
        (ill(out=replace(HERE, free=2 * 10**9)), "note", "too little for stored views of bu4dfe 62.6 GB", "--views virtual", "dlib fan"),
        (ill(out=replace(HERE, free=10**9)), "note", "bu4dfe", "and another disk for bu4dfe", "dlib fan"),
        (ill(temp=replace(HERE, error="No usable temporary directory")), "note", "No usable temporary directory", "TMPDIR", "dlib fan"),
        (ill(installed={"face-recognition": "1.3.0"}), "note", "pkg_resources", "setuptools<81", "dlib fan"),
        (
            ill(installed={"torch": "2.13.0+cpu", "torchvision": "0.28.0"}), "problem", "0.28.0 was not made for torch 2.13.0+cpu",
            "--index-url", "dlib fan",
        ),
        (ill(installed={"torch": "2.13.0", "torchvision": "0.27.0"}), "problem", "0.27.0 was not made for", "--index-url", "dlib fan"),
        (ill(required={}), "note", "not known", "pip install fer-degan", "dlib fan"),
    ],
)
def test_what_is_wrong_is_said_with_its_way_out(facts, level, says, way_out, able):
    """One thing wrong: one line says it and how to go on, and the backends that still work are the right ones.

    Broken on purpose by letting the missing s3fd stop fan although dlib can find the boxes.
    """
    findings = diagnose(facts)
    told = [finding for finding in findings if says in finding.text]
    assert [finding.level for finding in told] == [level], [finding.text for finding in findings if finding.level != "ok"]
    assert way_out in told[0].way_out
    assert " ".join(name for name, works in ready(findings).items() if works) == able


def test_every_line_that_is_not_ok_has_a_way_out():
    """Broken on purpose by dropping the GPU note's."""
    everything = ill(
        python="3.9.1", installed={"pandas": None, "lightning": "2.6.2"}, cv2_owners=("a 1", "b 2"), hdf5_plugins="/x", pkg_resources=False,
        trials={name: Trial({}, "ImportError: broken") for name in PROBES}, weights=without_weights(FAN, S3FD, DLIB),
        out=replace(HERE, error="no"), temp=replace(HERE, free=1),
    )
    findings = diagnose(everything)
    assert all(finding.way_out for finding in findings if finding.level != "ok")
    assert all(finding.level == "problem" for finding in findings if finding.stops)
    assert ready(findings) == {"dlib": False, "fan": False}


def test_a_broken_cv2_is_not_blamed_on_fan():
    """face_alignment imports cv2: its failure is a consequence. Broken on purpose by dropping that case: a second problem."""
    findings = diagnose(ill(trials={"cv2": Trial({}, LIBGL), "face_alignment": Trial({}, LIBGL)}))
    assert [finding.check for finding in findings if finding.level == "problem"] == ["cv2"]


def test_a_torchvision_that_was_made_for_this_torch_is_well():
    """Seen red: the build compared with the version's own."""
    for torch, torchvision in ("2.13.0", "0.28.0"), ("2.13.0+cpu", "0.28.1+cpu"):
        findings = doctor.check_torchvision(ill(installed={"torch": torch, "torchvision": torchvision}))
        assert [finding.level for finding in findings] == ["ok"]
    assert doctor.check_torchvision(HEALTHY) == []


# --- versions ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_which_side_of_a_limit_a_version_is_on(have, limit):
    """Seen red: `high` for everything that does not fit."""
    a, b = ".".join(map(str, have)), ".".join(map(str, limit))
    size = max(len(have), len(limit))
    a_numbers, b_numbers = (numbers + [0] * (size - len(numbers)) for numbers in (have, limit))
    assert fits(a, f">={b}") == ("low" if a_numbers < b_numbers else "")
    assert fits(a, f"<={b}") == ("high" if a_numbers > b_numbers else "")
    assert fits(a, f">{b}") == ("low" if a_numbers <= b_numbers else "")
    assert fits(a, f"<{b}") == ("high" if a_numbers >= b_numbers else "")
    assert fits(a, f"=={b}") == ("low" if a_numbers < b_numbers else "high" if a_numbers > b_numbers else "")
    assert fits(a, f"!={b}") == ("excluded" if a_numbers == b_numbers else "")


@pytest.mark.parametrize(
    ("version", "allowed", "expected"),
    [
        ("2.13.0", "==2.13.0", ""), ("2.13.0+cpu", "==2.13.0", ""), ("2.13.1", "==2.13.0", "high"), ("2.12", "==2.13.*", "low"),
        ("2.13.7", "==2.13.*", ""), ("2.14", "==2.13.*", "high"), ("2.3.9", "~=2.3.1", ""), ("2.3.0", "~=2.3.1", "low"),
        ("2.4.0", "~=2.3.1", "high"), ("2.9", "~=2.3", ""), ("3.0", "~=2.3", "high"), ("2.3", "!=2.3.*", "excluded"),
        ("2.4", ">=2,!=2.3,<2.6", ""), ("2.3", ">=2,!=2.3,<2.6", "excluded"), ("2.6", ">=2,!=2.3,<2.6", "high"), ("1", ">=2,!=2.3", "low"),
        ("5.0.0-dev", ">=4.11", ""), ("5.0.0rc1", ">=5", "low"), ("4.11.0-vendor", ">=5", "low"), ("unknown", ">=5", "low"),
        ("3.11.7", "", ""),
    ],
)
def test_versions_are_compared_as_pip_does(version, allowed, expected):
    """Seen red with the comparison of before: AttributeError for ==, ~= and !=."""
    assert fits(version, allowed) == expected


def test_a_version_that_is_excluded_is_a_problem_and_one_that_is_too_new_a_note():
    """Seen red: `excluded` taken for too new."""
    required = {**REQUIRED, "pandas": ">=3,!=3.0.1,<4"}
    levels = [diagnose(ill(required=required, installed={"pandas": have}))[1].level for have in ("3.0.0", "3.0.1", "2.9", "4.0")]
    assert levels == ["ok", "problem", "problem", "note"]


def test_requirements_hold_with_their_markers_and_extras():
    """Seen red with the regular expression of before: tomli was needed on every Python, and numpy's second line replaced its first."""
    lines = ["numpy>=2", "numpy!=2.3; python_version >= '3'", "tomli~=2.0; python_version < '3'", "Face_Alignment[all] == 1.5.*"]
    lines += ["x==1; extra == 'dev'"]
    assert surroundings._ranges(lines) == {"numpy": ">=2,!=2.3", "face-alignment": "==1.5.*"}
    assert surroundings._ranges(lines, ("dev", "video")) == {"numpy": ">=2,!=2.3", "face-alignment": "==1.5.*", "x": "==1"}


def test_ranges_are_those_of_setup_cfg_and_all_are_understood():
    """Seen red: a line of setup.cfg left out."""
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    lines = config["options"]["install_requires"].split()
    assert len(REQUIRED) == len(lines) and config["options"]["python_requires"] == PYTHON_RANGE
    assert REQUIRED["opencv-python"] == ">=5" and REQUIRED["numpy"] == ">=2,<2.6" and {"dlib-bin", "av"} <= set(OPTIONAL)
    for allowed in [PYTHON_RANGE, *REQUIRED.values(), *OPTIONAL.values()]:
        assert fits("0", allowed) == "low"


def test_metadata_gives_the_same_ranges(tmp_path, monkeypatch):
    """What pip writes for an installed package reads as setup.cfg does. Broken on purpose by taking every extra: pytest was optional."""
    lines = [f"{name} ({allowed})" for name, allowed in REQUIRED.items()]
    lines += [f"{name}{allowed} ; extra == 'dlib'" for name, allowed in OPTIONAL.items()] + ["pytest>=8 ; extra == 'dev'"]

    installed = SimpleNamespace(requires=lines, metadata={"Requires-Python": PYTHON_RANGE})
    monkeypatch.setattr(surroundings, "__file__", str(tmp_path / "fer_data" / "doctor" / "environment.py"))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: installed)
    assert requirements() == (PYTHON_RANGE, REQUIRED, OPTIONAL)


def test_sizes_are_those_of_the_shards():
    """Broken on purpose by 100 views."""
    from fer_data.faces.align import CANVAS
    from fer_data.faces.views import N_VIEWS, VIEW_SIZE

    assert doctor.STORED_BYTES - doctor.VIRTUAL_BYTES == N_VIEWS * VIEW_SIZE**2
    assert CANVAS**2 < doctor.VIRTUAL_BYTES < CANVAS**2 + 2000


# --- looking around ---------------------------------------------------------------------------------------------------


def fake_library(folder: Path, name: str, code: str, monkeypatch) -> None:
    """Put a library before the real one, for child processes."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_missing_system_library_is_seen_in_a_child(tmp_path, monkeypatch):
    """A cv2 that fails as the real one does without libGL. Broken on purpose by taking the first line of stderr: `Traceback`."""
    fake_library(tmp_path / "lib", "cv2", f"raise ImportError({LIBGL.removeprefix('ImportError: ')!r})", monkeypatch)
    trial = probe("cv2")
    assert trial == Trial({}, LIBGL)
    assert "apt-get install libgl1" in diagnose(ill(trials={"cv2": trial}))[4].way_out


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "the process was ended by signal 11"),
        ("import sys\nsys.exit(3)", "exit code 3"),
        ("import time\ntime.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_library_that_takes_its_process_along_takes_only_the_child(code, error, tmp_path, monkeypatch):
    """Broken on purpose by importing in this process: the test run ended."""
    monkeypatch.setattr(surroundings, "_TIMEOUT_S", 1 if "sleep" in code else 60)
    fake_library(tmp_path / "lib", "dlib", code, monkeypatch)
    assert probe("dlib") == Trial({}, error)


def test_what_a_library_prints_does_not_confuse(tmp_path, monkeypatch):
    """Broken on purpose by reading all of stdout as JSON."""
    fake_library(tmp_path / "lib", "dlib", "print('hello {}')\n__version__ = '9'", monkeypatch)
    assert probe("dlib") == Trial({"version": "9"})


def test_no_file_of_the_current_folder_is_run(tmp_path, monkeypatch):
    """A dlib.py that lies where the user stands is not imported. Broken on purpose by dropping -P: it left its mark."""
    (tmp_path / "dlib.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    probe("dlib")
    assert not (tmp_path / "mark").exists()


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path):
    """And nothing is created. Broken on purpose by making the folder."""
    place = surroundings._place(tmp_path / "a" / "b")
    assert place.nearest == tmp_path and not place.error and place.free > 0 and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    """Root may write anywhere, so the refusal is simulated. Broken on purpose with os.access: it said yes."""

    def refuse(**settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(surroundings.tempfile, "TemporaryFile", refuse)
    assert surroundings._place(tmp_path).error == "Permission denied"


def test_a_folder_in_one_that_may_not_be_entered_is_told(tmp_path, monkeypatch):
    """Root may enter any, so the refusal is simulated. Seen red: a traceback in place of the diagnosis."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(surroundings.Path, "exists", refuse)
    place = surroundings._place(tmp_path / "locked" / "out")
    assert (place.path, place.free, place.error) == (tmp_path / "locked" / "out", 0, "Permission denied")


def test_two_owners_are_found_in_what_pip_wrote(tmp_path, monkeypatch):
    """RECORD files as pip leaves them. Broken on purpose by searching names instead: `my-opencv-tools` counted."""
    records = {"opencv-python": "cv2/__init__.py,sha256=x,1\n", "odd-name": "a.py,,\ncv2/__init__.py,,\n", "my-opencv-tools": "b.py,,\n"}
    for name, record in records.items():
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(record)
    found = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
    monkeypatch.setattr(surroundings, "probe", lambda library: HEALTHY.trials[library])
    facts = surroundings.look_around(tmp_path)
    assert facts.cv2_owners == ("odd-name 1.0", "opencv-python 1.0") and facts.installed["my-opencv-tools"] == "1.0"


def test_the_doctor_loads_no_library_itself():
    """Broken on purpose by `import cv2` at the top of environment.py."""
    code = "import fer_data.doctor.checks, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout.split()
    assert not set(loaded) & {"cv2", "torch", "dlib", "h5py", "face_alignment", "numpy", "pandas"}


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "code"), [(HEALTHY, 0), (ill(weights=without_weights(FAN)), 0), (ill(weights=without_weights(FAN, DLIB)), 1)]
)
def test_exit_code_is_1_when_neither_backend_works(facts, code, monkeypatch):
    """Broken on purpose with `not all(...)`: 1 for missing FAN weights although dlib works."""
    monkeypatch.setattr(doctor, "look_around", lambda out: facts)
    done = CliRunner().invoke(command.main, ["doctor"])
    assert done.exit_code == code and f"--landmarks fan: {'ready' if facts is HEALTHY else 'not ready'}" in done.output
    done = CliRunner().invoke(command.main, ["doctor", "--json"])
    told = json.loads(done.output)
    assert done.exit_code == code and told["ready"] == ready(diagnose(facts))
    assert [Finding(**{**one, "stops": tuple(one["stops"])}) for one in told["findings"]] == diagnose(facts)


def test_what_is_harmful_is_listed_by_exact_version():
    assert set(KNOWN_BAD) == {("lightning", "2.6.2"), ("lightning", "2.6.3")}


@pytest.mark.slow
def test_this_installation_is_able_to_work(tmp_path):
    """The real thing, end to end: what the tests themselves need must be found well."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.fer_data", "doctor", "--json", "--out", str(tmp_path)], capture_output=True, text=True, cwd=REPOSITORY,
        env=environment, check=False,
    )
    told = json.loads(done.stdout)
    levels = {finding["check"]: finding["level"] for finding in told["findings"]}
    assert done.returncode == 0 and told["ready"]["dlib"], done.stderr
    assert all(levels[check] == "ok" for check in ("python", "cv2", "hdf5", "dlib", "harmful")), told
    assert not list(tmp_path.iterdir())
