# SPDX-License-Identifier: MIT
"""Lines of what else is found from all pairs of rows: the nearest other row, sums of distances."""

from __future__ import annotations

import torch

import hubprune as hp
from gpu_exact import distance_error, nearest_error
from gpu_lines import Line, Ours, Peer, compared_on_rows, pair_rate, pair_work
from gpu_peers import eager_distance_sum, eager_nearest


def nearest_lines(n: int, d: int) -> list[Line]:
    ours = [Ours("nearest", hp.nearest, work=pair_work(n, d))]
    peers = [Peer("X X', max", eager_nearest)]
    return compared_on_rows(n, d, ours, peers, nearest_error, pair_rate(n))


def distance_lines(n: int, d: int) -> list[Line]:
    def run(x: torch.Tensor) -> torch.Tensor:
        sums: torch.Tensor = torch.ops.hubprune.distance_sum(x)
        return sums

    ours = [Ours("distance_sum", run, work=pair_work(n, d))]
    peers = [Peer("cdist, sum", eager_distance_sum)]
    return compared_on_rows(n, d, ours, peers, distance_error, pair_rate(n))
