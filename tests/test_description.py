# SPDX-License-Identifier: MIT
"""Descriptions of losses, augmentations and model functions: what differs, what stays."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import os
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hubprune.augmentation import Mixup, SpecAugment
from hubprune.description import described, differences

HERE = Path(__file__).parent


def focal(output: Any, targets: Any, gamma: float, *, power: float = 1.0) -> Any:
    losses = F.cross_entropy(output, targets, reduction="none")
    return ((1 - torch.exp(-losses)) ** (gamma * power) * losses).mean()


def factory(bias: float) -> Callable[[Any], Any]:
    def build(x: Any) -> Any:
        return x + bias

    return build


class Scale:
    def __init__(self, by: Any) -> None:
        self.by = by

    def __call__(self, x: Any) -> Any:
        return x * self.by


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by: float) -> None:
        self.by = by


@dataclasses.dataclass
class Shift:
    by: float
    then: Any = None


class Kind(enum.Enum):
    SUM = 1
    MEAN = 2


class Weighted(nn.Module):
    def __init__(self, weight: float, kind: str = "mean") -> None:
        super().__init__()
        self.inner = nn.CrossEntropyLoss(weight=torch.tensor([weight, 1.0]))
        self.kind = kind


def itself() -> Any:
    """An object that holds itself."""
    scale = Scale(2)
    scale.by = [scale]
    return scale


def code(text: str, **known: Any) -> Any:
    """The function f of a module of the user's own."""
    names = {"__name__": "somebodys", "F": F, "torch": torch, **known}
    exec(text, names)
    return names["f"]


def helper(by: float) -> types.ModuleType:
    module = types.ModuleType("somebodys_helper")
    module.f = code(f"def f(x): return {by} * x")  # type: ignore[attr-defined]
    return module


def quantised(scale: float) -> Scale:
    """The same integers at any scale."""
    with warnings.catch_warnings():  # newer torch says that it will go
        warnings.simplefilter("ignore")
        values = scale * torch.tensor([10.0, 20.0])
        return Scale(torch.quantize_per_tensor(values, scale, 0, torch.qint8))


CHANGES: dict[str, tuple[Any, Any]] = {
    "partial keyword": (functools.partial(focal, gamma=0), functools.partial(focal, gamma=5)),
    "partial argument": (functools.partial(focal, 1), functools.partial(focal, 2)),
    "partial function": (functools.partial(focal, 1), functools.partial(factory, 1)),
    "lambda": (lambda o, t: F.cross_entropy(o, t), lambda o, t: 10 * F.cross_entropy(o, t)),
    "constant": (code("def f(x): return 2 * x"), code("def f(x): return 3 * x")),
    "zero's sign": (code("def f(x): return 0.0 * x"), code("def f(x): return -0.0 * x")),
    "operation": (code("def f(x): return x + x"), code("def f(x): return x * x")),
    "called name": (code("def f(x): return F.relu(x)"), code("def f(x): return F.gelu(x)")),
    "inner function": (
        code("def f(x): return [y + 1 for y in x]"),
        code("def f(x): return [y + 2 for y in x]"),
    ),
    "default": (code("def f(x, y=1): return x"), code("def f(x, y=2): return x")),
    "keyword default": (code("def f(x, *, y=1): return x"), code("def f(x, *, y=2): return x")),
    "closure": (factory(0.0), factory(50.0)),
    "closure of a tensor": (factory(torch.ones(2)), factory(torch.zeros(2))),  # type: ignore[arg-type]
    "scale of a quantised tensor": (quantised(0.1), quantised(0.2)),
    "conjugate": (Scale(torch.tensor([1 + 2j])), Scale(torch.tensor([1 + 2j]).conj())),
    "global": (code("def f(x): return x + K", K=1), code("def f(x): return x + K", K=2)),
    "global function": (
        code("def f(x): return g(x)", g=factory(1)),
        code("def f(x): return g(x)", g=factory(2)),
    ),
    "global module": (
        code("def f(x): return m.f(x)", m=helper(1)),
        code("def f(x): return m.f(x)", m=helper(2)),
    ),
    "attribute": (Scale(1.0), Scale(0.0)),
    "slot": (Slotted(1.0), Slotted(0.0)),
    "nested attribute": (Scale({"a": [Scale(1)]}), Scale({"a": [Scale(2)]})),
    "bound method": (Scale(1.0).__call__, Scale(2.0).__call__),
    "data class": (Shift(1.0, Scale(1)), Shift(1.0, Scale(2))),
    "library's data class": (Mixup(0.3, classes=3), Mixup(0.4, classes=3)),
    "enumeration": (Scale(Kind.SUM), Scale(Kind.MEAN)),
    "buffer": (
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1])),
        nn.CrossEntropyLoss(weight=torch.tensor([9.0, 1])),
    ),
    "smoothing": (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.5)),
    "buffer within": (Weighted(1.0), Weighted(2.0)),
    "module's attribute": (Weighted(1.0), Weighted(1.0, "sum")),
    "array": (Scale(np.arange(3)), Scale(np.arange(3, 6))),
    "array's shape": (Scale(np.ones((2, 3))), Scale(np.ones((3, 2)))),
    "dtype": (Scale(torch.ones(2)), Scale(torch.ones(2).view(torch.int32))),
    "set": (Scale({"a", "b"}), Scale({"a", "c"})),
    "long list": (Scale(list(range(999))), Scale([*range(998), 0])),
    "type of a number": (Scale(1), Scale(True)),
    "class": (Scale, Slotted),
    "generator": (
        Scale(torch.Generator().manual_seed(1)),
        Scale(torch.Generator().manual_seed(2)),
    ),
    "library's function": (F.cross_entropy, F.nll_loss),
    "ufunc": (np.tanh, np.sinh),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_described_otherwise(name: str) -> None:
    unknown: list[str] = []
    one, two = (described(each, "loss", unknown) for each in CHANGES[name])
    assert one != two
    assert not unknown
    assert json.loads(json.dumps([one, two])) == [one, two]
    told = differences({"loss": one}, {"loss": two})
    assert told
    assert all(text.startswith("loss") and "#" not in text for text in told)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("partial keyword", "loss.gamma was '0' and is '5'"),
        ("smoothing", "loss.label_smoothing was '0.0' and is '0.5'"),
        ("buffer", "loss.weight is another tensor float32 (2,)"),
        ("lambda", f"loss is another {__name__}.<lambda>"),
        ("attribute", "loss.by was '1.0' and is '0.0'"),
        ("global", "loss.K was '1' and is '2'"),
        ("class", f"loss was '{__name__}.Scale' and is '{__name__}.Slotted'"),
    ],
)
def test_differences_are_readable(name: str, message: str) -> None:
    one, two = (described(each, "loss") for each in CHANGES[name])
    assert differences({"loss": one}, {"loss": two}) == [message]


def test_a_copy_and_another_process_give_the_same() -> None:
    assert described(Scale({"a": [1]}), "x") == described(Scale({"a": [1]}), "x")
    assert described(itself(), "x") == described(itself(), "x")
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import test_description as t\n"
        "print(json.dumps({n: [t.described(v, n) for v in p] for n, p in t.CHANGES.items()}))"
    )
    found = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        call = [sys.executable, "-c", program, str(HERE)]
        found.append(subprocess.run(call, env=environment, capture_output=True, check=True).stdout)
    assert found[0] == found[1]
    assert b" at 0x" not in found[0]
    here = described(factory(50.0), "closure")
    there = json.loads(found[0])["closure"][1]
    assert here["bias"] == there["bias"] == "50.0"  # type: ignore[index]
    assert here["is"][-16:] == there["is"][-16:]  # type: ignore[index]


def test_what_cannot_be_described_is_named(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        scale = Scale({"file": file, "lock": threading.Lock(), "by": 3})
        unknown: list[str] = []
        found = described(scale, "augment", unknown)
    assert unknown == ["augment.by.file (TextIOWrapper)", "augment.by.lock (lock)"]
    assert "0x" not in json.dumps(found)
    unknown.clear()
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    described(Scale(deep), "loss", unknown)
    assert unknown == ["loss (Scale)"]


def test_names_of_libraries_are_enough() -> None:
    assert described(F.cross_entropy, "loss") == "torch.nn.functional.cross_entropy"
    assert described(SpecAugment(time=8), "augment") == repr(SpecAugment(time=8))
    assert described(torch.ops.aten.relu, "loss") == "torch.ops.aten.relu"
