# SPDX-License-Identifier: MIT
"""Sampled degrees: unbiased, with honest standard errors, and as sure as they say."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import hubprune as hp
from cases import DEGREE, numpy64, random_rows
from hubprune import reference


def spread(n: int, d: int) -> torch.Tensor:
    """Rows around some centres, so that degrees differ."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, d, generator=generator)
    which = torch.randint(30, (n,), generator=generator)
    return torch.randn(n, d, generator=generator) + 1.5 * centres[which]


@pytest.mark.parametrize("edge", ["signed", "abs", "positive", "squared", "shifted"])
def test_all_columns_give_the_exact_degree(edge: str) -> None:
    x = random_rows(90, 9)
    found = hp.sampled_degree(x, edge=edge)  # fewer rows than one block of columns
    expected = reference.weighted_degree(numpy64(x), edge)
    assert found.columns == 90
    assert np.max(np.abs(found.values.numpy() - expected)) < 90 * DEGREE[torch.float32]
    assert bool((found.standard_error == 0).all())
    assert "the degrees are exact" in found.explain()


def test_unbiased_with_honest_standard_errors() -> None:
    x = spread(1000, 9)
    exact = torch.from_numpy(reference.weighted_degree(numpy64(x), "abs"))
    asked = [hp.Sampled(confidence=0.5, seed=seed) for seed in range(60)]
    runs = [hp.sampled_degree(x, edge="abs", approximate=each) for each in asked]
    values = torch.stack([run.values for run in runs])
    columns = runs[0].columns
    assert columns < 1000
    spread_of_mean = values.std(0) / 60**0.5
    assert float(((values.mean(0) - exact) / spread_of_mean).abs().median()) < 1.0
    z = torch.cat([(run.values - exact) / run.standard_error for run in runs])
    assert 0.9 < float(z.std()) < 1.1
    assert f"{columns} of 1000 columns" in runs[0].explain()


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_removed_set_is_as_sure_as_asked(confidence: float) -> None:
    x = spread(1500, 30)
    exact = reference.weighted_degree(numpy64(x), "abs")
    removed = set(np.argsort(-exact, kind="stable")[:750].tolist())
    shares = []
    for seed in range(12):
        asked = hp.Sampled(confidence=confidence, ratio=0.5, seed=seed)
        found = hp.sampled_degree(x, edge="abs", approximate=asked)
        order = torch.argsort(found.values, descending=True, stable=True)[:750]
        shares.append(len(removed & set(order.tolist())) / 750)
        assert found.agreement >= confidence
        assert found.columns < 1500
    assert float(np.mean(shares)) > confidence - 0.02


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.7])
def test_the_removed_set_is_as_sure_as_said_at_other_ratios(ratio: float) -> None:
    x = torch.randn(1000, 30, generator=torch.Generator().manual_seed(0))  # degrees lie close
    exact = reference.weighted_degree(numpy64(x), "abs")
    count = round(1000 * ratio)
    removed = set(np.argsort(-exact, kind="stable")[:count].tolist())
    shares, said = [], []
    for seed in range(12):
        asked = hp.Sampled(confidence=0.6, ratio=ratio, seed=seed)
        found = hp.sampled_degree(x, edge="abs", approximate=asked)
        order = torch.argsort(found.values, descending=True, stable=True)[:count]
        shares.append(len(removed & set(order.tolist())) / count)
        said.append(found.agreement)
    assert float(np.mean(shares)) > float(np.mean(said)) - 0.03


def test_zero_rows_single_rows_and_ratios() -> None:
    one = hp.sampled_degree(torch.ones(1, 3))
    assert (one.values.tolist(), one.standard_error.tolist()) == ([0.0], [0.0])
    assert hp.sampled_degree(torch.zeros(300, 3)).values.tolist() == [0.0] * 300
    found = hp.sampled_degree(spread(300, 5), approximate=hp.Sampled(ratio=0.0))
    assert found.columns == 128  # nothing to settle: one block
    x = spread(300, 5)
    again = hp.sampled_degree(x.numpy(), approximate=hp.Sampled(seed=3))
    assert torch.equal(again.values, hp.sampled_degree(x, approximate=hp.Sampled(seed=3)).values)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=re.escape("x must have shape (n, d) with n of at least")):
        hp.sampled_degree(torch.ones(2, 3, 4))
    with pytest.raises(ValueError, match=re.escape("x must have shape (n, d) with n of at least")):
        hp.sampled_degree(torch.ones(0, 4))
    x = torch.ones(5, 2)
    x[3] = torch.nan
    with pytest.raises(ValueError, match="x must be finite; row 3 holds NaN"):
        hp.sampled_degree(x)
    with pytest.raises(ValueError, match="x must hold values; it is on the meta device"):
        hp.sampled_degree(x.to("meta"))
    with pytest.raises(TypeError, match="approximate must be a Sampled or None; got Nystrom"):
        hp.sampled_degree(x, approximate=hp.Nystrom(m=2))  # type: ignore[arg-type]
    for change in ({"confidence": 1.0}, {"confidence": 0.0}, {"ratio": 1.0}):
        with pytest.raises(ValueError, match="must be in"):
            hp.Sampled(**change)  # type: ignore[arg-type]
    for name in ("confidence", "ratio"):
        with pytest.raises(TypeError, match=f"{name} must be a number; got str"):
            hp.Sampled(**{name: "half"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="seed must be an int"):
        hp.Sampled(seed=1.5)  # type: ignore[arg-type]
