# SPDX-License-Identifier: MIT
"""Pairwise cosine similarity."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from torchmetrics.functional import pairwise_cosine_similarity

import hubprune as hp
from cases import COSINE, DTYPES, SHAPES, assert_within, numpy64, random_rows, relative_error
from hubprune import reference
from hubprune.arguments import EDGES


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.usefixtures("level")
def test_matches_the_reference(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    for edge in EDGES:
        got = hp.pairwise_cosine(x, edge=edge)
        assert got.dtype == dtype
        assert relative_error(got, reference.pairwise_cosine(numpy64(x), edge=edge)) < COSINE[dtype]
        assert torch.equal(got, got.mT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "m", "d"),
    [(1, 5, 3), (33, 129, 9), (70, 3, 70), (65, 64, 300), (905, 130, 65), (898, 7, 2500)],
)
@pytest.mark.usefixtures("level")
def test_two_sets_match_the_reference(n: int, m: int, d: int, dtype: torch.dtype) -> None:
    x, y = random_rows(n, d, dtype), random_rows(m, d, dtype, seed=1)
    for edge in EDGES:
        expected = reference.pairwise_cosine(numpy64(x), numpy64(y), edge=edge)
        assert relative_error(hp.pairwise_cosine(x, y, edge=edge), expected) < COSINE[dtype]


@pytest.mark.usefixtures("level")
def test_long_rows_keep_their_accuracy() -> None:
    """CNN14's widest filters: 18432 features; near-duplicates are where rounding adds up."""
    base = torch.randn(1, 18432)
    x = torch.cat([base, base + 1e-3 * torch.randn(20, 18432), torch.randn(20, 18432)])
    expected = reference.pairwise_cosine(numpy64(x))
    assert relative_error(hp.pairwise_cosine(x), expected) < COSINE[torch.float32]


def test_batches_are_independent() -> None:
    x = torch.randn(2, 3, 17, 5)
    y = torch.randn(2, 3, 4, 5)
    both = hp.pairwise_cosine(x, y)
    assert both.shape == (2, 3, 17, 4)
    for i in range(2):
        for j in range(3):
            assert torch.equal(hp.pairwise_cosine(x)[i, j], hp.pairwise_cosine(x[i, j]))
            assert torch.equal(both[i, j], hp.pairwise_cosine(x[i, j], y[i, j]))


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0), (0, 3, 4), (2, 0, 4)])
def test_empty(shape: tuple[int, ...]) -> None:
    result = hp.pairwise_cosine(torch.empty(shape))
    assert result.shape == (*shape[:-1], shape[-2])
    assert not result.any()


@pytest.mark.parametrize("exponent", [-30, -19, 0, 19, 30])
def test_float32_at_any_scale(exponent: int) -> None:
    x = random_rows(20, 9)
    scaled = x * torch.logspace(-exponent, exponent, 20)[:, None]
    assert_within(hp.pairwise_cosine(scaled), hp.pairwise_cosine(x), 5e-7)


def test_diagonal() -> None:
    x = random_rows(70, 9)
    diagonal = hp.pairwise_cosine(x).diagonal()
    expected = torch.ones(70)
    expected[1] = 0.0  # the zero row
    assert torch.equal(diagonal, expected)
    shifted = hp.pairwise_cosine(x, edge="shifted").diagonal()
    assert torch.equal(shifted, (1 + expected) / 2)
    for edge in EDGES:
        assert not hp.pairwise_cosine(x, edge=edge, zero_diagonal=True).diagonal().any()


def test_not_finite_rows_stay_in_their_row_and_column() -> None:
    x = torch.randn(70, 9)
    x[5, 2] = float("nan")
    x[66, 0] = float("inf")
    bad = torch.zeros(70, dtype=torch.bool)
    bad[[5, 66]] = True
    for edge in EDGES:
        result = hp.pairwise_cosine(x, edge=edge)
        assert torch.equal(torch.isnan(result), bad[:, None] | bad[None, :])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "m", "d"), [(1, 1, 9), (33, 70, 9), (70, 33, 49), (65, 3, 300), (900, 5, 70)]
)
@pytest.mark.usefixtures("level")
def test_zero_rows_as_nan(n: int, m: int, d: int, dtype: torch.dtype) -> None:
    """What the operator is told to do for torch users, in whose 0 / 0 a zero row ends."""
    x, y = torch.randn(2, n, d, dtype=dtype), torch.randn(2, m, d, dtype=dtype)
    x[1, n // 2] = 0.0
    y[0, m - 1] = 0.0
    zero = ~x.any(-1), ~y.any(-1)
    for others, zeros in ((None, zero[0]), (y, zero[1])):
        for edge in EDGES:
            got = torch.ops.hubprune.pairwise_cosine(x, others, edge, False, True)
            expected = hp.pairwise_cosine(x, others, edge=edge)
            expected[zero[0][:, :, None] | zeros[:, None, :]] = torch.nan
            assert torch.equal(got.nan_to_num(9.0), expected.nan_to_num(9.0))
    without = torch.ops.hubprune.pairwise_cosine(x, None, "signed", True, True)
    assert not without.diagonal(dim1=-2, dim2=-1).any()


def test_zero_rows_as_nan_of_no_features() -> None:
    result = torch.ops.hubprune.pairwise_cosine(torch.empty(3, 0), None, "signed", False, True)
    assert torch.equal(result, torch.zeros(3, 3))  # as of torch's empty product


def test_out() -> None:
    x = torch.randn(33, 9)
    out = torch.full((33, 33), 7.0)
    assert hp.pairwise_cosine(x, out=out) is out
    assert torch.equal(out, hp.pairwise_cosine(x))
    array = np.zeros((33, 33), dtype=np.float32)
    assert hp.pairwise_cosine(x.numpy(), out=array) is array
    np.testing.assert_array_equal(array, out.numpy())


def test_numpy_comes_back_as_numpy() -> None:
    x = np.random.default_rng(0).standard_normal((7, 4))
    result = hp.pairwise_cosine(x)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float64
    assert_within(result, cosine_similarity(x), 1e-15)


def test_parity_with_scikit_learn_and_torchmetrics() -> None:
    x, y = torch.randn(40, 12), torch.randn(30, 12)
    assert_within(hp.pairwise_cosine(x, y), cosine_similarity(x, y), 5e-7)
    ours = hp.pairwise_cosine(x, zero_diagonal=True)
    assert_within(ours, pairwise_cosine_similarity(x), 5e-7)
    # Named exceptions: tiny rows are zero to scikit-learn, zero rows are NaN to torchmetrics.
    tiny = np.array([[1e-8, 0.0], [1.0, 1.0]], dtype=np.float32)
    assert hp.pairwise_cosine(tiny)[0, 1] == pytest.approx(0.5**0.5, abs=1e-6)


def test_arrays_that_torch_cannot_share() -> None:
    x = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    packed = np.zeros(7, dtype=[("filter", np.float32, (4,)), ("label", np.int8)])
    packed["filter"] = x
    unaligned = np.frombuffer(b"0" + x.tobytes(), np.float32, x.size, 1).reshape(x.shape)
    foreign = x.astype(x.dtype.newbyteorder())
    for same in (packed["filter"], unaligned, foreign):
        np.testing.assert_array_equal(hp.pairwise_cosine(same), hp.pairwise_cosine(x))
    with pytest.raises(TypeError, match="x must hold float16, float32 or float64; got dtype float"):
        hp.pairwise_cosine(x.astype(np.longdouble))


@pytest.mark.usefixtures("level")
def test_equal_products_round_the_same_way() -> None:
    """Rows of one value: the rounding of a sum of equal terms does not average out."""
    for d in (*range(1, 200), 288, 560, 576, 1168, 1775, 2304, 2305, 2371, 2975, 15998, 70001):
        assert abs(float(hp.pairwise_cosine(torch.ones(2, d))[0, 1]) - 1.0) <= 1e-6, d


def test_strides_offsets_and_gradients() -> None:
    big = torch.randn(40, 30)
    expected = hp.pairwise_cosine(big[3:23, 2:11].contiguous())
    assert torch.equal(hp.pairwise_cosine(big[3:23, 2:11]), expected)
    assert torch.equal(hp.pairwise_cosine(big.T[2:11, 3:23].T), expected)
    flipped = np.flip(big[3:23, 2:11].numpy(), axis=(0, 1))
    assert_within(hp.pairwise_cosine(flipped), expected.flip(0, 1), 5e-7)
    with_gradient = big[3:23, 2:11].clone().requires_grad_()
    result = hp.pairwise_cosine(with_gradient)
    assert not result.requires_grad
    assert torch.equal(result, expected)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 20))
def test_properties(seed: int, n: int, d: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    s = hp.pairwise_cosine(x)
    assert float(s.abs().max()) <= 1.0
    assert torch.equal(s, s.mT)
    permutation = torch.randperm(n, generator=generator)
    assert torch.equal(hp.pairwise_cosine(x[permutation]), s[permutation][:, permutation])
    assert torch.equal(hp.pairwise_cosine(x * 0.125), s)
    rotation = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator)).Q
    assert_within(hp.pairwise_cosine(x @ rotation), s, 5e-15)


@pytest.mark.parametrize("between", [False, True])
def test_any_number_of_threads_gives_the_same_bits(between: bool, threads: list[int]) -> None:
    """Also where two sets go by strips on few threads and by tiles on many."""
    x = torch.randn(1100, 80) if between else torch.randn(300, 33)
    others = torch.cat([torch.randn(513, 80), x[:3]]) if between else None
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.pairwise_cosine(x, others))
    assert all(torch.equal(results[0], other) for other in results[1:])


X = torch.ones(4, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.ones(5)}, ValueError, "x must have shape (..., n, d); got shape (5,)"),
        ({"x": X, "y": torch.ones(4, 2)}, ValueError, "y must have shape (m, 3) to go with x"),
        (
            {"x": torch.ones(2, 4, 3), "y": torch.ones(5, 4, 3)},
            ValueError,
            "y must have shape (2, m, 3) to go with x of shape (2, 4, 3); got shape (5, 4, 3)",
        ),
        ({"x": X, "y": torch.ones(3)}, ValueError, "y must have shape (..., n, d)"),
        ({"x": X, "y": X.double()}, TypeError, "y must have the dtype of x"),
        (
            {"x": X, "y": X.to("meta")},
            ValueError,
            "y must be on the same device as x (cpu); got meta",
        ),
        ({"x": X, "y": X, "zero_diagonal": True}, ValueError, "zero_diagonal=True needs y=None"),
        (
            {"x": X, "edge": "cosine"},
            ValueError,
            "edge must be one of signed, squared, abs, positive",
        ),
        (
            {"x": X, "out": torch.ones(3, 3)},
            ValueError,
            "out must have shape (4, 4); got shape (3, 3)",
        ),
        (
            {"x": X, "out": torch.ones(4, 4).double()},
            TypeError,
            "out must have dtype torch.float32",
        ),
        ({"x": X, "out": torch.ones(4, 8)[:, ::2]}, ValueError, "out must be contiguous"),
        (
            {"x": X.long()},
            TypeError,
            "x must hold float16, bfloat16, float32 or float64; got dtype int64",
        ),
        ({"x": None}, TypeError, "x must be a torch.Tensor or a numpy.ndarray; got NoneType"),
        (
            {"x": np.ma.masked_array(X.numpy(), X.numpy() > 0)},
            TypeError,
            "x must be a torch.Tensor or a numpy.ndarray; got MaskedArray",
        ),
        ({"x": X, "zero_diagonal": "no"}, TypeError, "zero_diagonal must be a bool; got str"),
    ],
)
def test_bad_input(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        hp.pairwise_cosine(**arguments)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
def test_nested_tensors_are_refused() -> None:
    with pytest.raises(TypeError, match="x must be a dense tensor; got layout nested"):
        hp.pairwise_cosine(torch.nested.nested_tensor([X, X[:3]]))


def test_out_that_shares_memory_is_refused() -> None:
    x = torch.ones(3, 3)
    with pytest.raises(ValueError, match="out must not share memory with x"):
        hp.pairwise_cosine(x, out=x)


def test_autograd_knows_that_out_is_overwritten() -> None:
    x, out = torch.randn(4, 3), torch.ones(4, 4)
    factor = torch.ones(4, 4, requires_grad=True)
    product = (factor * out).sum()
    hp.pairwise_cosine(x, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()  # type: ignore[no-untyped-call]


def test_out_in_another_part_of_one_buffer() -> None:
    buffer = np.random.default_rng(0).standard_normal(60)
    x, expected = buffer[:12].reshape(4, 3), hp.pairwise_cosine(buffer[:12].reshape(4, 3).copy())
    for share in (np.asarray, torch.from_numpy):
        for first in (0, 11):
            with pytest.raises(ValueError, match="out must not share memory with x"):
                hp.pairwise_cosine(share(x), out=share(buffer)[first : first + 16].reshape(4, 4))
        apart = share(buffer)[12:28].reshape(4, 4)
        assert hp.pairwise_cosine(share(x), out=apart) is apart
        np.testing.assert_array_equal(apart, expected)
    with pytest.raises(ValueError, match="out must not share memory with y"):
        hp.pairwise_cosine(np.ones((4, 3)), x, out=buffer[8:24].reshape(4, 4))


def test_out_must_be_an_array_that_can_be_written() -> None:
    x = np.ones((3, 2), dtype=np.float32)
    fixed = np.zeros((3, 3), dtype=np.float32)
    fixed.flags.writeable = False
    foreign = np.zeros((3, 3), dtype=np.dtype(np.float32).newbyteorder())
    unaligned = np.frombuffer(bytearray(37), np.float32, 9, 1).reshape(3, 3)
    for out in (fixed, foreign, unaligned):
        with pytest.raises(ValueError, match="out must be a writeable, C-contiguous array, alig"):
            hp.pairwise_cosine(x, out=out)
    backwards = np.zeros((2, 3), dtype=np.float32)[1::-2]  # contiguous, for it is one row
    with pytest.raises(ValueError, match="out must be a writeable, C-contiguous array, alig"):
        hp.pairwise_cosine(x[:1], x, out=backwards)


@pytest.mark.parametrize("edge", EDGES)
def test_others_may_be_empty(edge: str) -> None:
    """Empty memory has no address, which must not be taken for no y."""
    assert hp.pairwise_cosine(torch.ones(3, 2), torch.ones(0, 2), edge=edge).shape == (3, 0)
    at_zero = 0.5 if edge == "shifted" else 0.0
    without_features = hp.pairwise_cosine(torch.ones(3, 0), torch.ones(2, 0), edge=edge)
    assert without_features.tolist() == [[at_zero] * 2] * 3
