# SPDX-License-Identifier: MIT
"""The peers on the device: the best that torch's operations do, torch.compile and CuPy.

The fewest passes over memory that the operations allow; large matrices in panels of rows.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gpu_clock import Route
from gpu_lines import Peer
from peers import rank1_gram

PANEL_ENTRIES = 2**28  # of a panel of similarities: 1 GiB of float32
CACHED_ENTRIES = 2**23  # of one that stays in an H200's L2 cache between two operations: 32 MiB


def unit_rows(x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """In two passes over x, whatever the dtype of the result."""
    inverse = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12).reciprocal()
    return torch.mul(x, inverse, out=torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device))


def panel_rows(n: int, entries: int = PANEL_ENTRIES) -> int:
    return max(128, entries // n)


def eager_degree(
    x: torch.Tensor, dtype: torch.dtype = torch.float32, entries: int = PANEL_ENTRIES
) -> torch.Tensor:
    """The fewest passes that torch's operations take: a panel is written once and read once."""
    unit = unit_rows(x, dtype)
    if dtype == torch.bfloat16:  # rows that start at multiples of 16 bytes
        unit = torch.nn.functional.pad(unit, (0, -unit.shape[1] % 8))
    panels = (block @ unit.T for block in unit.split(panel_rows(len(x), entries)))
    sums = [torch.linalg.vector_norm(s, 1, dim=1, dtype=torch.float32) for s in panels]
    return torch.cat(sums) - 1


def plain_degree(x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """As it is written down, for a compiler to fuse."""
    unit = torch.nn.functional.normalize(x, dim=1).to(dtype)
    panels = [block @ unit.T for block in unit.split(panel_rows(len(x)))]
    return torch.cat([s.float().abs().sum(1) for s in panels]) - 1


def closed_form_signed(x: torch.Tensor) -> torch.Tensor:
    unit = unit_rows(x)
    return unit @ unit.sum(0) - 1


def closed_form_squares(x: torch.Tensor) -> torch.Tensor:
    unit = unit_rows(x)
    return ((unit @ (unit.T @ unit)) * unit).sum(1) - 1


def eager_distance_sum(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.cdist(block, x).sum(1) for block in x.split(panel_rows(len(x)))])


def eager_vectors(weight: torch.Tensor) -> torch.Tensor:
    """Rank-1 vectors through the Gram matrices of the shorter side."""
    channels = weight.flatten(2)  # (n, c, p)
    if channels.shape[1] >= channels.shape[2]:
        return rank1_gram(weight)
    weights = torch.linalg.eigh(channels @ channels.mT).eigenvectors[..., -1:]  # of the channels
    vectors = (weights.mT @ channels)[:, 0]
    unit = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(weights[:, 0] < 0, -unit, unit)


def eager_nearest(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    unit = unit_rows(x)
    rows = panel_rows(len(x))
    best = []
    for first in range(0, len(x), rows):
        s = unit[first : first + rows] @ unit.T
        s.diagonal(first).fill_(-2)
        best.append(s.max(1))
    return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])


def eager_product(x: torch.Tensor, edge: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return v -> W v in the dtype of x: implicit, stored where it fits, else panels of rows."""
    unit = unit_rows(x)
    if edge == "squared":

        def implicit(v: torch.Tensor) -> torch.Tensor:
            gram = unit.T @ (v[:, None] * unit)
            return ((unit @ gram) * unit).sum(1) - v

        return implicit
    size = len(x) ** 2 * x.element_size()
    if 2 * size < torch.cuda.mem_get_info()[0]:
        graph = (unit @ unit.T).abs_()
        graph.fill_diagonal_(0)
        return lambda v: graph @ v
    panels = unit.split(panel_rows(len(x)))
    return lambda v: torch.cat([(panel @ unit.T).abs_() @ v for panel in panels]) - v


def eager_eigenvector(x: torch.Tensor, edge: str, tol: float = 1e-6) -> torch.Tensor:
    """Power iteration from ones, until the residual is small or has not shrunk for three products.

    It waits for each residual.
    """
    product = eager_product(x, edge)
    v = torch.full((len(x),), len(x) ** -0.5, dtype=x.dtype, device=x.device)
    least, idle = float("inf"), 0
    for _ in range(500):
        w = product(v)
        value = v @ w
        residual = float((w - value * v).norm() / value)
        idle = 0 if residual < least else idle + 1
        least = min(least, residual)
        if residual <= tol or idle == 3:
            break
        v = w / w.norm()
    return v


def eager_greedy_degree(x: torch.Tensor) -> torch.Tensor:
    """Without waiting for the device: an index of one entry stays there, a number would not."""
    unit = unit_rows(x)
    weights = (unit @ unit.T).abs().fill_diagonal_(0)
    degree = weights.sum(1)
    hubs = []
    for _ in range(len(x)):
        hubs.append(degree.argmax(0, keepdim=True))
        degree -= weights.index_select(0, hubs[-1])[0]
        degree.index_fill_(0, hubs[-1], -torch.inf)
    return torch.cat(hubs)


def eager_cholesky(a: torch.Tensor) -> torch.Tensor:
    """Return what is left at every pivot of a matrix of full rank; it does not wait either."""
    factor = torch.empty_like(a)
    left = a.diagonal().clone()
    residuals = []
    for step in range(len(a)):
        pivot = left.argmax(0, keepdim=True)
        residuals.append(left.index_select(0, pivot))
        known = factor[:step]
        of_pivot = known.index_select(1, pivot)[:, 0]
        row = torch.addmv(a.index_select(0, pivot)[0], known.T, of_pivot, alpha=-1)
        factor[step] = row / residuals[-1].sqrt()
        left -= factor[step].square()
        left.index_fill_(0, pivot, -torch.inf)
    return torch.cat(residuals)


# --- at a precision -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Precision:
    """What a precision of the degree stands for."""

    bound: float  # of the error, relative to the degree
    dtype: torch.dtype  # of torch's product at that precision
    eager: str  # how torch computes it
    products: int  # of bfloat16 planes


PRECISIONS = {
    "highest": Precision(1e-6, torch.float32, "float32", 6),
    "high": Precision(1.5e-5, torch.float32, "tf32", 3),
    "medium": Precision(1e-2, torch.bfloat16, "bfloat16", 1),
}


def with_precision(precision: str, run: Route) -> Route:
    """Return `run` with torch's float32 products in a precision."""

    def inside(x: torch.Tensor) -> Any:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            return run(x)
        finally:
            torch.set_float32_matmul_precision(before)

    return inside


def eager_degree_at(precision: str) -> Route:
    """Return the absolute degree by torch's own product at a precision."""
    return with_precision(precision, lambda x: eager_degree(x, PRECISIONS[precision].dtype))


# --- other packages -------------------------------------------------------------------------------
def cupy_degree() -> Route:
    import cupy

    def run(x: torch.Tensor) -> torch.Tensor:
        # On torch's stream, or the events around it would not see its work.
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            rows = cupy.from_dlpack(x)
            unit = rows / cupy.linalg.norm(rows, axis=1, keepdims=True)
            return torch.from_dlpack(cupy.abs(unit @ unit.T).sum(axis=1) - 1)

    return run


def other_packages(precision: str) -> list[str]:
    """Return what else is installed that computes the degree at a precision."""
    found = ["torch.compile"] if importlib.util.find_spec("triton") else []
    if precision == "highest" and importlib.util.find_spec("cupy"):
        found.append("CuPy")
    return found


def other_peer(package: str, precision: str) -> Peer:
    """Return the degree by one of `other_packages`."""
    if package == "CuPy":
        return Peer("CuPy X X', abs, sum", cupy_degree(), capturable=False)
    compiled = torch.compile(plain_degree, dynamic=False)
    asked = PRECISIONS[precision]
    run = with_precision(precision, lambda x: compiled(x, asked.dtype))
    return Peer(f"torch.compile of X X', abs, sum in {asked.eager}", run, capturable=False)
