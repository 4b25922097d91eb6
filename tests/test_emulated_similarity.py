# SPDX-License-Identifier: MIT
"""Weighted degree, nearest, pairwise cosine and row norms of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emulation import (
    EDGES,
    MOST_BLOCKS,
    SIZES,
    EmulatedDevice,
    assert_cosines_close,
    assert_degree_close,
    assert_nearest_close,
    random_rows,
    special_rows,
)

# -------------------------------------------------------------------------------------------------
# Weighted degree and nearest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("edge", EDGES)
def test_weighted_degree(device: EmulatedDevice, edge: str, n: int, dtype: Any) -> None:
    x = random_rows((1, n, 9), dtype, seed=n)
    assert_degree_close(device.weighted_degree(x, edge), x, edge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_nearest(device: EmulatedDevice, n: int, dtype: Any) -> None:
    x = random_rows((1, n, 9), dtype, seed=n)
    assert_nearest_close(*device.nearest(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_pairwise_cosine(device: EmulatedDevice, n: int, dtype: Any) -> None:
    x = random_rows((1, n, 9), dtype, seed=n)
    for edge in EDGES:
        assert_cosines_close(device.pairwise_cosine(x, edge=edge), x, None, edge)
    without = device.pairwise_cosine(x, edge="shifted", zero_diagonal=True)
    assert_cosines_close(without, x, None, "shifted", zero_diagonal=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairwise_cosine_with_zero_rows_as_nan(device: EmulatedDevice, dtype: Any) -> None:
    x = special_rows(dtype)
    y = random_rows((1, 3, 9), dtype)
    zero = ~x.any(axis=-1)
    got = device.pairwise_cosine(x, nan_zero_rows=True)
    expected = device.pairwise_cosine(x)
    expected[zero[:, :, None] | zero[:, None, :]] = np.nan
    np.testing.assert_array_equal(got, expected)
    got = device.pairwise_cosine(x, zero_diagonal=True, nan_zero_rows=True)
    assert not np.einsum("bii->bi", got).any()
    got, expected = device.pairwise_cosine(y, x, nan_zero_rows=True), device.pairwise_cosine(y, x)
    expected[np.broadcast_to(zero[:, None, :], expected.shape)] = np.nan
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 70, 3), (65, 2, 17), (64, 129, 0), (130, 66, 33)])
def test_pairwise_cosine_of_others(
    device: EmulatedDevice, n: int, m: int, d: int, dtype: Any
) -> None:
    x, y = random_rows((2, n, d), dtype), random_rows((2, m, d), dtype, seed=1)
    for edge in EDGES:
        assert_cosines_close(device.pairwise_cosine(x, y, edge), x, y, edge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [0, 1, 9, 12, 13, 31, 32, 33, 128, 129, 1000])
def test_row_norms(device: EmulatedDevice, d: int, dtype: Any) -> None:
    x = random_rows((270, d), dtype, seed=d)
    expected = np.linalg.norm(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(device.row_norms(x), expected, rtol=1e-7 if d else 0)


# One lane, four, sixteen, and a warp that reads a row in two goes.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [4, 20, 100, 300])
def test_row_norms_of_special_rows(device: EmulatedDevice, d: int, dtype: Any) -> None:
    largest = 1e30 if dtype == np.float32 else 1e300
    x = np.ones((6, d), dtype)
    x[0] = 0
    x[1] *= dtype(largest)
    x[2] *= dtype(1 / largest)
    x[3, d - 1] = np.nan
    x[4, d // 2] = -np.inf
    x[5, 0], x[5, d - 1] = np.inf, np.nan
    root = np.sqrt(d)
    expected = [0, root * largest, root / largest, np.nan, np.inf, np.nan]
    np.testing.assert_allclose(device.row_norms(x), expected, rtol=1e-6)


# The closed forms: pieces of 512 to 2048 rows, blocks of 256 features, groups of 1 to 32 lanes.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", ["signed", "shifted"])
@pytest.mark.parametrize(
    ("n", "d"),
    [
        *((1025, 2), (1100, 9), (70, 1), (300, 12), (70, 13), (40, 31), (70, 32), (40, 33)),
        *((20, 128), (20, 129), (30, 255), (30, 257), (9, 600)),
    ],
)
def test_closed_forms(device: EmulatedDevice, n: int, d: int, edge: str, dtype: Any) -> None:
    x = random_rows((2, n, d), dtype, seed=n + d)
    x[1, n // 2] = 0
    assert_degree_close(device.weighted_degree(x, edge), x, edge)


# The closed form of the squares: pieces of 512 rows, tiles of 16 features, 8 rows a thread.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d"), [(8, 1), (513, 2), (1100, 9), (129, 16), (200, 17), (280, 33), (600, 70)]
)
def test_closed_form_of_the_squares(device: EmulatedDevice, n: int, d: int, dtype: Any) -> None:
    x = random_rows((2, n, d), dtype, seed=n + d)
    x[1, n // 2] = 0
    x[0, 3] = x[0, 1]
    x[0, 4] *= 1e-30
    assert route(device, n, d, "squared") == "gram"
    assert_degree_close(device.weighted_degree(x, "squared"), x, "squared")


def test_closed_form_of_the_squares_in_blocks_of_eight_rows(device: EmulatedDevice) -> None:
    x = random_rows((1, 1032, 129))
    assert route(device, 1032, 129, "squared") == "gram"
    assert_degree_close(device.weighted_degree(x, "squared"), x, "squared")


def route(device: EmulatedDevice, n: int, d: int, edge: str) -> str:
    return str(device.library.emulated_weighted_degree_route(n, d, EDGES.index(edge)).decode())


def test_route(device: EmulatedDevice) -> None:
    for edge in ("signed", "shifted"):
        assert route(device, 10, 1000, edge) == "closed"
    for edge in ("abs", "positive"):
        assert route(device, 1_000_000, 9, edge) == "tiles"
    assert route(device, 72, 9, "squared") == "gram"
    assert route(device, 71, 9, "squared") == "tiles"
    assert route(device, 10_000, 256, "squared") == "gram"
    assert route(device, 10_000, 257, "squared") == "tiles"


def test_squares_of_non_finite_rows(device: EmulatedDevice) -> None:
    x = random_rows((3, 80, 9))
    x[1, 65, 3] = np.nan
    x[2, 0, 0] = np.inf
    degree = device.weighted_degree(x, "squared")
    assert_degree_close(degree, x, "squared")
    assert np.isnan(degree[1:]).all()


# Around the stage (8 or 16 features), the chunk (32) and the partial sum (64 products).
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [0, 1, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 576])
def test_features(device: EmulatedDevice, d: int, dtype: Any) -> None:
    x = random_rows((1, 65, d), dtype, seed=d)
    assert_degree_close(device.weighted_degree(x, "abs"), x, "abs")
    assert_nearest_close(*device.nearest(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 65, 5), (4, 2, 3), (5, 1, 2), (2, 130, 17)])
def test_batches(device: EmulatedDevice, shape: tuple[int, ...], dtype: Any) -> None:
    x = random_rows(shape, dtype)
    assert_degree_close(device.weighted_degree(x, "positive"), x, "positive")
    assert_nearest_close(*device.nearest(x), x)


def test_nearest_with_several_panels_to_a_share(device: EmulatedDevice) -> None:
    # 86 x 3 row panels: two shares of the three column panels, the second one smaller.
    x = random_rows((86, 129, 3))
    assert_nearest_close(*device.nearest(x), x)


# Short rows: tiles of 128, of one panel or two, nine features or any number, in any order and grid.
@pytest.mark.parametrize("edge", ["abs", "positive", "squared"])
@pytest.mark.parametrize(
    ("n", "d"),
    [(129, 9), (191, 9), (193, 9), (257, 9), (320, 9), (192, 4), (127, 8), (200, 25), (385, 32)],
)
def test_short_rows(device: EmulatedDevice, n: int, d: int, edge: str) -> None:
    x = random_rows((2, n, d), seed=n + d)
    x[0, 5] = x[1, n - 1] = 0
    x[0, 100] = x[0, 3]
    x[1, n - 2] = -x[1, 0]
    x[1, 7] *= 1e-30
    results = []
    for seed, most_blocks in ((0, MOST_BLOCKS), (1, MOST_BLOCKS), (2, 3)):
        device.reset(seed, most_blocks)
        results.append(device.weighted_degree(x, edge))
        assert results[-1].tobytes() == results[0].tobytes()
    assert_degree_close(results[0], x, edge)
    x[1, n // 2, d - 1] = np.inf
    degree = device.weighted_degree(x, edge)
    assert degree[0].tobytes() == results[0][0].tobytes()
    assert np.isnan(degree[1]).all()


def test_short_rows_of_equal_cosines(device: EmulatedDevice) -> None:
    """Sums of equal weights round the same way every time: off by 1.5e-7 here."""
    x = np.tile(np.array([[0.1, 1.0], [1.0, 0.4]], np.float32), (150, 1))[None]
    assert_degree_close(device.weighted_degree(x, "abs"), x, "abs")
    x = np.ones((1, 300, 9), np.float32)
    np.testing.assert_allclose(device.weighted_degree(x, "abs"), 299, rtol=1e-7)


def test_strips_of_several_tiles(device: EmulatedDevice) -> None:
    """From 8065 rows on. With one feature a cosine is a sign, and a degree a count."""
    sign = np.where(np.random.default_rng(0).random(8070) < 0.3, -1, 1).astype(np.float32)
    device.reset(1, 700)
    degree = device.weighted_degree(sign[None, :, None].copy(), "positive")
    count = np.where(sign > 0, (sign > 0).sum(), (sign < 0).sum()) - 1
    np.testing.assert_array_equal(degree[0], count)


def test_rounding_does_not_add_up(device: EmulatedDevice) -> None:
    # Equal positive products round the same way every time. Off by, in float32: a plain sum 8e-5,
    # sums of 64 added up plainly 1.5e-6, with compensation 2e-7.
    x = np.ones((1, 2, 11000), np.float32)
    x[0, 1, 8800:] = 0
    assert_nearest_close(*device.nearest(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", EDGES)
def test_special_rows_degree(device: EmulatedDevice, edge: str, dtype: Any) -> None:
    x = special_rows(dtype)
    degree = device.weighted_degree(x, edge)
    assert_degree_close(degree, x, edge)
    isolated = 69 / 2 if edge == "shifted" else 0
    assert degree[0, 4] == degree[0, 66] == isolated


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_rows_nearest(device: EmulatedDevice, dtype: Any) -> None:
    x = special_rows(dtype)
    similarity, index = device.nearest(x)
    assert_nearest_close(similarity, index, x)
    assert [index[0, i] for i in (2, 5, 69)] == [5, 2, 2]  # equal rows: the lowest other index
    assert similarity[0, 4] == 0
    assert (index[0, 1], index[0, 68]) == (68, 1)
    assert (np.abs(similarity[0]) <= 1).all()


def test_all_rows_equal(device: EmulatedDevice) -> None:
    x = np.tile(random_rows((1, 1, 9)), (1, 130, 1))
    similarity, index = device.nearest(x)
    np.testing.assert_array_equal(index[0], [1] + [0] * 129)
    assert np.unique(similarity).size == 1
    assert_degree_close(device.weighted_degree(x, "signed"), x, "signed")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_rows(device: EmulatedDevice, bad: float, dtype: Any) -> None:
    x = random_rows((3, 66, 9), dtype)
    x[1, 65, 3] = bad
    for edge in EDGES:
        degree = device.weighted_degree(x, edge)
        assert_degree_close(degree, x, edge)
        assert np.isnan(degree[1]).all()
        assert np.isfinite(degree[[0, 2]]).all()
        assert_cosines_close(device.pairwise_cosine(x, edge=edge), x, None, edge)
    similarity, index = device.nearest(x)
    assert_nearest_close(similarity, index, x)
    assert np.isnan(similarity[1, 65])
    assert index[1, 65] == -1
    assert not (index[1] == 65).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_but_non_finite_rows(device: EmulatedDevice, dtype: Any) -> None:
    x = np.full((1, 3, 2), np.nan, dtype)
    x[0, 1] = 1
    similarity, index = device.nearest(x)
    assert np.isnan(similarity).all()
    np.testing.assert_array_equal(index, [[-1, -1, -1]])
    alone = np.full((1, 1, 2), np.nan, dtype)
    np.testing.assert_array_equal(device.weighted_degree(alone, "abs"), [[0]])
    assert device.nearest(alone)[1] == -1


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (np.float32, [1e-44, 1e-30, 1.0, 1e30, 2e37]),
        (np.float64, [5e-322, 1e-300, 1.0, 1e300, 1e307]),
    ],
)
def test_any_finite_scale(device: EmulatedDevice, dtype: Any, scales: list[float]) -> None:
    rows = np.random.default_rng(0).integers(-7, 8, (70, 9)).astype(np.float64)
    factors = np.resize(np.array(scales), 70)[:, None]
    x = (rows * factors).astype(dtype)[None]
    assert_degree_close(device.weighted_degree(x, "abs"), x, "abs")
    assert_nearest_close(*device.nearest(x), x)


def test_within_one_row_scales_may_differ(device: EmulatedDevice) -> None:
    x = random_rows((1, 5, 4), np.float64)
    x[0, :, 0] *= 1e200
    x[0, :, 1] *= 1e-200
    assert_degree_close(device.weighted_degree(x, "signed"), x, "signed")
