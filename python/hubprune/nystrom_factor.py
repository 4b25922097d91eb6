# SPDX-License-Identifier: MIT
"""The factor that `hubprune.nystrom` returns: what follows from it, and how wrong it is.

Degrees, the leading eigenvector and the nearest rows of S ~ F diag(signs) F' come from the factor
F, of k columns, without the n x n matrix; the error is estimated from exact columns drawn at
random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import (
    EDGES,
    Array,
    as_tensor,
    check_count,
    check_finite_rows,
    check_iteration,
    check_same_device,
    shape_text,
    start_vector,
)
from .checkpointing import save_tensors
from .file_writing import replaced_file
from .landmarks import counter_bits, seed_of

__all__ = ["NystromError", "NystromFactor", "row_blocks"]

_DEVICE_ROWS = 8192  # of a factor, in float64 at a time
_CACHED_VALUES = 1 << 16  # on a CPU, whose caches hold that in float64 beside what is made of it
_LANDMARK_COLUMNS = 16  # that an error estimate compares, beside those that are no landmarks
_HELD_OUT_STREAM, _LANCZOS_STREAM = 11, 13


@dataclass(frozen=True, kw_only=True)
class NystromError:
    """What a factor gets wrong, estimated from columns that it has not seen.

    Attributes
    ----------
    relative_frobenius : float
        ``|S - F diag(signs) F'|_F / |S|_F``.
    worst_degree : float
        The largest error of a degree among the columns looked at.
    relative_worst_degree : float
        The same over the largest magnitude of their degrees.
    columns : int
        How many columns that are no landmarks were compared; of landmarks where all rows are.
    exact : bool
        Whether every column was compared, the landmarks' too: then nothing here is an estimate.
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
            f"{self.worst_degree:.1e} ({self.relative_worst_degree:.1e} of the largest degree) over"
        )
        if self.exact:
            return f"{text} all columns"
        share = min(1.0, 3.0 / max(self.columns, 1))
        return (
            f"{text} {self.columns} columns; with 95% confidence at most {share:.0%} of all "
            "degrees are worse"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class NystromFactor:
    """A low-rank similarity graph: S ~ F diag(signs) F'.

    Attributes
    ----------
    indices : tensor, shape (..., m), int64
        The landmarks, in the order in which they were chosen. In a batch, m is the largest and the
        first landmark stands in for those that rpcholesky did not take.
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

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.factor.shape))
        return (
            f"<NystromFactor: ({shape}), {self.m} landmarks ({self.landmarks}), edge {self.edge!r}>"
        )

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
        matrix = _product(self.factor * self.signs[..., None, :], self.factor)
        if zero_diagonal:
            matrix.diagonal(dim1=-2, dim2=-1).zero_()
        return matrix

    def degree(self) -> torch.Tensor:
        """Return the weighted degree (..., n) of the approximated graph, in O(n k).

        The approximated self-similarity of every row is left out, as in ``dense()``.
        """
        total = self.factor.sum(-2, keepdim=True, dtype=torch.float64)
        signs = self.signs.double()[..., None, :]
        parts = [((block * (total - block)) * signs).sum(-1) for block in row_blocks(self.factor)]
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
            weights = _product(block, self.factor)
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
            the most, stand for the landmarks' own columns. From n on, every column is compared.
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
        TypeError, ValueError
            For columns that are no int of at least 1; for rows of another type or shape, on another
            device, without features, or not finite, or none at hand.

        Notes
        -----
        Cost: ``columns`` exact columns. The squared Frobenius norms are estimated without bias;
        their ratio and the worst degree are what the columns show, and `NystromError` prints how
        much more there may be.
        """
        check_count(columns, "columns")
        rows = self._x if x is None else as_tensor(x, "x")
        if rows is None:
            raise ValueError("x must be passed: a factor loaded from a file does not hold the rows")
        if rows.shape[:-1] != self.factor.shape[:-1]:
            raise ValueError(
                f"x must have the factor's rows, shape {shape_text(self.factor.shape[:-1])} and "
                f"their features; got shape {shape_text(rows.shape)}"
            )
        if not rows.shape[-1]:
            raise ValueError(
                f"x must have at least one feature; got shape {shape_text(rows.shape)}"
            )
        check_same_device(self.factor, rows, "the factor", "x")
        seed = seed_of(generator)
        count = math.prod(rows.shape[:-2])
        flat = rows.reshape(count, *rows.shape[-2:])
        factors = self.factor.reshape(count, *self.factor.shape[-2:])
        signs = self.signs.reshape(count, self.rank)
        indices = self.indices.reshape(count, self.m)
        for each in flat:
            check_finite_rows(each)
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
        """Write the factor to a safetensors file, without the rows; an older one is replaced whole.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        tensors = {"indices": self.indices, "factor": self.factor, "signs": self.signs}
        with replaced_file(path) as file:
            save_tensors(
                file,
                {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
                {"edge": self.edge, "landmarks": self.landmarks, "seconds": repr(self.seconds)},
            )

    @classmethod
    def load(cls, path: str | Path) -> NystromFactor:
        """Read what `save` wrote.

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            For a file that holds something else, or is damaged.
        """
        with Path(path).open("rb"):  # a missing or unreadable file is told as such
            pass
        try:
            with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _check_saved(tensors, metadata)
            return cls(
                **tensors,
                edge=metadata["edge"],
                landmarks=metadata.get("landmarks", "given"),
                seconds=float(metadata.get("seconds", 0.0)),
            )
        except (safetensors.SafetensorError, ValueError) as error:
            raise ValueError(f"{path} holds no Nystroem factor: {error}") from error


def row_blocks(matrix: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield float64 copies of a few rows of (..., n, k) at a time."""
    rows = _DEVICE_ROWS
    if matrix.device.type == "cpu":
        values = math.prod(matrix.shape[:-2]) * matrix.shape[-1]  # of one row
        rows = max(1, _CACHED_VALUES // max(1, values))
    for block in matrix.split(rows, -2):
        yield block.double()


def _check_saved(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Require the tensors and the edge of one factor."""
    if set(tensors) != {"indices", "factor", "signs"} or metadata.get("edge") not in EDGES:
        raise ValueError("it was not written by hubprune")
    indices, factor, signs = tensors["indices"], tensors["factor"], tensors["signs"]
    kinds = [(torch.int64, each, each) for each in (torch.float32, torch.float64)]
    batch = factor.shape[:-2]
    if (
        (indices.dtype, factor.dtype, signs.dtype) not in kinds
        or factor.ndim < 2
        or signs.shape != (*batch, factor.shape[-1])
        or indices.shape[:-1] != batch
        or indices.ndim != factor.ndim - 1
        or bool(((indices < 0) | (indices >= factor.shape[-2])).any())
    ):
        shapes = ", ".join(f"{name} {shape_text(each.shape)}" for name, each in tensors.items())
        raise ValueError(f"its parts do not fit together: {shapes}")


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a b' in the dtype of a, also where autocast would multiply in half precision."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.mT


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
    own_drawn = own if columns >= n else own[: min(columns, _LANDMARK_COLUMNS)]
    error_square = whole_square = 0.0
    worst = largest = 0.0
    looked_at = others[:columns] if len(others) else own_drawn
    for stratum, drawn in ((others, others[:columns]), (own, own_drawn)):
        if not len(drawn):
            continue
        exact = torch.ops.hubprune.nystrom_columns(x, drawn, edge).double()
        rows = factor.index_select(0, drawn).double() * signs.double()
        guess = torch.cat([block @ rows.mT for block in row_blocks(factor)])
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
        exact=len(others) <= columns and len(own_drawn) == len(own),
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
