# SPDX-License-Identifier: MIT
"""The peers that only the full suite runs; the others are `hubprune.bench`'s own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from hubprune.bench import rank1_gram

__all__ = ["fpgm_torch", "published", "rank1_gram", "torch_pruning_fpgm"]


def published(shapes: Sequence[Sequence[int]]) -> Callable[[Any], list[np.ndarray]]:
    """The published method in NumPy and NetworkX: loops over pairs, a full SVD per filter.

    For small layers: it takes minutes on wide ones.
    """
    # Not at the top: gpu_table.py imports this file where neither tests/ nor NetworkX may be.
    from published import published_degree, published_filter_vectors

    def run(pair: Any) -> list[np.ndarray]:
        return [published_degree(published_filter_vectors(w.numpy())) for w in pair[1]]

    assert max(shape[0] for shape in shapes) <= 128
    return run


def fpgm_torch(layers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The geometric-median criterion in torch: minus the sum of distances to all other filters."""
    return [-torch.cdist(w.flatten(1), w.flatten(1)).sum(1) for w in layers]


def torch_pruning_fpgm(modules: nn.ModuleList) -> Callable[[], list[torch.Tensor]]:
    """Torch-Pruning's FPGMImportance of every convolution's filters.

    It sums distances of squared weights: not the criterion of the paper, nor of the others here.
    The dependency graphs are built here, outside the time.
    """
    import torch_pruning as tp

    groups = []
    for module in modules:
        assert isinstance(module, nn.Conv2d)
        example = torch.zeros(1, module.in_channels, *module.kernel_size)
        graph = tp.DependencyGraph().build_dependency(nn.Sequential(module), example)
        every = list(range(module.out_channels))
        groups.append(graph.get_pruning_group(module, tp.prune_conv_out_channels, idxs=every))
    importance = tp.importance.FPGMImportance(normalizer=None)
    return lambda: [importance(group) for group in groups]
