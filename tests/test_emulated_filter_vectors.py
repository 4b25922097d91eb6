# SPDX-License-Identifier: MIT
"""Rank-1 vectors of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from emulation import EmulatedDevice, assert_vectors_close, random_rows

FILTER_SHAPES: Final = [
    *[(3, c, 9) for c in (1, 2, 8, 9, 10, 64, 65, 70)],
    *[(2, c, 49) for c in (3, 16, 48, 49, 64)],
    (2, 3, 64),
    (1, 70, 64),
    (3, 1, 512),
    (2, 5, 512),
    (3, 17, 2),
    (70, 2, 9),
]


@pytest.mark.parametrize(
    ("dtype", "out_dtype"),
    [(np.float32, np.float32), (np.float32, np.float64), (np.float64, np.float64)],
)
@pytest.mark.parametrize("shape", FILTER_SHAPES)
def test_filter_vectors(
    device: EmulatedDevice, shape: tuple[int, ...], dtype: Any, out_dtype: Any
) -> None:
    weight = random_rows(shape, dtype, seed=1)
    assert_vectors_close(device.filter_vectors(weight, out_dtype), weight)
    norms = np.linalg.norm(weight.astype(np.float64).reshape(len(weight), -1), axis=1)
    np.testing.assert_allclose(device.norms, norms, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [4, 12])
def test_filter_vectors_of_special_filters(device: EmulatedDevice, c: int, dtype: Any) -> None:
    weight = random_rows((7, c, 9), dtype, seed=2)
    weight[0] = 0
    weight[1, :, :] = 0
    weight[1, c - 1, 4] = -3  # one entry: u1 is a unit vector, v1[0] = 0 unless it is channel 0
    weight[2, 0] = 0  # v1[0] = 0: the largest entry decides the sign
    weight[3, c - 1, 8] = np.nan
    weight[4, 0, 0] = np.inf
    weight[5] = np.outer(np.arange(c), [-1, 1, -1, 1, 1, 1, 1, 1, 1])  # ties, first column zero
    vectors = device.filter_vectors(weight)
    assert_vectors_close(vectors, weight)
    np.testing.assert_array_equal(vectors[0], np.zeros(9))
    np.testing.assert_array_equal(vectors[1], np.eye(9)[4])
    assert np.isnan(vectors[3:5]).all()
    assert vectors[5, 0] > 0


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (np.float32, [1e-44, 1e-38, 1e-18, 1e18, 2e37]),
        (np.float64, [5e-322, 1e-300, 1e-160, 1e160, 1e300, 1e307]),
    ],
)
@pytest.mark.parametrize("c", [3, 12])
def test_filter_vectors_at_any_finite_scale(
    device: EmulatedDevice, c: int, dtype: Any, scales: list[float]
) -> None:
    rng = np.random.default_rng(4)
    filters = rng.integers(-7, 8, (len(scales), c, 9)).astype(np.float64)
    weight = (filters * np.array(scales)[:, None, None]).astype(dtype)
    assert_vectors_close(device.filter_vectors(weight), weight)
