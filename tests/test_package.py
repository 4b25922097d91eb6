# SPDX-License-Identifier: MIT
"""The package as installed: extension, OpenMP runtime, configuration, stubs, examples in docs."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import importlib.resources
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hubprune as hp
from documents import FOLDER, blocks
from hubprune import _native
from hubprune.config import configuration

PACKAGE = Path(hp.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(PACKAGE)], "hubprune.")
    if not module.name.endswith("_native")
)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter; the environment is kept but for what is given."""
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


def test_version_is_the_distributions() -> None:
    assert hp.__version__ == _native.__version__ == importlib.metadata.version("hubprune")


@pytest.mark.parametrize("package", ["hubprune", "hubprune_networkx"])
def test_type_checkers_read_the_annotations(package: str) -> None:
    assert importlib.resources.files(package).joinpath("py.typed").is_file()


def test_there_is_one_openmp_runtime() -> None:
    code = (
        "import hubprune as hp, torch\n"
        "hp.weighted_degree(torch.randn(3000, 9), edge='abs')\n"
        "print({line.split()[-1] for line in open('/proc/self/maps') if 'libgomp' in line})"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"libgomp", result.stdout)) == 1, result.stdout


@pytest.mark.skipif(
    Path(_native.__file__).parent != PACKAGE, reason="an editable installation finds it elsewhere"
)
def test_missing_extension_is_said_at_import(tmp_path: Path) -> None:
    copy = tmp_path / "hubprune"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("_native*.so", "__pycache__"))
    result = run_python("import hubprune", PYTHONPATH=str(tmp_path))
    assert result.returncode != 0
    assert "native extension (hubprune._native) is missing" in result.stderr


@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils is not installed")
def test_no_undefined_cuda_symbols() -> None:
    """The wheel must import on a machine without a driver: nothing of CUDA may be undefined."""
    output = subprocess.run(
        ["nm", "-D", "--undefined-only", str(_native.__file__)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search("GOMP_parallel|__kmpc_fork_call", output)  # of GCC's or Clang's OpenMP
    assert not re.findall(r"\bU (?:cu|nv)\w*", output)


def test_simd_level_from_the_environment() -> None:
    supported = [name for name, ok in _native.simd_levels() if ok]
    code = "import hubprune as hp; print(hp._native.simd_level())"
    result = run_python(code, HUBPRUNE_SIMD=supported[0])
    assert result.stdout.strip() == supported[0]
    result = run_python(code, HUBPRUNE_SIMD="v99")
    assert result.returncode != 0
    assert f"HUBPRUNE_SIMD must be one of {', '.join(supported)}" in result.stderr
    assert not _native.select_simd_level("v99")


def test_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    config = configuration()
    assert config["hubprune"] == hp.__version__
    assert config["simd"]["in_use"] in config["simd"]["supported"]
    assert config["cuda"]["built"] == _native.cuda_built()
    assert config["threads"] == torch.get_num_threads()
    hp.show_config()
    printed = capsys.readouterr().out
    assert hp.__version__ in printed
    assert ("built (runtime" in printed) == _native.cuda_built()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_cuda_is_a_clear_error() -> None:
    assert _native.cuda_device_count() == 0
    message = "CUDA error" if _native.cuda_built() else "no CUDA kernels"
    block = torch.zeros(64)
    with pytest.raises(RuntimeError, match=message):
        _native.nearest_cuda(
            False,
            block.data_ptr(),
            1,
            2,
            3,
            block.data_ptr(),
            block.data_ptr(),
            block.data_ptr(),
            0,
            0,
        )


def test_the_binding_rejects_what_would_crash() -> None:
    block = torch.zeros(64)
    address = block.data_ptr()
    with pytest.raises(ValueError, match="sizes must not be negative"):
        _native.row_norms_cpu(False, address, -1, 3, address, 1)
    with pytest.raises(ValueError, match="null address"):
        _native.row_norms_cpu(False, 0, 2, 3, address, 1)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        _native.row_norms_cpu(False, address, 2, 3, address, 0)
    with pytest.raises(ValueError, match="edge code out of range"):
        _native.weighted_degree_cpu(False, [(address, 1, 2, 3, address)], 99, 0, address, 1)
    options = 0, False, False
    with pytest.raises(ValueError, match="without y, m must equal n"):
        _native.pairwise_cosine_cpu(False, address, 0, 1, 2, 3, 3, *options, address, address, 1)
    with pytest.raises(ValueError, match="float64 weights give float64"):
        _native.filter_vectors_cpu(True, False, [(address, 1, 1, 2, address, address)], address, 1)


def test_the_stub_is_current(tmp_path: Path) -> None:
    """`make stubs` writes python/hubprune/_native.pyi; this is the same command."""
    pytest.importorskip("pybind11_stubgen")
    result = subprocess.run(
        [sys.executable, "-m", "pybind11_stubgen", "hubprune._native", "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    generated = (tmp_path / "hubprune" / "_native.pyi").read_text()
    assert generated == (PACKAGE / "_native.pyi").read_text()


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    torch.manual_seed(0)
    failures, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failures == 0


README = FOLDER / "README.md"


@pytest.mark.skipif(not README.is_file(), reason="the README is in the source tree only")
def test_readme_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    found = list(blocks(README))
    assert len(found) >= 2
    for block in found:
        exec(block.code, names)
    assert "2048 -> 1024" in capsys.readouterr().out
    assert (tmp_path / "cnn14-half" / "plan.json").is_file()


def test_public_names_are_documented() -> None:
    for name in hp.__all__:
        assert getattr(hp, name).__doc__, name
