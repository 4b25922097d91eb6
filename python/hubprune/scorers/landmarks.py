# SPDX-License-Identifier: MIT
"""The scorer that keeps what represents the rest, and the control that draws lots."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..arguments import check_seed
from .base import Filters, Redundancy, Scorer

LANDMARK_TOLERANCE = 1e-12
"""Less than this part of the largest filter is rounding: nothing is left to pick."""


@dataclass(frozen=True, kw_only=True)
class Landmarks(Scorer):
    """What is best represented by the rest goes first: greedy pivoted Cholesky.

    The Gram matrix of the flattened filters with their bias appended, unit length, each scaled by
    what it contributes: ``|batch-norm gamma|`` times the norm of the next layers' slice for its
    channel (`plan` finds both; 1 where there is none). Values: minus what is left of a filter when
    the Cholesky picks it, which falls from pick to pick; filters that the others represent to
    rounding are above 0, the less they contribute the more.
    Over layers (``plan(..., global_=True)``) what is left of pick k counts as a part of what is
    left of picks 1 to k together: the part of its layer that goes with it once the later picks are
    gone. The parts that stay multiply to the layer's energy, and over layers in series to the
    network's; the first pick is its whole layer.
    Source: a rule of this library, on Nystroem's landmarks (Chen, Epperly, Tropp & Webber, 2022).
    """

    name: ClassVar[str] = "landmarks"
    uses_contributions: ClassVar[bool] = True

    def _redundancy(self, filters: Filters) -> Redundancy:
        contribution = filters.contribution
        # In float64: which filter is left largest is decided by small differences.
        rows = filters.weight.flatten(1).double()
        if contribution.bias is not None:
            rows = torch.cat((rows, contribution.bias.to(rows.dtype)[:, None]), 1)
        scale = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
        if contribution.scale is not None:
            scale = contribution.scale.to(torch.float64)
            largest = scale.max()
            scale = scale / largest if bool(largest > 0.0) else torch.ones_like(scale)
        gram = torch.ops.hubprune.pairwise_cosine(rows) * scale[:, None] * scale
        order, left, rank = torch.ops.hubprune.pivoted_cholesky(gram, LANDMARK_TOLERANCE)
        picked = order[: int(rank)]
        values = 1.0 - 0.5 * scale  # of what is never picked: above every pick
        values[picked] = -left[: int(rank)]
        found = left[: int(rank)]
        comparable = values.clone()
        comparable[picked] = -found / found.cumsum(0)
        said = [] if contribution.bias is None else ["bias"]
        said += [] if contribution.scale is None else ["batch norm and next layers"]
        weighed = f"weighted by {' and '.join(said)}" if said else "unweighted"
        text = f"pivoted Cholesky of {len(rows)} filters, {weighed}; {int(rank)} represent the rest"
        return Redundancy(values, None, text, comparable)


@dataclass(frozen=True, kw_only=True)
class Random(Scorer):
    """A control: uniform values from `seed` and the layer's name."""

    name: ClassVar[str] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed(self.seed)

    def _redundancy(self, filters: Filters) -> Redundancy:
        # torch's CPU generator uses 32 bits of its seed: mix, do not shift.
        stream = zlib.crc32(f"{self.seed}:{filters.name}".encode())
        generator = torch.Generator("cpu").manual_seed(stream)
        n = len(filters.weight)
        values = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu")
        return Redundancy(values.to(filters.weight.device), None, f"random, seed {self.seed}")
