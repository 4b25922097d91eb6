# SPDX-License-Identifier: MIT
"""A pytest plugin that runs test_gpu.py with the CPU in the device's place.

It finds mistakes in those tests before their first minute on a device, and nothing about the
kernels: `python -m pytest -p pretended_device tests/test_gpu.py`. Tensors stay where they are and
say that they are on CUDA; streams, graphs and the memory report are empty shells. What asks about
the device itself is skipped by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from hubprune import _native

ABOUT_THE_DEVICE = (
    "captured_in_a_graph",  # a replay computes again
    "needs_one",
    "refuses_long_ones",
    "with_one_wait",
    "running_out_of_memory",
    "refused_launch",
    "device_count",
    "opcheck",
    "not_stored",  # routes of the CUDA build
)


def _on_the_host(device: Any) -> Any:
    if isinstance(device, str):
        return "cpu" if device.startswith("cuda") else device
    if isinstance(device, torch.device):
        return torch.device("cpu") if device.type == "cuda" else device
    return device


class _Host(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = {k: _on_the_host(v) if k == "device" else v for k, v in (kwargs or {}).items()}
        return func(*map(_on_the_host, args), **kwargs)


class _Stream:
    cuda_stream = 0

    def __init__(self, *_: Any) -> None:
        pass

    def wait_stream(self, _: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


def pytest_configure(config: pytest.Config) -> None:
    """Pretend, for the rest of the process."""
    for name, value in {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "synchronize": lambda *_: None,
        "Stream": _Stream,
        "current_stream": _Stream,
        "stream": lambda _: contextlib.nullcontext(),
        "is_current_stream_capturing": lambda: False,
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None),
        "graph": lambda *_, **__: contextlib.nullcontext(),
        "empty_cache": lambda: None,
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
    }.items():
        setattr(torch.cuda, name, value)
    torch.Tensor.is_cuda = property(lambda _: True)  # type: ignore[assignment, method-assign]
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    _native.cuda_built = lambda: True
    _native.sm90_available = lambda device: False
    _native.weighted_degree_cuda_route = lambda n, d, edge: "tiles"
    _native.eigenvector_centrality_cuda_route = lambda *_: "stored"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what only a device can answer; a name that no test has is a mistake."""
    for part in ABOUT_THE_DEVICE:
        found = [item for item in items if part in item.name]
        if not found:
            raise pytest.UsageError(f"no test about the device is named {part!r}")
        for item in found:
            item.add_marker(pytest.mark.skip(reason="about the device itself"))


@pytest.fixture(autouse=True)
def _host() -> Iterator[None]:
    with _Host():
        yield
