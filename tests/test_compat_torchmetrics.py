# SPDX-License-Identifier: MIT
"""pairwise_cosine_similarity beside torchmetrics': results, errors, gradients, differences."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torchmetrics.functional import pairwise_cosine_similarity as theirs

from cases import assert_within
from hubprune import reference
from hubprune.compat.torchmetrics import pairwise_cosine_similarity

# torchmetrics' rounding, and for half precision that of the result; bfloat16 is its own arithmetic.
TOLERANCE = {
    torch.float32: 2e-6,
    torch.float64: 1e-14,
    torch.float16: 2e-3,
    torch.bfloat16: 3e-2,
}

_generator = torch.Generator().manual_seed(0)
X, Z = torch.randn(2, 7, 4, dtype=torch.float64, generator=_generator)
Y = torch.randn(5, 4, dtype=torch.float64, generator=_generator)


def assert_same(got: torch.Tensor, expected: torch.Tensor, scale: float = 1.0) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    tolerance = TOLERANCE[expected.dtype] * scale
    assert torch.allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def test_signature() -> None:
    ours = inspect.signature(pairwise_cosine_similarity).parameters.values()
    expected = inspect.signature(theirs).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in expected
    ]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("zero_diagonal", [None, True, False])
@pytest.mark.parametrize("reduction", [None, "none", "mean", "sum"])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (3, 5, 4), (65, 64, 9), (30, 17, 130)])
def test_parity(
    n: int, m: int, d: int, reduction: Any, zero_diagonal: bool | None, dtype: torch.dtype
) -> None:
    x, y = torch.randn(n, d).to(dtype), torch.randn(m, d).to(dtype)
    scale = 1.0 if reduction != "sum" else max(n, m)
    for others in (None, y, x):
        got = pairwise_cosine_similarity(x, others, reduction, zero_diagonal)
        assert_same(got, theirs(x, others, reduction, zero_diagonal), scale)


@pytest.mark.parametrize("zero_diagonal", [None, True, False])
def test_zero_rows_are_nan(zero_diagonal: bool | None) -> None:
    x, y = torch.randn(5, 3), torch.randn(4, 3)
    x[1], y[2] = 0.0, 0.0
    for others in (None, y):
        got = pairwise_cosine_similarity(x, others, zero_diagonal=zero_diagonal)
        expected = theirs(x, others, zero_diagonal=zero_diagonal)
        assert torch.equal(got.isnan(), expected.isnan())
        assert_same(got, expected)
    x[3, 0], x[4, 2] = float("inf"), float("nan")
    got, expected = pairwise_cosine_similarity(x, y), theirs(x, y)
    assert torch.equal(got.isnan(), expected.isnan())


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_only_zero_rows_are_nan(dtype: torch.dtype) -> None:
    """The shortest row that there is, and norms beyond the dtype's range."""
    x = torch.zeros(4, 5, dtype=dtype)
    x[0, 3] = torch.finfo(dtype).smallest_normal
    x[1] = torch.finfo(dtype).max
    x[2, 1] = torch.nextafter(x[3, 1], torch.ones((), dtype=dtype)) if dtype.itemsize > 2 else 1.0
    for others in (None, x.clone()):
        got = pairwise_cosine_similarity(x, others, zero_diagonal=False)
        assert bool(got[3].isnan().all())
        assert bool(got[:, 3].isnan().all())
        assert_same(got[:3, :3].diagonal(), torch.ones(3, dtype=dtype))


def test_empty() -> None:
    for shape in ((0, 3), (4, 0), (0, 0)):
        assert_same(pairwise_cosine_similarity(torch.ones(shape)), theirs(torch.ones(shape)))
    got = pairwise_cosine_similarity(torch.ones(2, 3), torch.ones(0, 3))
    assert got.shape == (2, 0)


def test_half_beside_float() -> None:
    x, y = torch.randn(5, 4), torch.randn(6, 4).half()
    assert_same(pairwise_cosine_similarity(x, y), theirs(x, y))
    assert_same(pairwise_cosine_similarity(y, x), theirs(y, x))


def test_strides_and_inputs_left_alone() -> None:
    base = torch.randn(20, 12)
    for view in (base.T, base[1::3, 2::2], base.expand(20, 12)):
        before = view.clone()
        assert_same(pairwise_cosine_similarity(view), theirs(view))
        assert torch.equal(view, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("zero_diagonal", [None, False])
@pytest.mark.parametrize("reduction", [None, "sum"])
def test_gradients(dtype: torch.dtype, zero_diagonal: bool | None, reduction: Any) -> None:
    """A loss made of it trains as with torchmetrics: no silent detachment."""
    leaves = [torch.randn(6, 4, dtype=dtype), torch.randn(5, 4, dtype=dtype)]
    for pair in (leaves[:1], leaves):
        gradients = []
        for function in (pairwise_cosine_similarity, theirs):
            inputs = [leaf.clone().requires_grad_() for leaf in pair]
            result = function(*inputs, reduction=reduction, zero_diagonal=zero_diagonal)
            (
                result * torch.arange(result.numel(), dtype=dtype).reshape(result.shape)
            ).sum().backward()
            gradients.append([leaf.grad for leaf in inputs])
        for got, expected in zip(*gradients, strict=True):
            assert torch.allclose(got, expected, rtol=1e-4, atol=1e-4)
    x = torch.randn(3, 4, requires_grad=True)
    with torch.no_grad():
        assert not pairwise_cosine_similarity(x).requires_grad
    with_gradient = pairwise_cosine_similarity(x)
    assert with_gradient.requires_grad
    assert_same(with_gradient, pairwise_cosine_similarity(x.detach()))
    zero = torch.zeros(2, 3, requires_grad=True)
    assert bool(pairwise_cosine_similarity(zero, zero).isnan().all())


Maps = Callable[[Callable[..., torch.Tensor]], Any]

FORWARD: dict[str, Maps] = {
    "jvp": lambda f: torch.func.jvp(lambda t: f(t, Y), (X,), (Z,))[1],
    "jvp of both": lambda f: torch.func.jvp(f, (X, Y), (Z, Y * Y))[1],
    "jvp without y": lambda f: torch.func.jvp(f, (X,), (Z,))[1],
    "jacfwd": lambda f: torch.func.jacfwd(lambda t: f(t, Y).sum(-1))(X),
    "hessian": lambda f: torch.func.hessian(lambda t: f(t, Y).square().sum())(X),
    "vmap of jvp": lambda f: torch.func.vmap(
        lambda z: torch.func.jvp(lambda t: f(t, Y), (X,), (z,))[1]
    )(torch.stack([Z, X])),
    "jvp of vmap": lambda f: torch.func.jvp(
        torch.func.vmap(lambda t: f(t, Y)), (torch.stack([X, Z]),), (torch.stack([Z, X]),)
    )[1],
    "dual": lambda f: dual_tangent(f),
    "dual, no_grad": lambda f: torch.no_grad()(dual_tangent)(f),
}


def dual_tangent(function: Callable[..., torch.Tensor]) -> torch.Tensor:
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(function(forward_ad.make_dual(X, Z), Y)).tangent
        assert tangent is not None
        return tangent


# torch.func.jvp makes decompositions by a deprecated torch.jit.script, the first time.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("case", FORWARD)
def test_forward_mode_derivatives(case: str) -> None:
    got, expected = FORWARD[case](pairwise_cosine_similarity), FORWARD[case](theirs)
    assert bool(expected.any())
    assert_same(got, expected, scale=100.0)


class Module(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.function(x, y) + self.function(y)[:3, :5].sum()


@torch.no_grad()
def compiled(module: Module) -> Any:
    return torch.compile(module, fullgraph=True, backend="aot_eager")


TRACERS: dict[str, Maps] = {
    "compile": lambda module: compiled(module),
    "export": lambda module: torch.export.export(module, (X, Y)).module(),
    "make_fx": lambda module: make_fx(module)(X, Y),
    "jit.trace": lambda module: torch.jit.trace(module, (X, Y), check_trace=False),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("tracer", TRACERS)
def test_a_trace_does_not_depend_on_the_values(tracer: str) -> None:
    traced = TRACERS[tracer](Module(pairwise_cosine_similarity))
    zero_row = X.clone()
    zero_row[2] = 0.0
    for x in (X, zero_row, Z):
        got, expected = traced(x, Y), Module(theirs)(x, Y)
        assert torch.equal(got.isnan(), expected.isnan())
        assert_same(got, expected)


def test_tensors_that_hold_no_values() -> None:
    for pair in ((X,), (X, Y)):
        expected = pairwise_cosine_similarity(*pair)
        for got in (
            pairwise_cosine_similarity(*(t.to("meta") for t in pair)),
            of_fakes(*pair),
        ):
            assert (got.shape, got.dtype) == (expected.shape, expected.dtype)


def of_fakes(*tensors: torch.Tensor) -> torch.Tensor:
    with FakeTensorMode() as mode:
        return pairwise_cosine_similarity(*map(mode.from_tensor, tensors))


def test_vmap() -> None:
    x = torch.stack([X, Z])
    x[1, 3] = 0.0
    got = torch.func.vmap(lambda t: pairwise_cosine_similarity(t, Y))(x)
    assert_same(got, pairwise_cosine_similarity(x, Y.expand(2, -1, -1)))
    assert bool(got[1, 3].isnan().all())


BAD: dict[str, Callable[[Any], Any]] = {
    "one dimension": lambda f: f(torch.ones(3)),
    "no dimension": lambda f: f(torch.tensor(1.0)),
    "y of one dimension": lambda f: f(torch.ones(2, 3), torch.ones(3)),
    "features differ": lambda f: f(torch.ones(2, 3), torch.ones(2, 4)),
    "y a batch": lambda f: f(torch.ones(2, 3), torch.ones(2, 2, 3)),
    "reduction": lambda f: f(torch.ones(2, 3), reduction="max"),
    "reduction a number": lambda f: f(torch.ones(2, 3), reduction=1),
}


@pytest.mark.parametrize("case", BAD)
def test_the_same_errors(case: str) -> None:
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        BAD[case](theirs)
    with pytest.raises(ValueError) as got:  # noqa: PT011
        BAD[case](pairwise_cosine_similarity)
    assert str(got.value) == str(expected.value)


# --- where they differ ----------------------------------------------------------------------------


def test_any_finite_scale() -> None:
    x = torch.randn(6, 5)
    expected = torch.from_numpy(reference.pairwise_cosine(x.double().numpy(), zero_diagonal=True))
    for scale in (1e-30, 1e25):
        wrong = theirs(x * scale).double()
        assert not torch.allclose(wrong, expected, rtol=0, atol=1e-3, equal_nan=True)
        got = pairwise_cosine_similarity(x * scale)
        assert_within(got.double(), expected, 3e-7)
        differentiable = pairwise_cosine_similarity((x * scale).requires_grad_())
        assert_within(differentiable.double(), expected, 3e-7)


def test_symmetric_and_clamped() -> None:
    x = torch.randn(50, 7)
    s = pairwise_cosine_similarity(x, zero_diagonal=False)
    assert torch.equal(s, s.T)
    assert float(s.max()) == 1.0


@pytest.mark.parametrize("reduction", [None, "mean"])
def test_batches(reduction: Any) -> None:
    x, y = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 5, 4)
    x[1, 2, 0] = 0.0
    for others in (None, y):
        got = pairwise_cosine_similarity(x, others, reduction)
        for i in range(2):
            for j in range(3):
                expected = theirs(x[i, j], None if others is None else others[i, j], reduction)
                assert_same(got[i, j], expected)
    with pytest.raises(ValueError, match="Expected argument `y` to be a 2D tensor"):
        pairwise_cosine_similarity(x, y[:1])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(2, 2).int(), None, "got dtype int32"),
        (torch.ones(2, 2, dtype=torch.complex64), None, "got dtype complex64"),
        (torch.ones(2, 2), torch.ones(2, 2).double(), "y must have the dtype of x"),
        (torch.ones(2, 2).half(), torch.ones(2, 2).bfloat16(), "y must have the dtype of x"),
        ([[1.0]], None, "x must be a torch.Tensor; got list"),
        (torch.ones(2, 2), [[1.0]], "y must be a torch.Tensor; got list"),
        (torch.ones(2, 2).to_sparse(), None, "x must be a dense tensor"),
    ],
)
def test_other_types(x: Any, y: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        pairwise_cosine_similarity(x, y)


def test_autocast_and_devices() -> None:
    x = torch.randn(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert theirs(x).dtype == torch.bfloat16
        inside = pairwise_cosine_similarity(x)
        differentiable = pairwise_cosine_similarity(x.clone().requires_grad_())
    assert torch.equal(inside, pairwise_cosine_similarity(x))
    assert_same(differentiable.detach(), inside)
    meta = x.to("meta").requires_grad_()
    assert pairwise_cosine_similarity(meta).requires_grad
    assert theirs(x, x.to("meta")).is_meta is False
    with pytest.raises(ValueError, match="y must be on the same device as x"):
        pairwise_cosine_similarity(x, x.to("meta"))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_parity_everywhere(seed: int, n: int, m: int, d: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    y = torch.randn(m, d, dtype=torch.float64, generator=generator)
    assert_same(pairwise_cosine_similarity(x, y), theirs(x, y))
    assert_same(pairwise_cosine_similarity(x, reduction="mean"), theirs(x, reduction="mean"))


def test_needs_no_torchmetrics() -> None:
    code = (
        "import sys; sys.modules['torchmetrics'] = None\n"
        "import torch, hubprune.compat.torchmetrics as ours\n"
        "print(ours.pairwise_cosine_similarity(torch.eye(2)).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[[0.0, 0.0], [0.0, 0.0]]"
