# SPDX-License-Identifier: MIT
"""VGGish, its heads and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import hubprune as hp
from hubprune.models import Vggish, load_vggish

SMALL = (3, 4, 5, 6, 7, 8)
CONVS = (0, 3, 6, 8, 11, 13)


def reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The convolutions and dense layers in float64, flattened as TensorFlow does."""
    x = x.double()
    for index in CONVS:
        weight, bias = (state[f"features.{index}.{e}"].double() for e in ("weight", "bias"))
        x = F.conv2d(x, weight, bias, padding=1).clamp(min=0)
        if index in (0, 3, 8, 13):
            height, width = x.shape[2] // 2, x.shape[3] // 2
            x = x.reshape(*x.shape[:2], height, 2, width, 2).amax(dim=(3, 5))
    x = x.permute(0, 2, 3, 1).reshape(len(x), -1)  # height, width, channels
    for index in range(0, 5, 2):
        if f"embeddings.{index}.weight" in state:
            weight = state[f"embeddings.{index}.weight"].double()
            x = (x @ weight.T + state[f"embeddings.{index}.bias"].double()).clamp(min=0)
    if "classifier.weight" in state:
        x = x @ state["classifier.weight"].double().T + state["classifier.bias"].double()
    return x


def test_official_keys_shapes_and_count() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Vggish().state_dict().items()}
    widths = (64, 128, 256, 256, 512, 512)
    expected: dict[str, tuple[int, ...]] = {}
    before = 1
    for index, width in zip(CONVS, widths, strict=True):
        expected[f"features.{index}.weight"] = (width, before, 3, 3)
        expected[f"features.{index}.bias"] = (width,)
        before = width
    for index, (inputs, units) in zip(
        (0, 2, 4), ((512 * 24, 4096), (4096, 4096), (4096, 128)), strict=True
    ):
        expected[f"embeddings.{index}.weight"] = (units, inputs)
        expected[f"embeddings.{index}.bias"] = (units,)
    assert shapes == expected
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 72_141_184


@pytest.mark.parametrize(("classes", "head"), [(None, None), (None, "embedding"), (10, "scenes")])
def test_forward_flattens_channels_last(classes: int | None, head: str | None) -> None:
    torch.manual_seed(0)
    model = Vggish(classes, head=head, filters=SMALL).eval()
    x = torch.randn(2, 1, 96, 64)
    expected = reference(model.state_dict(), x)
    with torch.no_grad():
        got = model(x)
    assert got.shape == (2, classes or 128)
    assert expected.std() > 1e-3
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=1e-5)


def test_state_dict_round_trip_is_exact() -> None:
    torch.manual_seed(0)
    model, other = Vggish(filters=SMALL), Vggish(filters=SMALL)
    published = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(published)
    stored = model.state_dict()
    assert all(torch.equal(stored[name], published[name]) for name in published)
    assert stored["embeddings.0.weight"].is_contiguous()
    other.load_state_dict(stored, assign=True)
    x = torch.randn(1, 1, 96, 64)
    assert torch.equal(model(x), other(x))


def test_the_last_convolution_can_be_cut() -> None:
    """Its channels lie 8 columns apart in the first dense layer, 24 times."""
    torch.manual_seed(0)
    model = Vggish(filters=SMALL).eval()
    x = torch.rand(1, 1, 96, 64)
    plan = hp.plan(model, x, ratio={"features.13": 0.25})
    assert len(plan.layers["features.13"]) == 6
    removed = sorted(set(range(8)) - set(plan.layers["features.13"]))
    pruned = hp.prune(model, plan)
    assert pruned.embeddings[0].in_features == 6 * 24
    with torch.no_grad():
        features = model.features(x)
        features[:, removed] = 0
        expected = model.embeddings(features.permute(0, 2, 3, 1).flatten(1))
        torch.testing.assert_close(pruned(x), expected)


def test_pooled_head() -> None:
    torch.manual_seed(0)
    model = Vggish(classes=7, filters=SMALL).eval()
    assert model.head == "pooled"
    x = torch.randn(2, 1, 40, 33)
    maps = model.features(x)
    expected = maps.mean(dim=(2, 3)) @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(model(x), expected)
    with pytest.raises(ValueError, match="at least 16 frames and 16 mel bands; got shape"):
        model(torch.zeros(1, 1, 15, 64))
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1, frames, mel bands\)"):
        model(torch.zeros(1, 96, 64))


def test_errors() -> None:
    with pytest.raises(ValueError, match="head must be one of embedding, scenes, pooled or None"):
        Vggish(head="other")
    with pytest.raises(ValueError, match="the embedding head has no classes; got classes=3"):
        Vggish(3, head="embedding")
    with pytest.raises(ValueError, match="head 'scenes' needs classes"):
        Vggish(head="scenes", filters=SMALL)
    with pytest.raises(ValueError, match="classes must be at least 1; got 0"):
        Vggish(0, filters=SMALL)
    with pytest.raises(ValueError, match="filters must hold six numbers; got 2"):
        Vggish(filters=(1, 2))
    with pytest.raises(TypeError, match=r"filters\[5\] must be an int; got str"):
        Vggish(filters=(1, 2, 3, 4, 5, "6"))  # type: ignore[arg-type]
    with torch.device("meta"):
        model = Vggish(filters=SMALL)
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1, 96, 64\); got shape"):
        model(torch.zeros(1, 1, 64, 96))


@pytest.mark.parametrize("classes", [None, 4])
def test_export(classes: int | None) -> None:
    torch.manual_seed(0)
    model = Vggish(classes, filters=SMALL).eval()
    x = torch.randn(3, 1, 96, 64)
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(exported.module()(x), model(x))


@pytest.mark.parametrize(("classes", "head"), [(None, "embedding"), (3, "scenes"), (3, "pooled")])
def test_load_a_state_dict(tmp_path: Path, classes: int | None, head: str) -> None:
    torch.manual_seed(0)
    model = Vggish(classes, head=head, filters=SMALL).eval()
    torch.save(model.state_dict(), tmp_path / "a.pth")
    loaded = load_vggish(tmp_path / "a.pth")
    assert loaded.head == head
    assert not loaded.training
    x = torch.randn(1, 1, 96, 64)
    assert torch.equal(loaded(x), model(x))


def test_load_the_published_weight_list(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: list[Any] = []
    before = 1
    for width in SMALL:
        arrays += [rng.normal(size=(3, 3, before, width)) / 3, rng.normal(size=width)]
        before = width
    for inputs, units in ((before * 24, 4096), (4096, 128), (128, 10)):
        arrays += [rng.normal(size=(inputs, units)) / np.sqrt(inputs), rng.normal(size=units)]
    objects = np.empty(len(arrays), dtype=object)
    objects[:] = [array.astype("f4") for array in arrays]
    np.save(tmp_path / "best_weights_VGGish.npy", objects, allow_pickle=True)
    model = load_vggish(tmp_path / "best_weights_VGGish.npy")
    state = {
        f"features.{index}.{entry}": torch.from_numpy(np.float32(array))
        for number, index in enumerate(CONVS)
        for entry, array in (
            ("weight", arrays[2 * number].transpose(3, 2, 0, 1)),
            ("bias", arrays[2 * number + 1]),
        )
    }
    for name, number in (("embeddings.0", 12), ("embeddings.2", 14), ("classifier", 16)):
        state[f"{name}.weight"] = torch.from_numpy(np.float32(arrays[number].T))
        state[f"{name}.bias"] = torch.from_numpy(np.float32(arrays[number + 1]))
    x = torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = model(x)
    torch.testing.assert_close(got.double(), reference(state, x), atol=1e-4, rtol=1e-4)
    np.save(tmp_path / "short.npy", objects[:16], allow_pickle=True)
    with pytest.raises(ValueError, match="holds 16 arrays; classifier kernel is missing"):
        load_vggish(tmp_path / "short.npy")


def test_load_names_what_does_not_fit(tmp_path: Path) -> None:
    state = Vggish(classes=3, filters=SMALL).state_dict()
    state["features.3.weight"] = torch.zeros(4, 9, 3, 3)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"features\.3\.weight must have shape \(4, 3, 3, 3\), got"
    ):
        load_vggish(tmp_path / "a.pth")
    torch.save({"x": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"b\.pth does not fit Vggish; missing: embeddings\.0"):
        load_vggish(tmp_path / "b.pth")
