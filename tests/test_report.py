"""Reports on tables end to end, against what was planted: copies, shuffled columns, broken rules, lost labels."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import synthgen
from synthgen.errors import SynthgenError
from synthgen.metrics.membership import RATES, Attack, Finding
from synthgen.metrics.statistics import Estimate, proportion
from synthgen.report.blocks import Shares
from synthgen.report.disclosure import NO_HOLDOUT
from synthgen.report.evaluate import NO_CLAIM
from synthgen.report.membership import _found
from synthgen.report.result import WARNING

DEGREES = ["none", "school", "bachelor", "master"]


def make_rows(n, seed):
    """`code` is the number of `degree`, `end` never lies before `start`, `wage` and `happy` follow `age`."""
    rng = np.random.default_rng(seed)
    age, degree = rng.integers(18, 80, n), rng.choice(4, n, p=[0.1, 0.4, 0.3, 0.2])
    start = pd.Timestamp("2020-01-06") + pd.to_timedelta(rng.integers(0, 700, n), unit="D")
    return pd.DataFrame(
        {
            "age": age,
            "wage": np.round(200 * age * rng.lognormal(0, 0.3, n), 2),
            "degree": np.array(DEGREES)[degree],
            "code": degree + 10,
            "start": start,
            "end": start + pd.to_timedelta(rng.integers(0, 60, n), unit="D"),
            "happy": np.where(rng.random(n) < 1 / (1 + np.exp((age - 50) / 5)), "yes", "no"),
        }
    )


def shuffled(frame, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.permutation(frame[name]) for name in frame})


def kinds(report):
    return [f.kind for f in report.verdict]


def said(report, kind):
    return " ".join(f.text for f in report.verdict if f.kind == kind)


def shares(report, title):
    return next(b for s in report.sections for b in s.blocks if isinstance(b, Shares) and b.title == title)


def figures(report):
    """The report as JSON has it, without what may differ between two runs."""
    body = json.loads(report.to_json())
    del body["setup"]["seconds"], body["setup"]["real"], body["setup"]["synthetic"]
    return body


@pytest.fixture(scope="module")
def fresh():
    """Real rows passed off as synthetic."""
    return synthgen.evaluate(*(make_rows(600, seed) for seed in (0, 1, 2)))


@pytest.fixture(scope="module")
def alone():
    """The same without a holdout."""
    return synthgen.evaluate(make_rows(600, 0), make_rows(600, 1))


def test_real_rows_passed_off_as_synthetic_are_faithful_useful_and_leak_nothing(fresh):
    assert set(kinds(fresh)) == {"faithful", "useful", "private", "unseen"}
    assert abs(fresh["fidelity.detection"].excess) < 0.06
    assert abs(fresh["fidelity.pairs"].excess) < 0.02
    assert fresh["fidelity.rules"].value == 0
    assert fresh["disclosure.copies"].value == 0
    assert fresh["disclosure.membership_auc"].low < 0.5 < fresh["disclosure.membership_auc"].high


def test_every_score_stands_beside_what_fresh_real_rows_get(fresh):
    assert all(score.fresh is not None and np.isfinite(score.fresh) for score in fresh)
    assert all(score.low <= score.value <= score.high for score in fresh if score.low is not None)
    assert fresh["fidelity.detection"].independent > 0.9
    assert fresh["fidelity.pairs"].independent > 1.3 * fresh["fidelity.pairs"].fresh
    assert fresh["disclosure.membership_at_1_percent"].copies > 0.9


def test_all_reports_say_what_they_could_not_have_seen(fresh):
    assert re.search(r"The membership attacks notice a generator that copies [\d.]+%", said(fresh, "unseen"))


@pytest.mark.slow
def test_real_rows_passed_off_as_synthetic_rarely_look_worse_than_they_are():
    suspected = []
    for seed in range(10):
        report = synthgen.evaluate(*(make_rows(600, 100 + 3 * seed + i) for i in range(3)))
        suspected.append(sorted({"leaks", "differs", "useless"}.intersection(kinds(report))))
        assert report["fidelity.detection"].excess < 0.1
    assert sum(map(bool, suspected)) <= 1, suspected


def test_the_training_rows_themselves_are_faithful_and_leak():
    real = make_rows(600, 0)
    report = synthgen.evaluate(real, real, make_rows(600, 2))
    assert "differs" not in kinds(report)
    assert report["disclosure.copies"].value == 1
    assert report["disclosure.nearest_share"].value == 1
    assert report["disclosure.extremes"].value == 1
    assert report["disclosure.membership_at_1_percent"].value > 0.9
    assert report["disclosure.inference"].value > 0.5
    assert report["disclosure.singling_out"].low > 0
    for text in ("Training records are copied", "Membership leaks", "is inferred", "single out", "extremes"):
        assert text in said(report, "leaks")


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_a_few_copied_rows_are_noticed(share):
    real, made = make_rows(1000, 0), make_rows(1000, 1)
    made.iloc[: int(share * 1000)] = real.iloc[: int(share * 1000)]
    report = synthgen.evaluate(real, made, make_rows(1000, 2), target="happy")
    assert report["disclosure.copies"].value == pytest.approx(share)
    assert "Training records are copied" in said(report, "leaks")
    assert "Membership leaks" in said(report, "leaks") or share < 0.02
    assert "a generator that copies 2.0% of its training records; but" in said(report, "unseen")
    assert not {"differs", "useless"}.intersection(kinds(report))  # copies are the most faithful rows of all


@pytest.fixture(scope="module")
def mixed_up():
    """Columns shuffled on their own."""
    return synthgen.evaluate(make_rows(600, 0), shuffled(make_rows(600, 1)), make_rows(600, 2))


def test_shuffled_columns_are_told_apart_and_useless(mixed_up):
    assert mixed_up["fidelity.detection"].value > 0.95
    assert "nearly all synthetic rows" in said(mixed_up, "differs")
    assert "in common is lost" in said(mixed_up, "differs")
    assert mixed_up["fidelity.pairs"].excess > 0.07
    assert "predict 'happy'" in said(mixed_up, "useless")
    assert abs(mixed_up["utility.boosted"].value - 0.5) < 0.15 < mixed_up["utility.boosted"].fresh - 0.5


def test_shuffled_columns_are_right_one_by_one(mixed_up):
    assert "Each column on its own is close" in said(mixed_up, "faithful")
    assert "leaks" not in kinds(mixed_up)


def test_shuffled_columns_break_the_rules_of_the_real_rows(mixed_up):
    assert mixed_up["fidelity.rules"].value > 0.4
    assert "rules that hold in the real rows are broken" in said(mixed_up, "differs")
    rules = next(b for s in mixed_up.sections if s.name == "rules" for b in s.blocks)
    named = {row[0]: row[1:] for row in rules.rows}
    assert named["'start' <= 'end'"][0] == pytest.approx(named["'start' <= 'end'"][2], abs=0.05)
    assert named["'degree' and 'code' determine each other"][0] > 0.5
    assert all(row[2] == 0 for row in rules.rows)  # held-out rows keep them


def test_rows_of_another_world_differ_in_everything():
    real, other = make_rows(600, 0), make_rows(600, 1)
    other["age"] += 1000
    other["wage"] = -other["wage"]
    other["degree"] = "other " + other["degree"]
    other["start"] += pd.Timedelta(days=9000)
    report = synthgen.evaluate(real, other, target="age")
    assert report["fidelity.detection"].value > 0.99
    assert report["fidelity.columns"].value > 0.5
    for text in ("nearly all synthetic rows", "no real row has, in 'degree'", "do not occur in synthetic rows"):
        assert text in said(report, "differs")
    assert "useless" in kinds(report)


@pytest.fixture(scope="module")
def planted():
    """Rows with everything that a report should name."""
    real, made = make_rows(800, 0), make_rows(800, 1)
    made.loc[100:259, "code"] = 10
    made["degree"] = made["degree"].replace("master", "doctor")
    made["start"] -= pd.to_timedelta(made["start"].dt.day_of_week, unit="D")  # Mondays
    made.loc[:79, "end"] = made["start"][:80] - pd.Timedelta(days=3)
    made.loc[0, "wage"], made.loc[1, "wage"] = real["wage"].min(), real["wage"].max()
    return synthgen.evaluate(real, made, make_rows(800, 2))


def test_broken_rules_are_named_with_the_share_of_rows_that_break_them(planted):
    assert "'start' <= 'end' (broken by 10.0%)" in said(planted, "differs")
    assert "'degree'" in said(planted, "differs")
    assert planted["fidelity.rules"].fresh == 0


def test_lost_and_new_labels_are_named(planted):
    assert "Labels of 5 real rows or more do not occur in synthetic rows, in 'degree'." in said(planted, "differs")
    assert "Synthetic rows hold labels that no real row has, in 'degree'." in said(planted, "differs")
    table = next(b for s in planted.sections if s.name == "columns" for b in s.blocks)
    remarks = next(row[-1] for row in table.rows if row[0] == "degree")
    assert "lost: 'master'" in remarks
    assert "new: 'doctor'" in remarks


def test_weekdays_of_dates_are_shown(planted):
    weekdays = shares(planted, "start: weekday").series
    assert weekdays["synthetic"] == (1, 0, 0, 0, 0, 0, 0)
    assert max(weekdays["real"]) < 0.25


def test_extremes_that_are_emitted_exactly_are_named(planted):
    assert "2 of 2 extremes that fewer than 5 training records hold are emitted exactly: 'wage'." in said(
        planted, "leaks"
    )


def test_extremes_that_anyone_may_meet_are_no_leak(fresh):
    assert fresh["disclosure.extremes"].value == 0
    assert "share of 2 extremes" in fresh["disclosure.extremes"].about  # wages, but neither ages nor days


def test_a_column_that_gives_rows_away_is_named_first(alone):
    made = make_rows(600, 1)
    made["wage"] = made["wage"].round(-3)
    report = synthgen.evaluate(make_rows(600, 0), made)
    assert "most of all by 'wage'" in said(report, "differs")
    assert report["fidelity.detection"].value > alone["fidelity.detection"].value + 0.1


def test_without_a_holdout_disclosure_is_not_judged(alone):
    assert NO_HOLDOUT in said(alone, "unseen")
    assert not any(s.name.startswith("disclosure") for s in alone)
    assert not {"private", "leaks"}.intersection(kinds(alone))
    assert alone.setup.holdout is None


def test_without_a_holdout_the_floors_are_halves_of_the_real_rows(alone):
    assert any("its floor is the other half" in note for note in alone.setup.notes)
    assert any("compare 300 rows with as many" in note for note in alone.setup.notes)
    # models are tested on rows that they were not trained on: real rows are not predicted by heart
    assert alone["utility.boosted"].fresh < 0.97
    assert abs(alone["utility.boosted"].excess) < 0.07
    assert "useless" not in kinds(alone)


def test_json_holds_every_score_and_no_nan(fresh):
    def refuse(name):
        raise AssertionError(name)

    text = fresh.to_json()
    body = json.loads(text, parse_constant=refuse)
    assert text.endswith("}\n")
    assert body["synthgen_report"] == 1
    assert list(body) == ["synthgen_report", "synthgen", "warning", "setup", "verdict", "scores", "sections"]
    assert list(body["scores"]) == [s.name for s in fresh]
    assert [name for section in body["sections"] for name in section["scores"]] == list(body["scores"])
    fields = {f.name for f in dataclasses.fields(fresh.scores[0])} | {"excess"}
    assert all(set(score) == fields for score in body["scores"].values())
    assert all(isinstance(score["value"], float | int) for score in body["scores"].values())
    assert [f["text"] for f in body["verdict"]] == [f.text for f in fresh.verdict]
    assert body["warning"] == WARNING
    assert body["setup"]["claim"] == NO_CLAIM
    assert body["setup"]["real"] == ["real", 600]


def test_the_names_of_scores_are_stable(fresh):
    assert [s.name for s in fresh] == [
        "fidelity.detection",
        "fidelity.columns",
        "fidelity.tails",
        "fidelity.pairs",
        "fidelity.triples",
        "fidelity.rules",
        "utility.boosted",
        "utility.linear",
        "disclosure.membership_at_0_1_percent",
        "disclosure.membership_at_1_percent",
        "disclosure.membership_at_10_percent",
        "disclosure.membership_auc",
        "disclosure.copies",
        "disclosure.near_copies",
        "disclosure.nearest_share",
        "disclosure.inference",
        "disclosure.singling_out",
        "disclosure.linkability",
        "disclosure.extremes",
    ]
    assert [s.name for s in fresh if s.headline] == [
        "fidelity.detection",
        "fidelity.pairs",
        "utility.boosted",
        "disclosure.membership_at_1_percent",
    ]


def test_scores_are_found_by_name_and_in_a_frame(fresh):
    frame = fresh.to_frame()
    score = fresh["fidelity.detection"]
    assert frame.loc["fidelity.detection", "value"] == score.value
    assert frame.loc["fidelity.detection", "excess"] == score.value - score.fresh
    assert list(frame.index) == [s.name for s in fresh]
    with pytest.raises(SynthgenError, match=r"no score 'fidelity\.detektion'; did you mean 'fidelity\.detection'"):
        fresh["fidelity.detektion"]


@pytest.mark.parametrize(("name", "start"), [("r.html", "<!doctype html>"), ("r.json", "{")])
def test_a_report_is_written_as_a_page_or_json(fresh, tmp_path, name, start):
    fresh.write(tmp_path / name)
    fresh.write(str(tmp_path / name))  # over itself
    assert (tmp_path / name).read_text("utf-8").lower().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.HTML", "html"])
def test_a_report_is_written_under_no_other_ending(fresh, tmp_path, name):
    with pytest.raises(SynthgenError, match=r"a name that ends in \.html or \.json"):
        fresh.write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_verdict(fresh):
    html = fresh._repr_html_()
    assert "boosted trees can hardly tell" in html
    assert "synthetic</bdi> beside <bdi>real" in html
    assert "<script" not in html


def test_the_same_seed_gives_the_same_report_and_inputs_may_be_frames_arrow_or_paths(tmp_path):
    frames = [make_rows(200, seed) for seed in range(3)]
    for frame in frames:  # what a file cannot tell a frame from
        frame["code"] = frame["code"].astype(float) + 0.5
    arrow = [pa.Table.from_pandas(frame) for frame in frames]
    paths = [tmp_path / f"{i}.parquet" for i in range(3)]
    for frame, path in zip(frames, paths, strict=True):
        frame.to_parquet(path, index=False)
    first, second, third = (figures(synthgen.evaluate(*some, seed=7)) for some in (frames, arrow, map(str, paths)))
    assert third["setup"].pop("holdout") == ["2.parquet", 200]
    assert first["setup"].pop("holdout") == second["setup"].pop("holdout") == ["holdout", 200]
    assert first == second == third


def test_another_seed_draws_other_rows(alone):
    other = synthgen.evaluate(make_rows(600, 0), make_rows(600, 1), seed=1)
    assert other["fidelity.pairs"].value != alone["fidelity.pairs"].value


def test_the_target_may_be_a_number():
    report = synthgen.evaluate(make_rows(300, 0), make_rows(300, 1), make_rows(300, 2), target="wage")
    score = report["utility.boosted"]
    assert score.better == "less"
    assert 0.5 < score.fresh < score.independent
    assert score.value == pytest.approx(score.fresh, abs=0.15)
    assert "useful" in kinds(report)


@pytest.mark.parametrize("role", range(3))
def test_columns_that_hold_hardly_anything_are_no_obstacle(role):
    frames = [make_rows(120, seed) for seed in range(3)]
    frames[role].loc[2:, ["age", "wage", "start"]] = None  # some folds hold no value at all
    frames[role].loc[2:, ["degree", "happy"]] = None
    report = synthgen.evaluate(*frames, target="happy")
    json.loads(report.to_json(), parse_constant=pytest.fail)
    assert report.to_html()


def test_a_holdout_of_another_kind_is_no_leak():
    later = make_rows(500, 2)
    later["start"] += pd.Timedelta(days=2000)
    later["end"] += pd.Timedelta(days=2000)
    later["age"] += 30
    report = synthgen.evaluate(make_rows(500, 0), make_rows(500, 1), later)
    assert "leaks" not in kinds(report)
    assert "training and held-out rows differ in other ways" in said(report, "unseen")


def test_labels_without_end_are_not_called_new():
    def names(n, seed):
        rng = np.random.default_rng(seed)
        return pd.DataFrame({"name": rng.zipf(1.5, n).clip(max=10**6).astype(str), "x": rng.normal(size=n)}).astype(
            {"name": "category"}
        )

    report = synthgen.evaluate(names(800, 0), names(800, 1))
    assert "no real row has" not in said(report, "differs")
    made = names(800, 1).astype({"name": str})
    made.loc[:300, "name"] = [f"n{i}" for i in range(301)]
    report = synthgen.evaluate(names(800, 0), made.astype({"name": "category"}))
    assert "no real row has, in 'name'" in said(report, "differs")


def test_progress_goes_from_nothing_to_all():
    shown = []
    synthgen.evaluate(*(make_rows(60, seed) for seed in range(3)), report=shown.append)
    assert shown == sorted(shown)
    assert shown[0] > 0
    assert shown[-1] == pytest.approx(1)


def noisy(n, seed):
    """Numbers that depend on each other, with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x[:, 1] += x[:, 0]
    return pd.DataFrame(x, columns=list("abc")).assign(y=np.where(x[:, 1] + x[:, 2] > 0, "up", "down"))


@pytest.mark.slow
def test_trees_that_learn_rows_by_heart_leak_more_than_others_and_the_law_itself_does_not():
    real, held = noisy(4000, 0), noisy(4000, 1)
    by_heart, wide = (synthgen.Synthesizer("trees", leaf=leaf).fit(real).generate(4000, seed=0) for leaf in (2, 100))
    found = [synthgen.evaluate(real, made, held) for made in (by_heart, wide, noisy(4000, 2))]
    assert ["leaks" in kinds(report) for report in found] == [True, True, False]  # drawn values are those of rows
    assert "Membership leaks" in said(found[0], "leaks")
    for name in ("nearest_share", "membership_auc", "membership_at_1_percent", "near_copies"):
        first, second, third = (report[f"disclosure.{name}"].value for report in found)
        assert first > 1.2 * second > 1.2 * 0.9 * third


def test_a_control_that_finds_something_by_chance_hides_no_leak():
    """Held-out rows that the attacks, by chance, tell from training rows a little, beside rows that are copied."""

    def attacks(*aucs):
        at = tuple(Finding(rate, proportion(rate * 1000, 1000), rate) for rate in RATES)
        return [Attack(f"attack {i}", "all", auc, at) for i, auc in enumerate(aucs)]

    none, some, much = Estimate(0.5, 0.4, 0.6), Estimate(0.6, 0.51, 0.69), Estimate(0.8, 0.75, 0.85)
    assert _found(attacks(none, none), attacks(none, none), 9).kind == "private"
    assert _found(attacks(none, some), attacks(none, none), 9).kind == "leaks"
    assert _found(attacks(none, some), attacks(none, some), 9).kind == "unseen"
    assert _found(attacks(none, much), attacks(none, some), 9).kind == "leaks"
    assert _found(attacks(none, much), attacks(none, much), 9).kind == "unseen"
    assert _found(attacks(none, none), attacks(none, much), 9).kind == "unseen"
