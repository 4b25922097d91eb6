# SPDX-License-Identifier: MIT
"""Operators on weights: row norms, rank-1 filter vectors, spectral norms."""

from __future__ import annotations

import torch

from .. import _native
from ..arguments import compute_dtype
from .registration import register, take_batches, take_more_rows
from .tensors import (
    by_dtype,
    by_dtype_and_device,
    dense_tensor,
    in_double,
    scratch_tensor,
    stream_of,
    where_each_lives,
)


# --- row norms ------------------------------------------------------------------------------------
def _row_norms_cpu(x: torch.Tensor) -> torch.Tensor:
    x = dense_tensor(x)
    norms = torch.empty(x.shape[:-1], dtype=x.dtype)
    _native.row_norms_cpu(
        in_double(x),
        x.data_ptr(),
        norms.numel(),
        x.shape[-1],
        norms.data_ptr(),
        torch.get_num_threads(),
    )
    return norms


def _row_norms_cuda(x: torch.Tensor) -> torch.Tensor:
    x = dense_tensor(x)
    norms = torch.empty(x.shape[:-1], dtype=x.dtype, device=x.device)
    scratch = scratch_tensor(_native.row_norms_cuda_scratch(norms.numel()), x)
    _native.row_norms_cuda(
        in_double(x),
        x.data_ptr(),
        norms.numel(),
        x.shape[-1],
        norms.data_ptr(),
        scratch.data_ptr(),
        *stream_of(x),
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
    for is_double, positions in by_dtype(weights):
        dense = [dense_tensor(weights[at]) for at in positions]
        layers = [
            (weight.data_ptr(), *weight.shape, vectors[at].data_ptr(), norms[at].data_ptr())
            for weight, at in zip(dense, positions, strict=True)
        ]
        scratch = scratch_tensor(
            _native.filter_vectors_cpu_scratch(is_double, layers, threads), dense[0]
        )
        out_double = is_double or dtype == torch.float64
        _native.filter_vectors_cpu(
            is_double, out_double, layers, scratch.data_ptr(), threads, spectral
        )
    return vectors, norms


def _rank1_vectors_cuda(
    weights: list[torch.Tensor], dtype: torch.dtype | None = None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    vectors, norms = _rank1_vectors_fake(weights, dtype)
    for is_double, positions in by_dtype_and_device(weights):
        dense = [dense_tensor(weights[at]) for at in positions]
        layers = [
            (weight.data_ptr(), *weight.shape, vectors[at].data_ptr(), norms[at].data_ptr())
            for weight, at in zip(dense, positions, strict=True)
        ]
        scratch = scratch_tensor(_native.filter_vectors_cuda_scratch(layers), dense[0])
        out_double = is_double or dtype == torch.float64
        _native.filter_vectors_cuda(
            is_double, out_double, layers, scratch.data_ptr(), *stream_of(dense[0])
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


register(
    "row_norms(Tensor x) -> Tensor",
    _row_norms_cpu,
    _row_norms_cuda,
    _row_norms_fake,
)
# Lists: all the layers of a model in one call. Norms come in float64, from the same read.
register(
    "rank1_vectors(Tensor[] weights, ScalarType? dtype=None) -> (Tensor[] vectors, Tensor[] norms)",
    _rank1_vectors_cpu,
    where_each_lives(_rank1_vectors_cpu, _rank1_vectors_cuda),
    _rank1_vectors_fake,
)
register(
    "spectral_norms(Tensor[] weights) -> Tensor[]",
    _spectral_norms_cpu,
    where_each_lives(_spectral_norms_cpu, _spectral_norms_cuda),
    _spectral_norms_fake,
)
take_batches("row_norms")
take_more_rows("rank1_vectors")
take_more_rows("spectral_norms")
