# SPDX-License-Identifier: MIT
"""torchmetrics' ``pairwise_cosine_similarity`` on hubprune's kernel.

Where it differs from torchmetrics 1.9, on purpose:

- Norms are right at any finite scale; torchmetrics' float32 norms vanish below 1e-23 (NaN) and
  overflow above 1e19 (similarity 0).
- Similarities are clamped to [-1, 1]; without y the matrix is exactly symmetric.
- Tensors with more than two dimensions are batches; torchmetrics refuses them.
- bfloat16 is computed in float32 and rounded once; torchmetrics computes in bfloat16. Autocast
  changes nothing here; there the result has autocast's dtype.
- TypeError for complex tensors, which torchmetrics compares, and for dtypes of x and y that differ,
  but for float16 beside float32; there float16 beside bfloat16 or float64 passes too. For integers
  and what is no tensor the error is another one than there (RuntimeError, AttributeError).
- ValueError for tensors on different devices; there it is torch's error, or none (cpu and meta).

Like torchmetrics' it is differentiable, backward and forward: where a derivative is asked for,
torch operations compute the result instead of the kernel. It can be traced, compiled, exported and
batched by `torch.func.vmap` (which calls the kernel once for each of the batch); but
``torch.compile`` refuses a jvp of a vmap of it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch.autograd import forward_ad

from .. import ops as _ops  # noqa: F401  (registers the operators)
from ..arguments import as_tensor, check_same_device

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
        For another type or dtype, or dtypes that do not go together.

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
    similarity = _similarity(x, y, zero_diagonal)
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


def _similarity(x: torch.Tensor, y: torch.Tensor | None, zero_diagonal: bool) -> torch.Tensor:
    dtype = x.dtype
    if y is not None and y.dtype != x.dtype:
        if {x.dtype, y.dtype} != {torch.float16, torch.float32}:
            raise TypeError(f"y must have the dtype of x ({x.dtype}); got {y.dtype}")
        dtype = torch.float16
        x, y = x.float(), y.float()
    similarity: torch.Tensor
    if _is_differentiated(x) or (y is not None and _is_differentiated(y)):
        left = _unit_rows(x)
        right = left if y is None else _unit_rows(y)
        with _full_precision(x.device.type):
            similarity = (left @ right.mT).clamp(-1.0, 1.0)
    elif y is None:  # the kernel's own zeros save small layers two calls
        similarity = torch.ops.hubprune.pairwise_cosine(x, None, "signed", zero_diagonal, True)
        return similarity.to(dtype)
    else:
        similarity = torch.ops.hubprune.pairwise_cosine(x, y, "signed", False, True)
    similarity = similarity.to(dtype)
    if zero_diagonal:
        similarity.diagonal(dim1=-2, dim2=-1).zero_()
    return similarity


def _full_precision(device: str) -> AbstractContextManager[object]:
    """Return a context without autocast, which would multiply in half precision."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _is_differentiated(x: torch.Tensor) -> bool:
    """Whether a derivative of x is asked for: backward, or forward, which `no_grad` leaves on."""
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    try:
        return forward_ad.unpack_dual(x).tangent is not None
    except RuntimeError:  # a batch of `vmap` inside a forward derivative does not say
        return True


def _unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Return the rows over their norms, differentiable, right at any scale; NaN for a zero row."""
    rows = x if x.dtype == torch.float64 else x.float()
    largest = rows.detach().abs().amax(-1, keepdim=True)
    rows = rows / torch.where(largest > 0.0, largest, 1.0)
    norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / norms
