"""Certificates: they add up, whatever is changed in them is refused, and their page does no harm."""

import base64
import hashlib
import itertools
import json
import math
import re
import resource
import shutil
import xml.etree.ElementTree as ET
from contextlib import suppress

import pytest
import torch
from conftest import make_people

from synthgen import artifact
from synthgen.dp.accounting import epsilon_of
from synthgen.dp.budget import THRESHOLDS, Budget
from synthgen.dp.certificate import certificate, check_certificate, check_ledger, digest, read_certificate
from synthgen.dp.ledger import CHOICE, COUNTS, TRAINING, Charge, keeper, recorded
from synthgen.errors import BudgetError, ResourceError, SynthgenError
from synthgen.report.certificate import certificate_page

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}\u202e\x00\u2028" + "x" * 500
PERSON = "person: column 'patient', at most 5 records each"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def price(rho, what="labels of 'town'", delta=0.0):
    return Charge(what, COUNTS, (2 * rho) ** -0.5, rho, delta)


def paid(epsilon=1.0, keep=None, what="labels of 'town'", **more):
    """The certificate of a fit of three queries, as it comes back from a file."""
    budget = Budget(epsilon, 1e-6, keep) if keep else Budget(epsilon, 1e-6)
    budget.charge(price(budget.rho / 2, "number of records"))
    budget.charge(price(budget.rho / 4, what, 1e-8))
    budget.charge(Charge("choice among 3 marginals", CHOICE, math.sqrt(budget.rho), budget.rho / 8))
    return json.loads(json.dumps(certificate(budget, "marginals", 4000, [f"column {what!r}: kind numeric"], **more)))


def trained(**changes):
    """A certificate of one training, not counted."""
    body = paid()
    body["queries"] = [Charge("training", TRAINING, 1.0, 0.0, 0.0, 0.01, 100)._replace(**changes)._asdict()]
    return body


@pytest.fixture
def stored(tmp_path):
    """The folder of a model with a certificate, and its ledger."""
    ledger = tmp_path / "ledger.jsonl"
    body = paid(keep=keeper(ledger, "data"))
    artifact.save(tmp_path / "model", {"certificate": body}, {"w": torch.ones(2)}, certificate_page(body))
    return tmp_path / "model", ledger


def test_a_certificate_adds_up():
    body = paid()
    text = check_certificate(body)
    assert "3 queries" in text
    assert "record-level" in text
    spent = epsilon_of(sum(q["rho"] for q in body["queries"]), 1e-6 * (1 - THRESHOLDS))
    assert body["spent_epsilon"] == pytest.approx(spent)
    assert body["spent_epsilon"] < 1


def test_it_names_its_fit_its_unit_and_what_a_training_made_public():
    budget = Budget(1.0, 1e-6)
    body = certificate(budget, "vae", 10, [], PERSON, {"clipped to a norm of": 1.0, "route": "fused"})
    assert body["fit"] == budget.fit
    assert body["unit"] == PERSON
    assert body["relation"] == "all records of one person added or removed"
    assert body["training"] == {"clipped to a norm of": 1.0, "route": "fused"}
    assert "person-level" in check_certificate(json.loads(json.dumps(body)))


def test_a_training_is_counted_again_by_both_accountants():
    pytest.importorskip("opacus")
    budget = Budget(2.0, 1e-6)
    budget.charge(price(budget.rho / 20))
    budget.training("training of 'vae'", 0.02, 200)
    body = json.loads(json.dumps(certificate(budget, "vae", 10_000, [])))
    assert "2 queries" in check_certificate(body)
    assert set(body["versions"]) >= {"dp-accounting", "opacus", "randomgen"}
    assert "AES-128" in body["randomness"] or not body["versions"]["randomgen"]
    assert "200 steps" in certificate_page(body)
    body["queries"][1]["steps"] = 400
    with pytest.raises(SynthgenError, match="add up to"):
        check_certificate(body)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["queries"].pop(), "add up to"),
        (lambda c: c["queries"][0].update(rho=1e-9), "not that of its noise"),
        (lambda c: c["queries"][0].update(scale=1e9), "not that of its noise"),
        (lambda c: c.update(spent_epsilon=0.1), "add up to"),
        (lambda c: c.update(epsilon=0.1), "exceed"),
        (lambda c: c["queries"][1].update(delta=1e-3), "exceed"),
        (lambda c: c["queries"][0].update(mechanism="trust me"), "not known"),
        (lambda c: c.update(queries=None), "damaged: queries"),
        (lambda c: c.update(synthgen_certificate=99), "format"),
        (lambda c: c.update(unit=PERSON), "neighbours"),
        (lambda c: c.update(relation="nothing changed"), "neighbours"),
        (lambda c: c.update(more=1), "damaged: more"),
        (lambda c: c["queries"][0].update(scale=0), "out of bounds"),
        (lambda c: c["queries"][0].update(delta=-1e-9), "out of bounds"),
        (lambda c: c["queries"][0].update(delta=math.nan), "finite"),
        (lambda c: c["queries"][0].update(rho=math.inf), "finite"),
    ],
)
def test_a_certificate_that_was_changed_is_refused(change, said):
    body = paid()
    change(body)
    with pytest.raises(SynthgenError, match=said):
        check_certificate(body)


ABSURD = (
    *(None, True, "1", "", [], {}, [[]], {"a": 1}, math.nan, math.inf, -math.inf, -1, 0, -0.0, 5e-324, 1e-200, 1e-160),
    *(1e160, 1e308, 10**18, 10**400, 10**5000, "\ud800"),
)


@pytest.mark.parametrize("value", ABSURD, ids=[f"{i}" for i in range(len(ABSURD))])
def test_whatever_stands_in_a_certificate_it_is_read_or_refused(value):
    """No key may hold what makes another error than one that a sentence explains."""
    for body in (value, [value], {"synthgen_certificate": value}, {"queries": value}):
        with pytest.raises(SynthgenError):
            check_certificate(body)
    for key, place in [(k, None) for k in paid()] + [(k, i) for i in range(3) for k in paid()["queries"][0]]:
        body = paid()
        (body if place is None else body["queries"][place])[key] = value
        for ask in (check_certificate, certificate_page):
            with suppress(SynthgenError):
                ask(body)


def test_every_entry_is_needed_but_what_is_known_of_a_training():
    for key in set(paid()) - {"training"}:
        body = paid()
        del body[key]
        with pytest.raises(SynthgenError, match=f"damaged: {key}: Field required"):
            check_certificate(body)
    body = paid()
    del body["training"]
    check_certificate(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 10**7},
        {"steps": 10**18, "rate": 1e-300},
        {"scale": 0.01},
        {"scale": 1e-160},
        {"steps": 10**5, "rate": 1.0, "scale": 0.5},
        {"rate": 0.0},
        {"rate": 1.5},
        {"steps": 0},
        {"rho": 1.0},
    ],
    ids=str,
)
def test_a_training_that_no_accountant_could_count_is_refused_at_once(changes):
    with pytest.raises(SynthgenError, match="damaged"):
        read_certificate(trained(**changes))
    read_certificate(trained())


def elements(markup):
    return list(ET.fromstring(markup).iter())


def words(markup):
    return " ".join("".join(ET.fromstring(markup).find("body").itertext()).split())


@pytest.mark.parametrize("more", [{}, {"unit": PERSON, "training": {"route": HOSTILE, "bound": 1.0}}])
def test_the_page_is_well_formed_says_what_it_is_and_holds_nothing_that_acts(more):
    page = certificate_page(paid(what=HOSTILE, **more))
    assert page.encode()
    tree = elements(page)
    assert tree[0].get("lang") == "en"
    assert not {e.tag for e in tree} & {"script", "img", "iframe", "object", "form", "link"}
    assert not [k for e in tree for k in e.attrib if k.startswith("on") or k in ("style", "src")]
    assert all(e.get("href").startswith("#") for e in tree if e.tag == "a")
    assert all(e[0].tag == "caption" and e[0].text for e in tree if e.tag == "table")
    assert all(e.get("scope") in ("row", "col") for e in tree if e.tag == "th")
    levels = [int(e.tag[1]) for e in tree if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert set(levels[1:]) == {2}
    shown = words(page)
    assert "<script>alert(1)</script>" in shown
    assert "{{ 7*7 }}" in shown
    assert not set(page) & set("\u202e\x00\u2028")


def test_only_the_one_style_sheet_may_apply():
    page = certificate_page(paid())
    style = re.search("<style>(.*)</style>", page, re.DOTALL)[1]
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{allowed}'" in page
    assert not re.search(r"url\(|@import|https?:", page)


def test_the_page_says_in_words_what_the_figures_mean():
    body = paid(math.log(3))
    shown = words(certificate_page(body))
    assert "at most 3.00 times as likely" in shown
    assert "one in 1 000 000." in shown
    rows = [["".join(c.itertext()) for c in e] for e in elements(certificate_page(body)) if e.tag == "tr"]
    assert ["50\u202f%", "25\u202f%", "75\u202f%"] in rows  # odds of 1:1 become 1:3 and 3:1
    assert rows[5][:2] == ["1", "number of records"]
    assert rows[5][2] == f"Counts with discrete Gaussian noise of deviation {body['queries'][0]['scale']:.2f}"
    assert rows[5][4] == "50\u202f%"
    assert "one in 100\u202f000\u202f000" in rows[6][2]
    assert rows[-1][-1] == f"epsilon {body['spent_epsilon']:g} of {math.log(3):g}"
    assert digest(body) in shown


def test_the_page_warns_of_a_promise_that_is_weak():
    assert "rules out little" not in certificate_page(paid(1.0))
    assert "rules out little" in certificate_page(paid(8.0))
    body = paid()
    assert "Delta is large" not in certificate_page(body)
    assert "Delta is large" in certificate_page(body | {"records": 10**6})


def test_the_page_of_persons_does_not_promise_records():
    shown = words(certificate_page(paid(unit=PERSON)))
    assert "had any one person been left out or added, with all their records" in shown
    assert "one record been left out" not in shown
    assert "at most 5 records each" in shown


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
@pytest.mark.parametrize("width", [1280, 320])
def test_in_a_browser_the_page_is_silent_accessible_and_fits(tmp_path, width):
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    path, heard = tmp_path / "certificate.html", []
    path.write_text(certificate_page(paid(9.0, what=HOSTILE, unit=PERSON, training={"route": HOSTILE})), "utf-8")
    with playwright.sync_playwright() as driver:
        view = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page(
            viewport={"width": width, "height": 900}
        )
        for event in ("console", "pageerror", "dialog", "request"):
            view.on(event, lambda what: heard.append(what))
        view.goto(path.as_uri())
        assert [request.url for request in heard] == [view.url]
        assert view.evaluate("getComputedStyle(document.querySelector('.kicker')).textTransform") == "uppercase"
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        violations = axe.Axe().run(view).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []


def test_a_model_has_its_certificate_beside_it(stored):
    path, _ = stored
    manifest, _ = artifact.load(path)
    assert json.loads((path / "certificate.json").read_text("utf-8")) == manifest["certificate"]
    assert (path / "certificate.html").read_text("utf-8") == certificate_page(manifest["certificate"])
    assert set(manifest) == {"certificate"}
    for name in ("certificate.json", "certificate.html"):
        (path / name).unlink()
        artifact.load(path)  # they are copies


@pytest.mark.parametrize("text", ["{}", "", "null", "[" * 100_000, '{"epsilon": 0.001}'])
@pytest.mark.parametrize("name", ["certificate.json", "certificate.html"])
def test_a_copy_that_says_otherwise_is_refused(stored, name, text):
    (stored[0] / name).write_text(text)
    with pytest.raises(SynthgenError, match=f"{name} is not the certificate of the model beside it"):
        artifact.load(stored[0])


def test_a_model_without_a_certificate_gets_none_from_its_neighbour(stored, tmp_path):
    for given in ({}, {"certificate": None}):
        artifact.save(tmp_path / "plain", given, {"w": torch.ones(2)})
        assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == ["manifest.json", "weights.safetensors"]
        for name in ("certificate.json", "certificate.html"):
            shutil.copy(stored[0] / name, tmp_path / "plain")
            with pytest.raises(SynthgenError, match=f"{name} is not the certificate"):
                artifact.load(tmp_path / "plain")
            (tmp_path / "plain" / name).unlink()


def test_verify_adds_up_and_writes_the_page(command, stored, tmp_path):
    done = command("verify", stored[0], "--page", tmp_path / "proof.html")
    assert done.code == 0, done.err
    assert "3 queries add up to epsilon" in done.out
    assert (tmp_path / "proof.html").read_text("utf-8") == (stored[0] / "certificate.html").read_text("utf-8")
    fields = json.loads(command("verify", stored[0], "--json").out)
    assert fields["sha256"] in done.out
    assert fields["certificate"]["unit"] == "record"


def test_verify_compares_with_the_ledger_and_adds_up_all_fits_of_the_same_data(command, stored):
    path, ledger = stored
    assert "these data were fitted once" in command("verify", path, "--ledger", ledger).out
    other = paid(keep=keeper(ledger, "data"))
    paid(keep=keeper(ledger, "other data"))
    done = json.loads(command("verify", path, "--ledger", ledger, "--json").out)
    rho = 2 * sum(q["rho"] for q in other["queries"])
    assert done["together"]["fits"] == 2
    assert done["together"]["epsilon"] == pytest.approx(epsilon_of(rho, 1e-6 * (1 - THRESHOLDS)))
    assert done["together"]["delta"] == pytest.approx(1e-6 * (1 - THRESHOLDS) + 2e-8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], "query 3 of the certificate, 'choice among 3 marginals', is missing in the ledger"),
        (lambda lines: lines[1:], "query 1 of the certificate, 'number of records', has what"),
        (lambda lines: [*lines, lines[0]], "query 4 of the ledger, 'number of records', is missing in the certificate"),
        (lambda lines: [lines[0].replace("records", "rows"), *lines[1:]], "the ledger says 'number of rows'"),
        (lambda lines: [lines[0], lines[1].replace("1e-08", "1e-09"), lines[2]], "has delta 1e-08; the ledger says"),
        (lambda lines: [], "does not hold the fit"),
    ],
)
def test_a_ledger_that_says_otherwise_is_an_error(command, stored, change, said):
    path, ledger = stored
    lines = ledger.read_text("utf-8").splitlines()
    ledger.write_text("".join(line + "\n" for line in change(lines)), "utf-8")
    done = command("verify", path, "--ledger", ledger)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_verify_refuses_what_cannot_be_compared(command, stored, trees_model, tmp_path):
    assert "there is no ledger" in command("verify", stored[0], "--ledger", tmp_path / "absent").err
    for option in ("--ledger", "--page"):
        done = command("verify", trees_model, option, tmp_path / "file")
        assert done.code == 2
        assert "without a privacy budget" in done.err
    assert command("verify", stored[0], "--page", tmp_path / "no folder" / "page.html").code == 2
    assert not list(tmp_path.glob("file*"))


def test_a_fit_has_its_certificate_beside_it_and_in_its_ledger(command, tmp_path):
    pytest.importorskip("opendp")
    make_people(2000)[["town", "age"]].to_csv(tmp_path / "people.csv", index=False)
    ledger, model = tmp_path / "ledger.jsonl", tmp_path / "model"
    options = ("--epsilon", 2, "--delta", "1e-6", "--ledger", ledger)
    assert command("fit", tmp_path / "people.csv", "-o", model, *options).code == 0
    assert {p.name for p in model.iterdir()} >= {"certificate.json", "certificate.html"}
    done = command("verify", model, "--ledger", ledger)
    assert done.code == 0, done.err


def test_a_line_that_a_crash_cut_off_does_not_count_wherever_it_was_cut(tmp_path):
    path, charge = tmp_path / "ledger.jsonl", price(1e-3, "labels of 'größe\u2028'")
    for _ in range(2):
        keeper(path, "data")("fit", charge)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        before = len(recorded(path, "data").get("fit", []))
        assert before == (end >= first - 1) + (end >= len(whole) - 1)  # a line counts that lacks but its end
        keeper(path, "data")("fit", charge)
        assert recorded(path, "data") == {"fit": [charge] * (before + 1)}
        assert path.read_bytes().count(b"\n") == before + 1


@pytest.mark.parametrize("tail", [b"\0" * 50, b'{"source": "\xc3', b"[" * 100_000, b'{"source": "a"', b'"'])
def test_what_a_crash_may_leave_behind_the_last_line_is_mended(tmp_path, tail):
    path = tmp_path / "ledger.jsonl"
    keeper(path, "data")("a", price(1e-3))
    path.write_bytes(path.read_bytes() + tail)
    assert recorded(path, "data") == {"a": [price(1e-3)]}
    keeper(path, "data")("b", price(2e-3))
    assert recorded(path, "data") == {"a": [price(1e-3)], "b": [price(2e-3)]}


@pytest.mark.parametrize("line", ["{", '{"source": "a"}', "", "[" * 100_000, "\0", '{"source": "data", "fit": ["a"]}'])
def test_a_damaged_line_that_is_whole_is_refused(tmp_path, line):
    path = tmp_path / "ledger.jsonl"
    keeper(path, "data")("a", price(1e-3))
    text = path.read_text()
    path.write_text(f"{line}\n{text}")
    with pytest.raises(BudgetError, match="cannot be read"):
        recorded(path, "data")


@pytest.mark.parametrize("figures", [{"scale": 1e-200}, {"scale": "1"}, {"rho": math.nan}, {"rate": None}, {"what": 1}])
def test_a_ledger_with_absurd_figures_is_refused(tmp_path, figures):
    path = tmp_path / "ledger.jsonl"
    path.write_text(json.dumps({"source": "data", "fit": "a"} | price(1e-3)._asdict() | figures) + "\n")
    with pytest.raises(BudgetError, match="cannot be read"):
        recorded(path, "data")


def test_a_disk_that_is_full_in_the_middle_of_a_line_charges_nothing_and_harms_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    budget = Budget(1.0, 1e-6, keeper(path, "data"))
    budget.charge(price(1e-3))
    size, (soft, hard) = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, hard))
    try:
        with pytest.raises(ResourceError, match="nothing was looked at"):
            budget.charge(price(2e-3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.stat().st_size == size + 40
    assert budget.ledger == [price(1e-3)]
    budget.charge(price(3e-3))
    assert recorded(path, "data") == {budget.fit: budget.ledger}


def test_the_sum_of_a_ledger_is_checked_against_each_certificate(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    bodies = [paid(epsilon, keep=keeper(ledger, "data")) for epsilon in (0.5, 1.0, 2.0)]
    spent = [check_ledger(body, ledger) for body in bodies]
    assert {together.fits for together in spent} == {3}
    assert spent[0].epsilon > max(body["spent_epsilon"] for body in bodies)
    assert all(a.epsilon == b.epsilon for a, b in itertools.pairwise(spent))
