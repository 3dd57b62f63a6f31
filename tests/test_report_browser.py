"""The data report in a real browser: no request, no complaint, keyboard, phone, dark, faces.

Headless Chromium, offline; skipped with a reason where there is none.
"""

import importlib.util
import shutil
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fer_data.report.page import write_report
from fer_data.store import manifest

spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
tools = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tools)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(tools.why_no_browser() is not None, reason=str(tools.why_no_browser()))]


@pytest.fixture(scope="module")
def rows(pages):
    """The manifest behind the pages."""
    return manifest.read_manifest(pages / "out")


@pytest.fixture(scope="module")
def pages(prepared_ck, tmp_path_factory):
    """A folder with faces.html and no-faces.html of drawn people who were prepared; two faces are said to have jumped."""
    root = tmp_path_factory.mktemp("pages")
    shutil.copytree(prepared_ck, root / "out", ignore=shutil.ignore_patterns(".lock*"))
    frame = manifest.read_manifest(root / "out")
    frame.loc[[1, 5], "jump"] = True
    settings = manifest.read_settings(root / "out")
    skipped = [manifest.Skip(**row) for row in manifest.read_skipped(root / "out").to_dict("records")]
    manifest.write_manifest(root / "out", frame.to_dict("records"), skipped, settings)
    write_report(root / "out", root / "faces.html")
    write_report(root / "out", root / "no-faces.html", faces=False)
    return root


@pytest.fixture
def open_page(pages, tmp_path):
    """Return a function that yields a driver on a page."""

    def opened(name="faces.html", **settings):
        context = tools.browser(tmp_path / "profile", **settings)
        driver = stack.enter_context(context)
        tools.visit(driver, (pages / name).as_uri())
        return driver

    with ExitStack() as stack:
        yield opened


def script(driver, code, *arguments):
    return driver.execute_script(f"return {code}", *arguments)


def shown(driver) -> list[str]:
    """Return the ids of the faces that can be seen, in order."""
    return script(driver, "[...document.querySelectorAll('.face')].filter(face => face.checkVisibility()).map(face => face.dataset.id)")


def keys(driver, *strokes) -> None:
    """Press keys where the focus is, as a person without a mouse does."""
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(driver)
    for stroke in strokes:
        chain.send_keys(stroke)
    chain.perform()


def focus_by_tab(driver, wanted: str) -> None:
    """Press Tab until the element with this selector has the focus."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(40):
        if script(driver, "document.activeElement.matches(arguments[0])", wanted):
            return
        keys(driver, Keys.TAB)
    pytest.fail(f"{wanted} cannot be reached with Tab")


@pytest.mark.parametrize("name", ["faces.html", "no-faces.html"])
def test_one_request_and_not_a_word_on_the_console(name, pages, tmp_path):
    """Served on this machine: the page itself is all that is asked for, not even an icon; then used a little.

    Broken on purpose with an image from 127.0.0.1:9/x.png in data.html: a second request, which the policy refused.
    """
    with tools.served(pages) as (address, asked), tools.browser(tmp_path / "profile") as driver:
        tools.visit(driver, f"{address}/{name}")
        if name == "faces.html":
            script(driver, "document.querySelector('.face button').click()")
            script(driver, "document.querySelector('[data-close]').click()")
        script(driver, "window.scrollTo(0, document.body.scrollHeight)")
        assert [url.rsplit("/", 1)[1] for url in tools.requests_of(driver)] == [name]
        assert tools.console_of(driver) == []
        assert script(driver, "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    assert asked == [f"/{name}"]


def test_the_policy_would_stop_a_request_and_an_inline_handler(open_page):
    """Not only does the page ask for nothing: it cannot. Broken on purpose by dropping the policy: the handler ran."""
    driver = open_page()
    driver.execute_script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x.png\" onerror=\"window.ran = 1\">');"
        "window.failed = fetch('http://127.0.0.1:9/y').then(() => 'sent', () => 'refused');"
    )
    assert script(driver, "window.failed") == "refused"
    assert script(driver, "window.ran") is None
    assert any("Content Security Policy" in line for line in tools.console_of(driver))


def test_every_face_is_there_and_its_picture_can_be_decoded(open_page, rows):
    """Broken on purpose by writing the first 40 bytes of each: not decoded."""
    driver = open_page()
    assert sorted(shown(driver)) == sorted(rows["image_id"])
    decoded = "Promise.all([...document.images].map(image => image.decode().then(() => true, () => false))).then(arguments[0])"
    assert all(driver.execute_async_script(decoded))
    assert script(driver, "[...document.images].every(image => image.naturalWidth === 132)")
    assert script(driver, "document.querySelector('#shown').textContent") == f"{len(rows)} faces"


def test_without_faces_there_is_no_image_at_all(open_page):
    """Broken on purpose by opening faces.html: 92 images."""
    driver = open_page("no-faces.html")
    assert script(driver, "document.images.length") == 0
    assert script(driver, "document.querySelectorAll('canvas, svg path, svg image, [style]').length") == 0


def test_filters_by_keyboard_alone(open_page, rows):
    """Tab to each filter, type, and see which faces stay. Broken on purpose by comparing folds as numbers: none fitted."""
    from selenium.webdriver.common.keys import Keys

    driver = open_page()
    focus_by_tab(driver, "[name=expression]")
    keys(driver, "fear")
    fear = rows[rows["expression"] == "fear"]
    assert sorted(shown(driver)) == sorted(fear["image_id"])
    assert script(driver, "document.querySelector('#shown').textContent") == f"{len(fear)} faces"
    assert script(driver, "[...document.querySelectorAll('.sheet')].filter(sheet => sheet.checkVisibility()).length") == 1
    focus_by_tab(driver, "#filters [type=reset]")
    keys(driver, Keys.SPACE)
    assert len(shown(driver)) == len(rows)

    fold = str(rows["fold"].iloc[-1])
    script(driver, "document.querySelector('[name=expression]').focus()")
    focus_by_tab(driver, "[name=fold]")
    keys(driver, fold)
    assert sorted(shown(driver)) == sorted(rows["image_id"][rows["fold"] == int(fold)])
    keys(driver, Keys.HOME)

    person = rows["subject"].iloc[0]
    focus_by_tab(driver, "[name=subject]")
    keys(driver, person.lower(), Keys.ENTER)
    assert sorted(shown(driver)) == sorted(rows["image_id"][rows["subject"].str.contains(person)])
    keys(driver, "zzz")
    assert shown(driver) == [] and script(driver, "document.querySelector('#nothing').checkVisibility()")
    keys(driver, *[Keys.BACKSPACE] * 12)

    focus_by_tab(driver, "[name=flagged]")
    keys(driver, Keys.SPACE)
    assert set(rows["image_id"][rows["jump"]]) <= set(shown(driver)) and len(shown(driver)) < len(rows)
    assert tools.console_of(driver) == []


def test_a_number_of_the_balance_table_leads_to_its_faces(open_page, rows):
    """By keyboard: Tab to the table, arrows to a cell, Enter. Broken on purpose by ignoring the fold: the whole expression stayed."""
    from selenium.webdriver.common.keys import Keys

    driver = open_page()
    focus_by_tab(driver, ".heat a")
    keys(driver, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    cell = script(driver, "({...document.activeElement.dataset, text: document.activeElement.textContent})")
    keys(driver, Keys.ENTER)
    wanted = rows[(rows["fold"] == int(cell["fold"])) & (rows["expression"] == cell["expression"])]
    assert sorted(shown(driver)) == sorted(wanted["image_id"]) and int(cell["text"]) == len(wanted)


def test_arrows_walk_through_a_sheet_and_enter_opens_the_large_view(open_page, rows):
    """One tab stop for each sheet; Escape returns to where one was. Broken on purpose by leaving every face a tab stop: 72."""
    from selenium.webdriver.common.keys import Keys

    driver = open_page()
    stops = script(driver, "[...document.querySelectorAll('.face button')].filter(stop => stop.tabIndex === 0).length")
    assert stops == rows["expression"].nunique()
    focus_by_tab(driver, ".face button")
    order = shown(driver)
    keys(driver, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    focused = "document.activeElement.closest('.face').dataset.id"
    assert script(driver, focused) == order[1]
    keys(driver, Keys.ENTER)
    assert script(driver, "document.querySelector('#viewer').open")
    assert script(driver, "document.querySelector('#viewer-head').textContent") == order[1]
    keys(driver, Keys.ARROW_RIGHT)
    assert script(driver, "document.querySelector('#viewer-head').textContent") == order[2]
    source = rows.set_index("image_id")["source"][order[2]]
    assert script(driver, "document.querySelector('#viewer [data-key=source]').textContent") == source
    keys(driver, Keys.ESCAPE)
    tools.wait(driver, f"!document.querySelector('#viewer').open && {focused} === arguments[0]", order[2])
    assert tools.console_of(driver) == []


def test_points_can_be_put_away(open_page):
    """And the template points come on request. Broken on purpose by naming the class in the style otherwise: 72 stayed."""
    from selenium.webdriver.common.keys import Keys

    driver = open_page()
    visible = "[...document.querySelectorAll(arguments[0])].filter(points => points.checkVisibility()).length"
    assert script(driver, visible, "#faces .points") > 0 and script(driver, visible, "#means .points") == 0
    focus_by_tab(driver, "#show-template")
    keys(driver, Keys.SPACE)
    assert script(driver, visible, "#means .points") > 0
    focus_by_tab(driver, "[name=points]")
    keys(driver, Keys.SPACE)
    assert script(driver, visible, "#faces .points") == 0


@pytest.mark.parametrize("name", ["faces.html", "no-faces.html"])
def test_nothing_is_wider_than_the_screen(open_page, name):
    """Broken on purpose by `overflow-wrap: normal` on hashes: 647 of 375 px. Everything is opened first; the page is loaded anew for
    each screen."""
    driver = open_page(name)
    for width, dark in ((375, False), (375, True), (320, False), (768, False), (1280, True)):
        tools.screen(driver, width, 700, dark)
        driver.refresh()
        driver.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert script(driver, "window.innerWidth") == width
        assert script(driver, "matchMedia('(prefers-color-scheme: dark)').matches") == dark
        wide = script(
            driver,
            "[...document.querySelectorAll('body *')].filter(part => part.getBoundingClientRect().right > innerWidth + 1"
            " && part.checkVisibility() && !part.closest('.contents, .scroll, .skip')).map(part => part.outerHTML.slice(0, 80))",
        )
        assert wide == [] and script(driver, "document.documentElement.scrollWidth") <= width, (width, dark)
        if name == "faces.html":
            driver.execute_script("document.querySelector('.face button').click()")
            box = script(driver, "document.querySelector('#viewer').getBoundingClientRect().toJSON()")
            assert box["left"] >= 0 and box["right"] <= width, (width, dark)


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(open_page, dark):
    """Contrast of 4.5 and more (WCAG 2.2, AA) for all text, heat table and placeholders included.

    Broken on purpose by giving the deep heat colours dark text in light mode: 1.7.
    """
    driver = open_page(dark=dark)
    driver.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    found = script(driver, CONTRAST)
    assert len(found) > 100
    low = [(round(contrast(text, ground), 2), what) for what, text, ground in found if contrast(text, ground) < 4.5]
    assert low == []


# Each element with text of its own: (markup, colour, colour of the nearest ground), as [r, g, b].
CONTRAST = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = (part) => {
    for (let at = part; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
    }
    return rgb(getComputedStyle(document.body).backgroundColor);
  };
  return [...document.querySelectorAll('body *')]
    .filter(part => part.checkVisibility() && [...part.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .filter(part => !['SCRIPT', 'STYLE', 'OPTION', 'text'].includes(part.tagName))
    .map(part => [part.outerHTML.slice(0, 90), rgb(getComputedStyle(part).color).slice(0, 3), ground(part)]);
})()"""


def contrast(text: list[float], ground: list[float]) -> float:
    """Return the contrast of two sRGB colours as WCAG defines it, 1..21."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(colour) / 255]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    light, deep = sorted((luminance(text), luminance(ground)), reverse=True)
    return (light + 0.05) / (deep + 0.05)


def test_controls_have_names_and_a_visible_focus(open_page):
    """Every control has a label, every table heads, every picture a text; what is focused has an outline.

    Broken on purpose by `outline: none`.
    """
    from selenium.webdriver.common.keys import Keys

    driver = open_page()
    unnamed = (
        "[...document.querySelectorAll('input, select, button, a, summary')].filter(part => !(part.labels && part.labels.length) && "
        "!part.textContent.trim() && !part.ariaLabel && !part.querySelector('img[alt]')).length"
    )
    assert script(driver, unnamed) == 0
    assert script(driver, "[...document.querySelectorAll('table')].every(table => table.querySelector('th[scope=col]'))")
    assert script(driver, "[...document.images].every(image => image.alt)")
    levels = [int(level[1]) for level in script(driver, "[...document.querySelectorAll('main h2, main h3, h1')].map(head => head.tagName)")]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    keys(driver, Keys.TAB)
    assert script(driver, "document.activeElement.className") == "skip"
    for _ in range(12):
        assert script(driver, "getComputedStyle(document.activeElement).outline").endswith("solid 3px")
        keys(driver, Keys.TAB)


def test_without_javascript_every_face_is_shown(open_page, rows):
    """The page then has no filters, and says so. Broken on purpose by hiding sheets in the markup."""
    driver = open_page(javascript=False)
    assert len(driver.find_elements("css selector", ".face")) == len(rows)
    assert not driver.find_element("id", "filters").is_displayed()
    assert all(face.is_displayed() for face in driver.find_elements("css selector", ".face")[:5])
    assert "need JavaScript" in driver.find_element("tag name", "noscript").text
