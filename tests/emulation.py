# SPDX-License-Identifier: MIT
"""The CUDA kernels on the CPU: the unmodified sources of csrc/cuda under the emulator.

tests/emulator runs every thread of a block as a fiber and checks each memory access, so a passing
comparison in test_emulated_*.py also says: no access out of bounds, no race, nothing read before it
was written, no divergent barrier, every output written. What it cannot say is how the kernels
behave on a device: docs/gpu-status.md keeps that account.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import device_tolerances
from hubprune import reference as ref

ROOT: Final = Path(__file__).resolve().parent.parent
CUDA: Final = ROOT / "csrc" / "cuda"
EMULATOR: Final = ROOT / "tests" / "emulator"

# Kernel sources: every access is reported to the emulator, undefined behaviour becomes a trap. No
# vectorisation: a CPU vector load of four floats would look misaligned to the device's rules.
KERNEL_FLAGS: Final = [
    "-O1",
    "-fno-tree-vectorize",
    "-fno-extern-tls-init",
    "-fsanitize=thread",
    "-fsanitize=alignment,bounds,shift,signed-integer-overflow,float-cast-overflow",
    "-fsanitize-undefined-trap-on-error",
    "-Wno-unknown-pragmas",
]
# Fortified jumps refuse to change the stack, which is what the emulator jumps for.
COMMON_FLAGS: Final = ["-std=c++17", "-fPIC", "-Wall", "-Wextra", "-U_FORTIFY_SOURCE"]

EDGES: Final = tuple(ref.EDGES)
SIZES: Final = (0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129)
MOST_BLOCKS: Final = 2**31 - 1

OK, CUDA_ERROR, INVALID_VALUE = 0, 3, 4

Array = NDArray[Any]


class EmulatedDevice:
    """Device memory and launches of the emulated library; every call is checked to the end."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        address, size, integer, long = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int64,
        )
        for name, result, arguments in (
            ("emulator_configure", None, [ctypes.c_uint64, integer, integer]),
            ("emulator_error", ctypes.c_char_p, []),
            ("emulator_kernels", ctypes.c_uint64, []),
            ("emulator_kernel_device", integer, []),
            ("emulator_device", integer, []),
            ("emulator_last_error", integer, []),
            ("emulator_allocate", address, [size]),
            ("emulator_free", None, [address]),
            ("emulator_write", integer, [address, address, size]),
            ("emulator_read", long, [address, address, size]),
            ("emulated_last_error", ctypes.c_char_p, []),
            ("emulated_triangular_index", None, [long, address, address]),
            ("emulated_strip_count", long, [long]),
            ("emulated_strip_at", None, [long, long, address]),
            ("emulated_filter_vectors_scratch", long, [address, long]),
            ("emulated_row_norms_scratch", long, [long]),
            ("emulated_pairwise_cosine_scratch", long, [long] * 4 + [integer] * 2),
            ("emulated_weighted_degree_scratch", long, [integer, address, long, integer]),
            ("emulated_weighted_degree_route", ctypes.c_char_p, [long, long, integer]),
            ("emulated_split_rows_pitch", long, [long]),
            (
                "emulated_split_rows",
                integer,
                [address, long, long, integer, address, address, integer],
            ),
            (
                "emulated_add_panel",
                integer,
                [address, long, long, long, long, integer, address, address, integer],
            ),
            (
                "emulated_degree_finish",
                integer,
                [address, address, long, address, integer],
            ),
            ("emulated_plane_pair", integer, [integer, integer, address]),
            ("emulated_fragment_row", integer, [integer, integer]),
            ("emulated_fragment_column", integer, [integer, integer]),
            ("emulated_operand_descriptor", ctypes.c_uint64, [ctypes.c_uint32]),
            ("emulated_swizzled_offset", integer, [integer, integer]),
            (
                "emulated_sm90_degree",
                integer,
                [address, integer, long, long, integer, address, address, address, integer],
            ),
            ("emulated_sm90_degree_scratch", long, [integer, long, long, integer]),
            (
                "emulated_mma_degree",
                integer,
                [address, integer, long, long, integer, address, address, address, integer],
            ),
            ("emulated_mma_degree_scratch", long, [integer, long, long]),
            ("emulated_row_steps", integer, [integer, long]),
            ("emulated_word_entry", integer, [integer, integer]),
            ("emulated_words_at_once", integer, [integer]),
            ("emulated_passing_place", long, [integer, long, integer, integer]),
            ("emulated_kept_place", long, [integer, long, integer, integer]),
            ("emulated_banded_index", None, [long, long, address, address]),
            ("emulated_tile_origin", integer, [long, long, integer, integer, address]),
            ("emulated_tile_columns", integer, [integer, long]),
            ("emulated_pieces", long, [long, integer, integer, integer, integer, address, long]),
            ("emulated_betweenness_centrality_scratch", long, [long, long]),
            (
                "emulated_betweenness_centrality",
                integer,
                [address, long, address, long, address, address, integer],
            ),
            ("emulated_closeness_centrality_scratch", long, [long]),
            (
                "emulated_closeness_centrality",
                integer,
                [address, long, address, address, integer],
            ),
            ("emulated_greedy_degree_scratch", long, [long, long, integer, integer]),
            (
                "emulated_greedy_degree",
                integer,
                [
                    *[integer, address, long, long, integer, long, integer],
                    *[address, address, address, integer],
                ],
            ),
            ("emulated_pivoted_cholesky_scratch", long, [long]),
            (
                "emulated_pivoted_cholesky",
                integer,
                [address, long, ctypes.c_double, address, address, address, address, integer],
            ),
            ("emulated_distance_sum_scratch", long, [long, long, integer]),
            (
                "emulated_distance_sum",
                integer,
                [integer, address, long, long, address, address, integer],
            ),
            ("emulated_nearest_scratch", long, [long] * 3 + [integer]),
            (
                "emulated_filter_vectors",
                integer,
                [integer, integer, address, long, address, integer],
            ),
            (
                "emulated_row_norms",
                integer,
                [integer, address, long, long, address, address, integer],
            ),
            (
                "emulated_pairwise_cosine",
                integer,
                [
                    *[integer, address, address, long, long, long, long],
                    *[integer, integer, integer, address, address, integer],
                ],
            ),
            ("emulated_graph_eigenvector_centrality_scratch", long, [long] * 2),
            (
                "emulated_graph_eigenvector_centrality",
                integer,
                [
                    *[integer, address, long, long, address],
                    *[ctypes.c_double, ctypes.c_double, long, long, long],
                    *[address, address, address, address, integer],
                ],
            ),
            (
                "emulated_eigenvector_centrality_route",
                ctypes.c_char_p,
                [integer, *[long] * 3, integer],
            ),
            (
                "emulated_eigenvector_centrality_scratch",
                long,
                [integer, long, long, long, integer, integer],
            ),
            (
                "emulated_eigenvector_centrality",
                integer,
                [
                    *[integer, address, long, long, long, integer, integer, address],
                    *[ctypes.c_double, ctypes.c_double, long, long, long],
                    *[address, address, address, address, integer],
                ],
            ),
            (
                "emulated_weighted_degree",
                integer,
                [integer, address, long, integer, address, integer],
            ),
            (
                "emulated_nearest",
                integer,
                [integer, address, long, long, long, address, address, address, integer],
            ),
            ("broken_name", ctypes.c_char_p, [integer]),
            ("broken_run", integer, [integer, address, long]),
            ("broken_hopper_name", ctypes.c_char_p, [integer]),
            ("broken_hopper_run", integer, [integer, address, long, address]),
            ("emulator_machine", None, [integer, integer]),
        ):
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
        self.library: Any = library
        self.norms: Array = np.empty(0)  # of the last filter_vectors
        self.memory: list[int] = []
        self.reset()

    def reset(self, seed: int = 1, most_blocks: int = MOST_BLOCKS, devices: int = 2) -> None:
        """Clear errors; `seed` orders blocks and threads, `most_blocks` limits a grid."""
        self.library.emulator_configure(seed, most_blocks, devices)

    def pretend(self, capability: int = 90, processors: int = 132) -> None:
        """Be another device, until the next `reset`."""
        self.library.emulator_machine(capability, processors)

    def error(self) -> str:
        return str(self.library.emulator_error().decode())

    def allocate(self, size: int) -> int:
        address = int(self.library.emulator_allocate(size))
        self.memory.append(address)
        return address

    def upload(self, array: Array, shift: int = 0) -> int:
        """Return the address of a copy, `shift` bytes after an aligned one."""
        address = self.allocate(array.nbytes + shift) + shift
        assert self.library.emulator_write(address, array.ctypes.data, array.nbytes) == 0
        return address

    def download(self, address: int, shape: tuple[int, ...], dtype: Any) -> Array:
        array = np.empty(shape, dtype)
        unwritten = self.library.emulator_read(array.ctypes.data, address, array.nbytes)
        assert unwritten == 0, f"{unwritten} words of an output were never written"
        return array

    def release(self) -> None:
        for address in self.memory:
            self.library.emulator_free(address)
        self.memory.clear()

    def finish(self, status: int) -> None:
        assert status == OK, f"{self.error()} ({self.library.emulated_last_error().decode()})"

    def weighted_degree(self, x: Array, edge: str, *, shift: int = 0, device: int = 0) -> Array:
        return self.weighted_degrees([x], edge, shift=shift, device=device)[0]

    def weighted_degrees(
        self, layers: list[Array], edge: str, *, shift: int = 0, device: int = 0
    ) -> list[Array]:
        """Return the degrees of several layers (batch, n, d) of one dtype, launched together."""
        words: list[int] = []
        outputs: list[int] = []
        for x in layers:
            batch, n, d = x.shape
            outputs.append(self.allocate(batch * n * x.itemsize + shift) + shift)
            words += [self.upload(x, shift), batch, n, d, outputs[-1]]
        table = np.array(words, np.int64)
        arguments = int(layers[0].dtype == np.float64), table.ctypes.data, len(layers)
        code = EDGES.index(edge)
        scratch = self.allocate(self.library.emulated_weighted_degree_scratch(*arguments, code))
        self.finish(self.library.emulated_weighted_degree(*arguments, code, scratch, device))
        degrees = [
            self.download(out, x.shape[:2], x.dtype) for x, out in zip(layers, outputs, strict=True)
        ]
        self.release()
        return degrees

    def split_rows(self, x: Array, planes: int, shift: int = 0) -> tuple[Array, int]:
        """Return bfloat16 planes (n, planes, pitch) as uint16, and the flag."""
        n, d = x.shape
        pitch = self.library.emulated_split_rows_pitch(d)
        x_at, out = self.upload(x, shift), self.allocate(n * planes * pitch * 2)
        flag = self.upload(np.zeros(1, np.uint64))
        self.finish(self.library.emulated_split_rows(x_at, n, d, planes, out, flag, 0))
        split = self.download(out, (n, planes, pitch), np.uint16)
        nonfinite = int(self.download(flag, (1,), np.uint64)[0])
        self.release()
        return split, nonfinite

    def add_panel(
        self, panel: Array, columns: int, first: int, edge: str, sums: Array
    ) -> tuple[int, Array]:
        """Return the status, and `sums` (n + 1) with a panel (rows, stride) of products added."""
        rows, stride = panel.shape
        n = len(sums) - 1
        assert columns == n - first
        panel_at, sums_at = self.upload(panel), self.upload(sums)
        code = EDGES.index(edge)
        status = self.library.emulated_add_panel(
            panel_at, rows, stride, first, n, code, sums_at + 8 * n, sums_at, 0
        )
        added = self.download(sums_at, (n + 1,), np.int64)
        self.release()
        return status, added

    def sm90_degree(self, split: Array, edge: str, nonfinite: int = 0) -> Array:
        """Return the degree (n,) of bfloat16 planes (n, planes, pitch) on Hopper's matrix units."""
        n, planes, pitch = split.shape
        start = np.zeros(n + 1, np.int64)
        start[n] = nonfinite
        split_at, sums_at = self.upload(split), self.upload(start)
        code = EDGES.index(edge)
        size = self.library.emulated_sm90_degree_scratch(planes, n, pitch, 0)
        scratch = self.allocate(size)
        self.finish(
            self.library.emulated_sm90_degree(
                split_at, planes, n, pitch, code, sums_at + 8 * n, sums_at, scratch, 0
            )
        )
        sums = self.download(sums_at, (n + 1,), np.int64)
        self.release()
        return self.degree_finish(sums)

    def mma_degree(self, x: Array, edge: str, planes: int) -> Array:
        """Return the degree (n,) of rows (n, d) in `planes` planes, on a warp's matrix units."""
        n, d = x.shape
        x_at, sums_at = self.upload(x), self.upload(np.zeros(n + 1, np.int64))
        scratch = self.allocate(self.library.emulated_mma_degree_scratch(planes, n, d))
        code = EDGES.index(edge)
        self.finish(
            self.library.emulated_mma_degree(
                x_at, planes, n, d, code, sums_at + 8 * n, sums_at, scratch, 0
            )
        )
        sums = self.download(sums_at, (n + 1,), np.int64)
        self.release()
        return self.degree_finish(sums)

    def degree_finish(self, sums: Array) -> Array:
        n = len(sums) - 1
        sums_at, out = self.upload(sums), self.allocate(4 * n)
        self.finish(self.library.emulated_degree_finish(sums_at, sums_at + 8 * n, n, out, 0))
        degree = self.download(out, (n,), np.float32)
        self.release()
        return degree

    def betweenness(self, lengths: Array, sources: list[int] | None = None) -> Array:
        """Return the sums of dependencies of a graph (n, n), each pair from both ends."""
        n = len(lengths)
        chosen = np.arange(n) if sources is None else np.array(sources, np.int64)
        lengths_at, chosen_at = self.upload(lengths), self.upload(chosen)
        out = self.allocate(n * 8)
        scratch = self.allocate(
            self.library.emulated_betweenness_centrality_scratch(n, len(chosen))
        )
        self.finish(
            self.library.emulated_betweenness_centrality(
                lengths_at, n, chosen_at, len(chosen), out, scratch, 0
            )
        )
        sums = self.download(out, (n,), np.float64)
        self.release()
        return sums

    def closeness(self, lengths: Array) -> Array:
        """Return the closeness centrality (n,) of a graph (n, n)."""
        n = len(lengths)
        lengths_at, out = self.upload(lengths), self.allocate(n * 8)
        scratch = self.allocate(self.library.emulated_closeness_centrality_scratch(n))
        self.finish(self.library.emulated_closeness_centrality(lengths_at, n, out, scratch, 0))
        closeness = self.download(out, (n,), np.float64)
        self.release()
        return closeness

    def greedy_degree(
        self,
        x: Array,
        edge: str = "signed",
        count: int | None = None,
        *,
        stored: bool = True,
        shift: int = 0,
    ) -> tuple[Array, Array]:
        """Return (order, degree) of rows (n, d)."""
        n, d = x.shape
        is_double = int(x.dtype == np.float64)
        x_at = self.upload(x, shift)
        order_at, degree_at = self.allocate(n * 8), self.allocate(n * 8)
        scratch = self.allocate(
            self.library.emulated_greedy_degree_scratch(n, d, int(stored), is_double)
        )
        removals = n if count is None else count
        self.finish(
            self.library.emulated_greedy_degree(
                *[is_double, x_at, n, d, EDGES.index(edge), removals, int(stored)],
                *[order_at, degree_at, scratch, 0],
            )
        )
        order = self.download(order_at, (n,), np.int64)
        degree = self.download(degree_at, (n,), np.float64)
        self.release()
        return order, degree

    def pivoted_cholesky(self, a: Array, tolerance: float) -> tuple[Array, Array, int]:
        """Return (order, residual, rank) of a matrix (n, n)."""
        n = len(a)
        a_at = self.upload(a)
        order_at, residual_at, rank_at = (self.allocate(size) for size in (n * 8, n * 8, 8))
        scratch = self.allocate(self.library.emulated_pivoted_cholesky_scratch(n))
        self.finish(
            self.library.emulated_pivoted_cholesky(
                a_at, n, tolerance, order_at, residual_at, rank_at, scratch, 0
            )
        )
        order = self.download(order_at, (n,), np.int64)
        residual = self.download(residual_at, (n,), np.float64)
        rank = int(self.download(rank_at, (1,), np.int64)[0])
        self.release()
        return order, residual, rank

    def distance_sum(self, x: Array) -> Array:
        n, d = x.shape
        is_double = int(x.dtype == np.float64)
        x_at, out = self.upload(x), self.allocate(n * 8)
        scratch = self.allocate(self.library.emulated_distance_sum_scratch(n, d, is_double))
        self.finish(self.library.emulated_distance_sum(is_double, x_at, n, d, out, scratch, 0))
        sums = self.download(out, (n,), np.float64)
        self.release()
        return sums

    def row_norms(self, x: Array, *, shift: int = 0) -> Array:
        rows, d = x.shape
        x_at = self.upload(x, shift)
        out = self.allocate(rows * x.itemsize + shift) + shift
        scratch = self.allocate(self.library.emulated_row_norms_scratch(rows))
        is_double = int(x.dtype == np.float64)
        self.finish(self.library.emulated_row_norms(is_double, x_at, rows, d, out, scratch, 0))
        norms = self.download(out, (rows,), x.dtype)
        self.release()
        return norms

    def pairwise_cosine(
        self,
        x: Array,
        y: Array | None = None,
        edge: str = "signed",
        *,
        zero_diagonal: bool = False,
        nan_zero_rows: bool = False,
        shift: int = 0,
    ) -> Array:
        batch, n, d = x.shape
        m = n if y is None else y.shape[1]
        is_double = int(x.dtype == np.float64)
        x_at = self.upload(x, shift)
        y_at = None if y is None else self.upload(y, shift)
        out = self.allocate(batch * n * m * x.itemsize + shift) + shift
        scratch = self.allocate(
            self.library.emulated_pairwise_cosine_scratch(batch, n, m, d, int(y is None), is_double)
        )
        sizes = batch, n, m, d
        options = EDGES.index(edge), int(zero_diagonal), int(nan_zero_rows)
        self.finish(
            self.library.emulated_pairwise_cosine(
                is_double, x_at, y_at, *sizes, *options, out, scratch, 0
            )
        )
        cosines = self.download(out, (batch, n, m), x.dtype)
        self.release()
        return cosines

    def eigenvector(
        self,
        weights: Array,
        *,
        start: Array | None = None,
        tol: float = 1e-10,
        noise: float = 0.0,
        max_iter: int = 100,
        at_once: int | None = None,
    ) -> tuple[Array, Array, Array]:
        """Return (vector, converged, residual) of graphs (batch, n, n).

        `at_once` products are enqueued by a call, all by default.
        """
        batch, n, _ = weights.shape
        weights_at = self.upload(weights)
        start_at = None if start is None else self.upload(start)
        vector_at = self.allocate(batch * n * weights.itemsize)
        converged_at, residual_at = self.allocate(batch * 8), self.allocate(batch * 8)
        scratch = self.allocate(
            self.library.emulated_graph_eigenvector_centrality_scratch(batch, n)
        )
        is_double = int(weights.dtype == np.float64)
        for products in parts(max_iter, at_once):
            self.finish(
                self.library.emulated_graph_eigenvector_centrality(
                    *[is_double, weights_at, batch, n, start_at, tol, noise, max_iter, *products],
                    *[vector_at, converged_at, residual_at, scratch, 0],
                )
            )
        vector = self.download(vector_at, (batch, n), weights.dtype)
        converged = self.download(converged_at, (batch,), np.int64)
        residual = self.download(residual_at, (batch,), np.float64)
        self.release()
        return vector, converged, residual

    def rows_eigenvector(
        self,
        x: Array,
        edge: str,
        *,
        tiles: bool = False,
        start: Array | None = None,
        tol: float = 1e-13,
        noise: float | None = None,
        max_iter: int = 100,
        at_once: int | None = None,
        shift: int = 0,
    ) -> tuple[Array, Array, Array]:
        """Return (vector, converged, residual) of rows (batch, n, d), implicit or by tiles.

        `noise` is by default what the operators ask for; `at_once` as in `eigenvector`.
        """
        batch, n, d = x.shape
        noise = 8 * float(np.finfo(x.dtype).eps) if noise is None else noise
        x_at = self.upload(x, shift)
        start_at = None if start is None else self.upload(start)
        vector_at = self.allocate(batch * n * x.itemsize + shift) + shift
        # As the operators do: of nothing nothing is written.
        converged_at = self.allocate(batch * 8) if n else self.upload(np.ones(batch, np.int64))
        residual_at = self.allocate(batch * 8) if n else self.upload(np.zeros(batch))
        is_double, code = int(x.dtype == np.float64), EDGES.index(edge)
        shape = batch, n, d, code, int(tiles)
        scratch = self.allocate(
            self.library.emulated_eigenvector_centrality_scratch(is_double, *shape)
        )
        for products in parts(max_iter, at_once):
            self.finish(
                self.library.emulated_eigenvector_centrality(
                    *[is_double, x_at, *shape, start_at, tol, noise, max_iter, *products],
                    *[vector_at, converged_at, residual_at, scratch, 0],
                )
            )
        vector = self.download(vector_at, (batch, n), x.dtype)
        converged = self.download(converged_at, (batch,), np.int64)
        residual = self.download(residual_at, (batch,), np.float64)
        self.release()
        return vector, converged, residual

    def eigenvector_route(self, shape: tuple[int, int, int], edge: str, dtype: Any) -> str:
        is_double, code = int(np.dtype(dtype) == np.float64), EDGES.index(edge)
        route = self.library.emulated_eigenvector_centrality_route(is_double, *shape, code)
        return str(route.decode())

    def nearest(self, x: Array, *, shift: int = 0) -> tuple[Array, Array]:
        batch, n, d = x.shape
        is_double = int(x.dtype == np.float64)
        x_at = self.upload(x, shift)
        similarity_at = self.allocate(batch * n * x.itemsize + shift) + shift
        index_at = self.allocate(batch * n * 8)
        scratch = self.allocate(self.library.emulated_nearest_scratch(batch, n, d, is_double))
        self.finish(
            self.library.emulated_nearest(
                is_double, x_at, batch, n, d, similarity_at, index_at, scratch, 0
            )
        )
        similarity = self.download(similarity_at, (batch, n), x.dtype)
        index = self.download(index_at, (batch, n), np.int64)
        self.release()
        return similarity, index

    def filter_vectors(self, weight: Array, out_dtype: Any = None, *, shift: int = 0) -> Array:
        return self.layers_vectors([weight], out_dtype, shift=shift)[0]

    def layers_vectors(
        self, layers: list[Array], out_dtype: Any = None, *, shift: int = 0
    ) -> list[Array]:
        """Return the rank-1 vectors of several layers (n, c, p) of one dtype, launched together."""
        out_dtype = np.dtype(layers[0].dtype if out_dtype is None else out_dtype)
        words: list[int] = []
        outputs: list[tuple[int, int]] = []
        for weight in layers:
            n, c, p = weight.shape
            out = self.allocate(n * p * out_dtype.itemsize + shift) + shift
            outputs.append((out, self.allocate(n * 8)))
            words += [self.upload(weight, shift), n, c, p, *outputs[-1]]
        table = np.array(words, np.int64)
        scratch = self.allocate(
            self.library.emulated_filter_vectors_scratch(table.ctypes.data, len(layers))
        )
        self.finish(
            self.library.emulated_filter_vectors(
                int(layers[0].dtype == np.float64),
                int(out_dtype == np.float64),
                table.ctypes.data,
                len(layers),
                scratch,
                0,
            )
        )
        vectors = []
        norms = []
        for weight, (out, norms_at) in zip(layers, outputs, strict=True):
            n, _, p = weight.shape
            vectors.append(self.download(out, (n, p), out_dtype))
            if n * p:
                norms.append(self.download(norms_at, (n,), np.float64))
        self.norms = np.concatenate(norms) if norms else np.empty(0)
        self.release()
        return vectors


def build(folder: Path) -> Path:
    """Compile the kernels and the emulator, two files at a time, unless `folder` has the library.

    Returns its path.
    """
    path = folder / "libemulated.so"
    if path.exists():
        return path
    # The emulator's first: its cuda/sm90.cuh takes the place of csrc's.
    include = [f"-I{EMULATOR}", f"-I{ROOT / 'csrc'}"]
    broken = [EMULATOR / "broken_kernels.cpp", EMULATOR / "broken_hopper.cpp"]
    kernels = [*sorted(CUDA.glob("*.cu")), *broken]
    commands = [
        ["g++", "-x", "c++", *COMMON_FLAGS, *KERNEL_FLAGS, *include, "-c", str(source)]
        for source in kernels
    ] + [
        ["g++", *COMMON_FLAGS, "-O2", *include, "-c", str(EMULATOR / name)]
        for name in ("emulator.cpp", "hopper.cpp", "driver.cpp")
    ]
    objects: list[str] = []
    running: list[subprocess.Popen[str]] = []
    for command in commands:
        objects.append(str(folder / f"{Path(command[-1]).name}.o"))
        running.append(
            subprocess.Popen([*command, "-o", objects[-1]], stderr=subprocess.PIPE, text=True)
        )
        if len(running) == 2 or command is commands[-1]:
            for process in running:
                _, errors = process.communicate()
                assert process.returncode == 0, errors
            running.clear()
    subprocess.run(
        ["g++", "-shared", "-Wl,-z,defs", "-o", str(path), *objects], check=True, text=True
    )
    return path


def parts(count: int, at_once: int | None) -> list[tuple[int, int]]:
    """Return (first, end) of parts of `at_once`, or of all."""
    step = at_once or count
    return [(first, min(first + step, count)) for first in range(0, count, step)]


def random_rows(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_degree_close(actual: Array, x: Array, edge: str) -> None:
    """Compare with the reference; the error is relative to the sum of the weights' magnitudes.

    Or to 1 where the sum is smaller: the cosines' own errors are absolute.
    """
    expected = ref.weighted_degree(x, edge)
    assert actual.dtype == x.dtype
    scale = np.maximum(np.abs(ref.adjacency(x, edge)).sum(axis=-1), 1.0)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    error = (np.abs(actual - expected) / scale)[~np.isnan(expected)]
    assert error.max(initial=0.0) <= device_tolerances.DEGREE[x.dtype]


#: Largest errors of a degree from one to three bfloat16 planes, relative to the sum of the weights'
#: magnitudes or to 1, measured over the shapes of the tests: 2.2e-3, 6.3e-6 and 4.3e-7 by panels
#: with sums to nearest, 2.2e-3, 1.1e-5 and 7.9e-7 with truncated ones (6.0e-3 for rows of equal
#: entries in one plane), 2.6e-3, 4.9e-6 and 2.4e-7 on the model of Hopper's units, 5.6e-3, 1.1e-5
#: and 2.0e-7 by a warp's products of short rows.
PLANE_TOLERANCE: Final = {1: 1e-2, 2: 1.5e-5, 3: 1e-6}


def assert_plane_degree_close(degree: Array, x: Array, edge: str, planes: int) -> None:
    expected = ref.weighted_degree(x, edge)
    scale = np.maximum(np.abs(ref.adjacency(x, edge)).sum(axis=-1), 1)
    error = np.abs(degree - expected) / scale
    assert error.max(initial=0.0) <= PLANE_TOLERANCE[planes]


def assert_nearest_close(similarity: Array, index: Array, x: Array) -> None:
    """Compare with the reference; another index is right where it is as close to rounding."""
    tolerance = device_tolerances.COSINE[x.dtype]
    expected_similarity, expected_index = ref.nearest(x)
    assert similarity.dtype == x.dtype
    np.testing.assert_allclose(similarity, expected_similarity, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(index < 0, expected_index < 0)
    cosine = ref.pairwise_cosine(x, zero_diagonal=False)
    for at in zip(*np.nonzero(index != expected_index), strict=True):
        assert index[at] != at[-1]
        assert abs(cosine[at][index[at]] - expected_similarity[at]) <= tolerance


def assert_cosines_close(
    actual: Array, x: Array, y: Array | None, edge: str, zero_diagonal: bool = False
) -> None:
    expected = ref.pairwise_cosine(x, y, edge=edge, zero_diagonal=zero_diagonal)
    assert actual.dtype == x.dtype
    np.testing.assert_allclose(actual, expected, rtol=0, atol=device_tolerances.COSINE[x.dtype])
    if y is None:
        np.testing.assert_array_equal(actual, np.swapaxes(actual, -1, -2))


def assert_vectors_close(actual: Array, weight: Array) -> None:
    np.testing.assert_allclose(
        actual,
        ref.filter_vectors(weight, "rank1"),
        rtol=0,
        atol=device_tolerances.RANK1[actual.dtype],
    )


def special_rows(dtype: Any) -> Array:
    """Zero, equal, scaled and opposite rows among random ones, more than one tile of them."""
    x = random_rows((1, 70, 9), dtype, seed=3)
    x[0, [4, 66]] = 0
    x[0, 69] = x[0, 5] = x[0, 2]
    x[0, 68] = 2 * x[0, 1]
    x[0, 67] = -x[0, 0]
    return x


def random_graphs(shape: tuple[int, ...], dtype: Any = np.float64, seed: int = 0) -> Array:
    """Symmetric graphs of non-negative weights."""
    half = np.random.default_rng(seed).random(shape)
    return (half + np.swapaxes(half, -1, -2)).astype(dtype)
