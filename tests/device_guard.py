# SPDX-License-Identifier: MIT
"""A pytest plugin for kernels that may hang, or break the device for the whole process.

    python -m pytest -p device_guard -n 6 --max-worker-restart=300 -m gpu tests/test_gpu.py

with tests/ on PYTHONPATH. With the workers of pytest-xdist such a test costs itself and a new
worker, and is reported as failed while the others go on. Without them, a hang ends the run with
the traceback on stderr, a broken device ends it with exit code 86. Environment:

HUBPRUNE_GPU_TEST_SECONDS  after which a test has hung and its process ends; 45 unless set
HUBPRUNE_GPU_FAILURES      a file to which failures are appended as they come
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

BROKEN = 86
REPORT_CHARACTERS = 6000  # of a failure, its end

# The process's own, before pytest captures what is written there.
_stderr = os.dup(2)
_largest: dict[str, float] = {}


def _is_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def _record(title: str, text: str) -> None:
    path = os.environ.get("HUBPRUNE_GPU_FAILURES")
    if path:
        with open(path, "a") as file:
            file.write(f"===== {title}\n{text[-REPORT_CHARACTERS:].rstrip()}\n\n")


def _fault() -> str | None:
    """Wait for the device; return what it says if it is broken.

    Or that of a capture that failed torch has kept the stream: then it captures nothing any more.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    if torch.cuda.current_stream() != torch.cuda.default_stream():
        return "the test left another stream behind, as a graph does whose capture fails"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process when a test hangs, from a thread that needs no lock of Python's."""
    seconds = float(os.environ.get("HUBPRUNE_GPU_TEST_SECONDS", "45"))
    faulthandler.dump_traceback_later(seconds, exit=True, file=_stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)  # in a worker: when the report has been sent
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what failed; leave a process whose device is broken."""
    if not _is_worker():
        if report.failed:
            title = f"{report.nodeid}, {report.when}, {report.duration:.1f} s"
            _record(title, report.longreprtext)
        for name, value in report.user_properties:
            if name == "worst":
                group = _without_sizes(report.nodeid)
                _largest[group] = max(_largest.get(group, 0.0), value)
    ran_here = not hasattr(report, "node")  # and not in a worker of this process
    if report.when == "teardown" and ran_here:
        fault = _fault()
        if fault is None:
            return
        _record(f"{report.nodeid}: the device is broken behind it", fault)
        if _is_worker():
            os._exit(
                BROKEN
            )  # before the worker says that the test is done: it is counted as failed
        pytest.exit(f"the device is broken: {fault}", returncode=BROKEN)


def _without_sizes(nodeid: str) -> str:
    """Return a test's name and its parameters that are words."""
    name, _, parameters = nodeid.split("::")[-1].partition("[")
    words = [each for each in parameters.rstrip("]").split("-") if re.fullmatch(r"[a-z]\w*", each)]
    return "-".join([name, *(each for each in words if not re.fullmatch(r"shape\d+", each))])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the largest errors that the tests recorded as their property "worst"."""
    if _largest:
        terminalreporter.section("largest errors")
        for group, value in sorted(_largest.items()):
            terminalreporter.write_line(f"{value:.1e}  {group}")
