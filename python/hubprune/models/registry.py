# SPDX-License-Identifier: MIT
"""The models that are known by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from hubprune.arguments import check_count
from hubprune.models.checkpoints import StrPath
from hubprune.models.crepe import Crepe, load_crepe
from hubprune.models.dcase import Dcase21Baseline, load_dcase21
from hubprune.models.musicnn import MttVgg, load_musicnn
from hubprune.models.panns import Cnn6, Cnn10, Cnn14, load_panns
from hubprune.models.vggish import Vggish, load_vggish

__all__ = ["KNOWN_MODELS", "ModelSpec"]


@dataclass(frozen=True)
class ModelSpec:
    """A model that is known by name: how to build it, load it and feed it.

    Attributes
    ----------
    name : str
        Its name on the command line.
    description : str
        One line for a person.
    input_shape : tuple of int
        Shape of one input, without the batch.
    factory : callable
        Builds it with new weights.
    loader : callable
        Builds it from a weight file.
    packaged : callable or None
        Builds it from the weights of an installed package, where there is one.
    """

    name: str
    description: str
    input_shape: tuple[int, ...]
    factory: Callable[[], nn.Module]
    loader: Callable[[StrPath], nn.Module]
    packaged: Callable[[], nn.Module] | None = None

    def build(self) -> nn.Module:
        """Build the model with new random weights.

        Returns
        -------
        torch.nn.Module
            In training mode. Nothing is seeded: the caller's generator decides.
        """
        return self.factory()

    def example_inputs(self, batch: int = 1) -> torch.Tensor:
        """Make an input that the model takes.

        Parameters
        ----------
        batch : int, default 1
            How many.

        Returns
        -------
        torch.Tensor
            Standard normal noise, float32, shape ``(batch, *input_shape)``, on torch's default
            device; the same at every call, and the global generator is left alone.

        Raises
        ------
        TypeError, ValueError
            If `batch` is not an int of at least 1.
        """
        check_count(batch, "batch")
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, *self.input_shape, generator=generator, device="cpu")
        return x.to(torch.get_default_device())  # where the model is built

    def load(self, path: StrPath | None = None) -> nn.Module:
        """Build the model from a weight file.

        Parameters
        ----------
        path : str, os.PathLike or None
            The file. None: the weights of an installed package, for the models that have one.

        Returns
        -------
        torch.nn.Module
            In evaluation mode, on the CPU.

        Raises
        ------
        OSError
            If the file cannot be read.
        ImportError
            If a package is missing; the message says which.
        ValueError
            If there is no path and no package, or the file does not fit.
        """
        if path is not None:
            return self.loader(path)
        if self.packaged is None:
            raise ValueError(f"no package holds weights of {self.name}; pass the path of a file")
        return self.packaged()


_PANNS_INPUT = (1, 1001, 64)  # ten seconds, the length of AudioSet's clips

KNOWN_MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "cnn14",
            "PANNs CNN14, audio tagging: 12 convolutions, 80.8 million parameters",
            _PANNS_INPUT,
            Cnn14,
            functools.partial(load_panns, model="Cnn14"),
        ),
        ModelSpec(
            "cnn10",
            "PANNs CNN10, audio tagging: 8 convolutions, 5.2 million parameters",
            _PANNS_INPUT,
            Cnn10,
            functools.partial(load_panns, model="Cnn10"),
        ),
        ModelSpec(
            "cnn6",
            "PANNs CNN6, audio tagging: 4 convolutions, 4.8 million parameters",
            _PANNS_INPUT,
            Cnn6,
            functools.partial(load_panns, model="Cnn6"),
        ),
        ModelSpec(
            "dcase21",
            "DCASE 2021 Task 1A baseline, acoustic scenes: 3 convolutions, 46,118 parameters",
            (1, 40, 500),
            Dcase21Baseline,
            load_dcase21,
        ),
        ModelSpec(
            "vggish",
            "VGGish, audio embeddings: 6 convolutions, 72.1 million parameters",
            (1, 96, 64),
            Vggish,
            load_vggish,
        ),
        ModelSpec(
            "crepe-tiny",
            "CREPE tiny, pitch: 6 convolutions, 0.5 million parameters",
            (1024,),
            functools.partial(Crepe, "tiny"),
            functools.partial(load_crepe, capacity="tiny"),
            functools.partial(load_crepe, None, "tiny"),
        ),
        ModelSpec(
            "crepe-full",
            "CREPE full, pitch: 6 convolutions, 22.2 million parameters",
            (1024,),
            functools.partial(Crepe, "full"),
            functools.partial(load_crepe, capacity="full"),
            functools.partial(load_crepe, None, "full"),
        ),
        ModelSpec(
            "mtt-vgg",
            "musicnn's MTT_vgg, music tagging: 5 convolutions, 0.6 million parameters",
            (187, 96),
            MttVgg,
            load_musicnn,
            load_musicnn,
        ),
    )
}
"""Name to model, in the order in which the command line lists them."""
