# SPDX-License-Identifier: MIT
"""Lines of rank-1 filter vectors, of single layers and with the degree of a whole network's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

import hubprune as hp
from gpu_clock import Route
from gpu_degree import abs_degree
from gpu_exact import degree_error
from gpu_lines import Line, Ours, Peer, Work, compared, gaussian, largest, pair_work
from gpu_peers import eager_degree, eager_vectors
from layers import CNN14
from peers import rank1_gram


def vectors_work(n: int, c: int, p: int) -> Work:
    """With the Gram matrices of the shorter sides, one triangle and its diagonal."""
    return {"copy": 4.0 * n * p * (c + 1), "float32": float(n) * c * p * (min(p, c) + 1)}


def vectors_lines(name: str, n: int, c: int, *kernel: int) -> list[Line]:
    weight = gaussian(n, c, *kernel)
    some = slice(0, n, max(1, n // 32))
    exact = hp.reference.filter_vectors(weight[some].double().cpu().numpy(), "rank1")

    def error(vectors: torch.Tensor) -> float:
        return float(abs(vectors[some].double().cpu().numpy() - exact).max())

    work = vectors_work(n, c, math.prod(kernel))
    ours = [Ours("filter_vectors rank1", hp.filter_vectors, work=work)]
    peers = [Peer("bmm, eigh", eager_vectors, capturable=False)]
    shape = f"{name}: {n} x {c} x {' x '.join(map(str, kernel))}"
    return compared(shape, weight, ours, peers, error, (4.0 * weight.numel() / 1e6, "GB/s"))


def layer_by_layer(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    return [abs_degree(hp.filter_vectors(w)) for w in weights]


def grouped(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    vectors, _ = torch.ops.hubprune.rank1_vectors([w.flatten(2) for w in weights])
    degrees: list[torch.Tensor] = torch.ops.hubprune.weighted_degree(vectors, "abs")
    return degrees


def model_of(weights: list[torch.Tensor]) -> torch.nn.Sequential:
    model = torch.nn.Sequential()
    for w in weights:
        layer = torch.nn.Conv2d(w.shape[1], w.shape[0], 3, device="meta", bias=False)
        layer.weight = torch.nn.Parameter(w)
        model.append(layer)
    return model


def model_scores(weights: list[torch.Tensor]) -> Route:
    """As a user calls it, who has a model: also finds dead filters, sorts, waits for the norms."""
    model, rule = model_of(weights), hp.scorers.WeightedDegree(edge="abs")
    return lambda _: [scores.values for scores in hp.score_model(model, rule).values()]


# Each returns what is timed, given the weights.
NETWORK_WAYS: dict[str, Callable[[list[torch.Tensor]], Route]] = {
    "vectors and degree, layer by layer": lambda _: layer_by_layer,
    "vectors and degree, grouped": lambda _: grouped,
    "score_model, degree abs": model_scores,
}


def network_lines(way: str, sizes: Sequence[tuple[int, int]] = CNN14) -> list[Line]:
    """Vectors and degree of CNN14 by one of `NETWORK_WAYS`; some rows of every layer checked."""

    def eager(weights: list[torch.Tensor]) -> list[torch.Tensor]:
        return [eager_degree(rank1_gram(w)) for w in weights]

    weights = [gaussian(n, c, 3, 3) for n, c in sizes]
    errors = [degree_error(rank1_gram(w.double())) for w in weights]

    def error(degrees: list[torch.Tensor]) -> float:
        return largest(of_layer(x) for of_layer, x in zip(errors, degrees, strict=True))

    size = sum(w.numel() for w in weights) * 4.0
    works = [vectors_work(n, c, 9) for n, c in sizes] + [pair_work(n, 9) for n, _ in sizes]
    work = {
        "copy": size + sum(4.0 * n for n, _ in sizes),
        "float32": sum(each["float32"] for each in works),
    }
    make = NETWORK_WAYS[way]
    waits = make is model_scores
    ours = [Ours(way, make(weights), work=work, capturable=not waits)]
    peers = [Peer("bmm, eigh, X X', abs-sum", eager, capturable=False)]
    shape = f"CNN14, {len(weights)} layers"
    return compared(shape, weights, ours, peers, error, (size / 1e6, "GB/s"))
