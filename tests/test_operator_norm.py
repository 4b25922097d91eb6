# SPDX-License-Identifier: MIT
"""The operator-norm scorer: the published importance, and singular values of filters."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hubprune as hp
from cases import CREPE, DCASE, DTYPES, VGGISH, assert_within, numpy64
from hubprune import reference
from hubprune.scorers import OperatorNorm
from published import published_operator_norm

SHAPES = [
    *DCASE,
    VGGISH[0],
    (40, 20, 3, 3),
    *CREPE[1:],
    (7, 5),
    (6, 3, 1, 1),
    (5, 4, 3),
    (4, 3, 2, 2, 2),
    (2, 1, 3),
]

# Relative to the largest of the layer. Measured at the levels v2, v3 and v4: 6e-16 for singular
# values, 1.5e-14 for projections (a leading direction is only as sharp as its singular value is far
# from the next). Inputs are the same bits in both, whatever their dtype.
SPECTRAL = 1e-14
PUBLISHED = 1e-13


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("level")
def test_spectral_is_the_two_norm_of_each_filter(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    weight = torch.randn(shape).to(dtype)
    values = OperatorNorm(rule="spectral").score(weight).values
    matrices = numpy64(weight).reshape(*shape[:2], -1)
    expected = np.array([np.linalg.norm(a.T, 2) for a in matrices])
    np.testing.assert_allclose(-values, expected, rtol=SPECTRAL)
    np.testing.assert_allclose(
        values, reference.operator_norm(numpy64(weight), "spectral"), rtol=SPECTRAL
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("level")
def test_published_importance(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = torch.randn(shape, dtype=dtype)
    scores = hp.score(weight, "opnorm")
    assert_within(scores.values, reference.operator_norm(numpy64(weight)), PUBLISHED)
    assert_within(-scores.values, published_operator_norm(numpy64(weight)), PUBLISHED)


def test_more_channels_and_filters_than_one_block() -> None:
    """Blocks of channels (published) and of filters (spectral) add up to the whole."""
    for shape in ((600, 300, 3, 3), (130, 2000, 3, 3)):
        weight = torch.randn(shape)
        expected = reference.operator_norm(numpy64(weight))
        assert_within(hp.score(weight, "opnorm").values, expected, PUBLISHED)
        singular = torch.linalg.matrix_norm(weight.flatten(2).double(), ord=2)
        got = OperatorNorm(rule="spectral").score(weight).values
        np.testing.assert_allclose(-got, singular, rtol=SPECTRAL)


def test_the_first_filter_decides_the_signs() -> None:
    """Why the published importance depends on the order of the filters, as documented."""
    weight = torch.randn(40, 30, 3, 3)
    assert hp.score(weight, "opnorm").order[-1] == 0
    assert hp.score(weight.flip(0), "opnorm").order[-1] == 0
    spectral = OperatorNorm(rule="spectral")
    assert torch.equal(spectral.score(weight.flip(0)).values, spectral.score(weight).values.flip(0))


@pytest.mark.parametrize("rule", reference.OPERATOR_NORM_RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_finite_scale(rule: str, dtype: torch.dtype) -> None:
    scorer = OperatorNorm(rule=rule)
    weight = torch.randn(20, 6, 3, 3, dtype=torch.float64).to(dtype)
    expected = scorer.score(weight).values
    exponents = (-37, -20, 20, 37) if dtype == torch.float32 else (-300, -160, 160, 306)
    for exponent in exponents:
        scale = float(f"1e{exponent}")
        got = scorer.score(weight * scale).values
        assert bool(got.isfinite().all())
        if rule == "spectral":
            got = got / scale
        bound = 1.5e-7 if dtype == torch.float32 else 2e-15  # the scaled weights are rounded
        assert_within(got, expected, bound * float(expected.abs().max()))
    tiny = torch.full((3, 2, 3, 3), torch.finfo(dtype).smallest_normal / 4, dtype=dtype)
    assert bool(scorer.score(tiny).values.isfinite().all())


@pytest.mark.parametrize("rule", reference.OPERATOR_NORM_RULES)
def test_degenerate_layers(rule: str) -> None:
    scorer = OperatorNorm(rule=rule)
    assert scorer.score(torch.zeros(4, 2, 3, 3)).values.tolist() == [0.0] * 4
    assert len(scorer.score(torch.randn(1, 2, 3, 3))) == 1
    equal = scorer.score(torch.randn(1, 4, 3, 3).repeat(6, 1, 1, 1))
    assert equal.order.tolist() == list(range(6))


@pytest.mark.parametrize("rule", reference.OPERATOR_NORM_RULES)
def test_any_number_of_threads_gives_the_same_bits(rule: str, threads: list[int]) -> None:
    weight = torch.randn(300, 90, 3, 3)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(OperatorNorm(rule=rule).score(weight).values)
    assert all(torch.equal(results[0], other) for other in results[1:])


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 8), st.sampled_from([(1,), (3, 3)])
)
def test_properties(seed: int, n: int, c: int, kernel: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, c, *kernel, dtype=torch.float64, generator=generator)
    spectral = -OperatorNorm(rule="spectral", dead="rank").score(weight).values
    frobenius = weight.flatten(1).norm(dim=1)
    assert bool((spectral <= frobenius * (1 + 1e-12)).all())
    assert bool((spectral >= frobenius / min(c, 9) ** 0.5 * (1 - 1e-12)).all())
    published = OperatorNorm(dead="rank").score(weight).values
    assert bool((published <= 0).all())
    assert bool((published >= -1).all())
    # A weight that all filters share is the mean's: it changes no importance.
    moved = OperatorNorm(dead="rank").score(weight + weight[0] * 0.5).values
    assert_within(moved, published, 1e-10)


def test_through_the_plan() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 6, 3), torch.nn.ReLU(),
        torch.nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    plan = hp.plan(model, torch.randn(1, 1, 9, 9), scorer="opnorm", ratio=0.5)
    expected = tuple(sorted(hp.score(model[0], "opnorm").order[4:].tolist()))
    assert plan.layers["0"] == expected
    text = OperatorNorm(rule="spectral").score(model[0].weight.detach()).explain()
    assert "largest singular value of each filter's matrix" in text


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("level")
def test_spectral_norms_of_special_filters(dtype: torch.dtype) -> None:
    weight = torch.randn(11, 6, 3, 3, dtype=dtype)
    weight[2] = 0.0
    weight[4] *= 1e-30
    weight[6, 1, 0, 0] = float("nan")
    weight[9, 5, 2, 2] = float("inf")
    for filters in (weight.flatten(2), weight[:, :, 0, :1], weight[:, :2, :, 0], weight[:, :1, 0]):
        (got,) = torch.ops.hubprune.spectral_norms([filters])
        finite = filters.flatten(1).isfinite().all(1)
        expected = torch.linalg.matrix_norm(filters[finite].double(), ord=2)
        assert got.dtype == torch.float64
        np.testing.assert_allclose(got[finite], expected, rtol=SPECTRAL)
        assert not bool(got[~finite].isfinite().any())
    shapes = [(0, 3, 9), (4, 0, 9), (4, 3, 0)]
    empty = torch.ops.hubprune.spectral_norms([torch.empty(shape) for shape in shapes])
    assert [norms.tolist() for norms in empty] == [[], [0.0] * 4, [0.0] * 4]


def test_layers_together() -> None:
    weights = [torch.randn(70, 30, 3, 3), torch.randn(20, 5, 7, 7).double(), torch.randn(9, 4)]
    scorer = OperatorNorm(rule="spectral")
    together = scorer.score_layers(weights, [None] * 3)
    for weight, scores in zip(weights, together, strict=True):
        assert torch.equal(scores.values, scorer.score(weight).values)
    assert hp.row_norms(weights[2]).double() == pytest.approx(-together[2].values, rel=1e-6)


def test_unknown_rule() -> None:
    message = "rule must be one of published, spectral; got 'l2'"
    with pytest.raises(ValueError, match=re.escape(message)):
        OperatorNorm(rule="l2")
    with pytest.raises(ValueError, match="rule must be one of 'published', 'spectral'"):
        reference.operator_norm(np.ones((2, 2, 3)), "l2")
