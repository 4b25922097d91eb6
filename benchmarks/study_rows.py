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
from hubprune.file_writing import replaced_file
from hubprune.scorers import Random

Row = dict[str, Any]


def say(text: str) -> None:
    """Tell on standard error what is done, and when."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Rows:
    """Rows in a folder, a file each, made once: what is there is not made again.

    Processes may share a folder as long as they make other rows.

    Raises
    ------
    ValueError
        If the folder holds rows of other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        file = folder / "settings.json"
        if file.exists() and file.read_text() != text:
            raise ValueError(f"{folder} is of other settings; delete it to measure again")
        with replaced_file(file) as part:
            part.write_text(text)

    def row(self, key: str, make: Callable[[], Row]) -> Row:
        """The row of that name, which is made and stored if need be."""
        file = self.folder / f"{key.replace(' ', '-')}.json"
        if file.exists():
            stored: Row = json.loads(file.read_text())
            return stored
        started = time.perf_counter()
        row = make()
        row["seconds"] = round(time.perf_counter() - started, 2)
        say(f"{key}: {row['value']:.4f}, {row['seconds']:.1f} s")
        with replaced_file(file) as part:
            part.write_text(json.dumps(row, indent=1) + "\n")
        return row


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
    ratio: float | Mapping[str, float] | None,
    compensate: str = "none",
    unlabelled: Sequence[torch.Tensor] = (),
    *,
    seed: int = 0,
    global_: bool = False,
) -> torch.nn.Module:
    """A pruned copy; the seed decides what the scorer "random" draws, nothing else."""
    rule = Random(seed=seed) if scorer == "random" else scorer
    decision = hp.plan(network, inputs, scorer=rule, ratio=ratio, global_=global_)
    if compensate == "none":
        return hp.prune(network, decision)
    return hp.prune(network, decision, compensate=compensate, batches=list(unlabelled) or None)
