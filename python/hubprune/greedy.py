# SPDX-License-Identifier: MIT
"""The exact greedy order: after every removal, the degrees of those that are left."""

from __future__ import annotations

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import EDGES, Array, as_tensor, check_choice, like_input, shape_text

__all__ = ["check_removals", "greedy_degree"]


def greedy_degree(
    x: Array, *, edge: str = "signed", count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Return the order in which removing the largest weighted degree, again and again, takes rows.

    :math:`h = \arg\max_i degree_i` over the rows that are left (ties: lowest index), where
    :math:`degree_i = \sum_{j \ne i} f(s_{ij})` over the rows that are left; h is removed; repeat.
    A one-shot ranking by `weighted_degree` would remove all of a group of look-alikes: here their
    degrees fall as the group shrinks.

    Parameters
    ----------
    x : tensor or array, shape (n, d)
        float16, bfloat16, float32 or float64.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        As in `weighted_degree`.
    count : int, optional
        Stop after so many removals, at least 1: the rest is ranked by its last degree. By default
        every row is removed.

    Returns
    -------
    order : tensor or array, shape (n,)
        int64, first removed first.
    degree : tensor or array, shape (n,)
        float64: a row's degree when it was removed, or, if it was not, in the end. With weights
        that are not negative, it does not grow along the removals.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for another shape, an unknown edge or count < 1.

    Notes
    -----
    A row with NaN or infinity makes every degree NaN and every index -1. Cost: the n x n matrix of
    weights (n^2 d / 2 multiply-adds) and n operations a removal while that matrix is at most 1 GiB;
    beyond, n^2 d multiply-adds at first and n d a removal, with O(n d) memory. Degrees are summed
    in 64-bit fixed point: subtracting a weight undoes exactly what adding it did, equal rows keep
    equal degrees, and the result is bitwise the same for any number of threads. On CUDA a removal
    is one kernel launch, and nothing waits on the host.

    Equivalent to::

        w = hp.pairwise_cosine(x, edge=edge, zero_diagonal=True).double()
        for step in range(n):
            degree = w.sum(0).masked_fill(removed, -math.inf)
            order[step] = h = degree.argmax(); removed[h] = True; w[h] = 0

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    >>> hp.greedy_degree(x)[0]
    tensor([0, 4, 1, 2, 3])
    >>> hp.weighted_degree(x).argsort(descending=True, stable=True)
    tensor([0, 1, 2, 4, 3])
    """
    tensor = as_tensor(x, "x")
    if tensor.ndim != 2:
        raise ValueError(f"x must have shape (n, d); got shape {shape_text(tensor.shape)}")
    check_choice(edge, EDGES, "edge")
    check_removals(count)
    order, degree = torch.ops.hubprune.greedy_degree(tensor, edge, count)
    return like_input(order, x), like_input(degree, x)


def check_removals(count: object) -> None:
    """Require None or an integer of at least 1."""
    if count is None:
        return
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"count must be an integer or None; got {type(count).__name__}")
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}")
