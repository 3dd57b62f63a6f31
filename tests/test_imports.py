"""Imports go one way, and stay light: each check runs in a fresh interpreter or reads the source."""

import ast
import configparser
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
STAGES = ("datasets", "faces", "protocol", "store", "report", "share")
# What stages may share: the file writer, the one set of 110 matrices that every renderer uses, and what was published.
COMMON = ("fer_data.files", "fer_data.faces.views", "fer_data.faces.align", "fer_data.datasets.published")


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout.split())


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, `from a.b import c` as a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import fer_data", {"torch", "face_alignment", "dlib", "cv2", "pandas"}),
        ("import fer_data.datasets.published", {"numpy", "pandas", "cv2"}),
        ("import fer_data.prepare.run", {"torch", "face_alignment", "dlib", "distributed"}),
        ("import cli.fer_data", {"torch", "face_alignment", "dlib", "pandas", "cv2"}),
        ("import cli.fer_model", {"torch", "face_alignment", "dlib", "pandas"}),
        ("import fer_model", {"torch", "cv2", "numpy", "pandas"}),
        ("import fer_model.config", {"torch"}),
        ("from fer_model.use import predict, prediction_files, annotate", {"torch", "face_alignment", "dlib", "onnx", "av"}),
    ],
)
def test_an_import_loads_no_more_than_it_must(statement, absent):
    """Seen red: `import torch` at the top of fer_data/__init__.py."""
    assert not loaded_after(statement) & absent


def test_a_backend_loads_only_its_own_library():
    loaded = loaded_after("from fer_data.faces.landmarks import open_backend\nopen_backend('dlib')")
    assert "torch" not in loaded and "face_alignment" not in loaded and loaded & {"dlib", "_dlib_pybind11"}


@pytest.mark.parametrize(("package", "forbidden"), [("fer_data", ("fer_model", "cli")), ("fer_model", ("cli",))])
def test_packages_import_one_way(package, forbidden):
    for path in sources(package):
        wrong = {name for name in imports_of(path) if name.split(".")[0] in forbidden}
        assert not wrong, f"{path} imports {wrong}"


@pytest.mark.parametrize("stage", STAGES)
def test_stages_do_not_import_one_another(stage):
    """They meet in records and on disk; store/loader, the report and what is handed on read what others left."""
    reads_all = {"report", "share", "doctor"}
    for path in sources(f"fer_data/{stage}"):
        for name in imports_of(path):
            other = name.split(".")[1] if name.startswith("fer_data.") and name.count(".") else ""
            if other in STAGES and other != stage and not name.startswith(COMMON) and stage not in reads_all:
                pytest.fail(f"{path.relative_to(REPOSITORY)} imports {name}")


def test_only_the_loader_imports_torch_in_fer_data():
    backends = REPOSITORY / "fer_data" / "faces" / "landmarks"
    users = {path for path in sources("fer_data") if "torch" in {name.split(".")[0] for name in imports_of(path)}}
    assert {path for path in users if path.parent != backends and path.name not in ("checks.py", "weights.py")} == {
        REPOSITORY / "fer_data" / "store" / "loader.py"
    }


def test_nothing_is_unpickled():
    """No module names pickle, and torch.load stands nowhere: tensors come from safetensors."""
    for package in ("fer_data", "fer_model", "cli"):
        for path in sources(package):
            names = {name.split(".")[0] for name in imports_of(path)}
            assert not names & {"pickle", "cPickle", "dill", "shelve", "joblib", "marshal"}, path
            calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
            assert "torch.load" not in calls and "allow_pickle=True" not in path.read_text(), path


def test_every_config_section_has_a_reader():
    """A misspelt table would be ignored in silence."""
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]
    assert set(tools) == {"ruff", "pytest"}
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    sections = {"metadata", "options", "options.packages.find", "options.package_data", "options.extras_require", "options.entry_points"}
    assert set(setup.sections()) == sections
    required = setup["options"]["install_requires"]
    for name in ("torch", "opencv-python", "face-alignment", "scikit-image", "pandas", "h5py", "click"):
        assert f"\n{name}>=" in required


def test_every_package_is_installed():
    """A folder with modules but no __init__.py would be missing from a wheel."""
    for package in ("fer_data", "fer_model", "cli"):
        for path in sources(package):
            assert (path.parent / "__init__.py").is_file(), path.parent
