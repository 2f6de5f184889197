import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synthgen.data import as_table
from synthgen.errors import SynthgenError
from synthgen.formats import DateFormat, NumberFormat
from synthgen.rules import Rule
from synthgen.schema import MAX_COLUMNS, Column, Dialect, Schema, infer_schema

WORDS = ["amber", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel", "ivy", "juniper"]


def infer(cells, name="x", dialect=None, declared=None):
    return infer_schema(pa.table({name: cells}), dialect, declared)[name]


def declare(cells, **fields):
    return infer(cells, declared=Schema(columns=(Column(name="x", **fields),)))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1.5", "2.25", "1.5"], "numeric"),
        (["$5", "$7", "$5"], "numeric"),
        (["1", "2", "3"], "numeric"),
        (["red", "green", "red"], "categorical"),
        (["00123", "00456", "00123"], "categorical"),
        (["yes", "no", "yes"], "boolean"),
        (["True", "False", "True"], "boolean"),
        (["Y", "N", "N"], "boolean"),
        (["0", "1", "1"], "boolean"),
        (["on", "off", ""], "boolean"),
        (["2020-01-01", "2020-01-02"], "datetime"),
        (["12:30", "23:59", "00:00"], "datetime"),
        ([f"202001{day:02}" for day in range(1, 20)], "datetime"),
        ([f"k{i:03}" for i in range(50)], "id"),
        (WORDS, "id"),
        ([f"{w} {v}" for w in WORDS for v in WORDS], "text"),
        ([f"the {w} by the {v}" for w in WORDS for v in WORDS[:6]] * 9, "text"),
        ([f"{w} {v}" for w in WORDS for v in WORDS[:6]] * 9, "categorical"),
        (["same"] * 9, "constant"),
        (["7"] * 9, "constant"),
        (["", "", ""], "empty"),
        (["1e400", "2"], "numeric"),
        (["inf", "2"], "numeric"),
    ],
)
def test_kinds_of_text(cells, kind):
    assert infer(cells).kind == kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array([0.5, 1.5, None]), "numeric"),
        (pa.array([3, 1, 2, 2]), "numeric"),
        (pa.array([1.5], pa.float32()), "numeric"),
        (pa.array([Decimal("1.25"), Decimal("2.50")]), "numeric"),
        (pa.array([True, False, None]), "boolean"),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "categorical"),
        (pa.array([1, 2, 1]).dictionary_encode(), "categorical"),
        (pa.array([0, 1], pa.timestamp("ns")), "datetime"),
        (pa.array([0, 1], pa.timestamp("s", "UTC")), "datetime"),
        (pa.array([0, 1], pa.date32()), "datetime"),
        (pa.array(range(100, 150)), "id"),
        (pa.array(["red", "blue", "red"], pa.large_string()), "categorical"),
        (pa.nulls(3), "empty"),
        (pa.nulls(3, pa.float64()), "empty"),
    ],
)
def test_kinds_of_typed_columns(cells, kind):
    column = infer(cells)
    assert column.kind == kind
    assert column.dtype == str(cells.type)


@pytest.mark.parametrize(
    ("name", "numbers", "kind"),
    [
        ("x", range(10), "id"),
        ("x", range(9), "numeric"),
        ("x", [2 * i for i in range(50)], "numeric"),
        ("user_id", [2 * i for i in range(50)], "id"),
        ("userId", [2 * i for i in range(50)], "id"),
        ("bid", [2 * i for i in range(50)], "numeric"),
        ("paid", [2 * i for i in range(50)], "numeric"),
        ("x", [10**9 + 7 * i for i in range(50)], "id"),
        ("customer_id", [1000 + 7 * (i // 2) for i in range(50)], "id"),
        ("customer_id", [i // 2 for i in range(50)], "numeric"),
        ("x", [1000 + 7 * (i // 2) for i in range(50)], "numeric"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_integers_that_are_ids(name, numbers, kind, as_text):
    numbers = list(numbers)
    assert infer(list(map(str, numbers)) if as_text else numbers, name).kind == kind


def test_na_in_a_country_column_is_namibia():
    column = infer(["NA", "DE", "FR", "NA", ""])
    assert column.kind == "categorical"
    assert column.missing == ("",)


def test_na_in_a_numeric_column_is_missing():
    column = infer(["1.5", "NA", "2.0", "NA", ""])
    assert column.kind == "numeric"
    assert column.missing == ("NA", "")


def test_na_in_a_date_column_is_missing():
    column = infer(["2020-01-01", "NA", "2020-05-01"])
    assert (column.kind, column.missing) == ("datetime", ("NA",))


def test_the_most_frequent_marker_of_missing_comes_first():
    assert infer(["1.5", "NA", "", "", "?", "?", "?"]).missing == ("?", "", "NA")


def test_no_missing_cells_no_markers():
    assert infer(["1.5", "2.5"]).missing == ()
    assert infer(pa.array([1.5, 2.5])).missing == ()


def test_one_value_and_empty_cells_are_not_constant():
    column = infer(["yes", "", "yes"])
    assert (column.kind, column.missing) == ("categorical", ("",))


def test_numbers_remember_how_they_are_written():
    assert infer(["1,234.50", "7.25"]).number == NumberFormat(group=",", decimals=(2, 2))


@pytest.mark.parametrize(("delimiter", "form"), [(",", {"group": ","}), (";", {"point": ",", "decimals": (3, 3)})])
def test_the_delimiter_settles_a_comma(delimiter, form):
    cells = ["1,234", "5,678", "1,234"]
    assert infer(cells, dialect=Dialect(delimiter=delimiter)).number == NumberFormat(**form)


def test_dates_remember_how_they_are_written():
    assert infer(["01.02.2020", "03.04.2021"]).date == DateFormat(pattern="%d.%m.%Y")


def test_pandas_dtypes_are_remembered():
    frame = pd.DataFrame({"a": pd.Categorical(["x", "y", "x"]), "b": np.array([1, 2, 2], dtype="int8")})
    schema = as_table(frame).schema
    assert [(c.kind, c.pandas) for c in schema.columns] == [("categorical", "category"), ("numeric", "int8")]


def test_a_type_that_is_not_modelled_is_an_error_that_says_how_to_go_on():
    with pytest.raises(SynthgenError, match=r"column 'x' has type list<.*--drop x"):
        infer(pa.array([[1], [2]]))


def test_too_many_columns_are_an_error():
    table = pa.table({f"c{i}": [1] for i in range(MAX_COLUMNS + 1)})
    with pytest.raises(SynthgenError, match="1001 columns, at most 1000"):
        infer_schema(table)


def test_the_order_of_the_rows_does_not_matter_to_what_a_column_is():
    cells = ["$12", "12", "$7", "NA", "3"]
    assert infer(cells).kind == infer(cells[::-1]).kind


def test_a_declared_kind_wins():
    assert declare(["1", "2", "3"], kind="categorical").kind == "categorical"
    assert declare(["0", "1", "1"], kind="numeric").number == NumberFormat()


def test_a_declared_column_is_completed_by_how_its_cells_are_written():
    column = declare(["1.50", "NA", "2.25"], kind="numeric", minimum=0)
    assert (column.minimum, column.missing, column.number) == (0, ("NA",), NumberFormat(decimals=(2, 2)))


def test_declared_missing_texts_win():
    column = declare(["1.5", "-999", "2.5"], kind="numeric", missing=("-999",))
    assert column.missing == ("-999",)
    assert declare(["a", "", "b"], kind="categorical", missing=()).missing == ()


def test_a_declared_number_format_is_found_though_some_cells_are_none():
    column = declare(["1.50", "oops", "2.25"], kind="numeric")
    assert column.number == NumberFormat(decimals=(2, 2))


def test_the_declared_schema_may_leave_columns_out():
    table = pa.table({"a": ["1", "2", "2"], "b": ["x", "y", "x"]})
    schema = infer_schema(table, declared=Schema(columns=(Column(name="a", kind="categorical"),)))
    assert [c.kind for c in schema.columns] == ["categorical", "categorical"]
    assert schema.names == ["a", "b"]


def test_a_declared_column_that_is_not_there_is_an_error():
    with pytest.raises(SynthgenError, match="did you mean 'income'"):
        infer_schema(pa.table({"income": [1]}), declared=Schema(columns=(Column(name="incme", kind="numeric"),)))


def test_json_round_trip_of_everything():
    schema = Schema(
        columns=(
            Column(
                name="a", kind="numeric", minimum=0, maximum=9.5, missing=("", "NA"), number=NumberFormat(prefix="$")
            ),
            Column(name="b", kind="datetime", minimum="2020-01-01", date=DateFormat(pattern="%Y-%m-%d", suffix="Z")),
            Column(name="ü,ß", kind="categorical", categories=("x", "y"), dtype="string", pandas="category"),
        ),
        rules=("combinations: ü,ß, a",),
        csv=Dialect(delimiter=";", space=True, newline="\r\n"),
    )
    assert Schema.from_json(schema.to_json()) == schema


def test_json_of_an_inferred_schema_shows_what_can_be_declared():
    schema = infer_schema(pa.table({"n": ["1.5", "2"], "c": ["a", "b"], "i": ["k", ""]}))
    columns = json.loads(schema.to_json())["columns"]
    assert columns[0]["minimum"] is None
    assert columns[1]["categories"] is None
    assert "minimum" not in columns[1]
    assert Schema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no schema"),
        ("{}", "does not begin with"),
        ('{"synthgen_schema": 2, "columns": []}', "is no schema"),
        ('{"synthgen_schema": 1}', "columns: Field required"),
        ('{"synthgen_schema": 1, "columns": [{"name": "a"}]}', r"columns\.0\.kind: Field required"),
        ('{"synthgen_schema": 1, "columns": [{"name": "a", "kind": "number"}]}', r"columns\.0\.kind: .*'numeric'"),
        ('{"synthgen_schema": 1, "columns": [], "extra": 1}', "extra: Extra inputs"),
        ('{"synthgen_schema": 1, "columns": [{"name": "a", "kind": "id", "minimum": 1}]}', "'a' is id: only numbers"),
        ('{"synthgen_schema": 1, "columns": [{"name": "a", "kind": "id", "categories": []}]}', "only categorical"),
        ('{"synthgen_schema": 1, "columns": [], "rules": ["a <= b"]}', "there are none"),
        ('{"synthgen_schema": 1, "columns": [{"name": "ab", "kind": "id"}], "rules": ["abc < ab"]}', "mean 'ab'"),
        ('{"synthgen_schema": 1, "columns": [], "rules": ["a is b"]}', "'a is b' is no rule"),
        (json.dumps({"synthgen_schema": 1, "columns": [{"name": "a", "kind": "id"}] * 2}), "'a' is listed twice"),
    ],
)
def test_a_bad_schema_file_is_an_error_that_helps(text, told):
    with pytest.raises(SynthgenError, match=told) as caught:
        Schema.from_json(text, "my.json")
    assert str(caught.value).startswith("my.json")


def test_an_order_between_labels_is_refused():
    columns = (Column(name="a", kind="numeric"), Column(name="b", kind="categorical"))
    with pytest.raises(ValueError, match="'b'"):
        Schema(columns=columns, rules=("a <= b",))


@pytest.mark.parametrize(
    ("text", "columns", "strict"),
    [
        ("start <= end", ("start", "end"), False),
        ("start < end", ("start", "end"), True),
        ("end >= start", ("start", "end"), False),
        ("end > start", ("start", "end"), True),
        ("start<=end", ("start", "end"), False),
        ("first day <= last day", ("first day", "last day"), False),
    ],
)
def test_order_rules(text, columns, strict):
    assert Rule.parse(text, columns) == Rule(text, "order", columns, strict)


@pytest.mark.parametrize(
    ("names", "columns"),
    [("a, b", ("a", "b")), ("a,b, c", ("a", "b", "c")), ("x, y, b", ("x, y", "b")), ("b, x, y", ("b", "x, y"))],
)
def test_combination_rules(names, columns):
    rule = Rule.parse(f"combinations: {names}", ["a", "b", "c", "x, y"])
    assert (rule.kind, rule.columns) == ("combinations", columns)


def test_an_order_rule_may_name_columns_that_hold_operators():
    assert Rule.parse("a<b <= c", ["a<b", "c"]).columns == ("a<b", "c")


@pytest.mark.parametrize("text", ["", "a", "a == b", "combinations: a", "combinations:", "<= b"])
def test_what_is_no_rule(text):
    with pytest.raises(ValueError, match="is no rule"):
        Rule.parse(text, ["a", "b"])


def test_drop_takes_the_rules_of_a_column_with_it():
    columns = tuple(Column(name=n, kind="numeric") for n in "abc")
    schema = Schema(columns=columns, rules=("a <= b", "b <= c"), csv=Dialect(delimiter=";"))
    dropped = schema.drop(["a"])
    assert (dropped.names, dropped.rules, dropped.csv) == (["b", "c"], ("b <= c",), schema.csv)
    assert schema.drop([]) == schema


def test_dropping_an_unknown_column_is_an_error():
    schema = Schema(columns=(Column(name="income", kind="numeric"),))
    with pytest.raises(SynthgenError, match="no column 'incom'; did you mean 'income'"):
        schema.drop(["incom"])


def test_a_number_of_as_many_digits_as_needed_stays_one_in_a_file():
    number = NumberFormat(decimals=None)
    schema = Schema(columns=(Column(name="x", kind="numeric", number=number),))
    assert Schema.from_json(schema.to_json())["x"].number == number
