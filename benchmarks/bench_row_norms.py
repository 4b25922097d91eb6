# SPDX-License-Identifier: MIT
"""Norms of rows: one read of the input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import hubprune as hp
from hubprune.bench import OURS, Case, rows

ROUTES = {
    OURS: hp.row_norms,
    "torch": partial(torch.linalg.vector_norm, dim=1),
    "numpy": lambda x: torch.from_numpy(np.linalg.norm(x.numpy(), axis=1)),
}


def row_norms_case(name: str, n: int, d: int) -> Case:
    return Case(
        name=f"row_norms / {name}",
        inputs=lambda: rows(n, d),
        routes=ROUTES,
        exact=lambda x: x.double().square().sum(1).sqrt(),
        errors=lambda result, exact: ((result.double() - exact) / exact).abs(),
        bytes=4.0 * n * (d + 1),
        flops=2.0 * n * d,
        unit="GB/s",
    )


CASES = [
    row_norms_case("CNN14 conv12 flattened, 2048 x 18432", 2048, 18432),
    row_norms_case("1000000 x 9", 1_000_000, 9),
]


def test_row_norms(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)
