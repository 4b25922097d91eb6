"""
Kernels of hubprune on raw memory. Use the functions of the hubprune package instead.
"""
from __future__ import annotations
import collections.abc
import typing
__all__: list[str] = ['STORED_GRAPH_BYTES', 'add_panel_cuda', 'betweenness_centrality_cpu', 'betweenness_centrality_cpu_scratch', 'betweenness_centrality_cuda', 'betweenness_centrality_cuda_scratch', 'closeness_centrality_cpu', 'closeness_centrality_cpu_scratch', 'closeness_centrality_cuda', 'closeness_centrality_cuda_scratch', 'cuda_built', 'cuda_device_count', 'cuda_runtime_version', 'degree_finish_cuda', 'distance_sum_cpu', 'distance_sum_cpu_scratch', 'distance_sum_cuda', 'distance_sum_cuda_scratch', 'eigenvector_centrality_cpu', 'eigenvector_centrality_cpu_route', 'eigenvector_centrality_cpu_scratch', 'eigenvector_centrality_cuda', 'eigenvector_centrality_cuda_route', 'eigenvector_centrality_cuda_scratch', 'filter_vectors_cpu', 'filter_vectors_cpu_scratch', 'filter_vectors_cuda', 'filter_vectors_cuda_scratch', 'graph_eigenvector_centrality_cpu', 'graph_eigenvector_centrality_cpu_scratch', 'graph_eigenvector_centrality_cuda', 'graph_eigenvector_centrality_cuda_scratch', 'greedy_degree_cpu', 'greedy_degree_cpu_scratch', 'greedy_degree_cuda', 'greedy_degree_cuda_scratch', 'mma_degree_cuda', 'mma_degree_cuda_scratch', 'multiply_add_cpu', 'nearest_cpu', 'nearest_cpu_scratch', 'nearest_cuda', 'nearest_cuda_scratch', 'nystrom_columns_cpu', 'nystrom_columns_cpu_scratch', 'pairwise_cosine_cpu', 'pairwise_cosine_cpu_scratch', 'pairwise_cosine_cuda', 'pairwise_cosine_cuda_scratch', 'path_graph_cpu', 'path_graph_cpu_scratch', 'pivoted_cholesky_cpu', 'pivoted_cholesky_cpu_scratch', 'pivoted_cholesky_cuda', 'pivoted_cholesky_cuda_scratch', 'read_memory_cpu', 'rejection_cholesky_cpu', 'request_large_pages', 'row_norms_cpu', 'row_norms_cuda', 'row_norms_cuda_scratch', 'select_simd_level', 'simd_level', 'simd_levels', 'sm90_available', 'sm90_degree_cuda', 'sm90_degree_cuda_scratch', 'split_rows_cuda', 'split_rows_cuda_pitch', 'weighted_degree_cpu', 'weighted_degree_cpu_route', 'weighted_degree_cpu_scratch', 'weighted_degree_cuda', 'weighted_degree_cuda_route', 'weighted_degree_cuda_scratch']
def add_panel_cuda(products: typing.SupportsInt | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex, stride: typing.SupportsInt | typing.SupportsIndex, first: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, nonfinite: typing.SupportsInt | typing.SupportsIndex, sums: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def betweenness_centrality_cpu(graph: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, sources: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], first: typing.SupportsInt | typing.SupportsIndex, last: typing.SupportsInt | typing.SupportsIndex, sum: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Add the dependencies on sources[first:last] to sum; first is a multiple of 4.
    """
def betweenness_centrality_cpu_scratch(n: typing.SupportsInt | typing.SupportsIndex, sources: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def betweenness_centrality_cuda(lengths: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, sources: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex, sums: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Sources, on the device, must be below n: they are not checked.
    """
def betweenness_centrality_cuda_scratch(n: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def closeness_centrality_cpu(graph: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, first: typing.SupportsInt | typing.SupportsIndex, last: typing.SupportsInt | typing.SupportsIndex, closeness: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Write the closeness of nodes [first, last).
    """
def closeness_centrality_cpu_scratch(n: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def closeness_centrality_cuda(lengths: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, closeness: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def closeness_centrality_cuda_scratch(n: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def cuda_built() -> bool:
    """
    Whether this build holds CUDA kernels.
    """
def cuda_device_count() -> int:
    """
    Devices that the kernels could run on; 0 without a driver.
    """
def cuda_runtime_version() -> int:
    """
    The CUDA runtime linked in, as 1000 * major + 10 * minor; 0 without CUDA kernels.
    """
def degree_finish_cuda(sums: typing.SupportsInt | typing.SupportsIndex, nonfinite: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, degree: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def distance_sum_cpu(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, sums: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def distance_sum_cpu_scratch(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def distance_sum_cuda(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, sums: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def distance_sum_cuda_scratch(n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, is_double: bool) -> int:
    ...
def eigenvector_centrality_cpu(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, start: typing.SupportsInt | typing.SupportsIndex, tol: typing.SupportsFloat | typing.SupportsIndex, max_iter: typing.SupportsInt | typing.SupportsIndex, vector: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[bool, float]:
    """
    start: float64 (batch, n), 0 for none. Returns (converged, relative residual).
    """
def eigenvector_centrality_cpu_route(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    How the products with the graph would be computed: implicit, stored or tiles.
    """
def eigenvector_centrality_cpu_scratch(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, max_iter: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def eigenvector_centrality_cuda(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, tiles: bool, start: typing.SupportsInt | typing.SupportsIndex, tol: typing.SupportsFloat | typing.SupportsIndex, noise: typing.SupportsFloat | typing.SupportsIndex, max_iter: typing.SupportsInt | typing.SupportsIndex, first: typing.SupportsInt | typing.SupportsIndex, end: typing.SupportsInt | typing.SupportsIndex, vector: typing.SupportsInt | typing.SupportsIndex, converged: typing.SupportsInt | typing.SupportsIndex, residual: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    By tiles, or implicit where the edge and d allow it; start: float64 (batch, n), 0 for none; products first .. end - 1, in the scratch of those before.
    """
def eigenvector_centrality_cuda_route(is_double: bool, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    How the products with the graph would be computed: implicit, stored or tiles.
    """
def eigenvector_centrality_cuda_scratch(is_double: bool, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, tiles: bool) -> int:
    ...
def filter_vectors_cpu(is_double: bool, out_double: bool, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, spectral: bool = False) -> None:
    """
    layers: (weight, n, c, p, vectors, norms) each; spectral: operator norms, not Euclidean.
    """
def filter_vectors_cpu_scratch(is_double: bool, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    layers: (weight, n, c, p, vectors, norms) each.
    """
def filter_vectors_cuda(is_double: bool, out_double: bool, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def filter_vectors_cuda_scratch(layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]]) -> int:
    """
    layers: (weight, n, c, p, vectors, norms) each.
    """
def graph_eigenvector_centrality_cpu(is_double: bool, weights: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, start: typing.SupportsInt | typing.SupportsIndex, tol: typing.SupportsFloat | typing.SupportsIndex, max_iter: typing.SupportsInt | typing.SupportsIndex, vector: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[bool, float]:
    """
    start: float64 (batch, n), 0 for none. Returns (converged, relative residual).
    """
def graph_eigenvector_centrality_cpu_scratch(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, max_iter: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def graph_eigenvector_centrality_cuda(is_double: bool, weights: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, start: typing.SupportsInt | typing.SupportsIndex, tol: typing.SupportsFloat | typing.SupportsIndex, noise: typing.SupportsFloat | typing.SupportsIndex, max_iter: typing.SupportsInt | typing.SupportsIndex, first: typing.SupportsInt | typing.SupportsIndex, end: typing.SupportsInt | typing.SupportsIndex, vector: typing.SupportsInt | typing.SupportsIndex, converged: typing.SupportsInt | typing.SupportsIndex, residual: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Products first .. end - 1, in the scratch of those before.
    """
def graph_eigenvector_centrality_cuda_scratch(batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def greedy_degree_cpu(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex, order: typing.SupportsInt | typing.SupportsIndex, degree: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def greedy_degree_cpu_scratch(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def greedy_degree_cuda(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex, stored: bool, order: typing.SupportsInt | typing.SupportsIndex, degree: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    stored: keep the n x n graph in the scratch, else compute a removed row's weights again.
    """
def greedy_degree_cuda_scratch(n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, stored: bool, is_double: bool) -> int:
    ...
def mma_degree_cuda(x: typing.SupportsInt | typing.SupportsIndex, planes: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, nonfinite: typing.SupportsInt | typing.SupportsIndex, sums: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    At most 32 features; the sums are in fixed point.
    """
def mma_degree_cuda_scratch(planes: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def multiply_add_cpu(rounds: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    Multiply and add in registers on every thread, and return the scalar multiply-adds of one: to time what the processor can do.
    """
def nearest_cpu(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, similarity: typing.SupportsInt | typing.SupportsIndex, index: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def nearest_cpu_scratch(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def nearest_cuda(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, similarity: typing.SupportsInt | typing.SupportsIndex, index: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def nearest_cuda_scratch(batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, is_double: bool) -> int:
    ...
def nystrom_columns_cpu(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, landmarks: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, m: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, out: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def nystrom_columns_cpu_scratch(is_double: bool, m: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def pairwise_cosine_cpu(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, y: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, m: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, zero_diagonal: bool, nan_zero_rows: bool, out: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def pairwise_cosine_cpu_scratch(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, m: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, symmetric: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def pairwise_cosine_cuda(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, y: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, m: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, zero_diagonal: bool, nan_zero_rows: bool, out: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def pairwise_cosine_cuda_scratch(batch: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, m: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, symmetric: bool, is_double: bool) -> int:
    ...
def path_graph_cpu(lengths: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, graph: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Pack symmetric float64 lengths (n, n) for the searches.
    """
def path_graph_cpu_scratch(n: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    Bytes of the packed graph.
    """
def pivoted_cholesky_cpu(a: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, tolerance: typing.SupportsFloat | typing.SupportsIndex, order: typing.SupportsInt | typing.SupportsIndex, residual: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def pivoted_cholesky_cpu_scratch(n: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def pivoted_cholesky_cuda(a: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, tolerance: typing.SupportsFloat | typing.SupportsIndex, order: typing.SupportsInt | typing.SupportsIndex, residual: typing.SupportsInt | typing.SupportsIndex, rank: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def pivoted_cholesky_cuda_scratch(n: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def read_memory_cpu(data: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> float:
    """
    Read float32 memory once and return its sum: to time what reading costs here.
    """
def rejection_cholesky_cpu(h: typing.SupportsInt | typing.SupportsIndex, draws: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex, tolerance: typing.SupportsFloat | typing.SupportsIndex, accepted: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def request_large_pages(memory: typing.SupportsInt | typing.SupportsIndex, bytes: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Ask the system for large pages behind this memory, before it is touched.
    """
def row_norms_cpu(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, norms: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def row_norms_cuda(is_double: bool, x: typing.SupportsInt | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, norms: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def row_norms_cuda_scratch(rows: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def select_simd_level(level: str) -> bool:
    """
    Use another level, while no kernel runs: scratch is sized for the level in use. False if it is not in this build or not supported here.
    """
def simd_level() -> str:
    """
    The instruction-set level in use.
    """
def simd_levels() -> list[tuple[str, bool]]:
    """
    The instruction-set levels of this build, oldest first, and whether this processor has them.
    """
def sm90_available(device: typing.SupportsInt | typing.SupportsIndex) -> bool:
    """
    Whether a device has Hopper's matrix units and this build the kernel for them.
    """
def sm90_degree_cuda(planes: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, pitch: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, nonfinite: typing.SupportsInt | typing.SupportsIndex, sums: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def sm90_degree_cuda_scratch(count: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, pitch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def split_rows_cuda(x: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, planes: typing.SupportsInt | typing.SupportsIndex, out: typing.SupportsInt | typing.SupportsIndex, nonfinite: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def split_rows_cuda_pitch(d: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def weighted_degree_cpu(is_double: bool, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], edge: typing.SupportsInt | typing.SupportsIndex, precision: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    layers: (rows, batch, n, d, degree) each.
    """
def weighted_degree_cpu_route(is_double: bool, n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex, precision: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    How one graph would be computed: closed, gram, short, long or medium.
    """
def weighted_degree_cpu_scratch(is_double: bool, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], edge: typing.SupportsInt | typing.SupportsIndex, precision: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    layers: (rows, batch, n, d, degree) each.
    """
def weighted_degree_cuda(is_double: bool, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], edge: typing.SupportsInt | typing.SupportsIndex, scratch: typing.SupportsInt | typing.SupportsIndex, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def weighted_degree_cuda_route(n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex, edge: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    closed, gram or tiles; empty without CUDA.
    """
def weighted_degree_cuda_scratch(is_double: bool, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], edge: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    layers: (rows, batch, n, d, degree) each.
    """
STORED_GRAPH_BYTES: int = 1073741824
__version__: str = '0.1.0'
