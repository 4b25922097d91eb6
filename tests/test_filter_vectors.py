# SPDX-License-Identifier: MIT
"""Filter vectors: rank-1 directions and flattened filters."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hubprune as hp
from cases import CREPE, DCASE, DTYPES, RANK1, VGGISH, assert_within, numpy64
from hubprune import reference
from published import published_filter_vectors

SHAPES = [
    *DCASE,
    *VGGISH,
    *CREPE,
    (3, 5, 2),  # Conv1d
    (5, 1, 2, 1),
    (4, 2, 3, 2, 2),  # Conv3d
    (1, 1, 3, 3),
    (9, 8, 3, 3),  # c = p - 1
    (9, 9, 3, 3),
    (9, 10, 3, 3),
    *((2, c, 3, 3) for c in (31, 32, 33, 64, 65)),  # about one block of rows, and two
    (7, 65, 5, 5),  # more channels than one block of the Gram sum
    (2, 3, 11, 11),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("level")
def test_matches_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = torch.randn(shape, dtype=dtype)
    got = hp.filter_vectors(weight, "rank1")
    expected = reference.filter_vectors(numpy64(weight), "rank1")
    assert got.dtype == dtype
    assert np.max(np.abs(numpy64(got) - expected)) < RANK1[dtype]


@pytest.mark.parametrize("shape", DCASE, ids=str)
def test_matches_the_published_method(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    expected = published_filter_vectors(weight.numpy())
    assert np.max(np.abs(hp.filter_vectors(weight).numpy() - expected)) < RANK1[torch.float64]


@pytest.mark.parametrize(("c", "p"), [(6, 9), (20, 9), (3, 64)])
@pytest.mark.usefixtures("level")
def test_a_rank_one_filter_gives_its_direction(c: int, p: int) -> None:
    direction = torch.nn.functional.normalize(torch.randn(p, dtype=torch.float64), dim=0)
    channels = torch.rand(c, dtype=torch.float64) + 0.1
    weight = (channels[:, None] * direction).reshape(1, c, p)
    got = hp.filter_vectors(weight)[0]
    assert_within(got, direction, 1e-15)
    assert_within(hp.filter_vectors(-weight)[0], -direction, 1e-15)


@pytest.mark.parametrize("exponent", [-30, -20, 0, 20, 30])
@pytest.mark.parametrize("shape", [(4, 20, 3, 3), (4, 3, 8, 8)], ids=str)
def test_float32_does_not_depend_on_scale(exponent: int, shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    assert_within(hp.filter_vectors(weight * 10.0**exponent), hp.filter_vectors(weight), 2e-7)


@pytest.mark.parametrize("exponent", [-300, -200, 200, 300])
def test_float64_does_not_depend_on_scale(exponent: int) -> None:
    weight = torch.randn(4, 20, 3, 3, dtype=torch.float64)
    scaled = weight * float(f"1e{exponent}")
    assert_within(hp.filter_vectors(scaled), hp.filter_vectors(weight), 5e-15)


@pytest.mark.parametrize("shape", [(3, 20, 3, 3), (3, 2, 3, 3)], ids=str)
@pytest.mark.usefixtures("level")
def test_zero_and_bad_filters_stay_alone(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    clean = hp.filter_vectors(weight)
    weight[0] = 0.0
    weight[1, 0, 0, 0] = float("nan")
    vectors = hp.filter_vectors(weight)
    assert torch.equal(vectors[0], torch.zeros(9))
    assert bool(torch.isnan(vectors[1]).all())
    assert torch.equal(vectors[2], clean[2])


def test_sign_where_the_first_channel_is_zero() -> None:
    """The sign rule cannot use <u1, first column> = 0: u1's largest entry becomes positive."""
    weight = torch.zeros(1, 2, 3, dtype=torch.float64)
    weight[0, 1] = torch.tensor([0.3, -0.9, 0.1])
    vector = hp.filter_vectors(weight)[0]
    assert_within(vector, -weight[0, 1] / weight[0, 1].norm(), 1e-15)
    assert_within(vector, reference.filter_vectors(weight.numpy())[0], 1e-15)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(2, 12))
def test_invariances(seed: int, c: int, p: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, c, p, dtype=torch.float64, generator=generator)
    vectors = hp.filter_vectors(weight)
    assert_within(hp.row_norms(vectors), torch.ones(5, dtype=torch.float64), 3e-15)
    assert torch.equal(hp.filter_vectors(weight * 4.0), vectors)  # a power of two changes no bits
    permutation = torch.randperm(5, generator=generator)
    assert torch.equal(hp.filter_vectors(weight[permutation]), vectors[permutation])
    first = (vectors * weight[:, 0]).sum(1)
    assert bool((first > -1e-12).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_wider(dtype: torch.dtype) -> None:
    weight = torch.randn(4, 8, 3, 3).to(dtype)
    got = hp.filter_vectors(weight)
    assert got.dtype == torch.float32
    assert torch.equal(got, hp.filter_vectors(weight.float()))


def test_flatten_and_auto() -> None:
    weight = torch.randn(4, 3, 1, 1)
    assert torch.equal(hp.filter_vectors(weight), weight.reshape(4, 3))
    assert torch.equal(hp.filter_vectors(weight, "flatten"), weight.reshape(4, 3))
    assert hp.filter_vectors(torch.randn(4, 3, 2, 2)).shape == (4, 4)
    assert hp.filter_vectors(torch.randn(4, 3, 2, 2), "flatten").shape == (4, 12)
    assert hp.filter_vectors(torch.randn(4, 3)).shape == (4, 3)


def test_no_filters() -> None:
    assert hp.filter_vectors(torch.empty(0, 3, 3, 3)).shape == (0, 9)


def test_layouts_do_not_matter() -> None:
    weight = torch.randn(6, 8, 3, 3)
    expected = hp.filter_vectors(weight)
    last = weight.to(memory_format=torch.channels_last)
    assert torch.equal(hp.filter_vectors(last), expected)
    assert torch.equal(hp.filter_vectors(torch.cat([weight, weight])[3:9]), expected.roll(-3, 0))
    array = weight.numpy()
    np.testing.assert_array_equal(hp.filter_vectors(array[::-1]), expected.flip(0).numpy())
    array = array.copy()
    array.flags.writeable = False
    result = hp.filter_vectors(array)
    assert isinstance(result, np.ndarray)
    np.testing.assert_array_equal(result, expected.numpy())


def with_singular_values(values: torch.Tensor, p: int, c: int) -> torch.Tensor:
    """Return one filter (1, c, p) with the given singular values, in float64."""
    k = len(values)
    left = torch.linalg.qr(torch.randn(p, k, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(c, k, dtype=torch.float64)).Q
    return ((left * values) @ right.T).T[None]


@pytest.mark.parametrize(("c", "p"), [(9, 9), (40, 9), (4, 9), (16, 20), (20, 16), (17, 18)])
@pytest.mark.usefixtures("level")
def test_clustered_and_multiple_singular_values(c: int, p: int) -> None:
    """|A' u| = sigma_1 whatever the gap; filters of one lane group do not disturb each other."""
    k = min(c, p)
    spectra = [
        torch.ones(k, dtype=torch.float64),
        torch.linspace(1, 0, k, dtype=torch.float64),
        1 - torch.arange(k, dtype=torch.float64) * 1e-12,
        torch.cat([torch.ones(2), torch.rand(k - 2)]).double(),
        10.0 ** -torch.arange(k, dtype=torch.float64),
        torch.cat([torch.ones(1), torch.zeros(k - 1)]).double(),
    ]
    weight = torch.cat([with_singular_values(values, p, c) for values in spectra])
    vectors = hp.filter_vectors(weight)
    lengths = torch.linalg.vector_norm(weight @ vectors[:, :, None], dim=(1, 2))
    assert_within(lengths, torch.ones_like(lengths), 5e-15)
    for at in range(len(weight)):
        assert torch.equal(hp.filter_vectors(weight[at : at + 1])[0], vectors[at])


@pytest.mark.usefixtures("level")
def test_layers_together_are_the_layers_one_by_one(threads: list[int]) -> None:
    weights = [
        torch.randn(19, 1, 9),
        torch.randn(5, 130, 9),
        torch.randn(8, 33, 9, dtype=torch.float64),
        torch.empty(0, 3, 9),
        torch.randn(4, 30, 25),
        torch.randn(3, 20, 49).half(),
    ]
    expected = [hp.filter_vectors(weight) for weight in weights]
    for count in threads:
        torch.set_num_threads(count)
        vectors, norms = torch.ops.hubprune.rank1_vectors(weights)
        assert all(map(torch.equal, vectors, expected))
        for weight, each in zip(weights, norms, strict=True):
            exact = torch.linalg.vector_norm(weight.double().flatten(1), dim=1)
            assert torch.allclose(each, exact, rtol=1e-13, atol=0)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("taps", [(6, 3), (5, 11), (3, 1, 15), (10, 7, 8), (1, 40), (37, 12)])
def test_taps_that_share_no_channel(taps: tuple[int, ...]) -> None:
    # A Gram matrix of blocks: its reduction has rows that need no reflector, before others that do.
    generator = torch.Generator().manual_seed(4)
    for dtype in (torch.float64, torch.float32):
        weight = torch.zeros(6, 60 * len(taps), sum(taps), dtype=dtype)
        first = 0
        for block, count in enumerate(taps):
            part = torch.randn(6, 60, count, dtype=dtype, generator=generator)
            weight[:, 60 * block : 60 * (block + 1), first : first + count] = part
            first += count
        weight[1] *= torch.linspace(1, 3, len(weight[1]), dtype=dtype)[:, None]  # another leads
        got = hp.filter_vectors(weight)
        assert (
            np.max(np.abs(numpy64(got) - reference.filter_vectors(numpy64(weight)))) < RANK1[dtype]
        )


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize(("c", "p"), [(12, 9), (20, 16), (30, 25), (70, 64)])
def test_taps_of_very_different_size(c: int, p: int) -> None:
    # Squares of the small ones leave the range: they must not make a reflector infinite.
    rng = np.random.default_rng(6)
    sizes = 10.0 ** np.linspace(0, -170, p)
    factors = [sizes, sizes[::-1], rng.permutation(sizes), 1e150 * rng.permutation(sizes)]
    weight = rng.standard_normal((len(factors), c, p)) * np.stack(factors)[:, None]
    got = hp.filter_vectors(weight)
    np.testing.assert_allclose(got, reference.filter_vectors(weight), rtol=0, atol=1e-12)


def test_norms_of_extreme_filters() -> None:
    weight = torch.randn(3, 20, 9, dtype=torch.float64)
    for exponent in (-300, 300):
        (norms,) = torch.ops.hubprune.rank1_vectors([weight * float(f"1e{exponent}")])[1]
        exact = torch.linalg.vector_norm(weight.flatten(1), dim=1) * float(f"1e{exponent}")
        assert torch.allclose(norms, exact, rtol=1e-13, atol=0)
    weight[1] = 0.0
    weight[2, 3, 4] = float("inf")
    (norms,) = torch.ops.hubprune.rank1_vectors([weight])[1]
    assert float(norms[1]) == 0.0
    assert not bool(norms[2].isfinite())


def test_any_number_of_threads_gives_the_same_bits(threads: list[int]) -> None:
    weight = torch.randn(70, 90, 3, 3)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.filter_vectors(weight))
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize(
    ("weight", "kind", "error", "message"),
    [
        (
            torch.ones(3),
            "auto",
            ValueError,
            "weight must have shape (n, c, *kernel); got shape (3,)",
        ),
        (torch.ones(2, 3, 1, 1), "rank1", ValueError, "use kind='flatten'"),
        (torch.ones(2, 3), "rank1", ValueError, "use kind='flatten'"),
        (
            torch.ones(2, 3, 3),
            "svd",
            ValueError,
            "kind must be one of auto, rank1, flatten; got 'svd'",
        ),
        (torch.ones(2, 3, 3), 1, TypeError, "kind must be a string; got int"),
        (torch.ones(2, 3, 3, dtype=torch.int32), "auto", TypeError, "got dtype int32"),
        (np.ones((2, 3, 3), dtype=np.int64), "auto", TypeError, "got dtype int64"),
        (np.ones((2, 3, 3), dtype=complex), "auto", TypeError, "got dtype complex128"),
        ([[1.0, 2.0]], "auto", TypeError, "must be a torch.Tensor or a numpy.ndarray; got list"),
        (torch.eye(3).to_sparse(), "auto", TypeError, "weight must be a dense tensor"),
    ],
)
def test_bad_input(weight: object, kind: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        hp.filter_vectors(weight, kind)  # type: ignore[arg-type]
