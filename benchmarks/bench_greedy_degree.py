# SPDX-License-Identifier: MIT
"""The greedy order of the weighted degree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import hubprune as hp
from hubprune.bench import OURS, Case


def greedy_torch(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A stored graph; the largest degree, and its row off the degrees, step by step."""
    unit = torch.nn.functional.normalize(x, dim=1)
    weights = (unit @ unit.T).abs().fill_diagonal_(0.0)
    degree = weights.sum(0)
    left = degree.clone()
    order = torch.empty(count, dtype=torch.int64)
    for step in range(count):
        hub = int(left.argmax())
        order[step] = hub
        degree -= weights[hub]
        degree[hub] = left[hub]
        left -= weights[hub]
        left[hub] = -torch.inf
        weights[:, hub] = 0.0  # what is removed keeps its degree
    return order, degree


def greedy_case(n: int, d: int) -> Case:
    def inputs() -> Any:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(n, d, dtype=torch.float64, generator=generator)

    def errors(result: Any, exact: Any) -> torch.Tensor:
        # Orders agree, or removed near ties: the degrees at removal say so.
        return ((result[1][result[0]] - exact[1][exact[0]]) / exact[1].abs().clamp_min(1)).abs()

    return Case(
        name=f"greedy_degree abs / {n} x {d}",
        inputs=inputs,
        routes={
            OURS: lambda x: hp.greedy_degree(x, edge="abs"),
            "torch loop": lambda x: greedy_torch(x, n),
        },
        exact=lambda x: greedy_torch(x, n),
        errors=errors,
        pairs=n * (n - 1) / 2,
        bytes=8.0 * n * (d + n),
        flops=float(n) * n * (d + 2),
        unit="GP/s",
    )


CASES = [greedy_case(64, 9), greedy_case(2048, 9), greedy_case(2048, 1024)]


def test_greedy_degree(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)
