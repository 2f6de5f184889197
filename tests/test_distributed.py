"""One fit by two processes, which meet as those of torchrun do. As a script, this file is one of the processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from synthgen import Recipe, Records, Synthesizer, Training, distributed
from synthgen.cli import main
from synthgen.dp.budget import Budget
from synthgen.dp.clipping import ClippedSum
from synthgen.dp.records import PrivateRecords
from synthgen.dp.sgd import Plan, private_gradient
from synthgen.errors import BudgetError
from synthgen.generator import Generator
from synthgen.space import EMPTY, Space

LONG = 120  # seconds: more than any of this takes on a busy machine, less than a test may hang
NUMBERS = 20_000  # of a gradient that is nothing but noise
# one pass, after which the order of the records depends on how many coins the loss has tossed
TABLE = {"autoregressive": {"any_order": 0, "epochs": 1, "width": 16}, "vae": {"epochs": 2, "width": 8, "rounds": 9}}


class Line(Generator):
    """A line through points, whose loss draws nothing; its last parameter is used by no loss."""

    def __init__(self):
        super().__init__(Space((3,), (0, 0, 0), (True, True, True)), EMPTY, None)
        self.layer, self.idle = nn.Linear(2, 1), nn.Linear(1, 1)

    def loss(self, x, c):
        return (self.layer(x[:, :2])[:, 0] - x[:, 2]).square()


def line():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Line()


def points(n=101):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    x[:, 2] = x[:, 0] - 2 * x[:, 1]
    return x


def trained():
    """A line after some steps, whose last batches are smaller than the others."""
    torch.manual_seed(5)
    model = line()
    training = Training(Recipe(steps=30, batch_size=40, learning_rate=0.05))
    training.train(model.objectives(), Records(points()))
    return model.state_dict() | {"next draw": torch.rand(1)}


def behind_budget(persons=None):
    x = points()
    held = x if distributed.current().main else x[:0]
    known = (x[:10], x.new_zeros(10, 0))
    space = Space((3,), (0, 0, 0), (True, True, True))
    return PrivateRecords(held, held.new_zeros(len(held), 0), space, EMPTY, known, 100, Budget(1, 1e-5), persons, 3)


def summed(records):
    """All gradients of the records that processes hold, without noise."""
    own = records._own_share()
    model = line()
    clipped = ClippedSum(model, model.loss, 0.3)
    gradient = private_gradient(clipped, own._x, own._c, Plan(1.0, 0.0, 1, 1.0), own._persons)
    return torch.cat([g.flatten() for g in gradient])


def noise():
    """The gradient of a loss that depends on nothing."""
    module = nn.Linear(NUMBERS, 1, bias=False)
    clipped = ClippedSum(module, lambda x, c: 0 * module(x.new_zeros(len(x), NUMBERS))[:, 0], 0.5)
    own = behind_budget()._own_share()
    return private_gradient(clipped, own._x, own._c, Plan(0.5, 2.0, 1, 10.0))[0].flatten()


def basics(folder):
    """What processes tell each other."""
    torch.manual_seed(7)
    group, rank = distributed.current(), distributed.current().rank
    total = torch.tensor([float(rank + 1), 5.0])
    group.sum([total[:1], total[1:]])
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[rank].grad = torch.full((2,), float(rank + 1))
    loss = group.add_up(parameters, torch.tensor(float(rank)))
    odd = {"a": torch.tensor([rank, 2], dtype=torch.int16), "b": torch.tensor([rank == 0])}
    told = group.tensors(lambda: odd)
    dealt = group.deal(lambda r: {"r": torch.tensor([r])})
    assert group.json(lambda: {"rank": rank, "alone": distributed.current().world}) == {"rank": 0, "alone": 1}
    assert group.agree(rank + 0.25) == 0.25
    assert int(dealt["r"]) == rank
    with group.own_draws(torch.device("cpu")):
        own = torch.rand(1)
    return {
        "sum": total,
        "gradients": torch.stack([p.grad for p in parameters[:2]]),
        "idle": torch.tensor(parameters[2].grad is None),
        "loss": loss.reshape(1),
        "a": told["a"].clone(),
        "b": told["b"].clone(),
        "own": own,
        "part": group.part(torch.arange(3)),
        "shared": torch.rand(1),
    }


def parts(folder):
    """The cheap laws, by one start of two processes."""
    persons = np.repeat(np.arange(26), 4)[:101]
    return basics(folder) | {
        **{f"line.{k}": t for k, t in trained().items()},
        "summed": summed(behind_budget()),
        "persons": summed(behind_budget(persons if distributed.current().main else None)),
        "held": torch.tensor([len(behind_budget()._own_share()._x)]),
        "noise": noise(),
        "refusal": refusal(),
    }


def table(folder):
    models = {g: Synthesizer(g, seed=3, **s).fit(folder / "people.csv") for g, s in TABLE.items()}
    return {f"{g}.{k}": t for g, m in models.items() for k, t in m.model.state_dict().items()}


def pictures_of(folder):
    small = {"steps": 4, "width": 8, "latent": 8, "components": 2}
    plain = Synthesizer("vae", **small).fit(folder / "shapes").model.state_dict()
    private = Synthesizer("autoencoder", **small).fit(folder / "shapes", budget=Budget(10, 1e-4)).model.state_dict()
    return {f"{k}.{name}": t for k, weights in enumerate((plain, private)) for name, t in weights.items()}


def refusal():
    """What a family is told that looks at records besides its training, outside of `once`."""
    try:
        behind_budget().normal(lambda x, c: x, 1.0, 0.1)
    except BudgetError as error:
        return torch.tensor(list(str(error).encode()))


def command_of(folder, arguments):
    """`synthgen ARGUMENTS`, which leaves a file when the fit is going on."""
    progress = Training.progress

    def noted(self, done, **figures):
        (folder / f"fits.{os.environ['RANK']}").touch()
        progress(self, done, **figures)

    Training.progress = noted
    main(arguments)
    sys.exit()


def started(arguments, rank, port, **popen):
    """Process `rank` of two."""
    env = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=env, **pipes, **popen)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def both(one, other=None):
    port = free_port()
    return [started(arguments, rank, port) for rank, arguments in enumerate((one, other or one))]


def ended(processes):
    """Exit codes, and what was printed."""
    try:
        said = [p.communicate(timeout=LONG) for p in processes]
    finally:
        for p in processes:
            p.kill()
    return [p.returncode for p in processes], [out + err for out, err in said]


def worked(job, folder):
    """What both processes found."""
    codes, said = ended(both([__file__, job, folder]))
    assert codes == [0, 0], said
    return [load_file(folder / f"{job}.{rank}.safetensors") for rank in range(2)]


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return worked("parts", tmp_path_factory.mktemp("parts"))


def test_processes_tell_each_other_numbers_and_tensors(found):
    for one in found:
        assert one["sum"].tolist() == [3, 10]
        assert one["gradients"].tolist() == [[1, 1], [2, 2]]
        assert one["idle"].item()
        assert one["loss"].tolist() == [1]
        assert one["a"].tolist() == [0, 2]
        assert one["b"].tolist() == [True]
    assert torch.cat([one["part"] for one in found]).tolist() == [0, 1, 2]
    assert found[0]["own"] != found[1]["own"]
    assert found[0]["shared"] == found[1]["shared"]


def test_two_processes_learn_what_one_does(found):
    expected = trained()
    for one in found:
        for name, tensor in expected.items():
            torch.testing.assert_close(one[f"line.{name}"], tensor, rtol=1e-4, atol=1e-5)
    same(*({k: t for k, t in one.items() if k.startswith("line.")} for one in found))


def test_sums_over_processes_are_those_of_one(found):
    assert [int(one["held"]) for one in found] == [51, 50]
    persons = np.repeat(np.arange(26), 4)[:101]
    for name, expected in (("summed", summed(behind_budget())), ("persons", summed(behind_budget(persons)))):
        for one in found:
            torch.testing.assert_close(one[name], expected, rtol=0, atol=1e-5)


def test_noise_is_added_once(found):
    one, other = (f["noise"] for f in found)
    assert torch.equal(one, other)
    # the deviation is sigma times bound over divisor; that of 20 000 numbers is off by .5 %, so this by ten deviations
    assert float(one.std()) == pytest.approx(2.0 * 0.5 / 10, rel=0.05)
    assert len(one.unique()) > NUMBERS / 2


def test_alone_nothing_is_sent():
    group = distributed.current()
    tensor = torch.ones(3)
    group.sum([tensor])
    assert group.part(tensor) is tensor
    assert tensor.tolist() == [1, 1, 1]
    assert group.agree(0.5) == 0.5
    assert group.json(lambda: "x") == "x"
    with distributed.joined() as joined:
        assert joined is distributed.ALONE


@pytest.mark.parametrize("variable", [{"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "4"}])
def test_one_process_of_torchrun_is_alone(variable, monkeypatch):
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    with distributed.joined() as group:
        assert group.world == 1


@pytest.mark.slow
def test_tables_are_fitted_as_by_one_process(people_csv, tmp_path):
    (tmp_path / "people.csv").write_bytes(people_csv.read_bytes())
    one, other = worked("table", tmp_path)
    same(one, other)
    alone = Synthesizer("autoregressive", seed=3, **TABLE["autoregressive"]).fit(people_csv).model.state_dict()
    for name, tensor in alone.items():
        torch.testing.assert_close(one[f"autoregressive.{name}"], tensor, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_images_are_fitted_by_two_processes(pictures, tmp_path):
    pytest.importorskip("opendp")
    (tmp_path / "shapes").symlink_to(pictures)
    same(*worked("pictures_of", tmp_path))


def test_what_is_asked_besides_a_training_is_refused(found):
    for one in found:
        assert bytes(one["refusal"].tolist()).decode().startswith("the generator asks for more than its training")


@pytest.mark.slow
def test_torchrun_fits_under_a_budget(people_csv, tmp_path, command):
    pytest.importorskip("opendp")
    out, ledger = tmp_path / "model", tmp_path / "ledger"
    options = ["-g", "gan", "-s", "steps=20", "-s", "width=8", "--drop", "id", "--device", "cpu"]
    budget = ["--epsilon", "5", "--delta", "1e-5", "--ledger", str(ledger), "--max-time", "1h"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    fit = [*torchrun, "-m", "synthgen", "fit", str(people_csv), "-o", str(out), *options, *budget]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(fit, capture_output=True, text=True, timeout=LONG, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fitted on about") == 1
    assert command("verify", out).code == 0
    charged = ledger.read_text("utf-8").splitlines()
    assert len(charged) == len(Synthesizer.load(out).certificate["queries"])
    assert command("generate", out, "-n", 20, "-o", tmp_path / "new.csv").code == 0


@pytest.mark.slow
def test_families_without_a_loop_are_fitted_by_one_of_the_processes(people_csv, tmp_path):
    out = tmp_path / "model"
    codes, said = ended(both(["-m", "synthgen", "fit", people_csv, "-o", out, "-g", "gmm", "--device", "cpu"]))
    assert codes == [0, 0], said
    assert "the others only waited" in said[0]
    assert not said[1]
    alone = Synthesizer("gmm", device="cpu").fit(people_csv).model.state_dict()
    same(alone, Synthesizer.load(out).model.state_dict())


def fitting(folder, *options):
    """Two processes in the middle of a long fit."""
    processes = both([__file__, "command", folder, "fit", *options])
    end = time.monotonic() + LONG
    while not all((folder / f"fits.{rank}").exists() or p.poll() is not None for rank, p in enumerate(processes)):
        assert time.monotonic() < end
        time.sleep(0.1)
    return processes


@pytest.mark.slow
def test_time_ends_for_all_processes_at_once(people_csv, tmp_path):
    options = ["-g", "vae", "-s", "epochs=100000", "-s", "rounds=10", "--max-time", "3s"]
    codes, said = ended(fitting(tmp_path, people_csv, "-o", tmp_path / "m", *options))
    assert codes == [0, 0], said
    assert "time allowed" in said[0]
    assert not said[1]


@pytest.mark.slow
def test_the_user_stops_all_processes_and_goes_on_with_one(people_csv, tmp_path, command):
    options = [people_csv, "-o", tmp_path / "m", "-g", "autoregressive", "-s", "width=8", "-s", "steps=1000"]
    processes = fitting(tmp_path, *options, "--device", "cpu")
    for p in processes:
        p.send_signal(signal.SIGINT)
    codes, said = ended(processes)
    assert codes == [130, 130], said
    assert "".join(said).count("go on with the same command and --resume") == 1
    assert command("fit", *options, "--device", "cpu", "--resume").code == 0


@pytest.mark.slow
def test_a_process_with_other_data_ends_all_in_one_line(people, people_csv, tmp_path):
    other = tmp_path / "other.csv"
    people[:-1].to_csv(other, index=False)
    fit = ["-m", "synthgen", "fit", "-o", tmp_path / "m", "-g", "vae"]
    codes, said = ended(both([*fit, people_csv], [*fit, other]))
    assert 0 not in codes
    assert "".join(said).count("\n") == 1
    assert "give all the same" in "".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_other(killed, people_csv, tmp_path):
    processes = fitting(tmp_path, people_csv, "-o", tmp_path / "m", "-g", "vae", "-s", "epochs=100000")
    processes[killed].kill()
    codes, said = ended(processes)
    assert (codes[killed], codes[1 - killed]) == (-signal.SIGKILL, 4), said
    assert said[1 - killed].startswith("synthgen: another process of this fit ended")
    assert said[1 - killed].count("\n") == 1
    assert not (tmp_path / "m").exists()


if __name__ == "__main__":
    torch.set_num_threads(1)
    job, folder = sys.argv[1], Path(sys.argv[2])
    if job == "command":
        command_of(folder, sys.argv[3:])
    with distributed.joined() as group:
        made = globals()[job](folder)
        made = {k: t.detach().contiguous().clone() for k, t in made.items()}
        save_file(made, folder / f"{job}.{group.rank}.safetensors")
