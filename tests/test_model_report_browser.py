"""The model report in a real browser: no request, no complaint, phone, dark, every table within reach.

Headless Chromium, offline; skipped with a reason where there is none.
"""

import functools
import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import pytest

from fer_model.report.report import write_report


def beside(name: str):
    """Return the module of that name in this folder."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tools, runs = beside("browser"), beside("model_runs")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(tools.why_no_browser() is not None, reason=str(tools.why_no_browser()))]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Folders faces and no-faces with the report of four methods, two seeds, a stopped fold, probes and a long name."""
    root = tmp_path_factory.mktemp("pages")
    shares = {"degan": 0.9, "cnn": 0.7}
    cv = [runs.write_method(root / name, method=name, share=share, dataset="ck+") for name, share in shares.items()]
    runs.write_fold(root / "degan" / "fold3", fold=3, stop="gan", dataset="ck+")
    row = runs.probe_row("f(x)", "identity linear", "test fold", 0.2, 0.1)
    (root / "degan" / "fold0" / "probe.json").write_text(json.dumps({"schema_version": 2, "rows": [row]}))
    long = "a-run-with-a-name-" + "that-does-not-end-" * 6
    cv.append(runs.write_fold(root / long, seed=1, dataset="ck+"))
    for number in (1, 2):
        change = functools.partial(lambda content, n: content["config"]["head"].update(dropout=n / 10), n=number)
        cv.append(runs.write_fold(root / f"dropout{number}", share=0.8, change=change, dataset="ck+"))
    write_report(cv, root / "faces")
    write_report(cv, root / "no-faces", faces=False)
    return root


def script(driver, code, *arguments):
    return driver.execute_script(f"return {code}", *arguments)


@pytest.mark.parametrize("name", ["faces", "no-faces"])
def test_one_request_and_not_a_word_on_the_console(name, pages, tmp_path):
    """Served on this machine, everything opened: the page itself is all that is asked for.

    Broken on purpose with an image from 127.0.0.1:9/x.png in report.html: a second request, which the policy refused.
    """
    with tools.served(pages) as (address, asked), tools.browser(tmp_path / "profile") as driver:
        tools.visit(driver, f"{address}/{name}/report.html")
        driver.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        script(driver, "window.scrollTo(0, document.body.scrollHeight)")
        assert [url.rsplit("/", 2)[1:] for url in tools.requests_of(driver)] == [[name, "report.html"]]
        assert tools.console_of(driver) == []
        decoded = "Promise.all([...document.images].map(image => image.decode().then(() => true, () => false))).then(arguments[0])"
        assert driver.execute_async_script(decoded) == [True] * (6 if name == "faces" else 0)
    assert asked == [f"/{name}/report.html"]


@pytest.mark.parametrize(("width", "dark"), [(375, False), (375, True), (320, False), (768, False), (1280, True)])
def test_nothing_is_wider_than_the_screen_and_every_table_can_be_reached(pages, tmp_path, width, dark):
    """What is wider lies in a box that scrolls, has a name and takes the focus; everything is opened first.

    Broken on purpose by the protocol's table outside its box: 906 of 375 px.
    """
    with tools.browser(tmp_path / "profile", width=width, height=700, dark=dark) as driver:
        tools.visit(driver, (pages / "faces" / "report.html").as_uri())
        driver.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert script(driver, "window.innerWidth") == width
        wide = script(
            driver,
            "[...document.querySelectorAll('body *')].filter(part => part.getBoundingClientRect().right > innerWidth + 1"
            " && part.checkVisibility() && !part.closest('.contents, .scroll, .skip')).map(part => part.outerHTML.slice(0, 80))",
        )
        assert wide == [] and script(driver, "document.documentElement.scrollWidth") <= width
        boxes = script(driver, "[...document.querySelectorAll('.scroll')].map(box => [box.tabIndex, box.ariaLabel, box.role])")
        assert len(boxes) >= 7 and all(stop == 0 and label and role == "region" for stop, label, role in boxes)
        reached = script(
            driver,
            "[...document.querySelectorAll('.scroll')].map(box => { box.scrollTo(box.scrollWidth, box.scrollHeight);"
            " const cells = box.querySelectorAll('tr:last-child > :last-child'), cell = cells[cells.length - 1].getBoundingClientRect(),"
            " frame = box.getBoundingClientRect();"
            " return cell.right <= frame.right + 1 && cell.bottom <= frame.bottom + 1; })",
        )
        assert reached == [True] * len(boxes)
        assert script(driver, "[...document.querySelectorAll('table')].every(table => table.querySelector('th[scope=col]'))")


def test_the_page_can_be_walked_through_with_the_keyboard(pages, tmp_path):
    """Skip link first, contents, then the boxes in order; heads go down one level at a time.

    Broken on purpose by tabindex=-1 on the boxes: the focus left the page before all stops were made.
    """
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    with tools.browser(tmp_path / "profile") as driver:
        tools.visit(driver, (pages / "faces" / "report.html").as_uri())
        focusable = "[...document.querySelectorAll('a, summary, [tabindex]')].filter(part => part.checkVisibility()).length"
        stops = []
        for _ in range(script(driver, focusable)):
            ActionChains(driver).send_keys(Keys.TAB).perform()
            stops.append(script(driver, "document.activeElement.ariaLabel || document.activeElement.textContent.trim().slice(0, 20)"))
            assert script(driver, "getComputedStyle(document.activeElement).outline").endswith("solid 3px"), stops
        labels = script(driver, "[...document.querySelectorAll('.scroll')].filter(box => box.checkVisibility()).map(box => box.ariaLabel)")
        assert stops[0] == "Skip to the content" and [stop for stop in stops if stop in labels] == labels
        heads = script(driver, "[...document.querySelectorAll('h1, main h2, main h3')].map(head => Number(head.tagName[1]))")
        assert heads[0] == 1 and all(after - before <= 1 for before, after in pairwise(heads))


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(pages, tmp_path, dark):
    """Contrast of 4.5 and more (WCAG 2.2, AA) for all text, cells of the confusion and text of drawings included.

    Broken on purpose by `.range { color: var(--line) }`: 1.3.
    """
    measure = beside("test_report_browser")
    with tools.browser(tmp_path / "profile", dark=dark) as driver:
        tools.visit(driver, (pages / "faces" / "report.html").as_uri())
        driver.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        found = script(driver, measure.CONTRAST)
        assert len(found) > 200
        low = [(round(measure.contrast(text, ground), 2), what) for what, text, ground in found if measure.contrast(text, ground) < 4.5]
        assert low == []
        numbers = ".match(/[0-9.]+/g).map(Number).slice(0, 3)"
        drawn = script(driver, f"[...document.querySelectorAll('svg text')].map(text => getComputedStyle(text).fill{numbers})")
        ground = script(driver, f"getComputedStyle(document.querySelector('main > section')).backgroundColor{numbers}")
        assert min(measure.contrast(fill, ground) for fill in drawn) >= 4.5
