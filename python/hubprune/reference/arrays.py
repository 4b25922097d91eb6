# SPDX-License-Identifier: MIT
"""Arrays in float64: how every input is converted and checked, and the order of every ranking."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


def as_real_array(array: ArrayLike, name: str) -> FloatArray:
    """Return `array` as C-contiguous float64; TypeError if it does not hold real numbers."""
    given = np.asarray(array)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {given.dtype}")
    # ascontiguousarray turns a scalar into a vector; the checks that follow must see the scalar.
    return np.ascontiguousarray(given, dtype=np.float64).reshape(given.shape)


def as_rows(x: ArrayLike, name: str = "x") -> FloatArray:
    rows = as_real_array(x, name)
    if rows.ndim < 2:
        raise ValueError(f"{name} must have shape (..., n, d); got shape {rows.shape}")
    return rows


def as_filters(weight: ArrayLike) -> FloatArray:
    """Return the weight as (n, c, p)."""
    w = as_real_array(weight, "weight")
    if w.ndim < 2:
        raise ValueError(f"weight must have shape (n, c, *kernel); got shape {w.shape}")
    return w.reshape(w.shape[0], w.shape[1], math.prod(w.shape[2:]))


def as_flat_filters(weight: ArrayLike) -> FloatArray:
    """Return the weight as (n, c * p): whole filters."""
    w = as_filters(weight)
    return w.reshape(w.shape[0], w.shape[1] * w.shape[2])


def require_finite(rows: FloatArray, name: str, unit: str) -> None:
    """Raise ValueError naming the first slice along axis 0 that holds a NaN or an infinity."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim))))
    if bad.size:
        raise ValueError(f"{name} must be finite; {unit} {bad[0]} holds a NaN or an infinity")


def require_choice(value: object, choices: tuple[str, ...], name: str) -> None:
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}")


def descending(values: FloatArray) -> IndexArray:
    """Return the indices by descending value, ties by lower index."""
    return np.argsort(-values, kind="stable").astype(np.int64)
