# SPDX-License-Identifier: MIT
"""Eigenvector centrality of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emulation import Array, EmulatedDevice, random_graphs, random_rows
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
    tolerance = 1e-6 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(vector, expected, rtol=0, atol=tolerance)


def test_eigenvector_of_a_signed_graph(device: EmulatedDevice) -> None:
    weights = ref.adjacency(random_rows((1, 70, 9), np.float64), "signed")
    vector, converged, _ = device.eigenvector(weights)
    assert converged.all()
    expected = ref.graph_eigenvector_centrality(weights)
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-8)


def test_eigenvector_after_restarts(device: EmulatedDevice) -> None:
    """A path's eigenvalues lie close together: more products than the basis holds vectors."""
    weights = np.zeros((1, 120, 120))
    rows = np.arange(119)
    weights[0, rows, rows + 1] = weights[0, rows + 1, rows] = 1
    vector, converged, residual = device.eigenvector(weights, tol=1e-9, max_iter=1000)
    assert converged.all()
    assert residual[0] <= 1e-9
    expected = np.sin(np.pi * np.arange(1, 121) / 121)
    np.testing.assert_allclose(vector[0], expected / np.linalg.norm(expected), atol=1e-5)
    vector, converged, residual = device.eigenvector(weights, tol=1e-9, max_iter=5)
    assert not converged.any()
    assert residual[0] > 1e-9
    assert np.isnan(vector).all()


def test_eigenvector_items_stop_by_themselves(device: EmulatedDevice) -> None:
    """Without edges, all equal, not finite, ordinary: one batch, each as it is alone."""
    weights = random_graphs((4, 33, 33))
    weights[0] = 0
    weights[1] = 1
    weights[2, 5, 6] = weights[2, 6, 5] = np.inf
    vector, converged, _ = device.eigenvector(weights)
    assert converged.all()
    np.testing.assert_allclose(vector[:2], np.full((2, 33), 33**-0.5), atol=1e-14)
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
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-9)

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
