# SPDX-License-Identifier: MIT
"""The command ``hubprune score``."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..layer_kinds import CONVOLUTIONS
from ..scorers import Scores, score_model
from ..tables import text_table
from .command import Command
from .models import MODELS_EPILOG, SCORERS_EPILOG, add_model, chosen_scorer, load_model
from .progress import progress_display

__all__ = ["SCORE"]

_EPILOG = (
    "examples:\n"
    "  hubprune score crepe-tiny                 pretrained weights from an installed package\n"
    "  hubprune score cnn14 --scorer pairs --json\n"
    "  hubprune score my_package.nets:build --checkpoint weights.pth --layer conv3\n\n"
    f"{MODELS_EPILOG}\n\n{SCORERS_EPILOG}"
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="score this layer only (repeatable; linear layers too)",
    )


def _run(arguments: argparse.Namespace) -> Any:
    """Score, and return what to print: JSON-able with ``--json``, else text."""
    scorer = chosen_scorer(arguments)
    loaded = load_model(arguments)
    modules = dict(loaded.model.named_modules())
    names = arguments.layer or [
        name for name, module in modules.items() if isinstance(module, CONVOLUTIONS)
    ]
    if not names:
        raise ValueError(f"{arguments.model} has no convolution; name linear layers with --layer")
    scores: dict[str, Scores] = {}
    seconds: dict[str, float] = {}
    with progress_display() as bar:
        for done, name in enumerate(names):  # one by one: for the bar, and to time each
            bar.step(done, len(names), f"scoring {name}")
            start = time.perf_counter()
            scores |= score_model(loaded.model, scorer, [name])
            seconds[name] = time.perf_counter() - start
    if arguments.json:
        return {
            "model": arguments.model,
            "weights": loaded.weights,
            "scorer": scorer.name,
            "seconds": sum(seconds.values()),
            "layers": {
                name: {
                    "weight_shape": _shape(modules[name]),
                    "filters": len(each),
                    "dead": each.dead.tolist(),
                    "count": each.count,
                    "seconds": seconds[name],
                    "order": each.order.tolist(),
                    # JSON has no infinity: the dead, which come first, have no value.
                    "redundancy": [
                        value if math.isfinite(value) else None for value in each.values.tolist()
                    ],
                    "explanation": each.explain(),
                }
                for name, each in scores.items()
            },
        }
    layers = f"{len(scores)} layer{'s' if len(scores) != 1 else ''}"
    return "\n".join(
        [
            f"{arguments.model}: {loaded.weights}",
            f"redundancy by scorer {scorer.name!r}, higher is removed first",
            "",
            _table(modules, scores, seconds),
            "",
            "first: the filter that is removed first",
            f"scored {layers} in {sum(seconds.values()) * 1e3:.0f} ms",
        ]
    )


def _table(
    modules: Mapping[str, nn.Module], scores: Mapping[str, Scores], seconds: Mapping[str, float]
) -> str:
    """A line a layer; how many the rule itself removes, where it says so of any."""
    header = ["layer", "weight", "dead", "count", "min", "median", "max", "ms", "first"]
    rows = []
    for name, each in scores.items():
        living = each.values[each.values.isfinite()].sort().values
        spread = [
            f"{float(living[i]):.3g}" if len(living) else "-" for i in (0, len(living) // 2, -1)
        ]
        shape = "x".join(map(str, _shape(modules[name])))
        own = "-" if each.count is None else str(each.count)
        time_ = f"{seconds[name] * 1e3:.1f}"
        first = str(int(each.order[0]))
        rows.append([name, shape, str(len(each.dead)), own, *spread, time_, first])
    if all(each.count is None for each in scores.values()):
        header, *rows = [row[:3] + row[4:] for row in (header, *rows)]
    return text_table(header, rows)


def _shape(module: Any) -> list[int]:
    return list(module.weight.shape)


SCORE = Command("score", "score the filters of every convolution", _EPILOG, _add_arguments, _run)
