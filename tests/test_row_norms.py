# SPDX-License-Identifier: MIT
"""Row norms: right at any finite scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hubprune as hp
from cases import DTYPES, SHAPES, numpy64, random_rows
from hubprune import reference


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.usefixtures("level")
def test_matches_the_reference(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    expected = reference.row_norms(numpy64(x))
    np.testing.assert_allclose(numpy64(hp.row_norms(x)), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("d", [4, 9])
@pytest.mark.parametrize("exponent", [-44, -38, -30, -20, 0, 19, 30, 37])
def test_float32_at_any_scale(exponent: int, d: int) -> None:
    x = torch.full((11, d), 10.0**exponent)
    expected = d**0.5 * float(x[0, 0])
    assert hp.row_norms(x).tolist() == pytest.approx([expected] * 11, rel=1e-6)


@pytest.mark.parametrize("d", [4, 9])
@pytest.mark.parametrize("exponent", [-320, -308, -200, -150, 0, 150, 200, 307])
def test_float64_at_any_scale(exponent: int, d: int) -> None:
    value = float(f"1e{exponent}")
    x = torch.full((11, d), value, dtype=torch.float64)
    assert hp.row_norms(x).tolist() == pytest.approx([d**0.5 * value] * 11, rel=1e-14)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_bad_row_is_not_finite(bad: float, dtype: torch.dtype) -> None:
    x = torch.ones(3, 9, dtype=dtype)
    x[1, 4] = bad
    norms = hp.row_norms(x)
    assert torch.isfinite(norms).tolist() == [True, False, True]
    np.testing.assert_array_equal(norms[1], abs(bad))


def test_half_precision_comes_back_as_float32() -> None:
    x = torch.full((2, 3), 300.0, dtype=torch.float16)  # the square, 90000, is beyond float16
    norms = hp.row_norms(x)
    assert norms.dtype == torch.float32
    assert float(norms[0]) == pytest.approx(300 * 3**0.5, rel=1e-6)


@given(st.integers(-100, 100), st.integers(1, 40))
def test_scaling_by_a_power_of_two_scales_the_norm_exactly(power: int, d: int) -> None:
    x = torch.randn(3, d, dtype=torch.float64, generator=torch.Generator().manual_seed(d))
    assert torch.equal(hp.row_norms(x * 2.0**power), hp.row_norms(x) * 2.0**power)
