"""Collect facts about the installation: interpreter, packages, libraries, model files, disk. Nothing is judged here.

In:  the folder that a user wants to write to.
Out: Surroundings, plain facts for fer_data.doctor.checks.

Libraries that may fail to load, or that are slow (cv2, torch, dlib, face_alignment, h5py), are imported in child processes:
what is broken there breaks a child. Nothing is loaded from model files; they are hashed.
"""

import configparser
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from fer_data import weights

__all__ = ["PROBES", "Place", "Surroundings", "Trial", "look_around", "probe", "requirements"]

PROJECT = "fer-degan"
_EXTRAS = ("dlib", "video", "onnx", "timm")    # whose packages are looked at where they are there
_TIMEOUT_S = 120                      # of a child: a cold import of torch from a network disk takes a minute
_MARK = "fer-data-facts:"             # before the line of JSON that a child prints: libraries print on import, too

# library -> what a child runs after importing it; `facts` is printed as JSON
PROBES = {
    "cv2": "import cv2\nfacts = {'version': cv2.__version__}",
    "h5py": (
        "import h5py\nfrom h5py import h5z\n"
        "known = {'gzip': h5z.FILTER_DEFLATE, 'shuffle': h5z.FILTER_SHUFFLE, 'fletcher32': h5z.FILTER_FLETCHER32,"
        " 'szip': h5z.FILTER_SZIP, 'lzf': h5z.FILTER_LZF}\n"
        "facts = {'version': h5py.__version__, 'hdf5': h5py.version.hdf5_version,"
        " 'filters': [name for name, code in known.items() if h5z.filter_avail(code)]}"
    ),
    "dlib": "import dlib\nfacts = {'version': dlib.__version__}",
    "face_alignment": "import face_alignment\nfacts = {'version': face_alignment.__version__}",
    "torch": (
        "import torch\n"
        "facts = {'version': torch.__version__, 'cuda': torch.version.cuda, 'available': torch.cuda.is_available(), 'devices': [],"
        " 'device_error': ''}\n"
        "if facts['available']:\n"
        "    for index in range(torch.cuda.device_count()):\n"
        "        device = torch.cuda.get_device_properties(index)\n"
        "        facts['devices'].append([device.name, device.total_memory])\n"
        "    try:\n"
        "        assert torch.ones(8, device='cuda').sum().item() == 8\n"
        "    except RuntimeError as error:\n"
        "        facts['device_error'] = str(error).splitlines()[0]"
    ),
}


@dataclass(frozen=True)
class Trial:
    """What came of importing a library in a child process."""

    facts: Mapping                    # what the child said of it; {} if it failed
    error: str = ""                   # "ImportError: libGL.so.1: cannot open ..."; "": it worked


@dataclass(frozen=True)
class Place:
    """A folder to write to, which need not exist yet."""

    path: Path                        # as asked for
    nearest: Path                     # it, or the nearest parent that exists
    free: int                         # bytes free there for this user
    error: str = ""                   # why a file could not be written there; "": one could


@dataclass(frozen=True)
class Surroundings:
    """Facts about this machine and this installation."""

    python: str                       # version
    python_range: str                 # allowed, e.g. ">=3.11"; "": unknown
    installed: Mapping[str, str]      # package -> version; names in lower case with hyphens
    required: Mapping[str, str]       # package -> allowed versions, e.g. ">=2,<2.6"
    optional: Mapping[str, str]       # of the extras [dlib], [video], [onnx] and [timm]
    cv2_owners: tuple[str, ...]       # packages that installed cv2/__init__.py, with versions
    trials: Mapping[str, Trial]       # library of PROBES -> what came of importing it
    weights: Mapping[str, tuple[str, str]]       # model file -> ("right" | "missing" | "wrong", where or what to do)
    pkg_resources: bool               # is it there? setuptools no longer brings it
    nvidia: bool                      # does the kernel show an NVIDIA device?
    hdf5_plugins: str                 # the environment's HDF5_PLUGIN_PATH
    out: Place
    temp: Place


def look_around(out: Path) -> Surroundings:
    """Return the facts; takes as long as the slowest import. Writes a byte to `out` and takes it back; changes nothing."""
    with ThreadPoolExecutor(len(PROBES)) as pool:
        trials = dict(zip(PROBES, pool.map(probe, PROBES), strict=True))
    python_range, required, optional = requirements()
    distributions = list(importlib.metadata.distributions())
    owners = {f"{each.name} {each.version}" for each in distributions if "cv2/__init__.py," in (each.read_text("RECORD") or "")}
    return Surroundings(
        python=".".join(map(str, sys.version_info[:3])),
        python_range=python_range,
        # the first on the path wins; what lacks a name or a version is what an interrupted pip left behind
        installed={canonicalize_name(each.name): each.version for each in reversed(distributions) if each.name and each.version},
        required=required,
        optional=optional,
        cv2_owners=tuple(sorted(owners)),
        trials=trials,
        weights={entry.name: weights.state_of(entry) for entry in weights.CATALOGUE},
        pkg_resources=importlib.util.find_spec("pkg_resources") is not None,
        nvidia=Path("/dev/nvidiactl").exists(),
        hdf5_plugins=os.environ.get("HDF5_PLUGIN_PATH", ""),
        out=_place(out),
        temp=_temporary_place(),
    )


def probe(library: str) -> Trial:
    """Import a library of PROBES in a child process and return what came of it."""
    code = f"import json\n{PROBES[library]}\nprint({_MARK!r} + json.dumps(facts))"
    try:
        # -P: the current folder is not searched, so no file that lies there is taken for a library.
        done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Trial({}, f"no answer within {_TIMEOUT_S} s")
    answers = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode == 0 and answers:
        return Trial(json.loads(answers[-1]))
    if done.returncode < 0:
        return Trial({}, f"the process was ended by signal {-done.returncode}")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return Trial({}, lines[-1] if lines else f"exit code {done.returncode}")


def requirements() -> tuple[str, dict[str, str], dict[str, str]]:
    """Return (Python versions, required packages, optional packages), each with what is allowed.

    From setup.cfg where the program runs from its repository, else from the metadata of the installed package.
    """
    path = Path(__file__).resolve().parents[2] / "setup.cfg"
    if path.is_file():
        config = configparser.ConfigParser()
        config.read(path, encoding="utf-8")
        if config.get("metadata", "name", fallback="") == PROJECT:
            extras = config["options.extras_require"]
            optional = [line for extra in _EXTRAS for line in extras[extra].split("\n")]
            return config["options"]["python_requires"], _ranges(config["options"]["install_requires"].split("\n")), _ranges(optional)
    try:
        own = importlib.metadata.distribution(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return "", {}, {}
    required, optional = _ranges(own.requires or []), _ranges(own.requires or [], _EXTRAS)
    return own.metadata.get("Requires-Python", ""), required, {name: optional[name] for name in optional if name not in required}


def _ranges(lines: Iterable[str], extras: tuple[str, ...] = ("",)) -> dict[str, str]:
    """Return package -> allowed versions of the requirement lines that hold here, with one of these extras; this project is left out.

    >>> _ranges(["numpy>=2,<2.6,!=2.3", "numpy ~= 2.1", "tomli==2.*; python_version < '3'", "av (>=14) ; extra == 'video'", ""])
    {'numpy': '~=2.1,>=2,<2.6,!=2.3'}
    >>> _ranges(["av[fast] (>=14) ; extra == 'video'"], ("dlib", "video"))
    {'av': '>=14'}
    """
    ranges: dict[str, SpecifierSet] = {}
    for one in map(Requirement, filter(None, map(str.strip, lines))):
        holds = one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
        name = canonicalize_name(one.name)
        if holds and name != PROJECT:
            ranges[name] = ranges.get(name, SpecifierSet()) & one.specifier
    return {name: ",".join(sorted(map(str, allowed), reverse=True)) for name, allowed in ranges.items()}      # >= before <


def _place(path: Path) -> Place:
    """Return what can be said of a folder to write to, after writing to it or to its nearest parent."""
    path = Path(path).absolute()
    try:
        nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    except OSError as problem:            # it lies in a folder that may not be entered
        return Place(path, path, 0, problem.strerror or str(problem))
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"\0")
            file.flush()
        error = ""
    except OSError as problem:
        error = problem.strerror or str(problem)
    return Place(path, nearest, shutil.disk_usage(nearest).free, error)


def _temporary_place() -> Place:
    """Return the same of the folder for temporary files; Python finds none where no candidate can be written."""
    try:
        return _place(Path(tempfile.gettempdir()))
    except FileNotFoundError as error:
        asked = Path(os.environ.get("TMPDIR", "/tmp"))
        return Place(asked, asked, 0, error.strerror or str(error))
