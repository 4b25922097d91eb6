# SPDX-License-Identifier: MIT
"""Several threads may plan, prune and report on one model: each finds what it finds alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

import hubprune as hp
from networks import build


def together(call: Callable[[], Any], calls: int = 8) -> list[Any]:
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(call) for _ in range(calls)]
        return [future.result() for future in futures]


@pytest.mark.parametrize("name", ["residual", "one_dimensional"])
def test_plans_of_several_threads_agree(name: str) -> None:
    model, x = build(name)
    options: dict[str, Any] = {"budget": {"macs": 0.6}}
    alone = hp.plan(model, x, **options)
    for plan in together(lambda: hp.plan(model, x, **options)):
        assert plan == alone
    hooked = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooked


def test_pruned_models_of_several_threads_agree() -> None:
    model, x = build("residual")
    plan = hp.plan(model, x)
    inputs = torch.randn(32, *x.shape[1:], dtype=x.dtype)

    def cut() -> nn.Module:
        return hp.prune(model, plan, compensate="interpolate+recalibrate", batches=inputs)

    alone = cut().state_dict()
    for pruned in together(cut):
        for name, value in pruned.state_dict().items():
            assert torch.equal(value, alone[name]), name


def test_reports_of_several_threads_agree() -> None:
    model, x = build("residual")
    pruned = hp.prune(model, hp.plan(model, x))
    alone = hp.report(model.train(), pruned, x, latency=False)
    for report in together(lambda: hp.report(model, pruned, x, latency=False)):
        assert report == alone
    assert model.training
