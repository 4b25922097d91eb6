# SPDX-License-Identifier: MIT
"""The largest errors of the CUDA kernels against hubprune.reference, by operation and dtype.

About three times what was measured under the emulator (x86-64, g++ 12, all shapes of
test_emulated_*.py). A device contracts multiply-adds, which changes the last bits only: the bounds
leave room for that. The tables know a dtype of NumPy and of torch.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch


def _by_dtype(single: float, double: float) -> dict[Any, float]:
    return {
        np.dtype(np.float32): single,
        torch.float32: single,
        np.dtype(np.float64): double,
        torch.float64: double,
    }


#: A similarity, of any edge: 2.0e-7 and 4.5e-16; squared 2.7e-7 and 7.8e-16.
COSINE: Final = _by_dtype(8e-7, 2.5e-15)
#: A degree, relative to max(1, sum of |w_ij|): 1.7e-7 and 8.6e-16.
DEGREE: Final = _by_dtype(5e-7, 3e-15)
#: An entry of a rank-1 vector: 3e-8 and 3.2e-14; the CPU's kernel on shorter sides of 64 and 80, as
#: in test_gpu.py, 1.5e-13.
RANK1: Final = _by_dtype(1e-7, 5e-13)
#: An entry of an eigenvector, times the relative gap to the next eigenvalue: 2.5e-8 and 1.7e-14.
EIGENVECTOR: Final = _by_dtype(8e-8, 5e-14)
#: A sum of distances, relative to the largest of the layer: 4.0e-8 and 4.8e-16.
DISTANCE_SUM: Final = _by_dtype(1.5e-7, 2e-15)
