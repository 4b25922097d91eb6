# SPDX-License-Identifier: MIT
"""The similarity graph of one pruned layer: what was alike, what stays, what stands in for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..arguments import compute_dtype
from ..centrality import weighted_degree
from ..scorers import filter_weight
from ..similarity import nearest, pairwise_cosine
from ..vectors import rank1_vectors, resolve_kind
from .linkage import cluster_order

__all__ = ["LARGEST", "Alikeness", "LayerGraph", "alikeness", "layer_graph", "layer_vectors"]

#: Of a wider layer, this many evenly spaced filters are compared in pairs: the matrix is n x n.
LARGEST = 4096

_ROWS = 1024  # cut filters compared with the kept ones at a time

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Alikeness:
    """Mean and largest cosine over all pairs of different filters; None where there is no pair."""

    mean: float | None
    largest: float | None


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """The cosines of a layer's n filters.

    Attributes
    ----------
    compared : ndarray, shape (m,), int64
        The filters in the matrix, ascending: all, or `LARGEST` evenly spaced ones.
    similarity : ndarray, shape (m, m), float64
        Their cosines.
    order : ndarray, shape (m,), int64
        Rows of the matrix by cluster.
    stand_in : ndarray, shape (n,), int64
        The most similar filter that stays, for every filter that is cut; -1 for the others.
    stand_in_similarity : ndarray, shape (n,), float64
        Its cosine; NaN for the others.
    nearest_similarity : ndarray, shape (n,), float64
        Every filter's cosine with its most similar other one; NaN where there is none.
    """

    compared: Indices
    similarity: Floats
    order: Indices
    stand_in: Indices
    stand_in_similarity: Floats
    nearest_similarity: Floats


def layer_vectors(module: nn.Module, kind: str = "auto") -> torch.Tensor:
    """Return the vectors (n, d) that the scorers compare: rank-1 in float64, or whole filters.

    Raises
    ------
    ValueError
        If a weight is not finite.
    """
    weight = filter_weight(module)
    if not bool(weight.isfinite().all()):
        bad = torch.nonzero(~weight.flatten(1).isfinite().all(1))
        raise ValueError(f"weight must be finite; filter {int(bad[0])} holds NaN or infinity")
    if resolve_kind(weight, kind) == "rank1":
        return rank1_vectors([weight], torch.float64)[0][0]
    return weight.flatten(1).to(compute_dtype(weight))


def alikeness(vectors: torch.Tensor) -> Alikeness:
    """Measure how alike filters are, without their n x n matrix.

    Examples
    --------
    >>> alikeness(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    Alikeness(mean=0.3333333333333333, largest=1.0)
    """
    n = len(vectors)
    if n < 2:
        return Alikeness(None, None)
    total = float(weighted_degree(vectors).double().sum())
    return Alikeness(total / (n * (n - 1)), float(nearest(vectors)[0].max()))


def layer_graph(vectors: torch.Tensor, kept: Sequence[int]) -> LayerGraph:
    """Compare the filters of a layer.

    Parameters
    ----------
    vectors : tensor, shape (n, d)
        Finite, from `layer_vectors`.
    kept : sequence of int
        The filters that stay, ascending, at least one.

    Returns
    -------
    LayerGraph
    """
    n = len(vectors)
    places = torch.linspace(0, n - 1, min(n, LARGEST), dtype=torch.float64, device="cpu")
    chosen = places.round().long()
    cosines = pairwise_cosine(vectors[chosen.to(vectors.device)]).cpu().double().numpy()
    stays = torch.tensor(kept, dtype=torch.int64, device="cpu")
    cut = torch.ones(n, dtype=torch.bool, device="cpu")
    cut[stays] = False
    goes = torch.nonzero(cut).flatten()
    stand_in = np.full(n, -1, dtype=np.int64)
    similarity = np.full(n, np.nan)
    staying = vectors[stays.to(vectors.device)]
    for rows in goes.split(_ROWS):
        if not len(rows):
            break
        block = pairwise_cosine(vectors[rows.to(vectors.device)], staying).cpu().double().numpy()
        best = block.argmax(1)
        stand_in[rows.numpy()] = stays.numpy()[best]
        similarity[rows.numpy()] = block[np.arange(len(rows)), best]
    return LayerGraph(
        chosen.numpy(),
        cosines,
        cluster_order(cosines),
        stand_in,
        similarity,
        nearest(vectors)[0].cpu().double().numpy(),
    )
