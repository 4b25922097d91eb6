# SPDX-License-Identifier: MIT
"""The scikit-learn estimator: scikit-learn's own checks, and its Nystroem as the oracle."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem as SklearnNystroem
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cases import assert_within
from hubprune.compat.nystroem import Nystroem
from hubprune.landmarks import LANDMARK_RULES


@parametrize_with_checks([Nystroem(n_components=5), Nystroem(edge="shifted", landmarks="first")])
@pytest.mark.filterwarnings("ignore")  # scikit-learn's checks provoke warnings of their own
def test_scikit_learn_checks(estimator: Nystroem, check: object) -> None:
    check(estimator)  # type: ignore[operator]


@pytest.mark.parametrize("rule", LANDMARK_RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_the_kernel_of_scikit_learn(rule: str, dtype: type) -> None:
    x = np.random.default_rng(0).standard_normal((200, 12)).astype(dtype)
    mine = Nystroem(n_components=60, landmarks=rule, random_state=0).fit(x)
    features = mine.transform(x)
    assert features.dtype == dtype
    assert np.abs(features @ features.T - cosine_similarity(x)).max() < (
        1e-3 if dtype == np.float32 else 1e-10
    )
    np.testing.assert_array_equal(mine.components_, x[mine.component_indices_])
    assert mine.n_features_in_ == 12
    assert list(mine.get_feature_names_out())[:2] == ["nystroem0", "nystroem1"]


def test_the_same_landmarks_give_the_features_of_scikit_learn() -> None:
    x = np.random.default_rng(1).standard_normal((80, 30))
    theirs = SklearnNystroem(kernel="cosine", n_components=10, random_state=3).fit(x)
    mine = Nystroem(n_components=10, random_state=3).fit(x)
    assert mine.normalization_.shape == theirs.normalization_.shape
    mine.components_ = theirs.components_
    again = Nystroem(n_components=10, landmarks="first").fit(theirs.components_)
    assert_within(again.normalization_, theirs.normalization_, 1e-14)
    assert_within(again.transform(x), theirs.transform(x), 1e-14)


def test_fewer_rows_than_components_and_pipelines() -> None:
    x = np.random.default_rng(2).standard_normal((7, 3))
    assert Nystroem(n_components=50).fit(x).components_.shape == (7, 3)
    features = make_pipeline(StandardScaler(), Nystroem(n_components=4)).fit_transform(x)
    assert features.shape == (7, 4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": "rbf"}, "kernel must be 'cosine'; got 'rbf': for other kernels use sklearn"),
        ({"gamma": 0.5}, "gamma must be None: the cosine has no parameters; got 0.5"),
        ({"edge": "abs"}, "'abs' is not positive semi-definite"),
        ({"edge": "x"}, "'x' is unknown"),
        ({"landmarks": "best"}, "landmarks must be one of"),
        ({"n_components": 0}, "n_components must be an int of at least 1; got 0"),
    ],
)
def test_bad_parameters(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Nystroem(**parameters).fit(np.ones((4, 2)))  # type: ignore[arg-type]
