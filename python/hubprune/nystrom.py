# SPDX-License-Identifier: MIT
"""Nystroem: the similarity matrix from a few of its columns, with an error you can see.

C = f(X X_M') holds the columns of m landmarks M, W = C[M]; S ~ C W_k^+ C', kept as a factor F of k
columns and their signs: S ~ F diag(signs) F'. Cosines of d features have rank d at most, so where
d <= m the filter vectors themselves are as good a factor and exact: `hubprune.routes` knows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import (
    EDGES,
    Array,
    as_tensor,
    check_choice,
    check_count,
    check_finite_rows,
    check_has_values,
    check_number,
    check_rows,
    check_seed,
    compute_dtype,
    shape_text,
)
from .landmarks import DEFINITE_EDGES, LANDMARK_RULES, Selection, seed_of, select_landmarks
from .nystrom_factor import NystromError, NystromFactor, row_blocks

__all__ = ["Nystrom", "NystromError", "NystromFactor", "nystrom"]


@dataclass(frozen=True, kw_only=True)
class Nystrom:
    """Ask for a Nystroem approximation: ``approximate=Nystrom(m=256)``.

    It is used where it is cheaper than the exact result; `hubprune.route` says what was chosen.

    Attributes
    ----------
    m : int
        How many landmarks.
    landmarks : str
        As in `nystrom`.
    rank : int, optional
        As in `nystrom`.
    seed : int
        Of the landmarks' random numbers.
    tolerance : float
        As in `nystrom`.
    """

    m: int
    landmarks: str = "uniform"
    rank: int | None = None
    seed: int = 0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        check_count(self.m, "m")
        check_choice(self.landmarks, LANDMARK_RULES, "landmarks")
        if self.rank is not None:
            _check_rank(self.rank, self.m)
        check_seed(self.seed)
        _check_tolerance(self.tolerance)

    def factor(self, x: torch.Tensor, edge: str) -> NystromFactor:
        """Return the factor of x (..., n, d)."""
        return nystrom(
            x,
            self.m,
            landmarks=self.landmarks,
            rank=self.rank,
            edge=edge,
            generator=self.seed,
            tolerance=self.tolerance,
        )


def nystrom(
    x: Array,
    m: int,
    *,
    landmarks: str | torch.Tensor | Sequence[int] = "uniform",
    rank: int | None = None,
    edge: str = "signed",
    generator: torch.Generator | int | None = None,
    tolerance: float = 0.0,
) -> NystromFactor:
    r"""Return a low-rank factor of the similarity matrix from the columns of m landmarks.

    :math:`S \approx C W_k^+ C^T`, :math:`C = f(X X_M^T)`, :math:`W = C_M`.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    m : int
        How many landmarks, 1 to n; the most where the rule stops by itself.
    landmarks : str, or m row numbers
        "first": rows 0 to m - 1 (the published rule). "uniform": without replacement. "leverage":
        in proportion to ridge leverage scores estimated from m uniform rows, which costs the
        columns twice. "rpcholesky": randomly pivoted Cholesky; the best of these on decaying
        spectra, stops at rounding error or at ``tolerance``. "farthest": from a random row on,
        always the row least similar to every landmark so far.
    rank : int, optional
        Keep the `rank` largest directions of W only. Default: all above rounding error,
        eps * m * lambda_max of the working precision. (A plain pseudo-inverse keeps more; in
        float32 its errors reach the hundreds.)
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        f. abs and positive matrices are not positive semi-definite: negative directions are kept
        with their sign, and the error is larger; look at ``error_estimate()``.
    generator : torch.Generator, int or None
        The seed of the rule's random numbers; None draws it from torch's own generator. The same
        seed gives the same random numbers on every device.
    tolerance : float
        rpcholesky stops where the trace of what is left is at most this part of the whole.

    Returns
    -------
    NystromFactor

    Raises
    ------
    TypeError
        For another type or dtype.
    ValueError
        For m outside 1 to n, landmarks that are unknown, out of range or there twice, rank < 1 or
        above m, a tolerance outside [0, 1), rows that are not finite (the first is named), rows of
        no features, or a tensor without values (on the meta device).

    Notes
    -----
    Cost: n m d multiply-adds, and O(n m k + m^3). Memory: the columns (n m) and m d; never n x n
    (but "farthest" stores the matrix where 16 m >= n and it is at most 1 GiB). The small m x m
    problem is solved in float64. A batch is computed one by one.
    Source: Williams & Seeger, NIPS 2000; Singh & Plumbley, ICASSP 2023 (arXiv 2210.17416); rules:
    Musco & Musco, 2017 (arXiv 1605.07583); Chen, Epperly, Tropp & Webber, 2022 (arXiv 2207.06503)
    and 2024 (arXiv 2410.03969); Gonzalez, 1985.

    Equivalent to::

        c = hp.pairwise_cosine(x, x[landmarks], edge=edge)
        s = c @ torch.linalg.pinv(c[landmarks]) @ c.mT

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, -1.0]])
    >>> factor = hp.nystrom(x, 2, landmarks="first")
    >>> bool((factor.dense() - hp.pairwise_cosine(x)).abs().max() < 1e-6)
    True
    """
    started = time.perf_counter()
    rows = as_tensor(x, "x")
    check_rows(rows, "x")
    check_choice(edge, EDGES, "edge")
    if isinstance(landmarks, str):
        check_choice(landmarks, LANDMARK_RULES, "landmarks")
    n = rows.shape[-2]
    check_count(m, "m")
    if m > n:
        raise ValueError(f"m must be from 1 to n = {n}; got {m}")
    if rank is not None:
        _check_rank(rank, m)
    _check_tolerance(tolerance)
    draws = isinstance(landmarks, str) and landmarks != "first"
    seed = seed_of(generator if draws or generator is not None else 0)
    if not rows.shape[-1]:
        raise ValueError(f"x must have at least one feature; got shape {shape_text(rows.shape)}")
    check_has_values(rows, "x")
    rows = rows.to(compute_dtype(rows)).contiguous()
    flat = rows.reshape(-1, *rows.shape[-2:])
    if not len(flat):
        raise ValueError(f"x must hold at least one matrix; got shape {shape_text(rows.shape)}")
    parts = [_factor_one(each, m, landmarks, rank, edge, seed, tolerance) for each in flat]
    count = max(len(chosen) for chosen, _, _ in parts)
    parts = [(_repeated(chosen, count), part, signs) for chosen, part, signs in parts]
    indices, factor, signs = (_stacked(each, rows.shape[:-2]) for each in zip(*parts, strict=True))
    return NystromFactor(
        indices=indices,
        factor=factor,
        signs=signs,
        edge=edge,
        landmarks=landmarks if isinstance(landmarks, str) else "given",
        seconds=time.perf_counter() - started,
        _x=rows,
    )


def _check_rank(rank: int, m: int) -> None:
    check_count(rank, "rank")
    if rank > m:
        raise ValueError(f"rank must be from 1 to m = {m}; got {rank}")


def _check_tolerance(tolerance: float) -> None:
    check_number(tolerance, "tolerance")
    if not 0.0 <= tolerance < 1.0:
        raise ValueError(f"tolerance must be in [0, 1); got {tolerance}")


def _stacked(parts: Sequence[torch.Tensor], batch: torch.Size) -> torch.Tensor:
    """Stack per-matrix results whose last dimension may differ, padded with zeros."""
    if len(parts) == 1:
        return parts[0].reshape(*batch, *parts[0].shape)
    width = max(part.shape[-1] for part in parts)
    padded = [torch.nn.functional.pad(part, (0, width - part.shape[-1])) for part in parts]
    return torch.stack(padded).reshape(*batch, *padded[0].shape)


def _repeated(indices: torch.Tensor, count: int) -> torch.Tensor:
    """Return `count` landmarks, the first where there are no more: row 0 may be none."""
    missing = count - len(indices)
    return torch.cat([indices, indices[:1].expand(missing)]) if missing else indices


def _factor_one(
    x: torch.Tensor,
    m: int,
    landmarks: str | torch.Tensor | Sequence[int],
    rank: int | None,
    edge: str,
    seed: int,
    tolerance: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (indices, factor, signs) of one matrix (n, d)."""
    if isinstance(landmarks, str) and landmarks in ("leverage", "rpcholesky", "farthest"):
        check_finite_rows(x)
    chosen: Selection = select_landmarks(x, m, landmarks, edge, seed, tolerance)
    if chosen.factor is not None and rank is None:
        signs = torch.ones(chosen.factor.shape[1], dtype=x.dtype, device=x.device)
        return chosen.indices, chosen.factor, signs
    columns = torch.ops.hubprune.nystrom_columns(x, chosen.indices, edge)
    if not math.isfinite(float(columns.sum())):
        check_finite_rows(x)
    inner = columns.index_select(0, chosen.indices)
    root = cholesky_root(inner) if rank is None else None
    directions, signs = (
        small_factor(inner, rank, edge) if root is None else (root, torch.ones_like(root[0]))
    )
    factor = columns.new_empty(len(columns), len(signs))
    first = 0
    for block in row_blocks(columns):
        factor[first : first + len(block)] = block @ directions
        first += len(block)
    return chosen.indices, factor, signs.to(x.dtype)


def cholesky_root(inner: torch.Tensor) -> torch.Tensor | None:
    """Return R with W^-1 = R R', in float64; None if a direction may be at rounding error.

    Where all directions of W are kept, any root of its inverse makes the same approximation, and
    that of a Cholesky factor L, R' = L^-1, costs a quarter of the eigenvectors.
    """
    wide = inner.double()
    lower, failed = torch.linalg.cholesky_ex(wide)
    if int(failed):
        return None
    identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
    inverse = torch.linalg.solve_triangular(lower, identity, upper=False)
    largest = torch.linalg.matrix_norm(wide, torch.inf)  # of the eigenvalues, at most
    # 1 / lambda_min = |W^-1| = |L^-1|^2 <= |L^-1|_1 |L^-1|_inf
    least = torch.linalg.matrix_norm(inverse, 1) * torch.linalg.matrix_norm(inverse, torch.inf)
    resolved = torch.finfo(inner.dtype).eps * len(inner) * float(largest * least) < 1.0
    return inverse.mT if resolved else None


def small_factor(
    inner: torch.Tensor, rank: int | None, edge: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (U |lambda|^-1/2, sign(lambda)) of W's directions above rounding error, in float64."""
    values, vectors = torch.linalg.eigh(inner.double())
    noise = torch.finfo(inner.dtype).eps * len(inner) * float(values.abs().max())
    size = values if edge in DEFINITE_EDGES else values.abs()
    kept = torch.argsort(size, descending=True, stable=True)
    kept = kept[size.index_select(0, kept) > noise][: rank or len(inner)]
    values, vectors = values.index_select(0, kept), vectors.index_select(1, kept)
    return vectors / values.abs().sqrt(), values.sign()
