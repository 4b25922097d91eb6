# SPDX-License-Identifier: MIT
"""Pivoted Cholesky of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
import torch

from emulation import MOST_BLOCKS, SIZES, Array, EmulatedDevice, random_rows
from hubprune import reference as ref

TOLERANCE: Final = 1e-10


def gram(n: int, rank: int, seed: int = 0) -> Array:
    x = random_rows((n, rank), np.float64, seed)
    return x @ x.T


def assert_as_elsewhere(device: EmulatedDevice, a: Array, tolerance: float = TOLERANCE) -> int:
    """Compare with the reference and with the CPU operator; return the rank."""
    order, residual, rank = device.pivoted_cholesky(a, tolerance)
    n = len(a)
    pivots, found = ref.pivoted_cholesky(a, tolerance)
    assert rank == len(pivots)
    assert order[:rank].tolist() == pivots.tolist()
    scale = float(found[0]) if rank else 0.0
    np.testing.assert_allclose(residual[:rank], found, rtol=1e-8, atol=1e-12 * scale)
    assert not residual[rank:].any()
    assert order[rank:].tolist() == sorted(set(range(n)) - set(pivots.tolist()))
    here, left, count = torch.ops.hubprune.pivoted_cholesky(torch.from_numpy(a), tolerance)
    assert (order.tolist(), rank) == (here.tolist(), int(count))
    np.testing.assert_allclose(residual, left.numpy(), rtol=1e-8, atol=1e-12 * scale)
    return rank


@pytest.mark.parametrize("n", SIZES)
def test_full_rank(device: EmulatedDevice, n: int) -> None:
    assert assert_as_elsewhere(device, gram(n, n + 40, seed=n)) == n


@pytest.mark.parametrize(("n", "rank"), [(2, 1), (9, 4), (65, 64), (70, 33), (129, 9), (290, 12)])
def test_less_than_full_rank(device: EmulatedDevice, n: int, rank: int) -> None:
    assert assert_as_elsewhere(device, gram(n, rank)) == rank


@pytest.mark.parametrize("tolerance", [0.9, 0.5, 0.1, 1.0, 2.0])
def test_the_tolerance_stops_early(device: EmulatedDevice, tolerance: float) -> None:
    rank = assert_as_elsewhere(device, gram(70, 90), tolerance)
    assert rank < 70
    assert (rank == 0) == (tolerance >= 1.0)


def test_ties_go_to_the_lowest_index_and_duplicates_are_found_once(device: EmulatedDevice) -> None:
    order, residual, rank = device.pivoted_cholesky(np.eye(130), 0.0)
    assert order.tolist() == list(range(130))
    assert rank == 130
    assert (residual == 1).all()
    a = np.tile(gram(10, 10), (7, 7))
    order, _, rank = device.pivoted_cholesky(a, TOLERANCE)
    assert rank == 10
    # Equal rows keep equal bits: the first of each is the pivot.
    assert sorted(order[:10].tolist()) == list(range(10))
    assert order[10:].tolist() == list(range(10, 70))


def test_zero_rows_are_never_pivots(device: EmulatedDevice) -> None:
    a = gram(40, 50)
    a[[0, 31, 32]] = 0
    a[:, [0, 31, 32]] = 0
    assert assert_as_elsewhere(device, a, 0.0) == 37
    assert assert_as_elsewhere(device, np.zeros((35, 35)), 0.0) == 0
    assert assert_as_elsewhere(device, -np.eye(3), 0.0) == 0


def test_a_diagonal_that_is_nan_ends_the_walk(device: EmulatedDevice) -> None:
    for row in (0, 31, 69):
        a = gram(70, 90)
        a[row, row] = np.nan
        order, residual, rank = device.pivoted_cholesky(a, TOLERANCE)
        assert rank == len(ref.pivoted_cholesky(a, TOLERANCE)[0]) == 0
        assert order.tolist() == list(range(70))
        assert not residual.any()
    a = gram(70, 90)
    first, second = ref.pivoted_cholesky(a, TOLERANCE)[0][:2]
    a[first, 5] = a[5, first] = np.nan
    assert 5 not in (first, second)
    order, residual, rank = device.pivoted_cholesky(a, TOLERANCE)
    assert rank == len(ref.pivoted_cholesky(a, TOLERANCE)[0]) == 1
    assert order[0] == first
    assert residual[0] == a[first, first]


def test_same_bits_in_any_order_and_grid(device: EmulatedDevice) -> None:
    a = gram(100, 20)
    results = []
    for seed, most_blocks in [(0, MOST_BLOCKS), (2, MOST_BLOCKS), (3, 1), (4, 3)]:
        device.reset(seed, most_blocks)
        results.append(device.pivoted_cholesky(a, TOLERANCE))
    for order, residual, rank in results[1:]:
        assert order.tobytes() == results[0][0].tobytes()
        assert residual.tobytes() == results[0][1].tobytes()
        assert rank == results[0][2] == 20


def test_launches(device: EmulatedDevice) -> None:
    """One a row, whatever the rank: nothing waits to learn it. None for nothing."""
    before = device.library.emulator_kernels()
    order, residual, rank = device.pivoted_cholesky(np.zeros((0, 0)), 0.0)
    assert (order.shape, residual.shape, rank) == ((0,), (0,), 0)
    assert device.library.emulator_kernels() == before
    device.pivoted_cholesky(gram(40, 3), TOLERANCE)
    assert device.library.emulator_kernels() - before == 1 + 40 + 1
