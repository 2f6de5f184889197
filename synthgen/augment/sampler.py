"""SynthSampler: synthgen as an over-sampler of imbalanced-learn, for its pipelines and scikit-learn's searches."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval

from synthgen.augment.matrix import Matrix, from_arrow, labels
from synthgen.data import Table
from synthgen.errors import InputError, ResourceError, SynthgenError
from synthgen.generator import Generator
from synthgen.schema import Schema
from synthgen.synthesizer import Synthesizer

try:
    from imblearn.over_sampling.base import BaseOverSampler
    from imblearn.utils import check_target_type
    from sklearn_compat.utils.validation import validate_data  # imbalanced-learn needs it as well
except ImportError as error:
    raise ResourceError(
        "SynthSampler needs imbalanced-learn; install it with: pip install 'synthgen-toolkit[imblearn]'"
    ) from error

FEWEST = 1000  # rows that each class gives at most, however small the smallest is

Ints = NDArray[np.int64]


class SynthSampler(BaseOverSampler):  # type: ignore[misc]  # imbalanced-learn has no type information
    """Over-sampling by a generator that is fitted on the training rows, with their class as given context.

    Exactly as many rows of each class are drawn as `sampling_strategy` asks, from the generator's distribution given
    that class; none is drawn and thrown away. The real rows come first and unchanged, the synthetic ones after them:
    see `synthetic_`. Numbers, strings, categories, booleans, dates and missing cells may stand in any column.

    >>> make_pipeline(SynthSampler(random_state=0), LogisticRegression())  # imblearn.pipeline  # doctest: +SKIP

    Args:
        generator: name of an installed generator (`synthgen list`), or a Generator class.
        sampling_strategy: as in every over-sampler of imbalanced-learn.
        random_state: an int for the same rows on every call; a RandomState; None for others each time.
        settings: parameters of the generator and of its training, such as `{"rounds": 500}`; also `device` and
            `max_time` of the Synthesizer.
        others: a class gives at most so many rows to learn from per row of the smallest class that is drawn
            (and 1000 in any case): what a class looks like does not depend on how frequent it is. None for all rows.
        schema: what is known of the features, by their names ("0", "1", ... in arrays): kinds, bounds, rules.

    Attributes:
        sampling_strategy_: how many rows are drawn of each class.
        synthetic_: which rows of the result are synthetic, (n,) bool.
        synthesizer_: the fitted Synthesizer, None where nothing had to be drawn.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseOverSampler._parameter_constraints,
        "generator": [str, type],
        "settings": [Mapping, None],
        "others": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "schema": [Schema, None],
    }

    def __init__(
        self,
        generator: str | type[Generator] = "trees",
        *,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
        settings: Mapping[str, Any] | None = None,
        others: float | None = 20,
        schema: Schema | None = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.generator = generator
        self.random_state = random_state
        self.settings = settings
        self.others = others
        self.schema = schema

    def fit_resample(self, X: Any, y: Any, **params: Any) -> Any:
        """Add synthetic rows to a training set.

        Args:
            X: features, (n, features): a pandas frame, an array, a list, a sparse matrix (which is made dense to
                learn from), or anything with an Arrow stream.
            y: the class of each row, (n,).
            params: none are known.

        Returns:
            features and classes of all rows, in the kinds of X and y; an Arrow table where X is one of others' frames.

        Raises:
            ValueError: they do not fit together, there is but one class, or there are too few rows to learn from.
        """
        if pd.isna(np.asarray(y, dtype=object)).any():
            raise InputError("Input y contains NaN: each row needs a class")
        if isinstance(X, pd.DataFrame) or not hasattr(X, "__arrow_c_stream__"):
            return super().fit_resample(X, y, **params)
        frame, schema = from_arrow(X)
        rows, classes = super().fit_resample(frame, _plain(y), **params)
        whole = pa.Table.from_pandas(rows, schema, preserve_index=False).replace_schema_metadata(None)
        return whole, pa.array(classes) if isinstance(y, pa.Array | pa.ChunkedArray) else classes

    def _check_X_y(self, X: Any, y: Any) -> tuple[Any, Any, bool]:
        y, binarised = check_target_type(y, indicate_one_vs_all=True)
        if not isinstance(X, pd.DataFrame):
            rows = check_array(X, dtype=None, accept_sparse=["csr", "csc"], ensure_all_finite=False)
            # of lists of numbers and texts numpy would make texts of all
            X = np.array(X, dtype=object) if isinstance(X, list) and rows.dtype.kind == "U" else rows
        check_consistent_length(X, y)
        validate_data(self, X=X, y=y, reset=True, skip_check_array=True)
        return X, y, binarised

    def _fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, Any]:
        classes, codes = np.unique(y, return_inverse=True)
        place = {c: k for k, c in enumerate(classes)}
        wanted = np.repeat([place[c] for c in self.sampling_strategy_], list(self.sampling_strategy_.values()))
        self.synthesizer_: Synthesizer | None = None
        self.synthetic_ = np.arange(len(codes) + len(wanted)) >= len(codes)
        if not len(wanted):
            return X.copy(), y.copy()
        try:
            drawn = self._drawn(X, codes, wanted)
        except SynthgenError as error:
            if type(error) is not SynthgenError:
                raise
            raise InputError(str(error)) from error
        return drawn, np.concatenate([y, classes[wanted]])

    def _drawn(self, X: Any, codes: Ints, wanted: Ints) -> Any:
        """The features of all rows: those of X with classes `codes`, then drawn ones of the classes `wanted`."""
        random = check_random_state(self.random_state)
        seed, other = (int(random.randint(2**31 - 1)) for _ in range(2))
        rng = np.random.default_rng(seed)
        matrix = Matrix(X, self.schema)
        rows = self._learned(codes, wanted, rng)
        table = matrix.table(rows, codes[rows], int(codes.max()) + 1)
        model = self._made(matrix.target, seed).fit(table)
        given = pa.table({matrix.target: labels(wanted)})
        parts = [part.data for part in model.stream(len(wanted), seed=other, given=given) if isinstance(part, Table)]
        self.synthesizer_ = model
        return matrix.with_rows(pa.concat_tables(parts), _donors(codes, wanted, rng))

    def _made(self, target: str, seed: int) -> Synthesizer:
        settings = dict(self.settings or {})
        for name in inspect.signature(Synthesizer).parameters:
            if name in settings and name not in ("device", "max_time"):
                raise SynthgenError(f"settings hold {name!r}, which is no setting of a generator")
        return Synthesizer(self.generator, given=[target], seed=seed, **settings)

    def _learned(self, codes: Ints, wanted: Ints, rng: np.random.Generator) -> Ints:
        """Rows to learn from: each class gives a random share where it has too many.

        What is learned is each class by itself, which sampling by class leaves as it is (Prentice and Pyke, Logistic
        disease incidence models and case-control studies, 1979), and large classes cost most of the time.
        """
        if self.others is None:
            return np.arange(len(codes))
        smallest = np.bincount(codes)[wanted].min()
        most = max(FEWEST, int(self.others * smallest))
        mixed = rng.permutation(len(codes))
        kept = [mixed[codes[mixed] == k][:most] for k in range(codes.max() + 1)]
        return np.sort(np.concatenate(kept))

    def _more_tags(self) -> dict[str, Any]:  # of imbalanced-learn with scikit-learn before 1.6
        return {"X_types": ["2darray", "sparse", "dataframe", "string"], "allow_nan": True}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def _donors(codes: Ints, wanted: Ints, rng: np.random.Generator) -> Ints:
    """A random row of each wanted class."""
    order, counts = np.argsort(codes, kind="stable"), np.bincount(codes)
    first = np.cumsum(counts) - counts
    return np.asarray(order[first[wanted] + (rng.random(len(wanted)) * counts[wanted]).astype(np.int64)])


def _plain(y: Any) -> Any:
    """Classes that come as an Arrow array as one of numpy."""
    return np.asarray(y) if isinstance(y, pa.Array | pa.ChunkedArray) else y
