# SPDX-License-Identifier: MIT
"""The tests for a device, rehearsed without one: a mistake in them would cost a device's time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parent


@pytest.mark.skipif(torch.cuda.is_available(), reason="there they run in earnest")
@pytest.mark.skipif(not (TESTS.parent / "csrc").is_dir(), reason="once, in the source tree")
def test_the_tests_for_a_device_have_no_mistakes() -> None:
    environment = {**os.environ, "HUBPRUNE_GPU_SMALL": "1", "PYTEST_ADDOPTS": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    run = subprocess.run(
        [
            *[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            *["-p", "pretended_device", str(TESTS / "test_gpu.py")],
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=TESTS.parent,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed
    assert int(passed[1]) > 250
