# SPDX-License-Identifier: MIT
"""Lines of the other centralities and of the greedy orders, most of them beside our CPU kernels."""

from __future__ import annotations

from functools import partial

import torch

import hubprune as hp
from gpu_exact import eigenvector_error, shortfall
from gpu_lines import (
    Error,
    Line,
    Ours,
    Peer,
    compared_on_rows,
    compared_with_host,
    gaussian,
)
from gpu_peers import eager_cholesky, eager_eigenvector, eager_greedy_degree


def eigenvector_lines(n: int, d: int, edge: str) -> list[Line]:
    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.eigenvector_centrality(x, edge=edge, tol=1e-6)

    through = "through the d x d Gram matrix" if edge == "squared" else "X X', abs"
    # The bound is of a vector of length 1: the residual that was asked for over the gap.
    ours = [Ours(f"eigenvector_centrality {edge}", run, bound=2e-6)]
    eager = partial(eager_eigenvector, edge=edge)
    peers = [Peer(f"power iteration, {through}", eager, capturable=False)]
    error = partial(eigenvector_error, edge=edge)
    return compared_on_rows(n, d, ours, peers, error, (n / 1e3, "M rows/s"))


def path_lines(operation: str, n: int, d: int) -> list[Line]:
    """Beside our own CPU kernel: nothing else computes these on weighted graphs on a GPU."""
    lengths = 1 - hp.pairwise_cosine(gaussian(n, d).double())

    def run(graph: torch.Tensor) -> torch.Tensor:
        centrality: torch.Tensor = getattr(torch.ops.hubprune, operation)(graph)
        return centrality

    def error_beside(exact: torch.Tensor) -> Error:
        return lambda found: float((found.cpu() - exact).abs().max() / exact.max())

    rate = n * n / 1e6, "G steps/s"
    own = Ours(operation, run)
    return compared_with_host(f"{n} x {d}", lengths, own, [], error_beside, rate)


def greedy_lines(n: int, d: int) -> list[Line]:
    """Beside our own CPU kernel, and beside a loop of torch's operations."""

    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.greedy_degree(x, edge="abs")[0]

    def error_beside(_: torch.Tensor) -> Error:
        return lambda order: shortfall(x, order.to(x.device))

    x = gaussian(n, d)
    own = Ours("greedy_degree abs", run)
    peers = [Peer("torch loop", eager_greedy_degree)]
    return compared_with_host(f"{n} x {d}", x, own, peers, error_beside, (n, "k removals/s"))


def cholesky_lines(n: int) -> list[Line]:
    """Of a matrix of full rank; beside our own CPU kernel, and a loop of torch's operations."""

    def run(a: torch.Tensor) -> torch.Tensor:
        residual: torch.Tensor = torch.ops.hubprune.pivoted_cholesky(a, 1e-12)[1]
        return residual

    def error_beside(exact: torch.Tensor) -> Error:
        return lambda residual: float((residual.cpu() - exact).abs().max() / exact[0])

    rows = gaussian(n, 2 * n).double()
    # The factor is read again for every pivot, but stays in the L2 cache.
    work = {"copy": 8.0 * n * n, "float64": n**3 / 3}
    own = Ours("pivoted_cholesky", run, work=work)
    peers = [Peer("torch loop", eager_cholesky)]
    shape, rate = f"{n} x {n}, full rank", (n, "k pivots/s")
    return compared_with_host(shape, rows @ rows.T, own, peers, error_beside, rate)
