# SPDX-License-Identifier: MIT
"""The peers that only the full suite runs; the others are `hubprune.bench`'s own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from hubprune.bench import rank1_gram

__all__ = [
    "betweenness_igraph",
    "betweenness_networkx",
    "betweenness_scipy",
    "eigenvector_graphblas",
    "eigenvector_networkx",
    "fpgm_torch",
    "path_lengths",
    "published",
    "rank1_gram",
    "torch_pruning_fpgm",
]


def published(shapes: Sequence[Sequence[int]]) -> Callable[[Any], list[np.ndarray]]:
    """The published method in NumPy and NetworkX: loops over pairs, a full SVD per filter.

    For small layers: it takes minutes on wide ones.
    """
    # Not at the top: gpu_table.py imports this file where neither tests/ nor NetworkX may be.
    from published import published_degree, published_filter_vectors

    def run(pair: Any) -> list[np.ndarray]:
        return [published_degree(published_filter_vectors(w.numpy())) for w in pair[1]]

    assert max(shape[0] for shape in shapes) <= 128
    return run


def fpgm_torch(layers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The geometric-median criterion in torch: minus the sum of distances to all other filters."""
    return [-torch.cdist(w.flatten(1), w.flatten(1)).sum(1) for w in layers]


def torch_pruning_fpgm(modules: nn.ModuleList) -> Callable[[], list[torch.Tensor]]:
    """Torch-Pruning's FPGMImportance of every convolution's filters.

    It sums distances of squared weights: not the criterion of the paper, nor of the others here.
    The dependency graphs are built here, outside the time.
    """
    import torch_pruning as tp

    groups = []
    for module in modules:
        assert isinstance(module, nn.Conv2d)
        example = torch.zeros(1, module.in_channels, *module.kernel_size)
        graph = tp.DependencyGraph().build_dependency(nn.Sequential(module), example)
        every = list(range(module.out_channels))
        groups.append(graph.get_pruning_group(module, tp.prune_conv_out_channels, idxs=every))
    importance = tp.importance.FPGMImportance(normalizer=None)
    return lambda: [importance(group) for group in groups]


def path_lengths(x: torch.Tensor) -> torch.Tensor:
    """Lengths 1 - s of the edges between rows, in float64 for distances without ties."""
    unit = nn.functional.normalize(x.double(), dim=1)
    s = unit @ unit.T
    return 1.0 - (s + s.T) / 2  # a product is not always symmetric to the bit


def betweenness_igraph(x: torch.Tensor) -> torch.Tensor:
    """igraph's weighted betweenness of the complete graph; building it is part of the time."""
    import igraph

    lengths = path_lengths(x).numpy()
    n = len(lengths)
    i, j = np.triu_indices(n, 1)
    graph = igraph.Graph(n=n, edges=np.stack([i, j], 1))
    sums = graph.betweenness(weights=lengths[i, j].tolist())
    return torch.tensor(sums, dtype=torch.float64) / ((n - 1) * (n - 2) / 2)


def betweenness_networkx(x: torch.Tensor) -> torch.Tensor:
    """NetworkX's, as the published script calls it; building the graph is part of the time."""
    import networkx as nx

    graph = nx.from_numpy_array(path_lengths(x).fill_diagonal_(0).numpy())
    centrality = nx.betweenness_centrality(graph, weight="weight")
    return torch.tensor(list(centrality.values()), dtype=torch.float64)


def betweenness_scipy(lengths: torch.Tensor) -> torch.Tensor:
    """Brandes's sums over scipy's shortest-path trees, all sources at once; right without ties.

    lengths (n, n), infinity for no edge.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    n = len(lengths)
    finite = torch.nonzero(torch.isfinite(lengths)).numpy().T
    graph = csr_array((lengths[tuple(finite)].numpy(), tuple(finite)), shape=(n, n))
    distance, before = dijkstra(graph, return_predecessors=True)
    sources = np.arange(n)
    dependency = np.zeros((n, n))
    for column in np.argsort(-distance, axis=1).T[:-1]:  # from the farthest, without the source
        dependency[sources, before[sources, column]] += 1.0 + dependency[sources, column]
    np.fill_diagonal(dependency, 0.0)
    return torch.from_numpy(dependency.sum(0) / ((n - 1) * (n - 2)))


def edge_weights(x: torch.Tensor, edge: str) -> np.ndarray:
    """The weights of the similarity graph in float64, edge "abs" or "squared"."""
    s = 1.0 - path_lengths(x).fill_diagonal_(1.0)
    return np.asarray((s.abs() if edge == "abs" else s.square()).numpy())


def eigenvector_networkx(x: torch.Tensor, edge: str = "abs") -> torch.Tensor:
    """NetworkX's power iteration; building the graph is part of the time."""
    import networkx as nx

    graph = nx.from_numpy_array(edge_weights(x, edge))
    centrality = nx.eigenvector_centrality(graph, max_iter=500, tol=1e-8, weight="weight")
    return torch.tensor(list(centrality.values()), dtype=torch.float64)


def eigenvector_graphblas(x: torch.Tensor, edge: str = "abs") -> torch.Tensor:
    """NetworkX's backend graphblas, whose graph is made from the matrix without a NetworkX one."""
    import graphblas
    import graphblas_algorithms
    import networkx as nx

    matrix = graphblas.Matrix.from_dense(edge_weights(x, edge), missing_value=0.0)
    centrality = nx.eigenvector_centrality(
        graphblas_algorithms.Graph(matrix),
        max_iter=500,
        tol=1e-8,
        weight="weight",
        backend="graphblas",
    )
    return torch.tensor(list(centrality.values()), dtype=torch.float64)
