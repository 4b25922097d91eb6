# SPDX-License-Identifier: MIT
"""The CUDA kernels on the CPU: the unmodified sources of csrc/cuda under the emulator.

tests/emulator runs every thread of a block as a fiber and checks each memory access, so a passing
comparison here also says: no access out of bounds, no race, nothing read before it was written, no
divergent barrier, every output written. What it cannot say is how the kernels behave on a device:
docs/gpu-status.md keeps that account.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hubprune import panel_route
from hubprune import reference as ref

ROOT: Final = Path(__file__).resolve().parent.parent
CUDA: Final = ROOT / "csrc" / "cuda"
EMULATOR: Final = ROOT / "tests" / "emulator"

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to compile the emulator"),
    pytest.mark.skipif(not CUDA.is_dir(), reason="needs the source tree"),
]

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
COMMON_FLAGS: Final = ["-std=c++17", "-fPIC", "-Wall", "-Wextra"]

EDGES: Final = tuple(ref.EDGES)
SIZES: Final = (0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129)
MOST_BLOCKS: Final = 2**31 - 1

OK, CUDA_ERROR, INVALID_VALUE = 0, 3, 4

# Largest errors measured here (x86-64, g++ 12, all shapes of this file): cosines 2e-7 and
# 4.5e-16; degrees, relative to the sum of |w_ij|, 5.6e-7 (n = 2) and 6.6e-16; rank-1 vectors 3e-8
# and 3.2e-14. A device contracts multiply-adds, which changes the last bits only.
TOLERANCE: Final = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}

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
            ("emulated_filter_vectors_scratch", long, [address, long]),
            ("emulated_row_norms_scratch", long, [long]),
            ("emulated_pairwise_cosine_scratch", long, [long] * 4 + [integer] * 2),
            ("emulated_weighted_degree_scratch", long, [integer, address, long, integer]),
            ("emulated_weighted_degree_route", ctypes.c_char_p, [long, long, integer]),
            ("emulated_split_rows_pitch", long, [long]),
            ("emulated_split_rows_scratch", long, [long]),
            (
                "emulated_split_rows",
                integer,
                [address, long, long, integer, address, address, address, integer],
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
            ("emulated_fragment_sums", integer, [address, long, integer, address]),
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
                    *[integer, integer, address, address, integer],
                ],
            ),
            ("emulated_graph_eigenvector_centrality_scratch", long, [long] * 2),
            (
                "emulated_graph_eigenvector_centrality",
                integer,
                [
                    *[integer, address, long, long, address],
                    *[ctypes.c_double, ctypes.c_double, long],
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

    def split_rows(self, x: Array, planes: int) -> tuple[Array, int]:
        """Return bfloat16 planes (n, planes, pitch) as uint16, and the flag."""
        n, d = x.shape
        pitch = self.library.emulated_split_rows_pitch(d)
        x_at, out = self.upload(x), self.allocate(n * planes * pitch * 2)
        flag = self.upload(np.zeros(1, np.uint64))
        scratch = self.allocate(self.library.emulated_split_rows_scratch(n))
        self.finish(self.library.emulated_split_rows(x_at, n, d, planes, out, flag, scratch, 0))
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
        code = EDGES.index(edge)
        self.finish(
            self.library.emulated_pairwise_cosine(
                is_double, x_at, y_at, batch, n, m, d, code, int(zero_diagonal), out, scratch, 0
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
    ) -> tuple[Array, Array, Array]:
        """Return (vector, converged, residual) of graphs (batch, n, n)."""
        batch, n, _ = weights.shape
        weights_at = self.upload(weights)
        start_at = None if start is None else self.upload(start)
        vector_at = self.allocate(batch * n * weights.itemsize)
        converged_at, residual_at = self.allocate(batch * 8), self.allocate(batch * 8)
        scratch = self.allocate(
            self.library.emulated_graph_eigenvector_centrality_scratch(batch, n)
        )
        is_double = int(weights.dtype == np.float64)
        self.finish(
            self.library.emulated_graph_eigenvector_centrality(
                *[is_double, weights_at, batch, n, start_at, tol, noise, max_iter],
                *[vector_at, converged_at, residual_at, scratch, 0],
            )
        )
        vector = self.download(vector_at, (batch, n), weights.dtype)
        converged = self.download(converged_at, (batch,), np.int64)
        residual = self.download(residual_at, (batch,), np.float64)
        self.release()
        return vector, converged, residual

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


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> EmulatedDevice:
    """Compile the kernels and the emulator, two files at a time, and load them."""
    folder = tmp_path_factory.mktemp("emulator")
    include = [f"-I{ROOT / 'csrc'}", f"-I{EMULATOR}"]
    # Matrix units are not emulated: of weighted_degree_sm90.cu, what is around them is tested.
    sources = [path for path in sorted(CUDA.glob("*.cu")) if not path.stem.endswith("_sm90")]
    kernels = [*sources, EMULATOR / "broken_kernels.cpp", EMULATOR / "fragment_kernel.cpp"]
    commands = [
        ["g++", "-x", "c++", *COMMON_FLAGS, *KERNEL_FLAGS, *include, "-c", str(source)]
        for source in kernels
    ] + [
        ["g++", *COMMON_FLAGS, "-O2", *include, "-c", str(EMULATOR / name)]
        for name in ("emulator.cpp", "driver.cpp")
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
    path = folder / "libemulated.so"
    subprocess.run(
        ["g++", "-shared", "-Wl,-z,defs", "-o", str(path), *objects], check=True, text=True
    )
    return EmulatedDevice(path)


@pytest.fixture
def device(library: EmulatedDevice) -> Iterator[EmulatedDevice]:
    library.reset()
    yield library
    library.release()


def random_rows(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_degree_close(actual: Array, x: Array, edge: str) -> None:
    """Compare with the reference; the error is relative to the sum of the weights' magnitudes."""
    expected = ref.weighted_degree(x, edge)
    assert actual.dtype == x.dtype
    scale = np.abs(ref.adjacency(x, edge)).sum(axis=-1)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    error = np.abs(actual - expected)
    error, scale = error[~np.isnan(error)], scale[~np.isnan(error)]
    assert (error <= TOLERANCE[x.dtype] * scale).all(), (error / scale).max()


def assert_nearest_close(similarity: Array, index: Array, x: Array) -> None:
    """Compare with the reference; another index is right where it is as close to rounding."""
    tolerance = TOLERANCE[x.dtype]
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
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[x.dtype])
    if y is None:
        np.testing.assert_array_equal(actual, np.swapaxes(actual, -1, -2))


def assert_vectors_close(actual: Array, weight: Array) -> None:
    np.testing.assert_allclose(
        actual, ref.filter_vectors(weight, "rank1"), rtol=0, atol=TOLERANCE[actual.dtype]
    )


# -------------------------------------------------------------------------------------------------
# The emulator itself

BROKEN: Final = {
    "correct": "",
    "divergent_barrier": r"sync: threads wait at different __syncthreads, lines \d+ and \d+",
    "left_before_barrier": r"sync: 63 threads wait at __syncthreads on line \d+, 1 have left",
    "barrier_against_shuffle": r"sync: the threads of a block wait for each other",
    "wrong_mask": r"sync: a lane calls with a mask 0000ffff that leaves it out",
    "lane_left": r"sync: the mask ffffffff on line \d+ names lane 8, which has left",
    "shuffle_outside_mask": r"sync: lane \d+ reads lane \d+, which is not in the mask 0000ffff",
    "write_past_end": r"memory: 4 bytes outside every buffer are written \(block \d, thread 0\)",
    "read_before_start": r"memory: 4 bytes outside every buffer are read",
    "shared_past_end": r"memory: 4 bytes outside every buffer are written \(block \d, thread 63\)",
    "shared_size_forgotten": r"memory: 4 bytes outside every buffer are written",
    "misaligned": r"undefined: behaviour that the language does not define",
    "shared_race": r"race: shared memory that thread \d+ of block \d",
    "write_after_read": r"race: shared memory that thread \d+ of block \d",
    "block_race": r"race: global memory that thread \d+ of block \d wrote is written",
    "unsafe_sum": r"race: global memory that thread \d+ of block \d wrote is read",
    "mixed_atomic": r"race: global memory that thread \d+ of block \d wrote is written",
    "unwritten_shared": r"init: shared memory is read before it is written \(block \d, thread 7\)",
    "unwritten_global": r"init: global memory is read before it is written",
    "other_stack": r"memory: 4 bytes of another thread's stack are written",
    "static_shared": r"memory: 4 bytes outside every buffer are written",
    "overflow": r"undefined: behaviour that the language does not define",
    "out_of_extent": r"(undefined: behaviour|memory: 4 bytes outside every buffer)",
}


def test_broken_kernels_are_all_listed(device: EmulatedDevice) -> None:
    names: list[str] = []
    while (name := device.library.broken_name(len(names))) is not None:
        names.append(name.decode())
    assert names == list(BROKEN)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", BROKEN)
def test_emulator_names_the_mistake(device: EmulatedDevice, name: str, seed: int) -> None:
    device.reset(seed)
    data = device.allocate(128 * 4)
    if name in ("unsafe_sum", "mixed_atomic"):  # their mistake is not a missing first write
        device.library.emulator_write(data, np.zeros(128, np.float32).ctypes.data, 128 * 4)
    status = device.library.broken_run(list(BROKEN).index(name), data, 128)
    if name == "correct":
        assert (status, device.error()) == (OK, "")
        np.testing.assert_array_equal(
            device.download(data, (2, 64), np.float32), np.tile(np.arange(63.0, -1, -1), (2, 1))
        )
    else:
        assert status == CUDA_ERROR
        assert re.match(BROKEN[name], device.error()), device.error()
        assert b"cudaErrorLaunchFailure" in device.library.emulated_last_error()


def test_unwritten_output_is_noticed(device: EmulatedDevice) -> None:
    data = device.allocate(64)
    with pytest.raises(AssertionError, match="16 words of an output were never written"):
        device.download(data, (16,), np.float32)


# -------------------------------------------------------------------------------------------------
# The runtime's side: devices, errors, empty input


def test_device_count(device: EmulatedDevice) -> None:
    assert device.library.emulated_built() == 1
    assert device.library.emulated_device_count() == 2
    device.reset(devices=0)
    assert device.library.emulated_device_count() == 0
    assert device.library.emulator_last_error() == 0  # the failure leaves nothing behind


def test_launch_runs_on_its_device_and_restores_the_callers(device: EmulatedDevice) -> None:
    x = random_rows((1, 4, 3))
    device.weighted_degree(x, "abs", device=1)
    assert device.library.emulator_kernel_device() == 1
    assert device.library.emulator_device() == 0


def test_unknown_device_is_an_error_with_text(device: EmulatedDevice) -> None:
    before = device.library.emulator_kernels()
    with pytest.raises(AssertionError, match="weighted_degree: cudaErrorInvalidDevice: "):
        device.weighted_degree(random_rows((1, 4, 3)), "abs", device=7)
    assert device.library.emulator_kernels() == before
    assert device.library.emulator_last_error() == 0
    assert device.library.emulator_device() == 0


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0, 0)])
def test_empty_rows_launch_nothing(device: EmulatedDevice, shape: tuple[int, ...]) -> None:
    x = random_rows(shape)
    before = device.library.emulator_kernels()
    assert device.weighted_degree(x, "abs").shape == shape[:2]
    similarity, index = device.nearest(x)
    assert similarity.shape == index.shape == shape[:2]
    assert device.pairwise_cosine(x).shape == (*shape[:2], shape[1])
    assert device.row_norms(x.reshape(-1, 3)).size == 0
    assert device.library.emulator_kernels() == before


@pytest.mark.parametrize("shape", [(0, 5, 9), (5, 0, 9), (5, 3, 0)])
def test_empty_filters_launch_nothing(device: EmulatedDevice, shape: tuple[int, ...]) -> None:
    before = device.library.emulator_kernels()
    vectors = device.filter_vectors(random_rows(shape))
    np.testing.assert_array_equal(vectors, np.zeros((shape[0], shape[2])))
    assert device.library.emulator_kernels() == before


@pytest.mark.parametrize("code", [-1, 5])
def test_unknown_edge_launches_nothing(device: EmulatedDevice, code: int) -> None:
    before = device.library.emulator_kernels()
    table = np.array([0, 1, 4, 3, 0], np.int64)
    status = device.library.emulated_weighted_degree(0, table.ctypes.data, 1, code, None, 0)
    assert status == INVALID_VALUE
    assert device.library.emulator_kernels() == before


def test_triangular_index_enumerates_the_upper_triangle(device: EmulatedDevice) -> None:
    row, column = ctypes.c_int64(), ctypes.c_int64()
    side = 60
    walked = []
    for index in range(side * (side + 1) // 2):
        device.library.emulated_triangular_index(index, ctypes.byref(row), ctypes.byref(column))
        walked.append((row.value, column.value))
    assert walked == [(i, j) for j in range(side) for i in range(j + 1)]


@pytest.mark.parametrize(
    "column", [2**k + offset for k in (13, 24, 26, 27, 31) for offset in (-1, 0)]
)
def test_triangular_index_is_exact_beyond_float64(device: EmulatedDevice, column: int) -> None:
    first = column * (column + 1) // 2
    found_row, found_column = ctypes.c_int64(), ctypes.c_int64()
    for row in (0, 1, column // 2, column - 1, column):
        device.library.emulated_triangular_index(
            first + row, ctypes.byref(found_row), ctypes.byref(found_column)
        )
        assert (found_row.value, found_column.value) == (row, column)


# -------------------------------------------------------------------------------------------------
# Weighted degree and nearest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("edge", EDGES)
def test_weighted_degree(device: EmulatedDevice, edge: str, n: int, dtype: Any) -> None:
    x = random_rows((1, n, 9), dtype, seed=n)
    assert_degree_close(device.weighted_degree(x, edge), x, edge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_nearest(device: EmulatedDevice, n: int, dtype: Any) -> None:
    x = random_rows((1, n, 9), dtype, seed=n)
    assert_nearest_close(*device.nearest(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_pairwise_cosine(device: EmulatedDevice, n: int, dtype: Any) -> None:
    x = random_rows((1, n, 9), dtype, seed=n)
    for edge in EDGES:
        assert_cosines_close(device.pairwise_cosine(x, edge=edge), x, None, edge)
    without = device.pairwise_cosine(x, edge="shifted", zero_diagonal=True)
    assert_cosines_close(without, x, None, "shifted", zero_diagonal=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 70, 3), (65, 2, 17), (64, 129, 0), (130, 66, 33)])
def test_pairwise_cosine_of_others(
    device: EmulatedDevice, n: int, m: int, d: int, dtype: Any
) -> None:
    x, y = random_rows((2, n, d), dtype), random_rows((2, m, d), dtype, seed=1)
    for edge in EDGES:
        assert_cosines_close(device.pairwise_cosine(x, y, edge), x, y, edge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [0, 1, 9, 31, 32, 33, 1000])
def test_row_norms(device: EmulatedDevice, d: int, dtype: Any) -> None:
    x = random_rows((70, d), dtype, seed=d)
    expected = np.linalg.norm(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(device.row_norms(x), expected, rtol=1e-7 if d else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_row_norms_of_special_rows(device: EmulatedDevice, dtype: Any) -> None:
    largest = 1e30 if dtype == np.float32 else 1e300
    x = np.ones((6, 4), dtype)
    x[0] = 0
    x[1] *= dtype(largest)
    x[2] *= dtype(1 / largest)
    x[3, 2] = np.nan
    x[4, 1] = -np.inf
    x[5, 0], x[5, 3] = np.inf, np.nan
    expected = [0, 2 * largest, 2 / largest, np.nan, np.inf, np.nan]
    np.testing.assert_allclose(device.row_norms(x), expected, rtol=1e-6)


# The closed forms: pieces of 512 rows, blocks of 256 features, groups of 1 to 32 lanes.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", ["signed", "shifted"])
@pytest.mark.parametrize(
    ("n", "d"), [(513, 2), (1100, 9), (70, 1), (40, 31), (40, 33), (30, 255), (30, 257), (9, 600)]
)
def test_closed_forms(device: EmulatedDevice, n: int, d: int, edge: str, dtype: Any) -> None:
    x = random_rows((2, n, d), dtype, seed=n + d)
    x[1, n // 2] = 0
    assert_degree_close(device.weighted_degree(x, edge), x, edge)


# The closed form of the squares: pieces of 512 rows, tiles of 16 features, 8 rows a thread.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d"), [(8, 1), (513, 2), (1100, 9), (129, 16), (200, 17), (280, 33), (600, 70)]
)
def test_closed_form_of_the_squares(device: EmulatedDevice, n: int, d: int, dtype: Any) -> None:
    x = random_rows((2, n, d), dtype, seed=n + d)
    x[1, n // 2] = 0
    x[0, 3] = x[0, 1]
    x[0, 4] *= 1e-30
    assert route(device, n, d, "squared") == "gram"
    assert_degree_close(device.weighted_degree(x, "squared"), x, "squared")


def test_closed_form_of_the_squares_in_blocks_of_eight_rows(device: EmulatedDevice) -> None:
    x = random_rows((1, 1032, 129))
    assert route(device, 1032, 129, "squared") == "gram"
    assert_degree_close(device.weighted_degree(x, "squared"), x, "squared")


def route(device: EmulatedDevice, n: int, d: int, edge: str) -> str:
    return str(device.library.emulated_weighted_degree_route(n, d, EDGES.index(edge)).decode())


def test_route(device: EmulatedDevice) -> None:
    for edge in ("signed", "shifted"):
        assert route(device, 10, 1000, edge) == "closed"
    for edge in ("abs", "positive"):
        assert route(device, 1_000_000, 9, edge) == "tiles"
    assert route(device, 72, 9, "squared") == "gram"
    assert route(device, 71, 9, "squared") == "tiles"
    assert route(device, 10_000, 256, "squared") == "gram"
    assert route(device, 10_000, 257, "squared") == "tiles"


def test_squares_of_non_finite_rows(device: EmulatedDevice) -> None:
    x = random_rows((3, 80, 9))
    x[1, 65, 3] = np.nan
    x[2, 0, 0] = np.inf
    degree = device.weighted_degree(x, "squared")
    assert_degree_close(degree, x, "squared")
    assert np.isnan(degree[1:]).all()


# -------------------------------------------------------------------------------------------------
# Long rows: the kernels around the matrix products of row panels, and the route through them


class EmulatedPanels:
    """The steps of the route: our kernels emulated, the product of bfloat16 planes in float32."""

    def __init__(self, device: EmulatedDevice) -> None:
        self.device = device

    def split_rows(self, x: torch.Tensor, planes: int) -> tuple[torch.Tensor, torch.Tensor]:
        split, nonfinite = self.device.split_rows(x.numpy(), planes)
        sums = torch.zeros(len(x) + 1, dtype=torch.int64)
        sums[-1] = nonfinite
        return torch.from_numpy(split.view(np.int16)).view(torch.bfloat16), sums

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        assert a.dtype == b.dtype == torch.bfloat16
        assert a.stride(1) == b.stride(1) == 1
        product = a.float() @ b.float().T
        out.copy_(out + product if accumulate else product)

    def add_panel(self, panel: torch.Tensor, first: int, edge: str, sums: torch.Tensor) -> None:
        rows, columns = panel.shape
        # The padding between the rows is nobody's: poison.
        whole = np.full((rows, panel.stride(0)), np.nan, np.float32)
        whole[:, :columns] = panel.numpy()
        status, added = self.device.add_panel(whole, columns, first, edge, sums.numpy())
        self.device.finish(status)
        sums.copy_(torch.from_numpy(added))

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.device.degree_finish(sums.numpy()))


# Largest errors of a degree, relative to the sum of the weights' magnitudes or to 1, measured here
# over the shapes of the next test: one plane 4.3e-3, two 6.3e-6, three 4.4e-7.
PLANE_TOLERANCE: Final = {1: 1e-2, 2: 1.5e-5, 3: 1e-6}


def assert_panel_degree_close(degree: Array, x: Array, edge: str, planes: int) -> None:
    expected = ref.weighted_degree(x, edge)
    scale = np.maximum(np.abs(ref.adjacency(x, edge)).sum(axis=-1), 1)
    error = np.abs(degree - expected) / scale
    assert error.max() <= PLANE_TOLERANCE[planes]


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("edge", ["abs", "positive", "squared"])
@pytest.mark.parametrize(
    ("n", "d"), [(1, 9), (2, 1), (63, 64), (65, 65), (300, 130), (20, 4200), (5, 0)]
)
def test_degree_by_row_panels(
    device: EmulatedDevice,
    monkeypatch: pytest.MonkeyPatch,
    n: int,
    d: int,
    edge: str,
    planes: int,
) -> None:
    monkeypatch.setattr(panel_route, "PANEL_ENTRIES", 1)  # 256 rows a panel, the fewest
    x = random_rows((n, d), seed=n)
    if n > 4:
        x[1] = 0
        x[3] = x[0]
        x[4] *= np.float32(1e-30)
    degree = panel_route.panel_degree(torch.from_numpy(x), edge, planes, EmulatedPanels(device))
    assert_panel_degree_close(degree.numpy(), x, edge, planes)


def test_panels_cover_the_upper_triangle() -> None:
    for n in (0, 1, 255, 256, 257, 8192, 8193, 65537, 2_000_000):
        end = 0
        for first, rows in panel_route.panels(n):
            assert first == end
            end = first + rows
            assert rows % 256 == 0 or end == n
            assert rows * (n - first) <= panel_route.PANEL_ENTRIES or rows == 256
        assert end == n


def test_row_panels_of_a_row_that_is_not_finite(device: EmulatedDevice) -> None:
    x = random_rows((70, 20))
    x[69, 3] = np.inf
    degree = panel_route.panel_degree(torch.from_numpy(x), "abs", 3, EmulatedPanels(device))
    assert np.isnan(degree.numpy()).all()
    alone = torch.full((1, 3), float("nan"))
    assert panel_route.panel_degree(alone, "abs", 3, EmulatedPanels(device)).tolist() == [0.0]


def test_planes_add_up_to_the_unit_rows(device: EmulatedDevice) -> None:
    x = random_rows((40, 70))
    x[2] = 0
    norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    unit = x / np.where(norms > 0, norms, 1)
    for planes in (1, 2, 3):
        split, nonfinite = device.split_rows(x, planes)
        assert nonfinite == 0
        assert split.shape == (40, planes, 128)
        values = (split.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        np.testing.assert_allclose(
            values.sum(axis=1)[:, :70], unit, rtol=0, atol=float(2.0 ** (-8 * planes))
        )
        assert not values[:, :, 70:].any()
        # To nearest: the first plane is torch's bfloat16.
        expected = torch.from_numpy(unit).float().bfloat16().float().numpy()
        np.testing.assert_array_equal(values[:, 0, :70], expected)


def test_panels_that_would_be_summed_wrongly_are_refused(device: EmulatedDevice) -> None:
    sums = np.zeros(131, np.int64)
    for rows, stride, first, edge in (
        (65, 132, 0, "abs"),  # a tile would hold rows of this panel and of the next
        (64, 130, 0, "abs"),  # rows that do not start at 16 bytes
        (64, 64, 0, "abs"),  # rows that overlap
        (64, 132, 100, "abs"),  # more rows than are left
        (64, 132, 0, "signed"),
    ):
        panel = np.zeros((rows, stride), np.float32)
        status, unchanged = device.add_panel(panel, 130 - first, first, edge, sums)
        assert status == INVALID_VALUE
        assert not unchanged.any()


def test_row_panels_keep_every_bit(device: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(random_rows((600, 20)))
    results = []
    for seed, most_blocks, entries in ((0, MOST_BLOCKS, 2**26), (1, 3, 1), (2, 1, 1)):
        device.reset(seed, most_blocks)
        monkeypatch.setattr(panel_route, "PANEL_ENTRIES", entries)
        degree = panel_route.panel_degree(x, "abs", 3, ExactPanels(device))
        results.append(degree.numpy().tobytes())
    assert len(set(results)) == 1


class ExactPanels(EmulatedPanels):
    """Products rounded once: the panel's shape cannot change them, as it may BLAS's."""

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        product = (a.double()[:, None, :] * b.double()).sum(-1).float()
        out.copy_(out + product if accumulate else product)


# -------------------------------------------------------------------------------------------------
# Around Hopper's matrix units: index arithmetic, and what becomes of the products


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_plane_pairs_are_those_of_the_panels(device: EmulatedDevice, planes: int) -> None:
    pairs = []
    right = ctypes.c_int()
    for index in range(planes * (planes + 1) // 2):
        left = device.library.emulated_plane_pair(planes, index, ctypes.byref(right))
        pairs.append((left, right.value))
    assert pairs == panel_route.plane_products(planes)


def test_fragments_cover_the_tile_as_documented(device: EmulatedDevice) -> None:
    entry = np.empty((128, 64, 2), int)
    for thread in range(128):
        for value in range(64):
            entry[thread, value] = (
                device.library.emulated_fragment_row(thread, value),
                device.library.emulated_fragment_column(thread, value),
            )
    flat = entry[..., 0] * 128 + entry[..., 1]
    np.testing.assert_array_equal(np.sort(flat.ravel()), np.arange(64 * 128))
    # The table of the PTX manual: d0 and d1 side by side, d2 and d3 eight rows below, d4 eight
    # columns on; a quad of lanes to eight columns, eight quads to eight rows, a warp to 16 rows.
    for thread, value, place in (
        (0, 0, (0, 0)),
        (0, 1, (0, 1)),
        (0, 2, (8, 0)),
        (0, 3, (8, 1)),
        (0, 4, (0, 8)),
        (0, 63, (8, 121)),
        (1, 0, (0, 2)),
        (3, 1, (0, 7)),
        (4, 0, (1, 0)),
        (31, 0, (7, 6)),
        (32, 0, (16, 0)),
        (127, 63, (63, 127)),
    ):
        assert tuple(entry[thread, value]) == place


def test_operands_are_read_where_the_copy_engine_put_them(device: EmulatedDevice) -> None:
    """The matrix unit adds rows and groups of 8 rows to the start, then swaps address bits."""
    base = 3 * 1024
    for first_row in (0, 64):  # of the two warpgroups
        for feature in (0, 16, 32, 48):  # of the four instructions of a stage
            start = base + first_row * 128 + feature * 2
            descriptor = device.library.emulated_operand_descriptor(start)
            assert descriptor >> 62 == 1  # swizzle of 128 bytes
            assert descriptor >> 49 & 0x1FFF == 0  # fixed and base-offset bits
            address = (descriptor & 0x3FFF) << 4
            group = (descriptor >> 32 & 0x3FFF) << 4
            for row in range(64):
                for byte in range(0, 32, 2):
                    logical = address + row // 8 * group + row % 8 * 128 + byte
                    physical = logical ^ (logical >> 7 & 7) << 4
                    offset = device.library.emulated_swizzled_offset(
                        first_row + row, feature * 2 + byte
                    )
                    assert physical == base + offset


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 63, 64, 65, 127, 128, 129, 300])
def test_degree_from_fragments(device: EmulatedDevice, n: int, planes: int) -> None:
    x = random_rows((n, 70), seed=n)
    if n > 4:
        x[1] = 0
        x[3] = x[0]
    split, _ = device.split_rows(x, planes)
    values = (split.astype(np.uint32) << 16).view(np.float32)
    side = -(-n // 128) * 128
    products = np.zeros((side, side), np.float32)
    for left, right in panel_route.plane_products(planes):
        products[:n, :n] += values[:, left] @ values[:, right].T
    for edge in ("abs", "positive", "squared"):
        degrees = []
        for seed, most_blocks in ((1, MOST_BLOCKS), (2, 2)):
            device.reset(seed, most_blocks)
            products_at = device.upload(products)
            sums_at = device.upload(np.zeros(n + 1, np.int64))
            code = EDGES.index(edge)
            device.finish(device.library.emulated_fragment_sums(products_at, n, code, sums_at))
            sums = device.download(sums_at, (n + 1,), np.int64)
            device.release()
            degrees.append(device.degree_finish(sums))
        assert degrees[0].tobytes() == degrees[1].tobytes()
        assert_panel_degree_close(degrees[0], x, edge, planes)


# -------------------------------------------------------------------------------------------------
# All layers of a model at once

GROUP: Final = [(1, 70, 9), (2, 40, 20), (1, 1, 5), (0, 4, 3), (1, 0, 3), (3, 90, 9), (1, 65, 130)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", EDGES)
def test_grouped_degrees_are_those_of_the_layers_alone(
    device: EmulatedDevice, edge: str, dtype: Any
) -> None:
    layers = [random_rows(shape, dtype, seed=at) for at, shape in enumerate(GROUP)]
    layers[1][1, 3, 4] = np.nan  # touches no other item and no other layer
    before = device.library.emulator_kernels()
    grouped = device.weighted_degrees(layers, edge)
    # Three launches of a closed form and four of the tiles; squared takes both routes here.
    launches = {"signed": 3, "shifted": 3, "squared": 7}.get(edge, 4)
    assert device.library.emulator_kernels() - before == launches
    for x, degree in zip(layers, grouped, strict=True):
        assert degree.tobytes() == device.weighted_degree(x, edge).tobytes()
        assert_degree_close(degree, x, edge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_layers_than_a_launch_takes(device: EmulatedDevice, dtype: Any) -> None:
    layers = [random_rows((1, 2 + at % 5, 3), dtype, seed=at) for at in range(70)]
    before = device.library.emulator_kernels()
    grouped = device.weighted_degrees(layers, "abs")
    assert device.library.emulator_kernels() - before == 3 * 4
    for x, degree in zip(layers, grouped, strict=True):
        assert degree.tobytes() == device.weighted_degree(x, "abs").tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("most_blocks", [MOST_BLOCKS, 3, 1])
def test_grouped_vectors_are_those_of_the_layers_alone(
    device: EmulatedDevice, most_blocks: int, dtype: Any
) -> None:
    shapes = [(5, 12, 9), (40, 3, 9), (2, 0, 9), (0, 5, 9), (3, 5, 0), (2, 20, 25), (1, 1, 2)]
    layers = [random_rows(shape, dtype, seed=at) for at, shape in enumerate(shapes)]
    device.reset(7, most_blocks)
    before = device.library.emulator_kernels()
    grouped = device.layers_vectors(layers)
    norms = device.norms
    assert device.library.emulator_kernels() - before == (4 if dtype == np.float64 else 3)
    alone = []
    for weight, vectors in zip(layers, grouped, strict=True):
        assert vectors.tobytes() == device.filter_vectors(weight).tobytes()
        alone.append(device.norms)
    assert norms.tobytes() == np.concatenate(alone).tobytes()


def test_vectors_of_more_layers_than_a_launch_takes(device: EmulatedDevice) -> None:
    layers = [random_rows((2, 4, 9), seed=at) for at in range(33)]
    for weight, vectors in zip(layers, device.layers_vectors(layers), strict=True):
        assert_vectors_close(vectors, weight)


# -------------------------------------------------------------------------------------------------
# Betweenness centrality


def path_graphs() -> dict[str, Array]:
    """Dense graphs of lengths: metric, tied, with zero and negative lengths, with missing edges."""
    rng = np.random.default_rng(5)

    def symmetric(lengths: Array) -> Array:
        lengths = np.triu(lengths, 1)
        return np.ascontiguousarray(lengths + lengths.T)

    x = rng.standard_normal((24, 9))
    x[7] = x[3]
    sparse = symmetric(rng.integers(1, 5, (24, 24)).astype(float))
    missing = symmetric((rng.random((24, 24)) < 0.85).astype(float)) > 0
    sparse[missing] = np.inf
    return {
        "nothing": np.zeros((0, 0)),
        "alone": np.zeros((1, 1)),
        "pair": np.array([[0.0, 1.0], [1.0, 0.0]]),
        "one minus": ref.path_lengths(x, "one_minus"),
        "similarity": ref.path_lengths(x, "similarity"),
        "angle": ref.path_lengths(rng.standard_normal((20, 3)), "angle"),
        "small integers": symmetric(rng.integers(0, 4, (20, 20)).astype(float)),
        "zeros": np.zeros((12, 12)),
        "equal": np.ones((12, 12)),
        "signed integers": symmetric(rng.integers(-2, 4, (20, 20)).astype(float)),
        "missing edges": sparse,
        "no edges": np.full((12, 12), np.inf),
        "line": np.abs(np.arange(20.0)[:, None] - np.arange(20.0)),
    }


@pytest.mark.parametrize("name", path_graphs())
def test_betweenness_centrality(device: EmulatedDevice, name: str) -> None:
    lengths = path_graphs()[name]
    n = len(lengths)
    expected = 2 * ref.graph_betweenness_centrality(lengths, normalized=False)
    results = []
    for seed, most_blocks in ((1, MOST_BLOCKS), (2, 3)):
        device.reset(seed, most_blocks)
        results.append(device.betweenness(lengths))
    assert results[0].tobytes() == results[1].tobytes()
    if n > 2:
        np.testing.assert_allclose(results[0], expected, rtol=1e-12, atol=1e-12 * n * n)
    else:
        np.testing.assert_array_equal(results[0], np.zeros(n))


def test_betweenness_of_more_nodes_than_threads(device: EmulatedDevice) -> None:
    lengths = ref.path_lengths(random_rows((260, 4), np.float64), "one_minus")
    sources = [0, 255, 256]
    got = device.betweenness(lengths, sources)
    scale = np.where(np.isin(np.arange(260), sources), 259 / 2, 259 / 3) / 2
    reference = ref.graph_betweenness_centrality(lengths, False, sources)
    np.testing.assert_allclose(got * scale, reference, rtol=1e-12, atol=1e-9)


def test_betweenness_adds_the_sources_in_their_order(device: EmulatedDevice) -> None:
    lengths = path_graphs()["small integers"]
    sources = [3, 19, 0, 7]
    expected = np.zeros(20)
    for source in sources:
        expected = expected + device.betweenness(lengths, [source])
    assert device.betweenness(lengths, sources).tobytes() == expected.tobytes()


CLOSENESS_GRAPHS: Final = [name for name in path_graphs() if not name.startswith("si")]


@pytest.mark.parametrize("name", CLOSENESS_GRAPHS)
def test_closeness_centrality(device: EmulatedDevice, name: str) -> None:
    lengths = path_graphs()[name]
    expected = ref.graph_closeness_centrality(lengths)
    results = []
    for seed, most_blocks in ((1, MOST_BLOCKS), (2, 3)):
        device.reset(seed, most_blocks)
        results.append(device.closeness(lengths))
    assert results[0].tobytes() == results[1].tobytes()
    np.testing.assert_allclose(results[0], expected, rtol=1e-13)


def test_closeness_of_more_nodes_than_threads(device: EmulatedDevice) -> None:
    """Points on a line in two groups 256 apart in index, and one that nothing leads to."""
    at = np.arange(259.0)
    lengths = np.abs(at[:, None] - at)
    lengths[258] = lengths[:, 258] = np.inf
    expected = 257 / lengths[:258, :258].sum(1) * (257 / 258)
    got = device.closeness(lengths)
    np.testing.assert_allclose(got[:258], expected, rtol=1e-13)
    assert got[258] == 0.0


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_closeness_of_an_undefined_graph(device: EmulatedDevice, bad: float) -> None:
    lengths = np.ones((6, 6))
    np.fill_diagonal(lengths, bad)  # is not read
    np.testing.assert_allclose(device.closeness(lengths), np.ones(6), rtol=1e-14)
    lengths[2, 3] = lengths[3, 2] = bad
    assert np.isnan(device.closeness(lengths)).all()


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_betweenness_of_an_undefined_graph(device: EmulatedDevice, bad: float) -> None:
    lengths = np.ones((6, 6))
    np.fill_diagonal(lengths, bad)  # is not read
    assert not device.betweenness(lengths).any()
    lengths[2, 3] = lengths[3, 2] = bad
    assert np.isnan(device.betweenness(lengths)).all()


# -------------------------------------------------------------------------------------------------
# Sum of distances


def assert_distance_sums_close(actual: Array, x: Array, equal: int = 0) -> None:
    """`equal` other rows at most equal a row: those distances are off by the root of a rounding."""
    rows = x.astype(np.float64)
    expected = np.array([np.linalg.norm(rows - row, axis=1).sum() for row in rows])
    tolerance = TOLERANCE[x.dtype] * max(expected, default=0.0)
    if equal:
        tolerance += equal * 4 * np.sqrt(np.finfo(x.dtype).eps) * np.linalg.norm(rows, axis=1).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_distance_sum(device: EmulatedDevice, n: int, dtype: Any) -> None:
    x = random_rows((n, 19), dtype, seed=n)
    x[: n // 2] *= 7
    assert_distance_sums_close(device.distance_sum(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distance_sum_of_special_rows(device: EmulatedDevice, dtype: Any) -> None:
    x = special_rows(dtype)[0]
    assert_distance_sums_close(device.distance_sum(x), x, equal=2)
    np.testing.assert_array_equal(device.distance_sum(0 * x), np.zeros(70))
    np.testing.assert_array_equal(device.distance_sum(x[:, :0].copy()), np.zeros(70))
    largest = 1e30 if dtype == np.float32 else 1e300
    assert_distance_sums_close(device.distance_sum(x * dtype(largest)) / largest, x, equal=2)
    for bad in (np.nan, np.inf):
        x[7, 2] = bad
        assert np.isnan(device.distance_sum(x)).all()


# Around the stage (8 or 16 features), the chunk (32) and the partial sum (64 products).
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [0, 1, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 576])
def test_features(device: EmulatedDevice, d: int, dtype: Any) -> None:
    x = random_rows((1, 65, d), dtype, seed=d)
    assert_degree_close(device.weighted_degree(x, "abs"), x, "abs")
    assert_nearest_close(*device.nearest(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 65, 5), (4, 2, 3), (5, 1, 2), (2, 130, 17)])
def test_batches(device: EmulatedDevice, shape: tuple[int, ...], dtype: Any) -> None:
    x = random_rows(shape, dtype)
    assert_degree_close(device.weighted_degree(x, "positive"), x, "positive")
    assert_nearest_close(*device.nearest(x), x)


def test_nearest_with_several_panels_to_a_share(device: EmulatedDevice) -> None:
    # 86 x 3 row panels: two shares of the three column panels, the second one smaller.
    x = random_rows((86, 129, 3))
    assert_nearest_close(*device.nearest(x), x)


def test_rounding_does_not_add_up(device: EmulatedDevice) -> None:
    # Equal positive products round the same way every time. Off by, in float32: a plain sum 8e-5,
    # sums of 64 added up plainly 1.5e-6, with compensation 2e-7.
    x = np.ones((1, 2, 11000), np.float32)
    x[0, 1, 8800:] = 0
    assert_nearest_close(*device.nearest(x), x)


def special_rows(dtype: Any) -> Array:
    """Zero, equal, scaled and opposite rows among random ones, more than one tile of them."""
    x = random_rows((1, 70, 9), dtype, seed=3)
    x[0, [4, 66]] = 0
    x[0, 69] = x[0, 5] = x[0, 2]
    x[0, 68] = 2 * x[0, 1]
    x[0, 67] = -x[0, 0]
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", EDGES)
def test_special_rows_degree(device: EmulatedDevice, edge: str, dtype: Any) -> None:
    x = special_rows(dtype)
    degree = device.weighted_degree(x, edge)
    assert_degree_close(degree, x, edge)
    isolated = 69 / 2 if edge == "shifted" else 0
    assert degree[0, 4] == degree[0, 66] == isolated


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_rows_nearest(device: EmulatedDevice, dtype: Any) -> None:
    x = special_rows(dtype)
    similarity, index = device.nearest(x)
    assert_nearest_close(similarity, index, x)
    assert [index[0, i] for i in (2, 5, 69)] == [5, 2, 2]  # equal rows: the lowest other index
    assert similarity[0, 4] == 0
    assert (index[0, 1], index[0, 68]) == (68, 1)
    assert (np.abs(similarity[0]) <= 1).all()


def test_all_rows_equal(device: EmulatedDevice) -> None:
    x = np.tile(random_rows((1, 1, 9)), (1, 130, 1))
    similarity, index = device.nearest(x)
    np.testing.assert_array_equal(index[0], [1] + [0] * 129)
    assert np.unique(similarity).size == 1
    assert_degree_close(device.weighted_degree(x, "signed"), x, "signed")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_rows(device: EmulatedDevice, bad: float, dtype: Any) -> None:
    x = random_rows((3, 66, 9), dtype)
    x[1, 65, 3] = bad
    for edge in EDGES:
        degree = device.weighted_degree(x, edge)
        assert_degree_close(degree, x, edge)
        assert np.isnan(degree[1]).all()
        assert np.isfinite(degree[[0, 2]]).all()
        assert_cosines_close(device.pairwise_cosine(x, edge=edge), x, None, edge)
    similarity, index = device.nearest(x)
    assert_nearest_close(similarity, index, x)
    assert np.isnan(similarity[1, 65])
    assert index[1, 65] == -1
    assert not (index[1] == 65).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_but_non_finite_rows(device: EmulatedDevice, dtype: Any) -> None:
    x = np.full((1, 3, 2), np.nan, dtype)
    x[0, 1] = 1
    similarity, index = device.nearest(x)
    assert np.isnan(similarity).all()
    np.testing.assert_array_equal(index, [[-1, -1, -1]])
    alone = np.full((1, 1, 2), np.nan, dtype)
    np.testing.assert_array_equal(device.weighted_degree(alone, "abs"), [[0]])
    assert device.nearest(alone)[1] == -1


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (np.float32, [1e-44, 1e-30, 1.0, 1e30, 2e37]),
        (np.float64, [5e-322, 1e-300, 1.0, 1e300, 1e307]),
    ],
)
def test_any_finite_scale(device: EmulatedDevice, dtype: Any, scales: list[float]) -> None:
    rows = np.random.default_rng(0).integers(-7, 8, (70, 9)).astype(np.float64)
    factors = np.resize(np.array(scales), 70)[:, None]
    x = (rows * factors).astype(dtype)[None]
    assert_degree_close(device.weighted_degree(x, "abs"), x, "abs")
    assert_nearest_close(*device.nearest(x), x)


def test_within_one_row_scales_may_differ(device: EmulatedDevice) -> None:
    x = random_rows((1, 5, 4), np.float64)
    x[0, :, 0] *= 1e200
    x[0, :, 1] *= 1e-200
    assert_degree_close(device.weighted_degree(x, "signed"), x, "signed")


# -------------------------------------------------------------------------------------------------
# Eigenvector centrality


def random_graphs(shape: tuple[int, ...], dtype: Any = np.float64, seed: int = 0) -> Array:
    """Symmetric graphs of non-negative weights."""
    half = np.random.default_rng(seed).random(shape)
    return (half + np.swapaxes(half, -1, -2)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 31, 33, 65, 260])
def test_eigenvector_centrality(device: EmulatedDevice, n: int, dtype: Any) -> None:
    weights = random_graphs((2, n, n), dtype, seed=n)
    vector, converged, residual = device.eigenvector(weights)
    expected = ref.graph_eigenvector_centrality(weights)
    assert vector.dtype == dtype
    assert converged.all()
    assert (residual <= 1e-10).all()
    tolerance = 1e-6 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(vector, expected, rtol=0, atol=tolerance)


def test_eigenvector_of_a_signed_graph(device: EmulatedDevice) -> None:
    weights = ref.adjacency(random_rows((1, 70, 9), np.float64), "signed")
    vector, converged, _ = device.eigenvector(weights)
    assert converged.all()
    expected = ref.graph_eigenvector_centrality(weights)
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-8)


def test_eigenvector_after_restarts(device: EmulatedDevice) -> None:
    """A path's eigenvalues lie close together: more products than the basis holds vectors."""
    weights = np.zeros((1, 120, 120))
    rows = np.arange(119)
    weights[0, rows, rows + 1] = weights[0, rows + 1, rows] = 1
    vector, converged, residual = device.eigenvector(weights, tol=1e-9, max_iter=1000)
    assert converged.all()
    assert residual[0] <= 1e-9
    expected = np.sin(np.pi * np.arange(1, 121) / 121)
    np.testing.assert_allclose(vector[0], expected / np.linalg.norm(expected), atol=1e-5)
    vector, converged, residual = device.eigenvector(weights, tol=1e-9, max_iter=5)
    assert not converged.any()
    assert residual[0] > 1e-9
    assert np.isnan(vector).all()


def test_eigenvector_items_stop_by_themselves(device: EmulatedDevice) -> None:
    """Without edges, all equal, not finite, ordinary: one batch, each as it is alone."""
    weights = random_graphs((4, 33, 33))
    weights[0] = 0
    weights[1] = 1
    weights[2, 5, 6] = weights[2, 6, 5] = np.inf
    vector, converged, _ = device.eigenvector(weights)
    assert converged.all()
    np.testing.assert_allclose(vector[:2], np.full((2, 33), 33**-0.5), atol=1e-14)
    assert np.isnan(vector[2]).all()
    for item in (0, 1, 3):
        alone, _, _ = device.eigenvector(weights[item : item + 1])
        assert alone.tobytes() == vector[item].tobytes()


def test_eigenvector_from_a_warm_start(device: EmulatedDevice) -> None:
    """Fewer products from nearby; the leading vector all the same from an orthogonal start."""
    weights = random_graphs((2, 70, 70), seed=3)
    weights[1] = 0
    weights[1, :40, :40] = 1  # the leading vector lives on 40 nodes,
    weights[1, 40:, 40:] = 1  # the start is the eigenvector of the other 30
    expected = ref.graph_eigenvector_centrality(weights)
    start = np.stack([1e3 * expected[0], np.arange(70) >= 40]).astype(np.float64)
    vector, converged, _ = device.eigenvector(weights, start=start)
    assert converged.all()
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-9)

    def least_products(start: Array | None) -> int:
        counts = (
            count
            for count in range(1, 100)
            if device.eigenvector(weights[:1], start=start, tol=1e-6, max_iter=count)[1].all()
        )
        return next(counts)

    assert least_products(start[:1]) < least_products(None)


def test_eigenvector_noise_is_convergence(device: EmulatedDevice) -> None:
    weights = 1e-8 * random_graphs((1, 40, 40))
    assert device.eigenvector(weights, tol=1e-300, noise=1e-3, max_iter=2)[1].all()
    assert not device.eigenvector(weights, tol=1e-300, max_iter=2)[1].any()


# -------------------------------------------------------------------------------------------------
# Filter vectors

FILTER_SHAPES: Final = [
    *[(3, c, 9) for c in (1, 2, 8, 9, 10, 64, 65, 70)],
    *[(2, c, 49) for c in (3, 16, 48, 49, 64)],
    (2, 3, 64),
    (1, 70, 64),
    (3, 1, 512),
    (2, 5, 512),
    (3, 17, 2),
    (70, 2, 9),
]


@pytest.mark.parametrize(
    ("dtype", "out_dtype"),
    [(np.float32, np.float32), (np.float32, np.float64), (np.float64, np.float64)],
)
@pytest.mark.parametrize("shape", FILTER_SHAPES)
def test_filter_vectors(
    device: EmulatedDevice, shape: tuple[int, ...], dtype: Any, out_dtype: Any
) -> None:
    weight = random_rows(shape, dtype, seed=1)
    assert_vectors_close(device.filter_vectors(weight, out_dtype), weight)
    norms = np.linalg.norm(weight.astype(np.float64).reshape(len(weight), -1), axis=1)
    np.testing.assert_allclose(device.norms, norms, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [4, 12])
def test_filter_vectors_of_special_filters(device: EmulatedDevice, c: int, dtype: Any) -> None:
    weight = random_rows((7, c, 9), dtype, seed=2)
    weight[0] = 0
    weight[1, :, :] = 0
    weight[1, c - 1, 4] = -3  # one entry: u1 is a unit vector, v1[0] = 0 unless it is channel 0
    weight[2, 0] = 0  # v1[0] = 0: the largest entry decides the sign
    weight[3, c - 1, 8] = np.nan
    weight[4, 0, 0] = np.inf
    weight[5] = np.outer(np.arange(c), [-1, 1, -1, 1, 1, 1, 1, 1, 1])  # ties, first column zero
    vectors = device.filter_vectors(weight)
    assert_vectors_close(vectors, weight)
    np.testing.assert_array_equal(vectors[0], np.zeros(9))
    np.testing.assert_array_equal(vectors[1], np.eye(9)[4])
    assert np.isnan(vectors[3:5]).all()
    assert vectors[5, 0] > 0


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (np.float32, [1e-44, 1e-38, 1e-18, 1e18, 2e37]),
        (np.float64, [5e-322, 1e-300, 1e-160, 1e160, 1e300, 1e307]),
    ],
)
@pytest.mark.parametrize("c", [3, 12])
def test_filter_vectors_at_any_finite_scale(
    device: EmulatedDevice, c: int, dtype: Any, scales: list[float]
) -> None:
    rng = np.random.default_rng(4)
    filters = rng.integers(-7, 8, (len(scales), c, 9)).astype(np.float64)
    weight = (filters * np.array(scales)[:, None, None]).astype(dtype)
    assert_vectors_close(device.filter_vectors(weight), weight)


# -------------------------------------------------------------------------------------------------
# What must not change a bit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_in_any_order_and_grid(device: EmulatedDevice, dtype: Any) -> None:
    x = random_rows((2, 129, 20), dtype)
    weight = random_rows((5, 20, 25), dtype)
    results = []
    # Ascending and shuffled blocks and threads; grids of any size, of one and of three blocks.
    for seed, most_blocks in [(0, MOST_BLOCKS), (1, MOST_BLOCKS), (2, MOST_BLOCKS), (3, 1), (4, 3)]:
        device.reset(seed, most_blocks)
        results.append(
            [
                *(device.weighted_degree(x, edge) for edge in EDGES),
                *device.nearest(x),
                device.pairwise_cosine(x, edge="abs"),
                device.pairwise_cosine(x, x[:, :70].copy()),
                device.row_norms(x.reshape(-1, 20)),
                *device.eigenvector(random_graphs((2, 66, 66), dtype)),
                device.filter_vectors(weight),
                device.filter_vectors(weight, np.float64),
                device.weighted_degree(x[:, :, :9].copy(), "squared"),
                device.distance_sum(x[0]),
            ]
        )
    for other in results[1:]:
        for first, again in zip(results[0], other, strict=True):
            assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_need_only_be_aligned_to_its_elements(device: EmulatedDevice, dtype: Any) -> None:
    x = random_rows((1, 66, 9), dtype)
    weight = random_rows((4, 12, 9), dtype)
    shift = x.itemsize
    for aligned, shifted in (
        (device.weighted_degree(x, "abs"), device.weighted_degree(x, "abs", shift=shift)),
        (device.nearest(x)[0], device.nearest(x, shift=shift)[0]),
        (device.pairwise_cosine(x), device.pairwise_cosine(x, shift=shift)),
        (device.row_norms(x[0]), device.row_norms(x[0], shift=shift)),
        (device.filter_vectors(weight), device.filter_vectors(weight, shift=shift)),
    ):
        assert aligned.tobytes() == shifted.tobytes()
