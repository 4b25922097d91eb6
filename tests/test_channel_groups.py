# SPDX-License-Identifier: MIT
"""Which channels belong together: proven by silencing, at places written down by hand.

The pruned network must compute what the whole one computes with zeros in the removed channels.
Where the zeros have to stand is stated here network by network, so that the analysis is checked
and not repeated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

import hubprune as hp
from hubprune.channels import meetings, probe, tracing
from hubprune.channels.meetings import random_parts
from networks import NETWORKS, build, lively

_OUTPUT = "produces the model's output"
_LINEAR = "linear layers are pruned only when named in ratio"


class DenselyConnected(nn.Module):
    """Every block reads all that came before it, through a normalisation of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 5, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(5), nn.Conv2d(5, 4, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(9), nn.Conv2d(9, 3, 3, padding=1)
        self.head = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.norm2(x)))], 1)
        return self.head(x.mean((2, 3)))


class Inception(nn.Module):
    """Three branches, concatenated in another order than they are defined in."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 6, 3, padding=1)
        self.five = nn.Conv2d(2, 5, 5, padding=2)
        self.after, self.head = nn.Conv2d(15, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([F.relu(branch(x)) for branch in (self.five, self.one, self.three)], 1)
        return self.head(F.relu(self.after(x)).mean((2, 3)))


class Snaked(nn.Module):
    """Two branches, then an activation with a frequency of its own for each of their channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv1d(2, 4, 1), nn.Conv1d(2, 6, 3, padding=1)
        self.frequency = nn.Parameter(torch.rand(1, 10, 1) + 0.5)
        self.head = nn.Conv1d(10, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.one(x), self.three(x)], 1)
        return self.head(x + torch.sin(self.frequency * x) ** 2 / self.frequency)


class Shortcut(nn.Module):
    """An identity shortcut, then one through a 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.a1, self.a2 = nn.Conv2d(6, 7, 3, padding=1), nn.Conv2d(7, 6, 3, padding=1)
        self.a_bn = nn.BatchNorm2d(6)
        self.b, self.b_bn = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.shortcut, self.head = nn.Conv2d(6, 8, 1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = F.relu(x + self.a_bn(self.a2(F.relu(self.a1(x)))))
        return self.head(F.relu(self.b_bn(self.b(x)) + self.shortcut(x)).mean((2, 3)))


class Tied(nn.Module):
    """Two convolutions that share their weight, in parallel, behind a free one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.left, self.right = nn.Conv2d(6, 8, 3), nn.Conv2d(6, 8, 3)
        self.right.weight = self.left.weight
        self.after, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.left(x)) + F.relu(self.right(x))
        return self.head(F.relu(self.after(x)))


class Recurrent(nn.Module):
    """Convolutions before a recurrent layer, whose gates autograd may show as splits."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(1, 6, 3), nn.Conv1d(6, 6, 3, padding=1)
        self.recurrent = layer(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.head(self.recurrent(x.transpose(1, 2))[0])


class Squeezed(nn.Module):
    """Squeeze and excitation: channels scaled by gates that are computed from all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 2, 1)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x))
        gates = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True))))
        return self.head(x * gates.sigmoid())


class Shuffled(nn.Module):
    """A channel shuffle behind a grouped convolution, as in ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 2, 1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.grouped(F.relu(self.conv(x))))
        return self.head(x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))


class SplitShuffled(nn.Module):
    """Half of the channels pass a unit by, as in ShuffleNet V2: Torch-Pruning divides by zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(16, 2, 1)
        self.left, self.right = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.first = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)])
        self.second = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x))
        x = _shuffled(torch.cat([self.left(x), self.right(x)], 1))
        for first, second in zip(self.first, self.second, strict=True):
            left, right = x.chunk(2, 1)
            x = _shuffled(torch.cat([left, second(first(right).relu())], 1))
        return self.head(x)


def _shuffled(x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


class Gated(nn.Module):
    """A gated linear unit, a maximum over interleaved pairs, and one gate for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 14, 3), nn.Conv1d(7, 12, 3)
        self.third, self.gate = nn.Conv1d(6, 8, 1), nn.Conv1d(8, 1, 1)
        self.head = nn.Conv1d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(F.glu(self.first(x), 1))
        x = self.third(x.unflatten(1, (-1, 2)).amax(2))
        return self.head(x * torch.softmax(self.gate(x), 2))


class Causal(nn.Module):
    """Sums with what is left of a longer signal, in time, as in WaveNet."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.head = nn.Conv1d(1, 8, 1), nn.Conv1d(6, 2, 1)
        self.filters = nn.ModuleList(nn.Conv1d(8, 8, 2, dilation=2**i) for i in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(8, 6, 1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, skip = self.start(x), torch.zeros((), dtype=x.dtype)
        for filters, to_skip in zip(self.filters, self.skips, strict=True):
            y = torch.tanh(filters(x))
            x = y + x[:, :, -y.shape[2] :]
            skip = to_skip(x) + (skip[:, :, -y.shape[2] :] if skip.dim() else skip)
        return self.head(F.relu(skip))


class SkipsOnly(nn.Module):
    """The last sum of the residual stream is thrown away, as in WaveNet and Conv-TasNet."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.head = nn.Conv1d(1, 6, 1), nn.Conv1d(5, 2, 1)
        self.filters = nn.ModuleList(nn.Conv1d(6, 16, 2, dilation=2**i) for i in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(8, 5, 1) for _ in range(3))
        self.residuals = nn.ModuleList(nn.Conv1d(8, 6, 1) for _ in range(3))
        self.aside = nn.Conv1d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, skip = self.start(x), torch.zeros((), dtype=x.dtype)
        for layers in zip(self.filters, self.skips, self.residuals, strict=True):
            y = F.glu(layers[0](x), 1)
            skip = layers[1](y) + (skip[:, :, -y.shape[2] :] if skip.dim() else skip)
            x = layers[2](y) + x[:, :, -y.shape[2] :]
        self.aside(x)
        return self.head(F.relu(skip))


class SumsAside(nn.Module):
    """The sum of all blocks so far goes to the next one only, as in ECAPA-TDNN."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.head = nn.Conv1d(1, 6, 1), nn.Conv1d(18, 2, 1)
        self.blocks = nn.ModuleList(nn.Conv1d(6, 6, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, outputs = self.start(x), []
        for block in self.blocks:
            outputs.append(F.relu(block(x)))
            x = x + outputs[-1]
        return self.head(torch.cat(outputs, 1))


class Folded(nn.Module):
    """Four filters make the bands of a channel, as in Wavegram, then its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 16, 3), nn.Conv2d(4, 24, 3, padding=1)
        self.third, self.head = nn.Conv2d(6, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.second(x.reshape(len(x), -1, 4, x.shape[2])))
        return self.head(F.relu(self.third(F.pixel_shuffle(x, 2))))


class Scaled(nn.Module):
    """Quarters of the channels, each added to the next, as in Res2Net and ECAPA-TDNN."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 16, 3), nn.Conv1d(16, 2, 1)
        self.parts = nn.ModuleList(nn.Conv1d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *rest = F.relu(self.conv(x)).chunk(4, 1)
        made = [first]
        for part, quarter in zip(self.parts, rest, strict=True):
            made.append(F.relu(part(quarter + made[-1] if len(made) > 1 else quarter)))
        return self.head(torch.cat(made, 1))


class SelectiveKernel(nn.Module):
    """Two convolutions in parallel, their channels weighted by a softmax over both (SKNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv1d(1, 32, 3), nn.Conv1d(32, 4, 1)
        self.paths = nn.ModuleList([nn.Conv1d(32, 32, k, padding=k // 2) for k in (3, 5)])
        self.squeeze, self.select = nn.Conv1d(32, 8, 1), nn.Conv1d(8, 64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        both = torch.stack([F.relu(path(x)) for path in self.paths], 1)
        parts = self.select(F.relu(self.squeeze(both.sum(1).mean(2, keepdim=True))))
        return self.head((both * parts.unflatten(1, (2, -1)).softmax(1)).sum(1))


@dataclass(frozen=True)
class Case:
    """A network, where its removed channels fall silent, and what stays whole.

    Attributes
    ----------
    build : callable
        Gives the network and its input.
    silence : dict of str to str
        Module -> the layer whose removed filters are the channels of this module's output (axis 1)
        that must be zero there, just before channels are mixed.
    kept : dict of str to str
        Layers that stay whole -> what the reason must say.
    """

    build: Callable[[], tuple[nn.Module, torch.Tensor]]
    silence: dict[str, str]
    ratio: float | dict[str, float] = 0.5
    kept: dict[str, str] = field(default_factory=dict)


def of(build: Callable[[], nn.Module], *shape: int) -> Callable[[], tuple[nn.Module, torch.Tensor]]:
    return lambda: (build(), torch.randn(shape))


CASES = {
    "densely_connected": Case(
        of(DenselyConnected, 2, 1, 6, 6),
        # norm2 lies behind stem (its channels 0 to 4) and conv1 (5 to 8): see `places`.
        {"stem": "stem", "norm1": "stem", "conv1": "conv1", "conv2": "conv2"},
        kept={"head": _OUTPUT},
    ),
    "inception": Case(
        of(Inception, 2, 2, 6, 6),
        {"one": "one", "three": "three", "five": "five", "after": "after"},
        {"one": 0.5, "three": 0.34, "five": 0.8, "after": 0.25},
        {"head": _OUTPUT},
    ),
    "snaked": Case(of(Snaked, 2, 2, 9), {"one": "one", "three": "three"}, kept={"head": _OUTPUT}),
    "shortcut": Case(
        of(Shortcut, 2, 1, 6, 6),
        {"stem": "stem", "a1": "a1", "a_bn": "a2", "b_bn": "b", "shortcut": "shortcut"},
    ),
    "tied": Case(
        of(Tied, 2, 1, 6, 6),
        {"after": "after"},
        kept={
            "conv1": "feeds 'left', which shares its weight with 'right.weight'",
            "left": "shares its weight with 'right.weight'",
            "right": "shares its weight with 'left.weight'",
        },
    ),
    "gru": Case(of(lambda: Recurrent(nn.GRU), 2, 1, 9), {"conv1": "conv1", "conv2": "conv2"}),
    "lstm": Case(of(lambda: Recurrent(nn.LSTM), 2, 1, 9), {"conv1": "conv1", "conv2": "conv2"}),
    "squeezed": Case(
        of(Squeezed, 2, 1, 6, 6), {"conv": "conv", "down": "down"}, kept={"head": _OUTPUT}
    ),
    "shuffled": Case(of(Shuffled, 2, 1, 8, 8), {"conv": "conv", "grouped": "grouped"}),
    "split_shuffled": Case(
        of(SplitShuffled, 2, 1, 8, 8), {"conv": "conv", "first.0": "first.0", "first.1": "first.1"}
    ),
    "gated": Case(
        of(Gated, 2, 1, 12),
        {"first": "first", "second": "second", "third": "third"},
        kept={"gate": "ratio 0.5 removes none", "head": _OUTPUT},
    ),
    "causal": Case(
        of(Causal, 2, 1, 12),
        {
            "start": "start",
            **{f"{kind}.{i}": f"{kind}.{i}" for kind in ("filters", "skips") for i in range(3)},
        },
    ),
    "skips_only": Case(
        of(SkipsOnly, 2, 1, 12),
        {
            "start": "start",
            **{
                f"{kind}.{i}": f"{kind}.{i}"
                for kind in ("filters", "skips", "residuals")
                for i in range(3)
            },
        },
        kept={"aside": "is read by no layer that could be followed", "head": _OUTPUT},
    ),
    "sums_aside": Case(
        of(SumsAside, 2, 1, 12),
        {"start": "start", **{f"blocks.{i}": f"blocks.{i}" for i in range(3)}},
    ),
    "folded": Case(of(Folded, 2, 1, 12), {"first": "first", "second": "second", "third": "third"}),
    "scaled": Case(
        of(Scaled, 2, 1, 12), {"conv": "conv", **{f"parts.{i}": f"parts.{i}" for i in range(3)}}
    ),
    "flattened": Case(NETWORKS["flattened"], {"1": "0", "5": "4"}, kept={"9": _OUTPUT}),
    "channels_last": Case(NETWORKS["channels_last"], {"conv": "conv", "conv2": "conv2"}),
    "grouped": Case(NETWORKS["grouped"], {"1": "0", "4": "3", "7": "6"}),
    "depthwise": Case(NETWORKS["depthwise"], {"1": "0", "4": "3", "7": "6"}),
    "one_dimensional": Case(NETWORKS["one_dimensional"], {"1": "0", "4": "3"}),
    "three_dimensional": Case(NETWORKS["three_dimensional"], {"1": "0", "3": "3"}),
    "transposed": Case(NETWORKS["transposed"], {"1": "0", "3": "3", "5": "5"}),
    "tagger": Case(
        NETWORKS["tagger"],
        {"bn1": "conv1", "conv2": "conv2"},
        kept={"bn0": "normalises the model's input", "fc1": _OUTPUT, "fc": _OUTPUT},
    ),
    "twice": Case(NETWORKS["twice"], {"stem": "stem", "again": "again"}),
    "layer_normed": Case(
        NETWORKS["layer_normed"], {"after": "after"}, kept={"conv": "normalised across channels"}
    ),
    "front_end": Case(
        NETWORKS["front_end"], {"conv": "conv"}, kept={"stft": "is a front end: its parameters are"}
    ),
    "selective_kernel": Case(
        of(SelectiveKernel, 2, 1, 12),
        {name: name for name in ("stem", "paths.0", "paths.1", "squeeze", "select")},
        kept={"head": _OUTPUT},
    ),
    "cnn6": Case(
        of(lambda: hp.models.Cnn6(4), 1, 1, 16, 64),
        {f"conv_block{i}": f"conv_block{i}.conv1" for i in (1, 2, 3, 4)},
        kept={"bn0": "normalises the model's input", "fc1": _OUTPUT, "fc_audioset": _OUTPUT},
    ),
    "dcase21": Case(
        of(hp.models.Dcase21Baseline, 1, 1, 40, 500),
        {"bn1": "conv1", "bn2": "conv2", "bn3": "conv3"},
        kept={"fc1": _LINEAR, "fc2": _OUTPUT},
    ),
    "crepe_tiny": Case(
        of(lambda: hp.models.Crepe((8, 6, 6, 6, 8, 10)), 2, 1024),
        {f"conv{i}_BN": f"conv{i}" for i in range(1, 7)},
    ),
    "vggish": Case(
        of(lambda: hp.models.Vggish(3, filters=(4, 6, 8, 8, 10, 10)), 1, 1, 32, 32),
        {f"features.{i}": f"features.{i}" for i in (0, 3, 6, 8, 11, 13)},
        kept={"classifier": _OUTPUT},
    ),
}


def silenced_output(case: Case, model: nn.Module, plan: hp.PruningPlan, x: torch.Tensor) -> object:
    """Run the whole model with zeros in the removed channels."""

    def removed(layer: str) -> list[int]:
        return sorted(set(range(plan.filters[layer])) - set(plan.layers[layer]))

    places = {place: removed(layer) for place, layer in case.silence.items()}
    if isinstance(model, DenselyConnected):
        places["norm2"] = removed("stem") + [5 + index for index in removed("conv1")]

    def silence(place: str) -> Callable[[nn.Module, object, torch.Tensor], torch.Tensor]:
        return lambda _, __, output: output.index_fill(1, torch.tensor(places[place]), 0.0)

    handles = [model.get_submodule(p).register_forward_hook(silence(p)) for p in places]
    with torch.no_grad():
        output = model(x)
    for handle in handles:
        handle.remove()
    return output


@pytest.mark.parametrize("name", CASES)
def test_pruned_equals_silenced(name: str) -> None:
    case = CASES[name]
    model, x = case.build()
    model, x = lively(model), x.double()
    plan = hp.plan(model, x, ratio=case.ratio)
    followers = {"up"} & set(plan.layers)  # loses the gates of the channels that go
    assert set(plan.layers) == set(case.silence.values()) | followers
    for layer, why in case.kept.items():
        assert why in plan.kept[layer], layer
    assert all(len(kept) < plan.filters[name] for name, kept in plan.layers.items())
    pruned = hp.prune(model, plan)
    with torch.no_grad():
        got, whole = tree_leaves(pruned(x)), tree_leaves(model(x))
    expected = tree_leaves(silenced_output(case, model, plan, x))
    for ours, theirs, before in zip(got, expected, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        # The removed channels did matter.
        assert not torch.allclose(before, theirs, rtol=1e-5, atol=1e-8)


def test_filters_of_one_channel_go_together() -> None:
    plan = hp.plan(Folded(), torch.randn(2, 1, 12))
    assert [len(plan.layers[name]) for name in ("first", "second")] == [8, 12]
    for name in ("first", "second"):
        channels = {index // 4 for index in plan.layers[name]}
        assert plan.layers[name] == tuple(4 * c + i for c in sorted(channels) for i in range(4))


def test_a_sum_that_is_thrown_away_couples() -> None:
    plan = hp.plan(SumsAside(), torch.randn(2, 1, 12))
    # Else that sum would work only where as many channels of each go.
    assert set(plan.records["start"].coupled) == {"blocks.0", "blocks.1", "blocks.2"}


@pytest.mark.parametrize("name", ["cnn6", "dcase21"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_pruned_known_models_export(name: str) -> None:
    model, x = CASES[name].build()
    pruned = hp.prune(model.eval(), hp.plan(model, x))
    program = torch.export.export(pruned, (x,))
    for ours, theirs in zip(tree_leaves(program.module()(x)), tree_leaves(pruned(x)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


class Centred(nn.Module):
    """All channels are mixed with all, by a normalisation written out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.after, self.head = nn.Conv1d(1, 32, 3), nn.Conv1d(32, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.head(self.after(F.relu(x - x.mean(1, keepdim=True))).mean(2))


def test_no_time_is_spent_on_telling_apart_what_all_is_mixed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = []

    def counted(*args: Any) -> list[torch.Tensor]:
        rounds.append(args)
        return random_parts(*args)

    monkeypatch.setattr(meetings, "random_parts", counted)
    plan = hp.plan(Centred(), torch.randn(1, 1, 12))
    assert plan.kept["conv"] == "is mixed with other channels before 'after' reads it"
    assert len(rounds) == 1


class Unused(nn.Module):
    """A layer that the forward pass leaves out, and one that autograd cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 4, 3), nn.Conv1d(4, 2, 3)
        self.auxiliary, self.aside = nn.Conv1d(4, 6, 3), nn.Conv1d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.conv(x)) + self.aside(x).detach().sum())


class WeightUsed(nn.Module):
    """A linear layer whose weight alone is used, as a kernel: a TDNN of wav2vec 2.0's x-vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.kernel = nn.Conv1d(1, 4, 3), nn.Linear(4 * 3, 5)
        self.head, self.classes = nn.Linear(10, 8), nn.Linear(8, 2)
        self.first, self.second = nn.Conv1d(1, 6, 3), nn.Conv1d(6, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(F.relu(self.first(x)))
        weight = self.kernel.weight.view(5, 3, 4).transpose(1, 2)
        y = F.relu(F.conv1d(F.relu(self.conv(x)), weight, self.kernel.bias))
        return self.classes(self.head(torch.cat([y.mean(2), y.std(2)], 1)))


def weight_normed() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 6, 3))
    return nn.Sequential(first, nn.ReLU(), nn.Conv1d(6, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1))


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        (Unused, {"auxiliary": "is not called by the forward pass on example_inputs"}),
        (WeightUsed, {"kernel": "is not called by the forward pass on example_inputs"}),
        (Unused, {"aside": "is not on the way from the input to an output through autograd"}),
        (weight_normed, {"0": "remove_parametrizations(layer, 'weight') first"}),
    ],
)
def test_layers_that_cannot_be_followed_or_cut(
    model: Callable[[], nn.Module], reasons: dict[str, str]
) -> None:
    plan = hp.plan(model(), torch.randn(1, 1, 12))
    assert plan.layers
    for layer, why in reasons.items():
        assert why in plan.kept[layer]


def test_one_node_that_cannot_be_reckoned_fails_no_other_group() -> None:
    model = WeightUsed().eval()
    graph = tracing.dependency_graph(model.requires_grad_(True), torch.randn(1, 1, 12))
    pruner = graph.get_pruner_of_module(model.first)
    group = graph.get_pruning_group(model.first, pruner.prune_out_channels, [0])
    assert {item.dep.target.module for item in group.items} >= {model.first, model.second}


def test_a_way_through_the_graph_that_leads_in_circles_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would take minutes behind focal modulation; here no way is short enough."""
    monkeypatch.setattr(tracing, "_LONGEST_WAY", (0, 0))
    model, x = build("residual")
    plan = hp.plan(model, x)
    assert plan.layers["stem.0"] == plan.layers["one.3"]  # the probe finds what is added


class SumsOfMany(nn.Module):
    """As many channels as asked for are added up to one."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self.together = together
        self.conv, self.after = nn.Conv1d(1, 20 * together, 3), nn.Conv1d(20, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x)).unflatten(1, (self.together, -1)).sum(1)
        return self.head(F.relu(self.after(x)).mean(2))


@pytest.mark.parametrize(("together", "most"), [(2, 150), (4, 150), (8, 250), (16, 600)])
def test_units_that_meet_are_told_apart_in_few_runs(
    together: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays = []
    replay = probe.Probe.replay

    def counted(self: probe.Probe, *args: Any) -> Any:
        replays.append(args)
        return replay(self, *args)

    monkeypatch.setattr(probe.Probe, "replay", counted)
    plan = hp.plan(SumsOfMany(together).eval(), torch.randn(1, 1, 12), ratio={"conv": 0.5})
    channels = {index % 20 for index in plan.layers["conv"]}
    assert len(channels) == 10
    assert plan.layers["conv"] == tuple(
        20 * part + channel for part in range(together) for channel in sorted(channels)
    )
    assert len(replays) < most


class Uncopyable(nn.Conv1d):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("one of a kind")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.LazyConv1d(4, 3)), "model must be initialised; '0.weight' is lazy"),
        (Uncopyable(1, 2, 3), r"model cannot be copied \(RuntimeError: one of a kind\)"),
        (nn.Conv1d(2, 2, 3), r"the model cannot run on example_inputs \(RuntimeError: "),
        (
            nn.Sequential(nn.BatchNorm1d(1), nn.Conv1d(1, 2, 3)).requires_grad_(True),
            "NaN reaches the layer '1'",
        ),
        (
            nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)),
            "the model must compute finite numbers on example_inputs; its output holds NaN",
        ),
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(0)), None),
    ],
    ids=["lazy", "uncopyable", "wrong_shape", "nan_inside", "nan_output", "fine"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_models_that_cannot_be_planned(model: nn.Module, message: str | None) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None:
            module.running_mean.fill_(torch.nan)
    x = torch.randn(1, 1, 12)
    if message is None:
        with pytest.warns(UserWarning, match="the plan changes nothing"):
            hp.plan(model, x)
        return
    with pytest.raises(ValueError, match=message):
        hp.plan(model, x)


def test_a_compiled_model_is_refused() -> None:
    compiled = nn.Conv1d(1, 2, 3)
    compiled._orig_mod = nn.Conv1d(1, 2, 3)  # what torch.compile wraps around a model
    with pytest.raises(ValueError, match=r"got a compiled one: pass model\._orig_mod"):
        hp.plan(compiled, torch.randn(1, 1, 9))


class FeedForward(nn.Module):
    """A transformer, whose feed-forward layers torch computes in one operator with the rest."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(1))


def test_feed_forward_layers_of_a_transformer_are_cut() -> None:
    torch.manual_seed(0)
    model, x = FeedForward().eval(), torch.randn(2, 5, 8)
    name = "encoder.layers.0.linear1"
    plan = hp.plan(model, x, ratio={name: 0.5})
    assert list(plan.layers) == [name]
    assert list(plan.readers) == ["encoder.layers.0.linear2"]
    assert torch.backends.mha.get_fastpath_enabled()
    pruned = hp.prune(model, plan).eval()
    linear2 = model.get_submodule("encoder.layers.0.linear2")
    removed = sorted(set(range(12)) - set(plan.layers[name]))
    linear2.weight.data[:, removed] = 0
    with torch.no_grad():
        torch.testing.assert_close(pruned(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inplace", [False, True])
def test_linear_layers_before_an_operation_in_place_are_cut(inplace: bool) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.ReLU(inplace), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)]
    plan = hp.plan(nn.Sequential(*layers).eval(), torch.randn(2, 5, 6), ratio={"0": 0.5, "2": 0.5})
    assert {name: len(kept) for name, kept in plan.layers.items()} == {"0": 4, "2": 4}


def test_autocast_around_a_plan_changes_nothing() -> None:
    model, x = CASES["cnn6"].build()
    plan = hp.plan(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert hp.plan(model, x) == plan
        assert torch.is_autocast_enabled("cpu")


class Spectrum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(self.conv(x))


def test_the_output_that_cannot_be_followed_is_named() -> None:
    with pytest.raises(ValueError, match=r"at least one floating-point .* got Tensor of complex64"):
        hp.plan(Spectrum(), torch.randn(1, 1, 12))


class Enhancer(nn.Module):
    """A mask on a spectrogram, and back to a waveform."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mask = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(32, dtype=x.dtype)
        spectrum = torch.stft(x, 32, 16, window=window, return_complex=True)
        mask = self.mask(F.relu(self.conv(torch.view_as_real(spectrum).permute(0, 3, 1, 2))))
        return torch.istft(spectrum * mask[:, 0].sigmoid(), 32, 16, window=window)


def test_a_trace_that_explodes_ends() -> None:
    # The overlaps of istft look to Torch-Pruning like ever more channels.
    torch.manual_seed(0)
    model, x = Enhancer().eval(), torch.randn(1, 256)
    plan = hp.plan(model, x)
    assert {name: len(kept) for name, kept in plan.layers.items()} == {"conv": 4}
    assert plan.kept["mask"] == _OUTPUT


# --- the proof ------------------------------------------------------------------------------------


class Chained(nn.Module):
    """Three convolutions, something done to the channels of the first, and to the scores."""

    def __init__(
        self,
        between: Callable[[torch.Tensor], torch.Tensor] = F.relu,
        after: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
        before: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
        reader: type[nn.Conv2d] = nn.Conv2d,
        depth: int = 1,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.rest = nn.Sequential()
        for number in range(depth):
            self.rest.append((nn.Conv2d if number else reader)(8, 8, 3, padding=1))
            self.rest.append(nn.ReLU())
        self.head = nn.Linear(8, 3)
        self.before, self.between, self.after = before, between, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.between(F.relu(self.first(self.before(x))))
        return self.after(self.head(self.rest(x).mean((2, 3))))


def emphasised(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, :3], 2 * x[:, 3:]], 1)


def shifted(x: torch.Tensor) -> torch.Tensor:
    """A quarter of the channels one frame on, a quarter one frame back."""
    n = x.shape[1] // 4
    back = F.pad(x[:, n : 2 * n, :-1], (0, 0, 1, 0))
    return torch.cat([F.pad(x[:, :n, 1:], (0, 0, 0, 1)), back, x[:, 2 * n :]], 1)


def divided(x: torch.Tensor) -> torch.Tensor:
    return x / x.shape[1]


def rolled(x: torch.Tensor) -> torch.Tensor:
    return x.roll(1, 1)


def deinterleaved(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, 0::2], x[:, 1::2]], 1)


def first_doubled(x: torch.Tensor) -> torch.Tensor:
    x[:, 0] *= 2
    return x


def counted(x: torch.Tensor) -> torch.Tensor:
    return x + (x > 0.01).to(x.dtype).sum(1, keepdim=True)


def silent(x: torch.Tensor) -> torch.Tensor:
    return 0 * x


def saturated(x: torch.Tensor) -> torch.Tensor:
    return (1e4 * x).softmax(1)


def planned(model: nn.Module, x: torch.Tensor) -> hp.PruningPlan:
    """Half of the filters of the first convolution, if they may go."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the plan changes nothing", UserWarning)
        return hp.plan(model.eval(), x, ratio={"first": 0.5})


_OPERATIONS = [emphasised, shifted, divided, rolled, deinterleaved, first_doubled, counted]
_IMAGE = torch.linspace(-2, 2, 64).sin().reshape(1, 1, 8, 8)


@pytest.mark.parametrize("between", _OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("example", [torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8), _IMAGE])
def test_what_depends_on_the_place_of_a_channel_is_kept(
    between: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype, example: torch.Tensor
) -> None:
    torch.manual_seed(0)
    plan = planned(Chained(between).to(dtype), example.to(dtype))
    reason = "cannot be pruned: removing its filters changes what else arrives at 'rest.0'"
    assert plan.kept["first"] == reason
    torch.manual_seed(0)
    assert len(planned(Chained().to(dtype), example.to(dtype)).layers["first"]) == 4


@pytest.mark.parametrize("after", [torch.clone, saturated, silent])
@pytest.mark.parametrize("depth", [1, 6, 12])
def test_what_the_outputs_do_not_show_is_kept(
    after: Callable[[torch.Tensor], torch.Tensor], depth: int
) -> None:
    torch.manual_seed(0)
    plan = planned(Chained(emphasised, after, depth=depth), _IMAGE)
    assert "changes what else arrives at 'rest.0'" in plan.kept["first"]
    torch.manual_seed(0)
    assert planned(Chained(after=after, depth=depth), _IMAGE).layers


def test_dead_filters_are_removed_and_hide_nothing() -> None:
    torch.manual_seed(0)
    for between, sound in ((F.relu, True), (emphasised, False)):
        model = Chained(between)
        model.first.weight.data[:7] = 0
        model.first.bias.data.fill_(-1.0)  # nothing passes the rectifier, whatever is heard
        assert bool(planned(model, _IMAGE).layers) == sound


@pytest.mark.parametrize("seed", range(20))
def test_one_filter_that_a_rectifier_stops_is_made_heard(seed: int) -> None:
    torch.manual_seed(seed)
    plan = hp.plan(Squeezed().eval(), torch.randn(1, 1, 6, 6), ratio=0.75)
    assert len(plan.layers["down"]) == 1


def dithered(x: torch.Tensor) -> torch.Tensor:
    return x + 0.1 * torch.randn_like(x)


def dithered_by_numpy(x: torch.Tensor) -> torch.Tensor:
    return x + 0.1 * np.random.standard_normal()


@pytest.mark.parametrize("before", [dithered, dithered_by_numpy])
def test_a_random_model_is_proven_with_the_same_random_numbers(
    before: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    torch.manual_seed(0)
    assert planned(Chained(before=before), _IMAGE).layers
    reason = planned(Chained(emphasised, before=before), _IMAGE).kept["first"]
    assert "the model is random in evaluation mode, and with the same random numbers" in reason
    # One number for each channel: without some of them, the others get other numbers.
    reason = planned(Chained(dithered), _IMAGE).kept["first"]
    assert "the model is random in evaluation mode, and with the same random numbers" in reason


class Normalised(nn.Conv2d):
    """Filters of length one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = self.weight.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        return self._conv_forward(x, self.weight / length, self.bias)


class Bounded(nn.Conv2d):
    """Filters that are cut to a length at every call, as in EEGNet."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.1)
        return super().forward(x)


@pytest.mark.parametrize("reader", [Normalised, Bounded])
def test_readers_that_look_at_their_own_weights(reader: type[nn.Conv2d]) -> None:
    torch.manual_seed(0)
    plan = planned(Chained(reader=reader), _IMAGE)
    assert "removing its filters changes" in plan.kept["first"]


class ByName(nn.Conv2d):
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return super().__call__(input=x)


class OnlySingle(nn.Conv2d):
    """Runs in one precision, whatever it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.dtype != torch.float32:
            raise RuntimeError("float32 only")
        half = F.conv2d(x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16(), padding=1)
        return half.to(x.dtype)


def rooted(x: torch.Tensor) -> torch.Tensor:
    return (x - 0.05).sqrt()


def refusing(x: torch.Tensor) -> torch.Tensor:
    if x.abs().max() > 0.6:
        raise RuntimeError("too loud")
    return x


@pytest.mark.parametrize(
    ("options", "x"),
    [
        ({"reader": ByName}, _IMAGE),
        ({"reader": OnlySingle}, _IMAGE),
        ({"after": refusing}, 0.1 * _IMAGE),
    ],
    ids=["by_name", "only_single", "refusing"],
)
def test_models_that_bear_less_are_proven_all_the_same(
    options: dict[str, Any], x: torch.Tensor
) -> None:
    torch.manual_seed(0)
    assert planned(Chained(**options), x).layers
    torch.manual_seed(0)
    wrong = Chained(emphasised, **options)
    assert "removing its filters changes what else arrives" in planned(wrong, x).kept["first"]


def test_what_must_be_positive_stays_positive() -> None:
    for between, sound in ((rooted, True), (lambda x: emphasised(rooted(x)), False)):
        torch.manual_seed(0)
        model = Chained(between)
        model.first.weight.data.abs_()
        model.first.bias.data.fill_(0.1)
        assert bool(planned(model, _IMAGE.abs()).layers) == sound


class AlongTime(nn.Module):
    """A linear layer that takes each channel by itself, along time: fewer rows when cut."""

    def __init__(self, between: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.time = nn.Conv1d(1, 8, 3, padding=1), nn.Linear(12, 10)
        self.head, self.between = nn.Conv1d(8, 2, 1), between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.between(self.time(F.relu(self.first(x)))))


def test_layers_that_take_each_channel_by_itself() -> None:
    torch.manual_seed(0)
    x = torch.zeros(1, 1, 12)
    assert planned(AlongTime(F.relu), x).layers
    assert "what else arrives at 'head'" in planned(AlongTime(emphasised), x).kept["first"]


class Fragile(Chained):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (self.first(x).std((2, 3)) > 0).any():
            raise RuntimeError("only silence, please")
        return super().forward(x)


def test_nothing_to_see_is_no_proof() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="nothing arrives at 'rest.0' on example_inputs by which"):
        hp.plan(Fragile().eval(), torch.zeros(1, 1, 8, 8), ratio={"first": 0.5})


def test_the_proof_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = Chained(reader=Bounded).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    attributes = [set(vars(module)) for module in model.modules()]
    planned(model, _IMAGE)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [set(vars(module)) for module in model.modules()] == attributes
