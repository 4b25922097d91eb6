# SPDX-License-Identifier: MIT
"""The benchmark: every operation beside the best that torch, NumPy and scikit-learn do today.

`run` is the short version for one's own machine, behind ``hubprune bench``. The peers, the cases
and the way of timing are public: the full suite in ``benchmarks/`` is made of the same parts.

All routes of a case take turns in one loop, every result is checked against float64, and no time is
given without its error.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .centrality import eigenvector_centrality, weighted_degree
from .config import configuration
from .file_writing import replaced_file
from .scorers import WeightedDegree, score_model
from .similarity import nearest, pairwise_cosine
from .tables import text_table
from .vectors import filter_vectors

__all__ = [
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
    "network_case",
    "reuse_large_blocks",
    "rows",
    "run",
    "vectors_case",
    "weights",
]

OURS = "hubprune"

# PANNs Cnn14: (filters, channels) of its twelve 3x3 convolutions.
CNN14 = (
    (64, 1),
    (64, 64),
    (128, 64),
    (128, 128),
    (256, 128),
    (256, 256),
    (512, 256),
    (512, 512),
    (1024, 512),
    (1024, 1024),
    (2048, 1024),
    (2048, 2048),
)

# The package that a peer needs and what to import of it, by the first words of the peer's name.
_NEEDS = {
    "scikit-learn": ("sklearn", ("sklearn.metrics.pairwise", "sklearn.neighbors")),
    "scipy": ("scipy", ("scipy.sparse.linalg",)),
    "torchmetrics": ("torchmetrics", ("torchmetrics.functional",)),
    # NumPy's matrix product brings its own threads: without this nothing can set their number.
    "numpy": ("threadpoolctl", ("threadpoolctl",)),
}
_SAMPLE = 256  # rows whose exact values are computed where all of them would take long
_ALL_ROWS_WORK = 1e10  # n n d up to which every row is checked
_DISTURBED = 0.2  # processors that others use above which the times are called disturbed
_EVEN = 0.05  # ratios within this of 1 are called even


def _module(name: str) -> Any:
    """Import an optional package; untyped, whatever it ships."""
    return importlib.import_module(name)


# --- peers: what a competent user would write today without hubprune ------------------------------


def rank1_gram(weight: torch.Tensor) -> torch.Tensor:
    """Rank-1 vectors by batched Gram matrices and eigh: the fastest route in plain torch."""
    channels = weight.flatten(2)  # (n, c, p)
    vectors = torch.linalg.eigh(channels.mT @ channels).eigenvectors[..., -1]
    sign = torch.sign((vectors * channels[:, 0]).sum(1, keepdim=True))
    oriented: torch.Tensor = vectors * torch.where(sign == 0, 1.0, sign)
    return oriented


def rank1_svd(weight: torch.Tensor) -> torch.Tensor:
    """Rank-1 vectors by a batched economy SVD."""
    positions = weight.flatten(2).mT  # (n, p, c)
    vectors = torch.linalg.svd(positions, full_matrices=False).U[..., 0]
    sign = torch.sign((vectors * positions[..., 0]).sum(1, keepdim=True))
    oriented: torch.Tensor = vectors * torch.where(sign == 0, 1.0, sign)
    return oriented


def _unit(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(x, dim=1)


def abs_degree_naive(x: torch.Tensor) -> torch.Tensor:
    """The whole matrix at once."""
    x = _unit(x)
    return (x @ x.T).abs().sum(1) - 1


def abs_degree_chunked(x: torch.Tensor) -> torch.Tensor:
    """256 rows at a time: the best torch does for short rows."""
    x = _unit(x)
    degree = x.new_empty(len(x))
    # Small results that were kept one by one would split the large blocks that come between them.
    for block, out in zip(x.split(256), degree.split(256), strict=True):
        torch.sum((block @ x.T).abs_(), 1, out=out)
    return degree - 1


def abs_degree_numpy(x: torch.Tensor) -> torch.Tensor:
    """NumPy, whose ``X @ X.T`` is a symmetric product: half the work of torch's."""
    array = x.numpy()
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    s = unit @ unit.T
    return torch.from_numpy(np.abs(s, out=s).sum(1) - 1)


def abs_degree_sklearn(x: torch.Tensor) -> torch.Tensor:
    """scikit-learn's cosine_similarity, then NumPy."""
    return torch.from_numpy(np.abs(cosine_sklearn(x).numpy()).sum(1) - 1)


def abs_degree_bf16(x: torch.Tensor) -> torch.Tensor:
    """The naive route with unit rows in bfloat16, summed in float32."""
    x = _unit(x).bfloat16()
    return (x @ x.T).abs().sum(1, dtype=torch.float32) - 1


def signed_degree_closed(x: torch.Tensor) -> torch.Tensor:
    """The closed form in torch."""
    x = _unit(x)
    return x @ x.sum(0) - 1


def squared_degree_closed(x: torch.Tensor) -> torch.Tensor:
    """The closed form through the d x d Gram matrix in torch."""
    x = _unit(x)
    return ((x @ (x.T @ x)) * x).sum(1) - 1


def nearest_chunked(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest other row, 256 rows at a time."""
    x = _unit(x)
    best, where = x.new_empty(len(x)), torch.empty(len(x), dtype=torch.int64)
    for first in range(0, len(x), 256):
        some = slice(first, first + 256)
        s = x[some] @ x.T
        s.diagonal(first).fill_(-2)
        torch.max(s, 1, out=(best[some], where[some]))
    return best, where


def nearest_naive(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest other row through the whole matrix."""
    x = _unit(x)
    s = x @ x.T
    s.fill_diagonal_(-2)
    values, indices = s.max(1)
    return values, indices


def nearest_sklearn(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's brute-force neighbours."""
    neighbours = _module("sklearn.neighbors").NearestNeighbors(
        n_neighbors=1, metric="cosine", algorithm="brute"
    )
    distance, index = neighbours.fit(x.numpy()).kneighbors()
    return torch.from_numpy(1 - distance[:, 0]), torch.from_numpy(index[:, 0])


def cosine_naive(x: torch.Tensor) -> torch.Tensor:
    """Normalise and multiply."""
    x = _unit(x)
    return x @ x.T


def cosine_numpy(x: torch.Tensor) -> torch.Tensor:
    """Normalise and multiply in NumPy: a symmetric product."""
    array = x.numpy()
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    return torch.from_numpy(unit @ unit.T)


def cosine_sklearn(x: torch.Tensor) -> torch.Tensor:
    """scikit-learn's cosine_similarity."""
    s: np.ndarray = _module("sklearn.metrics.pairwise").cosine_similarity(x.numpy())
    return torch.from_numpy(s)


def cosine_torchmetrics(x: torch.Tensor) -> torch.Tensor:
    """torchmetrics' pairwise_cosine_similarity, diagonal included."""
    similarity = _module("torchmetrics.functional").pairwise_cosine_similarity
    s: torch.Tensor = similarity(x, x, zero_diagonal=False)
    return s


def _graph(x: torch.Tensor, edge: str) -> torch.Tensor:
    s = cosine_naive(x).fill_diagonal_(0)
    return s.abs_() if edge == "abs" else s.square_()


def eigenvector_eigsh(x: torch.Tensor, edge: str = "abs") -> torch.Tensor:
    """scipy's Lanczos on the weight matrix that torch computes; the matrix is part of the time."""
    graph = _graph(x, edge).numpy()
    start = np.ones(len(graph), graph.dtype)
    _, vectors = _module("scipy.sparse.linalg").eigsh(graph, k=1, which="LA", v0=start)
    vector = torch.from_numpy(vectors[:, 0])
    return vector if vector.sum() >= 0 else -vector


def eigenvector_power(x: torch.Tensor, edge: str = "abs") -> torch.Tensor:
    """Fifty steps of the power iteration in torch; the matrix is part of the time."""
    graph = _graph(x, edge)
    vector = torch.ones(len(graph), dtype=graph.dtype)
    for _ in range(50):
        vector = graph @ vector
        vector /= torch.linalg.vector_norm(vector)
    return vector


# --- inputs ---------------------------------------------------------------------------------------


def rows(n: int, d: int) -> torch.Tensor:
    """Return Gaussian rows (n, d), the same ones every time."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n * 31 + d))


def weights(shapes: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return Gaussian weights of these shapes, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def network(layers: Sequence[torch.Tensor]) -> nn.ModuleList:
    """Return convolutions that hold these weights (n, c, *kernel with two axes)."""
    modules = []
    for weight in layers:
        n, c, *kernel = weight.shape
        # On the meta device: weights that are replaced at once need no random numbers.
        module = nn.Conv2d(c, n, (kernel[0], kernel[1]), bias=False, device="meta")
        module.weight = nn.Parameter(weight, requires_grad=False)
        modules.append(module)
    return nn.ModuleList(modules)


# --- cases ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One piece of work, done by hubprune and by its peers on the same input.

    Attributes
    ----------
    name : str
        Operation and size.
    inputs : callable
        Makes the input; called once.
    routes : mapping of str to callable
        What does the work, given the input; `OURS` is hubprune.
    exact : callable
        The result in float64, given the input; shares no code with hubprune's kernels.
    errors : callable
        The float64 errors of a result, given the result and what `exact` gave.
    bound, peer_bound : float
        The largest error allowed of ours; the 99th percentile allowed of a peer's.
    pairs, bytes, flops : float
        What the operation needs at least: pairs of rows compared, bytes read and written once,
        multiplications and additions. Figures of the operation, not counts of any route.
    unit : str
        Which of them says most about the speed: "GP/s", "GB/s", "GFLOP/s"; "" for none.
    left_out : mapping of str to str
        Peers that do not run here, with the reason.
    unchecked : frozenset of str
        Routes that compute another quantity: shown beside the others, compared with none.
    """

    name: str
    inputs: Callable[[], Any]
    routes: Mapping[str, Callable[[Any], Any]]
    exact: Callable[[Any], Any]
    errors: Callable[[Any, Any], torch.Tensor]
    bound: float = 1e-6
    peer_bound: float = 1e-3
    pairs: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    unit: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    unchecked: frozenset[str] = frozenset()


Peers = Mapping[str, Callable[[Any], Any]]


def _needs(name: str) -> tuple[str, tuple[str, ...]] | None:
    return next((needed for word, needed in _NEEDS.items() if name.startswith(word)), None)


def _routes(
    ours: Callable[[Any], Any], peers: Peers, left_out: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the fields `routes` and `left_out`: without the peers that are not installed."""
    out = dict(left_out or {})
    routes = {OURS: ours}
    for name, call in peers.items():
        needed = _needs(name)
        if name in out:
            continue
        if needed is not None and importlib.util.find_spec(needed[0]) is None:
            out[name] = f"{needed[0]} is not installed"
        else:
            routes[name] = call
    return {"routes": routes, "left_out": out}


def vectors_case(
    name: str,
    shapes: Sequence[Sequence[int]],
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """Rank-1 filter vectors of layers with these weight shapes (n, c, *kernel)."""
    given = {"torch bmm + eigh": rank1_gram, "torch svd": rank1_svd} if peers is None else peers

    def each(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda layers: [call(weight) for weight in layers]

    sizes = [(n, c, int(np.prod(kernel))) for n, c, *kernel in shapes]
    return Case(
        name=name,
        inputs=lambda: weights(shapes),
        **_routes(each(filter_vectors), {key: each(call) for key, call in given.items()}, left_out),
        exact=lambda layers: [rank1_gram(weight.double()) for weight in layers],
        errors=lambda result, exact: torch.cat(
            [(_tensor(r) - e).abs().amax(1) for r, e in zip(result, exact, strict=True)]
        ),
        bytes=sum(4.0 * n * p * (c + 1) for n, c, p in sizes),
        # The Gram matrix of the shorter side, one triangle with its diagonal.
        flops=sum(float(n) * c * p * (min(p, c) + 1) for n, c, p in sizes),
        unit="GB/s",
    )


ABS_PEERS: Peers = {
    "torch chunked": abs_degree_chunked,
    "torch naive": abs_degree_naive,
    "numpy syrk": abs_degree_numpy,
    "scikit-learn": abs_degree_sklearn,
}


def degree_case(
    name: str,
    n: int,
    d: int,
    *,
    edge: str = "abs",
    precision: str = "highest",
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """Weighted degree of n rows of length d; edge "abs", "signed" or "squared"."""
    pairs = n * (n - 1) / 2
    given: Peers
    if edge == "abs":
        given = dict(ABS_PEERS)
        if precision == "medium":
            given = {"torch bfloat16": abs_degree_bf16, **given}
        flops, count, unit = 2.0 * d * pairs, pairs, "GP/s" if d <= 64 else "GFLOP/s"
    elif edge == "signed":
        given = {"torch closed form": signed_degree_closed}
        flops, count, unit = 4.0 * n * d, 0.0, "GB/s"
    else:
        given = {"torch closed form": squared_degree_closed}
        flops, count, unit = 2.0 * n * d * (1.5 * d + 1), 0.0, "GB/s" if d <= 64 else "GFLOP/s"
    if peers is not None:
        given = peers
    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(partial(weighted_degree, edge=edge, precision=precision), given, left_out),
        exact=partial(_exact_degree, edge=edge),
        errors=_degree_errors,
        # bfloat16 has 8 bits: 2e-4 to 4e-3 of a cosine, of which a sum keeps the mean.
        bound=1e-6 if precision == "highest" else 3e-3,
        pairs=count,
        bytes=4.0 * n * (d + 1),
        flops=flops,
        unit=unit,
        peer_bound=1e-3 if precision == "highest" else 1e-2,
    )


def nearest_case(
    name: str,
    n: int,
    d: int,
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """The most similar other row of n rows of length d."""
    given = {
        "torch chunked": nearest_chunked,
        "torch naive": nearest_naive,
        "scikit-learn": nearest_sklearn,
    }
    pairs = n * (n - 1) / 2
    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(nearest, given if peers is None else peers, left_out),
        exact=_exact_nearest,
        errors=_nearest_errors,
        pairs=pairs,
        bytes=4.0 * n * (d + 3),
        flops=2.0 * d * pairs,
        unit="GP/s" if d <= 64 else "GFLOP/s",
    )


def cosine_case(
    name: str,
    n: int,
    d: int,
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """The matrix of cosines of n rows of length d."""
    given = {
        "torch naive": cosine_naive,
        "numpy syrk": cosine_numpy,
        "scikit-learn": cosine_sklearn,
        "torchmetrics": cosine_torchmetrics,
    }
    pairs = n * (n - 1) / 2
    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(pairwise_cosine, given if peers is None else peers, left_out),
        exact=lambda x: cosine_naive(x.double()),
        errors=lambda result, exact: (_tensor(result) - exact).abs_().flatten(),
        bytes=4.0 * n * (n + d),
        flops=2.0 * d * pairs,
        unit="GB/s" if d <= 64 else "GFLOP/s",
    )


def eigenvector_case(
    name: str,
    n: int,
    d: int,
    *,
    edge: str = "abs",
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """Eigenvector centrality of n rows of length d; edge "abs" or "squared"."""
    given = {
        "scipy eigsh": partial(eigenvector_eigsh, edge=edge),
        "torch power 50": partial(eigenvector_power, edge=edge),
    }
    pairs = n * (n - 1) / 2

    def exact(x: torch.Tensor) -> torch.Tensor:
        vector = torch.linalg.eigh(_graph(x.double(), edge)).eigenvectors[:, -1]
        oriented: torch.Tensor = vector if vector.sum() >= 0 else -vector
        return oriented

    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(
            partial(eigenvector_centrality, edge=edge), given if peers is None else peers, left_out
        ),
        exact=exact,
        errors=lambda result, exact: (_tensor(result) - exact).abs(),
        bytes=4.0 * n * (d + 1),
        flops=2.0 * d * pairs,
    )


def network_case(
    name: str,
    shapes: Sequence[Sequence[int]],
    *,
    edge: str = "abs",
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """A whole network scored: rank-1 vectors and weighted degree of every layer.

    A route gets the pair (`network` of the weights, list of the weights).
    """
    degree = signed_degree_closed if edge == "signed" else abs_degree_chunked
    given = {
        "torch eigh + degree": lambda pair: [degree(rank1_gram(w)) for w in pair[1]],
    }
    scorer = WeightedDegree(edge=edge)
    sizes = [(n, c, int(np.prod(kernel))) for n, c, *kernel in shapes]

    def inputs() -> Any:
        layers = weights(shapes)
        return network(layers), layers

    def ours(pair: Any) -> list[torch.Tensor]:
        return [scores.values for scores in score_model(pair[0], scorer).values()]

    def errors(result: Any, exact: list[torch.Tensor]) -> torch.Tensor:
        pairs = zip(result, exact, strict=True)
        return torch.cat([((_tensor(r) - e) / e.abs().clamp_min(1)).abs() for r, e in pairs])

    return Case(
        name=name,
        inputs=inputs,
        **_routes(ours, given if peers is None else peers, left_out),
        exact=lambda pair: [degree(rank1_gram(w.double())) for w in pair[1]],
        errors=errors,
        # One vector of the wrong sign moves a peer's signed sums by its similarity to each filter.
        peer_bound=1.0,
        bytes=sum(4.0 * n * (c * p + 1) for n, c, p in sizes),
        flops=sum(float(n) * c * p * (min(p, c) + 1) for n, c, p in sizes)
        + (sum(n * (n - 1.0) * p for n, _, p in sizes) if edge == "abs" else 0.0),
        unit="GB/s",
    )


def _tensor(result: Any) -> torch.Tensor:
    return torch.as_tensor(result).double()


def _checked_rows(x: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the rows that are checked: all, or a sample with both ends in it."""
    n = len(x)
    if n <= _SAMPLE or n * n * x.shape[1] <= _ALL_ROWS_WORK:
        return torch.arange(n)
    inner = torch.randperm(n - 2, generator=torch.Generator().manual_seed(0))[: _SAMPLE - 2] + 1
    return torch.cat([torch.tensor([0, n - 1]), inner]).sort().values


def _cosine_panels(
    x: torch.Tensor, some: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (row numbers, their float64 cosines with every row), a few rows at a time."""
    unit = _unit(x.double())
    for block in some.split(max(1, 2**24 // len(x))):
        s = unit[block] @ unit.T
        yield block, s.clamp_(-1, 1)


def _exact_degree(x: torch.Tensor, edge: str) -> tuple[torch.Tensor, torch.Tensor]:
    some = _checked_rows(x)
    if edge != "abs":
        closed = signed_degree_closed if edge == "signed" else squared_degree_closed
        return some, closed(x.double())[some]
    sums = []
    for block, s in _cosine_panels(x, some):
        s[torch.arange(len(block)), block] = 0
        sums.append(s.abs_().sum(1))
    return some, torch.cat(sums)


def _degree_errors(result: Any, exact: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    some, degree = exact
    return ((_tensor(result)[some] - degree) / degree.abs().clamp_min(1)).abs()


def _exact_nearest(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    some = _checked_rows(x)
    best = []
    for block, s in _cosine_panels(x, some):
        s[torch.arange(len(block)), block] = -2
        best.append(s.max(1).values)
    return some, torch.cat(best)


def _nearest_errors(result: Any, exact: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    some, best = exact
    return (_tensor(result[0])[some] - best).abs()


# --- timing ---------------------------------------------------------------------------------------


def reuse_large_blocks() -> bool:
    """Let the C library keep large freed blocks instead of giving them back to the system.

    By default glibc returns every block above 32 MiB at once, and the next temporary of that size
    pays for its pages again. The peers make many, hubprune's kernels few: leaving that in would
    flatter hubprune.

    Returns
    -------
    bool
        Whether it is done; False where the C library has no such setting.

    Notes
    -----
    Holds for the rest of the process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    trim, threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    # Older glibc takes at most 32 MiB.
    kept = mallopt(threshold, 2**30) == 1 or mallopt(threshold, 2**25) == 1
    return bool(mallopt(trim, 2**31 - 1) == 1 and kept)


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Set torch's threads, and those of NumPy's matrix library where threadpoolctl is installed."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if importlib.util.find_spec("threadpoolctl") is None:
            yield
        else:
            with _module("threadpoolctl").threadpool_limits(threads, user_api="blas"):
                yield
    finally:
        torch.set_num_threads(before)


def _settle() -> None:
    """Wait until the last call's threads have stopped spinning: they would slow the next one.

    OpenBLAS' threads spin for 40 ms after a product, OpenMP's for 4 to 12 ms.
    """
    for _ in range(50):
        start, used = time.perf_counter(), time.process_time()
        time.sleep(0.002)
        if time.process_time() - used < 0.1 * (time.perf_counter() - start):
            return


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# Seconds: before a shorter call is timed it is made untimed, for so long but at least once.
_SHORT, _WAKING = 0.01, 0.002


class OtherPrograms:
    """How many processors other programs keep busy, from the making of this object on.

    Times on a machine that others use are not the kernels': a thread whose processor is taken is
    waited for by all others, for milliseconds.
    """

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds passed, used by all programs, used by this one; None where nothing tells."""
        try:
            line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
            ticks = float(os.sysconf("SC_CLK_TCK"))
        except (OSError, ValueError, AttributeError):
            return None
        user, nice, system, _, _, irq, softirq, *_ = map(float, line.split()[1:])
        used = (user + nice + system + irq + softirq) / ticks
        return time.perf_counter(), used, time.process_time()

    def processors(self) -> float | None:
        """Return the mean number of processors they used; None where the system does not tell."""
        start, now = self._start, self._now()
        if start is None or now is None or now[0] <= start[0]:
            return None
        passed, used, own = (after - before for after, before in zip(now, start, strict=True))
        return max(0.0, (used - own) / passed)


def _wake(call: Callable[[], Any]) -> None:
    start = time.perf_counter()
    call()
    while time.perf_counter() - start < _WAKING:
        call()


def interleaved(
    routes: Mapping[str, Callable[[], Any]],
    rounds: int = 7,
    warmup: int = 1,
    *,
    budget: float = float("inf"),
) -> dict[str, list[float]]:
    """Time routes that take turns, so that all meet the same clock, caches and neighbours.

    Parameters
    ----------
    routes : mapping of str to callable
        What to time, called without arguments.
    rounds : int
        The most timed calls of a route.
    warmup : int
        Untimed calls of each route first, at least 1.
    budget : float
        Seconds for all routes together, shared out evenly: a route gets as many of the rounds as
        fit its share, at least one. One whose first call takes more than its share is not called
        again: that call is its only measurement.

    Returns
    -------
    dict of str to list of float
        Seconds of every timed call, by route; its length is the number of rounds the route got.

    Raises
    ------
    ValueError
        If rounds or warmup is below 1.

    Notes
    -----
    The order changes from round to round. Garbage is collected before, not during. Before a route's
    turn the threads of the one before come to rest; a call below 10 ms is then made untimed for
    2 ms, so that none pays for waking its threads or the processor.
    """
    if rounds < 1 or warmup < 1:
        raise ValueError(f"rounds and warmup must be at least 1; got {rounds} and {warmup}")
    share = budget / max(1, len(routes))
    found: dict[str, list[float]] = {}
    turns: dict[str, int] = {}
    start = time.perf_counter()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        shortest: dict[str, float] = {}
        for name, call in routes.items():
            _settle()
            first = _seconds(call)
            if first > share:
                found[name], turns[name] = [first], 0
                continue
            shortest[name] = min([first, *(_seconds(call) for _ in range(warmup - 1))])
            # A turn also takes the wait for the threads to rest, and untimed calls if it is short.
            waking = max(shortest[name], _WAKING) if shortest[name] < _SHORT else 0.0
            turn = shortest[name] + waking + 0.003
            found[name], turns[name] = [], int(min(rounds, max(1, (share - first) / turn)))
        order = list(routes)
        shuffle = random.Random(0).shuffle
        for at in range(rounds):
            shuffle(order)
            for name in order:
                # Fewer turns than rounds are spread evenly from the first round on: -(-a // b) is
                # a / b rounded up.
                if -(-(at + 1) * turns[name] // rounds) == -(-at * turns[name] // rounds):
                    continue
                _settle()
                if shortest[name] < _SHORT:
                    _wake(routes[name])
                found[name].append(_seconds(routes[name]))
            # On a disturbed machine every turn takes longer than the first call promised.
            if time.perf_counter() - start > 2 * budget:
                break
    finally:
        if collecting:
            gc.enable()
    return found


@dataclass(frozen=True)
class Timing:
    """How long a route took and how wrong it was.

    Attributes
    ----------
    route : str
        Its name.
    seconds : tuple of float
        Of every timed call.
    error : float or None
        The largest against float64; None for a route that computes another quantity.
    checked_error : float or None
        What is held against the bound: of ours the largest error, of a peer's the 99th percentile.
    """

    route: str
    seconds: tuple[float, ...]
    error: float | None
    checked_error: float | None

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


def measured(
    case: Case, threads: Sequence[int], *, rounds: int = 7, budget: float = float("inf")
) -> dict[int, dict[str, Timing]]:
    """Time every route of a case at each number of threads, and check every result.

    Parameters
    ----------
    case : Case
        The work.
    threads : sequence of int
        Numbers of threads.
    rounds, budget : int, float
        As in `interleaved`, for each number of threads.

    Returns
    -------
    dict of int to dict of str to Timing
        By number of threads, then by route.

    Raises
    ------
    RuntimeError
        If an error of ours, or too many of a peer's, is above the case's bound.
    """
    for name in case.routes:
        _, modules = _needs(name) or ("", ())
        for module in modules:  # here, or the first call would be timed with the import
            _module(module)
    data = case.inputs()
    exact = case.exact(data)
    found: dict[int, dict[str, Timing]] = {}
    for count in threads:
        with blas_threads(count), torch.no_grad():
            results: dict[str, Any] = {}

            def keep(name: str, results: dict[str, Any] = results) -> None:
                results[name] = case.routes[name](data)

            seconds = interleaved(
                {name: partial(keep, name) for name in case.routes}, rounds, budget=budget
            )
            found[count] = {
                name: _timing(case, name, each, results.pop(name), exact)
                for name, each in seconds.items()
            }
    return found


def _timing(case: Case, name: str, seconds: list[float], result: Any, exact: Any) -> Timing:
    if name in case.unchecked:
        return Timing(name, tuple(seconds), None, None)
    errors = case.errors(result, exact).double()
    largest = float(errors.max())
    # Of a peer 99 in 100: a float32 Gram matrix cannot always tell the sign of a rank-1 vector,
    # and that is shown, not hidden.
    kept = errors.kthvalue(max(1, int(0.99 * len(errors)))).values
    checked = largest if name == OURS else float(kept)
    bound = case.bound if name == OURS else case.peer_bound
    if not checked <= bound:
        raise RuntimeError(f"{case.name}: error {checked:.1e} of {name} is above {bound:.0e}")
    return Timing(name, tuple(seconds), largest, checked)


# --- the short version ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One case at one number of threads.

    Attributes
    ----------
    name : str
        The case.
    threads : int
        Of torch, hubprune and the BLAS.
    ours : Timing
        hubprune.
    peers : tuple of Timing
        The others, fastest first.
    left_out : mapping of str to str
        Peers that did not run, with the reason.
    rate : float or None
        What ours reached, in 1e9 a second.
    unit : str
        Of the rate: "GP/s" is pairs of rows; "GB/s" and "GFLOP/s" are of the bytes and of the
        multiplications and additions that the operation needs at least.
    """

    name: str
    threads: int
    ours: Timing
    peers: tuple[Timing, ...]
    left_out: Mapping[str, str]
    rate: float | None
    unit: str

    @property
    def times_faster(self) -> float | None:
        """The best peer's median time over ours; None without a peer."""
        return self.peers[0].median / self.ours.median if self.peers else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, JSON-able."""
        result = {**asdict(self), "left_out": dict(self.left_out)}
        return {**result, "times_faster": self.times_faster}


@dataclass(frozen=True)
class BenchResult:
    """What the short benchmark measured; prints as tables and a summary in words.

    Attributes
    ----------
    comparisons : tuple of Comparison
        By number of threads, then in the order of the cases.
    environment : dict
        `hubprune.config.configuration()`.
    processor : str
        Its name, where the system tells it.
    cores : int
        That this process may use.
    quick : bool
        Smaller sizes and fewer rounds.
    seconds : float
        For all of it.
    others : float or None
        Processors that other programs kept busy meanwhile, where the system tells it.
    """

    comparisons: tuple[Comparison, ...]
    environment: dict[str, Any]
    processor: str
    cores: int
    quick: bool
    seconds: float
    others: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, JSON-able."""
        return {
            "processor": self.processor,
            "cores": self.cores,
            "quick": self.quick,
            "seconds": self.seconds,
            "others": self.others,
            "environment": self.environment,
            "summary": self.summary(),
            "comparisons": [each.to_dict() for each in self.comparisons],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to a file, whole or not at all."""
        with replaced_file(path) as file:
            file.write_text(self.to_json() + "\n", encoding="utf-8")

    def summary(self) -> list[str]:
        """Say in words, by number of threads, where hubprune is faster and where it is slower."""
        return [_summary(threads, each) for threads, each in self._by_threads().items()]

    def _by_threads(self) -> dict[int, list[Comparison]]:
        groups: dict[int, list[Comparison]] = {}
        for each in self.comparisons:
            groups.setdefault(each.threads, []).append(each)
        return groups

    def __str__(self) -> str:
        env = self.environment
        lines = [
            f"hubprune {env['hubprune']}, torch {env['torch']}, Python {env['python']}",
            f"{self.processor}, {self.cores} cores; level {env['simd']['in_use']}",
        ]
        for threads, comparisons in self._by_threads().items():
            lines += ["", f"{_threads(threads)}:", "", _table(comparisons)]
        left_out = {
            f"{name}: {reason}"
            for each in self.comparisons
            for name, reason in each.left_out.items()
        }
        lines += [
            "",
            "ms: median. times: the best peer's over ours. GP/s: 1e9 pairs of rows a second; GB/s",
            "and GFLOP/s: of what the operation needs at least. error: the largest against",
            "float64, relative for degrees; 1 or 2 is a rank-1 vector of the wrong sign.",
            *(f"left out: {each}" for each in sorted(left_out)),
            "",
            *self.summary(),
            f"measured in {self.seconds:.0f} s",
            *(
                [
                    f"disturbed: other programs kept {self.others:.1f} processors busy meanwhile; "
                    "repeat this when they rest"
                ]
                if self.others is not None and self.others > _DISTURBED
                else []
            ),
        ]
        return "\n".join(lines)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count != 1 else ''}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def _table(comparisons: Sequence[Comparison]) -> str:
    rows = []
    for each in comparisons:
        best = each.peers[0] if each.peers else None
        times = each.times_faster
        rows.append(
            [
                each.name,
                _milliseconds(each.ours.median),
                "-" if each.rate is None else f"{each.rate:.3g} {each.unit}",
                "-" if best is None else best.route,
                "-" if best is None else _milliseconds(best.median),
                "-" if times is None else f"{times:.1f}x",
                f"{each.ours.error:.0e}",
                "-" if best is None else f"{best.error:.0e}",
            ]
        )
    return text_table(["work", "ms", "rate", "best peer", "ms", "times", "error", "peer's"], rows)


def _summary(threads: int, comparisons: Sequence[Comparison]) -> str:
    compared = [(each, each.times_faster) for each in comparisons]
    known = [(each, times) for each, times in compared if times is not None]
    faster = [times for _, times in known if times > 1 + _EVEN]
    even = [each.name for each, times in known if 1 - _EVEN <= times <= 1 + _EVEN]
    slower = [
        f"{each.name} ({times:.2f}x of {each.peers[0].route})"
        for each, times in known
        if times < 1 - _EVEN
    ]
    parts = [f"faster in {len(faster)} of {len(known)}"]
    if faster:
        ends = dict.fromkeys(f"{end:.1f}x" for end in (min(faster), max(faster)))
        parts[0] += f": {' to '.join(ends)}"
    if even:
        parts.append(f"even (within 5 %): {', '.join(even)}")
    parts.append(f"slower: {', '.join(slower) or 'none'}")
    return f"{_threads(threads)}: {'; '.join(parts)}"


def _short_cases(quick: bool) -> list[Case]:
    """Return the cases of the short version; their peers leave out what never wins there."""
    layer = (64, 64, 3, 3) if quick else (1024, 512, 3, 3)
    short, mid, wide = (256, 512, 4096) if quick else (2048, 8192, 1_000_000)
    n, d = (128, 1152) if quick else (1024, 4608)
    layers = CNN14[:4] if quick else CNN14
    few: Peers = {key: ABS_PEERS[key] for key in ("torch chunked", "torch naive", "numpy syrk")}
    chunked: Peers = {"torch chunked": abs_degree_chunked}
    part = f"first {len(layers)} layers" if quick else "vectors + degree"
    return [
        vectors_case(
            f"rank-1 vectors {'x'.join(map(str, layer))}",
            [layer],
            {"torch bmm + eigh": rank1_gram},
        ),
        # So small that the call itself is most of the time: where a library loses, if it does.
        degree_case("abs degree 32 x 49", 32, 49, peers=few),
        degree_case(f"abs degree {short} x 9", short, 9, peers=few),
        degree_case(f"abs degree {mid} x 9", mid, 9, peers=chunked),
        degree_case(f"abs degree {n} x {d}", n, d, peers=few),
        degree_case(
            f"abs degree {n} x {d}, medium",
            n,
            d,
            precision="medium",
            peers={"torch bfloat16": abs_degree_bf16, **few},
        ),
        degree_case(f"signed degree {short} x 9", short, 9, edge="signed"),
        degree_case(f"signed degree {wide} x 9", wide, 9, edge="signed"),
        nearest_case(
            f"nearest {short} x 9",
            short,
            9,
            {"torch chunked": nearest_chunked, "torch naive": nearest_naive},
        ),
        eigenvector_case(f"eigenvector {short // 2} x 9", short // 2, 9),
        cosine_case(f"pairwise cosine {short} x 256", short, 256),
        network_case(f"CNN14, {part}", [(n, c, 3, 3) for n, c in layers]),
    ]


def case_names(*, quick: bool = False) -> list[str]:
    """Return the names of the cases that `run` measures."""
    return [case.name for case in _short_cases(quick)]


def run(
    *,
    quick: bool = False,
    threads: int | None = None,
    only: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> BenchResult:
    """Measure hubprune beside its peers on this machine, in about a minute.

    Parameters
    ----------
    quick : bool
        Small sizes and three rounds: seconds; shows that all works, not how fast.
    threads : int, optional
        This many threads. Default: one, then ``torch.get_num_threads()``.
    only : str, optional
        Only the cases whose name contains this, in any case.
    progress : callable (done, total, text), optional
        Called before each case, and once at the end.

    Returns
    -------
    BenchResult
        Prints as tables and a summary.

    Raises
    ------
    ValueError
        If `threads` is below 1 or `only` fits no case; the message lists them.
    RuntimeError
        If a result is wrong.

    Notes
    -----
    Weights are Gaussian and seeded. Calls `reuse_large_blocks`, which holds for the rest of the
    process; torch's number of threads is put back.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    start = time.perf_counter()
    cases = _short_cases(quick)
    if only is not None:
        chosen = [case for case in cases if only.lower() in case.name.lower()]
        if not chosen:
            names = "; ".join(case.name for case in cases)
            raise ValueError(f"only={only!r} fits no case; there are: {names}")
        cases = chosen
    counts = sorted({1, torch.get_num_threads()}) if threads is None else [threads]
    reuse_large_blocks()
    others = OtherPrograms()
    found: dict[int, list[Comparison]] = {count: [] for count in counts}
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases), case.name)
        rounds, budget = (3, 0.2) if quick else (25, 2.0)
        for count, timings in measured(case, counts, rounds=rounds, budget=budget).items():
            found[count].append(_comparison(case, count, timings))
    if progress is not None:
        progress(len(cases), len(cases), "done")
    return BenchResult(
        comparisons=tuple(each for count in counts for each in found[count]),
        environment=configuration(),
        processor=_processor(),
        cores=_cores(),
        quick=quick,
        seconds=time.perf_counter() - start,
        others=others.processors(),
    )


def _comparison(case: Case, threads: int, timings: Mapping[str, Timing]) -> Comparison:
    ours = timings[OURS]
    peers = [each for name, each in timings.items() if name not in {OURS, *case.unchecked}]
    work = {"GP/s": case.pairs, "GB/s": case.bytes, "GFLOP/s": case.flops}.get(case.unit, 0.0)
    return Comparison(
        name=case.name,
        threads=threads,
        ours=ours,
        peers=tuple(sorted(peers, key=lambda each: each.median)),
        left_out=case.left_out,
        rate=work / ours.median / 1e9 if work else None,
        unit=case.unit,
    )


def _processor() -> str:
    """Return the processor's name as Linux tells it, or what the platform knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine() or "unknown processor"])[0]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
