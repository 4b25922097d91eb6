# SPDX-License-Identifier: MIT
"""The PANNs bodies, their front end and their checkpoints."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hubprune.models import AudioTagger, Cnn6, Cnn10, Cnn14, LogMel, PannsBody, load_panns
from hubprune.models.checkpoints import load_weights, read_checkpoint


def on_meta(body: type[PannsBody], classes_num: int = 527) -> PannsBody:
    with torch.device("meta"):
        return body(classes_num)


def randomised(body: PannsBody, seed: int = 0) -> PannsBody:
    """Batch normalisation with statistics that a wrong forward pass would show."""
    generator = torch.Generator().manual_seed(seed)
    for module in body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            shape = module.running_mean.shape  # type: ignore[union-attr]
            module.running_mean = torch.randn(shape, generator=generator) * 0.1
            module.running_var = torch.rand(shape, generator=generator) + 0.5
            module.weight.data = torch.rand(shape, generator=generator) + 0.5
            module.bias.data = torch.randn(shape, generator=generator) * 0.1
    return body.eval()


@pytest.fixture(scope="module")
def cnn6() -> PannsBody:
    torch.manual_seed(0)
    return randomised(Cnn6())


@pytest.fixture(scope="module")
def cnn14_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Cnn14 of a few kB: every tensor is one number, expanded."""
    state = {
        name: torch.full((), 0.01, dtype=value.dtype).expand(value.shape)
        for name, value in on_meta(Cnn14).state_dict().items()
    }
    path = tmp_path_factory.mktemp("panns") / "Cnn14_mAP=0.431.pth"
    torch.save({"model": state}, path)
    return path


def bn(x: torch.Tensor, state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """Batch normalisation of dimension 1, from its definition."""
    mean, var, gain, shift = (
        state[f"{name}.{entry}"].double()[:, None, None]
        for entry in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * gain + shift


def panns_reference(
    state: dict[str, torch.Tensor], x: torch.Tensor, blocks: int, pools: int, pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The papers' forward pass in float64, from the state dict alone."""
    x = bn(x.double()[:, 0].permute(0, 2, 1)[..., None], state, "bn0")
    x = x[..., 0].permute(0, 2, 1)[:, None]
    for block in range(1, blocks + 1):
        for layer in (1, 2):
            name = f"conv_block{block}.conv{layer}.weight"
            if name in state:
                x = F.conv2d(x, state[name].double(), padding=pad)
                x = bn(x, state, f"conv_block{block}.bn{layer}").clamp(min=0)
        if block <= pools:
            height, width = x.shape[2] // 2, x.shape[3] // 2
            x = x[:, :, : 2 * height, : 2 * width]
            x = x.reshape(*x.shape[:2], height, 2, width, 2).mean(dim=(3, 5))
    x = x.mean(3)
    x = x.max(2).values + x.mean(2)
    x = (x @ state["fc1.weight"].double().T + state["fc1.bias"].double()).clamp(min=0)
    logits = x @ state["fc_audioset.weight"].double().T + state["fc_audioset.bias"].double()
    return 1 / (1 + torch.exp(-logits)), x


# ---- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "parameters"), [(Cnn14, 80_753_615), (Cnn10, 5_219_279), (Cnn6, 4_837_455)]
)
def test_parameter_count(body: type[PannsBody], parameters: int) -> None:
    assert sum(p.numel() for p in on_meta(body).parameters()) == parameters


@pytest.mark.parametrize(("body", "blocks", "convs"), [(Cnn14, 6, 2), (Cnn10, 4, 2), (Cnn6, 4, 1)])
def test_state_dict_keys_are_the_official_ones(
    body: type[PannsBody], blocks: int, convs: int
) -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {f"bn0.{entry}" for entry in norm}
    for block in range(1, blocks + 1):
        for layer in range(1, convs + 1):
            expected.add(f"conv_block{block}.conv{layer}.weight")
            expected |= {f"conv_block{block}.bn{layer}.{entry}" for entry in norm}
    expected |= {f"{name}.{e}" for name in ("fc1", "fc_audioset") for e in ("weight", "bias")}
    state = on_meta(body).state_dict()
    assert set(state) == expected
    assert state["bn0.weight"].shape == (64,)
    assert state[f"conv_block{blocks}.conv1.weight"].shape[0] == 64 * 2 ** (blocks - 1)


@pytest.mark.parametrize("frames", [16, 17, 47])
def test_cnn6_forward_is_the_papers(cnn6: PannsBody, frames: int) -> None:
    x = torch.randn(2, 1, frames, 64, generator=torch.Generator().manual_seed(1)) * 20 - 40
    tags, embedding = panns_reference(cnn6.state_dict(), x, blocks=4, pools=4, pad=2)
    with torch.no_grad():
        out = cnn6(x)
    assert set(out) == {"clipwise_output", "embedding"}
    assert out["clipwise_output"].shape == (2, 527)
    assert out["embedding"].shape == (2, 512)
    torch.testing.assert_close(out["clipwise_output"].double(), tags, atol=2e-6, rtol=0)
    torch.testing.assert_close(out["embedding"].double(), embedding, atol=1e-4, rtol=1e-4)


def test_cnn10_forward_is_the_papers() -> None:
    torch.manual_seed(0)
    body = randomised(Cnn10(classes_num=5))
    x = torch.randn(1, 1, 33, 64) * 20 - 40
    tags, embedding = panns_reference(body.state_dict(), x, blocks=4, pools=4, pad=1)
    with torch.no_grad():
        out = body(x)
    torch.testing.assert_close(out["clipwise_output"].double(), tags, atol=2e-6, rtol=0)
    torch.testing.assert_close(out["embedding"].double(), embedding, atol=1e-4, rtol=1e-4)


def test_cnn14_forward_is_the_papers() -> None:
    torch.manual_seed(0)
    body = randomised(Cnn14(classes_num=3))
    x = torch.randn(1, 1, 32, 64) * 20 - 40
    tags, embedding = panns_reference(body.state_dict(), x, blocks=6, pools=5, pad=1)
    with torch.no_grad():
        out = body(x)
    assert out["embedding"].shape == (1, 2048)
    torch.testing.assert_close(out["clipwise_output"].double(), tags, atol=2e-6, rtol=0)
    torch.testing.assert_close(out["embedding"].double(), embedding, atol=1e-4, rtol=1e-4)


def test_dropout_in_training_only(dropouts: list[tuple[float, bool]]) -> None:
    body = on_meta(Cnn14)
    body(torch.zeros(1, 1, 64, 64, device="meta"))
    assert dropouts == [(p, True) for p in (*[0.2] * 6, 0.5, 0.5)]
    dropouts.clear()
    body.eval()(torch.zeros(1, 1, 64, 64, device="meta"))
    assert dropouts == [(p, False) for p in (*[0.2] * 6, 0.5, 0.5)]


def test_initialisation_is_the_authors(cnn6: PannsBody) -> None:
    fresh = Cnn6()
    weight = fresh.state_dict()["conv_block4.conv1.weight"]
    bound = math.sqrt(6 / (256 * 25 + 512 * 25))  # Glorot: fan in + fan out
    assert 0.99 * bound < weight.abs().max() <= bound
    assert not fresh.fc1.bias.any()
    assert not fresh.fc_audioset.bias.any()
    assert torch.equal(fresh.bn0.weight, torch.ones(64))


@pytest.mark.parametrize(("body", "frames"), [(Cnn14, 32), (Cnn10, 16), (Cnn6, 16)])
def test_too_few_frames(body: type[PannsBody], frames: int) -> None:
    model = on_meta(body).eval()
    message = f"at least {frames} frames for {body.__name__}; got {frames - 1}"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 1, frames - 1, 64, device="meta"))
    out = model(torch.zeros(1, 1, frames, 64, device="meta"))
    assert out["clipwise_output"].shape == (1, 527)


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 1, 64, 40), (1, 2, 64, 64), (0, 1, 64, 64)])
def test_wrong_input_shape(cnn6: PannsBody, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1, frames, 64\); got shape"):
        cnn6(torch.zeros(shape))


def test_wrong_input_kind(cnn6: PannsBody) -> None:
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor; got torch\.int64"):
        cnn6(torch.zeros(1, 1, 64, 64, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"x must be a torch\.Tensor; got ndarray"):
        cnn6(np.zeros((1, 1, 64, 64)))


def test_wrong_classes_num() -> None:
    with pytest.raises(ValueError, match="classes_num must be at least 1; got 0"):
        Cnn6(classes_num=0)
    with pytest.raises(TypeError, match="classes_num must be an int; got bool"):
        Cnn6(classes_num=True)


@pytest.mark.skipif(
    torch.__version__ < (2, 13), reason="torch.export of 2.11 cannot pool an odd number of frames"
)
def test_export_with_any_batch_and_length(cnn6: PannsBody) -> None:
    batch, frames = torch.export.Dim("batch", min=1), torch.export.Dim("frames", min=32)
    exported = torch.export.export(
        cnn6, (torch.zeros(2, 1, 64, 64),), dynamic_shapes=({0: batch, 2: frames},)
    )
    x = torch.randn(3, 1, 40, 64)
    with torch.no_grad():
        expected, got = cnn6(x), exported.module()(x)
    torch.testing.assert_close(got["clipwise_output"], expected["clipwise_output"])


# ---- front end ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def front_end() -> LogMel:
    return LogMel()


def slaney_filters() -> torch.Tensor:
    """64 triangles of unit area on Slaney's mel scale, 50 to 14000 Hz, shape (513, 64)."""

    def to_mel(hz: np.ndarray) -> np.ndarray:
        log = 15 + np.log(np.maximum(hz, 1e-9) / 1000) * 27 / np.log(6.4)
        return np.where(hz < 1000, hz * 3 / 200, log)

    def to_hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    low, high = to_mel(np.array([50.0, 14000.0]))
    edges = to_hz(np.linspace(low, high, 66))
    bins = np.arange(513)[:, None] * 32000 / 1024
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return torch.from_numpy(triangles * 2 / (edges[2:] - edges[:-2]))


def test_log_mel_against_a_plain_fourier_transform(front_end: LogMel) -> None:
    waveform = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    window = torch.hann_window(1024, periodic=True, dtype=torch.float64)
    spectrum = torch.stft(
        waveform.double(), 1024, 320, 1024, window, pad_mode="reflect", return_complex=True
    )
    mel = spectrum.abs().square().transpose(1, 2) @ slaney_filters()
    expected = 10 * torch.log10(mel.clamp(min=1e-10))[:, None]
    got = front_end(waveform)
    assert got.shape == (2, 1, 51, 64)
    # float32 transform: worst where a band holds little power; 2e-4 dB measured.
    torch.testing.assert_close(got.double(), expected, atol=2e-3, rtol=0)


def test_silence_is_the_floor(front_end: LogMel) -> None:
    assert torch.equal(front_end(torch.zeros(1, 1024)), torch.full((1, 1, 4, 64), -100.0))


def test_front_end_has_the_official_keys_and_is_frozen(front_end: LogMel) -> None:
    shapes = {name: tuple(value.shape) for name, value in front_end.state_dict().items()}
    assert shapes == {
        "spectrogram_extractor.stft.conv_real.weight": (513, 1, 1024),
        "spectrogram_extractor.stft.conv_imag.weight": (513, 1, 1024),
        "logmel_extractor.melW": (513, 64),
    }
    assert not any(parameter.requires_grad for parameter in front_end.parameters())


def test_front_end_bad_input(front_end: LogMel) -> None:
    with pytest.raises(ValueError, match="waveform must have at least 513 samples; got 512"):
        front_end(torch.zeros(1, 512))
    with pytest.raises(ValueError, match=r"waveform must have shape \(batch, samples\)"):
        front_end(torch.zeros(32000))
    with pytest.raises(TypeError, match="waveform must be a floating-point tensor"):
        front_end(torch.zeros(1, 32000, dtype=torch.int16))


def test_front_end_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchlibrosa.stft", None)
    with pytest.raises(ImportError, match=r'pip install "hubprune\[audio\]"'):
        LogMel()


def official(front_end: LogMel, body: PannsBody) -> dict[str, torch.Tensor]:
    """A state dict as the official checkpoints have it: front end and body side by side."""
    return {**front_end.state_dict(), **body.state_dict()}


def test_tagger_takes_an_official_state_dict(front_end: LogMel, cnn6: PannsBody) -> None:
    given = official(front_end, cnn6)
    names = set(given)
    tagger = AudioTagger(LogMel(), Cnn6()).eval()
    tagger.load_state_dict(given, strict=True)
    assert set(given) == names, "the caller's mapping must be left as it was"
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = cnn6(front_end(waveform))
        got = tagger(waveform)
    torch.testing.assert_close(got, expected, atol=0, rtol=0)
    tagger.load_state_dict(tagger.state_dict(), strict=True)


def test_tagger_is_strict(front_end: LogMel, cnn6: PannsBody) -> None:
    tagger = AudioTagger(front_end, Cnn6())
    given = official(front_end, cnn6)
    del given["fc1.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*body\.fc1\.bias"):
        tagger.load_state_dict(given, strict=True)
    given["fc2.bias"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*body\.fc2"):
        tagger.load_state_dict(given, strict=True)


# ---- checkpoints --------------------------------------------------------------------------------


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def assert_same_weights(got: PannsBody, expected: PannsBody) -> None:
    want = expected.state_dict()
    have = got.state_dict()
    assert set(have) == set(want)
    assert all(torch.equal(have[name], want[name]) for name in want)


@pytest.mark.parametrize("model", [None, "Cnn6", "cnn6"])
def test_load_official_layout(
    tmp_path: Path, front_end: LogMel, cnn6: PannsBody, model: str | None
) -> None:
    path = saved(tmp_path / "a.pth", {"iteration": 3, "model": official(front_end, cnn6)})
    body = load_panns(path, model)
    assert type(body) is Cnn6
    assert not body.training
    assert all(parameter.requires_grad for parameter in body.parameters())
    assert_same_weights(body, cnn6)


def test_load_bare_tagger_and_safetensors(
    tmp_path: Path, front_end: LogMel, cnn6: PannsBody
) -> None:
    from safetensors.torch import save_file

    assert_same_weights(load_panns(saved(tmp_path / "bare.pth", cnn6.state_dict())), cnn6)
    tagger = AudioTagger(front_end, cnn6)
    assert_same_weights(load_panns(saved(tmp_path / "tagger.pth", tagger.state_dict())), cnn6)
    save_file(cnn6.state_dict(), tmp_path / "plain.bin")
    assert_same_weights(load_panns(tmp_path / "plain.bin"), cnn6)


def test_load_a_training_checkpoint_with_numpy_inside(tmp_path: Path, cnn6: PannsBody) -> None:
    sampler = {"indexes": np.arange(10), "pointer": np.int64(3), "rate": np.float64(0.5)}
    path = saved(tmp_path / "a.pth", {"model": cnn6.state_dict(), "sampler": sampler})
    assert_same_weights(load_panns(path), cnn6)


def test_load_where_numpy_is_admitted_already(tmp_path: Path, cnn6: PannsBody) -> None:
    """A process that told PyTorch to rebuild NumPy arrays keeps that."""
    path = saved(tmp_path / "a.pth", {"model": cnn6.state_dict(), "rate": np.float64(0.5)})
    admitted = [np.dtype, np.dtypes.Float64DType, np.float64(0.5).__reduce__()[0]]
    with torch.serialization.safe_globals(admitted):
        assert torch.load(path, weights_only=True)["rate"] == 0.5
        assert_same_weights(load_panns(path), cnn6)


def test_load_before_num_batches_tracked(tmp_path: Path, cnn6: PannsBody) -> None:
    old = {k: v for k, v in cnn6.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert_same_weights(load_panns(saved(tmp_path / "a.pth", old)), cnn6)


def test_load_other_classes_and_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v.half() if v.is_floating_point() else v for k, v in Cnn6(7).state_dict().items()}
    body = load_panns(saved(tmp_path / "a.pth", state))
    assert body.fc_audioset.out_features == 7
    assert body.fc1.weight.dtype == torch.float32
    assert torch.equal(body.fc1.weight, state["fc1.weight"].float())


def test_load_recognises_cnn14_and_owns_its_memory(cnn14_file: Path) -> None:
    body = load_panns(cnn14_file)
    assert type(body) is Cnn14
    assert all(p.is_contiguous() and p.is_leaf for p in body.parameters())
    with torch.no_grad():
        body.fc1.weight[0, 0] = 5
    assert body.fc1.weight[0, 1].item() == pytest.approx(0.01)


def test_load_recognises_cnn10(tmp_path: Path) -> None:
    assert type(load_panns(saved(tmp_path / "a.pth", Cnn10(2).state_dict()))) is Cnn10


def test_load_names_what_does_not_fit(tmp_path: Path, cnn14_file: Path, cnn6: PannsBody) -> None:
    with pytest.raises(ValueError, match=r"does not fit Cnn6; unexpected: .* and \d+ more; wrong"):
        load_panns(cnn14_file, model="Cnn6")
    state = cnn6.state_dict()
    state["fc2.bias"] = state.pop("fc1.bias")
    state["fc1.weight"] = torch.zeros(512, 511)
    state["bn0.bias"] = torch.zeros(64, dtype=torch.int64)
    message = (
        r"a\.pth does not fit Cnn6; missing: fc1\.bias; unexpected: fc2\.bias; "
        r"wrong shape: fc1\.weight must have shape \(512, 512\), got \(512, 511\); "
        r"wrong kind: bn0\.bias must be floating point, got torch\.int64"
    )
    with pytest.raises(ValueError, match=message):
        load_panns(saved(tmp_path / "a.pth", state))


def test_load_refuses_other_models(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", torch.nn.Linear(2, 2).state_dict())
    with pytest.raises(ValueError, match=r"a\.pth is not a checkpoint of Cnn14, Cnn10 or Cnn6"):
        load_panns(path)
    with pytest.raises(ValueError, match="model must be one of Cnn14, Cnn10, Cnn6 or None; got"):
        load_panns(path, model="ResNet38")


def test_load_refuses_another_front_end(tmp_path: Path, cnn6: PannsBody) -> None:
    state = {**cnn6.state_dict(), "logmel_extractor.melW": torch.zeros(257, 64)}
    with pytest.raises(
        ValueError, match=r"melW must have shape \(513, 64\).*got shape \(257, 64\)"
    ):
        load_panns(saved(tmp_path / "Cnn14_16k.pth", state))


def test_load_the_8_and_16_khz_variants(tmp_path: Path, cnn6: PannsBody) -> None:
    path = tmp_path / "Cnn14_16k_mAP=0.438.pth"
    for rate, bins in ((16000, 257), (8000, 129)):
        front = {"logmel_extractor.melW": torch.zeros(bins, 64)}
        saved(path, {"model": {**cnn6.state_dict(), **front}})
        assert_same_weights(load_panns(path, sample_rate=rate), cnn6)
        with pytest.raises(ValueError, match=rf"\({bins}, 64\) \(pass sample_rate={rate}\)$"):
            load_panns(path)
    with pytest.raises(
        ValueError, match="sample_rate must be one of 32000, 16000, 8000; got 44100"
    ):
        load_panns(path, sample_rate=44100)


@pytest.mark.parametrize(("rate", "fmax"), [(32000, 14000), (16000, 8000), (8000, 4000)])
def test_front_end_of_each_sample_rate(rate: int, fmax: float) -> None:
    """100 frames a second, and a tone's band where librosa's filters have it."""
    librosa = pytest.importorskip("librosa")
    front = LogMel.at(rate)
    window = rate * 32 // 1000
    expected = librosa.filters.mel(sr=rate, n_fft=window, n_mels=64, fmin=50, fmax=fmax)
    got = front.state_dict()["logmel_extractor.melW"].T
    torch.testing.assert_close(got, torch.from_numpy(expected), atol=1e-7, rtol=0)
    assert front(torch.zeros(1, rate)).shape == (1, 1, 101, 64)


def test_filters_and_hidden_units(tmp_path: Path) -> None:
    """The widths of the published E-PANNs: half the filters from the fourth block on."""
    filters = [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 1024, 1024]
    with torch.device("meta"):
        body = Cnn14(filters=filters)
    assert body.conv_block4.conv1.weight.shape == (256, 256, 3, 3)
    assert body.conv_block4.bn1.weight.shape == (256,)
    assert body.fc1.weight.shape == (2048, 1024)
    count = sum(parameter.numel() for parameter in body.parameters())
    # Published: 24 million parameters. That counts the frozen front end, 2 x 513 x 1024 + 513 x 64.
    assert count + 1_083_456 == 24_289_295
    state = {
        name: torch.full((), 0.01, dtype=value.dtype).expand(value.shape)
        for name, value in body.state_dict().items()
    }
    path = saved(tmp_path / "checkpoint_closeto_.44.pt", state)
    loaded = load_panns(path)
    assert type(loaded) is Cnn14
    assert {n: v.shape for n, v in loaded.state_dict().items()} == {
        n: v.shape for n, v in state.items()
    }


def test_load_a_pruned_network_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = randomised(Cnn10(5, filters=(3, 4, 5, 6, 7, 8, 9, 10), hidden=11))
    loaded = load_panns(saved(tmp_path / "a.pth", {"model": body.state_dict()}))
    x = torch.randn(1, 1, 33, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), body(x), atol=0, rtol=0)
    assert loaded(x)["embedding"].shape == (1, 11)


def test_wrong_filters() -> None:
    with pytest.raises(ValueError, match="filters must hold 4 numbers for Cnn6; got 8"):
        Cnn6(filters=[4] * 8)
    with pytest.raises(ValueError, match=r"filters\[2\] must be at least 1; got 0"):
        Cnn6(filters=[4, 4, 0, 4])
    with pytest.raises(ValueError, match="hidden must be at least 1; got 0"):
        Cnn6(hidden=0)


# ---- hostile files ------------------------------------------------------------------------------


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_a_pickle_never_runs(tmp_path: Path, cnn6: PannsBody, legacy: bool, beside: bool) -> None:
    bomb = Bomb(tmp_path / "ran")
    content = {"model": {"bn0.weight": torch.zeros(1)}, "sampler": bomb} if beside else bomb
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"a\.pth is not a plain .* pickled objects are never run"):
        load_panns(path)
    assert not bomb.target.exists()


def test_a_whole_pickled_model_is_refused(tmp_path: Path, cnn6: PannsBody) -> None:
    with pytest.raises(ValueError, match="pickled objects are never run"):
        load_panns(saved(tmp_path / "a.pth", cnn6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must hold a state dict, or one under 'model' or 'state_dict'; got list"),
        ({}, "must hold a state dict.*got an empty one"),
        ({"a": 3}, "every entry of a state dict must be a tensor; 'a' is a int"),
        ({3: torch.zeros(1)}, "every entry of a state dict must be a tensor; 3 is a Tensor"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "'a' must be a dense, unquantised tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse.* invariant")  # of torch 2.11 and 2.15
def test_content_that_is_no_state_dict(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_panns(saved(tmp_path / "a.pth", content))


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 not a zip", b"garbage" * 9, b"\x80\x02}", bytes(64)]
)
def test_damaged_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.pth is not a .*PyTorch checkpoint"):
        load_panns(path)


def test_names_of_data_parallel(tmp_path: Path, cnn6: PannsBody) -> None:
    wrapped = torch.nn.DataParallel(cnn6)
    path = saved(tmp_path / "a.pth", {"model": wrapped.state_dict()})
    assert_same_weights(load_panns(path), cnn6)
    fresh = torch.nn.DataParallel(Cnn6())
    load_weights(fresh, read_checkpoint(path), "a.pth")  # a model whose own names begin so
    assert_same_weights(fresh.module, cnn6)


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b'{"a"')
    with pytest.raises(ValueError, match=r"a\.safetensors is not a safetensors file"):
        load_panns(path)


def test_truncated_checkpoint(tmp_path: Path, cnn6: PannsBody) -> None:
    path = saved(tmp_path / "a.pth", cnn6.state_dict())
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match=r"a\.pth is not a PyTorch checkpoint that can be read"):
        load_panns(path)


def test_keras_weights_are_told_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npy is a npy file of Keras weights; expected a Py"):
        load_panns(tmp_path / "a.npy")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_panns(tmp_path / "none.pth")
    with pytest.raises(IsADirectoryError):
        load_panns(tmp_path)
