"""Fits that are killed: no answer that is not paid for on the disk, no half a model, no ledger that cannot be read.

As a script, this file is the process whose children are killed: it has imported what they need, so that they start
at once. SYNTHGEN_KILLS says how many.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from synthgen import artifact
from synthgen.dp.certificate import check_certificate, check_ledger
from synthgen.dp.ledger import recorded

pytest.importorskip("opendp")

KILLS = int(os.environ.get("SYNTHGEN_KILLS", "20"))
OPTIONS = ["--epsilon", "4", "--delta", "1e-6", "-g", "marginals", "-q"]
WRITERS, LINES = 4, 40


def lines_of(path):
    return path.read_text("utf-8").splitlines() if path.exists() else []


def watch(ledger, events):
    """Write down, unbuffered, when the disk has a charge and, after it was drawn, the scale of each answer's noise."""
    from synthgen import synthesizer

    file = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fsync = os.fsync

    def flushed(descriptor):
        fsync(descriptor)
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if ledger.exists() and os.path.samestat(os.fstat(number), ledger.stat()):
            os.write(file, b"paid\n")

    def answering(draw):
        def answer(*given):
            drawn = draw(*given)
            os.write(file, f"{float(given[-1])!r}\n".encode())
            return drawn

        return answer

    os.fsync = flushed
    synthesizer.rehearse = lambda *_: None  # it asks records that are made up, and pays nothing
    for module in [m for name, m in sys.modules.items() if name.startswith("synthgen.dp.")]:
        for name in ("discrete_gaussian", "exponential"):
            if hasattr(module, name) and module.__name__ != "synthgen.dp.noise":
                setattr(module, name, answering(getattr(module, name)))


def fit_in_child(table, place, watched):
    """The number of a child that fits the table to a model in a folder, with its ledger there."""
    from synthgen.cli import main

    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if watched:
            watch(place / "ledger", place / "events")
        said = os.open(place / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        main(["fit", str(table), "-o", str(place / "model"), "--ledger", str(place / "ledger"), *OPTIONS])
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        os._exit(code)


def wait(child, place, charges):
    """Until a child has paid for so many answers, is writing its model, or has ended."""
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while len(lines_of(place / "ledger")) < charges and not any(place.glob("*.tmp")):
        if os.waitid(os.P_PID, child, ended):
            break
        time.sleep(0.0003)


def drive(table, folder, kills):
    """Kill fits at any moment, just after a charge, which is when its answer is drawn, or while the model is written.

    Args:
        table: to fit.
        folder: for all.
        kills: how many.
    """
    from synthgen.cli import main

    main(["fit", str(table), "-o", str(folder / "warm"), *OPTIONS])  # what is imported late is there now
    whole, start = folder / "whole", time.monotonic()
    whole.mkdir()
    assert os.waitpid(fit_in_child(table, whole, True), 0)[1] == 0
    took, charges = time.monotonic() - start, len(lines_of(whole / "ledger"))
    for i in range(kills):
        place = folder / f"{i:03d}"
        place.mkdir()
        child = fit_in_child(table, place, True)
        if i % 3:
            wait(child, place, random.randint(1, charges) if i % 3 == 1 else charges + 1)
        time.sleep(random.uniform(0, 0.05 if i % 3 else 1.1 * took))
        os.kill(child, signal.SIGKILL)
        (place / "end").write_text(str(os.waitpid(child, 0)[1]))
        shutil.copytree(place, folder / "left" / place.name)
        (place / "again").write_text(str(os.waitpid(fit_in_child(table, place, False), 0)[1]))


class Kill(NamedTuple):
    """Of a fit that was killed: its folder as it was left then, and as it is after a second fit."""

    left: Path
    now: Path

    def charges(self):
        """What it paid for."""
        return [json.loads(line) for line in lines_of(self.left / "ledger")]


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    from conftest import make_people

    folder = tmp_path_factory.mktemp("killed")
    table = folder / "people.csv"
    make_people(2000)[["town", "age", "sport"]].to_csv(table, index=False)
    subprocess.run(
        [sys.executable, __file__, table, folder, str(KILLS)],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=100 + 5 * KILLS,
    )
    return [Kill(left, folder / left.name) for left in sorted((folder / "left").iterdir())]


@pytest.mark.slow
def test_no_answer_is_drawn_that_the_disk_does_not_know_to_be_paid(kills):
    for kill in kills:
        events, scales = lines_of(kill.left / "events"), [line["scale"] for line in kill.charges()]
        assert set(events[::2]) <= {"paid"}
        answers = [float(event) for event in events[1::2]]
        assert answers == scales[: len(answers)]
        assert len(scales) - len(answers) in (0, 1)  # the last may be paid, and its answer never drawn


@pytest.mark.slow
def test_a_model_is_absent_or_whole_and_the_ledger_says_what_it_cost(kills):
    for kill in kills:
        there = [place for place in (kill.left, kill.now) if (place / "model").exists()]
        assert kill.now in there
        assert kill.left in there or (kill.left / "end").read_text() == str(int(signal.SIGKILL))
        for place in there:
            body = artifact.load(place / "model")[0]["certificate"]
            check_certificate(body)
            assert check_ledger(body, place / "ledger").fits == (place == kill.now) + bool(kill.charges())


@pytest.mark.slow
def test_after_a_kill_a_fit_works_and_the_ledger_adds_up_both(kills):
    for kill in kills:
        assert (kill.now / "again").read_text() == "0", (kill.now / "said").read_text()
        lines = [json.loads(line) for line in lines_of(kill.now / "ledger")]
        assert lines[: len(kill.charges())] == kill.charges()
        fits = recorded(kill.now / "ledger", lines[0]["source"])
        assert len(fits) == 1 + bool(kill.charges())
        assert sum(map(len, fits.values())) == len(lines)


@pytest.mark.slow
def test_kills_came_at_many_moments(kills):
    spent = sorted(len(kill.charges()) for kill in kills)
    models = sum((kill.left / "model").exists() for kill in kills)
    print(f"\n{len(kills)} kills, {spent.count(0)} before any charge, {models} with a model; charges: {spent}")
    assert len(set(spent)) >= KILLS // 4


WRITER = """
import sys
from synthgen.dp.ledger import Charge, keeper
keep, me = keeper(sys.argv[1], "data"), sys.argv[2]
print("ready", flush=True)
input()
for i in range(int(sys.argv[3])):
    keep(me, Charge("x" * 6000, "discrete Gaussian", 1.0, 0.5, i * 1e-9))
"""


@pytest.mark.slow
def test_fits_that_write_at_the_same_time_do_not_mix_their_lines(tmp_path):
    ledger = tmp_path / "ledger"
    ledger.write_text('{"source": "data", "fit": "cut o')
    command = [sys.executable, "-c", WRITER, str(ledger)]
    writers = [
        subprocess.Popen([*command, str(i), str(LINES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    fits = recorded(ledger, "data")
    assert {fit: [round(c.delta * 1e9) for c in charges] for fit, charges in fits.items()} == {
        str(i): list(range(LINES)) for i in range(WRITERS)
    }


if __name__ == "__main__":
    drive(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
