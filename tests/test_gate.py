"""Thresholds of a gate file against scores, errors of one line, and XML that CI servers read."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import GateFailed, SynthgenError
from synthgen.metrics.score import Score
from synthgen.report.blocks import Section
from synthgen.report.gate import KEYS, Check, Gate, Limit, junit, read_gate
from synthgen.report.result import Report, Setup


def score(name, value, **fields):
    return Score(name, value, "what it is", "less", 0.0, **fields)


def report(*scores):
    setup = Setup("table", ("train.csv", 100), ("made.csv", 90), None, "no formal guarantee")
    return Report(setup, (Section("one", "One", "", scores[:1]), Section("two", "Two", "", scores[1:])))


REPORT = report(
    score("fidelity.detection", 0.612, low=0.58, high=0.64, fresh=0.5, headline=True),
    score("fidelity.pairs", 0.2, fresh=0.15),
    score("disclosure.attack", 0.02, low=-0.01, high=0.05, headline=True),
)


def gate(tmp_path, text):
    path = tmp_path / "gate.toml"
    path.write_text(text, "utf-8")
    return read_gate(path)


def outcome(tmp_path, text, of=REPORT):
    return [(c.condition, c.passed) for c in gate(tmp_path, text).check(of)]


@pytest.mark.parametrize(
    "header",
    ['["fidelity.detection"]', "[fidelity.detection]", "[fidelity]\n[fidelity.detection]", "[ fidelity . detection ]"],
)
def test_a_table_names_a_score_quoted_or_nested(tmp_path, header):
    assert outcome(tmp_path, f"{header}\nmax = 0.7\n") == [("fidelity.detection max 0.7", True)]


def test_a_score_may_be_the_beginning_of_another_one(tmp_path):
    both = report(score("fidelity", 1.0), score("fidelity.detection", 2.0))
    text = "[fidelity]\nmax = 1\n[fidelity.detection]\nmax = 1"
    assert outcome(tmp_path, text, both) == [("fidelity max 1", True), ("fidelity.detection max 1", False)]


@pytest.mark.parametrize(
    ("key", "bound", "passed"),
    [
        ("max", 0.612, True),
        ("max", 0.611, False),
        ("min", 0.612, True),
        ("min", 0.613, False),
        ("max_excess", 0.112, True),  # 0.612 - 0.5 is a little above it in floats
        ("max_excess", 0.111, False),
        ("min_excess", 0.112, True),
        ("min_excess", 0.113, False),
        ("max_low", 0.58, True),
        ("max_low", 0.57, False),
        ("min_low", 0.58, True),
        ("min_low", 0.59, False),
        ("max_high", 0.64, True),
        ("max_high", 0.63, False),
        ("min_high", 0.64, True),
        ("min_high", 0.65, False),
    ],
)
def test_each_key_bounds_its_figure_and_a_bound_may_be_reached(tmp_path, key, bound, passed):
    expected = [(f"fidelity.detection {key} {bound}", passed)]
    assert outcome(tmp_path, f'["fidelity.detection"]\n{key} = {bound}\n') == expected


@given(value=st.floats(-2, 2), bound=st.floats(-2, 2), key=st.sampled_from(["max", "min"]))
def test_a_text_never_says_that_a_figure_is_above_itself(value, bound, key):
    check = Limit("a", key, bound).check(score("a", value))
    shown, said = check.text.removeprefix("a: value ").split(" is ")
    if not check.passed:
        assert float(shown) > float(said.split()[-1]) if key == "max" else float(shown) < float(said.split()[-1])
    assert check.passed == ((value - bound if key == "max" else bound - value) <= 1e-9)


@pytest.mark.parametrize(
    ("key", "bound", "text"),
    [
        ("max_excess", 0.05, "fidelity.detection: excess over fresh real records 0.112 is above 0.05"),
        ("max_excess", 0.2, "fidelity.detection: excess over fresh real records 0.112 is at most 0.2"),
        ("min", 0.7, "fidelity.detection: value 0.612 is below 0.7"),
        ("min", 0.612, "fidelity.detection: value 0.612 is at least 0.612"),
        ("max_low", 0.5, "fidelity.detection: lower end of the interval 0.58 is above 0.5"),
        ("max_high", 0.6399, "fidelity.detection: upper end of the interval 0.64 is above 0.6399"),
    ],
)
def test_a_check_says_in_one_line_what_was_found(key, bound, text):
    check = Limit("fidelity.detection", key, bound).check(REPORT["fidelity.detection"])
    assert check.text == text


def test_figures_are_shown_in_as_many_digits_as_tell_them_apart():
    assert Limit("a", "max", 0.05).check(score("a", 0.05001)).text == "a: value 0.05001 is above 0.05"
    assert Limit("a", "max", 0.0496001).check(score("a", 0.04964)).text == "a: value 0.04964 is above 0.0496001"


def test_a_wildcard_checks_every_score_that_it_names(tmp_path):
    expected = [("fidelity.detection max 0.5", False), ("fidelity.pairs max 0.5", True)]
    assert outcome(tmp_path, '["fidelity.*"]\nmax = 0.5\n') == expected


def test_a_name_with_brackets_is_found_as_it_stands(tmp_path):
    assert outcome(tmp_path, '["a[1]"]\nmax = 1\n', report(score("a[1]", 0))) == [("a[1] max 1", True)]


def test_all_limits_are_checked_in_their_order(tmp_path):
    text = '["disclosure.attack"]\nmin = 0\nmax_high = 0.04\n["fidelity.*"]\nmax_excess = 0.1\n'
    assert outcome(tmp_path, text) == [
        ("disclosure.attack min 0", True),
        ("disclosure.attack max_high 0.04", False),
        ("fidelity.detection max_excess 0.1", False),
        ("fidelity.pairs max_excess 0.1", True),
    ]


@pytest.mark.parametrize(
    ("name", "key", "text"),
    [
        ("disclosure.attack", "max_excess", "disclosure.attack: there is no excess over fresh real records to compare"),
        ("fidelity.pairs", "min_low", "fidelity.pairs: there is no lower end of the interval to compare"),
        ("fidelity.pairs", "max_high", "fidelity.pairs: there is no upper end of the interval to compare"),
    ],
)
def test_what_a_score_does_not_have_is_not_met(name, key, text):
    (check,) = Gate((Limit(name, key, 1.0),), "gate.toml").check(REPORT)
    assert (check.passed, check.value, check.text) == (False, None, text)


@pytest.mark.parametrize("key", KEYS[:2])
def test_a_score_that_is_no_number_is_not_met(key):
    assert not Limit("a", key, 0.0).check(score("a", float("nan"))).passed


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fidelity.detecton", "did you mean 'fidelity.detection'?"),
        ("fidelity", "known: 'fidelity.detection'"),
        ("*.x", "known: 'fidelity.detection'"),
        ("Fidelity.pairs", "did you mean 'fidelity.pairs'?"),
    ],
)
def test_a_limit_that_names_no_score_is_an_error(tmp_path, name, hint):
    with pytest.raises(SynthgenError) as caught:
        outcome(tmp_path, f'["{name}"]\nmax = 1\n')
    assert str(caught.value).startswith(f"{tmp_path / 'gate.toml'}: the report has no score {name!r}; ")
    assert hint in str(caught.value) or name == "fidelity"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "sets no limit"),
        ("# nothing\n", "sets no limit"),
        ("[fidelity.detection]\n", "'fidelity.detection' sets no limit; keys are max, min, max_excess"),
        ("max = 1\n", "'max' belongs below a score's name"),
        ("[a]\nmaxx = 1\n", "'a' has an unknown key 'maxx'; did you mean 'max'?"),
        ("[a]\nmax_exces = 1\n", "did you mean 'max_excess'?"),
        ("[a]\nquite_different = 1\n", "known: 'max', 'min'"),
        ("[a.max]\nmax = {}\n", "'a.max.max' sets no limit"),
        ('[a]\nmax = "0.5"\n', "'a' max is '0.5'; give a number without quotes"),
        ("[a]\nmax = true\n", "'a' max is True; give a number"),
        ("[a]\nmax = [1]\n", "'a' max is [1]; give a number"),
        ("[a]\nmax = 2020-01-01\n", "give a number"),
        ("[a]\nmax = nan\n", "'a' max is no finite number"),
        ("[a]\nmax = -inf\n", "no finite number"),
        ("[a]\nmax = 1" + "0" * 400 + "\n", "no finite number"),
        ("[a]\nmax = 1" + "0" * 5000 + "\n", "is no TOML"),
        ("[[a]]\nmax = 1\n", "'a' belongs below"),
        ("[a]\nmax = 1\nmax = 2\n", "is no TOML"),
        ("[a\n", "is no TOML"),
        ("max: 1\n", "is no TOML"),
        ("a = " + "[" * 10_000, "is no TOML"),
        ("a" + ".a" * 5000 + " = 1", "is no TOML"),
        ('["a\\nb"]\nmaximum = 1\n', r"'a\nb' has an unknown key"),
    ],
)
def test_what_is_no_gate_is_told_in_one_line(tmp_path, text, told):
    with pytest.raises(SynthgenError) as caught:
        gate(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "gate.toml"))
    assert told in message
    assert "\n" not in message
    assert len(message) < 300
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(SynthgenError, match="cannot read the gate"):
        read_gate(tmp_path / "none.toml")
    with pytest.raises(SynthgenError, match="cannot read the gate"):
        read_gate(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe[a]")
    with pytest.raises(SynthgenError, match="is no TOML"):
        read_gate(tmp_path / "bytes.toml")


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path):
    (tmp_path / "gate.toml").write_bytes(b'\xef\xbb\xbf["a"]\r\nmax = 1\r\n')
    assert read_gate(str(tmp_path / "gate.toml")).limits == (Limit("a", "max", 1.0),)


def test_junit_has_a_case_for_each_check(tmp_path):
    checks = gate(tmp_path, '["fidelity.*"]\nmax_excess = 0.1\n').check(REPORT)
    root = ET.fromstring(junit(checks, REPORT, 1.5))
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    for element in (root, suite):
        counts = {key: element.get(key) for key in ("tests", "failures", "errors", "time")}
        assert counts == {"tests": "2", "failures": "1", "errors": "0", "time": "1.500"}
    failed, passed = suite.findall("testcase")
    assert failed.attrib == {
        "classname": "synthgen.fidelity.detection",
        "name": "fidelity.detection max_excess 0.1",
        "time": "0",
    }
    assert failed.find("failure").get("message") == failed.find("failure").text == checks[0].text
    assert passed.find("failure") is None
    assert passed.find("system-out").text == checks[1].text
    properties = {p.get("name"): p.get("value") for p in suite.find("properties")}
    assert properties == {"real": "train.csv: 100 records", "synthetic": "made.csv: 90 records"}


def test_junit_without_checks_tells_the_headlines():
    root = ET.fromstring(junit([], REPORT, 0.25))
    cases = root.findall(".//testcase")
    assert [case.get("name") for case in cases] == ["fidelity.detection", "disclosure.attack"]
    assert (root.get("tests"), root.get("failures")) == ("2", "0")
    told = cases[0].find("system-out").text
    assert told == "value 0.612, low 0.58, high 0.64, fresh real records 0.5 (what it is)"


@given(st.text(st.characters(), max_size=30))
def test_junit_is_well_formed_whatever_the_names(name):
    check = Check(name, f"{name} max 1", 2.0, False, f"{name}: value 2 is above 1")
    setup = Setup("table", (name, 1), (name, 1), None, "")
    text = junit([check], Report(setup, ()), 0.0)
    root = ET.fromstring(text.encode("utf-8"))
    kept = "".join(c for c in name if c.isprintable() and c not in "\ufffe\uffff")
    told = root.find(".//testcase").get("name")
    assert set(kept) <= set(told)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in told)


def test_a_failed_gate_has_its_exit_code():
    assert issubclass(GateFailed, SynthgenError)
    assert GateFailed("2 of 3 thresholds failed").exit_code == 5
