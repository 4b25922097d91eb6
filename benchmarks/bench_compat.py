# SPDX-License-Identifier: MIT
"""hubprune behind the calls of other libraries, beside those libraries."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch_pruning as tp
from sklearn.metrics.pairwise import cosine_similarity as sklearn_cosine
from torch import nn
from torchmetrics.functional import pairwise_cosine_similarity as torchmetrics_cosine

import hubprune as hp
from hubprune.bench import OURS, Case, rank1_gram, signed_degree_closed
from hubprune.compat import sklearn, torch_pruning, torchmetrics
from layers import CNN14_SHAPES

# --- importances of Torch-Pruning -----------------------------------------------------------------


def cnn14_groups() -> list[Any]:
    """The groups of CNN14's twelve convolutions, as Torch-Pruning's pruners meet them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hp.models.Cnn14().eval()
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 1, 32, 64))
    return list(graph.get_all_groups(root_module_types=[nn.Conv2d]))


def of_groups(importance: Callable[[Any], torch.Tensor]) -> Callable[[Any], list[torch.Tensor]]:
    return lambda groups: [importance(group) for group in groups]


def degree_in_torch(group: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The degree criterion as one would write it for Torch-Pruning."""
    weight = group[0].dep.layer.weight.detach().to(dtype)
    degree = signed_degree_closed(rank1_gram(weight))
    return degree.amax() - degree


def importance_errors(result: Any, exact: Any) -> torch.Tensor:
    """Of filters that no other comes near: equal ones are told apart, by 2^-20 of the largest."""
    errors = []
    for importance, expected in zip(result, exact, strict=True):
        ascending, order = expected.sort()
        near = (ascending.diff() < 2.0**-17 * ascending[-1]).tolist()
        apart = torch.tensor([not (a or b) for a, b in itertools.pairwise([False, *near, False])])
        error = (importance.double()[order] - ascending) / ascending.clamp_min(1)
        errors.append(error.abs()[apart])
    return torch.cat(errors)


FPGM = "Torch-Pruning FPGM (another criterion)"
MAGNITUDE = "Torch-Pruning magnitude (another criterion)"
IMPORTANCE = Case(
    name="compat importance, degree / CNN14, 12 groups",
    inputs=cnn14_groups,
    routes={
        OURS: of_groups(torch_pruning.CosineDegree(normalizer=None)),
        "torch eigh + degree": of_groups(degree_in_torch),
        FPGM: of_groups(tp.importance.FPGMImportance(normalizer=None)),
        MAGNITUDE: of_groups(tp.importance.MagnitudeImportance(normalizer=None)),
    },
    unchecked=frozenset({FPGM, MAGNITUDE}),
    exact=lambda groups: [degree_in_torch(group, torch.float64) for group in groups],
    errors=importance_errors,
    # One vector of the wrong sign moves a peer's signed sums by its similarity to each filter.
    peer_bound=1.0,
    bytes=sum(4.0 * n * (c * 9 + 1) for n, c, *_ in CNN14_SHAPES),
    flops=sum(float(n) * c * 9 * (min(9, c) + 1) for n, c, *_ in CNN14_SHAPES),
    unit="GB/s",
)


# --- cosines of all pairs -------------------------------------------------------------------------


def cosine_case(name: str, n: int, d: int, peer: str, routes: Any, *, diagonal: float) -> Case:
    def inputs() -> Any:
        return torch.randn(n, d, generator=torch.Generator().manual_seed(0))

    def exact(x: torch.Tensor) -> torch.Tensor:
        unit = nn.functional.normalize(x.double(), dim=1)
        return (unit @ unit.T).fill_diagonal_(diagonal)

    ours, theirs = routes
    return Case(
        name=f"compat {name} / {n} x {d}",
        inputs=inputs,
        routes={OURS: ours, peer: theirs},
        exact=exact,
        errors=lambda result, exact: (torch.as_tensor(result).double() - exact).abs().flatten(),
        pairs=n * (n - 1) / 2,
        bytes=4.0 * (n * d + n * n),
        flops=float(n) * n * d,
        unit="GFLOP/s",
    )


SKLEARN = (lambda x: sklearn.cosine_similarity(x.numpy()), lambda x: sklearn_cosine(x.numpy()))
TORCHMETRICS = (torchmetrics.pairwise_cosine_similarity, torchmetrics_cosine)

CASES = [
    IMPORTANCE,
    *(
        case
        for n, d in ((2048, 9), (2048, 256), (64, 9))
        for case in (
            cosine_case("cosine_similarity", n, d, "scikit-learn", SKLEARN, diagonal=1.0),
            cosine_case(
                "pairwise_cosine_similarity", n, d, "torchmetrics", TORCHMETRICS, diagonal=0.0
            ),
        )
    ),
]


def test_compat(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)
