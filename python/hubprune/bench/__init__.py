# SPDX-License-Identifier: MIT
"""The benchmark: every operation beside the best that torch, NumPy and scikit-learn do today.

`run` is the short version for one's own machine, behind ``hubprune bench``. The peers, the cases
and the way of timing (modules `peers`, `cases` and `timing`) are public: the full suite in
``benchmarks/`` is made of the same parts.

All routes of a case take turns in one loop, every result is checked against float64, and no time is
given without its error.
"""

from __future__ import annotations

from .cases import (
    OURS,
    Case,
    cosine_case,
    degree_case,
    eigenvector_case,
    nearest_case,
    network_case,
    vectors_case,
)
from .inputs import CNN14, network, rows, weights
from .measuring import Timing, measured
from .peers import rank1_gram, signed_degree_closed
from .report import BenchResult, Comparison
from .short import case_names, run
from .timing import OtherPrograms, blas_threads, interleaved, reuse_large_blocks

__all__ = [
    "CNN14",
    "OURS",
    "BenchResult",
    "Case",
    "Comparison",
    "OtherPrograms",
    "Timing",
    "blas_threads",
    "case_names",
    "cosine_case",
    "degree_case",
    "eigenvector_case",
    "interleaved",
    "measured",
    "nearest_case",
    "network",
    "network_case",
    "rank1_gram",
    "reuse_large_blocks",
    "rows",
    "run",
    "signed_degree_closed",
    "vectors_case",
    "weights",
]
