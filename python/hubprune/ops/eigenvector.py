# SPDX-License-Identifier: MIT
"""Operators of eigenvector centrality."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn

import torch

from .. import _native
from ..arguments import EDGES, compute_dtype
from .registration import register, take_batches
from .similarity import pairwise_cosine_cuda
from .tensors import (
    address,
    batch_rows,
    dense_tensor,
    in_double,
    scratch_tensor,
    stream_of,
)

#: Products with a graph on CUDA that are enqueued before the host looks whether they were enough:
#: those that were not needed are launched too. As many as the basis of a search holds vectors.
PRODUCTS_AT_ONCE = 24


def _raise_unconverged(residual: float, tol: float, max_iter: int) -> NoReturn:
    raise RuntimeError(
        f"eigenvector centrality did not converge in {max_iter} products with the graph: "
        f"relative residual {residual:.1e}, tol {tol:.1e}; raise max_iter or tol"
    )


def _scaled_start(start: torch.Tensor | None) -> torch.Tensor | None:
    """Return the start vectors (..., n) in float64, the largest entry of each 1."""
    if start is None:
        return None
    start = start.double()
    if not start.numel():
        return start
    return (start / start.abs().amax(-1, keepdim=True)).contiguous()


def _eigenvector_centrality_cpu(
    x: torch.Tensor,
    edge: str = "abs",
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    x = dense_tensor(x)
    batch, n, d = batch_rows(x)
    threads = torch.get_num_threads()
    code = EDGES.index(edge)
    vector = torch.empty(x.shape[:-1], dtype=x.dtype)
    scratch = scratch_tensor(
        _native.eigenvector_centrality_cpu_scratch(in_double(x), n, d, code, max_iter, threads),
        x,
    )
    scaled = _scaled_start(start)
    converged, residual = _native.eigenvector_centrality_cpu(
        in_double(x),
        x.data_ptr(),
        batch,
        n,
        d,
        code,
        address(scaled),
        tol,
        max_iter,
        vector.data_ptr(),
        scratch.data_ptr(),
        threads,
    )
    if not converged:
        _raise_unconverged(residual, tol, max_iter)
    return vector


def eigenvector_centrality_route(x: torch.Tensor, edge: str) -> str:
    """Return how `eigenvector_centrality` multiplies with a graph of x (n, d), in words."""
    n, d = x.shape
    code = EDGES.index(edge)
    is_double = compute_dtype(x) == torch.float64
    if x.is_cuda:
        route = _native.eigenvector_centrality_cuda_route(is_double, 1, n, d, code)
    else:
        route = _native.eigenvector_centrality_cpu_route(is_double, n, d, code)
    through = "the d x d Gram matrix" if edge == "squared" else "the sum of the rows"
    words = {
        "implicit": f"implicit products through {through}, the graph is never formed",
        "stored": "products with the stored graph",
        "tiles": "products with the graph, tiles of it computed again for each",
    }[route]
    return f"{words}, on the GPU" if x.is_cuda else words


def _eigenvector_centrality_cuda(
    x: torch.Tensor,
    edge: str = "abs",
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    x = dense_tensor(x)
    batch, n, d = batch_rows(x)
    code = EDGES.index(edge)
    # As on the CPU: rounding leaves this much of a graph without edges.
    noise = 8.0 * torch.finfo(x.dtype).eps
    route = _native.eigenvector_centrality_cuda_route(in_double(x), batch, n, d, code)
    if route == "stored":
        graph = pairwise_cosine_cuda(x, None, edge, zero_diagonal=True)
        return _graph_search_cuda(graph, start, tol, noise, max_iter)
    tiles = route == "tiles"
    scratch = scratch_tensor(
        _native.eigenvector_centrality_cuda_scratch(in_double(x), batch, n, d, code, tiles), x
    )
    scaled = _scaled_start(start)
    search = _CudaSearch(x, tol, max_iter)
    enqueue = partial(
        _native.eigenvector_centrality_cuda,
        in_double(x),
        x.data_ptr(),
        batch,
        n,
        d,
        code,
        tiles,
        address(scaled),
        tol,
        noise,
        max_iter,
    )
    return search.run(enqueue, scratch)


def _eigenvector_centrality_fake(
    x: torch.Tensor,
    edge: str = "abs",
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    return x.new_empty(x.shape[:-1], dtype=compute_dtype(x))


def _graph_eigenvector_centrality_cpu(
    weights: torch.Tensor,
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    weights = dense_tensor(weights)
    batch, n, _ = batch_rows(weights)
    threads = torch.get_num_threads()
    vector = torch.empty(weights.shape[:-1], dtype=weights.dtype)
    scratch = scratch_tensor(
        _native.graph_eigenvector_centrality_cpu_scratch(in_double(weights), n, max_iter, threads),
        weights,
    )
    scaled = _scaled_start(start)
    converged, residual = _native.graph_eigenvector_centrality_cpu(
        in_double(weights),
        weights.data_ptr(),
        batch,
        n,
        address(scaled),
        tol,
        max_iter,
        vector.data_ptr(),
        scratch.data_ptr(),
        threads,
    )
    if not converged:
        _raise_unconverged(residual, tol, max_iter)
    return vector


def _graph_eigenvector_centrality_cuda(
    weights: torch.Tensor,
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    return _graph_search_cuda(dense_tensor(weights), start, tol, 0.0, max_iter)


class _CudaSearch:
    """What the launchers write of every item (..., n) of `rows`, and the check of it."""

    def __init__(self, rows: torch.Tensor, tol: float, max_iter: int) -> None:
        items = rows.shape[:-2]
        self.vector = rows.new_empty(rows.shape[:-1])
        self.converged = torch.ones(items, dtype=torch.int64, device=rows.device)
        self.residual = torch.zeros(items, dtype=torch.float64, device=rows.device)
        self.tol, self.max_iter = tol, max_iter

    def run(self, enqueue: Callable[..., None], scratch: torch.Tensor) -> torch.Tensor:
        """Return the vectors; `enqueue(first, end, ...)` enqueues products first .. end - 1."""
        outputs = self.vector.data_ptr(), self.converged.data_ptr(), self.residual.data_ptr()
        rest = (*outputs, scratch.data_ptr(), *stream_of(self.vector))
        # The kernels never wait; this check does. A capture cannot: there, what failed is NaN.
        if torch.cuda.is_current_stream_capturing():
            enqueue(0, self.max_iter, *rest)
            return self.vector
        for first in range(0, self.max_iter, PRODUCTS_AT_ONCE):
            enqueue(first, min(first + PRODUCTS_AT_ONCE, self.max_iter), *rest)
            if bool(self.converged.all()):
                return self.vector
        _raise_unconverged(float(self.residual.max()), self.tol, self.max_iter)


def _graph_search_cuda(
    weights: torch.Tensor, start: torch.Tensor | None, tol: float, noise: float, max_iter: int
) -> torch.Tensor:
    batch, n, _ = batch_rows(weights)
    search = _CudaSearch(weights, tol, max_iter)
    scratch = scratch_tensor(_native.graph_eigenvector_centrality_cuda_scratch(batch, n), weights)
    scaled = _scaled_start(start)
    enqueue = partial(
        _native.graph_eigenvector_centrality_cuda,
        in_double(weights),
        weights.data_ptr(),
        batch,
        n,
        address(scaled),
        tol,
        noise,
        max_iter,
    )
    return search.run(enqueue, scratch)


def _graph_eigenvector_centrality_fake(
    weights: torch.Tensor,
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    return weights.new_empty(weights.shape[:-1], dtype=compute_dtype(weights))


register(
    "eigenvector_centrality(Tensor x, str edge='abs', float tol=1e-6, int max_iter=100,"
    " Tensor? start=None) -> Tensor",
    _eigenvector_centrality_cpu,
    _eigenvector_centrality_cuda,
    _eigenvector_centrality_fake,
)
register(
    "graph_eigenvector_centrality(Tensor weights, float tol=1e-6, int max_iter=100,"
    " Tensor? start=None) -> Tensor",
    _graph_eigenvector_centrality_cpu,
    _graph_eigenvector_centrality_cuda,
    _graph_eigenvector_centrality_fake,
)
take_batches("eigenvector_centrality")
take_batches("graph_eigenvector_centrality")
