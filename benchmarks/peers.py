# SPDX-License-Identifier: MIT
"""What a competent user would write today without hubprune: the fair peers of the benchmarks."""

from __future__ import annotations

import torch


def rank1_gram(weight: torch.Tensor) -> torch.Tensor:
    """Rank-1 vectors by batched Gram matrices and eigh: the fastest route in plain torch."""
    rows = weight.flatten(2)
    vectors = torch.linalg.eigh(rows.mT @ rows).eigenvectors[..., -1]
    sign = torch.sign((vectors * rows[:, 0]).sum(1, keepdim=True))
    oriented: torch.Tensor = vectors * torch.where(sign == 0, 1.0, sign)
    return oriented


def rank1_svd(weight: torch.Tensor) -> torch.Tensor:
    """Rank-1 vectors by a batched economy SVD."""
    rows = weight.flatten(2).mT
    vectors = torch.linalg.svd(rows, full_matrices=False).U[..., 0]
    sign = torch.sign((vectors * rows[..., 0]).sum(1, keepdim=True))
    oriented: torch.Tensor = vectors * torch.where(sign == 0, 1.0, sign)
    return oriented


def abs_degree_naive(x: torch.Tensor) -> torch.Tensor:
    """The whole matrix at once."""
    x = torch.nn.functional.normalize(x, dim=1)
    return (x @ x.T).abs().sum(1) - 1


def abs_degree_chunked(x: torch.Tensor) -> torch.Tensor:
    """256 rows at a time: the best torch does for short rows."""
    x = torch.nn.functional.normalize(x, dim=1)
    return torch.cat([(block @ x.T).abs().sum(1) for block in x.split(256)]) - 1


def signed_degree_closed(x: torch.Tensor) -> torch.Tensor:
    """The closed form in torch."""
    x = torch.nn.functional.normalize(x, dim=1)
    return x @ x.sum(0) - 1


def nearest_chunked(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest other row, 256 rows at a time."""
    x = torch.nn.functional.normalize(x, dim=1)
    best, where = [], []
    for first in range(0, len(x), 256):
        s = x[first : first + 256] @ x.T
        s.diagonal(first).fill_(-2)
        values, indices = s.max(1)
        best.append(values)
        where.append(indices)
    return torch.cat(best), torch.cat(where)
