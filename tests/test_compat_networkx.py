# SPDX-License-Identifier: MIT
"""NetworkX's backend: its values, NetworkX's own tests through it, and the published script."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from cases import PATH_KINDS, random_lengths
from hubprune.compat import networkx as backend
from hubprune_networkx import get_info
from test_betweenness_centrality import networkx_graph

installed = pytest.mark.skipif(
    not metadata.entry_points(group="networkx.backends", name="hubprune"),
    reason="NetworkX finds its backends by the metadata of an installed hubprune",
)
TESTS = "networkx.algorithms.centrality.tests."
SUITES = [
    TESTS + "test_betweenness_centrality",
    TESTS + "test_betweenness_centrality_subset",
    TESTS + "test_closeness_centrality",
    TESTS + "test_degree_centrality",
    TESTS + "test_eigenvector_centrality",
]
#: NetworkX's tests that fail through the backend, by name. There are none.
EXPECTED_FAILURES: set[str] = set()


def close(got: dict[Any, float], expected: dict[Any, float]) -> None:
    assert list(got) == list(expected)
    assert all(type(value) is float for value in got.values())
    np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=1e-12, atol=1e-12)


def run_here(name: str, graph: nx.Graph, **options: Any) -> dict[Any, float]:
    """Convert and call as NetworkX does."""
    attribute = options.get("weight", options.get("distance"))
    assert backend.can_run(name, (graph,), options) is True
    dense = backend.convert_from_nx(graph, edge_attrs={attribute: 1} if attribute else None)
    assert backend.can_run(name, (dense,), options) is True
    return getattr(backend, name)(dense, **options)  # type: ignore[no-any-return]


def named_graph(kind: str, n: int = 18) -> nx.Graph:
    """A weighted graph whose nodes are no numbers, some edges without a weight."""
    graph = networkx_graph(random_lengths(kind, n))
    if n > 3 and graph.has_edge(0, 1):
        del graph[0][1]["weight"]
    return nx.relabel_nodes(graph, {i: f"filter {i}" for i in range(n)})


@pytest.mark.parametrize("kind", PATH_KINDS)
@pytest.mark.parametrize("weight", [None, "weight", "other"])
def test_betweenness_is_networkx(kind: str, weight: str | None) -> None:
    graph = named_graph(kind)
    for options in (
        {},
        {"normalized": False},
        {"endpoints": True},
        {"endpoints": True, "normalized": False},
        {"k": 5, "seed": random.Random(2)},
        {"k": 18},
    ):
        got = run_here("betweenness_centrality", graph, weight=weight, **options)
        if "seed" in options:
            options = {**options, "seed": random.Random(2)}
        close(got, nx.betweenness_centrality(graph, weight=weight, **options))


@pytest.mark.parametrize("kind", [kind for kind in PATH_KINDS if "signed" not in kind])
@pytest.mark.parametrize("weight", [None, "weight"])
def test_other_centralities_are_networkx(kind: str, weight: str | None) -> None:
    graph = named_graph(kind)
    graph.add_edge("filter 2", "filter 2", weight=3.0)  # a self loop
    graph.add_node("alone")
    for improved in (True, False):
        got = run_here("closeness_centrality", graph, distance=weight, wf_improved=improved)
        close(got, nx.closeness_centrality(graph, distance=weight, wf_improved=improved))
    close(run_here("degree_centrality", graph), nx.degree_centrality(graph))
    for options in ({}, {"tol": 1e-9, "max_iter": 3000}, {"nstart": dict.fromkeys(graph, 2.0)}):
        try:
            expected = nx.eigenvector_centrality(graph, weight=weight, **options)
        except nx.PowerIterationFailedConvergence:
            with pytest.raises(nx.PowerIterationFailedConvergence):
                run_here("eigenvector_centrality", graph, weight=weight, **options)
        else:
            close(run_here("eigenvector_centrality", graph, weight=weight, **options), expected)


def test_graphs_of_few_nodes() -> None:
    for n in (1, 2, 3):
        graph = nx.complete_graph(n)
        close(run_here("betweenness_centrality", graph), nx.betweenness_centrality(graph))
        got = run_here("betweenness_centrality", graph, endpoints=True, normalized=False)
        close(got, nx.betweenness_centrality(graph, endpoints=True, normalized=False))
        close(run_here("closeness_centrality", graph), nx.closeness_centrality(graph))
        assert run_here("degree_centrality", graph) == nx.degree_centrality(graph)
        close(run_here("eigenvector_centrality", graph), nx.eigenvector_centrality(graph))


def test_what_cannot_run_says_why() -> None:
    graph = nx.complete_graph(30)
    cases: list[tuple[str, nx.Graph, dict[str, Any], str]] = [
        ("pagerank", graph, {}, "pagerank is not implemented"),
        ("betweenness_centrality", nx.DiGraph(graph), {}, "only undirected"),
        ("betweenness_centrality", nx.MultiGraph(graph), {}, "parallel edges"),
        ("eigenvector_centrality", nx.Graph(), {}, "no nodes"),
        ("betweenness_centrality", graph, {"weight": lambda *_: 1}, "attribute's name"),
        ("betweenness_centrality", graph, {"k": 31}, "k must be an integer from 1 to 30"),
        ("betweenness_centrality", graph, {"k": 3, "endpoints": True}, "endpoints=True together"),
        ("betweenness_centrality", graph, {"hops": 3}, "arguments are not known"),
        ("closeness_centrality", graph, {"u": 3}, "one node's closeness"),
    ]
    for name, given, options, reason in cases:
        answer = backend.can_run(name, (given,), options)
        assert isinstance(answer, str)
        assert reason in answer
    assert "graphs of type list" in str(backend.can_run("degree_centrality", ([],), {}))
    # NetworkX 3.7 passes its new argument along.
    graph = nx.complete_graph(5)
    assert backend.can_run("closeness_centrality", (graph,), {"sp": None}) is True
    assert "nothing left" in str(backend.can_run("closeness_centrality", (graph,), {"sp": {}}))


def test_old_networkx_scales_samples_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"k": 3}
    graph = nx.complete_graph(30)
    monkeypatch.setattr(nx, "__version__", "3.4.2")
    answer = backend.can_run("betweenness_centrality", (graph,), options)
    assert answer == "NetworkX before 3.5 scales sampled sources in another way"
    monkeypatch.setattr(nx, "__version__", "3.10rc1.dev0")
    assert backend.can_run("betweenness_centrality", (graph,), options) is True


def test_what_should_not_run_says_why() -> None:
    large, small, sparse = nx.complete_graph(30), nx.complete_graph(10), nx.path_graph(50)
    should_run = backend.should_run
    assert should_run("betweenness_centrality", (large,), {}) is True
    assert should_run("betweenness_centrality", (), {"G": large}) is True
    assert "fewer than 20" in str(should_run("betweenness_centrality", (small,), {}))
    assert "less than 10%" in str(should_run("closeness_centrality", (sparse,), {}))
    assert "conversion" in str(should_run("degree_centrality", (large,), {}))
    assert should_run("degree_centrality", (backend.convert_from_nx(small),), {}) is True


def raises(message: str) -> Any:
    return pytest.raises(NotImplementedError, match=re.escape(message))


def test_edges_that_are_left_to_networkx() -> None:
    """Once they are read: NetworkX then falls back to itself."""
    for bad in ("text", None, 1j, 2**60):
        graph = nx.complete_graph(5)
        graph[0][1]["weight"] = bad
        with raises("edge attribute 'weight'"):
            backend.convert_from_nx(graph, edge_attrs={"weight": 1})
    for bad in (math.nan, math.inf):
        graph = nx.complete_graph(5)
        graph[0][1]["weight"] = bad
        dense = backend.convert_from_nx(graph, edge_attrs={"weight": 1})
        with raises("holds NaN or infinity"):
            backend.betweenness_centrality(dense, weight="weight")
    with raises("only undirected"):
        backend.convert_from_nx(nx.DiGraph())
    negative = nx.complete_graph(5)
    negative[0][1]["weight"] = -1.0
    with raises("negative lengths"):
        run_here("closeness_centrality", negative, distance="weight")
    shuffled = nx.empty_graph(3)
    shuffled.add_edges_from([(0, 2), (0, 1), (1, 2)], weight=0.0)
    with raises("order in which edges were added"):
        run_here("betweenness_centrality", shuffled, weight="weight")
    close(run_here("betweenness_centrality", shuffled), nx.betweenness_centrality(shuffled))
    looped = nx.complete_graph(4)
    looped.add_edge(3, 3)
    nx.set_edge_attributes(looped, 0.0, "weight")
    with raises("self loops beside zero"):
        run_here("betweenness_centrality", looped, weight="weight")
    with pytest.raises(nx.NetworkXError, match="all zero values"):
        run_here("eigenvector_centrality", looped, nstart=dict.fromkeys(looped, 0))
    with raises("nstart must list every node"):
        run_here("eigenvector_centrality", looped, nstart={0: 1.0})


def left_to_networkx(name: str, graph: nx.Graph, message: str, **options: Any) -> dict[Any, float]:
    """Ask the backend, which declines with this message; return what NetworkX answers."""
    with raises(message):
        run_here(name, graph, **options)
    return getattr(nx, name)(graph, **options)  # type: ignore[no-any-return]


@pytest.mark.parametrize("endpoints", [False, True])
def test_self_loops_that_rounding_swallows_are_left_to_networkx(endpoints: bool) -> None:
    """A distance plus such a loop is the distance: NetworkX counts it as one more path."""
    for loop in (0, 0.0, 1e-17, -1e-17):
        graph = nx.Graph([(0, 1, {"weight": 2}), (1, 2, {"weight": 2}), (1, 1, {"weight": loop})])
        options = {"weight": "weight", "normalized": False, "endpoints": endpoints}
        expected = left_to_networkx(
            "betweenness_centrality", graph, "self loops so short", **options
        )
        without = nx.Graph(graph.edges - {(1, 1)})
        nx.set_edge_attributes(without, 2, "weight")
        assert expected != nx.betweenness_centrality(without, **options)
    for loop in (1e-3, 5.0, -5.0):  # neither a detour nor a shortcut
        graph.add_edge(1, 1, weight=loop)
        got = run_here("betweenness_centrality", graph, **options)
        close(got, nx.betweenness_centrality(graph, **options))
    close(run_here("closeness_centrality", nx.Graph(graph)), nx.closeness_centrality(graph))


def test_the_diagonal_of_one_minus_similarity_is_rounding_error() -> None:
    x = np.random.default_rng(0).standard_normal((60, 9))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    lengths = 1.0 - x @ x.T
    graph = nx.from_numpy_array(lengths)
    assert 0.0 < min(abs(w) for _, _, w in nx.selfloop_edges(graph, data="weight")) < 1e-15
    left_to_networkx("betweenness_centrality", graph, "self loops so short", weight="weight")
    np.fill_diagonal(lengths, 0.0)  # then from_numpy_array makes no loops
    graph = nx.from_numpy_array(lengths)
    got = run_here("betweenness_centrality", graph, weight="weight")
    close(got, nx.betweenness_centrality(graph, weight="weight"))


def triangle(*weights: Any) -> nx.Graph:
    return nx.Graph([(i, j, {"weight": w}) for (i, j), w in zip(TRIANGLE, weights, strict=True)])


TRIANGLE = ((0, 1), (1, 2), (0, 2))


def test_weights_in_whose_precision_networkx_adds_are_left_to_it() -> None:
    exact = nx.betweenness_centrality(triangle(0.1, 0.2, 0.3), weight="weight")
    for kind in (np.float32, np.float16, np.longdouble, torch.tensor):
        weights = [kind(w) for w in (0.1, 0.2, 0.3)]
        name = type(weights[0]).__name__
        graph = triangle(*weights)
        got = left_to_networkx("betweenness_centrality", graph, name, weight="weight")
        left_to_networkx("closeness_centrality", graph, name, distance="weight")
        with raises(name):  # in float16 NetworkX does not converge
            run_here("eigenvector_centrality", graph, weight="weight")
        if kind is np.float32:
            assert got != exact
        # One of them suffices, beside others that would make float64 of all.
        left_to_networkx(
            "betweenness_centrality", triangle(0.1, 0.2, weights[2]), name, weight="weight"
        )
    with np.errstate(over="ignore"):  # 144: in uint8 the way round is the shorter one
        weights = [np.uint8(w) for w in (200, 200, 250)]
        left_to_networkx("betweenness_centrality", triangle(*weights), "uint8", weight="weight")
    left_to_networkx(
        "betweenness_centrality", triangle(1, 2, Fraction(3)), "Fraction", weight="weight"
    )
    start = dict.fromkeys(range(3), np.float32(1.0))
    left_to_networkx("eigenvector_centrality", triangle(1, 2, 3), "float32", nstart=start)
    for kinds in ((int, float, np.float64), (np.int64, bool, np.bool_)):
        graph = triangle(*(kind(w) for kind, w in zip(kinds, (1, 1, 2), strict=True)))
        close(
            run_here("betweenness_centrality", graph, weight="weight"),
            nx.betweenness_centrality(graph, weight="weight"),
        )


def test_integers_whose_sums_are_not_exact_are_left_to_networkx() -> None:
    """NetworkX adds them exactly; float64 does so up to 2**53."""
    large = 2**53
    for big, small in ((large - 1, 1), (large // 4 + 1, 1.0), (np.int64(-large), 2), (10**400, 1)):
        graph = nx.Graph()
        graph.add_weighted_edges_from([(0, 1, big), (1, 2, small), (0, 3, big - 1), (3, 2, small)])
        with raises("edge attribute 'weight' holds integers beyond 2**53 / 4"):
            run_here("betweenness_centrality", graph, weight="weight")
    for big, small in ((large // 4, 1), (1 - large // 4, 1.5), (1, 2.0**80)):
        graph = nx.Graph()
        graph.add_weighted_edges_from([(0, 1, big), (1, 2, small), (0, 3, big - 1), (3, 2, small)])
        close(
            run_here("betweenness_centrality", graph, weight="weight"),
            nx.betweenness_centrality(graph, weight="weight"),
        )
    with raises("nstart holds integers beyond"):
        run_here("eigenvector_centrality", triangle(1, 2, 3), nstart={0: 2**60, 1: 1, 2: 1})


def test_lengths_whose_sums_overflow_are_left_to_networkx() -> None:
    """Infinity means that there is no edge here."""
    path = nx.path_graph(4)
    for length in (1e308, -1e308):
        nx.set_edge_attributes(path, length, "weight")
        left_to_networkx("betweenness_centrality", path, "overflow", weight="weight")
    nx.set_edge_attributes(path, 1e308, "weight")
    left_to_networkx("closeness_centrality", path, "overflow", distance="weight")
    with raises("overflow"):
        run_here("eigenvector_centrality", path, weight="weight")
    nx.set_edge_attributes(path, 4e307, "weight")
    close(
        run_here("betweenness_centrality", path, weight="weight"),
        nx.betweenness_centrality(path, weight="weight"),
    )


def test_arrays_and_lists_as_weights_are_left_to_networkx() -> None:
    """One among numbers: NumPy cannot make a rectangle of them."""
    for bad in (np.array([1.0]), [1.0], [1.0, 2.0]):
        graph = nx.complete_graph(5)
        nx.set_edge_attributes(graph, 1.0, "weight")
        graph[0][1]["weight"] = bad
        with raises(f"got {type(bad).__name__}"):
            backend.convert_from_nx(graph, edge_attrs={"weight": 1})


def test_starts_that_networkx_divides_by_zero_are_left_to_it() -> None:
    graph = nx.complete_graph(4)
    balanced = {0: 1, 1: -1, 2: 0.5, 3: -0.5}
    with raises("nstart sums to 0"):
        run_here("eigenvector_centrality", graph, nstart=balanced)
    with pytest.raises(ZeroDivisionError):
        nx.eigenvector_centrality(graph, nstart=balanced)
    # Rounding decides whether it is 0, and which sign: NetworkX's own order of summing.
    tenths = dict.fromkeys(range(31), 0.1) | {30: -3.0}
    large = nx.complete_graph(31)
    close(
        run_here("eigenvector_centrality", large, nstart=tenths),
        nx.eigenvector_centrality(large, nstart=tenths),
    )
    for bad in (math.nan, math.inf, 1e308):
        with raises("nstart sums to"):
            run_here("eigenvector_centrality", graph, nstart=dict.fromkeys(graph, bad))
    with raises("the iteration overflows"):
        start = {0: 1e308, 1: -1e308, 2: 1e-300, 3: 0.0}
        run_here("eigenvector_centrality", graph, nstart=start)


def test_options_that_are_only_true_or_false() -> None:
    graph = nx.complete_graph(5)
    graph.remove_edge(0, 1)
    for name, option in (("betweenness", "normalized"), ("betweenness", "endpoints")):
        for value in ("yes", "", 2, 0, None, np.bool_(True)):
            got = run_here(f"{name}_centrality", graph, **{option: value})
            close(got, nx.betweenness_centrality(graph, **{option: value}))
    got = run_here("closeness_centrality", graph, wf_improved="")
    close(got, nx.closeness_centrality(graph, wf_improved=""))


def attributed_graph() -> nx.Graph:
    graph = named_graph("random", 8)
    graph.graph["title"] = "filters"
    graph.nodes["filter 3"]["layer"] = "conv1"
    graph["filter 2"]["filter 3"].update(weight=3, colour="red")
    for (_, _, data), cost in zip(graph.edges(data=True), itertools.count(1)):
        data["cost"] = cost * 7 % 5 + 1
    return graph


@pytest.mark.parametrize(
    "asked", [{}, {"edge_attrs": {"weight": 1}}, {"preserve_all_attrs": True, "name": "a call"}]
)
def test_a_graph_converted_by_hand_loses_nothing(asked: dict[str, Any]) -> None:
    graph = attributed_graph()
    dense = backend.convert_from_nx(graph, **asked)
    back = backend.convert_to_nx(dense)
    assert type(back) is nx.Graph
    assert nx.utils.graphs_equal(back, graph)
    assert back.graph == graph.graph
    assert type(back["filter 2"]["filter 3"]["weight"]) is int
    back["filter 2"]["filter 3"]["weight"] = 7.0  # is the caller's own
    graph["filter 2"]["filter 3"]["weight"] = 8.0  # came later
    assert backend.convert_to_nx(dense)["filter 2"]["filter 3"]["weight"] == 3


def test_a_graph_converted_by_hand_has_every_attribute() -> None:
    """Also those that were not asked for: NetworkX would go on with a weight of 1."""
    graph = attributed_graph()
    dense = backend.convert_from_nx(graph, edge_attrs={"weight": 1})
    for weight in ("cost", "weight", "no such", None):
        assert backend.can_run("betweenness_centrality", (dense,), {"weight": weight}) is True
        got = backend.betweenness_centrality(dense, weight=weight)
        close(got, nx.betweenness_centrality(graph, weight=weight))
    with raises("got NoneType"):
        graph["filter 2"]["filter 3"]["cost"] = None
        dense = backend.convert_from_nx(graph)
        backend.betweenness_centrality(dense, weight="cost")
    made = backend.DenseGraph([0, 1], ~np.eye(2, dtype=bool), {}, True)
    with raises("'cost' was not converted"):
        backend.betweenness_centrality(made, weight="cost")


def test_a_dense_graph_can_be_counted() -> None:
    graph = attributed_graph()
    graph.add_edge("filter 2", "filter 2")
    dense = backend.convert_from_nx(graph)
    assert dense.number_of_nodes() == dense.order() == 8
    assert dense.number_of_edges() == graph.number_of_edges()
    assert nx.density(dense) == nx.density(graph)
    assert "filter 2" in dense
    assert "filter 9" not in dense


def test_there_and_back() -> None:
    graph = named_graph("sparse")
    graph.add_edge("filter 1", "filter 1", weight=2.0)
    nx.set_edge_attributes(graph, 1.0, "weight")
    for options in ({"preserve_all_attrs": True}, {"edge_attrs": {"weight": 1}, "name": "a call"}):
        back = backend.convert_to_nx(backend.convert_from_nx(graph, **options))
        assert list(back) == list(graph)
        assert nx.utils.graphs_equal(back, graph)
    dense = backend.convert_from_nx(graph)
    assert backend.convert_from_nx(dense) is dense
    assert (len(dense), list(dense)) == (len(graph), list(graph))
    assert backend.convert_to_nx({1: 2.0}) == {1: 2.0}


def test_the_description_is_complete() -> None:
    info = get_info()
    functions = info["functions"]
    assert isinstance(functions, dict)
    assert set(functions) == set(backend._FUNCTIONS)
    for name in functions:
        assert getattr(backend, name) is backend._FUNCTIONS[name]


def run_python(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=240,
        check=False,
    )


@installed
def test_importing_networkx_stays_light() -> None:
    code = (
        "import sys, networkx as nx\n"
        "assert 'hubprune' in nx.config.backends, nx.config.backends\n"
        "assert 'hubprune_networkx' in sys.modules\n"
        "assert not {'hubprune', 'torch', 'numpy'} & set(sys.modules)\n"
    )
    result = run_python(["-c", code])
    assert result.returncode == 0, result.stderr


PLUGIN = """
import collections, json
import networkx as nx
from hubprune.compat import networkx as backend

calls, failed = collections.Counter(), []

def counted(name, function):
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        calls[name] += 1
        return result
    return call

for name, function in backend._FUNCTIONS.items():
    setattr(backend, name, counted(name, function))

def pytest_runtest_logreport(report):
    if report.failed or hasattr(report, "wasxfail"):
        failed.append(report.nodeid.rpartition("/")[2])

def pytest_sessionfinish(session):
    with open("outcome.json", "w") as file:
        json.dump({"calls": calls, "failed": failed, "collected": session.testscollected}, file)
"""


@installed
def test_networkx_own_tests_pass_through_the_backend(tmp_path: Path) -> None:
    (tmp_path / "counting_plugin.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    code = (
        "import os, sys, pytest\n"
        f"os.chdir({str(tmp_path)!r})\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        # Its own configuration: the suite may lie in an environment inside this source tree.
        "arguments = ['-q', '-c', 'pytest.ini', '--rootdir', '.', '-p', 'no:cacheprovider']\n"
        "arguments += ['-p', 'counting_plugin', '--pyargs']\n"
        f"pytest.main([*arguments, *{SUITES!r}])\n"
    )
    result = run_python(
        ["-c", code], NETWORKX_TEST_BACKEND="hubprune", NETWORKX_FALLBACK_TO_NX="True"
    )
    assert (tmp_path / "outcome.json").is_file(), result.stdout + result.stderr
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    assert set(outcome["failed"]) == EXPECTED_FAILURES, result.stdout
    assert outcome["collected"] > 100
    # Really through the backend, and not by falling back. Calls that return, with NetworkX 3.6: 40,
    # 19, 4 and 3; the rest expect exceptions or are for directed graphs.
    least = {"betweenness": 30, "closeness": 15, "degree": 3, "eigenvector": 3}
    for name, count in least.items():
        assert outcome["calls"][f"{name}_centrality"] >= count, outcome


# The calls of the published centrality script, on vectors from a fixed seed.
SCRIPT = """
import json, sys
import networkx as nx
import numpy as np

vectors = np.random.default_rng(0).standard_normal((int(sys.argv[1]), 9))
vectors /= np.linalg.norm(vectors, axis=1)[:, None]
similarity = vectors @ vectors.T
G = nx.Graph()
for i in range(len(vectors)):
    for j in range(i + 1, len(vectors)):
        G.add_edge(i, j, weight=float(similarity[i, j]))
centrality = nx.betweenness_centrality(G, weight="weight")
ranking = sorted(centrality.items(), key=lambda item: item[1], reverse=True)
print(json.dumps([[node for node, _ in ranking], "hubprune.compat.networkx" in sys.modules]))
"""


@installed
def test_the_published_script_by_an_environment_variable() -> None:
    rankings = []
    for priority, ours in (("", False), ("hubprune", True)):
        result = run_python(["-c", SCRIPT, "70"], NETWORKX_BACKEND_PRIORITY=priority)
        assert result.returncode == 0, result.stderr
        ranking, through_the_backend = json.loads(result.stdout)
        assert through_the_backend is ours
        rankings.append(ranking)
    assert rankings[0] == rankings[1]
    assert sorted(rankings[0]) == list(range(70))


@installed
def test_what_the_backend_refuses_networkx_does() -> None:
    def graph() -> nx.Graph:  # anew for each call: NetworkX keeps conversions
        graph = nx.complete_graph(30)
        nx.set_edge_attributes(graph, 1.0, "weight")
        graph[0][1]["weight"] = math.inf
        return graph

    expected = nx.betweenness_centrality(graph(), weight="weight")
    with nx.config.backend_priority(algos=["hubprune"]):
        assert nx.betweenness_centrality(graph(), weight="weight") == expected
    with pytest.raises(NotImplementedError, match="'hubprune' backend raised"):
        nx.betweenness_centrality(graph(), weight="weight", backend="hubprune")
