"""Generating in shards: parts are the chunks of the whole, whoever makes them, and a killed run goes on."""

import hashlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from synthgen import Synthesizer, SynthgenError, shards
from synthgen.data import Table
from synthgen.errors import ResourceError
from synthgen.shards import Plan, Shards, make_all

PLANES = Path(__file__).parents[1] / "examples" / "planes.csv"
N = 150_000  # three chunks
SYNTHGEN = [sys.executable, "-W", "error", "-m", "synthgen"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "planes"
    Synthesizer("trees", rounds=0, given=["engine"]).fit(PLANES).save(path)
    return path


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The folder of three parts, as one process makes it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert len(make_all(Shards.begin(model, out, N, 3))) == 3
    return out


@pytest.fixture(scope="module")
def eight(model, tmp_path_factory):
    """Hashes of eight parts of a chunk each."""
    out = tmp_path_factory.mktemp("eight") / "out"
    make_all(Shards.begin(model, out, 8 * 65_536, 8))
    return parts(out)


def run(*arguments, **options):
    return subprocess.run([*SYNTHGEN, *map(str, arguments)], capture_output=True, text=True, **options)


def parts(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("part-*"))}


@pytest.mark.parametrize(("n", "count"), [(1, 1), (65_536, 1), (65_537, 2), (10**9, 1000), (10**9, 7), (200_000, 4)])
def test_shards_are_all_chunks_in_order(n, count):
    plan = Plan(model="", n=n, shards=count, chunk=65_536, seed=0, format="csv")
    ranges = [plan.held(i) for i in range(count)]
    assert [k for r in ranges for k in r] == list(range(plan.chunks))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
    assert sum(len(plan.records(i)) for i in range(count)) == n
    records = [plan.records(i) for i in range(count)]
    assert all(a.stop == b.start for a, b in itertools.pairwise(records))


def test_the_parts_are_the_rows_of_one_file(command, model, whole, tmp_path):
    assert command("generate", model, "-n", N, "-o", tmp_path / "one.parquet").code == 0
    one = pq.read_table(tmp_path / "one.parquet")
    assert pa.concat_tables([pq.read_table(p) for p in sorted(whole.glob("part-*"))]).equals(one)


def test_the_folder_is_read_as_a_dataset(whole):
    assert len(pd.read_parquet(whole)) == N
    assert ds.dataset(whole).count_rows() == N
    assert sorted(p.name for p in whole.iterdir()) == ["_done", "_plan.json", *parts(whole)]


def test_records_are_what_sha256sum_reads(whole):
    lines = "".join(p.read_text() for p in sorted((whole / "_done").iterdir()))
    assert lines == "".join(f"{found}  {name}\n" for name, found in parts(whole).items())


@pytest.mark.slow
def test_datasets_reads_the_folder(whole, tmp_path):
    pytest.importorskip("datasets")
    code = (
        "import sys, datasets; datasets.disable_progress_bars()\n"
        "print(len(datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])['train']))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", code, whole, tmp_path], capture_output=True, text=True, env=env)
    assert told.stdout.strip() == str(N), told.stderr


def test_the_plan_names_no_paths(model, whole):
    text = (whole / "_plan.json").read_text("utf-8")
    assert json.loads(text)["n"] == N
    assert str(model.parent) not in text
    assert str(whole.parent) not in text


def test_one_shard_by_itself(command, model, whole, tmp_path):
    out = tmp_path / "out"
    generate = ["generate", model, "-n", "150k", "--shards", 3, "-o", out, "--json"]
    told = command(*generate, "--shard", 1)
    assert told.code == 0, told.err
    name = "part-00001-of-00003.parquet"
    assert parts(out) == {name: parts(whole)[name]}
    assert json.loads(told.out)["sha256"] == parts(whole)[name]
    before = (out / name).stat().st_mtime_ns
    assert json.loads(command(*generate).out)["made"] == 2
    assert parts(out) == parts(whole)
    assert (out / name).stat().st_mtime_ns == before
    assert json.loads(command(*generate).out)["made"] == 0


@pytest.mark.parametrize("hurt", ["cut", "unrecorded", "changed"])
def test_a_part_that_is_not_what_its_record_says_is_made_again(model, whole, tmp_path, hurt):
    job = Shards.begin(model, tmp_path / "out", N, 3)
    make_all(job)
    if hurt == "cut":
        os.truncate(job.path(2), 1000)
    elif hurt == "unrecorded":
        job.record(2).unlink()
    else:
        job.path(2).write_bytes(job.path(1).read_bytes())
    assert [part.shard for part in make_all(job)] == [2]
    assert parts(job.out) == parts(whole)


@pytest.mark.slow
def test_processes_make_the_same_parts_and_the_same_file(model, whole, tmp_path):
    told = run("generate", model, "-n", N, "--shards", 3, "--workers", 2, "-o", tmp_path / "out", "-q")
    assert (told.returncode, told.stderr) == (0, "")
    assert parts(tmp_path / "out") == parts(whole)
    told = run("generate", model, "-n", N, "--workers", 2, "-o", tmp_path / "one.parquet", "-q")
    assert (told.returncode, told.stderr) == (0, "")
    rows = pd.concat([pd.read_parquet(p) for p in sorted(whole.glob("part-*"))], ignore_index=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "one.parquet"), rows)


@pytest.mark.slow
def test_ray_makes_the_same_parts(model, whole, tmp_path):
    pytest.importorskip("ray")
    env = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    env["RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION"] = "0.01"
    arguments = ["-n", N, "--shards", 3, "--engine", "ray", "--workers", 2, "-o", tmp_path / "out", "-q"]
    told = subprocess.run(
        [sys.executable, "-m", "synthgen", "generate", model, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
    )
    assert told.returncode == 0, told.stderr
    assert parts(tmp_path / "out") == parts(whole)


def test_without_ray_the_install_line(command, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    told = command("generate", model, "-n", N, "--shards", 3, "--engine", "ray", "-o", tmp_path / "out")
    assert told.code == 4
    assert "pip install 'synthgen-toolkit[ray]'" in told.err


def start(*arguments):
    return subprocess.Popen([*SYNTHGEN, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def wait_for(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def workers_of(process):
    """Processes that were spawned by one."""
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(t) for t in tasks if b"spawn_main" in Path(f"/proc/{t}/cmdline").read_bytes()]


def gone(pids):
    return not any(Path(f"/proc/{p}/stat").exists() and running(p) for p in pids)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("how", ["kill", "ctrl-c", "a worker"])
def test_what_is_killed_goes_on(command, model, eight, tmp_path, how):
    n, out = 8 * 65_536, tmp_path / "out"
    generate = ["generate", model, "-n", n, "--shards", 8, "-o", out, "-q"]
    process = start(*generate, "--workers", 2)
    wait_for(lambda: any(out.glob("_done/*.sha256")) or process.poll() is not None)
    process.send_signal(signal.SIGSTOP)  # it hands out no more work, so that it cannot end first on a busy machine
    workers = workers_of(process)
    assert len(workers) == 2
    if how == "a worker":
        os.kill(workers[0], signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=60)[1]
    wait_for(lambda: gone(workers))
    if how != "kill":
        assert process.returncode == (130 if how == "ctrl-c" else 4), said
        assert said.count("\n") == 1, said
        assert "of 8 shards are done: go on with the same command" in said
    done = {p: p.stat().st_mtime_ns for p in out.glob("part-*") if Shards.begin(model, out, n, 8).done(number(p))}
    assert 1 <= len(done) < 8
    assert command(*generate).code == 0
    assert all(p.stat().st_mtime_ns == when for p, when in done.items())
    assert len(pd.read_parquet(out, columns=["seats"])) == n
    assert parts(out) == eight
    assert not list(out.rglob(".*"))


def number(part):
    return int(part.name.split("-")[1])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"n": N + 1}, "n is 150000, not 150001"),
        ({"seed": 1}, "seed"),
        ({"shards": 2}, "shards"),
        ({"format": "csv"}, "format"),
    ],
)
def test_another_plan_is_refused(model, whole, changed, word):
    with pytest.raises(SynthgenError, match=f"was begun with another plan: its {word}"):
        Shards.begin(**{"model": model, "out": whole, "n": N, "shards": 3, **changed})


def test_another_model_is_refused(model, whole, trees_model, tmp_path):
    with pytest.raises(SynthgenError, match="its model is"):
        Shards.begin(trees_model, whole, N, 3)
    job = Shards.begin(model, tmp_path / "out", N, 3)
    with pytest.raises(SynthgenError, match="was changed since"):
        replace(job, model=trees_model).make(0)


def test_a_shard_that_is_not_there(model, whole):
    for shard in (-1, 3):
        with pytest.raises(SynthgenError, match=f"there is no shard {shard}; those of 3 are 0 to 2"):
            Shards.begin(model, whole, N, 3).make(shard)


def test_a_folder_of_something_else_is_refused(model, tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(SynthgenError, match=r"holds letters\.txt and no plan"):
        Shards.begin(model, tmp_path, N, 3)
    with pytest.raises(SynthgenError, match="is a file"):
        Shards.begin(model, tmp_path / "letters.txt", N, 3)
    with pytest.raises(SynthgenError, match="there is no folder"):
        Shards.begin(model, tmp_path / "a" / "b", N, 3)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"n": 0}', '{"synthgen": "0.1.0", "n": 5, "shards": 9}'])
def test_a_damaged_plan_is_refused(model, tmp_path, text):
    (tmp_path / "_plan.json").write_text(text)
    with pytest.raises(SynthgenError, match="is no plan of shards"):
        Shards.begin(model, tmp_path, N, 3)


def test_a_changed_plan_stops_whoever_works_by_the_old_one(model, tmp_path):
    job = Shards.begin(model, tmp_path / "out", N, 3)
    other = job.plan.model_copy(update={"seed": 5})
    (job.out / "_plan.json").write_text(other.text())
    with pytest.raises(SynthgenError, match="another plan"):
        job.make(0)
    assert not job.record(0).exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--shards", 4], "at most 3 shards"),
        (["--shards", 3, "--shard", 3], "those of 3 are 0 to 2"),
        (["--shard", 1], "--shards"),
        (["--engine", "ray"], "--shards"),
        (["--format", "csv"], "--shards"),
        (["--shards", 3, "--shard", 1, "--workers", 2], "--shard makes one part"),
        (["--shards", 3, "--format", "webdataset"], "have no format 'webdataset'; give parquet, csv, csv.gz"),
        (["--shards", 3, "--given", "engine=Warp"], "has no value 'Warp'"),
        (["--shards", 3, "--given-file", "nowhere.csv"], "there is no file nowhere.csv"),
    ],
)
def test_what_cannot_be_is_said(command, model, tmp_path, options, sentence):
    told = command("generate", model, "-n", N, "-o", tmp_path / "out", *options)
    assert told.code == 2
    assert sentence in told.err
    assert not (tmp_path / "out").exists()


def test_shards_are_no_file(command, model, tmp_path):
    told = command("generate", model, "-n", N, "-o", tmp_path / "out.parquet", "--shards", 3)
    assert told.code == 2
    assert "give -o FOLDER" in told.err


@pytest.mark.parametrize(("text", "n"), [("5", 5), ("2k", 2000), ("0.5K", 500), ("1_000", 1000)])
def test_numbers_of_records_have_suffixes(command, model, tmp_path, text, n):
    assert json.loads(command("generate", model, "-n", text, "-o", tmp_path / "x.csv", "--json").out)["rows"] == n


@pytest.mark.parametrize("text", ["0", "-5", "many", "1.5", "1e6", "5T", "", "99999999999G"])
def test_other_numbers_are_refused(command, model, tmp_path, text):
    told = command("generate", model, "-n", text, "-o", tmp_path / "x.csv")
    assert told.code == 2
    assert not list(tmp_path.iterdir())


def test_the_rows_of_a_file_are_taken_in_turn_over_all_shards(command, model, tmp_path):
    engines = ["Turbo-fan", "Turbo-jet", "Reciprocating"]
    given = pd.DataFrame({"engine": np.resize(engines, N // 2)})  # not in step with the chunks
    given.to_csv(tmp_path / "given.csv", index=False)
    out = tmp_path / "out"
    told = command("generate", model, "-n", N, "--given-file", tmp_path / "given.csv", "--shards", 3, "-o", out)
    assert told.code == 0, told.err
    assert list(pd.read_parquet(out).engine) == 2 * list(given.engine)
    given[::-1].to_csv(tmp_path / "given.csv", index=False)
    told = command("generate", model, "-n", N, "--given-file", tmp_path / "given.csv", "--shards", 3, "-o", out)
    assert "its given file is" in told.err


def test_given_holds_in_all_shards(model, tmp_path):
    job = Shards.begin(model, tmp_path / "out", N, 3, given={"engine": "Turbo-jet"}, format="csv.gz")
    make_all(job)
    assert [p.name for p in sorted(job.out.glob("part-*"))] == [f"part-0000{i}-of-00003.csv.gz" for i in range(3)]
    frame = pd.concat([pd.read_csv(p) for p in job.out.glob("part-*")])
    assert len(frame) == N
    assert set(frame.engine) == {"Turbo-jet"}


def test_shards_travel(model, whole, tmp_path):
    """As Spark and Dask send them."""
    job = pickle.loads(pickle.dumps(Shards.begin(model, tmp_path / "out", N, 3)))
    assert [job.make(i).sha256 for i in (2, 0, 1)] == [list(parts(whole).values())[i] for i in (2, 0, 1)]


def test_a_full_disk_says_how_far_it_came(model, tmp_path, monkeypatch):
    job = Shards.begin(model, tmp_path / "out", N, 3)
    write = Synthesizer.write

    def full(self, path, n, **options):
        if "00001" in Path(path).name:
            raise ResourceError(f"no space left to write {path}; nothing was written")
        write(self, path, n, **options)

    monkeypatch.setattr(Synthesizer, "write", full)
    with pytest.raises(ResourceError, match="1 of 3 shards are done: go on with the same command"):
        make_all(job)


def test_a_stream_of_some_chunks_is_a_piece_of_the_whole(model):
    synthesizer = Synthesizer.load(model)
    table = Table.join(list(synthesizer.stream(N))).data
    assert Table.join(list(synthesizer.stream(N, only=range(1, 3)))).data.equals(table.slice(65_536))
    assert not list(synthesizer.stream(N, only=range(3, 3)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_images_become_webdataset_shards(command, pictures_model, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    out, n = tmp_path / "out", 1500
    told = command("generate", pictures_model, "-n", n, "--shards", 2, "-o", out)
    assert told.code == 0, told.err
    whole = Synthesizer.load(pictures_model).generate(n)
    files = [str(p) for p in sorted(out.glob("*.tar"))]
    read = list(webdataset.WebDataset(files, shardshuffle=False).decode("rgb8"))
    np.testing.assert_array_equal([record["png"] for record in read], whole.pixels)
    assert [record["cls"] for record in read] == list(whole.labels)
    assert [record["json"]["label"] for record in read] == [whole.schema.classes[i] for i in whole.labels]
    assert [record["__key__"] for record in read] == [f"{i:09d}" for i in range(n)]
    before = parts(out)
    assert len(make_all(Shards.begin(pictures_model, tmp_path / "again", n, 2))) == 2
    assert parts(tmp_path / "again") == before


def test_images_in_one_tar_are_the_images_of_the_shards(command, pictures_model, tmp_path):
    assert command("generate", pictures_model, "-n", 1100, "-o", tmp_path / "one.tar").code == 0
    make_all(Shards.begin(pictures_model, tmp_path / "out", 1100, 2))
    members = [member for p in sorted((tmp_path / "out").glob("*.tar")) for member in members_of(p)]
    assert members_of(tmp_path / "one.tar") == members


def members_of(path):
    with tarfile.open(path) as archive:
        return [(m.name, m.mtime, m.uid, m.uname, archive.extractfile(m).read()) for m in archive]


def test_the_formats_of_the_command_are_those_of_the_library():
    from synthgen.cli.shards import ENGINES, FORMATS

    assert tuple(shards.FORMATS) == FORMATS
    assert tuple(shards.engines._ENGINES) == ENGINES
