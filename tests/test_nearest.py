# SPDX-License-Identifier: MIT
"""Nearest other row by cosine."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hubprune as hp
from cases import COSINE, DTYPES, SHAPES, numpy64, random_rows
from hubprune import reference


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(n, d) for n, d in SHAPES if n > 1])
@pytest.mark.usefixtures("level")
def test_matches_the_reference(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    similarity, index = hp.nearest(x)
    expected, _ = reference.nearest(numpy64(x))
    assert np.max(np.abs(numpy64(similarity) - expected)) < COSINE[dtype]
    # Another index is right only where the two similarities are equal to rounding.
    s = reference.pairwise_cosine(numpy64(x))
    assert np.max(np.abs(s[np.arange(n), index.numpy()] - expected)) < COSINE[dtype]
    assert index.dtype == torch.int64
    assert not bool((index == torch.arange(n)).any())


FEATURES = [5, 70]  # short rows are compared in strips, long ones in tiles of the triangle


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", FEATURES)
@pytest.mark.parametrize("n", [2, 16, 33, 65, 130, 300])
@pytest.mark.usefixtures("level")
def test_ties_go_to_the_lowest_index(n: int, d: int, dtype: torch.dtype) -> None:
    _, index = hp.nearest(torch.ones(n, d, dtype=dtype))
    assert index.tolist() == [1] + [0] * (n - 1)
    _, index = hp.nearest(torch.zeros(n, d, dtype=dtype))  # similarity 0 to all
    assert index.tolist() == [1] + [0] * (n - 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", FEATURES)
@pytest.mark.usefixtures("level")
def test_opposite_rows_tie(d: int, dtype: torch.dtype) -> None:
    """Multiples of -x: rounding leaves their cosines with x on both sides of -1, clamped to it."""
    generator = torch.Generator().manual_seed(0)
    for n in [3, 7, 40] * 30:
        x = torch.randn(1, d, dtype=dtype, generator=generator)
        factors = torch.rand(n, 1, dtype=dtype, generator=generator) + 0.5
        rows = torch.cat([x, -x * factors])
        rows[1] = torch.nan  # is nobody's nearest
        s = hp.pairwise_cosine(rows)[0, 2:]
        similarity, index = hp.nearest(rows)
        assert float(similarity[0]) == float(s.max())
        assert int(index[0]) == 2 + int((s == s.max()).to(torch.uint8).argmax())
        assert (float(index[1]), bool(similarity[1].isnan())) == (-1.0, True)


@pytest.mark.parametrize("d", FEATURES)
@pytest.mark.usefixtures("level")
def test_ties_across_tiles_and_threads(d: int, threads: list[int]) -> None:
    """Every row comes three times, in another order each time: many equal cosines far apart."""
    first = random_rows(110, d, torch.float64)
    order = [torch.randperm(110, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    x = torch.cat([first, first[order[0]], first[order[1]]])
    s = hp.pairwise_cosine(x)
    s.fill_diagonal_(-2.0)
    expected = (s == s.amax(1, keepdim=True)).to(torch.uint8).argmax(1)
    for count in threads:
        torch.set_num_threads(count)
        similarity, index = hp.nearest(x)
        assert torch.equal(similarity, s.amax(1))
        assert torch.equal(index, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [3, 9, 20, 40])  # strips of 512, 256 and 128 columns
@pytest.mark.parametrize("n", [63, 64, 65, 191, 513, 1030])
@pytest.mark.usefixtures("level")
def test_blocks_of_short_rows(n: int, d: int, dtype: torch.dtype) -> None:
    """Entries of -1, 0 and 1: equal cosines in several blocks of 64 columns, and rows of NaN."""
    x = torch.randint(-1, 2, (n, d), generator=torch.Generator().manual_seed(n + d)).to(dtype)
    x[::37] = torch.nan
    s = hp.pairwise_cosine(x).fill_diagonal_(-2.0).nan_to_num(nan=-2.0)
    expected = (s == s.amax(1, keepdim=True)).to(torch.uint8).argmax(1)
    expected[::37] = -1
    similarity, index = hp.nearest(x)
    assert torch.equal(index, expected)
    finite = index >= 0
    assert torch.equal(similarity[finite], s.amax(1)[finite])
    assert bool(similarity[~finite].isnan().all())


@pytest.mark.parametrize("d", FEATURES)
@pytest.mark.usefixtures("level")
def test_negative_similarities_beat_the_padding(d: int) -> None:
    angles = torch.tensor([0.0, 2.0, 4.1])  # every cosine of two of them is negative
    x = torch.zeros(3, d)
    x[:, 0], x[:, 1] = angles.cos(), angles.sin()
    similarity, index = hp.nearest(x)
    assert bool((similarity < 0).all())
    assert index.tolist() == [1, 0, 1]


@pytest.mark.parametrize("d", FEATURES)
def test_rows_without_a_nearest(d: int) -> None:
    similarity, index = hp.nearest(torch.ones(1, d))
    assert bool(similarity.isnan().all())
    assert index.tolist() == [-1]
    x = torch.randn(170, d)
    clean = hp.nearest(torch.cat([x[:5], x[6:]]))[0]
    x[5] = float("nan")
    similarity, index = hp.nearest(x)
    assert bool(similarity[5].isnan())
    assert int(index[5]) == -1
    assert not bool((index == 5).any())
    assert torch.equal(torch.cat([similarity[:5], similarity[6:]]), clean)
    x = torch.eye(2, d)
    x[1, 0] = float("inf")
    assert hp.nearest(x)[1].tolist() == [-1, -1]


def test_empty_batches_numpy() -> None:
    assert hp.nearest(torch.empty(0, 3))[1].shape == (0,)
    x = torch.randn(2, 3, 20, 4)
    similarity, index = hp.nearest(x)
    assert torch.equal(similarity[1, 2], hp.nearest(x[1, 2])[0])
    assert torch.equal(index[1, 2], hp.nearest(x[1, 2])[1])
    arrays = hp.nearest(x[0, 0].numpy())
    assert all(isinstance(a, np.ndarray) for a in arrays)
    np.testing.assert_array_equal(arrays[1], index[0, 0].numpy())


@pytest.mark.parametrize("d", [20, 80])
def test_any_number_of_threads_gives_the_same_bits(d: int, threads: list[int]) -> None:
    x = torch.randn(300, d)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.nearest(x))
    for similarity, index in results[1:]:
        assert torch.equal(similarity, results[0][0])
        assert torch.equal(index, results[0][1])


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 80), st.integers(1, 12) | st.integers(65, 75))
def test_is_the_maximum_of_the_matrix(seed: int, n: int, d: int) -> None:
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    s = hp.pairwise_cosine(x)
    s.fill_diagonal_(-2.0)
    similarity, index = hp.nearest(x)
    assert torch.equal(similarity, s.amax(1))
    assert torch.equal(index, (s == s.amax(1, keepdim=True)).to(torch.uint8).argmax(1))


def test_bad_input() -> None:
    with pytest.raises(
        ValueError, match=re.escape("x must have shape (..., n, d); got shape (2,)")
    ):
        hp.nearest(torch.ones(2))
    with pytest.raises(TypeError, match=r"x must be a torch\.Tensor or a numpy\.ndarray; got str"):
        hp.nearest("x")  # type: ignore[arg-type]
