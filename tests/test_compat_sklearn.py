# SPDX-License-Identifier: MIT
"""cosine_similarity beside scikit-learn's: results, dtypes and errors, and where they differ."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity as theirs

from cases import assert_within
from hubprune import reference
from hubprune.compat.sklearn import cosine_similarity

# What scikit-learn's own rounding leaves, in float32: a matrix product of normalised rows.
TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-14}


def rows(n: int, d: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    if n > 3:
        x[2] = 0
    return x


def assert_same(got: Any, expected: Any) -> None:
    assert type(got) is type(expected)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[expected.dtype])


def test_signature() -> None:
    ours = inspect.signature(cosine_similarity).parameters.values()
    expected = inspect.signature(theirs).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in expected
    ]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8, bool])
@pytest.mark.parametrize(
    ("n", "m", "d"), [(1, 1, 1), (5, 3, 9), (64, 65, 9), (130, 40, 70), (7, 200, 600)]
)
def test_parity(n: int, m: int, d: int, dtype: Any) -> None:
    x, y = rows(n, d, dtype), rows(m, d, dtype, seed=1)
    assert_same(cosine_similarity(x), theirs(x))
    assert_same(cosine_similarity(x, y), theirs(x, y))
    assert_same(cosine_similarity(x, x), theirs(x, x))
    assert_same(cosine_similarity(x, dense_output=False), theirs(x, dense_output=False))


@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.int64, np.float32)])
def test_mixed_dtypes(dtypes: tuple[Any, Any]) -> None:
    x, y = rows(5, 4, dtypes[0]), rows(6, 4, dtypes[1])
    assert_same(cosine_similarity(x, y), theirs(x, y))
    assert_same(cosine_similarity(y, x), theirs(y, x))


def test_other_array_likes() -> None:
    x = [[0, 0, 0], [1, 1, 1]]
    y = [[1, 0, 0], [1, 1, 0]]
    assert_same(cosine_similarity(x, y), theirs(x, y))
    base = rows(20, 12)
    for view in (base[::-1], base[3::2, ::-2], base.T, np.asfortranarray(base)):
        assert_same(cosine_similarity(view), theirs(view))
    base.flags.writeable = False
    assert_same(cosine_similarity(base), theirs(base))
    foreign = base.astype(base.dtype.newbyteorder())
    assert_same(cosine_similarity(foreign), theirs(foreign))
    assert_same(cosine_similarity(base.astype(object)), theirs(base.astype(object)))


@pytest.mark.parametrize("dense_output", [True, False])
def test_sparse_matrices_are_scikit_learns(dense_output: bool) -> None:
    x = scipy.sparse.random(8, 20, 0.3, format="csr", random_state=0)
    y = rows(5, 20)
    for pair in ((x, None), (x, x[:3]), (x, y), (y, x), (x.tocoo(), None)):
        got, expected = cosine_similarity(*pair, dense_output), theirs(*pair, dense_output)
        assert type(got) is type(expected)
        np.testing.assert_array_equal(
            got.toarray() if scipy.sparse.issparse(got) else got,
            expected.toarray() if scipy.sparse.issparse(expected) else expected,
        )


BAD: dict[str, Callable[[Any], Any]] = {
    "one dimension": lambda f: f(np.ones(3)),
    "no dimension": lambda f: f(np.float64(3.0)),
    "three dimensions in lists": lambda f: f([[[1.0]]]),
    "features differ": lambda f: f(np.ones((2, 3)), np.ones((2, 4))),
    "NaN": lambda f: f(np.array([[1.0, np.nan]])),
    "infinity in Y": lambda f: f(np.ones((1, 2)), np.array([[1.0, np.inf]])),
    "float32 infinity": lambda f: f(np.array([[1.0, np.inf]], dtype=np.float32)),
    "no rows": lambda f: f(np.ones((0, 3))),
    "no features": lambda f: f(np.ones((3, 0))),
    "text": lambda f: f([["a", "b"]]),
    "ragged": lambda f: f([[1.0], [1.0, 2.0]]),
    "complex": lambda f: f(np.ones((2, 2), dtype=complex)),
    "matrix": lambda f: f(np.asmatrix(np.ones((2, 2)))),
    "dense_output": lambda f: f(np.ones((2, 2)), dense_output="yes"),
    "dense_output a number": lambda f: f(np.ones((2, 2)), None, 1),
    "not array-like": lambda f: f(3),
    "Y not array-like": lambda f: f(np.ones((2, 2)), 3),
    "a string": lambda f: f("rows"),
    "None": lambda f: f(None),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("case", BAD)
def test_the_same_errors(case: str) -> None:
    with pytest.raises(Exception) as expected:  # noqa: PT011
        BAD[case](theirs)
    with pytest.raises(type(expected.value)) as got:
        BAD[case](cosine_similarity)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "x",
    [
        torch.ones(3),
        torch.ones(0, 3),
        torch.ones(3, 0),
        torch.tensor([[1.0, float("nan")]]),
        torch.tensor([[1.0, float("inf")]]),
    ],
    ids=str,
)
def test_tensors_have_the_same_errors(x: torch.Tensor, dtype: torch.dtype) -> None:
    x = x.to(dtype)
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        theirs(x.numpy())
    with pytest.raises(ValueError) as got:  # noqa: PT011
        cosine_similarity(x)
    assert str(got.value) == str(expected.value)


def test_a_tensor_without_dimensions_is_no_array() -> None:
    with pytest.raises(ValueError, match="Expected 2D array, got scalar array instead"):
        cosine_similarity(torch.tensor(1.0))


# What scikit-learn takes beside an array it takes beside a tensor: Y as the call sees it.
BESIDE: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda y: y.tolist(),
    "negative strides": lambda y: y[::-1, ::-1],
    "foreign byte order": lambda y: y.astype(y.dtype.newbyteorder()),
    "long double": lambda y: y.astype(np.longdouble),
    "objects": lambda y: y.astype(object),
    "text that is numbers": lambda y: y.astype(str),
    "half": lambda y: y.astype(np.float16),
    "unsigned": lambda y: (10 * abs(y)).astype(np.uint16),
    "read-only": lambda y: frozen(y),
    "data frame": lambda y: Frame(y),
    "masked": lambda y: np.ma.masked_array(y, y > 1.0),
    "sparse": lambda y: scipy.sparse.csr_matrix(y),
    # and what it refuses
    "complex": lambda y: y + 1j,
    "one dimension": lambda y: y[0],
    "series": lambda y: Frame(y[0]),
    "three dimensions in lists": lambda y: [y.tolist()],
    "ragged": lambda y: [[1.0, 2.0, 3.0, 4.0], [1.0]],
    "text": lambda y: [["a", "b", "c", "d"]],
    "matrix": lambda y: np.asmatrix(y),
    "dictionary": lambda y: {},
    "set": lambda y: {1.0, 2.0},
    "NaN": lambda y: np.where(y > 1.0, np.nan, y),
    "no rows": lambda y: y[:0],
    "no features": lambda y: y[:, :0],
    "features differ": lambda y: y[:, :3],
}


class Frame:
    """An array in another library's object, which gives it out read-only, as pandas' frames do."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = frozen(values)
        self.shape = values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.usefixtures("every_warning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("case", BESIDE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_beside_tensors_are_validated_by_scikit_learn(case: str, dtype: Any) -> None:
    x, y = rows(5, 4, dtype), BESIDE[case](rows(6, 4, dtype, seed=1))
    for pair in ((x, y), (y, x)):
        tensors = [torch.from_numpy(each) if each is x else each for each in pair]
        expected = outcome(theirs, *pair)
        got = outcome(cosine_similarity, *tensors)
        if isinstance(expected, Exception):
            assert (type(got), str(got)) == (type(expected), str(expected))
        else:
            assert isinstance(got, np.ndarray if case == "sparse" else torch.Tensor)
            assert_same(np.asarray(got), expected)


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (TypeError, ValueError) as error:
        return error


@pytest.mark.parametrize("as_tensor", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 0), (0, 3, 4), (2, 0, 4)])
def test_empty_batches(as_tensor: bool, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    flat = x.reshape(int(np.prod(shape[:-1])), shape[-1])
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        theirs(flat)
    for other in (None, x):
        with pytest.raises(ValueError) as got:  # noqa: PT011
            cosine_similarity(torch.from_numpy(x) if as_tensor else x, other)
        assert str(got.value) == str(expected.value)


# --- where they differ ----------------------------------------------------------------------------


def test_short_and_long_rows_are_not_zero() -> None:
    x = np.array([[3e-20, 4e-20], [3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    assert abs(theirs(x)[0]).max() < 1e-19
    long = np.array([[3e25, 4e25], [1e25, 0.0]], dtype=np.float32)
    assert not theirs(long).any()
    assert_within(cosine_similarity(long), reference.pairwise_cosine(long), 2e-7)
    assert_within(cosine_similarity(x), reference.pairwise_cosine(x), 2e-7)
    assert cosine_similarity(x)[0, 1] == pytest.approx(1.0)
    for scale in (1e-38, 1e-10, 1e-6, 1e30):
        small = rows(6, 5, np.float32) * np.float32(scale)
        expected = reference.pairwise_cosine(small)
        assert_within(cosine_similarity(small), expected, 2e-7)
    for scale in (1e-300, 1e300):
        small = rows(6, 5) * scale
        expected = reference.pairwise_cosine(small)
        assert_within(cosine_similarity(small), expected, 1e-15)


def test_the_diagonal_is_exact() -> None:
    s = cosine_similarity(rows(50, 7, np.float32))
    assert (s == s.T).all()
    assert sorted(set(s.diagonal().tolist())) == [0.0, 1.0]
    assert abs(s).max() == 1.0


@pytest.mark.parametrize("as_tensor", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_batches(as_tensor: bool, dtype: Any) -> None:
    x = (10 * np.random.default_rng(0).standard_normal((2, 3, 7, 5))).astype(dtype)
    y = (10 * np.random.default_rng(1).standard_normal((2, 3, 4, 5))).astype(dtype)
    wrap = torch.from_numpy if as_tensor else np.asarray
    for others in (None, y):
        got = cosine_similarity(wrap(x), None if others is None else wrap(others))
        assert isinstance(got, torch.Tensor) == as_tensor
        assert got.shape == (2, 3, 7, 7 if others is None else 4)
        for at in np.ndindex(2, 3):
            expected = theirs(x[at], None if others is None else others[at])
            assert_same(np.asarray(got[at]), expected)
    with pytest.raises(ValueError, match="X and Y must have the same batch shape"):
        cosine_similarity(wrap(x), wrap(y[0]))
    with pytest.raises(ValueError, match=r"X\.shape\[1\] == 5 while Y\.shape\[1\] == 4"):
        cosine_similarity(wrap(x), wrap(y[..., :4]))
    bad = x.astype(np.float64)
    bad[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match="Input contains NaN"):
        cosine_similarity(wrap(bad))


def test_tensors_give_tensors() -> None:
    x = torch.randn(6, 4, requires_grad=True)
    got = cosine_similarity(x)
    assert isinstance(got, torch.Tensor)
    assert not got.requires_grad
    assert_same(got.numpy(), theirs(x.detach().numpy()))
    assert cosine_similarity(x.half()).dtype == torch.float64  # as for arrays
    assert cosine_similarity(x.int()).dtype == torch.float64
    mixed = cosine_similarity(x.detach().numpy(), x)
    assert isinstance(mixed, torch.Tensor)
    assert_within(mixed, got, 2e-7)
    with pytest.raises(TypeError, match="X must be dense where it is a tensor"):
        cosine_similarity(x.detach().to_sparse())
    with pytest.raises(ValueError, match="X must hold real numbers"):
        cosine_similarity(torch.ones(2, 2, dtype=torch.complex64))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_parity_everywhere(seed: int, n: int, m: int, d: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((n, d)), generator.standard_normal((m, d))
    assert_same(cosine_similarity(x, y), theirs(x, y))


def test_without_scikit_learn_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import hubprune.compat.sklearn"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "hubprune.compat.sklearn needs scikit-learn" in run.stderr
    assert "pip install scikit-learn" in run.stderr


def test_nothing_imports_compat() -> None:
    code = (
        "import hubprune, hubprune.cli, sys\n"
        "print([name for name in sys.modules if name.startswith(('hubprune.compat', 'sklearn'))])\n"
        "import hubprune.compat\n"
        "print([name for name in sys.modules if name.startswith('hubprune.compat.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[:2] == ["[]", "[]"]
