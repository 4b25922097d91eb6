# SPDX-License-Identifier: MIT
"""Landmarks: which rows' columns stand for the whole similarity matrix.

Rules: ``first`` (the published one), ``uniform``, ``leverage`` (ridge leverage scores from a
uniform pilot), ``rpcholesky`` (accelerated randomly pivoted Cholesky), ``farthest`` (greedy
k-centre).
Random numbers come from a counter: the same seed gives the same numbers on every device.

Pivots and scores need a positive semi-definite matrix. The edges signed, squared and shifted are;
for abs and positive the rules look at the cosines themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .arguments import compute_dtype, shape_text
from .ops import rejection_cholesky, self_weights

__all__ = [
    "DEFINITE_EDGES",
    "LANDMARK_RULES",
    "Selection",
    "counter_uniform",
    "seed_of",
    "select_landmarks",
]

#: The edges whose similarity matrix is positive semi-definite whatever the rows.
DEFINITE_EDGES = ("signed", "squared", "shifted")

LANDMARK_RULES = ("first", "uniform", "leverage", "rpcholesky", "farthest")

_WHOLE_MATRIX_ROWS = 16384  # farthest: above this many rows the matrix (1 GiB) is not stored
_PILOT_STREAM, _CANDIDATE_STREAM, _DRAW_STREAM, _START_STREAM = 1, 2, 3, 4


@dataclass(frozen=True)
class Selection:
    """Landmarks of one matrix, and the factor where the rule makes one on its way.

    Attributes
    ----------
    indices : tensor, shape (m,), int64
        In the order in which they were chosen.
    factor : tensor, shape (n, m), or None
        F with S ~ F F', S the similarity matrix of a definite edge.
    """

    indices: torch.Tensor
    factor: torch.Tensor | None = None


def seed_of(generator: torch.Generator | int | None) -> int:
    """Return a seed: the integer itself, or the next number of a generator (None: torch's own).

    Raises
    ------
    TypeError
        For something else.
    """
    if isinstance(generator, int) and not isinstance(generator, bool):
        return generator
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator, an int or None; got {type(generator).__name__}"
        )
    device = generator.device if generator is not None else "cpu"
    return int(torch.randint(2**62, (), generator=generator, device=device))


def _signed64(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _shifted_right(z: torch.Tensor, bits: int) -> torch.Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # torch shifts the sign in; this takes it out


def counter_bits(seed: int, stream: int, count: int, device: torch.device) -> torch.Tensor:
    """Return `count` random 63-bit integers, the same on every device.

    Number i is SplitMix64's finaliser (Steele, Lea & Flood, 2014) of seed, stream and i.
    """
    start = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1342543DE82EF95) & ((1 << 64) - 1)
    step = _signed64(0x9E3779B97F4A7C15)
    z = torch.arange(1, count + 1, dtype=torch.int64, device=device) * step + _signed64(start)
    z = (z ^ _shifted_right(z, 30)) * _signed64(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted_right(z, 27)) * _signed64(0x94D049BB133111EB)
    return _shifted_right(z ^ _shifted_right(z, 31), 1)


def counter_uniform(seed: int, stream: int, count: int, device: torch.device) -> torch.Tensor:
    """Return `count` uniform float64 in [0, 1), the same on every device (53 bits each)."""
    return (counter_bits(seed, stream, count, device) >> 10).double() * 2.0**-53


def select_landmarks(
    x: torch.Tensor,
    m: int,
    rule: str | torch.Tensor | Sequence[int],
    edge: str,
    seed: int,
    tolerance: float,
) -> Selection:
    """Return m landmarks of x (n, d) by a rule of `LANDMARK_RULES`, or check the ones given.

    `tolerance`: rpcholesky stops before m where the trace of what is left is at most this part of
    the whole; it stops at rounding error in any case.
    """
    if not isinstance(rule, str):
        return Selection(_given_landmarks(rule, m, x))
    if rule == "first":
        return Selection(torch.arange(m, device=x.device))
    if rule == "uniform":
        return Selection(_uniform(len(x), m, seed, x.device))
    if rule == "leverage":
        return Selection(_by_leverage(x, m, edge, seed))
    if rule == "farthest":
        return Selection(_farthest(x, m, seed))
    return _randomly_pivoted(x, m, edge, seed, tolerance)


def _given_landmarks(rule: torch.Tensor | Sequence[int], m: int, x: torch.Tensor) -> torch.Tensor:
    try:
        indices = torch.as_tensor(rule, device=x.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"landmarks must be the name of a rule or row numbers; got {rule!r}"
        ) from error
    if indices.dtype.is_floating_point or indices.dtype.is_complex or indices.dtype == torch.bool:
        raise TypeError(f"landmarks must be row numbers; got dtype {indices.dtype}")
    if indices.shape != (m,):
        raise ValueError(
            f"landmarks must be m = {m} row numbers; got shape {shape_text(indices.shape)}"
        )
    indices = indices.to(torch.int64, copy=True)  # the caller's may change
    rows = indices.tolist()  # a few numbers: Python is done before torch's operations have begun
    outside = [row for row in rows if not 0 <= row < len(x)]
    if outside:
        raise ValueError(f"landmarks must be from 0 to {len(x) - 1}; got {outside[0]}")
    if len(set(rows)) < m:
        twice = next(row for row in sorted(rows) if rows.count(row) > 1)
        raise ValueError(f"landmarks must be different rows; {twice} is there twice")
    return indices


def _uniform(n: int, m: int, seed: int, device: torch.device) -> torch.Tensor:
    """Return m of n without replacement: the rows with the smallest random numbers."""
    return torch.argsort(counter_bits(seed, 0, n, device), stable=True)[:m]


def _definite(edge: str) -> str:
    return edge if edge in DEFINITE_EDGES else "signed"


def ridge_leverage(x: torch.Tensor, pilot: torch.Tensor, edge: str) -> torch.Tensor:
    r"""Return approximate ridge leverage scores (n,) from the columns of `pilot` rows.

    :math:`\ell_i = (K_{ii} - C_i (W + \lambda I)^{-1} C_i') / \lambda`, with lambda the trace that
    the pilot leaves unexplained, per pilot row. With every row in the pilot they are exact:
    :math:`(K (K + \lambda I)^{-1})_{ii}`. Source: Musco & Musco, NIPS 2017 (arXiv 1605.07583).
    """
    columns: torch.Tensor = torch.ops.hubprune.nystrom_columns(x, pilot, edge).double()
    diagonal = self_weights(x, edge)
    inner = columns.index_select(0, pilot)
    floor = max(8.0 * torch.finfo(compute_dtype(x)).eps * float(diagonal.sum()), 1e-30)

    def explained(ridge: float) -> torch.Tensor:
        ridged = inner + ridge * torch.eye(len(pilot), dtype=inner.dtype, device=inner.device)
        lower = torch.linalg.cholesky(ridged)
        half: torch.Tensor = torch.linalg.solve_triangular(lower, columns.mT, upper=False)
        return half.square().sum(0)

    left = float((diagonal - explained(floor)).clamp_min(0.0).sum())
    ridge = max(left / len(pilot), floor)
    return ((diagonal - explained(ridge)) / ridge).clamp(0.0, 1.0)


def _by_leverage(x: torch.Tensor, m: int, edge: str, seed: int) -> torch.Tensor:
    n = len(x)
    pilot = _uniform(n, m, seed + 1, x.device)
    scores = ridge_leverage(x, pilot, _definite(edge))
    # The exponential race: without replacement, in proportion to the scores. Rows without any come
    # last, in random order.
    clock = -torch.log1p(-counter_uniform(seed, _PILOT_STREAM, n, x.device))
    arrival = torch.where(scores > 0.0, clock / scores.clamp_min(1e-300), 1e301 * (1.0 + clock))
    return torch.argsort(arrival, stable=True)[:m]


def _farthest(x: torch.Tensor, m: int, seed: int) -> torch.Tensor:
    """Greedy k-centre: from a random row on, always the row least similar to its nearest landmark.

    Source: Gonzalez, 1985. Ties: lowest index.
    """
    n = len(x)
    start = counter_bits(seed, _START_STREAM, 1, x.device) % n
    whole = None
    if n <= min(16 * m, _WHOLE_MATRIX_ROWS):  # cheaper than m passes over x
        whole = torch.ops.hubprune.pairwise_cosine(x)
    closest = torch.full((n,), -torch.inf, dtype=compute_dtype(x), device=x.device)
    landmarks = [start]
    for _ in range(m - 1):
        last = landmarks[-1]
        column = (
            whole.index_select(0, last)[0]
            if whole is not None
            else torch.ops.hubprune.nystrom_columns(x, last)[:, 0]
        )
        closest = torch.maximum(closest, column)
        closest[last] = torch.inf
        landmarks.append(_first_where(closest == closest.amin()))
    return torch.cat(landmarks)


def _first_where(mask: torch.Tensor) -> torch.Tensor:
    """Return the first True's position (1,); argmin does not promise the first of equals."""
    return mask.to(torch.uint8).argmax(0, keepdim=True)


def _randomly_pivoted(x: torch.Tensor, m: int, edge: str, seed: int, tolerance: float) -> Selection:
    """Accelerated randomly pivoted Cholesky.

    Blocks of candidates are drawn in proportion to the diagonal of what is left, and thinned by
    rejection, so the pivots are distributed as if they had been drawn one by one; columns are
    computed a block at a time, and only those of accepted candidates.
    Source: Epperly, Tropp & Webber, 2024 (arXiv 2410.03969).
    """
    ops = torch.ops.hubprune
    n, device = len(x), x.device
    kernel = _definite(edge)
    left = self_weights(x, kernel)
    whole = float(left.sum())
    noise = 8.0 * torch.finfo(compute_dtype(x)).eps
    # In float64: in float32 what is left, a small difference, would keep half its digits.
    factor = torch.zeros((n, m), dtype=torch.float64, device=device)
    pivots = torch.empty(m, dtype=torch.int64, device=device)
    block = max(8, min(64, m // 4))
    k = attempts = 0
    while k < m and float(left.sum()) > max(tolerance, noise) * whole:
        # Rejection thins a block; a round without any pivot is possible, not for ever.
        if attempts > 20 * m + 100:
            break
        count = min(block, max(8, 2 * (m - k)))
        uniform = counter_uniform(seed + attempts, _CANDIDATE_STREAM, count, device)
        total = left.cumsum(0)
        candidates = torch.searchsorted(total, uniform * total[-1], right=True).clamp_max(n - 1)
        attempts += 1
        rows = x.index_select(0, candidates)
        earlier = factor[candidates, :k]
        between = ops.pairwise_cosine(rows, None, kernel).double() - earlier @ earlier.mT
        draws = counter_uniform(seed + attempts, _DRAW_STREAM, count, torch.device("cpu"))
        accepted = rejection_cholesky(between.cpu(), draws, noise)[: m - k].to(device)
        if not len(accepted):
            continue
        chosen = candidates.index_select(0, accepted)
        columns = ops.nystrom_columns(x, chosen, kernel).double()
        columns -= factor[:, :k] @ factor[chosen, :k].mT
        inner = between.index_select(0, accepted).index_select(1, accepted)
        lower, info = torch.linalg.cholesky_ex(inner)
        if int(info):  # rounding only: what is left of these candidates is noise
            chosen, columns = chosen[:1], columns[:, :1]
            lower = inner[:1, :1].clamp_min(noise).sqrt()
        taken = len(chosen)
        fresh = torch.linalg.solve_triangular(lower, columns.mT, upper=False).mT
        factor[:, k : k + taken] = fresh
        pivots[k : k + taken] = chosen
        left = (left - fresh.square().sum(1)).clamp_min(0.0)
        left[chosen] = 0.0
        k += taken
    if k == 0:  # nothing but zero rows: any of them stands for all
        pivots[0] = 0
        k = 1
    made = factor[:, :k].to(x.dtype).contiguous() if edge == kernel else None
    return Selection(pivots[:k].clone(), made)
