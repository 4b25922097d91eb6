# SPDX-License-Identifier: MIT
"""hubprune's scorers as methods of ``torch.nn.utils.prune``.

Such a method writes a mask: the model is no smaller and no faster afterwards. `hubprune.prune` cuts
the filters out. Masks are for what works with them: training schedules, comparisons, tooling.

`redundant_structured` is torch's ``ln_structured`` with `scorer` in place of n. Where it differs:
`dim` may be left out, equal filters go by index, and weights with NaN or infinity are a ValueError
(torch masks some of the filters).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import prune

from ..arguments import as_tensor
from ..scorers import Scorer, make_scorer

__all__ = ["RedundantStructured", "importance_scores", "redundant_structured"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def importance_scores(
    parameter: torch.Tensor, scorer: str | Scorer = "degree", *, dim: int = 0
) -> torch.Tensor:
    """Return how important a scorer finds each filter, in the parameter's full shape.

    Parameters
    ----------
    parameter : tensor, of two dimensions or more
        A weight.
    scorer : str or Scorer
        As in `hubprune.score`.
    dim : int
        Which dimension counts the filters: 0, but 1 for transposed convolutions.

    Returns
    -------
    tensor, the shape of `parameter`, float64
        1 for the filter that is removed first, n for the one removed last: places and not values,
        so that ties are broken as hubprune breaks them. To be passed as ``importance_scores`` to
        the functions of ``torch.nn.utils.prune``.

    Raises
    ------
    TypeError, ValueError
        As `hubprune.score`.

    Examples
    --------
    >>> import torch
    >>> weight = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> importance_scores(weight)[:, 0]
    tensor([2., 1., 3.], dtype=torch.float64)
    """
    weight = as_tensor(parameter, "parameter")
    filters = weight.transpose(0, dim)
    order = make_scorer(scorer).score(filters).order
    n = len(order)
    places = torch.empty(n, dtype=torch.float64, device=weight.device)
    places[order] = torch.arange(1, n + 1, dtype=torch.float64, device=weight.device)
    shape = [1] * weight.ndim
    shape[dim] = n
    return places.reshape(shape).expand(weight.shape)


class RedundantStructured(prune.LnStructured):
    """Prune the filters that a hubprune scorer removes first.

    Parameters
    ----------
    amount : int or float
        How many filters, or which share of them.
    scorer : str or Scorer
        As in `hubprune.score`.
    dim : int
        Which dimension counts the filters.
    """

    def __init__(self, amount: float, scorer: str | Scorer = "degree", dim: int = 0) -> None:
        # The largest of equal places is the place.
        super().__init__(amount, n=float("inf"), dim=dim)
        self.scorer = make_scorer(scorer)

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        """Return the mask of `t`, the parameter or what stands in for it, on top of the default."""
        # Before the scorer sees it: what torch refuses, torch refuses in its own words.
        super().compute_mask(t, default_mask)  # type: ignore[no-untyped-call]
        if t.numel() == 0:  # what is left of a parameter that is masked already
            return default_mask
        places = importance_scores(t, self.scorer, dim=self.dim)
        mask: torch.Tensor = super().compute_mask(places, default_mask)  # type: ignore[no-untyped-call]
        return mask.to(t.dtype)

    @classmethod
    def apply(  # type: ignore[override]
        cls,
        module: nn.Module,
        name: str,
        amount: float,
        scorer: str | Scorer = "degree",
        dim: int = 0,
        importance_scores: torch.Tensor | None = None,
    ) -> prune.BasePruningMethod:
        """Apply it to a parameter of a module; see `redundant_structured`."""
        # LnStructured's own `apply` passes its n on.
        method: prune.BasePruningMethod = super(prune.LnStructured, cls).apply(  # type: ignore[no-untyped-call]
            module, name, amount, scorer, dim, importance_scores=importance_scores
        )
        return method


def redundant_structured(
    module: nn.Module,
    name: str,
    amount: float,
    scorer: str | Scorer = "degree",
    dim: int | None = None,
    importance_scores: torch.Tensor | None = None,
) -> nn.Module:
    """Mask the filters of a module's parameter that a scorer removes first.

    Parameters
    ----------
    module : nn.Module
        Its parameter `name` becomes ``name + "_orig"`` and a mask, as with ``prune.ln_structured``.
    name : str
        The parameter, of two dimensions or more: "weight".
    amount : int or float
        How many of the filters that are not masked yet, or which share of them.
    scorer : str or Scorer
        As in `hubprune.score`.
    dim : int, optional
        Which dimension counts the filters. Default: 0, but 1 for transposed convolutions.
    importance_scores : tensor, of the parameter's shape, optional
        Scored in the parameter's place.

    Returns
    -------
    nn.Module
        The module itself.

    Raises
    ------
    TypeError, ValueError, IndexError
        Those of ``prune.ln_structured``; those of `hubprune.score`.

    Notes
    -----
    Equivalent to::

        scores = importance_scores(module.weight, scorer)
        prune.ln_structured(module, name, amount, n=float("inf"), dim=0, importance_scores=scores)

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(2, 3)
    >>> weight = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> layer.weight = torch.nn.Parameter(weight)
    >>> redundant_structured(layer, "weight", amount=1).weight_mask
    tensor([[1., 1.],
            [0., 0.],
            [1., 1.]])
    """
    if dim is None:
        dim = 1 if isinstance(module, _TRANSPOSED) else 0
    RedundantStructured.apply(module, name, amount, scorer, dim, importance_scores)
    return module
