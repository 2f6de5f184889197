import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from synthgen.codec import TableCodec, fit_codec
from synthgen.codec.rare import UNKNOWN
from synthgen.data import as_table
from synthgen.errors import SynthgenError
from synthgen.schema import Column, Schema

CITIES = {"FR": ["Paris", "Lyon"], "DE": ["Bonn", "Kiel"], "NA": ["Windhoek"]}


def make_trips(n=600, seed=0):
    rng = np.random.default_rng(seed)
    country = rng.choice(list(CITIES), n, p=[0.5, 0.3, 0.2])
    start = rng.integers(18_000, 19_000, n)
    return pd.DataFrame(
        {
            "key": [f"T{i:05}" for i in range(n)],
            "country": country,
            "city": [CITIES[c][rng.integers(len(CITIES[c]))] for c in country],
            "start": pd.to_datetime(start, unit="D"),
            "end": pd.to_datetime(start + rng.integers(0, 30, n), unit="D"),
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(5, 1, n).round(2)),
            "paid": rng.random(n) < 0.7,
            "note": [" ".join(rng.choice(["so", "well", "then", "here", "now", "or"], 9)) for _ in range(n)],
            "currency": "EUR",
        }
    )


TRIPS = make_trips()
RULES = ("start <= end", "combinations: country, city")


def fit(frame=TRIPS, rules=(), **options):
    table = as_table(frame)
    schema = Schema(columns=table.schema.columns, rules=rules)
    codec, _ = fit_codec(table, schema, **options)
    return table, codec


def random_records(codec, n=2000, seed=1):
    """Records that no generator would draw: each column on its own, uniform over its codes."""
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, k, n) if k else rng.normal(0, 2, n) for k in codec.space.sizes]
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def no_context(codec, n):
    return np.full((n, len(codec.given)), UNKNOWN)


def test_ids_texts_and_constants_are_not_modelled():
    table, codec = fit()
    assert [c.kind for c in table.schema.columns if c.name not in codec.modelled] == ["id", "text", "constant"]
    assert list(codec.modelled) == ["country", "city", "start", "end", "price", "paid"]


def test_numbers_are_reals_unless_codes_are_asked_for():
    assert fit()[1].space.sizes == (3, 5, 0, 0, 0, 2)
    space = fit(codes=16)[1].space
    assert all(0 < k <= 16 for k in space.sizes)
    assert space.ordered == (False, False, True, True, True, False)


def test_numbers_of_more_codes_than_asked_for_can_stay_reals():
    frame = pd.DataFrame({"fine": np.random.default_rng(0).normal(size=500), "coarse": [1.0, 2.0] * 250})
    assert fit(frame, codes=16, reals=True)[1].space.sizes == (0, 2)


@pytest.mark.parametrize("options", [{}, {"codes": 16}, {"codes": 16, "reals": True}, {"given": ["country", "price"]}])
def test_decoded_records_have_the_codes_they_came_from(options):
    table, codec = fit(**options)
    rng = np.random.default_rng(0)
    x, held = codec.encode(table, rng)
    context = codec.encode_context(table)
    assert held.all()
    back = codec.decode(x, context, rng)
    again, _ = codec.encode(back, rng)
    codes = np.flatnonzero(codec.space.sizes)
    assert torch.equal(again[:, codes], x[:, codes])
    assert np.array_equal(codec.encode_context(back), context)


def test_a_round_trip_keeps_labels_and_comes_near_numbers():
    table, codec = fit()
    rng = np.random.default_rng(0)
    back = codec.decode(codec.encode(table, rng)[0], no_context(codec, len(table)), rng).to_pandas()
    assert back.columns.tolist() == TRIPS.columns.tolist()
    assert back.dtypes.astype(str).tolist() == table.to_pandas().dtypes.astype(str).tolist()
    for name in ("country", "city", "paid", "currency"):
        assert back[name].tolist() == TRIPS[name].tolist()
    assert back.price.isna().tolist() == TRIPS.price.isna().tolist()
    assert back.price.corr(TRIPS.price, method="spearman") > 0.99
    assert np.allclose(back.price, back.price.round(2), equal_nan=True)
    assert np.abs((back.start - TRIPS.start).dt.days).median() <= 10


def test_made_columns_are_new():
    table, codec = fit()
    back = codec.decode(random_records(codec), no_context(codec, 2000), np.random.default_rng(0)).to_pandas()
    assert back.key.is_unique
    assert not set(back.key) & set(TRIPS.key)
    assert not set(back.note) & set(TRIPS.note)


def test_ids_go_on_where_the_last_part_ended():
    _, codec = fit()
    x, rng = random_records(codec, 100), np.random.default_rng(0)
    parts = [codec.decode(x, no_context(codec, 100), rng, start).to_pandas().key for start in (0, 100)]
    whole = codec.decode(random_records(codec, 200), no_context(codec, 200), rng).to_pandas().key
    assert pd.concat(parts).tolist() == whole.tolist()


def test_the_text_of_a_csv_becomes_typed_columns(tmp_path):
    path = tmp_path / "x.csv"
    TRIPS.to_csv(path, index=False)
    table, codec = fit(path)
    back = codec.decode(random_records(codec), no_context(codec, 2000), np.random.default_rng(0)).data
    kinds = {name: str(back[name].type) for name in ("start", "price", "paid", "country")}
    assert kinds == {"start": "timestamp[us]", "price": "double", "paid": "string", "country": "string"}
    assert "NA" in back["country"].to_pylist()


def test_a_column_that_is_not_there_and_a_label_never_seen_are_not_held():
    _, codec = fit()
    part = as_table(pd.DataFrame({"country": ["FR", "XX"], "price": [np.nan, 1.0]}))
    x, held = codec.encode(part, np.random.default_rng(0))
    where = {name: j for j, name in enumerate(codec.modelled)}
    assert held[:, where["country"]].tolist() == [True, False]
    assert held[:, where["price"]].tolist() == [True, True]
    assert not held[:, where["city"]].any()
    assert (x[~held] == 0).all()
    assert codec.unseen(part).tolist() == [0, 1]


def test_given_columns_leave_the_space_and_become_the_context():
    table, codec = fit(given=["country", "price"])
    assert list(codec.given) == ["country", "price"]
    assert not {"country", "price"} & set(codec.modelled)
    assert codec.context_space.sizes[0] == 3
    assert codec.context_space.sizes[1] <= 32
    assert codec.embed_context(codec.encode_context(table)).shape == (len(table), codec.context_space.width)


def test_the_context_remembers_the_joint_frequencies():
    table, codec = fit(given=["country", "city"])
    pairs = codec.encode_context(table)
    expected = dict(zip(*np.unique(pairs @ [10, 1], return_counts=True), strict=True))
    found = dict(zip((np.array(codec.context.codes) @ [10, 1]).tolist(), codec.context.counts, strict=True))
    assert found == expected


def test_drawn_contexts_have_the_frequencies_of_the_table():
    table, codec = fit(given=["country", "city"])
    drawn = codec.draw_context(no_context(codec, 20_000), np.random.default_rng(0)) @ [10, 1]
    shares = {c: np.mean(codec.encode_context(table) @ [10, 1] == c) for c in np.unique(drawn)}
    assert all(abs(np.mean(drawn == c) - share) < 0.02 for c, share in shares.items())
    assert sum(shares.values()) == pytest.approx(1)


def test_drawn_contexts_keep_what_is_given():
    table, codec = fit(given=["country", "city"])
    given = codec.encode_context(as_table(pd.DataFrame({"country": ["DE"] * 1000})))
    assert (given[:, 1] == UNKNOWN).all()
    drawn = codec.draw_context(given, np.random.default_rng(0))
    cities = codec.given["city"].decode(drawn[:, 1]).to_pylist()
    assert (drawn[:, 0] == given[:, 0]).all()
    assert set(cities) == {"Bonn", "Kiel"}
    truth = (TRIPS[TRIPS.country == "DE"].city == "Bonn").mean()
    assert np.mean([c == "Bonn" for c in cities]) == pytest.approx(truth, abs=0.06)


def test_a_given_context_that_never_occurred_is_an_error_unless_it_is_complete():
    rows = [("FR", "a", "1"), ("DE", "b", "2")] * 30
    _, codec = fit(pd.DataFrame(rows, columns=["x", "y", "z"]).assign(w=[1.5, 2.5, 3.5] * 20), given=["x", "y", "z"])
    contradiction = as_table(pd.DataFrame({"x": ["FR"], "y": ["b"]}))
    with pytest.raises(SynthgenError, match="no training record holds what is given for x, y"):
        codec.draw_context(codec.encode_context(contradiction), np.random.default_rng(0))
    complete = codec.encode_context(as_table(pd.DataFrame({"x": ["FR"], "y": ["b"], "z": ["1"]})))
    assert np.array_equal(codec.draw_context(complete, np.random.default_rng(0)), complete)


@pytest.mark.parametrize("options", [{}, {"codes": 16}, {"given": ["country", "price"]}])
def test_the_state_is_json_and_comes_back(options):
    table, codec = fit(rules=RULES, **options)
    back = TableCodec.from_state(json.loads(json.dumps(codec.state())))
    assert back.state() == codec.state()
    x = random_records(codec, 50)
    context = codec.draw_context(no_context(codec, 50), np.random.default_rng(0))
    made = [c.decode(x, context, np.random.default_rng(0)).data for c in (codec, back)]
    assert made[0].equals(made[1])


def damage(state, how):
    if how == "no columns":
        state["columns"] = {}
    elif how == "another order":
        state["columns"] = dict(reversed(state["columns"].items()))
    elif how == "context not modelled":
        state["context"]["names"][0] = "key"
    elif how == "context unknown":
        state["context"]["names"][0] = "nowhere"
    elif how == "context codes out of range":
        state["context"]["codes"][0][0] = 99
    elif how == "context counts missing":
        state["context"]["counts"].pop()
    elif how == "context codes ragged":
        state["context"]["codes"][0].pop()
    elif how == "unknown kind":
        state["columns"]["price"]["kind"] = "magic"
    elif how == "mass":
        state["columns"]["price"]["mass"][0] = -1
    elif how == "text for a number":
        state["columns"]["price"]["low"][0] = "x"
    elif how == "extra":
        state["more"] = 1
    return state


@pytest.mark.parametrize(
    "how",
    [
        *("no columns", "another order", "context not modelled", "context unknown", "context codes out of range"),
        *("context counts missing", "context codes ragged", "unknown kind", "mass", "text for a number", "extra"),
    ],
)
def test_a_damaged_state_is_refused(how):
    _, codec = fit(given=["country"])
    with pytest.raises(SynthgenError, match="the stored codec is damaged"):
        TableCodec.from_state(damage(codec.state(), how))


@pytest.mark.parametrize("state", [None, [], "x", {}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(SynthgenError, match="the stored codec is damaged"):
        TableCodec.from_state(state)


@pytest.mark.parametrize("options", [{}, {"codes": 16}, {"given": ["country"]}, {"given": ["start"]}])
def test_rules_hold_for_any_records(options):
    _, codec = fit(rules=RULES, **options)
    rng = np.random.default_rng(0)
    context = codec.draw_context(no_context(codec, 2000), rng)
    back = codec.decode(random_records(codec), context, rng).to_pandas()
    assert (back.start <= back.end).all()
    assert set(zip(back.country, back.city, strict=True)) <= {(c, t) for c in CITIES for t in CITIES[c]}


def test_without_rules_random_records_break_them():
    _, codec = fit()
    back = codec.decode(random_records(codec), no_context(codec, 2000), np.random.default_rng(0)).to_pandas()
    assert (back.start > back.end).any()
    assert ("FR", "Bonn") in set(zip(back.country, back.city, strict=True))


def test_fixed_values_stay_and_the_rules_bend_around_them():
    _, codec = fit(rules=RULES)
    n = 500
    city = pa.array(["Kiel" if i % 2 else None for i in range(n)], pa.string())
    end = np.where(np.arange(n) % 3 == 0, 18_200 * 86_400e6, np.nan)
    fixed = {"city": city, "end": end, "price": np.full(n, 12.34)}
    x = random_records(codec, n)
    back = codec.decode(x, no_context(codec, n), np.random.default_rng(0), fixed=fixed).to_pandas()
    assert (back.city[1::2] == "Kiel").all()
    assert (back.country[1::2] == "DE").all()
    assert (back.end[::3] == pd.Timestamp("2019-10-31")).all()
    assert (back.price == 12.34).all()
    assert (back.start <= back.end).all()


def test_a_table_of_ids_only_is_refused():
    frame = pd.DataFrame({"key": [f"T{i:05}" for i in range(50)], "one": "c"})
    with pytest.raises(SynthgenError, match="no column is left to model"):
        fit(frame)


def test_a_table_whose_modelled_columns_are_all_given_is_refused():
    with pytest.raises(SynthgenError, match="no column is left to model"):
        fit(TRIPS[["key", "country"]], given=["country"])


@pytest.mark.parametrize(("name", "told"), [("key", "column 'key' is id"), ("contry", "did you mean 'country'")])
def test_a_column_that_cannot_be_given_is_an_error(name, told):
    with pytest.raises(SynthgenError, match=told):
        fit(given=[name])


def test_what_is_not_modelled_is_said():
    table = as_table(TRIPS)
    _, notes = fit_codec(table, table.schema)
    assert [note.split(":")[0] for note in notes] == ["column 'key' is an id", "column 'note' is free text"]


def test_a_declared_number_without_any_number_stays_empty():
    frame = pd.DataFrame({"a": ["", ""] * 5, "b": [1.5, 2.5] * 5})
    table = as_table(frame).declare(Schema(columns=(Column(name="a", kind="numeric"),)))
    codec, notes = fit_codec(table, table.schema)
    assert "column 'a' holds no number" in notes[0]
    made = codec.decode(random_records(codec, 5), no_context(codec, 5), np.random.default_rng(0))
    assert made.data["a"].null_count == 5


def test_log_volume_turns_a_standard_normal_into_the_density_of_the_table():
    values = np.random.default_rng(0).uniform(0, 10, 20_000)
    table, codec = fit(pd.DataFrame({"x": values}))
    x, _ = codec.encode(table, np.random.default_rng(1))
    log_prob = -0.5 * x.numpy()[:, 0] ** 2 - 0.5 * np.log(2 * np.pi)
    density = np.exp(log_prob - codec.log_volume(table, x))
    assert np.median(density) == pytest.approx(0.1, rel=0.05)


def test_consensus_is_the_commonest_label_and_the_median_number():
    table, codec = fit()
    labels = codec.modelled["city"].labels
    drawn = np.array([[1, 2], [1, 0], [0, 2]], dtype=np.float32)
    assert codec.consensus("city", drawn, np.random.default_rng(0)).to_pylist() == [labels[1], labels[2]]
    scores = np.array([[-2.0], [0.5], [2.0]], dtype=np.float32)
    (value,) = codec.consensus("price", scores, np.random.default_rng(0))
    alone = codec.modelled["price"].decode(*codec.modelled["price"].unscore(scores[1].astype(float)))
    assert value == alone[0]


def test_consensus_is_never_missing():
    _, codec = fit()
    lost = np.full((3, 2), -8.0, dtype=np.float32)
    assert not np.isnan(codec.consensus("price", lost, np.random.default_rng(0))).any()


def few(n=200):
    """A label with missing cells and two rare ones that are too few to be pooled, beside another."""
    labels = np.array(["common"] * 120 + ["other"] * (n - 120), dtype=object)
    labels[[3, 60]], labels[[5, 70, 130]] = ["odd", "rare"], None
    return pd.DataFrame({"label": labels, "side": np.array(["a", "b"])[np.arange(n) % 2]})


def test_labels_too_few_to_be_pooled_count_as_the_commonest():
    table, codec = fit(few())
    x, held = codec.encode(table, np.random.default_rng(0))
    decoded = codec.decode(x, no_context(codec, 200), np.random.default_rng(0)).data["label"].to_pylist()
    assert [decoded[i] for i in (3, 60, 0, 150)] == ["common", "common", "common", "other"]
    assert [decoded[i] for i in (5, 70, 130)] == [None] * 3
    assert not held[[3, 60], 0].any()
    assert int(held.sum()) == 398


def test_labels_too_few_to_be_pooled_can_be_given():
    table, codec = fit(few(), given=["label"])
    learned = codec.learned_context(table)[:, 0]
    assert learned[3] == learned[60] == learned[0] != learned[150]
    assert sum(codec.context.counts) == 200
    assert (codec.encode_context(table)[[3, 60]] == UNKNOWN).all()
    labels = codec.decode(
        codec.encode(table, np.random.default_rng(0))[0], learned[:, None], np.random.default_rng(0)
    ).data["label"]
    assert labels.null_count == 3
