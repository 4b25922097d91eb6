# SPDX-License-Identifier: MIT
"""Launches under the emulator: devices, errors, empty input, groups of layers, equal bits."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
import pytest

from emulation import (
    EDGES,
    INVALID_VALUE,
    MOST_BLOCKS,
    EmulatedDevice,
    assert_degree_close,
    assert_vectors_close,
    random_graphs,
    random_rows,
)

# -------------------------------------------------------------------------------------------------
# The runtime's side: devices, errors, empty input


def test_device_count(device: EmulatedDevice) -> None:
    assert device.library.emulated_built() == 1
    assert device.library.emulated_device_count() == 2
    device.reset(devices=0)
    assert device.library.emulated_device_count() == 0
    assert device.library.emulator_last_error() == 0  # the failure leaves nothing behind


def test_launch_runs_on_its_device_and_restores_the_callers(device: EmulatedDevice) -> None:
    x = random_rows((1, 4, 3))
    device.weighted_degree(x, "abs", device=1)
    assert device.library.emulator_kernel_device() == 1
    assert device.library.emulator_device() == 0


def test_unknown_device_is_an_error_with_text(device: EmulatedDevice) -> None:
    before = device.library.emulator_kernels()
    with pytest.raises(AssertionError, match="weighted_degree: cudaErrorInvalidDevice: "):
        device.weighted_degree(random_rows((1, 4, 3)), "abs", device=7)
    assert device.library.emulator_kernels() == before
    assert device.library.emulator_last_error() == 0
    assert device.library.emulator_device() == 0


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0, 0)])
def test_empty_rows_launch_nothing(device: EmulatedDevice, shape: tuple[int, ...]) -> None:
    x = random_rows(shape)
    before = device.library.emulator_kernels()
    assert device.weighted_degree(x, "abs").shape == shape[:2]
    similarity, index = device.nearest(x)
    assert similarity.shape == index.shape == shape[:2]
    assert device.pairwise_cosine(x).shape == (*shape[:2], shape[1])
    assert device.row_norms(x.reshape(-1, 3)).size == 0
    for edge, tiles in (("shifted", False), ("squared", False), ("abs", True)):
        assert device.rows_eigenvector(x, edge, tiles=tiles)[0].shape == shape[:2]
    assert device.library.emulator_kernels() == before


@pytest.mark.parametrize("shape", [(0, 5, 9), (5, 0, 9), (5, 3, 0)])
def test_empty_filters_launch_nothing(device: EmulatedDevice, shape: tuple[int, ...]) -> None:
    before = device.library.emulator_kernels()
    vectors = device.filter_vectors(random_rows(shape))
    np.testing.assert_array_equal(vectors, np.zeros((shape[0], shape[2])))
    assert device.library.emulator_kernels() == before


@pytest.mark.parametrize("code", [-1, 5])
def test_unknown_edge_launches_nothing(device: EmulatedDevice, code: int) -> None:
    before = device.library.emulator_kernels()
    table = np.array([0, 1, 4, 3, 0], np.int64)
    status = device.library.emulated_weighted_degree(0, table.ctypes.data, 1, code, None, 0)
    assert status == INVALID_VALUE
    assert device.library.emulator_kernels() == before


def test_triangular_index_enumerates_the_upper_triangle(device: EmulatedDevice) -> None:
    row, column = ctypes.c_int64(), ctypes.c_int64()
    side = 60
    walked = []
    for index in range(side * (side + 1) // 2):
        device.library.emulated_triangular_index(index, ctypes.byref(row), ctypes.byref(column))
        walked.append((row.value, column.value))
    assert walked == [(i, j) for j in range(side) for i in range(j + 1)]


@pytest.mark.parametrize(
    "column", [2**k + offset for k in (13, 24, 26, 27, 31) for offset in (-1, 0)]
)
def test_triangular_index_is_exact_beyond_float64(device: EmulatedDevice, column: int) -> None:
    first = column * (column + 1) // 2
    found_row, found_column = ctypes.c_int64(), ctypes.c_int64()
    for row in (0, 1, column // 2, column - 1, column):
        device.library.emulated_triangular_index(
            first + row, ctypes.byref(found_row), ctypes.byref(found_column)
        )
        assert (found_row.value, found_column.value) == (row, column)


def strip_at(device: EmulatedDevice, index: int, side: int) -> tuple[int, int, int]:
    strip = (ctypes.c_int * 3)()
    device.library.emulated_strip_at(index, side, strip)
    return strip[0], strip[1], strip[2]


@pytest.mark.parametrize("side", [0, 1, 2, 16, 63, 64, 65, 129, 300])
def test_strips_cover_the_upper_triangle(device: EmulatedDevice, side: int) -> None:
    tiles = np.zeros((side, side), int)
    for index in range(device.library.emulated_strip_count(side)):
        column, first, end = strip_at(device, index, side)
        assert first < end
        tiles[first:end, column] += 1
    np.testing.assert_array_equal(tiles, np.triu(np.ones((side, side), int)))


@pytest.mark.parametrize("side", [2048, 7813, 2**24 + 5, 2**30])
def test_strips_of_large_sides(device: EmulatedDevice, side: int) -> None:
    count = device.library.emulated_strip_count(side)
    assert strip_at(device, 0, side) == (0, 0, 1)
    assert strip_at(device, count - 1, side) == (side - 1, (side - 1) // 64 * 64, side)
    rng = np.random.default_rng(0)
    for index in [*range(1, 300), *rng.integers(1, count, 300), count - 1]:
        column, _, end = strip_at(device, int(index) - 1, side)
        after = (column, end) if end <= column else (column + 1, 0)
        assert strip_at(device, int(index), side)[:2] == after


# -------------------------------------------------------------------------------------------------
# All layers of a model at once

GROUP: Final = [
    *((1, 70, 9), (2, 40, 20), (1, 1, 5), (0, 4, 3), (1, 0, 3), (3, 90, 9), (1, 65, 130)),
    (1, 20, 100),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", EDGES)
def test_grouped_degrees_are_those_of_the_layers_alone(
    device: EmulatedDevice, edge: str, dtype: Any
) -> None:
    layers = [random_rows(shape, dtype, seed=at) for at, shape in enumerate(GROUP)]
    layers[1][1, 3, 4] = np.nan  # touches no other item and no other layer
    before = device.library.emulator_kernels()
    grouped = device.weighted_degrees(layers, edge)
    # Three launches of a closed form and four of the tiles, two more for short rows in float32 (of
    # nine features, of any other number); squared takes both routes here.
    tiles = 6 if dtype == np.float32 else 4
    launches = {"signed": 3, "shifted": 3, "squared": 3 + tiles}.get(edge, tiles)
    assert device.library.emulator_kernels() - before == launches
    for x, degree in zip(layers, grouped, strict=True):
        assert degree.tobytes() == device.weighted_degree(x, edge).tobytes()
        assert_degree_close(degree, x, edge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_layers_than_a_launch_takes(device: EmulatedDevice, dtype: Any) -> None:
    layers = [random_rows((1, 2 + at % 5, 3), dtype, seed=at) for at in range(70)]
    before = device.library.emulator_kernels()
    grouped = device.weighted_degrees(layers, "abs")
    assert device.library.emulator_kernels() - before == 3 * 4
    for x, degree in zip(layers, grouped, strict=True):
        assert degree.tobytes() == device.weighted_degree(x, "abs").tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("most_blocks", [MOST_BLOCKS, 3, 1])
def test_grouped_vectors_are_those_of_the_layers_alone(
    device: EmulatedDevice, most_blocks: int, dtype: Any
) -> None:
    shapes = [(5, 12, 9), (40, 3, 9), (2, 0, 9), (0, 5, 9), (3, 5, 0), (2, 20, 25), (1, 1, 2)]
    layers = [random_rows(shape, dtype, seed=at) for at, shape in enumerate(shapes)]
    layers.append(random_rows((1, 76, 77), dtype))
    device.reset(7, most_blocks)
    before = device.library.emulator_kernels()
    grouped = device.layers_vectors(layers)
    norms = device.norms
    # Scales of float64; Gram matrices of 3 x 3 kernels and of others; eigenvectors in shared memory
    # and in global memory.
    assert device.library.emulator_kernels() - before == (5 if dtype == np.float64 else 4)
    alone = []
    for weight, vectors in zip(layers, grouped, strict=True):
        assert vectors.tobytes() == device.filter_vectors(weight).tobytes()
        alone.append(device.norms)
    assert norms.tobytes() == np.concatenate(alone).tobytes()


def test_vectors_of_more_layers_than_a_launch_takes(device: EmulatedDevice) -> None:
    layers = [random_rows((2, 4, 9), seed=at) for at in range(33)]
    for weight, vectors in zip(layers, device.layers_vectors(layers), strict=True):
        assert_vectors_close(vectors, weight)


# -------------------------------------------------------------------------------------------------
# What must not change a bit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_in_any_order_and_grid(device: EmulatedDevice, dtype: Any) -> None:
    x = random_rows((2, 129, 20), dtype)
    weight = random_rows((5, 20, 25), dtype)
    long = random_rows((1, 8300, 2), dtype)  # of which a step takes the whole device
    results = []
    # Ascending and shuffled blocks and threads; grids of any size, of one and of three blocks.
    for seed, most_blocks in [(0, MOST_BLOCKS), (1, MOST_BLOCKS), (2, MOST_BLOCKS), (3, 1), (4, 3)]:
        device.reset(seed, most_blocks)
        results.append(
            [
                *(device.weighted_degree(x, edge) for edge in EDGES),
                *device.nearest(x),
                device.pairwise_cosine(x, edge="abs"),
                device.pairwise_cosine(x, x[:, :70].copy()),
                device.row_norms(x.reshape(-1, 20)),
                *device.eigenvector(random_graphs((2, 66, 66), dtype)),
                *device.rows_eigenvector(x[:, :, :9].copy(), "signed", max_iter=6),
                *device.rows_eigenvector(x, "shifted"),
                *device.rows_eigenvector(x[:, :, :9].copy(), "squared"),
                *device.rows_eigenvector(x, "abs", tiles=True),
                *device.rows_eigenvector(long, "shifted", max_iter=2),
                device.filter_vectors(weight),
                device.filter_vectors(weight, np.float64),
                device.weighted_degree(x[:, :, :9].copy(), "squared"),
                device.distance_sum(x[0]),
            ]
        )
    for other in results[1:]:
        for first, again in zip(results[0], other, strict=True):
            assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_need_only_be_aligned_to_its_elements(device: EmulatedDevice, dtype: Any) -> None:
    x = random_rows((1, 66, 9), dtype)
    weight = random_rows((4, 12, 9), dtype)
    shift = x.itemsize
    for aligned, shifted in (
        (device.weighted_degree(x, "abs"), device.weighted_degree(x, "abs", shift=shift)),
        (device.nearest(x)[0], device.nearest(x, shift=shift)[0]),
        (device.pairwise_cosine(x), device.pairwise_cosine(x, shift=shift)),
        (device.row_norms(x[0]), device.row_norms(x[0], shift=shift)),
        (device.filter_vectors(weight), device.filter_vectors(weight, shift=shift)),
    ):
        assert aligned.tobytes() == shifted.tobytes()
