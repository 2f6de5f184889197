"""Matrix: features as scikit-learn passes them, as a table to learn from; and drawn rows in their own types again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from synthgen.augment.labelled import Ints, Labelled
from synthgen.data import Table, as_table
from synthgen.data.cells import column_values
from synthgen.errors import SynthgenError
from synthgen.schema import MAX_COLUMNS, Column, Schema, infer_schema

MOST_LABELS = 500  # of a column that is modelled; cells of others are copied


class Matrix:
    """Rows of features, and what each of them is.

    A feature is what its type says: numbers are numbers, even where no two are equal and a table's column would be
    taken for an id; dates are dates; strings, categories and booleans are labels, all of which are kept, however rare.
    Strings that are nearly all different (names, free text) or have more than 500 labels are not modelled: their
    cells come from a record of the same class.

    Args:
        x: a pandas frame, an array (n, features), or a sparse matrix in CSR or CSC.
        schema: what is known of the columns, by their names; in arrays "0", "1", ...

    Raises:
        SynthgenError: there are too many columns.
    """

    def __init__(self, x: Any, schema: Schema | None = None) -> None:
        if x.shape[1] > MAX_COLUMNS:  # said before a sparse matrix of them becomes a dense one
            raise SynthgenError(
                f"there are {x.shape[1]} features, at most {MAX_COLUMNS} are modelled; select some before"
            )
        self.x = x
        self.frame = _named(x)
        self.target = _free("class", self.frame.columns)
        self._schema = schema
        self._copied: list[str] = []

    def __len__(self) -> int:
        return len(self.frame)

    def labelled(self, rows: Ints, y: Ints, number: int) -> Labelled:
        """The records to learn from: some rows, with their class in the column `target` by its number.

        Args:
            rows: of the matrix.
            y: class of each of these rows, in range(number).
            number: of classes.

        Raises:
            SynthgenError: a column holds values of several types, or of one that is not modelled.
        """
        table = as_table(_dense(self.frame.iloc[rows]))
        found = infer_schema(table.data, declared=self._schema, frame=table.frame)
        known = {c.name for c in self._schema.columns} if self._schema else set()
        columns = {c.name: c if c.name in known else _declared(c, table.data[c.name]) for c in found.columns}
        kept = [c for c in columns.values() if c is not None]
        self._copied = [name for name, column in columns.items() if column is None]
        classes = tuple(map(str, range(number)))
        label = Column(name=self.target, kind="categorical", categories=classes)
        schema = Schema(columns=(*kept, label), rules=found.rules)
        cells = pc.cast(pa.array(y), pa.string())
        data = table.data.select([c.name for c in kept]).append_column(self.target, cells)
        return Labelled(Table(data, None, table.frame, schema), y, classes, self.target)

    def with_rows(self, drawn: pa.Table, donors: Ints) -> Any:
        """The matrix with drawn rows below its own, in the kind and the types that it has; a frame is numbered anew.

        Args:
            drawn: a table of the modelled columns.
            donors: for each row, the row of the matrix that gives it what is not modelled.
        """
        columns = {}
        for name, own in self.frame.items():
            cells = own.iloc[donors].array if name in self._copied else _restored(drawn[str(name)], own)
            columns[name] = pd.Series(cells, dtype=own.dtype, index=range(drawn.num_rows))
        below = pd.DataFrame(columns)
        if isinstance(self.x, pd.DataFrame):
            whole = pd.concat([self.frame, below], ignore_index=True)
            return whole.set_axis(self.x.columns, axis=1)
        cells = below.to_numpy(dtype=self.x.dtype)
        if sparse.issparse(self.x):
            return sparse.vstack([self.x, sparse.csr_matrix(cells)], format=self.x.format)
        return np.concatenate([self.x, cells])


def from_arrow(data: Any) -> tuple[pd.DataFrame, pa.Schema]:
    """A pandas frame of Arrow's own types from anything with an Arrow stream, and the schema to go back by."""
    table = pa.table(data).replace_schema_metadata(None)  # which might make a column an index
    fields = [f.with_type(pa.large_string()) if pa.types.is_string_view(f.type) else f for f in table.schema]
    table = table.cast(pa.schema(fields))  # pandas knows no views
    return table.to_pandas(types_mapper=pd.ArrowDtype), table.schema


def _named(x: Any) -> pd.DataFrame:
    """A frame of the features whose columns are called by their names, or by their numbers where these repeat."""
    frame = x if isinstance(x, pd.DataFrame) else pd.DataFrame(x.toarray() if sparse.issparse(x) else x)
    names = [str(c) for c in frame.columns]
    usable = len(set(names)) == len(names) and all(n.strip() for n in names)
    return frame.set_axis(names if usable else [str(j) for j in range(len(names))], axis=1)


def _dense(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without pandas' sparse columns, which Arrow does not take."""
    thin = [n for n, dtype in frame.dtypes.items() if isinstance(dtype, pd.SparseDtype)]
    return frame.assign(**{str(n): np.asarray(frame[n]) for n in thin})


def _free(name: str, taken: Any) -> str:
    while name in taken:
        name += "_"
    return name


def _declared(found: Column, cells: pa.ChunkedArray) -> Column | None:
    """What a feature is by the type of its cells; None where they are to be copied."""
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if found.kind == "empty" or (found.kind in ("numeric", "datetime") and not _textual(kind)):
        return found
    if kind == cells.type and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return Column(name=found.name, kind="numeric")
    plain = found.model_copy(update={"kind": "categorical", "missing": (), "number": None, "date": None})
    known = sorted(pc.unique(column_values(plain, cells.combine_chunks()).drop_null()).to_pylist())
    if not known:
        return plain.model_copy(update={"kind": "empty"})
    if len(known) > MOST_LABELS or found.kind in ("id", "text"):
        return None
    return plain.model_copy(update={"categories": tuple(known)})


def _textual(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _restored(cells: pa.ChunkedArray, own: pd.Series) -> Any:
    """Drawn cells as the values of a column of a frame."""
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    gap = _gap(own) if _textual(kind) or own.dtype == object else None
    if own.dtype == object:
        return _objects([gap if cell is None else cell for cell in cells.to_pylist()])
    if isinstance(gap, str):
        cells = pc.fill_null(pc.cast(cells, pa.string()), "")
    if isinstance(own.dtype, pd.ArrowDtype):
        return pd.arrays.ArrowExtensionArray(pc.cast(cells, own.dtype.pyarrow_dtype))
    return cells.to_pandas().astype(own.dtype)


def _gap(own: pd.Series) -> Any:
    """What stands for nothing in a column: the codec knows no empty text beside a missing one."""
    gone = own[own.isna() | (own == "")]
    return gone.iloc[0] if len(gone) else None


def _objects(cells: list[Any]) -> NDArray[np.object_]:
    """An array of cells, whatever they are: numpy would take lists apart."""
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array
