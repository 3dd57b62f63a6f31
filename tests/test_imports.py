"""Imports go one way, and stay light: each check runs in a fresh interpreter or reads the source."""

import ast
import configparser
import functools
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# What imports what: a module or folder imports only what is listed before it, and what is in its own folder.
# docs/architecture.md shows the same list. `fer_data` and `fer_model` themselves hold a version and functions that import when called.
ORDER = (
    # fer_data: what everything uses
    "fer_data.errors", "fer_data.text", "fer_data.schema", "fer_data.field_comments", "fer_data.labels", "fer_data.people",
    "fer_data.records", "fer_data.files", "fer_data.pool", "fer_data.tables", "fer_data.weights",
    # fer_data: from a database on disk to a prepared folder
    "fer_data.pictures", "fer_data.faces", "fer_data.protocol", "fer_data.datasets", "fer_data.synthetic", "fer_data.store",
    "fer_data.prepare",
    # fer_data: what is done with a prepared folder; fer_model.report takes drawings and words from the report and share
    "fer_data.audit", "fer_data.report", "fer_data.share", "fer_data.doctor",
    # fer_model: training
    "fer_model.errors", "fer_model.config", "fer_model.settings", "fer_model.engine", "fer_model.losses", "fer_model.networks",
    "fer_model.data", "fer_model.stages", "fer_model.runs", "fer_model.evaluate", "fer_model.settings_text", "fer_model.job",
    "fer_model.plan", "fer_model.train", "fer_model.workers", "fer_model.crossval", "fer_model.sweep", "fer_model.shortcut",
    "fer_model.check_device",
    # fer_model: what is done with a trained run; training imports none of it
    "fer_model.probe", "fer_model.report", "fer_model.use",
    "cli.options", "cli.limits", "cli.progress_lines", "cli.common", "cli.fer_data", "cli.fer_model", "cli.start",
)


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout.split())


@functools.cache
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
    found = sorted((REPOSITORY / package).rglob("*.py"))
    assert found, package             # a folder of another name would be looked at in vain
    return found


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import fer_data", {"torch", "face_alignment", "dlib", "cv2", "pandas"}),
        ("import fer_data.datasets.published", {"numpy", "pandas", "cv2"}),
        ("import fer_data.prepare.run", {"torch", "face_alignment", "dlib", "distributed"}),
        ("import cli.fer_data", {"torch", "face_alignment", "dlib", "pandas", "cv2"}),
        ("import cli.fer_model", {"torch", "face_alignment", "dlib", "pandas", "cv2", "numpy"}),
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


def room_of(module: str) -> str | None:
    """Return the entry of ORDER that a module belongs to; None: it is not listed."""
    return next((room for room in ORDER if module == room or module.startswith(f"{room}.")), None)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for package in ("fer_data", "fer_model", "cli") for path in sources(package)}
FACADES = ("fer_data", "fer_model", "cli")


def test_every_module_has_a_place_in_the_order():
    assert [module for module in MODULES if module not in FACADES and room_of(module) is None] == []
    assert [room for room in ORDER if room not in MODULES] == []


def test_imports_go_one_way():
    """A folder imports only what is listed before it. Seen red: `from fer_model.report import sentences` in train.py."""
    upward = []
    for module, path in MODULES.items():
        if module in FACADES:
            continue
        place = ORDER.index(room_of(module))
        upward += [f"{module} imports {name}" for name in imports_of(path) if (room := room_of(name)) and ORDER.index(room) > place]
    assert not upward


def test_no_modules_import_each_other():
    """Not in a circle either, imports inside functions included. Seen red: the two programs, which looked each other's commands up."""
    needs = {module: imports_of(path) & set(MODULES) for module, path in MODULES.items() if module not in FACADES}
    # `from a.b import c`, where c is a module, is no import of what a/b/__init__.py holds
    left = {module: {name for name in names if not any(one.startswith(f"{name}.") for one in names)} for module, names in needs.items()}
    while free := [module for module, names in left.items() if not names & set(left)]:
        for module in free:
            del left[module]
    assert not left


def test_only_the_loader_imports_torch_in_fer_data():
    """And the backend that runs a network of torch. Seen red: with torch imported in checks.py, which was let pass by its name."""
    users = {path for path in sources("fer_data") if "torch" in {name.split(".")[0] for name in imports_of(path)}}
    assert users == {REPOSITORY / "fer_data" / name for name in ("store/loader.py", "faces/landmarks/fan.py")}


def test_nothing_is_unpickled():
    """No module names pickle; torch.load stands in one file, which says that it wants tensors alone. Seen red: weights_only away."""
    for package in ("fer_data", "fer_model", "cli"):
        for path in sources(package):
            names = {name.split(".")[0] for name in imports_of(path)}
            assert not names & {"pickle", "cPickle", "dill", "shelve", "joblib", "marshal"}, path
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            loads = [ast.unparse(node) for node in calls if ast.unparse(node.func) == "torch.load"]
            assert not loads or (path.name == "weights_file.py" and all("weights_only=True" in load for load in loads)), path
            assert "allow_pickle=True" not in path.read_text(), path


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
