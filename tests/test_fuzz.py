"""Spoilt files of every kind: each is read, or refused in one sentence; nothing else comes out of a reader.

SYNTHGEN_FUZZ says how many of each; `make fuzz` tries others for longer.
"""

import os

import pytest
from fuzz import READERS, campaign

from synthgen.errors import SynthgenError

CASES = int(os.environ.get("SYNTHGEN_FUZZ", "10000"))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_spoilt_files_are_read_or_refused_in_a_sentence(tmp_path, name):
    refused, broken = campaign(name, CASES, 0, tmp_path)
    assert not broken, next(iter(broken.items()))
    assert 0.1 * CASES < refused < CASES  # neither all whole, nor all beyond recognition


@pytest.mark.parametrize("name", READERS)
def test_files_that_are_whole_are_read(tmp_path, name):
    reader, told = READERS[name](tmp_path), []
    for case in reader.valid:
        try:
            reader.read(case)
        except SynthgenError as error:
            told.append(str(error))
    assert all("is not modelled" in text for text in told)
    assert len(told) == (4 if name == "parquet" else 0)  # lists, structures, bytes, times of day
