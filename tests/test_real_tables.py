"""Real tables, where they lie beside the project: what is read is written back byte for byte, its last line ended."""

from pathlib import Path

import pytest

from synthgen import read, write

TABLES = sorted((Path(__file__).parents[2] / "shared" / "data" / "tables").glob("*/*.csv"))


@pytest.mark.slow
@pytest.mark.skipif(not TABLES, reason="the tables are not here")
@pytest.mark.parametrize("path", TABLES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_reading_and_writing_is_the_identity(path, tmp_path):
    table = read(path)
    assert all(c.kind for c in table.schema.columns)
    write(table, tmp_path / path.name)
    written, original = (tmp_path / path.name).read_bytes(), path.read_bytes()
    # two of the tables lack the line break at the end of their last line, which a written file always has
    assert written == original.removesuffix(b"\n") + b"\n"
