# SPDX-License-Identifier: MIT
"""The peers: what a competent user would write today without hubprune."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from .packages import optional_module

Peers = Mapping[str, Callable[[Any], Any]]


def rank1_gram(weight: torch.Tensor) -> torch.Tensor:
    """Rank-1 vectors by batched Gram matrices and eigh: the fastest route in plain torch."""
    channels = weight.flatten(2)  # (n, c, p)
    vectors = torch.linalg.eigh(channels.mT @ channels).eigenvectors[..., -1]
    sign = torch.sign((vectors * channels[:, 0]).sum(1, keepdim=True))
    oriented: torch.Tensor = vectors * torch.where(sign == 0, 1.0, sign)
    return oriented


def rank1_svd(weight: torch.Tensor) -> torch.Tensor:
    """Rank-1 vectors by a batched economy SVD."""
    positions = weight.flatten(2).mT  # (n, p, c)
    vectors = torch.linalg.svd(positions, full_matrices=False).U[..., 0]
    sign = torch.sign((vectors * positions[..., 0]).sum(1, keepdim=True))
    oriented: torch.Tensor = vectors * torch.where(sign == 0, 1.0, sign)
    return oriented


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Return the rows scaled to length 1."""
    return nn.functional.normalize(x, dim=1)


def abs_degree_naive(x: torch.Tensor) -> torch.Tensor:
    """The whole matrix at once."""
    x = unit_rows(x)
    return (x @ x.T).abs().sum(1) - 1


def abs_degree_chunked(x: torch.Tensor) -> torch.Tensor:
    """256 rows at a time: the best torch does for short rows."""
    x = unit_rows(x)
    degree = x.new_empty(len(x))
    # Small results that were kept one by one would split the large blocks that come between them.
    for block, out in zip(x.split(256), degree.split(256), strict=True):
        torch.sum((block @ x.T).abs_(), 1, out=out)
    return degree - 1


def abs_degree_numpy(x: torch.Tensor) -> torch.Tensor:
    """NumPy, whose ``X @ X.T`` is a symmetric product: half the work of torch's."""
    array = x.numpy()
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    s = unit @ unit.T
    return torch.from_numpy(np.abs(s, out=s).sum(1) - 1)


def abs_degree_sklearn(x: torch.Tensor) -> torch.Tensor:
    """scikit-learn's cosine_similarity, then NumPy."""
    return torch.from_numpy(np.abs(cosine_sklearn(x).numpy()).sum(1) - 1)


def abs_degree_bf16(x: torch.Tensor) -> torch.Tensor:
    """The naive route with unit rows in bfloat16, summed in float32."""
    x = unit_rows(x).bfloat16()
    return (x @ x.T).abs().sum(1, dtype=torch.float32) - 1


def signed_degree_closed(x: torch.Tensor) -> torch.Tensor:
    """The closed form in torch."""
    x = unit_rows(x)
    return x @ x.sum(0) - 1


def squared_degree_closed(x: torch.Tensor) -> torch.Tensor:
    """The closed form through the d x d Gram matrix in torch."""
    x = unit_rows(x)
    return ((x @ (x.T @ x)) * x).sum(1) - 1


def nearest_chunked(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest other row, 256 rows at a time."""
    x = unit_rows(x)
    best, where = x.new_empty(len(x)), torch.empty(len(x), dtype=torch.int64)
    for first in range(0, len(x), 256):
        some = slice(first, first + 256)
        s = x[some] @ x.T
        s.diagonal(first).fill_(-2)
        torch.max(s, 1, out=(best[some], where[some]))
    return best, where


def nearest_naive(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest other row through the whole matrix."""
    x = unit_rows(x)
    s = x @ x.T
    s.fill_diagonal_(-2)
    values, indices = s.max(1)
    return values, indices


def nearest_sklearn(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's brute-force neighbours."""
    neighbours = optional_module("sklearn.neighbors").NearestNeighbors(
        n_neighbors=1, metric="cosine", algorithm="brute"
    )
    distance, index = neighbours.fit(x.numpy()).kneighbors()
    return torch.from_numpy(1 - distance[:, 0]), torch.from_numpy(index[:, 0])


def cosine_naive(x: torch.Tensor) -> torch.Tensor:
    """Normalise and multiply."""
    x = unit_rows(x)
    return x @ x.T


def cosine_numpy(x: torch.Tensor) -> torch.Tensor:
    """Normalise and multiply in NumPy: a symmetric product."""
    array = x.numpy()
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    return torch.from_numpy(unit @ unit.T)


def cosine_sklearn(x: torch.Tensor) -> torch.Tensor:
    """scikit-learn's cosine_similarity."""
    s: np.ndarray = optional_module("sklearn.metrics.pairwise").cosine_similarity(x.numpy())
    return torch.from_numpy(s)


def cosine_torchmetrics(x: torch.Tensor) -> torch.Tensor:
    """torchmetrics' pairwise_cosine_similarity, diagonal included."""
    similarity = optional_module("torchmetrics.functional").pairwise_cosine_similarity
    s: torch.Tensor = similarity(x, x, zero_diagonal=False)
    return s


def edge_weights(x: torch.Tensor, edge: str) -> torch.Tensor:
    """Return the graph's whole matrix: cosines, absolute or squared, with a zero diagonal."""
    s = cosine_naive(x).fill_diagonal_(0)
    return s.abs_() if edge == "abs" else s.square_()


def eigenvector_eigsh(x: torch.Tensor, edge: str = "abs") -> torch.Tensor:
    """scipy's Lanczos on the weight matrix that torch computes; the matrix is part of the time."""
    graph = edge_weights(x, edge).numpy()
    start = np.ones(len(graph), graph.dtype)
    _, vectors = optional_module("scipy.sparse.linalg").eigsh(graph, k=1, which="LA", v0=start)
    vector = torch.from_numpy(vectors[:, 0])
    return vector if vector.sum() >= 0 else -vector


def eigenvector_power(x: torch.Tensor, edge: str = "abs") -> torch.Tensor:
    """Fifty steps of the power iteration in torch; the matrix is part of the time."""
    graph = edge_weights(x, edge)
    vector = torch.ones(len(graph), dtype=graph.dtype)
    for _ in range(50):
        vector = graph @ vector
        vector /= torch.linalg.vector_norm(vector)
    return vector


ABS_PEERS: Peers = {
    "torch chunked": abs_degree_chunked,
    "torch naive": abs_degree_naive,
    "numpy syrk": abs_degree_numpy,
    "scikit-learn": abs_degree_sklearn,
}
