import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.formats import PATTERNS, DateFormat, NumberFormat, find_date_format, find_number_format

exactly = settings(deadline=None, max_examples=60, derandomize=True)
CUTS = {"D": timedelta(days=1), "s": timedelta(seconds=1), "us": timedelta(microseconds=1)}


def parse(form, texts):
    return form.parse(pa.array(texts, pa.string()))


def again(form, texts):
    return form.render(parse(form, texts)).to_pylist()


def units(moment, unit):
    return (moment - datetime(1970, 1, 1)) // CUTS[unit]


@pytest.mark.parametrize(
    ("texts", "values", "decimals"),
    [
        (["0", "7", "-12", "1000000"], [0, 7, -12, 1e6], (0, 0)),
        (["1.50", "-0.25", "10.00"], [1.5, -0.25, 10], (2, 2)),
        (["1.5", "2.25", "3.0"], [1.5, 2.25, 3], (1, 2)),
        (["1", "2.25", "3.5"], [1, 2.25, 3.5], (0, 2)),
        (["1e-07", "2.5E3", "3"], [1e-7, 2500, 3], None),
        (["0.1", "0.12345678901234567"], [0.1, 0.12345678901234567], None),
    ],
)
def test_plain_numbers(texts, values, decimals):
    form = find_number_format(texts)
    assert form == NumberFormat(decimals=decimals)
    assert parse(form, texts).tolist() == values


@pytest.mark.parametrize(
    ("texts", "values", "fields"),
    [
        (["1,234", "56", "1,234,567"], [1234, 56, 1234567], {"group": ","}),
        (["1,234.5", "0.25"], [1234.5, 0.25], {"group": ","}),
        (["1'234", "12'345'678.5"], [1234, 12345678.5], {"group": "'"}),
        (["1 234", "12 345 678"], [1234, 12345678], {"group": " "}),
        (["1.234,5", "1.234.567,25"], [1234.5, 1234567.25], {"group": ".", "point": ","}),
        (["0,5", "-12,75"], [0.5, -12.75], {"point": ","}),
        (["$12", "-$3.50", "$0.25"], [12, -3.5, 0.25], {"prefix": "$"}),
        (["$1,234.50", "$7.00"], [1234.5, 7], {"prefix": "$", "group": ","}),
        (["€5", "€6"], [5, 6], {"prefix": "€"}),
        (["45%", "-3.5%"], [45, -3.5], {"suffix": "%"}),
        (["45 %", "7 %"], [45, 7], {"suffix": " %"}),
        (["1,50 €", "2,25 €"], [1.5, 2.25], {"suffix": " €", "point": ","}),
        (["5€", "6€"], [5, 6], {"suffix": "€"}),
    ],
)
def test_groups_commas_and_affixes(texts, values, fields):
    form = find_number_format(texts)
    assert {k: v for k, v in form.model_dump(exclude_defaults=True).items() if k != "decimals"} == fields
    assert parse(form, texts).tolist() == values


@pytest.mark.parametrize(("comma", "value"), [(False, 1234), (True, 1.234)])
def test_the_delimiter_of_the_file_settles_an_ambiguous_comma(comma, value):
    form = find_number_format(["1,234", "5,678"], decimal_comma=comma)
    assert parse(form, ["1,234"]).tolist() == [value]


@pytest.mark.parametrize(
    "texts",
    [
        ["00123", "00456"],
        ["12", "007"],
        ["12", "x"],
        ["1,23,456"],
        ["12 34"],
        ["0x10"],
        ["1_000"],
        ["1.2.3"],
        ["--3"],
        [""],
        ["-"],
        ["."],
        ["1,2345", "1.5"],
        ["$5", "€5"],
        ["e5"],
        ["1e"],
        ["٣"],
        ["½"],
        ["true"],
        [],
    ],
)
def test_what_is_no_column_of_numbers(texts):
    assert find_number_format(texts) is None


@pytest.mark.parametrize("texts", [["$12", "12"], ["12", "$12"], ["45%", "45"], ["45", "45%"]])
def test_an_affix_must_be_written_in_every_cell(texts):
    assert find_number_format(texts) is None


def test_an_infinite_cell_does_not_hide_that_the_others_are_numbers():
    form = find_number_format(["1.5", "inf", "-Infinity"])
    assert form == NumberFormat(decimals=(1, 1))
    assert np.isinf(parse(form, ["inf", "-Infinity"])).all()


def test_infinite_cells_alone_are_no_numbers():
    assert find_number_format(["inf", "-inf"]) is None


def test_a_number_too_large_for_a_float_is_infinite():
    assert np.isinf(parse(NumberFormat(decimals=None), ["1e400"])).all()


def test_parse_gives_nan_for_other_text_and_for_null():
    assert np.isnan(parse(NumberFormat(), ["x", "", "007", "1e", None])).all()


def test_render_gives_null_for_nan():
    assert NumberFormat(decimals=(1, 1)).render(np.array([1.5, np.nan])).to_pylist() == ["1.5", None]


def test_render_of_nothing():
    assert NumberFormat().render(np.array([])).to_pylist() == []
    assert DateFormat(pattern="%Y-%m-%d").render(np.array([])).to_pylist() == []


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (NumberFormat(), 3.4, "3"),
        (NumberFormat(), -0.2, "0"),
        (NumberFormat(decimals=(2, 2)), 1.5, "1.50"),
        (NumberFormat(decimals=(1, 3)), 2.0, "2.0"),
        (NumberFormat(decimals=(0, 3)), 2.0, "2"),
        (NumberFormat(decimals=(0, 3)), 120.0, "120"),
        (NumberFormat(group=","), -1234567.0, "-1,234,567"),
        (NumberFormat(group=",", decimals=(4, 4)), 1234.5678, "1,234.5678"),
        (NumberFormat(group=".", point=",", decimals=(2, 2)), 1234.5, "1.234,50"),
        (NumberFormat(prefix="$", group=",", decimals=(2, 2)), -1234.5, "-$1,234.50"),
        (NumberFormat(suffix="%", decimals=(1, 1)), 12.0, "12.0%"),
    ],
)
def test_render_by_hand(form, value, text):
    assert form.render(np.array([value])).to_pylist() == [text]


def test_render_writes_a_huge_float_in_full():
    assert NumberFormat(decimals=(2, 2)).render(np.array([1e40])).to_pylist() == [f"{int(1e40)}.00"]


@exactly
@given(
    numbers=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20),
    digits=st.integers(0, 3),
    group=st.sampled_from(["", ",", "'", " ", "."]),
    affix=st.sampled_from([("", ""), ("$", ""), ("€", ""), ("", "%"), ("", " %"), ("", " €")]),
)
def test_numbers_come_back_as_they_were_written(numbers, digits, group, affix):
    point = "," if group == "." else "."
    texts = []
    for number in numbers:
        whole, rest = divmod(abs(number), 10**digits)
        body = f"{whole:,}".replace(",", group) + (point + f"{rest:0{digits}}" if digits else "")
        texts.append("-" * (number < 0) + affix[0] + body + affix[1])
    form = NumberFormat(decimals=(digits, digits), point=point, group=group, prefix=affix[0], suffix=affix[1])
    assert parse(form, texts).tolist() == [n / 10**digits for n in numbers]
    assert again(form, texts) == texts


@exactly
@given(
    numbers=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20, unique=True),
    digits=st.integers(0, 3),
    affix=st.sampled_from([("", ""), ("$", ""), ("£", ""), ("", "%"), ("", " €")]),
)
def test_a_found_format_writes_what_it_read(numbers, digits, affix):
    texts = []
    for number in numbers:
        whole, rest = divmod(abs(number), 10**digits)
        body = f"{whole}" + (f".{rest:0{digits}}" if digits else "")
        texts.append("-" * (number < 0) + affix[0] + body + affix[1])
    assert again(find_number_format(texts), texts) == texts


@exactly
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_come_back_exactly(numbers):
    form = NumberFormat(decimals=None)
    assert parse(form, form.render(np.array(numbers)).to_pylist()).tolist() == numbers


@exactly
@given(st.text(alphabet="0123456789.,'- +eE$%", max_size=8))
def test_what_is_found_to_be_a_number_is_one(text):
    form = find_number_format([text])
    assert form is None or not math.isnan(parse(form, [text])[0])


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_every_pattern_is_found_read_and_written(pattern):
    start = datetime(1999, 12, 13, 23, 50, 7, 120034)
    moments = [start + i * timedelta(days=17, hours=5, minutes=13, seconds=11) for i in range(25)]
    texts = sorted({m.strftime(pattern) for m in moments})
    form = find_date_format(texts)
    assert (form.pattern, form.unit, form.suffix, form.padded) == (pattern, PATTERNS[pattern], "", True)
    if "%Y" in pattern:
        expected = [units(datetime.strptime(t, pattern), form.unit) for t in texts]
        assert parse(form, texts).tolist() == expected
    assert again(form, texts) == texts


@pytest.mark.parametrize(
    ("texts", "pattern", "days"),
    [
        (["1/2/2020", "11/30/2021"], "%m/%d/%Y", [date(2020, 1, 2), date(2021, 11, 30)]),
        (["1/2/2020", "30/11/2021"], "%d/%m/%Y", [date(2020, 2, 1), date(2021, 11, 30)]),
        (["1.2.2020", "30.11.2021"], "%d.%m.%Y", [date(2020, 2, 1), date(2021, 11, 30)]),
        (["1/2/05", "11/30/19"], "%m/%d/%y", [date(2005, 1, 2), date(2019, 11, 30)]),
        (["2020-1-2", "2021-11-30"], "%Y-%m-%d", [date(2020, 1, 2), date(2021, 11, 30)]),
        (["2 Jan 2020", "30 Nov 2021"], "%d %b %Y", [date(2020, 1, 2), date(2021, 11, 30)]),
        (["2000-1-1", "2010-10-20"], "%Y-%m-%d", [date(2000, 1, 1), date(2010, 10, 20)]),
    ],
)
def test_unpadded_dates(texts, pattern, days):
    form = find_date_format(texts)
    assert (form.pattern, form.padded) == (pattern, False)
    assert parse(form, texts).tolist() == [(d - date(1970, 1, 1)).days for d in days]
    assert again(form, texts) == texts


@pytest.mark.parametrize(
    "texts", [["1/2/2020 09:05:00", "11/30/2021 10:00:07"], ["1/2/2020 00:00", "12/31/2020 23:59"]]
)
def test_unpadded_dates_with_padded_times(texts):
    form = find_date_format(texts)
    assert not form.padded
    assert again(form, texts) == texts


@pytest.mark.parametrize(
    ("texts", "pattern"),
    [
        (["01/02/2020", "03/04/2021"], "%m/%d/%Y"),
        (["01/02/2020", "13/04/2021"], "%d/%m/%Y"),
        (["01/02/2020", "03/14/2021"], "%m/%d/%Y"),
        (["01.02.2020", "03.04.2021"], "%d.%m.%Y"),
        (["01-02-2020", "03-04-2021"], "%d-%m-%Y"),
        (["01/02/20", "03/04/21"], "%m/%d/%y"),
        (["2020-01-02", "2021-03-04"], "%Y-%m-%d"),
    ],
)
def test_ambiguous_dates(texts, pattern):
    assert find_date_format(texts).pattern == pattern


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+0530", "-08:00"])
def test_a_zone_that_all_cells_share_is_kept(zone):
    texts = [f"2020-02-29T12:30:{s}{zone}" for s in ("00", "59")]
    form = find_date_format(texts)
    assert (form.pattern, form.suffix) == ("%Y-%m-%dT%H:%M:%S", zone)
    assert parse(form, texts).tolist() == [units(datetime(2020, 2, 29, 12, 30, s), "s") for s in (0, 59)]
    assert again(form, texts) == texts


def test_a_cell_without_the_shared_zone_is_no_date():
    form = DateFormat(pattern="%Y-%m-%dT%H:%M", unit="s", suffix="Z")
    assert np.isnan(parse(form, ["2020-01-01T00:00"])).all()


@pytest.mark.parametrize(
    "texts",
    [
        ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00+01:00"],
        ["2020-01-01", "2020-13-01"],
        ["2020-02-30"],
        ["2020-01-01", "01/02/2020"],
        ["2020-01-01", "2020-1-2 "],
        ["31/04/2020"],
        ["01/13/2020", "13/01/2020"],
        ["25:00"],
        ["hello"],
        ["12"],
        ["2020"],
        ["1.5"],
        [""],
    ],
)
def test_what_is_no_column_of_dates(texts):
    assert find_date_format(texts) is None


def test_mixed_padding_is_no_date():
    assert find_date_format(["01/02/2020", "1/3/2020"]) is None


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([f"202001{day:02}" for day in range(1, 13)], True),
        ([f"202001{day:02}" for day in range(1, 5)], False),
        ([f"302001{day:02}" for day in range(1, 13)], False),
        ([f"202013{day:02}" for day in range(1, 13)], False),
        ([str(20200101 + i) for i in range(40)], False),
    ],
)
def test_eight_digits_are_a_day_only_where_plausible(texts, found):
    form = find_date_format(texts)
    assert (form is not None) is found
    assert form is None or form.pattern == "%Y%m%d"


def test_dates_render_nan_as_null():
    form = DateFormat(pattern="%d.%m.%Y")
    assert form.render(np.array([0, np.nan, 31])).to_pylist() == ["01.01.1970", None, "01.02.1970"]


def test_dates_parse_null_as_nan():
    assert np.isnan(parse(DateFormat(pattern="%Y-%m-%d"), [None, "2020-01-01"])).tolist() == [True, False]


def test_dates_before_1970_count_below_zero():
    form = DateFormat(pattern="%Y-%m-%d")
    assert parse(form, ["1969-12-31", "1900-01-01"]).tolist() == [-1, -25567]
    assert again(form, ["1969-12-31", "1900-01-01"]) == ["1969-12-31", "1900-01-01"]


def test_microseconds_are_exact():
    form = DateFormat(pattern="%Y-%m-%d %H:%M:%S.%f", unit="us")
    moment = datetime(2038, 1, 19, 3, 14, 7, 654321, tzinfo=UTC)
    assert parse(form, ["2038-01-19 03:14:07.654321"]).tolist() == [moment.timestamp() // 1 * 10**6 + 654321]


@exactly
@given(
    pattern=st.sampled_from(sorted(p for p in PATTERNS if "%y" not in p)),
    moments=st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=20),
    suffix=st.sampled_from(["", "Z", "+01:00"]),
)
def test_dates_come_back_as_they_were_written(pattern, moments, suffix):
    texts = [m.strftime(pattern) + suffix for m in moments]
    form = DateFormat(pattern=pattern, unit=PATTERNS[pattern], suffix=suffix)
    assert again(form, texts) == texts


@exactly
@given(
    pattern=st.sampled_from(sorted(p for p in PATTERNS if "%Y" in p and p != "%Y%m%d")),
    moments=st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=20, unique=True),
)
def test_a_found_date_format_writes_what_it_read(pattern, moments):
    texts = sorted({m.strftime(pattern) for m in moments})
    assert again(find_date_format(texts), texts) == texts


@exactly
@given(days=st.lists(st.dates(date(1700, 1, 1), date(2200, 1, 1)), min_size=1, max_size=20, unique=True))
def test_unpadded_days_come_back(days):
    texts = [f"{d.day}.{d.month}.{d.year}" for d in days]
    assert again(find_date_format(texts), texts) == texts
