# SPDX-License-Identifier: MIT
"""The results in float64, without hubprune's kernels, and how far a result is from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .peers import signed_degree_closed, squared_degree_closed, unit_rows

_SAMPLE = 256  # rows whose exact values are computed where all of them would take long
_ALL_ROWS_WORK = 1e10  # n n d up to which every row is checked


def in_float64(result: Any) -> torch.Tensor:
    """Return a route's result as a float64 tensor."""
    return torch.as_tensor(result).double()


def _checked_rows(x: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the rows that are checked: all, or a sample with both ends in it."""
    n = len(x)
    if n <= _SAMPLE or n * n * x.shape[1] <= _ALL_ROWS_WORK:
        return torch.arange(n)
    inner = torch.randperm(n - 2, generator=torch.Generator().manual_seed(0))[: _SAMPLE - 2] + 1
    return torch.cat([torch.tensor([0, n - 1]), inner]).sort().values


def _cosine_panels(
    x: torch.Tensor, some: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (row numbers, their float64 cosines with every row), a few rows at a time."""
    unit = unit_rows(x.double())
    for block in some.split(max(1, 2**24 // len(x))):
        s = unit[block] @ unit.T
        yield block, s.clamp_(-1, 1)


def exact_degree(x: torch.Tensor, edge: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (numbers of the checked rows, their degrees)."""
    some = _checked_rows(x)
    if edge != "abs":
        closed = signed_degree_closed if edge == "signed" else squared_degree_closed
        return some, closed(x.double())[some]
    sums = []
    for block, s in _cosine_panels(x, some):
        s[torch.arange(len(block)), block] = 0
        sums.append(s.abs_().sum(1))
    return some, torch.cat(sums)


def degree_errors(result: Any, exact: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the errors of the checked degrees: relative, or absolute for those below 1."""
    some, degree = exact
    return ((in_float64(result)[some] - degree) / degree.abs().clamp_min(1)).abs()


def exact_nearest(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (numbers of the checked rows, the largest cosine of each with another row)."""
    some = _checked_rows(x)
    best = []
    for block, s in _cosine_panels(x, some):
        s[torch.arange(len(block)), block] = -2
        best.append(s.max(1).values)
    return some, torch.cat(best)


def nearest_errors(result: Any, exact: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the errors of the checked rows' largest cosines."""
    some, best = exact
    return (in_float64(result[0])[some] - best).abs()
