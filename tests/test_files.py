import errno
import os
import subprocess
import sys

import pytest

from synthgen import files
from synthgen.errors import ResourceError, SynthgenError
from synthgen.files import _machine, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "out.txt"
    with replacing(path) as new:
        new.write_text("whole")
        assert not path.exists()
        assert new.parent == path.parent
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["out.txt"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with replacing(path) as new:
        new.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as new:
        new.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_an_error_before_anything_is_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="early"), replacing(tmp_path / "out.txt"):
        raise ValueError("early")
    assert names(tmp_path) == []


def test_a_folder_appears_whole(tmp_path):
    with replacing(tmp_path / "model") as new:
        new.mkdir()
        (new / "weights").write_bytes(b"123")
    assert (tmp_path / "model" / "weights").read_bytes() == b"123"
    assert names(tmp_path) == ["model"]


def test_a_folder_takes_the_place_of_one_that_holds_something(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with replacing(path) as new:
        new.mkdir()
        (new / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["model"]


def test_a_file_never_takes_the_place_of_a_folder(tmp_path):
    path = tmp_path / "table.csv"
    path.mkdir()
    (path / "part").write_text("mine")
    with pytest.raises(SynthgenError, match=r"table\.csv is a folder; give the name of a file"), replacing(path) as new:
        new.write_text("theirs")
    assert (path / "part").read_text() == "mine"
    assert names(tmp_path) == ["table.csv"]


def test_a_folder_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old").touch()
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as new:
        new.mkdir()
        (new / "new").touch()
    assert names(tmp_path) == ["link", "real"]
    assert (names(tmp_path / "link"), names(tmp_path / "real")) == (["new"], ["old"])
    assert not (tmp_path / "link").is_symlink()


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(ValueError, match="stop"), replacing(path) as new:
        new.mkdir()
        (new / "half").touch()
        raise ValueError("stop")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_folder_within_the_new_folder_is_kept(tmp_path):
    with replacing(tmp_path / "model") as new:
        (new / "inner").mkdir(parents=True)
        (new / "inner" / "file").write_text("deep")
    assert (tmp_path / "model" / "inner" / "file").read_text() == "deep"


def test_a_path_may_be_text(tmp_path):
    with replacing(str(tmp_path / "out.txt")) as new:
        new.write_text("x")
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_resource_error_that_names_the_file(tmp_path, number):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(ResourceError, match=r"no space left to write .*out\.txt"), replacing(path) as new:
        new.write_text("half")
        raise OSError(number, os.strerror(number))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_a_disk_that_fills_up_on_flushing_is_a_resource_error(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="no space left"), replacing(tmp_path / "out.txt") as new:
        new.write_text("all")
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(ResourceError, match=r"cannot write .*out\.txt"), replacing(tmp_path / "out.txt"):
        pass
    assert names(tmp_path) == []


def test_a_missing_folder_is_a_resource_error(tmp_path):
    with pytest.raises(ResourceError, match="No such file"), replacing(tmp_path / "none" / "out.txt") as new:
        new.write_text("x")


def test_files_reach_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    path, flushed = tmp_path / "out.txt", []
    monkeypatch.setattr(os, "fsync", lambda _: flushed.append(path.exists()))
    with replacing(path) as new:
        new.write_text("x")
    assert flushed == [False]


def ended():
    """The number of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def left(path, process, ending="tmp", machine=None):
    return path.with_name(f".{path.name}.{process}-{machine or files._machine()}.{ending}")


def test_what_a_killed_process_left_is_removed_by_the_next_of_the_same_output(tmp_path):
    path = tmp_path / "model"
    for process in (ended(), os.getpid()):  # the second is from before a restart that gave the number again
        left(path, process).mkdir()
        (left(path, process) / "weights").touch()
    left(path, ended()).write_text("half")
    with replacing(path) as new:
        new.mkdir()
    assert names(tmp_path) == ["model"]


def test_what_others_are_writing_or_is_not_ours_stays(tmp_path):
    path = tmp_path / "out.csv"
    others = [
        left(path, os.getppid()),
        left(path, ended(), machine="0badcafe"),
        left(tmp_path / "other.csv", ended()),
        tmp_path / ".out.csv.tmp",
    ]
    for file in others:
        file.write_text("theirs")
    with replacing(path) as new:
        new.write_text("mine")
    assert names(tmp_path) == sorted(["out.csv", *(file.name for file in others)])


def test_an_output_that_a_kill_left_beside_its_place_is_put_back(tmp_path):
    path = tmp_path / "model"
    left(path, ended(), "old").mkdir()
    with pytest.raises(ValueError, match="early"), replacing(path):
        raise ValueError("early")
    assert names(tmp_path) == ["model"]


def test_there_is_no_moment_without_an_output(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    for name in ("rename", "replace"):
        monkeypatch.setattr(type(path), name, lambda *_: pytest.fail("two steps"))
    with replacing(path) as new:
        new.mkdir()
        (new / "new").touch()
    assert (names(path), names(tmp_path)) == (["new"], ["model"])


@pytest.mark.parametrize("before", ["folder", "link"])
def test_without_exchange_two_renames_do(tmp_path, monkeypatch, before):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    path = tmp_path / "model"
    (tmp_path / "real").mkdir()
    {"folder": path.mkdir, "link": lambda: path.symlink_to("real")}[before]()
    with replacing(path) as new:
        new.mkdir()
        (new / "new").touch()
    assert (names(path), names(tmp_path / "real"), names(tmp_path)) == (["new"], [], ["model", "real"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks what a process is as Linux tells it")
def test_what_a_process_left_that_nobody_has_asked_for_is_removed(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays known
    left = tmp_path / f".out.{child.pid}-{_machine()}.tmp"
    left.touch()
    with replacing(tmp_path / "out") as new:
        new.touch()
    child.wait()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
