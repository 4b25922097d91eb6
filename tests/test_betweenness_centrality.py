# SPDX-License-Identifier: MIT
"""Betweenness centrality of the similarity graph and of dense graphs of path lengths."""

from __future__ import annotations

import functools
import io
import random
import re
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

import hubprune as hp
from cases import PATH_KINDS, assert_within, random_lengths
from hubprune import _native, progress, reference

# Measured at the levels v2, v3 and v4, relative to max(1, value): 6e-14 over 720 random graphs of
# all kinds. Only sums round: ties and path counts are exact.
ERROR = 1e-12


def networkx_graph(lengths: np.ndarray) -> nx.Graph:
    """The same graph, edge by edge: nx.from_numpy_array would drop the zero lengths."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(lengths)))
    for i, j in zip(*np.triu_indices(len(lengths), 1), strict=True):
        if lengths[i, j] < np.inf:
            graph.add_edge(int(i), int(j), weight=float(lengths[i, j]))
    return graph


def networkx_betweenness(lengths: np.ndarray, **options: Any) -> np.ndarray:
    centrality = nx.betweenness_centrality(networkx_graph(lengths), weight="weight", **options)
    return np.array(list(centrality.values()))


@pytest.mark.parametrize("kind", PATH_KINDS)
def test_the_reference_is_networkx(kind: str) -> None:
    for seed in range(12):
        n = 1 + seed
        lengths = random_lengths(kind, n, seed)
        got = reference.graph_betweenness_centrality(lengths)
        np.testing.assert_array_equal(got, networkx_betweenness(lengths))
        sums = reference.graph_betweenness_centrality(lengths, normalized=False)
        np.testing.assert_allclose(
            sums, networkx_betweenness(lengths, normalized=False), rtol=1e-14
        )


@functools.cache
def reference_sums(kind: str, n: int) -> np.ndarray:
    """Not normalised, seed n."""
    return reference.graph_betweenness_centrality(random_lengths(kind, n, n), normalized=False)


@pytest.mark.parametrize("kind", PATH_KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 15, 31, 32, 33, 40, 65])
@pytest.mark.usefixtures("level")
def test_matches_the_reference(kind: str, n: int) -> None:
    lengths = random_lengths(kind, n, seed=n)
    expected = reference_sums(kind, n)
    got = hp.graph.betweenness_centrality(torch.from_numpy(lengths), normalized=False)
    np.testing.assert_allclose(got, expected, rtol=ERROR, atol=ERROR)
    got = hp.graph.betweenness_centrality(lengths)
    pairs = max(1, (n - 1) * (n - 2) // 2)
    np.testing.assert_allclose(got, expected / pairs, rtol=ERROR, atol=ERROR)


@functools.cache
def wide_networkx(kind: str) -> np.ndarray:
    return networkx_betweenness(random_lengths(kind, 150))


@pytest.mark.parametrize("kind", ["chords", "ties", "zeros", "signed"])
@pytest.mark.usefixtures("level")
def test_is_networkx_where_edges_are_left_out(kind: str) -> None:
    """More nodes than the nearest over which detours are looked for (32)."""
    got = hp.graph.betweenness_centrality(random_lengths(kind, 150))
    np.testing.assert_allclose(got, wide_networkx(kind), rtol=ERROR, atol=ERROR)


@pytest.mark.parametrize("kind", ["chords", "ties", "sparse", "signed"])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("k", [1, 2, 7, 23, 24])
def test_sampled_sources_are_those_of_networkx(kind: str, normalized: bool, k: int) -> None:
    lengths = random_lengths(kind, 24)
    got = hp.graph.betweenness_centrality(lengths, normalized=normalized, k=k, seed=3)
    expected = networkx_betweenness(lengths, normalized=normalized, k=k, seed=3)
    np.testing.assert_allclose(got, expected, rtol=ERROR, atol=ERROR)
    assert np.isnan(got).sum() == (1 if k == 1 else 0)
    chosen = random.Random(3).sample(range(24), k) if k < 24 else None
    expected = reference.graph_betweenness_centrality(lengths, normalized, chosen)
    np.testing.assert_allclose(got, expected, rtol=ERROR, atol=ERROR)


def test_star_path_and_clique() -> None:
    inf = float("inf")
    star = torch.full((6, 6), inf)
    star[0, 1:] = star[1:, 0] = 2.0
    assert hp.graph.betweenness_centrality(star).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    n = 9
    i = torch.arange(n)
    path = torch.where((i[:, None] - i).abs() == 1, 1.0, inf)
    expected = (i * (n - 1 - i)).float()
    sums = hp.graph.betweenness_centrality(path, normalized=False)
    assert torch.equal(sums, expected)
    assert torch.equal(hp.graph.betweenness_centrality(torch.ones(5, 5)), torch.zeros(5))


def test_zero_lengths_are_edges() -> None:
    """0 and 1 are duplicates: a path may pass either over the other."""
    lengths = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    expected = networkx_betweenness(lengths)
    assert expected.max() > 0
    np.testing.assert_array_equal(hp.graph.betweenness_centrality(lengths), expected)


def test_path_counts_beyond_float64_are_nan_as_in_networkx() -> None:
    """Every further duplicate at least doubles the paths."""
    for n, overflows in ((300, False), (700, True)):
        lengths = np.zeros((n, n))
        got = hp.graph.betweenness_centrality(lengths, k=2, seed=0)
        expected = networkx_betweenness(lengths, k=2, seed=0)
        assert bool(np.isnan(got).any()) == overflows
        np.testing.assert_allclose(got, expected, rtol=ERROR, atol=ERROR)


@pytest.mark.parametrize("length", ["one_minus", "angle"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_of_vectors(length: str, dtype: torch.dtype) -> None:
    x = torch.randn(70, 5).to(dtype)
    x[3] = 0.0  # orthogonal to all
    similarity = hp.pairwise_cosine(x.double())
    lengths = 1.0 - similarity if length == "one_minus" else similarity.arccos()
    got = hp.betweenness_centrality(x, length=length)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = hp.graph.betweenness_centrality(lengths)
    assert torch.equal(got, expected.to(got.dtype))
    twin = reference.betweenness_centrality(x.double().numpy(), length)
    # Of float32 half an ulp below 1/8.
    assert_within(got.double(), twin, 1e-15 if dtype == torch.float64 else 2**-28)
    sums = hp.betweenness_centrality(x.double(), length=length, normalized=False, k=5, seed=1)
    twice = hp.graph.betweenness_centrality(lengths, normalized=False, k=5, seed=1)
    assert torch.equal(sums, twice)


def test_similarity_as_length_warns_and_is_networkx() -> None:
    x = torch.randn(60, 9, dtype=torch.float64)
    with pytest.warns(UserWarning, match="no shortest-path quantity"):
        got = hp.betweenness_centrality(x, length="similarity")
    similarity = hp.pairwise_cosine(x).numpy()
    assert (similarity < 0).any()
    np.testing.assert_allclose(got, networkx_betweenness(similarity), rtol=ERROR, atol=ERROR)


def test_not_finite_empty_batches_numpy() -> None:
    lengths = torch.from_numpy(np.stack([random_lengths(kind, 12) for kind in PATH_KINDS]))
    batched = hp.graph.betweenness_centrality(lengths.reshape(3, 3, 12, 12))
    assert batched.shape == (3, 3, 12)
    for one, graph in zip(batched.reshape(9, 12), lengths, strict=True):
        assert torch.equal(one, hp.graph.betweenness_centrality(graph))
    for bad in (float("nan"), -float("inf")):
        broken = lengths.clone()
        broken[4, 2, 7] = broken[4, 7, 2] = bad
        got = hp.graph.betweenness_centrality(broken)
        assert bool(got[4].isnan().all())
        assert torch.equal(got[5:], batched.reshape(9, 12)[5:])
    apart = torch.full((4, 4), float("inf"))
    assert hp.graph.betweenness_centrality(apart).tolist() == [0.0] * 4
    x = torch.randn(2, 10, 3)
    x[1, 2, 0] = float("nan")
    got = hp.betweenness_centrality(x)
    assert bool(got[0].isfinite().all())
    assert bool(got[1].isnan().all())
    for n in (0, 1, 2):
        assert hp.betweenness_centrality(torch.randn(n, 3)).tolist() == [0.0] * n
        assert hp.graph.betweenness_centrality(torch.ones(5, n, n)).shape == (5, n)
    assert hp.graph.betweenness_centrality(torch.ones(0, 4, 4)).shape == (0, 4)


def test_any_memory_layout() -> None:
    lengths = random_lengths("chords", 20)
    expected = hp.graph.betweenness_centrality(lengths)
    read_only = lengths.copy()
    read_only.flags.writeable = False
    wide = np.zeros((41, 60))
    wide[1:41:2, 3:23] = lengths
    for same in (
        read_only,
        np.asfortranarray(lengths),
        wide[1:41:2, 3:23],
        lengths[::-1, ::-1].copy()[::-1, ::-1],
    ):
        np.testing.assert_array_equal(hp.graph.betweenness_centrality(same), expected)
    grad = torch.from_numpy(lengths).requires_grad_()
    assert torch.equal(hp.graph.betweenness_centrality(grad), torch.from_numpy(expected))


@pytest.mark.parametrize("kind", ["chords", "ties", "signed"])
def test_any_number_of_threads_gives_the_same_bits(kind: str, threads: list[int]) -> None:
    lengths = random_lengths(kind, 210)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.graph.betweenness_centrality(lengths))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_relabelling_the_nodes_moves_the_values() -> None:
    lengths = random_lengths("chords", 120)
    order = np.random.default_rng(1).permutation(120)
    moved = hp.graph.betweenness_centrality(lengths[np.ix_(order, order)])
    expected = hp.graph.betweenness_centrality(lengths)[order]
    np.testing.assert_allclose(moved, expected, rtol=ERROR, atol=ERROR)


BAD_INPUT: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: hp.betweenness_centrality(torch.ones(5)),
        ValueError,
        "x must have shape (..., n, d); got shape (5,)",
    ),
    (
        lambda: hp.betweenness_centrality(torch.ones(2, 2), length="hops"),
        ValueError,
        "length must be one of one_minus, angle, similarity; got 'hops'",
    ),
    (
        lambda: hp.betweenness_centrality(torch.ones(5, 2), k=6),
        ValueError,
        "k must be between 1 and n = 5; got 6",
    ),
    (
        lambda: hp.graph.betweenness_centrality(torch.ones(5, 5), k=0),
        ValueError,
        "k must be between 1 and n = 5; got 0",
    ),
    (
        lambda: hp.graph.betweenness_centrality(torch.ones(5, 5), k=True),
        TypeError,
        "k must be an integer or None; got bool",
    ),
    (
        lambda: hp.graph.betweenness_centrality(torch.ones(5, 5), k=2, seed=0.5),  # type: ignore[arg-type]
        TypeError,
        "seed must be an integer or None; got float",
    ),
    (
        lambda: hp.betweenness_centrality(torch.ones(5, 2), normalized="no"),  # type: ignore[arg-type]
        TypeError,
        "normalized must be a bool; got str",
    ),
    (
        lambda: hp.graph.betweenness_centrality(torch.ones(5, 5), normalized=0.5),  # type: ignore[arg-type]
        TypeError,
        "normalized must be a bool; got float",
    ),
    (
        lambda: hp.graph.betweenness_centrality(torch.ones(2, 3)),
        ValueError,
        "lengths must have shape (..., n, n); got shape (2, 3)",
    ),
    (
        lambda: hp.graph.betweenness_centrality(torch.tensor([[0.0, 1.0], [0.5, 0.0]])),
        ValueError,
        "lengths must be symmetric",
    ),
    (
        lambda: hp.graph.betweenness_centrality(torch.ones(3, 3, dtype=torch.int64)),
        TypeError,
        "lengths must hold float16, bfloat16, float32 or float64; got dtype int64",
    ),
    (
        lambda: hp.graph.betweenness_centrality([[0.0]]),  # type: ignore[arg-type]
        TypeError,
        "lengths must be a torch.Tensor or a numpy.ndarray; got list",
    ),
    (
        lambda: reference.graph_betweenness_centrality(np.full((2, 2), np.nan)),
        ValueError,
        "lengths must be finite, or infinity for no edge",
    ),
    (
        lambda: reference.betweenness_centrality([[np.inf]]),
        ValueError,
        "x must be finite",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUT)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_the_binding_rejects_what_would_crash() -> None:
    block = torch.zeros(4096, dtype=torch.float64)
    at = block.data_ptr()
    with pytest.raises(ValueError, match="sizes must not be negative"):
        _native.path_graph_cpu(at, -1, at, 1)
    with pytest.raises(ValueError, match="null address"):
        _native.path_graph_cpu(0, 3, at, 1)
    for sources, first, last in (([0], 0, 2), ([0], 1, 0), ([0], -1, 1), ([3], 0, 1), ([-1], 0, 1)):
        with pytest.raises(ValueError, match="range outside n"):
            _native.betweenness_centrality_cpu(at, 3, sources, first, last, at, at, 1)
    with pytest.raises(ValueError, match="range outside n"):
        _native.closeness_centrality_cpu(at, 3, 0, 4, at, at, 1)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        _native.closeness_centrality_cpu(at, 3, 0, 3, at, at, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = random_lengths("chords", 200)
    monkeypatch.setattr(progress, "DELAY", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("betweenness", "closeness"):
        function = getattr(hp.graph, f"{name}_centrality")
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        shown = function(np.abs(lengths))
        assert f"{name} centrality" in terminal.getvalue()
        assert "200/200" in terminal.getvalue()
        for quiet in (io.StringIO(), Terminal()):
            monkeypatch.setattr("sys.stderr", quiet)
            if quiet.isatty():
                with progress.without_progress_bar():
                    same = function(np.abs(lengths))
            else:
                same = function(np.abs(lengths))
            assert quiet.getvalue() == ""
            np.testing.assert_array_equal(same, shown)
