# SPDX-License-Identifier: MIT
"""Greedy and rejection pivoted Cholesky."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hubprune import reference
from hubprune.ops import rejection_cholesky


def gram(n: int, rank: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(n, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x @ x.mT


@pytest.mark.parametrize(
    ("n", "rank"), [(1, 1), (2, 2), (9, 4), (63, 63), (64, 64), (65, 65), (129, 200), (200, 70)]
)
@pytest.mark.usefixtures("level")
def test_greedy_matches_the_reference(n: int, rank: int) -> None:
    a = gram(n, rank)
    before = a.clone()
    order, residual, count = torch.ops.hubprune.pivoted_cholesky(a, 1e-10)
    pivots, found = reference.pivoted_cholesky(a.numpy(), 1e-10)
    k = int(count)
    assert k == len(pivots) == min(n, rank)
    assert order[:k].tolist() == pivots.tolist()
    np.testing.assert_allclose(residual[:k].numpy(), found, rtol=1e-8)
    assert bool((residual[k:] == 0).all())
    assert order[k:].tolist() == sorted(order[k:].tolist())
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(a, before)


@pytest.mark.usefixtures("level")
def test_ties_go_to_the_lowest_index_and_duplicates_are_found_once() -> None:
    order, _, count = torch.ops.hubprune.pivoted_cholesky(torch.eye(130, dtype=torch.float64), 0.0)
    assert order.tolist() == list(range(130))
    assert int(count) == 130
    a = gram(10, 10).repeat(3, 1).repeat(1, 3)
    order, _, count = torch.ops.hubprune.pivoted_cholesky(a, 1e-10)
    assert int(count) == 10
    assert sorted(i % 10 for i in order[:10].tolist()) == list(range(10))


def test_zero_and_empty_matrices() -> None:
    order, residual, count = torch.ops.hubprune.pivoted_cholesky(
        torch.zeros(3, 3, dtype=torch.float64), 0.0
    )
    assert (order.tolist(), residual.tolist(), int(count)) == ([0, 1, 2], [0.0] * 3, 0)
    order, _, count = torch.ops.hubprune.pivoted_cholesky(torch.zeros(0, 0), 0.0)
    assert (len(order), int(count)) == (0, 0)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_nan_ends_the_walk(at: int) -> None:
    a = torch.eye(5, dtype=torch.float64)
    a[at, at] = torch.nan
    order, residual, count = torch.ops.hubprune.pivoted_cholesky(a, 0.0)
    assert (order.tolist(), residual.tolist(), int(count)) == (list(range(5)), [0.0] * 5, 0)
    assert len(reference.pivoted_cholesky(a.numpy(), 0.0)[0]) == 0


def test_any_number_of_threads_gives_the_same_bits(threads: list[int]) -> None:
    a = gram(300, 400)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(torch.ops.hubprune.pivoted_cholesky(a, 0.0))
    for order, residual, _ in results[1:]:
        assert torch.equal(order, results[0][0])
        assert torch.equal(residual, results[0][1])


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30))
def test_rejection_matches_the_reference(seed: int, count: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    h = gram(count, rank, seed)
    draws = torch.rand(count, dtype=torch.float64, generator=generator)
    accepted = rejection_cholesky(h, draws, 1e-9)
    assert (
        accepted.tolist() == reference.rejection_cholesky(h.numpy(), draws.numpy(), 1e-9).tolist()
    )
    assert len(accepted) == 0 or int(accepted[0]) == 0  # nothing is in the first one's way


def test_a_candidate_drawn_twice_is_accepted_once() -> None:
    h = gram(1, 3).expand(5, 5)
    assert rejection_cholesky(h, torch.zeros(5, dtype=torch.float64), 1e-9).tolist() == [0]
    assert len(rejection_cholesky(torch.zeros(0, 0), torch.zeros(0), 1e-9)) == 0
