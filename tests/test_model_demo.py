"""The demo in a real browser: what it shows is what predict says, nothing is asked of other machines, nothing is kept."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

import fer_model
from fer_data.datasets.synthetic.drawing import draw_face
from fer_data.datasets.synthetic.people import draw_person
from fer_data.datasets.synthetic.scene import draw_nuisance
from fer_model.config import preset, with_budgets
from fer_model.evidence.sheet import GAP
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


@pytest.mark.slow
@pytest.mark.skipif(tools.why_no_browser() is not None, reason=str(tools.why_no_browser()))
def test_the_page_shows_what_predict_says(prepared_ck, tmp_path):
    """A drawn face is uploaded, its expression read off the page, and moved to four people."""
    pytest.importorskip("gradio")
    run, kept = tmp_path / "run", tmp_path / "tmp"
    kept.mkdir()
    config = with_budgets(preset("smoke"), 0.016, 0.016)
    train(prepared_ck, run, replace(config, network=replace(config.network, init_std=0.2)), "cpu", say=lambda _: None)
    rng = np.random.default_rng(1)
    person, nuisance = draw_person(rng), replace(draw_nuisance(rng), yaw_deg=0.0, pitch_deg=0.0)
    picture, _ = draw_face(person, "happiness", 1.0, nuisance, (400, 306), colour=True)
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    with socket.create_server((demo.HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cli.fer_model", "demo", str(run), "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(kept)}, stderr=subprocess.PIPE, text=True)
    try:
        _until_open(server, port)
        with tools.browser(tmp_path / "profile") as driver:
            driver.get(f"http://{demo.HOST}:{port}")
            _wait(driver, "document.querySelector('#picture input[type=file]')")
            driver.find_element("css selector", "#picture input[type=file]").send_keys(str(tmp_path / "a.png"))
            _wait(driver, "document.querySelector('#words li')")
            shown = driver.find_element("css selector", "#words li").text
            driver.find_element("css selector", "#move").click()
            _wait(driver, "document.querySelector('#sheet img') && document.querySelector('#sheet img').naturalWidth")
            size = driver.execute_script("const i = document.querySelector('#sheet img'); return [i.naturalWidth, i.naturalHeight]")
            if os.environ.get("FER_SHOTS"):
                driver.save_screenshot(os.environ["FER_SHOTS"])
            asked = {urlsplit(address).hostname for address in tools.requests_of(driver) if address.startswith(("http", "ws"))}
    finally:
        server.send_signal(2)
        server.communicate(timeout=30)
    face = fer_model.load(run, "cpu").predict(tmp_path / "a.png").faces[0]
    assert shown.startswith(f"face 1: {face.expression} {face.probability:.0%}")
    assert size == [5 * (48 + GAP), 48 + GAP], "the input and four people"
    assert asked == {demo.HOST}
    assert not list(kept.iterdir()), "what was uploaded is gone"


def _until_open(server, port):
    for _ in range(600):
        if server.poll() is not None:
            pytest.fail(server.communicate()[1])
        with socket.socket() as probe:
            if probe.connect_ex((demo.HOST, port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the page did not open within two minutes")


def _wait(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 60).until(lambda driver: driver.execute_script(f"return {condition}"), condition)
