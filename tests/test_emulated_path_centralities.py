# SPDX-License-Identifier: MIT
"""Betweenness and closeness centrality of csrc/cuda under the emulator."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from emulation import MOST_BLOCKS, Array, EmulatedDevice, random_rows
from hubprune import reference as ref


def path_graphs() -> dict[str, Array]:
    """Dense graphs of lengths: metric, tied, with zero and negative lengths, with missing edges."""
    rng = np.random.default_rng(5)

    def symmetric(lengths: Array) -> Array:
        lengths = np.triu(lengths, 1)
        return np.ascontiguousarray(lengths + lengths.T)

    x = rng.standard_normal((24, 9))
    x[7] = x[3]
    sparse = symmetric(rng.integers(1, 5, (24, 24)).astype(float))
    missing = symmetric((rng.random((24, 24)) < 0.85).astype(float)) > 0
    sparse[missing] = np.inf
    return {
        "nothing": np.zeros((0, 0)),
        "alone": np.zeros((1, 1)),
        "pair": np.array([[0.0, 1.0], [1.0, 0.0]]),
        "one minus": ref.path_lengths(x, "one_minus"),
        "similarity": ref.path_lengths(x, "similarity"),
        "angle": ref.path_lengths(rng.standard_normal((20, 3)), "angle"),
        "small integers": symmetric(rng.integers(0, 4, (20, 20)).astype(float)),
        "zeros": np.zeros((12, 12)),
        "equal": np.ones((12, 12)),
        "signed integers": symmetric(rng.integers(-2, 4, (20, 20)).astype(float)),
        "missing edges": sparse,
        "no edges": np.full((12, 12), np.inf),
        "line": np.abs(np.arange(20.0)[:, None] - np.arange(20.0)),
    }


@pytest.mark.parametrize("name", path_graphs())
def test_betweenness_centrality(device: EmulatedDevice, name: str) -> None:
    lengths = path_graphs()[name]
    n = len(lengths)
    expected = 2 * ref.graph_betweenness_centrality(lengths, normalized=False)
    results = []
    for seed, most_blocks in ((1, MOST_BLOCKS), (2, 3)):
        device.reset(seed, most_blocks)
        results.append(device.betweenness(lengths))
    assert results[0].tobytes() == results[1].tobytes()
    if n > 2:
        np.testing.assert_allclose(results[0], expected, rtol=1e-12, atol=1e-12 * n * n)
    else:
        np.testing.assert_array_equal(results[0], np.zeros(n))


def test_betweenness_of_more_nodes_than_threads(device: EmulatedDevice) -> None:
    lengths = ref.path_lengths(random_rows((260, 4), np.float64), "one_minus")
    sources = [0, 255, 256]
    got = device.betweenness(lengths, sources)
    scale = np.where(np.isin(np.arange(260), sources), 259 / 2, 259 / 3) / 2
    reference = ref.graph_betweenness_centrality(lengths, False, sources)
    np.testing.assert_allclose(got * scale, reference, rtol=1e-12, atol=1e-9)


def test_betweenness_adds_the_sources_in_their_order(device: EmulatedDevice) -> None:
    lengths = path_graphs()["small integers"]
    sources = [3, 19, 0, 7]
    expected = np.zeros(20)
    for source in sources:
        expected = expected + device.betweenness(lengths, [source])
    assert device.betweenness(lengths, sources).tobytes() == expected.tobytes()


CLOSENESS_GRAPHS: Final = [name for name in path_graphs() if not name.startswith("si")]


@pytest.mark.parametrize("name", CLOSENESS_GRAPHS)
def test_closeness_centrality(device: EmulatedDevice, name: str) -> None:
    lengths = path_graphs()[name]
    expected = ref.graph_closeness_centrality(lengths)
    results = []
    for seed, most_blocks in ((1, MOST_BLOCKS), (2, 3)):
        device.reset(seed, most_blocks)
        results.append(device.closeness(lengths))
    assert results[0].tobytes() == results[1].tobytes()
    np.testing.assert_allclose(results[0], expected, rtol=1e-13)


def test_closeness_of_more_nodes_than_threads(device: EmulatedDevice) -> None:
    """Groups of four, 65 apart in index, and one node that nothing leads to."""
    at = np.arange(261.0)
    lengths = np.abs(at[:, None] - at)
    lengths[lengths % 65 != 0] = np.inf
    lengths[260] = lengths[:, 260] = np.inf
    got = device.closeness(lengths)
    np.testing.assert_allclose(got, ref.graph_closeness_centrality(lengths), rtol=1e-13)
    np.testing.assert_allclose(got[:260], 3 / np.repeat([390, 260, 260, 390], 65) * (3 / 260))
    assert got[260] == 0.0


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_closeness_of_an_undefined_graph(device: EmulatedDevice, bad: float) -> None:
    lengths = np.ones((6, 6))
    np.fill_diagonal(lengths, bad)  # is not read
    np.testing.assert_allclose(device.closeness(lengths), np.ones(6), rtol=1e-14)
    lengths[2, 3] = lengths[3, 2] = bad
    assert np.isnan(device.closeness(lengths)).all()


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_betweenness_of_an_undefined_graph(device: EmulatedDevice, bad: float) -> None:
    lengths = np.ones((6, 6))
    np.fill_diagonal(lengths, bad)  # is not read
    assert not device.betweenness(lengths).any()
    lengths[2, 3] = lengths[3, 2] = bad
    assert np.isnan(device.betweenness(lengths)).all()
