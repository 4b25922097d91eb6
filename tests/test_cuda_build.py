# SPDX-License-Identifier: MIT
"""The CUDA sources compile for every architecture, without warnings and without register spills.

No device is needed: nvcc assembles machine code here, and the linked library must load, count the
devices and fail cleanly on a machine without a driver.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
CUDA: Final = ROOT / "csrc" / "cuda"
NVCC: Final = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
CUDA_ERROR: Final = 3
NO_CUDA: Final = 2

needs_nvcc = pytest.mark.skipif(NVCC is None, reason="needs nvcc, CUDA's compiler")
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
pytestmark = pytest.mark.skipif(not CUDA.is_dir(), reason="needs the source tree")

# Machine code of three generations, and PTX for the chips before, between and after them.
MACHINE_CODE: Final = ("sm_80", "sm_90a", "sm_120")
TARGETS: Final = [
    "-gencode=arch=compute_80,code=[sm_80,compute_80]",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_120,code=[sm_120,compute_120]",
]

# Hopper's own instructions assemble for Hopper alone.
ONLY_HOPPER: Final = {"weighted_degree_sm90"}

BLOCKS_OF_128: Final = {"weighted_degree_mma"}

# Kernels per source. The degree: 3 edges x 2 dtypes + 3 edges x 2 of short rows + 2 finishes + 2 x
# 2 of the packed rows + 2 x 2 of the linear closed forms + 2 x 2 of the squared one; the others in
# the same way; on a warp's matrix units 3 edges x 5 numbers of steps. Eigenvectors: 2 x 2 of a
# stored graph, 2 x 2 of the packed rows, 4 x 2 of implicit products, 3 x 2 + 1 of tiles, start,
# step and 2 finishes, 4 of a wide step.
KERNELS: Final = {
    "betweenness_centrality": 3,
    "closeness_centrality": 2,
    "device": 0,
    "distance_sum": 10,
    "eigenvector_centrality": 31,
    "filter_vectors": 11,
    "greedy_degree": 13,
    "nearest": 8,
    "pairwise_cosine": 14,
    "pivoted_cholesky": 3,
    "row_norms": 4,
    "weighted_degree": 26,
    "weighted_degree_mma": 16,
    "weighted_degree_panels": 6,
    "weighted_degree_sm90": 6,
}


class Kernel(NamedTuple):
    name: str
    architecture: str
    registers: int
    stack: int
    spills: int


class Build(NamedTuple):
    folder: Path
    output: dict[str, str]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("cuda")
    output = {}
    for name in KERNELS:
        run = subprocess.run(
            [
                str(NVCC),
                "-std=c++17",
                "-O3",
                "--threads=2",
                *(TARGETS[1:2] if name in ONLY_HOPPER else TARGETS),
                "-Xptxas=-v",
                "-Werror=all-warnings",
                "-Xcompiler=-Wall,-Wextra,-Werror,-fPIC",
                f"-I{ROOT / 'csrc'}",
                "-c",
                str(CUDA / f"{name}.cu"),
                "-o",
                str(folder / f"{name}.o"),
            ],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        output[name] = run.stdout + run.stderr
    return Build(folder, output)


ENTRY: Final = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '(?P<architecture>\w+)'"
    r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


def kernels(output: str) -> list[Kernel]:
    return [
        Kernel(
            found["name"],
            found["architecture"],
            int(found["registers"]),
            int(found["stack"]),
            int(found["stores"]) + int(found["loads"]),
        )
        for found in ENTRY.finditer(output)
    ]


def test_report_is_understood() -> None:
    report = (
        "ptxas info    : Compiling entry function '_Zone' for 'sm_80'\n"
        "    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n"
        "ptxas info    : Used 63 registers, used 1 barriers\n"
        "ptxas info    : Compiling entry function '_Ztwo' for 'sm_90a'\n"
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 40 registers\n"
    )
    assert kernels(report) == [
        Kernel("_Zone", "sm_80", 63, 8, 16),
        Kernel("_Ztwo", "sm_90a", 40, 0, 0),
    ]


def test_every_source_is_compiled_here() -> None:
    assert sorted(path.stem for path in CUDA.glob("*.cu")) == sorted(KERNELS)


@needs_nvcc
@pytest.mark.parametrize("name", KERNELS)
def test_no_spills_on_any_architecture(build: Build, name: str) -> None:
    assert "Performance Loss" not in build.output[name]  # products that wait for each other
    found = kernels(build.output[name])
    for architecture in ("sm_90a",) if name in ONLY_HOPPER else MACHINE_CODE:
        here = [kernel for kernel in found if kernel.architecture == architecture]
        assert len({kernel.name for kernel in here}) == KERNELS[name], architecture
    for kernel in found:
        assert (kernel.stack, kernel.spills) == (0, 0), kernel
        if name in ONLY_HOPPER:
            # 384 threads share out among them what they were launched with: the kernel counts on
            # 168 each, and would wait for ever for what a launch with fewer does not have.
            assert kernel.registers == 168, kernel
        else:
            # Two blocks of 256 threads fit a multiprocessor everywhere; or of 128.
            assert kernel.registers <= (255 if name in BLOCKS_OF_128 else 128), kernel


def disassembler() -> str | None:
    """The path of cuobjdump: CUDA's own, or of the package nvidia-cuda-cuobjdump."""
    found = shutil.which("cuobjdump") or shutil.which("/usr/local/cuda/bin/cuobjdump")
    packaged = sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/cu*/bin/cuobjdump"))
    return found or (str(packaged[-1]) if packaged else None)


def machine_code(path: Path) -> list[str]:
    """Return the disassembled functions of an object, once for every architecture."""
    tool = Path(str(disassembler()))
    listing = subprocess.run(
        [str(tool), "--dump-sass", str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"},
    ).stdout
    return listing.split("Function : ")[1:]


@needs_nvcc
@pytest.mark.skipif(disassembler() is None, reason="needs cuobjdump")
def test_hopper_multiplies_and_copies_with_its_own_units(build: Build) -> None:
    functions = machine_code(build.folder / "weighted_degree_sm90.o")
    assert len(functions) == KERNELS["weighted_degree_sm90"]
    for columns in (128, 256):
        own = [each for each in functions if f"64x{columns}x16.F32.BF16" in each]
        assert len(own) == len(functions) / 2
    for function in functions:
        assert "HGMMA" in function
        assert "UTMALDG.2D" in function
        assert "UTMALDG.2D.MULTICAST" in function
        assert "UCGABAR_ARV" in function
        assert "USETMAXREG" in function
        assert not re.search(r"\b(LDL|STL)\b", function)
        # Sums are integers: a floating-point atomic would depend on the order.
        assert re.search(r"\b(ATOMG?|RED|REDG)\.E\.ADD\.64", function)
        assert not re.search(r"\b(ATOMG?|RED|REDG)\.E\.ADD\.F", function)


@needs_nvcc
@pytest.mark.skipif(disassembler() is None, reason="needs cuobjdump")
def test_short_rows_are_multiplied_by_matrix_units(build: Build) -> None:
    functions = machine_code(build.folder / "weighted_degree_mma.o")
    degrees = [
        each for each in functions if "weighted_degree_mma_kernel" in each.partition("\n")[0]
    ]
    assert len(degrees) == (KERNELS["weighted_degree_mma"] - 1) * len(MACHINE_CODE)
    for function in degrees:
        assert "HMMA.16816.F32.BF16" in function
        assert re.search(r"\bLDGSTS\.E\.BYPASS", function)
        assert not re.search(r"\b(LDL|STL)\b", function)
        assert not re.search(r"\bFFMA\b", function)  # no product is left to the other units
        assert re.search(r"\b(ATOMG?|RED|REDG)\.E\.ADD\.64", function)
        assert not re.search(r"\b(ATOMG?|RED|REDG)\.E\.ADD\.F", function)


def both_dtypes(build: Build, name: str) -> list[str]:
    """Return a kernel of the degree in both dtypes on every architecture."""
    functions = machine_code(build.folder / "weighted_degree.o")
    found = [function for function in functions if name in function.partition("\n")[0]]
    assert len(found) == 2 * len(MACHINE_CODE)
    return found


@needs_nvcc
@pytest.mark.skipif(disassembler() is None, reason="needs cuobjdump")
def test_closed_forms_divide_no_doubles(build: Build) -> None:
    """Norms are reciprocals and scales powers of two: a division is a dozen products."""
    for name in (
        "unit_sum_kernel",
        "closed_degree_kernel",
        "unit_gram_kernel",
        "gram_degree_kernel",
    ):
        for function in both_dtypes(build, name):
            assert "MUFU.RCP64H" not in function


@needs_nvcc
@pytest.mark.skipif(disassembler() is None, reason="needs cuobjdump")
def test_panels_request_all_their_entries_before_they_store_one(build: Build) -> None:
    """Eight entries and eight norms a thread."""
    for function in both_dtypes(build, "normalized_panels_kernel"):
        assert len(re.findall(r"\bLDG\b", function.partition("STS")[0])) >= 16


@needs_nvcc
def test_tiles_move_16_bytes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "weighted_degree.ptx"
    subprocess.run(
        [
            str(NVCC),
            "-std=c++17",
            "-O3",
            "-arch=compute_80",
            "-ptx",
            f"-I{ROOT / 'csrc'}",
            str(CUDA / "weighted_degree.cu"),
            "-o",
            str(path),
        ],
        check=True,
        capture_output=True,
    )
    text = path.read_text()
    for instruction in ("ld.global.nc.v4.f32", "ld.shared.v4.f32", "ld.shared.v2.f64"):
        assert instruction in text
    assert re.search(r"cp\.async\.cg\.shared\.global \[%r\d+\], \[%rd\d+\], 16", text)
    # Sums over rows are integers: a floating-point atomic would depend on the order.
    assert "atom.global.add.u64" in text
    assert not re.search(r"(atom|red)\.global\.add\.f", text)


def defined_launchers(path: Path) -> set[str]:
    listing = subprocess.run(
        ["nm", "-C", "--defined-only", str(path)], check=True, capture_output=True, text=True
    ).stdout
    symbols = {line.split(maxsplit=2)[2] for line in listing.splitlines() if " U " not in line}
    pattern = re.compile(
        r"((hubprune::Status|long) )?hubprune::cuda::(launch_\w+<|\w+_scratch_bytes[<(]"
        r"|(built|device_count|runtime_version|last_error|weighted_degree_route"
        r"|eigenvector_centrality_route"
        r"|split_rows_pitch|sm90_available|launch_sm90_degree|launch_split_rows|launch_add_panel"
        r"|launch_mma_degree"
        r"|launch_betweenness_centrality|launch_closeness_centrality|launch_degree_finish"
        r"|launch_pivoted_cholesky)\()"
    )
    symbols = {symbol for symbol in symbols if "::__" not in symbol and "[clone" not in symbol}
    return {symbol for symbol in symbols if pattern.match(symbol)}


@needs_nvcc
@needs_gxx
def test_a_build_without_cuda_has_the_same_symbols(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "without_cuda.o"
    compile_cpp(CUDA / "without_cuda.cpp", path)
    with_cuda = set().union(*(defined_launchers(build.folder / f"{name}.o") for name in KERNELS))
    # Questions, steps of the panels, short rows on matrix units, two path centralities and the
    # pivots, scratch sizes (one of them by type, one more for the two eigenvector centralities),
    # launchers of the filter vectors by types, of eight other operations by type.
    assert len(with_cuda) == 8 + 4 + 1 + 3 + len(KERNELS) - 2 + 1 + 1 + 3 + 8 * 2
    assert defined_launchers(path) == with_cuda


def compile_cpp(source: Path, target: Path, *flags: str) -> None:
    subprocess.run(
        [
            "g++",
            "-std=c++17",
            "-O1",
            "-fPIC",
            "-Wall",
            "-Wextra",
            "-Wconversion",
            "-Werror",
            f"-I{ROOT / 'csrc'}",
            *flags,
            "-c",
            str(source),
            "-o",
            str(target),
        ],
        check=True,
    )


def launch_on_nothing(library: Any) -> tuple[int, str]:
    """Ask for the degree of two rows at made-up addresses; return the status and the text."""
    library.emulated_last_error.restype = ctypes.c_char_p
    table = (ctypes.c_int64 * 5)(4096, 1, 2, 3, 4096)
    library.emulated_weighted_degree.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int,
    ]
    status = library.emulated_weighted_degree(0, table, 1, 2, 4096, 0)
    return int(status), library.emulated_last_error().decode()


@needs_gxx
def test_without_cuda_every_launch_says_so(tmp_path: Path) -> None:
    compile_cpp(CUDA / "without_cuda.cpp", tmp_path / "without_cuda.o")
    compile_cpp(ROOT / "tests" / "emulator" / "driver.cpp", tmp_path / "driver.o")
    path = tmp_path / "library.so"
    objects = [str(tmp_path / "without_cuda.o"), str(tmp_path / "driver.o")]
    subprocess.run(["g++", "-shared", "-Wl,-z,defs", "-o", str(path), *objects], check=True)
    library: Any = ctypes.CDLL(str(path))
    assert library.emulated_built() == 0
    assert library.emulated_device_count() == 0
    assert library.emulated_runtime_version() == 0
    assert launch_on_nothing(library) == (NO_CUDA, "")
    assert library.emulated_filter_vectors(0, 0, None, 0, None, 0) == NO_CUDA
    assert library.emulated_distance_sum(0, None, 0, 0, None, None, 0) == NO_CUDA
    assert library.emulated_nearest(0, None, 0, 0, 0, None, None, None, 0) == NO_CUDA
    assert library.emulated_row_norms(0, None, 0, 0, None, None, 0) == NO_CUDA
    assert library.emulated_graph_eigenvector_centrality_scratch(0, 0) == 0
    greedy = library.emulated_greedy_degree
    assert greedy(0, None, 0, 0, 0, 0, 0, None, None, None, 0) == NO_CUDA
    cholesky = library.emulated_pivoted_cholesky
    cholesky.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, *[ctypes.c_void_p] * 4]
    assert cholesky(None, 0, 0.0, None, None, None, None, 0) == NO_CUDA
    assert library.emulated_eigenvector_centrality_scratch(0, 0, 0, 0, 0, 0) == 0
    cosine = library.emulated_pairwise_cosine
    assert cosine(0, None, None, 0, 0, 0, 0, 0, 0, None, None, 0) == NO_CUDA


@needs_nvcc
@needs_gxx
def test_linked_library_loads_without_a_driver(build: Build, tmp_path: Path) -> None:
    compile_cpp(ROOT / "tests" / "emulator" / "driver.cpp", tmp_path / "driver.o")
    path = tmp_path / "library.so"
    objects = [str(tmp_path / "driver.o"), *(str(build.folder / f"{name}.o") for name in KERNELS)]
    subprocess.run([str(NVCC), "-shared", "-cudart=static", "-o", str(path), *objects], check=True)
    undefined = subprocess.run(
        ["nm", "-D", "--undefined-only", str(path)], check=True, capture_output=True, text=True
    ).stdout
    # Neither the driver's symbols (cuLaunchKernel) nor the runtime's (cudaMalloc).
    assert not re.search(r"\bcu[A-Z]|\bcuda[A-Z]", undefined), undefined

    library: Any = ctypes.CDLL(str(path))
    assert library.emulated_built() == 1
    assert library.emulated_runtime_version() >= 12000
    if library.emulated_device_count() == 0:
        status, text = launch_on_nothing(library)
        assert status == CUDA_ERROR
        assert re.match(r"weighted_degree: cudaError\w+: \w+", text), text
