# SPDX-License-Identifier: MIT
"""The scikit-learn estimator: scikit-learn's own checks, and its Nystroem as the oracle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
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


@pytest.mark.parametrize("n_components", [10, 20])
def test_the_same_seed_gives_the_features_of_scikit_learn(n_components: int) -> None:
    x, z = np.random.default_rng(1).standard_normal((2, 80, 30))
    ours, sklearns = np.random.RandomState(7), np.random.RandomState(7)
    for seeds in ((3, 3), (ours, sklearns), (ours, sklearns)):
        mine = Nystroem(n_components=n_components, random_state=seeds[0]).fit(x)
        theirs = SklearnNystroem("cosine", n_components=n_components, random_state=seeds[1]).fit(x)
        np.testing.assert_array_equal(mine.component_indices_, theirs.component_indices_)
        np.testing.assert_array_equal(mine.components_, theirs.components_)
        assert_within(mine.normalization_, theirs.normalization_, 1e-12)
        assert_within(mine.transform(z), theirs.transform(z), 1e-13)


def test_fewer_rows_than_components_and_pipelines() -> None:
    x = np.random.default_rng(2).standard_normal((7, 3))
    with pytest.warns(UserWarning, match="n_components > n_samples") as ours:
        fitted = Nystroem(n_components=50).fit(x)
    with pytest.warns(UserWarning, match="n_components > n_samples") as theirs:
        SklearnNystroem("cosine", n_components=50).fit(x)
    assert [str(each.message) for each in ours] == [str(each.message) for each in theirs]
    assert fitted.components_.shape == (7, 3)
    features = make_pipeline(StandardScaler(), Nystroem(n_components=4)).fit_transform(x)
    assert features.shape == (7, 4)


@pytest.mark.parametrize(("fitted", "given"), [("f4", "f8"), ("f8", "f4"), ("f4", "i4")])
def test_another_dtype_than_that_of_the_fit(fitted: str, given: str) -> None:
    x = (9.0 * np.random.default_rng(3).standard_normal((20, 6))).astype(fitted)
    theirs = SklearnNystroem("cosine", n_components=5, random_state=0).fit(x)
    expected = theirs.transform(x.astype(given))
    got = Nystroem(n_components=5, random_state=0).fit(x).transform(x.astype(given))
    assert got.dtype == expected.dtype == np.float64
    assert_within(got, expected, 1e-5)


@pytest.mark.usefixtures("every_warning")
def test_read_only_rows() -> None:
    """Memory maps and frames: torch would warn that it cannot protect them."""
    x = np.random.default_rng(4).standard_normal((20, 6))
    expected = Nystroem(n_components=5, random_state=0).fit_transform(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    fitted = Nystroem(n_components=5, random_state=0).fit(frozen)
    np.testing.assert_array_equal(fitted.transform(frozen), expected)
    for name in ("components_", "normalization_"):
        getattr(fitted, name).flags.writeable = False  # of an estimator that joblib has mapped
    np.testing.assert_array_equal(fitted.transform(frozen[::-1]), expected[::-1])


@pytest.mark.parametrize(
    "parameters",
    [{"gamma": 0.2}, {"coef0": 1}, {"degree": 3}, {"kernel_params": {"gamma": 1}}],
    ids=str,
)
def test_parameters_of_other_kernels_are_ignored(parameters: dict[str, Any]) -> None:
    """As in scikit-learn: grids list them beside the cosine."""
    x = np.random.default_rng(5).standard_normal((20, 6))
    plain = Nystroem(n_components=5, random_state=0)
    np.testing.assert_array_equal(
        clone(plain).set_params(**parameters).fit_transform(x), plain.fit_transform(x)
    )


def test_rpcholesky_stops_at_the_rank() -> None:
    x = np.repeat(np.random.default_rng(6).standard_normal((3, 4)), 5, axis=0)
    fitted = Nystroem(n_components=6, landmarks="rpcholesky", random_state=0).fit(x)
    assert fitted.components_.shape == (3, 4)
    assert fitted.normalization_.shape == (3, 3)
    assert fitted.transform(x).shape == (15, 3)
    assert len(fitted.get_feature_names_out()) == 3
    assert_within(fitted.transform(x) @ fitted.transform(x).T, cosine_similarity(x), 1e-12)


# --- where they differ ----------------------------------------------------------------------------


def test_the_default_is_the_cosine() -> None:
    assert (Nystroem().kernel, SklearnNystroem().kernel) == ("cosine", "rbf")


@pytest.mark.parametrize("scale", [1e-20, 1e25])
def test_short_and_long_rows_count_fully(scale: float) -> None:
    x = np.random.default_rng(7).standard_normal((30, 4))
    small = (scale * x).astype(np.float32)
    got, theirs = (
        each.fit_transform(small)
        for each in (
            Nystroem(n_components=8, random_state=0),
            SklearnNystroem("cosine", n_components=8, random_state=0),
        )
    )
    expected = cosine_similarity(x)
    assert np.abs(got @ got.T - expected).max() < 1e-5
    assert np.abs(theirs @ theirs.T - expected).max() > 0.5


def test_directions_at_rounding_error_are_left_out() -> None:
    """8 landmarks of rank 4: scikit-learn divides by the square root of 1e-12 at least."""
    x = np.random.default_rng(8).standard_normal((30, 4)).astype(np.float32)
    mine = Nystroem(n_components=8, random_state=0).fit(x)
    theirs = SklearnNystroem("cosine", n_components=8, random_state=0).fit(x)
    assert np.linalg.matrix_rank(mine.normalization_) == 4
    assert np.abs(mine.normalization_).max() < 10.0
    assert np.abs(theirs.normalization_).max() > 100.0


def test_what_is_fitted_is_float32_or_float64() -> None:
    x = (9.0 * np.random.default_rng(9).standard_normal((20, 6))).astype(np.int32)
    assert SklearnNystroem("cosine", n_components=5).fit(x).components_.dtype == np.int32
    assert Nystroem(n_components=5).fit(x).components_.dtype == np.float64
    sparse = scipy.sparse.csr_matrix(x)
    assert SklearnNystroem("cosine", n_components=5).fit_transform(sparse).shape == (20, 5)
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        Nystroem(n_components=5).fit(sparse)


ARRAY_API = """
import sklearn, torch
from hubprune.compat.nystroem import Nystroem
x = torch.randn(20, 6)
fitted = Nystroem(n_components=5).fit(x)
assert type(fitted.transform(x)).__name__ == "ndarray"
with sklearn.config_context(array_api_dispatch=True):
    for call in (Nystroem(n_components=5).fit, fitted.transform):
        try:
            call(x)
        except TypeError as error:
            print(error)
"""


def test_tensors_with_array_api_dispatch() -> None:
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    run = subprocess.run(
        [sys.executable, "-c", ARRAY_API],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    line = "X must be a NumPy array where array_api_dispatch=True; got Tensor"
    assert run.stdout.splitlines() == [line] * 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": "rbf"}, "kernel must be 'cosine'; got 'rbf': for other kernels use sklearn"),
        ({"kernel": "precomputed"}, "kernel must be 'cosine'; got 'precomputed'"),
        ({"kernel": cosine_similarity}, "kernel must be 'cosine'; got <function"),
        ({"edge": "abs"}, "'abs' is not positive semi-definite"),
        ({"edge": "x"}, "'x' is unknown"),
        ({"landmarks": "best"}, "landmarks must be one of"),
        ({"n_components": 0}, "n_components must be an int of at least 1; got 0"),
        ({"n_components": 2.0}, "n_components must be an int of at least 1; got 2.0"),
        ({"n_jobs": 0}, "n_jobs must be None or an int other than 0; got 0"),
        ({"n_jobs": 1.5}, "n_jobs must be None or an int other than 0; got 1.5"),
        ({"n_jobs": "a"}, "n_jobs must be None or an int other than 0; got 'a'"),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
    ],
)
def test_bad_parameters(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Nystroem(**parameters).fit(np.ones((4, 2)))  # type: ignore[arg-type]


def test_the_default_device_changes_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((40, 6))
    expected = Nystroem(n_components=9, random_state=0).fit_transform(x)
    with torch.device("meta"):
        got = Nystroem(n_components=9, random_state=0).fit_transform(x)
    np.testing.assert_array_equal(got, expected)
