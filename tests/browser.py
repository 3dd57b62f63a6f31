"""A headless Chromium for tests of pages: started offline, without a download, with a log of its console and network.

In:  a page on disk, or an address on this machine. Out: a selenium driver; lists of console messages and of requests.
"""

import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["FLAGS", "browser", "console_of", "requests_of", "screen", "served", "visit", "wait", "why_no_browser"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-default-apps", "--hide-scrollbars",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",      # a camera that shows nobody, and may be used
)


def why_no_browser() -> str | None:
    """Return why tests in a browser cannot run here, or None."""
    missing = [name for name, path in [("chromium", CHROMIUM), ("chromedriver", DRIVER)] if path is None]
    return f"{' and '.join(missing)} not found; install the packages chromium and chromium-driver" if missing else None


@contextmanager
def browser(profile: Path, width: int = 1280, height: int = 900, dark: bool = False, javascript: bool = True) -> Iterator:
    """Yield a selenium driver whose page is exactly `width` x `height` CSS pixels; skip the test where there is no Chromium.

    `profile` is a folder of its own for each call: nothing is shared between runs.
    """
    reason = why_no_browser()
    if reason:
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(executable_path=DRIVER, env={**os.environ, "SE_OFFLINE": "true"})  # a path of ours: no manager, no download
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(60)
        screen(driver, width, height, dark)
        driver.get("about:blank")
        console_of(driver), requests_of(driver)  # what the new tab page did is not the page's
        yield driver
    finally:
        driver.quit()


def screen(driver, width: int, height: int, dark: bool) -> None:
    """Give the page a screen of exactly `width` x `height` CSS pixels, light or dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def visit(driver, address: str) -> None:
    """Open a page and wait until all of it is there, its script done: on a busy machine `get` alone was seen to return before."""
    driver.get(address)
    wait(driver, "document.readyState === 'complete'")


def wait(driver, condition: str, *arguments) -> None:
    """Wait up to 10 seconds until an expression of JavaScript holds; what the page does later than at once needs it."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 10).until(lambda driver: driver.execute_script(f"return {condition}", *arguments), condition)


def console_of(driver) -> list[str]:
    """Return what the page wrote to the console since the last call, policy violations and errors included."""
    return [f"{entry['level']}: {entry['message']}" for entry in driver.get_log("browser")]


def requests_of(driver) -> list[str]:
    """Return the address of every request of the page since the last call but those inside it (data:)."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [address for address in sent if not address.startswith("data:")]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder on this machine; yield its address and the list of what has been asked for so far."""
    asked: list[str] = []

    class Recorder(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *parts):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Recorder, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
