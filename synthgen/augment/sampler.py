"""SynthSampler: synthgen as an over-sampler of imbalanced-learn, for its pipelines and scikit-learn's searches."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state

from synthgen.augment.drawing import Drawer, Fitting
from synthgen.augment.labelled import Ints
from synthgen.augment.matrix import Matrix, from_arrow
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

# A shared generator learns from so many rows of a class at most:
TIMES = 20  # those of the smallest that is drawn,
LEAST = 1000  # or so many


class SynthSampler(BaseOverSampler):  # type: ignore[misc]  # imbalanced-learn has no type information
    """Over-sampling by generators that are fitted on the training rows, as `synthgen augment` does it.

    Each class that is drawn has a generator of its own; classes of fewer than ten rows share one that is told the
    class. Exactly as many rows of each class are drawn as `sampling_strategy` asks. The real rows come first and
    unchanged, the synthetic ones after them, in random order: see `synthetic_`. Numbers, strings, categories,
    booleans, dates and missing cells may stand in any column.

    >>> make_pipeline(SynthSampler(random_state=0), LogisticRegression())  # imblearn.pipeline  # doctest: +SKIP

    Args:
        generator: name of an installed generator (`synthgen list`), or a Generator class.
        sampling_strategy: as in every over-sampler of imbalanced-learn.
        random_state: an int for the same rows on every call; a RandomState; None for others each time.
        settings: parameters of the generator and of its training, such as `{"rounds": 500}`; also `device` and
            `max_time` (of each fit) of the Synthesizer.
        together: one generator for all classes, which is told the class.
        schema: what is known of the features, by their names ("0", "1", ... in arrays): kinds, bounds, rules.

    Attributes:
        sampling_strategy_: how many rows are drawn of each class.
        synthetic_: which rows of the result are synthetic, (n,) bool.
        synthesizers_: the fitted Synthesizer of each class that was drawn; the shared one is that of several.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseOverSampler._parameter_constraints,
        "generator": [str, type],
        "settings": [Mapping, None],
        "together": ["boolean"],
        "schema": [Schema, None],
    }

    def __init__(
        self,
        generator: str | type[Generator] = "gmm",
        *,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
        settings: Mapping[str, Any] | None = None,
        together: bool = False,
        schema: Schema | None = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.generator = generator
        self.random_state = random_state
        self.settings = settings
        self.together = together
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
        counts = np.array([self.sampling_strategy_.get(c, 0) for c in classes.tolist()])
        self.synthesizers_: dict[Any, Synthesizer] = {}
        self.synthetic_ = np.arange(len(codes) + counts.sum()) >= len(codes)
        if not counts.any():
            return X.copy(), y.copy()
        try:
            rows, drawn, drawer = self._drawn(X, codes, counts)
        except SynthgenError as error:
            if type(error) is not SynthgenError:
                raise
            raise InputError(str(error)) from error
        except (pa.ArrowException, OverflowError) as error:
            raise InputError(f"a column holds what cannot be modelled: {error}") from error
        self.synthesizers_ = {c: drawer.synthesizer(k) for k, c in enumerate(classes.tolist()) if counts[k]}
        return rows, np.concatenate([y, classes[drawn]])

    def _drawn(self, X: Any, codes: Ints, counts: Ints) -> tuple[Any, Ints, Drawer]:
        """Features of all rows, those of X and `counts` (classes,) drawn ones; the classes of these; what drew them."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        matrix = Matrix(X, self.schema)
        sample = _sample(codes, counts, rng)
        rows = np.flatnonzero(sample | (counts[codes] > 0))
        known = matrix.labelled(rows, codes[rows], len(counts))
        fitting = Fitting(self.generator, {"seed": seed, **self._settings()}, self.together)
        drawer = fitting.fit(known, counts, np.flatnonzero(sample[rows]))
        drawn = drawer.draw(counts, seed)
        assert isinstance(drawn.data, Table)
        return matrix.with_rows(drawn.data.data, _donors(codes, drawn.y, rng)), drawn.y, drawer

    def _settings(self) -> dict[str, Any]:
        settings = dict(self.settings or {})
        for name in inspect.signature(Synthesizer).parameters:
            if name in settings and name not in ("device", "max_time"):
                raise SynthgenError(f"settings hold {name!r}, which is no setting of a generator")
        return settings

    def _more_tags(self) -> dict[str, Any]:  # of imbalanced-learn with scikit-learn before 1.6
        return {"X_types": ["2darray", "sparse", "dataframe", "string"], "allow_nan": True}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def _sample(codes: Ints, counts: Ints, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which rows (n,) a shared generator learns from: each class gives a random share where it has too many.

    What is learned is each class by itself, which sampling by class leaves as it is (Prentice and Pyke, Logistic
    disease incidence models and case-control studies, 1979), and large classes cost most of the time.
    """
    most = max(LEAST, TIMES * int(np.bincount(codes)[counts > 0].min()))
    mixed = rng.permutation(len(codes))
    kept = np.zeros(len(codes), dtype=bool)
    for k in range(len(counts)):
        kept[mixed[codes[mixed] == k][:most]] = True
    return kept


def _donors(codes: Ints, wanted: Ints, rng: np.random.Generator) -> Ints:
    """A random row of each wanted class."""
    order, counts = np.argsort(codes, kind="stable"), np.bincount(codes)
    first = np.cumsum(counts) - counts
    return np.asarray(order[first[wanted] + (rng.random(len(wanted)) * counts[wanted]).astype(np.int64)])


def _plain(y: Any) -> Any:
    """Classes that come as an Arrow array as one of numpy."""
    return np.asarray(y) if isinstance(y, pa.Array | pa.ChunkedArray) else y
