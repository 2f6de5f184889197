"""What a fit would take is known before it starts, and it stays below what is allowed."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import draw_pictures, make_people

from synthgen import Synthesizer, memory
from synthgen.data import Table, TableStream, open_table, plan, read_images, stream
from synthgen.data.plan import estimate
from synthgen.errors import ResourceError, SynthgenError

GIB = 1 << 30


@pytest.fixture
def small_blocks(monkeypatch):
    """Streams pay for some thousand rows already."""
    for module, name, value in (
        (stream, "BLOCK", 1024),
        (plan, "BLOCK", 1024),
        (plan, "FEWEST", 256),
        (plan, "MOST", 4096),
    ):
        monkeypatch.setattr(module, name, value)


QUICK = ("-s", "trees=1", "-s", "rounds=5", "-q")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2g", 2 * GIB),
        ("500M", 500 << 20),
        ("1.5 GiB", 3 * GIB // 2),
        ("2gb", 2 * GIB),
        ("1000", 1000),
        ("1t", 1024 * GIB),
    ],
)
def test_sizes_are_read(text, size):
    assert memory.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1g", "2x", "g", "1e9", "2 g g", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SynthgenError, match="is no size; write 500m or 2g"):
        memory.parse_size(text)


def test_free_memory_is_that_of_the_machine_or_of_the_group(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    8388608 kB\n",
        "/proc/self/cgroup": "4:memory:/job/task\n3:cpuset:/\n0::/unit\n",
    }
    monkeypatch.setattr(memory, "_read", lambda path: files.get(path.as_posix(), ""))
    assert memory.free() == 8 * GIB
    group = "/sys/fs/cgroup"
    files |= {f"{group}/memory.max": "max\n", f"{group}/memory.current": "77\n"}
    assert memory.free() == 8 * GIB
    files |= {f"{group}/unit/memory.max": f"{3 * GIB}\n", f"{group}/unit/memory.current": f"{GIB}\n"}
    files |= {f"{group}/unit/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n"}
    assert memory.free() == 5 * GIB // 2
    first = f"{group}/memory/job"
    files |= {f"{first}/memory.limit_in_bytes": f"{GIB}\n", f"{first}/memory.usage_in_bytes": f"{GIB // 2}\n"}
    files |= {f"{first}/memory.stat": f"inactive_file 3\ntotal_inactive_file {GIB // 4}\n"}
    assert memory.free() == 3 * GIB // 4
    files[f"{first}/memory.usage_in_bytes"] = f"{2 * GIB}\n"
    assert memory.free() == 0


def test_this_process_holds_some_memory_and_may_hold_more():
    psutil = pytest.importorskip("psutil")
    assert memory.resident() == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    assert memory.limit() > memory.resident()
    assert memory.free() <= psutil.virtual_memory().total


def save(path: Path, rows: int, columns: int = 4) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{j}": rng.integers(0, 50, rows) for j in range(columns)})
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_rows_are_estimated_from_the_head_and_the_size(tmp_path, name):
    found = estimate(TableStream.open(save(tmp_path / name, 300_000)))
    assert found.rows == pytest.approx(300_000, rel=0 if name == "t.parquet" else 0.02)
    assert found.columns == 4
    assert found.whole > 300_000 * 4 * 8


def test_the_estimate_is_what_its_formula_says(tmp_path):
    stream = TableStream.open(save(tmp_path / "t.parquet", 1000))
    found = estimate(stream)
    assert found.row == pytest.approx(4 * 8, rel=0.03)  # a bit for each cell says whether it is null
    assert found.whole == pytest.approx(plan.BASE + 1000 * (2 * found.row + 4 * plan.CELL), abs=1)
    assert estimate(stream, ["c0", "c1"]).columns == 2


def test_room_stays_below_the_limit_and_is_all_rows_or_a_round_number():
    need = plan.Estimate(10**7, 10, 80.0, 10**7)
    for most in np.linspace(need.least, need.whole, 50).astype(int).tolist():
        room = need.room(most)
        assert need.streamed(room) <= most
        assert room == plan.MOST or need.streamed(room * 5 // 4 + 1) > most
        assert room % (1 << max(0, room.bit_length() - 3)) == 0
    few = plan.Estimate(50_000, 10, 80.0, 0)
    assert few.room(few.streamed(50_000)) == 50_000


def test_what_fits_is_read_and_what_does_not_is_streamed(tmp_path, small_blocks):
    path, said = save(tmp_path / "t.csv", 200_000), []
    need = estimate(TableStream.open(path))
    assert isinstance(open_table(path, memory=need.whole, say=said.append), Table)
    assert said == []
    stream = open_table(path, memory=need.whole - 1, say=said.append)
    assert isinstance(stream, TableStream)
    assert stream.room <= need.rows
    assert re.fullmatch(
        r".*t.csv has about \d+ \d+ rows of 4 columns: a fit in memory needs about \d+ MiB, more than \d+ MiB allowed; "
        r"it is read block by block",
        said[0],
    )
    with pytest.raises(ResourceError, match=r"even block by block, more than \d+ MiB allowed; --drop columns"):
        open_table(path, memory=need.least - 1)
    with pytest.raises(ResourceError, match=r"a sample of 150000 needs about .* take a smaller --sample"):
        open_table(path, memory=need.of_rows(150_000) - 1, sample=150_000)
    assert isinstance(open_table(path, memory=need.whole - 1, sample=1000), TableStream)
    many = save(tmp_path / "wide.csv", 2000, 40)
    wide = estimate(TableStream.open(many))
    with pytest.raises(ResourceError):
        open_table(many, memory=wide.least - 1)
    dropped = [f"c{j}" for j in range(30)]
    assert open_table(many, memory=wide.least - 1, dropped=dropped)


def test_a_path_that_is_too_large_is_streamed_by_itself(tmp_path, small_blocks, monkeypatch):
    path = tmp_path / "t.csv"
    make_people(30_000).to_csv(path, index=False)
    stream = TableStream.open(path)
    monkeypatch.setattr(plan, "limit", lambda: estimate(stream).whole - 1)
    fitted = Synthesizer("trees", trees=1, rounds=5).fit(path)
    assert fitted.rows == 30_000
    assert "it is read block by block" in fitted.notes[0]


def test_the_command_streams_or_refuses(tmp_path, command, small_blocks):
    path, out = tmp_path / "t.csv", tmp_path / "m"
    make_people(30_000).to_csv(path, index=False)
    need = estimate(TableStream.open(path))
    done = command("fit", path, "-o", out, "-g", "trees", "--memory", need.whole - 1, *QUICK[:-1], "--given", "town")
    assert done.code == 0, done.err
    assert "it is read block by block" in done.err
    assert "a sample of 4096 of 30000 rows, the columns' frequencies are from all" in done.err
    assert "fitted on 30000 rows" in done.out
    assert command("generate", out, "-n", 20, "-o", tmp_path / "s.csv", "--given", "town=Lima").code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "s.csv", "t.csv"]
    refused = command("fit", path, "-o", tmp_path / "no", "-g", "trees", "--memory", "100m", *QUICK)
    assert refused.code == 4
    assert len(refused.err.splitlines()) == 1
    assert "more than 100 MiB allowed" in refused.err
    sampled = command("fit", path, "-o", out, "-g", "trees", "--memory", need.whole - 1, "--sample", 500, *QUICK)
    assert sampled.code == 0
    assert "fitted on 500 rows" in sampled.out
    assert command("fit", path, "-o", out, "--memory", "much").code == 2
    assert not (tmp_path / "no").exists()


def test_a_private_fit_is_not_judged_by_its_rows(tmp_path, command):
    path = save(tmp_path / "t.csv", 100)
    private = ("--epsilon", 1, "--delta", "1e-6", "--memory", "2g")
    refused = command("fit", path, "-o", tmp_path / "m", *private)
    assert refused.code == 3
    assert "--memory cannot be had under a privacy budget: what does not fit would tell" in refused.err


@pytest.mark.slow
def test_auto_measures_on_some_rows_of_what_is_streamed(tmp_path, command, small_blocks, monkeypatch):
    path = tmp_path / "t.parquet"
    make_people(30_000).drop(columns=["id", "wage"]).to_parquet(path, index=False)
    monkeypatch.setattr("synthgen.compare.SAMPLE", 600)
    need = estimate(TableStream.open(path))
    done = command("fit", path, "-o", tmp_path / "m", "--memory", need.whole - 1, "--max-time", "20s")
    assert done.code == 0, done.err
    assert "on a sample of 400 rows" in done.err


def test_images_that_would_not_fit_are_refused_before_they_are_read(tmp_path, command):
    folder = draw_pictures(tmp_path / "pictures", (40, 40))
    refused = command("fit", folder, "-o", tmp_path / "m", "-g", "gmm", "--memory", "650m")
    assert refused.code == 4
    assert "a fit of 60 images of 40 x 40 pixels needs about" in refused.err
    assert "choose a smaller --size, fewer images, or allow more with --memory" in refused.err
    assert len(read_images(folder, memory=2 * GIB)) == 60


def test_a_table_of_nested_columns_is_refused_as_ever(tmp_path):
    pq.write_table(pa.table({"a": [[1, 2]] * 20, "b": range(20)}), tmp_path / "t.parquet")
    with pytest.raises(SynthgenError, match="column 'a' has type list"):
        Synthesizer("trees").fit(tmp_path / "t.parquet")
    with pytest.raises(SynthgenError, match="column 'a' has type list"):
        Synthesizer("trees").fit(TableStream.open(tmp_path / "t.parquet"))
