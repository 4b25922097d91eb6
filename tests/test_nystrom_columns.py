# SPDX-License-Identifier: MIT
"""Columns of the similarity graph, the kernel under Nystroem."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hubprune as hp
from cases import COSINE, DTYPES, SHAPES, numpy64, random_rows
from hubprune import reference
from hubprune.ops import self_weights

EDGES = ("signed", "squared", "abs", "positive", "shifted")


def columns(x: torch.Tensor, landmarks: torch.Tensor, edge: str = "signed") -> torch.Tensor:
    result: torch.Tensor = torch.ops.hubprune.nystrom_columns(x, landmarks, edge)
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.usefixtures("level")
def test_matches_the_reference(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    for m in {1, (n + 1) // 2, n}:
        expected = reference.nystrom_columns(numpy64(x), order[:m].numpy())
        assert np.max(np.abs(numpy64(columns(x, order[:m])) - expected)) < COSINE[dtype]


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("n", "d"), [(70, 9), (150, 300)])
@pytest.mark.usefixtures("level")
def test_edges_and_exact_entries(n: int, d: int, edge: str) -> None:
    x = random_rows(n, d)
    landmarks = torch.tensor([7, 1, 0, 69, 3])
    got = columns(x, landmarks, edge)
    expected = reference.nystrom_columns(numpy64(x), landmarks.numpy(), edge)
    assert np.max(np.abs(numpy64(got) - expected)) < 2 * COSINE[torch.float32]
    zero = 0.5 if edge == "shifted" else 0.0
    own = got[landmarks, torch.arange(5)]
    assert own.tolist() == [1.0, zero, 1.0, 1.0, 1.0]  # row 1 is the zero row
    between = got[landmarks]
    assert torch.equal(between, between.mT)


def test_batches_strides_half_precision() -> None:
    x = torch.randn(2, 3, 40, 12)
    landmarks = torch.stack([torch.randperm(40)[:7] for _ in range(6)]).reshape(2, 3, 7)
    got = columns(x, landmarks, "abs")
    assert got.shape == (2, 3, 40, 7)
    assert torch.equal(got[1, 2], columns(x[1, 2], landmarks[1, 2], "abs"))
    wide = torch.randn(12, 40).mT  # not contiguous
    at = torch.arange(0, 14, 2)[::2]
    assert torch.equal(columns(wide, at), columns(wide.contiguous(), at.contiguous()))
    assert columns(x[0, 0].half(), landmarks[0, 0]).dtype == torch.float32


def test_rows_that_are_not_finite_and_empty_input() -> None:
    x = random_rows(20, 5)
    x[4, 2] = float("nan")
    got = columns(x, torch.tensor([4, 6]))
    assert bool(got[:, 0].isnan().all())
    assert bool(got[4].isnan().all())
    assert bool(got[:, 1].isfinite().sum() == 19)
    assert columns(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)).shape == (0, 0)
    assert columns(x, torch.empty(0, dtype=torch.int64)).shape == (20, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "d", "m"), [(133, 65, 130), (530, 145, 513), (9, 2449, 9), (643, 2305, 641)]
)
@pytest.mark.usefixtures("level")
def test_the_bits_of_the_matrix(n: int, d: int, m: int, dtype: torch.dtype) -> None:
    """Groups of landmarks, blocks and spans of features, each with a remainder."""
    x = random_rows(n, d, dtype)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(d))[:m]
    assert torch.equal(columns(x, order), hp.pairwise_cosine(x)[:, order])


@pytest.mark.parametrize("edge", EDGES)
def test_self_weights_are_the_diagonal(edge: str) -> None:
    """A finite float32 row can have an infinite norm; it is as long as any other."""
    x = torch.randn(6, 40)
    x[1] = 0.0
    x[2] = 3e38
    x[3] = 1e-44
    x[4, 3] = float("inf")
    x[5, 7] = float("nan")
    expected = hp.pairwise_cosine(x, edge=edge).diagonal().double()
    assert torch.equal(self_weights(x[:4], edge), expected[:4])
    assert bool(self_weights(x, edge)[4:].isnan().all())
    assert torch.equal(self_weights(x.double()[None], edge)[0, :4], expected[:4])


def test_any_number_of_threads_gives_the_same_bits(threads: list[int]) -> None:
    x, landmarks = torch.randn(400, 333), torch.randperm(400)[:130]
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(columns(x, landmarks))
    assert all(torch.equal(result, results[0]) for result in results[1:])


@pytest.mark.parametrize("outside", [-1, 20])
def test_a_landmark_out_of_range_is_refused_by_the_binding(outside: int) -> None:
    x = torch.randn(20, 5)
    with pytest.raises(ValueError, match="landmark out of range"):
        columns(x, torch.tensor([0, outside]))


def test_wide_rows_keep_their_accuracy() -> None:
    x = torch.randn(33, 18432, generator=torch.Generator().manual_seed(0)) + 0.2
    got = columns(x, torch.arange(33))
    expected = reference.pairwise_cosine(numpy64(x))
    assert np.max(np.abs(numpy64(got) - expected)) < COSINE[torch.float32]
    assert torch.equal(got, hp.pairwise_cosine(x))
