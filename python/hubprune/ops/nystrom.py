# SPDX-License-Identifier: MIT
"""Operators of Nystroem approximations: columns of the graph, and its representative rows."""

from __future__ import annotations

import torch

from .. import _native
from ..arguments import EDGES, compute_dtype
from .registration import register, take_batches
from .similarity import pairwise_cosine_cuda
from .tensors import batch_rows, dense_tensor, in_double, scratch_tensor, stream_of


def _nystrom_columns_cpu(
    x: torch.Tensor, landmarks: torch.Tensor, edge: str = "signed"
) -> torch.Tensor:
    x, landmarks = dense_tensor(x), landmarks.contiguous()
    batch, n, d = batch_rows(x)
    m = landmarks.shape[-1]
    threads = torch.get_num_threads()
    columns = _nystrom_columns_fake(x, landmarks)
    scratch = scratch_tensor(_native.nystrom_columns_cpu_scratch(in_double(x), m, d, threads), x)
    _native.nystrom_columns_cpu(
        in_double(x),
        x.data_ptr(),
        landmarks.data_ptr(),
        batch,
        n,
        m,
        d,
        EDGES.index(edge),
        columns.data_ptr(),
        scratch.data_ptr(),
        threads,
    )
    return columns


def self_weights(x: torch.Tensor, edge: str) -> torch.Tensor:
    """Return the diagonal (..., n) of the similarity matrix of x (..., n, d), float64.

    f(1), f(0) for a zero row, NaN for one that is not finite.
    """
    # The norm of a finite float32 row can be infinite, so it does not say which rows are finite.
    unit = torch.ops.hubprune.row_norms(x) > 0.0
    weights = torch.where(unit, 1.0, 0.5 if edge == "shifted" else 0.0).double()
    return weights.masked_fill(~x.isfinite().all(-1), torch.nan)


def _nystrom_columns_cuda(
    x: torch.Tensor, landmarks: torch.Tensor, edge: str = "signed"
) -> torch.Tensor:
    index = landmarks[..., None].expand(*landmarks.shape, x.shape[-1])
    chosen = x.gather(-2, index)
    columns = pairwise_cosine_cuda(x, chosen, edge)
    # A landmark's own entry is exactly what it is in the graph itself.
    own = self_weights(chosen, edge).to(columns.dtype)
    return columns.scatter(-2, landmarks[..., None, :], own[..., None, :])


def _nystrom_columns_fake(
    x: torch.Tensor, landmarks: torch.Tensor, edge: str = "signed"
) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], landmarks.shape[-1]), dtype=compute_dtype(x))


def _pivoted_cholesky_cpu(
    a: torch.Tensor, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    work = a.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    order, residual, rank = _pivoted_cholesky_fake(work, tolerance)
    n = len(work)
    scratch = scratch_tensor(_native.pivoted_cholesky_cpu_scratch(n), work)
    pivots = _native.pivoted_cholesky_cpu(
        work.data_ptr(),
        n,
        tolerance,
        order.data_ptr(),
        residual.data_ptr(),
        scratch.data_ptr(),
        torch.get_num_threads(),
    )
    return order, residual, rank.fill_(pivots)


def _pivoted_cholesky_cuda(
    a: torch.Tensor, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    a = a.to(torch.float64).contiguous()
    order, residual, rank = _pivoted_cholesky_fake(a, tolerance)
    n = len(a)
    scratch = scratch_tensor(_native.pivoted_cholesky_cuda_scratch(n), a)
    _native.pivoted_cholesky_cuda(
        a.data_ptr(),
        n,
        tolerance,
        order.data_ptr(),
        residual.data_ptr(),
        rank.data_ptr(),
        scratch.data_ptr(),
        *stream_of(a),
    )
    return order, residual, rank


def _pivoted_cholesky_fake(
    a: torch.Tensor, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n = a.shape[0]
    return (
        a.new_empty(n, dtype=torch.int64),
        a.new_empty(n, dtype=torch.float64),
        a.new_empty((), dtype=torch.int64),
    )


def rejection_cholesky(h: torch.Tensor, draws: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Return which candidates a block of randomly pivoted Cholesky accepts: positions, ascending.

    h : float64 (count, count), what is left of the candidates' rows and columns; draws : float64
    (count,), uniform in [0, 1). Both on the host. A candidate of which at most `tolerance` is left
    is rejected. Source: Epperly, Tropp & Webber, 2024 (arXiv 2410.03969).
    """
    work = h.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    accepted = torch.empty(len(work), dtype=torch.int64, device="cpu")
    taken = _native.rejection_cholesky_cpu(
        work.data_ptr(), draws.data_ptr(), len(work), tolerance, accepted.data_ptr()
    )
    return accepted[:taken]


register(
    "nystrom_columns(Tensor x, Tensor landmarks, str edge='signed') -> Tensor",
    _nystrom_columns_cpu,
    _nystrom_columns_cuda,
    _nystrom_columns_fake,
)
register(
    "pivoted_cholesky(Tensor a, float tolerance) -> (Tensor order, Tensor residual, Tensor rank)",
    _pivoted_cholesky_cpu,
    _pivoted_cholesky_cuda,
    _pivoted_cholesky_fake,
)
take_batches("nystrom_columns")
