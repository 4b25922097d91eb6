# SPDX-License-Identifier: MIT
"""The published rules written out once more: an oracle that shares no code with the library.

Loops over pairs, a full singular value decomposition, a NetworkX graph, list operations. Written
from the formulas of Singh & Plumbley (arXiv 2203.15751: rank-1 filter vectors, cosine distance,
greedy pairs) and King, Singh & Plumbley (arXiv 2305.03391: weighted degree on the complete graph of
signed similarities); the operator-norm importance from the script that its authors (arXiv
2304.02319) publish beside the paper. Where a step is undefined (a first column or a vector of
length zero), so is the result here: use it on generic weights.
"""

from __future__ import annotations

import networkx as nx
import numpy as np


def published_filter_vectors(weight: np.ndarray) -> np.ndarray:
    """Return the normalised first column of every filter's best rank-1 approximation, (n, p).

    The weight is (n, c, *kernel); a filter is a matrix with a row for each of the p kernel
    positions and a column for each of the c channels.
    """
    n, c = weight.shape[:2]
    positions = list(np.ndindex(weight.shape[2:]))
    vectors = []
    for o in range(n):
        a = np.zeros((len(positions), c))
        for row, position in enumerate(positions):
            for channel in range(c):
                a[row, channel] = weight[o, channel][position]
        u, s, vt = np.linalg.svd(a, full_matrices=True)
        best_rank_one = s[0] * np.outer(u[:, 0], vt[0, :])
        first_column = best_rank_one[:, 0]
        vectors.append(first_column / np.linalg.norm(first_column))
    return np.array(vectors)


def published_cosine_matrix(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of every pair of rows, (n, n)."""
    n = len(vectors)
    similarity = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            product = float(np.dot(vectors[i], vectors[j]))
            lengths = float(
                np.sqrt(np.dot(vectors[i], vectors[i]) * np.dot(vectors[j], vectors[j]))
            )
            similarity[i, j] = product / lengths
    return similarity


def similarity_graph(vectors: np.ndarray) -> nx.Graph:
    """Return the complete graph of the vectors' similarities."""
    similarity = published_cosine_matrix(vectors)
    graph = nx.Graph()
    graph.add_nodes_from(range(len(vectors)))
    for i in range(len(vectors)):
        for j in range(i + 1, len(vectors)):
            graph.add_edge(i, j, weight=similarity[i, j])
    return graph


def published_degree(vectors: np.ndarray) -> np.ndarray:
    """Return the weighted degree of every filter on the complete graph of similarities, (n,)."""
    graph = similarity_graph(vectors)
    strength = dict(graph.degree(weight="weight"))
    return np.array([strength[i] for i in range(len(vectors))], dtype=float)


def published_betweenness(vectors: np.ndarray) -> np.ndarray:
    """Return the betweenness on the complete graph with signed similarities as lengths, (n,)."""
    graph = similarity_graph(vectors)
    centrality = nx.betweenness_centrality(graph, weight="weight")
    return np.array([centrality[i] for i in range(len(vectors))], dtype=float)


def published_greedy_rule(distances: list[list[float]]) -> tuple[list[int], list[int]]:
    """Return (kept, removed) filters of the greedy rule for a table of distances.

    `kept` is in the order in which the walk keeps, `removed` in the order in which it marks.
    """
    pairs = []
    for i, row in enumerate(distances):
        others = [(distance, j) for j, distance in enumerate(row) if j != i]
        if others:
            distance, j = min(others)  # the smallest distance, then the lowest index
            pairs.append((distance, i, j))
        else:
            pairs.append((float("inf"), i, -1))
    pairs.sort(key=lambda pair: pair[0])  # list.sort is stable

    kept: list[int] = []
    redundant: list[int] = []
    for _, i, j in pairs:
        if i not in redundant:
            kept.append(i)
            if j != -1 and j not in redundant:
                redundant.append(j)
    return kept, [j for j in redundant if j not in kept]


def published_closest_pairs(
    vectors: np.ndarray, decimals: int | None = None
) -> tuple[list[int], list[int]]:
    """Return (kept, removed) filters of the greedy rule on cosine distances."""
    distances = 1.0 - published_cosine_matrix(vectors)
    if decimals is not None:
        distances = np.round(distances, decimals)
    return published_greedy_rule(distances.tolist())


def published_nystrom(vectors: np.ndarray, m: int, rank: int) -> np.ndarray:
    """Return the approximated similarity matrix of the first m columns, (n, n).

    The rule of Singh & Plumbley (arXiv 2210.17416): C holds the first m columns, W its first m
    rows, cut to its `rank` largest singular values, inverted as a pseudo-inverse.
    """
    similarity = published_cosine_matrix(vectors)
    c = similarity[:, :m]
    u, s, vt = np.linalg.svd(c[:m])
    inverse = np.zeros((m, m))
    for i in range(rank):
        inverse += np.outer(vt[i], u[:, i]) / s[i]
    return c @ inverse @ c.T


def published_operator_norm(weight: np.ndarray) -> np.ndarray:
    """Return the importance of every filter, (n,), 1 for the most important.

    The weight is (n, c, *kernel). Channel by channel, the centred kernels of all filters are
    approximated by a rank-1 matrix; the direction of its first row is the channel's.
    """
    n, c = weight.shape[:2]
    kernels = weight.reshape(n, c, -1)
    projection = np.zeros(n)
    for channel in range(c):
        slices = kernels[:, channel, :]
        centre = sum(slices) / n
        u, _, vt = np.linalg.svd(slices - centre, full_matrices=True)
        first_row = np.outer(u[:, 0], vt[0, :])[0]
        direction = first_row / np.linalg.norm(first_row)
        for o in range(n):
            projection[o] += float(np.dot(slices[o] - centre, direction))
    squared = projection**2
    return squared / squared.max()
