# SPDX-License-Identifier: MIT
"""scikit-learn's ``cosine_similarity`` and ``Nystroem`` on hubprune's kernels.

Where `cosine_similarity` differs from scikit-learn 1.9's, on purpose (`hubprune.compat.nystroem`
has the list of `Nystroem`):

- Short and long rows are rows like any other; scikit-learn does not divide rows by norms below ten
  ulp of 1 (1e-6 in float32), so that their similarities come out near 0, and gives 0 to rows whose
  squared norm overflows (norms above 2e19 in float32). Only a zero row has similarity 0 to all.
- Without Y the result is exactly symmetric, the diagonal exactly 1 (0 for a zero row), and nothing
  lies outside [-1, 1]; scikit-learn's are so to rounding.
- Arrays and tensors with more than two dimensions are batches; scikit-learn refuses them.
- Tensors give tensors, on their device, also beside an array; scikit-learn gives NumPy arrays. It
  refuses bfloat16 and tensors that require gradients.
- Sparse matrices are scikit-learn's own work: it gets them, and its result comes back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..arguments import as_tensor, shape_text
from ..similarity import pairwise_cosine

try:
    from sklearn.metrics import pairwise as _pairwise
except ImportError as error:
    raise ImportError(
        "hubprune.compat.sklearn needs scikit-learn for its validation: "
        f"pip install scikit-learn ({error})"
    ) from error

from .nystroem import Nystroem

__all__ = ["Nystroem", "cosine_similarity"]


def cosine_similarity(X: Any, Y: Any = None, dense_output: bool = True) -> Any:  # noqa: N803
    """Return the cosine similarity of every row of X with every row of Y.

    Parameters
    ----------
    X : array-like, tensor or sparse matrix, shape (..., n, d)
        Real numbers, finite. float32 stays float32 where both are, all others become float64.
    Y : array-like, tensor or sparse matrix, shape (..., m, d), optional
        Of X's batch shape. Without it, the rows of X among themselves.
    dense_output : bool
        As in scikit-learn: it matters for sparse X and Y only.

    Returns
    -------
    ndarray, tensor or sparse matrix, shape (..., n, m)
        A tensor where X or Y is one.

    Raises
    ------
    ValueError, TypeError
        scikit-learn's own, with its texts, also for what stands beside a tensor; ValueError for
        batch shapes that differ and complex tensors, TypeError for sparse ones.

    Notes
    -----
    No gradients. Equivalent to::

        sklearn.metrics.pairwise.cosine_similarity(X, Y, dense_output)

    Examples
    --------
    >>> from hubprune.compat.sklearn import cosine_similarity
    >>> cosine_similarity([[0, 0, 0], [1, 1, 0]], [[1, 0, 0], [2, 2, 0]]).round(3)
    array([[0.   , 0.   ],
           [0.707, 1.   ]])
    """
    if not _is_ours(X, Y, dense_output):
        return _pairwise.cosine_similarity(X, Y, dense_output)
    if isinstance(X, torch.Tensor) or isinstance(Y, torch.Tensor):
        return _of_tensors(X, Y)
    if _is_batch(X) or _is_batch(Y):
        return _of_batches(np.asarray(X), None if Y is None or Y is X else np.asarray(Y))
    rows, others = _pairwise.check_pairwise_arrays(X, Y)
    return pairwise_cosine(rows, None if others is rows else others)


def _is_ours(X: Any, Y: Any, dense_output: Any) -> bool:  # noqa: N803
    """Whether the kernel can answer; what it cannot, or what is an error, is scikit-learn's."""
    if not isinstance(dense_output, (bool, np.bool_)):
        return False
    if _is_sparse(X) or _is_sparse(Y):
        return False
    return _is_array_like(X) and (Y is None or _is_array_like(Y))


def _is_sparse(array: Any) -> bool:
    return hasattr(array, "tocsr") and not isinstance(array, torch.Tensor)


def _is_array_like(array: Any) -> bool:
    if isinstance(array, str) or getattr(array, "ndim", None) == 0:
        return False
    return any(hasattr(array, name) for name in ("__len__", "shape", "__array__"))


def _is_batch(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.ndim > 2


def _of_batches(X: Any, Y: Any) -> Any:  # noqa: N803
    if Y is not None and (Y.ndim != X.ndim or Y.shape[:-2] != X.shape[:-2]):
        raise ValueError(
            f"X and Y must have the same batch shape; got shapes {shape_text(X.shape)} and "
            f"{shape_text(Y.shape)}"
        )
    rows, others = _pairwise.check_pairwise_arrays(_flat(X), None if Y is None else _flat(Y))
    rows = rows.reshape(X.shape)
    return pairwise_cosine(rows, None if Y is None else others.reshape(Y.shape))


def _of_tensors(X: Any, Y: Any) -> torch.Tensor:  # noqa: N803
    device = X.device if isinstance(X, torch.Tensor) else Y.device
    rows = _checked_tensor(X, "X", device)
    others = None if Y is None or Y is X else _checked_tensor(Y, "Y", device)
    given = [rows] if others is None else [rows, others]
    dtype = torch.float32 if all(t.dtype == torch.float32 for t in given) else torch.float64
    if others is not None:
        if rows.shape[-1] != others.shape[-1]:
            raise ValueError(
                "Incompatible dimension for X and Y matrices: "
                f"X.shape[1] == {rows.shape[-1]} while Y.shape[1] == {others.shape[-1]}"
            )
        if rows.shape[:-2] != others.shape[:-2]:
            raise ValueError(
                f"X and Y must have the same batch shape; got shapes {shape_text(rows.shape)} and "
                f"{shape_text(others.shape)}"
            )
    return pairwise_cosine(rows.to(dtype), None if others is None else others.to(dtype))


def _checked_tensor(array: Any, name: str, device: torch.device) -> torch.Tensor:
    if not isinstance(array, torch.Tensor):
        return as_tensor(_checked(array), name).to(device)
    if array.layout != torch.strided:
        raise TypeError(f"{name} must be dense where it is a tensor; got {array.layout}")
    if array.dtype.is_complex:
        raise ValueError(f"{name} must hold real numbers; got dtype {array.dtype}")
    tensor = array.detach()
    if tensor.ndim < 2 or not tensor.numel() or not bool(tensor.isfinite().all()):
        # What scikit-learn refuses it refuses in its own words.
        dtype = torch.float32 if tensor.dtype == torch.float32 else torch.float64
        _checked(tensor.to(dtype).cpu().numpy())
    return tensor


def _checked(array: Any) -> Any:
    """Return what scikit-learn's validation makes of an array; it sees a batch as one matrix."""
    if not _is_batch(array):
        return _pairwise.check_pairwise_arrays(array, None)[0]
    return _pairwise.check_pairwise_arrays(_flat(array), None)[0].reshape(array.shape)


def _flat(batch: Any) -> Any:
    # Not -1: of an array without elements NumPy cannot tell how many rows there are.
    return batch.reshape(math.prod(batch.shape[:-1]), batch.shape[-1])
