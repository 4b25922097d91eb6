# SPDX-License-Identifier: MIT
"""The greedy order of the weighted degree."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hubprune as hp
from cases import DEGREE, DTYPES, SHAPES, assert_within, numpy64, random_rows, relative_error
from hubprune import reference
from hubprune.arguments import EDGES
from hubprune.scorers import WeightedDegree


def removals_check_out(x: torch.Tensor, order: torch.Tensor, edge: str, tolerance: float) -> bool:
    """Whether every removed row had the largest degree of those left, to rounding."""
    weights = reference.adjacency(numpy64(x), edge)
    left = np.ones(len(weights), dtype=bool)
    for hub in order.tolist():
        degree = weights[:, left].sum(1)
        if degree[hub] < degree[left].max() - tolerance * max(1.0, abs(degree[hub])):
            return False
        left[hub] = False
    return True


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [*SHAPES, (3, 0)])
@pytest.mark.usefixtures("level")
def test_matches_the_reference(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    for edge in EDGES:
        order, degree = hp.greedy_degree(x, edge=edge)
        assert (order.dtype, degree.dtype) == (torch.int64, torch.float64)
        assert sorted(order.tolist()) == list(range(n))
        assert removals_check_out(x, order, edge, 2 * DEGREE[dtype])
        # Near ties may fall either way: in float32; where d = 1 makes every cosine 1 or -1; and
        # between a row, its opposite and a zero row among shifted cosines.
        if dtype == torch.float64 and d > 1 and edge != "shifted":
            expected = reference.greedy_degree(numpy64(x), edge)
            assert order.tolist() == expected.order.tolist()
            assert relative_error(degree, expected.degree) < DEGREE[dtype]


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("count", [1, 7, 40, 41, 1000])
def test_count_stops_early(edge: str, count: int) -> None:
    x = random_rows(41, 6, torch.float64)
    order, degree = hp.greedy_degree(x, edge=edge, count=count)
    expected = reference.greedy_degree(numpy64(x), edge, count)
    assert order.tolist() == expected.order.tolist()
    assert_within(degree, expected.degree, 2e-14)
    whole = hp.greedy_degree(x, edge=edge)[0]
    assert torch.equal(order[:count], whole[:count])
    rest = order[count:]
    # The others by the degree that is left: two sums, which may round ties differently.
    left = hp.weighted_degree(x[rest], edge=edge)
    assert (left.diff() <= 2e-14 * left.abs().clamp(min=1)[1:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("level")
def test_ties_go_to_the_lowest_index(dtype: torch.dtype) -> None:
    assert hp.greedy_degree(torch.ones(70, 5, dtype=dtype))[0].tolist() == list(range(70))
    assert hp.greedy_degree(torch.eye(70, dtype=dtype))[0].tolist() == list(range(70))
    assert hp.greedy_degree(torch.zeros(70, 5, dtype=dtype))[0].tolist() == list(range(70))
    # Groups of equal rows: within a group the lower index is removed first, whatever came before.
    x = torch.randn(12, 7, dtype=dtype).repeat(9, 1)
    for edge in EDGES:
        order = hp.greedy_degree(x, edge=edge)[0].tolist()
        for row in range(12):
            members = [i for i in order if i % 12 == row]
            assert members == sorted(members)


def test_look_alikes_are_thinned_out_not_wiped_out() -> None:
    """What it is for: the one-shot ranking takes a whole group, the greedy order leaves one."""
    group = torch.tensor([[1.0, 0.0, 0.0]]).repeat(4, 1)
    pair = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.2]])
    x = torch.cat([group, pair])
    one_shot = hp.weighted_degree(x).argsort(descending=True, stable=True)
    assert one_shot[:4].tolist() == [0, 1, 2, 3]
    greedy = hp.greedy_degree(x)[0]
    assert set(greedy[:4].tolist()) == {0, 1, 2, 4}
    assert greedy.tolist() == reference.greedy_degree(numpy64(x)).order.tolist()


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("level")
def test_any_number_of_threads_gives_the_same_bits(
    edge: str, dtype: torch.dtype, threads: list[int]
) -> None:
    x = torch.randn(400, 40, dtype=dtype)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.greedy_degree(x, edge=edge))
    for order, degree in results[1:]:
        assert torch.equal(order, results[0][0])
        assert torch.equal(degree, results[0][1])


@pytest.mark.parametrize("edge", ["signed", "abs"])
@pytest.mark.usefixtures("level")
def test_more_rows_than_a_stored_graph(edge: str, threads: list[int]) -> None:
    """Beyond 1 GiB (11585 rows in float64) the weights are computed again for every hub."""
    x = torch.randn(11_600, 3, dtype=torch.float64)
    x[5000] = x[17]
    results = []
    for count in threads[:2]:
        torch.set_num_threads(count)
        results.append(hp.greedy_degree(x, edge=edge, count=4))
    (order, degree), other = results
    assert torch.equal(order, other[0])
    assert torch.equal(degree, other[1])
    unit = torch.nn.functional.normalize(x, dim=1)
    expected = hp.weighted_degree(x, edge=edge)
    for step in range(4):
        hub = int(order[step])
        assert hub == int(expected.argmax())
        assert float(degree[hub]) == pytest.approx(float(expected[hub]), rel=1e-11)
        weights = unit @ unit[hub]
        expected -= weights.abs() if edge == "abs" else weights
        expected[hub] = -torch.inf
    left = order[4:]
    assert torch.allclose(degree[left], expected[left], rtol=1e-9, atol=1e-9)
    assert bool((degree[left].diff() <= 0).all())


def test_not_finite_rows() -> None:
    for bad in (float("nan"), float("inf")):
        for row in (0, 3, 6):
            x = torch.randn(7, 4)
            x[row, 1] = bad
            order, degree = hp.greedy_degree(x)
            assert order.tolist() == [-1] * 7
            assert bool(degree.isnan().all())
    many = torch.randn(16_400, 1)  # recomputed rows
    many[9] = float("nan")
    order, degree = hp.greedy_degree(many, count=1)
    assert bool((order == -1).all())
    assert bool(degree.isnan().all())


def test_few_rows() -> None:
    order, degree = hp.greedy_degree(torch.empty(0, 5))
    assert order.shape == degree.shape == (0,)
    assert [t.tolist() for t in hp.greedy_degree(torch.ones(1, 5))] == [[0], [0.0]]
    order, degree = hp.greedy_degree(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert order.tolist() == [0, 1]
    assert degree.tolist() == pytest.approx([0.5**0.5, 0.0], abs=1e-7)


def test_strides_offsets_and_read_only_arrays() -> None:
    base = torch.randn(60, 24, dtype=torch.float64)
    view = base[3::2, 5::3]
    assert torch.equal(hp.greedy_degree(view)[0], hp.greedy_degree(view.contiguous())[0])
    array = view.numpy().copy()
    array.flags.writeable = False
    order, degree = hp.greedy_degree(array)
    assert isinstance(order, np.ndarray)
    assert isinstance(degree, np.ndarray)
    assert order.tolist() == hp.greedy_degree(view)[0].tolist()
    assert hp.greedy_degree(array[::-1])[0].tolist() == hp.greedy_degree(view.flip(0))[0].tolist()


@settings(deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 60),
    st.integers(1, 12),
    st.sampled_from(EDGES),
    st.booleans(),
)
def test_properties(seed: int, n: int, d: int, edge: str, repeated: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    if repeated:
        x = x[torch.randint(n, (n,), generator=generator)]
    order, degree = hp.greedy_degree(x, edge=edge)
    assert sorted(order.tolist()) == list(range(n))
    assert removals_check_out(x, order, edge, 1e-12)
    assert float(degree[order[-1]]) == 0.0  # nothing is left: what was added was subtracted exactly
    if edge not in ("signed",):
        assert bool((degree[order].diff() <= 0).all())
    # Lengths and a common rotation change nothing.
    q = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator)).Q
    lengths = torch.rand(n, 1, dtype=torch.float64, generator=generator) + 0.1
    turned = hp.greedy_degree(x * lengths @ q, edge=edge)[0]
    assert removals_check_out(x, turned, edge, 1e-12)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("count", [None, 5])
def test_the_scorer(edge: str, count: int | None) -> None:
    weight = torch.randn(30, 4, 3, 3)
    weight[[4, 9]] *= 1e-9
    scorer = WeightedDegree(edge=edge, sequential=True, count=count)
    scores = scorer.score(weight)
    expected = reference.redundancy(
        numpy64(weight), "degree", edge=edge, sequential=True, count=count
    )
    assert scores.order.tolist() == expected.order.tolist()
    np.testing.assert_array_equal(scores.values, expected.values)
    assert scores.order[:2].tolist() == scores.dead.tolist() == [4, 9]
    assert scores.values[scores.order[2:]].tolist() == [(28 - k) / 28 for k in range(28)]
    assert "places in the greedy order" in scores.explain()
    assert ("5 removals" in scores.explain()) == (count == 5)
    assert scores.count is None


def test_several_layers_and_a_plan() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 6, 3), torch.nn.ReLU(),
        torch.nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    scorer = WeightedDegree(sequential=True)
    together = hp.score_model(model, scorer)
    for name in ("0", "2", "4"):
        alone = scorer.score(model[int(name)].weight.detach())
        assert torch.equal(together[name].order, alone.order)
    plan = hp.plan(model, torch.randn(1, 1, 9, 9), scorer=scorer, ratio=0.5)
    assert plan.layers["0"] == tuple(sorted(together["0"].order[4:].tolist()))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: hp.greedy_degree(torch.ones(5)),
            ValueError,
            "x must have shape (n, d); got shape (5,)",
        ),
        (
            lambda: hp.greedy_degree(torch.ones(2, 3, 4)),
            ValueError,
            "x must have shape (n, d); got shape (2, 3, 4)",
        ),
        (lambda: hp.greedy_degree(torch.ones(2, 2).int()), TypeError, "got dtype int32"),
        (lambda: hp.greedy_degree([[1.0]]), TypeError, "x must be a torch.Tensor or a numpy"),  # type: ignore[arg-type]
        (lambda: hp.greedy_degree(torch.ones(2, 2), edge="up"), ValueError, "edge must be one of"),
        (
            lambda: hp.greedy_degree(torch.ones(2, 2), count=0),
            ValueError,
            "count must be at least 1; got 0",
        ),
        (
            lambda: hp.greedy_degree(torch.ones(2, 2), count=1.5),  # type: ignore[arg-type]
            TypeError,
            "count must be an integer or None; got float",
        ),
        (
            lambda: WeightedDegree(count=3),
            ValueError,
            "count needs sequential=True: the one-shot ranking removes nothing",
        ),
        (
            lambda: WeightedDegree(sequential=True, count=True),
            TypeError,
            "count must be an integer or None; got bool",
        ),
        (
            lambda: WeightedDegree(sequential="no"),  # type: ignore[arg-type]
            TypeError,
            "sequential must be a bool; got str",
        ),
        (lambda: reference.greedy_degree(np.ones(3)), ValueError, "x must have shape (n, d)"),
        (
            lambda: reference.greedy_degree(np.ones((3, 2)), count=0),
            ValueError,
            "count must be at least 1; got 0",
        ),
        (
            lambda: reference.greedy_degree(np.ones((3, 2)), count="1"),  # type: ignore[arg-type]
            TypeError,
            "count must be an integer or None; got str",
        ),
    ],
)
def test_bad_input(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()  # type: ignore[operator]
