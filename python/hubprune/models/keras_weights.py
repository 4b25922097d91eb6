# SPDX-License-Identifier: MIT
"""The weight list of a Keras model, taken array by array into PyTorch's layout."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import torch

from hubprune.models.checkpoints import StrPath
from hubprune.models.keras_files import read_keras_weights

__all__ = ["KerasWeights", "conv_weight", "dense_weight"]


def conv_weight(kernel: npt.NDArray[np.float32]) -> torch.Tensor:
    """Turn a Keras convolution kernel into PyTorch's layout.

    Parameters
    ----------
    kernel : numpy.ndarray
        Shape (*kernel, in, out): H W I O in two dimensions.

    Returns
    -------
    torch.Tensor
        float32, shape (out, in, *kernel), its own memory.

    Examples
    --------
    >>> conv_weight(np.zeros((7, 5, 3, 2), np.float32)).shape
    torch.Size([2, 3, 7, 5])
    """
    spatial = kernel.ndim - 2
    return torch.tensor(kernel.transpose(spatial + 1, spatial, *range(spatial)))


def dense_weight(kernel: npt.NDArray[np.float32], positions: int = 1) -> torch.Tensor:
    """Turn a Keras dense kernel into PyTorch's layout.

    Parameters
    ----------
    kernel : numpy.ndarray
        Shape (in, out).
    positions : int, default 1
        Height times width of the feature maps where the layer follows a flatten: Keras flattens
        height, width, channels, PyTorch channels, height, width. 1 where there is no flatten.

    Returns
    -------
    torch.Tensor
        float32, shape (out, in), its own memory.

    Examples
    --------
    >>> dense_weight(np.array([[0.], [10.], [1.], [11.]], np.float32), positions=2).tolist()
    [[0.0, 1.0, 10.0, 11.0]]
    """
    weight = torch.tensor(kernel.T)
    out, columns = weight.shape
    blocks = weight.reshape(out, positions, columns // positions)
    return blocks.transpose(1, 2).flatten(1).contiguous()


class KerasWeights:
    """A weight list that is taken from the front, array by array, each checked on the way.

    Parameters
    ----------
    path : str or os.PathLike
        As for `read_keras_weights`.

    Raises
    ------
    OSError, ImportError, ValueError
        As `read_keras_weights`.
    """

    def __init__(self, path: StrPath) -> None:
        self.source = os.fspath(path)
        self._arrays = read_keras_weights(path)
        self._taken = 0

    def __len__(self) -> int:
        """How many arrays the file holds."""
        return len(self._arrays)

    def take(self, role: str, shape: tuple[int | None, ...]) -> npt.NDArray[np.float32]:
        """Take the next array.

        Parameters
        ----------
        role : str
            What it has to be, for the message: ``"conv2 kernel"``.
        shape : tuple of int or None
            None stands for any size of at least 1.

        Returns
        -------
        numpy.ndarray
            float32.

        Raises
        ------
        ValueError
            If there is none left or its shape differs.
        """
        number = self._taken + 1
        if number > len(self._arrays):
            raise ValueError(
                f"{self.source} holds {len(self._arrays)} arrays; {role} is missing, expected as "
                f"array {number}"
            )
        array = self._arrays[self._taken]
        have = array.values.shape
        fits = len(have) == len(shape) and all(
            got >= 1 if want is None else got == want for got, want in zip(have, shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            label = f"array {number}"
            if array.name != label:
                label = f"{label} ({array.name!r})"
            raise ValueError(
                f"{self.source}: {label}, the {role}, must have shape ({wanted}); got shape {have}"
            )
        self._taken = number
        return array.values

    def take_conv(
        self, name: str, kernel: tuple[int, ...], in_channels: int
    ) -> dict[str, torch.Tensor]:
        """Take a convolution's kernel and bias.

        Parameters
        ----------
        name : str
            The layer's name in the PyTorch model.
        kernel : tuple of int
            Its spatial sizes.
        in_channels : int
            Its input channels; the number of filters is read from the file.

        Returns
        -------
        dict of str to torch.Tensor
            ``{name}.weight`` (filters, in_channels, *kernel) and ``{name}.bias`` (filters,).

        Raises
        ------
        ValueError
            As `take`.
        """
        values = self.take(f"{name} kernel", (*kernel, in_channels, None))
        bias = self.take(f"{name} bias", (values.shape[-1],))
        return {f"{name}.weight": conv_weight(values), f"{name}.bias": torch.tensor(bias)}

    def take_batch_norm(self, name: str, channels: int) -> dict[str, torch.Tensor]:
        """Take gamma, beta, moving mean and moving variance of a batch normalisation.

        Parameters
        ----------
        name : str
            The layer's name in the PyTorch model.
        channels : int
            Its channels.

        Returns
        -------
        dict of str to torch.Tensor
            The four entries of a PyTorch batch normalisation, each (channels,).

        Raises
        ------
        ValueError
            As `take`.
        """
        roles = {
            "weight": "gamma",
            "bias": "beta",
            "running_mean": "moving mean",
            "running_var": "moving variance",
        }
        return {
            f"{name}.{entry}": torch.tensor(self.take(f"{name} {role}", (channels,)))
            for entry, role in roles.items()
        }

    def take_dense(
        self, name: str, in_features: int, out_features: int | None = None, positions: int = 1
    ) -> dict[str, torch.Tensor]:
        """Take a dense layer's kernel and bias.

        Parameters
        ----------
        name : str
            The layer's name in the PyTorch model.
        in_features : int
            Its inputs.
        out_features : int or None
            Its outputs; None reads them from the file.
        positions : int, default 1
            As for `dense_weight`.

        Returns
        -------
        dict of str to torch.Tensor
            ``{name}.weight`` (out, in) and ``{name}.bias`` (out,).

        Raises
        ------
        ValueError
            As `take`.
        """
        values = self.take(f"{name} kernel", (in_features, out_features))
        bias = self.take(f"{name} bias", (values.shape[1],))
        return {
            f"{name}.weight": dense_weight(values, positions),
            f"{name}.bias": torch.tensor(bias),
        }

    def finish(self) -> None:
        """Make sure that nothing is left.

        Raises
        ------
        ValueError
            If there are arrays that no layer took.
        """
        if self._taken != len(self._arrays):
            raise ValueError(
                f"{self.source} holds {len(self._arrays)} arrays; expected {self._taken}, the "
                f"first left over is {self._arrays[self._taken].name!r}"
            )
