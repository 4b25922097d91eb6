# SPDX-License-Identifier: MIT
"""Rank-1 vectors of CNN14's twelve layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import hubprune as hp
from layers import cnn14_weights
from peers import rank1_gram, rank1_svd

WEIGHTS = cnn14_weights()
# The oracle is not our code: torch in float64, where the Gram matrix keeps every sign.
EXACT = [rank1_gram(weight.double()) for weight in WEIGHTS]
ROUTES = {"hubprune": hp.filter_vectors, "torch bmm + eigh": rank1_gram, "torch svd": rank1_svd}


def errors(result: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([(r - e).abs().amax(1) for r, e in zip(result, EXACT, strict=True)])


@pytest.mark.benchmark(group="filter_vectors / CNN14, 12 layers")
@pytest.mark.parametrize("route", ROUTES)
def test_cnn14(route: str, measure: Callable[..., Any]) -> None:
    bound = 1e-6 if route == "hubprune" else 1e-3
    measure(route, lambda: [ROUTES[route](weight) for weight in WEIGHTS], errors, bound)
