# SPDX-License-Identifier: MIT
"""Nystroem: factors, landmark rules, errors and their estimates."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hubprune as hp
from cases import assert_within, numpy64, random_rows
from documents import FOLDER, blocks
from hubprune import reference
from hubprune.landmarks import LANDMARK_RULES, counter_uniform, ridge_leverage
from hubprune.nystrom import cholesky_root, small_factor
from published import published_nystrom

EDGES = ("signed", "squared", "abs", "positive", "shifted")

# Largest error of an entry where m is at least twice the rank. Measured over ten seeds of the
# shapes below: 6e-6 and 6e-14 (rpcholesky; the others 2e-6 and 2e-14).
EXACT = {torch.float32: 3e-5, torch.float64: 1e-11}


def clustered(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Rows around centres of very different sizes: a decaying spectrum with rare directions."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(60, d, generator=generator)
    share = 0.85 ** torch.arange(60.0)
    which = torch.multinomial(share, n, replacement=True, generator=generator)
    return centres[which] + 0.02 * torch.randn(n, d, generator=generator)


def trace_error(x: torch.Tensor, factor: hp.NystromFactor) -> float:
    whole = hp.pairwise_cosine(x.double(), edge=factor.edge)
    return float((whole - factor.dense().double()).trace() / whole.trace())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", LANDMARK_RULES)
@pytest.mark.parametrize("edge", ["signed", "shifted", "squared"])
def test_exact_at_twice_the_rank(rule: str, edge: str, dtype: torch.dtype) -> None:
    x = random_rows(120, 9 if edge != "squared" else 5, dtype)
    rank = {"signed": 9, "shifted": 10, "squared": 15}[edge]
    factor = hp.nystrom(x, 3 * rank, landmarks=rule, edge=edge, generator=1)
    expected = reference.pairwise_cosine(numpy64(x), edge=edge)
    assert np.abs(numpy64(factor.dense()) - expected).max() < EXACT[dtype]
    assert factor.rank <= rank + 1
    degree = reference.weighted_degree(numpy64(x), edge)
    assert np.abs(numpy64(factor.degree()) - degree).max() < 120 * EXACT[dtype]


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**31), st.integers(4, 60), st.integers(1, 20), st.sampled_from(EDGES), st.data()
)
def test_matches_the_reference_for_any_landmarks(
    seed: int, n: int, d: int, edge: str, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    m = data.draw(st.integers(1, min(n, d)))  # W is regular for these rows, almost surely
    landmarks = torch.randperm(n, generator=generator)[:m]
    factor = hp.nystrom(x, m, landmarks=landmarks, edge=edge)
    expected = reference.nystrom(x.numpy(), landmarks.numpy(), edge=edge)
    inner = reference.nystrom_columns(x.numpy(), landmarks.numpy(), edge)[landmarks.numpy()]
    # What eigenvalues near zero make of rounding errors in W.
    condition = 1.0 / np.abs(np.linalg.eigvalsh(inner)).min() ** 2
    assert np.abs(factor.dense().numpy() - expected).max() < 1e-12 * (1 + condition)


@pytest.mark.parametrize("rank", [None, 3, 6])
def test_the_published_rule(rank: int | None) -> None:
    x = torch.randn(40, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    factor = hp.nystrom(x, 6, landmarks="first", rank=rank)
    expected = published_nystrom(x.numpy(), 6, rank or 6)
    assert np.abs(factor.dense().numpy() - expected).max() < 1e-9
    # With as many columns as the vectors have features the published rule is exact as well.
    exact = hp.nystrom(x, 9, landmarks="first").dense().numpy()
    assert np.abs(exact - published_nystrom(x.numpy(), 9, 9)).max() < 1e-9


def test_a_rank_deficient_matrix_does_not_blow_up_in_float32() -> None:
    x = torch.randn(500, 9, generator=torch.Generator().manual_seed(0))
    whole = reference.pairwise_cosine(numpy64(x))
    factor = hp.nystrom(x, 64, landmarks="first")
    assert factor.rank == 9
    assert np.abs(numpy64(factor.dense()) - whole).max() < EXACT[torch.float32]


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 2**31), st.integers(1, 40), st.floats(-9, 0), st.sampled_from(EDGES), st.data()
)
def test_a_cholesky_root_stands_for_all_directions_or_is_refused(
    seed: int, m: int, noise: float, edge: str, data: st.DataObject
) -> None:
    # Rows around a few centres: the least eigenvalue falls from 1 to below rounding error.
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(data.draw(st.integers(1, m)), 64, generator=generator)
    which = torch.arange(m) % len(centres)
    x = centres[which] + 10**noise * torch.randn(m, 64, generator=generator)
    inner = hp.pairwise_cosine(x, edge=edge)
    directions, signs = small_factor(inner, None, edge)
    root = cholesky_root(inner)
    if root is None:
        return
    assert signs.shape == (m,)
    assert bool((signs == 1.0).all())
    inverse = directions @ directions.mT
    assert float((root @ root.mT - inverse).abs().max()) < 1e-7 * float(inverse.abs().max())


def test_a_regular_matrix_has_a_cholesky_root_and_one_at_rounding_error_has_none() -> None:
    for least, regular in ((1e-2, True), (1e-5, True), (3e-7, False), (0.0, False)):
        inner = torch.tensor([[1.0, 1.0 - least], [1.0 - least, 1.0]])
        assert (cholesky_root(inner) is not None) == regular
        assert len(small_factor(inner, None, "signed")[1]) == (2 if regular else 1)


@pytest.mark.parametrize("m", [20, 40])
def test_rpcholesky_halves_the_trace_error_of_uniform(m: int) -> None:
    x = clustered(1500, 200)

    def mean_error(rule: str) -> float:
        factors = (hp.nystrom(x, m, landmarks=rule, generator=seed) for seed in range(5))
        return float(np.mean([trace_error(x, factor) for factor in factors]))

    uniform, pivoted = mean_error("uniform"), mean_error("rpcholesky")
    assert pivoted < 0.5 * uniform
    assert mean_error("leverage") < uniform


def test_rpcholesky_is_distributed_as_one_by_one() -> None:
    # Four directions with 8, 4, 2 and 1 copies: the first pivot falls on them in proportion.
    x = torch.eye(4).repeat_interleave(torch.tensor([8, 4, 2, 1]), 0)
    counts = torch.zeros(4)
    group = torch.arange(4).repeat_interleave(torch.tensor([8, 4, 2, 1]))
    pairs = torch.zeros(4, 4)
    for seed in range(1500):
        picked = hp.nystrom(x, 2, landmarks="rpcholesky", generator=seed).indices
        first, second = group[picked].tolist()
        counts[first] += 1
        pairs[first, second] += 1
    expected = torch.tensor([8.0, 4.0, 2.0, 1.0]) / 15
    assert bool(((counts / 1500 - expected).abs() < 0.04).all())
    after_first = pairs[0] / pairs[0].sum()
    assert bool(((after_first - torch.tensor([0.0, 4.0, 2.0, 1.0]) / 7).abs() < 0.06).all())


def test_rpcholesky_stops_at_the_tolerance() -> None:
    x = clustered(800, 100)
    factor = hp.nystrom(x, 300, landmarks="rpcholesky", tolerance=0.05, generator=0)
    assert factor.m < 300
    assert trace_error(x, factor) <= 0.05
    exact = hp.nystrom(torch.randn(200, 9), 100, landmarks="rpcholesky", generator=0)
    assert exact.m <= 11  # rounding error, after nine


def test_leverage_scores_are_exact_with_every_row_in_the_pilot() -> None:
    x = clustered(60, 8).double()
    scores = ridge_leverage(x, torch.arange(60), "signed")
    # The ridge that the rule chooses makes sense of any x: recover it from one score.
    candidates = [
        reference.ridge_leverage(x.numpy(), ridge) for ridge in 10.0 ** np.arange(-17, -6)
    ]
    assert min(np.abs(scores.numpy() - each).max() for each in candidates) < 0.35
    half = ridge_leverage(x, torch.arange(6), "signed")
    assert bool(((half >= 0) & (half <= 1)).all())


@pytest.mark.parametrize("rule", LANDMARK_RULES)
def test_landmarks_are_different_rows_and_reproducible(rule: str) -> None:
    x = random_rows(90, 30)
    factor = hp.nystrom(x, 25, landmarks=rule, generator=7)
    assert len(set(factor.indices.tolist())) == factor.m == 25
    again = hp.nystrom(x, 25, landmarks=rule, generator=7)
    assert torch.equal(factor.indices, again.indices)
    assert torch.equal(factor.factor, again.factor)
    if rule != "first":
        other = hp.nystrom(x, 25, landmarks=rule, generator=8)
        assert not torch.equal(factor.indices, other.indices)
    torch.manual_seed(3)
    drawn = hp.nystrom(x, 25, landmarks=rule)
    torch.manual_seed(3)
    assert torch.equal(drawn.indices, hp.nystrom(x, 25, landmarks=rule).indices)
    by_generator = hp.nystrom(x, 25, landmarks=rule, generator=torch.Generator().manual_seed(5))
    assert by_generator.m == 25


def test_farthest_takes_the_least_similar_row_each_time() -> None:
    for n in (40, 200):  # the stored matrix, and one column after the other
        x = random_rows(n, 6)
        chosen = hp.nystrom(
            x, 8 if n == 40 else 5, landmarks="farthest", generator=0
        ).indices.numpy()
        s = reference.pairwise_cosine(numpy64(x))
        for k in range(1, len(chosen)):
            closest = s[:, chosen[:k]].max(1)
            closest[chosen[:k]] = np.inf
            assert closest[chosen[k]] <= closest.min() + 1e-6


def test_the_counter_is_uniform_and_the_same_everywhere() -> None:
    values = counter_uniform(42, 3, 20_000, torch.device("cpu"))
    assert values.dtype == torch.float64
    assert 0.0 <= float(values.min()) < float(values.max()) < 1.0
    assert abs(float(values.mean()) - 0.5) < 0.01
    assert abs(float(np.corrcoef(values[1:], values[:-1])[0, 1])) < 0.02
    assert torch.equal(values[:100], counter_uniform(42, 3, 100, torch.device("cpu")))
    # Written down once: another version or device must give the same numbers.
    assert counter_uniform(0, 0, 2, torch.device("cpu")).tolist() == [
        0.8833108082136426,
        0.43152799704850997,
    ]


@pytest.mark.parametrize("edge", ["abs", "positive"])
def test_indefinite_edges_keep_negative_directions(edge: str) -> None:
    x = random_rows(80, 3, torch.float64)
    factor = hp.nystrom(x, 80, landmarks="first", edge=edge)
    assert bool((factor.signs < 0).any())
    expected = reference.pairwise_cosine(numpy64(x), edge=edge)
    assert np.abs(factor.dense().numpy() - expected).max() < 1e-8


def test_what_comes_out_of_a_factor() -> None:
    x = clustered(300, 40)
    factor = hp.nystrom(x, 50, landmarks="rpcholesky", edge="abs", generator=0)
    graph = factor.dense(zero_diagonal=True)
    assert bool((graph.diagonal() == 0).all())
    assert_within(factor.degree(), graph.sum(1), 5e-5)
    values, vectors = torch.linalg.eigh(graph.double())
    vector = vectors[:, -1] * vectors[:, -1].sum().sign()
    assert_within(factor.eigenvector(tol=1e-9).double(), vector, 3e-8)
    for start in (vector, vectors[:, -2], -vector.numpy()):
        again = factor.eigenvector(start=start, tol=1e-9)
        assert_within(again.double(), vector, 3e-8)
    assert factor.eigenvector(start=vector, tol=1e-4, max_iter=5).shape == (300,)
    with pytest.raises(RuntimeError, match="did not converge in 5 products"):
        factor.eigenvector(tol=1e-4, max_iter=5)
    assert float(values[-1]) > 0
    similarity, index = factor.nearest()
    graph.fill_diagonal_(-torch.inf)
    assert_within(similarity, graph.amax(1), 5e-7)
    assert_within(graph[torch.arange(300), index], similarity, 5e-7)
    with pytest.raises(RuntimeError, match="did not converge in 2 products"):
        factor.eigenvector(max_iter=2, tol=1e-12)
    for bad in ({"tol": 0.0}, {"max_iter": 0}):
        with pytest.raises(ValueError, match="must be"):
            factor.eigenvector(**bad)  # type: ignore[arg-type]


def test_the_page_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    page = FOLDER / "docs" / "nystrom.md"
    if not page.is_file():
        pytest.skip("needs the source tree")
    (block,) = blocks(page)
    names: dict[str, object] = {}
    exec(block.code, names)
    out = capsys.readouterr().out
    assert "256 landmarks (rpcholesky), rank 256" in out
    assert "relative Frobenius error" in out
    assert "weighted_degree: " in out


def test_single_rows_zero_rows_and_duplicates() -> None:
    one = hp.nystrom(torch.ones(1, 3), 1)
    assert one.dense().tolist() == [[pytest.approx(1.0)]]
    assert one.degree().tolist() == [pytest.approx(0.0)]
    assert one.eigenvector().tolist() == [1.0]
    assert (one.nearest()[0].isnan().all(), one.nearest()[1].tolist()) == (True, [-1])
    for rule in LANDMARK_RULES:
        for x in (torch.zeros(6, 3), torch.ones(6, 3)):
            factor = hp.nystrom(x, 3, landmarks=rule, generator=0)
            assert_within(factor.dense(), hp.pairwise_cosine(x), 5e-7)
            assert factor.error_estimate().relative_frobenius < 1e-5


def test_batches() -> None:
    x = torch.randn(2, 3, 30, 5)
    for rule in LANDMARK_RULES:
        factor = hp.nystrom(x, 8, landmarks=rule, generator=4)
        assert factor.indices.shape[:2] == factor.factor.shape[:2] == (2, 3)
        assert_within(factor.dense(), hp.pairwise_cosine(x), 4e-6)
        assert factor.degree().shape == factor.eigenvector().shape == (2, 3, 30)
        assert factor.nearest()[1].shape == (2, 3, 30)
        alone = hp.nystrom(x[1, 2], 8, landmarks=rule, generator=4)
        assert_within(factor.degree()[1, 2], alone.degree(), 5e-6)
        assert factor.error_estimate().exact


def test_a_batch_names_no_row_that_is_no_landmark() -> None:
    x = torch.stack([torch.zeros(40, 3), torch.randn(40, 3)])
    x[0, 11:] = torch.tensor([1.0, 2.0, 3.0])  # rank 1: one landmark, and not row 0
    factor = hp.nystrom(x, 8, landmarks="rpcholesky", generator=0)
    alone = [hp.nystrom(each, 8, landmarks="rpcholesky", generator=0) for each in x]
    assert [each.m for each in alone] == [1, 3]
    assert factor.indices[0].tolist() == alone[0].indices.tolist() * 3
    assert factor.indices[1].tolist() == alone[1].indices.tolist()
    assert int(factor.indices[0, 0]) >= 11
    error = factor.error_estimate(columns=40)
    assert (error.columns, error.exact) == (37, True)


def test_numpy_half_precision_and_strides() -> None:
    x = torch.randn(50, 6)
    expected = hp.nystrom(x, 10, landmarks="first").factor
    assert torch.equal(hp.nystrom(x.numpy(), 10, landmarks="first").factor, expected)
    assert torch.equal(hp.nystrom(x.mT.contiguous().mT, 10, landmarks="first").factor, expected)
    assert torch.equal(hp.nystrom(x.requires_grad_(), 10, landmarks="first").factor, expected)
    half = hp.nystrom(x.detach().half(), 10, landmarks="first")
    assert half.factor.dtype == torch.float32
    assert hp.nystrom(x.detach().double(), 10).factor.dtype == torch.float64


@pytest.mark.parametrize("edge", ["signed", "abs"])
def test_the_error_estimate_tells_the_truth(edge: str) -> None:
    x = clustered(1200, 300)
    whole = hp.pairwise_cosine(x.double(), edge=edge)
    exact_degree = hp.weighted_degree(x.double(), edge=edge)
    ratios = []
    for seed in range(8):
        factor = hp.nystrom(x, 24, edge=edge, generator=seed)
        error = whole - factor.dense().double()
        true = float(error.norm() / whole.norm())
        found = factor.error_estimate(100, generator=seed)
        ratios.append(found.relative_frobenius / true)
        degree_error = (factor.degree().double() - exact_degree).abs()
        worst = float(degree_error.max())
        # A maximum over a sample: never above the truth, above most of the population.
        assert found.worst_degree <= worst * 1.001
        assert float((degree_error > found.worst_degree).double().mean()) <= 0.06
        everything = factor.error_estimate(1200)
        assert everything.exact
        assert everything.worst_degree == pytest.approx(worst, rel=1e-4)
        assert everything.relative_frobenius == pytest.approx(true, rel=1e-4)
    assert 0.9 < float(np.mean(ratios)) < 1.1
    assert "with 95% confidence at most 3% of all degrees are worse" in str(found)
    assert "of the largest degree) over all columns" in str(everything)


def test_an_error_estimate_is_exact_only_where_every_column_was_compared() -> None:
    x = clustered(120, 40)
    for m in (100, 120):
        factor = hp.nystrom(x, m, rank=5, edge="abs", generator=0)
        error = hp.pairwise_cosine(x, edge="abs").double() - factor.dense().double()
        worst = float(error.fill_diagonal_(0.0).sum(1).abs().max())
        some, everything = factor.error_estimate(64), factor.error_estimate(120)
        assert (some.exact, everything.exact) == (False, True)
        assert "with 95% confidence" in str(some)
        assert some.columns == (20 if m == 100 else 16)
        assert everything.worst_degree == pytest.approx(worst, rel=1e-4)


def test_saving_and_loading(tmp_path: Path) -> None:
    x = torch.randn(60, 20)
    factor = hp.nystrom(x, 12, edge="abs", generator=0)
    factor.save(tmp_path / "factor.safetensors")
    again = hp.NystromFactor.load(tmp_path / "factor.safetensors")
    assert torch.equal(again.factor, factor.factor)
    assert torch.equal(again.degree(), factor.degree())
    assert (again.edge, again.landmarks) == ("abs", "uniform")
    assert "12 landmarks" in again.explain()
    with pytest.raises(ValueError, match="x must be passed: a factor loaded from a file"):
        again.error_estimate()
    assert again.error_estimate(x=x) == factor.error_estimate()
    with pytest.raises(ValueError, match="x must have the factor's rows"):
        again.error_estimate(x=x[:5])
    with pytest.raises(ValueError, match="columns must be at least 1"):
        factor.error_estimate(0)
    torch.save({"a": 1}, tmp_path / "other")
    other = tmp_path / "other.safetensors"
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, str(other))
    with pytest.raises(ValueError, match="holds no Nystroem factor: it was not written by"):
        hp.NystromFactor.load(other)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    factor = hp.nystrom(torch.randn(9, 4), 3, generator=0)
    path = tmp_path / "factor.safetensors"
    factor.save(path)
    whole = path.read_bytes()
    for content in (b"", b"something else", whole[:-8]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="holds no Nystroem factor: Error while"):
            hp.NystromFactor.load(path)
    good = {"indices": factor.indices, "factor": factor.factor, "signs": factor.signs}
    for change in (
        {"signs": torch.ones(4)},
        {"signs": factor.signs.double()},
        {"factor": torch.ones(3)},
        {"indices": torch.tensor([0, 1, 9])},
        {"indices": torch.zeros(2, 3, dtype=torch.int64)},
        {"indices": torch.tensor(0)},
    ):
        save_file(good | change, str(path), {"edge": "signed"})
        with pytest.raises(ValueError, match="its parts do not fit together: "):
            hp.NystromFactor.load(path)
    save_file(good, str(path), {"edge": "signed", "seconds": "soon"})
    with pytest.raises(ValueError, match="holds no Nystroem factor: could not convert"):
        hp.NystromFactor.load(path)
    save_file(good, str(path), {"edge": "signed"})
    assert hp.NystromFactor.load(path).rank == factor.rank
    with pytest.raises(FileNotFoundError, match="other"):
        hp.NystromFactor.load(tmp_path / "other")


BAD_ESTIMATES = [
    ({"columns": 0}, ValueError, "columns must be at least 1; got 0"),
    ({"columns": 2.5}, TypeError, "columns must be an int; got float"),
    ({"columns": True}, TypeError, "columns must be an int; got bool"),
    ({"x": torch.ones(10, 0)}, ValueError, "x must have at least one feature; got shape (10, 0)"),
    ({"x": torch.full((10, 3), torch.nan)}, ValueError, "x must be finite; row 0 holds NaN"),
    ({"x": torch.ones(10, 3, device="meta")}, ValueError, "x must be on the same device as"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_ESTIMATES)
def test_bad_estimates(change: dict[str, object], error: type[Exception], message: str) -> None:
    factor = hp.nystrom(torch.randn(10, 3), 4, generator=0)
    with pytest.raises(error, match=re.escape(message)):
        factor.error_estimate(**change)  # type: ignore[arg-type]


BAD = [
    ({"m": 0}, ValueError, "m must be at least 1; got 0"),
    ({"m": 11}, ValueError, "m must be from 1 to n = 10; got 11"),
    ({"m": 2.0}, TypeError, "m must be an int; got float"),
    ({"m": True}, TypeError, "m must be an int; got bool"),
    ({"rank": 0}, ValueError, "rank must be at least 1; got 0"),
    ({"rank": 5}, ValueError, "rank must be from 1 to m = 4; got 5"),
    ({"tolerance": 1.0}, ValueError, "tolerance must be in [0, 1); got 1.0"),
    ({"tolerance": None}, TypeError, "tolerance must be a number; got NoneType"),
    ({"edge": "cosine"}, ValueError, "edge must be one of"),
    ({"landmarks": "best"}, ValueError, "landmarks must be one of first, uniform, leverage"),
    ({"landmarks": [0, 1, 2]}, ValueError, "landmarks must be m = 4 row numbers; got shape (3,)"),
    ({"landmarks": [0, 1, 2, 10]}, ValueError, "landmarks must be from 0 to 9; got 10"),
    ({"landmarks": [0, 1, 2, -1]}, ValueError, "landmarks must be from 0 to 9; got -1"),
    ({"landmarks": [3, 1, 2, 3]}, ValueError, "landmarks must be different rows; 3 is there twice"),
    ({"landmarks": [0.0, 1.0, 2.0, 3.0]}, TypeError, "landmarks must be row numbers; got dtype"),
    ({"landmarks": None}, TypeError, "landmarks must be the name of a rule or row numbers; got No"),
    ({"landmarks": ["a"] * 4}, TypeError, "landmarks must be the name of a rule or row numbers"),
    ({"generator": "7"}, TypeError, "generator must be a torch.Generator, an int or None; got str"),
    ({"x": torch.ones(3)}, ValueError, "x must have shape (..., n, d); got shape (3,)"),
    ({"x": "x"}, TypeError, "x must be a torch.Tensor or a numpy.ndarray; got str"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input(change: dict[str, object], error: type[Exception], message: str) -> None:
    arguments: dict[str, object] = {"x": torch.randn(10, 3), "m": 4} | change
    with pytest.raises(error, match=re.escape(message)):
        hp.nystrom(arguments.pop("x"), arguments.pop("m"), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", LANDMARK_RULES)
def test_the_default_device_and_autocast_change_nothing(rule: str) -> None:
    x = clustered(150, 20)
    expected = hp.nystrom(x, 20, landmarks=rule, generator=0)
    similarity, index = expected.nearest()
    with torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16):
        factor = hp.nystrom(x, 20, landmarks=rule, generator=0)
        assert torch.equal(factor.dense(), expected.dense())
        nearest = factor.nearest()
    assert torch.equal(factor.factor, expected.factor)
    assert torch.equal(nearest[0], similarity)
    assert torch.equal(nearest[1], index)
    assert expected.dense().dtype == torch.float32


def test_a_request_that_no_factor_can_answer() -> None:
    with pytest.raises(ValueError, match="rank must be from 1 to m = 3; got 5"):
        hp.Nystrom(m=3, rank=5)
    with pytest.raises(TypeError, match="seed must be an int; got str"):
        hp.Nystrom(m=3, seed="7")  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", LANDMARK_RULES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rows_that_are_not_finite_are_named(rule: str, bad: float) -> None:
    x = torch.randn(30, 4)
    x[17, 2] = bad
    with pytest.raises(ValueError, match="x must be finite; row 17 holds NaN or infinity"):
        hp.nystrom(x, 10, landmarks=rule, generator=0)


def test_norms_of_any_scale() -> None:
    x = torch.randn(40, 8) * torch.logspace(-30, 30, 40)[:, None]
    scaled = hp.nystrom(x, 16, landmarks="first")
    assert_within(scaled.dense(), hp.pairwise_cosine(x), 6e-7)
