# SPDX-License-Identifier: MIT
"""Small networks with every structure that surgery must get right."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Network = Callable[[], tuple[nn.Module, torch.Tensor]]


def lively(model: nn.Module) -> nn.Module:
    """Give batch normalisation statistics and scales that are not the identity; float64, eval."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                values = torch.rand(tensor.shape, generator=generator) + 0.5
                tensor.data = values
    return model.double().eval()


def block(c: int, n: int, kernel: int = 3, **options: int) -> list[nn.Module]:
    return [nn.Conv2d(c, n, kernel, padding=kernel // 2, **options), nn.BatchNorm2d(n), nn.ReLU()]


def flattened() -> tuple[nn.Module, torch.Tensor]:
    """DCASE-like: two inputs of the dense layer per channel."""
    body = [*block(1, 8), nn.MaxPool2d(2), *block(8, 12), nn.AdaptiveAvgPool2d((2, 1))]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(24, 5)), torch.randn(2, 1, 8, 6)


class ChannelsLast(nn.Module):
    """The flatten of TensorFlow: the columns of one channel are not neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 6, 3)
        self.dense = nn.Linear(6 * 4 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv(x))))
        return self.dense(x.permute(0, 2, 3, 1).flatten(1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*block(1, 8))
        self.one = nn.Sequential(*block(8, 12), nn.Conv2d(12, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.two = nn.Sequential(*block(8, 10), nn.Conv2d(10, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.one(x))
        x = torch.relu(x + self.two(x))
        return self.head(x.mean((2, 3)))


class Concatenated(nn.Module):
    """DenseNet-like and inception-like."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 6, 3, padding=1)
        self.b = nn.Conv2d(7, 5, 3, padding=1)
        self.c = nn.Conv2d(12, 8, 1)
        self.norm = nn.BatchNorm2d(11)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Conv2d(10, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.relu(self.a(x))
        b = torch.relu(self.b(torch.cat([x, a], 1)))
        x = torch.relu(self.c(torch.cat([x, self.norm(torch.cat([a, b], 1))], 1)))
        return self.head(torch.cat([self.left(x), self.right(x)], 1).relu())


def grouped() -> tuple[nn.Module, torch.Tensor]:
    body = [*block(1, 8), *block(8, 12, groups=4), *block(12, 6, groups=2)]
    return nn.Sequential(*body, nn.Conv2d(6, 3, 1)), torch.randn(2, 1, 6, 6)


def depthwise() -> tuple[nn.Module, torch.Tensor]:
    body = [*block(1, 8), *block(8, 8, groups=8), *block(8, 12, 1)]
    return nn.Sequential(*body, nn.Conv2d(12, 3, 1)), torch.randn(2, 1, 6, 6)


def one_dimensional() -> tuple[nn.Module, torch.Tensor]:
    body = [nn.Conv1d(2, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 6, 3), nn.PReLU(6)]
    return nn.Sequential(
        *body, nn.AdaptiveMaxPool1d(3), nn.Flatten(), nn.Linear(18, 4)
    ), torch.randn(2, 2, 20)


def three_dimensional() -> tuple[nn.Module, torch.Tensor]:
    body = [nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.Conv3d(6, 4, 2)]
    return nn.Sequential(*body, nn.ReLU(), nn.Conv3d(4, 2, 1)), torch.randn(1, 1, 4, 5, 4)


def transposed() -> tuple[nn.Module, torch.Tensor]:
    body = [*block(1, 8), nn.ConvTranspose2d(8, 6, 2, stride=2), nn.ReLU()]
    return nn.Sequential(
        *body, nn.ConvTranspose2d(6, 4, 3, groups=2), nn.Conv2d(4, 2, 1)
    ), torch.randn(2, 1, 5, 5)


class Tagger(nn.Module):
    """PANNs-like: input normalisation over mel bands, an embedding among the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(10)
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.fc1 = nn.Linear(12, 12)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x)).mean(3)
        x = x.amax(2) + x.mean(2)
        embedding = torch.relu(self.fc1(x))
        return {"clipwise_output": torch.sigmoid(self.fc(embedding)), "embedding": embedding}


class Twice(nn.Module):
    """One convolution called twice: its input and its output are coupled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.again(x))
        return self.head(torch.relu(self.again(x)))


class LayerNormed(nn.Module):
    """Normalisation across channels mixes them: nothing before it can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.after = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(torch.relu(self.after(x)))


class FrontEnd(nn.Module):
    """A frozen spectrogram-like convolution in front."""

    def __init__(self) -> None:
        super().__init__()
        self.stft = nn.Conv1d(1, 10, 8, stride=4)
        self.stft.requires_grad_(False)
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(self.stft(x).square()[:, None])))


class Recurrent(nn.Module):
    """Layers without filters: a recurrent one that reads a convolution, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.gru = nn.GRU(8, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.attention = nn.MultiheadAttention(10, 2, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.gru(torch.relu(self.norm(self.conv(x))).transpose(1, 2))[0]
        return self.head(self.attention(x, x, x)[0])


def recurrent() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Recurrent().eval(), torch.randn(1, 2, 7)


def sequence_of(model: Callable[[], nn.Module], *shape: int) -> Network:
    return lambda: (model(), torch.randn(shape))


#: Every network whose convolutions can be cut, by name.
NETWORKS: dict[str, Network] = {
    "flattened": flattened,
    "channels_last": sequence_of(ChannelsLast, 2, 1, 8, 6),
    "residual": sequence_of(Residual, 2, 1, 6, 6),
    "concatenated": sequence_of(Concatenated, 2, 1, 6, 6),
    "grouped": grouped,
    "depthwise": depthwise,
    "one_dimensional": one_dimensional,
    "three_dimensional": three_dimensional,
    "transposed": transposed,
    "tagger": sequence_of(Tagger, 2, 1, 12, 10),
    "twice": sequence_of(Twice, 2, 1, 6, 6),
    "layer_normed": sequence_of(LayerNormed, 2, 1, 6, 6),
    "front_end": sequence_of(FrontEnd, 2, 1, 40),
}


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return a network and its input, in float64, lively and in evaluation mode."""
    torch.manual_seed(0)
    model, x = NETWORKS[name]()
    return lively(model), x.double()
