# SPDX-License-Identifier: MIT
"""The greedy order of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
import torch

from device_tolerances import COSINE
from emulation import (
    EDGES,
    INVALID_VALUE,
    MOST_BLOCKS,
    SIZES,
    Array,
    EmulatedDevice,
    random_rows,
    special_rows,
)
from hubprune import reference as ref

DTYPES: Final = (np.float32, np.float64)
ROUTES: Final = (True, False)  # the stored graph, and weights computed again


def on_the_cpu(x: Array, edge: str, count: int | None = None) -> tuple[Array, Array]:
    order, degree = torch.ops.hubprune.greedy_degree(torch.from_numpy(x), edge, count)
    return order.numpy(), degree.numpy()


def assert_greedy(order: Array, degree: Array, x: Array, edge: str, count: int | None) -> None:
    """Every removed row had the largest degree of those left, to rounding; the rest is ranked."""
    weights = ref.adjacency(x, edge)
    n = len(weights)
    removals = n if count is None else min(count, n)
    assert sorted(order.tolist()) == list(range(n))
    left = np.ones(n, bool)
    for step, hub in enumerate(order):
        # A cosine may be off by the tolerance: so may each of the weights that are left.
        slack = COSINE[x.dtype] * max(1.0, float(left.sum()))
        sums = weights[:, left].sum(1)
        assert abs(degree[hub] - sums[hub]) <= slack
        if step < removals:
            assert sums[hub] >= sums[left].max() - 2 * slack
            left[hub] = False
    last = degree[order[removals:]]
    assert (np.diff(last) <= 0).all()
    ties = np.diff(last) == 0
    assert (np.diff(order[removals:])[ties] > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_rows(device: EmulatedDevice, n: int, dtype: Any) -> None:
    x = random_rows((n, 9), dtype, seed=n)
    for edge in EDGES if n < 60 else ("abs", "signed"):
        order, degree = device.greedy_degree(x, edge)
        assert_greedy(order, degree, x, edge, None)
        expected, expected_degree = on_the_cpu(x, edge)
        if dtype == np.float64 and edge != "shifted":
            assert order.tolist() == expected.tolist()
            assert order.tolist() == ref.greedy_degree(x, edge).order.tolist()
            np.testing.assert_allclose(degree, expected_degree, rtol=0, atol=5e-14)
        again = device.greedy_degree(x, edge, stored=False)
        assert again[0].tobytes() == order.tobytes()
        assert again[1].tobytes() == degree.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130])
def test_features(device: EmulatedDevice, d: int, dtype: Any) -> None:
    """Both routes give the same bits: a computed weight is the one that was added."""
    x = random_rows((67, d), dtype, seed=d)
    for edge in EDGES:
        order, degree = device.greedy_degree(x, edge, 12)
        assert_greedy(order, degree, x, edge, 12)
        again = device.greedy_degree(x, edge, 12, stored=False)
        assert again[0].tobytes() == order.tobytes()
        assert again[1].tobytes() == degree.tobytes()


@pytest.mark.parametrize("stored", ROUTES)
@pytest.mark.parametrize("count", [0, 1, 7, 40, 41, 1000])
def test_count_stops_early(device: EmulatedDevice, count: int, stored: bool) -> None:
    x = random_rows((41, 6), np.float64)
    for edge in EDGES:
        order, degree = device.greedy_degree(x, edge, count, stored=stored)
        expected, expected_degree = on_the_cpu(x, edge, count)
        assert order.tolist() == expected.tolist()
        np.testing.assert_allclose(degree, expected_degree, rtol=0, atol=2e-14)
        assert_greedy(order, degree, x, edge, count)
        if count:
            assert order.tolist() == ref.greedy_degree(x, edge, count).order.tolist()


@pytest.mark.parametrize("stored", ROUTES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_several_pieces_of_rows(device: EmulatedDevice, dtype: Any, stored: bool) -> None:
    x = random_rows((530, 5), dtype)
    x[529] = x[256] = x[3]
    order, degree = device.greedy_degree(x, "abs", 9, stored=stored)
    assert_greedy(order, degree, x, "abs", 9)
    places = np.argsort(order)
    assert places[3] < places[256] < places[529]
    if dtype == np.float64:
        assert order.tolist() == on_the_cpu(x, "abs", 9)[0].tolist()


@pytest.mark.parametrize("stored", ROUTES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_lowest_index(device: EmulatedDevice, dtype: Any, stored: bool) -> None:
    for x in (np.ones((70, 5), dtype), np.eye(70, dtype=dtype), np.zeros((70, 5), dtype)):
        for count in (None, 3):
            order, _ = device.greedy_degree(x, "signed", count, stored=stored)
            assert order.tolist() == list(range(70))
    x = np.tile(random_rows((12, 7), dtype), (6, 1))
    for edge in ("signed", "squared", "shifted"):
        order, degree = device.greedy_degree(x, edge, stored=stored)
        for row in range(12):
            members = order[order % 12 == row]
            assert members.tolist() == sorted(members.tolist())
        assert degree[order[-1]] == 0  # what was added was subtracted exactly


@pytest.mark.parametrize("stored", ROUTES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_equal_scaled_and_opposite_rows(
    device: EmulatedDevice, dtype: Any, stored: bool
) -> None:
    x = special_rows(dtype)[0]
    for edge in EDGES:
        order, degree = device.greedy_degree(x, edge, 20, stored=stored)
        assert_greedy(order, degree, x, edge, 20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", ROUTES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_rows(device: EmulatedDevice, bad: float, stored: bool, dtype: Any) -> None:
    for row in (0, 3, 66):
        x = random_rows((67, 4), dtype)
        x[row, 1] = bad
        for edge in EDGES:
            order, degree = device.greedy_degree(x, edge, 2, stored=stored)
            assert (order == -1).all()
            assert np.isnan(degree).all()


def test_one_row_that_is_not_finite_has_no_other(device: EmulatedDevice) -> None:
    x = np.full((1, 3), np.nan)
    order, degree = device.greedy_degree(x)
    assert (order.tolist(), degree.tolist()) == ([0], [0.0])
    assert [each.tolist() for each in on_the_cpu(x, "signed")] == [[0], [0.0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", ROUTES)
def test_same_bits_in_any_order_and_grid(device: EmulatedDevice, stored: bool, dtype: Any) -> None:
    x = random_rows((300, 20), dtype)
    results = []
    for seed, most_blocks in [(0, MOST_BLOCKS), (2, MOST_BLOCKS), (3, 1), (4, 3)]:
        device.reset(seed, most_blocks)
        results.append(device.greedy_degree(x, "abs", 6, stored=stored, shift=x.itemsize))
    for order, degree in results[1:]:
        assert order.tobytes() == results[0][0].tobytes()
        assert degree.tobytes() == results[0][1].tobytes()


def test_launches(device: EmulatedDevice) -> None:
    """One a step; none for nothing, and none for an edge that does not exist."""
    before = device.library.emulator_kernels()
    assert device.greedy_degree(random_rows((0, 5)))[0].shape == (0,)
    for edge, count in ((-1, 2), (5, 2), (0, -1)):
        status = device.library.emulated_greedy_degree(
            *[0, None, 4, 3, edge, count, 1], *[None, None, None, 0]
        )
        assert status == INVALID_VALUE
    assert device.library.emulator_kernels() == before
    # Norms, unit rows, the graph or nothing, degrees, the first candidates, 7 steps, the rest.
    device.greedy_degree(random_rows((40, 5)), "abs", 7)
    assert device.library.emulator_kernels() - before == 4 + 1 + 7 + 1
    device.greedy_degree(random_rows((40, 5)), "abs", 7, stored=False)
    assert device.library.emulator_kernels() - before == 13 + 3 + 1 + 7 + 1
