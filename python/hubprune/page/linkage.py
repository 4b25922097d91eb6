# SPDX-License-Identifier: MIT
"""The order in which a similarity matrix shows its clusters: average linkage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["cluster_order"]

Matrix = npt.NDArray[np.float64]


def cluster_order(similarity: Matrix) -> npt.NDArray[np.int64]:
    """Return the leaves of the average-linkage tree, each cluster a run of neighbours.

    Parameters
    ----------
    similarity : ndarray, shape (n, n), float64
        Symmetric and finite; the diagonal is ignored.

    Returns
    -------
    ndarray, shape (n,), int64
        A permutation. Two clusters that merge are turned so that their most similar ends meet.

    Notes
    -----
    The chain of nearest neighbours (Benzecri, 1982; Juan, 1982): O(n^2) time, one n x n copy. Ties
    go to the cluster before in the chain, then to the lowest index. The tree is that of
    ``scipy.cluster.hierarchy.average(1 - similarity)``.

    Examples
    --------
    >>> similar = np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    >>> cluster_order(similar).tolist()
    [0, 2, 1]
    """
    n = len(similarity)
    between = similarity.astype(np.float64)  # mean similarity of two clusters, kept at both ends
    np.fill_diagonal(between, -np.inf)
    members = [[i] for i in range(n)]
    waiting = np.ones(n, dtype=bool)
    chain: list[int] = []
    for _ in range(n - 1):
        if not chain:
            chain.append(int(np.argmax(waiting)))
        while True:
            top = chain[-1]
            closest = int(np.argmax(between[top]))
            if len(chain) > 1 and between[top, chain[-2]] >= between[top, closest]:
                break
            chain.append(closest)
        gone, stays = chain.pop(), chain.pop()
        a, b = len(members[gone]), len(members[stays])
        merged = (a * between[gone] + b * between[stays]) / (a + b)
        merged[stays] = -np.inf
        between[stays], between[:, stays] = merged, merged
        between[gone], between[:, gone] = -np.inf, -np.inf
        waiting[gone] = False
        members[stays] = _joined(members[stays], members[gone], similarity)
        members[gone] = []
    return np.array(next((each for each in members if each), []), dtype=np.int64)


def _joined(first: list[int], second: list[int], similarity: Matrix) -> list[int]:
    """Both, with their most similar ends side by side."""
    turned = [
        (similarity[first[-1], second[0]], first, second),
        (similarity[first[-1], second[-1]], first, second[::-1]),
        (similarity[first[0], second[0]], first[::-1], second),
        (similarity[first[0], second[-1]], second, first),
    ]
    _, left, right = max(turned, key=lambda each: each[0])
    return left + right
