# SPDX-License-Identifier: MIT
"""What the parts of the study share: rows that are stored as they finish, and pruned models."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune.plots import replaced_file

Row = dict[str, Any]


def say(text: str) -> None:
    """Tell on standard error what is done, and when."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Rows:
    """Rows in a JSON file, made once: what is there is not made again.

    Raises
    ------
    ValueError
        If the file holds rows of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.rows: dict[str, Row] = {}
        if path.exists():
            found = json.loads(path.read_text())
            if found["settings"] != json.loads(json.dumps(settings)):
                raise ValueError(f"{path} is of other settings; delete it to measure again")
            self.rows = found["rows"]
        path.parent.mkdir(parents=True, exist_ok=True)

    def row(self, key: str, make: Callable[[], Row]) -> Row:
        """The row of that name, which is made and stored if need be."""
        if key not in self.rows:
            started = time.perf_counter()
            self.rows[key] = {**make(), "seconds": round(time.perf_counter() - started, 2)}
            say(f"{key}: {self.rows[key]['value']:.4f}, {self.rows[key]['seconds']:.1f} s")
            with replaced_file(self.path) as part:
                text = json.dumps({"settings": self.settings, "rows": self.rows}, indent=1)
                part.write_text(text + "\n")
        return self.rows[key]


def left(before: torch.nn.Module, after: torch.nn.Module, inputs: torch.Tensor) -> Row:
    """The parts of the parameters and of the multiply-adds that are left."""
    sizes = hp.report(before, after, inputs, latency=False)
    return {
        "parameters": sizes.after.parameters / sizes.before.parameters,
        "macs": sizes.after.macs / sizes.before.macs,
    }


COMPENSATIONS = ("none", "interpolate", "interpolate+recalibrate")


def pruned(
    network: torch.nn.Module,
    inputs: torch.Tensor,
    scorer: str,
    ratio: float | Mapping[str, float],
    compensate: str = "none",
    unlabelled: Sequence[torch.Tensor] = (),
    *,
    seed: int = 0,
    global_: bool = False,
) -> torch.nn.Module:
    """A pruned copy; the seed decides what the scorer "random" draws, nothing else."""
    rule = hp.Random(seed=seed) if scorer == "random" else scorer
    decision = hp.plan(network, inputs, scorer=rule, ratio=ratio, global_=global_)
    if compensate == "none":
        return hp.prune(network, decision)
    return hp.prune(network, decision, compensate=compensate, batches=list(unlabelled) or None)
