# SPDX-License-Identifier: MIT
"""Scoring a layer or a model by the name of a scorer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ..arguments import Array, as_tensor, check_choice, unknown_layer_text
from ..model_runs import evaluating
from .base import Contribution, Scorer
from .graph import Betweenness, Closeness, Eigenvector, WeightedDegree
from .landmarks import Landmarks, Random
from .norms import GeometricMedian, L1Norm, L2Norm, OperatorNorm
from .pairs import ClosestPairs
from .scores import Scores

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NAMES_SHOWN = 4

_SCORERS: dict[str, Callable[[], Scorer]] = {
    scorer.name: scorer
    for scorer in (
        WeightedDegree,
        Eigenvector,
        Betweenness,
        Closeness,
        ClosestPairs,
        L1Norm,
        L2Norm,
        GeometricMedian,
        Landmarks,
        OperatorNorm,
        Random,
    )
}

#: The names `score` and `plan` understand.
SCORER_NAMES: tuple[str, ...] = tuple(_SCORERS)


def make_scorer(scorer: str | Scorer) -> Scorer:
    """Return a scorer from its name, or the scorer itself.

    Raises
    ------
    TypeError, ValueError
        For something else; for an unknown name.
    """
    if isinstance(scorer, Scorer):
        return scorer
    if not isinstance(scorer, str):
        raise TypeError(
            f"scorer must be a name or a hubprune.scorers.Scorer; got {type(scorer).__name__}"
        )
    check_choice(scorer, SCORER_NAMES, "scorer")
    return _SCORERS[scorer]()


def filter_weight(module: nn.Module) -> torch.Tensor:
    """Return a layer's weight as ``(n, c, *kernel)``, output filters first.

    A transposed convolution stores ``(c, n / groups, *kernel)``; its filters are brought to the
    front. A linear layer is (n, c).

    Raises
    ------
    TypeError
        For a module without filters.
    """
    if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
        return _read_weight(module)
    if isinstance(module, _TRANSPOSED):
        weight = _read_weight(module)
        groups, kernel = module.groups, weight.shape[2:]
        grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], *kernel)
        return grouped.transpose(1, 2).reshape(-1, weight.shape[0] // groups, *kernel)
    raise TypeError(
        "expected a convolution (1-d to 3-d, transposed or not) or a linear layer; got "
        f"{type(module).__name__}"
    )


def _read_weight(module: Any) -> torch.Tensor:
    """The weight; of a parametrised layer as in evaluation: in training, reading it may change it.

    (Spectral norm takes a step of its power iteration each time.)
    """
    if module.training and is_parametrized(module):
        with evaluating(module):
            return module.weight.detach()  # type: ignore[no-any-return]
    return module.weight.detach()  # type: ignore[no-any-return]


def score(
    weight_or_module: Array | nn.Module,
    scorer: str | Scorer = "degree",
    *,
    name: str | None = None,
    scale: torch.Tensor | None = None,
) -> Scores:
    r"""Score the filters of one layer.

    Parameters
    ----------
    weight_or_module : tensor, array or nn.Module
        A weight of shape (n, c, \*kernel), or a convolution (transposed ones score dim 1) or linear
        layer.
    scorer : str or Scorer
        One of `SCORER_NAMES`, such as "degree", or a configured instance.
    name : str, optional
        The layer's name, for messages.
    scale : tensor, shape (n,), optional
        What each filter contributes beyond its weight, for "landmarks"; `plan` finds it out.

    Returns
    -------
    Scores

    Raises
    ------
    TypeError
        For another type or dtype, or a module without filters.
    ValueError
        For an empty weight, an unknown scorer, weights that are not finite (the first bad filter
        is named), or a scale that is not finite, negative or of another shape.

    Notes
    -----
    Rank-1 vectors and their graph are computed in float64, so the order is that of the formulas;
    flattened filters keep their dtype (orders agree where redundancies differ by more than 1e-6).

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> weight = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1e-9, 1e-9]])
    >>> scores = hp.score(weight)
    >>> scores.order, scores.dead
    (tensor([3, 1, 0, 2]), tensor([3]))
    """
    if isinstance(weight_or_module, nn.Module):
        weight = _layer_weight(weight_or_module, name)
        as_tensor(weight, "weight" if name is None else f"layer {name!r}: weight")
    else:
        weight = as_tensor(weight_or_module, "weight")
    contribution = _own_contribution(weight_or_module)
    if scale is not None:
        if not isinstance(scale, torch.Tensor):
            raise TypeError(f"scale must be a torch.Tensor; got {type(scale).__name__}")
        if scale.shape != weight.shape[:1]:
            raise ValueError(
                f"scale must have shape ({weight.shape[0]},), one entry a filter; got shape "
                f"{tuple(scale.shape)}"
            )
        if not bool(((scale >= 0.0) & scale.isfinite()).all()):
            raise ValueError("scale must be finite and not negative")
        contribution = replace(contribution, scale=scale.to(weight.device))
    return make_scorer(scorer).score(weight, name=name, contribution=contribution)


def score_model(
    model: nn.Module, scorer: str | Scorer = "degree", layers: Iterable[str] | None = None
) -> dict[str, Scores]:
    """Score the layers of a model.

    Parameters
    ----------
    model : nn.Module
        Any model.
    scorer : str or Scorer
        As in `score`.
    layers : iterable of str, optional
        Qualified names. Default: every convolution, transposed ones too; linear layers only where
        they are named here.

    Returns
    -------
    dict of str to Scores
        By layer name, in the model's order (or that of `layers`).

    Raises
    ------
    TypeError, ValueError
        As `score`; ValueError for a name the model does not have, or a model without convolutions.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    >>> list(hp.score_model(model))
    ['0']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    rule = make_scorer(scorer)
    modules = dict(model.named_modules())
    if layers is None:
        names = [key for key, m in modules.items() if isinstance(m, (*_CONVOLUTIONS, *_TRANSPOSED))]
        if not names:
            raise ValueError("model has no convolution to score; name its linear layers in layers=")
    else:
        names = [layers] if isinstance(layers, str) else list(layers)
        for key in names:
            if key not in modules:
                raise ValueError(unknown_layer_text("the model", key, modules))
    weights = [_layer_weight(modules[key], key) for key in names]
    for key, weight in zip(names, weights, strict=True):
        as_tensor(weight, f"layer {key!r}: weight")
    contributions = [_own_contribution(modules[key]) for key in names]
    return dict(zip(names, rule.score_layers(weights, names, contributions), strict=True))


def _layer_weight(layer: nn.Module, name: str | None) -> torch.Tensor:
    """`filter_weight`, with where to go on from a block or a whole model in the message."""
    try:
        return filter_weight(layer)
    except TypeError as error:
        where = "" if name is None else f"layer {name!r}: "
        inside = [
            key if name is None else f"{name}.{key}"
            for key, m in layer.named_modules()
            if isinstance(m, (*_CONVOLUTIONS, *_TRANSPOSED))
        ]
        hint = ""
        if inside:
            more = ", ..." if len(inside) > _NAMES_SHOWN else ""
            hint = f", which holds {', '.join(inside[:_NAMES_SHOWN])}{more}"
        if inside and name is None:
            hint += " (score_model scores all of a model's layers)"
        raise TypeError(f"{where}{error}{hint}") from None


def _own_contribution(layer: Array | nn.Module) -> Contribution:
    bias = layer.bias if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)) else None
    return Contribution(bias=None if bias is None else bias.detach())
