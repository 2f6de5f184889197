"""`synthgen fit --epsilon` and `synthgen verify`."""

import json

import pytest
from conftest import make_people

pytest.importorskip("opendp")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("private") / "people.csv"
    make_people(3000).drop(columns=["id", "joined"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(table, tmp_path_factory):
    from synthgen import Synthesizer
    from synthgen.dp.budget import Budget

    path = tmp_path_factory.mktemp("private") / "model"
    Synthesizer("marginals").fit(table, budget=Budget(3.0, 1e-6)).save(path)
    return path


def test_a_private_fit_says_what_was_spent_and_can_be_verified(command, table, tmp_path):
    out = tmp_path / "model"
    done = command("fit", table, "-o", out, "--epsilon", 3, "--delta", "1e-6")
    assert done.code == 0, done.err
    assert "epsilon 3" in done.out
    assert "record-level" in done.out
    assert "anonym" not in done.out + done.err
    checked = command("verify", out)
    assert checked.code == 0
    assert "add up to epsilon" in checked.out


def test_the_json_of_a_private_fit_holds_the_certificate_and_no_exact_count(command, table, tmp_path):
    done = command("fit", table, "-o", tmp_path / "m", "--epsilon", 1, "--delta", "1e-6", "--json", "-q")
    body = json.loads(done.out)
    assert body["certificate"]["relation"] == "one record added or removed"
    assert body["certificate"]["queries"][0]["what"] == "number of records"
    assert body["rows" if "rows" in body else "records"] != 3000


def test_generated_rows_look_like_the_table(command, model, tmp_path):
    done = command("generate", model, "-n", 500, "-o", tmp_path / "new.csv")
    assert done.code == 0, done.err
    lines = (tmp_path / "new.csv").read_text().splitlines()
    assert lines[0] == "town,age,wage,sport"
    assert len(lines) == 501
    assert {line.split(",")[0] for line in lines[1:]} <= {"Oslo", "Lima", "Cairo"}


def test_rows_keep_what_columns_have_in_common(model):
    from synthgen import Synthesizer

    frame = Synthesizer.load(model).generate(2000)
    oslo = frame[frame.town == "Oslo"]
    assert (oslo.sport == "ski").mean() > 0.7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epsilon", 1], "both --epsilon and --delta"),
        (["--delta", "1e-6"], "both --epsilon and --delta"),
        (["--epsilon", 0, "--delta", "1e-6"], "greater than 0"),
        (["--epsilon", -1, "--delta", "1e-6"], "greater than 0"),
        (["--epsilon", 1, "--delta", 0], "between 0 and 1"),
        (["--epsilon", 1, "--delta", 1], "between 0 and 1"),
        (["--epsilon", "nan", "--delta", "1e-6"], "epsilon is nan"),
        (["--epsilon", 1, "--delta", "1e-6", "--seed", 3], "--seed cannot be had"),
        (["--epsilon", 1, "--delta", "1e-6", "--sample", 100], "--sample cannot be had"),
        (["--epsilon", 1, "--delta", "1e-6", "--given", "town", "--given", "sport"], "one column can be given"),
        (["--privacy-unit", "town"], "both --epsilon and --delta"),
        (["--epsilon", 1, "--delta", "1e-6", "-g", "trees"], "trees cannot be fitted under a privacy budget"),
        (["--epsilon", 1, "--delta", "1e-6", "-g", "gmm"], "looks at the records"),
        (["--epsilon", "1e-5", "--delta", "1e-6"], "too small"),
    ],
)
def test_what_cannot_be_had_under_a_budget_is_refused_with_a_reason(command, table, tmp_path, options, said):
    done = command("fit", table, "-o", tmp_path / "m", *options)
    assert done.code == 3, done.err
    assert said in done.err
    assert not (tmp_path / "m").exists()


def test_a_ledger_adds_up_fits_on_the_same_data(command, table, tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    arguments = ["--epsilon", 1, "--delta", "1e-6", "--ledger", ledger]
    first = command("fit", table, "-o", tmp_path / "a", *arguments)
    assert "before" not in first.err
    second = command("fit", table, "-o", tmp_path / "b", *arguments)
    assert "fitted once before: together those fits spent epsilon" in second.err
    sources = {json.loads(line)["source"] for line in ledger.read_text().splitlines()}
    assert len(sources) == 1


def test_verify_refuses_a_certificate_that_was_changed(command, model, tmp_path):
    import shutil

    from synthgen import artifact

    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    manifest, weights = artifact.load(copy)
    manifest["certificate"]["queries"].pop()
    artifact.save(copy, manifest, weights)  # hashes are right, the sum is not
    done = command("verify", copy)
    assert done.code == 2
    assert "add up" in done.err


def test_verify_of_a_model_without_a_budget_says_so(command, trees_model):
    done = command("verify", trees_model)
    assert done.code == 0
    assert "no formal guarantee" in done.out


def test_no_cell_that_one_record_holds_is_in_the_model(tmp_path):
    from synthgen import Synthesizer
    from synthgen.dp.budget import Budget

    frame = make_people(2000).drop(columns=["joined"])
    frame.loc[7, "town"], frame.loc[7, "sport"], frame.loc[7, "wage"] = "CANARY-7f3a", "CANARY-9b2c", 98765432.1
    Synthesizer("marginals").fit(frame, budget=Budget(3.0, 1e-6)).save(tmp_path / "model")
    for file in (tmp_path / "model").iterdir():
        data = file.read_bytes()
        for canary in (b"CANARY-7f3a", b"CANARY-9b2c", b"98765432", b"P000007"):
            assert canary not in data


def test_a_fit_that_is_stopped_at_once_says_that_its_ledger_stays(command, table, tmp_path, monkeypatch):
    from synthgen import Synthesizer

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Synthesizer, "fit", stopped)
    arguments = ["fit", table, "-o", tmp_path / "m", "--epsilon", 3, "--delta", "1e-6", "--ledger", tmp_path / "ledger"]
    told = command(*arguments)
    assert (told.code, told.out) == (130, "")
    assert told.err.splitlines()[-1] == (
        f"synthgen: interrupted; there is no model, and what the ledger {tmp_path / 'ledger'} says is spent"
    )
    assert "ledger" not in command(*arguments[:-2]).err
