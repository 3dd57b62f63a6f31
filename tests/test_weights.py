"""Model files: the list, where they lie, and fetching them from a server that behaves in every bad way there is.

The server is on the loopback; the files are made here, three chunks long.
"""

import errno
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data import weights
from fer_data.errors import WeightsError

DATA = bytes(range(256)) * 10_000                 # 2.56 MB
HTML = b"\n <!DOCTYPE html><html><body>Our site needs JavaScript</body></html>"
NAME = "2DFAN4-11f355bf06.pth.tar"


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA in the way that `mode` names; keeps what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode, self.asked, self.url = "good", [], f"http://127.0.0.1:{self.server_address[1]}/{NAME}"

    def handle_error(self, request, address):
        """A client that goes away is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One answer."""

    def log_message(self, *_):
        """Stay silent."""

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        mode = self.server.mode
        if mode.isdigit():
            self.send_error(int(mode))
            return
        if mode == "html":
            self.answer(b"Log in to this hotel's network", "text/html; charset=utf-8")
        elif mode == "hidden-html":
            self.answer(HTML.ljust(len(DATA)), "application/octet-stream")
        elif mode == "other":
            self.answer(DATA[::-1])
        elif mode == "silent":
            self.wfile.write(b"nonsense\r\n\r\n")
        elif wanted and mode != "no-ranges":
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.answer(DATA[begin:], status=206, extra={"Content-Range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"})
        else:
            self.answer(DATA)

    def answer(self, body, kind="application/octet-stream", status=200, extra=()):
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **dict(extra)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.server.mode == "cut":
            self.wfile.write(body[: len(body) * 3 // 5])
        elif self.server.mode == "slow":
            for begin in range(0, len(body), 100_000):
                self.wfile.write(body[begin : begin + 100_000])
                time.sleep(0.02)
        else:
            self.wfile.write(body)


@pytest.fixture
def server():
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def entry(server, tmp_path, monkeypatch):
    """The network's entry with the server's file in it; TORCH_HOME is empty, no proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    one = replace(weights.choose((NAME,))[0], url=server.url, sha256=hashlib.sha256(DATA).hexdigest(), size=len(DATA))
    monkeypatch.setattr(weights, "CATALOGUE", (one, *weights.CATALOGUE[1:]))
    return one


def files(folder):
    """Return the names below a folder, locks left out."""
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(".lock"))


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_is_complete():
    """Broken on purpose once by a hash that does not begin as the file's name says."""
    assert [one.backend for one in weights.CATALOGUE] == ["fan", "fan", "dlib"]
    for one in weights.CATALOGUE:
        assert len(one.sha256) == 64 and int(one.sha256, 16) and one.size > 10**7
        assert (one.url is None) != (one.package is None) and one.licence.endswith(".")
        if one.url:
            assert one.url.startswith("https://") and one.url.endswith("/" + one.name)
            assert one.sha256.startswith(one.name.split("-")[1].split(".")[0])


def test_the_urls_are_those_of_the_package():
    """Broken on purpose once by a url of another host."""
    from face_alignment.api import models_urls
    from face_alignment.detection.sfd.sfd_detector import models_urls as detectors

    assert {one.url for one in weights.choose(("fan",))} == {models_urls["2DFAN-4"], detectors["s3fd"]}


def test_the_real_sizes_fit_the_networks():
    """A file holds its network's numbers and less than 1 % beside. Broken on purpose once by exchanging the two sizes."""
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    for one, network in zip(weights.choose(("fan",)), (FAN(4), s3fd()), strict=True):
        numbers = sum(value.numel() * value.element_size() for value in network.state_dict().values())
        assert numbers < one.size < 1.01 * numbers


@pytest.mark.parametrize("variables", [{"TORCH_HOME": "/a/b"}, {"XDG_CACHE_HOME": "/c"}, {}, {"TORCH_HOME": "~/t"}])
def test_the_folder_is_torchs_own(monkeypatch, variables):
    """Broken on purpose once without XDG_CACHE_HOME: ~/.cache instead of /c."""
    from torch.hub import get_dir

    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert weights.folder() == Path(get_dir()) / "checkpoints"


def test_names_are_files_or_backends():
    """Broken on purpose once by ignoring unknown names: the whole list came back."""
    assert [one.name for one in weights.choose(("dlib", NAME))] == [NAME, "shape_predictor_68_face_landmarks.dat"]
    with pytest.raises(WeightsError, match=r"unknown model file or backend 'ceclm'; choose fan, dlib, 2DFAN4"):
        weights.choose(("ceclm",))


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once(server, entry):
    """Broken on purpose once by fetching whatever is there: the second call asked for the licence."""
    seen = []
    path = weights.fetch(entry, True, progress=lambda done, total: seen.append((done, total)))
    assert path == weights.folder() / NAME and path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA)) and len(seen) > 2 and seen == sorted(seen)
    assert weights.fetch(entry, False) == path == weights.require(NAME, "opening")
    assert server.asked == [(f"/{NAME}", None)] and files(path.parent) == [NAME]


def test_the_licence_must_be_accepted(server, entry):
    """Broken on purpose once by asking only where a file is there: nothing was raised."""
    with pytest.raises(WeightsError, match=rf"read the licence, .*--accept-licence. {NAME}: Its makers .*BSD-3-Clause"):
        weights.fetch(entry, False)
    assert server.asked == [] and not weights.folder().exists()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("html", "the server sent a web page, not the file"),
        ("hidden-html", "the server sent a web page, not the file"),
        ("404", "the server answered 404 Not Found"),
        ("500", "the server answered 500 Internal Server Error"),
        ("other", "must have sha256 [0-9a-f]{64}, got [0-9a-f]{64}"),
        ("silent", "the server cannot be reached"),
        ("cut", r"the server stopped after 1,536,000 of 2,560,000 bytes; a new try resumes there"),
    ],
)
def test_what_goes_wrong_is_one_sentence_with_a_way_out(server, entry, mode, message):
    """Broken on purpose once for each: without a look at the content type, at the first bytes, at the hash, at the length;
    and without removing the empty part."""
    server.mode = mode
    with pytest.raises(WeightsError, match=f"fetching {NAME} from http.*{message}.* fer-data weights fetch {NAME} --from FILE"):
        weights.fetch(entry, True)
    assert files(weights.folder()) == ([f"{NAME}.part"] if mode == "cut" else [])
    server.mode = "good"
    assert weights.fetch(entry, True).read_bytes() == DATA


@pytest.mark.parametrize(("mode", "asked"), [("good", "bytes=1536000-"), ("no-ranges", "bytes=1536000-")])
def test_an_interrupted_download_goes_on(server, entry, mode, asked):
    """Whether the server can begin in the middle or not. Broken on purpose once by appending all the same: the
    first byte counted as the 1,536,001st."""
    server.mode = "cut"
    with pytest.raises(WeightsError, match=NAME):
        weights.fetch(entry, True)
    server.mode = mode
    first = []
    assert weights.fetch(entry, True, progress=lambda done, total: first.append(done)).read_bytes() == DATA
    assert server.asked[-1][1] == asked
    assert (first[0] > 1_536_000) == (mode == "good")


@pytest.mark.parametrize("rubbish", [DATA[::-1], DATA + b"x", DATA[::-1][:1000]])
def test_a_part_of_something_else_is_thrown_away(entry, rubbish):
    """The first try says what is wrong, the second succeeds. Broken on purpose once by keeping the part: no try ever did."""
    weights.folder().mkdir(parents=True)
    (weights.folder() / f"{NAME}.part").write_bytes(rubbish)
    with pytest.raises(WeightsError, match=r"must have .*; try again"):
        weights.fetch(entry, True)
    assert weights.fetch(entry, True).read_bytes() == DATA


def test_a_whole_part_is_checked_and_named_without_asking(server, entry):
    """Its process was killed before it could. Broken on purpose once by asking the server for bytes=2560000-."""
    weights.folder().mkdir(parents=True)
    (weights.folder() / f"{NAME}.part").write_bytes(DATA)
    assert weights.fetch(entry, True).read_bytes() == DATA and server.asked == []


def test_a_wrong_file_in_its_place_is_replaced(entry):
    """Broken on purpose once by returning any file that is there."""
    weights.folder().mkdir(parents=True)
    (weights.folder() / NAME).write_bytes(HTML)
    with pytest.raises(WeightsError, match="is a web page, not a model file"):
        weights.require(NAME, "opening")
    assert weights.fetch(entry, True).read_bytes() == DATA


def test_no_server_at_all(entry):
    """Broken on purpose once by leaving the network's OSError to the disk: "cannot be written"."""
    offline = replace(entry, url="http://127.0.0.1:9/file")
    with pytest.raises(WeightsError, match=r"the server cannot be reached .*refused.*download it on another machine"):
        weights.fetch(offline, True)


def test_a_proxy_is_used(server, entry, monkeypatch):
    """Broken on purpose once by an opener without handlers: the name could not be resolved."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url.removesuffix(f"/{NAME}"))
    path = weights.fetch(replace(entry, url="http://weights.invalid/file"), True)
    assert path.read_bytes() == DATA and server.asked == [("http://weights.invalid/file", None)]


def test_two_at_once_fetch_once(server, entry):
    """Broken on purpose once without the lock: one of three ended well."""
    server.mode = "slow"
    results = []
    threads = [threading.Thread(target=lambda: results.append(weights.fetch(entry, True))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [path.read_bytes() == DATA for path in results] == [True] * 3
    assert len(server.asked) == 1


def test_a_full_disk_is_a_sentence_and_leaves_nothing(entry, monkeypatch):
    """Seen beforehand, and at a write. Broken on purpose once by leaving the part: the disk stayed full."""
    with monkeypatch.context() as patch:
        patch.setattr(weights.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(WeightsError, match=r"2,560,000 bytes are needed in .*, 1,000 are free"):
            weights.fetch(entry, True)

    def full(entry, answer, file, done, progress):
        file.write(b"x" * 1000)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(weights, "_pour", full)
        with pytest.raises(WeightsError, match=r"cannot be written .No space left on device"):
            weights.fetch(entry, True)
    assert files(weights.folder()) == []


def test_a_place_that_cannot_be_written_is_a_sentence(entry, tmp_path):
    """Broken on purpose once by removing a part that cannot be there: NotADirectoryError came out."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "hub").write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match=r"2DFAN4.*part cannot be written"):
        weights.fetch(entry, True)


@pytest.mark.slow
def test_a_killed_download_leaves_no_file_under_its_name(server, entry, tmp_path):
    """SIGKILL in the middle, then a second run. Broken on purpose once by writing under the final name."""
    server.mode = "slow"
    program = (
        "import json, sys; from fer_data import weights\n"
        "weights.fetch(weights.Weights(**json.loads(sys.argv[1])), True, progress=lambda done, total: print(done, flush=True))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, json.dumps(entry.__dict__)], stdout=subprocess.PIPE)
    child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    assert files(weights.folder()) == [f"{NAME}.part"]
    assert weights.fetch(entry, True).read_bytes() == DATA and server.asked[-1][1].startswith("bytes=")
    assert files(weights.folder()) == [NAME]


# --- brought by hand, and the commands --------------------------------------------------------------------------------


def test_a_file_brought_by_hand_is_checked_and_copied(server, entry, tmp_path):
    """Broken on purpose once without the look at it beforehand: the sentence named the copy, not the file."""
    (tmp_path / "right").write_bytes(DATA)
    (tmp_path / "wrong").write_bytes(DATA[:-1])
    with pytest.raises(WeightsError, match=r"wrong must have 2,560,000 bytes, got 2,559,999"):
        weights.fetch(entry, True, tmp_path / "wrong")
    assert files(weights.folder()) == []
    assert weights.fetch(entry, True, tmp_path / "right").read_bytes() == DATA
    assert server.asked == [] and (tmp_path / "right").exists() and files(weights.folder()) == [NAME]


def run(*arguments):
    return CliRunner().invoke(main, ["weights", *arguments])


def test_list_says_what_is_there_and_what_to_do(entry):
    """Broken on purpose once without looking inside: the half file was "right"."""
    assert f"{NAME}: missing" in run("list").output and "--landmarks dlib, which needs no download" in run("list").output
    weights.folder().mkdir(parents=True)
    (weights.folder() / NAME).write_bytes(DATA[:1000])
    assert f"{NAME}: wrong" in run("list").output and "must have 2,560,000 bytes, got 1,000" in run("list").output
    (weights.folder() / NAME).write_bytes(DATA)
    result = run("list")
    assert result.exit_code == 0 and f"{NAME}: right\n  {weights.folder() / NAME}\n  backend fan: the 68 points" in result.output
    assert [row["state"] for row in json.loads(run("list", "--json").stdout)] == ["right", "missing", "right"]


def test_verify_fails_for_wrong_files_and_for_named_ones_that_are_missing(entry):
    """Broken on purpose once by exit code 0 whatever was found."""
    assert run("verify").exit_code == 0
    assert run("verify", "fan").exit_code == 1
    assert run("verify", "nonsense").exit_code == 1
    weights.folder().mkdir(parents=True)
    (weights.folder() / NAME).write_bytes(DATA)
    assert run("verify", NAME).exit_code == 0
    (weights.folder() / NAME).write_bytes(b"x" + DATA[1:])
    result = run("verify")
    assert result.exit_code == 1 and f"{NAME}: wrong" in result.output


def test_fetch_shows_the_licence_and_waits_for_yes(server, entry, tmp_path):
    """Broken on purpose once by fetching all the same. Seen red: a sentence of the command's own; each file refused in its turn."""
    result = run("fetch", NAME)
    with pytest.raises(WeightsError) as refused:
        weights.fetch(entry, False)
    assert result.exit_code == 1 and entry.licence in result.output and "--accept-licence" in result.output
    assert result.output == f"Error: {refused.value}\n" and server.asked == []
    result = run("fetch", "fan")
    waiting = [one for one in weights.CATALOGUE if one.backend == "fan"]
    assert len(waiting) > 1 and all(f"{one.name}: {one.licence}" in result.output for one in waiting) and server.asked == []
    result = run("fetch", NAME, "--accept-licence")
    assert result.exit_code == 0 and result.output.splitlines()[-1] == str(weights.folder() / NAME)
    assert run("fetch", "fan", "--from", str(weights.folder() / NAME)).exit_code == 2
    (weights.folder() / NAME).rename(tmp_path / "downloaded")
    assert run("fetch", NAME, "--from", str(tmp_path / "downloaded"), "--accept-licence").exit_code == 0
    assert (weights.folder() / NAME).read_bytes() == DATA


def test_nothing_but_fetch_touches_the_network(server, entry):
    """Broken on purpose once by fetching in require(): the server was asked."""
    run("list")
    run("verify")
    with pytest.raises(WeightsError, match=f"opening.*{NAME}"):
        weights.require(NAME, "opening")
    assert server.asked == []


def test_importing_the_list_imports_no_library_of_landmarks():
    """Broken on purpose once by `import torch` in weights.py."""
    program = "import sys, fer_data.weights; print(sorted({'torch', 'dlib', 'face_alignment'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
