# SPDX-License-Identifier: MIT
"""Operators of the centralities of shortest paths: betweenness, closeness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from .. import _native
from ..arguments import compute_dtype
from ..progress import progress_bar
from .registration import register, take_batches
from .tensors import batch_rows, scratch_tensor, stream_of

# Sources in one kernel call, for each thread: what a progress bar moves by. At the end of a call
# threads wait for the last block, which costs 1 % of 64 sources (simulated from the times of single
# sources). A multiple of the kernel's blocks of sources, so that it cannot change a sum.
_SOURCES_PER_CALL = 128


def _path_graphs(lengths: torch.Tensor, threads: int) -> Iterator[torch.Tensor]:
    """Yield each of the (..., n, n) graphs, packed, in the same memory."""
    batch, n, _ = batch_rows(lengths)
    scratch = scratch_tensor(_native.path_graph_cpu_scratch(n), lengths)
    for graph in lengths.double().contiguous().reshape(batch, n, n):
        _native.path_graph_cpu(
            graph.data_ptr() or scratch.data_ptr(), n, scratch.data_ptr(), threads
        )
        yield scratch


def _betweenness_centrality_cpu(
    lengths: torch.Tensor, normalized: bool = True, sources: Sequence[int] | None = None
) -> torch.Tensor:
    batch, n, _ = batch_rows(lengths)
    threads = torch.get_num_threads()
    chosen = list(range(n) if sources is None else sources)
    step = _SOURCES_PER_CALL * threads
    sums = torch.zeros((batch, n), dtype=torch.float64)
    size = _native.betweenness_centrality_cpu_scratch(n, min(step, len(chosen)), threads)
    scratch = scratch_tensor(size, lengths)
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
    batch, n, _ = batch_rows(lengths)
    threads = torch.get_num_threads()
    step = _SOURCES_PER_CALL * threads
    closeness = torch.zeros((batch, n), dtype=torch.float64)
    scratch = scratch_tensor(_native.closeness_centrality_cpu_scratch(n, threads), lengths)
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
    batch, n, _ = batch_rows(lengths)
    device = lengths.device
    # A list of sources is copied to the device, which a graph capture does not allow.
    chosen = (
        torch.arange(n, device=device)
        if sources is None
        else torch.tensor(sources, dtype=torch.int64, device=device)
    )
    sums = torch.empty((batch, n), dtype=torch.float64, device=device)
    size = _native.betweenness_centrality_cuda_scratch(n, len(chosen))
    scratch = scratch_tensor(size, lengths)
    for graph, graph_sums in zip(lengths.reshape(batch, n, n), sums, strict=True):
        _native.betweenness_centrality_cuda(
            graph.data_ptr(),
            n,
            chosen.data_ptr() or scratch.data_ptr(),
            len(chosen),
            graph_sums.data_ptr(),
            scratch.data_ptr(),
            *stream_of(lengths),
        )
    if n > 2:
        if sources is None:
            sums *= 1.0 / ((n - 1.0) * (n - 2.0)) if normalized else 0.5
        else:
            sums *= _betweenness_scale(n, normalized, list(sources)).to(device)
    return sums.reshape(lengths.shape[:-1]).to(compute_dtype(given))


def _closeness_centrality_cuda(lengths: torch.Tensor) -> torch.Tensor:
    given, lengths = lengths, lengths.double().contiguous()
    batch, n, _ = batch_rows(lengths)
    closeness = torch.empty((batch, n), dtype=torch.float64, device=lengths.device)
    scratch = scratch_tensor(_native.closeness_centrality_cuda_scratch(n), lengths)
    for graph, graph_closeness in zip(lengths.reshape(batch, n, n), closeness, strict=True):
        _native.closeness_centrality_cuda(
            graph.data_ptr(),
            n,
            graph_closeness.data_ptr(),
            scratch.data_ptr(),
            *stream_of(lengths),
        )
    return closeness.reshape(lengths.shape[:-1]).to(compute_dtype(given))


def _betweenness_centrality_fake(
    lengths: torch.Tensor, normalized: bool = True, sources: Sequence[int] | None = None
) -> torch.Tensor:
    return lengths.new_empty(lengths.shape[:-1], dtype=compute_dtype(lengths))


def _closeness_centrality_fake(lengths: torch.Tensor) -> torch.Tensor:
    return lengths.new_empty(lengths.shape[:-1], dtype=compute_dtype(lengths))


register(
    "betweenness_centrality(Tensor lengths, bool normalized=True, int[]? sources=None) -> Tensor",
    _betweenness_centrality_cpu,
    _betweenness_centrality_cuda,
    _betweenness_centrality_fake,
)
register(
    "closeness_centrality(Tensor lengths) -> Tensor",
    _closeness_centrality_cpu,
    _closeness_centrality_cuda,
    _closeness_centrality_fake,
)
take_batches("betweenness_centrality")
take_batches("closeness_centrality")
