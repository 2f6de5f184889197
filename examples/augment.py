"""Does it help to draw more of the rare class? A sampler in a pipeline, cross-validated beside doing nothing.

python examples/augment.py      (needs: pip install 'synthgen-toolkit[imblearn]')

The class is the turbojet among aircraft, of which 60 are kept: 2 in 100.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from imblearn.pipeline import make_pipeline
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_validate
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from synthgen.augment import SynthSampler

planes = pd.read_csv(Path(__file__).with_name("planes.csv")).drop(columns=["tailnum", "model"])
rare = np.flatnonzero(planes["engine"] == "Turbo-jet")
planes = planes.drop(index=rare[60:])
X, y = planes.drop(columns="engine"), planes["engine"] == "Turbo-jet"


def encoder():
    """Numbers for a model, from columns as they are; the sampler before it takes them as they are."""
    names = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer((names, ["type", "manufacturer"]), remainder=numbers)


models = {
    "linear": LogisticRegression(max_iter=1000),
    "boosted": HistGradientBoostingClassifier(max_iter=50, random_state=0),
}
folds = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
print(f"{len(y)} aircraft, {y.sum()} with turbojets; real rows are held out, {folds.get_n_splits()} times")
print(f"{'model':8} {'with':12} {'average precision':>18} {'balanced accuracy':>18}")
for name, model in models.items():
    ways = {
        "nothing": make_pipeline(encoder(), model),
        "weights": make_pipeline(encoder(), clone(model).set_params(class_weight="balanced")),
        "synthgen": make_pipeline(SynthSampler(random_state=0), encoder(), model),
    }
    found = {}
    for way, pipeline in ways.items():
        scores = cross_validate(pipeline, X, y, cv=folds, scoring=["average_precision", "balanced_accuracy"])
        found[way] = scores["test_average_precision"]
        print(f"{name:8} {way:12} {found[way].mean():18.3f} {scores['test_balanced_accuracy'].mean():18.3f}")
    gains = found["synthgen"] - found["nothing"]
    better = f"it is higher in {(gains > 0).sum()} of {len(gains)}, by {gains.mean():+.3f} in the mean"
    print(f"{name}: does what is added order the held-out rows better than nothing does? Average precision: {better}")
print(
    "Balanced accuracy takes a rare class for found above one half: weights, or a lower threshold, give that as well."
)
