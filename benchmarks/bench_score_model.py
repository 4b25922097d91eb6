# SPDX-License-Identifier: MIT
"""The whole of CNN14: vectors and degree of its twelve layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hubprune.scorers import WeightedDegree
from layers import cnn14_weights
from peers import abs_degree_chunked, rank1_gram, signed_degree_closed

WEIGHTS = cnn14_weights()


def ours(edge: str) -> list[torch.Tensor]:
    return [WeightedDegree(edge=edge).score(weight).values for weight in WEIGHTS]


def peer(edge: str) -> list[torch.Tensor]:
    degree = signed_degree_closed if edge == "signed" else abs_degree_chunked
    return [degree(rank1_gram(weight)) for weight in WEIGHTS]


ROUTES = {"hubprune": ours, "torch eigh + degree": peer}
# The oracle is not our code: torch in float64, where the Gram matrix keeps every sign.
VECTORS = [rank1_gram(weight.double()) for weight in WEIGHTS]
EXACT = {
    "signed": [signed_degree_closed(vectors) for vectors in VECTORS],
    "abs": [abs_degree_chunked(vectors) for vectors in VECTORS],
}


@pytest.mark.parametrize("edge", ["signed", "abs"])
@pytest.mark.parametrize("route", ROUTES)
def test_cnn14(route: str, edge: str, benchmark: Any, measure: Callable[..., Any]) -> None:
    benchmark.group = f"score_model {edge} / CNN14, 12 layers"

    def errors(result: list[torch.Tensor]) -> torch.Tensor:
        pairs = zip(result, EXACT[edge], strict=True)
        return torch.cat([((r - e) / e.abs().clamp_min(1.0)).abs() for r, e in pairs])

    # One flipped float32 vector moves the peer's signed sums by its similarity to each filter.
    measure(route, lambda: ROUTES[route](edge), errors, 1e-9 if route == "hubprune" else 1.0)
