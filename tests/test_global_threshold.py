# SPDX-License-Identifier: MIT
"""One threshold for all layers: redundancies that compare over layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hubprune as hp
from hubprune import reference


def kept(plan: hp.PruningPlan, model: nn.Module) -> list[int]:
    convolutions = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    whole = {name: model.get_submodule(name).out_channels for name in convolutions}
    return [len(plan.layers.get(name, range(whole[name]))) for name in convolutions]


def test_landmarks_compare_by_the_part_that_goes() -> None:
    torch.manual_seed(0)
    weight = torch.randn(12, 3, 2, 2, dtype=torch.float64)
    weight[9] = 2 * weight[4]
    weight[10] = 0
    scale = torch.linspace(1.0, 0.5, 12, dtype=torch.float64)  # no ties
    scores = hp.score(weight, "landmarks", scale=scale)
    values, meaning = scores.comparable()
    rows = [i for i in range(12) if i != 10]
    unit = torch.nn.functional.normalize(weight[rows].flatten(1))
    unit = (unit * scale[rows][:, None]).numpy()
    pivots, left = reference.pivoted_cholesky(unit @ unit.T, reference.LANDMARK_TOLERANCE)
    expected = torch.from_numpy(-left / left.cumsum())
    assert len(pivots) == 10
    torch.testing.assert_close(values[[rows[i] for i in pivots]], expected)
    assert float(values[rows[int(pivots[0])]]) == -1.0
    assert values[10] == torch.inf
    assert float(values[9]) > 0  # a copy: nothing goes with it
    order = torch.argsort(values, descending=True, stable=True)
    assert torch.equal(order, scores.order)
    assert "part of the layer's energy" in meaning


@pytest.mark.parametrize("scorer", ["degree", "l2", "eigenvector"])
def test_others_compare_by_their_mean(scorer: str) -> None:
    weight = torch.randn(8, 3, 3, 3)
    weight[2] = 0
    scores = hp.score(weight, scorer)
    values, meaning = scores.comparable()
    living = scores.values.isfinite()
    assert float(values[living].abs().mean()) == pytest.approx(1.0)
    assert values[2] == torch.inf
    assert "mean absolute redundancy" in meaning


def half_dead() -> tuple[nn.Module, torch.Tensor]:
    """A first layer of 8 different filters among 24 dead; a second of 8 with 3 near copies each."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 4, 1),
    ).eval()  # fmt: skip
    with torch.no_grad():
        model[0].weight[8:] *= 1e-5
        model[0].bias[8:] *= 1e-5
        base = model[3].weight[:8].repeat(4, 1, 1, 1)
        model[3].weight.copy_(base + 1e-5 * torch.randn(32, 32, 3, 3))
        model[3].bias.copy_(model[3].bias[:8].repeat(4))
    return model, torch.randn(1, 1, 12, 12)


def test_landmarks_spare_the_living_of_a_half_dead_layer() -> None:
    model, x = half_dead()
    plan = hp.plan(model, x, scorer="landmarks", ratio=0.375, global_=True)
    assert kept(plan, model)[:2] == [8, 8]  # the dead, and all copies, before anything else
    plan = hp.plan(model, x, scorer="landmarks", ratio=0.7, global_=True)
    assert plan.layers["0"] == tuple(range(8))
    assert kept(plan, model)[1] == 8


def test_landmarks_empty_no_layer_before_the_others_lose() -> None:
    """Orthogonal filters: what goes with one is a part of those that stay, whatever the width."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 4), nn.ReLU(), nn.Conv2d(16, 64, 2), nn.ReLU(), nn.Conv2d(64, 2, 1)
    ).eval()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            n = layer.out_channels
            layer.weight.copy_(torch.eye(n).reshape(layer.weight.shape))
            layer.bias.zero_()
        model[2].weight[:, :, 0, 0] += 1e-9
        model[4].weight.fill_(1.0)
    plan = hp.plan(model, torch.randn(1, 1, 8, 8), scorer="landmarks", ratio=0.7, global_=True)
    wide, narrow = kept(plan, model)[1], kept(plan, model)[0]
    assert wide + narrow == 24
    assert abs(wide - narrow) <= 1
