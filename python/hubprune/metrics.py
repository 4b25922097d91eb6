# SPDX-License-Identifier: MIT
"""How good a classifier or tagger is: accuracy, log loss, average precision, area under ROC, d'.

Float64 on the CPU, NumPy only. Ties are grouped, as scikit-learn does: the order of the examples
never changes a result.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from .arguments import as_tensor, check_choice, shape_text

__all__ = [
    "accuracy",
    "average_precision",
    "d_prime",
    "log_loss",
    "mean_average_precision",
    "roc_auc",
    "roc_auc_per_class",
]

Values: TypeAlias = "torch.Tensor | npt.NDArray[np.floating]"
Labels: TypeAlias = "torch.Tensor | npt.NDArray[np.integer] | npt.NDArray[np.floating]"
_Array: TypeAlias = "npt.NDArray[np.float64]"

#: Probabilities are moved this far from 0 and 1 before the logarithm, as in scikit-learn.
_EPSILON = float(np.finfo(np.float64).eps)


def accuracy(scores: Values, targets: Labels) -> float:
    """Part of the examples whose highest score is at their class.

    Parameters
    ----------
    scores : torch.Tensor or numpy.ndarray
        Shape (n, k), floating point: probabilities or logits.
    targets : torch.Tensor or numpy.ndarray
        Shape (n,), integers in [0, k).

    Returns
    -------
    float
        In [0, 1]. Of equal scores the lowest class counts.

    Raises
    ------
    TypeError, ValueError
        If a dtype, shape or value is wrong, a score is NaN, or there are no examples.

    Examples
    --------
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    values = _scores(scores)
    classes = _classes(targets, values)
    return float(np.mean(values.argmax(1) == classes))


def log_loss(scores: Values, targets: Labels, *, output: str = "probabilities") -> float:
    """Mean negative log-likelihood in nats.

    Parameters
    ----------
    scores : torch.Tensor or numpy.ndarray
        Shape (n, k), floating point.
    targets : torch.Tensor or numpy.ndarray
        Either shape (n,), the class of each example (cross-entropy), or shape (n, k) and floating
        point, the probability of each tag (binary cross-entropy, mean over examples and tags).
    output : {"probabilities", "logits"}, default "probabilities"
        What the scores are. Logits go through the softmax, or for tags through the sigmoid.

    Returns
    -------
    float
        At least 0; lower is better. Infinite where infinite logits rule out what is true.

    Raises
    ------
    TypeError, ValueError
        If a dtype, shape or value is wrong, a score is NaN, or there are no examples. Probabilities
        must be in [0, 1], and those of one class of many sum to 1 within 1e-3. Logits of one class
        of many must have a softmax: not all -inf, and +inf not at the class and at another.

    Notes
    -----
    Probabilities are clipped to [eps, 1 - eps] with eps of float64; logits are not rounded at all,
    and of infinite ones (a class that is masked out) the limit is taken, 0 or infinity.
    """
    check_choice(output, ("probabilities", "logits"), "output")
    values = _scores(scores)
    logits = output == "logits"
    if not logits and (values.min() < 0 or values.max() > 1):
        raise ValueError(
            f"scores must be probabilities in [0, 1]; got values from {values.min():.4g} to "
            f"{values.max():.4g} (logits? then pass output='logits')"
        )
    if np.ndim(targets) == 1:
        classes = _classes(targets, values)
        rows = np.arange(len(values))
        if logits:
            return float(np.mean(_cross_entropy(values, classes)))
        sums = values.sum(1)
        if np.abs(sums - 1).max() > 1e-3:
            worst = int(np.abs(sums - 1).argmax())
            raise ValueError(
                f"scores of each example must sum to 1; row {worst} sums to {sums[worst]:.4g}"
            )
        chosen = values[rows, classes] / sums
        return float(np.mean(-np.log(np.clip(chosen, _EPSILON, 1 - _EPSILON))))
    tags = _tags(targets, values, binary=False)
    if logits:
        finite = np.isfinite(values)
        inner = np.where(finite, values, 0.0)
        # At +inf the sigmoid is 1, at -inf 0: right without a doubt, or wrong without one.
        certain = np.where(tags == (values > 0), 0.0, np.inf)
        each = np.where(finite, np.logaddexp(0.0, inner) - tags * inner, certain)
        return float(np.mean(each))
    values = np.clip(values, _EPSILON, 1 - _EPSILON)
    return float(np.mean(-(tags * np.log(values) + (1 - tags) * np.log1p(-values))))


def average_precision(scores: Values, targets: Labels) -> _Array:
    """Average precision of each class: the area under its precision-recall steps.

    ``AP = sum_i (R_i - R_{i-1}) P_i`` over the distinct scores i in descending order, with
    precision P_i and recall R_i of "score at least that".

    Parameters
    ----------
    scores : torch.Tensor or numpy.ndarray
        Shape (n, k), floating point; only their order counts.
    targets : torch.Tensor or numpy.ndarray
        Shape (n, k), zeros and ones.

    Returns
    -------
    numpy.ndarray
        Shape (k,), float64. NaN for a class without positives, where it is not defined.

    Raises
    ------
    TypeError, ValueError
        If a dtype, shape or value is wrong, a score is NaN, or there are no examples.

    Examples
    --------
    >>> average_precision(np.array([[0.9], [0.5], [0.1]]), np.array([[1.0], [0.0], [1.0]]))
    array([0.83333333])
    """
    values = _scores(scores)
    tags = _tags(targets, values)
    return np.array([_average_precision(values[:, j], tags[:, j]) for j in range(tags.shape[1])])


def mean_average_precision(scores: Values, targets: Labels) -> float:
    """Mean over the classes of `average_precision`, as PANNs reports for AudioSet.

    Parameters
    ----------
    scores, targets : torch.Tensor or numpy.ndarray
        As in `average_precision`.

    Returns
    -------
    float
        In [0, 1]. Classes without positives are left out of the mean.

    Raises
    ------
    TypeError, ValueError
        As `average_precision`; also if no class has a positive.

    Notes
    -----
    Equals ``sklearn.metrics.average_precision_score(targets, scores, average="macro")`` where every
    class has a positive; scikit-learn warns about the others and counts them as 0.
    """
    each = average_precision(scores, targets)
    known = each[~np.isnan(each)]
    if not known.size:
        raise ValueError("targets must have a positive in at least one class; got zeros only")
    return float(known.mean())


def roc_auc_per_class(scores: Values, targets: Labels) -> _Array:
    """Area under the ROC curve of each class.

    The probability that a positive scores above a negative, ties counting one half.

    Parameters
    ----------
    scores, targets : torch.Tensor or numpy.ndarray
        As in `average_precision`.

    Returns
    -------
    numpy.ndarray
        Shape (k,), float64. NaN for a class without positives or without negatives.

    Raises
    ------
    TypeError, ValueError
        As `average_precision`.
    """
    values = _scores(scores)
    tags = _tags(targets, values)
    return np.array([_roc_auc(values[:, j], tags[:, j]) for j in range(tags.shape[1])])


def roc_auc(scores: Values, targets: Labels) -> float:
    """Mean over the classes of `roc_auc_per_class`.

    Parameters
    ----------
    scores, targets : torch.Tensor or numpy.ndarray
        As in `average_precision`.

    Returns
    -------
    float
        In [0, 1]. Classes without positives or without negatives are left out of the mean.

    Raises
    ------
    TypeError, ValueError
        As `average_precision`; also if no class has both.
    """
    each = roc_auc_per_class(scores, targets)
    known = each[~np.isnan(each)]
    if not known.size:
        raise ValueError("targets must have a positive and a negative in at least one class")
    return float(known.mean())


def d_prime(scores: Values, targets: Labels) -> float:
    """Separation of positives and negatives in standard deviations: ``sqrt(2) Phi^-1(AUC)``.

    Phi is the distribution function of the standard normal, AUC the mean over the classes that
    `roc_auc` gives: as PANNs reports it for AudioSet (Kong et al., "PANNs: Large-Scale Pretrained
    Audio Neural Networks for Audio Pattern Recognition", TASLP 2020).

    Parameters
    ----------
    scores, targets : torch.Tensor or numpy.ndarray
        As in `average_precision`.

    Returns
    -------
    float
        0 for chance, negative below it; inf where every positive is above every negative (AUC 1),
        -inf where all are below.

    Raises
    ------
    TypeError, ValueError
        As `roc_auc`.

    Notes
    -----
    Equals ``numpy.sqrt(2) * scipy.stats.norm.ppf(roc_auc(scores, targets))``.

    Examples
    --------
    >>> scores = np.array([[0.9], [0.4], [0.6], [0.1]])
    >>> round(d_prime(scores, np.array([[1.0], [1.0], [0.0], [0.0]])), 4)
    0.9539
    """
    return d_prime_of(roc_auc(scores, targets))


def d_prime_of(area: float) -> float:
    """The `d_prime` of an area under the ROC curve in [0, 1]."""
    if area in (0.0, 1.0):
        return math.inf if area else -math.inf
    return math.sqrt(2) * NormalDist().inv_cdf(area)


def _cross_entropy(logits: _Array, classes: npt.NDArray[np.int64]) -> _Array:
    """-log softmax at the class of each row; infinite logits in the limit."""
    peak = logits.max(1)
    chosen = logits[np.arange(len(logits)), classes]
    at_infinity = (logits == np.inf).sum(1)
    undefined = (peak == -np.inf) | ((chosen == np.inf) & (at_infinity > 1))
    if undefined.any():
        row = int(np.flatnonzero(undefined)[0])
        what = "-inf for every class" if peak[row] == -np.inf else "+inf for several classes"
        raise ValueError(f"scores of example {row} have no softmax: they are {what}")
    certain = at_infinity > 0
    finite_peak = np.where(certain, 0.0, peak)
    below = np.where(certain[:, None], 0.0, logits) - finite_peak[:, None]
    total = np.log(np.exp(below).sum(1)) + finite_peak
    loss: _Array = np.where(chosen == -np.inf, np.inf, total - np.where(certain, 0.0, chosen))
    return np.where(certain, np.where(chosen == np.inf, 0.0, np.inf), loss)


def _steps(scores: _Array, tags: _Array) -> tuple[_Array, _Array]:
    """True and false positives at each distinct score, in descending order of score."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # Not by differences: that of two infinite scores is NaN.
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    true = np.cumsum(tags[order])[last]
    return true, 1.0 + last - true


def _average_precision(scores: _Array, tags: _Array) -> float:
    true, false = _steps(scores, tags)
    if true[-1] == 0:
        return float("nan")
    precision = true / (true + false)
    return float(np.sum(np.diff(true, prepend=0.0) * precision) / true[-1])


def _roc_auc(scores: _Array, tags: _Array) -> float:
    true, false = _steps(scores, tags)
    if true[-1] == 0 or false[-1] == 0:
        return float("nan")
    # Trapezoids: the examples of one score are positives and negatives in every order alike.
    heights = (true + np.concatenate(([0.0], true[:-1]))) / 2
    return float(np.sum(np.diff(false, prepend=0.0) * heights) / (true[-1] * false[-1]))


def _scores(scores: Values) -> _Array:
    values: _Array = as_tensor(scores, "scores").cpu().double().numpy()
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"scores must have shape (n, k) with n, k >= 1; got {shape_text(values.shape)}"
        )
    bad = np.isnan(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"scores must not hold NaN; got one at example {row}, class {column}")
    return values


def _classes(targets: Labels, scores: _Array) -> npt.NDArray[np.int64]:
    array = targets.detach().cpu().numpy() if isinstance(targets, torch.Tensor) else targets
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"targets must be a tensor or an array of integers; got {kind}")
    if array.shape != scores.shape[:1]:
        raise ValueError(
            f"targets must have shape ({len(scores)},), as scores has rows; got "
            f"{shape_text(array.shape)}"
        )
    if array.min() < 0 or array.max() >= scores.shape[1]:
        raise ValueError(
            f"targets must be classes in [0, {scores.shape[1]}); got values from {array.min()} to "
            f"{array.max()}"
        )
    return array.astype(np.int64)


def _tags(targets: Labels, scores: _Array, *, binary: bool = True) -> _Array:
    array = targets.detach().cpu() if isinstance(targets, torch.Tensor) else targets
    if isinstance(array, torch.Tensor):
        array = array.double().numpy()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"targets must be a tensor or an array of numbers; got {kind}")
    if array.shape != scores.shape:
        raise ValueError(
            f"targets must have the shape of scores, {shape_text(scores.shape)}; got "
            f"{shape_text(array.shape)}"
        )
    tags = array.astype(np.float64)
    if binary and not np.isin(tags, (0.0, 1.0)).all():
        raise ValueError("targets must be zeros and ones")
    if not binary and not ((tags >= 0) & (tags <= 1)).all():
        raise ValueError("targets must be probabilities in [0, 1]")
    return tags
