# SPDX-License-Identifier: MIT
"""The similarity graph: cosines of all pairs, nearest neighbours, norms."""

from __future__ import annotations

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import (
    EDGES,
    Array,
    as_tensor,
    check_choice,
    check_flag,
    check_rows,
    check_same_device,
    compute_dtype,
    like_input,
    shape_text,
)

__all__ = ["nearest", "pairwise_cosine", "row_norms"]


def row_norms(x: Array) -> torch.Tensor:
    """Return the Euclidean norm of every row, right at any finite scale.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32. An infinity gives infinity, a NaN gives NaN.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for fewer than two dimensions.

    Notes
    -----
    One read of x. Sums of squares in float64; float64 rows whose squares leave its range are scaled
    by a power of two first. Equivalent to ``torch.linalg.vector_norm(x, dim=-1)``, which overflows
    at 1e20 in float32 on some routes.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.row_norms(torch.tensor([[3e30, 4e30], [0.0, 0.0]]))
    tensor([5.0000e+30, 0.0000e+00])
    """
    tensor = as_tensor(x, "x")
    check_rows(tensor, "x")
    norms: torch.Tensor = torch.ops.hubprune.row_norms(tensor)
    return like_input(norms, x)


def pairwise_cosine(
    x: Array,
    y: Array | None = None,
    *,
    edge: str = "signed",
    zero_diagonal: bool = False,
    out: Array | None = None,
) -> torch.Tensor:
    r"""Return the cosine similarity of every pair of rows, through an edge function.

    :math:`out_{ij} = f(s_{ij})`, :math:`s_{ij} = \langle x_i, y_j \rangle / (|x_i| |y_j|)`, clamped
    to [-1, 1].

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    y : tensor or array, shape (..., m, d), optional
        Of x's dtype, device and batch shape. Without it, the rows of x among themselves.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        f(s) = s, s^2, abs(s), max(s, 0), (1 + s) / 2.
    zero_diagonal : bool
        Write 0 on the diagonal (no self loops). Only without y.
    out : tensor or array, shape (..., n, m), optional
        Where to write; contiguous, of the result's dtype and device; returned.

    Returns
    -------
    tensor or array, shape (..., n, m)
        float64 for float64 input, else float32; NumPy where x is.

    Raises
    ------
    TypeError
        For another type or dtype, or x and y of different dtypes.
    ValueError
        For shapes, devices or an edge that do not fit, or an `out` that shares memory with x or y.

    Notes
    -----
    A zero row has similarity 0 to every row. Without y the result is exactly symmetric and its
    diagonal is f(1), or f(0) for a zero row. A row with NaN or infinity gives NaN in its row and
    column. Norms are right at any finite scale. Cost: n m d multiply-adds, half of it without y.
    Error of a cosine in float32: below 1e-6 (checked up to d = 100 000), also where all products of
    two rows are equal (constant or binary filters) and their rounding adds up. Bitwise the same for
    any number of threads.

    Equivalent to::

        x, y = torch.nn.functional.normalize(x, dim=-1), torch.nn.functional.normalize(y, dim=-1)
        out = f((x @ y.mT).clamp(-1, 1))

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.pairwise_cosine(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]))
    tensor([[ 1.,  0., -1.],
            [ 0.,  1.,  0.],
            [-1.,  0.,  1.]])
    """
    rows = as_tensor(x, "x")
    check_rows(rows, "x")
    check_choice(edge, EDGES, "edge")
    check_flag(zero_diagonal, "zero_diagonal")
    others = None
    if y is not None:
        others = as_tensor(y, "y")
        _check_others(rows, others)
        if zero_diagonal:
            raise ValueError(
                "zero_diagonal=True needs y=None: rows of x and of y are different sets"
            )
    if out is None:
        cosines: torch.Tensor = torch.ops.hubprune.pairwise_cosine(
            rows, others, edge, zero_diagonal
        )
        return like_input(cosines, x)
    target = _check_out(out, rows, rows.shape[-2] if others is None else others.shape[-2])
    torch.ops.hubprune.pairwise_cosine_out(rows, others, edge, zero_diagonal, out=target)
    return out  # type: ignore[return-value]


def nearest(x: Array) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Return every row's most similar other row by cosine.

    :math:`similarity_i = \max_{j \ne i} s_{ij}` and the :math:`j` that attains it (ties: lowest).

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.

    Returns
    -------
    similarity : tensor or array, shape (..., n)
        float64 for float64 input, else float32.
    index : tensor or array, shape (..., n)
        int64.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for fewer than two dimensions.

    Notes
    -----
    Where there is no other row (n = 1), and for a row with NaN or infinity, the similarity is NaN
    and the index -1; such a row is nobody's nearest. A zero row has similarity 0 to all. n^2 d
    multiply-adds, half of that for d > 64; no n x n matrix. Bitwise the same for any number of
    threads.

    Equivalent to::

        s = hp.pairwise_cosine(x); s.diagonal(dim1=-2, dim2=-1).fill_(-2)
        similarity, index = s.max(-1)

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.nearest(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))[1]
    tensor([1, 0, 1])
    """
    tensor = as_tensor(x, "x")
    check_rows(tensor, "x")
    similarity, index = torch.ops.hubprune.nearest(tensor)
    return like_input(similarity, x), like_input(index, x)


def _check_others(x: torch.Tensor, y: torch.Tensor) -> None:
    check_rows(y, "y")
    if y.dtype != x.dtype:
        raise TypeError(f"y must have the dtype of x ({x.dtype}); got {y.dtype}")
    check_same_device(x, y, "x", "y")
    if y.shape[-1] != x.shape[-1] or y.shape[:-2] != x.shape[:-2]:
        expected = ", ".join((*map(str, x.shape[:-2]), "m", str(x.shape[-1])))
        raise ValueError(
            f"y must have shape ({expected}) to go with x of shape {shape_text(x.shape)}; got "
            f"shape {shape_text(y.shape)}"
        )


def _check_out(out: Array, x: torch.Tensor, m: int) -> torch.Tensor:
    target = as_tensor(out, "out")
    shape = (*x.shape[:-1], m)
    if tuple(target.shape) != shape:
        raise ValueError(f"out must have shape {shape}; got shape {shape_text(target.shape)}")
    if target.dtype != compute_dtype(x):
        raise TypeError(f"out must have dtype {compute_dtype(x)}; got {target.dtype}")
    check_same_device(x, target, "x", "out")
    if not target.is_contiguous():
        raise ValueError("out must be contiguous")
    # A copy of an array that torch cannot use would be written in its place.
    if not isinstance(out, torch.Tensor) and not (
        out.flags.carray and target.data_ptr() in (0, out.ctypes.data)
    ):
        raise ValueError(
            "out must be a writeable, C-contiguous array, aligned and of native byte order"
        )
    return target
