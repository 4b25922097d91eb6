# SPDX-License-Identifier: MIT
"""Checks that every model shares: the input's kind and shape, and positive sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["check_input"]


def check_input(x: torch.Tensor, shape: Sequence[int | str], name: str = "x") -> None:
    """Refuse an input of another kind or shape than the model takes.

    Only the shape is read, never a value, so `torch.export` traces through it.

    Parameters
    ----------
    x : torch.Tensor
        The input of a model, any floating-point dtype.
    shape : sequence of int or str
        What is expected: a number is exact, a name stands for any size of at least 1.
    name : str, default "x"
        What the message calls the input.

    Raises
    ------
    TypeError
        If `x` is not a floating-point tensor.
    ValueError
        If the shape differs.

    Examples
    --------
    >>> check_input(torch.zeros(2, 1024), ("batch", 1024))
    >>> check_input(torch.zeros(1024), ("batch", 1024))
    Traceback (most recent call last):
    ...
    ValueError: x must have shape (batch, 1024); got shape (1024,)
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor; got {x.dtype}")
    fits = x.ndim == len(shape) and all(
        have >= 1 if isinstance(want, str) else have == want
        for have, want in zip(x.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}); got shape {tuple(x.shape)}")
