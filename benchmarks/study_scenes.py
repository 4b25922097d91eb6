# SPDX-License-Identifier: MIT
"""Part c: rendered scenes, the DCASE 2021 baseline trained from scratch, pruned and fine-tuned.

Base networks, one a seed, are trained on the same clips. Everything is chosen on the validation
clips (which epoch) or in advance (all else); the test clips are only measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune.datasets import SceneSets, rendered_scenes
from study_rows import Row, Rows, left, pruned, say

# The published operating point, 71 % of the computation and 50 % of the parameters: half of the two
# layers that compute most, and 2 of the 32 filters of the third.
PUBLISHED = {"conv1": 1 / 2, "conv2": 1 / 2, "conv3": 1 / 16}
# The closest-pair rule's own count leaves 62 % of the parameters; this ratio leaves 77 %, the
# nearest to three quarters that one ratio for all layers gives.
QUARTER = 0.18
CUTS: dict[str, tuple[str, float | Mapping[str, float] | None]] = {
    "nothing": ("", None),
    "published": ("50 %, 50 %, 6 %", PUBLISHED),
    "quarter": ("18 %", QUARTER),
}
_FOLD = "interpolate+recalibrate"
# Scorer, cut, fraction of the training clips and compensation; the first two are the controls.
NETWORKS = (
    ("unpruned", "nothing", 1.0, "none"),
    ("random", "published", 1.0, "none"),
    ("degree", "published", 1.0, "none"),
    ("degree", "published", 0.75, "none"),
    ("degree", "published", 1.0, _FOLD),
    ("landmarks", "published", 1.0, "none"),
    ("l1", "published", 1.0, "none"),
    ("pairs", "quarter", 1.0, "none"),
    ("pairs", "quarter", 0.75, "none"),
)


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    train: int = 40  # clips of each of the ten scenes
    valid: int = 10
    test: int = 40
    base_epochs: int = 40
    base_lr: float = 6e-3  # of 1e-3, 3e-3 and 6e-3 the best on the validation clips, seed 0
    epochs: int = 40  # of fine-tuning; published: 30 to 100
    batch_size: int = 16
    lr: float = 6e-3
    amp: str = "bfloat16"  # twice as fast on the processor it was run on


QUICK = Settings(train=1, valid=1, test=1, base_epochs=1, epochs=1)


def settings_of(quick: bool) -> Settings:
    return QUICK if quick else Settings()


def clips(quick: bool, folder: Path) -> SceneSets:
    """Render, or read what was rendered."""
    say("scenes: clips")
    settings = settings_of(quick)
    return rendered_scenes(
        settings.train, settings.valid, settings.test, cache=folder / "clips", workers=2
    )


def run(seeds: Sequence[int], quick: bool, folder: Path) -> dict[str, Any]:
    """Measure, or read what was measured."""
    settings = settings_of(quick)
    data = clips(quick, folder)
    example = torch.zeros(1, 1, 40, 500)
    unlabelled = data.train.inputs[:96].split(32)
    bases: dict[int, torch.nn.Module] = {}

    def tuned(
        network: torch.nn.Module, epochs: int, lr: float, seed: int, **more: Any
    ) -> hp.FineTuned:
        return hp.finetune(
            network,
            data.train,
            data.valid,
            epochs=epochs,
            batch_size=settings.batch_size,
            lr=lr,
            amp=settings.amp,
            seed=seed,
            **more,
        )

    def base(seed: int) -> torch.nn.Module:
        """Train a network; a finished one is read from its checkpoint."""
        if seed not in bases:
            bases.clear()
            torch.manual_seed(seed)
            # Channels last: the same network, a third faster on a CPU.
            new = hp.models.Dcase21Baseline().to(memory_format=torch.channels_last)
            file = folder / f"base-{seed}.safetensors"
            bases[seed] = tuned(
                new, settings.base_epochs, settings.base_lr, seed, checkpoint=file
            ).model
        return bases[seed]

    def measured(scorer: str, cut: str, fraction: float, compensate: str, seed: int) -> Row:
        text, ratio = CUTS[cut]
        network = base(seed)
        smaller = network
        if scorer != "unpruned":
            batches = () if compensate == "none" else unlabelled
            smaller = pruned(network, example, scorer, ratio, compensate, batches, seed=seed)
        found = tuned(smaller, settings.epochs, settings.lr, seed, fraction=fraction)
        return {
            "scorer": scorer,
            "cut": text,
            "fraction": fraction,
            "compensate": compensate,
            "seed": seed,
            "before": hp.evaluate(smaller, data.test)["accuracy"],
            "value": hp.evaluate(found.model, data.test)["accuracy"],
            "best_epoch": found.best_epoch,
            **left(network, smaller, example),
        }

    store = Rows(folder / "rows", {**asdict(settings), "cuts": CUTS})
    rows: list[Row] = []
    for seed in seeds:
        for each in NETWORKS[:3] if quick else NETWORKS:
            key = " ".join([*map(str, each), f"seed {seed}"])
            rows.append(store.row(key, partial(measured, *each, seed)))
    return {"settings": asdict(settings), "rows": rows}
