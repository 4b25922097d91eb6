# SPDX-License-Identifier: MIT
"""Centralities of the similarity graph: how replaceable each filter is."""

from __future__ import annotations

import random
import warnings

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import (
    EDGES,
    LENGTHS,
    PRECISIONS,
    Array,
    as_tensor,
    check_choice,
    check_flag,
    check_has_values,
    check_iteration,
    check_rows,
    compute_dtype,
    like_input,
    start_vector,
)
from .nystrom import Nystrom
from .routes import Approximation, route
from .sampling import Sampled, sampled_degree

__all__ = [
    "betweenness_centrality",
    "closeness_centrality",
    "eigenvector_centrality",
    "weighted_degree",
]


def weighted_degree(
    x: Array,
    *,
    edge: str = "signed",
    approximate: Approximation | None = None,
    precision: str | None = None,
) -> torch.Tensor:
    r"""Return the weighted degree (strength) of every row in the graph of cosine similarities.

    :math:`degree_i = \sum_{j \ne i} f(s_{ij})`. It is not ``networkx.degree_centrality``, which is
    constant on a complete graph.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        f(s) = s, s^2, abs(s), max(s, 0), (1 + s) / 2.
    approximate : Nystrom or Sampled, optional
        Allow an approximation: a low-rank graph from m columns, or an estimate from as
        many columns as settling the removed set takes (one matrix only). It is used where it is
        predicted to be cheaper than the exact result: ``hp.route`` says which, and why. For the
        error, use `nystrom` or `sampled_degree` themselves.
    precision : {"highest", "high", "medium"}, optional
        The least accuracy wanted of the cosines: "highest" is float32-accurate (1e-6, with the
        exceptions that `pairwise_cosine` names); "medium" lets long rows (d > 64) be multiplied in
        bfloat16 where the processor can (errors of a cosine about 2e-4 at d = 4608); "high"
        computes as "highest" does on the CPU. On CUDA, rows of 1024 features and more are
        multiplied in bfloat16, once for "medium", in three parts for "high" (errors of a cosine
        about 1e-6). Default: ``torch.get_float32_matmul_precision()``.
        float64 input always computes in float64.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32; NumPy for NumPy.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for fewer than two dimensions, an unknown edge or precision.

    Notes
    -----
    signed and shifted: closed form, two reads of x. squared: closed form through the d x d Gram
    matrix where 8 d <= n. abs and positive: tiles of the upper triangle, never n x n, O(n) memory.
    Sums over n in float64 or exact 64-bit fixed point, so the result is bitwise the same for any
    number of threads. A zero row has similarity 0 to all; one with NaN or infinity makes every
    degree NaN. n = 1 gives 0.
    Source: King, Singh & Plumbley, 2023 (arXiv 2305.03391).

    Equivalent to::

        w = hp.pairwise_cosine(x, edge=edge, zero_diagonal=True)
        degree = w.sum(-1)

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.weighted_degree(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    tensor([1., 1., 0.])
    """
    tensor = as_tensor(x, "x")
    check_rows(tensor, "x")
    check_choice(edge, EDGES, "edge")
    if precision is not None:
        check_choice(precision, PRECISIONS, "precision")
    if approximate is not None:
        chosen = route(tensor, "weighted_degree", edge=edge, approximate=approximate)
        if isinstance(approximate, Nystrom) and not chosen.exact:
            return like_input(approximate.factor(tensor, edge).degree(), x)
        if isinstance(approximate, Sampled) and not chosen.exact:
            values = sampled_degree(tensor, edge=edge, approximate=approximate).values
            return like_input(values.to(compute_dtype(tensor)), x)
    degree: torch.Tensor = torch.ops.hubprune.weighted_degree([tensor], edge, precision)[0]
    return like_input(degree, x)


def eigenvector_centrality(
    x: Array,
    *,
    edge: str = "abs",
    approximate: Nystrom | None = None,
    start: Array | None = None,
    tol: float = 1e-6,
    max_iter: int = 100,
) -> torch.Tensor:
    r"""Return the eigenvector centrality of every row in the graph of cosine similarities.

    The eigenvector of the largest algebraic eigenvalue of :math:`w_{ij} = f(s_{ij}), w_{ii} = 0`,
    unit 2-norm, oriented to a non-negative sum.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        As in `weighted_degree`. "signed" warns: its graph has negative weights, so
        Perron-Frobenius does not hold and the ranking may mean nothing.
    approximate : Nystrom, optional
        Allow a low-rank graph where it is predicted to be cheaper; as in `weighted_degree`.
    start : tensor or array, shape (..., n), optional
        Where the search starts: the centrality of a graph that differs little, such as that of the
        kept filters before others were removed, saves products. Finite, none all zero; its length
        does not matter, and its signs only where weights are negative. A share of 1/128 (more for a
        loose tol) of the usual start is mixed in, so that one orthogonal to the result finds it.
    tol : float
        Wanted residual :math:`|W v - \lambda v| / |\lambda|`.
    max_iter : int
        The most products with the graph.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32; NumPy for NumPy.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for fewer than two dimensions, an unknown edge, a start that is
        not as above, tol <= 0 or max_iter < 1.
    RuntimeError
        If the residual is above tol after max_iter products; the message says how large it is.

    Notes
    -----
    Lanczos with full reorthogonalisation in float64. signed and shifted never form the graph
    (O(n d) a product), nor does squared while 8 d <= n, d <= 256 and d^2 <= 4 n (O(n d^2)); the
    others store it up to 1 GiB, on the CPU its upper triangle alone (on CUDA: 4 GiB for the whole
    batch), and recompute tiles beyond. On CUDA checking for convergence waits for the device; while
    a CUDA graph is captured there is no check, and what did not converge is NaN. Where the largest
    eigenvalue is multiple, the projection of the all-ones vector on its eigenspace, or of `start`.
    Bitwise the same for any number of threads. A row with NaN or infinity makes every entry NaN.
    Source: Bonacich, 1972; Golub & Van Loan, Matrix Computations, 10.3.

    Equivalent to::

        w = hp.pairwise_cosine(x, edge=edge, zero_diagonal=True)
        v = torch.linalg.eigh(w).eigenvectors[..., -1]

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.eigenvector_centrality(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))
    tensor([0.6015, 0.6015, 0.5257])
    """
    tensor = as_tensor(x, "x")
    check_rows(tensor, "x")
    check_choice(edge, EDGES, "edge")
    check_iteration(tol, max_iter)
    first = start_vector(start, tensor, "x")
    if edge == "signed":
        warnings.warn(
            "eigenvector centrality of edge='signed': the graph has negative weights, so the "
            "ranking may be meaningless; edge='abs' does not have this problem",
            UserWarning,
            stacklevel=2,
        )
    if approximate is not None:
        chosen = route(tensor, "eigenvector_centrality", edge=edge, approximate=approximate)
        if not chosen.exact:
            factor = approximate.factor(tensor, edge)
            return like_input(factor.eigenvector(start=first, tol=tol, max_iter=max_iter), x)
    vector: torch.Tensor = torch.ops.hubprune.eigenvector_centrality(
        tensor, edge, tol, max_iter, first
    )
    return like_input(vector, x)


def betweenness_centrality(
    x: Array,
    *,
    length: str = "one_minus",
    normalized: bool = True,
    k: int | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    r"""Return the betweenness centrality of every row in the graph of cosine similarities.

    The share of the shortest paths between two other rows that pass through a row, summed over all
    pairs; endpoints do not count.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    length : {"one_minus", "angle", "similarity"}
        How long an edge is: 1 - s; arccos(s), in radians; or s itself, as a published script has
        it. The last warns: where similarities are negative, the result is no shortest-path
        quantity, only what NetworkX's label-setting search makes of them.
    normalized : bool
        Divide by the number of pairs, (n - 1)(n - 2) / 2.
    k : int, optional
        Search from k random rows only (1 to n) and scale up. Default: from all.
    seed : int, optional
        Of the k rows; the same rows as ``networkx.betweenness_centrality`` takes with this seed.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32; NumPy for NumPy. In [0, 1] if normalized and not
        sampled, but for lengths of 0 or below. 0 for n <= 2. With k = 1 the one source is NaN: it
        has no data.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for fewer than two dimensions, an unknown length, or k outside
        [1, n].

    Notes
    -----
    Similarities, lengths and distances in float64, whatever x holds. Paths tie where their float64
    lengths are equal, as in NetworkX; edges of length zero (duplicate rows) are edges. n searches
    of about n to n^2 steps; 20 n^2 bytes beside the similarities. Bitwise the same for any number
    of threads. On CUDA as in `hubprune.graph.betweenness_centrality`. A row with NaN or infinity
    makes every entry NaN. A progress bar is shown on a terminal if it takes long.
    Source: Brandes, 2001; King, Singh & Plumbley, 2023 (arXiv 2305.03391).

    Equivalent to::

        graph = nx.from_numpy_array(1 - hp.pairwise_cosine(x))  # where no length is 0
        centrality = nx.betweenness_centrality(graph, weight="weight")

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.betweenness_centrality(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    tensor([0., 1., 0.])
    """
    tensor = as_tensor(x, "x")
    check_rows(tensor, "x")
    check_choice(length, LENGTHS, "length")
    check_flag(normalized, "normalized")
    sources = sampled_sources(tensor.shape[-2], k, seed)
    if length == "similarity":
        warnings.warn(SIMILARITY_WARNING, UserWarning, stacklevel=2)
    lengths = path_lengths(tensor, length)
    centrality = torch.ops.hubprune.betweenness_centrality(lengths, normalized, sources)
    return like_input(centrality.to(compute_dtype(tensor)), x)


def closeness_centrality(x: Array, *, length: str = "one_minus") -> torch.Tensor:
    r"""Return the closeness centrality of every row in the graph of cosine similarities.

    :math:`(n - 1) / \sum_j d_{ij}`, with d the length of the shortest path.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    length : {"one_minus", "angle", "similarity"}
        As in `betweenness_centrality`. "similarity" needs similarities that are not negative.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32; NumPy for NumPy. 0 for n = 1, and where all
        distances are 0, as in NetworkX.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for fewer than two dimensions, an unknown length, or a negative
        one.

    Notes
    -----
    As `betweenness_centrality`. Source: Freeman, 1979.

    Equivalent to::

        graph = nx.from_numpy_array(1 - hp.pairwise_cosine(x))  # where no length is 0
        centrality = nx.closeness_centrality(graph, distance="weight")

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.closeness_centrality(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]))
    tensor([1., 2., 2.])
    """
    tensor = as_tensor(x, "x")
    check_rows(tensor, "x")
    check_choice(length, LENGTHS, "length")
    if length == "similarity":
        warnings.warn(SIMILARITY_WARNING, UserWarning, stacklevel=2)
    lengths = path_lengths(tensor, length)
    if length == "similarity":  # the others cannot be negative
        check_has_values(tensor, "x")
        check_not_negative(lengths, f"lengths (length={length!r})")
    centrality = torch.ops.hubprune.closeness_centrality(lengths)
    return like_input(centrality.to(compute_dtype(tensor)), x)


SIMILARITY_WARNING = (
    "length='similarity': similar filters are far apart then, and with negative similarities the "
    "result is no shortest-path quantity; length='one_minus' does not have this problem"
)


def path_lengths(x: torch.Tensor, length: str) -> torch.Tensor:
    """Return float64 path lengths (..., n, n) of the edges of x's similarity graph."""
    similarity: torch.Tensor = torch.ops.hubprune.pairwise_cosine(x.double())
    if length == "angle":
        return similarity.arccos_()
    # In place: a second matrix would be fresh memory, a page fault for every 4 KiB of it.
    return similarity if length == "similarity" else similarity.neg_().add_(1.0)


def check_not_negative(lengths: torch.Tensor, name: str) -> None:
    """Require lengths (..., n, n) of at least 0 off the diagonal; NaN passes."""
    n = lengths.shape[-1]
    diagonal = torch.eye(n, dtype=torch.bool, device=lengths.device)
    if lengths.numel() and bool(((lengths < 0.0) & ~diagonal).any()):
        raise ValueError(
            f"{name} must not be negative: distances are not defined then; got "
            f"{float(lengths.masked_fill(diagonal, 0.0).nan_to_num(neginf=-torch.inf).min()):.3g}"
        )


def sampled_sources(n: int, k: int | None, seed: int | None) -> list[int] | None:
    """Return k of n nodes as NetworkX samples them, or None for all."""
    if k is None:
        return None
    if isinstance(k, bool) or not isinstance(k, int):
        raise TypeError(f"k must be an integer or None; got {type(k).__name__}")
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and n = {n}; got {k}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise TypeError(f"seed must be an integer or None; got {type(seed).__name__}")
    return None if k == n else random.Random(seed).sample(range(n), k)
