# SPDX-License-Identifier: MIT
"""Compensation: what the readers of removed channels get instead."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hubprune as hp
from cases import assert_within
from hubprune.channels.paths import Path, compose_readers
from hubprune.planning.plan_file import format_json
from networks import build

BN_FIRST, RELU_FIRST = "conv-bn-relu", "conv-relu-bn"


def body(order: str = BN_FIRST, *, bias: bool = True, padding: int = 0) -> nn.Sequential:
    torch.manual_seed(0)
    norm, rectifier = nn.BatchNorm2d(8), nn.ReLU()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.uniform_(-0.5, 0.5)
        norm.running_mean.uniform_(0.1, 0.5)
        norm.running_var.uniform_(0.5, 2.0)
    between = [norm, rectifier] if order == BN_FIRST else [rectifier, norm]
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=padding, bias=bias),
        *between,
        nn.Conv2d(8, 5, 3, padding=padding, bias=bias),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 3, 1),
    ).eval()


def plan_of(model: nn.Module, kept: dict[str, list[int]], example: torch.Tensor) -> hp.PruningPlan:
    """A plan that keeps exactly these filters."""
    ratio = {}
    for name, indices in kept.items():
        n = len(model.get_submodule(name).weight)
        ratio[name] = 1 - len(indices) / n
    # In a copy l2 is made to choose; the plan holds nothing of the weights but indices.
    marked = copy.deepcopy(model)
    with torch.no_grad():
        for name, indices in kept.items():
            weight = marked.get_submodule(name).weight
            gone = [i for i in range(len(weight)) if i not in indices]
            weight[:] = torch.randn(weight.shape).sign()
            weight[gone] *= 1e-6
    plan = hp.plan(marked, example, scorer="l2", ratio=ratio)
    assert {n: list(k) for n, k in plan.layers.items()} == kept
    return plan


def inputs(count: int = 16, size: int = 9, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 2, size, size, generator=torch.Generator().manual_seed(seed))


def duplicate_filters(model: nn.Sequential, pairs: dict[int, int]) -> None:
    """Make filter a of the first layer, and its batch norm, copies of b's."""
    tensors = [model[0].weight, model[0].bias]
    for layer in model[:3]:
        if isinstance(layer, nn.BatchNorm2d):
            tensors += [layer.weight, layer.bias, layer.running_mean, layer.running_var]
    with torch.no_grad():
        for a, b in pairs.items():
            for tensor in tensors:
                if tensor is not None:
                    tensor[a] = tensor[b]


@pytest.mark.parametrize("order", [BN_FIRST, RELU_FIRST])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_merging_duplicates_changes_nothing(order: str, bias: bool, padding: int) -> None:
    model = body(order, bias=bias, padding=padding)
    duplicate_filters(model, {1: 0, 5: 4, 6: 4})
    x = inputs()
    plan = plan_of(model, {"0": [0, 2, 3, 4, 7]}, x)
    expected = model(x)
    assert not torch.allclose(hp.prune(model, plan)(x), expected, rtol=0, atol=1e-3)
    for batches in (None, x):
        merged = hp.prune(model, plan, compensate="merge", batches=batches)
        torch.testing.assert_close(merged(x), expected, atol=2e-5, rtol=1e-5)


def test_interpolation_is_the_regression_of_removed_on_kept_channels() -> None:
    model = body()
    x = inputs(32)
    kept, gone = [0, 3, 4, 6], [1, 2, 5, 7]
    pruned = hp.prune(model, plan_of(model, {"0": kept}, x), compensate="interpolate", batches=x)
    with torch.no_grad():
        channels = model[:3](x).double().transpose(0, 1).flatten(1).numpy()
    design = np.vstack([channels[kept], np.ones(channels.shape[1])])
    solution = np.linalg.lstsq(design.T, channels[gone].T, rcond=None)[0].T
    weight = model[3].weight.detach().double().numpy()
    expected = weight[:, kept] + np.einsum("orij,rk->okij", weight[:, gone], solution[:, :-1])
    shift = np.einsum("orij,r->o", weight[:, gone], solution[:, -1])
    assert_within(pruned[3].weight.detach().numpy(), expected, 5e-4)
    assert_within(pruned[3].bias.detach().numpy(), model[3].bias.detach().numpy() + shift, 6e-5)


def test_interpolation_restores_linear_combinations() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 3, 3)).eval()
    with torch.no_grad():
        for gone, mix in ((1, (0.5, -0.25)), (4, (-0.3, 0.7))):
            model[0].weight[gone] = mix[0] * model[0].weight[0] + mix[1] * model[0].weight[2]
    x = inputs(64)
    pruned = hp.prune(
        model, plan_of(model, {"0": [0, 2, 3, 5]}, x), compensate="interpolate", batches=x
    )
    torch.testing.assert_close(pruned(x), model(x), atol=2e-3, rtol=1e-3)


def test_the_bias_takes_the_mean() -> None:
    model = body(padding=0)
    x = inputs(32)
    plan = plan_of(model, {"0": [0, 1, 2, 3]}, x)
    pruned = hp.prune(model, plan, compensate="bias", batches=x)
    assert torch.equal(pruned[3].weight, model[3].weight[:, :4])
    with torch.no_grad():
        channels = model[:3](x)
        mean = channels.mean((0, 2, 3))
        expected = model[3].bias + torch.einsum("orij,r->o", model[3].weight[:, 4:], mean[4:])
    torch.testing.assert_close(pruned[3].bias, expected, atol=1e-5, rtol=1e-5)


def test_a_layer_without_bias_hands_the_mean_to_its_batch_norm() -> None:
    with_bias, without = body(), body(bias=False)
    with torch.no_grad():
        for a, b in zip(with_bias, without, strict=True):
            if isinstance(a, nn.Conv2d):
                a.weight.copy_(b.weight)
                if b.bias is None:
                    a.bias.zero_()
                else:
                    a.bias.copy_(b.bias)
    x = inputs()
    plans = [plan_of(m, {"0": [0, 1, 6, 7], "3": [0, 2, 4]}, x) for m in (with_bias, without)]
    outputs = [
        hp.prune(m, p, compensate="interpolate")(x)
        for m, p in zip((with_bias, without), plans, strict=True)
    ]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)


def test_it_is_nearer_to_the_original() -> None:
    """What all this is for: on data and without, the output is nearer than as cut."""
    model = body(RELU_FIRST)
    x, other = inputs(64), inputs(64, seed=2)
    with torch.no_grad():  # the statistics of a trained network: those of its data
        for _ in range(50):
            model.train()(x)
    model.eval()
    duplicate_filters(model, {1: 0})
    with torch.no_grad():
        model[0].weight[1:4] += 0.1 * torch.randn(model[0].weight[1:4].shape)
        model.train()(x)
    model.eval()
    plan = plan_of(model, {"0": [0, 4, 5, 6, 7]}, x)
    expected = model(other).detach()

    @torch.no_grad()
    def error(**options: object) -> float:
        return float((hp.prune(model, plan, **options)(other) - expected).square().mean())

    cut = error()
    assert error(compensate="interpolate", batches=x) < 0.7 * cut
    assert error(compensate="interpolate") < cut


@pytest.mark.parametrize("kind", ["flatten", "grouped", "transposed", "1d", "dense"])
def test_every_kind_of_reader(kind: str) -> None:
    torch.manual_seed(0)
    x = inputs(64, size=6)
    if kind == "flatten":
        model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3))
    elif kind == "grouped":
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 2, 1)
        )
    elif kind == "transposed":
        model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 3, 2))
    elif kind == "1d":
        model = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Conv1d(6, 3, 2))
        x = x[..., 0]
    else:
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
        x = x[:, 0, 0]
    model.eval()
    with torch.no_grad():  # 1 and 5 repeat 0 and 4, at another length
        for gone, twin in ((1, 0), (5, 4)):
            model[0].weight[gone] = 2.0 * model[0].weight[twin]
            model[0].bias[gone] = 2.0 * model[0].bias[twin]
    keep = {"0": [0, 2, 3, 4]}
    plan = plan_of(model, keep, x)
    expected = model(x)
    if (
        kind == "transposed"
    ):  # at its border fewer inputs are read: the mean's residual is zero here
        assert plan.readers["2"].norm is None
    merged = hp.prune(model, plan, compensate="merge", batches=x)
    torch.testing.assert_close(merged(x), expected, atol=1e-4, rtol=1e-4)
    free = hp.prune(model, plan, compensate="merge")
    torch.testing.assert_close(free(x), expected, atol=1e-4, rtol=1e-4)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.c = nn.Conv2d(6, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        return self.c(torch.relu(x + self.b(x)))


def test_sums_of_layers_need_batches_and_say_so() -> None:
    torch.manual_seed(0)
    model, x = Residual().eval(), inputs()
    plan = hp.plan(model, x, ratio=0.5)
    with pytest.warns(
        UserWarning, match="nothing makes up for what 'c' loses: its inputs are sums"
    ):
        hp.prune(model, plan, compensate="interpolate")
    measured = hp.prune(model, plan, compensate="interpolate", batches=x)
    expected = model(x)
    assert (measured(x) - expected).square().mean() < (
        hp.prune(model, plan)(x) - expected
    ).square().mean()


def test_where_norms_and_rectifiers_are() -> None:
    x = inputs()
    for order, rectified in ((BN_FIRST, "after norm"), (RELU_FIRST, "before norm")):
        plan = hp.plan(body(order), x, ratio=0.5)
        norm = "1" if order == BN_FIRST else "2"
        eight = tuple(range(8))
        assert plan.readers["3"].paths == (Path("0", norm, rectified, eight, eight),)
        assert plan.readers["3"].norm == "4"
        assert plan.readers["6"].norm is None
    plain = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Tanh(), nn.Conv2d(8, 3, 3)).eval()
    assert hp.plan(plain, x, ratio=0.5).readers["2"].paths[0].rectified == "no"
    # bn1 of a PANNs block stands behind conv2 in module order, and before it in the forward pass
    cnn = hp.models.Cnn6(classes_num=4).eval()
    first = hp.plan(cnn, torch.randn(1, 1, 64, 64), ratio=0.5).readers["conv_block2.conv1"]
    assert (first.paths[0].norm, first.paths[0].rectified) == ("conv_block1.bn1", "after norm")
    assert first.norm == "conv_block2.bn1"


class NormAndActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d: the activation is a part of the norm."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


class NormAndRectifier(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(super().forward(x))


@pytest.mark.parametrize("norm", [NormAndActivation, NormAndRectifier])
def test_a_norm_with_an_activation_of_its_own_is_a_norm(norm: type[nn.BatchNorm2d]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3, bias=False),
        norm(8),
        nn.Conv2d(8, 5, 3, bias=False),
        norm(5),
        nn.Conv2d(5, 3, 1),
    ).eval()
    reader = hp.plan(model, inputs(), ratio=0.5).readers["2"]
    assert (reader.paths[0].norm, reader.paths[0].rectified) == ("1", "after norm")
    assert reader.norm == "3"


class BehindNorm(nn.Module):
    """One layer, or two, whose channels pass a batch norm in another order than they are made."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.a, self.b = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(2, 8, 3, padding=1)
        if how == "flattened":
            self.norm, self.read = nn.BatchNorm1d(32), nn.Linear(32, 4)
        else:
            channels = 16 if how == "concatenated" else 8
            self.norm, self.read = nn.BatchNorm2d(channels), nn.Conv2d(channels, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        if self.how == "concatenated":
            y = torch.cat([y, self.b(x)], 1)
        elif self.how == "shuffled":
            y = y.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        elif self.how == "flattened":
            y = F.adaptive_avg_pool2d(y, 2).flatten(1)
        return self.read(torch.relu(self.norm(y)))


class ParallelNorms(nn.Module):
    """The norm that is called last is not on the way to the reader that is called last."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 8, 3)
        self.norm, self.other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.behind_both, self.behind_one = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.a(x))
        return self.behind_both(torch.relu(self.other(y))) + self.behind_one(torch.relu(y))


def constant_behind_norms(model: nn.Module) -> nn.Module:
    """Make every channel of a batch norm a constant of its own, so that folding it is exact."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.constant_(module.weight, 1e-7)
            nn.init.uniform_(module.bias, 0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize("how", ["concatenated", "shuffled", "flattened", "parallel"])
@pytest.mark.parametrize("compensate", ["bias", "interpolate"])
def test_predicted_means_are_those_of_the_norm_that_each_filter_passes(
    how: str, compensate: str
) -> None:
    torch.manual_seed(0)
    model = constant_behind_norms(ParallelNorms() if how == "parallel" else BehindNorm(how))
    x = inputs(4)
    plan = hp.plan(model, x, ratio=0.5)
    assert hp.PruningPlan.from_json(plan.to_json()) == plan
    expected = model(x).detach()
    assert not torch.allclose(hp.prune(model, plan)(x), expected, atol=0.1, rtol=0)
    pruned = hp.prune(model, plan, compensate=compensate)
    torch.testing.assert_close(pruned(x), expected, atol=2e-6, rtol=0)


def test_the_norm_is_the_last_on_the_way_not_the_last_that_is_called() -> None:
    plan = hp.plan(ParallelNorms().eval(), inputs(), ratio=0.5)
    norms = {name: reader.paths[0].norm for name, reader in plan.readers.items()}
    assert norms == {"behind_both": "other", "behind_one": "norm"}
    model, x = build("residual")
    paths = hp.plan(model, x).readers["head"].paths
    assert {(path.layer, path.norm) for path in paths} == {
        ("stem.0", "stem.1"),
        ("one.3", "one.4"),
        ("two.3", "two.4"),
    }


def test_a_channel_of_two_norms_is_a_sum() -> None:
    class TwoNorms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.read = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 4, 1)
            self.one, self.two = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            return self.read(self.one(x) + self.two(self.two(x)))

    model, x = TwoNorms().eval(), inputs()
    plan = hp.plan(model, x, ratio=0.5)
    assert {path.norm for path in plan.readers["read"].paths} == {"one", "two"}
    with pytest.warns(UserWarning, match="its inputs are sums of several layers' outputs"):
        hp.prune(model, plan, compensate="bias")


def test_channels_of_a_norm_survive_json_and_composition() -> None:
    torch.manual_seed(0)
    model, x = constant_behind_norms(BehindNorm("concatenated")), inputs(4)
    first = hp.plan(model, x, ratio={"a": 0.25, "b": 0.5})
    second = hp.plan(hp.prune(model, first), x, ratio={"a": 0.5, "b": 0.25})
    both = first.then(second)
    assert hp.PruningPlan.from_json(both.to_json()) == both
    cuts = {(cut.target, cut.side): cut.kept for cut in first.cuts}
    moved = compose_readers(
        {},
        second.readers,
        first.layers,
        {"read": cuts["read", "in"]},
        {"norm": cuts["norm", "channels"]},
    )["read"].paths
    assert [path.norm_channels for path in second.readers["read"].paths] == [None, (6, 7, 8, 9)]
    assert moved[0] == Path("a", "norm", "no", first.layers["a"], first.layers["a"])
    behind = tuple(8 + index for index in first.layers["b"])
    assert moved[1] == Path("b", "norm", "no", first.layers["b"], behind, behind)
    data = both.to_dict()
    path = data["readers"]["read"]["paths"][1]
    for channels, message in (
        ([0], "must have one channel of its norm for each filter"),
        ([-1] * 8, "must have indices of at least 0"),
        ("all", "'norm_channels' must be a list"),
    ):
        data["readers"]["read"]["paths"][1] = {**path, "norm_channels": channels}
        with pytest.raises(ValueError, match=message):
            hp.PruningPlan.from_json(format_json(data))


def test_plans_that_do_not_tell_the_channels_of_a_norm() -> None:
    model, x = BehindNorm("concatenated").eval(), inputs(4)
    data = hp.plan(model, x, ratio=0.5).to_dict()
    path = data["readers"]["read"]["paths"][1]
    del path["norm_channels"]
    old = hp.PruningPlan.from_json(format_json(data)).readers["read"].paths[1]
    assert old.at_norm == old.filters == tuple(range(8))
    path["filters"] = [index + 9 for index in path["filters"]]
    wrong = hp.PruningPlan.from_json(format_json(data))
    with pytest.warns(UserWarning, match="does not say which channels of a norm its inputs pass"):
        hp.prune(model, wrong, compensate="bias")


@pytest.mark.parametrize("network", ["concatenated", "residual", "twice"])
@pytest.mark.filterwarnings("ignore:nothing makes up for:UserWarning")
def test_every_network_can_be_compensated_without_data(network: str) -> None:
    model, x = build(network)
    plan = hp.plan(model, x)
    for compensate in ("bias", "merge", "interpolate"):
        assert bool(hp.prune(model, plan, compensate=compensate)(x).isfinite().all())


def test_an_activation_in_place_is_no_batch_norm_input_of_the_layer() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.norm(torch.relu_(self.b(torch.relu_(self.a(x))))))

    plan = hp.plan(InPlace().eval(), inputs(), ratio=0.5)
    assert plan.readers["b"].norm is None
    assert plan.readers["c"].paths[0].rectified == "before norm"


class SharedOutput(nn.Module):
    """A layer without bias, and a batch norm that is not its own."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.a, self.read = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 6, 1, bias=False)
        self.norm, self.behind = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1)
        self.same = nn.Identity()
        if how == "two layers":
            self.other = nn.Conv2d(8, 6, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        x = torch.relu(self.a(x))
        y = self.read(x)
        if self.how == "two layers":
            return self.norm(y), self.norm(self.other(x))
        z = self.behind(torch.relu(self.norm(y)))
        if self.how == "added":
            return z + y
        if self.how == "view":
            return z + y.flatten(1).mean(1)[:, None, None, None]
        if self.how == "identity":
            return z + self.same(y)
        return (z, y) if self.how == "returned" else z


@pytest.mark.parametrize("how", ["two layers", "added", "view", "identity", "returned"])
def test_a_norm_takes_no_mean_of_a_layer_that_others_read_or_of_one_of_several(how: str) -> None:
    torch.manual_seed(0)
    model, x = SharedOutput(how).eval(), inputs()
    plan = hp.plan(model, x, ratio={"a": 0.5})
    assert plan.readers["read"].norm is None
    with pytest.warns(UserWarning, match="nor a batch norm of its own to take up") as caught:
        pruned = hp.prune(model, plan, compensate="bias", batches=x)
    assert {str(warning.message).split("'")[1] for warning in caught} <= {"read", "other"}
    assert {warning.filename for warning in caught} == {__file__}
    assert torch.equal(pruned.norm.running_mean, model.norm.running_mean)


def test_a_norm_that_is_called_twice_behind_the_same_layer_takes_the_mean() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body(bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) + self.body(x + 1)

    assert hp.plan(SharedOutput("").eval(), inputs(), ratio=0.5).readers["read"].norm == "norm"
    readers = hp.plan(Siamese().eval(), inputs(), ratio=0.5).readers
    assert readers["body.3"].norm == "body.4"


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(input=self.a(input=x)))
        return self.b(input=x)


def test_layers_that_are_called_by_keyword() -> None:
    torch.manual_seed(0)
    model, x = Keywords().eval(), inputs()
    by_position = nn.Sequential(model.a, model.norm, nn.ReLU(), model.b)
    plan, twin = hp.plan(model, x, ratio=0.5), hp.plan(by_position, x, ratio=0.5)
    assert plan.readers["b"].paths[0].rectified == "after norm"
    for how in ("interpolate", "recalibrate", "interpolate+recalibrate"):
        pruned = hp.prune(model, plan, compensate=how, batches=x)
        expected = hp.prune(by_position, twin, compensate=how, batches=x)
        assert torch.equal(pruned.b.weight, expected[3].weight)
        assert torch.equal(pruned.norm.running_mean, expected[1].running_mean)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_scripted_part_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    x = inputs()
    rectifier = torch.jit.script(nn.Sequential(nn.ReLU()))
    tail = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval())
    model = nn.Sequential(body()[:2], rectifier, body()[3:], tail)
    plan = hp.plan(model, x, ratio={"0.0": 0.5, "2.3": 0.4})
    assert set(plan.layers) == {"0.0", "2.3"}
    assert plan.readers["2.3"].paths[0].rectified == "after norm"
    pruned = hp.prune(model, plan, compensate="interpolate+recalibrate", batches=x)
    assert pruned(x).shape == (16, 3, 5, 5)


def test_readers_survive_json_and_composition() -> None:
    model, x = body(), inputs()
    first = hp.plan(model, x, ratio={"0": 0.5})
    assert hp.PruningPlan.from_json(first.to_json()) == first
    second = hp.plan(hp.prune(model, first), x, ratio={"0": 0.5, "3": 0.4})
    both = first.then(second)
    assert both.readers["3"] == first.readers["3"]
    assert both.readers["6"] == second.readers["6"]
    hp.prune(model, both, compensate="interpolate", batches=x)
    hp.prune(model, both, compensate="interpolate")
    data = first.to_dict()
    del data["readers"]
    old = hp.PruningPlan.from_json(format_json(data))
    with pytest.warns(UserWarning, match="does not say where its inputs come from"):
        hp.prune(model, old, compensate="bias")


def test_a_damaged_list_of_readers_is_refused() -> None:
    data = hp.plan(body(), inputs(), ratio=0.5).to_dict()
    path = data["readers"]["3"]["paths"][0]
    for key, value, message in (
        ("rectified", "maybe", "rectified of a path to '3' must be one of"),
        ("positions", [0], "must have one filter for each position"),
        ("positions", [99, *range(1, 8)], "must have positions in 0..7"),
        ("filters", [-1] * 8, "must have indices of at least 0"),
    ):
        broken = copy.deepcopy(data)
        broken["readers"]["3"]["paths"][0] = {**path, key: value}
        with pytest.raises(ValueError, match=message):
            hp.PruningPlan.from_json(format_json(broken))
    broken = {**data, "readers": {"nowhere": data["readers"]["3"]}}
    with pytest.raises(ValueError, match="'nowhere' is in readers but no input of it is cut"):
        hp.PruningPlan.from_json(format_json(broken))


class Modulated(nn.Module):
    """FiLM: a filter of one layer scales a channel, another of the same layer is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.film = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(4, 16)
        self.read, self.head = nn.Conv2d(8, 6, 3), nn.Conv2d(6, 3, 1)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        return self.head(torch.relu(self.read(self.a(x) * scale + shift)))


def test_two_filters_of_a_layer_at_one_position_can_be_saved(tmp_path) -> None:
    torch.manual_seed(0)
    model, example = Modulated().eval(), (inputs(2), torch.randn(2, 4))
    plan = hp.plan(model, example, ratio=0.5)
    positions = {path.layer: path.positions for path in plan.readers["read"].paths}
    assert sorted(positions["film"]) == sorted(2 * tuple(range(8)))
    assert hp.PruningPlan.from_json(plan.to_json()) == plan
    pruned = hp.prune(model, plan)
    hp.save_pruned(pruned, plan, tmp_path / "small")
    again = hp.load_pruned(Modulated, tmp_path / "small").eval()
    assert torch.equal(again(*example), pruned(*example))
    with pytest.warns(UserWarning, match="'read' loses: its inputs are sums"):
        hp.prune(model, plan, compensate="interpolate")


@pytest.mark.filterwarnings("ignore:nothing makes up for:UserWarning")
def test_batches_of_several_inputs() -> None:
    torch.manual_seed(0)
    model, x, condition = Modulated().eval(), inputs(), torch.randn(16, 4)
    plan = hp.plan(model, (x, condition), ratio=0.5)
    expected = model(x, condition).detach()
    cut = (hp.prune(model, plan)(x, condition) - expected).square().mean()
    weights = []
    for batches in (
        {"x": x, "condition": condition},
        [((x, condition), None)],
        [{"x": x[:9], "condition": condition[:9]}, ([x[9:], condition[9:]], torch.zeros(7))],
    ):
        for how in ("interpolate", "interpolate+recalibrate"):
            pruned = hp.prune(model, plan, compensate=how, batches=batches)
            assert (pruned(x, condition) - expected).square().mean() < 0.8 * cut
        weights.append(pruned.read.weight)
    torch.testing.assert_close(weights[0], weights[1], atol=0, rtol=0)
    torch.testing.assert_close(weights[0], weights[2])
    with pytest.raises(
        ValueError, match=r"batch 0 of shape \(16, 2, 9, 9\) .* go as a dict, or as"
    ):
        hp.prune(model, plan, compensate="bias", batches=[(x, condition)])
    with pytest.raises(ValueError, match="batch 0 must be finite"):
        hp.prune(model, plan, compensate="bias", batches={"x": x, "condition": condition / 0})


def test_a_packed_sequence_before_a_recurrent_layer() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(2, 8, 3), nn.Conv1d(8, 6, 1)
            self.gru, self.head = nn.GRU(6, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.b(torch.relu(self.a(x)))).transpose(1, 2)
            lengths = torch.full((len(x),), x.shape[1])
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.head(self.gru(packed)[1][0])

    torch.manual_seed(0)
    model, x = Packed().eval(), torch.randn(8, 2, 9)
    plan = hp.plan(model, x, ratio=0.5)
    assert "b" in plan.layers
    with pytest.warns(UserWarning, match="GRU layers are left as they are"):
        hp.prune(model, plan, compensate="interpolate", batches=x)


def test_a_plan_that_could_not_be_loaded_is_not_saved(tmp_path) -> None:
    model, x = body(), inputs()
    plan = hp.plan(model, x, ratio=0.5)
    path = replace(plan.readers["3"].paths[0], positions=(0,))
    readers = {**plan.readers, "3": replace(plan.readers["3"], paths=(path,))}
    with pytest.raises(ValueError, match=r"cannot be saved.* one filter for each position"):
        hp.save_pruned(hp.prune(model, plan), replace(plan, readers=readers), tmp_path / "small")
    assert not list(tmp_path.iterdir())


def test_recalibration_measures_the_norms_behind_the_cuts() -> None:
    model, x = body(), inputs(64)
    plan = plan_of(model, {"0": [0, 1, 2, 3]}, x)
    again = hp.prune(model, plan, compensate="recalibrate", batches=[x[:48], (x[48:], None)])
    assert torch.equal(again[1].running_mean, model[1].running_mean[:4])  # its input is the old one
    whole = hp.prune(model, plan, compensate="recalibrate", batches=x)
    with torch.no_grad():
        reads = whole[:4](x)
    torch.testing.assert_close(whole[4].running_mean, reads.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole[4].running_var, reads.var((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert whole[4].momentum == model[4].momentum
    assert not whole.training
    torch.testing.assert_close(again[4].running_mean, whole[4].running_mean, atol=1e-5, rtol=1e-5)
    assert torch.equal(whole[3].weight, model[3].weight[:, :4])  # nothing else changes


def test_the_model_is_untouched_and_the_result_can_be_saved(tmp_path) -> None:
    model, x = body(), inputs()
    before = copy.deepcopy(model.state_dict())
    plan = hp.plan(model, x, ratio=0.5)
    state = torch.random.get_rng_state()
    pruned = hp.prune(model, plan, compensate="interpolate+recalibrate", batches=x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    hp.save_pruned(pruned, plan, tmp_path / "small")
    again = hp.load_pruned(body, tmp_path / "small").eval()
    assert torch.equal(again(x), pruned(x))


@pytest.mark.parametrize("how", ["bias", "merge", "interpolate", "recalibrate"])
def test_the_default_device_changes_nothing(how: str, tmp_path) -> None:
    model, x = body(), inputs()
    plan = hp.plan(model, x, ratio=0.5)

    def states() -> list[dict[str, torch.Tensor]]:
        given = [x] if how == "recalibrate" else [x, None]
        pruned = [hp.prune(model, plan, compensate=how, batches=batches) for batches in given]
        hp.save_pruned(pruned[0], plan, tmp_path / "small")
        with torch.device("cpu"):
            pruned.append(hp.load_pruned(body, tmp_path / "small"))
        return [each.state_dict() for each in pruned]

    expected = states()
    with torch.device("meta"):
        found = states()
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_mode_and_half_precision_stay() -> None:
    model, x = body().train(), inputs()
    plan = hp.plan(model, x, ratio=0.5)
    assert hp.prune(model, plan, compensate="interpolate+recalibrate", batches=x).training
    half = hp.prune(copy.deepcopy(model).bfloat16(), plan, compensate="interpolate")
    assert half[3].weight.dtype == torch.bfloat16


def test_zero_and_dead_filters_do_no_harm() -> None:
    model, x = body(RELU_FIRST), inputs()
    with torch.no_grad():
        model[0].weight[1:3] = 0
        model[0].bias[1:3] = 0
        model[2].running_mean[1:3] = 0
        model[2].running_var[1:3] = 0
    plan = plan_of(model, {"0": [0, 1, 3, 4]}, x)
    for how in ("bias", "merge", "interpolate"):
        for batches in (None, x):
            pruned = hp.prune(model, plan, compensate=how, batches=batches)
            assert all(bool(p.isfinite().all()) for p in pruned.parameters())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"compensate": "magic"}, ValueError, "compensate must be one of 'none', 'bias'"),
        ({"compensate": 3}, TypeError, "compensate must be a str; got int"),
        ({"compensate": "bias+merge"}, ValueError, "got 'bias\\+merge'"),
        ({"compensate": "recalibrate+recalibrate", "batches": 0}, ValueError, "got 'recal"),
        ({"compensate": "none+bias"}, ValueError, "got 'none\\+bias'"),
        ({"compensate": "recalibrate"}, ValueError, "needs batches: a few unlabelled inputs"),
        ({"batches": torch.zeros(1, 2, 9, 9)}, ValueError, "compensate is 'none'"),
        ({"compensate": "bias", "batches": []}, ValueError, "at least one input; got none"),
        ({"compensate": "bias", "batches": 3}, TypeError, "iterable of tensors .* got int"),
        ({"compensate": "bias", "batches": "x"}, TypeError, "iterable of tensors .* got str"),
        ({"compensate": "bias", "batches": ["x"]}, TypeError, "batch 0 must hold a tensor"),
        (
            {"compensate": "bias", "batches": [torch.full((1, 2, 9, 9), math.nan)]},
            ValueError,
            "batch 0 must be finite",
        ),
    ],
)
def test_errors(options: dict, error: type[Exception], message: str) -> None:
    model = body()
    plan = hp.plan(model, inputs(), ratio=0.5)
    with pytest.raises(error, match=message):
        hp.prune(model, plan, **options)


@pytest.mark.parametrize("how", ["bias", "merge", "interpolate"])
def test_a_batch_norm_weight_of_zero_in_front_of_a_relu(how: str) -> None:
    """Such a channel is constant: max(bias, 0), without a spread."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 2, 1))
    with torch.no_grad():
        model[1].bias.fill_(0.5)
        model[1].weight[0] = 0.0
    x = torch.randn(2, 1, 9)
    pruned = hp.prune(model.eval(), hp.plan(model, x), compensate=how)
    assert all(bool(value.isfinite().all()) for value in pruned.state_dict().values())


@pytest.mark.parametrize("how", ["merge", "interpolate"])
def test_constant_channels_are_folded_as_constants(how: str) -> None:
    """Rounding leaves no slope between channels that a layer reads the same of on all batches."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Conv1d(4, 2, 1)).eval()
    x = torch.randn(17, 1, 9)
    plan = hp.plan(model, x)
    nn.init.zeros_(model[1].weight)
    for _ in range(50):  # before, one bias in seven gave infinite weights
        nn.init.uniform_(model[1].bias, 0.5, 2.0)
        pruned = hp.prune(model, plan, compensate=how, batches=x)
        kept = model[2].weight[:, list(plan.layers["0"])]
        torch.testing.assert_close(pruned[2].weight, kept, rtol=0, atol=0)
        torch.testing.assert_close(pruned(x), model(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("spread", [1e-9, 1e-20, 1e-45])
def test_nothing_is_made_of_channels_that_hardly_vary(spread: float, batches: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Conv1d(4, 2, 1)).eval()
    x = torch.randn(17, 1, 9)
    plan = hp.plan(model, x)
    kept = list(plan.layers["0"])
    with torch.no_grad():
        model[1].weight[kept] = spread
    pruned = hp.prune(model, plan, compensate="merge", batches=x if batches else None)
    torch.testing.assert_close(pruned[2].weight, model[2].weight[:, kept], rtol=0, atol=0)
