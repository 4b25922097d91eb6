# SPDX-License-Identifier: MIT
"""Inputs and tolerances shared by the tests of the kernels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

DTYPES = [torch.float32, torch.float64]

# One tolerance table: the largest error against hubprune.reference, by dtype. Measured on x86-64 at
# the levels v2, v3 and v4 over the shapes below and the wide rows of test_pairwise_cosine:
#   cosines 2.5e-7 and 1.1e-15, squared 4.8e-7 and 1.6e-15
#   degrees, relative to max(1, degree), 6.3e-7 and 1.3e-14
#   eigenvectors, times the gap to the next eigenvalue, 6e-8 and (tol 1e-10) 1.6e-11
#   rank-1 vectors 3e-8 and 3.0e-14
COSINE = {torch.float32: 1e-6, torch.float64: 5e-15}
DEGREE = {torch.float32: 1e-6, torch.float64: 5e-14}
EIGENVECTOR = {torch.float32: 2e-7, torch.float64: 1e-10}  # float64: what tol allows
RANK1 = {torch.float32: 1e-7, torch.float64: 1e-13}


# Around the edges of the register blocks, the panels and both tiles.
ROW_COUNTS = [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200]
# Both sides of the switch to long-row tiles (64), of two feature blocks (256), and one feature.
SHAPES = [(n, 9) for n in ROW_COUNTS] + [
    (1, 1),
    (5, 1),
    (3, 70),
    (33, 100),
    (130, 64),
    (130, 65),
    (65, 255),
    (65, 257),
    (129, 600),
    (160, 70),
    (257, 66),
]

# Convolutions of the published systems: DCASE 2021 Task 1A, VGGish (two of six), CREPE (narrow).
DCASE = [(16, 1, 7, 7), (16, 16, 7, 7), (32, 16, 7, 7)]
VGGISH = [(64, 1, 3, 3), (128, 64, 3, 3)]
CREPE = [(32, 1, 512, 1), (16, 40, 64, 1), (16, 128, 64, 1)]


def random_rows(n: int, d: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Gaussian rows; with five rows or more a zero row, a duplicate and an opposite among them."""
    x = torch.randn(n, d, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    if n >= 5:
        x[1] = 0.0
        x[3] = x[0]
        x[4] = -x[2]
    return x


def numpy64(x: torch.Tensor) -> np.ndarray:
    """The same values as a float64 array: what the reference is given."""
    return x.double().numpy()


def relative_error(got: torch.Tensor, expected: np.ndarray) -> float:
    """The largest |got - expected| / max(1, |expected|); 0 for empty arrays."""
    if expected.size == 0:
        return 0.0
    assert got.shape == expected.shape
    return float(np.max(np.abs(numpy64(got) - expected) / np.maximum(1.0, np.abs(expected))))


def assert_within(
    got: ArrayLike | torch.Tensor,
    expected: ArrayLike | torch.Tensor,
    atol: float,
    *,
    equal_nan: bool = False,
) -> None:
    """Assert |got - expected| <= atol in every entry, whatever its size, and name the worst one.

    The shapes must be equal, unless `expected` is one number, and of two tensors the dtypes too.
    """
    if isinstance(got, torch.Tensor) and isinstance(expected, torch.Tensor):
        assert got.dtype == expected.dtype
    a, b = (
        np.asarray(x.detach().double().cpu() if isinstance(x, torch.Tensor) else x, np.float64)
        for x in (got, expected)
    )
    assert b.ndim == 0 or a.shape == b.shape, f"shape {a.shape} instead of {b.shape}"
    b = np.broadcast_to(b, a.shape)
    same = a == b  # infinities too
    if equal_nan:
        same |= np.isnan(a) & np.isnan(b)
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    difference[np.isnan(difference)] = np.inf
    if difference.size == 0 or difference.max() <= atol:
        return
    at = np.unravel_index(difference.argmax(), a.shape)
    raise AssertionError(
        f"{np.count_nonzero(difference > atol)} of {a.size} entries differ by more than {atol:g}; "
        f"the worst by {difference[at]:.3g}, at {tuple(map(int, at))}: {a[at]!r}, not {b[at]!r}"
    )


def random_lengths(kind: str, n: int, seed: int = 0) -> np.ndarray:
    """Symmetric path lengths (n, n) with what makes shortest paths hard; see PATH_KINDS."""
    rng = np.random.default_rng(seed)
    integers = {"ties": (1, 4), "zeros": (0, 3), "signed ties": (-2, 4)}
    if kind in integers:
        lengths = rng.integers(*integers[kind], (n, n)).astype(float)
    elif kind == "sparse":  # no edge: infinity
        lengths = np.where(rng.random((n, n)) < 0.7, np.inf, rng.integers(1, 4, (n, n)))
    elif kind == "sparse zeros":
        lengths = np.where(rng.random((n, n)) < 0.7, np.inf, rng.integers(0, 3, (n, n)))
    elif kind == "absorbed":  # few are small: most paths need a 1, and 1 + 1e-17 is 1
        lengths = np.where(rng.random((n, n)) < 1.0 / n, 1e-17, 1.0)
    elif kind == "signed":
        lengths = rng.standard_normal((n, n))
    elif kind == "chords":  # squared distances: many hops are shorter than one
        x = rng.standard_normal((n, 5))
        lengths = 1.0 - x @ x.T / np.outer(*[np.linalg.norm(x, axis=1)] * 2)
    else:
        lengths = rng.random((n, n))
    upper = np.triu(lengths, 1)
    lengths = np.where(np.tri(n, k=-1, dtype=bool), upper.T, upper)
    lengths[np.arange(n), np.arange(n)] = rng.standard_normal(n)  # is not read
    return lengths


#: What `random_lengths` knows.
PATH_KINDS = (
    "random",
    "chords",
    "ties",
    "zeros",
    "absorbed",
    "sparse",
    "sparse zeros",
    "signed",
    "signed ties",
)
