# SPDX-License-Identifier: MIT
"""Rank-1 vectors of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from emulation import MOST_BLOCKS, Array, EmulatedDevice, assert_vectors_close, random_rows

FILTER_SHAPES: Final = [
    *[(3, c, 9) for c in (1, 2, 8, 9, 10, 64, 65, 70)],
    *[(2, c, 49) for c in (3, 16, 48, 49, 64)],
    (2, 3, 64),
    (1, 70, 64),
    (3, 1, 512),
    (2, 5, 512),
    (3, 17, 2),
    (70, 2, 9),
    (2, 2, 2),
    (9, 300, 9),
    # Half a warp up to 16, shared memory up to 75: one, three or all four filters in a block.
    *[(9, q + 3, q) for q in (15, 16, 17)],
    *[(5, q, q + 1) for q in (31, 32, 33)],
    (5, 40, 38),
    (1, 75, 76),
    (2, 77, 76),
    (1, 100, 121),
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
    vectors = device.filter_vectors(weight, out_dtype)
    assert_vectors_close(vectors, weight)
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


def with_values(values: Array, c: int, p: int, rng: np.random.Generator) -> Array:
    """Return a filter (c, p) with these singular values."""
    left, _, right = np.linalg.svd(rng.standard_normal((c, p)), full_matrices=False)
    return np.asarray((left * values) @ right)


@pytest.mark.parametrize(("c", "p"), [(12, 9), (4, 9), (20, 16), (33, 40), (80, 78)])
def test_hard_spectra(device: EmulatedDevice, c: int, p: int) -> None:
    # Where the leading value has close neighbours its vector is not known well, but the residual is
    # always one of rounding. Largest measured: 7e-16. That its value is the largest is known only
    # as well as NumPy's: off by 5e-15 in squares where all values are 1 (in exact arithmetic).
    rng = np.random.default_rng(5)
    q = min(c, p)
    step = np.arange(q)
    spectra = [
        *(np.r_[1, 1 - gap, np.linspace(0.5, 0.1, q - 2)] for gap in (0.0, 1e-13, 1e-6)),
        1 - 1e-7 * step,
        np.r_[1 + 1e-3, 1 - 1e-12 * step[1:]],
        10.0**-step,
        np.r_[1, np.zeros(q - 1)],
        np.ones(q),
    ]
    diagonal = np.zeros((c, p))
    np.fill_diagonal(diagonal, 1 + step)
    weight = np.stack([*(with_values(values, c, p, rng) for values in spectra), diagonal])
    vectors = device.filter_vectors(weight)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-15)
    long_weight, long_vectors = weight.astype(np.longdouble), vectors.astype(np.longdouble)
    right = np.einsum("ncp,np->nc", long_weight, long_vectors)
    back = np.einsum("ncp,nc->np", long_weight, right)
    squares = np.einsum("np,np->n", back, long_vectors)
    residual = np.linalg.norm(back - squares[:, None] * long_vectors, axis=1)
    assert (residual <= 2e-15 * squares).all(), residual / squares
    relative = squares / np.linalg.norm(weight, ord=2, axis=(1, 2)) ** 2
    assert (relative >= 1 - 2e-14).all(), relative - 1
    np.testing.assert_array_equal(np.abs(vectors[-1]), np.eye(p)[q - 1])


@pytest.mark.parametrize(("c", "p"), [(12, 9), (5, 9), (20, 16), (30, 25), (90, 77)])
def test_taps_of_very_different_size(device: EmulatedDevice, c: int, p: int) -> None:
    # Squares of the small ones leave the range: they must not make a reflector infinite.
    rng = np.random.default_rng(6)
    sizes = 10.0 ** np.linspace(0, -170, p)
    factors = [sizes, sizes[::-1], rng.permutation(sizes), 1e150 * rng.permutation(sizes)]
    weight = rng.standard_normal((len(factors), c, p)) * np.stack(factors)[:, None]
    assert_vectors_close(device.filter_vectors(weight), weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [4, 12])
def test_filters_of_one_warp_do_not_see_each_other(
    device: EmulatedDevice, c: int, dtype: Any
) -> None:
    weight = random_rows((7, c, 9), dtype, seed=3)
    weight[1], weight[2, 0, 0], weight[5] = 0, np.nan, np.outer(np.ones(c), np.arange(9))
    vectors = device.filter_vectors(weight)
    for at in range(len(weight)):
        assert device.filter_vectors(weight[at:][:1]).tobytes() == vectors[at].tobytes()
    assert device.filter_vectors(weight[::-1].copy()).tobytes() == vectors[::-1].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_in_any_order_and_grid(device: EmulatedDevice, dtype: Any) -> None:
    shapes = [(19, 12, 9), (5, 3, 9), (9, 40, 17), (2, 77, 76), (3, 5, 16)]
    layers = [random_rows(shape, dtype, seed=at) for at, shape in enumerate(shapes)]
    results = []
    for seed, most_blocks in [(0, MOST_BLOCKS), (1, MOST_BLOCKS), (2, 1), (3, 3)]:
        device.reset(seed, most_blocks)
        results.append([vectors.tobytes() for vectors in device.layers_vectors(layers)])
        results[-1].append(device.norms.tobytes())
    assert all(other == results[0] for other in results[1:])
