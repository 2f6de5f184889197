"""The page of a report in a real browser: reachable, readable, silent, printable. Needs a Chromium on the path."""

import shutil

import pytest
from test_report_page import hostile, sample

from synthgen.report.html import page
from synthgen.report.result import WARNING

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api")
pypdf = pytest.importorskip("pypdf")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")]

REPORTS = {"plain": lambda: sample(), "hostile": lambda: sample(50, 40, hostile)}
FOCUSABLE = "a[href], summary, [tabindex='0']"
ALARMING = ("serious", "critical")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, with what it asked for and complained about."""

    def __init__(self, browser, path, width, **context):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.view = self.context.new_page()
        self.complaints, self.requests = [], []
        self.view.on("console", lambda message: self.complaints.append(message.text))
        self.view.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.view.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.view.on("request", lambda request: self.requests.append(request.url))
        self.view.goto(path.as_uri())


@pytest.fixture(params=REPORTS)
def visit(request, browser, tmp_path):
    """Opens the page at a width; the contexts are closed afterwards."""
    path, visits = tmp_path / "report.html", []
    path.write_text(page(REPORTS[request.param]()), "utf-8")

    def open_at(width=1280, **context):
        visits.append(Visit(browser, path, width, **context))
        return visits[-1]

    yield open_at
    for each in visits:
        each.context.close()


def unfold(view):
    view.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


def test_it_is_silent_and_asks_for_nothing(visit):
    found = visit(java_script_enabled=False)
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith("data:")] == [found.view.url]


def test_its_style_is_applied_and_no_script_ran(visit):
    view = visit().view
    assert view.evaluate("getComputedStyle(document.querySelector('.kicker')).textTransform") == "uppercase"
    assert view.evaluate("document.scripts.length") == 0
    assert view.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.parametrize("width", [1280, 400])
def test_no_serious_barrier(visit, width):
    found = visit(width, bypass_csp=True)  # for the script of the checker, which the page itself would refuse
    unfold(found.view)
    violations = axe.Axe().run(found.view).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ALARMING] == []


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_nothing_is_wider_than_the_window(visit, width):
    view = visit(width).view
    unfold(view)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg, .hidden')"
    assert view.evaluate(f"{wide} && e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML)") == []


def test_the_keyboard_reaches_everything(visit):
    view = visit(400).view
    expected = view.evaluate(
        f'[...document.querySelectorAll("{FOCUSABLE}")].filter(e => e.checkVisibility()).map(e => e.outerHTML)'
    )
    reached = []
    for _ in range(len(expected) + 5):
        view.keyboard.press("Tab")
        at = view.evaluate("document.activeElement.outerHTML")
        reached.append(at)
    assert [e for e in expected if e not in reached] == []
    assert reached[0].startswith('<a class="skip"')


def test_focus_shows_and_folds_open_by_key(visit):
    view = visit().view
    fold = view.locator("header summary")
    fold.focus()
    view.keyboard.press("Enter")
    assert view.evaluate("document.querySelector('header details').open")
    view.keyboard.press("Tab")
    assert view.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_text_in_charts_can_be_read_and_stays_inside(visit):
    view = visit(400).view
    small = "[...document.querySelectorAll('figure svg text')].filter(t => t.checkVisibility()"
    scale = "t.getScreenCTM().a ** 2 + t.getScreenCTM().b ** 2"
    size = f"parseFloat(getComputedStyle(t).fontSize) * Math.sqrt({scale}) < 9.5)"
    assert view.evaluate(f"{small} && {size}.map(t => t.textContent)") == []
    beyond = "t.getBoundingClientRect().right > t.ownerSVGElement.getBoundingClientRect().right + 2"
    assert view.evaluate(f"{small} && {beyond}).map(t => t.outerHTML.slice(0, 200))") == []


def test_it_prints_with_the_warning_on_every_page(visit, tmp_path):
    view = visit().view
    view.emulate_media(media="print")
    assert not view.locator("nav").is_visible()
    assert view.locator(".running").is_visible()
    assert view.evaluate("getComputedStyle(document.querySelector('.running')).display") == "table-footer-group"
    pages = tmp_path / "report.pdf"
    view.pdf(path=pages, prefer_css_page_size=True)
    printed = [" ".join(each.extract_text().split()) for each in pypdf.PdfReader(pages).pages]
    assert len(printed) > 3
    assert all(WARNING in text for text in printed)
