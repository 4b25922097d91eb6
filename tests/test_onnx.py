# SPDX-License-Identifier: MIT
"""Pruned networks as ONNX: another runtime computes what torch computes, for every batch size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hubprune as hp

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime: Any = pytest.importorskip("onnxruntime")

# torch 2.13's exporter copies its own tree specifications, and warns of its own LeafSpec.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"
)

CASES = {
    "dcase21": (hp.models.Dcase21Baseline, (1, 40, 500), ["logits"]),
    "cnn6": (hp.models.Cnn6, (1, 64, 64), ["clipwise_output", "embedding"]),
}


def lively(factory: Callable[[], nn.Module]) -> nn.Module:
    """Statistics and scales that are not the identity, and outputs that depend on the input."""
    torch.manual_seed(0)
    model = factory().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand_like(tensor) + 0.5
        elif isinstance(module, nn.Linear):
            module.weight.data = torch.randn_like(module.weight) / module.in_features**0.5
    return model


def outputs(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        result = model(x)
    return list(result.values()) if isinstance(result, dict) else [result]


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_computes_what_torch_computes(name: str, tmp_path: Path) -> None:
    factory, shape, names = CASES[name]
    model = lively(factory)
    pruned = hp.prune(model, hp.plan(model, torch.randn(1, *shape), ratio=0.5))
    path = tmp_path / "pruned.onnx"
    torch.onnx.export(
        pruned,
        (torch.randn(2, *shape),),
        path,
        dynamo=True,
        input_names=["x"],
        output_names=names,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    assert [file.name for file in tmp_path.iterdir()] == ["pruned.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == names
    for batch in (1, 2, 5):
        x = torch.randn(batch, *shape)
        found = [torch.from_numpy(each) for each in session.run(None, {"x": x.numpy()})]
        expected = outputs(pruned, x)
        whole = outputs(model, x)
        for got, want, unpruned in zip(found, expected, whole, strict=True):
            assert got.shape == want.shape
            # Measured: 1e-6 at most. The outputs themselves are far from constant.
            assert (got - want).abs().max() < 1e-4
            assert want.std() > 0.01
            assert (want - unpruned).abs().max() > 0.01
