# SPDX-License-Identifier: MIT
"""torchmetrics' ``pairwise_cosine_similarity`` on hubprune's kernel.

Where it differs from torchmetrics 1.9, on purpose:

- Norms are right at any finite scale; torchmetrics' float32 norms vanish below 1e-23 (NaN) and
  overflow above 1e19 (similarity 0).
- Similarities are clamped to [-1, 1]; without y the matrix is exactly symmetric.
- Tensors with more than two dimensions are batches; torchmetrics refuses them.
- bfloat16 is computed in float32 and rounded once; torchmetrics computes in bfloat16.
- Tensors that do not hold floating-point numbers are a TypeError (there: errors of torch).

Like torchmetrics' it is differentiable: where a gradient is asked for, torch operations compute the
result instead of the kernel.
"""

from __future__ import annotations

from typing import Literal

import torch

from ..arguments import as_tensor, check_same_device
from ..similarity import pairwise_cosine, row_norms

__all__ = ["pairwise_cosine_similarity"]


def pairwise_cosine_similarity(
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    reduction: Literal["mean", "sum", "none", None] = None,
    zero_diagonal: bool | None = None,
) -> torch.Tensor:
    """Return the cosine similarity of every row of x with every row of y.

    Parameters
    ----------
    x : tensor, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    y : tensor, shape (..., m, d), optional
        Of x's dtype (or float16 beside float32), device and batch shape. Without it, the rows of x
        among themselves.
    reduction : {"mean", "sum", "none", None}
        Over the last dimension.
    zero_diagonal : bool, optional
        Write 0 on the diagonal, before the reduction. Default: True without y, False with it.

    Returns
    -------
    tensor, shape (..., n, m), or (..., n) after a reduction
        Of x's dtype; float16 where one is float16. NaN in the row and column of a zero row, and of
        one with NaN or infinity; a diagonal that is asked to be zero is zero there too.

    Raises
    ------
    ValueError
        For shapes and reductions, with torchmetrics' texts; for devices that differ.
    TypeError
        For another type or dtype.

    Notes
    -----
    Equivalent to::

        torchmetrics.functional.pairwise_cosine_similarity(x, y, reduction, zero_diagonal)

    Examples
    --------
    >>> import torch
    >>> from hubprune.compat.torchmetrics import pairwise_cosine_similarity
    >>> pairwise_cosine_similarity(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    tensor([[0.0000, 0.7071,    nan],
            [0.7071, 0.0000,    nan],
            [   nan,    nan, 0.0000]])
    """
    _check_tensor(x, "x")
    if x.ndim < 2:
        raise ValueError(
            f"Expected argument `x` to be a 2D tensor of shape `[N, d]` but got {x.shape}"
        )
    if y is not None:
        _check_tensor(y, "y")
        if y.ndim != x.ndim or y.shape[-1] != x.shape[-1] or y.shape[:-2] != x.shape[:-2]:
            raise ValueError(
                "Expected argument `y` to be a 2D tensor of shape `[M, d]` where"
                " `d` should be same as the last dimension of `x`"
            )
        check_same_device(x, y, "x", "y")
    if zero_diagonal is None:
        zero_diagonal = y is None
    similarity = _similarity(x, y)
    if zero_diagonal:
        similarity.diagonal(dim1=-2, dim2=-1).zero_()
    if reduction == "mean":
        return similarity.mean(dim=-1)
    if reduction == "sum":
        return similarity.sum(dim=-1)
    if reduction is None or reduction == "none":
        return similarity
    raise ValueError(f"Expected reduction to be one of `['mean', 'sum', None]` but got {reduction}")


def _check_tensor(x: torch.Tensor, name: str) -> None:
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(x).__name__}")
    as_tensor(x, name)


def _similarity(x: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
    dtype = x.dtype
    if y is not None and y.dtype != x.dtype:
        if {x.dtype, y.dtype} != {torch.float16, torch.float32}:
            raise TypeError(f"y must have the dtype of x ({x.dtype}); got {y.dtype}")
        dtype = torch.float16
        x, y = x.float(), y.float()
    needs_grad = x.requires_grad or (y is not None and y.requires_grad)
    if torch.is_grad_enabled() and needs_grad:
        left = _unit_rows(x)
        right = left if y is None else _unit_rows(y)
        cosines: torch.Tensor = (left @ right.mT).clamp(-1.0, 1.0)
        return cosines.to(dtype)
    similarity = pairwise_cosine(x, y)
    if x.shape[-1] == 0:  # torchmetrics' empty sums: nothing is divided
        return similarity.to(dtype)
    if y is None:  # a row's similarity to itself is 1, 0 for a zero row
        zero_rows = zero_columns = similarity.diagonal(dim1=-2, dim2=-1) == 0.0
    else:
        zero_rows, zero_columns = row_norms(x) == 0.0, row_norms(y) == 0.0
    if bool(zero_rows.any()) or (y is not None and bool(zero_columns.any())):
        zero = zero_rows[..., :, None] | zero_columns[..., None, :]
        similarity.masked_fill_(zero, torch.nan)
    return similarity.to(dtype)


def _unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Return the rows over their norms, differentiable, right at any scale; NaN for a zero row."""
    rows = x if x.dtype == torch.float64 else x.float()
    largest = rows.detach().abs().amax(-1, keepdim=True)
    rows = rows / torch.where(largest > 0.0, largest, 1.0)
    norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / norms
