# SPDX-License-Identifier: MIT
"""Channels predicted from weights against channels that are simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from cases import assert_within
from hubprune.channels import prediction
from hubprune.channels.paths import Path, Reader
from hubprune.channels.prediction import ChannelPredictor

# Nothing but Gaussian inputs and 1 x 1 kernels: the formulas hold, up to the rectified Gaussians'
# sums, which the next layer is told of as if they were Gaussian.
EXACT = 0.005


@pytest.fixture(autouse=True)
def all_of_the_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "_ACROSS", 1.0)


def indices(n: int) -> tuple[int, ...]:
    return tuple(range(n))


def settle(model: nn.Sequential, x: torch.Tensor) -> None:
    """Give the batch norms the statistics of these inputs, and weights of both signs."""
    for layer in model:
        if isinstance(layer, nn.BatchNorm1d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            with torch.no_grad():
                layer.weight[1] *= -1
                layer.bias.uniform_(-0.5, 0.5)
            layer.momentum = None
    model.train()(x)
    model.eval()


def test_rectified_gaussians() -> None:
    rng = np.random.default_rng(0)
    rho, a = 0.6, 0.3
    z = rng.standard_normal((2, 400_000))
    u = np.stack([z[0], rho * z[0] + math.sqrt(1 - rho * rho) * z[1]])
    given = torch.tensor([rho, 1.0, 0.0, -1.0], dtype=torch.float64)
    predicted = prediction._rectified(given)
    assert float(predicted[0]) == pytest.approx(np.corrcoef(np.maximum(u, 0))[0, 1], abs=4e-3)
    assert float(predicted[1]) == pytest.approx(1.0)
    assert float(predicted[2]) == pytest.approx(0.0, abs=1e-15)
    assert -1 < float(predicted[3]) < 0
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2), nn.ReLU())
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([2.0, -1.5]))
        model[1].bias.copy_(torch.tensor([2.0 * a, 0.7]))
    path = Path("0", "1", "after norm", (0, 1), (0, 1))
    mean, spread = prediction._mean_and_spread(model, path)
    for i, (scale, shift) in enumerate(((2.0, 2.0 * a), (1.5, 0.7))):
        sample = np.maximum(scale * z[0] + shift, 0)
        assert float(mean[i]) == pytest.approx(sample.mean(), abs=6e-3)
        assert abs(float(spread[i])) == pytest.approx(sample.std(), abs=6e-3)
    assert float(spread[0]) > 0 > float(spread[1])
    path = Path("0", "1", "before norm", (0, 1), (0, 1))
    before = prediction._mean_and_spread(model, path)
    torch.testing.assert_close(before, torch.stack([model[1].bias, model[1].weight]).double())


@pytest.mark.parametrize("groups", [1, 2])
def test_correlations_go_on_from_layer_to_layer(groups: int) -> None:
    """The second layer's outputs correlate because the first one's do."""
    torch.manual_seed(groups)
    model = nn.Sequential(
        nn.Conv1d(3, 6, 1),
        nn.BatchNorm1d(6),
        nn.Conv1d(6, 4, 1, groups=groups),
        nn.BatchNorm1d(4),
        nn.Conv1d(4, 2, 1),
    )
    x = torch.randn(64, 3, 4000)
    settle(model, x)
    readers = {
        "2": Reader((Path("0", "1", "no", indices(6), indices(6)),), "3"),
        "4": Reader((Path("2", "3", "no", indices(4), indices(4)),)),
    }
    predictor = ChannelPredictor(model, readers)
    with torch.no_grad():
        arriving = model[:4](x).transpose(0, 1).flatten(1).numpy()
    mean, covariance = predictor.moments(readers["4"].paths, [(0, i) for i in range(4)])
    expected = np.cov(arriving)
    if groups == 2:  # other inputs: what correlates them is not looked at
        expected[:2, 2:] = expected[2:, :2] = 0.0
    assert_within(mean[0], arriving.mean(1), 1e-6)
    assert_within(covariance, expected, EXACT)
    white = ChannelPredictor(model, {"4": readers["4"]})  # as if nothing were known of the first
    _, other = white.moments(readers["4"].paths, [(0, i) for i in range(4)])
    assert np.abs(other.numpy() - expected).max() > 20 * EXACT


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_float32_is_as_good_whatever_the_scale(size: float) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Conv2d(3, 40, 3), "norm": nn.BatchNorm2d(40)})
    model["b"] = nn.Conv2d(40, 70, 3, groups=2)
    with torch.no_grad():
        model["b"].weight *= size * torch.logspace(-3, 3, 70)[:, None, None, None]
        model["norm"].weight.copy_(torch.logspace(-12, 12, 40))
    path = Path("a", "norm", "after norm", indices(40), indices(40))

    def made() -> torch.Tensor:
        return ChannelPredictor(model, {"b": Reader((path,))})._made("b")

    rounded = made()
    model.double()
    exact = made()
    torch.testing.assert_close(exact.diagonal(), torch.ones(70).double())
    torch.testing.assert_close(rounded, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [1, 256, 600])
def test_symmetric_products(n: int) -> None:
    x = torch.randn(n, 9, dtype=torch.float64)
    middle = x.T @ x
    torch.testing.assert_close(prediction._symmetric(x @ middle, x), x @ middle @ x.T)


def test_means_alone_take_no_correlations(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 2, 3))
    settle(model, torch.randn(8, 1, 50))
    path = Path("0", "1", "after norm", indices(4), indices(4))
    asked = [path], [(0, i) for i in range(4)]
    mean, covariance = ChannelPredictor(model, {}).moments(*asked)
    monkeypatch.setattr(ChannelPredictor, "_computed", None)
    alone, variance = ChannelPredictor(model, {}, correlated=False).moments(*asked)
    assert torch.equal(alone, mean)
    torch.testing.assert_close(variance, covariance.diagonal().diag())


def test_added_outputs_add_up() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({name: nn.Linear(4, 3) for name in "ab"} | {"sum": nn.Linear(3, 5)})
    model.double()
    paths = tuple(Path(name, None, "no", indices(3), indices(3)) for name in "ab")
    predictor = ChannelPredictor(model, {"sum": Reader(paths)})
    weights = [model[name].weight.detach().double() for name in ("a", "b", "sum")]
    covariance = weights[0] @ weights[0].T + weights[1] @ weights[1].T
    expected = weights[2] @ covariance @ weights[2].T
    spread = expected.diagonal().sqrt()
    torch.testing.assert_close(predictor._made("sum"), expected / spread[:, None] / spread)


def test_places_behind_a_flattening_and_unknown_inputs() -> None:
    """Four inputs are two filters at two places, the fifth comes from nowhere that is known."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Conv1d(1, 2, 1), "b": nn.Linear(5, 3)}).double()
    path = Path("a", None, "no", (0, 1, 0, 1), (0, 2, 1, 3))
    predictor = ChannelPredictor(model, {"b": Reader((path,))})
    row = model["a"].weight.detach().double().flatten(1)
    block = (row @ row.T).sign() * row.abs() * row.abs().T  # one input: correlation of +-1
    covariance = torch.eye(5, dtype=torch.float64)
    for columns in ([0, 2], [1, 3]):
        covariance[np.ix_(columns, columns)] = block
    weight = model["b"].weight.detach().double()
    expected = weight @ covariance @ weight.T
    spread = expected.diagonal().sqrt()
    torch.testing.assert_close(predictor._made("b"), expected / spread[:, None] / spread)


def test_places_that_pass_channels_of_their_own_of_the_norm() -> None:
    """A flattening before the norm: two filters at three places, each with its own moments."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Conv1d(1, 2, 1), "norm": nn.BatchNorm1d(6)})
    nn.init.uniform_(model["norm"].weight, 0.5, 2.0)
    nn.init.uniform_(model["norm"].bias, -1.0, 1.0)
    scale, shift = (p.detach().double() for p in (model["norm"].weight, model["norm"].bias))
    path = Path("a", "norm", "no", (0, 0, 0, 1, 1, 1), indices(6), indices(6))
    predictor = ChannelPredictor(model, {})
    mean, covariance = predictor.moments([path], [(0, 1), (0, 0)])
    torch.testing.assert_close(mean, shift.reshape(2, 3).T.flip(1))
    spread = scale.reshape(2, 3).T.flip(1)  # (places, channels)
    sign = model["a"].weight.detach().double().sign().prod()
    correlation = torch.eye(2, dtype=torch.float64) + sign * torch.eye(2, dtype=torch.float64).flip(
        0
    )
    expected = torch.einsum("pi,pj,ij->ij", spread, spread, correlation) / 3
    torch.testing.assert_close(covariance, expected)
    reader = {"b": Reader((path,))}
    model["b"] = nn.Linear(6, 3).double()
    weight = model["b"].weight.detach().double().reshape(3, 2, 3) * scale.reshape(2, 3)
    covariance = torch.einsum("oip,ij,qjp->oq", weight, correlation, weight)
    spread = covariance.diagonal().sqrt()
    made = ChannelPredictor(model, reader)._made("b")
    torch.testing.assert_close(made, covariance / spread[:, None] / spread)


def test_a_layer_that_reads_itself_ends() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False)})
    readers = {"a": Reader((Path("a", None, "after norm", indices(3), indices(3)),))}
    made = ChannelPredictor(model, readers)._made("a")
    assert bool(made.isfinite().all())
    torch.testing.assert_close(made.diagonal(), torch.ones(3, dtype=torch.float64))


def test_dead_filters_do_no_harm() -> None:
    model = nn.Sequential(nn.Conv1d(1, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Conv1d(3, 2, 3))
    with torch.no_grad():
        model[0].weight[1] = 0.0
        model[1].weight[1] = 0.0
    readers = {"3": Reader((Path("0", "1", "after norm", indices(3), indices(3)),))}
    predictor = ChannelPredictor(model, readers)
    mean, covariance = predictor.moments(readers["3"].paths, [(0, i) for i in range(3)])
    assert bool(mean.isfinite().all())
    assert bool(covariance.isfinite().all())
    assert bool(predictor._made("3").isfinite().all())
