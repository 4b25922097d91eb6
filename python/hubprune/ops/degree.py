# SPDX-License-Identifier: MIT
"""Operators of degree centrality, and the routes of the weighted degree."""

from __future__ import annotations

import os

import torch

from .. import _native
from ..arguments import EDGES, PRECISIONS, compute_dtype
from ..panel_route import PANEL_FEATURES, panel_degree
from .registration import register, take_batches
from .tensors import (
    batch_rows,
    by_dtype,
    by_dtype_and_device,
    dense_tensor,
    in_double,
    scratch_tensor,
    stream_of,
    where_each_lives,
)

#: An environment variable that forces how float32 degrees without a closed form are computed on
#: CUDA, whatever d and `precision`: to compare the routes, and as a way out.
DEGREE_ROUTE = "HUBPRUNE_DEGREE_ROUTE"
DEGREE_ROUTES = ("tiles", "panels", "sm90", "mma")

#: The longest rows of the route "mma", at any precision.
MMA_FEATURES = 32

#: `greedy_degree` stores graphs up to this size on CUDA, as the CPU kernel does; of larger ones it
#: computes the weights of every removed row again.
STORED_GRAPH_BYTES = _native.STORED_GRAPH_BYTES


# --- weighted degree ------------------------------------------------------------------------------
def _weighted_degree_cpu(
    x: list[torch.Tensor], edge: str = "signed", precision: str | None = None
) -> list[torch.Tensor]:
    threads = torch.get_num_threads()
    codes = EDGES.index(edge), _precision_code(precision)
    degrees = _weighted_degree_fake(x)
    for is_double, positions in by_dtype(x):
        dense = [dense_tensor(x[at]) for at in positions]
        layers = [
            (rows.data_ptr(), *batch_rows(rows), degrees[at].data_ptr())
            for rows, at in zip(dense, positions, strict=True)
        ]
        scratch = scratch_tensor(
            _native.weighted_degree_cpu_scratch(is_double, layers, *codes, threads), dense[0]
        )
        _native.weighted_degree_cpu(is_double, layers, *codes, scratch.data_ptr(), threads)
    return degrees


def _weighted_degree_cuda(
    x: list[torch.Tensor], edge: str = "signed", precision: str | None = None
) -> list[torch.Tensor]:
    code = EDGES.index(edge)
    degrees = _weighted_degree_fake(x)
    together = []
    for at, rows in enumerate(x):
        route = _cuda_route(rows, edge, precision)
        if route not in ("panels", "sm90", "mma"):
            together.append(at)
            continue
        planes = len(PRECISIONS) - _precision_code(precision)
        batch, n, d = batch_rows(rows)
        graphs, results = dense_tensor(rows).reshape(batch, n, d), degrees[at].view(batch, n)
        for graph, result in zip(graphs, results, strict=True):
            if route == "sm90":
                result.copy_(_sm90_degree(graph, edge, planes))
            elif route == "mma":
                result.copy_(_mma_degree(graph, edge, planes))
            else:
                result.copy_(panel_degree(graph, edge, planes, _CudaPanels()))
    for is_double, positions in by_dtype_and_device([x[at] for at in together]):
        chosen = [together[at] for at in positions]
        dense = [dense_tensor(x[at]) for at in chosen]
        layers = [
            (rows.data_ptr(), *batch_rows(rows), degrees[at].data_ptr())
            for rows, at in zip(dense, chosen, strict=True)
        ]
        scratch = scratch_tensor(
            _native.weighted_degree_cuda_scratch(is_double, layers, code), dense[0]
        )
        _native.weighted_degree_cuda(
            is_double, layers, code, scratch.data_ptr(), *stream_of(dense[0])
        )
    return degrees


class _CudaPanels:
    """The steps of `panel_degree` on a CUDA device."""

    def split_rows(self, x: torch.Tensor, planes: int) -> tuple[torch.Tensor, torch.Tensor]:
        n, d = x.shape
        pitch = _native.split_rows_cuda_pitch(d)
        split = torch.empty((n, planes, pitch), dtype=torch.bfloat16, device=x.device)
        sums = torch.zeros(n + 1, dtype=torch.int64, device=x.device)
        _native.split_rows_cuda(
            x.data_ptr(),
            n,
            d,
            planes,
            split.data_ptr(),
            sums[n:].data_ptr(),
            *stream_of(x),
        )
        return split, sums

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        if accumulate:
            torch.addmm(out, a, b.mT, out_dtype=torch.float32, out=out)
        else:
            torch.mm(a, b.mT, out_dtype=torch.float32, out=out)

    def add_panel(self, panel: torch.Tensor, first: int, edge: str, sums: torch.Tensor) -> None:
        n = len(sums) - 1
        _native.add_panel_cuda(
            panel.data_ptr(),
            len(panel),
            panel.stride(0),
            first,
            n,
            EDGES.index(edge),
            sums[n:].data_ptr(),
            sums.data_ptr(),
            *stream_of(panel),
        )

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        n = len(sums) - 1
        degree = torch.empty(n, dtype=torch.float32, device=sums.device)
        _native.degree_finish_cuda(
            sums.data_ptr(), sums[n:].data_ptr(), n, degree.data_ptr(), *stream_of(sums)
        )
        return degree


def _sm90_degree(x: torch.Tensor, edge: str, planes: int) -> torch.Tensor:
    kernels = _CudaPanels()
    split, sums = kernels.split_rows(x, planes)
    n, _, pitch = split.shape
    device = stream_of(x)[0]
    scratch = scratch_tensor(_native.sm90_degree_cuda_scratch(planes, n, pitch, device), x)
    _native.sm90_degree_cuda(
        split.data_ptr(),
        planes,
        n,
        pitch,
        EDGES.index(edge),
        sums[n:].data_ptr(),
        sums.data_ptr(),
        scratch.data_ptr(),
        *stream_of(x),
    )
    return kernels.finish(sums)


def _mma_degree(x: torch.Tensor, edge: str, planes: int) -> torch.Tensor:
    n, d = x.shape
    sums = torch.zeros(n + 1, dtype=torch.int64, device=x.device)
    scratch = scratch_tensor(_native.mma_degree_cuda_scratch(planes, n, d), x)
    _native.mma_degree_cuda(
        x.data_ptr(),
        planes,
        n,
        d,
        EDGES.index(edge),
        sums[n:].data_ptr(),
        sums.data_ptr(),
        scratch.data_ptr(),
        *stream_of(x),
    )
    return _CudaPanels().finish(sums)


def _cuda_route(x: torch.Tensor, edge: str, precision: str | None) -> str:
    """Return how the degree of (..., n, d) is computed: "closed", "gram" or a `DEGREE_ROUTES`."""
    n, d = x.shape[-2:]
    route = _native.weighted_degree_cuda_route(n, d, EDGES.index(edge))
    if route != "tiles" or n == 0 or compute_dtype(x) == torch.float64:
        return route
    asked = os.environ.get(DEGREE_ROUTE)
    if asked is not None and asked not in DEGREE_ROUTES:
        raise ValueError(f"{DEGREE_ROUTE} must be one of {', '.join(DEGREE_ROUTES)}; got {asked!r}")
    if asked == "sm90" and not _native.sm90_available(stream_of(x)[0]):
        raise RuntimeError(
            f"{DEGREE_ROUTE}=sm90 needs a device of compute capability 9.0; x is on {x.device}"
        )
    if asked == "mma" and d > MMA_FEATURES:
        raise ValueError(
            f"{DEGREE_ROUTE}=mma takes rows of at most {MMA_FEATURES} features; x has {d}"
        )
    # Products in bfloat16 planes have not been run on a device: only where less than "highest" was
    # asked for, and the rows are long.
    pays = d >= PANEL_FEATURES and _precision_code(precision) > 0
    return asked or ("panels" if pays else "tiles")


def _weighted_degree_fake(
    x: list[torch.Tensor], edge: str = "signed", precision: str | None = None
) -> list[torch.Tensor]:
    return [rows.new_empty(rows.shape[:-1], dtype=compute_dtype(rows)) for rows in x]


def _precision_code(precision: str | None) -> int:
    # Read here and not by the caller, which torch.compile traces: the setting is not traceable.
    return PRECISIONS.index(precision or torch.get_float32_matmul_precision())


def weighted_degree_route(x: torch.Tensor, edge: str, precision: str | None = None) -> str:
    """Return how `weighted_degree` computes a graph (n, d), in words."""
    n, d = x.shape
    if x.is_cuda:
        return {
            "closed": f"closed form on the GPU, O(n d): edge {edge!r} is linear in the cosine",
            "gram": f"closed form on the GPU through the d x d Gram matrix: 8 d <= n "
            f"(d = {d}, n = {n})",
            "tiles": "fused tiles of the upper triangle on the GPU",
            "sm90": "fused tiles on Hopper's matrix units in bfloat16",
            "mma": "fused tiles on a warp's matrix units in bfloat16",
            "panels": "matrix products of row panels in bfloat16 on the GPU, sums fused",
        }[_cuda_route(x, edge, precision)]
    codes = EDGES.index(edge), _precision_code(precision)
    route = _native.weighted_degree_cpu_route(x.dtype == torch.float64, n, d, *codes)
    tiles = f"tiles of the upper triangle: edge {edge!r} has no cheaper closed form"
    return {
        "closed": f"closed form, O(n d): edge {edge!r} is linear in the cosine",
        "gram": f"closed form through the d x d Gram matrix: 8 d <= n (d = {d}, n = {n})",
        "short": f"fused {tiles}; short rows, sums in registers",
        "long": f"fused {tiles}; long rows, blocked product",
        "medium": f"fused {tiles}; long rows, bfloat16 product (precision='medium')",
    }[route]


# --- greedy degree --------------------------------------------------------------------------------
def _greedy_degree_cpu(
    x: torch.Tensor, edge: str = "signed", count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    x = dense_tensor(x)
    n, d = x.shape
    threads = torch.get_num_threads()
    order = torch.empty(n, dtype=torch.int64)
    degree = torch.empty(n, dtype=torch.float64)
    scratch = scratch_tensor(_native.greedy_degree_cpu_scratch(in_double(x), n, d, threads), x)
    _native.greedy_degree_cpu(
        in_double(x),
        x.data_ptr(),
        n,
        d,
        EDGES.index(edge),
        n if count is None else count,
        order.data_ptr(),
        degree.data_ptr(),
        scratch.data_ptr(),
        threads,
    )
    return order, degree


def _greedy_degree_cuda(
    x: torch.Tensor, edge: str = "signed", count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    x = dense_tensor(x)
    n, d = x.shape
    stored = n * n * x.element_size() <= STORED_GRAPH_BYTES
    order, degree = _greedy_degree_fake(x)
    scratch = scratch_tensor(_native.greedy_degree_cuda_scratch(n, d, stored, in_double(x)), x)
    _native.greedy_degree_cuda(
        in_double(x),
        x.data_ptr(),
        n,
        d,
        EDGES.index(edge),
        n if count is None else count,
        stored,
        order.data_ptr(),
        degree.data_ptr(),
        scratch.data_ptr(),
        *stream_of(x),
    )
    return order, degree


def _greedy_degree_fake(
    x: torch.Tensor, edge: str = "signed", count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    n = x.shape[:1]
    return x.new_empty(n, dtype=torch.int64), x.new_empty(n, dtype=torch.float64)


register(
    "weighted_degree(Tensor[] x, str edge='signed', str? precision=None) -> Tensor[]",
    _weighted_degree_cpu,
    where_each_lives(_weighted_degree_cpu, _weighted_degree_cuda),
    _weighted_degree_fake,
)
register(
    "greedy_degree(Tensor x, str edge='signed', int? count=None) -> (Tensor order, Tensor degree)",
    _greedy_degree_cpu,
    _greedy_degree_cuda,
    _greedy_degree_fake,
)
take_batches("weighted_degree")
