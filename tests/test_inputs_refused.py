# SPDX-License-Identifier: MIT
"""What cannot be worked with is refused by the name of its argument, not by an error of torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hubprune as hp


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))


EXAMPLE = torch.zeros(1, 1, 12, 12)


def test_an_empty_example() -> None:
    model, empty = network(), torch.zeros(0, 1, 12, 12)
    message = r"example_inputs must not be empty; got shape \(0, 1, 12, 12\)"
    with pytest.raises(ValueError, match=message):
        hp.plan(model, empty)
    with pytest.raises(ValueError, match=message):
        hp.report(model, model, (empty,))


def test_a_model_without_values() -> None:
    for model, name in ((network().to("meta"), "0.weight"), (network(), "3.weight")):
        model[3].to("meta")
        message = f"model must hold values; '{name}' is on the meta device"
        for example in (EXAMPLE, EXAMPLE.to("meta")):
            with pytest.raises(ValueError, match=message):
                hp.plan(model, example)


def test_a_weight_without_values() -> None:
    weight = torch.zeros(4, 3, device="meta")
    with pytest.raises(ValueError, match="weight must hold values; it is on the meta device"):
        hp.score(weight)
    with pytest.raises(ValueError, match="layer '0': weight must hold values"):
        hp.score_model(network().to("meta"))
    with pytest.raises(ValueError, match="x must hold values; it is on the meta device"):
        hp.nystrom(weight, 2)


def test_rows_without_features() -> None:
    with pytest.raises(ValueError, match=r"x must have at least one feature; got shape \(5, 0\)"):
        hp.nystrom(torch.zeros(5, 0), 2)


@pytest.mark.parametrize("compensate", ["recalibrate", "bias", "interpolate+recalibrate"])
def test_batches_of_another_shape(compensate: str) -> None:
    model = network()
    plan = hp.plan(model, EXAMPLE)
    batches = [torch.randn(4, 1, 12, 12), torch.randn(4, 3, 12, 12)]
    message = r"batches must be inputs of the model; it cannot run on batch 1 of shape \(4, 3, 12"
    with pytest.raises(ValueError, match=message):
        hp.prune(model, plan, compensate=compensate, batches=batches)
