# SPDX-License-Identifier: MIT
"""The torch operators: registration, fake tensors, torch.compile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

import hubprune as hp
from hubprune import _native
from hubprune.ops import degree, eigenvector, filters, nystrom, paths, similarity
from hubprune.ops.tensors import where_each_lives

# Operator name -> arguments for one valid call.
CALLS: dict[str, tuple[Any, ...]] = {
    "row_norms": (torch.randn(2, 7, 5),),
    "rank1_vectors": ([torch.randn(7, 4, 9), torch.randn(3, 11, 9)], torch.float64),
    "spectral_norms": ([torch.randn(7, 4, 9), torch.randn(3, 11, 9)],),
    "pairwise_cosine": (torch.randn(2, 7, 5), torch.randn(2, 3, 5), "abs", False),
    "weighted_degree": ([torch.randn(2, 7, 5), torch.randn(9, 3)], "abs", "highest"),
    "distance_sum": (torch.randn(7, 5),),
    "nystrom_columns": (torch.randn(7, 5), torch.tensor([4, 0]), "abs"),
    "pivoted_cholesky": (torch.eye(7), 1e-9),
    "greedy_degree": (torch.randn(7, 5), "abs", 3),
    "nearest": (torch.randn(2, 7, 5),),
    "eigenvector_centrality": (torch.randn(2, 7, 5), "abs", 1e-6, 100),
    "graph_eigenvector_centrality": (torch.ones(2, 7, 7), 1e-6, 100, torch.ones(2, 7)),
    "betweenness_centrality": (torch.ones(2, 7, 7), True, [3, 1]),
    "closeness_centrality": (torch.ones(2, 7, 7),),
}
TESTS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_dynamic",
)


def operator(name: str) -> Any:
    return getattr(torch.ops.hubprune, name).default


# Dynamo's own use of a deprecated torch.jit function, seen with torch 2.13.
dynamo_warnings = pytest.mark.filterwarnings("ignore:.*torch.jit")


@dynamo_warnings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name: str, dtype: torch.dtype) -> None:
    def converted(a: Any) -> Any:
        if isinstance(a, list):
            return [converted(each) for each in a]
        return a.to(dtype) if isinstance(a, torch.Tensor) and a.ndim > 1 else a

    arguments = tuple(map(converted, CALLS[name]))
    torch.library.opcheck(operator(name), arguments, test_utils=TESTS)


@dynamo_warnings
def test_opcheck_out() -> None:
    x = torch.randn(7, 5)
    torch.library.opcheck(
        operator("pairwise_cosine_out"),
        (x, None, "abs", True),
        {"out": torch.empty(7, 7)},
        test_utils=TESTS,
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", CALLS)
def test_fake_tensors_have_the_real_shapes(name: str, device: str) -> None:
    real = operator(name)(*CALLS[name])
    with FakeTensorMode():

        def faked(a: Any) -> Any:
            if isinstance(a, list):
                return [faked(each) for each in a]
            if isinstance(a, torch.Tensor):
                return torch.empty(a.shape, dtype=a.dtype, device=device)
            return a

        fake = operator(name)(*map(faked, CALLS[name]))
    for r, f in zip(_tensors(real), _tensors(fake), strict=True):
        assert (r.shape, r.dtype) == (f.shape, f.dtype)
        assert f.device.type == device


def _tensors(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [tensor for part in result for tensor in _tensors(part)]


COMPILED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "row_norms": lambda x: hp.row_norms(x) + 1,
    "filter_vectors": lambda x: hp.filter_vectors(x.reshape(8, 2, 3, 2)) + 1,
    "pairwise_cosine": lambda x: hp.pairwise_cosine(x, edge="abs") + 1,
    "pairwise_cosine_out": lambda x: hp.pairwise_cosine(x, out=torch.empty(8, 8)) + 1,
    "weighted_degree": lambda x: hp.weighted_degree(x, edge="abs") + 1,
    "nearest": lambda x: hp.nearest(x)[0] + hp.nearest(x)[1],
    "eigenvector_centrality": lambda x: hp.eigenvector_centrality(x) + 1,
    "betweenness_centrality": lambda x: hp.betweenness_centrality(x) + 1,
    "closeness_centrality": lambda x: hp.closeness_centrality(x) + 1,
    "greedy_degree": lambda x: hp.greedy_degree(x)[1] + 1,
}


@dynamo_warnings
@pytest.mark.parametrize("name", COMPILED)
def test_compiles_without_a_graph_break(name: str) -> None:
    x = torch.randn(8, 12)
    compiled = torch.compile(COMPILED[name], fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), COMPILED[name](x))


MAPPED: dict[str, tuple[Any, ...]] = {
    "row_norms": (torch.randn(5, 9),),
    "rank1_vectors": ([torch.randn(7, 4, 9), torch.randn(3, 11, 9)], torch.float64),
    "spectral_norms": ([torch.randn(7, 4, 9), torch.randn(3, 11, 9)],),
    "pairwise_cosine": (torch.randn(2, 7, 5), torch.randn(2, 3, 5), "abs"),
    "weighted_degree": ([torch.randn(2, 7, 5), torch.randn(9, 3)], "abs"),
    "nystrom_columns": (torch.randn(7, 5), torch.tensor([4, 0]), "abs"),
    "nearest": (torch.randn(7, 5),),
    "eigenvector_centrality": (torch.rand(2, 7, 5), "abs", 1e-6, 100, torch.rand(2, 7)),
    "graph_eigenvector_centrality": (torch.ones(7, 7),),
    "betweenness_centrality": (torch.ones(2, 7, 7), True, [3, 1]),
    "closeness_centrality": (torch.ones(7, 7),),
}


@pytest.fixture
def no_slow_vmap() -> Iterator[None]:
    """What torch does without a rule, one call after another with a warning, is an error."""
    torch._C._functorch._set_vmap_fallback_enabled(False)
    yield
    torch._C._functorch._set_vmap_fallback_enabled(True)


@pytest.mark.usefixtures("no_slow_vmap")
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", MAPPED)
def test_vmap_is_one_call_of_the_kernel(name: str, dim: int) -> None:
    def varied(argument: Any, by: int) -> Any:
        if not isinstance(argument, torch.Tensor):
            return argument
        return argument * (by + 1) if argument.is_floating_point() else argument + by

    def stacked(*each: Any) -> Any:
        return torch.stack(each, dim) if isinstance(each[0], torch.Tensor) else each[0]

    calls = [tree_map(lambda a, by=by: varied(a, by), MAPPED[name]) for by in range(3)]
    dims = tree_map(lambda a: dim if isinstance(a, torch.Tensor) else None, MAPPED[name])
    got = torch.vmap(operator(name), in_dims=dims)(*tree_map(stacked, *calls))
    expected = [operator(name)(*arguments) for arguments in calls]
    for result, *separate in zip(_tensors(got), *map(_tensors, expected), strict=True):
        assert torch.equal(result, torch.stack(separate))


@pytest.mark.usefixtures("no_slow_vmap")
def test_vmap_repeats_what_is_not_mapped() -> None:
    x, y, start = torch.randn(3, 7, 5), torch.randn(4, 5), torch.rand(3, 4)
    cosines = torch.vmap(operator("pairwise_cosine"), in_dims=(None, 0))(y, x)
    assert torch.equal(cosines[2], operator("pairwise_cosine")(y, x[2]))
    degrees = torch.vmap(operator("weighted_degree"), in_dims=([0, None],))([x, y])
    assert torch.equal(degrees[0], torch.stack(operator("weighted_degree")(list(x))))
    assert torch.equal(degrees[1], operator("weighted_degree")([y])[0].expand(3, 4))
    centrality = operator("eigenvector_centrality")
    got = torch.vmap(lambda start: centrality(y, "abs", 1e-6, 100, start))(start)
    assert torch.equal(got[1], centrality(y, "abs", 1e-6, 100, start[1]))


@pytest.mark.usefixtures("no_slow_vmap")
def test_vmap_of_the_public_functions() -> None:
    x, weight = torch.randn(4, 3, 7, 9), torch.randn(3, 5, 4, 3, 3)
    for function in (hp.row_norms, hp.pairwise_cosine, hp.weighted_degree, hp.closeness_centrality):
        assert torch.equal(torch.vmap(torch.vmap(function))(x), function(x))
    vectors = torch.vmap(hp.filter_vectors)(weight)
    assert torch.equal(vectors, torch.stack([hp.filter_vectors(each) for each in weight]))
    assert torch.vmap(hp.filter_vectors)(weight[:, :0]).shape == (3, 0, 9)
    against = torch.vmap(lambda a: torch.vmap(lambda b: hp.pairwise_cosine(a, b))(x[0]))(x[1])
    assert torch.equal(against[2, 1], hp.pairwise_cosine(x[1, 2], x[0, 1]))
    compiled = torch.compile(torch.vmap(hp.nearest), backend="aot_eager")
    assert torch.equal(compiled(x[0])[1], hp.nearest(x[0])[1])


def test_meta_tensors() -> None:
    x = torch.empty(3, 1000, 9, device="meta")
    assert hp.weighted_degree(x).shape == (3, 1000)
    assert hp.pairwise_cosine(x).shape == (3, 1000, 1000)


def test_route_of_a_degree_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule around the native one, which says "tiles" here whatever it is asked."""
    monkeypatch.setattr(_native, "weighted_degree_cuda_route", lambda n, d, edge: "tiles")
    long, short = torch.empty(5, 2000, device="meta"), torch.empty(5, 9, device="meta")
    for x, precision, route in (
        (long, "highest", "tiles"),
        (long, "high", "panels"),
        (long.half(), "medium", "panels"),
        (long.double(), "medium", "tiles"),
        (short, "medium", "tiles"),
        (long[:0], "medium", "tiles"),
    ):
        assert degree._cuda_route(x, "abs", precision) == route
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "panels")
    assert degree._cuda_route(short, "abs", "highest") == "panels"
    assert degree._cuda_route(long.double(), "abs", "highest") == "tiles"
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "mma")
    assert degree._cuda_route(torch.empty(5, 32, device="meta"), "abs", "highest") == "mma"
    with pytest.raises(ValueError, match="=mma takes rows of at most 32 features; x has 2000"):
        degree._cuda_route(long, "abs", "medium")
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "tiles")
    assert degree._cuda_route(long, "abs", "medium") == "tiles"
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "fast")
    with pytest.raises(ValueError, match=r"HUBPRUNE_DEGREE_ROUTE must be one of tiles, .*'fast'"):
        degree._cuda_route(long, "abs", "medium")


CUDA_CALLS: dict[str, Callable[[], Any]] = {
    "row_norms": lambda: filters._row_norms_cuda(torch.randn(3, 4)),
    "rank1_vectors": lambda: filters._rank1_vectors_cuda(
        [torch.randn(3, 4, 9), torch.randn(2, 1, 9)]
    ),
    "pairwise_cosine": lambda: similarity.pairwise_cosine_cuda(
        torch.randn(3, 4), torch.randn(5, 4)
    ),
    "weighted_degree": lambda: degree._weighted_degree_cuda([torch.randn(2, 3, 4)], "abs"),
    "distance_sum": lambda: similarity._distance_sum_cuda(torch.randn(3, 4)),
    "nearest": lambda: similarity._nearest_cuda(torch.randn(3, 4)),
    "eigenvector_centrality": lambda: eigenvector._eigenvector_centrality_cuda(torch.randn(3, 4)),
    "eigenvector_centrality, implicit": lambda: eigenvector._eigenvector_centrality_cuda(
        torch.randn(2, 3, 4), "shifted", 1e-6, 100, torch.ones(2, 3)
    ),
    "graph_eigenvector_centrality": lambda: eigenvector._graph_eigenvector_centrality_cuda(
        torch.ones(3, 3)
    ),
    "betweenness_centrality": lambda: paths._betweenness_centrality_cuda(torch.ones(2, 3, 3)),
    "betweenness of some": lambda: paths._betweenness_centrality_cuda(torch.ones(3, 3), True, [1]),
    "closeness_centrality": lambda: paths._closeness_centrality_cuda(torch.ones(2, 3, 3)),
    "greedy_degree": lambda: degree._greedy_degree_cuda(torch.randn(3, 4), "abs", 2),
    "pivoted_cholesky": lambda: nystrom._pivoted_cholesky_cuda(torch.eye(3), 0.0),
    "split_rows": lambda: degree._CudaPanels().split_rows(torch.randn(3, 4), 2),
    "add_panel": lambda: degree._CudaPanels().add_panel(
        torch.zeros(3, 4)[:, :3], 0, "abs", torch.zeros(4, dtype=torch.int64)
    ),
    "finish": lambda: degree._CudaPanels().finish(torch.zeros(4, dtype=torch.int64)),
}


def pretend_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operators ask for the caller's stream on a machine without a device."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda at: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)


@pytest.mark.skipif(_native.cuda_device_count() > 0, reason="there the kernels would run")
@pytest.mark.parametrize("name", CUDA_CALLS)
def test_cuda_operators_reach_their_launchers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments fit the binding, and without a device the launch says so."""
    pretend_device(monkeypatch)
    monkeypatch.setattr(_native, "split_rows_cuda_pitch", lambda d: 64)
    with pytest.raises(RuntimeError, match=r"has no CUDA kernels|CUDA error: "):
        CUDA_CALLS[name]()


@pytest.mark.parametrize("route", ["implicit", "stored", "tiles"])
def test_eigenvector_centrality_takes_its_route(
    route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []

    def route_of(is_double: bool, batch: int, n: int, d: int, edge: int) -> str:
        assert (is_double, batch, n, d, edge) == (True, 6, 4, 5, 2)
        return route

    def rows(is_double: bool, x: int, *arguments: Any) -> None:
        assert arguments[:4] == (6, 4, 5, 2)
        launched.append("tiles" if arguments[4] else "implicit")

    def graph(is_double: bool, weights: int, *arguments: Any) -> None:
        assert arguments[:2] == (6, 4)
        launched.append("stored")

    pretend_device(monkeypatch)
    monkeypatch.setattr(_native, "eigenvector_centrality_cuda_route", route_of)
    monkeypatch.setattr(_native, "eigenvector_centrality_cuda", rows)
    monkeypatch.setattr(_native, "graph_eigenvector_centrality_cuda", graph)
    monkeypatch.setattr(_native, "pairwise_cosine_cuda", lambda *arguments: None)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    vector = eigenvector._eigenvector_centrality_cuda(x, "abs")
    assert (vector.shape, vector.dtype) == (x.shape[:-1], x.dtype)
    assert launched == [route]


@pytest.mark.parametrize(
    ("capturing", "enough", "launched"),
    [
        (False, 5, [(0, 24)]),
        (False, 40, [(0, 24), (24, 48)]),
        (False, 99, [(0, 24), (24, 48), (48, 60)]),
        (True, 99, [(0, 60)]),
    ],
)
def test_eigenvector_centrality_launches_as_much_as_it_needs(
    capturing: bool, enough: int, launched: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the products at a time; in a capture, which cannot look, all of them."""
    search = eigenvector._CudaSearch(torch.zeros(4, 3), 1e-6, 60)
    scratch = torch.zeros(1)
    outputs = [each.data_ptr() for each in (search.vector, search.converged, search.residual)]
    seen: list[tuple[int, int]] = []

    def enqueue(first: int, end: int, *rest: int) -> None:
        assert rest[:4] == (*outputs, scratch.data_ptr())
        seen.append((first, end))
        search.converged.fill_(end >= enough)

    pretend_device(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    if enough <= 60 or capturing:
        assert search.run(enqueue, scratch) is search.vector
    else:
        with pytest.raises(RuntimeError, match="did not converge in 60 products"):
            search.run(enqueue, scratch)
    assert seen == launched


def test_route_of_an_eigenvector_centrality_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    for route, text in (
        ("implicit", "implicit products through the sum of the rows, .*, on the GPU"),
        ("stored", "products with the stored graph, on the GPU"),
        ("tiles", "products with the graph, tiles of it computed again for each, on the GPU"),
    ):
        monkeypatch.setattr(
            _native, "eigenvector_centrality_cuda_route", lambda *sizes, name=route: name
        )
        rows = SimpleNamespace(shape=(5, 9), dtype=torch.float32, is_cuda=True)
        words = eigenvector.eigenvector_centrality_route(rows, "shifted")  # type: ignore[arg-type]
        assert re.fullmatch(text, words)


def test_long_rows_take_the_route_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several layers, each goes where it belongs, and the others stay together."""
    launched: list[tuple[Any, ...]] = []

    def degree_of(route: str) -> Callable[..., torch.Tensor]:
        def run(x: torch.Tensor, edge: str, planes: int, *_: Any) -> torch.Tensor:
            launched.append((route, tuple(x.shape), planes))
            return torch.full((len(x),), 7.0)

        return run

    def together(is_double: bool, layers: list[tuple[int, ...]], *_: Any) -> None:
        launched.append(("tiles", is_double, [layer[1:4] for layer in layers]))

    pretend_device(monkeypatch)
    monkeypatch.setattr(degree, "panel_degree", degree_of("panels"))
    monkeypatch.setattr(degree, "_sm90_degree", degree_of("sm90"))
    monkeypatch.setattr(_native, "weighted_degree_cuda_route", lambda n, d, edge: "tiles")
    monkeypatch.setattr(_native, "weighted_degree_cuda", together)
    monkeypatch.setattr(_native, "sm90_available", lambda device: True)
    long, short = torch.randn(2, 3, 1500), torch.randn(5, 9)
    layers = [short, long, long[0].double(), short[:4]]

    degrees = degree._weighted_degree_cuda(layers, "abs", "high")
    assert launched == [
        *[("panels", (3, 1500), 2)] * 2,
        ("tiles", False, [(1, 5, 9), (1, 4, 9)]),
        ("tiles", True, [(1, 3, 1500)]),
    ]
    assert [tuple(degree.shape) for degree in degrees] == [(5,), (2, 3), (3,), (4,)]
    assert (degrees[1] == 7).all()

    launched.clear()
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "mma")
    monkeypatch.setattr(degree, "_mma_degree", degree_of("mma"))
    degree._weighted_degree_cuda([short, short.double(), short[:4]], "abs", "medium")
    assert launched == [("mma", (5, 9), 1), ("mma", (4, 9), 1), ("tiles", True, [(1, 5, 9)])]

    launched.clear()
    degree._weighted_degree_cuda([torch.empty(2, 3, 0)], "abs", "medium")
    assert launched == [("mma", (3, 0), 1)] * 2

    launched.clear()
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "sm90")
    degree._weighted_degree_cuda(layers, "abs", "highest")
    assert [each[0] for each in launched] == ["sm90"] * 4 + ["tiles"]
    monkeypatch.setattr(_native, "sm90_available", lambda device: False)
    with pytest.raises(RuntimeError, match="=sm90 needs a device of compute capability 9"):
        degree._weighted_degree_cuda(layers, "abs", "highest")


def test_a_list_across_host_and_device_is_divided() -> None:
    """One layer on a GPU is enough for the dispatcher to choose its kernel for all of them."""

    def named(name: str) -> Callable[..., tuple[list[Any], list[Any]]]:
        def kernel(tensors: list[torch.Tensor], edge: str, *, wide: bool) -> Any:
            assert edge == "abs"
            assert wide
            labels = [(name, len(tensor)) for tensor in tensors]
            return labels, [len(label) for label in labels]

        return kernel

    both = where_each_lives(named("host"), named("device"))
    host, device = torch.empty(3), torch.empty(4, device="meta")
    labels, lengths = both([device, host, device[:2], host[:1]], "abs", wide=True)
    assert labels == [("device", 4), ("host", 3), ("device", 2), ("host", 1)]
    assert lengths == [2] * 4
    assert both([device], "abs", wide=True)[0] == [("device", 4)]
    assert both([], "abs", wide=True) == ([], [])
