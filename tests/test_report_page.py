"""The page of a report: harmless whatever the data say, well-formed, self-contained, small, and true to its figures."""

import base64
import hashlib
import math
import re
import unicodedata
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from synthgen.metrics.score import Score
from synthgen.report.blocks import (
    Finding,
    Gallery,
    Heat,
    Interval,
    Intervals,
    Lines,
    Rows,
    Section,
    Series,
    Shares,
)
from synthgen.report.charts import figures, picture
from synthgen.report.charts.intervals import strip
from synthgen.report.charts.words import estimate, number, percent, short
from synthgen.report.html import page, summary
from synthgen.report.result import WARNING, Report, Setup

NAN = float("nan")
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=1>',
    "' style='color:red' x='",
    "</style></title><svg onload=alert(1)>",
    "]]><!--",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; &#0;",
    "javascript:alert(1)",
    "nul\x00bell\x07line\nbreak\x7f\x85",
    "over\u202eride\u2066isolate\u200fmark",
    "half \ud800 a pair \uffff",
    "שם העמודה",
    "العمر",
    "国の名前と都市の名前がとても長い列の名前",
    "naïve 🧑‍🚀 é",
    "",
    "x" * 5000,
]


def sample(columns=15, heat=15, name=lambda i: f"column {i}"):
    """A report with every kind of block; `name` gives each of its texts."""
    rng = np.random.default_rng(0)
    numbers = iter(range(10**9))

    def word():
        return name(next(numbers))

    def shares(i):
        if i % 2:
            a, b = (tuple(rng.dirichlet(np.ones(6))) for _ in range(2))
            return Shares(word(), tuple(word() for _ in a), {"real": a, "synthetic": b}, about=word())
        a, b = (tuple(np.histogram(rng.normal(m, 1, 999), 30)[0] / 999) for m in (0, 0.2))
        return Shares(word(), tuple(word() for _ in range(31)), {"real": a, "synthetic": b, word(): a}, True)

    def section(*blocks):
        scores = (
            Score(word(), 0.536, word(), "near", 0.5, 0.52, 0.552, 0.502, NAN, 0.93, headline=True),
            Score(word(), 0.0412, word(), "less", 0.0),
        )
        kinds = ("faithful", "differs", "useful", "useless", "leaks", "private", "unseen")
        return Section(word(), word(), word(), scores, tuple(Finding(k, word()) for k in kinds), blocks)

    x = tuple(np.linspace(0, 1, 500))
    values = np.abs(rng.normal(0.1, 0.1, (heat, heat)))
    np.fill_diagonal(values, NAN)
    pixels = rng.integers(0, 256, (2, 4, 9, 7, 3), dtype=np.uint8)
    return Report(
        Setup("table", (word(), 32561), (word(), 32561), (word(), 16281), word(), (word(), word()), 12.3),
        (
            section(
                Rows(word(), (word(), word(), word()), ((word(), 1234567, NAN), (word(), None, True)), word()),
                *(shares(i) for i in range(columns)),
                Heat(word(), tuple(word() for _ in values), tuple(map(tuple, values)), 0.4, word()),
            ),
            section(
                Lines(word(), word(), word(), (Series("real", x, x, x, x), Series(word(), x, tuple(np.sqrt(x))))),
                Lines(word(), word(), word(), (Series("synthetic", x, x), Series("chance", x, x)), log=True),
            ),
            section(
                Intervals(word(), word(), (Interval(word(), 0.54, 0.5, 0.6, 0.5), Interval(word(), NAN, NAN, NAN))),
                Gallery(word(), pixels, (word(), word()), tuple(word() for _ in range(4)), word()),
            ),
        ),
    )


def hostile(i):
    return HOSTILE[i % len(HOSTILE)]


@pytest.fixture(scope="module")
def plain_page():
    return page(sample())


@pytest.fixture(scope="module")
def hostile_page():
    return page(sample(len(HOSTILE) * 3, name=hostile))


def elements(markup):
    """All elements of a page, which is well-formed as XML too."""
    return list(ET.fromstring(markup).iter())


def cells(markup):
    return ["".join(e.itertext()) for e in elements(markup) if e.tag in ("td", "th")]


class Nesting(HTMLParser):
    """Reads as HTML does, and fails where an end tag does not close what is open."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


ALLOWED = set(
    re.findall(
        r"\w+",
        "html head meta title style body a header main section nav footer h1 h2 h3 p span bdi code dl dt dd div ul li "
        "details summary figure figcaption table caption thead tbody tr th td img svg desc text g path rect circle "
        "image strong em",
    )
)


@pytest.mark.parametrize("which", ["plain_page", "hostile_page"])
def test_the_page_is_well_formed_and_holds_nothing_that_acts(which, request):
    markup = request.getfixturevalue(which)
    reader = Nesting()
    reader.feed(markup)
    assert reader.open == []
    assert len(reader.seen) == len(elements(markup))  # HTML and XML see the same elements
    for tag, attributes in reader.seen:
        assert tag in ALLOWED
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "action", "srcdoc")]
        assert attributes.get("href", "#").startswith(("#", "data:image/png;base64,"))
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert tag != "meta" or attributes.get("http-equiv", "Content-Security-Policy") == "Content-Security-Policy"


def test_names_are_shown_as_they_are(hostile_page):
    shown = "".join(ET.fromstring(hostile_page).itertext())
    for name in HOSTILE[:8] + HOSTILE[11:15]:
        assert name in shown


def test_what_is_invisible_or_reorders_text_is_written_out(hostile_page):
    assert hostile_page.encode()  # no half of a surrogate pair
    isolates = "\u2068\u2069"  # around names from right to left, always both
    assert hostile_page.count(isolates[0]) == hostile_page.count(isolates[1]) > 0
    kept = set("\n\u200d" + isolates)
    assert not [c for c in set(hostile_page) - kept if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")]
    for written in (
        "over‹U+202E›ride‹U+2066›isolate‹U+200F›mark",
        "nul␀bell␇line␊break",
        "half ‹U+D800› a pair ‹U+FFFF›",
    ):
        assert written in hostile_page


def test_long_names_are_shortened_with_all_of_them_in_a_title(hostile_page):
    long = "x" * 5000
    tree = elements(hostile_page)
    assert any(e.get("title") == long and len(e.text) <= 80 for e in tree if e.tag == "bdi")
    assert not any(long in (e.text or "") for e in tree if e.tag != "title")
    assert any(e.tag == "text" and e.find("title") is not None and e.find("title").text == long for e in tree)


def test_only_the_one_style_sheet_and_embedded_images_may_load(plain_page):
    policy = re.search('Content-Security-Policy" content="([^"]+)"', plain_page)[1]
    style = re.search("<style>(.*)</style>", plain_page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ")[:3] == ["default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'"]
    assert plain_page.index("Content-Security-Policy") < plain_page.index("<style>")
    assert "http://" not in plain_page.replace("http-equiv", "")
    assert "url(" not in plain_page
    assert "@import" not in plain_page


def test_every_picture_says_what_it_is(hostile_page):
    tree = elements(hostile_page)
    pictures = [e for e in tree if e.tag == "svg" and e.get("aria-hidden") != "true"]
    assert len(pictures) > 50
    for svg in pictures:
        assert svg.get("role") == "img"
        assert svg[0].tag == "title"
        assert svg[0].text.strip()
        assert svg[1].tag == "desc"
        assert svg[1].text.strip()
    assert all(e.get("alt") for e in tree if e.tag == "img")


def test_structure_is_there_for_those_who_listen(plain_page):
    tree = elements(plain_page)
    assert tree[0].get("lang") == "en"
    levels = [int(e.tag[1]) for e in tree if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    ids = [e.get("id") for e in tree if e.get("id")]
    assert len(ids) == len(set(ids))
    assert {e.get("href")[1:] for e in tree if e.tag == "a"} <= set(ids)
    assert all(e[0].tag == "caption" and e[0].text for e in tree if e.tag == "table")
    assert all(e.get("scope") in ("row", "col") for e in tree if e.tag == "th")
    regions = [e for e in tree if e.get("role") == "region"]
    assert regions
    assert all(e.get("tabindex") == "0" and e.get("aria-label") for e in regions)


def test_the_warning_stands_at_the_top_and_on_every_printed_page(plain_page):
    assert plain_page.count(WARNING) == 2
    assert plain_page.index(WARNING) < plain_page.index("<nav")
    assert re.search(r"@media print.*\.running \{ display: table-footer-group", plain_page, re.DOTALL)


def test_the_verdict_is_grouped_and_labelled(plain_page):
    told = "".join(ET.fromstring(plain_page).itertext())
    headings = ["What is faithful", "What differs", "Useful or not", "What leaks", "Looked for and not found"]
    places = [told.index(heading) for heading in [*headings, "What could not be seen", "Headline scores"][:-1]]
    assert places == sorted(places)
    labels = [e.text for e in elements(plain_page) if (e.get("class") or "").startswith("label ")]
    assert sorted(set(labels)) == sorted(
        ["✓ faithful", "Δ differs", "✓ useful", "✗ not useful", "! leaks", "○ not found", "? not seen"]
    )
    assert len(labels) == 3 * 7


def test_cells_without_a_figure_are_dashes():
    rows = Rows(
        "t", ("a", "b", "c", "d", "e"), (("x", None, NAN, True, np.float32(0.5)), ("y", 0.0, 3, -1e-9, math.inf))
    )
    markup = page(Report(sample().setup, (Section("s", "S", "", (), (), (rows,)),)))
    assert cells(markup)[5:] == ["x", "–", "–", "yes", ".500", "y", "0", "3", "−1.0×10⁻⁹", "∞"]
    assert "nan" not in page(sample()).lower().replace("finan", "")


def test_scores_stand_beside_their_floors(plain_page):
    row = cells(plain_page)[8:14]
    assert row[1].startswith("Position of column ")
    assert [row[0], *row[2:]] == [".536 (.52–.55)", ".502", "–", ".930", "→ near .5"]


@pytest.mark.parametrize("report", [Report(Setup("images", ("a", 1), ("b", 0), None, ""), ())])
def test_a_report_of_nothing_is_a_page_too(report):
    assert "so no score stands beside its floor" in page(report)
    assert elements(page(report))
    assert ET.fromstring(summary(report)) is not None


def test_the_page_stays_small():
    assert len(page(sample(15, 15)).encode()) < 1_000_000
    assert len(page(sample(200, 40)).encode()) < 5_000_000
    assert len(page(sample(200, 200)).encode()) < 5_000_000


def test_very_many_columns_are_folded_by_twenties():
    folds = [e for e in elements(page(sample(200, 2))) if e.tag == "details" and e.get("class") == "fold"][1:]
    assert [sum(e.tag == "figure" for e in fold.iter()) for fold in folds] == [20] * 10
    assert [fold.get("open") for fold in folds] == ["open"] + [None] * 9


def test_cells_of_a_heat_map_say_what_they_are_up_to_forty_names():
    block = sample(1, 40).sections[0].blocks[-1]
    told = [e.find("title").text for e in elements(picture(block)) if e.tag == "g"]
    assert len(told) == 1600
    assert told[1] == f"{block.names[0]} and {block.names[1]}: {number(block.values[0][1])}"
    assert told[0].endswith(": –")


def test_a_heat_map_of_very_many_names_is_one_image():
    block = sample(1, 200).sections[0].blocks[-1]
    tree = elements(picture(block))
    assert [e.tag for e in tree].count("image") == 1
    assert len(tree) < 200
    listed = figures(block).rows
    largest = max(v for i, row in enumerate(block.values) for v in row[i + 1 :])
    assert len(listed) == 20
    assert listed[0][2] == largest


def test_steps_of_a_histogram_are_as_high_as_the_shares():
    block = Shares("age", ("0", "1", "2", "3"), {"real": (0.2, 0.5, 0.3), "synthetic": (0.1, 0.6, 0.3)}, True)
    path = next(e.get("d") for e in elements(picture(block)) if e.get("class") == "line synthetic")
    points = [tuple(map(float, p.split())) for p in path[1:].split("L")]
    base = points[0][1]
    heights = np.array([base - y for _, y in points[1:-1:2]])
    np.testing.assert_allclose(heights / heights.sum(), (0.1, 0.6, 0.3), atol=0.001)
    widths = np.diff([x for x, _ in points[1:-1:2]])
    assert np.ptp(widths) < 0.2


def test_bars_are_as_long_as_the_shares():
    block = Shares("town", ("a", "b"), {"real": (0.25, 0.75), "synthetic": (0.5, NAN)})
    bars = [e for e in elements(picture(block)) if e.tag == "rect"][2:]  # after the legend
    lengths = [float(e.get("width")) for e in bars]  # a: real, synthetic; b: real, synthetic
    np.testing.assert_allclose(np.array(lengths) / lengths[2], (1 / 3, 2 / 3, 1, 0), atol=0.002)
    assert "synthetic –" not in figures(block).rows[0]
    assert figures(block).rows[1][2] == "–"


def test_logarithmic_lines_ignore_zeros():
    block = Lines("t", "x", "y", (Series("synthetic", (0.0, 0.001, 0.01, 1.0), (0.0, 0.01, 0.1, 1.0)),), log=True)
    path = next(
        e.get("d")
        for e in elements(picture(block))[5:]
        if (e.get("class") or "") == "line synthetic" and e.get("d").count("L") == 2
    )
    (x0, _), (x1, y1), (x2, y2) = (tuple(map(float, p.split())) for p in path[1:].split("L"))
    assert (x1 - x0) / (x2 - x0) == pytest.approx(1 / 3, abs=0.01)
    assert y1 > y2


def test_a_strip_holds_value_interval_and_floors_on_one_axis():
    score = Score("s", 0.6, "", "near", 0.5, 0.55, 0.65, fresh=0.5, copies=None, independent=0.9)
    tree = elements(strip(score))
    dot = float(next(e for e in tree if e.tag == "circle").get("cx"))
    fresh, independent = (
        float(next(e for e in tree if e.get("class") == f"tick {kind}").get("x")) + 2.5
        for kind in ("fresh", "independent")
    )
    assert (dot - fresh) / (independent - fresh) == pytest.approx(0.25, abs=0.01)
    assert tree[2].text == "synthetic .600 (.55–.65); ideal .500; independent .900; fresh .500"


@pytest.mark.parametrize(
    "block",
    [
        Shares("t", (), {}),
        Shares("t", (), {"real": ()}, continuous=True),
        Shares("t", ("a",), {"real": (NAN,)}),
        Shares("t", tuple("abcdefghijklmnopqrstuvwxyz"), {"real": (0.0,) * 26}),
        Lines("t", "x", "y", ()),
        Lines("t", "x", "y", (Series("a", (), ()), Series("b", (1.0,), (NAN,))), log=True),
        Lines("t", "x", "y", (Series("a", (1e9, 1e9), (-3.0, -3.0)),)),
        Intervals("t", "x", ()),
        Heat("t", (), ()),
        Heat("t", ("a",), ((NAN,),), 0.0),
        Gallery("t", np.zeros((0, 3, 8, 8, 1), np.uint8), ()),
        Gallery("t", np.zeros((1, 1, 300, 200, 4), np.uint8), ("large",)),
        Gallery("t", np.zeros((1, 1, 1, 1, 2), np.uint8), ("tiny",)),
    ],
    ids=lambda block: type(block).__name__,
)
def test_blocks_with_little_or_odd_content_are_drawn(block):
    markup = page(Report(sample().setup, (Section("s", "S", "", (), (), (block,)),)))
    assert elements(markup)
    assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', markup)


def test_pictures_are_enlarged_by_whole_pixels():
    block = Gallery("t", np.arange(2 * 9 * 7 * 1, dtype=np.uint8).reshape(1, 2, 9, 7, 1), ("row",), ("first", "second"))
    images = [e for e in elements(picture(block)) if e.tag == "img"]
    assert [(e.get("width"), e.get("height")) for e in images] == [("49", "63")] * 2
    assert [e.get("alt") for e in images] == ["row: first", "row: second"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5364, ".536"),
        (-0.02, "−.020"),
        (1.0, "1.000"),
        (12.345, "12.35"),
        (0.00042, ".00042"),
        (2.1e-8, "2.1×10⁻⁸"),
        (1234567, "1\u202f234\u202f567"),
        (np.int64(32561), "32\u202f561"),
        (NAN, "–"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((0.536, 0.52, 0.55), ".536 (.52–.55)"),
        ((0.0131, 0.0042, 0.0219), ".013 (.004–.022)"),
        ((0.0, -0.021, 0.02), "0 (−.02 to .02)"),
        ((12.345, 10.2, 15.9), "12.35 (10–16)"),
        ((0.5, None, None), ".500"),
        ((0.5, NAN, 1.0), ".500"),
        ((0.5, 0.5, 0.5), ".500 (.500–.500)"),
    ],
)
def test_intervals_are_as_precise_as_they_are_narrow(given, shown):
    assert estimate(*given) == shown


def test_percentages_and_short_names():
    assert [percent(v).replace("\u202f", " ") for v in (0, 0.0001, 0.034, 0.0999, 0.336, 1, NAN)] == [
        "0 %", "<0.1 %", "3.4 %", "10 %", "34 %", "100 %", "–"
    ]  # fmt: skip
    assert short("abcdef", 6) == "abcdef"
    assert short("abcdefg", 6) == "abcde…"
    assert short("国国国国", 6) == "国国…"


def test_the_summary_brings_no_style_and_only_headlines():
    report = sample(name=hostile)
    fragment = summary(report)
    tree = elements(fragment)
    assert {e.tag for e in tree} <= ALLOWED - {"style", "svg", "img"}
    assert not [e for e in tree if set(e.keys()) - {"scope", "title"}]
    assert WARNING in fragment
    assert sum(e.tag == "tr" for e in tree) == 1 + 3
    assert sum(e.tag == "li" for e in tree) == 3 * 7
    assert report._repr_html_() == fragment


def test_the_page_is_written_as_a_file(tmp_path):
    sample(name=hostile).write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == page(sample(name=hostile))


def test_no_two_lines_look_the_same():
    x = (0.0, 1.0)
    names = ("synthetic, all", "synthetic, rare", "real", "reality", "fresh real", "copies", "chance", "surreal")
    tree = elements(picture(Lines("t", "x", "y", tuple(Series(name, x, x) for name in names))))
    classes = [e.get("class") for e in tree if (e.get("class") or "").startswith("line ")]
    assert len(classes) == 2 * len(names)  # in the legend, and in the picture
    assert len(set(classes)) == len(names)
    assert len({e.get("class") for e in tree if (e.get("class") or "").startswith("mark ")}) == len(names) - 1
