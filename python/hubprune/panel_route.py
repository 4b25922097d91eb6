# SPDX-License-Identifier: MIT
"""The weighted degree of long rows through matrix products of row panels.

The unit rows are split into bfloat16 planes, whose products a matrix unit adds up in float32; a
kernel turns each panel of products into edge weights and adds these to the degrees. The panels
cover the upper triangle of the similarity matrix, one at a time in one scratch tensor.

The steps that depend on the device are a `PanelKernels`: the operators pass CUDA's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

__all__ = ["PANEL_FEATURES", "PanelKernels", "panel_degree", "panels", "plane_products"]

#: From how many features on the products pay, for precision "high" and "medium". Not measured yet:
#: there the products of bfloat16 planes take longer than reading a panel back, by their ceilings.
PANEL_FEATURES = 1024

#: Features whose products are added up inside one matrix product, by the number of planes that are
#: kept and the pair's a + b. A matrix unit truncates its float32 sums after every 16 products
#: (Hopper) or 8 (Ampere), always toward zero, and falls short by up to 2^-24 of a sum each time:
#: sums of such blocks are added to nearest, outside it. "squared" loses twice as much as a cosine.
#:
#: By models of the units, the first pair falls short by 4e-4 in 2^16 features, where bfloat16 alone
#: makes errors of 2e-3 and more, and by 5e-6 and 3e-7 in blocks of 1024 and 128. The pairs with
#: a + b = 1 are smaller by 2^-8. Random rows lose 6e-9 by them, but rows of equal entries, whose
#: products all round alike, 8e-7 in 16 384 features and 2e-6 in 32 768: less than the first pair of
#: two planes, too much beside that of three. Those with a + b = 2 lose 1e-8 in 2^16.
#:
#: A block reads and writes the panel once, 8 bytes an entry: as long as 735 features of a product
#: at an H200's 790 TFLOP/s and 4.3 TB/s.
BLOCK_FEATURES = {1: (2**16,), 2: (1024, 2**15), 3: (128, 4096, 2**16)}

#: Entries of a panel: 256 MiB of float32.
PANEL_ENTRIES = 2**26


class PanelKernels(Protocol):
    """What a device does of the route; every step is enqueued, none waits."""

    def split_rows(self, x: torch.Tensor, planes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the planes (n, planes, pitch) of the unit rows of x (n, d), and sums (n + 1).

        The sums are zero; the last is the flag of a row that is not finite.
        """

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        """Write a b' of bfloat16 a (r, k), b (m, k) to float32 `out` (r, m), or add it."""

    def add_panel(self, panel: torch.Tensor, first: int, edge: str, sums: torch.Tensor) -> None:
        """Add the weights of `panel` (rows, n - first) to the sums of its rows and columns."""

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the degrees (n,), float32."""


def plane_products(planes: int) -> list[tuple[int, int]]:
    """Return the pairs of planes whose products are added, the smallest first.

    One plane: bfloat16. Two: three products, 2^-16. Three: six products, 2^-24.
    """
    pairs = [(a, b) for a in range(planes) for b in range(planes) if a + b < planes]
    return sorted(pairs, key=lambda pair: (-sum(pair), pair))


def panels(n: int) -> Iterator[tuple[int, int]]:
    """Yield (first row, rows) of panels of at most `PANEL_ENTRIES`, whole tiles but for the last.

    A panel spans the columns from its first row on: later ones are narrower, and take more rows.
    """
    first = 0
    while first < n:
        rows = max(256, PANEL_ENTRIES // (n - first) // 256 * 256)
        rows = min(rows, n - first)
        yield first, rows
        first += rows


def _stride(columns: int) -> int:
    """Return the row stride of a panel: rows start at multiples of 16 bytes."""
    return -(-columns // 4) * 4


def panel_degree(x: torch.Tensor, edge: str, planes: int, kernels: PanelKernels) -> torch.Tensor:
    """Return the weighted degree of x (n, d), float32, by an edge that has no closed form.

    Notes
    -----
    n^2 d / 2 multiply-adds in bfloat16 for each product of `plane_products`; memory: `planes` times
    2 n d bytes and 4 `PANEL_ENTRIES`. The same bits on every run where the matrix product is.
    """
    split, sums = kernels.split_rows(x, planes)
    n, _, pitch = split.shape
    sizes = [rows * _stride(n - first) for first, rows in panels(n)]
    scratch = torch.empty(max(sizes, default=0), dtype=torch.float32, device=x.device)
    for first, rows in panels(n):
        stride = _stride(n - first)
        panel = scratch[: rows * stride].view(rows, stride)[:, : n - first]
        started = False
        for a, b in plane_products(planes):
            block = BLOCK_FEATURES[planes][a + b]
            for k in range(0, pitch, block):
                kernels.multiply(
                    split[first : first + rows, a, k : k + block],
                    split[first:, b, k : k + block],
                    panel,
                    started,
                )
                started = True
        if not started:
            panel.zero_()  # rows without a feature
        kernels.add_panel(panel, first, edge, sums)
    return kernels.finish(sums)
