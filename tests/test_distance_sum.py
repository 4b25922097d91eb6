# SPDX-License-Identifier: MIT
"""Sums of Euclidean distances, behind the geometric-median scorer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hubprune as hp
from cases import DTYPES, SHAPES, numpy64, random_rows
from hubprune import reference

# Relative to the sum. Measured at the levels v2, v3 and v4: 3e-7 and 4e-15 for rows that are not
# close to each other; equal float32 rows come out up to 7e-4 of their norms apart, float64 rows
# 3e-8: the root of what rounding leaves of 1 - cosine.
DISTANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


def distance_sum(x: torch.Tensor) -> torch.Tensor:
    sums: torch.Tensor = torch.ops.hubprune.distance_sum(x)
    return sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [*SHAPES, (300, 9), (3, 0)])
@pytest.mark.usefixtures("level")
def test_matches_the_reference(n: int, d: int, dtype: torch.dtype) -> None:
    x = torch.randn(n, d, dtype=dtype) * torch.logspace(-3, 3, n, dtype=dtype)[:, None]
    if n > 2:
        x[1] = 0.0
    expected = -reference.geometric_median(numpy64(x))
    got = distance_sum(x)
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got, expected, rtol=DISTANCE[dtype], atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("level")
def test_equal_and_opposite_rows(dtype: torch.dtype) -> None:
    """A duplicate's distance of zero is lost in rounding, its sum is not."""
    x = random_rows(200, 70, dtype)
    expected = -reference.geometric_median(numpy64(x))
    bound = 1e-5 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(distance_sum(x), expected, rtol=bound, atol=0)
    equal = distance_sum(torch.ones(130, 40, dtype=dtype))
    assert float(equal.max()) <= 130 * 40**0.5 * (1e-3 if dtype == torch.float32 else 5e-8)
    assert distance_sum(torch.zeros(70, 5, dtype=dtype)).tolist() == [0.0] * 70


def test_any_finite_scale() -> None:
    x = torch.randn(70, 20, dtype=torch.float64)
    expected = distance_sum(x)
    for exponent in (-300, -100, 100, 300):
        scale = float(f"1e{exponent}")
        np.testing.assert_allclose(distance_sum(x * scale) / scale, expected, rtol=1e-12)
    single = x.float()
    for scale in (1e-38, 1e-20, 1e30):
        got = distance_sum(single * scale) / scale
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_not_finite_rows_make_every_sum_nan() -> None:
    for bad in (float("nan"), float("inf")):
        x = torch.randn(40, 3)
        x[7, 1] = bad
        assert bool(distance_sum(x).isnan().all())


def test_any_number_of_threads_gives_the_same_bits(threads: list[int]) -> None:
    x = torch.randn(500, 130)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(distance_sum(x))
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_the_scorer_is_minus_the_sum() -> None:
    weight = torch.randn(20, 6, 3, 3)
    scores = hp.score(weight, "gm")
    assert torch.equal(scores.values, -distance_sum(weight.flatten(1).double()))
