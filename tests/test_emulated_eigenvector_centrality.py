# SPDX-License-Identifier: MIT
"""Eigenvector centrality of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from cases import assert_within
from device_tolerances import EIGENVECTOR
from emulation import (
    EDGES,
    INVALID_VALUE,
    Array,
    EmulatedDevice,
    random_graphs,
    random_rows,
    special_rows,
)
from hubprune import reference as ref


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 31, 33, 65, 260])
def test_eigenvector_centrality(device: EmulatedDevice, n: int, dtype: Any) -> None:
    weights = random_graphs((2, n, n), dtype, seed=n)
    vector, converged, residual = device.eigenvector(weights)
    expected = ref.graph_eigenvector_centrality(weights)
    assert vector.dtype == dtype
    assert converged.all()
    assert (residual <= 1e-10).all()
    tolerance = 1e-7 if dtype == np.float32 else 3e-11  # tol is 1e-10
    np.testing.assert_allclose(vector, expected, rtol=0, atol=tolerance)


def test_eigenvector_of_a_signed_graph(device: EmulatedDevice) -> None:
    weights = ref.adjacency(random_rows((1, 70, 9), np.float64), "signed")
    vector, converged, _ = device.eigenvector(weights)
    assert converged.all()
    expected = ref.graph_eigenvector_centrality(weights)
    assert_within(vector, expected, 1e-14)


def test_eigenvector_of_graphs_of_any_scale(device: EmulatedDevice) -> None:
    """Squares of such weights leave the range of float64; one factor for each graph."""
    weights = random_graphs((5, 70, 70), np.float64, seed=9)
    weights = np.ldexp(weights, np.array([-1060, -600, 0, 520, 1020])[:, None, None])
    vector, converged, _ = device.eigenvector(weights)
    assert converged.all()
    expected = ref.graph_eigenvector_centrality(weights)
    np.testing.assert_allclose(vector, expected, rtol=0, atol=3e-11)
    alone, _, _ = device.eigenvector(weights[2:3])
    np.testing.assert_array_equal(vector[2], alone[0])


def test_eigenvector_after_restarts(device: EmulatedDevice) -> None:
    """A path's eigenvalues lie close together: more products than the basis holds vectors."""
    weights = np.zeros((1, 120, 120))
    rows = np.arange(119)
    weights[0, rows, rows + 1] = weights[0, rows + 1, rows] = 1
    vector, converged, residual = device.eigenvector(weights, tol=1e-9, max_iter=1000)
    assert converged.all()
    assert residual[0] <= 1e-9
    expected = np.sin(np.pi * np.arange(1, 121) / 121)
    assert_within(vector[0], expected / np.linalg.norm(expected), 3e-8)
    vector, converged, residual = device.eigenvector(weights, tol=1e-9, max_iter=5)
    assert not converged.any()
    assert residual[0] > 1e-9
    assert np.isnan(vector).all()


def test_eigenvector_in_several_calls(device: EmulatedDevice) -> None:
    """Each goes on where the one before it ended, and all give the bits of one."""
    weights = random_graphs((3, 50, 50))
    rows = np.arange(49)
    weights[1] = 0
    weights[1, rows, rows + 1] = weights[1, rows + 1, rows] = 1  # a path: restarts on the way
    weights[2, 5, 6] = weights[2, 6, 5] = np.nan
    for max_iter, calls in ((80, (7, 24)), (17, (7,))):
        together = device.eigenvector(weights, tol=1e-9, max_iter=max_iter)
        assert together[1].tolist() == [1, int(max_iter == 80), 1]
        for at_once in calls:
            several = device.eigenvector(weights, tol=1e-9, max_iter=max_iter, at_once=at_once)
            assert [each.tobytes() for each in several] == [each.tobytes() for each in together]


@pytest.mark.parametrize(("edge", "tiles"), [("abs", True), ("signed", False), ("squared", False)])
def test_rows_in_several_calls(device: EmulatedDevice, edge: str, tiles: bool) -> None:
    x = random_rows((2, 65, 5), np.float64)
    x[1, 2, 3] = np.inf
    together = device.rows_eigenvector(x, edge, tiles=tiles, max_iter=40)
    assert together[1].all()
    several = device.rows_eigenvector(x, edge, tiles=tiles, max_iter=40, at_once=3)
    assert [each.tobytes() for each in several] == [each.tobytes() for each in together]


def test_eigenvector_items_stop_by_themselves(device: EmulatedDevice) -> None:
    """Without edges, all equal, not finite, ordinary: one batch, each as it is alone."""
    weights = random_graphs((4, 33, 33))
    weights[0] = 0
    weights[1] = 1
    weights[2, 5, 6] = weights[2, 6, 5] = np.inf
    vector, converged, _ = device.eigenvector(weights)
    assert converged.all()
    assert_within(vector[:2], np.full((2, 33), 33**-0.5), 1e-15)
    assert np.isnan(vector[2]).all()
    for item in (0, 1, 3):
        alone, _, _ = device.eigenvector(weights[item : item + 1])
        assert alone.tobytes() == vector[item].tobytes()


def test_eigenvector_from_a_warm_start(device: EmulatedDevice) -> None:
    """Fewer products from nearby; the leading vector all the same from an orthogonal start."""
    weights = random_graphs((2, 70, 70), seed=3)
    weights[1] = 0
    weights[1, :40, :40] = 1  # the leading vector lives on 40 nodes,
    weights[1, 40:, 40:] = 1  # the start is the eigenvector of the other 30
    expected = ref.graph_eigenvector_centrality(weights)
    start = np.stack([1e3 * expected[0], np.arange(70) >= 40]).astype(np.float64)
    vector, converged, _ = device.eigenvector(weights, start=start)
    assert converged.all()
    assert_within(vector, expected, 5e-12)

    def least_products(start: Array | None) -> int:
        counts = (
            count
            for count in range(1, 100)
            if device.eigenvector(weights[:1], start=start, tol=1e-6, max_iter=count)[1].all()
        )
        return next(counts)

    assert least_products(start[:1]) < least_products(None)


def test_eigenvector_noise_is_convergence(device: EmulatedDevice) -> None:
    weights = 1e-8 * random_graphs((1, 40, 40))
    assert device.eigenvector(weights, tol=1e-300, noise=1e-3, max_iter=2)[1].all()
    assert not device.eigenvector(weights, tol=1e-300, max_iter=2)[1].any()


# -------------------------------------------------------------------------------------------------
# Graphs of rows that are never stored

TILED: Final = ("squared", "abs", "positive")
IMPLICIT: Final = ("signed", "shifted", "squared")
# (edge, by tiles)
ROUTES: Final = [*((edge, True) for edge in TILED), *((edge, False) for edge in IMPLICIT)]


def assert_vector_close(vector: Array, x: Array, edge: str) -> None:
    """Compare with the reference, item by item.

    The rounding of the cosines moves the vector by its size over the gap to the next eigenvalue.
    """
    rows = x.astype(np.float64)
    assert vector.dtype == x.dtype
    for item, got in zip(rows, vector, strict=True):
        expected = ref.eigenvector_centrality(item, edge)
        values = np.linalg.eigvalsh(ref.adjacency(item, edge))
        gap = (values[-1] - values[-2]) / values[-1] if len(item) > 1 and values[-1] > 0 else 1.0
        condition = 1.0 / gap if gap > ref.DEGENERACY_TOLERANCE else 1.0
        error = float(np.abs(got - expected).max())
        assert error <= EIGENVECTOR[x.dtype] * condition, (error, condition)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 1), (63, 16), (65, 1), (129, 130), (130, 9)])
@pytest.mark.parametrize(("edge", "tiles"), ROUTES)
def test_rows_match_the_reference(
    device: EmulatedDevice, edge: str, tiles: bool, n: int, d: int, dtype: Any
) -> None:
    x = random_rows((1, n, d), dtype, seed=n + d)
    vector, converged, residual = device.rows_eigenvector(
        x, edge, tiles=tiles, noise=1e-14, max_iter=400
    )
    assert converged.all()
    assert (residual <= 1e-13).all() or n == 1  # where there is no edge
    assert_vector_close(vector, x, edge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("edge", "tiles"), ROUTES)
def test_rows_zero_equal_and_opposite(
    device: EmulatedDevice, edge: str, tiles: bool, dtype: Any
) -> None:
    x = special_rows(dtype)
    exact = {"tiles": tiles, "noise": 1e-14, "max_iter": 400}
    vector, converged, _ = device.rows_eigenvector(x, edge, **exact)
    assert converged.all()
    assert_vector_close(vector, x, edge)
    if edge != "shifted":  # of zero rows every weight is 0: they are isolated
        assert_within(vector[0, [4, 66]], 0, 2e-14)
    scale = np.resize([1e-30, 1.0, 1e30] if dtype == np.float32 else [1e-300, 1.0, 1e300], 70)
    scaled = (x.astype(np.float64) * scale[:, None]).astype(dtype)
    again, converged, _ = device.rows_eigenvector(scaled, edge, **exact)
    assert converged.all()
    assert_vector_close(again, scaled, edge)


@pytest.mark.parametrize(("edge", "tiles"), ROUTES)
def test_rows_without_edges_or_features(device: EmulatedDevice, edge: str, tiles: bool) -> None:
    for x in (np.zeros((2, 67, 5), np.float32), np.zeros((2, 67, 0), np.float32)):
        vector, converged, _ = device.rows_eigenvector(x, edge, tiles=tiles)
        assert converged.all()
        if edge != "signed":  # its start is not constant, and every vector is an eigenvector
            np.testing.assert_allclose(vector, np.full((2, 67), 67**-0.5), rtol=1e-7)
    axes = np.eye(66, dtype=np.float32)[None]
    vector, converged, _ = device.rows_eigenvector(axes, edge, tiles=tiles)
    assert converged.all()
    if edge != "signed":
        np.testing.assert_allclose(vector, np.full((1, 66), 66**-0.5), rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("edge", "tiles"), ROUTES)
def test_rows_of_a_batch_stop_by_themselves(
    device: EmulatedDevice, edge: str, tiles: bool, dtype: Any
) -> None:
    """Ordinary, without edges, not finite, all equal: one batch, each as it is alone."""
    x = random_rows((5, 67, 9), dtype, seed=5)
    x[1] = 0
    x[2, 66, 8] = np.nan
    x[3, 0, 0] = np.inf
    x[4] = x[4, 0]
    vector, converged, residual = device.rows_eigenvector(x, edge, tiles=tiles, max_iter=400)
    assert converged.all()
    assert np.isnan(vector[2:4]).all()
    for item in (0, 1, 4):
        alone = device.rows_eigenvector(x[item : item + 1], edge, tiles=tiles, max_iter=400)
        assert alone[0].tobytes() == vector[item].tobytes()
        assert alone[2].tobytes() == residual[item].tobytes()
        if item != 1 or edge != "signed":  # as above
            assert_vector_close(vector[item : item + 1], x[item : item + 1], edge)


@pytest.mark.parametrize(("edge", "tiles"), ROUTES)
def test_rows_from_a_warm_start(device: EmulatedDevice, edge: str, tiles: bool) -> None:
    x = random_rows((2, 70, 9), np.float64, seed=6)
    expected = np.stack([ref.eigenvector_centrality(item, edge) for item in x])
    graph = ref.adjacency(x[1], edge)
    others = np.linalg.eigh(graph).eigenvectors[:, -2]  # orthogonal to the leading one
    start = np.stack([1e3 * expected[0], others])
    vector, converged, _ = device.rows_eigenvector(x, edge, tiles=tiles, start=start, max_iter=400)
    assert converged.all()
    assert_within(vector, expected, 1e-13)


@pytest.mark.parametrize(("edge", "tiles"), ROUTES)
def test_rows_that_did_not_converge(device: EmulatedDevice, edge: str, tiles: bool) -> None:
    x = random_rows((2, 70, 40), seed=7)
    x[1] = 0
    vector, converged, residual = device.rows_eigenvector(x, edge, tiles=tiles, max_iter=2)
    assert converged.tolist() == [0, 1]
    assert residual[0] > 1e-13
    assert np.isnan(vector[0]).all()
    bad = np.full((2, 70), np.nan)  # the operators refuse it; the kernels only stay defined
    assert not device.rows_eigenvector(x, edge, tiles=tiles, start=bad, max_iter=2)[1].any()


@pytest.mark.parametrize(("edge", "tiles"), ROUTES)
def test_rows_noise_is_convergence(device: EmulatedDevice, edge: str, tiles: bool) -> None:
    x = random_rows((1, 40, 9), np.float64)
    for noise, converged in ((100.0, True), (0.0, False)):
        found = device.rows_eigenvector(x, edge, tiles=tiles, tol=1e-300, noise=noise, max_iter=2)
        assert found[1].all() == converged


def test_rows_start_as_on_the_cpu(device: EmulatedDevice) -> None:
    """Pairs x, -x: the leading vector of the signed graph is orthogonal to a start of ones."""
    x = np.array([[[1.0, 0.0], [-1.0, 0.0], [0.9, 0.1], [-0.9, -0.1]]])
    vector, converged, _ = device.rows_eigenvector(x, "signed", max_iter=400)
    assert converged.all()
    graph = ref.adjacency(x[0], "signed")
    assert vector[0] @ graph @ vector[0] == pytest.approx(np.linalg.eigvalsh(graph)[-1], abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_need_only_be_aligned_to_their_elements(device: EmulatedDevice, dtype: Any) -> None:
    x = random_rows((2, 66, 9), dtype)
    for edge, tiles in ROUTES:
        aligned = device.rows_eigenvector(x, edge, tiles=tiles, max_iter=3)[0]
        shifted = device.rows_eigenvector(x, edge, tiles=tiles, max_iter=3, shift=x.itemsize)[0]
        assert aligned.tobytes() == shifted.tobytes()


@pytest.mark.parametrize(
    ("shape", "edge", "dtype", "route"),
    [
        ((1, 10**6, 9), "signed", np.float32, "implicit"),
        ((1, 10**6, 9), "shifted", np.float64, "implicit"),
        ((1, 10**6, 9), "squared", np.float32, "implicit"),
        ((1, 2048, 90), "squared", np.float32, "implicit"),
        ((1, 2048, 91), "squared", np.float32, "stored"),
        ((1, 32768, 9), "abs", np.float32, "stored"),
        ((1, 32769, 9), "abs", np.float32, "tiles"),
        ((2, 32768, 9), "abs", np.float32, "tiles"),
        ((1, 32768, 9), "positive", np.float64, "tiles"),
        ((1, 40000, 256), "squared", np.float32, "implicit"),
        ((1, 40000, 257), "squared", np.float32, "tiles"),
        ((0, 40000, 9), "abs", np.float32, "stored"),
        ((1, 0, 9), "abs", np.float32, "stored"),
        ((1, 2**40, 9), "abs", np.float32, "tiles"),
    ],
)
def test_rows_routes(
    device: EmulatedDevice, shape: tuple[int, int, int], edge: str, dtype: Any, route: str
) -> None:
    assert device.eigenvector_route(shape, edge, dtype) == route


@pytest.mark.parametrize(
    ("edge", "d", "tiles"),
    [(0, 3, 1), (4, 3, 1), (2, 3, 0), (3, 3, 0), (1, 257, 0), (-1, 3, 0), (5, 3, 1)],
)
def test_rows_have_no_such_products(device: EmulatedDevice, edge: int, d: int, tiles: int) -> None:
    before = device.library.emulator_kernels()
    launch = device.library.emulated_eigenvector_centrality
    status = launch(0, None, 1, 4, d, edge, tiles, None, 1e-6, 0.0, 9, 0, 9, *[None] * 4, 0)
    assert status == INVALID_VALUE
    assert device.library.emulator_kernels() == before


@pytest.mark.parametrize(("first", "end"), [(-1, 2), (3, 2), (0, 10)])
def test_products_are_some_of_a_search(device: EmulatedDevice, first: int, end: int) -> None:
    before = device.library.emulator_kernels()
    sizes_and_start = [0, None, 1, 4]
    asked = [None, 1e-6, 0.0, 9, first, end, *[None] * 4, 0]
    rows = device.library.emulated_eigenvector_centrality
    assert rows(*sizes_and_start, 3, 4, 0, *asked) == INVALID_VALUE
    graph = device.library.emulated_graph_eigenvector_centrality
    assert graph(*sizes_and_start, *asked) == INVALID_VALUE
    assert device.library.emulator_kernels() == before


def test_rows_memory_is_linear(device: EmulatedDevice) -> None:
    """Under 256 bytes a row beside the packed rows: no graph is stored."""
    n = 10**6
    scratch = device.library.emulated_eigenvector_centrality_scratch
    for edge, tiles in ROUTES:
        packed = (n + 63) // 64 * 64 * 16 * 4 if tiles else 0
        assert scratch(0, 1, n, 9, EDGES.index(edge), tiles) - packed < 256 * n


# Rows of one piece and a bit, which a block steps through, and of those that take the whole device;
# the launches of a step.
LONG: Final = [(2100, 1), (8300, 5)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "launches"), LONG)
def test_steps_of_long_rows(device: EmulatedDevice, n: int, launches: int, dtype: Any) -> None:
    """Of shifted cosines W + I = Z Z' with Z = (1, Y) / sqrt(2): that is the exact vector."""
    x = random_rows((2, n, 2), dtype, seed=8)
    x[0] += 0.5
    x[1, 7, 1] = np.inf
    before = device.library.emulator_kernels()
    vector, converged, residual = device.rows_eigenvector(x, "shifted", max_iter=5)
    # Norms, start and finish; of a product its own two and those of the step.
    assert device.library.emulator_kernels() - before == 3 + 5 * (2 + launches)
    assert converged.all()
    assert residual[0] <= 1e-13
    assert np.isnan(vector[1]).all()
    unit = ref.normalized_rows(x[0].astype(np.float64))
    z = np.concatenate([np.ones((n, 1)), unit], axis=1)
    expected = z @ np.linalg.eigh(z.T @ z).eigenvectors[:, -1]
    expected *= np.sign(expected.sum()) / np.linalg.norm(expected)
    assert_within(vector[0], expected, 2e-9 if dtype == np.float32 else 1e-16)
    several = device.rows_eigenvector(x, "shifted", max_iter=5, at_once=2)
    assert several[0].tobytes() == vector.tobytes()
    vector, converged, residual = device.rows_eigenvector(x, "shifted", max_iter=2)
    assert converged.tolist() == [0, 1]
    assert residual[0] > 1e-13
    assert np.isnan(vector).all()
