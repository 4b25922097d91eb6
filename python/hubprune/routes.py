# SPDX-License-Identifier: MIT
"""The planner: which route computes a centrality, why, and what each would take.

Exact routes only, unless an approximation is asked for; and then only where it is cheaper. Times
are predicted from the multiply-adds and bytes of a route, at the speeds this machine shows in a few
milliseconds of measuring, times factors fitted to measurements (``benchmarks/fit_routes.py``).
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import torch

from . import _native
from .arguments import EDGES, PRECISIONS, Array, as_tensor, check_choice, compute_dtype, shape_text
from .nystrom import Nystrom
from .sampling import Sampled

__all__ = ["Approximation", "Machine", "Route", "machine", "route"]

Approximation = Nystrom | Sampled

OPERATIONS = ("weighted_degree", "eigenvector_centrality", "nearest")

#: Products with the graph that Lanczos takes: measured on rank-1 vectors, tol 1e-6 to 1e-10.
_PRODUCTS = 20


@dataclass(frozen=True)
class Machine:
    """What this machine does at best with the threads in use.

    Attributes
    ----------
    multiply_adds : float
        float32 multiply-adds a second.
    read : float
        Bytes read from memory a second.
    threads : int
        With how many threads.
    """

    multiply_adds: float
    read: float
    threads: int


@dataclass(frozen=True)
class Route:
    """How a centrality is computed; prints as what `explain` says.

    Attributes
    ----------
    operation : str
        What is computed.
    name : str
        The route: "closed form", "Gram matrix", "fused tiles", "implicit products",
        "Gram products", "stored graph", "Nystroem" or "sampled columns".
    exact : bool
        Whether the result is exact to the working precision.
    reason : str
        Why this one.
    seconds : float
        Predicted.
    others : tuple of (str, float)
        The routes that were not taken, and what they are predicted to take.
    """

    operation: str
    name: str
    exact: bool
    reason: str
    seconds: float
    others: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return self.explain()

    def explain(self) -> str:
        """Return the choice, the reason, and the predicted times."""
        kind = "exact" if self.exact else "approximate"
        lines = [
            f"{self.operation}: {self.name} ({kind}), predicted {_text(self.seconds)}",
            f"because {self.reason}",
        ]
        lines += [f"not {name}: predicted {_text(seconds)}" for name, seconds in self.others]
        return "\n".join(lines)


def _text(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1.0 else f"{seconds * 1e3:.3g} ms"


@functools.lru_cache(maxsize=8)
def machine(threads: int | None = None) -> Machine:
    """Return this machine's ceilings, measured once, in about 30 ms.

    Multiply-adds of one thread, times the threads in use; memory as one thread reads it.
    """
    count = threads or torch.get_num_threads()
    rounds = 100_000
    multiply_adds = rounds * _native.multiply_add_cpu(1, 1)
    fastest = min(_seconds(lambda: _native.multiply_add_cpu(rounds, 1)) for _ in range(5))
    data = torch.zeros(16 << 20, dtype=torch.float32, device="cpu")  # 64 MiB: beyond most caches
    read = min(
        _seconds(lambda: _native.read_memory_cpu(data.data_ptr(), data.numel(), 1))
        for _ in range(5)
    )
    return Machine(count * multiply_adds / fastest, 4 * data.numel() / read, count)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@functools.lru_cache(maxsize=1)
def _costs() -> dict[str, list[float]]:
    """Return the fitted factors: route -> [seconds, per multiply-add, per byte]."""
    text = resources.files(__package__).joinpath("route_costs.json").read_text()
    costs: dict[str, list[float]] = json.loads(text)["costs"]
    return costs


def work(
    operation: str, name: str, n: int, d: int, m: int = 0, *, is_double: bool = False
) -> tuple[float, float]:
    """Return (multiply-adds, bytes) of a route; float64 ones count twice."""
    size, twice = (8, 2.0) if is_double else (4, 1.0)
    pairs = n * n / 2
    x = float(size * n * d)
    if name == "closed form":
        return 8.0 * n * d, 2 * x
    if name == "Gram matrix":
        return 2.0 * n * d * (d + 1), 2 * x
    if name == "implicit products":
        return _PRODUCTS * 4.0 * n * d, _PRODUCTS * 2 * x
    if name == "Gram products":
        return _PRODUCTS * 2.0 * n * d * (d + 1), _PRODUCTS * 2 * x
    if name == "stored graph":
        matrix = float(size * n * n)
        return twice * (pairs * (d + 3) + _PRODUCTS * n * n), x + matrix * _PRODUCTS
    if name == "Nystroem":
        beyond = n * m if operation == "weighted_degree" else _PRODUCTS * 2.0 * n * m
        if operation == "nearest":
            beyond = float(n) * n * m
        return twice * n * m * d + 2.0 * n * m * m + 10.0 * m**3 + twice * beyond, x + size * n * m
    if operation == "nearest":
        return twice * n * n * (d + 3), 4 * x
    return twice * pairs * (d + 3), 4 * x


def _predicted(
    operation: str, name: str, n: int, d: int, m: int = 0, *, is_double: bool = False
) -> float:
    fixed, per_multiply_add, per_byte = _costs()[_key(name, d)]
    here = machine()
    multiply_adds, size = work(operation, name, n, d, m, is_double=is_double)
    return (
        fixed + per_multiply_add * multiply_adds / here.multiply_adds + per_byte * size / here.read
    )


def _key(name: str, d: int) -> str:
    if name == "fused tiles":
        return "fused tiles, short rows" if d <= 64 else "fused tiles, long rows"
    # The same iteration, and multiply-adds of the same kind.
    return "stored graph" if name == "Gram products" else name


def _exact_name(operation: str, n: int, d: int, edge: str, is_double: bool) -> str:
    if operation == "nearest":
        return "fused tiles"
    if operation == "eigenvector_centrality":
        native = _native.eigenvector_centrality_cpu_route(is_double, n, d, EDGES.index(edge))
        if native != "implicit":
            return "stored graph"
        return "Gram products" if edge == "squared" else "implicit products"
    codes = EDGES.index(edge), PRECISIONS.index("highest")
    native = _native.weighted_degree_cpu_route(is_double, n, d, *codes)
    return {"closed": "closed form", "gram": "Gram matrix"}.get(native, "fused tiles")


def route(
    x: Array | tuple[int, int],
    operation: str = "weighted_degree",
    *,
    edge: str = "signed",
    approximate: Approximation | None = None,
) -> Route:
    """Return which route would compute a centrality of x, without computing it.

    Parameters
    ----------
    x : tensor or array, shape (..., n, d), or (n, d)
        The rows, or only their number and width (then float32).
    operation : {"weighted_degree", "eigenvector_centrality", "nearest"}
        What would be computed.
    edge : str
        As in `weighted_degree`; "nearest" takes the signed cosine.
    approximate : Nystrom or Sampled, optional
        What would be allowed.

    Returns
    -------
    Route
        ``print(route.explain())``.

    Raises
    ------
    TypeError, ValueError
        For another operation, edge, approximation or shape.

    Notes
    -----
    Nystroem is taken where it is predicted to be cheaper than the exact route. For cosine vectors
    no wider than m it never is an advantage where a closed form exists: the vectors themselves
    are an exact factor of the matrix. Predictions are for this machine's processor.

    Examples
    --------
    >>> import hubprune as hp
    >>> hp.route((2048, 9), edge="signed", approximate=hp.Nystrom(m=256)).name
    'closed form'
    """
    check_choice(operation, OPERATIONS, "operation")
    check_choice(edge, EDGES, "edge")
    if operation == "nearest":
        edge = "signed"
    is_double = False
    if isinstance(x, tuple):
        if len(x) != 2 or not all(type(size) is int and 0 <= size < 2**63 for size in x):
            raise ValueError(f"x must be rows or their number and width (n, d); got {x}")
        n, d = x
    else:
        rows = as_tensor(x, "x")
        if rows.ndim < 2:
            raise ValueError(f"x must have shape (..., n, d); got {shape_text(rows.shape)}")
        n, d = rows.shape[-2:]
        is_double = compute_dtype(rows) == torch.float64
    exact = _exact_name(operation, n, d, edge, is_double)
    seconds = _predicted(operation, exact, n, d, is_double=is_double)
    if approximate is None:
        return Route(operation, exact, True, _why_exact(operation, exact, edge), seconds)
    if isinstance(approximate, Sampled):
        if operation != "weighted_degree":
            raise ValueError(f"approximate=Sampled is for weighted_degree only; got {operation}")
        if exact != "fused tiles":
            reason = f"edge {edge!r} has a cheaper exact form than any sample of columns"
            return Route(operation, exact, True, reason, seconds)
        half = _predicted(operation, "Nystroem", n, d, max(1, n // 4), is_double=is_double)
        reason = "Sampled was asked for; columns are added until the removed set is settled"
        return Route(operation, "sampled columns", False, reason, half, ((exact, seconds),))
    if not isinstance(approximate, Nystrom):
        raise TypeError(
            f"approximate must be a Nystrom, a Sampled or None; got {type(approximate).__name__}"
        )
    m = min(approximate.m, n)
    lower = _predicted(operation, "Nystroem", n, d, m, is_double=is_double)
    if approximate.m >= n:
        reason = f"m = {approximate.m} landmarks are all n = {n} rows"
        return Route(operation, exact, True, reason, seconds, (("Nystroem", lower),))
    factored = edge in ("signed", "shifted") or (
        edge == "squared" and exact in ("Gram matrix", "Gram products")
    )
    if operation != "nearest" and factored and d <= m:
        reason = (
            f"d = {d} <= m = {m}: the vectors themselves are an exact factor, and edge {edge!r} "
            "has a closed form"
        )
        return Route(operation, exact, True, reason, seconds, (("Nystroem", lower),))
    if operation == "nearest" and d <= m:
        reason = f"d = {d} <= m = {m}: the vectors themselves are a narrower, exact factor"
        return Route(operation, exact, True, reason, seconds, (("Nystroem", lower),))
    if seconds <= lower:
        reason = "the exact route is predicted to be no slower than Nystroem"
        return Route(operation, exact, True, reason, seconds, (("Nystroem", lower),))
    reason = f"Nystroem was asked for and is predicted to be {seconds / lower:.1f} times faster"
    return Route(operation, "Nystroem", False, reason, lower, ((exact, seconds),))


def _why_exact(operation: str, name: str, edge: str) -> str:
    return {
        "closed form": f"edge {edge!r} is linear in the cosine: O(n d)",
        "Gram matrix": "8 d <= n: the sum of squares goes through the d x d Gram matrix",
        "implicit products": f"edge {edge!r} is linear in the cosine: the graph is never formed",
        "Gram products": "d^2 <= 4 n: products go through the d x d Gram matrix, without a graph",
        "stored graph": f"edge {edge!r} has no cheaper product; up to 1 GiB it is stored",
        "fused tiles": f"{operation} of edge {edge!r} needs every pair; nothing n x n is stored",
    }[name]
