# SPDX-License-Identifier: MIT
"""The kernels as torch operators, ``torch.ops.hubprune.*``.

Registered with `torch.library.Library` (define, impl, fake), so they pass through
``torch.compile(fullgraph=True)`` and fake tensors, and cost a few microseconds to call. The
dispatcher chooses the CPU or the CUDA kernel by where the tensor lives. Outputs and scratch are
torch tensors: the kernels never allocate. Use the functions of the `hubprune` package, which
validate; these operators expect valid arguments.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import NoReturn

import torch

from . import _native
from .arguments import EDGES, PRECISIONS, compute_dtype
from .panel_route import PANEL_FEATURES, panel_degree
from .progress import progress_bar

__all__ = ["library"]

#: An environment variable that forces how float32 degrees without a closed form are computed on
#: CUDA, whatever d and `precision`: to compare the routes, and as a way out.
DEGREE_ROUTE = "HUBPRUNE_DEGREE_ROUTE"
DEGREE_ROUTES = ("tiles", "panels", "sm90")

library = torch.library.Library("hubprune", "DEF")

library.define("row_norms(Tensor x) -> Tensor")
# Lists: all the layers of a model in one call. Norms come in float64, from the same read.
library.define(
    "rank1_vectors(Tensor[] weights, ScalarType? dtype=None) -> (Tensor[] vectors, Tensor[] norms)"
)
library.define("spectral_norms(Tensor[] weights) -> Tensor[]")
library.define(
    "pairwise_cosine(Tensor x, Tensor? y=None, str edge='signed', bool zero_diagonal=False)"
    " -> Tensor"
)
library.define(
    "pairwise_cosine_out(Tensor x, Tensor? y, str edge, bool zero_diagonal, *, Tensor(a!) out)"
    " -> ()"
)
library.define("weighted_degree(Tensor[] x, str edge='signed', str? precision=None) -> Tensor[]")
library.define("distance_sum(Tensor x) -> Tensor")
library.define("nystrom_columns(Tensor x, Tensor landmarks, str edge='signed') -> Tensor")
library.define(
    "pivoted_cholesky(Tensor a, float tolerance) -> (Tensor order, Tensor residual, Tensor rank)"
)
library.define(
    "greedy_degree(Tensor x, str edge='signed', int? count=None) -> (Tensor order, Tensor degree)"
)
library.define("nearest(Tensor x) -> (Tensor, Tensor)")
library.define(
    "eigenvector_centrality(Tensor x, str edge='abs', float tol=1e-6, int max_iter=100,"
    " Tensor? start=None) -> Tensor"
)
library.define(
    "graph_eigenvector_centrality(Tensor weights, float tol=1e-6, int max_iter=100,"
    " Tensor? start=None) -> Tensor"
)
library.define(
    "betweenness_centrality(Tensor lengths, bool normalized=True, int[]? sources=None) -> Tensor"
)
library.define("closeness_centrality(Tensor lengths) -> Tensor")


def _dense(x: torch.Tensor) -> torch.Tensor:
    """Return x contiguous, in the dtype the kernels compute in (half precision becomes float32)."""
    return x.to(compute_dtype(x)).contiguous()


def _is_double(x: torch.Tensor) -> bool:
    return x.dtype == torch.float64


#: Scratch above this many bytes comes fresh from the system at every call: ask for large pages.
_LARGE_SCRATCH = 8 << 20


def _scratch(size: int, like: torch.Tensor) -> torch.Tensor:
    scratch = torch.empty(size, dtype=torch.uint8, device=like.device)
    if size >= _LARGE_SCRATCH and like.device.type == "cpu":
        _native.request_large_pages(scratch.data_ptr(), size)
    return scratch


def _rows(x: torch.Tensor) -> tuple[int, int, int]:
    """Return (batch, n, d) of a (..., n, d) tensor."""
    return math.prod(x.shape[:-2]), x.shape[-2], x.shape[-1]


def _by_dtype(tensors: list[torch.Tensor]) -> Iterator[tuple[bool, list[int]]]:
    """Yield (whether they compute in float64, positions) of the tensors that share a kernel."""
    doubles = [compute_dtype(tensor) == torch.float64 for tensor in tensors]
    for is_double in (False, True):
        positions = [at for at, double in enumerate(doubles) if double == is_double]
        if positions:
            yield is_double, positions


def _by_dtype_and_device(tensors: list[torch.Tensor]) -> Iterator[tuple[bool, list[int]]]:
    """As `_by_dtype`, each device's tensors apart: a launch runs on one."""
    for is_double, positions in _by_dtype(tensors):
        for device in dict.fromkeys(tensors[at].device for at in positions):
            yield is_double, [at for at in positions if tensors[at].device == device]


def _given(y: torch.Tensor | None, scratch: torch.Tensor) -> int:
    """Return y's address, 0 for None; an empty y has none, so any other says that it is there."""
    return 0 if y is None else y.data_ptr() or scratch.data_ptr()


def _address(optional: torch.Tensor | None) -> int:
    """Return where an optional argument lies, 0 for None."""
    return 0 if optional is None else optional.data_ptr()


def _stream(x: torch.Tensor) -> tuple[int, int]:
    """Return the device index and the caller's current stream on it."""
    index = x.device.index if x.device.index is not None else torch.cuda.current_device()
    return index, torch.cuda.current_stream(index).cuda_stream


# --- row norms ------------------------------------------------------------------------------------
def _row_norms_cpu(x: torch.Tensor) -> torch.Tensor:
    x = _dense(x)
    norms = torch.empty(x.shape[:-1], dtype=x.dtype)
    _native.row_norms_cpu(
        _is_double(x),
        x.data_ptr(),
        norms.numel(),
        x.shape[-1],
        norms.data_ptr(),
        torch.get_num_threads(),
    )
    return norms


def _row_norms_cuda(x: torch.Tensor) -> torch.Tensor:
    x = _dense(x)
    norms = torch.empty(x.shape[:-1], dtype=x.dtype, device=x.device)
    scratch = _scratch(_native.row_norms_cuda_scratch(norms.numel()), x)
    _native.row_norms_cuda(
        _is_double(x),
        x.data_ptr(),
        norms.numel(),
        x.shape[-1],
        norms.data_ptr(),
        scratch.data_ptr(),
        *_stream(x),
    )
    return norms


def _row_norms_fake(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[:-1], dtype=compute_dtype(x))


# --- rank-1 filter vectors ------------------------------------------------------------------------
def _rank1_dtype(weight: torch.Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else compute_dtype(weight)


def _rank1_vectors_cpu(
    weights: list[torch.Tensor], dtype: torch.dtype | None = None, *, spectral: bool = False
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    threads = torch.get_num_threads()
    vectors, norms = _rank1_vectors_fake(weights, dtype)
    for is_double, positions in _by_dtype(weights):
        dense = [_dense(weights[at]) for at in positions]
        layers = [
            (weight.data_ptr(), *weight.shape, vectors[at].data_ptr(), norms[at].data_ptr())
            for weight, at in zip(dense, positions, strict=True)
        ]
        scratch = _scratch(_native.filter_vectors_cpu_scratch(is_double, layers, threads), dense[0])
        out_double = is_double or dtype == torch.float64
        _native.filter_vectors_cpu(
            is_double, out_double, layers, scratch.data_ptr(), threads, spectral
        )
    return vectors, norms


def _rank1_vectors_cuda(
    weights: list[torch.Tensor], dtype: torch.dtype | None = None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    vectors, norms = _rank1_vectors_fake(weights, dtype)
    for is_double, positions in _by_dtype_and_device(weights):
        dense = [_dense(weights[at]) for at in positions]
        layers = [
            (weight.data_ptr(), *weight.shape, vectors[at].data_ptr(), norms[at].data_ptr())
            for weight, at in zip(dense, positions, strict=True)
        ]
        scratch = _scratch(_native.filter_vectors_cuda_scratch(layers), dense[0])
        out_double = is_double or dtype == torch.float64
        _native.filter_vectors_cuda(
            is_double, out_double, layers, scratch.data_ptr(), *_stream(dense[0])
        )
    return vectors, norms


def _rank1_vectors_fake(
    weights: list[torch.Tensor], dtype: torch.dtype | None = None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    vectors = [
        weight.new_empty((weight.shape[0], weight.shape[2]), dtype=_rank1_dtype(weight, dtype))
        for weight in weights
    ]
    return vectors, [weight.new_empty(weight.shape[:1], dtype=torch.float64) for weight in weights]


# --- spectral norms -------------------------------------------------------------------------------
_SPECTRAL_BLOCK = 1 << 24  # weights in float64 at a time, on a device


def _spectral_norms_cpu(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    return _rank1_vectors_cpu(weights, spectral=True)[1]


def _spectral_norms_cuda(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    norms = []
    for weight in weights:
        # |A'u| of the rank-1 vector u: a wrong u shows in second order only.
        (vectors,), _ = _rank1_vectors_cuda([weight], torch.float64)
        step = max(1, _SPECTRAL_BLOCK // max(1, weight.shape[1] * weight.shape[2]))
        blocks = zip(weight.split(step), vectors.split(step), strict=True)
        products = [(block.double() * unit[:, None, :]).sum(2) for block, unit in blocks]
        norms.append(_row_norms_cuda(torch.cat(products)))
    return norms


def _spectral_norms_fake(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    return [weight.new_empty(weight.shape[:1], dtype=torch.float64) for weight in weights]


# --- pairwise cosine ------------------------------------------------------------------------------
def _cosine_shape(x: torch.Tensor, y: torch.Tensor | None) -> tuple[int, ...]:
    return (*x.shape[:-1], x.shape[-2] if y is None else y.shape[-2])


def _pairwise_cosine_cpu(
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
) -> torch.Tensor:
    out = torch.empty(_cosine_shape(x, y), dtype=compute_dtype(x))
    _pairwise_cosine_out_cpu(x, y, edge, zero_diagonal, out=out)
    return out


def _pairwise_cosine_out_cpu(
    x: torch.Tensor, y: torch.Tensor | None, edge: str, zero_diagonal: bool, *, out: torch.Tensor
) -> None:
    _check_apart(x, y, out)
    x = _dense(x)
    y = None if y is None else _dense(y)
    batch, n, d = _rows(x)
    m = n if y is None else y.shape[-2]
    threads = torch.get_num_threads()
    scratch = _scratch(
        _native.pairwise_cosine_cpu_scratch(_is_double(x), n, m, d, y is None, threads), x
    )
    _native.pairwise_cosine_cpu(
        _is_double(x),
        x.data_ptr(),
        _given(y, scratch),
        batch,
        n,
        m,
        d,
        EDGES.index(edge),
        zero_diagonal,
        out.data_ptr(),
        scratch.data_ptr(),
        threads,
    )


def _check_apart(x: torch.Tensor, y: torch.Tensor | None, out: torch.Tensor) -> None:
    for name, source in (("x", x), ("y", y)):
        if source is not None and out.numel() and _same_storage(source, out):
            raise ValueError(f"out must not share memory with {name}")


def _same_storage(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _pairwise_cosine_cuda(
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
) -> torch.Tensor:
    out = torch.empty(_cosine_shape(x, y), dtype=compute_dtype(x), device=x.device)
    _pairwise_cosine_out_cuda(x, y, edge, zero_diagonal, out=out)
    return out


def _pairwise_cosine_out_cuda(
    x: torch.Tensor, y: torch.Tensor | None, edge: str, zero_diagonal: bool, *, out: torch.Tensor
) -> None:
    _check_apart(x, y, out)
    x = _dense(x)
    y = None if y is None else _dense(y)
    batch, n, d = _rows(x)
    m = n if y is None else y.shape[-2]
    scratch = _scratch(
        _native.pairwise_cosine_cuda_scratch(batch, n, m, d, y is None, _is_double(x)), x
    )
    _native.pairwise_cosine_cuda(
        _is_double(x),
        x.data_ptr(),
        _given(y, scratch),
        batch,
        n,
        m,
        d,
        EDGES.index(edge),
        zero_diagonal,
        out.data_ptr(),
        scratch.data_ptr(),
        *_stream(x),
    )


def _pairwise_cosine_fake(
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
) -> torch.Tensor:
    return x.new_empty(_cosine_shape(x, y), dtype=compute_dtype(x))


def _pairwise_cosine_out_fake(
    x: torch.Tensor, y: torch.Tensor | None, edge: str, zero_diagonal: bool, *, out: torch.Tensor
) -> None:
    return None


# --- weighted degree ------------------------------------------------------------------------------
def _weighted_degree_cpu(
    x: list[torch.Tensor], edge: str = "signed", precision: str | None = None
) -> list[torch.Tensor]:
    threads = torch.get_num_threads()
    codes = EDGES.index(edge), _precision_code(precision)
    degrees = _weighted_degree_fake(x)
    for is_double, positions in _by_dtype(x):
        dense = [_dense(x[at]) for at in positions]
        layers = [
            (rows.data_ptr(), *_rows(rows), degrees[at].data_ptr())
            for rows, at in zip(dense, positions, strict=True)
        ]
        scratch = _scratch(
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
        if route not in ("panels", "sm90"):
            together.append(at)
            continue
        planes = len(PRECISIONS) - _precision_code(precision)
        n, d = rows.shape[-2:]
        graphs, results = _dense(rows).reshape(-1, n, d), degrees[at].view(-1, n)
        for graph, result in zip(graphs, results, strict=True):
            if route == "sm90":
                result.copy_(_sm90_degree(graph, edge, planes))
            else:
                result.copy_(panel_degree(graph, edge, planes, _CudaPanels()))
    for is_double, positions in _by_dtype_and_device([x[at] for at in together]):
        chosen = [together[at] for at in positions]
        dense = [_dense(x[at]) for at in chosen]
        layers = [
            (rows.data_ptr(), *_rows(rows), degrees[at].data_ptr())
            for rows, at in zip(dense, chosen, strict=True)
        ]
        scratch = _scratch(_native.weighted_degree_cuda_scratch(is_double, layers, code), dense[0])
        _native.weighted_degree_cuda(
            is_double, layers, code, scratch.data_ptr(), *_stream(dense[0])
        )
    return degrees


class _CudaPanels:
    """The steps of `panel_degree` on a CUDA device."""

    def split_rows(self, x: torch.Tensor, planes: int) -> tuple[torch.Tensor, torch.Tensor]:
        n, d = x.shape
        pitch = _native.split_rows_cuda_pitch(d)
        split = torch.empty((n, planes, pitch), dtype=torch.bfloat16, device=x.device)
        sums = torch.zeros(n + 1, dtype=torch.int64, device=x.device)
        scratch = _scratch(_native.split_rows_cuda_scratch(n), x)
        _native.split_rows_cuda(
            x.data_ptr(),
            n,
            d,
            planes,
            split.data_ptr(),
            sums[n:].data_ptr(),
            scratch.data_ptr(),
            *_stream(x),
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
            *_stream(panel),
        )

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        n = len(sums) - 1
        degree = torch.empty(n, dtype=torch.float32, device=sums.device)
        _native.degree_finish_cuda(
            sums.data_ptr(), sums[n:].data_ptr(), n, degree.data_ptr(), *_stream(sums)
        )
        return degree


def _sm90_degree(x: torch.Tensor, edge: str, planes: int) -> torch.Tensor:
    kernels = _CudaPanels()
    split, sums = kernels.split_rows(x, planes)
    n, _, pitch = split.shape
    _native.sm90_degree_cuda(
        split.data_ptr(),
        planes,
        n,
        pitch,
        EDGES.index(edge),
        sums[n:].data_ptr(),
        sums.data_ptr(),
        *_stream(x),
    )
    return kernels.finish(sums)


def _cuda_route(x: torch.Tensor, edge: str, precision: str | None) -> str:
    """Return how the degree of (..., n, d) is computed: "closed", "gram" or a `DEGREE_ROUTES`."""
    n, d = x.shape[-2:]
    route = _native.weighted_degree_cuda_route(n, d, EDGES.index(edge))
    if route != "tiles" or n == 0 or compute_dtype(x) == torch.float64:
        return route
    asked = os.environ.get(DEGREE_ROUTE)
    if asked is not None and asked not in DEGREE_ROUTES:
        raise ValueError(f"{DEGREE_ROUTE} must be one of {', '.join(DEGREE_ROUTES)}; got {asked!r}")
    if asked == "sm90" and not _native.sm90_available(_stream(x)[0]):
        raise RuntimeError(
            f"{DEGREE_ROUTE}=sm90 needs a device of compute capability 9.0; x is on {x.device}"
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


# --- sum of distances -----------------------------------------------------------------------------
def _distance_sum_cpu(x: torch.Tensor) -> torch.Tensor:
    x = _dense(x)
    n, d = x.shape
    threads = torch.get_num_threads()
    sums = torch.empty(n, dtype=torch.float64)
    scratch = _scratch(_native.distance_sum_cpu_scratch(_is_double(x), n, d, threads), x)
    _native.distance_sum_cpu(
        _is_double(x), x.data_ptr(), n, d, sums.data_ptr(), scratch.data_ptr(), threads
    )
    return sums


def _distance_sum_cuda(x: torch.Tensor) -> torch.Tensor:
    x = _dense(x)
    n, d = x.shape
    sums = torch.empty(n, dtype=torch.float64, device=x.device)
    scratch = _scratch(_native.distance_sum_cuda_scratch(n, d, _is_double(x)), x)
    _native.distance_sum_cuda(
        _is_double(x), x.data_ptr(), n, d, sums.data_ptr(), scratch.data_ptr(), *_stream(x)
    )
    return sums


def _distance_sum_fake(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[:1], dtype=torch.float64)


# --- greedy degree --------------------------------------------------------------------------------
def _greedy_degree_cpu(
    x: torch.Tensor, edge: str = "signed", count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    x = _dense(x)
    n, d = x.shape
    threads = torch.get_num_threads()
    order = torch.empty(n, dtype=torch.int64)
    degree = torch.empty(n, dtype=torch.float64)
    scratch = _scratch(_native.greedy_degree_cpu_scratch(_is_double(x), n, d, threads), x)
    _native.greedy_degree_cpu(
        _is_double(x),
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
    # n steps that wait for each other, each too small for a device: the processor walks.
    order, degree = _greedy_degree_cpu(x.cpu(), edge, count)
    return order.to(x.device), degree.to(x.device)


def _greedy_degree_fake(
    x: torch.Tensor, edge: str = "signed", count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    n = x.shape[:1]
    return x.new_empty(n, dtype=torch.int64), x.new_empty(n, dtype=torch.float64)


# --- nearest --------------------------------------------------------------------------------------
def _nearest_cpu(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = _dense(x)
    batch, n, d = _rows(x)
    threads = torch.get_num_threads()
    similarity = torch.empty(x.shape[:-1], dtype=x.dtype)
    index = torch.empty(x.shape[:-1], dtype=torch.int64)
    scratch = _scratch(_native.nearest_cpu_scratch(_is_double(x), n, d, threads), x)
    _native.nearest_cpu(
        _is_double(x),
        x.data_ptr(),
        batch,
        n,
        d,
        similarity.data_ptr(),
        index.data_ptr(),
        scratch.data_ptr(),
        threads,
    )
    return similarity, index


def _nearest_cuda(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = _dense(x)
    batch, n, d = _rows(x)
    similarity = torch.empty(x.shape[:-1], dtype=x.dtype, device=x.device)
    index = torch.empty(x.shape[:-1], dtype=torch.int64, device=x.device)
    scratch = _scratch(_native.nearest_cuda_scratch(batch, n, d, _is_double(x)), x)
    _native.nearest_cuda(
        _is_double(x),
        x.data_ptr(),
        batch,
        n,
        d,
        similarity.data_ptr(),
        index.data_ptr(),
        scratch.data_ptr(),
        *_stream(x),
    )
    return similarity, index


def _nearest_fake(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    similarity = x.new_empty(x.shape[:-1], dtype=compute_dtype(x))
    return similarity, x.new_empty(x.shape[:-1], dtype=torch.int64)


# --- Nystroem: columns of the graph, and which rows represent the others --------------------------
def _nystrom_columns_cpu(
    x: torch.Tensor, landmarks: torch.Tensor, edge: str = "signed"
) -> torch.Tensor:
    x, landmarks = _dense(x), landmarks.contiguous()
    batch, n, d = _rows(x)
    m = landmarks.shape[-1]
    threads = torch.get_num_threads()
    columns = _nystrom_columns_fake(x, landmarks)
    scratch = _scratch(_native.nystrom_columns_cpu_scratch(_is_double(x), m, d, threads), x)
    _native.nystrom_columns_cpu(
        _is_double(x),
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
    columns = _pairwise_cosine_cuda(x, chosen, edge)
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
    scratch = _scratch(_native.pivoted_cholesky_cpu_scratch(n), work)
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
    # One pivot waits for the one before: the host is the right place for it.
    order, residual, rank = _pivoted_cholesky_cpu(a.cpu(), tolerance)
    return order.to(a.device), residual.to(a.device), rank.to(a.device)


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
    accepted = torch.empty(len(work), dtype=torch.int64)
    taken = _native.rejection_cholesky_cpu(
        work.data_ptr(), draws.data_ptr(), len(work), tolerance, accepted.data_ptr()
    )
    return accepted[:taken]


# --- eigenvector centrality -----------------------------------------------------------------------
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
    x = _dense(x)
    batch, n, d = _rows(x)
    threads = torch.get_num_threads()
    code = EDGES.index(edge)
    vector = torch.empty(x.shape[:-1], dtype=x.dtype)
    scratch = _scratch(
        _native.eigenvector_centrality_cpu_scratch(_is_double(x), n, d, code, max_iter, threads), x
    )
    scaled = _scaled_start(start)
    converged, residual = _native.eigenvector_centrality_cpu(
        _is_double(x),
        x.data_ptr(),
        batch,
        n,
        d,
        code,
        _address(scaled),
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
    stored = "products with the stored graph"
    if x.is_cuda:
        return f"{stored} on the GPU"
    code = EDGES.index(edge)
    route = _native.eigenvector_centrality_cpu_route(compute_dtype(x) == torch.float64, n, d, code)
    through = "the d x d Gram matrix" if edge == "squared" else "the sum of the rows"
    return {
        "implicit": f"implicit products through {through}, the graph is never formed",
        "stored": stored,
        "tiles": "products with the graph, tiles of it computed again for each",
    }[route]


def _eigenvector_centrality_cuda(
    x: torch.Tensor,
    edge: str = "abs",
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    # As on the CPU: rounding leaves this much of a graph without edges.
    noise = 8.0 * torch.finfo(compute_dtype(x)).eps
    graph = _pairwise_cosine_cuda(x, None, edge, zero_diagonal=True)
    return _leading_eigenvector_cuda(graph, start, tol, noise, max_iter)


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
    weights = _dense(weights)
    batch, n, _ = _rows(weights)
    threads = torch.get_num_threads()
    vector = torch.empty(weights.shape[:-1], dtype=weights.dtype)
    scratch = _scratch(
        _native.graph_eigenvector_centrality_cpu_scratch(_is_double(weights), n, max_iter, threads),
        weights,
    )
    scaled = _scaled_start(start)
    converged, residual = _native.graph_eigenvector_centrality_cpu(
        _is_double(weights),
        weights.data_ptr(),
        batch,
        n,
        _address(scaled),
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
    return _leading_eigenvector_cuda(_dense(weights), start, tol, 0.0, max_iter)


def _leading_eigenvector_cuda(
    weights: torch.Tensor, start: torch.Tensor | None, tol: float, noise: float, max_iter: int
) -> torch.Tensor:
    batch, n, _ = _rows(weights)
    vector = torch.empty(weights.shape[:-1], dtype=weights.dtype, device=weights.device)
    converged = torch.ones(batch, dtype=torch.int64, device=weights.device)
    residual = torch.zeros(batch, dtype=torch.float64, device=weights.device)
    scratch = _scratch(_native.graph_eigenvector_centrality_cuda_scratch(batch, n), weights)
    scaled = _scaled_start(start)
    _native.graph_eigenvector_centrality_cuda(
        _is_double(weights),
        weights.data_ptr(),
        batch,
        n,
        _address(scaled),
        tol,
        noise,
        max_iter,
        vector.data_ptr(),
        converged.data_ptr(),
        residual.data_ptr(),
        scratch.data_ptr(),
        *_stream(weights),
    )
    # The kernels never wait; this check does. A capture cannot: there, what failed is NaN.
    if not torch.cuda.is_current_stream_capturing() and not bool(converged.all()):
        _raise_unconverged(float(residual.max()), tol, max_iter)
    return vector


def _graph_eigenvector_centrality_fake(
    weights: torch.Tensor,
    tol: float = 1e-6,
    max_iter: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    return weights.new_empty(weights.shape[:-1], dtype=compute_dtype(weights))


# --- betweenness and closeness centrality ---------------------------------------------------------
# Sources in one kernel call, for each thread: what a progress bar moves by. At the end of a call
# threads wait for the last block, which costs 1 % of 64 sources (simulated from the times of single
# sources). A multiple of the kernel's blocks of sources, so that it cannot change a sum.
_SOURCES_PER_CALL = 128


def _path_graphs(lengths: torch.Tensor, threads: int) -> Iterator[torch.Tensor]:
    """Yield each of the (..., n, n) graphs, packed, in the same memory."""
    batch, n, _ = _rows(lengths)
    scratch = _scratch(_native.path_graph_cpu_scratch(n), lengths)
    for graph in lengths.double().contiguous().reshape(batch, n, n):
        _native.path_graph_cpu(
            graph.data_ptr() or scratch.data_ptr(), n, scratch.data_ptr(), threads
        )
        yield scratch


def _betweenness_centrality_cpu(
    lengths: torch.Tensor, normalized: bool = True, sources: Sequence[int] | None = None
) -> torch.Tensor:
    batch, n, _ = _rows(lengths)
    threads = torch.get_num_threads()
    chosen = list(range(n) if sources is None else sources)
    step = _SOURCES_PER_CALL * threads
    sums = torch.zeros((batch, n), dtype=torch.float64)
    size = _native.betweenness_centrality_cpu_scratch(n, min(step, len(chosen)), threads)
    scratch = _scratch(size, lengths)
    with progress_bar("betweenness centrality", batch * len(chosen)) as report:
        for at, graph in enumerate(_path_graphs(lengths, threads)):
            for first in range(0, len(chosen), step):
                last = min(first + step, len(chosen))
                _native.betweenness_centrality_cpu(
                    graph.data_ptr(),
                    n,
                    chosen,
                    first,
                    last,
                    sums[at].data_ptr(),
                    scratch.data_ptr(),
                    threads,
                )
                report(at * len(chosen) + last)
    if n > 2:
        sums *= _betweenness_scale(n, normalized, chosen)
    return sums.reshape(lengths.shape[:-1]).to(compute_dtype(lengths))


def _betweenness_scale(n: int, normalized: bool, sources: list[int]) -> torch.Tensor:
    """Return what the sums of dependencies (n,) are multiplied by.

    Every pair is counted from both ends, and k of n sources see a part of the pairs: of those that
    do not end at the node, k / (n - 1), or (k - 1) / (n - 1) where it is a source itself.
    """
    pairs = (n - 1.0) * (n - 2.0) / 2.0 if normalized else 1.0
    scale = torch.full((n,), 0.5 / pairs, dtype=torch.float64)
    if len(sources) < n:
        others = torch.full_like(scale, len(sources))
        others[sources] -= 1.0
        scale *= torch.where(others > 0.0, (n - 1.0) / others, torch.nan)
    return scale


def _closeness_centrality_cpu(lengths: torch.Tensor) -> torch.Tensor:
    batch, n, _ = _rows(lengths)
    threads = torch.get_num_threads()
    step = _SOURCES_PER_CALL * threads
    closeness = torch.zeros((batch, n), dtype=torch.float64)
    scratch = _scratch(_native.closeness_centrality_cpu_scratch(n, threads), lengths)
    with progress_bar("closeness centrality", batch * n) as report:
        for at, graph in enumerate(_path_graphs(lengths, threads)):
            for first in range(0, n, step):
                last = min(first + step, n)
                _native.closeness_centrality_cpu(
                    graph.data_ptr(),
                    n,
                    first,
                    last,
                    closeness[at].data_ptr(),
                    scratch.data_ptr(),
                    threads,
                )
                report(at * n + last)
    return closeness.reshape(lengths.shape[:-1]).to(compute_dtype(lengths))


def _betweenness_centrality_cuda(
    lengths: torch.Tensor, normalized: bool = True, sources: Sequence[int] | None = None
) -> torch.Tensor:
    given, lengths = lengths, lengths.double().contiguous()
    batch, n, _ = _rows(lengths)
    device = lengths.device
    # A list of sources is copied to the device, which a graph capture does not allow.
    chosen = (
        torch.arange(n, device=device)
        if sources is None
        else torch.tensor(sources, dtype=torch.int64, device=device)
    )
    sums = torch.empty((batch, n), dtype=torch.float64, device=device)
    size = _native.betweenness_centrality_cuda_scratch(n, len(chosen))
    scratch = _scratch(size, lengths)
    for graph, graph_sums in zip(lengths.reshape(batch, n, n), sums, strict=True):
        _native.betweenness_centrality_cuda(
            graph.data_ptr(),
            n,
            chosen.data_ptr() or scratch.data_ptr(),
            len(chosen),
            graph_sums.data_ptr(),
            scratch.data_ptr(),
            *_stream(lengths),
        )
    if n > 2:
        if sources is None:
            sums *= 1.0 / ((n - 1.0) * (n - 2.0)) if normalized else 0.5
        else:
            sums *= _betweenness_scale(n, normalized, list(sources)).to(device)
    return sums.reshape(lengths.shape[:-1]).to(compute_dtype(given))


def _closeness_centrality_cuda(lengths: torch.Tensor) -> torch.Tensor:
    given, lengths = lengths, lengths.double().contiguous()
    batch, n, _ = _rows(lengths)
    closeness = torch.empty((batch, n), dtype=torch.float64, device=lengths.device)
    scratch = _scratch(_native.closeness_centrality_cuda_scratch(n), lengths)
    for graph, graph_closeness in zip(lengths.reshape(batch, n, n), closeness, strict=True):
        _native.closeness_centrality_cuda(
            graph.data_ptr(),
            n,
            graph_closeness.data_ptr(),
            scratch.data_ptr(),
            *_stream(lengths),
        )
    return closeness.reshape(lengths.shape[:-1]).to(compute_dtype(given))


def _betweenness_centrality_fake(
    lengths: torch.Tensor, normalized: bool = True, sources: Sequence[int] | None = None
) -> torch.Tensor:
    return lengths.new_empty(lengths.shape[:-1], dtype=compute_dtype(lengths))


def _closeness_centrality_fake(lengths: torch.Tensor) -> torch.Tensor:
    return lengths.new_empty(lengths.shape[:-1], dtype=compute_dtype(lengths))


for _name, _cpu, _cuda, _fake in (
    ("row_norms", _row_norms_cpu, _row_norms_cuda, _row_norms_fake),
    ("rank1_vectors", _rank1_vectors_cpu, _rank1_vectors_cuda, _rank1_vectors_fake),
    ("spectral_norms", _spectral_norms_cpu, _spectral_norms_cuda, _spectral_norms_fake),
    ("pairwise_cosine", _pairwise_cosine_cpu, _pairwise_cosine_cuda, _pairwise_cosine_fake),
    (
        "pairwise_cosine_out",
        _pairwise_cosine_out_cpu,
        _pairwise_cosine_out_cuda,
        _pairwise_cosine_out_fake,
    ),
    ("weighted_degree", _weighted_degree_cpu, _weighted_degree_cuda, _weighted_degree_fake),
    ("distance_sum", _distance_sum_cpu, _distance_sum_cuda, _distance_sum_fake),
    ("nystrom_columns", _nystrom_columns_cpu, _nystrom_columns_cuda, _nystrom_columns_fake),
    ("pivoted_cholesky", _pivoted_cholesky_cpu, _pivoted_cholesky_cuda, _pivoted_cholesky_fake),
    ("greedy_degree", _greedy_degree_cpu, _greedy_degree_cuda, _greedy_degree_fake),
    ("nearest", _nearest_cpu, _nearest_cuda, _nearest_fake),
    (
        "eigenvector_centrality",
        _eigenvector_centrality_cpu,
        _eigenvector_centrality_cuda,
        _eigenvector_centrality_fake,
    ),
    (
        "graph_eigenvector_centrality",
        _graph_eigenvector_centrality_cpu,
        _graph_eigenvector_centrality_cuda,
        _graph_eigenvector_centrality_fake,
    ),
    (
        "betweenness_centrality",
        _betweenness_centrality_cpu,
        _betweenness_centrality_cuda,
        _betweenness_centrality_fake,
    ),
    (
        "closeness_centrality",
        _closeness_centrality_cpu,
        _closeness_centrality_cuda,
        _closeness_centrality_fake,
    ),
):
    library.impl(_name, _cpu, "CPU")
    library.impl(_name, _cuda, "CUDA")
    torch.library.register_fake(f"hubprune::{_name}", _fake, lib=library)
