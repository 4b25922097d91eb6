# SPDX-License-Identifier: MIT
"""Closeness centrality of the similarity graph and of dense graphs of path lengths."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

import hubprune as hp
from cases import PATH_KINDS, random_lengths
from hubprune import reference
from test_betweenness_centrality import networkx_graph

ERROR = 1e-13  # relative; measured 4e-16: distances are exact, their sums round
KINDS = [kind for kind in PATH_KINDS if not kind.startswith("signed")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 15, 32, 33, 65])
@pytest.mark.usefixtures("level")
def test_is_the_reference_and_networkx(kind: str, n: int) -> None:
    lengths = random_lengths(kind, n, seed=n)
    got = hp.graph.closeness_centrality(lengths)
    np.testing.assert_allclose(got, reference.graph_closeness_centrality(lengths), rtol=ERROR)
    expected = nx.closeness_centrality(networkx_graph(lengths), distance="weight")
    np.testing.assert_allclose(got, list(expected.values()), rtol=ERROR)


@pytest.mark.parametrize("length", ["one_minus", "angle"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_vectors(length: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 50, 4, dtype=dtype)
    got = hp.closeness_centrality(x, length=length)
    assert got.dtype == dtype
    expected = reference.closeness_centrality(x.double().numpy(), length)
    np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == torch.float32 else 1e-12)
    positive = x.abs()
    with pytest.warns(UserWarning, match="length='similarity'"):
        got = hp.closeness_centrality(positive, length="similarity")
    expected = reference.closeness_centrality(positive.double().numpy(), "similarity")
    np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == torch.float32 else 1e-12)


def test_not_finite_empty_batches_numpy() -> None:
    lengths = torch.from_numpy(np.stack([random_lengths(kind, 12) for kind in KINDS]))
    batched = hp.graph.closeness_centrality(lengths)
    for one, graph in zip(batched, lengths, strict=True):
        assert torch.equal(one, hp.graph.closeness_centrality(graph))
    lengths[2, 0, 1] = lengths[2, 1, 0] = float("nan")
    got = hp.graph.closeness_centrality(lengths)
    assert bool(got[2].isnan().all())
    assert torch.equal(got[3:], batched[3:])
    assert hp.graph.closeness_centrality(torch.full((3, 3), float("inf"))).tolist() == [0.0] * 3
    assert hp.graph.closeness_centrality(torch.zeros(3, 3)).tolist() == [0.0] * 3
    for n in (0, 1):
        assert hp.closeness_centrality(torch.randn(n, 3)).tolist() == [0.0] * n
    assert isinstance(hp.closeness_centrality(np.ones((3, 2))), np.ndarray)


def test_any_number_of_threads_gives_the_same_bits(threads: list[int]) -> None:
    lengths = random_lengths("chords", 300)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.graph.closeness_centrality(lengths))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


BAD_INPUT: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: hp.closeness_centrality(torch.ones(5)),
        ValueError,
        "x must have shape (..., n, d); got shape (5,)",
    ),
    (
        lambda: hp.closeness_centrality(torch.ones(2, 2), length="hops"),
        ValueError,
        "length must be one of one_minus, angle, similarity; got 'hops'",
    ),
    (
        lambda: hp.graph.closeness_centrality(torch.ones(3)),
        ValueError,
        "lengths must have shape (..., n, n); got shape (3,)",
    ),
    (
        lambda: hp.graph.closeness_centrality(torch.tensor([[0.0, 1.0], [0.5, 0.0]])),
        ValueError,
        "lengths must be symmetric",
    ),
    (
        lambda: hp.graph.closeness_centrality(torch.tensor([[0.0, -0.5], [-0.5, 0.0]])),
        ValueError,
        "lengths must not be negative: distances are not defined then; got -0.5",
    ),
    (
        lambda: hp.graph.closeness_centrality(torch.full((2, 2), -torch.inf)),
        ValueError,
        "distances are not defined then; got -inf",
    ),
    (
        lambda: reference.graph_closeness_centrality([[0.0, -0.5], [-0.5, 0.0]]),
        ValueError,
        "lengths must not be negative",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUT)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_networkx_refuses_negative_lengths_too() -> None:
    with pytest.raises(ValueError, match="Contradictory paths"):
        nx.closeness_centrality(networkx_graph(random_lengths("signed", 8)), distance="weight")
