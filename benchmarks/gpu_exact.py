# SPDX-License-Identifier: MIT
"""Errors of the device's results against float64, on some of the rows where all would take long."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gpu_lines import Error
from gpu_peers import eager_eigenvector, unit_rows


def some_rows(x: torch.Tensor, count: int = 32) -> torch.Tensor:
    """Return row numbers from the first to the last."""
    return torch.linspace(0, len(x) - 1, min(count, len(x)), device=x.device).long()


def sampled_cosines(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return some row numbers and their float64 cosines with every row, 0 with themselves."""
    some = some_rows(x)
    unit = unit_rows(x[some].double())
    panels = [unit @ unit_rows(block.double()).T for block in x.split(65536)]
    cosines = torch.cat(panels, dim=1).clamp(-1, 1)
    cosines[torch.arange(len(some), device=x.device), some] = 0
    return some, cosines


def relative_error(some: torch.Tensor, exact: torch.Tensor) -> Error:
    """Return the error of sums, relative to the exact ones of some rows."""
    return lambda sums: float(((sums[some].double() - exact) / exact).abs().max())


def degree_error(
    x: torch.Tensor, weight: Callable[[torch.Tensor], torch.Tensor] = torch.abs
) -> Error:
    """Return the relative error of degrees of x, by the edges' weights given their cosines."""
    some, cosines = sampled_cosines(x)
    return relative_error(some, weight(cosines).sum(1))


def signed_error(x: torch.Tensor) -> Error:
    """Return the error of signed degrees, relative to the sums of the cosines' magnitudes."""
    some, cosines = sampled_cosines(x)
    exact, size = cosines.sum(1), cosines.abs().sum(1)
    return lambda sums: float(((sums[some].double() - exact) / size).abs().max())


def squares_error(x: torch.Tensor) -> Error:
    return degree_error(x, torch.square)


def distance_error(x: torch.Tensor) -> Error:
    some = some_rows(x)
    mode = "donot_use_mm_for_euclid_dist"
    exact = torch.cdist(x[some].double(), x.double(), compute_mode=mode).sum(1)
    return relative_error(some, exact)


def nearest_error(x: torch.Tensor) -> Error:
    """Return the error of (similarity, index): of the similarity, and of what the index names."""
    some, cosines = sampled_cosines(x)
    cosines[torch.arange(len(some), device=some.device), some] = -2
    exact = cosines.max(1).values

    def error(result: tuple[torch.Tensor, torch.Tensor]) -> float:
        similarity, index = result
        at_index = cosines.gather(1, index[some][:, None])[:, 0]
        wrong = torch.maximum((similarity[some].double() - exact).abs(), exact - at_index)
        return float(wrong.max())

    return error


def eigenvector_error(x: torch.Tensor, edge: str) -> Error:
    """Return the length of the difference to the vector by power iteration in float64."""
    exact = eager_eigenvector(x.double(), edge, 1e-12)
    return lambda vector: float((vector.double() - exact).norm())


def shortfall(x: torch.Tensor, order: torch.Tensor) -> float:
    """Return how far a removed row's degree is below the largest, relative to it, at most."""
    unit = unit_rows(x.double())
    weights = (unit @ unit.T).abs().fill_diagonal_(0)
    left = weights.sum(1)
    worst = torch.zeros((), dtype=torch.float64, device=x.device)
    for hub in order:
        worst = torch.maximum(worst, (left.max() - left[hub]) / left.max().clamp(min=1))
        left -= weights[hub]
        left[hub] = -torch.inf
    return float(worst)
