# SPDX-License-Identifier: MIT
"""The layers the benchmarks are named by: weight shapes (filters, channels, *kernel)."""

from __future__ import annotations

from hubprune.bench import CNN14

__all__ = ["CNN14", "CNN14_SHAPES", "CREPE_FULL_CONV2", "DCASE21_SHAPES", "VGGISH_SHAPES"]

# PANNs Cnn14 (Kong et al., 2020): twelve 3x3 convolutions.
CNN14_SHAPES = [(n, c, 3, 3) for n, c in CNN14]
# VGGish (Hershey et al., 2017): six.
VGGISH_SHAPES = [
    (n, c, 3, 3) for n, c in ((64, 1), (128, 64), (256, 128), (256, 256), (512, 256), (512, 512))
]
# The DCASE 2021 task 1 baseline: three 7x7 convolutions.
DCASE21_SHAPES = [(16, 1, 7, 7), (16, 16, 7, 7), (32, 16, 7, 7)]
# CREPE, full capacity (Kim et al., 2018). Its first layer has one channel: 1024 filters of 512 x 1.
CREPE_FULL_CONV2 = (128, 1024, 64, 1)
