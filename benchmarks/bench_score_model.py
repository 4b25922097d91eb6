# SPDX-License-Identifier: MIT
"""Whole networks scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import hubprune as hp
from hubprune.bench import (
    OURS,
    Case,
    network,
    network_case,
    rank1_gram,
    signed_degree_closed,
    weights,
)
from layers import CNN14_SHAPES, DCASE21_SHAPES, VGGISH_SHAPES
from peers import fpgm_torch, published, torch_pruning_fpgm

# 128 filters at most: loops over pairs take minutes on wider layers.
SMALL = [(64, 1, 3, 3), (128, 64, 3, 3)]


def with_published(shapes: list[tuple[int, ...]]) -> dict[str, Callable[[Any], Any]]:
    return {
        "torch eigh + degree": lambda pair: [signed_degree_closed(rank1_gram(w)) for w in pair[1]],
        "published method, NumPy": published(shapes),
    }


# --- another criterion: the geometric median ------------------------------------------------------


def median_inputs() -> Any:
    layers = weights(CNN14_SHAPES)
    modules = network(layers)
    return modules, layers, torch_pruning_fpgm(modules)


def values(modules: torch.nn.ModuleList, scorer: str) -> list[torch.Tensor]:
    return [scores.values for scores in hp.score_model(modules, scorer).values()]


def median_exact(data: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Some filters of every layer: distances to all others in float64."""
    found = []
    for weight in data[1]:
        filters = weight.flatten(1)
        some = torch.arange(0, len(filters), max(1, len(filters) // 8))
        # Layer by layer and row by row: no temporary of all pairs.
        sums = [
            -(filters - filters[i]).double().square().sum(1).sqrt().sum() for i in some.tolist()
        ]
        found.append((some, torch.stack(sums)))
    return found


def median_errors(result: Any, exact: Any) -> torch.Tensor:
    pairs = zip(result, exact, strict=True)
    return torch.cat([((r.double()[some] - e) / e).abs() for r, (some, e) in pairs])


FPGM = "Torch-Pruning FPGM (squared weights: another criterion)"
DEGREE = "hubprune degree (another criterion)"
MEDIAN = Case(
    name="score_model gm / CNN14, 12 layers",
    inputs=median_inputs,
    routes={
        OURS: lambda data: values(data[0], "gm"),
        "torch cdist": lambda data: fpgm_torch(data[1]),
        FPGM: lambda data: data[2](),
        DEGREE: lambda data: values(data[0], "degree"),
    },
    unchecked=frozenset({FPGM, DEGREE}),
    exact=median_exact,
    errors=median_errors,
    bytes=sum(4.0 * n * (c * 9 + 1) for n, c, *_ in CNN14_SHAPES),
    flops=sum(float(n) * (n - 1) * c * 9 for n, c, *_ in CNN14_SHAPES),
    unit="GFLOP/s",
)

CASES = [
    network_case("score_model abs / CNN14, 12 layers", CNN14_SHAPES),
    network_case("score_model signed / CNN14, 12 layers", CNN14_SHAPES, edge="signed"),
    network_case("score_model abs / VGGish, 6 layers", VGGISH_SHAPES),
    network_case(
        "score_model signed / DCASE baseline, 3 layers",
        DCASE21_SHAPES,
        edge="signed",
        peers=with_published(DCASE21_SHAPES),
    ),
    network_case(
        "score_model signed / VGGish, first 2 layers",
        SMALL,
        edge="signed",
        peers=with_published(SMALL),
    ),
    MEDIAN,
]


def test_score_model(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)
