# SPDX-License-Identifier: MIT
"""Masks for torch.nn.utils.prune, beside ln_structured's."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import hubprune as hp
from hubprune import scorers
from hubprune.compat.pruning import importance_scores, redundant_structured


def masked(module: Any, dim: int = 0) -> list[int]:
    """The filters that are masked; a filter is masked whole or not at all."""
    filters = module.weight_mask.transpose(0, dim).flatten(1)
    assert bool((filters == filters[:, :1]).all())
    return torch.nonzero(filters[:, 0] == 0).flatten().tolist()


@pytest.mark.parametrize("scorer", scorers.SCORER_NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_masks_what_the_scorer_removes_first(scorer: str, dtype: torch.dtype) -> None:
    module = nn.Conv2d(4, 300, 3).to(dtype)
    with torch.no_grad():
        module.weight[5] *= 1e-9
    original = module.weight
    order = hp.score(module.weight, scorer).order  # a mask sees the weight alone, not the bias
    assert redundant_structured(module, "weight", 0.25, scorer) is module
    assert masked(module) == sorted(order[:75].tolist())
    assert 5 in masked(module)
    assert module.weight_mask.dtype == dtype
    assert module.weight_orig is original
    assert torch.equal(module.weight, original * module.weight_mask)


@pytest.mark.parametrize("scorer", ["l1", "l2"])
@pytest.mark.parametrize("amount", [0, 3, 8, 0.0, 0.3, 1.0])
def test_parity_with_ln_structured(scorer: str, amount: float) -> None:
    """Where hubprune has torch's own criterion, the masks are torch's."""
    ours = nn.Conv1d(4, 8, 5)
    theirs = copy.deepcopy(ours)
    redundant_structured(ours, "weight", amount, scorer)
    prune.ln_structured(theirs, "weight", amount, n=int(scorer[1]), dim=0)
    assert torch.equal(ours.weight_mask, theirs.weight_mask)
    assert torch.equal(ours.weight, theirs.weight)
    assert [name for name, _ in ours.named_parameters()] == [
        name for name, _ in theirs.named_parameters()
    ]


def test_signature_follows_ln_structured() -> None:
    ours = [name for name in inspect.signature(redundant_structured).parameters if name != "scorer"]
    theirs = [name for name in inspect.signature(prune.ln_structured).parameters if name != "n"]
    assert ours == theirs


def test_again_takes_from_what_is_left() -> None:
    module = nn.Conv2d(3, 12, 3)
    weight = module.weight.detach().clone()
    redundant_structured(module, "weight", 4)
    first = masked(module)
    redundant_structured(module, "weight", 3, "l2")
    left = [i for i in range(12) if i not in first]
    second = hp.score(weight[left], "l2").order[:3].tolist()
    assert masked(module) == sorted([*first, *(left[i] for i in second)])
    prune.remove(module, "weight")
    assert bool((module.weight[masked_rows(module)] == 0).all())


@pytest.mark.parametrize("amount", [0, 0.5, 1.0])
def test_what_is_masked_whole_stays_so(amount: float) -> None:
    """Nothing is left to score; ln_structured does nothing either."""
    ours = nn.Conv2d(3, 12, 3)
    theirs = copy.deepcopy(ours)
    for module in (ours, theirs):
        redundant_structured(module, "weight", 12)
    redundant_structured(ours, "weight", amount)
    prune.ln_structured(theirs, "weight", amount, n=2, dim=0)
    assert torch.equal(ours.weight_mask, theirs.weight_mask)
    assert not ours.weight_mask.any()
    with pytest.raises(ValueError, match="amount=1 should be smaller than the number of param"):
        prune.ln_structured(theirs, "weight", 1, n=2, dim=0)
    with pytest.raises(ValueError, match="amount=1 should be smaller than the number of param"):
        redundant_structured(ours, "weight", 1)


def masked_rows(module: nn.Conv2d) -> torch.Tensor:
    return module.weight.detach().flatten(1).abs().amax(1) == 0


def test_transposed_convolutions_and_other_dimensions() -> None:
    transposed = nn.ConvTranspose2d(4, 10, 3)
    expected = sorted(hp.score(transposed).order[:5].tolist())
    redundant_structured(transposed, "weight", 0.5)
    assert masked(transposed, dim=1) == expected
    linear = nn.Linear(8, 6)
    order = hp.score(linear.weight.detach().T).order
    redundant_structured(linear, "weight", 2, dim=1)
    assert masked(linear, dim=1) == sorted(order[:2].tolist())
    last = nn.Linear(8, 6)
    with_negative = copy.deepcopy(last)
    redundant_structured(last, "weight", 2, dim=1)
    redundant_structured(with_negative, "weight", 2, dim=-1)
    assert torch.equal(last.weight_mask, with_negative.weight_mask)


def test_importance_scores_for_torchs_own_functions() -> None:
    module = nn.Conv2d(3, 12, 3)
    order = hp.score(module, "eigenvector").order
    scores = importance_scores(module.weight, "eigenvector")
    assert scores.shape == module.weight.shape
    assert not scores.requires_grad
    assert scores[order, 0, 0, 0].tolist() == list(range(1, 13))
    prune.ln_structured(
        module, "weight", 0.5, n=float("inf"), dim=0, importance_scores=scores.float()
    )
    assert masked(module) == sorted(order[:6].tolist())
    other = nn.Conv2d(3, 12, 3)
    prune.l1_unstructured(other, "weight", 4 * 27, importance_scores=scores.float())
    assert masked(other) == sorted(order[:4].tolist())


def test_scores_in_the_parameters_place() -> None:
    module = nn.Linear(5, 7)
    stand_in = torch.randn(7, 5)
    redundant_structured(module, "weight", 3, importance_scores=stand_in)
    assert masked(module) == sorted(hp.score(stand_in).order[:3].tolist())


def test_trains_through_the_mask() -> None:
    module = nn.Conv2d(3, 6, 3)
    redundant_structured(module, "weight", 2)
    module(torch.randn(1, 3, 8, 8)).sum().backward()
    assert module.weight_orig.grad is not None
    assert bool((module.weight_orig.grad[masked(module)] == 0).all())
    state = module.state_dict()
    assert set(state) == {"bias", "weight_orig", "weight_mask"}


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (nn.Linear(3, 4), {"amount": 5}),
        (nn.Linear(3, 4), {"amount": -1}),
        (nn.Linear(3, 4), {"amount": 1.5}),
        (nn.Linear(3, 4), {"amount": "half"}),
        (nn.Linear(3, 4), {"amount": 1, "dim": 2}),
        (nn.BatchNorm2d(4), {"amount": 1}),
        (nn.Linear(3, 4), {"amount": 1, "importance_scores": torch.ones(2, 2)}),
    ],
    ids=str,
)
def test_the_errors_of_ln_structured(module: nn.Module, arguments: dict[str, Any]) -> None:
    theirs = {"n": 2, "dim": 0, **arguments}
    with pytest.raises(Exception) as expected:  # noqa: PT011
        prune.ln_structured(copy.deepcopy(module), "weight", **theirs)
    with pytest.raises(type(expected.value)) as got:
        redundant_structured(module, "weight", **arguments)
    assert str(got.value) == str(expected.value)
    assert isinstance(module.weight, nn.Parameter)  # left as it was


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: redundant_structured(m, "weight", 1, "hub"), ValueError, "scorer must be one"),
        (lambda m: redundant_structured(m, "weight", 1, 3), TypeError, "scorer must be a name"),
        (lambda m: redundant_structured(m, "weights", 1), AttributeError, "weights"),
        (lambda m: importance_scores([1.0]), TypeError, "parameter must be a torch.Tensor"),
        (lambda m: importance_scores(torch.ones(3)), ValueError, "weight must have shape"),
    ],
)
def test_errors_of_ours(call: Any, error: type[Exception], message: str) -> None:
    module = nn.Linear(3, 4)
    with pytest.raises(error, match=message):
        call(module)
    assert isinstance(module.weight, nn.Parameter)


def test_weights_that_are_not_finite() -> None:
    module = nn.Linear(3, 4)
    with torch.no_grad():
        module.weight[2, 1] = float("nan")
    with pytest.raises(ValueError, match="weight must be finite; filter 2 holds NaN"):
        redundant_structured(module, "weight", 1)
    assert isinstance(module.weight, nn.Parameter)
    assert [name for name, _ in module.named_parameters()] == ["bias", "weight"]
