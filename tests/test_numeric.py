import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.codec.numeric import Numeric, fit_numeric
from synthgen.codec.rare import UNKNOWN
from synthgen.errors import SynthgenError
from synthgen.formats import DateFormat, NumberFormat
from synthgen.schema import Column

exactly = settings(deadline=None, max_examples=60, derandomize=True)
REAL = Column(name="x", kind="numeric", number=NumberFormat(decimals=None))
FRACTIONS = [0.0, 1e-12, 0.25, 0.5, 0.75, 1 - 1e-12, 1.0]

finite = st.floats(-1e15, 1e15, allow_nan=False)
cells = st.one_of(
    finite,
    st.sampled_from([0.0, 1.0, -1.0, 0.1, 1e-300, 1e15, float("nan")]),
    st.integers(-3, 12).map(float),
    st.floats(0, 30).map(np.exp),
)


@st.composite
def columns(draw):
    """Some distinct values, each held by some records."""
    values = draw(st.lists(cells, min_size=1, max_size=40))
    counts = draw(st.lists(st.integers(1, 12), min_size=len(values), max_size=len(values)))
    x = np.repeat(values, counts)
    return x if not np.isnan(x).all() else np.append(x, 1.0)


def everything(codec):
    """All codes at all fractions."""
    codes = np.repeat(np.arange(codec.size), len(FRACTIONS))
    return codes, np.tile(FRACTIONS, codec.size)


def number(decimals, **bounds):
    return Column(name="x", kind="numeric", number=NumberFormat(decimals=(decimals, decimals)), **bounds)


@exactly
@given(x=columns(), cap=st.sampled_from([2, 3, 5, 32, 1000]), keep_rare=st.booleans())
def test_codes_are_in_range_and_no_more_than_the_cap(x, cap, keep_rare):
    codec = fit_numeric(x, REAL, cap, keep_rare)
    codes = codec.encode(x)
    assert 1 <= codec.size <= cap
    assert ((codes >= 0) & (codes < codec.size)).all()


@exactly
@given(x=columns(), cap=st.sampled_from([2, 5, 1000]), keep_rare=st.booleans(), decimals=st.sampled_from([None, 0, 2]))
def test_a_decoded_value_has_the_code_it_came_from(x, cap, keep_rare, decimals):
    column = REAL if decimals is None else number(decimals)
    codec = fit_numeric(x if decimals is None else np.round(x, decimals), column, cap, keep_rare)
    codes, fraction = everything(codec)
    assert codec.encode(codec.decode(codes, fraction)).tolist() == codes.tolist()


@exactly
@given(x=columns())
def test_missing_cells_have_code_zero_and_come_back_missing(x):
    codec = fit_numeric(x, REAL)
    codes = codec.encode(x)
    assert codec.nullable == np.isnan(x).any()
    assert ((codes == 0) == np.isnan(x)).all() or not codec.nullable
    assert (np.isnan(codec.decode(codes, np.full(len(x), 0.5))) == np.isnan(x)).all()


@exactly
@given(x=columns())
def test_masses_are_the_shares_of_the_records(x):
    codec = fit_numeric(x, REAL, keep_rare=True)
    shares = np.bincount(codec.encode(x), minlength=codec.size) / len(x)
    assert codec.masses.sum() == pytest.approx(1, abs=1e-12)
    assert codec.masses == pytest.approx(shares, abs=1e-12)


@exactly
@given(x=columns(), keep_rare=st.booleans())
def test_an_atom_comes_back_exactly(x, keep_rare):
    codec = fit_numeric(x, REAL, keep_rare=keep_rare)
    atoms = np.array(codec.low)[np.equal(codec.low, codec.high)]
    values = np.intersect1d(x, atoms)
    assert codec.decode(codec.encode(values), np.full(len(values), 0.3)).tolist() == values.tolist()


@exactly
@given(x=columns(), seed=st.integers(0, 99))
def test_a_score_gives_its_code_back(x, seed):
    codec = fit_numeric(x, REAL)
    codes = codec.encode(x)
    back, fraction = codec.unscore(codec.score(x, codes, np.random.default_rng(seed)))
    assert back.tolist() == codes.tolist()
    assert ((fraction >= 0) & (fraction <= 1)).all()


@exactly
@given(x=columns(), scores=st.lists(st.floats(-40, 40), min_size=1, max_size=20))
def test_any_score_is_a_value(x, scores):
    codec = fit_numeric(x, REAL)
    codes, fraction = codec.unscore(np.array(scores))
    values = codec.decode(codes, fraction)
    assert not np.isinf(values).any()
    assert codec.encode(values).tolist() == codes.tolist()


@exactly
@given(x=columns())
def test_the_state_is_json(x):
    codec = fit_numeric(x, REAL)
    assert Numeric.model_validate(json.loads(json.dumps(codec.model_dump(mode="json")))) == codec


@pytest.mark.parametrize("draw", ["uniform", "exponential", "standard_cauchy"])
def test_a_codec_and_the_one_read_from_its_state_decode_alike(draw):
    codec = fit_numeric(getattr(np.random.default_rng(8), draw)(size=500), REAL)
    again = Numeric.model_validate(codec.model_dump(mode="json"))
    codes, fraction = everything(codec)
    assert again.decode(codes, fraction).tolist() == codec.decode(codes, fraction).tolist()


def test_an_outer_interval_ends_at_a_mean_of_five_values():
    x = np.random.default_rng(3).uniform(size=1000)
    codec = fit_numeric(x, REAL)
    values = codec.decode(*everything(codec))
    assert values.min() >= np.sort(x)[:5].mean()
    assert values.max() <= np.sort(x)[-5:].mean()


@exactly
@given(x=columns())
def test_the_order_of_the_records_does_not_matter(x):
    same = fit_numeric(x[::-1].copy(), REAL).model_dump(exclude={"spread"})
    assert same == fit_numeric(x, REAL).model_dump(exclude={"spread"})


@pytest.mark.parametrize("cap", [8, 100, 1000])
@pytest.mark.parametrize("draw", ["normal", "lognormal", "standard_cauchy", "poisson", "uniform"])
def test_a_sample_of_codes_is_distributed_like_the_column(draw, cap):
    rng = np.random.default_rng(0)
    x = getattr(rng, draw)(size=5000)
    codec = fit_numeric(x, REAL, cap)
    made = codec.decode(*codec.unscore(rng.standard_normal(20_000)))
    grid = np.quantile(x, np.linspace(0.01, 0.99, 99))
    share = [np.searchsorted(np.sort(s), grid, side="right") / len(s) for s in (x, made)]
    assert np.abs(share[0] - share[1]).max() < 0.03 + 1 / cap


def test_scores_of_a_column_are_normal():
    x = np.random.default_rng(1).exponential(size=4000)
    codec = fit_numeric(x, REAL)
    scores = codec.score(x, codec.encode(x), np.random.default_rng(2))
    assert abs(scores.mean()) < 0.02
    assert abs(scores.std() - 1) < 0.02


def test_a_constant_is_one_atom():
    codec = fit_numeric(np.full(9, 3.5), REAL)
    assert (codec.low, codec.high, codec.size) == ([3.5], [3.5], 1)
    assert codec.decode(np.zeros(3, dtype=int), np.array([0, 0.5, 1])).tolist() == [3.5] * 3


def test_few_values_of_many_records_are_atoms():
    codec = fit_numeric(np.repeat([1.0, 2.0, 10.0], [5, 50, 20]), REAL)
    assert codec.low == codec.high == [1, 2, 10]
    assert codec.masses.tolist() == pytest.approx([5 / 75, 50 / 75, 20 / 75])


def test_values_of_a_thousandth_of_the_records_are_atoms_even_among_few_cells():
    common = 100.0 * np.arange(1, 31)
    x = np.concatenate([np.zeros(9_000), np.repeat(common, 12), np.random.default_rng(0).uniform(0, 3100, 640)])
    codec = fit_numeric(x, REAL, 64)
    assert {(v, v) for v in common} <= set(zip(codec.low, codec.high, strict=True))
    assert codec.size <= 64


def test_an_atom_off_the_grid_comes_back_exactly():
    x = np.append(np.arange(1000) % 20 * 10.0, np.full(6, 37.99))
    codec = fit_numeric(x, number(2))
    assert codec.step == 10
    assert codec.decode(codec.encode(np.array([37.99])), np.array([0.5])).tolist() == [37.99]


def test_large_whole_numbers_stay_whole():
    codec = fit_numeric(np.arange(50) * 3.6e9, REAL)
    values = codec.decode(*everything(codec))
    assert (values == np.round(values)).all()


def test_few_records_are_one_cell():
    codec = fit_numeric(np.array([1.0, 2.0, 4.0]), REAL)
    assert codec.size == 1


def test_rare_values_are_kept_where_that_is_asked_for():
    codec = fit_numeric(np.array([1.0, 2.0, 4.0]), REAL, keep_rare=True)
    assert codec.low == codec.high == [1, 2, 4]


def test_rare_extremes_are_not_the_ends_of_the_outer_cells():
    x = np.random.default_rng(3).uniform(size=1000)
    codec = fit_numeric(x, REAL)
    assert codec.low[0] > x.min()
    assert codec.high[-1] < x.max()
    assert codec.low[0] == pytest.approx(np.sort(x)[:5].mean())
    assert codec.high[-1] == pytest.approx(np.sort(x)[-5:].mean())


def test_an_outlier_is_stored_nowhere():
    x = np.append(np.random.default_rng(4).normal(size=1000), 1234.5)
    codec = fit_numeric(x, REAL)
    assert 1234.5 not in codec.low + codec.high


def test_a_value_that_was_never_missing_is_unknown_where_it_is():
    assert fit_numeric(np.array([1.0] * 9), REAL).encode(np.array([np.nan, 1.0])).tolist() == [UNKNOWN, 0]


@pytest.mark.parametrize(
    ("x", "column", "step"),
    [
        ([0.25, 0.5, 1.75], number(2), 0.05),
        ([1.01, 2.02, 3.5], number(2), 0.01),
        ([10, 20, 50], number(0), 10),
        ([100, 250, 500], number(0), 50),
        ([1, 2, 3], number(0), 1),
        ([0.1, 0.25, 3], REAL, 0.05),
        ([np.pi, np.e, 2**0.5], REAL, 0),
    ],
)
def test_the_grid_is_found_and_held_by_decoded_values(x, column, step):
    codec = fit_numeric(np.repeat(np.array(x, dtype=float), 2), column)
    assert codec.step == pytest.approx(step)
    values = codec.decode(*everything(codec))
    if step:
        assert np.abs(values / step - np.round(values / step)).max() < 1e-6


@exactly
@given(x=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60), decimals=st.integers(0, 3))
def test_decimals_are_held_by_decoded_values(x, decimals):
    codec = fit_numeric(np.array(x) / 10**decimals, number(decimals))
    values = codec.decode(*everything(codec))
    assert np.abs(values - np.round(values, decimals)).max() < 1e-9 * max(1, np.abs(values).max())


@pytest.mark.parametrize(("unit", "step"), [("D", 1), ("s", 3600), ("us", 3.6e9)])
def test_the_grid_of_dates(unit, step):
    days = np.arange(50) * step
    column = Column(name="x", kind="datetime", date=DateFormat(pattern="%Y-%m-%d", unit=unit))
    codec = fit_numeric(days.astype(float), column)
    assert codec.step == step
    assert (codec.decode(*everything(codec)) % step == 0).all()


@exactly
@given(x=st.lists(st.floats(0, 1), min_size=1, max_size=60), cap=st.sampled_from([3, 1000]))
def test_declared_bounds_are_held(x, cap):
    codec = fit_numeric(np.array(x), Column(name="x", kind="numeric", minimum=0, maximum=1), cap)
    values = codec.decode(*everything(codec))
    assert ((values >= 0) & (values <= 1)).all()


@exactly
@given(x=st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_declared_bounds_off_the_grid_are_held(x):
    codec = fit_numeric(np.array(x) * 10.0, number(0, minimum=7, maximum=93))
    values = codec.decode(*everything(codec))
    assert ((values >= 7) & (values <= 93)).all()


@pytest.mark.parametrize(("bounds", "told"), [({"minimum": 2}, "minimum 2"), ({"maximum": 2.5}, r"maximum 2\.5")])
def test_a_value_outside_its_declared_bounds_is_an_error(bounds, told):
    with pytest.raises(SynthgenError, match=f"column 'x' holds .* outside its declared {told}"):
        fit_numeric(np.array([1.0, 2.0, 3.0]), number(0, **bounds))


def test_bounds_of_dates_are_written_like_dates():
    date = DateFormat(pattern="%d.%m.%Y")
    column = Column(name="x", kind="datetime", date=date, minimum="02.01.1970", maximum="11.01.1970")
    codec = fit_numeric(np.arange(1.0, 10.0), column)
    assert (codec.minimum, codec.maximum) == (1, 10)
    bad = column.model_copy(update={"maximum": "soon"})
    with pytest.raises(SynthgenError, match="'soon' is not written like its cells"):
        fit_numeric(np.arange(1.0, 10.0), bad)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_is_an_error(value):
    with pytest.raises(SynthgenError, match="infinite"):
        fit_numeric(np.array([1.0, value]), REAL)


def test_values_of_one_sign_keep_it():
    x = np.random.default_rng(5).exponential(size=500) ** 3
    codec = fit_numeric(x, REAL)
    assert (codec.decode(*everything(codec)) >= 0).all()
    mirrored = fit_numeric(-x, REAL)
    assert (mirrored.decode(*everything(mirrored)) <= 0).all()


def test_a_long_tail_is_drawn_beyond_its_last_cell_and_cut():
    x = np.random.default_rng(6).pareto(1.5, size=2000)
    codec = fit_numeric(x, REAL, cells=20)
    last = np.full(2, codec.size - 1)
    values = codec.decode(last, np.array([0.0, 1.0]))
    assert codec.above > 0
    assert values[1] - values[0] == pytest.approx(7 * codec.above)


@pytest.mark.parametrize("draw", ["uniform", "standard_normal", "standard_cauchy"])
def test_log_width_grows_without_bound_beyond_the_range(draw):
    x = getattr(np.random.default_rng(7), draw)(size=1000)
    codec = fit_numeric(x, REAL)
    for far in (x.max() + x.std() * 2.0 ** np.arange(8), x.min() - x.std() * 2.0 ** np.arange(8)):
        width = codec.log_width(far, codec.encode(far))
        assert (np.diff(width) > 0).all()
        assert width[-1] > width[0] + 10


def test_log_width_is_the_logarithm_of_the_cells_width_and_zero_for_atoms():
    codec = Numeric(low=[0, 5], high=[4, 5], mass=[0.5, 0.5])
    values = np.array([2.0, 5.0, np.nan])
    assert codec.log_width(values, np.array([0, 1, 0])) == pytest.approx([np.log(4), 0, 0])


def test_cells_tile_the_line_between_their_neighbours():
    codec = Numeric(low=[0, 6, 20], high=[4, 10, 20], mass=[0.25, 0.25, 0.5])
    assert codec.encode(np.array([-99, 4.9, 5.1, 14.9, 15.1, 99])).tolist() == [0, 0, 1, 1, 2, 2]
    assert codec.decode(np.array([0, 0, 1, 1, 2]), np.array([0, 1 - 1e-12, 0, 0.5, 0.5])) == pytest.approx(
        [0, 5, 5, 7.5, 20]
    )


def test_fitting_is_the_same_for_integers_and_for_pandas_nullable_ones():
    series = pd.Series([1, None, 3, 3], dtype="Int64")
    codec = fit_numeric(series.to_numpy(dtype=float, na_value=np.nan), number(0), keep_rare=True)
    assert (codec.low, codec.missing) == ([1, 3], 0.25)


@pytest.mark.parametrize(
    "damage",
    [
        {"low": [], "high": [], "mass": []},
        {"low": [0]},
        {"mass": [0.5, 0.0]},
        {"low": [5, 0], "high": [5, 4]},
        {"low": [0, 3], "high": [4, 5]},
        {"low": [0, float("nan")]},
        {"spread": 0},
        {"extra": 1},
    ],
)
def test_a_damaged_state_is_refused(damage):
    good = {"low": [0, 5], "high": [4, 5], "mass": [0.5, 0.5]}
    assert Numeric.model_validate(good)
    with pytest.raises(ValueError, match=r"numeric column|greater than|finite|Extra"):
        Numeric.model_validate(good | damage)
