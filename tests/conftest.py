# SPDX-License-Identifier: MIT
"""Fixtures shared by the whole suite."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import emulation
from hubprune import _native
from hubprune.datasets import find_sound_font

LEVELS = [name for name, supported in _native.simd_levels() if supported]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--first-case", action="store_true", help="of every parametrized test only the first case"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--first-case"):
        return
    first: dict[str, pytest.Item] = {}
    for item in items:
        first.setdefault(item.nodeid.partition("[")[0], item)
    kept = set(first.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = first.values()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once per instruction-set level that this processor has."""
    before = _native.simd_level()
    assert _native.select_simd_level(request.param)
    yield request.param
    assert _native.select_simd_level(before)


@pytest.fixture
def every_warning() -> Iterator[None]:
    """Of those that torch gives once in a process."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.fixture
def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures of matplotlib that the test saves."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.fixture
def threads() -> Iterator[list[int]]:
    """Thread counts to compare; the test sets them, the fixture restores."""
    before = torch.get_num_threads()
    yield [1, 2, 3, 8]
    torch.set_num_threads(before)


@pytest.fixture
def dropouts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bool]]:
    """The probability of every dropout from here on, and whether it was on; none drops anything."""
    calls: list[tuple[float, bool]] = []

    def record(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
        calls.append((p, training))
        return x

    monkeypatch.setattr(torch.nn.functional, "dropout", record)
    return calls


@pytest.fixture(scope="session")
def scene_fonts() -> None:
    """Skip a test that renders scenes where their sound fonts are not installed."""
    pytest.importorskip("tinysoundfont", reason="needs tinysoundfont")
    for name in ("TimGM6mb", "FluidR3_GS"):
        try:
            find_sound_font(name)
        except FileNotFoundError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on busy processors wait for each other far longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def emulated_library(tmp_path_factory: pytest.TempPathFactory) -> emulation.EmulatedDevice:
    """csrc/cuda compiled for the emulator, once for all the processes of a run."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to compile the emulator")
    if not emulation.CUDA.is_dir():
        pytest.skip("needs the source tree")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "emulated"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return emulation.EmulatedDevice(emulation.build(folder))


@pytest.fixture
def device(emulated_library: emulation.EmulatedDevice) -> Iterator[emulation.EmulatedDevice]:
    """The emulated device, clean before and after every test."""
    emulated_library.reset()
    yield emulated_library
    emulated_library.release()
