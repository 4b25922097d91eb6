# SPDX-License-Identifier: MIT
"""Metrics: against scikit-learn, with ties, and against hostile input."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hubprune import metrics


def tagged(seed: int, n: int, k: int, levels: int | None) -> tuple[Any, Any]:
    """Scores, rounded to `levels` values for ties, and targets with both kinds in every class."""
    rng = np.random.default_rng(seed)
    scores = rng.random((n, k)) if levels is None else rng.integers(0, levels, (n, k)) / levels
    targets = (rng.random((n, k)) < 0.3).astype(float)
    targets[0], targets[1] = 1, 0
    return scores, targets


@given(
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.integers(1, 4),
    st.sampled_from([None, 1, 2, 5]),
)
@settings(max_examples=60, deadline=None)
def test_tagging_equals_scikit_learn(seed: int, n: int, k: int, levels: int | None) -> None:
    scores, targets = tagged(seed, n, k, levels)
    expected = [
        sklearn.metrics.average_precision_score(targets[:, j], scores[:, j]) for j in range(k)
    ]
    np.testing.assert_allclose(metrics.average_precision(scores, targets), expected, rtol=1e-12)
    assert metrics.mean_average_precision(scores, targets) == pytest.approx(np.mean(expected))
    expected = [sklearn.metrics.roc_auc_score(targets[:, j], scores[:, j]) for j in range(k)]
    np.testing.assert_allclose(
        metrics.roc_auc_per_class(scores, targets), expected, rtol=1e-12, atol=1e-15
    )
    assert metrics.roc_auc(scores, targets) == pytest.approx(np.mean(expected))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_classes_equal_scikit_learn(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    logits = 5 * rng.standard_normal((n, k))
    targets = rng.integers(0, k, n)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = sklearn.metrics.log_loss(targets, probabilities, labels=range(k))
    assert metrics.log_loss(probabilities, targets) == pytest.approx(expected, rel=1e-12)
    assert metrics.log_loss(logits, targets, output="logits") == pytest.approx(expected, rel=1e-9)
    expected = sklearn.metrics.accuracy_score(targets, logits.argmax(1))
    assert metrics.accuracy(logits, targets) == expected
    assert metrics.accuracy(torch.from_numpy(logits), torch.from_numpy(targets)) == expected


def test_tag_log_loss_equals_torch() -> None:
    scores, targets = (torch.from_numpy(each) for each in tagged(0, 20, 3, None))
    logits = torch.logit(scores)
    expected = torch.nn.functional.binary_cross_entropy(scores, targets).item()
    assert metrics.log_loss(scores, targets) == pytest.approx(expected, rel=1e-12)
    assert metrics.log_loss(logits, targets, output="logits") == pytest.approx(expected, rel=1e-9)


def test_constant_scores() -> None:
    targets = np.array([[1.0], [0.0], [0.0], [0.0]])
    scores = np.full((4, 1), 0.3)
    assert metrics.mean_average_precision(scores, targets) == 0.25  # the part of positives
    assert metrics.roc_auc(scores, targets) == 0.5
    assert metrics.accuracy(scores.repeat(2, 1), np.array([0, 0, 1, 1])) == 0.5


def test_infinite_scores_are_ranked_and_extreme_probabilities_are_finite() -> None:
    scores = np.array([[np.inf], [0.0], [-np.inf]])
    assert metrics.roc_auc(scores, np.array([[1.0], [1.0], [0.0]])) == 1
    wrong = metrics.log_loss(np.array([[0.0, 1.0]]), np.array([0]))
    assert wrong == pytest.approx(-math.log(np.finfo(np.float64).eps))
    assert metrics.log_loss(np.array([[-1e4, 1e4]]), np.array([0]), output="logits") == 2e4
    assert metrics.log_loss(np.array([[1e4]]), np.array([[0.0]]), output="logits") == 1e4


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinite_scores_tie(infinite: float) -> None:
    scores = np.array([[infinite], [infinite], [0.0], [infinite], [1.0], [-1.0]])
    finite = np.clip(scores, -9, 9)  # scikit-learn takes no infinity
    for order in sorted(set(itertools.permutations([1.0, 1, 0, 0, 1, 0]))):
        targets = np.array(order)[:, None]
        assert metrics.average_precision(scores, targets)[0] == pytest.approx(
            sklearn.metrics.average_precision_score(targets, finite), rel=1e-12
        )
        assert metrics.roc_auc(scores, targets) == pytest.approx(
            sklearn.metrics.roc_auc_score(targets, finite), rel=1e-12
        )


INF = math.inf


@pytest.mark.parametrize(
    ("logits", "target", "expected"),
    [
        ([0.0, 0.0, -INF], 0, math.log(2)),  # a class that is masked out
        ([0.0, 0.0, -INF], 2, INF),
        ([INF, 0.0, -INF], 0, 0.0),
        ([INF, 0.0, -INF], 1, INF),
        ([INF, 0.0, -INF], 2, INF),
        ([INF, INF, 0.0], 2, INF),
        ([-INF, 3.0, -INF], 1, 0.0),
    ],
)
def test_log_loss_of_infinite_logits_of_classes(
    logits: list[float], target: int, expected: float
) -> None:
    found = metrics.log_loss(np.array([logits]), np.array([target]), output="logits")
    assert found == pytest.approx(expected, rel=1e-15)
    if INF not in logits:
        torchs = torch.nn.functional.cross_entropy(torch.tensor([logits]), torch.tensor([target]))
        assert torchs.item() == pytest.approx(expected)
        # In probabilities, which are finite, the same up to the clipping; scikit-learn's value.
        exponents = np.exp(np.array([logits]))
        softmax = exponents / exponents.sum()
        clipped = metrics.log_loss(softmax, np.array([target]))
        assert clipped == pytest.approx(min(expected, -math.log(np.finfo(float).eps)), abs=1e-15)
        theirs = sklearn.metrics.log_loss([target], softmax, labels=[0, 1, 2])
        assert theirs == pytest.approx(clipped, abs=1e-15)


@pytest.mark.parametrize(
    ("logit", "tag", "expected"),
    [
        (INF, 1.0, 0.0), (INF, 0.0, INF), (-INF, 0.0, 0.0), (-INF, 1.0, INF), (INF, 0.5, INF),
        (-INF, 0.5, INF),
    ],
)  # fmt: skip
def test_log_loss_of_infinite_logits_of_tags(logit: float, tag: float, expected: float) -> None:
    scores, targets = np.array([[logit, 0.0]]), np.array([[tag, 1.0]])
    found = metrics.log_loss(scores, targets, output="logits")
    assert found == pytest.approx((expected + math.log(2)) / 2)


def test_d_prime_equals_scipy() -> None:
    for seed in range(20):
        scores, targets = tagged(seed, 30, 3, 6)
        expected = np.sqrt(2) * scipy.stats.norm.ppf(metrics.roc_auc(scores, targets))
        assert metrics.d_prime(scores, targets) == pytest.approx(expected, rel=1e-12, abs=1e-15)
    areas = np.concatenate([10.0 ** np.arange(-300, -1), np.linspace(0.01, 0.99, 99)])
    np.testing.assert_allclose(
        [metrics.d_prime_of(float(area)) for area in areas],
        np.sqrt(2) * scipy.stats.norm.ppf(areas),
        rtol=1e-12,
        atol=1e-15,
    )
    # Kong et al., 2020, of CNN14: AUC 0.973, d' 2.732.
    assert metrics.d_prime_of(0.9725) < 2.732 < metrics.d_prime_of(0.9735)
    perfect = np.array([[0.9], [0.1]])
    assert metrics.d_prime(perfect, np.array([[1.0], [0.0]])) == INF
    assert metrics.d_prime(perfect, np.array([[0.0], [1.0]])) == -INF
    assert metrics.d_prime(np.ones((2, 1)), np.array([[0.0], [1.0]])) == 0


def test_classes_without_positives_are_left_out() -> None:
    scores, targets = tagged(3, 20, 3, None)
    targets[:, 1] = 0
    each = metrics.average_precision(scores, targets)
    assert np.isnan(each).tolist() == [False, True, False]
    assert metrics.mean_average_precision(scores, targets) == np.nanmean(each)
    targets[:, 2] = 1  # no negative: no area, but an average precision of 1
    assert metrics.average_precision(scores, targets)[2] == 1
    assert np.isnan(metrics.roc_auc_per_class(scores, targets)).tolist() == [False, True, True]
    with pytest.raises(ValueError, match="must have a positive in at least one class"):
        metrics.mean_average_precision(scores, np.zeros((20, 3)))
    with pytest.raises(ValueError, match="a positive and a negative in at least one class"):
        metrics.roc_auc(scores, np.ones((20, 3)))


def test_the_order_of_the_examples_does_not_matter() -> None:
    scores, targets = tagged(4, 50, 2, 4)
    order = np.random.default_rng(0).permutation(50)
    for metric in (metrics.mean_average_precision, metrics.roc_auc):
        assert metric(scores[order], targets[order]) == metric(scores, targets)


def test_takes_half_precision_read_only_and_strided() -> None:
    scores, targets = tagged(5, 30, 3, 8)  # eighths: exact in every dtype
    expected = metrics.mean_average_precision(scores, targets)
    half = torch.from_numpy(scores).to(torch.bfloat16)
    assert metrics.mean_average_precision(half, torch.from_numpy(targets).bool()) == expected
    flipped = scores[::-1]
    flipped.flags.writeable = False
    assert metrics.mean_average_precision(flipped, targets[::-1]) == expected


ONE = np.array([[0.2, 0.8]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy(np.array([[np.nan, 0]]), np.array([0])), ValueError,
         "scores must not hold NaN; got one at example 0, class 0"),
        (lambda: metrics.accuracy(np.zeros((0, 2)), np.zeros(0, int)), ValueError,
         "scores must have shape (n, k) with n, k >= 1; got (0, 2)"),
        (lambda: metrics.accuracy(np.zeros(3), np.zeros(3, int)), ValueError,
         "scores must have shape (n, k) with n, k >= 1; got (3,)"),
        (lambda: metrics.accuracy(np.zeros((1, 2), int), np.array([0])), TypeError,
         "scores must hold float16, float32 or float64"),
        (lambda: metrics.accuracy(ONE, np.array([0.0])), TypeError,
         "targets must be a tensor or an array of integers; got float64"),
        (lambda: metrics.accuracy(ONE, [0]), TypeError, "array of integers; got list"),
        (lambda: metrics.accuracy(ONE, np.array([0, 1])), ValueError,
         "targets must have shape (1,), as scores has rows; got (2,)"),
        (lambda: metrics.accuracy(ONE, np.array([2])), ValueError,
         "targets must be classes in [0, 2); got values from 2 to 2"),
        (lambda: metrics.accuracy(ONE, np.array([-1])), ValueError, "classes in [0, 2)"),
        (lambda: metrics.log_loss(ONE * 2, np.array([0])), ValueError,
         "probabilities in [0, 1]; got values from 0.4 to 1.6"),
        (lambda: metrics.log_loss(ONE / 2, np.array([0])), ValueError, "row 0 sums to 0.5"),
        (lambda: metrics.log_loss(ONE, np.array([0]), output="softmax"), ValueError,
         "output must be one of probabilities, logits; got 'softmax'"),
        (lambda: metrics.log_loss(np.array([[0.0, 1], [-INF, -INF]]), np.array([0, 0]),
                                  output="logits"), ValueError,
         "scores of example 1 have no softmax: they are -inf for every class"),
        (lambda: metrics.log_loss(np.array([[INF, INF]]), np.array([0]), output="logits"),
         ValueError, "scores of example 0 have no softmax: they are +inf for several classes"),
        (lambda: metrics.roc_auc(ONE, np.array([1.0])), ValueError,
         "targets must have the shape of scores, (1, 2); got (1,)"),
        (lambda: metrics.roc_auc(ONE, np.array([[0.5, 1]])), ValueError, "zeros and ones"),
        (lambda: metrics.roc_auc(ONE, np.array([[np.nan, 1]])), ValueError, "zeros and ones"),
        (lambda: metrics.log_loss(ONE, np.array([[2.0, 1]])), ValueError,
         "targets must be probabilities in [0, 1]"),
        (lambda: metrics.roc_auc(ONE, "01"), TypeError, "array of numbers; got str"),
    ],
)  # fmt: skip
def test_errors(call: Callable[[], float], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
