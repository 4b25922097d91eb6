# SPDX-License-Identifier: MIT
"""Checks of what users pass, and the way between NumPy arrays and tensors.

Every public function validates here, once; the kernels trust what reaches them. Messages say what
was expected, what came, and which argument.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Collection, Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Array: TypeAlias = "torch.Tensor | npt.NDArray[np.floating]"

EDGES = ("signed", "squared", "abs", "positive", "shifted")
LENGTHS = ("one_minus", "angle", "similarity")
PRECISIONS = ("highest", "high", "medium")
KINDS = ("auto", "rank1", "flatten")

_NAMES_SHOWN = 6
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def as_tensor(array: object, name: str) -> torch.Tensor:
    """Return `array` as a detached floating-point tensor; NumPy memory is shared when it can be.

    Parameters
    ----------
    array
        A torch tensor or a NumPy array of float16, bfloat16, float32 or float64.
    name
        The argument's name, for the messages.

    Raises
    ------
    TypeError
        If it is neither, or of another dtype.
    """
    if isinstance(array, torch.Tensor):
        tensor = array.detach()
    elif isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray):
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            raise TypeError(
                f"{name} must hold float16, float32 or float64; got dtype {array.dtype}"
            )
        tensor = array_tensor(array)
    else:
        raise TypeError(
            f"{name} must be a torch.Tensor or a numpy.ndarray; got {type(array).__name__}"
        )
    if tensor.dtype not in _FLOATING:
        raise TypeError(
            f"{name} must hold float16, bfloat16, float32 or float64; got dtype "
            f"{str(tensor.dtype).removeprefix('torch.')}"
        )
    if tensor.layout != torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else tensor.layout
        raise TypeError(f"{name} must be a dense tensor; got layout {layout}")
    return tensor


def array_tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return a NumPy array as a tensor: its own memory, or a copy where torch cannot use that."""
    # torch refuses negative strides, strides that are no whole elements and foreign byte order,
    # and warns about read-only memory.
    size = array.itemsize
    usable = (
        array.dtype.isnative
        and array.flags.behaved  # writeable, aligned
        and all(stride >= 0 and stride % size == 0 for stride in array.strides)
    )
    return torch.from_numpy(
        array if usable else array.astype(array.dtype.newbyteorder("="), order="C")
    )


def like_input(result: torch.Tensor, array: object) -> torch.Tensor:
    """Return `result` as a NumPy array when `array` is one (typed as a tensor for the callers)."""
    return result.numpy() if isinstance(array, np.ndarray) else result  # type: ignore[return-value]


def compute_dtype(tensor: torch.Tensor) -> torch.dtype:
    """Return the dtype results come back in: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def check_rows(x: torch.Tensor, name: str) -> None:
    """Require shape (..., n, d)."""
    if x.ndim < 2:
        raise ValueError(f"{name} must have shape (..., n, d); got shape {shape_text(x.shape)}")


def check_weight(weight: torch.Tensor, name: str = "weight") -> None:
    """Require shape (n, c, *kernel)."""
    if weight.ndim < 2:
        raise ValueError(
            f"{name} must have shape (n, c, *kernel); got shape {shape_text(weight.shape)}"
        )


def check_choice(value: object, choices: Iterable[str], name: str) -> None:
    """Require one of the strings in `choices`; the closest one is named."""
    known = tuple(choices)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string; got {type(value).__name__}")
    if value not in known:
        close = difflib.get_close_matches(value.lower(), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}{hint}")


def check_count(value: Any, name: str, *, least: int = 1, kind: type[Any] = int) -> None:
    """Require an int, or another `kind` of integer, of at least `least`; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{name} must be an int; got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def check_number(value: object, name: str) -> None:
    """Require a real number; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number; got {type(value).__name__}")


def check_flag(value: object, name: str) -> None:
    """Require a bool, Python's or NumPy's."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool; got {type(value).__name__}")


def check_seed(value: object) -> None:
    """Require an int; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"seed must be an int; got {type(value).__name__}")


def check_finite_rows(x: torch.Tensor) -> None:
    """Require finite rows x (n, d); the message names the first that is not."""
    bad = torch.nonzero(~torch.isfinite(x).all(-1)).flatten()
    if len(bad):
        raise ValueError(f"x must be finite; row {int(bad[0])} holds NaN or infinity")


def check_has_values(x: torch.Tensor, name: str) -> None:
    """Require a tensor that is not on the meta device."""
    if x.is_meta:
        raise ValueError(f"{name} must hold values; it is on the meta device")


def check_iteration(tol: float, max_iter: int) -> None:
    """Require a number tol > 0 and an integer max_iter >= 1."""
    check_number(tol, "tol")
    if not tol > 0.0:
        raise ValueError(f"tol must be positive; got {tol}")
    check_count(max_iter, "max_iter", kind=numbers.Integral)  # NumPy's integers too


def start_vector(start: Array | None, x: torch.Tensor, x_name: str) -> torch.Tensor | None:
    """Return the start vectors of an iteration on x (..., n, d): finite, (..., n), none all zero.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for another shape or device, an entry that is not finite, or a
        vector of zeros.
    """
    if start is None:
        return None
    vector = as_tensor(start, "start")
    if vector.shape != x.shape[:-1]:
        raise ValueError(
            f"start must have shape {shape_text(x.shape[:-1])}, an entry for each row of {x_name}; "
            f"got shape {shape_text(vector.shape)}"
        )
    check_same_device(x, vector, x_name, "start")
    check_has_values(vector, "start")
    if not bool(vector.isfinite().all()):
        raise ValueError("start must be finite; it holds NaN or infinity")
    if vector.numel() and not bool(vector.any(-1).all()):
        raise ValueError("start must not be all zero: a direction is needed")
    return vector


def check_same_device(x: torch.Tensor, y: torch.Tensor, x_name: str, y_name: str) -> None:
    """Require one device for both."""
    if x.device != y.device:
        raise ValueError(
            f"{y_name} must be on the same device as {x_name} ({x.device}); got {y.device}"
        )


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape as Python writes it: (2, 3), (5,)."""
    return str(tuple(shape))


def some_names(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    every = list(names)
    shown, rest = ", ".join(every[:_NAMES_SHOWN]), len(every) - _NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def unknown_layer_text(owner: str, name: str, known: Collection[str]) -> str:
    """Return the message that a model or plan has no such layer; with close names, or some."""
    names = [each for each in known if each]  # the model itself has the empty name
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"{owner} has no layer {name!r}; did you mean {', '.join(map(repr, close))}?"
    listed = f"; it has {some_names(map(repr, names))}" if names else ""
    return f"{owner} has no layer {name!r}{listed}"
