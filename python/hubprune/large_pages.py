# SPDX-License-Identifier: MIT
"""Large pages behind memory that is about to be written first."""

from __future__ import annotations

import torch

from . import _native

__all__ = ["with_large_pages"]

#: From so many bytes on, memory comes fresh from the system at every call.
_LARGE_BYTES = 8 << 20


def with_large_pages(fresh: torch.Tensor) -> torch.Tensor:
    """Ask for large pages behind a fresh, dense tensor, if it is a large one on the CPU; return it.

    In pages of 4 KB the system takes as long to hand them out as a copy takes to fill them.
    """
    if fresh.nbytes >= _LARGE_BYTES and fresh.device.type == "cpu":
        _native.request_large_pages(fresh.data_ptr(), fresh.nbytes)
    return fresh
