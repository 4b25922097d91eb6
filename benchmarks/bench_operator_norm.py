# SPDX-License-Identifier: MIT
"""Operator norms of filters: the published importance, and the largest singular values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hubprune.bench import OURS, Case, weights
from hubprune.scorers import OperatorNorm

Rule = Callable[[torch.Tensor], torch.Tensor]


def published_gram(weight: torch.Tensor) -> torch.Tensor:
    """The published importance in torch: Gram matrices of the centred channels, and eigh."""
    kernels = weight.flatten(2)  # (n, c, p)
    channels = (kernels - kernels.mean(0)).transpose(0, 1)  # (c, n, p)
    directions = torch.linalg.eigh(channels.mT @ channels).eigenvectors[..., -1]
    sign = torch.sign((directions * channels[:, 0]).sum(1, keepdim=True))
    projections = torch.einsum("cnp,cp->n", channels, directions * sign)
    return -(projections / projections.abs().amax()).square()


def spectral_gram(weight: torch.Tensor) -> torch.Tensor:
    """Minus the root of the Gram matrix's largest eigenvalue."""
    matrices = weight.flatten(2)
    return -torch.linalg.eigvalsh(matrices.mT @ matrices)[:, -1].clamp_min(0).sqrt()


def spectral_svd(weight: torch.Tensor) -> torch.Tensor:
    return -torch.linalg.matrix_norm(weight.flatten(2), ord=2)


def operator_norm_case(name: str, rule: str, n: int, c: int, peers: dict[str, Rule]) -> Case:
    scorer = OperatorNorm(rule=rule, dead="rank")

    def errors(result: Any, exact: torch.Tensor) -> torch.Tensor:
        return ((result.double() - exact) / exact.abs().amax()).abs()

    return Case(
        name=f"operator_norm {rule} / {name}, {n} x {c} x 3 x 3",
        inputs=lambda: weights([(n, c, 3, 3)])[0],
        routes={OURS: lambda weight: scorer.score(weight).values, **peers},
        exact=lambda weight: next(iter(peers.values()))(weight.double()),
        errors=errors,
        # A direction of the wrong sign moves every importance by its projections.
        peer_bound=1.0,
        bytes=4.0 * n * c * 9,
        flops=float(n) * c * 9 * 10,
        unit="GB/s",
    )


PUBLISHED: dict[str, Rule] = {"torch eigh": published_gram}
SPECTRAL: dict[str, Rule] = {"torch matrix_norm": spectral_svd, "torch eigvalsh": spectral_gram}

CASES = [
    operator_norm_case("CNN14 conv10", "published", 1024, 1024, PUBLISHED),
    operator_norm_case("CNN14 conv10", "spectral", 1024, 1024, SPECTRAL),
    operator_norm_case("VGGish conv2", "published", 128, 64, PUBLISHED),
    operator_norm_case("VGGish conv2", "spectral", 128, 64, SPECTRAL),
]


def test_operator_norm(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)
