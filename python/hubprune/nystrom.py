# SPDX-License-Identifier: MIT
"""Nystroem: the similarity matrix from a few of its columns, with an error you can see.

C = f(X X_M') holds the columns of m landmarks M, W = C[M]; S ~ C W_k^+ C', kept as a factor F of k
columns and their signs: S ~ F diag(signs) F'. Cosines of d features have rank d at most, so where
d <= m the filter vectors themselves are as good a factor and exact: `hubprune.routes` knows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import (
    EDGES,
    Array,
    as_tensor,
    check_choice,
    check_finite_rows,
    check_iteration,
    check_rows,
    compute_dtype,
    shape_text,
    start_vector,
)
from .landmarks import (
    DEFINITE_EDGES,
    LANDMARK_RULES,
    Selection,
    counter_bits,
    seed_of,
    select_landmarks,
)

__all__ = ["Nystrom", "NystromError", "NystromFactor", "nystrom"]

_CHUNK_ROWS = 8192
_HELD_OUT_STREAM, _LANDMARK_STREAM, _LANCZOS_STREAM = 11, 12, 13


@dataclass(frozen=True, kw_only=True)
class NystromError:
    """What a factor gets wrong, estimated from columns that it has not seen.

    Attributes
    ----------
    relative_frobenius : float
        |S - F diag(signs) F'|_F / |S|_F.
    worst_degree : float
        The largest error of a degree among the columns looked at.
    relative_worst_degree : float
        The same over the largest magnitude of their degrees.
    columns : int
        How many columns that are no landmarks were compared.
    exact : bool
        Whether those were all there are: then nothing here is an estimate.
    """

    relative_frobenius: float
    worst_degree: float
    relative_worst_degree: float
    columns: int
    exact: bool

    def __str__(self) -> str:
        """Return one line, with what the estimate can promise."""
        text = (
            f"relative Frobenius error {self.relative_frobenius:.1e}, worst degree error "
            f"{self.worst_degree:.1e} ({self.relative_worst_degree:.1e} of the largest degree) "
            f"over {self.columns} columns"
        )
        if self.exact:
            return f"{text}, all there are"
        share = min(1.0, 3.0 / max(self.columns, 1))
        return f"{text}; with 95% confidence at most {share:.0%} of all degrees are worse"


@dataclass(frozen=True, eq=False, kw_only=True)
class NystromFactor:
    """A low-rank similarity graph: S ~ F diag(signs) F'.

    Attributes
    ----------
    indices : tensor, shape (..., m), int64
        The landmarks, in the order in which they were chosen.
    factor : tensor, shape (..., n, k)
        F; float64 for float64 rows, else float32. k <= m: directions at rounding error are left
        out, and `rank` may ask for fewer. In a batch, k is the largest and the rest is zero.
    signs : tensor, shape (..., k)
        1, or -1 for a negative direction (edges abs and positive; zero in a batch's padding).
    edge : str
        The edge function f.
    landmarks : str
        The rule that chose them; "given" for indices that were passed.
    seconds : float
        What making it took.
    """

    indices: torch.Tensor
    factor: torch.Tensor
    signs: torch.Tensor
    edge: str
    landmarks: str
    seconds: float = 0.0
    _x: torch.Tensor | None = field(default=None, repr=False)

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.factor.shape[-2]

    @property
    def m(self) -> int:
        """The number of landmarks."""
        return self.indices.shape[-1]

    @property
    def rank(self) -> int:
        """The number of columns of the factor."""
        return self.factor.shape[-1]

    def dense(self, *, zero_diagonal: bool = False) -> torch.Tensor:
        """Return F diag(signs) F', shape (..., n, n): the approximation of `pairwise_cosine`."""
        matrix = (self.factor * self.signs[..., None, :]) @ self.factor.mT
        if zero_diagonal:
            matrix.diagonal(dim1=-2, dim2=-1).zero_()
        return matrix

    def degree(self) -> torch.Tensor:
        """Return the weighted degree (..., n) of the approximated graph, in O(n k).

        The approximated self-similarity of every row is left out, as in ``dense()``.
        """
        total = self.factor.sum(-2, keepdim=True, dtype=torch.float64)
        signs = self.signs.double()[..., None, :]
        parts = [
            ((block * (total - block)) * signs).sum(-1) for block in self._blocks(torch.float64)
        ]
        return torch.cat(parts, -1).to(self.factor.dtype)

    def eigenvector(
        self, *, start: Array | None = None, tol: float = 1e-6, max_iter: int = 200
    ) -> torch.Tensor:
        r"""Return the eigenvector centrality (..., n) of the approximated graph, O(n k) a product.

        Unit 2-norm, oriented to a non-negative sum; Lanczos with full reorthogonalisation, until
        the residual :math:`|W v - \lambda v|` is at most ``tol`` times :math:`|\lambda|`. `start`
        as in `hubprune.eigenvector_centrality`.

        Raises
        ------
        TypeError, ValueError
            For tol <= 0, max_iter < 1, or a start of another type, dtype or shape, that is not
            finite or all zero.
        RuntimeError
            If it is above after max_iter products; the message says how large it is.
        """
        check_iteration(tol, max_iter)
        shape = self.factor.shape
        count = math.prod(shape[:-2])
        factors = self.factor.reshape(count, *shape[-2:])
        signs = self.signs.reshape(count, shape[-1])
        first = start_vector(start, self.factor, "the factor")
        starts = [None] * count if first is None else list(first.double().reshape(count, -1))
        vectors = []
        for factor, sign, given in zip(factors.double(), signs.double(), starts, strict=True):
            own = (factor.square() * sign).sum(-1)

            def product(
                v: torch.Tensor,
                factor: torch.Tensor = factor,
                sign: torch.Tensor = sign,
                own: torch.Tensor = own,
            ) -> torch.Tensor:
                return factor @ (sign * (factor.mT @ v)) - own * v

            vectors.append(_leading_eigenvector(product, factor, given, tol, max_iter))
        return torch.stack(vectors).reshape(shape[:-1]).to(self.factor.dtype)

    def nearest(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return every row's largest approximated weight to another row, (..., n), and which.

        Ties: lowest index. NaN and -1 where there is no other row. Memory: some rows of the matrix.
        """
        shape = self.factor.shape[:-1]
        if self.n == 1:
            return (
                torch.full(shape, torch.nan, dtype=self.factor.dtype, device=self.factor.device),
                torch.full(shape, -1, dtype=torch.int64, device=self.factor.device),
            )
        values, indices = [], []
        step = max(1, min(self.n, (1 << 24) // self.n))
        for first in range(0, self.n, step):
            block = self.factor[..., first : first + step, :] * self.signs[..., None, :]
            weights = block @ self.factor.mT
            weights.diagonal(first, -2, -1).fill_(-torch.inf)
            largest = weights.amax(-1)
            # argmax does not promise the first of equals; the first True of a mask is exact.
            indices.append((weights == largest[..., None]).to(torch.uint8).argmax(-1))
            values.append(largest)
        return torch.cat(values, -1), torch.cat(indices, -1)

    def error_estimate(
        self,
        columns: int = 64,
        *,
        x: Array | None = None,
        generator: torch.Generator | int | None = 0,
    ) -> NystromError:
        """Return how wrong the factor is, from exact columns that it has not seen.

        Parameters
        ----------
        columns : int
            How many rows that are no landmarks are drawn, uniformly; as many landmarks, sixteen at
            the most, stand for the landmarks' own columns.
        x : tensor or array, shape (n, d), optional
            The rows; needed where the factor was loaded from a file.
        generator : torch.Generator, int or None
            The seed of the draw.

        Returns
        -------
        NystromError
            Of a batch: the worst of each.

        Raises
        ------
        ValueError
            For columns < 1, rows of another shape, or none at hand.

        Notes
        -----
        Cost: ``columns`` exact columns. The squared Frobenius norms are estimated without bias;
        their ratio and the worst degree are what the columns show, and `NystromError` prints how
        much more there may be.
        """
        if columns < 1:
            raise ValueError(f"columns must be at least 1; got {columns}")
        rows = self._x if x is None else as_tensor(x, "x")
        if rows is None:
            raise ValueError("x must be passed: a factor loaded from a file does not hold the rows")
        if rows.shape[:-1] != self.factor.shape[:-1]:
            raise ValueError(
                f"x must have the factor's rows, shape {shape_text(self.factor.shape[:-1])} and "
                f"their features; got shape {shape_text(rows.shape)}"
            )
        seed = seed_of(generator)
        count = math.prod(rows.shape[:-2])
        flat = rows.reshape(count, *rows.shape[-2:])
        factors = self.factor.reshape(count, *self.factor.shape[-2:])
        signs = self.signs.reshape(count, self.rank)
        indices = self.indices.reshape(count, self.m)
        found = [
            _compare_columns(*each, self.edge, columns, seed)
            for each in zip(flat, factors, signs, indices, strict=True)
        ]
        return NystromError(
            relative_frobenius=max(each.relative_frobenius for each in found),
            worst_degree=max(each.worst_degree for each in found),
            relative_worst_degree=max(each.relative_worst_degree for each in found),
            columns=min(each.columns for each in found),
            exact=all(each.exact for each in found),
        )

    def explain(self) -> str:
        """Return what was computed, how long it took, and how wrong it is."""
        text = (
            f"Nystroem of {self.n} rows, edge {self.edge!r}: {self.m} landmarks "
            f"({self.landmarks}), rank {self.rank}, {self.seconds * 1e3:.3g} ms"
        )
        return text if self._x is None else f"{text}\n{self.error_estimate()}"

    def save(self, path: str | Path) -> None:
        """Write the factor to a safetensors file (without the rows)."""
        tensors = {"indices": self.indices, "factor": self.factor, "signs": self.signs}
        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
            str(path),
            {"edge": self.edge, "landmarks": self.landmarks, "seconds": repr(self.seconds)},
        )

    @classmethod
    def load(cls, path: str | Path) -> NystromFactor:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            For a file that holds something else.
        """
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            names = set(file.keys())
            if names != {"indices", "factor", "signs"} or metadata.get("edge") not in EDGES:
                raise ValueError(f"{path} holds no Nystroem factor")
            return cls(
                indices=file.get_tensor("indices"),
                factor=file.get_tensor("factor"),
                signs=file.get_tensor("signs"),
                edge=metadata["edge"],
                landmarks=metadata.get("landmarks", "given"),
                seconds=float(metadata.get("seconds", 0.0)),
            )

    def _blocks(self, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        for block in self.factor.split(_CHUNK_ROWS, -2):
            yield block.to(dtype)


@dataclass(frozen=True, kw_only=True)
class Nystrom:
    """Ask for a Nystroem approximation: ``approximate=Nystrom(m=256)``.

    It is used where it is cheaper than the exact result; `hubprune.route` says what was chosen.

    Attributes
    ----------
    m : int
        How many landmarks.
    landmarks : str
        As in `nystrom`.
    rank : int, optional
        As in `nystrom`.
    seed : int
        Of the landmarks' random numbers.
    tolerance : float
        As in `nystrom`.
    """

    m: int
    landmarks: str = "uniform"
    rank: int | None = None
    seed: int = 0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        _check_count(self.m, "m")
        check_choice(self.landmarks, LANDMARK_RULES, "landmarks")
        if self.rank is not None:
            _check_count(self.rank, "rank")
        _check_tolerance(self.tolerance)

    def factor(self, x: torch.Tensor, edge: str) -> NystromFactor:
        """Return the factor of x (..., n, d)."""
        return nystrom(
            x,
            self.m,
            landmarks=self.landmarks,
            rank=self.rank,
            edge=edge,
            generator=self.seed,
            tolerance=self.tolerance,
        )


def nystrom(
    x: Array,
    m: int,
    *,
    landmarks: str | torch.Tensor | Sequence[int] = "uniform",
    rank: int | None = None,
    edge: str = "signed",
    generator: torch.Generator | int | None = None,
    tolerance: float = 0.0,
) -> NystromFactor:
    r"""Return a low-rank factor of the similarity matrix from the columns of m landmarks.

    :math:`S \approx C W_k^+ C^T`, :math:`C = f(X X_M^T)`, :math:`W = C_M`.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d)
        float16, bfloat16, float32 or float64.
    m : int
        How many landmarks, 1 to n; the most where the rule stops by itself.
    landmarks : str, or m row numbers
        "first": rows 0 to m - 1 (the published rule). "uniform": without replacement. "leverage":
        in proportion to ridge leverage scores estimated from m uniform rows, which costs the
        columns twice. "rpcholesky": randomly pivoted Cholesky; the best of these on decaying
        spectra, stops at rounding error or at ``tolerance``. "farthest": from a random row on,
        always the row least similar to every landmark so far.
    rank : int, optional
        Keep the `rank` largest directions of W only. Default: all above rounding error,
        eps * m * lambda_max of the working precision. (A plain pseudo-inverse keeps more; in
        float32 its errors reach the hundreds.)
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        f. abs and positive matrices are not positive semi-definite: negative directions are kept
        with their sign, and the error is larger; look at ``error_estimate()``.
    generator : torch.Generator, int or None
        The seed of the rule's random numbers; None draws it from torch's own generator. The same
        seed gives the same random numbers on every device.
    tolerance : float
        rpcholesky stops where the trace of what is left is at most this part of the whole.

    Returns
    -------
    NystromFactor

    Raises
    ------
    TypeError
        For another type or dtype.
    ValueError
        For m outside 1 to n, landmarks that are unknown, out of range or there twice, rank < 1 or
        above m, a tolerance outside [0, 1), rows that are not finite (the first is named), rows of
        no features, or a tensor without values (on the meta device).

    Notes
    -----
    Cost: n m d multiply-adds, and O(n m k + m^3). Memory: the columns (n m) and m d; never n x n
    (but "farthest" stores the matrix where 16 m >= n and it is at most 1 GiB). The small m x m
    problem is solved in float64. A batch is computed one by one.
    Source: Williams & Seeger, NIPS 2000; Singh & Plumbley, ICASSP 2023 (arXiv 2210.17416); rules:
    Musco & Musco, 2017 (arXiv 1605.07583); Chen, Epperly, Tropp & Webber, 2022 (arXiv 2207.06503)
    and 2024 (arXiv 2410.03969); Gonzalez, 1985.

    Equivalent to::

        c = hp.pairwise_cosine(x, x[landmarks], edge=edge)
        s = c @ torch.linalg.pinv(c[landmarks]) @ c.mT

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, -1.0]])
    >>> factor = hp.nystrom(x, 2, landmarks="first")
    >>> bool((factor.dense() - hp.pairwise_cosine(x)).abs().max() < 1e-6)
    True
    """
    started = time.perf_counter()
    rows = as_tensor(x, "x")
    check_rows(rows, "x")
    check_choice(edge, EDGES, "edge")
    if isinstance(landmarks, str):
        check_choice(landmarks, LANDMARK_RULES, "landmarks")
    n = rows.shape[-2]
    _check_count(m, "m")
    if m > n:
        raise ValueError(f"m must be from 1 to n = {n}; got {m}")
    if rank is not None:
        _check_count(rank, "rank")
        if rank > m:
            raise ValueError(f"rank must be from 1 to m = {m}; got {rank}")
    _check_tolerance(tolerance)
    seed = seed_of(generator)
    if not rows.shape[-1]:
        raise ValueError(f"x must have at least one feature; got shape {shape_text(rows.shape)}")
    if rows.is_meta:
        raise ValueError("x must hold values; it is on the meta device")
    rows = rows.to(compute_dtype(rows)).contiguous()
    flat = rows.reshape(-1, *rows.shape[-2:])
    if not len(flat):
        raise ValueError(f"x must hold at least one matrix; got shape {shape_text(rows.shape)}")
    parts = [_factor_one(each, m, landmarks, rank, edge, seed, tolerance) for each in flat]
    indices, factor, signs = (_stacked(each, rows.shape[:-2]) for each in zip(*parts, strict=True))
    return NystromFactor(
        indices=indices,
        factor=factor,
        signs=signs,
        edge=edge,
        landmarks=landmarks if isinstance(landmarks, str) else "given",
        seconds=time.perf_counter() - started,
        _x=rows,
    )


def _check_count(value: object, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int; got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def _check_tolerance(tolerance: float) -> None:
    if not 0.0 <= tolerance < 1.0:
        raise ValueError(f"tolerance must be in [0, 1); got {tolerance}")


def _stacked(parts: Sequence[torch.Tensor], batch: torch.Size) -> torch.Tensor:
    """Stack per-matrix results whose last dimension may differ, padded with zeros."""
    width = max(part.shape[-1] for part in parts)
    padded = [torch.nn.functional.pad(part, (0, width - part.shape[-1])) for part in parts]
    return torch.stack(padded).reshape(*batch, *padded[0].shape)


def _factor_one(
    x: torch.Tensor,
    m: int,
    landmarks: str | torch.Tensor | Sequence[int],
    rank: int | None,
    edge: str,
    seed: int,
    tolerance: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (indices, factor, signs) of one matrix (n, d)."""
    if isinstance(landmarks, str) and landmarks in ("leverage", "rpcholesky", "farthest"):
        check_finite_rows(x)
    chosen: Selection = select_landmarks(x, m, landmarks, edge, seed, tolerance)
    if chosen.factor is not None and rank is None:
        signs = torch.ones(chosen.factor.shape[1], dtype=x.dtype, device=x.device)
        return chosen.indices, chosen.factor, signs
    columns = torch.ops.hubprune.nystrom_columns(x, chosen.indices, edge)
    if not bool(columns.sum().isfinite()):
        check_finite_rows(x)
    directions, signs = small_factor(columns.index_select(0, chosen.indices), rank, edge)
    factor = torch.cat(
        [(block.double() @ directions).to(x.dtype) for block in columns.split(_CHUNK_ROWS)]
    )
    return chosen.indices, factor, signs.to(x.dtype)


def small_factor(
    inner: torch.Tensor, rank: int | None, edge: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (U |lambda|^-1/2, sign(lambda)) of W's directions above rounding error, in float64."""
    values, vectors = torch.linalg.eigh(inner.double())
    noise = torch.finfo(inner.dtype).eps * len(inner) * float(values.abs().max())
    size = values if edge in DEFINITE_EDGES else values.abs()
    kept = torch.argsort(size, descending=True, stable=True)
    kept = kept[size.index_select(0, kept) > noise][: rank or len(inner)]
    values, vectors = values.index_select(0, kept), vectors.index_select(1, kept)
    return vectors / values.abs().sqrt(), values.sign()


def _compare_columns(
    x: torch.Tensor,
    factor: torch.Tensor,
    signs: torch.Tensor,
    landmarks: torch.Tensor,
    edge: str,
    columns: int,
    seed: int,
) -> NystromError:
    """Compare held-out columns, and a few of the landmarks', with the exact ones."""
    n = len(x)
    is_landmark = torch.zeros(n, dtype=torch.bool, device=x.device)
    is_landmark[landmarks] = True
    shuffled = torch.argsort(counter_bits(seed, _HELD_OUT_STREAM, n, x.device), stable=True)
    others = shuffled[~is_landmark[shuffled]]
    own = shuffled[is_landmark[shuffled]]
    error_square = whole_square = 0.0
    worst = largest = 0.0
    looked_at = others[:columns] if len(others) else own[:columns]
    for stratum, drawn in ((others, others[:columns]), (own, own[: min(columns, 16)])):
        if not len(drawn):
            continue
        exact = torch.ops.hubprune.nystrom_columns(x, drawn, edge).double()
        rows = factor.index_select(0, drawn).double() * signs.double()
        guess = torch.cat([block.double() @ rows.mT for block in factor.split(_CHUNK_ROWS)])
        error = exact - guess
        scale = len(stratum) / len(drawn)
        error_square += scale * float(error.square().sum())
        whole_square += scale * float(exact.square().sum())
        at = torch.arange(len(drawn), device=x.device)
        error[drawn, at] = 0.0  # a graph has no self loops
        exact[drawn, at] = 0.0
        worst = max(worst, float(error.sum(0).abs().max()))
        largest = max(largest, float(exact.sum(0).abs().max()))
    return NystromError(
        relative_frobenius=math.sqrt(error_square / whole_square) if whole_square else 0.0,
        worst_degree=worst,
        relative_worst_degree=worst / largest if largest else 0.0,
        columns=len(looked_at),
        exact=len(others) <= columns,
    )


def _leading_eigenvector(
    product: Callable[[torch.Tensor], torch.Tensor],
    factor: torch.Tensor,
    given: torch.Tensor | None,
    tol: float,
    max_iter: int,
) -> torch.Tensor:
    """Return the unit eigenvector of the largest eigenvalue, in float64, by Lanczos."""
    n = len(factor)
    if n == 1:
        return torch.ones(1, dtype=torch.float64, device=factor.device)
    # Nearly the all-ones vector: exactly that could be orthogonal to what is looked for.
    noise = counter_bits(0, _LANCZOS_STREAM, n, factor.device).double() * 2.0**-63
    start = 1.0 + 1e-3 * noise
    if given is not None:
        # As in the kernels: a share of the plain start finds what the given one is orthogonal to.
        given = given / given.abs().max()
        share = min(max(64.0 * tol, 1.0 / 128.0), 1.0)
        start = given / given.norm() + share * start / start.norm()
    basis = [start / start.norm()]
    diagonal: list[torch.Tensor] = []
    beside: list[torch.Tensor] = []
    residual = math.inf
    while True:
        image = product(basis[-1])
        diagonal.append(basis[-1] @ image)
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough (Parlett)
            image = image - known.mT @ (known @ image)
        length = image.norm()
        k = len(basis)
        small = torch.diag(torch.stack(diagonal))
        if k > 1:
            off = torch.stack(beside)
            small = small + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(small)
        top = float(values[-1].abs())
        residual = float(length * vectors[-1, -1].abs())
        if residual <= tol * top or float(length) <= 1e-14 * max(top, 1.0) or k == n:
            vector: torch.Tensor = known.mT @ vectors[:, -1]
            vector = vector / vector.norm()
            return vector if float(vector.sum()) >= 0.0 else -vector
        if k >= max_iter:
            raise RuntimeError(
                f"eigenvector centrality did not converge in {max_iter} products with the "
                f"approximated graph: relative residual {residual / max(top, 1e-300):.1e}, tol "
                f"{tol:.1e}; raise max_iter or tol"
            )
        beside.append(length)
        basis.append(image / length)
