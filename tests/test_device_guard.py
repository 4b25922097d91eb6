# SPDX-License-Identifier: MIT
"""The guard of the tests on a device: what a pretended fault costs, with workers and without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

# A device that a test can break, and tests that end their process in every way there is.
FAULTS = """
import ctypes, sys, types
import pytest

broken = False

def synchronize():
    if broken:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\\nmore lines")

cuda = types.SimpleNamespace(
    is_initialized=lambda: True,
    synchronize=synchronize,
    default_stream=lambda: 0,
    current_stream=lambda: cuda.stream,
    stream=0,
)
sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)

@pytest.mark.parametrize("number", range(24))
def test_healthy(number, record_property):
    record_property("worst", 1e-7 * number)
    assert not broken and cuda.stream == 0

def test_wrong():
    assert 3.5e-6 <= 1e-6

def test_fault_seen_by_the_test():
    global broken
    broken = True
    synchronize()

def test_fault_seen_behind_the_test():
    global broken
    broken = True

def test_capture_that_never_ends():
    cuda.stream = 1

def test_hang_that_holds_the_lock():
    ctypes.PyDLL(None).sleep(100)

def test_crash():
    ctypes.string_at(0)
"""


def guarded(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_faults.py").write_text(FAULTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {
        **{name: value for name, value in os.environ.items() if "XDIST" not in name},
        "HUBPRUNE_GPU_FAILURES": str(folder / "failures.txt"),
        "HUBPRUNE_GPU_TEST_SECONDS": "3",
        "PYTEST_ADDOPTS": "",
        "PYTHONPATH": str(TESTS),
    }
    command = [*(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "device_guard")]
    return subprocess.run(
        [*command, *options, "test_faults.py"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
    )


def test_with_workers_every_fault_costs_one_test(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    run = guarded(tmp_path, "-n", "2", "--max-worker-restart=50")
    assert run.returncode == 1, run.stdout + run.stderr
    assert re.search(r"2[4-6] passed", run.stdout)
    failed = set(re.findall(r"^FAILED \S+::(\w+)", run.stdout, re.MULTILINE))
    assert failed == {
        "test_wrong",
        "test_fault_seen_by_the_test",
        "test_fault_seen_behind_the_test",
        "test_capture_that_never_ends",
        "test_hang_that_holds_the_lock",
        "test_crash",
    }
    failures = (tmp_path / "failures.txt").read_text()
    assert all(name in failures for name in failed)
    assert "assert 3.5e-06 <= 1e-06" in failures
    behind = "test_fault_seen_behind_the_test: the device is broken behind it\nCUDA error: an ill"
    assert behind in failures
    assert "2.3e-06  test_healthy" in run.stdout
    assert 'test_faults.py", line' in run.stderr  # where it hung


def test_in_one_process_a_broken_device_ends_the_run(tmp_path: Path) -> None:
    run = guarded(tmp_path, "-k", "healthy or behind or crash")
    assert run.returncode == 86, run.stdout + run.stderr
    assert "the device is broken: CUDA error: an illegal memory access" in run.stdout
    assert "25 passed" in run.stdout  # the summary is printed


def test_in_one_process_a_hang_ends_it(tmp_path: Path) -> None:
    run = guarded(tmp_path, "-v", "-k", "wrong or hang")
    assert run.returncode == 1
    assert "Timeout" in run.stderr
    assert "test_hang_that_holds_the_lock" in run.stderr
    assert "test_wrong, call" in (tmp_path / "failures.txt").read_text()
