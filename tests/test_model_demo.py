"""The demo in a real browser: what it shows is what predict says, nothing is asked of other machines, nothing is kept."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import pytest

import fer_model
from fer_data.errors import ImageError
from fer_data.synthetic.drawing import draw_face
from fer_data.synthetic.people import draw_person
from fer_data.synthetic.scene import draw_nuisance
from fer_model.config import preset, with_budgets
from fer_model.job import Job
from fer_model.stages.sample_sheet import GAP
from fer_model.train import train
from fer_model.use import demo
from tests import browser as tools
from tests.commands import call


def test_without_gradio_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    said = " ".join(call("demo", tmp_path, code=1).split())
    assert "the package gradio is missing; install it with: pip install 'fer-degan[demo]'" in said


def test_a_port_that_is_taken_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "require_gradio", lambda: None)
    with socket.create_server((demo.HOST, 0)) as other:
        port = other.getsockname()[1]
        said = " ".join(call("demo", tmp_path, "--port", port, code=1).split())
    assert f"port {port} of 127.0.0.1 cannot be used" in said and "choose another with --port" in said


def test_only_what_was_uploaded_is_read(face, tmp_path):
    """A request without Gradio's mark of a file had any picture of this machine read and shown. Seen red: no check; no resolve()."""
    folder, outside = tmp_path / "page", tmp_path / "private.png"
    folder.mkdir()
    for path in (outside, folder / "mine.png"):
        cv2.imwrite(str(path), face)
    (folder / "link.png").symlink_to(outside)
    assert np.array_equal(demo.uploaded(str(folder / "mine.png"), folder)[0], face[..., ::-1])
    for name in (outside, folder / ".." / "private.png", folder / "link.png"):
        with pytest.raises(ImageError, match="only what was uploaded"):
            demo.uploaded(str(name), folder)


# A network that finds one face anywhere, and whose decoder shows the mean brightness. In a process of its own: Gradio leaves sockets open.
SERVED = """
import json, socket, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from fer_model.use import demo
from fer_model.use.prediction import Prediction

demo._decoder_of = lambda run, device: (SimpleNamespace(identities=("S1", "S2")), "")
demo.sheet_of = lambda model, trained, picture, people: np.full((8, 8, 3), picture.mean(), np.uint8)
demo.LARGEST_FILE = 1_000_000
predict = lambda picture: Prediction("", None, None, picture.shape[1::-1], ())
model = SimpleNamespace(recipe=SimpleNamespace(name="degan", dataset="ck+", limits="none"), notes=(), predict=predict)
with socket.create_server((demo.HOST, 0)) as free:
    port = free.getsockname()[1]
page = demo.open_page(model, Path("r"), port, "cpu", Path(sys.argv[1]))
print(json.dumps([port, {one.name: number for number, one in page.fns.items()}]), flush=True)
time.sleep(600)
"""


class Page:
    """What a browser sends to the page, without one."""

    def __init__(self, port, numbers):
        self.api, self.numbers = f"http://{demo.HOST}:{port}/gradio_api", numbers

    def upload(self, path):
        """Return (status, what the page answers) for a file."""
        answer = httpx.post(f"{self.api}/upload", files={"files": (path.name, path.read_bytes())})
        return answer.status_code, answer.json() if answer.status_code == 200 else answer.text

    def ask(self, name, *data):
        """Return what a function of the page answers to a browser: its output, or {"error": ...}."""
        body = {"data": data, "fn_index": self.numbers[name], "session_hash": "one"}
        assert httpx.post(f"{self.api}/queue/join", json=body).status_code == 200
        with httpx.stream("GET", f"{self.api}/queue/data", params={"session_hash": "one"}, timeout=60) as lines:
            for line in lines.iter_lines():
                if line.startswith("data: ") and (said := json.loads(line[6:]))["msg"] == "process_completed":
                    return said["output"]
        pytest.fail(f"no answer of {name}")


@pytest.fixture
def page(tmp_path):
    pytest.importorskip("gradio")
    (tmp_path / "page").mkdir()
    process = subprocess.Popen([sys.executable, "-c", SERVED, str(tmp_path / "page")], stdout=subprocess.PIPE, text=True)
    try:
        yield Page(*json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def test_a_picture_is_moved_after_its_file_is_gone(page, face, tmp_path):
    """What was uploaded is kept for a minute. Seen red: an error in place of the sheet, as the file was read again."""
    cv2.imwrite(str(tmp_path / "a.png"), face)
    _, (path,) = page.upload(tmp_path / "a.png")
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert page.ask("look", file)["data"][2] == "no face was found"
    Path(path).unlink()
    sheet, order = page.ask("move", None, ["S1"])["data"]
    assert order.endswith("; S1")
    assert cv2.imread(sheet["path"]).max() == int(face.mean())
    assert "a picture is kept for" in page.ask("look", file)["error"] and "give it again" in page.ask("look", file)["error"]
    page.ask("<lambda>")
    assert "A picture that was looked at" in page.ask("move", None, ["S1"])["error"], "the one before is not taken for a new one"


def test_what_predict_remarks_is_shown_and_what_is_too_large_is_refused(page, face, tmp_path):
    """Seen red: no remark, as of a picture whose brightness is as it was; files of any size taken."""
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(face, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 16)
    _, (path,) = page.upload(tmp_path / "a.png")
    words = page.ask("look", {"path": path, "meta": {"_type": "gradio.FileData"}})["data"][2]
    assert words.startswith("no face was found; it uses 12 of 16 bits"), words
    (tmp_path / "large.png").write_bytes(bytes(1_000_001))
    assert page.upload(tmp_path / "large.png") == (413, "File size exceeded maximum allowed size of 1000000 bytes.")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_no_picture_is_left_when_it_is_ended(tmp_path, number):
    """A terminal that is closed sends SIGHUP, often twice. Seen red: the folder with what was uploaded stayed."""
    code = (
        "import os, sys, time, types\n"
        "from pathlib import Path\n"
        "from fer_model.use import demo\n"
        "def open_page(model, run, port, device, folder):\n"
        "    (folder / 'face.png').write_bytes(b'face')\n"
        f"    close = lambda verbose: (os.kill(os.getpid(), {int(number)}), time.sleep(0.1))\n"
        "    return types.SimpleNamespace(block_thread=lambda: time.sleep(60), close=close)\n"
        "demo.open_page, demo.load, demo.require_gradio = open_page, lambda *_: None, lambda: None\n"
        "demo._refuse_taken = lambda port: None\n"
        "demo.demo(Path('r'), say=lambda text: print(text, flush=True))\n"
    )
    settings = {"env": {**os.environ, "TMPDIR": str(tmp_path)}, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], **settings)
    assert process.stdout.readline().startswith("open http://") and len(list(tmp_path.glob("fer-demo-*/face.png"))) == 1
    process.send_signal(number)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1] and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def run(prepared_ck, tmp_path_factory):
    """A run of DE-GAN, a step of each stage long. Its first weights are large, so that faces differ."""
    folder = tmp_path_factory.mktemp("run") / "r"
    config = with_budgets(preset("smoke"), gan=0.016, head=0.016)
    train(Job(prepared_ck, folder, replace(config, network=replace(config.network, init_std=0.2))), "cpu", say=lambda _: None)
    return folder


@pytest.fixture(scope="module")
def face():
    """A drawn face, (306, 400, 3) uint8 BGR."""
    rng = np.random.default_rng(1)
    person, nuisance = draw_person(rng), replace(draw_nuisance(rng), yaw_deg=0.0, pitch_deg=0.0)
    picture, _ = draw_face(person, "happiness", 1.0, nuisance, (400, 306), colour=True)
    return cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)


@pytest.mark.slow
@pytest.mark.skipif(tools.why_no_browser() is not None, reason=str(tools.why_no_browser()))
def test_the_page_shows_what_predict_says(run, face, tmp_path):
    """A drawn face is uploaded, its expression read off the page, and moved to four people."""
    kept = tmp_path / "tmp"
    kept.mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), face)
    with _served(run, kept) as address, tools.browser(tmp_path / "profile") as driver:
        shown = _upload(driver, address, tmp_path / "a.png", "#words li")
        driver.find_element("css selector", "#move").click()
        _wait(driver, "document.querySelector('#sheet img') && document.querySelector('#sheet img').naturalWidth")
        size = driver.execute_script("const i = document.querySelector('#sheet img'); return [i.naturalWidth, i.naturalHeight]")
        order = driver.find_element("css selector", "#order").text
        wide = driver.execute_script("return document.querySelector('#sheet img').clientWidth")
        if os.environ.get("FER_SHOTS"):
            driver.save_screenshot(os.environ["FER_SHOTS"])
        asked = {urlsplit(one).hostname for one in tools.requests_of(driver) if one.startswith(("http", "ws"))}
    first = fer_model.load(run, "cpu").predict(tmp_path / "a.png").faces[0]
    assert shown == [f"face 1: {first.expression} {first.probability:.0%}"]
    assert size == [5 * (48 + GAP), 48 + GAP] and wide > 900, "the input and four people, large enough to be seen"
    people = json.loads((run / "config.json").read_text())["identities"][:4]
    assert order.endswith("; " + ", ".join(people))
    assert asked == {demo.HOST}
    assert not list(kept.iterdir()), "what was uploaded is gone"


@pytest.mark.slow
@pytest.mark.skipif(tools.why_no_browser() is not None, reason=str(tools.why_no_browser()))
def test_any_file_gets_the_answer_that_predict_gives(run, face, tmp_path):
    """Seen red: read by Gradio, which clips 16 bits to 8 and answers a file that is no picture with a page of its own code."""
    grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)
    pictures = {
        "grey.png": grey, "16-bit.png": grey.astype(np.uint16) * 257, "alpha.png": np.dstack([face, np.full(grey.shape, 9, np.uint8)]),
        "two.png": np.hstack([face, face[:, ::-1]]), "nobody.png": np.full_like(face, 127),
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "cut.png").write_bytes((tmp_path / "grey.png").read_bytes()[:300])
    (tmp_path / "text.png").write_text("not a picture")
    model, seen = fer_model.load(run, "cpu"), {}
    with _served(run, tmp_path) as address, tools.browser(tmp_path / "profile", width=375) as driver:
        for name in pictures:
            seen[name] = _upload(driver, address, tmp_path / name, "#words li, #words p")
        for name in ("cut.png", "text.png"):
            seen[name] = _upload(driver, address, tmp_path / name, ".toast-message-text")
        seen["camera"] = _photograph(driver, address)
        asked = {urlsplit(one).hostname for one in tools.requests_of(driver) if one.startswith(("http", "ws"))}
        wide = driver.execute_script("return document.documentElement.scrollWidth")
    for name in pictures:
        found = model.predict(tmp_path / name)
        said = [f"face {number}: {one.expression} {one.probability:.0%}" for number, one in enumerate(found.faces, 1)]
        assert [line.partition(" (")[0] for line in seen[name]] == (said or [found.note]), name
    assert len(seen["two.png"]) == 2 and seen["nobody.png"] == seen["camera"] == ["no face was found"]
    assert seen["cut.png"] == ["decoding a picture: cut.png ends after 300 bytes, before its own end: it is truncated"]
    assert seen["text.png"] == ["decoding a picture: text.png is none of PNG, JPEG, BMP, TIFF, WebP and PNM, or its header is damaged"]
    assert asked == {demo.HOST} and wide == 375


@contextmanager
def _served(run, kept):
    """Yield the address of the demo in a process of its own, whose temporary folders lie in `kept`; Ctrl-C ends it."""
    with socket.create_server((demo.HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cli.fer_model", "demo", str(run), "--port", str(port), "--device", "cpu"]
    # In the background of a shell Ctrl-C is ignored, and would be in the child.
    settings = {"env": {**os.environ, "TMPDIR": str(kept)}, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **settings)
    try:
        _until_open(server)
        yield f"http://{demo.HOST}:{port}"
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=300)
    finally:
        server.kill()
        server.communicate()


def _upload(driver, address, file, answer):
    """Return the lines that the page shows for a file, where `answer` points to."""
    tools.visit(driver, address)
    _wait(driver, "document.querySelector('#picture input[type=file]')")
    driver.find_element("css selector", "#picture input[type=file]").send_keys(str(file))
    return _lines(driver, answer)


def _photograph(driver, address):
    """Return the lines that the page shows for a picture of the browser's own false camera: coloured, with nobody in it."""
    tools.visit(driver, address)
    for button in ("[aria-label='Capture from camera']", "[title='grant webcam access'] *", "[aria-label='capture photo']"):
        _wait(driver, f"document.querySelector(\"#picture {button}\")")
        driver.execute_script(f"document.querySelector(\"#picture {button}\").closest('button').click()")
    return _lines(driver, "#words p")


def _lines(driver, where):
    _wait(driver, f"document.querySelector('{where}')?.innerText.trim()")          # Selenium has none of a message that still fades in
    return [one.get_property("innerText").strip() for one in driver.find_elements("css selector", where)]


def _until_open(server):
    """Wait for the sentence that says where the page is. To try the port instead may take it: it is one that clients are given, too."""
    said = []
    for line in server.stderr:
        said.append(line)
        if line.startswith("open http://"):
            return
    pytest.fail("the demo ended: " + "".join(said))


def _wait(driver, condition):
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    try:
        WebDriverWait(driver, 300).until(lambda driver: driver.execute_script(f"return {condition}"))
    except TimeoutException:
        shown = driver.execute_script("return document.body.innerText")
        pytest.fail(f"waited in vain for {condition}; the page shows {shown!r}; {tools.console_of(driver)}")
