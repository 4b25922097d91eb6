# SPDX-License-Identifier: MIT
"""The sum of distances of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from device_tolerances import DISTANCE_SUM
from emulation import SIZES, Array, EmulatedDevice, random_rows, special_rows


def assert_distance_sums_close(actual: Array, x: Array, equal: int = 0) -> None:
    """`equal` other rows at most equal a row: those distances are off by the root of a rounding."""
    rows = x.astype(np.float64)
    expected = np.array([np.linalg.norm(rows - row, axis=1).sum() for row in rows])
    tolerance = DISTANCE_SUM[x.dtype] * max(expected, default=0.0)
    if equal:
        tolerance += equal * 4 * np.sqrt(np.finfo(x.dtype).eps) * np.linalg.norm(rows, axis=1).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_distance_sum(device: EmulatedDevice, n: int, dtype: Any) -> None:
    x = random_rows((n, 19), dtype, seed=n)
    x[: n // 2] *= 7
    assert_distance_sums_close(device.distance_sum(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distance_sum_of_special_rows(device: EmulatedDevice, dtype: Any) -> None:
    x = special_rows(dtype)[0]
    assert_distance_sums_close(device.distance_sum(x), x, equal=2)
    np.testing.assert_array_equal(device.distance_sum(0 * x), np.zeros(70))
    np.testing.assert_array_equal(device.distance_sum(x[:, :0].copy()), np.zeros(70))
    largest = 1e30 if dtype == np.float32 else 1e300
    assert_distance_sums_close(device.distance_sum(x * dtype(largest)) / largest, x, equal=2)
    for bad in (np.nan, np.inf):
        x[7, 2] = bad
        assert np.isnan(device.distance_sum(x)).all()
