# SPDX-License-Identifier: MIT
"""Which channels belong together: proven by silencing, at places written down by hand.

The pruned network must compute what the whole one computes with zeros in the removed channels.
Where the zeros have to stand is stated here network by network, so that the analysis is checked
and not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

import hubprune as hp
from networks import NETWORKS, lively

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
        NETWORKS["front_end"], {"conv": "conv"}, kept={"stft": "front end: its parameters are"}
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


@pytest.mark.parametrize("name", ["cnn6", "dcase21"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_pruned_known_models_export(name: str) -> None:
    model, x = CASES[name].build()
    pruned = hp.prune(model.eval(), hp.plan(model, x))
    program = torch.export.export(pruned, (x,))
    for ours, theirs in zip(tree_leaves(program.module()(x)), tree_leaves(pruned(x)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


class Unused(nn.Module):
    """A layer that the forward pass leaves out, and one that autograd cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 4, 3), nn.Conv1d(4, 2, 3)
        self.auxiliary, self.aside = nn.Conv1d(4, 6, 3), nn.Conv1d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.conv(x)) + self.aside(x).detach().sum())


def weight_normed() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 6, 3))
    return nn.Sequential(first, nn.ReLU(), nn.Conv1d(6, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1))


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        (Unused, {"auxiliary": "is not used by the forward pass on example_inputs"}),
        (Unused, {"aside": "is not on the way from the input to an output through autograd"}),
        (weight_normed, {"0": "is parametrized (torch.nn.utils.parametrize)"}),
    ],
)
def test_layers_that_cannot_be_followed_or_cut(
    model: Callable[[], nn.Module], reasons: dict[str, str]
) -> None:
    plan = hp.plan(model(), torch.randn(1, 1, 12))
    assert plan.layers
    for layer, why in reasons.items():
        assert why in plan.kept[layer]


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
