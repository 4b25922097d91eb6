# SPDX-License-Identifier: MIT
"""The models and scorers that the command line takes: by name, or from a user's factory."""

from __future__ import annotations

import argparse
import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..models import KNOWN_MODELS, ModelSpec
from ..models.checkpoints import load_weights, read_checkpoint
from ..scorers import SCORER_NAMES, Scorer, make_scorer
from ..surgery import load_pruned
from ..user_functions import call_function
from .arguments import seed

__all__ = [
    "MODELS_EPILOG",
    "SCORERS_EPILOG",
    "SCORER_HELP",
    "LoadedModel",
    "add_model",
    "build_model",
    "chosen_scorer",
    "load_model",
    "load_saved",
]

SCORER_HELP = {
    "degree": "sum of similarities to all other filters (weighted degree centrality)",
    "eigenvector": "eigenvector centrality of the similarity graph",
    "betweenness": "share of the shortest paths between others that pass through a filter",
    "closeness": "inverse of the mean path length to all other filters",
    "pairs": "one of each closest pair; decides the count itself",
    "l1": "smallest l1 norm first",
    "l2": "smallest l2 norm first",
    "gm": "nearest to the geometric median first (FPGM)",
    "landmarks": "best represented by the rest first (pivoted Cholesky)",
    "opnorm": "smallest projections on the channels' leading directions first (operator norm)",
    "random": "a control",
}

MODELS_EPILOG = "known models:\n" + "\n".join(
    f"  {spec.name:<11} {spec.description}" for spec in KNOWN_MODELS.values()
)
SCORERS_EPILOG = "scorers:\n" + "\n".join(
    f"  {name:<11} {SCORER_HELP[name]}" for name in SCORER_NAMES
)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the model, its weights and the scorer."""
    parser.add_argument("model", metavar="MODEL", help="a known model, or package.module:factory")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights to load")
    parser.add_argument("--scorer", metavar="NAME", help="default degree; see below")
    parser.add_argument(
        "--seed", type=seed, default=0, help="of random weights, where there are no others"
    )


@dataclass(frozen=True)
class LoadedModel:
    """A model from the command line, with what to tell about it."""

    model: nn.Module
    weights: str  # where they come from, for a person
    example: torch.Tensor | None
    builder: str  # the Python expression that builds the architecture


def load_model(arguments: argparse.Namespace) -> LoadedModel:
    """Build and load what `add_model` was given.

    Raises
    ------
    TypeError, ValueError, ImportError, OSError, RuntimeError
        If the name, the factory or the checkpoint is none, in the words of the command line.
    """
    name, checkpoint = arguments.model, arguments.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        raise FileNotFoundError(f"--checkpoint: {checkpoint} is not a file")
    torch.manual_seed(arguments.seed)
    if name in KNOWN_MODELS:
        spec = KNOWN_MODELS[name]
        known = f"hubprune.models.KNOWN_MODELS[{name!r}]"
        builder = f"{known}.build"
        if checkpoint is not None:
            model, weights = spec.load(checkpoint), f"weights of {checkpoint}"
            if not _same_shapes(model, spec):  # the checkpoint of a network that was pruned before
                builder = f"lambda: {known}.load({str(checkpoint)!r})"
        elif spec.packaged is not None:
            model, weights = spec.load(), "pretrained weights of the installed package"
        else:
            model = spec.build()
            weights = "random weights: no --checkpoint was given, so this shows the method only"
        return LoadedModel(model.eval(), weights, spec.example_inputs(), builder)
    if ":" not in name:
        close = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"MODEL must be one of {', '.join(KNOWN_MODELS)}, or package.module:factory; got "
            f"{name!r}{hint}"
        )
    model = build_model(name)
    weights = "the weights that the factory gives"
    if checkpoint is not None:
        load_weights(model, read_checkpoint(checkpoint), str(checkpoint))
        weights = f"weights of {checkpoint}"
    return LoadedModel(model.eval(), weights, None, name.replace(":", "."))


def _same_shapes(model: nn.Module, spec: ModelSpec) -> bool:
    with torch.device("meta"):
        built = spec.build()
    return {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in built.state_dict().items()
    }


def build_model(name: str, argument: str = "MODEL") -> nn.Module:
    """Call the factory that `package.module:factory` names."""
    model = call_function(name, argument, what="factory", purpose=" that builds the model")
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{argument}: {name} must return a torch.nn.Module; got {type(model).__name__}"
        )
    return model


def load_saved(arguments: argparse.Namespace) -> tuple[nn.Module, str]:
    """The pruned model of a folder, and where its weights come from."""
    name = arguments.model
    if name in KNOWN_MODELS:
        factory: Callable[[], nn.Module] = KNOWN_MODELS[name].build
    else:
        # Mistakes in the factory, in the words of the command line.
        load_model(argparse.Namespace(model=name, checkpoint=None, seed=0))
        factory = functools.partial(build_model, name)
    return load_pruned(factory, arguments.pruned).eval(), f"pruned, weights of {arguments.pruned}"


def chosen_scorer(arguments: argparse.Namespace) -> Scorer:
    """The scorer that `add_model` was given."""
    return make_scorer("degree" if arguments.scorer is None else arguments.scorer)
