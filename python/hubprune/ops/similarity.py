# SPDX-License-Identifier: MIT
"""Operators on pairs of rows: cosines, the nearest other row, sums of distances."""

from __future__ import annotations

import torch
from torch.autograd.graph import increment_version

from .. import _native
from ..arguments import EDGES, compute_dtype
from .registration import register, take_batches
from .tensors import (
    batch_rows,
    dense_tensor,
    given_address,
    in_double,
    scratch_tensor,
    stream_of,
)


# --- pairwise cosine ------------------------------------------------------------------------------
def _cosine_shape(x: torch.Tensor, y: torch.Tensor | None) -> tuple[int, ...]:
    return (*x.shape[:-1], x.shape[-2] if y is None else y.shape[-2])


def _pairwise_cosine_cpu(
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
    nan_zero_rows: bool = False,
) -> torch.Tensor:
    out = torch.empty(_cosine_shape(x, y), dtype=compute_dtype(x))
    _write_cosines_cpu(x, y, edge, zero_diagonal, out, nan_zero_rows)
    return out


def _pairwise_cosine_out_cpu(
    x: torch.Tensor, y: torch.Tensor | None, edge: str, zero_diagonal: bool, *, out: torch.Tensor
) -> None:
    _check_apart(x, y, out)
    increment_version(out)  # where a gradient needs what was there, autograd must say so
    _write_cosines_cpu(x, y, edge, zero_diagonal, out)


def _write_cosines_cpu(
    x: torch.Tensor,
    y: torch.Tensor | None,
    edge: str,
    zero_diagonal: bool,
    out: torch.Tensor,
    nan_zero_rows: bool = False,
) -> None:
    x = dense_tensor(x)
    y = None if y is None else dense_tensor(y)
    batch, n, d = batch_rows(x)
    m = n if y is None else y.shape[-2]
    threads = torch.get_num_threads()
    scratch = scratch_tensor(
        _native.pairwise_cosine_cpu_scratch(in_double(x), n, m, d, y is None, threads), x
    )
    _native.pairwise_cosine_cpu(
        in_double(x),
        x.data_ptr(),
        given_address(y, scratch),
        batch,
        n,
        m,
        d,
        EDGES.index(edge),
        zero_diagonal,
        nan_zero_rows and d > 0,  # in no features there is nothing to divide
        out.data_ptr(),
        scratch.data_ptr(),
        threads,
    )


def _check_apart(x: torch.Tensor, y: torch.Tensor | None, out: torch.Tensor) -> None:
    for name, source in (("x", x), ("y", y)):
        if source is not None and _overlap(source, out):
            raise ValueError(f"out must not share memory with {name}")


def _overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether the memory from the first to the last element of a meets that of b."""
    if not a.numel() or not b.numel():
        return False
    # By address: two arrays of one buffer have storages of their own.
    return a.data_ptr() < _end(b) and b.data_ptr() < _end(a)


def _end(x: torch.Tensor) -> int:
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr() + (last + 1) * x.element_size()


def pairwise_cosine_cuda(
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
    nan_zero_rows: bool = False,
) -> torch.Tensor:
    out = torch.empty(_cosine_shape(x, y), dtype=compute_dtype(x), device=x.device)
    _write_cosines_cuda(x, y, edge, zero_diagonal, out, nan_zero_rows)
    return out


def _pairwise_cosine_out_cuda(
    x: torch.Tensor, y: torch.Tensor | None, edge: str, zero_diagonal: bool, *, out: torch.Tensor
) -> None:
    _check_apart(x, y, out)
    increment_version(out)
    _write_cosines_cuda(x, y, edge, zero_diagonal, out)


def _write_cosines_cuda(
    x: torch.Tensor,
    y: torch.Tensor | None,
    edge: str,
    zero_diagonal: bool,
    out: torch.Tensor,
    nan_zero_rows: bool = False,
) -> None:
    x = dense_tensor(x)
    y = None if y is None else dense_tensor(y)
    batch, n, d = batch_rows(x)
    m = n if y is None else y.shape[-2]
    scratch = scratch_tensor(
        _native.pairwise_cosine_cuda_scratch(batch, n, m, d, y is None, in_double(x)), x
    )
    _native.pairwise_cosine_cuda(
        in_double(x),
        x.data_ptr(),
        given_address(y, scratch),
        batch,
        n,
        m,
        d,
        EDGES.index(edge),
        zero_diagonal,
        nan_zero_rows and d > 0,  # in no features there is nothing to divide
        out.data_ptr(),
        scratch.data_ptr(),
        *stream_of(x),
    )


def _pairwise_cosine_fake(
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
    nan_zero_rows: bool = False,
) -> torch.Tensor:
    return x.new_empty(_cosine_shape(x, y), dtype=compute_dtype(x))


def _pairwise_cosine_out_fake(
    x: torch.Tensor, y: torch.Tensor | None, edge: str, zero_diagonal: bool, *, out: torch.Tensor
) -> None:
    return None


# --- sum of distances -----------------------------------------------------------------------------
def _distance_sum_cpu(x: torch.Tensor) -> torch.Tensor:
    x = dense_tensor(x)
    n, d = x.shape
    threads = torch.get_num_threads()
    sums = torch.empty(n, dtype=torch.float64)
    scratch = scratch_tensor(_native.distance_sum_cpu_scratch(in_double(x), n, d, threads), x)
    _native.distance_sum_cpu(
        in_double(x), x.data_ptr(), n, d, sums.data_ptr(), scratch.data_ptr(), threads
    )
    return sums


def _distance_sum_cuda(x: torch.Tensor) -> torch.Tensor:
    x = dense_tensor(x)
    n, d = x.shape
    sums = torch.empty(n, dtype=torch.float64, device=x.device)
    scratch = scratch_tensor(_native.distance_sum_cuda_scratch(n, d, in_double(x)), x)
    _native.distance_sum_cuda(
        in_double(x),
        x.data_ptr(),
        n,
        d,
        sums.data_ptr(),
        scratch.data_ptr(),
        *stream_of(x),
    )
    return sums


def _distance_sum_fake(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[:1], dtype=torch.float64)


# --- nearest --------------------------------------------------------------------------------------
def _nearest_cpu(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = dense_tensor(x)
    batch, n, d = batch_rows(x)
    threads = torch.get_num_threads()
    similarity = torch.empty(x.shape[:-1], dtype=x.dtype)
    index = torch.empty(x.shape[:-1], dtype=torch.int64)
    scratch = scratch_tensor(_native.nearest_cpu_scratch(in_double(x), n, d, threads), x)
    _native.nearest_cpu(
        in_double(x),
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
    x = dense_tensor(x)
    batch, n, d = batch_rows(x)
    similarity = torch.empty(x.shape[:-1], dtype=x.dtype, device=x.device)
    index = torch.empty(x.shape[:-1], dtype=torch.int64, device=x.device)
    scratch = scratch_tensor(_native.nearest_cuda_scratch(batch, n, d, in_double(x)), x)
    _native.nearest_cuda(
        in_double(x),
        x.data_ptr(),
        batch,
        n,
        d,
        similarity.data_ptr(),
        index.data_ptr(),
        scratch.data_ptr(),
        *stream_of(x),
    )
    return similarity, index


def _nearest_fake(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    similarity = x.new_empty(x.shape[:-1], dtype=compute_dtype(x))
    return similarity, x.new_empty(x.shape[:-1], dtype=torch.int64)


register(
    "pairwise_cosine(Tensor x, Tensor? y=None, str edge='signed', bool zero_diagonal=False,"
    " bool nan_zero_rows=False) -> Tensor",
    _pairwise_cosine_cpu,
    pairwise_cosine_cuda,
    _pairwise_cosine_fake,
)
register(
    "pairwise_cosine_out(Tensor x, Tensor? y, str edge, bool zero_diagonal, *, Tensor(a!) out)"
    " -> ()",
    _pairwise_cosine_out_cpu,
    _pairwise_cosine_out_cuda,
    _pairwise_cosine_out_fake,
)
register(
    "distance_sum(Tensor x) -> Tensor",
    _distance_sum_cpu,
    _distance_sum_cuda,
    _distance_sum_fake,
)
register(
    "nearest(Tensor x) -> (Tensor, Tensor)",
    _nearest_cpu,
    _nearest_cuda,
    _nearest_fake,
)
take_batches("pairwise_cosine")
take_batches("nearest")
